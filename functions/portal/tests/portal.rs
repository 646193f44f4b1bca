//! What the portal serves, as the gateway asks for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{io::Read, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use portal::{DOCUMENTS, File, Request, SWAGGER_UI, serve};
use serde_json::{Value, json};

fn ask(files: &[File], path: &str, headers: Value) -> Value {
    let mut request = json!({ "routeKey": format!("GET {path}"), "rawPath": path, "headers": headers });
    if let Some(file) = path.strip_prefix("/swagger-ui/") {
        request["routeKey"] = json!("GET /swagger-ui/{file}");
        request["pathParameters"] = json!({ "file": file });
    }
    let request: Request = serde_json::from_value(request).unwrap();
    serve(files, &request).unwrap()
}

fn body(answer: &Value) -> Vec<u8> {
    let bytes = STANDARD.decode(answer["body"].as_str().unwrap()).unwrap();
    if answer["headers"]["content-encoding"] != "gzip" {
        return bytes;
    }
    let mut content = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut content).unwrap();
    content
}

fn in_repository(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

#[test]
fn the_documents_served_are_those_of_the_repository() {
    for (path, file) in [("/openapi.json", "docs/openapi.json"), ("/asyncapi.json", "docs/asyncapi.json")] {
        for headers in [json!({ "accept-encoding": "gzip" }), json!({}), Value::Null] {
            let answer = ask(DOCUMENTS, path, headers);
            assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(true)));
            assert_eq!(answer["headers"]["content-type"], "application/json");
            assert_eq!(body(&answer), in_repository(file), "{path}");
        }
    }
}

/// What stands in `attribute="…"`.
fn attributes(page: &str, attribute: &str) -> Vec<String> {
    let begin = format!(" {attribute}=\"");
    let values = page.split(&begin).skip(1);
    values.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn the_page_refers_only_to_files_that_are_served() {
    let page = String::from_utf8(body(&ask(SWAGGER_UI, "/", json!({})))).unwrap();
    let files: Vec<String> = ["src", "href"].iter().flat_map(|name| attributes(&page, name)).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in &files {
        let answer = ask(SWAGGER_UI, &format!("/{file}"), json!({ "accept-encoding": "gzip" }));
        assert_eq!(answer["statusCode"], 200, "{file}");
        assert!(!body(&answer).is_empty(), "{file}");
    }
    assert_eq!(files.len() + 1, SWAGGER_UI.len(), "nothing is in the binary that the page does not ask for");
    let initializer = body(&ask(SWAGGER_UI, "/swagger-ui/initializer.js", json!({})));
    let initializer = String::from_utf8(initializer).unwrap();
    assert!(initializer.contains("url: \"openapi.json\"") && DOCUMENTS[0].path == "/openapi.json");
    assert!(page.contains("id=\"swagger-ui\"") && initializer.contains("\"#swagger-ui\""));
}

#[test]
fn no_inline_script_and_nothing_from_elsewhere_is_let_in() {
    let answer = ask(SWAGGER_UI, "/", json!({}));
    let policy = answer["headers"]["content-security-policy"].as_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert_eq!(answer["headers"]["x-content-type-options"], "nosniff");
    let page = String::from_utf8(body(&answer)).unwrap();
    assert!(!page.contains("://") && !page.contains("<style"), "{page}");
    for script in page.split("<script").skip(1) {
        assert!(script.starts_with(" src=\"") && script.contains("\"></script>"), "{script}");
    }
}

#[test]
fn a_browser_that_has_a_file_is_not_sent_it_again() {
    let first = ask(DOCUMENTS, "/openapi.json", json!({}));
    let etag = first["headers"]["etag"].as_str().unwrap().to_owned();
    for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}")] {
        let again = ask(DOCUMENTS, "/openapi.json", json!({ "if-none-match": known }));
        assert_eq!((&again["statusCode"], &again["body"]), (&json!(304), &json!("")), "{known}");
    }
    assert_eq!(ask(DOCUMENTS, "/openapi.json", json!({ "if-none-match": "\"0\"" }))["statusCode"], 200);
    let mut tags: Vec<String> = DOCUMENTS.iter().chain(SWAGGER_UI).map(File::etag).collect();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), DOCUMENTS.len() + SWAGGER_UI.len(), "two files have one tag");
}

#[test]
fn a_file_that_is_not_there_is_a_problem_document() {
    for path in ["/swagger-ui/oauth2-redirect.html", "/swagger-ui/..", "/swagger-ui/", "/nothing"] {
        let answer = ask(SWAGGER_UI, path, json!({}));
        assert_eq!(answer["statusCode"], 404, "{path}");
        assert_eq!(answer["headers"]["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!((&problem["code"], &problem["instance"]), (&json!("FILE_NOT_FOUND"), &json!(path)));
    }
}
