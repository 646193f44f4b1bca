//! A view is built anew while the bus does its worst, workers die and operators change their minds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use contracts::Envelope;
use event_store::Segment;
use kernel::{RawEvent, StreamId, Timestamp, Version};
use projection::{
    ApplyError, CACHE, Consistency, Content, DynamoViews, Generation, Generations, INVOCATION, Job, Limits,
    List, Listed, MemoryRegistry, MemoryViews, Next, Order, Phase, ProjectedView, Projection, Projector, Put,
    RebuildError, Rebuildable, Rebuilder, Refused, Registry, SegmentDone, Stamp, Stored, Strays, Task,
    ViewError, ViewState, ViewStore, ViewTable, create_table,
};
use proptest::prelude::*;
use serde_json::json;
use testing::Seeded;

use crate::stage::{BY_OWNER, EVENTS, Ledger, Ledgers, Stage, apply_ledger, noted, opened, raw};

/// One page at a time, written down after each.
const SMALL: Limits = Limits { budget: Duration::ZERO, checkpoint: Duration::ZERO, page: 3 };

fn order(task: Task) -> Order {
    Order { task, segments: 3, rate: None }
}

/// A registry that is out of reach now and then, or does what it is told and does not say so.
struct Unreliable {
    inner: MemoryRegistry,
    chance: Mutex<(Seeded, f64)>,
}

impl Unreliable {
    fn unlucky(&self) -> bool {
        let (seeded, chance) = &mut *self.chance.lock().unwrap();
        seeded.chance(*chance)
    }

    fn lost() -> ViewError {
        ViewError::Unavailable { view: "views", operation: "PutItem", why: "lost".into() }
    }
}

#[async_trait]
impl Registry for Unreliable {
    async fn get(&self, view: &str) -> Result<ViewState, ViewError> {
        if self.unlucky() { Err(Self::lost()) } else { self.inner.get(view).await }
    }

    async fn put(&self, state: &ViewState) -> Result<Put, ViewError> {
        if self.unlucky() {
            return Err(Self::lost());
        }
        let put = self.inner.put(state).await;
        if self.unlucky() { Err(Self::lost()) } else { put }
    }

    async fn all(&self) -> Result<Vec<ViewState>, ViewError> {
        self.inner.all().await
    }
}

/// A table of rows that takes no writes now and then, or takes them and does not say so.
struct Lossy {
    inner: Arc<dyn ViewStore<Ledgers>>,
    chance: Arc<Mutex<(Seeded, f64)>>,
}

impl Lossy {
    fn unlucky(&self) -> bool {
        let (seeded, chance) = &mut *self.chance.lock().unwrap();
        seeded.chance(*chance)
    }
}

#[async_trait]
impl ViewStore<Ledgers> for Lossy {
    async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<Ledger>>, ViewError> {
        self.inner.get(id, consistency).await
    }

    async fn put(
        &self,
        id: &str,
        row: Option<&Ledger>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        if self.unlucky() {
            return Err(Unreliable::lost());
        }
        let put = self.inner.put(id, row, before, applied).await;
        if self.unlucky() { Err(Unreliable::lost()) } else { put }
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<Ledger>, ViewError> {
        self.inner.list(list).await
    }
}

/// A table of rows, as both of its ports.
#[derive(Clone)]
enum Rows {
    Memory(MemoryViews<Ledgers>),
    Dynamo(DynamoViews<Ledgers>),
}

impl Rows {
    fn store(&self) -> Arc<dyn ViewStore<Ledgers>> {
        match self {
            Self::Memory(rows) => Arc::new(rows.clone()),
            Self::Dynamo(rows) => Arc::new(rows.clone()),
        }
    }

    fn table(&self) -> Arc<dyn ViewTable> {
        match self {
            Self::Memory(rows) => Arc::new(rows.clone()),
            Self::Dynamo(rows) => Arc::new(rows.clone()),
        }
    }

    async fn ids(&self) -> Vec<String> {
        let page = self.table().keys(Segment::WHOLE, None, None).await.unwrap();
        let mut ids: Vec<String> = page.keys.into_iter().map(|key| key.id).collect();
        ids.sort();
        ids
    }
}

/// A view of two generations, whoever feeds it, and what rebuilds it.
struct Site {
    stage: Stage,
    odd: Rows,
    even: Rows,
    registry: Arc<Unreliable>,
}

impl Site {
    fn memory() -> Self {
        let stage = Stage::memory();
        let odd = Rows::Memory(stage.memory.clone().unwrap());
        Self::on(stage, odd, Rows::Memory(MemoryViews::new()))
    }

    async fn dynamo() -> Self {
        let stage = Stage::dynamo().await;
        let client = stage.dynamo.as_ref().unwrap().client();
        create_table::<Ledgers>(&client, "ledgers-even", &[BY_OWNER]).await.unwrap();
        let odd = Rows::Dynamo(DynamoViews::new(client.clone(), crate::stage::TABLE));
        Self::on(stage, odd, Rows::Dynamo(DynamoViews::new(client, "ledgers-even")))
    }

