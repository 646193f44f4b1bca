//! Keeps the rows of a view up to date, and reads them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contracts::Envelope;
use event_store::{EventStore, StoreError};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use kernel::{
    StreamId, StreamIdError, Timestamp, Version,
    ports::{Backoff, Ports},
};

use crate::{
    listing::{merged, read},
    page::{BadRequest, Index, ListRequest, Page, Position},
    projection::{ApplyError, Projection},
    store::{Consistency, Content, List, Listed, Put, Stamp, Stored, ViewError, ViewStore, from_the_future},
};

/// Pauses between attempts on a row that others write at the same time. A lost race means that somebody
/// made progress, and a row has few writers: deliveries of one stream that overlap, and readers that
/// repair. Whoever loses this often goes back to the queue.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(200), retries: 6 };

/// Rows of one batch that are worked on at a time: a default batch of ten takes two rounds.
const ROWS_AT_A_TIME: usize = 8;

/// A row, and the version of the last event in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<R> {
    /// The row.
    pub row: R,
    /// The version.
    pub applied: Version,
}

/// Rows of one partition of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// Where to go on; `None` at the end.
    pub next: Option<Position>,
}

/// What became of an event that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It was the next one: the row is at its version now.
    Applied,
    /// The row was at its version or beyond already.
    Duplicate,
    /// Something was missing: the row was brought to the end of its stream.
    Healed {
        /// Events that were read from the event table and applied.
        events: usize,
    },
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// The view, as operators know it.
    pub view: String,
    /// How long ago the oldest event of the batch was committed; `None` of a batch that brought nothing new, and had nothing to.
    pub lag: Option<Duration>,
    /// Events of the batch that took effect by it.
    pub applied: usize,
    /// Events of the batch that had taken effect before.
    pub duplicates: usize,
    /// Rows that were healed from the event table.
    pub healed: usize,
    /// Envelopes that have to come again, in the batch's order. All others are done with.
    pub failed: Vec<Failed>,
}

impl BatchOutcome {
    /// How far this batch says that the view is behind: nothing, if the rows had all of it already, as in a replay of old events.
    /// What failed is behind as well.
    pub fn lag_of(&self, batch: &[Envelope], now: Timestamp) -> Option<Duration> {
        age(batch, now).filter(|_| self.applied > 0 || !self.failed.is_empty())
    }
}

/// How long ago the oldest of these was committed. An event of a clock that is ahead is no older than now.
pub fn age(events: &[Envelope], now: Timestamp) -> Option<Duration> {
    let oldest = events.iter().map(|event| event.at).min()?;
    Some(Duration::try_from(now.duration_since(oldest)).unwrap_or_default())
}

/// An envelope whose effect is not in the row.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Its place in the batch.
    pub index: usize,
    /// Why.
    pub error: DeliverError,
}

/// Why an event's effect is not in the row. The queue delivers it again, and parks it in the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// This event, or one before it in the stream, cannot be applied. The row holds all up to there.
    #[error("view {view} cannot apply {stream} version {version}: {error}")]
    Poison {
        /// The view.
        view: &'static str,
        /// The stream.
        stream: StreamId,
        /// Version of the event that cannot be applied.
        version: Version,
        /// Why.
        error: ApplyError,
    },
    /// The event is of another category: the view's queue has a wrong rule.
    #[error("view {view} does not follow {stream}")]
    Misrouted {
        /// The view.
        view: &'static str,
        /// The stream.
        stream: StreamId,
    },
    /// The event table knows no such event: it comes from another installation, or the table was restored
    /// from a backup.
    #[error("{stream} ends at version {actual} in the event table, before version {version}")]
    NotInTable {
        /// The stream.
        stream: StreamId,
        /// The event's version.
        version: Version,
        /// The stream's.
        actual: Version,
    },
    /// Others wrote the row at the same time, in every attempt.
    #[error("others changed row {id} of view {view} at the same time, {attempts} times over")]
    Contended {
        /// The view.
        view: &'static str,
        /// The row.
        id: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The event table failed.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// The view's table failed.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl DeliverError {
    /// Whether it may be over when the event comes again. What is wrong with an event or with its stream stays so.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Poison { .. } | Self::Misrouted { .. } | Self::NotInTable { .. } => false,
            Self::Events(StoreError::Corrupt { .. }) | Self::View(ViewError::Malformed { .. }) => false,
            Self::Contended { .. } => true,
            Self::Events(StoreError::Unavailable { .. } | StoreError::Refused { .. }) => true,
            Self::View(
                ViewError::Unavailable { .. }
                | ViewError::Refused { .. }
                | ViewError::FromTheFuture { .. }
                | ViewError::AwaitsSweep { .. },
            ) => true,
        }
    }
}

