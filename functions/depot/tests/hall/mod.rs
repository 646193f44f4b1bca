//! The depot behind its routes, its policy and the order's machines, with stores that sell, and orders.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::{sync::Arc, time::Duration};

use catalogue::{Catalogue, Products, Stores};
use contracts::{
    Envelope,
    ids::{OrderId, ProductId, ShoppingListId, StoreId, shopping_list_of},
    ordering::{OrderApproved, OrderCanceled, OrderCreated, OrderEvent, OrderItem, OrderRejected},
};
use depot::{
    Depot, Planner,
    views::{BotViews, Bots, ShoppingListViews, ShoppingLists},
};
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Id, Money, StreamId};
use lambda::{Fault, Function, use_case};
use projection::{MemoryViews, Projection, Projector};
use serde_json::{Value, json};
use testing::{FaultyLog, Shelves, TestPorts, tell};

pub const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

pub const SHOPPING: &str = "/api/depot/shopping";

pub const BOTS: &str = "/api/depot/bots";

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u64,
    pub etag: Option<String>,
    pub body: Value,
}

/// Something that a store sells.
#[derive(Debug, Clone, Copy)]
pub struct Goods {
    pub store: StoreId,
    pub product: ProductId,
}

impl Goods {
    /// Pieces of it, as a request names them.
    pub fn times(self, quantity: u32) -> Value {
        json!({ "productId": self.product, "storeId": self.store, "quantity": quantity })
    }
}

pub struct Hall {
    pub world: TestPorts,
    /// Befalls what is written, where a test says so.
    pub log: FaultyLog,
    pub store: EventStore,
    pub shelves: Shelves,
    pub product_copies: Projector<Products>,
    store_copies: Projector<Stores>,
    lists: Projector<ShoppingLists>,
    bots: Projector<Bots>,
}

impl Hall {
    pub fn new() -> Self {
        let world = TestPorts::new(1);
        let log = FaultyLog::new(Arc::new(MemoryLog::new()));
        let store = EventStore::new(Arc::new(log.clone()), world.ports());
        let hands = world.clone();
        let shelves = Shelves::new(store.clone(), move || hands.command("stores"));
        Self {
            product_copies: view(&store, &world),
            store_copies: view(&store, &world),
            lists: view(&store, &world),
            bots: view(&store, &world),
            world,
            log,
            store,
            shelves,
        }
    }

    pub fn depot(&self) -> Arc<Depot> {
        Arc::new(Depot::new(self.store.clone(), self.world.ports()))
    }

    pub fn planner(&self) -> Arc<Planner> {
        let catalogue = Catalogue::new(self.product_copies.clone(), self.store_copies.clone());
        Arc::new(Planner::new(self.depot(), Arc::new(catalogue)))
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let (ports, depot) = (self.world.ports(), self.depot());
        let lists = Arc::new(ShoppingListViews::new(self.lists.clone()));
        let bots = Arc::new(BotViews::new(self.bots.clone()));
        let parts: Vec<&str> = path.trim_start_matches("/api/depot").split('/').skip(1).collect();
        let (function, id) = match (method, &parts[..]) {
            ("POST", ["shopping"]) => {
                (use_case(&self.planner(), &ports, Planner::create_shopping_list), None)
            }
            ("GET", ["shopping"]) => (use_case(&lists, &ports, ShoppingListViews::list_shopping_lists), None),
            ("GET", ["shopping", "available"]) => {
                (use_case(&lists, &ports, ShoppingListViews::list_available_shopping_lists), None)
            }
            ("GET", ["shopping", id]) => (use_case(&depot, &ports, Depot::get_shopping_list), Some(*id)),
            ("POST" | "DELETE", ["shopping", id]) => {
                (use_case(&depot, &ports, Depot::cancel_shopping_list), Some(*id))
            }
            ("PUT", ["shopping", id, "assign"]) => {
                (use_case(&depot, &ports, Depot::assign_shopping_list), Some(*id))
            }
            ("PUT", ["shopping", id, "start"]) => {
                (use_case(&depot, &ports, Depot::start_shopping), Some(*id))
            }
            ("PUT", ["shopping", id, "complete"]) => {
                (use_case(&depot, &ports, Depot::complete_shopping_list), Some(*id))
            }
            ("POST", ["bots"]) => (use_case(&depot, &ports, Depot::register_bot), None),
            ("GET", ["bots"]) => (use_case(&bots, &ports, BotViews::list_bots), None),
            ("GET", ["bots", id]) => (use_case(&depot, &ports, Depot::get_bot), Some(*id)),
            _ => panic!("no route for {method} {path}"),
        };
        (function, id.map(str::to_owned))
    }

