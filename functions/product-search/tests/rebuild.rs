//! The index is built anew beside the live one while the bus does its worst and processes die, and compared with its events.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalogue::Participation;
use contracts::Envelope;
use event_store::Segment;
use kernel::{CommandId, Uuid, Version};
use lambda::{Call, Fault};
use product_search::{
    api::ProductSearch,
    index::{Key, Kind, ProductIndex, Record, Saved},
    objects::{Condition, Objects},
    twins::Twins,
    views::Indexing,
};
use projection::{
    CACHE, Consistency, GRACE, Generation, INVOCATION, Limits, Next, Order, Phase, Rebuildable, Rebuilder,
    SegmentDone, Task,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use stage::{PLACES, Process, ReadOnly, Stage, deliver, names, product, records, seen, store, text};
use testing::Seeded;

/// One page at a time, written down after each.
const SMALL: Limits = Limits { budget: Duration::ZERO, checkpoint: Duration::ZERO, page: 3 };

/// Everything that happened, as an index has it that was fed in order.
async fn orderly(stage: &Stage) -> Vec<(String, Value)> {
    seen(&*stage.indexed().await).await
}

/// Some fruit, and an index that knows of it.
async fn open_shop() -> Stage {
    let stage = Stage::fruit().await;
    for (name, available) in [("Apple", true), ("Pear", false)] {
        stage.available(name, !available).await;
        stage.add_stock(name, 3, 3).await;
        stage.available(name, available).await;
    }
    stage.remove("Fruit", "Applewood board").await;
    deliver(&stage.writer(&stage.live().await), &stage.history().await).await;
    stage
}

/// The live index is what the catalogue is, and nothing is left of another generation.
async fn is_whole(stage: &Stage) {
    assert_eq!(seen(&*stage.live().await).await, orderly(stage).await);
    let [_, other] = stage.places().await;
    assert_eq!(stage.objects.list(&format!("{other}/")).await.unwrap(), [], "left over");
}

/// Takes a rebuild on until there are segments to do, and says which.
async fn to_the_filling(stage: &Stage, rebuilder: &Rebuilder) -> Vec<u32> {
    loop {
        match rebuilder.advance().await.unwrap() {
            Next::Wait(pause) => stage.world.advance(pause),
            Next::Again => {}
            Next::Segments(segments) => return segments,
            over => panic!("{over:?}"),
        }
    }
}

fn order(task: Task) -> Order {
    Order { task, segments: 3, rate: None }
}

#[tokio::test]
async fn the_index_equals_the_catalogue_after_a_rebuild_and_nothing_is_left_behind_however_often_it_is_run() {
    let stage = open_shop().await;
    for (round, limits) in [SMALL, Limits::FUNCTION, SMALL].into_iter().enumerate() {
        let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), limits);
        let task = if round == 1 { Task::Rebuild } else { Task::RebuildAndVerify };
        assert_eq!(stage.job(&rebuilder, task).await, Next::Over(Phase::Done));
        assert_eq!(stage.state().await.live.to_string(), (round + 2).to_string());
        is_whole(&stage).await;
    }
    let job = stage.state().await.job.unwrap();
    assert_eq!(job.events(), stage.history().await.len() as u64, "each was filled in, and then compared");
}

#[tokio::test]
async fn a_page_of_the_event_table_is_one_change_and_a_comparison_does_not_read_the_index_again() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for n in 0..499 {
        stage.sell("Fruit", &format!("Product {n}"), "", "", 100).await;
    }
    let process = Process::over(&stage.objects);
    process.dies_after(1_000);
    let view = stage.view(stage.twins(process.clone()));
    view.fill(Generation::FIRST, &stage.history().await).await.unwrap();
    assert_eq!(stage.objects.written().0, 2, "a bundle and a manifest");
    let filled = stage.history().await;
    process.dies_after(2);
    for event in &filled {
        let compared = view.compare(Generation::FIRST, &event.stream, event.at, false).await;
        assert_eq!(compared, Ok(None), "{}", event.stream);
    }
    // Another process has to read the manifest and the bundle, once.
    let process = Process::over(&stage.objects);
    process.dies_after(2);
    let view = stage.view(stage.twins(process));
    for event in &filled {
        assert_eq!(view.compare(Generation::FIRST, &event.stream, event.at, false).await, Ok(None));
    }
}

