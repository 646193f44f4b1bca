//! What HTTP clients may rely on.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    shopper::{id, product},
    stack::{Reply, Stack},
};

fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{reply:?}");
    assert!(reply.content_type.starts_with("application/problem+json"), "{reply:?}");
    assert_eq!(reply.body["status"], status);
    for field in ["type", "title", "detail", "message"] {
        assert!(reply.body[field].is_string(), "{field} is missing in {reply:?}");
    }
    assert!(reply.body["details"].is_array());
}

async fn start(stack: &Stack) -> String {
    let (reply, _) =
        stack.insist(Method::POST, "/api/baskets", &id(), Some(json!({ "customerId": id() }))).await;
    reply.body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn every_sort_of_no_is_a_problem_document_with_a_stable_code() {
    let stack = Stack::deployed().await;
    let basket = start(&stack).await;
    let nobody = id();
    let cases: Vec<(Method, String, Option<Value>, u16, &str)> = vec![
        (Method::POST, "/api/baskets".into(), Some(json!({})), 400, "CUSTOMER_ID_CANNOT_BE_BLANK"),
        (Method::POST, "/api/baskets".into(), Some(json!({ "customerId": "x" })), 400, "ID_IS_MALFORMED"),
        (Method::POST, "/api/payments".into(), Some(json!({ "amount": 1.999 })), 400, "VALIDATION_FAILED"),
        (
            Method::POST,
            "/api/payments".into(),
            Some(json!({ "customerId": id(), "amount": -1 })),
            400,
            "AMOUNT_CANNOT_BE_NEGATIVE",
        ),
        (
            Method::PUT,
            format!("/api/baskets/{basket}/addItem"),
            Some(product(&stack, "Apple", 1.0, 0).await),
            400,
            "QUANTITY_CANNOT_BE_ZERO",
        ),
        (
            Method::PUT,
            format!("/api/baskets/{basket}/addItem"),
            Some(product(&stack, "Apple", 1.0, -1).await),
            400,
            "QUANTITY_CANNOT_BE_NEGATIVE",
        ),
        (
            Method::PUT,
            format!("/api/baskets/{basket}/checkout"),
            Some(json!({ "paymentId": id() })),
            400,
            "BASKET_HAS_NO_ITEMS",
        ),
        (Method::GET, format!("/api/baskets/{nobody}"), None, 404, "BASKET_NOT_FOUND"),
        (Method::GET, "/api/baskets/not-an-id".into(), None, 404, "BASKET_NOT_FOUND"),
        (
            Method::PUT,
            format!("/api/baskets/{nobody}/addItem"),
            Some(product(&stack, "Apple", 1.0, 1).await),
            404,
            "BASKET_NOT_FOUND",
        ),
        (
            Method::PUT,
            format!("/api/baskets/{basket}/addItem"),
            Some(json!({ "productId": nobody, "quantity": 1 })),
            404,
            "PRODUCT_NOT_FOUND",
        ),
        (Method::GET, format!("/api/ordering/{nobody}"), None, 404, "ORDER_NOT_FOUND"),
        (Method::GET, format!("/api/orders/{nobody}"), None, 404, "ORDER_NOT_FOUND"),
        (Method::GET, format!("/api/payments/{nobody}"), None, 404, "PAYMENT_NOT_FOUND"),
        (Method::GET, "/api/orders".into(), None, 400, "CUSTOMER_ID_CANNOT_BE_BLANK"),
        (Method::GET, "/api/payments/invoices?status=paid".into(), None, 400, "QUERY_IS_INVALID"),
        (Method::GET, "/api/payments/invoices?customerId=".into(), None, 400, "CUSTOMER_ID_CANNOT_BE_BLANK"),
        (Method::GET, format!("/api/orders?customerId={nobody}&limit=0"), None, 400, "QUERY_IS_INVALID"),
        (
            Method::GET,
            format!("/api/orders?customerId={nobody}&cursor=forged"),
            None,
            400,
            "QUERY_IS_INVALID",
        ),
        (Method::DELETE, format!("/api/ordering/{nobody}"), None, 404, "ORDER_NOT_FOUND"),
    ];
    for (method, path, body, status, code) in cases {
        let reply = stack.send(method, &path, &[], body).await.unwrap();
        assert_problem(&reply, status, code);
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_repeated_request_takes_effect_once_and_another_payload_under_its_key_is_refused() {
    let stack = Stack::deployed().await;
    let (key, customer) = (id(), id());
    let headers: [(&str, &str); 1] = [("idempotency-key", &key)];
    let send = |body: Value| stack.send(Method::POST, "/api/baskets", &headers, Some(body));
    let first = send(json!({ "customerId": customer })).await.unwrap();
    let again = send(json!({ "customerId": customer })).await.unwrap();
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_problem(&send(json!({ "customerId": id() })).await.unwrap(), 422, "IDEMPOTENCY_KEY_REUSED");

    let basket = first.body["id"].as_str().unwrap();
    let (path, item) = (format!("/api/baskets/{basket}/addItem"), product(&stack, "Apple", 1.0, 2).await);
    for _ in 0..3 {
        let reply = stack.send(Method::PUT, &path, &headers, Some(item.clone())).await.unwrap();
        assert_eq!((reply.status, &reply.body["version"]), (200, &json!(2)), "{reply:?}");
    }
    let basket = stack.get(&format!("/api/baskets/{basket}")).await;
    assert_eq!(basket.body["basket"]["items"][0]["quantity"], 2, "added once");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_writer_with_an_outdated_etag_is_told_so() {
    let stack = Stack::deployed().await;
    let basket = start(&stack).await;
    let path = format!("/api/baskets/{basket}/addItem");
    let send = |etag: &'static str| {
        let (stack, path) = (stack.clone(), path.clone());
        async move {
            stack
                .send(Method::PUT, &path, &[("if-match", etag)], Some(product(&stack, "Apple", 1.0, 1).await))
                .await
                .unwrap()
        }
    };
    let added = send("\"1\"").await;
    assert_eq!((added.status, added.etag.as_deref()), (200, Some("\"2\"")));
    assert_problem(&send("\"1\"").await, 412, "VERSION_MISMATCH");
    assert_problem(&send("nonsense").await, 400, "IF_MATCH_IS_INVALID");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_version_that_was_never_reached_is_not_waited_for() {
    let stack = Stack::deployed().await;
    let shopper = super::shopper::check_out(&stack, 7.50).await;
    let order = super::shopper::settled(&stack, &shopper.order, std::time::Duration::from_secs(90)).await;
    assert_eq!(order["status"], "approved");
    let reply = stack.get(&format!("/api/orders/{}?minVersion=99", shopper.order)).await;
    assert_problem(&reply, 409, "VERSION_NOT_REACHED");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn sixteen_clients_on_one_basket_lose_nothing() {
    let stack = Stack::deployed().await;
    let basket = start(&stack).await;
    let item = product(&stack, "Apple", 1.0, 1).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (stack, basket, item) = (stack.clone(), basket.clone(), item.clone());
        clients.push(tokio::spawn(async move {
            let path = format!("/api/baskets/{basket}/addItem");
            let mut added = 0;
            for _ in 0..5 {
                let (reply, _) = stack.insist(Method::PUT, &path, &id(), Some(item.clone())).await;
                match reply.status {
                    200 => added += 1,
                    // Others won every round: a clear answer, and nothing written.
                    409 => assert_problem(&reply, 409, "CONTENDED"),
                    other => panic!("{other}: {reply:?}"),
                }
            }
            added
        }));
    }
    let mut added = 0;
    for client in clients {
        added += client.await.unwrap();
    }
    let basket = stack.get(&format!("/api/baskets/{basket}")).await;
    assert_eq!(basket.body["basket"]["items"][0]["quantity"], added, "what was accepted is what is there");
}
