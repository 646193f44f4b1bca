//! Events of the ordering context.

use kernel::{Event, Money, Timestamp};
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
    /// The order could not be placed; its saga undoes what was done for it.
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

/// Facts about an order's saga that the order's own stream does not say. The saga of an order that goes well
/// has no events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum SagaEvent {
    /// The placement of a pending order was started again.
    SagaPlacementResumed(SagaPlacementResumed),
    /// An attempt to undo the order began.
    SagaUndoBegan(SagaUndoBegan),
    /// An attempt to undo the order ended.
    SagaUndoEnded(SagaUndoEnded),
    /// The saga cannot go on by itself: an operator has to look.
    SagaStuck(SagaStuck),
    /// The order went on by itself: the saga needs nobody any more.
    SagaSettled(SagaSettled),
}

/// See [`SagaEvent::SagaPlacementResumed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaPlacementResumed {
    /// Number of the attempt; the first start, by `OrderCreated`, is 0.
    pub attempt: u32,
    /// Time from which on the order is looked at again.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
}

/// Origin of an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UndoOrigin {
    /// A placement failed. An order that was approved all the same is kept.
    Placement,
    /// The order was cancelled.
    Cancellation,
    /// The time to pay is over.
    Expiry,
    /// An operator asked.
    Operator,
}

/// See [`SagaEvent::SagaUndoBegan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaUndoBegan {
    /// Number of the attempt, from 1; its execution is called `<order id>-undo-<attempt>`.
    pub attempt: u32,
    /// Who asked.
    pub origin: UndoOrigin,
    /// Why: a code, which becomes the order's reason.
    pub reason: String,
    /// Time from which on an attempt without an end counts as lost.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
}

/// Result of an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UndoOutcome {
    /// The order is over, and nothing is held for it any more.
    Undone,
    /// The order had been approved or paid, so nothing was undone.
    Kept,
}

/// See [`SagaEvent::SagaUndoEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaUndoEnded {
    /// Number of the attempt.
    pub attempt: u32,
    /// Its result.
    pub outcome: UndoOutcome,
}

/// See [`SagaEvent::SagaStuck`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaStuck {
    /// Number of the last attempt to undo; 0 if none was made.
    pub attempt: u32,
    /// Code of the error.
    pub error: String,
    /// Description of the error.
    pub cause: String,
}

/// See [`SagaEvent::SagaSettled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaSettled {}

impl Event for SagaEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("SagaPlacementResumed", 1),
        ("SagaUndoBegan", 1),
        ("SagaUndoEnded", 1),
        ("SagaStuck", 1),
        ("SagaSettled", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            SagaEvent::SagaPlacementResumed(_) => "SagaPlacementResumed",
            SagaEvent::SagaUndoBegan(_) => "SagaUndoBegan",
            SagaEvent::SagaUndoEnded(_) => "SagaUndoEnded",
            SagaEvent::SagaStuck(_) => "SagaStuck",
            SagaEvent::SagaSettled(_) => "SagaSettled",
        }
    }
}