    async fn both() -> [Self; 2] {
        [Self::memory(), Self::dynamo().await]
    }

    fn on(stage: Stage, odd: Rows, even: Rows) -> Self {
        let inner = MemoryRegistry::new();
        let registry = Arc::new(Unreliable { inner, chance: Mutex::new((Seeded::new(1), 0.0)) });
        Self { stage, odd, even, registry }
    }

    /// One environment of a function, which may go on with what it knew for as long as an invocation takes.
    fn function(&self) -> Projector<Ledgers> {
        self.function_over(self.odd.store(), self.even.store())
    }

    /// The same, of which the rows are where the test wants them.
    fn function_over(
        &self,
        odd: Arc<dyn ViewStore<Ledgers>>,
        even: Arc<dyn ViewStore<Ledgers>>,
    ) -> Projector<Ledgers> {
        let ports = self.stage.world.ports();
        let generations = Generations::new("ledgers", self.registry.clone(), ports.clock.clone());
        let generations = generations.relied_on_for(CACHE + INVOCATION);
        Projector::of_generations(generations, odd, even, self.stage.store.clone(), ports)
    }

    fn rebuilder(&self, limits: Limits) -> Rebuilder {
        let (store, ports) = (self.stage.store.clone(), self.stage.world.ports());
        let view: Arc<dyn projection::Rebuildable> = match (&self.odd, &self.even) {
            (Rows::Memory(odd), Rows::Memory(even)) => Arc::new(ProjectedView::<Ledgers>::new(
                "ledgers",
                odd.clone(),
                even.clone(),
                store.clone(),
                ports.clone(),
            )),
            (Rows::Dynamo(odd), Rows::Dynamo(even)) => Arc::new(ProjectedView::<Ledgers>::new(
                "ledgers",
                odd.clone(),
                even.clone(),
                store.clone(),
                ports.clone(),
            )),
            _ => unreachable!("both tables are of one kind"),
        };
        Rebuilder::new(view, self.registry.clone(), store, ports, limits)
    }

    /// Rebuilds the view with other code.
    fn rebuilder_of<P: Projection>(&self) -> Rebuilder {
        let (Rows::Memory(odd), Rows::Memory(even)) = (&self.odd, &self.even) else {
            unreachable!("only in memory can rows be seen by other code")
        };
        let (store, ports) = (self.stage.store.clone(), self.stage.world.ports());
        let view = ProjectedView::<P>::new("ledgers", odd.seen_by(), even.seen_by(), store.clone(), ports);
        Rebuilder::new(Arc::new(view), self.registry.clone(), store, self.stage.world.ports(), SMALL)
    }

    /// Does what the state machine does, until the job is over or stopped.
    async fn drive(&self, rebuilder: &Rebuilder) -> Next {
        loop {
            match rebuilder.advance().await.unwrap() {
                Next::Again => {}
                Next::Wait(pause) => self.stage.world.advance(pause),
                Next::Segments(segments) => {
                    for segment in segments {
                        rebuilder.segment(segment).await.unwrap();
                    }
                }
                over @ (Next::Over(_) | Next::Stopped(_)) => return over,
            }
        }
    }

    /// The same, until it is in this phase.
    async fn until(&self, rebuilder: &Rebuilder, phase: Phase) {
        while self.job().await.phase != phase {
            match rebuilder.advance().await.unwrap() {
                Next::Again => {}
                Next::Wait(pause) => self.stage.world.advance(pause),
                Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
                over @ (Next::Over(_) | Next::Stopped(_)) => panic!("{over:?}"),
            }
        }
    }

    async fn job(&self) -> Job {
        self.state().await.job.unwrap()
    }

    async fn state(&self) -> ViewState {
        self.registry.inner.get("ledgers").await.unwrap()
    }

    /// The tables of the live and of the other generation.
    async fn tables(&self) -> (&Rows, &Rows) {
        if self.state().await.live.is_odd() { (&self.odd, &self.even) } else { (&self.even, &self.odd) }
    }

    async fn rows(&self, rows: &Rows) -> BTreeMap<String, (Ledger, u64)> {
        let mut found = BTreeMap::new();
        for id in rows.ids().await {
            let stored = rows.store().get(&id, Consistency::Strong).await.unwrap().unwrap();
            if let Content::Row(row) = stored.content {
                found.insert(id, (row, stored.stamp.applied.get()));
            }
        }
        found
    }

    /// What the live rows have to be.
    async fn folded(&self, ids: impl IntoIterator<Item = String>) -> BTreeMap<String, (Ledger, u64)> {
        let mut rows = BTreeMap::new();
        for id in ids {
            rows.extend(self.stage.folded(&id).await.map(|row| (id, row)));
        }
        rows
    }

    async fn is_whole(&self, ids: impl IntoIterator<Item = String>) {
        let (live, other) = self.tables().await;
        assert_eq!(self.rows(live).await, self.folded(ids).await, "{}", self.stage.name);
        assert_eq!(other.ids().await, Vec::<String>::new(), "{}: left over", self.stage.name);
    }

