//! The few verbs of the event store: `load`, `transact`, `load_at`, `events_after`, `scan`.

use std::{future::ready, sync::Arc, time::Duration};

use contracts::Envelope;
use jiff::SignedDuration;
use kernel::{
    Aggregate, CommandId, CommandMeta, CommandStamp, Event, PayloadHash, RawEvent, Refusal, StreamId,
    Timestamp, Version,
    aggregate::fold,
    ports::{Backoff, Ports},
};
use serde::Serialize;

use crate::{
    commit::{Commit, CommittedEvent, NewCommit, Snapshot},
    log::{AppendError, CommitLog, Page, ScanPage, Segment, StoreError},
};

/// A commit carries a snapshot when more commits than this would otherwise have to be read. It is also the
/// limit of a load's query, and how far back repeats of a command are recognised.
///
/// Ten: a load stays within 3 read units (12 KB: nine commits of 1 KB and one with a snapshot of 2 KB), and
/// a snapshot that makes its commit two units costs a tenth more writes (docs/decisions/0004).
/// Source: `cargo bench -p event-store`.
pub const SNAPSHOT_EVERY: u32 = 10;

/// How often a command is decided again after it lost a race.
pub const MAX_REDECISIONS: u32 = 3;

/// Pauses between decisions. A round trip to DynamoDB takes some 5 ms, so the winner has mostly
/// finished when the loser comes back.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(200), retries: MAX_REDECISIONS };

/// Commits per request when a stream is read beyond a load's first page. DynamoDB cuts a page at
/// 1 MB anyway; this keeps single answers small in memory.
const HISTORY_PAGE: u32 = 1000;

/// Longest time by which a stream's last commit may be ahead of a writer's clock and still be carried on to
/// its commit.
///
/// Clocks of functions differ by milliseconds, so a day is a broken clock. One commit of it must not date all
/// later ones.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Commits in the first page of a past. Half of it is the last step of a search by time, the other half
/// reaches back to the nearest snapshot, so most pasts of most streams are one request.
const PAST_PAGE: u32 = 2 * SNAPSHOT_EVERY;

/// Versions among which a search by time stops halving, because one page reads all their commits.
const SEARCHED_AT_ONCE: u64 = SNAPSHOT_EVERY as u64;

/// The end of a stream as it was really seen. Only a load that saw every commit since the last
/// snapshot, without a gap, makes one; so what is committed after it cannot leave a gap either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    stream: StreamId,
    next: Version,
}

impl Head {
    /// The head of a stream that is asserted to be new. If it is not, the append is refused.
    pub fn new_stream(stream: StreamId) -> Self {
        Self { stream, next: Version::FIRST }
    }

    /// Version of the last event; [`Version::NONE`] for a new stream.
    pub fn version(&self) -> Version {
        self.next.previous()
    }

    /// The commit of `first` and `rest` after this head.
    pub fn commit(
        &self,
        first: RawEvent,
        rest: Vec<RawEvent>,
        hash: PayloadHash,
        meta: &CommandMeta,
        snapshot: Option<Snapshot>,
    ) -> NewCommit {
        let events: Vec<CommittedEvent> = std::iter::once(first)
            .chain(rest)
            .enumerate()
            .map(|(index, event)| CommittedEvent { id: meta.id.event_id(index), event })
            .collect();
        NewCommit(Commit {
            stream: self.stream.clone(),
            version: self.next,
            next: self.next.plus(events.len() as u64),
            events,
            command: CommandStamp { id: meta.id, hash },
            at: meta.at,
            actor: meta.actor.clone(),
            correlation: meta.correlation,
            causation: meta.causation,
            trace: meta.trace.clone(),
            attempt: meta.attempt,
            snapshot,
        })
    }
}

/// What a caller of [`EventStore::transact`] knows of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// That it does not exist: saves the read. If it does exist, the command is decided on what is there.
    New,
    /// That it stands at this version (`If-Match`).
    At(Version),
}

