//! A view is swept while the bus does its worst, workers die and operators change their minds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use contracts::Envelope;
use event_store::{
    AppendError, CommitLog, EventStore, MemoryLog, NewCommit, Page, ScanPage, Segment, StoreError,
};
use kernel::{RawEvent, StreamId, Version};
use projection::{
    ApplyError, At, Consistency, Content, DynamoProgress, DynamoViews, Index, Limits, List, ListRequest,
    Listed, MemoryProgress, MemoryViews, Order, Progress, ProjectedView, Projection, Projector, Put, Record,
    Report, Slice, Stamp, Stored, Sweep, SweepError, SweepState, Sweeper, Sweeping, ViewError, ViewStore,
    ViewTable, create_progress, create_table, stop_sweep,
};
use proptest::prelude::*;
use serde_json::json;
use testing::{EmbeddedDynamo, Seeded};

use crate::stage::{EVENTS, Ledger, Ledgers, Stage, TABLE, apply_ledger, noted, opened, raw, stream};

/// One page at a time, recorded after each.
const SMALL: Limits = Limits { budget: Duration::ZERO, checkpoint: Duration::ZERO, page: 10, streams: 4 };

fn order(only_compare: bool) -> Order {
    Order { only_compare, parts: 3, rate: None }
}

/// A store of rows that is a table, too.
trait Table: ViewStore<Ledgers> + ViewTable {}

impl<T: ViewStore<Ledgers> + ViewTable> Table for T {}

/// A view, its rows, and the progress of its sweeps.
struct Site {
    stage: Stage,
    table: Arc<dyn Table>,
    progress: Arc<dyn Progress>,
}

impl Site {
    fn memory() -> Self {
        let stage = Stage::memory();
        let table = Arc::new(stage.memory.clone().unwrap());
        Self { stage, table, progress: Arc::new(MemoryProgress::default()) }
    }

    async fn dynamo() -> Self {
        let stage = Stage::dynamo().await;
        let client = stage.dynamo.as_ref().unwrap().client();
        create_progress(&client, "sweeps").await.unwrap();
        let table = Arc::new(DynamoViews::new(client.clone(), TABLE));
        Self { stage, table, progress: Arc::new(DynamoProgress::new(client, "sweeps")) }
    }

    async fn both() -> [Self; 2] {
        [Self::memory(), Self::dynamo().await]
    }

