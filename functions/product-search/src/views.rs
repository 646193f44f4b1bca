//! What keeps the index up to date with the streams of products, stores and stock, and what makes it anew.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use catalogue::Stores;
use contracts::Envelope;
use event_store::{EventStore, Segment};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{
    Uuid,
    ports::{Backoff, Ports},
};
use lambda::{Answer, Call, Fault};
use projection::{Projection, Projector};
use serde::Serialize;

use crate::{
    desk::Desk,
    index::{IndexError, Key, Kind, ProductIndex, Record, Revision, Saved},
    rows::{Indexed, ProductRow, Products, Stock},
};

/// Pauses before a batch is done again because somebody else changed the index meanwhile. There are two writers at most,
/// and a change takes a tenth of a second.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(800), retries: 6 };

/// Parts of the event table that a rebuild reads at a time.
const SEGMENTS: u32 = 4;

/// Events that a rebuild folds at a time.
const CHUNK: usize = 500;

impl From<IndexError> for Fault {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { .. } => Fault::unavailable(error),
            IndexError::Refused { .. } | IndexError::Damaged(_) => Fault::internal(error),
        }
    }
}

/// The one who writes the index.
pub struct Indexing {
    index: Arc<dyn ProductIndex>,
    events: EventStore,
    ports: Ports,
}

/// What a rebuild did.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilt {
    /// Events that were folded.
    pub events: usize,
    /// Records in the new index.
    pub records: usize,
    /// Streams that went on meanwhile, and were read again to their ends.
    pub caught_up: usize,
}

impl Indexing {
    /// A writer of `index`, which heals from `events`.
    pub fn new(index: Arc<dyn ProductIndex>, events: EventStore, ports: Ports) -> Self {
        Self { index, events, ports }
    }

    /// Brings the index up to date with a batch of events: all that came of them is saved at once, before the queue hears
    /// that they are done with. An event that cannot be applied fails alone.
    pub async fn index_products(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        match self.bring_up_to_date(&events).await {
            Ok(results) => results,
            Err(fault) => events.iter().map(|_| Err(fault.clone())).collect(),
        }
    }

    async fn bring_up_to_date(&self, events: &[Envelope]) -> Result<Vec<Result<(), Fault>>, Fault> {
        for attempt in 0..=BACKOFF.retries {
            let desk = Desk::default();
            let revision = self.lay_out(&desk, events).await?;
            let results = self.fold(&desk, events).await;
            self.fetch_sellers(&desk).await?;
            let changed = desk.to_save();
            if changed.is_empty() {
                return Ok(results);
            }
            match self.index.save(&revision, &changed).await? {
                Saved::Saved => {
                    tracing::info!(records = changed.len(), "index changed");
                    return Ok(results);
                }
                Saved::Conflict => {
                    tracing::info!(attempt, "somebody else changed the index");
                    self.ports.timer.sleep(BACKOFF.pause(attempt, &*self.ports.random)).await;
                }
            }
        }
        Err(Fault::unavailable("others changed the index at the same time, in every attempt"))
    }

    /// Lays the rows out that these events are about.
    async fn lay_out(&self, desk: &Desk, events: &[Envelope]) -> Result<Revision, Fault> {
        let keys: BTreeSet<Key> = events.iter().filter_map(key_of).collect();
        let found = self.index.records(&keys.into_iter().collect::<Vec<_>>()).await?;
        desk.lay_out(found.records);
        Ok(found.revision)
    }

    /// Folds events into the rows on the desk: one result for each event, in order.
    async fn fold(&self, desk: &Desk, events: &[Envelope]) -> Vec<Result<(), Fault>> {
        let mut results: Vec<Result<(), Fault>> = events
            .iter()
            .map(|event| match key_of(event) {
                Some(_) => Ok(()),
                None => Err(Fault::internal(format!("the product index does not follow {}", event.stream))),
            })
            .collect();
        self.fold_into::<Products>(desk, events, &mut results).await;
        self.fold_into::<Stores>(desk, events, &mut results).await;
        self.fold_into::<Stock>(desk, events, &mut results).await;
        results
    }

