//! Orders keep all of their products or none, whatever goes wrong and however many want the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use contracts::{
    ids::{OrderId, ProductId},
    inventory::StockEvent,
    ordering::{OrderApproved, OrderCompleted, OrderEvent, OrderReadied, OrderRejected},
};
use event_store::{CommitLog, MemoryLog};
use inventory::stock::StockCommand;
use kernel::{Aggregate, Id, Money};
use lambda::{Answer, Fault};
use stage::{House, cancelled};
use testing::{
    EmbeddedDynamo, FaultyLog, Seeded,
    faulty::{Chances, OnAppend},
};
use tokio::task::JoinSet;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{self, Attributes, Record},
};

/// A house with two products, in the order in which they are asked for, and the log that can be made to fail.
async fn faulty_house(pieces: [u32; 2]) -> (Arc<House>, FaultyLog, [ProductId; 2]) {
    let behind = Arc::new(MemoryLog::new());
    let log = FaultyLog::new(behind.clone());
    let house = House::over(Arc::new(log.clone()), behind);
    let mut names = ["apple", "pear"];
    names.sort_by_key(|name| Id::<()>::derived(&["product", name]));
    let first = house.stocked(names[0], pieces[0]).await;
    let second = house.stocked(names[1], pieces[1]).await;
    assert!(first < second);
    (Arc::new(house), log, [first, second])
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Fault>, code: &str) {
    let fault = result.expect_err(code);
    assert_eq!((fault.status, fault.code.as_ref(), fault.is_technical()), (409, code, false), "{fault}");
}

#[tokio::test]
async fn an_order_keeps_all_of_its_products() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(second, 2), (first, 3)]).await;
    house.reserve(order).await.unwrap();
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), Some(2)));
}

#[tokio::test]
async fn two_lines_of_one_product_are_added_up_before_they_are_asked_for() {
    let (house, _, [first, _]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (first, 2)]).await;
    house.reserve(order).await.unwrap();
    assert_eq!(house.kept(first, order).await, Some(5));
    let greedy = house.order("2", &[(first, u32::MAX), (first, 2)]).await;
    assert!(house.reserve(greedy).await.is_err(), "a sum that runs over does not become a small one");
}

#[tokio::test]
async fn an_order_that_cannot_have_one_product_keeps_none_once_it_is_undone() {
    let (house, _, [first, second]) = faulty_house([5, 1]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    let fault = house.reserve(order).await.unwrap_err();
    assert!(fault.message.contains("2 asked for, but only 1 available"), "{fault}");
    assert_eq!(house.kept(first, order).await, Some(3), "another attempt may rely on it");
    house.undo(order).await.unwrap();
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (None, None));
    assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 1));
}

#[tokio::test]
async fn an_attempt_that_is_refused_takes_nothing_from_another_that_kept_all() {
    let (house, log, [first, second]) = faulty_house([5, 2]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    let (other, approved) = (house.clone(), Arc::new(AtomicBool::new(false)));
    let done = approved.clone();
    // The first attempt has kept the first product. Before it can keep the second, that is sold out and comes in again, and a
    // second attempt of the same step keeps all there is to keep. The first knows the sale only, and is refused.
    let meanwhile = OnAppend::after(move || async move {
        other.send(second, StockCommand::Reduce { quantity: 2 }).await;
        let store_id = stage::store_id();
        other.send(second, StockCommand::Add { product_id: second, store_id, quantity: 2 }).await;
        other.reserve(order).await.unwrap();
        done.store(true, Ordering::SeqCst);
    });
    log.on_append([OnAppend::Healthy, OnAppend::Healthy, meanwhile]);
    refused(house.reserve(order).await, "INSUFFICIENT_STOCK");
    assert!(approved.load(Ordering::SeqCst), "the attempts did not overlap");
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), Some(2)));
    let greedy = house.order("2", &[(first, 3)]).await;
    refused(house.reserve(greedy).await, "INSUFFICIENT_STOCK");
}

#[tokio::test]
async fn an_attempt_that_goes_on_after_the_undo_keeps_nothing() {
    // The attempt has read the pending order. Nothing is asked for when the undo runs, or nothing kept, or
    // the first product.
    for written in [0, 1, 2] {
        let (house, log, [first, second]) = faulty_house([5, 5]).await;
        let order = house.order("1", &[(first, 3), (second, 2)]).await;
        let other = house.clone();
        let meanwhile = OnAppend::after(move || async move {
            other.undo(order).await.unwrap();
        });
        log.on_append((0..written).map(|_| OnAppend::Healthy).chain([meanwhile]));
        refused(house.reserve(order).await, "RESERVATION_IS_CLOSED");
        assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (None, None));
        assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 5));
    }
}

