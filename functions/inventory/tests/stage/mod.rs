//! What the tests of this context share: a house with products, orders that want them, and a bus that can be asked.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contracts::{
    Envelope,
    baskets::BasketItem,
    ids::{OrderId, ProductId, StoreId},
    inventory::StockEvent,
    ordering::{OrderCanceled, OrderCreated, OrderEvent},
    stores::{ProductAdded, ProductEvent},
};
use event_store::{CommitLog, EventStore, Expect, Head, Loaded, MemoryLog, Segment};
use inventory::{
    Inventory,
    stock::{Kept, REMEMBERED, Stock, StockCommand, StockItem},
    views::{StockLevels, StockViews},
};
use kernel::{CommandId, Event, Id, Money, PayloadHash, StreamId, Version};
use lambda::{Answer, Call, Fault, Function, use_case};
use projection::{MemoryViews, Projection, Projector};
use serde_json::{Value, json};
use testing::TestPorts;

/// A house with products in it.
pub struct House {
    pub world: TestPorts,
    pub store: EventStore,
    pub inventory: Arc<Inventory>,
    /// Where products and orders are written: the log behind the faults, if there are any.
    behind: Arc<dyn CommitLog>,
}

impl House {
    pub fn new() -> Self {
        let log = Arc::new(MemoryLog::new());
        Self::over(log.clone(), log)
    }