/// Why a row could not be read as new as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The stream itself has not come that far.
    #[error("version {asked} was asked for, but the stream is at version {actual}")]
    NotReached {
        /// What was asked for.
        asked: Version,
        /// Where the stream is.
        actual: Version,
    },
    /// The id does not name a stream.
    #[error(transparent)]
    NotAnId(#[from] StreamIdError),
    /// An event on the way cannot be applied.
    #[error("version {version} cannot be applied: {error}")]
    Poison {
        /// Version of the event.
        version: Version,
        /// Why.
        error: ApplyError,
    },
    /// The event table failed.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// The view's table failed.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The request is wrong.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// A row on the page could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The view's table failed.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Keeps the rows of one view up to date, and reads them. Cheap to clone.
pub struct Projector<P: Projection> {
    view: Arc<str>,
    views: Arc<dyn ViewStore<P>>,
    events: EventStore,
    ports: Ports,
}

impl<P: Projection> Clone for Projector<P> {
    fn clone(&self) -> Self {
        Self {
            view: self.view.clone(),
            views: self.views.clone(),
            events: self.events.clone(),
            ports: self.ports.clone(),
        }
    }
}

impl<P: Projection> Projector<P> {
    /// A projector into `views`, called after its projection; it heals from `events`.
    pub fn new(views: Arc<dyn ViewStore<P>>, events: EventStore, ports: Ports) -> Self {
        Self { view: P::NAME.into(), views, events, ports }
    }

    /// Calls the view by another name in metrics and logs: several views may be of one projection.
    #[must_use]
    pub fn named(self, view: &str) -> Self {
        Self { view: view.into(), ..self }
    }

    /// Takes in one event.
    ///
    /// # Errors
    /// See [`DeliverError`].
    pub async fn deliver(&self, envelope: &Envelope) -> Result<Delivered, DeliverError> {
        let offered = BTreeMap::from([(envelope.version, envelope)]);
        let progress = self.advance(&envelope.stream, &offered).await?;
        if envelope.version > progress.reached {
            return Err(progress.why(P::NAME, &envelope.stream, envelope.version));
        }
        Ok(match progress.healed {
            Some(events) => Delivered::Healed { events },
            None if envelope.version > progress.from => Delivered::Applied,
            None => Delivered::Duplicate,
        })
    }

    /// Takes in a batch: each row is read once and written once, however many of its events are in
    /// the batch and in whatever order. A failure concerns the events of one stream only.
    pub async fn deliver_batch(&self, batch: &[Envelope]) -> BatchOutcome {
        let mut streams: BTreeMap<&StreamId, Offer<'_>> = BTreeMap::new();
        for (index, envelope) in batch.iter().enumerate() {
            let offer = streams.entry(&envelope.stream).or_default();
            offer.places.push((index, envelope.version));
            let known = offer.events.entry(envelope.version).or_insert(envelope);
            // Of two copies, one may have come without its body.
            if known.data.is_none() {
                *known = envelope;
            }
        }
        let mut outcome = BatchOutcome { view: self.view.to_string(), ..BatchOutcome::default() };
        // Boxed, each with its lifetime spelled out: the compiler cannot prove a stream of plain
        // async blocks over borrowed streams to be Send (rust-lang/rust#102211).
        let work: Vec<BoxFuture<'_, _>> = streams
            .into_iter()
            .map(|(stream, offer)| {
                let advanced = async move {
                    let progress = self.advance(stream, &offer.events).await;
                    (stream, offer, progress)
                };
                advanced.boxed()
            })
            .collect();
        let mut worked = stream::iter(work).buffered(ROWS_AT_A_TIME);
        while let Some((stream, offer, progress)) = worked.next().await {
            outcome.count(P::NAME, stream, &offer, progress);
        }
        outcome.failed.sort_by_key(|failed| failed.index);
        for Failed { index, error } in &outcome.failed {
            let Envelope { stream, version, .. } = &batch[*index];
            tracing::error!(view = &*self.view, %stream, %version, %error, "event not applied");
        }
        outcome.lag = outcome.lag_of(batch, self.ports.clock.now());
        outcome
    }

    /// Reads a row: at least as new as `minimum`, where there is one. A row that is older is brought to
    /// the end of its stream, answered and written back. Without a minimum, a row that is missing is `None`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        &self,
        id: &str,
        minimum: Option<Version>,
    ) -> Result<Option<Versioned<P::Row>>, ReadError> {
        let consistency = if minimum.is_some() { Consistency::Strong } else { Consistency::Eventual };
        let stored = self.views.get(id, consistency).await?;
        if stored.is_none() && minimum.is_none() {
            return Ok(None);
        }
        let row = Row::<P>::of(stored);
        if row.outdated || minimum.is_some_and(|minimum| minimum > row.applied) {
            return self.repair(id, row, AtLeast::Version(minimum.unwrap_or_default())).await;
        }
        Ok(row.answer())
    }

    /// Reads a row as new as its stream is now, for decisions that must not rest on an old copy. It costs one
    /// query of the event table more than [`Projector::read`]; what the row lacked is written back.
    ///
    /// # Errors
    /// See [`ReadError`]; also when an event on the way cannot be applied.
    pub async fn read_latest(&self, id: &str) -> Result<Option<Versioned<P::Row>>, ReadError> {
        let row = Row::<P>::of(self.views.get(id, Consistency::Eventual).await?);
        self.repair(id, row, AtLeast::End).await
    }

    async fn repair(
        &self,
        id: &str,
        row: Row<P>,
        goal: AtLeast,
    ) -> Result<Option<Versioned<P::Row>>, ReadError> {
        let (row, stopped) = self.heal(&stream_of::<P>(id)?, row).await?;
        let (minimum, to_the_end) = match goal {
            AtLeast::Version(minimum) => (minimum, false),
            AtLeast::End => (Version::NONE, true),
        };
        if let Some((version, error)) = stopped
            && (row.outdated || to_the_end || row.applied < minimum)
        {
            return Err(ReadError::Poison { version, error });
        }
        // What was folded is the answer, whether it can be written or not.
        if row.is_news() {
            match self.views.put(id, row.content.as_ref(), row.stamp, row.applied).await {
                Ok(Put::Written) => {
                    tracing::info!(view = &*self.view, id, applied = %row.applied, "row repaired on reading");
                }
                Ok(Put::Conflict) => {
                    tracing::debug!(view = &*self.view, id, "row repaired by another reader");
                }
                Err(error) => tracing::warn!(view = &*self.view, id, %error, "repaired row not written"),
            }
        }
        if row.applied < minimum {
            return Err(ReadError::NotReached { asked: minimum, actual: row.applied });
        }
        Ok(row.answer())
    }

    /// Lists rows of one partition of an index. Rows that older or newer code wrote are folded anew for the
    /// answer, but stay where the index has them, until an event or a read replaces them. One that cannot be folded is left out,
    /// and logged.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list(&self, index: &Index, request: &ListRequest) -> Result<Page<P::Row>, ListError> {
        let Listing { rows, next } = self.list_rows(&request.validated(index)?).await?;
        Ok(Page { rows, next: next.map(|position| request.cursor(index, position)) })
    }

    /// Lists rows of one partition of an index as [`Projector::list`] does, for callers with cursors of their own: those who
    /// walk over more than one partition, or pass over some of the rows.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list_rows(&self, list: &List<'_>) -> Result<Listing<P::Row>, ListError> {
        let Listed { rows, next } = merged(&*self.views, list).await?;
        let folded: Vec<BoxFuture<'_, _>> = read(&*self.views, rows, &self.ports)
            .await?
            .into_iter()
            .map(|(id, stored)| self.listed(id, Row::of(Some(stored))).boxed())
            .collect();
        let folded: Vec<Option<P::Row>> = stream::iter(folded).buffered(ROWS_AT_A_TIME).try_collect().await?;
        let rows = folded.into_iter().flatten().collect();
        Ok(Listing { rows, next })
    }

    /// What a list shows of a row. One that cannot be folded is left out: the others are not to be missed for it.
    async fn listed(&self, id: String, row: Row<P>) -> Result<Option<P::Row>, ReadError> {
        if !row.outdated {
            return Ok(row.content);
        }
        let (row, stopped) = self.heal(&stream_of::<P>(&id)?, row).await?;
        if let Some((version, error)) = stopped {
            tracing::error!(view = P::NAME, id, %version, %error, "left out of a list: this event cannot be applied");
            return Ok(None);
        }
        Ok(row.content)
    }

    /// Brings one row as far as the events at hand and the event table allow.
    async fn advance(
        &self,
        stream: &StreamId,
        offered: &BTreeMap<Version, &Envelope>,
    ) -> Result<Progress, DeliverError> {
        if stream.category() != P::CATEGORY {
            return Err(DeliverError::Misrouted { view: P::NAME, stream: stream.clone() });
        }
        let goal = offered.keys().next_back().copied().unwrap_or_default();
        let id = stream.id();
        for attempt in 0..=BACKOFF.retries {
            let row = Row::<P>::to_write(id, self.views.get(id, Consistency::Strong).await?)?;
            let from = row.applied;
            if from >= goal {
                return Ok(Progress { from, reached: from, healed: None, stopped: None });
            }
            let (row, stopped, healed) = match row.at_hand(offered, goal) {
                Some(events) => {
                    let (row, stopped) = row.fold(events);
                    (row, stopped, None)
                }
                None => {
                    let (row, stopped) = self.heal(stream, row).await?;
                    let events = usize::try_from(row.applied.get() - from.get()).unwrap_or(usize::MAX);
                    (row, stopped, Some(events))
                }
            };
            // An outdated row gives way only to one that is whole: rows never go back.
            if row.outdated && stopped.is_some() {
                return Ok(Progress { from, reached: from, healed: None, stopped });
            }
            let progress = Progress { from, reached: row.applied, healed, stopped };
            if !row.is_news() {
                return Ok(progress);
            }
            match self.views.put(id, row.content.as_ref(), row.stamp, row.applied).await? {
                Put::Written => {
                    if let Some(events) = healed {
                        tracing::info!(view = P::NAME, %stream, %from, reached = %row.applied, events, "row healed");
                    }
                    return Ok(progress);
                }
                Put::Conflict => {
                    self.ports.timer.sleep(BACKOFF.pause(attempt, &*self.ports.random)).await;
                }
            }
        }
        let attempts = BACKOFF.retries + 1;
        Err(DeliverError::Contended { view: P::NAME, id: id.to_owned(), attempts })
    }

    /// Folds all events that the row lacks, from the event table.
    async fn heal(&self, stream: &StreamId, row: Row<P>) -> Result<(Row<P>, Option<Stop>), StoreError> {
        let events = self.events.events_after(stream, row.applied).await?;
        Ok(row.fold(events.iter()))
    }
}

