//! Which fault, at which step, and how it has to end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    control::{Faults, Kind, Rule},
    mall::{Brings, Pays, Shopper},
    seen::Seen,
    stack::Stack,
    table::attempts,
};

/// From the checkout to the end of the saga. Retries last seconds here: waits of state machines are a twentieth of what
/// they are on AWS. What a queue gives back comes after a minute all the same.
const OVER: Duration = Duration::from_secs(180);
/// From the end of the saga until all that follows by events has happened.
const SETTLED: Duration = Duration::from_secs(120);
/// Fewer than any step retries.
const A_FEW: u32 = 2;
/// What a cell says that did not end as it should.
pub const FAILED: &str = "FAILED";

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

/// How a saga comes to a step, and what the shopper does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing else goes wrong, and the customer pays.
    Forward,
    /// The payment is a cent short, which the saga finds out when stock is kept and a list is made.
    Undone,
    /// Nobody pays before the fault is over.
    Reminded,
    /// Nobody pays at all.
    Overdue,
}

/// What makes a step refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    CustomerIsDisabled,
    TooFewPieces,
    /// The depot says that the order needs no list, before there is one.
    ListIsNotWanted,
    TooLittleMoney,
    /// The depot cancels the list.
    ListIsCancelled,
    OrderIsCancelled,
    /// The time to pay runs out.
    IsOverdue,
    /// The customer pays when it is all but too late.
    InvoiceIsPaid,
    /// Nobody can make it refuse: the refusal is put in its place.
    Pretended(&'static str),
}

/// A step of a saga.
#[derive(Debug)]
pub struct Row {
    pub step: &'static str,
    way: Way,
    refusal: Refusal,
}

const fn row(step: &'static str, way: Way, refusal: Refusal) -> Row {
    Row { step, way, refusal }
}

/// Every step, in the order of the saga.
pub const ROWS: &[Row] = &[
    // Its own call; what its steps refuse, it answers.
    row(PLACEMENT, Way::Forward, Refusal::CustomerIsDisabled),
    row("AuthorizeCustomer", Way::Forward, Refusal::CustomerIsDisabled),
    row("ReserveInventory", Way::Forward, Refusal::TooFewPieces),
    row("CreateShoppingList", Way::Forward, Refusal::ListIsNotWanted),
    row("ConfirmPayment", Way::Forward, Refusal::TooLittleMoney),
    row("InitiateShopping", Way::Forward, Refusal::ListIsCancelled),
    row("ApproveOrder", Way::Forward, Refusal::OrderIsCancelled),
    // It hands on why the order could not be placed.
    row("AwaitPayment", Way::Forward, Refusal::TooFewPieces),
    row("RemindPayment", Way::Reminded, Refusal::IsOverdue),
    row("CancelInvoice", Way::Overdue, Refusal::InvoiceIsPaid),
    row("CancelOrder", Way::Overdue, Refusal::Pretended("ORDER_NOT_FOUND")),
    row("ReleasePayment", Way::Undone, Refusal::Pretended("PAYMENT_WAS_CAPTURED")),
    row("CancelShoppingList", Way::Undone, Refusal::Pretended("SHOPPING_LIST_IS_OF_ANOTHER_ORDER")),
    row("ReleaseInventory", Way::Undone, Refusal::Pretended("STOCK_IS_NOT_TRACKED")),
    row("RejectOrder", Way::Undone, Refusal::Pretended("ORDER_CANNOT_BE_REJECTED")),
];

/// The step that runs all those that place the order.
const PLACEMENT: &str = "PlaceOrder";
/// What the call of a placement fails with that fails for good.
const NOT_RUN: &str = "Sfn.SfnException";
/// Why an order is rejected whose payment is a cent short.
const TOO_LITTLE: &str = "PAYMENT_DOES_NOT_COVER_TOTAL";
/// Why an order is rejected that could not be placed for technical reasons.
const NOT_PLACED: &str = "PLACEMENT_FAILED";
/// Why an order is cancelled that nobody paid for.
const OVERDUE: &str = "PAYMENT_OVERDUE";
/// What a function fails with that fails for good; no code of ours.
const BROKEN: &str = "Lambda.ServiceException";
/// Attempts of a step that is retried for long.
const ALL_OF_THEM: u32 = 15;

/// A rule that a cell asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    step: &'static str,
    kind: Kind,
    /// For how many of the first calls; for all without a number.
    calls: Option<u32>,
    /// How often it has to strike at least.
    strikes: u32,
}

