//! Stores over HTTP: the paths, verbs and names of the original API, without what was wrong with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use event_store::{EventStore, MemoryLog, Segment};
use lambda::{Function, use_case};
use projection::{MemoryViews, Projection, Projector};
use serde_json::{Value, json};
use stores::{
    Stores,
    views::{Catalogue, CatalogueViews, Mall, MallViews},
};
use testing::TestPorts;

/// An answer.
struct Reply {
    status: u64,
    etag: Option<String>,
    body: Value,
}

/// The stores context behind its routes.
struct Shop {
    world: TestPorts,
    store: EventStore,
    mall: Projector<Mall>,
    catalogue: Projector<Catalogue>,
}

const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

impl Shop {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        let mall = Projector::new(Arc::new(MemoryViews::new()), store.clone(), world.ports());
        let catalogue = Projector::new(Arc::new(MemoryViews::new()), store.clone(), world.ports());
        Self { world, store, mall, catalogue }
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let ports = self.world.ports();
        let stores = Arc::new(Stores::new(self.store.clone(), ports.clone()));
        let mall = Arc::new(MallViews::new(self.mall.clone()));
        let catalogue = Arc::new(CatalogueViews::new(self.catalogue.clone()));
        let parts: Vec<&str> = path.trim_start_matches("/api/stores").split('/').skip(1).collect();
        let (function, id) = match (method, &parts[..]) {
            ("POST", []) => (use_case(&stores, &ports, Stores::create_store), None),
            ("GET", []) => (use_case(&mall, &ports, MallViews::list_stores), None),
            ("GET", ["participating"]) => {
                (use_case(&mall, &ports, MallViews::list_participating_stores), None)
            }
            ("GET", ["products", id]) => (use_case(&stores, &ports, Stores::get_product), Some(*id)),
            ("DELETE", ["products", id]) => (use_case(&stores, &ports, Stores::remove_product), Some(*id)),
            ("PUT", ["products", id, "rebrand"]) => {
                (use_case(&stores, &ports, Stores::rebrand_product), Some(*id))
            }
            ("PUT", ["products", id, "increasePrice"]) => {
                (use_case(&stores, &ports, Stores::increase_product_price), Some(*id))
            }
            ("PUT", ["products", id, "decreasePrice"]) => {
                (use_case(&stores, &ports, Stores::decrease_product_price), Some(*id))
            }
            ("GET", [id]) => (use_case(&stores, &ports, Stores::get_store), Some(*id)),
            ("PUT", [id, "participating"]) => {
                (use_case(&stores, &ports, Stores::enable_participation), Some(*id))
            }
            ("DELETE", [id, "participating"]) => {
                (use_case(&stores, &ports, Stores::disable_participation), Some(*id))
            }
            ("PUT", [id, "rebrand"]) => (use_case(&stores, &ports, Stores::rebrand_store), Some(*id)),
            ("POST", [id, "products"]) => (use_case(&stores, &ports, Stores::add_product), Some(*id)),
            ("GET", [id, "products"]) => {
                (use_case(&catalogue, &ports, CatalogueViews::list_products), Some(*id))
            }
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
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": headers, "isBase64Encoded": false, "body": body.to_string(),
            "queryStringParameters": query,
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

    async fn send(&self, method: &str, target: &str, body: Value) -> Reply {
        self.send_with(method, target, json!({}), body).await
    }

    async fn ok(&self, method: &str, target: &str, body: Value) -> Value {
        let reply = self.send(method, target, body).await;
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.body);
        reply.body
    }

    #[track_caller]
    fn refused(reply: &Reply, status: u64, code: &str) {
        assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{}", reply.body);
    }

    async fn opened(&self, name: &str) -> String {
        let body = self.ok("POST", "/api/stores", json!({ "name": name, "location": "Hall 1" })).await;
        body["id"].as_str().unwrap().to_owned()
    }

    async fn added(&self, store: &str, name: &str, price: f64) -> String {
        let body = json!({ "name": name, "description": "red", "sku": "A-1", "price": price });
        let body = self.ok("POST", &format!("/api/stores/{store}/products"), body).await;
        body["id"].as_str().unwrap().to_owned()
    }

