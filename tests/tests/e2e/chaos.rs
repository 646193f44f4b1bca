//! Many shoppers at once, while functions die.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ordering::views::{OrderRow, Orders};
use projection::{Consistency, Content, DynamoViews, ViewStore};

use tokio::{sync::Mutex, task::JoinSet};

use super::{
    shopper::{check_out, saga_is, settled},
    stack::{Stack, fold_orders},
};

const CHECKOUTS: usize = 500;
const CLIENTS: usize = 16;
/// Every tenth shopper's payment does not cover the goods.
const SHORT_OF_MONEY: usize = 10;
/// What a killed consumer held comes back after the queue's visibility time-out, a minute; and it may be killed again.
const PATIENCE: Duration = Duration::from_secs(300);

/// One order in so many is watched closely.
const WATCHED: usize = 10;
/// How often a watched row is looked at: the error of a measured lag.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Kills a process of the functions with these parts in their names, one after the other, every so often: only children
/// of the emulator that the test was told about, by process id.
pub fn kill_now_and_then(
    parts: &'static [&'static str],
    every: Duration,
    stop: Arc<AtomicBool>,
    killed: Arc<AtomicUsize>,
) -> std::thread::JoinHandle<()> {
    let emulator: u32 = std::env::var("MALL_CLOUD_PID")
        .ok()
        .and_then(|pid| pid.parse().ok())
        .expect("MALL_CLOUD_PID: killing functions needs the emulator");
    std::thread::spawn(move || {
        let mut round = 0_usize;
        while !stop.load(Relaxed) {
            std::thread::sleep(every);
            let victims = functions_of(emulator, parts[round % parts.len()]);
            // A stride, so that old and new processes have their turn.
            if let Some(pid) = victims.get(round / parts.len() * 7 % victims.len().max(1)) {
                let status = std::process::Command::new("kill").arg("-KILL").arg(pid.to_string()).status();
                killed.fetch_add(usize::from(status.is_ok_and(|s| s.success())), Relaxed);
            }
            round += 1;
        }
    })
}

/// Processes of the functions whose name contains `part`, among the emulator's own children.
pub fn functions_of(emulator: u32, part: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc: this test runs on Linux").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let child = status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|p| p.trim() == emulator.to_string()));
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let named = String::from_utf8_lossy(&environment)
            .split('\0')
            .any(|v| v.strip_prefix("AWS_LAMBDA_FUNCTION_NAME=").is_some_and(|name| name.contains(part)));
        if child && named {
            found.push(pid);
        }
    }
    found
}

async fn row(orders: &DynamoViews<Orders>, id: &str) -> Option<(OrderRow, u64)> {
    let stored = orders.get(id, Consistency::Strong).await.ok()??;
    match stored.content {
        Content::Row(row) => Some((row, stored.stamp.applied.get())),
        _ => None,
    }
}

