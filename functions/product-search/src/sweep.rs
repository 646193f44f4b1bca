//! The index as a view that can be swept.

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
    Consistency, Folded, Projection, Report, Strays, SweepError, Swept, Verdict, has_no_events,
};
use tokio::sync::Mutex;

use crate::{
    desk,
    index::{IndexError, Key, Kind, ProductIndex, Record, Saved, VIEW},
    rows::{Indexed, Products, Stock},
    writer::{key_of, kind_of, stream_of},
};

/// Pauses before the rows of a batch are compared again because somebody else changed the index meanwhile.
/// The longest are longer than a change takes, so that everybody comes through.
const PAUSES: Backoff =
    Backoff { base: Duration::from_millis(100), cap: Duration::from_millis(1600), retries: 12 };

/// Records on a page of a search for records without a stream.
const STRAYS_AT_A_TIME: usize = 200;

/// Records whose streams are looked up at a time.
const LOOKUPS: usize = 32;

/// The index of products, as a sweep sees it: what differs in a batch of streams is one change of the index.
pub struct ProductIndexView {
    index: Arc<dyn ProductIndex>,
    events: EventStore,
    ports: Ports,
    /// Parts of one process take turns: each change is one of the whole index.
    turn: Mutex<()>,
}

/// The fold of a stream that the index follows.
pub enum Fold {
    /// Of a product.
    Product(Folded<Products>),
    /// Of a store.
    Store(Folded<Stores>),
    /// Of a product's stock.
    Stock(Folded<Stock>),
}

impl ProductIndexView {
    /// The view in `index`, with its events in `events`.
    pub fn new(index: Arc<dyn ProductIndex>, events: EventStore, ports: Ports) -> Self {
        Self { index, events, ports, turn: Mutex::new(()) }
    }

    /// Compares a record with the fold of its stream; answers the record that belongs in its place, if it has
    /// to be written.
    async fn judged<P: Indexed>(
        &self,
        (key, stream): (Key, &StreamId),
        fold: &mut Folded<P>,
        record: Option<&Record>,
        (report, problems): (&mut Report, &mut Report),
    ) -> Result<Option<Record>, SweepError> {
        let applied = record.map_or(Version::NONE, |record| record.applied);
        // A fold names its problem once, however often its record is compared.
        if let Some(problem) = fold.reach(&self.events, stream, applied).await? {
            problems.left(problem);
        }
        match fold.judge(record.map(desk::stored::<P>).as_ref()) {
            Verdict::Right => return Ok(None),
            Verdict::Newer(why) => {
                report.left(format!("{key} {why}"));
                return Ok(None);
            }
            Verdict::Behind => {}
            Verdict::Wrong(what) => report.differs(format!("{key} {what}")),
        }
        Ok(Some(desk::record::<P>(key, fold.row(), fold.version())?))
    }

    async fn pause(&self, attempt: u32) {
        self.ports.timer.sleep(PAUSES.pause(attempt, &*self.ports.random)).await;
    }
}

fn contended() -> SweepError {
    let attempts = PAUSES.retries + 1;
    SweepError::Passing(format!("others changed the index at the same time, {attempts} times over"))
}

#[async_trait]
impl Swept for ProductIndexView {
    type Fold = Fold;

    fn view(&self) -> &str {
        VIEW
    }

    /// The sum of its rows' schemas: another one whenever one of them is raised.
    fn schema(&self) -> u16 {
        Products::SCHEMA + Stores::SCHEMA + Stock::SCHEMA
    }

    fn begin(&self, stream: &StreamId, settled: Timestamp) -> Option<Fold> {
        Some(match kind_of(stream.category())? {
            Kind::Product => Fold::Product(Folded::new(settled)),
            Kind::Store => Fold::Store(Folded::new(settled)),
            Kind::Stock => Fold::Stock(Folded::new(settled)),
        })
    }

