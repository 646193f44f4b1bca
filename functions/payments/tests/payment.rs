//! The rules of a payment.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    ids::{CustomerId, OrderId},
    payments::{
        PaymentAuthorized, PaymentCaptured, PaymentConfirmed, PaymentEvent, PaymentRefunded, PaymentReleased,
    },
};
use kernel::{Aggregate, Id, Money, Reason, aggregate::fold};
use payments::payment::{Payment, PaymentCommand, PaymentRefusal};
use proptest::prelude::*;
use testing::spec::given;

fn customer(name: &str) -> CustomerId {
    Id::derived(&["customer", name])
}

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

fn authorized(minor: i64) -> PaymentEvent {
    PaymentEvent::PaymentAuthorized(PaymentAuthorized { customer_id: customer("ada"), amount: cents(minor) })
}

fn confirmed(name: &str, minor: i64) -> PaymentEvent {
    PaymentEvent::PaymentConfirmed(PaymentConfirmed { order_id: order(name), amount: cents(minor) })
}

fn released(name: &str) -> PaymentEvent {
    PaymentEvent::PaymentReleased(PaymentReleased { order_id: order(name) })
}

fn captured(name: &str, minor: i64) -> PaymentEvent {
    PaymentEvent::PaymentCaptured(PaymentCaptured { order_id: order(name), amount: cents(minor) })
}

fn refunded(name: &str, minor: i64) -> PaymentEvent {
    let (order_id, amount, reason) = (order(name), cents(minor), "WILTED".to_owned());
    PaymentEvent::PaymentRefunded(PaymentRefunded { order_id, amount, reason })
}

fn authorize(minor: i64) -> PaymentCommand {
    PaymentCommand::Authorize { customer_id: customer("ada"), amount: cents(minor) }
}

fn confirm(who: &str, name: &str, minor: i64) -> PaymentCommand {
    PaymentCommand::Confirm { order_id: order(name), customer_id: customer(who), total: cents(minor) }
}

fn release(who: &str, name: &str) -> PaymentCommand {
    PaymentCommand::Release { order_id: order(name), customer_id: customer(who), invoice_is_paid: false }
}

fn capture(who: &str, name: &str, minor: i64) -> PaymentCommand {
    PaymentCommand::Capture { order_id: order(name), customer_id: customer(who), amount: cents(minor) }
}

fn refund(who: &str, name: &str) -> PaymentCommand {
    let (order_id, customer_id, reason) = (order(name), customer(who), Reason::new("WILTED"));
    PaymentCommand::Refund { order_id, customer_id, reason }
}

fn give_back(who: &str, name: &str, paid: Option<i64>) -> PaymentCommand {
    PaymentCommand::GiveBack {
        order_id: order(name),
        customer_id: customer(who),
        paid: paid.map(cents),
        reason: Reason::new("WILTED"),
    }
}

