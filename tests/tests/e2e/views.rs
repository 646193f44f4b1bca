//! A view is swept while the mall is open: shoppers notice nothing, whatever dies.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use event_store::Segment;
use ordering::views::Orders;
use projection::{
    Consistency, Content, DynamoProgress, DynamoViews, Projection, RowKey, SweepState, ViewStore, ViewTable,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    chaos::functions_of,
    dead_letters::{event, smuggle},
    shopper::{check_out, id, settled},
    stack::{Stack, fold_orders},
};

const SHOPPERS: usize = 16;
/// Checkouts before the first sweep begins, so that there is something to sweep.
const BEFORE: usize = 48;
/// What a killed consumer held comes back after a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the shoppers did and saw.
#[derive(Default)]
struct Seen {
    checkouts: AtomicUsize,
    queries: AtomicUsize,
    /// Sent more than once, or answered with something else than an order.
    failed: AtomicUsize,
}

/// Buys, and looks at what was bought, until told to stop; gives the orders.
async fn shop(stack: Arc<Stack>, seen: Arc<Seen>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut orders: Vec<String> = Vec::new();
    while !stop.load(Relaxed) {
        let shopper = check_out(&stack, 7.5).await;
        seen.checkouts.fetch_add(1, Relaxed);
        // It has its first event by its own stream: from then on the view has to have it, if it is asked for that version.
        settled(&stack, &shopper.order, PATIENCE).await;
        look(&stack, &seen, &format!("/api/orders/{}?minVersion=2", shopper.order), 2).await;
        // What was seen once, even long ago, does not go away or back.
        if let Some(old) = orders.get(orders.len() / 2) {
            look(&stack, &seen, &format!("/api/orders/{old}"), 2).await;
        }
        orders.push(shopper.order);
    }
    orders
}

async fn look(stack: &Stack, seen: &Seen, path: &str, least: u64) {
    let (reply, sent) = stack.insist(Method::GET, path, &id(), None).await;
    seen.queries.fetch_add(1, Relaxed);
    let version = reply.body["order"]["version"].as_u64().unwrap_or(0);
    if sent > 1 || reply.status != 200 || version < least {
        seen.failed.fetch_add(1, Relaxed);
        println!("{path}: sent {sent} times, {} {}", reply.status, reply.body);
    }
}

/// The state machine, and the progress that its workers record.
struct Sweeps {
    stack: Arc<Stack>,
    progress: DynamoProgress,
}

impl Sweeps {
    fn of(stack: &Arc<Stack>) -> Self {
        let progress = DynamoProgress::new(stack.dynamo(), stack.output("SweepsTable"));
        Self { stack: stack.clone(), progress }
    }

    async fn start(&self, order: Value) -> String {
        let machine = self.stack.output("SweepViewArn");
        let input = json!({ "context": "ordering", "view": "orders", "order": order });
        let name = format!("orders-{}", uuid::Uuid::now_v7());
        let start = self.stack.sfn().start_execution().state_machine_arn(machine).name(name);
        let started = start.input(input.to_string()).send().await.expect("the sweep starts");
        started.execution_arn().to_owned()
    }

    async fn ended(&self, execution: &str) -> SweepState {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A busy machine may take its time to answer.
            let described = self.stack.sfn().describe_execution().execution_arn(execution).send().await;
            match described.as_ref().map(|described| described.status().as_str()) {
                Ok("RUNNING") => {}
                Ok("SUCCEEDED") => return self.state().await.expect("a sweep"),
                Ok(other) => panic!("{other}: {described:?}"),
                Err(error) => println!("the sweep is asked for again: {error}"),
            }
            assert!(Instant::now() < deadline, "the sweep did not end: {:?}", self.state().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A busy machine may take its time to answer.
    async fn state(&self) -> Option<SweepState> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match SweepState::of(&self.progress, "orders").await {
                Ok(state) => return state,
                Err(error) => assert!(Instant::now() < deadline, "the progress: {error}"),
            }
        }
    }

