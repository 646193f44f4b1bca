//! The writer of the index: folds events into records, and saves those that changed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use catalogue::Stores;
use contracts::Envelope;
use event_store::{EventStore, StoreError};
use kernel::{
    StreamId, Timestamp, Uuid, Version,
    ports::{Backoff, Ports},
};
use projection::{
    BatchOutcome, Consistency, DeliverError, Failed, Projection, Projector, ReadError, ViewError,
};

use crate::{
    desk::Desk,
    index::{Key, Kind, ProductIndex, Record, Revision, Saved, VIEW},
    rows::{Indexed, ProductRow, Products, Stock},
};

/// How long a batch is tried on an index that others change at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Pauses between attempts, and how many there are at most.
    pub pauses: Backoff,
    /// No attempt begins after this time.
    pub time: Duration,
}

/// Writes one index.
pub(crate) struct Writer {
    index: Arc<dyn ProductIndex>,
    events: EventStore,
    ports: Ports,
    patience: Patience,
}

impl Writer {
    /// A writer of `index`, which heals from `events` and does a batch again when somebody else changed the index meanwhile.
    pub fn new(index: Arc<dyn ProductIndex>, events: EventStore, ports: Ports, patience: Patience) -> Self {
        Self { index, events, ports, patience }
    }

    /// Brings the index up to date with these events: all that came of them is saved at once. An event that cannot be applied
    /// fails alone.
    ///
    /// # Errors
    /// [`DeliverError`], when nothing was saved.
    pub async fn write(&self, events: &[Envelope]) -> Result<BatchOutcome, DeliverError> {
        let Patience { pauses, time } = self.patience;
        let (began, mut attempts) = (self.ports.clock.now(), 0);
        while attempts <= pauses.retries && (attempts == 0 || self.since(began) < time) {
            let desk = Desk::default();
            let revision = self.lay_out(&desk, events).await?;
            let outcome = self.fold(&desk, events).await;
            self.fetch_sellers(&desk).await?;
            let changed = desk.to_save();
            if changed.is_empty() {
                return Ok(outcome);
            }
            match self.index.save(&revision, &changed).await? {
                Saved::Saved => {
                    tracing::info!(records = changed.len(), "index changed");
                    return Ok(outcome);
                }
                Saved::Conflict => {
                    tracing::info!(attempts, "somebody else changed the index");
                    self.ports.timer.sleep(pauses.pause(attempts, &*self.ports.random)).await;
                    attempts += 1;
                }
            }
        }
        Err(DeliverError::Contended { view: VIEW, id: "manifest".to_owned(), attempts })
    }

    fn since(&self, began: Timestamp) -> Duration {
        Duration::try_from(self.ports.clock.now().duration_since(began)).unwrap_or_default()
    }

    /// Lays the rows out that these events are about, as they are now: an old picture would take events for known that it had
    /// seen in an index that is gone.
    async fn lay_out(&self, desk: &Desk, events: &[Envelope]) -> Result<Revision, DeliverError> {
        let keys: BTreeSet<Key> = events.iter().filter_map(|event| key_of(&event.stream)).collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let found = self.index.records(&keys, Consistency::Strong).await?;
        desk.lay_out(found.records);
        Ok(found.revision)
    }

    /// Folds events into the rows on the desk.
    async fn fold(&self, desk: &Desk, events: &[Envelope]) -> BatchOutcome {
        let mut outcome = BatchOutcome { view: VIEW.to_owned(), ..BatchOutcome::default() };
        for (index, event) in events.iter().enumerate().filter(|(_, event)| key_of(&event.stream).is_none()) {
            let error = DeliverError::Misrouted { view: VIEW, stream: event.stream.clone() };
            outcome.failed.push(Failed { index, error });
        }
        self.fold_into::<Products>(desk, events, &mut outcome).await;
        self.fold_into::<Stores>(desk, events, &mut outcome).await;
        self.hear_stock(desk, events, &mut outcome).await;
        outcome.failed.sort_by_key(|failed| failed.index);
        outcome
    }

    async fn fold_into<P: Indexed>(&self, desk: &Desk, events: &[Envelope], all: &mut BatchOutcome) {
        let (places, own): (Vec<usize>, Vec<Envelope>) = events
            .iter()
            .enumerate()
            .filter(|(_, event)| key_of(&event.stream).is_some_and(|key| key.kind == P::KIND))
            .map(|(place, event)| (place, event.clone()))
            .unzip();
        let outcome = self.projector::<P>(desk).deliver_batch(&own).await;
        // The oldest event of the batch is the oldest of one of its kinds.
        all.lag = all.lag.max(outcome.lag);
        all.applied += outcome.applied;
        all.duplicates += outcome.duplicates;
        all.healed += outcome.healed;
        all.failed.extend(outcome.failed.into_iter().map(|failed| Failed {
            index: places.get(failed.index).copied().unwrap_or_default(),
            error: failed.error,
        }));
    }

