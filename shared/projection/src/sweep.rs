//! The sweep: puts any view right in place, while it is read and fed.
//!
//! The event table is read in parts, in parallel. Each part gives the fold of every stream in it, and the
//! stored rows, read *after* the events, are compared with these folds. A row that is missing, outdated or
//! different is written, on the condition that it is still what was read. Then rows without a stream are
//! removed.
//!
//! [`Sweeper::begin`] records the sweep, and [`Sweeper::slice`] works on one part for a bounded time. Whoever
//! calls them (a state machine, a test) keeps nothing: a caller that dies is replaced by another, which goes
//! on at the last checkpoint.
//!
//! # Guarantees
//!
//! * A query never sees an older row because of a sweep: rows are replaced only by newer ones, by ones as new
//!   that are right, or, if they are ahead of a stream that a restore has shortened, by the fold of what
//!   there is.
//! * A sweep may be stopped, repeated, or run twice at the same time; each of it costs reads and writes no
//!   row twice.
//! * A row that cannot be made or stored, and an event that cannot be read or applied, is named and left, and
//!   the others go on.
//!
//! # Not guaranteed
//!
//! * *A moment.* Rows are compared at different times. An event that is made meanwhile comes to its row over
//!   the bus.
//! * *Streams without end.* One that has more commits than a slice can read in its time is named and left.
//! * *Exact counts.* What was done after the last checkpoint of a worker that died is counted when it is done
//!   again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use contracts::Envelope;
use event_store::{Commit, EventStore, Segment, StoreError, Unreadable};
use kernel::{StreamId, Timestamp, Version, ports::Ports};
use serde::{Deserialize, Serialize};

use crate::{
    progress::{At, Part, Progress, Sweep, SweepState, change, part_key, read, stop_sweep, write},
    store::{Put, ViewError},
};

/// A view that can be swept. [`crate::ProjectedView`] is that of a [`crate::Projection`]; a view of another
/// make, for example one whose rows are fed by streams of several categories, brings its own.
#[async_trait]
pub trait Swept: Send + Sync {
    /// The fold of one stream.
    type Fold: Send + Sync;

    /// Name of the view.
    fn view(&self) -> &str;

    /// Version of its rows' shape and meaning.
    fn schema(&self) -> u16;

    /// An empty fold of a stream, none if the view does not follow it. Events made after `settled` may still
    /// be on their way.
    fn begin(&self, stream: &StreamId, settled: Timestamp) -> Option<Self::Fold>;

    /// Applies the next event of the stream.
    fn apply(&self, fold: &mut Self::Fold, event: &Envelope);

    /// Compares the rows of these streams with their folds and, unless `only_compare`, puts them right.
    ///
    /// # Errors
    /// [`SweepError`], when the view as a whole cannot be read or written.
    async fn settle(
        &self,
        folds: Vec<(StreamId, Self::Fold)>,
        only_compare: bool,
    ) -> Result<Report, SweepError>;

    /// Looks for rows without a stream on one page of a part of the view and, unless `only_compare`, removes
    /// them.
    ///
    /// # Errors
    /// [`SweepError`].
    async fn strays(
        &self,
        part: Segment,
        after: Option<&str>,
        only_compare: bool,
    ) -> Result<Strays, SweepError>;
}

/// The findings of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Rows that differed from the fold of their events, or had no events.
    pub differences: u64,
    /// Rows that were written or removed: the differences, and rows that were only behind.
    pub written: u64,
    /// Rows and events that are left as they are, because they cannot be made, stored, read or applied.
    pub left: u64,
    /// Names of the first of what is left, with the reasons, then of the differences.
    pub examples: Vec<String>,
}

/// Most examples that a report keeps; all others are only counted.
const EXAMPLES: usize = 10;

impl Report {
    /// Counts a row that differs.
    pub fn differs(&mut self, example: String) {
        self.differences += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }

