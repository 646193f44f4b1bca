//! Asks the local cloud for faults: see infra/local/faults.py.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

/// Held longer, a task times out by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to a call.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(tag = "kind", content = "error", rename_all = "lowercase")]
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
    /// The execution ends without a word, as one that the cloud lost.
    Gone,
}

/// A fault to be asked for.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Asked {
    #[serde(skip)]
    pub step: &'static str,
    #[serde(flatten)]
    pub kind: Kind,
    /// How many calls of the step meet it; all, without a number.
    to: Option<u32>,
    /// Only calls of the first execution that meets it.
    once: bool,
    /// How often it has to strike at least, or it was not this fault.
    #[serde(skip)]
    pub strikes: u32,
}

impl Asked {
    /// Strikes the first calls of a step.
    pub const fn first(step: &'static str, kind: Kind, calls: u32) -> Self {
        Self { step, kind, to: Some(calls), once: false, strikes: calls }
    }

    /// Strikes every call of a step, of which there are so many at least.
    pub const fn always(step: &'static str, kind: Kind, strikes: u32) -> Self {
        Self { step, kind, to: None, once: false, strikes }
    }

    /// Strikes in the first execution only that meets it.
    pub const fn in_one_execution(self) -> Self {
        Self { once: true, ..self }
    }

    /// Reports that somebody has to let the call go on.
    pub const fn is_held(&self) -> bool {
        matches!(self.kind, Kind::Before | Kind::After)
    }
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

    /// Asks for a fault at a step of an order.
    pub async fn at(&self, order: &str, fault: &Asked) -> Rule<'_> {
        let mut asked = serde_json::to_value(fault).expect("a rule");
        asked["command"] = json!(format!("{order}:{}", fault.step));
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

    /// Waits until so many calls are held; reports that they were.
    pub async fn holds(&self, calls: u32) -> bool {
        self.until(|held| held >= calls).await
    }

    /// Lets go on what is held, and holds nothing any more.
    pub async fn release(&self) {
        self.faults.send(Method::POST, &format!("/rules/{}/release", self.id), None).await;
    }

    /// Releases held calls, and waits until they are over; reports that they are.
    pub async fn release_and_wait(&self) -> bool {
        self.release().await;
        self.until(|held| held == 0).await
    }

    async fn until(&self, enough: impl Fn(u32) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if enough(self.show().await.held) {
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
