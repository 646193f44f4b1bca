//! A small view, streams to fill it from, and the stores it is tested on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use contracts::Envelope;
use event_store::{CommitLog, EventStore, MemoryLog};
use kernel::{
    Aggregate, BrokenHistory, DecodeError, Event, PayloadHash, RawEvent, Refusal, RefusalKind, StreamId,
    Version,
};
use projection::{
    ApplyError, Consistency, DynamoViews, Index, List, Listed, MemoryViews, Projection, Projector, Put,
    Stamp, Stored, ViewError, ViewStore, create_table,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use testing::{EmbeddedDynamo, TestPorts};

pub const BY_OWNER: Index = Index::new("by-owner", "ownerId", "openedAt");

/// A row that shows every event that was lost, repeated or out of order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    pub id: String,
    pub owner_id: String,
    pub opened_at: String,
    pub entries: u32,
    pub digest: u64,
    pub closed: bool,
    pub note: Option<String>,
}

pub struct Ledgers;

impl Projection for Ledgers {
    const NAME: &'static str = "ledgers";
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "test.Ledger";
    const IRRELEVANT: &'static [&'static str] = &["Printed"];
    type Row = Ledger;

    fn apply(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
        apply_ledger(row, event)
    }
}

pub fn apply_ledger(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
    match (event.event::<LedgerEvent>()?, row) {
        (LedgerEvent::Opened(opened), None) => Ok(Ledger {
            id: event.stream.id().to_owned(),
            owner_id: opened.owner,
            opened_at: opened.at,
            entries: 0,
            digest: 7,
            closed: false,
            note: None,
        }),
        (LedgerEvent::Noted(noted), Some(row)) => Ok(Ledger {
            entries: row.entries + 1,
            digest: (row.digest * 31 + noted.n) % 1_000_003,
            note: noted.text,
            ..row
        }),
        (LedgerEvent::Closed(Closed {}), Some(row)) => Ok(Ledger { closed: true, ..row }),
        (LedgerEvent::Opened(_), Some(_)) => Err(ApplyError::BrokenHistory {
            event_type: event.event_type.clone(),
            why: "the ledger is open already",
        }),
        (LedgerEvent::Noted(_) | LedgerEvent::Closed(_), None) => Err(ApplyError::without_row(event)),
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum LedgerEvent {
    Opened(Opened),
    Noted(Noted),
    Closed(Closed),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    owner: String,
    at: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noted {
    n: u64,
    text: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Closed {}

impl Event for LedgerEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[("Opened", 1), ("Noted", 1), ("Closed", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Opened(_) => "Opened",
            Self::Noted(_) => "Noted",
            Self::Closed(_) => "Closed",
        }
    }
}

pub fn opened(owner: &str, at: &str) -> RawEvent {
    raw("Opened", json!({ "owner": owner, "at": at }))
}

pub fn noted(n: u64) -> RawEvent {
    raw("Noted", json!({ "n": n, "text": null }))
}

pub fn closed() -> RawEvent {
    raw("Closed", json!({}))
}

pub fn raw(event_type: &str, data: serde_json::Value) -> RawEvent {
    RawEvent { event_type: event_type.to_owned(), schema: 1, data }
}

/// The writer of test streams: it takes whatever it is given, as newer code would.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Writer;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Whatever;

impl Event for Whatever {
    const SCHEMAS: &'static [(&'static str, u16)] = &[];

    fn event_type(&self) -> &'static str {
        "Whatever"
    }

    fn from_raw(_: &str, _: u16, _: &serde_json::Value) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("never")]
struct Never;

impl Refusal for Never {
    fn code(&self) -> &'static str {
        "NEVER"
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Conflict
    }
}

impl Aggregate for Writer {
    const CATEGORY: &'static str = "test.Ledger";
    const STATE_SCHEMA: u16 = 1;
    type Command = ();
    type Event = Whatever;
    type Refusal = Never;

    fn decide(_: Option<&Self>, (): &()) -> Result<Vec<Whatever>, Never> {
        Err(Never)
    }

    fn evolve(_: Option<Self>, _: &Whatever) -> Result<Self, BrokenHistory> {
        Ok(Self)
    }
}

/// A view store that counts what it is asked, and makes trouble when told to.
pub struct Watched {
    pub inner: Arc<dyn ViewStore<Ledgers>>,
    pub gets: AtomicUsize,
    pub puts: AtomicUsize,
    /// The next so many puts find that somebody else was faster.
    pub conflicts: AtomicUsize,
    /// The next so many puts are done, but nobody hears of it.
    pub lost_answers: AtomicUsize,
}

