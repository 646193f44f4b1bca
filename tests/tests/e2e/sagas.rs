//! What becomes of an order can be seen from outside, and undoing it again changes nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_sdk_sfn::types::ExecutionStatus;
use contracts::ids::OrderId;
use event_store::Segment;
use ordering::{
    saga_rows::{AllSagaRows, MAX_ROWS, SagaRow, SagaRows, VIEW},
    saga_table::SagaTable,
};
use projection::{Consistency, DynamoRegistry, Registry, ViewState};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    dead_letters::mall,
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
    // The placement's steps run in a body of their own: when they were done is told by their events.
    until_listed(&stack, "succeeded", &order, true).await;
    let saga = shown(&stack, &format!("/api/sagas/{order}"), "saga").await;
    let steps = saga["steps"].as_array().unwrap().iter().filter(|step| step["at"].is_string());
    assert_eq!(
        steps.map(|step| step["name"].as_str().unwrap()).collect::<Vec<_>>(),
        [
            "AuthorizeCustomer",
            "ReserveInventory",
            "CreateShoppingList",
            "ConfirmPayment",
            "InitiateShopping",
            "ApproveOrder",
            "AwaitPayment",
        ]
    );
    assert_eq!(saga["compensations"], json!([]));
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
    let undone = saga["compensations"].as_array().unwrap().iter();
    assert_eq!(
        undone.map(|step| step["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["ReleasePayment", "CancelShoppingList", "ReleaseInventory", "RejectOrder"]
    );
    let row = until_listed(&stack, "compensated", &order, true).await;
    assert_eq!((&row["status"], &row["order"]), (&json!("compensated"), &json!("rejected")));
    assert_eq!(row["failure"]["error"], "PAYMENT_DOES_NOT_COVER_TOTAL");

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

/// Waits until the order's saga is, or is not any more, among those that stand like this: other tests have sagas, too.
async fn until_listed(stack: &Stack, status: &str, order: &str, there: bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = listed(stack, status, order).await;
        if row.is_some() == there {
            return row.unwrap_or_default();
        }
        assert!(Instant::now() < deadline, "order {order} among those that are {status}: {row:?}");
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

/// Starts what `mall saga compensate` starts, from the top, and waits for its good end.
async fn undo(stack: &Stack, order: &str) {
    let sfn = stack.sfn();
    let mut input = input_of(stack, order).await;
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

/// What the order's saga was started with.
async fn input_of(stack: &Stack, order: &str) -> Value {
    let saga = format!("{}:{order}", stack.output("OrderSagaArn").replace(":stateMachine:", ":execution:"));
    let saga = stack.sfn().describe_execution().execution_arn(saga).send().await.unwrap();
    serde_json::from_str(saga.input().unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_saga_that_cannot_undo_everything_is_listed_as_stuck_until_it_is_undone_by_hand() {
    let stack = Stack::deployed().await;
    let (stuck, sound) = gets_stuck(&stack).await;
    let row = until_listed(&stack, "stuck", &stuck, true).await;
    assert_eq!(row["failure"]["error"], "SagaStuck", "{row}");
    assert!(row["failure"]["cause"].as_str().unwrap().contains("NOT_FOUND"), "it says why: {row}");

    // An attempt by hand that gets through takes it off the list: here with a payment and an order that there are.
    let mut input = sound;
    input["from"] = json!("ReleasePayment");
    input["failure"] = json!({ "Error": "PAYMENT_DOES_NOT_COVER_TOTAL", "Cause": "" });
    let machine = stack.output("OrderSagaCompensationArn");
    let start = stack.sfn().start_execution().state_machine_arn(machine).name(format!("{stuck}-undo-1"));
    start.input(input.to_string()).send().await.unwrap();
    until_listed(&stack, "stuck", &stuck, false).await;
    until_listed(&stack, "compensated", &stuck, true).await;
}

/// A saga that is stuck, and what a sound one was started with.
async fn gets_stuck(stack: &Stack) -> (String, Value) {
    let lamp = on_sale(stack, "Lamp", 39.0, 3).await;
    let (real, _) = Shopper::with(stack, &[(&lamp, 2)]).await.orders(stack, 77.99).await;
    until_order(stack, &real, "rejected").await;
    assert_eq!(saga_ended(stack, &real, PATIENCE).await, "SUCCEEDED");
    // A saga gets stuck when a compensation is refused. One of another name, whose payment there is not, is: its placement
    // fails, and so does what releases the payment.
    let stuck = super::shopper::id();
    let sound = input_of(stack, &real).await;
    let mut input = sound.clone();
    input["orderId"] = json!(stuck);
    input["paymentId"] = json!("no payment at all");
    let machine = stack.output("OrderSagaArn");
    let start =
        stack.sfn().start_execution().state_machine_arn(machine).name(&stuck).input(input.to_string());
    start.send().await.unwrap();
    assert_eq!(saga_ended(stack, &stuck, PATIENCE).await, "FAILED");
    (stuck, sound)
}

/// The rows of the live generation, and those of the other.
async fn rows(stack: &Stack) -> (ViewState, BTreeMap<OrderId, SagaRow>, BTreeMap<OrderId, SagaRow>) {
    let registry = DynamoRegistry::new(stack.dynamo(), stack.output("ViewsTable"));
    let state = registry.get(VIEW).await.expect("the registry");
    let all = async |table: &str| {
        let rows = SagaTable::new(stack.dynamo(), stack.output(table));
        let (mut found, mut after) = (BTreeMap::new(), None);
        loop {
            let page = rows.ids(Segment::WHOLE, after.as_deref(), MAX_ROWS as u32).await.expect("a page");
            let ids: Vec<OrderId> = page.ids.iter().map(|id| id.parse().unwrap()).collect();
            if !ids.is_empty() {
                let read = rows.rows(&ids, Consistency::Strong).await.expect("rows");
                found.extend(read.into_iter().map(|row| (row.order_id, row)));
            }
            match page.after {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    };
    let (odd, even) = (all("SagasTable").await, all("SagasTableEven").await);
    if state.live.is_odd() { (state, odd, even) } else { (state, even, odd) }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn sagas_are_listed_as_before_when_their_view_was_built_anew_and_nothing_told_is_lost() {
    let stack = Stack::deployed().await;
    let apple = on_sale(&stack, "Apple", 0.75, 20).await;
    let (completed, _) = Shopper::with(&stack, &[(&apple, 2)]).await.orders(&stack, 1.5).await;
    let (rejected, _) = Shopper::with(&stack, &[(&apple, 2)]).await.orders(&stack, 1.49).await;
    let (stuck, _) = gets_stuck(&stack).await;
    until_order(&stack, &completed, "approved").await;
    collect(&stack, &completed).await;
    until_order(&stack, &completed, "ready").await;
    done(&stack, Method::PUT, &format!("/api/payments/invoices/{completed}/pay"), Some(json!({}))).await;
    assert_eq!(saga_ended(&stack, &completed, PATIENCE).await, "SUCCEEDED");
    assert_eq!(saga_ended(&stack, &rejected, PATIENCE).await, "SUCCEEDED");
    let ours = [("succeeded", &completed), ("compensated", &rejected), ("stuck", &stuck)];
    for (status, order) in ours {
        until_listed(&stack, status, order, true).await;
    }
    // Until all that is on its way has arrived: both what was done last and how it ended.
    let told = |rows: &BTreeMap<OrderId, SagaRow>| {
        ours.iter().all(|(_, order)| {
            let row = rows.get(&order.parse::<OrderId>().unwrap());
            row.is_some_and(|row| row.parts.saga.as_ref().is_some_and(|saga| saga.rank().contains("-1-")))
        })
    };
    let deadline = Instant::now() + PATIENCE;
    while !told(&rows(&stack).await.1) {
        assert!(Instant::now() < deadline, "Step Functions did not tell how the sagas ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (state, before, _) = rows(&stack).await;
    let listed_before = all_listed(&stack, &ours).await;

    println!("{}", mall(&["view", "rebuild", "sagas", "--verify"]));
    // From the tables, so that no list asks Step Functions for what was lost.
    let (now, mut after, left) = rows(&stack).await;
    assert_eq!(now.live, state.live.next());
    assert_eq!(left, BTreeMap::new(), "rows of the old generation are left");
    for (id, row) in before {
        // Orders of other tests may have gone on meanwhile, but none went back.
        let rebuilt = after.remove(&id).unwrap_or_else(|| panic!("{id} is lost: {row:?}"));
        let mut lost = row.parts.clone();
        lost.keep_news(&rebuilt.parts);
        assert!(lost.is_empty(), "{id} lost {lost:?}");
    }
    assert_eq!(all_listed(&stack, &ours).await, listed_before);
    println!("{}", mall(&["verify", "sagas"]));
    assert!(mall(&["view", "list"]).lines().any(|line| line.contains("sagas") && line.contains("ordering")));
}

/// The rows of these sagas, as they are listed.
async fn all_listed(stack: &Stack, sagas: &[(&str, &String)]) -> Vec<Value> {
    let mut found = Vec::new();
    for (status, order) in sagas {
        let row = listed(stack, status, order).await;
        found.push(row.unwrap_or_else(|| panic!("order {order} is not listed as {status}")));
    }
    found
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
