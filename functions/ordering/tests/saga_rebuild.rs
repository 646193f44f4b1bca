//! The view of order sagas is built anew while orders go on, Step Functions tells what it tells once, and workers die.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{
    Envelope,
    customers::{CustomerAuthorized, CustomerEvent},
    depot::{ShoppingListCanceled, ShoppingListCreated, ShoppingListEvent, ShoppingListInitiated},
    ids::{OrderId, shopping_list_of},
    inventory::{InventoryReleased, InventoryReserved, StockEvent},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderReadied, OrderRejected,
    },
    payments::{
        InvoiceCanceled, InvoiceCreated, InvoiceEvent, InvoicePaid, InvoiceReminded, PaymentConfirmed,
        PaymentEvent, PaymentReleased,
    },
};
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Id, Money, StreamId};
use lambda::{Fault, use_case};
use ordering::{
    saga_generations::SagaGenerations,
    saga_rebuild::SagasRebuild,
    saga_rows::{
        AllSagaRows, CATEGORIES, Change, Done, Fact, Ids, MemoryRows, Parts, Place, Plan, SagaRow, SagaRows,
        Status, VIEW, Written, join,
    },
    saga_table::{SagaTable, create_table},
    saga_view::{News, SagaProjection, SagaViews},
    sagas::{Ended, Execution, Failure, Happened, Run, SagaRecords, StatusChange},
};
use projection::{
    CACHE, Consistency, Generations, INVOCATION, Limits, MemoryRegistry, Next, Order, Phase, Put, Rebuilder,
    Registry, SegmentDone, Task, ViewError, ViewState,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use testing::{EmbeddedDynamo, Seeded, TestPorts, tell};

/// One page at a time, written down after each.
const SMALL: Limits = Limits { budget: Duration::ZERO, checkpoint: Duration::ZERO, page: 3 };

fn job(task: Task) -> Order {
    Order { task, segments: 3, rate: None }
}

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

// ---- what happens to orders

/// One thing that happens to an order.
#[derive(Debug, Clone)]
enum Happens {
    Order(OrderEvent),
    Customer(CustomerEvent),
    Stock(&'static str, StockEvent),
    List(ShoppingListEvent),
    Payment(PaymentEvent),
    Invoice(InvoiceEvent),
    /// Step Functions tells, once, and nobody asks.
    Told(Run, Ended),
}

use Happens::{Customer, Invoice, List, Order as Of, Payment, Stock, Told};

/// How orders go.
const WAYS: [&str; 8] =
    ["completed", "rejected", "cancelled", "overdue", "stuck", "undone by hand", "aborted", "waiting"];

/// What happens to an order that goes this way.
fn story(id: OrderId, way: &str) -> VecDeque<Happens> {
    let (customer_id, payment_id, order_id) = (Id::derived(&["ada"]), Id::derived(&["card"]), id);
    let total = Money::from_minor(150).unwrap();
    let reserved = |product: &'static str| {
        let reservation_id = Id::derived(&["reservation", product]);
        let (product_id, reserved_at) = (Id::derived(&[product]), kernel::Timestamp::UNIX_EPOCH);
        let reserved = InventoryReserved {
            product_id,
            reservation_id,
            order_id,
            quantity: 1,
            available: 9,
            reserved_at,
        };
        Stock(product, StockEvent::InventoryReserved(reserved))
    };
    let released = |product: &'static str| {
        let reservation_id = Id::derived(&["reservation", product]);
        let (product_id, released_at) = (Id::derived(&[product]), kernel::Timestamp::UNIX_EPOCH);
        let released = InventoryReleased {
            product_id,
            reservation_id,
            order_id,
            quantity: 1,
            available: 9,
            released_at,
        };
        Stock(product, StockEvent::InventoryReleased(released))
    };
    let saga = |ended| Told(Run::Saga(id), ended);
    let authorized = CustomerAuthorized { order_id: Some(id) };
    let placed = [
        Of(OrderEvent::OrderCreated(OrderCreated { customer_id, payment_id, items: vec![], total })),
        saga(Ended::Running),
        Customer(CustomerEvent::CustomerAuthorized(authorized)),
        reserved("apple"),
        reserved("pear"),
        List(ShoppingListEvent::ShoppingListCreated(ShoppingListCreated { order_id, stops: vec![] })),
    ];
    let approved = OrderApproved { customer_id, payment_id, shopping_id: Some(shopping_list_of(id)) };
    let approved = [
        Payment(PaymentEvent::PaymentConfirmed(PaymentConfirmed { order_id, amount: total })),
        List(ShoppingListEvent::ShoppingListInitiated(ShoppingListInitiated { order_id })),
        Of(OrderEvent::OrderApproved(approved)),
    ];
    let invoiced = [
        Of(OrderEvent::OrderReadied(OrderReadied { customer_id, payment_id, total })),
        Invoice(InvoiceEvent::InvoiceCreated(InvoiceCreated {
            order_id,
            customer_id,
            payment_id,
            amount: total,
        })),
    ];
    let reminded = |reminder| {
        let (amount, due_at) = (total, kernel::Timestamp::UNIX_EPOCH);
        let reminded = InvoiceReminded { order_id, customer_id, payment_id, amount, reminder, due_at };
        Invoice(InvoiceEvent::InvoiceReminded(reminded))
    };
    let paid = [
        Invoice(InvoiceEvent::InvoicePaid(InvoicePaid { order_id, customer_id, payment_id, amount: total })),
        Of(OrderEvent::OrderCompleted(OrderCompleted { customer_id, payment_id, invoice_id: id.as_kind() })),
    ];
    let canceled = ShoppingListCanceled { order_id, bot_id: None, reason: "OUT_OF_STOCK".into() };
    let undone = [
        Payment(PaymentEvent::PaymentReleased(PaymentReleased { order_id })),
        List(ShoppingListEvent::ShoppingListCanceled(canceled)),
        released("apple"),
        released("pear"),
    ];
    let rejected = Of(OrderEvent::OrderRejected(OrderRejected {
        customer_id,
        payment_id,
        reason: "OUT_OF_STOCK".into(),
    }));
    let cancelled = Of(OrderEvent::OrderCanceled(OrderCanceled { customer_id, payment_id, reason: None }));
    let overdue = InvoiceCanceled { order_id, reason: "PAYMENT_OVERDUE".into() };
    let overdue = Invoice(InvoiceEvent::InvoiceCanceled(overdue));
    let mut told: Vec<Happens> = placed.into();
    match way {
        "completed" => {
            told.extend(approved.into_iter().chain(invoiced).chain([reminded(1), reminded(2)]).chain(paid));
            told.push(saga(Ended::Well));
        }
        "rejected" => told.extend(undone.into_iter().chain([rejected, saga(Ended::Well)])),
        "cancelled" => {
            told.extend(approved.into_iter().chain([cancelled]).chain(undone).chain([saga(Ended::Well)]));
        }
        "overdue" => {
            told.extend(approved.into_iter().chain(invoiced).chain([reminded(1), overdue, cancelled]));
            told.extend(undone.into_iter().chain([saga(Ended::Well)]));
        }
        "stuck" => told.push(saga(Ended::Stuck)),
        "undone by hand" => {
            told.push(saga(Ended::Stuck));
            told.extend([Told(Run::Undo(id, 1), Ended::Stuck), Told(Run::Undo(id, 2), Ended::Running)]);
            told.extend(undone);
            told.extend([rejected, Told(Run::Undo(id, 2), Ended::Well)]);
        }
        "aborted" => told.push(saga(Ended::Aborted)),
        "waiting" => told.extend(approved.into_iter().chain(invoiced)),
        other => panic!("nothing goes {other}"),
    }
    told.into()
}

