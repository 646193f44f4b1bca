//! Orders are found by every filter, however their events came.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use contracts::{
    Envelope,
    customers::{CustomerDisabled, CustomerEvent, CustomerRegistered},
    ids::{CustomerId, OrderId, ProductId, StoreId, shopping_list_of},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderItem, OrderReadied,
        OrderRejected,
    },
};
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Actor, CommandId, DecodeError, Event, Id, Money, RawEvent, StreamId, Timestamp, Uuid};
use lambda::{Call, Fault};
use projection::{DynamoViews, MemoryViews, Projector, ViewStore};
use search::{
    Search,
    views::{BY_CUSTOMER, BY_MONTH, CustomerNames, SearchedOrders},
    walk::EXAMINED,
};
use serde_json::{Value, json};
use testing::{EmbeddedDynamo, Hostility, TestPorts, hostile, tell};

struct Stage {
    world: TestPorts,
    store: EventStore,
}

fn money(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

fn customer(name: &str) -> CustomerId {
    Id::derived(&["customer", name])
}

fn store(name: &str) -> StoreId {
    Id::derived(&["store", name])
}

fn product(name: &str) -> ProductId {
    Id::derived(&["product", name])
}

fn item(seller: &str, name: &str, quantity: u32, price: i64) -> OrderItem {
    OrderItem {
        store_id: store(seller),
        product_id: product(name),
        store_name: format!("{seller} at that time"),
        product_name: format!("{name} at that time"),
        price: money(price),
        quantity,
    }
}

fn stream<K>(category: &str, id: Id<K>) -> StreamId {
    format!("{category}/{id}").parse().unwrap()
}

impl Stage {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        Self { world, store }
    }

    /// A shop's story: orders in every status, over three months.
    async fn shop() -> Self {
        let stage = Self::new();
        stage.register("Ada").await;
        stage.register("Bob").await;
        stage.at("2026-09-30T23:00:00Z");
        stage.place("completed", "Ada", vec![item("Fruit", "Apple", 2, 100)]).await;
        stage.approve("completed").await;
        stage.ready("completed").await;
        stage.complete("completed").await;
        stage.at("2026-10-05T10:00:00Z");
        stage.place("rejected", "Bob", vec![item("Books", "Atlas", 1, 2_000)]).await;
        stage
            .happen(
                "rejected",
                OrderEvent::OrderRejected(OrderRejected {
                    customer_id: customer("Bob"),
                    payment_id: Id::derived(&["card"]),
                    reason: "PAYMENT_IS_USED".into(),
                }),
            )
            .await;
        stage.at("2026-11-01T10:00:00Z");
        stage
            .place("canceled", "Ada", vec![item("Fruit", "Apple", 1, 100), item("Books", "Novel", 1, 900)])
            .await;
        stage
            .happen(
                "canceled",
                OrderEvent::OrderCanceled(OrderCanceled {
                    customer_id: customer("Ada"),
                    payment_id: Id::derived(&["card"]),
                    reason: None,
                }),
            )
            .await;
        stage.at("2026-11-10T10:00:00Z");
        stage.place("ready", "Bob", vec![item("Fruit", "Pear", 3, 50), item("Fruit", "Apple", 1, 100)]).await;
        stage.approve("ready").await;
        stage.ready("ready").await;
        stage.at("2026-11-15T10:00:00Z");
        stage.place("approved", "Ada", vec![item("Books", "Atlas", 1, 2_000)]).await;
        stage.approve("approved").await;
        stage.at("2026-11-20T10:00:00Z");
        stage.place("new", "Bob", vec![item("Toys", "Robot", 1, 5_000)]).await;
        stage.at("2026-11-21T10:00:00Z");
        stage
    }

    fn at(&self, time: &str) {
        self.world.set(time.parse().unwrap());
    }

    async fn say<E: Event>(&self, stream: StreamId, event: E) {
        tell(&self.store, &stream, &event, &self.world.command("stage")).await;
    }

    async fn register(&self, name: &str) {
        let registered = CustomerRegistered { name: name.to_owned(), sms_number: "+1".to_owned() };
        self.say(stream("customers.Customer", customer(name)), CustomerEvent::CustomerRegistered(registered))
            .await;
    }

    async fn happen(&self, name: &str, event: OrderEvent) {
        self.say(stream("ordering.Order", order(name)), event).await;
        self.world.advance(Duration::from_secs(60));
    }

    async fn place(&self, name: &str, who: &str, items: Vec<OrderItem>) {
        let total = contracts::baskets::total(&items).unwrap();
        let (customer_id, payment_id) = (customer(who), Id::derived(&["card"]));
        self.happen(name, OrderEvent::OrderCreated(OrderCreated { customer_id, payment_id, items, total }))
            .await;
    }

    async fn approve(&self, name: &str) {
        let shopping_id = Some(shopping_list_of(order(name)));
        let (customer_id, payment_id) = (customer("?"), Id::derived(&["card"]));
        self.happen(name, OrderEvent::OrderApproved(OrderApproved { customer_id, payment_id, shopping_id }))
            .await;
    }

    async fn ready(&self, name: &str) {
        let (customer_id, payment_id, total) = (customer("?"), Id::derived(&["card"]), money(1));
        self.happen(name, OrderEvent::OrderReadied(OrderReadied { customer_id, payment_id, total })).await;
    }

    async fn complete(&self, name: &str) {
        let (customer_id, payment_id) = (customer("?"), Id::derived(&["card"]));
        let invoice_id = order(name).as_kind();
        self.happen(name, OrderEvent::OrderCompleted(OrderCompleted { customer_id, payment_id, invoice_id }))
            .await;
    }

    async fn history(&self, category: &str) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        let commits = page.commits.iter().filter(|commit| commit.stream.category() == category);
        commits.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }

    fn search_in(
        &self,
        orders: impl ViewStore<SearchedOrders> + 'static,
        names: impl ViewStore<CustomerNames> + 'static,
    ) -> Arc<Search> {
        let (store, ports) = (self.store.clone(), self.world.ports());
        let orders = Projector::new(Arc::new(orders), store.clone(), ports.clone());
        Arc::new(Search::new(orders, Projector::new(Arc::new(names), store, ports)))
    }

    /// A search that has heard of nothing yet.
    fn deaf(&self) -> Arc<Search> {
        self.search_in(MemoryViews::new(), MemoryViews::new())
    }

    async fn fill(&self, search: &Arc<Search>) {
        let orders = self.history("ordering.Order").await;
        for result in search.clone().project_searched_orders(orders).await {
            result.unwrap();
        }
        let customers = self.history("customers.Customer").await;
        for result in search.clone().project_customer_names(customers).await {
            result.unwrap();
        }
    }

    async fn search(&self) -> Arc<Search> {
        let search = self.deaf();
        self.fill(&search).await;
        search
    }

    fn call(&self, target: Option<String>, body: Value) -> Call {
        Call {
            target,
            body,
            query: Default::default(),
            command: CommandId::derived(&["test"]),
            repeatable: false,
            if_match: None,
            actor: Actor::new("test"),
            correlation: Uuid::nil(),
            causation: None,
            trace: None,
            attempt: 0,
            at: self.world.now(),
        }
    }

    async fn ask(&self, search: &Arc<Search>, body: Value) -> Result<Value, Fault> {
        search.clone().search_orders(self.call(None, body)).await.map(|answer| answer.body)
    }

    /// The names of the orders that pass these filters.
    async fn found(&self, search: &Arc<Search>, filters: Value) -> Vec<String> {
        let answer = self.ask(search, json!({ "filters": filters, "limit": 100 })).await.unwrap();
        assert_eq!(answer["next"], Value::Null);
        named(&answer)
    }
}