/// What a command led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<A: Aggregate> {
    /// The stream.
    pub stream: StreamId,
    /// Version of the stream after the command (after its first execution, for a repeat).
    pub version: Version,
    /// What this command decided, as it stands in its own commit: for a repeat, what its first execution decided,
    /// whatever happened since. Empty when there was nothing to do; nothing was written then, so a repeat of such
    /// a command is decided anew.
    pub events: Vec<A::Event>,
    /// The state after the command; for a repeat, the state as far as it was read to recognise it.
    pub state: Option<A>,
    /// Whether this was a repeat, answered with the first result; nothing was written.
    pub repeated: bool,
}

/// Why a command had no effect (or, for [`TransactError::Unknown`], perhaps had one).
#[derive(Debug, thiserror::Error)]
pub enum TransactError<R: Refusal> {
    /// The business says no.
    #[error("{0}")]
    Refused(R),
    /// The stream is not at the version that the caller expected.
    #[error("expected version {expected}, found {actual}")]
    VersionMismatch {
        /// What the caller expected.
        expected: Version,
        /// What there is.
        actual: Version,
    },
    /// The command id was used before, for another payload.
    #[error("this idempotency key was used before with another payload")]
    KeyReused,
    /// Other writers won every round.
    #[error("others changed {stream} at the same time, {attempts} times over")]
    Contended {
        /// The stream.
        stream: StreamId,
        /// How often the command was decided.
        attempts: u32,
    },
    /// Over the size limit; nothing was written.
    #[error("the commit is {bytes} bytes, more than the {limit} an item may have")]
    TooLarge {
        /// Size of the item.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The write may have happened. The same command id finds out.
    #[error("the outcome is unknown, repeat with the same command id: {0}")]
    Unknown(StoreError),
    /// The store failed; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which point of the past to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After this event.
    Version(Version),
    /// After the last commit that was made at or before this time. Found by bisection: some 15 requests for
    /// 20,000 commits, one for the last 20.
    ///
    /// A stream with a commit of a clock that was more than a day ahead has times that run backwards once.
    /// Then the answer is one of the states that the stream really had: after a commit made in time whose
    /// next commit, if any, was made too late. A stream that has not grown gives the same answer again.
    Time(Timestamp),
}

/// An aggregate as it was. It holds no [`Head`]: nobody writes into the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Past<A> {
    /// The state; `None` when the stream had not begun.
    pub state: Option<A>,
    /// Version of the last event that counts.
    pub version: Version,
    /// When that was committed.
    pub at: Option<Timestamp>,
}

/// The present, as one who writes nothing sees it.
impl<A> From<Loaded<A>> for Past<A> {
    fn from(loaded: Loaded<A>) -> Self {
        Self { version: loaded.head.version(), at: loaded.last_at, state: loaded.state }
    }
}

/// An aggregate as it is, and where its stream ends.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The state; `None` when nothing has happened.
    pub state: Option<A>,
    head: Head,
    /// Whether the table was really read, or "new" only asserted.
    seen: bool,
    /// Commits since (and with) the last snapshot: what the next load would read.
    unsnapped: u32,
    /// The commits that were read, in any order: repeats are recognised, and answered, by them.
    recent: Vec<Commit>,
    last_at: Option<Timestamp>,
}

impl<A: Aggregate> Loaded<A> {
    /// Version of the last event.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The end of the stream.
    pub fn head(&self) -> &Head {
        &self.head
    }

    fn new_stream(stream: StreamId) -> Self {
        Self {
            state: None,
            head: Head::new_stream(stream),
            seen: false,
            unsnapped: 0,
            recent: Vec::new(),
            last_at: None,
        }
    }

    /// The commit of an earlier execution of this command.
    fn earlier(&self, id: CommandId) -> Option<&Commit> {
        self.recent.iter().find(|commit| commit.command.id == id)
    }

    /// One commit further. The commit must start where the head ends.
    fn follow(mut self, commit: Commit) -> Result<Self, StoreError> {
        if commit.version != self.head.next {
            return Err(gap(&commit, self.head.next));
        }
        self.state = fold_commit(self.state, &commit, None)?;
        self.head.next = commit.next;
        self.unsnapped = if commit.snapshot.is_some() { 1 } else { self.unsnapped + 1 };
        self.last_at = Some(commit.at);
        self.recent.push(commit);
        Ok(self)
    }
}

fn gap(commit: &Commit, expected: Version) -> StoreError {
    let why = format!("expected a commit at version {expected}, found {}", commit.version);
    StoreError::corrupt(&commit.stream, commit.version, why)
}

