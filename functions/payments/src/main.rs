//! The payments functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, consumer, serve, system_ports, use_case};
use payments::Payments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let store = aws::event_store(&aws::config(), &ports)?;
    let payments = Arc::new(Payments::new(store, ports.clone()));
    Ok(Some(match name.as_str() {
        "authorize-payment" => use_case(&payments, &ports, Payments::authorize_payment),
        "get-payment" => use_case(&payments, &ports, Payments::get_payment),
        "confirm-payment" => use_case(&payments, &ports, Payments::confirm_payment),
        "release-payment" => use_case(&payments, &ports, Payments::release_payment),
        "capture-held-payment" => use_case(&payments, &ports, Payments::capture_held_payment),
        "refund-payment" => use_case(&payments, &ports, Payments::refund_payment),
        "create-invoice" => use_case(&payments, &ports, Payments::create_invoice),
        "get-invoice" => use_case(&payments, &ports, Payments::get_invoice),
        "adjust-invoice" => use_case(&payments, &ports, Payments::adjust_invoice),
        "pay-invoice" => use_case(&payments, &ports, Payments::pay_invoice),
        "cancel-invoice" => use_case(&payments, &ports, Payments::cancel_invoice),
        "invoice-order" => consumer(&payments, Payments::invoice_order),
        "capture-payment" => consumer(&payments, Payments::capture_payment),
        "settle-cancelled-order" => consumer(&payments, Payments::settle_cancelled_order),
        _ => return Ok(None),
    }))
}
