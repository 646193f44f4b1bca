//! The routes of payments and invoices, for the API's document.

use api_docs::Operation;
use contracts::ids::{CustomerId, OrderId, PaymentId};
use kernel::{Money, schema::Amount};
use utoipa::ToSchema;

use crate::{
    invoices::InvoicePage,
    views::{InvoiceAnswer, PaymentAnswer},
};

/// How the document groups the routes.
const TAG: &str = "Payments";

/// The body of `POST /api/payments`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct AuthorizePayment {
    /// Who pays.
    pub customer_id: CustomerId,
    /// Up to how much. It cannot be negative.
    #[schema(value_type = Amount)]
    pub amount: Money,
}

/// The body of what is done to a payment for an order.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ForOrder {
    /// The order: it has to be paid with this payment.
    pub order_id: OrderId,
}

/// The body of `PUT /api/payments/{id}/refund`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct RefundPayment {
    /// The order: it has to be paid with this payment.
    pub order_id: OrderId,
    /// Why: a code. More than 120 characters are cut.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
}

/// The body of `POST /api/payments/invoices`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct CreateInvoice {
    /// The order. The invoice has its id.
    pub order_id: OrderId,
    /// If given, it has to be the payment that the order is paid with.
    pub payment_id: Option<PaymentId>,
    /// If given, it has to be the order's total.
    #[schema(value_type = Option<Amount>)]
    pub amount: Option<Money>,
}

/// The body of `PUT /api/payments/invoices/{id}/adjust`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct AdjustInvoice {
    /// How much is owed from now on. It cannot be negative, nor more than the payment holds for the order.
    #[schema(value_type = Amount)]
    pub amount: Money,
}

/// The body of `PUT /api/payments/invoices/{id}/cancel`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct CancelInvoice {
    /// Why: a code. More than 120 characters are cut; `CANCELLED_BY_HAND` when nothing is said.
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// The operations of payments and invoices.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/api/payments", "authorizePayment", TAG, "Puts up an amount to pay an order with.")
            .takes::<AuthorizePayment>(),
        Operation::get("/api/payments/{id}", "getPayment", TAG, "Shows a payment.")
            .shows::<PaymentAnswer>()
            .past(),
        Operation::put(
            "/api/payments/{id}/confirm",
            "confirmPayment",
            TAG,
            "Holds an order's total; the order saga does so for every order.",
        )
        .takes::<ForOrder>(),
        Operation::put(
            "/api/payments/{id}/capture",
            "capturePayment",
            TAG,
            "Takes what an order's invoice says; that happens by itself when the invoice is paid.",
        )
        .takes::<ForOrder>(),
        Operation::put(
            "/api/payments/{id}/release",
            "releasePayment",
            TAG,
            "Gives up what is held for an order; harmless when nothing is.",
        )
        .takes::<ForOrder>(),
        Operation::put(
            "/api/payments/{id}/refund",
            "refundPayment",
            TAG,
            "Gives back all that was taken for an order.",
        )
        .takes::<RefundPayment>(),
        Operation::post(
            "/api/payments/invoices",
            "createInvoice",
            TAG,
            "Asks for an order's total; that happens by itself when the order is ready.",
        )
        .takes::<CreateInvoice>()
        .refuses(404),
        Operation::get(
            "/api/payments/invoices",
            "listInvoices",
            TAG,
            "A customer's invoices, newest first; without a customer what is still to be paid in the whole mall, longest first.",
        )
        .shows::<InvoicePage>()
        .query("customerId", "The customer. Without it only pending invoices are listed.", false)
        .query("status", "Only those: `pending`, `paid` or `canceled`.", false)
        .pages(),
        Operation::get("/api/payments/invoices/{id}", "getInvoice", TAG, "Shows the invoice of an order.")
            .shows::<InvoiceAnswer>()
            .past(),
        Operation::put(
            "/api/payments/invoices/{id}/adjust",
            "adjustInvoice",
            TAG,
            "Asks for another amount, as long as the invoice is pending.",
        )
        .takes::<AdjustInvoice>(),
        Operation::put("/api/payments/invoices/{id}/pay", "payInvoice", TAG, "Pays an invoice."),
        Operation::put(
            "/api/payments/invoices/{id}/cancel",
            "cancelInvoice",
            TAG,
            "Cancels a pending invoice.",
        )
        .takes::<CancelInvoice>(),
    ]
}
