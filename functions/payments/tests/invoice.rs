//! The rules of an invoice.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::time::Duration;

use contracts::{
    ids::{CustomerId, OrderId, PaymentId},
    payments::{
        InvoiceAdjusted, InvoiceCanceled, InvoiceCreated, InvoiceEvent, InvoicePaid, InvoiceReminded,
    },
};
use kernel::{Aggregate, Id, Money, Reason, Refusal, RefusalKind, Timestamp, aggregate::fold};
use payments::invoice::{Funds, Invoice, InvoiceCommand, InvoiceRefusal, Moment, Terms};
use proptest::prelude::*;
use testing::spec::given;

fn order() -> OrderId {
    Id::derived(&["order"])
}

fn customer() -> CustomerId {
    Id::derived(&["ada"])
}

fn payment(name: &str) -> PaymentId {
    Id::derived(&["payment", name])
}

fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

fn created(minor: i64) -> InvoiceEvent {
    InvoiceEvent::InvoiceCreated(InvoiceCreated {
        order_id: order(),
        customer_id: customer(),
        payment_id: payment("1"),
        amount: cents(minor),
    })
}

fn adjusted(old: i64, new: i64) -> InvoiceEvent {
    let (order_id, old_amount, amount) = (order(), cents(old), cents(new));
    InvoiceEvent::InvoiceAdjusted(InvoiceAdjusted { order_id, old_amount, amount })
}

fn paid(minor: i64) -> InvoiceEvent {
    InvoiceEvent::InvoicePaid(InvoicePaid {
        order_id: order(),
        customer_id: customer(),
        payment_id: payment("1"),
        amount: cents(minor),
    })
}

fn canceled() -> InvoiceEvent {
    InvoiceEvent::InvoiceCanceled(InvoiceCanceled { order_id: order(), reason: "WILTED".to_owned() })
}

fn create(minor: i64) -> InvoiceCommand {
    InvoiceCommand::Create {
        order_id: order(),
        customer_id: customer(),
        payment_id: payment("1"),
        amount: cents(minor),
    }
}

fn adjust(minor: i64, held: Option<i64>) -> InvoiceCommand {
    InvoiceCommand::Adjust { amount: cents(minor), held: held.map(cents) }
}

fn pay(held: Option<i64>) -> InvoiceCommand {
    InvoiceCommand::Pay { funds: held.map(cents).map(Funds::Held) }
}

fn pay_with_captured(minor: i64) -> InvoiceCommand {
    InvoiceCommand::Pay { funds: Some(Funds::Captured(cents(minor))) }
}

fn cancel() -> InvoiceCommand {
    InvoiceCommand::Cancel { reason: Reason::new("WILTED") }
}

fn cancel_with_order() -> InvoiceCommand {
    InvoiceCommand::CancelWithOrder { order_id: order(), reason: Reason::new("WILTED") }
}

const DAY: u64 = 24 * 3600;

/// A week to pay, and a reminder every day.
const TERMS: Terms = Terms { deadline: Duration::from_secs(7 * DAY), reminder: Duration::from_secs(DAY) };

/// Seconds after the invoice was made.
fn after(seconds: u64) -> Timestamp {
    let made = Timestamp::constant(1_795_165_200, 500_000_000);
    made + Duration::from_secs(seconds)
}

/// So many seconds after the invoice was made, and as many after which the customer was last reminded.
fn moment(now: u64, reminded: Option<u64>) -> Moment {
    Moment { now: after(now), created_at: after(0), reminded_at: reminded.map(after), terms: TERMS }
}

fn remind(reminders: u32, now: u64, reminded: Option<u64>) -> InvoiceCommand {
    InvoiceCommand::Remind { reminders, moment: moment(now, reminded) }
}

fn reminded(reminder: u32, minor: i64) -> InvoiceEvent {
    InvoiceEvent::InvoiceReminded(InvoiceReminded {
        order_id: order(),
        customer_id: customer(),
        payment_id: payment("1"),
        amount: cents(minor),
        reminder,
        due_at: after(7 * DAY),
    })
}

fn give_up() -> InvoiceCommand {
    InvoiceCommand::GiveUp { reason: Reason::new("WILTED") }
}