/// Ada's payment of 5.00, in each state that it can be in for order 1.
fn every_state() -> [(&'static str, Vec<PaymentEvent>); 5] {
    let (put_up, held, taken) = (authorized(500), confirmed("1", 100), captured("1", 100));
    [
        ("authorized", vec![put_up.clone()]),
        ("confirmed", vec![put_up.clone(), held.clone()]),
        ("captured", vec![put_up.clone(), held.clone(), taken.clone()]),
        ("refunded", vec![put_up.clone(), held.clone(), taken, refunded("1", 100)]),
        ("released", vec![put_up, held, released("1")]),
    ]
}

#[test]
fn a_payment_is_authorized_once_and_never_below_zero() {
    given::<Payment>([]).when(authorize(500)).then([authorized(500)]);
    given::<Payment>([]).when(authorize(0)).then([authorized(0)]);
    given::<Payment>([]).when(authorize(-1)).then_refused(PaymentRefusal::AmountCannotBeNegative);
    given::<Payment>([authorized(500)]).when(authorize(500)).then_refused(PaymentRefusal::AlreadyAuthorized);
}

#[test]
fn d8_a_payment_that_does_not_cover_the_total_is_not_confirmed() {
    given::<Payment>([authorized(500)]).when(confirm("ada", "1", 500)).then([confirmed("1", 500)]);
    given::<Payment>([authorized(500)])
        .when(confirm("ada", "1", 501))
        .then_refused(PaymentRefusal::DoesNotCoverTotal { amount: cents(500), total: cents(501) });
    given::<Payment>([authorized(500)])
        .when(confirm("ada", "1", -1))
        .then_refused(PaymentRefusal::AmountCannotBeNegative);
}

#[test]
fn d8_somebody_elses_payment_is_not_confirmed() {
    given::<Payment>([authorized(500)])
        .when(confirm("bob", "1", 100))
        .then_refused(PaymentRefusal::BelongsToAnotherCustomer);
}

#[test]
fn d8_one_payment_does_not_pay_for_two_orders() {
    given::<Payment>([authorized(500), confirmed("1", 100)])
        .when(confirm("ada", "2", 100))
        .then_refused(PaymentRefusal::IsUsed);
}

#[test]
fn a_payment_belongs_to_the_customer_covers_the_total_and_is_used_once() {
    for (state, history) in every_state() {
        let story = || given::<Payment>(history.clone());
        for command in [confirm("bob", "1", 100), capture("bob", "1", 100), refund("bob", "1")] {
            story().when(command).then_refused(PaymentRefusal::BelongsToAnotherCustomer);
        }
        story().when(release("bob", "1")).then_nothing();
        story().when(give_back("bob", "1", Some(100))).then_nothing();
        let used = match state {
            "authorized" => continue,
            "released" => PaymentRefusal::WasReleased,
            _ => PaymentRefusal::IsUsed,
        };
        for command in [confirm("ada", "2", 100), capture("ada", "2", 100), refund("ada", "2")] {
            story().when(command).then_refused(used.clone());
        }
        story().when(release("ada", "2")).then_nothing();
        story().when(give_back("ada", "2", Some(100))).then_nothing();
    }
}

#[test]
fn d16_a_payment_that_never_was_is_neither_confirmed_nor_captured_nor_refunded() {
    for command in [confirm("ada", "1", 1), capture("ada", "1", 1), refund("ada", "1")] {
        given::<Payment>([]).when(command).then_refused(PaymentRefusal::NotFound);
    }
}

#[test]
fn a_payment_keeps_what_it_holds_and_no_more_can_be_taken() {
    let held = || given::<Payment>([authorized(500), confirmed("1", 100)]);
    assert_eq!(held().state().unwrap().held(), Some(cents(100)));
    held().when(capture("ada", "1", 100)).then([captured("1", 100)]);
    held().when(capture("ada", "1", 99)).then([captured("1", 99)]);
    held()
        .when(capture("ada", "1", 101))
        .then_refused(PaymentRefusal::HoldsLess { held: cents(100), amount: cents(101) });
    held().when(capture("ada", "1", -1)).then_refused(PaymentRefusal::AmountCannotBeNegative);
}

#[test]
fn what_is_not_confirmed_is_not_captured() {
    given::<Payment>([authorized(500)])
        .when(capture("ada", "1", 100))
        .then_refused(PaymentRefusal::NotConfirmed);
    given::<Payment>([authorized(500), released("1")])
        .when(capture("ada", "1", 100))
        .then_refused(PaymentRefusal::WasReleased);
}

#[test]
fn capturing_twice_takes_the_money_once() {
    given::<Payment>([authorized(500), confirmed("1", 100), captured("1", 100)])
        .when(capture("ada", "1", 100))
        .then_nothing()
        .when(confirm("ada", "1", 100))
        .then_nothing();
}

#[test]
fn what_was_captured_for_another_amount_is_not_taken_for_the_invoices() {
    for minor in [99, 101, 0] {
        given::<Payment>([authorized(500), confirmed("1", 100), captured("1", 100)])
            .when(capture("ada", "1", minor))
            .then_refused(PaymentRefusal::WasCapturedForAnotherAmount {
                captured: cents(100),
                amount: cents(minor),
            });
    }
    given::<Payment>([authorized(500), confirmed("1", 100), captured("1", 100)])
        .when(capture("ada", "2", 99))
        .then_refused(PaymentRefusal::IsUsed);
}

#[test]
fn a_refund_gives_back_all_that_was_taken_and_only_once() {
    given::<Payment>([authorized(500), confirmed("1", 100), captured("1", 99)])
        .when(refund("ada", "1"))
        .then([refunded("1", 99)])
        .when(refund("ada", "1"))
        .then_nothing()
        .when(capture("ada", "1", 99))
        .then_nothing()
        .when(release("ada", "1"))
        .then_nothing()
        .when(confirm("ada", "1", 100))
        .then_refused(PaymentRefusal::WasRefunded);
}

#[test]
fn what_was_not_taken_is_not_refunded() {
    let put_up = authorized(500);
    for history in [vec![put_up.clone()], vec![put_up.clone(), confirmed("1", 100)]] {
        given::<Payment>(history).when(refund("ada", "1")).then_refused(PaymentRefusal::NotCaptured);
    }
    given::<Payment>([put_up, released("1")])
        .when(refund("ada", "1"))
        .then_refused(PaymentRefusal::WasReleased);
}

#[test]
fn what_is_about_to_be_captured_is_not_released_and_what_is_over_stays_harmless() {
    let release = || PaymentCommand::Release {
        order_id: order("1"),
        customer_id: customer("ada"),
        invoice_is_paid: true,
    };
    given::<Payment>([authorized(500), confirmed("1", 100)])
        .when(release())
        .then_refused(PaymentRefusal::InvoiceIsPaid);
    given::<Payment>([authorized(500), confirmed("2", 100)]).when(release()).then_nothing();
    given::<Payment>([authorized(500), confirmed("1", 100), captured("1", 100), refunded("1", 100)])
        .when(release())
        .then_nothing();
}

#[test]
fn a_captured_payment_is_not_silently_kept_by_a_release() {
    given::<Payment>([authorized(500), confirmed("1", 100), captured("1", 100)])
        .when(release("ada", "1"))
        .then_refused(PaymentRefusal::WasCaptured);
}

#[test]
fn a_cancelled_order_gets_back_whatever_has_become_of_its_payment() {
    let expected = |state, paid: Option<i64>| match (state, paid) {
        ("authorized", _) | ("confirmed", None) => vec![released("1")],
        // The capture is still on its way: the books say all the same that it was taken and given back.
        ("confirmed", Some(amount)) => vec![captured("1", amount), refunded("1", amount)],
        ("captured", _) => vec![refunded("1", 100)],
        _ => vec![],
    };
    for (state, history) in every_state() {
        for paid in [None, Some(100), Some(40)] {
            given::<Payment>(history.clone())
                .when(give_back("ada", "1", paid))
                .then(expected(state, paid))
                .when(give_back("ada", "1", paid))
                .then_nothing();
        }
    }
    given::<Payment>([]).when(give_back("ada", "1", None)).then_nothing();
    given::<Payment>([authorized(500), confirmed("1", 100)])
        .when(give_back("ada", "1", Some(101)))
        .then_refused(PaymentRefusal::HoldsLess { held: cents(100), amount: cents(101) });
}

#[test]
fn a_confirmation_that_comes_after_the_settlement_is_refused_whatever_was_there_before() {
    for (state, history) in every_state() {
        for paid in [None, Some(100)] {
            let before = fold::<Payment>(None, &history).unwrap();
            let given_back = Payment::decide(before.as_ref(), &give_back("ada", "1", paid)).unwrap();
            let settled = fold(before, &given_back).unwrap();
            assert_eq!(settled.as_ref().and_then(Payment::order_id), Some(order("1")), "{state}: the mark");
            let refusal = Payment::decide(settled.as_ref(), &confirm("ada", "1", 100)).unwrap_err();
            assert!(
                [PaymentRefusal::WasReleased, PaymentRefusal::WasRefunded].contains(&refusal),
                "{state}: {refusal}"
            );
        }
    }
}

#[test]
fn confirming_twice_for_one_order_holds_it_once() {
    given::<Payment>([authorized(500), confirmed("1", 100)]).when(confirm("ada", "1", 100)).then_nothing();
}

#[test]
fn a_release_gives_back_what_is_held_and_only_once() {
    given::<Payment>([authorized(500), confirmed("1", 100)]).when(release("ada", "1")).then([released("1")]);
    given::<Payment>([authorized(500), confirmed("1", 100), released("1")])
        .when(release("ada", "1"))
        .then_nothing();
}

#[test]
fn a_release_with_nothing_to_give_back_is_harmless() {
    given::<Payment>([]).when(release("ada", "1")).then_nothing();
}

#[test]
fn a_failed_order_does_not_release_what_another_order_holds() {
    given::<Payment>([authorized(500), confirmed("1", 100)]).when(release("ada", "2")).then_nothing();
}

#[test]
fn a_failed_order_does_not_release_somebody_elses_payment() {
    given::<Payment>([authorized(500)]).when(release("bob", "1")).then_nothing();
    given::<Payment>([authorized(500), confirmed("1", 100)]).when(release("bob", "1")).then_nothing();
}

#[test]
fn a_confirmation_that_arrives_after_its_compensation_is_refused() {
    given::<Payment>([authorized(500)]).when(release("ada", "1")).then([released("1")]);
    given::<Payment>([authorized(500), released("1")])
        .when(confirm("ada", "1", 100))
        .then_refused(PaymentRefusal::WasReleased);
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![confirmed("1", 100)],
        vec![released("1")],
        vec![authorized(500), authorized(500)],
        vec![authorized(500), captured("1", 100)],
        vec![authorized(500), confirmed("1", 100), refunded("1", 100)],
        vec![authorized(500), confirmed("1", 100), captured("1", 100), released("1")],
        vec![authorized(500), confirmed("1", 100), captured("1", 100), captured("1", 100)],
        vec![authorized(500), released("1"), confirmed("1", 100)],
    ] {
        assert!(fold::<Payment>(None, &history).is_err(), "{history:?}");
    }
}