    fn sweeper_of<P: Projection, T: ViewStore<P> + ViewTable + 'static>(
        &self,
        table: T,
        limits: Limits,
    ) -> Box<dyn Sweeping> {
        let (store, ports) = (self.stage.store.clone(), self.stage.world.ports());
        let view = ProjectedView::<P>::new("ledgers", table, store.clone(), ports.clone());
        Box::new(Sweeper::new(view, self.progress.clone(), store, ports, limits))
    }

    fn sweeper(&self, limits: Limits) -> Box<dyn Sweeping> {
        match (&self.stage.memory, &self.stage.dynamo) {
            (Some(rows), _) => self.sweeper_of::<Ledgers, _>(rows.clone(), limits),
            (None, Some(dynamo)) => {
                self.sweeper_of::<Ledgers, _>(DynamoViews::new(dynamo.client(), TABLE), limits)
            }
            (None, None) => unreachable!("a stage has rows"),
        }
    }

    async fn state(&self) -> SweepState {
        SweepState::of(&*self.progress, "ledgers").await.unwrap().unwrap()
    }

    /// Sweeps to the end, as the state machine does.
    async fn sweep(&self, sweeper: &dyn Sweeping, order: &Order) -> Report {
        let parts = sweeper.begin(order).await.unwrap().parts;
        for part in 0..parts {
            while sweeper.slice(part).await.unwrap() == Slice::More {}
        }
        let state = self.state().await;
        assert!(state.is_over(), "{state:?}");
        state.report()
    }

    async fn rows(&self) -> BTreeMap<String, (Ledger, u64)> {
        let mut found = BTreeMap::new();
        for key in self.table.keys(Segment::WHOLE, None, None).await.unwrap().keys {
            let stored = self.table.get(&key.id, Consistency::Strong).await.unwrap().unwrap();
            if let Content::Row(row) = stored.content {
                found.insert(key.id, (row, stored.stamp.applied.get()));
            }
        }
        found
    }

    async fn is_whole(&self, ids: &[String]) {
        let mut folded = BTreeMap::new();
        for id in ids {
            folded.extend(self.stage.folded(id).await.map(|row| (id.clone(), row)));
        }
        assert_eq!(self.rows().await, folded, "{}", self.stage.name);
    }

    /// Some streams, delivered.
    async fn history(&self, streams: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..streams {
            let id = format!("s{n:02}");
            let mut events = self.stage.commit(&id, vec![opened("o", &format!("{n:04}"))]).await;
            for m in 0..n as u64 % 5 {
                events.extend(self.stage.commit(&id, vec![noted(m), raw("Printed", json!({}))]).await);
            }
            let outcome = self.stage.projector.deliver_batch(&events).await;
            assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
            ids.push(id);
        }
        ids
    }

    /// Makes rows wrong in every way there is, behind the projector's back.
    async fn damage(&self) -> u64 {
        let stamp = async |id: &str| self.table.get(id, Consistency::Strong).await.unwrap().unwrap().stamp;
        let row = async |id: &str| self.stage.folded(id).await.unwrap().0;
        // Another content.
        let wrong = Ledger { entries: 99, ..row("s04").await };
        let before = stamp("s04").await;
        self.table.put("s04", Some(&wrong), Some(before), before.applied).await.unwrap();
        // Emptied.
        let before = stamp("s09").await;
        self.table.put("s09", None, Some(before), before.applied).await.unwrap();
        // Ahead of its stream, which a restore has shortened.
        let before = stamp("s03").await;
        self.table.put("s03", Some(&row("s03").await), Some(before), Version::new(99)).await.unwrap();
        // Without a stream.
        let stray = Ledger { id: "stray".into(), ..row("s03").await };
        self.table.put("stray", Some(&stray), None, Version::new(4)).await.unwrap();
        // Missing.
        self.lose("s05").await;
        // Behind: its last event was lost.
        self.stage.commit("s06", vec![noted(5)]).await;
        6
    }

    async fn lose(&self, id: &str) {
        for key in self.table.keys(Segment::WHOLE, None, None).await.unwrap().keys {
            if key.id == id {
                assert_eq!(self.table.remove(&key).await.unwrap(), Put::Written);
            }
        }
    }
}

#[tokio::test]
async fn every_way_in_which_a_row_can_be_wrong_is_found_and_put_right_once() {
    for site in Site::both().await {
        let ids = site.history(12).await;
        let sweeper = site.sweeper(SMALL);
        assert_eq!(site.sweep(&*sweeper, &order(true)).await, Report::default(), "nothing is wrong yet");

        let damaged = site.damage().await;
        // An event that changes no row is not sent to the view.
        site.stage.commit("s01", vec![raw("Printed", json!({}))]).await;
        site.stage.world.advance(Duration::from_secs(601));
        // An event that may be on its way is no difference; the sweep brings it all the same.
        site.stage.commit("s00", vec![noted(1)]).await;
        for (only_compare, differences, written) in
            [(true, damaged, 0), (false, damaged, damaged + 1), (false, 0, 0), (true, 0, 0)]
        {
            let report = site.sweep(&*sweeper, &order(only_compare)).await;
            let counted = (report.differences, report.written, report.left);
            assert_eq!(counted, (differences, written, 0), "{}: {:#?}", site.stage.name, report.examples);
            assert_eq!(report.examples.len() as u64, differences);
        }
        assert!(site.stage.projector.read("s01", Some(Version::new(4))).await.unwrap().is_some());
        site.is_whole(&ids).await;
    }
}

/// Code that cannot apply an event that other code could.
struct Broken;

impl Projection for Broken {
    const NAME: &'static str = Ledgers::NAME;
    const SCHEMA: u16 = Ledgers::SCHEMA;
    const CATEGORY: &'static str = Ledgers::CATEGORY;
    const IRRELEVANT: &'static [&'static str] = Ledgers::IRRELEVANT;
    type Row = Ledger;

    fn apply(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
        if event.stream.id() == "s07" && event.version == Version::new(4) {
            return Err(ApplyError::without_row(event));
        }
        apply_ledger(row, event)
    }
}