    /// Some streams, delivered.
    async fn history(&self, streams: usize) -> Vec<String> {
        let function = self.function();
        let mut ids = Vec::new();
        for n in 0..streams {
            let id = format!("s{n:02}");
            let mut events = self.stage.commit(&id, vec![opened("o", &format!("{n:04}"))]).await;
            for m in 0..n as u64 % 5 {
                events.extend(self.stage.commit(&id, vec![noted(m), raw("Printed", json!({}))]).await);
            }
            let outcome = function.deliver_batch(&events).await;
            assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
            ids.push(id);
        }
        ids
    }
}

#[tokio::test]
async fn a_rebuild_takes_over_with_the_rows_of_a_fold_and_leaves_nothing_behind_however_often_it_is_run() {
    for site in Site::both().await {
        let ids = site.history(20).await;
        let rebuilder = site.rebuilder(SMALL);
        for (round, generation) in ["2", "3", "4"].into_iter().enumerate() {
            let task = if round == 1 { Task::RebuildAndVerify } else { Task::Rebuild };
            rebuilder.begin(&order(task)).await.unwrap();
            assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done), "{}", site.stage.name);
            assert_eq!(site.state().await.live.to_string(), generation);
            site.is_whole(ids.clone()).await;
        }
        let job = site.state().await.job.unwrap();
        assert_eq!(job.events(), job.commits() + 40, "every other event of a commit counts too");
    }
}

#[tokio::test]
async fn two_state_machines_on_one_rebuild_do_no_harm() {
    let site = Site::memory();
    let ids = site.history(30).await;
    let (one, other) = (site.rebuilder(SMALL), site.rebuilder(SMALL));
    one.begin(&order(Task::Rebuild)).await.unwrap();
    other.begin(&order(Task::Rebuild)).await.unwrap();
    assert_eq!(site.state().await.job.unwrap().generation.to_string(), "2");
    loop {
        let (a, b) = (one.advance().await.unwrap(), other.advance().await.unwrap());
        site.stage.world.advance(Duration::from_secs(5));
        for (machine, next) in [(&one, &a), (&other, &b)] {
            if let Next::Segments(segments) = next {
                futures::future::join_all(segments.iter().map(|segment| machine.segment(*segment))).await;
            }
        }
        if a == Next::Over(Phase::Done) {
            break;
        }
    }
    assert_eq!(site.state().await.live.to_string(), "2");
    site.is_whole(ids).await;
}

/// Code that cannot apply one of the events.
struct Broken;

impl Projection for Broken {
    const NAME: &'static str = "ledgers";
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "test.Ledger";
    const IRRELEVANT: &'static [&'static str] = &["Printed"];
    type Row = Ledger;

    fn apply(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
        if event.stream.id() == "s07" && event.version == Version::new(2) {
            let event_type = event.event_type.clone();
            return Err(ApplyError::BrokenHistory { event_type, why: "this code is broken" });
        }
        apply_ledger(row, event)
    }
}

#[tokio::test]
async fn a_bad_event_stops_a_rebuild_and_names_itself_and_mended_code_goes_on_where_it_stopped() {
    let site = Site::memory();
    let ids = site.history(20).await;
    let broken = site.rebuilder_of::<Broken>();
    broken.begin(&order(Task::Rebuild)).await.unwrap();
    let Next::Stopped(why) = site.drive(&broken).await else { panic!("it did not stop") };
    assert!(why.contains("test.Ledger/s07 version 2") && why.contains("this code is broken"), "{why}");
    assert_eq!(site.state().await.live.to_string(), "1", "queries read the old generation");
    let read = site.state().await.job.unwrap().commits();

    let mended = site.rebuilder(SMALL);
    let state = mended.begin(&order(Task::RebuildAndVerify)).await.unwrap();
    let job = state.job.unwrap();
    assert_eq!((job.phase, job.commits(), job.stopped), (Phase::Filling, read, None));
    assert_eq!(site.drive(&mended).await, Next::Over(Phase::Done));
    site.is_whole(ids).await;
}

/// Tomorrow's code.
struct Newer;

impl Projection for Newer {
    const NAME: &'static str = "ledgers";
    const SCHEMA: u16 = 3;
    const CATEGORY: &'static str = "test.Ledger";
    const IRRELEVANT: &'static [&'static str] = &["Printed"];
    type Row = Ledger;

    fn apply(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
        Ok(Ledger { note: Some("new".into()), ..apply_ledger(row, event)? })
    }
}

#[tokio::test]
async fn a_rebuild_that_newer_code_takes_over_begins_anew_with_no_row_of_the_older_code_left() {
    let site = Site::memory();
    site.history(20).await;
    let older = site.rebuilder(SMALL);
    older.begin(&order(Task::Rebuild)).await.unwrap();
    let mut filled = 0;
    while filled < 4 {
        match older.advance().await.unwrap() {
            Next::Wait(pause) => site.stage.world.advance(pause),
            Next::Segments(segments) => {
                older.segment(segments[0]).await.unwrap();
                filled += 1;
            }
            over => panic!("{over:?}"),
        }
    }
    assert!(!site.even.ids().await.is_empty());
    let newer = site.rebuilder_of::<Newer>();
    newer.begin(&order(Task::RebuildAndVerify)).await.unwrap();
    assert_eq!(site.drive(&newer).await, Next::Over(Phase::Done));
    let Rows::Memory(even) = &site.even else { unreachable!("in memory") };
    for id in site.even.ids().await {
        let stored = even.seen_by::<Newer>().get(&id, Consistency::Strong).await.unwrap().unwrap();
        let Content::Row(row) = stored.content else { panic!("{id}: {stored:?}") };
        assert_eq!((stored.stamp.schema, row.note.as_deref()), (3, Some("new")));
    }
}

