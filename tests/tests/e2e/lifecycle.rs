//! Orders from the shelf to their ends, in all contexts: completed, rejected, cancelled, and charged what things cost.

use std::time::{Duration, Instant};

use contracts::ids::{OrderId, shopping_list_of};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    shopper::{id, saga_is},
    stack::{Reply, Stack},
};

/// What follows by events: a message whose function was busy comes back after a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command; a fresh one, repeated until it is answered.
pub async fn command(stack: &Stack, method: Method, path: &str, body: Option<Value>) -> Reply {
    stack.insist(method, path, &id(), body).await.0
}

/// A command that has to succeed: the id it answers.
pub async fn done(stack: &Stack, method: Method, path: &str, body: Option<Value>) -> String {
    let reply = command(stack, method, path, body).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body["id"].as_str().unwrap_or_else(|| panic!("{path} answers no id: {reply:?}")).to_owned()
}

/// What there is to see of one entity: the only member of the answer.
pub async fn shown(stack: &Stack, path: &str, member: &str) -> Value {
    let reply = stack.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body[member].clone()
}

/// The types of the events of a stream, in their order.
pub async fn events(stack: &Stack, stream: &str) -> Vec<String> {
    let commits =
        stack.events().history(&stream.parse().unwrap()).await.expect("a stream of the event table");
    commits.iter().flat_map(|commit| commit.envelopes()).map(|event| event.event_type).collect()
}