/// The notice of the bus.
fn notice(run: Run, ended: Ended, at: kernel::Timestamp) -> StatusChange {
    let status = match ended {
        Ended::Running => "RUNNING",
        Ended::Well => "SUCCEEDED",
        Ended::Stuck => "FAILED",
        Ended::Aborted => "ABORTED",
    };
    let stop = (ended != Ended::Running).then(|| at.as_millisecond());
    let error = (ended == Ended::Stuck).then_some("SagaStuck");
    serde_json::from_value(json!({
        "name": run.name(), "status": status, "startDate": at.as_millisecond(), "stopDate": stop,
        "redriveCount": 0, "output": null, "error": error, "cause": error.map(|_| "Unavailable: down"),
    }))
    .unwrap()
}

// ---- the view

/// A registry that is out of reach now and then, or does what it is told and does not say so.
struct Unreliable {
    inner: MemoryRegistry,
    chance: Mutex<(Seeded, f64)>,
}

impl Unreliable {
    fn lost(&self) -> Option<ViewError> {
        let (seeded, chance) = &mut *self.chance.lock().unwrap();
        let lost = || ViewError::Unavailable { view: "views", operation: "PutItem", why: "lost".into() };
        seeded.chance(*chance).then(lost)
    }
}

#[async_trait]
impl Registry for Unreliable {
    async fn get(&self, view: &str) -> Result<ViewState, ViewError> {
        match self.lost() {
            Some(lost) => Err(lost),
            None => self.inner.get(view).await,
        }
    }

    async fn put(&self, state: &ViewState) -> Result<Put, ViewError> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let put = self.inner.put(state).await;
        self.lost().map_or(put, Err)
    }

    async fn all(&self) -> Result<Vec<ViewState>, ViewError> {
        self.inner.all().await
    }
}

/// A table that can be out of reach.
struct Table<R> {
    rows: R,
    down: AtomicBool,
}

impl<R> Table<R> {
    fn answers(&self) -> Result<(), ViewError> {
        let why = || "down".to_owned();
        let down = || ViewError::Unavailable { view: VIEW, operation: "UpdateItem", why: why() };
        if self.down.load(Ordering::Relaxed) { Err(down()) } else { Ok(()) }
    }
}

#[async_trait]
impl<R: SagaRows> SagaRows for Table<R> {
    async fn write(&self, order_id: OrderId, plan: &Plan) -> Result<Written, ViewError> {
        self.answers()?;
        self.rows.write(order_id, plan).await
    }

    async fn rows(&self, ids: &[OrderId], consistency: Consistency) -> Result<Vec<SagaRow>, ViewError> {
        self.answers()?;
        self.rows.rows(ids, consistency).await
    }

    async fn places(&self, s: Status, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, ViewError> {
        self.rows.places(s, after, limit).await
    }
}

#[async_trait]
impl<R: AllSagaRows> AllSagaRows for Table<R> {
    async fn ids(&self, segment: Segment, after: Option<&str>, limit: u32) -> Result<Ids, ViewError> {
        // Pages that are never one only.
        self.rows.ids(segment, after, limit.min(4)).await
    }

    async fn remove(&self, id: &str) -> Result<(), ViewError> {
        self.rows.remove(id).await
    }

