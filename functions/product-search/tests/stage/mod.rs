//! Stores with products and stock, an index of them, and those who write and search it.

#![allow(dead_code, reason = "each test uses what it needs of the stage")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use catalogue::Participation;
use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    inventory::{AvailabilityChanged, StockAdded, StockEvent},
    stores::{
        ProductAdded, ProductEvent, ProductPriceDecreased, ProductPriceIncreased, ProductRebranded,
        ProductRemoved, StoreCreated, StoreEvent, StoreParticipationDisabled, StoreParticipationEnabled,
        StoreRebranded,
    },
};
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Event, Id, Money, StreamId};
use product_search::{
    api::ProductSearch,
    archive::Archive,
    index::{Found, IndexError, ProductIndex, Record, VIEW, Wanted},
    objects::{Condition, Got, Listed, MemoryObjects, Objects, Tag, Wrote},
    sweep::ProductIndexView,
    views::Indexing,
};
use projection::{Consistency, Limits, MemoryProgress, Order, Report, Slice, SweepState, Sweeper, Sweeping};
use testing::{TestPorts, tell};

pub struct Stage {
    pub world: TestPorts,
    pub store: EventStore,
    pub objects: MemoryObjects,
    pub progress: MemoryProgress,
}

/// Place of the index.
pub const PLACE: &str = "products/v1";