    /// Takes in events of stock: the newest one is the row, whatever is missing before it. Events that tell
    /// no availability come only from a page of the event table, and change nothing.
    async fn hear_stock(&self, desk: &Desk, events: &[Envelope], outcome: &mut BatchOutcome) {
        for (index, event) in events.iter().enumerate() {
            let Some(key) = key_of(&event.stream).filter(|key| key.kind == Kind::Stock) else { continue };
            let known = desk.record(key);
            let is_irrelevant = Stock::IRRELEVANT.contains(&event.event_type.as_str());
            if is_irrelevant || known.as_ref().is_some_and(|record| record.applied >= event.version) {
                outcome.duplicates += 1;
                continue;
            }
            match self.heard(key, known.as_ref(), event).await {
                Ok(record) => {
                    desk.replace(record);
                    outcome.applied += 1;
                }
                Err(error) => outcome.failed.push(Failed { index, error }),
            }
        }
    }

    /// Returns the record that an event of stock makes. A body that was left out is read from the event
    /// table.
    async fn heard(
        &self,
        key: Key,
        known: Option<&Record>,
        event: &Envelope,
    ) -> Result<Record, DeliverError> {
        if event.data.is_some() {
            return heard(key, known, event);
        }
        let Envelope { stream, version, .. } = event;
        match self.events.event(stream, *version).await? {
            Some(whole) => heard(key, known, &whole),
            None => {
                let (stream, version, actual) = (stream.clone(), *version, Version::NONE);
                Err(DeliverError::NotInTable { stream, version, actual })
            }
        }
    }

    /// Sees to it that the stores of all products on the desk are known: a product may come before its store does.
    async fn fetch_sellers(&self, desk: &Desk) -> Result<(), DeliverError> {
        let stores: BTreeSet<Uuid> = desk.everything().iter().filter_map(seller).collect();
        let keys: Vec<Key> = stores.into_iter().map(|id| Key { kind: Kind::Store, id }).collect();
        let keys: Vec<Key> = keys.into_iter().filter(|key| !desk.knows(*key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let known = self.index.records(&keys, Consistency::Eventual).await?.records;
        let missing = keys.into_iter().filter(|key| !known.iter().any(|record| record.key == *key));
        for key in missing {
            match self.projector::<Stores>(desk).read_latest(&key.id.to_string()).await {
                Ok(_) => {}
                // That is for the store's own events to say; the product is found without its name.
                Err(
                    error @ (ReadError::Poison { .. }
                    | ReadError::NotReached { .. }
                    | ReadError::NotAnId(_)
                    | ReadError::Events(StoreError::Corrupt { .. })),
                ) => {
                    tracing::warn!(%key, %error, "a product's store cannot be read");
                }
                Err(ReadError::Events(error)) => return Err(error.into()),
                Err(ReadError::View(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn projector<P: Indexed>(&self, desk: &Desk) -> Projector<P> {
        Projector::new(Arc::new(desk.clone()), self.events.clone(), self.ports.clone())
    }
}

/// Returns the record that a whole event of stock makes.
fn heard(key: Key, known: Option<&Record>, event: &Envelope) -> Result<Record, DeliverError> {
    if let Some(schema) = known.map(|record| record.schema).filter(|schema| *schema > Stock::SCHEMA) {
        let known = Stock::SCHEMA;
        return Err(ViewError::FromTheFuture { view: VIEW, id: key.to_string(), schema, known }.into());
    }
    let row = Stock::apply(None, event).map_err(|error| DeliverError::Poison {
        view: VIEW,
        stream: event.stream.clone(),
        version: event.version,
        error,
    })?;
    let row = serde_json::to_value(row).map_err(|e| ViewError::Malformed {
        view: VIEW,
        id: key.to_string(),
        why: e.to_string(),
    })?;
    Ok(Record { key, schema: Stock::SCHEMA, applied: event.version, row: Some(row) })
}

/// The kind of records that streams of this category become.
pub(crate) fn kind_of(category: &str) -> Option<Kind> {
    match category {
        Products::CATEGORY => Some(Kind::Product),
        Stores::CATEGORY => Some(Kind::Store),
        Stock::CATEGORY => Some(Kind::Stock),
        _ => None,
    }
}

/// The record that a stream becomes; none when it is nothing that the index follows.
pub(crate) fn key_of(stream: &StreamId) -> Option<Key> {
    Some(Key { kind: kind_of(stream.category())?, id: stream.id().parse().ok()? })
}

/// The stream that a record comes of.
pub(crate) fn stream_of(key: Key) -> Result<StreamId, ViewError> {
    let category = match key.kind {
        Kind::Product => Products::CATEGORY,
        Kind::Store => Stores::CATEGORY,
        Kind::Stock => Stock::CATEGORY,
    };
    let stream = format!("{category}/{}", key.id).parse::<StreamId>();
    stream.map_err(|e| ViewError::Malformed { view: VIEW, id: key.to_string(), why: e.to_string() })
}

fn seller(record: &Record) -> Option<Uuid> {
    let row = record.row.as_ref().filter(|_| record.key.kind == Kind::Product)?;
    let product: ProductRow = serde_json::from_value(row.clone()).ok()?;
    Some(product.store_id.uuid())
}
