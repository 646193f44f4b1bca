//! One command, sent more than once.

use std::{future::ready, sync::Mutex};

use event_store::{CommitLog, Expect, Head, Outcome, SNAPSHOT_EVERY, TransactError};
use kernel::{CommandId, PayloadHash, Version};
use testing::faulty::{OnAppend, OnRead};

use crate::{
    ledger::{Command, Entry, Ledger, No, post},
    world::{Answer, World, posted, stream},
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

/// The balances that look-ups saw.
type Told = Mutex<Vec<Option<i64>>>;

/// Posts the balance that it looks up once more, and notes it.
async fn double(
    world: &World,
    stream: &kernel::StreamId,
    expect: Expect,
    meta: &kernel::CommandMeta,
    told: &Told,
) -> Answer {
    let look_up = |ledger: Option<Ledger>| async move {
        let balance = ledger.map(|ledger| ledger.balance);
        told.lock().unwrap().push(balance);
        Ok(post(balance.into_iter().collect::<Vec<_>>()))
    };
    world.store().transact_with(stream, expect, &"double", meta, look_up).await
}

pub async fn a_repeat_is_answered_without_another_look_up(world: World) {
    let (stream, told, meta) = (stream("look-up"), Told::default(), world.command());
    world.send(&stream, post([3])).await.unwrap();
    world.log.take_calls();
    let first = double(&world, &stream, Expect::Any, &meta, &told).await.unwrap();
    assert_eq!((first.version, first.repeated), (Version::new(2), false));
    let calls = world.log.take_calls();
    assert_eq!((calls.reads, calls.appends), (1, 1), "one load, one write");
    let again = double(&world, &stream, Expect::Any, &meta, &told).await.unwrap();
    assert_eq!((again.version, again.repeated), (Version::new(2), true));
    assert_eq!(*told.lock().unwrap(), [Some(3)]);
    let triple = |_: Option<Ledger>| ready(Ok(post([1])));
    let other: Answer = world.store().transact_with(&stream, Expect::Any, &"triple", &meta, triple).await;
    assert!(matches!(other, Err(TransactError::KeyReused)), "{other:?}");
}

pub async fn after_a_lost_race_the_look_up_is_made_again_on_what_the_winner_left(world: World) {
    let (stream, told) = (stream("look-up-race"), Told::default());
    world.send(&stream, post([3])).await.unwrap();
    let (store, name, rival) = (world.store(), stream.clone(), world.command());
    world.log.on_append([OnAppend::after(move || async move {
        store.transact::<Ledger>(&name, Expect::Any, &post([4]), &rival).await.unwrap();
    })]);
    let outcome = double(&world, &stream, Expect::Any, &world.command(), &told).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [Some(3), Some(7)]);
    assert_eq!(outcome.state.unwrap().balance, 14);
}

pub async fn a_look_up_that_fails_on_an_asserted_new_stream_does_not_hide_a_repeat(world: World) {
    let (stream, meta) = (stream("look-up-new"), world.command());
    let create = async |works: bool| -> Answer {
        let look_up = |_: Option<Ledger>| {
            ready(if works { Ok(post([1])) } else { Err(TransactError::Refused(No::Frozen)) })
        };
        world.store().transact_with(&stream, Expect::New, &(), &meta, look_up).await
    };
    assert!(matches!(create(false).await, Err(TransactError::Refused(No::Frozen))));
    assert_eq!(world.log.take_calls().reads, 1, "it is not refused unread, and not looked up twice");
    assert!(!create(true).await.unwrap().repeated);
    assert!(create(false).await.unwrap().repeated);
}

/// Holds the sentence in the table of guarantees.
pub async fn a_command_that_changed_nothing_is_not_remembered_and_its_repeat_is_decided_anew(world: World) {
    let (stream, told, meta) = (stream("not-remembered"), Told::default(), world.command());
    let first = double(&world, &stream, Expect::Any, &meta, &told).await.unwrap();
    assert_eq!((first.version, first.repeated), (Version::NONE, false));
    world.send(&stream, post([5])).await.unwrap();
    let again = double(&world, &stream, Expect::Any, &meta, &told).await.unwrap();
    assert_eq!((again.version, again.repeated), (Version::new(2), false));
    assert_eq!(*told.lock().unwrap(), [None, Some(5)]);
}

pub async fn a_commit_with_a_fingerprint_of_another_version_is_known_by_its_command_alone(world: World) {
    // The first version had no prefix; a third may come, and be deployed back.
    for (n, hash) in
        ["9f86d081884c7d659a2feaa0c55ad015", "3:9f86d081884c7d659a2feaa0c55ad015"].iter().enumerate()
    {
        let (stream, meta) = (stream(&format!("fingerprint-{n}")), world.command());
        let hash = PayloadHash::stored((*hash).to_owned());
        let head = Head::new_stream(stream.clone());
        world.log.append(&head.commit(posted(1), vec![], hash.clone(), &meta, None)).await.unwrap();
        for expect in [Expect::Any, Expect::New] {
            let again = world.send_as(&stream, expect, post([1]), &meta).await.unwrap();
            assert_eq!((again.version, again.repeated), (Version::new(1), true));
        }
        assert_eq!(world.history(&stream).await[0].command.hash, hash);
    }
}
