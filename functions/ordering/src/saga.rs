//! The saga of an order, beyond the order's own stream: placements that were started again, undos, and calls
//! for an operator. An order that goes well has no saga stream.
//!
//! ```text
//! (none) -> placing -> settled             a placement was started again, and the order was approved
//! (none) | placing | settled -> undoing -> undone | settled
//! undoing -> undoing                       another attempt
//! any but undone -> stuck -> undoing | undone | settled
//! ```
//!
//! An attempt to undo has a number, which is also in the name of its execution. The number only grows, so no
//! name is used twice. Two attempts may run at once, because every step of an undo is harmless when it was
//! done before. The saga is undone as soon as either has undone everything. The order is kept only
//! if an attempt for the origin of the last one says so.

use std::{convert::Infallible, time::Duration};

use contracts::{
    ids::OrderId,
    ordering::{
        SagaEvent, SagaPlacementResumed, SagaSettled, SagaStuck, SagaUndoBegan, SagaUndoEnded, UndoOrigin,
        UndoOutcome,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Reason, Timestamp, id::derive};
use serde::{Deserialize, Serialize};

use crate::order::Order;

/// Placements that are started again before the order is given up: with a patience of 5 minutes the order is
/// rejected after 40.
pub const MOST_PLACEMENTS: u32 = 3;
/// Attempts to undo before the saga is stuck: with a patience of 5 minutes after 75.
pub const MOST_UNDOS: u32 = 4;

/// The time that a placement, or an attempt to undo, has before it counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(Duration);

impl Patience {
    /// The patience of this many seconds.
    ///
    /// # Errors
    /// A sentence that says why the text is no patience.
    pub fn new(seconds: &str) -> Result<Self, String> {
        match seconds.parse::<u32>() {
            Ok(number @ 1..) => Ok(Self(Duration::from_secs(number.into()))),
            Ok(0) | Err(_) => {
                Err(format!("the patience must be a number of seconds above 0, not {seconds:?}"))
            }
        }
    }

    /// The latest creation of an order whose first placement counts as lost.
    pub fn before(self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.0).unwrap_or(Timestamp::MIN)
    }

    /// The time from which on attempt `attempt` (from 1) of an order's saga counts as lost. The wait doubles
    /// with each attempt. The jitter, a quarter to either side, follows from the order, so that a thousand
    /// orders of one outage do not come back together.
    pub fn due_at(self, order: OrderId, attempt: u32, now: Timestamp) -> Timestamp {
        let doubled = self.0.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)));
        let seed = derive(&["due", &order.to_string(), &attempt.to_string()]).as_u128();
        let spread = 0.75 + (seed % 1024) as f64 / 2048.0;
        now.checked_add(doubled.mul_f64(spread)).unwrap_or(Timestamp::MAX)
    }
}

/// The saga of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saga {
    /// Placements that were started again.
    pub placements: u32,
    /// Attempts to undo; also the number of the last one.
    pub undos: u32,
    /// The stage.
    pub stage: Stage,
}

/// The stage of a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The placement was started again.
    Placing {
        /// Time from which on it counts as lost.
        due_at: Timestamp,
    },
    /// An undo is under way.
    Undoing {
        /// The undo.
        undo: Undo,
        /// The number of its first attempt, from which its attempts are counted.
        first: u32,
        /// Time from which on it counts as lost.
        due_at: Timestamp,
    },
    /// The order is over, and nothing is held for it.
    Undone,
    /// The order went on, so nothing is left to do.
    Settled,
    /// The saga cannot go on by itself.
    Stuck {
        /// The undo that did not get through, if there was one.
        undo: Option<Undo>,
    },
}

/// The cause for which an order is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The side that asked.
    pub origin: UndoOrigin,
    /// Code of the cause; it becomes the order's reason.
    pub reason: Reason,
}

/// The next thing to do for a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, or nothing yet.
    Wait,
    /// Start the placement again; the number of the attempt.
    Place(u32),
    /// Begin to undo the order.
    Begin(UndoOrigin),
    /// Start the next attempt to undo; its number.
    Undo(u32),
    /// Call an operator.
    GetStuck,
    /// Note that the order went on.
    Settle,
}

