//! Baskets over HTTP: filled from the stores' goods, and checked out at the prices of the moment.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use baskets::{
    Baskets, Shopping,
    basket::{Basket, BasketCommand, Offer, OnOffer, Prices},
    goods::Goods,
};
use catalogue::{Catalogue, Participation, Products, Stores};
use contracts::{baskets::BasketEvent, ids::ProductId};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Money, StreamId};
use lambda::{Function, use_case};
use projection::{MemoryViews, Projector};
use serde_json::{Value, json};
use testing::{FaultyLog, Shelves, TestPorts, faulty::OnAppend};

/// An answer.
struct Reply {
    status: u64,
    etag: Option<String>,
    body: Value,
}

/// The baskets context behind its routes, and stores to buy from.
struct Mall {
    world: TestPorts,
    log: FaultyLog,
    store: EventStore,
    shelves: Arc<Shelves>,
    products: MemoryViews<Products>,
    stores: MemoryViews<Stores>,
    participation: Participation,
}

const CUSTOMER: &str = "0198c0de-0000-7000-8000-00000000cafe";
const PAYMENT: &str = "0198c0de-0000-7000-8000-00000000feed";
const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

impl Mall {
    fn new() -> Self {
        Self::with(Participation::NotRequired)
    }

    fn with(participation: Participation) -> Self {
        let world = TestPorts::new(1);
        let log = FaultyLog::new(Arc::new(MemoryLog::new()));
        let store = EventStore::new(Arc::new(log.clone()), world.ports());
        let shopkeeper = world.clone();
        let shelves = Arc::new(Shelves::new(store.clone(), move || shopkeeper.command("shopkeeper")));
        let (products, stores) = (MemoryViews::new(), MemoryViews::new());
        Self { world, log, store, shelves, products, stores, participation }
    }

    fn copy(&self) -> Catalogue {
        Catalogue::new(
            Projector::new(Arc::new(self.products.clone()), self.store.clone(), self.world.ports()),
            Projector::new(Arc::new(self.stores.clone()), self.store.clone(), self.world.ports()),
        )
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let ports = self.world.ports();
        let context = || Baskets::new(self.store.clone(), ports.clone());
        let baskets = Arc::new(context());
        let shopping = Arc::new(Shopping::new(context(), Goods::new(self.copy(), self.participation)));
        let parts: Vec<&str> = path.trim_start_matches("/api/baskets").split('/').skip(1).collect();
        let (function, id) = match (method, &parts[..]) {
            ("POST", []) => (use_case(&baskets, &ports, Baskets::start_basket), None),
            ("GET", [id]) => (use_case(&baskets, &ports, Baskets::get_basket), Some(*id)),
            ("DELETE", [id]) => (use_case(&baskets, &ports, Baskets::cancel_basket), Some(*id)),
            ("PUT", [id, "checkout"]) => (use_case(&shopping, &ports, Shopping::checkout_basket), Some(*id)),
            ("PUT", [id, "addItem"]) => (use_case(&shopping, &ports, Shopping::add_item), Some(*id)),
            ("PUT", [id, "removeItem"]) => (use_case(&baskets, &ports, Baskets::remove_item), Some(*id)),
            _ => panic!("no route for {method} {path}"),
        };
        (function, id.map(str::to_owned))
    }

    async fn send_with(&self, method: &str, path: &str, headers: Value, body: Value) -> Reply {
        self.world.advance(Duration::from_secs(1));
        let (function, id) = self.route(method, path);
        let payload = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": headers, "isBase64Encoded": false, "body": body.to_string(),
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

    async fn send(&self, method: &str, path: &str, body: Value) -> Reply {
        self.send_with(method, path, json!({}), body).await
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.send(method, path, body).await;
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.body);
        reply.body
    }

    #[track_caller]
    fn refused(reply: &Reply, status: u64, code: &str) {
        assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{}", reply.body);
    }

    /// The path of a new basket.
    async fn basket(&self) -> String {
        let body = self.ok("POST", "/api/baskets", json!({ "customerId": CUSTOMER })).await;
        format!("/api/baskets/{}", body["id"].as_str().unwrap())
    }

