//! The cost of a sweep: `cargo bench --workspace --bench sweep` prints two tables.
//!
//! The first is of one core and memory: the sweeper as it is, over a log that makes its commits as they are
//! asked for, into a store that encodes each row as the item of a table and forgets it. So scan, fold and
//! encode are measured, and a time per event that grew with the number of events would be the sweeper's own
//! doing.
//!
//! The second is of the embedded DynamoDB, through the real SDK: a table of 50,000 events, swept in four
//! parts into an empty view, and again when every row is right. Capacity is what DynamoDB reports as
//! consumed; events/s are the embedded one's, and the machine's.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot set its stage should stop")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use contracts::Envelope;
use event_store::{
    AppendError, Commit, CommitLog, EventStore, Meter, NewCommit, Page, ScanPage, Segment, StoreError,
};
use futures::{StreamExt, stream};
use kernel::{Event, StreamId, Version};
use projection::{
    ApplyError, Consistency, DynamoViews, KeyPage, Limits, List, Listed, MemoryProgress, Order,
    ProjectedView, Projection, Put, RowKey, Slice, Stamp, Stored, SweepState, Sweeper, Sweeping, ViewError,
    ViewStore, ViewTable, create_table, encode,
};
use serde::{Deserialize, Serialize};
use testing::{EmbeddedDynamo, RecordingLog, TestPorts, tell};

/// Events of one stream: an order has four or five.
const EVENTS_PER_STREAM: u64 = 5;

/// An order, as its customer sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderRow {
    id: String,
    customer_id: String,
    status: String,
    lines: Vec<Line>,
    total: i64,
    placed_at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    product_id: String,
    product_name: String,
    store_name: String,
    price: i64,
    quantity: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum OrderEvent {
    Placed(Placed),
    Moved(Moved),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    customer_id: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Moved {
    to: String,
}

impl Event for OrderEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[("Placed", 1), ("Moved", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Placed(_) => "Placed",
            Self::Moved(_) => "Moved",
        }
    }
}

struct Orders;

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "bench.Order";
    type Row = OrderRow;

    fn apply(row: Option<OrderRow>, event: &Envelope) -> Result<OrderRow, ApplyError> {
        match event.event::<OrderEvent>()? {
            OrderEvent::Placed(placed) => Ok(OrderRow {
                id: event.stream.id().to_owned(),
                customer_id: placed.customer_id,
                status: "pending".to_owned(),
                total: placed.lines.iter().map(|line| line.price * i64::from(line.quantity)).sum(),
                lines: placed.lines,
                placed_at: projection::sortable(event.at),
            }),
            OrderEvent::Moved(moved) => {
                Ok(OrderRow { status: moved.to, ..row.ok_or_else(|| ApplyError::without_row(event))? })
            }
        }
    }
}

/// The commits of some streams, an event each.
async fn history(world: &TestPorts, streams: u64) -> Vec<NewCommit> {
    let log = RecordingLog::new();
    let store = EventStore::new(Arc::new(log.clone()), world.ports());
    let line = |n: u64| Line {
        product_id: format!("0198c0de-0000-7000-8000-{n:012}"),
        product_name: "Braeburn apples".to_owned(),
        store_name: "Fruit & Veg".to_owned(),
        price: 75,
        quantity: 3,
    };
    for n in 0..streams {
        let stream: StreamId = format!("bench.Order/{n:08}-0000-7000-8000-000000000000").parse().unwrap();
        let lines = (0..3).map(|more| line(n + more)).collect();
        let placed = Placed { customer_id: format!("{:036}", n % 997), lines };
        tell(&store, &stream, &OrderEvent::Placed(placed), &world.command("bench")).await;
        for to in ["approved", "ready", "invoiced", "completed"] {
            let moved = OrderEvent::Moved(Moved { to: to.to_owned() });
            tell(&store, &stream, &moved, &world.command("bench")).await;
        }
    }
    log.appended()
}

/// A log that holds a few streams, and gives them again and again under other names.
struct Tape {
    pattern: Vec<Commit>,
    commits: u64,
    given: AtomicU64,
}

#[async_trait]
impl CommitLog for Tape {
    async fn append(&self, _: &NewCommit) -> Result<(), AppendError> {
        unreachable!("nobody writes to the tape")
    }

    async fn newest(&self, _: &StreamId, _: Version, _: Option<u32>) -> Result<Page, StoreError> {
        unreachable!("nothing is healed: pages hold whole streams")
    }

    async fn scan(
        &self,
        _: Segment,
        _: Option<&(StreamId, Version)>,
        _: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        let page = self.given.fetch_add(self.pattern.len() as u64, Relaxed) / self.pattern.len() as u64;
        let renamed = |commit: &Commit| {
            let stream = format!("{}{page:08}", commit.stream).parse().unwrap();
            Commit { stream, ..commit.clone() }
        };
        let commits: Vec<Commit> = self.pattern.iter().map(renamed).collect();
        let more = self.given.load(Relaxed) < self.commits;
        let after = commits.last().filter(|_| more).map(|last| (last.stream.clone(), last.version));
        Ok(ScanPage { commits, unreadable: Vec::new(), after })
    }
}

/// Encodes what it is given, and forgets it.
#[derive(Clone, Default)]
struct Encoder(Arc<AtomicU64>);

#[async_trait]
impl ViewStore<Orders> for Encoder {
    async fn get(&self, _: &str, _: Consistency) -> Result<Option<Stored<OrderRow>>, ViewError> {
        Ok(None)
    }

