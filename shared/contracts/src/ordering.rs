//! Events of the ordering context.

use kernel::{Event, Money};
use serde::{Deserialize, Serialize};

use crate::{
    baskets::BasketItem,
    ids::{CustomerId, PaymentId},
};

/// One line of an order. An order keeps the lines of the basket it came from, as the shopper saw them.
pub type OrderItem = BasketItem;

/// What happens to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum OrderEvent {
    /// The order was placed and waits for the order saga.
    OrderCreated(OrderCreated),
    /// Everything the order needs is in place.
    OrderApproved(OrderApproved),
    /// Something the order needs is not to be had; all that was done for it is undone.
    OrderRejected(OrderRejected),
    /// The customer took the order back.
    OrderCanceled(OrderCanceled),
}

/// See [`OrderEvent::OrderCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer pays with.
    pub payment_id: PaymentId,
    /// The lines, at least one.
    pub items: Vec<OrderItem>,
    /// Sum of the lines; what the payment has to cover.
    pub total: Money,
}

/// See [`OrderEvent::OrderApproved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderApproved {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer pays with.
    pub payment_id: PaymentId,
}

/// See [`OrderEvent::OrderRejected`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRejected {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer would have paid with.
    pub payment_id: PaymentId,
    /// Why: the code of the refusal, or of the failure, that stopped the saga.
    pub reason: String,
}

/// See [`OrderEvent::OrderCanceled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCanceled {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer would have paid with.
    pub payment_id: PaymentId,
}

impl Event for OrderEvent {
    const SCHEMAS: &'static [(&'static str, u16)] =
        &[("OrderCreated", 1), ("OrderApproved", 1), ("OrderRejected", 1), ("OrderCanceled", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            OrderEvent::OrderCreated(_) => "OrderCreated",
            OrderEvent::OrderApproved(_) => "OrderApproved",
            OrderEvent::OrderRejected(_) => "OrderRejected",
            OrderEvent::OrderCanceled(_) => "OrderCanceled",
        }
    }
}
