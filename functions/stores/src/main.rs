//! The stores functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, serve, sweep_view, system_ports, use_case};
use stores::{
    Stores,
    views::{Catalogue, CatalogueViews, Mall, MallViews},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = aws::event_store(&config, &ports)?;
    let stores = || Arc::new(Stores::new(store.clone(), ports.clone()));
    let mall = || {
        let mall = aws::projector(&config, "MALL_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(MallViews::new(mall)))
    };
    let catalogue = || {
        let catalogue = aws::projector(&config, "CATALOGUE_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(CatalogueViews::new(catalogue)))
    };
    let sweepers = || {
        Ok::<_, String>(vec![
            aws::sweeper::<Mall>(&config, "MALL_TABLE", &store, &ports)?,
            aws::sweeper::<Catalogue>(&config, "CATALOGUE_TABLE", &store, &ports)?,
        ])
    };
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "create-store" => use_case(&stores(), &ports, Stores::create_store),
        "enable-participation" => use_case(&stores(), &ports, Stores::enable_participation),
        "disable-participation" => use_case(&stores(), &ports, Stores::disable_participation),
        "rebrand-store" => use_case(&stores(), &ports, Stores::rebrand_store),
        "get-store" => use_case(&stores(), &ports, Stores::get_store),
        "add-product" => use_case(&stores(), &ports, Stores::add_product),
        "rebrand-product" => use_case(&stores(), &ports, Stores::rebrand_product),
        "increase-product-price" => use_case(&stores(), &ports, Stores::increase_product_price),
        "decrease-product-price" => use_case(&stores(), &ports, Stores::decrease_product_price),
        "remove-product" => use_case(&stores(), &ports, Stores::remove_product),
        "get-product" => use_case(&stores(), &ports, Stores::get_product),
        "project-mall" => batch_consumer(&mall()?, &messages(), MallViews::project_mall),
        "list-stores" => use_case(&mall()?, &ports, MallViews::list_stores),
        "list-participating-stores" => use_case(&mall()?, &ports, MallViews::list_participating_stores),
        "project-catalogue" => batch_consumer(&catalogue()?, &messages(), CatalogueViews::project_catalogue),
        "list-products" => use_case(&catalogue()?, &ports, CatalogueViews::list_products),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