#[tokio::test]
async fn a_cancelled_rebuild_leaves_the_live_rows_and_nothing_else_and_another_one_may_follow() {
    for site in Site::both().await {
        let ids = site.history(20).await;
        let rebuilder = site.rebuilder(SMALL);
        rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
        loop {
            match rebuilder.advance().await.unwrap() {
                Next::Wait(pause) => site.stage.world.advance(pause),
                Next::Segments(_) => break,
                over => panic!("{over:?}"),
            }
        }
        assert_eq!(rebuilder.segment(0).await, Ok(SegmentDone::No));
        rebuilder.cancel().await.unwrap();
        assert_eq!(rebuilder.segment(0).await, Ok(SegmentDone::Yes), "there is nothing left to do");
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Cancelled));
        site.is_whole(ids.clone()).await;

        let again = rebuilder.cancel().await;
        assert_eq!(again, Err(Refused::NothingToCancel { view: "ledgers".into() }));
        rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
        site.is_whole(ids).await;
    }
}

#[tokio::test]
async fn what_is_live_already_cannot_be_cancelled() {
    let site = Site::memory();
    site.history(3).await;
    let rebuilder = site.rebuilder(SMALL);
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    site.until(&rebuilder, Phase::Switched).await;
    let refused = rebuilder.cancel().await;
    assert_eq!(refused, Err(Refused::TooLate { view: "ledgers".into(), phase: Phase::Switched }));
}

#[tokio::test]
async fn a_rate_is_kept() {
    let site = Site::memory();
    let ids = site.history(30).await;
    let events: u64 = site.folded(ids).await.values().map(|(_, version)| version).sum();
    let rebuilder = site.rebuilder(Limits::FUNCTION);
    let paced = Order { rate: Some(6), ..order(Task::Rebuild) };
    rebuilder.begin(&paced).await.unwrap();
    site.drive(&rebuilder).await;
    let slept: Duration = site.stage.world.slept().iter().sum();
    // Two a second for each of three segments, which a test does one after the other.
    assert!(slept.as_secs_f64() >= events as f64 / 2.0 - 1.0, "{slept:?} for {events} events");
    assert_eq!(rebuilder.begin(&Order { rate: Some(2), ..paced }).await, Err(Refused::Order));
    assert_eq!(rebuilder.begin(&Order { segments: 0, ..order(Task::Rebuild) }).await, Err(Refused::Order));
}

/// Makes rows wrong in every way there is, behind the projector's back.
async fn damage(site: &Site) -> usize {
    let store = site.odd.store();
    let stamp = async |id: &str| store.get(id, Consistency::Strong).await.unwrap().unwrap().stamp;
    let row = async |id: &str| site.stage.folded(id).await.unwrap().0;
    // Another content.
    let wrong = Ledger { entries: 99, ..row("s04").await };
    let before = stamp("s04").await;
    store.put("s04", Some(&wrong), Some(before), before.applied).await.unwrap();
    // Emptied.
    let before = stamp("s09").await;
    store.put("s09", None, Some(before), before.applied).await.unwrap();
    // Ahead of its stream.
    let before = stamp("s03").await;
    store.put("s03", Some(&row("s03").await), Some(before), Version::new(99)).await.unwrap();
    // Without a stream.
    let stray = Ledger { id: "stray".into(), ..row("s03").await };
    store.put("stray", Some(&stray), None, Version::new(4)).await.unwrap();
    // Missing.
    for key in site.odd.table().keys(Segment::WHOLE, None, None).await.unwrap().keys {
        if key.id == "s05" {
            site.odd.table().remove(&key).await.unwrap();
        }
    }
    // Behind: its last event was lost.
    site.stage.commit("s06", vec![noted(5)]).await;
    6
}

#[tokio::test]
async fn every_way_in_which_a_row_can_be_wrong_is_found_and_repaired() {
    for site in Site::both().await {
        let ids = site.history(12).await;
        let rebuilder = site.rebuilder(SMALL);
        rebuilder.begin(&order(Task::Verify)).await.unwrap();
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
        assert_eq!(site.state().await.job.unwrap().differences, 0, "nothing is wrong yet");

        let damaged = damage(&site).await;
        // What changes no row is not sent to the view, and is missed by nobody.
        site.stage.commit("s01", vec![raw("Printed", json!({}))]).await;
        site.stage.world.advance(Duration::from_secs(361));
        site.stage.commit("s00", vec![noted(1)]).await;
        for (task, expected, repaired) in
            [(Task::Verify, damaged, 0), (Task::Repair, damaged, damaged), (Task::Verify, 0, 0)]
        {
            rebuilder.begin(&order(task)).await.unwrap();
            assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
            let job = site.state().await.job.unwrap();
            let counted = (job.differences as usize, job.repaired as usize);
            assert_eq!(counted, (expected, repaired), "{}, {task:?}: {:#?}", site.stage.name, job.examples);
        }
        // What is on its way, or changes no row, is no difference; who asks for it gets it.
        for (id, version) in [("s00", 2), ("s01", 4)] {
            assert!(site.function().read(id, Some(Version::new(version))).await.unwrap().is_some());
        }
        site.is_whole(ids).await;
    }
}

