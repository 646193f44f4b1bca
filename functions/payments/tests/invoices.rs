//! The view of invoices, however the bus delivers, and its list, over memory and over DynamoDB.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod desk;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use contracts::{
    Envelope,
    ids::{CustomerId, InvoiceId, OrderId},
};
use desk::{Desk, TERMS, UNKNOWN, cents, customer};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Id, Reason, StreamId};
use lambda::use_case;
use payments::{
    invoice::{Funds, Invoice, InvoiceCommand, Moment},
    invoices::{BY_CUSTOMER, CHASED, CHUNK, InvoiceRow, InvoiceViews, Invoices, OPEN, READS},
};
use projection::{
    Consistency, Content, DeliverError, DynamoViews, ListRequest, MemoryViews, Projection, Projector,
    ViewStore, opened, sealed, sortable,
};
use serde_json::{Value, json};
use testing::{EmbeddedDynamo, Hostility, TestPorts, hostile};

/// What each invoice of [`Stage::busy`] ends as.
const ENDS: [&str; 6] = ["pending", "reminded", "adjusted", "paid", "canceled", "never made"];

/// An event table with invoices, and a view of them.
struct Stage {
    world: TestPorts,
    store: EventStore,
    rows: Arc<dyn ViewStore<Invoices>>,
    _dynamo: Option<EmbeddedDynamo>,
}

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

fn invoice(name: &str) -> InvoiceId {
    order(name).as_kind()
}

