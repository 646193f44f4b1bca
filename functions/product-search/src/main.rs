//! The functions of product search: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, serve, sweep_view, system_ports, use_case};
use product_search::{
    api::ProductSearch, archive::Archive, s3::S3Objects, sweep::ProductIndexView, views::Indexing,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = || aws::event_store(&config, &ports);
    let index = || {
        let objects = Arc::new(S3Objects::of(&config, aws::setting("PRODUCT_INDEX_BUCKET")?));
        Ok::<_, String>(Arc::new(Archive::new(objects, ports.clone(), "products/v1")))
    };
    let indexing = || Ok::<_, String>(Arc::new(Indexing::new(index()?, store()?, ports.clone())));
    let search = || {
        let participation = aws::setting("ONLY_PARTICIPATING_STORES")?;
        let participation = participation.parse().map_err(|e: catalogue::NotASwitch| e.to_string())?;
        Ok::<_, String>(Arc::new(ProductSearch::new(index()?, participation)))
    };
    let sweeper = || {
        let (index, store) = (index()?, store()?);
        let view = ProductIndexView::new(index, store.clone(), ports.clone());
        aws::sweeper_of(&config, view, &store, &ports)
    };
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "search-products" => use_case(&search()?, &ports, ProductSearch::search_products),
        "project-product-index" => batch_consumer(&indexing()?, &messages(), Indexing::project_product_index),
        "sweep-view" => sweep_view(vec![sweeper()?], &ports),
        _ => return Ok(None),
    }))
}