#[tokio::test]
async fn a_rebuild_changes_the_index_once_for_each_page_of_the_event_table() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for n in 0..1_000 {
        stage.sell("Fruit", &format!("Product {n}"), "", "", 100).await;
    }
    let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), Limits::FUNCTION);
    rebuilder.begin(&Order { segments: 1, ..order(Task::RebuildAndVerify) }).await.unwrap();
    assert_eq!(stage.drive(&rebuilder).await, Next::Over(Phase::Done));
    assert_eq!(
        stage.objects.written().0,
        2 * 2,
        "a thousand products are two pages, and their store came along"
    );
}

#[tokio::test]
async fn segments_that_get_into_each_others_way_all_come_through() {
    let stage = Stage::new();
    for n in 0..12 {
        let seller = format!("Store {n}");
        stage.open(&seller).await;
        for p in 0..10 {
            stage.sell(&seller, &format!("Thing {n}-{p}"), "", "", 100).await;
        }
    }
    let worker = || stage.rebuilder(stage.twins(Process::over(&stage.objects)), Limits { page: 5, ..SMALL });
    let first = worker();
    first.begin(&Order { segments: 8, ..order(Task::RebuildAndVerify) }).await.unwrap();
    let workers: Vec<Rebuilder> = (0..8).map(|_| worker()).collect();
    let before = stage.world.slept().len();
    loop {
        match first.advance().await.unwrap() {
            Next::Wait(pause) => stage.world.advance(pause),
            Next::Again => {}
            Next::Segments(segments) => {
                let work = segments.iter().map(|segment| workers[*segment as usize].segment(*segment));
                for done in futures::future::join_all(work).await {
                    done.unwrap();
                }
            }
            over => {
                assert_eq!(over, Next::Over(Phase::Done));
                break;
            }
        }
    }
    assert!(stage.world.slept().len() > before, "they met, and some of them waited");
    is_whole(&stage).await;
}

#[tokio::test]
async fn a_worker_that_dies_at_any_call_is_replaced_and_the_rebuild_goes_on_where_it_was() {
    let mut died = 0;
    for calls in 0..24 {
        let stage = open_shop().await;
        let doomed = Process::over(&stage.objects);
        let first = stage.rebuilder(stage.twins(doomed.clone()), SMALL);
        first.begin(&order(Task::Rebuild)).await.unwrap();
        let segments = to_the_filling(&stage, &first).await;
        doomed.dies_after(calls);
        for segment in segments.iter().cycle().take(12) {
            if first.segment(*segment).await.is_err() {
                died += 1;
                break;
            }
        }
        let job = stage.state().await.job.unwrap();
        assert_eq!(job.stopped, None, "that a process dies stops no rebuild");
        let second = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
        let resumed = second.begin(&order(Task::RebuildAndVerify)).await.unwrap().job.unwrap();
        assert_eq!((resumed.started_at, resumed.commits()), (job.started_at, job.commits()));
        assert_eq!(stage.drive(&second).await, Next::Over(Phase::Done), "died at call {calls}");
        is_whole(&stage).await;
    }
    assert!(died > 16, "{died} died: the calls were never made");
}

#[tokio::test]
async fn what_a_warm_worker_saw_in_an_attempt_that_was_given_up_is_brought_in_by_the_next_one() {
    let stage = open_shop().await;
    // It remembers what it filled; another one gives up and clears.
    let warm = stage.rebuilder(stage.twins(stage.objects.clone()), Limits::FUNCTION);
    warm.begin(&order(Task::Rebuild)).await.unwrap();
    for segment in to_the_filling(&stage, &warm).await {
        assert_eq!(warm.segment(segment).await, Ok(SegmentDone::Yes));
    }
    let other = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    other.cancel().await.unwrap();
    assert_eq!(stage.drive(&other).await, Next::Over(Phase::Cancelled));
    is_whole(&stage).await;
    other.begin(&order(Task::RebuildAndVerify)).await.unwrap();
    let segments = to_the_filling(&stage, &other).await;
    for segment in segments {
        assert_eq!(warm.segment(segment).await, Ok(SegmentDone::Yes));
    }
    assert_eq!(stage.drive(&other).await, Next::Over(Phase::Done));
    is_whole(&stage).await;
}

#[tokio::test]
async fn a_cancelled_rebuild_leaves_the_live_index_and_nothing_else_and_another_one_may_follow() {
    let stage = open_shop().await;
    let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    let segments = to_the_filling(&stage, &rebuilder).await;
    assert_eq!(rebuilder.segment(segments[0]).await, Ok(SegmentDone::No));
    assert_ne!(stage.objects.list(&format!("{}/", PLACES[1])).await.unwrap(), []);
    rebuilder.cancel().await.unwrap();
    assert_eq!(rebuilder.segment(segments[0]).await, Ok(SegmentDone::Yes), "there is nothing left to do");
    assert_eq!(stage.drive(&rebuilder).await, Next::Over(Phase::Cancelled));
    assert_eq!(stage.state().await.live, Generation::FIRST);
    is_whole(&stage).await;
    assert_eq!(stage.job(&rebuilder, Task::RebuildAndVerify).await, Next::Over(Phase::Done));
    is_whole(&stage).await;
}

