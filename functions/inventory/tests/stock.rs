//! The rules of a product's stock.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::collections::BTreeMap;

use contracts::{
    ids::{OrderId, ProductId, StoreId, reservation_of},
    inventory::{
        AvailabilityChanged, InventoryReleased, InventoryReserved, LowStock, LowStockThresholdChanged,
        ReductionReason, StockAdded, StockEvent, StockReduced, StockTrackingStarted, StockTrackingStopped,
    },
};
use inventory::stock::{Kept, MAX_PIECES, REMEMBERED, StockCommand, StockItem, StockRefusal};
use kernel::{Aggregate, Id, Timestamp, Version, aggregate::fold};
use proptest::prelude::*;
use testing::given;

fn product() -> ProductId {
    Id::derived(&["product"])
}

fn store() -> StoreId {
    Id::derived(&["store"])
}

fn order(n: usize) -> OrderId {
    Id::derived(&["order", &n.to_string()])
}

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn track() -> StockCommand {
    StockCommand::StartTracking { product_id: product(), store_id: store() }
}
fn add(quantity: u32) -> StockCommand {
    StockCommand::Add { product_id: product(), store_id: store(), quantity }
}
fn set(on_hand: u32) -> StockCommand {
    StockCommand::Set { product_id: product(), store_id: store(), on_hand }
}
fn reduce(quantity: u32) -> StockCommand {
    StockCommand::Reduce { quantity }
}
fn warn_at(threshold: u32) -> StockCommand {
    StockCommand::SetThreshold { threshold }
}
/// Commands of orders that came when the count began.
const SINCE: Version = Version::FIRST;

fn reserve(n: usize, quantity: u32) -> StockCommand {
    StockCommand::Reserve { order_id: order(n), quantity, since: SINCE, at: AT }
}
fn release(n: usize) -> StockCommand {
    StockCommand::Release { order_id: order(n), kept: Kept::Since(SINCE), since: SINCE, at: AT }
}
fn sell(n: usize) -> StockCommand {
    StockCommand::Sell { order_id: order(n), kept: Kept::Since(SINCE), since: SINCE, at: AT }
}

fn started() -> StockEvent {
    StockEvent::StockTrackingStarted(StockTrackingStarted { product_id: product(), store_id: store() })
}
fn stopped() -> StockEvent {
    StockEvent::StockTrackingStopped(StockTrackingStopped { product_id: product() })
}
fn added(quantity: u32, on_hand: u32) -> StockEvent {
    StockEvent::StockAdded(StockAdded { product_id: product(), quantity, on_hand })
}
fn reduced(quantity: u32, on_hand: u32, reason: ReductionReason, of: Option<usize>) -> StockEvent {
    let (product_id, order_id) = (product(), of.map(order));
    StockEvent::StockReduced(StockReduced { product_id, quantity, on_hand, reason, order_id })
}
fn reserved(n: usize, quantity: u32, available: u32) -> StockEvent {
    StockEvent::InventoryReserved(InventoryReserved {
        product_id: product(),
        reservation_id: reservation_of(order(n), product()),
        order_id: order(n),
        quantity,
        available,
        reserved_at: AT,
    })
}
fn released(n: usize, quantity: u32, available: u32) -> StockEvent {
    StockEvent::InventoryReleased(InventoryReleased {
        product_id: product(),
        reservation_id: reservation_of(order(n), product()),
        order_id: order(n),
        quantity,
        available,
        released_at: AT,
    })
}
fn low(available: u32, threshold: u32) -> StockEvent {
    let (product_id, store_id) = (product(), store());
    StockEvent::LowStock(LowStock { product_id, store_id, available, threshold })
}
fn threshold(threshold: u32) -> StockEvent {
    StockEvent::LowStockThresholdChanged(LowStockThresholdChanged { product_id: product(), threshold })
}

fn available(available: bool) -> StockEvent {
    StockEvent::AvailabilityChanged(AvailabilityChanged { product_id: product(), available })
}

/// Ten pieces, none of them kept.
fn ten() -> Vec<StockEvent> {
    vec![started(), added(10, 10)]
}

/// Ten pieces, and what happened then.
fn ten_and(more: impl IntoIterator<Item = StockEvent>) -> Vec<StockEvent> {
    ten().into_iter().chain(more).collect()
}

