//! What the HTTP API of order search looks like, for the documents that are made of it.

use api_docs::Operation;
use contracts::{
    ids::{CustomerId, OrderId, ProductId, StoreId},
    ordering::OrderItem,
};
use kernel::{Money, money::decimal};
use serde::Serialize;
use utoipa::ToSchema;

use crate::views::SearchedOrder;

const TAG: &str = "Search";

/// The operations of the HTTP API, as the template's routes have them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::ask(
            "/api/search/orders",
            "searchOrders",
            TAG,
            "Finds orders, newest first. A page may be short, or empty, and have a `next` all the same.",
        )
        .takes::<SearchOrders>()
        .shows::<FoundOrders>(),
        Operation::get(
            "/api/search/orders/{id}",
            "getOrderFromSearch",
            TAG,
            "Shows an order as searches do, with the names that it was placed with.",
        )
        .number("minVersion", "Answer no older than this version, as a command answered it.")
        .refuses(409)
        .shows::<OneOrder>(),
    ]
}

/// What to search for.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
pub struct SearchOrders {
    /// Which orders fit: those that pass every filter that is set. All, when it is left out.
    filters: Option<OrderFilters>,
    /// The `next` of the page before; empty, or left out, for the first page.
    next: Option<String>,
    /// Orders on the page: 1 to 100; 10 when it is left out or 0.
    #[schema(minimum = 0, maximum = 100)]
    limit: Option<u32>,
}

/// Filters that can be set, all of them at once. An empty text counts as not set.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is only described")]
pub struct OrderFilters {
    /// Only this customer's orders.
    customer_id: Option<CustomerId>,
    /// Only orders that were placed later than this.
    #[schema(value_type = Option<String>, format = DateTime)]
    after: Option<String>,
    /// Only orders that were placed earlier than this.
    #[schema(value_type = Option<String>, format = DateTime)]
    before: Option<String>,
    /// Only orders with something from one of these stores; 100 at most.
    #[schema(max_items = 100)]
    store_ids: Option<Vec<StoreId>>,
    /// Only orders with one of these products; 100 at most.
    #[schema(max_items = 100)]
    product_ids: Option<Vec<ProductId>>,
    /// Only orders that cost more than this.
    #[schema(value_type = Option<kernel::schema::Amount>)]
    min_total: Option<Money>,
    /// Only orders that cost less than this.
    #[schema(value_type = Option<kernel::schema::Amount>)]
    max_total: Option<Money>,
    /// Only orders that stand so: `New`, `Approved`, `Rejected`, `Ready For Pickup`, `Canceled` or `Completed`.
    status: Option<String>,
}

/// A page of orders that were found.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundOrders {
    /// The orders, newest first.
    pub orders: Vec<FoundOrder>,
    /// The `next` of the following page; null when nothing is left. There may be more even when this page is empty.
    #[schema(required)]
    pub next: Option<String>,
}

/// One order, as searches show it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneOrder {
    /// The order.
    pub order: FoundOrder,
}

/// An order that was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundOrder {
    /// The order.
    order_id: OrderId,
    /// Who ordered.
    customer_id: CustomerId,
    /// What the customer is called; empty when nobody was ever registered under this id.
    customer_name: String,
    /// The lines.
    items: Vec<FoundItem>,
    /// Sum of the lines.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    total: Money,
    /// `New`, `Approved`, `Rejected`, `Ready For Pickup`, `Canceled` or `Completed`.
    status: &'static str,
    /// When it was placed.
    #[schema(value_type = String, format = DateTime)]
    placed_at: String,
}

/// A line of an order that was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FoundItem {
    /// The product.
    product_id: ProductId,
    /// The store that sells it.
    store_id: StoreId,
    /// What the product was called when it was ordered.
    product_name: String,
    /// What the store was called when it was ordered.
    store_name: String,
    /// Price of one piece.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    price: Money,
    /// Pieces.
    #[schema(minimum = 1)]
    quantity: u32,
}

impl FoundOrder {
    /// Shows an order.
    pub fn of(order: SearchedOrder, customer_name: String) -> Self {
        let SearchedOrder { id, customer_id, items, total, status, placed_at, month: _ } = order;
        let items = items.into_iter().map(FoundItem::of).collect();
        let status = status.as_str();
        Self { order_id: id, customer_id, customer_name, items, total, status, placed_at }
    }
}

impl FoundItem {
    fn of(item: OrderItem) -> Self {
        let OrderItem { store_id, product_id, store_name, product_name, price, quantity } = item;
        Self { product_id, store_id, product_name, store_name, price, quantity }
    }
}
