//! The mall's HTTP API, as a shopper's phone sees it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    timeline::{Entry, What},
    watch::Watch,
};
use crate::{
    cloud,
    errors::{Error, Result},
    stack::Stack,
};

/// A function's first start on a busy machine takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// A context hears of what another one did within moments; on a cold start, or when a function was busy, later.
const NEWS: Duration = Duration::from_secs(90);

/// The API, and the timeline that hears of every request.
pub struct Api<'a> {
    client: Client,
    base: String,
    watch: &'a Watch,
}

/// What a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub id: Uuid,
    pub version: u64,
}

impl<'a> Api<'a> {
    pub fn new(stack: &Stack, watch: &'a Watch) -> Result<Self> {
        let client = Client::builder().timeout(LIMIT).no_proxy().build();
        let client = client.map_err(|e| Error::Http { request: stack.api.clone(), why: cloud::plain(&e) })?;
        Ok(Self { client, base: stack.api.clone(), watch })
    }

    /// A command: `{id, version}` comes back.
    pub async fn command(&self, method: Method, path: &str, body: Value) -> Result<Done> {
        self.until_answered(method, path, body, Duration::ZERO).await
    }

    /// A command on what another context was told a moment ago: as long as that has not heard of it, it says that it is not
    /// found, and is asked again.
    pub async fn on_news(&self, method: Method, path: &str, body: Value) -> Result<Done> {
        self.until_answered(method, path, body, NEWS).await
    }

    async fn until_answered(
        &self,
        method: Method,
        path: &str,
        body: Value,
        patience: Duration,
    ) -> Result<Done> {
        let request = format!("{method} {path}");
        let first = Instant::now();
        // What is told is the request that was answered otherwise; those before it changed nothing.
        let (at, took, status, answer) = loop {
            let (at, started) = (Timestamp::now(), Instant::now());
            let (answer, status, _) = self.send(method.clone(), path, Some(body.clone())).await?;
            if status != 404 || first.elapsed() >= patience {
                break (at, started.elapsed(), status, answer);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let what = What::Request { line: short(&request), status, took };
        self.watch.note(Entry { at, source: String::new(), what });
        let answer = answer?;
        let id = answer["id"].as_str().and_then(|id| id.parse().ok());
        match (id, answer["version"].as_u64()) {
            (Some(id), Some(version)) => Ok(Done { id, version }),
            _ => {
                Err(Error::Unexpected { request, expected: "an id and a version", body: answer.to_string() })
            }
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Done> {
        self.command(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Done> {
        self.command(Method::PUT, path, body).await
    }

    /// A query, with the answer as it was sent too. It changes nothing, so the timeline does not show it.
    pub async fn query(&self, path: &str) -> Result<(Value, String)> {
        let (answer, _, text) = self.send(Method::GET, path, None).await?;
        answer.map(|value| (value, text))
    }

    /// Sends a request. The inner result is what the mall answered; then its status, and the answer as it was sent.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(Result<Value>, u16, String)> {
        let request = format!("{method} {path}");
        let mut call = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            call = call.json(&body);
        }
        let failed = |e: reqwest::Error| Error::Http { request: request.clone(), why: cloud::plain(&e) };
        let answer = call.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
        let answer =
            if status == 200 { Ok(body) } else { Err(Error::Refused { request, status, said: said(&body) }) };
        Ok((answer, status, text))
    }
}

/// What a problem document says.
pub fn said(body: &Value) -> String {
    let field = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    let text = field("detail").or(field("message")).or(field("title"));
    match (field("code"), text) {
        (Some(code), Some(text)) => format!("{code}, {text}"),
        (None, Some(text)) => text.to_owned(),
        (Some(code), None) => code.to_owned(),
        (None, None) => body.as_str().map_or_else(|| body.to_string(), str::to_owned),
    }
}

/// JSON over several lines, number for number as it was sent (going through a binary float would turn 3.20 into 3.2).
/// What lies deeper than `depth` stays on one line.
pub fn pretty(json: &str, depth: usize) -> String {
    let mut shown = String::new();
    let (mut level, mut in_text, mut escaped) = (0, false, false);
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        let breaks =
            |level: usize| if level <= depth { format!("\n{}", "  ".repeat(level)) } else { String::new() };
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            shown.push(c);
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                shown.push(c);
            }
            '{' | '[' if matches!(rest.peek(), Some('}' | ']')) => shown.push(c),
            '{' | '[' => {
                level += 1;
                shown.push(c);
                shown.push_str(&breaks(level));
            }
            '}' | ']' => {
                if !shown.ends_with(['{', '[']) {
                    level = level.saturating_sub(1);
                    if level < depth {
                        shown.push_str(&breaks(level));
                    }
                }
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                shown.push_str(if level <= depth { "" } else { " " });
                shown.push_str(&breaks(level));
            }
            ':' => shown.push_str(": "),
            c if c.is_whitespace() => {}
            c => shown.push(c),
        }
    }
    shown
}

/// Ids shortened, so that requests fit on a line.
pub fn short(text: &str) -> String {
    let mut shown = String::new();
    for (index, part) in text.split('/').enumerate() {
        if index > 0 {
            shown.push('/');
        }
        let (before, id) = part.rsplit_once('=').map_or(("", part), |(name, id)| (&part[..=name.len()], id));
        shown.push_str(before);
        match Uuid::parse_str(id) {
            // The end: UUIDv7 that were made together begin alike.
            Ok(_) => shown.push_str(&format!("…{}", &id[id.len() - 6..])),
            Err(_) => shown.push_str(id),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_wherever_they_stand() {
        let id = "0198c5f0-0000-7000-8000-000000abcdef";
        assert_eq!(short(&format!("PUT /api/baskets/{id}/checkout")), "PUT /api/baskets/…abcdef/checkout");
        assert_eq!(short(&format!("GET /api/orders?customerId={id}")), "GET /api/orders?customerId=…abcdef");
        assert_eq!(short("POST /api/baskets"), "POST /api/baskets");
        assert_eq!(short("GET /a=b/c"), "GET /a=b/c");
    }

    #[test]
    fn an_answer_is_laid_out_without_touching_its_numbers() {
        let sent = r#"{"a":[{"x":3.20,"y":"1:{\""},{"x":1}],"b":{},"c":[]}"#;
        let shown = "{\n  \"a\": [\n    {\"x\": 3.20, \"y\": \"1:{\\\"\"},\n    {\"x\": 1}\n  ],\n  \"b\": {},\n  \"c\": []\n}";
        assert_eq!(pretty(sent, 2), shown);
        assert_eq!(pretty("", 2), "");
    }

    #[test]
    fn a_problem_is_told_by_its_code_and_its_text() {
        assert_eq!(said(&json!({"code": "A", "detail": "because", "title": "x"})), "A, because");
        assert_eq!(said(&json!({"message": "Internal Server Error"})), "Internal Server Error");
        assert_eq!(said(&json!("<html>")), "<html>");
    }
}
