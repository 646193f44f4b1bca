//! What is remembered of order sagas: one row for each, made of what happened.
//!
//! A row is fed by the contexts' own events, which tell when a step was done, and by Step Functions, which tells how an
//! execution stands. Both come at least once and in any order, so a row is made of parts that only grow: each part has one
//! event that sets it, or takes the greatest of several, and joining what is in it already changes nothing. **Guaranteed**:
//! the same row, whatever order the same events came in and however often; nothing is read before it is written; its status
//! is always the one that its parts lead to, since both are written together. **Not guaranteed**: that a row has what happened a
//! moment ago, and that it ever hears how its execution ended: Step Functions tells the bus "on a best effort basis". Whoever
//! looks compares (see [`crate::saga_view`]).
//!
//! # Storage model
//!
//! | attribute | meaning |
//! | --- | --- |
//! | `id` (S, partition key) | the order |
//! | `status`, `startedAt` (S) | how the saga stands, and since when there is the order: the keys of the index `by-status` |
//! | `OrderCreated`, `CustomerAuthorized`, … (S) | when that event happened, after how many attempts, by whom and why: [`Done`] |
//! | `saga`, `undo` (M) | how the saga's execution stands, and the latest attempt to undo it by hand: [`Heard`] |
//!
//! A row has some 800 bytes when its order is completed, so what is joined costs one write unit; the index holds keys alone, so it is
//! written when a row begins and when its status changes. What a write supposes of the row ([`Plan`]) holds in the usual
//! order of things. Where it does not, the table says what is there, and a second write that supposes exactly that follows.
//!
//! There are two tables of this shape, for odd and for even generations ([`crate::saga_generations`]). A rebuild joins the same
//! [`Change`]s of the events in the event table into the next one. How executions stand is no event of any stream: it is carried
//! over from the live row ([`crate::saga_rebuild`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use contracts::{
    Envelope,
    customers::CustomerEvent,
    depot::ShoppingListEvent,
    ids::{OrderId, shopping_list_of},
    inventory::StockEvent,
    ordering::OrderEvent,
    payments::{InvoiceEvent, PaymentEvent},
};
use event_store::Segment;
use kernel::{Reason, StreamId, Timestamp};
use projection::{ApplyError, Consistency, Put, ViewError, in_segment, row_id, sortable};

use crate::sagas::{Ended, Execution, Failure, Run};

/// Writes of one change before it goes back to its queue: others changed the row each time.
pub(crate) const MAX_WRITES: u32 = 5;
/// Most of what is kept of the words of a failure, so that a row stays small.
const MAX_WORDS: usize = 240;

const ORDER: &str = "ordering.Order";
const CUSTOMER: &str = "customers.Customer";
const STOCK: &str = "inventory.StockItem";
const LIST: &str = "depot.ShoppingList";
const PAYMENT: &str = "payments.Payment";
const INVOICE: &str = "payments.Invoice";

/// The categories of the streams whose events make rows.
pub const CATEGORIES: [&str; 6] = [ORDER, CUSTOMER, STOCK, LIST, PAYMENT, INVOICE];

/// A thing that a row remembers: that the event of this name happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The order was placed.
    OrderCreated,
    /// Its customer may order.
    CustomerAuthorized,
    /// Stock is kept for it.
    InventoryReserved,
    /// Its shopping was planned.
    ShoppingListCreated,
    /// Its total is held.
    PaymentConfirmed,
    /// Its shopping may begin.
    ShoppingListInitiated,
    /// Everything it needs is in place.
    OrderApproved,
    /// Everything was collected.
    OrderReadied,
    /// Its customer owes.
    InvoiceCreated,
    /// Its customer was reminded.
    InvoiceReminded,
    /// Its customer paid.
    InvoicePaid,
    /// It is done.
    OrderCompleted,
    /// Its customer owes nothing any more.
    InvoiceCanceled,
    /// It was taken back, by its customer or because nobody paid.
    OrderCanceled,
    /// Nothing is held any more.
    PaymentReleased,
    /// Its shopping was called off.
    ShoppingListCanceled,
    /// No stock is kept for it any more.
    InventoryReleased,
    /// All was undone.
    OrderRejected,
}

/// What kind of step an event is the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of placing the order: forward, in this order.
    Placement,
    /// Of waiting for the payment.
    Payment,
    /// Of undoing.
    Compensation,
    /// Of no step: something the saga waits for, or that comes of it.
    Milestone,
}

impl Fact {
    /// All, in the order in which they usually happen.
    pub const ALL: [Self; 18] = [
        Self::OrderCreated,
        Self::CustomerAuthorized,
        Self::InventoryReserved,
        Self::ShoppingListCreated,
        Self::PaymentConfirmed,
        Self::ShoppingListInitiated,
        Self::OrderApproved,
        Self::OrderReadied,
        Self::InvoiceCreated,
        Self::InvoiceReminded,
        Self::InvoicePaid,
        Self::OrderCompleted,
        Self::InvoiceCanceled,
        Self::OrderCanceled,
        Self::PaymentReleased,
        Self::ShoppingListCanceled,
        Self::InventoryReleased,
        Self::OrderRejected,
    ];

