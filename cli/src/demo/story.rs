//! Two shoppers. Ada's payment covers her basket, Bob's does not.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
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
const PAYMENT: &str = "payments.Payment";

/// From the checkout to the end of the saga. Queues poll, functions start cold, and a message whose function was
/// busy comes back after its visibility time-out of a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// The read model follows the events within moments.
const VIEW: Duration = Duration::from_secs(60);

/// A product on a store's shelf.
struct Product {
    store: &'static str,
    name: &'static str,
    price: f64,
}

const BOOK: Product = Product { store: "Corner Books", name: "Domain-Driven Design", price: 54.90 };
const PEARS: Product = Product { store: "Green Grocer", name: "Conference pears", price: 3.20 };
const LAMP: Product = Product { store: "Bright Side", name: "Desk lamp", price: 39.00 };

/// The products that were put on shelves, by name.
type Shelves = HashMap<&'static str, Uuid>;

/// Opens a store for each of these products, which takes part and sells it.
async fn open_stores(api: &Api<'_>, products: &[Product]) -> Result<Shelves> {
    let mut shelves = Shelves::new();
    for Product { store, name, price } in products {
        let Done { id, .. } = api.post("/api/stores", json!({"name": store, "location": "Hall 1"})).await?;
        api.put(&format!("/api/stores/{id}/participating"), json!({})).await?;
        let product = json!({"name": name, "description": "", "sku": "", "price": price});
        let Done { id, .. } = api.post(&format!("/api/stores/{id}/products"), product).await?;
        shelves.insert(name, id);
    }
    Ok(shelves)
}

/// Pieces of a product, to put into a basket or take out.
fn pieces(shelves: &Shelves, product: &Product, quantity: u32) -> Value {
    json!({"productId": shelves[product.name], "quantity": quantity})
}

/// Both orders.
pub struct Told {
    pub approved: Order,
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
    pub events: usize,
    pub transitions: u32,
    /// From the checkout to the order's last event.
    pub took: Duration,
}

/// One shopper's plan.
struct Plan {
    shopper: &'static str,
    intention: &'static str,
    basket: &'static [(Product, u32)],
    /// Second thoughts: taken out again.
    removes: Option<(Product, u32)>,
    pays: f64,
    ends: &'static str,
}

/// Tells both stories.
pub async fn tell(api: &Api<'_>, watch: &Watch) -> Result<Told> {
    let ada = Plan {
        shopper: "Ada",
        intention: "Ada shops at two stores; her payment covers it",
        basket: &[(BOOK, 1), (PEARS, 4)],
        removes: Some((PEARS, 1)),
        pays: 80.00,
        ends: "approved",
    };
    let bob = Plan {
        shopper: "Bob",
        intention: "Bob authorizes 20.00 for a lamp of 39.00: his order has to be rejected, and undone",
        basket: &[(LAMP, 1)],
        removes: None,
        pays: 20.00,
        ends: "rejected",
    };
    ui::heading("Three stores open, take part in the mall and sell");
    let shelves = open_stores(api, &[BOOK, PEARS, LAMP]).await?;
    let approved = shop(api, watch, &shelves, ada).await?;
    Ok(Told { approved, rejected: shop(api, watch, &shelves, bob).await? })
}