#[tokio::test]
async fn more_objects_than_can_be_deleted_at_a_time_are_deleted_all_the_same() {
    let stage = Stage::new();
    for n in 0..1_100 {
        let name = format!("{}/bundles/{n}", PLACES[1]);
        assert!(stage.objects.put(&name, vec![1], Condition::Missing).await.is_ok());
    }
    stage.objects.put(&format!("{}/bundles/1", PLACES[0]), vec![1], Condition::Missing).await.unwrap();
    let view = stage.view(stage.twins(stage.objects.clone()));
    let mut steps = 0;
    while !view.clear(Generation::FIRST.next()).await.unwrap() {
        steps += 1;
    }
    assert_eq!((steps, stage.objects.kept().0), (3, 1), "and those of the other generation stay");
}

#[tokio::test]
async fn a_bad_event_stops_a_rebuild_and_names_itself_while_the_live_index_goes_on() {
    let stage = open_shop().await;
    // The price of a product that was never added.
    let bad = stage.price("Fruit", "Nothing", 1, 2).await;
    let writer = stage.writer(&stage.live().await);
    let results = writer.project_product_index(vec![bad.clone()]).await;
    assert!(results[0].is_err(), "live it goes back to the queue, which parks it in the end");
    let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    let Next::Stopped(why) = stage.job(&rebuilder, Task::Rebuild).await else { panic!("it did not stop") };
    assert!(why.contains(&format!("{} version 1", bad.stream)), "{why}");
    assert_eq!(stage.state().await.live, Generation::FIRST);
    assert_eq!(
        names(&*stage.live().await, &text("apple")).await,
        ["Apple", "Apple juice", "Pear", "Ample syrup"]
    );
    rebuilder.cancel().await.unwrap();
    assert_eq!(stage.drive(&rebuilder).await, Next::Over(Phase::Cancelled));
    // A comparison tells of it and goes on.
    stage.world.advance(Duration::from_secs(361));
    assert_eq!(stage.job(&rebuilder, Task::Verify).await, Next::Over(Phase::Done));
    let job = stage.state().await.job.unwrap();
    assert_eq!(job.differences, 1, "{:?}", job.examples);
}

#[tokio::test]
async fn an_index_that_is_damaged_or_gone_is_made_anew_from_the_events() {
    for gone in [false, true] {
        let stage = open_shop().await;
        let manifest = format!("{}/manifest.json", PLACES[0]);
        stage.objects.delete(&manifest).await.unwrap();
        if !gone {
            stage.objects.put(&manifest, b"nonsense".to_vec(), Condition::Missing).await.unwrap();
        }
        let generations = stage.generations();
        let writer = stage.writer_of(generations, stage.twins(stage.objects.clone()));
        let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
        rebuilder.begin(&order(Task::RebuildAndVerify)).await.unwrap();
        to_the_filling(&stage, &rebuilder).await;
        // What comes meanwhile gets into the new one, and comes again as long as the old one does not take it.
        let event = stage.price("Fruit", "Pear", 80, 85).await;
        let results = writer.project_product_index(vec![event]).await;
        assert_eq!(results[0].is_ok(), gone);
        assert_eq!(stage.drive(&rebuilder).await, Next::Over(Phase::Done));
        is_whole(&stage).await;
        assert_eq!(
            stage.live().await.search(&text("FR-200")).await.unwrap().products[0].product.price,
            stage::money(85)
        );
    }
}

// ---- comparisons

fn key(kind: Kind, id: Uuid) -> Key {
    Key { kind, id }
}

async fn record(index: &dyn ProductIndex, key: Key) -> Record {
    index.records(&[key], Consistency::Strong).await.unwrap().records.remove(0)
}

/// Writes into the index behind everybody's back.
async fn put(index: &dyn ProductIndex, record: Record) {
    let revision = index.records(&[], Consistency::Strong).await.unwrap().revision;
    assert_eq!(index.save(&revision, &[record]).await.unwrap(), Saved::Saved);
}

