//! Building a view's next generation beside the live one, and comparing a view with its events.
//!
//! | phase | what is done | what is fed |
//! | --- | --- | --- |
//! | clearing | what an earlier attempt left is removed | the live generation |
//! | feeding | everybody hears that there is another generation | both |
//! | filling | the event table is read, segment by segment, into the next generation | both |
//! | verifying (if asked for) | every row is compared with the fold of its events | both |
//! | settling | what was written last arrives in the indexes | both |
//! | switched | everybody hears that the next generation is the live one | both |
//! | retiring | everybody hears that the old one is no longer fed | the new live one |
//! | emptying | the rows of the old one are removed | the new live one |
//!
//! [`Rebuilder::begin`] writes the job into the registry, [`Rebuilder::advance`] takes it from phase to phase, and
//! [`Rebuilder::segment`] does the work of one segment, for a bounded time. Whoever calls them (a state machine, a test) keeps
//! nothing: all that is known stands in the registry, so a caller that dies is replaced by another.
//!
//! # Why nothing is lost
//!
//! The scan is consistent and begins when everybody has fed both generations for [`GRACE`]. So an event is in the
//! table when the scan comes by, or it was committed later, and then the live tail takes it to both. Both ways write rows on
//! the same condition, so it does not matter which comes first, or that many events take both. And a row that a reader repairs
//! is repaired in both.
//!
//! # Not guaranteed
//!
//! * That a rebuild takes less than four times [`GRACE`], however small the view.
//! * An old generation's table may keep a row that somebody wrote who hung for longer than [`INVOCATION`](crate::INVOCATION). It
//!   is removed before that table is used again.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use async_trait::async_trait;
use contracts::Envelope;
use event_store::{Commit, EventStore, Segment, StoreError, Unreadable};
use futures::{StreamExt, future::BoxFuture, stream};
use kernel::{StreamId, Timestamp, Version, ports::Ports};
use serde::{Deserialize, Serialize};

use crate::{
    generations::GRACE,
    projector::DeliverError,
    registry::{
        At, ChangeError, EXAMPLES, Generation, Job, Phase, Registry, SegmentState, Task, ViewState, change,
    },
    store::ViewError,
};

/// A view that can be built anew from events. [`crate::ProjectedView`] is the one of a [`crate::Projection`]; a view of another
/// make, for example one whose rows are fed by many streams, brings its own.
#[async_trait]
pub trait Rebuildable: Send + Sync {
    /// Name of the view.
    fn view(&self) -> &str;

    /// Version of its rows' shape and meaning.
    fn schema(&self) -> u16;

    /// Whether events of this stream go into it.
    fn follows(&self, stream: &StreamId) -> bool;

    /// Takes events into a generation: some of them again, and others at the same time over the bus. Those of one stream come in
    /// order.
    ///
    /// # Errors
    /// [`RebuildError::BadEvent`] when an event cannot be applied.
    async fn fill(&self, generation: Generation, events: &[Envelope]) -> Result<(), RebuildError>;

    /// How many commits are filled in, or compared, before it is asked whether there is time for more. A view of which each
    /// filling is a change of the whole may want more than a view of rows.
    fn at_a_time(&self) -> usize {
        AT_A_TIME
    }

    /// Removes rows of a generation, a bounded number for a bounded time: less than [`GRACE`], so that nothing is removed any more of
    /// a table that is filled again. Says whether none is left.
    ///
    /// # Errors
    /// [`RebuildError`].
    async fn clear(&self, generation: Generation) -> Result<bool, RebuildError>;

    /// Compares what one stream's events make of a generation with what is there. An event that was committed after `settled` may
    /// still be on its way and is no difference. With `repair`, a difference that is told of was put right.
    ///
    /// # Errors
    /// [`RebuildError`].
    async fn compare(
        &self,
        generation: Generation,
        stream: &StreamId,
        settled: Timestamp,
        repair: bool,
    ) -> Result<Option<String>, RebuildError>;

