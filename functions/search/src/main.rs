//! The functions of order search: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, rebuild_view, serve, system_ports, use_case};
use search::{
    Search,
    views::{CustomerNames, SearchedOrders},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = aws::event_store(&config, &ports)?;
    let search = || {
        let orders = aws::projector(&config, "SEARCHED_ORDERS_TABLE", &store, &ports)?;
        let customers = aws::projector(&config, "CUSTOMER_NAMES_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(Search::new(orders, customers)))
    };
    let rebuilders = || {
        Ok::<_, String>(vec![
            aws::rebuilder::<SearchedOrders>(&config, "SEARCHED_ORDERS_TABLE", &store, &ports)?,
            aws::rebuilder::<CustomerNames>(&config, "CUSTOMER_NAMES_TABLE", &store, &ports)?,
        ])
    };
    Ok(Some(match name.as_str() {
        "project-searched-orders" => batch_consumer(&search()?, Search::project_searched_orders),
        "project-customer-names" => batch_consumer(&search()?, Search::project_customer_names),
        "search-orders" => use_case(&search()?, &ports, Search::search_orders),
        "get-searched-order" => use_case(&search()?, &ports, Search::get_searched_order),
        "rebuild-view" => rebuild_view(rebuilders()?, &ports),
        _ => return Ok(None),
    }))
}