/// Folds a commit's events up to and with version `upto`.
fn fold_commit<A: Aggregate>(
    state: Option<A>,
    commit: &Commit,
    upto: Option<Version>,
) -> Result<Option<A>, StoreError> {
    // Saturating: a caller may ask for a version as high as there is.
    let take = upto.map_or(usize::MAX, |upto| {
        upto.get().saturating_add(1).saturating_sub(commit.version.get()) as usize
    });
    let events = decoded::<A>(commit, take)?;
    fold::<A>(state, &events).map_err(|e| StoreError::corrupt(&commit.stream, commit.version, e.to_string()))
}

/// The first events of a commit, at most `take`.
fn decoded<A: Aggregate>(commit: &Commit, take: usize) -> Result<Vec<A::Event>, StoreError> {
    let corrupt = |why: String| StoreError::corrupt(&commit.stream, commit.version, why);
    let raw = commit.events.iter().take(take).map(|committed| &committed.event);
    raw.map(|raw| {
        A::Event::from_raw(&raw.event_type, raw.schema, &raw.data).map_err(|e| corrupt(e.to_string()))
    })
    .collect()
}

/// The state in a commit's snapshot, if it is of today's schema.
fn snapshot_state<A: Aggregate>(commit: &Commit) -> Option<A> {
    let snapshot = commit.snapshot.as_ref()?;
    if snapshot.schema != A::STATE_SCHEMA {
        return None;
    }
    match serde_json::from_value(snapshot.state.clone()) {
        Ok(state) => Some(state),
        Err(error) => {
            // Somebody changed the state's shape and forgot its schema version. The events are the truth.
            tracing::warn!(stream = %commit.stream, version = %commit.version, %error, "unreadable snapshot ignored");
            None
        }
    }
}

/// The event store over a log of commits. Cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    log: Arc<dyn CommitLog>,
    ports: Ports,
}

impl EventStore {
    /// The store over `log`.
    pub fn new(log: Arc<dyn CommitLog>, ports: Ports) -> Self {
        Self { log, ports }
    }

    /// Loads an aggregate: one consistent read, bounded however long the stream is.
    ///
    /// # Errors
    /// [`StoreError`]; also when a commit is missing or cannot be understood.
    pub async fn load<A: Aggregate>(&self, stream: &StreamId) -> Result<Loaded<A>, StoreError> {
        let mut newest_first: Vec<Commit> = Vec::new();
        let mut upto = Version::new(u64::MAX);
        let mut limit = SNAPSHOT_EVERY;
        let mut base = None;
        loop {
            let page = self.log.newest(stream, upto, Some(limit)).await?;
            for commit in page.commits {
                if let Some(newer) = newest_first.last()
                    && newer.version != commit.next
                {
                    return Err(gap(newer, commit.next));
                }
                if base.is_none() {
                    // Commits below the snapshot are kept for the sake of their command ids only.
                    base = snapshot_state::<A>(&commit).map(|state| (newest_first.len(), state));
                }
                newest_first.push(commit);
            }
            let oldest = newest_first.last().map(|c| c.version);
            match oldest {
                None => return Ok(Loaded { seen: true, ..Loaded::new_stream(stream.clone()) }),
                Some(Version::FIRST) => break,
                // A page that was cut at 1 MB must not narrow the window in which repeats are recognised.
                Some(_)
                    if base.is_some() && (newest_first.len() >= SNAPSHOT_EVERY as usize || !page.more) =>
                {
                    break;
                }
                Some(oldest) if !page.more => {
                    return Err(StoreError::corrupt(stream, oldest, "the stream's first commit is missing"));
                }
                Some(oldest) => {
                    upto = oldest.previous();
                    limit = match base {
                        Some(_) => SNAPSHOT_EVERY - newest_first.len() as u32,
                        None => HISTORY_PAGE,
                    };
                }
            }
        }
        let (from, mut state) = match base {
            Some((index, state)) => (index, Some(state)),
            None => (newest_first.len(), None),
        };
        for commit in newest_first[..from].iter().rev() {
            state = fold_commit(state, commit, None)?;
        }
        let last = &newest_first[0];
        Ok(Loaded {
            state,
            head: Head { stream: stream.clone(), next: last.next },
            seen: true,
            // With a snapshot, its own commit is read too; without, all were.
            unsnapped: u32::try_from((from + 1).min(newest_first.len())).unwrap_or(u32::MAX),
            last_at: Some(last.at),
            recent: newest_first,
        })
    }

