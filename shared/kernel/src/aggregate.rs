//! Aggregates: two pure functions over a state that is an enum of what can really be.

use serde::{Serialize, de::DeserializeOwned};

use crate::{event::Event, refusal::Refusal};

/// A consistency boundary whose state is the fold of its own stream.
///
/// `None` stands for "nothing has happened yet", so a command on an unknown id is met by the
/// aggregate's own rules and never by an empty ghost.
pub trait Aggregate: Sized + Clone + Send + Sync + Serialize + DeserializeOwned {
    /// The stream category, `<context>.<Aggregate>`, for example `ordering.Order`.
    const CATEGORY: &'static str;
    /// Version of the serialised state. Raise it whenever the state's shape or meaning changes:
    /// snapshots of any other version are ignored and the events are folded instead.
    const STATE_SCHEMA: u16;
    /// What may be asked of it.
    type Command: Send + Sync;
    /// What may happen to it.
    type Event: Event;
    /// Why it may say no.
    type Refusal: Refusal;

    /// Decides what happens. An empty list means "already so": nothing is written.
    ///
    /// # Errors
    /// The business rule that forbids the command.
    fn decide(state: Option<&Self>, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// The state after one more event.
    ///
    /// # Errors
    /// [`BrokenHistory`] when the event cannot follow the state. `decide` never emits such an event,
    /// so this means that a stream was damaged or was read with the wrong aggregate.
    fn evolve(state: Option<Self>, event: &Self::Event) -> Result<Self, BrokenHistory>;
}

/// An event that cannot have happened in the state it was applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow state {state}")]
pub struct BrokenHistory {
    /// Type of the event.
    pub event: &'static str,
    /// Name of the state.
    pub state: &'static str,
}

/// Folds events over a state.
///
/// # Errors
/// [`BrokenHistory`] at the first event that cannot follow.
pub fn fold<'e, A: Aggregate>(
    state: Option<A>,
    events: impl IntoIterator<Item = &'e A::Event>,
) -> Result<Option<A>, BrokenHistory>
where
    A::Event: 'e,
{
    events.into_iter().try_fold(state, |state, event| A::evolve(state, event).map(Some))
}
