//! Compresses what the portal serves: Swagger UI's files out of the archive that its crate holds, the page, and the
//! documents.

#![allow(clippy::expect_used, reason = "a build that lacks a file should stop")]

use std::{
    fs,
    io::{Cursor, Read, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// Only what the page asks for: the archive has four times as much.
const OF_SWAGGER_UI: &[&str] = &["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

const OURS: &[&str] =
    &["page/index.html", "page/initializer.js", "../../docs/openapi.json", "../../docs/asyncapi.json"];

fn main() {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("the archive of Swagger UI");
    for name in OF_SWAGGER_UI {
        let whole = archive
            .file_names()
            .flatten()
            .find(|path| {
                path.split_once('/').is_some_and(|(_, path)| path.strip_prefix("dist/") == Some(name))
            })
            .expect("a file of Swagger UI")
            .into_owned();
        let mut content = Vec::new();
        archive.by_name(&whole).expect("found above").read_to_end(&mut content).expect("a whole archive");
        write(name, &content);
    }
    for path in OURS {
        println!("cargo::rerun-if-changed={path}");
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a file name");
        write(name, &fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")));
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// `$OUT_DIR/<name>.gz`. Without a time in it, so that the same content always gives the same bytes.
fn write(name: &str, content: &[u8]) {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(content).expect("memory takes everything");
    let packed = gzip.finish().expect("memory takes everything");
    let folder = std::env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join(format!("{name}.gz")), packed).expect("cargo's folder can be written");
}