pub fn money(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

pub fn product(name: &str) -> ProductId {
    Id::derived(&["product", name])
}

pub fn store(name: &str) -> StoreId {
    Id::derived(&["store", name])
}

fn stream<K>(category: &str, id: Id<K>) -> StreamId {
    format!("{category}/{id}").parse().unwrap()
}

impl Stage {
    pub fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        let objects = MemoryObjects::new();
        objects.at(world.now());
        Self { world, store, objects, progress: MemoryProgress::default() }
    }

    /// Two stores with some fruit, of which "Late" does not take part.
    pub async fn fruit() -> Self {
        let stage = Self::new();
        stage.open("Fruit").await;
        stage.participate("Fruit", true).await;
        stage.open("Late").await;
        stage.sell("Fruit", "Apple", "Red and crisp", "FR-100", 75).await;
        stage.sell("Fruit", "Apple juice", "Pressed", "FR-101", 250).await;
        stage.sell("Fruit", "Applewood board", "For cheese", "HM-7", 1900).await;
        stage.sell("Fruit", "Pear", "Like an apple, but a pear", "FR-200", 80).await;
        stage.sell("Late", "Pineapple", "Whole", "FR-300", 300).await;
        stage.sell("Late", "Crème brûlée", "Dessert", "DE-1", 450).await;
        stage.sell("Late", "Ample syrup", "From Canada", "CA-1", 990).await;
        stage
    }

    /// Lets something happen, and says how it travels.
    pub async fn happen<E: Event>(&self, stream: StreamId, event: E) -> Envelope {
        self.world.advance(Duration::from_secs(1));
        let version = tell(&self.store, &stream, &event, &self.world.command("stage")).await;
        self.store.event(&stream, version).await.unwrap().unwrap()
    }

    pub async fn open(&self, name: &str) -> Envelope {
        let created = StoreCreated { name: name.to_owned(), location: "Hall 1".to_owned() };
        self.happen(stream("stores.Store", store(name)), StoreEvent::StoreCreated(created)).await
    }

    pub async fn participate(&self, name: &str, takes_part: bool) -> Envelope {
        let event = match takes_part {
            true => StoreEvent::StoreParticipationEnabled(StoreParticipationEnabled {}),
            false => StoreEvent::StoreParticipationDisabled(StoreParticipationDisabled {}),
        };
        self.happen(stream("stores.Store", store(name)), event).await
    }

    pub async fn rename_store(&self, name: &str, to: &str) -> Envelope {
        let event = StoreEvent::StoreRebranded(StoreRebranded { name: to.to_owned() });
        self.happen(stream("stores.Store", store(name)), event).await
    }

    pub async fn sell(&self, seller: &str, name: &str, description: &str, sku: &str, price: i64) -> Envelope {
        let added = ProductAdded {
            store_id: store(seller),
            name: name.to_owned(),
            description: description.to_owned(),
            sku: sku.to_owned(),
            price: money(price),
        };
        self.happen(stream("stores.Product", product(name)), ProductEvent::ProductAdded(added)).await
    }

    pub async fn rename(&self, seller: &str, name: &str, to: &str, description: &str) -> Envelope {
        let (to, description) = (to.to_owned(), description.to_owned());
        let event = ProductRebranded { store_id: store(seller), name: to, description };
        self.happen(stream("stores.Product", product(name)), ProductEvent::ProductRebranded(event)).await
    }

    pub async fn price(&self, seller: &str, name: &str, from: i64, to: i64) -> Envelope {
        let (store_id, old_price, price) = (store(seller), money(from), money(to));
        let event = match to > from {
            true => ProductEvent::ProductPriceIncreased(ProductPriceIncreased { store_id, old_price, price }),
            false => {
                ProductEvent::ProductPriceDecreased(ProductPriceDecreased { store_id, old_price, price })
            }
        };
        self.happen(stream("stores.Product", product(name)), event).await
    }

    pub async fn remove(&self, seller: &str, name: &str) -> Envelope {
        let event = ProductEvent::ProductRemoved(ProductRemoved { store_id: store(seller) });
        self.happen(stream("stores.Product", product(name)), event).await
    }

    async fn stock(&self, name: &str, event: StockEvent) -> Envelope {
        self.happen(stream("inventory.StockItem", product(name)), event).await
    }

    /// Stock comes in. This tells nothing of availability: that has an event of its own.
    pub async fn add_stock(&self, name: &str, quantity: u32, on_hand: u32) -> Envelope {
        let added = StockAdded { product_id: product(name), quantity, on_hand };
        self.stock(name, StockEvent::StockAdded(added)).await
    }

    pub async fn available(&self, name: &str, available: bool) -> Envelope {
        let changed = AvailabilityChanged { product_id: product(name), available };
        self.stock(name, StockEvent::AvailabilityChanged(changed)).await
    }

    /// Everything that happened, each stream in order.
    pub async fn history(&self) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        page.commits.iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }

    /// The index over these objects, as another process opens it.
    pub fn index(&self, objects: impl Objects + 'static) -> Arc<Archive> {
        Arc::new(Archive::new(Arc::new(objects), self.world.ports(), PLACE))
    }

    /// The index that all processes share, as another one opens it.
    pub fn live(&self) -> Arc<Archive> {
        self.index(self.objects.clone())
    }

    /// A function that feeds this index.
    pub fn writer(&self, index: &Arc<Archive>) -> Arc<Indexing> {
        Arc::new(Indexing::new(index.clone(), self.store.clone(), self.world.ports()))
    }

    /// A function that feeds this index without an event table: whatever it wanted to read there is missing.
    pub fn writer_without_events(&self, index: &Arc<Archive>) -> Arc<Indexing> {
        let empty = EventStore::new(Arc::new(MemoryLog::new()), self.world.ports());
        Arc::new(Indexing::new(index.clone(), empty, self.world.ports()))
    }

    /// A function that searches this index.
    pub fn search(&self, index: &Arc<Archive>, participation: Participation) -> Arc<ProductSearch> {
        Arc::new(ProductSearch::new(index.clone(), participation))
    }

    /// A function that sweeps this index.
    pub fn sweeper(&self, index: &Arc<Archive>, limits: Limits) -> Sweeper<ProductIndexView> {
        let (store, ports) = (self.store.clone(), self.world.ports());
        let view = ProductIndexView::new(index.clone(), store.clone(), ports.clone());
        Sweeper::new(view, Arc::new(self.progress.clone()), store, ports, limits)
    }

    /// Sweeps to the end, as the state machine does, in three parts.
    pub async fn sweep(&self, sweeper: &dyn Sweeping, only_compare: bool) -> Report {
        let parts = sweeper.begin(&Order { only_compare, parts: 3, rate: None }).await.unwrap().parts;
        for part in 0..parts {
            while sweeper.slice(part).await.unwrap() == Slice::More {}
        }
        self.state().await.report()
    }

    pub async fn state(&self) -> SweepState {
        SweepState::of(&self.progress, VIEW).await.unwrap().unwrap()
    }

    /// Brings everything that happened into an index at once.
    pub async fn fill(&self, index: &Arc<Archive>) {
        let report = self.sweep(&self.sweeper(index, Limits::FUNCTION), false).await;
        assert_eq!(report.left, 0, "{:?}", report.examples);
    }

    /// An index of everything that happened, delivered in order.
    pub async fn indexed(&self) -> Arc<Archive> {
        let index = self.index(MemoryObjects::new());
        deliver(&self.writer(&index), &self.history().await).await;
        index
    }
}

