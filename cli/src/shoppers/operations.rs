//! The requests that are made, and the refusals that are no surprise: what the business may say no to while others
//! change things at the same time, and what a reader meets who is faster than the events.

use uuid::Uuid;

/// A route of the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    pub method: &'static str,
    pub route: &'static str,
    /// Codes of refusals that may come.
    pub expects: &'static [&'static str],
}

impl Operation {
    const fn new(method: &'static str, route: &'static str, expects: &'static [&'static str]) -> Self {
        Self { method, route, expects }
    }

    /// As it is counted.
    pub fn label(&self) -> String {
        format!("{} {}", self.method, self.route)
    }

    /// The path for one id; routes without `{id}` take none.
    pub fn path(&self, id: Uuid) -> String {
        self.route.replacen("{id}", &id.to_string(), 1)
    }

    /// Whether a repeat needs a key.
    pub fn is_command(&self) -> bool {
        self.method != "GET"
    }
}

// ---- stores
pub const CREATE_STORE: Operation = Operation::new("POST", "/api/stores", &[]);
pub const PARTICIPATE: Operation = Operation::new("PUT", "/api/stores/{id}/participating", &[]);
pub const ADD_PRODUCT: Operation = Operation::new("POST", "/api/stores/{id}/products", &[]);
pub const REBRAND_STORE: Operation = Operation::new("PUT", "/api/stores/{id}/rebrand", &[]);
// Somebody may have removed the product since it was listed.
pub const REBRAND_PRODUCT: Operation =
    Operation::new("PUT", "/api/stores/products/{id}/rebrand", &["PRODUCT_WAS_REMOVED", "PRODUCT_NOT_FOUND"]);
// Two shopkeepers may change one price at the same time.
pub const INCREASE_PRICE: Operation = Operation::new(
    "PUT",
    "/api/stores/products/{id}/increasePrice",
    &["NOT_A_PRICE_INCREASE", "PRODUCT_WAS_REMOVED", "PRODUCT_NOT_FOUND"],
);
pub const DECREASE_PRICE: Operation = Operation::new(
    "PUT",
    "/api/stores/products/{id}/decreasePrice",
    &["NOT_A_PRICE_DECREASE", "PRODUCT_WAS_REMOVED", "PRODUCT_NOT_FOUND"],
);
pub const LIST_STORES: Operation = Operation::new("GET", "/api/stores", &[]);
pub const LIST_PRODUCTS: Operation = Operation::new("GET", "/api/stores/{id}/products", &[]);

// ---- customers, baskets, payments
pub const REGISTER: Operation = Operation::new("POST", "/api/customers", &[]);
pub const START_BASKET: Operation = Operation::new("POST", "/api/baskets", &[]);
// The store may stop selling a product, or taking part, while a shopper stands before its shelf.
pub const ADD_ITEM: Operation =
    Operation::new("PUT", "/api/baskets/{id}/addItem", &["PRODUCT_NOT_FOUND", "STORE_DOES_NOT_PARTICIPATE"]);
pub const REMOVE_ITEM: Operation = Operation::new("PUT", "/api/baskets/{id}/removeItem", &[]);
pub const GET_BASKET: Operation = Operation::new("GET", "/api/baskets/{id}", &[]);
pub const CHECKOUT: Operation =
    Operation::new("PUT", "/api/baskets/{id}/checkout", &[PRICES_HAVE_RISEN, "PRODUCT_IS_NOT_SOLD"]);
pub const CANCEL_BASKET: Operation = Operation::new("DELETE", "/api/baskets/{id}", &[]);
pub const AUTHORIZE: Operation = Operation::new("POST", "/api/payments", &[]);

// ---- orders and invoices
// The order comes from the checkout by an event.
pub const GET_ORDER: Operation = Operation::new("GET", "/api/ordering/{id}", &["ORDER_NOT_FOUND"]);
// So does the invoice from the order.
pub const GET_INVOICE: Operation =
    Operation::new("GET", "/api/payments/invoices/{id}", &["INVOICE_NOT_FOUND"]);
pub const GET_PAYMENT: Operation = Operation::new("GET", "/api/payments/{id}", &[]);
pub const TIMELINE: Operation = Operation::new("GET", "/api/orders/{id}/timeline", &[]);
// It may have been cancelled with its order.
pub const PAY_INVOICE: Operation = Operation::new(
    "PUT",
    "/api/payments/invoices/{id}/pay",
    &["INVOICE_NOT_FOUND", "INVOICE_CANNOT_BE_PAID", "INVOICE_WAS_CANCELLED"],
);

// ---- stock and depot
// A product that was added a moment ago.
pub const ADD_STOCK: Operation = Operation::new("POST", "/api/inventory/{id}/add", &["PRODUCT_NOT_FOUND"]);
pub const GET_STOCK: Operation = Operation::new("GET", "/api/inventory/{id}", &[]);
pub const REGISTER_BOT: Operation = Operation::new("POST", "/api/depot/bots", &[]);
pub const WORK_QUEUE: Operation = Operation::new("GET", "/api/depot/shopping/available", &[]);
pub const ASSIGN: Operation = Operation::new(
    "PUT",
    "/api/depot/shopping/{id}/assign",
    &[TAKEN, BOT_IS_BUSY, "SHOPPING_LIST_WAS_CANCELLED"],
);
// The order may be cancelled while the bot is on its way.
pub const START: Operation = Operation::new(
    "PUT",
    "/api/depot/shopping/{id}/start",
    &["SHOPPING_CANNOT_BE_STARTED", "SHOPPING_LIST_WAS_CANCELLED"],
);
pub const COMPLETE: Operation = Operation::new(
    "PUT",
    "/api/depot/shopping/{id}/complete",
    &["SHOPPING_CANNOT_BE_COMPLETED", "SHOPPING_LIST_WAS_CANCELLED"],
);

/// Another bot was faster, or the order was cancelled.
pub const TAKEN: &str = "SHOPPING_CANNOT_BE_ASSIGNED";
/// The bot's last list is done, and it has not been told yet.
pub const BOT_IS_BUSY: &str = "BOT_IS_BUSY";
/// The basket has the new prices now: look, and check out again.
pub const PRICES_HAVE_RISEN: &str = "PRICES_HAVE_RISEN";
