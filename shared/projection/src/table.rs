//! The view of a projection, as a rebuild sees it: two tables, and a projector into either.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::Envelope;
use event_store::{EventStore, Segment};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use kernel::{StreamId, Timestamp, Version, ports::Ports};

use crate::{
    projection::Projection,
    projector::{Projector, Row, is_irrelevant, stream_of},
    rebuild::{RebuildError, Rebuildable, Stray, Strays, remove_in_time},
    registry::Generation,
    store::{Consistency, Content, Put, RowKey, Stamp, Stored, ViewStore, ViewTable, from_the_future},
};

/// Rows that are removed before it is asked again whether to go on.
const CLEARED_AT_A_TIME: u32 = 200;

/// Removals under way at a time.
const REMOVALS: usize = 16;

/// Rows whose events are looked up at a time.
const LOOKUPS: usize = 8;

/// Repairs of one row that events come in between of, before it is left for later.
const REPAIRS: u32 = 5;

/// Rows on a page of a search for strays.
const STRAYS_AT_A_TIME: u32 = 200;

/// The view of a [`Projection`]: odd generations in one table, even ones in the other.
pub struct ProjectedView<P: Projection> {
    view: String,
    odd: Table<P>,
    even: Table<P>,
    events: EventStore,
    ports: Ports,
}

/// A table, by row and as a whole.
struct Table<P: Projection> {
    rows: Arc<dyn ViewStore<P>>,
    whole: Arc<dyn ViewTable>,
}

impl<P: Projection> Table<P> {
    fn new<T: ViewStore<P> + ViewTable + 'static>(table: T) -> Self {
        let table = Arc::new(table);
        Self { rows: table.clone(), whole: table }
    }
}

