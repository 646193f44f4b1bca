//! Whole orders, over HTTP, and nothing else: what is counted is theirs.
//!
//! Whether something has come about is looked up in the event table from outside, which is nobody's bill.

use std::{path::Path, rc::Rc, time::Duration};

use contracts::ids::{OrderId, shopping_list_of};
use event_store::{CommitLog, DynamoLog};
use kernel::{StreamId, Version};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::{
    cloud,
    errors::{Error, Result},
    stack::Stack,
    target::Target,
    ui,
};

/// A function's first start on a busy machine takes seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// For anything that follows by events, a message that comes back after its visibility time-out included.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(60);
/// After a look that showed the last events of an order: what is not waited for, such as lists, has come about by then.
const REST: Duration = Duration::from_millis(500);
/// The cloud is quiet when its meter has stood still for so long. Longer than anything that works without
/// being asked, and shorter than the minute between two runs of a scheduled function.
const QUIET: Duration = Duration::from_secs(4);
/// A request that met a bad moment is sent again so often, with its key.
const ATTEMPTS: u32 = 5;

/// Stores that an order may shop at, for one product in each.
pub const STORES: u16 = 10;
/// Pieces of each product in a basket.
pub const PIECES: u32 = 2;
const PRICE: f64 = 12.50;
/// Pieces on the shelf: enough for any run, and never low.
const STOCK: u32 = 1_000_000;
/// Workers at most.
pub const WORKERS: u16 = 16;

/// A mall with stock, and who shops in it.
pub struct Mall {
    client: Client,
    base: String,
    log: DynamoLog,
    workers: Vec<Worker>,
}

/// A customer and a bot, who are busy with one order at a time.
#[derive(Debug, Clone)]
struct Worker {
    customer: Uuid,
    bot: Uuid,
    stores: Vec<Uuid>,
    products: Vec<Uuid>,
}

/// Something that a shopper looks at.
pub struct Look {
    pub name: &'static str,
    pub path: String,
    /// How often it is looked at for one order.
    pub times: u32,
}

impl Mall {
    /// Opens stores, puts products on their shelves, registers customers and bots: what orders need and do not pay for.
    /// Baskets will have `products`, each of a store of its own. Every worker has other products, so that orders at the same time do
    /// not wait for each other's stock.
    pub async fn open(target: &Target, stack: &Stack, workers: u16, products: u16) -> Result<Self> {
        let client = Client::builder().timeout(LIMIT).no_proxy().build();
        let client = client.map_err(|e| Error::Http { request: stack.api.clone(), why: cloud::plain(&e) })?;
        let dynamodb = aws_sdk_dynamodb::Client::new(&target.sdk().await);
        let log = DynamoLog::new(dynamodb, stack.output("EventTable")?);
        let mut mall = Self { client, base: stack.api.clone(), log, workers: Vec::new() };
        let mut stores = Vec::new();
        for number in 1..=products {
            let body = json!({"name": format!("Store {number}"), "location": format!("Level {number}")});
            let store = mall.create("/api/stores", body).await?;
            mall.put(&format!("/api/stores/{store}/participating"), json!({})).await?;
            stores.push(store);
        }
        for number in 1..=workers {
            let mut products = Vec::new();
            for store in &stores {
                let body = json!({
                    "name": format!("A thing of store shelf {number}"), "description": "As good as any other of its kind",
                    "sku": format!("SKU-{number:04}"), "price": PRICE,
                });
                let product = mall.create(&format!("/api/stores/{store}/products"), body).await?;
                // The inventory has to have heard of it.
                let path = format!("/api/inventory/{product}/add");
                mall.on_news(Method::POST, &path, json!({ "quantity": STOCK })).await?;
                products.push(product);
            }
            let name = json!({"name": format!("Customer {number}"), "smsNumber": format!("+44 20 7946 {number:04}")});
            let customer = mall.create("/api/customers", name).await?;
            let bot = mall.create("/api/depot/bots", json!({"name": format!("Bot {number}")})).await?;
            mall.workers.push(Worker { customer, bot, stores: stores.clone(), products });
        }
        Ok(mall)
    }

