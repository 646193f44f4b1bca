//! Payments and invoices over HTTP: the paths, verbs and names of the original API, without what was wrong with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod desk;

use desk::{Desk, UNKNOWN, customer};
use serde_json::{Value, json};

#[tokio::test]
async fn a_payment_is_put_up_held_captured_and_refunded() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    let shown = |status: &str, held: f64, captured: f64, refunded: f64, version: u64| {
        json!({
            "id": payment, "customerId": customer("ada"), "amount": 20.0, "status": status, "orderId": order,
            "held": held, "captured": captured, "refunded": refunded, "version": version,
        })
    };
    let authorized = desk.payment(payment).await;
    assert_eq!((&authorized["status"], authorized.get("orderId")), (&json!("authorized"), None));
    desk.put(payment, "confirm", order).await;
    assert_eq!(desk.payment(payment).await, shown("confirmed", 1.5, 0.0, 0.0, 2));
    let captured = desk.put(payment, "capture", order).await;
    assert_eq!(desk.put(payment, "capture", order).await, captured, "taken once");
    assert_eq!(desk.payment(payment).await, shown("captured", 0.0, 1.5, 0.0, 3));
    let refunded = desk.put(payment, "refund", order).await;
    assert_eq!(desk.put(payment, "refund", order).await, refunded, "given back once");
    assert_eq!(desk.payment(payment).await, shown("refunded", 0.0, 1.5, 1.5, 4));
}

#[tokio::test]
async fn an_invoice_is_created_adjusted_and_paid_and_the_payment_captured() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    desk.readied("ada", order, payment, 150).await;
    let created = desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
    assert_eq!(created, json!({ "id": order, "version": 1 }), "the invoice has the order's id");
    let due = &desk.invoice(order).await["dueAt"];
    assert_eq!(due, "2026-11-27T09:00:00Z", "a week after it was made");
    let path = format!("/api/payments/invoices/{order}");
    desk.ok("PUT", &format!("{path}/adjust"), json!({ "amount": 1.25 })).await;
    desk.ok("PUT", &format!("{path}/pay"), json!({})).await;
    let invoice = desk.invoice(order).await;
    assert_eq!((&invoice["status"], &invoice["amount"]), (&json!("paid"), &json!(1.25)));
    assert_eq!(invoice.get("dueAt"), None, "what is paid is not due");
    let event = desk.of_invoice(order, "InvoicePaid").await.unwrap();
    desk.deliver(event).await.unwrap();
    let shown = desk.payment(payment).await;
    assert_eq!((&shown["status"], &shown["captured"]), (&json!("captured"), &json!(1.25)));
}

#[tokio::test]
async fn d8_a_payment_belongs_to_the_customer_covers_the_total_and_is_used_once() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let confirm = format!("/api/payments/{payment}/confirm");
    let order = desk.ordered("ada", payment, 500).await;
    let dear = desk.ordered("ada", payment, 501).await;
    let stolen = desk.ordered("bob", payment, 100).await;
    let elsewhere = desk.ordered("ada", UNKNOWN.parse().unwrap(), 100).await;
    let refused = async |order, code| {
        desk.refused("PUT", &confirm, json!({ "orderId": order }), 409, code).await;
    };
    refused(stolen, "PAYMENT_BELONGS_TO_ANOTHER_CUSTOMER").await;
    refused(dear, "PAYMENT_DOES_NOT_COVER_TOTAL").await;
    refused(elsewhere, "PAYMENT_IS_NOT_OF_THIS_ORDER").await;
    desk.put(payment, "confirm", order).await;
    refused(dear, "PAYMENT_IS_USED").await;
    desk.put(payment, "confirm", order).await;
    assert_eq!(desk.payment(payment).await["version"], 2, "held once");
}

#[tokio::test]
async fn d8_nothing_is_done_to_a_payment_for_an_order_that_is_paid_with_another() {
    let desk = Desk::new();
    let (payment, another) = (desk.authorized("ada", json!(5)).await, desk.authorized("ada", json!(5)).await);
    let order = desk.ordered("ada", another, 100).await;
    for verb in ["confirm", "capture", "release", "refund"] {
        let path = format!("/api/payments/{payment}/{verb}");
        let body = json!({ "orderId": order, "reason": "WILTED" });
        desk.refused("PUT", &path, body, 409, "PAYMENT_IS_NOT_OF_THIS_ORDER").await;
    }
    assert_eq!(desk.payment(payment).await["status"], "authorized");
}

