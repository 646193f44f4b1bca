//! Stock over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use inventory::stock::MAX_PIECES;
use serde_json::{Value, json};
use stage::{Shop, store_id};

const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

#[tokio::test]
async fn stock_is_added_counted_taken_out_and_shown() {
    let shop = Shop::new();
    let apple = shop.house.product("apple").await;
    let path = format!("/api/inventory/{apple}");
    let read = shop.send("GET", &path, Value::Null).await;
    assert_eq!(
        read.body,
        json!({ "stock": { "productId": apple, "storeId": store_id(), "tracked": false } })
    );
    assert_eq!((read.status, read.etag), (200, None));
    let added = shop.ok("POST", &format!("{path}/add"), json!({ "quantity": 12 })).await;
    assert_eq!(added, json!({ "id": apple, "version": 2 }), "the count begins by itself");
    shop.ok("PUT", &format!("{path}/threshold"), json!({ "threshold": 9 })).await;
    shop.ok("PUT", &format!("{path}/reduce"), json!({ "quantity": 2 })).await;
    shop.ok("PUT", &path, json!({ "onHand": 9 })).await;
    let read = shop.send("GET", &path, Value::Null).await;
    assert_eq!(read.etag.as_deref(), Some("\"6\""));
    let mut wanted = json!({
        "productId": apple, "storeId": store_id(), "tracked": true, "onHand": 9, "reserved": 0, "available": 9,
        "threshold": 9, "low": true, "version": 6
    });
    assert_eq!(read.body["stock"], wanted);
    shop.settle().await;
    wanted.as_object_mut().unwrap().remove("version");
    let listed = json!({ "stock": [wanted], "next": null });
    let by_store = format!("/api/inventory?storeId={}", store_id());
    assert_eq!(shop.ok("GET", &by_store, Value::Null).await, listed);
    assert_eq!(shop.ok("GET", "/api/inventory/low", Value::Null).await, listed);
    shop.ok("DELETE", &format!("{path}/tracking"), Value::Null).await;
    shop.ok("DELETE", &format!("{path}/tracking"), Value::Null).await;
    let read = shop.ok("GET", &path, Value::Null).await;
    assert_eq!(read["stock"]["tracked"], false);
    shop.settle().await;
    for list in [&by_store, "/api/inventory/low"] {
        assert_eq!(shop.ok("GET", list, Value::Null).await, json!({ "stock": [], "next": null }));
    }
    shop.ok("PUT", &format!("{path}/tracking"), Value::Null).await;
    assert_eq!(shop.ok("GET", &path, Value::Null).await["stock"]["onHand"], 0);
}

#[tokio::test]
async fn d16_d17_a_product_that_there_is_not_is_404_and_gets_no_stock() {
    let shop = Shop::new();
    for id in [UNKNOWN, "no-id-at-all"] {
        for (method, path, body) in [
            ("GET", "", Value::Null),
            ("PUT", "", json!({ "onHand": 1 })),
            ("POST", "/add", json!({ "quantity": 1 })),
            ("PUT", "/reduce", json!({ "quantity": 1 })),
            ("PUT", "/threshold", json!({ "threshold": 1 })),
            ("PUT", "/tracking", Value::Null),
            ("DELETE", "/tracking", Value::Null),
        ] {
            let reply = shop.send(method, &format!("/api/inventory/{id}{path}"), body).await;
            Shop::refused(&reply, 404, "PRODUCT_NOT_FOUND");
        }
    }
    assert!(shop.house.published("inventory.StockItem").await.is_empty());
}

