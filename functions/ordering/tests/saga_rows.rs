//! The rows of order sagas, in memory and in DynamoDB: the same whatever order things are heard in.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use contracts::{
    Envelope,
    customers::{CustomerAuthorized, CustomerEvent},
    depot::{ShoppingListCanceled, ShoppingListCreated, ShoppingListEvent, ShoppingListInitiated},
    ids::{OrderId, shopping_list_of},
    inventory::{InventoryReleased, InventoryReserved, StockEvent},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderReadied, OrderRejected,
    },
    payments::{
        InvoiceCanceled, InvoiceCreated, InvoiceEvent, InvoicePaid, PaymentConfirmed, PaymentEvent,
        PaymentReleased,
    },
};
use kernel::{Actor, Event, Id, Money, Timestamp, Uuid, Version};
use ordering::{
    saga_rows::{
        Change, Done, Fact, Heard, MemoryRows, Parts, Place, Plan, SagaRow, SagaRows, Status, Written, join,
    },
    saga_table::{SagaTable, create_table},
    sagas::{Ended, Execution, Failure, Run, StatusChange},
};
use projection::{Consistency, ViewError};
use proptest::{prelude::*, sample::Index};
use serde_json::json;
use testing::EmbeddedDynamo;

// ---- what is heard

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_165_200 + second).unwrap()
}

fn money() -> Money {
    Money::from_minor(150).unwrap()
}

/// An event of a stream, in its second `second`.
fn event<E: Event>(stream: String, event: &E, second: i64, actor: &str, attempt: u32) -> Envelope {
    let raw = event.to_raw().unwrap();
    Envelope {
        id: Uuid::new_v5(&Uuid::nil(), format!("{stream} {second} {}", raw.event_type).as_bytes()),
        event_type: raw.event_type,
        schema: raw.schema,
        stream: stream.parse().unwrap(),
        version: Version::FIRST,
        first: Version::FIRST,
        next: Version::FIRST.next(),
        at: at(second),
        actor: Actor::new(actor),
        correlation: Uuid::nil(),
        causation: None,
        command: Uuid::nil(),
        trace: None,
        attempt,
        data: Some(raw.data),
    }
}

/// What happens to an order, each thing once; the second is when.
struct Story {
    id: OrderId,
    second: i64,
    heard: Vec<Change>,
}

impl Story {
    fn of(name: &str) -> Self {
        Self { id: order(name), second: 0, heard: Vec::new() }
    }

    fn tell<E: Event>(mut self, stream: impl Into<String>, told: &E, actor: &str, attempt: u32) -> Self {
        self.second += 1;
        let told = event(stream.into(), told, self.second, actor, attempt);
        self.heard.extend(Change::of(&told).unwrap());
        self
    }

    fn order(self, told: OrderEvent, actor: &str) -> Self {
        let stream = format!("ordering.Order/{}", self.id);
        self.tell(stream, &told, actor, 0)
    }

    fn list(self, told: ShoppingListEvent, actor: &str) -> Self {
        let stream = format!("depot.ShoppingList/{}", shopping_list_of(self.id));
        self.tell(stream, &told, actor, 0)
    }

    fn payment(self, told: PaymentEvent, attempt: u32) -> Self {
        self.tell(format!("payments.Payment/{}", order("card")), &told, "saga:order", attempt)
    }

    fn invoice(self, told: InvoiceEvent, actor: &str) -> Self {
        let stream = format!("payments.Invoice/{}", self.id);
        self.tell(stream, &told, actor, 0)
    }

    fn says(mut self, run: Run, ended: Ended, redrives: u32) -> Self {
        self.second += 1;
        let over = ended != Ended::Running;
        let error = (ended == Ended::Stuck)
            .then(|| Failure { error: "SagaStuck".into(), cause: "Unavailable: down".into() });
        let execution = Execution {
            order_id: self.id,
            ended,
            started_at: at(self.second),
            ended_at: over.then(|| at(self.second)),
            redrives,
            error,
        };
        self.heard.push(Change::heard(run, &execution));
        self
    }