pub(crate) fn stream_of<P: Projection>(id: &str) -> Result<StreamId, StreamIdError> {
    format!("{}/{id}", P::CATEGORY).parse()
}

/// How new a row has to be.
enum AtLeast {
    /// At this version or beyond.
    Version(Version),
    /// At the end of its stream.
    End,
}

/// What a batch holds of one stream.
#[derive(Default)]
struct Offer<'b> {
    events: BTreeMap<Version, &'b Envelope>,
    /// Every envelope's place in the batch.
    places: Vec<(usize, Version)>,
}

impl BatchOutcome {
    fn count(
        &mut self,
        view: &'static str,
        stream: &StreamId,
        offer: &Offer<'_>,
        progress: Result<Progress, DeliverError>,
    ) {
        let progress = match progress {
            Ok(progress) => progress,
            Err(error) => {
                let failed = |&(index, _): &(usize, Version)| Failed { index, error: error.clone() };
                self.failed.extend(offer.places.iter().map(failed));
                return;
            }
        };
        self.healed += usize::from(progress.healed.is_some());
        let brought = offer.events.keys().filter(|version| progress.brought(**version)).count();
        let done = offer.places.iter().filter(|(_, version)| *version <= progress.reached).count();
        self.applied += brought;
        self.duplicates += done.saturating_sub(brought);
        for &(index, version) in &offer.places {
            if version > progress.reached {
                self.failed.push(Failed { index, error: progress.why(view, stream, version) });
            }
        }
    }
}

