//! The index as a view that can be built anew from events, and compared with them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use catalogue::Stores;
use contracts::Envelope;
use event_store::{EventStore, Segment};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use kernel::{
    StreamId, Timestamp, Version,
    ports::{Backoff, Ports},
};
use projection::{
    Consistency, DeliverError, Generation, Limits, Projection, Projector, RebuildError, Rebuildable, Stray,
    Strays, ViewError,
};
use tokio::sync::Mutex;

use crate::{
    desk::{self, Desk},
    index::{Key, Kind, ProductIndex, Record, Revision, Saved, VIEW},
    rows::{Indexed, Products, Stock},
    twins::Twins,
    writer::{Patience, Writer, key_of, kind_of, stream_of},
};

/// How a page, or a repair, is tried again because somebody else changed the index meanwhile: a dozen segments fill one
/// manifest, and the bus feeds it, too. The longest pauses are longer than a change takes, so that somebody always comes
/// through; all of them together are less than what the worker's budget leaves of its minute.
const PATIENCE: Patience = Patience {
    pauses: Backoff { base: Duration::from_millis(100), cap: Duration::from_millis(1600), retries: 12 },
    time: Duration::from_secs(15),
};

/// Commits that become one change of the index: as many as a page has.
const FILLED_AT_A_TIME: usize = Limits::FUNCTION.page as usize;

/// Records on a page of a search for strays.
const STRAYS_AT_A_TIME: usize = 200;

/// Records whose events are looked up at a time.
const LOOKUPS: usize = 8;

/// The index of products, as a rebuild sees it.
pub struct ProductIndexView {
    twins: Twins,
    events: EventStore,
    ports: Ports,
    /// Streams are compared some at a time; what each mends is a change of the whole index, so they take turns.
    mending: Mutex<()>,
}

/// How a record differs from its events.
struct Difference {
    what: String,
    /// What the record was read from.
    revision: Revision,
    /// What all events make.
    events: Vec<Envelope>,
}

impl ProductIndexView {
    /// The index in these two, made of `events`.
    pub fn new(twins: Twins, events: EventStore, ports: Ports) -> Self {
        Self { twins, events, ports, mending: Mutex::new(()) }
    }

    fn projector<P: Indexed>(&self, desk: &Desk) -> Projector<P> {
        Projector::new(Arc::new(desk.clone()), self.events.clone(), self.ports.clone())
    }

    async fn pause(&self, attempt: u32) {
        self.ports.timer.sleep(PATIENCE.pauses.pause(attempt, &*self.ports.random)).await;
    }

    /// Folds events that follow into the record of their stream that is on the desk.
    async fn fold<P: Indexed>(&self, desk: &Desk, events: &[Envelope]) -> Result<(), DeliverError> {
        let outcome = self.projector::<P>(desk).deliver_batch(events).await;
        outcome.failed.into_iter().next().map_or(Ok(()), |failed| Err(failed.error))
    }

    /// What these events, all of their stream up to one, make.
    async fn folded<P: Indexed>(
        &self,
        key: Key,
        events: &[Envelope],
    ) -> Result<Option<Record>, RebuildError> {
        let desk = Desk::default();
        self.fold::<P>(&desk, events).await?;
        Ok(desk.record(key))
    }

    /// How the record under this key differs from what its stream's events make it.
    async fn difference<P: Indexed>(
        &self,
        index: &dyn ProductIndex,
        (key, stream): (Key, &StreamId),
        settled: Timestamp,
        consistency: Consistency,
    ) -> Result<Option<Difference>, RebuildError> {
        // The record first: the events that are read afterwards reach at least as far.
        let found = index.records(&[key], consistency).await?;
        let stored = found.records.into_iter().next();
        let events = self.events.events_after(stream, Version::NONE).await?;
        let end = events.last().map_or(Version::NONE, |event| event.version);
        let applied = stored.as_ref().map_or(Version::NONE, |record| record.applied);
        // Records ahead of their stream are found among the records.
        if applied > end {
            return Ok(None);
        }
        let what = match &stored {
            None => None,
            Some(record) if record.schema > P::SCHEMA => {
                let (schema, known) = (record.schema, P::SCHEMA);
                return Err(
                    ViewError::FromTheFuture { view: VIEW, id: key.to_string(), schema, known }.into()
                );
            }
            Some(record) if record.schema < P::SCHEMA => {
                Some(format!("is of schema {}, not {}", record.schema, P::SCHEMA))
            }
            Some(record) => {
                let then: Vec<Envelope> =
                    events.iter().filter(|event| event.version <= applied).cloned().collect();
                let expected = self.folded::<P>(key, &then).await?;
                let same = expected.is_some_and(|expected| desk::same::<P>(record, &expected));
                (!same).then(|| format!("is other than its {applied} events make it"))
            }
        };
        let what = match what {
            Some(what) => Some(what),
            None => self.overdue::<P>(stored, &events, settled).await?,
        };
        Ok(what.map(|what| Difference { what: format!("{key} {what}"), revision: found.revision, events }))
    }