    async fn mend(&self, seen: &SagaRow, mended: Option<&SagaRow>) -> Result<Put, ViewError> {
        self.rows.mend(seen, mended).await
    }
}

/// A table, as all who use it see it.
#[derive(Clone)]
struct Rows {
    whole: Arc<dyn AllSagaRows>,
    rows: Arc<dyn SagaRows>,
    down: Arc<dyn Fn(bool) + Send + Sync>,
}

impl Rows {
    fn of<R: AllSagaRows + 'static>(rows: R) -> Self {
        let table = Arc::new(Table { rows, down: AtomicBool::new(false) });
        let switch = table.clone();
        let down: Arc<dyn Fn(bool) + Send + Sync> =
            Arc::new(move |down| switch.down.store(down, Ordering::Relaxed));
        Self { whole: table.clone(), rows: table, down }
    }

    async fn all(&self) -> BTreeMap<OrderId, SagaRow> {
        let (mut found, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.whole.ids(Segment::WHOLE, after.as_deref(), 100).await.unwrap();
            for id in page.ids {
                found.insert(id.parse().unwrap(), self.row(id.parse().unwrap()).await.unwrap());
            }
            match page.after {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    }

    async fn row(&self, id: OrderId) -> Option<SagaRow> {
        self.whole.rows(&[id], Consistency::Strong).await.unwrap().pop()
    }
}

/// One environment of a function.
struct Function {
    projection: Arc<SagaProjection>,
    generations: Arc<SagaGenerations>,
}

/// A view of two generations, whoever feeds it, and what rebuilds it; and beside it what was never rebuilt.
struct Site {
    name: &'static str,
    world: TestPorts,
    store: EventStore,
    odd: Rows,
    even: Rows,
    registry: Arc<Unreliable>,
    /// All that ever happened to an order.
    happened: BTreeMap<OrderId, Parts>,
    dynamo: Option<EmbeddedDynamo>,
}

impl Site {
    fn memory() -> Self {
        Self::on("memory", Rows::of(MemoryRows::new()), Rows::of(MemoryRows::new()), None)
    }

    async fn dynamo() -> Self {
        let dynamo = EmbeddedDynamo::start().await;
        for table in ["sagas", "sagas-even"] {
            create_table(&dynamo.client(), table).await.unwrap();
        }
        let table = |name: &str| Rows::of(SagaTable::new(dynamo.client(), name));
        let (odd, even) = (table("sagas"), table("sagas-even"));
        Self::on("DynamoDB", odd, even, Some(dynamo))
    }

    async fn both() -> [Self; 2] {
        [Self::memory(), Self::dynamo().await]
    }

    fn on(name: &'static str, odd: Rows, even: Rows, dynamo: Option<EmbeddedDynamo>) -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        let chance = Mutex::new((Seeded::new(1), 0.0));
        let registry = Arc::new(Unreliable { inner: MemoryRegistry::new(), chance });
        Self { name, world, store, odd, even, registry, happened: BTreeMap::new(), dynamo }
    }

    /// One environment of a function, which may go on with what it knew for as long as an invocation takes.
    fn function(&self) -> Function {
        let ports = self.world.ports();
        let generations = Generations::new(VIEW, self.registry.clone(), ports.clock.clone());
        let generations = generations.relied_on_for(CACHE + INVOCATION);
        let rows = (self.odd.rows.clone(), self.even.rows.clone());
        let generations = Arc::new(SagaGenerations::new(generations, rows.0, rows.1));
        let projection = Arc::new(SagaProjection::new(self.store.clone(), generations.clone(), ports));
        Function { projection, generations }
    }

    fn rebuilder(&self) -> Rebuilder {
        let (store, ports) = (self.store.clone(), self.world.ports());
        let view =
            SagasRebuild::new(self.odd.whole.clone(), self.even.whole.clone(), store.clone(), ports.clone());
        Rebuilder::new(Arc::new(view), self.registry.clone(), store, ports, SMALL)
    }

    /// Lets a thing happen; gives the news of it.
    async fn happens(&mut self, id: OrderId, what: Happens) -> News {
        self.world.advance(Duration::from_millis(10));
        let stream = |name: String| name.parse::<StreamId>().unwrap();
        let meta = self.world.command("saga:order");
        let (stream, version) = match what {
            Of(event) => {
                let stream = stream(format!("ordering.Order/{id}"));
                let version = tell(&self.store, &stream, &event, &meta).await;
                (stream, version)
            }
            Customer(event) => {
                let stream = stream(format!("customers.Customer/{}", order("ada")));
                let version = tell(&self.store, &stream, &event, &meta).await;
                (stream, version)
            }
            Stock(product, event) => {
                let stream = stream(format!("inventory.StockItem/{}", order(product)));
                let version = tell(&self.store, &stream, &event, &meta).await;
                (stream, version)
            }
            List(event) => {
                let stream = stream(format!("depot.ShoppingList/{}", shopping_list_of(id)));
                let version = tell(&self.store, &stream, &event, &meta).await;
                (stream, version)
            }
            Payment(event) => {
                let stream = stream(format!("payments.Payment/{}", order("card")));
                let version = tell(&self.store, &stream, &event, &meta).await;
                (stream, version)
            }
            Invoice(event) => {
                let stream = stream(format!("payments.Invoice/{id}"));
                let version = tell(&self.store, &stream, &event, &meta).await;
                (stream, version)
            }
            Told(run, ended) => {
                let told = notice(run, ended, self.world.now());
                let (run, execution) = told.told().unwrap().unwrap();
                self.happened.entry(id).or_default().join(Change::heard(run, &execution).parts);
                return News::Execution(told);
            }
        };
        let event = self.store.event(&stream, version).await.unwrap().unwrap();
        let change = Change::of(&event).unwrap().unwrap();
        self.happened.entry(id).or_default().join(change.parts);
        News::Event(Box::new(event))
    }

    /// Orders that went all ways, delivered.
    async fn history(&mut self, rounds: usize) {
        let function = self.function();
        for n in 0..rounds {
            for way in WAYS {
                let id = order(&format!("{way} {n}"));
                for what in story(id, way) {
                    let news = self.happens(id, what).await;
                    self.delivers(&function, vec![news]).await;
                }
            }
        }
    }

    async fn delivers(&self, function: &Function, news: Vec<News>) {
        let results = function.projection.clone().project_sagas(news).await;
        assert!(results.iter().all(Result::is_ok), "{}: {results:?}", self.name);
    }

    /// Does what the state machine does, until the job is over or stopped.
    async fn drive(&self, rebuilder: &Rebuilder) -> Next {
        loop {
            match rebuilder.advance().await.unwrap() {
                Next::Again => {}
                Next::Wait(pause) => self.world.advance(pause),
                Next::Segments(segments) => {
                    for segment in segments {
                        rebuilder.segment(segment).await.unwrap();
                    }
                }
                over @ (Next::Over(_) | Next::Stopped(_)) => return over,
            }
        }
    }

    /// Does the same until there are segments to be worked on.
    async fn drive_to_segments(&self, rebuilder: &Rebuilder) -> Vec<u32> {
        loop {
            match rebuilder.advance().await.unwrap() {
                Next::Again => {}
                Next::Wait(pause) => self.world.advance(pause),
                Next::Segments(segments) => return segments,
                over => panic!("{over:?}"),
            }
        }
    }

    async fn runs(&self, task: Task) -> ViewState {
        let rebuilder = self.rebuilder();
        rebuilder.begin(&job(task)).await.unwrap();
        assert_eq!(self.drive(&rebuilder).await, Next::Over(Phase::Done), "{}", self.name);
        self.state().await
    }

    async fn state(&self) -> ViewState {
        self.registry.inner.get(VIEW).await.unwrap()
    }

    /// The tables of the live and of the other generation.
    async fn tables(&self) -> (&Rows, &Rows) {
        if self.state().await.live.is_odd() { (&self.odd, &self.even) } else { (&self.even, &self.odd) }
    }

    /// The rows of a view that was never rebuilt, and heard of everything once, in order.
    async fn never_rebuilt(&self) -> BTreeMap<OrderId, SagaRow> {
        let rows = MemoryRows::new();
        for (id, parts) in &self.happened {
            join(&rows, Change { order_id: *id, parts: parts.clone() }).await.unwrap();
        }
        let ids: Vec<OrderId> = self.happened.keys().copied().collect();
        let rows = rows.rows(&ids, Consistency::Strong).await.unwrap();
        rows.into_iter().map(|row| (row.order_id, row)).collect()
    }

    async fn is_whole(&self) {
        let (live, other) = self.tables().await;
        assert_eq!(live.all().await, self.never_rebuilt().await, "{}", self.name);
        assert_eq!(other.all().await, BTreeMap::new(), "{}: left over", self.name);
    }
}

fn at(second: i64) -> kernel::Timestamp {
    kernel::Timestamp::from_second(1_795_165_200 + second).unwrap()
}

#[tokio::test]
async fn a_rebuild_takes_over_with_the_rows_that_were_there_and_leaves_nothing_behind_however_often_it_is_run()
 {
    for mut site in Site::both().await {
        site.history(2).await;
        site.is_whole().await;
        for (task, generation) in [(Task::Rebuild, "2"), (Task::RebuildAndVerify, "3"), (Task::Rebuild, "4")]
        {
            let state = site.runs(task).await;
            assert_eq!((state.live.to_string().as_str(), state.job.unwrap().differences), (generation, 0));
            site.is_whole().await;
            let (live, _) = site.tables().await;
            let stuck = live.rows.places(Status::Stuck, None, 10).await.unwrap();
            assert_eq!(stuck.len(), 2, "{}: the index of the new table has them", site.name);
        }
    }
}

#[tokio::test]
async fn what_step_functions_told_once_before_while_or_after_a_rebuild_filled_is_not_lost() {
    for mut site in Site::both().await {
        let ids = ["before", "while", "after"].map(order);
        let function = site.function();
        for id in ids {
            for what in story(id, "waiting") {
                let news = site.happens(id, what).await;
                site.delivers(&function, vec![news]).await;
            }
        }
        let tells = async |site: &mut Site, id: OrderId| {
            let news = site.happens(id, Told(Run::Saga(id), Ended::Stuck)).await;
            site.delivers(&site.function(), vec![news]).await;
        };
        tells(&mut site, ids[0]).await;
        let rebuilder = site.rebuilder();
        rebuilder.begin(&job(Task::Rebuild)).await.unwrap();
        let segments = site.drive_to_segments(&rebuilder).await;
        rebuilder.segment(segments[0]).await.unwrap();
        tells(&mut site, ids[1]).await;
        while site.state().await.job.unwrap().phase == Phase::Filling {
            match rebuilder.advance().await.unwrap() {
                Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
                Next::Wait(pause) => site.world.advance(pause),
                over => panic!("{over:?}"),
            }
        }
        tells(&mut site, ids[2]).await;
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
        site.is_whole().await;
        let (live, _) = site.tables().await;
        assert_eq!(live.rows.places(Status::Stuck, None, 10).await.unwrap().len(), 3, "{}", site.name);
    }
}

#[tokio::test]
async fn what_was_told_of_a_saga_whose_order_has_no_stream_is_carried_over_with_whatever_names_it() {
    for mut site in Site::both().await {
        let id = order("by hand");
        let function = site.function();
        let authorized = CustomerEvent::CustomerAuthorized(CustomerAuthorized { order_id: Some(id) });
        let notice = |ended| Told(Run::Saga(id), ended);
        for what in [notice(Ended::Running), Customer(authorized), notice(Ended::Stuck)] {
            let news = site.happens(id, what).await;
            site.delivers(&function, vec![news]).await;
        }
        let before = site.odd.row(id).await;
        let state = site.runs(Task::RebuildAndVerify).await;
        assert_eq!(state.live.to_string(), "2", "it is no stray: an event tells of it");
        assert_eq!(site.even.row(id).await, before, "{}: and it has its place in lists", site.name);
    }
}

#[tokio::test]
async fn a_worker_that_dies_after_it_filled_and_before_it_said_so_does_no_harm() {
    for mut site in Site::both().await {
        site.history(1).await;
        let rebuilder = site.rebuilder();
        rebuilder.begin(&job(Task::RebuildAndVerify)).await.unwrap();
        let segments = site.drive_to_segments(&rebuilder).await;
        // Two workers on the same pages: what one wrote down, the other had done as well.
        let (one, other) = (site.rebuilder(), site.rebuilder());
        let (a, b) = futures::join!(one.segment(segments[0]), other.segment(segments[0]));
        assert_eq!((a, b), (Ok(SegmentDone::No), Ok(SegmentDone::No)));
        // The registry is gone when it wants to write down how far it is.
        site.registry.chance.lock().unwrap().1 = 1.0;
        assert!(one.segment(segments[1]).await.is_err());
        site.registry.chance.lock().unwrap().1 = 0.0;
        assert_eq!(site.drive(&site.rebuilder()).await, Next::Over(Phase::Done), "{}", site.name);
        site.is_whole().await;
    }
}

#[tokio::test]
async fn a_cancelled_rebuild_leaves_the_live_rows_and_nothing_else_and_another_one_may_follow() {
    for mut site in Site::both().await {
        site.history(1).await;
        let rebuilder = site.rebuilder();
        rebuilder.begin(&job(Task::Rebuild)).await.unwrap();
        let segments = site.drive_to_segments(&rebuilder).await;
        for segment in segments {
            rebuilder.segment(segment).await.unwrap();
        }
        assert!(!site.even.all().await.is_empty(), "there is something to be removed");
        rebuilder.cancel().await.unwrap();
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Cancelled));
        assert_eq!(site.state().await.live.to_string(), "1");
        site.is_whole().await;
        site.runs(Task::RebuildAndVerify).await;
        site.is_whole().await;
    }
}