impl<P: Projection> ProjectedView<P> {
    /// The view in these tables.
    pub fn new<T: ViewStore<P> + ViewTable + 'static>(
        view: impl Into<String>,
        odd: T,
        even: T,
        events: EventStore,
        ports: Ports,
    ) -> Self {
        Self { view: view.into(), odd: Table::new(odd), even: Table::new(even), events, ports }
    }

    fn table(&self, generation: Generation) -> &Table<P> {
        if generation.is_odd() { &self.odd } else { &self.even }
    }

    /// Whether there is the event that this row has applied last.
    async fn is_there(&self, RowKey { id, stamp }: &RowKey) -> Result<bool, RebuildError> {
        match stream_of::<P>(id) {
            Ok(stream) => Ok(self.events.event(&stream, stamp.applied).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// What of the row is other than its events make it.
    async fn difference(
        &self,
        generation: Generation,
        stream: &StreamId,
        settled: Timestamp,
    ) -> Result<Option<Difference>, RebuildError> {
        // The row first: the events that are read afterwards reach at least as far.
        let stored = self.table(generation).rows.get(stream.id(), Consistency::Strong).await?;
        let events = self.events.events_after(stream, Version::NONE).await?;
        let end = events.last().map_or(Version::NONE, |event| event.version);
        let stamp = stored.as_ref().map(|stored| stored.stamp);
        let applied = stamp.map_or(Version::NONE, |stamp| stamp.applied);

        let (then, later): (Vec<&Envelope>, Vec<&Envelope>) =
            events.iter().partition(|event| event.version <= applied);
        let (expected, stopped) = Row::<P>::of(None).fold(then);
        if let Some((version, error)) = stopped {
            return Err(RebuildError::BadEvent(format!("{stream} version {version}: {error}")));
        }
        // Events that change no row are not sent to the view: it need not have heard of them.
        let overdue = later.iter().any(|event| event.at <= settled && !is_irrelevant::<P>(event));
        let what = match stored {
            // Rows ahead of their stream are found among the rows.
            _ if applied > end => None,
            None if overdue => Some("is missing".to_owned()),
            None => None,
            Some(Stored { content: Content::Newer, stamp }) => {
                return Err(from_the_future::<P>(stream.id(), stamp.schema).into());
            }
            Some(Stored { content: Content::Outdated, stamp }) => {
                Some(format!("is of schema {}, not {}", stamp.schema, P::SCHEMA))
            }
            Some(Stored { content: Content::Row(row), .. }) if expected.content != Some(row.clone()) => {
                Some(format!("is other than its {applied} events make it"))
            }
            Some(Stored { content: Content::Empty, .. }) if expected.content.is_some() => {
                Some("is empty, and should not be".to_owned())
            }
            Some(Stored { content: Content::Row(_) | Content::Empty, .. }) if overdue => {
                Some(format!("stands at version {applied} of {end}"))
            }
            Some(Stored { content: Content::Row(_) | Content::Empty, .. }) => None,
        };
        Ok(what.map(|what| Difference { what, events, stamp }))
    }

    /// Puts what these events make in the place of what was stored; says whether it was still there.
    async fn repaired(
        &self,
        generation: Generation,
        id: &str,
        events: &[Envelope],
        stamp: Option<Stamp>,
    ) -> Result<bool, RebuildError> {
        let (row, stopped) = Row::<P>::of(None).fold(events);
        if let Some((version, error)) = stopped {
            return Err(RebuildError::BadEvent(format!("row {id}, version {version}: {error}")));
        }
        let rows = &self.table(generation).rows;
        Ok(rows.put(id, row.content.as_ref(), stamp, row.applied).await? == Put::Written)
    }

    /// Makes a row that is ahead of its events what they say: removes it, if there are none. Says whether it was still as it was
    /// found.
    async fn corrected(&self, generation: Generation, key: &RowKey) -> Result<bool, RebuildError> {
        let events = match stream_of::<P>(&key.id) {
            Ok(stream) => self.events.events_after(&stream, Version::NONE).await?,
            Err(_) => Vec::new(),
        };
        if events.is_empty() {
            return Ok(self.table(generation).whole.remove(key).await? == Put::Written);
        }
        self.repaired(generation, &key.id, &events, Some(key.stamp)).await
    }
}

/// A row that is other than its events make it.
struct Difference {
    what: String,
    /// All of them.
    events: Vec<Envelope>,
    /// Of what is stored.
    stamp: Option<Stamp>,
}

#[async_trait]
impl<P: Projection> Rebuildable for ProjectedView<P> {
    fn view(&self) -> &str {
        &self.view
    }

    fn schema(&self) -> u16 {
        P::SCHEMA
    }

    fn follows(&self, stream: &StreamId) -> bool {
        stream.category() == P::CATEGORY
    }

    async fn fill(&self, generation: Generation, events: &[Envelope]) -> Result<(), RebuildError> {
        let rows = self.table(generation).rows.clone();
        let outcome = Projector::new(rows, self.events.clone(), self.ports.clone()).fill(events).await;
        let errors: Vec<RebuildError> =
            outcome.failed.into_iter().map(|failed| failed.error.into()).collect();
        // What no retry helps with comes first: it stops everything, and has to be named.
        let final_one = errors.iter().find(|error| !matches!(error, RebuildError::Passing(_)));
        final_one.or(errors.first()).cloned().map_or(Ok(()), Err)
    }

    async fn clear(&self, generation: Generation) -> Result<bool, RebuildError> {
        let table = &self.table(generation).whole;
        let read = self.ports.clock.now();
        let page = table.keys(Segment::WHOLE, None, Some(CLEARED_AT_A_TIME)).await?;
        let removals: Vec<BoxFuture<'_, _>> = page.keys.iter().map(|key| table.remove(key)).collect();
        remove_in_time(&self.ports, read, removals, REMOVALS).await?;
        // A page may be empty, and more come after it.
        Ok(page.keys.is_empty() && page.after.is_none())
    }

    async fn compare(
        &self,
        generation: Generation,
        stream: &StreamId,
        settled: Timestamp,
        repair: bool,
    ) -> Result<Option<String>, RebuildError> {
        for _ in 0..REPAIRS {
            let Some(Difference { what, events, stamp }) =
                self.difference(generation, stream, settled).await?
            else {
                return Ok(None);
            };
            let id = stream.id();
            if !repair || self.repaired(generation, id, &events, stamp).await? {
                return Ok(Some(format!("row {id} {what}")));
            }
            // An event came in between: what it made of the row is compared.
        }
        Err(RebuildError::Passing(format!(
            "row {} was written by others in each of {REPAIRS} repairs",
            stream.id()
        )))
    }

    async fn strays(
        &self,
        generation: Generation,
        segment: Segment,
        after: Option<&str>,
        repair: bool,
    ) -> Result<Strays, RebuildError> {
        let table = &self.table(generation).whole;
        let page = table.keys(segment, after, Some(STRAYS_AT_A_TIME)).await?;
        let lookups: Vec<BoxFuture<'_, _>> = page.keys.iter().map(|key| self.is_there(key).boxed()).collect();
        let there: Vec<bool> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        let mut found = Vec::new();
        for (key, there) in page.keys.iter().zip(there) {
            if there {
                continue;
            }
            let what =
                format!("row {} has applied {}, and there is no such event", key.id, key.stamp.applied);
            if !repair {
                found.push(Stray { what, repaired: false });
                continue;
            }
            match self.corrected(generation, key).await {
                Ok(true) => found.push(Stray { what, repaired: true }),
                // One that was written meanwhile is another row.
                Ok(false) => {}
                Err(RebuildError::BadEvent(why)) => {
                    found.push(Stray { what: format!("{what}; {why}"), repaired: false });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Strays { found, after: page.after })
    }
}
