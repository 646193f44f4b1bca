//! Ordering over HTTP and by direct calls: the paths, verbs and names of the original API, without what was wrong with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use contracts::{
    ids::{OrderId, ProductId, StoreId, shopping_list_of},
    payments::{InvoiceEvent, InvoicePaid},
    stores::{
        ProductAdded, ProductEvent, ProductPriceIncreased, ProductRebranded, ProductRemoved, StoreCreated,
        StoreEvent,
    },
};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Aggregate, Event, Id, Money, Reason, StreamId};
use lambda::{Function, use_case};
use ordering::{
    Ordering,
    order::{Order, OrderCommand},
    views::{OrderViews, Orders},
};
use projection::{MemoryViews, Projection, Projector};
use serde_json::{Value, json};
use testing::{FaultyLog, TestPorts, tell};

const CUSTOMER: &str = "0198c0de-0000-7000-8000-00000000ada0";
const PAYMENT: &str = "0198c0de-0000-7000-8000-0000000ca4d0";
const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

/// An answer.
struct Reply {
    status: u64,
    etag: Option<String>,
    body: Value,
}

impl Reply {
    #[track_caller]
    fn refused(&self, status: u64, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
    }

    /// Field and code of every detail.
    fn details(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let details = self.body["details"].as_array().unwrap();
        details.iter().map(|detail| (text(&detail["field"]), text(&detail["code"]))).collect()
    }
}

/// The ordering context behind its routes, and stores that sell.
struct Mall {
    world: TestPorts,
    log: FaultyLog,
    store: EventStore,
    orders: Projector<Orders>,
}

fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