    /// Carries out a command that says only what was asked: [`Self::transact_with`] with the command as its
    /// own request.
    ///
    /// # Errors
    /// See [`TransactError`].
    pub async fn transact<A: Aggregate<Command: Clone + Serialize>>(
        &self,
        stream: &StreamId,
        expect: Expect,
        command: &A::Command,
        meta: &CommandMeta,
    ) -> Result<Outcome<A>, TransactError<A::Refusal>> {
        self.transact_with(stream, expect, command, meta, |_| ready(Ok(command.clone()))).await
    }

    /// Carries out a request: load, look up, decide, commit. `command` gets the state that was just loaded,
    /// looks up the rest of what the decision needs, and makes the command. When another writer was faster,
    /// it runs again on what that writer left, at most [`MAX_REDECISIONS`] times.
    ///
    /// `request` is what the caller asked, and nothing that was looked up: the same `meta.id` again, for the
    /// same request, returns the first result, writes nothing and looks nothing up. With [`Expect::New`],
    /// which saves the read, a repeat is noticed only after the look-up, and its errors are kept back until
    /// then.
    ///
    /// `command` is a plain closure that gets a state of its own: a future that borrows it (`AsyncFn`) cannot
    /// be sent to another thread by generic code (rust-lang/rust#134997).
    ///
    /// # Errors
    /// Those of `command`, and [`TransactError`].
    pub async fn transact_with<A, E, F>(
        &self,
        stream: &StreamId,
        expect: Expect,
        request: &impl Serialize,
        meta: &CommandMeta,
        command: impl Fn(Option<A>) -> F,
    ) -> Result<Outcome<A>, E>
    where
        A: Aggregate,
        E: From<TransactError<A::Refusal>> + From<StoreError>,
        F: Future<Output = Result<A::Command, E>>,
    {
        let hash = PayloadHash::of(request);
        let mut loaded = match expect {
            Expect::New => Loaded::<A>::new_stream(stream.clone()),
            Expect::Any | Expect::At(_) => self.load(stream).await?,
        };
        let mut attempt = 0;
        loop {
            if let Some(earlier) = loaded.earlier(meta.id) {
                if earlier.command.hash.contradicts(&hash) {
                    return Err(TransactError::KeyReused.into());
                }
                let (version, events) = (earlier.last(), decoded::<A>(earlier, usize::MAX)?);
                let stream = stream.clone();
                return Ok(Outcome { stream, version, events, state: loaded.state, repeated: true });
            }
            if let Expect::At(expected) = expect
                && loaded.version() != expected
            {
                let actual = loaded.version();
                return Err(TransactError::VersionMismatch { expected, actual }.into());
            }
            let decided = match command(loaded.state.clone()).await {
                Ok(command) => A::decide(loaded.state.as_ref(), &command)
                    .map_err(|refusal| E::from(TransactError::Refused(refusal))),
                Err(error) => Err(error),
            };
            // "New" was only asserted: no command is refused, or answered with "already so", on a state that
            // nobody has read. If the stream is new indeed, it would be decided the same way again.
            if !loaded.seen && !matches!(&decided, Ok(events) if !events.is_empty()) {
                loaded = self.load(stream).await?;
                if loaded.version() != Version::NONE {
                    continue;
                }
            }
            let events = decided?;
            let Some((commit, after)) = seal(&loaded, &events, hash.clone(), meta)? else {
                let (stream, version) = (stream.clone(), loaded.version());
                return Ok(Outcome { stream, version, events, state: loaded.state, repeated: false });
            };
            match self.append::<A::Refusal>(commit, attempt).await? {
                Appended::Ours(version) => {
                    return Ok(Outcome {
                        stream: stream.clone(),
                        version,
                        events,
                        state: Some(after),
                        repeated: false,
                    });
                }
                Appended::Lost(winner) => {
                    let same = winner.command.id == meta.id;
                    if !same && attempt >= MAX_REDECISIONS {
                        let attempts = attempt + 1;
                        return Err(TransactError::Contended { stream: stream.clone(), attempts }.into());
                    }
                    loaded = if same || loaded.seen {
                        // What the winner left is known without another read.
                        loaded.follow(*winner)?
                    } else {
                        // "New" was wrong, perhaps for long: this winner only began the stream.
                        self.load(stream).await?
                    };
                    if !same {
                        self.ports.timer.sleep(BACKOFF.pause(attempt, &*self.ports.random)).await;
                        attempt += 1;
                    }
                }
            }
        }
    }