const ALL: [&str; 6] = ["new", "approved", "ready", "canceled", "rejected", "completed"];

fn named(answer: &Value) -> Vec<String> {
    let name = |order_: &Value| {
        let known = |name: &&&str| order_["orderId"] == order(name).to_string();
        ALL.iter().find(known).map_or_else(|| order_["orderId"].to_string(), |name| (*name).to_owned())
    };
    answer["orders"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn d20_a_search_finds_orders_by_each_filter_and_by_all_of_them_together() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    for (filters, expected) in [
        (json!({ "customerId": customer("Ada") }), &["approved", "canceled", "completed"][..]),
        (json!({ "customerId": customer("nobody") }), &[]),
        (json!({ "after": "2026-11-10T00:00:00Z" }), &["new", "approved", "ready"]),
        (json!({ "before": "2026-10-31T00:00:00+01:00" }), &["rejected", "completed"]),
        (
            json!({ "after": "2026-10-01T00:00:00Z", "before": "2026-11-12T00:00:00Z" }),
            &["ready", "canceled", "rejected"],
        ),
        (json!({ "storeIds": [store("Books")] }), &["approved", "canceled", "rejected"]),
        (
            json!({ "storeIds": [store("Toys"), store("Books")] }),
            &["new", "approved", "canceled", "rejected"],
        ),
        (json!({ "productIds": [product("Apple")] }), &["ready", "canceled", "completed"]),
        (json!({ "productIds": [product("Pear"), product("Robot")] }), &["new", "ready"]),
        (json!({ "minTotal": 10 }), &["new", "approved", "rejected"]),
        (json!({ "maxTotal": 10 }), &["ready", "completed"]),
        (json!({ "minTotal": 2, "maxTotal": 20.01 }), &["approved", "ready", "canceled", "rejected"]),
        (json!({ "status": "New" }), &["new"]),
        (json!({ "status": "Approved" }), &["approved"]),
        (json!({ "status": "Rejected" }), &["rejected"]),
        (json!({ "status": "ready for pickup" }), &["ready"]),
        (json!({ "status": "Canceled" }), &["canceled"]),
        (json!({ "status": "Completed" }), &["completed"]),
        (
            json!({
                "customerId": customer("Ada"), "after": "2026-10-01T00:00:00Z", "before": "2026-11-30T00:00:00Z",
                "storeIds": [store("Books")], "productIds": [product("Novel"), product("Atlas")],
                "minTotal": 5, "maxTotal": 15, "status": "Canceled",
            }),
            &["canceled"],
        ),
    ] {
        assert_eq!(stage.found(&search, filters.clone()).await, expected, "{filters}");
    }
}

#[tokio::test]
async fn d20_a_filter_that_is_not_set_leaves_nothing_out() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    for body in [
        json!({}),
        json!({ "filters": {} }),
        json!({ "filters": null, "next": null, "limit": null }),
        // As clients of the original API may send it.
        json!({
            "filters": {
                "customerId": "", "after": null, "before": "", "storeIds": [], "productIds": [], "minTotal": null,
                "maxTotal": null, "status": "",
            },
            "next": "", "limit": 0,
        }),
        json!({ "filters": { "minTotal": 0, "maxTotal": 0 } }),
        json!({ "filters": { "minTotal": "", "maxTotal": "" } }),
    ] {
        let answer = stage.ask(&search, body.clone()).await.unwrap();
        assert_eq!(
            (named(&answer), &answer["next"]),
            (ALL.map(str::to_owned).to_vec(), &Value::Null),
            "{body}"
        );
    }
    let answer = search.clone().search_orders(stage.call(None, Value::Null)).await.unwrap();
    assert_eq!(named(&answer.body).len(), ALL.len());
}

