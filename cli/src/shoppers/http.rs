//! Requests with a time-out, a key, retries and a place in the ledger.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ledger::Ledger, operations::Operation};
use crate::{
    cloud,
    errors::{Error, Result},
    stack::Stack,
};

/// A function's first start on a busy machine takes seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// A request is sent at most so often.
const ATTEMPTS: u32 = 7;
/// The first wait before a repeat is shorter than this; every further one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    /// The business said so, and it is no surprise: the code.
    Refused(String),
    /// It is a surprise, and is in the ledger.
    Failed,
}

/// What came back on one attempt.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Answer {
        status: u16,
        body: Value,
    },
    /// No answer: a connection that broke, or a time-out.
    Nothing {
        why: String,
    },
}

/// What to make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Refused,
    /// It may go better the next time.
    Again,
    Unexpected,
}

impl Said {
    /// The problem's code, if it is a problem.
    fn code(&self) -> &str {
        match self {
            Self::Answer { body, .. } => body["code"].as_str().unwrap_or_default(),
            Self::Nothing { .. } => "",
        }
    }

    /// As it is counted: `409 CONTENDED`.
    fn label(&self) -> String {
        match self {
            Self::Answer { status, .. } => format!("{status} {}", self.code()).trim_end().to_owned(),
            Self::Nothing { .. } => "no answer".into(),
        }
    }

    /// Repeats are harmless: commands carry a key. What is not repeated is a refusal, which stays one, and a 500, which
    /// tells of a bug and not of a bad moment.
    fn verdict(&self, operation: &Operation) -> Verdict {
        match self {
            Self::Answer { status: 200, .. } => Verdict::Good,
            Self::Answer { status: 429 | 502..=504, .. } | Self::Nothing { .. } => Verdict::Again,
            Self::Answer { status: 409, .. } if self.code() == "CONTENDED" => Verdict::Again,
            Self::Answer { status: 400..=499, .. } if operation.expects.contains(&self.code()) => {
                Verdict::Refused
            }
            Self::Answer { .. } => Verdict::Unexpected,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Answer { status, body } => {
                let text = body["detail"].as_str().or(body["message"].as_str());
                let text = text.map_or_else(|| body.to_string(), str::to_owned);
                let text = console::truncate_str(&text, 200, "…").into_owned();
                format!("{status} {} {text}", self.code())
            }
            Self::Nothing { why } => format!("no answer: {why}"),
        }
    }
}

/// The longest wait before attempt `next` (the first repeat is 2).
fn longest_wait(next: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << next.saturating_sub(2).min(16)).min(LONGEST_WAIT)
}

/// The mall's API.
pub struct Api {
    client: Client,
    base: String,
    pub ledger: RefCell<Ledger>,
}

impl Api {
    pub fn new(stack: &Stack) -> Result<Self> {
        Self::at(stack.api.clone())
    }

    fn at(base: String) -> Result<Self> {
        let client = Client::builder().timeout(LIMIT).no_proxy().build();
        let client = client.map_err(|e| Error::Http { request: base.clone(), why: cloud::plain(&e) })?;
        Ok(Self { client, base, ledger: RefCell::default() })
    }

    /// A command on `id` (routes without one take nil); without a body if that is null. Every call is another command, with a
    /// key of its own, which its repeats share.
    pub async fn command(&self, operation: &Operation, id: Uuid, body: Value) -> Result<Value, No> {
        self.insist(operation, operation.path(id), (!body.is_null()).then_some(body)).await
    }

    /// A command that makes something: the new id.
    pub async fn create(&self, operation: &Operation, id: Uuid, body: Value) -> Result<Uuid, No> {
        let answer = self.command(operation, id, body).await?;
        match answer["id"].as_str().and_then(|id| id.parse().ok()) {
            Some(id) => Ok(id),
            None => Err(self.surprise(format!("{}: no id in {answer}", operation.label()))),
        }
    }

    /// What one entity shows: the only member of the answer.
    pub async fn read(&self, operation: &Operation, id: Uuid) -> Result<Value, No> {
        let answer = self.insist(operation, operation.path(id), None).await?;
        match answer.as_object().and_then(|members| members.values().find(|member| member.is_object())) {
            Some(entity) => Ok(entity.clone()),
            None => Err(self.surprise(format!("{}: nothing shown in {answer}", operation.label()))),
        }
    }