#[test]
fn a_customer_is_reminded_once_per_period_of_what_is_owed_then() {
    given::<Invoice>([created(150)])
        .when(remind(0, DAY - 1, None))
        .then_nothing()
        .when(remind(0, DAY, None))
        .then([reminded(1, 150)])
        .when(adjust(100, Some(150)))
        .then([adjusted(150, 100)])
        .when(remind(1, 2 * DAY - 1, Some(DAY)))
        .then_nothing()
        .when(remind(1, 2 * DAY, Some(DAY)))
        .then([reminded(2, 100)])
        .when(pay(Some(150)))
        .then([paid(100)]);
}

#[test]
fn a_reminder_that_somebody_else_sent_meanwhile_is_not_sent_again() {
    given::<Invoice>([created(150), reminded(1, 150)]).when(remind(0, 2 * DAY, None)).then_nothing();
}

#[test]
fn nobody_is_reminded_of_what_is_not_owed() {
    given::<Invoice>([created(150), paid(150)]).when(remind(0, 9 * DAY, None)).then_nothing();
    given::<Invoice>([created(150), canceled()]).when(remind(0, DAY, None)).then_nothing();
    given::<Invoice>([]).when(remind(0, DAY, None)).then_refused(InvoiceRefusal::NotFound);
    given::<Invoice>([canceled()]).when(remind(0, DAY, None)).then_refused(InvoiceRefusal::NotFound);
}

#[test]
fn nobody_is_reminded_when_the_time_to_pay_is_over() {
    given::<Invoice>([created(150)]).when(remind(0, 7 * DAY, None)).then_nothing();
    let late = [created(150), reminded(1, 150)];
    given::<Invoice>(late.clone()).when(remind(1, 7 * DAY, Some(6 * DAY))).then_nothing();
    given::<Invoice>(late).when(remind(1, 7 * DAY - 1, Some(DAY))).then([reminded(2, 150)]);
}

#[test]
fn a_reminder_period_that_is_longer_than_the_deadline_reminds_nobody_and_puts_nothing_off() {
    let terms = Terms { reminder: Duration::from_secs(8 * DAY), ..TERMS };
    for now in [7 * DAY - 1, 7 * DAY, 8 * DAY, 9 * DAY] {
        let moment = Moment { terms, ..moment(now, None) };
        assert_eq!(moment.is_overdue(), now >= 7 * DAY);
        given::<Invoice>([created(150)]).when(InvoiceCommand::Remind { reminders: 0, moment }).then_nothing();
    }
}

#[test]
fn giving_up_and_paying_exclude_each_other_and_the_first_one_stays() {
    given::<Invoice>([created(150), reminded(1, 150)])
        .when(give_up())
        .then([canceled()])
        .when(give_up())
        .then_nothing()
        .when(pay(Some(150)))
        .then_refused(InvoiceRefusal::CannotBePaid { status: "canceled" });
    given::<Invoice>([created(150), paid(150)]).when(give_up()).then_refused(InvoiceRefusal::IsPaid);
    assert_eq!(InvoiceRefusal::IsPaid.code(), "INVOICE_IS_PAID");
    given::<Invoice>([canceled()]).when(give_up()).then_nothing();
    given::<Invoice>([]).when(give_up()).then_refused(InvoiceRefusal::NotFound);
}

#[test]
fn terms_that_make_no_sense_are_refused_with_what_is_wrong() {
    assert_eq!(Terms::new("604800", "86400"), Ok(TERMS));
    for (deadline, reminder) in [("0", "1"), ("1", "0"), ("-1", "1"), ("soon", "1"), ("1", "")] {
        let error = Terms::new(deadline, reminder).unwrap_err();
        assert!(error.contains("seconds above 0"), "{error}");
    }
    assert!(Terms::new("1000", "1").is_ok());
    assert!(Terms::new("1001", "1").unwrap_err().contains("1000 reminders"));
}

#[test]
fn an_invoice_is_made_once_however_often_it_is_asked_for() {
    given::<Invoice>([]).when(create(150)).then([created(150)]).when(create(150)).then_nothing();
    given::<Invoice>([created(150), adjusted(150, 100)]).when(create(150)).then_nothing();
    given::<Invoice>([created(150), paid(150)]).when(create(150)).then_nothing();
    given::<Invoice>([]).when(create(0)).then([created(0)]);
    given::<Invoice>([]).when(create(-1)).then_refused(InvoiceRefusal::AmountCannotBeNegative);
}

