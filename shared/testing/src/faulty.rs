//! A commit log that does to a writer what networks and other writers do.
//!
//! Scripted faults come first, one per call and in order; then, for a log made by
//! [`FaultyLog::seeded`], faults by chance; then the log behind, as it is.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use event_store::{AppendError, CommitLog, NewCommit, Page, ScanPage, Segment, StoreError};
use kernel::{StreamId, Version};

use crate::random::Seeded;

/// What befalls one append.
pub enum OnAppend {
    /// Nothing.
    Healthy,
    /// It is written, but the answer is lost.
    AnswerLost,
    /// The request is lost: nothing is written, and the writer cannot know.
    RequestLost,
    /// The request is held up: the writer gets no answer, and it arrives when
    /// [`FaultyLog::deliver_late`] is called.
    Late,
    /// It is turned away before the write, and may be tried again.
    Throttled,
    /// It is turned away for good (permissions).
    Denied,
    /// This happens first, for example another writer's commit; then the append goes on.
    After(Interlude),
}

/// Something that happens between a writer's read and its write.
pub type Interlude = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl OnAppend {
    /// Lets `interlude` happen first.
    pub fn after<F>(interlude: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::After(Box::new(move || Box::pin(interlude())))
    }
}

impl fmt::Debug for OnAppend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "Healthy",
            Self::AnswerLost => "AnswerLost",
            Self::RequestLost => "RequestLost",
            Self::Late => "Late",
            Self::Throttled => "Throttled",
            Self::Denied => "Denied",
            Self::After(_) => "After(..)",
        })
    }
}

/// What befalls one read of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRead {
    /// Nothing.
    Healthy,
    /// The table does not answer.
    Fails,
    /// The answer is cut after this many commits, as DynamoDB cuts it after 1 MB.
    CutAfter(usize),
}

/// Probabilities of faults, each from 0.0 to 1.0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Chances {
    /// That an append is written and its answer lost.
    pub answer_lost: f64,
    /// That an append's request is lost.
    pub request_lost: f64,
    /// That an append is turned away before the write.
    pub throttled: f64,
    /// That a read fails.
    pub read_fails: f64,
}

/// Calls that were made, faulty ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Appends.
    pub appends: u64,
    /// Reads of a stream: one per page.
    pub reads: u64,
    /// Pages scanned.
    pub scans: u64,
    /// Commits that reads and scans returned.
    pub commits_read: u64,
}

/// A log with faults. Clones share one script and one count.
#[derive(Clone)]
pub struct FaultyLog {
    inner: Arc<dyn CommitLog>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    appends: VecDeque<OnAppend>,
    reads: VecDeque<OnRead>,
    late: Vec<NewCommit>,
    by_chance: Option<(Seeded, Chances)>,
    calls: Calls,
}

impl FaultyLog {
    /// The log, healthy until a script says otherwise.
    pub fn new(inner: Arc<dyn CommitLog>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// The log, with faults by chance: the same seed and the same calls meet the same faults.
    pub fn seeded(inner: Arc<dyn CommitLog>, seed: u64, chances: Chances) -> Self {
        let log = Self::new(inner);
        log.state().by_chance = Some((Seeded::new(seed), chances));
        log
    }

    /// What befalls the next appends, in order.
    pub fn on_append(&self, script: impl IntoIterator<Item = OnAppend>) {
        self.state().appends.extend(script);
    }

    /// What befalls the next reads, in order.
    pub fn on_read(&self, script: impl IntoIterator<Item = OnRead>) {
        self.state().reads.extend(script);
    }

    /// Forgets what is left of the scripts.
    pub fn heal(&self) {
        let mut state = self.state();
        state.appends.clear();
        state.reads.clear();
    }

    /// Lets the requests that were held up arrive, in order, and says how many were written; the
    /// others found their key taken. Nobody waits for the answers any more.
    pub async fn deliver_late(&self) -> usize {
        let late = std::mem::take(&mut self.state().late);
        let mut written = 0;
        for commit in &late {
            written += usize::from(self.inner.append(commit).await.is_ok());
        }
        written
    }

    /// The calls since the last time this was asked.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.state().calls)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn next_append(&mut self) -> OnAppend {
        if let Some(scripted) = self.appends.pop_front() {
            return scripted;
        }
        let Some((random, chances)) = &mut self.by_chance else { return OnAppend::Healthy };
        let drawn = random.unit();
        let lost = chances.answer_lost + chances.request_lost;
        match drawn {
            _ if drawn < chances.answer_lost => OnAppend::AnswerLost,
            _ if drawn < lost => OnAppend::RequestLost,
            _ if drawn < lost + chances.throttled => OnAppend::Throttled,
            _ => OnAppend::Healthy,
        }
    }

    fn next_read(&mut self) -> OnRead {
        if let Some(scripted) = self.reads.pop_front() {
            return scripted;
        }
        let fails =
            self.by_chance.as_mut().is_some_and(|(random, chances)| random.chance(chances.read_fails));
        if fails { OnRead::Fails } else { OnRead::Healthy }
    }
}

fn unavailable(operation: &'static str, why: &str) -> StoreError {
    StoreError::Unavailable { operation, why: why.to_owned() }
}

#[async_trait]
impl CommitLog for FaultyLog {
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError> {
        let fault = {
            let mut state = self.state();
            state.calls.appends += 1;
            let fault = state.next_append();
            if matches!(fault, OnAppend::Late) {
                state.late.push(commit.clone());
            }
            fault
        };
        match fault {
            OnAppend::Healthy => self.inner.append(commit).await,
            OnAppend::AnswerLost => {
                // Whatever the answer was, it is lost.
                let _ = self.inner.append(commit).await;
                Err(AppendError::Unknown(unavailable("PutItem", "the answer was lost")))
            }
            OnAppend::RequestLost => {
                Err(AppendError::Unknown(unavailable("PutItem", "the request was lost")))
            }
            OnAppend::Late => Err(AppendError::Unknown(unavailable("PutItem", "the request timed out"))),
            OnAppend::Throttled => {
                Err(AppendError::Store(unavailable("PutItem", "ThrottlingException: slow down")))
            }
            OnAppend::Denied => Err(AppendError::Store(StoreError::Refused {
                operation: "PutItem",
                why: "AccessDeniedException: not allowed".to_owned(),
            })),
            OnAppend::After(interlude) => {
                interlude().await;
                self.inner.append(commit).await
            }
        }
    }

    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError> {
        let fault = {
            let mut state = self.state();
            state.calls.reads += 1;
            state.next_read()
        };
        if fault == OnRead::Fails {
            return Err(unavailable("Query", "the table does not answer"));
        }
        let mut page = self.inner.newest(stream, upto, limit).await?;
        // A log in memory answers at once; a network lets others go first between a read and a write.
        tokio::task::yield_now().await;
        if let OnRead::CutAfter(most) = fault
            && page.commits.len() > most
        {
            page.commits.truncate(most);
            page.more = true;
        }
        self.state().calls.commits_read += page.commits.len() as u64;
        Ok(page)
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        self.state().calls.scans += 1;
        let page = self.inner.scan(segment, after, limit).await?;
        self.state().calls.commits_read += page.commits.len() as u64;
        Ok(page)
    }
}
