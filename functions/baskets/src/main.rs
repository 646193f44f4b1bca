//! The baskets functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use baskets::Baskets;
use lambda::{Function, aws, serve, system_ports, use_case};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let store = aws::event_store(&aws::config(), &ports)?;
    let baskets = Arc::new(Baskets::new(store, ports.clone()));
    Ok(Some(match name.as_str() {
        "start-basket" => use_case(&baskets, &ports, Baskets::start_basket),
        "add-item" => use_case(&baskets, &ports, Baskets::add_item),
        "remove-item" => use_case(&baskets, &ports, Baskets::remove_item),
        "checkout-basket" => use_case(&baskets, &ports, Baskets::checkout_basket),
        "cancel-basket" => use_case(&baskets, &ports, Baskets::cancel_basket),
        "get-basket" => use_case(&baskets, &ports, Baskets::get_basket),
        _ => return Ok(None),
    }))
}
