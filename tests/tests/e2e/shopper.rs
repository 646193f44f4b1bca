//! A shopper with a basket, a payment, and patience.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::stack::Stack;

/// A fresh id.
pub fn id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// What a shopper holds after the checkout. The order has the basket's id.
pub struct CheckedOut {
    pub customer: String,
    pub order: String,
    pub payment: String,
}

/// What this run sells, by name and price.
static SOLD: Mutex<BTreeMap<String, String>> = Mutex::const_new(BTreeMap::new());

/// A product at this price: one for each name and price, for all tests of the run.
pub async fn sold(stack: &Stack, name: &str, price: f64) -> String {
    let mut sold = SOLD.lock().await;
    let key = format!("{name} at {price}");
    if let Some(id) = sold.get(&key) {
        return id.clone();
    }
    let id = sell(stack, name, price).await;
    sold.insert(key, id.clone());
    id
}

/// A product of its own, in a store that takes part.
pub async fn sell(stack: &Stack, name: &str, price: f64) -> String {
    let body = json!({ "name": "Fruit & Veg", "location": "Hall 1" });
    let (store, _) = stack.insist(Method::POST, "/api/stores", &id(), Some(body)).await;
    assert_eq!(store.status, 200, "{store:?}");
    let store = format!("/api/stores/{}", store.body["id"].as_str().unwrap());
    let (takes_part, _) =
        stack.insist(Method::PUT, &format!("{store}/participating"), &id(), Some(json!({}))).await;
    assert_eq!(takes_part.status, 200, "{takes_part:?}");
    let body = json!({ "name": name, "description": "", "sku": name, "price": price });
    let (product, _) = stack.insist(Method::POST, &format!("{store}/products"), &id(), Some(body)).await;
    assert_eq!(product.status, 200, "{product:?}");
    product.body["id"].as_str().unwrap().to_owned()
}

/// Pieces of a product that is sold at this price, to put into a basket.
pub async fn product(stack: &Stack, name: &str, price: f64, quantity: i64) -> Value {
    json!({ "productId": sold(stack, name, price).await, "quantity": quantity })
}

/// Somebody who may order.
pub async fn customer(stack: &Stack) -> String {
    let body = json!({ "name": "Ada", "smsNumber": "+1 555 0100" });
    let (registered, _) = stack.insist(Method::POST, "/api/customers", &id(), Some(body)).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    registered.body["id"].as_str().unwrap().to_owned()
}

/// Fills a basket with goods of 7.50, authorises `amount` and checks out. Every request may be repeated.
pub async fn check_out(stack: &Stack, amount: f64) -> CheckedOut {
    let (customer, key) = (customer(stack).await, id());
    let started =
        stack.insist(Method::POST, "/api/baskets", &key, Some(json!({ "customerId": customer }))).await;
    assert_eq!(started.0.status, 200, "{:?}", started.0);
    let order = started.0.body["id"].as_str().unwrap().to_owned();
    let items = [product(stack, "Apple", 0.75, 4).await, product(stack, "Pear", 1.5, 3).await];
    for (n, item) in items.into_iter().enumerate() {
        let path = format!("/api/baskets/{order}/addItem");
        let (added, _) = stack.insist(Method::PUT, &path, &format!("{key}-{n}"), Some(item)).await;
        assert_eq!(added.status, 200, "{added:?}");
    }
    let body = json!({ "customerId": customer, "amount": amount });
    let (paid, _) = stack.insist(Method::POST, "/api/payments", &id(), Some(body)).await;
    assert_eq!(paid.status, 200, "{paid:?}");
    let payment = paid.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/baskets/{order}/checkout");
    let (done, _) = stack
        .insist(Method::PUT, &path, &format!("{key}-checkout"), Some(json!({ "paymentId": payment })))
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    CheckedOut { customer, order, payment }
}

/// Waits until the order is in one of these states, by its own stream.
pub async fn settled(stack: &Stack, order: &str, within: Duration) -> Value {
    let deadline = std::time::Instant::now() + within;
    loop {
        if let Ok(reply) = stack.send(Method::GET, &format!("/api/ordering/{order}"), &[], None).await
            && reply.status == 200
            && ["approved", "rejected", "cancelled"]
                .contains(&reply.body["order"]["status"].as_str().unwrap_or(""))
        {
            return reply.body["order"].clone();
        }
        assert!(std::time::Instant::now() < deadline, "order {order} was not settled within {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the saga of an order has this status; gives the saga.
pub async fn saga_is(stack: &Stack, order: &str, status: &str, within: Duration) -> Value {
    let (path, deadline) = (format!("/api/sagas/{order}"), std::time::Instant::now() + within);
    loop {
        let reply = stack.send(Method::GET, &path, &[], None).await;
        if let Ok(reply) = &reply
            && reply.body["saga"]["status"] == status
        {
            return reply.body["saga"].clone();
        }
        assert!(std::time::Instant::now() < deadline, "the saga of {order} is not {status}: {reply:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