    async fn add(&self, basket: &str, product: ProductId, quantity: i64) -> Reply {
        self.send("PUT", &format!("{basket}/addItem"), json!({ "productId": product, "quantity": quantity }))
            .await
    }

    async fn check_out(&self, basket: &str, key: &str) -> Reply {
        let headers = json!({ "idempotency-key": key });
        self.send_with("PUT", &format!("{basket}/checkout"), headers, json!({ "paymentId": PAYMENT })).await
    }

    async fn read(&self, basket: &str) -> Value {
        self.ok("GET", basket, Value::Null).await["basket"].take()
    }

    /// Types of everything that happened to baskets.
    async fn happened(&self) -> Vec<String> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        let commits = page.commits.iter().filter(|commit| commit.stream.category() == "baskets.Basket");
        commits.flat_map(|commit| commit.envelopes().map(|e| e.event_type).collect::<Vec<_>>()).collect()
    }
}

#[tokio::test]
async fn a_shopper_names_products_and_the_copy_says_what_they_are_called_and_cost() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let basket = mall.basket().await;
    // A client that says itself what a product costs is not listened to.
    let body = json!({ "productId": apple, "quantity": 3, "product": { "price": 0.01 }, "price": 0.01 });
    mall.ok("PUT", &format!("{basket}/addItem"), body).await;
    mall.ok("PUT", &format!("{basket}/removeItem"), json!({ "productId": apple, "quantity": 1 })).await;
    let reply = mall.send("GET", &basket, Value::Null).await;
    assert_eq!(reply.etag.as_deref(), Some("\"3\""));
    let id = basket.rsplit('/').next().unwrap();
    assert_eq!(
        reply.body,
        json!({ "basket": {
            "id": id, "customerId": CUSTOMER, "status": "open", "version": 3, "total": 1.5,
            "items": [{
                "storeId": store, "storeName": "Fruit & Veg", "productId": apple, "productName": "Apple",
                "productPrice": 0.75, "quantity": 2
            }],
        } })
    );
    let done = mall.check_out(&basket, "pay").await;
    assert_eq!((done.status, &done.body["version"]), (200, &json!(4)));
    assert_eq!(mall.read(&basket).await["status"], "checked_out");
}

#[tokio::test]
async fn d16_what_there_is_not_is_404_and_makes_no_ghost() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    for ghost in [UNKNOWN, "no-id-at-all"] {
        let ghost = format!("/api/baskets/{ghost}");
        let item = json!({ "productId": apple, "quantity": 1 });
        for (method, path, body) in [
            ("GET", ghost.clone(), Value::Null),
            ("DELETE", ghost.clone(), Value::Null),
            ("PUT", format!("{ghost}/addItem"), item.clone()),
            ("PUT", format!("{ghost}/removeItem"), item),
            ("PUT", format!("{ghost}/checkout"), json!({ "paymentId": PAYMENT })),
        ] {
            Mall::refused(&mall.send(method, &path, body).await, 404, "BASKET_NOT_FOUND");
        }
    }
    assert!(mall.happened().await.is_empty());
}

#[tokio::test]
async fn what_no_store_sells_is_404_and_can_still_be_taken_out() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let pear = mall.shelves.sell(store, "Pear", cents(150)).await;
    let basket = mall.basket().await;
    let unknown = json!({ "productId": UNKNOWN, "quantity": 1 });
    let reply = mall.send("PUT", &format!("{basket}/addItem"), unknown).await;
    Mall::refused(&reply, 404, "PRODUCT_NOT_FOUND");
    for product in [apple, pear] {
        assert_eq!(mall.add(&basket, product, 2).await.status, 200);
    }
    mall.shelves.remove(apple).await;
    mall.copy().latest([apple]).await.unwrap();
    Mall::refused(&mall.add(&basket, apple, 1).await, 404, "PRODUCT_NOT_FOUND");

    let before = mall.happened().await;
    let reply = mall.check_out(&basket, "pay").await;
    Mall::refused(&reply, 409, "PRODUCT_IS_NOT_SOLD");
    let message = reply.body["message"].as_str().unwrap();
    assert!(message.contains("Apple") && !message.contains("Pear"), "{message}");
    assert_eq!(mall.happened().await, before, "nothing was written");

    mall.ok("PUT", &format!("{basket}/removeItem"), json!({ "productId": apple, "quantity": 2 })).await;
    assert_eq!(mall.check_out(&basket, "pay").await.status, 200, "a refusal does not use a key up");
    assert_eq!(mall.read(&basket).await["total"], 3.0);
}