    /// Over `log`, whose faults do not befall what is written straight to the log `behind` it.
    pub fn over(log: Arc<dyn CommitLog>, behind: Arc<dyn CommitLog>) -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(log, world.ports());
        let inventory = Arc::new(Inventory::new(store.clone(), world.ports()));
        Self { world, store, inventory, behind }
    }

    /// The first event of another context's stream.
    async fn begin(&self, stream: String, event: &impl Event) {
        let (stream, meta) = (stream.parse().unwrap(), self.world.command("test"));
        let hash = PayloadHash::of(&"test");
        let commit = Head::new_stream(stream).commit(event.to_raw().unwrap(), vec![], hash, &meta, None);
        self.behind.append(&commit).await.unwrap();
    }

    /// A product that a store sells.
    pub async fn product(&self, name: &str) -> ProductId {
        let id: ProductId = Id::derived(&["product", name]);
        let added = ProductAdded {
            store_id: store_id(),
            name: name.to_owned(),
            description: String::new(),
            sku: String::new(),
            price: Money::from_minor(100).unwrap(),
        };
        self.begin(format!("stores.Product/{id}"), &ProductEvent::ProductAdded(added)).await;
        id
    }

    /// A product of which there are so many pieces.
    pub async fn stocked(&self, name: &str, pieces: u32) -> ProductId {
        let product_id = self.product(name).await;
        let command = StockCommand::Set { product_id, store_id: store_id(), on_hand: pieces };
        self.send(product_id, command).await;
        product_id
    }

    /// A command of whoever keeps the stock.
    pub async fn send(&self, product: ProductId, command: StockCommand) {
        let stream = StreamId::of::<StockItem, _>(product);
        let store = EventStore::new(self.behind.clone(), self.world.ports());
        let meta = self.world.command("stock keeper");
        store.transact::<StockItem>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    /// An order that was placed.
    pub async fn order(&self, name: &str, lines: &[(ProductId, u32)]) -> OrderId {
        let id: OrderId = Id::derived(&["order", name]);
        let price = Money::from_minor(100).unwrap();
        let item = |&(product_id, quantity): &(ProductId, u32)| BasketItem {
            store_id: store_id(),
            product_id,
            store_name: "Fruit & Veg".to_owned(),
            product_name: "Apple".to_owned(),
            price,
            quantity,
        };
        let created = OrderCreated {
            customer_id: Id::derived(&["customer"]),
            payment_id: Id::derived(&["payment"]),
            items: lines.iter().map(item).collect(),
            total: price,
        };
        self.begin(format!("ordering.Order/{id}"), &OrderEvent::OrderCreated(created)).await;
        id
    }

    /// Something that happened to an order, in its stream and as the bus brings it.
    pub async fn becomes(&self, order: OrderId, event: OrderEvent) -> Envelope {
        let stream: StreamId = format!("ordering.Order/{order}").parse().unwrap();
        let store = EventStore::new(self.behind.clone(), self.world.ports());
        testing::tell(&store, &stream, &event, &self.world.command("ordering")).await;
        store.events_after(&stream, Version::NONE).await.unwrap().pop().unwrap()
    }

    /// The call of a step: a repeat has the same command id and another time.
    pub fn step(&self, order: OrderId, step: &str) -> Call {
        self.world.advance(Duration::from_millis(1));
        let meta = self.world.repeat(CommandId::derived(&["saga", &order.to_string(), step]), "saga:order");
        Call {
            target: Some(order.to_string()),
            body: Value::Null,
            query: BTreeMap::new(),
            command: meta.id,
            repeatable: true,
            if_match: None,
            actor: meta.actor,
            correlation: meta.correlation,
            causation: None,
            trace: None,
            attempt: 0,
            at: meta.at,
        }
    }

    pub async fn reserve(&self, order: OrderId) -> Result<Answer, Fault> {
        self.inventory.clone().reserve_inventory(self.step(order, "ReserveInventory")).await
    }

    /// The step of another start of the placement, long after: beyond the reach of its command id.
    pub async fn reserve_again(&self, order: OrderId) -> Result<Answer, Fault> {
        self.inventory.clone().reserve_inventory(self.step(order, "ReserveInventory again")).await
    }

    pub async fn release(&self, order: OrderId) -> Result<Answer, Fault> {
        self.inventory.clone().release_inventory(self.step(order, "ReleaseInventory")).await
    }

    /// The step of the undo's next attempt, whose command ids are its own.
    pub async fn release_again(&self, order: OrderId) -> Result<Answer, Fault> {
        self.inventory.clone().release_inventory(self.step(order, "ReleaseInventory again")).await
    }

    /// Closes the order, as its undo does first.
    pub async fn close(&self, order: OrderId) {
        self.becomes(order, cancelled()).await;
    }

    pub async fn undo(&self, order: OrderId) -> Result<Answer, Fault> {
        self.close(order).await;
        self.release(order).await
    }

    /// Releases one product's pieces, as an undo does that begins after a step has read the order.
    pub async fn undo_behind_the_step(&self, product: ProductId, order_id: OrderId) {
        let at = self.world.ports().clock.now();
        let since = self.store.version(&StreamId::of::<StockItem, _>(product)).await.unwrap();
        self.send(product, StockCommand::Release { order_id, kept: Kept::Since(since), since, at }).await;
    }

    /// A product's stock, which has to be tracked.
    pub async fn stock(&self, product: ProductId) -> Stock {
        let store = EventStore::new(self.behind.clone(), self.world.ports());
        let loaded: Loaded<StockItem> = store.load(&StreamId::of::<StockItem, _>(product)).await.unwrap();
        loaded.state.as_ref().and_then(StockItem::tracked).expect("a product that is tracked").clone()
    }

    /// Pieces that are kept for an order.
    pub async fn kept(&self, product: ProductId, order: OrderId) -> Option<u32> {
        let mut kept = None;
        let stream = StreamId::of::<StockItem, _>(product);
        let store = EventStore::new(self.behind.clone(), self.world.ports());
        for event in store.events_after(&stream, Version::NONE).await.unwrap() {
            match event.event::<StockEvent>().unwrap() {
                StockEvent::InventoryReserved(e) if e.order_id == order => {
                    assert_eq!(kept.replace(e.quantity), None, "kept twice");
                }
                StockEvent::InventoryReleased(e) if e.order_id == order => kept = None,
                StockEvent::StockReduced(e) if e.order_id == Some(order) => kept = None,
                _ => {}
            }
        }
        kept
    }

    /// Much happens to a product that does not concern the orders here: more than its stock remembers.
    pub async fn forgets(&self, product_id: ProductId) {
        for n in 0..=REMEMBERED + 1 {
            self.send(product_id, StockCommand::SetThreshold { threshold: 900_000 + n % 2 }).await;
        }
        self.send(product_id, StockCommand::SetThreshold { threshold: 0 }).await;
    }

    /// What was published of a category, in the order of each stream.
    pub async fn published(&self, category: &str) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        assert!(page.after.is_none(), "one page holds the test");
        let commits = page.commits.iter().filter(|commit| commit.stream.category() == category);
        commits.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }
}