    /// The event's type; also the name of the attribute.
    pub fn event(self) -> &'static str {
        match self {
            Self::OrderCreated => "OrderCreated",
            Self::CustomerAuthorized => "CustomerAuthorized",
            Self::InventoryReserved => "InventoryReserved",
            Self::ShoppingListCreated => "ShoppingListCreated",
            Self::PaymentConfirmed => "PaymentConfirmed",
            Self::ShoppingListInitiated => "ShoppingListInitiated",
            Self::OrderApproved => "OrderApproved",
            Self::OrderReadied => "OrderReadied",
            Self::InvoiceCreated => "InvoiceCreated",
            Self::InvoiceReminded => "InvoiceReminded",
            Self::InvoicePaid => "InvoicePaid",
            Self::OrderCompleted => "OrderCompleted",
            Self::InvoiceCanceled => "InvoiceCanceled",
            Self::OrderCanceled => "OrderCanceled",
            Self::PaymentReleased => "PaymentReleased",
            Self::ShoppingListCanceled => "ShoppingListCanceled",
            Self::InventoryReleased => "InventoryReleased",
            Self::OrderRejected => "OrderRejected",
        }
    }

    /// The step that ends with it, as the definitions name it; the event itself when it is of no step.
    pub fn step(self) -> (Kind, &'static str) {
        match self {
            Self::CustomerAuthorized => (Kind::Placement, "AuthorizeCustomer"),
            Self::InventoryReserved => (Kind::Placement, "ReserveInventory"),
            Self::ShoppingListCreated => (Kind::Placement, "CreateShoppingList"),
            Self::PaymentConfirmed => (Kind::Placement, "ConfirmPayment"),
            Self::ShoppingListInitiated => (Kind::Placement, "InitiateShopping"),
            Self::OrderApproved => (Kind::Placement, "ApproveOrder"),
            Self::InvoicePaid => (Kind::Payment, "AwaitPayment"),
            Self::InvoiceReminded => (Kind::Payment, "RemindPayment"),
            Self::InvoiceCanceled => (Kind::Payment, "CancelInvoice"),
            Self::OrderCanceled => (Kind::Payment, "CancelOrder"),
            Self::PaymentReleased => (Kind::Compensation, "ReleasePayment"),
            Self::ShoppingListCanceled => (Kind::Compensation, "CancelShoppingList"),
            Self::InventoryReleased => (Kind::Compensation, "ReleaseInventory"),
            Self::OrderRejected => (Kind::Compensation, "RejectOrder"),
            Self::OrderCreated | Self::OrderReadied | Self::InvoiceCreated | Self::OrderCompleted => {
                (Kind::Milestone, self.event())
            }
        }
    }

    /// The category of the streams that tell it.
    pub fn category(self) -> &'static str {
        match self {
            Self::OrderCreated
            | Self::OrderApproved
            | Self::OrderReadied
            | Self::OrderCompleted
            | Self::OrderCanceled
            | Self::OrderRejected => ORDER,
            Self::CustomerAuthorized => CUSTOMER,
            Self::InventoryReserved | Self::InventoryReleased => STOCK,
            Self::ShoppingListCreated | Self::ShoppingListInitiated | Self::ShoppingListCanceled => LIST,
            Self::PaymentConfirmed | Self::PaymentReleased => PAYMENT,
            Self::InvoiceCreated | Self::InvoiceReminded | Self::InvoicePaid | Self::InvoiceCanceled => {
                INVOICE
            }
        }
    }

    /// The one stream that tells it of an order; `None` when its id does not follow from the order's.
    pub fn stream(self, order_id: OrderId) -> Option<StreamId> {
        let id = match self.category() {
            LIST => shopping_list_of(order_id).to_string(),
            ORDER | INVOICE => order_id.to_string(),
            _ => return None,
        };
        // A category and an id of ours make a stream.
        format!("{}/{id}", self.category()).parse().ok()
    }

    /// The fact of this event, if it is one.
    pub fn named(event: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.event() == event)
    }
}

/// When a thing was done. Of two, the later one counts: stock is reserved for one product after the other, and a customer is
/// reminded more than once. Its text sorts as it does, so that a table can compare: the time, and, only where there is
/// something to tell, the attempts, who did it if it was no saga, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// When, in whole microseconds.
    pub at: Timestamp,
    /// Calls that it took, as far as its saga counted: an answer that was lost after the commit is not among them.
    pub attempts: u32,
    /// Who did it, if it was not the saga.
    pub by: Option<String>,
    /// Why: the code that the event gives.
    pub why: Option<String>,
}