    async fn put(
        &self,
        id: &str,
        row: Option<&OrderRow>,
        _: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        let item = std::hint::black_box(encode::<Orders>(id, row, applied)?);
        self.0.fetch_add(item.len() as u64, Relaxed);
        Ok(Put::Written)
    }

    async fn list(&self, _: &List<'_>) -> Result<Listed<OrderRow>, ViewError> {
        unreachable!("nobody reads what was forgotten")
    }
}

#[async_trait]
impl ViewTable for Encoder {
    async fn keys(&self, _: Segment, _: Option<&str>, _: Option<u32>) -> Result<KeyPage, ViewError> {
        Ok(KeyPage { keys: vec![], after: None })
    }

    async fn remove(&self, _: &RowKey) -> Result<Put, ViewError> {
        unreachable!("there is nothing to remove")
    }
}

/// Sweeps as the state machine does, all parts at a time; gives the time by the clock on the wall.
async fn sweep(sweeper: &dyn Sweeping, progress: &MemoryProgress, parts: u32) -> (Duration, SweepState) {
    sweeper.begin(&Order { only_compare: false, parts, rate: None }).await.unwrap();
    let began = Instant::now();
    let parts =
        (0..parts).map(|part| async move { while sweeper.slice(part).await.unwrap() == Slice::More {} });
    futures::future::join_all(parts).await;
    let took = began.elapsed();
    let state = SweepState::of(progress, "orders").await.unwrap().unwrap();
    assert_eq!((state.is_over(), state.report().left), (true, 0));
    (took, state)
}

async fn in_memory() {
    println!("\nfold and encode, one core, in memory ({EVENTS_PER_STREAM} events make a row)\n");
    println!("| events | events/s | ns per event | against the first |");
    println!("| --- | --- | --- | --- |");
    let world = TestPorts::new(1);
    let recorded = history(&world, 100).await;
    let pattern: Vec<Commit> = recorded.iter().map(|commit| commit.as_commit().clone()).collect();
    let mut first = None;
    // The first round warms up.
    for (round, events) in [10_000_u64, 10_000, 100_000, 1_000_000].into_iter().enumerate() {
        // The best of some: what the machine does besides is not the sweeper's.
        let repeats = (300_000 / events).clamp(1, 10);
        let mut best = Duration::MAX;
        for _ in 0..repeats {
            let tape = Tape { pattern: pattern.clone(), commits: events, given: AtomicU64::new(0) };
            let store = EventStore::new(Arc::new(tape), world.ports());
            let rows = Encoder::default();
            let view = ProjectedView::<Orders>::new("orders", rows, store.clone(), world.ports());
            let progress = MemoryProgress::default();
            let sweeper =
                Sweeper::new(view, Arc::new(progress.clone()), store, world.ports(), Limits::FUNCTION);
            let (took, state) = sweep(&sweeper, &progress, 1).await;
            assert_eq!((state.events(), state.report().written), (events, events / EVENTS_PER_STREAM));
            best = best.min(took);
        }
        if round == 0 {
            continue;
        }
        let per_event = best.as_nanos() as f64 / events as f64;
        let against = *first.get_or_insert(per_event);
        println!(
            "| {events} | {:.0} | {per_event:.0} | {:+.1} % |",
            1e9 / per_event,
            (per_event / against - 1.0) * 100.0
        );
    }
}

async fn in_dynamo() {
    const EVENTS: u64 = 50_000;
    let world = TestPorts::new(2);
    let dynamo = EmbeddedDynamo::start().await;
    let meter = Arc::new(Meter::default());
    // Without a stream: with one, puts slow down as it grows.
    let log = Arc::new(dynamo.event_log("events").await.metered(meter.clone()));
    let recorded = history(&world, EVENTS / EVENTS_PER_STREAM).await;
    let appends = recorded.into_iter().map(|commit| {
        let log = log.clone();
        async move { log.append(&commit).await.unwrap() }
    });
    stream::iter(appends).buffer_unordered(16).collect::<Vec<()>>().await;
    meter.take();

    create_table::<Orders>(&dynamo.client(), "orders", &[]).await.unwrap();
    let of_rows = Arc::new(Meter::default());
    let rows = DynamoViews::<Orders>::new(dynamo.client(), "orders").metered(of_rows.clone());
    let store = EventStore::new(log, world.ports());
    let view = ProjectedView::new("orders", rows, store.clone(), world.ports());
    let progress = MemoryProgress::default();
    let sweeper = Sweeper::new(view, Arc::new(progress.clone()), store, world.ports(), Limits::FUNCTION);
    println!(
        "\n{EVENTS} events of {} streams on the embedded DynamoDB, four parts\n",
        EVENTS / EVENTS_PER_STREAM
    );
    println!(
        "| sweep | time | events/s | of the event table: RRU per event, requests | of the view: RRU | WRU per event, requests |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for name in ["of an empty view", "of one that is right"] {
        let (took, state) = sweep(&sweeper, &progress, 4).await;
        let (read, rows) = (meter.take(), of_rows.take());
        let events = state.events() as f64;
        assert_eq!(state.events(), EVENTS);
        println!(
            "| {name} | {took:.1?} | {:.0} | {:.2}, {} | {:.2} | {:.2}, {} |",
            events / took.as_secs_f64(),
            read.read_units / events,
            read.requests,
            rows.read_units / events,
            rows.write_units / events,
            rows.requests,
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        in_memory().await;
        in_dynamo().await;
    });
}
