//! What operators are told of order sagas: from histories, and over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
    ordering::OrderItem,
};
use event_store::{EventStore, Expect, MemoryLog};
use kernel::{Id, Money, Reason, StreamId, Timestamp, Version};
use lambda::{Fault, use_case};
use ordering::{
    order::{Order, OrderCommand},
    saga_generations::SagaGenerations,
    saga_rows::{Change, MemoryRows, SagaRows, Status, VIEW, join},
    saga_table::{SagaTable, create_table},
    saga_view::{COMPARED, MAX_LOOKS, News, Outcome, SagaProjection, SagaViews, steps},
    sagas::{Ended, Execution, Failure, Happened, Happening, Run, SagaRecords},
};
use projection::{Consistency, Generations, MemoryRegistry};
use serde_json::{Value, json};
use testing::{EmbeddedDynamo, TestPorts};

// ---- histories

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_165_200 + second).unwrap()
}

fn failure(error: &str) -> Failure {
    Failure { error: error.into(), cause: format!("{error} was said") }
}

fn task(state: &str) -> Happening {
    Happening::Entered { state: state.into(), step: true }
}

fn end(state: &str) -> Happening {
    Happening::Entered { state: state.into(), step: false }
}

fn failed(error: &str) -> Happening {
    Happening::Failed(failure(error))
}

/// A second apart.
fn history(what: impl IntoIterator<Item = Happening>) -> Vec<Happened> {
    (0..).zip(what).map(|(second, what)| Happened { at: at(second), what }).collect()
}

use Happening::{Attempted, Done, Ended as End};

/// Name, outcome, attempts and errors.
fn told(what: impl IntoIterator<Item = Happening>) -> Vec<(String, Outcome, u32, Vec<String>)> {
    let told = steps(&history(what)).steps.into_iter();
    let errors = |failures: Vec<Failure>| failures.into_iter().map(|failure| failure.error).collect();
    told.map(|step| (step.name, step.outcome, step.attempts, errors(step.failures))).collect()
}

#[test]
fn a_step_that_needed_three_attempts_says_so_and_why() {
    let told = steps(&history([
        task("ConfirmPayment"),
        Attempted,
        failed("Unavailable"),
        Attempted,
        failed("States.Timeout"),
        Attempted,
        Done,
        end("OrderApproved"),
        End,
    ]));
    assert_eq!((told.transitions, told.state.as_deref()), (3, Some("OrderApproved")));
    let [step] = &told.steps[..] else { panic!("{told:?}") };
    assert_eq!((step.outcome, step.attempts), (Outcome::Done, 3));
    assert_eq!((step.started_at, step.ended_at), (at(0), Some(at(6))));
    assert_eq!(step.failures, [failure("Unavailable"), failure("States.Timeout")]);
}

#[test]
fn a_step_that_was_given_up_is_followed_by_what_undoes_it() {
    let refused = [
        task("ConfirmPayment"),
        Attempted,
        failed("TOO_LITTLE"),
        task("ReleasePayment"),
        Attempted,
        Done,
        end("OrderRejected"),
        End,
    ];
    let wanted = [
        ("ConfirmPayment".to_owned(), Outcome::Failed, 1, vec!["TOO_LITTLE".to_owned()]),
        ("ReleasePayment".to_owned(), Outcome::Done, 1, vec![]),
    ];
    assert_eq!(told(refused), wanted);
}

#[test]
fn a_step_under_way_is_not_said_to_have_failed() {
    let waiting = told([task("ConfirmPayment"), Attempted, failed("Unavailable")]);
    assert_eq!(waiting[0].1, Outcome::Running, "it waits to be tried again");
    assert_eq!(told([task("ConfirmPayment")])[0].1, Outcome::Running);
    let again = steps(&history([task("ConfirmPayment"), Attempted, failed("Unavailable"), Attempted]));
    assert_eq!((again.steps[0].outcome, again.steps[0].ended_at), (Outcome::Running, None));
    let stopped = told([task("ConfirmPayment"), Attempted, End]);
    assert_eq!(stopped[0].1, Outcome::Failed, "somebody stopped it there");
}