#[tokio::test]
async fn a_generation_that_is_not_what_its_events_make_it_never_goes_live() {
    let site = Site::memory();
    let ids = site.history(12).await;
    let rebuilder = site.rebuilder(SMALL);
    rebuilder.begin(&order(Task::RebuildAndVerify)).await.unwrap();
    site.until(&rebuilder, Phase::Verifying).await;
    let store = site.even.store();
    let Stamp { applied, .. } = store.get("s04", Consistency::Strong).await.unwrap().unwrap().stamp;
    let wrong = Ledger { entries: 99, ..site.stage.folded("s04").await.unwrap().0 };
    store.put("s04", Some(&wrong), Some(Stamp { schema: 2, applied }), applied).await.unwrap();
    let Next::Stopped(why) = site.drive(&rebuilder).await else { panic!("it did not stop") };
    assert!(why.contains("row s04 is other than its"), "{why}");
    assert_eq!(site.state().await.live.to_string(), "1");
    rebuilder.cancel().await.unwrap();
    assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Cancelled));
    site.is_whole(ids).await;
}

#[tokio::test]
async fn one_bad_event_does_not_hide_what_else_differs_and_is_not_said_to_be_repaired() {
    let site = Site::memory();
    site.history(12).await;
    let broken = site.rebuilder_of::<Broken>();
    let store = site.odd.store();
    let before = store.get("s04", Consistency::Strong).await.unwrap().unwrap().stamp;
    store.put("s04", None, Some(before), before.applied).await.unwrap();
    broken.begin(&order(Task::Repair)).await.unwrap();
    assert_eq!(site.drive(&broken).await, Next::Over(Phase::Done));
    let job = site.job().await;
    assert_eq!((job.differences, job.repaired), (2, 1), "{:?}", job.examples);
    assert!(
        job.examples.iter().any(|found| found.contains("test.Ledger/s07 version 2")),
        "{:?}",
        job.examples
    );
}

#[tokio::test]
async fn a_comparison_is_neither_replaced_nor_taken_for_another() {
    let site = Site::memory();
    site.history(12).await;
    let rebuilder = site.rebuilder(SMALL);
    let begun = rebuilder.begin(&order(Task::Verify)).await.unwrap();
    rebuilder.segment(0).await.unwrap();
    for other in [Task::Repair, Task::Rebuild, Task::RebuildAndVerify] {
        let refused = Err(Refused::Comparing { view: "ledgers".into() });
        assert_eq!(rebuilder.begin(&order(other)).await, refused, "{other:?}");
    }
    let joined = rebuilder.begin(&order(Task::Verify)).await.unwrap().job.unwrap();
    assert_eq!(joined.started_at, begun.job.unwrap().started_at);
    assert!(joined.commits() > 0, "it goes on where it was");
    rebuilder.cancel().await.unwrap();
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
}

#[tokio::test]
async fn a_rebuild_that_is_joined_is_as_careful_as_it_was_begun_and_its_comparison_does_not_begin_anew() {
    let site = Site::memory();
    site.history(12).await;
    let rebuilder = site.rebuilder(SMALL);
    let careful = Order { rate: Some(300), ..order(Task::RebuildAndVerify) };
    rebuilder.begin(&careful).await.unwrap();
    site.until(&rebuilder, Phase::Verifying).await;
    rebuilder.segment(0).await.unwrap();
    let before = site.job().await;
    let joined = rebuilder.begin(&order(Task::Rebuild)).await.unwrap().job.unwrap();
    assert_eq!((joined.task, joined.rate), (Task::RebuildAndVerify, Some(300)));
    assert_eq!((joined.phase, joined.segments), (Phase::Verifying, before.segments));
    let faster = Order { rate: Some(900), ..order(Task::Rebuild) };
    assert_eq!(rebuilder.begin(&faster).await.unwrap().job.unwrap().rate, Some(900));
}

#[tokio::test]
async fn nothing_goes_live_unverified_that_somebody_was_told_is_verified() {
    for phase in [Phase::Clearing, Phase::Feeding, Phase::Filling, Phase::Settling] {
        let site = Site::memory();
        site.history(12).await;
        let rebuilder = site.rebuilder(SMALL);
        rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
        site.until(&rebuilder, phase).await;
        rebuilder.begin(&order(Task::RebuildAndVerify)).await.unwrap();
        site.until(&rebuilder, Phase::Verifying).await;
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
    }
}

