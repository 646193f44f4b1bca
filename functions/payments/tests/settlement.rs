//! An order that is over keeps no money, whatever happens while it is settled; and an order that is not over
//! keeps all of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod desk;

use contracts::ids::{OrderId, PaymentId};
use desk::{Desk, UNKNOWN};
use serde_json::{Value, json};
use testing::faulty::{OnAppend, OnRead};

/// An order that was ready, invoiced, and then cancelled.
async fn cancelled() -> (Desk, OrderId, PaymentId) {
    let (desk, order, payment) = Desk::invoiced().await;
    desk.cancelled("ada", order, payment).await;
    (desk, order, payment)
}

#[tokio::test]
async fn a_live_order_is_not_settled_by_whoever_calls_the_function() {
    let (desk, order, payment) = Desk::placed().await;
    assert_eq!(desk.settles(order, 1).await.unwrap_err(), "ORDER_IS_NOT_OVER", "pending");
    desk.approved("ada", order, payment).await;
    assert_eq!(desk.settles(order, 1).await.unwrap_err(), "ORDER_IS_NOT_OVER", "approved");
    let readied = desk.readied("ada", order, payment, 150).await;
    desk.deliver(readied).await.unwrap();
    assert_eq!(desk.settles(order, 1).await.unwrap_err(), "ORDER_IS_NOT_OVER", "ready");
    desk.pays(order).await;
    desk.completed("ada", order, payment).await;
    assert_eq!(desk.settles(order, 1).await.unwrap_err(), "ORDER_IS_NOT_OVER", "completed");
    assert_eq!(desk.invoice(order).await["status"], "paid");
    assert_eq!(desk.payment(payment).await["status"], "confirmed");
}

#[tokio::test]
async fn an_order_that_there_is_not_is_not_settled() {
    let desk = Desk::new();
    assert_eq!(desk.settles(UNKNOWN.parse().unwrap(), 1).await.unwrap_err(), "ORDER_NOT_FOUND");
    assert_eq!(desk.written().await, []);
}

#[tokio::test]
async fn a_rejected_order_gets_no_invoice_and_gives_its_payment_back() {
    let (desk, order, payment) = Desk::placed().await;
    desk.rejected("ada", order, payment).await;
    desk.settles(order, 1).await.unwrap();
    let canceled = desk.of_invoice(order, "InvoiceCanceled").await.unwrap();
    assert_eq!(canceled.data.unwrap()["reason"], "WILTED");
    assert_eq!(desk.payment(payment).await["status"], "released");
    // A bot had collected it, and its readiness is heard of late.
    let readied = desk.readied("ada", order, payment, 150).await;
    desk.deliver(readied).await.unwrap();
    assert_eq!(desk.count(order, "InvoiceCreated").await, 0);
}

#[tokio::test]
async fn a_settlement_changes_nothing_when_it_is_repeated_whatever_the_attempt() {
    for close in [None, Some("pay"), Some("cancel")] {
        let (desk, order, _) = Desk::invoiced().await;
        if let Some(verb) = close {
            desk.ok("PUT", &format!("/api/payments/invoices/{order}/{verb}"), json!({})).await;
        }
        let payment = desk.invoice(order).await["paymentId"].as_str().unwrap().parse().unwrap();
        desk.cancelled("ada", order, payment).await;
        let first = desk.settles(order, 1).await.unwrap();
        assert_eq!(first["id"], json!(payment));
        let written = desk.written().await;
        for attempt in [1, 1, 2, 3] {
            assert_eq!(desk.settles(order, attempt).await.unwrap(), first, "{close:?}");
        }
        let body = json!({ "reason": "ANOTHER" });
        assert_eq!(desk.settles_because(order, 4, body).await.unwrap(), first, "{close:?}");
        assert_eq!(desk.written().await, written, "{close:?}");
    }
}

#[tokio::test]
async fn a_reason_that_is_missing_does_not_keep_the_customers_money() {
    for body in [json!({}), json!({ "reason": "" }), json!({ "reason": null }), Value::Null] {
        let (desk, order, payment) = cancelled().await;
        desk.settles_because(order, 1, body).await.unwrap();
        assert_eq!(desk.invoice(order).await["reason"], "ORDER_IS_OVER");
        assert_eq!(desk.payment(payment).await["status"], "released");
    }
}

#[tokio::test]
async fn a_payment_that_was_never_held_is_marked_so_that_a_late_confirmation_finds_out() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    // The step has seen that the order is pending; before it commits, the order is rejected and settled.
    let undo = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        undo.rejected("ada", order, payment).await;
        undo.settles(order, 1).await.unwrap();
    })]);
    assert_eq!(desk.confirms(payment, order).await.unwrap_err(), "PAYMENT_WAS_RELEASED");
    let shown = desk.payment(payment).await;
    assert_eq!((&shown["status"], &shown["orderId"]), (&json!("released"), &json!(order)));
}

#[tokio::test]
async fn a_confirmation_that_is_written_while_the_undo_settles_is_given_back() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.rejected("ada", order, payment).await;
    let placement = desk.clone();
    desk.log.on_append([
        OnAppend::Healthy,
        OnAppend::after(move || async move {
            placement.put(payment, "confirm", order).await;
        }),
    ]);
    desk.settles(order, 1).await.unwrap();
    let shown = desk.payment(payment).await;
    assert_eq!((&shown["status"], &shown["version"]), (&json!("released"), &json!(3)));
}

