//! Answers that are lost, requests that are late, and tables that do not answer.

use std::sync::Arc;

use event_store::{EventStore, Expect, MAX_REDECISIONS, StoreError, TransactError};
use kernel::Version;
use testing::{
    FaultyLog,
    faulty::{Chances, OnAppend, OnRead},
};

use crate::{
    ledger::{Ledger, post},
    world::{World, stream},
};

/// Attempts of one append, all told.
const ATTEMPTS: usize = MAX_REDECISIONS as usize + 1;

pub async fn a_lost_answer_still_gives_the_committed_result_once(world: World) {
    let stream = stream("answer-lost");
    for (expect, version) in [(Expect::New, 1), (Expect::Any, 2), (Expect::At(Version::new(2)), 3)] {
        world.log.take_calls();
        world.log.on_append([OnAppend::AnswerLost]);
        let outcome = world.send_as(&stream, expect, post([5]), &world.command()).await.unwrap();
        assert_eq!((outcome.version, outcome.repeated), (Version::new(version), false));
        assert_eq!(outcome.state.unwrap().balance, 5 * version as i64);
        assert_eq!(world.log.take_calls().appends, 1, "the look-up settles it");
        assert_eq!(world.history(&stream).await.len() as u64, version);
    }
}

pub async fn a_lost_request_is_sent_again(world: World) {
    let stream = stream("request-lost");
    world.log.on_append([OnAppend::RequestLost, OnAppend::RequestLost]);
    let outcome = world.send(&stream, post([5])).await.unwrap();
    assert_eq!(outcome.version, Version::new(1));
    assert_eq!(world.log.take_calls().appends, 3);
    assert_eq!(world.history(&stream).await.len(), 1);
}

pub async fn an_unknown_outcome_is_called_unknown_and_the_repeat_settles_it(world: World) {
    for (fault, written) in [(OnAppend::AnswerLost, true), (OnAppend::RequestLost, false)] {
        let stream = stream(&format!("unknown-{written}"));
        world.send(&stream, post([1])).await.unwrap();
        let meta = world.command();
        world.log.on_append([fault]);
        // The load works, the look-up after the lost answer does not.
        world.log.on_read([OnRead::Healthy, OnRead::Fails]);
        let answer = world.send_as(&stream, Expect::Any, post([5]), &meta).await;
        assert!(matches!(answer, Err(TransactError::Unknown(_))), "{answer:?}");
        assert_eq!(world.history(&stream).await.len(), 1 + usize::from(written));

        let outcome = world.send_as(&stream, Expect::Any, post([5]), &meta).await.unwrap();
        assert_eq!((outcome.version, outcome.repeated), (Version::new(2), written));
        assert_eq!(outcome.state.unwrap().balance, 6);
        assert_eq!(world.history(&stream).await.len(), 2);
    }
}

pub async fn a_late_request_never_counts_twice(world: World) {
    let stream = stream("late");
    world.send(&stream, post([1])).await.unwrap();
    let meta = world.command();
    world.log.on_append(std::iter::once(OnAppend::Late).chain((1..ATTEMPTS).map(|_| OnAppend::RequestLost)));
    let answer = world.send_as(&stream, Expect::Any, post([5]), &meta).await;
    assert!(matches!(answer, Err(TransactError::Unknown(_))), "{answer:?}");
    assert_eq!(world.log.deliver_late().await, 1, "it arrives after all");
    let outcome = world.send_as(&stream, Expect::Any, post([5]), &meta).await.unwrap();
    assert_eq!((outcome.version, outcome.repeated), (Version::new(2), true));
    assert_eq!(outcome.state.unwrap().balance, 6);

    // The other order: the repeat is written first, and the late request finds its key taken.
    let meta = world.command();
    world.log.on_append([OnAppend::Late]);
    let outcome = world.send_as(&stream, Expect::Any, post([5]), &meta).await.unwrap();
    assert_eq!(outcome.version, Version::new(3));
    assert_eq!(world.log.deliver_late().await, 0);
    assert_eq!(world.history(&stream).await.len(), 3);
}

