//! Two shoppers. Ada's order goes all the way: it is approved, a bot collects it, she pays, and the goods are hers. Bob's
//! payment does not cover his lamp: his order is rejected, and all that was done for it is undone.

use std::time::Duration;

use contracts::ids::{OrderId, shopping_list_of};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    api::{Api, Done, pretty},
    watch::Watch,
};
use crate::{
    errors::{Error, Result},
    ui,
};

const BASKET: &str = "baskets.Basket";
const ORDER: &str = "ordering.Order";
const SAGA: &str = "ordering.Saga";
const PAYMENT: &str = "payments.Payment";
const INVOICE: &str = "payments.Invoice";
const LIST: &str = "depot.ShoppingList";
const BOT: &str = "depot.Bot";
const STOCK: &str = "inventory.StockItem";

/// For anything that follows by events. Queues poll, functions start cold, and a message whose function was busy comes back
/// after its visibility time-out of a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// A read model follows the events within moments.
const VIEW: Duration = Duration::from_secs(60);

/// Pages that are looked through for a shopping list.
const PAGES: usize = 20;

/// A product on a store's shelf.
struct Product {
    id: Uuid,
    name: &'static str,
    /// What Ada, or Bob, finds there.
    stock: Stock,
}

/// How many pieces there are of a product, as the inventory shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    pub on_hand: u64,
    pub reserved: u64,
}

impl Stock {
    fn shown(self) -> String {
        format!("{} on hand, {} reserved", self.on_hand, self.reserved)
    }
}

/// A product's stock through an order.
pub struct Shelf {
    pub product: &'static str,
    pub before: Stock,
    pub after: Stock,
}

/// Both orders.
pub struct Told {
    pub completed: Order,
    pub rejected: Order,
}

/// What became of a shopper.
pub struct Order {
    pub shopper: &'static str,
    pub customer: Uuid,
    pub order: Uuid,
    /// The order's version at the end.
    pub version: u64,
    pub status: String,
    /// What the read model answers when asked for the customer's orders.
    pub answer: String,
    pub shelves: Vec<Shelf>,
    pub events: usize,
    /// From the checkout to the last event of the order and its saga.
    pub took: Duration,
}

/// A shopper after the checkout.
struct CheckedOut<'a> {
    shopper: &'static str,
    customer: Uuid,
    order: Uuid,
    payment: Uuid,
    list: Uuid,
    products: Vec<&'a Product>,
    at: Timestamp,
}

