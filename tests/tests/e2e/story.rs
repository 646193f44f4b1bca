//! The two stories that the originals could not finish.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{
    shopper::{check_out, customer, id, product, saga_is, sell, settled},
    stack::Stack,
};

const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_checkout_that_is_paid_for_becomes_an_approved_order() {
    let stack = Stack::deployed().await;
    let shopper = check_out(&stack, 7.50).await;
    let order = settled(&stack, &shopper.order, PATIENCE).await;
    assert_eq!(order["status"], "approved");
    assert_eq!(order["total"], 7.5);
    let payment = stack.get(&format!("/api/payments/{}", shopper.payment)).await;
    assert_eq!(payment.body["payment"]["status"], "confirmed");
    assert_eq!(payment.body["payment"]["orderId"], json!(shopper.order));
    // The view answers with what the caller knows to be there, even if the event is still under way.
    let version = &order["version"];
    let view = stack.get(&format!("/api/orders/{}?minVersion={version}", shopper.order)).await;
    assert_eq!((view.status, &view.body["order"]["status"]), (200, &json!("approved")));
    let list = stack.get(&format!("/api/orders?customerId={}", shopper.customer)).await;
    assert_eq!(list.body["orders"][0]["id"], json!(shopper.order));
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_payment_that_does_not_cover_the_total_ends_in_a_rejected_order_and_a_released_payment() {
    let stack = Stack::deployed().await;
    let shopper = check_out(&stack, 7.49).await;
    let order = settled(&stack, &shopper.order, PATIENCE).await;
    assert_eq!(order["status"], "rejected");
    assert_eq!(order["reason"], "PAYMENT_DOES_NOT_COVER_TOTAL", "the customer can see why");
    saga_is(&stack, &shopper.order, "undone", PATIENCE).await;
    let payment = stack.get(&format!("/api/payments/{}", shopper.payment)).await;
    assert_eq!(payment.body["payment"]["status"], "released");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_price_that_rose_is_shown_before_it_is_charged() {
    let stack = Stack::deployed().await;
    let fig = sell(&stack, "Fig", 2.0).await;
    let customer = customer(&stack).await;
    let body = json!({ "customerId": customer, "amount": 5 });
    let (paid, _) = stack.insist(Method::POST, "/api/payments", &id(), Some(body)).await;
    let payment = json!({ "paymentId": paid.body["id"] });
    let body = json!({ "customerId": customer });
    let (basket, _) = stack.insist(Method::POST, "/api/baskets", &id(), Some(body)).await;
    let basket = format!("/api/baskets/{}", basket.body["id"].as_str().unwrap());
    let item = json!({ "productId": fig, "quantity": 2 });
    stack.insist(Method::PUT, &format!("{basket}/addItem"), &id(), Some(item)).await;
    let raise = format!("/api/stores/products/{fig}/increasePrice");
    stack.insist(Method::PUT, &raise, &id(), Some(json!({ "price": 2.5 }))).await;

    let (checkout, first) = (format!("{basket}/checkout"), id());
    let (refused, _) = stack.insist(Method::PUT, &checkout, &first, Some(payment.clone())).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("PRICES_HAVE_RISEN")), "{refused:?}");
    let shown = stack.get(&basket).await;
    assert_eq!(
        (&shown.body["basket"]["status"], &shown.body["basket"]["total"]),
        (&json!("open"), &json!(5.0))
    );
    let (done, _) = stack.insist(Method::PUT, &checkout, &id(), Some(payment.clone())).await;
    assert_eq!(done.status, 200, "{done:?}");
    let (again, _) = stack.insist(Method::PUT, &checkout, &first, Some(payment)).await;
    assert_eq!((again.status, &again.body["details"]), (409, &refused.body["details"]));
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn somebody_elses_payment_neither_pays_nor_is_released() {
    let stack = Stack::deployed().await;
    let (victim, thief, key) = (customer(&stack).await, customer(&stack).await, id());
    let body = json!({ "customerId": victim, "amount": 100 });
    let (paid, _) = stack.insist(Method::POST, "/api/payments", &id(), Some(body)).await;
    let payment = paid.body["id"].as_str().unwrap();
    let (basket, _) =
        stack.insist(Method::POST, "/api/baskets", &key, Some(json!({ "customerId": thief }))).await;
    let basket = basket.body["id"].as_str().unwrap();
    let add = format!("/api/baskets/{basket}/addItem");
    stack.insist(Method::PUT, &add, &id(), Some(product(&stack, "Gold", 50.0, 1).await)).await;
    let checkout = format!("/api/baskets/{basket}/checkout");
    stack.insist(Method::PUT, &checkout, &id(), Some(json!({ "paymentId": payment }))).await;
    let order = settled(&stack, basket, PATIENCE).await;
    assert_eq!(
        (&order["status"], &order["reason"]),
        (&json!("rejected"), &json!("PAYMENT_BELONGS_TO_ANOTHER_CUSTOMER"))
    );
    saga_is(&stack, basket, "undone", PATIENCE).await;
    let payment = stack.get(&format!("/api/payments/{payment}")).await;
    assert_eq!(payment.body["payment"]["status"], "authorized");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn an_order_that_is_cancelled_while_its_saga_runs_stays_cancelled_and_pays_nothing() {
    let stack = Stack::deployed().await;
    let shopper = check_out(&stack, 7.50).await;
    let path = format!("/api/ordering/{}", shopper.order);
    // As early as it can be: the placement may win all the same, and then the order is undone.
    loop {
        let (reply, _) = stack.insist(Method::DELETE, &path, &id(), None).await;
        match reply.status {
            404 => tokio::time::sleep(Duration::from_millis(5)).await,
            status => break assert_eq!(status, 200, "{reply:?}"),
        }
    }
    saga_is(&stack, &shopper.order, "undone", PATIENCE).await;
    let order = settled(&stack, &shopper.order, PATIENCE).await;
    assert_eq!(order["status"], "cancelled");
    let payment = stack.get(&format!("/api/payments/{}", shopper.payment)).await;
    assert_eq!(payment.body["payment"]["status"], "released");
}
