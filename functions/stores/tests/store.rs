//! The rules of a store.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::stores::{
    StoreCreated, StoreEvent, StoreParticipationDisabled, StoreParticipationEnabled, StoreRebranded,
};
use kernel::{Aggregate, Refusal, RefusalKind, aggregate::fold};
use proptest::prelude::*;
use stores::store::{Store, StoreCommand, StoreRefusal};
use testing::spec::given;

fn create(name: &str, location: &str) -> StoreCommand {
    StoreCommand::Create { name: name.into(), location: location.into() }
}

fn rebrand(name: &str) -> StoreCommand {
    StoreCommand::Rebrand { name: name.into() }
}

fn created() -> StoreEvent {
    StoreEvent::StoreCreated(StoreCreated { name: "Fruit & Veg".into(), location: "Hall 1".into() })
}

fn enabled() -> StoreEvent {
    StoreEvent::StoreParticipationEnabled(StoreParticipationEnabled {})
}

fn disabled() -> StoreEvent {
    StoreEvent::StoreParticipationDisabled(StoreParticipationDisabled {})
}

fn rebranded(name: &str) -> StoreEvent {
    StoreEvent::StoreRebranded(StoreRebranded { name: name.into() })
}

#[test]
fn a_store_is_opened_and_does_not_take_part_yet() {
    let store = given::<Store>([]).when(create("Fruit & Veg", "Hall 1")).then([created()]);
    assert!(!store.state().unwrap().is_participating());
}

#[test]
fn a_store_needs_a_name_and_a_location() {
    for blank in ["", " ", "\t\n"] {
        given::<Store>([]).when(create(blank, "Hall 1")).then_refused(StoreRefusal::NameIsBlank);
        given::<Store>([]).when(create("Fruit & Veg", blank)).then_refused(StoreRefusal::LocationIsBlank);
    }
}

#[test]
fn a_store_is_opened_once() {
    given::<Store>([created()]).when(create("Other", "Hall 2")).then_refused(StoreRefusal::AlreadyCreated);
}

#[test]
fn a_store_takes_part_and_stops_as_often_as_it_likes() {
    given::<Store>([created()])
        .when(StoreCommand::EnableParticipation)
        .then([enabled()])
        .when(StoreCommand::DisableParticipation)
        .then([disabled()])
        .when(StoreCommand::EnableParticipation)
        .then([enabled()]);
}

#[test]
fn a_participation_that_is_already_so_is_refused() {
    given::<Store>([created(), enabled()])
        .when(StoreCommand::EnableParticipation)
        .then_refused(StoreRefusal::IsAlreadyParticipating);
    for history in [vec![created()], vec![created(), enabled(), disabled()]] {
        given::<Store>(history)
            .when(StoreCommand::DisableParticipation)
            .then_refused(StoreRefusal::IsAlreadyNotParticipating);
    }
    for refusal in [StoreRefusal::IsAlreadyParticipating, StoreRefusal::IsAlreadyNotParticipating] {
        assert_eq!(refusal.kind(), RefusalKind::Invalid, "400, as the original API answers");
    }
}

#[test]
fn a_store_is_rebranded_whether_it_takes_part_or_not_and_stays_so() {
    let store = given::<Store>([created()]).when(rebrand("Greens")).then([rebranded("Greens")]);
    assert!(!store.state().unwrap().is_participating());
    let store = given::<Store>([created(), enabled()]).when(rebrand("Greens")).then([rebranded("Greens")]);
    assert!(store.state().unwrap().is_participating());
    assert_eq!(store.state().unwrap().premises().location, "Hall 1");
}

#[test]
fn a_store_that_is_called_so_already_is_left_alone() {
    given::<Store>([created()]).when(rebrand("Fruit & Veg")).then_nothing();
}

#[test]
fn d16_a_store_is_not_rebranded_to_nothing() {
    for blank in ["", "  "] {
        given::<Store>([created()]).when(rebrand(blank)).then_refused(StoreRefusal::NameIsBlank);
    }
}

#[test]
fn d16_a_command_on_a_store_that_never_was_does_not_make_a_ghost() {
    for command in [StoreCommand::EnableParticipation, StoreCommand::DisableParticipation, rebrand("Ghost")] {
        given::<Store>([]).when(command).then_refused(StoreRefusal::NotFound);
    }
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![enabled()],
        vec![rebranded("x")],
        vec![created(), created()],
        vec![created(), disabled()],
        vec![created(), enabled(), enabled()],
    ] {
        assert!(fold::<Store>(None, &history).is_err(), "{history:?}");
    }
}

proptest! {
    /// No sequence of commands leaves the state machine, and what was decided can always be folded.
    #[test]
    fn no_transition_leads_outside_the_state_machine(picks in prop::collection::vec((0..4_u8, 0..4_u8), 0..40)) {
        let mut state: Option<Store> = None;
        for (pick, name) in picks {
            let name = ["", "Greens", "Fruit & Veg", "Roots"][usize::from(name)];
            let command = match pick {
                0 => create(name, "Hall 1"),
                1 => StoreCommand::EnableParticipation,
                2 => StoreCommand::DisableParticipation,
                _ => rebrand(name),
            };
            let before = state.as_ref().map(Store::status);
            let Ok(events) = Store::decide(state.as_ref(), &command) else { continue };
            state = fold(state, &events).unwrap();
            let after = state.as_ref().map(Store::status);
            let allowed = [
                (None, Some("not participating")),
                (Some("not participating"), Some("participating")),
                (Some("participating"), Some("not participating")),
            ];
            prop_assert!(before == after || allowed.contains(&(before, after)), "{before:?} -> {after:?}");
            prop_assert!(state.as_ref().is_none_or(|store| !store.premises().name.is_empty()));
        }
    }
}
