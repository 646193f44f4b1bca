//! Writers at the same place at the same time.

use std::sync::Arc;

use event_store::{AppendError, CommitLog, Expect, Head, MAX_REDECISIONS, TransactError};
use kernel::{PayloadHash, Version};
use testing::faulty::OnAppend;
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    ledger::{Ledger, No, post},
    world::{World, posted, stream},
};

const WRITERS: usize = 64;

pub async fn of_64_writers_of_one_version_exactly_one_wins_and_all_others_learn_who(world: World) {
    let stream = stream("one-version");
    world.send(&stream, post([1])).await.unwrap();
    let head = world.store().load::<Ledger>(&stream).await.unwrap().head().clone();
    if let Some(meter) = world.meter() {
        meter.take();
    }

    let start = Arc::new(Barrier::new(WRITERS));
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let (log, start) = (world.log.clone(), start.clone());
        let commit = head.commit(posted(n as i64), vec![], PayloadHash::of(&n), &world.command(), None);
        writers.spawn(async move {
            start.wait().await;
            (commit.as_commit().clone(), log.append(&commit).await)
        });
    }
    let results = writers.join_all().await;

    let winners: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1, "exactly one of {WRITERS} writers wins");
    let winner = &winners[0].0;
    for (loser, result) in results.iter().filter(|(_, result)| result.is_err()) {
        let Err(AppendError::Taken(found)) = result else { panic!("{loser:?} met {result:?}") };
        assert_eq!(found.as_ref(), winner, "a loser is told who won, by the refusal itself");
    }
    assert_eq!(world.history(&stream).await[1..], *std::slice::from_ref(winner));
    if let Some(meter) = world.meter() {
        // Each append is one request, the refused ones too; the history is one more.
        assert_eq!(meter.take().requests, WRITERS as u64 + 1);
    }
}

