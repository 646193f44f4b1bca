//! An order until it is paid: its customer is reminded, cancels at any moment, or misses the deadline.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    lifecycle::{
        Shopper, collect, command, done, events, is_available, list_of, on_sale, shown, until_last,
        until_order, until_shown, until_stock,
    },
    shopper::saga_is,
    stack::Stack,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// What an order is about: one lamp of three.
struct Ordered {
    lamp: String,
    order: String,
    payment: String,
}

impl Ordered {
    async fn new(stack: &Stack) -> Self {
        let lamp = on_sale(stack, "Lamp", 39.0, 3).await;
        let (order, payment) = Shopper::with(stack, &[(&lamp, 1)]).await.orders(stack, 39.0).await;
        Self { lamp, order, payment }
    }

    fn invoice(&self) -> String {
        format!("/api/payments/invoices/{}", self.order)
    }

    async fn until_invoiced(&self, stack: &Stack) {
        until_shown(stack, &self.invoice(), "invoice", &json!({ "status": "pending" })).await;
    }

    /// Its invoice, on whichever page of this list.
    async fn listed(&self, stack: &Stack, question: &str) -> Option<Value> {
        let mut cursor = String::new();
        loop {
            let reply = stack.get(&format!("/api/payments/invoices?{question}&limit=100{cursor}")).await;
            assert_eq!(reply.status, 200, "{question}: {reply:?}");
            let page = reply.body["invoices"].as_array().unwrap_or_else(|| panic!("no list: {reply:?}"));
            if let Some(found) = page.iter().find(|invoice| invoice["orderId"] == self.order) {
                return Some(found.clone());
            }
            cursor = format!("&cursor={}", reply.body["next"].as_str()?);
        }
    }

    /// Waits until its invoice is in this list, or is not.
    async fn until_listed(&self, stack: &Stack, question: &str, there: bool) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.listed(stack, question).await;
            if found.is_some() == there {
                return found;
            }
            assert!(Instant::now() < deadline, "{question}: {} is listed as {found:?}", self.order);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn cancel(&self, stack: &Stack) {
        done(stack, Method::DELETE, &format!("/api/ordering/{}", self.order), None).await;
    }

