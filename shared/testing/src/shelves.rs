//! The stores context's streams, without the stores context: for tests of those who read them.

use std::{
    collections::HashMap,
    fmt,
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
use event_store::{EventStore, Expect};
use kernel::{
    Aggregate, BrokenHistory, CommandMeta, DecodeError, Event, Id, Money, RawEvent, Refusal, RefusalKind,
    StreamId, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
        let RawEvent { event_type, schema, data } = event.to_raw().expect("an event that can be stored");
        let event = Told { event_type, schema, data };
        let sent = self.store.transact::<Written>(&stream, Expect::Any, &event, &(self.command)()).await;
        sent.expect("a stream that takes what it is told");
    }
}

fn stream<K>(aggregate: &str, id: Id<K>) -> StreamId {
    format!("stores.{aggregate}/{id}").parse().expect("a stream of stores")
}

/// A stream that takes every event it is told.
#[derive(Clone, Serialize, Deserialize)]
struct Written;

/// An event, and the command to let it happen.
#[derive(Clone, Serialize, Deserialize)]
struct Told {
    event_type: String,
    schema: u16,
    data: Value,
}

impl Event for Told {
    const SCHEMAS: &'static [(&'static str, u16)] = &[];

    fn event_type(&self) -> &'static str {
        "Told"
    }

    fn to_raw(&self) -> Result<RawEvent, DecodeError> {
        let Self { event_type, schema, data } = self.clone();
        Ok(RawEvent { event_type, schema, data })
    }

    fn from_raw(raw: RawEvent) -> Result<Self, DecodeError> {
        let RawEvent { event_type, schema, data } = raw;
        Ok(Self { event_type, schema, data })
    }
}

/// It never refuses.
#[derive(Debug, Clone)]
enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl Refusal for Never {
    fn code(&self) -> &'static str {
        match *self {}
    }

    fn kind(&self) -> RefusalKind {
        match *self {}
    }
}

impl Aggregate for Written {
    const CATEGORY: &'static str = "stores.Anything";
    const STATE_SCHEMA: u16 = u16::MAX;
    type Command = Told;
    type Event = Told;
    type Refusal = Never;

    fn decide(_: Option<&Self>, told: &Told) -> Result<Vec<Told>, Never> {
        Ok(vec![told.clone()])
    }

    fn evolve(_: Option<Self>, _: &Told) -> Result<Self, BrokenHistory> {
        Ok(Self)
    }
}
