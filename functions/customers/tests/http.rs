//! Customers over HTTP, and authorized by placements.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::sync::Arc;

use contracts::{
    ids::OrderId,
    ordering::{OrderApproved, OrderCanceled, OrderCreated, OrderEvent, OrderRejected},
};
use customers::Customers;
use event_store::{EventStore, MemoryLog, Segment};
use kernel::{Id, Money};
use lambda::{Function, use_case};
use serde_json::{Value, json};
use testing::{TestPorts, tell};

/// The customers context behind its routes.
struct Desk {
    world: TestPorts,
    store: EventStore,
}

const UNKNOWN: &str = "0198c0de-0000-7000-8000-00000000dead";

impl Desk {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        Self { world, store }
    }

    /// The function behind a route, and the id in its path: what the API of the template does.
    fn route(&self, method: &str, path: &str) -> (Function, Option<String>) {
        let ports = self.world.ports();
        let customers = Arc::new(Customers::new(self.store.clone(), ports.clone()));
        let parts: Vec<&str> = path.trim_start_matches("/api/customers").split('/').skip(1).collect();
        let (function, id) = match (method, &parts[..]) {
            ("POST", []) => (use_case(&customers, &ports, Customers::register_customer), None),
            ("GET", [id]) => (use_case(&customers, &ports, Customers::get_customer), Some(*id)),
            ("PUT", [id, "change-sms"]) => {
                (use_case(&customers, &ports, Customers::change_sms_number), Some(*id))
            }
            ("PUT", [id, "enable"]) => (use_case(&customers, &ports, Customers::enable_customer), Some(*id)),
            ("PUT", [id, "disable"]) => {
                (use_case(&customers, &ports, Customers::disable_customer), Some(*id))
            }
            _ => panic!("no route for {method} {path}"),
        };
        (function, id.map(str::to_owned))
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u64, Value) {
        let (function, id) = self.route(method, path);
        let payload = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {},
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

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.send(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {body}");
        body
    }

    async fn refused(&self, method: &str, path: &str, body: Value, status: u64, code: &str) {
        let (found, body) = self.send(method, path, body).await;
        assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{method} {path}: {body}");
    }

    async fn registered(&self) -> String {
        let body = json!({ "name": "Ada", "smsNumber": "+44 20 7946 0001" });
        self.ok("POST", "/api/customers", body).await["id"].as_str().unwrap().to_owned()
    }

    /// Asks as a placement does: directly, with a command id of its own.
    async fn authorize(&self, id: &str, command: &str, body: Value) -> Result<Value, String> {
        let ports = self.world.ports();
        let customers = Arc::new(Customers::new(self.store.clone(), ports.clone()));
        let function = use_case(&customers, &ports, Customers::authorize_customer);
        let payload = json!({ "command": command, "id": id, "actor": "saga:order", "body": body });
        function.invoke(payload).await.map_err(|error| error.error_type)
    }

    /// An order to which these things happen.
    async fn ordered(&self, name: &str, events: &[OrderEvent]) -> OrderId {
        let order: OrderId = Id::derived(&["order", name]);
        let stream = format!("ordering.Order/{order}").parse().unwrap();
        let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
        let total = Money::from_minor(100).unwrap();
        let created = OrderCreated { customer_id, payment_id, items: vec![], total };
        for event in [OrderEvent::OrderCreated(created)].iter().chain(events) {
            tell(&self.store, &stream, event, &self.world.command("ordering")).await;
        }
        order
    }

    async fn commits(&self) -> usize {
        self.store.scan(Segment::WHOLE, None, None).await.unwrap().commits.len()
    }
}

#[tokio::test]
async fn a_customer_registers_changes_the_number_is_disabled_and_enabled() {
    let desk = Desk::new();
    let id = desk.registered().await;
    let path = format!("/api/customers/{id}");
    desk.ok("PUT", &format!("{path}/change-sms"), json!({ "smsNumber": "+1 555 0100" })).await;
    desk.ok("PUT", &format!("{path}/disable"), json!({})).await;
    let customer = |enabled: bool, version: u64| {
        json!({ "customer": {
            "id": id, "name": "Ada", "smsNumber": "+1 555 0100", "enabled": enabled, "version": version
        } })
    };
    assert_eq!(desk.ok("GET", &path, Value::Null).await, customer(false, 3));
    desk.ok("PUT", &format!("{path}/enable"), json!({})).await;
    assert_eq!(desk.ok("GET", &path, Value::Null).await, customer(true, 4));
}

#[tokio::test]
async fn d7_changing_the_sms_number_is_implemented() {
    let desk = Desk::new();
    let path = format!("/api/customers/{}", desk.registered().await);
    let change = format!("{path}/change-sms");
    desk.ok("PUT", &change, json!({ "smsNumber": "2" })).await;
    assert_eq!(desk.ok("GET", &path, Value::Null).await["customer"]["smsNumber"], "2");
    desk.refused("PUT", &change, json!({ "smsNumber": " " }), 400, "SMS_NUMBER_CANNOT_BE_BLANK").await;
    desk.refused("PUT", &change, json!({}), 400, "SMS_NUMBER_CANNOT_BE_BLANK").await;
}

