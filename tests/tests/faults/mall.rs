//! One order, with a store, a product, a customer and a payment of its own: so its stock and its money can be counted to
//! the last piece and the last cent.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use contracts::ids::{OrderId, shopping_list_of};
use reqwest::Method;
use serde_json::{Value, json};

use super::stack::{Reply, Stack};

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

/// Conduct of the people around an order, besides the bots that collect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum People {
    /// The customer pays as soon as there is an invoice.
    Pay,
    /// Nobody pays.
    Wait,
    /// When the order is approved, its customer cancels it, and an operator undoes it in the same moment.
    UndoTwice,
    /// The customer pays and cancels in the moment in which the time to pay is over.
    PayAndCancelAtTheDeadline,
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

    /// Starts another placement of the order, whatever became of it.
    pub async fn is_placed_again(&self) -> Result<(), String> {
        let stream = format!("ordering.Order/{}", self.order).parse().expect("a stream");
        let history = self.stack.events().history(&stream).await.map_err(|e| e.to_string())?;
        let created = history.iter().flat_map(|commit| commit.envelopes()).next();
        let created = created.ok_or("the order has no events")?;
        let data = created.data.unwrap_or_default();
        let input = json!({
            "orderId": self.order, "customerId": data["customerId"], "paymentId": data["paymentId"],
            "shoppingId": self.list(), "correlation": created.correlation, "causation": created.id, "trace": null,
        });
        let machine = self.stack.output("OrderPlacementArn");
        let start = self.stack.sfn().start_execution().state_machine_arn(machine);
        let started = start.name(format!("{}-{}", self.order, id())).input(input.to_string()).send().await;
        started.map(drop).map_err(|e| format!("no second placement: {e:?}"))
    }

    async fn is_undone_twice(&self) -> Result<(), String> {
        let path = format!("/api/sagas/{}/undo", self.order);
        let (cancelled, undone) = tokio::join!(self.cancels(), self.post(&path, json!({})));
        let heard = cancelled.status == 200 || undone.status == 200;
        if heard { Ok(()) } else { Err(format!("nobody could undo it: {cancelled:?}, {undone:?}")) }
    }

    /// Pays and cancels in the moment in which the invoice is overdue; reports that this moment came.
    async fn is_raced_for(&self) -> Result<bool, String> {
        let invoice = self.shown(&format!("/api/payments/invoices/{}", self.order)).await.unwrap_or_default();
        let Some(Ok(due)) = invoice["dueAt"].as_str().map(str::parse::<jiff::Timestamp>) else {
            return Ok(false);
        };
        let left = Duration::try_from(due.duration_since(jiff::Timestamp::now())).unwrap_or_default();
        if left > Duration::from_millis(500) {
            return Ok(false);
        }
        tokio::time::sleep(left).await;
        let chase = self.stack.run_scheduled("payments-chase-payments");
        let (_, _, chased) = tokio::join!(self.pays(), self.cancels(), chase);
        chased.map(|()| true)
    }

    /// Carries the order on as bots and people do, until its saga is at rest, and so is the order unless the
    /// saga is stuck. Gives the saga's status.
    pub async fn until_over(&self, people: People, within: Duration) -> Result<String, String> {
        let (path, deadline) = (format!("/api/sagas/{}", self.order), Instant::now() + within);
        let mut acted = false;
        loop {
            let status = self.order_status().await;
            match (status.as_str(), people) {
                ("approved", People::UndoTwice) if !acted => {
                    acted = true;
                    self.is_undone_twice().await?;
                }
                ("approved", _) => self.is_collected().await,
                ("ready", People::Pay) => drop(self.pays().await),
                ("ready", People::PayAndCancelAtTheDeadline) if !acted => acted = self.is_raced_for().await?,
                _ => {}
            }
            let is_over = ["completed", "rejected", "cancelled"].contains(&status.as_str());
            let saga = self.shown(&path).await.unwrap_or_default();
            match saga["status"].as_str().unwrap_or_default() {
                "stuck" => return Ok("stuck".to_owned()),
                saga @ ("succeeded" | "undone") if is_over => return Ok(saga.to_owned()),
                _ if Instant::now() > deadline => {
                    let saga = &saga["status"];
                    return Err(format!("not over after {within:?}: the order is {status}, its saga {saga}"));
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// Operates the mall with `mall`, as people do; gives its output.
pub async fn mall(arguments: &[&str]) -> Result<String, String> {
    let program = std::env::var("MALL_CLI").map_err(|_| "MALL_CLI is not set")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let ran = ran.await.expect("a thread").map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() {
        return Ok(text(&ran.stdout));
    }
    Err(format!("`mall {}`: {}{}", arguments.join(" "), text(&ran.stdout), text(&ran.stderr)))
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
