//! What is served.

/// A file in the binary.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// The path that it is served at.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// How long it may be kept.
    pub cache: &'static str,
    /// The content, compressed.
    pub gzip: &'static [u8],
}

/// Asked for again each time, which costs a 304.
const FRESH: &str = "no-cache";
/// Swagger UI changes with releases only.
const KEPT: &str = "public, max-age=3600";

/// The documents, for machines.
pub const DOCUMENTS: &[File] = &[
    File {
        path: "/openapi.json",
        content_type: "application/json",
        cache: FRESH,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")),
    },
    File {
        path: "/asyncapi.json",
        content_type: "application/json",
        cache: FRESH,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/asyncapi.json.gz")),
    },
];

/// The page, and what it loads.
pub const SWAGGER_UI: &[File] = &[
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        cache: FRESH,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/index.html.gz")),
    },
    File {
        path: "/swagger-ui/initializer.js",
        content_type: "text/javascript; charset=utf-8",
        cache: FRESH,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/initializer.js.gz")),
    },
    File {
        path: "/swagger-ui/swagger-ui-bundle.js",
        content_type: "text/javascript; charset=utf-8",
        cache: KEPT,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")),
    },
    File {
        path: "/swagger-ui/swagger-ui.css",
        content_type: "text/css; charset=utf-8",
        cache: KEPT,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")),
    },
    File {
        path: "/swagger-ui/favicon-32x32.png",
        content_type: "image/png",
        cache: KEPT,
        gzip: include_bytes!(concat!(env!("OUT_DIR"), "/favicon-32x32.png.gz")),
    },
];