    /// Counts something that is left. It is named before any difference, because a person has to act on it.
    pub fn left(&mut self, example: String) {
        // A page that is read again, in the next slice or after a crash, has the same to tell.
        if self.examples.contains(&example) {
            return;
        }
        self.examples.insert(self.named(), example);
        self.examples.truncate(EXAMPLES);
        self.left += 1;
    }

    /// Number of the examples that name something left; they come first.
    fn named(&self) -> usize {
        usize::try_from(self.left).unwrap_or(EXAMPLES).min(self.examples.len())
    }

    /// Adds the findings of another report.
    pub fn add(&mut self, other: Report) {
        let mine = self.named();
        let (left, differ) = other.examples.split_at(other.named());
        self.examples.splice(mine..mine, left.iter().cloned());
        self.examples.extend(differ.iter().cloned());
        self.examples.truncate(EXAMPLES);
        self.differences += other.differences;
        self.written += other.written;
        self.left += other.left;
    }
}

/// The findings on one page of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strays {
    /// The findings.
    pub report: Report,
    /// Rows on the page.
    pub rows: u64,
    /// Place at which to go on; none at the end of the part.
    pub after: Option<String>,
}

/// A reason for which a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// Something did not answer, or others were faster: the same step may be done later.
    #[error("{0}")]
    Passing(String),
    /// Something refuses, and will refuse again: permissions, a missing table.
    #[error("{0}")]
    Broken(String),
    /// The view had to be begun anew, so the sweep has to begin anew as well.
    #[error("{0}")]
    Anew(String),
    /// The order makes no sense.
    #[error("a sweep has 1 to {} parts and at least 1 event a second for each", Order::MAX_PARTS)]
    Order,
}

impl From<ViewError> for SweepError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Unavailable { .. } => Self::Passing(error.to_string()),
            ViewError::Refused { .. }
            | ViewError::FromTheFuture { .. }
            | ViewError::AwaitsSweep { .. }
            | ViewError::Malformed { .. } => Self::Broken(error.to_string()),
        }
    }
}

impl From<StoreError> for SweepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::Passing(error.to_string()),
            StoreError::Refused { .. } | StoreError::Corrupt { .. } => Self::Broken(error.to_string()),
        }
    }
}

/// An order to sweep a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// Whether rows are only compared.
    #[serde(default)]
    pub only_compare: bool,
    /// Parts into which the event table is split: 1 to [`Order::MAX_PARTS`].
    pub parts: u32,
    /// Events a second over all parts; none for no limit.
    #[serde(default)]
    pub rate: Option<u32>,
}

impl Order {
    /// Most parts: as many workers run at a time, and they share the functions' concurrency with everybody
    /// else.
    pub const MAX_PARTS: u32 = 16;
}

/// The amounts that are done at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time after which a slice ends at its next checkpoint.
    pub budget: Duration,
    /// Time between two checkpoints: the work that is done again after a crash.
    pub checkpoint: Duration,
    /// Most commits on a page.
    pub page: u32,
    /// Streams whose rows are compared at a time.
    pub streams: usize,
}

impl Limits {
    /// For a function with a time-out of a minute: what has begun when the budget ends has twenty seconds to
    /// end as well. A page of 500 commits is about a megabyte of the largest, the most that DynamoDB gives at
    /// a time.
    pub const FUNCTION: Limits = Limits {
        budget: Duration::from_secs(40),
        checkpoint: Duration::from_secs(1),
        page: 500,
        streams: 200,
    };
}

/// Age from which on an event counts as overdue in its row. A message that met trouble may wait five minutes
/// for its next try.
const SETTLED: Duration = Duration::from_secs(600);

/// Age of its last progress up to which a sweep is gone on with: what it has seen before that is too old to
/// say that a view is right.
const RESUMED: Duration = Duration::from_secs(24 * 3600);

/// Fewest commits on a page, however low the rate.
const PACED_PAGE: u32 = 3;

/// Longest pause of a worker that was overtaken on its part.
const LOSER: Duration = Duration::from_secs(10);