/// Watches an order's row until its second event, the order's outcome, is in it; gives the time from each
/// commit that was seen to the moment it was seen.
async fn watch(stack: Arc<Stack>, order: String) -> Vec<Duration> {
    let orders = stack.orders();
    let deadline = Instant::now() + PATIENCE;
    let (mut lags, mut seen) = (Vec::new(), 0);
    while seen < 2 {
        if let Some((row, applied)) = row(&orders, &order).await
            && applied > seen
        {
            let at: jiff::Timestamp = row.changed_at.parse().unwrap();
            lags.push(jiff::Timestamp::now().duration_since(at).unsigned_abs());
            seen = applied;
        }
        assert!(Instant::now() < deadline, "the row of {order} did not come");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    lags
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a deployed stack"]
async fn five_hundred_checkouts_while_functions_are_killed_end_in_one_settled_order_each() {
    let stack = Stack::deployed().await;
    let (stop, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let every = Duration::from_millis(1500);
    let killer = kill_now_and_then(&["-ordering-"], every, stop.clone(), killed.clone());
    let began = Instant::now();

    let next = Arc::new(AtomicUsize::new(0));
    let watchers = Arc::new(Mutex::new(JoinSet::new()));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (stack, next, watchers) = (stack.clone(), next.clone(), watchers.clone());
        clients.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            loop {
                let n = next.fetch_add(1, Relaxed);
                if n >= CHECKOUTS {
                    return accepted;
                }
                let short = n % SHORT_OF_MONEY == 0;
                let shopper = check_out(&stack, if short { 1.0 } else { 7.5 }).await;
                if n % WATCHED == WATCHED / 2 {
                    watchers.lock().await.spawn(watch(stack.clone(), shopper.order.clone()));
                }
                accepted.push((shopper, short));
            }
        }));
    }
    let mut accepted = Vec::new();
    for client in clients {
        accepted.extend(client.await.expect("a client finishes"));
    }
    let shopping = began.elapsed();
    assert_eq!(accepted.len(), CHECKOUTS);

    let mut outcomes: HashMap<String, usize> = HashMap::new();
    for (shopper, short) in &accepted {
        let order = settled(&stack, &shopper.order, PATIENCE).await;
        let status = order["status"].as_str().unwrap().to_owned();
        assert_eq!(status, if *short { "rejected" } else { "approved" }, "order {}: {order}", shopper.order);
        *outcomes.entry(status).or_default() += 1;
    }
    stop.store(true, Relaxed);
    killer.join().expect("the killer stops");
    for (shopper, _) in accepted.iter().filter(|(_, short)| *short) {
        saga_is(&stack, &shopper.order, "undone", PATIENCE).await;
    }
    let settled_after = began.elapsed();

    // The view catches up with the fold of the event table, row by row.
    let commits = stack.commits().await;
    let expected = fold_orders(&commits);
    let orders = stack.orders();
    let deadline = Instant::now() + PATIENCE;
    let mut different;
    loop {
        different = Vec::new();
        for (id, row_expected) in &expected {
            match row(&orders, id).await {
                Some((found, _)) if found == *row_expected => {}
                other => different.push((id.clone(), other)),
            }
        }
        if different.is_empty() || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(
        different.is_empty(),
        "{} rows differ from the fold, e.g. {:?}",
        different.len(),
        different.first()
    );
    let seen_after = began.elapsed();

    // One order for each checkout, one terminal event in each order, one hold or release on each payment.
    for (shopper, short) in &accepted {
        let of = |stream: String| -> Vec<String> {
            let mut events: Vec<_> =
                commits.iter().filter(|c| c.stream.as_str() == stream).flat_map(|c| c.envelopes()).collect();
            events.sort_by_key(|e| e.version);
            events.into_iter().map(|e| e.event_type).collect()
        };
        let order = of(format!("ordering.Order/{}", shopper.order));
        let payment = of(format!("payments.Payment/{}", shopper.payment));
        if *short {
            assert_eq!(order, ["OrderCreated", "OrderRejected"]);
            assert_eq!(payment, ["PaymentAuthorized", "PaymentReleased"]);
        } else {
            assert_eq!(order, ["OrderCreated", "OrderApproved"]);
            assert_eq!(payment, ["PaymentAuthorized", "PaymentConfirmed"]);
        }
    }
    let mut lags = Vec::new();
    while let Some(watched) = watchers.lock().await.join_next().await {
        lags.extend(watched.expect("a watcher finishes"));
    }
    lags.sort();
    let dead = stack.dead_letters().await;
    assert!(dead.values().all(|depth| *depth == 0), "dead letters: {dead:?}");

    let commands = commits.len();
    println!(
        "\n{CHECKOUTS} checkouts from {CLIENTS} clients, {} function processes killed",
        killed.load(Relaxed)
    );
    println!("| what | measured |");
    println!("| --- | --- |");
    println!("| outcomes | {outcomes:?} |");
    println!("| commits in the table | {commands} |");
    println!(
        "| shopping, 6 commands each, repeats not counted | {shopping:.1?}, {:.0} commands/s |",
        (CHECKOUTS * 6) as f64 / shopping.as_secs_f64()
    );
    println!(
        "| event to view, {} events, functions dying | p50 {:.0?}, p99 {:.0?} |",
        lags.len(),
        percentile(&lags, 50),
        percentile(&lags, 99)
    );
    println!("| all orders settled after | {settled_after:.1?} |");
    println!("| view equals fold after | {seen_after:.1?} |");
    assert!(killed.load(Relaxed) > 0, "no process was killed: the test proved nothing");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn the_view_follows_its_events() {
    // From commit to row, watched order by order on a quiet stack: what a shopper waits for.
    let stack = Stack::deployed().await;
    let mut lags = Vec::new();
    for _ in 0..40 {
        let shopper = check_out(&stack, 7.5).await;
        lags.extend(watch(stack.clone(), shopper.order).await);
    }
    lags.sort();
    println!(
        "\nevent to view, {} events: p50 {:.0?}, p99 {:.0?}",
        lags.len(),
        percentile(&lags, 50),
        percentile(&lags, 99)
    );
    assert!(lags.len() >= 40);
}