impl Mall {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let log = FaultyLog::new(Arc::new(MemoryLog::default()));
        let store = EventStore::new(Arc::new(log.clone()), world.ports());
        let orders = Projector::new(Arc::new(MemoryViews::new()), store.clone(), world.ports());
        Self { world, log, store, orders }
    }

    async fn send_command<A, K>(&self, id: Id<K>, command: A::Command)
    where
        A: Aggregate<Command: Clone + serde::Serialize>,
    {
        let stream = StreamId::of::<A, K>(id);
        let meta = self.world.command("stage");
        self.store.transact::<A>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    async fn happened<K>(&self, category: &str, id: Id<K>, event: impl Event) {
        let stream: StreamId = format!("{category}/{id}").parse().unwrap();
        tell(&self.store, &stream, &event, &self.world.command("stage")).await;
    }

    async fn opened(&self, name: &str) -> StoreId {
        let id = Id::derived(&["store", name]);
        let (name, location) = (name.to_owned(), "Hall 1".to_owned());
        self.happened("stores.Store", id, StoreEvent::StoreCreated(StoreCreated { name, location })).await;
        id
    }

    async fn added(&self, store_id: StoreId, name: &str, price: i64) -> ProductId {
        let id = Id::derived(&["product", name]);
        let (name, description, sku) = (name.to_owned(), String::new(), String::new());
        let added = ProductAdded { store_id, name, description, sku, price: cents(price) };
        self.happened("stores.Product", id, ProductEvent::ProductAdded(added)).await;
        id
    }

    async fn renamed(&self, store_id: StoreId, id: ProductId, name: &str) {
        let (name, description) = (name.to_owned(), String::new());
        let event = ProductEvent::ProductRebranded(ProductRebranded { store_id, name, description });
        self.happened("stores.Product", id, event).await;
    }

    async fn raised(&self, store_id: StoreId, id: ProductId, old: i64, price: i64) {
        let (old_price, price) = (cents(old), cents(price));
        let event = ProductEvent::ProductPriceIncreased(ProductPriceIncreased { store_id, old_price, price });
        self.happened("stores.Product", id, event).await;
    }

    async fn removed(&self, store_id: StoreId, id: ProductId) {
        let event = ProductEvent::ProductRemoved(ProductRemoved { store_id });
        self.happened("stores.Product", id, event).await;
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let ports = self.world.ports();
        let ordering = Arc::new(Ordering::new(self.store.clone(), ports.clone()));
        let views = Arc::new(OrderViews::new(self.orders.clone()));
        let parts: Vec<&str> = path.trim_start_matches("/api/").split('/').collect();
        let (function, id) = match (method, &parts[..]) {
            ("POST", ["ordering"]) => (use_case(&ordering, &ports, Ordering::create_order), None),
            ("GET", ["ordering", id]) => (use_case(&ordering, &ports, Ordering::get_order), Some(*id)),
            ("DELETE", ["ordering", id]) => (use_case(&ordering, &ports, Ordering::cancel_order), Some(*id)),
            ("GET", ["orders"]) => (use_case(&views, &ports, OrderViews::list_orders), None),
            ("GET", ["orders", id]) => (use_case(&views, &ports, OrderViews::get_order_view), Some(*id)),
            _ => panic!("no route for {method} {path}"),
        };
        (function, id.map(str::to_owned))
    }

    async fn send_with(&self, method: &str, target: &str, headers: Value, body: Value) -> Reply {
        self.world.advance(Duration::from_secs(1));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: serde_json::Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let (function, id) = self.route(method, path);
        let payload = json!({
            "rawPath": path, "headers": headers, "body": body.to_string(), "queryStringParameters": query,
            "pathParameters": id.map(|id| json!({ "id": id })).unwrap_or(json!({})),
            "requestContext": { "http": { "method": method } }
        });
        let answer = function.invoke(payload).await.unwrap();
        Reply {
            status: answer["statusCode"].as_u64().unwrap(),
            etag: answer["headers"]["etag"].as_str().map(str::to_owned),
            body: serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
        }
    }

    async fn send(&self, method: &str, target: &str, body: Value) -> Reply {
        self.send_with(method, target, json!({}), body).await
    }

    async fn ok(&self, method: &str, target: &str, body: Value) -> Value {
        let reply = self.send(method, target, body).await;
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.body);
        reply.body
    }

    /// The last step of a placement: the version it leads to, or the name of its error.
    async fn approve(&self, order: &str, body: Value) -> Result<Value, String> {
        self.world.advance(Duration::from_secs(1));
        let ports = self.world.ports();
        let ordering = Arc::new(Ordering::new(self.store.clone(), ports.clone()));
        let function = use_case(&ordering, &ports, Ordering::approve_order);
        let call = json!({ "command": format!("{order}:ApproveOrder"), "id": order, "body": body });
        function.invoke(call).await.map(|answer| answer["version"].clone()).map_err(|error| error.error_type)
    }

    async fn reject(&self, order: &str, reason: &str) {
        let (id, reason): (OrderId, _) = (order.parse().unwrap(), Reason::new(reason));
        self.send_command::<Order, _>(id, OrderCommand::Close { reason, even_approved: false }).await;
    }

    /// A store with an apple for 0.75, and an order of two of them.
    async fn with_an_order() -> (Self, String) {
        let mall = Self::new();
        let store = mall.opened("Fruit & Veg").await;
        let apple = mall.added(store, "Apple", 75).await;
        let order = mall.ordered(json!([{ "productId": apple, "quantity": 2 }])).await;
        (mall, order)
    }

    async fn ordered(&self, items: Value) -> String {
        let body = self.ok("POST", "/api/ordering", order_of(items)).await;
        body["id"].as_str().unwrap().to_owned()
    }

    async fn orders_made(&self) -> usize {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        page.commits.iter().filter(|commit| commit.stream.category() == Order::CATEGORY).count()
    }

    /// The events arrive.
    async fn settle(&self) {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        for envelope in page.commits.iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>()) {
            if envelope.stream.category() == Orders::CATEGORY {
                self.orders.deliver(&envelope).await.unwrap();
            }
        }
    }
}

fn order_of(items: Value) -> Value {
    json!({ "customerId": CUSTOMER, "paymentId": PAYMENT, "items": items })
}

fn path(order: &str) -> String {
    format!("/api/ordering/{order}")
}