/// The next thing to do for an order's saga, by what both streams say.
pub fn next(
    order: &Order,
    placed_at: Timestamp,
    saga: Option<&Saga>,
    now: Timestamp,
    patience: Patience,
) -> Next {
    let stage = saga.map(|saga| &saga.stage);
    match (stage, order) {
        (None, Order::Pending(_)) if placed_at <= patience.before(now) => Next::Place(1),
        (Some(Stage::Placing { due_at } | Stage::Undoing { due_at, .. }), _) if *due_at > now => Next::Wait,
        (Some(Stage::Placing { .. }), Order::Pending(_)) => {
            let placements = saga.map_or(0, |saga| saga.placements);
            if placements < MOST_PLACEMENTS {
                Next::Place(placements + 1)
            } else {
                Next::Begin(UndoOrigin::Placement)
            }
        }
        // The cancellation's own event is on its way to begin the undo. Should it be lost, this finds it.
        (Some(Stage::Placing { .. }), Order::Rejected { .. } | Order::Canceled { .. }) => {
            Next::Begin(UndoOrigin::Cancellation)
        }
        (
            Some(Stage::Placing { .. }),
            Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. },
        ) => Next::Settle,
        (Some(Stage::Undoing { first, .. }), _) => {
            let following = saga.map_or(0, |saga| saga.undos) + 1;
            if following - first < MOST_UNDOS { Next::Undo(following) } else { Next::GetStuck }
        }
        (None | Some(Stage::Undone | Stage::Settled | Stage::Stuck { .. }), _) => Next::Wait,
    }
}

/// A request to a saga.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum SagaCommand {
    /// Note that the placement was started again. Nothing when this attempt was noted before.
    Resume {
        /// The number of the attempt.
        attempt: u32,
        /// Time from which on it counts as lost.
        due_at: Timestamp,
    },
    /// Begin to undo the order. Nothing when an undo that is under way, stuck or done serves this request as
    /// well; the next attempt of a stuck one is begun by [`SagaCommand::Retry`].
    Begin {
        /// The side that asks.
        origin: UndoOrigin,
        /// Code of the cause.
        reason: Reason,
        /// Time from which on the attempt counts as lost.
        due_at: Timestamp,
    },
    /// Begin the next attempt of an undo. Nothing when this attempt began before, or the undo ended.
    Retry {
        /// The number of the attempt.
        attempt: u32,
        /// Time from which on it counts as lost.
        due_at: Timestamp,
    },
    /// End an attempt to undo.
    End {
        /// The number of the attempt.
        attempt: u32,
        /// The origin that its execution was started for. It may differ from that of the stream: the next
        /// attempt is started before it is recorded, and a better reason to undo the order may come between.
        origin: UndoOrigin,
        /// The result. A kept order counts only for an undo of this origin: another one may have to cancel
        /// the order.
        outcome: UndoOutcome,
    },
    /// Call an operator. Nothing when somebody was called before.
    GetStuck {
        /// The number of the last attempt to undo, which failed: nothing when the undo ended, or a later
        /// attempt began. None when nobody went on with the order: nothing when it is being undone.
        attempt: Option<u32>,
        /// Code of the error.
        error: Reason,
        /// Description of the error.
        cause: String,
    },
    /// Note that the order went on by itself.
    Settle,
}

impl Saga {
    /// The undo that is under way or stuck.
    pub fn undo(&self) -> Option<&Undo> {
        match &self.stage {
            Stage::Undoing { undo, .. } => Some(undo),
            Stage::Stuck { undo } => undo.as_ref(),
            Stage::Placing { .. } | Stage::Undone | Stage::Settled => None,
        }
    }

    /// Name of the stage.
    pub fn stage(&self) -> &'static str {
        match self.stage {
            Stage::Placing { .. } => "placing",
            Stage::Undoing { .. } => "undoing",
            Stage::Undone => "undone",
            Stage::Settled => "settled",
            Stage::Stuck { .. } => "stuck",
        }
    }
}

impl Aggregate for Saga {
    const CATEGORY: &'static str = "ordering.Saga";
    const STATE_SCHEMA: u16 = 1;
    type Command = SagaCommand;
    type Event = SagaEvent;
    // A request that comes late, early or twice changes nothing.
    type Refusal = Infallible;

