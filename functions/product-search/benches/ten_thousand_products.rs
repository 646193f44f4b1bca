//! What the index of ten thousand products costs: to search, to keep, to open and to change.
//!
//!     cargo bench --workspace --bench ten_thousand_products
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
    objects::MemoryObjects,
};
use projection::Limits;
use stage::{Stage, deliver, money, seen, store, text};
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
        let sku = sku(&name, n);
        stage.sell(&format!("Store {}", n % STORES), &name, &description, &sku, (n % 500) as i64 * 10).await;
        names.push(name);
    }
    (stage, names)
}

/// "green umbrella 42" has the number "UM-00042".
fn sku(name: &str, n: usize) -> String {
    let thing: String = name.split(' ').nth(1).unwrap_or_default().chars().take(2).collect();
    format!("{}-{n:05}", thing.to_uppercase())
}

async fn measure(products: usize) {
    let (stage, names) = mall(products).await;
    println!("\n## {products} products in {STORES} stores\n");
    let index = swept(&stage, products).await;

    println!("| search | results | p50 ms | p99 ms |");
    println!("| --- | --- | --- | --- |");
    let sku = sku(&names[42], 42);
    let in_a_store = || Wanted { store_id: Some(store("Store 7")), ..text("") };
    for (name, wanted) in [
        ("exact: `umbrella`".to_owned(), text("umbrella")),
        ("exact, two words: `folding umbrella`".to_owned(), text("folding umbrella")),
        (format!("SKU: `{sku}`"), text(&sku)),
        ("prefix: `umb`".to_owned(), text("umb")),
        ("prefix of one letter: `b`".to_owned(), text("b")),
        ("typo: `umbrela`".to_owned(), text("umbrela")),
        ("two typos: `binocolars waterprof`".to_owned(), text("binocolars waterprof")),
        ("nothing: `xylophone`".to_owned(), text("xylophone")),
        (
            "filtered: `umbrella`, one store, 10.00 to 40.00, available".to_owned(),
            Wanted {
                min_price: Some(money(1_000)),
                max_price: Some(money(4_000)),
                available: Some(true),
                text: "umbrella".to_owned(),
                ..in_a_store()
            },
        ),
        ("all of one store".to_owned(), in_a_store()),
        ("everything".to_owned(), text("")),
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

    found(&index, &names).await;

    println!("\n| to change | p50 ms | p99 ms | objects written | KB written a batch | segments |");
    println!("| --- | --- | --- | --- | --- | --- |");
    change(&stage, &index, &names, 1).await;
    change(&stage, &index, &names, 10).await;

    let mut opens = Histogram::<u64>::new(3).unwrap();
    for _ in 0..20 {
        let reader = stage.live();
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

/// Sweeps the index twice, an empty one and a right one, compares it with its events, and checks that it is
/// what the bus makes of them.
async fn swept(stage: &Stage, products: usize) -> Arc<Archive> {
    let sweeper = stage.sweeper(&stage.live(), Limits::FUNCTION);
    println!("| sweep, 3 parts one after the other, in memory | ms | events/s | objects written |");
    println!("| --- | --- | --- | --- |");
    for (name, only_compare) in [("sweep of an empty index", false), ("again", false), ("comparison", true)] {
        let (before, _) = stage.objects.written();
        let started = Instant::now();
        let report = stage.sweep(&sweeper, only_compare).await;
        let took = started.elapsed();
        assert_eq!(report.left, 0, "{:?}", report.examples);
        let events = stage.state().await.events();
        println!(
            "| {name}, {events} events | {} | {:.0} | {} |",
            took.as_millis(),
            events as f64 / took.as_secs_f64(),
            stage.objects.written().0 - before,
        );
    }
    let index = stage.live();
    if products <= 1_000 {
        let same = seen(&index).await == seen(&*stage.indexed().await).await;
        println!(
            "\nthe index equals what the bus makes of the same events: {}",
            if same { "yes" } else { "NO" }
        );
        assert!(same);
    }
    // The bundles that a sweep's later batches made superfluous are there for another hour; what counts is
    // what is in use.
    let objects = MemoryObjects::new();
    stage.fill(&stage.index(objects.clone())).await;
    let (_, size) = objects.kept();
    println!("\nindex, written at once: {} KB, {} bytes a product\n", size / 1024, size / products);
    index
}

/// Whether products are found by what people type of their names.
async fn found(index: &Archive, names: &[String]) {
    let mut random = Seeded::new(11);
    let sample: Vec<&String> = (0..500).map(|_| &names[random.below(names.len())]).collect();
    println!("\n| typed of 500 names | found first | found on the first page |");
    println!("| --- | --- | --- |");
    for (how, typed) in [
        ("as it is", (|name| name.to_owned()) as fn(&str) -> String),
        ("two letters swapped in the thing", |name| in_the_thing(name, |word| word.swap(1, 2))),
        ("a letter missing in a thing of five or more", |name| {
            in_the_thing(name, |word| {
                if word.len() > 4 {
                    word.remove(2);
                }
            })
        }),
        ("a letter wrong in the thing", |name| in_the_thing(name, |word| word[1] = 'x')),
        ("the beginning of the thing", |name| in_the_thing(name, |word| word.truncate(3))),
    ] {
        let (mut first, mut listed) = (0, 0);
        for name in &sample {
            let found = index.search(&text(&typed(name))).await.unwrap().products;
            first += usize::from(found.first().is_some_and(|found| found.product.name == **name));
            listed += usize::from(found.iter().any(|found| found.product.name == **name));
        }
        println!("| {how} | {first} | {listed} |");
        assert_eq!(listed, sample.len(), "{how}");
    }
}

/// "small lantern 42", with the middle word changed.
fn in_the_thing(name: &str, change: impl Fn(&mut Vec<char>)) -> String {
    let words = name.split(' ').enumerate().map(|(place, word)| {
        let mut letters: Vec<char> = word.chars().collect();
        if place == 1 {
            change(&mut letters);
        }
        letters.into_iter().collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
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