#[tokio::test]
async fn d17_a_customer_that_there_is_not_is_404_not_500() {
    let desk = Desk::new();
    for id in [UNKNOWN, "no-id-at-all"] {
        let path = format!("/api/customers/{id}");
        desk.refused("GET", &path, Value::Null, 404, "CUSTOMER_NOT_FOUND").await;
        let number = json!({ "smsNumber": "1" });
        desk.refused("PUT", &format!("{path}/change-sms"), number, 404, "CUSTOMER_NOT_FOUND").await;
        for switch in ["enable", "disable"] {
            let path = format!("{path}/{switch}");
            desk.refused("PUT", &path, json!({}), 404, "CUSTOMER_NOT_FOUND").await;
        }
        let authorized = desk.authorize(id, "1:AuthorizeCustomer", json!({})).await;
        assert_eq!(authorized, Err("CUSTOMER_NOT_FOUND".into()));
    }
    assert_eq!(desk.commits().await, 0);
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let desk = Desk::new();
    let (status, body) = desk.send("POST", "/api/customers", json!({ "name": "" })).await;
    let codes: Vec<&str> =
        body["details"].as_array().unwrap().iter().filter_map(|detail| detail["code"].as_str()).collect();
    assert_eq!((status, codes), (400, vec!["NAME_CANNOT_BE_BLANK", "SMS_NUMBER_CANNOT_BE_BLANK"]));
}

#[tokio::test]
async fn what_is_already_so_is_400_as_in_the_original() {
    let desk = Desk::new();
    let path = format!("/api/customers/{}", desk.registered().await);
    desk.refused("PUT", &format!("{path}/enable"), json!({}), 400, "CUSTOMER_ALREADY_ENABLED").await;
    desk.ok("PUT", &format!("{path}/disable"), json!({})).await;
    desk.refused("PUT", &format!("{path}/disable"), json!({}), 400, "CUSTOMER_ALREADY_DISABLED").await;
}

#[tokio::test]
async fn a_placement_authorizes_a_customer_once_and_is_told_when_it_may_not() {
    let desk = Desk::new();
    let id = desk.registered().await;
    let body = json!({ "orderId": desk.ordered("1", &[]).await });
    let first = desk.authorize(&id, "order-1:AuthorizeCustomer", body.clone()).await.unwrap();
    assert_eq!(first, json!({ "id": id, "version": 2 }));
    let repeat = desk.authorize(&id, "order-1:AuthorizeCustomer", body).await.unwrap();
    assert_eq!(repeat, first, "a step that is retried takes effect once");
    desk.ok("PUT", &format!("/api/customers/{id}/disable"), json!({})).await;
    let body = json!({ "orderId": desk.ordered("2", &[]).await });
    let refused = desk.authorize(&id, "order-2:AuthorizeCustomer", body).await;
    assert_eq!(refused, Err("CUSTOMER_NOT_AUTHORIZED".into()), "by which the order is undone");
}

#[tokio::test]
async fn whoever_asks_without_an_order_is_answered_all_the_same() {
    let desk = Desk::new();
    let id = desk.registered().await;
    for (body, version) in [(json!({}), 2), (json!({ "orderId": null }), 3), (json!({ "orderId": "" }), 4)] {
        let authorized = desk.authorize(&id, &format!("by hand {version}"), body).await;
        assert_eq!(authorized, Ok(json!({ "id": id, "version": version })));
    }
}

#[tokio::test]
async fn a_placement_that_is_started_again_after_the_approval_writes_nothing() {
    let desk = Desk::new();
    let id = desk.registered().await;
    // Disabled since: the order was approved all the same.
    desk.ok("PUT", &format!("/api/customers/{id}/disable"), json!({})).await;
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    let approved = OrderEvent::OrderApproved(OrderApproved { customer_id, payment_id, shopping_id: None });
    let body = json!({ "orderId": desk.ordered("1", &[approved]).await });
    let before = desk.commits().await;
    let again = desk.authorize(&id, "order-1:AuthorizeCustomer", body).await;
    assert_eq!((again, desk.commits().await), (Ok(json!({ "id": id })), before));
}

#[tokio::test]
async fn nobody_is_authorized_for_an_order_that_is_over_or_never_was() {
    let desk = Desk::new();
    let id = desk.registered().await;
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    let rejected = OrderRejected { customer_id, payment_id, reason: "WILTED".into() };
    let canceled = OrderCanceled { customer_id, payment_id, reason: None };
    let rejected = desk.ordered("1", &[OrderEvent::OrderRejected(rejected)]).await.to_string();
    let canceled = desk.ordered("2", &[OrderEvent::OrderCanceled(canceled)]).await.to_string();
    let before = desk.commits().await;
    for (order, code) in
        [(&*rejected, "ORDER_IS_OVER"), (&*canceled, "ORDER_IS_OVER"), (UNKNOWN, "ORDER_NOT_FOUND")]
    {
        let refused = desk.authorize(&id, order, json!({ "orderId": order })).await;
        assert_eq!(refused, Err(code.into()));
    }
    assert_eq!(desk.commits().await, before);
}

#[test]
fn no_route_is_missing_in_the_document_and_none_is_invented() {
    let template =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/customers.yaml"));
    let mut routes: Vec<String> = template
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("RouteKey: ").map(str::to_owned))
        .collect();
    let mut documented: Vec<String> = customers::docs::operations()
        .iter()
        .map(|operation| format!("{} {}", format!("{:?}", operation.verb).to_uppercase(), operation.path))
        .collect();
    routes.sort();
    documented.sort();
    assert_eq!(documented, routes);
}