/// How a cell has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Completed,
    /// With this reason.
    Rejected(&'static str),
    /// With this reason, or none: then the customer took it back.
    Cancelled(&'static str),
    /// The saga is stuck, for everybody to see. An operator finishes it: the order is rejected with this reason.
    ByHandRejected(&'static str),
    /// The same, and the order is cancelled.
    ByHandCancelled(&'static str),
}

impl End {
    fn status(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Rejected(_) | Self::ByHandRejected(_) => "rejected",
            Self::Cancelled(_) | Self::ByHandCancelled(_) => "cancelled",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Completed => "",
            Self::Rejected(reason)
            | Self::Cancelled(reason)
            | Self::ByHandRejected(reason)
            | Self::ByHandCancelled(reason) => reason,
        }
    }

    fn is_by_hand(self) -> bool {
        matches!(self, Self::ByHandRejected(_) | Self::ByHandCancelled(_))
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Rejected(_) => "rejected",
            Self::Cancelled(_) => "cancelled",
            Self::ByHandRejected(_) => "stuck; by hand rejected",
            Self::ByHandCancelled(_) => "stuck; by hand cancelled",
        }
    }
}

/// A fault at a step.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub row: &'static Row,
    pub fault: Fault,
}

/// How a cell ended.
#[derive(Debug, Clone, Copy)]
pub enum Ended {
    AsItShould(End),
    Not,
}

impl Ended {
    pub fn shown(self) -> &'static str {
        match self {
            Self::AsItShould(end) => end.shown(),
            Self::Not => FAILED,
        }
    }
}

/// A cell that was run.
pub struct Done {
    pub order: String,
    pub ended: Ended,
    /// What is not as it should be.
    pub problems: Vec<String>,
    /// What happened to the order, for whoever has to find out why.
    pub story: String,
    end: End,
    shopper: Shopper,
}

impl Cell {
    pub fn name(&self) -> String {
        format!("{}/{}", self.row.step, self.fault.title())
    }

    fn end(&self) -> End {
        let Row { step, way, refusal } = *self.row;
        let taken_back = End::Cancelled("");
        // What comes of it when the step gets through after all.
        let through = match way {
            Way::Forward | Way::Reminded => End::Completed,
            Way::Undone => End::Rejected(TOO_LITTLE),
            Way::Overdue => End::Cancelled(OVERDUE),
        };
        match self.fault {
            Fault::Refused => match refusal {
                Refusal::CustomerIsDisabled => End::Rejected("CUSTOMER_NOT_AUTHORIZED"),
                Refusal::TooFewPieces => End::Rejected("INSUFFICIENT_STOCK"),
                Refusal::ListIsNotWanted => End::Rejected("SHOPPING_LIST_WAS_CANCELLED"),
                Refusal::TooLittleMoney => End::Rejected(TOO_LITTLE),
                Refusal::ListIsCancelled => End::Rejected("SHOPPING_CANNOT_BE_INITIATED"),
                Refusal::OrderIsCancelled => taken_back,
                Refusal::IsOverdue => End::Cancelled(OVERDUE),
                Refusal::InvoiceIsPaid => End::Completed,
                Refusal::Pretended(_) => self.stuck(),
            },
            Fault::TechnicalError if self.is_placed() => End::Rejected(NOT_PLACED),
            Fault::TechnicalError if matches!(step, "AwaitPayment" | "RemindPayment") => through,
            Fault::TechnicalError => self.stuck(),
            Fault::TimedOut if self.is_placed() => End::Rejected(NOT_PLACED),
            // Nobody pays meanwhile: it waits until the deadline.
            Fault::TimedOut if step == "AwaitPayment" => End::Cancelled(OVERDUE),
            // It is approved, whoever heard of it.
            Fault::AnswerLost if matches!(step, PLACEMENT | "ApproveOrder") => End::Completed,
            Fault::AnswerLost if self.is_placed() => End::Rejected(NOT_PLACED),
            Fault::CancelledAfter if matches!(step, "RejectOrder" | "CancelOrder") => through,
            Fault::CancelledBefore | Fault::CancelledAfter => taken_back,
            Fault::TimedOut
            | Fault::AnswerLost
            | Fault::Throttled
            | Fault::Killed
            | Fault::StartedTwice
            | Fault::StepTwice => through,
        }
    }

    /// Whether the step is one of those that place the order.
    fn is_placed(&self) -> bool {
        self.row.way == Way::Forward && self.row.step != "AwaitPayment"
    }

    fn stuck(&self) -> End {
        match self.row.way {
            Way::Forward | Way::Undone => End::ByHandRejected(TOO_LITTLE),
            Way::Reminded | Way::Overdue => End::ByHandCancelled(""),
        }
    }

