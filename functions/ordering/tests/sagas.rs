//! What operators are told of order sagas: from histories, and over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use contracts::{
    ids::{OrderId, shopping_list_of},
    ordering::OrderItem,
};
use event_store::{EventStore, Expect, MemoryLog};
use kernel::{Id, Money, Reason, StreamId, Timestamp};
use lambda::{Fault, use_case};
use ordering::{
    order::{Order, OrderCommand},
    saga_view::{Outcome, SagaViews, steps},
    sagas::{Ended, Execution, Failure, Happened, Happening, Run, SagaRecords},
};
use serde_json::{Value, json};
use testing::TestPorts;

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
    down: bool,
}

impl Remembered {
    fn with(runs: impl IntoIterator<Item = (Run, Ended)>) -> Self {
        let remembered = Self::default();
        for (run, ended) in runs {
            let (Run::Saga(order_id) | Run::Undo(order_id, _)) = run;
            let over = ended != Ended::Running;
            let error = (ended == Ended::Stuck).then(|| failure("SagaStuck"));
            let execution = Execution {
                order_id,
                ended,
                started_at: at(0),
                ended_at: over.then(|| at(9)),
                error: error.clone(),
            };
            let history =
                history([task("ReleasePayment"), Attempted, failed("Unavailable"), end("SagaStuck")]);
            remembered.runs.lock().unwrap().insert(run, (execution, history));
        }
        remembered
    }
}

#[async_trait]
impl SagaRecords for Remembered {
    async fn list(
        &self,
        how: Option<Ended>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<Execution>, Option<String>), Fault> {
        if self.down {
            return Err(Fault::unavailable("down"));
        }
        let runs = self.runs.lock().unwrap();
        let sagas = runs.iter().filter(|(run, _)| matches!(run, Run::Saga(_))).map(|(_, (found, _))| found);
        let all: Vec<Execution> =
            sagas.filter(|found| how.is_none_or(|how| found.ended == how)).cloned().collect();
        let from = cursor.map_or(Ok(0), str::parse::<usize>);
        let from = from.map_err(|_| Fault::invalid("QUERY_IS_INVALID", "no cursor"))?;
        let page: Vec<Execution> = all.iter().skip(from).take(limit as usize).cloned().collect();
        let next = from + page.len();
        Ok((page, (next < all.len()).then(|| next.to_string())))
    }