#[test]
fn what_is_not_tracked_is_always_available_and_nothing_is_kept_of_it() {
    for history in [vec![], ten_and([stopped()])] {
        for command in [reserve(1, MAX_PIECES), release(1), sell(1), StockCommand::StopTracking] {
            given::<StockItem>(history.clone()).when(command).then_nothing();
        }
    }
}

#[test]
fn what_is_not_tracked_has_nothing_to_take_out_or_to_warn_about() {
    for history in [vec![], ten_and([stopped()])] {
        for command in [reduce(1), warn_at(5)] {
            given::<StockItem>(history.clone()).when(command).then_refused(StockRefusal::NotTracked);
        }
    }
}

#[test]
fn a_count_begins_with_nothing_on_hand_also_the_second_time() {
    given::<StockItem>([])
        .when(track())
        .then([started(), available(false)])
        .when(track())
        .then_nothing()
        .when(reserve(1, 1))
        .then_refused(StockRefusal::InsufficientStock { available: 0, asked: 1 });
    given::<StockItem>(ten_and([threshold(3), stopped()]))
        .when(track())
        .then([started(), available(false)])
        .when(add(1))
        .then([added(1, 1), available(true)]);
}

#[test]
fn adding_or_counting_starts_the_count_when_it_was_off() {
    given::<StockItem>([]).when(add(3)).then([started(), added(3, 3)]).when(add(2)).then([added(2, 5)]);
    given::<StockItem>([]).when(set(3)).then([started(), added(3, 3)]);
    given::<StockItem>([]).when(set(0)).then([started(), available(false)]);
    given::<StockItem>([]).when(add(0)).then_refused(StockRefusal::QuantityIsInvalid);
}

#[test]
fn a_count_is_recorded_as_the_difference() {
    let counted = ReductionReason::Counted;
    given::<StockItem>(ten())
        .when(set(12))
        .then([added(2, 12)])
        .when(set(12))
        .then_nothing()
        .when(set(7))
        .then([reduced(5, 7, counted, None)]);
}

#[test]
fn a_count_never_takes_what_orders_were_promised() {
    given::<StockItem>(ten_and([reserved(1, 6, 4)]))
        .when(set(6))
        .then([reduced(4, 6, ReductionReason::Counted, None), available(false)])
        .when(set(5))
        .then_refused(StockRefusal::OnHandBelowReserved { reserved: 6, on_hand: 5 });
}

#[test]
fn only_what_is_available_can_be_taken_out() {
    let removed = ReductionReason::Removed;
    given::<StockItem>(ten_and([reserved(1, 6, 4)]))
        .when(reduce(4))
        .then([reduced(4, 6, removed, None), available(false)])
        .when(reduce(1))
        .then_refused(StockRefusal::InsufficientStock { available: 0, asked: 1 });
}

#[test]
fn absurd_numbers_are_refused() {
    for quantity in [0, MAX_PIECES + 1, u32::MAX] {
        given::<StockItem>(ten()).when(add(quantity)).then_refused(StockRefusal::QuantityIsInvalid);
        given::<StockItem>(ten()).when(reduce(quantity)).then_refused(StockRefusal::QuantityIsInvalid);
        given::<StockItem>(ten()).when(reserve(1, quantity)).then_refused(StockRefusal::QuantityIsInvalid);
    }
    given::<StockItem>(ten()).when(set(MAX_PIECES + 1)).then_refused(StockRefusal::OnHandIsInvalid);
    given::<StockItem>(ten()).when(warn_at(MAX_PIECES + 1)).then_refused(StockRefusal::ThresholdIsInvalid);
    given::<StockItem>(ten())
        .when(add(MAX_PIECES))
        .then_refused(StockRefusal::TooManyPieces { on_hand: 10, quantity: MAX_PIECES });
    given::<StockItem>(ten()).when(set(MAX_PIECES)).then([added(MAX_PIECES - 10, MAX_PIECES)]);
}

#[test]
fn a_piece_that_is_kept_for_one_order_is_not_kept_for_another() {
    given::<StockItem>(ten())
        .when(reserve(1, 6))
        .then([reserved(1, 6, 4)])
        .when(reserve(2, 4))
        .then([reserved(2, 4, 0), available(false)])
        .when(reserve(3, 1))
        .then_refused(StockRefusal::InsufficientStock { available: 0, asked: 1 });
}