/// Makes records wrong in every way there is.
async fn damage(stage: &Stage) -> usize {
    let index = &*stage.live().await;
    let of = |name: &str| key(Kind::Product, product(name).uuid());
    // Another content.
    let mut apple = record(index, of("Apple")).await;
    apple.row.as_mut().unwrap()["name"] = json!("Orange");
    put(index, apple).await;
    // What makes no sense.
    let mut seller = record(index, key(Kind::Store, store("Late").uuid())).await;
    seller.row.as_mut().unwrap()["name"] = json!(7);
    // Such a row cannot be put into a document: of another schema, it can.
    seller.schema = 0;
    put(index, seller).await;
    // Emptied.
    put(index, Record { row: None, ..record(index, of("Pineapple")).await }).await;
    // Ahead of its stream.
    put(index, Record { applied: Version::new(99), ..record(index, of("Crème brûlée")).await }).await;
    // Without a stream.
    let ghost = record(index, of("Ample syrup")).await;
    put(index, Record { key: of("Ghost"), ..ghost }).await;
    // Missing, of a product whose stock is there.
    let revision = index.records(&[], Consistency::Strong).await.unwrap().revision;
    assert_eq!(index.remove(&revision, &[of("Pear")]).await.unwrap(), Saved::Saved);
    // A stock that a search would show otherwise.
    let mut stock = record(index, key(Kind::Stock, product("Apple").uuid())).await;
    stock.row.as_mut().unwrap()["available"] = json!(false);
    put(index, stock).await;
    // Behind: its last event was lost.
    stage.price("Fruit", "Apple juice", 250, 260).await;
    8
}

#[tokio::test]
async fn every_way_in_which_a_record_can_be_wrong_is_found_and_repaired() {
    let stage = open_shop().await;
    let rebuilder = || stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    assert_eq!(stage.job(&rebuilder(), Task::Verify).await, Next::Over(Phase::Done));
    assert_eq!(stage.state().await.job.unwrap().differences, 0, "nothing is wrong yet");

    let damaged = damage(&stage).await;
    stage.world.advance(Duration::from_secs(361));
    // On its way, which is no difference.
    stage.price("Late", "Ample syrup", 990, 995).await;
    let round = async |task, expected: usize, repaired: usize| {
        assert_eq!(stage.job(&rebuilder(), task).await, Next::Over(Phase::Done));
        let job = stage.state().await.job.unwrap();
        let counted = (job.differences as usize, job.repaired as usize);
        assert_eq!(counted, (expected, repaired), "{task:?}: {:#?}", job.examples);
        job.examples
    };
    let told = round(Task::Verify, damaged, 0).await;
    for part in [
        "is other than its 1 events make it",
        "is of schema 0",
        "is missing",
        "stands at version 1 of 2",
        "there is no such event",
    ] {
        assert!(told.iter().any(|example| example.contains(part)), "{part}: {told:#?}");
    }
    assert_eq!(names(&*stage.live().await, &text("orange")).await, ["Orange"], "it is only told of");
    round(Task::Repair, damaged, damaged).await;
    round(Task::Verify, 0, 0).await;
    deliver(&stage.writer(&stage.live().await), &stage.history().await).await;
    is_whole(&stage).await;
    assert_eq!(names(&*stage.live().await, &text("orange")).await, Vec::<String>::new());
    assert_eq!(names(&*stage.live().await, &text("pear")).await, ["Pear"]);
}

#[tokio::test]
async fn a_stock_record_lags_only_if_it_missed_the_last_availability() {
    let stage = Stage::fruit().await;
    stage.add_stock("Apple", 1, 1).await;
    stage.available("Apple", false).await;
    deliver(&stage.writer(&stage.live().await), &stage.history().await).await;
    let view = stage.view(stage.twins(stage.objects.clone()));
    let stream = format!("inventory.StockItem/{}", product("Apple")).parse().unwrap();
    let found = async |stage: &Stage| {
        view.compare(Generation::FIRST, &stream, stage.world.now(), false).await.unwrap()
    };
    // Nobody delivers these.
    for n in 0..40 {
        stage.add_stock("Apple", 1, 2 + n).await;
        assert_eq!(found(&stage).await, None, "{n}");
    }
    stage.available("Apple", true).await;
    let difference = found(&stage).await.unwrap();
    assert_eq!(difference, format!("stock {} stands at version 2 of 43", product("Apple")));
    view.compare(Generation::FIRST, &stream, stage.world.now(), true).await.unwrap();
    assert_eq!(found(&stage).await, None);
}