#[test]
fn an_order_does_not_get_a_second_invoice_about_something_else() {
    given::<Invoice>([created(150)]).when(create(151)).then_refused(InvoiceRefusal::AlreadyCreated);
    let with_another_payment = InvoiceCommand::Create {
        order_id: order(),
        customer_id: customer(),
        payment_id: payment("2"),
        amount: cents(150),
    };
    given::<Invoice>([created(150), paid(150)])
        .when(with_another_payment)
        .then_refused(InvoiceRefusal::AlreadyCreated);
}

#[test]
fn an_invoice_is_paid_once() {
    given::<Invoice>([created(150)])
        .when(pay(Some(150)))
        .then([paid(150)])
        .when(pay(Some(150)))
        .then_refused(InvoiceRefusal::CannotBePaid { status: "paid" });
    assert_eq!(InvoiceRefusal::CannotBePaid { status: "paid" }.kind(), RefusalKind::Invalid);
}

#[test]
fn an_adjusted_invoice_is_paid_with_its_new_amount() {
    given::<Invoice>([created(150)])
        .when(adjust(100, Some(150)))
        .then([adjusted(150, 100)])
        .when(adjust(100, Some(150)))
        .then_nothing()
        .when(adjust(120, Some(150)))
        .then([adjusted(100, 120)])
        .when(pay(Some(150)))
        .then([paid(120)]);
}

#[test]
fn an_invoice_is_not_paid_with_what_was_captured_for_another_amount() {
    given::<Invoice>([created(150)]).when(pay_with_captured(150)).then([paid(150)]);
    for minor in [149, 151] {
        given::<Invoice>([created(150)]).when(pay_with_captured(minor)).then_refused(
            InvoiceRefusal::WasCapturedForAnotherAmount { captured: cents(minor), amount: cents(150) },
        );
    }
}

#[test]
fn d8_an_invoice_never_asks_for_more_than_the_payment_holds() {
    given::<Invoice>([created(150)])
        .when(adjust(151, Some(150)))
        .then_refused(InvoiceRefusal::ExceedsPayment { amount: cents(151), held: cents(150) });
    given::<Invoice>([created(150)])
        .when(pay(Some(149)))
        .then_refused(InvoiceRefusal::ExceedsPayment { amount: cents(150), held: cents(149) });
    for command in [adjust(1, None), pay(None)] {
        given::<Invoice>([created(150)]).when(command).then_refused(InvoiceRefusal::HasNoPayment);
    }
    given::<Invoice>([created(150)])
        .when(adjust(-1, Some(150)))
        .then_refused(InvoiceRefusal::AmountCannotBeNegative);
}

#[test]
fn only_a_pending_invoice_is_paid_adjusted_or_canceled() {
    for (status, history) in
        [("paid", vec![created(150), paid(150)]), ("canceled", vec![created(150), canceled()])]
    {
        let story = || given::<Invoice>(history.clone());
        story().when(pay(Some(150))).then_refused(InvoiceRefusal::CannotBePaid { status });
        story().when(adjust(1, Some(150))).then_refused(InvoiceRefusal::CannotBeAdjusted { status });
        story().when(cancel()).then_refused(InvoiceRefusal::CannotBeCanceled { status });
    }
    given::<Invoice>([created(150)]).when(cancel()).then([canceled()]);
}

#[test]
fn d12_a_cancelled_order_cancels_its_pending_invoice_once() {
    given::<Invoice>([created(150)])
        .when(cancel_with_order())
        .then([canceled()])
        .when(cancel_with_order())
        .then_nothing();
}

#[test]
fn d12_an_invoice_that_is_paid_stays_paid_when_the_order_is_cancelled() {
    let invoice = given::<Invoice>([created(150), adjusted(150, 100), paid(100)])
        .when(cancel_with_order())
        .then_nothing();
    assert_eq!(invoice.state().unwrap().paid(), Some(cents(100)));
}

#[test]
fn d12_an_invoice_whose_cancellation_overtook_it_is_never_made() {
    let never_made = || given::<Invoice>([]).when(cancel_with_order()).then([canceled()]);
    never_made().when(cancel_with_order()).then_nothing();
    never_made().when(create(150)).then_refused(InvoiceRefusal::WasCanceled);
    for command in [pay(Some(150)), adjust(1, Some(150)), cancel()] {
        never_made().when(command).then_refused(InvoiceRefusal::NotFound);
    }
}

#[test]
fn d13_a_canceled_invoice_can_be_read_back() {
    let story = given::<Invoice>([created(150), canceled()]);
    let invoice = story.state().unwrap();
    assert_eq!((invoice.status(), invoice.reason().unwrap().as_str()), ("canceled", "WILTED"));
    assert_eq!(invoice.bill().unwrap().amount, cents(150));
}

