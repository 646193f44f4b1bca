//! The routes of ordering, for the documents of the API.

use api_docs::Operation;
use contracts::ids::{CustomerId, PaymentId, ProductId};
use kernel::Money;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    saga_views::{SagaDetailView, SagaView},
    timeline::TimelineView,
    views::OrderView,
};

const TAG: &str = "Ordering";

/// Every route of the context.
pub fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, TAG, summary);
    let post = |path, id, summary| Operation::post(path, id, TAG, summary);
    vec![
        post("/api/ordering", "createOrder", "Places an order without a basket.")
            .takes::<CreateOrder>()
            .refuses(404),
        get("/api/ordering/{id}", "getOrder", "Shows an order as it is now, or was.")
            .shows::<ShownOrder>()
            .past(),
        Operation::delete("/api/ordering/{id}", "cancelOrder", TAG, "Cancels an order that is not paid yet."),
        get("/api/orders", "listOrders", "Lists a customer's orders, newest first.")
            .query("customerId", "Whose orders: a UUID.", true)
            .pages()
            .shows::<ListedOrders>(),
        get("/api/orders/{id}", "getOrderView", "Shows an order as lists do, at least as new as asked for.")
            .number("minVersion", "Answer no older than this version, as a command answered it.")
            .refuses(409)
            .shows::<ShownOrder>(),
        get(
            "/api/orders/{id}/timeline",
            "getOrderTimeline",
            "Tells what happened to an order, and what it waits for.",
        )
        .shows::<ShownTimeline>(),
        get("/api/sagas", "listSagas", "Lists order sagas, newest first.")
            .query(
                "status",
                "How they stand: `running`, `succeeded`, `undoing`, `undone` or `stuck`; all, if left out.",
                false,
            )
            .pages()
            .shows::<ListedSagas>(),
        get(
            "/api/sagas/{id}",
            "getSaga",
            "Shows the saga of an order with its steps, its history and its last undo.",
        )
        .shows::<ShownSaga>(),
        post(
            "/api/sagas/{id}/retry",
            "retrySaga",
            "Starts the placement of a pending order, or the next attempt to undo it, now.",
        ),
        post(
            "/api/sagas/{id}/undo",
            "undoOrder",
            "Undoes an order that is not paid: gives back all that is held for it.",
        )
        .takes::<UndoOrder>(),
    ]
}

/// An order to be placed.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct CreateOrder {
    /// Who orders.
    pub customer_id: CustomerId,
    /// The payment that covers it.
    pub payment_id: PaymentId,
    /// What is ordered: at most 100 different products. A product that is named twice is ordered once, with the sum of
    /// the pieces.
    #[schema(min_items = 1)]
    pub items: Vec<WantedItem>,
}

/// Pieces of one product.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct WantedItem {
    /// The product.
    pub product_id: ProductId,
    /// Pieces; at most 10,000 of one product.
    #[schema(minimum = 1, maximum = 10000)]
    pub quantity: u32,
    /// The price of one piece that the customer was shown. Another one than the store's is refused; left out, the
    /// store's is taken.
    #[schema(value_type = Option<kernel::schema::Amount>)]
    pub price: Option<Money>,
}

/// An order to be undone.
#[derive(ToSchema)]
pub struct UndoOrder {
    /// Why: a code, which becomes the order's reason. More than 120 characters are cut; `UNDONE_BY_HAND` when
    /// nothing is said.
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// One order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownOrder {
    /// The order.
    pub order: OrderView,
}

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedOrders {
    /// The orders, newest first.
    pub orders: Vec<OrderView>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next: Option<String>,
}

/// The story of one order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownTimeline {
    /// The story.
    pub timeline: TimelineView,
}

/// A page of order sagas.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedSagas {
    /// The sagas, newest first; perhaps fewer than the limit although there are more.
    pub sagas: Vec<SagaView>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next: Option<String>,
}

/// One order saga.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownSaga {
    /// The saga.
    pub saga: SagaDetailView,
}