#[tokio::test]
async fn a_repair_beside_a_busy_writer_overwrites_nothing() {
    let stage = open_shop().await;
    let index = stage.live().await;
    let apple = key(Kind::Product, product("Apple").uuid());
    for round in 0..8 {
        let mut wrong = record(&*index, apple).await;
        wrong.row.as_mut().unwrap()["description"] = json!("wrong");
        put(&*index, wrong).await;
        let event = stage.price("Fruit", "Pear", 80 + round, 81 + round).await;
        let view = stage.view(stage.twins(Process::over(&stage.objects)));
        let writer = stage.writer(&stage.index(Process::over(&stage.objects)));
        let stream = format!("stores.Product/{}", product("Apple")).parse().unwrap();
        let (repaired, ()) = futures::future::join(
            view.compare(Generation::FIRST, &stream, event.at, true),
            deliver(&writer, std::slice::from_ref(&event)),
        )
        .await;
        assert!(repaired.unwrap().is_some());
        is_whole(&stage).await;
    }
    assert!(!stage.world.slept().is_empty(), "they met, and one of them waited");
}

#[tokio::test]
async fn strays_are_found_page_by_page_in_every_segment() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    deliver(&stage.writer(&stage.live().await), &stage.history().await).await;
    let index = stage.live().await;
    let pattern = record(&*index, key(Kind::Store, store("Fruit").uuid())).await;
    let strays: Vec<Record> = (0..450)
        .map(|n| Record {
            key: key(Kind::Stock, product(&n.to_string()).uuid()),
            row: None,
            ..pattern.clone()
        })
        .collect();
    let revision = index.records(&[], Consistency::Strong).await.unwrap().revision;
    assert_eq!(index.save(&revision, &strays).await.unwrap(), Saved::Saved);
    let (view, other) =
        (stage.view(stage.twins(stage.objects.clone())), stage.view(stage.twins(stage.objects.clone())));
    // Another worker, which has an old picture of the index in its memory when it is its turn.
    other.strays(Generation::FIRST, Segment::WHOLE, None, false).await.unwrap();
    for (view, repair, total) in [(&view, false, 1), (&view, false, 3), (&view, true, 2), (&other, true, 3)] {
        let (mut found, mut pages) = (0, 0);
        for segment in 0..total {
            let segment = Segment { index: segment, total };
            let mut after: Option<String> = None;
            loop {
                let page = view.strays(Generation::FIRST, segment, after.as_deref(), repair).await.unwrap();
                (found, pages, after) = (found + page.found.len(), pages + 1, page.after);
                if after.is_none() {
                    break;
                }
            }
        }
        let expected = if (repair, total) == (true, 3) { 0 } else { 450 };
        assert_eq!(found, expected, "{total} segments, repair: {repair}");
        assert!(pages >= total);
    }
    assert_eq!(records(&index).await.len(), 1, "the store stays");
}

// ---- searches

fn call(query: &[(&str, &str)]) -> Call {
    Call {
        target: None,
        body: Value::Null,
        query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        command: CommandId::derived(&["test"]),
        repeatable: false,
        if_match: None,
        actor: kernel::Actor::new("test"),
        correlation: Uuid::nil(),
        causation: None,
        trace: None,
        attempt: 0,
        at: "2026-11-20T12:00:00Z".parse().unwrap(),
    }
}

/// The prices of all products, by their ids.
async fn prices(shop: &Arc<ProductSearch>) -> Result<BTreeMap<String, f64>, Fault> {
    let page = shop.clone().search_products(call(&[("limit", "100")])).await?.body;
    let products = page["products"].as_array().unwrap().iter();
    Ok(products.map(|p| (p["id"].as_str().unwrap().to_owned(), p["price"].as_f64().unwrap())).collect())
}

#[tokio::test]
async fn a_worker_that_cannot_read_the_live_generation_does_not_answer_from_one_that_is_long_gone() {
    let stage = open_shop().await;
    let process = Process::over(&stage.objects);
    let shop =
        ProductSearch::new(stage.generations(), stage.twins(process.clone()), Participation::NotRequired);
    let shop = Arc::new(shop);
    assert_eq!(prices(&shop).await.unwrap().len(), 6);
    let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    stage.job(&rebuilder, Task::Rebuild).await;
    assert_eq!(prices(&shop).await.unwrap().len(), 6);
    let event = stage.remove("Fruit", "Pear").await;
    let writer = stage.writer_of(stage.generations(), stage.twins(stage.objects.clone()));
    deliver(&writer, &[event]).await;
    stage.job(&rebuilder, Task::Rebuild).await;
    // The third generation is where the first one was.
    process.dies_after(0);
    assert_eq!(prices(&shop).await.unwrap_err().status, 503);
}