/// Longest pause between two pages: less than [`Limits::FUNCTION`] leaves of a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Returns true if a row or record of this stream has no events. A stream that cannot be read has some, and
/// is named where they are.
///
/// # Errors
/// [`SweepError`].
pub async fn has_no_events(events: &EventStore, stream: &StreamId) -> Result<bool, SweepError> {
    match events.version(stream).await {
        Ok(version) => Ok(version == Version::NONE),
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The state of a part after a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// There is more to do in this part.
    More,
    /// The part is done, or the sweep has stopped.
    Over,
}

/// Sweeps one view. Cheap to make: it keeps nothing.
pub struct Sweeper<V> {
    view: V,
    progress: Arc<dyn Progress>,
    events: EventStore,
    ports: Ports,
    limits: Limits,
}

/// A [`Sweeper`] of any view.
#[async_trait]
pub trait Sweeping: Send + Sync {
    /// Name of the view.
    fn view(&self) -> &str;

    /// Begins a sweep, or goes on with one of the same kind that was not over and made progress within a day,
    /// at the rate that is asked for now.
    ///
    /// # Errors
    /// [`SweepError`].
    async fn begin(&self, order: &Order) -> Result<Sweep, SweepError>;

    /// Works on one part for as long as the budget allows.
    ///
    /// # Errors
    /// [`SweepError::Passing`]; the slice may be done again. [`SweepError::Broken`]; the sweep has stopped,
    /// and its record tells why.
    async fn slice(&self, index: u32) -> Result<Slice, SweepError>;
}

impl<V: Swept> Sweeper<V> {
    /// A sweeper of `view` with the events in `events`.
    pub fn new(
        view: V,
        progress: Arc<dyn Progress>,
        events: EventStore,
        ports: Ports,
        limits: Limits,
    ) -> Self {
        Self { view, progress, events, ports, limits }
    }

    fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.ports.clock.now().duration_since(then)).unwrap_or_default()
    }
}

#[async_trait]
impl<V: Swept> Sweeping for Sweeper<V> {
    fn view(&self) -> &str {
        self.view.view()
    }

    async fn begin(&self, order: &Order) -> Result<Sweep, SweepError> {
        let paced = order.rate.is_none_or(|rate| rate >= order.parts);
        if !(1..=Order::MAX_PARTS).contains(&order.parts) || !paced {
            return Err(SweepError::Order);
        }
        let (view, schema) = (self.view.view(), self.view.schema());
        let mut begun = Sweep {
            id: self.ports.ids.fresh(),
            started_at: self.ports.clock.now(),
            only_compare: order.only_compare,
            schema,
            parts: order.parts,
            rate: order.rate,
            stopped: None,
        };
        change(&*self.progress, &self.ports, view, |state| {
            let goes_on = |state: &SweepState| {
                let Sweep { only_compare, schema: its, .. } = state.sweep;
                let is_young = self.since(state.updated_at()) < RESUMED;
                !state.is_over() && is_young && only_compare == order.only_compare && its == schema
            };
            if let Some(state) = state.filter(goes_on) {
                begun = Sweep { rate: order.rate, stopped: None, ..state.sweep };
            }
            Some(begun.clone())
        })
        .await?;
        Ok(begun)
    }

    async fn slice(&self, index: u32) -> Result<Slice, SweepError> {
        let (_, sweep) = read::<Sweep>(&*self.progress, self.view.view()).await?;
        let Some(sweep) = sweep.filter(|sweep| sweep.stopped.is_none() && index < sweep.parts) else {
            return Ok(Slice::Over);
        };
        let (id, view) = (sweep.id, self.view.view());
        match self.run(sweep, index).await {
            Err(SweepError::Broken(why)) => {
                tracing::error!(view, why, "sweep stopped");
                stop_sweep(&*self.progress, &self.ports, view, &why).await?;
                Err(SweepError::Broken(why))
            }
            Err(SweepError::Anew(why)) => {
                tracing::warn!(view, why, "sweep begun anew");
                let fresh = self.ports.ids.fresh();
                change(&*self.progress, &self.ports, view, |state| {
                    let sweep = state.map(|state| state.sweep).filter(|sweep| sweep.id == id)?;
                    Some(Sweep { id: fresh, ..sweep })
                })
                .await?;
                Ok(Slice::More)
            }
            done => done,
        }
    }
}

