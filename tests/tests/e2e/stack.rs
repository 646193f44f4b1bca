//! The deployed stack, seen from outside.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use contracts::Envelope;
use event_store::{Commit, DynamoLog, EventStore, Segment};
use ordering::views::Orders;
use projection::{DynamoViews, Projection};
use reqwest::Method;
use serde_json::Value;

/// What is deployed, and clients for it.
pub struct Stack {
    api: String,
    prefix: String,
    outputs: HashMap<String, String>,
    http: reqwest::Client,
    config: SdkConfig,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub etag: Option<String>,
    pub content_type: String,
    pub body: Value,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo mall test --only e2e`"))
}

impl Stack {
    pub async fn deployed() -> Arc<Self> {
        let text = std::fs::read_to_string(variable("MALL_STACK_FILE")).expect("the stack file");
        let file: Value = serde_json::from_str(&text).unwrap();
        let outputs = serde_json::from_value(file["outputs"].clone()).unwrap();
        let prefix = file["prefix"].as_str().expect("the prefix of all names").to_owned();
        let config = lambda::aws::config();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Arc::new(Self { api: variable("MALL_API_URL"), prefix, outputs, http, config })
    }

    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Reply, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.api));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (status, etag) = (response.status().as_u16(), header("etag"));
        let content_type = header("content-type").unwrap_or_default();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Reply { status, etag, content_type, body })
    }

    /// Sends until there is an answer that is not the platform's own trouble, as a good client does. Repeats
    /// carry the same idempotency key. Gives the answer and how often it was sent.
    pub async fn insist(&self, method: Method, path: &str, key: &str, body: Option<Value>) -> (Reply, u32) {
        for attempt in 1..=8 {
            match self.send(method.clone(), path, &[("idempotency-key", key)], body.clone()).await {
                Ok(reply) if reply.status < 500 && reply.status != 429 => return (reply, attempt),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(100 << attempt.min(4))).await,
            }
        }
        panic!("{method} {path} was not answered in 8 attempts");
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await.expect("an answer")
    }

    pub fn events(&self) -> EventStore {
        let log = DynamoLog::new(aws_sdk_dynamodb::Client::new(&self.config), self.output("EventTable"));
        EventStore::new(Arc::new(log), lambda::system_ports())
    }

    /// The rows of orders.
    pub fn orders(&self) -> DynamoViews<Orders> {
        DynamoViews::new(aws_sdk_dynamodb::Client::new(&self.config), self.output("OrdersTable"))
    }

    /// The tables.
    pub fn dynamo(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// The queues.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// Every commit of the event table that is one: a test may have put something else there.
    pub async fn readable_commits(&self) -> Vec<Commit> {
        let mut pages =
            self.dynamo().scan().table_name(self.output("EventTable")).into_paginator().items().send();
        let mut commits = Vec::new();
        while let Some(item) = pages.next().await {
            commits.extend(
                event_store::from_stream_record(item.expect("an item of the event table").into()).ok(),
            );
        }
        commits
    }

    /// Every commit of the event table.
    pub async fn commits(&self) -> Vec<Commit> {
        let (store, mut after, mut commits) = (self.events(), None, Vec::new());
        loop {
            let page =
                store.scan(Segment::WHOLE, after.as_ref(), None).await.expect("a page of the event table");
            commits.extend(page.commits);
            after = page.after;
            if after.is_none() {
                return commits;
            }
        }
    }

    /// Messages in all dead-letter queues.
    pub async fn dead_letters(&self) -> HashMap<String, u32> {
        let sqs = aws_sdk_sqs::Client::new(&self.config);
        let mut found = HashMap::new();
        for url in self.output("DeadLetterQueues").split(',').filter(|url| !url.is_empty()) {
            let attributes = sqs
                .get_queue_attributes()
                .queue_url(url)
                .attribute_names(aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages)
                .send()
                .await
                .expect("the depth of a queue");
            let depth = attributes
                .attributes()
                .and_then(|a| a.values().next())
                .and_then(|n| n.parse().ok())
                .expect("a queue tells its depth");
            found.insert(url.to_owned(), depth);
        }
        assert!(!found.is_empty(), "the stack names its dead-letter queues");
        found
    }

    /// Step Functions.
    pub fn sfn(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.config)
    }

    /// Runs a scheduled function at once: `ordering-resume-sagas`, `payments-chase-payments`. On AWS there is
    /// only its schedule, once a minute.
    ///
    /// # Errors
    /// The answer of a function that failed, or was not there.
    pub async fn run_scheduled(&self, function: &str) -> Result<(), String> {
        let Ok(cloud) = std::env::var("AWS_ENDPOINT_URL") else { return Ok(()) };
        // The emulator does not check the signature of its root, and the tests are its root.
        let (key, region) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_REGION"));
        let scope = format!("{key}/20260101/{region}/lambda/aws4_request");
        let root = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let url = format!("{cloud}/2015-03-31/functions/{}-{function}/invocations", self.prefix);
        let asked = self.http.post(url).header("authorization", root).body("{}");
        let answer = asked.send().await.map_err(|e| format!("{function}: {e}"))?;
        if answer.status().is_success() && !answer.headers().contains_key("x-amz-function-error") {
            return Ok(());
        }
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        Err(format!("{function}: {status} {text}"))
    }
}

/// The rows that the events should have made, folded here and now.
pub fn fold_orders(commits: &[Commit]) -> HashMap<String, <Orders as Projection>::Row> {
    let mut envelopes: Vec<Envelope> = commits
        .iter()
        .filter(|commit| commit.stream.category() == Orders::CATEGORY)
        .flat_map(|commit| commit.envelopes().collect::<Vec<_>>())
        .collect();
    envelopes.sort_by_key(|envelope| (envelope.stream.clone(), envelope.version));
    let mut rows = HashMap::new();
    for envelope in envelopes {
        let id = envelope.stream.id().to_owned();
        let row = Orders::apply(rows.remove(&id), &envelope).expect("a history that can be folded");
        rows.insert(id, row);
    }
    rows
}