    fn brings(&self) -> Brings {
        match (self.row.way, self.fault, self.row.refusal) {
            (Way::Undone, _, _) | (_, Fault::Refused, Refusal::TooLittleMoney) => Brings::TOO_LITTLE_MONEY,
            (_, Fault::Refused, Refusal::TooFewPieces) => Brings::TOO_FEW_PIECES,
            _ => Brings::ENOUGH,
        }
    }

    /// What is asked of the cloud. The first one is the fault; the others bring it about, or say when it is over.
    fn asked(&self) -> Vec<Asked> {
        let Some((kind, calls)) = self.rule() else { return vec![] };
        let step = self.row.step;
        let fault = Asked { step, kind, calls, strikes: self.strikes(calls) };
        let beside =
            |step, kind, calls: Option<u32>| Asked { step, kind, calls, strikes: calls.unwrap_or(1) };
        match self.fault {
            // The first calls are carried out in the middle of the compensations, the others after the end of the saga.
            Fault::TimedOut if step == PLACEMENT => vec![
                beside(step, kind, Some(A_FEW)),
                Asked { strikes: fault.strikes - A_FEW, ..fault },
                beside("ReleaseInventory", Kind::Before, None),
            ],
            // It has no process of its own: one of its steps dies, and its answer is lost.
            Fault::Killed if step == PLACEMENT => {
                vec![beside("ApproveOrder", kind, calls), beside(step, Kind::Lose, Some(1))]
            }
            Fault::Refused
            | Fault::TechnicalError
            | Fault::TimedOut
            | Fault::Throttled
            | Fault::Killed
            | Fault::AnswerLost
            | Fault::StartedTwice
            | Fault::StepTwice
            | Fault::CancelledBefore
            | Fault::CancelledAfter => vec![fault],
        }
    }

    /// How often it has to strike, or it was not this fault.
    fn strikes(&self, calls: Option<u32>) -> u32 {
        let every_attempt = attempts(self.row.step);
        match self.fault {
            Fault::TechnicalError => every_attempt,
            // Who pays meanwhile ends the wait, whatever became of the answer.
            Fault::AnswerLost if self.row.step == "AwaitPayment" => 1,
            Fault::TimedOut | Fault::AnswerLost | Fault::Throttled => calls.unwrap_or(every_attempt),
            Fault::Refused
            | Fault::Killed
            | Fault::StartedTwice
            | Fault::StepTwice
            | Fault::CancelledBefore
            | Fault::CancelledAfter => 1,
        }
    }

    /// Which kind of fault, and for how many of the first calls; for all without a number.
    fn rule(&self) -> Option<(Kind, Option<u32>)> {
        // The way forward is given up after some attempts. Waiting and reminding are given up too, but come again.
        let for_good = match self.row.step {
            "AwaitPayment" | "RemindPayment" => Some(ALL_OF_THEM),
            _ => None,
        };
        let for_long =
            if self.is_placed() || self.row.step == "AwaitPayment" { for_good } else { Some(A_FEW) };
        Some(match self.fault {
            Fault::Refused => match self.row.refusal {
                Refusal::CustomerIsDisabled
                | Refusal::ListIsNotWanted
                | Refusal::ListIsCancelled
                | Refusal::OrderIsCancelled
                | Refusal::InvoiceIsPaid => (Kind::Before, None),
                Refusal::TooFewPieces | Refusal::TooLittleMoney | Refusal::IsOverdue => return None,
                Refusal::Pretended(code) => (Kind::Fail(code), None),
            },
            Fault::TechnicalError if self.row.step == PLACEMENT => (Kind::Fail(NOT_RUN), for_good),
            Fault::TechnicalError => (Kind::Fail(BROKEN), for_good),
            Fault::TimedOut => (Kind::Hang, for_long),
            Fault::Throttled => (Kind::Throttle, Some(A_FEW)),
            Fault::Killed => (Kind::Kill, Some(1)),
            Fault::AnswerLost => (Kind::Lose, for_long),
            Fault::StartedTwice | Fault::CancelledBefore => (Kind::Before, None),
            Fault::StepTwice => (Kind::Twice, Some(1)),
            Fault::CancelledAfter => (Kind::After, None),
        })
    }

