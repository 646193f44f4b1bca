//! The depot functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use catalogue::{Catalogue, Products, Stores};
use depot::{
    Depot, Planner,
    views::{BotViews, Bots, ShoppingListViews, ShoppingLists},
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
    let depot = || Arc::new(Depot::new(store.clone(), ports.clone()));
    let catalogue = || {
        let products = aws::projector(&config, "DEPOT_PRODUCTS_TABLE", &store, &ports)?;
        let stores = aws::projector(&config, "DEPOT_STORES_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(Catalogue::new(products, stores)))
    };
    let planner = || Ok::<_, String>(Arc::new(Planner::new(depot(), catalogue()?)));
    let lists = || {
        let lists = aws::projector(&config, "SHOPPING_LISTS_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(ShoppingListViews::new(lists)))
    };
    let bots = || {
        let bots = aws::projector(&config, "BOTS_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(BotViews::new(bots)))
    };
    let sweepers = || {
        Ok::<_, String>(vec![
            aws::sweeper::<ShoppingLists>(&config, "SHOPPING_LISTS_TABLE", &store, &ports)?,
            aws::sweeper::<Bots>(&config, "BOTS_TABLE", &store, &ports)?,
            aws::sweeper::<Products>(&config, "DEPOT_PRODUCTS_TABLE", &store, &ports)?,
            aws::sweeper::<Stores>(&config, "DEPOT_STORES_TABLE", &store, &ports)?,
        ])
    };
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "create-shopping-list" => use_case(&planner()?, &ports, Planner::create_shopping_list),
        "initiate-shopping" => use_case(&depot(), &ports, Depot::initiate_shopping),
        "assign-shopping-list" => use_case(&depot(), &ports, Depot::assign_shopping_list),
        "start-shopping" => use_case(&depot(), &ports, Depot::start_shopping),
        "complete-shopping-list" => use_case(&depot(), &ports, Depot::complete_shopping_list),
        "cancel-shopping-list" => use_case(&depot(), &ports, Depot::cancel_shopping_list),
        "get-shopping-list" => use_case(&depot(), &ports, Depot::get_shopping_list),
        "register-bot" => use_case(&depot(), &ports, Depot::register_bot),
        "get-bot" => use_case(&depot(), &ports, Depot::get_bot),
        "free-bot" => consumer(&depot(), &messages(), Depot::free_bot),
        "project-shopping-lists" => {
            batch_consumer(&lists()?, &messages(), ShoppingListViews::project_shopping_lists)
        }
        "list-shopping-lists" => use_case(&lists()?, &ports, ShoppingListViews::list_shopping_lists),
        "list-available-shopping-lists" => {
            use_case(&lists()?, &ports, ShoppingListViews::list_available_shopping_lists)
        }
        "project-bots" => batch_consumer(&bots()?, &messages(), BotViews::project_bots),
        "list-bots" => use_case(&bots()?, &ports, BotViews::list_bots),
        "project-depot-products" => batch_consumer(&catalogue()?, &messages(), Catalogue::project_products),
        "project-depot-stores" => batch_consumer(&catalogue()?, &messages(), Catalogue::project_stores),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