#[tokio::test]
async fn attempts_that_come_after_their_order_was_forgotten_keep_and_give_back_once() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    house.reserve(order).await.unwrap();
    house.forgets(first).await;
    for _ in 0..2 {
        house.reserve(order).await.unwrap();
        house.reserve_again(order).await.unwrap();
    }
    assert_eq!((house.stock(first).await.reserved(), house.stock(second).await.reserved()), (3, 2));
    house.close(order).await;
    for _ in 0..3 {
        house.forgets(second).await;
        house.release(order).await.unwrap();
        house.release_again(order).await.unwrap();
        house.forgets(first).await;
    }
    assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 5));
    let published = house.published("inventory.StockItem").await;
    assert_eq!(published.iter().filter(|event| event.event_type == "InventoryReleased").count(), 2);
}

#[tokio::test]
async fn an_order_that_was_forgotten_is_sold_once() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    house.reserve(order).await.unwrap();
    let event = house.becomes(order, completed(order)).await;
    for _ in 0..3 {
        house.forgets(first).await;
        house.inventory.clone().sell_reserved_stock(event.clone()).await.unwrap();
    }
    let (first, second) = (house.stock(first).await, house.stock(second).await);
    assert_eq!((first.on_hand(), first.reserved()), (2, 0));
    assert_eq!((second.on_hand(), second.reserved()), (3, 0));
}

#[tokio::test]
async fn an_attempt_that_asks_anew_after_the_undo_keeps_nothing() {
    let (house, log, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    // It has asked for both, and kept nothing, when the stock moves on.
    log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
    assert!(house.reserve(order).await.unwrap_err().is_technical());
    house.forgets(first).await;
    let other = house.clone();
    let meanwhile = OnAppend::after(move || async move {
        other.undo(order).await.unwrap();
        other.forgets(first).await;
        other.forgets(second).await;
    });
    log.on_append([meanwhile]);
    refused(house.reserve(order).await, "RESERVATION_IS_CLOSED");
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (None, None));
    assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 5));
}

#[tokio::test]
async fn an_attempt_whose_stock_moved_on_asks_anew_and_keeps_all() {
    let (house, log, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
    assert!(house.reserve(order).await.unwrap_err().is_technical());
    house.forgets(first).await;
    house.forgets(second).await;
    house.reserve(order).await.unwrap();
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), Some(2)));
}

#[tokio::test]
async fn a_product_that_is_not_tracked_is_always_to_be_had() {
    let house = House::new();
    let product = house.product("air").await;
    let order = house.order("1", &[(product, 1_000)]).await;
    house.reserve(order).await.unwrap();
    house.undo(order).await.unwrap();
    assert!(house.published("inventory.StockItem").await.is_empty(), "and nothing is written down");
}

#[tokio::test]
async fn d16_an_order_that_never_was_keeps_nothing() {
    let house = House::new();
    let ghost: OrderId = Id::derived(&["ghost"]);
    assert_eq!(house.reserve(ghost).await.unwrap_err().status, 404);
    assert_eq!(house.release(ghost).await.unwrap_err().status, 404);
}

#[tokio::test]
async fn a_crash_after_the_first_line_is_finished_by_the_retry() {
    let (house, log, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    log.on_append([OnAppend::Healthy, OnAppend::Healthy, OnAppend::Throttled]);
    let fault = house.reserve(order).await.unwrap_err();
    assert!(fault.is_technical(), "{fault}");
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), None));
    house.reserve(order).await.unwrap();
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), Some(2)));
    let commits = house.published("inventory.StockItem").await;
    let reserved = commits.iter().filter(|event| event.event_type == "InventoryReserved").count();
    assert_eq!(reserved, 2, "each is kept once");
}

#[tokio::test]
async fn a_crash_after_the_first_line_is_undone_by_the_release_and_the_late_retry_is_refused() {
    let (house, log, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    log.on_append([OnAppend::Healthy, OnAppend::Healthy, OnAppend::Throttled]);
    house.reserve(order).await.unwrap_err();
    house.close(order).await;
    for _ in 0..2 {
        house.release(order).await.unwrap();
        assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 5));
        refused(house.reserve(order).await, "ORDER_IS_OVER");
    }
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (None, None));
}