impl Done {
    fn of(event: &Envelope, why: Option<&str>) -> Self {
        let actor = event.actor.as_str();
        Self {
            at: micros(event.at),
            attempts: event.attempt.saturating_add(1),
            by: (actor != "saga:order").then(|| actor.split_whitespace().collect::<Vec<_>>().join("_")),
            why: why.map(|why| Reason::new(why).as_str().to_owned()),
        }
    }
}

fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.at)?;
        match (&self.by, &self.why) {
            (None, None) if self.attempts == 1 => Ok(()),
            (None, None) => write!(f, " {}", self.attempts),
            (by, why) => {
                write!(f, " {} {}", self.attempts, by.as_deref().unwrap_or("-"))?;
                why.iter().try_for_each(|why| write!(f, " {why}"))
            }
        }
    }
}

impl FromStr for Done {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(4, ' ');
        let at = parts.next().unwrap_or_default();
        let at = at.parse().map_err(|e| format!("{text:?} begins with no time: {e}"))?;
        let attempts = parts.next().map_or(Ok(1), str::parse);
        Ok(Self {
            at,
            attempts: attempts.map_err(|e| format!("{text:?} counts no attempts: {e}"))?,
            by: parts.next().filter(|by| *by != "-").map(str::to_owned),
            why: parts.next().map(str::to_owned),
        })
    }
}

impl Ord for Done {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for Done {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How an execution stands, as Step Functions said it. Of two, the one with the higher [`Heard::rank`] counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Which attempt to undo by hand it is; 0 for the saga itself.
    pub attempt: u32,
    /// How often somebody made the execution go on after it had ended.
    pub redrives: u32,
    /// How it stands.
    pub ended: Ended,
    /// When it ended; when it was started, if it has not.
    pub at: Timestamp,
    /// What went wrong: of one that ended well, what was undone; of another, why it ended.
    pub failure: Option<Failure>,
}

impl Heard {
    /// What an execution says of its order's saga.
    pub fn of(run: Run, execution: &Execution) -> Self {
        let attempt = match run {
            Run::Saga(_) => 0,
            Run::Undo(_, attempt) => attempt,
        };
        Self {
            attempt,
            redrives: execution.redrives,
            ended: execution.ended,
            at: execution.ended_at.unwrap_or(execution.started_at),
            failure: execution.error.clone().map(shortened),
        }
    }

    /// Sorts as time does: an end comes after its beginning, a redrive after the end before it, a later attempt after an
    /// earlier one; and what an attempt undid stays undone. Two that are equal say the same.
    pub fn rank(&self) -> String {
        let Self { attempt, redrives, ended, .. } = self;
        let undone = u8::from(*attempt > 0 && *ended == Ended::Well);
        let over = u8::from(*ended != Ended::Running);
        format!("{undone}-{attempt:04}-{redrives:04}-{over}-{}", ended.word())
    }

    /// What a rank says: the attempt, the redrives and how the execution stands.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn ranked(rank: &str) -> Result<(u32, u32, Ended), String> {
        let parts: Vec<&str> = rank.split('-').collect();
        let [_, attempt, redrives, _, ended] = parts[..] else { return Err(format!("{rank:?} is no rank")) };
        let number = |text: &str| text.parse().map_err(|e| format!("{rank:?}: {e}"));
        let ended = Ended::named(ended).ok_or_else(|| format!("{rank:?} has no end"))?;
        Ok((number(attempt)?, number(redrives)?, ended))
    }
}

fn shortened(failure: Failure) -> Failure {
    let cut = |text: String| text.chars().take(MAX_WORDS).collect();
    Failure { error: cut(failure.error), cause: cut(failure.cause) }
}

/// How a saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It has not ended.
    Running,
    /// The order is completed, or its payment was awaited to the end.
    Succeeded,
    /// All was undone: the order is rejected, or somebody undid it by hand.
    Compensated,
    /// It is over, and the order is cancelled.
    Cancelled,
    /// It could not undo everything, and nobody has by hand.
    Stuck,
    /// Somebody stopped its execution.
    Aborted,
}

impl Status {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Succeeded, Self::Compensated, Self::Cancelled, Self::Stuck, Self::Aborted];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Compensated => "compensated",
            Self::Cancelled => "cancelled",
            Self::Stuck => "stuck",
            Self::Aborted => "aborted",
        }
    }

    /// The status of this name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// What is known of a saga: all of it, or what one event tells. Two are joined part by part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    /// What happened.
    pub done: BTreeMap<Fact, Done>,
    /// How its execution stands; `None` while nobody has said.
    pub saga: Option<Heard>,
    /// How the latest attempt to undo it by hand stands, or the one that got through.
    pub undo: Option<Heard>,
}

