//! The rules of an order.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    ids::{CustomerId, InvoiceId, PaymentId, ShoppingListId},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderItem, OrderReadied,
        OrderRejected,
    },
};
use kernel::{Aggregate, Id, Money, Reason, aggregate::fold};
use ordering::order::{MAX_LINES, MAX_QUANTITY, Order, OrderCommand, OrderRefusal};
use proptest::prelude::*;
use testing::spec::given;

fn customer_id() -> CustomerId {
    Id::derived(&["ada"])
}

fn payment_id() -> PaymentId {
    Id::derived(&["card"])
}

fn list(name: &str) -> ShoppingListId {
    Id::derived(&["list", name])
}

fn invoice(name: &str) -> InvoiceId {
    Id::derived(&["invoice", name])
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

fn approve() -> OrderCommand {
    OrderCommand::Approve { shopping_id: Some(list("own")) }
}

fn ready() -> OrderCommand {
    OrderCommand::Ready { shopping_id: list("own") }
}

fn complete() -> OrderCommand {
    OrderCommand::Complete { invoice_id: invoice("own") }
}

fn close(even_approved: bool) -> OrderCommand {
    OrderCommand::Close { reason: Reason::new("PAYMENT_IS_USED"), even_approved }
}

fn cancel() -> OrderCommand {
    OrderCommand::Cancel
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
        shopping_id: Some(list("own")),
    })
}

fn approved_by_hand() -> OrderEvent {
    OrderEvent::OrderApproved(OrderApproved {
        customer_id: customer_id(),
        payment_id: payment_id(),
        shopping_id: None,
    })
}

fn readied() -> OrderEvent {
    OrderEvent::OrderReadied(OrderReadied {
        customer_id: customer_id(),
        payment_id: payment_id(),
        total: Money::from_minor(800).unwrap(),
    })
}

fn completed() -> OrderEvent {
    OrderEvent::OrderCompleted(OrderCompleted {
        customer_id: customer_id(),
        payment_id: payment_id(),
        invoice_id: invoice("own"),
    })
}

fn rejected() -> OrderEvent {
    let reason = "PAYMENT_IS_USED".to_owned();
    OrderEvent::OrderRejected(OrderRejected { customer_id: customer_id(), payment_id: payment_id(), reason })
}

fn canceled(reason: Option<&str>) -> OrderEvent {
    OrderEvent::OrderCanceled(OrderCanceled {
        customer_id: customer_id(),
        payment_id: payment_id(),
        reason: reason.map(str::to_owned),
    })
}