    /// The events arrive.
    async fn settle(&self) {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        for envelope in page.commits.iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>()) {
            match envelope.stream.category() {
                Mall::CATEGORY => drop(self.mall.deliver(&envelope).await.unwrap()),
                Catalogue::CATEGORY => drop(self.catalogue.deliver(&envelope).await.unwrap()),
                other => panic!("{other} is not of this context"),
            }
        }
    }
}

#[tokio::test]
async fn a_shopkeeper_opens_a_store_takes_part_and_sells() {
    let shop = Shop::new();
    let store = shop.opened("Fruit & Veg").await;
    let read = shop.send("GET", &format!("/api/stores/{store}"), Value::Null).await;
    assert_eq!(read.etag.as_deref(), Some("\"1\""));
    assert_eq!(
        read.body,
        json!({ "store": {
            "id": store, "name": "Fruit & Veg", "location": "Hall 1", "participating": false, "version": 1
        } })
    );
    shop.ok("PUT", &format!("/api/stores/{store}/participating"), json!({})).await;
    shop.ok("PUT", &format!("/api/stores/{store}/rebrand"), json!({ "name": "Greens" })).await;
    let apple = shop.added(&store, "Apple", 0.75).await;
    let product = format!("/api/stores/products/{apple}");
    shop.ok("PUT", &format!("{product}/increasePrice"), json!({ "price": 1.5 })).await;
    shop.ok("PUT", &format!("{product}/decreasePrice"), json!({ "price": 0.99 })).await;
    shop.ok("PUT", &format!("{product}/rebrand"), json!({ "name": "Braeburn", "description": "crisp" }))
        .await;
    let read = shop.ok("GET", &product, Value::Null).await;
    assert_eq!(
        read,
        json!({ "product": {
            "id": apple, "storeId": store, "name": "Braeburn", "description": "crisp", "sku": "A-1",
            "price": 0.99, "version": 4
        } })
    );
    shop.settle().await;
    let all = shop.ok("GET", "/api/stores", Value::Null).await;
    assert_eq!(
        all,
        json!({ "stores": [{ "id": store, "name": "Greens", "location": "Hall 1", "participating": true }], "next": null })
    );
    assert_eq!(shop.ok("GET", "/api/stores/participating", Value::Null).await, all);
    let products = shop.ok("GET", &format!("/api/stores/{store}/products"), Value::Null).await;
    assert_eq!(
        products,
        json!({ "products": [{
            "id": apple, "storeId": store, "name": "Braeburn", "description": "crisp", "sku": "A-1", "price": 0.99
        }], "next": null })
    );
    shop.ok("DELETE", &format!("/api/stores/{store}/participating"), Value::Null).await;
    shop.ok("DELETE", &product, Value::Null).await;
    shop.settle().await;
    let none = shop.ok("GET", "/api/stores/participating", Value::Null).await;
    assert_eq!(none, json!({ "stores": [], "next": null }));
    let none = shop.ok("GET", &format!("/api/stores/{store}/products"), Value::Null).await;
    assert_eq!(none, json!({ "products": [], "next": null }));
}

#[tokio::test]
async fn d17_what_there_is_not_is_404_not_500() {
    let shop = Shop::new();
    for (path, code) in [("/api/stores", "STORE_NOT_FOUND"), ("/api/stores/products", "PRODUCT_NOT_FOUND")] {
        for id in [UNKNOWN, "no-id-at-all"] {
            Shop::refused(&shop.send("GET", &format!("{path}/{id}"), Value::Null).await, 404, code);
        }
    }
}

#[tokio::test]
async fn d16_no_request_makes_a_ghost() {
    let shop = Shop::new();
    let name = json!({ "name": "Ghost" });
    for (method, path, body) in [
        ("PUT", "participating", json!({})),
        ("DELETE", "participating", Value::Null),
        ("PUT", "rebrand", name.clone()),
    ] {
        let reply = shop.send(method, &format!("/api/stores/{UNKNOWN}/{path}"), body).await;
        Shop::refused(&reply, 404, "STORE_NOT_FOUND");
    }
    for (path, body) in [
        ("rebrand", name),
        ("increasePrice", json!({ "price": 1 })),
        ("decreasePrice", json!({ "price": 1 })),
    ] {
        let reply = shop.send("PUT", &format!("/api/stores/products/{UNKNOWN}/{path}"), body).await;
        Shop::refused(&reply, 404, "PRODUCT_NOT_FOUND");
    }
    let removed = shop.send("DELETE", &format!("/api/stores/products/{UNKNOWN}"), Value::Null).await;
    Shop::refused(&removed, 404, "PRODUCT_NOT_FOUND");
    assert!(shop.store.scan(Segment::WHOLE, None, None).await.unwrap().commits.is_empty());
}