    /// Appends, and finds out what happened when the answer does not say.
    async fn append<R: Refusal>(
        &self,
        mut commit: NewCommit,
        attempt: u32,
    ) -> Result<Appended, TransactError<R>> {
        let mut unknown = 0;
        loop {
            let (stream, version) = (&commit.0.stream, commit.0.version);
            match self.log.append(&commit).await {
                Ok(()) => return Ok(Appended::Ours(commit.0.last())),
                // It may be our own: from an attempt whose answer was lost on the way to the SDK.
                Err(AppendError::Taken(winner)) => return Ok(Appended::Lost(winner)),
                Err(AppendError::TooLarge { bytes, limit }) => {
                    // The snapshot is a convenience; the events are not.
                    if commit.0.snapshot.take().is_none() {
                        return Err(TransactError::TooLarge { bytes, limit });
                    }
                }
                // This attempt wrote nothing, but one before it may still arrive.
                Err(AppendError::Store(error)) if unknown > 0 => return Err(TransactError::Unknown(error)),
                Err(AppendError::Store(error)) => return Err(TransactError::Store(error)),
                Err(AppendError::Unknown(error)) => {
                    match self.log.newest(stream, version, Some(1)).await {
                        Ok(page) => match page.commits.into_iter().next().filter(|c| c.version == version) {
                            // Another execution of the command may have looked up something else.
                            Some(found)
                                if found.command == commit.0.command && found.events == commit.0.events =>
                            {
                                return Ok(Appended::Ours(found.last()));
                            }
                            Some(found) => return Ok(Appended::Lost(Box::new(found))),
                            None => {}
                        },
                        // Neither the write nor the look-up was answered.
                        Err(_) => return Err(TransactError::Unknown(error)),
                    }
                    // Not there (yet). Writing it again is safe: the key admits one commit only.
                    if unknown >= MAX_REDECISIONS {
                        return Err(TransactError::Unknown(error));
                    }
                    self.ports.timer.sleep(BACKOFF.pause(attempt + unknown, &*self.ports.random)).await;
                    unknown += 1;
                }
            }
        }
    }

