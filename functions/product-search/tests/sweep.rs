//! The index is swept while the bus does its worst and processes die.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalogue::Participation;
use contracts::Envelope;
use kernel::{CommandId, Uuid, Version};
use lambda::{Call, Fault};
use product_search::{
    api::ProductSearch,
    archive::Archive,
    index::{Key, Kind, ProductIndex, Record, Saved},
    objects::{Condition, Objects},
    views::Indexing,
};
use projection::{At, Consistency, Limits, Order, Report, Slice, SweepError, Sweeping};
use proptest::prelude::*;
use serde_json::{Value, json};
use stage::{PLACE, Process, Stage, deliver, names, product, records, seen, store, text};
use testing::Seeded;

/// One page at a time, recorded after each.
const SMALL: Limits = Limits { budget: Duration::ZERO, checkpoint: Duration::ZERO, page: 20, streams: 4 };

/// The rows of an index that was fed in order.
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
    deliver(&stage.writer(&stage.live()), &stage.history().await).await;
    stage
}

/// The index is as the catalogue is.
async fn is_whole(stage: &Stage) {
    assert_eq!(seen(&stage.live()).await, orderly(stage).await);
}

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
    let index = &*stage.live();
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
async fn every_way_in_which_a_record_can_be_wrong_is_found_and_put_right_once() {
    let stage = open_shop().await;
    let sweeper = || stage.sweeper(&stage.live(), SMALL);
    assert_eq!(stage.sweep(&sweeper(), true).await, Report::default(), "nothing is wrong yet");

    let damaged = damage(&stage).await as u64;
    stage.world.advance(Duration::from_secs(601));
    // An event that may be on its way is no difference; the sweep brings it all the same.
    stage.price("Late", "Ample syrup", 990, 995).await;
    let told = stage.sweep(&sweeper(), true).await;
    assert_eq!((told.differences, told.written, told.left), (damaged, 0, 0), "{:#?}", told.examples);
    for part in [
        "is other than its 1 events make it",
        "is of schema 0",
        "is missing",
        "stands at version 1 of 2",
        "but its stream ends at",
        "has no events",
    ] {
        assert!(told.examples.iter().any(|example| example.contains(part)), "{part}: {:#?}", told.examples);
    }
    assert_eq!(names(&stage.live(), &text("orange")).await, ["Orange"], "nothing was written");
    let swept = stage.sweep(&sweeper(), false).await;
    assert_eq!((swept.differences, swept.written, swept.left), (damaged, damaged + 1, 0));
    is_whole(&stage).await;
    assert_eq!(stage.sweep(&sweeper(), false).await, Report::default());
    assert_eq!(names(&stage.live(), &text("orange")).await, Vec::<String>::new());
    assert_eq!(names(&stage.live(), &text("pear")).await, ["Pear"]);
}

#[tokio::test]
async fn a_stock_record_differs_only_if_it_missed_the_last_availability() {
    let stage = Stage::fruit().await;
    stage.available("Apple", false).await;
    deliver(&stage.writer(&stage.live()), &stage.history().await).await;
    let sweeper = stage.sweeper(&stage.live(), SMALL);
    // Nobody delivers these.
    for n in 0..5 {
        stage.add_stock("Apple", 1, 2 + n).await;
    }
    stage.world.advance(Duration::from_secs(601));
    assert_eq!(stage.sweep(&sweeper, true).await, Report::default());
    stage.available("Apple", true).await;
    stage.world.advance(Duration::from_secs(601));
    let report = stage.sweep(&sweeper, false).await;
    assert_eq!(report.examples, [format!("stock {} stands at version 1 of 7", product("Apple"))]);
    assert_eq!(stage.sweep(&sweeper, true).await, Report::default());
}

