//! The registry of views: which generation of each is live, and what is being done to it.
//!
//! One item per view, written only over exactly what was read ([`ViewState::revision`]), so that workers of many segments, a
//! cancellation and a second rebuild of the same view merge without locks. A view that was never rebuilt has no item: its first
//! generation is live, and nothing has to be seeded.

mod dynamo;
mod memory;

use std::fmt;

use async_trait::async_trait;
use kernel::{StreamId, Timestamp, Version, ports::Backoff, ports::Ports};
use serde::{Deserialize, Serialize};

pub use dynamo::{DynamoRegistry, create_registry};
pub use memory::MemoryRegistry;

use crate::store::{Put, ViewError};

/// Pauses between attempts on an item that others write at the same time: a dozen segments write theirs once a second.
const BACKOFF: Backoff = Backoff {
    base: std::time::Duration::from_millis(20),
    cap: std::time::Duration::from_millis(500),
    retries: 12,
};

/// What the registry is called in errors.
pub(crate) const REGISTRY: &str = "views";

/// Where the state of all views is kept. [`DynamoRegistry`] and [`MemoryRegistry`] implement it; one set of tests holds both to
/// the same behaviour.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The state of a view, read consistently; of a view without an item, [`ViewState::new`].
    ///
    /// # Errors
    /// [`ViewError`].
    async fn get(&self, view: &str) -> Result<ViewState, ViewError>;

    /// Writes a state, if what is stored is still of its [`ViewState::revision`]; stored is the next revision.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] it may have been written.
    async fn put(&self, state: &ViewState) -> Result<Put, ViewError>;

    /// The states of all views that have an item, by name.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn all(&self) -> Result<Vec<ViewState>, ViewError>;
}

/// A generation of a view's rows; the first is 1. Odd ones share one table, even ones the other: each is empty before its
/// turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u32);

impl Generation {
    /// The one of a view that was never rebuilt.
    pub const FIRST: Generation = Generation(1);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before this; the first has none and is its own.
    #[must_use]
    pub const fn previous(self) -> Self {
        if self.0 > 1 { Self(self.0 - 1) } else { self }
    }

    /// Whether it is kept in the table of the odd generations.
    pub const fn is_odd(self) -> bool {
        self.0 % 2 == 1
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewState {
    /// Its name, for example `orders`.
    pub view: String,
    /// How often it was written; the optimistic lock on it.
    pub revision: u64,
    /// The generation that queries read.
    pub live: Generation,
    /// What is being done to it, or was last.
    pub job: Option<Job>,
}

impl ViewState {
    /// The state of a view that was never rebuilt.
    pub fn new(view: impl Into<String>) -> Self {
        Self { view: view.into(), revision: 0, live: Generation::FIRST, job: None }
    }

    /// The job that is not over yet.
    pub fn under_way(&self) -> Option<&Job> {
        self.job.as_ref().filter(|job| !job.phase.is_over())
    }

    /// Which generations there are to read and to feed, as this state has it.
    pub fn fed(&self) -> Fed {
        let also = self.under_way().and_then(|job| match job.phase {
            Phase::Feeding | Phase::Filling | Phase::Settling => Some(job.generation),
            Phase::Verifying => Some(job.generation).filter(|generation| *generation != self.live),
            Phase::Switched => Some(self.live.previous()),
            Phase::Clearing
            | Phase::Retiring
            | Phase::Emptying
            | Phase::Cancelling
            | Phase::Done
            | Phase::Cancelled => None,
        });
        Fed { live: self.live, also }
    }
}

/// Which generations of a view there are to read and to feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Queries read it, events go to it.
    pub live: Generation,
    /// Events go to it as well: it is being built, or somebody may still read it.
    pub also: Option<Generation>,
}

/// What is done to a view: a rebuild, or a comparison with its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// What it is.
    pub task: Task,
    /// The generation it is about: for a rebuild the next one, for a comparison the live one.
    pub generation: Generation,
    /// How far it is.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since: Timestamp,
    /// [`crate::Projection::SCHEMA`] of the code that began it.
    pub schema: u16,
    /// Events a second, over all segments; `None` for as many as can be.
    pub rate: Option<u32>,
    /// The parts of the event table, and how far each is.
    pub segments: Vec<SegmentState>,
    /// Rows that were found to be other than their events make them.
    pub differences: u64,
    /// Differences that were repaired.
    pub repaired: u64,
    /// The first of them, in words.
    pub examples: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub updated_at: Timestamp,
    /// Why it stopped: it names the event, or the rows. It goes on when it is begun again.
    pub stopped: Option<String>,
}

/// Differences that are told in words; the others are only counted.
pub(crate) const EXAMPLES: usize = 10;