#[tokio::test]
async fn a_number_that_cannot_be_meant_is_refused_with_its_field() {
    let shop = Shop::new();
    let apple = shop.house.stocked("apple", 5).await;
    let path = format!("/api/inventory/{apple}");
    for (method, path, field, code) in [
        ("POST", format!("{path}/add"), "quantity", "QUANTITY_IS_INVALID"),
        ("PUT", format!("{path}/reduce"), "quantity", "QUANTITY_IS_INVALID"),
        ("PUT", path.clone(), "onHand", "ON_HAND_IS_INVALID"),
        ("PUT", format!("{path}/threshold"), "threshold", "THRESHOLD_IS_INVALID"),
    ] {
        for number in [-1, i64::MIN, i64::from(MAX_PIECES) + 1, i64::from(u32::MAX) + 2, i64::MAX] {
            let reply = shop.send(method, &path, json!({ field: number })).await;
            Shop::refused(&reply, 400, code);
            assert_eq!(reply.body["details"][0]["field"], field);
        }
        for (wrong, code) in [
            (json!({ field: "3" }), "NOT_A_WHOLE_NUMBER"),
            (json!({ field: 1.5 }), "NOT_A_WHOLE_NUMBER"),
            (json!({ field: null }), "MISSING"),
            (json!({}), "MISSING"),
            (json!([1]), "BODY_IS_MALFORMED"),
        ] {
            Shop::refused(&shop.send(method, &path, wrong).await, 400, code);
        }
    }
    for path in [format!("{path}/add"), format!("{path}/reduce")] {
        let method = if path.ends_with("add") { "POST" } else { "PUT" };
        Shop::refused(&shop.send(method, &path, json!({ "quantity": 0 })).await, 400, "QUANTITY_IS_INVALID");
    }
    assert_eq!(shop.house.stock(apple).await.on_hand(), 5);
}

#[tokio::test]
async fn what_was_never_counted_can_be_counted_no_longer_and_gets_no_history_by_it() {
    let shop = Shop::new();
    let pear = shop.house.product("pear").await;
    let stopped = shop.ok("DELETE", &format!("/api/inventory/{pear}/tracking"), Value::Null).await;
    assert_eq!(stopped, json!({ "id": pear, "version": 0 }));
}

#[tokio::test]
async fn rules_of_stock_are_conflicts_that_say_what_there_is() {
    let shop = Shop::new();
    let apple = shop.house.stocked("apple", 5).await;
    let untracked = shop.house.product("pear").await;
    let order = shop.house.order("1", &[(apple, 2)]).await;
    shop.house.reserve(order).await.unwrap();
    let path = format!("/api/inventory/{apple}");
    let reply = shop.send("PUT", &format!("{path}/reduce"), json!({ "quantity": 4 })).await;
    Shop::refused(&reply, 409, "INSUFFICIENT_STOCK");
    assert_eq!(reply.body["message"], "4 asked for, but only 3 available");
    let reply = shop.send("PUT", &path, json!({ "onHand": 1 })).await;
    Shop::refused(&reply, 409, "ON_HAND_BELOW_RESERVED");
    let reply = shop.send("DELETE", &format!("{path}/tracking"), Value::Null).await;
    Shop::refused(&reply, 409, "STOCK_IS_RESERVED");
    let reply = shop.send("POST", &format!("{path}/add"), json!({ "quantity": MAX_PIECES })).await;
    Shop::refused(&reply, 409, "TOO_MANY_PIECES");
    let path = format!("/api/inventory/{untracked}");
    let reply = shop.send("PUT", &format!("{path}/reduce"), json!({ "quantity": 1 })).await;
    Shop::refused(&reply, 409, "STOCK_IS_NOT_TRACKED");
    let reply = shop.send("PUT", &format!("{path}/threshold"), json!({ "threshold": 1 })).await;
    Shop::refused(&reply, 409, "STOCK_IS_NOT_TRACKED");
}

