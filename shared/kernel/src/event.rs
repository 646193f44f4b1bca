//! Events: named, versioned facts, and how old ones become new ones on reading.

use std::borrow::Cow;

use serde::{
    Serialize,
    de::{DeserializeOwned, value::SeqDeserializer},
};
use serde_json::Value;

/// An event as it is stored and sent: a name, a schema version and a body.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// The type, for example `OrderCreated`.
    pub event_type: String,
    /// Version of the body's schema, starting at 1.
    pub schema: u16,
    /// The body.
    pub data: Value,
}

/// One step of evolution: turns the body of `event_type` at schema `from` into schema `from + 1`.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The type it applies to.
    pub event_type: &'static str,
    /// The schema version it reads.
    pub from: u16,
    /// The change. It must be total over every body that was ever written with schema `from`.
    pub apply: fn(Value) -> Result<Value, String>,
}

/// All events of one aggregate: an enum with `#[serde(tag = "type", content = "data")]`.
pub trait Event: Sized + Clone + Send + Sync + Serialize + DeserializeOwned {
    /// Every event type with the schema version that is written today.
    const SCHEMAS: &'static [(&'static str, u16)];
    /// How older schemas become today's, step by step.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// Name of this event's type.
    fn event_type(&self) -> &'static str;

    /// The stored form.
    ///
    /// # Errors
    /// When the event cannot be written as JSON, or its type is missing in [`Event::SCHEMAS`].
    fn to_raw(&self) -> Result<RawEvent, DecodeError> {
        let event_type = self.event_type();
        let broken = |why: String| DecodeError::Malformed { event_type: event_type.to_owned(), why };
        let mut tagged = serde_json::to_value(self).map_err(|e| broken(e.to_string()))?;
        let data = tagged
            .get_mut("data")
            .map(Value::take)
            .ok_or_else(|| broken("an event needs a body, if only an empty struct".into()))?;
        let schema = current_schema::<Self>(event_type)
            .ok_or_else(|| DecodeError::UnknownType { event_type: event_type.to_owned() })?;
        Ok(RawEvent { event_type: event_type.to_owned(), schema, data })
    }

    /// Reads a stored event of this type and schema from its body, upcasting it first when it is older than
    /// today's schema.
    ///
    /// # Errors
    /// See [`DecodeError`]. Nothing is ever skipped: an event that is not understood is an error.
    fn from_raw(event_type: &str, mut schema: u16, data: &Value) -> Result<Self, DecodeError> {
        let named = || event_type.to_owned();
        let current = current_schema::<Self>(event_type)
            .ok_or_else(|| DecodeError::UnknownType { event_type: named() })?;
        if schema > current {
            return Err(DecodeError::FromTheFuture { event_type: named(), schema, known: current });
        }
        let mut data = Cow::Borrowed(data);
        while schema < current {
            let step = Self::UPCASTERS.iter().find(|u| u.event_type == event_type && u.from == schema);
            let Some(step) = step else {
                return Err(DecodeError::NoUpcaster { event_type: named(), schema });
            };
            let upcast = (step.apply)(data.into_owned());
            data = Cow::Owned(upcast.map_err(|why| DecodeError::Malformed { event_type: named(), why })?);
            schema += 1;
        }
        // As a sequence of type and body, which serde reads like the map with both. Of a map it would copy
        // the body first, because `data` comes before `type`.
        let tagged = [&Value::String(named()), &*data];
        Self::deserialize(SeqDeserializer::new(tagged.into_iter())).map_err(|e: serde_json::Error| {
            DecodeError::Malformed { event_type: named(), why: e.to_string() }
        })
    }
}

fn current_schema<E: Event>(event_type: &str) -> Option<u16> {
    E::SCHEMAS.iter().find(|(name, _)| *name == event_type).map(|(_, schema)| *schema)
}

/// Why a stored event could not be read (or written).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The type is not one of this aggregate's.
    #[error("unknown event type {event_type}")]
    UnknownType {
        /// The type found.
        event_type: String,
    },
    /// Written by newer code than this: deploy readers before writers.
    #[error("{event_type} has schema {schema}, this code knows up to {known}: deploy newer code")]
    FromTheFuture {
        /// The type.
        event_type: String,
        /// The schema found.
        schema: u16,
        /// The newest schema known here.
        known: u16,
    },
    /// A step of the upcasting chain is missing.
    #[error("{event_type} has schema {schema} and no upcaster leads on from there")]
    NoUpcaster {
        /// The type.
        event_type: String,
        /// The schema at which the chain ends.
        schema: u16,
    },
    /// The body does not fit the schema.
    #[error("{event_type} is malformed: {why}")]
    Malformed {
        /// The type.
        event_type: String,
        /// What does not fit.
        why: String,
    },
}