#[tokio::test]
async fn an_event_and_a_row_that_cannot_be_helped_are_named_and_keep_no_other_row_from_being_put_right() {
    let site = Site::dynamo().await;
    let ids = site.history(12).await;
    for lost in ["s05", "s07"] {
        site.lose(lost).await;
    }
    // Deflated, the event fits into an item of 400 KB; the row of it does not.
    site.stage.commit("s08", vec![raw("Noted", json!({ "n": 1, "text": "x".repeat(500_000) }))]).await;
    site.stage.world.advance(Duration::from_secs(601));
    let rows = DynamoViews::<Broken>::new(site.stage.dynamo.as_ref().unwrap().client(), TABLE);
    let sweeper = site.sweeper_of::<Broken, _>(rows, SMALL);
    for written in [2, 0] {
        let report = site.sweep(&*sweeper, &order(false)).await;
        assert_eq!((report.left, report.written), (2, written), "{:#?}", report.examples);
        let named = |what: &str| report.examples.iter().take(2).any(|example| example.contains(what));
        assert!(named("test.Ledger/s07 version 4"), "{:#?}", report.examples);
        assert!(named("PutItem"), "{:#?}", report.examples);
    }
    // The row reaches up to the event that cannot be applied, as if its events had come over the bus.
    assert_eq!(site.rows().await["s07"].1, 3);
    // Mended code goes on from there.
    let report = site.sweep(&*site.sweeper(SMALL), &order(false)).await;
    assert_eq!((report.left, report.written), (1, 1), "{:#?}", report.examples);
    let others: Vec<String> = ids.into_iter().filter(|id| id != "s08").collect();
    site.lose("s08").await;
    site.is_whole(&others).await;
}

/// The same rows as newer code makes them.
struct Newer;

impl Projection for Newer {
    const NAME: &'static str = Ledgers::NAME;
    const SCHEMA: u16 = Ledgers::SCHEMA + 1;
    const CATEGORY: &'static str = Ledgers::CATEGORY;
    const IRRELEVANT: &'static [&'static str] = Ledgers::IRRELEVANT;
    type Row = Ledger;

    fn apply(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
        let row = apply_ledger(row, event)?;
        Ok(Ledger { note: Some(format!("{} entries", row.entries)), ..row })
    }
}

#[tokio::test]
async fn rows_of_an_older_schema_are_replaced_in_place_and_older_code_leaves_those_of_a_newer_one() {
    let site = Site::memory();
    let ids = site.history(12).await;
    let rows = site.stage.memory.clone().unwrap().seen_by::<Newer>();
    let newer = site.sweeper_of::<Newer, _>(rows.clone(), SMALL);
    let report = site.sweep(&*newer, &order(false)).await;
    assert_eq!((report.differences, report.written, report.left), (12, 12, 0));
    for id in &ids {
        let stored = rows.get(id, Consistency::Strong).await.unwrap().unwrap();
        let Content::Row(row) = stored.content else { panic!("{id}: {stored:?}") };
        let (folded, applied) = site.stage.folded(id).await.unwrap();
        assert_eq!(stored.stamp.applied.get(), applied);
        assert_eq!(row.note, Some(format!("{} entries", folded.entries)));
    }
    let older = site.sweeper(SMALL);
    let report = site.sweep(&*older, &order(false)).await;
    assert_eq!((report.written, report.left), (0, 12));
    assert!(report.examples[0].contains("newer code"), "{:?}", report.examples);
    // And what they show meanwhile is what the events say.
    let shown = site.stage.projector.read("s04", None).await.unwrap().unwrap();
    assert_eq!(Some((shown.row, shown.applied.get())), site.stage.folded("s04").await);
}

/// Newer rows, of which older ones can be shown without their events.
struct Upcast;

impl Projection for Upcast {
    const NAME: &'static str = Newer::NAME;
    const SCHEMA: u16 = Newer::SCHEMA;
    const CATEGORY: &'static str = Newer::CATEGORY;
    const IRRELEVANT: &'static [&'static str] = Newer::IRRELEVANT;
    type Row = Ledger;

    fn apply(row: Option<Ledger>, event: &Envelope) -> Result<Ledger, ApplyError> {
        Newer::apply(row, event)
    }

    fn upcast(schema: u16, fields: serde_json::Value) -> Option<Ledger> {
        let row: Ledger = serde_json::from_value(fields).ok().filter(|_| schema == Ledgers::SCHEMA)?;
        Some(Ledger { note: Some("upcast".to_owned()), ..row })
    }
}

