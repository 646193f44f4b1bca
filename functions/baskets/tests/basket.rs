//! The rules of a basket.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::collections::BTreeMap;

use baskets::basket::{
    Basket, BasketCommand, BasketRefusal, MAX_LINES, MAX_QUANTITY, Offer, OnOffer, Prices,
};
use contracts::{
    baskets::{
        BasketCanceled, BasketCheckedOut, BasketEvent, BasketItemAdded, BasketItemRemoved, BasketRepriced,
        BasketStarted, PriceChange, total,
    },
    ids::{CustomerId, PaymentId, ProductId},
};
use kernel::{Aggregate, Currency, Id, Money, aggregate::fold};
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
        store_name: "Fruit & Veg".into(),
        product_name: name.into(),
        price: Money::from_minor(cents).unwrap(),
    }
}

fn started() -> BasketEvent {
    BasketEvent::BasketStarted(BasketStarted { customer_id: customer() })
}

fn added(name: &str, quantity: u32) -> BasketEvent {
    BasketEvent::BasketItemAdded(BasketItemAdded { item: offer_at(name, 250).item(product(name), quantity) })
}

fn added_at(name: &str, quantity: u32, cents: i64) -> BasketEvent {
    BasketEvent::BasketItemAdded(BasketItemAdded {
        item: offer_at(name, cents).item(product(name), quantity),
    })
}

fn repriced(changes: &[(&str, i64, i64)]) -> BasketEvent {
    let change = |&(name, old, new): &(&str, i64, i64)| PriceChange {
        product_id: product(name),
        old_price: Money::from_minor(old).unwrap(),
        price: Money::from_minor(new).unwrap(),
    };
    BasketEvent::BasketRepriced(BasketRepriced { prices: changes.iter().map(change).collect() })
}

fn checked_out_at(lines: &[(&str, u32, i64)]) -> BasketEvent {
    let item =
        |&(name, quantity, cents): &(&str, u32, i64)| offer_at(name, cents).item(product(name), quantity);
    BasketEvent::BasketCheckedOut(BasketCheckedOut {
        customer_id: customer(),
        payment_id: payment(),
        items: lines.iter().map(item).collect(),
    })
}

fn removed(name: &str, quantity: u32) -> BasketEvent {
    BasketEvent::BasketItemRemoved(BasketItemRemoved { product_id: product(name), quantity })
}

fn checked_out(name: &str, quantity: u32) -> BasketEvent {
    checked_out_at(&[(name, quantity, 250)])
}

fn canceled() -> BasketEvent {
    BasketEvent::BasketCanceled(BasketCanceled {})
}

fn add(name: &str, quantity: i64) -> BasketCommand {
    add_at(name, quantity, 250)
}

fn add_at(name: &str, quantity: i64, cents: i64) -> BasketCommand {
    let on_offer = OnOffer::Product(offer_at(name, cents));
    BasketCommand::AddItem { product_id: product(name), quantity, on_offer }
}

fn remove(name: &str, quantity: i64) -> BasketCommand {
    BasketCommand::RemoveItem { product_id: product(name), quantity }
}

/// At the prices of [`added`].
fn checkout() -> BasketCommand {
    checkout_at(&[("apple", 250)])
}

