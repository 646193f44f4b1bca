//! What a customer is told became of an order, over HTTP: given what happened in all contexts, then this story.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use contracts::{
    depot::{
        ShoppingListAssigned, ShoppingListCanceled, ShoppingListCompleted, ShoppingListCreated,
        ShoppingListEvent, ShoppingListInitiated, ShoppingListStarted, Stop, StopItem,
    },
    ids::{OrderId, shopping_list_of},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderItem, OrderReadied,
        OrderRejected,
    },
    payments::{
        InvoiceAdjusted, InvoiceCanceled, InvoiceCreated, InvoiceEvent, InvoicePaid, InvoiceReminded,
        PaymentAuthorized, PaymentCaptured, PaymentConfirmed, PaymentEvent, PaymentRefunded, PaymentReleased,
    },
};
use event_store::{EventStore, MemoryLog};
use kernel::{Event, Id, Money, StreamId};
use lambda::use_case;
use ordering::Ordering;
use proptest::prelude::*;
use serde_json::{Value, json};
use testing::{FaultyLog, TestPorts, tell};

fn order_id() -> OrderId {
    Id::derived(&["order"])
}

fn other_order() -> OrderId {
    Id::derived(&["another order"])
}

fn money(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

// ---- what happens

fn created() -> OrderEvent {
    let item = |name: &str, quantity| OrderItem {
        store_id: Id::derived(&["store"]),
        product_id: Id::derived(&[name]),
        store_name: "Fruit & Veg".into(),
        product_name: name.into(),
        price: money(75),
        quantity,
    };
    OrderEvent::OrderCreated(OrderCreated {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        items: vec![item("apple", 2), item("pear", 1)],
        total: money(225),
    })
}

fn approved() -> OrderEvent {
    OrderEvent::OrderApproved(OrderApproved {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        shopping_id: Some(shopping_list_of(order_id())),
    })
}

fn readied() -> OrderEvent {
    OrderEvent::OrderReadied(OrderReadied {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        total: money(225),
    })
}

fn completed() -> OrderEvent {
    OrderEvent::OrderCompleted(OrderCompleted {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        invoice_id: order_id().as_kind(),
    })
}

fn rejected(reason: &str) -> OrderEvent {
    OrderEvent::OrderRejected(OrderRejected {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        reason: reason.into(),
    })
}

fn cancelled() -> OrderEvent {
    OrderEvent::OrderCanceled(OrderCanceled {
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        reason: None,
    })
}

fn planned(order_id: OrderId) -> ShoppingListEvent {
    let items =
        vec![StopItem { product_id: Id::derived(&["apple"]), product_name: "apple".into(), quantity: 2 }];
    let (store_name, store_location) = ("Fruit & Veg".into(), "Hall 1".into());
    let stops = vec![Stop { store_id: Id::derived(&["store"]), store_name, store_location, items }];
    ShoppingListEvent::ShoppingListCreated(ShoppingListCreated { order_id, stops })
}

fn initiated() -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListInitiated(ShoppingListInitiated { order_id: order_id() })
}

fn taken() -> ShoppingListEvent {
    let bot_id = Id::derived(&["bot"]);
    ShoppingListEvent::ShoppingListAssigned(ShoppingListAssigned { order_id: order_id(), bot_id })
}

fn started() -> ShoppingListEvent {
    let bot_id = Id::derived(&["bot"]);
    ShoppingListEvent::ShoppingListStarted(ShoppingListStarted { order_id: order_id(), bot_id })
}

fn collected() -> ShoppingListEvent {
    let bot_id = Id::derived(&["bot"]);
    ShoppingListEvent::ShoppingListCompleted(ShoppingListCompleted { order_id: order_id(), bot_id })
}

fn called_off(reason: &str) -> ShoppingListEvent {
    let reason = reason.into();
    ShoppingListEvent::ShoppingListCanceled(ShoppingListCanceled {
        order_id: order_id(),
        bot_id: None,
        reason,
    })
}

fn put_up(customer: &str) -> PaymentEvent {
    PaymentEvent::PaymentAuthorized(PaymentAuthorized {
        customer_id: Id::derived(&[customer]),
        amount: money(500),
    })
}

fn held(order_id: OrderId) -> PaymentEvent {
    PaymentEvent::PaymentConfirmed(PaymentConfirmed { order_id, amount: money(225) })
}

fn released(order_id: OrderId) -> PaymentEvent {
    PaymentEvent::PaymentReleased(PaymentReleased { order_id })
}

