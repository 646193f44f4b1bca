//! An event with all that a reader needs to know about it.

use kernel::{Actor, DecodeError, Event, StreamId, Timestamp, TraceParent, Uuid, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One event of a stream as it travels on the bus (`detail` of the bus event).
///
/// **Guaranteed**: the fields are those of the commit, byte for byte, however often and in
/// whatever order the envelope arrives. **Not guaranteed**: that it arrives once, or after its
/// predecessor: readers compare [`Envelope::version`] with what they applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The event's id, the same in every delivery.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// Its type, for example `OrderCreated`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Version of the body's schema.
    #[schema(minimum = 1)]
    pub schema: u16,
    /// The stream.
    pub stream: StreamId,
    /// Position in the stream.
    pub version: Version,
    /// Version of the first event of the same commit.
    pub first: Version,
    /// Version after the last event of the same commit.
    pub next: Version,
    /// When it was committed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who caused it.
    #[schema(value_type = String)]
    pub actor: Actor,
    /// Shared by all that follows from one outside request.
    #[schema(value_type = String, format = "uuid")]
    pub correlation: Uuid,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub causation: Option<Uuid>,
    /// Id of the command that was committed.
    #[schema(value_type = String, format = "uuid")]
    pub command: Uuid,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub trace: Option<TraceParent>,
    /// How often the command was tried before the attempt that was committed, as far as that is known: sagas count. Left
    /// out when it is 0. Attempts whose answer was lost after the commit are not among them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub attempt: u32,
    /// The body. Left out when it is too large for the bus: read it from the event table, by
    /// stream and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(attempt: &u32) -> bool {
    *attempt == 0
}

impl Envelope {
    /// The context that published it.
    pub fn context(&self) -> &str {
        self.stream.context()
    }

    /// The typed event.
    ///
    /// # Errors
    /// [`DecodeError`]; also when the body was left out, which callers rule out by fetching first.
    pub fn event<E: Event>(&self) -> Result<E, DecodeError> {
        let data = self.data.as_ref().ok_or_else(|| DecodeError::Malformed {
            event_type: self.event_type.clone(),
            why: "the body was left out and has to be fetched from the event table".into(),
        })?;
        E::from_raw(&self.event_type, self.schema, data)
    }
}