#[tokio::test]
async fn d27_an_order_has_the_stores_prices_and_names_whatever_the_client_says() {
    let mall = Mall::new();
    let (greens, bakery) = (mall.opened("Fruit & Veg").await, mall.opened("Bakery").await);
    let (apple, bread) = (mall.added(greens, "Apple", 75).await, mall.added(bakery, "Bread", 320).await);
    mall.raised(greens, apple, 75, 99).await;
    mall.renamed(greens, apple, "Braeburn").await;
    let items = json!([
        { "productId": apple, "quantity": 2, "price": 0.99, "productName": "Gold", "storeName": "Mine", "storeId": UNKNOWN },
        { "productId": bread, "quantity": 1 },
    ]);
    let order = mall.ordered(items).await;
    let read = mall.send("GET", &path(&order), Value::Null).await;
    assert_eq!(read.etag.as_deref(), Some("\"1\""));
    assert_eq!(
        read.body,
        json!({ "order": {
            "id": order, "customerId": CUSTOMER, "paymentId": PAYMENT, "status": "pending", "total": 5.18,
            "items": [
                { "storeId": greens, "storeName": "Fruit & Veg", "productId": apple, "productName": "Braeburn", "price": 0.99, "quantity": 2 },
                { "storeId": bakery, "storeName": "Bakery", "productId": bread, "productName": "Bread", "price": 3.2, "quantity": 1 },
            ],
            "version": 1
        } })
    );
}

#[tokio::test]
async fn d27_a_price_that_the_store_does_not_ask_is_refused_with_both() {
    let mall = Mall::new();
    let store = mall.opened("Fruit & Veg").await;
    let apple = mall.added(store, "Apple", 75).await;
    for price in [json!(0), json!(0.01), json!(0.74), json!(0.76), json!(-0.75)] {
        let items = json!([{ "productId": apple, "quantity": 1 }, { "productId": apple, "quantity": 1, "price": price }]);
        let reply = mall.send("POST", "/api/ordering", order_of(items)).await;
        reply.refused(409, "PRICE_HAS_CHANGED");
        assert_eq!(reply.details(), [("items[1].price".to_owned(), "PRICE_HAS_CHANGED".to_owned())]);
        let message = reply.body["message"].as_str().unwrap();
        let shown = cents((price.as_f64().unwrap() * 100.0).round() as i64);
        assert!(message.contains("costs 0.75 USD") && message.contains(&shown.to_string()), "{message}");
    }
    assert_eq!(mall.orders_made().await, 0);
}

#[tokio::test]
async fn every_item_that_cannot_be_had_is_named() {
    let mall = Mall::new();
    let store = mall.opened("Fruit & Veg").await;
    let (apple, pear) = (mall.added(store, "Apple", 75).await, mall.added(store, "Pear", 80).await);
    mall.removed(store, pear).await;
    let item = |id: &str| json!({ "productId": id, "quantity": 1, "price": 0.5 });
    let (apple, pear) = (item(&apple.to_string()), item(&pear.to_string()));
    let not_sold = [
        ("items[0].price", "PRICE_HAS_CHANGED"),
        ("items[1].productId", "PRODUCT_WAS_REMOVED"),
        ("items[2].productId", "PRODUCT_NOT_FOUND"),
    ];
    let reply = mall.send("POST", "/api/ordering", order_of(json!([apple, pear, item(UNKNOWN)]))).await;
    reply.refused(409, "PRICE_HAS_CHANGED");
    assert_eq!(reply.details(), not_sold.map(|(field, code)| (field.to_owned(), code.to_owned())));
    mall.send("POST", "/api/ordering", order_of(json!([pear]))).await.refused(409, "PRODUCT_WAS_REMOVED");
    assert_eq!(mall.orders_made().await, 0);
}

#[tokio::test]
async fn d16_a_product_that_there_is_not_cannot_be_ordered() {
    let mall = Mall::new();
    let items = json!([{ "productId": UNKNOWN, "quantity": 1 }]);
    let reply = mall.send("POST", "/api/ordering", order_of(items)).await;
    reply.refused(404, "PRODUCT_NOT_FOUND");
    assert_eq!(reply.details()[0].0, "items[0].productId");
    assert_eq!(mall.orders_made().await, 0);
}

