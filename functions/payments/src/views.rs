//! What is shown of a payment.

use contracts::ids::{CustomerId, OrderId, PaymentId};
use kernel::{Money, Version, money::decimal};
use serde::Serialize;

use crate::payment::Payment;

/// A payment, for its customer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentView {
    id: PaymentId,
    customer_id: CustomerId,
    #[serde(with = "decimal")]
    amount: Money,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    version: Version,
}

impl PaymentView {
    /// Shows a payment.
    pub fn of(id: PaymentId, payment: &Payment, version: Version) -> Self {
        Self {
            id,
            customer_id: payment.customer_id(),
            amount: payment.amount(),
            status: payment.status(),
            order_id: payment.order_id(),
            version,
        }
    }
}
