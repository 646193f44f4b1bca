//! The copy of the stores' goods, however the bus delivers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use catalogue::{Catalogue, ProductCopy, Products, StoreCopy, Stores};
use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
};
use event_store::{EventStore, MemoryLog, Segment};
use futures::future::{BoxFuture, join_all};
use kernel::{Id, Money, Version};
use projection::{
    Consistency, Content, DynamoViews, List, Listed, MemoryViews, Projection, Projector, Put, Stamp, Stored,
    ViewError, ViewStore,
};
use proptest::prelude::*;
use testing::{EmbeddedDynamo, Hostility, Seeded, Shelves, TestPorts, hostile};

/// A mall, and a copy of it.
struct Stage {
    shelves: Shelves,
    store: EventStore,
    world: TestPorts,
    products: Arc<dyn ViewStore<Products>>,
    stores: Arc<dyn ViewStore<Stores>>,
    copy: Arc<Catalogue>,
}

impl Stage {
    fn new() -> Self {
        Self::over(Arc::new(MemoryViews::<Products>::new()), Arc::new(MemoryViews::<Stores>::new()))
    }

    fn over(products: Arc<dyn ViewStore<Products>>, stores: Arc<dyn ViewStore<Stores>>) -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        let shopkeeper = world.clone();
        let shelves = Shelves::new(store.clone(), move || {
            shopkeeper.advance(Duration::from_secs(1));
            shopkeeper.command("shopkeeper")
        });
        let copy = Arc::new(Catalogue::new(
            Projector::new(products.clone(), store.clone(), world.ports()),
            Projector::new(stores.clone(), store.clone(), world.ports()),
        ));
        Self { shelves, store, world, products, stores, copy }
    }

    /// Another copy of the same mall, in tables with nothing in them.
    fn fresh_copy(&self) -> OtherCopy {
        self.copy_into(Arc::new(MemoryViews::<Products>::new()))
    }

    /// Another copy, which keeps its products here.
    fn copy_into(&self, products: Arc<dyn ViewStore<Products>>) -> OtherCopy {
        let stores = Arc::new(MemoryViews::<Stores>::new());
        let catalogue = Arc::new(Catalogue::new(
            Projector::new(products.clone(), self.store.clone(), self.world.ports()),
            Projector::new(stores.clone(), self.store.clone(), self.world.ports()),
        ));
        OtherCopy { catalogue, products, stores }
    }

    /// Everything that happened to stores, or to products.
    async fn history<P: Projection>(&self) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        let commits = page.commits.iter().filter(|commit| commit.stream.category() == P::CATEGORY);
        commits.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }

    async fn product_row(&self, id: ProductId) -> Option<(ProductCopy, u64)> {
        row(&*self.products, id.to_string()).await
    }

    async fn store_row(&self, id: StoreId) -> Option<(StoreCopy, u64)> {
        row(&*self.stores, id.to_string()).await
    }
}

/// A copy, and the tables in which it is: what is read through it heals, what is in them is as it was written.
struct OtherCopy {
    catalogue: Arc<Catalogue>,
    products: Arc<dyn ViewStore<Products>>,
    stores: Arc<dyn ViewStore<Stores>>,
}

/// Rows in memory behind a network: between a reading and the write that rests on it, others have their turn.
struct FarAway {
    rows: MemoryViews<Products>,
    state: Mutex<(Seeded, usize)>,
}

impl FarAway {
    fn new(seed: u64) -> Self {
        Self { rows: MemoryViews::new(), state: Mutex::new((Seeded::new(seed), 0)) }
    }

    /// Writes that came too late.
    fn conflicts(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

type Answer<'f, T> = BoxFuture<'f, Result<T, ViewError>>;

// Without `async_trait`, which this crate has no other use for: these are the signatures that it writes.
impl ViewStore<Products> for FarAway {
    fn get<'s, 'i, 'f>(
        &'s self,
        id: &'i str,
        consistency: Consistency,
    ) -> Answer<'f, Option<Stored<ProductCopy>>>
    where
        's: 'f,
        'i: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let found = self.rows.get(id, consistency).await;
            let turns = self.state.lock().unwrap().0.below(6);
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            found
        })
    }

    fn put<'s, 'i, 'r, 'f>(
        &'s self,
        id: &'i str,
        row: Option<&'r ProductCopy>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Answer<'f, Put>
    where
        's: 'f,
        'i: 'f,
        'r: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let put = self.rows.put(id, row, before, applied).await?;
            self.state.lock().unwrap().1 += usize::from(put == Put::Conflict);
            Ok(put)
        })
    }

    fn list<'s, 'l, 'a, 'f>(&'s self, list: &'l List<'a>) -> Answer<'f, Listed<ProductCopy>>
    where
        's: 'f,
        'l: 'f,
        'a: 'f,
        Self: 'f,
    {
        self.rows.list(list)
    }
}