fn captured() -> PaymentEvent {
    PaymentEvent::PaymentCaptured(PaymentCaptured { order_id: order_id(), amount: money(225) })
}

fn refunded() -> PaymentEvent {
    let (amount, reason) = (money(225), "ORDER_CANCELLED".into());
    PaymentEvent::PaymentRefunded(PaymentRefunded { order_id: order_id(), amount, reason })
}

fn invoiced() -> InvoiceEvent {
    InvoiceEvent::InvoiceCreated(InvoiceCreated {
        order_id: order_id(),
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        amount: money(225),
    })
}

fn adjusted() -> InvoiceEvent {
    let (old_amount, amount) = (money(225), money(200));
    InvoiceEvent::InvoiceAdjusted(InvoiceAdjusted { order_id: order_id(), old_amount, amount })
}

fn reminded() -> InvoiceEvent {
    InvoiceEvent::InvoiceReminded(InvoiceReminded {
        order_id: order_id(),
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        amount: money(225),
        reminder: 1,
        due_at: "2026-11-27T09:00:30.5Z".parse().unwrap(),
    })
}

fn paid() -> InvoiceEvent {
    InvoiceEvent::InvoicePaid(InvoicePaid {
        order_id: order_id(),
        customer_id: Id::derived(&["ada"]),
        payment_id: Id::derived(&["card"]),
        amount: money(225),
    })
}

fn uninvoiced() -> InvoiceEvent {
    let reason = "ORDER_CANCELLED".into();
    InvoiceEvent::InvoiceCanceled(InvoiceCanceled { order_id: order_id(), reason })
}

/// One thing that happens, in whichever stream it belongs to.
#[derive(Debug, Clone)]
enum Happens {
    Order(OrderEvent),
    List(ShoppingListEvent),
    Invoice(InvoiceEvent),
    Payment(PaymentEvent),
}

macro_rules! happens {
    ($event:ty, $variant:ident) => {
        impl From<$event> for Happens {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        }
    };
}

happens!(OrderEvent, Order);
happens!(ShoppingListEvent, List);
happens!(InvoiceEvent, Invoice);
happens!(PaymentEvent, Payment);

/// `happened![a, b, c]`: in this order, a second apart.
macro_rules! happened {
    ($($event:expr),* $(,)?) => { World::after(vec![$(Happens::from($event)),*]).await };
}

struct World {
    ports: TestPorts,
    log: FaultyLog,
    store: EventStore,
}

impl World {
    async fn after(history: Vec<Happens>) -> Self {
        let ports = TestPorts::new(1);
        let log = FaultyLog::new(Arc::new(MemoryLog::default()));
        let store = EventStore::new(Arc::new(log.clone()), ports.ports());
        let world = Self { ports, log, store };
        for event in history {
            world.ports.advance(Duration::from_secs(1));
            match event {
                Happens::Order(event) => world.happened("ordering.Order", order_id(), event).await,
                Happens::List(event) => {
                    world.happened("depot.ShoppingList", shopping_list_of(order_id()), event).await;
                }
                Happens::Invoice(event) => world.happened("payments.Invoice", order_id(), event).await,
                Happens::Payment(event) => {
                    world.happened("payments.Payment", Id::<()>::derived(&["card"]), event).await;
                }
            }
        }
        world
    }

    async fn happened<K>(&self, category: &str, id: Id<K>, event: impl Event) {
        let stream: StreamId = format!("{category}/{id}").parse().unwrap();
        tell(&self.store, &stream, &event, &self.ports.command("saga:order")).await;
    }

