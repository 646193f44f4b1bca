//! The portal functions: the documents, and the page.

use lambda::{Function, raw};
use portal::{DOCUMENTS, Request, SWAGGER_UI, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let files = match name.as_str() {
        "openapi" => DOCUMENTS,
        "swagger-ui" => SWAGGER_UI,
        _ => return Ok(None),
    };
    Ok(Some(raw(move |request: Request, _context| async move { serve(files, &request) })))
}
