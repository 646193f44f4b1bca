//! What the index knows: a row for each product, for each store and for each product's stock, folded from their
//! streams by the projections here (stores by that of the crate `catalogue`).

use catalogue::Stores;
use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    inventory::StockEvent,
    stores::ProductEvent,
};
use kernel::{Money, Version};
use projection::{ApplyError, Projection, row_id};
use serde::{Deserialize, Serialize};

use crate::index::Kind;

/// A projection whose rows the index keeps.
pub trait Indexed: Projection {
    /// Which rows they are.
    const KIND: Kind;

    /// Whether a search would see no difference between these two, **nor between any that were between them**. Rows that look alike
    /// need not be saved each time; but a change that is taken back later is not nothing: were the row left as it was before both,
    /// the first of them would have its effect when it came late, and the second, which is done with, would not come again.
    fn looks_alike(_before: &Self::Row, _after: &Self::Row) -> bool {
        false
    }
}

/// The products: one row for each, also for those that were removed.
pub struct Products;

/// A product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductRow {
    /// The product.
    pub id: ProductId,
    /// The store that sells it, or sold it.
    pub store_id: StoreId,
    /// What it is called.
    pub name: String,
    /// What it is; may be empty.
    pub description: String,
    /// The store's own number for it; may be empty.
    pub sku: String,
    /// Price of one piece.
    pub price: Money,
    /// Whether it is still sold. The row of one that is not stays, and with it the version that it has applied: were it
    /// deleted, an old event that comes late would bring the product back.
    pub on_sale: bool,
}

impl Projection for Products {
    const NAME: &'static str = "searched-products";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "stores.Product";
    type Row = ProductRow;

    fn apply(row: Option<ProductRow>, event: &Envelope) -> Result<ProductRow, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<ProductEvent>()? {
            ProductEvent::ProductAdded(added) => Ok(ProductRow {
                id: row_id(event)?,
                store_id: added.store_id,
                name: added.name,
                description: added.description,
                sku: added.sku,
                price: added.price,
                on_sale: true,
            }),
            ProductEvent::ProductRebranded(rebranded) => {
                Ok(ProductRow { name: rebranded.name, description: rebranded.description, ..row()? })
            }
            ProductEvent::ProductPriceIncreased(changed) => Ok(ProductRow { price: changed.price, ..row()? }),
            ProductEvent::ProductPriceDecreased(changed) => Ok(ProductRow { price: changed.price, ..row()? }),
            ProductEvent::ProductRemoved(_) => Ok(ProductRow { on_sale: false, ..row()? }),
        }
    }
}

impl Indexed for Products {
    const KIND: Kind = Kind::Product;
}

impl Indexed for Stores {
    const KIND: Kind = Kind::Store;
}

/// The stock: one row for each product that is, or was, tracked.
pub struct Stock;

/// The stock of one product, as far as a search wants to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRow {
    /// The product.
    pub id: ProductId,
    /// Whether it is counted; if not, it can always be had.
    pub tracked: bool,
    /// Pieces in the house, those included that are kept for orders.
    pub on_hand: u32,
    /// Pieces that are kept for orders.
    pub reserved: u32,
    /// The event by which it last began or ceased to be there to be had.
    pub turned: Version,
}

impl StockRow {
    /// Whether there is a piece to be had.
    pub fn available(&self) -> bool {
        !self.tracked || self.on_hand > self.reserved
    }
}

impl Projection for Stock {
    const NAME: &'static str = "searched-stock";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "inventory.StockItem";
    const IRRELEVANT: &'static [&'static str] = &["LowStock", "LowStockThresholdChanged"];
    type Row = StockRow;

    fn apply(row: Option<StockRow>, event: &Envelope) -> Result<StockRow, ApplyError> {
        let before = row.as_ref().is_none_or(StockRow::available);
        let turned = row.as_ref().map_or(Version::NONE, |row| row.turned);
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        let kept = |row: &StockRow, available: u32| {
            row.on_hand.checked_sub(available).ok_or_else(|| ApplyError::BrokenHistory {
                event_type: event.event_type.clone(),
                why: "more is available than there is",
            })
        };
        let after = match event.event::<StockEvent>()? {
            StockEvent::StockTrackingStarted(_) => {
                StockRow { id: row_id(event)?, tracked: true, on_hand: 0, reserved: 0, turned }
            }
            StockEvent::StockTrackingStopped(_) => StockRow { tracked: false, on_hand: 0, ..row()? },
            StockEvent::StockAdded(added) => StockRow { on_hand: added.on_hand, ..row()? },
            StockEvent::StockReduced(reduced) => {
                let row = row()?;
                // What was sold had been kept for its order.
                let sold = if reduced.order_id.is_some() { reduced.quantity } else { 0 };
                StockRow { on_hand: reduced.on_hand, reserved: row.reserved.saturating_sub(sold), ..row }
            }
            StockEvent::InventoryReserved(change) => {
                let row = row()?;
                StockRow { reserved: kept(&row, change.available)?, ..row }
            }
            StockEvent::InventoryReleased(change) => {
                let row = row()?;
                StockRow { reserved: kept(&row, change.available)?, ..row }
            }
            StockEvent::LowStockThresholdChanged(_) | StockEvent::LowStock(_) => row()?,
        };
        let turned = if after.available() == before { after.turned } else { event.version };
        Ok(StockRow { turned, ..after })
    }
}

impl Indexed for Stock {
    const KIND: Kind = Kind::Stock;

    /// Most of what happens to a stock leaves it there to be had, or not. The version of the last turn is compared as well:
    /// so rows that look alike did so at every version between them.
    fn looks_alike(before: &StockRow, after: &StockRow) -> bool {
        (before.available(), before.turned) == (after.available(), after.turned)
    }
}