#[tokio::test]
async fn an_outdated_row_of_a_long_stream_is_shown_without_its_events_and_waits_for_the_sweep() {
    for site in Site::both().await {
        let many = (0..1_000).map(noted).collect();
        let mut events = site.stage.commit("long", vec![opened("o", "1")]).await;
        events.extend(site.stage.commit("long", many).await);
        events.extend(site.stage.commit("short", vec![opened("o", "2")]).await);
        assert!(site.stage.projector.deliver_batch(&events).await.failed.is_empty());
        let (views, sweeper): (Arc<dyn ViewStore<Upcast>>, _) = match (&site.stage.memory, &site.stage.dynamo)
        {
            (Some(rows), _) => {
                let rows = rows.seen_by::<Upcast>();
                (Arc::new(rows.clone()), site.sweeper_of::<Upcast, _>(rows, SMALL))
            }
            (None, Some(dynamo)) => {
                let rows = DynamoViews::<Upcast>::new(dynamo.client(), TABLE);
                (Arc::new(rows.clone()), site.sweeper_of::<Upcast, _>(rows, SMALL))
            }
            (None, None) => unreachable!("a stage has rows"),
        };
        let projector = site.stage.projector_of::<Upcast>(views.clone());
        let shown = projector.read("long", None).await.unwrap().unwrap();
        assert_eq!((shown.row.note.as_deref(), shown.applied.get()), (Some("upcast"), 1_001));
        let shown = projector.read("short", None).await.unwrap().unwrap();
        assert_eq!(shown.row.note.as_deref(), Some("0 entries"), "a short one is folded");
        // A newer event is shown to whoever asks for it, and goes back to the queue.
        let next = site.stage.commit("long", vec![noted(1)]).await;
        let shown = projector.read("long", Some(Version::new(1_002))).await.unwrap().unwrap();
        assert_eq!((shown.row.entries, shown.applied.get()), (1_001, 1_002));
        let failed = projector.deliver(&next[0]).await.unwrap_err();
        assert!(failed.may_pass(), "{failed}");
        let stored = views.get("long", Consistency::Strong).await.unwrap().unwrap();
        assert_eq!((stored.stamp.schema, stored.stamp.applied.get()), (Ledgers::SCHEMA, 1_001));
        assert_eq!(site.sweep(&*sweeper, &order(false)).await.left, 0);
        projector.deliver(&next[0]).await.unwrap();
        let shown = projector.read("long", None).await.unwrap().unwrap();
        assert_eq!((shown.row.note.as_deref(), shown.applied.get()), (Some("1001 entries"), 1_002));
    }
}

#[tokio::test]
async fn a_sweep_that_newer_code_takes_over_begins_anew_and_older_code_leaves_it_alone() {
    let site = Site::memory();
    site.history(12).await;
    let older = site.sweeper(SMALL);
    let began = older.begin(&order(false)).await.unwrap();
    older.slice(0).await.unwrap();
    let rows = site.stage.memory.clone().unwrap().seen_by::<Newer>();
    let newer = site.sweeper_of::<Newer, _>(rows, SMALL);
    assert!(matches!(newer.slice(1).await, Err(SweepError::Broken(_))));
    assert!(site.state().await.sweep.stopped.is_some());
    let anew = newer.begin(&order(false)).await.unwrap();
    assert!(anew.id != began.id && anew.stopped.is_none());
    assert!(matches!(older.slice(0).await, Err(SweepError::Passing(_))));
    assert_eq!(site.sweep(&*newer, &order(false)).await.left, 0);
}

