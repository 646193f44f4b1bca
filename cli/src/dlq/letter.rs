//! What is in a message of a dead-letter queue.

use contracts::Envelope;
use jiff::Timestamp;
use kernel::{StreamId, Version};
use serde::Deserialize;
use serde_json::{Value, json};

/// A message as it was seen.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its id in the queue.
    pub id: String,
    /// By which it is deleted or released, until somebody else receives it.
    pub receipt: String,
    /// When it was first put into a queue.
    pub sent: Option<Timestamp>,
    /// How often it was received, looks like this one included.
    pub received: u32,
    pub body: String,
    /// The reason with which its consumer parked it.
    pub reason: Option<String>,
    pub content: Content,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// An event that its consumer could not handle, or, with the reason, that the bus could not deliver.
    Event { event: Box<Envelope>, undelivered: Option<String> },
    /// A record that the relay parked.
    Parked(Parked),
    /// A batch of records that Lambda gave up before the relay could publish it.
    GivenUp(GivenUp),
    /// Nothing of that.
    Unknown(String),
}

/// What the relay says about a record that it parked: `functions/relay/src/parking.rs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Parked {
    /// The sort of trouble.
    pub reason: String,
    /// What exactly is wrong.
    pub why: String,
    /// When it was found.
    pub at: Timestamp,
    record: Option<Value>,
    keys: Option<Value>,
}

impl Parked {
    /// The commit that the record is about, as far as it says so.
    pub fn commit(&self) -> Option<(StreamId, Version)> {
        let change = self.record.as_ref().and_then(|record| record.get("dynamodb"));
        let keys =
            [self.keys.as_ref(), change.and_then(|c| c.get("Keys")), change.and_then(|c| c.get("NewImage"))];
        keys.into_iter().flatten().find_map(|keys| {
            let stream = keys.pointer("/stream/S")?.as_str()?.parse().ok()?;
            Some((stream, Version::new(keys.pointer("/version/N")?.as_str()?.parse().ok()?)))
        })
    }
}

/// What Lambda says about a batch of a stream that it gave up.
/// Source: AWS Lambda Developer Guide, "Retain discarded records for a DynamoDB event source".
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenUp {
    pub request_context: RequestContext,
    #[serde(rename = "DDBStreamBatchInfo")]
    pub batch: BatchInfo,
}

/// Why a batch was given up.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RequestContext {
    pub condition: String,
}

/// Where in the stream a batch is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchInfo {
    pub approximate_arrival_of_first_record: Timestamp,
    pub approximate_arrival_of_last_record: Timestamp,
    pub batch_size: u64,
}

impl Content {
    /// Reads a message's body. `undelivered`: what the bus noted when it could not deliver it.
    pub fn of(body: &str, undelivered: Option<String>) -> Self {
        #[derive(Deserialize)]
        struct BusEvent {
            detail: Envelope,
        }
        let value: Value = match serde_json::from_str(body) {
            Ok(value) => value,
            Err(error) => return Self::Unknown(format!("it is not JSON: {error}")),
        };
        if value.get("DDBStreamBatchInfo").is_some() {
            return match serde_json::from_value(value) {
                Ok(given_up) => Self::GivenUp(given_up),
                Err(error) => Self::Unknown(format!("it is no note of Lambda's about a batch: {error}")),
            };
        }
        if value.get("reason").is_some() && value.get("detail").is_none() {
            return match serde_json::from_value(value) {
                Ok(parked) => Self::Parked(parked),
                Err(error) => Self::Unknown(format!("it is no note of the relay's about a record: {error}")),
            };
        }
        match serde_json::from_value(value) {
            Ok(BusEvent { detail }) => Self::Event { event: Box::new(detail), undelivered },
            Err(error) => Self::Unknown(format!("it is not an event: {error}")),
        }
    }

    /// The stream that it is about.
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Event { event, .. } => Some(event.stream.clone()),
            Self::Parked(parked) => parked.commit().map(|(stream, _)| stream),
            Self::GivenUp(_) | Self::Unknown(_) => None,
        }
    }

    /// The type of the event in it.
    pub fn event_type(&self) -> Option<&str> {
        match self {
            Self::Event { event, .. } => Some(&event.event_type),
            Self::Parked(_) | Self::GivenUp(_) | Self::Unknown(_) => None,
        }
    }

    /// What it is about, in a few words.
    pub fn summary(&self) -> String {
        match self {
            Self::Event { event, .. } => {
                format!("{} {} of {}", event.event_type, event.version, event.stream)
            }
            Self::Parked(parked) => match parked.commit() {
                Some((stream, version)) => format!("the commit of {stream} at version {version}"),
                None => "a record that names no commit".into(),
            },
            Self::GivenUp(GivenUp { batch, .. }) => format!(
                "{} commits of {} to {}",
                batch.batch_size,
                batch.approximate_arrival_of_first_record,
                batch.approximate_arrival_of_last_record
            ),
            Self::Unknown(_) => "something else".into(),
        }
    }

    /// Why it is here, where the message itself says so.
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Event { undelivered, .. } => {
                undelivered.as_ref().map(|why| format!("the bus could not deliver it: {why}"))
            }
            Self::Parked(parked) => Some(format!("{}: {}", parked.reason, parked.why)),
            Self::GivenUp(given_up) => {
                Some(format!("the relay could not publish it: {}", given_up.request_context.condition))
            }
            Self::Unknown(why) => Some(why.clone()),
        }
    }
}

