//! The fault matrix: every step of an order's placement and undo, everything that can go wrong with it, and
//! every death in between, on a cloud that lets faults in.
//!
//! `cargo mall test --only faults` starts such a cloud, deploys to it and runs this; with `--write` the
//! tables go into docs/SAGAS.md. What is told is the same as for the end-to-end tests, and besides:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `MALL_FAULTS_URL` | where faults are asked for (infra/local/faults.py) |
//! | `MALL_CLI` | the program with which an operator helps a saga that is stuck, and replays events |
//! | `MALL_FAULTS_ONLY` | only cases whose name contains this: `ApproveOrder/`, `/throttled`, `dies` |
//! | `MALL_WRITE_FAULTS` | write the tables into docs/SAGAS.md |
//!
//! | module | the idea |
//! | --- | --- |
//! | `control` | asks for faults |
//! | `mall` | one order with a store, a product, a customer and a payment of its own |
//! | `seen` | all that the contexts say of it, and what must hold |
//! | `case` | one order in trouble, and how it has to end |
//! | `cells` | which fault, at which step |
//! | `deaths` | starts and executions that are gone, and undos at once |
//! | `table` | the tables, and the document that has them |

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test from outside, against the clock on the wall"
)]

mod case;
mod cells;
mod control;
mod deaths;
mod mall;
mod seen;
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod stack;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::QueueAttributeName;
use tokio::{sync::Semaphore, task::JoinSet};

use self::{
    case::{Case, FAILED},
    control::Faults,
    mall::mall,
    stack::Stack,
};

/// Cases at the same time: most of the time of most is waiting.
const AT_A_TIME: usize = 14;
/// Until the queues are empty: a message whose function was busy comes back after a minute, and a replay
/// sends thousands.
const QUIET: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cloud that lets faults in"]
async fn every_fault_at_every_step_and_every_death_between_them_ends_in_one_consistent_state() {
    let (stack, faults) = (Stack::deployed().await, Arc::new(Faults::reach()));
    let only = std::env::var("MALL_FAULTS_ONLY").unwrap_or_default();
    // Deaths first: they wait for longer.
    let cases: Vec<Case> = deaths::deaths().into_iter().chain(cells::cells()).collect();
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.name.contains(&only)).collect();
    assert!(!cases.is_empty(), "there is no case whose name contains {only:?}");

    let began = Instant::now();
    let schedules = tokio::spawn(hurried_schedules(stack.clone()));
    let (places, mut running) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
    for case in cases {
        let place = places.clone().acquire_owned().await.expect("the semaphore stays open");
        let (stack, faults) = (stack.clone(), faults.clone());
        running.spawn(async move {
            let began = Instant::now();
            let done = case.run(&stack, &faults).await;
            drop(place);
            println!("{} {:.0?}: {}", done.case.name, began.elapsed(), done.ended());
            done
        });
    }
    // A case that does not end as it should says so, and does not panic.
    let mut done = running.join_all().await;
    let took = began.elapsed();

    // Messages on their way arrive, and so does every event twice more: they change nothing.
    let mut problems = changed_by_a_replay(&stack).await;
    for done in &mut done {
        done.look_again(&stack).await;
    }
    schedules.abort();

    let mut ended = BTreeMap::new();
    for done in &done {
        if ended.get(&done.case.name) != Some(&FAILED) {
            ended.insert(done.case.name.clone(), done.ended());
        }
        if !done.problems.is_empty() {
            let (name, order) = (&done.case.name, &done.shopper.order);
            problems.push(format!(
                "{name}, order {order}:\n  {}\n{}",
                done.problems.join("\n  "),
                done.story
            ));
        }
    }
    let tables = table::drawn(&ended);
    println!("\n{tables}\n{} cases in {took:.0?}", done.len());
    if std::env::var_os("MALL_WRITE_FAULTS").is_some() {
        assert!(only.is_empty(), "part of the tables cannot stand for the whole");
        table::write(&tables);
    }
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n\n"));
}

/// Runs every second what the schedules run every minute.
async fn hurried_schedules(stack: Arc<Stack>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        for function in ["ordering-resume-sagas", "payments-chase-payments"] {
            if let Err(why) = stack.run_scheduled(function).await {
                println!("{why}");
            }
        }
    }
}

/// Delivers every event twice more; lists everything that came of it.
async fn changed_by_a_replay(stack: &Stack) -> Vec<String> {
    let mut problems = Vec::new();
    until_quiet(&mut problems).await;
    let before: BTreeSet<String> = commits(stack).await;
    for _ in 0..2 {
        let replay = mall(&["replay", "--all", "--with-side-effects", "--yes", "--rate", "2000"]);
        problems.extend(replay.await.err());
    }
    until_quiet(&mut problems).await;
    problems.extend(commits(stack).await.difference(&before).map(|new| format!("after the replay: {new}")));
    let dead = stack.dead_letters().await;
    if dead.values().any(|depth| *depth > 0) {
        problems.push(format!("dead letters: {dead:?}"));
    }
    problems
}

async fn commits(stack: &Stack) -> BTreeSet<String> {
    let told = stack.commits().await.into_iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>());
    told.map(|event| format!("{}/{} {}", event.stream, event.version, event.event_type)).collect()
}

/// Waits until no queue holds anything. Dead letters are looked at apart.
async fn until_quiet(problems: &mut Vec<String>) {
    let sqs = aws_sdk_sqs::Client::new(&lambda::aws::config());
    let wanted = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let deadline = Instant::now() + QUIET;
    loop {
        let mut waiting = BTreeMap::new();
        let mut pages = sqs.list_queues().queue_name_prefix("mallard-").into_paginator().send();
        while let Some(page) = pages.next().await {
            for url in page.expect("the queues").queue_urls() {
                let asked = sqs.get_queue_attributes().queue_url(url);
                let told =
                    asked.set_attribute_names(Some(wanted.to_vec())).send().await.expect("a queue's depth");
                let depth = |name| told.attributes()?.get(name)?.parse::<u32>().ok();
                let held: u32 = wanted.iter().filter_map(depth).sum();
                let name = url.rsplit('/').next().unwrap_or(url);
                if held > 0 && !name.ends_with("-dead") {
                    waiting.insert(name.to_owned(), held);
                }
            }
        }
        if waiting.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            return problems.push(format!("messages that nobody gets done: {waiting:?}"));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
