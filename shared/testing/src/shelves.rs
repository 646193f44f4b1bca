//! The stores context's streams, without the stores context: for tests of those who read them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    stores::{
        ProductAdded, ProductEvent, ProductPriceDecreased, ProductPriceIncreased, ProductRebranded,
        ProductRemoved, StoreCreated, StoreEvent, StoreParticipationDisabled, StoreParticipationEnabled,
        StoreRebranded,
    },
};
use event_store::EventStore;
use kernel::{CommandMeta, Event, Id, Money, StreamId, Version};

use crate::tell;

/// Stores and what they sell, as events in an event table.
pub struct Shelves {
    store: EventStore,
    command: Box<dyn Fn() -> CommandMeta + Send + Sync>,
    /// Whose each product is, and what it costs: its events say so.
    sold: Mutex<HashMap<ProductId, (StoreId, Money)>>,
}

impl Shelves {
    /// Empty shelves; what happens to them goes to `store`, each time by another `command`.
    pub fn new(store: EventStore, command: impl Fn() -> CommandMeta + Send + Sync + 'static) -> Self {
        Self { store, command: Box::new(command), sold: Mutex::default() }
    }

    /// Opens a store in hall 1, which does not take part.
    pub async fn open(&self, name: &str) -> StoreId {
        let id = Id::derived(&["store", name]);
        let created = StoreCreated { name: name.to_owned(), location: "Hall 1".to_owned() };
        self.happen(stream("Store", id), StoreEvent::StoreCreated(created)).await;
        id
    }

    /// Lets a store take part, or no longer.
    pub async fn participate(&self, id: StoreId, takes_part: bool) {
        let event = match takes_part {
            true => StoreEvent::StoreParticipationEnabled(StoreParticipationEnabled {}),
            false => StoreEvent::StoreParticipationDisabled(StoreParticipationDisabled {}),
        };
        self.happen(stream("Store", id), event).await;
    }

    /// Gives a store another name.
    pub async fn rename_store(&self, id: StoreId, name: &str) {
        let event = StoreEvent::StoreRebranded(StoreRebranded { name: name.to_owned() });
        self.happen(stream("Store", id), event).await;
    }

    /// Lets a store sell something.
    pub async fn sell(&self, store_id: StoreId, name: &str, price: Money) -> ProductId {
        let id = Id::derived(&["product", &store_id.to_string(), name]);
        self.sold().insert(id, (store_id, price));
        let (name, description, sku) = (name.to_owned(), String::new(), name.to_owned());
        let added = ProductAdded { store_id, name, description, sku, price };
        self.happen(stream("Product", id), ProductEvent::ProductAdded(added)).await;
        id
    }

    /// Asks another price.
    pub async fn price(&self, id: ProductId, price: Money) {
        let (store_id, old_price) = self.sold()[&id];
        self.sold().insert(id, (store_id, price));
        let event = if price.minor() < old_price.minor() {
            ProductEvent::ProductPriceDecreased(ProductPriceDecreased { store_id, old_price, price })
        } else {
            ProductEvent::ProductPriceIncreased(ProductPriceIncreased { store_id, old_price, price })
        };
        self.happen(stream("Product", id), event).await;
    }

    /// Gives a product another name.
    pub async fn rename(&self, id: ProductId, name: &str) {
        let (store_id, _) = self.sold()[&id];
        let (name, description) = (name.to_owned(), String::new());
        let event = ProductRebranded { store_id, name, description };
        self.happen(stream("Product", id), ProductEvent::ProductRebranded(event)).await;
    }

    /// Takes a product off the shelf, for good.
    pub async fn remove(&self, id: ProductId) {
        let (store_id, _) = self.sold()[&id];
        self.happen(stream("Product", id), ProductEvent::ProductRemoved(ProductRemoved { store_id })).await;
    }

    /// Everything that happened to a store, in order.
    pub async fn events_of_store(&self, id: StoreId) -> Vec<Envelope> {
        self.store.events_after(&stream("Store", id), Version::NONE).await.expect("events of a store")
    }

    /// Everything that happened to a product, in order.
    pub async fn events_of_product(&self, id: ProductId) -> Vec<Envelope> {
        self.store.events_after(&stream("Product", id), Version::NONE).await.expect("events of a product")
    }

    fn sold(&self) -> MutexGuard<'_, HashMap<ProductId, (StoreId, Money)>> {
        self.sold.lock().expect("no test panics while it holds the shelves")
    }

    async fn happen<E: Event>(&self, stream: StreamId, event: E) {
        tell(&self.store, &stream, &event, &(self.command)()).await;
    }
}

fn stream<K>(aggregate: &str, id: Id<K>) -> StreamId {
    format!("stores.{aggregate}/{id}").parse().expect("a stream of stores")
}