#[tokio::test]
async fn d29_the_basket_is_open_and_no_pieces_are_refused() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let basket = mall.basket().await;
    Mall::refused(&mall.add(&basket, apple, 0).await, 400, "QUANTITY_CANNOT_BE_ZERO");
    Mall::refused(&mall.add(&basket, apple, -1).await, 400, "QUANTITY_CANNOT_BE_NEGATIVE");
    assert_eq!(mall.read(&basket).await["status"], "open");
    Mall::refused(&mall.send("PUT", &format!("{basket}/addItem"), json!({})).await, 400, "VALIDATION_FAILED");
}

#[tokio::test]
async fn a_price_that_rose_unnoticed_is_shown_before_it_is_charged() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let pear = mall.shelves.sell(store, "Pear", cents(150)).await;
    let basket = mall.basket().await;
    for product in [apple, pear] {
        assert_eq!(mall.add(&basket, product, 2).await.status, 200);
    }
    // No event arrives: the copy still has the old prices.
    mall.shelves.price(apple, cents(80)).await;
    mall.shelves.price(pear, cents(140)).await;
    let first = mall.check_out(&basket, "first").await;
    Mall::refused(&first, 409, "PRICES_HAVE_RISEN");
    let detail = |product: ProductId, code: &str, message: &str| {
        json!({
            "field": format!("items[{product}].productPrice"), "code": code,
            "message": format!("product {product} costs {message}"),
        })
    };
    let wanted = json!([
        detail(apple, "PRICE_HAS_RISEN", "0.80 USD now, not 0.75 USD"),
        detail(pear, "PRICE_HAS_FALLEN", "1.40 USD now, not 1.50 USD"),
    ]);
    assert_eq!(first.body["details"], wanted);
    let shown = mall.read(&basket).await;
    assert_eq!((&shown["status"], &shown["total"]), (&json!("open"), &json!(4.4)));

    // The same request again is the same answer, and confirms nothing.
    assert_eq!(mall.check_out(&basket, "first").await.body, first.body);
    assert_eq!(mall.read(&basket).await["version"], shown["version"]);
    let done = mall.check_out(&basket, "second").await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(mall.read(&basket).await["total"], 4.4);
    // Also after another request has checked the basket out.
    let again = mall.check_out(&basket, "first").await;
    assert_eq!((again.status, &again.body), (409, &first.body));
    let again = mall.check_out(&basket, "second").await;
    assert_eq!((again.status, &again.body), (200, &done.body));
    Mall::refused(&mall.check_out(&basket, "third").await, 400, "BASKET_CANNOT_BE_MODIFIED");
    let happened = mall.happened().await;
    assert_eq!(happened[3..], ["BasketRepriced", "BasketCheckedOut"]);
}

#[tokio::test]
async fn prices_that_only_fell_are_passed_on_without_asking() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let basket = mall.basket().await;
    mall.add(&basket, apple, 4).await;
    mall.shelves.price(apple, cents(50)).await;
    let done = mall.check_out(&basket, "pay").await;
    assert_eq!((done.status, &done.body["version"]), (200, &json!(4)), "{}", done.body);
    assert_eq!(mall.check_out(&basket, "pay").await.body, done.body);
    assert_eq!(mall.read(&basket).await["total"], 2.0);
    assert_eq!(mall.happened().await[2..], ["BasketRepriced", "BasketCheckedOut"]);
}