#[test]
fn a_saga_that_goes_on_after_it_was_stopped_has_the_step_twice() {
    let told = told([task("Pay"), Attempted, End, task("Pay"), Attempted, Done]);
    let outcomes: Vec<Outcome> = told.iter().map(|step| step.1).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Done]);
}

#[test]
fn nothing_happened_is_no_transition() {
    assert_eq!(steps(&[]).transitions, 0);
}

// ---- over HTTP

/// Executions as a service would remember them.
#[derive(Default)]
struct Remembered {
    runs: Mutex<BTreeMap<Run, (Execution, Vec<Happened>)>>,
    finds: AtomicUsize,
    down: AtomicBool,
}

impl Remembered {
    fn remember(&self, run: Run, ended: Ended) -> Execution {
        let (Run::Saga(order_id) | Run::Undo(order_id, _)) = run;
        let over = ended != Ended::Running;
        let error = (ended == Ended::Stuck).then(|| failure("SagaStuck"));
        let ended_at = over.then(|| at(9));
        let execution = Execution { order_id, ended, started_at: at(0), ended_at, redrives: 0, error };
        let history = history([task("ReleasePayment"), Attempted, failed("Unavailable"), end("SagaStuck")]);
        self.runs.lock().unwrap().insert(run, (execution.clone(), history));
        execution
    }

    fn forget(&self) {
        self.runs.lock().unwrap().clear();
    }

    fn answers(&self) -> Result<(), Fault> {
        if self.down.load(Ordering::Relaxed) { Err(Fault::unavailable("down")) } else { Ok(()) }
    }
}

#[async_trait]
impl SagaRecords for Remembered {
    async fn newest(&self, how: Ended, limit: u32) -> Result<Vec<Execution>, Fault> {
        self.answers()?;
        let runs = self.runs.lock().unwrap();
        let sagas = runs.iter().filter(|(run, _)| matches!(run, Run::Saga(_))).map(|(_, (found, _))| found);
        let all = sagas.filter(|found| found.ended == how).take(limit as usize);
        // As the service does, lists leave out why.
        Ok(all.map(|found| Execution { error: None, ..found.clone() }).collect())
    }

    async fn find(&self, run: Run) -> Result<Option<Execution>, Fault> {
        self.answers()?;
        self.finds.fetch_add(1, Ordering::Relaxed);
        Ok(self.runs.lock().unwrap().get(&run).map(|(found, _)| found.clone()))
    }

    async fn history(&self, run: Run) -> Result<Vec<Happened>, Fault> {
        Ok(self.runs.lock().unwrap().get(&run).map(|(_, history)| history.clone()).unwrap_or_default())
    }
}

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

struct World {
    ports: TestPorts,
    store: EventStore,
    rows: Arc<dyn SagaRows>,
    records: Arc<Remembered>,
    _dynamo: Option<EmbeddedDynamo>,
}

impl World {
    fn new() -> Self {
        Self::over(Arc::new(MemoryRows::new()), None)
    }

    fn over(rows: Arc<dyn SagaRows>, dynamo: Option<EmbeddedDynamo>) -> Self {
        let ports = TestPorts::new(1);
        ports.set(at(10));
        let store = EventStore::new(Arc::new(MemoryLog::new()), ports.ports());
        Self { ports, store, rows, records: Arc::default(), _dynamo: dynamo }
    }

    async fn both() -> [Self; 2] {
        let dynamo = EmbeddedDynamo::start().await;
        create_table(&dynamo.client(), "sagas").await.unwrap();
        let table = SagaTable::new(dynamo.client(), "sagas");
        [Self::new(), Self::over(Arc::new(table), Some(dynamo))]
    }

    /// The rows, as a function of a mall sees them of which no view was ever rebuilt.
    fn generations(&self) -> Arc<SagaGenerations> {
        let generations = Generations::new(VIEW, Arc::new(MemoryRegistry::new()), self.ports.ports().clock);
        Arc::new(SagaGenerations::new(generations, self.rows.clone(), Arc::new(MemoryRows::new())))
    }

    fn projection(&self) -> Arc<SagaProjection> {
        Arc::new(SagaProjection::new(self.store.clone(), self.generations(), self.ports.ports()))
    }

