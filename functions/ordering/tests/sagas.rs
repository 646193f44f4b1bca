//! The protocol of sagas over an event table and views in memory, with executions that can fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod orders;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use contracts::ordering::{SagaEvent, SagaUndoEnded, UndoOrigin, UndoOutcome};
use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
    payments::{InvoiceCanceled, InvoiceEvent, PaymentEvent, PaymentReleased},
};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use executions::{Executions, Run};
use kernel::{Aggregate, CommandMeta, Id, StreamId, Version};
use lambda::{Fault, Function, use_case};
use ordering::{
    order::{Order, OrderCommand},
    saga::{Patience, Saga},
    saga_views::{SagaRows, SagaShower, SagaViews},
    sagas::{Machines, Resumed, Resumer, Sagas},
    views::Orders,
};
use orders::{approve, commands, complete, paid};
use projection::{MemoryViews, Projection, Projector};
use serde_json::{Value, json};
use testing::{FaultyLog, TestPorts, faulty::OnAppend, tell};

/// Seconds that an execution has before it counts as lost.
const PATIENCE: u64 = 300;
const FORGOTTEN: u64 = 1_209_600;
/// More than a page of an index.
const MANY: usize = 120;

/// Executions that remember what was started, in short, and that an outage can befall.
#[derive(Default)]
struct Remembered {
    started: Mutex<Vec<(OrderId, String)>>,
    inputs: Mutex<Vec<Value>>,
    /// Orders for which nothing can be started, nor looked at.
    out: Mutex<BTreeSet<OrderId>>,
    /// Executions that can be looked at, by name.
    undos: Mutex<BTreeMap<String, Run>>,
}

impl Remembered {
    fn answer(&self, order: OrderId) -> Result<(), Fault> {
        if self.out.lock().unwrap().contains(&order) { Err(Fault::unavailable("outage")) } else { Ok(()) }
    }
}

#[async_trait]
impl Executions for Remembered {
    async fn start(&self, machine: &str, name: &str, input: &Value) -> Result<(), Fault> {
        let order: OrderId = serde_json::from_value(input["orderId"].clone()).unwrap();
        let what = if machine == "undo" {
            let (attempt, reason) = (&input["attempt"], input["reason"].as_str().unwrap());
            assert_eq!(name, format!("{order}-undo-{attempt}"));
            let origin: UndoOrigin = serde_json::from_value(input["origin"].clone()).unwrap();
            format!("undo {attempt} {origin:?} {reason}")
        } else {
            assert!(name.starts_with(&format!("{order}-")), "{name}");
            machine.to_owned()
        };
        self.answer(order)?;
        self.started.lock().unwrap().push((order, what));
        let mut input = input.clone();
        input["name"] = json!(name);
        self.inputs.lock().unwrap().push(input);
        Ok(())
    }

    async fn look(&self, machine: &str, name: &str) -> Result<Option<Run>, Fault> {
        assert_eq!(machine, "undo");
        self.answer(name.split_once("-undo-").unwrap().0.parse().unwrap())?;
        Ok(self.undos.lock().unwrap().get(name).cloned())
    }
}

/// The sagas of a mall.
struct World {
    ports: TestPorts,
    log: FaultyLog,
    store: EventStore,
    orders: Projector<Orders>,
    rows: Projector<SagaRows>,
    executions: Arc<Remembered>,
}

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

impl World {
    fn new() -> Self {
        let ports = TestPorts::new(1);
        let log = FaultyLog::new(Arc::new(MemoryLog::default()));
        let store = EventStore::new(Arc::new(log.clone()), ports.ports());
        let orders = Projector::new(Arc::new(MemoryViews::new()), store.clone(), ports.ports());
        let rows = Projector::new(Arc::new(MemoryViews::new()), store.clone(), ports.ports());
        Self { ports, log, store, orders, rows, executions: Arc::default() }
    }

    /// A mall with one order that became this.
    async fn with(status: &str) -> (Self, OrderId) {
        let world = Self::new();
        let id = world.order("a", status).await;
        (world, id)
    }

    fn sagas(&self) -> Sagas {
        let patience = Patience::new(&PATIENCE.to_string()).unwrap();
        let machines = Machines { placement: "place".to_owned(), undo: "undo".to_owned() };
        Sagas::new(self.store.clone(), self.ports.ports(), self.executions.clone(), machines, patience)
    }