/// The end of an order that is not to be.
pub fn cancelled() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderCanceled(OrderCanceled { customer_id, payment_id, reason: None })
}

/// The store that sells everything here.
pub fn store_id() -> StoreId {
    Id::derived(&["store"])
}

/// An HTTP answer.
pub struct Reply {
    pub status: u64,
    pub etag: Option<String>,
    pub body: Value,
}

/// The context behind its routes.
pub struct Shop {
    pub house: House,
    pub rows: MemoryViews<StockLevels>,
    pub projector: Projector<StockLevels>,
}

impl Shop {
    pub fn new() -> Self {
        let house = House::new();
        let rows = MemoryViews::new();
        let projector = Projector::new(Arc::new(rows.clone()), house.store.clone(), house.world.ports());
        Self { house, rows, projector }
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let (ports, inventory) = (self.house.world.ports(), &self.house.inventory);
        let views = Arc::new(StockViews::new(self.projector.clone()));
        let parts: Vec<&str> = path.trim_start_matches("/api/inventory").split('/').skip(1).collect();
        let (function, id) = match (method, &parts[..]) {
            ("GET", []) => (use_case(&views, &ports, StockViews::list_stock), None),
            ("GET", ["low"]) => (use_case(&views, &ports, StockViews::list_low_stock), None),
            ("GET", [id]) => (use_case(inventory, &ports, Inventory::get_stock), Some(*id)),
            ("PUT", [id]) => (use_case(inventory, &ports, Inventory::set_stock), Some(*id)),
            ("POST", [id, "add"]) => (use_case(inventory, &ports, Inventory::add_stock), Some(*id)),
            ("PUT", [id, "reduce"]) => (use_case(inventory, &ports, Inventory::reduce_stock), Some(*id)),
            ("PUT", [id, "threshold"]) => {
                (use_case(inventory, &ports, Inventory::set_low_stock_threshold), Some(*id))
            }
            ("PUT", [id, "tracking"]) => (use_case(inventory, &ports, Inventory::start_tracking), Some(*id)),
            ("DELETE", [id, "tracking"]) => {
                (use_case(inventory, &ports, Inventory::stop_tracking), Some(*id))
            }
            _ => panic!("no route for {method} {path}"),
        };
        (function, id.map(str::to_owned))
    }

    pub async fn send_with(&self, method: &str, target: &str, headers: Value, body: Value) -> Reply {
        self.house.world.advance(Duration::from_secs(1));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: serde_json::Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let (function, id) = self.route(method, path);
        let payload = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": headers, "isBase64Encoded": false, "body": body.to_string(),
            "queryStringParameters": query,
            "pathParameters": id.map(|id| json!({ "id": id })).unwrap_or(json!({})),
            "requestContext": { "http": { "method": method, "path": path } }
        });
        let answer = function.invoke(payload).await.unwrap();
        Reply {
            status: answer["statusCode"].as_u64().unwrap(),
            etag: answer["headers"]["etag"].as_str().map(str::to_owned),
            body: serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
        }
    }

    pub async fn send(&self, method: &str, target: &str, body: Value) -> Reply {
        self.send_with(method, target, json!({}), body).await
    }

    pub async fn ok(&self, method: &str, target: &str, body: Value) -> Value {
        let reply = self.send(method, target, body).await;
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.body);
        reply.body
    }

    #[track_caller]
    pub fn refused(reply: &Reply, status: u64, code: &str) {
        assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{}", reply.body);
    }

    /// The events arrive.
    pub async fn settle(&self) {
        let published = self.house.published(StockLevels::CATEGORY).await;
        assert!(self.projector.deliver_batch(&published).await.failed.is_empty());
    }
}
