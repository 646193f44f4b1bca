//! The functions of order search: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, serve, sweep_view, system_ports, use_case};
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
    let sweepers = || {
        Ok::<_, String>(vec![
            aws::sweeper::<SearchedOrders>(&config, "SEARCHED_ORDERS_TABLE", &store, &ports)?,
            aws::sweeper::<CustomerNames>(&config, "CUSTOMER_NAMES_TABLE", &store, &ports)?,
        ])
    };
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "project-searched-orders" => batch_consumer(&search()?, &messages(), Search::project_searched_orders),
        "project-customer-names" => batch_consumer(&search()?, &messages(), Search::project_customer_names),
        "search-orders" => use_case(&search()?, &ports, Search::search_orders),
        "get-searched-order" => use_case(&search()?, &ports, Search::get_searched_order),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