/// Tells both stories.
pub async fn tell(api: &Api<'_>, watch: &Watch) -> Result<Told> {
    heading(watch, "Three stores open, and stock what they sell");
    let book = sell(api, watch, "Corner Books", "Level 1", "Domain-Driven Design", 54.90, 5).await?;
    let pears = sell(api, watch, "Green Grocer", "Level 0", "Conference pears", 3.20, 40).await?;
    let lamp = sell(api, watch, "Bright Side", "Level 2", "Desk lamp", 39.00, 3).await?;
    watch.let_go();

    heading(watch, "Ada shops at two stores; her payment covers it");
    let ada = register(api, "Ada Lovelace", "+44 20 7946 0001").await?;
    let Done { id: basket, .. } = api.post("/api/baskets", json!({ "customerId": ada })).await?;
    follow(watch, basket, &[&book, &pears]);
    add(api, basket, &book, 1).await?;
    add(api, basket, &pears, 4).await?;
    // Second thoughts.
    let less = json!({"productId": pears.id, "quantity": 1});
    api.put(&format!("/api/baskets/{basket}/removeItem"), less).await?;
    let order = check_out(api, watch, "Ada", ada, basket, 80.00, vec![&book, &pears]).await?;
    until_any(watch, &[(ORDER, "OrderApproved"), (ORDER, "OrderRejected")], basket).await?;
    expect(watch, ORDER, basket, "OrderApproved", order.shopper, "approved")?;

    heading(watch, "A bot takes the list from the work queue and collects it");
    let Done { id: bot, .. } = api.post("/api/depot/bots", json!({"name": "Marvin"})).await?;
    watch.stream(BOT, bot);
    until_available(api, order.list).await?;
    let list = format!("/api/depot/shopping/{}", order.list);
    api.put(&format!("{list}/assign"), json!({ "botId": bot })).await?;
    api.put(&format!("{list}/start"), json!({})).await?;
    api.put(&format!("{list}/complete"), json!({})).await?;
    until_event(watch, ORDER, basket, "OrderReadied").await?;
    until_event(watch, INVOICE, basket, "InvoiceCreated").await?;
    until_event(watch, BOT, bot, "BotIdled").await?;

    heading(watch, "Ada pays her invoice");
    // An invoice has the id of its order.
    api.put(&format!("/api/payments/invoices/{basket}/pay"), json!({})).await?;
    until_event(watch, ORDER, basket, "OrderCompleted").await?;
    until_event(watch, PAYMENT, order.payment, "PaymentCaptured").await?;
    for product in &order.products {
        until_event(watch, STOCK, product.id, "StockReduced").await?;
    }
    let mut completed = sum(api, watch, &order, "completed").await?;
    completed.events += watch.events_of(BOT, bot).len();
    watch.let_go();

    heading(watch, "Bob authorizes 20.00 for a lamp of 39.00: his order has to be rejected, and undone");
    let bob = register(api, "Bob Tables", "+44 20 7946 0002").await?;
    let Done { id: basket, .. } = api.post("/api/baskets", json!({ "customerId": bob })).await?;
    follow(watch, basket, &[&lamp]);
    add(api, basket, &lamp, 1).await?;
    let order = check_out(api, watch, "Bob", bob, basket, 20.00, vec![&lamp]).await?;
    // An undo records its end after all its steps. An order that is approved by mistake is not undone.
    until_any(watch, &[(SAGA, "SagaUndoEnded"), (ORDER, "OrderApproved")], basket).await?;
    // Streams are read one after the other: one look more sees all that came before the end.
    watch.look().await?;
    expect(watch, ORDER, basket, "OrderRejected", order.shopper, "rejected")?;
    expect(watch, STOCK, lamp.id, "InventoryReleased", order.shopper, "rejected, and his lamp given back")?;
    expect(
        watch,
        LIST,
        order.list,
        "ShoppingListCanceled",
        order.shopper,
        "rejected, and his list cancelled",
    )?;
    expect(
        watch,
        PAYMENT,
        order.payment,
        "PaymentReleased",
        order.shopper,
        "rejected, and his payment released",
    )?;
    let rejected = sum(api, watch, &order, "rejected").await?;
    Ok(Told { completed, rejected })
}

fn heading(watch: &Watch, text: &str) {
    watch.flush();
    ui::heading(format!("{text} {}", ui::dim("(times are UTC)")));
}

/// Opens a store that sells one product, of which so many pieces come in.
async fn sell(
    api: &Api<'_>,
    watch: &Watch,
    store: &'static str,
    location: &'static str,
    product: &'static str,
    price: f64,
    pieces: u64,
) -> Result<Product> {
    let Done { id, .. } = api.post("/api/stores", json!({"name": store, "location": location})).await?;
    api.put(&format!("/api/stores/{id}/participating"), json!({})).await?;
    let body = json!({"name": product, "description": "", "sku": "", "price": price});
    let Done { id: product_id, .. } = api.post(&format!("/api/stores/{id}/products"), body).await?;
    watch.stream(STOCK, product_id);
    let more = json!({ "quantity": pieces });
    api.on_news(Method::POST, &format!("/api/inventory/{product_id}/add"), more).await?;
    until_event(watch, STOCK, product_id, "StockAdded").await?;
    let stock = stock(api, product_id).await?;
    Ok(Product { id: product_id, name: product, stock })
}

async fn register(api: &Api<'_>, name: &str, sms_number: &str) -> Result<Uuid> {
    Ok(api.post("/api/customers", json!({"name": name, "smsNumber": sms_number})).await?.id)
}

/// Follows a basket, and what will come of it: an order has the id of its basket, an invoice that of its order.
fn follow(watch: &Watch, basket: Uuid, products: &[&Product]) {
    watch.stream(BASKET, basket);
    watch.stream(ORDER, basket);
    watch.stream(SAGA, basket);
    watch.stream(LIST, list_of(basket));
    watch.stream(INVOICE, basket);
    products.iter().for_each(|product| watch.stream(STOCK, product.id));
}

fn list_of(order: Uuid) -> Uuid {
    shopping_list_of(OrderId::new(order)).uuid()
}

async fn add(api: &Api<'_>, basket: Uuid, product: &Product, quantity: u32) -> Result<Done> {
    let item = json!({"productId": product.id, "quantity": quantity});
    api.on_news(Method::PUT, &format!("/api/baskets/{basket}/addItem"), item).await
}