    /// So many orders from basket to completion, `at_once` of them at a time.
    pub async fn take_orders(self: &Rc<Self>, orders: u32, at_once: u16, title: &str) -> Result<Vec<Uuid>> {
        let task = ui::task(title);
        let next = Rc::new(std::cell::Cell::new(0));
        let mut taken = JoinSet::new();
        for number in 0..usize::from(at_once).min(self.workers.len()) {
            let (mall, worker, next) = (self.clone(), self.workers[number].clone(), next.clone());
            taken.spawn_local(async move {
                let mut ids = Vec::new();
                while next.get() < orders {
                    next.set(next.get() + 1);
                    ids.push(mall.take_order(&worker).await?);
                }
                Ok::<_, Error>(ids)
            });
        }
        let mut ids = Vec::new();
        while let Some(worked) = taken.join_next().await {
            // One that panicked is a bug of ours and is shown as one.
            let worked = worked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
            ids.extend(worked?);
            task.at(&format!("{} of {orders}", next.get()));
        }
        drop(task);
        Ok(ids)
    }

    /// One order, whole. Its id.
    async fn take_order(&self, worker: &Worker) -> Result<Uuid> {
        let basket = self.create("/api/baskets", json!({ "customerId": worker.customer })).await?;
        for product in &worker.products {
            let item = json!({"productId": product, "quantity": PIECES});
            self.on_news(Method::PUT, &format!("/api/baskets/{basket}/addItem"), item).await?;
        }
        let total: f64 = worker.products.iter().map(|_| PRICE * f64::from(PIECES)).sum();
        let authorized = json!({"customerId": worker.customer, "amount": total});
        let payment = self.create("/api/payments", authorized).await?;
        self.put(&format!("/api/baskets/{basket}/checkout"), json!({ "paymentId": payment })).await?;
        self.until("ordering.Order", basket, "OrderApproved").await?;
        // A bot looks into its queue once, and collects.
        self.get("/api/depot/shopping/available?limit=10").await?;
        let list = shopping_list_of(OrderId::new(basket)).uuid();
        let list = format!("/api/depot/shopping/{list}");
        self.put(&format!("{list}/assign"), json!({ "botId": worker.bot })).await?;
        self.put(&format!("{list}/start"), json!({})).await?;
        self.put(&format!("{list}/complete"), json!({})).await?;
        self.until("payments.Invoice", basket, "InvoiceCreated").await?;
        // An invoice has the id of its order.
        self.put(&format!("/api/payments/invoices/{basket}/pay"), json!({})).await?;
        self.until("ordering.Order", basket, "OrderCompleted").await?;
        self.until("payments.Payment", payment, "PaymentCaptured").await?;
        self.until("depot.Bot", worker.bot, "BotIdled").await?;
        tokio::time::sleep(REST).await;
        Ok(basket)
    }

    /// What a shopper looks at around an order, and how often: the mall once, every store's shelf and a product at each, the basket
    /// before the checkout; the order until it is approved, when it is ready and at the end, its timeline and the invoice once, and
    /// the list of all orders.
    pub fn looks(&self, order: Uuid) -> Vec<Look> {
        let Some(worker) = self.workers.first() else { return Vec::new() };
        let (store, product, customer) = (worker.stores[0], worker.products[0], worker.customer);
        let stores = u32::try_from(worker.stores.len()).unwrap_or(u32::MAX);
        let look = |name, path, times| Look { name, path, times };
        vec![
            look("the mall's stores", "/api/stores/participating?limit=20".into(), 1),
            look("a store's shelf", format!("/api/stores/{store}/products?limit=20"), stores),
            look("a product", format!("/api/stores/products/{product}"), stores),
            look("the basket", format!("/api/baskets/{order}"), 1),
            look("the order, as it is now", format!("/api/ordering/{order}"), 4),
            look("the order's timeline", format!("/api/orders/{order}/timeline"), 1),
            look("the invoice", format!("/api/payments/invoices/{order}"), 1),
            look("the customer's orders", format!("/api/orders?customerId={customer}&limit=20"), 1),
        ]
    }