/// At these prices.
fn checkout_at(prices: &[(&str, i64)]) -> BasketCommand {
    let price = |&(name, now): &(&str, i64)| (product(name), Money::from_minor(now).unwrap());
    BasketCommand::Checkout { payment_id: payment(), prices: prices.iter().map(price).collect() }
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
fn d9_one_piece_remains_when_two_of_three_are_taken_out() {
    given::<Basket>([started(), added("apple", 3)]).when(remove("apple", 2)).then([removed("apple", 2)]);
    let left = fold::<Basket>(None, &[started(), added("apple", 3), removed("apple", 2)]).unwrap().unwrap();
    assert_eq!(left.items()[0].quantity, 1);
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
    given::<Basket>([started(), added("apple", 2)]).when(add_at("apple", 1, 999)).then([added("apple", 1)]);
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
        .when(add_at("apple", 1, -1))
        .then_refused(BasketRefusal::PriceCannotBeNegative);
}

#[test]
fn a_total_that_overflows_is_refused_when_the_item_is_added_not_at_the_checkout() {
    let gold = |quantity| add_at("gold", quantity, Money::MAX_MINOR);
    given::<Basket>([started()]).when(gold(2)).then_refused(BasketRefusal::TotalIsInvalid);
    let one = added_at("gold", 1, Money::MAX_MINOR);
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

#[test]
fn what_no_store_sells_cannot_be_put_in() {
    let unknown =
        BasketCommand::AddItem { product_id: product("ghost"), quantity: 1, on_offer: OnOffer::Nothing };
    given::<Basket>([started()]).when(unknown).then_refused(BasketRefusal::ProductNotFound);
}

#[test]
fn where_only_the_malls_stores_may_sell_others_are_turned_away() {
    let store_name = "Pop-up".to_owned();
    let on_offer = OnOffer::NotInTheMall { store_name: store_name.clone() };
    let command = BasketCommand::AddItem { product_id: product("apple"), quantity: 1, on_offer };
    given::<Basket>([started()])
        .when(command)
        .then_refused(BasketRefusal::StoreDoesNotParticipate { store_name });
}

#[test]
fn a_price_that_rose_is_shown_before_it_is_charged() {
    given::<Basket>([started(), added("apple", 2)])
        .when(checkout_at(&[("apple", 300)]))
        .then([repriced(&[("apple", 250, 300)])])
        // Whoever checks out again has seen it.
        .when(checkout_at(&[("apple", 300)]))
        .then([checked_out_at(&[("apple", 2, 300)])]);
}

#[test]
fn a_price_that_rises_again_is_shown_again() {
    given::<Basket>([started(), added("apple", 1)])
        .when(checkout_at(&[("apple", 300)]))
        .then([repriced(&[("apple", 250, 300)])])
        .when(checkout_at(&[("apple", 301)]))
        .then([repriced(&[("apple", 300, 301)])])
        .when(checkout_at(&[("apple", 301)]))
        .then([checked_out_at(&[("apple", 1, 301)])]);
}

#[test]
fn prices_that_only_fell_are_passed_on_at_once() {
    given::<Basket>([started(), added("apple", 2), added("pear", 1)])
        .when(checkout_at(&[("apple", 200), ("pear", 250)]))
        .then([repriced(&[("apple", 250, 200)]), checked_out_at(&[("apple", 2, 200), ("pear", 1, 250)])]);
}

#[test]
fn one_rise_among_falls_is_enough_to_ask_even_when_the_total_is_lower() {
    given::<Basket>([started(), added("apple", 9), added("pear", 1)])
        .when(checkout_at(&[("apple", 100), ("pear", 251)]))
        .then([repriced(&[("apple", 250, 100), ("pear", 250, 251)])])
        .when(checkout_at(&[("apple", 100), ("pear", 251)]))
        .then([checked_out_at(&[("apple", 9, 100), ("pear", 1, 251)])]);
}

#[test]
fn what_is_no_longer_sold_holds_the_checkout_up_until_it_is_taken_out() {
    let checkout = || checkout_at(&[("pear", 250)]);
    let basket = [started(), added("apple", 2), added("pear", 1)];
    let refusal = BasketRefusal::ProductIsNotSold { products: format!("apple ({})", product("apple")) };
    given::<Basket>(basket.clone()).when(checkout()).then_refused(refusal);
    given::<Basket>(basket)
        .when(remove("apple", 2))
        .then([removed("apple", 2)])
        .when(checkout())
        .then([checked_out("pear", 1)]);
}

#[test]
fn a_price_in_another_currency_is_not_mixed_in() {
    let euro = Money::in_currency(250, Currency::Eur).unwrap();
    let prices = Prices::from([(product("apple"), euro)]);
    let refusal = BasketRefusal::PriceIsInAnotherCurrency {
        product: format!("apple ({})", product("apple")),
        seen: Currency::Usd,
        now: Currency::Eur,
    };
    assert!(refusal.to_string().contains("EUR") && refusal.to_string().contains("USD"), "{refusal}");
    given::<Basket>([started(), added("apple", 1)])
        .when(BasketCommand::Checkout { payment_id: payment(), prices })
        .then_refused(refusal);
}

#[test]
fn d21_a_total_that_new_prices_make_too_large_is_refused_and_nothing_is_written() {
    given::<Basket>([started(), added("apple", 2)])
        .when(checkout_at(&[("apple", Money::MAX_MINOR)]))
        .then_refused(BasketRefusal::TotalIsInvalid);
}

#[test]
fn d21_cents_add_up_exactly() {
    // In binary floating point, ten times 0.1 is not 1, and 1.1 plus 2.2 is not 3.3.
    let basket = [started(), added_at("apple", 10, 10), added_at("pear", 3, 110), added_at("plum", 3, 220)];
    let state = fold::<Basket>(None, &basket).unwrap().unwrap();
    assert_eq!(total(state.items()).unwrap(), Money::from_minor(100 + 330 + 660).unwrap());
}

#[test]
fn a_negative_price_now_cannot_lower_the_total() {
    given::<Basket>([started(), added("apple", 1)])
        .when(checkout_at(&[("apple", -1)]))
        .then_refused(BasketRefusal::PriceCannotBeNegative);
}

/// Commands on three products, whose prices and presence on the shelf change all the time.
fn commands() -> impl Strategy<Value = Vec<BasketCommand>> {
    let name = prop_oneof![Just("apple"), Just("pear"), Just("plum")];
    let price = || prop::option::weighted(0.9, 0..100_000_i64);
    let prices = (price(), price(), price()).prop_map(|(apple, pear, plum)| -> Prices {
        let all = [("apple", apple), ("pear", pear), ("plum", plum)];
        let sold = all.into_iter().filter_map(|(name, cents)| Some((product(name), cents?)));
        sold.map(|(id, cents)| (id, Money::from_minor(cents).unwrap())).collect()
    });
    let command = prop_oneof![
        4 => (name.clone(), -1..20_i64, 0..100_000_i64)
            .prop_map(|(name, quantity, cents)| add_at(name, quantity, cents)),
        3 => (name, -1..20_i64).prop_map(|(name, quantity)| remove(name, quantity)),
        3 => prices.prop_map(|prices| BasketCommand::Checkout { payment_id: payment(), prices }),
        1 => Just(BasketCommand::Cancel),
    ];
    prop::collection::vec(command, 0..40)
}

proptest! {
    /// Money is neither made nor lost: what is checked out is what was put in less what was taken out, at the prices of that
    /// moment, and never more than what was last shown; and what was decided can always be folded.
    #[test]
    fn what_is_checked_out_is_what_was_put_in_less_what_was_taken_out(commands in commands()) {
        let mut state = fold::<Basket>(None, &[started()]).unwrap();
        let mut balance: BTreeMap<ProductId, i64> = BTreeMap::new();
        for command in commands {
            let shown = state.as_ref().unwrap().items().to_vec();
            let Ok(events) = Basket::decide(state.as_ref(), &command) else { continue };
            for event in &events {
                match event {
                    BasketEvent::BasketItemAdded(e) => {
                        *balance.entry(e.item.product_id).or_default() += i64::from(e.item.quantity);
                    }
                    BasketEvent::BasketItemRemoved(e) => {
                        *balance.entry(e.product_id).or_default() -= i64::from(e.quantity);
                    }
                    BasketEvent::BasketRepriced(e) => {
                        prop_assert!(!e.prices.is_empty());
                        for change in &e.prices {
                            let line = shown.iter().find(|line| line.product_id == change.product_id);
                            prop_assert_eq!(line.map(|line| line.price), Some(change.old_price));
                            prop_assert_ne!(change.old_price, change.price);
                        }
                    }
                    BasketEvent::BasketCheckedOut(e) => {
                        let lines: BTreeMap<_, _> =
                            e.items.iter().map(|i| (i.product_id, i64::from(i.quantity))).collect();
                        let expected: BTreeMap<_, _> =
                            balance.iter().filter(|(_, q)| **q > 0).map(|(p, q)| (*p, *q)).collect();
                        prop_assert_eq!(lines, expected);
                        let sum: i64 = e.items.iter().map(|i| i.price.minor() * i64::from(i.quantity)).sum();
                        prop_assert_eq!(total(&e.items).unwrap().minor(), sum);
                        let BasketCommand::Checkout { prices, .. } = &command else { unreachable!() };
                        for (paid, seen) in e.items.iter().zip(&shown) {
                            prop_assert_eq!(paid.product_id, seen.product_id);
                            prop_assert!(paid.price.minor() <= seen.price.minor(), "charged more than was shown");
                            prop_assert_eq!(prices[&paid.product_id], paid.price);
                        }
                    }
                    BasketEvent::BasketStarted(_) | BasketEvent::BasketCanceled(_) => {}
                }
            }
            prop_assert!(balance.values().all(|quantity| *quantity >= 0));
            state = fold(state, &events).unwrap();
            let items = state.as_ref().unwrap().items();
            prop_assert!(items.iter().all(|item| item.quantity > 0));
            if let Some(BasketEvent::BasketCheckedOut(e)) = events.last() {
                prop_assert_eq!(items, &e.items[..], "what is kept is what was charged");
            }
        }
    }
}
