//! The payments context behind its routes, its policies and the order saga, with orders that are there to be paid, and with
//! tasks of the saga that wait for it.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use contracts::{
    Envelope,
    ids::{CustomerId, OrderId, PaymentId},
    ordering::{OrderCanceled, OrderCreated, OrderEvent, OrderItem, OrderReadied, OrderRejected},
};
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Id, Money, StreamId};
use lambda::{Fault, Function, use_case};
use lambda_runtime::Diagnostic;
use payments::{
    Payments,
    callbacks::{Heard, TaskCallbacks},
    invoice::Terms,
    saga::Cashier,
    waits::{Kept, MemoryWaits, PaymentWaits, TaskToken, Wait},
};
use serde_json::{Value, json};
use testing::{FaultyLog, TestPorts, tell};

pub const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

/// A week to pay, and a reminder every day.
pub const TERMS: Terms =
    Terms { deadline: Duration::from_secs(7 * 24 * 3600), reminder: Duration::from_secs(24 * 3600) };

pub fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

pub fn customer(name: &str) -> CustomerId {
    Id::derived(&["customer", name])
}

/// How a task of the saga ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    Failed(String),
    TimedOut,
}

/// Step Functions, as far as it has tasks that wait. Others get a turn before and after each call, as on a network.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<BTreeMap<String, Option<Ending>>>>);

impl Tasks {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Option<Ending>>> {
        self.0.lock().unwrap()
    }

    /// A task that begins to wait: its token.
    pub fn begin(&self) -> String {
        let mut tasks = self.tasks();
        let token = format!("token-{:03}", tasks.len() + 1);
        tasks.insert(token.clone(), None);
        token
    }

    /// How a task ended; nothing while it waits.
    pub fn ending(&self, token: &str) -> Option<Ending> {
        self.tasks()[token].clone()
    }

    /// The time of every task that waits is up.
    pub fn time_out(&self) {
        for task in self.tasks().values_mut().filter(|task| task.is_none()) {
            *task = Some(Ending::TimedOut);
        }
    }

    async fn end(&self, token: &TaskToken, ending: Ending) -> Result<Heard, Fault> {
        tokio::task::yield_now().await;
        let heard = match self.tasks().get_mut(token.secret()) {
            Some(task @ None) => {
                *task = Some(ending);
                Heard::Now
            }
            Some(Some(_)) | None => Heard::TooLate,
        };
        tokio::task::yield_now().await;
        Ok(heard)
    }
}

#[async_trait]
impl TaskCallbacks for Tasks {
    async fn succeed(&self, token: &TaskToken) -> Result<Heard, Fault> {
        self.end(token, Ending::Succeeded).await
    }

    async fn fail(&self, token: &TaskToken, error: &str, _: &str) -> Result<Heard, Fault> {
        self.end(token, Ending::Failed(error.to_owned())).await
    }
}

/// A table of waits over a network: others get a turn before and after each call.
#[derive(Clone, Default)]
pub struct Waits(Arc<MemoryWaits>);

#[async_trait]
impl PaymentWaits for Waits {
    async fn keep(&self, order: OrderId, wait: &Wait) -> Result<Kept, Fault> {
        tokio::task::yield_now().await;
        let kept = self.0.keep(order, wait).await;
        tokio::task::yield_now().await;
        kept
    }

    async fn newest(&self, order: OrderId) -> Result<Option<Wait>, Fault> {
        tokio::task::yield_now().await;
        let found = self.0.newest(order).await;
        tokio::task::yield_now().await;
        found
    }
}

#[derive(Clone)]
pub struct Desk {
    pub world: TestPorts,
    pub store: EventStore,
    /// Befalls what is read and written, where a test says so.
    pub log: FaultyLog,
    /// The same events, whatever befalls others: for what a test itself looks at.
    quiet: EventStore,
    /// Which task waits for which order.
    pub waits: Waits,
    /// The tasks.
    pub tasks: Tasks,
}

impl Desk {
    pub fn new() -> Self {
        let world = TestPorts::new(1);
        let events = Arc::new(MemoryLog::new());
        let log = FaultyLog::new(events.clone());
        let store = EventStore::new(Arc::new(log.clone()), world.ports());
        let quiet = EventStore::new(events, world.ports());
        Self { world, store, log, quiet, waits: Waits::default(), tasks: Tasks::default() }
    }

    pub fn cashier(&self) -> Arc<Cashier> {
        let (waits, tasks) = (Arc::new(self.waits.clone()), Arc::new(self.tasks.clone()));
        Arc::new(Cashier::new(self.payments(), waits, tasks))
    }

