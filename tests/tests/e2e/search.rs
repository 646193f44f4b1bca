//! What the shop sells and what was ordered is found on the deployed stack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use projection::{DynamoProgress, SweepState};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    dead_letters::mall,
    shopper::{check_out, id, sell, settled},
    stack::Stack,
};

const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again until the answer is as it should be: searches lag behind.
async fn until(
    stack: &Stack,
    method: Method,
    path: &str,
    body: Option<Value>,
    fits: impl Fn(&Value) -> bool,
) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = stack.send(method.clone(), path, &[], body.clone()).await;
        if let Ok(reply) = &reply
            && reply.status == 200
            && fits(&reply.body)
        {
            return reply.body.clone();
        }
        assert!(Instant::now() < deadline, "{method} {path} {body:?} still answers {reply:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn names(found: &Value) -> Vec<&str> {
    found["products"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|product| product["name"].as_str())
        .collect()
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_product_is_found_with_a_typo_at_its_price_and_gone_once_it_is_removed() {
    let stack = Stack::deployed().await;
    // A word of its own, as other tests sell things at the same time.
    let word: String = id().chars().rev().filter(char::is_ascii_alphanumeric).take(10).collect();
    let name = format!("Quince {word}");
    let product = sell(&stack, &name, 3.25).await;
    let path = format!("/api/search/products?q=qiunce%20{word}&maxPrice=3.25&available=true");
    let found = until(&stack, Method::GET, &path, None, |found| names(found) == [name.as_str()]).await;
    assert_eq!(found["products"][0]["id"], json!(product));
    assert_eq!(found["products"][0]["price"], json!(3.25));
    assert_eq!(found["products"][0]["storeName"], json!("Fruit & Veg"));
    let raise = format!("/api/stores/products/{product}/increasePrice");
    stack.insist(Method::PUT, &raise, &id(), Some(json!({ "price": 3.5 }))).await;
    until(&stack, Method::GET, &path, None, |found| names(found).is_empty()).await;
    let path = format!("/api/search/products?q={word}");
    until(&stack, Method::GET, &path, None, |found| found["products"][0]["price"] == json!(3.5)).await;
    let (removed, _) =
        stack.insist(Method::DELETE, &format!("/api/stores/products/{product}"), &id(), None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    until(&stack, Method::GET, &path, None, |found| names(found).is_empty()).await;
}

/// Searches until told to stop; counts the searches, and those that did not find what was there before they began.
async fn shop(stack: Arc<Stack>, path: String, name: String, stop: Arc<AtomicBool>) -> (u32, u32) {
    let (mut searches, mut missed) = (0, 0);
    while !stop.load(Relaxed) {
        let (reply, sent) = stack.insist(Method::GET, &path, &id(), None).await;
        searches += 1;
        if sent > 1 || reply.status != 200 || names(&reply.body) != [name.as_str()] {
            missed += 1;
            println!("{path}: sent {sent} times, {} {}", reply.status, reply.body);
        }
    }
    (searches, missed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a deployed stack"]
async fn the_product_index_is_swept_and_verified_while_shoppers_search_and_none_of_them_notices() {
    let stack = Stack::deployed().await;
    let progress = DynamoProgress::new(stack.dynamo(), stack.output("SweepsTable"));
    let state = async || SweepState::of(&progress, "product-index").await.expect("the progress");
    let word: String = id().chars().rev().filter(char::is_ascii_alphanumeric).take(10).collect();
    let name = format!("Medlar {word}");
    let product = sell(&stack, &name, 4.0).await;
    let path = format!("/api/search/products?q=mdelar%20{word}");
    until(&stack, Method::GET, &path, None, |found| names(found) == [name.as_str()]).await;

    let stop = Arc::new(AtomicBool::new(false));
    let shopper = tokio::spawn(shop(stack.clone(), path.clone(), name.clone(), stop.clone()));
    let operate = |arguments: &'static [&'static str]| tokio::task::spawn_blocking(|| mall(arguments));
    let sweep = operate(&["view", "sweep", "product-index"]);
    // Prices change meanwhile.
    let raise = format!("/api/stores/products/{product}/increasePrice");
    let mut price = 4.0;
    while !sweep.is_finished() {
        price += 0.25;
        stack.insist(Method::PUT, &raise, &id(), Some(json!({ "price": price }))).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{}", sweep.await.expect("the product index is swept"));
    let swept = state().await.expect("a sweep");
    assert!(swept.is_over() && !swept.sweep.only_compare, "{swept:?}");
    assert_eq!(swept.report().differences, 0, "{:?}", swept.report().examples);
    until(&stack, Method::GET, &path, None, |found| found["products"][0]["price"] == json!(price)).await;

    // It fails when anything differs.
    println!("{}", operate(&["verify", "product-index"]).await.expect("nothing differs"));
    let compared = state().await.expect("a sweep");
    assert!(compared.sweep.only_compare && compared.events() > 0, "nothing was compared");
    let listed = operate(&["view", "list"]).await.expect("the views");
    let line = listed.lines().find(|line| line.contains("product-index")).expect("it is one of them");
    assert!(line.contains("product-search") && line.contains("comparison"), "{line}");
    assert!(!line.contains("none in an hour"), "its batches are measured: {line}");

    stop.store(true, Relaxed);
    let (searches, missed) = shopper.await.expect("the shopper comes home");
    println!("{searches} searches meanwhile, {missed} of them failed or missed the product");
    assert_eq!(missed, 0);
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn d20_an_order_is_found_by_its_customer_its_amount_and_how_it_stands() {
    let stack = Stack::deployed().await;
    let shopper = check_out(&stack, 7.50).await;
    settled(&stack, &shopper.order, PATIENCE).await;
    let search = |more: Value| {
        let mut filters = json!({ "customerId": shopper.customer });
        filters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "filters": filters })
    };
    let body = search(json!({ "status": "Approved", "minTotal": 7.49, "maxTotal": 7.51 }));
    let one = |found: &Value| found["orders"].as_array().is_some_and(|orders| orders.len() == 1);
    let found = until(&stack, Method::POST, "/api/search/orders", Some(body), one).await;
    let order = &found["orders"][0];
    assert_eq!((&order["orderId"], &order["customerName"]), (&json!(shopper.order), &json!("Ada")));
    assert_eq!((&order["total"], &order["items"][0]["storeName"]), (&json!(7.5), &json!("Fruit & Veg")));
    for nothing in
        [json!({ "minTotal": 7.5 }), json!({ "status": "New" }), json!({ "before": "2026-01-01T00:00:00Z" })]
    {
        let reply =
            stack.send(Method::POST, "/api/search/orders", &[], Some(search(nothing.clone()))).await.unwrap();
        assert_eq!((reply.status, &reply.body), (200, &json!({ "orders": [], "next": null })), "{nothing}");
    }
    // Without a customer, by month.
    let product = order["items"][0]["productId"].clone();
    let body = json!({ "filters": { "productIds": [product] }, "limit": 100 });
    let mine = |found: &Value| {
        let orders = found["orders"].as_array().into_iter().flatten();
        orders.filter_map(|order| order["orderId"].as_str()).any(|id| id == shopper.order)
    };
    until(&stack, Method::POST, "/api/search/orders", Some(body), mine).await;
    let shown = stack.get(&format!("/api/search/orders/{}", shopper.order)).await;
    assert_eq!((shown.status, &shown.body["order"]["status"]), (200, &json!("Approved")));
}