    fn apply(&self, fold: &mut Fold, event: &Envelope) {
        match fold {
            Fold::Product(fold) => fold.apply(event),
            Fold::Store(fold) => fold.apply(event),
            Fold::Stock(fold) => fold.apply(event),
        }
    }

    async fn settle(
        &self,
        mut folds: Vec<(StreamId, Fold)>,
        only_compare: bool,
    ) -> Result<Report, SweepError> {
        let _turn = self.turn.lock().await;
        let mut problems = Report::default();
        let mut keyed: Vec<(Key, &StreamId, &mut Fold)> = Vec::new();
        for (stream, fold) in &mut folds {
            match key_of(stream) {
                Some(key) => keyed.push((key, stream, fold)),
                None => problems.left(format!("{stream} can have no record: its id is not a UUID")),
            }
        }
        let keys: Vec<Key> = keyed.iter().map(|(key, ..)| *key).collect();
        for attempt in 0..=PAUSES.retries {
            let found = match self.index.records(&keys, Consistency::Strong).await {
                // Streams that were compared before have to be compared again, with an empty index.
                Err(IndexError::Damaged(why)) if !only_compare => {
                    self.index.reset().await?;
                    return Err(SweepError::Anew(why));
                }
                found => found?,
            };
            let (mut report, mut changed) = (Report::default(), Vec::new());
            for (key, stream, fold) in &mut keyed {
                let (at, record) = ((*key, *stream), found.records.iter().find(|record| record.key == *key));
                let reports = (&mut report, &mut problems);
                changed.extend(match fold {
                    Fold::Product(fold) => self.judged(at, fold, record, reports).await?,
                    Fold::Store(fold) => self.judged(at, fold, record, reports).await?,
                    Fold::Stock(fold) => self.judged(at, fold, record, reports).await?,
                });
            }
            if !only_compare && !changed.is_empty() {
                if self.index.save(&found.revision, &changed).await? == Saved::Conflict {
                    self.pause(attempt).await;
                    continue;
                }
                report.written = changed.len() as u64;
            }
            report.add(problems);
            return Ok(report);
        }
        Err(contended())
    }

    async fn strays(
        &self,
        part: Segment,
        after: Option<&str>,
        only_compare: bool,
    ) -> Result<Strays, SweepError> {
        let after = after.map(str::parse::<Key>).transpose().map_err(SweepError::Broken)?;
        let page = match self.index.page(part, after, STRAYS_AT_A_TIME, Consistency::Strong).await {
            Err(IndexError::Damaged(why)) if !only_compare => {
                self.index.reset().await?;
                return Err(SweepError::Anew(why));
            }
            page => page?,
        };
        let last = page.last().filter(|_| page.len() == STRAYS_AT_A_TIME);
        let (rows, after) = (page.len() as u64, last.map(|record| record.key.to_string()));
        let streams = page.iter().map(|record| stream_of(record.key)).collect::<Result<Vec<_>, _>>()?;
        let lookups: Vec<BoxFuture<'_, _>> =
            streams.iter().map(|stream| has_no_events(&self.events, stream).boxed()).collect();
        let strays: Vec<bool> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        let keys: Vec<Key> =
            page.iter().zip(strays).filter(|(_, is_stray)| *is_stray).map(|(record, _)| record.key).collect();
        let mut report = Report::default();
        keys.iter().for_each(|key| report.differs(format!("{key} has no events")));
        if !only_compare && !keys.is_empty() {
            let _turn = self.turn.lock().await;
            for attempt in 0.. {
                let found = self.index.records(&keys, Consistency::Strong).await?;
                match self.index.remove(&found.revision, &keys).await? {
                    Saved::Saved => break,
                    Saved::Conflict if attempt < PAUSES.retries => self.pause(attempt).await,
                    Saved::Conflict => return Err(contended()),
                }
            }
            report.written = keys.len() as u64;
        }
        Ok(Strays { report, rows, after })
    }
}
