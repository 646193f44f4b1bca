//! Stock levels: the projection and its queries. The stock of one product is read from its own stream (see [`crate::api`]);
//! only lists come from here.

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    inventory::StockEvent,
};
use kernel::Version;
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, Projection, Projector, row_id, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::stock::Stock;

/// The view of all stock: one row for each product that is, or was, tracked.
pub struct StockLevels;

/// The tracked products of one store, in the order in which their counts began. A product that is not tracked has no `shelf` and is not
/// in the index.
///
/// A product is written here when its count begins and when it ends. No order writes anything.
pub const BY_STORE: Index = Index::new("by-store", "shelf", "trackedAt").keys_only();

/// What is low, longest first. Only these rows have `warned` and `lowSince` and are in the index.
///
/// A product is written here when it becomes low and when it no longer is, and not when its stock changes
/// between: far less than once an order. So one partition will do for the mall.
pub const LOW: Index = Index::new("low", "warned", "lowSince").keys_only();

/// The only partition of [`LOW`].
const MALL: &str = "mall";

/// The stock of one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRow {
    /// The product.
    pub id: ProductId,
    /// The store that sells it.
    pub store_id: StoreId,
    /// Whether it is counted.
    pub tracked: bool,
    /// Pieces in the house, those included that are kept for orders.
    pub on_hand: u32,
    /// Pieces that are kept for orders.
    pub reserved: u32,
    /// At how many available pieces, or fewer, stock is low; never at 0.
    pub threshold: u32,
    /// When the count began: RFC 3339 with all nine places, so that text sorts as time does.
    pub tracked_at: String,
    /// The store in whose list [`BY_STORE`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shelf: Option<StoreId>,
    /// Since when it is low, as text that sorts; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_since: Option<String>,
    /// Where [`LOW`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warned: Option<String>,
}

impl StockRow {
    /// Pieces that others can have.
    pub fn available(&self) -> u32 {
        self.on_hand.saturating_sub(self.reserved)
    }

    /// Enters it into, or takes it off, the list of what is low.
    fn judged(mut self, event: &Envelope) -> Self {
        let low = self.tracked && self.threshold > 0 && self.available() <= self.threshold;
        self.low_since = match self.low_since {
            Some(since) if low => Some(since),
            Some(_) | None => low.then(|| sortable(event.at)),
        };
        self.warned = low.then(|| MALL.to_owned());
        self
    }
}

impl Projection for StockLevels {
    const NAME: &'static str = "stock-levels";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "inventory.StockItem";
    // The row tells by itself whether it is low, and whether there is a piece to be had.
    const IRRELEVANT: &'static [&'static str] = &["LowStock", "AvailabilityChanged"];
    type Row = StockRow;

    fn apply(row: Option<StockRow>, event: &Envelope) -> Result<StockRow, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        let kept = |row: &StockRow, available: u32| {
            row.on_hand.checked_sub(available).ok_or_else(|| ApplyError::BrokenHistory {
                event_type: event.event_type.clone(),
                why: "more is available than there is",
            })
        };
        let after = match event.event::<StockEvent>()? {
            StockEvent::StockTrackingStarted(started) => StockRow {
                id: row_id(event)?,
                store_id: started.store_id,
                tracked: true,
                on_hand: 0,
                reserved: 0,
                threshold: 0,
                tracked_at: sortable(event.at),
                shelf: Some(started.store_id),
                low_since: None,
                warned: None,
            },
            StockEvent::StockTrackingStopped(_) => {
                StockRow { tracked: false, on_hand: 0, threshold: 0, shelf: None, ..row()? }
            }
            StockEvent::StockAdded(added) => StockRow { on_hand: added.on_hand, ..row()? },
            StockEvent::StockReduced(reduced) => {
                let row = row()?;
                // What was sold had been kept for its order.
                let sold = if reduced.order_id.is_some() { reduced.quantity } else { 0 };
                let reserved = row.reserved.saturating_sub(sold);
                StockRow { on_hand: reduced.on_hand, reserved, ..row }
            }
            StockEvent::InventoryReserved(change) => {
                let row = row()?;
                StockRow { reserved: kept(&row, change.available)?, ..row }
            }
            StockEvent::InventoryReleased(change) => {
                let row = row()?;
                StockRow { reserved: kept(&row, change.available)?, ..row }
            }
            StockEvent::LowStockThresholdChanged(changed) => {
                StockRow { threshold: changed.threshold, ..row()? }
            }
            StockEvent::LowStock(_) | StockEvent::AvailabilityChanged(_) => row()?,
        };
        Ok(after.judged(event))
    }
}