#[tokio::test]
async fn d16_a_store_that_there_is_not_sells_nothing() {
    let shop = Shop::new();
    let body = json!({ "name": "Apple", "price": 1 });
    let reply = shop.send("POST", &format!("/api/stores/{UNKNOWN}/products"), body).await;
    Shop::refused(&reply, 404, "STORE_NOT_FOUND");
    let list = shop.ok("GET", &format!("/api/stores/{UNKNOWN}/products"), Value::Null).await;
    assert_eq!(list["products"], json!([]), "and its list is empty, as in the original");
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let shop = Shop::new();
    let reply = shop.send("POST", "/api/stores", json!({ "name": " " })).await;
    Shop::refused(&reply, 400, "VALIDATION_FAILED");
    let codes = |reply: &Reply| -> Vec<String> {
        let details = reply.body["details"].as_array().unwrap();
        details.iter().map(|d| d["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&reply), ["STORE_NAME_IS_BLANK", "STORE_LOCATION_IS_BLANK"]);
    let store = shop.opened("Fruit & Veg").await;
    let products = format!("/api/stores/{store}/products");
    let reply = shop.send("POST", &products, json!({ "sku": 7, "price": "1" })).await;
    assert_eq!(codes(&reply), ["PRODUCT_NAME_IS_BLANK", "NOT_A_TEXT", "AMOUNT_IS_INVALID"]);
    let reply = shop.send("POST", &products, json!({ "name": "Apple", "price": -0.01 })).await;
    Shop::refused(&reply, 400, "PRODUCT_PRICE_IS_NEGATIVE");
    assert_eq!(reply.body["details"][0]["field"], "price");
    let rebrand = shop.send("PUT", &format!("/api/stores/{store}/rebrand"), json!({ "name": "" })).await;
    Shop::refused(&rebrand, 400, "STORE_NAME_IS_BLANK");
}

#[tokio::test]
async fn d1_prices_change_and_nothing_crashes() {
    let shop = Shop::new();
    let store = shop.opened("Fruit & Veg").await;
    let apple = shop.added(&store, "Apple", 0.75).await;
    let product = format!("/api/stores/products/{apple}");
    let price = |price: f64| json!({ "price": price });
    shop.ok("PUT", &format!("{product}/increasePrice"), price(1.0)).await;
    shop.ok("PUT", &format!("{product}/decreasePrice"), price(0.5)).await;
    let reply = shop.send("PUT", &format!("{product}/increasePrice"), price(0.49)).await;
    Shop::refused(&reply, 400, "NOT_A_PRICE_INCREASE");
    let reply = shop.send("PUT", &format!("{product}/decreasePrice"), price(0.51)).await;
    Shop::refused(&reply, 400, "NOT_A_PRICE_DECREASE");
    let reply = shop.send("PUT", &format!("{product}/decreasePrice"), price(-1.0)).await;
    Shop::refused(&reply, 400, "PRODUCT_PRICE_IS_NEGATIVE");
    shop.settle().await;
    let list = shop.ok("GET", &format!("/api/stores/{store}/products"), Value::Null).await;
    assert_eq!(list["products"][0]["price"], 0.5);
}

#[tokio::test]
async fn a_removed_product_refuses_everything_but_being_removed_again() {
    let shop = Shop::new();
    let store = shop.opened("Fruit & Veg").await;
    let product = format!("/api/stores/products/{}", shop.added(&store, "Apple", 0.75).await);
    let removed = shop.ok("DELETE", &product, Value::Null).await;
    assert_eq!(shop.ok("DELETE", &product, Value::Null).await["version"], removed["version"]);
    for (path, body) in [
        ("rebrand", json!({ "name": "Pear" })),
        ("increasePrice", json!({ "price": 9 })),
        ("decreasePrice", json!({ "price": 0 })),
    ] {
        let reply = shop.send("PUT", &format!("{product}/{path}"), body).await;
        Shop::refused(&reply, 409, "PRODUCT_WAS_REMOVED");
    }
    Shop::refused(&shop.send("GET", &product, Value::Null).await, 404, "PRODUCT_NOT_FOUND");
}

#[tokio::test]
async fn d28_lists_come_in_pages_of_twenty_and_of_a_hundred_at_most() {
    let shop = Shop::new();
    let store = shop.opened("Store 0").await;
    for n in 1..25 {
        shop.opened(&format!("Store {n}")).await;
    }
    for n in 0..25 {
        shop.added(&store, &format!("Product {n}"), 1.0).await;
    }
    shop.settle().await;
    for (path, what, names) in [
        ("/api/stores".to_owned(), "stores", "Store"),
        (format!("/api/stores/{store}/products"), "products", "Product"),
    ] {
        let first = shop.ok("GET", &path, Value::Null).await;
        assert_eq!(first[what].as_array().unwrap().len(), 20);
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let next = cursor.map(|cursor: String| format!("&cursor={cursor}")).unwrap_or_default();
            let page = shop.ok("GET", &format!("{path}?limit=7{next}"), Value::Null).await;
            seen.extend(page[what].as_array().unwrap().iter().map(|row| row["name"].clone()));
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).map(|n| json!(format!("{names} {n}"))).collect::<Vec<_>>());
        for wrong in ["limit=0", "limit=101", "limit=x", "cursor=noise"] {
            let reply = shop.send("GET", &format!("{path}?{wrong}"), Value::Null).await;
            Shop::refused(&reply, 400, "QUERY_IS_INVALID");
        }
        assert_eq!(shop.send("GET", &format!("{path}?limit=100"), Value::Null).await.status, 200);
    }
}

#[tokio::test]
async fn a_repeat_with_the_same_key_opens_one_store_and_adds_one_product() {
    let shop = Shop::new();
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let body = json!({ "name": "Fruit & Veg", "location": "Hall 1" });
    let first = shop.send_with("POST", "/api/stores", key.clone(), body.clone()).await;
    let again = shop.send_with("POST", "/api/stores", key.clone(), body).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = json!({ "name": "Other", "location": "Hall 1" });
    Shop::refused(
        &shop.send_with("POST", "/api/stores", key.clone(), other).await,
        422,
        "IDEMPOTENCY_KEY_REUSED",
    );
    let path = format!("/api/stores/{}/products", first.body["id"].as_str().unwrap());
    let body = json!({ "name": "Apple", "price": 1 });
    let first = shop.send_with("POST", &path, key.clone(), body.clone()).await;
    assert_eq!(shop.send_with("POST", &path, key, body).await.body, first.body);
    assert_eq!(shop.store.scan(Segment::WHOLE, None, None).await.unwrap().commits.len(), 2);
}

#[tokio::test]
async fn a_stale_if_match_changes_nothing() {
    let shop = Shop::new();
    let store = shop.opened("Fruit & Veg").await;
    shop.ok("PUT", &format!("/api/stores/{store}/participating"), json!({})).await;
    let path = format!("/api/stores/{store}/rebrand");
    let stale = json!({ "if-match": "\"1\"" });
    let reply = shop.send_with("PUT", &path, stale, json!({ "name": "Late" })).await;
    Shop::refused(&reply, 412, "VERSION_MISMATCH");
}

#[tokio::test]
async fn a_product_that_was_removed_is_still_shown_as_it_was_before() {
    let shop = Shop::new();
    let store = shop.opened("Fruit & Veg").await;
    let path = format!("/api/stores/products/{}", shop.added(&store, "Apple", 0.75).await);
    let on_sale = shop.ok("GET", &path, Value::Null).await;
    shop.ok("DELETE", &path, Value::Null).await;
    Shop::refused(&shop.send("GET", &path, Value::Null).await, 404, "PRODUCT_NOT_FOUND");
    assert_eq!(shop.ok("GET", &format!("{path}?at=1"), Value::Null).await, on_sale);
    Shop::refused(&shop.send("GET", &format!("{path}?at=2"), Value::Null).await, 404, "PRODUCT_NOT_FOUND");
    let renamed = format!("/api/stores/{store}/rebrand");
    shop.ok("PUT", &renamed, json!({ "name": "Greens" })).await;
    let then = shop.ok("GET", &format!("/api/stores/{store}?at=1"), Value::Null).await;
    assert_eq!(then["store"]["name"], "Fruit & Veg");
}