#[tokio::test]
async fn d20_what_lies_on_a_bound_is_not_within_it() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    let placed = |answer: &Value| answer["orders"][0]["placedAt"].as_str().unwrap().to_owned();
    let ready = stage.ask(&search, json!({ "filters": { "status": "Ready For Pickup" } })).await.unwrap();
    let at = placed(&ready);
    assert_eq!(at.parse::<Timestamp>().unwrap(), "2026-11-10T10:00:00Z".parse().unwrap());
    assert_eq!(stage.found(&search, json!({ "after": at })).await, ["new", "approved"]);
    assert_eq!(stage.found(&search, json!({ "before": at })).await, ["canceled", "rejected", "completed"]);
    let (before, after) = ("2026-11-10T09:59:59.999999999Z", "2026-11-10T10:00:00.000000001Z");
    assert_eq!(stage.found(&search, json!({ "after": before, "before": after })).await, ["ready"]);
    assert_eq!(stage.found(&search, json!({ "minTotal": 20, "maxTotal": 50 })).await, Vec::<String>::new());
    assert_eq!(
        stage.found(&search, json!({ "minTotal": 19.99, "maxTotal": 50.01 })).await,
        ["new", "approved", "rejected"]
    );
}

#[tokio::test]
async fn d20_an_order_that_is_asked_for_by_its_id_is_shown_with_total_time_and_names() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    let get = async |id: String| search.clone().get_searched_order(stage.call(Some(id), Value::Null)).await;
    let answer = get(order("ready").to_string()).await.unwrap();
    assert_eq!(
        answer.body,
        json!({ "order": {
            "orderId": order("ready"), "customerId": customer("Bob"), "customerName": "Bob",
            "items": [
                { "productId": product("Pear"), "storeId": store("Fruit"), "productName": "Pear at that time",
                  "storeName": "Fruit at that time", "price": 0.5, "quantity": 3 },
                { "productId": product("Apple"), "storeId": store("Fruit"), "productName": "Apple at that time",
                  "storeName": "Fruit at that time", "price": 1.0, "quantity": 1 },
            ],
            "total": 2.5, "status": "Ready For Pickup", "placedAt": "2026-11-10T10:00:00.000000000Z",
        } })
    );
    assert_eq!(answer.version.map(kernel::Version::get), Some(3));
    let fault = get(order("none").to_string()).await.unwrap_err();
    assert_eq!((fault.status, fault.code.as_ref()), (404, "ORDER_NOT_FOUND"));
    assert_eq!(get("nonsense".to_owned()).await.unwrap_err().status, 404);
    let mut newer = stage.call(Some(order("new").to_string()), Value::Null);
    newer.query.insert("minVersion".to_owned(), "2".to_owned());
    assert_eq!(search.clone().get_searched_order(newer).await.unwrap_err().status, 409);
}

