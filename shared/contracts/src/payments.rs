//! Events of the payments context.

use kernel::{Event, Money};
use serde::{Deserialize, Serialize};

use crate::ids::{CustomerId, OrderId};

/// What happens to a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum PaymentEvent {
    /// A customer put up an amount.
    PaymentAuthorized(PaymentAuthorized),
    /// The amount is held for one order, and for no other.
    PaymentConfirmed(PaymentConfirmed),
    /// The hold is given up; the payment is of no further use.
    PaymentReleased(PaymentReleased),
}

/// See [`PaymentEvent::PaymentAuthorized`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentAuthorized {
    /// Who pays.
    pub customer_id: CustomerId,
    /// Up to how much.
    pub amount: Money,
}

/// See [`PaymentEvent::PaymentConfirmed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentConfirmed {
    /// The order it is held for.
    pub order_id: OrderId,
    /// The order's total.
    pub amount: Money,
}

/// See [`PaymentEvent::PaymentReleased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentReleased {
    /// The order that no longer needs it.
    pub order_id: OrderId,
}

impl Event for PaymentEvent {
    const SCHEMAS: &'static [(&'static str, u16)] =
        &[("PaymentAuthorized", 1), ("PaymentConfirmed", 1), ("PaymentReleased", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            PaymentEvent::PaymentAuthorized(_) => "PaymentAuthorized",
            PaymentEvent::PaymentConfirmed(_) => "PaymentConfirmed",
            PaymentEvent::PaymentReleased(_) => "PaymentReleased",
        }
    }
}
