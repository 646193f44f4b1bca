//! The rules of a product.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    ids::StoreId,
    stores::{
        ProductAdded, ProductEvent, ProductPriceDecreased, ProductPriceIncreased, ProductRebranded,
        ProductRemoved,
    },
};
use kernel::{Aggregate, Currency, Event, Id, Money, aggregate::fold};
use proptest::prelude::*;
use stores::product::{Goods, Product, ProductCommand, ProductRefusal};
use testing::spec::given;

fn store_id() -> StoreId {
    Id::derived(&["store"])
}

fn cents(minor: i64) -> Money {
    Money::from_minor(minor).unwrap()
}

fn goods(price: Money) -> Goods {
    let (name, description, sku) = ("Apple".into(), "red".into(), "A-1".into());
    Goods { store_id: store_id(), name, description, sku, price }
}

fn add(price: i64) -> ProductCommand {
    ProductCommand::Add(goods(cents(price)))
}

fn rebrand(name: &str, description: &str) -> ProductCommand {
    ProductCommand::Rebrand { name: name.into(), description: description.into() }
}

fn increase(price: i64) -> ProductCommand {
    ProductCommand::IncreasePrice { price: cents(price) }
}

fn decrease(price: i64) -> ProductCommand {
    ProductCommand::DecreasePrice { price: cents(price) }
}

fn added(price: i64) -> ProductEvent {
    let Goods { store_id, name, description, sku, price } = goods(cents(price));
    ProductEvent::ProductAdded(ProductAdded { store_id, name, description, sku, price })
}

fn rebranded(name: &str, description: &str) -> ProductEvent {
    let (name, description) = (name.into(), description.into());
    ProductEvent::ProductRebranded(ProductRebranded { store_id: store_id(), name, description })
}

fn increased(from: i64, to: i64) -> ProductEvent {
    let (store_id, old_price, price) = (store_id(), cents(from), cents(to));
    ProductEvent::ProductPriceIncreased(ProductPriceIncreased { store_id, old_price, price })
}

fn decreased(from: i64, to: i64) -> ProductEvent {
    let (store_id, old_price, price) = (store_id(), cents(from), cents(to));
    ProductEvent::ProductPriceDecreased(ProductPriceDecreased { store_id, old_price, price })
}

fn removed() -> ProductEvent {
    ProductEvent::ProductRemoved(ProductRemoved { store_id: store_id() })
}

#[test]
fn a_product_is_added_with_all_that_is_said_of_it() {
    given::<Product>([]).when(add(75)).then([added(75)]);
}

#[test]
fn a_product_may_be_free_but_not_nameless_or_cheaper_than_nothing() {
    given::<Product>([]).when(add(0)).then([added(0)]);
    given::<Product>([]).when(add(-1)).then_refused(ProductRefusal::PriceIsNegative);
    for blank in ["", "  "] {
        let nameless = ProductCommand::Add(Goods { name: blank.into(), ..goods(cents(75)) });
        given::<Product>([]).when(nameless).then_refused(ProductRefusal::NameIsBlank);
    }
}

#[test]
fn description_and_sku_may_be_empty() {
    let bare = Goods { description: String::new(), sku: String::new(), ..goods(cents(75)) };
    let product =
        given::<Product>([]).when(ProductCommand::Add(bare.clone())).then([ProductEvent::ProductAdded(
            ProductAdded {
                store_id: store_id(),
                name: "Apple".into(),
                description: String::new(),
                sku: String::new(),
                price: cents(75),
            },
        )]);
    assert_eq!(product.state().unwrap().on_sale(), Some(&bare));
}

#[test]
fn a_product_is_added_once_even_after_it_was_removed() {
    given::<Product>([added(75)]).when(add(75)).then_refused(ProductRefusal::AlreadyAdded);
    given::<Product>([added(75), removed()]).when(add(75)).then_refused(ProductRefusal::AlreadyAdded);
}

#[test]
fn a_product_is_rebranded_in_name_and_description() {
    given::<Product>([added(75)]).when(rebrand("Pear", "green")).then([rebranded("Pear", "green")]);
    given::<Product>([added(75)]).when(rebrand("Apple", "")).then([rebranded("Apple", "")]);
    given::<Product>([added(75)]).when(rebrand("Apple", "red")).then_nothing();
    given::<Product>([added(75)]).when(rebrand(" ", "red")).then_refused(ProductRefusal::NameIsBlank);
}

#[test]
fn d1_a_price_change_carries_the_new_price_not_a_difference() {
    given::<Product>([added(75)])
        .when(increase(100))
        .then([increased(75, 100)])
        .when(decrease(60))
        .then([decreased(100, 60)]);
    let json = serde_json::to_value(increased(75, 100).to_raw().unwrap().data).unwrap();
    assert_eq!((&json["oldPrice"]["minor"], &json["price"]["minor"]), (&75.into(), &100.into()));
    assert!(json.get("delta").is_none());
}