#[tokio::test]
async fn d20_pages_go_on_where_the_last_one_ended_and_show_every_order_once() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    for filters in
        [json!({}), json!({ "customerId": customer("Ada") }), json!({ "storeIds": [store("Books")] })]
    {
        for limit in 1..=4 {
            let stage = Stage::shop().await;
            let search = stage.search().await;
            let expected = stage.found(&search, filters.clone()).await;
            let (mut read, mut next, mut pages) = (Vec::new(), Value::Null, 0);
            loop {
                let body = json!({ "filters": filters, "limit": limit, "next": next });
                let answer = stage.ask(&search, body).await.unwrap();
                read.extend(named(&answer));
                pages += 1;
                next = answer["next"].clone();
                if next.is_null() {
                    break;
                }
                // What is placed meanwhile is newer than every page.
                stage.place(&pages.to_string(), "Ada", vec![item("Books", "Atlas", 1, 1)]).await;
                stage.fill(&search).await;
            }
            assert_eq!(read, expected, "{filters}, {limit} on a page");
        }
    }
    for n in 0..10 {
        stage.place(&format!("one more {n}"), "Ada", vec![item("Books", "Atlas", 1, 1)]).await;
    }
    stage.fill(&search).await;
    let ten = stage.ask(&search, json!({})).await.unwrap();
    assert_eq!(ten["orders"].as_array().unwrap().len(), 10, "ten, when nothing is said");
}