#[tokio::test]
async fn an_event_that_makes_no_sense_stops_a_rebuild_and_names_itself() {
    let mut site = Site::memory();
    site.history(1).await;
    let stream: StreamId = format!("customers.Customer/{}", order("bob")).parse().unwrap();
    let exploded = Exploded(json!({ "orderId": 7 }));
    tell(&site.store, &stream, &exploded, &site.world.command("test")).await;
    let rebuilder = site.rebuilder();
    rebuilder.begin(&job(Task::Rebuild)).await.unwrap();
    let Next::Stopped(why) = site.drive(&rebuilder).await else { panic!("it did not stop") };
    assert!(why.contains(&format!("{stream} version 1")), "{why}");
    assert_eq!(site.state().await.live.to_string(), "1", "queries read the old rows");
}

/// An event of newer code.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Exploded(Value);

impl kernel::Event for Exploded {
    const SCHEMAS: &'static [(&'static str, u16)] = &[];

    fn event_type(&self) -> &'static str {
        "CustomerAuthorized"
    }

    fn to_raw(&self) -> Result<kernel::RawEvent, kernel::DecodeError> {
        Ok(kernel::RawEvent { event_type: "CustomerAuthorized".into(), schema: 1, data: self.0.clone() })
    }

    fn from_raw(raw: kernel::RawEvent) -> Result<Self, kernel::DecodeError> {
        Ok(Self(raw.data))
    }
}