    async fn find(&self, run: Run) -> Result<Option<Execution>, Fault> {
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
    records: Arc<Remembered>,
}

impl World {
    fn new(records: Remembered) -> Self {
        let ports = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), ports.ports());
        Self { ports, store, records: Arc::new(records) }
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
            let meta = self.ports.command("stage");
            self.store.transact::<Order>(&stream, Expect::Any, &command, &meta).await.unwrap();
        }
    }

    async fn get(&self, target: &str) -> (u64, Value) {
        let ports = self.ports.ports();
        let views = Arc::new(SagaViews::new(self.store.clone(), self.records.clone()));
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

    /// Id and status of what is listed.
    async fn listed(&self, query: &str) -> BTreeMap<String, String> {
        let body = self.ok(&format!("/api/sagas{query}")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sagas = body["sagas"].as_array().unwrap().iter();
        sagas.map(|saga| (text(&saga["id"]), text(&saga["status"]))).collect()
    }
}

fn approve(id: OrderId) -> OrderCommand {
    OrderCommand::Approve { shopping_id: Some(shopping_list_of(id)) }
}

fn reject() -> OrderCommand {
    OrderCommand::Reject { reason: Reason::new("OUT_OF_STOCK") }
}

#[tokio::test]
async fn a_list_says_what_became_of_each_saga_and_of_its_order() {
    let all = [
        ("running", Ended::Running, vec![]),
        ("succeeded", Ended::Well, vec![approve(order("succeeded"))]),
        ("compensated", Ended::Well, vec![reject()]),
        ("cancelled", Ended::Well, vec![OrderCommand::Cancel { reason: None }]),
        ("stuck", Ended::Stuck, vec![]),
        ("aborted", Ended::Aborted, vec![]),
    ];
    let world =
        World::new(Remembered::with(all.iter().map(|(name, ended, _)| (Run::Saga(order(name)), *ended))));
    for (name, _, commands) in &all {
        world.ordered(order(name), commands.clone()).await;
    }
    let wanted: BTreeMap<String, String> =
        all.iter().map(|(name, ..)| (order(name).to_string(), (*name).to_owned())).collect();
    assert_eq!(world.listed("").await, wanted);
    assert_eq!(world.listed("?status=").await, wanted);
    let only = |names: &[&str]| {
        names.iter().map(|name| (order(name).to_string(), (*name).to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(world.listed("?status=stuck").await, only(&["stuck"]));
    assert_eq!(world.listed("?status=aborted").await, only(&["aborted"]));
    assert_eq!(world.listed("?status=running").await, only(&["running"]));
    assert_eq!(world.listed("?status=ended").await, only(&["succeeded", "compensated", "cancelled"]));
    let body = world.ok("/api/sagas?status=ended&limit=100").await;
    let rejected = body["sagas"].as_array().unwrap().iter().find(|saga| saga["status"] == "compensated");
    assert_eq!(rejected.unwrap()["reason"], "OUT_OF_STOCK");
    assert_eq!(rejected.unwrap()["order"], "rejected");
}

#[tokio::test]
async fn a_saga_that_was_undone_by_hand_no_longer_looks_stuck() {
    let id = order("a");
    let runs = [(Run::Saga(id), Ended::Stuck), (Run::Undo(id, 1), Ended::Stuck)];
    let world = World::new(Remembered::with(runs));
    // Cancelled: the order itself cannot tell whether everything was undone.
    world.ordered(id, [OrderCommand::Cancel { reason: None }]).await;
    assert_eq!(world.listed("?status=stuck").await[&id.to_string()], "stuck", "the first attempt failed too");
    let world = World::new(Remembered::with([runs[0], runs[1], (Run::Undo(id, 2), Ended::Well)]));
    world.ordered(id, [OrderCommand::Cancel { reason: None }]).await;
    assert_eq!(world.listed("?status=stuck").await[&id.to_string()], "compensated");
    let saga = world.ok(&format!("/api/sagas/{id}")).await;
    assert_eq!(saga["saga"]["status"], "compensated");
    let runs = saga["saga"]["runs"].as_array().unwrap().iter();
    assert_eq!(
        runs.map(|run| run["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["saga", "undo-1", "undo-2"]
    );
}

#[tokio::test]
async fn a_saga_shows_its_steps_its_error_and_what_came_of_it() {
    let id = order("a");
    let world = World::new(Remembered::with([(Run::Saga(id), Ended::Stuck)]));
    world.ordered(id, []).await;
    let saga = world.ok(&format!("/api/sagas/{id}")).await["saga"].take();
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
    assert_eq!(saga["timeline"]["entries"][0]["what"], "OrderCreated");
    assert_eq!(saga["timeline"]["awaits"], "checks");
}

#[tokio::test]
async fn an_order_whose_saga_is_forgotten_still_tells_its_story() {
    let world = World::new(Remembered::default());
    let id = order("old");
    world.ordered(id, [approve(id)]).await;
    let saga = world.ok(&format!("/api/sagas/{id}")).await["saga"].take();
    assert_eq!((&saga["status"], &saga["runs"]), (&json!("unknown"), &json!([])));
    assert_eq!(saga["timeline"]["status"], "approved");
}

#[tokio::test]
async fn d16_an_unknown_order_has_no_saga() {
    let world = World::new(Remembered::default());
    for id in [order("none").to_string(), "not-an-id".to_owned()] {
        let (status, body) = world.get(&format!("/api/sagas/{id}")).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("ORDER_NOT_FOUND")));
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_what_makes_no_sense_is_refused() {
    let runs = (0..5).map(|n| (Run::Saga(order(&n.to_string())), Ended::Running));
    let world = World::new(Remembered::with(runs));
    let (mut seen, mut next) = (0, String::new());
    loop {
        let body = world.ok(&format!("/api/sagas?limit=2&cursor={next}")).await;
        seen += body["sagas"].as_array().unwrap().len();
        match body["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, 5);
    for query in ["limit=0", "limit=101", "limit=many", "cursor=x", "status=well"] {
        let (status, body) = world.get(&format!("/api/sagas?{query}")).await;
        assert_eq!((status, body["code"].as_str()), (400, Some("QUERY_IS_INVALID")), "{query}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_an_empty_list() {
    let world = World::new(Remembered { down: true, ..Remembered::default() });
    assert_eq!(world.get("/api/sagas").await.0, 503);
}
