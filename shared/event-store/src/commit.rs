//! Commits: what one command decided.

use contracts::Envelope;
use kernel::{Actor, CommandStamp, RawEvent, StreamId, Timestamp, TraceParent, Uuid, Version};
use serde_json::Value;

/// What one command decided, as it stands in the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The stream.
    pub stream: StreamId,
    /// Version of the first event.
    pub version: Version,
    /// Version after the last event.
    pub next: Version,
    /// The events, at least one.
    pub events: Vec<CommittedEvent>,
    /// The command that caused it.
    pub command: CommandStamp,
    /// When. Never earlier than the stream's commit before it, unless that one is more than a day ahead of
    /// the writer's clock.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Shared by all that follows from one outside request.
    pub correlation: Uuid,
    /// What the command answered.
    pub causation: Option<Uuid>,
    /// W3C trace context.
    pub trace: Option<TraceParent>,
    /// How often the command was tried before the attempt that was committed, as far as that was said.
    pub attempt: u32,
    /// The state after this commit, in some commits.
    pub snapshot: Option<Snapshot>,
}

/// One event of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct CommittedEvent {
    /// Id, derived from the command's: the same in every retry.
    pub id: Uuid,
    /// Type, schema version and body.
    pub event: RawEvent,
}

/// An aggregate's state, inside a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Version of the state's schema. A snapshot of another version is ignored on load.
    pub schema: u16,
    /// The state.
    pub state: Value,
}

impl Commit {
    /// Version of the last event.
    pub fn last(&self) -> Version {
        self.next.previous()
    }

    /// Copies the events out, with everything a reader needs. A caller that does not keep the commit has
    /// [`Commit::into_envelopes`].
    pub fn envelopes(&self) -> impl Iterator<Item = Envelope> + use<> {
        self.clone().into_envelopes()
    }

    /// Turns the commit into its events, with everything a reader needs. The bodies are moved.
    pub fn into_envelopes(self) -> impl Iterator<Item = Envelope> {
        self.events.into_iter().enumerate().map(move |(index, CommittedEvent { id, event })| Envelope {
            id,
            event_type: event.event_type,
            schema: event.schema,
            stream: self.stream.clone(),
            version: self.version.plus(index as u64),
            first: self.version,
            next: self.next,
            at: self.at,
            actor: self.actor.clone(),
            correlation: self.correlation,
            causation: self.causation,
            command: self.command.id.uuid(),
            trace: self.trace.clone(),
            attempt: self.attempt,
            data: Some(event.data),
        })
    }
}

/// A commit that may be appended: it starts right after a head that was really seen.
///
/// Only [`crate::Head::commit`] makes one, so no caller can write a gap:
///
/// ```compile_fail
/// # fn sneak(commit: event_store::Commit) {
/// let gap = event_store::NewCommit(commit); // private
/// # }
/// ```
///
/// ```compile_fail
/// # fn sneak(stream: kernel::StreamId) {
/// let head = event_store::Head { stream, next: kernel::Version::new(7) }; // private
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NewCommit(pub(crate) Commit);

impl NewCommit {
    /// The commit.
    pub fn as_commit(&self) -> &Commit {
        &self.0
    }
}