impl Parts {
    /// Takes what `other` knows.
    pub fn join(&mut self, other: Self) {
        for (fact, done) in other.done {
            let known = self.done.entry(fact).or_insert_with(|| done.clone());
            if *known < done {
                *known = done;
            }
        }
        join_heard(&mut self.saga, other.saga);
        join_heard(&mut self.undo, other.undo);
    }

    /// Leaves out what `row` knows already.
    pub fn keep_news(&mut self, row: &Self) {
        self.done.retain(|fact, done| row.done.get(fact).is_none_or(|known| known < done));
        let news = |heard: &Heard, known: &Option<Heard>| {
            known.as_ref().is_none_or(|known| known.rank() < heard.rank())
        };
        self.saga = self.saga.take().filter(|heard| news(heard, &row.saga));
        self.undo = self.undo.take().filter(|heard| news(heard, &row.undo));
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.saga.is_none() && self.undo.is_none()
    }

    fn has(&self, fact: Fact) -> bool {
        self.done.contains_key(&fact)
    }

    /// How the saga stands.
    ///
    /// What happened to the order says more than how its execution stands: an order that its saga rejected was undone, since that
    /// is the last thing done, and one that is completed needs nothing more; unless something of it was undone, which
    /// somebody has to look at.
    pub fn status(&self) -> Status {
        let over = if self.has(Fact::OrderCanceled) { Status::Cancelled } else { Status::Compensated };
        if self.undo.as_ref().is_some_and(|undo| undo.ended == Ended::Well) {
            return over;
        }
        if self.done.get(&Fact::OrderRejected).is_some_and(|rejected| rejected.by.is_none()) {
            return Status::Compensated;
        }
        if self.has(Fact::OrderCompleted) && !COMPENSATED.iter().any(|fact| self.has(*fact)) {
            return Status::Succeeded;
        }
        match self.saga.as_ref().map_or(Ended::Running, |saga| saga.ended) {
            Ended::Running => Status::Running,
            Ended::Stuck => Status::Stuck,
            Ended::Aborted => Status::Aborted,
            Ended::Well if self.has(Fact::OrderCanceled) || self.has(Fact::OrderRejected) => over,
            Ended::Well => Status::Succeeded,
        }
    }

    /// When it was over, if it is.
    pub fn ended_at(&self) -> Option<Timestamp> {
        if self.status() == Status::Running {
            return None;
        }
        let undone = self.undo.as_ref().filter(|undo| undo.ended == Ended::Well);
        let ended = undone.or(self.saga.as_ref().filter(|saga| saga.ended != Ended::Running));
        let last = [Fact::OrderCompleted, Fact::OrderRejected, Fact::OrderCanceled];
        ended.map(|heard| heard.at).or_else(|| last.iter().find_map(|fact| Some(self.done.get(fact)?.at)))
    }

    /// What the order is, as far as the row has heard.
    pub fn order(&self) -> &'static str {
        const STATES: [(Fact, &str); 5] = [
            (Fact::OrderRejected, "rejected"),
            (Fact::OrderCanceled, "cancelled"),
            (Fact::OrderCompleted, "completed"),
            (Fact::OrderReadied, "ready"),
            (Fact::OrderApproved, "approved"),
        ];
        STATES.into_iter().find(|(fact, _)| self.has(*fact)).map_or("pending", |(_, state)| state)
    }

    /// What went wrong, if anything did: of one that is stuck or was aborted, why; of another, what was undone.
    pub fn failure(&self) -> Option<Failure> {
        let of = |heard: &Option<Heard>| heard.as_ref().and_then(|heard| heard.failure.clone());
        let coded = |fact| {
            let why = self.done.get(&fact)?.why.clone()?;
            Some(Failure { error: why, cause: String::new() })
        };
        // A list that was called off tells why before the order does.
        let telling = [Fact::OrderRejected, Fact::OrderCanceled, Fact::ShoppingListCanceled];
        of(&self.saga).or_else(|| telling.into_iter().find_map(coded))
    }

    /// The last thing that was done, and when.
    pub fn last(&self) -> Option<(Fact, &Done)> {
        self.done.iter().max_by_key(|(fact, done)| (done.at, **fact)).map(|(fact, done)| (*fact, done))
    }

    /// When anything of it was heard last.
    pub fn heard_at(&self) -> Option<Timestamp> {
        let told = [&self.saga, &self.undo].into_iter().flatten().map(|heard| heard.at);
        told.chain(self.done.values().map(|done| done.at)).max()
    }
}

fn join_heard(known: &mut Option<Heard>, heard: Option<Heard>) {
    let Some(heard) = heard else { return };
    if known.as_ref().is_none_or(|known| known.rank() < heard.rank()) {
        *known = Some(heard);
    }
}

/// What the compensations do before the last of them.
const COMPENSATED: [Fact; 3] = [Fact::PaymentReleased, Fact::ShoppingListCanceled, Fact::InventoryReleased];

/// What is to be joined into the row of one order.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The order.
    pub order_id: OrderId,
    /// What was learnt.
    pub parts: Parts,
}