#[tokio::test]
async fn a_crash_while_giving_back_after_a_refusal_is_finished_by_the_next_release() {
    for (before, trouble) in [
        (0, OnAppend::Throttled),
        (1, OnAppend::Throttled),
        (0, OnAppend::AnswerLost),
        (1, OnAppend::AnswerLost),
    ] {
        let (house, log, [first, second]) = faulty_house([5, 1]).await;
        let order = house.order("1", &[(first, 3), (second, 2)]).await;
        refused(house.reserve(order).await, "INSUFFICIENT_STOCK");
        house.close(order).await;
        let lost = matches!(trouble, OnAppend::AnswerLost);
        log.on_append((0..before).map(|_| OnAppend::Healthy).chain([trouble]));
        match house.release(order).await {
            // The store looks a lost answer up, so nobody notices.
            Ok(_) => assert!(lost),
            Err(fault) => assert!(!lost && fault.is_technical(), "{fault}"),
        }
        house.release(order).await.unwrap();
        assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 1));
    }
}

#[tokio::test]
async fn a_repeat_is_not_told_that_it_keeps_what_was_given_back() {
    let (house, _, [first, second]) = faulty_house([5, 1]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    refused(house.reserve(order).await, "INSUFFICIENT_STOCK");
    house.undo_behind_the_step(first, order).await;
    // More arrives. The first line's reservation is known as carried out, but it was given back since.
    let store_id = stage::store_id();
    house.send(second, StockCommand::Add { product_id: second, store_id, quantity: 5 }).await;
    refused(house.reserve(order).await, "RESERVATION_IS_CLOSED");
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (None, None));
}

#[tokio::test]
async fn one_product_that_cannot_be_released_holds_up_no_other() {
    let (house, log, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    house.reserve(order).await.unwrap();
    house.close(order).await;
    log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
    assert!(house.release(order).await.unwrap_err().is_technical());
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), None));
    house.release(order).await.unwrap();
    assert_eq!(house.kept(first, order).await, None);
}

fn rejected() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderRejected(OrderRejected { customer_id, payment_id, reason: "WILTED".to_owned() })
}

fn approved() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderApproved(OrderApproved { customer_id, payment_id, shopping_id: None })
}

fn readied() -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    let total = Money::from_minor(100).unwrap();
    OrderEvent::OrderReadied(OrderReadied { customer_id, payment_id, total })
}

fn completed(order: OrderId) -> OrderEvent {
    let (customer_id, payment_id) = (Id::derived(&["customer"]), Id::derived(&["payment"]));
    OrderEvent::OrderCompleted(OrderCompleted { customer_id, payment_id, invoice_id: order.as_kind() })
}

#[tokio::test]
async fn an_undo_that_is_attempted_again_gives_back_once() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    house.reserve(order).await.unwrap();
    house.close(order).await;
    house.release(order).await.unwrap();
    house.release(order).await.unwrap();
    house.release_again(order).await.unwrap();
    assert_eq!((house.stock(first).await.available(), house.stock(second).await.available()), (5, 5));
    let published = house.published("inventory.StockItem").await;
    assert_eq!(published.iter().filter(|event| event.event_type == "InventoryReleased").count(), 2);
}

#[tokio::test]
async fn nobody_can_release_the_stock_of_an_order_that_is_not_over() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    house.reserve(order).await.unwrap();
    let before = house.published("inventory.StockItem").await.len();
    refused(house.release(order).await, "ORDER_IS_NOT_OVER");
    for event in [approved(), readied(), completed(order)] {
        house.becomes(order, event).await;
        refused(house.release(order).await, "ORDER_IS_NOT_OVER");
    }
    assert_eq!(house.published("inventory.StockItem").await.len(), before);
    assert_eq!((house.kept(first, order).await, house.kept(second, order).await), (Some(3), Some(2)));
}