    /// Looks for rows without events, or ahead of them, on one page of a segment of the view. With `repair`, they are put
    /// right: removed, or made what their events say, if these can be applied.
    ///
    /// # Errors
    /// [`RebuildError`].
    async fn strays(
        &self,
        generation: Generation,
        segment: Segment,
        after: Option<&str>,
        repair: bool,
    ) -> Result<Strays, RebuildError>;
}

/// No removal begins later than this after what is removed was read. With the eight seconds that a request may take it is over
/// before [`GRACE`] is.
const REMOVING: Duration = Duration::from_secs(5);

/// Whether it is too late for [`Rebuildable::clear`] to remove what was read at that time, or later.
pub fn is_late_to_remove(ports: &Ports, read: Timestamp) -> bool {
    Duration::try_from(ports.clock.now().duration_since(read)).is_ok_and(|since| since > REMOVING)
}

/// Removes what was read at that time, or later, so much at a time, as [`Rebuildable::clear`] has to: none of it begins when it is
/// too late. Says whether it came to all.
///
/// # Errors
/// That of a removal.
pub async fn remove_in_time<T: Send, E: Send>(
    ports: &Ports,
    read: Timestamp,
    removals: Vec<BoxFuture<'_, Result<T, E>>>,
    at_a_time: usize,
) -> Result<bool, E> {
    let mut removals = stream::iter(removals).buffer_unordered(at_a_time);
    while !is_late_to_remove(ports, read) {
        match removals.next().await {
            Some(removed) => drop(removed?),
            None => return Ok(true),
        }
    }
    Ok(false)
}

/// A row without events, or ahead of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// In a sentence.
    pub what: String,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What [`Rebuildable::strays`] found on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strays {
    /// Each of them.
    pub found: Vec<Stray>,
    /// Where to go on; `None` at the segment's end.
    pub after: Option<String>,
}

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// An event that this code cannot apply. No retry helps.
    #[error("{0}")]
    BadEvent(String),
    /// Something did not answer, or others were faster; the same step may be done later.
    #[error("{0}")]
    Passing(String),
    /// Something refuses, and will refuse again: permissions, a missing table, newer code.
    #[error("{0}")]
    Broken(String),
}

impl From<ViewError> for RebuildError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Unavailable { .. } => Self::Passing(error.to_string()),
            ViewError::Refused { .. } | ViewError::FromTheFuture { .. } | ViewError::Malformed { .. } => {
                Self::Broken(error.to_string())
            }
        }
    }
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::Passing(error.to_string()),
            StoreError::Refused { .. } => Self::Broken(error.to_string()),
            StoreError::Corrupt { .. } => Self::BadEvent(error.to_string()),
        }
    }
}

impl From<DeliverError> for RebuildError {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Poison { .. } => Self::BadEvent(error.to_string()),
            DeliverError::Contended { .. } => Self::Passing(error.to_string()),
            DeliverError::Misrouted { .. } | DeliverError::NotInTable { .. } => {
                Self::Broken(error.to_string())
            }
            DeliverError::Events(error) => error.into(),
            DeliverError::View(error) => error.into(),
        }
    }
}

impl From<ChangeError> for RebuildError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::View(error) => error.into(),
            ChangeError::Contended { .. } => Self::Passing(error.to_string()),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// What.
    pub task: Task,
    /// Into how many parts the event table is split: 1 to [`Order::MAX_SEGMENTS`].
    pub segments: u32,
    /// Events a second, over all segments; none for as many as can be.
    #[serde(default)]
    pub rate: Option<u32>,
}

impl Order {
    /// Most segments. Each writes its place into one item once a second: beyond this they would get into each other's way.
    pub const MAX_SEGMENTS: u32 = 16;
}

