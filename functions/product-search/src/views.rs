//! What keeps the index up to date with the streams of products, stores and stock.

use std::{sync::Arc, time::Duration};

use contracts::Envelope;
use event_store::EventStore;
use kernel::ports::{Backoff, Ports};
use lambda::{Fault, settled};

use crate::{
    index::{IndexError, ProductIndex},
    writer::{Patience, Writer},
};

/// How a batch is tried again because somebody else changed the index meanwhile. There are two writers at
/// most, and a sweep, and a change takes a tenth of a second; but one that is given batch after batch leaves
/// the others little time between two of its changes, so that one has to try often, and soon. The sweep
/// leaves longer pauses, and so the right of way.
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

/// The projection into the index.
pub struct Indexing {
    writer: Writer,
    ports: Ports,
}

impl Indexing {
    /// A projection into `index`; it heals from `events`.
    pub fn new(index: Arc<dyn ProductIndex>, events: EventStore, ports: Ports) -> Self {
        Self { writer: Writer::new(index, events, ports.clone(), PATIENCE), ports }
    }

    /// Brings the index up to date with a batch of events: all changes are saved at once, before the queue
    /// hears that the events are done with. An event that cannot be applied fails alone.
    pub async fn project_product_index(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        let mut outcome = match self.writer.write(&events).await {
            Ok(outcome) => outcome,
            // Nothing is wrong with the events: the index is out of reach, or damaged until a sweep.
            Err(error) => {
                tracing::error!(%error, "batch not saved");
                return events.iter().map(|_| Err(Fault::unavailable(&error))).collect();
            }
        };
        outcome.lag = outcome.lag_of(&events, self.ports.clock.now());
        settled(&events, outcome)
    }
}
