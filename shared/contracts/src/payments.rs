//! Events of the payments context.

use kernel::{Event, Money, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{CustomerId, OrderId, PaymentId};

/// What happens to a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum PaymentEvent {
    /// A customer put up an amount.
    PaymentAuthorized(PaymentAuthorized),
    /// The amount is held for one order, and for no other.
    PaymentConfirmed(PaymentConfirmed),
    /// The hold is given up; the payment is of no further use.
    PaymentReleased(PaymentReleased),
    /// The amount was taken: the order's invoice is paid.
    PaymentCaptured(PaymentCaptured),
    /// What was taken was given back.
    PaymentRefunded(PaymentRefunded),
}

/// See [`PaymentEvent::PaymentAuthorized`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentAuthorized {
    /// Who pays.
    pub customer_id: CustomerId,
    /// Up to how much.
    pub amount: Money,
}

/// See [`PaymentEvent::PaymentConfirmed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentConfirmed {
    /// The order it is held for.
    pub order_id: OrderId,
    /// The order's total.
    pub amount: Money,
}

/// See [`PaymentEvent::PaymentReleased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentReleased {
    /// The order that no longer needs it.
    pub order_id: OrderId,
}

/// See [`PaymentEvent::PaymentCaptured`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCaptured {
    /// The order it was held for.
    pub order_id: OrderId,
    /// What was taken: never more than was put up.
    pub amount: Money,
}

/// See [`PaymentEvent::PaymentRefunded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefunded {
    /// The order it was taken for.
    pub order_id: OrderId,
    /// What was given back: all that was taken.
    pub amount: Money,
    /// Why: a code.
    pub reason: String,
}

impl Event for PaymentEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("PaymentAuthorized", 1),
        ("PaymentConfirmed", 1),
        ("PaymentReleased", 1),
        ("PaymentCaptured", 1),
        ("PaymentRefunded", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            PaymentEvent::PaymentAuthorized(_) => "PaymentAuthorized",
            PaymentEvent::PaymentConfirmed(_) => "PaymentConfirmed",
            PaymentEvent::PaymentReleased(_) => "PaymentReleased",
            PaymentEvent::PaymentCaptured(_) => "PaymentCaptured",
            PaymentEvent::PaymentRefunded(_) => "PaymentRefunded",
        }
    }
}

/// What happens to an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum InvoiceEvent {
    /// The customer owes for an order. The invoice has the order's id.
    InvoiceCreated(InvoiceCreated),
    /// The customer owes another amount.
    InvoiceAdjusted(InvoiceAdjusted),
    /// The customer has not paid yet, and is told so.
    InvoiceReminded(InvoiceReminded),
    /// The customer paid.
    InvoicePaid(InvoicePaid),
    /// The customer owes nothing any more, without having paid. When this is an invoice's first event, it was never made, and will not be.
    InvoiceCanceled(InvoiceCanceled),
}

/// See [`InvoiceEvent::InvoiceCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceCreated {
    /// The order.
    pub order_id: OrderId,
    /// Who owes.
    pub customer_id: CustomerId,
    /// The payment that is held for the order.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
}

/// See [`InvoiceEvent::InvoiceAdjusted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceAdjusted {
    /// The order.
    pub order_id: OrderId,
    /// What was owed before.
    pub old_amount: Money,
    /// What is owed now.
    pub amount: Money,
}

/// See [`InvoiceEvent::InvoiceReminded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceReminded {
    /// The order.
    pub order_id: OrderId,
    /// Who owes.
    pub customer_id: CustomerId,
    /// The payment that is held for the order.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// Which reminder of this invoice it is: the first is 1.
    pub reminder: u32,
    /// Until when it is to be paid; then the order is cancelled.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
}

/// See [`InvoiceEvent::InvoicePaid`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoicePaid {
    /// The order.
    pub order_id: OrderId,
    /// Who paid.
    pub customer_id: CustomerId,
    /// The payment that is held for the order.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
}

/// The reason of an invoice that nobody paid in time, and of the undo of its order.
pub const PAYMENT_OVERDUE: &str = "PAYMENT_OVERDUE";

/// See [`InvoiceEvent::InvoiceCanceled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceCanceled {
    /// The order.
    pub order_id: OrderId,
    /// Why: a code.
    pub reason: String,
}

impl Event for InvoiceEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("InvoiceCreated", 1),
        ("InvoiceAdjusted", 1),
        ("InvoiceReminded", 1),
        ("InvoicePaid", 1),
        ("InvoiceCanceled", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            InvoiceEvent::InvoiceCreated(_) => "InvoiceCreated",
            InvoiceEvent::InvoiceAdjusted(_) => "InvoiceAdjusted",
            InvoiceEvent::InvoiceReminded(_) => "InvoiceReminded",
            InvoiceEvent::InvoicePaid(_) => "InvoicePaid",
            InvoiceEvent::InvoiceCanceled(_) => "InvoiceCanceled",
        }
    }
}
