//! The matrix: which fault, at which step, and how it has to end.

use super::{
    case::{Case, End, Meanwhile},
    control::{Asked, Kind},
    mall::Brings,
    table::attempts,
};

/// Fewer than any step retries.
const A_FEW: u32 = 2;

/// Why an order is rejected whose payment is a cent short.
pub const TOO_LITTLE: &str = "PAYMENT_DOES_NOT_COVER_TOTAL";
/// Why an order is rejected that could not be placed for technical reasons.
const NOT_PLACED: &str = "PLACEMENT_FAILED";
/// A function's failure that is not a code of ours.
pub const BROKEN: Kind = Kind::Fail("Lambda.ServiceException");

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Refused,
    TechnicalError,
    TimedOut,
    Throttled,
    Killed,
    AnswerLost,
    StartedTwice,
    StepTwice,
    CancelledBefore,
    CancelledAfter,
}

/// All of them, as the table has them.
pub const FAULTS: [Fault; 10] = [
    Fault::Refused,
    Fault::TechnicalError,
    Fault::TimedOut,
    Fault::Throttled,
    Fault::Killed,
    Fault::AnswerLost,
    Fault::StartedTwice,
    Fault::StepTwice,
    Fault::CancelledBefore,
    Fault::CancelledAfter,
];

impl Fault {
    pub fn title(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TechnicalError => "technical error",
            Self::TimedOut => "time-out",
            Self::Throttled => "throttled",
            Self::Killed => "killed after its commit",
            Self::AnswerLost => "answer lost",
            Self::StartedTwice => "started twice",
            Self::StepTwice => "step twice",
            Self::CancelledBefore => "cancelled just before",
            Self::CancelledAfter => "cancelled just after",
        }
    }
}

/// The cause of a refusal.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// The shopper brings too little for it.
    Brought(Brings),
    /// Somebody does this just before.
    Done(Meanwhile),
    /// Nobody can make the step refuse: the refusal is put in its place.
    Pretended(&'static str),
}

/// A step of the placement, or, for an order whose payment is a cent short, of its undo.
#[derive(Debug)]
pub struct Row {
    pub step: &'static str,
    refusal: Refusal,
    /// The order's reason after the refusal.
    reason: &'static str,
    undoes: bool,
}

const fn placement(step: &'static str, refusal: Refusal, reason: &'static str) -> Row {
    Row { step, refusal, reason, undoes: false }
}

const fn undo(step: &'static str, code: &'static str) -> Row {
    Row { step, refusal: Refusal::Pretended(code), reason: TOO_LITTLE, undoes: true }
}

/// Every step, in the order in which they come.
pub const ROWS: &[Row] = &[
    placement("AuthorizeCustomer", Refusal::Done(Meanwhile::CustomerDisabled), "CUSTOMER_NOT_AUTHORIZED"),
    placement("ReserveInventory", Refusal::Brought(Brings::TOO_FEW_PIECES), "INSUFFICIENT_STOCK"),
    placement("CreateShoppingList", Refusal::Done(Meanwhile::ListRefused), "SHOPPING_LIST_WAS_CANCELLED"),
    placement("ConfirmPayment", Refusal::Brought(Brings::TOO_LITTLE_MONEY), TOO_LITTLE),
    placement("InitiateShopping", Refusal::Done(Meanwhile::ListCancelled), "SHOPPING_CANNOT_BE_INITIATED"),
    placement(APPROVAL, Refusal::Done(Meanwhile::Cancelled), ""),
    undo(BEGINNING, "ORDER_NOT_FOUND"),
    undo(CLOSING, "ORDER_CANNOT_BE_REJECTED"),
    undo("SettleInvoiceAndPayment", "ORDER_IS_NOT_OVER"),
    undo("CancelShoppingList", "SHOPPING_LIST_IS_OF_ANOTHER_ORDER"),
    undo("ReleaseInventory", "STOCK_IS_NOT_TRACKED"),
    undo("EndUndo", "SAGA_IS_OVER"),
];

