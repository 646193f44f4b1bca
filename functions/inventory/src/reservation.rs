//! The reservation of one order: from which versions of its products' stock on the commits of the order are
//! found.
//!
//! No commit spans two streams, and a stock remembers its orders only for a while
//! ([`REMEMBERED`](crate::stock::REMEMBERED)). So an intent is written down here first, with the version that
//! each stock has by then. Whoever carries it out, once or many times, knows that no commit of the order is
//! older. docs/decisions/0015 shows why this is exact.

use std::collections::BTreeMap;

use contracts::{
    ids::ProductId,
    inventory::{ReservationEnd, ReservationEnded, ReservationEvent, ReservationRequested, StockSeen},
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind, Version};
use serde::{Deserialize, Serialize};

/// Versions of the stock of some products.
pub type Seen = BTreeMap<ProductId, Version>;

/// The reservation of an order, as far as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    requested: Seen,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    end: ReservationEnd,
    stock: Seen,
}

/// The commands of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationCommand {
    /// Ask for pieces of these products. Nothing if that was done before, whatever the versions are.
    Request {
        /// The stock, as it was read before.
        stock: Seen,
    },
    /// Ask for a product's pieces as of a newer version. Nothing unless the known version is `from`: another
    /// attempt was faster.
    RequestAnew {
        /// The product.
        product_id: ProductId,
        /// The version that was searched from, in vain.
        from: Version,
        /// The version that the stock had then.
        to: Version,
    },
    /// End the reservation. Nothing if that was done before, and refused if it ended in the other way.
    End {
        /// How it ends.
        end: ReservationEnd,
        /// The stock, as it was read before. Products that were not asked for are left out.
        stock: Seen,
    },
    /// End the reservation of a product as of a newer version, as [`Self::RequestAnew`] does.
    EndAnew {
        /// The product.
        product_id: ProductId,
        /// The version that was searched from, in vain.
        from: Version,
        /// The version that the stock had then.
        to: Version,
    },
}

/// Why a reservation refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReservationRefusal {
    /// It was released or sold.
    #[error("the reservation was released or sold: nothing is kept for the order any more")]
    Closed,
    /// It was sold and is to be released, or the other way round.
    #[error("the reservation ended in another way")]
    EndedOtherwise,
    /// It is not over, so its end cannot be tried again.
    #[error("the reservation has not ended")]
    NotEnded,
}

impl Refusal for ReservationRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Closed => "RESERVATION_IS_CLOSED",
            Self::EndedOtherwise => "RESERVATION_ENDED_OTHERWISE",
            Self::NotEnded => "RESERVATION_IS_OPEN",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::Closed | Self::EndedOtherwise | Self::NotEnded => RefusalKind::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::EndedOtherwise | Self::NotEnded => None,
        }
    }
}

impl Reservation {
    /// Products that were asked for, with the versions after which their pieces can have been kept.
    pub fn requested(&self) -> &Seen {
        &self.requested
    }

    /// Versions after which the pieces can have been given back, or sold; `None` while the reservation is
    /// open.
    pub fn ended(&self) -> Option<&Seen> {
        self.ended.as_ref().map(|ended| &ended.stock)
    }
}

fn requested(stock: &Seen) -> ReservationEvent {
    ReservationEvent::ReservationRequested(ReservationRequested { stock: told(stock) })
}

fn ended(end: ReservationEnd, stock: &Seen) -> ReservationEvent {
    ReservationEvent::ReservationEnded(ReservationEnded { end, stock: told(stock) })
}

fn told(stock: &Seen) -> Vec<StockSeen> {
    stock.iter().map(|(&product_id, &version)| StockSeen { product_id, version }).collect()
}

fn heard(stock: &[StockSeen]) -> impl Iterator<Item = (ProductId, Version)> {
    stock.iter().map(|seen| (seen.product_id, seen.version))
}

impl Aggregate for Reservation {
    const CATEGORY: &'static str = "inventory.Reservation";
    const STATE_SCHEMA: u16 = 1;
    type Command = ReservationCommand;
    type Event = ReservationEvent;
    type Refusal = ReservationRefusal;

    fn decide(
        state: Option<&Self>,
        command: &ReservationCommand,
    ) -> Result<Vec<ReservationEvent>, ReservationRefusal> {
        use ReservationCommand::{End, EndAnew, Request, RequestAnew};
        match (state, command) {
            (Some(Self { ended: Some(_), .. }), Request { .. } | RequestAnew { .. }) => {
                Err(ReservationRefusal::Closed)
            }
            (None, Request { stock }) => Ok(vec![requested(stock)]),
            (Some(_), Request { .. }) => Ok(vec![]),
            (state, RequestAnew { product_id, from, to }) => {
                let known = state.and_then(|state| state.requested.get(product_id));
                let anew = known == Some(from);
                Ok(anew.then(|| requested(&Seen::from([(*product_id, *to)]))).into_iter().collect())
            }
            (Some(Self { ended: Some(known), .. }), End { end, .. }) => {
                if known.end == *end {
                    Ok(vec![])
                } else {
                    Err(ReservationRefusal::EndedOtherwise)
                }
            }
            (state, End { end, stock }) => {
                let asked = |product: &ProductId| state.is_some_and(|s| s.requested.contains_key(product));
                let stock = stock.iter().filter(|(product, _)| asked(product));
                Ok(vec![ended(*end, &stock.map(|(&product, &version)| (product, version)).collect())])
            }
            (Some(Self { ended: Some(known), .. }), EndAnew { product_id, from, to }) => {
                let anew = known.stock.get(product_id) == Some(from);
                let event = || ended(known.end, &Seen::from([(*product_id, *to)]));
                Ok(anew.then(event).into_iter().collect())
            }
            (None | Some(Self { ended: None, .. }), EndAnew { .. }) => Err(ReservationRefusal::NotEnded),
        }
    }

    fn evolve(state: Option<Self>, event: &ReservationEvent) -> Result<Self, BrokenHistory> {
        let mut state = state.unwrap_or_default();
        match (event, &mut state.ended) {
            (ReservationEvent::ReservationRequested(e), None) => state.requested.extend(heard(&e.stock)),
            (ReservationEvent::ReservationEnded(e), None) => {
                state.ended = Some(Ended { end: e.end, stock: heard(&e.stock).collect() });
            }
            (ReservationEvent::ReservationEnded(e), Some(ended)) if e.end == ended.end => {
                ended.stock.extend(heard(&e.stock));
            }
            (ReservationEvent::ReservationRequested(_) | ReservationEvent::ReservationEnded(_), Some(_)) => {
                return Err(BrokenHistory { event: event.event_type(), state: "ended" });
            }
        }
        Ok(state)
    }
}