impl Change {
    /// What an event tells; `None` when it tells nothing about any order's saga. Pure, and total over the events of the
    /// categories that it reads; an event without its body has to be fetched first, unless it is the order's own.
    ///
    /// # Errors
    /// [`ApplyError`]: the event is unknown to this code, or makes no sense.
    pub fn of(event: &Envelope) -> Result<Option<Self>, ApplyError> {
        let told = match event.stream.category() {
            ORDER => Some(of_order(event)?),
            CUSTOMER => of_customer(&event.event()?),
            STOCK => of_stock(&event.event()?),
            LIST => of_list(&event.event()?),
            PAYMENT => of_payment(&event.event()?),
            INVOICE => of_invoice(&event.event()?),
            // The rules of the bus let through nothing else; a rebuild reads all there is.
            _ => None,
        };
        Ok(told.map(|Told { order_id, fact, why }| {
            let done = Done::of(event, why.as_deref());
            Self { order_id, parts: Parts { done: BTreeMap::from([(fact, done)]), ..Parts::default() } }
        }))
    }

    /// What Step Functions says of an execution.
    pub fn heard(run: Run, execution: &Execution) -> Self {
        let heard = Some(Heard::of(run, execution));
        let (order_id, parts) = match run {
            Run::Saga(order) => (order, Parts { saga: heard, ..Parts::default() }),
            Run::Undo(order, _) => (order, Parts { undo: heard, ..Parts::default() }),
        };
        Self { order_id, parts }
    }

    /// Changes of the same order as one.
    pub fn together(changes: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut orders: BTreeMap<OrderId, Parts> = BTreeMap::new();
        for change in changes {
            orders.entry(change.order_id).or_default().join(change.parts);
        }
        orders.into_iter().map(|(order_id, parts)| Self { order_id, parts }).collect()
    }
}

/// What an event says about an order.
struct Told {
    order_id: OrderId,
    fact: Fact,
    why: Option<String>,
}

fn told(order_id: OrderId, fact: Fact) -> Option<Told> {
    Some(Told { order_id, fact, why: None })
}

fn of_order(event: &Envelope) -> Result<Told, ApplyError> {
    let order_id = row_id(event)?;
    // The order's lines are not needed: what the bus left out for its size need not be fetched.
    if event.data.is_none() && event.event_type == Fact::OrderCreated.event() {
        return Ok(Told { order_id, fact: Fact::OrderCreated, why: None });
    }
    let (fact, why) = match event.event::<OrderEvent>()? {
        OrderEvent::OrderCreated(_) => (Fact::OrderCreated, None),
        OrderEvent::OrderApproved(_) => (Fact::OrderApproved, None),
        OrderEvent::OrderReadied(_) => (Fact::OrderReadied, None),
        OrderEvent::OrderCompleted(_) => (Fact::OrderCompleted, None),
        OrderEvent::OrderRejected(rejected) => (Fact::OrderRejected, Some(rejected.reason)),
        OrderEvent::OrderCanceled(canceled) => (Fact::OrderCanceled, canceled.reason),
    };
    Ok(Told { order_id, fact, why })
}

fn of_customer(event: &CustomerEvent) -> Option<Told> {
    match event {
        // Nobody said for which order, in old events and when it is done by hand.
        CustomerEvent::CustomerAuthorized(authorized) => told(authorized.order_id?, Fact::CustomerAuthorized),
        CustomerEvent::CustomerRegistered(_)
        | CustomerEvent::CustomerSmsChanged(_)
        | CustomerEvent::CustomerEnabled(_)
        | CustomerEvent::CustomerDisabled(_) => None,
    }
}

fn of_stock(event: &StockEvent) -> Option<Told> {
    match event {
        StockEvent::InventoryReserved(reserved) => told(reserved.order_id, Fact::InventoryReserved),
        StockEvent::InventoryReleased(released) => told(released.order_id, Fact::InventoryReleased),
        StockEvent::StockTrackingStarted(_)
        | StockEvent::StockTrackingStopped(_)
        | StockEvent::StockAdded(_)
        | StockEvent::StockReduced(_)
        | StockEvent::LowStock(_)
        | StockEvent::LowStockThresholdChanged(_) => None,
    }
}

fn of_list(event: &ShoppingListEvent) -> Option<Told> {
    match event {
        ShoppingListEvent::ShoppingListCreated(created) => told(created.order_id, Fact::ShoppingListCreated),
        ShoppingListEvent::ShoppingListInitiated(initiated) => {
            told(initiated.order_id, Fact::ShoppingListInitiated)
        }
        ShoppingListEvent::ShoppingListCanceled(canceled) => Some(Told {
            order_id: canceled.order_id,
            fact: Fact::ShoppingListCanceled,
            why: Some(canceled.reason.clone()),
        }),
        ShoppingListEvent::ShoppingListAssigned(_)
        | ShoppingListEvent::ShoppingListStarted(_)
        | ShoppingListEvent::ShoppingListCompleted(_) => None,
    }
}