    pub fn payments(&self) -> Arc<Payments> {
        Arc::new(Payments::new(self.store.clone(), self.world.ports(), TERMS))
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let (ports, payments) = (self.world.ports(), self.payments());
        let parts: Vec<&str> = path.trim_start_matches("/api/payments").split('/').skip(1).collect();
        let (function, id) = match (method, &parts[..]) {
            ("POST", []) => (use_case(&payments, &ports, Payments::authorize_payment), None),
            ("POST", ["invoices"]) => (use_case(&payments, &ports, Payments::create_invoice), None),
            ("GET", ["invoices", id]) => (use_case(&payments, &ports, Payments::get_invoice), Some(*id)),
            ("PUT", ["invoices", id, "adjust"]) => {
                (use_case(&payments, &ports, Payments::adjust_invoice), Some(*id))
            }
            ("PUT", ["invoices", id, "pay"]) => {
                (use_case(&payments, &ports, Payments::pay_invoice), Some(*id))
            }
            ("PUT", ["invoices", id, "cancel"]) => {
                (use_case(&payments, &ports, Payments::cancel_invoice), Some(*id))
            }
            ("GET", [id]) => (use_case(&payments, &ports, Payments::get_payment), Some(*id)),
            ("PUT", [id, "confirm"]) => (use_case(&payments, &ports, Payments::confirm_payment), Some(*id)),
            ("PUT", [id, "capture"]) => {
                (use_case(&payments, &ports, Payments::capture_held_payment), Some(*id))
            }
            ("PUT", [id, "release"]) => (use_case(&payments, &ports, Payments::release_payment), Some(*id)),
            ("PUT", [id, "refund"]) => (use_case(&payments, &ports, Payments::refund_payment), Some(*id)),
            _ => panic!("no route for {method} {path}"),
        };
        (function, id.map(str::to_owned))
    }