    /// Loads an aggregate as it was: the point of the past first, then the events since the nearest snapshot
    /// before it.
    ///
    /// # Errors
    /// [`StoreError`]; also when a commit is missing that had to be read.
    pub async fn load_at<A: Aggregate>(
        &self,
        stream: &StreamId,
        until: Until,
    ) -> Result<Past<A>, StoreError> {
        let (mut page, last) = match until {
            Until::Version(version) => {
                (self.log.newest(stream, version, Some(PAST_PAGE)).await?, Some(version))
            }
            Until::Time(time) => (self.made_until(stream, time).await?, None),
        };
        let mut newest_first: Vec<Commit> = Vec::new();
        let mut base: Option<A> = None;
        'read: loop {
            let oldest = page.commits.last().map(|c| c.version);
            for commit in page.commits {
                if let Some(newer) = newest_first.last()
                    && newer.version != commit.next
                {
                    return Err(gap(newer, commit.next));
                }
                // A snapshot is the state after the whole commit, which may be later than asked for.
                if last.is_none_or(|last| commit.last() <= last) {
                    base = snapshot_state::<A>(&commit);
                }
                newest_first.push(commit);
                if base.is_some() {
                    break 'read;
                }
            }
            match oldest {
                Some(oldest) if page.more && oldest > Version::FIRST => {
                    page = self.log.newest(stream, oldest.previous(), Some(HISTORY_PAGE)).await?;
                }
                _ => break,
            }
        }
        if let Some(oldest) = newest_first.last()
            && base.is_none()
            && oldest.version != Version::FIRST
        {
            return Err(StoreError::corrupt(stream, oldest.version, "the stream's first commit is missing"));
        }
        let Some(newest) = newest_first.first() else {
            return Ok(Past { state: None, version: Version::NONE, at: None });
        };
        let version = last.map_or(newest.last(), |last| newest.last().min(last));
        let at = Some(newest.at);
        let skip = usize::from(base.is_some());
        let mut state = base;
        for commit in newest_first.iter().rev().skip(skip) {
            state = fold_commit(state, commit, last)?;
        }
        Ok(Past { state, version, at })
    }

    /// Reads a page that begins with the last commit made at or before `time`; an empty one if there is none.
    ///
    /// The newest commits are read first, because most streams are short and most pasts are near. If all of
    /// them are too late, the versions below are halved: a probe is the last commit that begins at or below
    /// the middle, since a commit of several events has one key only. The last few candidates are read
    /// together.
    async fn made_until(&self, stream: &StreamId, time: Timestamp) -> Result<Page, StoreError> {
        let headless = |version| StoreError::corrupt(stream, version, "the stream's first commit is missing");
        // The commit before `low` was made in time, if there is one; `late` is the oldest one known to be too
        // late.
        let mut low = Version::FIRST;
        let mut late: Option<Commit> = None;
        loop {
            let upto = late.as_ref().map_or(Version::new(u64::MAX), |late| late.version.previous());
            let mut page = self.log.newest(stream, upto, Some(PAST_PAGE)).await?;
            let in_time = page.commits.iter().position(|commit| commit.at <= time);
            late = page.commits.drain(..in_time.unwrap_or(page.commits.len())).next_back().or(late);
            let Some(mut high) = late else { return Ok(page) };
            match page.commits.first() {
                Some(found) if found.next != high.version => return Err(gap(&high, found.next)),
                Some(_) => return Ok(page),
                None if high.version == Version::FIRST => return Ok(page),
                None if !page.more => return Err(headless(high.version)),
                None => {}
            }
            while high.version.get().saturating_sub(low.get()) > SEARCHED_AT_ONCE {
                let middle = Version::new(low.get() + (high.version.get() - low.get()) / 2);
                let probe = self.log.newest(stream, middle, Some(1)).await?.commits.into_iter().next();
                match probe {
                    None => return Err(headless(high.version)),
                    Some(probe) if probe.version < low => return Err(gap(&high, probe.next)),
                    Some(probe) if probe.at <= time => low = probe.next,
                    Some(probe) => high = probe,
                }
            }
            late = Some(high);
        }
    }

    /// All events of a stream after `version`, in order. Starts from the commit that *contains* the
    /// next event, whose key may be lower: a reader may stand inside a commit.
    ///
    /// # Errors
    /// [`StoreError`]; also when a commit is missing.
    pub async fn events_after(
        &self,
        stream: &StreamId,
        version: Version,
    ) -> Result<Vec<Envelope>, StoreError> {
        let wanted = Version::new(version.get().saturating_add(1));
        let mut newest_first: Vec<Commit> = Vec::new();
        let mut upto = Version::new(u64::MAX);
        let mut limit = SNAPSHOT_EVERY;
        loop {
            let page = self.log.newest(stream, upto, Some(limit)).await?;
            for commit in page.commits {
                if let Some(newer) = newest_first.last()
                    && newer.version != commit.next
                {
                    return Err(gap(newer, commit.next));
                }
                if commit.next <= wanted {
                    break;
                }
                newest_first.push(commit);
            }
            match newest_first.last() {
                Some(oldest) if oldest.version > wanted && page.more => {
                    upto = oldest.version.previous();
                    limit = HISTORY_PAGE;
                }
                Some(oldest) if oldest.version > wanted => {
                    return Err(gap(oldest, wanted));
                }
                _ => break,
            }
        }
        Ok(newest_first
            .into_iter()
            .rev()
            .flat_map(Commit::into_envelopes)
            .filter(|envelope| envelope.version > version)
            .collect())
    }

    /// Returns the version of a stream's last event, [`Version::NONE`] if it has none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn version(&self, stream: &StreamId) -> Result<Version, StoreError> {
        let page = self.log.newest(stream, Version::new(u64::MAX), Some(1)).await?;
        Ok(page.commits.first().map_or(Version::NONE, Commit::last))
    }

    /// Returns the events of a stream after `version`, of the commits that begin at most `count` versions
    /// after it. The read is as long as `count`, however long the stream is.
    ///
    /// # Errors
    /// [`StoreError`]; also when a commit is missing before one of these.
    pub async fn events_near(
        &self,
        stream: &StreamId,
        version: Version,
        count: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        let mut newest_first: Vec<Commit> = Vec::new();
        let (wanted, mut upto) = (version.next(), version.plus(u64::from(count)));
        while upto > version {
            let page = self.log.newest(stream, upto, Some(count)).await?;
            for commit in page.commits {
                if let Some(newer) = newest_first.last()
                    && newer.version != commit.next
                {
                    return Err(gap(newer, commit.next));
                }
                newest_first.push(commit);
            }
            match newest_first.last() {
                Some(oldest) if page.more => upto = oldest.version.previous(),
                Some(oldest) if oldest.version > wanted => return Err(gap(oldest, wanted)),
                _ => break,
            }
        }
        let events = newest_first.iter().rev().flat_map(Commit::envelopes);
        Ok(events.filter(|envelope| envelope.version > version).collect())
    }

    /// One event, by its place; `None` when the stream does not reach that far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event(&self, stream: &StreamId, version: Version) -> Result<Option<Envelope>, StoreError> {
        let page = self.log.newest(stream, version, Some(1)).await?;
        let found = page
            .commits
            .into_iter()
            .next()
            .and_then(|commit| commit.into_envelopes().find(|envelope| envelope.version == version));
        Ok(found)
    }

    /// One page of one segment of the whole table; see [`CommitLog::scan`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        self.log.scan(segment, after, limit).await
    }

    /// The commits of a stream, oldest first: for audit and inspection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(&self, stream: &StreamId) -> Result<Vec<Commit>, StoreError> {
        let mut newest_first = Vec::new();
        let mut upto = Version::new(u64::MAX);
        loop {
            let page = self.log.newest(stream, upto, Some(HISTORY_PAGE)).await?;
            let oldest = page.commits.last().map(|c| c.version);
            newest_first.extend(page.commits);
            match oldest {
                Some(oldest) if page.more => upto = oldest.previous(),
                _ => break,
            }
        }
        newest_first.reverse();
        Ok(newest_first)
    }
}