#[tokio::test]
async fn a_product_that_is_named_twice_has_one_line_with_all_its_pieces() {
    let mall = Mall::new();
    let store = mall.opened("Fruit & Veg").await;
    let (apple, pear) = (mall.added(store, "Apple", 75).await, mall.added(store, "Pear", 80).await);
    let item = |id: ProductId, quantity: u32| json!({ "productId": id, "quantity": quantity });
    let order = mall.ordered(json!([item(apple, 2), item(pear, 1), item(apple, 3)])).await;
    let read = mall.ok("GET", &path(&order), Value::Null).await;
    let lines: Vec<(&Value, &Value)> = read["order"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (&line["productName"], &line["quantity"]))
        .collect();
    assert_eq!(lines, [(&json!("Apple"), &json!(5)), (&json!("Pear"), &json!(1))]);
    let many = json!([item(apple, 6_000), item(apple, 6_000)]);
    mall.send("POST", "/api/ordering", order_of(many)).await.refused(400, "QUANTITY_IS_TOO_LARGE");
}

#[tokio::test]
async fn what_a_request_may_not_say_is_named_field_by_field() {
    let mall = Mall::new();
    let reply =
        mall.send("POST", "/api/ordering", json!({ "customerId": " ", "items": [{ "price": "1" }] })).await;
    reply.refused(400, "VALIDATION_FAILED");
    let wanted = [
        ("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK"),
        ("paymentId", "PAYMENT_ID_CANNOT_BE_BLANK"),
        ("items[0].productId", "PRODUCT_ID_CANNOT_BE_BLANK"),
        ("items[0].quantity", "MISSING"),
        ("items[0].price", "AMOUNT_IS_INVALID"),
    ];
    assert_eq!(reply.details(), wanted.map(|(field, code)| (field.to_owned(), code.to_owned())));
    for (quantity, code) in [
        (json!(0), "QUANTITY_MUST_BE_POSITIVE"),
        (json!(-1), "QUANTITY_MUST_BE_POSITIVE"),
        (json!(10_001), "QUANTITY_IS_TOO_LARGE"),
        (json!(i64::MAX), "QUANTITY_IS_TOO_LARGE"),
        (json!(1.5), "NOT_A_WHOLE_NUMBER"),
        (json!(null), "MISSING"),
    ] {
        let items = json!([{ "productId": UNKNOWN, "quantity": quantity }]);
        mall.send("POST", "/api/ordering", order_of(items)).await.refused(400, code);
    }
    mall.send("POST", "/api/ordering", order_of(json!([]))).await.refused(400, "ORDER_HAS_NO_ITEMS");
    let products = (0..101).map(|n| Id::<()>::derived(&["p", &n.to_string()]));
    let items: Vec<Value> = products.map(|id| json!({ "productId": id, "quantity": 1 })).collect();
    mall.log.take_calls();
    let reply = mall.send("POST", "/api/ordering", order_of(json!(items))).await;
    reply.refused(400, "ORDER_HAS_TOO_MANY_PRODUCTS");
    assert_eq!(mall.log.take_calls().reads, 1, "no product is looked up for a request that asks too much");
}

#[tokio::test]
async fn an_order_costs_a_query_for_each_product_and_each_store() {
    let mall = Mall::new();
    let (greens, bakery) = (mall.opened("Fruit & Veg").await, mall.opened("Bakery").await);
    let mut items = Vec::new();
    for (store, name) in
        [(greens, "Apple"), (greens, "Pear"), (bakery, "Bread"), (greens, "Plum"), (bakery, "Roll")]
    {
        items.push(json!({ "productId": mall.added(store, name, 100).await, "quantity": 1 }));
    }
    mall.log.take_calls();
    mall.ordered(json!(items)).await;
    assert_eq!(mall.log.take_calls().reads, 5 + 2);
}

