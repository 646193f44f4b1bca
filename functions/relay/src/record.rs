//! Records of the table's stream.

use event_store::{Commit, from_stream_record};
use serde::Deserialize;
use serde_json::Value;

use crate::parking::Reason;

/// What a record asks for.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Relay this commit.
    Commit(Box<Commit>),
    /// Nothing at all.
    Nothing,
    /// Park it.
    Odd(Reason, String),
}

/// The parts of a record that count here. (The record of `aws_lambda_events` demands more, which emulators leave out,
/// and one odd record would then spoil the whole batch.)
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    event_name: String,
    dynamodb: Change,
}

#[derive(Deserialize)]
struct Change {
    #[serde(rename = "NewImage")]
    new_image: Option<serde_dynamo::Item>,
    #[serde(rename = "OldImage")]
    old_image: Option<serde_dynamo::Item>,
}

/// Reads a record. The table is append-only, so anything but an insert is somebody's doing by hand, except for one
/// thing: emulators report a write that changed nothing, which AWS does not.
pub(crate) fn read(record: &Value) -> Reading {
    let Record { event_name, dynamodb: Change { new_image, old_image } } = match Record::deserialize(record) {
        Ok(record) => record,
        Err(error) => return Reading::Odd(Reason::Undecodable, format!("not a stream record: {error}")),
    };
    match (event_name.as_str(), new_image, old_image) {
        ("INSERT", Some(image), _) => match from_stream_record(image) {
            Ok(commit) => Reading::Commit(Box::new(commit)),
            Err(error) => Reading::Odd(Reason::Undecodable, error.to_string()),
        },
        ("INSERT", None, _) => Reading::Odd(Reason::Undecodable, "the record has no NewImage".into()),
        ("MODIFY", Some(new), Some(old)) if new == old => Reading::Nothing,
        (name, _, _) => Reading::Odd(Reason::NotAnAppend, format!("{name} in an append-only table")),
    }
}

/// The sequence number by which Lambda is told about the record.
pub(crate) fn sequence_number(record: &Value) -> Option<&str> {
    record.pointer("/dynamodb/SequenceNumber")?.as_str().filter(|number| !number.is_empty())
}
