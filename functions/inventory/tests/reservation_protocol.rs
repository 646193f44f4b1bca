//! The protocol of docs/decisions/0015, as a model: one order, one product whose stock remembers few
//! versions, attempts that overlap, crash, sleep and come again. It is a model, and no code of the inventory,
//! so that an attempt can sleep between any two requests, and a stock forgets after three versions.

use proptest::prelude::*;

/// Versions that a stock remembers. Small, so that every attempt outlives the memory now and then.
const REMEMBERED: usize = 3;

/// An event of the product's stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Something that does not concern the order.
    Other,
    Kept,
    /// A release or a sale of what was kept.
    Ended,
    /// A release that came before the reservation.
    Marked,
}

/// The stream of the order's reservation: the versions of the stock from which commits of the order are
/// searched.
#[derive(Debug, Default, Clone, Copy)]
struct Reservation {
    requested: Option<usize>,
    ended: Option<usize>,
}

#[derive(Debug, Default)]
struct World {
    stock: Vec<Event>,
    reservation: Reservation,
}

impl World {
    fn version(&self) -> usize {
        self.stock.len()
    }

    /// Versions after this one are all remembered.
    fn floor(&self) -> usize {
        self.version().saturating_sub(REMEMBERED)
    }

    /// The order's last event that the stock's state remembers.
    fn remembered(&self) -> Option<Event> {
        self.stock[self.floor()..].iter().rev().copied().find(|event| *event != Event::Other)
    }

    /// The order's last event among those that commands with this `since` can have committed. A read of the
    /// stream.
    fn searched(&self, since: usize) -> Option<Event> {
        let end = self.version().min(since + REMEMBERED + 1);
        self.stock[since..end].iter().rev().copied().find(|event| *event != Event::Other)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Kept,
    Refused,
    Done,
}

#[derive(Debug, Clone, Copy)]
enum Reserving {
    Begins,
    HasRead { version: usize },
    Asks { since: usize },
    IsLate { since: usize },
    Renews { from: usize, to: usize },
    Over(Answer),
}

impl Reserving {
    /// One read or one commit further.
    fn step(self, world: &mut World) -> Self {
        match self {
            Self::Begins => Self::HasRead { version: world.version() },
            Self::HasRead { .. } if world.reservation.ended.is_some() => Self::Over(Answer::Refused),
            Self::HasRead { version } => {
                Self::Asks { since: *world.reservation.requested.get_or_insert(version) }
            }
            Self::Asks { since } => match world.remembered() {
                Some(Event::Kept) => Self::Over(Answer::Kept),
                Some(Event::Ended | Event::Marked) => Self::Over(Answer::Refused),
                Some(Event::Other) | None if since < world.floor() => Self::IsLate { since },
                Some(Event::Other) | None => {
                    world.stock.push(Event::Kept);
                    Self::Over(Answer::Kept)
                }
            },
            Self::IsLate { since } => match world.searched(since) {
                Some(Event::Kept) if world.reservation.ended.is_none() => Self::Over(Answer::Kept),
                Some(_) => Self::Over(Answer::Refused),
                None => Self::Renews { from: since, to: world.version() },
            },
            Self::Renews { .. } if world.reservation.ended.is_some() => Self::Over(Answer::Refused),
            Self::Renews { from, to } => {
                let since = world.reservation.requested.filter(|since| *since != from).unwrap_or(to);
                world.reservation.requested = Some(since);
                Self::Asks { since }
            }
            Self::Over(answer) => Self::Over(answer),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Begins,
    HasRead { version: usize },
    Asks { requested: usize, kept: Option<bool>, since: usize },
    IsLate { requested: usize, kept: Option<bool>, since: usize },
    Renews { requested: usize, kept: Option<bool>, from: usize, to: usize },
    Over(Answer),
}

impl Ending {
    fn step(self, world: &mut World) -> Self {
        match self {
            Self::Begins => Self::HasRead { version: world.version() },
            Self::HasRead { version } => {
                let since = *world.reservation.ended.get_or_insert(version);
                match world.reservation.requested {
                    Some(requested) => Self::Asks { requested, kept: None, since },
                    // Whoever asks later is refused by the reservation's own stream.
                    None => Self::Over(Answer::Done),
                }
            }
            Self::Asks { requested, kept, since } => match (world.remembered(), kept) {
                (Some(Event::Ended | Event::Marked), _) => Self::Over(Answer::Done),
                (_, _) if since < world.floor() => Self::IsLate { requested, kept, since },
                (Some(Event::Kept), _) => {
                    world.stock.push(Event::Ended);
                    Self::Over(Answer::Done)
                }
                (Some(Event::Other) | None, Some(true)) => {
                    world.stock.push(Event::Ended);
                    Self::Over(Answer::Done)
                }
                (Some(Event::Other) | None, Some(false)) => Self::Over(Answer::Done),
                (Some(Event::Other) | None, None) if requested < world.floor() => {
                    Self::IsLate { requested, kept, since }
                }
                (Some(Event::Other) | None, None) => {
                    world.stock.push(Event::Marked);
                    Self::Over(Answer::Done)
                }
            },
            Self::IsLate { requested, kept, since } => {
                let is_closed =
                    since < world.floor() && world.searched(since).is_some_and(|event| event != Event::Kept);
                if is_closed {
                    return Self::Over(Answer::Done);
                }
                let was_kept = || world.searched(requested).is_some();
                let kept = kept.or_else(|| (requested < world.floor()).then(was_kept));
                if since < world.floor() {
                    Self::Renews { requested, kept, from: since, to: world.version() }
                } else {
                    Self::Asks { requested, kept, since }
                }
            }
            Self::Renews { requested, kept, from, to } => {
                let since = world.reservation.ended.filter(|since| *since != from).unwrap_or(to);
                world.reservation.ended = Some(since);
                Self::Asks { requested, kept, since }
            }
            Self::Over(answer) => Self::Over(answer),
        }
    }
}

fn count(world: &World, event: Event) -> usize {
    world.stock.iter().filter(|there| **there == event).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, ..ProptestConfig::default() })]

