//! The rules of shopping lists and bots.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    depot::{
        BotActivated, BotEvent, BotIdled, BotRegistered, ShoppingListAssigned, ShoppingListCanceled,
        ShoppingListCompleted, ShoppingListCreated, ShoppingListEvent, ShoppingListInitiated,
        ShoppingListStarted, Stop,
    },
    ids::{BotId, OrderId, ShoppingListId},
};
use depot::{
    bot::{Bot, BotCommand, BotRefusal},
    shopping_list::{Line, ShoppingList, ShoppingListCommand, ShoppingListRefusal, stops},
};
use kernel::{Aggregate, Id, Refusal, RefusalKind, aggregate::fold};
use proptest::prelude::*;
use testing::spec::given;

fn order() -> OrderId {
    Id::derived(&["order"])
}

fn other_order() -> OrderId {
    Id::derived(&["other order"])
}

fn bot(n: u8) -> BotId {
    Id::derived(&["bot", &n.to_string()])
}

fn list(n: u8) -> ShoppingListId {
    Id::derived(&["list", &n.to_string()])
}

fn line(store: u8, product: u8, quantity: u32) -> Line {
    Line {
        store_id: Id::derived(&["store", &store.to_string()]),
        store_name: format!("Store {store}"),
        store_location: format!("Hall {store}"),
        product_id: Id::derived(&["product", &store.to_string(), &product.to_string()]),
        product_name: format!("Product {product}"),
        quantity,
    }
}

fn planned() -> Vec<Stop> {
    stops([line(1, 1, 2), line(2, 1, 1)]).unwrap()
}

fn create() -> ShoppingListCommand {
    ShoppingListCommand::Create { order_id: order(), stops: planned(), not_sold: None }
}

fn initiate() -> ShoppingListCommand {
    ShoppingListCommand::Initiate { order_id: None }
}

fn initiate_again() -> ShoppingListCommand {
    ShoppingListCommand::Initiate { order_id: Some(order()) }
}

fn assign(n: u8) -> ShoppingListCommand {
    ShoppingListCommand::Assign { bot_id: bot(n) }
}

fn start() -> ShoppingListCommand {
    ShoppingListCommand::Start { bot_id: None }
}

fn cancel() -> ShoppingListCommand {
    ShoppingListCommand::Cancel { reason: "BROKEN".into() }
}

fn withdraw() -> ShoppingListCommand {
    ShoppingListCommand::Withdraw { order_id: order(), reason: "BROKEN".into() }
}

fn created() -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListCreated(ShoppingListCreated { order_id: order(), stops: planned() })
}

fn initiated() -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListInitiated(ShoppingListInitiated { order_id: order() })
}

fn assigned() -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListAssigned(ShoppingListAssigned { order_id: order(), bot_id: bot(1) })
}

fn started() -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListStarted(ShoppingListStarted { order_id: order(), bot_id: bot(1) })
}

fn completed() -> ShoppingListEvent {
    ShoppingListEvent::ShoppingListCompleted(ShoppingListCompleted { order_id: order(), bot_id: bot(1) })
}

fn canceled(bot_id: Option<BotId>) -> ShoppingListEvent {
    let (order_id, reason) = (order(), "BROKEN".into());
    ShoppingListEvent::ShoppingListCanceled(ShoppingListCanceled { order_id, bot_id, reason })
}

/// A history that ends in each state, and the state's name.
fn histories() -> Vec<(&'static str, Vec<ShoppingListEvent>)> {
    vec![
        ("pending", vec![created()]),
        ("available", vec![created(), initiated()]),
        ("assigned", vec![created(), initiated(), assigned()]),
        ("active", vec![created(), initiated(), assigned(), started()]),
        ("completed", vec![created(), initiated(), assigned(), completed()]),
        ("canceled", vec![created(), canceled(None)]),
    ]
}

#[test]
fn d2_an_initiated_list_is_available() {
    let list = given::<ShoppingList>([created()]).when(initiate()).then([initiated()]);
    assert_eq!(list.state().unwrap().status(), "available");
}

