//! The rules of a saga, and the next thing that is to be done for one.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::time::Duration;

use contracts::{
    ids::OrderId,
    ordering::{
        SagaEvent, SagaPlacementResumed, SagaSettled, SagaStuck, SagaUndoBegan, SagaUndoEnded,
        UndoOrigin::{self, Cancellation, Expiry, Operator, Placement},
        UndoOutcome::{self, Kept, Undone},
    },
};
use kernel::{Aggregate, Id, Money, Reason, Timestamp, aggregate::fold};
use ordering::{
    order::{Order, Placed},
    saga::{MOST_PLACEMENTS, MOST_UNDOS, Next, Patience, Saga, SagaCommand, Stage, Undo, next},
};
use proptest::prelude::*;
use testing::{TestPorts, spec::given};

const NOW: Timestamp = TestPorts::START;
const ORIGINS: [UndoOrigin; 4] = [Placement, Cancellation, Expiry, Operator];

fn later(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn resumed(attempt: u32) -> SagaEvent {
    SagaEvent::SagaPlacementResumed(SagaPlacementResumed { attempt, due_at: NOW })
}

fn began(attempt: u32, origin: UndoOrigin) -> SagaEvent {
    let reason = format!("{origin:?}");
    SagaEvent::SagaUndoBegan(SagaUndoBegan { attempt, origin, reason, due_at: NOW })
}

fn ended(attempt: u32, outcome: UndoOutcome) -> SagaEvent {
    SagaEvent::SagaUndoEnded(SagaUndoEnded { attempt, outcome })
}

fn stuck(attempt: u32) -> SagaEvent {
    let (error, cause) = ("UNDO_FAILED".to_owned(), "no end".to_owned());
    SagaEvent::SagaStuck(SagaStuck { attempt, error, cause })
}

fn settled() -> SagaEvent {
    SagaEvent::SagaSettled(SagaSettled {})
}

fn resume(attempt: u32) -> SagaCommand {
    SagaCommand::Resume { attempt, due_at: NOW }
}

fn begin(origin: UndoOrigin) -> SagaCommand {
    SagaCommand::Begin { origin, reason: Reason::new(&format!("{origin:?}")), due_at: NOW }
}

fn retry(attempt: u32) -> SagaCommand {
    SagaCommand::Retry { attempt, due_at: NOW }
}

fn end(attempt: u32, origin: UndoOrigin, outcome: UndoOutcome) -> SagaCommand {
    SagaCommand::End { attempt, origin, outcome }
}

fn get_stuck(attempt: Option<u32>) -> SagaCommand {
    SagaCommand::GetStuck { attempt, error: Reason::new("UNDO_FAILED"), cause: "no end".to_owned() }
}

/// A history that leads to each stage; where there is an undo, a placement asked for it.
fn histories() -> [(&'static str, Vec<SagaEvent>); 7] {
    [
        ("none", vec![]),
        ("placing", vec![resumed(1)]),
        ("undoing", vec![began(1, Placement)]),
        ("undone", vec![began(1, Placement), ended(1, Undone)]),
        ("settled", vec![began(1, Placement), ended(1, Kept)]),
        ("stuck", vec![began(1, Placement), stuck(1)]),
        ("forgotten", vec![stuck(0)]),
    ]
}

#[test]
fn a_placement_that_two_runs_start_again_is_one_attempt() {
    given::<Saga>([]).when(resume(1)).then([resumed(1)]).when(resume(1)).then_nothing();
    given::<Saga>([resumed(1), resumed(2)]).when(resume(1)).then_nothing();
    for (stage, history) in histories() {
        let when = given::<Saga>(history).when(resume(2));
        match stage {
            "none" | "placing" => drop(when.then([resumed(2)])),
            _ => drop(when.then_nothing()),
        }
    }
}

#[test]
fn an_undo_begins_unless_one_for_as_good_a_reason_is_under_way_stuck_or_done() {
    for origin in ORIGINS {
        for (stage, history) in histories() {
            let number =
                if history.iter().any(|event| matches!(event, SagaEvent::SagaUndoBegan(_))) { 2 } else { 1 };
            let when = given::<Saga>(history).when(begin(origin));
            match (stage, origin) {
                ("none" | "placing", _) => drop(when.then([began(number, origin)])),
                ("undone", _) | (_, Placement) => drop(when.then_nothing()),
                (_, Cancellation | Expiry | Operator) => drop(when.then([began(number, origin)])),
            }
        }
    }
}

#[test]
fn a_cancellation_outranks_an_undo_that_would_keep_the_order_and_nothing_outranks_a_cancellation() {
    let undoing = || given::<Saga>([began(1, Cancellation)]);
    for origin in ORIGINS {
        undoing().when(begin(origin)).then_nothing();
    }
    let stuck = || given::<Saga>([began(1, Expiry), stuck(1)]);
    for origin in [Placement, Cancellation, Expiry] {
        stuck().when(begin(origin)).then_nothing();
    }
    stuck().when(begin(Operator)).then([began(2, Operator)]);
}

#[test]
fn another_attempt_keeps_the_origin_and_the_reason_and_two_runs_begin_it_once() {
    given::<Saga>([began(1, Expiry)])
        .when(retry(2))
        .then([began(2, Expiry)])
        .when(retry(2))
        .then_nothing()
        .when(retry(1))
        .then_nothing();
    for (stage, history) in histories() {
        let when = given::<Saga>(history).when(retry(2));
        match stage {
            "undoing" | "stuck" => drop(when.then([began(2, Placement)])),
            _ => drop(when.then_nothing()),
        }
    }
}

#[test]
fn an_end_is_told_once_and_only_of_an_undo_that_has_none() {
    for outcome in [Undone, Kept] {
        for (stage, history) in histories() {
            let when = given::<Saga>(history).when(end(1, Placement, outcome));
            match stage {
                "undoing" | "stuck" => drop(when.then([ended(1, outcome)])),
                _ => drop(when.then_nothing()),
            }
        }
    }
}

#[test]
fn that_a_placements_undo_kept_the_order_does_not_end_one_that_began_for_a_better_reason() {
    let both = || given::<Saga>([began(1, Placement), began(2, Operator)]);
    both().when(end(1, Placement, Kept)).then_nothing().when(end(2, Operator, Kept)).then([ended(2, Kept)]);
    // Somebody started the second attempt for the placement, and the operator was faster to record one of
    // that number.
    both().when(end(2, Placement, Kept)).then_nothing();
    // Nothing is held, whichever attempt saw to that.
    both()
        .when(end(1, Placement, Undone))
        .then([ended(1, Undone)])
        .when(end(2, Operator, Undone))
        .then_nothing();
}

#[test]
fn an_operator_is_called_once_and_not_for_an_undo_that_ended_or_began_anew() {
    for (stage, history) in histories() {
        let when = given::<Saga>(history).when(get_stuck(Some(1)));
        match stage {
            "undoing" => drop(when.then([stuck(1)])),
            _ => drop(when.then_nothing()),
        }
    }
    given::<Saga>([began(1, Placement), began(2, Operator)])
        .when(get_stuck(Some(1)))
        .then_nothing()
        .when(get_stuck(Some(2)))
        .then([stuck(2)]);
}

#[test]
fn an_order_that_is_being_undone_is_not_forgotten() {
    for (stage, history) in histories() {
        let when = given::<Saga>(history).when(get_stuck(None));
        match stage {
            "none" | "placing" => drop(when.then([stuck(0)])),
            // It was kept, and nobody went on with it.
            "settled" => drop(when.then([stuck(1)])),
            _ => drop(when.then_nothing()),
        }
    }
}

#[test]
fn an_order_that_went_on_settles_a_saga_that_undoes_nothing() {
    for (stage, history) in histories() {
        let when = given::<Saga>(history).when(SagaCommand::Settle);
        match stage {
            "placing" | "forgotten" => drop(when.then([settled()])),
            _ => drop(when.then_nothing()),
        }
    }
}

// ---- what is to be done next

fn placed() -> Placed {
    let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
    Placed { customer_id, payment_id, items: vec![], total: Money::from_minor(100).unwrap() }
}

/// An order in each state.
fn orders() -> [Order; 6] {
    let (shopping_id, invoice_id, reason) = (None, Id::derived(&["invoice"]), Reason::new("X"));
    [
        Order::Pending(placed()),
        Order::Approved { placed: placed(), shopping_id },
        Order::Ready { placed: placed(), shopping_id },
        Order::Completed { placed: placed(), shopping_id, invoice_id },
        Order::Rejected { placed: placed(), shopping_id, reason },
        Order::Canceled { placed: placed(), shopping_id, reason: None },
    ]
}

fn saga(placements: u32, undos: u32, stage: Stage) -> Saga {
    Saga { placements, undos, stage }
}

/// The next thing for a saga that is due in this many seconds; its order was placed just now.
fn next_in(seconds: u64, order: &Order, saga: &Saga) -> Next {
    let now = NOW.checked_sub(Duration::from_secs(seconds)).unwrap();
    next(order, now, Some(saga), now, patience())
}

fn patience() -> Patience {
    Patience::new("300").unwrap()
}

#[test]
fn an_order_without_a_saga_is_taken_up_when_it_is_pending_for_too_long_and_never_otherwise() {
    for order in orders() {
        for (age, is_over) in [(0, false), (299, false), (300, true), (100_000, true)] {
            let wanted = match (&order, is_over) {
                (Order::Pending(_), true) => Next::Place(1),
                _ => Next::Wait,
            };
            assert_eq!(next(&order, NOW, None, later(age), patience()), wanted, "{} {age}", order.status());
        }
    }
}

#[test]
fn a_placement_that_has_its_time_left_is_waited_for_and_a_lost_one_is_followed_by_three_and_an_undo() {
    for order in orders() {
        for placements in 1..=MOST_PLACEMENTS {
            let saga = saga(placements, 0, Stage::Placing { due_at: NOW });
            assert_eq!(next_in(1, &order, &saga), Next::Wait);
            let wanted = match &order {
                Order::Pending(_) if placements < 3 => Next::Place(placements + 1),
                Order::Pending(_) => Next::Begin(Placement),
                Order::Rejected { .. } | Order::Canceled { .. } => Next::Begin(Cancellation),
                Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } => Next::Settle,
            };
            assert_eq!(next_in(0, &order, &saga), wanted, "{} {placements}", order.status());
        }
    }
}

#[test]
fn an_undo_without_an_end_is_tried_four_times_whatever_became_of_the_order() {
    for order in orders() {
        for undos in 1..=MOST_UNDOS {
            let undo = Undo { origin: Expiry, reason: Reason::new("X") };
            let saga = saga(0, undos, Stage::Undoing { undo, first: 1, due_at: NOW });
            assert_eq!(next_in(1, &order, &saga), Next::Wait);
            let wanted = if undos < 4 { Next::Undo(undos + 1) } else { Next::GetStuck };
            assert_eq!(next_in(0, &order, &saga), wanted);
        }
    }
}

#[test]
fn an_undo_for_a_better_reason_and_one_that_an_operator_takes_up_have_four_attempts_of_their_own() {
    let order = orders().into_iter().next().unwrap();
    let four = || (1..=MOST_UNDOS).map(|attempt| began(attempt, Placement));
    for (between, origin) in [(None, Cancellation), (Some(stuck(4)), Placement)] {
        let history: Vec<SagaEvent> = four().chain(between).chain([began(5, origin)]).collect();
        let saga: Saga = fold(None, &history).unwrap().unwrap();
        assert_eq!(next_in(0, &order, &saga), Next::Undo(6), "{origin:?}");
        let last: Vec<SagaEvent> = history.into_iter().chain((6..=8).map(|n| began(n, origin))).collect();
        assert_eq!(next_in(0, &order, &fold(None, &last).unwrap().unwrap()), Next::GetStuck, "{origin:?}");
    }
}

#[test]
fn a_saga_that_is_over_or_waits_for_an_operator_is_left_alone() {
    for order in orders() {
        for stage in [Stage::Undone, Stage::Settled, Stage::Stuck { undo: None }] {
            assert_eq!(next(&order, NOW, Some(&saga(3, 4, stage)), later(1_000_000), patience()), Next::Wait);
        }
    }
}

#[test]
fn a_patience_is_a_number_of_seconds() {
    for nonsense in ["", "0", "-1", "1.5", "a minute", "4294967296"] {
        assert!(Patience::new(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn a_thousand_orders_of_one_outage_do_not_come_back_in_the_same_minute() {
    let due = (0..1000).map(|n| patience().due_at(Id::derived(&["order", &n.to_string()]), 3, NOW));
    let mut minutes: Vec<i64> = due.map(|at| at.as_second() / 60).collect();
    minutes.sort_unstable();
    minutes.dedup();
    assert_eq!(minutes.len(), 10, "20 minutes, and a quarter of that to either side");
}

fn any_command() -> impl Strategy<Value = SagaCommand> {
    let outcome = prop_oneof![Just(Undone), Just(Kept)];
    prop_oneof![
        (0..5_u32).prop_map(resume),
        prop::sample::select(&ORIGINS).prop_map(begin),
        (0..6_u32).prop_map(retry),
        (0..6_u32, prop::sample::select(&ORIGINS), outcome)
            .prop_map(|(attempt, origin, outcome)| end(attempt, origin, outcome)),
        prop::option::of(0..6_u32).prop_map(get_stuck),
        Just(SagaCommand::Settle),
    ]
}

proptest! {
    #[test]
    fn an_attempt_has_twice_the_time_of_the_one_before_and_a_quarter_more_or_less_and_always_the_same(
        seconds in 1..100_000_u32, attempt in 1..=8_u32, order in any::<u128>()
    ) {
        let patience = Patience::new(&seconds.to_string()).unwrap();
        let order: OrderId = Id::derived(&[&order.to_string()]);
        let due = patience.due_at(order, attempt, NOW);
        prop_assert_eq!(due, patience.due_at(order, attempt, NOW));
        let (took, doubled) = (due.duration_since(NOW).as_secs_f64(), f64::from(seconds * 2_u32.pow(attempt - 1)));
        prop_assert!((0.75..=1.25).contains(&(took / doubled)), "{took} of {doubled}");
        patience.due_at(order, u32::MAX, NOW);
    }

    /// Whatever is told in whatever order: it can be folded, numbers of undos only grow, so that no
    /// execution's name is used twice, and nothing follows an undone order.
    #[test]
    fn no_command_leads_outside_the_state_machine(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut state: Option<Saga> = None;
        for command in commands {
            let events = Saga::decide(state.as_ref(), &command).unwrap();
            let undos = state.as_ref().map_or(0, |saga| saga.undos);
            if state.as_ref().is_some_and(|saga| saga.stage == Stage::Undone) {
                prop_assert_eq!(&events, &vec![]);
            }
            if let [SagaEvent::SagaUndoBegan(began)] = &events[..] {
                prop_assert!(began.attempt > undos);
            }
            state = fold(state, &events).unwrap();
            prop_assert!(state.as_ref().map_or(0, |saga| saga.undos) >= undos);
        }
    }
}