impl<V: Swept> Sweeper<V> {
    async fn run(&self, sweep: Sweep, index: u32) -> Result<Slice, SweepError> {
        let (view, ours) = (self.view.view(), self.view.schema());
        if sweep.schema > ours {
            let why = format!("newer code began this sweep of {view}: schema {}, not {ours}", sweep.schema);
            return Err(SweepError::Passing(why));
        }
        if sweep.schema < ours {
            let why = format!("rows of {view} are of schema {ours} since a deployment: begin the sweep anew");
            return Err(SweepError::Broken(why));
        }
        let key = part_key(view, index);
        let (revision, part) = read::<Part>(&*self.progress, &key).await?;
        let now = self.ports.clock.now();
        let part = part.filter(|part| part.sweep == sweep.id).unwrap_or_else(|| Part {
            sweep: sweep.id,
            at: At::Start,
            commits: 0,
            events: 0,
            rows: 0,
            report: Report::default(),
            updated_at: now,
        });
        let (mut cursor, mut inside) = (None, None);
        if let At::Commit { stream, version } = &part.at {
            cursor = Some((stream.clone(), *version));
            inside = Some(stream.clone());
        }
        let run = Run {
            sweeper: self,
            segment: Segment { index, total: sweep.parts },
            sweep,
            key,
            revision,
            part,
            cursor,
            inside,
            boundary: None,
            open: None,
            closed: Vec::new(),
            unreadable: BTreeMap::new(),
            settled: now.checked_sub(SETTLED).unwrap_or(Timestamp::UNIX_EPOCH),
            unpaced: (0, now),
        };
        run.until_spent(now).await
    }
}

/// The work on one part.
struct Run<'a, V: Swept> {
    sweeper: &'a Sweeper<V>,
    sweep: Sweep,
    segment: Segment,
    key: String,
    revision: u64,
    /// The part as it is recorded at the next checkpoint.
    part: Part,
    /// Commit after which the scan goes on.
    cursor: Option<(StreamId, Version)>,
    /// Stream of the commit at which the slice began: it was too long for a slice, or has grown since, and
    /// then the bus brings the rest.
    inside: Option<StreamId>,
    /// Last commit before the open stream: everything up to it can be settled.
    boundary: Option<(StreamId, Version)>,
    /// Stream that is being read.
    open: Option<Open<V::Fold>>,
    /// Streams that were read to their ends, and are not compared yet.
    closed: Vec<(StreamId, V::Fold)>,
    /// Streams with items that cannot be read, and the reason until it is reported.
    unreadable: BTreeMap<StreamId, Option<String>>,
    settled: Timestamp,
    /// Events that were read since the time to which the rate was kept.
    unpaced: (u64, Timestamp),
}

/// A stream that is being read.
struct Open<F> {
    stream: StreamId,
    /// First version of the last commit.
    last: Version,
    /// Version after the last commit.
    next: Version,
    commits: u64,
    events: u64,
    /// None of a stream that the view does not follow.
    fold: Option<F>,
    /// Whether all commits from version 1 on were seen, one after the other.
    is_whole: bool,
}

