//! The inventory functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use inventory::{
    Inventory,
    views::{StockLevels, StockViews},
};
use lambda::{Function, aws, batch_consumer, consumer, serve, sweep_view, system_ports, use_case};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = aws::event_store(&config, &ports)?;
    let inventory = || Arc::new(Inventory::new(store.clone(), ports.clone()));
    let views = || {
        let stock = aws::projector(&config, "STOCK_LEVELS_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(StockViews::new(stock)))
    };
    let sweepers =
        || Ok::<_, String>(vec![aws::sweeper::<StockLevels>(&config, "STOCK_LEVELS_TABLE", &store, &ports)?]);
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "get-stock" => use_case(&inventory(), &ports, Inventory::get_stock),
        "add-stock" => use_case(&inventory(), &ports, Inventory::add_stock),
        "set-stock" => use_case(&inventory(), &ports, Inventory::set_stock),
        "reduce-stock" => use_case(&inventory(), &ports, Inventory::reduce_stock),
        "set-low-stock-threshold" => use_case(&inventory(), &ports, Inventory::set_low_stock_threshold),
        "start-tracking" => use_case(&inventory(), &ports, Inventory::start_tracking),
        "stop-tracking" => use_case(&inventory(), &ports, Inventory::stop_tracking),
        "reserve-inventory" => use_case(&inventory(), &ports, Inventory::reserve_inventory),
        "release-inventory" => use_case(&inventory(), &ports, Inventory::release_inventory),
        "sell-reserved-stock" => consumer(&inventory(), &messages(), Inventory::sell_reserved_stock),
        "project-stock-levels" => batch_consumer(&views()?, &messages(), StockViews::project_stock_levels),
        "list-stock" => use_case(&views()?, &ports, StockViews::list_stock),
        "list-low-stock" => use_case(&views()?, &ports, StockViews::list_low_stock),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
