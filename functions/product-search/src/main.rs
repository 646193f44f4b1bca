//! The functions of product search: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{Function, aws, batch_consumer, serve, system_ports, use_case};
use product_search::{
    api::{Participation, ProductSearch},
    archive::Archive,
    s3::S3Objects,
    views::Indexing,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let index = || {
        let objects = S3Objects::of(&config, aws::setting("INDEX_BUCKET")?);
        Ok::<_, String>(Arc::new(Archive::new(Arc::new(objects), ports.clone(), "products/v1")))
    };
    let indexing = || {
        let store = aws::event_store(&config, &ports)?;
        Ok::<_, String>(Arc::new(Indexing::new(index()?, store, ports.clone())))
    };
    let search = || {
        let participation = Participation::of_setting(&aws::setting("ONLY_PARTICIPATING_STORES")?)?;
        Ok::<_, String>(Arc::new(ProductSearch::new(index()?, participation)))
    };
    Ok(Some(match name.as_str() {
        "search-products" => use_case(&search()?, &ports, ProductSearch::search_products),
        "index-products" => batch_consumer(&indexing()?, Indexing::index_products),
        "rebuild-product-index" => use_case(&indexing()?, &ports, Indexing::rebuild_product_index),
        _ => return Ok(None),
    }))
}
