//! What comes of the events that ordering answers: in time, again, too early, too late, and when they make no sense.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod orders;

use std::sync::Arc;

use contracts::{
    Envelope,
    baskets::{BasketCheckedOut, BasketEvent},
    depot::{ShoppingListCanceled, ShoppingListCompleted, ShoppingListEvent},
    ids::{InvoiceId, OrderId, ShoppingListId, shopping_list_of},
    payments::{InvoiceCanceled, InvoiceEvent},
};
use event_store::{CommitLog, EventStore, Expect, Head, Loaded, MemoryLog};
use kernel::{Event, Id, Money, PayloadHash, StreamId};
use lambda::Fault;
use ordering::{
    Ordering,
    order::{Order, OrderCommand},
};
use orders::{approve, close, create, items, paid, ready};
use proptest::prelude::*;
use serde_json::json;
use testing::TestPorts;

/// The policies, and the orders they see to.
struct Stage {
    world: TestPorts,
    log: MemoryLog,
    store: EventStore,
    ordering: Arc<Ordering>,
}

fn order_id() -> OrderId {
    Id::derived(&["order"])
}

fn invoice_id() -> InvoiceId {
    order_id().as_kind()
}

fn own_list() -> ShoppingListId {
    shopping_list_of(order_id())
}

fn completed(order_id: OrderId) -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListCompleted(ShoppingListCompleted {
        order_id,
        bot_id: Id::derived(&["bot"]),
    })
}

impl Stage {
    /// An order to which these commands were sent.
    async fn with(commands: impl IntoIterator<Item = OrderCommand>) -> Self {
        let world = TestPorts::new(1);
        let log = MemoryLog::new();
        let store = EventStore::new(Arc::new(log.clone()), world.ports());
        let ordering = Arc::new(Ordering::new(store.clone(), world.ports()));
        let stage = Self { world, log, store, ordering };
        for command in commands {
            stage.send(command).await;
        }
        stage
    }

