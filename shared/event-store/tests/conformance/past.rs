//! The past, as a whole and from some point on.

use std::time::Duration;

use event_store::{CommitLog, Expect, Outcome, Past, SNAPSHOT_EVERY, Until};
use jiff::SignedDuration;
use kernel::{PayloadHash, StreamId, Timestamp, Version, aggregate::fold};
use testing::{RecordingLog, TestPorts};

use crate::{
    ledger::{Entry, Ledger, post},
    load::folded,
    world::{Torn, World, is_corrupt, posted, stream},
};

/// Commits of one to three events, well past two snapshots; a second lies between each two.
const COMMITS: u64 = 3 * SNAPSHOT_EVERY as u64;

async fn lived(world: &World, name: &str) -> StreamId {
    let stream = stream(name);
    for n in 0..COMMITS {
        let amounts: Vec<i64> = (0..=n as i64 % 3).map(|i| n as i64 * 10 + i).collect();
        world.send(&stream, post(amounts)).await.unwrap();
        world.ports.advance(Duration::from_secs(1));
    }
    stream
}

pub async fn every_version_of_the_past_is_what_it_was(world: World) {
    let stream = lived(&world, "versions").await;
    let store = world.store();
    let events = store.events_after(&stream, Version::NONE).await.unwrap();
    assert_eq!(events.len() as u64, COMMITS * 2);
    for n in 0..=events.len() {
        let version = Version::new(n as u64);
        let past = store.load_at::<Ledger>(&stream, Until::Version(version)).await.unwrap();
        assert_eq!(past.version, version);
        assert_eq!(past.state, folded(&events[..n]), "at version {version}");
        assert_eq!(past.at, n.checked_sub(1).map(|last| events[last].at));
    }
    let latest = store.load::<Ledger>(&stream).await.unwrap();
    let beyond = store.load_at::<Ledger>(&stream, Until::Version(Version::new(u64::MAX))).await.unwrap();
    assert_eq!((beyond.version, beyond.state), (latest.version(), latest.state), "the future is the present");
}

pub async fn every_moment_of_the_past_is_what_it_was(world: World) {
    let stream = lived(&world, "moments").await;
    let store = world.store();
    let history = world.history(&stream).await;
    let at = |time: Timestamp| store.load_at::<Ledger>(&stream, Until::Time(time));
    let nothing = Past { state: None, version: Version::NONE, at: None };
    assert_eq!(at(TestPorts::START - Duration::from_nanos(1)).await.unwrap(), nothing);
    for commit in &history {
        let version = store.load_at::<Ledger>(&stream, Until::Version(commit.last())).await.unwrap();
        // At the very moment, and at any until the next.
        for later in [Duration::ZERO, Duration::from_millis(999)] {
            assert_eq!(at(commit.at + later).await.unwrap(), version);
        }
    }
    assert_eq!(at(Timestamp::MAX).await.unwrap().version, history.last().unwrap().last());
}

/// A stream of commits of one to three events, put there without a read for each; the clock moves on by as
/// much before each commit. Returns the state after each commit.
pub async fn written(
    world: &World,
    stream: &StreamId,
    commits: impl Iterator<Item = (usize, i64)>,
) -> Vec<Past<Ledger>> {
    let recording = RecordingLog::new();
    let store = world.store_over(recording.clone());
    let mut states = Vec::new();
    for (n, (events, seconds)) in (0..).zip(commits) {
        world.ports.set(world.ports.now() + SignedDuration::from_secs(seconds));
        let amounts: Vec<i64> = (0..events as i64).map(|i| n + i).collect();
        let meta = world.command();
        let outcome = store.transact::<Ledger>(stream, Expect::Any, &post(amounts), &meta).await.unwrap();
        states.push(outcome);
    }
    let history = recording.appended();
    recording.play_into(&world.log).await;
    world.log.take_calls();
    if let Some(meter) = world.meter() {
        meter.take();
    }
    let at = history.iter().map(|commit| commit.as_commit().at);
    let past = |(outcome, at): (Outcome<Ledger>, _)| Past {
        state: outcome.state,
        version: outcome.version,
        at: Some(at),
    };
    states.into_iter().zip(at).map(past).collect()
}