/// Why a job was not begun, or not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The order cannot be meant.
    #[error("a rebuild has 1 to {} segments and at least 1 event a second for each", Order::MAX_SEGMENTS)]
    Order,
    /// A rebuild is under way, which is no time to compare.
    #[error("view {view} is being rebuilt ({phase})")]
    Rebuilding {
        /// The view.
        view: String,
        /// How far that is.
        phase: Phase,
    },
    /// It is being compared with its events, which is no time for anything else.
    #[error("view {view} is being compared with its events: wait for the end of it, or give it up")]
    Comparing {
        /// The view.
        view: String,
    },
    /// Queries read the new generation already.
    #[error(
        "view {view} is {phase}: the new generation is live, and cancelling would not bring back the old one"
    )]
    TooLate {
        /// The view.
        view: String,
        /// How far it is.
        phase: Phase,
    },
    /// There is nothing to cancel.
    #[error("view {view} is not being rebuilt")]
    NothingToCancel {
        /// The view.
        view: String,
    },
    /// The registry failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What to do after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Advance again, after this time.
    Wait(Duration),
    /// Advance again: there is more to do in this phase than the budget allowed.
    Again,
    /// Do these segments, then advance again.
    Segments(Vec<u32>),
    /// Nothing: the job is over.
    Over(Phase),
    /// Nothing: it stopped, for this reason.
    Stopped(String),
}

/// How far [`Rebuilder::segment`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentDone {
    /// There is more to do in this segment.
    No,
    /// The segment has come to its end, or there is no longer anything to do in it.
    Yes,
}

/// How much is done at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a step goes on before it answers.
    pub budget: Duration,
    /// How often a segment writes down how far it is: what a crash makes it do again.
    pub checkpoint: Duration,
    /// Commits, or rows, on a page.
    pub page: u32,
}

impl Limits {
    /// For a function with a time-out of a minute: what was begun when the budget ends has twenty seconds to end as well. A page
    /// of 500 commits is about a megabyte of the largest, the most that DynamoDB gives at a time.
    pub const FUNCTION: Limits =
        Limits { budget: Duration::from_secs(40), checkpoint: Duration::from_secs(1), page: 500 };
}

/// An event that is not in a row after this time is not on its way any more: a delivery that failed comes again after a minute,
/// and after the fifth time it is parked.
const SETTLED: Duration = Duration::from_secs(360);

/// Commits that are worked on before it is asked whether there is time for more: a page that was read in no time may take
/// longer than the budget where the tables are slow, and would be done over and over.
const AT_A_TIME: usize = 100;

/// Commits whose streams are compared before it is asked whether there is time for more: each may have to be repaired.
const COMPARED_BETWEEN_LOOKS: usize = 32;

/// Streams that are compared at a time.
const COMPARED_AT_A_TIME: usize = 8;

/// Fewest commits on a page, however low the rate.
const PACED_PAGE: u32 = 3;

/// Longest pause between two pages: what [`Limits::FUNCTION`] leaves of a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Rebuilds one view. Cheap to make: it keeps nothing.
pub struct Rebuilder {
    view: Arc<dyn Rebuildable>,
    registry: Arc<dyn Registry>,
    events: EventStore,
    ports: Ports,
    limits: Limits,
}

impl Rebuilder {
    /// Rebuilds `view` from `events`.
    pub fn new(
        view: Arc<dyn Rebuildable>,
        registry: Arc<dyn Registry>,
        events: EventStore,
        ports: Ports,
        limits: Limits,
    ) -> Self {
        Self { view, registry, events, ports, limits }
    }

    /// Name of the view.
    pub fn view(&self) -> &str {
        self.view.view()
    }

