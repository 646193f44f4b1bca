//! Commits as DynamoDB items, and back.

use std::{
    collections::HashMap,
    io::{Read, Write},
};

use aws_sdk_dynamodb::types::AttributeValue;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use kernel::{
    Actor, CommandId, CommandStamp, PayloadHash, RawEvent, StreamId, Timestamp, TraceParent, Uuid, Version,
};
use serde::{Deserialize, Serialize};
use serde_dynamo::AttributeValue as Attribute;
use serde_json::Value;

use crate::{
    commit::{Commit, CommittedEvent, Snapshot},
    log::{AppendError, StoreError},
};

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Bytes of an item that one write request unit pays for.
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB on-demand capacity mode".
const WRITE_UNIT: usize = 1024;
/// Largest item DynamoDB takes. Source: "Service, account, and table quotas in Amazon DynamoDB".
pub(crate) const MAX_ITEM: usize = 400 * 1024;
/// Inflated bodies are cut off here: no commit that [`MAX_ITEM`] admits inflates to more unless
/// somebody made it to fill the memory.
const MAX_INFLATED: u64 = 64 * 1024 * 1024;

/// A stored item that is not a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a commit: {0}")]
pub struct CodecError(String);

fn bad(why: impl ToString) -> CodecError {
    CodecError(why.to_string())
}

#[derive(Serialize, Deserialize)]
struct EventRecord {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    schema: u16,
    data: Value,
}

/// The item of a commit. `events` and `snapshot` are deflated together or not at all, whichever is
/// billed fewer write units.
pub(crate) fn encode(commit: &Commit) -> Result<Item, CodecError> {
    let records: Vec<EventRecord> = commit
        .events
        .iter()
        .map(|e| EventRecord {
            id: e.id,
            event_type: e.event.event_type.clone(),
            schema: e.event.schema,
            data: e.event.data.clone(),
        })
        .collect();
    let events = serde_json::to_string(&records).map_err(bad)?;
    let text = |s: &str| AttributeValue::S(s.to_owned());
    let number = |n: u64| AttributeValue::N(n.to_string());

    let mut item = Item::from([
        ("stream".into(), text(commit.stream.as_str())),
        ("version".into(), number(commit.version.get())),
        ("next".into(), number(commit.next.get())),
        ("command".into(), text(&commit.command.id.to_string())),
        ("hash".into(), text(commit.command.hash.as_str())),
        ("at".into(), text(&commit.at.to_string())),
        ("actor".into(), text(commit.actor.as_str())),
        ("correlation".into(), text(&commit.correlation.to_string())),
    ]);
    if let Some(causation) = commit.causation {
        item.insert("causation".into(), text(&causation.to_string()));
    }
    if let Some(trace) = &commit.trace {
        item.insert("trace".into(), text(trace.as_str()));
    }
    // Most commands are carried out at once: what goes without saying costs nothing.
    if commit.attempt > 0 {
        item.insert("attempt".into(), number(u64::from(commit.attempt)));
    }
    let mut bodies = vec![("events", events)];
    if let Some(snapshot) = &commit.snapshot {
        item.insert("snapshotSchema".into(), number(u64::from(snapshot.schema)));
        bodies.push(("snapshot", serde_json::to_string(&snapshot.state).map_err(bad)?));
    }

    let head = item_bytes(&item);
    let plain: usize = bodies.iter().map(|(name, body)| name.len() + body.len()).sum();
    // What could not be inflated again stays as it is, and is then refused for its size.
    if head + plain > WRITE_UNIT && plain as u64 <= MAX_INFLATED {
        let mut packed = Vec::new();
        for (name, body) in &bodies {
            packed.push((*name, deflate(body.as_bytes()).map_err(bad)?));
        }
        let small: usize = packed.iter().map(|(name, body)| name.len() + body.len()).sum();
        if (head + small).div_ceil(WRITE_UNIT) < (head + plain).div_ceil(WRITE_UNIT) {
            for (name, body) in packed {
                item.insert(name.into(), AttributeValue::B(body.into()));
            }
            return Ok(item);
        }
    }
    for (name, body) in bodies {
        item.insert(name.into(), AttributeValue::S(body));
    }
    Ok(item)
}

/// The commit of an item that the SDK returned.
pub(crate) fn decode(item: Item) -> Result<Commit, CodecError> {
    decode_fields(item.into_iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::S(s) => Field::Text(s),
            AttributeValue::N(n) => Field::Number(n),
            AttributeValue::B(b) => Field::Bytes(b.into_inner()),
            other => Field::Other(format!("{other:?}")),
        };
        (name, value)
    }))
}

/// The commit in the `NewImage` of a DynamoDB Streams record.
///
/// # Errors
/// [`CodecError`] when the image is not a commit.
pub fn from_stream_record(image: serde_dynamo::Item) -> Result<Commit, CodecError> {
    decode_fields(HashMap::<String, Attribute>::from(image).into_iter().map(|(name, value)| {
        let value = match value {
            Attribute::S(s) => Field::Text(s),
            Attribute::N(n) => Field::Number(n),
            Attribute::B(b) => Field::Bytes(b),
            other => Field::Other(format!("{other:?}")),
        };
        (name, value)
    }))
}