#[tokio::test]
async fn a_sweep_that_was_stopped_goes_on_where_it_was_and_at_the_rate_asked_for_now() {
    for site in Site::both().await {
        let ids = site.history(40).await;
        site.lose("s05").await;
        let (ports, sweeper) = (site.stage.world.ports(), site.sweeper(SMALL));
        let began = sweeper.begin(&order(false)).await.unwrap();
        assert_eq!(sweeper.slice(0).await.unwrap(), Slice::More);
        let before = site.state().await;
        assert!(matches!(before.parts[0].at, At::Commit { .. }), "{before:?}");
        assert!(stop_sweep(&*site.progress, &ports, "ledgers", "enough").await.unwrap());
        assert!(!stop_sweep(&*site.progress, &ports, "ledgers", "enough").await.unwrap());
        assert_eq!(sweeper.slice(0).await.unwrap(), Slice::Over);
        assert_eq!(site.state().await.parts, before.parts, "a stopped sweep does nothing");
        site.stage.world.advance(Duration::from_secs(60));
        let paced = Order { rate: Some(3000), ..order(false) };
        let again = sweeper.begin(&paced).await.unwrap();
        assert_eq!(again, Sweep { rate: Some(3000), ..began });
        let report = site.sweep(&*sweeper, &paced).await;
        let state = site.state().await;
        // Every row was compared once: nothing was done twice.
        assert_eq!((state.rows(), report.written), (40, 1), "{}", site.stage.name);
        site.is_whole(&ids).await;
        // It is over, so the next one is another.
        assert_ne!(sweeper.begin(&order(false)).await.unwrap().id, began.id);
    }
}

#[tokio::test]
async fn a_rate_is_kept_also_inside_a_long_stream() {
    let site = Site::memory();
    site.history(30).await;
    for _ in 0..60 {
        site.stage.commit("s03", vec![noted(1)]).await;
    }
    let sweeper = site.sweeper(Limits::FUNCTION);
    let paced = Order { rate: Some(6), ..order(false) };
    let report = site.sweep(&*sweeper, &paced).await;
    assert_eq!(report.left, 0, "{:?}", report.examples);
    let slept: Duration = site.stage.world.slept().iter().sum();
    let events = site.state().await.events();
    // Two a second for each of three parts, which a test does one after the other.
    let least = (events as f64 + 30.0) / 2.0;
    assert!(slept.as_secs_f64() >= least * 0.8, "{slept:?} for {events} events and 30 rows");
    assert_eq!(sweeper.begin(&Order { rate: Some(2), ..paced }).await, Err(SweepError::Order));
    assert_eq!(sweeper.begin(&Order { parts: 0, ..order(false) }).await, Err(SweepError::Order));
}

