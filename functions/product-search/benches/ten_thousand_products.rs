//! What the index of ten thousand products costs: to search, to keep, to open and to change.
//!
//!     cargo bench -p product-search
//!
//! Objects are in memory, so times are the engine's alone: S3 adds some 20 ms to a `GetObject` and some 30 ms to a
//! `PutObject`, and a cold open makes one request for the manifest and then those for the bundles, eight at a time.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures the clock and prints a table"
)]

#[path = "../tests/stage/mod.rs"]
mod stage;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use product_search::{
    archive::Archive,
    index::{ProductIndex, Wanted},
};
use stage::{Stage, deliver, money, store, text};
use testing::Seeded;

const STORES: usize = 50;
const ROUNDS: usize = 400;

const THINGS: &[&str] = &[
    "apple",
    "pear",
    "quince",
    "cherry",
    "kettle",
    "teapot",
    "lantern",
    "cushion",
    "blanket",
    "notebook",
    "pencil",
    "umbrella",
    "suitcase",
    "bicycle",
    "helmet",
    "sandals",
    "raincoat",
    "scarf",
    "mirror",
    "bookshelf",
    "armchair",
    "toaster",
    "headphones",
    "keyboard",
    "microscope",
    "binoculars",
    "chocolate",
    "marmalade",
    "olive",
    "mustard",
];
const KINDS: &[&str] = &[
    "red",
    "green",
    "small",
    "large",
    "organic",
    "vintage",
    "wooden",
    "steel",
    "woollen",
    "folding",
    "portable",
    "classic",
    "deluxe",
    "foldable",
    "waterproof",
    "handmade",
    "recycled",
    "striped",
    "plain",
    "golden",
];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for products in [1_000, 10_000, 50_000] {
        runtime.block_on(measure(products));
    }
}

/// A mall, and what its products are called.
async fn mall(products: usize) -> (Stage, Vec<String>) {
    let (stage, mut random) = (Stage::new(), Seeded::new(7));
    for n in 0..STORES {
        stage.open(&format!("Store {n}")).await;
    }
    let mut names = Vec::with_capacity(products);
    for n in 0..products {
        let mut pick = |words: &'static [&'static str]| words[random.below(words.len())];
        let (kind, other, thing, with) = (pick(KINDS), pick(KINDS), pick(THINGS), pick(THINGS));
        let name = format!("{kind} {thing} {n}");
        let description =
            format!("A {other} {thing} that goes well with every {with}, from our own workshop");
        let sku = format!("{}-{n:05}", &thing[..2].to_uppercase());
        stage.sell(&format!("Store {}", n % STORES), &name, &description, &sku, (n % 500) as i64 * 10).await;
        names.push(name);
    }
    (stage, names)
}

async fn measure(products: usize) {
    let (stage, names) = mall(products).await;
    let index = stage.index(stage.objects.clone());
    let writer = stage.writer(&index);
    let started = Instant::now();
    let rebuilt = writer.rebuild().await.unwrap();
    let took = started.elapsed();
    let (_, size) = stage.objects.kept();
    println!("\n## {products} products in {STORES} stores\n");
    println!(
        "rebuild: {:.0} events/s ({} events in {} ms); index: {} KB, {} bytes a product\n",
        rebuilt.events as f64 / took.as_secs_f64(),
        rebuilt.events,
        took.as_millis(),
        size / 1024,
        size / products
    );

    println!("| search | results | p50 ms | p99 ms |");
    println!("| --- | --- | --- | --- |");
    let in_a_store = || Wanted { store_id: Some(store("Store 7")), ..text("") };
    for (name, wanted) in [
        ("exact: `umbrella`", text("umbrella")),
        ("exact, two words: `folding umbrella`", text("folding umbrella")),
        ("SKU: `UM-00042`", text("UM-00042")),
        ("prefix: `umb`", text("umb")),
        ("prefix of one letter: `b`", text("b")),
        ("typo: `umbrela`", text("umbrela")),
        ("two typos: `binocolars waterprof`", text("binocolars waterprof")),
        ("nothing: `xylophone`", text("xylophone")),
        (
            "filtered: `umbrella`, one store, 10.00 to 40.00, available",
            Wanted {
                min_price: Some(money(1_000)),
                max_price: Some(money(4_000)),
                available: Some(true),
                text: "umbrella".to_owned(),
                ..in_a_store()
            },
        ),
        ("all of one store", in_a_store()),
        ("everything", text("")),
    ] {
        let (mut times, mut found) = (Histogram::<u64>::new(3).unwrap(), 0);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            found = index.search(&wanted).await.unwrap().products.len();
            times.record(started.elapsed().as_nanos() as u64).unwrap();
        }
        let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
        println!("| {name} | {found} | {:.2} | {:.2} |", ms(0.5), ms(0.99));
    }

    println!("\n| to change | p50 ms | p99 ms | objects written | KB written a batch | segments |");
    println!("| --- | --- | --- | --- | --- | --- |");
    change(&stage, &index, &names, 1).await;
    change(&stage, &index, &names, 10).await;

    let mut opens = Histogram::<u64>::new(3).unwrap();
    for _ in 0..20 {
        let reader = Archive::new(Arc::new(stage.objects.clone()), stage.world.ports(), "products/v1");
        let started = Instant::now();
        assert_eq!(reader.search(&text("umbrella")).await.unwrap().products.len(), 20);
        opens.record(started.elapsed().as_nanos() as u64).unwrap();
    }
    let ms = |quantile| opens.value_at_quantile(quantile) as f64 / 1e6;
    let (objects, kept) = stage.objects.kept();
    println!(
        "\ncold open, from the objects' bytes to the first answer: p50 {:.1} ms, p99 {:.1} ms",
        ms(0.5),
        ms(0.99)
    );
    println!(
        "objects kept after these changes (an hour's old ones among them): {objects}, {} KB",
        kept / 1024
    );
}

/// Two hundred batches of price changes.
async fn change(stage: &Stage, index: &Arc<Archive>, names: &[String], batch: usize) {
    let (writer, mut random) = (stage.writer(index), Seeded::new(batch as u64));
    let mut times = Histogram::<u64>::new(3).unwrap();
    let (objects, bytes) = stage.objects.written();
    const BATCHES: usize = 200;
    for round in 0..BATCHES {
        let mut events = Vec::new();
        for _ in 0..batch {
            let n = random.below(names.len());
            let (seller, price) = (format!("Store {}", n % STORES), (n % 500) as i64 * 10);
            events.push(stage.price(&seller, &names[n], price, price + round as i64 + 1).await);
        }
        let started = Instant::now();
        deliver(&writer, &events).await;
        times.record(started.elapsed().as_nanos() as u64).unwrap();
    }
    let (objects_after, bytes_after) = stage.objects.written();
    let ms = |quantile| Duration::from_nanos(times.value_at_quantile(quantile)).as_secs_f64() * 1e3;
    println!(
        "| {batch} of {} | {:.1} | {:.1} | {:.1} | {} | {} |",
        names.len(),
        ms(0.5),
        ms(0.99),
        (objects_after - objects) as f64 / BATCHES as f64,
        (bytes_after - bytes) / BATCHES as u64 / 1024,
        index.segments().await.unwrap(),
    );
}