pub async fn any_moment_of_20_000_commits_is_found_in_a_few_reads(world: World) {
    const COMMITS: usize = 20_000;
    let stream = stream("aged");
    // Every third commit is made at the time of the one before.
    let states = written(&world, &stream, (0..COMMITS).map(|n| (1 + n % 3, (n % 3).min(1) as i64))).await;
    let store = world.store();
    let nothing = Past { state: None, version: Version::NONE, at: None };
    // Steps of a prime: commits of every size, with and without a snapshot, early and late.
    let probed =
        (0..COMMITS).step_by(499).chain([1, 2, 10, COMMITS - 30, COMMITS - 21, COMMITS - 2, COMMITS - 1]);
    let mut most = 0;
    for n in probed {
        let made = states[n].at.unwrap();
        for time in [made - Duration::from_nanos(1), made, made + Duration::from_millis(999)] {
            let expected =
                states.iter().rfind(|past| past.at.is_some_and(|at| at <= time)).unwrap_or(&nothing);
            let found = store.load_at::<Ledger>(&stream, Until::Time(time)).await.unwrap();
            assert_eq!(&found, expected, "at {time}, commit {n}");
            let reads = world.log.take_calls().reads;
            if let Some(meter) = world.meter() {
                assert_eq!(meter.take().requests, reads, "each read is one request");
            }
            most = most.max(reads);
        }
    }
    assert!(most <= 16, "{most} requests");
    store.load_at::<Ledger>(&stream, Until::Time(Timestamp::MAX)).await.unwrap();
    assert_eq!(world.log.take_calls().reads, 1, "the present is one request");
    store.load_at::<Ledger>(&stream, Until::Version(Version::new(COMMITS as u64))).await.unwrap();
    assert_eq!(world.log.take_calls().reads, 1, "a version is one request");
}

pub async fn a_search_that_meets_a_hole_says_so(world: World) {
    let stream = stream("searched-hole");
    let states = written(&world, &stream, std::iter::repeat_n((1, 1), 100)).await;
    // 20 of 100 commits are read first. The middle of the 80 below is 41; above it 61, and below it 21 and
    // 11.
    for (missing, made) in [(1..=80, 5), (61..=61, 60), (42..=61, 70), (5..=5, 5), (10..=10, 10), (1..=1, 0)]
    {
        let missing = missing.map(Version::new).collect();
        let store = world.store_over(Torn { log: world.log.clone(), missing });
        let time = TestPorts::START + Duration::from_secs(made);
        let answer = store.load_at::<Ledger>(&stream, Until::Time(time)).await;
        assert!(answer.as_ref().is_err_and(is_corrupt), "at second {made}: {answer:?}");
    }
    assert_eq!(states[9].at, Some(TestPorts::START + Duration::from_secs(10)));
}

pub async fn a_clock_that_runs_backwards_does_not_turn_the_past_around(world: World) {
    let backwards = stream("backwards");
    for n in 1..=20 {
        world.ports.set(TestPorts::START - Duration::from_secs(n));
        world.send(&backwards, post([1])).await.unwrap();
    }
    let history = world.history(&backwards).await;
    assert!(history.is_sorted_by_key(|commit| commit.at), "within a stream time never runs backwards");
    let store = world.store();
    let first = history[0].at;
    let all = store.load_at::<Ledger>(&backwards, Until::Time(first)).await.unwrap();
    assert_eq!(all.version, Version::new(20));
    let before = first - Duration::from_nanos(1);
    assert_eq!(
        store.load_at::<Ledger>(&backwards, Until::Time(before)).await.unwrap().version,
        Version::NONE
    );

    // A commit whose writer did not take care: what counts is the last commit made in time.
    let careless = stream("careless");
    for seconds in [10, 5, 20] {
        let loaded = store.load::<Ledger>(&careless).await.unwrap();
        let mut meta = world.command();
        meta.at = TestPorts::START + Duration::from_secs(seconds);
        let commit = loaded.head().commit(posted(1), vec![], PayloadHash::of(&0), &meta, None);
        world.log.append(&commit).await.unwrap();
    }
    for (seconds, version) in [(4, 0), (5, 2), (10, 2), (19, 2), (20, 3)] {
        let time = TestPorts::START + Duration::from_secs(seconds);
        let past = store.load_at::<Ledger>(&careless, Until::Time(time)).await.unwrap();
        assert_eq!(past.version, Version::new(version), "at second {seconds}");
        assert_eq!(past.state.map_or(0, |s| s.balance), version as i64);
    }
}

pub async fn a_clock_that_is_far_ahead_does_not_date_later_commits(world: World) {
    let stream = stream("far-ahead");
    const DAY: i64 = 86_400;
    let second = |second: i64| TestPorts::START + SignedDuration::from_secs(second);
    // Clock of the writer and time of the commit: up to a day ahead is carried on, and a second more is not.
    for (clock, made) in [
        (0, 0),
        (DAY, DAY),
        (0, DAY),
        (DAY + 1, DAY + 1),
        (0, 0),
        (5, 5),
        (400 * DAY, 400 * DAY),
        (6, 6),
        (5, 6),
        (7, 7),
    ] {
        world.ports.set(second(clock));
        world.send(&stream, post([1])).await.unwrap();
        let last = world.history(&stream).await.last().map(|commit| commit.at);
        assert_eq!(last, Some(second(made)), "by a clock at second {clock}");
    }
    let store = world.store();
    // Each moment is the last commit made by then, in a stream as short as this.
    for (asked, version) in [(-1, 0), (0, 5), (5, 6), (6, 9), (7, 10), (DAY, 10), (500 * DAY, 10)] {
        let past = store.load_at::<Ledger>(&stream, Until::Time(second(asked))).await.unwrap();
        assert_eq!(past.version, Version::new(version), "at second {asked}");
    }
}

