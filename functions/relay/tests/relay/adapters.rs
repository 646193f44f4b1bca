//! The adapters, down to the HTTP that EventBridge and SQS speak.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use kernel::Timestamp;
use relay::{Bus, BusError, Entry, EventBridge, Parked, ParkedQueue, Parking, Reason, Relay, Verdict};
use serde_json::{Value, json};

use crate::stage::{Stage, commits, sequence};

/// AWS over a wire that follows a script.
#[derive(Debug, Clone, Default)]
struct Wire {
    answers: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<Value>>>,
}

#[derive(Debug)]
enum Reply {
    Http(u16, Value),
    Broken,
    Silence,
}

impl Wire {
    fn new(answers: impl IntoIterator<Item = Reply>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), requests: Arc::default() }
    }

    fn bus(&self) -> EventBridge {
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(self.clone())
            .build();
        EventBridge::new(aws_sdk_eventbridge::Client::from_conf(config), "mallard-bus")
    }

    fn queue(&self) -> ParkedQueue {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(self.clone())
            .retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled())
            .build();
        ParkedQueue::new(
            aws_sdk_sqs::Client::from_conf(config),
            "https://sqs.us-east-1.amazonaws.com/1/parked",
        )
    }

    fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().expect("a request that is in memory");
        let mut value: Value = serde_json::from_slice(body).expect("JSON is spoken here");
        value["target"] = request.headers().get("x-amz-target").into();
        self.requests.lock().unwrap().push(value);
        match self.answers.lock().unwrap().pop_front().expect("no more requests than answers") {
            Reply::Http(status, body) => {
                let status = StatusCode::try_from(status).unwrap();
                HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body.to_string()))))
            }
            Reply::Broken => HttpConnectorFuture::ready(Err(ConnectorError::io("connection reset".into()))),
            Reply::Silence => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn entries(count: usize) -> Vec<Entry> {
    let entry = |n| Entry {
        source: "mallard.test".into(),
        detail_type: "Noted".into(),
        detail: json!({ "n": n }).to_string(),
        time: "2026-11-20T12:00:00.25Z".parse().unwrap(),
        trace_header: Some("Root=1-0af76519-16cd43dd8448eb211c80319c".into()),
    };
    (0..count).map(entry).collect()
}

fn ok(failed: usize, entries: Value) -> Reply {
    Reply::Http(200, json!({ "FailedEntryCount": failed, "Entries": entries }))
}

#[tokio::test]
async fn a_request_says_everything_once() {
    let wire = Wire::new([ok(0, json!([{ "EventId": "1" }, { "EventId": "2" }]))]);
    assert_eq!(wire.bus().put(&entries(2), SECOND).await, Ok(vec![Verdict::Accepted; 2]));
    let requests = wire.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["target"], "AWSEvents.PutEvents");
    let expected = json!({
        "EventBusName": "mallard-bus",
        "Source": "mallard.test",
        "DetailType": "Noted",
        "Detail": "{\"n\":1}",
        "Time": 1_795_176_000.25,
        "TraceHeader": "Root=1-0af76519-16cd43dd8448eb211c80319c",
    });
    assert_eq!(requests[0]["Entries"][1], expected);
}

#[tokio::test]
async fn a_partial_failure_is_told_entry_by_entry() {
    let wire = Wire::new([ok(
        4,
        json!([
            { "EventId": "1" },
            { "ErrorCode": "ThrottlingException", "ErrorMessage": "slow down" },
            { "ErrorCode": "InternalFailure" },
            { "ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed." },
            { "ErrorCode": "AccessDeniedException" },
            {},
        ]),
    )]);
    let verdicts = wire.bus().put(&entries(6), SECOND).await.unwrap();
    assert!(
        matches!(
            &verdicts[..],
            [
                Verdict::Accepted,
                Verdict::Failed(_),
                Verdict::Failed(_),
                Verdict::Refused(_),
                Verdict::Failed(_),
                Verdict::Failed(_)
            ]
        ),
        "{verdicts:?}"
    );
}

#[tokio::test]
async fn an_answer_that_does_not_add_up_counts_as_none() {
    let accepted = json!([{ "EventId": "1" }, { "EventId": "2" }]);
    for answer in [
        ok(1, accepted.clone()),
        ok(0, json!([{ "EventId": "1" }])),
        ok(2, json!([])),
        Reply::Http(200, json!({})),
    ] {
        let error = Wire::new([answer]).bus().put(&entries(2), SECOND).await.unwrap_err();
        assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    }
}

