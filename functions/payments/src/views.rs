//! What is shown of a payment and of an invoice: both are read from their own streams. Lists of invoices are in [`crate::invoices`].

use contracts::ids::{CustomerId, InvoiceId, OrderId, PaymentId};
use kernel::{Money, Timestamp, Version, money::decimal, schema::Amount};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    invoice::{Bill, Invoice, Terms},
    payment::Payment,
    record::Record,
};

/// A payment, for its customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentView {
    /// The payment.
    id: PaymentId,
    /// Who pays.
    customer_id: CustomerId,
    /// Up to how much: what was put up.
    #[serde(with = "decimal")]
    #[schema(value_type = Amount)]
    amount: Money,
    /// `authorized`, `confirmed`, `captured`, `refunded` or `released`.
    status: &'static str,
    /// The order it is, or was, used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// What is held for the order.
    #[serde(with = "decimal")]
    #[schema(value_type = Amount)]
    held: Money,
    /// What was taken for the order.
    #[serde(with = "decimal")]
    #[schema(value_type = Amount)]
    captured: Money,
    /// What of that was given back.
    #[serde(with = "decimal")]
    #[schema(value_type = Amount)]
    refunded: Money,
    /// The version it has reached.
    version: Version,
}

impl PaymentView {
    /// Shows a payment.
    pub fn of(id: PaymentId, payment: &Payment, version: Version) -> Self {
        let put_up = payment.put_up();
        Self {
            id,
            customer_id: put_up.customer_id,
            amount: put_up.amount,
            status: payment.status(),
            order_id: payment.order_id(),
            held: payment.held().unwrap_or(Money::ZERO),
            captured: payment.captured().unwrap_or(Money::ZERO),
            refunded: payment.refunded().unwrap_or(Money::ZERO),
            version,
        }
    }
}

/// What `GET /api/payments/{id}` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentAnswer {
    /// The payment.
    pub payment: PaymentView,
}

/// An invoice, for its customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceView {
    /// The invoice: it has the order's id.
    id: InvoiceId,
    /// The order.
    order_id: OrderId,
    /// Who owes, or owed.
    customer_id: CustomerId,
    /// The payment that is held for the order.
    payment_id: PaymentId,
    /// How much.
    #[serde(with = "decimal")]
    #[schema(value_type = Amount)]
    amount: Money,
    /// `pending`, `paid` or `canceled`.
    status: &'static str,
    /// Until when it is to be paid, as long as it is pending. When nobody does, it is canceled, and so is the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    /// How often the customer was reminded.
    reminders: u32,
    /// Why it was canceled: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The version it has reached.
    version: Version,
}

impl InvoiceView {
    /// Shows an invoice; nothing when it was never made.
    pub(crate) fn of(id: InvoiceId, record: &Record, terms: Terms) -> Option<Self> {
        let Record { invoice, version, first, .. } = record;
        let Bill { order_id, customer_id, payment_id, amount, reminders, .. } = *invoice.bill()?;
        let due_at = match invoice {
            Invoice::Pending(_) => Some(terms.due_at(first.at)),
            Invoice::Paid(_) | Invoice::Canceled(..) | Invoice::NeverMade(_) => None,
        };
        let reason = invoice.reason().map(|reason| reason.as_str().to_owned());
        let (status, version) = (invoice.status(), *version);
        Some(Self {
            id,
            order_id,
            customer_id,
            payment_id,
            amount,
            status,
            due_at,
            reminders,
            reason,
            version,
        })
    }
}

/// What `GET /api/payments/invoices/{id}` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceAnswer {
    /// The invoice.
    pub invoice: InvoiceView,
}