    async fn send(&self, command: OrderCommand) {
        let stream = StreamId::of::<Order, _>(order_id());
        let meta = self.world.command("stage");
        self.store.transact::<Order>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    async fn order(&self) -> Loaded<Order> {
        self.store.load(&StreamId::of::<Order, _>(order_id())).await.unwrap()
    }

    async fn status(&self) -> (&'static str, u64) {
        let order = self.order().await;
        (order.state.as_ref().map_or("none", Order::status), order.version().get())
    }

    /// The event, committed as the first of its stream, as it travels on the bus.
    async fn committed(&self, stream: &str, event: &impl Event) -> Envelope {
        let stream: StreamId = stream.parse().unwrap();
        let meta = self.world.command("another context");
        let hash = PayloadHash::stored("0".repeat(32));
        let commit =
            Head::new_stream(stream.clone()).commit(event.to_raw().unwrap(), vec![], hash, &meta, None);
        self.log.append(&commit).await.unwrap();
        self.store.event(&stream, kernel::Version::FIRST).await.unwrap().unwrap()
    }

    async fn list_completed(&self) -> Envelope {
        self.committed(&format!("depot.ShoppingList/{}", own_list()), &completed(order_id())).await
    }

    async fn invoice_paid(&self) -> Envelope {
        self.committed(&format!("payments.Invoice/{}", invoice_id()), &paid(order_id())).await
    }

    async fn ready_order(&self, event: &Envelope) -> Result<(), Fault> {
        self.ordering.clone().ready_order(event.clone()).await
    }

    async fn complete_order(&self, event: &Envelope) -> Result<(), Fault> {
        self.ordering.clone().complete_order(event.clone()).await
    }
}

#[tokio::test]
async fn d4_an_order_is_completed_when_its_invoice_is_paid() {
    let stage = Stage::with([create(), approve(order_id()), ready(order_id())]).await;
    stage.complete_order(&stage.invoice_paid().await).await.unwrap();
    assert_eq!(stage.status().await, ("completed", 4));
    assert_eq!(stage.order().await.state.unwrap().invoice_id(), Some(invoice_id()));
}

#[tokio::test]
async fn d14_the_order_that_becomes_ready_is_the_one_the_list_was_for() {
    let stage = Stage::with([create(), approve(order_id())]).await;
    let event = stage.list_completed().await;
    assert_ne!(event.stream.id(), order_id().to_string(), "the event happened to the list");
    stage.ready_order(&event).await.unwrap();
    assert_eq!(stage.status().await, ("ready", 3));
    let ghost: Loaded<Order> =
        stage.store.load(&StreamId::of::<Order, _>(own_list().as_kind::<()>())).await.unwrap();
    assert!(ghost.state.is_none());
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing() {
    let stage = Stage::with([create(), approve(order_id())]).await;
    let (collected, invoice) = (stage.list_completed().await, stage.invoice_paid().await);
    for _ in 0..3 {
        stage.ready_order(&collected).await.unwrap();
    }
    assert_eq!(stage.status().await, ("ready", 3));
    for _ in 0..3 {
        stage.complete_order(&invoice).await.unwrap();
        stage.ready_order(&collected).await.unwrap();
    }
    assert_eq!(stage.status().await, ("completed", 4));
}

#[tokio::test]
async fn d11_a_bot_that_is_quicker_than_the_approval_is_not_forgotten() {
    let stage = Stage::with([create()]).await;
    let event = stage.list_completed().await;
    for _ in 0..3 {
        let fault = stage.ready_order(&event).await.unwrap_err();
        assert!(fault.is_technical(), "{fault}");
        assert_eq!(stage.status().await, ("pending", 1));
    }
    stage.send(approve(order_id())).await;
    stage.ready_order(&event).await.unwrap();
    assert_eq!(stage.status().await, ("ready", 3));
}

#[tokio::test]
async fn d11_a_payment_that_is_quicker_than_the_collection_is_not_forgotten() {
    for commands in [vec![create()], vec![create(), approve(order_id())]] {
        let stage = Stage::with(commands).await;
        let before = stage.status().await;
        let event = stage.invoice_paid().await;
        let fault = stage.complete_order(&event).await.unwrap_err();
        assert!(fault.is_technical(), "{fault}");
        assert_eq!(stage.status().await, before);
        if before.0 == "pending" {
            stage.send(approve(order_id())).await;
        }
        stage.send(ready(order_id())).await;
        stage.complete_order(&event).await.unwrap();
        assert_eq!(stage.status().await, ("completed", 4));
    }
}

#[tokio::test]
async fn d11_an_event_that_comes_too_late_is_done_with_and_changes_nothing() {
    for commands in [
        vec![create(), OrderCommand::Cancel],
        vec![create(), close("PAYMENT_IS_USED")],
        vec![create(), approve(order_id()), OrderCommand::Cancel],
        vec![create(), approve(order_id()), close("PAYMENT_IS_USED")],
        vec![create(), approve(order_id()), ready(order_id()), OrderCommand::Cancel],
    ] {
        let stage = Stage::with(commands).await;
        let before = stage.status().await;
        stage.ready_order(&stage.list_completed().await).await.unwrap();
        stage.complete_order(&stage.invoice_paid().await).await.unwrap();
        assert_eq!(stage.status().await, before);
    }
}

#[tokio::test]
async fn d14_a_list_that_somebody_made_beside_the_orders_own_does_not_make_it_ready() {
    let stage = Stage::with([create(), approve(order_id())]).await;
    let by_hand = Id::<()>::derived(&["made by hand"]);
    let event = stage.committed(&format!("depot.ShoppingList/{by_hand}"), &completed(order_id())).await;
    stage.ready_order(&event).await.unwrap();
    assert_eq!(stage.status().await, ("approved", 2));
}

#[tokio::test]
async fn d16_an_event_about_an_order_that_there_is_not_is_kept_for_somebody_to_see() {
    let stage = Stage::with([]).await;
    let fault = stage.ready_order(&stage.list_completed().await).await.unwrap_err();
    assert_eq!(fault.code, "ORDER_NOT_FOUND");
    let fault = stage.complete_order(&stage.invoice_paid().await).await.unwrap_err();
    assert_eq!(fault.code, "ORDER_NOT_FOUND");
    assert_eq!(stage.status().await, ("none", 0));
}

#[tokio::test]
async fn an_event_that_makes_no_sense_is_kept_for_somebody_to_see() {
    let stage = Stage::with([create(), approve(order_id())]).await;
    let mut event = stage.list_completed().await;
    event.data = Some(json!({ "order": 7 }));
    assert!(stage.ready_order(&event).await.is_err());
    let mut event = stage.invoice_paid().await;
    event.data = Some(json!({ "orderId": "no id" }));
    assert!(stage.complete_order(&event).await.is_err());
    // What a mistake in a rule would let through.
    let (list, invoice) = (Id::<()>::derived(&["other list"]), Id::<()>::derived(&["other invoice"]));
    let reason = || "TOO_LATE".to_owned();
    let canceled = ShoppingListCanceled { order_id: order_id(), bot_id: None, reason: reason() };
    let canceled = ShoppingListEvent::ShoppingListCanceled(canceled);
    let event = stage.committed(&format!("depot.ShoppingList/{list}"), &canceled).await;
    assert!(stage.ready_order(&event).await.is_err());
    let canceled = InvoiceEvent::InvoiceCanceled(InvoiceCanceled { order_id: order_id(), reason: reason() });
    let event = stage.committed(&format!("payments.Invoice/{invoice}"), &canceled).await;
    assert!(stage.complete_order(&event).await.is_err());
    assert_eq!(stage.status().await, ("approved", 2));
}

#[tokio::test]
async fn a_body_that_the_bus_could_not_carry_is_read_where_it_was_written() {
    let stage = Stage::with([create(), approve(order_id())]).await;
    let mut event = stage.list_completed().await;
    event.data = None;
    stage.ready_order(&event).await.unwrap();
    let mut event = stage.invoice_paid().await;
    event.data = None;
    stage.complete_order(&event).await.unwrap();
    assert_eq!(stage.status().await, ("completed", 4));
}

#[tokio::test]
async fn a_basket_becomes_one_order_however_often_it_is_delivered_at_the_prices_the_shopper_saw() {
    let stage = Stage::with([]).await;
    let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
    let checked_out = BasketCheckedOut { customer_id, payment_id, items: items() };
    let event = stage
        .committed(&format!("baskets.Basket/{}", order_id()), &BasketEvent::BasketCheckedOut(checked_out))
        .await;
    for _ in 0..3 {
        stage.ordering.clone().create_order_on_checkout(event.clone()).await.unwrap();
    }
    assert_eq!(stage.status().await, ("pending", 1));
    let order = stage.order().await.state.unwrap();
    assert_eq!((&order.placed().items, order.placed().total), (&items(), Money::from_minor(150).unwrap()));
}

proptest! {
    /// Whatever the order in which approval, collection and payment arrive, and however often: when each has had its
    /// chance to come again, the order is completed, and it took exactly four events.
    #[test]
    fn no_order_of_arrival_loses_an_order(arrivals in prop::collection::vec(0..3_u8, 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::with([create()]).await;
            let (collected, invoice) = (stage.list_completed().await, stage.invoice_paid().await);
            for arrival in arrivals.into_iter().chain([0, 1, 2]) {
                // What fails goes back to its queue, and arrives again below at the latest.
                let _ = match arrival {
                    0 => {
                        stage.send(approve(order_id())).await;
                        Ok(())
                    }
                    1 => stage.ready_order(&collected).await,
                    _ => stage.complete_order(&invoice).await,
                };
            }
            assert_eq!(stage.status().await, ("completed", 4));
        });
    }
}