#[tokio::test]
async fn errors_of_a_whole_call_are_told_apart() {
    let error = |status, code: &str, message: &str| {
        Reply::Http(status, json!({ "__type": code, "message": message }))
    };
    let cases = [
        (error(400, "ThrottlingException", "Rate exceeded"), "throttled"),
        (error(429, "Whatever", ""), "throttled"),
        (error(500, "InternalException", ""), "unavailable"),
        (error(503, "ServiceUnavailable", ""), "unavailable"),
        (Reply::Http(502, json!("a proxy's page")), "unavailable"),
        (Reply::Broken, "unavailable"),
        (
            error(400, "ValidationException", "Total size of the entries in the request is over the limit."),
            "too large",
        ),
        (error(413, "Whatever", ""), "too large"),
        (
            error(400, "ValidationException", "1 validation error detected: entries.2.member.detailType"),
            "invalid",
        ),
        (error(400, "ValidationException", "Value at 'entries.1.member.eventBusName' failed"), "refused"),
        (error(400, "AccessDeniedException", "not authorized to perform: events:PutEvents"), "refused"),
        (error(400, "ResourceNotFoundException", "Event bus mallard-bus does not exist."), "refused"),
        (error(403, "ExpiredTokenException", ""), "refused"),
    ];
    for (answer, expected) in cases {
        let told = format!("{answer:?}");
        let wire = Wire::new([answer]);
        let error = wire.bus().put(&entries(1), SECOND).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{told} is told as {error}");
        assert_eq!(wire.requests().len(), 1, "the adapter itself does not retry");
    }
}

#[tokio::test]
async fn a_silent_bus_is_given_up_in_time() {
    let error =
        Wire::new([Reply::Silence]).bus().put(&entries(1), Duration::from_millis(30)).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_parked_record_reaches_the_queue_or_is_not_taken_for_parked() {
    let parked = Parked {
        reason: Reason::Undecodable,
        why: "why".into(),
        at: Timestamp::UNIX_EPOCH,
        record: json!({ "n": 1 }),
    };
    let wire = Wire::new([
        Reply::Http(200, json!({ "MessageId": "1", "MD5OfMessageBody": "" })),
        Reply::Http(400, json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist" })),
        Reply::Broken,
        Reply::Silence,
    ]);
    let queue = wire.queue();
    assert_eq!(queue.park(&parked, SECOND).await, Ok(()));
    let sent = &wire.requests()[0];
    assert_eq!(sent["QueueUrl"], "https://sqs.us-east-1.amazonaws.com/1/parked");
    let body: Value = serde_json::from_str(sent["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!(body["record"], parked.record);
    for _ in 0..3 {
        assert!(queue.park(&parked, Duration::from_millis(30)).await.is_err());
    }
}

#[tokio::test]
async fn d23_the_relay_through_the_real_sdk_acknowledges_what_eventbridge_accepted() {
    let throttled = json!({ "ErrorCode": "ThrottlingException" });
    let wire = Wire::new([
        ok(2, json!([{ "EventId": "1" }, throttled, throttled])),
        Reply::Http(400, json!({ "__type": "ThrottlingException" })),
        ok(1, json!([{ "EventId": "2" }, throttled])),
        Reply::Broken,
        ok(1, json!([throttled])),
        Reply::Http(500, json!({ "__type": "InternalException" })),
    ]);
    let stage = Stage::willing();
    let relay = Relay::new(Arc::new(wire.bus()), Arc::new(stage.clone()), stage.world.ports());
    let response =
        relay.relay(relay::Batch { records: commits(&[1, 1, 1]) }, Some(stage.deadline)).await.unwrap();
    let failed: Vec<_> = response.batch_item_failures.iter().map(|f| f.item_identifier.clone()).collect();
    assert_eq!(failed, [Some(sequence(2))]);
    let sizes: Vec<_> = wire.requests().iter().map(|r| r["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [3, 2, 2, 1, 1, 1]);
    // As Lambda reads it.
    let json = serde_json::to_value(&response).unwrap();
    assert_eq!(json, json!({ "batchItemFailures": [{ "itemIdentifier": sequence(2) }] }));
}