/// Delivers events in batches of ten; all of them have to be applied.
pub async fn deliver(writer: &Arc<Indexing>, events: &[Envelope]) {
    for batch in events.chunks(10) {
        for result in writer.clone().project_product_index(batch.to_vec()).await {
            result.unwrap();
        }
    }
}

/// All rows of the index.
pub async fn seen(index: &Archive) -> Vec<(String, serde_json::Value)> {
    let look = |Record { key, row, .. }: Record| (key.to_string(), row.unwrap_or_default());
    records(index).await.into_iter().map(look).collect()
}

/// Everything that is in the index.
pub async fn records(index: &Archive) -> Vec<Record> {
    index.page(Segment::WHOLE, None, usize::MAX, Consistency::Strong).await.unwrap()
}

pub fn text(text: &str) -> Wanted {
    Wanted { text: text.to_owned(), limit: 20, ..Wanted::default() }
}

pub async fn names(index: &Archive, wanted: &Wanted) -> Vec<String> {
    named(&index.search(wanted).await.unwrap())
}

pub fn named(found: &Found) -> Vec<String> {
    found.products.iter().map(|found| found.product.name.clone()).collect()
}

/// Objects as one process sees them. Others get their turn at each call; and after so many calls the process is dead, and none
/// of its calls does anything any more.
#[derive(Clone)]
pub struct Process {
    objects: MemoryObjects,
    left: Arc<AtomicI64>,
}

impl Process {
    /// One that lives on.
    pub fn over(objects: &MemoryObjects) -> Self {
        Self { objects: objects.clone(), left: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// It dies at the call after these.
    pub fn dies_after(&self, calls: u32) {
        self.left.store(i64::from(calls), Ordering::Relaxed);
    }

    pub fn is_dead(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }

    async fn call(&self) -> Result<&MemoryObjects, IndexError> {
        tokio::task::yield_now().await;
        match self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            true => Ok(&self.objects),
            false => {
                self.left.store(-1, Ordering::Relaxed);
                Err(IndexError::Unavailable { operation: "test", why: "the process is dead".into() })
            }
        }
    }
}

#[async_trait]
impl Objects for Process {
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError> {
        self.call().await?.get(name, known).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError> {
        self.call().await?.put(name, bytes, condition).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError> {
        self.call().await?.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), IndexError> {
        self.call().await?.delete(name).await
    }
}

/// Objects of which those with such names cannot be written.
pub struct ReadOnly {
    pub objects: MemoryObjects,
    pub names: String,
}

#[async_trait]
impl Objects for ReadOnly {
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError> {
        self.objects.get(name, known).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError> {
        if name.contains(&self.names) {
            return Err(IndexError::Unavailable { operation: "PutObject", why: "slow down".into() });
        }
        self.objects.put(name, bytes, condition).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError> {
        self.objects.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), IndexError> {
        self.objects.delete(name).await
    }
}