async fn check_out<'a>(
    api: &Api<'_>,
    watch: &Watch,
    shopper: &'static str,
    customer: Uuid,
    basket: Uuid,
    pays: f64,
    products: Vec<&'a Product>,
) -> Result<CheckedOut<'a>> {
    let payment = api.post("/api/payments", json!({"customerId": customer, "amount": pays})).await?.id;
    watch.stream(PAYMENT, payment);
    api.put(&format!("/api/baskets/{basket}/checkout"), json!({ "paymentId": payment })).await?;
    let (list, at) = (list_of(basket), Timestamp::now());
    Ok(CheckedOut { shopper, customer, order: basket, payment, list, products, at })
}

/// What is on the shelf now, as the inventory shows it.
async fn stock(api: &Api<'_>, product: Uuid) -> Result<Stock> {
    let path = format!("/api/inventory/{product}");
    let (answer, text) = api.query(&path).await?;
    stock_in(&answer["stock"]).ok_or(Error::Unexpected {
        request: format!("GET {path}"),
        expected: "pieces on hand and reserved",
        body: text,
    })
}

fn stock_in(shown: &Value) -> Option<Stock> {
    Some(Stock { on_hand: shown["onHand"].as_u64()?, reserved: shown["reserved"].as_u64()? })
}

/// Waits until a list is in the bots' work queue.
async fn until_available(api: &Api<'_>, list: Uuid) -> Result<()> {
    let started = tokio::time::Instant::now();
    while !is_available(api, list).await? {
        if started.elapsed() > VIEW {
            let what = "the shopping list's arrival in the work queue".into();
            return Err(Error::Waiting { what, limit: VIEW, last: "other lists, or none".into() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn is_available(api: &Api<'_>, list: Uuid) -> Result<bool> {
    let mut cursor = String::new();
    for _ in 0..PAGES {
        let (answer, _) = api.query(&format!("/api/depot/shopping/available?limit=50{cursor}")).await?;
        let lists = answer["shoppingLists"].as_array().map(Vec::as_slice).unwrap_or_default();
        if lists.iter().any(|row| row["id"].as_str() == Some(list.to_string().as_str())) {
            return Ok(true);
        }
        match answer["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(false),
        }
    }
    Ok(false)
}

/// Waits until an event is seen in a stream that is followed.
async fn until_event(watch: &Watch, category: &str, id: Uuid, event_type: &str) -> Result<()> {
    until_any(watch, &[(category, event_type)], id).await
}

/// Waits until one of several events is seen, in streams with the same id.
async fn until_any(watch: &Watch, events: &[(&str, &str)], id: Uuid) -> Result<()> {
    let started = tokio::time::Instant::now();
    while !events.iter().any(|(category, event_type)| has(watch, category, id, event_type)) {
        if started.elapsed() > PATIENCE {
            let category = events.first().map_or(ORDER, |(category, _)| category);
            let last = watch.events_of(category, id).last().map(|event| event.event_type.clone());
            let wanted: Vec<&str> = events.iter().map(|(_, event_type)| *event_type).collect();
            return Err(Error::Waiting {
                what: wanted.join(" or "),
                limit: PATIENCE,
                last: last.unwrap_or_else(|| format!("no event in {category}/{id}")),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn has(watch: &Watch, category: &str, id: Uuid, event_type: &str) -> bool {
    watch.events_of(category, id).iter().any(|event| event.event_type == event_type)
}

/// Checks that the saga caused an event, once it is over.
fn expect(
    watch: &Watch,
    category: &str,
    id: Uuid,
    event_type: &str,
    shopper: &'static str,
    expected: &'static str,
) -> Result<()> {
    if has(watch, category, id, event_type) {
        return Ok(());
    }
    let found = watch.events_of(category, id).last().map_or_else(
        || format!("not: {category}/{id} has no events"),
        |event| format!("not: {} is the last event of {category}/{id}", event.event_type),
    );
    Err(Error::WrongEnd { shopper, expected, found })
}

/// What became of an order that is at its end.
async fn sum(api: &Api<'_>, watch: &Watch, order: &CheckedOut<'_>, ends: &'static str) -> Result<Order> {
    let (view, answer) = until_view_follows(api, order.customer, order.order, ends).await?;
    watch.flush();
    let status = view["status"].as_str().unwrap_or("unknown").to_owned();
    if status != ends {
        return Err(Error::WrongEnd { shopper: order.shopper, expected: ends, found: status });
    }
    let mut shelves = Vec::new();
    for product in &order.products {
        let after = stock(api, product.id).await?;
        shelves.push(Shelf { product: product.name, before: product.stock, after });
    }
    let mut streams = vec![
        watch.events_of(BASKET, order.order),
        watch.events_of(ORDER, order.order),
        watch.events_of(SAGA, order.order),
        watch.events_of(PAYMENT, order.payment),
        watch.events_of(INVOICE, order.order),
        watch.events_of(LIST, order.list),
    ];
    // Of the stock only what the order did to it: it was put there before.
    let of_this_order = json!(order.order.to_string());
    streams.extend(order.products.iter().map(|product| {
        let mut events = watch.events_of(STOCK, product.id);
        events.retain(|event| event.data.as_ref().is_some_and(|data| data["orderId"] == of_this_order));
        events
    }));
    let began =
        streams[0].iter().find(|event| event.event_type == "BasketCheckedOut").map_or(order.at, |e| e.at);
    let last = streams[1].last();
    // The undo of an order goes on after the order's last event.
    let end = streams[1].iter().chain(&streams[2]).map(|event| event.at).max();
    Ok(Order {
        shopper: order.shopper,
        customer: order.customer,
        order: order.order,
        version: last.map_or(0, |event| event.version.get()),
        status,
        answer,
        shelves,
        events: streams.iter().map(Vec::len).sum(),
        took: end.and_then(|end| end.duration_since(began).try_into().ok()).unwrap_or_default(),
    })
}

/// Asks the read model until the order is at an end there, and that is the right one or will not change any more. Gives the
/// order and the whole answer.
async fn until_view_follows(
    api: &Api<'_>,
    customer: Uuid,
    order: Uuid,
    ends: &str,
) -> Result<(Value, String)> {
    let started = tokio::time::Instant::now();
    loop {
        let (answer, text) = api.query(&format!("/api/orders?customerId={customer}")).await?;
        let orders = answer["orders"].as_array().cloned().unwrap_or_default();
        let ours = orders.into_iter().find(|view| view["id"].as_str() == Some(order.to_string().as_str()));
        match ours {
            Some(view) if view["status"] == ends => return Ok((view, text)),
            Some(view) if matches!(view["status"].as_str(), Some("rejected" | "cancelled" | "completed")) => {
                return Ok((view, text));
            }
            seen if started.elapsed() > VIEW => {
                let last = seen.map_or_else(|| "no such order".into(), |view| view.to_string());
                return Err(Error::Waiting {
                    what: "the order's end in the read model".into(),
                    limit: VIEW,
                    last,
                });
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What came of it: the read model's answers, and the tables at the end.
pub fn sum_up(told: &Told) {
    let orders = [&told.completed, &told.rejected];
    for order in orders {
        ui::heading(format!("What the read model answers {}", order.shopper));
        ui::line(ui::dim(format!("  GET /api/orders?customerId={}", order.customer)));
        // Down to the lines of an order, each on one line.
        pretty(&order.answer, 4).lines().for_each(|line| ui::line(format!("  {line}")));
    }
    ui::heading("What was in stock");
    let mut rows = vec![["product", "wanted by", "before", "after"].map(str::to_owned).to_vec()];
    for order in orders {
        rows.extend(order.shelves.iter().map(|Shelf { product, before, after }| {
            vec![(*product).into(), order.shopper.into(), before.shown(), after.shown()]
        }));
    }
    ui::table(&rows).into_iter().for_each(ui::line);
    ui::heading("What happened");
    let mut rows =
        vec![["shopper", "order", "status", "events", "checkout to end"].map(str::to_owned).to_vec()];
    for order in orders {
        rows.push(vec![
            order.shopper.into(),
            order.order.to_string(),
            order.status.clone(),
            order.events.to_string(),
            ui::duration(order.took),
        ]);
    }
    ui::table(&rows).into_iter().for_each(ui::line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_that_is_not_counted_is_not_taken_for_none() {
        let shown = json!({"onHand": 5, "reserved": 1, "available": 4});
        assert_eq!(stock_in(&shown), Some(Stock { on_hand: 5, reserved: 1 }));
        assert_eq!(stock_in(&json!({"tracked": false})), None);
        assert_eq!(stock_in(&Value::Null), None);
    }

    #[test]
    fn an_order_and_its_list_find_each_other_without_being_told() {
        let order = Uuid::from_u128(7);
        assert_eq!(list_of(order), list_of(order));
        assert_ne!(list_of(order), list_of(Uuid::from_u128(8)));
    }
}