    fn saga(self, ended: Ended) -> Self {
        let run = Run::Saga(self.id);
        self.says(run, ended, 0)
    }

    fn undo(self, attempt: u32, ended: Ended) -> Self {
        let run = Run::Undo(self.id, attempt);
        self.says(run, ended, 0)
    }

    fn placed(self) -> Self {
        let created = OrderCreated {
            customer_id: Id::derived(&["ada"]),
            payment_id: Id::derived(&["card"]),
            items: vec![],
            total: money(),
        };
        let order_id = self.id;
        let authorized = CustomerAuthorized { order_id: Some(order_id) };
        let mut story = self.order(OrderEvent::OrderCreated(created), "anonymous").saga(Ended::Running);
        story = story.tell(
            format!("customers.Customer/{}", order("ada")),
            &CustomerEvent::CustomerAuthorized(authorized),
            "saga:order",
            0,
        );
        for product in ["apple", "pear"] {
            let reserved = InventoryReserved {
                product_id: Id::derived(&[product]),
                reservation_id: Id::derived(&["reservation", product]),
                order_id,
                quantity: 1,
                available: 9,
                reserved_at: at(0),
            };
            let stream = format!("inventory.StockItem/{}", order(product));
            story = story.tell(stream, &StockEvent::InventoryReserved(reserved), "saga:order", 0);
        }
        let created = ShoppingListCreated { order_id, stops: vec![] };
        story.list(ShoppingListEvent::ShoppingListCreated(created), "saga:order")
    }

    fn approved(self) -> Self {
        let order_id = self.id;
        let approved = OrderApproved {
            customer_id: Id::derived(&["ada"]),
            payment_id: Id::derived(&["card"]),
            shopping_id: Some(shopping_list_of(order_id)),
        };
        self.placed()
            .payment(PaymentEvent::PaymentConfirmed(PaymentConfirmed { order_id, amount: money() }), 2)
            .list(ShoppingListEvent::ShoppingListInitiated(ShoppingListInitiated { order_id }), "saga:order")
            .order(OrderEvent::OrderApproved(approved), "saga:order")
    }

    fn invoiced(self) -> Self {
        let order_id = self.id;
        let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
        let readied = OrderReadied { customer_id, payment_id, total: money() };
        let created = InvoiceCreated { order_id, customer_id, payment_id, amount: money() };
        self.approved()
            .order(OrderEvent::OrderReadied(readied), "policy:ready-order")
            .invoice(InvoiceEvent::InvoiceCreated(created), "policy:invoice-order")
    }

    fn completed(self) -> Self {
        self.invoiced().paid()
    }

    fn paid(self) -> Self {
        let order_id = self.id;
        let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
        let paid = InvoicePaid { order_id, customer_id, payment_id, amount: money() };
        let completed = OrderCompleted { customer_id, payment_id, invoice_id: order_id.as_kind() };
        self.invoice(InvoiceEvent::InvoicePaid(paid), "anonymous")
            .order(OrderEvent::OrderCompleted(completed), "policy:complete-order")
    }

    fn undone(self, by: &str) -> Self {
        let order_id = self.id;
        let canceled = ShoppingListCanceled { order_id, bot_id: None, reason: "OUT_OF_STOCK".into() };
        let released = InventoryReleased {
            product_id: Id::derived(&["apple"]),
            reservation_id: Id::derived(&["reservation", "apple"]),
            order_id,
            quantity: 1,
            available: 10,
            released_at: at(0),
        };
        self.payment(PaymentEvent::PaymentReleased(PaymentReleased { order_id }), 0)
            .list(ShoppingListEvent::ShoppingListCanceled(canceled), by)
            .tell(
                format!("inventory.StockItem/{}", order("apple")),
                &StockEvent::InventoryReleased(released),
                by,
                0,
            )
    }

    fn rejected(self) -> Self {
        let rejected = OrderRejected {
            customer_id: Id::derived(&["ada"]),
            payment_id: Id::derived(&["card"]),
            reason: "OUT_OF_STOCK".into(),
        };
        self.order(OrderEvent::OrderRejected(rejected), "saga:order")
    }