#[test]
fn d1_a_reader_that_missed_a_price_change_is_right_again_with_the_next() {
    let seen = fold::<Product>(None, &[added(75), decreased(100, 60)]).unwrap().unwrap();
    assert_eq!(seen.on_sale().unwrap().price, cents(60));
}

#[test]
fn a_price_goes_in_the_direction_that_was_asked_for() {
    given::<Product>([added(75)])
        .when(increase(74))
        .then_refused(ProductRefusal::NotAPriceIncrease { current: cents(75), price: cents(74) });
    given::<Product>([added(75)])
        .when(decrease(76))
        .then_refused(ProductRefusal::NotAPriceDecrease { current: cents(75), price: cents(76) });
}

#[test]
fn the_same_price_again_is_allowed_and_changes_nothing() {
    given::<Product>([added(75)]).when(increase(75)).then_nothing();
    given::<Product>([added(75)]).when(decrease(75)).then_nothing();
}

#[test]
fn a_price_never_falls_below_nothing() {
    given::<Product>([added(75)]).when(decrease(0)).then([decreased(75, 0)]);
    given::<Product>([added(75)]).when(decrease(-1)).then_refused(ProductRefusal::PriceIsNegative);
    given::<Product>([added(75)]).when(increase(-1)).then_refused(ProductRefusal::PriceIsNegative);
}

#[test]
fn a_price_in_another_currency_is_neither_higher_nor_lower() {
    let price = Money::in_currency(75, Currency::Eur).unwrap();
    given::<Product>([added(75)])
        .when(ProductCommand::IncreasePrice { price })
        .then_refused_as("NOT_A_PRICE_INCREASE");
    given::<Product>([added(75)])
        .when(ProductCommand::DecreasePrice { price })
        .then_refused_as("NOT_A_PRICE_DECREASE");
}

#[test]
fn a_removed_product_stays_removed() {
    given::<Product>([added(75)]).when(ProductCommand::Remove).then([removed()]);
    for command in [rebrand("Pear", "green"), increase(100), decrease(50)] {
        given::<Product>([added(75), removed()]).when(command).then_refused(ProductRefusal::WasRemoved);
    }
    given::<Product>([added(75), removed()]).when(ProductCommand::Remove).then_nothing();
}

#[test]
fn d16_a_command_on_a_product_that_never_was_does_not_make_a_ghost() {
    for command in [rebrand("Ghost", ""), increase(1), decrease(1), ProductCommand::Remove] {
        given::<Product>([]).when(command).then_refused(ProductRefusal::NotFound);
    }
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![removed()],
        vec![increased(1, 2)],
        vec![added(75), added(75)],
        vec![added(75), removed(), decreased(75, 1)],
        vec![added(75), removed(), removed()],
    ] {
        assert!(fold::<Product>(None, &history).is_err(), "{history:?}");
    }
}

fn commands() -> impl Strategy<Value = Vec<ProductCommand>> {
    let price = -5..200_i64;
    let command = prop_oneof![
        1 => price.clone().prop_map(add),
        1 => prop_oneof![Just(""), Just("Apple"), Just("Pear")].prop_map(|name| rebrand(name, "green")),
        6 => price.clone().prop_map(increase),
        6 => price.prop_map(decrease),
        1 => Just(ProductCommand::Remove),
    ];
    prop::collection::vec(command, 0..60)
}

proptest! {
    /// After any sequence of commands the price is the last new price that was accepted, it is never
    /// negative, every change says what it was before, and no command leaves the state machine.
    #[test]
    fn the_price_is_the_last_new_price_and_no_transition_leads_outside_the_state_machine(commands in commands()) {
        let mut state: Option<Product> = None;
        let mut last: Option<Money> = None;
        for command in commands {
            let before = state.as_ref().map(Product::status);
            let Ok(events) = Product::decide(state.as_ref(), &command) else { continue };
            match &command {
                ProductCommand::Add(goods) => last = Some(goods.price),
                ProductCommand::IncreasePrice { price } | ProductCommand::DecreasePrice { price } => last = Some(*price),
                ProductCommand::Rebrand { .. } | ProductCommand::Remove => {}
            }
            for event in &events {
                let (old, new) = match event {
                    ProductEvent::ProductPriceIncreased(e) => (e.old_price, e.price),
                    ProductEvent::ProductPriceDecreased(e) => (e.old_price, e.price),
                    ProductEvent::ProductAdded(_) | ProductEvent::ProductRebranded(_) | ProductEvent::ProductRemoved(_) => continue,
                };
                prop_assert_eq!(Some(old), state.as_ref().and_then(Product::on_sale).map(|goods| goods.price));
                prop_assert_ne!(old, new);
            }
            state = fold(state, &events).unwrap();
            let after = state.as_ref().map(Product::status);
            let allowed = [(None, Some("on sale")), (Some("on sale"), Some("removed"))];
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before:?} -> {after:?}");
            if let Some(goods) = state.as_ref().and_then(Product::on_sale) {
                prop_assert_eq!(Some(goods.price), last);
                prop_assert!(!goods.price.is_negative() && !goods.name.is_empty());
            }
        }
    }
}