    async fn send(&self, id: OrderId, command: OrderCommand) {
        let (stream, meta) = (StreamId::of::<Order, _>(id), self.ports.command("saga:order"));
        self.store.transact::<Order>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    /// An order that became this; a second later, so that no two are placed at one time.
    async fn order(&self, name: &str, status: &str) -> OrderId {
        let id = order(name);
        self.after(1);
        for command in commands(status, id) {
            self.send(id, command).await;
        }
        id
    }

    /// An event of the order's invoice.
    async fn invoice(&self, id: OrderId, event: InvoiceEvent) -> Envelope {
        let stream: StreamId = format!("payments.Invoice/{id}").parse().unwrap();
        let version = tell(&self.store, &stream, &event, &self.ports.command("policy:x")).await;
        self.store.event(&stream, version).await.unwrap().unwrap()
    }

    fn after(&self, seconds: u64) {
        self.ports.advance(Duration::from_secs(seconds));
    }

    async fn events<A: Aggregate>(&self, id: OrderId) -> Vec<Envelope> {
        self.store.events_after(&StreamId::of::<A, _>(id), Version::NONE).await.unwrap()
    }

    /// The saga's stream, in short: types of events, and the numbers of attempts.
    async fn saga(&self, id: OrderId) -> Vec<String> {
        let short = |event: &Envelope| {
            let attempt = event.data.as_ref().unwrap()["attempt"].as_u64();
            let attempt = attempt.map(|attempt| format!(" {attempt}")).unwrap_or_default();
            format!("{}{attempt}", event.event_type.strip_prefix("Saga").unwrap())
        };
        self.events::<Saga>(id).await.iter().map(short).collect()
    }

    async fn status(&self, id: OrderId) -> &'static str {
        self.store.load::<Order>(&StreamId::of::<Order, _>(id)).await.unwrap().state.unwrap().status()
    }

    /// Takes what was started for an order since this was last asked.
    fn started(&self, id: OrderId) -> Vec<String> {
        let mut started = self.executions.started.lock().unwrap();
        started.extract_if(.., |(order, _)| *order == id).map(|(_, what)| what).collect()
    }

    fn outage(&self, id: OrderId) {
        self.executions.out.lock().unwrap().insert(id);
    }

    fn healed(&self) {
        self.executions.out.lock().unwrap().clear();
    }

    fn function(&self, name: &str) -> Function {
        let (ports, sagas) = (self.ports.ports(), Arc::new(self.sagas()));
        let views = Arc::new(SagaViews::new(self.orders.clone(), self.rows.clone()));
        let shower = SagaShower::new(self.store.clone(), self.executions.clone(), "undo".to_owned());
        match name {
            "begin-undo" => use_case(&sagas, &ports, Sagas::begin_undo),
            "close-order" => use_case(&sagas, &ports, Sagas::close_order),
            "end-undo" => use_case(&sagas, &ports, Sagas::end_undo),
            "retry-saga" => use_case(&sagas, &ports, Sagas::retry_saga),
            "list-sagas" => use_case(&views, &ports, SagaViews::list_sagas),
            "get-saga" => use_case(&Arc::new(shower), &ports, SagaShower::get_saga),
            _ => panic!("no function {name}"),
        }
    }

    /// A step of an execution: its answer, or the name of its error.
    async fn step(&self, name: &str, execution: &str, id: OrderId, body: Value) -> Result<Value, String> {
        let call =
            json!({ "command": format!("{execution}:{name}"), "id": id, "actor": "saga:undo", "body": body });
        self.function(name).invoke(call).await.map_err(|error| error.error_type)
    }

    /// A placement that failed.
    async fn failed(&self, execution: &str, id: OrderId, error: &str) -> Result<Value, String> {
        let body = json!({ "origin": "placement", "error": error, "cause": "{\"errorMessage\":\"why\"}" });
        self.step("begin-undo", execution, id, body).await
    }

    /// The status and the body of an answer over HTTP.
    async fn http(&self, name: &str, id: &str, query: &str, headers: Value, body: Value) -> (u64, Value) {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: serde_json::Map<String, Value> =
            pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let payload = json!({
            "rawPath": format!("/api/sagas/{id}/{name}"), "headers": headers, "queryStringParameters": query,
            "pathParameters": { "id": id }, "body": body.to_string(),
            "requestContext": { "http": { "method": "POST" } }
        });
        let answer = self.function(name).invoke(payload).await.unwrap();
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    /// Asks as an operator: `OK`, or the code of the refusal.
    async fn asks(&self, name: &str, id: OrderId, body: Value) -> String {
        let (status, body) = self.http(name, &id.to_string(), "", json!({}), body).await;
        match status {
            200 => "OK".to_owned(),
            _ => format!("{status} {}", body["code"].as_str().unwrap()),
        }
    }

    /// Lets the views hear of all that happened.
    async fn heard(&self) {
        let views = Arc::new(SagaViews::new(self.orders.clone(), self.rows.clone()));
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        for event in page.commits.iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>()) {
            match event.stream.category() {
                SagaRows::CATEGORY => views.clone().project_sagas(vec![event]).await.remove(0).unwrap(),
                Orders::CATEGORY => drop(self.orders.deliver(&event).await.unwrap()),
                _ => {}
            }
        }
    }

    /// Runs once, after the views heard of all.
    async fn run(&self) -> Resumed {
        self.heard().await;
        self.run_now().await.unwrap()
    }

    /// Runs once, on what the views heard of before.
    async fn run_now(&self) -> Result<Resumed, Fault> {
        let forgotten = Duration::from_secs(FORGOTTEN);
        let resumer = Resumer::new(self.sagas(), self.orders.clone(), self.rows.clone(), forgotten);
        Arc::new(resumer).resume_sagas().await
    }