    /// Looks so often.
    pub async fn look(&self, look: &Look, times: u32) -> Result<()> {
        for _ in 0..times {
            self.get(&look.path).await?;
        }
        Ok(())
    }

    async fn create(&self, path: &str, body: Value) -> Result<Uuid> {
        let answer = self.send(Method::POST, path, Some(body)).await?;
        let id = answer["id"].as_str().and_then(|id| id.parse().ok());
        let request = format!("POST {path}");
        id.ok_or_else(|| Error::Unexpected { request, expected: "an id", body: answer.to_string() })
    }

    async fn put(&self, path: &str, body: Value) -> Result<Value> {
        self.send(Method::PUT, path, Some(body)).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// A command on what another context was told a moment ago.
    async fn on_news(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let began = Instant::now();
        loop {
            match self.send(method.clone(), path, Some(body.clone())).await {
                Err(Error::Refused { status: 404, .. }) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer,
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = format!("{method} {path}");
        let key = Uuid::now_v7().to_string();
        let failed = |e: reqwest::Error| Error::Http { request: request.clone(), why: cloud::plain(&e) };
        for attempt in 1.. {
            let mut call = self.client.request(method.clone(), format!("{}{path}", self.base));
            if method != Method::GET {
                call = call.header("idempotency-key", &key);
            }
            if let Some(body) = &body {
                call = call.json(body);
            }
            let answer = call.send().await.map_err(failed)?;
            let status = answer.status().as_u16();
            let text = answer.text().await.map_err(failed)?;
            let again = matches!(status, 429 | 502..=504) || (status == 409 && text.contains("CONTENDED"));
            if status == 200 {
                return Ok(serde_json::from_str(&text).unwrap_or_else(|_| json!(text)));
            }
            if !again || attempt >= ATTEMPTS {
                return Err(Error::Refused { request, status, said: text });
            }
            tokio::time::sleep(LOOK * attempt).await;
        }
        Err(Error::Refused { request, status: 0, said: "never answered".into() })
    }

    /// Waits until the newest commit of a stream has an event of a type.
    async fn until(&self, category: &str, id: Uuid, event_type: &str) -> Result<()> {
        let failed = |why: String| Error::Aws { operation: "reading the event table", why };
        let stream: StreamId = format!("{category}/{id}")
            .parse()
            .map_err(|e: kernel::stream::StreamIdError| failed(e.to_string()))?;
        let began = Instant::now();
        loop {
            let newest = Version::new(u64::MAX);
            let page = self.log.newest(&stream, newest, Some(1)).await.map_err(|e| failed(e.to_string()))?;
            let seen: Vec<String> =
                page.commits.iter().flat_map(|commit| commit.envelopes()).map(|e| e.event_type).collect();
            if seen.iter().any(|seen| seen == event_type) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let last = format!("{} in {stream}", seen.last().map_or("nothing", String::as_str));
                return Err(Error::Waiting { what: event_type.to_owned(), limit: PATIENCE, last });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until nothing is counted any more.
pub async fn until_quiet(meter: &Path) -> Result<()> {
    let length =
        || std::fs::metadata(meter).map(|file| file.len()).map_err(Error::file("cannot read", meter));
    let (mut before, mut since, began) = (length()?, Instant::now(), Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(LOOK).await;
        let now = length()?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
        if began.elapsed() > PATIENCE {
            let what = "that the cloud came to rest".into();
            return Err(Error::Waiting { what, limit: PATIENCE, last: "still at work".into() });
        }
    }
    Ok(())
}
