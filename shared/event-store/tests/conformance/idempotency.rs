//! One command, sent more than once.

use event_store::{Expect, Outcome, SNAPSHOT_EVERY, TransactError};
use kernel::{CommandId, Version};
use testing::faulty::{OnAppend, OnRead};

use crate::{
    ledger::{Command, Entry, Ledger, post},
    world::{World, stream},
};

pub async fn the_same_command_again_gets_the_first_result_and_writes_nothing(world: World) {
    let stream = stream("repeat");
    world.send(&stream, post([1])).await.unwrap();
    let meta = world.command();
    let first = world.send_as(&stream, Expect::Any, post([2, 3]), &meta).await.unwrap();
    assert_eq!((first.version, first.repeated), (Version::new(3), false));
    world.send(&stream, post([4])).await.unwrap();
    let before = world.history(&stream).await;
    world.log.take_calls();

    // Later, by another process, in another trace: what counts is the command's id.
    let repeat = world.ports.repeat(meta.id, "somebody else");
    let again = world.send_as(&stream, Expect::Any, post([2, 3]), &repeat).await.unwrap();
    assert_eq!((again.version, again.repeated), (Version::new(3), true));
    assert_eq!(again.state.unwrap().balance, 10, "the state is today's");
    assert_eq!(world.log.take_calls().appends, 0);
    assert_eq!(world.history(&stream).await, before);
}

pub async fn a_repeated_create_gets_the_first_result(world: World) {
    let stream = stream("create");
    let meta = world.command();
    let first = world.send_as(&stream, Expect::New, post([1, 2]), &meta).await.unwrap();
    assert_eq!(world.log.take_calls().reads, 0, "asserting a new stream saves the read");
    let again = world.send_as(&stream, Expect::New, post([1, 2]), &meta).await.unwrap();
    assert_eq!((again.version, again.repeated, first.repeated), (first.version, true, false));
    assert_eq!(world.history(&stream).await.len(), 1);
}

pub async fn a_repeat_is_recognised_under_every_expectation(world: World) {
    let stream = stream("expectations");
    // The first commit forbids what the repeat asks for; the last one allows it.
    world.send(&stream, Command::Freeze(true)).await.unwrap();
    world.send(&stream, Command::Freeze(false)).await.unwrap();
    let meta = world.command();
    world.send_as(&stream, Expect::Any, post([1]), &meta).await.unwrap();
    world.send(&stream, Command::Freeze(true)).await.unwrap();
    for expect in [Expect::Any, Expect::New, Expect::At(Version::new(4)), Expect::At(Version::new(2))] {
        let again = world.send_as(&stream, expect, post([1]), &meta).await;
        let again = again.unwrap_or_else(|e| panic!("{expect:?}: {e}"));
        assert_eq!((again.version, again.repeated), (Version::new(3), true), "{expect:?}");
    }
    assert_eq!(world.history(&stream).await.len(), 4);
}

pub async fn a_repeat_with_an_outdated_if_match_gets_the_first_result(world: World) {
    let stream = stream("if-match-repeat");
    world.send(&stream, post([1])).await.unwrap();
    let meta = world.command();
    let expect = Expect::At(Version::new(1));
    world.send_as(&stream, expect, post([2]), &meta).await.unwrap();
    let again = world.send_as(&stream, expect, post([2]), &meta).await.unwrap();
    assert_eq!((again.version, again.repeated), (Version::new(2), true));
}

pub async fn the_same_key_with_another_payload_is_refused(world: World) {
    let stream = stream("key-reused");
    let meta = world.command();
    world.send_as(&stream, Expect::New, post([1]), &meta).await.unwrap();
    for expect in [Expect::Any, Expect::New, Expect::At(Version::new(1))] {
        let answer = world.send_as(&stream, expect, post([2]), &meta).await;
        assert!(matches!(answer, Err(TransactError::KeyReused)), "{expect:?}: {answer:?}");
    }
    assert_eq!(world.history(&stream).await.len(), 1);
}

pub async fn a_twin_request_that_was_faster_is_not_done_twice(world: World) {
    let stream = stream("twin");
    world.send(&stream, post([1])).await.unwrap();
    let meta = world.command();
    let (store, name, twin) = (world.store(), stream.clone(), meta.clone());
    world.log.on_append([OnAppend::after(move || async move {
        let outcome = store.transact::<Ledger>(&name, Expect::Any, &post([2]), &twin).await.unwrap();
        assert!(!outcome.repeated);
    })]);
    let outcome = world.send_as(&stream, Expect::Any, post([2]), &meta).await.unwrap();
    assert_eq!((outcome.version, outcome.repeated), (Version::new(2), true));
    assert_eq!(world.history(&stream).await.len(), 2);
}

