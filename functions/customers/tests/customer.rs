//! The rules of a customer.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    customers::{
        CustomerAuthorized, CustomerDisabled, CustomerEnabled, CustomerEvent, CustomerRegistered,
        CustomerSmsChanged,
    },
    ids::OrderId,
};
use customers::customer::{Customer, CustomerCommand, CustomerRefusal};
use kernel::{Aggregate, Id, Refusal, RefusalKind, aggregate::fold};
use proptest::prelude::*;
use testing::spec::given;

fn register(name: &str, sms_number: &str) -> CustomerCommand {
    CustomerCommand::Register { name: name.into(), sms_number: sms_number.into() }
}

fn change(sms_number: &str) -> CustomerCommand {
    CustomerCommand::ChangeSmsNumber { sms_number: sms_number.into() }
}

fn authorize() -> CustomerCommand {
    CustomerCommand::Authorize { order_id: Some(order_id()) }
}

fn order_id() -> OrderId {
    Id::derived(&["order"])
}

fn registered() -> CustomerEvent {
    CustomerEvent::CustomerRegistered(CustomerRegistered {
        name: "Ada".into(),
        sms_number: "+44 20 7946 0001".into(),
    })
}

fn changed(sms_number: &str) -> CustomerEvent {
    CustomerEvent::CustomerSmsChanged(CustomerSmsChanged { sms_number: sms_number.into() })
}

fn authorized() -> CustomerEvent {
    CustomerEvent::CustomerAuthorized(CustomerAuthorized { order_id: Some(order_id()) })
}

fn enabled() -> CustomerEvent {
    CustomerEvent::CustomerEnabled(CustomerEnabled {})
}

fn disabled() -> CustomerEvent {
    CustomerEvent::CustomerDisabled(CustomerDisabled {})
}

#[test]
fn a_customer_registers_and_may_order() {
    let customer = given::<Customer>([]).when(register("Ada", "+44 20 7946 0001")).then([registered()]);
    assert!(customer.state().unwrap().is_enabled());
}

#[test]
fn a_customer_needs_a_name_and_a_number() {
    for blank in ["", " ", "\t"] {
        given::<Customer>([]).when(register(blank, "1")).then_refused(CustomerRefusal::NameCannotBeBlank);
        given::<Customer>([])
            .when(register("Ada", blank))
            .then_refused(CustomerRefusal::SmsNumberCannotBeBlank);
    }
}

#[test]
fn a_customer_registers_once() {
    given::<Customer>([registered()])
        .when(register("Ada", "1"))
        .then_refused(CustomerRefusal::AlreadyRegistered);
}

#[test]
fn d7_the_sms_number_can_be_changed() {
    let customer =
        given::<Customer>([registered()]).when(change("+1 555 0100")).then([changed("+1 555 0100")]);
    assert_eq!(customer.state().unwrap().profile().sms_number, "+1 555 0100");
    assert_eq!(customer.state().unwrap().profile().name, "Ada");
}

#[test]
fn a_changed_number_neither_enables_nor_disables() {
    let customer = given::<Customer>([registered(), disabled()]).when(change("2")).then([changed("2")]);
    assert!(!customer.state().unwrap().is_enabled());
    given::<Customer>([registered(), changed("2")]).when(change("2")).then_nothing();
    given::<Customer>([registered()]).when(change(" ")).then_refused(CustomerRefusal::SmsNumberCannotBeBlank);
}

#[test]
fn a_disabled_customer_is_not_authorized() {
    given::<Customer>([registered()])
        .when(authorize())
        .then([authorized()])
        .when(authorize())
        .then([authorized()]);
    given::<Customer>([registered(), disabled()])
        .when(authorize())
        .then_refused(CustomerRefusal::NotAuthorized);
    given::<Customer>([registered(), disabled(), enabled()]).when(authorize()).then([authorized()]);
    assert_eq!(CustomerRefusal::NotAuthorized.kind(), RefusalKind::NotAuthorized);
}

#[test]
fn what_is_already_so_is_refused() {
    given::<Customer>([registered()])
        .when(CustomerCommand::Enable)
        .then_refused(CustomerRefusal::AlreadyEnabled);
    given::<Customer>([registered()]).when(CustomerCommand::Disable).then([disabled()]);
    given::<Customer>([registered(), disabled()])
        .when(CustomerCommand::Disable)
        .then_refused(CustomerRefusal::AlreadyDisabled);
    given::<Customer>([registered(), disabled()]).when(CustomerCommand::Enable).then([enabled()]);
}

#[test]
fn d16_a_command_on_a_customer_that_never_was_does_not_make_a_ghost() {
    for command in [change("1"), authorize(), CustomerCommand::Enable, CustomerCommand::Disable] {
        given::<Customer>([]).when(command).then_refused(CustomerRefusal::NotFound);
    }
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![enabled()],
        vec![changed("1")],
        vec![registered(), registered()],
        vec![registered(), enabled()],
        vec![registered(), disabled(), authorized()],
        vec![registered(), disabled(), disabled()],
    ] {
        assert!(fold::<Customer>(None, &history).is_err(), "{history:?}");
    }
}

proptest! {
    /// No sequence of commands leaves the state machine; only an enabled customer is ever authorized; and the
    /// number is the last one that was accepted.
    #[test]
    fn no_transition_leads_outside_the_state_machine(picks in prop::collection::vec((0..5_u8, 0..3_u8), 0..40)) {
        let mut state: Option<Customer> = None;
        let mut number = None;
        for (pick, digit) in picks {
            let text = ["", "1", "2"][usize::from(digit)];
            let command = match pick {
                0 => register("Ada", text),
                1 => change(text),
                2 => authorize(),
                3 => CustomerCommand::Enable,
                _ => CustomerCommand::Disable,
            };
            let before = state.as_ref().map(Customer::status);
            let Ok(events) = Customer::decide(state.as_ref(), &command) else { continue };
            if pick < 2 {
                number = Some(text);
            }
            if events.iter().any(|event| matches!(event, CustomerEvent::CustomerAuthorized(_))) {
                prop_assert_eq!(before, Some("enabled"));
            }
            state = fold(state, &events).unwrap();
            let after = state.as_ref().map(Customer::status);
            let allowed =
                [(None, Some("enabled")), (Some("enabled"), Some("disabled")), (Some("disabled"), Some("enabled"))];
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before:?} -> {after:?}");
            prop_assert_eq!(state.as_ref().map(|c| c.profile().sms_number.as_str()), number);
        }
    }
}