impl Watched {
    pub fn new(inner: Arc<dyn ViewStore<Ledgers>>) -> Arc<Self> {
        let zero = AtomicUsize::default;
        Arc::new(Self { inner, gets: zero(), puts: zero(), conflicts: zero(), lost_answers: zero() })
    }
}

pub fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

#[async_trait]
impl ViewStore<Ledgers> for Watched {
    async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<Ledger>>, ViewError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get(id, consistency).await
    }

    async fn put(
        &self,
        id: &str,
        row: Option<&Ledger>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        if take_one(&self.conflicts) {
            return Ok(Put::Conflict);
        }
        let put = self.inner.put(id, row, before, applied).await;
        if take_one(&self.lost_answers) {
            return Err(ViewError::Unavailable {
                view: Ledgers::NAME,
                operation: "PutItem",
                why: "lost".into(),
            });
        }
        put
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<Ledger>, ViewError> {
        self.inner.list(list).await
    }
}

/// Streams, a view of them, and its projector.
pub struct Stage {
    pub name: &'static str,
    pub world: TestPorts,
    log: Arc<dyn CommitLog>,
    pub store: EventStore,
    pub views: Arc<dyn ViewStore<Ledgers>>,
    pub projector: Projector<Ledgers>,
    pub dynamo: Option<EmbeddedDynamo>,
    pub memory: Option<MemoryViews<Ledgers>>,
}

pub const TABLE: &str = "ledgers";

/// The event table.
pub const EVENTS: &str = "events";

impl Stage {
    pub fn memory() -> Self {
        let memory = MemoryViews::<Ledgers>::new();
        let views = Arc::new(memory.clone());
        Self::on("memory", Arc::new(MemoryLog::new()), views, None, Some(memory))
    }

    pub async fn dynamo() -> Self {
        let dynamo = EmbeddedDynamo::start().await;
        let log = Arc::new(dynamo.event_log(EVENTS).await);
        create_table::<Ledgers>(&dynamo.client(), TABLE, &[BY_OWNER]).await.unwrap();
        let views = Arc::new(DynamoViews::<Ledgers>::new(dynamo.client(), TABLE));
        Self::on("DynamoDB", log, views, Some(dynamo), None)
    }

    pub async fn both() -> [Self; 2] {
        [Self::memory(), Self::dynamo().await]
    }

    fn on(
        name: &'static str,
        log: Arc<dyn CommitLog>,
        views: Arc<dyn ViewStore<Ledgers>>,
        dynamo: Option<EmbeddedDynamo>,
        memory: Option<MemoryViews<Ledgers>>,
    ) -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(log.clone(), world.ports());
        let projector = Projector::new(views.clone(), store.clone(), world.ports());
        Self { name, world, log, store, views, projector, dynamo, memory }
    }

    /// The same streams and ports, and a projector of another view.
    pub fn projector_of<P: Projection>(&self, views: Arc<dyn ViewStore<P>>) -> Projector<P> {
        Projector::new(views, self.store.clone(), self.world.ports())
    }

    /// Commits events to a stream; returns their envelopes.
    pub async fn commit(&self, id: &str, events: Vec<RawEvent>) -> Vec<Envelope> {
        let stream = stream(id);
        let loaded = self.store.load::<Writer>(&stream).await.unwrap();
        let mut events = events.into_iter();
        let first = events.next().expect("at least one event");
        let meta = self.world.command("test");
        let commit = loaded.head().commit(first, events.collect(), PayloadHash::of(&()), &meta, None);
        self.log.append(&commit).await.unwrap();
        commit.as_commit().envelopes().collect()
    }

    /// What is stored: the row and its version.
    pub async fn row(&self, id: &str) -> Option<(Ledger, u64)> {
        let found = self.projector.read(id, None).await.unwrap()?;
        Some((found.row, found.applied.get()))
    }

    /// What ought to be stored, once everything has arrived.
    pub async fn folded(&self, id: &str) -> Option<(Ledger, u64)> {
        let events = self.store.events_after(&stream(id), Version::NONE).await.unwrap();
        let last = events.last()?.version.get();
        fold(&events).map(|row| (row, last))
    }
}

/// The plain fold: what a row has to be, whatever happened on the way.
pub fn fold<'e>(events: impl IntoIterator<Item = &'e Envelope>) -> Option<Ledger> {
    events
        .into_iter()
        .filter(|event| event.event_type != "Printed")
        .fold(None, |row, event| Some(apply_ledger(row, event).unwrap()))
}

pub fn stream(id: &str) -> StreamId {
    format!("test.Ledger/{id}").parse().unwrap()
}

pub fn without_body(envelope: &Envelope) -> Envelope {
    Envelope { data: None, ..envelope.clone() }
}