    /// An order to which these commands were sent after it was placed.
    async fn ordered(&self, id: OrderId, commands: impl IntoIterator<Item = OrderCommand>) {
        let items = vec![OrderItem {
            store_id: Id::derived(&["store"]),
            product_id: Id::derived(&["apple"]),
            store_name: "Fruit & Veg".into(),
            product_name: "Apple".into(),
            price: Money::from_minor(75).unwrap(),
            quantity: 2,
        }];
        let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
        let create = OrderCommand::Create { customer_id, payment_id, items };
        for command in [create].into_iter().chain(commands) {
            let stream = StreamId::of::<Order, _>(id);
            let meta = self.ports.command("saga:order");
            self.store.transact::<Order>(&stream, Expect::Any, &command, &meta).await.unwrap();
        }
    }

    /// The view hears of all that happened to an order.
    async fn heard_of(&self, id: OrderId) {
        let events = self.store.events_after(&StreamId::of::<Order, _>(id), Version::NONE).await.unwrap();
        let projection = self.projection();
        let news = events.into_iter().map(|event| News::Event(Box::new(event))).collect();
        assert!(projection.project_sagas(news).await.iter().all(Result::is_ok));
    }

    /// An order that became this, whose saga stands so; the view has heard of all of it.
    async fn saga(&self, id: OrderId, ended: Ended, commands: impl IntoIterator<Item = OrderCommand>) {
        self.ordered(id, commands).await;
        self.heard_of(id).await;
        self.told(Run::Saga(id), ended).await;
    }

    /// An execution stands so, and the view was told.
    async fn told(&self, run: Run, ended: Ended) {
        let execution = self.records.remember(run, ended);
        join(self.rows.as_ref(), Change::heard(run, &execution)).await.unwrap();
    }