    async fn get(&self, id: &str) -> (u64, Value) {
        let ports = self.ports.ports();
        let ordering = Arc::new(Ordering::new(self.store.clone(), ports.clone()));
        let function = use_case(&ordering, &ports, Ordering::get_order_timeline);
        let payload = json!({
            "rawPath": format!("/api/orders/{id}/timeline"), "headers": {}, "pathParameters": { "id": id },
            "requestContext": { "http": { "method": "GET" } }
        });
        let answer = function.invoke(payload).await.unwrap();
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    async fn timeline(&self) -> Value {
        let (status, mut body) = self.get(&order_id().to_string()).await;
        assert_eq!(status, 200, "{body}");
        body["timeline"].take()
    }

    /// What the timeline is about, in short: the kinds of things that happened, and what is awaited.
    async fn tells(&self) -> (Vec<String>, Option<String>) {
        let timeline = self.timeline().await;
        let entries = timeline["entries"].as_array().unwrap().iter();
        let what = entries.map(|entry| entry["what"].as_str().unwrap().to_owned()).collect();
        (what, timeline["awaits"].as_str().map(str::to_owned))
    }

    async fn waits_for(&self, code: impl Into<Option<&'static str>>) {
        let (what, awaits) = self.tells().await;
        assert_eq!(awaits.as_deref(), code.into(), "after {what:?}");
    }

    async fn texts(&self) -> Vec<String> {
        let timeline = self.timeline().await;
        let entries = timeline["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_completed_order_tells_its_whole_story_in_the_order_of_time() {
    let world = happened![
        put_up("ada"),
        created(),
        planned(order_id()),
        held(order_id()),
        initiated(),
        approved(),
        taken(),
        started(),
        collected(),
        readied(),
        invoiced(),
        reminded(),
        paid(),
        completed(),
        captured(),
    ];
    assert_eq!(
        world.texts().await,
        [
            "Up to 5.00 USD was put up to pay with.",
            "The order was placed: 3 pieces for 2.25 USD.",
            "The shopping was planned: a bot will go to 1 store.",
            "2.25 USD is held for the order.",
            "The shopping list waits for a bot.",
            "The order was approved: everything it needs is in place.",
            "A bot took the shopping list.",
            "The bot is on its way through the stores.",
            "The bot collected everything.",
            "The order is ready: 2.25 USD is to be paid.",
            "The invoice says 2.25 USD.",
            "The customer was reminded: 2.25 USD is to be paid until 2026-11-27 09:00 UTC.",
            "The invoice of 2.25 USD was paid.",
            "The order was completed.",
            "2.25 USD was taken.",
        ]
    );
    let timeline = world.timeline().await;
    assert_eq!(timeline["status"], "completed");
    assert_eq!(timeline["awaits"], Value::Null);
    assert_eq!(timeline["summary"], "The order is completed: nothing more is to happen.");
    assert_eq!(
        timeline["entries"][2],
        json!({
            "at": "2026-11-20T09:00:03.000000000Z", "what": "ShoppingListCreated", "context": "depot", "by": "saga:order",
            "text": "The shopping was planned: a bot will go to 1 store.",
        })
    );
}

#[tokio::test]
async fn a_rejected_order_says_why_and_what_was_undone() {
    let world = happened![
        put_up("ada"),
        created(),
        planned(order_id()),
        released(order_id()),
        called_off("PAYMENT_DOES_NOT_COVER_TOTAL"),
        rejected("PAYMENT_DOES_NOT_COVER_TOTAL"),
    ];
    assert_eq!(
        world.texts().await[3..],
        [
            "The payment was released: nothing is taken.",
            "The shopping was called off (PAYMENT_DOES_NOT_COVER_TOTAL).",
            "The order was rejected (PAYMENT_DOES_NOT_COVER_TOTAL).",
        ]
    );
    let timeline = world.timeline().await;
    assert_eq!(
        timeline["summary"],
        "The order is rejected (PAYMENT_DOES_NOT_COVER_TOTAL): nothing more is to happen."
    );
}

#[tokio::test]
async fn what_an_order_waits_for_is_never_a_guess() {
    happened![created()].waits_for("checks").await;
    let (listed, approve) = (planned(order_id()), approved());
    // Even when the list is not released yet: it is a moment.
    happened![created(), listed.clone(), approve.clone()].waits_for("bot").await;
    happened![created(), listed.clone(), initiated(), approve.clone()].waits_for("bot").await;
    happened![created(), listed.clone(), approve.clone(), taken()].waits_for("collection").await;
    happened![created(), listed.clone(), approve.clone(), started()].waits_for("collection").await;
    happened![created(), listed.clone(), approve.clone(), collected()].waits_for("handover").await;
    happened![created(), approve.clone(), readied()].waits_for("handover").await;
    happened![created(), approve.clone(), readied(), invoiced()].waits_for("payment").await;
    happened![created(), approve.clone(), readied(), invoiced(), adjusted()].waits_for("payment").await;
    happened![created(), approve.clone(), readied(), invoiced(), reminded()].waits_for("payment").await;
    happened![created(), approve.clone(), readied(), invoiced(), paid()].waits_for("completion").await;
    // What does not go on by itself is said to need somebody: an order without a list,
    happened![created(), approve.clone()].waits_for("staff").await;
    let withdrawn = called_off("BROKEN_DOWN");
    happened![created(), listed.clone(), approve.clone(), withdrawn].waits_for("staff").await;
    happened![created(), approve.clone(), readied(), invoiced(), uninvoiced()].waits_for("staff").await;
    // one whose saga undid a part,
    happened![created(), listed, called_off("OUT_OF_STOCK")].waits_for("staff").await;
    happened![created(), held(order_id()), released(order_id())].waits_for("staff").await;
    // and one that was paid with money that was not taken.
    happened![created(), held(order_id()), approve, readied(), invoiced(), paid(), completed()]
        .waits_for("staff")
        .await;
    // Money of an order that is over is on its way back until it is back.
    happened![created(), cancelled()].waits_for(None).await;
    happened![created(), held(order_id()), cancelled()].waits_for("refund").await;
    happened![created(), held(order_id()), cancelled(), released(order_id())].waits_for(None).await;
    happened![created(), held(order_id()), captured(), cancelled()].waits_for("refund").await;
    happened![created(), held(order_id()), captured(), cancelled(), refunded()].waits_for(None).await;
}

#[tokio::test]
async fn what_was_never_made_is_not_told_as_if_it_had_been_undone() {
    let world = happened![created(), called_off("OUT_OF_STOCK"), rejected("OUT_OF_STOCK"), uninvoiced(),];
    assert_eq!(
        world.texts().await[1..],
        [
            "There will be no shopping (OUT_OF_STOCK).",
            "The order was rejected (OUT_OF_STOCK).",
            "There will be no invoice (ORDER_CANCELLED).",
        ]
    );
}

#[tokio::test]
async fn nobody_learns_what_somebody_elses_payment_was_used_for() {
    let world = happened![
        put_up("bob"),
        held(other_order()),
        created(),
        released(order_id()),
        rejected("PAYMENT_BELONGS_TO_ANOTHER_CUSTOMER"),
        released(other_order()),
    ];
    let (what, awaits) = world.tells().await;
    assert_eq!(what, ["OrderCreated", "PaymentReleased", "OrderRejected"]);
    assert_eq!(awaits, None);
}

#[tokio::test]
async fn a_list_of_another_order_tells_nothing_about_this_one() {
    let world = happened![created(), planned(other_order()), approved()];
    assert_eq!(
        world.tells().await,
        (vec!["OrderCreated".into(), "OrderApproved".into()], Some("staff".into()))
    );
}

#[tokio::test]
async fn d16_an_unknown_order_has_no_story() {
    let world = happened![created()];
    for id in [other_order().to_string(), "not-an-id".to_owned()] {
        let (status, body) = world.get(&id).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("ORDER_NOT_FOUND")), "{body}");
    }
    // A payment or list of which the order knows, and that nobody has made, is simply not in the story.
    assert_eq!(world.tells().await.0, ["OrderCreated"]);
}

#[tokio::test]
async fn a_story_costs_four_queries_however_much_else_the_shop_sells() {
    let world = happened![created(), planned(order_id()), held(order_id()), initiated(), approved()];
    world.log.take_calls();
    world.timeline().await;
    assert_eq!(world.log.take_calls().reads, 4);
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(planned(order_id()).into()),
        Just(initiated().into()),
        Just(taken().into()),
        Just(collected().into()),
        Just(called_off("X").into()),
        Just(put_up("ada").into()),
        Just(put_up("bob").into()),
        Just(held(order_id()).into()),
        Just(held(other_order()).into()),
        Just(released(order_id()).into()),
        Just(captured().into()),
        Just(refunded().into()),
        Just(invoiced().into()),
        Just(adjusted().into()),
        Just(reminded().into()),
        Just(paid().into()),
        Just(uninvoiced().into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_other_contexts_say_in_whatever_order_there_is_a_story_in_the_order_of_time(
        history in proptest::collection::vec(anything(), 0..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ours = |happens: &&Happens| match happens {
                Happens::Payment(PaymentEvent::PaymentAuthorized(event)) => event.customer_id == Id::derived(&["ada"]),
                Happens::Payment(PaymentEvent::PaymentConfirmed(event)) => event.order_id == order_id(),
                Happens::Payment(_) | Happens::Order(_) | Happens::List(_) | Happens::Invoice(_) => true,
            };
            let wanted = history.iter().filter(ours).count() + 1;
            let world = World::after([created().into()].into_iter().chain(history).collect()).await;
            let timeline = world.timeline().await;
            let entries = timeline["entries"].as_array().unwrap();
            assert_eq!(entries.len(), wanted, "every event of the order is told, and no other");
            assert!(entries.is_sorted_by_key(|entry| entry["at"].as_str().unwrap().to_owned()));
            let awaits = timeline["awaits"].as_str().unwrap();
            assert!(["checks", "staff"].contains(&awaits), "only the order's own events move it on: {awaits}");
        });
    }
}