#[tokio::test]
async fn the_same_product_again_keeps_the_price_first_seen_until_the_checkout() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let basket = mall.basket().await;
    mall.add(&basket, apple, 1).await;
    mall.shelves.price(apple, cents(100)).await;
    mall.copy().latest([apple]).await.unwrap();
    mall.add(&basket, apple, 1).await;
    let shown = mall.read(&basket).await;
    assert_eq!(
        (&shown["items"][0]["productPrice"], &shown["items"][0]["quantity"]),
        (&json!(0.75), &json!(2))
    );
    Mall::refused(&mall.check_out(&basket, "pay").await, 409, "PRICES_HAVE_RISEN");
    assert_eq!(mall.read(&basket).await["total"], 2.0);
}

#[tokio::test]
async fn a_repeat_is_recognised_though_the_price_moved_and_the_product_is_gone() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let path = format!("{}/addItem", mall.basket().await);
    let key = json!({ "idempotency-key": "add" });
    let body = json!({ "productId": apple, "quantity": 2 });
    let first = mall.send_with("PUT", &path, key.clone(), body.clone()).await;
    assert_eq!(first.status, 200);
    mall.shelves.price(apple, cents(90)).await;
    mall.copy().latest([apple]).await.unwrap();
    assert_eq!(mall.send_with("PUT", &path, key.clone(), body.clone()).await.body, first.body);
    mall.shelves.remove(apple).await;
    mall.copy().latest([apple]).await.unwrap();
    assert_eq!(mall.send_with("PUT", &path, key.clone(), body).await.body, first.body);
    let other = json!({ "productId": apple, "quantity": 3 });
    Mall::refused(&mall.send_with("PUT", &path, key, other).await, 422, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn stores_that_do_not_take_part_sell_only_where_nobody_minds() {
    for (participation, status) in [(Participation::NotRequired, 200), (Participation::Required, 409)] {
        let mall = Mall::with(participation);
        let store = mall.shelves.open("Fruit & Veg").await;
        let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
        let basket = mall.basket().await;
        let reply = mall.add(&basket, apple, 1).await;
        assert_eq!(reply.status, status, "{participation:?}: {}", reply.body);
        if status == 409 {
            Mall::refused(&reply, 409, "STORE_DOES_NOT_PARTICIPATE");
            assert!(reply.body["message"].as_str().unwrap().contains("Fruit & Veg"), "{}", reply.body);
        }
        // A store that takes part since a moment ago is not turned away by an old copy.
        mall.shelves.participate(store, true).await;
        assert_eq!(mall.add(&basket, apple, 1).await.status, 200, "{participation:?}");
    }
}

#[tokio::test]
async fn a_store_that_left_the_mall_sells_nothing_though_the_event_that_says_so_is_lost() {
    for (participation, status) in [(Participation::NotRequired, 200), (Participation::Required, 409)] {
        let mall = Mall::with(participation);
        let store = mall.shelves.open("Fruit & Veg").await;
        let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
        mall.shelves.participate(store, true).await;
        let basket = mall.basket().await;
        assert_eq!(mall.add(&basket, apple, 1).await.status, 200, "{participation:?}");
        assert!(mall.copy().store(store).await.unwrap().unwrap().participating);
        // No event arrives: the copy still has it in the mall.
        mall.shelves.participate(store, false).await;
        let reply = mall.add(&basket, apple, 1).await;
        assert_eq!(reply.status, status, "{participation:?}: {}", reply.body);
        if status == 409 {
            Mall::refused(&reply, 409, "STORE_DOES_NOT_PARTICIPATE");
            assert!(!mall.copy().store(store).await.unwrap().unwrap().participating, "it was written back");
        }
    }
}

#[test]
fn a_switch_that_is_neither_on_nor_off_stops_the_function_with_a_sentence() {
    assert_eq!("true".parse(), Ok(Participation::Required));
    assert_eq!("false".parse(), Ok(Participation::NotRequired));
    for wrong in ["", "TRUE", "yes", "0", " true"] {
        let error = wrong.parse::<Participation>().unwrap_err().to_string();
        assert_eq!(error, format!("ONLY_PARTICIPATING_STORES must be true or false, not {wrong:?}"));
    }
}

#[tokio::test]
async fn what_is_put_in_while_prices_are_looked_up_is_charged_at_its_own_price() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let pear = mall.shelves.sell(store, "Pear", cents(150)).await;
    let basket = mall.basket().await;
    mall.add(&basket, apple, 1).await;
    // The pear is put in after the checkout has looked up what an apple costs.
    let (events, meta) = (mall.store.clone(), mall.world.command("the same shopper"));
    let stream: StreamId = format!("baskets.Basket/{}", basket.rsplit('/').next().unwrap()).parse().unwrap();
    mall.log.on_append([OnAppend::after(move || async move {
        let (store_name, product_name) = ("Fruit & Veg".to_owned(), "Pear".to_owned());
        let offer = Offer { store_id: store, store_name, product_name, price: cents(150) };
        let on_offer = OnOffer::Product(offer);
        let command = BasketCommand::AddItem { product_id: pear, quantity: 1, on_offer };
        events.transact::<Basket>(&stream, Expect::Any, &command, &meta).await.unwrap();
    })]);
    let done = mall.check_out(&basket, "pay").await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(mall.read(&basket).await["total"], 2.25);
}

