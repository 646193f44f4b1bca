//! A client: does over HTTP what comes to its mind.

use std::{rc::Rc, time::Duration};

use kernel::Money;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    http::No,
    ledger::Ended,
    mind::{Mind, NewProduct, Pick, Plan, Visit},
    operations::{
        ADD_ITEM, ADD_PRODUCT, ADD_STOCK, AUTHORIZE, CANCEL_BASKET, CHECKOUT, CREATE_STORE, DECREASE_PRICE,
        GET_BASKET, INCREASE_PRICE, LIST_PRODUCTS, PARTICIPATE, PRICES_HAVE_RISEN, REBRAND_PRODUCT,
        REBRAND_STORE, REGISTER, REMOVE_ITEM, START_BASKET,
    },
    world::{Phase, World, amount, id_of, shown},
};

/// Products of a store that a shopper sees.
const SHELF: u32 = 20;
/// Who pays too little puts up no more than this, in cents: less than anything costs after a change of its price.
const SHORT: i64 = 100;
/// Prices may rise between the look into the basket and the checkout; not for ever.
const CHECKOUTS: usize = 4;
/// The stock of a product can be counted when the news of the product has come: so often is it tried, and so long apart.
const NEWS: (u32, Duration) = (40, Duration::from_millis(250));

/// See the module.
pub struct Client {
    world: Rc<World>,
    mind: Mind,
    customer: Option<Uuid>,
}

impl Client {
    pub fn new(world: Rc<World>, mind: Mind) -> Self {
        Self { world, mind, customer: None }
    }

    /// Goes on until shopping is over.
    pub async fn run(mut self) {
        while self.world.is_at(Phase::Shopping) {
            // Who is nobody yet becomes somebody first.
            let plan = if self.customer.is_none() { self.mind.account() } else { self.mind.next() };
            self.perform(plan).await;
            let pause = self.mind.pause(&self.world.pause);
            self.world.wait(Duration::from_millis(pause)).await;
        }
    }

    /// Sets up a store; gives its id, if that could be done.
    pub async fn open_store(&mut self) -> Option<Uuid> {
        match self.mind.store() {
            Plan::OpenStore { name, location, products } => {
                self.set_up(&name, &location, &products).await.ok().map(|(store, _)| store)
            }
            _ => None,
        }
    }

    /// The ids of what stands on a store's shelf, with the rows as they were listed.
    pub async fn shelf(&self, store: Uuid) -> Result<Vec<(Uuid, Value)>, No> {
        let (rows, _) = self.world.api.list(&LIST_PRODUCTS, store, SHELF, None).await?;
        Ok(rows.into_iter().filter_map(|row| Some((id_of(&row)?, row))).collect())
    }

    async fn perform(&mut self, plan: Plan) {
        let may_buy = !matches!(plan, Plan::Buy { .. }) || self.world.orders.take();
        let plan = if may_buy { plan } else { plan.only_looking() };
        let behaviour = plan.behaviour();
        self.world.api.ledger.borrow_mut().began(behaviour);
        let buys = matches!(plan, Plan::Buy { .. });
        let ended = match self.carry_out(plan).await {
            Ok(ended) => ended,
            Err(No::Refused(code)) => Ended::GaveUp(code),
            Err(No::Failed) => Ended::Failed,
        };
        if buys && ended != Ended::Completed {
            self.world.orders.give_back();
        }
        self.world.api.ledger.borrow_mut().ended(behaviour, ended);
    }