#[tokio::test]
async fn a_deployment_in_the_middle_of_a_rebuild_does_not_make_a_generation_of_two_schemas() {
    let site = Site::memory();
    site.history(20).await;
    let older = site.rebuilder(SMALL);
    older.begin(&order(Task::Rebuild)).await.unwrap();
    site.until(&older, Phase::Filling).await;
    older.segment(0).await.unwrap();
    let newer = site.rebuilder_of::<Newer>();
    assert_eq!(newer.segment(1).await, Ok(SegmentDone::Yes));
    let Ok(Next::Stopped(why)) = newer.advance().await else { panic!("it went on") };
    assert!(why.contains("schema 3") && why.contains("begin anew"), "{why}");
    newer.begin(&order(Task::Rebuild)).await.unwrap();
    // A worker that is still of the older code waits for its end, and harms nothing.
    assert!(matches!(older.segment(0).await, Ok(SegmentDone::Yes)));
    assert!(matches!(older.advance().await, Err(RebuildError::Passing(_))));
    assert_eq!(site.drive(&newer).await, Next::Over(Phase::Done));
    assert_eq!(site.job().await.schema, 3);
}

#[tokio::test]
async fn more_rows_than_fit_the_budget_are_removed_in_several_steps_that_say_so() {
    let site = Site::memory();
    let rebuilder = site.rebuilder(SMALL);
    for n in 0..450 {
        let row = Ledger { id: format!("left{n:03}"), ..Ledger::default() };
        site.even.store().put(&row.id, Some(&row), None, Version::FIRST).await.unwrap();
    }
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    let mut steps = 0;
    while site.job().await.phase == Phase::Clearing {
        assert!(matches!(rebuilder.advance().await, Ok(Next::Again | Next::Wait(Duration::ZERO))));
        steps += 1;
    }
    assert!(steps > 2, "{steps} steps");
    assert_eq!(site.even.ids().await, Vec::<String>::new());
}

/// A view whose rebuild is cancelled, and begun anew, while it finds a bad event.
struct Meddled {
    view: String,
    operator: Rebuilder,
}

#[async_trait]
impl Rebuildable for Meddled {
    fn view(&self) -> &str {
        &self.view
    }

    fn schema(&self) -> u16 {
        2
    }

    fn follows(&self, _: &StreamId) -> bool {
        true
    }

    async fn fill(&self, _: Generation, _: &[Envelope]) -> Result<(), RebuildError> {
        self.operator.cancel().await.unwrap();
        Err(RebuildError::BadEvent("of the rebuild before".into()))
    }

    async fn clear(&self, _: Generation) -> Result<bool, RebuildError> {
        Ok(true)
    }

    async fn compare(
        &self,
        _: Generation,
        _: &StreamId,
        _: Timestamp,
        _: bool,
    ) -> Result<Option<String>, RebuildError> {
        Ok(None)
    }

    async fn strays(
        &self,
        _: Generation,
        _: Segment,
        _: Option<&str>,
        _: bool,
    ) -> Result<Strays, RebuildError> {
        Ok(Strays { found: vec![], after: None })
    }
}

#[tokio::test]
async fn a_slow_worker_does_not_stop_what_came_in_the_place_of_its_rebuild() {
    let site = Site::memory();
    let ids = site.history(12).await;
    let operator = site.rebuilder(SMALL);
    operator.begin(&order(Task::Rebuild)).await.unwrap();
    site.until(&operator, Phase::Filling).await;
    let meddled = Meddled { view: "ledgers".into(), operator: site.rebuilder(SMALL) };
    let (store, ports) = (site.stage.store.clone(), site.stage.world.ports());
    let slow = Rebuilder::new(Arc::new(meddled), site.registry.clone(), store, ports, SMALL);
    assert_eq!(slow.segment(0).await, Ok(SegmentDone::Yes));
    let job = site.job().await;
    assert_eq!((job.phase, job.stopped), (Phase::Cancelling, None));
    assert_eq!(site.drive(&operator).await, Next::Over(Phase::Cancelled));
    site.is_whole(ids).await;
}

#[tokio::test]
async fn what_a_gap_brings_into_one_generation_is_in_the_other_when_that_takes_over() {
    for single in [true, false] {
        let site = Site::memory();
        let rebuilder = site.rebuilder(SMALL);
        rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
        site.until(&rebuilder, Phase::Filling).await;
        let events = [vec![opened("o", "1")], (1..8).map(noted).collect()].concat();
        let events = site.stage.commit("s00", events).await;
        let function = site.function();
        assert!(function.deliver_batch(&events[..3]).await.failed.is_empty());
        // The scan brings the new one further than the bus has brought the live one.
        let world = &site.stage.world;
        let scanned = Projector::new(site.even.store(), site.stage.store.clone(), world.ports());
        assert!(scanned.deliver_batch(&events[..6]).await.failed.is_empty());
        // The live one lacks some, and is read to the end; the new one does not.
        if single {
            function.deliver(&events[6]).await.unwrap();
        } else {
            assert!(function.deliver_batch(&events[6..7]).await.failed.is_empty());
        }
        for rows in [&site.odd, &site.even] {
            let stored = rows.store().get("s00", Consistency::Strong).await.unwrap().unwrap();
            assert_eq!(stored.stamp.applied.get(), 8);
        }
    }
}