/// What is stored, and its version.
async fn row<P: Projection>(rows: &dyn ViewStore<P>, id: String) -> Option<(P::Row, u64)> {
    let stored = rows.get(&id, Consistency::Strong).await.unwrap()?;
    match stored.content {
        Content::Row(row) => Some((row, stored.stamp.applied.get())),
        Content::Empty | Content::Outdated(_) | Content::Newer => None,
    }
}

/// What a copy has to be: the plain fold.
fn fold<P: Projection>(events: &[Envelope]) -> Option<P::Row> {
    events.iter().fold(None, |row, event| Some(P::apply(row, event).unwrap()))
}

fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

async fn deliver_products(copy: &Arc<Catalogue>, events: &[Envelope]) {
    for result in copy.clone().project_products(events.to_vec()).await {
        result.unwrap();
    }
}

async fn deliver_stores(copy: &Arc<Catalogue>, events: &[Envelope]) {
    for result in copy.clone().project_stores(events.to_vec()).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_product_that_was_added_a_moment_ago_is_found_before_its_event_arrives() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
    assert_eq!((stage.product_row(apple).await, stage.store_row(store).await), (None, None));
    let entry = stage.copy.entry(apple).await.unwrap().unwrap();
    assert_eq!((entry.product.price, entry.product.on_sale), (cents(75), true));
    assert_eq!((entry.store.name.as_str(), entry.store.participating), ("Fruit & Veg", false));
    assert_eq!(stage.product_row(apple).await.unwrap().1, 1, "what was missing is kept");
    assert_eq!(stage.store_row(store).await.unwrap().1, 1);
}

#[tokio::test]
async fn what_there_never_was_is_nothing_and_leaves_nothing() {
    let stage = Stage::new();
    let (product, store) = (Id::derived(&["no product"]), Id::derived(&["no store"]));
    assert_eq!(stage.copy.entry(product).await.unwrap(), None);
    assert_eq!(stage.copy.store(store).await.unwrap(), None);
    assert_eq!(stage.copy.latest_store(store).await.unwrap(), None);
    assert_eq!(stage.copy.latest([product]).await.unwrap(), [None]);
    assert_eq!((stage.product_row(product).await, stage.store_row(store).await), (None, None));
}

#[tokio::test]
async fn a_product_without_its_store_is_an_error_and_not_a_guess() {
    let stage = Stage::new();
    let orphan = stage.shelves.sell(Id::derived(&["nowhere"]), "Apple", cents(75)).await;
    assert_eq!(stage.copy.entry(orphan).await.unwrap_err().status, 500);
}

#[tokio::test]
async fn d1_price_events_in_any_order_leave_the_last_price() {
    // The original adds differences up: an event that comes before its product, twice, or never is an error for good.
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
    for price in [100, 300, 200] {
        stage.shelves.price(apple, cents(price)).await;
    }
    let events = stage.shelves.events_of_product(apple).await;
    let [added, up, upper, down] = &events[..] else { panic!("{events:?}") };
    for order in [vec![down, upper, up, added], vec![upper, added, up, down], vec![up, up, down], vec![down]]
    {
        let copy = stage.fresh_copy();
        for event in &order {
            deliver_products(&copy.catalogue, &[(*event).clone()]).await;
        }
        // As it is stored: reading through the copy would heal it.
        let (product, applied) = row(&*copy.products, apple.to_string()).await.unwrap();
        assert_eq!((product.price, applied), (cents(200), 4), "{order:?}");
    }
}

#[tokio::test]
async fn a_copy_that_is_behind_says_so_only_to_those_who_do_not_ask_for_the_latest() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
    stage.copy.entry(apple).await.unwrap();
    stage.shelves.price(apple, cents(150)).await;
    stage.shelves.participate(store, true).await;
    let entry = stage.copy.entry(apple).await.unwrap().unwrap();
    assert_eq!((entry.product.price, entry.store.participating), (cents(75), false), "a hit is one read");
    let latest = stage.copy.latest([apple]).await.unwrap();
    assert_eq!(latest[0].as_ref().unwrap().price, cents(150));
    assert!(stage.copy.latest_store(store).await.unwrap().unwrap().participating);
    let entry = stage.copy.entry(apple).await.unwrap().unwrap();
    assert_eq!((entry.product.price, entry.store.participating), (cents(150), true), "it was written back");
}