/// One process that feeds the index, and what it sees of the objects.
struct Feeder {
    process: Process,
    indexing: Arc<Indexing>,
}

/// One process that answers searches, and what it has shown.
struct Searcher {
    shop: Arc<ProductSearch>,
    shown: BTreeMap<String, f64>,
}

/// A mall at work, as its shoppers see it.
struct Mall {
    stage: Stage,
    feeders: Vec<Feeder>,
    searchers: Vec<Searcher>,
    /// Rebuild workers that are warm.
    workers: Vec<(Process, Twins)>,
    random: Seeded,
    /// On its way over the bus.
    transit: Vec<Envelope>,
    products: u32,
    prices: BTreeMap<u32, i64>,
    deaths: u32,
}

impl Mall {
    async fn open(seed: u64) -> Self {
        let stage = Stage::new();
        let transit = vec![stage.open("Fruit").await, stage.participate("Fruit", true).await];
        let mut mall = Self {
            stage,
            feeders: vec![],
            searchers: vec![],
            workers: vec![],
            random: Seeded::new(seed),
            transit,
            products: 0,
            prices: BTreeMap::new(),
            deaths: 0,
        };
        for _ in 0..3 {
            let (feeder, worker) = (mall.feeder(), mall.worker());
            let generations = mall.stage.generations().relied_on_for(CACHE + INVOCATION);
            let twins = mall.stage.twins(mall.stage.objects.clone());
            let shop = Arc::new(ProductSearch::new(generations, twins, Participation::Required));
            mall.feeders.push(feeder);
            mall.workers.push(worker);
            mall.searchers.push(Searcher { shop, shown: BTreeMap::new() });
        }
        mall
    }

    /// One that may go on with what it knew for as long as an invocation takes.
    fn feeder(&self) -> Feeder {
        let process = Process::over(&self.stage.objects);
        let generations = self.stage.generations().relied_on_for(CACHE + INVOCATION);
        Feeder { indexing: self.stage.writer_of(generations, self.stage.twins(process.clone())), process }
    }

    fn worker(&self) -> (Process, Twins) {
        let process = Process::over(&self.stage.objects);
        let twins = self.stage.twins(process.clone());
        (process, twins)
    }

    async fn happen(&mut self) {
        let n = self.random.below(8) as u32;
        let name = format!("Thing {n}");
        let event = match self.prices.get(&n).copied() {
            None => {
                self.products += 1;
                self.prices.insert(n, 100);
                self.stage.sell("Fruit", &name, "", "", 100).await
            }
            Some(price) if self.random.chance(0.6) => {
                self.prices.insert(n, price + 1);
                self.stage.price("Fruit", &name, price, price + 1).await
            }
            Some(_) => self.stage.rename("Fruit", &name, &format!("{name} again"), "as good as new").await,
        };
        self.transit.push(event);
    }

