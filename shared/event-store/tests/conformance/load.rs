//! Loading: whole, bounded, and never from what cannot be trusted.

use event_store::{CommitLog, Expect, Head, SNAPSHOT_EVERY, Snapshot, TransactError};
use kernel::{PayloadHash, StreamId, Version, aggregate::fold};
use serde_json::json;
use testing::faulty::OnRead;

use crate::{
    ledger::{Book, Command, Ledger, No, post},
    world::{Torn, World, is_corrupt, noise, posted, stream},
};

/// The code after an upgrade: same events, another shape of state.
type Upgraded = Book<2>;

pub async fn a_stream_over_1_mb_loads_whole(world: World) {
    let stream = stream("big");
    const COMMITS: usize = 40;
    for n in 0..COMMITS {
        world.send(&stream, Command::Note(noise(110_000, n as u64))).await.unwrap();
    }
    // 40 commits of some 82 KB after compression: 3.3 MB, and twelve of them are just under 1 MB.
    let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
    assert_eq!(loaded.state.unwrap().entries, COMMITS as u64);

    // Without a snapshot it takes every page there is.
    world.log.take_calls();
    let loaded = world.store().load::<Upgraded>(&stream).await.unwrap();
    assert_eq!(loaded.state.unwrap().entries, COMMITS as u64);
    let calls = world.log.take_calls();
    assert_eq!(calls.commits_read, COMMITS as u64, "no commit is read twice");
    if world.client().is_some() {
        assert!(calls.reads >= 3, "DynamoDB cuts its answers at 1 MB, and {} sufficed", calls.reads);
    }
    let events = world.store().events_after(&stream, Version::NONE).await.unwrap();
    assert_eq!(events.len(), COMMITS);
    assert_eq!(world.history(&stream).await.len(), COMMITS);
}

pub async fn a_stream_of_10_000_events_loads_in_one_bounded_read(world: World) {
    let stream = stream("long");
    let state = world.long_stream(&stream, 10_000, 1).await;
    let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
    assert_eq!((loaded.version(), loaded.state), (Version::new(10_000), Some(state)));
    let calls = world.log.take_calls();
    assert_eq!(calls.reads, 1);
    assert!(calls.commits_read <= u64::from(SNAPSHOT_EVERY), "{calls:?}");
    if let Some(meter) = world.meter() {
        let reading = meter.take();
        assert_eq!(reading.requests, 1);
        assert!(reading.read_units <= 3.0, "{reading:?}");
    }
    // A command on it: one read, one write.
    world.send(&stream, post([1])).await.unwrap();
    let calls = world.log.take_calls();
    assert_eq!((calls.reads, calls.appends), (1, 1));
}

/// A stream of one honest commit, then one with this snapshot.
async fn with_snapshot(world: &World, stream: &StreamId, snapshot: Snapshot) {
    world.send(stream, post([1])).await.unwrap();
    let head = world.store().load::<Ledger>(stream).await.unwrap().head().clone();
    let commit = head.commit(posted(2), vec![], PayloadHash::of(&0), &world.command(), Some(snapshot));
    world.log.append(&commit).await.unwrap();
    world.send(stream, post([3])).await.unwrap();
}

fn of_schema(schema: u16) -> Snapshot {
    Snapshot {
        schema,
        state: json!({"balance": 1000, "entries": 0, "trail": 0, "frozen": false, "hoard": []}),
    }
}

pub async fn a_snapshot_of_another_schema_version_is_never_misread(world: World) {
    let stream = stream("other-schema");
    // The shape fits, the meaning does not: only the version tells.
    with_snapshot(&world, &stream, of_schema(2)).await;
    let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
    assert_eq!(loaded.state.unwrap().balance, 6, "the events are folded instead");
    let upgraded = world.store().load::<Upgraded>(&stream).await.unwrap();
    assert_eq!(upgraded.state.unwrap().balance, 1003, "code of that version does use it");
}

pub async fn an_unreadable_snapshot_is_ignored(world: World) {
    let stream = stream("unreadable");
    with_snapshot(&world, &stream, Snapshot { schema: 1, state: json!({"balance": "lots"}) }).await;
    let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
    assert_eq!(loaded.state.unwrap().balance, 6);
}

pub async fn an_ignored_snapshot_is_replaced_by_the_next_commit(world: World) {
    let stream = stream("upgrade");
    let before = world.long_stream(&stream, 30, 2).await;
    let store = world.store();
    let outcome =
        store.transact::<Upgraded>(&stream, Expect::Any, &post([5]), &world.command()).await.unwrap();
    assert_eq!(outcome.state.unwrap().balance, before.balance + 5);
    assert!(world.log.take_calls().reads > 1, "once, all of it has to be read");
    let loaded = store.load::<Upgraded>(&stream).await.unwrap();
    assert_eq!(loaded.state.unwrap().balance, before.balance + 5);
    assert_eq!(world.log.take_calls().reads, 1, "after that it is one bounded read again");
    // And code of the version before, still running, is not misled.
    assert_eq!(store.load::<Ledger>(&stream).await.unwrap().state.unwrap().balance, before.balance + 5);
}

