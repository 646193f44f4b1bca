//! A bot collects what was ordered.

use std::time::{Duration, Instant};

use contracts::ids::shopping_list_of;
use reqwest::Method;
use serde_json::{Value, json};

use super::{shopper::id, stack::Stack};

const PATIENCE: Duration = Duration::from_secs(90);

/// Sends a command that has to succeed; gives the id in its answer.
async fn done(stack: &Stack, method: Method, path: &str, body: Value) -> String {
    let (reply, _) = stack.insist(method, path, &id(), Some(body)).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body["id"].as_str().unwrap().to_owned()
}

/// Waits until what is at `path` is as it should be.
async fn until(stack: &Stack, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = stack.get(path).await;
        if reply.status == 200 && holds(&reply.body) {
            return reply.body;
        }
        assert!(Instant::now() < deadline, "{path} still answers {reply:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until one of the pages of a list has an entry with this id.
async fn until_listed(stack: &Stack, path: &str, what: &str, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut cursor = String::new();
        loop {
            let page = stack.get(&format!("{path}limit=100{cursor}")).await;
            assert_eq!(page.status, 200, "{page:?}");
            if page.body[what].as_array().unwrap().iter().any(|row| row["id"] == *id) {
                return;
            }
            match page.body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert!(Instant::now() < deadline, "{id} is not in {path}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_bot_collects_an_order_and_the_order_becomes_ready() {
    let stack = Stack::deployed().await;
    let body = json!({ "name": "Fruit & Veg", "location": "Hall 1" });
    let store = done(&stack, Method::POST, "/api/stores", body).await;
    let products = format!("/api/stores/{store}/products");
    let apple = done(&stack, Method::POST, &products, json!({ "name": "Apple", "price": 0.75 })).await;
    let body = json!({ "name": "Ada", "smsNumber": "+44 20 7946 0001" });
    let customer = done(&stack, Method::POST, "/api/customers", body).await;
    let order = done(&stack, Method::POST, "/api/baskets", json!({ "customerId": customer })).await;
    let item = json!({ "productId": apple, "quantity": 2 });
    done(&stack, Method::PUT, &format!("/api/baskets/{order}/addItem"), item).await;
    let body = json!({ "customerId": customer, "amount": 1.5 });
    let payment = done(&stack, Method::POST, "/api/payments", body).await;
    let checkout = format!("/api/baskets/{order}/checkout");
    done(&stack, Method::PUT, &checkout, json!({ "paymentId": payment })).await;

    let list = shopping_list_of(order.parse().unwrap()).to_string();
    let path = format!("/api/depot/shopping/{list}");
    let shown = until(&stack, &path, |body| body["shoppingList"]["status"] == "available").await;
    let wanted = json!([{
        "storeId": store, "storeName": "Fruit & Veg", "storeLocation": "Hall 1",
        "items": [{ "productId": apple, "productName": "Apple", "quantity": 2 }],
    }]);
    assert_eq!(shown["shoppingList"]["stops"], wanted);
    until_listed(&stack, "/api/depot/shopping/available?", "shoppingLists", &list).await;

    let bot = done(&stack, Method::POST, "/api/depot/bots", json!({ "name": "R2" })).await;
    until_listed(&stack, "/api/depot/bots?status=idle&", "bots", &bot).await;
    done(&stack, Method::PUT, &format!("{path}/assign"), json!({ "botId": bot })).await;
    let (busy, _) =
        stack.insist(Method::PUT, &format!("{path}/assign"), &id(), Some(json!({ "botId": id() }))).await;
    assert_eq!((busy.status, &busy.body["code"]), (400, &json!("SHOPPING_CANNOT_BE_ASSIGNED")));
    done(&stack, Method::PUT, &format!("{path}/start"), json!({ "botId": bot })).await;
    done(&stack, Method::PUT, &format!("{path}/complete"), json!({})).await;

    until(&stack, &format!("/api/depot/bots/{bot}"), |body| body["bot"]["status"] == "idle").await;
    let ready = |body: &Value| body["order"]["status"] == "ready";
    until(&stack, &format!("/api/ordering/{order}"), ready).await;
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_list_that_is_made_by_hand_adds_up_and_waits_until_somebody_lets_it_go() {
    let stack = Stack::deployed().await;
    let body = json!({ "name": "Fruit & Veg", "location": "Hall 1" });
    let store = done(&stack, Method::POST, "/api/stores", body).await;
    let products = format!("/api/stores/{store}/products");
    let apple = done(&stack, Method::POST, &products, json!({ "name": "Apple", "price": 0.75 })).await;
    let item = |quantity: u32| json!({ "productId": apple, "storeId": store, "quantity": quantity });
    let body = json!({ "orderId": id(), "items": [item(2), item(3)] });
    let list = done(&stack, Method::POST, "/api/depot/shopping", body).await;
    let path = format!("/api/depot/shopping/{list}");
    let shown = stack.get(&path).await.body;
    assert_eq!(shown["shoppingList"]["status"], "pending");
    assert_eq!(shown["shoppingList"]["stops"][0]["items"][0]["quantity"], 5);
    done(&stack, Method::POST, &path, json!({})).await;
    assert_eq!(stack.get(&path).await.body["shoppingList"]["status"], "canceled");
}
