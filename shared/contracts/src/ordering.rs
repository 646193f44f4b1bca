//! Events of the ordering context.

use kernel::{Event, Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    baskets::BasketItem,
    ids::{CustomerId, InvoiceId, PaymentId, ShoppingListId},
};

/// One line of an order. An order keeps the lines of the basket it came from, as the shopper saw them.
pub type OrderItem = BasketItem;

/// What happens to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum OrderEvent {
    /// The order was placed and waits for the order saga.
    OrderCreated(OrderCreated),
    /// Everything the order needs is in place.
    OrderApproved(OrderApproved),
    /// Something the order needs is not to be had; all that was done for it is undone.
    OrderRejected(OrderRejected),
    /// The order was cancelled before it was completed.
    OrderCanceled(OrderCanceled),
    /// Everything was collected: the customer can be asked to pay.
    OrderReadied(OrderReadied),
    /// The customer paid; the order is done.
    OrderCompleted(OrderCompleted),
}

/// See [`OrderEvent::OrderCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderApproved {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer pays with.
    pub payment_id: PaymentId,
    /// The shopping list by which it is collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopping_id: Option<ShoppingListId>,
}

/// See [`OrderEvent::OrderRejected`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCanceled {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer would have paid with.
    pub payment_id: PaymentId,
    /// Why: a code. The customer's own wish when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`OrderEvent::OrderReadied`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderReadied {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer pays with.
    pub payment_id: PaymentId,
    /// What the customer is to pay.
    pub total: Money,
}

/// See [`OrderEvent::OrderCompleted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCompleted {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer paid with.
    pub payment_id: PaymentId,
    /// The invoice that was paid.
    pub invoice_id: InvoiceId,
}

impl Event for OrderEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("OrderCreated", 1),
        ("OrderApproved", 1),
        ("OrderRejected", 1),
        ("OrderCanceled", 1),
        ("OrderReadied", 1),
        ("OrderCompleted", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            OrderEvent::OrderCreated(_) => "OrderCreated",
            OrderEvent::OrderApproved(_) => "OrderApproved",
            OrderEvent::OrderRejected(_) => "OrderRejected",
            OrderEvent::OrderCanceled(_) => "OrderCanceled",
            OrderEvent::OrderReadied(_) => "OrderReadied",
            OrderEvent::OrderCompleted(_) => "OrderCompleted",
        }
    }
}
