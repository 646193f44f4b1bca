//! The rules of a payment.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    ids::{CustomerId, OrderId},
    payments::{PaymentAuthorized, PaymentConfirmed, PaymentEvent, PaymentReleased},
};
use kernel::{Id, Money};
use payments::payment::{Payment, PaymentCommand, PaymentRefusal};
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

fn authorize(minor: i64) -> PaymentCommand {
    PaymentCommand::Authorize { customer_id: customer("ada"), amount: cents(minor) }
}

fn confirm(who: &str, name: &str, minor: i64) -> PaymentCommand {
    PaymentCommand::Confirm { order_id: order(name), customer_id: customer(who), total: cents(minor) }
}

fn release(who: &str, name: &str) -> PaymentCommand {
    PaymentCommand::Release { order_id: order(name), customer_id: customer(who) }
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
fn d16_a_payment_that_never_was_is_not_confirmed() {
    given::<Payment>([]).when(confirm("ada", "1", 1)).then_refused(PaymentRefusal::NotFound);
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
