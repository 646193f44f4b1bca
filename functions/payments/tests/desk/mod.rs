//! The payments context behind its routes, its policies, the steps of placement and undo, and its schedule,
//! with orders that are there to be paid.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::{sync::Arc, time::Duration};

use contracts::{
    Envelope,
    ids::{CustomerId, OrderId, PaymentId},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderItem, OrderReadied,
        OrderRejected,
    },
};
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Id, Money, StreamId};
use lambda::{Fault, Function, use_case};
use payments::{
    Payments,
    chase::{Chase, Chased},
    invoice::Terms,
    invoices::Invoices,
};
use projection::{MemoryViews, Projector, ViewStore};
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

#[derive(Clone)]
pub struct Desk {
    pub world: TestPorts,
    pub store: EventStore,
    /// Befalls what is read and written, where a test says so.
    pub log: FaultyLog,
    /// The same events, whatever befalls others: for what a test itself looks at.
    pub quiet: EventStore,
    /// The view of invoices, as far as [`Desk::project`] has brought it.
    pub rows: Arc<dyn ViewStore<Invoices>>,
    /// The terms of the deployment that runs.
    pub terms: Terms,
}

impl Desk {
    pub fn new() -> Self {
        let world = TestPorts::new(1);
        let events = Arc::new(MemoryLog::new());
        let log = FaultyLog::new(events.clone());
        let store = EventStore::new(Arc::new(log.clone()), world.ports());
        let quiet = EventStore::new(events, world.ports());
        Self { world, store, log, quiet, rows: Arc::new(MemoryViews::<Invoices>::new()), terms: TERMS }
    }

    pub fn payments(&self) -> Arc<Payments> {
        Arc::new(Payments::new(self.store.clone(), self.world.ports(), self.terms))
    }

    /// Every event of invoices arrives at the view.
    pub async fn project(&self) {
        let events = self.written().await;
        let of_invoices: Vec<Envelope> =
            events.into_iter().filter(|event| event.stream.category() == "payments.Invoice").collect();
        let outcome = self.projector().deliver_batch(&of_invoices).await;
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    }

    fn projector(&self) -> Projector<Invoices> {
        Projector::new(self.rows.clone(), self.quiet.clone(), self.world.ports())
    }

    /// A run of the schedule, on the view as it is.
    pub async fn chase(&self) -> Result<Chased, Fault> {
        Arc::new(Chase::new(self.payments(), self.projector())).chase_payments().await
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

    pub async fn approved(&self, name: &str, order: OrderId, payment_id: PaymentId) -> Envelope {
        let (customer_id, shopping_id) = (customer(name), None);
        self.happened(
            order,
            OrderEvent::OrderApproved(OrderApproved { customer_id, payment_id, shopping_id }),
        )
        .await
    }

    pub async fn completed(&self, name: &str, order: OrderId, payment_id: PaymentId) -> Envelope {
        let (customer_id, invoice_id) = (customer(name), order.as_kind());
        self.happened(
            order,
            OrderEvent::OrderCompleted(OrderCompleted { customer_id, payment_id, invoice_id }),
        )
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
            "InvoicePaid" => payments.capture_payment(event).await,
            other => panic!("no policy answers {other}"),
        }
    }

    /// Confirms the payment as the placement does: directly, with a command id that the order fixes.
    pub async fn confirms(&self, payment: PaymentId, order: OrderId) -> Result<Value, String> {
        let function = use_case(&self.payments(), &self.world.ports(), Payments::confirm_payment);
        let payload = json!({
            "command": format!("{order}:ConfirmPayment"), "id": payment, "actor": "saga:order",
            "body": { "orderId": order },
        });
        function.invoke(payload).await.map_err(|error| error.error_type)
    }

    /// Settles an order that is over as an attempt of its undo does.
    pub async fn settles(&self, order: OrderId, attempt: u32) -> Result<Value, String> {
        self.settles_because(order, attempt, json!({ "reason": "WILTED" })).await
    }

    pub async fn settles_because(&self, order: OrderId, attempt: u32, body: Value) -> Result<Value, String> {
        let function = use_case(&self.payments(), &self.world.ports(), Payments::settle_invoice_and_payment);
        let payload = json!({
            "command": format!("{order}-undo-{attempt}:SettleInvoiceAndPayment"), "id": order,
            "actor": "saga:undo", "body": body,
        });
        function.invoke(payload).await.map_err(|error| error.error_type)
    }

    /// Every event of payments and invoices that was ever written.
    pub async fn written(&self) -> Vec<Envelope> {
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let page = self.quiet.scan(Segment::WHOLE, after.as_ref(), None).await.unwrap();
            let ours = page.commits.iter().filter(|commit| commit.stream.context() == "payments");
            events.extend(ours.flat_map(|commit| commit.envelopes()));
            after = page.after;
            if after.is_none() {
                return events;
            }
        }
    }

    /// How often an event of this type was written for the order's invoice.
    pub async fn count(&self, order: OrderId, event_type: &str) -> usize {
        let stream: StreamId = format!("payments.Invoice/{order}").parse().unwrap();
        let history = self.quiet.history(&stream).await.unwrap();
        history.iter().flat_map(|commit| commit.envelopes()).filter(|e| e.event_type == event_type).count()
    }
}