#[test]
fn a_refusal_says_how_many_there_are_and_how_many_were_asked_for() {
    let refusal = StockRefusal::InsufficientStock { available: 4, asked: 6 };
    assert_eq!(refusal.to_string(), "6 asked for, but only 4 available");
    given::<StockItem>(ten_and([reserved(1, 6, 4)])).when(reserve(2, 6)).then_refused(refusal);
}

#[test]
fn a_repeated_reservation_keeps_no_more() {
    given::<StockItem>(ten_and([reserved(1, 6, 4)])).when(reserve(1, 6)).then_nothing();
}

#[test]
fn a_reservation_that_comes_after_its_own_release_is_refused() {
    let closed = StockRefusal::ReservationClosed { order_id: order(1) };
    // Given back.
    given::<StockItem>(ten_and([reserved(1, 6, 4)]))
        .when(release(1))
        .then([released(1, 6, 10)])
        .when(reserve(1, 6))
        .then_refused(closed.clone());
    // Overtaken.
    given::<StockItem>(ten())
        .when(release(1))
        .then([released(1, 0, 10)])
        .when(reserve(1, 6))
        .then_refused(closed);
}

#[test]
fn releasing_twice_gives_back_once() {
    given::<StockItem>(ten_and([reserved(1, 6, 4), released(1, 6, 10)])).when(release(1)).then_nothing();
    given::<StockItem>(ten_and([released(1, 0, 10)])).when(release(1)).then_nothing();
}

#[test]
fn what_was_kept_leaves_with_its_order_once() {
    let sold = ReductionReason::Sold;
    let closed = StockRefusal::ReservationClosed { order_id: order(1) };
    let story = given::<StockItem>(ten_and([reserved(1, 6, 4)]))
        .when(sell(1))
        .then([reduced(6, 4, sold, Some(1))])
        .when(sell(1))
        .then_nothing()
        .when(release(1))
        .then_nothing();
    assert_eq!(story.state().and_then(StockItem::tracked).map(|stock| stock.available()), Some(4));
    story.when(reserve(1, 1)).then_refused(closed);
}

#[test]
fn selling_what_was_not_kept_takes_nothing_and_refuses_a_reservation_that_comes_late() {
    let closed = StockRefusal::ReservationClosed { order_id: order(1) };
    let story = given::<StockItem>(ten()).when(sell(1)).then([released(1, 0, 10)]);
    story.when(reserve(1, 1)).then_refused(closed);
    given::<StockItem>(ten_and([reserved(1, 1, 9), released(1, 1, 10)])).when(sell(1)).then_nothing();
}

#[test]
fn the_count_does_not_stop_while_orders_wait_for_pieces() {
    given::<StockItem>(ten_and([reserved(1, 6, 4), reserved(2, 1, 3)]))
        .when(StockCommand::StopTracking)
        .then_refused(StockRefusal::StillReserved { reserved: 7, orders: 2 });
    given::<StockItem>(ten_and([reserved(1, 6, 4), released(1, 6, 10)]))
        .when(StockCommand::StopTracking)
        .then([stopped()]);
}

#[test]
fn low_stock_is_said_once_each_time_it_is_reached_from_above() {
    given::<StockItem>(ten_and([threshold(5)]))
        .when(reserve(1, 4))
        .then([reserved(1, 4, 6)])
        .when(reserve(2, 1))
        .then([reserved(2, 1, 5), low(5, 5)])
        .when(reduce(1))
        .then([reduced(1, 9, ReductionReason::Removed, None)])
        .when(release(2))
        .then([released(2, 1, 5)])
        .when(add(1))
        .then([added(1, 10)])
        .when(set(8))
        .then([reduced(2, 8, ReductionReason::Counted, None), low(4, 5)]);
}

#[test]
fn a_sale_lowers_nothing_that_others_could_have_had() {
    given::<StockItem>(ten_and([reserved(1, 4, 6), threshold(5)])).when(sell(1)).then([reduced(
        4,
        6,
        ReductionReason::Sold,
        Some(1),
    )]);
}

#[test]
fn a_higher_threshold_may_find_that_stock_is_low_already() {
    given::<StockItem>(ten())
        .when(warn_at(9))
        .then([threshold(9)])
        .when(warn_at(9))
        .then_nothing()
        .when(warn_at(10))
        .then([threshold(10), low(10, 10)])
        .when(warn_at(11))
        .then([threshold(11)])
        .when(warn_at(0))
        .then([threshold(0)])
        .when(reduce(10))
        .then([reduced(10, 0, ReductionReason::Removed, None), available(false)]);
}

