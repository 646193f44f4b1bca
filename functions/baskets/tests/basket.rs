//! The rules of a basket.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use baskets::basket::{Basket, BasketCommand, BasketRefusal, MAX_LINES, MAX_QUANTITY, Offer};
use contracts::{
    baskets::{
        BasketCanceled, BasketCheckedOut, BasketEvent, BasketItemAdded, BasketItemRemoved, BasketStarted,
        total,
    },
    ids::{CustomerId, PaymentId, ProductId},
};
use kernel::{Aggregate, Id, Money, aggregate::fold};
use proptest::prelude::*;
use testing::spec::given;

fn customer() -> CustomerId {
    Id::derived(&["ada"])
}

fn payment() -> PaymentId {
    Id::derived(&["card"])
}

fn product(name: &str) -> ProductId {
    Id::derived(&["product", name])
}

fn offer_at(name: &str, cents: i64) -> Offer {
    Offer {
        store_id: Id::derived(&["store"]),
        product_id: product(name),
        store_name: "Fruit & Veg".into(),
        product_name: name.into(),
        price: Money::from_minor(cents).unwrap(),
    }
}

fn started() -> BasketEvent {
    BasketEvent::BasketStarted(BasketStarted { customer_id: customer() })
}

fn added(name: &str, quantity: u32) -> BasketEvent {
    BasketEvent::BasketItemAdded(BasketItemAdded { item: offer_at(name, 250).item(quantity) })
}

fn removed(name: &str, quantity: u32) -> BasketEvent {
    BasketEvent::BasketItemRemoved(BasketItemRemoved { product_id: product(name), quantity })
}

fn checked_out(name: &str, quantity: u32) -> BasketEvent {
    BasketEvent::BasketCheckedOut(BasketCheckedOut {
        customer_id: customer(),
        payment_id: payment(),
        items: vec![offer_at(name, 250).item(quantity)],
    })
}

fn canceled() -> BasketEvent {
    BasketEvent::BasketCanceled(BasketCanceled {})
}

fn add(name: &str, quantity: i64) -> BasketCommand {
    BasketCommand::AddItem { offer: offer_at(name, 250), quantity }
}

fn remove(name: &str, quantity: i64) -> BasketCommand {
    BasketCommand::RemoveItem { product_id: product(name), quantity }
}

fn checkout() -> BasketCommand {
    BasketCommand::Checkout { payment_id: payment() }
}

#[test]
fn a_basket_is_filled_and_checked_out() {
    given::<Basket>([]).when(BasketCommand::Start { customer_id: customer() }).then([started()]);
    given::<Basket>([started()]).when(add("apple", 2)).then([added("apple", 2)]);
    given::<Basket>([started(), added("apple", 2)]).when(checkout()).then([checked_out("apple", 2)]);
}

#[test]
fn d16_a_command_on_a_basket_that_never_was_does_not_make_a_ghost() {
    for command in [add("apple", 1), remove("apple", 1), checkout(), BasketCommand::Cancel] {
        given::<Basket>([]).when(command).then_refused(BasketRefusal::NotFound);
    }
}

#[test]
fn a_basket_is_started_once() {
    given::<Basket>([started()])
        .when(BasketCommand::Start { customer_id: customer() })
        .then_refused(BasketRefusal::CannotBeModified);
}

#[test]
fn a_closed_basket_stays_closed() {
    for closed in [
        vec![started(), added("apple", 1), checked_out("apple", 1)],
        vec![started(), added("apple", 1), canceled()],
    ] {
        for command in [add("apple", 1), remove("apple", 1), checkout()] {
            given::<Basket>(closed.clone()).when(command).then_refused(BasketRefusal::CannotBeModified);
        }
        given::<Basket>(closed).when(BasketCommand::Cancel).then_refused(BasketRefusal::CannotBeCanceled);
    }
}

#[test]
fn d9_taking_one_of_two_leaves_one() {
    let given_two = || given::<Basket>([started(), added("apple", 2)]);
    given_two().when(remove("apple", 1)).then([removed("apple", 1)]);
    let left = fold::<Basket>(None, &[started(), added("apple", 2), removed("apple", 1)]).unwrap().unwrap();
    assert_eq!(left.items()[0].quantity, 1);
    given_two().when(remove("apple", 2)).then([removed("apple", 2)]);
    let left = fold::<Basket>(None, &[started(), added("apple", 2), removed("apple", 2)]).unwrap().unwrap();
    assert!(left.items().is_empty());
}

#[test]
fn taking_more_than_there_is_takes_what_there_is() {
    given::<Basket>([started(), added("apple", 2)]).when(remove("apple", 99)).then([removed("apple", 2)]);
    given::<Basket>([started(), added("apple", 2)])
        .when(remove("apple", i64::MAX))
        .then([removed("apple", 2)]);
}

#[test]
fn taking_out_what_is_not_in_changes_nothing() {
    given::<Basket>([started()]).when(remove("apple", 1)).then_nothing();
    given::<Basket>([started(), added("apple", 1)]).when(remove("apple", 0)).then_nothing();
}

#[test]
fn d29_no_pieces_cannot_be_added_to_an_open_basket() {
    let open = || given::<Basket>([started()]);
    open().when(add("apple", 0)).then_refused(BasketRefusal::QuantityCannotBeZero);
    open().when(add("apple", -1)).then_refused(BasketRefusal::QuantityCannotBeNegative);
    open().when(remove("apple", -1)).then_refused(BasketRefusal::QuantityCannotBeNegative);
    open().when(add("apple", i64::from(MAX_QUANTITY) + 1)).then_refused(BasketRefusal::QuantityIsTooLarge);
    open().when(add("apple", i64::MAX)).then_refused(BasketRefusal::QuantityIsTooLarge);
}

