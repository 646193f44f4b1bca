//! The functions of product search: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, rebuild_view, serve, system_ports, use_case};
use product_search::{
    api::ProductSearch, archive::Archive, index::VIEW, rebuild::ProductIndexView, s3::S3Objects,
    twins::Twins, views::Indexing,
};
use projection::{Generations, Limits, Rebuilder};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = || aws::event_store(&config, &ports);
    let twins = || {
        let objects = Arc::new(S3Objects::of(&config, aws::setting("PRODUCT_INDEX_BUCKET")?));
        let archive = |prefix| Arc::new(Archive::new(objects.clone(), ports.clone(), prefix));
        Ok::<_, String>(Twins::new(archive("products/v1"), archive("products/v1-even")))
    };
    let generations =
        || Ok::<_, String>(Generations::new(VIEW, aws::registry(&config)?, ports.clock.clone()));
    let indexing =
        || Ok::<_, String>(Arc::new(Indexing::new(generations()?, twins()?, store()?, ports.clone())));
    let search = || {
        let participation = aws::setting("ONLY_PARTICIPATING_STORES")?;
        let participation = participation.parse().map_err(|e: catalogue::NotASwitch| e.to_string())?;
        Ok::<_, String>(Arc::new(ProductSearch::new(generations()?, twins()?, participation)))
    };
    let rebuilder = || {
        let view = Arc::new(ProductIndexView::new(twins()?, store()?, ports.clone()));
        let registry = aws::registry(&config)?;
        Ok::<_, String>(Rebuilder::new(view, registry, store()?, ports.clone(), Limits::FUNCTION))
    };
    Ok(Some(match name.as_str() {
        "search-products" => use_case(&search()?, &ports, ProductSearch::search_products),
        "project-product-index" => batch_consumer(&indexing()?, Indexing::project_product_index),
        "rebuild-view" => rebuild_view(vec![rebuilder()?], &ports),
        _ => return Ok(None),
    }))
}