#[test]
fn d3_an_initiated_list_is_assigned_started_and_completed() {
    given::<ShoppingList>([])
        .when(create())
        .then([created()])
        .when(initiate())
        .then([initiated()])
        .when(assign(1))
        .then([assigned()])
        .when(start())
        .then([started()])
        .when(ShoppingListCommand::Complete)
        .then([completed()]);
}

#[test]
fn a_bot_that_never_says_that_it_starts_can_complete() {
    given::<ShoppingList>([created(), initiated(), assigned()])
        .when(ShoppingListCommand::Complete)
        .then([completed()]);
}

#[test]
fn what_a_list_cannot_do_in_its_state_is_a_400_as_in_the_original_api() {
    for (status, history) in histories() {
        let refused = |command, wanted: ShoppingListRefusal| {
            assert_eq!(wanted.kind(), RefusalKind::Invalid);
            given::<ShoppingList>(history.clone()).when(command).then_refused(wanted);
        };
        if status != "pending" {
            refused(initiate(), ShoppingListRefusal::CannotBeInitiated { status });
        }
        if status != "available" {
            refused(assign(2), ShoppingListRefusal::CannotBeAssigned { status });
        }
        if status != "assigned" {
            refused(start(), ShoppingListRefusal::CannotBeStarted { status });
        }
        if !["assigned", "active"].contains(&status) {
            refused(ShoppingListCommand::Complete, ShoppingListRefusal::CannotBeCompleted { status });
        }
        if ["completed", "canceled"].contains(&status) {
            refused(cancel(), ShoppingListRefusal::CannotBeCancelled { status });
        }
    }
}

#[test]
fn a_step_of_the_saga_that_comes_again_changes_nothing() {
    for (status, history) in histories() {
        let given = || given::<ShoppingList>(history.clone());
        match status {
            "canceled" => {
                given().when(create()).then_refused(ShoppingListRefusal::WasCancelled);
                given()
                    .when(initiate_again())
                    .then_refused(ShoppingListRefusal::CannotBeInitiated { status });
            }
            "pending" => drop(given().when(create()).then_nothing()),
            _ => {
                given().when(create()).then_nothing().when(initiate_again()).then_nothing();
            }
        }
    }
    given::<ShoppingList>([created(), initiated(), assigned()]).when(assign(1)).then_nothing();
}

#[test]
fn a_list_of_another_order_or_with_other_lines_is_not_taken_for_this_one() {
    let stops = planned();
    let foreign =
        ShoppingListCommand::Create { order_id: other_order(), stops: stops.clone(), not_sold: None };
    given::<ShoppingList>([created()]).when(foreign).then_refused(ShoppingListRefusal::IsOfAnotherOrder);
    let foreign = ShoppingListCommand::Initiate { order_id: Some(other_order()) };
    given::<ShoppingList>([created()]).when(foreign).then_refused(ShoppingListRefusal::IsOfAnotherOrder);
    let fewer = ShoppingListCommand::Create { order_id: order(), stops: stops[..1].to_vec(), not_sold: None };
    given::<ShoppingList>([created()]).when(fewer).then_refused(ShoppingListRefusal::AlreadyCreated);
    let foreign = ShoppingListCommand::Withdraw { order_id: other_order(), reason: "X".into() };
    given::<ShoppingList>([created()]).when(foreign).then_nothing();
}

#[test]
fn a_rebranded_product_does_not_make_it_another_list() {
    let mut renamed = planned();
    renamed[0].items[0].product_name = "Braeburn".into();
    renamed[0].store_name = "Greens".into();
    let renamed = ShoppingListCommand::Create { order_id: order(), stops: renamed, not_sold: None };
    given::<ShoppingList>([created()]).when(renamed).then_nothing();
}

#[test]
fn what_no_store_sells_any_more_stops_a_new_list_and_not_the_repeat_of_an_old_one() {
    let product_id = line(1, 1, 2).product_id;
    let not_sold =
        ShoppingListCommand::Create { order_id: order(), stops: planned(), not_sold: Some(product_id) };
    let refused = ShoppingListRefusal::ProductNotFound { product_id };
    assert_eq!(refused.kind(), RefusalKind::NotFound);
    given::<ShoppingList>([]).when(not_sold.clone()).then_refused(refused);
    given::<ShoppingList>([created()]).when(not_sold).then_nothing();
}

