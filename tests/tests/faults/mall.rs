//! One order, with a store, a product, a customer and a payment of its own: so its stock and its money can be counted to
//! the last piece and the last cent.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    control::Rule,
    stack::{Reply, Stack},
};

/// What one piece costs.
const PRICE: f64 = 2.5;
/// Pieces that are ordered.
pub const ORDERED: u64 = 2;
/// Pieces that were in the house.
pub const STOCKED: u64 = 10;
/// What the order costs.
pub const TOTAL: f64 = PRICE * ORDERED as f64;
/// A repeat in which nothing comes of a race that was lost.
const CONTENDED: usize = 20;

/// What a shopper brings.
#[derive(Debug, Clone, Copy)]
pub struct Brings {
    /// How much is put up.
    pub money: f64,
    /// Pieces of the product in the house.
    pub stocked: u64,
}

impl Brings {
    pub const ENOUGH: Self = Self { money: TOTAL, stocked: STOCKED };
    pub const TOO_LITTLE_MONEY: Self = Self { money: TOTAL - 0.01, stocked: STOCKED };
    pub const TOO_FEW_PIECES: Self = Self { money: TOTAL, stocked: ORDERED - 1 };
}

/// When the customer pays the invoice.
#[derive(Clone, Copy)]
pub enum Pays<'a> {
    AtOnce,
    /// When the fault has struck so often.
    After(&'a Rule<'a>, u32),
    Never,
}

impl Pays<'_> {
    async fn now(self) -> bool {
        match self {
            Self::AtOnce => true,
            Self::After(rule, times) => rule.show().await.struck >= times,
            Self::Never => false,
        }
    }
}

/// A shopper with a full basket; after the checkout, with an order. The order has the basket's id.
pub struct Shopper {
    stack: Arc<Stack>,
    pub brings: Brings,
    pub order: String,
    pub customer: String,
    pub payment: String,
    pub product: String,
    /// The bot that collects for this order, once there is one.
    bot: tokio::sync::OnceCell<String>,
}

