//! What becomes of an order can be seen from outside, and undoing it again changes nothing.

use std::time::{Duration, Instant};

use aws_sdk_sfn::types::ExecutionStatus;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    lifecycle::{Shopper, collect, done, events, list_of, on_sale, shown, until_order, until_shown},
    shopper::saga_ended,
    stack::Stack,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn timeline_of(order: &str) -> String {
    format!("/api/orders/{order}/timeline")
}

/// The kinds of things that happened, as the timeline tells them.
fn what(timeline: &Value) -> Vec<&str> {
    timeline["entries"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect()
}

async fn until_awaits(stack: &Stack, order: &str, awaits: Value) -> Value {
    until_shown(stack, &timeline_of(order), "timeline", &json!({ "awaits": awaits })).await
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
        if what(&timeline).contains(&"PaymentCaptured") {
            break timeline;
        }
        assert!(Instant::now() < deadline, "the payment was not captured: {timeline}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&timeline["status"], &timeline["awaits"]), (&json!("completed"), &Value::Null));
    let mut told = what(&timeline);
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
    assert_eq!(saga_ended(&stack, &order, PATIENCE).await, "SUCCEEDED");
    let saga = shown(&stack, &format!("/api/sagas/{order}"), "saga").await;
    assert_eq!((&saga["status"], &saga["runs"][0]["state"]), (&json!("succeeded"), &json!("AwaitPayment")));
    assert_eq!(saga["runs"][0]["transitions"], 3, "{saga}");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_rejected_order_says_why_and_undoing_it_once_more_by_hand_changes_nothing() {
    let stack = Stack::deployed().await;
    let lamp = on_sale(&stack, "Lamp", 39.0, 3).await;
    let (order, payment) = Shopper::with(&stack, &[(&lamp, 2)]).await.orders(&stack, 77.99).await;
    until_order(&stack, &order, "rejected").await;
    assert_eq!(saga_ended(&stack, &order, PATIENCE).await, "SUCCEEDED");

    let timeline = shown(&stack, &timeline_of(&order), "timeline").await;
    assert_eq!(timeline["awaits"], Value::Null);
    assert!(timeline["summary"].as_str().unwrap().contains("PAYMENT_DOES_NOT_COVER_TOTAL"), "{timeline}");
    assert_eq!(
        what(&timeline),
        [
            "PaymentAuthorized",
            "OrderCreated",
            "ShoppingListCreated",
            "PaymentReleased",
            "ShoppingListCanceled",
            "OrderRejected"
        ]
    );
    let path = format!("/api/sagas/{order}");
    let saga = shown(&stack, &path, "saga").await;
    assert_eq!(saga["status"], "compensated");
    let steps = saga["runs"][0]["steps"].as_array().unwrap();
    let named = |name: &str| steps.iter().find(|step| step["name"] == name).unwrap();
    // That the placement failed is said where it is heard of.
    assert_eq!(named("AwaitPayment")["outcome"], "failed");
    assert_eq!(named("AwaitPayment")["failures"][0]["error"], "PAYMENT_DOES_NOT_COVER_TOTAL");
    for undone in ["ReleasePayment", "CancelShoppingList", "ReleaseInventory", "RejectOrder"] {
        assert_eq!(named(undone)["outcome"], "done", "{undone}");
    }
    let row = listed(&stack, &order).await;
    assert_eq!((&row["status"], &row["order"]), (&json!("compensated"), &json!("rejected")));

    // The same compensations again, as an operator starts them for a saga that is stuck.
    let streams = [
        format!("ordering.Order/{order}"),
        format!("payments.Payment/{payment}"),
        format!("depot.ShoppingList/{}", list_of(&order)),
        format!("inventory.StockItem/{lamp}"),
    ];
    let mut before = Vec::new();
    for stream in &streams {
        before.push(events(&stack, stream).await);
    }
    undo(&stack, &order).await;
    for (stream, before) in streams.iter().zip(before) {
        assert_eq!(events(&stack, stream).await, before, "{stream}: what was undone is not undone again");
    }
    let runs = shown(&stack, &path, "saga").await["runs"].take();
    assert_eq!((&runs[1]["name"], &runs[1]["status"]), (&json!("undo-1"), &json!("ended")), "{runs}");
}

/// The order's row among the sagas that ended: other tests end many.
async fn listed(stack: &Stack, order: &str) -> Value {
    let mut cursor = String::new();
    loop {
        let page = stack.get(&format!("/api/sagas?status=ended&limit=100{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let sagas = page.body["sagas"].as_array().unwrap_or_else(|| panic!("no sagas: {page:?}"));
        if let Some(row) = sagas.iter().find(|saga| saga["id"] == json!(order)) {
            return row.clone();
        }
        let next = page.body["next"].as_str().unwrap_or_else(|| panic!("{order} is on no page"));
        cursor = format!("&cursor={next}");
    }
}

/// Starts what `mall saga compensate` starts, from the top, and waits for its good end.
async fn undo(stack: &Stack, order: &str) {
    let sfn = stack.sfn();
    let saga = format!("{}:{order}", stack.output("OrderSagaArn").replace(":stateMachine:", ":execution:"));
    let saga = sfn.describe_execution().execution_arn(saga).send().await.unwrap();
    let mut input: Value = serde_json::from_str(saga.input().unwrap()).unwrap();
    input["from"] = json!("ReleasePayment");
    input["failure"] = json!({ "Error": "PAYMENT_DOES_NOT_COVER_TOTAL", "Cause": "" });
    let machine = stack.output("OrderSagaCompensationArn");
    let start = sfn.start_execution().state_machine_arn(machine).name(format!("{order}-undo-1"));
    let started = start.input(input.to_string()).send().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = sfn.describe_execution().execution_arn(started.execution_arn()).send().await.unwrap();
        match found.status() {
            ExecutionStatus::Running => {}
            ExecutionStatus::Succeeded => return,
            status => panic!("{status}: {:?}", found.cause()),
        }
        assert!(Instant::now() < deadline, "order {order} was not undone");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn d16_nobody_is_told_a_story_of_an_order_that_there_is_not() {
    let stack = Stack::deployed().await;
    let unknown = super::shopper::id();
    for path in [timeline_of(&unknown), format!("/api/sagas/{unknown}")] {
        let reply = stack.get(&path).await;
        assert_eq!((reply.status, reply.body["code"].as_str()), (404, Some("ORDER_NOT_FOUND")), "{path}");
    }
}