#[test]
fn availability_is_told_when_it_turns_and_only_then() {
    let removed = ReductionReason::Removed;
    given::<StockItem>([])
        .when(add(3))
        .then([started(), added(3, 3)])
        .when(reserve(1, 2))
        .then([reserved(1, 2, 1)])
        .when(reduce(1))
        .then([reduced(1, 2, removed, None), available(false)])
        .when(sell(1))
        .then([reduced(2, 0, ReductionReason::Sold, Some(1))])
        .when(release(2))
        .then([released(2, 0, 0)])
        .when(add(1))
        .then([added(1, 1), available(true)])
        .when(reserve(3, 1))
        .then([reserved(3, 1, 0), available(false)])
        .when(release(3))
        .then([released(3, 1, 1), available(true)])
        .when(set(0))
        .then([reduced(1, 0, ReductionReason::Counted, None), available(false)])
        .when(StockCommand::StopTracking)
        .then([stopped(), available(true)])
        .when(track())
        .then([started(), available(false)]);
}

#[test]
fn a_stream_from_before_availability_was_told_tells_it_in_its_next_commit() {
    given::<StockItem>(ten_and([reserved(1, 10, 0)]))
        .when(reserve(1, 10))
        .then_nothing()
        .when(warn_at(2))
        .then([threshold(2), low(0, 2), available(false)])
        .when(warn_at(3))
        .then([threshold(3)]);
}

/// A stock at this version: ten pieces, of which some are kept for order 1 since version 3, and what came
/// then.
fn at_version(version: u64) -> StockItem {
    let mut events = ten_and([reserved(1, 6, 4)]);
    events.extend((events.len() as u64..version).map(|n| threshold(900_000 + u32::try_from(n % 2).unwrap())));
    fold(None, &events).unwrap().unwrap()
}

#[test]
fn what_is_not_remembered_is_refused_and_never_guessed() {
    let state = at_version(3 + u64::from(REMEMBERED));
    let floor = Version::new(3);
    let (forgotten, order_id) = (Err(StockRefusal::Forgotten { floor }), order(1));
    let reserve = |since| StockCommand::Reserve { order_id, quantity: 1, since, at: AT };
    let release = |kept, since| StockCommand::Release { order_id, kept, since, at: AT };
    let sell = |kept, since| StockCommand::Sell { order_id, kept, since, at: AT };
    let old = floor.previous();
    for command in [
        reserve(old),
        release(Kept::Since(old), old),
        release(Kept::Since(old), floor),
        release(Kept::Known(6), old),
        sell(Kept::Since(old), floor),
        sell(Kept::Known(6), old),
    ] {
        assert_eq!(StockItem::decide(Some(&state), &command), forgotten, "{command:?}");
    }
    let decided = |command| StockItem::decide(Some(&state), &command).map(|events| events.first().cloned());
    assert_eq!(decided(reserve(floor)), Ok(Some(reserved(1, 1, 3))), "its word is taken: nothing is as old");
    assert_eq!(decided(release(Kept::Known(6), floor)), Ok(Some(released(1, 6, 10))));
    assert_eq!(decided(sell(Kept::Known(6), floor)), Ok(Some(reduced(6, 4, ReductionReason::Sold, Some(1)))));
    assert_eq!(decided(release(Kept::Known(0), floor)), Ok(None), "nobody can come late any more");
}

#[test]
fn the_end_of_a_remembered_reservation_has_to_be_found_by_later_attempts_as_well() {
    let state = at_version(2 + u64::from(REMEMBERED));
    let (order_id, old) = (order(1), Version::FIRST);
    for command in [
        StockCommand::Release { order_id, kept: Kept::Since(old), since: old, at: AT },
        StockCommand::Sell { order_id, kept: Kept::Since(old), since: old, at: AT },
    ] {
        let decided = StockItem::decide(Some(&state), &command);
        assert_eq!(decided, Err(StockRefusal::Forgotten { floor: Version::new(2) }));
    }
    let repeat = StockCommand::Reserve { order_id, quantity: 6, since: old, at: AT };
    assert_eq!(StockItem::decide(Some(&state), &repeat), Ok(vec![]), "it is remembered");
}