/// The event at which a fold stopped, and why.
pub(crate) type Stop = (Version, ApplyError);

/// How far a row came.
struct Progress {
    from: Version,
    reached: Version,
    /// Events that were read from the event table, if any had to be.
    healed: Option<usize>,
    stopped: Option<Stop>,
}

impl Progress {
    fn brought(&self, version: Version) -> bool {
        self.from < version && version <= self.reached
    }

    /// Why `version` was not reached.
    fn why(&self, view: &'static str, stream: &StreamId, version: Version) -> DeliverError {
        match &self.stopped {
            Some((version, error)) => {
                DeliverError::Poison { view, stream: stream.clone(), version: *version, error: error.clone() }
            }
            None => DeliverError::NotInTable { stream: stream.clone(), version, actual: self.reached },
        }
    }
}

/// A row at work.
pub(crate) struct Row<P: Projection> {
    pub content: Option<P::Row>,
    pub applied: Version,
    /// What is stored, and has to be so still when this row is written.
    pub stamp: Option<Stamp>,
    /// Whether the stored row does not count: this one starts from nothing to replace it.
    pub outdated: bool,
    /// Whether this row is only for an answer: newer code wrote the stored one, or a sweep has to.
    pub only_shown: bool,
}

impl<P: Projection> Row<P> {
    pub(crate) fn of(stored: Option<Stored<P::Row>>) -> Self {
        let nothing =
            Self { content: None, applied: Version::NONE, stamp: None, outdated: false, only_shown: false };
        let Some(Stored { stamp, content }) = stored else { return nothing };
        let nothing = Self { stamp: Some(stamp), ..nothing };
        match content {
            Content::Row(row) => Self { content: Some(row), applied: stamp.applied, ..nothing },
            Content::Empty => Self { applied: stamp.applied, ..nothing },
            // Only to be shown: what follows is applied to it for an answer, and not written.
            Content::Outdated(Some(row)) => {
                Self { content: Some(row), applied: stamp.applied, only_shown: true, ..nothing }
            }
            Content::Outdated(None) => Self { outdated: true, ..nothing },
            Content::Newer => Self { outdated: true, only_shown: true, ..nothing },
        }
    }