#[tokio::test]
async fn a_rise_that_a_twin_checkout_took_over_meanwhile_is_not_undone() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let basket = mall.basket().await;
    mall.add(&basket, apple, 1).await;
    // After this checkout has looked up 0.75, the price rises to 1.50, and a twin takes that into the basket.
    let (events, meta, shelves) = (mall.store.clone(), mall.world.command("the twin"), mall.shelves.clone());
    let stream: StreamId = format!("baskets.Basket/{}", basket.rsplit('/').next().unwrap()).parse().unwrap();
    mall.log.on_append([OnAppend::after(move || async move {
        shelves.price(apple, cents(150)).await;
        let payment_id = PAYMENT.parse().unwrap();
        let command = BasketCommand::Checkout { payment_id, prices: Prices::from([(apple, cents(150))]) };
        let twin = events.transact::<Basket>(&stream, Expect::Any, &command, &meta).await.unwrap();
        assert!(matches!(twin.events[..], [BasketEvent::BasketRepriced(_)]), "{:?}", twin.events);
    })]);
    let done = mall.check_out(&basket, "pay").await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(mall.happened().await[2..], ["BasketRepriced", "BasketCheckedOut"]);
    assert_eq!(mall.read(&basket).await["total"], 1.5, "0.75 is a price of the past");
}

#[tokio::test]
async fn a_checkout_reads_its_basket_once_and_each_product_once_and_a_repeat_reads_only_the_basket() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let basket = mall.basket().await;
    for name in ["Apple", "Pear", "Plum"] {
        let product = mall.shelves.sell(store, name, cents(75)).await;
        mall.add(&basket, product, 1).await;
    }
    mall.log.take_calls();
    assert_eq!(mall.check_out(&basket, "pay").await.status, 200);
    let calls = mall.log.take_calls();
    assert_eq!((calls.reads, calls.appends), (1 + 3, 1));
    assert_eq!(mall.check_out(&basket, "pay").await.status, 200);
    let calls = mall.log.take_calls();
    assert_eq!((calls.reads, calls.appends), (1, 0));
}

#[tokio::test]
async fn a_stale_if_match_checks_nothing_out() {
    let mall = Mall::new();
    let store = mall.shelves.open("Fruit & Veg").await;
    let apple = mall.shelves.sell(store, "Apple", cents(75)).await;
    let basket = mall.basket().await;
    mall.add(&basket, apple, 1).await;
    let stale = json!({ "if-match": "\"1\"" });
    let reply =
        mall.send_with("PUT", &format!("{basket}/checkout"), stale, json!({ "paymentId": PAYMENT })).await;
    Mall::refused(&reply, 412, "VERSION_MISMATCH");
    assert_eq!(mall.read(&basket).await["status"], "open");
}