#[tokio::test]
async fn what_is_cancelled_or_sold_is_given_back_or_taken_once_whatever_overtakes_what() {
    // Steps that can still be under way when an order ends: its placement's, for the second time, its undo's,
    // and the end of its reservations: another attempt of the undo, or the sale.
    #[derive(Debug, Clone, Copy)]
    enum Late {
        Reserves,
        Releases,
        Ends,
    }
    use Late::{Ends, Releases, Reserves};
    const LATE: [Late; 5] = [Reserves, Releases, Ends, Ends, Reserves];
    for number in 0..5_usize.pow(5) {
        let digits: Vec<usize> = (0..5).map(|place| number / 5_usize.pow(place) % 5).collect();
        if (0..5).any(|digit| !digits.contains(&digit)) {
            continue; // not an order of the five
        }
        for (sold, event) in [(0, cancelled()), (3, completed(Id::derived(&["order", "1"])))] {
            let (house, _, [first, _]) = faulty_house([5, 5]).await;
            let order = house.order("1", &[(first, 3)]).await;
            house.reserve(order).await.unwrap();
            let ended = house.becomes(order, event).await;
            let mut told = Vec::new();
            for late in digits.iter().map(|&digit| LATE[digit]) {
                told.push(late);
                match late {
                    Reserves if sold > 0 => drop(house.reserve_again(order).await.unwrap()),
                    Reserves => refused(house.reserve_again(order).await, "ORDER_IS_OVER"),
                    Releases if sold > 0 => refused(house.release(order).await, "ORDER_IS_NOT_OVER"),
                    Releases => drop(house.release(order).await.unwrap()),
                    Ends if sold > 0 => {
                        house.inventory.clone().sell_reserved_stock(ended.clone()).await.unwrap();
                    }
                    Ends => drop(house.release_again(order).await.unwrap()),
                }
            }
            let stock = house.stock(first).await;
            assert_eq!((stock.on_hand(), stock.reserved()), (5 - sold, 0), "{told:?}");
        }
    }
}

#[tokio::test]
async fn a_step_for_an_order_that_is_over_keeps_nothing_however_long_ago_that_was() {
    for end in [rejected(), cancelled()] {
        let house = House::new();
        let product = house.stocked("apple", 5).await;
        let order = house.order("1", &[(product, 3)]).await;
        house.becomes(order, end).await;
        let before = house.published("inventory.StockItem").await.len();
        // The product never heard of the order: nothing in its stream could tell that the order is over.
        refused(house.reserve(order).await, "ORDER_IS_OVER");
        assert_eq!(house.published("inventory.StockItem").await.len(), before);
    }
}

#[tokio::test]
async fn a_placement_that_is_started_again_after_the_approval_keeps_nothing_more() {
    let house = House::new();
    let product = house.stocked("apple", 5).await;
    let order = house.order("1", &[(product, 3)]).await;
    let before = house.published("inventory.StockItem").await.len();
    for event in [approved(), readied(), completed(order)] {
        house.becomes(order, event).await;
        for answer in [house.reserve(order).await, house.reserve_again(order).await] {
            assert_eq!(answer.unwrap(), Answer::unchanged(order));
        }
    }
    assert_eq!(house.published("inventory.StockItem").await.len(), before);
}

#[tokio::test]
async fn a_completed_order_takes_its_pieces_along_once() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3), (second, 2)]).await;
    house.reserve(order).await.unwrap();
    let event = house.becomes(order, completed(order)).await;
    for _ in 0..3 {
        house.inventory.clone().sell_reserved_stock(event.clone()).await.unwrap();
    }
    let (first, second) = (house.stock(first).await, house.stock(second).await);
    assert_eq!((first.on_hand(), first.available(), first.reserved()), (2, 2, 0));
    assert_eq!((second.on_hand(), second.available(), second.reserved()), (3, 3, 0));
}