#[tokio::test]
async fn a_repeat_with_the_same_key_is_answered_as_the_first_time_whatever_the_store_did_meanwhile() {
    let mall = Mall::new();
    let store = mall.opened("Fruit & Veg").await;
    let apple = mall.added(store, "Apple", 75).await;
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let body = |quantity: u32| order_of(json!([{ "productId": apple, "quantity": quantity, "price": 0.75 }]));
    let first = mall.send_with("POST", "/api/ordering", key.clone(), body(2)).await;
    assert_eq!(first.status, 200);
    let again = || mall.send_with("POST", "/api/ordering", key.clone(), body(2));
    mall.renamed(store, apple, "Braeburn").await;
    assert_eq!(again().await.body, first.body);
    mall.raised(store, apple, 75, 99).await;
    assert_eq!(again().await.body, first.body);
    mall.removed(store, apple).await;
    assert_eq!(again().await.body, first.body);
    assert_eq!(mall.orders_made().await, 1);
    let other = mall.send_with("POST", "/api/ordering", key.clone(), body(3)).await;
    other.refused(422, "IDEMPOTENCY_KEY_REUSED");
    let fresh = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000002" });
    let other = mall.send_with("POST", "/api/ordering", fresh, body(2)).await;
    other.refused(409, "PRODUCT_WAS_REMOVED");
}