#[test]
fn d16_a_command_on_an_invoice_that_never_was_does_not_make_a_ghost() {
    for command in [pay(Some(1)), adjust(1, Some(1)), cancel()] {
        given::<Invoice>([]).when(command).then_refused(InvoiceRefusal::NotFound);
    }
}

#[test]
fn the_refusals_have_the_codes_of_the_original() {
    let codes = [
        (InvoiceRefusal::CannotBePaid { status: "paid" }, "INVOICE_CANNOT_BE_PAID"),
        (InvoiceRefusal::CannotBeCanceled { status: "paid" }, "INVOICE_CANNOT_BE_CANCELLED"),
        (InvoiceRefusal::CannotBeAdjusted { status: "paid" }, "INVOICE_CANNOT_BE_ADJUSTED"),
    ];
    for (refusal, code) in codes {
        assert_eq!((refusal.code(), refusal.kind()), (code, RefusalKind::Invalid));
    }
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![paid(150)],
        vec![adjusted(150, 100)],
        vec![created(150), created(150)],
        vec![created(150), paid(150), canceled()],
        vec![created(150), canceled(), paid(150)],
        vec![canceled(), created(150)],
        vec![canceled(), canceled()],
        vec![reminded(1, 150)],
        vec![created(150), paid(150), reminded(1, 150)],
    ] {
        assert!(fold::<Invoice>(None, &history).is_err(), "{history:?}");
    }
}

fn any_command() -> impl Strategy<Value = InvoiceCommand> {
    let picked = (0..9_u8, -1..6_i64, prop::option::of(0..6_i64), any::<bool>());
    picked.prop_map(|(pick, minor, held, pick_captured)| match pick {
        0 => create(3),
        1 => create(minor),
        2 => adjust(minor, held),
        3 => match held {
            Some(taken) if pick_captured => pay_with_captured(taken),
            held => pay(held),
        },
        4 => cancel(),
        5 => cancel_with_order(),
        6 => give_up(),
        _ => remind(held.unwrap_or(0) as u32, minor.unsigned_abs() * DAY, None),
    })
}

proptest! {
    /// Whatever is asked: what was decided can be folded; no transition leads outside the state machine; what is
    /// owed is what was asked for last, never negative, and covered when it is paid.
    #[test]
    fn no_transition_leads_outside_the_state_machine(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut state: Option<Invoice> = None;
        let mut owed: Option<Money> = None;
        let mut reminders = 0;
        for command in commands {
            let name = |state: &Option<Invoice>| match state {
                None => "none",
                Some(Invoice::NeverMade(_)) => "never made",
                Some(invoice) => invoice.status(),
            };
            let before = name(&state);
            let Ok(events) = Invoice::decide(state.as_ref(), &command) else { continue };
            state = fold(state, &events).unwrap();
            let after = name(&state);
            let allowed = [
                ("none", "pending"),
                ("none", "never made"),
                ("pending", "paid"),
                ("pending", "canceled"),
            ];
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before} -> {after}");
            for event in &events {
                match event {
                    InvoiceEvent::InvoiceCreated(e) => owed = Some(e.amount),
                    InvoiceEvent::InvoiceAdjusted(e) => {
                        prop_assert_eq!(owed, Some(e.old_amount));
                        owed = Some(e.amount);
                    }
                    InvoiceEvent::InvoicePaid(e) => {
                        prop_assert_eq!(owed, Some(e.amount));
                        let InvoiceCommand::Pay { funds } = command else { panic!("paid by {command:?}") };
                        match funds.unwrap() {
                            Funds::Held(held) => prop_assert!(held.covers(e.amount)),
                            Funds::Captured(captured) => prop_assert_eq!(captured, e.amount),
                        }
                    }
                    InvoiceEvent::InvoiceReminded(e) => {
                        prop_assert_eq!((owed, before), (Some(e.amount), "pending"));
                        reminders += 1;
                        prop_assert_eq!(e.reminder, reminders);
                    }
                    InvoiceEvent::InvoiceCanceled(_) => {}
                }
            }
            let bill = state.as_ref().and_then(Invoice::bill).map(|bill| bill.amount);
            prop_assert_eq!(bill, owed);
            prop_assert!(owed.is_none_or(|owed| !owed.is_negative()));
        }
    }
}
