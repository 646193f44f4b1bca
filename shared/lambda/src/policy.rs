//! What every policy ("when event, then command") does with the event that it answers.

use std::fmt;

use contracts::Envelope;
use event_store::EventStore;
use kernel::{DecodeError, Event, Id};

use crate::Fault;

/// The event, with its body fetched from the event table when the bus left it out.
///
/// # Errors
/// When the event table fails, or the event is not one of these.
pub async fn whole<E: Event>(store: &EventStore, event: &Envelope) -> Result<E, Fault> {
    if event.data.is_some() {
        return event.event().map_err(|e| undecodable(&e, &e));
    }
    let fetched = store.event(&event.stream, event.version).await?;
    let missing = || Fault::poison(format!("{} has no version {}", event.stream, event.version));
    fetched.ok_or_else(missing)?.event().map_err(|e| undecodable(&e, &e))
}

/// Returns the fault of an event that cannot be handled because of `error`; `told` says which it is. One of a
/// type or schema that this code does not know may be of code that is being deployed: it waits for a while.
pub(crate) fn undecodable(error: &DecodeError, told: &impl fmt::Display) -> Fault {
    match error {
        DecodeError::UnknownType { .. } | DecodeError::FromTheFuture { .. } => {
            Fault::new(422, "EVENT_IS_UNKNOWN", told.to_string())
        }
        DecodeError::NoUpcaster { .. } | DecodeError::Malformed { .. } => Fault::poison(told),
    }
}

/// The id of what the event happened to.
///
/// # Errors
/// When the stream's id is no UUID, which the writers rule out.
pub fn subject<K>(event: &Envelope) -> Result<Id<K>, Fault> {
    event.stream.id().parse().map_err(|e| Fault::poison(format!("{}: {e}", event.stream)))
}

/// The bus rule lets through what a policy answers; anything else is a mistake in the template.
pub fn unexpected<E: Event>(event: &E) -> Fault {
    Fault::poison(format!("{} is not what this policy answers: check its rule", event.event_type()))
}