    /// What is stored, to be brought on and written: not if newer code wrote it.
    fn to_write(id: &str, stored: Option<Stored<P::Row>>) -> Result<Self, ViewError> {
        match stored {
            Some(Stored { stamp, content: Content::Newer }) => Err(from_the_future::<P>(id, stamp.schema)),
            Some(Stored { content: Content::Outdated(Some(_)), .. }) => {
                Err(ViewError::AwaitsSweep { view: P::NAME, id: id.to_owned() })
            }
            stored => Ok(Self::of(stored)),
        }
    }

    /// The events that lead to `goal`, if all of them are at hand with their bodies.
    fn at_hand<'e>(
        &self,
        offered: &BTreeMap<Version, &'e Envelope>,
        goal: Version,
    ) -> Option<Vec<&'e Envelope>> {
        if self.outdated {
            return None;
        }
        let mut events = Vec::new();
        let mut version = self.applied;
        while version < goal {
            version = version.next();
            let event = *offered.get(&version)?;
            if event.data.is_none() && !is_irrelevant::<P>(event) {
                return None;
            }
            events.push(event);
        }
        Some(events)
    }

    /// Applies events that follow, up to the first that cannot be applied.
    pub(crate) fn fold<'e>(mut self, events: impl IntoIterator<Item = &'e Envelope>) -> (Self, Option<Stop>) {
        for event in events {
            if !is_irrelevant::<P>(event) {
                match P::apply(self.content.clone(), event) {
                    Ok(row) => self.content = Some(row),
                    Err(error) => return (self, Some((event.version, error))),
                }
            }
            self.applied = event.version;
        }
        (self, None)
    }

    /// Whether this row may replace the stored one: it is newer, or as new and of today's schema.
    fn is_news(&self) -> bool {
        match self.stamp {
            Some(_) if self.only_shown => false,
            None => self.applied > Version::NONE,
            Some(stamp) => self.applied > stamp.applied || (self.outdated && self.applied == stamp.applied),
        }
    }

    fn answer(self) -> Option<Versioned<P::Row>> {
        let applied = self.applied;
        self.content.map(|row| Versioned { row, applied })
    }
}

pub(crate) fn is_irrelevant<P: Projection>(event: &Envelope) -> bool {
    P::IRRELEVANT.contains(&event.event_type.as_str())
}