/// Writes down the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Visit for Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{}={value:?}", field.name()));
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("inventory")
    }
    fn new_span(&self, _: &Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_completed_order_for_which_nothing_was_kept_is_not_passed_over_in_silence() {
    let (house, _, [first, second]) = faulty_house([5, 5]).await;
    let air = house.product("air").await;
    let (kept, lost) =
        (house.order("1", &[(first, 3), (air, 1)]).await, house.order("2", &[(second, 2)]).await);
    house.reserve(kept).await.unwrap();
    let (sold, unsold) =
        (house.becomes(kept, completed(kept)).await, house.becomes(lost, completed(lost)).await);
    let warnings = Warnings::default();
    let _heard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..2 {
        house.inventory.clone().sell_reserved_stock(sold.clone()).await.unwrap();
    }
    assert!(warnings.0.lock().unwrap().is_empty(), "sold, repeated, or not counted: nothing to warn of");
    house.inventory.clone().sell_reserved_stock(unsold).await.unwrap();
    let said = warnings.0.lock().unwrap().clone();
    for part in [format!("order={lost}"), format!("product={second}")] {
        assert!(said.contains(&part), "{part} is not in {said:?}");
    }
}

#[tokio::test]
async fn a_policy_is_not_silent_about_an_event_that_is_not_its_own() {
    let (house, _, [first, _]) = faulty_house([5, 5]).await;
    let order = house.order("1", &[(first, 3)]).await;
    let cancel = house.becomes(order, cancelled()).await;
    assert!(house.inventory.clone().sell_reserved_stock(cancel).await.is_err());
}

/// What became of an order that was asked for until it was settled.
#[derive(Debug, PartialEq)]
enum Settled {
    Kept,
    Refused,
}

/// Asks as the placement does: technical faults again, with the same command id. Says how often that was.
async fn insist(house: &House, order: OrderId) -> (Settled, u32) {
    for again in 0..500 {
        match house.reserve(order).await {
            Ok(_) => return (Settled::Kept, again),
            Err(fault) if fault.is_technical() => {
                assert!(fault.status == 503 || (fault.status == 409 && fault.code == "CONTENDED"), "{fault}");
            }
            Err(fault) => {
                assert!(
                    ["INSUFFICIENT_STOCK", "RESERVATION_IS_CLOSED"].contains(&fault.code.as_ref()),
                    "{fault}"
                );
                return (Settled::Refused, again);
            }
        }
        house.world.ports().timer.sleep(Duration::from_millis(1)).await;
    }
    panic!("order {order} was not settled");
}

/// Asks as the placement does, and undoes the order after a refusal.
async fn insist_and_undo(house: &House, order: OrderId) -> (Settled, u32) {
    let (settled, again) = insist(house, order).await;
    if settled == Settled::Refused {
        house.close(order).await;
        for _ in 0..500 {
            match house.release(order).await {
                Ok(_) => return (settled, again),
                Err(fault) => assert!(fault.is_technical(), "{fault}"),
            }
            house.world.ports().timer.sleep(Duration::from_millis(1)).await;
        }
        panic!("order {order} was not released");
    }
    (settled, again)
}

/// What follows a refusal.
#[derive(Debug, Clone, Copy)]
enum Refused {
    /// Nothing yet.
    Waits,
    /// The order is closed, and whatever was kept is released.
    Releases,
}

/// All of these orders at the same time.
async fn all_at_once(
    house: &Arc<House>,
    orders: &[OrderId],
    refused: Refused,
) -> Vec<(OrderId, Settled, u32)> {
    let mut running = JoinSet::new();
    for &order in orders {
        let house = house.clone();
        running.spawn(async move {
            let (settled, again) = match refused {
                Refused::Waits => insist(&house, order).await,
                Refused::Releases => insist_and_undo(&house, order).await,
            };
            (order, settled, again)
        });
    }
    running.join_all().await
}

/// Two hundred orders for the last fifty pieces.
async fn fifty_for_two_hundred(log: Arc<dyn CommitLog>, behind: Arc<dyn CommitLog>) {
    let house = Arc::new(House::over(log, behind));
    let product = house.stocked("apple", 50).await;
    let mut orders = Vec::new();
    for n in 0..200 {
        orders.push(house.order(&n.to_string(), &[(product, 1)]).await);
    }
    let settled = all_at_once(&house, &orders, Refused::Waits).await;
    let kept: Vec<OrderId> = settled
        .iter()
        .filter(|(_, settled, _)| *settled == Settled::Kept)
        .map(|(order, ..)| *order)
        .collect();
    assert_eq!((kept.len(), settled.len() - kept.len()), (50, 150));
    assert!(settled.iter().any(|(.., again)| *again > 0), "nobody had to come again: this was no race");
    let stock = house.stock(product).await;
    assert_eq!((stock.on_hand(), stock.reserved(), stock.available()), (50, 50, 0));
    assert_eq!(usize::try_from(stock.orders()).unwrap(), kept.len());
    for order in &kept {
        assert_eq!(house.kept(product, *order).await, Some(1), "who was told so has its piece");
    }
    let mut left = Vec::new();
    for event in house.published("inventory.StockItem").await {
        match event.event::<StockEvent>().unwrap() {
            StockEvent::InventoryReserved(reserved) => left.push(reserved.available),
            StockEvent::StockTrackingStarted(_)
            | StockEvent::StockAdded(_)
            | StockEvent::AvailabilityChanged(_) => {}
            other => panic!("{other:?} was not asked for"),
        }
    }
    assert_eq!(left, (0..50).rev().collect::<Vec<_>>(), "one after the other, and never below nothing");
}

#[tokio::test]
async fn two_hundred_orders_for_the_last_fifty_pieces_leave_fifty_with_one_and_150_without_in_memory() {
    let behind = Arc::new(MemoryLog::new());
    fifty_for_two_hundred(Arc::new(FaultyLog::new(behind.clone())), behind).await;
}

#[tokio::test]
async fn two_hundred_orders_for_the_last_fifty_pieces_leave_fifty_with_one_and_150_without_in_dynamodb() {
    let dynamo = EmbeddedDynamo::start().await;
    let log = Arc::new(dynamo.event_log("events").await);
    fifty_for_two_hundred(log.clone(), log).await;
}

/// Orders for several of three products, at the same time; refused ones are released, and then all is kept or nothing.
async fn all_or_nothing(log: Arc<dyn CommitLog>, behind: Arc<dyn CommitLog>, orders: usize, seed: u64) {
    let house = Arc::new(House::over(log, behind));
    let pieces = [15, 25, 20];
    let mut products = Vec::new();
    for (n, pieces) in pieces.into_iter().enumerate() {
        products.push(house.stocked(&format!("product {n}"), pieces).await);
    }
    let mut random = Seeded::new(seed);
    let mut placed = Vec::new();
    for n in 0..orders {
        let mut lines: Vec<(ProductId, u32)> = Vec::new();
        for product in &products {
            if random.chance(0.7) {
                lines.push((*product, 1 + (random.bits() % 2) as u32));
            }
        }
        if lines.is_empty() {
            lines.push((products[0], 1));
        }
        random.shuffle(&mut lines);
        placed.push((house.order(&n.to_string(), &lines).await, lines));
    }
    let ids: Vec<OrderId> = placed.iter().map(|(order, _)| *order).collect();
    let settled = all_at_once(&house, &ids, Refused::Releases).await;
    let mut stocks = Vec::new();
    for product in &products {
        stocks.push(house.stock(*product).await);
    }
    let mut wanted = [0_u32; 3];
    for (order, settled, _) in &settled {
        let lines = &placed.iter().find(|(id, _)| id == order).unwrap().1;
        for (n, product) in products.iter().enumerate() {
            let asked = lines.iter().find(|(id, _)| id == product).map(|(_, quantity)| *quantity);
            let expected = if *settled == Settled::Kept { asked } else { None };
            assert_eq!(
                house.kept(*product, *order).await,
                expected,
                "seed {seed}: order {order} was told {settled:?}"
            );
            wanted[n] += expected.unwrap_or(0);
        }
    }
    for (n, stock) in stocks.iter().enumerate() {
        assert_eq!((stock.on_hand(), stock.reserved()), (pieces[n], wanted[n]), "seed {seed}");
    }
    let told = |which: Settled| settled.iter().filter(|(_, settled, _)| *settled == which).count();
    assert!(told(Settled::Kept) > 0 && told(Settled::Refused) > 0, "seed {seed}: both have to occur");
}

#[tokio::test]
async fn orders_that_race_for_several_products_keep_all_or_none_in_memory() {
    for seed in 0..10 {
        let behind = Arc::new(MemoryLog::new());
        all_or_nothing(Arc::new(FaultyLog::new(behind.clone())), behind, 60, seed).await;
    }
}

#[tokio::test]
async fn orders_that_race_for_several_products_keep_all_or_none_in_dynamodb() {
    let dynamo = EmbeddedDynamo::start().await;
    let log = Arc::new(dynamo.event_log("events").await);
    all_or_nothing(log.clone(), log, 40, 7).await;
}

#[tokio::test]
async fn orders_that_race_while_answers_and_requests_are_lost_keep_all_or_none() {
    for seed in 0..10 {
        let behind = Arc::new(MemoryLog::new());
        let chances = Chances { answer_lost: 0.1, request_lost: 0.1, throttled: 0.1, read_fails: 0.1 };
        let log = FaultyLog::seeded(behind.clone(), seed, chances);
        all_or_nothing(Arc::new(log), behind, 60, seed).await;
    }
}

#[test]
fn the_category_is_what_policies_and_fences_say() {
    assert_eq!(inventory::stock::StockItem::CATEGORY, "inventory.StockItem");
}
