//! A shopkeeper opens a store and sells; a customer registers and changes things.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{shopper::id, stack::Stack};

const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a command that has to succeed; gives its answer.
async fn done(stack: &Stack, method: Method, path: &str, body: Value) -> Value {
    let (reply, _) = stack.insist(method, path, &id(), Some(body)).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body
}

/// Sends a command that has to be refused.
async fn refused(stack: &Stack, method: Method, path: &str, body: Value, status: u16, code: &str) {
    let (reply, _) = stack.insist(method, path, &id(), Some(body)).await;
    assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{path}: {reply:?}");
    assert_eq!(reply.content_type, "application/problem+json");
}

/// All rows of a list, read in pages of `limit`.
async fn listed(stack: &Stack, path: &str, what: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stack.get(&format!("{path}?limit={limit}{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let found = page.body[what].as_array().unwrap();
        assert!(found.len() <= limit, "a page of {} rows", found.len());
        rows.extend(found.iter().cloned());
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// Waits until a list shows what it should: it lags behind by the time events take to travel.
async fn until_listed(stack: &Stack, path: &str, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Small pages, so that the list has several.
        let rows = listed(stack, path, what, 2).await;
        if holds(&rows) {
            return rows;
        }
        assert!(Instant::now() < deadline, "{path} still shows {rows:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn row<'a>(rows: &'a [Value], id: &str) -> Option<&'a Value> {
    rows.iter().find(|row| row["id"] == *id)
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_shopkeeper_opens_a_store_takes_part_sells_and_changes_prices() {
    let stack = Stack::deployed().await;
    let body = json!({ "name": "Fruit", "location": "Hall 1" });
    let store = done(&stack, Method::POST, "/api/stores", body).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/stores/{store}");
    let read = stack.get(&path).await;
    let wanted =
        json!({ "id": store, "name": "Fruit", "location": "Hall 1", "participating": false, "version": 1 });
    assert_eq!((read.status, &read.body["store"]), (200, &wanted));

    done(&stack, Method::PUT, &format!("{path}/participating"), json!({})).await;
    let participating = format!("{path}/participating");
    refused(&stack, Method::PUT, &participating, json!({}), 400, "STORE_IS_ALREADY_PARTICIPATING").await;
    done(&stack, Method::PUT, &format!("{path}/rebrand"), json!({ "name": "Fruit & Veg" })).await;
    refused(
        &stack,
        Method::PUT,
        &format!("{path}/rebrand"),
        json!({ "name": " " }),
        400,
        "STORE_NAME_IS_BLANK",
    )
    .await;

    let mut products = Vec::new();
    for (name, price) in [("Apple", 0.75), ("Pear", 1.5), ("Plum", 0.2), ("Quince", 3.0), ("Fig", 2.25)] {
        let body = json!({ "name": name, "description": "fresh", "sku": name, "price": price });
        // At once: the store is looked up where it was written.
        let added = done(&stack, Method::POST, &format!("{path}/products"), body).await;
        products.push(added["id"].as_str().unwrap().to_owned());
    }
    let product = |n: usize| format!("/api/stores/products/{}", products[n]);
    done(&stack, Method::PUT, &format!("{}/increasePrice", product(0)), json!({ "price": 1 })).await;
    done(&stack, Method::PUT, &format!("{}/decreasePrice", product(0)), json!({ "price": 0.5 })).await;
    let raise = format!("{}/increasePrice", product(0));
    refused(&stack, Method::PUT, &raise, json!({ "price": 0.49 }), 400, "NOT_A_PRICE_INCREASE").await;
    let rebrand = json!({ "name": "Conference", "description": "a pear" });
    done(&stack, Method::PUT, &format!("{}/rebrand", product(1)), rebrand).await;
    done(&stack, Method::DELETE, &product(4), Value::Null).await;
    done(&stack, Method::DELETE, &product(4), Value::Null).await;
    let raise = format!("{}/increasePrice", product(4));
    refused(&stack, Method::PUT, &raise, json!({ "price": 9 }), 409, "PRODUCT_WAS_REMOVED").await;
    assert_eq!(stack.get(&product(4)).await.status, 404);
    let read = stack.get(&product(0)).await;
    assert_eq!((read.status, &read.body["product"]["price"]), (200, &json!(0.5)));

    let catalogue = until_listed(&stack, &format!("{path}/products"), "products", |rows| {
        let prices: Vec<&Value> = rows.iter().map(|row| &row["price"]).collect();
        let names: Vec<&Value> = rows.iter().map(|row| &row["name"]).collect();
        prices == [&json!(0.5), &json!(1.5), &json!(0.2), &json!(3.0)]
            && names == ["Apple", "Conference", "Plum", "Quince"]
    })
    .await;
    let ids: Vec<&str> = catalogue.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, products[..4], "in the order in which they were added, each once");

    let is_shown = |rows: &[Value]| row(rows, &store).is_some_and(|row| row["name"] == "Fruit & Veg");
    until_listed(&stack, "/api/stores", "stores", is_shown).await;
    until_listed(&stack, "/api/stores/participating", "stores", is_shown).await;
    done(&stack, Method::DELETE, &participating, Value::Null).await;
    until_listed(&stack, "/api/stores/participating", "stores", |rows| row(rows, &store).is_none()).await;
    until_listed(&stack, "/api/stores", "stores", |rows| {
        row(rows, &store).is_some_and(|row| row["participating"] == false)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn no_ghost_is_read_changed_or_sold_by() {
    let stack = Stack::deployed().await;
    let ghost = id();
    assert_eq!(stack.get(&format!("/api/stores/{ghost}")).await.status, 404);
    assert_eq!(stack.get(&format!("/api/stores/products/{ghost}")).await.status, 404);
    assert_eq!(stack.get(&format!("/api/customers/{ghost}")).await.status, 404);
    let rebrand = format!("/api/stores/{ghost}/rebrand");
    refused(&stack, Method::PUT, &rebrand, json!({ "name": "Ghost" }), 404, "STORE_NOT_FOUND").await;
    let products = format!("/api/stores/{ghost}/products");
    let apple = json!({ "name": "Apple", "price": 1 });
    refused(&stack, Method::POST, &products, apple, 404, "STORE_NOT_FOUND").await;
    let list = stack.get(&products).await;
    assert_eq!((list.status, &list.body["products"]), (200, &json!([])));
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_customer_registers_changes_the_number_is_disabled_and_enabled() {
    let stack = Stack::deployed().await;
    let body = json!({ "name": "Ada", "smsNumber": "+44 20 7946 0001" });
    let customer =
        done(&stack, Method::POST, "/api/customers", body).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/customers/{customer}");
    done(&stack, Method::PUT, &format!("{path}/change-sms"), json!({ "smsNumber": "+1 555 0100" })).await;
    let (disable, enable) = (format!("{path}/disable"), format!("{path}/enable"));
    done(&stack, Method::PUT, &disable, json!({})).await;
    refused(&stack, Method::PUT, &disable, json!({}), 400, "CUSTOMER_ALREADY_DISABLED").await;
    assert_eq!(stack.get(&path).await.body["customer"]["enabled"], false);
    done(&stack, Method::PUT, &enable, json!({})).await;
    refused(&stack, Method::PUT, &enable, json!({}), 400, "CUSTOMER_ALREADY_ENABLED").await;
    let wanted = json!({
        "id": customer, "name": "Ada", "smsNumber": "+1 555 0100", "enabled": true, "version": 4,
    });
    assert_eq!(stack.get(&path).await.body["customer"], wanted);
}