pub async fn a_repeat_is_recognised_as_far_back_as_promised_and_no_further(world: World) {
    // Not only right after a snapshot or right before one: at every distance from it.
    for before in 0..u64::from(SNAPSHOT_EVERY) {
        let stream = stream(&format!("window-{before}"));
        for _ in 0..before {
            world.send(&stream, post([1])).await.unwrap();
        }
        let meta = world.command();
        let first = world.send_as(&stream, Expect::Any, post([7]), &meta).await.unwrap();
        for _ in 1..SNAPSHOT_EVERY {
            world.send(&stream, post([1])).await.unwrap();
        }
        let again = world.send_as(&stream, Expect::Any, post([7]), &meta).await.unwrap();
        assert!(again.repeated, "the oldest of the last {SNAPSHOT_EVERY} commits, after {before} others");
        assert_eq!(again.version, first.version);

        world.send(&stream, post([1])).await.unwrap();
        let again = world.send_as(&stream, Expect::Any, post([7]), &meta).await.unwrap();
        assert!(!again.repeated, "the commit before those is out of sight, as documented");
    }
}

pub async fn a_repeat_is_recognised_as_far_back_when_the_answer_is_cut_short(world: World) {
    let stream = stream("window-cut");
    let mut sent: Vec<CommandId> = Vec::new();
    for _ in 0..30 {
        let meta = world.command();
        world.send_as(&stream, Expect::Any, post([7]), &meta).await.unwrap();
        sent.push(meta.id);
    }
    // DynamoDB ends a page at 1 MB, wherever that is.
    for cut in 1..SNAPSHOT_EVERY as usize {
        for id in &sent[30 - SNAPSHOT_EVERY as usize..] {
            world.log.on_read([OnRead::CutAfter(cut)]);
            let repeat = world.ports.repeat(*id, "test");
            let again = world.send_as(&stream, Expect::Any, post([7]), &repeat).await.unwrap();
            assert!(again.repeated, "cut after {cut} commits");
        }
    }
    assert_eq!(world.history(&stream).await.len(), 30);
}

pub async fn a_repeat_is_told_what_its_first_execution_decided_whatever_happened_since(world: World) {
    let stream = stream("decided");
    world.send(&stream, post([1])).await.unwrap();
    let meta = world.command();
    let amounts = |outcome: Outcome<Ledger>| (outcome.events, outcome.repeated);
    let decided = vec![Entry::Posted { amount: 2 }, Entry::Posted { amount: 3 }];
    let first = world.send_as(&stream, Expect::Any, post([2, 3]), &meta).await.unwrap();
    assert_eq!(amounts(first), (decided.clone(), false));
    // Beside a snapshot, behind one, and at the end of the window.
    for _ in 1..SNAPSHOT_EVERY {
        let other = world.send(&stream, post([7, 8])).await.unwrap();
        assert_eq!(amounts(other), (vec![Entry::Posted { amount: 7 }, Entry::Posted { amount: 8 }], false));
        let again = world.send_as(&stream, Expect::Any, post([2, 3]), &meta).await.unwrap();
        assert_eq!(amounts(again), (decided.clone(), true));
    }
}

pub async fn a_twin_that_was_faster_tells_what_was_decided(world: World) {
    let stream = stream("twin-decided");
    let meta = world.command();
    let (store, name, twin) = (world.store(), stream.clone(), meta.clone());
    world.log.on_append([OnAppend::after(move || async move {
        store.transact::<Ledger>(&name, Expect::New, &post([2, 3]), &twin).await.unwrap();
    })]);
    let outcome = world.send_as(&stream, Expect::New, post([2, 3]), &meta).await.unwrap();
    let decided = vec![Entry::Posted { amount: 2 }, Entry::Posted { amount: 3 }];
    assert_eq!((outcome.events, outcome.repeated), (decided, true));
}

pub async fn a_command_that_changes_nothing_writes_nothing(world: World) {
    let stream = stream("nothing");
    world.send(&stream, post([1])).await.unwrap();
    world.log.take_calls();
    let outcome = world.send(&stream, post([])).await.unwrap();
    assert_eq!((outcome.version, outcome.repeated), (Version::new(1), false));
    assert_eq!(outcome.events, []);
    assert_eq!(world.log.take_calls().appends, 0);
}
