//! Orders by customer and by id: projection and queries.

use std::sync::Arc;

use contracts::{
    Envelope,
    baskets::BasketItem,
    ids::{CustomerId, OrderId, PaymentId, ProductId, StoreId},
    ordering::OrderEvent,
};
use kernel::{Money, Version, money::decimal};
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, Projection, Projector};
use serde::{Deserialize, Serialize};

/// The view: one row for each order.
pub struct Orders;

/// Orders of one customer, by the time they were placed.
pub const BY_CUSTOMER: Index = Index { name: "by-customer", partition: "customerId", sort: "placedAt" };

/// An order, for its customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRow {
    /// The order.
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer pays with.
    pub payment_id: PaymentId,
    /// `pending`, `approved`, `rejected` or `cancelled`.
    pub status: String,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The lines.
    pub items: Vec<BasketItem>,
    /// Sum of the lines.
    pub total: Money,
    /// When it was placed: RFC 3339 with all nine places, so that text sorts as time does.
    pub placed_at: String,
    /// When it last changed.
    pub changed_at: String,
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "ordering.Order";
    type Row = OrderRow;

    fn apply(row: Option<OrderRow>, event: &Envelope) -> Result<OrderRow, ApplyError> {
        let at = format!("{:.9}", event.at);
        let changed = |status: &str, reason: Option<String>| {
            let row = row.clone().ok_or_else(|| ApplyError::without_row(event))?;
            Ok(OrderRow { status: status.to_owned(), reason, changed_at: at.clone(), ..row })
        };
        match event.event::<OrderEvent>()? {
            OrderEvent::OrderCreated(created) => Ok(OrderRow {
                id: event.stream.id().parse().map_err(|_| ApplyError::BrokenHistory {
                    event_type: event.event_type.clone(),
                    why: "the stream's id is not a UUID",
                })?,
                customer_id: created.customer_id,
                payment_id: created.payment_id,
                status: "pending".to_owned(),
                reason: None,
                items: created.items,
                total: created.total,
                placed_at: at.clone(),
                changed_at: at,
            }),
            OrderEvent::OrderApproved(_) => changed("approved", None),
            OrderEvent::OrderRejected(rejected) => changed("rejected", Some(rejected.reason)),
            OrderEvent::OrderCanceled(canceled) => changed("cancelled", canceled.reason),
            OrderEvent::OrderReadied(_) => changed("ready", None),
            OrderEvent::OrderCompleted(_) => changed("completed", None),
        }
    }
}

/// The view with its queries.
pub struct OrderViews {
    projector: Projector<Orders>,
}

impl OrderViews {
    /// The view that `projector` keeps.
    pub fn new(projector: Projector<Orders>) -> Self {
        Self { projector }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_orders(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        let outcome = self.projector.deliver_batch(&events).await;
        settled(&events, outcome)
    }

    /// `GET /api/orders/{id}?minVersion=`: from the view; at least as new as `minVersion`, if that is given.
    ///
    /// # Errors
    /// 404; 409 when the order has not reached `minVersion`.
    pub async fn get_order_view(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let min_version = call.query_number("minVersion")?.map(Version::new);
        let found = self.projector.read(&id.to_string(), min_version).await?;
        let found = found.ok_or_else(|| Fault::not_found("order", id))?;
        let view = OrderView::of(&found.row, Some(found.applied));
        Answer::view(&serde_json::json!({ "order": view }), Some(found.applied))
    }

    /// `GET /api/orders?customerId=&limit=&cursor=`: a customer's orders, newest first. A list lags behind
    /// the orders by the time events take to travel.
    ///
    /// # Errors
    /// 400 when a parameter is missing or wrong.
    pub async fn list_orders(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let customer = call.query.get("customerId").filter(|id| !id.is_empty()).ok_or_else(|| {
            Fault::invalid("CUSTOMER_ID_CANNOT_BE_BLANK", "say whose orders: ?customerId=<uuid>")
        })?;
        let customer: CustomerId =
            customer.parse().map_err(|_| Fault::invalid("ID_IS_MALFORMED", "customerId must be a UUID"))?;
        let request = call.list_request(customer.to_string(), true)?;
        let page = self.projector.list(&BY_CUSTOMER, &request).await?;
        let orders: Vec<OrderView> = page.rows.iter().map(|row| OrderView::of(row, None)).collect();
        Answer::view(&serde_json::json!({ "orders": orders, "next": page.next }), None)
    }
}

/// What is shown of a row.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderView {
    id: OrderId,
    customer_id: CustomerId,
    payment_id: PaymentId,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    items: Vec<ItemView>,
    #[serde(with = "decimal")]
    total: Money,
    placed_at: String,
    changed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl OrderView {
    fn of(row: &OrderRow, version: Option<Version>) -> Self {
        Self {
            id: row.id,
            customer_id: row.customer_id,
            payment_id: row.payment_id,
            status: row.status.clone(),
            reason: row.reason.clone(),
            items: row.items.iter().map(ItemView::of).collect(),
            total: row.total,
            placed_at: row.placed_at.clone(),
            changed_at: row.changed_at.clone(),
            version,
        }
    }
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemView {
    store_id: StoreId,
    store_name: String,
    product_id: ProductId,
    product_name: String,
    #[serde(with = "decimal")]
    price: Money,
    quantity: u32,
}

impl ItemView {
    /// Shows a line.
    pub fn of(item: &BasketItem) -> Self {
        Self {
            store_id: item.store_id,
            store_name: item.store_name.clone(),
            product_id: item.product_id,
            product_name: item.product_name.clone(),
            price: item.price,
            quantity: item.quantity,
        }
    }
}
