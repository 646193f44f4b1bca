//! The port to the parked queue: where records go that can never be relayed.

use std::time::Duration;

use async_trait::async_trait;
use kernel::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Keeps records for an operator to look at.
#[async_trait]
pub trait Parking: Send + Sync {
    /// Keeps a record, answering within the given time.
    ///
    /// # Errors
    /// [`ParkingError`]: it is not known to be kept.
    async fn park(&self, parked: &Parked, within: Duration) -> Result<(), ParkingError>;
}

/// The record is not known to be parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot park: {0}")]
pub struct ParkingError(pub String);

/// Sorts of trouble with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// It is not a commit.
    Undecodable,
    /// The table is append-only, and this is not an append.
    NotAnAppend,
    /// The bus will never take one of its events.
    RefusedByBus,
}

/// A record that cannot be relayed, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The sort of trouble.
    pub reason: Reason,
    /// What exactly is wrong.
    pub why: String,
    /// When it was found.
    pub at: Timestamp,
    /// The record as it came from the stream.
    pub record: Value,
}

/// Most bytes of a message. SQS takes 1 MiB since 2025, but 256 KiB before and in emulators.
const MAX_MESSAGE: usize = 240 * 1024;
/// How much of a record is kept of one that is too large. Quoting it once more may double it.
const EXCERPT: usize = 64 * 1024;
/// How much of an explanation or a key is kept.
const SHORT: usize = 2 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    reason: Reason,
    why: &'a str,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Value>,
    /// Of a record too large for a message: the beginning, and the key of the item it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    excerpt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a Value>,
}

impl Parked {
    /// The message for a queue: JSON in plain ASCII (SQS refuses some characters that may stand in a damaged
    /// record), with the whole record, or as much of it as fits.
    pub fn to_message(&self) -> String {
        let whole = Message {
            reason: self.reason,
            why: start(&self.why, SHORT),
            at: self.at,
            record: Some(&self.record),
            excerpt: None,
            keys: None,
        };
        let text = ascii_json(&whole);
        if text.len() <= MAX_MESSAGE {
            return text;
        }
        let record = ascii_json(&self.record);
        let keys = self.record.pointer("/dynamodb/Keys").filter(|keys| ascii_json(keys).len() <= SHORT);
        ascii_json(&Message { record: None, excerpt: Some(start(&record, EXCERPT)), keys, ..whole })
    }
}

/// The beginning of a text, cut between characters.
fn start(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// JSON with everything beyond ASCII escaped, which JSON allows in strings, and only strings have it.
fn ascii_json(value: &impl Serialize) -> String {
    // Plain structs and JSON values always serialise.
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parked(record: Value) -> Parked {
        Parked { reason: Reason::Undecodable, why: "é".repeat(5000), at: Timestamp::UNIX_EPOCH, record }
    }

    #[test]
    fn a_parked_record_is_whole_and_free_of_characters_that_a_queue_refuses() {
        let record = json!({ "text": "\u{ffff} \u{1f986} \u{7} \" \\ é", "n": 1.5 });
        let message = parked(record.clone()).to_message();
        assert!(message.is_ascii() && !message.bytes().any(|b| b.is_ascii_control()));
        let read: Value = serde_json::from_str(&message).unwrap();
        assert_eq!((&read["record"], &read["reason"]), (&record, &json!("undecodable")));
    }

    #[test]
    fn a_record_too_large_for_a_message_is_cut_and_still_names_its_item() {
        let keys = json!({ "stream": { "S": "a.B/1" }, "version": { "N": "7" } });
        for filling in ["x", "\"", "\u{ffff}", "\\"] {
            let image = filling.repeat(900_000);
            let message = parked(json!({ "dynamodb": { "Keys": keys, "NewImage": image } })).to_message();
            assert!(message.len() <= MAX_MESSAGE, "{filling:?} makes {} bytes", message.len());
            let read: Value = serde_json::from_str(&message).unwrap();
            assert_eq!(read["keys"], keys);
            assert!(read["excerpt"].as_str().unwrap().len() > 60_000);
        }
    }
}