/// A history that leads to each state.
fn histories() -> [(&'static str, Vec<OrderEvent>); 6] {
    [
        ("pending", vec![created()]),
        ("approved", vec![created(), approved()]),
        ("ready", vec![created(), approved(), readied()]),
        ("completed", vec![created(), approved(), readied(), completed()]),
        ("rejected", vec![created(), rejected()]),
        ("cancelled", vec![created(), canceled(None)]),
    ]
}

#[test]
fn an_order_is_placed_with_the_sum_of_its_lines() {
    given::<Order>([]).when(create(vec![item(250, 2), item(100, 3)])).then([created()]);
}

#[test]
fn an_order_is_placed_once() {
    for (_, history) in histories() {
        given::<Order>(history).when(create(vec![item(1, 1)])).then_refused(OrderRefusal::AlreadyCreated);
    }
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
fn an_order_has_the_bounds_of_a_basket() {
    let lines = |count: usize| (1..).map(|cents| item(cents, 1)).take(count).collect::<Vec<_>>();
    given::<Order>([]).when(create(lines(MAX_LINES + 1))).then_refused(OrderRefusal::TooManyProducts);
    assert!(Order::decide(None, &create(lines(MAX_LINES))).is_ok());
    given::<Order>([])
        .when(create(vec![item(250, MAX_QUANTITY + 1)]))
        .then_refused(OrderRefusal::QuantityIsTooLarge);
    assert!(Order::decide(None, &create(vec![item(250, MAX_QUANTITY)])).is_ok());
    given::<Order>([])
        .when(create(vec![item(250, 1), item(100, 1), item(250, 2)]))
        .then_refused(OrderRefusal::ProductIsRepeated);
}

#[test]
fn d16_a_command_on_an_order_that_never_was_does_not_make_a_ghost() {
    for command in [approve(), ready(), complete(), close(false), close(true), cancel()] {
        given::<Order>([]).when(command).then_refused(OrderRefusal::NotFound);
    }
}

#[test]
fn an_order_goes_from_pending_to_completed() {
    let story = given::<Order>([created()])
        .when(approve())
        .then([approved()])
        .when(ready())
        .then([readied()])
        .when(complete())
        .then([completed()]);
    let order = story.state().unwrap();
    assert_eq!((order.status(), order.reason()), ("completed", None));
    assert_eq!((order.shopping_id(), order.invoice_id()), (Some(list("own")), Some(invoice("own"))));
}

#[test]
fn d6_approval_and_rejection_are_events_that_others_can_see() {
    given::<Order>([created()]).when(approve()).then([approved()]);
    given::<Order>([created()]).when(close(false)).then([rejected()]);
}

#[test]
fn d11_only_a_pending_order_is_approved_and_a_repeat_is_nothing_new() {
    for (status, history) in histories() {
        let when = given::<Order>(history).when(approve());
        match status {
            "pending" => drop(when.then([approved()])),
            "approved" | "ready" | "completed" => drop(when.then_nothing()),
            _ => when.then_refused(OrderRefusal::IsOver(status)),
        }
    }
}

#[test]
fn d11_an_approval_never_overwrites_a_cancellation() {
    given::<Order>([created()]).when(cancel()).then([canceled(None)]);
    given::<Order>([created(), canceled(None)])
        .when(approve())
        .then_refused(OrderRefusal::IsOver("cancelled"));
}

#[test]
fn d11_only_an_approved_order_becomes_ready_and_one_that_is_not_yet_approved_can_still() {
    for (status, history) in histories() {
        let when = given::<Order>(history).when(ready());
        match status {
            "pending" => when.then_refused(OrderRefusal::IsNotApprovedYet),
            "approved" => drop(when.then([readied()])),
            "ready" | "completed" => drop(when.then_nothing()),
            _ => when.then_refused(OrderRefusal::CannotBeReadied(status)),
        }
    }
}

#[test]
fn d11_only_a_ready_order_is_completed_and_one_that_is_not_yet_ready_can_still() {
    for (status, history) in histories() {
        let when = given::<Order>(history).when(complete());
        match status {
            "pending" | "approved" => when.then_refused(OrderRefusal::IsNotReadyYet(status)),
            "ready" => drop(when.then([completed()])),
            "completed" => drop(when.then_nothing()),
            _ => when.then_refused(OrderRefusal::CannotBeCompleted(status)),
        }
    }
    let (_, history) = histories()[3].clone();
    given::<Order>(history)
        .when(OrderCommand::Complete { invoice_id: invoice("another") })
        .then_refused(OrderRefusal::CannotBeCompleted("completed"));
}

#[test]
fn d11_a_placement_that_fails_late_does_not_undo_what_its_twin_got_approved() {
    for (status, history) in histories() {
        let when = given::<Order>(history).when(close(false));
        match status {
            "pending" => drop(when.then([rejected()])),
            "rejected" | "cancelled" => drop(when.then_nothing()),
            _ => when.then_refused(OrderRefusal::IsKept(status)),
        }
    }
}

#[test]
fn an_approved_order_is_closed_for_one_who_asks_for_that_but_not_a_paid_one() {
    for (status, history) in histories() {
        let when = given::<Order>(history).when(close(true));
        match status {
            "pending" => drop(when.then([rejected()])),
            // It has an invoice, and goods: those who have them hear of a cancellation.
            "approved" | "ready" => drop(when.then([canceled(Some("PAYMENT_IS_USED"))])),
            "rejected" | "cancelled" => drop(when.then_nothing()),
            _ => when.then_refused(OrderRefusal::IsKept(status)),
        }
    }
}

#[test]
fn d11_an_order_is_cancelled_until_it_is_paid() {
    for (status, history) in histories() {
        let when = given::<Order>(history).when(cancel());
        match status {
            "pending" | "approved" | "ready" => drop(when.then([canceled(None)])),
            _ => when.then_refused(OrderRefusal::CannotBeCanceled(status)),
        }
    }
}

#[test]
fn an_order_of_an_earlier_release_that_was_rejected_after_its_approval_is_still_read() {
    let story = given::<Order>([created(), approved(), rejected()]).when(close(true)).then_nothing();
    let order = story.state().unwrap();
    assert_eq!((order.status(), order.shopping_id()), ("rejected", Some(list("own"))));
}

#[test]
fn d14_a_list_that_is_not_the_orders_own_says_nothing_about_it() {
    let other = || list("made by hand");
    let refusal = || OrderRefusal::HasAnotherShoppingList(list("own"));
    for (_, history) in &histories()[1..4] {
        given::<Order>(history.clone())
            .when(OrderCommand::Ready { shopping_id: other() })
            .then_refused(refusal());
        given::<Order>(history.clone())
            .when(OrderCommand::Approve { shopping_id: Some(other()) })
            .then_refused(refusal());
    }
}

#[test]
fn an_order_that_was_approved_by_hand_is_neither_approved_again_nor_left_behind() {
    given::<Order>([created()])
        .when(OrderCommand::Approve { shopping_id: None })
        .then([approved_by_hand()])
        .when(approve())
        .then_nothing()
        .when(ready())
        .then([readied()]);
    given::<Order>([created(), approved()]).when(OrderCommand::Approve { shopping_id: None }).then_nothing();
}

#[test]
fn a_cancellation_keeps_its_reason_and_the_list_to_be_called_off() {
    let story =
        given::<Order>([created(), approved()]).when(close(true)).then([canceled(Some("PAYMENT_IS_USED"))]);
    let order = story.state().unwrap();
    assert_eq!(order.reason(), Some(&Reason::new("PAYMENT_IS_USED")));
    assert_eq!(order.shopping_id(), Some(list("own")));
    assert_eq!(order.invoice_id(), None);
}

#[test]
fn a_reason_from_outside_cannot_grow_the_commit() {
    let reason = Reason::new(&"x".repeat(10_000));
    assert_eq!(reason.as_str().len(), 120);
}

fn any_command() -> impl Strategy<Value = OrderCommand> {
    let name = || prop_oneof![Just("own"), Just("another")];
    prop_oneof![
        (0..1_000_i64, 1..9_u32).prop_map(|(cents, quantity)| create(vec![item(cents, quantity)])),
        prop::option::of(name()).prop_map(|name| OrderCommand::Approve { shopping_id: name.map(list) }),
        name().prop_map(|name| OrderCommand::Ready { shopping_id: list(name) }),
        name().prop_map(|name| OrderCommand::Complete { invoice_id: invoice(name) }),
        any::<bool>().prop_map(close),
        Just(cancel()),
    ]
}

proptest! {
    /// No sequence of commands leaves the state machine, and what was decided can always be folded.
    #[test]
    fn no_transition_leads_outside_the_state_machine(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut state: Option<Order> = None;
        for command in commands {
            let before = state.as_ref().map(Order::status);
            let Ok(events) = Order::decide(state.as_ref(), &command) else { continue };
            state = fold(state, &events).unwrap();
            let after = state.as_ref().map(Order::status);
            let allowed = [
                (None, Some("pending")),
                (Some("pending"), Some("approved")),
                (Some("approved"), Some("ready")),
                (Some("ready"), Some("completed")),
                (Some("pending"), Some("rejected")),
                (Some("pending"), Some("cancelled")),
                (Some("approved"), Some("cancelled")),
                (Some("ready"), Some("cancelled")),
            ];
            prop_assert_eq!(events.is_empty(), before == after);
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before:?} -> {after:?}");
        }
    }

    /// The total is the sum of the lines, in the order and in what the customer is asked to pay.
    #[test]
    fn no_cent_is_lost_between_the_lines_and_the_total(
        lines in prop::collection::btree_map(0..1_000_000_i64, 1..=MAX_QUANTITY, 1..=MAX_LINES)
    ) {
        let sum: i64 = lines.iter().map(|(cents, quantity)| cents * i64::from(*quantity)).sum();
        let items = lines.into_iter().map(|(cents, quantity)| item(cents, quantity)).collect();
        let decided = Order::decide(None, &create(items));
        if sum > Money::MAX_MINOR {
            prop_assert_eq!(decided, Err(OrderRefusal::TotalIsInvalid));
            return Ok(());
        }
        let mut state = fold::<Order>(None, &decided.unwrap()).unwrap();
        prop_assert_eq!(state.as_ref().unwrap().placed().total.minor(), sum);
        state = fold(state, &[approved()]).unwrap();
        let events = Order::decide(state.as_ref(), &ready()).unwrap();
        let readied = matches!(&events[..], [OrderEvent::OrderReadied(readied)] if readied.total.minor() == sum);
        prop_assert!(readied, "{events:?}");
    }
}