fn of_payment(event: &PaymentEvent) -> Option<Told> {
    match event {
        PaymentEvent::PaymentConfirmed(confirmed) => told(confirmed.order_id, Fact::PaymentConfirmed),
        PaymentEvent::PaymentReleased(released) => told(released.order_id, Fact::PaymentReleased),
        PaymentEvent::PaymentAuthorized(_)
        | PaymentEvent::PaymentCaptured(_)
        | PaymentEvent::PaymentRefunded(_) => None,
    }
}

fn of_invoice(event: &InvoiceEvent) -> Option<Told> {
    match event {
        InvoiceEvent::InvoiceCreated(created) => told(created.order_id, Fact::InvoiceCreated),
        InvoiceEvent::InvoiceReminded(reminded) => told(reminded.order_id, Fact::InvoiceReminded),
        InvoiceEvent::InvoicePaid(paid) => told(paid.order_id, Fact::InvoicePaid),
        InvoiceEvent::InvoiceCanceled(canceled) => Some(Told {
            order_id: canceled.order_id,
            fact: Fact::InvoiceCanceled,
            why: Some(canceled.reason.clone()),
        }),
        InvoiceEvent::InvoiceAdjusted(_) => None,
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaRow {
    /// The order.
    pub order_id: OrderId,
    /// Where the index has it: always what its parts lead to.
    pub listed: Status,
    /// Since when there is the order; until that was heard, since when something of it was.
    pub started_at: String,
    /// What is known.
    pub parts: Parts,
}

impl SagaRow {
    /// The row of these parts: listed where they lead to, since when they say that there is the order.
    #[must_use]
    pub fn with(&self, parts: Parts) -> Self {
        let (first, known) = started_at(&parts);
        let guessed = !self.parts.has(Fact::OrderCreated);
        // Of an order of whose beginning nothing is known it stays what was known first.
        let started_at = if known || !guessed { first } else { self.started_at.clone() };
        Self { order_id: self.order_id, listed: parts.status(), started_at, parts }
    }

    /// What is wrong with it, whatever happened: it is not listed where its parts lead to.
    pub fn misplaced(&self) -> Option<String> {
        let right = self.with(self.parts.clone());
        if self.listed != right.listed {
            return Some(format!("is listed as {}, and is {}", self.listed.word(), right.listed.word()));
        }
        let since = &self.started_at;
        (*since != right.started_at).then(|| format!("is listed since {since}, and is {}", right.started_at))
    }
}

// ---- writing

/// What a write supposes of a row, and what it does where that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// All of these hold, or nothing is written. That each part is news is always supposed.
    pub premises: Vec<Premise>,
    /// What is joined.
    pub parts: Parts,
    /// The status to be set; `None` leaves it as it is, and a row that begins is running.
    pub status: Option<Status>,
}

/// One thing that a [`Plan`] supposes.
#[derive(Debug, Clone, PartialEq)]
pub enum Premise {
    /// This has not happened.
    NotDone(Fact),
    /// This happened, and exactly so.
    Done(Fact, Done),
    /// The execution stands like this; `None`: nobody has said.
    Saga(Option<String>),
    /// The same of what undoes it by hand.
    Undo(Option<String>),
    /// There is no row yet, or it is listed under one of these.
    Listed(Vec<Status>),
}

impl Premise {
    /// Whether it holds of a row, or of none.
    pub fn holds(&self, row: Option<&SagaRow>) -> bool {
        let done = |fact| row.and_then(|row| row.parts.done.get(fact));
        let rank = |heard: Option<&Heard>| heard.map(Heard::rank);
        match self {
            Self::NotDone(fact) => done(fact).is_none(),
            Self::Done(fact, so) => done(fact) == Some(so),
            Self::Saga(so) => rank(row.and_then(|row| row.parts.saga.as_ref())) == *so,
            Self::Undo(so) => rank(row.and_then(|row| row.parts.undo.as_ref())) == *so,
            Self::Listed(listed) => row.is_none_or(|row| listed.contains(&row.listed)),
        }
    }
}

/// What a status depends on besides the executions.
const CAUSES: [Fact; 6] = [
    Fact::OrderCompleted,
    Fact::OrderCanceled,
    Fact::PaymentReleased,
    Fact::ShoppingListCanceled,
    Fact::InventoryReleased,
    Fact::OrderRejected,
];

impl Plan {
    /// A write for a row that nobody has looked at. What is supposed holds in the usual order of things.
    pub fn blind(parts: Parts) -> Self {
        let told: BTreeSet<Fact> = parts.done.keys().copied().filter(|fact| CAUSES.contains(fact)).collect();
        let standing = parts.saga.as_ref().is_some_and(|saga| saga.rank() != RUNNING)
            || parts.undo.as_ref().is_some_and(|undo| undo.ended == Ended::Well);
        if !standing && told.is_empty() {
            return Self { premises: vec![], parts, status: None };
        }
        // That something was undone counts where the order is completed all the same, and nowhere else.
        if !standing && told.iter().all(|fact| COMPENSATED.contains(fact)) {
            return Self { premises: vec![Premise::NotDone(Fact::OrderCompleted)], parts, status: None };
        }
        let status = parts.status();
        // Stock is released for one product after the other; an order is rejected or cancelled once.
        let again = |fact: &Fact| COMPENSATED.contains(fact) && told.contains(fact);
        let absent = CAUSES.into_iter().filter(|fact| *fact != Fact::OrderCompleted && !again(fact));
        let mut premises: Vec<Premise> = absent.map(Premise::NotDone).collect();
        if parts.undo.is_none() {
            premises.push(Premise::Undo(None));
        }
        let mut listed = vec![Status::Running];
        listed.extend((status != Status::Running).then_some(status));
        premises.push(Premise::Listed(listed));
        Self { premises, parts, status: Some(status) }
    }

    /// A write for a row as it was seen.
    pub fn seen(row: &SagaRow, parts: Parts) -> Self {
        let rank = |heard: &Option<Heard>| heard.as_ref().map(Heard::rank);
        let mut premises = vec![Premise::Saga(rank(&row.parts.saga)), Premise::Undo(rank(&row.parts.undo))];
        premises.extend(CAUSES.into_iter().map(|fact| match row.parts.done.get(&fact) {
            Some(done) => Premise::Done(fact, done.clone()),
            None => Premise::NotDone(fact),
        }));
        let mut after = row.parts.clone();
        after.join(parts.clone());
        Self { premises, parts, status: Some(after.status()) }
    }

    /// What the row's `startedAt` becomes: the order's own time, or, for a row that begins without it (`false`), the first
    /// time that is known.
    pub fn started_at(&self) -> (String, bool) {
        started_at(&self.parts)
    }
}

/// See [`Plan::started_at`].
fn started_at(parts: &Parts) -> (String, bool) {
    match parts.done.get(&Fact::OrderCreated) {
        Some(created) => (sortable(created.at), true),
        None => {
            let told = [&parts.saga, &parts.undo].into_iter().flatten().map(|heard| heard.at);
            let first = told.chain(parts.done.values().map(|done| done.at)).min();
            (sortable(first.unwrap_or_default()), false)
        }
    }
}

/// The rank of a saga that was started and nothing more: whether that was heard or not leads to the same.
const RUNNING: &str = "0-0000-0000-0-running";

/// What became of a [`Plan`].
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It is done.
    Yes,
    /// Something it supposes does not hold: what is there instead. Nothing was written.
    No(Option<Box<SagaRow>>),
}