#[tokio::test]
async fn a_stream_that_is_too_long_for_a_slice_is_named_and_holds_up_nothing() {
    let site = Site::memory();
    let ids = site.history(12).await;
    for _ in 0..60 {
        let events = site.stage.commit("s03", vec![noted(1)]).await;
        site.stage.projector.deliver_batch(&events).await;
    }
    site.lose("s05").await;
    let sweeper = site.sweeper(SMALL);
    let report = site.sweep(&*sweeper, &order(false)).await;
    assert_eq!((report.left, report.written), (1, 1), "{:?}", report.examples);
    assert!(report.examples[0].contains("test.Ledger/s03 cannot be folded within"), "{:?}", report.examples);
    site.is_whole(&ids).await;
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_named_once_and_only_in_the_sweeps_of_its_own_view() {
    let site = Site::dynamo().await;
    let ids = site.history(6).await;
    let client = site.stage.dynamo.as_ref().unwrap().client();
    let damage = async |stream: &str, version: u64| {
        let text = |s: &str| AttributeValue::S(s.into());
        let put = client.put_item().table_name(EVENTS).item("stream", text(stream));
        let put = put.item("version", AttributeValue::N(version.to_string())).item("events", text("{"));
        put.send().await.unwrap();
    };
    let sweeper = site.sweeper(SMALL);
    damage("other.Thing/1", 1).await;
    assert_eq!(site.sweep(&*sweeper, &order(false)).await, Report::default());
    for (stream, version) in [("test.Ledger/s99", 1), ("test.Ledger/s04", 10), ("test.Ledger/s03", 2)] {
        damage(stream, version).await;
    }
    site.lose("s02").await;
    let report = site.sweep(&*sweeper, &order(false)).await;
    assert_eq!((report.left, report.written), (3, 1), "{:#?}", report.examples);
    for stream in ["test.Ledger/s99", "test.Ledger/s04", "test.Ledger/s03"] {
        assert!(report.examples.iter().any(|e| e.contains(stream)), "{stream}: {:#?}", report.examples);
    }
    assert_eq!(site.rows().await.len(), ids.len());
}

/// A log whose scans show commits in another order than streams have them, or only some of them.
struct Jumbled(MemoryLog);

#[async_trait]
impl CommitLog for Jumbled {
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError> {
        self.0.append(commit).await
    }

    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError> {
        self.0.newest(stream, upto, limit).await
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        let mut page = self.0.scan(segment, after, limit).await?;
        page.commits.reverse();
        Ok(page)
    }
}

#[tokio::test]
async fn a_stream_that_the_scan_does_not_show_in_one_piece_is_queried() {
    let site = Site::memory();
    let log = MemoryLog::new();
    let (ordered, jumbled) = (
        EventStore::new(Arc::new(log.clone()), site.stage.world.ports()),
        EventStore::new(Arc::new(Jumbled(log)), site.stage.world.ports()),
    );
    let meta = site.stage.world.command("test");
    let rows = MemoryViews::<Ledgers>::new();
    for n in 0..9 {
        let id = format!("s{n}");
        let event = crate::stage::LedgerEvent::Opened(
            serde_json::from_value(json!({"owner": "o", "at": "1"})).unwrap(),
        );
        testing::tell(&ordered, &stream(&id), &event, &meta).await;
        for m in 0..n {
            let noted = serde_json::from_value(json!({"n": m, "text": null})).unwrap();
            let meta = site.stage.world.command("test");
            testing::tell(&ordered, &stream(&id), &crate::stage::LedgerEvent::Noted(noted), &meta).await;
        }
    }
    let view =
        ProjectedView::<Ledgers>::new("ledgers", rows.clone(), jumbled.clone(), site.stage.world.ports());
    let ports = site.stage.world.ports();
    let sweeper = Sweeper::new(view, site.progress.clone(), jumbled, ports, Limits::FUNCTION);
    let report = site.sweep(&sweeper, &order(false)).await;
    assert_eq!((report.left, report.written), (0, 9), "{:?}", report.examples);
    for n in 0..9u32 {
        let stored = rows.get(&format!("s{n}"), Consistency::Strong).await.unwrap().unwrap();
        let Content::Row(row) = stored.content else { panic!("{stored:?}") };
        assert_eq!(row.entries, n);
    }
}

// ---- another index is another view

/// The ledgers, listed by their states.
struct LedgersByState;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LedgerOfState {
    id: String,
    state: String,
    opened_at: String,
    entries: u32,
}

const BY_STATE: Index = Index::new("by-state", "state", "openedAt");

impl Projection for LedgersByState {
    const NAME: &'static str = "ledgers-2";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = Ledgers::CATEGORY;
    const IRRELEVANT: &'static [&'static str] = Ledgers::IRRELEVANT;
    type Row = LedgerOfState;

    fn apply(row: Option<LedgerOfState>, event: &Envelope) -> Result<LedgerOfState, ApplyError> {
        let before = row.map(|row| Ledger {
            closed: row.state == "closed",
            opened_at: row.opened_at,
            entries: row.entries,
            ..Ledger::default()
        });
        let Ledger { opened_at, entries, closed, .. } = apply_ledger(before, event)?;
        let state = if closed { "closed" } else { "open" }.to_owned();
        Ok(LedgerOfState { id: event.stream.id().to_owned(), state, opened_at, entries })
    }
}

/// How an index is added (docs/OPERATIONS.md, "Another index"): the new view is deployed and fed beside the
/// old one, then swept, and the next deployment reads it. Meanwhile the old one answers as before.
#[tokio::test]
async fn another_index_is_a_new_view_that_is_swept_beside_the_old_one_and_then_read() {
    let site = Site::dynamo().await;
    let ids = site.history(30).await;
    let client = site.stage.dynamo.as_ref().unwrap().client();
    create_table::<LedgersByState>(&client, "ledgers-2", &[BY_STATE]).await.unwrap();
    let table = DynamoViews::<LedgersByState>::new(client, "ledgers-2");
    let new = site.stage.projector_of::<LedgersByState>(Arc::new(table.clone()));
    let view = ProjectedView::<LedgersByState>::new(
        "ledgers-2",
        table,
        site.stage.store.clone(),
        site.stage.world.ports(),
    );
    let (store, ports) = (site.stage.store.clone(), site.stage.world.ports());
    let sweeper = Sweeper::new(view, site.progress.clone(), store, ports, SMALL);
    let listed = async |state: &str| {
        let request =
            ListRequest { partition: state.into(), descending: false, cursor: None, limit: Some(100) };
        new.list(&BY_STATE, &request).await.unwrap().rows
    };
    let parts = sweeper.begin(&order(false)).await.unwrap().parts;
    for part in 0..parts {
        while sweeper.slice(part).await.unwrap() == Slice::More {
            // Both are fed while the new one is swept.
            for id in ["s03", "s17"] {
                let events = site.stage.commit(id, vec![noted(2)]).await;
                site.stage.projector.deliver_batch(&events).await;
                assert!(new.deliver_batch(&events).await.failed.is_empty());
                assert_eq!(site.stage.row(id).await, site.stage.folded(id).await);
            }
        }
    }
    let events = site.stage.commit("s17", vec![crate::stage::closed()]).await;
    new.deliver_batch(&events).await;
    let (open, closed) = (listed("open").await, listed("closed").await);
    assert_eq!((open.len(), closed.len()), (ids.len() - 1, 1));
    for row in open.iter().chain(&closed) {
        let (ledger, _) = site.stage.folded(&row.id).await.unwrap();
        assert_eq!((row.entries, &row.opened_at), (ledger.entries, &ledger.opened_at));
    }
}

