//! The fault matrix: every step of an order's saga, and everything that can go wrong with it, on a cloud that lets faults in.
//!
//! `cargo mall test --only faults` starts such a cloud, deploys to it and runs this; with `--write` the table goes into
//! docs/SAGAS.md. What is told is the same as for the end-to-end tests, and besides:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `MALL_FAULTS_URL` | where faults are asked for (infra/local/faults.py) |
//! | `MALL_CLI` | the program with which an operator finishes an order by hand |
//! | `MALL_FAULTS_ONLY` | only cells whose name contains this: `ApproveOrder/`, `/throttled` |
//! | `MALL_WRITE_FAULTS` | write the table into docs/SAGAS.md |
//!
//! | module | the idea |
//! | --- | --- |
//! | `control` | asks for faults |
//! | `mall` | one order with a store, a product, a customer and a payment of its own |
//! | `seen` | all that the contexts say of it, and what must hold |
//! | `cells` | which fault, at which step, and how it has to end |
//! | `table` | the table, and the document that has it |

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test from outside, against the clock on the wall"
)]

mod cells;
mod control;
mod mall;
mod seen;
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod stack;
mod table;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::QueueAttributeName;
use tokio::{sync::Semaphore, task::JoinSet};

use self::{
    cells::{Cell, FAULTS, ROWS},
    control::Faults,
    stack::Stack,
};

/// Cells at the same time: most of the time of most is waiting.
const AT_A_TIME: usize = 14;
/// Until the queues are empty: a message whose function was busy comes back after a minute.
const QUIET: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cloud that lets faults in"]
async fn every_fault_at_every_step_ends_in_one_consistent_state() {
    let (stack, faults) = (Stack::deployed().await, Arc::new(Faults::reach()));
    let only = std::env::var("MALL_FAULTS_ONLY").unwrap_or_default();
    let cells: Vec<Cell> = ROWS
        .iter()
        .flat_map(|row| FAULTS.map(|fault| Cell { row, fault }))
        .filter(|cell| cell.name().contains(&only))
        .collect();
    assert!(!cells.is_empty(), "there is no cell whose name contains {only:?}");

    let began = Instant::now();
    let (places, mut running) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
    for cell in cells {
        let (stack, faults, places) = (stack.clone(), faults.clone(), places.clone());
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("the semaphore stays open");
            let began = Instant::now();
            let done = cell.run(&stack, &faults).await;
            println!("{} {:.0?}: {}", cell.name(), began.elapsed(), done.ended.shown());
            (cell, done)
        });
    }
    let mut done = Vec::new();
    while let Some(ended) = running.join_next().await {
        done.push(ended.expect("a cell that does not end as it should says so, and does not panic"));
    }
    let took = began.elapsed();

    // What is still on its way arrives, and changes nothing.
    let waiting = until_quiet().await;
    for (_, done) in &mut done {
        done.look_again(&stack).await;
    }
    let dead = stack.dead_letters().await;
    let ended: BTreeMap<(String, String), String> = done
        .iter()
        .map(|(cell, done)| {
            ((cell.row.step.to_owned(), cell.fault.title().to_owned()), done.ended.shown().to_owned())
        })
        .collect();
    let table = table::drawn(&ended);
    println!("\n{table}");
    println!("{} cells in {took:.0?}", done.len());

    let mut problems = Vec::new();
    for (cell, done) in &done {
        if !done.problems.is_empty() {
            problems.push(format!(
                "{}, order {}:\n  {}\n{}",
                cell.name(),
                done.order,
                done.problems.join("\n  "),
                done.story
            ));
        }
    }
    if std::env::var_os("MALL_WRITE_FAULTS").is_some() {
        assert!(only.is_empty(), "part of the table cannot stand for the whole");
        table::write(&table);
    }
    assert!(problems.is_empty(), "{} cells failed\n{}", problems.len(), problems.join("\n\n"));
    assert!(dead.values().all(|depth| *depth == 0), "dead letters: {dead:?}");
    assert!(waiting.is_empty(), "messages that nobody gets done: {waiting:?}");
}

/// Waits until no queue holds anything; what they hold if that does not come. Dead letters are looked at apart.
async fn until_quiet() -> BTreeMap<String, u32> {
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
        if waiting.is_empty() || Instant::now() > deadline {
            return waiting;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
