//! The rules of an order's reservation.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use contracts::{
    ids::ProductId,
    inventory::{ReservationEnd, ReservationEnded, ReservationEvent, ReservationRequested, StockSeen},
};
use inventory::reservation::{Reservation, ReservationCommand, ReservationRefusal, Seen};
use kernel::{Id, Version, aggregate::fold};
use testing::given;

fn product(n: usize) -> ProductId {
    let mut ids: Vec<ProductId> = (0..2).map(|n| Id::derived(&["product", &n.to_string()])).collect();
    ids.sort();
    ids[n]
}

fn seen(versions: &[(usize, u64)]) -> Seen {
    versions.iter().map(|&(n, version)| (product(n), Version::new(version))).collect()
}

fn told(versions: &[(usize, u64)]) -> Vec<StockSeen> {
    let seen =
        |&(n, version): &(usize, u64)| StockSeen { product_id: product(n), version: Version::new(version) };
    versions.iter().map(seen).collect()
}

fn request(versions: &[(usize, u64)]) -> ReservationCommand {
    ReservationCommand::Request { stock: seen(versions) }
}
fn request_anew(n: usize, from: u64, to: u64) -> ReservationCommand {
    let (from, to) = (Version::new(from), Version::new(to));
    ReservationCommand::RequestAnew { product_id: product(n), from, to }
}
fn end(end: ReservationEnd, versions: &[(usize, u64)]) -> ReservationCommand {
    ReservationCommand::End { end, stock: seen(versions) }
}
fn end_anew(n: usize, from: u64, to: u64) -> ReservationCommand {
    let (from, to) = (Version::new(from), Version::new(to));
    ReservationCommand::EndAnew { product_id: product(n), from, to }
}
fn requested(versions: &[(usize, u64)]) -> ReservationEvent {
    ReservationEvent::ReservationRequested(ReservationRequested { stock: told(versions) })
}
fn ended(end: ReservationEnd, versions: &[(usize, u64)]) -> ReservationEvent {
    ReservationEvent::ReservationEnded(ReservationEnded { end, stock: told(versions) })
}

use ReservationEnd::{Released, Sold};

#[test]
fn attempts_that_overlap_search_from_the_same_version() {
    let story = given::<Reservation>([])
        .when(request(&[(0, 3), (1, 0)]))
        .then([requested(&[(0, 3), (1, 0)])])
        .when(request(&[(0, 9), (1, 9)]))
        .then_nothing();
    assert_eq!(story.state().unwrap().requested(), &seen(&[(0, 3), (1, 0)]));
}

#[test]
fn a_version_that_was_searched_from_in_vain_is_replaced_once() {
    let story = given::<Reservation>([requested(&[(0, 3), (1, 0)])])
        .when(request_anew(0, 3, 80))
        .then([requested(&[(0, 80)])])
        .when(request_anew(0, 3, 90))
        .then_nothing();
    assert_eq!(story.state().unwrap().requested(), &seen(&[(0, 80), (1, 0)]));
}

#[test]
fn nothing_is_asked_for_after_the_end() {
    for way in [Released, Sold] {
        for late in [request(&[(0, 9)]), request_anew(0, 3, 9)] {
            given::<Reservation>([requested(&[(0, 3)]), ended(way, &[(0, 5)])])
                .when(late)
                .then_refused(ReservationRefusal::Closed);
        }
    }
    // Also if nobody had asked for anything by then.
    given::<Reservation>([])
        .when(end(Released, &[(0, 5)]))
        .then([ended(Released, &[])])
        .when(request(&[(0, 9)]))
        .then_refused(ReservationRefusal::Closed);
}

#[test]
fn a_reservation_ends_once_and_in_one_way() {
    given::<Reservation>([requested(&[(0, 3)])])
        .when(end(Released, &[(0, 5), (1, 7)]))
        .then([ended(Released, &[(0, 5)])])
        .when(end(Released, &[(0, 9)]))
        .then_nothing()
        .when(end(Sold, &[(0, 9)]))
        .then_refused(ReservationRefusal::EndedOtherwise);
}

#[test]
fn an_end_that_was_searched_for_in_vain_is_tried_from_a_newer_version() {
    let story = given::<Reservation>([requested(&[(0, 3)]), ended(Sold, &[(0, 5)])])
        .when(end_anew(0, 5, 90))
        .then([ended(Sold, &[(0, 90)])])
        .when(end_anew(0, 5, 95))
        .then_nothing();
    assert_eq!(story.state().unwrap().ended(), Some(&seen(&[(0, 90)])));
    given::<Reservation>([requested(&[(0, 3)])])
        .when(end_anew(0, 5, 90))
        .then_refused(ReservationRefusal::NotEnded);
}

#[test]
fn an_impossible_history_is_an_error_not_a_guess() {
    for history in [
        vec![requested(&[(0, 3)]), ended(Sold, &[(0, 5)]), requested(&[(0, 9)])],
        vec![requested(&[(0, 3)]), ended(Sold, &[(0, 5)]), ended(Released, &[(0, 9)])],
    ] {
        assert!(fold::<Reservation>(None, &history).is_err(), "{history:?}");
    }
}