// ---- progress

#[tokio::test]
async fn a_record_is_written_only_over_exactly_what_was_read() {
    let dynamo = EmbeddedDynamo::start().await;
    create_progress(&dynamo.client(), "sweeps").await.unwrap();
    let stored: [Box<dyn Progress>; 2] =
        [Box::new(MemoryProgress::default()), Box::new(DynamoProgress::new(dynamo.client(), "sweeps"))];
    for progress in stored {
        let record = |revision| Record { revision, body: json!({"at": {"row": {"id": "b"}}, "rate": null}) };
        assert_eq!(progress.get("orders").await.unwrap(), None);
        assert_eq!(progress.put("orders", &record(1)).await.unwrap(), Put::Conflict);
        assert_eq!(progress.put("orders", &record(0)).await.unwrap(), Put::Written);
        assert_eq!(progress.put("orders", &record(0)).await.unwrap(), Put::Conflict);
        assert_eq!(progress.get("orders").await.unwrap(), Some(record(1)));
        assert_eq!(progress.put("orders", &record(1)).await.unwrap(), Put::Written);
        assert_eq!(progress.get("orders").await.unwrap(), Some(record(2)));
        assert_eq!(progress.get("orders#0").await.unwrap(), None);
    }
}

// ---- everything at once

/// Something that is out of reach now and then, or does what it is told and does not say so.
#[derive(Clone)]
struct Luck(Arc<Mutex<(Seeded, f64)>>);

impl Luck {
    fn new(seed: u64, chance: f64) -> Self {
        Self(Arc::new(Mutex::new((Seeded::new(seed), chance))))
    }

    fn is_bad(&self) -> bool {
        let (seeded, chance) = &mut *self.0.lock().unwrap();
        seeded.chance(*chance)
    }

    fn lost() -> ViewError {
        ViewError::Unavailable { view: "views", operation: "PutItem", why: "lost".into() }
    }
}

struct Lossy<T> {
    inner: T,
    luck: Luck,
}

#[async_trait]
impl Progress for Lossy<MemoryProgress> {
    async fn get(&self, key: &str) -> Result<Option<Record>, ViewError> {
        if self.luck.is_bad() { Err(Luck::lost()) } else { self.inner.get(key).await }
    }

    async fn put(&self, key: &str, record: &Record) -> Result<Put, ViewError> {
        if self.luck.is_bad() {
            return Err(Luck::lost());
        }
        let put = self.inner.put(key, record).await;
        if self.luck.is_bad() { Err(Luck::lost()) } else { put }
    }
}

#[async_trait]
impl ViewStore<Ledgers> for Lossy<MemoryViews<Ledgers>> {
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
        if self.luck.is_bad() {
            return Err(Luck::lost());
        }
        let put = self.inner.put(id, row, before, applied).await;
        if self.luck.is_bad() { Err(Luck::lost()) } else { put }
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<Ledger>, ViewError> {
        self.inner.list(list).await
    }
}

