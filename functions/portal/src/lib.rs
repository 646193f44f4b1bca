//! The pages of the API: its documents, and Swagger UI to read and try them.
//!
//! Everything is in the binary, compressed when it was built: no bucket, no permissions, and the document always is
//! that of the code beside it. Only Swagger UI of the vendored version is served, and the page loads nothing from
//! anywhere else, which its content security policy holds.

mod files;

use std::{collections::HashMap, io::Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use lambda::Fault;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

pub use files::{DOCUMENTS, File, SWAGGER_UI};

/// Scripts come from here and nowhere else. Swagger UI sets styles inline, and its icons are in its style sheet.
const SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is read of an HTTP API request (payload format 2.0).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    route_key: String,
    #[serde(default, deserialize_with = "nullable")]
    raw_path: String,
    #[serde(default, deserialize_with = "nullable")]
    headers: HashMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    path_parameters: HashMap<String, String>,
}

/// Where there is nothing, some senders leave the field out and some say `null`.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Answers with one of `files`: a 304 when the caller has it, a problem document when there is no such file.
///
/// # Errors
/// Never in practice: only when a file in the binary is damaged.
pub fn serve(files: &[File], request: &Request) -> Result<Value, Fault> {
    let path = match request.path_parameters.get("file") {
        Some(name) => format!("/swagger-ui/{name}"),
        None => request.route_key.strip_prefix("GET ").unwrap_or_default().to_owned(),
    };
    let Some(file) = files.iter().find(|file| file.path == path) else {
        let fault = Fault::not_found("file", path.chars().take(64).collect::<String>());
        let headers = json!({ "content-type": "application/problem+json", "cache-control": "no-store" });
        let problem = fault.problem(Some(&request.raw_path)).to_string();
        return Ok(
            json!({ "statusCode": 404, "headers": headers, "body": problem, "isBase64Encoded": false }),
        );
    };
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let etag = file.etag();
    let mut headers = json!({
        "etag": etag,
        "cache-control": file.cache,
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        "content-security-policy": SECURITY,
        "referrer-policy": "no-referrer",
    });
    // The gateway and proxies make a strong tag weak.
    if header("if-none-match").split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag) {
        return Ok(json!({ "statusCode": 304, "headers": headers, "body": "", "isBase64Encoded": false }));
    }
    headers["content-type"] = json!(file.content_type);
    let body = if takes_gzip(header("accept-encoding")) {
        headers["content-encoding"] = json!("gzip");
        STANDARD.encode(file.gzip)
    } else {
        STANDARD.encode(file.unpacked()?)
    };
    Ok(json!({ "statusCode": 200, "headers": headers, "body": body, "isBase64Encoded": true }))
}

/// Whether an `Accept-Encoding` lets gzip in: by name or by `*`, and not with the weight 0.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused =
            parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0)));
        named && !refused
    })
}

impl File {
    /// The file as it was before it was compressed.
    ///
    /// # Errors
    /// When the binary is damaged.
    pub fn unpacked(&self) -> Result<Vec<u8>, Fault> {
        let mut content = Vec::new();
        GzDecoder::new(self.gzip).read_to_end(&mut content).map_err(Fault::internal)?;
        Ok(content)
    }

    /// Changes with the content: the checksum and the length with which gzip ends (RFC 1952).
    pub fn etag(&self) -> String {
        let end = &self.gzip[self.gzip.len().saturating_sub(8)..];
        format!("\"{}\"", end.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::takes_gzip;

    #[test]
    fn a_client_that_cannot_unpack_is_not_sent_gzip() {
        for accepted in ["gzip", "deflate, gzip;q=1.0, *;q=0.5", "br, GZIP", "*"] {
            assert!(takes_gzip(accepted), "{accepted}");
        }
        for accepted in ["", "identity", "br", "gzip;q=0", "gzip; q=0.0"] {
            assert!(!takes_gzip(accepted), "{accepted}");
        }
    }
}