pub async fn a_late_request_makes_a_later_failure_unknown_too(world: World) {
    for failure in [OnAppend::Throttled, OnAppend::Denied] {
        let stream = stream(&format!("late-then-{failure:?}"));
        let meta = world.command();
        world.log.on_append([OnAppend::Late, failure]);
        let answer = world.send_as(&stream, Expect::Any, post([5]), &meta).await;
        // "Nothing was written" would be a lie: the first request is still on its way.
        assert!(matches!(answer, Err(TransactError::Unknown(_))), "{answer:?}");
        assert_eq!(world.log.deliver_late().await, 1);
        assert!(world.send_as(&stream, Expect::Any, post([5]), &meta).await.unwrap().repeated);
    }
}

pub async fn a_late_request_never_overwrites_the_faster_writer(world: World) {
    let stream = stream("late-and-overtaken");
    world.send(&stream, post([1])).await.unwrap();
    let (store, name, other) = (world.store(), stream.clone(), world.command());
    world.log.on_append([
        OnAppend::Late,
        OnAppend::after(move || async move {
            store.transact::<Ledger>(&name, Expect::Any, &post([100]), &other).await.unwrap();
        }),
    ]);
    let outcome = world.send(&stream, post([5])).await.unwrap();
    assert_eq!(outcome.version, Version::new(3), "decided again, after the other's commit");
    assert_eq!(outcome.state.unwrap().balance, 106);
    assert_eq!(world.log.deliver_late().await, 0, "its place is taken");
    assert_eq!(world.history(&stream).await.len(), 3);
}

pub async fn a_throttled_write_is_not_called_unknown(world: World) {
    let stream = stream("throttled");
    world.log.on_append([OnAppend::Throttled]);
    let answer = world.send(&stream, post([5])).await;
    assert!(
        matches!(answer, Err(TransactError::Store(StoreError::Unavailable { operation: "PutItem", .. }))),
        "{answer:?}"
    );
    assert_eq!(world.history(&stream).await.len(), 0);
    world.log.on_append([OnAppend::Denied]);
    let answer = world.send(&stream, post([5])).await;
    assert!(matches!(answer, Err(TransactError::Store(StoreError::Refused { .. }))), "{answer:?}");
}

pub async fn a_read_that_fails_decides_nothing(world: World) {
    let stream = stream("no-read");
    world.send(&stream, post([5])).await.unwrap();
    world.log.take_calls();
    world.log.on_read([OnRead::Fails]);
    // Whether it would be allowed or refused: nobody has seen the state.
    let answer = world.send(&stream, post([-9])).await;
    assert!(matches!(answer, Err(TransactError::Store(StoreError::Unavailable { .. }))), "{answer:?}");
    world.log.on_read([OnRead::Fails]);
    let answer = world.send_as(&stream, Expect::New, post([-9]), &world.command()).await;
    assert!(matches!(answer, Err(TransactError::Store(StoreError::Unavailable { .. }))), "{answer:?}");
    assert_eq!(world.log.take_calls().appends, 0);
}

pub async fn commands_that_are_repeated_until_they_are_answered_count_once(world: World) {
    const COMMANDS: i64 = 150;
    let chances = Chances { answer_lost: 0.2, request_lost: 0.2, throttled: 0.2, read_fails: 0.2 };
    let faulty = FaultyLog::seeded(Arc::new(world.log.clone()), 11, chances);
    let store = EventStore::new(Arc::new(faulty), world.ports.ports());
    let stream = stream("chaos");
    let mut unanswered = 0;
    for n in 0..COMMANDS {
        let meta = world.command();
        loop {
            match store.transact::<Ledger>(&stream, Expect::Any, &post([n, n]), &meta).await {
                Ok(outcome) => {
                    assert_eq!(outcome.version, Version::new(2 * (n as u64 + 1)));
                    break;
                }
                Err(TransactError::Unknown(_) | TransactError::Store(StoreError::Unavailable { .. })) => {
                    unanswered += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(unanswered > 10, "the log was hardly faulty: {unanswered}");
    let state = world.store().load::<Ledger>(&stream).await.unwrap().state.unwrap();
    assert_eq!(state.balance, COMMANDS * (COMMANDS - 1));
    assert_eq!(world.history(&stream).await.len() as i64, COMMANDS);
}