#[test]
fn no_event_that_makes_a_fact_is_in_a_stream_that_is_not_followed() {
    let site = Site::memory();
    let (odd, even) = (site.odd.whole.clone(), site.even.whole.clone());
    let view = SagasRebuild::new(odd, even, site.store.clone(), site.world.ports());
    let follows = |category: &str| {
        let stream: StreamId = format!("{category}/{}", order("a")).parse().unwrap();
        projection::Rebuildable::follows(&view, &stream)
    };
    for fact in Fact::ALL {
        assert!(follows(fact.category()), "{fact:?}");
        let own = fact.stream(order("a"));
        assert!(own.is_none_or(|stream| stream.category() == fact.category()), "{fact:?}");
    }
    for category in CATEGORIES {
        assert!(Fact::ALL.iter().any(|fact| fact.category() == category), "{category} is read in vain");
    }
    assert!(!follows("baskets.Basket") && !follows("depot.Bot"));
}

// ---- what can be wrong with a row

/// Makes the row of one order this one, behind everybody's back.
async fn damage(rows: &Rows, id: OrderId, damage: impl FnOnce(&mut SagaRow)) {
    let seen = rows.row(id).await.unwrap();
    let mut damaged = seen.clone();
    damage(&mut damaged);
    assert_ne!(seen, damaged, "nothing was damaged");
    assert_eq!(rows.whole.mend(&seen, Some(&damaged)).await.unwrap(), Put::Written);
}

fn done(second: i64) -> Done {
    Done { at: at(second), attempts: 1, by: None, why: None }
}