fn any_command() -> impl Strategy<Value = PaymentCommand> {
    let who = prop_oneof![4 => Just("ada"), 1 => Just("bob")];
    let name = prop_oneof![4 => Just("1"), 1 => Just("2")];
    (0..6_u8, who, name, -1..8_i64, prop::option::of(0..8_i64)).prop_map(|(pick, who, name, minor, paid)| {
        match pick {
            0 => authorize(minor),
            1 => confirm(who, name, minor),
            2 => capture(who, name, minor),
            3 => release(who, name),
            4 => refund(who, name),
            _ => give_back(who, name, paid),
        }
    })
}

proptest! {
    /// Whatever is asked: what was decided can be folded; no transition leads outside the state machine; only the
    /// customer's own order gets anything; and no cent is made or lost, by the events as by the state.
    #[test]
    fn no_transition_leads_outside_the_state_machine_and_no_cent_is_lost(
        commands in prop::collection::vec(any_command(), 0..40),
    ) {
        let mut state: Option<Payment> = None;
        let mut history: Vec<PaymentEvent> = Vec::new();
        for command in commands {
            let Ok(events) = Payment::decide(state.as_ref(), &command) else { continue };
            for event in &events {
                let before = state.as_ref().map(Payment::status);
                state = Some(Payment::evolve(state.clone(), event).unwrap());
                let after = state.as_ref().map(Payment::status).unwrap();
                let allowed = [
                    (None, "authorized"),
                    (Some("authorized"), "confirmed"),
                    (Some("authorized"), "released"),
                    (Some("confirmed"), "captured"),
                    (Some("confirmed"), "released"),
                    (Some("captured"), "refunded"),
                ];
                prop_assert!(allowed.contains(&(before, after)), "{before:?} -> {after}");
            }
            history.extend(events);

            let Some(payment) = &state else { continue };
            let sum = |pick: fn(&PaymentEvent) -> Option<Money>| {
                history.iter().filter_map(pick).map(Money::minor).sum::<i64>()
            };
            let put_up = sum(|e| match e {
                PaymentEvent::PaymentAuthorized(e) => Some(e.amount),
                _ => None,
            });
            let taken = sum(|e| match e {
                PaymentEvent::PaymentCaptured(e) => Some(e.amount),
                _ => None,
            });
            let returned = sum(|e| match e {
                PaymentEvent::PaymentRefunded(e) => Some(e.amount),
                _ => None,
            });
            let minor = |money: Option<Money>| money.map_or(0, Money::minor);
            prop_assert_eq!(put_up, payment.put_up().amount.minor());
            prop_assert_eq!(taken, minor(payment.captured()));
            prop_assert_eq!(returned, minor(payment.refunded()));
            // Put up = free (released, or never needed) + held + captured; captured = refunded + kept.
            let free = put_up - minor(payment.held()) - taken;
            let kept = taken - returned;
            prop_assert!((0..=put_up).contains(&free) && (0..=taken).contains(&kept));
            match payment.status() {
                "captured" => prop_assert_eq!((kept, returned), (taken, 0)),
                "refunded" => prop_assert_eq!((kept, returned), (0, taken)),
                "released" => prop_assert_eq!((free, taken, returned), (put_up, 0, 0)),
                _ => prop_assert_eq!((taken, returned), (0, 0)),
            }
        }
    }
}