    /// Waits until a sweep other than `before` has read so many events, and gives its state then.
    async fn reached(&self, events: u64, before: Option<&SweepState>) -> SweepState {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let other = |state: &SweepState| before.is_none_or(|before| before.sweep.id != state.sweep.id);
            if let Some(state) = self.state().await.filter(other)
                && state.events() >= events
            {
                return state;
            }
            assert!(Instant::now() < deadline, "the sweep did not come that far: {:?}", self.state().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Makes rows of orders wrong behind everybody's back: one is lost, one changed, one has no stream. None of a
/// shopper who still looks.
async fn damage(orders: &DynamoViews<Orders>, keys: &[RowKey]) {
    let [lost, changed, pattern] = keys else { panic!("three rows") };
    orders.remove(lost).await.expect("a row is removed");
    let row = async |key: &RowKey| {
        let stored = orders.get(&key.id, Consistency::Strong).await.expect("a row").expect("a row");
        let Content::Row(row) = stored.content else { panic!("{stored:?}") };
        (row, stored.stamp)
    };
    let (mut wrong, stamp) = row(changed).await;
    wrong.reason = Some("damage".to_owned());
    orders.put(&changed.id, Some(&wrong), Some(stamp), stamp.applied).await.expect("a row is changed");
    let (mut stray, stamp) = row(pattern).await;
    let stray_id = uuid::Uuid::now_v7().to_string();
    stray.id = stray_id.parse().expect("an id");
    orders.put(&stray_id, Some(&stray), None, stamp.applied).await.expect("a row is made");
}

/// What differs between rows and the fold, once everything has arrived.
async fn differences(stack: &Stack, orders: &DynamoViews<Orders>) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let expected = fold_orders(&stack.commits().await);
        let mut found: HashMap<String, _> = HashMap::new();
        let mut after = None;
        loop {
            let page = orders.keys(Segment::WHOLE, after.as_deref(), None).await.expect("the rows");
            for key in page.keys {
                let stored = orders.get(&key.id, Consistency::Strong).await.expect("a row").expect("a row");
                found.insert(key.id, stored.content);
            }
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        let differs = |(id, row): (&String, _)| found.get(id) != Some(&Content::Row(row));
        let mut different: Vec<String> = expected
            .clone()
            .into_iter()
            .filter(|(id, row)| differs((id, row.clone())))
            .map(|(id, _)| id)
            .collect();
        different.extend(found.keys().filter(|id| !expected.contains_key(*id)).cloned());
        if different.is_empty() || Instant::now() > deadline {
            return different;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a deployed stack"]
async fn a_view_is_swept_while_shoppers_keep_buying_and_workers_die_and_nobody_notices() {
    let stack = Stack::deployed().await;
    let sweeps = Sweeps::of(&stack);
    let emulator: u32 =
        std::env::var("MALL_CLOUD_PID").ok().and_then(|pid| pid.parse().ok()).expect("MALL_CLOUD_PID");
    let old = three_orders(&stack).await;
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let shoppers: Vec<_> =
        (0..SHOPPERS).map(|_| tokio::spawn(shop(stack.clone(), seen.clone(), stop.clone()))).collect();
    while seen.checkouts.load(Relaxed) < BEFORE {
        assert!(shoppers.iter().all(|shopper| !shopper.is_finished()), "a shopper gave up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    damage(&stack.orders(), &old).await;
    // No rule of the bus knows this type, so only the sweep meets it.
    let torn = format!("ordering.Order/{}", id());
    smuggle(&stack, &torn, 1, event(&id(), "OrderTorn", json!({}))).await;

    // Slow enough to be met half way: its workers are killed, then the state machine itself is stopped.
    let before = sweeps.state().await;
    let events = of_orders(&stack).await;
    let rate = (events / 12).max(20);
    let first = sweeps.start(json!({ "parts": 4, "rate": rate })).await;
    let half = sweeps.reached(events / 4, before.as_ref()).await;
    let mut killed = 0;
    for pid in functions_of(emulator, "-ordering-sweep-view") {
        let status = std::process::Command::new("kill").arg("-KILL").arg(pid.to_string()).status();
        killed += usize::from(status.is_ok_and(|status| status.success()));
    }
    assert!(killed > 0, "no worker was there to be killed: the test proved nothing");
    let further = sweeps.reached(half.events() + events / 8, before.as_ref()).await;
    stack.sfn().stop_execution().execution_arn(&first).send().await.expect("it is stopped");
    let second = sweeps.start(json!({ "parts": 2 })).await;
    let resumed = sweeps.ended(&second).await;
    assert!(resumed.is_over());
    assert_eq!(resumed.sweep.id, further.sweep.id, "it is the same sweep, that went on");
    let report = resumed.report();
    assert_eq!(report.left, 1, "{:?}", report.examples);
    assert!(report.examples[0].contains(&torn), "{:?}", report.examples);
    // The lost row may have come back with the next event of its order.
    assert!(report.differences >= 2 && report.written >= 2, "{report:?}");

    // And once more, as fast as can be.
    let began = Instant::now();
    let fast = sweeps.start(json!({ "parts": 4 })).await;
    let fast = sweeps.ended(&fast).await;
    let took = began.elapsed();
    assert_ne!(fast.sweep.id, resumed.sweep.id);
    assert_eq!((fast.report().differences, fast.report().left), (0, 1), "{:?}", fast.report().examples);

    stop.store(true, Relaxed);
    let mut bought = Vec::new();
    for shopper in shoppers {
        bought.extend(shopper.await.expect("a shopper finishes"));
    }
    forget(&stack, &torn, 1).await;
    let different = differences(&stack, &stack.orders()).await;
    assert!(
        different.is_empty(),
        "{} rows differ from the fold, e.g. {:?}",
        different.len(),
        different.first()
    );
    println!(
        "\nswept twice while {SHOPPERS} shoppers placed {} orders; workers killed {killed}, machine stopped once",
        bought.len()
    );
    println!("| what | measured |");
    println!("| --- | --- |");
    println!(
        "| queries, failed or older than asked for | {}, {} |",
        seen.queries.load(Relaxed),
        seen.failed.load(Relaxed)
    );
    println!(
        "| sweep of {} events in {} rows, shoppers buying | {took:.1?}: {:.0} events/s |",
        fast.events(),
        fast.rows(),
        fast.events() as f64 / took.as_secs_f64()
    );
    assert_eq!(seen.failed.load(Relaxed), 0, "queries failed");
}

/// Three orders at which nobody looks any more.
async fn three_orders(stack: &Arc<Stack>) -> Vec<RowKey> {
    let mut keys = Vec::new();
    for _ in 0..3 {
        let shopper = check_out(stack, 7.5).await;
        settled(stack, &shopper.order, PATIENCE).await;
        let stored = stack.orders().get(&shopper.order, Consistency::Strong).await.expect("a row");
        keys.push(RowKey { id: shopper.order, stamp: stored.expect("a row").stamp });
    }
    keys
}

/// Events of orders so far.
async fn of_orders(stack: &Stack) -> u64 {
    let commits = stack.commits().await;
    let ours = commits.iter().filter(|commit| commit.stream.category() == Orders::CATEGORY);
    ours.map(|commit| commit.events.len() as u64).sum()
}

/// Removes a commit that a test has smuggled in.
async fn forget(stack: &Stack, stream: &str, version: u64) {
    let delete = stack.dynamo().delete_item().table_name(stack.output("EventTable"));
    let delete = delete.key("stream", AttributeValue::S(stream.to_owned()));
    let delete = delete.key("version", AttributeValue::N(version.to_string()));
    delete.send().await.expect("the commit is removed");
}