#[async_trait]
impl ViewTable for Lossy<MemoryViews<Ledgers>> {
    async fn keys(
        &self,
        segment: Segment,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<projection::KeyPage, ViewError> {
        self.inner.keys(segment, after, limit).await
    }

    async fn remove(&self, key: &projection::RowKey) -> Result<Put, ViewError> {
        self.inner.remove(key).await
    }
}

/// A mall at work, as its shoppers see it.
struct Mall {
    site: Site,
    luck: Luck,
    /// A projector whose writes are lost now and then.
    feeder: Projector<Ledgers>,
    random: Seeded,
    /// Events on their way over the bus.
    transit: Vec<Envelope>,
    /// Last version of each stream.
    committed: BTreeMap<String, u64>,
    /// The newest version that a query showed of each row.
    shown: BTreeMap<String, u64>,
}

impl Mall {
    fn open(seed: u64, unreliable: f64) -> Self {
        let luck = Luck::new(seed, unreliable);
        let progress = Lossy { inner: MemoryProgress::default(), luck: luck.clone() };
        let site = Site { progress: Arc::new(progress), ..Site::memory() };
        let rows = Lossy { inner: site.stage.memory.clone().unwrap(), luck: luck.clone() };
        let feeder = site.stage.projector_of::<Ledgers>(Arc::new(rows));
        let random = Seeded::new(seed ^ 0x5eed);
        let (transit, committed, shown) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { site, luck, feeder, random, transit, committed, shown }
    }

    fn sweeper(&self) -> Box<dyn Sweeping> {
        let rows = Lossy { inner: self.site.stage.memory.clone().unwrap(), luck: self.luck.clone() };
        self.site.sweeper_of::<Ledgers, _>(rows, Limits { page: 40, ..SMALL })
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
        // The bus loses some of them.
        self.transit.extend(envelopes.into_iter().filter(|_| !self.random.chance(0.2)));
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
        let outcome = self.feeder.deliver_batch(&batch).await;
        // What failed comes again.
        self.transit.extend(outcome.failed.iter().map(|failed| batch[failed.index].clone()));
    }

    async fn query(&mut self) {
        let Some(id) = self.committed.keys().nth(self.random.below(9)).cloned() else { return };
        let newest = self.committed[&id];
        let minimum = self.random.chance(0.5).then(|| 1 + self.random.below(newest as usize) as u64);
        let found = self.site.stage.projector.read(&id, minimum.map(Version::new)).await.unwrap();
        let shown = self.shown.get(&id).copied();
        let Some(found) = found else {
            assert_eq!((minimum, shown), (None, None), "{id} is missing");
            return;
        };
        let version = found.applied.get();
        assert!(minimum.is_none_or(|minimum| version >= minimum), "{id} is older than was asked for");
        assert!(shown.is_none_or(|shown| version >= shown), "{id} went back from {shown:?} to {version}");
        let events = self.site.stage.store.events_after(&stream(&id), Version::NONE).await.unwrap();
        let then = events.iter().filter(|event| event.version <= found.applied);
        assert_eq!(Some(found.row), crate::stage::fold(then), "{id} at {version}");
        self.shown.insert(id, version);
    }

    async fn operate(&mut self) {
        let sweeper = self.sweeper();
        let parts = 1 + self.random.below(3) as u32;
        // Whatever fails is a worker that died.
        match self.random.below(12) {
            0 | 1 => {
                let only_compare = self.random.chance(0.3);
                let _ = sweeper.begin(&Order { only_compare, parts, rate: None }).await;
            }
            2 => {
                let ports = self.site.stage.world.ports();
                let _ = stop_sweep(&*self.site.progress, &ports, "ledgers", "stopped").await;
            }
            _ => drop(sweeper.slice(self.random.below(3) as u32).await),
        }
    }

    /// Trouble ends, and a sweep brings what the bus has lost.
    async fn close(self) {
        self.luck.0.lock().unwrap().1 = 0.0;
        let sweeper = self.sweeper();
        self.site.sweep(&*sweeper, &order(false)).await;
        let ids: Vec<String> = self.committed.keys().cloned().collect();
        let state = self.site.state().await;
        assert_eq!(state.report().left, 0, "{state:?}");
        // A sweep that went on where an earlier one was has not seen the streams before that place again.
        self.site.sweep(&*sweeper, &order(false)).await;
        self.site.is_whole(&ids).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_around_a_sweep_no_query_goes_back_and_the_rows_are_the_fold(
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
                    6..10 => mall.query().await,
                    10..18 => mall.operate().await,
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