    /// Runs each minute for so many: tells what was started, and in which minute.
    async fn minutes(&self, id: OrderId, count: u32) -> Vec<(u32, String)> {
        let mut seen = Vec::new();
        for minute in 1..=count {
            self.after(60);
            self.run().await;
            seen.extend(self.started(id).into_iter().map(|what| (minute, what)));
        }
        seen
    }

    /// Id and status of what is listed, in order.
    async fn listed(&self, query: &str) -> Vec<(String, String)> {
        let (status, body) = self.http("list-sagas", "", query, json!({}), Value::Null).await;
        assert_eq!(status, 200, "{query}: {body}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sagas = body["sagas"].as_array().unwrap().iter();
        sagas.map(|saga| (text(&saga["id"]), text(&saga["status"]))).collect()
    }

    async fn shown(&self, id: OrderId) -> Value {
        let (status, mut body) = self.http("get-saga", &id.to_string(), "", json!({}), Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body["saga"].take()
    }
}

/// The data of an undo at its end.
fn ended(attempt: u32, with: Value) -> Value {
    let mut data = json!({ "attempt": attempt, "orderId": "x", "origin": "placement", "reason": "X" });
    data.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    data
}

// ---- starting

#[tokio::test]
async fn a_placement_is_started_with_ids_only_and_each_time_under_a_name_of_its_own() {
    let (world, id) = World::with("pending").await;
    let mut event = world.events::<Order>(id).await.remove(0);
    event.data = None; // the bus could not carry it
    for _ in 0..2 {
        Arc::new(world.sagas()).start_placement(event.clone()).await.unwrap();
    }
    assert_eq!(world.started(id), ["place", "place"]);
    let mut inputs = world.executions.inputs.lock().unwrap().clone();
    let names = inputs.iter_mut().map(|input| input["name"].take()).collect::<Vec<_>>();
    assert_ne!(names[0], names[1]);
    assert_eq!(inputs[0], inputs[1]);
    let wanted = json!({
        "orderId": id, "customerId": Id::<()>::derived(&["ada"]), "paymentId": Id::<()>::derived(&["card"]),
        "shoppingId": shopping_list_of(id), "correlation": event.correlation, "causation": event.id,
        "trace": null, "name": null,
    });
    assert_eq!(inputs[0], wanted);
}

#[tokio::test]
async fn a_replay_of_old_events_starts_no_placement() {
    for status in ["approved", "ready", "completed", "rejected", "cancelled"] {
        let (world, id) = World::with(status).await;
        let event = world.events::<Order>(id).await.remove(0);
        Arc::new(world.sagas()).start_placement(event).await.unwrap();
        assert!(world.started(id).is_empty(), "{status}");
    }
}

#[tokio::test]
async fn an_event_whose_execution_could_not_be_started_comes_again() {
    let (world, id) = World::with("cancelled").await;
    let [created, canceled] = &world.events::<Order>(id).await[..] else { panic!("two events") };
    let undo = || Arc::new(world.sagas()).undo_order(canceled.clone());
    world.outage(id);
    assert!(undo().await.unwrap_err().is_technical());
    world.healed();
    for _ in 0..2 {
        undo().await.unwrap();
    }
    let once = "undo 1 Cancellation ORDER_CANCELLED";
    assert_eq!((world.saga(id).await, world.started(id)), (vec!["UndoBegan 1".into()], vec![once.into(); 2]));
    // What a mistake in a rule would let through.
    assert!(Arc::new(world.sagas()).undo_order(created.clone()).await.is_err());
    assert!(Arc::new(world.sagas()).start_placement(canceled.clone()).await.is_err());
}

#[tokio::test]
async fn an_order_that_was_not_paid_in_time_is_undone_but_not_for_an_invoice_that_was_cancelled_by_hand() {
    for (reason, wanted) in [("PAYMENT_OVERDUE", vec!["undo 1 Expiry PAYMENT_OVERDUE"]), ("TYPO", vec![])] {
        let (world, id) = World::with("ready").await;
        let canceled = InvoiceCanceled { order_id: id, reason: reason.to_owned() };
        let event = world.invoice(id, InvoiceEvent::InvoiceCanceled(canceled)).await;
        Arc::new(world.sagas()).undo_order(event).await.unwrap();
        assert_eq!(world.started(id), wanted);
    }
}

// ---- undoing

#[tokio::test]
async fn an_undo_is_recorded_before_it_is_started_so_that_one_that_never_got_going_is_found() {
    let (world, id) = World::with("pending").await;
    world.outage(id);
    assert_eq!(world.failed("p", id, "OUT_OF_STOCK").await, Err("Unavailable".into()));
    assert_eq!(world.saga(id).await, ["UndoBegan 1"]);
    world.healed();
    world.run().await;
    assert!(world.started(id).is_empty(), "it has its time");
    world.after(PATIENCE * 5 / 4);
    assert_eq!(world.run().await, Resumed { resumed: 1, ..Resumed::default() });
    assert_eq!(world.started(id), ["undo 2 Placement OUT_OF_STOCK"]);
}

#[tokio::test]
async fn a_step_that_is_repeated_because_nothing_could_be_started_starts_what_it_recorded() {
    let (world, id) = World::with("pending").await;
    world.outage(id);
    world.failed("p", id, "OUT_OF_STOCK").await.unwrap_err();
    world.healed();
    world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
    assert_eq!(world.saga(id).await, ["UndoBegan 1"]);
    assert_eq!(world.started(id), ["undo 1 Placement OUT_OF_STOCK"]);
}

#[tokio::test]
async fn two_who_begin_at_once_begin_one_attempt() {
    let (world, id) = World::with("pending").await;
    let world = Arc::new(world);
    let other = world.clone();
    world.log.on_append([OnAppend::after(move || async move {
        other.failed("q", id, "Unavailable").await.unwrap();
    })]);
    world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
    assert_eq!(world.saga(id).await, ["UndoBegan 1"]);
    // The second start finds the name taken.
    assert_eq!(world.started(id), ["undo 1 Placement PLACEMENT_FAILED"; 2]);
}

#[tokio::test]
async fn a_cancellation_outranks_an_undo_that_would_keep_the_order() {
    let (world, id) = World::with("pending").await;
    world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
    world.send(id, OrderCommand::Cancel).await;
    let canceled = world.events::<Order>(id).await.remove(1);
    Arc::new(world.sagas()).undo_order(canceled).await.unwrap();
    // A placement that fails then is no reason any more.
    world.failed("q", id, "ORDER_IS_OVER").await.unwrap();
    let (first, second) = ("undo 1 Placement OUT_OF_STOCK", "undo 2 Cancellation ORDER_CANCELLED");
    assert_eq!(world.started(id), [first, second, second]);
    // The first one comes too late to keep it, and so does its failure.
    world
        .step("end-undo", "u1", id, ended(1, json!({ "kept": { "Error": "ORDER_IS_KEPT", "Cause": "" } })))
        .await
        .unwrap();
    world
        .step("end-undo", "u1", id, ended(1, json!({ "failure": { "Error": "X", "Cause": "" } })))
        .await
        .unwrap();
    assert_eq!(world.saga(id).await, ["UndoBegan 1", "UndoBegan 2"]);
}

#[tokio::test]
async fn a_placement_that_fails_late_beside_an_approved_order_begins_nothing() {
    for status in ["approved", "ready", "completed"] {
        let (world, id) = World::with(status).await;
        world.failed("p", id, "RESERVATION_IS_CLOSED").await.unwrap();
        assert_eq!((world.saga(id).await, world.started(id)), (vec![], vec![]), "{status}");
    }
}

#[tokio::test]
async fn a_caller_from_outside_cannot_pass_for_a_placement_nor_a_placement_for_an_operator() {
    let (world, id) = World::with("approved").await;
    let body = json!({ "origin": "placement", "error": "X", "cause": "" });
    assert_eq!(world.asks("begin-undo", id, body).await, "OK");
    assert_eq!(world.started(id), ["undo 1 Operator UNDONE_BY_HAND"]);
    world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
    assert_eq!(world.saga(id).await, ["UndoBegan 1"]);
}

#[tokio::test]
async fn an_order_is_closed_first_unless_it_is_to_be_kept() {
    let kept = "ORDER_IS_KEPT";
    for (status, is_paid, of_placement, of_others) in [
        ("pending", false, "rejected", "rejected"),
        ("approved", false, kept, "cancelled"),
        ("ready", false, kept, "cancelled"),
        ("ready", true, kept, kept),
        ("completed", true, kept, kept),
        ("rejected", false, "rejected", "rejected"),
        ("cancelled", false, "cancelled", "cancelled"),
    ] {
        for origin in ["placement", "cancellation", "expiry", "operator"] {
            let (world, id) = World::with(status).await;
            if is_paid {
                world.invoice(id, paid(id)).await;
            }
            let close = async || {
                let closed =
                    world.step("close-order", "u", id, json!({ "origin": origin, "reason": "X" })).await;
                closed.map_or_else(|error| error, |answer| answer["id"].as_str().unwrap().to_owned())
            };
            let wanted = if origin == "placement" { of_placement } else { of_others };
            for _ in 0..2 {
                let code = close().await;
                assert_eq!(code == kept, wanted == kept, "{status} {origin}: {code}");
            }
            let wanted = if wanted == kept { status } else { wanted };
            assert_eq!(world.status(id).await, wanted, "{status} {origin}");
        }
    }
    let (world, id) = World::with("pending").await;
    assert!(world.step("close-order", "u", id, json!({ "origin": "nobody", "reason": "X" })).await.is_err());
}

#[tokio::test]
async fn an_undo_ends_undone_or_kept_and_a_refusal_calls_an_operator_but_not_an_outage() {
    let failure =
        |error: &str| json!({ "failure": { "Error": error, "Cause": "{\"errorMessage\":\"why\"}" } });
    let (kept, late) = (json!({ "Error": "ORDER_IS_KEPT", "Cause": "" }), failure("STOCK_IS_SOLD"));
    for (with, event) in [
        (json!({}), Some("UndoEnded 1")),
        (json!({ "kept": kept }), Some("UndoEnded 1")),
        (late.clone(), Some("Stuck 1")),
        (json!({ "kept": kept, "failure": late["failure"] }), Some("Stuck 1")),
        (failure("Unavailable"), None),
        (failure("States.Timeout"), None),
        (failure("Lambda.Unknown"), None),
    ] {
        let (world, id) = World::with("pending").await;
        world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
        for _ in 0..2 {
            world.step("end-undo", "u", id, ended(1, with.clone())).await.unwrap();
        }
        let wanted: Vec<&str> = ["UndoBegan 1"].into_iter().chain(event).collect();
        assert_eq!(world.saga(id).await, wanted, "{with}");
    }
}

// ---- taking up

#[tokio::test]
async fn a_pending_order_is_placed_again_three_times_when_its_time_is_over_and_then_undone_until_that_is_stuck()
 {
    let (world, id) = World::with("pending").await;
    let seen = world.minutes(id, 180).await;
    let what: Vec<&str> = seen.iter().map(|(_, what)| what.as_str()).collect();
    let undo = |n| format!("undo {n} Placement PLACEMENT_TIMED_OUT");
    assert_eq!(what, ["place", "place", "place", &undo(1), &undo(2), &undo(3), &undo(4)]);
    // Patience after the order, then once, twice, four times as long; and once, twice, four times for the
    // undos.
    let minutes: Vec<u32> = seen.iter().map(|(minute, _)| *minute).collect();
    assert_eq!(minutes[0], 5);
    for (pair, patience) in minutes.windows(2).zip([5, 10, 20, 5, 10, 20]) {
        let waited = pair[1] - pair[0];
        assert!((patience * 3 / 4..=patience * 5 / 4 + 1).contains(&waited), "{waited}, not {patience}");
    }
    assert_eq!(
        world.saga(id).await[3..],
        ["UndoBegan 1", "UndoBegan 2", "UndoBegan 3", "UndoBegan 4", "Stuck 4"]
    );
    assert_eq!(world.shown(id).await["failure"]["error"], "UNDO_FAILED");
}

#[tokio::test]
async fn an_outage_uses_up_no_attempt() {
    let (world, id) = World::with("pending").await;
    world.outage(id);
    assert!(world.minutes(id, 60).await.is_empty());
    assert!(world.saga(id).await.is_empty());
    world.healed();
    assert_eq!(world.minutes(id, 1).await.len(), 1);
    assert_eq!(world.saga(id).await, ["PlacementResumed 1"]);

    world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
    world.outage(id);
    world.started(id);
    assert!(world.minutes(id, 60).await.is_empty());
    world.healed();
    assert_eq!(world.minutes(id, 1).await, [(1, "undo 2 Placement OUT_OF_STOCK".to_owned())]);
}

#[tokio::test]
async fn a_saga_whose_order_went_on_meanwhile_needs_nobody_any_more() {
    let (world, id) = World::with("pending").await;
    world.minutes(id, 5).await;
    world.heard().await;
    world.send(id, approve(id)).await;
    assert!(world.minutes(id, 60).await.is_empty());
    assert_eq!(world.saga(id).await, ["PlacementResumed 1", "Settled"]);
}

#[tokio::test]
async fn a_cancellation_whose_event_was_lost_is_undone_all_the_same() {
    let (world, id) = World::with("pending").await;
    world.minutes(id, 5).await;
    world.send(id, OrderCommand::Cancel).await;
    let seen = world.minutes(id, 10).await;
    assert_eq!(seen[0].1, "undo 1 Cancellation ORDER_CANCELLED");
}

#[tokio::test]
async fn an_operator_is_called_once_for_an_order_that_everybody_forgot() {
    let world = World::new();
    let (approved, ready) = (world.order("a", "approved").await, world.order("b", "ready").await);
    let others = [world.order("c", "completed").await, world.order("d", "cancelled").await];
    // It was placed with some trouble, which is no reason to forget it.
    let settled = world.order("e", "pending").await;
    world.minutes(settled, 5).await;
    world.send(settled, approve(settled)).await;
    world.after(PATIENCE * 5 / 4);
    world.run().await;
    world.after(FORGOTTEN - 1000);
    assert_eq!(world.run().await, Resumed::default());
    world.after(1000);
    assert_eq!(world.run().await, Resumed { forgotten: 3, ..Resumed::default() });
    assert_eq!(world.run().await, Resumed::default());
    for id in [approved, ready] {
        assert_eq!(world.saga(id).await, ["Stuck 0"]);
    }
    assert_eq!(world.saga(settled).await, ["PlacementResumed 1", "Settled", "Stuck 0"]);
    for id in others {
        assert!(world.saga(id).await.is_empty());
    }
    // What goes on by itself after all needs nobody: an operator says so.
    assert_eq!(world.asks("retry-saga", approved, json!({})).await, "409 SAGA_NEEDS_NOTHING");
    world.send(ready, complete(ready)).await;
    assert_eq!(world.asks("retry-saga", ready, json!({})).await, "OK");
    assert_eq!(world.saga(ready).await, ["Stuck 0", "Settled"]);
}

#[tokio::test]
async fn one_order_that_fails_keeps_no_other_from_being_taken_up() {
    let world = World::new();
    let (failing, healthy) = (world.order("a", "pending").await, world.order("b", "pending").await);
    world.outage(failing);
    world.after(PATIENCE);
    assert_eq!(world.run().await, Resumed { resumed: 1, failed: 1, ..Resumed::default() });
    assert_eq!((world.started(failing), world.started(healthy)), (vec![], vec!["place".to_owned()]));
}

#[tokio::test]
async fn undos_that_are_due_keep_no_pending_order_from_being_taken_up() {
    let world = World::new();
    for n in 0..MANY {
        let id = world.order(&n.to_string(), "pending").await;
        world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
        world.outage(id);
    }
    let pending = world.order("pending", "pending").await;
    world.after(PATIENCE * 2);
    assert_eq!(world.run().await, Resumed { resumed: 1, failed: MANY, ..Resumed::default() });
    assert_eq!(world.started(pending), ["place"]);
}

#[tokio::test]
async fn a_saga_that_no_repeat_can_take_up_raises_the_alarm_and_stops_no_other() {
    let world = World::new();
    let (broken, healthy) = (world.order("a", "pending").await, world.order("b", "pending").await);
    world.heard().await;
    let ended = SagaUndoEnded { attempt: 1, outcome: UndoOutcome::Undone };
    let stream = StreamId::of::<Saga, _>(broken);
    tell(&world.store, &stream, &SagaEvent::SagaUndoEnded(ended), &world.ports.command("nobody")).await;
    world.after(PATIENCE);
    assert!(!world.run_now().await.unwrap_err().may_pass());
    assert_eq!(world.started(healthy), ["place"]);
}

#[tokio::test]
async fn rows_that_are_behind_their_streams_hide_no_order_that_needs_something() {
    let world = World::new();
    let mut over = Vec::new();
    for n in 0..MANY {
        let id = world.order(&n.to_string(), "pending").await;
        world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
        over.push(id);
    }
    let lost = world.order("lost", "pending").await;
    world.failed("p", lost, "OUT_OF_STOCK").await.unwrap();
    let pending = world.order("pending", "pending").await;
    world.heard().await;
    // What happens from here on no view hears of.
    for id in &over {
        world.step("end-undo", "e", *id, ended(1, json!({}))).await.unwrap();
    }
    world.after(PATIENCE * 2);
    let _ = (world.started(lost), world.started(pending));
    assert_eq!(world.run_now().await.unwrap(), Resumed { resumed: 2, ..Resumed::default() });
    assert_eq!(world.started(lost), ["undo 2 Placement OUT_OF_STOCK"]);
    assert_eq!(world.started(pending), ["place"]);
    let row = world.rows.read(&over[0].to_string(), None).await.unwrap().unwrap();
    let row = serde_json::to_value(row.row).unwrap();
    assert_eq!(row["status"], "undone", "it was brought up to its stream, so it is due no more");
}

// ---- operators

#[tokio::test]
async fn an_operator_tries_again_what_is_not_over_and_is_told_when_nothing_is() {
    let nothing = "409 SAGA_NEEDS_NOTHING";
    for (status, wanted, started) in [
        ("pending", "OK", Some("place")),
        ("approved", nothing, None),
        ("ready", nothing, None),
        ("completed", nothing, None),
        // Its cancellation did not begin the undo.
        ("rejected", "OK", Some("undo 1 Operator OUT_OF_STOCK")),
        ("cancelled", "OK", Some("undo 1 Operator ORDER_CANCELLED")),
    ] {
        let (world, id) = World::with(status).await;
        assert_eq!(world.asks("retry-saga", id, json!({})).await, wanted, "{status}");
        assert_eq!(world.started(id), started.into_iter().collect::<Vec<_>>(), "{status}");
    }
    let (world, id) = World::with("pending").await;
    world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
    let refused = json!({ "failure": { "Error": "STOCK_IS_SOLD", "Cause": "" } });
    for attempt in 2..4 {
        assert_eq!(world.asks("retry-saga", id, json!({})).await, "OK", "under way");
        world.step("end-undo", &attempt.to_string(), id, ended(attempt, refused.clone())).await.unwrap();
    }
    assert_eq!(world.asks("retry-saga", id, json!({})).await, "OK", "stuck");
    let undo = |n| format!("undo {n} Placement OUT_OF_STOCK");
    assert_eq!(world.started(id), [undo(1), undo(2), undo(3), undo(4)]);
    world.step("end-undo", "4", id, ended(4, json!({}))).await.unwrap();
    assert_eq!(world.asks("retry-saga", id, json!({})).await, nothing);
    assert_eq!(world.asks("retry-saga", order("unknown"), json!({})).await, "404 ORDER_NOT_FOUND");
}

#[tokio::test]
async fn an_operator_whose_answer_was_lost_and_who_asks_with_the_same_key_starts_nothing_twice() {
    for of_an_undo in [false, true] {
        let (world, id) = World::with("pending").await;
        if of_an_undo {
            world.failed("p", id, "OUT_OF_STOCK").await.unwrap();
        }
        world.started(id);
        for _ in 0..2 {
            world.after(60);
            let key = json!({ "idempotency-key": "k" });
            let (status, body) = world.http("retry-saga", &id.to_string(), "", key, json!({})).await;
            assert_eq!((status, &body["id"]), (200, &json!(id)), "{body}");
        }
        // An undo may have been recorded and not started, so it is started under its one name again.
        let mut started = world.started(id);
        started.dedup();
        assert_eq!(started.len(), 1, "{started:?}");
    }
}

#[tokio::test]
async fn an_operator_undoes_every_order_that_is_not_paid() {
    for status in ["pending", "approved", "ready", "rejected", "cancelled"] {
        let (world, id) = World::with(status).await;
        assert_eq!(world.asks("begin-undo", id, json!({ "reason": "FRAUD" })).await, "OK");
        // An order that is over has its reason.
        let reason = match status {
            "rejected" => "OUT_OF_STOCK",
            "cancelled" => "ORDER_CANCELLED",
            _ => "FRAUD",
        };
        assert_eq!(world.started(id), [format!("undo 1 Operator {reason}")]);
    }
    let (world, id) = World::with("ready").await;
    world.invoice(id, paid(id)).await;
    assert_eq!(world.asks("begin-undo", id, Value::Null).await, "409 ORDER_IS_PAID");
    let (world, id) = World::with("completed").await;
    assert_eq!(world.asks("begin-undo", id, json!({})).await, "409 ORDER_IS_COMPLETED");
    assert_eq!(world.asks("begin-undo", id, json!({ "reason": 7 })).await, "400 NOT_A_TEXT");
    assert_eq!(world.asks("begin-undo", order("unknown"), json!({})).await, "404 ORDER_NOT_FOUND");
    assert!(world.executions.started.lock().unwrap().is_empty());
}

// ---- lists

/// Sagas of every status, by name: newest last.
async fn every_status() -> World {
    let world = World::new();
    for status in ["pending", "approved", "ready", "completed"] {
        world.order(status, status).await;
    }
    for name in ["undoing", "undone", "stuck", "completed after all"] {
        let status = if name == "completed after all" { "ready" } else { "pending" };
        let id = world.order(name, status).await;
        world.after(1);
        world.asks("begin-undo", id, json!({})).await;
        if name == "undone" {
            let close = json!({ "origin": "operator", "reason": "FRAUD" });
            world.step("close-order", "u", id, close).await.unwrap();
            world.step("end-undo", "u", id, ended(1, json!({}))).await.unwrap();
        }
        if name.starts_with(['s', 'c']) {
            let failure = json!({ "failure": { "Error": "STOCK_IS_SOLD", "Cause": "it is sold" } });
            world.step("end-undo", "u", id, ended(1, failure)).await.unwrap();
        }
    }
    let id = order("completed after all");
    world.send(id, complete(id)).await;
    world.heard().await;
    world
}

fn named(names: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    names.iter().map(|(name, status)| (order(name).to_string(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn every_saga_is_listed_once_and_one_that_is_undoing_not_as_running_too() {
    let world = every_status().await;
    let running = [("pending", "running")];
    let succeeded = ["approved", "ready", "completed", "completed after all"].map(|name| (name, "succeeded"));
    let others = ["undoing", "undone", "stuck"].map(|status| (status, status));
    let all = [&running[..], &succeeded, &others].concat();
    for (query, wanted) in
        [("", &all[..]), ("status=", &all), ("status=running", &running), ("status=succeeded", &succeeded)]
            .into_iter()
            .chain(["status=undoing", "status=undone", "status=stuck"].into_iter().zip(others.chunks(1)))
    {
        let listed = world.listed(query).await;
        assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), named(wanted), "{query}");
        assert_eq!(listed.len(), wanted.len(), "{query}: twice");
    }
    let (_, body) = world.http("list-sagas", "", "status=stuck", json!({}), Value::Null).await;
    let stuck = &body["sagas"][0];
    assert_eq!(stuck["failure"], json!({ "error": "STOCK_IS_SOLD", "cause": "it is sold" }));
    assert_eq!((&stuck["order"], &stuck["origin"]), (&json!("pending"), &json!("operator")));
    assert_eq!((&stuck["reason"], &stuck["attempts"]), (&json!("UNDONE_BY_HAND"), &json!(1)));
    assert!(stuck["startedAt"].as_str() < stuck["changedAt"].as_str());
    let id = world.ports.ports().ids.fresh();
    let spelled = |time: String| format!("cursor={time}_{id}");
    let long = spelled(format!("2026-11-20T09:00:00.000000000Z[{}]", "a".repeat(2000)));
    let short = spelled("2026-11-20T09:00:00Z".into());
    for wrong in
        ["status=well", "limit=0", "limit=101", "limit=many", "cursor=x", "cursor=x_y", &long, &short]
    {
        let (status, body) = world.http("list-sagas", "", wrong, json!({}), Value::Null).await;
        assert_eq!((status, &body["code"]), (400, &json!("QUERY_IS_INVALID")), "{wrong}");
    }
}

#[tokio::test]
async fn pages_of_mixed_sources_skip_nothing_and_repeat_nothing_not_even_of_one_moment() {
    let world = every_status().await;
    let moment = world.ports.now();
    for n in 0..40 {
        // Most of them at one time.
        world.ports.set(moment);
        world.order(&n.to_string(), if n % 3 == 0 { "approved" } else { "pending" }).await;
    }
    world.heard().await;
    let all = world.listed("limit=100").await;
    assert_eq!(all.len(), 48);
    for limit in [1, 2, 7, 47, 48] {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let query = format!("limit={limit}&cursor={next}");
            let (_, body) = world.http("list-sagas", "", &query, json!({}), Value::Null).await;
            seen.extend(world.listed(&query).await);
            match body["next"].as_str() {
                Some(cursor) => next = cursor.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, all, "{limit}");
    }
}

// ---- one saga

#[tokio::test]
async fn a_saga_is_shown_with_its_steps_its_history_and_its_last_undo() {
    let (world, id) = World::with("pending").await;
    world.minutes(id, 5).await;
    world.send(id, approve(id)).await;
    world.asks("begin-undo", id, json!({ "reason": "FRAUD" })).await;
    world.after(1);
    world.step("close-order", "u", id, json!({ "origin": "operator", "reason": "FRAUD" })).await.unwrap();
    let released = PaymentEvent::PaymentReleased(PaymentReleased { order_id: id });
    let payment = format!("payments.Payment/{}", Id::<()>::derived(&["card"])).parse().unwrap();
    let meta = CommandMeta { attempt: 2, ..world.ports.command("saga:undo") };
    tell(&world.store, &payment, &released, &meta).await;

    let saga = world.shown(id).await;
    let of = |field: &str, names: &[&str]| -> Vec<Value> {
        let entries = saga[field].as_array().unwrap().iter();
        entries.map(|entry| names.iter().map(|name| entry[*name].clone()).collect()).collect()
    };
    assert_eq!((&saga["status"], &saga["order"]), (&json!("undoing"), &json!("cancelled")));
    assert_eq!(
        of("steps", &["name", "event", "attempts", "by"]),
        [
            json!(["ApproveOrder", "OrderApproved", 1, "saga:order"]),
            json!(["CloseOrder", "OrderCanceled", 1, "saga:undo"]),
            json!(["SettleInvoiceAndPayment", "PaymentReleased", 3, "saga:undo"]),
        ]
    );
    assert_eq!(
        of("history", &["what", "text", "by"]),
        [
            json!([
                "SagaPlacementResumed",
                "The placement was started again, attempt 1.",
                "policy:resume-sagas"
            ]),
            json!(["SagaUndoBegan", "Undo 1 began, because an operator asked (FRAUD).", "anonymous"]),
        ]
    );
    assert_eq!(saga["timeline"]["awaits"], Value::Null);
    assert!(saga.get("run").is_none(), "it was never started");

    let run = Run { status: "running", started_at: "then".to_owned(), transitions: 1, ..Run::default() };
    world.executions.undos.lock().unwrap().insert(format!("{id}-undo-1"), run);
    assert_eq!(
        world.shown(id).await["run"],
        json!({ "name": "undo-1", "status": "running", "startedAt": "then", "transitions": 1, "steps": [] })
    );

    world.outage(id);
    let saga = world.shown(id).await;
    assert_eq!(
        (&saga["status"], saga.get("run")),
        (&json!("undoing"), None),
        "the rest does not wait for it"
    );
}

#[tokio::test]
async fn a_saga_is_shown_as_it_is_now_and_d16_not_where_there_is_none() {
    for (status, wanted) in [
        ("pending", "running"),
        ("approved", "succeeded"),
        ("completed", "succeeded"),
        // The event that begins its undo is on its way.
        ("cancelled", "undoing"),
    ] {
        let (world, id) = World::with(status).await;
        world.outage(id);
        let saga = world.shown(id).await;
        assert_eq!((&saga["status"], &saga["history"]), (&json!(wanted), &json!([])), "{status}");
    }
    for id in [order("unknown").to_string(), "no-id".to_owned()] {
        let (status, body) = World::new().http("get-saga", &id, "", json!({}), Value::Null).await;
        assert_eq!((status, &body["code"]), (404, &json!("ORDER_NOT_FOUND")));
    }
}

#[tokio::test]
async fn an_event_of_a_saga_that_makes_no_sense_stops_its_own_row_only() {
    let world = every_status().await;
    let (undoing, stuck) = (order("undoing"), order("stuck"));
    let mut events = [world.events::<Saga>(undoing).await, world.events::<Saga>(stuck).await].concat();
    events[0].data = Some(json!({ "attempt": "one" }));
    let views = SagaViews::new(
        Projector::new(Arc::new(MemoryViews::new()), world.store.clone(), world.ports.ports()),
        Projector::new(Arc::new(MemoryViews::new()), world.store.clone(), world.ports.ports()),
    );
    let results = Arc::new(views).project_sagas(events).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
}