const APPROVAL: &str = "ApproveOrder";
/// The last step of a placement that failed: without it, the order stays pending.
const BEGINNING: &str = "BeginUndo";
/// Until this step the customer can cancel the order.
const CLOSING: &str = "CloseOrder";

/// Names the case of a fault at a step.
pub fn name(row: &Row, fault: Fault) -> String {
    format!("{}/{}", row.step, fault.title())
}

/// Makes the case of a fault at a step.
fn cell(row: &Row, fault: Fault) -> Case {
    let step = row.step;
    // For a step that gets through after all.
    let (brings, end) = if row.undoes {
        (Brings::TOO_LITTLE_MONEY, End::Rejected(TOO_LITTLE))
    } else {
        (Brings::ENOUGH, End::Completed)
    };
    let case = |faults: &[Asked]| Case::new(name(row, fault), brings, faults, end);
    // A placement is undone if a step fails for good. An undo goes on when the fault is over.
    let for_long = |kind| {
        let end = if row.undoes { end } else { End::Rejected(NOT_PLACED) };
        let faults = if row.undoes {
            Asked::first(step, kind, A_FEW)
        } else {
            Asked::always(step, kind, attempts(step))
        };
        Case { end, ..case(&[faults]) }
    };
    let cancelled = |faults: &[Asked], in_time: bool| {
        let end = if in_time { End::Cancelled("") } else { end };
        Case { end, meanwhile: Meanwhile::Cancelled, ..case(faults) }
    };
    let before = Asked::always(step, Kind::Before, 1);
    match fault {
        Fault::Refused => match row.refusal {
            Refusal::Brought(brings) => Case { brings, end: End::Rejected(row.reason), ..case(&[]) },
            Refusal::Done(Meanwhile::Cancelled) => cancelled(&[before], true),
            Refusal::Done(meanwhile) => Case { meanwhile, end: End::Rejected(row.reason), ..case(&[before]) },
            // Nobody needs to look: the next placement begins the undo.
            Refusal::Pretended(code) if step == BEGINNING => {
                case(&[Asked::always(step, Kind::Fail(code), 1).in_one_execution()])
            }
            Refusal::Pretended(code) => {
                Case { end: End::ByHand(row.reason), ..case(&[Asked::always(step, Kind::Fail(code), 1)]) }
            }
        },
        // The next placement, or the next attempt of the undo, gets through.
        Fault::TechnicalError if row.undoes => {
            case(&[Asked::always(step, BROKEN, attempts(step)).in_one_execution()])
        }
        Fault::TechnicalError => for_long(BROKEN),
        Fault::TimedOut => for_long(Kind::Hang),
        // The order is approved, whoever heard of it: the undo keeps it.
        Fault::AnswerLost if step == APPROVAL => Case { end, ..for_long(Kind::Lose) },
        Fault::AnswerLost => for_long(Kind::Lose),
        Fault::Throttled => case(&[Asked::first(step, Kind::Throttle, A_FEW)]),
        Fault::Killed => case(&[Asked::first(step, Kind::Kill, 1)]),
        Fault::StepTwice => case(&[Asked::first(step, Kind::Twice, 1)]),
        Fault::StartedTwice => Case { meanwhile: Meanwhile::PlacedAgain, ..case(&[before]) },
        Fault::CancelledBefore => cancelled(&[before], !row.undoes || [BEGINNING, CLOSING].contains(&step)),
        // The undo has begun, and is not to close the order before its customer cancels it.
        Fault::CancelledAfter if step == BEGINNING => {
            let closing = Asked::always(CLOSING, Kind::Before, 0);
            cancelled(&[Asked::always(step, Kind::After, 1), closing], true)
        }
        Fault::CancelledAfter => cancelled(&[Asked::always(step, Kind::After, 1)], !row.undoes),
    }
}

/// Lists all cells of the matrix.
pub fn cells() -> Vec<Case> {
    ROWS.iter().flat_map(|row| FAULTS.map(|fault| cell(row, fault))).collect()
}
