//! Deaths between the steps: starts and whole executions that are gone, and undos at once. Only
//! `resume-sagas` finds them.

use super::{
    case::{Case, End},
    cells::{BROKEN, TOO_LITTLE},
    control::{Asked, Kind},
    mall::{Brings, People},
    table::attempts,
};

/// Why an order is rejected whose placements all died.
const TIMED_OUT: &str = "PLACEMENT_TIMED_OUT";
/// Why an order is cancelled that nobody paid for.
const OVERDUE: &str = "PAYMENT_OVERDUE";
/// Placements of an order that stays pending: the first, and those that `resume-sagas` starts.
const PLACEMENTS: u32 = 4;
/// Attempts to undo an order until somebody has to look.
const UNDOS: u32 = 4;

/// Runs of the race: milliseconds decide who wins.
const RACES: usize = 5;

/// Lists all of them.
pub fn deaths() -> Vec<Case> {
    let placed = |name, fault, end| Case::new(name, Brings::ENOUGH, &[fault], end);
    let undone = |name, faults: &[Asked], end| Case::new(name, Brings::TOO_LITTLE_MONEY, faults, end);
    let acted =
        |name, people, faults: &[Asked], end| Case { people, ..Case::new(name, Brings::ENOUGH, faults, end) };
    let gone = |step| Asked::first(step, Kind::Gone, 1);
    let rejected = End::Rejected(TOO_LITTLE);
    let mut deaths = vec![
        placed("a placement never starts", gone("StartPlacement"), End::Completed),
        placed("a placement starts twice", Asked::first("StartPlacement", Kind::Twice, 1), End::Completed),
        placed("a placement dies half way", gone("ConfirmPayment"), End::Completed),
        placed(
            "every placement dies half way",
            Asked::always("ConfirmPayment", Kind::Gone, PLACEMENTS),
            End::Rejected(TIMED_OUT),
        ),
        undone(
            "no placement can begin its undo",
            &[Asked::always("BeginUndo", BROKEN, PLACEMENTS * attempts("BeginUndo"))],
            End::Rejected(TIMED_OUT),
        ),
        undone(
            "an undo is recorded, and cannot be started",
            &[Asked::first("StartUndo", Kind::Fail(""), attempts("BeginUndo") + 2)],
            rejected,
        ),
        undone("an undo is recorded, and never starts", &[gone("StartUndo")], rejected),
        undone("an undo starts twice", &[Asked::first("StartUndo", Kind::Twice, 1)], rejected),
        undone("an undo dies when the order is closed", &[gone("SettleInvoiceAndPayment")], rejected),
        undone("an undo dies before it says so", &[gone("EndUndo")], rejected),
        undone(
            "an undo is refused, and cannot say so",
            &[
                Asked::always("CancelShoppingList", Kind::Fail("REFUSED"), 1).in_one_execution(),
                Asked::always("ReportFailure", BROKEN, attempts("ReportFailure")),
            ],
            rejected,
        ),
        undone(
            "every undo dies half way",
            &[Asked::always("CancelShoppingList", Kind::Gone, UNDOS)],
            End::ByHand(TOO_LITTLE),
        ),
        acted(
            "nobody pays, and the undo dies when the order is closed",
            People::Wait,
            &[gone("SettleInvoiceAndPayment")],
            End::Cancelled(OVERDUE),
        ),
        acted("a customer and an operator undo at once", People::UndoTwice, &[], End::TakenBack),
    ];
    let race = "a customer pays and cancels when the time to pay is over";
    deaths.extend(vec![acted(race, People::PayAndCancelAtTheDeadline, &[], End::Either); RACES]);
    deaths
}