    /// Some of what is on its way arrives, in any order, perhaps not for the last time, perhaps at a process that dies.
    fn batch(&mut self) -> Vec<Envelope> {
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
            let data = envelope.data.clone().filter(|_| !self.random.chance(0.2));
            batch.push(Envelope { data, ..envelope });
        }
        batch
    }

    /// Events arrive while a worker does what there is to do of the rebuild: both get their turns.
    async fn work(&mut self, mortal: bool) {
        let batch = if self.random.chance(0.5) { self.batch() } else { vec![] };
        let (f, w) = (self.random.below(3), self.random.below(3));
        if mortal && self.random.chance(0.2) {
            self.feeders[f].process.dies_after(self.random.below(9) as u32);
        }
        if mortal && self.random.chance(0.2) {
            self.workers[w].0.dies_after(self.random.below(9) as u32);
        }
        let (choice, segment) = (self.random.below(24), self.random.below(3) as u32);
        let task = if self.random.chance(0.5) { Task::Rebuild } else { Task::RebuildAndVerify };
        let begun = Order { task, segments: 1 + self.random.below(3) as u32, rate: None };
        let cancels = self.random.chance(0.2);
        let rebuilder = self.stage.rebuilder(self.workers[w].1.clone(), Limits { page: 4, ..SMALL });
        let operate = async {
            // Whatever fails is a worker that died, or an operator who is told that it cannot be done now.
            match choice {
                0 | 1 => drop(rebuilder.begin(&begun).await),
                2 if cancels => drop(rebuilder.cancel().await),
                2..10 => drop(rebuilder.advance().await),
                _ => drop(rebuilder.segment(segment).await),
            }
        };
        let feed = self.feeders[f].indexing.clone().project_product_index(batch.clone());
        let (results, ()) = futures::future::join(feed, operate).await;
        // What failed comes again.
        let failed = batch.into_iter().zip(results).filter(|(_, result)| result.is_err());
        self.transit.extend(failed.map(|(event, _)| event));
        if self.feeders[f].process.is_dead() {
            self.deaths += 1;
            self.feeders[f] = self.feeder();
        }
        if self.workers[w].0.is_dead() {
            self.deaths += 1;
            self.workers[w] = self.worker();
        }
    }

    async fn search(&mut self) {
        let searcher = self.random.below(3);
        let Searcher { shop, shown } = &mut self.searchers[searcher];
        let found = prices(shop).await.unwrap();
        for (product, price) in shown.iter() {
            let now = found.get(product);
            assert!(now.is_some_and(|now| now >= price), "{product} was at {price}, and is at {now:?}");
        }
        *shown = found;
    }

    /// Everything arrives at last, and whatever was begun ends.
    async fn close(mut self) {
        for process in self.feeders.iter().map(|f| &f.process).chain(self.workers.iter().map(|w| &w.0)) {
            process.dies_after(u32::MAX);
        }
        let rebuilder = self.stage.rebuilder(self.workers[0].1.clone(), SMALL);
        let mut over = false;
        while !over || !self.transit.is_empty() {
            let batch = self.batch();
            let results = self.feeders[0].indexing.clone().project_product_index(batch.clone()).await;
            let failed = batch.into_iter().zip(results).filter(|(_, result)| result.is_err());
            self.transit.extend(failed.map(|(event, _)| event));
            match rebuilder.advance().await.unwrap() {
                Next::Wait(pause) => self.stage.world.advance(pause.min(Duration::from_secs(6))),
                Next::Again => {}
                Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
                Next::Over(_) => over = true,
                Next::Stopped(why) => panic!("{why}"),
            }
            self.search().await;
        }
        is_whole(&self.stage).await;
        self.stage.world.advance(GRACE);
        for searcher in 0..3 {
            let found = prices(&self.searchers[searcher].shop).await.unwrap();
            assert_eq!(found.len(), self.products as usize, "searches end with all of them");
        }
        self.stage.world.advance(Duration::from_secs(361));
        assert_eq!(self.stage.job(&rebuilder, Task::Verify).await, Next::Over(Phase::Done));
        let job = self.stage.state().await.job.unwrap();
        assert_eq!(job.differences, 0, "{:?}", job.examples);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_around_a_rebuild_no_search_loses_a_product_and_the_index_is_the_catalogue(
        seed in any::<u64>(),
        steps in 40_usize..160,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut mall = Mall::open(seed).await;
            let rebuilder = mall.stage.rebuilder(mall.workers[0].1.clone(), SMALL);
            rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
            for _ in 0..steps {
                match mall.random.below(20) {
                    0..3 => mall.happen().await,
                    3..6 => mall.search().await,
                    6..18 => mall.work(true).await,
                    _ => {
                        let pause = Duration::from_millis(mall.random.below(8_000) as u64);
                        mall.stage.world.advance(pause);
                    }
                }
            }
            mall.close().await;
        });
    }
}

#[tokio::test]
async fn a_writer_that_dies_between_two_generations_takes_back_nothing_that_a_search_has_shown() {
    let mut shown = 0;
    for calls in 0..16 {
        let stage = open_shop().await;
        let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
        rebuilder.begin(&order(Task::RebuildAndVerify)).await.unwrap();
        while stage.state().await.job.unwrap().phase != Phase::Verifying {
            match rebuilder.advance().await.unwrap() {
                Next::Wait(pause) => stage.world.advance(pause),
                Next::Again => {}
                Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
                over => panic!("{over:?}"),
            }
        }
        // The scan has gone by. The event is in no queue any more, for as long as it is with the one who dies.
        let event = stage.sell("Fruit", "Quince", "", "FR-400", 90).await;
        let process = Process::over(&stage.objects);
        let writer = stage.writer_of(stage.generations(), stage.twins(process.clone()));
        process.dies_after(calls);
        let results = writer.project_product_index(vec![event.clone()]).await;
        let before = names(&*stage.live().await, &text("quince")).await;
        assert!(results[0].is_err() || before == ["Quince"]);
        shown += usize::from(results[0].is_err() && before == ["Quince"]);
        while stage.state().await.live == Generation::FIRST {
            match rebuilder.advance().await.unwrap() {
                Next::Wait(pause) => stage.world.advance(pause),
                Next::Again => {}
                Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
                over => panic!("{over:?}"),
            }
        }
        let after = names(&*stage.live().await, &text("quince")).await;
        assert!(before.is_empty() || after == before, "died at call {calls}: it was there, and is gone");
        // It comes again.
        let writer = stage.writer_of(stage.generations(), stage.twins(stage.objects.clone()));
        deliver(&writer, &[event]).await;
        assert_eq!(stage.drive(&rebuilder).await, Next::Over(Phase::Done));
        is_whole(&stage).await;
    }
    assert_eq!(shown, 0, "the older generation is never ahead of the newer one");
}