    pub async fn send_with(&self, headers: Value, method: &str, target: &str, body: Value) -> Reply {
        self.world.advance(Duration::from_secs(1));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: serde_json::Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let (function, id) = self.route(method, path);
        let payload = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
            "isBase64Encoded": false, "body": body.to_string(), "queryStringParameters": query,
            "pathParameters": id.map(|id| json!({ "id": id })).unwrap_or(json!({})),
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "p", "requestId": "r",
                "routeKey": "$default", "stage": "$default", "time": "", "timeEpoch": 0,
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "t" }
            }
        });
        let answer = function.invoke(payload).await.unwrap();
        Reply {
            status: answer["statusCode"].as_u64().unwrap(),
            etag: answer["headers"]["etag"].as_str().map(str::to_owned),
            body: serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
        }
    }

    pub async fn send(&self, method: &str, target: &str, body: Value) -> Reply {
        self.send_with(json!({}), method, target, body).await
    }

    pub async fn ok(&self, method: &str, target: &str, body: Value) -> Value {
        let reply = self.send(method, target, body).await;
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.body);
        reply.body
    }

    pub async fn get(&self, target: &str) -> Value {
        self.ok("GET", target, Value::Null).await
    }

    /// Gives the details of the refusal.
    pub async fn refused(&self, method: &str, target: &str, body: Value, status: u64, code: &str) -> Value {
        let mut reply = self.send(method, target, body).await;
        let found = (reply.status, reply.body["code"].as_str());
        assert_eq!(found, (status, Some(code)), "{method} {target}: {}", reply.body);
        reply.body["details"].take()
    }

    /// A store, which may be open already, sells something.
    pub async fn sells(&self, store: &str, product: &str) -> Goods {
        let id: StoreId = Id::derived(&["store", store]);
        if self.shelves.events_of_store(id).await.is_empty() {
            self.shelves.open(store).await;
        }
        let product = self.shelves.sell(id, product, Money::from_minor(100).unwrap()).await;
        Goods { store: id, product }
    }

    /// What the stores said reaches the depot's copies.
    pub async fn copies_arrive(&self) {
        for envelope in self.written("stores").await {
            match envelope.stream.category() {
                Products::CATEGORY => drop(self.product_copies.deliver(&envelope).await.unwrap()),
                Stores::CATEGORY => drop(self.store_copies.deliver(&envelope).await.unwrap()),
                other => panic!("{other} is not copied"),
            }
        }
    }

    /// Somebody places an order.
    pub async fn ordered(&self, lines: &[(Goods, u32)]) -> OrderId {
        let order = Id::new(self.world.ports().ids.fresh());
        let price = Money::from_minor(100).unwrap();
        let item = |&(goods, quantity): &(Goods, u32)| OrderItem {
            store_id: goods.store,
            product_id: goods.product,
            store_name: "What the shopper saw".into(),
            product_name: "What the shopper saw".into(),
            price,
            quantity,
        };
        let created = OrderCreated {
            customer_id: Id::derived(&["customer"]),
            payment_id: Id::derived(&["payment"]),
            items: lines.iter().map(item).collect(),
            total: price,
        };
        self.happened(order, OrderEvent::OrderCreated(created)).await;
        order
    }

    /// Writes what happened to an order.
    pub async fn happened(&self, order: OrderId, event: OrderEvent) {
        tell(&self.store, &order_stream(order), &event, &self.world.command("ordering")).await;
    }

    /// An order's undo, as far as it concerns the depot: closes the order, then cancels its list.
    pub fn undo(&self, order: OrderId) -> impl Future<Output = ()> + Send + use<> {
        let (store, meta) = (self.store.clone(), self.world.command("ordering"));
        let cancel = use_case(&self.depot(), &self.world.ports(), Depot::cancel_shopping_list);
        let call = json!({
            "command": format!("{order}-undo-1:CancelShoppingList"), "id": shopping_list_of(order),
            "actor": "saga:undo", "body": { "orderId": order, "reason": "WILTED" },
        });
        async move {
            tell(&store, &order_stream(order), &rejected(), &meta).await;
            cancel.invoke(call).await.unwrap();
        }
    }

    /// Asks as the order's machines do: directly, with a command id of its own.
    pub async fn step(&self, step: &str, order: OrderId) -> Result<Value, String> {
        self.step_of(step, shopping_list_of(order), json!({ "orderId": order, "reason": "WILTED" }), "").await
    }

    /// Asks directly, whatever is wrong with it.
    pub async fn step_of(
        &self,
        step: &str,
        id: ShoppingListId,
        body: Value,
        attempt: &str,
    ) -> Result<Value, String> {
        self.world.advance(Duration::from_secs(1));
        let (ports, depot) = (self.world.ports(), self.depot());
        let function = match step {
            "CreateShoppingList" => use_case(&self.planner(), &ports, Planner::create_shopping_list),
            "InitiateShopping" => use_case(&depot, &ports, Depot::initiate_shopping),
            "CancelShoppingList" => use_case(&depot, &ports, Depot::cancel_shopping_list),
            other => panic!("there is no step {other}"),
        };
        let payload = json!({
            "command": format!("{id}:{step}{attempt}"), "id": id, "actor": "saga:order", "body": body,
        });
        function.invoke(payload).await.map_err(|error| error.error_type)
    }

    /// An order whose list waits for a bot, as the placement makes it.
    pub async fn available(&self, lines: &[(Goods, u32)]) -> OrderId {
        let order = self.ordered(lines).await;
        self.step("CreateShoppingList", order).await.unwrap();
        self.step("InitiateShopping", order).await.unwrap();
        order
    }

    pub async fn bot(&self, name: &str) -> String {
        let registered = self.ok("POST", BOTS, json!({ "name": name })).await;
        registered["id"].as_str().unwrap().to_owned()
    }

    pub async fn assign(&self, order: OrderId, bot: &str) -> Value {
        self.ok("PUT", &path(order, "assign"), json!({ "botId": bot })).await
    }

    pub async fn complete(&self, order: OrderId) -> Value {
        self.ok("PUT", &path(order, "complete"), json!({})).await
    }

    /// An order's list, as it is now.
    pub async fn list(&self, order: OrderId) -> Value {
        self.get(&path(order, "")).await["shoppingList"].take()
    }

    pub async fn status(&self, order: OrderId) -> String {
        self.list(order).await["status"].as_str().unwrap().to_owned()
    }

    /// What a bot does, and with which list.
    pub async fn bot_status(&self, bot: &str) -> (String, Option<String>) {
        let mut body = self.get(&format!("{BOTS}/{bot}")).await;
        let bot = body["bot"].take();
        let list = bot["shoppingListId"].as_str().map(str::to_owned);
        (bot["status"].as_str().unwrap().to_owned(), list)
    }

    /// The event of this type in the stream of an order's list, as the bus gives it.
    pub async fn of_list(&self, order: OrderId, event_type: &str) -> Option<Envelope> {
        let stream = format!("depot.ShoppingList/{}", shopping_list_of(order)).parse().unwrap();
        let history = self.store.history(&stream).await.unwrap();
        history.iter().flat_map(|commit| commit.envelopes()).find(|event| event.event_type == event_type)
    }

    /// Hands an event to the policy that answers it.
    pub async fn deliver(&self, event: Envelope) -> Result<(), Fault> {
        let depot = self.depot();
        match event.event_type.as_str() {
            "ShoppingListCompleted" | "ShoppingListCanceled" => depot.free_bot(event).await,
            other => panic!("no policy answers {other}"),
        }
    }

    /// The depot's events arrive, first where something follows from them, then in the views.
    pub async fn settle(&self) {
        for envelope in self.written("depot").await {
            if ["ShoppingListCompleted", "ShoppingListCanceled"].contains(&envelope.event_type.as_str()) {
                self.deliver(envelope).await.unwrap();
            }
        }
        for envelope in self.written("depot").await {
            match envelope.stream.category() {
                ShoppingLists::CATEGORY => drop(self.lists.deliver(&envelope).await.unwrap()),
                Bots::CATEGORY => drop(self.bots.deliver(&envelope).await.unwrap()),
                other => panic!("{other} has no view"),
            }
        }
    }

    /// Every event of a context that was ever written.
    pub async fn written(&self, context: &str) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        let of_context = page.commits.iter().filter(|commit| commit.stream.context() == context);
        of_context.flat_map(|commit| commit.envelopes()).collect()
    }
}

fn order_stream(order: OrderId) -> StreamId {
    format!("ordering.Order/{order}").parse().unwrap()
}

pub fn approved() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderApproved(OrderApproved { customer_id, payment_id, shopping_id: None })
}

pub fn rejected() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderRejected(OrderRejected { customer_id, payment_id, reason: "WILTED".into() })
}

pub fn cancelled() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderCanceled(OrderCanceled { customer_id, payment_id, reason: None })
}

fn view<P: Projection>(store: &EventStore, world: &TestPorts) -> Projector<P> {
    Projector::new(Arc::new(MemoryViews::new()), store.clone(), world.ports())
}

/// The path of an order's list, or of something that is done with it.
pub fn path(order: OrderId, verb: &str) -> String {
    let path = format!("{SHOPPING}/{}/{verb}", shopping_list_of(order));
    path.trim_end_matches('/').to_owned()
}