    async fn fold_into<P: Indexed>(
        &self,
        desk: &Desk,
        events: &[Envelope],
        results: &mut [Result<(), Fault>],
    ) {
        let (places, own): (Vec<usize>, Vec<Envelope>) = events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.stream.category() == P::CATEGORY && key_of(event).is_some())
            .map(|(place, event)| (place, event.clone()))
            .unzip();
        let outcome = self.projector::<P>(desk).deliver_batch(&own).await;
        for failed in outcome.failed {
            results[places[failed.index]] = Err(Fault::internal(&failed.error));
        }
    }

    /// Sees to it that the stores of all products on the desk are known: a product may come before its store does.
    async fn fetch_sellers(&self, desk: &Desk) -> Result<(), Fault> {
        let stores: BTreeSet<Uuid> = desk.everything().iter().filter_map(seller).collect();
        let keys: Vec<Key> = stores.into_iter().map(|id| Key { kind: Kind::Store, id }).collect();
        let keys: Vec<Key> = keys.into_iter().filter(|key| !desk.knows(*key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let known = self.index.records(&keys).await?.records;
        let missing = keys.into_iter().filter(|key| !known.iter().any(|record| record.key == *key));
        for key in missing {
            self.projector::<Stores>(desk).read_latest(&key.id.to_string()).await?;
        }
        Ok(())
    }

    /// Folds the whole event table into a fresh index and puts it in the place of the live one, which answers and takes
    /// events in until then: it also is what makes the first index of a mall that is already running. It takes as long as
    /// reading the event table does; when it does not come to its end, nothing has changed.
    ///
    /// # Errors
    /// 500 with the event that cannot be applied; 503 when the event table or the index fails, or others change the index all
    /// the time.
    pub async fn rebuild_product_index(self: Arc<Self>, _: Call) -> Result<Answer, Fault> {
        Answer::view(&self.rebuild().await?, None)
    }

    /// See [`Indexing::rebuild_product_index`].
    ///
    /// # Errors
    /// As there.
    pub async fn rebuild(&self) -> Result<Rebuilt, Fault> {
        let desk = Desk::default();
        let segments =
            (0..SEGMENTS).map(|index| self.fold_segment(&desk, Segment { index, total: SEGMENTS }));
        let folded: Vec<usize> = stream::iter(segments.collect::<Vec<_>>())
            .buffer_unordered(SEGMENTS as usize)
            .try_collect()
            .await?;
        let mut caught_up = 0;
        for attempt in 0..=BACKOFF.retries {
            // What the live index has heard of since is not in what was read of the table. After this, every row is as new as
            // the live one, and nobody has saved anything newer if the swap succeeds.
            let live = self.index.everything().await?;
            for record in &live.records {
                caught_up += usize::from(self.catch_up(&desk, record).await?);
            }
            let records = desk.everything();
            if self.index.replace(&live.revision, &records).await? == Saved::Saved {
                let rebuilt = Rebuilt { events: folded.iter().sum(), records: records.len(), caught_up };
                tracing::info!(?rebuilt, "index rebuilt");
                return Ok(rebuilt);
            }
            self.ports.timer.sleep(BACKOFF.pause(attempt, &*self.ports.random)).await;
        }
        Err(Fault::unavailable("others changed the index at the same time, in every attempt"))
    }

    async fn fold_segment(&self, desk: &Desk, segment: Segment) -> Result<usize, Fault> {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.events.scan(segment, after.as_ref(), None).await?;
            let commits = page.commits.iter().filter(|commit| category(commit.stream.category()).is_some());
            let events: Vec<Envelope> =
                commits.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect();
            for chunk in events.chunks(CHUNK) {
                self.fold(desk, chunk).await.into_iter().collect::<Result<Vec<()>, Fault>>()?;
            }
            count += events.len();
            after = page.after;
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    /// Reads a stream to its end, if the live index is further than the desk.
    async fn catch_up(&self, desk: &Desk, live: &Record) -> Result<bool, Fault> {
        if desk.record(live.key).is_some_and(|record| record.applied >= live.applied) {
            return Ok(false);
        }
        let id = live.key.id.to_string();
        match live.key.kind {
            Kind::Product => self.read_to_the_end::<Products>(desk, &id).await?,
            Kind::Store => self.read_to_the_end::<Stores>(desk, &id).await?,
            Kind::Stock => self.read_to_the_end::<Stock>(desk, &id).await?,
        }
        Ok(true)
    }

    async fn read_to_the_end<P: Indexed>(&self, desk: &Desk, id: &str) -> Result<(), Fault> {
        self.projector::<P>(desk).read_latest(id).await?;
        Ok(())
    }

    fn projector<P: Indexed>(&self, desk: &Desk) -> Projector<P> {
        Projector::new(Arc::new(desk.clone()), self.events.clone(), self.ports.clone())
    }
}

fn category(category: &str) -> Option<Kind> {
    match category {
        Products::CATEGORY => Some(Kind::Product),
        Stores::CATEGORY => Some(Kind::Store),
        Stock::CATEGORY => Some(Kind::Stock),
        _ => None,
    }
}

/// What an event is about; none when it is nothing that the index follows.
fn key_of(event: &Envelope) -> Option<Key> {
    Some(Key { kind: category(event.stream.category())?, id: event.stream.id().parse().ok()? })
}

fn seller(record: &Record) -> Option<Uuid> {
    let row = record.row.as_ref().filter(|_| record.key.kind == Kind::Product)?;
    let product: ProductRow = serde_json::from_value(row.clone()).ok()?;
    Some(product.store_id.uuid())
}