pub async fn a_stream_with_a_hole_is_not_loaded(world: World) {
    let stream = stream("hole");
    for amount in 1..=5 {
        world.send(&stream, post([amount])).await.unwrap();
    }
    for missing in 2..=4 {
        let store = world.store_over(Torn { log: world.log.clone(), missing: vec![Version::new(missing)] });
        let error = store.load::<Ledger>(&stream).await.unwrap_err();
        assert!(is_corrupt(&error), "without {missing}: {error}");
        let answer = store.transact::<Ledger>(&stream, Expect::Any, &post([1]), &world.command()).await;
        assert!(matches!(answer, Err(TransactError::Store(e)) if is_corrupt(&e)));
    }
}

pub async fn a_stream_without_its_beginning_is_not_loaded(world: World) {
    let stream = stream("headless");
    for amount in 1..=3 {
        world.send(&stream, post([amount])).await.unwrap();
    }
    let missing = [Version::new(1), Version::new(2)];
    for missing in [&missing[..1], &missing[..]] {
        let store = world.store_over(Torn { log: world.log.clone(), missing: missing.to_vec() });
        let error = store.load::<Ledger>(&stream).await.unwrap_err();
        assert!(is_corrupt(&error), "without {missing:?}: {error}");
    }
}

pub async fn an_answer_cut_anywhere_loads_the_same(world: World) {
    for commits in [1, 2, 11, 12, 13, 30] {
        let stream = stream(&format!("cut-{commits}"));
        let state = world.long_stream(&stream, commits, 3).await;
        for cut in 1..=commits.min(SNAPSHOT_EVERY as usize) {
            world.log.on_read([OnRead::CutAfter(cut), OnRead::CutAfter(1)]);
            let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
            assert_eq!(loaded.state.as_ref(), Some(&state), "cut after {cut} of {commits}");
            assert_eq!(loaded.version(), Version::new(3 * commits as u64));
            // What was not drawn from the script must not hit the next round.
            world.log.heal();
        }
    }
}

pub async fn a_command_on_an_asserted_new_stream_is_refused_only_on_what_was_read(world: World) {
    let stream = stream("asserted");
    world.send(&stream, post([10])).await.unwrap();
    // On a new stream this would be refused; on what is really there it is not.
    let outcome = world.send_as(&stream, Expect::New, post([-4]), &world.command()).await.unwrap();
    assert_eq!((outcome.version, outcome.state.unwrap().balance), (Version::new(2), 6));
    let answer = world.send_as(&stream, Expect::New, post([-9]), &world.command()).await;
    assert!(
        matches!(answer, Err(TransactError::Refused(No::Overdrawn { balance: 6 }))),
        "refused on the balance that was read: {answer:?}"
    );
}

pub async fn a_wrong_assertion_of_a_new_stream_is_decided_on_its_end_not_its_beginning(world: World) {
    let stream = stream("wrongly-new");
    world.send(&stream, Command::Freeze(true)).await.unwrap();
    world.send(&stream, Command::Freeze(false)).await.unwrap();
    for _ in 0..20 {
        world.send(&stream, post([1])).await.unwrap();
    }
    // After the first commit alone it would be refused; and the end is further than retries reach.
    let outcome = world.send_as(&stream, Expect::New, post([1]), &world.command()).await.unwrap();
    assert_eq!((outcome.version, outcome.state.unwrap().balance), (Version::new(23), 21));
}

pub async fn a_wrong_assertion_of_a_new_stream_is_not_answered_with_nothing(world: World) {
    let stream = stream("wrongly-nothing");
    world.send(&stream, post([1, 2])).await.unwrap();
    let outcome = world.send_as(&stream, Expect::New, post([]), &world.command()).await.unwrap();
    assert_eq!(outcome.version, Version::new(2));
    assert_eq!(outcome.state.unwrap().balance, 3);
}

/// Not a test of its own: the fold that others compare with.
pub fn folded(events: &[contracts::Envelope]) -> Option<Ledger> {
    let events: Vec<_> = events.iter().map(|e| e.event().unwrap()).collect();
    fold::<Ledger>(None, &events).unwrap()
}

#[test]
fn the_head_of_a_new_stream_is_before_its_first_event() {
    assert_eq!(Head::new_stream(stream("x")).version(), Version::NONE);
}