    fn cancelled(self, reason: Option<&str>) -> Self {
        let canceled = OrderCanceled {
            customer_id: Id::derived(&["ada"]),
            payment_id: Id::derived(&["card"]),
            reason: reason.map(str::to_owned),
        };
        self.order(OrderEvent::OrderCanceled(canceled), "anonymous")
    }

    /// All of it at once.
    fn parts(&self) -> Parts {
        let [change] = &Change::together(self.heard.clone())[..] else { panic!("one order") };
        change.parts.clone()
    }
}

/// Every way that a saga goes, with its status in the end.
fn stories() -> Vec<(Status, Story)> {
    let overdue = |name| {
        let story = Story::of(name).invoiced();
        let canceled = InvoiceCanceled { order_id: story.id, reason: "PAYMENT_OVERDUE".into() };
        story.invoice(InvoiceEvent::InvoiceCanceled(canceled), "saga:order")
    };
    let stuck = |name| Story::of(name).placed().undone("saga:order").saga(Ended::Stuck);
    let redriven = Story::of("redriven").placed().saga(Ended::Aborted);
    let run = Run::Saga(redriven.id);
    vec![
        (Status::Running, Story::of("waiting").invoiced()),
        (Status::Succeeded, Story::of("completed").completed().saga(Ended::Well)),
        (Status::Succeeded, Story::of("paid, and not completed yet").invoiced().saga(Ended::Well)),
        (Status::Running, Story::of("being undone").placed().undone("saga:order")),
        (
            Status::Compensated,
            Story::of("rejected").placed().undone("saga:order").rejected().saga(Ended::Well),
        ),
        (
            Status::Cancelled,
            Story::of("cancelled").approved().cancelled(None).undone("policy:x").saga(Ended::Well),
        ),
        (Status::Running, Story::of("cancelled, and not over yet").approved().cancelled(None)),
        (
            Status::Cancelled,
            overdue("overdue").cancelled(Some("PAYMENT_OVERDUE")).undone("policy:x").saga(Ended::Well),
        ),
        (Status::Stuck, stuck("stuck")),
        (Status::Stuck, stuck("cancelled and stuck").cancelled(None)),
        (Status::Stuck, stuck("being undone by hand").undo(1, Ended::Running)),
        (
            Status::Stuck,
            stuck("stuck again").undo(1, Ended::Running).undo(1, Ended::Stuck).undo(2, Ended::Running),
        ),
        (Status::Compensated, stuck("undone by hand").undo(1, Ended::Stuck).undo(2, Ended::Well).rejected()),
        (Status::Compensated, stuck("undone by hand, and nobody said so").rejected()),
        (Status::Cancelled, stuck("cancelled, undone by hand").cancelled(None).undo(1, Ended::Well)),
        (Status::Aborted, Story::of("aborted").placed().saga(Ended::Aborted)),
        (Status::Succeeded, Story::of("aborted while it waited").invoiced().saga(Ended::Aborted).paid()),
        (Status::Stuck, stuck("undone, and completed all the same").paid()),
        (Status::Stuck, Story::of("nobody reminds").invoiced().saga(Ended::Stuck)),
        (Status::Running, redriven.says(run, Ended::Running, 1)),
    ]
}

// ---- stores

/// Counts the writes, and those that supposed what does not hold.
struct Counted<R> {
    rows: R,
    writes: AtomicU32,
    misses: AtomicU32,
}

impl<R> Counted<R> {
    fn over(rows: R) -> Self {
        Self { rows, writes: AtomicU32::new(0), misses: AtomicU32::new(0) }
    }
}

#[async_trait]
impl<R: SagaRows> SagaRows for Counted<R> {
    async fn write(&self, order_id: OrderId, plan: &Plan) -> Result<Written, ViewError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let written = self.rows.write(order_id, plan).await?;
        self.misses.fetch_add(u32::from(matches!(written, Written::No(_))), Ordering::Relaxed);
        Ok(written)
    }

    async fn rows(&self, ids: &[OrderId], consistency: Consistency) -> Result<Vec<SagaRow>, ViewError> {
        self.rows.rows(ids, consistency).await
    }

    async fn places(&self, s: Status, after: Option<&Place>, limit: usize) -> Result<Vec<Place>, ViewError> {
        self.rows.places(s, after, limit).await
    }
}

