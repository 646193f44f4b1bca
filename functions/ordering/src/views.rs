//! Orders by customer and by id: projection and queries.

use std::sync::Arc;

use contracts::{
    Envelope,
    baskets::BasketItem,
    ids::{CustomerId, InvoiceId, OrderId, PaymentId, ProductId, ShoppingListId, StoreId},
    ordering::OrderEvent,
};
use kernel::{Money, Version, money::decimal};
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, Projection, Projector, row_id, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    docs::{ListedOrders, ShownOrder},
    order::Order,
};

/// The view: one row for each order.
pub struct Orders;

/// Orders of one customer, by the time they were placed. Neither key ever changes, so that an order is
/// written here once and not four times.
pub const BY_CUSTOMER: Index = Index::new("by-customer", "customerId", "placedAt").keys_only();

/// Orders of one stage, by the time they were placed: for the list of sagas, and for `resume-sagas`, which
/// looks for lost and forgotten orders. Orders that are rejected or cancelled are not in it.
///
/// An order takes five write units: one when it is placed, two when it is approved, two when it is completed.
pub const BY_STAGE: Index = Index::new("by-stage", "stage", "placedAt").keys_only().sharded();
/// The stage of an order that is being placed.
pub const PENDING: &str = "pending";
/// The stage of an order that is approved or ready.
pub const PLACED: &str = "placed";
/// The stage of an order that is paid.
pub const COMPLETED: &str = "completed";

/// An order, for its customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRow {
    /// The order.
    pub id: OrderId,
    customer_id: CustomerId,
    payment_id: PaymentId,
    /// `pending`, `approved`, `ready`, `completed`, `rejected` or `cancelled`.
    pub status: String,
    /// Code of the cause for which it was rejected or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The list by which it is collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopping_id: Option<ShoppingListId>,
    /// The invoice that was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<InvoiceId>,
    items: Vec<BasketItem>,
    /// Sum of the lines.
    pub total: Money,
    /// Time of its creation: RFC 3339 with all nine places, so that text sorts as time does.
    pub placed_at: String,
    /// Time of its last change.
    pub changed_at: String,
    /// The place in [`BY_STAGE`]; none when it is rejected or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    /// 4: sharded as in [`projection::SHARDS`].
    const SCHEMA: u16 = 4;
    const CATEGORY: &'static str = "ordering.Order";
    type Row = OrderRow;

    fn apply(row: Option<OrderRow>, event: &Envelope) -> Result<OrderRow, ApplyError> {
        let at = sortable(event.at);
        let changed = |status: &str, stage: Option<&str>| {
            let row = row.ok_or_else(|| ApplyError::without_row(event))?;
            let stage = stage.map(|stage| BY_STAGE.place(stage, row.id));
            Ok::<_, ApplyError>(OrderRow { status: status.to_owned(), changed_at: at.clone(), stage, ..row })
        };
        match event.event::<OrderEvent>()? {
            OrderEvent::OrderCreated(created) => Ok(OrderRow {
                id: row_id(event)?,
                customer_id: created.customer_id,
                payment_id: created.payment_id,
                status: "pending".to_owned(),
                reason: None,
                shopping_id: None,
                invoice_id: None,
                items: created.items,
                total: created.total,
                placed_at: at.clone(),
                changed_at: at,
                stage: Some(BY_STAGE.place(PENDING, row_id::<()>(event)?)),
            }),
            OrderEvent::OrderApproved(approved) => {
                Ok(OrderRow { shopping_id: approved.shopping_id, ..changed("approved", Some(PLACED))? })
            }
            OrderEvent::OrderReadied(_) => changed("ready", Some(PLACED)),
            OrderEvent::OrderCompleted(completed) => Ok(OrderRow {
                invoice_id: Some(completed.invoice_id),
                ..changed("completed", Some(COMPLETED))?
            }),
            OrderEvent::OrderRejected(rejected) => {
                Ok(OrderRow { reason: Some(rejected.reason), ..changed("rejected", None)? })
            }
            OrderEvent::OrderCanceled(canceled) => {
                Ok(OrderRow { reason: canceled.reason, ..changed("cancelled", None)? })
            }
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
        settled(&events, self.projector.deliver_batch(&events).await)
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
        let order = OrderView::of_row(found.row, Some(found.applied));
        Answer::view(&ShownOrder { order }, Some(found.applied))
    }

    /// `GET /api/orders?customerId=&limit=&cursor=`: a customer's orders, newest first. A list lags behind
    /// the orders by the time that events take to travel.
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
        let orders = page.rows.into_iter().map(|row| OrderView::of_row(row, None)).collect();
        Answer::view(&ListedOrders { orders, next: page.next }, None)
    }
}

/// What is shown of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    /// The order.
    id: OrderId,
    /// Who ordered.
    customer_id: CustomerId,
    /// What the customer pays with.
    payment_id: PaymentId,
    /// `pending`, `approved`, `ready`, `completed`, `rejected` or `cancelled`.
    status: String,
    /// Why it was rejected or cancelled: a code. A customer who cancels need not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The shopping list by which it is collected; from the approval on.
    #[serde(skip_serializing_if = "Option::is_none")]
    shopping_id: Option<ShoppingListId>,
    /// The invoice that was paid, once it is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice_id: Option<InvoiceId>,
    /// The lines.
    items: Vec<OrderItemView>,
    /// Sum of the lines.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    total: Money,
    /// When it was placed: in lists, and where the view is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    placed_at: Option<String>,
    /// When it last changed: in lists, and where the view is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    changed_at: Option<String>,
    /// How many events there are in its stream; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl OrderView {
    /// Shows an order.
    pub fn of(id: OrderId, order: &Order, version: Version) -> Self {
        let placed = order.placed();
        Self {
            id,
            customer_id: placed.customer_id,
            payment_id: placed.payment_id,
            status: order.status().to_owned(),
            reason: order.reason().map(|reason| reason.as_str().to_owned()),
            shopping_id: order.shopping_id(),
            invoice_id: order.invoice_id(),
            items: placed.items.iter().cloned().map(OrderItemView::of).collect(),
            total: placed.total,
            placed_at: None,
            changed_at: None,
            version: Some(version),
        }
    }

    fn of_row(row: OrderRow, version: Option<Version>) -> Self {
        Self {
            id: row.id,
            customer_id: row.customer_id,
            payment_id: row.payment_id,
            status: row.status,
            reason: row.reason,
            shopping_id: row.shopping_id,
            invoice_id: row.invoice_id,
            items: row.items.into_iter().map(OrderItemView::of).collect(),
            total: row.total,
            placed_at: Some(row.placed_at),
            changed_at: Some(row.changed_at),
            version,
        }
    }
}

/// A line of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderItemView {
    /// The store that sells it.
    store_id: StoreId,
    /// What the store was called when it was ordered.
    store_name: String,
    /// The product.
    product_id: ProductId,
    /// What it was called when it was ordered.
    product_name: String,
    /// Price of one piece.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    price: Money,
    /// Pieces.
    #[schema(minimum = 1)]
    quantity: u32,
}

impl OrderItemView {
    fn of(item: BasketItem) -> Self {
        let BasketItem { store_id, product_id, store_name, product_name, price, quantity } = item;
        Self { store_id, store_name, product_id, product_name, price, quantity }
    }
}