    /// Whatever overlaps, sleeps past the memory of the stock, or begins anew: pieces are kept once at most
    /// and given back or sold once if they were kept; nothing is kept for an order that has ended; and who is
    /// told "kept" has them.
    #[test]
    fn pieces_are_kept_once_and_given_back_once(schedule in prop::collection::vec((0..10_usize, 1..8_usize), 0..40)) {
        let mut world = World::default();
        let mut reserving = [Reserving::Begins; 3];
        let mut ending = [Ending::Begins; 2];
        let check = |world: &World| {
            let (kept, ended, marked) = (count(world, Event::Kept), count(world, Event::Ended), count(world, Event::Marked));
            kept <= 1 && ended <= kept && marked <= 1 && kept + marked <= 1
        };
        for (actor, times) in schedule {
            match actor {
                0..=2 => reserving[actor] = (0..times).fold(reserving[actor], |at, _| at.step(&mut world)),
                3 | 4 => ending[actor - 3] = (0..times).fold(ending[actor - 3], |at, _| at.step(&mut world)),
                // It dies, and is repeated.
                5 => reserving[times % 3] = Reserving::Begins,
                6 => ending[times % 2] = Ending::Begins,
                // The product sells meanwhile.
                _ => world.stock.extend(std::iter::repeat_n(Event::Other, times)),
            }
            prop_assert!(check(&world), "{world:?}");
            let is_told = reserving.iter().any(|at| matches!(at, Reserving::Over(Answer::Kept)));
            prop_assert!(!is_told || count(&world, Event::Kept) == 1, "{world:?}");
        }
        // Everybody goes on until there is nothing left to do; an undo is repeated until it succeeds.
        for at in &mut ending {
            while !matches!(at, Ending::Over(_)) {
                *at = at.step(&mut world);
            }
        }
        for at in &mut reserving {
            while !matches!(at, Reserving::Over(_)) {
                *at = at.step(&mut world);
            }
        }
        prop_assert!(check(&world), "{world:?}");
        prop_assert_eq!(count(&world, Event::Kept), count(&world, Event::Ended), "{:?}", world);
    }
}