#[tokio::test]
async fn the_same_key_with_another_payload_is_refused() {
    let mall = Mall::new();
    let store = mall.opened("Fruit & Veg").await;
    let apple = mall.added(store, "Apple", 75).await;
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let body = |quantity: u32| order_of(json!([{ "productId": apple, "quantity": quantity }]));
    assert_eq!(mall.send_with("POST", "/api/ordering", key.clone(), body(2)).await.status, 200);
    mall.send_with("POST", "/api/ordering", key, body(3)).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn d16_and_d17_an_order_that_there_is_not_is_404_and_stays_so() {
    let mall = Mall::new();
    for id in [UNKNOWN, "no-id-at-all"] {
        for method in ["GET", "DELETE"] {
            mall.send(method, &path(id), Value::Null).await.refused(404, "ORDER_NOT_FOUND");
        }
        mall.send("GET", &format!("/api/orders/{id}"), Value::Null).await.refused(404, "ORDER_NOT_FOUND");
        assert_eq!(mall.approve(id, json!({})).await, Err("ORDER_NOT_FOUND".to_owned()));
    }
    assert_eq!(mall.orders_made().await, 0);
}

#[tokio::test]
async fn an_order_shows_how_far_it_got_by_which_list_and_which_invoice() {
    let (mall, order) = Mall::with_an_order().await;
    let id: OrderId = order.parse().unwrap();
    let list = shopping_list_of(id);
    let shown = || async { mall.ok("GET", &path(&order), Value::Null).await["order"].clone() };
    let pending = shown().await;
    assert_eq!((&pending["status"], &pending["total"]), (&json!("pending"), &json!(1.5)));
    assert!(pending.get("shoppingId").is_none() && pending.get("invoiceId").is_none());
    assert_eq!(mall.approve(&order, json!({ "shoppingId": list })).await, Ok(json!(2)));
    let approved = shown().await;
    assert_eq!((&approved["status"], &approved["shoppingId"]), (&json!("approved"), &json!(list)));
    mall.send_command::<Order, _>(id, OrderCommand::Ready { shopping_id: list }).await;
    assert_eq!(shown().await["status"], "ready");
    let invoice_id = id.as_kind();
    mall.send_command::<Order, _>(id, OrderCommand::Complete { invoice_id }).await;
    let completed = shown().await;
    assert_eq!((&completed["status"], &completed["invoiceId"]), (&json!("completed"), &json!(order)));
    assert_eq!(completed["version"], 4);
    mall.settle().await;
    let mut listed = mall.ok("GET", &format!("/api/orders?customerId={CUSTOMER}"), Value::Null).await;
    let row = listed["orders"][0].as_object_mut().unwrap();
    assert!(row.remove("placedAt").unwrap().as_str() < row.remove("changedAt").unwrap().as_str());
    let mut wanted = completed.clone();
    wanted.as_object_mut().unwrap().remove("version");
    assert_eq!(listed, json!({ "orders": [wanted], "next": null }));
}

#[tokio::test]
async fn an_approval_by_hand_need_not_name_a_list_but_may_not_name_nonsense() {
    let (mall, order) = Mall::with_an_order().await;
    for wrong in [json!({ "shoppingId": "x" }), json!({ "shoppingId": 7 }), json!({ "shoppingId": " " })] {
        assert!(mall.approve(&order, wrong).await.is_err());
    }
    assert_eq!(mall.approve(&order, Value::Null).await, Ok(json!(2)));
}

#[tokio::test]
async fn d11_the_saga_finds_out_that_the_order_was_cancelled_and_leaves_it_so() {
    let (mall, order) = Mall::with_an_order().await;
    mall.ok("DELETE", &path(&order), Value::Null).await;
    assert_eq!(mall.approve(&order, json!({})).await, Err("ORDER_IS_OVER".to_owned()));
    let read = mall.ok("GET", &path(&order), Value::Null).await;
    assert_eq!(read["order"]["status"], "cancelled");
    assert!(read["order"].get("reason").is_none());
}

#[tokio::test]
async fn d6_a_rejected_order_says_why() {
    let (mall, order) = Mall::with_an_order().await;
    mall.reject(&order, "PAYMENT_DOES_NOT_COVER_TOTAL").await;
    let read = mall.ok("GET", &path(&order), Value::Null).await;
    assert_eq!(read["order"]["status"], "rejected");
    assert_eq!(read["order"]["reason"], "PAYMENT_DOES_NOT_COVER_TOTAL");
}

#[tokio::test]
async fn d11_an_order_is_cancelled_until_it_is_over_and_once() {
    let (mall, order) = Mall::with_an_order().await;
    mall.send("DELETE", &path(&order), Value::Null).await.body["version"].as_u64().unwrap();
    let again = mall.send("DELETE", &path(&order), Value::Null).await;
    again.refused(409, "ORDER_CANNOT_BE_CANCELLED");

    let (mall, order) = Mall::with_an_order().await;
    let id: OrderId = order.parse().unwrap();
    let shopping_id = shopping_list_of(id);
    mall.approve(&order, json!({ "shoppingId": shopping_id })).await.unwrap();
    let stale = mall.send_with("DELETE", &path(&order), json!({ "if-match": "\"1\"" }), Value::Null).await;
    stale.refused(412, "VERSION_MISMATCH");
    mall.send_command::<Order, _>(id, OrderCommand::Ready { shopping_id }).await;
    let read = mall.ok("DELETE", &path(&order), Value::Null).await;
    assert_eq!(read["version"], 4, "what was collected goes back on the shelf");

    let (mall, order) = Mall::with_an_order().await;
    mall.approve(&order, json!({})).await.unwrap();
    assert_eq!(mall.ok("DELETE", &path(&order), Value::Null).await["version"], 3);

    let (mall, order) = Mall::with_an_order().await;
    mall.reject(&order, "X").await;
    let late = mall.send("DELETE", &path(&order), Value::Null).await;
    late.refused(409, "ORDER_CANNOT_BE_CANCELLED");
    assert!(late.body["message"].as_str().unwrap().contains("rejected"), "{}", late.body);
}

fn paid(order_id: OrderId) -> InvoiceEvent {
    let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
    InvoiceEvent::InvoicePaid(InvoicePaid { order_id, customer_id, payment_id, amount: cents(150) })
}

#[tokio::test]
async fn an_order_that_was_paid_is_not_cancelled_though_it_has_not_heard_of_that() {
    let (mall, order) = Mall::with_an_order().await;
    let id: OrderId = order.parse().unwrap();
    let shopping_id = shopping_list_of(id);
    mall.approve(&order, json!({ "shoppingId": shopping_id })).await.unwrap();
    mall.send_command::<Order, _>(id, OrderCommand::Ready { shopping_id }).await;
    mall.happened("payments.Invoice", id, paid(id)).await;
    mall.send("DELETE", &path(&order), Value::Null).await.refused(409, "ORDER_IS_PAID");
    assert_eq!(mall.ok("GET", &path(&order), Value::Null).await["order"]["status"], "ready");
    mall.send_command::<Order, _>(id, OrderCommand::Complete { invoice_id: id.as_kind() }).await;
    let over = mall.send("DELETE", &path(&order), Value::Null).await;
    over.refused(409, "ORDER_CANNOT_BE_CANCELLED");
}

#[tokio::test]
async fn a_cancellation_that_is_repeated_with_its_key_is_answered_as_before_though_it_was_paid_since() {
    let (mall, order) = Mall::with_an_order().await;
    let cancel = async || {
        mall.send_with("DELETE", &path(&order), json!({ "idempotency-key": "k" }), Value::Null).await
    };
    let first = cancel().await;
    assert_eq!(first.status, 200, "{}", first.body);
    let id: OrderId = order.parse().unwrap();
    mall.happened("payments.Invoice", id, paid(id)).await;
    assert_eq!(cancel().await.body, first.body);
}

#[tokio::test]
async fn a_reason_that_somebody_sends_over_http_is_not_the_malls() {
    let (mall, order) = Mall::with_an_order().await;
    mall.ok("DELETE", &path(&order), json!({ "reason": "PAYMENT_OVERDUE" })).await;
    assert!(mall.ok("GET", &path(&order), Value::Null).await["order"].get("reason").is_none());
    let again = mall.send("DELETE", &path(&order), json!({ "reason": "PAYMENT_OVERDUE" })).await;
    again.refused(409, "ORDER_CANNOT_BE_CANCELLED");
}

#[tokio::test]
async fn d28_orders_come_in_pages_newest_first() {
    let mall = Mall::new();
    let store = mall.opened("Fruit & Veg").await;
    let apple = mall.added(store, "Apple", 75).await;
    for quantity in 1..=25 {
        mall.ordered(json!([{ "productId": apple, "quantity": quantity }])).await;
    }
    mall.settle().await;
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let next = cursor.map(|cursor: String| format!("&cursor={cursor}")).unwrap_or_default();
        let page =
            mall.ok("GET", &format!("/api/orders?customerId={CUSTOMER}&limit=7{next}"), Value::Null).await;
        let orders = page["orders"].as_array().unwrap();
        seen.extend(orders.iter().map(|order| order["items"][0]["quantity"].as_u64().unwrap()));
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
    for wrong in ["", "?customerId=", "?customerId=x"] {
        assert_eq!(mall.send("GET", &format!("/api/orders{wrong}"), Value::Null).await.status, 400);
    }
    let none = mall.ok("GET", &format!("/api/orders?customerId={UNKNOWN}"), Value::Null).await;
    assert_eq!(none, json!({ "orders": [], "next": null }));
}

#[tokio::test]
async fn a_customer_reads_the_own_write() {
    let (mall, order) = Mall::with_an_order().await;
    mall.ok("DELETE", &path(&order), Value::Null).await;
    let read = mall.ok("GET", &format!("/api/orders/{order}?minVersion=2"), Value::Null).await;
    assert_eq!((&read["order"]["status"], &read["order"]["version"]), (&json!("cancelled"), &json!(2)));
    let early = mall.send("GET", &format!("/api/orders/{order}?minVersion=3"), Value::Null).await;
    early.refused(409, "VERSION_NOT_REACHED");
}

#[tokio::test]
async fn an_order_is_shown_as_it_was_then_and_not_where_it_was_not() {
    let (mall, order) = Mall::with_an_order().await;
    let placed = mall.world.now();
    mall.world.advance(Duration::from_secs(60));
    mall.ok("DELETE", &path(&order), Value::Null).await;
    let at = async |at: String| mall.send("GET", &format!("{}?at={at}", path(&order)), Value::Null).await;

    let first = at("1".into()).await;
    assert_eq!((first.status, first.etag.as_deref()), (200, Some("\"1\"")), "{}", first.body);
    assert_eq!(
        (&first.body["order"]["status"], &first.body["order"]["version"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(at("2".into()).await.body["order"]["status"], "cancelled");
    assert_eq!(at(placed.to_string()).await.body, first.body);
    let later = placed + Duration::from_secs(9 * 3600);
    assert_eq!(at(later.to_string()).await.body["order"]["status"], "cancelled");

    let before = placed - Duration::from_secs(9 * 3600);
    at(before.to_string()).await.refused(404, "ORDER_NOT_FOUND");
    at("3".into()).await.refused(404, "VERSION_NOT_FOUND");
    for nonsense in ["0", "-1", "yesterday", "2026-01-31", "99999999999999999999", "1.5", ""] {
        at(nonsense.into()).await.refused(400, "QUERY_IS_INVALID");
    }
}