/// Waits until the last event of a stream is of this type.
pub async fn until_last(stack: &Stack, stream: &str, event_type: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = events(stack, stream).await;
        if found.last().is_some_and(|last| last == event_type) {
            return;
        }
        assert!(Instant::now() < deadline, "{stream} does not end in {event_type}: {found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `GET path` shows `member` with these fields, among others.
pub async fn until_shown(stack: &Stack, path: &str, member: &str, wanted: &Value) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = stack.get(path).await;
        let found = &reply.body[member];
        let holds = |(name, value): (&String, &Value)| found[name] == *value;
        if reply.status == 200 && wanted.as_object().unwrap().iter().all(holds) {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "{path} does not show {wanted}: {reply:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for an order's status.
pub async fn until_order(stack: &Stack, order: &str, status: &str) -> Value {
    until_shown(stack, &format!("/api/ordering/{order}"), "order", &json!({ "status": status })).await
}

fn stock(on_hand: u32, reserved: u32) -> Value {
    json!({ "onHand": on_hand, "reserved": reserved, "available": on_hand - reserved })
}

pub async fn until_stock(stack: &Stack, product: &str, on_hand: u32, reserved: u32) {
    until_shown(stack, &format!("/api/inventory/{product}"), "stock", &stock(on_hand, reserved)).await;
}

/// A store of its own with one product, of which there are `pieces`.
pub async fn on_sale(stack: &Stack, name: &str, price: f64, pieces: u32) -> String {
    let body = json!({ "name": format!("{name} shop"), "location": "Hall 3" });
    let store = done(stack, Method::POST, "/api/stores", Some(body)).await;
    done(stack, Method::PUT, &format!("/api/stores/{store}/participating"), Some(json!({}))).await;
    let body = json!({ "name": name, "description": "", "sku": "", "price": price });
    let product = done(stack, Method::POST, &format!("/api/stores/{store}/products"), Some(body)).await;
    let body = Some(json!({ "quantity": pieces }));
    done(stack, Method::POST, &format!("/api/inventory/{product}/add"), body).await;
    until_stock(stack, &product, pieces, 0).await;
    product
}

/// A customer with a basket of these products.
pub struct Shopper {
    customer: String,
    basket: String,
}

impl Shopper {
    pub async fn with(stack: &Stack, products: &[(&str, u32)]) -> Self {
        let body = json!({ "name": "Grace", "smsNumber": "+1 555 0100" });
        let customer = done(stack, Method::POST, "/api/customers", Some(body)).await;
        let body = json!({ "customerId": customer });
        let basket = done(stack, Method::POST, "/api/baskets", Some(body)).await;
        for (product, quantity) in products {
            let body = json!({ "productId": product, "quantity": quantity });
            done(stack, Method::PUT, &format!("/api/baskets/{basket}/addItem"), Some(body)).await;
        }
        Self { customer, basket }
    }

    async fn authorizes(&self, stack: &Stack, amount: f64) -> String {
        let body = json!({ "customerId": self.customer, "amount": amount });
        done(stack, Method::POST, "/api/payments", Some(body)).await
    }

    /// Gives the answer, and the order if there is one: it has the basket's id.
    async fn checks_out(&self, stack: &Stack, payment: &str) -> Reply {
        let path = format!("/api/baskets/{}/checkout", self.basket);
        command(stack, Method::PUT, &path, Some(json!({ "paymentId": payment }))).await
    }

    /// Pays `amount` for the basket; gives order and payment.
    pub async fn orders(self, stack: &Stack, amount: f64) -> (String, String) {
        let payment = self.authorizes(stack, amount).await;
        let reply = self.checks_out(stack, &payment).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (self.basket, payment)
    }
}

pub fn list_of(order: &str) -> String {
    let order: OrderId = order.parse().unwrap();
    shopping_list_of(order).to_string()
}

/// A bot takes the order's list from the work queue and collects it. Gives the bot.
pub async fn collect(stack: &Stack, order: &str) -> String {
    let list = list_of(order);
    let bot = done(stack, Method::POST, "/api/depot/bots", Some(json!({ "name": "Marvin" }))).await;
    let deadline = Instant::now() + PATIENCE;
    while !is_available(stack, &list).await {
        assert!(Instant::now() < deadline, "list {list} did not come into the work queue");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let path = format!("/api/depot/shopping/{list}");
    done(stack, Method::PUT, &format!("{path}/assign"), Some(json!({ "botId": bot }))).await;
    done(stack, Method::PUT, &format!("{path}/start"), Some(json!({}))).await;
    done(stack, Method::PUT, &format!("{path}/complete"), Some(json!({}))).await;
    bot
}

/// Whether the list is on any page of the work queue.
pub async fn is_available(stack: &Stack, list: &str) -> bool {
    let mut cursor = String::new();
    loop {
        let reply = stack.get(&format!("/api/depot/shopping/available?limit=50{cursor}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let rows = reply.body["shoppingLists"].as_array().unwrap_or_else(|| panic!("no lists: {reply:?}"));
        if rows.iter().any(|row| row["id"] == list) {
            return true;
        }
        match reply.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return false,
        }
    }
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_checkout_becomes_a_completed_order() {
    let stack = Stack::deployed().await;
    let (apple, pear) = (on_sale(&stack, "Apple", 0.75, 10).await, on_sale(&stack, "Pear", 1.5, 20).await);
    // 4 × 0.75 + 3 × 1.50; more is put up than is charged.
    let (order, payment) = Shopper::with(&stack, &[(&apple, 4), (&pear, 3)]).await.orders(&stack, 10.0).await;
    let approved = until_order(&stack, &order, "approved").await;
    assert_eq!(approved["total"], 7.5);
    until_stock(&stack, &apple, 10, 4).await;
    until_stock(&stack, &pear, 20, 3).await;

    let bot = collect(&stack, &order).await;
    until_order(&stack, &order, "ready").await;
    let invoice = format!("/api/payments/invoices/{order}");
    let owed = json!({ "status": "pending", "amount": 7.5 });
    until_shown(&stack, &invoice, "invoice", &owed).await;
    done(&stack, Method::PUT, &format!("{invoice}/pay"), Some(json!({}))).await;
    until_order(&stack, &order, "completed").await;

    assert_eq!(shown(&stack, &invoice, "invoice").await["status"], "paid");
    let taken = json!({ "status": "captured", "captured": 7.5, "orderId": order });
    until_shown(&stack, &format!("/api/payments/{payment}"), "payment", &taken).await;
    until_stock(&stack, &apple, 6, 0).await;
    until_stock(&stack, &pear, 17, 0).await;
    until_last(&stack, &format!("depot.Bot/{bot}"), "BotIdled").await;
    assert_eq!(shown(&stack, &format!("/api/depot/bots/{bot}"), "bot").await["status"], "idle");
    let list = shown(&stack, &format!("/api/depot/shopping/{}", list_of(&order)), "shoppingList").await;
    assert_eq!((&list["status"], &list["botId"]), (&json!("completed"), &json!(bot)));
    let of = |category: &str, id: &str| format!("{category}/{id}");
    assert_eq!(
        events(&stack, &of("ordering.Order", &order)).await,
        ["OrderCreated", "OrderApproved", "OrderReadied", "OrderCompleted"]
    );
    assert_eq!(
        events(&stack, &of("depot.ShoppingList", &list_of(&order))).await,
        [
            "ShoppingListCreated",
            "ShoppingListInitiated",
            "ShoppingListAssigned",
            "ShoppingListStarted",
            "ShoppingListCompleted"
        ]
    );
    assert_eq!(
        events(&stack, &of("payments.Payment", &payment)).await,
        ["PaymentAuthorized", "PaymentConfirmed", "PaymentCaptured"]
    );
    assert_eq!(
        events(&stack, &of("payments.Invoice", &order)).await,
        ["InvoiceCreated", "InvoicePaid"],
        "charged once"
    );
    let sold = events(&stack, &of("inventory.StockItem", &apple)).await;
    assert_eq!(sold.iter().filter(|event| *event == "StockReduced").count(), 1, "sold once: {sold:?}");
    saga_is(&stack, &order, "succeeded", PATIENCE).await;
    let (path, seen) = (format!("/api/orders/{order}"), json!({ "status": "completed" }));
    assert_eq!(until_shown(&stack, &path, "order", &seen).await["total"], 7.5);
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_refused_payment_leaves_nothing_behind() {
    let stack = Stack::deployed().await;
    let lamp = on_sale(&stack, "Lamp", 39.0, 3).await;
    let (order, payment) = Shopper::with(&stack, &[(&lamp, 2)]).await.orders(&stack, 77.99).await;
    let rejected = until_order(&stack, &order, "rejected").await;
    assert_eq!(rejected["reason"], "PAYMENT_DOES_NOT_COVER_TOTAL");
    saga_is(&stack, &order, "undone", PATIENCE).await;

    let shelf = shown(&stack, &format!("/api/inventory/{lamp}"), "stock").await;
    assert_eq!(
        (&shelf["onHand"], &shelf["reserved"], &shelf["available"]),
        (&json!(3), &json!(0), &json!(3))
    );
    let kept = events(&stack, &format!("inventory.StockItem/{lamp}")).await;
    assert_eq!(
        kept.iter().filter(|event| event.starts_with("Inventory")).collect::<Vec<_>>(),
        ["InventoryReserved", "InventoryReleased"],
        "it was kept, and is no longer"
    );
    let list = events(&stack, &format!("depot.ShoppingList/{}", list_of(&order))).await;
    assert_eq!(list, ["ShoppingListCreated", "ShoppingListCanceled"]);
    assert!(!is_available(&stack, &list_of(&order)).await, "no bot goes for it");
    let released = shown(&stack, &format!("/api/payments/{payment}"), "payment").await;
    assert_eq!(released["status"], "released");
    assert_eq!(stack.get(&format!("/api/payments/invoices/{order}")).await.status, 404, "nobody is to pay");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_cancelled_order_leaves_nothing_behind() {
    let stack = Stack::deployed().await;
    let lamp = on_sale(&stack, "Lamp", 39.0, 3).await;
    let (order, payment) = Shopper::with(&stack, &[(&lamp, 1)]).await.orders(&stack, 39.0).await;
    until_order(&stack, &order, "approved").await;
    until_stock(&stack, &lamp, 3, 1).await;
    done(&stack, Method::DELETE, &format!("/api/ordering/{order}"), None).await;
    until_order(&stack, &order, "cancelled").await;

    until_last(&stack, &format!("depot.ShoppingList/{}", list_of(&order)), "ShoppingListCanceled").await;
    until_stock(&stack, &lamp, 3, 0).await;
    let released = json!({ "status": "released" });
    until_shown(&stack, &format!("/api/payments/{payment}"), "payment", &released).await;
    let deadline = Instant::now() + PATIENCE;
    while is_available(&stack, &list_of(&order)).await {
        assert!(Instant::now() < deadline, "the list of a cancelled order stays in the work queue");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It is over: nothing brings it back, and nobody is to pay.
    saga_is(&stack, &order, "undone", PATIENCE).await;
    assert_eq!(shown(&stack, &format!("/api/ordering/{order}"), "order").await["status"], "cancelled");
    let pay = format!("/api/payments/invoices/{order}/pay");
    let refused = command(&stack, Method::PUT, &pay, Some(json!({}))).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs a deployed stack"]
async fn a_price_that_rose_is_reported_before_it_is_charged() {
    let stack = Stack::deployed().await;
    let (tea, cup) = (on_sale(&stack, "Tea", 5.25, 10).await, on_sale(&stack, "Cup", 8.0, 10).await);
    let shopper = Shopper::with(&stack, &[(&tea, 2), (&cup, 1)]).await;
    let payment = shopper.authorizes(&stack, 30.0).await;
    let rise = format!("/api/stores/products/{tea}/increasePrice");
    done(&stack, Method::PUT, &rise, Some(json!({ "price": 6.75 }))).await;

    let told = shopper.checks_out(&stack, &payment).await;
    assert_eq!((told.status, told.body["code"].as_str()), (409, Some("PRICES_HAVE_RISEN")), "{told:?}");
    let text = told.body.to_string();
    assert!(text.contains("5.25") && text.contains("6.75"), "both prices are told: {text}");
    let basket = shown(&stack, &format!("/api/baskets/{}", shopper.basket), "basket").await;
    assert_eq!(basket["total"], 21.5, "the basket has the new price: {basket}");
    let untouched = shown(&stack, &format!("/api/payments/{payment}"), "payment").await;
    assert_eq!(untouched["status"], "authorized", "nothing is charged for what was not agreed to");

    // What became cheaper meanwhile is charged at what it costs, without a question.
    let fall = format!("/api/stores/products/{cup}/decreasePrice");
    done(&stack, Method::PUT, &fall, Some(json!({ "price": 7.0 }))).await;
    let agreed = shopper.checks_out(&stack, &payment).await;
    assert_eq!(agreed.status, 200, "{agreed:?}");
    let order = until_order(&stack, &shopper.basket, "approved").await;
    assert_eq!(order["total"], 20.5, "2 × 6.75 + 7.00: {order}");
}