#[test]
fn a_list_is_cancelled_until_it_is_completed_and_names_the_bot_that_had_it() {
    for (status, history) in histories() {
        let had_it = ["assigned", "active"].contains(&status).then(|| bot(1));
        if ["pending", "available", "assigned", "active"].contains(&status) {
            given::<ShoppingList>(history.clone()).when(cancel()).then([canceled(had_it)]);
            given::<ShoppingList>(history).when(withdraw()).then([canceled(had_it)]);
        } else {
            // Also where everything was collected: then the goods are put back, and the list stays as it is.
            given::<ShoppingList>(history).when(withdraw()).then_nothing();
        }
    }
}

#[test]
fn a_creation_that_arrives_after_its_compensation_is_refused() {
    let never_made = || given::<ShoppingList>([]).when(withdraw()).then([canceled(None)]);
    never_made().when(create()).then_refused(ShoppingListRefusal::WasCancelled);
    never_made().when(withdraw()).then_nothing();
    never_made().when(initiate_again()).then_refused_as("SHOPPING_CANNOT_BE_INITIATED");
    for command in [initiate(), assign(1), start(), ShoppingListCommand::Complete, cancel()] {
        never_made().when(command).then_refused(ShoppingListRefusal::NotFound);
    }
}

#[test]
fn d16_a_command_on_a_list_that_never_was_does_not_make_a_ghost() {
    for command in [initiate(), initiate_again(), assign(1), start(), ShoppingListCommand::Complete, cancel()]
    {
        given::<ShoppingList>([]).when(command).then_refused(ShoppingListRefusal::NotFound);
    }
}

#[test]
fn a_list_is_started_by_the_bot_that_has_it_and_no_other() {
    let assigned = || given::<ShoppingList>([created(), initiated(), assigned()]);
    assigned().when(ShoppingListCommand::Start { bot_id: Some(bot(1)) }).then([started()]);
    assigned()
        .when(ShoppingListCommand::Start { bot_id: Some(bot(2)) })
        .then_refused_as("SHOPPING_CANNOT_BE_STARTED");
}

#[test]
fn a_list_with_nothing_to_collect_is_not_made() {
    let empty = ShoppingListCommand::Create { order_id: order(), stops: vec![], not_sold: None };
    given::<ShoppingList>([]).when(empty).then_refused(ShoppingListRefusal::IsEmpty);
    let none = ShoppingListCommand::Create {
        order_id: order(),
        stops: stops([line(1, 1, 0)]).unwrap(),
        not_sold: None,
    };
    given::<ShoppingList>([]).when(none).then_refused(ShoppingListRefusal::QuantityMustBePositive);
}

#[test]
fn d10_a_product_that_is_named_again_adds_its_quantity() {
    let made = stops([line(1, 1, 2), line(2, 1, 1), line(1, 1, 3)]).unwrap();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0].items.len(), 1);
    assert_eq!(made[0].items[0].quantity, 5);
    let too_many = stops([line(1, 1, u32::MAX), line(1, 1, 1)]);
    assert_eq!(too_many, Err(ShoppingListRefusal::QuantityIsTooLarge));
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![initiated()],
        vec![created(), created()],
        vec![created(), assigned()],
        vec![created(), completed()],
        vec![created(), initiated(), assigned(), completed(), canceled(None)],
        vec![canceled(None), created()],
    ] {
        assert!(fold::<ShoppingList>(None, &history).is_err(), "{history:?}");
    }
    let idled = BotEvent::BotIdled(BotIdled { shopping_list_id: list(2) });
    assert!(fold::<Bot>(None, &[registered(), activated(1), idled]).is_err(), "not the list that it has");
}

fn registered() -> BotEvent {
    BotEvent::BotRegistered(BotRegistered { name: "R2".into() })
}

fn activated(n: u8) -> BotEvent {
    BotEvent::BotActivated(BotActivated { shopping_list_id: list(n) })
}

fn idled(n: u8) -> BotEvent {
    BotEvent::BotIdled(BotIdled { shopping_list_id: list(n) })
}

fn activate(n: u8, lost: Option<u8>) -> BotCommand {
    BotCommand::Activate { shopping_list_id: list(n), lost: lost.map(list) }
}

fn idle(n: u8) -> BotCommand {
    BotCommand::Idle { shopping_list_id: list(n) }
}

