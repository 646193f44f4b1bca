//! The port to the bus.

use std::time::Duration;

use async_trait::async_trait;

use crate::entry::Entry;

/// An event bus, with exactly what `PutEvents` offers.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends at most [`crate::MAX_ENTRIES`] entries of at most [`crate::MAX_BYTES`] together, once, and answers
    /// within the given time. The answer has a verdict for each entry, in order; an entry without one was not accepted.
    ///
    /// # Errors
    /// [`BusError`]: nothing is known to be accepted.
    async fn put(&self, entries: &[Entry], within: Duration) -> Result<Vec<Verdict>, BusError>;
}

/// What the bus says about one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has it.
    Accepted,
    /// Not now. This is also what an answer means that is not understood.
    Failed(String),
    /// Never: the entry itself is at fault.
    Refused(String),
}

/// What the bus says about a whole call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Too many calls; a later one may work.
    #[error("throttled: {0}")]
    Throttled(String),
    /// No answer, or none that says what happened: entries may have been accepted.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The entries are too large together.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Some entry makes the whole call invalid; which one is not said.
    #[error("invalid: {0}")]
    Invalid(String),
    /// We may not, or there is no such bus: no entry of ours would be taken.
    #[error("refused: {0}")]
    Refused(String),
}
