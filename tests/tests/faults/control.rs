//! Asks the local cloud for faults: see infra/local/faults.py.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

/// Held longer, a task times out by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The function is not run; the task fails with this error.
    Fail(&'static str),
    /// The same, as Lambda says it when it has too much to do.
    Throttle,
    /// The task times out; the function runs when the rule is released.
    Hang,
    /// The function runs; its answer is lost.
    Lose,
    /// The process dies when it has committed, before it hears of it.
    Kill,
    /// The function runs twice at the same time.
    Twice,
    /// The call is held before the function runs.
    Before,
    /// The function runs, and its answer is held.
    After,
}

/// Where faults are asked for.
pub struct Faults {
    http: reqwest::Client,
    url: String,
}

/// A fault that was asked for.
pub struct Rule<'a> {
    faults: &'a Faults,
    id: u64,
}

/// What became of a rule.
#[derive(Debug, serde::Deserialize)]
pub struct Struck {
    /// Those that met the rule.
    pub struck: u32,
    /// Those of them that are not over, for a rule that holds.
    pub held: u32,
}

impl Faults {
    pub fn reach() -> Self {
        let url = std::env::var("MALL_FAULTS_URL")
            .unwrap_or_else(|_| panic!("MALL_FAULTS_URL is not set: run `cargo mall test --only faults`"));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        Self { http, url }
    }

    /// For the first calls of an order's step, or, with `calls` none, for all of them.
    pub async fn at(&self, order: &str, step: &str, kind: Kind, calls: Option<u32>) -> Rule<'_> {
        let (kind, error) = match kind {
            Kind::Fail(error) => ("fail", Some(error)),
            Kind::Throttle => ("throttle", None),
            Kind::Hang => ("hang", None),
            Kind::Lose => ("lose", None),
            Kind::Kill => ("kill", None),
            Kind::Twice => ("twice", None),
            Kind::Before => ("before", None),
            Kind::After => ("after", None),
        };
        let mut asked = json!({ "command": format!("{order}:{step}"), "kind": kind });
        if let Some(error) = error {
            asked["error"] = json!(error);
        }
        if let Some(calls) = calls {
            asked["to"] = json!(calls);
        }
        let made = self.send(Method::POST, "/rules", Some(asked)).await;
        Rule { faults: self, id: made["id"].as_u64().expect("the id of a rule") }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the faults answer");
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

impl Rule<'_> {
    pub async fn show(&self) -> Struck {
        let shown = self.faults.send(Method::GET, &format!("/rules/{}", self.id), None).await;
        serde_json::from_value(shown).expect("what became of a rule")
    }

    /// Waits until a call is held; says whether one was.
    pub async fn holds(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.show().await.held > 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Lets go on what is held, and holds nothing any more.
    pub async fn release(&self) {
        self.faults.send(Method::POST, &format!("/rules/{}/release", self.id), None).await;
    }

    /// The same, and waits until it is over; says whether it is.
    pub async fn release_and_wait(&self) -> bool {
        self.release().await;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.show().await.held == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// It strikes no more; what it has struck stays counted.
    pub async fn stop(&self) {
        self.faults.send(Method::POST, &format!("/rules/{}/stop", self.id), None).await;
    }
}