impl Letter {
    /// For programs.
    pub fn json(&self, why: Option<&str>) -> Value {
        let event = match &self.content {
            Content::Event { event, .. } => Some(event),
            Content::Parked(_) | Content::GivenUp(_) | Content::Unknown(_) => None,
        };
        json!({
            "message": self.id, "sent": self.sent, "received": self.received, "why": why,
            "summary": self.content.summary(), "stream": self.content.stream(),
            "type": self.content.event_type(), "version": event.map(|event| event.version),
            "event": event.map(|event| event.id), "body": self.body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_from_what_only_looks_like_one() {
        let detail = json!({
            "id": "0198c0de-0000-7000-8000-000000000001", "type": "StoreRebranded", "schema": 1,
            "stream": "stores.Store/7", "version": 2, "first": 2, "next": 3, "at": "2026-01-31T12:00:00Z",
            "actor": "user:1", "correlation": "0198c0de-0000-7000-8000-000000000002",
            "command": "0198c0de-0000-7000-8000-000000000003", "data": { "reason": "a field named so" },
        });
        let event = Content::of(&json!({ "source": "mallard.stores", "detail": detail }).to_string(), None);
        assert_eq!(event.summary(), "StoreRebranded 2 of stores.Store/7");
        assert_eq!((event.event_type(), event.why()), (Some("StoreRebranded"), None));
        for other in
            ["", "[]", "{}", r#"{"detail":{"id":1}}"#, r#"{"reason":"x"}"#, r#"{"DDBStreamBatchInfo":{}}"#]
        {
            assert!(matches!(Content::of(other, None), Content::Unknown(_)), "{other} was understood");
        }
    }

    #[test]
    fn a_parked_record_names_its_commit_however_much_of_it_was_kept() {
        let key = json!({ "stream": { "S": "stores.Store/7" }, "version": { "N": "2" } });
        let parked = |rest: Value| {
            let mut note = json!({ "reason": "undecodable", "why": "bad", "at": "2026-01-31T12:00:00Z" });
            note.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            let Content::Parked(parked) = Content::of(&note.to_string(), None) else { panic!("{note}") };
            parked.commit()
        };
        let expected = Some(("stores.Store/7".parse().unwrap(), Version::new(2)));
        assert_eq!(parked(json!({ "record": { "dynamodb": { "Keys": key } } })), expected);
        assert_eq!(parked(json!({ "record": { "dynamodb": { "NewImage": key } } })), expected);
        assert_eq!(parked(json!({ "excerpt": "{\"dyn", "keys": key })), expected);
        assert_eq!(parked(json!({ "record": { "dynamodb": {} } })), None);
        assert_eq!(
            parked(json!({ "keys": { "stream": { "S": "no stream" }, "version": { "N": "2" } } })),
            None
        );
    }

    #[test]
    fn what_lambda_gave_up_says_when_its_commits_came() {
        // As the Lambda Developer Guide shows it.
        let note = json!({
            "requestContext": {
                "requestId": "316aa6d0", "functionArn": "arn:aws:lambda:us-east-1:1:function:relay",
                "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 1
            },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "version": "1.0", "timestamp": "2019-11-14T00:13:49.717Z",
            "DDBStreamBatchInfo": {
                "shardId": "shardId-00000001573689847184-864758bb", "startSequenceNumber": "800000000003126276362",
                "endSequenceNumber": "800000000003126276362",
                "approximateArrivalOfFirstRecord": "2019-11-14T00:13:19Z",
                "approximateArrivalOfLastRecord": "2019-11-14T00:13:19Z", "batchSize": 1,
                "streamArn": "arn:aws:dynamodb:us-east-1:1:table/t/stream/2019-11-14T00:04:06.388"
            }
        });
        let content = Content::of(&note.to_string(), None);
        assert_eq!(content.summary(), "1 commits of 2019-11-14T00:13:19Z to 2019-11-14T00:13:19Z");
        assert!(content.why().unwrap().contains("RetryAttemptsExhausted"));
    }
}