    /// One page of a list, and the cursor of the next one.
    pub async fn list(
        &self,
        operation: &Operation,
        id: Uuid,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), No> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("{}?limit={limit}{cursor}", operation.path(id));
        let answer = self.insist(operation, path, None).await?;
        let rows =
            answer.as_object().and_then(|members| members.values().find_map(|member| member.as_array()));
        match rows {
            Some(rows) => Ok((rows.clone(), answer["next"].as_str().map(str::to_owned))),
            None => Err(self.surprise(format!("{}: no list in {answer}", operation.label()))),
        }
    }

    /// Puts down what must not happen.
    pub fn surprise(&self, what: String) -> No {
        self.ledger.borrow_mut().surprise(what);
        No::Failed
    }

    async fn insist(&self, operation: &Operation, path: String, body: Option<Value>) -> Result<Value, No> {
        let key = operation.is_command().then(|| Uuid::now_v7().to_string());
        let mut attempt = 1;
        loop {
            let began = Instant::now();
            let said = self.once(operation, &path, key.as_deref(), body.as_ref()).await;
            let verdict = said.verdict(operation);
            let error = (verdict != Verdict::Good).then(|| said.label());
            self.ledger.borrow_mut().request(operation, began.elapsed(), error);
            match (verdict, said) {
                (Verdict::Good, Said::Answer { body, .. }) => return Ok(body),
                (Verdict::Refused, said) => return Err(No::Refused(said.code().to_owned())),
                (Verdict::Again, said) if attempt < ATTEMPTS => {
                    self.ledger.borrow_mut().retried(said.label());
                    attempt += 1;
                    // Full jitter: clients that were turned away together do not come back together.
                    let longest = u64::try_from(longest_wait(attempt).as_millis()).unwrap_or(u64::MAX);
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=longest))).await;
                }
                (_, said) => {
                    let what = format!("{} {path}: {}", operation.method, said.describe());
                    return Err(self.surprise(format!("{what} (attempt {attempt})")));
                }
            }
        }
    }

    async fn once(&self, operation: &Operation, path: &str, key: Option<&str>, body: Option<&Value>) -> Said {
        let method = Method::from_bytes(operation.method.as_bytes()).unwrap_or(Method::GET);
        let mut call = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
        if let Some(body) = body {
            call = call.json(body);
        }
        let answered = async {
            let answer = call.send().await?;
            let status = answer.status().as_u16();
            Ok::<_, reqwest::Error>((status, answer.text().await?))
        };
        match answered.await {
            Ok((status, text)) => {
                let body = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
                Said::Answer { status, body }
            }
            Err(error) => Said::Nothing { why: cloud::plain(&error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::{Ipv4Addr, TcpListener},
        thread::JoinHandle,
    };

    use super::*;
    use crate::shoppers::operations::{CHECKOUT, CREATE_STORE, GET_ORDER, LIST_STORES};

    /// Gives these answers, one to each connection (an empty one: it hangs up), and then what it was asked: the first line
    /// and the key.
    fn server(answers: &'static [&'static str]) -> (Api, JoinHandle<Vec<(String, String)>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut key, mut length) = (String::new(), String::new(), 0);
                lines.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    lines.read_line(&mut line).unwrap();
                    match line.trim().split_once(": ") {
                        Some(("idempotency-key", value)) => key = value.to_owned(),
                        Some(("content-length", value)) => length = value.parse().unwrap(),
                        Some(_) => {}
                        None => break,
                    }
                }
                lines.read_exact(&mut vec![0; length]).unwrap();
                asked.push((first.trim().trim_end_matches(" HTTP/1.1").to_owned(), key));
                if let Some((status, body)) = answer.split_once(' ') {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                    );
                    stream.write_all((head + body).as_bytes()).unwrap();
                }
            }
            asked
        };
        (Api::at(base).unwrap(), std::thread::spawn(serve))
    }

    #[tokio::test]
    async fn a_command_is_repeated_under_one_key_until_it_is_answered() {
        let id = Uuid::from_u128(7);
        let (api, server) = server(&[
            r#"503 {"code":"UNAVAILABLE"}"#,
            "",
            r#"409 {"code":"CONTENDED"}"#,
            r#"200 {"id":"00000000-0000-0000-0000-000000000007","version":1}"#,
            r#"409 {"code":"PRICES_HAVE_RISEN"}"#,
        ]);
        assert_eq!(api.create(&CHECKOUT, id, json!({})).await, Ok(id));
        let refused = api.command(&CHECKOUT, id, json!({})).await;
        assert_eq!(refused, Err(No::Refused("PRICES_HAVE_RISEN".into())));
        let asked = server.join().unwrap();
        assert!(
            asked.iter().all(|(line, _)| *line == format!("PUT /api/baskets/{id}/checkout")),
            "{asked:?}"
        );
        let keys: Vec<&String> = asked.iter().map(|(_, key)| key).collect();
        assert!(!keys[0].is_empty() && keys[..4].iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_ne!(keys[4], keys[0], "another command has another key");
        let ledger = api.ledger.borrow();
        assert_eq!(
            ledger.retries.keys().collect::<Vec<_>>(),
            ["409 CONTENDED", "503 UNAVAILABLE", "no answer"]
        );
        assert_eq!((ledger.requests(), ledger.surprised), (5, 0));
    }

    #[tokio::test]
    async fn what_must_not_be_is_put_down_and_not_repeated() {
        let (api, server) =
            server(&[r#"500 {"message":"Internal Server Error"}"#, r#"200 {"other":1}"#, "200 {}"]);
        assert_eq!(api.read(&GET_ORDER, Uuid::nil()).await, Err(No::Failed));
        assert_eq!(api.read(&GET_ORDER, Uuid::nil()).await, Err(No::Failed), "an answer that shows nothing");
        assert_eq!(api.list(&LIST_STORES, Uuid::nil(), 5, Some("c")).await, Err(No::Failed));
        let asked = server.join().unwrap();
        assert_eq!(asked[2].0, "GET /api/stores?limit=5&cursor=c");
        assert!(asked.iter().all(|(_, key)| key.is_empty()), "a query needs no key");
        let ledger = api.ledger.borrow();
        assert_eq!((ledger.requests(), ledger.surprised, ledger.retries.len()), (3, 3, 0));
        assert!(ledger.surprises[0].contains("500") && ledger.surprises[0].contains("Internal Server Error"));
    }

    fn said(status: u16, code: &str) -> Said {
        Said::Answer { status, body: json!({ "code": code, "detail": "so it is" }) }
    }

    #[test]
    fn only_what_may_go_better_the_next_time_is_repeated() {
        for status in [429, 502, 503, 504] {
            assert_eq!(said(status, "X").verdict(&CHECKOUT), Verdict::Again, "{status}");
        }
        assert_eq!(said(409, "CONTENDED").verdict(&CHECKOUT), Verdict::Again);
        assert_eq!(Said::Nothing { why: "reset".into() }.verdict(&CHECKOUT), Verdict::Again);
        for status in [400, 404, 422, 500] {
            assert_eq!(said(status, "X").verdict(&CHECKOUT), Verdict::Unexpected, "{status}");
        }
    }

    #[test]
    fn a_refusal_is_a_surprise_where_it_does_not_belong() {
        assert_eq!(said(409, "PRICES_HAVE_RISEN").verdict(&CHECKOUT), Verdict::Refused);
        assert_eq!(said(409, "PRICES_HAVE_RISEN").verdict(&CREATE_STORE), Verdict::Unexpected);
        assert_eq!(said(500, "PRICES_HAVE_RISEN").verdict(&CHECKOUT), Verdict::Unexpected);
        assert_eq!(said(204, "").verdict(&CHECKOUT), Verdict::Unexpected);
    }

    #[test]
    fn waits_grow_and_stop_growing() {
        let waits: Vec<u128> = (2..=ATTEMPTS + 1).map(|next| longest_wait(next).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 4000]);
        assert_eq!(longest_wait(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn an_answer_is_counted_by_status_and_code() {
        assert_eq!(said(409, "CONTENDED").label(), "409 CONTENDED");
        assert_eq!(Said::Answer { status: 502, body: json!("<html>") }.label(), "502");
        assert_eq!(Said::Nothing { why: "x".into() }.label(), "no answer");
        assert_eq!(said(400, "X").describe(), "400 X so it is");
    }
}