#[test]
fn a_count_that_begins_again_remembers_nothing_of_the_one_before() {
    // Given back while nobody counted, which left no mark; the late reservation is older than the count.
    let history = ten_and([stopped(), started(), added(5, 5)]);
    given::<StockItem>(history)
        .when(StockCommand::Reserve { order_id: order(1), quantity: 1, since: Version::new(3), at: AT })
        .then_refused(StockRefusal::Forgotten { floor: Version::new(4) });
}

#[test]
fn twenty_thousand_open_reservations_reject_nobody_and_fit_into_a_small_snapshot() {
    let (open, pieces) = (20_000, 20_001);
    let mut events = vec![started(), added(pieces, pieces)];
    events.extend((0..open).map(|n| reserved(n, 1, pieces - 1 - u32::try_from(n).unwrap())));
    let state: StockItem = fold(None, &events).unwrap().unwrap();
    let since = Version::new(events.len() as u64);
    let next = StockCommand::Reserve { order_id: order(open), quantity: 1, since, at: AT };
    let decided = StockItem::decide(Some(&state), &next).unwrap();
    assert_eq!(decided, [reserved(open, 1, 0), available(false)]);
    let bytes = serde_json::to_vec(&state).unwrap().len();
    assert!(bytes < 6_000, "the snapshot has {bytes} bytes as JSON");
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![added(1, 1)],
        vec![stopped()],
        vec![started(), started()],
        ten_and([added(1, 12)]),
        ten_and([reduced(11, 0, ReductionReason::Removed, None)]),
        ten_and([reduced(1, 9, ReductionReason::Sold, Some(1))]),
        ten_and([reduced(1, 9, ReductionReason::Sold, None)]),
        ten_and([reserved(1, 2, 8), reduced(9, 1, ReductionReason::Removed, None)]),
        ten_and([reserved(1, 11, 0)]),
        ten_and([reserved(1, 1, 9), reserved(1, 1, 8)]),
        ten_and([reserved(1, 1, 9), released(1, 1, 10), released(1, 1, 11)]),
        ten_and([reserved(1, 2, 8), released(1, 1, 9)]),
        ten_and([reserved(1, 2, 8), released(1, 0, 8)]),
        ten_and([released(1, 1, 11)]),
        ten_and([reserved(1, 2, 8), stopped()]),
        ten_and([stopped(), added(1, 11)]),
        ten_and([available(false)]),
        ten_and([stopped(), available(false)]),
        vec![available(true)],
    ] {
        assert!(fold::<StockItem>(None, &history).is_err(), "{history:?}");
    }
}

fn commands() -> impl Strategy<Value = Vec<StockCommand>> {
    let orders = 0..8_usize;
    let command = prop_oneof![
        1 => Just(track()),
        1 => Just(StockCommand::StopTracking),
        4 => (0..20_u32).prop_map(add),
        2 => (0..30_u32).prop_map(set),
        3 => (0..10_u32).prop_map(reduce),
        1 => (0..8_u32).prop_map(warn_at),
        // Each order wants the same whenever it asks, as orders do.
        9 => orders.clone().prop_map(|n| reserve(n, 1 + u32::try_from(n).unwrap() % 4)),
        4 => orders.clone().prop_map(release),
        3 => orders.prop_map(sell),
    ];
    prop::collection::vec(command, 0..120)
}

/// What an outsider knows of the stock by listening to its events.
#[derive(Debug, Default)]
struct Ledger {
    added: u64,
    removed: u64,
    sold: u64,
    kept: BTreeMap<OrderId, u32>,
    closed: Vec<OrderId>,
}