    fn decide(state: Option<&Self>, command: &SagaCommand) -> Result<Vec<SagaEvent>, Infallible> {
        let stage = state.map(|saga| &saga.stage);
        let (placements, undos) = state.map_or((0, 0), |saga| (saga.placements, saga.undos));
        match command {
            SagaCommand::Resume { attempt, due_at } => Ok(match stage {
                None | Some(Stage::Placing { .. }) if *attempt > placements => {
                    let resumed = SagaPlacementResumed { attempt: *attempt, due_at: *due_at };
                    vec![SagaEvent::SagaPlacementResumed(resumed)]
                }
                None | Some(_) => vec![],
            }),
            SagaCommand::Begin { origin, reason, due_at } => {
                let undo = Undo { origin: *origin, reason: reason.clone() };
                Ok(if begins(stage, *origin) { vec![began(undos + 1, &undo, *due_at)] } else { vec![] })
            }
            SagaCommand::Retry { attempt, due_at } => Ok(match state.and_then(Self::undo) {
                Some(undo) if *attempt > undos => vec![began(*attempt, undo, *due_at)],
                None | Some(_) => vec![],
            }),
            SagaCommand::End { attempt, origin, outcome } => {
                let counts = match stage {
                    Some(Stage::Undoing { undo, .. } | Stage::Stuck { undo: Some(undo) }) => {
                        *outcome == UndoOutcome::Undone || *origin == undo.origin
                    }
                    None
                    | Some(
                        Stage::Placing { .. } | Stage::Undone | Stage::Settled | Stage::Stuck { undo: None },
                    ) => false,
                };
                let ended = SagaUndoEnded { attempt: *attempt, outcome: *outcome };
                Ok(if counts { vec![SagaEvent::SagaUndoEnded(ended)] } else { vec![] })
            }
            SagaCommand::GetStuck { attempt, error, cause } => {
                let counts = match stage {
                    None | Some(Stage::Placing { .. } | Stage::Settled) => attempt.is_none(),
                    Some(Stage::Undoing { .. }) => attempt.is_some_and(|attempt| attempt >= undos),
                    Some(Stage::Undone | Stage::Stuck { .. }) => false,
                };
                let (error, cause) = (error.as_str().to_owned(), cause.clone());
                let stuck = SagaStuck { attempt: attempt.unwrap_or(undos), error, cause };
                Ok(if counts { vec![SagaEvent::SagaStuck(stuck)] } else { vec![] })
            }
            SagaCommand::Settle => Ok(match stage {
                Some(Stage::Placing { .. } | Stage::Stuck { undo: None }) => {
                    vec![SagaEvent::SagaSettled(SagaSettled {})]
                }
                None
                | Some(
                    Stage::Undoing { .. } | Stage::Undone | Stage::Settled | Stage::Stuck { undo: Some(_) },
                ) => vec![],
            }),
        }
    }

    fn evolve(state: Option<Self>, event: &SagaEvent) -> Result<Self, BrokenHistory> {
        let (placements, undos) = state.as_ref().map_or((0, 0), |saga| (saga.placements, saga.undos));
        let known = state.as_ref().and_then(|saga| saga.undo().cloned());
        match (state.as_ref().map(|saga| &saga.stage), event) {
            (None | Some(Stage::Placing { .. }), SagaEvent::SagaPlacementResumed(e)) => {
                Ok(Self { placements: e.attempt, undos, stage: Stage::Placing { due_at: e.due_at } })
            }
            (
                None
                | Some(Stage::Placing { .. } | Stage::Undoing { .. } | Stage::Settled | Stage::Stuck { .. }),
                SagaEvent::SagaUndoBegan(e),
            ) => {
                let undo = Undo { origin: e.origin, reason: Reason::new(&e.reason) };
                let first = match state.as_ref().map(|saga| &saga.stage) {
                    Some(Stage::Undoing { undo, first, .. }) if undo.origin == e.origin => *first,
                    None | Some(_) => e.attempt,
                };
                let stage = Stage::Undoing { undo, first, due_at: e.due_at };
                Ok(Self { placements, undos: e.attempt, stage })
            }
            (Some(Stage::Undoing { .. } | Stage::Stuck { .. }), SagaEvent::SagaUndoEnded(e)) => {
                let stage = match e.outcome {
                    UndoOutcome::Undone => Stage::Undone,
                    UndoOutcome::Kept => Stage::Settled,
                };
                Ok(Self { placements, undos: undos.max(e.attempt), stage })
            }
            (
                None | Some(Stage::Placing { .. } | Stage::Undoing { .. } | Stage::Settled),
                SagaEvent::SagaStuck(e),
            ) => Ok(Self { placements, undos: undos.max(e.attempt), stage: Stage::Stuck { undo: known } }),
            (Some(Stage::Placing { .. } | Stage::Stuck { .. }), SagaEvent::SagaSettled(_)) => {
                Ok(Self { placements, undos, stage: Stage::Settled })
            }
            (_, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Self::stage),
            }),
        }
    }
}

/// Returns true if a request to undo begins an attempt, and false if an undo that is under way or done serves
/// it.
fn begins(stage: Option<&Stage>, origin: UndoOrigin) -> bool {
    let by_placement = |undo: &Undo| undo.origin == UndoOrigin::Placement;
    match stage {
        None | Some(Stage::Placing { .. }) => true,
        Some(Stage::Undone) => false,
        // An approved order is undone only for somebody who asks for that. Such a request also outranks an
        // undo that a placement asked for, because that one would keep the order.
        Some(Stage::Settled) => origin != UndoOrigin::Placement,
        Some(Stage::Undoing { undo, .. }) => origin != UndoOrigin::Placement && by_placement(undo),
        Some(Stage::Stuck { undo }) => match origin {
            UndoOrigin::Operator => true,
            UndoOrigin::Placement => false,
            UndoOrigin::Cancellation | UndoOrigin::Expiry => undo.as_ref().is_none_or(by_placement),
        },
    }
}

fn began(attempt: u32, undo: &Undo, due_at: Timestamp) -> SagaEvent {
    let (origin, reason) = (undo.origin, undo.reason.as_str().to_owned());
    SagaEvent::SagaUndoBegan(SagaUndoBegan { attempt, origin, reason, due_at })
}