#[tokio::test]
async fn every_way_in_which_a_row_can_be_wrong_is_found_and_repaired_and_what_was_told_stays() {
    for mut site in Site::both().await {
        site.history(2).await;
        site.world.advance(Duration::from_secs(361));
        assert_eq!(site.runs(Task::Verify).await.job.unwrap().differences, 0, "nothing is wrong yet");
        let id = |way: &str| order(&format!("{way} 0"));
        let rows = site.odd.clone();
        // It lacks what its own stream tells, and is listed as if it had it.
        damage(&rows, id("rejected"), |row| {
            row.parts.done.remove(&Fact::OrderRejected);
            row.parts.saga = None;
        })
        .await;
        // It lacks what the stock's stream tells, of one product the latest.
        damage(&rows, id("overdue"), |row| {
            let released = row.parts.done.get_mut(&Fact::InventoryReleased).unwrap();
            released.at = released.at.checked_sub(Duration::from_millis(5)).unwrap();
        })
        .await;
        // It is listed where its parts do not lead to.
        damage(&rows, id("completed"), |row| row.listed = Status::Running).await;
        damage(&rows, id("cancelled"), |row| row.started_at = "2026-11-20T09:00:01.000000000Z".into()).await;
        // It says what never happened, in streams that there are and in one that there is not.
        damage(&rows, id("waiting"), |row| {
            row.parts.done.insert(Fact::OrderCompleted, done(9));
            row.listed = row.parts.status();
        })
        .await;
        damage(&rows, id("stuck"), |row| drop(row.parts.done.insert(Fact::InvoicePaid, done(9)))).await;
        // It is not there at all.
        rows.whole.remove(&id("aborted").to_string()).await.unwrap();
        // Rows without an order: one that nothing is left of, and one that Step Functions told of.
        let strays = [order("stray"), order("stray, and told")];
        for stray in strays {
            let parts = Parts { done: BTreeMap::from([(Fact::OrderCreated, done(3))]), ..Parts::default() };
            join(rows.rows.as_ref(), Change { order_id: stray, parts }).await.unwrap();
        }
        let told = Told(Run::Saga(strays[1]), Ended::Stuck);
        let told = site.happens(strays[1], told).await;
        site.delivers(&site.function(), vec![told]).await;

        // One at each order's stream of which a row is wrong (4), one at a row of which there is no invoice, two strays; and the
        // missing row is missing at its order's stream, its list's, the customer's and those of both products, of which that of the
        // pears tells of the overdue one as well.
        let expected = 4 + 1 + 2 + 5;
        let found = site.runs(Task::Verify).await.job.unwrap();
        assert_eq!(
            (found.differences, found.repaired),
            (expected, 0),
            "{}: {:#?}",
            site.name,
            found.examples
        );
        let words = found.examples.join("\n");
        assert!(words.contains("is missing") && words.contains("lacks"), "{words}");

        let repaired = site.runs(Task::Repair).await.job.unwrap();
        assert_eq!(repaired.repaired, expected, "{}: {:#?}", site.name, repaired.examples);
        let again = site.runs(Task::Verify).await.job.unwrap();
        assert_eq!(again.differences, 0, "{}: {:#?}", site.name, again.examples);
        // What was told once, and lost with the damage, no event brings back.
        for lost in ["rejected", "aborted"] {
            site.happened.get_mut(&id(lost)).unwrap().saga = None;
        }
        site.is_whole().await;
        assert_eq!(rows.row(strays[0]).await, None);
        assert_eq!(rows.row(strays[1]).await.unwrap().listed, Status::Stuck);
    }
}

#[tokio::test]
async fn what_may_be_on_its_way_is_no_difference() {
    let mut site = Site::memory();
    site.history(1).await;
    site.world.advance(Duration::from_secs(3600));
    let id = order("late");
    for what in story(id, "completed") {
        site.happens(id, what).await;
    }
    assert_eq!(site.runs(Task::Verify).await.job.unwrap().differences, 0);
    site.world.advance(Duration::from_secs(361));
    let late = site.runs(Task::Verify).await.job.unwrap();
    assert!(late.differences > 0, "by now it should be there");
    assert_eq!(late.examples.iter().filter(|example| !example.contains("is missing")).count(), 0);
}

#[tokio::test]
async fn a_generation_that_is_not_what_its_events_make_it_never_goes_live() {
    let mut site = Site::memory();
    site.history(1).await;
    let rebuilder = site.rebuilder();
    rebuilder.begin(&job(Task::RebuildAndVerify)).await.unwrap();
    while site.state().await.job.unwrap().phase != Phase::Verifying {
        match rebuilder.advance().await.unwrap() {
            Next::Wait(pause) => site.world.advance(pause),
            Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
            over => panic!("{over:?}"),
        }
    }
    damage(&site.even, order("completed 0"), |row| row.listed = Status::Aborted).await;
    let Next::Stopped(why) = site.drive(&rebuilder).await else { panic!("it did not stop") };
    assert!(why.contains("is listed as aborted, and is succeeded"), "{why}");
    assert_eq!(site.state().await.live.to_string(), "1");
}

#[tokio::test]
async fn a_row_that_somebody_made_nonsense_of_stops_a_comparison_and_is_made_anew_by_a_rebuild() {
    let mut site = Site::dynamo().await;
    site.history(1).await;
    let id = order("completed 0");
    let client = site.dynamo.as_ref().unwrap().client();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    client
        .update_item()
        .table_name("sagas")
        .key("id", text(&id.to_string()))
        .update_expression("SET OrderCreated = :noise")
        .expression_attribute_values(":noise", text("once upon a time"))
        .send()
        .await
        .unwrap();
    let rebuilder = site.rebuilder();
    rebuilder.begin(&job(Task::Verify)).await.unwrap();
    let Next::Stopped(why) = site.drive(&rebuilder).await else { panic!("it did not stop") };
    assert!(why.contains(&id.to_string()) && why.contains("once upon a time"), "{why}");
    site.runs(Task::RebuildAndVerify).await;
    site.happened.get_mut(&id).unwrap().saga = None;
    site.is_whole().await;
}

