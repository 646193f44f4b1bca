//! What keeps the index up to date with the streams of products, stores and stock.

use std::{sync::Arc, time::Duration};

use contracts::Envelope;
use event_store::EventStore;
use kernel::ports::{Backoff, Ports};
use lambda::{Fault, settled};
use projection::{BatchOutcome, DeliverError, Fed, Generation, Generations};

use crate::{
    index::IndexError,
    twins::Twins,
    writer::{Patience, Writer, all_failed},
};

/// How a batch is tried again because somebody else changed the index meanwhile. There are two writers at most, and a change
/// takes a tenth of a second; but one that is given batch after batch leaves the other little time between two of its changes, so
/// that one has to try often, and soon. What fills the next generation leaves longer pauses, and so the right of way. With all this
/// on both generations a batch is done within the function's ten seconds.
const PATIENCE: Patience = Patience {
    pauses: Backoff { base: Duration::from_millis(20), cap: Duration::from_millis(160), retries: 30 },
    time: Duration::from_secs(4),
};

impl From<IndexError> for Fault {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { .. } => Fault::unavailable(error),
            IndexError::Refused { .. } | IndexError::Damaged(_) => Fault::internal(error),
        }
    }
}

/// Who keeps the index up to date.
pub struct Indexing {
    generations: Generations,
    twins: Twins,
    events: EventStore,
    ports: Ports,
}

impl Indexing {
    /// The writer of the generations that `generations` names; it heals from `events`.
    pub fn new(generations: Generations, twins: Twins, events: EventStore, ports: Ports) -> Self {
        Self { generations, twins, events, ports }
    }

    /// Brings the index up to date with a batch of events: all that came of them is saved at once, before the queue hears
    /// that they are done with, in each generation that is fed. An event that cannot be applied fails alone.
    pub async fn project_product_index(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        let mut outcome = self.deliver(&events).await;
        outcome.lag = outcome.lag_of(&events, self.ports.clock.now());
        settled(&events, outcome)
    }

    async fn deliver(&self, events: &[Envelope]) -> BatchOutcome {
        let Fed { live, also } = match self.generations.fed().await {
            Ok(fed) => fed,
            Err(error) => {
                tracing::error!(%error, "nobody knows where events go");
                return all_failed(events, &error.into());
            }
        };
        let Some(also) = also else {
            self.twins.only(live).await;
            return whole(events, self.writer(live).write(events).await);
        };
        // The newer one first, and the older one only what that has: whatever a search sees in the older one is in the newer one
        // when that takes over.
        let (writer, older) = (self.writer(live.max(also)), self.writer(live.min(also)));
        let newer = match writer.write(events).await {
            Ok(outcome) => outcome,
            error @ Err(_) => return whole(events, error),
        };
        let missing = newer.missing(events);
        let held = events.iter().enumerate().filter(|(_, event)| !missing.contains(&event.stream));
        let (places, held): (Vec<usize>, Vec<Envelope>) =
            held.map(|(place, event)| (place, event.clone())).unzip();
        let mut older = whole(&held, older.write_after(Some(&writer), &held).await);
        for failed in &mut older.failed {
            failed.index = places.get(failed.index).copied().unwrap_or_default();
        }
        if live > also { newer.and_failed(older) } else { older.and_failed(newer) }
    }

    fn writer(&self, generation: Generation) -> Writer {
        Writer::new(self.twins.of(generation).clone(), self.events.clone(), self.ports.clone(), PATIENCE)
    }
}

/// What a batch comes to, saved or not.
fn whole(events: &[Envelope], written: Result<BatchOutcome, DeliverError>) -> BatchOutcome {
    written.unwrap_or_else(|error| {
        tracing::error!(%error, "batch not saved");
        all_failed(events, &error)
    })
}