impl<V: Swept> Run<'_, V> {
    async fn until_spent(mut self, began: Timestamp) -> Result<Slice, SweepError> {
        let limits = self.sweeper.limits;
        let mut checkpoint = began;
        loop {
            match self.part.at.clone() {
                At::Start | At::Commit { .. } => self.commits().await?,
                At::Rows => self.rows(None).await?,
                At::Row { id } => self.rows(Some(&id)).await?,
                At::End => return Ok(Slice::Over),
            }
            self.pace().await;
            let is_spent = self.sweeper.since(began) >= limits.budget;
            if self.part.at != At::End && !is_spent && self.sweeper.since(checkpoint) < limits.checkpoint {
                continue;
            }
            if is_spent && self.boundary.is_none() {
                self.pass_over().await?;
            }
            checkpoint = self.sweeper.ports.clock.now();
            match self.checkpoint().await? {
                Some(slice) => return Ok(slice),
                None if is_spent => return Ok(Slice::More),
                None => {}
            }
        }
    }

    /// Reads a page of commits.
    async fn commits(&mut self) -> Result<(), SweepError> {
        let Sweeper { events, limits, .. } = self.sweeper;
        // Of a view that few commits are about, a page of a few would take longer than the rate asks for.
        let paced = |share: u32| share.saturating_mul(5).max(PACED_PAGE).min(limits.page);
        let limit = self.share().map_or(limits.page, paced);
        let page = events.scan(self.segment, self.cursor.as_ref(), Some(limit)).await?;
        for Unreadable { stream, why, .. } in page.unreadable {
            match stream {
                None => self.part.report.left(why),
                Some(stream) if self.sweeper.view.begin(&stream, self.settled).is_some() => {
                    self.unreadable.entry(stream).or_insert(Some(why));
                }
                Some(_) => {}
            }
        }
        for commit in page.commits {
            self.read(commit).await?;
        }
        self.cursor = page.after;
        if self.cursor.is_none() {
            self.close().await?;
            self.settle().await?;
            self.part.at = At::Rows;
        }
        // Also streams of which not one commit was read; an open one may be read again in the next slice.
        let open = self.open.as_ref().map(|open| &open.stream);
        let ended = self.unreadable.iter_mut().filter(|(stream, _)| Some(*stream) != open);
        ended.filter_map(|(_, why)| why.take()).for_each(|why| self.part.report.left(why));
        Ok(())
    }

    async fn read(&mut self, commit: Commit) -> Result<(), SweepError> {
        if self.open.as_ref().is_none_or(|open| open.stream != commit.stream) {
            self.close().await?;
            let is_rest = self.inside.as_ref() == Some(&commit.stream);
            self.inside.take_if(|_| !is_rest);
            let fold = self.sweeper.view.begin(&commit.stream, self.settled).filter(|_| !is_rest);
            self.open = Some(Open {
                stream: commit.stream.clone(),
                last: commit.version,
                next: Version::FIRST,
                commits: 0,
                events: 0,
                fold,
                is_whole: true,
            });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.commits += 1;
        open.is_whole &= commit.version == open.next;
        (open.last, open.next) = (commit.version, commit.next);
        if let Some(fold) = &mut open.fold {
            open.events += commit.events.len() as u64;
            self.unpaced.0 += commit.events.len() as u64;
            if open.is_whole {
                commit.into_envelopes().for_each(|event| self.sweeper.view.apply(fold, &event));
            }
        }
        Ok(())
    }

    /// Ends the open stream.
    async fn close(&mut self) -> Result<(), SweepError> {
        let Some(Open { stream, last, commits, events, fold, is_whole, .. }) = self.open.take() else {
            return Ok(());
        };
        self.part.commits += commits;
        self.part.events += events;
        self.boundary = Some((stream.clone(), last));
        match fold.filter(|_| !self.unreadable.contains_key(&stream)) {
            None => return Ok(()),
            Some(fold) if is_whole => self.closed.push((stream, fold)),
            Some(_) => self.query(stream).await?,
        }
        if self.closed.len() >= self.sweeper.limits.streams {
            self.settle().await?;
        }
        Ok(())
    }

    /// Folds a stream that the scan did not show from its first commit on.
    async fn query(&mut self, stream: StreamId) -> Result<(), SweepError> {
        let Sweeper { view, events, .. } = self.sweeper;
        match events.events_after(&stream, Version::NONE).await {
            Ok(events) => {
                if let Some(mut fold) = view.begin(&stream, self.settled) {
                    events.iter().for_each(|event| view.apply(&mut fold, event));
                    self.closed.push((stream, fold));
                }
            }
            Err(StoreError::Corrupt { .. }) => {
                self.part.report.left(format!("{stream} has a gap, or a commit that cannot be read"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Compares the rows of all streams that were read to their ends.
    async fn settle(&mut self) -> Result<(), SweepError> {
        if !self.closed.is_empty() {
            let closed = std::mem::take(&mut self.closed);
            let rows = closed.len() as u64;
            let found = self.sweeper.view.settle(closed, self.sweep.only_compare).await?;
            self.part.report.add(found);
            self.part.rows += rows;
        }
        if let (Some((stream, version)), At::Start | At::Commit { .. }) =
            (self.boundary.clone(), &self.part.at)
        {
            self.part.at = At::Commit { stream, version };
        }
        Ok(())
    }

    /// Goes on behind all that was read, though no stream came to its end: a whole slice is too short for
    /// this one, or showed no commit.
    async fn pass_over(&mut self) -> Result<(), SweepError> {
        let Some(open) = &mut self.open else {
            self.boundary = self.cursor.clone();
            return Ok(());
        };
        if open.fold.take().is_some() {
            let (stream, seconds) = (&open.stream, self.sweeper.limits.budget.as_secs());
            self.part.report.left(format!("{stream} cannot be folded within {seconds} seconds"));
        }
        self.close().await
    }

    async fn rows(&mut self, after: Option<&str>) -> Result<(), SweepError> {
        let Strays { report, rows, after } =
            self.sweeper.view.strays(self.segment, after, self.sweep.only_compare).await?;
        self.part.report.add(report);
        self.unpaced.0 += rows;
        self.part.at = after.map_or(At::End, |id| At::Row { id });
        Ok(())
    }

    /// Records the progress. Answers the state of the part when there is nothing more to do here: the sweep
    /// has stopped, another has begun, or another worker was faster.
    async fn checkpoint(&mut self) -> Result<Option<Slice>, SweepError> {
        let Sweeper { view, progress, ports, .. } = self.sweeper;
        self.settle().await?;
        self.part.updated_at = ports.clock.now();
        if write(&**progress, &self.key, self.revision, &self.part).await? == Put::Conflict {
            // Another worker is on this part. It has its turn first.
            ports.timer.sleep(LOSER.mul_f64(ports.random.unit())).await;
            return Ok(Some(Slice::More));
        }
        self.revision += 1;
        if self.part.at == At::End {
            return Ok(Some(Slice::Over));
        }
        let (_, sweep) = read::<Sweep>(&**progress, view.view()).await?;
        match sweep.filter(|sweep| sweep.stopped.is_none()) {
            Some(sweep) if sweep.id == self.sweep.id => self.sweep = sweep,
            // Another one, which has to come here, too.
            Some(_) => return Ok(Some(Slice::More)),
            None => return Ok(Some(Slice::Over)),
        }
        Ok(None)
    }

    /// Events a second that this part may read.
    fn share(&self) -> Option<u32> {
        self.sweep.rate.map(|rate| (rate / self.segment.total).max(1))
    }

    /// Waits until the events that were read have taken as long as they have to. Not inside the first stream
    /// of a slice: the slice has to come to the end of that.
    async fn pace(&mut self) {
        let (Some(share), true) = (self.share(), self.boundary.is_some() || self.open.is_none()) else {
            return;
        };
        let Sweeper { ports, .. } = self.sweeper;
        let (events, since) = self.unpaced;
        let least = Duration::from_secs_f64(events as f64 / f64::from(share));
        let Some(pause) = least.checked_sub(self.sweeper.since(since)).filter(|pause| !pause.is_zero())
        else {
            self.unpaced = (0, ports.clock.now());
            return;
        };
        ports.timer.sleep(pause.min(LONGEST_PAUSE)).await;
        if pause <= LONGEST_PAUSE {
            self.unpaced = (0, ports.clock.now());
        }
    }
}