#[tokio::test]
async fn a_repeat_with_the_same_key_adds_once_and_a_stale_if_match_adds_nothing() {
    let shop = Shop::new();
    let apple = shop.house.stocked("apple", 5).await;
    let path = format!("/api/inventory/{apple}/add");
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let first = shop.send_with("POST", &path, key.clone(), json!({ "quantity": 3 })).await;
    let again = shop.send_with("POST", &path, key.clone(), json!({ "quantity": 3 })).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = shop.send_with("POST", &path, key, json!({ "quantity": 4 })).await;
    Shop::refused(&other, 422, "IDEMPOTENCY_KEY_REUSED");
    let stale = json!({ "if-match": "\"1\"" });
    let reply = shop.send_with("POST", &path, stale, json!({ "quantity": 3 })).await;
    Shop::refused(&reply, 412, "VERSION_MISMATCH");
    assert_eq!(shop.house.stock(apple).await.on_hand(), 8);
}

#[tokio::test]
async fn lists_come_in_pages_and_a_wrong_parameter_is_400() {
    let shop = Shop::new();
    for n in 0..25 {
        let id = shop.house.stocked(&format!("product {n}"), 1).await;
        shop.ok("PUT", &format!("/api/inventory/{id}/threshold"), json!({ "threshold": 1 })).await;
    }
    shop.settle().await;
    let by_store = format!("/api/inventory?storeId={}", store_id());
    for (list, more) in [(by_store.as_str(), '&'), ("/api/inventory/low", '?')] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = shop.ok("GET", &format!("{list}{more}limit=7{cursor}"), Value::Null).await;
            let ids = page["stock"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["productId"].as_str().unwrap().to_owned());
            seen.extend(ids);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 25);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 25, "each once");
        for wrong in ["limit=0", "limit=101", "limit=x", "cursor=noise"] {
            let reply = shop.send("GET", &format!("{list}{more}{wrong}"), Value::Null).await;
            Shop::refused(&reply, 400, "QUERY_IS_INVALID");
        }
    }
    for wrong in ["", "?storeId=", "?storeId=mine"] {
        let reply = shop.send("GET", &format!("/api/inventory{wrong}"), Value::Null).await;
        Shop::refused(&reply, 400, "QUERY_IS_INVALID");
    }
    let none = shop.ok("GET", &format!("/api/inventory?storeId={UNKNOWN}"), Value::Null).await;
    assert_eq!(none["stock"], json!([]), "a store that there is not has no stock");
}

#[test]
fn every_route_of_the_template_is_documented_and_none_else() {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/inventory.yaml");
    let text = std::fs::read_to_string(template).unwrap();
    let mut routes: Vec<String> =
        text.lines().filter_map(|line| line.trim().strip_prefix("RouteKey: ").map(str::to_owned)).collect();
    let mut documented: Vec<String> = inventory::docs::operations()
        .iter()
        .map(|operation| format!("{} {}", format!("{:?}", operation.verb).to_uppercase(), operation.path))
        .collect();
    routes.sort();
    documented.sort();
    assert_eq!(documented, routes);
}

#[tokio::test]
async fn stock_is_shown_as_it_was_counted_then_and_not_where_nobody_had_counted() {
    let shop = Shop::new();
    let apple = shop.house.product("apple").await;
    let path = format!("/api/inventory/{apple}");
    let before = shop.house.world.now();
    let reply = shop.send("GET", &format!("{path}?at={before}"), Value::Null).await;
    Shop::refused(&reply, 404, "STOCK_NOT_FOUND");
    shop.ok("PUT", &path, json!({ "onHand": 5 })).await;
    let counted = shop.house.world.now();
    shop.ok("PUT", &path, json!({ "onHand": 3 })).await;
    let then = shop.ok("GET", &format!("{path}?at={counted}"), Value::Null).await;
    assert_eq!(then["stock"]["onHand"], 5);
    let reply = shop.send("GET", &format!("{path}?at={before}"), Value::Null).await;
    Shop::refused(&reply, 404, "STOCK_NOT_FOUND");
    assert_eq!(shop.ok("GET", &path, Value::Null).await["stock"]["onHand"], 3);
}