#[tokio::test]
async fn what_is_held_is_released_and_what_is_taken_is_not() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 100).await;
    desk.put(payment, "confirm", order).await;
    let released = desk.put(payment, "release", order).await;
    assert_eq!(desk.put(payment, "release", order).await, released, "released once");
    let body = json!({ "orderId": order, "reason": "WILTED" });
    for verb in ["confirm", "capture", "refund"] {
        let path = format!("/api/payments/{payment}/{verb}");
        desk.refused("PUT", &path, body.clone(), 409, "PAYMENT_WAS_RELEASED").await;
    }

    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 100).await;
    let body = json!({ "orderId": order, "reason": "WILTED" });
    let path = |verb: &str| format!("/api/payments/{payment}/{verb}");
    desk.refused("PUT", &path("capture"), body.clone(), 409, "PAYMENT_NOT_CONFIRMED").await;
    desk.put(payment, "confirm", order).await;
    desk.refused("PUT", &path("refund"), body.clone(), 409, "PAYMENT_NOT_CAPTURED").await;
    desk.put(payment, "capture", order).await;
    desk.refused("PUT", &path("release"), body.clone(), 409, "PAYMENT_WAS_CAPTURED").await;
    desk.put(payment, "refund", order).await;
    desk.refused("PUT", &path("confirm"), body, 409, "PAYMENT_WAS_REFUNDED").await;
}

#[tokio::test]
async fn d8_an_invoice_is_over_the_orders_total_whatever_the_request_says() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    let invoices = "/api/payments/invoices";
    let dear = json!({ "orderId": order, "amount": 1.51 });
    desk.refused("POST", invoices, dear, 400, "AMOUNT_IS_NOT_THE_TOTAL").await;
    let other = json!({ "orderId": order, "paymentId": UNKNOWN });
    desk.refused("POST", invoices, other, 400, "PAYMENT_IS_NOT_OF_THIS_ORDER").await;
    assert!(desk.of_invoice(order, "InvoiceCreated").await.is_none());
    desk.readied("ada", order, payment, 150).await;
    let same = json!({ "orderId": order, "paymentId": payment, "amount": 1.5 });
    let first = desk.ok("POST", invoices, same).await;
    let again = json!({ "orderId": order, "paymentId": null, "amount": null });
    assert_eq!(desk.ok("POST", invoices, again).await, first, "made once");
}

#[tokio::test]
async fn d8_an_invoice_is_not_adjusted_or_paid_beyond_what_the_payment_holds() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.readied("ada", order, payment, 150).await;
    desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
    let path = format!("/api/payments/invoices/{order}");
    let (adjust, pay) = (format!("{path}/adjust"), format!("{path}/pay"));
    desk.refused("PUT", &pay, json!({}), 409, "INVOICE_HAS_NO_PAYMENT").await;
    desk.put(payment, "confirm", order).await;
    desk.refused("PUT", &adjust, json!({ "amount": 1.51 }), 409, "INVOICE_EXCEEDS_PAYMENT").await;
    desk.refused("PUT", &adjust, json!({ "amount": -0.01 }), 400, "AMOUNT_CANNOT_BE_NEGATIVE").await;
    desk.refused("PUT", &adjust, json!({}), 400, "MISSING").await;
    desk.ok("PUT", &adjust, json!({ "amount": 0 })).await;
    desk.ok("PUT", &adjust, json!({ "amount": 1.5 })).await;
    desk.put(payment, "release", order).await;
    desk.refused("PUT", &pay, json!({}), 409, "INVOICE_HAS_NO_PAYMENT").await;
}

#[tokio::test]
async fn what_was_captured_by_hand_is_what_the_invoice_is_paid_with_and_can_no_longer_be_adjusted() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    desk.readied("ada", order, payment, 150).await;
    desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
    let path = format!("/api/payments/invoices/{order}");
    desk.ok("PUT", &format!("{path}/adjust"), json!({ "amount": 1.25 })).await;
    desk.put(payment, "capture", order).await;
    assert_eq!(desk.payment(payment).await["captured"], json!(1.25), "what the invoice says");
    let adjust = json!({ "amount": 1 });
    desk.refused("PUT", &format!("{path}/adjust"), adjust, 409, "INVOICE_HAS_NO_PAYMENT").await;
    desk.ok("PUT", &format!("{path}/pay"), json!({})).await;
}