async fn shop(api: &Api<'_>, watch: &Watch, shelves: &Shelves, plan: Plan) -> Result<Order> {
    watch.flush();
    ui::heading(format!("{} {}", plan.intention, ui::dim("(times are UTC)")));

    let customer = Uuid::now_v7();
    let Done { id: basket, .. } = api.post("/api/baskets", json!({"customerId": customer})).await?;
    watch.stream(BASKET, basket);
    // An order has the id of its basket.
    watch.stream(ORDER, basket);
    watch.saga(basket);
    for (product, quantity) in plan.basket {
        api.put(&format!("/api/baskets/{basket}/addItem"), pieces(shelves, product, *quantity)).await?;
    }
    if let Some((product, quantity)) = &plan.removes {
        let less = pieces(shelves, product, *quantity);
        api.put(&format!("/api/baskets/{basket}/removeItem"), less).await?;
    }
    let payment = api.post("/api/payments", json!({"customerId": customer, "amount": plan.pays})).await?;
    watch.stream(PAYMENT, payment.id);
    api.put(&format!("/api/baskets/{basket}/checkout"), json!({"paymentId": payment.id})).await?;

    let checked_out = Timestamp::now();
    until_saga_ends(watch, basket).await?;
    watch.flush();
    let (view, answer) = until_view_follows(api, customer, basket).await?;
    watch.flush();
    let status = view["status"].as_str().unwrap_or("unknown").to_owned();
    if status != plan.ends {
        return Err(Error::WrongEnd { shopper: plan.shopper, expected: plan.ends, found: status });
    }

    let all = [
        watch.events_of(BASKET, basket),
        watch.events_of(PAYMENT, payment.id),
        watch.events_of(ORDER, basket),
    ];
    let began =
        all[0].iter().find(|event| event.event_type == "BasketCheckedOut").map_or(checked_out, |e| e.at);
    let last = all[2].last();
    Ok(Order {
        shopper: plan.shopper,
        customer,
        order: basket,
        version: last.map_or(0, |event| event.version.get()),
        status,
        answer,
        events: all.iter().map(Vec::len).sum(),
        transitions: watch.saga_of(basket).transitions,
        took: last.and_then(|event| event.at.duration_since(began).try_into().ok()).unwrap_or_default(),
    })
}

/// Waits for the saga to end, and for the last event it caused.
async fn until_saga_ends(watch: &Watch, order: Uuid) -> Result<()> {
    let started = tokio::time::Instant::now();
    loop {
        let saga = watch.saga_of(order);
        if saga.ended.is_some() {
            // The saga is read after the streams, so one look more sees all that it did.
            return watch.look().await;
        }
        if started.elapsed() > PATIENCE {
            let last = match (watch.events_of(ORDER, order).last(), saga.state.as_str()) {
                (_, state) if !state.is_empty() => format!("the saga in {state}"),
                (Some(event), _) => event.event_type.clone(),
                (None, _) => "the checkout".into(),
            };
            return Err(Error::Waiting { what: "the end of the order saga".into(), limit: PATIENCE, last });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks the read model until the order is no longer pending there. Gives the order and the whole answer.
async fn until_view_follows(api: &Api<'_>, customer: Uuid, order: Uuid) -> Result<(Value, String)> {
    let started = tokio::time::Instant::now();
    loop {
        let (answer, text) = api.query(&format!("/api/orders?customerId={customer}")).await?;
        let orders = answer["orders"].as_array().cloned().unwrap_or_default();
        let ours = orders.into_iter().find(|view| view["id"].as_str() == Some(order.to_string().as_str()));
        match ours {
            Some(view) if view["status"] != "pending" => return Ok((view, text)),
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

/// What came of it: the read model's answers, and the table at the end.
pub fn sum_up(told: &Told) {
    for order in [&told.approved, &told.rejected] {
        ui::heading(format!("What the read model answers {}", order.shopper));
        ui::line(ui::dim(format!("  GET /api/orders?customerId={}", order.customer)));
        // Down to the lines of an order, each on one line.
        pretty(&order.answer, 4).lines().for_each(|line| ui::line(format!("  {line}")));
    }
    ui::heading("What happened");
    let mut rows = vec![
        ["shopper", "order", "status", "events", "saga transitions", "checkout to end"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for order in [&told.approved, &told.rejected] {
        rows.push(vec![
            order.shopper.into(),
            order.order.to_string(),
            order.status.clone(),
            order.events.to_string(),
            order.transitions.to_string(),
            ui::duration(order.took),
        ]);
    }
    ui::table(&rows).into_iter().for_each(ui::line);
}