pub async fn of_64_commands_at_once_none_is_lost_and_none_counts_twice(world: World) {
    let stream = stream("64-commands");
    let start = Arc::new(Barrier::new(WRITERS));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, stream, meta, start) = (world.store(), stream.clone(), world.command(), start.clone());
        writers.spawn(async move {
            start.wait().await;
            let mut contended = 0;
            // A caller who is told "contended" sends the same command again.
            loop {
                match store.transact::<Ledger>(&stream, Expect::Any, &post([1]), &meta).await {
                    Ok(outcome) => return (outcome, contended),
                    Err(TransactError::Contended { attempts, .. }) => {
                        assert_eq!(attempts, MAX_REDECISIONS + 1);
                        contended += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let mut balances: Vec<i64> = writers
        .join_all()
        .await
        .into_iter()
        .map(|(outcome, _)| {
            assert!(!outcome.repeated);
            outcome.state.unwrap().balance
        })
        .collect();
    balances.sort_unstable();
    let each_saw_all_before: Vec<i64> = (1..=WRITERS as i64).collect();
    assert_eq!(balances, each_saw_all_before, "each was decided on what the one before it left");
    let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
    assert_eq!(loaded.state.as_ref().unwrap().balance, WRITERS as i64);
    assert_eq!(loaded.version(), Version::new(WRITERS as u64));
}

pub async fn nobody_spends_what_another_writer_has_already_spent(world: World) {
    let stream = stream("spending");
    world.send(&stream, post([10])).await.unwrap();
    let start = Arc::new(Barrier::new(WRITERS));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, stream, meta, start) = (world.store(), stream.clone(), world.command(), start.clone());
        writers.spawn(async move {
            start.wait().await;
            store.transact::<Ledger>(&stream, Expect::Any, &post([-1]), &meta).await
        });
    }
    let mut spent = 0;
    for answer in writers.join_all().await {
        match answer {
            Ok(outcome) => {
                spent += 1;
                assert!(outcome.state.unwrap().balance >= 0);
            }
            Err(TransactError::Refused(No::Overdrawn { balance })) => assert_eq!(balance, 0),
            Err(TransactError::Contended { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let state = world.store().load::<Ledger>(&stream).await.unwrap().state.unwrap();
    assert_eq!(state.balance, 10 - spent);
    assert_eq!(world.history(&stream).await.len() as i64, 1 + spent, "no commit without a success");
}

pub async fn d25_what_one_command_decides_is_one_commit_however_many_events(world: World) {
    let stream = stream("many");
    world.send(&stream, post([1, 2, 3])).await.unwrap();
    world.send(&stream, post([4, 5])).await.unwrap();
    let commits = world.history(&stream).await;
    let sizes: Vec<(u64, usize)> = commits.iter().map(|c| (c.version.get(), c.events.len())).collect();
    assert_eq!(sizes, [(1, 3), (4, 2)]);
    let versions: Vec<u64> =
        commits.iter().flat_map(|c| c.envelopes().map(|e| e.version.get()).collect::<Vec<_>>()).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5], "each event has a place of its own");
}

pub async fn commits_that_overlap_cannot_both_land(world: World) {
    for (name, long_first) in [("long-first", true), ("short-first", false)] {
        let stream = stream(name);
        let head = Head::new_stream(stream.clone());
        let commit = |count: i64| {
            let rest = (1..count).map(posted).collect();
            head.commit(posted(0), rest, PayloadHash::of(&count), &world.command(), None)
        };
        let (long, short) = (commit(3), commit(1));
        let (first, second) = if long_first { (&long, &short) } else { (&short, &long) };
        world.log.append(first).await.unwrap();
        let refused = world.log.append(second).await.unwrap_err();
        assert!(matches!(refused, AppendError::Taken(winner) if *winner == *first.as_commit()));
        assert_eq!(world.history(&stream).await, [first.as_commit().clone()]);
    }
    // And truly at once, many times.
    for round in 0..32 {
        let stream = stream(&format!("round-{round}"));
        let head = Head::new_stream(stream.clone());
        let start = Arc::new(Barrier::new(2));
        let mut writers = JoinSet::new();
        for rest in [vec![], vec![posted(2), posted(3)]] {
            let (log, start) = (world.log.clone(), start.clone());
            let commit = head.commit(posted(1), rest, PayloadHash::of(&0), &world.command(), None);
            writers.spawn(async move {
                start.wait().await;
                log.append(&commit).await.is_ok()
            });
        }
        let landed = writers.join_all().await.into_iter().filter(|landed| *landed).count();
        assert_eq!((landed, world.history(&stream).await.len()), (1, 1));
    }
}

pub async fn a_writer_who_expects_a_version_is_told_when_another_one_stands(world: World) {
    let stream = stream("if-match");
    world.send(&stream, post([1, 2, 3])).await.unwrap();
    for expected in [0, 1, 2, 4] {
        let expected = Version::new(expected);
        let answer = world.send_as(&stream, Expect::At(expected), post([4]), &world.command()).await;
        let Err(TransactError::VersionMismatch { expected: told, actual }) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((told, actual), (expected, Version::new(3)));
    }
    assert_eq!(world.history(&stream).await.len(), 1, "nothing was written");
    let answer = world.send_as(&stream, Expect::At(Version::new(3)), post([4]), &world.command()).await;
    assert_eq!(answer.unwrap().version, Version::new(4));
}

pub async fn a_writer_who_expects_a_version_is_told_when_it_is_overtaken(world: World) {
    let stream = stream("if-match-overtaken");
    world.send(&stream, post([1])).await.unwrap();
    overtake(&world, &stream, 1);
    let answer = world.send_as(&stream, Expect::At(Version::new(1)), post([4]), &world.command()).await;
    assert!(
        matches!(answer, Err(TransactError::VersionMismatch { expected, actual })
            if expected == Version::new(1) && actual == Version::new(2)),
        "{answer:?}"
    );
}

pub async fn a_command_that_is_always_overtaken_gives_up_in_the_end(world: World) {
    let stream = stream("overtaken");
    world.send(&stream, post([1])).await.unwrap();
    overtake(&world, &stream, MAX_REDECISIONS as usize + 1);
    let meta = world.command();
    let answer = world.send_as(&stream, Expect::Any, post([5]), &meta).await;
    assert!(
        matches!(answer, Err(TransactError::Contended { attempts, .. }) if attempts == MAX_REDECISIONS + 1),
        "{answer:?}"
    );
    assert_eq!(world.ports.slept().len(), MAX_REDECISIONS as usize, "it waits between attempts");
    let state = world.store().load::<Ledger>(&stream).await.unwrap().state.unwrap();
    assert_eq!(state.balance, 1 + i64::from(MAX_REDECISIONS) + 1, "only the others were written");

    overtake(&world, &stream, MAX_REDECISIONS as usize);
    let answer = world.send_as(&stream, Expect::Any, post([5]), &meta).await.unwrap();
    assert!(!answer.repeated, "it gets through when the others leave off in time");
}

/// Lets another writer post 1 before each of the next appends.
fn overtake(world: &World, stream: &kernel::StreamId, times: usize) {
    let healthy = world.log.clone();
    world.log.on_append((0..times).flat_map(|_| {
        let (store, stream, meta) = (world.store_over(healthy.clone()), stream.clone(), world.command());
        [
            OnAppend::after(move || async move {
                store.transact::<Ledger>(&stream, Expect::Any, &post([1]), &meta).await.unwrap();
            }),
            // The other writer's own append goes through the same log.
            OnAppend::Healthy,
        ]
    }));
}