struct Stage {
    name: &'static str,
    rows: Arc<dyn SagaRows>,
    _dynamo: Option<EmbeddedDynamo>,
}

impl Stage {
    async fn both() -> [Self; 2] {
        let dynamo = EmbeddedDynamo::start().await;
        create_table(&dynamo.client(), "sagas").await.unwrap();
        let table = SagaTable::new(dynamo.client(), "sagas");
        [
            Self { name: "memory", rows: Arc::new(MemoryRows::new()), _dynamo: None },
            Self { name: "DynamoDB", rows: Arc::new(table), _dynamo: Some(dynamo) },
        ]
    }

    async fn row(&self, id: OrderId) -> SagaRow {
        self.rows.rows(&[id], Consistency::Eventual).await.unwrap().pop().unwrap()
    }
}

// ---- rows

#[tokio::test]
async fn every_way_that_a_saga_goes_has_its_status() {
    for stage in Stage::both().await {
        for (status, story) in stories() {
            for change in &story.heard {
                join(stage.rows.as_ref(), change.clone()).await.unwrap();
                let row = stage.row(story.id).await;
                assert_eq!(row.listed, row.parts.status(), "{}: {row:?}", stage.name);
            }
            let row = stage.row(story.id).await;
            assert_eq!((row.listed, &row.parts), (status, &story.parts()), "{}", stage.name);
        }
    }
}