#[tokio::test]
async fn a_placement_that_comes_late_holds_nothing_for_an_order_that_is_over() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    for over in ["rejected", "cancelled"] {
        let order = desk.ordered("ada", payment, 150).await;
        match over {
            "rejected" => desk.rejected("ada", order, payment).await,
            _ => desk.cancelled("ada", order, payment).await,
        };
        assert_eq!(desk.confirms(payment, order).await.unwrap_err(), "ORDER_IS_OVER", "{over}");
    }
    assert_eq!(desk.payment(payment).await["status"], "authorized");
}

#[tokio::test]
async fn a_placement_that_is_started_again_after_the_approval_writes_nothing() {
    let (desk, order, payment) = Desk::placed().await;
    desk.approved("ada", order, payment).await;
    desk.put(payment, "release", order).await;
    let written = desk.written().await;
    assert_eq!(desk.confirms(payment, order).await, Ok(json!({ "id": payment })));
    assert_eq!(desk.written().await, written);
}

#[tokio::test]
async fn a_placement_holds_a_payment_once_and_is_told_why_it_cannot() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 100).await;
    let first = desk.confirms(payment, order).await.unwrap();
    assert_eq!(desk.confirms(payment, order).await, Ok(first));
    let dear = desk.ordered("ada", payment, 501).await;
    assert_eq!(desk.confirms(payment, dear).await.unwrap_err(), "PAYMENT_IS_USED");
    let ghost = desk.ordered("ada", UNKNOWN.parse().unwrap(), 100).await;
    assert_eq!(desk.confirms(UNKNOWN.parse().unwrap(), ghost).await.unwrap_err(), "PAYMENT_NOT_FOUND");
    assert_eq!(desk.confirms(payment, ghost).await.unwrap_err(), "PAYMENT_IS_NOT_OF_THIS_ORDER");
    assert_eq!(desk.confirms(payment, UNKNOWN.parse().unwrap()).await.unwrap_err(), "ORDER_NOT_FOUND");
}

#[tokio::test]
async fn a_customer_who_pays_at_the_very_moment_of_the_settlement_gets_the_money_back() {
    let (desk, order, payment) = cancelled().await;
    let customer = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move { customer.pays(order).await })]);
    desk.settles(order, 1).await.unwrap();
    assert_eq!(desk.invoice(order).await["status"], "paid");
    let event = desk.of_invoice(order, "InvoicePaid").await.unwrap();
    desk.deliver(event).await.unwrap();
    let shown = desk.payment(payment).await;
    assert_eq!((&shown["status"], &shown["refunded"]), (&json!("refunded"), &json!(1.5)));
}

#[tokio::test]
async fn a_customer_does_not_pay_for_an_order_that_is_settled_at_that_very_moment() {
    let (desk, order, payment) = cancelled().await;
    let undo = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        undo.settles(order, 1).await.unwrap();
    })]);
    let pay = format!("/api/payments/invoices/{order}/pay");
    desk.refused("PUT", &pay, json!({}), 400, "INVOICE_CANNOT_BE_PAID").await;
    assert_eq!(desk.payment(payment).await["status"], "released");
}

#[tokio::test]
async fn a_settlement_that_meets_the_capture_in_the_same_stream_refunds_it() {
    let (desk, order, payment) = cancelled().await;
    desk.pays(order).await;
    let (policy, event) = (desk.clone(), desk.of_invoice(order, "InvoicePaid").await.unwrap());
    desk.log.on_append([OnAppend::after(move || async move { policy.deliver(event).await.unwrap() })]);
    desk.settles(order, 1).await.unwrap();
    let shown = desk.payment(payment).await;
    assert_eq!((&shown["status"], &shown["version"]), (&json!("refunded"), &json!(4)), "captured once");
}

#[tokio::test]
async fn a_settlement_that_dies_between_invoice_and_payment_is_finished_by_the_next_one() {
    for attempt in [1, 2] {
        let (desk, order, payment) = cancelled().await;
        desk.log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
        assert_eq!(desk.settles(order, 1).await.unwrap_err(), "Unavailable");
        assert_eq!(desk.invoice(order).await["status"], "canceled");
        assert_eq!(desk.payment(payment).await["status"], "confirmed");
        desk.settles(order, attempt).await.unwrap();
        assert_eq!(desk.payment(payment).await["status"], "released");
        assert_eq!(desk.invoice(order).await["version"], 2, "canceled once");
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_not_taken_for_one_that_is_over() {
    let (desk, order, payment) = cancelled().await;
    desk.log.on_read([OnRead::Fails]);
    assert_eq!(desk.settles(order, 1).await.unwrap_err(), "Unavailable");
    assert_eq!(desk.payment(payment).await["status"], "confirmed");
}

#[tokio::test]
async fn a_settlement_leaves_other_orders_and_other_peoples_payments_alone() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let (order, other) = (desk.ordered("ada", payment, 150).await, desk.ordered("ada", payment, 200).await);
    let stolen = desk.ordered("bob", payment, 100).await;
    desk.put(payment, "confirm", order).await;
    for (name, order) in [("ada", other), ("bob", stolen)] {
        desk.cancelled(name, order, payment).await;
        desk.settles(order, 1).await.unwrap();
    }
    assert_eq!(desk.payment(payment).await["status"], "confirmed");
    assert_eq!(desk.payment(payment).await["orderId"], json!(order));
}

#[tokio::test]
async fn an_order_whose_payment_never_was_is_settled() {
    let desk = Desk::new();
    let payment = UNKNOWN.parse().unwrap();
    let order = desk.ordered("ada", payment, 150).await;
    desk.cancelled("ada", order, payment).await;
    desk.settles(order, 1).await.unwrap();
    let written: Vec<String> = desk.written().await.into_iter().map(|event| event.event_type).collect();
    assert_eq!(written, ["InvoiceCanceled"], "no ghost of a payment");
}
