//! The payments functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, consumer, raw, serve, sweep_view, system_ports, use_case};
use payments::{
    Payments,
    chase::Chase,
    invoice::Terms,
    invoices::{InvoiceViews, Invoices},
};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = aws::event_store(&config, &ports)?;
    let terms =
        Terms::new(&aws::setting("PAYMENT_DEADLINE_SECONDS")?, &aws::setting("PAYMENT_REMINDER_SECONDS")?)?;
    let payments = Arc::new(Payments::new(store.clone(), ports.clone(), terms));
    let views = || {
        let invoices = aws::projector(&config, "INVOICES_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(InvoiceViews::new(invoices, terms)))
    };
    let chase = || {
        let invoices = aws::projector(&config, "INVOICES_TABLE", &store, &ports)?;
        let chase = Arc::new(Chase::new(payments.clone(), invoices));
        Ok::<_, String>(raw(move |_: Value, _| chase.clone().chase_payments()))
    };
    let sweepers =
        || Ok::<_, String>(vec![aws::sweeper::<Invoices>(&config, "INVOICES_TABLE", &store, &ports)?]);
    let messages = || aws::messages(&config, &ports);
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
        "settle-invoice-and-payment" => use_case(&payments, &ports, Payments::settle_invoice_and_payment),
        "chase-payments" => chase()?,
        "invoice-order" => consumer(&payments, &messages(), Payments::invoice_order),
        "capture-payment" => consumer(&payments, &messages(), Payments::capture_payment),
        "project-invoices" => batch_consumer(&views()?, &messages(), InvoiceViews::project_invoices),
        "list-invoices" => use_case(&views()?, &ports, InvoiceViews::list_invoices),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