    /// When the customer pays.
    fn pays<'a>(&self, rule: Option<&'a Rule<'a>>) -> Pays<'a> {
        match (self.row.way, rule) {
            (Way::Overdue, _) | (Way::Reminded, None) => Pays::Never,
            (Way::Forward, _) if self.fault == Fault::TimedOut && self.row.step == "AwaitPayment" => {
                Pays::Never
            }
            // Whoever pays before it is cancelled has bought it.
            (Way::Forward, _) if self.fault == Fault::CancelledAfter && self.row.step == PLACEMENT => {
                Pays::Never
            }
            (Way::Reminded, Some(rule)) => {
                let calls = match self.fault {
                    Fault::TechnicalError => ALL_OF_THEM,
                    Fault::Throttled | Fault::TimedOut | Fault::AnswerLost => A_FEW,
                    Fault::Refused
                    | Fault::Killed
                    | Fault::StartedTwice
                    | Fault::StepTwice
                    | Fault::CancelledBefore
                    | Fault::CancelledAfter => 1,
                };
                Pays::After(rule, calls)
            }
            (Way::Forward | Way::Undone, _) => Pays::AtOnce,
        }
    }

    /// What somebody does while the call is held.
    async fn meanwhile(&self, shopper: &Shopper) -> Result<(), String> {
        let list = format!("/api/depot/shopping/{}", shopper.list());
        let reply = match self.fault {
            Fault::StartedTwice => return shopper.starts_again().await,
            Fault::CancelledBefore | Fault::CancelledAfter => {
                let reply = shopper.cancels().await;
                // Too late: clearly said.
                let too_late = self.end() != End::Cancelled("");
                let wanted = if too_late { (409, "ORDER_CANNOT_BE_CANCELLED") } else { (200, "") };
                let told = (reply.status, reply.body["code"].as_str().unwrap_or_default());
                return if told == wanted { Ok(()) } else { Err(format!("cancelling: {reply:?}")) };
            }
            Fault::Refused => match self.row.refusal {
                Refusal::CustomerIsDisabled => {
                    shopper.put(&format!("/api/customers/{}/disable", shopper.customer), json!({})).await
                }
                Refusal::ListIsNotWanted => shopper.post(&list, json!({ "orderId": shopper.order })).await,
                Refusal::ListIsCancelled => shopper.delete(&list).await,
                Refusal::OrderIsCancelled => shopper.cancels().await,
                Refusal::InvoiceIsPaid => shopper.pays().await,
                Refusal::TooFewPieces
                | Refusal::TooLittleMoney
                | Refusal::IsOverdue
                | Refusal::Pretended(_) => return Ok(()),
            },
            Fault::TechnicalError
            | Fault::TimedOut
            | Fault::Throttled
            | Fault::Killed
            | Fault::AnswerLost
            | Fault::StepTwice => return Ok(()),
        };
        if reply.status == 200 { Ok(()) } else { Err(format!("what was to make it refuse: {reply:?}")) }
    }

    /// Runs it.
    pub async fn run(&self, stack: &Arc<Stack>, faults: &Faults) -> Done {
        let end = self.end();
        let shopper = Shopper::new(stack.clone(), self.brings()).await;
        let order = shopper.order.clone();
        let mut rules = Vec::new();
        for asked in self.asked() {
            let rule = faults.at(&order, asked.step, asked.kind, asked.calls).await;
            rules.push((asked, rule));
        }
        let rule = rules.first().map(|(_, rule)| rule);
        let mut problems = Vec::new();
        shopper.checks_out().await;

        let act = async {
            let held = rules.iter().find(|(asked, _)| matches!(asked.kind, Kind::Before | Kind::After));
            let Some((_, held)) = held else { return Ok(()) };
            if !held.holds().await {
                return Err("the step was not reached".to_owned());
            }
            let acted = match (self.fault, rule) {
                (Fault::TimedOut, Some(rule)) if rule.release_and_wait().await => Ok(()),
                (Fault::TimedOut, _) => Err("a placement that was held is not over".to_owned()),
                _ => self.meanwhile(&shopper).await,
            };
            held.release().await;
            acted
        };
        let (acted, over) = tokio::join!(act, shopper.until_over(self.pays(rule), OVER));
        problems.extend(acted.err());
        match over {
            Err(why) => problems.push(why),
            Ok(saga) if end.is_by_hand() => {
                problems.extend(self.finish_by_hand(stack, &shopper, &saga, rule).await.err());
            }
            Ok(saga) if saga == "SUCCEEDED" => {}
            Ok(saga) => problems.push(format!("the saga's execution ended {saga}")),
        }
        for (Asked { step, kind, strikes, .. }, rule) in &rules {
            let became = rule.show().await;
            if became.struck < *strikes {
                problems.push(format!("{kind:?} was to strike {step} {strikes} times: {became:?}"));
            }
            if matches!(kind, Kind::Kill) && became.struck != 1 {
                problems.push(format!("nothing of {step} was killed at its commit: {became:?}"));
            }
            // What hangs is done now, when nobody waits for it any more.
            if !rule.release_and_wait().await {
                problems.push("a call that was held is not over".to_owned());
            }
        }
        if self.fault == Fault::StartedTwice {
            problems.extend(shopper.starts_again().await.err());
        }
        problems.extend(settled(stack, &shopper, end).await);
        let ended = if problems.is_empty() { Ended::AsItShould(end) } else { Ended::Not };
        let mut done = Done { order, ended, problems, story: String::new(), end, shopper };
        done.tell(stack).await;
        done
    }

