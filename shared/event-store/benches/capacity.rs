//! What the event table costs: `cargo bench --workspace --bench capacity` prints a table of measured capacity and requests
//! beside their budgets. Capacity is what the embedded DynamoDB reports as consumed, through the real SDK; no
//! number here depends on the machine.

#![allow(clippy::disallowed_methods, reason = "a bench starts its own endpoint")]

use std::{convert::Infallible, sync::Arc};

use event_store::{DynamoLog, EventStore, Expect, Meter, Reading, SNAPSHOT_EVERY, item_bytes};
use kernel::{Aggregate, BrokenHistory, CommandId, CommandMeta, Event, StreamId, TraceParent, Uuid};
use serde::{Deserialize, Serialize};
use testing::{EmbeddedDynamo, RecordingLog, Seeded, TestPorts};

const TABLE: &str = "events";

/// An order whose state keeps its last `KEEP` lines: that sets the size of its snapshots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Order<const KEEP: usize> {
    customer: String,
    lines: Vec<Line>,
    total: i64,
}

/// State of about 1 KB.
type Small = Order<3>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    line_id: Uuid,
    store_id: Uuid,
    store_name: String,
    product_id: Uuid,
    product_name: String,
    price: String,
    quantity: u32,
    note: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum OrderEvent {
    LineAdded(Line),
}

impl Event for OrderEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[("LineAdded", 1)];

    fn event_type(&self) -> &'static str {
        "LineAdded"
    }
}

impl<const KEEP: usize> Aggregate for Order<KEEP> {
    const CATEGORY: &'static str = "ordering.Order";
    const STATE_SCHEMA: u16 = 1;
    type Command = Vec<Line>;
    type Event = OrderEvent;
    type Refusal = Infallible;

    fn decide(_: Option<&Self>, lines: &Vec<Line>) -> Result<Vec<OrderEvent>, Infallible> {
        Ok(lines.iter().cloned().map(OrderEvent::LineAdded).collect())
    }

    fn evolve(state: Option<Self>, event: &OrderEvent) -> Result<Self, BrokenHistory> {
        let OrderEvent::LineAdded(line) = event;
        let mut order = state.unwrap_or_default();
        order.total += i64::from(line.quantity);
        order.lines.push(line.clone());
        if order.lines.len() > KEEP {
            order.lines.remove(0);
        }
        Ok(order)
    }
}

/// What the bodies are like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Body {
    /// As orders are: ids, names of shops and goods.
    Orders,
    /// As orders are, padded with noise to this many bytes. Noise has six bits of chance in each
    /// character; nothing deflates it below three quarters.
    Noise(usize),
}

const STORES: [&str; 4] = ["Waldorf Books", "The Corner Bakery", "Green Grocer & Sons", "Hardware Henry"];
const GOODS: [&str; 6] = [
    "Sourdough loaf, sliced, 750 g",
    "Dune, paperback",
    "Cordless drill 18 V with two batteries",
    "Organic bananas, 1 kg",
    "Espresso beans, dark roast, 500 g",
    "LED bulb E27 warm white (pack of 4)",
];

/// What the writers of this bench draw from.
struct Source {
    ports: TestPorts,
    random: Seeded,
}

impl Source {
    fn uuid(&mut self) -> Uuid {
        kernel::id::derive(&[&self.random.bits().to_string()])
    }

    fn line(&mut self, body: Body) -> Line {
        let mut line = Line {
            line_id: self.uuid(),
            store_id: self.uuid(),
            store_name: STORES[self.random.below(STORES.len())].into(),
            product_id: self.uuid(),
            product_name: GOODS[self.random.below(GOODS.len())].into(),
            price: format!("{}.{:02}", self.random.below(90) + 1, self.random.below(100)),
            quantity: self.random.below(5) as u32 + 1,
            note: String::new(),
        };
        if let Body::Noise(bytes) = body {
            let plain = serde_json::to_string(&line).map_or(0, |json| json.len());
            line.note = (plain..bytes).map(|_| noise(&mut self.random)).collect();
        }
        line
    }

    fn lines(&mut self, body: Body, count: usize) -> Vec<Line> {
        (0..count).map(|_| self.line(body)).collect()
    }

    /// As a request through the API has it: with every field that a commit can carry.
    fn command(&mut self) -> CommandMeta {
        self.ports.advance(std::time::Duration::from_nanos(1_234_567));
        let (id, actor) = (CommandId::new(self.uuid()), format!("customer:{}", self.uuid()));
        let trace = TraceParent::new(u128::from(self.random.bits()) << 64 | 7, self.random.bits(), true);
        let causation = Some(self.uuid());
        CommandMeta { causation, trace: Some(trace), ..self.ports.repeat(id, &actor) }
    }