    async fn carry_out(&mut self, plan: Plan) -> Result<Ended, No> {
        let api = &self.world.api;
        match plan {
            Plan::Browse { visits } => {
                let (basket, _) = self.fill_basket(&visits).await?;
                api.command(&CANCEL_BASKET, basket, Value::Null).await?;
                Ok(Ended::Completed)
            }
            Plan::Buy { visits, second_thoughts, short } => self.buy(&visits, second_thoughts, short).await,
            Plan::Register { name, sms_number } => {
                let body = json!({"name": name, "smsNumber": sms_number});
                self.customer = Some(api.create(&REGISTER, Uuid::nil(), body).await?);
                Ok(Ended::Completed)
            }
            Plan::OpenStore { name, location, products } => {
                self.set_up(&name, &location, &products).await.map(|(_, ended)| ended)
            }
            Plan::AddProducts { store, products } => match self.some_store(store).await? {
                Some(store) => self.add_products(store, &products).await,
                None => Ok(no_store()),
            },
            Plan::RebrandStore { store, name } => match self.some_store(store).await? {
                Some(store) => {
                    api.command(&REBRAND_STORE, store, json!({ "name": name })).await?;
                    Ok(Ended::Completed)
                }
                None => Ok(no_store()),
            },
            Plan::RebrandProduct { store, product, name, description } => {
                let Some((product, _)) = self.some_product(store, product).await? else {
                    return Ok(empty_shelf());
                };
                let body = json!({"name": name, "description": description});
                api.command(&REBRAND_PRODUCT, product, body).await?;
                Ok(Ended::Completed)
            }
            Plan::ChangePrice { store, product, price } => {
                let Some((product, row)) = self.some_product(store, product).await? else {
                    return Ok(empty_shelf());
                };
                let rises = amount(&row["price"]).is_none_or(|listed| price.covers(listed));
                let operation = if rises { &INCREASE_PRICE } else { &DECREASE_PRICE };
                api.command(operation, product, json!({ "price": shown(price) })).await?;
                Ok(Ended::Completed)
            }
        }
    }

    async fn buy(&self, visits: &[Visit], second_thoughts: Option<Pick>, short: bool) -> Result<Ended, No> {
        let api = &self.world.api;
        let (basket, taken) = self.fill_basket(visits).await?;
        if let Some(product) = second_thoughts.and_then(|pick| pick.of(&taken)) {
            let less = json!({"productId": product, "quantity": 1});
            tolerate(api.command(&REMOVE_ITEM, basket, less).await)?;
        }
        let Some(mut total) = self.total(basket).await? else {
            api.command(&CANCEL_BASKET, basket, Value::Null).await?;
            return Ok(Ended::GaveUp("nothing in the basket".into()));
        };
        let (mut payment, mut covered) = self.authorize(total, short).await?;
        for _ in 0..CHECKOUTS {
            match api.command(&CHECKOUT, basket, json!({ "paymentId": payment })).await {
                Ok(_) => {
                    api.ledger.borrow_mut().orders.placed += 1;
                    self.world.orders.placed(basket, !covered.covers(total));
                    return Ok(Ended::Completed);
                }
                Err(No::Refused(code)) if code == PRICES_HAVE_RISEN => {
                    api.ledger.borrow_mut().orders.repriced += 1;
                    let Some(now) = self.total(basket).await? else {
                        return Err(api.surprise(format!("basket {basket} lost its items when prices rose")));
                    };
                    total = now;
                    if !covered.covers(total) {
                        (payment, covered) = self.authorize(total, short).await?;
                    }
                }
                Err(No::Refused(code)) => {
                    api.command(&CANCEL_BASKET, basket, Value::Null).await?;
                    return Ok(Ended::GaveUp(code));
                }
                Err(No::Failed) => return Err(No::Failed),
            }
        }
        api.command(&CANCEL_BASKET, basket, Value::Null).await?;
        Ok(Ended::GaveUp("prices keep rising".into()))
    }