    async fn get(&self, target: &str) -> (u64, Value) {
        let ports = self.ports.ports();
        let views = SagaViews::new(self.store.clone(), self.generations(), self.records.clone());
        let views = Arc::new(views);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: serde_json::Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let (function, id) = match path.strip_prefix("/api/sagas").unwrap() {
            "" => (use_case(&views, &ports, SagaViews::list_sagas), json!({})),
            id => (use_case(&views, &ports, SagaViews::get_saga), json!({ "id": &id[1..] })),
        };
        let payload = json!({
            "rawPath": path, "headers": {}, "queryStringParameters": query, "pathParameters": id,
            "requestContext": { "http": { "method": "GET" } }
        });
        let answer = function.invoke(payload).await.unwrap();
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    async fn ok(&self, target: &str) -> Value {
        let (status, body) = self.get(target).await;
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    async fn shown(&self, id: OrderId) -> Value {
        self.ok(&format!("/api/sagas/{id}")).await["saga"].take()
    }

    /// Id and status of what is listed.
    async fn listed(&self, query: &str) -> BTreeMap<String, String> {
        let body = self.ok(&format!("/api/sagas{query}")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sagas = body["sagas"].as_array().unwrap().iter();
        sagas.map(|saga| (text(&saga["id"]), text(&saga["status"]))).collect()
    }

    fn finds(&self) -> usize {
        self.records.finds.swap(0, Ordering::Relaxed)
    }
}

fn approve(id: OrderId) -> OrderCommand {
    OrderCommand::Approve { shopping_id: Some(shopping_list_of(id)) }
}

fn reject() -> OrderCommand {
    OrderCommand::Reject { reason: Reason::new("OUT_OF_STOCK") }
}

const CANCEL: OrderCommand = OrderCommand::Cancel { reason: None };

fn only(names: &[&str]) -> BTreeMap<String, String> {
    names.iter().map(|name| (order(name).to_string(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn a_list_says_what_became_of_each_saga_and_of_its_order() {
    for world in World::both().await {
        world.saga(order("running"), Ended::Running, []).await;
        world.saga(order("succeeded"), Ended::Well, [approve(order("succeeded"))]).await;
        world.saga(order("compensated"), Ended::Well, [reject()]).await;
        world.saga(order("cancelled"), Ended::Well, [CANCEL]).await;
        world.saga(order("stuck"), Ended::Stuck, []).await;
        world.saga(order("aborted"), Ended::Aborted, []).await;
        let all = ["running", "succeeded", "compensated", "cancelled", "stuck", "aborted"];
        assert_eq!(world.listed("").await, only(&all));
        assert_eq!(world.listed("?status=").await, only(&all));
        for status in all {
            assert_eq!(world.listed(&format!("?status={status}")).await, only(&[status]), "{status}");
        }
        let rejected = world.ok("/api/sagas?status=compensated").await["sagas"][0].take();
        assert_eq!(
            (&rejected["order"], &rejected["last"]["name"]),
            (&json!("rejected"), &json!("RejectOrder"))
        );
        assert_eq!(rejected["failure"]["error"], "OUT_OF_STOCK");
        let stuck = world.ok("/api/sagas?status=stuck").await["sagas"][0].take();
        assert_eq!(stuck["failure"], json!({ "error": "SagaStuck", "cause": "SagaStuck was said" }));
        assert_eq!(stuck["endedAt"], "2026-11-20T09:00:09.000000000Z");
    }
}

#[tokio::test]
async fn a_list_of_what_is_over_asks_nobody_about_any_saga() {
    let world = World::new();
    for n in 0..30 {
        world.saga(order(&n.to_string()), Ended::Well, [approve(order(&n.to_string()))]).await;
    }
    world.saga(order("young"), Ended::Running, []).await;
    for query in ["?status=succeeded&limit=100", "?limit=100", "?status=running"] {
        assert!(!world.listed(query).await.is_empty());
        assert_eq!(world.finds(), 0, "{query}");
    }
}

#[tokio::test]
async fn a_saga_that_was_undone_by_hand_leaves_the_stuck_ones() {
    for world in World::both().await {
        let id = order("a");
        // Cancelled: the order itself cannot tell whether everything was undone.
        world.saga(id, Ended::Stuck, [CANCEL]).await;
        world.told(Run::Undo(id, 1), Ended::Stuck).await;
        assert_eq!(
            world.listed("?status=stuck").await[&id.to_string()],
            "stuck",
            "the first attempt failed too"
        );
        world.told(Run::Undo(id, 2), Ended::Well).await;
        assert!(world.listed("?status=stuck").await.is_empty());
        assert_eq!(world.listed("?status=cancelled").await[&id.to_string()], "cancelled");
        let saga = world.shown(id).await;
        assert_eq!(saga["status"], "cancelled");
        let runs = saga["runs"].as_array().unwrap().iter();
        assert_eq!(
            runs.map(|run| run["name"].as_str().unwrap()).collect::<Vec<_>>(),
            ["saga", "undo-1", "undo-2"]
        );
    }
}

#[tokio::test]
async fn a_stuck_saga_is_listed_as_stuck_although_nobody_told() {
    for world in World::both().await {
        let (silent, unknown) = (order("silent"), order("not even placed, as far as was heard"));
        world.saga(silent, Ended::Running, []).await;
        world.records.remember(Run::Saga(silent), Ended::Stuck);
        world.ordered(unknown, []).await;
        world.records.remember(Run::Saga(unknown), Ended::Stuck);
        let listed = world.listed("?status=stuck").await;
        assert_eq!(listed.values().collect::<Vec<_>>(), ["stuck", "stuck"], "in the first answer already");
        assert!(world.listed("?status=running").await.is_empty());
        let why = &world.ok("/api/sagas?status=stuck").await["sagas"][0]["failure"]["cause"];
        assert_eq!(why, "SagaStuck was said");
        let row = world.rows.rows(&[silent], Consistency::Eventual).await.unwrap().pop().unwrap();
        assert_eq!(row.listed, Status::Stuck, "and from now on");
        // What comes late changes nothing any more.
        world.told(Run::Saga(silent), Ended::Stuck).await;
        assert_eq!(world.listed("?status=stuck").await.len(), 2);
    }
}

#[tokio::test]
async fn an_aborted_saga_is_found_out_as_well_whatever_is_asked_for() {
    for query in ["", "?status=aborted", "?status=running"] {
        let world = World::new();
        world.saga(order("a"), Ended::Running, []).await;
        world.records.remember(Run::Saga(order("a")), Ended::Aborted);
        world.listed(query).await;
        let row = world.rows.rows(&[order("a")], Consistency::Eventual).await.unwrap().pop().unwrap();
        assert_eq!(row.listed, Status::Aborted, "{query}");
    }
}

#[tokio::test]
async fn what_was_undone_by_hand_leaves_the_stuck_ones_although_nobody_told() {
    let world = World::new();
    world.saga(order("a"), Ended::Stuck, [CANCEL]).await;
    world.saga(order("b"), Ended::Stuck, []).await;
    world.records.remember(Run::Undo(order("a"), 1), Ended::Well);
    assert_eq!(world.listed("?status=stuck").await.keys().collect::<Vec<_>>(), [&order("b").to_string()]);
    assert_eq!(world.listed("?status=cancelled").await.len(), 1);
}

#[tokio::test]
async fn a_saga_that_ended_well_does_not_run_for_ever_because_nobody_told() {
    let world = World::new();
    world.saga(order("a"), Ended::Running, [CANCEL]).await;
    world.records.remember(Run::Saga(order("a")), Ended::Well);
    assert_eq!(world.listed("?status=running").await.len(), 1, "it may be about to end");
    assert_eq!(world.finds(), 0);
    world.ports.advance(Duration::from_secs(180));
    assert!(world.listed("?status=running").await.is_empty());
    assert_eq!(world.listed("?status=cancelled").await.len(), 1);
}

#[tokio::test]
async fn one_page_looks_at_ten_quiet_sagas_and_the_next_one_at_others() {
    let world = World::new();
    for n in 0..25 {
        world.saga(order(&n.to_string()), Ended::Running, []).await;
        world.records.remember(Run::Saga(order(&n.to_string())), Ended::Well);
    }
    world.ports.advance(Duration::from_secs(3600));
    for left in [15, 5, 0] {
        assert_eq!(world.listed("?status=running&limit=100").await.len(), left);
        assert!(world.finds() <= MAX_LOOKS);
    }
    const { assert!(COMPARED <= 100, "as many rows as are read at once") };
}

#[tokio::test]
async fn a_saga_shows_its_steps_its_error_and_what_came_of_it() {
    let world = World::new();
    let id = order("a");
    world.saga(id, Ended::Stuck, []).await;
    let saga = world.shown(id).await;
    assert_eq!((&saga["id"], &saga["status"]), (&json!(id), &json!("stuck")));
    let run = &saga["runs"][0];
    assert_eq!(
        (&run["status"], &run["state"], &run["transitions"]),
        (&json!("stuck"), &json!("SagaStuck"), &json!(3))
    );
    assert_eq!(run["failure"], json!({ "error": "SagaStuck", "cause": "SagaStuck was said" }));
    assert_eq!(
        run["steps"],
        json!([{
            "name": "ReleasePayment", "outcome": "failed", "attempts": 1,
            "startedAt": "2026-11-20T09:00:00.000000000Z", "endedAt": "2026-11-20T09:00:02.000000000Z",
            "failures": [{ "error": "Unavailable", "cause": "Unavailable was said" }],
        }])
    );
    let steps = saga["steps"].as_array().unwrap();
    assert_eq!(steps[0], json!({ "name": "AuthorizeCustomer", "event": "CustomerAuthorized" }), "not done");
    assert_eq!((steps.len(), &saga["compensations"]), (6, &json!([])));
    assert_eq!(saga["timeline"]["entries"][0]["what"], "OrderCreated");
    assert_eq!(saga["timeline"]["awaits"], "checks");
}

#[tokio::test]
async fn a_saga_is_shown_from_its_streams_while_its_row_is_late() {
    let world = World::new();
    let id = order("a");
    world.ordered(id, [approve(id)]).await;
    world.records.remember(Run::Saga(id), Ended::Running);
    let saga = world.shown(id).await;
    assert_eq!(saga["status"], "running");
    let approved = saga["steps"].as_array().unwrap().iter().find(|step| step["name"] == "ApproveOrder");
    assert_eq!((&approved.unwrap()["attempts"], &approved.unwrap()["by"]), (&json!(1), &Value::Null));
    assert!(approved.unwrap()["at"].is_string());
    // What it says of the end is kept for the lists.
    world.records.remember(Run::Saga(id), Ended::Stuck);
    assert_eq!(world.shown(id).await["status"], "stuck");
    assert_eq!(world.rows.rows(&[id], Consistency::Eventual).await.unwrap()[0].listed, Status::Stuck);
}

#[tokio::test]
async fn a_saga_that_step_functions_forgot_is_shown_as_the_row_remembers_it() {
    let world = World::new();
    let id = order("old");
    world.saga(id, Ended::Well, [approve(id)]).await;
    world.records.forget();
    let saga = world.shown(id).await;
    assert_eq!((&saga["status"], &saga["runs"]), (&json!("succeeded"), &json!([])));
    assert_eq!(saga["timeline"]["status"], "approved");
}

#[tokio::test]
async fn an_order_of_whose_saga_nobody_knows_still_tells_its_story() {
    let world = World::new();
    let id = order("old");
    world.ordered(id, [approve(id)]).await;
    let saga = world.shown(id).await;
    assert_eq!((&saga["status"], &saga["runs"]), (&json!("unknown"), &json!([])));
    assert_eq!(saga["timeline"]["status"], "approved");
}

#[tokio::test]
async fn d16_an_unknown_order_has_no_saga() {
    let world = World::new();
    for id in [order("none").to_string(), "not-an-id".to_owned()] {
        let (status, body) = world.get(&format!("/api/sagas/{id}")).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("ORDER_NOT_FOUND")));
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_what_makes_no_sense_is_refused() {
    for world in World::both().await {
        for n in 0..5 {
            let ended = if n % 2 == 0 { Ended::Running } else { Ended::Stuck };
            world.saga(order(&n.to_string()), ended, []).await;
            world.ports.advance(Duration::from_secs(1));
        }
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let body = world.ok(&format!("/api/sagas?limit=2&cursor={next}")).await;
            let sagas = body["sagas"].as_array().unwrap();
            seen.extend(sagas.iter().map(|saga| saga["id"].as_str().unwrap().to_owned()));
            match body["next"].as_str() {
                Some(cursor) => next = cursor.to_owned(),
                None => break,
            }
        }
        let newest_first: Vec<String> = (0..5).rev().map(|n| order(&n.to_string()).to_string()).collect();
        assert_eq!(seen, newest_first, "of all statuses in one order");
        for query in ["limit=0", "limit=101", "limit=many", "cursor=x", "status=well", "status=ended"] {
            let (status, body) = world.get(&format!("/api/sagas?{query}")).await;
            assert_eq!((status, body["code"].as_str()), (400, Some("QUERY_IS_INVALID")), "{query}");
        }
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_makes_lists_older_and_shows_nothing_wrong() {
    let world = World::new();
    world.saga(order("a"), Ended::Stuck, []).await;
    world.records.down.store(true, Ordering::Relaxed);
    assert_eq!(world.listed("?status=stuck").await.len(), 1);
    assert_eq!(world.get(&format!("/api/sagas/{}", order("a"))).await.0, 503);
}

#[tokio::test]
async fn news_that_makes_no_sense_goes_back_alone() {
    let world = World::new();
    let id = order("a");
    world.ordered(id, []).await;
    let events = world.store.events_after(&StreamId::of::<Order, _>(id), Version::NONE).await.unwrap();
    let sound = events[0].clone();
    let noise = Envelope { event_type: "OrderExploded".into(), ..sound.clone() };
    let lost = Envelope {
        event_type: "OrderApproved".into(),
        version: Version::new(9),
        data: None,
        ..sound.clone()
    };
    let projection = world.projection();
    let news = [noise, sound, lost].map(|event| News::Event(Box::new(event)));
    let results = projection.project_sagas(news.into()).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(world.rows.rows(&[id], Consistency::Eventual).await.unwrap().len(), 1);
}

#[test]
fn news_is_an_event_or_a_status_change_and_nothing_else() {
    let change = json!({ "name": "x", "status": "RUNNING", "startDate": 0, "stopDate": null });
    assert!(matches!(serde_json::from_value(change).unwrap(), News::Execution(_)));
    for noise in [json!({}), json!({ "id": "1" }), json!("x")] {
        assert!(serde_json::from_value::<News>(noise).is_err());
    }
}