#[test]
fn adding_twice_cannot_pass_the_limit_that_adding_once_has() {
    given::<Basket>([started(), added("apple", MAX_QUANTITY)])
        .when(add("apple", 1))
        .then_refused(BasketRefusal::QuantityIsTooLarge);
}

#[test]
fn the_same_product_again_keeps_the_price_that_the_shopper_saw_first() {
    let dearer = BasketCommand::AddItem { offer: offer_at("apple", 999), quantity: 1 };
    given::<Basket>([started(), added("apple", 2)]).when(dearer).then([added("apple", 1)]);
}

#[test]
fn an_empty_basket_cannot_be_checked_out() {
    given::<Basket>([started()]).when(checkout()).then_refused(BasketRefusal::HasNoItems);
    given::<Basket>([started(), added("apple", 1), removed("apple", 1)])
        .when(checkout())
        .then_refused(BasketRefusal::HasNoItems);
}

#[test]
fn a_negative_price_cannot_lower_the_total() {
    given::<Basket>([started()])
        .when(BasketCommand::AddItem { offer: offer_at("apple", -1), quantity: 1 })
        .then_refused(BasketRefusal::PriceCannotBeNegative);
}

#[test]
fn a_total_that_overflows_is_refused_when_the_item_is_added_not_at_the_checkout() {
    let gold = |quantity| BasketCommand::AddItem { offer: offer_at("gold", Money::MAX_MINOR), quantity };
    given::<Basket>([started()]).when(gold(2)).then_refused(BasketRefusal::TotalIsInvalid);
    let one =
        BasketEvent::BasketItemAdded(BasketItemAdded { item: offer_at("gold", Money::MAX_MINOR).item(1) });
    given::<Basket>([started(), one]).when(add("apple", 1)).then_refused(BasketRefusal::TotalIsInvalid);
}

#[test]
fn a_basket_cannot_grow_beyond_what_one_commit_holds() {
    let mut history = vec![started()];
    history.extend((0..MAX_LINES).map(|n| added(&format!("product {n}"), 1)));
    given::<Basket>(history.clone()).when(add("one more", 1)).then_refused(BasketRefusal::TooManyProducts);
    given::<Basket>(history).when(add("product 7", 1)).then([added("product 7", 1)]);
}

#[test]
fn a_cancelled_basket_is_empty() {
    let state = fold::<Basket>(None, &[started(), added("apple", 1), canceled()]).unwrap().unwrap();
    assert!(state.items().is_empty());
    given::<Basket>([started(), added("apple", 1)]).when(BasketCommand::Cancel).then([canceled()]);
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    assert!(fold::<Basket>(None, &[added("apple", 1)]).is_err());
    assert!(fold::<Basket>(None, &[started(), canceled(), added("apple", 1)]).is_err());
    assert!(fold::<Basket>(None, &[started(), started()]).is_err());
}

fn commands() -> impl Strategy<Value = Vec<BasketCommand>> {
    let name = prop_oneof![Just("apple"), Just("pear"), Just("plum")];
    let command = prop_oneof![
        4 => (name.clone(), -1..20_i64, 0..100_000_i64).prop_map(|(name, quantity, cents)| {
            BasketCommand::AddItem { offer: offer_at(name, cents), quantity }
        }),
        3 => (name, -1..20_i64).prop_map(|(name, quantity)| remove(name, quantity)),
        1 => Just(checkout()),
        1 => Just(BasketCommand::Cancel),
    ];
    prop::collection::vec(command, 0..40)
}

proptest! {
    /// Money is neither made nor lost: what is checked out is what was put in less what was taken out,
    /// at the prices first seen; and what was decided can always be folded.
    #[test]
    fn what_is_checked_out_is_what_was_put_in_less_what_was_taken_out(commands in commands()) {
        let mut state = fold::<Basket>(None, &[started()]).unwrap();
        let mut balance: std::collections::BTreeMap<ProductId, i64> = Default::default();
        for command in commands {
            let Ok(events) = Basket::decide(state.as_ref(), &command) else { continue };
            for event in &events {
                match event {
                    BasketEvent::BasketItemAdded(e) => {
                        *balance.entry(e.item.product_id).or_default() += i64::from(e.item.quantity);
                    }
                    BasketEvent::BasketItemRemoved(e) => {
                        *balance.entry(e.product_id).or_default() -= i64::from(e.quantity);
                    }
                    BasketEvent::BasketCheckedOut(e) => {
                        let lines: std::collections::BTreeMap<_, _> =
                            e.items.iter().map(|i| (i.product_id, i64::from(i.quantity))).collect();
                        let expected: std::collections::BTreeMap<_, _> =
                            balance.iter().filter(|(_, q)| **q > 0).map(|(p, q)| (*p, *q)).collect();
                        prop_assert_eq!(lines, expected);
                        let sum: i64 = e.items.iter().map(|i| i.price.minor() * i64::from(i.quantity)).sum();
                        prop_assert_eq!(total(&e.items).unwrap().minor(), sum);
                    }
                    BasketEvent::BasketStarted(_)
                    | BasketEvent::BasketCanceled(_)
                    | BasketEvent::BasketRepriced(_) => {}
                }
            }
            prop_assert!(balance.values().all(|quantity| *quantity >= 0));
            state = fold(state, &events).unwrap();
            let items = state.as_ref().unwrap().items();
            prop_assert!(items.iter().all(|item| item.quantity > 0));
        }
    }
}