#[tokio::test]
async fn what_the_next_generation_did_not_take_is_not_found_before_that_takes_over() {
    let stage = open_shop().await;
    let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    to_the_filling(&stage, &rebuilder).await;
    let event = stage.sell("Fruit", "Quince", "", "FR-400", 90).await;
    let objects = ReadOnly { objects: stage.objects.clone(), names: PLACES[1].into() };
    let throttled = stage.writer_of(stage.generations(), stage.twins(objects));
    let results = throttled.project_product_index(vec![event.clone()]).await;
    assert!(results[0].is_err());
    assert_eq!(names(&*stage.live().await, &text("quince")).await, Vec::<String>::new());
    let writer = stage.writer_of(stage.generations(), stage.twins(stage.objects.clone()));
    deliver(&writer, &[event]).await;
    assert_eq!(names(&*stage.live().await, &text("quince")).await, ["Quince"]);
    assert_eq!(stage.drive(&rebuilder).await, Next::Over(Phase::Done));
    is_whole(&stage).await;
}

#[tokio::test]
async fn what_a_gap_brings_into_the_older_generation_is_in_the_newer_one_when_that_takes_over() {
    let stage = open_shop().await;
    let rebuilder = stage.rebuilder(stage.twins(stage.objects.clone()), SMALL);
    // Nobody delivers the first of these to the live index; the scan brings it into the new one.
    stage.price("Fruit", "Pear", 80, 81).await;
    rebuilder.begin(&order(Task::Rebuild)).await.unwrap();
    while stage.state().await.job.unwrap().phase != Phase::Settling {
        match rebuilder.advance().await.unwrap() {
            Next::Wait(pause) => stage.world.advance(pause),
            Next::Again => {}
            Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
            over => panic!("{over:?}"),
        }
    }
    let second = stage.price("Fruit", "Pear", 81, 82).await;
    stage.price("Fruit", "Pear", 82, 83).await;
    // The live one reads to the end of the stream; the new one has no reason to.
    let writer = stage.writer_of(stage.generations(), stage.twins(stage.objects.clone()));
    deliver(&writer, &[second]).await;
    let price = async || stage.live().await.search(&text("FR-200")).await.unwrap().products[0].product.price;
    assert_eq!(price().await, stage::money(83));
    while stage.state().await.live == Generation::FIRST {
        match rebuilder.advance().await.unwrap() {
            Next::Wait(pause) => stage.world.advance(pause),
            over => panic!("{over:?}"),
        }
    }
    assert_eq!(price().await, stage::money(83));
}

#[tokio::test]
async fn a_search_never_loses_a_product_while_all_phases_of_a_rebuild_go_by() {
    let mut mall = Mall::open(7).await;
    for _ in 0..12 {
        mall.happen().await;
    }
    let rebuilder = mall.stage.rebuilder(mall.workers[0].1.clone(), SMALL);
    rebuilder.begin(&order(Task::RebuildAndVerify)).await.unwrap();
    let mut phases = Vec::new();
    loop {
        let next = rebuilder.advance().await.unwrap();
        phases.push(mall.stage.state().await.job.unwrap().phase);
        match next {
            Next::Wait(pause) => mall.stage.world.advance(pause.min(Duration::from_secs(4))),
            Next::Again => {}
            Next::Segments(segments) => drop(rebuilder.segment(segments[0]).await.unwrap()),
            over => {
                assert_eq!(over, Next::Over(Phase::Done));
                break;
            }
        }
        mall.happen().await;
        let batch = mall.batch();
        for result in mall.feeders[1].indexing.clone().project_product_index(batch).await {
            result.unwrap();
        }
        for _ in 0..3 {
            mall.search().await;
        }
    }
    phases.dedup();
    let expected = [
        Phase::Feeding,
        Phase::Filling,
        Phase::Verifying,
        Phase::Settling,
        Phase::Switched,
        Phase::Retiring,
        Phase::Emptying,
        Phase::Done,
    ];
    assert_eq!(phases, expected);
    mall.close().await;
}
