//! The rules of an order.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    ids::{CustomerId, PaymentId},
    ordering::{OrderApproved, OrderCanceled, OrderCreated, OrderEvent, OrderItem, OrderRejected},
};
use kernel::{Aggregate, Id, Money, aggregate::fold};
use ordering::order::{Order, OrderCommand, OrderRefusal, Reason};
use proptest::prelude::*;
use testing::spec::given;

fn customer_id() -> CustomerId {
    Id::derived(&["ada"])
}

fn payment_id() -> PaymentId {
    Id::derived(&["card"])
}

fn item(cents: i64, quantity: u32) -> OrderItem {
    OrderItem {
        store_id: Id::derived(&["store"]),
        product_id: Id::derived(&["product", &cents.to_string()]),
        store_name: "Fruit & Veg".into(),
        product_name: "apple".into(),
        price: Money::from_minor(cents).unwrap(),
        quantity,
    }
}

fn create(items: Vec<OrderItem>) -> OrderCommand {
    OrderCommand::Create { customer_id: customer_id(), payment_id: payment_id(), items }
}

fn created() -> OrderEvent {
    OrderEvent::OrderCreated(OrderCreated {
        customer_id: customer_id(),
        payment_id: payment_id(),
        items: vec![item(250, 2), item(100, 3)],
        total: Money::from_minor(800).unwrap(),
    })
}

fn approved() -> OrderEvent {
    OrderEvent::OrderApproved(OrderApproved {
        customer_id: customer_id(),
        payment_id: payment_id(),
        shopping_id: None,
    })
}

fn rejected() -> OrderEvent {
    let reason = "PAYMENT_IS_USED".to_owned();
    OrderEvent::OrderRejected(OrderRejected { customer_id: customer_id(), payment_id: payment_id(), reason })
}

fn canceled() -> OrderEvent {
    OrderEvent::OrderCanceled(OrderCanceled {
        customer_id: customer_id(),
        payment_id: payment_id(),
        reason: None,
    })
}

fn reject() -> OrderCommand {
    OrderCommand::Reject { reason: Reason::new("PAYMENT_IS_USED") }
}

#[test]
fn an_order_is_placed_with_the_sum_of_its_lines() {
    given::<Order>([]).when(create(vec![item(250, 2), item(100, 3)])).then([created()]);
}

#[test]
fn an_order_is_placed_once() {
    given::<Order>([created()]).when(create(vec![item(1, 1)])).then_refused(OrderRefusal::AlreadyCreated);
}

#[test]
fn an_order_without_goods_is_not_placed() {
    given::<Order>([]).when(create(vec![])).then_refused(OrderRefusal::HasNoItems);
    given::<Order>([]).when(create(vec![item(250, 0)])).then_refused(OrderRefusal::QuantityMustBePositive);
    given::<Order>([]).when(create(vec![item(-1, 1)])).then_refused(OrderRefusal::PriceCannotBeNegative);
    given::<Order>([])
        .when(create(vec![item(Money::MAX_MINOR, 2)]))
        .then_refused(OrderRefusal::TotalIsInvalid);
}

#[test]
fn d16_a_command_on_an_order_that_never_was_does_not_make_a_ghost() {
    for command in [OrderCommand::Approve, reject(), OrderCommand::Cancel] {
        given::<Order>([]).when(command).then_refused(OrderRefusal::NotFound);
    }
}

#[test]
fn d11_an_approval_never_overwrites_a_cancellation() {
    given::<Order>([created()]).when(OrderCommand::Cancel).then([canceled()]);
    given::<Order>([created(), canceled()])
        .when(OrderCommand::Approve)
        .then_refused(OrderRefusal::CannotBeApproved { status: "cancelled" });
    given::<Order>([created(), rejected()])
        .when(OrderCommand::Approve)
        .then_refused(OrderRefusal::CannotBeApproved { status: "rejected" });
}

#[test]
fn a_cancellation_that_comes_too_late_is_refused() {
    for (history, status) in [
        (vec![created(), approved()], "approved"),
        (vec![created(), rejected()], "rejected"),
        (vec![created(), canceled()], "cancelled"),
    ] {
        given::<Order>(history)
            .when(OrderCommand::Cancel)
            .then_refused(OrderRefusal::CannotBeCanceled { status });
    }
}

#[test]
fn d6_approval_and_rejection_are_events_that_others_can_see() {
    given::<Order>([created()]).when(OrderCommand::Approve).then([approved()]);
    given::<Order>([created()]).when(reject()).then([rejected()]);
}

#[test]
fn a_compensation_is_harmless_where_there_is_nothing_left_to_undo() {
    given::<Order>([created(), canceled()]).when(reject()).then_nothing();
    given::<Order>([created(), rejected()]).when(reject()).then_nothing();
}

#[test]
fn an_approval_whose_answer_was_lost_can_be_undone() {
    given::<Order>([created(), approved()]).when(reject()).then([rejected()]);
}

#[test]
fn a_reason_from_outside_cannot_grow_the_commit() {
    let reason = Reason::new(&"x".repeat(10_000));
    assert_eq!(reason.as_str().len(), 120);
}

proptest! {
    /// No sequence of commands leaves the state machine.
    #[test]
    fn no_transition_leads_outside_the_state_machine(picks in prop::collection::vec(0..4_u8, 0..30)) {
        let mut state: Option<Order> = None;
        for pick in picks {
            let command = match pick {
                0 => create(vec![item(250, 1)]),
                1 => OrderCommand::Approve,
                2 => reject(),
                _ => OrderCommand::Cancel,
            };
            let before = state.as_ref().map(Order::status);
            let Ok(events) = Order::decide(state.as_ref(), &command) else { continue };
            state = fold(state, &events).unwrap();
            let after = state.as_ref().map(Order::status);
            let allowed = [
                (None, Some("pending")),
                (Some("pending"), Some("approved")),
                (Some("pending"), Some("rejected")),
                (Some("pending"), Some("cancelled")),
                (Some("approved"), Some("rejected")),
            ];
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before:?} -> {after:?}");
        }
    }
}
