//! The saga of an order can be seen from outside in every status, and an operator can undo an order.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    dead_letters::mall,
    lifecycle::{
        Shopper, collect, command, done, events, list_of, on_sale, shown, until_order, until_shown,
        until_stock,
    },
    shopper::saga_is,
    stack::Stack,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Steps of a placement whose events the order itself, its list and its payment have.
const PLACEMENT: [&str; 4] = ["CreateShoppingList", "ConfirmPayment", "InitiateShopping", "ApproveOrder"];
const UNDO: [&str; 5] =
    ["CloseOrder", "SettleInvoiceAndPayment", "CancelShoppingList", "ReleaseInventory", "EndUndo"];

fn timeline_of(order: &str) -> String {
    format!("/api/orders/{order}/timeline")
}

fn saga_of(order: &str) -> String {
    format!("/api/sagas/{order}")
}

/// Reads one field of each entry of a list.
fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let entries = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    entries
        .iter()
        .map(|entry| entry[field].as_str().unwrap_or_else(|| panic!("no {field}: {entry}")))
        .collect()
}

async fn until_awaits(stack: &Stack, order: &str, awaits: Value) -> Value {
    until_shown(stack, &timeline_of(order), "timeline", &json!({ "awaits": awaits })).await
}

/// Asks a saga for something, and has to be refused with one of these codes.
async fn is_refused(stack: &Stack, path: &str, codes: &[&str]) {
    let reply = command(stack, Method::POST, path, Some(json!({}))).await;
    let code = reply.body["code"].as_str().unwrap_or_default();
    assert!((400..500).contains(&reply.status) && codes.contains(&code), "{path}: {reply:?}");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_completed_order_tells_its_whole_story_and_always_what_it_waits_for() {
    let stack = Stack::deployed().await;
    let apple = on_sale(&stack, "Apple", 0.75, 10).await;
    let (order, _) = Shopper::with(&stack, &[(&apple, 2)]).await.orders(&stack, 1.5).await;
    until_order(&stack, &order, "approved").await;
    until_awaits(&stack, &order, json!("bot")).await;
    collect(&stack, &order).await;
    until_awaits(&stack, &order, json!("payment")).await;
    done(&stack, Method::PUT, &format!("/api/payments/invoices/{order}/pay"), Some(json!({}))).await;
    until_order(&stack, &order, "completed").await;
    let deadline = Instant::now() + PATIENCE;
    let timeline = loop {
        let timeline = shown(&stack, &timeline_of(&order), "timeline").await;
        if each(&timeline["entries"], "what").contains(&"PaymentCaptured") {
            break timeline;
        }
        assert!(Instant::now() < deadline, "the payment was not captured: {timeline}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&timeline["status"], &timeline["awaits"]), (&json!("completed"), &Value::Null));
    let mut told = each(&timeline["entries"], "what");
    // Two policies answer the payment of the invoice, at the same time.
    told[12..].sort_unstable();
    assert_eq!(
        told,
        [
            "PaymentAuthorized",
            "OrderCreated",
            "ShoppingListCreated",
            "PaymentConfirmed",
            "ShoppingListInitiated",
            "OrderApproved",
            "ShoppingListAssigned",
            "ShoppingListStarted",
            "ShoppingListCompleted",
            "OrderReadied",
            "InvoiceCreated",
            "InvoicePaid",
            "OrderCompleted",
            "PaymentCaptured",
        ]
    );
    let saga = saga_is(&stack, &order, "succeeded", PATIENCE).await;
    let mut steps: Vec<&Value> = saga["steps"].as_array().unwrap().iter().collect();
    steps.retain(|step| step["at"].is_string() && PLACEMENT.contains(&step["name"].as_str().unwrap()));
    assert_eq!(steps.iter().map(|step| &step["name"]).collect::<Vec<_>>(), PLACEMENT);
    assert!(saga["history"] == json!([]) && saga["run"].is_null(), "it has no undo: {saga}");
    until_listed(&stack, "succeeded", &order).await;

    is_refused(&stack, &format!("{}/retry", saga_of(&order)), &["SAGA_NEEDS_NOTHING"]).await;
    is_refused(&stack, &format!("{}/undo", saga_of(&order)), &["ORDER_IS_PAID", "ORDER_IS_COMPLETED"]).await;
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_rejected_order_says_why_and_its_undo_is_neither_lost_nor_repeated_when_the_view_is_built_anew() {
    let stack = Stack::deployed().await;
    let lamp = on_sale(&stack, "Lamp", 39.0, 3).await;
    let (order, payment) = Shopper::with(&stack, &[(&lamp, 2)]).await.orders(&stack, 77.99).await;
    until_order(&stack, &order, "rejected").await;
    let saga = saga_is(&stack, &order, "undone", PATIENCE).await;

    let timeline = shown(&stack, &timeline_of(&order), "timeline").await;
    assert_eq!(timeline["awaits"], Value::Null);
    assert!(timeline["summary"].as_str().unwrap().contains("PAYMENT_DOES_NOT_COVER_TOTAL"), "{timeline}");
    let mut told = each(&timeline["entries"], "what");
    // The mark by which no invoice is made later.
    told.retain(|what| *what != "InvoiceCanceled");
    assert_eq!(
        told,
        [
            "PaymentAuthorized",
            "OrderCreated",
            "ShoppingListCreated",
            "OrderRejected",
            "PaymentReleased",
            "ShoppingListCanceled",
        ]
    );
    let why = json!("PAYMENT_DOES_NOT_COVER_TOTAL");
    assert_eq!((&saga["origin"], &saga["reason"]), (&json!("placement"), &why));
    assert_eq!(each(&saga["history"], "what"), ["SagaUndoBegan", "SagaUndoEnded"]);
    assert_eq!(saga["run"]["name"], "undo-1");
    assert_eq!(each(&saga["run"]["steps"], "name"), UNDO);
    assert!(each(&saga["run"]["steps"], "outcome").iter().all(|outcome| *outcome == "done"), "{saga}");
    let listed = until_listed(&stack, "undone", &order).await;
    assert_eq!((&listed["order"], &listed["reason"]), (&json!("rejected"), &why));

    let streams = [
        format!("ordering.Order/{order}"),
        format!("ordering.Saga/{order}"),
        format!("payments.Payment/{payment}"),
        format!("depot.ShoppingList/{}", list_of(&order)),
        format!("inventory.StockItem/{lamp}"),
    ];
    let mut before = Vec::new();
    for stream in &streams {
        before.push(events(&stack, stream).await);
    }
    println!("{}", mall(&["view", "sweep", "sagas"]));
    assert_eq!(until_listed(&stack, "undone", &order).await, listed);
    println!("{}", mall(&["verify", "sagas"]));
    is_refused(&stack, &format!("{}/retry", saga_of(&order)), &["SAGA_NEEDS_NOTHING"]).await;
    stack.run_scheduled("ordering-resume-sagas").await.expect("the sagas are looked through");
    for (stream, before) in streams.iter().zip(before) {
        assert_eq!(events(&stack, stream).await, before, "{stream}: an order that is undone stays so");
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn an_operator_undoes_an_order_that_was_approved() {
    let stack = Stack::deployed().await;
    let lamp = on_sale(&stack, "Lamp", 39.0, 3).await;
    let (order, payment) = Shopper::with(&stack, &[(&lamp, 2)]).await.orders(&stack, 78.0).await;
    until_order(&stack, &order, "approved").await;
    let reason = json!({ "reason": "GOODS_ARE_RECALLED" });
    done(&stack, Method::POST, &format!("{}/undo", saga_of(&order)), Some(reason)).await;
    let saga = saga_is(&stack, &order, "undone", PATIENCE).await;
    assert_eq!((&saga["origin"], &saga["order"]), (&json!("operator"), &json!("cancelled")));
    assert_eq!(until_order(&stack, &order, "cancelled").await["reason"], "GOODS_ARE_RECALLED");
    until_stock(&stack, &lamp, 3, 0).await;
    let payment = shown(&stack, &format!("/api/payments/{payment}"), "payment").await;
    assert_eq!(payment["status"], "released");
    until_awaits(&stack, &order, Value::Null).await;
}

/// Waits until a saga is in the list of those with a status, on whichever page: other tests have sagas, too.
async fn until_listed(stack: &Stack, status: &str, order: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(row) = listed(stack, status, order).await {
            return row;
        }
        assert!(Instant::now() < deadline, "order {order} is not among the sagas that are {status}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn listed(stack: &Stack, status: &str, order: &str) -> Option<Value> {
    let mut cursor = String::new();
    loop {
        let page = stack.get(&format!("/api/sagas?status={status}&limit=100{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let sagas = page.body["sagas"].as_array().unwrap_or_else(|| panic!("no sagas: {page:?}"));
        if let Some(row) = sagas.iter().find(|saga| saga["id"] == json!(order)) {
            return Some(row.clone());
        }
        cursor = format!("&cursor={}", page.body["next"].as_str()?);
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn d16_nobody_is_told_a_story_of_an_order_that_there_is_not() {
    let stack = Stack::deployed().await;
    let unknown = super::shopper::id();
    for path in [timeline_of(&unknown), saga_of(&unknown)] {
        let reply = stack.get(&path).await;
        assert_eq!((reply.status, reply.body["code"].as_str()), (404, Some("ORDER_NOT_FOUND")), "{path}");
    }
    for verb in ["retry", "undo"] {
        is_refused(&stack, &format!("{}/{verb}", saga_of(&unknown)), &["ORDER_NOT_FOUND"]).await;
    }
}