fn id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Shopper {
    /// Opens a store, fills a basket, puts up the money.
    pub async fn new(stack: Arc<Stack>, brings: Brings) -> Self {
        let of = |reply: Reply| {
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.body["id"].as_str().expect("an id").to_owned()
        };
        let make = async |path: &str, body: Value| of(ask(&stack, Method::POST, path, Some(body)).await);
        let change =
            async |method: Method, path: &str, body: Value| of(ask(&stack, method, path, Some(body)).await);
        let store = make("/api/stores", json!({ "name": "Fruit & Veg", "location": "Hall 1" })).await;
        let product = json!({ "name": "Apple", "description": "", "sku": "A", "price": PRICE });
        let product = make(&format!("/api/stores/{store}/products"), product).await;
        change(Method::PUT, &format!("/api/stores/{store}/participating"), json!({})).await;
        let pieces = json!({ "quantity": brings.stocked });
        change(Method::POST, &format!("/api/inventory/{product}/add"), pieces).await;
        let customer = json!({ "name": "Ada", "smsNumber": "+1 555 0100" });
        let customer = make("/api/customers", customer).await;
        let order = make("/api/baskets", json!({ "customerId": customer })).await;
        let item = json!({ "productId": product, "quantity": ORDERED });
        change(Method::PUT, &format!("/api/baskets/{order}/addItem"), item).await;
        let payment = make("/api/payments", json!({ "customerId": customer, "amount": brings.money })).await;
        Self { stack, brings, order, customer, payment, product, bot: tokio::sync::OnceCell::new() }
    }

    pub async fn checks_out(&self) {
        let path = format!("/api/baskets/{}/checkout", self.order);
        let reply = self.put(&path, json!({ "paymentId": self.payment })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    pub fn list(&self) -> String {
        let order: OrderId = self.order.parse().expect("an order's id");
        shopping_list_of(order).to_string()
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        ask(&self.stack, Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        ask(&self.stack, Method::DELETE, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        ask(&self.stack, Method::POST, path, Some(body)).await
    }

    pub async fn cancels(&self) -> Reply {
        self.delete(&format!("/api/ordering/{}", self.order)).await
    }

    /// What a context says of something: the only member of its answer, or nothing.
    pub async fn shown(&self, path: &str) -> Option<Value> {
        let reply = self.stack.send(Method::GET, path, &[], None).await.ok()?;
        let members = reply.body.as_object()?;
        (reply.status == 200).then(|| members.values().find(|member| member.is_object()).cloned())?
    }

    pub async fn order_status(&self) -> String {
        let shown = self.shown(&format!("/api/ordering/{}", self.order)).await;
        shown.and_then(|order| order["status"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// A bot goes for what is ordered. What it is refused is seen in the list.
    pub async fn is_collected(&self) {
        let register = async || {
            let made = self.post("/api/depot/bots", json!({ "name": "Marvin" })).await;
            made.body["id"].as_str().unwrap_or_default().to_owned()
        };
        let bot = self.bot.get_or_init(register).await;
        let list = format!("/api/depot/shopping/{}", self.list());
        for step in ["assign", "start", "complete"] {
            let body = if step == "complete" { json!({}) } else { json!({ "botId": bot }) };
            if self.put(&format!("{list}/{step}"), body).await.status != 200 {
                return;
            }
        }
    }

    /// The customer pays, if there is anything to pay.
    pub async fn pays(&self) -> Reply {
        self.put(&format!("/api/payments/invoices/{}/pay", self.order), json!({})).await
    }

    /// Starts the saga once more: under the same name, and by the event that started it.
    pub async fn starts_again(&self) -> Result<(), String> {
        let sfn = self.stack.sfn();
        let machine = self.stack.output("OrderSagaArn");
        let execution = format!("{}:{}", machine.replace(":stateMachine:", ":execution:"), self.order);
        let first = sfn.describe_execution().execution_arn(&execution).send().await;
        let first = first.map_err(|e| format!("the saga is not there: {e:?}"))?;
        let again = sfn.start_execution().state_machine_arn(machine).name(&self.order);
        let again = again.input(first.input().unwrap_or_default()).send().await;
        // On AWS a second start with the same input answers with the first execution while that is running.
        if let Ok(started) = &again
            && started.execution_arn() != execution
        {
            return Err(format!("a second saga was started: {}", started.execution_arn()));
        }
        let stream = format!("ordering.Order/{}", self.order).parse().expect("a stream");
        let history = self.stack.events().history(&stream).await.map_err(|e| e.to_string())?;
        let created = history.iter().flat_map(|commit| commit.envelopes()).next();
        let created = created.ok_or("the order has no events")?;
        deliver(&self.stack, &created).await
    }

    /// What an operator does with a saga that is stuck.
    pub async fn is_compensated_by_hand(&self) -> Result<(), String> {
        let program = std::env::var("MALL_CLI").map_err(|_| "MALL_CLI is not set")?;
        let order = self.order.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(program);
            command.args(["saga", "compensate", &order, "--yes"]).stdin(Stdio::null()).output()
        });
        let ran = ran.await.expect("a thread").map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.success() { Ok(()) } else { Err(format!("`mall saga compensate` failed: {said}")) }
    }

    /// What an operator does with one that is stuck when the order is ready: `mall` refuses to undo what the customer can pay,
    /// and says that the order is to be cancelled first.
    pub async fn is_cancelled_by_hand(&self) -> Result<(), String> {
        match self.is_compensated_by_hand().await {
            Err(said) if said.contains("DELETE /api/ordering/") => {}
            other => return Err(format!("the operator was to be told to cancel the order: {other:?}")),
        }
        let reply = self.cancels().await;
        if reply.status == 200 { Ok(()) } else { Err(format!("cancelling by hand: {reply:?}")) }
    }

    /// Carries the order on as bots and its customer do, until its saga has ended and it is at an end itself. Says how the
    /// saga ended.
    pub async fn until_over(&self, pays: Pays<'_>, within: Duration) -> Result<String, String> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.order_status().await;
            match status.as_str() {
                "approved" => self.is_collected().await,
                "ready" if pays.now().await => drop(self.pays().await),
                _ => {}
            }
            let saga = self.stack.saga(&self.order).await.unwrap_or_default();
            let is_at_an_end = ["completed", "rejected", "cancelled"].contains(&status.as_str());
            if saga != "RUNNING" && (is_at_an_end || !saga.is_empty() && saga != "SUCCEEDED") {
                return Ok(saga);
            }
            if Instant::now() > deadline {
                return Err(format!("not over after {within:?}: the order is {status}, its saga {saga}"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Puts an event on the bus once more, as the relay does.
async fn deliver(stack: &Stack, event: &Envelope) -> Result<(), String> {
    let bus = aws_sdk_eventbridge::Client::new(&lambda::aws::config());
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(stack.output("EventBus"))
        .source(format!("mallard.{}", event.context()))
        .detail_type(&event.event_type)
        .detail(serde_json::to_string(event).map_err(|e| e.to_string())?)
        .build();
    let sent = bus.put_events().entries(entry).send().await.map_err(|e| format!("{e:?}"))?;
    if sent.failed_entry_count() == 0 { Ok(()) } else { Err(format!("the bus refused the event: {sent:?}")) }
}

/// A command; a fresh one, repeated until it is answered, and when it lost a race.
async fn ask(stack: &Stack, method: Method, path: &str, body: Option<Value>) -> Reply {
    let key = id();
    for _ in 0..CONTENDED {
        let (reply, _) = stack.insist(method.clone(), path, &key, body.clone()).await;
        if reply.body["code"] != "CONTENDED" {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{method} {path} was contended {CONTENDED} times");
}
