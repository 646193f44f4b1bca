//! A log, a store on it, and what a test needs to look behind them.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use event_store::{
    AppendError, Commit, CommitLog, DynamoLog, EventStore, Expect, MemoryLog, Meter, NewCommit, Outcome,
    Page, ScanPage, Segment, StoreError, TransactError,
};
use kernel::{CommandMeta, Event, PayloadHash, RawEvent, StreamId, Version};
use testing::{EmbeddedDynamo, FaultyLog, RecordingLog, TestPorts};

use crate::ledger::{Command, Ledger, No};

pub const TABLE: &str = "events";

pub type Answer = Result<Outcome<Ledger>, TransactError<No>>;

pub struct World {
    /// The log under test; it counts its calls, and fails on demand.
    pub log: FaultyLog,
    pub ports: TestPorts,
    pub behind: Behind,
}

pub enum Behind {
    Memory,
    Dynamo { endpoint: EmbeddedDynamo, meter: Arc<Meter> },
}

impl World {
    pub async fn memory() -> Self {
        Self::over(MemoryLog::new(), Behind::Memory)
    }

    pub async fn dynamo() -> Self {
        let endpoint = EmbeddedDynamo::start().await;
        let meter = Arc::new(Meter::default());
        let log = endpoint.event_log(TABLE).await.metered(meter.clone());
        Self::over(log, Behind::Dynamo { endpoint, meter })
    }

    fn over(log: impl CommitLog + 'static, behind: Behind) -> Self {
        Self { log: FaultyLog::new(Arc::new(log)), ports: TestPorts::new(1), behind }
    }

    pub fn store(&self) -> EventStore {
        self.store_over(self.log.clone())
    }

    pub fn store_over(&self, log: impl CommitLog + 'static) -> EventStore {
        EventStore::new(Arc::new(log), self.ports.ports())
    }

    /// The SDK's client, for what only the table itself can tell. `None` for the log in memory.
    pub fn client(&self) -> Option<Client> {
        match &self.behind {
            Behind::Memory => None,
            Behind::Dynamo { endpoint, .. } => Some(endpoint.client()),
        }
    }

    pub fn meter(&self) -> Option<&Meter> {
        match &self.behind {
            Behind::Memory => None,
            Behind::Dynamo { meter, .. } => Some(meter),
        }
    }

    pub fn command(&self) -> CommandMeta {
        self.ports.command("test")
    }

    /// A new command.
    pub async fn send(&self, stream: &StreamId, command: Command) -> Answer {
        self.send_as(stream, Expect::Any, command, &self.command()).await
    }

    pub async fn send_as(
        &self,
        stream: &StreamId,
        expect: Expect,
        command: Command,
        meta: &CommandMeta,
    ) -> Answer {
        self.store().transact::<Ledger>(stream, expect, &command, meta).await
    }

    pub async fn history(&self, stream: &StreamId) -> Vec<Commit> {
        self.store().history(stream).await.unwrap()
    }

    /// Appends these events after what is there, whatever the aggregate thinks of it.
    pub async fn write(&self, stream: &StreamId, events: impl IntoIterator<Item = RawEvent>) -> Version {
        let commit = self.next_commit(stream, events, &self.command()).await;
        self.log.append(&commit).await.unwrap();
        commit.as_commit().last()
    }

    /// The commit of these events after what is there.
    pub async fn next_commit(
        &self,
        stream: &StreamId,
        events: impl IntoIterator<Item = RawEvent>,
        meta: &CommandMeta,
    ) -> NewCommit {
        let mut events = events.into_iter();
        let first = events.next().unwrap();
        // Events that the ledger does not know must not keep this from finding the stream's end.
        let head = match self.history(stream).await.is_empty() {
            true => event_store::Head::new_stream(stream.clone()),
            false => self.store().load::<Anything>(stream).await.unwrap().head().clone(),
        };
        head.commit(first, events.collect(), PayloadHash::of(&"test"), meta, None)
    }

    /// A stream of `commits` commits of `each` posted amounts, put there without a read for each.
    pub async fn long_stream(&self, stream: &StreamId, commits: usize, each: usize) -> Ledger {
        let recording = RecordingLog::new();
        let store = self.store_over(recording.clone());
        let mut state = None;
        for n in 0..commits {
            let amounts: Vec<i64> = (0..each).map(|i| (n + i) as i64).collect();
            let outcome =
                store.transact::<Ledger>(stream, Expect::Any, &post_of(amounts), &self.command()).await;
            state = outcome.unwrap().state;
        }
        recording.play_into(&self.log).await;
        self.log.take_calls();
        if let Some(meter) = self.meter() {
            meter.take();
        }
        state.unwrap()
    }
}

fn post_of(amounts: Vec<i64>) -> Command {
    Command::Post(amounts)
}

pub fn stream(name: &str) -> StreamId {
    format!("test.Ledger/{name}").parse().unwrap()
}

pub fn raw(event: &crate::ledger::Entry) -> RawEvent {
    event.to_raw().unwrap()
}

pub fn posted(amount: i64) -> RawEvent {
    raw(&crate::ledger::Entry::Posted { amount })
}

/// A text that deflate cannot make much smaller: it has six bits of chance in each character.
pub fn noise(bytes: usize, seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = testing::Seeded::new(seed);
    (0..bytes).map(|_| char::from(LETTERS[random.below(64)])).collect()
}

pub fn is_corrupt(error: &StoreError) -> bool {
    matches!(error, StoreError::Corrupt { .. })
}

/// The log with some commits missing, as if somebody had deleted them.
pub struct Torn {
    pub log: FaultyLog,
    pub missing: Vec<Version>,
}

#[async_trait]
impl CommitLog for Torn {
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError> {
        self.log.append(commit).await
    }

    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError> {
        let mut page = self.log.newest(stream, upto, None).await?;
        page.commits.retain(|commit| !self.missing.contains(&commit.version));
        if let Some(limit) = limit.map(|limit| limit as usize)
            && page.commits.len() > limit
        {
            page.commits.truncate(limit);
            page.more = true;
        }
        Ok(page)
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        self.log.scan(segment, after, limit).await
    }
}

/// An aggregate that takes any event and keeps none.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Anything;

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct AnyEvent;

impl Event for AnyEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[];

    fn event_type(&self) -> &'static str {
        "Any"
    }

    fn from_raw(_: &str, _: u16, _: &serde_json::Value) -> Result<Self, kernel::DecodeError> {
        Ok(Self)
    }
}

impl kernel::Aggregate for Anything {
    const CATEGORY: &'static str = "test.Anything";
    const STATE_SCHEMA: u16 = u16::MAX;
    type Command = ();
    type Event = AnyEvent;
    type Refusal = No;

    fn decide(_: Option<&Self>, (): &()) -> Result<Vec<AnyEvent>, No> {
        Ok(vec![])
    }

    fn evolve(_: Option<Self>, _: &AnyEvent) -> Result<Self, kernel::BrokenHistory> {
        Ok(Self)
    }
}

/// An item of the table, as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// The items of a stream, oldest first, as they stand in the table.
pub async fn items(client: &Client, stream: &StreamId) -> Vec<Item> {
    let page = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("#stream = :stream")
        .expression_attribute_names("#stream", "stream")
        .expression_attribute_values(":stream", AttributeValue::S(stream.to_string()))
        .send()
        .await
        .unwrap();
    assert!(page.last_evaluated_key().is_none(), "this helper reads one page");
    page.items.unwrap()
}

/// A log on the same table, for what a fresh process would see.
pub fn reopened(client: Client) -> DynamoLog {
    DynamoLog::new(client, TABLE)
}