    /// Begins a job. A rebuild that is under way, or stopped, goes on where it was, if the code is still of the same schema;
    /// else it begins anew.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn begin(&self, order: &Order) -> Result<ViewState, Refused> {
        let paced = order.rate.is_none_or(|rate| rate >= order.segments);
        if !(1..=Order::MAX_SEGMENTS).contains(&order.segments) || !paced {
            return Err(Refused::Order);
        }
        let mut refused = None;
        let state = change(&*self.registry, &self.ports, self.view.view(), |state| {
            refused = None;
            match self.begun(state, order, self.ports.clock.now()) {
                Ok(job) => {
                    state.job = Some(job);
                    true
                }
                Err(why) => {
                    refused = Some(why);
                    false
                }
            }
        })
        .await?;
        refused.map_or(Ok(state), Err)
    }

    fn begun(&self, state: &ViewState, order: &Order, now: Timestamp) -> Result<Job, Refused> {
        let schema = self.view.schema();
        let view = || state.view.clone();
        match state.under_way() {
            Some(job) if job.task.is_rebuild() && !order.task.is_rebuild() => {
                return Err(Refused::Rebuilding { view: view(), phase: job.phase });
            }
            Some(job) if job.task.is_rebuild() => return Ok(self.joined(job, order, now)),
            // What stopped a comparison is looked for anew.
            Some(job) if job.stopped.is_some() => {}
            Some(job) if job.task == order.task && job.schema == schema => return Ok(job.clone()),
            Some(_) => return Err(Refused::Comparing { view: view() }),
            None => {}
        }
        let rebuild = order.task.is_rebuild();
        let mut job = Job {
            task: order.task,
            generation: if rebuild { state.live.next() } else { state.live },
            phase: if rebuild { Phase::Clearing } else { Phase::Verifying },
            since: now,
            schema,
            rate: order.rate,
            segments: Vec::new(),
            differences: 0,
            repaired: 0,
            examples: Vec::new(),
            started_at: now,
            updated_at: now,
            stopped: None,
        };
        job.restart(order.segments);
        Ok(job)
    }

    /// A rebuild that is under way, as it goes on. What was asked for when it began (to verify, a rate) is not forgotten
    /// when it is joined without a word of it.
    fn joined(&self, job: &Job, order: &Order, now: Timestamp) -> Job {
        let schema = self.view.schema();
        let mut joined = Job { rate: order.rate.or(job.rate), stopped: None, updated_at: now, ..job.clone() };
        if !job.phase.is_before_switch() {
            return joined;
        }
        if order.task == Task::RebuildAndVerify {
            joined.task = order.task;
        }
        let unverified = job.phase == Phase::Settling && job.task != joined.task;
        if job.schema != schema {
            joined.schema = schema;
            joined.restart(order.segments);
            joined.enter(Phase::Clearing, now);
        } else if unverified || job.phase == Phase::Verifying && job.stopped.is_some() {
            // What was found stopped it, or nobody looked: now it is looked for.
            (joined.differences, joined.examples) = (0, Vec::new());
            joined.restart(u32::try_from(job.segments.len()).unwrap_or(order.segments));
            joined.enter(Phase::Verifying, now);
        }
        joined
    }

    /// Takes the job on to the next phase, if this one is done.
    ///
    /// # Errors
    /// [`RebuildError`]; what cannot be helped by a retry is also written into the registry.
    pub async fn advance(&self) -> Result<Next, RebuildError> {
        let state = self.registry.get(self.view.view()).await?;
        let Some(job) = state.job else { return Ok(Next::Over(Phase::Done)) };
        let next = self.phase(&job).await;
        if let Err(RebuildError::BadEvent(why) | RebuildError::Broken(why)) = &next {
            self.stop(&job, why).await?;
        }
        next
    }

    /// Whether this code may go on with a job: rows of two schemas are not for one generation.
    fn is_of_this_schema(&self, job: &Job) -> Result<(), RebuildError> {
        let (view, ours, its) = (self.view.view(), self.view.schema(), job.schema);
        match its.cmp(&ours) {
            _ if !job.phase.is_before_switch() => Ok(()),
            Ordering::Equal => Ok(()),
            Ordering::Less => Err(RebuildError::Broken(format!(
                "rows of {view} are of schema {ours} since a deployment, and this began with schema {its}: begin anew"
            ))),
            Ordering::Greater => Err(RebuildError::Passing(format!(
                "newer code began this: rows of {view} are of schema {its}, and this worker knows {ours}"
            ))),
        }
    }

    async fn phase(&self, job: &Job) -> Result<Next, RebuildError> {
        if job.phase.is_over() {
            return Ok(Next::Over(job.phase));
        }
        if let Some(why) = &job.stopped {
            return Ok(Next::Stopped(why.clone()));
        }
        self.is_of_this_schema(job)?;
        let all_done = || job.segments.iter().all(|segment| segment.at == At::End);
        let left = || {
            let left = (0u32..).zip(&job.segments).filter(|(_, segment)| segment.at != At::End);
            left.map(|(index, _)| index).collect()
        };
        match job.phase {
            // Begun anew: whoever feeds it has to hear first that it is no longer fed.
            Phase::Clearing if job.since != job.started_at && self.pause(job.since).is_some() => {
                Ok(Next::Wait(self.pause(job.since).unwrap_or_default()))
            }
            Phase::Clearing => self.emptied(job, job.generation, Phase::Feeding).await,
            Phase::Feeding => self.after_grace(job, Phase::Filling).await,
            Phase::Filling | Phase::Verifying if !all_done() => Ok(Next::Segments(left())),
            Phase::Filling => match job.task {
                Task::RebuildAndVerify => self.enter(job, Phase::Verifying).await,
                Task::Rebuild | Task::Verify | Task::Repair => self.enter(job, Phase::Settling).await,
            },
            Phase::Verifying if !job.task.is_rebuild() => self.enter(job, Phase::Done).await,
            Phase::Verifying if job.differences > 0 => {
                let why = format!(
                    "{} rows of generation {} are other than their events make them, for example: {}",
                    job.differences,
                    job.generation,
                    job.examples.join("; ")
                );
                self.stop(job, &why).await?;
                Ok(Next::Stopped(why))
            }
            Phase::Verifying => self.enter(job, Phase::Settling).await,
            Phase::Settling => self.after_grace(job, Phase::Switched).await,
            Phase::Switched => self.after_grace(job, Phase::Retiring).await,
            Phase::Retiring => self.after_grace(job, Phase::Emptying).await,
            Phase::Emptying => self.emptied(job, job.generation.previous(), Phase::Done).await,
            Phase::Cancelling => match self.pause(job.since) {
                Some(pause) => Ok(Next::Wait(pause)),
                None => self.emptied(job, job.generation, Phase::Cancelled).await,
            },
            Phase::Done | Phase::Cancelled => Ok(Next::Over(job.phase)),
        }
    }

    /// What is left of [`GRACE`].
    fn pause(&self, since: Timestamp) -> Option<Duration> {
        let passed = Duration::try_from(self.ports.clock.now().duration_since(since)).unwrap_or_default();
        GRACE.checked_sub(passed).filter(|pause| !pause.is_zero())
    }

    async fn after_grace(&self, job: &Job, next: Phase) -> Result<Next, RebuildError> {
        match self.pause(job.since) {
            Some(pause) => Ok(Next::Wait(pause)),
            None => self.enter(job, next).await,
        }
    }

    /// Goes on to a phase, if nobody did that, or stopped or cancelled the job, meanwhile.
    async fn enter(&self, job: &Job, to: Phase) -> Result<Next, RebuildError> {
        let mut entered = false;
        change(&*self.registry, &self.ports, self.view.view(), |state| {
            entered = false;
            let live = &mut state.live;
            let Some(stored) = state.job.as_mut().filter(|stored| stored.is_same_step(job)) else {
                return false;
            };
            if to == Phase::Verifying {
                let segments = u32::try_from(stored.segments.len()).unwrap_or(Order::MAX_SEGMENTS);
                stored.restart(segments);
            }
            if to == Phase::Switched {
                *live = stored.generation;
            }
            // Each time it is tried: a pause is counted from here.
            stored.enter(to, self.ports.clock.now());
            entered = true;
            true
        })
        .await?;
        if entered {
            tracing::info!(view = self.view.view(), from = %job.phase, %to, "rebuild goes on");
        }
        Ok(Next::Wait(Duration::ZERO))
    }

    /// Removes rows for as long as the budget allows, and goes on when none is left.
    async fn emptied(&self, job: &Job, generation: Generation, to: Phase) -> Result<Next, RebuildError> {
        let began = self.ports.clock.now();
        loop {
            if self.view.clear(generation).await? {
                return self.enter(job, to).await;
            }
            // Somebody else may be done with it, and the table be filled again.
            let state = self.registry.get(self.view.view()).await?;
            if !state.job.is_some_and(|stored| stored.is_same_step(job)) || self.spent(began) {
                return Ok(Next::Again);
            }
        }
    }

    fn spent(&self, began: Timestamp) -> bool {
        let spent = self.ports.clock.now().duration_since(began);
        Duration::try_from(spent).is_ok_and(|spent| spent >= self.limits.budget)
    }

    /// Gives a rebuild or a comparison up. What was built is removed in the next steps.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn cancel(&self) -> Result<ViewState, Refused> {
        let view = self.view.view();
        let mut refused = None;
        let state = change(&*self.registry, &self.ports, view, |state| {
            refused = None;
            let now = self.ports.clock.now();
            let Some(job) = state.job.as_mut().filter(|job| !job.phase.is_over()) else {
                refused = Some(Refused::NothingToCancel { view: view.to_owned() });
                return false;
            };
            match job.phase {
                Phase::Cancelling if job.stopped.is_none() => return false,
                Phase::Cancelling => {}
                phase if !phase.is_before_switch() => {
                    refused = Some(Refused::TooLate { view: view.to_owned(), phase });
                    return false;
                }
                // A comparison leaves nothing behind.
                _ if !job.task.is_rebuild() => job.enter(Phase::Cancelled, now),
                _ => job.enter(Phase::Cancelling, now),
            }
            job.stopped = None;
            true
        })
        .await?;
        refused.map_or(Ok(state), Err)
    }

    /// Writes down why a job cannot go on; not of another one that has come in its place.
    async fn stop(&self, job: &Job, why: &str) -> Result<(), RebuildError> {
        tracing::error!(view = self.view.view(), why, "rebuild stopped");
        change(&*self.registry, &self.ports, self.view.view(), |state| {
            let Some(stored) = state.job.as_mut().filter(|stored| stored.is_same_step(job)) else {
                return false;
            };
            (stored.stopped, stored.updated_at) = (Some(why.to_owned()), self.ports.clock.now());
            true
        })
        .await?;
        Ok(())
    }

    /// Does the work of one segment, for as long as the budget allows. What no retry helps with, such as a bad event, stops the
    /// whole job, and the registry names it; the segment is then over.
    ///
    /// # Errors
    /// [`RebuildError::Passing`].
    pub async fn segment(&self, index: u32) -> Result<SegmentDone, RebuildError> {
        let state = self.registry.get(self.view.view()).await?;
        let Some(at_work) = AtWork::of(&state, index) else { return Ok(SegmentDone::Yes) };
        let job = at_work.job.clone();
        match self.work(at_work).await {
            Err(RebuildError::BadEvent(why) | RebuildError::Broken(why)) => {
                self.stop(&job, &why).await?;
                Ok(SegmentDone::Yes)
            }
            done => done,
        }
    }

    async fn work(&self, mut at_work: AtWork) -> Result<SegmentDone, RebuildError> {
        self.is_of_this_schema(&at_work.job)?;
        let began = self.ports.clock.now();
        let mut checkpoint = began;
        loop {
            let page_began = self.ports.clock.now();
            let events_before = at_work.now.events;
            self.page(&mut at_work, began).await?;
            self.pace(&at_work, at_work.now.events - events_before, page_began).await;
            let ended = at_work.now.at == At::End || self.spent(began);
            let now = self.ports.clock.now();
            let due = Duration::try_from(now.duration_since(checkpoint)).unwrap_or_default();
            if !ended && due < self.limits.checkpoint {
                continue;
            }
            checkpoint = now;
            at_work = match self.write_down(at_work).await? {
                Some(at_work) if at_work.now.at == At::End => return Ok(SegmentDone::Yes),
                Some(_) if ended => return Ok(SegmentDone::No),
                Some(at_work) => at_work,
                None => return Ok(SegmentDone::Yes),
            };
        }
    }

    /// Writes down how far a segment is; answers where to go on: where somebody else came to, if that is further. `None` when the
    /// job is no longer in that phase.
    async fn write_down(&self, at_work: AtWork) -> Result<Option<AtWork>, RebuildError> {
        let AtWork { job, index, .. } = &at_work;
        let state = change(&*self.registry, &self.ports, self.view.view(), |state| {
            let Some(stored) = state.job.as_mut().filter(|stored| stored.is_same_work(job)) else {
                return false;
            };
            let Some(segment) = stored.segments.get_mut(*index as usize) else { return false };
            if segment.steps != at_work.read.steps || segment.steps == at_work.now.steps {
                return false;
            }
            *segment = at_work.now.clone();
            stored.differences += at_work.differences;
            stored.repaired += at_work.repaired;
            stored.examples.extend(at_work.examples.iter().cloned());
            stored.examples.truncate(EXAMPLES);
            stored.updated_at = self.ports.clock.now();
            true
        })
        .await?;
        let again = AtWork::of(&state, *index);
        Ok(again.filter(|again| again.job.is_same_work(job)))
    }

    /// One page, or as much of it as there is time for.
    async fn page(&self, at_work: &mut AtWork, began: Timestamp) -> Result<(), RebuildError> {
        let total = u32::try_from(at_work.job.segments.len()).unwrap_or(1);
        let segment = Segment { index: at_work.index, total };
        let verifying = at_work.job.phase == Phase::Verifying;
        let next = match at_work.now.at.clone() {
            At::Start => self.commits(at_work, segment, None, began).await?,
            At::Commit { stream, version } => {
                self.commits(at_work, segment, Some((stream, version)), began).await?
            }
            At::Rows => self.rows(at_work, segment, None).await?,
            At::Row { id } => self.rows(at_work, segment, Some(&id)).await?,
            At::End => At::End,
        };
        // Rows without events are looked for when all events are compared.
        at_work.now.at = if next == At::Rows && !verifying { At::End } else { next };
        at_work.now.steps += 1;
        Ok(())
    }

    async fn commits(
        &self,
        at_work: &mut AtWork,
        segment: Segment,
        after: Option<(StreamId, Version)>,
        began: Timestamp,
    ) -> Result<At, RebuildError> {
        // Of a view that few commits are about, a page of a few would take longer than the rate asks for.
        let paced = |share: u32| share.saturating_mul(5).max(PACED_PAGE).min(self.limits.page);
        let limit = at_work.share().map_or(self.limits.page, paced);
        let page = self.events.scan(segment, after.as_ref(), Some(limit)).await?;
        let at_a_time = match at_work.job.phase {
            Phase::Verifying => COMPARED_BETWEEN_LOOKS,
            _ => self.view.at_a_time().max(1),
        };
        let mut left = page.commits.chunks(at_a_time).peekable();
        while let Some(commits) = left.next() {
            let ours: Vec<&Commit> =
                commits.iter().filter(|commit| self.view.follows(&commit.stream)).collect();
            match at_work.job.phase {
                Phase::Verifying => self.compare(at_work, &ours).await?,
                _ => {
                    let events: Vec<Envelope> = ours.iter().flat_map(|commit| commit.envelopes()).collect();
                    self.view.fill(at_work.job.generation, &events).await?;
                }
            }
            at_work.now.commits += commits.len() as u64;
            at_work.now.events += ours.iter().map(|commit| commit.events.len() as u64).sum::<u64>();
            if let Some(last) = commits.last()
                && left.peek().is_some()
                && self.spent(began)
            {
                return Ok(At::Commit { stream: last.stream.clone(), version: last.version });
            }
        }
        self.unreadable(at_work, &page.unreadable)?;
        Ok(page.after.map_or(At::Rows, |(stream, version)| At::Commit { stream, version }))
    }

    /// What cannot be read stops a rebuild, as an event does that cannot be applied, and of a comparison it is a finding; unless it
    /// is of a stream that is none of the view's.
    fn unreadable(&self, at_work: &mut AtWork, items: &[Unreadable]) -> Result<(), RebuildError> {
        let ours = |item: &&Unreadable| item.stream.as_ref().is_none_or(|stream| self.view.follows(stream));
        for Unreadable { version, why, .. } in items.iter().filter(ours) {
            if at_work.job.task.is_rebuild() {
                return Err(RebuildError::BadEvent(why.clone()));
            }
            // Further on in its stream, the comparison of that meets it.
            if version.is_none_or(|version| version <= Version::FIRST) {
                at_work.found(Some(why.clone()), false);
            }
        }
        Ok(())
    }

    /// Compares the streams that begin with one of these commits, with all that follows in them, wherever it lies.
    async fn compare(&self, at_work: &mut AtWork, commits: &[&Commit]) -> Result<(), RebuildError> {
        // What was committed before a rebuild began the scan has brought in; later events are the live tail's.
        let settled = match at_work.job.task.is_rebuild() {
            true => at_work.job.started_at,
            false => self.ports.clock.now().checked_sub(SETTLED).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        let (generation, repair) = (at_work.job.generation, at_work.job.task == Task::Repair);
        let first = commits.iter().filter(|commit| commit.version == Version::FIRST);
        let comparisons: Vec<BoxFuture<'_, _>> =
            first.map(|commit| self.view.compare(generation, &commit.stream, settled, repair)).collect();
        let mut compared = stream::iter(comparisons).buffered(COMPARED_AT_A_TIME);
        while let Some(found) = compared.next().await {
            match found {
                Ok(found) => at_work.found(found, repair),
                // Of a comparison, one bad event is one of its findings, and the other rows are to be compared too.
                Err(RebuildError::BadEvent(why)) if !at_work.job.task.is_rebuild() => {
                    at_work.found(Some(why), false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn rows(
        &self,
        at_work: &mut AtWork,
        segment: Segment,
        after: Option<&str>,
    ) -> Result<At, RebuildError> {
        let repair = at_work.job.task == Task::Repair;
        let Strays { found, after } =
            self.view.strays(at_work.job.generation, segment, after, repair).await?;
        found.into_iter().for_each(|Stray { what, repaired }| at_work.found(Some(what), repaired));
        Ok(after.map_or(At::End, |id| At::Row { id }))
    }

    /// Waits as long as these events may take at the least.
    async fn pace(&self, at_work: &AtWork, events: u64, began: Timestamp) {
        let Some(share) = at_work.share() else { return };
        let least = Duration::from_secs_f64(events as f64 / f64::from(share));
        let took = Duration::try_from(self.ports.clock.now().duration_since(began)).unwrap_or_default();
        if let Some(pause) = least.checked_sub(took).filter(|pause| !pause.is_zero()) {
            self.ports.timer.sleep(pause.min(LONGEST_PAUSE)).await;
        }
    }
}

impl Job {
    /// Whether that job is this one, in the same phase of the same attempt, and not stopped: what a worker that was slow has
    /// to say of a job that is over does not concern the next one.
    fn is_same_step(&self, other: &Job) -> bool {
        self.phase == other.phase
            && self.since == other.since
            && self.generation == other.generation
            && self.schema == other.schema
            && self.started_at == other.started_at
            && self.stopped.is_none()
    }

    /// Whether a segment of that job is one of this.
    fn is_same_work(&self, other: &Job) -> bool {
        self.is_same_step(other) && self.segments.len() == other.segments.len()
    }
}

/// A segment that is worked on.
struct AtWork {
    job: Job,
    index: u32,
    /// As it was read.
    read: SegmentState,
    /// As it is now.
    now: SegmentState,
    /// Found since it was read.
    differences: u64,
    repaired: u64,
    examples: Vec<String>,
}

impl AtWork {
    /// `None` when there is nothing to do.
    fn of(state: &ViewState, index: u32) -> Option<Self> {
        let job = state.under_way().filter(|job| job.stopped.is_none())?;
        if !matches!(job.phase, Phase::Filling | Phase::Verifying) {
            return None;
        }
        let read = job.segments.get(index as usize)?.clone();
        let now = read.clone();
        Some(Self { job: job.clone(), index, read, now, differences: 0, repaired: 0, examples: vec![] })
    }

    /// Events a second that this segment may apply.
    fn share(&self) -> Option<u32> {
        let segments = u32::try_from(self.job.segments.len()).unwrap_or(1).max(1);
        self.job.rate.map(|rate| (rate / segments).max(1))
    }

    fn found(&mut self, difference: Option<String>, repaired: bool) {
        let Some(difference) = difference else { return };
        self.differences += 1;
        self.repaired += u64::from(repaired);
        if self.examples.len() < EXAMPLES {
            self.examples.push(difference);
        }
    }
}
