//! The index is what the catalogue is, however its events are delivered and whatever fails on the way.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use contracts::Envelope;
use product_search::{
    archive::REFRESH,
    engine::Edition,
    index::{IndexError, ProductIndex, Revision, Saved},
    objects::{Condition, Got, Listed, MemoryObjects, Objects, Tag, Wrote},
};
use projection::Consistency;
use proptest::prelude::*;
use stage::{Process, Stage, deliver, names, records, seen, text};
use testing::{Hostility, Seeded, hostile};

/// A mall in which everything happens that can happen to products, stores and stock.
async fn busy_mall(seed: u64) -> Stage {
    let mut random = Seeded::new(seed);
    let stage = Stage::new();
    for n in 0..4 {
        let seller = format!("Store {n}");
        stage.open(&seller).await;
        stage.participate(&seller, true).await;
        if random.chance(0.3) {
            stage.participate(&seller, false).await;
        }
        for p in 0..6 {
            let name = format!("Thing {n}-{p}");
            stage.sell(&seller, &name, "as new", &format!("SKU-{n}{p}"), 100).await;
            if random.chance(0.5) {
                stage.price(&seller, &name, 100, 150).await;
                stage.price(&seller, &name, 150, 120).await;
            }
            if random.chance(0.4) {
                stage.rename(&seller, &name, &format!("Renamed {n}-{p}"), "as good as new").await;
            }
            if random.chance(0.6) {
                stage.add_stock(&name, 2, 2).await;
                for turn in 0..random.below(8) {
                    if random.chance(0.5) {
                        stage.add_stock(&name, 2, 2).await;
                    }
                    // Last, because a bus that loses events loses no stream's last one: nothing heals that.
                    stage.available(&name, turn % 2 == 1).await;
                }
            }
            if random.chance(0.2) {
                stage.remove(&seller, &name).await;
            }
        }
        if random.chance(0.5) {
            stage.rename_store(&seller, &format!("Renamed store {n}")).await;
        }
    }
    stage
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_index_as_an_orderly_one_does() {
    for seed in 0..8 {
        let stage = busy_mall(seed).await;
        let history = stage.history().await;
        let orderly = seen(&*stage.indexed().await).await;
        for hostility in [Hostility::SHUFFLED, Hostility::WORST] {
            let index = stage.index(MemoryObjects::new());
            deliver(&stage.writer(&index), &hostile(&history, seed, hostility)).await;
            assert_eq!(seen(&index).await, orderly, "seed {seed}, {hostility:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The property of the index: after any delivery, in batches of any size, it is what a sweep makes of the
    /// event table.
    #[test]
    fn any_delivery_leaves_what_a_sweep_makes_of_the_event_table(seed in any::<u64>(), size in 1_usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stage = busy_mall(seed).await;
            let index = stage.index(MemoryObjects::new());
            let writer = stage.writer(&index);
            for batch in hostile(&stage.history().await, seed, Hostility::WORST).chunks(size) {
                for result in writer.clone().project_product_index(batch.to_vec()).await {
                    result.unwrap();
                }
            }
            let at_once = stage.index(MemoryObjects::new());
            stage.fill(&at_once).await;
            assert_eq!(seen(&at_once).await, seen(&index).await);
        });
    }
}

#[tokio::test]
async fn a_change_that_comes_after_it_was_taken_back_stays_taken_back() {
    let stage = Stage::fruit().await;
    let index = stage.index(MemoryObjects::new());
    let writer = stage.writer(&index);
    deliver(&writer, &stage.history().await).await;
    let dearer = stage.price("Fruit", "Apple", 75, 90).await;
    let as_before = stage.price("Fruit", "Apple", 90, 75).await;
    let out = stage.participate("Fruit", false).await;
    let in_again = stage.participate("Fruit", true).await;
    for late in [[as_before, in_again], [dearer, out]] {
        deliver(&writer, &late).await;
        assert_eq!(seen(&index).await, seen(&*stage.indexed().await).await);
    }
}

#[tokio::test]
async fn two_writers_never_overwrite_each_other() {
    let stage = busy_mall(3).await;
    let orderly = seen(&*stage.indexed().await).await;
    let open = || stage.index(Process::over(&stage.objects));
    let (one, other) = (open(), open());
    let (first, second) = (stage.writer(&one), stage.writer(&other));
    let delivered = hostile(&stage.history().await, 9, Hostility::WORST);
    for both in delivered.chunks(20) {
        let (mine, theirs) = both.split_at(both.len() / 2);
        futures::future::join(deliver(&first, mine), deliver(&second, theirs)).await;
    }
    assert!(!stage.world.slept().is_empty(), "they met, and one of them waited");
    assert_eq!(seen(&one).await, orderly);
    assert_eq!(seen(&other).await, orderly);
}

#[tokio::test]
async fn a_change_that_is_based_on_an_old_picture_is_refused_whole() {
    let stage = Stage::fruit().await;
    let (one, other) = (stage.index(stage.objects.clone()), stage.index(stage.objects.clone()));
    deliver(&stage.writer(&one), &stage.history().await).await;
    let before = seen(&one).await;
    let all = records(&one).await;
    let key = all[0].key;
    let old = other.records(&[key], Consistency::Strong).await.unwrap().revision;
    deliver(&stage.writer(&one), &[stage.price("Fruit", "Apple", 75, 80).await]).await;
    assert_ne!(seen(&one).await, before);
    let before = seen(&one).await;
    assert_eq!(other.save(&old, &all[..1]).await.unwrap(), Saved::Conflict);
    assert_eq!(other.remove(&old, &[key]).await.unwrap(), Saved::Conflict);
    for unknown in ["", "another"] {
        let unknown = Revision(unknown.to_owned());
        assert_eq!(other.save(&unknown, &all[..1]).await.unwrap(), Saved::Conflict);
    }
    assert_eq!(seen(&one).await, before);
    assert_eq!(seen(&other).await, before);
}

/// Objects that fail at one call: before it took effect, or after, when nobody can tell.
#[derive(Clone)]
struct Failing {
    objects: MemoryObjects,
    calls: Arc<AtomicU32>,
    at: u32,
    after: bool,
}

impl Failing {
    fn due(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) == self.at
    }
}

fn lost() -> IndexError {
    IndexError::Unavailable { operation: "test", why: "the connection was lost".into() }
}

#[async_trait]
impl Objects for Failing {
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError> {
        if self.due() { Err(lost()) } else { self.objects.get(name, known).await }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError> {
        match (self.due(), self.after) {
            (false, _) => self.objects.put(name, bytes, condition).await,
            (true, false) => Err(lost()),
            (true, true) => {
                self.objects.put(name, bytes, condition).await?;
                Err(lost())
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError> {
        if self.due() { Err(lost()) } else { self.objects.list(prefix).await }
    }

    async fn delete(&self, name: &str) -> Result<(), IndexError> {
        if self.due() { Err(lost()) } else { self.objects.delete(name).await }
    }
}

/// Objects that answer no reads from some time on.
#[derive(Clone)]
struct Silent {
    objects: MemoryObjects,
    silent: Arc<AtomicBool>,
}

#[async_trait]
impl Objects for Silent {
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError> {
        if self.silent.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        self.objects.get(name, known).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError> {
        self.objects.put(name, bytes, condition).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError> {
        self.objects.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), IndexError> {
        self.objects.delete(name).await
    }
}

#[tokio::test]
async fn an_archive_that_hangs_does_not_keep_shoppers_from_searching_what_is_known() {
    let stage = Stage::fruit().await;
    deliver(&stage.writer(&stage.index(stage.objects.clone())), &stage.history().await).await;
    let silent = Arc::new(AtomicBool::new(false));
    let index = stage.index(Silent { objects: stage.objects.clone(), silent: silent.clone() });
    let before = names(&index, &text("apple")).await;
    assert!(!before.is_empty());
    silent.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        stage.world.advance(REFRESH * 2);
        assert_eq!(names(&index, &text("apple")).await, before);
    }
    let writer = stage.writer(&stage.index(stage.objects.clone()));
    deliver(&writer, &[stage.rename("Fruit", "Pear", "Quince", "").await]).await;
    assert_eq!(names(&index, &text("quince")).await, Vec::<String>::new());
    silent.store(false, Ordering::Relaxed);
    stage.world.advance(REFRESH * 2);
    assert_eq!(names(&index, &text("quince")).await, ["Quince"]);
}

#[tokio::test]
async fn a_crash_at_any_call_loses_nothing_that_the_queue_heard_was_done() {
    let stage = Stage::fruit().await;
    stage.available("Apple", false).await;
    stage.remove("Fruit", "Pear").await;
    let history = stage.history().await;
    let orderly = seen(&*stage.indexed().await).await;
    let mut failures = 0;
    for after in [false, true] {
        for at in 0..16 {
            let objects = Failing { objects: MemoryObjects::new(), calls: Arc::default(), at, after };
            let mut queue: Vec<Vec<Envelope>> = history.chunks(4).map(<[Envelope]>::to_vec).collect();
            while let Some(batch) = queue.pop() {
                // The process is gone after each batch; what was not acknowledged comes again, to another one.
                let writer = stage.writer(&stage.index(objects.clone()));
                let results = writer.project_product_index(batch.clone()).await;
                let failed: Vec<Envelope> =
                    batch.into_iter().zip(results).filter(|(_, r)| r.is_err()).map(|(e, _)| e).collect();
                failures += failed.len();
                if !failed.is_empty() {
                    queue.insert(0, failed);
                }
            }
            let index = stage.index(objects.objects.clone());
            assert_eq!(seen(&index).await, orderly, "call {at} failed, after it took effect: {after}");
        }
    }
    assert!(failures > 16, "{failures} events failed: the calls were never made");
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_stops_its_own_stream_only() {
    let stage = Stage::fruit().await;
    let mut history = stage.history().await;
    let poison = history.iter_mut().find(|event| event.event_type == "ProductAdded").unwrap();
    poison.data = Some(serde_json::json!({ "nonsense": true }));
    let poisoned = poison.stream.clone();
    let mut stray = history[0].clone();
    stray.stream = "ordering.Order/0198c0de-0000-7000-8000-000000000001".parse().unwrap();
    history.push(stray);
    let index = stage.index(MemoryObjects::new());
    let results = stage.writer(&index).project_product_index(history.clone()).await;
    for (event, result) in history.iter().zip(results) {
        let bad = event.stream == poisoned || event.stream.context() == "ordering";
        assert_eq!(result.is_err(), bad, "{}", event.stream);
    }
    assert_eq!(names(&index, &text("")).await.len(), 6, "all products but the poisoned one");
}

#[tokio::test]
async fn availability_that_comes_late_twice_or_with_gaps_ends_right_without_the_event_table() {
    let stage = Stage::new();
    let mut told = Vec::new();
    for n in 0..6 {
        stage.add_stock("Apple", 1, n + 1).await;
        told.push(stage.available("Apple", n % 2 == 1).await);
    }
    let [first, second, third, fourth, lost, last] = &told[..] else { panic!("six were told") };
    let row = async |batches: &[&[&Envelope]]| {
        let index = stage.index(MemoryObjects::new());
        for batch in batches {
            let batch: Vec<Envelope> = batch.iter().copied().cloned().collect();
            deliver(&stage.writer_without_events(&index), &batch).await;
        }
        seen(&index).await.remove(0).1["available"].as_bool().unwrap()
    };
    assert!(!row(&[&[third], &[second], &[first], &[third]]).await, "reordered, one by one");
    assert!(row(&[&[fourth, first, fourth, third, second]]).await, "reordered and doubled in one batch");
    assert!(row(&[&[first], &[last]]).await, "four were lost");
    assert!(row(&[&[first], &[last], &[lost, second, first]]).await, "they come later, and change nothing");
}

#[tokio::test]
async fn stock_that_tells_no_availability_writes_nothing() {
    let stage = Stage::fruit().await;
    let index = stage.index(stage.objects.clone());
    stage.available("Apple", false).await;
    deliver(&stage.writer(&index), &stage.history().await).await;
    let before = stage.objects.written();
    for n in 0..40 {
        deliver(&stage.writer(&index), &[stage.add_stock("Apple", 1, n + 1).await]).await;
    }
    assert_eq!(stage.objects.written(), before);
}

#[tokio::test]
async fn a_change_of_a_large_index_writes_a_small_part_of_it() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for n in 0..600 {
        let name = format!("Product {n}");
        stage.sell("Fruit", &name, "a description of some words that differ little", "", 100).await;
    }
    let index = stage.index(stage.objects.clone());
    let writer = stage.writer(&index);
    stage.fill(&index).await;
    let (_, size) = stage.objects.written();
    let mut written = Vec::new();
    for n in 0..40 {
        let event = stage.price("Fruit", &format!("Product {n}"), 100, 101).await;
        let (_, before) = stage.objects.written();
        deliver(&writer, &[event]).await;
        written.push(stage.objects.written().1 - before);
    }
    written.sort_unstable();
    let (median, most) = (written[written.len() / 2], written[written.len() - 1]);
    assert!(
        median * 10 < size && most * 4 < size,
        "{median} and at most {most} of {size} bytes were written"
    );
}

#[tokio::test]
async fn old_bundles_are_swept_away_and_no_reader_misses_them() {
    let stage = Stage::fruit().await;
    let index = stage.index(stage.objects.clone());
    let writer = stage.writer(&index);
    stage.fill(&index).await;
    let slow_reader = stage.index(stage.objects.clone());
    assert_eq!(names(&slow_reader, &text("quince")).await.len(), 0);
    for n in 0..200 {
        stage.world.advance(Duration::from_secs(60));
        stage.objects.at(stage.world.now());
        let event = stage.price("Fruit", "Apple", 75 + n, 76 + n).await;
        deliver(&writer, &[event]).await;
    }
    // What the last hour left, what is in use, and what came since the last sweep.
    let (objects, _) = stage.objects.kept();
    assert!(objects < 160, "{objects} objects are kept");
    stage.rename("Fruit", "Pear", "Quince", "").await;
    deliver(&writer, &stage.history().await).await;
    stage.world.advance(REFRESH + Duration::from_secs(1));
    assert_eq!(names(&slow_reader, &text("quince")).await, ["Quince"]);
    assert_eq!(seen(&stage.index(stage.objects.clone())).await, seen(&*stage.indexed().await).await);
}

#[tokio::test]
async fn a_reader_is_some_seconds_behind_and_goes_on_when_the_archive_does_not_answer() {
    let stage = Stage::fruit().await;
    let index = stage.index(stage.objects.clone());
    let writer = stage.writer(&index);
    deliver(&writer, &stage.history().await).await;
    let calls: Arc<AtomicU32> = Arc::default();
    let reader =
        stage.index(Failing { objects: stage.objects.clone(), calls: calls.clone(), at: 3, after: false });
    assert_eq!(names(&reader, &text("pear")).await, ["Pear"]);
    stage.rename("Fruit", "Pear", "Quince", "").await;
    deliver(&writer, &stage.history().await).await;
    let asked = calls.load(Ordering::Relaxed);
    assert_eq!(names(&reader, &text("pear")).await, ["Pear"], "it has not asked again yet");
    assert_eq!(calls.load(Ordering::Relaxed), asked);
    calls.store(3, Ordering::Relaxed);
    stage.world.advance(REFRESH + Duration::from_secs(1));
    assert_eq!(names(&reader, &text("pear")).await, ["Pear"], "the archive did not answer");
    stage.world.advance(REFRESH + Duration::from_secs(1));
    assert_eq!(names(&reader, &text("quince")).await, ["Quince"], "now it did");
}

#[tokio::test]
async fn an_index_that_was_never_written_is_empty_and_not_an_error() {
    let stage = Stage::new();
    let index = stage.index(stage.objects.clone());
    assert_eq!(names(&index, &text("apple")).await, Vec::<String>::new());
    assert_eq!(Edition::empty().unwrap().segments(), 0);
    let writer = stage.writer(&index);
    assert_eq!(writer.clone().project_product_index(Vec::new()).await.len(), 0);
    stage.fill(&index).await;
    assert_eq!(stage.objects.kept().0, 0);
}

/// Both archives behave alike: the one in memory, and S3 through the SDK.
async fn conforms(objects: Arc<dyn Objects>) {
    let (a, b) = (vec![1, 2, 3], vec![4]);
    assert_eq!(objects.get("p/x", None).await.unwrap(), Got::Missing);
    let Wrote::Written(first) = objects.put("p/x", a.clone(), Condition::Missing).await.unwrap() else {
        panic!("there was nothing");
    };
    assert_eq!(objects.put("p/x", b.clone(), Condition::Missing).await.unwrap(), Wrote::Refused);
    assert_eq!(objects.get("p/x", None).await.unwrap(), Got::Object { tag: first.clone(), bytes: a });
    assert_eq!(objects.get("p/x", Some(&first)).await.unwrap(), Got::Unchanged);
    let Wrote::Written(second) = objects.put("p/x", b.clone(), Condition::Still(&first)).await.unwrap()
    else {
        panic!("it was still the first");
    };
    assert_eq!(objects.put("p/x", vec![5], Condition::Still(&first)).await.unwrap(), Wrote::Refused);
    assert_eq!(objects.put("p/y", vec![5], Condition::Still(&first)).await.unwrap(), Wrote::Refused);
    assert_eq!(objects.get("p/x", Some(&first)).await.unwrap(), Got::Object { tag: second, bytes: b });
    objects.put("q/z", vec![], Condition::Missing).await.unwrap();
    let listed = objects.list("p/").await.unwrap();
    assert_eq!(listed.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["p/x"]);
    objects.delete("p/x").await.unwrap();
    objects.delete("p/x").await.unwrap();
    assert_eq!(objects.get("p/x", None).await.unwrap(), Got::Missing);
}

#[tokio::test]
async fn objects_in_memory_behave_as_the_archive_expects() {
    conforms(Arc::new(MemoryObjects::new())).await;
}

#[tokio::test]
async fn objects_in_s3_behave_as_the_archive_expects() {
    let s3 = testing::EmbeddedS3::start().await;
    let config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
        .region(aws_config::Region::from_static("us-east-1"))
        .endpoint_url(s3.endpoint())
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
            aws_credential_types::Credentials::new("test", "test", None, None, "test"),
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    conforms(Arc::new(product_search::s3::S3Objects::of(&config, "index"))).await;
}