impl Ledger {
    fn enter(&mut self, event: &StockEvent) {
        match event {
            StockEvent::StockTrackingStarted(_) | StockEvent::StockTrackingStopped(_) => {
                *self = Self::default()
            }
            StockEvent::StockAdded(e) => self.added += u64::from(e.quantity),
            StockEvent::StockReduced(e) => match e.reason {
                ReductionReason::Sold => {
                    self.sold += u64::from(e.quantity);
                    let order = e.order_id.unwrap();
                    assert_eq!(self.kept.remove(&order), Some(e.quantity), "sold what was not kept");
                    self.closed.push(order);
                }
                ReductionReason::Removed | ReductionReason::Counted => self.removed += u64::from(e.quantity),
            },
            StockEvent::InventoryReserved(e) => {
                assert!(!self.closed.contains(&e.order_id), "kept for an order that was closed");
                assert_eq!(self.kept.insert(e.order_id, e.quantity), None, "kept twice");
            }
            StockEvent::InventoryReleased(e) => {
                assert_eq!(
                    self.kept.remove(&e.order_id).unwrap_or(0),
                    e.quantity,
                    "gave back what was not kept"
                );
                assert!(!self.closed.contains(&e.order_id), "closed twice");
                self.closed.push(e.order_id);
            }
            StockEvent::LowStock(_)
            | StockEvent::LowStockThresholdChanged(_)
            | StockEvent::AvailabilityChanged(_) => {}
        }
    }
}

proptest! {
    /// After any sequence of commands, repeats and releases before reservations among them: what was added is
    /// on hand, sold or removed; what is kept is the sum over the orders; what is available is never below
    /// nothing; low stock is said exactly when it is reached from above; the availability that was told last
    /// is the availability; what was decided can be folded; and only tracking starts and stops lead from one
    /// state to another.
    #[test]
    fn stock_is_conserved_and_no_transition_leads_outside_the_state_machine(commands in commands()) {
        let mut state: Option<StockItem> = None;
        let mut ledger = Ledger::default();
        let mut told = true;
        let mut seen: BTreeMap<(OrderId, bool), Version> = BTreeMap::new();
        let mut version = Version::NONE;
        for command in commands {
            // As the order's reservation writes it down when it is asked for, and when it ends.
            let mut since = |order_id, ends| *seen.entry((order_id, ends)).or_insert(version);
            let command = match command {
                StockCommand::Reserve { order_id, quantity, at, .. } => {
                    StockCommand::Reserve { order_id, quantity, since: since(order_id, false), at }
                }
                StockCommand::Release { order_id, at, .. } => {
                    let kept = Kept::Since(since(order_id, false));
                    StockCommand::Release { order_id, kept, since: since(order_id, true), at }
                }
                StockCommand::Sell { order_id, at, .. } => {
                    let kept = Kept::Since(since(order_id, false));
                    StockCommand::Sell { order_id, kept, since: since(order_id, true), at }
                }
                other => other,
            };
            let before = state.as_ref().map(StockItem::status);
            let was_low = state.as_ref().and_then(StockItem::tracked).is_some_and(|stock| stock.is_low());
            let Ok(events) = StockItem::decide(state.as_ref(), &command) else { continue };
            for event in &events {
                ledger.enter(event);
            }
            state = fold(state, &events).unwrap();
            version = version.plus(events.len() as u64);
            let after = state.as_ref().map(StockItem::status);
            let allowed = [(None, Some("tracked")), (Some("tracked"), Some("untracked")), (Some("untracked"), Some("tracked"))];
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before:?} -> {after:?}");
            let stock = state.as_ref().and_then(StockItem::tracked);
            let said = events.iter().filter(|event| matches!(event, StockEvent::LowStock(_))).count();
            let is_low = stock.is_some_and(|stock| stock.is_low());
            prop_assert_eq!(said, usize::from(is_low && !was_low));
            for event in &events {
                if let StockEvent::AvailabilityChanged(changed) = event {
                    prop_assert_ne!(changed.available, told, "told again");
                    told = changed.available;
                }
            }
            prop_assert_eq!(told, stock.is_none_or(|stock| stock.available() > 0));
            let Some(stock) = stock else { continue };
            prop_assert_eq!(u64::from(stock.on_hand()) + ledger.sold + ledger.removed, ledger.added);
            prop_assert_eq!(stock.reserved(), ledger.kept.values().sum::<u32>());
            prop_assert_eq!(usize::try_from(stock.orders()).unwrap(), ledger.kept.len());
            prop_assert!(stock.reserved() <= stock.on_hand());
            prop_assert_eq!(stock.available() + stock.reserved(), stock.on_hand());
            // Whatever is asked again is "already so", or refused; it never happens twice.
            if matches!(command, StockCommand::Reserve { .. } | StockCommand::Release { .. } | StockCommand::Sell { .. }) {
                prop_assert_eq!(StockItem::decide(state.as_ref(), &command).unwrap_or_default(), vec![]);
            }
        }
    }
}