impl Stage {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        Self { world, store, rows: Arc::new(MemoryViews::<Invoices>::new()), _dynamo: None }
    }

    /// One over each kind of table.
    async fn both() -> [Self; 2] {
        let dynamo = EmbeddedDynamo::start().await;
        let client = dynamo.client();
        projection::create_table::<Invoices>(&client, "invoices", &[BY_CUSTOMER, OPEN, CHASED])
            .await
            .unwrap();
        let rows = Arc::new(DynamoViews::<Invoices>::new(client, "invoices"));
        [Self::new(), Self { rows, _dynamo: Some(dynamo), ..Self::new() }]
    }

    /// An invoice of every end, made in their order: all of Ada's, a second apart.
    async fn busy() -> Self {
        let stage = Self::new();
        for end in ENDS {
            stage.ends(end).await;
        }
        stage
    }

    async fn ends(&self, end: &str) {
        if end == "never made" {
            let reason = Reason::new("TOO_LATE");
            return self.send(end, InvoiceCommand::CancelWithOrder { order_id: order(end), reason }).await;
        }
        self.make(end, "ada", 1250).await;
        match end {
            "pending" => {}
            "reminded" => self.remind(end).await,
            "adjusted" => {
                let (amount, held) = (cents(990), Some(cents(1250)));
                self.send(end, InvoiceCommand::Adjust { amount, held }).await;
            }
            "paid" => self.pay(end, 1250).await,
            "canceled" => self.send(end, InvoiceCommand::Cancel { reason: Reason::new("WILTED") }).await,
            other => panic!("no invoice ends as {other}"),
        }
    }

    async fn send(&self, name: &str, command: InvoiceCommand) {
        self.world.advance(Duration::from_secs(1));
        let (stream, meta) = (StreamId::of::<Invoice, _>(invoice(name)), self.world.command("payments"));
        self.store.transact::<Invoice>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    async fn make(&self, name: &str, owner: &str, minor: i64) {
        let (order_id, customer_id) = (order(name), customer(owner));
        let (payment_id, amount) = (Id::derived(&["payment", name]), cents(minor));
        self.send(name, InvoiceCommand::Create { order_id, customer_id, payment_id, amount }).await;
    }

    async fn pay(&self, name: &str, minor: i64) {
        self.send(name, InvoiceCommand::Pay { funds: Some(Funds::Held(cents(minor))) }).await;
    }

    async fn remind(&self, name: &str) {
        let created_at = self.world.now();
        let now = created_at + TERMS.reminder;
        let moment = Moment { now, created_at, reminded_at: None, terms: TERMS };
        self.send(name, InvoiceCommand::Remind { reminders: 0, moment }).await;
    }

    async fn history(&self) -> Vec<Envelope> {
        let (mut history, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan(Segment::WHOLE, after.as_ref(), None).await.unwrap();
            let ours = page.commits.iter().filter(|commit| commit.stream.category() == Invoices::CATEGORY);
            history.extend(ours.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()));
            after = page.after;
            if after.is_none() {
                return history;
            }
        }
    }

    fn projector(&self) -> Projector<Invoices> {
        Projector::new(self.rows.clone(), self.store.clone(), self.world.ports())
    }

    /// Everything that happened arrives.
    async fn settle(&self) {
        let outcome = self.projector().deliver_batch(&self.history().await).await;
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    }

    async fn row(&self, name: &str) -> InvoiceRow {
        let stored = self.rows.get(&invoice(name).to_string(), Consistency::Strong).await.unwrap().unwrap();
        match stored.content {
            Content::Row(row) => row,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The orders whose invoices are chased, and since when; longest first.
    async fn chased(&self) -> Vec<(String, OrderId)> {
        let mut found = Vec::new();
        let request = ListRequest { partition: "mall".into(), limit: Some(100), ..ListRequest::default() };
        for row in self.projector().list(&CHASED, &request).await.unwrap().rows {
            let since = serde_json::to_value(&row).unwrap()["since"].as_str().unwrap().to_owned();
            found.push((since, row.order_id));
        }
        found
    }

    /// `GET /api/payments/invoices?query`: status and body.
    async fn get(&self, query: &str) -> (u64, Value) {
        let ports = self.world.ports();
        let views = Arc::new(InvoiceViews::new(self.projector(), TERMS));
        let parameters: serde_json::Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let payload = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/api/payments/invoices",
            "rawQueryString": query, "headers": {}, "isBase64Encoded": false, "pathParameters": {},
            "queryStringParameters": parameters,
            "requestContext": { "http": { "method": "GET", "path": "/api/payments/invoices" } }
        });
        let answer = use_case(&views, &ports, InvoiceViews::list_invoices).invoke(payload).await.unwrap();
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    async fn listed(&self, query: &str) -> Value {
        let (status, body) = self.get(query).await;
        assert_eq!(status, 200, "{query}: {body}");
        body
    }

    async fn refused(&self, query: &str, code: &str) -> String {
        let (status, body) = self.get(query).await;
        assert_eq!((status, body["code"].as_str()), (400, Some(code)), "{query}: {body}");
        body["message"].as_str().unwrap().to_owned()
    }

    /// The orders on all pages, and how many pages there were.
    async fn pages(&self, query: &str) -> (Vec<String>, usize) {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = self.listed(&format!("{query}{cursor}")).await;
            seen.extend(orders(&page));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (seen, pages),
            }
        }
    }
}

fn orders(page: &Value) -> Vec<String> {
    let invoices = page["invoices"].as_array().unwrap();
    invoices.iter().map(|invoice| invoice["orderId"].as_str().unwrap().to_owned()).collect()
}

fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(|name| order(name).to_string()).collect()
}