    /// Everything is as it was before, except that goods may have been collected. Gives the order.
    async fn is_given_back(&self, stack: &Stack, collected: bool) -> Value {
        let order = until_order(stack, &self.order, "cancelled").await;
        until_stock(stack, &self.lamp, 3, 0).await;
        let payment = format!("/api/payments/{}", self.payment);
        until_shown(stack, &payment, "payment", &json!({ "status": "released" })).await;
        let list = format!("depot.ShoppingList/{}", list_of(&self.order));
        let end = if collected { "ShoppingListCompleted" } else { "ShoppingListCanceled" };
        until_last(stack, &list, end).await;
        let deadline = Instant::now() + PATIENCE;
        while is_available(stack, &list_of(&self.order)).await {
            assert!(Instant::now() < deadline, "the list of a cancelled order stays in the work queue");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        saga_is(stack, &self.order, "undone", PATIENCE).await;
        let pay = command(stack, Method::PUT, &format!("{}/pay", self.invoice()), Some(json!({}))).await;
        assert!((400..500).contains(&pay.status), "nobody pays for nothing: {pay:?}");
        // Once each, whatever heard of it.
        let stock = events(stack, &format!("inventory.StockItem/{}", self.lamp)).await;
        let count = |kind: &str| stock.iter().filter(|event| *event == kind).count();
        assert_eq!((count("InventoryReserved"), count("StockReduced")), (1, 0), "{stock:?}");
        assert_eq!(count("InventoryReleased"), 1, "{stock:?}");
        order
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn an_order_that_is_paid_has_no_undo_and_cannot_be_cancelled() {
    let stack = Stack::deployed().await;
    let ordered = Ordered::new(&stack).await;
    collect(&stack, &ordered.order).await;
    ordered.until_invoiced(&stack).await;
    done(&stack, Method::PUT, &format!("{}/pay", ordered.invoice()), Some(json!({}))).await;
    until_order(&stack, &ordered.order, "completed").await;
    saga_is(&stack, &ordered.order, "succeeded", PATIENCE).await;
    // While it waited, nothing ran for it and nothing was recorded.
    assert!(events(&stack, &format!("ordering.Saga/{}", ordered.order)).await.is_empty());

    // Too late.
    let cancel = format!("/api/ordering/{}", ordered.order);
    let refused = command(&stack, Method::DELETE, &cancel, None).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let code = refused.body["code"].as_str();
    assert!(matches!(code, Some("ORDER_IS_PAID" | "ORDER_CANNOT_BE_CANCELLED")), "{refused:?}");
    until_stock(&stack, &ordered.lamp, 2, 0).await;
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_paid_invoice_leaves_what_is_owed_and_stays_among_its_customers() {
    let stack = Stack::deployed().await;
    let ordered = Ordered::new(&stack).await;
    let order = until_order(&stack, &ordered.order, "approved").await;
    let customer = format!("customerId={}", order["customerId"].as_str().unwrap());
    assert_eq!(ordered.listed(&stack, &customer).await, None, "nobody was asked to pay yet");
    collect(&stack, &ordered.order).await;
    let owed = ordered.until_listed(&stack, "status=pending", true).await.unwrap();
    assert_eq!((&owed["status"], &owed["amount"]), (&json!("pending"), &json!(39.0)), "{owed}");
    // What is shown in the list is what is read alone.
    let alone = shown(&stack, &ordered.invoice(), "invoice").await;
    assert_eq!((&owed["dueAt"], &owed["paymentId"]), (&alone["dueAt"], &json!(ordered.payment)), "{alone}");

    done(&stack, Method::PUT, &format!("{}/pay", ordered.invoice()), Some(json!({}))).await;
    ordered.until_listed(&stack, "status=pending", false).await;
    let paid = ordered.until_listed(&stack, &format!("{customer}&status=paid"), true).await.unwrap();
    assert_eq!((&paid["status"], &paid["amount"]), (&json!("paid"), &json!(39.0)), "{paid}");
    assert!(paid["paidAt"].is_string() && paid.get("dueAt").is_none(), "{paid}");
    assert_eq!(ordered.listed(&stack, &customer).await, Some(paid), "and among all of them");
    assert_eq!(ordered.listed(&stack, &format!("{customer}&status=pending")).await, None);
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn an_order_that_nobody_pays_is_reminded_of_and_given_up_at_the_deadline() {
    let stack = Stack::deployed().await;
    let ordered = Ordered::new(&stack).await;
    collect(&stack, &ordered.order).await;
    ordered.until_invoiced(&stack).await;
    // The terms of payment are the deployment's: a minute in `cargo mall test`.
    let (invoice, deadline) = (format!("payments.Invoice/{}", ordered.order), Instant::now() + PATIENCE);
    while !events(&stack, &invoice).await.contains(&"InvoiceReminded".to_owned()) {
        assert!(Instant::now() < deadline, "nobody was reminded of {invoice}");
        stack.run_scheduled("payments-chase-payments").await.expect("the chase runs");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The schedule itself does the rest.
    saga_is(&stack, &ordered.order, "undone", 2 * PATIENCE).await;
    let order = ordered.is_given_back(&stack, true).await;
    assert_eq!(order["reason"], "PAYMENT_OVERDUE");
    let invoice = shown(&stack, &ordered.invoice(), "invoice").await;
    assert_eq!(invoice["status"], "canceled", "{invoice}");
    assert_eq!(shown(&stack, &format!("/api/sagas/{}", ordered.order), "saga").await["origin"], "expiry");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn an_order_is_cancelled_at_every_moment_before_it_is_paid() {
    let stack = Stack::deployed().await;

    // Its placement is somewhere on the way.
    let pending = Ordered::new(&stack).await;
    until_shown(&stack, &format!("/api/ordering/{}", pending.order), "order", &json!({})).await;
    pending.cancel(&stack).await;
    until_order(&stack, &pending.order, "cancelled").await;
    saga_is(&stack, &pending.order, "undone", PATIENCE).await;
    until_stock(&stack, &pending.lamp, 3, 0).await;
    let payment = format!("/api/payments/{}", pending.payment);
    until_shown(&stack, &payment, "payment", &json!({ "status": "released" })).await;

    let approved = Ordered::new(&stack).await;
    until_order(&stack, &approved.order, "approved").await;
    approved.cancel(&stack).await;
    approved.is_given_back(&stack, false).await;

    let assigned = Ordered::new(&stack).await;
    let list = list_of(&assigned.order);
    let bot = done(&stack, Method::POST, "/api/depot/bots", Some(json!({ "name": "Marvin" }))).await;
    let deadline = Instant::now() + PATIENCE;
    while !is_available(&stack, &list).await {
        assert!(Instant::now() < deadline, "list {list} did not come into the work queue");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let path = format!("/api/depot/shopping/{list}/assign");
    done(&stack, Method::PUT, &path, Some(json!({ "botId": bot }))).await;
    assigned.cancel(&stack).await;
    assigned.is_given_back(&stack, false).await;
    until_shown(&stack, &format!("/api/depot/bots/{bot}"), "bot", &json!({ "status": "idle" })).await;

    let ready = Ordered::new(&stack).await;
    collect(&stack, &ready.order).await;
    until_order(&stack, &ready.order, "ready").await;
    ready.cancel(&stack).await;
    let order = ready.is_given_back(&stack, true).await;
    assert!(order.get("reason").is_none(), "the customer's own wish: {order}");

    let invoiced = Ordered::new(&stack).await;
    collect(&stack, &invoiced.order).await;
    invoiced.until_invoiced(&stack).await;
    invoiced.cancel(&stack).await;
    invoiced.is_given_back(&stack, true).await;
    assert_eq!(shown(&stack, &invoiced.invoice(), "invoice").await["status"], "canceled");

    // Once is enough.
    let path = format!("/api/ordering/{}", invoiced.order);
    let again = command(&stack, Method::DELETE, &path, None).await;
    assert_eq!((again.status, again.body["code"].as_str()), (409, Some("ORDER_CANNOT_BE_CANCELLED")));
}