#[tokio::test]
async fn the_latest_come_in_the_order_in_which_they_were_asked_for() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(stage.shelves.sell(store, &format!("Product {n}"), cents(n)).await);
    }
    ids.reverse();
    ids.insert(7, Id::derived(&["unknown"]));
    let latest = stage.copy.latest(ids.clone()).await.unwrap();
    let found: Vec<Option<ProductId>> = latest.iter().map(|copy| copy.as_ref().map(|copy| copy.id)).collect();
    let wanted: Vec<Option<ProductId>> =
        ids.iter().enumerate().map(|(n, id)| (n != 7).then_some(*id)).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_removed_product_is_not_brought_back_by_an_event_that_comes_late() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
    stage.shelves.price(apple, cents(90)).await;
    stage.shelves.remove(apple).await;
    let events = stage.shelves.events_of_product(apple).await;
    deliver_products(&stage.copy, &events[2..]).await;
    deliver_products(&stage.copy, &events[..2]).await;
    let entry = stage.copy.entry(apple).await.unwrap().unwrap();
    assert!(!entry.product.on_sale);
    assert_eq!(
        stage.product_row(apple).await.unwrap().1,
        3,
        "the row stays, so nothing old can make it anew"
    );
}

#[tokio::test]
async fn an_event_that_makes_no_sense_goes_back_to_its_queue_and_stops_its_own_row_only() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
    let pear = stage.shelves.sell(store, "Pear", cents(150)).await;
    stage.shelves.price(apple, cents(90)).await;
    stage.shelves.price(pear, cents(200)).await;
    let mut apples = stage.shelves.events_of_product(apple).await;
    let pears = stage.shelves.events_of_product(pear).await;
    apples[1].data = Some(serde_json::json!({ "delta": 0.15 }));
    let batch: Vec<Envelope> = apples.iter().chain(&pears).cloned().collect();
    let results = stage.copy.clone().project_products(batch).await;
    let handled: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(handled, [true, false, true, true], "the queue parks the second in the end");
    assert_eq!(stage.product_row(apple).await.unwrap().1, 1, "all up to there is kept");
    assert_eq!(stage.product_row(pear).await.unwrap().0.price, cents(200));

    let mut stores = stage.shelves.events_of_store(store).await;
    stores[0].event_type = "StoreBurnt".into();
    assert!(stage.copy.clone().project_stores(stores).await[0].is_err());
    assert_eq!(stage.store_row(store).await, None);
}

#[tokio::test]
async fn an_event_of_something_else_is_a_wrong_rule_and_said_so() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let events = stage.shelves.events_of_store(store).await;
    assert!(stage.copy.clone().project_products(events).await[0].is_err());
}

/// Three stores that open, rename and take part, each with four products, of which one is removed.
async fn busy_mall(stage: &Stage) -> (Vec<StoreId>, Vec<ProductId>) {
    let (mut stores, mut products) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let store = stage.shelves.open(&format!("Store {n}")).await;
        stage.shelves.participate(store, true).await;
        stage.shelves.rename_store(store, &format!("Renamed {n}")).await;
        stage.shelves.participate(store, n != 1).await;
        for p in 0..4 {
            let product = stage.shelves.sell(store, &format!("{n}-{p}"), cents(100)).await;
            for price in [150, 250, 175 + p] {
                stage.shelves.price(product, cents(price)).await;
            }
            stage.shelves.rename(product, &format!("Renamed {n}-{p}")).await;
            if p == 3 {
                stage.shelves.remove(product).await;
            }
            products.push(product);
        }
        stores.push(store);
    }
    (stores, products)
}

/// Every row is the fold of its stream.
async fn is_what_happened(stage: &Stage, stores: &[StoreId], products: &[ProductId], when: &str) {
    for id in products {
        let events = stage.shelves.events_of_product(*id).await;
        let wanted = fold::<Products>(&events).map(|row| (row, events.len() as u64));
        assert_eq!(stage.product_row(*id).await, wanted, "{when}: product {id}");
    }
    for id in stores {
        let events = stage.shelves.events_of_store(*id).await;
        let wanted = fold::<Stores>(&events).map(|row| (row, events.len() as u64));
        assert_eq!(stage.store_row(*id).await, wanted, "{when}: store {id}");
    }
}