#[tokio::test]
async fn an_order_that_is_not_collected_or_is_over_is_not_invoiced_so_that_nobody_pays_for_nothing() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    let create = json!({ "orderId": order });
    let invoices = "/api/payments/invoices";
    desk.refused("POST", invoices, create.clone(), 409, "ORDER_IS_NOT_READY").await;
    desk.refused("GET", &format!("{invoices}/{order}"), Value::Null, 404, "INVOICE_NOT_FOUND").await;
    desk.readied("ada", order, payment, 150).await;
    let made = desk.ok("POST", invoices, create.clone()).await;
    assert_eq!(desk.ok("POST", invoices, create.clone()).await, made, "made once");
    desk.cancelled("ada", order, payment).await;
    desk.refused("POST", invoices, create, 409, "ORDER_IS_NOT_READY").await;
}

#[tokio::test]
async fn d13_a_canceled_invoice_can_be_read_back() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    desk.readied("ada", order, payment, 150).await;
    desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
    let path = format!("/api/payments/invoices/{order}");
    desk.refused("PUT", &format!("{path}/cancel"), json!({ "reason": 7 }), 400, "NOT_A_TEXT").await;
    desk.ok("PUT", &format!("{path}/cancel"), json!({ "reason": "WILTED" })).await;
    let expected = json!({
        "id": order, "orderId": order, "customerId": customer("ada"), "paymentId": payment, "amount": 1.5,
        "status": "canceled", "reminders": 0, "reason": "WILTED", "version": 2,
    });
    assert_eq!(desk.invoice(order).await, expected);
    let capture = format!("/api/payments/{payment}/capture");
    desk.refused("PUT", &capture, json!({ "orderId": order }), 409, "INVOICE_WAS_CANCELLED").await;
    let create = json!({ "orderId": order });
    desk.refused("POST", "/api/payments/invoices", create, 409, "INVOICE_WAS_CANCELLED").await;
}

#[tokio::test]
async fn what_is_no_longer_pending_is_400_as_in_the_original() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    for close in ["pay", "cancel"] {
        let order = desk.ordered("ada", payment, 150).await;
        if close == "pay" {
            desk.put(payment, "confirm", order).await;
        }
        desk.readied("ada", order, payment, 150).await;
        desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
        let path = format!("/api/payments/invoices/{order}");
        desk.ok("PUT", &format!("{path}/{close}"), json!({})).await;
        for (verb, code) in [
            ("pay", "INVOICE_CANNOT_BE_PAID"),
            ("cancel", "INVOICE_CANNOT_BE_CANCELLED"),
            ("adjust", "INVOICE_CANNOT_BE_ADJUSTED"),
        ] {
            desk.refused("PUT", &format!("{path}/{verb}"), json!({ "amount": 1 }), 400, code).await;
        }
    }
}

#[tokio::test]
async fn a_payment_that_is_repeated_with_its_key_is_made_once_though_the_money_has_moved_since() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    desk.readied("ada", order, payment, 150).await;
    desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
    let pay = async || {
        let path = format!("/api/payments/invoices/{order}/pay");
        desk.send_with(json!({ "idempotency-key": "k" }), "PUT", &path, json!({})).await
    };
    let first = pay().await;
    assert_eq!(first, (200, json!({ "id": order, "version": 2 })));
    desk.put(payment, "capture", order).await;
    desk.put(payment, "refund", order).await;
    assert_eq!(pay().await, first);
}

#[tokio::test]
async fn an_invoice_that_changed_meanwhile_is_not_paid_unseen() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(5)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    desk.readied("ada", order, payment, 150).await;
    desk.ok("POST", "/api/payments/invoices", json!({ "orderId": order })).await;
    let path = format!("/api/payments/invoices/{order}");
    desk.ok("PUT", &format!("{path}/adjust"), json!({ "amount": 1 })).await;
    let (status, body) =
        desk.send_with(json!({ "if-match": "\"1\"" }), "PUT", &format!("{path}/pay"), json!({})).await;
    assert_eq!((status, body["code"].as_str()), (412, Some("VERSION_MISMATCH")));
}