#[tokio::test]
async fn a_page_reads_a_bounded_number_of_orders_and_still_none_is_left_out() {
    let stage = Stage::new();
    stage.register("Ada").await;
    stage.at("2026-11-02T00:00:00Z");
    stage.place("rare", "Ada", vec![item("Toys", "Robot", 1, 100)]).await;
    for n in 0..EXAMINED + 20 {
        stage.place(&n.to_string(), "Ada", vec![item("Fruit", "Apple", 1, 100)]).await;
    }
    let search = stage.search().await;
    let filters = json!({ "storeIds": [store("Toys")] });
    let first = stage.ask(&search, json!({ "filters": filters })).await.unwrap();
    assert_eq!(first["orders"], json!([]));
    assert!(first["next"].is_string(), "there is more to look at");
    let second = stage.ask(&search, json!({ "filters": filters, "next": first["next"] })).await.unwrap();
    assert_eq!(second["orders"][0]["orderId"], order("rare").to_string());
    assert_eq!(second["next"], Value::Null);
}

#[tokio::test]
async fn a_cursor_of_one_search_does_not_open_another() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    let page = stage
        .ask(&search, json!({ "filters": { "customerId": customer("Ada") }, "limit": 1 }))
        .await
        .unwrap();
    let next = page["next"].as_str().unwrap();
    let cursor: Value = projection::opened(next).unwrap();
    for (field, value) in
        [("id", "x".repeat(37)), ("id", "x".into()), ("sort", "9".repeat(31)), ("sort", "9".into())]
    {
        let mut forged = cursor.clone();
        forged["after"][field] = json!(value);
        let forged = projection::sealed(&forged);
        let body = json!({ "filters": { "customerId": customer("Ada") }, "next": forged });
        let fault = stage.ask(&search, body).await.unwrap_err();
        assert_eq!((fault.status, fault.code.as_ref()), (400, "QUERY_IS_INVALID"), "{field}");
    }
    for body in [
        json!({ "next": next }),
        json!({ "filters": { "customerId": customer("Bob") }, "next": next }),
        json!({ "filters": { "customerId": customer("Ada") }, "next": "bm9uc2Vuc2U" }),
        json!({ "filters": { "customerId": customer("Ada") }, "next": "%" }),
    ] {
        let fault = stage.ask(&search, body.clone()).await.unwrap_err();
        assert_eq!((fault.status, fault.code.as_ref()), (400, "QUERY_IS_INVALID"), "{body}");
    }
}

#[tokio::test]
async fn every_filter_that_is_wrong_is_named() {
    let stage = Stage::shop().await;
    let search = stage.search().await;
    let body = json!({
        "filters": {
            "customerId": "x", "after": "yesterday", "before": 7, "storeIds": ["x"], "productIds": "x", "minTotal": "x",
            "maxTotal": 1.999, "status": "Lost",
        },
        "limit": 101,
    });
    let fault = stage.ask(&search, body).await.unwrap_err();
    assert_eq!((fault.status, fault.code.as_ref()), (400, "VALIDATION_FAILED"));
    let mut fields: Vec<&str> = fault.details.iter().map(|detail| detail.field.as_str()).collect();
    fields.sort_unstable();
    let filters =
        ["after", "before", "customerId", "maxTotal", "minTotal", "productIds", "status", "storeIds[0]"];
    let mut expected: Vec<String> = filters.iter().map(|name| format!("filters.{name}")).collect();
    expected.push("limit".to_owned());
    assert_eq!(fields, expected);
}

/// A registration that nobody can read.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Torn;

impl Event for Torn {
    const SCHEMAS: &'static [(&'static str, u16)] = &[];

    fn event_type(&self) -> &'static str {
        "CustomerRegistered"
    }

    fn to_raw(&self) -> Result<RawEvent, DecodeError> {
        Ok(RawEvent { event_type: "CustomerRegistered".into(), schema: 1, data: json!({ "torn": true }) })
    }

    fn from_raw(_: &str, _: u16, _: &serde_json::Value) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_customer_whose_events_make_no_sense_does_not_hide_the_orders_of_others() {
    let stage = Stage::shop().await;
    let stream: StreamId = format!("customers.Customer/{}", customer("Eve")).parse().unwrap();
    tell(&stage.store, &stream, &Torn, &stage.world.command("test")).await;
    stage.place("eves", "Eve", vec![item("Toys", "Robot", 1, 100)]).await;
    let search = stage.deaf();
    for result in search.clone().project_searched_orders(stage.history("ordering.Order").await).await {
        result.unwrap();
    }
    let found = stage.ask(&search, json!({ "limit": 100 })).await.unwrap();
    let orders = found["orders"].as_array().unwrap();
    assert_eq!(orders.len(), ALL.len() + 1);
    let named = |id: OrderId| {
        orders.iter().find(|order| order["orderId"] == id.to_string()).unwrap()["customerName"].clone()
    };
    assert_eq!((named(order("eves")), named(order("ready"))), (json!(""), json!("Bob")));
}