/// Ada's invoices, of this status.
fn of_ada(status: &str) -> String {
    format!("customerId={}&status={status}", customer("ada"))
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_invoices_as_an_orderly_one_does() {
    let stage = Stage::busy().await;
    let history = stage.history().await;
    stage.settle().await;
    for seed in 0..60 {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let rows = MemoryViews::<Invoices>::new();
        let projector = Projector::new(Arc::new(rows.clone()), stage.store.clone(), stage.world.ports());
        for batch in hostile(&history, seed, hostility).chunks(if seed % 2 == 0 { 1 } else { 10 }) {
            assert!(projector.deliver_batch(batch).await.failed.is_empty());
        }
        for name in ENDS {
            let found = rows.get(&invoice(name).to_string(), Consistency::Strong).await.unwrap();
            let Some(Content::Row(found)) = found.map(|stored| stored.content) else {
                panic!("seed {seed}: no row for {name}");
            };
            assert_eq!(found, stage.row(name).await, "seed {seed}: {name}");
        }
    }
}

#[tokio::test]
async fn every_end_shows_with_its_amount_its_reminders_its_reason_and_its_times() {
    let stage = Stage::busy().await;
    stage.settle().await;
    for (name, status, amount, reminders, reason) in [
        ("pending", "pending", Some(1250), 0, None),
        ("reminded", "pending", Some(1250), 1, None),
        ("adjusted", "pending", Some(990), 0, None),
        ("paid", "paid", Some(1250), 0, None),
        ("canceled", "canceled", Some(1250), 0, Some("WILTED")),
        ("never made", "canceled", None, 0, Some("TOO_LATE")),
    ] {
        let row = stage.row(name).await;
        assert_eq!((row.id, row.order_id), (invoice(name), order(name)));
        assert_eq!((row.status.as_str(), row.reason.as_deref()), (status, reason), "{name}");
        assert_eq!((row.amount, row.reminders), (amount.map(cents), reminders), "{name}");
        assert_eq!(row.customer_id, (name != "never made").then(|| customer("ada")), "{name}");
        assert_eq!(row.payment_id, amount.map(|_| Id::derived(&["payment", name])), "{name}");
        assert_eq!(
            (row.paid_at.is_some(), row.canceled_at.is_some()),
            (status == "paid", status == "canceled")
        );
        let ended = row.paid_at.or(row.canceled_at);
        assert!(ended.is_none_or(|at| (at > row.created_at) == (name != "never made")), "{name}");
    }
}

#[tokio::test]
async fn an_invoice_is_among_what_is_owed_until_it_is_paid_or_canceled() {
    for stage in Stage::both().await {
        for name in ["first", "second", "third"] {
            stage.make(name, name, 1250).await;
        }
        let owed = async || {
            stage.settle().await;
            orders(&stage.listed("").await)
        };
        assert_eq!(owed().await, named(["first", "second", "third"]), "longest first");
        stage.remind("first").await;
        let held = Some(cents(1250));
        stage.send("second", InvoiceCommand::Adjust { amount: cents(1000), held }).await;
        assert_eq!(owed().await, named(["first", "second", "third"]), "each keeps its place");
        stage.pay("first", 1250).await;
        assert_eq!(owed().await, named(["second", "third"]));
        stage.send("third", InvoiceCommand::Cancel { reason: Reason::new("WILTED") }).await;
        assert_eq!(owed().await, named(["second"]));
        assert_eq!(stage.listed("status=pending").await, stage.listed("").await);
        let paid = stage.listed(&format!("customerId={}", customer("first"))).await;
        assert_eq!(paid["invoices"][0]["status"], "paid", "{paid}");
    }
}

#[tokio::test]
async fn an_invoice_is_chased_since_its_last_reminder_until_it_is_paid_or_canceled() {
    for stage in Stage::both().await {
        let mut since = Vec::new();
        for name in ["first", "second", "third"] {
            stage.make(name, name, 1250).await;
            since.push(sortable(stage.world.now()));
        }
        let chased = async || {
            stage.settle().await;
            stage.chased().await
        };
        let at = |time: &String, name| (time.clone(), order(name));
        let [first, second, third] = [&since[0], &since[1], &since[2]];
        assert_eq!(chased().await, [at(first, "first"), at(second, "second"), at(third, "third")]);
        let held = Some(cents(1250));
        stage.send("first", InvoiceCommand::Adjust { amount: cents(1000), held }).await;
        assert_eq!(chased().await, [at(first, "first"), at(second, "second"), at(third, "third")]);
        stage.remind("first").await;
        let reminded = &sortable(stage.world.now());
        assert_eq!(chased().await, [at(second, "second"), at(third, "third"), at(reminded, "first")]);
        stage.send("third", InvoiceCommand::Cancel { reason: Reason::new("WILTED") }).await;
        assert_eq!(chased().await, [at(second, "second"), at(reminded, "first")]);
        stage.pay("first", 1250).await;
        assert_eq!(chased().await, [at(second, "second")]);
        let (order_id, reason) = (order("second"), Reason::new("WILTED"));
        stage.send("second", InvoiceCommand::CancelWithOrder { order_id, reason }).await;
        assert_eq!(chased().await, []);
        stage.ends("never made").await;
        assert_eq!(chased().await, []);
    }
}

#[tokio::test]
async fn an_old_event_that_comes_late_does_not_ask_for_what_is_paid() {
    let stage = Stage::busy().await;
    stage.settle().await;
    let before = stage.listed("").await;
    for event in stage.history().await {
        if event.event_type == "InvoiceCreated" {
            stage.projector().deliver(&event).await.unwrap();
        }
    }
    assert_eq!(stage.listed("").await, before);
    assert_eq!(orders(&before), named(["pending", "reminded", "adjusted"]));
}

#[tokio::test]
async fn an_event_that_makes_no_sense_stops_its_own_invoice_only() {
    let stage = Stage::busy().await;
    let mut history = stage.history().await;
    let place = history.iter().position(|event| event.event_type == "InvoicePaid").unwrap();
    history[place].data = Some(json!({ "invoice": 7 }));
    let failed = stage.projector().deliver_batch(&history).await.failed;
    assert!(!failed.is_empty());
    for failed in failed {
        assert_eq!(history[failed.index].stream, history[place].stream);
        assert!(matches!(failed.error, DeliverError::Poison { .. }), "{:?}", failed.error);
    }
}

#[test]
fn a_history_that_does_not_begin_with_the_invoice_is_not_guessed_at() {
    let at = TestPorts::new(1).now();
    let events = [
        ("InvoiceAdjusted", json!({ "orderId": order("a"), "oldAmount": cents(2), "amount": cents(1) })),
        (
            "InvoicePaid",
            json!({
                "orderId": order("a"), "customerId": customer("ada"), "paymentId": UNKNOWN, "amount": cents(1),
            }),
        ),
        (
            "InvoiceReminded",
            json!({
                "orderId": order("a"), "customerId": customer("ada"), "paymentId": UNKNOWN, "amount": cents(1),
                "reminder": 1, "dueAt": at,
            }),
        ),
    ];
    for (event_type, data) in events {
        let envelope: Envelope = serde_json::from_value(json!({
            "id": UNKNOWN, "type": event_type, "schema": 1, "stream": format!("payments.Invoice/{}", order("a")),
            "version": 1, "first": 1, "next": 2, "at": at, "actor": "stage", "correlation": UNKNOWN,
            "command": UNKNOWN, "data": data,
        }))
        .unwrap();
        let error = Invoices::apply(None, &envelope).unwrap_err().to_string();
        assert_eq!(error, format!("{event_type} cannot follow: there is no row yet"));
    }
}

#[tokio::test]
async fn an_invoice_that_was_never_made_is_in_no_list() {
    for stage in Stage::both().await {
        stage.ends("never made").await;
        stage.ends("canceled").await;
        stage.settle().await;
        assert_eq!(stage.row("never made").await.status, "canceled", "the row keeps the version");
        assert_eq!(stage.listed("").await, json!({ "invoices": [], "next": null }));
        assert_eq!(orders(&stage.listed(&of_ada("canceled")).await), named(["canceled"]));
    }
}

#[tokio::test]
async fn d28_a_customers_invoices_come_page_by_page_newest_first_and_of_nobody_else() {
    for stage in Stage::both().await {
        let names: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        for name in &names {
            stage.make(name, "ada", 100).await;
            stage.make(&format!("bob's {name}"), "bob", 100).await;
            if name.len() == 1 {
                stage.pay(name, 100).await;
            }
        }
        stage.settle().await;
        let newest_first = named(names.iter().rev().map(String::as_str));
        let ada = format!("customerId={}", customer("ada"));
        assert_eq!(stage.pages(&format!("{ada}&limit=7")).await, (newest_first.clone(), 4));
        assert_eq!(stage.pages(&ada).await, (newest_first.clone(), 2), "twenty when nothing is said");
        let (pending, paid) = newest_first.split_at(15);
        assert_eq!(stage.pages(&format!("{}&limit=4", of_ada("paid"))).await, (paid.to_vec(), 3));
        assert_eq!(stage.pages(&format!("{}&limit=5", of_ada("pending"))).await, (pending.to_vec(), 4));
        assert_eq!(stage.pages(&of_ada("canceled")).await, (vec![], 1));
        let nobody = stage.listed(&format!("customerId={UNKNOWN}")).await;
        assert_eq!(nobody, json!({ "invoices": [], "next": null }));
    }
}

#[tokio::test]
async fn d28_what_is_owed_comes_page_by_page_though_some_of_it_is_paid_meanwhile() {
    for stage in Stage::both().await {
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        for name in &names {
            stage.make(name, name, 100).await;
        }
        stage.settle().await;
        let first = stage.listed("limit=4").await;
        // The cursor's own invoice is gone, and one of the next page.
        for name in ["3", "5"] {
            stage.pay(name, 100).await;
        }
        stage.make("new", "ada", 100).await;
        stage.settle().await;
        let cursor = first["next"].as_str().unwrap();
        let second = stage.listed(&format!("limit=4&cursor={cursor}")).await;
        assert_eq!(orders(&first), named(["0", "1", "2", "3"]));
        assert_eq!(orders(&second), named(["4", "6", "7", "8"]));
        let third = stage.listed(&format!("limit=4&cursor={}", second["next"].as_str().unwrap())).await;
        assert_eq!((orders(&third), &third["next"]), (named(["new"]), &Value::Null));
    }
}

#[tokio::test]
async fn a_customer_with_many_invoices_finds_the_old_one_that_is_owed_in_bounded_steps() {
    let stage = Stage::new();
    stage.make("old", "ada", 100).await;
    for n in 0..READS * CHUNK + 20 {
        let name = n.to_string();
        stage.make(&name, "ada", 100).await;
        stage.pay(&name, 100).await;
    }
    stage.settle().await;
    let first = stage.listed(&of_ada("pending")).await;
    assert_eq!(first["invoices"], json!([]));
    let next = first["next"].as_str().expect("there is more to look at");
    let second = stage.listed(&format!("{}&cursor={next}", of_ada("pending"))).await;
    assert_eq!((orders(&second), &second["next"]), (named(["old"]), &Value::Null));
    let (paid, _) = stage.pages(&format!("{}&limit=100", of_ada("paid"))).await;
    let once: BTreeSet<&String> = paid.iter().collect();
    assert_eq!((paid.len(), once.len()), (READS * CHUNK + 20, READS * CHUNK + 20), "each once");
}

#[tokio::test]
async fn a_cursor_of_one_list_does_not_open_another() {
    for stage in Stage::both().await {
        for n in 0..3 {
            for owner in ["ada", "bob"] {
                stage.make(&format!("{owner} {n}"), owner, 100).await;
            }
        }
        stage.settle().await;
        let id = |name: &str| -> CustomerId { customer(name) };
        let questions = [
            String::new(),
            format!("customerId={}", id("ada")),
            format!("customerId={}", id("bob")),
            of_ada("pending"),
            of_ada("paid"),
        ];
        for asked in &questions[..4] {
            let page = stage.listed(&format!("{asked}&limit=2")).await;
            let next = page["next"].as_str().unwrap();
            for other in &questions {
                let query = format!("{other}&limit=2&cursor={next}");
                if other == asked {
                    stage.listed(&query).await;
                } else {
                    stage.refused(&query, "QUERY_IS_INVALID").await;
                }
            }
        }
        let page = stage.listed("limit=2").await;
        let cursor: Value = opened(page["next"].as_str().unwrap()).unwrap();
        for (field, value) in [
            ("id", String::new()),
            ("id", "x".repeat(3000)),
            ("id", "x".into()),
            ("sort", String::new()),
            ("sort", "9".repeat(2000)),
            ("sort", "2026-11-20T09:00:00Z".into()),
        ] {
            let mut forged = cursor.clone();
            forged["after"][field] = json!(value);
            stage.refused(&format!("limit=2&cursor={}", sealed(&forged)), "QUERY_IS_INVALID").await;
        }
        for noise in ["noise", "%25", "bm9uc2Vuc2U", ""] {
            for question in &questions {
                stage.refused(&format!("{question}&cursor={noise}"), "QUERY_IS_INVALID").await;
            }
        }
    }
}

#[tokio::test]
async fn a_customer_whose_id_got_lost_is_not_shown_what_all_others_owe() {
    let stage = Stage::busy().await;
    stage.settle().await;
    for query in ["customerId=", "customerId=&status=pending"] {
        stage.refused(query, "CUSTOMER_ID_CANNOT_BE_BLANK").await;
    }
    for query in ["customerId=mine", "customerId=undefined&status=pending"] {
        stage.refused(query, "ID_IS_MALFORMED").await;
    }
}

#[tokio::test]
async fn what_cannot_be_listed_says_what_to_ask_for() {
    let stage = Stage::busy().await;
    stage.settle().await;
    for status in ["paid", "canceled"] {
        let message = stage.refused(&format!("status={status}"), "QUERY_IS_INVALID").await;
        assert!(message.contains(&format!("?customerId=<uuid>&status={status}")), "{message}");
    }
    for status in ["", "owed", "PAID", "cancelled"] {
        let message = stage.refused(&of_ada(status), "QUERY_IS_INVALID").await;
        assert!(message.contains("pending, paid, canceled"), "{message}");
    }
    for question in ["status=pending", &of_ada("paid"), &format!("customerId={UNKNOWN}")] {
        for wrong in ["limit=0", "limit=101", "limit=x", "limit=-1"] {
            stage.refused(&format!("{question}&{wrong}"), "QUERY_IS_INVALID").await;
        }
    }
}

#[tokio::test]
async fn a_list_shows_an_invoice_as_it_is_read_alone() {
    let (desk, order, _) = Desk::invoiced().await;
    let stage = Stage { world: desk.world.clone(), store: desk.store.clone(), ..Stage::new() };
    let same = async |query: &str| {
        stage.settle().await;
        let mut listed = stage.listed(query).await["invoices"][0].take();
        let listed = listed.as_object_mut().unwrap();
        let times = ["createdAt", "paidAt", "canceledAt"].map(|time| listed.remove(time).is_some());
        let mut alone = desk.invoice(order).await;
        alone.as_object_mut().unwrap().remove("version");
        assert_eq!(json!(listed), alone);
        times
    };
    assert_eq!(same("").await, [true, false, false]);
    let adjust = format!("/api/payments/invoices/{order}/adjust");
    desk.ok("PUT", &adjust, json!({ "amount": 1.25 })).await;
    assert_eq!(same("").await, [true, false, false]);
    desk.pays(order).await;
    assert_eq!(same(&of_ada("paid")).await, [true, true, false]);

    let (desk, order, _) = Desk::invoiced().await;
    let stage = Stage { world: desk.world.clone(), store: desk.store.clone(), ..Stage::new() };
    let cancel = format!("/api/payments/invoices/{order}/cancel");
    desk.ok("PUT", &cancel, json!({ "reason": "WILTED" })).await;
    stage.settle().await;
    let listed = stage.listed(&of_ada("canceled")).await;
    assert_eq!(
        (&listed["invoices"][0]["reason"], listed["invoices"][0].get("dueAt")),
        (&json!("WILTED"), None),
        "what is canceled is not due: {listed}"
    );
}