enum Appended {
    /// Our commit stands; its last version.
    Ours(Version),
    /// Another stands in its place.
    Lost(Box<Commit>),
}

/// The commit of freshly decided events, with a snapshot when one is due, and the state after it;
/// `None` when nothing was decided.
fn seal<A: Aggregate>(
    loaded: &Loaded<A>,
    events: &[A::Event],
    hash: PayloadHash,
    meta: &CommandMeta,
) -> Result<Option<(NewCommit, A)>, StoreError> {
    let corrupt = |why: String| StoreError::corrupt(&loaded.head.stream, loaded.head.next, why);
    let mut raw = events
        .iter()
        .map(Event::to_raw)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| corrupt(e.to_string()))?
        .into_iter();
    let after = fold(loaded.state.clone(), events).map_err(|e| corrupt(e.to_string()))?;
    let (Some(first), Some(after)) = (raw.next(), after) else {
        return Ok(None);
    };
    let snapshot = if loaded.unsnapped >= SNAPSHOT_EVERY {
        let state = serde_json::to_value(&after).map_err(|e| corrupt(e.to_string()))?;
        Some(Snapshot { schema: A::STATE_SCHEMA, state })
    } else {
        None
    };
    let meta = CommandMeta { at: made_at(loaded.last_at, meta.at), ..meta.clone() };
    Ok(Some((loaded.head.commit(first, raw.collect(), hash, &meta, snapshot), after)))
}

/// Returns the time of a commit: the writer's clock, or the time of the commit before if that is later.
/// Clocks of two writers differ, and within a stream time does not run backwards; but a commit that is more
/// than [`AHEAD`] is not followed.
fn made_at(last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match last {
        Some(last) if last > now && last.duration_since(now) <= AHEAD => last,
        Some(_) | None => now,
    }
}
