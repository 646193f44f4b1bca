//! Lambda around a function's own process: the runtime API that a `bootstrap` polls, and a stand-in
//! for the AWS services that answer with a fixed body.
//!
//! This is the real binary behind the real protocol, without Docker: what `cargo lambda invoke` would
//! reach. **Not the same as AWS**: no IAM, no freezing between invocations, no time limit.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

/// The version in the paths of the runtime API.
const API: &str = "/2018-06-01/runtime";
/// How long a test waits for a function.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer = Result<Value, Value>;

#[derive(Default)]
struct Desk {
    waiting: Mutex<VecDeque<(String, Value)>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    arrived: Notify,
    first_poll: Mutex<Option<Instant>>,
    polled: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A function's process with its runtime API. The process ends when this is dropped.
pub struct FunctionProcess {
    desk: Arc<Desk>,
    handler: String,
    child: Child,
    started: Instant,
    next: Mutex<u64>,
    server: tokio::task::JoinHandle<()>,
}

impl FunctionProcess {
    /// Starts `bootstrap` as the function whose `Handler` is `handler`, with these further environment
    /// variables and nothing else of this process's environment.
    ///
    /// # Panics
    /// When the process cannot be started.
    pub async fn start(bootstrap: &Path, handler: &str, environment: &[(&str, String)]) -> Self {
        let desk = Arc::new(Desk::default());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound port has an address");
        let router = Router::new()
            .route(&format!("{API}/invocation/next"), get(next))
            .route(&format!("{API}/invocation/{{id}}/response"), post(response))
            .route(&format!("{API}/invocation/{{id}}/error"), post(error))
            .route(&format!("{API}/init/error"), post(init_error))
            .with_state(desk.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the runtime API runs");
        });
        let started = Instant::now();
        let child = Command::new(bootstrap)
            .env_clear()
            .env("_HANDLER", handler)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", handler)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|e| panic!("{} cannot be started: {e}", bootstrap.display()));
        Self { desk, handler: handler.to_owned(), child, started, next: Mutex::default(), server }
    }

    /// From starting the process to its first poll for work: what Lambda bills as initialisation.
    ///
    /// # Panics
    /// When the function does not get that far.
    pub async fn init(&self) -> Duration {
        let polled = async {
            loop {
                let notified = self.desk.polled.notified();
                if let Some(at) = *lock(&self.desk.first_poll) {
                    return at - self.started;
                }
                notified.await;
            }
        };
        tokio::time::timeout(PATIENCE, polled).await.expect("the function polls for work")
    }

    /// Invokes the function and waits for its answer, or its typed error.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn invoke(&self, payload: Value) -> Answer {
        let id = {
            let mut next = lock(&self.next);
            *next += 1;
            format!("invocation-{next}")
        };
        let (answer, answered) = oneshot::channel();
        lock(&self.desk.answers).insert(id.clone(), answer);
        lock(&self.desk.waiting).push_back((id, payload));
        self.desk.arrived.notify_one();
        tokio::time::timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| panic!("{} did not answer within {PATIENCE:?}", self.handler))
            .expect("the desk keeps the question until it is answered")
    }
}

impl Drop for FunctionProcess {
    fn drop(&mut self) {
        self.server.abort();
        // It may have ended by itself: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn next(State(desk): State<Arc<Desk>>) -> Response {
    lock(&desk.first_poll).get_or_insert_with(Instant::now);
    desk.polled.notify_waiters();
    loop {
        let arrived = desk.arrived.notified();
        if let Some((id, payload)) = lock(&desk.waiting).pop_front() {
            let headers = [
                ("lambda-runtime-aws-request-id", id),
                // Far away: the year 2100.
                ("lambda-runtime-deadline-ms", "4102444800000".to_owned()),
                (
                    "lambda-runtime-invoked-function-arn",
                    "arn:aws:lambda:us-east-1:000000000000:function:test".to_owned(),
                ),
            ];
            return (headers, payload.to_string()).into_response();
        }
        arrived.await;
    }
}

fn settle(desk: &Desk, id: &str, answer: Answer) -> StatusCode {
    match lock(&desk.answers).remove(id) {
        // The test may have given up on the answer.
        Some(waiting) => {
            let _ = waiting.send(answer);
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}

fn json(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

async fn response(State(desk): State<Arc<Desk>>, UrlPath(id): UrlPath<String>, body: Bytes) -> StatusCode {
    settle(&desk, &id, Ok(json(&body)))
}

async fn error(State(desk): State<Arc<Desk>>, UrlPath(id): UrlPath<String>, body: Bytes) -> StatusCode {
    settle(&desk, &id, Err(json(&body)))
}

async fn init_error(State(desk): State<Arc<Desk>>, body: Bytes) -> StatusCode {
    for (_, waiting) in lock(&desk.answers).drain() {
        let _ = waiting.send(Err(json(&body)));
    }
    StatusCode::ACCEPTED
}

/// An AWS endpoint that answers every request with one body, whatever was asked, and keeps what was asked.
pub struct FixedService {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    server: tokio::task::JoinHandle<()>,
}

impl FixedService {
    /// Starts an endpoint that answers 200 with `answer`.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start(answer: Value) -> Self {
        Self::answering(StatusCode::OK, answer).await
    }

    /// Starts an endpoint that refuses everything with this error, as AWS does.
    ///
    /// # Panics
    /// When no loopback port can be bound, or `status` is none of HTTP's.
    pub async fn refusing(status: u16, error: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status of HTTP");
        Self::answering(status, serde_json::json!({ "__type": error, "message": "so it is" })).await
    }

    async fn answering(status: StatusCode, answer: Value) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound port has an address");
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let keep = asked.clone();
        let handler = move |headers: HeaderMap, body: Bytes| {
            let target =
                headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
            lock(&keep).push((target, json(&body)));
            let answer = answer.to_string();
            async move { (status, [("content-type", "application/x-amz-json-1.1")], answer) }
        };
        let router = Router::new().route("/", any(handler));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the fixed service runs");
        });
        Self { address, asked, server }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked: the operation (`X-Amz-Target`) and the body, in order.
    pub fn asked(&self) -> Vec<(String, Value)> {
        lock(&self.asked).clone()
    }
}

impl Drop for FixedService {
    fn drop(&mut self) {
        self.server.abort();
    }
}