    /// Walks through the stores with a basket; gives it, and what was put in.
    async fn fill_basket(&self, visits: &[Visit]) -> Result<(Uuid, Vec<Uuid>), No> {
        let api = &self.world.api;
        self.world.look_around().await?;
        let basket = api.create(&START_BASKET, Uuid::nil(), json!({ "customerId": self.customer })).await?;
        let mut taken = Vec::new();
        for visit in visits {
            let store = self.world.stores.borrow().pick(visit.store);
            let Some(store) = store else { continue };
            let shelf = self.shelf(store).await?;
            for (pick, quantity) in &visit.takes {
                let Some((product, _)) = pick.of(&shelf) else { continue };
                let item = json!({"productId": product, "quantity": quantity});
                if tolerate(api.command(&ADD_ITEM, basket, item).await)? {
                    taken.push(*product);
                }
            }
        }
        Ok((basket, taken))
    }

    /// What a basket costs; none when it is empty.
    async fn total(&self, basket: Uuid) -> Result<Option<Money>, No> {
        let shown = self.world.api.read(&GET_BASKET, basket).await?;
        if shown["items"].as_array().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        match amount(&shown["total"]) {
            Some(total) => Ok(Some(total)),
            None => Err(self.world.api.surprise(format!("basket {basket} has no total: {shown}"))),
        }
    }

    /// Puts up what a basket costs, or far less: even if all prices fall as low as they go, that is too little.
    async fn authorize(&self, total: Money, short: bool) -> Result<(Uuid, Money), No> {
        let less = Money::from_minor((total.minor() / 10).min(SHORT)).unwrap_or(Money::ZERO);
        let put_up = if short { less } else { total };
        let body = json!({"customerId": self.customer, "amount": shown(put_up)});
        Ok((self.world.api.create(&AUTHORIZE, Uuid::nil(), body).await?, put_up))
    }

    async fn set_up(&self, name: &str, location: &str, products: &[NewProduct]) -> Result<(Uuid, Ended), No> {
        let api = &self.world.api;
        let body = json!({"name": name, "location": location});
        let store = api.create(&CREATE_STORE, Uuid::nil(), body).await?;
        api.command(&PARTICIPATE, store, json!({})).await?;
        let ended = self.add_products(store, products).await?;
        self.world.stores.borrow_mut().add(store);
        Ok((store, ended))
    }

    async fn add_products(&self, store: Uuid, products: &[NewProduct]) -> Result<Ended, No> {
        for NewProduct { name, description, sku, price, stock } in products {
            let body = json!({"name": name, "description": description, "sku": sku, "price": shown(*price)});
            let product = self.world.api.create(&ADD_PRODUCT, store, body).await?;
            if let Some(quantity) = stock
                && !self.stock(product, *quantity).await?
            {
                return Ok(Ended::GaveUp("the product is not known to the inventory".into()));
            }
        }
        Ok(Ended::Completed)
    }

    /// Whether the stock could be counted.
    async fn stock(&self, product: Uuid, quantity: u32) -> Result<bool, No> {
        let (attempts, apart) = NEWS;
        for _ in 0..attempts {
            if tolerate(self.world.api.command(&ADD_STOCK, product, json!({ "quantity": quantity })).await)? {
                self.world.stocked.borrow_mut().insert(product, u64::from(quantity));
                return Ok(true);
            }
            tokio::time::sleep(apart).await;
        }
        Ok(false)
    }

    async fn some_store(&self, pick: Pick) -> Result<Option<Uuid>, No> {
        self.world.look_around().await?;
        Ok(self.world.stores.borrow().pick(pick))
    }

    async fn some_product(&self, store: Pick, product: Pick) -> Result<Option<(Uuid, Value)>, No> {
        let Some(store) = self.some_store(store).await? else { return Ok(None) };
        Ok(product.of(&self.shelf(store).await?).cloned())
    }
}

fn no_store() -> Ended {
    Ended::GaveUp("no store in the mall".into())
}

fn empty_shelf() -> Ended {
    Ended::GaveUp("empty shelf".into())
}

/// A refusal with which the behaviour can go on: whether it was done.
fn tolerate(answer: Result<Value, No>) -> Result<bool, No> {
    match answer {
        Ok(_) => Ok(true),
        Err(No::Refused(_)) => Ok(false),
        Err(No::Failed) => Err(No::Failed),
    }
}