async fn after_hostile_delivery(stage: &Stage, seeds: std::ops::Range<u64>) {
    let (stores, products) = busy_mall(stage).await;
    let (of_products, of_stores) = (stage.history::<Products>().await, stage.history::<Stores>().await);
    for seed in seeds {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let size = 1 + (seed as usize % 10);
        for batch in hostile(&of_products, seed, hostility).chunks(size) {
            deliver_products(&stage.copy, batch).await;
        }
        for batch in hostile(&of_stores, seed, hostility).chunks(size) {
            deliver_stores(&stage.copy, batch).await;
        }
        is_what_happened(stage, &stores, &products, &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_copy_as_the_stores_have_it() {
    for seed in 0..60 {
        after_hostile_delivery(&Stage::new(), seed..seed + 1).await;
    }
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_copy_in_dynamodb_as_the_stores_have_it() {
    let dynamo = EmbeddedDynamo::start().await;
    projection::create_table::<Products>(&dynamo.client(), "products", &[]).await.unwrap();
    projection::create_table::<Stores>(&dynamo.client(), "stores", &[]).await.unwrap();
    let products = DynamoViews::<Products>::new(dynamo.client(), "products");
    let stores = DynamoViews::<Stores>::new(dynamo.client(), "stores");
    after_hostile_delivery(&Stage::over(Arc::new(products), Arc::new(stores)), 0..3).await;
}

#[tokio::test]
async fn a_copy_that_was_thrown_away_is_rebuilt_from_the_events_alone() {
    let stage = Stage::new();
    let (stores, products) = busy_mall(&stage).await;
    let (of_products, of_stores) = (stage.history::<Products>().await, stage.history::<Stores>().await);
    deliver_products(&stage.copy, &of_products).await;
    deliver_stores(&stage.copy, &of_stores).await;
    is_what_happened(&stage, &stores, &products, "the first time").await;
    let rebuilt = stage.fresh_copy();
    deliver_products(&rebuilt.catalogue, &of_products).await;
    deliver_stores(&rebuilt.catalogue, &of_stores).await;
    for id in products {
        assert_eq!(
            row(&*rebuilt.products, id.to_string()).await,
            stage.product_row(id).await,
            "product {id}"
        );
    }
    for id in stores {
        assert_eq!(row(&*rebuilt.stores, id.to_string()).await, stage.store_row(id).await, "store {id}");
    }
}

#[tokio::test]
async fn deliveries_and_readers_at_once_do_not_undo_each_other() {
    let stage = Stage::new();
    let store = stage.shelves.open("Fruit & Veg").await;
    let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
    for price in 76..96 {
        stage.shelves.price(apple, cents(price)).await;
    }
    let events = stage.shelves.events_of_product(apple).await;
    let mut conflicts = 0;
    for seed in 0..50 {
        let products = Arc::new(FarAway::new(seed));
        let copy = stage.copy_into(products.clone());
        // The batch that needs no healing, because it holds the first events, is the one that could move a row back.
        let mut batches: Vec<Vec<Envelope>> = events.chunks(3).map(<[Envelope]>::to_vec).collect();
        Seeded::new(seed).shuffle(&mut batches);
        let delivered =
            join_all(batches.into_iter().map(|batch| copy.catalogue.clone().project_products(batch)));
        let read = join_all((0..5).map(|_| copy.catalogue.latest([apple])));
        let (delivered, read) = futures::join!(delivered, read);
        assert!(delivered.iter().flatten().all(Result::is_ok), "seed {seed}: {delivered:?}");
        for latest in read {
            assert_eq!(latest.unwrap()[0].as_ref().unwrap().price, cents(95), "seed {seed}");
        }
        let (stored, applied) = row(&*copy.products, apple.to_string()).await.unwrap();
        assert_eq!((stored.price, applied), (cents(95), events.len() as u64), "seed {seed}");
        conflicts += products.conflicts();
    }
    assert!(conflicts > 0, "nobody came in anybody's way, so nothing was tested");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever prices there were and however their events come: the copy has the last one.
    #[test]
    fn the_copy_has_the_last_price(prices in prop::collection::vec(0..1_000_000_i64, 1..12), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::new();
            let store = stage.shelves.open("Fruit & Veg").await;
            let apple = stage.shelves.sell(store, "Apple", cents(75)).await;
            for price in &prices {
                stage.shelves.price(apple, cents(*price)).await;
            }
            let events = hostile(&stage.shelves.events_of_product(apple).await, seed, Hostility::WORST);
            for batch in events.chunks(2) {
                deliver_products(&stage.copy, batch).await;
            }
            let (copy, applied) = stage.product_row(apple).await.unwrap();
            assert_eq!((copy.price, applied), (cents(prices[prices.len() - 1]), prices.len() as u64 + 1));
        });
    }
}