#[tokio::test]
async fn a_batch_of_streams_is_one_change_and_a_sweep_of_a_right_index_is_none() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for n in 0..999 {
        stage.sell("Fruit", &format!("Product {n}"), "", "", 100).await;
    }
    let sweeper = stage.sweeper(&stage.live(), Limits::FUNCTION);
    let order = Order { only_compare: false, parts: 1, rate: None };
    for expected in [1_000, 0] {
        let before = stage.objects.written().0;
        sweeper.begin(&order).await.unwrap();
        assert_eq!(sweeper.slice(0).await, Ok(Slice::Over));
        assert_eq!(stage.state().await.report().written, expected);
        let changes = if expected > 0 { 1_000 / Limits::FUNCTION.streams } else { 0 };
        // A bundle and a manifest each.
        assert_eq!(stage.objects.written().0 - before, 2 * changes as u64);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_is_named_and_keeps_no_other_record_from_being_put_right() {
    let stage = open_shop().await;
    // The price of a product that was never added.
    let bad = stage.price("Fruit", "Nothing", 1, 2).await;
    let results = stage.writer(&stage.live()).project_product_index(vec![bad.clone()]).await;
    assert!(results[0].is_err());
    stage.price("Fruit", "Pear", 80, 85).await;
    stage.world.advance(Duration::from_secs(601));
    let report = stage.sweep(&stage.sweeper(&stage.live(), SMALL), false).await;
    assert_eq!((report.differences, report.written, report.left), (1, 1, 1), "{:?}", report.examples);
    assert!(report.examples[0].contains(&format!("{} version 1", bad.stream)), "{:?}", report.examples);
    let pear = stage.live().search(&text("FR-200")).await.unwrap();
    assert_eq!(pear.products[0].product.price, stage::money(85));
}

#[tokio::test]
async fn an_index_that_is_damaged_or_gone_is_begun_anew_and_filled_while_it_is_fed() {
    for gone in [false, true] {
        let stage = open_shop().await;
        let manifest = format!("{PLACE}/manifest.json");
        stage.objects.delete(&manifest).await.unwrap();
        if !gone {
            stage.objects.put(&manifest, b"nonsense".to_vec(), Condition::Missing).await.unwrap();
        }
        let (writer, sweeper) = (stage.writer(&stage.live()), stage.sweeper(&stage.live(), SMALL));
        let event = stage.price("Fruit", "Pear", 80, 85).await;
        let results = writer.clone().project_product_index(vec![event.clone()]).await;
        assert_eq!(results[0].is_ok(), gone, "a damaged index takes nothing");
        if !gone {
            sweeper.begin(&Order { only_compare: true, parts: 1, rate: None }).await.unwrap();
            assert!(matches!(sweeper.slice(0).await, Err(SweepError::Broken(_))), "and cannot be compared");
        }
        assert_eq!(stage.sweep(&sweeper, false).await.left, 0);
        deliver(&writer, &[event]).await;
        is_whole(&stage).await;
    }
}

#[tokio::test]
async fn parts_that_get_into_each_others_way_all_come_through() {
    let stage = Stage::new();
    for n in 0..12 {
        let seller = format!("Store {n}");
        stage.open(&seller).await;
        for p in 0..10 {
            stage.sell(&seller, &format!("Thing {n}-{p}"), "", "", 100).await;
        }
    }
    let worker = || stage.sweeper(&stage.index(Process::over(&stage.objects)), SMALL);
    worker().begin(&Order { only_compare: false, parts: 8, rate: None }).await.unwrap();
    let before = stage.world.slept().len();
    let work = (0..8).map(|part| {
        let sweeper = worker();
        // As the state machine does: a slice that did not come through is done again.
        async move {
            loop {
                match sweeper.slice(part).await {
                    Ok(Slice::Over) => break,
                    Ok(Slice::More) | Err(SweepError::Passing(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    futures::future::join_all(work).await;
    assert!(stage.world.slept().len() > before, "they met, and some of them waited");
    assert_eq!(stage.state().await.report().written, 12 * 11);
    is_whole(&stage).await;
}

#[tokio::test]
async fn a_worker_that_dies_at_any_call_is_replaced_and_the_sweep_goes_on_where_it_was() {
    let mut died = 0;
    for calls in 0..24 {
        let stage = Stage::fruit().await;
        let doomed = Process::over(&stage.objects);
        let first = stage.sweeper(&stage.index(doomed.clone()), SMALL);
        let order = Order { only_compare: false, parts: 3, rate: None };
        let began = first.begin(&order).await.unwrap();
        doomed.dies_after(calls);
        for part in (0..3).cycle().take(12) {
            if first.slice(part).await.is_err() {
                died += 1;
                break;
            }
        }
        let before = stage.state().await;
        assert_eq!(before.sweep.stopped, None, "that a process dies stops no sweep");
        let second = stage.sweeper(&stage.live(), SMALL);
        if !before.is_over() {
            assert_eq!(second.begin(&order).await.unwrap().id, began.id);
            assert!(stage.state().await.parts.iter().zip(&before.parts).all(|(now, then)| now.at == then.at));
        }
        stage.sweep(&second, false).await;
        is_whole(&stage).await;
    }
    assert!(died > 5, "{died} died: the calls were never made");
}

#[tokio::test]
async fn a_sweep_beside_a_busy_writer_overwrites_nothing() {
    let stage = open_shop().await;
    let index = stage.live();
    let apple = key(Kind::Product, product("Apple").uuid());
    for round in 0..8 {
        let mut wrong = record(&*index, apple).await;
        wrong.row.as_mut().unwrap()["description"] = json!("wrong");
        put(&*index, wrong).await;
        let event = stage.price("Fruit", "Pear", 80 + round, 81 + round).await;
        let sweeper = stage.sweeper(&stage.index(Process::over(&stage.objects)), Limits::FUNCTION);
        let writer = stage.writer(&stage.index(Process::over(&stage.objects)));
        let (report, ()) = futures::future::join(
            stage.sweep(&sweeper, false),
            deliver(&writer, std::slice::from_ref(&event)),
        )
        .await;
        assert_eq!(report.differences, 1, "{:?}", report.examples);
        is_whole(&stage).await;
    }
    assert!(!stage.world.slept().is_empty(), "they met, and one of them waited");
}

#[tokio::test]
async fn records_without_a_stream_are_found_page_by_page_in_every_part() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    deliver(&stage.writer(&stage.live()), &stage.history().await).await;
    let index = stage.live();
    let pattern = record(&*index, key(Kind::Store, store("Fruit").uuid())).await;
    let ghost = |n: u32| Record {
        key: key(Kind::Stock, product(&n.to_string()).uuid()),
        row: None,
        ..pattern.clone()
    };
    let strays: Vec<Record> = (0..700).map(ghost).collect();
    let revision = index.records(&[], Consistency::Strong).await.unwrap().revision;
    assert_eq!(index.save(&revision, &strays).await.unwrap(), Saved::Saved);
    for (only_compare, written) in [(true, 0), (false, 700)] {
        let report = stage.sweep(&stage.sweeper(&stage.live(), SMALL), only_compare).await;
        assert_eq!((report.differences, report.written), (700, written));
    }
    assert_eq!(stage.sweep(&stage.sweeper(&index, SMALL), true).await, Report::default());
    assert_eq!(records(&stage.live()).await.len(), 1, "the store stays");
}

// ---- everything at once

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

/// A process that feeds the index.
struct Feeder {
    process: Process,
    indexing: Arc<Indexing>,
}

/// A process that answers searches, and the prices that it has shown.
struct Searcher {
    shop: Arc<ProductSearch>,
    shown: BTreeMap<String, f64>,
}

/// A mall at work, as its shoppers see it.
struct Mall {
    stage: Stage,
    feeders: Vec<Feeder>,
    searchers: Vec<Searcher>,
    /// Warm workers of sweeps.
    workers: Vec<(Process, Arc<Archive>)>,
    random: Seeded,
    /// Events on their way over the bus.
    transit: Vec<Envelope>,
    products: u32,
    prices: BTreeMap<u32, i64>,
}

impl Mall {
    async fn open(seed: u64) -> Self {
        let stage = Stage::new();
        let transit = vec![stage.open("Fruit").await, stage.participate("Fruit", true).await];
        let (random, prices) = (Seeded::new(seed), BTreeMap::new());
        let (feeders, searchers, workers) = (vec![], vec![], vec![]);
        let mut mall = Self { stage, feeders, searchers, workers, random, transit, products: 0, prices };
        for _ in 0..3 {
            let (feeder, worker) = (mall.feeder(), mall.worker());
            let shop = mall.stage.search(&mall.stage.live(), Participation::Required);
            mall.feeders.push(feeder);
            mall.workers.push(worker);
            mall.searchers.push(Searcher { shop, shown: BTreeMap::new() });
        }
        mall
    }

    fn feeder(&self) -> Feeder {
        let process = Process::over(&self.stage.objects);
        let indexing = self.stage.writer(&self.stage.index(process.clone()));
        Feeder { process, indexing }
    }

    fn worker(&self) -> (Process, Arc<Archive>) {
        let process = Process::over(&self.stage.objects);
        (process.clone(), self.stage.index(process))
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

    /// Some of what is on its way arrives, in any order, perhaps not for the last time, perhaps at a process
    /// that dies.
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

    /// Events arrive while a worker sweeps: both get their turns, and either may die.
    async fn work(&mut self) {
        let batch = if self.random.chance(0.5) { self.batch() } else { vec![] };
        let (f, w) = (self.random.below(3), self.random.below(3));
        if self.random.chance(0.2) {
            self.feeders[f].process.dies_after(self.random.below(9) as u32);
        }
        if self.random.chance(0.2) {
            self.workers[w].0.dies_after(self.random.below(9) as u32);
        }
        let (choice, part) = (self.random.below(24), self.random.below(3) as u32);
        let order = Order { only_compare: self.random.chance(0.2), parts: 3, rate: None };
        let sweeper = self.stage.sweeper(&self.workers[w].1, SMALL);
        let operate = async {
            // Whatever fails is a worker that died.
            match choice {
                0..3 => drop(sweeper.begin(&order).await),
                _ => drop(sweeper.slice(part).await),
            }
        };
        let feed = self.feeders[f].indexing.clone().project_product_index(batch.clone());
        let (results, ()) = futures::future::join(feed, operate).await;
        // What failed comes again.
        let failed = batch.into_iter().zip(results).filter(|(_, result)| result.is_err());
        self.transit.extend(failed.map(|(event, _)| event));
        if self.feeders[f].process.is_dead() {
            self.feeders[f] = self.feeder();
        }
        if self.workers[w].0.is_dead() {
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

    /// Everything arrives at last, and a sweep comes to its end.
    async fn close(mut self) {
        for process in self.feeders.iter().map(|f| &f.process) {
            process.dies_after(u32::MAX);
        }
        while !self.transit.is_empty() {
            let batch = self.batch();
            let results = self.feeders[0].indexing.clone().project_product_index(batch.clone()).await;
            let failed = batch.into_iter().zip(results).filter(|(_, result)| result.is_err());
            self.transit.extend(failed.map(|(event, _)| event));
            self.search().await;
        }
        let sweeper = self.stage.sweeper(&self.stage.live(), SMALL);
        for _ in 0..2 {
            self.stage.sweep(&sweeper, false).await;
        }
        assert!(self.stage.state().await.parts.iter().all(|part| part.at == At::End));
        is_whole(&self.stage).await;
        self.stage.world.advance(Duration::from_secs(601));
        for searcher in 0..3 {
            let found = prices(&self.searchers[searcher].shop).await.unwrap();
            assert_eq!(found.len(), self.products as usize, "searches end with all of them");
        }
        assert_eq!(self.stage.sweep(&sweeper, true).await, Report::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_around_a_sweep_no_search_loses_a_product_and_the_index_is_the_catalogue(
        seed in any::<u64>(),
        steps in 40_usize..160,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut mall = Mall::open(seed).await;
            for _ in 0..steps {
                match mall.random.below(20) {
                    0..3 => mall.happen().await,
                    3..6 => mall.search().await,
                    6..18 => mall.work().await,
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
