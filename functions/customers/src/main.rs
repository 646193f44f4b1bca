//! The customers functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use customers::Customers;
use lambda::{Function, aws, serve, system_ports, use_case};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let store = aws::event_store(&aws::config(), &ports)?;
    let customers = Arc::new(Customers::new(store, ports.clone()));
    Ok(Some(match name.as_str() {
        "register-customer" => use_case(&customers, &ports, Customers::register_customer),
        "get-customer" => use_case(&customers, &ports, Customers::get_customer),
        "change-sms-number" => use_case(&customers, &ports, Customers::change_sms_number),
        "enable-customer" => use_case(&customers, &ports, Customers::enable_customer),
        "disable-customer" => use_case(&customers, &ports, Customers::disable_customer),
        "authorize-customer" => use_case(&customers, &ports, Customers::authorize_customer),
        _ => return Ok(None),
    }))
}