impl Job {
    /// Events that were applied or compared so far.
    pub fn events(&self) -> u64 {
        self.segments.iter().map(|segment| segment.events).sum()
    }

    /// Commits of the event table that were read so far, of whatever category.
    pub fn commits(&self) -> u64 {
        self.segments.iter().map(|segment| segment.commits).sum()
    }

    /// Enters a phase.
    pub(crate) fn enter(&mut self, phase: Phase, now: Timestamp) {
        (self.phase, self.since, self.updated_at) = (phase, now, now);
    }

    /// Begins all segments anew.
    pub(crate) fn restart(&mut self, segments: u32) {
        self.segments = (0..segments).map(|_| SegmentState::default()).collect();
    }
}

/// What a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// The next generation is built and takes the place of the live one.
    Rebuild,
    /// The same, and every row is compared with its events before.
    RebuildAndVerify,
    /// The live generation is compared with the events.
    Verify,
    /// The same, and what differs is put right.
    Repair,
}

impl Task {
    /// Whether it builds a generation.
    pub fn is_rebuild(self) -> bool {
        matches!(self, Self::Rebuild | Self::RebuildAndVerify)
    }
}

/// How far a job is. Every change of what is fed is followed by a pause of [`crate::GRACE`], in which all who read the registry
/// hear of it, before the next step relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// What an earlier attempt left in the next generation's table is removed. Nobody feeds it.
    Clearing,
    /// Events go to the next generation, too; not everybody may know it yet.
    Feeding,
    /// The event table is read into the next generation.
    Filling,
    /// Rows are compared with their events.
    Verifying,
    /// What was written last is on its way to the indexes, which queries read as well.
    Settling,
    /// Queries read the next generation. Both are fed, for those who do not know it yet.
    Switched,
    /// Only the new generation is fed; somebody may still feed the old one.
    Retiring,
    /// The rows of the old generation are removed.
    Emptying,
    /// It is given up: nobody is to feed the next generation any more, and its rows are removed.
    Cancelling,
    /// It is done.
    Done,
    /// It was given up, and nothing is left of it.
    Cancelled,
}

impl Phase {
    /// Whether nothing follows.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// Whether queries still read the old generation, so that all can be undone.
    pub fn is_before_switch(self) -> bool {
        matches!(self, Self::Clearing | Self::Feeding | Self::Filling | Self::Verifying | Self::Settling)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clearing => "clearing",
            Self::Feeding => "feeding",
            Self::Filling => "filling",
            Self::Verifying => "verifying",
            Self::Settling => "settling",
            Self::Switched => "switched",
            Self::Retiring => "retiring",
            Self::Emptying => "emptying",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        })
    }
}

/// How far one segment is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentState {
    /// Where to go on.
    pub at: At,
    /// Steps that were done: of two workers on one segment, the one that is behind takes over from the other.
    pub steps: u64,
    /// Commits read, of whatever category.
    pub commits: u64,
    /// Events of this view among them.
    pub events: u64,
}

/// A place in a segment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum At {
    /// At the first commit.
    #[default]
    Start,
    /// After this commit.
    Commit {
        /// Its stream.
        stream: StreamId,
        /// Its first version.
        version: Version,
    },
    /// At the first row of the view: a comparison looks for rows without events, too.
    Rows,
    /// After this row.
    Row {
        /// Its id.
        id: String,
    },
    /// At the end.
    End,
}

/// Why a change of a view's state was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The registry failed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Others wrote it at the same time, in every attempt.
    #[error("others changed the state of view {view} at the same time, {attempts} times over")]
    Contended {
        /// The view.
        view: String,
        /// How often it was tried.
        attempts: u32,
    },
}

/// Changes the state of a view, again on every state that others put in between; answers what is stored then. `change` says
/// whether there is anything to change, and has to bear being made twice: a lost answer is one.
///
/// # Errors
/// [`ChangeError`].
pub async fn change(
    registry: &dyn Registry,
    ports: &Ports,
    view: &str,
    mut change: impl FnMut(&mut ViewState) -> bool + Send,
) -> Result<ViewState, ChangeError> {
    for attempt in 0..=BACKOFF.retries {
        let mut state = registry.get(view).await?;
        if !change(&mut state) {
            return Ok(state);
        }
        match registry.put(&state).await? {
            Put::Written => return Ok(ViewState { revision: state.revision + 1, ..state }),
            Put::Conflict => ports.timer.sleep(BACKOFF.pause(attempt, &*ports.random)).await,
        }
    }
    Err(ChangeError::Contended { view: view.to_owned(), attempts: BACKOFF.retries + 1 })
}
