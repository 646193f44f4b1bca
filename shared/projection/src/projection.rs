//! What a view is made of: one projection per file.

use contracts::Envelope;
use kernel::{DecodeError, Id, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

/// One view: a row for each stream of one category, folded from the stream's events.
pub trait Projection: Send + Sync + 'static {
    /// Name of the view, for logs.
    const NAME: &'static str;
    /// Version of the row's shape and meaning. Raise it whenever [`Projection::apply`] would make
    /// another row of the same events: rows of an older version are folded anew.
    const SCHEMA: u16;
    /// The category of streams it follows, for example `ordering.Order`.
    const CATEGORY: &'static str;
    /// Event types that change nothing here. They are not read, but they count: the row's version
    /// moves on past them.
    const IRRELEVANT: &'static [&'static str] = &[];
    /// A row. It has to serialise as a map, and not use the names `applied`, `schema` and `empty`; a
    /// field called `id` has to be the stream's id. Fields that an index is built on are strings.
    type Row: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync;

    /// The row after one more event. Pure, and total over the category's event types: match without a
    /// catch-all arm, so that a new event type is a decision and not an accident.
    ///
    /// # Errors
    /// [`ApplyError`]; the event is then parked.
    fn apply(row: Option<Self::Row>, event: &Envelope) -> Result<Self::Row, ApplyError>;

    /// A row of an older schema as it is to be shown until a sweep replaces it; none to fold it from its
    /// events for each reader. Asked only for streams of more than [`LONG`] events, of which a fold would
    /// take too long. The answer is never written.
    fn upcast(_schema: u16, _fields: serde_json::Value) -> Option<Self::Row> {
        None
    }
}

/// Events from which on a stream counts as long: some ten pages of a query, a tenth of a second.
pub const LONG: u64 = 1_000;

/// Why an event cannot be applied. No retry helps; newer code may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The event is unknown to this code, or makes no sense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The event cannot follow those before it.
    #[error("{event_type} cannot follow: {why}")]
    BrokenHistory {
        /// Type of the event.
        event_type: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl ApplyError {
    /// The event needs a row and there is none.
    pub fn without_row(event: &Envelope) -> Self {
        Self::BrokenHistory { event_type: event.event_type.clone(), why: "there is no row yet" }
    }
}

/// The id of the row that an event belongs to: its stream's.
///
/// # Errors
/// When that is no UUID, which the writers rule out.
pub fn row_id<K>(event: &Envelope) -> Result<Id<K>, ApplyError> {
    event.stream.id().parse().map_err(|_| ApplyError::BrokenHistory {
        event_type: event.event_type.clone(),
        why: "the stream's id is not a UUID",
    })
}

/// A time as rows and indexes hold it: RFC 3339 with all nine places, so that text sorts as time does.
pub fn sortable(at: Timestamp) -> String {
    format!("{at:.9}")
}