#[tokio::test]
async fn a_row_that_changed_since_it_was_seen_is_not_mended_over() {
    for mut site in Site::both().await {
        let function = site.function();
        // What changes last is a fact, the saga or what undoes it; the status stays as it was.
        for (way, more) in [("waiting", None), ("rejected", None), ("stuck", Some((1, Ended::Stuck)))] {
            let id = order(way);
            let mut story = story(id, way);
            story.extend(more.map(|(attempt, ended)| Told(Run::Undo(id, attempt), ended)));
            let last = story.pop_back().unwrap();
            for what in story {
                let news = site.happens(id, what).await;
                site.delivers(&function, vec![news]).await;
            }
            let seen = site.odd.row(id).await.unwrap();
            let news = site.happens(id, last).await;
            site.delivers(&function, vec![news]).await;
            let changed = site.odd.row(id).await.unwrap();
            assert!(changed != seen && changed.listed == seen.listed, "{way}");
            for mended in [Some(seen.with(Parts::default())), None] {
                let put = site.odd.whole.mend(&seen, mended.as_ref()).await.unwrap();
                assert_eq!(put, Put::Conflict, "{}, {way}", site.name);
            }
            assert_eq!(site.odd.row(id).await, Some(changed));
        }
        let seen = site.odd.row(order("stuck")).await.unwrap();
        let mended = seen.with(Parts { undo: None, ..seen.parts.clone() });
        assert_eq!(site.odd.whole.mend(&seen, Some(&mended)).await.unwrap(), Put::Written);
        assert_eq!(site.odd.row(order("stuck")).await.as_ref(), Some(&mended), "{}", site.name);
        assert_eq!(site.odd.whole.mend(&mended, None).await.unwrap(), Put::Written);
        assert_eq!(site.odd.row(order("stuck")).await, None, "{}", site.name);
    }
}

// ---- who feeds two generations

/// Executions that ended so, and of which nobody told.
struct Silent(BTreeMap<OrderId, Ended>);

#[async_trait]
impl SagaRecords for Silent {
    async fn newest(&self, how: Ended, _: u32) -> Result<Vec<Execution>, Fault> {
        let all = self.0.keys().map(|id| self.execution(*id));
        Ok(all.filter(|found| found.ended == how).collect())
    }

    async fn find(&self, run: Run) -> Result<Option<Execution>, Fault> {
        match run {
            Run::Saga(id) if self.0.contains_key(&id) => Ok(Some(self.execution(id))),
            Run::Saga(_) | Run::Undo(..) => Ok(None),
        }
    }

    async fn history(&self, _: Run) -> Result<Vec<Happened>, Fault> {
        Ok(Vec::new())
    }
}

impl Silent {
    fn execution(&self, id: OrderId) -> Execution {
        let error = Some(Failure { error: "SagaStuck".into(), cause: "down".into() });
        let (started_at, ended_at) = (at(0), Some(at(9)));
        Execution { order_id: id, ended: self.0[&id], started_at, ended_at, redrives: 0, error }
    }
}

#[tokio::test]
async fn what_a_list_finds_out_while_a_rebuild_is_on_is_kept_in_both_generations_or_found_out_again() {
    let mut site = Site::memory();
    let id = order("silent");
    let function = site.function();
    for what in story(id, "waiting") {
        let news = site.happens(id, what).await;
        site.delivers(&function, vec![news]).await;
    }
    let records = Arc::new(Silent(BTreeMap::from([(id, Ended::Stuck)])));
    let run = Run::Saga(id);
    site.happened.get_mut(&id).unwrap().join(Change::heard(run, &records.execution(id)).parts);
    let rebuilder = site.rebuilder();
    rebuilder.begin(&job(Task::Rebuild)).await.unwrap();
    site.drive_to_segments(&rebuilder).await;
    // Its rows are filled already when it is found out.
    for segment in 0..3 {
        while rebuilder.segment(segment).await.unwrap() == SegmentDone::No {}
    }
    let stuck = async || {
        let generations = site.function().generations;
        let views = Arc::new(SagaViews::new(site.store.clone(), generations, records.clone()));
        let list = use_case(&views, &site.world.ports(), SagaViews::list_sagas);
        let query = json!({
            "rawPath": "/api/sagas", "headers": {}, "queryStringParameters": { "status": "stuck" },
            "requestContext": { "http": { "method": "GET" } }
        });
        let answer = list.invoke(query).await.unwrap();
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        body["sagas"].as_array().unwrap().len()
    };
    (site.even.down)(true);
    assert_eq!(stuck().await, 1, "a table that is being built keeps nobody from looking");
    (site.even.down)(false);
    assert_eq!(site.odd.row(id).await.unwrap().listed, Status::Running, "kept in both, or in none");
    assert_eq!(stuck().await, 1);
    for rows in [&site.odd, &site.even] {
        assert_eq!(rows.row(id).await.unwrap().listed, Status::Stuck);
    }
    assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
    site.is_whole().await;
}

#[tokio::test]
async fn news_that_the_next_generation_did_not_take_is_not_shown_before_that_takes_over_and_comes_again() {
    let mut site = Site::memory();
    site.history(1).await;
    let rebuilder = site.rebuilder();
    rebuilder.begin(&job(Task::Rebuild)).await.unwrap();
    site.drive_to_segments(&rebuilder).await;
    let id = order("waiting 0");
    let news = [
        site.happens(id, story(id, "completed").pop_back().unwrap()).await,
        site.happens(id, story(id, "completed").into_iter().rev().nth(1).unwrap()).await,
    ];
    (site.even.down)(true);
    let results = site.function().projection.project_sagas(news.clone().into()).await;
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert_eq!(site.odd.row(id).await.unwrap().listed, Status::Running);
    (site.even.down)(false);
    site.delivers(&site.function(), news.into()).await;
    for rows in [&site.odd, &site.even] {
        assert_eq!(rows.row(id).await.unwrap().listed, Status::Succeeded);
    }
    assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
    site.is_whole().await;
}