    pub async fn send_with(&self, headers: Value, method: &str, path: &str, body: Value) -> (u64, Value) {
        let (function, id) = self.route(method, path);
        let payload = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
            "isBase64Encoded": false, "body": body.to_string(),
            "pathParameters": id.map(|id| json!({ "id": id })).unwrap_or(json!({})),
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "p", "requestId": "r",
                "routeKey": "$default", "stage": "$default", "time": "", "timeEpoch": 0,
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "t" }
            }
        });
        let answer = function.invoke(payload).await.unwrap();
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u64, Value) {
        self.send_with(json!({}), method, path, body).await
    }

    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.send(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {body}");
        body
    }

    pub async fn refused(&self, method: &str, path: &str, body: Value, status: u64, code: &str) {
        let (found, body) = self.send(method, path, body).await;
        assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{method} {path}: {body}");
    }

    /// An order whose placement succeeded, and its payment.
    pub async fn placed() -> (Self, OrderId, PaymentId) {
        let desk = Self::new();
        let payment = desk.authorized("ada", json!(20)).await;
        let order = desk.ordered("ada", payment, 150).await;
        desk.put(payment, "confirm", order).await;
        (desk, order, payment)
    }

    /// An order that is to be paid.
    pub async fn invoiced() -> (Self, OrderId, PaymentId) {
        let (desk, order, payment) = Self::placed().await;
        let readied = desk.readied("ada", order, payment, 150).await;
        desk.deliver(readied).await.unwrap();
        (desk, order, payment)
    }

    /// Its customer pays the invoice.
    pub async fn pays(&self, order: OrderId) {
        self.ok("PUT", &format!("/api/payments/invoices/{order}/pay"), json!({})).await;
    }

    /// Somebody puts up an amount.
    pub async fn authorized(&self, name: &str, amount: Value) -> PaymentId {
        let body = json!({ "customerId": customer(name), "amount": amount });
        self.ok("POST", "/api/payments", body).await["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn payment(&self, id: PaymentId) -> Value {
        self.ok("GET", &format!("/api/payments/{id}"), Value::Null).await["payment"].take()
    }

    pub async fn invoice(&self, order: OrderId) -> Value {
        self.ok("GET", &format!("/api/payments/invoices/{order}"), Value::Null).await["invoice"].take()
    }

    /// Does something to a payment for an order.
    pub async fn put(&self, id: PaymentId, verb: &str, order: OrderId) -> Value {
        let body = json!({ "orderId": order, "reason": "WILTED" });
        self.ok("PUT", &format!("/api/payments/{id}/{verb}"), body).await
    }

    /// Somebody places an order, which is to be paid with a payment.
    pub async fn ordered(&self, name: &str, payment_id: PaymentId, total: i64) -> OrderId {
        let order = Id::new(self.world.ports().ids.fresh());
        let item = OrderItem {
            store_id: Id::derived(&["store"]),
            product_id: Id::derived(&["product"]),
            store_name: "Fruit & Veg".into(),
            product_name: "Apple".into(),
            price: cents(total),
            quantity: 1,
        };
        let (customer_id, items, total) = (customer(name), vec![item], cents(total));
        let created = OrderEvent::OrderCreated(OrderCreated { customer_id, payment_id, items, total });
        self.happened(order, created).await;
        order
    }

    /// Writes what happened to an order, and gives it as the bus does.
    pub async fn happened(&self, order: OrderId, event: OrderEvent) -> Envelope {
        let stream: StreamId = format!("ordering.Order/{order}").parse().unwrap();
        let version = tell(&self.quiet, &stream, &event, &self.world.command("ordering")).await;
        self.quiet.event(&stream, version).await.unwrap().unwrap()
    }

    pub async fn readied(&self, name: &str, order: OrderId, payment_id: PaymentId, total: i64) -> Envelope {
        let (customer_id, total) = (customer(name), cents(total));
        self.happened(order, OrderEvent::OrderReadied(OrderReadied { customer_id, payment_id, total })).await
    }

    pub async fn cancelled(&self, name: &str, order: OrderId, payment_id: PaymentId) -> Envelope {
        let (customer_id, reason) = (customer(name), None);
        self.happened(order, OrderEvent::OrderCanceled(OrderCanceled { customer_id, payment_id, reason }))
            .await
    }

    pub async fn rejected(&self, name: &str, order: OrderId, payment_id: PaymentId) -> Envelope {
        let (customer_id, reason) = (customer(name), "WILTED".to_owned());
        self.happened(order, OrderEvent::OrderRejected(OrderRejected { customer_id, payment_id, reason }))
            .await
    }

    /// The event of this type in the invoice's stream, as the bus gives it.
    pub async fn of_invoice(&self, order: OrderId, event_type: &str) -> Option<Envelope> {
        let stream: StreamId = format!("payments.Invoice/{order}").parse().unwrap();
        let history = self.quiet.history(&stream).await.unwrap();
        history.iter().flat_map(|commit| commit.envelopes()).find(|event| event.event_type == event_type)
    }

    /// Hands an event to the policy that answers it.
    pub async fn deliver(&self, event: Envelope) -> Result<(), Fault> {
        let payments = self.payments();
        match event.event_type.as_str() {
            "OrderReadied" => payments.invoice_order(event).await,
            "OrderCanceled" => payments.settle_cancelled_order(event).await,
            "InvoicePaid" => payments.capture_payment(event).await,
            other => panic!("no policy answers {other}"),
        }
    }

    /// Asks as the order saga does: directly, with a command id of its own.
    pub async fn step(&self, step: &str, id: impl ToString, order: OrderId) -> Result<Value, String> {
        self.asked(step, id, order, json!({ "orderId": order })).await.map_err(|error| error.error_type)
    }

    /// The saga, whose placement of the order succeeded, waits: with a token that it makes for that.
    pub async fn awaits(&self, order: OrderId, token: &str) -> Result<Value, String> {
        let body = json!({ "placement": { "Status": "SUCCEEDED", "Output": "{}" }, "token": token });
        self.asked("AwaitPayment", order, order, body).await.map_err(|error| error.error_type)
    }

    /// Asks as the order saga does, with this body.
    pub async fn asked(
        &self,
        step: &str,
        id: impl ToString,
        order: OrderId,
        body: Value,
    ) -> Result<Value, Diagnostic> {
        let (ports, payments) = (self.world.ports(), self.payments());
        let function = match step {
            "ConfirmPayment" => use_case(&payments, &ports, Payments::confirm_payment),
            "ReleasePayment" => use_case(&payments, &ports, Payments::release_payment),
            "AwaitPayment" => use_case(&self.cashier(), &ports, Cashier::await_payment),
            "RemindPayment" => use_case(&payments, &ports, Payments::remind_payment),
            "CancelInvoice" => use_case(&payments, &ports, Payments::cancel_overdue_invoice),
            other => panic!("the saga has no step {other}"),
        };
        let command = format!("{order}:{step}");
        let payload =
            json!({ "command": command, "id": id.to_string(), "actor": "saga:order", "body": body });
        function.invoke(payload).await
    }

    /// The event of this type in the order's stream, as the bus gives it.
    pub async fn of_order(&self, order: OrderId, event_type: &str) -> Option<Envelope> {
        let stream: StreamId = format!("ordering.Order/{order}").parse().unwrap();
        let history = self.quiet.history(&stream).await.unwrap();
        history.iter().flat_map(|commit| commit.envelopes()).find(|event| event.event_type == event_type)
    }

    /// Wakes the saga by an event.
    pub async fn wakes(&self, event: Envelope) -> Result<(), Fault> {
        self.cashier().end_payment_wait(event).await
    }

    /// Every event of payments and invoices that was ever written.
    pub async fn written(&self) -> Vec<Envelope> {
        let page = self.quiet.scan(Segment::WHOLE, None, None).await.unwrap();
        let ours = page.commits.iter().filter(|commit| commit.stream.context() == "payments");
        ours.flat_map(|commit| commit.envelopes()).collect()
    }
}