    /// What a writer would have to save of a record if all its events came once more that should be in it by now. It need not
    /// save what no search would see, so a record that lags by no more is as it should be.
    async fn overdue<P: Indexed>(
        &self,
        stored: Option<Record>,
        events: &[Envelope],
        settled: Timestamp,
    ) -> Result<Option<String>, RebuildError> {
        let applied = stored.as_ref().map_or(Version::NONE, |record| record.applied);
        let end = events.last().map_or(Version::NONE, |event| event.version);
        let due = events.iter().filter(|event| event.at <= settled).map(|event| event.version).max();
        let Some(due) = due.filter(|due| *due > applied) else { return Ok(None) };
        let lacking: Vec<Envelope> =
            events.iter().filter(|event| event.version > applied && event.version <= due).cloned().collect();
        if lacking.iter().all(|event| P::IRRELEVANT.contains(&event.event_type.as_str())) {
            return Ok(None);
        }
        let is_missing = stored.is_none();
        let desk = Desk::default();
        desk.lay_out(stored.into_iter().collect());
        match self.fold::<P>(&desk, &lacking).await {
            Ok(()) if desk.to_save().is_empty() => Ok(None),
            Ok(()) if is_missing => Ok(Some("is missing".to_owned())),
            Ok(()) => Ok(Some(format!("stands at version {applied} of {end}"))),
            // It is the event that is wrong, and the record holds all up to there.
            Err(error @ DeliverError::Poison { .. }) => {
                Ok(Some(format!("stands at version {applied} of {end}: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn compare_record<P: Indexed>(
        &self,
        index: &dyn ProductIndex,
        (key, stream): (Key, &StreamId),
        settled: Timestamp,
        repair: bool,
    ) -> Result<Option<String>, RebuildError> {
        // What is in memory will do as long as nothing is wrong with it; what was saved meanwhile is no difference.
        let glance = self.difference::<P>(index, (key, stream), settled, Consistency::Eventual).await?;
        if glance.is_none() {
            return Ok(None);
        }
        let _turn = if repair { Some(self.mending.lock().await) } else { None };
        for attempt in 0..=PATIENCE.pauses.retries {
            let found = self.difference::<P>(index, (key, stream), settled, Consistency::Strong).await?;
            let Some(Difference { what, revision, events }) = found else { return Ok(None) };
            if !repair {
                return Ok(Some(what));
            }
            let whole: Vec<Record> = self.folded::<P>(key, &events).await?.into_iter().collect();
            match index.save(&revision, &whole).await? {
                Saved::Saved => return Ok(Some(what)),
                Saved::Conflict => self.pause(attempt).await,
            }
        }
        Err(contended())
    }

    /// Whether there is the event that this record has applied last.
    async fn is_there(&self, record: &Record) -> Result<bool, RebuildError> {
        Ok(self.events.event(&stream_of(record.key)?, record.applied).await?.is_some())
    }

    /// Puts records right that are ahead of their events, or have none: those that are still what they were, which it gives, and those
    /// whose events cannot be applied, with the reason.
    async fn mended(
        &self,
        index: &dyn ProductIndex,
        strays: &[Record],
    ) -> Result<(Vec<Record>, Vec<(Record, String)>), RebuildError> {
        let (mut wholes, mut bad) = (Vec::new(), Vec::new());
        for record in strays {
            let key = record.key;
            let events = self.events.events_after(&stream_of(key)?, Version::NONE).await?;
            let whole = match key.kind {
                Kind::Product => self.folded::<Products>(key, &events).await,
                Kind::Store => self.folded::<Stores>(key, &events).await,
                Kind::Stock => self.folded::<Stock>(key, &events).await,
            };
            match whole {
                Ok(whole) => wholes.extend(whole),
                Err(RebuildError::BadEvent(why)) => bad.push((record.clone(), why)),
                Err(error) => return Err(error),
            }
        }
        let strays: Vec<&Record> =
            strays.iter().filter(|record| bad.iter().all(|(bad, _)| bad != *record)).collect();
        let has_events = |key: &Key| wholes.iter().any(|whole| whole.key == *key);
        let (made, gone): (Vec<&Record>, Vec<&Record>) =
            strays.iter().copied().partition(|record| has_events(&record.key));
        let mut mended = Vec::new();
        for (group, removed) in [(gone, true), (made, false)] {
            let keys: Vec<Key> = group.iter().map(|record| record.key).collect();
            for attempt in 0.. {
                let found = index.records(&keys, Consistency::Strong).await?;
                let still: Vec<Record> =
                    found.records.into_iter().filter(|record| strays.contains(&record)).collect();
                if still.is_empty() {
                    break;
                }
                let is_still = |key: &Key| still.iter().any(|record| record.key == *key);
                let saved = if removed {
                    let keys: Vec<Key> = still.iter().map(|record| record.key).collect();
                    index.remove(&found.revision, &keys).await?
                } else {
                    let wholes: Vec<Record> =
                        wholes.iter().filter(|whole| is_still(&whole.key)).cloned().collect();
                    index.save(&found.revision, &wholes).await?
                };
                match saved {
                    Saved::Saved => {
                        mended.extend(still);
                        break;
                    }
                    Saved::Conflict if attempt < PATIENCE.pauses.retries => self.pause(attempt).await,
                    Saved::Conflict => return Err(contended()),
                }
            }
        }
        Ok((mended, bad))
    }
}

fn contended() -> RebuildError {
    let attempts = PATIENCE.pauses.retries + 1;
    RebuildError::Passing(format!("others changed the index at the same time, {attempts} times over"))
}

#[async_trait]
impl Rebuildable for ProductIndexView {
    fn view(&self) -> &str {
        VIEW
    }

    /// The sum of its rows' schemas: another one whenever one of them is raised.
    fn schema(&self) -> u16 {
        Products::SCHEMA + Stores::SCHEMA + Stock::SCHEMA
    }

    fn follows(&self, stream: &StreamId) -> bool {
        kind_of(stream.category()).is_some()
    }

    fn at_a_time(&self) -> usize {
        FILLED_AT_A_TIME
    }

    /// All these events are one change of the index.
    async fn fill(&self, generation: Generation, events: &[Envelope]) -> Result<(), RebuildError> {
        if events.is_empty() {
            return Ok(());
        }
        let index = self.twins.of(generation).clone();
        let writer = Writer::new(index, self.events.clone(), self.ports.clone(), PATIENCE);
        let outcome = writer.write(events).await?;
        let errors: Vec<RebuildError> =
            outcome.failed.into_iter().map(|failed| failed.error.into()).collect();
        // What no retry helps with comes first: it stops everything, and has to be named.
        let final_one = errors.iter().find(|error| !matches!(error, RebuildError::Passing(_)));
        final_one.or(errors.first()).cloned().map_or(Ok(()), Err)
    }

    async fn clear(&self, generation: Generation) -> Result<bool, RebuildError> {
        Ok(self.twins.of(generation).clear().await?)
    }

    async fn compare(
        &self,
        generation: Generation,
        stream: &StreamId,
        settled: Timestamp,
        repair: bool,
    ) -> Result<Option<String>, RebuildError> {
        let index = &**self.twins.of(generation);
        let Some(key) = key_of(stream) else {
            return Err(RebuildError::BadEvent(format!("{stream} can have no record: its id is not a UUID")));
        };
        match key.kind {
            Kind::Product => self.compare_record::<Products>(index, (key, stream), settled, repair).await,
            Kind::Store => self.compare_record::<Stores>(index, (key, stream), settled, repair).await,
            Kind::Stock => self.compare_record::<Stock>(index, (key, stream), settled, repair).await,
        }
    }

    async fn strays(
        &self,
        generation: Generation,
        segment: Segment,
        after: Option<&str>,
        repair: bool,
    ) -> Result<Strays, RebuildError> {
        let index = &**self.twins.of(generation);
        let after = after.map(str::parse::<Key>).transpose().map_err(RebuildError::Broken)?;
        // What is in memory will do as long as nothing is wrong with it.
        let page = index.page(segment, after, STRAYS_AT_A_TIME, Consistency::Eventual).await?;
        let after =
            page.last().filter(|_| page.len() == STRAYS_AT_A_TIME).map(|record| record.key.to_string());
        let lookups: Vec<BoxFuture<'_, _>> =
            page.iter().map(|record| self.is_there(record).boxed()).collect();
        let there: Vec<bool> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        let strays = page.into_iter().zip(there).filter(|(_, there)| !there);
        let mut strays: Vec<Record> = strays.map(|(record, _)| record).collect();
        if !strays.is_empty() {
            let keys: Vec<Key> = strays.iter().map(|record| record.key).collect();
            let now = index.records(&keys, Consistency::Strong).await?.records;
            strays.retain(|record| now.contains(record));
        }
        let told = |Record { key, applied, .. }: &Record| {
            format!("{key} has applied {applied}, and there is no such event")
        };
        if !repair || strays.is_empty() {
            let found = strays.iter().map(|record| Stray { what: told(record), repaired: false });
            return Ok(Strays { found: found.collect(), after });
        }
        let _turn = self.mending.lock().await;
        let (mended, bad) = self.mended(index, &strays).await?;
        let mended = mended.iter().map(|record| Stray { what: told(record), repaired: true });
        let bad = bad
            .iter()
            .map(|(record, why)| Stray { what: format!("{}; {why}", told(record)), repaired: false });
        Ok(Strays { found: mended.chain(bad).collect(), after })
    }
}
