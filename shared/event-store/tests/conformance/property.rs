//! Any sequence of commands comes to the same in the store as it does in memory.

use std::{iter::repeat_n, time::Duration};

use event_store::{Expect, Past, Snapshot, TransactError, Until};
use kernel::{Aggregate, CommandMeta, PayloadHash, RawEvent, StreamId, Timestamp, Version, aggregate::fold};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestCaseResult, TestRunner},
};
use serde_json::Value;
use testing::{
    TestPorts,
    faulty::{OnAppend, OnRead},
};

use crate::{
    ledger::{Command, Ledger, post},
    load::folded,
    past::written,
    world::{World, stream},
};

/// One command and what befalls it.
#[derive(Debug, Clone)]
struct Step {
    command: Command,
    expect: Expecting,
    trouble: Trouble,
    sent_again: bool,
}

#[derive(Debug, Clone, Copy)]
enum Expecting {
    Any,
    New,
    Current,
    Wrong,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Cut(usize),
    AnswerLost,
    RequestLost,
    /// Another writer posts this first.
    Overtaken(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let command = prop_oneof![
        6 => vec(-30i64..50, 0..5).prop_map(Command::Post),
        2 => "\\PC{0,60}".prop_map(Command::Note),
        1 => "[a-z]{0,300}".prop_map(Command::Hoard),
        1 => any::<bool>().prop_map(Command::Freeze),
    ];
    let expect = prop_oneof![
        5 => Just(Expecting::Any),
        2 => Just(Expecting::New),
        2 => Just(Expecting::Current),
        1 => Just(Expecting::Wrong),
    ];
    let trouble = prop_oneof![
        6 => Just(Trouble::None),
        2 => (1usize..12).prop_map(Trouble::Cut),
        1 => Just(Trouble::AnswerLost),
        1 => Just(Trouble::RequestLost),
        1 => (0i64..9).prop_map(Trouble::Overtaken),
    ];
    (command, expect, trouble, any::<bool>()).prop_map(|(command, expect, trouble, sent_again)| Step {
        command,
        expect,
        trouble,
        sent_again,
    })
}

/// The same in memory: nothing but decide and evolve.
#[derive(Default)]
struct Model {
    state: Option<Ledger>,
    version: u64,
}

impl Model {
    /// How many events happen, or the refusal.
    fn send(&mut self, command: &Command) -> Result<usize, crate::ledger::No> {
        let events = Ledger::decide(self.state.as_ref(), command)?;
        self.state = fold(self.state.take(), &events).unwrap();
        self.version += events.len() as u64;
        Ok(events.len())
    }
}

async fn check(world: &World, stream: &StreamId, steps: &[Step], probe: u64) -> TestCaseResult {
    let mut model = Model::default();
    for step in steps {
        check_step(world, stream, step, &mut model).await?;
        world.log.heal();
    }

    let store = world.store();
    let loaded = store.load::<Ledger>(stream).await.unwrap();
    prop_assert_eq!(loaded.version(), Version::new(model.version));
    prop_assert_eq!(&loaded.state, &model.state);
    let latest = store.load_at::<Ledger>(stream, Until::Version(loaded.version())).await.unwrap();
    prop_assert_eq!(&latest.state, &model.state);
    let events = store.events_after(stream, Version::NONE).await.unwrap();
    prop_assert_eq!(events.len() as u64, model.version);
    prop_assert_eq!(&folded(&events), &model.state);
    let probe = probe % (model.version + 1);
    let past = store.load_at::<Ledger>(stream, Until::Version(Version::new(probe))).await.unwrap();
    prop_assert_eq!(&past.state, &folded(&events[..probe as usize]));
    let rest = store.events_after(stream, Version::new(probe)).await.unwrap();
    prop_assert_eq!(&rest[..], &events[probe as usize..]);
    Ok(())
}

async fn check_step(world: &World, stream: &StreamId, step: &Step, model: &mut Model) -> TestCaseResult {
    let current = Version::new(model.version);
    let expect = match step.expect {
        Expecting::Any => Expect::Any,
        Expecting::New => Expect::New,
        Expecting::Current => Expect::At(current),
        Expecting::Wrong => Expect::At(current.plus(3)),
    };
    let meta = world.command();
    let expected_version_mismatch = matches!(step.expect, Expecting::Wrong);
    let mut by_other = None;
    match step.trouble {
        Trouble::None => {}
        Trouble::Cut(after) => world.log.on_read([OnRead::CutAfter(after)]),
        Trouble::AnswerLost => world.log.on_append([OnAppend::AnswerLost]),
        Trouble::RequestLost => world.log.on_append([OnAppend::RequestLost]),
        Trouble::Overtaken(amount) => {
            let (store, stream, other) = (world.store(), stream.clone(), world.command());
            by_other = Some(amount);
            world.log.on_append([OnAppend::after(move || async move {
                // The other may be refused as well (a frozen ledger); so is it in the model.
                let _ = store.transact::<Ledger>(&stream, Expect::Any, &post([amount]), &other).await;
            })]);
        }
    }
    let answer = world.send_as(stream, expect, step.command.clone(), &meta).await;

    if expected_version_mismatch {
        prop_assert!(matches!(answer, Err(TransactError::VersionMismatch { .. })), "{:?}", answer);
        return Ok(());
    }
    // The other gets its turn only when ours comes as far as an append.
    let appends = Ledger::decide(model.state.as_ref(), &step.command).is_ok_and(|events| !events.is_empty());
    let asserted = matches!(step.expect, Expecting::New)
        && Ledger::decide(None, &step.command).is_ok_and(|events| !events.is_empty());
    if let Some(amount) = by_other
        && (appends || asserted)
    {
        let version = model.version;
        let _ = model.send(&post([amount]));
        if version != model.version && matches!(step.expect, Expecting::Current) {
            prop_assert!(matches!(answer, Err(TransactError::VersionMismatch { .. })), "{:?}", answer);
            return Ok(());
        }
    }
    match model.send(&step.command) {
        Ok(written) => {
            let outcome = answer.map_err(|e| TestCaseError::fail(format!("{step:?}: {e}")))?;
            prop_assert_eq!(outcome.version, Version::new(model.version), "{:?}", step);
            prop_assert_eq!(&outcome.state, &model.state);
            if step.sent_again && written > 0 {
                sent_again(world, stream, step, &meta, outcome.version).await?;
            }
        }
        Err(refusal) => {
            let refused = matches!(&answer, Err(TransactError::Refused(no)) if *no == refusal);
            prop_assert!(refused, "{:?} met {:?}", step, answer);
        }
    }
    Ok(())
}

async fn sent_again(
    world: &World,
    stream: &StreamId,
    step: &Step,
    meta: &CommandMeta,
    first: Version,
) -> TestCaseResult {
    let again = world.send_as(stream, Expect::Any, step.command.clone(), meta).await.unwrap();
    prop_assert!(again.repeated);
    prop_assert_eq!(again.version, first);
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn cases(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn any_commands_come_to_the_same(world: impl Future<Output = World>, count: u32) {
    let runtime = runtime();
    let world = runtime.block_on(world);
    let case = std::sync::atomic::AtomicU64::new(0);
    let strategy = (vec(step(), 0..50), any::<u64>());
    let result = cases(count).run(&strategy, |(steps, probe)| {
        let case = case.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        runtime.block_on(check(&world, &stream(&format!("case-{case}")), &steps, probe))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn any_commands_fold_from_the_log_in_memory_as_they_do_without_a_log() {
    any_commands_come_to_the_same(World::memory(), 400);
}

#[test]
fn any_commands_fold_from_dynamodb_as_they_do_without_a_log() {
    any_commands_come_to_the_same(World::dynamo(), 24);
}

/// Any moment of any stream is found by bisection as it is found by reading all of it, however the answers
/// are cut.
fn any_moment_is_what_a_walk_finds(world: impl Future<Output = World>, count: u32, commits: usize) {
    let runtime = runtime();
    let world = runtime.block_on(world);
    let case = std::sync::atomic::AtomicU64::new(0);
    let seconds = prop_oneof![4 => Just(0i64), 4 => 1i64..3, 1 => 100i64..10_000, 1 => -5i64..0];
    let strategy = (vec((1usize..5, seconds), 0..commits), proptest::option::weighted(0.3, 1usize..15));
    let result = cases(count).run(&strategy, |(commits, cut)| {
        let case = case.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stream = stream(&format!("moments-{case}"));
        world.ports.set(TestPorts::START);
        runtime.block_on(async {
            let states = written(&world, &stream, commits.into_iter()).await;
            prop_assert!(states.is_sorted_by_key(|past| past.at));
            let nanosecond = Duration::from_nanos(1);
            let made = states.iter().filter_map(|past| past.at);
            let around = made.flat_map(|at| [at - nanosecond, at, at + nanosecond]);
            for time in around.chain([Timestamp::MIN, Timestamp::MAX]) {
                let nothing = Past { state: None, version: Version::NONE, at: None };
                let walked = states.iter().rfind(|past| past.at.is_some_and(|at| at <= time));
                world.log.on_read(cut.iter().flat_map(|cut| repeat_n(OnRead::CutAfter(*cut), 200)));
                let found = world.store().load_at::<Ledger>(&stream, Until::Time(time)).await.unwrap();
                world.log.heal();
                prop_assert_eq!(&found, walked.unwrap_or(&nothing), "at {}", time);
            }
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn any_moment_in_memory_is_what_a_walk_finds() {
    any_moment_is_what_a_walk_finds(World::memory(), 60, 150);
}

#[test]
fn any_moment_in_dynamodb_is_what_a_walk_finds() {
    any_moment_is_what_a_walk_finds(World::dynamo(), 4, 80);
}

/// Clocks that are days ahead, and back again: each moment is still a state that was reached, and the same
/// one twice.
fn any_moment_beside_broken_clocks_was_reached(world: impl Future<Output = World>, count: u32) {
    let runtime = runtime();
    let world = runtime.block_on(world);
    let case = std::sync::atomic::AtomicU64::new(0);
    let seconds = prop_oneof![8 => 0i64..3, 1 => 80_000i64..1_000_000, 1 => -1_000_000i64..-80_000];
    let strategy = vec((1usize..5, seconds), 0..120);
    let result = cases(count).run(&strategy, |commits| {
        let case = case.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stream = stream(&format!("broken-{case}"));
        world.ports.set(TestPorts::START);
        runtime.block_on(async {
            let states = written(&world, &stream, commits.into_iter()).await;
            for time in states.iter().filter_map(|past| past.at) {
                let load =
                    async || world.store().load_at::<Ledger>(&stream, Until::Time(time)).await.unwrap();
                let found = load().await;
                prop_assert_eq!(&found, &load().await);
                let next = match states.iter().position(|past| past.version == found.version) {
                    Some(place) => {
                        prop_assert_eq!(&found, &states[place]);
                        prop_assert!(found.at.is_some_and(|at| at <= time), "{:?} at {}", found.at, time);
                        place + 1
                    }
                    None => {
                        prop_assert_eq!(found.state, None);
                        0
                    }
                };
                prop_assert!(states.get(next).is_none_or(|next| next.at.is_some_and(|at| at > time)));
            }
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn any_moment_in_memory_beside_broken_clocks_was_reached() {
    any_moment_beside_broken_clocks_was_reached(World::memory(), 60);
}

#[test]
fn any_moment_in_dynamodb_beside_broken_clocks_was_reached() {
    any_moment_beside_broken_clocks_was_reached(World::dynamo(), 4);
}

/// Any JSON that an event may hold.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Quarters: serde_json reads back most other fractions with the last bit off.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        ".{0,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map(".{0,12}", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_commit_reads_back_the_same(world: impl Future<Output = World>, count: u32) {
    let runtime = runtime();
    let world = runtime.block_on(world);
    let case = std::sync::atomic::AtomicU64::new(0);
    let strategy = (vec(json(), 1..5), proptest::option::of(json()), any::<[u128; 3]>(), ".{0,120}");
    let result = cases(count).run(&strategy, |(bodies, snapshot, ids, actor)| {
        let case = case.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = stream(&format!("json-{case}"));
        let events: Vec<RawEvent> =
            bodies.into_iter().map(|data| RawEvent { event_type: "Any".into(), schema: 7, data }).collect();
        let meta = CommandMeta {
            id: kernel::CommandId::new(kernel::Uuid::from_u128(ids[0])),
            at: kernel::Timestamp::from_nanosecond((ids[1] % 4_000_000_000_000_000_000) as i128).unwrap(),
            actor: kernel::Actor::new(actor),
            correlation: kernel::Uuid::from_u128(ids[2]),
            causation: (ids[0] % 2 == 0).then(|| kernel::Uuid::from_u128(ids[1])),
            trace: (ids[0] % 3 == 0).then(|| kernel::TraceParent::new(ids[0], ids[1] as u64, true)),
            attempt: (ids[2] % 3) as u32,
        };
        let snapshot = snapshot.map(|state| Snapshot { schema: 3, state });
        let (first, rest) = events.split_first().unwrap();
        let commit = event_store::Head::new_stream(name.clone()).commit(
            first.clone(),
            rest.to_vec(),
            PayloadHash::of(&case),
            &meta,
            snapshot,
        );
        runtime.block_on(async {
            use event_store::CommitLog;
            world.log.append(&commit).await.unwrap();
            let page = world.log.newest(&name, Version::FIRST, None).await.unwrap();
            prop_assert_eq!(&page.commits[..], [commit.as_commit().clone()]);
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn any_commit_reads_back_the_same_from_memory() {
    any_commit_reads_back_the_same(World::memory(), 50);
}

#[test]
fn any_commit_reads_back_the_same_from_dynamodb() {
    any_commit_reads_back_the_same(World::dynamo(), 200);
}