/// A row's place in the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its `startedAt`.
    pub started_at: String,
    /// The order.
    pub order_id: OrderId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.started_at, self.order_id)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (started_at, order_id) = text.split_once('_').ok_or(())?;
        let time: Timestamp = started_at.parse().map_err(|_| ())?;
        Ok(Self { started_at: sortable(time), order_id: order_id.parse().map_err(|_| ())? })
    }
}

/// Where the rows are kept. [`MemoryRows`] and [`crate::saga_table::SagaTable`] implement it; one set of tests holds both to
/// the same behaviour.
#[async_trait]
pub trait SagaRows: Send + Sync {
    /// Carries out a plan on the row of an order, whole or not at all.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] it may have been carried out.
    async fn write(&self, order_id: OrderId, plan: &Plan) -> Result<Written, ViewError>;

    /// The rows of these orders, at most [`MAX_ROWS`], in any order. Those that there are not are left out.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn rows(&self, order_ids: &[OrderId], consistency: Consistency) -> Result<Vec<SagaRow>, ViewError>;

    /// Where the rows of one status are, newest first, after a place. Eventually consistent.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn places(
        &self,
        status: Status,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, ViewError>;
}

/// Most rows that are read at once.
pub const MAX_ROWS: usize = 100;

/// All rows of a generation, and rows in ways in which events never change them: what is needed to empty a table, and to put right what
/// is in no way what events made. Only a rebuild is given one.
#[async_trait]
pub trait AllSagaRows: SagaRows {
    /// One page of the ids in one segment of the table, read consistently. All pages of all segments hold every row that was there
    /// when the first was read.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn ids(&self, segment: Segment, after: Option<&str>, limit: u32) -> Result<Ids, ViewError>;

    /// Removes a row, whatever is in it.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] it may have been removed.
    async fn remove(&self, id: &str) -> Result<(), ViewError>;

    /// Makes another row of one, or removes it (`None`), if it still is exactly as it was seen. What newer code remembers
    /// besides is left alone.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] it may have been done.
    async fn mend(&self, seen: &SagaRow, mended: Option<&SagaRow>) -> Result<Put, ViewError>;
}

