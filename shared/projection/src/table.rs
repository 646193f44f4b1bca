//! The view of a projection, as a sweep sees it: a table, and the folds of streams.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::Envelope;
use event_store::{EventStore, Segment};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use kernel::{StreamId, Timestamp, Version, ports::Ports};

use crate::{
    fold::{Folded, Verdict},
    listing::rows_of,
    projection::Projection,
    projector::stream_of,
    store::{Consistency, Put, RowKey, Stored, ViewError, ViewStore, ViewTable},
    sweep::{Report, Strays, SweepError, Swept, has_no_events},
};

/// Rows that are written, or whose streams are looked up, at a time.
const ROWS_AT_A_TIME: usize = 32;

/// Attempts on a row that others write at the same time, before it is left: each means that somebody brought
/// it on.
const ATTEMPTS: u32 = 5;

/// Rows on a page of a search for rows without a stream.
const STRAYS_AT_A_TIME: u32 = 200;

/// The view of a [`Projection`] in a table.
pub struct ProjectedView<P: Projection> {
    view: String,
    rows: Arc<dyn ViewStore<P>>,
    table: Arc<dyn ViewTable>,
    events: EventStore,
    ports: Ports,
}

impl<P: Projection> ProjectedView<P> {
    /// The view of this name in `table`.
    pub fn new<T: ViewStore<P> + ViewTable + 'static>(
        view: impl Into<String>,
        table: T,
        events: EventStore,
        ports: Ports,
    ) -> Self {
        let table = Arc::new(table);
        Self { view: view.into(), rows: table.clone(), table, events, ports }
    }

    /// Compares one row with the fold of its stream, and puts it right.
    async fn settle_row(
        &self,
        stream: StreamId,
        mut fold: Folded<P>,
        mut stored: Option<Stored<P::Row>>,
        only_compare: bool,
    ) -> Result<Report, SweepError> {
        let (id, mut report) = (stream.id(), Report::default());
        let mut is_named = false;
        for _ in 0..ATTEMPTS {
            let applied = stored.as_ref().map_or(Version::NONE, |stored| stored.stamp.applied);
            if let Some(problem) = fold.reach(&self.events, &stream, applied).await? {
                report.left(problem);
            }
            match fold.judge(stored.as_ref()) {
                Verdict::Right => return Ok(report),
                Verdict::Behind if only_compare => return Ok(report),
                Verdict::Behind => {}
                Verdict::Wrong(what) => {
                    if !is_named {
                        report.differs(format!("row {id} {what}"));
                    }
                    is_named = true;
                    if only_compare {
                        return Ok(report);
                    }
                }
                Verdict::Newer(why) => {
                    report.left(format!("row {id} {why}"));
                    return Ok(report);
                }
            }
            let stamp = stored.as_ref().map(|stored| stored.stamp);
            match self.rows.put(id, fold.row(), stamp, fold.version()).await {
                Ok(Put::Written) => {
                    report.written += 1;
                    return Ok(report);
                }
                Ok(Put::Conflict) => {}
                Err(error) => return self.leave(report, error),
            }
            stored = match self.rows.get(id, Consistency::Strong).await {
                Ok(stored) => stored,
                Err(error) => return self.leave(report, error),
            };
        }
        report.left(format!("row {id} was written by others in each of {ATTEMPTS} attempts"));
        Ok(report)
    }

    /// Names a row that cannot be read or stored; trouble with the whole table passes on.
    fn leave(&self, mut report: Report, error: ViewError) -> Result<Report, SweepError> {
        if matches!(error, ViewError::Unavailable { .. }) {
            return Err(error.into());
        }
        report.left(error.to_string());
        Ok(report)
    }

    /// Returns true if the row has no stream.
    async fn is_stray(&self, RowKey { id, .. }: &RowKey) -> Result<bool, SweepError> {
        match stream_of::<P>(id) {
            Ok(stream) => has_no_events(&self.events, &stream).await,
            Err(_) => Ok(true),
        }
    }
}

#[async_trait]
impl<P: Projection> Swept for ProjectedView<P> {
    type Fold = Folded<P>;

    fn view(&self) -> &str {
        &self.view
    }

    fn schema(&self) -> u16 {
        P::SCHEMA
    }

    fn begin(&self, stream: &StreamId, settled: Timestamp) -> Option<Folded<P>> {
        (stream.category() == P::CATEGORY).then(|| Folded::new(settled))
    }

    fn apply(&self, fold: &mut Folded<P>, event: &Envelope) {
        fold.apply(event);
    }

    async fn settle(
        &self,
        folds: Vec<(StreamId, Folded<P>)>,
        only_compare: bool,
    ) -> Result<Report, SweepError> {
        let ids: Vec<String> = folds.iter().map(|(stream, _)| stream.id().to_owned()).collect();
        let mut stored = rows_of(&*self.rows, &ids, Consistency::Strong, &self.ports).await?;
        let work: Vec<BoxFuture<'_, _>> = folds
            .into_iter()
            .map(|(stream, fold)| {
                let stored = stored.remove(stream.id());
                self.settle_row(stream, fold, stored, only_compare).boxed()
            })
            .collect();
        let mut worked = stream::iter(work).buffer_unordered(ROWS_AT_A_TIME);
        let mut report = Report::default();
        while let Some(found) = worked.try_next().await? {
            report.add(found);
        }
        Ok(report)
    }

    async fn strays(
        &self,
        part: Segment,
        after: Option<&str>,
        only_compare: bool,
    ) -> Result<Strays, SweepError> {
        let page = self.table.keys(part, after, Some(STRAYS_AT_A_TIME)).await?;
        let lookups: Vec<BoxFuture<'_, _>> = page.keys.iter().map(|key| self.is_stray(key).boxed()).collect();
        let strays: Vec<bool> = stream::iter(lookups).buffered(ROWS_AT_A_TIME).try_collect().await?;
        let mut report = Report::default();
        for (key, _) in page.keys.iter().zip(strays).filter(|(_, is_stray)| *is_stray) {
            report.differs(format!("row {} has no events", key.id));
            if !only_compare && self.table.remove(key).await? == Put::Written {
                report.written += 1;
            }
        }
        Ok(Strays { report, rows: page.keys.len() as u64, after: page.after })
    }
}