    fn stream(&mut self) -> StreamId {
        StreamId::of::<Small, ()>(kernel::Id::new(self.uuid()))
    }
}

fn noise(random: &mut Seeded) -> char {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char::from(LETTERS[random.below(64)])
}

struct Bench {
    dynamo: EmbeddedDynamo,
    log: DynamoLog,
    meter: Arc<Meter>,
    source: Source,
    over_budget: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dynamo = EmbeddedDynamo::start().await;
    let meter = Arc::new(Meter::default());
    let log = dynamo.event_log(TABLE).await.metered(meter.clone());
    let source = Source { ports: TestPorts::new(1), random: Seeded::new(1) };
    let mut bench = Bench { dynamo, log, meter, source, over_budget: Vec::new() };

    println!("Event table: consumed capacity and requests (a snapshot every {SNAPSHOT_EVERY} commits)\n");
    row("what", "measured", "budget", "ok?");
    row(&"-".repeat(WHAT), &"-".repeat(MEASURED), &"-".repeat(BUDGET), "---");
    bench.appends().await;
    bench.commands().await;
    bench.means().await;
    bench.loads().await;
    match bench.over_budget.as_slice() {
        [] => println!("\nEverything is within its budget."),
        over => println!("\nOVER BUDGET: {}", over.join("; ")),
    }
}

const WHAT: usize = 62;
const MEASURED: usize = 48;
const BUDGET: usize = 22;

fn row(what: &str, measured: &str, budget: &str, ok: &str) {
    println!("{what:WHAT$}  {measured:MEASURED$}  {budget:BUDGET$}  {ok}");
}

impl Bench {
    fn report(&mut self, what: String, measured: String, budget: &str, ok: bool) {
        row(&what, &measured, budget, if ok { "ok" } else { "OVER BUDGET" });
        if !ok {
            self.over_budget.push(format!("{what}: {measured}"));
        }
    }

    fn store(&self) -> EventStore {
        EventStore::new(Arc::new(self.log.clone()), self.source.ports.ports())
    }

    async fn send<const KEEP: usize>(&mut self, stream: &StreamId, expect: Expect, lines: &Vec<Line>) {
        let meta = self.source.command();
        let answer = self.store().transact::<Order<KEEP>>(stream, expect, lines, &meta).await;
        answer.expect("the command is carried out");
    }

    /// One commit of so many events.
    async fn appends(&mut self) {
        for body in [Body::Orders, Body::Noise(350), Body::Noise(500)] {
            for (events, budget) in [(1, 1.0), (3, 2.0)] {
                let stream = self.source.stream();
                let lines = self.source.lines(body, events);
                self.meter.take();
                self.send::<3>(&stream, Expect::New, &lines).await;
                let Reading { requests, write_units, .. } = self.meter.take();
                let (plain, stored) = self.sizes(&stream).await;
                let each = serde_json::to_string(&lines[0]).map_or(0, |json| json.len());
                self.report(
                    format!("append {events} x {each} B ({body:?}): {plain} B plain, {stored} B stored"),
                    format!("{write_units} WRU, {requests} request(s)"),
                    &format!("{budget} WRU, 1 request"),
                    write_units <= budget && requests == 1,
                );
            }
        }
    }

    /// The size of a stream's only commit, as if nothing were deflated and as it is.
    async fn sizes(&mut self, stream: &StreamId) -> (usize, usize) {
        let key = aws_sdk_dynamodb::types::AttributeValue::S(stream.to_string());
        let found = self
            .dynamo
            .client()
            .query()
            .table_name(TABLE)
            .key_condition_expression("#stream = :stream")
            .expression_attribute_names("#stream", "stream")
            .expression_attribute_values(":stream", key)
            .send()
            .await
            .expect("the commit is read");
        let mut item = found.items()[0].clone();
        let stored = item_bytes(&item);
        let history = self.store().history(stream).await.expect("the stream is read");
        self.meter.take();
        let records: Vec<serde_json::Value> = history[0]
            .events
            .iter()
            .map(|e| {
                serde_json::json!({
                    "id": e.id, "type": e.event.event_type, "schema": e.event.schema, "data": e.event.data
                })
            })
            .collect();
        let events = aws_sdk_dynamodb::types::AttributeValue::S(serde_json::json!(records).to_string());
        item.insert("events".into(), events);
        (item_bytes(&item), stored)
    }