/// A table that takes no rows.
struct Full(Arc<dyn ViewStore<Ledgers>>);

#[async_trait]
impl ViewStore<Ledgers> for Full {
    async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<Ledger>>, ViewError> {
        self.0.get(id, consistency).await
    }

    async fn put(&self, _: &str, _: Option<&Ledger>, _: Option<Stamp>, _: Version) -> Result<Put, ViewError> {
        Err(Unreliable::lost())
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<Ledger>, ViewError> {
        self.0.list(list).await
    }
}

#[tokio::test]
async fn what_the_next_generation_did_not_take_is_not_shown_before_that_takes_over() {
    for single in [true, false] {
        let site = Site::memory();
        let rebuilder = site.rebuilder(SMALL);
        rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
        site.until(&rebuilder, Phase::Filling).await;
        let events = site.stage.commit("s00", vec![opened("o", "1"), noted(1)]).await;
        let healthy = site.function();
        assert!(healthy.deliver_batch(&events[..1]).await.failed.is_empty());
        let throttled = site.function_over(site.odd.store(), Arc::new(Full(site.even.store())));
        if single {
            throttled.deliver(&events[1]).await.unwrap_err();
        } else {
            let failed = throttled.deliver_batch(&events[1..]).await.failed;
            assert_eq!(failed.iter().map(|failed| failed.index).collect::<Vec<_>>(), [0]);
        }
        let shown = healthy.read("s00", None).await.unwrap().unwrap();
        assert_eq!(shown.applied, Version::FIRST, "the next generation stands there");
        // Whoever asks for it gets it, and it is left to the queue to bring it in.
        let asked = throttled.read("s00", Some(Version::new(2))).await.unwrap().unwrap();
        assert_eq!(asked.applied, Version::new(2));
        assert_eq!(healthy.read("s00", None).await.unwrap().unwrap().applied, Version::FIRST);
        assert!(healthy.deliver_batch(&events[1..]).await.failed.is_empty());
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
        site.is_whole(["s00".to_owned()]).await;
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_read_stops_the_rebuilds_and_comparisons_of_its_own_view_only() {
    let site = Site::dynamo().await;
    let ids = site.history(6).await;
    let client = site.stage.dynamo.as_ref().unwrap().client();
    let damage = async |stream: &str, version: u64| {
        let text = |s: &str| AttributeValue::S(s.into());
        let put = client.put_item().table_name(EVENTS).item("stream", text(stream));
        let put = put.item("version", AttributeValue::N(version.to_string())).item("events", text("{"));
        put.send().await.unwrap();
    };
    damage("other.Thing/1", 1).await;
    let rebuilder = site.rebuilder(SMALL);
    for task in [Task::RebuildAndVerify, Task::Verify] {
        rebuilder.begin(&order(task)).await.unwrap();
        assert_eq!(site.drive(&rebuilder).await, Next::Over(Phase::Done));
        assert_eq!(site.job().await.differences, 0, "{:?}", site.job().await.examples);
    }
    site.is_whole(ids).await;

    damage("test.Ledger/s99", 1).await;
    rebuilder.begin(&order(Task::Verify)).await.unwrap();
    site.drive(&rebuilder).await;
    let job = site.job().await;
    assert_eq!((job.differences, job.examples.len()), (1, 1), "{:?}", job.examples);
    assert!(job.examples[0].contains("test.Ledger/s99"), "{:?}", job.examples);
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    let Next::Stopped(why) = site.drive(&rebuilder).await else { panic!("it did not stop") };
    assert!(why.contains("test.Ledger/s99"), "{why}");
}

// ---- everything at once

/// A mall at work, as its shoppers see it.
struct Mall {
    site: Site,
    /// Those that feed the rows, and those that read them.
    feeders: Vec<Projector<Ledgers>>,
    readers: Vec<Projector<Ledgers>>,
    /// Of a write that does not come to the rows.
    lossy: Arc<Mutex<(Seeded, f64)>>,
    random: Seeded,
    /// On its way over the bus.
    transit: Vec<Envelope>,
    /// Last version of each stream.
    committed: BTreeMap<String, u64>,
    /// The newest that a query showed of each.
    shown: BTreeMap<String, u64>,
}

impl Mall {
    fn open(seed: u64, unreliable: f64) -> Self {
        let site = Site::memory();
        *site.registry.chance.lock().unwrap() = (Seeded::new(seed), unreliable);
        let lossy = Arc::new(Mutex::new((Seeded::new(seed ^ 0x1055), unreliable)));
        let rows = |rows: &Rows| Arc::new(Lossy { inner: rows.store(), chance: lossy.clone() });
        let feeders = (0..4).map(|_| site.function_over(rows(&site.odd), rows(&site.even))).collect();
        let readers = (0..4).map(|_| site.function()).collect();
        let (random, transit) = (Seeded::new(seed ^ 0x5eed), Vec::new());
        let (committed, shown) = (BTreeMap::new(), BTreeMap::new());
        Self { site, feeders, readers, lossy, random, transit, committed, shown }
    }

    fn feeder(&mut self) -> Projector<Ledgers> {
        self.feeders[self.random.below(self.feeders.len())].clone()
    }

    fn reader(&mut self) -> Projector<Ledgers> {
        self.readers[self.random.below(self.readers.len())].clone()
    }

    async fn commit(&mut self) {
        let id = format!("s{}", self.random.below(9));
        let events: Vec<RawEvent> = if self.committed.contains_key(&id) {
            (0..=self.random.below(3)).map(|_| noted(self.random.below(1000) as u64)).collect()
        } else {
            vec![opened("o", "1")]
        };
        let envelopes = self.site.stage.commit(&id, events).await;
        let last = envelopes.last().unwrap().version.get();
        self.committed.insert(id, last);
        self.transit.extend(envelopes);
    }

    /// Some of what is on its way arrives, in any order, perhaps not for the last time.
    async fn deliver(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..=self.random.below(5) {
            if self.transit.is_empty() {
                break;
            }
            let chosen = self.random.below(self.transit.len());
            let envelope = self.transit.swap_remove(chosen);
            if self.random.chance(0.3) {
                self.transit.push(envelope.clone());
            }
            batch.push(envelope);
        }
        let outcome = self.feeder().deliver_batch(&batch).await;
        // What failed comes again.
        self.transit.extend(outcome.failed.iter().map(|failed| batch[failed.index].clone()));
    }

    async fn query(&mut self) {
        let Some(id) = self.committed.keys().nth(self.random.below(9)).cloned() else { return };
        let newest = self.committed[&id];
        let minimum = self.random.chance(0.5).then(|| 1 + self.random.below(newest as usize) as u64);
        let found = match self.reader().read(&id, minimum.map(Version::new)).await {
            Ok(found) => found,
            // The registry was out of reach.
            Err(projection::ReadError::View(ViewError::Unavailable { .. })) => return,
            Err(error) => panic!("{id}, at least {minimum:?}: {error}"),
        };
        let shown = self.shown.get(&id).copied();
        let Some(found) = found else {
            assert_eq!((minimum, shown), (None, None), "{id} is missing");
            return;
        };
        let version = found.applied.get();
        assert!(minimum.is_none_or(|minimum| version >= minimum), "{id} is older than was asked for");
        assert!(shown.is_none_or(|shown| version >= shown), "{id} went back from {shown:?} to {version}");
        let events = self.site.stage.store.events_after(&crate::stage::stream(&id), Version::NONE).await;
        let events = events.unwrap();
        let then = events.iter().filter(|event| event.version <= found.applied);
        assert_eq!(Some(found.row), crate::stage::fold(then), "{id} at {version}");
        self.shown.insert(id, version);
    }

    async fn operate(&mut self) {
        let rebuilder = self.site.rebuilder(SMALL);
        let segments = 1 + self.random.below(3) as u32;
        // Whatever fails is a worker that died.
        match self.random.below(24) {
            0 | 1 => {
                let task = if self.random.chance(0.5) { Task::Rebuild } else { Task::RebuildAndVerify };
                let _ = rebuilder.begin(&Order { task, segments, rate: None }).await;
            }
            2 if self.random.chance(0.3) => {
                let _ = rebuilder.cancel().await;
            }
            2..12 => {
                let _ = rebuilder.advance().await;
            }
            _ => {
                let _ = rebuilder.segment(self.random.below(3) as u32).await;
            }
        }
    }

    /// Everything arrives at last, and whatever was begun ends.
    async fn close(mut self) {
        self.site.registry.chance.lock().unwrap().1 = 0.0;
        self.lossy.lock().unwrap().1 = 0.0;
        while !self.transit.is_empty() {
            self.deliver().await;
        }
        let rebuilder = self.site.rebuilder(SMALL);
        match self.site.drive(&rebuilder).await {
            Next::Over(_) => {}
            other => panic!("{other:?}"),
        }
        let ids: Vec<String> = self.committed.keys().cloned().collect();
        self.site.is_whole(ids.clone()).await;
        for id in ids {
            let found = self.reader().read(&id, None).await.unwrap();
            assert_eq!(found.map(|found| found.applied.get()), self.committed.get(&id).copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_around_a_rebuild_no_query_sees_it_and_the_rows_are_the_fold(
        seed in any::<u64>(),
        steps in 50usize..400,
        unreliable in prop_oneof![Just(0.0), 0.0..0.2f64],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut mall = Mall::open(seed, unreliable);
            for _ in 0..steps {
                match mall.random.below(20) {
                    0..3 => mall.commit().await,
                    3..6 => mall.deliver().await,
                    6..9 => mall.query().await,
                    9..17 => mall.operate().await,
                    _ => {
                        let pause = Duration::from_millis(mall.random.below(6000) as u64);
                        mall.site.stage.world.advance(pause);
                    }
                }
            }
            mall.close().await;
        });
    }
}