/// What [`AllSagaRows::ids`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The ids, whatever they are.
    pub ids: Vec<String>,
    /// Where to go on; `None` at the segment's end.
    pub after: Option<String>,
}

/// What [`join`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// There was news in it: it is in the row now.
    News,
    /// All of it was in the row.
    Known,
}

/// Joins a change into its row: one write in the usual order of things, two otherwise, and more only where others change the row at
/// the same time. What is in the row already is not written.
///
/// # Errors
/// [`ViewError`]; when others changed the row each time, that it is unavailable.
pub async fn join(rows: &dyn SagaRows, change: Change) -> Result<Joined, ViewError> {
    let Change { order_id, mut parts } = change;
    if parts.is_empty() {
        return Ok(Joined::Known);
    }
    let mut plan = Plan::blind(parts.clone());
    for _ in 0..MAX_WRITES {
        let row = match rows.write(order_id, &plan).await? {
            Written::Yes => return Ok(Joined::News),
            Written::No(row) => row,
        };
        plan = match row {
            Some(row) => {
                parts.keep_news(&row.parts);
                if parts.is_empty() {
                    return Ok(Joined::Known);
                }
                Plan::seen(&row, parts.clone())
            }
            None => Plan::blind(parts.clone()),
        };
    }
    Err(contended(order_id))
}

/// Others changed a row, each time.
pub(crate) fn contended(order_id: OrderId) -> ViewError {
    let why = format!("others changed the row of order {order_id}, {MAX_WRITES} times over");
    ViewError::Unavailable { view: VIEW, operation: "UpdateItem", why }
}

/// The view's name, in the registry as in logs and errors.
pub const VIEW: &str = "sagas";

/// Rows in memory: same semantics, no AWS. For tests.
#[derive(Debug, Default)]
pub struct MemoryRows(Mutex<BTreeMap<OrderId, SagaRow>>);

impl MemoryRows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<OrderId, SagaRow>> {
        // A poisoned lock means that a test panicked elsewhere; the rows themselves are whole.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl SagaRows for MemoryRows {
    async fn write(&self, order_id: OrderId, plan: &Plan) -> Result<Written, ViewError> {
        let mut rows = self.all();
        let row = rows.get(&order_id);
        let mut news = plan.parts.clone();
        if let Some(row) = row {
            news.keep_news(&row.parts);
        }
        if news != plan.parts || !plan.premises.iter().all(|premise| premise.holds(row)) {
            return Ok(Written::No(row.cloned().map(Box::new)));
        }
        let (started_at, known) = plan.started_at();
        let row = rows.entry(order_id).or_insert_with(|| SagaRow {
            order_id,
            listed: Status::Running,
            started_at: started_at.clone(),
            parts: Parts::default(),
        });
        row.parts.join(news);
        if known {
            row.started_at = started_at;
        }
        row.listed = plan.status.unwrap_or(row.listed);
        Ok(Written::Yes)
    }

    async fn rows(&self, order_ids: &[OrderId], _: Consistency) -> Result<Vec<SagaRow>, ViewError> {
        let rows = self.all();
        Ok(order_ids.iter().filter_map(|id| rows.get(id).cloned()).collect())
    }

    async fn places(
        &self,
        status: Status,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, ViewError> {
        let rows = self.all();
        let listed = rows.values().filter(|row| row.listed == status);
        let place = |row: &SagaRow| Place { started_at: row.started_at.clone(), order_id: row.order_id };
        let mut places: Vec<Place> =
            listed.map(place).filter(|place| after.is_none_or(|after| place < after)).collect();
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.truncate(limit);
        Ok(places)
    }
}

#[async_trait]
impl AllSagaRows for MemoryRows {
    async fn ids(&self, segment: Segment, after: Option<&str>, limit: u32) -> Result<Ids, ViewError> {
        let rows = self.all();
        let texts = rows.keys().map(OrderId::to_string).filter(|id| in_segment(id, segment));
        let mut left = texts.filter(|id| after.is_none_or(|after| id.as_str() > after));
        let ids: Vec<String> = left.by_ref().take(limit as usize).collect();
        let after = ids.last().filter(|_| left.next().is_some()).cloned();
        Ok(Ids { ids, after })
    }

    async fn remove(&self, id: &str) -> Result<(), ViewError> {
        self.all().retain(|known, _| known.to_string() != id);
        Ok(())
    }

    async fn mend(&self, seen: &SagaRow, mended: Option<&SagaRow>) -> Result<Put, ViewError> {
        let mut rows = self.all();
        if rows.get(&seen.order_id) != Some(seen) {
            return Ok(Put::Conflict);
        }
        match mended {
            Some(mended) => rows.insert(seen.order_id, mended.clone()),
            None => rows.remove(&seen.order_id),
        };
        Ok(Put::Written)
    }
}