    /// Round trips of a command.
    async fn commands(&mut self) {
        let counted = |reading: Reading| {
            let Reading { requests, write_units, read_units } = reading;
            format!("{requests} request(s): {read_units} RRU read, {write_units} WRU written")
        };
        let stream = self.source.stream();
        let lines = self.source.lines(Body::Orders, 1);
        self.meter.take();
        self.send::<3>(&stream, Expect::New, &lines).await;
        let create = self.meter.take();
        self.report(
            "command that creates (expects a new stream)".into(),
            counted(create),
            "1 PutItem",
            create.requests == 1 && create.read_units == 0.0,
        );
        for _ in 0..30 {
            self.send::<3>(&stream, Expect::Any, &lines).await;
        }
        self.meter.take();
        self.send::<3>(&stream, Expect::Any, &lines).await;
        let command = self.meter.take();
        self.report(
            "command on a stream".into(),
            counted(command),
            "1 Query + 1 PutItem",
            command.requests == 2 && command.read_units > 0.0 && command.write_units > 0.0,
        );
    }

    /// A stream of `commits` commits of one event, made in memory and copied over; then the meter reads what
    /// the copying wrote.
    async fn stream<const KEEP: usize>(&mut self, body: Body, commits: usize) -> (StreamId, RecordingLog) {
        let recording = RecordingLog::new();
        let store = EventStore::new(Arc::new(recording.clone()), self.source.ports.ports());
        let stream = self.source.stream();
        for _ in 0..commits {
            let (lines, meta) = (self.source.lines(body, 1), self.source.command());
            store
                .transact::<Order<KEEP>>(&stream, Expect::Any, &lines, &meta)
                .await
                .expect("the command is carried out");
        }
        self.meter.take();
        recording.play_into(&self.log).await;
        (stream, recording)
    }

    /// What an append costs on average, snapshots included.
    async fn means(&mut self) {
        self.mean::<3>(Body::Orders).await;
        self.mean::<6>(Body::Orders).await;
        self.mean::<3>(Body::Noise(350)).await;
        self.mean::<5>(Body::Noise(350)).await;
    }

    async fn mean<const KEEP: usize>(&mut self, body: Body) {
        const COMMITS: usize = 1000;
        let (_, recording) = self.stream::<KEEP>(body, COMMITS).await;
        let mean = self.meter.take().write_units / COMMITS as f64;
        let states: Vec<usize> = recording
            .appended()
            .iter()
            .filter_map(|commit| commit.as_commit().snapshot.as_ref().map(|s| s.state.to_string().len()))
            .collect();
        let state = states.iter().sum::<usize>() / states.len().max(1);
        self.report(
            format!("append, mean of 1,000 ({body:?}), {} snapshots of {state} B", states.len()),
            format!("{mean:.3} WRU"),
            "1.15 WRU",
            mean <= 1.15,
        );
    }

    /// What a load costs, at the worst of the lengths around: how many snapshots lie in reach depends on it.
    async fn loads(&mut self) {
        self.load::<3>(Body::Orders, &[10, 100, 10_000]).await;
        self.load::<6>(Body::Orders, &[100]).await;
        self.load::<3>(Body::Noise(350), &[10, 100]).await;
        self.load::<5>(Body::Noise(350), &[100]).await;
        self.load::<4>(Body::Noise(500), &[100]).await;
    }

    async fn load<const KEEP: usize>(&mut self, body: Body, lengths: &[usize]) {
        for &length in lengths {
            let (stream, _) = self.stream::<KEEP>(body, length).await;
            let (mut most, mut requests, mut phases) = (0.0_f64, 0, 0);
            let state = loop {
                self.meter.take();
                let loaded = self.store().load::<Order<KEEP>>(&stream).await.expect("the stream loads");
                let reading = self.meter.take();
                most = most.max(reading.read_units);
                requests = requests.max(reading.requests);
                phases += 1;
                // Ten events are ten events; a long stream is a few longer in some other phase.
                if length < SNAPSHOT_EVERY as usize || phases == SNAPSHOT_EVERY {
                    assert_eq!(loaded.version().get() as usize, length + phases as usize - 1);
                    break serde_json::to_string(&loaded.state).map_or(0, |json| json.len());
                }
                let lines = self.source.lines(body, 1);
                self.send::<KEEP>(&stream, Expect::Any, &lines).await;
            };
            self.report(
                format!("load at {length} events ({body:?}), state of {state} B"),
                format!("{most} RRU, {requests} request(s), the worst of {phases} loads"),
                "3 RRU, 1 request",
                most <= 3.0 && requests == 1,
            );
        }
    }
}