#[test]
fn a_bot_takes_one_list_at_a_time() {
    given::<Bot>([])
        .when(BotCommand::Register { name: "R2".into() })
        .then([registered()])
        .when(activate(1, None))
        .then([activated(1)])
        .when(activate(1, None))
        .then_nothing()
        .when(activate(2, None))
        .then_refused(BotRefusal::IsBusy { shopping_list_id: list(1) });
    given::<Bot>([registered(), activated(1)]).when(idle(1)).then([idled(1)]).when(idle(1)).then_nothing();
}

#[test]
fn a_bot_is_freed_only_of_the_list_that_it_has() {
    given::<Bot>([registered(), activated(1)]).when(idle(2)).then_nothing();
    given::<Bot>([registered(), activated(1)]).when(activate(2, Some(1))).then([idled(1), activated(2)]);
    given::<Bot>([registered(), activated(1)])
        .when(activate(2, Some(3)))
        .then_refused(BotRefusal::IsBusy { shopping_list_id: list(1) });
}

#[test]
fn d16_a_bot_that_never_was_takes_nothing_and_a_bot_needs_a_name() {
    given::<Bot>([]).when(activate(1, None)).then_refused(BotRefusal::NotFound);
    given::<Bot>([]).when(idle(1)).then_refused(BotRefusal::NotFound);
    given::<Bot>([]).when(BotCommand::Register { name: " ".into() }).then_refused(BotRefusal::NameIsBlank);
    given::<Bot>([registered()])
        .when(BotCommand::Register { name: "C3".into() })
        .then_refused(BotRefusal::AlreadyRegistered);
}

proptest! {
    /// No sequence of commands leaves the state machine, and what was decided can always be folded.
    #[test]
    fn no_transition_leads_outside_the_state_machine(picks in prop::collection::vec((0..8_u8, 1..3_u8), 0..30)) {
        let mut state: Option<ShoppingList> = None;
        for (pick, n) in picks {
            let command = match pick {
                0 => create(),
                1 => initiate(),
                2 => initiate_again(),
                3 => assign(n),
                4 => ShoppingListCommand::Start { bot_id: Some(bot(n)) },
                5 => ShoppingListCommand::Complete,
                6 => cancel(),
                _ => withdraw(),
            };
            let before = state.as_ref().map(ShoppingList::status);
            let had = state.as_ref().and_then(ShoppingList::bot_id);
            let Ok(events) = ShoppingList::decide(state.as_ref(), &command) else { continue };
            state = fold(state, &events).unwrap();
            let after = state.as_ref().map(ShoppingList::status).unwrap_or("none");
            let allowed = match before {
                None => after == "pending" || after == "never made",
                Some("pending") => ["available", "canceled"].contains(&after),
                Some("available") => ["assigned", "canceled"].contains(&after),
                Some("assigned") => ["active", "completed", "canceled"].contains(&after),
                Some("active") => ["completed", "canceled"].contains(&after),
                Some(_) => false,
            };
            prop_assert!(before == Some(after) || allowed || events.is_empty(), "{before:?} -> {after}");
            prop_assert!(had.is_none() || state.as_ref().and_then(ShoppingList::bot_id) == had, "another bot");
        }
    }

    /// Pieces at the stops are the pieces that were asked for, of every product.
    #[test]
    fn nothing_that_was_asked_for_is_lost(asked in prop::collection::vec((0..3_u8, 0..4_u8, 1..1000_u32), 0..40)) {
        let made = stops(asked.iter().map(|(store, product, quantity)| line(*store, *product, *quantity))).unwrap();
        for store in 0..3 {
            for product in 0..4 {
                let wanted: u32 = asked.iter().filter(|a| (a.0, a.1) == (store, product)).map(|a| a.2).sum();
                let line = line(store, product, 1);
                let items: Vec<_> = made
                    .iter()
                    .filter(|stop| stop.store_id == line.store_id)
                    .flat_map(|stop| &stop.items)
                    .filter(|item| item.product_id == line.product_id)
                    .collect();
                prop_assert_eq!(items.iter().map(|item| item.quantity).sum::<u32>(), wanted);
                prop_assert!(items.len() <= 1);
            }
        }
    }
}
