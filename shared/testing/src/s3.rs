//! As much of S3 as an archive of objects needs, inside the test's process, reached through the real AWS SDK.
//!
//! **Same as AWS**: reading, writing, deleting and listing objects with path-style addresses, `ETag`s, and the conditions
//! `If-None-Match` and `If-Match`, checked and written as one. **Not the same**: one page holds every list, nothing is ever
//! throttled, and nobody is asked for a signature.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};

type Objects = Arc<Mutex<Kept>>;

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, (String, Bytes)>,
    writes: u64,
}

fn lock(objects: &Objects) -> MutexGuard<'_, Kept> {
    objects.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A running endpoint, in which every bucket exists. It stops when it is dropped.
pub struct EmbeddedS3 {
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl EmbeddedS3 {
    /// Starts an endpoint without objects.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound port has an address");
        let one = get(read).put(write).delete(delete);
        let router = Router::new()
            .route("/{bucket}", get(list))
            .route("/{bucket}/", get(list))
            .route("/{bucket}/{*name}", one)
            .with_state(Objects::default());
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the embedded S3 runs");
        });
        Self { address, server }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for EmbeddedS3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn refusal(status: StatusCode, code: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    (status, [("content-type", "application/xml")], body).into_response()
}

async fn read(
    State(objects): State<Objects>,
    Path((bucket, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match lock(&objects).objects.get(&format!("{bucket}/{name}")) {
        None => refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
        Some((tag, _)) if header(&headers, "if-none-match") == Some(tag) => {
            (StatusCode::NOT_MODIFIED, [("etag", tag.clone())]).into_response()
        }
        Some((tag, bytes)) => ([("etag", tag.clone())], bytes.clone()).into_response(),
    }
}

async fn write(
    State(objects): State<Objects>,
    Path((bucket, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut kept = lock(&objects);
    let name = format!("{bucket}/{name}");
    let tag = kept.objects.get(&name).map(|(tag, _)| tag.as_str());
    match (header(&headers, "if-match"), header(&headers, "if-none-match"), tag) {
        (Some(_), _, None) => return refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
        (Some(wanted), _, Some(tag)) if wanted != tag => {
            return refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        (_, Some("*"), Some(_)) => return refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
        (_, Some(other), _) if other != "*" => return refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        _ => {}
    }
    kept.writes += 1;
    let tag = format!("\"{}\"", kept.writes);
    kept.objects.insert(name, (tag.clone(), body));
    [("etag", tag)].into_response()
}

async fn delete(State(objects): State<Objects>, Path((bucket, name)): Path<(String, String)>) -> StatusCode {
    lock(&objects).objects.remove(&format!("{bucket}/{name}"));
    StatusCode::NO_CONTENT
}

async fn list(State(objects): State<Objects>, Path(bucket): Path<String>, uri: Uri) -> Response {
    let prefix = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("prefix="));
    let begin = format!("{bucket}/{}", prefix.unwrap_or_default().replace("%2F", "/"));
    let mut found = String::new();
    for (name, (_, bytes)) in lock(&objects).objects.iter().filter(|(name, _)| name.starts_with(&begin)) {
        let (key, size) = (&name[bucket.len() + 1..], bytes.len());
        found.push_str(&format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-11-20T09:00:00.000Z</LastModified></Contents>"
        ));
    }
    let body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
    );
    ([("content-type", "application/xml")], body).into_response()
}