enum Field {
    Text(String),
    Number(String),
    Bytes(Vec<u8>),
    Other(String),
}

struct Fields(HashMap<String, Field>);

impl Fields {
    fn take_text(&mut self, name: &str) -> Result<Option<String>, CodecError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            Some(_) => Err(bad(format!("{name} is not a string"))),
        }
    }

    fn text(&mut self, name: &str) -> Result<String, CodecError> {
        self.take_text(name)?.ok_or_else(|| bad(format!("{name} is missing")))
    }

    fn parsed<T>(&mut self, name: &str) -> Result<T, CodecError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(name)?.parse().map_err(|e| bad(format!("{name}: {e}")))
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, CodecError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Field::Number(n)) => n.parse().map(Some).map_err(|e| bad(format!("{name}: {e}"))),
            Some(_) => Err(bad(format!("{name} is not a number"))),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, CodecError> {
        let parsed = match self.0.remove(name) {
            None => return Ok(None),
            Some(Field::Text(text)) => serde_json::from_str(&text),
            Some(Field::Bytes(bytes)) => serde_json::from_slice(&inflate(&bytes).map_err(bad)?),
            Some(Field::Number(_)) => return Err(bad(format!("{name} is a number"))),
            Some(Field::Other(what)) => return Err(bad(format!("{name} is {what}"))),
        };
        parsed.map(Some).map_err(|e| bad(format!("{name}: {e}")))
    }
}

fn decode_fields(fields: impl Iterator<Item = (String, Field)>) -> Result<Commit, CodecError> {
    let mut fields = Fields(fields.collect());
    let version = fields.number("version")?.ok_or_else(|| bad("version is missing"))?;
    let next = fields.number("next")?.ok_or_else(|| bad("next is missing"))?;
    let attempt = fields.number("attempt")?.unwrap_or_default();
    let records: Vec<EventRecord> = fields.json("events")?.ok_or_else(|| bad("events is missing"))?;
    if version == 0 || records.is_empty() || next != version + records.len() as u64 {
        return Err(bad(format!("{} events cannot reach from version {version} to {next}", records.len())));
    }
    let snapshot = match (fields.number("snapshotSchema")?, fields.json("snapshot")?) {
        (Some(schema), Some(state)) => Some(Snapshot {
            schema: schema.try_into().map_err(|_| bad("snapshotSchema is too large"))?,
            state,
        }),
        (None, None) => None,
        _ => return Err(bad("snapshot and snapshotSchema go together")),
    };
    Ok(Commit {
        stream: fields.parsed::<StreamId>("stream")?,
        version: Version::new(version),
        next: Version::new(next),
        events: records
            .into_iter()
            .map(|r| CommittedEvent {
                id: r.id,
                event: RawEvent { event_type: r.event_type, schema: r.schema, data: r.data },
            })
            .collect(),
        command: CommandStamp {
            id: CommandId::new(fields.parsed("command")?),
            hash: PayloadHash::stored(fields.text("hash")?),
        },
        at: fields.parsed::<Timestamp>("at")?,
        actor: Actor::new(fields.text("actor")?),
        correlation: fields.parsed("correlation")?,
        causation: fields.take_text("causation")?.map(|c| c.parse()).transpose().map_err(bad)?,
        trace: fields.take_text("trace")?.map(|t| t.parse::<TraceParent>()).transpose().map_err(bad)?,
        attempt: attempt.try_into().map_err(|_| bad("attempt is too large"))?,
        snapshot,
    })
}

/// Size of an item as DynamoDB counts it, for the attribute types that commits use.
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats".
pub fn item_bytes(item: &HashMap<String, AttributeValue>) -> usize {
    item.iter()
        .map(|(name, value)| {
            name.len()
                + match value {
                    AttributeValue::S(s) => s.len(),
                    // A number takes about one byte for two digits, and one more.
                    AttributeValue::N(n) => n.len().div_ceil(2) + 1,
                    AttributeValue::B(b) => b.as_ref().len(),
                    // Commits have no other types; one byte is what null and boolean take.
                    _ => 1,
                }
        })
        .sum()
}

fn deflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn inflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    DeflateDecoder::new(bytes).take(MAX_INFLATED).read_to_end(&mut out)?;
    Ok(out)
}

/// The item of a commit, unless it is too large for the table.
pub(crate) fn checked(commit: &Commit) -> Result<Item, AppendError> {
    let item = encode(commit).map_err(|e| StoreError::corrupt(&commit.stream, commit.version, e))?;
    let bytes = item_bytes(&item);
    if bytes > MAX_ITEM {
        return Err(AppendError::TooLarge { bytes, limit: MAX_ITEM });
    }
    Ok(item)
}
