//! The baskets functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use baskets::{Baskets, Shopping, goods::Goods};
use catalogue::{Catalogue, Products, Stores};
use lambda::{Function, aws, batch_consumer, serve, sweep_view, system_ports, use_case};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = aws::event_store(&config, &ports)?;
    let context = || Baskets::new(store.clone(), ports.clone());
    let baskets = || Arc::new(context());
    let copy = || {
        let products = aws::projector(&config, "BASKET_PRODUCTS_TABLE", &store, &ports)?;
        let stores = aws::projector(&config, "BASKET_STORES_TABLE", &store, &ports)?;
        Ok::<_, String>(Catalogue::new(products, stores))
    };
    let shopping = || {
        let participation = aws::setting("ONLY_PARTICIPATING_STORES")?;
        let participation = participation.parse().map_err(|e: catalogue::NotASwitch| e.to_string())?;
        Ok::<_, String>(Arc::new(Shopping::new(context(), Goods::new(copy()?, participation))))
    };
    let sweepers = || {
        Ok::<_, String>(vec![
            aws::sweeper::<Products>(&config, "BASKET_PRODUCTS_TABLE", &store, &ports)?,
            aws::sweeper::<Stores>(&config, "BASKET_STORES_TABLE", &store, &ports)?,
        ])
    };
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "start-basket" => use_case(&baskets(), &ports, Baskets::start_basket),
        "add-item" => use_case(&shopping()?, &ports, Shopping::add_item),
        "remove-item" => use_case(&baskets(), &ports, Baskets::remove_item),
        "checkout-basket" => use_case(&shopping()?, &ports, Shopping::checkout_basket),
        "cancel-basket" => use_case(&baskets(), &ports, Baskets::cancel_basket),
        "get-basket" => use_case(&baskets(), &ports, Baskets::get_basket),
        "project-basket-products" => {
            batch_consumer(&Arc::new(copy()?), &messages(), Catalogue::project_products)
        }
        "project-basket-stores" => batch_consumer(&Arc::new(copy()?), &messages(), Catalogue::project_stores),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