#[tokio::test]
async fn d17_a_payment_or_invoice_that_there_is_not_is_404_not_500() {
    let desk = Desk::new();
    let body = json!({ "orderId": UNKNOWN, "reason": "WILTED", "amount": 1 });
    for id in [UNKNOWN, "no-id-at-all", "invoices"] {
        let path = format!("/api/payments/{id}");
        desk.refused("GET", &path, Value::Null, 404, "PAYMENT_NOT_FOUND").await;
        for verb in ["confirm", "capture", "release", "refund"] {
            let code = if id == UNKNOWN { "ORDER_NOT_FOUND" } else { "PAYMENT_NOT_FOUND" };
            desk.refused("PUT", &format!("{path}/{verb}"), body.clone(), 404, code).await;
        }
        let path = format!("/api/payments/invoices/{id}");
        desk.refused("GET", &path, Value::Null, 404, "INVOICE_NOT_FOUND").await;
        for verb in ["pay", "adjust", "cancel"] {
            desk.refused("PUT", &format!("{path}/{verb}"), body.clone(), 404, "INVOICE_NOT_FOUND").await;
        }
    }
    desk.refused("POST", "/api/payments/invoices", json!({ "orderId": UNKNOWN }), 404, "ORDER_NOT_FOUND")
        .await;
    assert_eq!(desk.written().await, [], "an unknown id never makes an empty thing");
}

#[tokio::test]
async fn d16_an_order_that_names_a_payment_that_never_was_gets_404() {
    let desk = Desk::new();
    let order = desk.ordered("ada", UNKNOWN.parse().unwrap(), 100).await;
    for verb in ["confirm", "capture", "refund"] {
        let path = format!("/api/payments/{UNKNOWN}/{verb}");
        let body = json!({ "orderId": order, "reason": "WILTED" });
        desk.refused("PUT", &path, body, 404, "PAYMENT_NOT_FOUND").await;
    }
    assert_eq!(desk.written().await, []);
}

#[tokio::test]
async fn d21_amounts_are_exact_to_the_cent_and_never_rounded() {
    let desk = Desk::new();
    for amount in [json!(0.1), json!(0.29), json!(1234567.89), json!(9999999999.99), json!(0)] {
        let payment = desk.authorized("ada", amount.clone()).await;
        assert_eq!(desk.payment(payment).await["amount"].as_f64(), amount.as_f64());
    }
    for (amount, code) in [
        (json!(1.999), "AMOUNT_IS_INVALID"),
        (json!(10000000000.00), "AMOUNT_IS_INVALID"),
        (json!("1"), "AMOUNT_IS_INVALID"),
        (json!(-0.01), "AMOUNT_CANNOT_BE_NEGATIVE"),
        (json!(null), "MISSING"),
    ] {
        let body = json!({ "customerId": customer("ada"), "amount": amount });
        desk.refused("POST", "/api/payments", body, 400, code).await;
    }
    let payment = desk.authorized("ada", json!(0.3)).await;
    let order = desk.ordered("ada", payment, 30).await;
    desk.put(payment, "confirm", order).await;
    assert_eq!(desk.payment(payment).await["held"], json!(0.3), "thirty cents cover thirty cents");
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let desk = Desk::new();
    let codes = async |path: &str, method: &str, body: Value| {
        let (status, answer) = desk.send(method, path, body).await;
        let details = answer["details"].as_array().unwrap();
        let codes: Vec<String> =
            details.iter().map(|detail| detail["code"].as_str().unwrap().to_owned()).collect();
        (status, codes)
    };
    let expected = |codes: &[&str]| (400, codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>());
    let put_up = codes("/api/payments", "POST", json!({})).await;
    assert_eq!(put_up, expected(&["CUSTOMER_ID_CANNOT_BE_BLANK", "MISSING"]));
    let refund = codes(&format!("/api/payments/{UNKNOWN}/refund"), "PUT", json!({ "reason": " " })).await;
    assert_eq!(refund, expected(&["ORDER_ID_CANNOT_BE_BLANK", "REASON_CANNOT_BE_BLANK"]));
    let body = json!({ "orderId": "x", "paymentId": "x", "amount": "x" });
    let invoice = codes("/api/payments/invoices", "POST", body).await;
    assert_eq!(invoice, expected(&["ID_IS_MALFORMED", "ID_IS_MALFORMED", "AMOUNT_IS_INVALID"]));
}

#[test]
fn no_route_is_missing_in_the_document_and_none_is_invented() {
    let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/payments.yaml"));
    let mut routes: Vec<String> = template
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("RouteKey: ").map(str::to_owned))
        .collect();
    let mut documented: Vec<String> = payments::docs::operations()
        .iter()
        .map(|operation| format!("{} {}", format!("{:?}", operation.verb).to_uppercase(), operation.path))
        .collect();
    routes.sort();
    documented.sort();
    assert_eq!(documented, routes);
}