    /// The saga is stuck: that can be seen, and what kept it is mended before an operator has it undone.
    async fn finish_by_hand(
        &self,
        stack: &Stack,
        shopper: &Shopper,
        saga: &str,
        rule: Option<&Rule<'_>>,
    ) -> Result<(), String> {
        if saga != "FAILED" {
            return Err(format!("the saga was to be stuck, and its execution ended {saga}"));
        }
        is_shown(stack, shopper, "stuck").await?;
        if let Some(rule) = rule {
            // The counts stay; what it has struck is looked at later.
            rule.stop().await;
        }
        if matches!(self.end(), End::ByHandCancelled(_)) {
            shopper.is_cancelled_by_hand().await?;
        }
        shopper.is_compensated_by_hand().await?;
        // An operator who is not sure does it again: nothing is done twice.
        shopper.is_compensated_by_hand().await?;
        let undone = if matches!(self.end(), End::ByHandCancelled(_)) { "cancelled" } else { "compensated" };
        is_shown(stack, shopper, undone).await
    }
}

/// Waits until the view says so of the saga.
async fn is_shown(stack: &Stack, shopper: &Shopper, wanted: &str) -> Result<(), String> {
    let path = format!("/api/sagas/{}", shopper.order);
    let deadline = Instant::now() + SETTLED;
    loop {
        let status = stack.get(&path).await.body["saga"]["status"].clone();
        if status == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("nobody can see that the saga is {wanted}: it is shown as {status}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the order is at the end it has to come to, and nothing contradicts it; what is wrong if it does not get there.
async fn settled(stack: &Stack, shopper: &Shopper, end: End) -> Vec<String> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let problems = problems(&Seen::of(stack, shopper).await, shopper, end);
        if problems.is_empty() || Instant::now() > deadline {
            return problems;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn problems(seen: &Seen, shopper: &Shopper, end: End) -> Vec<String> {
    let mut problems = seen.contradictions(shopper);
    if seen.status() != end.status() {
        problems.push(format!("the order is {}, and was to be {}", seen.order, end.status()));
    }
    if seen.reason() != end.reason() {
        problems.push(format!("the reason is {:?}, and was to be {:?}", seen.reason(), end.reason()));
    }
    problems
}

impl Done {
    /// Once more, when all cells have ended.
    pub async fn look_again(&mut self, stack: &Stack) {
        if matches!(self.ended, Ended::Not) {
            return;
        }
        let later = problems(&Seen::of(stack, &self.shopper).await, &self.shopper, self.end);
        if !later.is_empty() {
            self.problems.extend(later.iter().map(|problem| format!("later: {problem}")));
            self.ended = Ended::Not;
            self.tell(stack).await;
        }
    }

    async fn tell(&mut self, stack: &Stack) {
        if matches!(self.ended, Ended::AsItShould(_)) {
            return;
        }
        let seen = Seen::of(stack, &self.shopper).await;
        let timeline = stack.get(&format!("/api/orders/{}/timeline", self.order)).await;
        let saga = stack.get(&format!("/api/sagas/{}", self.order)).await;
        let mut lines = vec![format!("  {}", serde_json::to_string(&seen).unwrap_or_default())];
        for entry in timeline.body["timeline"]["entries"].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            lines.push(format!("  {} {} {}", text("at"), text("what"), text("by")));
        }
        let runs = saga.body["saga"]["runs"].as_array().cloned().unwrap_or_default();
        for step in runs.iter().flat_map(|run| run["steps"].as_array().cloned().unwrap_or_default()) {
            let failures = step["failures"].as_array().into_iter().flatten();
            let errors: Vec<&str> = failures.filter_map(|failure| failure["error"].as_str()).collect();
            let text = |field: &str| step[field].as_str().unwrap_or_default();
            lines.push(format!(
                "  {} {} in {} attempts {errors:?}",
                text("name"),
                text("outcome"),
                step["attempts"]
            ));
        }
        self.story = lines.join("\n");
    }
}
