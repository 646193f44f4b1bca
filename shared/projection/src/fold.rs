//! The fold of a stream's events as they are read, and the comparison of a stored row with it.

use contracts::Envelope;
use event_store::{EventStore, StoreError};
use kernel::{StreamId, Timestamp, Version};

use crate::{
    projection::{ApplyError, Projection},
    projector::is_irrelevant,
    store::{Content, Stored},
};

/// The row that the events of one stream make, event by event from the first.
pub struct Folded<P: Projection> {
    row: Option<P::Row>,
    version: Version,
    /// Version of the last event that is relevant to the row.
    relevant: Version,
    /// Version of the last relevant event that is not on its way to the view any more.
    due: Version,
    /// Events made later than this may still be on their way.
    settled: Timestamp,
    stopped: Option<(Version, ApplyError)>,
    /// Version from which on rows are left as they are, because an event before it cannot be read or applied.
    left_from: Option<Version>,
}

/// The result of comparing a stored row with its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The row is as its events make it.
    Right,
    /// The row lacks only events that may still be on their way.
    Behind,
    /// The row differs; in words that follow its name.
    Wrong(String),
    /// The row was written by newer code; in words that follow its name.
    Newer(String),
}

impl<P: Projection> Folded<P> {
    /// A fold without events. Events made after `settled` may still be on their way to the view.
    pub fn new(settled: Timestamp) -> Self {
        let none = Version::NONE;
        let (stopped, left_from) = (None, None);
        Self { row: None, version: none, relevant: none, due: none, settled, stopped, left_from }
    }

    /// Applies the next event of the stream. After an event that cannot be applied, nothing is.
    pub fn apply(&mut self, event: &Envelope) {
        if self.stopped.is_some() {
            return;
        }
        if !is_irrelevant::<P>(event) {
            match P::apply(self.row.take(), event) {
                Ok(row) => self.row = Some(row),
                Err(error) => {
                    self.stopped = Some((event.version, error));
                    return;
                }
            }
            self.relevant = event.version;
            if event.at <= self.settled {
                self.due = event.version;
            }
        }
        self.version = event.version;
    }

    /// The row; none when no event was relevant, or one could not be applied.
    pub fn row(&self) -> Option<&P::Row> {
        self.row.as_ref()
    }

    /// Version of the last event that was applied.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Brings the fold to the end of its stream, if a row is ahead of it. The fold then ends before the first
    /// event that cannot be applied; the answer names that event, once.
    ///
    /// # Errors
    /// [`StoreError`], if the event table does not answer.
    pub async fn reach(
        &mut self,
        events: &EventStore,
        stream: &StreamId,
        applied: Version,
    ) -> Result<Option<String>, StoreError> {
        if self.left_from.is_some() {
            return Ok(None);
        }
        if applied > self.version && self.stopped.is_none() {
            // The row was read after the events: the bus may have brought it further than these.
            match events.events_after(stream, self.version).await {
                Ok(events) => events.iter().for_each(|event| self.apply(event)),
                Err(error @ StoreError::Corrupt { .. }) => {
                    self.left_from = Some(Version::NONE);
                    return Ok(Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        let Some((bad, error)) = self.stopped.take() else { return Ok(None) };
        // The row went with the event that could not be applied to it.
        let events = match events.events_after(stream, Version::NONE).await {
            Err(error @ StoreError::Corrupt { .. }) => {
                self.left_from = Some(Version::NONE);
                return Ok(Some(error.to_string()));
            }
            events => events?,
        };
        *self = Self::new(self.settled);
        events.iter().take_while(|event| event.version < bad).for_each(|event| self.apply(event));
        self.left_from = Some(bad);
        Ok(Some(format!("{stream} version {bad}: {error}")))
    }

    /// Compares the stored row with this fold, which has to [reach](Folded::reach) as far. A row that holds
    /// an event which this code cannot apply is right: code that could wrote it.
    pub fn judge(&self, stored: Option<&Stored<P::Row>>) -> Verdict {
        let Some(Stored { stamp, content }) = stored else {
            return if self.due > Version::NONE {
                Verdict::Wrong("is missing".to_owned())
            } else if self.relevant > Version::NONE {
                Verdict::Behind
            } else {
                Verdict::Right
            };
        };
        let (applied, end) = (stamp.applied, self.version);
        if self.left_from.is_some_and(|version| applied >= version) {
            return Verdict::Right;
        }
        let row = match content {
            Content::Newer => {
                let why = format!("was written by newer code (schema {}, not {})", stamp.schema, P::SCHEMA);
                return Verdict::Newer(why);
            }
            _ if applied > end => {
                return Verdict::Wrong(format!("has applied {applied}, but its stream ends at {end}"));
            }
            Content::Outdated(_) if stamp.schema == P::SCHEMA => {
                return Verdict::Wrong("cannot be read".to_owned());
            }
            Content::Outdated(_) => {
                return Verdict::Wrong(format!("is of schema {}, not {}", stamp.schema, P::SCHEMA));
            }
            Content::Row(row) => Some(row),
            Content::Empty => None,
        };
        if self.relevant <= applied {
            return if row == self.row.as_ref() {
                Verdict::Right
            } else {
                Verdict::Wrong(format!("is other than its {applied} events make it"))
            };
        }
        if self.due > applied {
            return Verdict::Wrong(format!("stands at version {applied} of {end}"));
        }
        Verdict::Behind
    }
}
