//! Streams that say whatever they are told: for tests of those who read another context's events, and for whom what that
//! context makes of commands is not their business.

use std::convert::Infallible;

use event_store::{EventStore, Expect};
use kernel::{Aggregate, BrokenHistory, CommandMeta, DecodeError, Event, RawEvent, StreamId, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Lets an event happen in a stream, whatever happened there before, and says which version it is.
///
/// # Panics
/// When the event cannot be stored.
pub async fn tell<E: Event>(store: &EventStore, stream: &StreamId, event: &E, meta: &CommandMeta) -> Version {
    let RawEvent { event_type, schema, data } = event.to_raw().expect("an event that can be stored");
    let event = Told { event_type, schema, data };
    let told = store.transact::<Written>(stream, Expect::Any, &event, meta).await;
    told.expect("a stream that takes what it is told").version
}

/// A stream that takes every event it is told.
#[derive(Clone, Serialize, Deserialize)]
struct Written;

/// An event, and the command to let it happen.
#[derive(Clone, Serialize, Deserialize)]
struct Told {
    event_type: String,
    schema: u16,
    data: Value,
}

impl Event for Told {
    const SCHEMAS: &'static [(&'static str, u16)] = &[];

    fn event_type(&self) -> &'static str {
        "Told"
    }

    fn to_raw(&self) -> Result<RawEvent, DecodeError> {
        let Self { event_type, schema, data } = self.clone();
        Ok(RawEvent { event_type, schema, data })
    }

    fn from_raw(event_type: &str, schema: u16, data: &Value) -> Result<Self, DecodeError> {
        Ok(Self { event_type: event_type.to_owned(), schema, data: data.clone() })
    }
}

impl Aggregate for Written {
    const CATEGORY: &'static str = "testing.Written";
    const STATE_SCHEMA: u16 = u16::MAX;
    type Command = Told;
    type Event = Told;
    type Refusal = Infallible;

    fn decide(_: Option<&Self>, told: &Told) -> Result<Vec<Told>, Infallible> {
        Ok(vec![told.clone()])
    }

    fn evolve(_: Option<Self>, _: &Told) -> Result<Self, BrokenHistory> {
        Ok(Self)
    }
}
