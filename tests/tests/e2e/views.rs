//! A view is built anew while the mall is open: shoppers notice nothing, whatever dies.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use event_store::Segment;
use ordering::views::Orders;
use projection::{
    Consistency, Content, DynamoRegistry, DynamoViews, Job, Phase, Projection, Registry, ViewState,
    ViewStore, ViewTable,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    chaos::functions_of,
    shopper::{check_out, id, settled},
    stack::{Stack, fold_orders},
};

const SHOPPERS: usize = 16;
/// Checkouts before the first rebuild begins, so that there is something to rebuild.
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

/// The state machine, and the registry that it works by.
struct Rebuilds {
    stack: Arc<Stack>,
    registry: DynamoRegistry,
}

impl Rebuilds {
    fn of(stack: &Arc<Stack>) -> Self {
        let registry = DynamoRegistry::new(stack.dynamo(), stack.output("ViewsTable"));
        Self { stack: stack.clone(), registry }
    }

    async fn start(&self, order: Value) -> String {
        let machine = self.stack.output("RebuildViewArn");
        let input = json!({ "context": "ordering", "view": "orders", "order": order });
        let name = format!("orders-{}", uuid::Uuid::now_v7());
        let start = self.stack.sfn().start_execution().state_machine_arn(machine).name(name);
        let started = start.input(input.to_string()).send().await.expect("the rebuild starts");
        started.execution_arn().to_owned()
    }

    async fn ended(&self, execution: &str) -> Job {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A busy machine may take its time to answer.
            let described = self.stack.sfn().describe_execution().execution_arn(execution).send().await;
            match described.as_ref().map(|described| described.status().as_str()) {
                Ok("RUNNING") => {}
                Ok("SUCCEEDED") => return self.state().await.job.expect("a job"),
                Ok(other) => panic!("{other}: {described:?}"),
                Err(error) => println!("the rebuild is asked for again: {error}"),
            }
            assert!(Instant::now() < deadline, "the rebuild did not end: {:?}", self.state().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A busy machine may take its time to answer.
    async fn state(&self) -> ViewState {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.registry.get("orders").await {
                Ok(state) => return state,
                Err(error) => assert!(Instant::now() < deadline, "the registry: {error}"),
            }
        }
    }

    /// Waits until so many events were brought in, and gives the job as it is then.
    async fn filled(&self, events: u64) -> Job {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(job) = self.state().await.job
                && (job.phase == Phase::Filling && job.events() >= events)
            {
                return job;
            }
            assert!(Instant::now() < deadline, "filling did not come that far: {:?}", self.state().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
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
async fn a_view_is_rebuilt_while_shoppers_keep_buying_and_workers_die_and_nobody_notices() {
    let stack = Stack::deployed().await;
    let rebuilds = Rebuilds::of(&stack);
    let emulator: u32 =
        std::env::var("MALL_CLOUD_PID").ok().and_then(|pid| pid.parse().ok()).expect("MALL_CLOUD_PID");
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let shoppers: Vec<_> =
        (0..SHOPPERS).map(|_| tokio::spawn(shop(stack.clone(), seen.clone(), stop.clone()))).collect();
    while seen.checkouts.load(Relaxed) < BEFORE {
        assert!(shoppers.iter().all(|shopper| !shopper.is_finished()), "a shopper gave up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = rebuilds.state().await.live;

    // Slow enough to be met half way: its workers are killed, then the state machine itself is stopped.
    let events = of_orders(&stack).await;
    let rate = (events / 12).max(20);
    let order = json!({ "task": "rebuildAndVerify", "segments": 4, "rate": rate });
    let first = rebuilds.start(order.clone()).await;
    let half = rebuilds.filled(events / 4).await;
    let mut killed = 0;
    for pid in functions_of(emulator, "-ordering-rebuild-view") {
        let status = std::process::Command::new("kill").arg("-KILL").arg(pid.to_string()).status();
        killed += usize::from(status.is_ok_and(|status| status.success()));
    }
    assert!(killed > 0, "no worker was there to be killed: the test proved nothing");
    let further = rebuilds.filled(half.events() + events / 8).await;
    stack.sfn().stop_execution().execution_arn(&first).send().await.expect("it is stopped");
    let second = rebuilds.start(json!({ "task": "rebuildAndVerify", "segments": 2, "rate": null })).await;
    let resumed = rebuilds.ended(&second).await;
    assert_eq!(resumed.phase, Phase::Done);
    assert_eq!(resumed.started_at, further.started_at, "it is the same rebuild, that went on");
    assert_eq!(resumed.differences, 0, "{:?}", resumed.examples);
    assert_eq!(rebuilds.state().await.live, before.next());

    // And once more, as fast as can be.
    let began = Instant::now();
    let third = rebuilds.start(json!({ "task": "rebuild", "segments": 4, "rate": null })).await;
    let mut filling: Option<(Instant, Duration)> = None;
    let deadline = Instant::now() + PATIENCE;
    while rebuilds.state().await.under_way().is_none_or(|job| job.phase.is_before_switch()) {
        if let Some(job) = rebuilds.state().await.job
            && job.phase == Phase::Filling
        {
            let (first, _) = *filling.get_or_insert((Instant::now(), Duration::ZERO));
            filling = Some((first, first.elapsed()));
        }
        assert!(Instant::now() < deadline, "it was never switched");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fast = rebuilds.ended(&third).await;
    let took = began.elapsed();
    assert_eq!((fast.phase, rebuilds.state().await.live), (Phase::Done, before.next().next()));

    stop.store(true, Relaxed);
    let mut bought = Vec::new();
    for shopper in shoppers {
        bought.extend(shopper.await.expect("a shopper finishes"));
    }
    // Two rebuilds later the live rows are in the table in which they were.
    let even = DynamoViews::<Orders>::new(stack.dynamo(), stack.output("OrdersTableEven"));
    let (live, other) = if before.is_odd() { (stack.orders(), even) } else { (even, stack.orders()) };
    let different = differences(&stack, &live).await;
    assert!(
        different.is_empty(),
        "{} rows differ from the fold, e.g. {:?}",
        different.len(),
        different.first()
    );
    let left = other.keys(Segment::WHOLE, None, None).await.expect("the other table").keys;
    assert!(left.is_empty(), "{} rows of the old generation are left", left.len());
    let compared = rebuilds.start(json!({ "task": "verify", "segments": 3, "rate": null })).await;
    let compared = rebuilds.ended(&compared).await;
    assert_eq!(
        (compared.differences, compared.generation),
        (0, before.next().next()),
        "{:?}",
        compared.examples
    );

    println!(
        "\nrebuilt twice while {SHOPPERS} shoppers placed {} orders; workers killed {killed}, machine stopped once",
        bought.len()
    );
    println!("| what | measured |");
    println!("| --- | --- |");
    println!(
        "| queries, failed or older than asked for | {}, {} |",
        seen.queries.load(Relaxed),
        seen.failed.load(Relaxed)
    );
    let filled = filling.map_or(Duration::ZERO, |(_, time)| time);
    println!(
        "| rebuild of {} events, shoppers buying | {took:.1?}, of it filling {filled:.1?}: {:.0} events/s |",
        fast.events(),
        fast.events() as f64 / filled.as_secs_f64().max(0.02)
    );
    assert_eq!(seen.failed.load(Relaxed), 0, "queries failed");
}

/// Events of orders so far.
async fn of_orders(stack: &Stack) -> u64 {
    let commits = stack.commits().await;
    let ours = commits.iter().filter(|commit| commit.stream.category() == Orders::CATEGORY);
    ours.map(|commit| commit.events.len() as u64).sum()
}