// ---- everything at once

/// A mall at work, as its operators see it.
struct Mall {
    site: Site,
    functions: Vec<Function>,
    random: Seeded,
    /// On its way over the bus.
    transit: Vec<News>,
    /// What is still to happen to each order.
    open: BTreeMap<OrderId, VecDeque<Happens>>,
    /// All that a query showed of each.
    shown: BTreeMap<OrderId, Parts>,
}

impl Mall {
    fn open(seed: u64, unreliable: f64) -> Self {
        let site = Site::memory();
        *site.registry.chance.lock().unwrap() = (Seeded::new(seed), unreliable);
        let functions = (0..4).map(|_| site.function()).collect();
        let random = Seeded::new(seed ^ 0x5eed);
        Self { site, functions, random, transit: vec![], open: BTreeMap::new(), shown: BTreeMap::new() }
    }

    async fn happens(&mut self) {
        let n = self.random.below(12);
        let id = order(&n.to_string());
        let way = WAYS[self.random.below(WAYS.len())];
        let left = self.open.entry(id).or_insert_with(|| story(id, way));
        for _ in 0..=self.random.below(3) {
            let Some(what) = left.pop_front() else { return };
            self.transit.push(self.site.happens(id, what).await);
        }
    }

    /// Some of what is on its way arrives, in any order, perhaps not for the last time.
    async fn deliver(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..=self.random.below(9) {
            if self.transit.is_empty() {
                break;
            }
            let chosen = self.random.below(self.transit.len());
            let news = self.transit.swap_remove(chosen);
            if self.random.chance(0.3) {
                self.transit.push(news.clone());
            }
            batch.push(news);
        }
        let chosen = self.random.below(self.functions.len());
        let results = self.functions[chosen].projection.clone().project_sagas(batch.clone()).await;
        // What failed comes again.
        let failed = batch.into_iter().zip(results).filter(|(_, result)| result.is_err());
        self.transit.extend(failed.map(|(news, _)| news));
    }

    async fn query(&mut self) {
        let id = order(&self.random.below(12).to_string());
        let chosen = self.random.below(self.functions.len());
        // The registry may be out of reach.
        let Ok(live) = self.functions[chosen].generations.live().await else { return };
        let row = live.rows(&[id], Consistency::Eventual).await.unwrap().pop();
        let Some(row) = row else {
            assert!(!self.shown.contains_key(&id), "{id} went away");
            return;
        };
        assert_eq!(row.listed, row.parts.status());
        let shown = self.shown.entry(id).or_default();
        shown.keep_news(&row.parts);
        assert!(shown.is_empty(), "{id} forgot {shown:?}");
        *shown = row.parts;
    }

    async fn operate(&mut self) {
        let rebuilder = self.site.rebuilder();
        let segments = 1 + self.random.below(3) as u32;
        // Whatever fails is a worker that died.
        match self.random.below(24) {
            0 | 1 => {
                let task = if self.random.chance(0.5) { Task::Rebuild } else { Task::RebuildAndVerify };
                let _ = rebuilder.begin(&Order { task, segments, rate: None }).await;
            }
            2 if self.random.chance(0.3) => {
                let _ = rebuilder.cancel().await;
            }
            2..10 => {
                let _ = rebuilder.advance().await;
            }
            _ => {
                let _ = rebuilder.segment(self.random.below(3) as u32).await;
            }
        }
    }

    /// Everything arrives at last, and whatever was begun ends.
    async fn close(mut self) -> ViewState {
        self.site.registry.chance.lock().unwrap().1 = 0.0;
        while !self.transit.is_empty() {
            self.deliver().await;
        }
        let rebuilder = self.site.rebuilder();
        match self.site.drive(&rebuilder).await {
            Next::Over(_) => {}
            other => panic!("{other:?}"),
        }
        self.site.is_whole().await;
        self.site.world.advance(Duration::from_secs(361));
        let compared = self.site.runs(Task::Verify).await.job.unwrap();
        assert_eq!(compared.differences, 0, "{:#?}", compared.examples);
        self.site.state().await
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_around_a_rebuild_nothing_that_was_told_is_lost_and_the_rows_are_those_of_no_rebuild(
        seed in any::<u64>(),
        steps in 50usize..500,
        unreliable in prop_oneof![Just(0.0), 0.0..0.2f64],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut mall = Mall::open(seed, unreliable);
            for _ in 0..steps {
                match mall.random.below(20) {
                    0..4 => mall.happens().await,
                    4..7 => mall.deliver().await,
                    7..9 => mall.query().await,
                    9..17 => mall.operate().await,
                    _ => {
                        let pause = Duration::from_millis(mall.random.below(6000) as u64);
                        mall.site.world.advance(pause);
                    }
                }
            }
            mall.close().await;
        });
    }
}

#[test]
fn an_envelope_is_all_that_is_needed_of_an_event() {
    // Bodies that the bus left out are in the event table, and a scan always has them.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut site = Site::memory();
        let id = order("large");
        let function = site.function();
        for what in story(id, "rejected") {
            let news = match site.happens(id, what).await {
                News::Event(event) => News::Event(Box::new(Envelope { data: None, ..*event })),
                told @ News::Execution(_) => told,
            };
            site.delivers(&function, vec![news]).await;
        }
        site.is_whole().await;
    });
}