pub async fn a_past_with_a_hole_is_not_loaded(world: World) {
    let stream = stream("past-hole");
    for amount in 1..=5 {
        world.send(&stream, post([amount])).await.unwrap();
    }
    for missing in [1, 3] {
        let store = world.store_over(Torn { log: world.log.clone(), missing: vec![Version::new(missing)] });
        for until in [Until::Version(Version::new(4)), Until::Time(Timestamp::MAX)] {
            let error = store.load_at::<Ledger>(&stream, until).await.unwrap_err();
            assert!(is_corrupt(&error), "without {missing}: {error}");
        }
    }
}

pub async fn a_reader_inside_a_commit_gets_the_rest_of_it(world: World) {
    let stream = lived(&world, "inside").await;
    let store = world.store();
    let events = store.events_after(&stream, Version::NONE).await.unwrap();
    for n in 0..=events.len() {
        let rest = store.events_after(&stream, Version::new(n as u64)).await.unwrap();
        assert_eq!(rest, events[n..], "after version {n}");
        for count in [1, 2, 5, 1_000] {
            // Commits are read whole, so those that begin in time are there to their ends.
            let last = Version::new((n + count as usize) as u64);
            let near: Vec<_> = rest.iter().filter(|event| event.first <= last).cloned().collect();
            let read = store.events_near(&stream, Version::new(n as u64), count).await.unwrap();
            assert_eq!(read, near, "{count} after version {n}");
        }
    }
    assert_eq!(store.version(&stream).await.unwrap(), Version::new(events.len() as u64));
    assert_eq!(store.version(&crate::world::stream("unborn")).await.unwrap(), Version::NONE);
    assert!(store.events_near(&stream, Version::new(10_000), 9).await.unwrap().is_empty());
    assert!(store.events_after(&stream, Version::new(10_000)).await.unwrap().is_empty());
    assert!(store.events_after(&crate::world::stream("unborn"), Version::NONE).await.unwrap().is_empty());

    // Each carries its commit's bounds and the event itself.
    let history = world.history(&stream).await;
    let enveloped: Vec<_> = history.iter().flat_map(|commit| commit.envelopes()).collect();
    assert_eq!(enveloped, events);
    assert!(events.iter().enumerate().all(|(n, e)| e.version == Version::new(n as u64 + 1)));
    assert!(events.iter().all(|e| e.first <= e.version && e.version < e.next));
    let ids: std::collections::HashSet<_> = events.iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), events.len(), "no two events share an id");
    let typed: Vec<Entry> = events.iter().map(|e| e.event().unwrap()).collect();
    assert_eq!(fold::<Ledger>(None, &typed).unwrap(), store.load::<Ledger>(&stream).await.unwrap().state);
}

pub async fn a_reader_is_told_of_a_hole_instead_of_skipping_it(world: World) {
    let stream = stream("reader-hole");
    for amount in 1..=5 {
        world.send(&stream, post([amount])).await.unwrap();
    }
    for (missing, after) in [(1, 0), (3, 0), (3, 2)] {
        let store = world.store_over(Torn { log: world.log.clone(), missing: vec![Version::new(missing)] });
        let error = store.events_after(&stream, Version::new(after)).await.unwrap_err();
        assert!(is_corrupt(&error), "without {missing}, after {after}: {error}");
        let error = store.events_near(&stream, Version::new(after), 5).await.unwrap_err();
        assert!(is_corrupt(&error), "without {missing}, near {after}: {error}");
    }
    // What lies behind the reader does not matter.
    let store = world.store_over(Torn { log: world.log.clone(), missing: vec![Version::new(1)] });
    assert_eq!(store.events_after(&stream, Version::new(2)).await.unwrap().len(), 3);
}

pub async fn one_event_is_found_inside_its_commit(world: World) {
    let stream = lived(&world, "one-event").await;
    let store = world.store();
    let events = store.events_after(&stream, Version::NONE).await.unwrap();
    world.log.take_calls();
    for event in &events {
        assert_eq!(store.event(&stream, event.version).await.unwrap().as_ref(), Some(event));
    }
    assert_eq!(world.log.take_calls().commits_read, events.len() as u64, "one commit for each");
    assert_eq!(store.event(&stream, Version::new(10_000)).await.unwrap(), None);
    assert_eq!(store.event(&stream, Version::NONE).await.unwrap(), None);
}