#[tokio::test]
async fn what_was_not_heard_of_yet_is_looked_for_where_it_is_written() {
    let stage = Stage::shop().await;
    let deaf = stage.deaf();
    let answer = deaf
        .clone()
        .get_searched_order(stage.call(Some(order("new").to_string()), Value::Null))
        .await
        .unwrap();
    assert_eq!(answer.body["order"]["customerName"], "Bob");
    // It was kept: a search finds it now.
    assert_eq!(stage.found(&deaf, json!({})).await, ["new"]);
    // A customer who was disabled, or never was one, still has placed orders.
    let disabled = CustomerEvent::CustomerDisabled(CustomerDisabled {});
    stage.say(stream("customers.Customer", customer("Bob")), disabled).await;
    stage.place("ghost's", "nobody", vec![item("Toys", "Robot", 1, 5_000)]).await;
    let search = stage.search().await;
    let found = stage.ask(&search, json!({ "filters": { "storeIds": [store("Toys")] } })).await.unwrap();
    assert_eq!(
        (&found["orders"][0]["customerName"], &found["orders"][1]["customerName"]),
        (&json!(""), &json!("Bob"))
    );
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_search_as_an_orderly_one_does() {
    let stage = Stage::shop().await;
    let orderly = stage.ask(&stage.search().await, json!({})).await.unwrap();
    let (orders, customers) =
        (stage.history("ordering.Order").await, stage.history("customers.Customer").await);
    for seed in 0..40 {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let search = stage.deaf();
        for batch in hostile(&orders, seed, hostility).chunks(10) {
            for result in search.clone().project_searched_orders(batch.to_vec()).await {
                result.unwrap();
            }
        }
        for result in search.clone().project_customer_names(hostile(&customers, seed, hostility)).await {
            result.unwrap();
        }
        assert_eq!(stage.ask(&search, json!({})).await.unwrap(), orderly, "seed {seed}");
    }
}

#[tokio::test]
async fn dynamodb_finds_what_memory_finds() {
    let stage = Stage::shop().await;
    let dynamo = EmbeddedDynamo::start().await;
    projection::create_table::<SearchedOrders>(&dynamo.client(), "orders", &[BY_CUSTOMER, BY_MONTH])
        .await
        .unwrap();
    projection::create_table::<CustomerNames>(&dynamo.client(), "names", &[]).await.unwrap();
    let orders = DynamoViews::new(dynamo.client(), "orders");
    let there = stage.search_in(orders, DynamoViews::new(dynamo.client(), "names"));
    stage.fill(&there).await;
    let here = stage.search().await;
    for filters in [
        json!({}),
        json!({ "customerId": customer("Bob") }),
        json!({ "after": "2026-10-01T00:00:00Z" }),
        json!({ "before": "2026-11-12T00:00:00Z" }),
        json!({ "customerId": customer("Bob"), "after": "2026-10-06T00:00:00Z", "before": "2026-11-12T00:00:00Z" }),
        json!({ "productIds": [product("Atlas")], "minTotal": 19 }),
    ] {
        for limit in [1, 2, 100] {
            let (mut next, mut more) = (Value::Null, true);
            while more {
                let body = json!({ "filters": filters, "limit": limit, "next": next });
                let (found, expected) =
                    (stage.ask(&there, body.clone()).await.unwrap(), stage.ask(&here, body).await.unwrap());
                assert_eq!(found, expected, "{filters}");
                next = found["next"].clone();
                more = !next.is_null();
            }
        }
    }
}