/// The stock levels with their queries.
pub struct StockViews {
    projector: Projector<StockLevels>,
}

impl StockViews {
    /// The view that `projector` keeps.
    pub fn new(projector: Projector<StockLevels>) -> Self {
        Self { projector }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_stock_levels(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.projector.deliver_batch(&events).await)
    }

    /// `GET /api/inventory?storeId=&limit=&cursor=`: the tracked products of a store, in the order in which their counts began. A
    /// list lags behind by the time events take to travel.
    ///
    /// # Errors
    /// 400 when a parameter is wrong, or `storeId` is missing.
    pub async fn list_stock(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let store = call.query.get("storeId").and_then(|text| text.parse::<StoreId>().ok());
        let store = store.ok_or_else(|| {
            Fault::invalid("QUERY_IS_INVALID", "storeId must say whose stock is asked for, as a UUID")
        })?;
        self.list(&BY_STORE, store.to_string(), &call).await
    }

    /// `GET /api/inventory/low?limit=&cursor=`: what is at its threshold or below, in the whole mall; what has been so
    /// longest comes first. The list lags behind by the time events take to travel.
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_low_stock(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.list(&LOW, MALL.to_owned(), &call).await
    }

    async fn list(&self, index: &Index, partition: String, call: &Call) -> Result<Answer, Fault> {
        let page = self.projector.list(index, &call.list_request(partition, false)?).await?;
        let stock = page.rows.into_iter().map(StockView::of_row).collect();
        Answer::view(&StockListed { stock, next: page.next }, None)
    }
}

/// What is shown of a product's stock. Numbers are only there when it is tracked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockView {
    /// The product.
    product_id: ProductId,
    /// The store that sells it.
    store_id: StoreId,
    /// Whether it is counted. If not, it is always available.
    tracked: bool,
    /// Pieces in the house, those included that are kept for orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    on_hand: Option<u32>,
    /// Pieces that are kept for orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reserved: Option<u32>,
    /// Pieces that others can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    available: Option<u32>,
    /// At how many available pieces, or fewer, stock is low; never at 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    threshold: Option<u32>,
    /// Whether stock is low.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    low: Option<bool>,
    /// Version of the stock; not in lists, and not when it was never tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<Version>,
}

impl StockView {
    /// Shows what is counted.
    pub fn of(product_id: ProductId, stock: &Stock, version: Version) -> Self {
        Self {
            on_hand: Some(stock.on_hand()),
            reserved: Some(stock.reserved()),
            available: Some(stock.available()),
            threshold: Some(stock.threshold()),
            low: Some(stock.is_low()),
            tracked: true,
            ..Self::untracked(product_id, stock.store_id(), Some(version))
        }
    }

    /// Shows what is not counted.
    pub fn untracked(product_id: ProductId, store_id: StoreId, version: Option<Version>) -> Self {
        Self {
            product_id,
            store_id,
            tracked: false,
            on_hand: None,
            reserved: None,
            available: None,
            threshold: None,
            low: None,
            version,
        }
    }

    fn of_row(row: StockRow) -> Self {
        Self {
            on_hand: Some(row.on_hand),
            reserved: Some(row.reserved),
            available: Some(row.available()),
            threshold: Some(row.threshold),
            low: Some(row.low_since.is_some()),
            tracked: row.tracked,
            ..Self::untracked(row.id, row.store_id, None)
        }
    }
}

/// The answer with one product's stock.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockShown {
    /// The stock.
    pub stock: StockView,
}

/// The answer with a page of stock.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockListed {
    /// The products on this page.
    stock: Vec<StockView>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
}
