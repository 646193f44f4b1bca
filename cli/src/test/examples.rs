//! Examples for the tests of the API: requests that succeed. A fuzzer that only makes up ids is told 404 and learns no
//! more, and no id of another operation's answer helps where two things must fit, or one must be in a certain state. So
//! every operation that needs more than a body gets things of its own, in the state in which it can succeed; the
//! examples go into a copy of the OpenAPI document, where the fuzzer finds them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use contracts::ids::{OrderId, shopping_list_of};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    cloud,
    errors::{Error, Result},
    stack::Stack,
};

/// A function's first start on a busy machine takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// For anything that follows by events: queues poll, and functions start cold.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What one piece costs of everything that is sold here.
const PRICE: u32 = 10;

/// What every customer puts up: enough.
const PUT_UP: u32 = 1000;

/// Orders that the examples use up.
const ORDERS: usize = 15;

/// What a request says beside its verb and route.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Example {
    /// The parameter `id`, in the path.
    id: Option<Uuid>,
    /// A parameter of the query string.
    query: Option<(&'static str, Uuid)>,
    body: Option<Value>,
}

/// The examples, by operation.
#[derive(Debug, Default)]
pub struct Examples(BTreeMap<&'static str, Example>);

impl Examples {
    fn body(&mut self, operation: &'static str, body: Value) {
        self.0.insert(operation, Example { body: Some(body), ..Example::default() });
    }

    fn id(&mut self, operation: &'static str, id: Uuid) {
        self.0.insert(operation, Example { id: Some(id), ..Example::default() });
    }

    fn both(&mut self, operation: &'static str, id: Uuid, body: Value) {
        self.0.insert(operation, Example { id: Some(id), body: Some(body), ..Example::default() });
    }

    fn query(&mut self, operation: &'static str, name: &'static str, id: Uuid) {
        self.0.insert(operation, Example { query: Some((name, id)), ..Example::default() });
    }

    /// Puts them into an OpenAPI document; gives those that found no place in it.
    pub fn put_into(self, document: &mut Value) -> Vec<String> {
        let mut left = Vec::new();
        for (id, example) in self.0 {
            let operations = document["paths"].as_object_mut().into_iter().flatten();
            let mut operations = operations.filter_map(|(_, path)| path.as_object_mut()).flatten();
            let operation = operations.find(|(_, operation)| operation["operationId"] == json!(id));
            let placed = operation.is_some_and(|(_, operation)| example.put_into(operation));
            if !placed {
                left.push(id.to_owned());
            }
        }
        left
    }
}

impl Example {
    /// Whether all of it has a place there.
    fn put_into(self, operation: &mut Value) -> bool {
        let mut put_parameter = |place: &str, name: &str, value: Uuid| {
            let parameters = operation["parameters"].as_array_mut().into_iter().flatten();
            let mut parameters =
                parameters.filter(|it| it["in"] == json!(place) && it["name"] == json!(name));
            parameters.next().map(|parameter| parameter["example"] = json!(value)).is_some()
        };
        let id = self.id.is_none_or(|id| put_parameter("path", "id", id));
        let query = self.query.is_none_or(|(name, value)| put_parameter("query", name, value));
        let body = self.body.is_none_or(|body| {
            let content = operation.pointer_mut("/requestBody/content/application~1json");
            content.map(|content| content["example"] = body).is_some()
        });
        id && query && body
    }
}

/// An order, and what belongs to it.
struct Order {
    id: Uuid,
    payment: Uuid,
    list: Uuid,
}

impl Order {
    /// The body of what is done to its payment.
    fn body(&self) -> Value {
        json!({ "orderId": self.id })
    }
}

/// The mall before the tests.
pub struct Mall {
    client: Client,
    base: String,
}

impl Mall {
    pub fn new(stack: &Stack) -> Result<Self> {
        let client = Client::builder().timeout(LIMIT).no_proxy().build();
        let client = client.map_err(|e| Error::Http { request: stack.api.clone(), why: cloud::plain(&e) })?;
        Ok(Self { client, base: stack.api.clone() })
    }

    /// The document as the mall serves it.
    pub async fn document(&self) -> Result<Value> {
        match self.send(&Method::GET, "/openapi.json", &Value::Null, None).await? {
            (200, document) => Ok(document),
            (status, said) => Err(refused("GET /openapi.json".into(), status, &said)),
        }
    }

    /// Makes all that the examples name.
    pub async fn examples(&self) -> Result<Examples> {
        let mut examples = Examples::default();
        let customer = self.customer().await?;
        let store = self.store().await?;
        let product = self.product(store).await?;
        // What is ordered is not what the tests do something to.
        let orders = self.orders(customer, product).await?;
        self.of_stores(&mut examples).await?;
        self.of_customers(&mut examples).await?;
        self.of_baskets(&mut examples, customer, product).await?;
        self.of_inventory(&mut examples, store).await?;
        self.of_orders(&mut examples, customer, store, product, orders).await?;
        Ok(examples)
    }

    async fn of_stores(&self, examples: &mut Examples) -> Result<()> {
        let store = self.store().await?;
        examples.id("getStore", store);
        examples.id("getStoreProducts", store);
        examples.both("addProduct", store, json!({ "name": "Pears", "price": PRICE }));
        examples.both("rebrandStore", store, json!({ "name": "Green Grocer" }));
        examples.id("disableParticipation", self.store().await?);
        let closed =
            self.make("/api/stores", json!({ "name": "Corner Books", "location": "Level 1" })).await?;
        examples.id("enableParticipation", closed);
        let product = self.product(store).await?;
        examples.id("getProduct", product);
        let text = json!({ "name": "Conference pears", "description": "Ripe" });
        examples.both("rebrandProduct", product, text);
        // In whichever order they come: the one price is above, the other below what it costs.
        examples.both("increaseProductPrice", product, json!({ "price": PRICE * 2 }));
        examples.both("decreaseProductPrice", product, json!({ "price": PRICE / 2 }));
        examples.id("removeProduct", self.product(store).await?);
        Ok(())
    }

    async fn of_customers(&self, examples: &mut Examples) -> Result<()> {
        let customer = self.customer().await?;
        examples.id("getCustomer", customer);
        examples.both("changeSmsNumber", customer, json!({ "smsNumber": "+44 20 7946 0002" }));
        examples.id("disableCustomer", self.customer().await?);
        let disabled = self.customer().await?;
        self.put(&format!("/api/customers/{disabled}/disable"), Value::Null).await?;
        examples.id("enableCustomer", disabled);
        Ok(())
    }

    async fn of_baskets(&self, examples: &mut Examples, customer: Uuid, product: Uuid) -> Result<()> {
        let item = json!({ "productId": product, "quantity": 2 });
        examples.body("startBasket", json!({ "customerId": customer }));
        examples.id("getBasket", self.basket(customer, &item).await?);
        examples.id("cancelBasket", self.basket(customer, &item).await?);
        examples.both("addItem", self.basket(customer, &item).await?, item.clone());
        examples.both("removeItem", self.basket(customer, &item).await?, item.clone());
        let payment = self.payment(customer).await?;
        let checkout = json!({ "paymentId": payment });
        examples.both("checkoutBasket", self.basket(customer, &item).await?, checkout);
        Ok(())
    }

    async fn of_inventory(&self, examples: &mut Examples, store: Uuid) -> Result<()> {
        let product = self.product(store).await?;
        examples.query("listStock", "storeId", store);
        examples.id("getStock", product);
        examples.both("addStock", product, json!({ "quantity": 5 }));
        examples.both("setStock", self.product(store).await?, json!({ "onHand": 5 }));
        examples.both("reduceStock", product, json!({ "quantity": 1 }));
        examples.both("setLowStockThreshold", product, json!({ "threshold": 3 }));
        examples.id("startTracking", product);
        examples.id("stopTracking", self.product(store).await?);
        Ok(())
    }

    /// What is about orders and what follows from them: the depot's and the payments' operations.
    async fn of_orders(
        &self,
        examples: &mut Examples,
        customer: Uuid,
        store: Uuid,
        product: Uuid,
        orders: Vec<Order>,
    ) -> Result<()> {
        let pays = json!({ "customerId": customer, "amount": PUT_UP });
        examples.body("authorizePayment", pays);
        let payment = self.payment(customer).await?;
        let items = json!([{ "productId": product, "quantity": 1 }]);
        examples.body("createOrder", json!({ "customerId": customer, "paymentId": payment, "items": items }));
        examples.query("listOrders", "customerId", customer);
        examples.query("listInvoices", "customerId", customer);
        let items = json!([{ "productId": product, "storeId": store, "quantity": 1 }]);
        examples.body("createShoppingList", json!({ "orderId": Uuid::now_v7(), "items": items }));
        examples.id("getBot", self.bot().await?);

        let mut orders = orders.into_iter();
        let mut next = || orders.next().ok_or_else(|| waiting("an order for every example", "too few"));

        let order = next()?;
        self.until_available(&order).await?;
        examples.id("getOrder", order.id);
        examples.id("getOrderView", order.id);
        examples.id("getOrderTimeline", order.id);
        examples.id("getSaga", order.id);
        // Refused: a saga that could be retried is one that something went wrong with.
        examples.id("retrySaga", order.id);
        examples.id("getShoppingList", order.list);
        examples.id("getPayment", order.payment);
        examples.both("confirmPayment", order.payment, order.body());
        let order = next()?;
        self.until_available(&order).await?;
        examples.both("releasePayment", order.payment, order.body());
        let order = next()?;
        self.until_available(&order).await?;
        examples.id("cancelOrder", order.id);
        let order = next()?;
        self.until_available(&order).await?;
        examples.both("undoOrder", order.id, json!({ "reason": "BY_MISTAKE" }));
        let order = next()?;
        self.until_available(&order).await?;
        examples.both("cancelShoppingList", order.list, json!({ "reason": "OUT_OF_BOTS" }));
        let order = next()?;
        self.until_available(&order).await?;
        examples.id("deleteShoppingList", order.list);
        let order = next()?;
        self.until_available(&order).await?;
        examples.both("assignShoppingList", order.list, json!({ "botId": self.bot().await? }));
        let order = next()?;
        let bot = self.assign(&order).await?;
        examples.both("startShopping", order.list, json!({ "botId": bot }));
        let order = next()?;
        self.assign(&order).await?;
        self.on_list(&order, "start").await?;
        examples.id("completeShoppingList", order.list);

        let order = next()?;
        self.until_invoiced(&order).await?;
        examples.body("createInvoice", order.body());
        examples.id("getInvoice", order.id);
        let order = next()?;
        self.until_invoiced(&order).await?;
        examples.both("adjustInvoice", order.id, json!({ "amount": PRICE / 2 }));
        let order = next()?;
        self.until_invoiced(&order).await?;
        examples.id("payInvoice", order.id);
        let order = next()?;
        self.until_invoiced(&order).await?;
        examples.both("cancelInvoice", order.id, json!({ "reason": "BY_MISTAKE" }));
        let order = next()?;
        self.until_captured(&order).await?;
        examples.both("capturePayment", order.payment, order.body());
        let order = next()?;
        self.until_captured(&order).await?;
        let refund = json!({ "orderId": order.id, "reason": "BROKEN" });
        examples.both("refundPayment", order.payment, refund);
        Ok(())
    }

    /// As many as [`Mall::of_orders`] takes, all under way at once.
    async fn orders(&self, customer: Uuid, product: Uuid) -> Result<Vec<Order>> {
        let mut orders = Vec::new();
        for _ in 0..ORDERS {
            let payment = self.payment(customer).await?;
            let items = json!([{ "productId": product, "quantity": 1 }]);
            let body = json!({ "customerId": customer, "paymentId": payment, "items": items });
            let id = self.make("/api/ordering", body).await?;
            orders.push(Order { id, payment, list: shopping_list_of(OrderId::new(id)).uuid() });
        }
        Ok(orders)
    }

    async fn customer(&self) -> Result<Uuid> {
        let body = json!({ "name": "Ada Lovelace", "smsNumber": "+44 20 7946 0001" });
        self.make("/api/customers", body).await
    }

    /// One that takes part in the mall.
    async fn store(&self) -> Result<Uuid> {
        let body = json!({ "name": "Grocer", "location": "Level 0" });
        let store = self.make("/api/stores", body).await?;
        self.put(&format!("/api/stores/{store}/participating"), Value::Null).await?;
        Ok(store)
    }

    /// One with stock.
    async fn product(&self, store: Uuid) -> Result<Uuid> {
        let body = json!({ "name": "Pears", "price": PRICE });
        let product = self.make(&format!("/api/stores/{store}/products"), body).await?;
        self.make(&format!("/api/inventory/{product}/add"), json!({ "quantity": 10_000 })).await?;
        Ok(product)
    }

    async fn payment(&self, customer: Uuid) -> Result<Uuid> {
        self.make("/api/payments", json!({ "customerId": customer, "amount": PUT_UP })).await
    }

    async fn basket(&self, customer: Uuid, item: &Value) -> Result<Uuid> {
        let basket = self.make("/api/baskets", json!({ "customerId": customer })).await?;
        self.put(&format!("/api/baskets/{basket}/addItem"), item.clone()).await?;
        Ok(basket)
    }

    async fn bot(&self) -> Result<Uuid> {
        self.make("/api/depot/bots", json!({ "name": "Marvin" })).await
    }

    async fn until_available(&self, order: &Order) -> Result<()> {
        let path = format!("/api/depot/shopping/{}", order.list);
        self.until(&path, "/shoppingList/status", "available").await
    }

    /// Gives its list to a bot, as soon as it waits for one.
    async fn assign(&self, order: &Order) -> Result<Uuid> {
        self.until_available(order).await?;
        let bot = self.bot().await?;
        let path = format!("/api/depot/shopping/{}/assign", order.list);
        self.put(&path, json!({ "botId": bot })).await?;
        Ok(bot)
    }

    async fn on_list(&self, order: &Order, step: &str) -> Result<()> {
        self.put(&format!("/api/depot/shopping/{}/{step}", order.list), json!({})).await
    }

    async fn until_invoiced(&self, order: &Order) -> Result<()> {
        self.assign(order).await?;
        self.on_list(order, "start").await?;
        self.on_list(order, "complete").await?;
        self.until(&format!("/api/payments/invoices/{}", order.id), "/invoice/status", "pending").await
    }

    async fn until_captured(&self, order: &Order) -> Result<()> {
        self.until_invoiced(order).await?;
        self.put(&format!("/api/payments/invoices/{}/pay", order.id), Value::Null).await?;
        self.until(&format!("/api/payments/{}", order.payment), "/payment/status", "captured").await
    }

    /// A command that makes something.
    async fn make(&self, path: &str, body: Value) -> Result<Uuid> {
        let answer = self.command(Method::POST, path, body).await?;
        answer["id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| Error::Unexpected {
            request: format!("POST {path}"),
            expected: "an id",
            body: answer.to_string(),
        })
    }

    async fn put(&self, path: &str, body: Value) -> Result<()> {
        self.command(Method::PUT, path, body).await.map(drop)
    }

    /// A command. What it is about was made a moment ago: as long as a context has not heard of that, it says that it is
    /// not found, and is asked again. That changed nothing. A machine that is too busy to answer is asked again with the
    /// same idempotency key.
    async fn command(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let (started, mut key) = (Instant::now(), Uuid::now_v7());
        loop {
            match self.send(&method, path, &body, Some(key)).await {
                Ok((200, answer)) => return Ok(answer),
                Ok((404, _)) if started.elapsed() < PATIENCE => key = Uuid::now_v7(),
                Ok((status, _)) if status >= 500 && started.elapsed() < PATIENCE => {}
                Err(Error::Http { .. }) if started.elapsed() < PATIENCE => {}
                Ok((status, said)) => return Err(refused(format!("{method} {path}"), status, &said)),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads until what is shown is so.
    async fn until(&self, path: &str, pointer: &str, expected: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let (status, answer) = self.send(&Method::GET, path, &Value::Null, None).await?;
            if answer.pointer(pointer).and_then(Value::as_str) == Some(expected) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(waiting(&format!("{expected} at {path}"), &format!("{status} {answer}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
        key: Option<Uuid>,
    ) -> Result<(u16, Value)> {
        let mut call = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(key) = key {
            call = call.header("idempotency-key", key.to_string());
        }
        if !body.is_null() {
            call = call.json(body);
        }
        let failed =
            |e: reqwest::Error| Error::Http { request: format!("{method} {path}"), why: cloud::plain(&e) };
        let answer = call.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        Ok((status, serde_json::from_str(&text).unwrap_or_else(|_| json!(text))))
    }
}

fn refused(request: String, status: u16, said: &Value) -> Error {
    Error::Refused { request, status, said: said.to_string() }
}

fn waiting(what: &str, last: &str) -> Error {
    Error::Waiting { what: what.to_owned(), limit: PATIENCE, last: last.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({ "paths": { "/api/a/{id}": {
            "get": { "operationId": "getA", "parameters": [{ "in": "path", "name": "id" }] },
            "put": {
                "operationId": "putA",
                "parameters": [{ "in": "header", "name": "id" }, { "in": "path", "name": "id" }],
                "requestBody": { "content": { "application/json": {} } },
            },
        } } })
    }

    #[test]
    fn examples_stand_where_the_fuzzer_looks_for_them() {
        let (mut document, mut examples, id) = (document(), Examples::default(), Uuid::from_u128(7));
        examples.both("putA", id, json!({ "name": "x" }));
        examples.id("getA", id);
        assert_eq!(examples.put_into(&mut document), Vec::<String>::new());
        let path = &document["paths"]["/api/a/{id}"];
        assert_eq!(path["get"]["parameters"][0]["example"], json!(id));
        assert_eq!(path["put"]["parameters"][0].get("example"), None);
        assert_eq!(path["put"]["parameters"][1]["example"], json!(id));
        let body = &path["put"]["requestBody"]["content"]["application/json"];
        assert_eq!(body["example"], json!({ "name": "x" }));
    }

    #[test]
    fn an_example_for_nothing_is_not_lost_in_silence() {
        let (mut document, mut examples, id) = (document(), Examples::default(), Uuid::from_u128(7));
        examples.both("getA", id, json!({}));
        examples.query("putA", "storeId", id);
        examples.id("getB", id);
        assert_eq!(examples.put_into(&mut document), ["getA", "getB", "putA"]);
    }
}