#[tokio::test]
async fn what_comes_last_first_makes_the_same_row() {
    for stage in Stage::both().await {
        for (status, story) in stories() {
            for change in story.heard.iter().rev().chain(&story.heard) {
                join(stage.rows.as_ref(), change.clone()).await.unwrap();
                let row = stage.row(story.id).await;
                assert_eq!(row.listed, row.parts.status(), "{}: {row:?}", stage.name);
            }
            let row = stage.row(story.id).await;
            assert_eq!((row.listed, &row.parts), (status, &story.parts()), "{}", stage.name);
            assert_eq!(
                row.started_at, "2026-11-20T09:00:01.000000000Z",
                "{}: when it was placed",
                stage.name
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_delivery_and_no_repeat_makes_another_row(
        which in any::<Index>(),
        picks in proptest::collection::vec(any::<Index>(), 0..60),
        together in 1_usize..5,
        key in any::<u64>(),
    ) {
        let stories = stories();
        let (status, story) = which.get(&stories);
        // Everything once, in some order, and between that repeats of anything.
        let mut heard: Vec<Change> = story.heard.clone();
        heard.extend(picks.iter().map(|pick| pick.get(&story.heard).clone()));
        let mut shuffled: Vec<(u64, Change)> = heard
            .into_iter()
            .enumerate()
            .map(|(n, change)| (Uuid::new_v5(&Uuid::from_u64_pair(key, n as u64), b"").as_u64_pair().0, change))
            .collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let rows = MemoryRows::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let row = runtime.block_on(async {
            for batch in shuffled.chunks(together) {
                for change in Change::together(batch.iter().map(|(_, change)| change.clone())) {
                    join(&rows, change).await.unwrap();
                }
                let row = rows.rows(&[story.id], Consistency::Eventual).await.unwrap().pop().unwrap();
                assert_eq!(row.listed, row.parts.status());
            }
            rows.rows(&[story.id], Consistency::Eventual).await.unwrap().pop().unwrap()
        });
        prop_assert_eq!((row.listed, row.parts), (*status, story.parts()));
        prop_assert_eq!(row.started_at, "2026-11-20T09:00:01.000000000Z");
    }
}

/// Every combination of what a status depends on.
fn all_parts() -> Vec<Parts> {
    let facts = [Fact::OrderCompleted, Fact::OrderCanceled, Fact::PaymentReleased, Fact::OrderRejected];
    let heard = |attempt, redrives, ended| Heard { attempt, redrives, ended, at: at(0), failure: None };
    let sagas = [
        None,
        Some(heard(0, 0, Ended::Running)),
        Some(heard(0, 0, Ended::Well)),
        Some(heard(0, 0, Ended::Stuck)),
        Some(heard(0, 0, Ended::Aborted)),
        Some(heard(0, 1, Ended::Running)),
    ];
    let undos = [None, Some(heard(1, 0, Ended::Stuck)), Some(heard(2, 0, Ended::Well))];
    let by = |by: Option<&str>| Done { at: at(0), attempts: 1, by: by.map(str::to_owned), why: None };
    let mut all = Vec::new();
    for chosen in 0_u32..1 << facts.len() {
        for saga in &sagas {
            for undo in &undos {
                for hand in [None, Some("direct")] {
                    let told = facts.iter().enumerate().filter(|(n, _)| chosen & 1 << n != 0);
                    let done: BTreeMap<Fact, Done> = told.map(|(_, fact)| (*fact, by(hand))).collect();
                    // Who did it counts for the rejection alone.
                    if hand.is_some() && !done.contains_key(&Fact::OrderRejected) {
                        continue;
                    }
                    all.push(Parts { done, saga: saga.clone(), undo: undo.clone() });
                }
            }
        }
    }
    all
}

#[test]
fn what_a_write_supposes_never_leads_to_a_status_that_is_not_the_rows() {
    let all = all_parts();
    let (mut held, mut missed) = (0_u32, 0_u32);
    for parts in &all {
        let row = SagaRow {
            order_id: order("a"),
            listed: parts.status(),
            started_at: String::new(),
            parts: parts.clone(),
        };
        for news in &all {
            let mut news = news.clone();
            news.keep_news(parts);
            if news.is_empty() {
                continue;
            }
            let mut after = parts.clone();
            after.join(news.clone());
            for plan in [Plan::blind(news.clone()), Plan::seen(&row, news)] {
                if plan.premises.iter().all(|premise| premise.holds(Some(&row))) {
                    held += 1;
                    assert_eq!(plan.status.unwrap_or(row.listed), after.status(), "{row:?} {plan:?}");
                } else {
                    missed += 1;
                }
            }
        }
    }
    assert!(held > 10_000 && missed > 10_000, "{held} held, {missed} did not: both are tried");
    for parts in all {
        let plan = Plan::blind(parts.clone());
        assert!(plan.premises.iter().all(|premise| premise.holds(None)), "a row can begin with anything");
        assert_eq!(plan.status.unwrap_or(Status::Running), parts.status());
    }
}

#[tokio::test]
async fn an_order_that_goes_well_costs_one_write_for_each_event_and_none_that_is_in_vain() {
    for (_, story) in stories().into_iter().filter(|(status, _)| *status == Status::Succeeded).take(1) {
        let rows = Counted::over(MemoryRows::new());
        for change in &story.heard {
            join(&rows, change.clone()).await.unwrap();
        }
        let count = u32::try_from(story.heard.len()).unwrap();
        assert_eq!((rows.writes.load(Ordering::Relaxed), rows.misses.load(Ordering::Relaxed)), (count, 0));
        for change in &story.heard {
            join(&rows, change.clone()).await.unwrap();
        }
        let again = rows.writes.load(Ordering::Relaxed);
        assert_eq!(again, 2 * count, "a repeat is refused once, and told what is there");
    }
}

#[tokio::test]
async fn events_of_one_order_that_come_together_are_one_write() {
    let story = Story::of("a").approved();
    let rows = Counted::over(MemoryRows::new());
    for change in Change::together(story.heard.clone()) {
        join(&rows, change).await.unwrap();
    }
    assert_eq!(rows.writes.load(Ordering::Relaxed), 1);
    assert_eq!(rows.rows(&[story.id], Consistency::Eventual).await.unwrap()[0].parts, story.parts());
}

#[tokio::test]
async fn a_completed_orders_row_is_paid_for_with_one_unit() {
    let dynamo = EmbeddedDynamo::start().await;
    create_table(&dynamo.client(), "sagas").await.unwrap();
    let table = SagaTable::new(dynamo.client(), "sagas");
    let story = Story::of("a").completed().saga(Ended::Well);
    for change in &story.heard {
        join(&table, change.clone()).await.unwrap();
    }
    let key = aws_sdk_dynamodb::types::AttributeValue::S(story.id.to_string());
    let got = dynamo.client().get_item().table_name("sagas").key("id", key).send().await.unwrap();
    let bytes = event_store::item_bytes(&got.item.unwrap());
    // The map of the execution counts as one byte there: it has some 90.
    assert!(bytes + 100 < 1024, "{bytes} bytes");
}

#[tokio::test]
async fn a_row_is_listed_where_it_stands_and_pages_follow_each_other() {
    for stage in Stage::both().await {
        let mut ids = Vec::new();
        for n in 0..5 {
            let mut story = Story::of(&n.to_string());
            story.second = 10 * n;
            let story = story.placed().saga(if n == 4 { Ended::Stuck } else { Ended::Running });
            ids.push(story.id);
            for change in story.heard {
                join(stage.rows.as_ref(), change).await.unwrap();
            }
        }
        let list = async |status, after: Option<Place>| {
            let places = stage.rows.places(status, after.as_ref(), 3).await.unwrap();
            (places.iter().map(|place| place.order_id).collect::<Vec<_>>(), places.last().cloned())
        };
        let (first, last) = list(Status::Running, None).await;
        assert_eq!(first, [ids[3], ids[2], ids[1]], "{}: newest first", stage.name);
        let cursor: Place = last.unwrap().to_string().parse().unwrap();
        assert_eq!(list(Status::Running, Some(cursor)).await.0, [ids[0]]);
        assert_eq!(list(Status::Stuck, None).await.0, [ids[4]]);
        assert!(list(Status::Succeeded, None).await.0.is_empty());
        assert_eq!(
            stage.rows.rows(&[ids[0], order("none"), ids[4]], Consistency::Eventual).await.unwrap().len(),
            2
        );
    }
    assert!("noise".parse::<Place>().is_err() && "2026_x".parse::<Place>().is_err());
}

// ---- what is told

#[test]
fn a_step_that_took_three_attempts_says_so() {
    let parts = Story::of("a").approved().parts();
    assert_eq!(parts.done[&Fact::PaymentConfirmed].attempts, 3);
    assert_eq!(parts.done[&Fact::OrderApproved].attempts, 1);
}

#[test]
fn who_did_it_is_told_where_it_was_not_the_saga() {
    let parts = Story::of("a").approved().cancelled(None).undone("policy:release").parts();
    assert_eq!(parts.done[&Fact::PaymentReleased].by, None);
    assert_eq!(parts.done[&Fact::ShoppingListCanceled].by.as_deref(), Some("policy:release"));
    assert_eq!(parts.order(), "cancelled");
    assert_eq!(parts.failure().unwrap().error, "OUT_OF_STOCK");
}

#[test]
fn an_event_that_is_about_no_order_changes_no_row() {
    let authorized = CustomerEvent::CustomerAuthorized(CustomerAuthorized { order_id: None });
    let told = event(format!("customers.Customer/{}", order("ada")), &authorized, 0, "direct", 0);
    assert_eq!(Change::of(&told).unwrap(), None);
    let noise = Envelope { data: Some(json!({ "orderId": 7 })), ..told };
    assert!(Change::of(&noise).is_err(), "what makes no sense is not passed over");
}

#[test]
fn an_order_whose_lines_were_too_large_for_the_bus_begins_its_row_all_the_same() {
    let story = Story::of("a");
    let created = OrderCreated {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        items: vec![],
        total: money(),
    };
    let told =
        event(format!("ordering.Order/{}", story.id), &OrderEvent::OrderCreated(created), 1, "anonymous", 0);
    let whole = Change::of(&told).unwrap();
    assert_eq!(Change::of(&Envelope { data: None, ..told }).unwrap(), whole);
}

proptest! {
    #[test]
    fn what_was_done_reads_back_the_same_and_sorts_by_its_time(
        micros in 0_i64..4_000_000_000_000_000,
        attempts in 1_u32..200,
        by in proptest::option::of("[a-z]{1,9}:[a-z-]{1,20}"),
        why in proptest::option::of("[A-Z_]{1,20}( [a-z]{1,9}){0,3}"),
    ) {
        let done = Done { at: Timestamp::from_microsecond(micros).unwrap(), attempts, by, why };
        prop_assert_eq!(&done.to_string().parse::<Done>().unwrap(), &done);
        let later = Done { at: Timestamp::from_microsecond(micros + 1).unwrap(), attempts: 1, by: None, why: None };
        prop_assert!(done < later);
    }
}

#[test]
fn a_later_word_about_an_execution_counts_for_more() {
    let rank = |attempt, redrives, ended| {
        let heard = Heard { attempt, redrives, ended, at: at(0), failure: None };
        assert_eq!(Heard::ranked(&heard.rank()), Ok((attempt, redrives, ended)));
        heard.rank()
    };
    let saga = [rank(0, 0, Ended::Running), rank(0, 0, Ended::Aborted), rank(0, 1, Ended::Running)];
    assert!(saga.is_sorted());
    let undo = [rank(1, 0, Ended::Stuck), rank(2, 0, Ended::Running), rank(10, 0, Ended::Stuck)];
    assert!(undo.is_sorted());
    assert!(undo[2] < rank(1, 0, Ended::Well), "what was undone stays undone");
}

// ---- what Step Functions says

fn status_change(name: &str, status: &str, more: serde_json::Value) -> StatusChange {
    let mut detail = json!({
        "executionArn": "arn", "stateMachineArn": "arn", "name": name, "status": status,
        "startDate": 1_795_165_200_000_i64, "stopDate": null, "input": "{}", "output": null,
        "inputDetails": { "included": true }, "redriveCount": 0, "error": null, "cause": null,
    });
    detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(detail).unwrap()
}

#[test]
fn a_status_change_is_told_as_step_functions_words_it() {
    let id = order("a");
    let stop = json!({ "stopDate": 1_795_165_209_000_i64, "error": "SagaStuck", "cause": "X: down" });
    let (run, execution) = status_change(&id.to_string(), "FAILED", stop).told().unwrap().unwrap();
    assert_eq!((run, execution.ended, execution.ended_at), (Run::Saga(id), Ended::Stuck, Some(at(9))));
    assert_eq!(execution.error.unwrap().cause, "X: down");
    let (run, execution) =
        status_change(&format!("{id}-undo-3"), "RUNNING", json!({})).told().unwrap().unwrap();
    assert_eq!((run, execution.ended, execution.ended_at), (Run::Undo(id, 3), Ended::Running, None));
}

#[test]
fn a_saga_that_undid_everything_says_what_made_it() {
    let wrapped =
        json!({ "errorType": "X", "errorMessage": json!({ "errorMessage": "only 3 left" }).to_string() });
    let output = json!({ "failure": { "Error": "OUT_OF_STOCK", "Cause": wrapped.to_string() } });
    let told = status_change(&order("a").to_string(), "SUCCEEDED", json!({ "output": output.to_string() }));
    let failure = told.told().unwrap().unwrap().1.error.unwrap();
    assert_eq!((failure.error.as_str(), failure.cause.as_str()), ("OUT_OF_STOCK", "only 3 left"));
    for output in [json!(null), json!("{}"), json!("noise")] {
        let told = status_change(&order("a").to_string(), "SUCCEEDED", json!({ "output": output }));
        assert_eq!(told.told().unwrap().unwrap().1.error, None);
    }
}

#[test]
fn an_execution_that_somebody_started_for_no_order_is_passed_over() {
    for name in ["by-hand", "", "x-undo-1", &format!("{}-undo-x", order("a"))] {
        assert!(status_change(name, "RUNNING", json!({})).told().unwrap().is_none(), "{name}");
    }
}
