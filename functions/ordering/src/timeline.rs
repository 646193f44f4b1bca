//! The story of an order for its customer, told from the public events of every stream that belongs to it.
//!
//! The streams' ids all follow from the order, so they are read when somebody asks: there is no table, nothing to keep
//! up to date, and the answer is as new as the streams. It costs four queries: one for the order, then its shopping list,
//! its invoice and its payment at the same time. Each of them has a handful of events; one of more than ten commits costs
//! a query more.
//!
//! Left out, on purpose:
//!
//! * The customer's own stream and those of the stock. They grow with every order ever placed, an order of a hundred
//!   products would read a hundred of them, and where in them an order stands cannot be known. What they said shows
//!   all the same: an order whose shopping was planned had its stock reserved, and one that was rejected says why. The
//!   times of these steps stand in those streams only.
//! * What the payment was used for otherwise, and who put it up, when it was not this customer.
//!
//! Entries are in the order of their times. Functions have a clock each, so two entries of different streams that are
//! milliseconds apart may stand the wrong way round; within a stream they never do.

use std::sync::Arc;

use contracts::{
    Envelope,
    depot::ShoppingListEvent,
    ids::{CustomerId, OrderId, shopping_list_of},
    ordering::OrderEvent,
    payments::{InvoiceEvent, PaymentEvent},
};
use event_store::EventStore;
use kernel::{Aggregate, StreamId, Timestamp, Version};
use lambda::{Answer, Call, Fault};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Ordering, docs::ShownTimeline, order::Order};

const LISTS: &str = "depot.ShoppingList";
const INVOICES: &str = "payments.Invoice";
const PAYMENTS: &str = "payments.Payment";

/// The events of all streams of one order, each stream in its own order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Of the order.
    pub order: Vec<Envelope>,
    /// Of its shopping list.
    pub list: Vec<Envelope>,
    /// Of its invoice.
    pub invoice: Vec<Envelope>,
    /// Of the payment it names, whatever that was used for.
    pub payment: Vec<Envelope>,
}

impl History {
    /// Reads all there is.
    ///
    /// # Errors
    /// 404 when there is no such order; 503 when the event table fails.
    pub async fn read(store: &EventStore, id: OrderId) -> Result<(Order, Self), Fault> {
        let stream = StreamId::of::<Order, _>(id);
        let events = store.events_after(&stream, Version::NONE).await?;
        let order = folded(&events)?.ok_or_else(|| Fault::not_found("order", id))?;
        let list_id = order.shopping_id().unwrap_or_else(|| shopping_list_of(id));
        let invoice_id = order.invoice_id().unwrap_or_else(|| id.as_kind());
        let (list, invoice, payment) = futures::try_join!(
            read(store, format!("{LISTS}/{list_id}")),
            read(store, format!("{INVOICES}/{invoice_id}")),
            read(store, format!("{PAYMENTS}/{}", order.placed().payment_id)),
        )?;
        Ok((order, Self { order: events, list, invoice, payment }))
    }
}

impl History {
    /// All events, stream by stream.
    pub fn all(&self) -> impl Iterator<Item = &Envelope> {
        [&self.order, &self.list, &self.invoice, &self.payment].into_iter().flatten()
    }
}

async fn read(store: &EventStore, stream: String) -> Result<Vec<Envelope>, Fault> {
    let stream: StreamId = stream.parse().map_err(Fault::internal)?;
    Ok(store.events_after(&stream, Version::NONE).await?)
}

/// The order that these events make.
///
/// # Errors
/// When they make none.
pub(crate) fn folded(events: &[Envelope]) -> Result<Option<Order>, Fault> {
    let mut order = None;
    for event in events {
        let event = event.event::<OrderEvent>().map_err(Fault::internal)?;
        order = Some(Order::evolve(order, &event).map_err(Fault::internal)?);
    }
    Ok(order)
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Which kind of thing: the event's type.
    pub what: String,
    /// In a sentence.
    pub text: String,
    /// Where it happened: the context.
    pub context: String,
    /// Who did it.
    pub by: String,
}

/// What the order waits for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// The placement, which finds out if everything it needs is to be had.
    Checks,
    /// A bot that takes the shopping list.
    Bot,
    /// The bot that has it.
    Collection,
    /// What was collected is handed over, or the invoice made: a moment.
    Handover,
    /// The customer's money.
    Payment,
    /// It is paid, and about to be completed: a moment.
    Completion,
    /// What is held or was taken of the payment is on its way back.
    Refund,
    /// Somebody of the mall: it will not go on by itself.
    Staff,
    /// Nothing more.
    Nothing,
}

impl Awaits {
    /// A stable code; none for nothing.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Checks => Some("checks"),
            Self::Bot => Some("bot"),
            Self::Collection => Some("collection"),
            Self::Handover => Some("handover"),
            Self::Payment => Some("payment"),
            Self::Completion => Some("completion"),
            Self::Refund => Some("refund"),
            Self::Staff => Some("staff"),
            Self::Nothing => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Checks => "it is being checked whether everything it needs is to be had",
            Self::Bot => "it waits for a bot",
            Self::Collection => "a bot is collecting it",
            Self::Handover => "everything is collected, and the invoice is being made",
            Self::Payment => "it waits for payment",
            Self::Completion => "it is paid, and about to be completed",
            Self::Refund => "the payment is on its way back",
            Self::Staff => "it waits for somebody of the mall to look at it",
            Self::Nothing => "nothing more is to happen",
        }
    }
}

/// How far the shopping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shopping {
    Unknown,
    Waiting,
    Taken,
    Done,
    CalledOff,
}

/// What is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bill {
    None,
    Owed,
    Paid,
    CalledOff,
}

/// What the payment is to this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Funds {
    Free,
    Held,
    Taken,
    GivenBack,
}

/// The story of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// What happened, oldest first.
    pub entries: Vec<Entry>,
    /// What it waits for.
    pub awaits: Awaits,
    /// Where it stands, in a sentence.
    pub summary: String,
}

impl Timeline {
    /// Tells what happened to `order`.
    ///
    /// # Errors
    /// When an event cannot be understood: this code is older than the events, or they are damaged.
    pub fn of(id: OrderId, order: &Order, history: &History) -> Result<Self, Fault> {
        let mut entries = Vec::new();
        for event in &history.order {
            let happened = event.event::<OrderEvent>().map_err(Fault::internal)?;
            entries.push(entry(event, order_text(&happened)));
        }
        let mut shopping = Shopping::Unknown;
        for event in &history.list {
            let happened = event.event::<ShoppingListEvent>().map_err(Fault::internal)?;
            // The order names its list; a list that is another order's tells nothing about this one.
            if list_order(&happened) != id {
                continue;
            }
            entries.push(entry(event, list_text(&happened, shopping)));
            shopping =
                match happened {
                    ShoppingListEvent::ShoppingListCreated(_)
                    | ShoppingListEvent::ShoppingListInitiated(_) => Shopping::Waiting,
                    ShoppingListEvent::ShoppingListAssigned(_)
                    | ShoppingListEvent::ShoppingListStarted(_) => Shopping::Taken,
                    ShoppingListEvent::ShoppingListCompleted(_) => Shopping::Done,
                    ShoppingListEvent::ShoppingListCanceled(_) => Shopping::CalledOff,
                };
        }
        let mut funds = Funds::Free;
        for event in &history.payment {
            let happened = event.event::<PaymentEvent>().map_err(Fault::internal)?;
            if !concerns(&happened, id, order.placed().customer_id) {
                continue;
            }
            entries.push(entry(event, payment_text(&happened)));
            funds = match happened {
                PaymentEvent::PaymentAuthorized(_) => Funds::Free,
                PaymentEvent::PaymentConfirmed(_) => Funds::Held,
                PaymentEvent::PaymentCaptured(_) => Funds::Taken,
                PaymentEvent::PaymentReleased(_) | PaymentEvent::PaymentRefunded(_) => Funds::GivenBack,
            };
        }
        let mut bill = Bill::None;
        for event in &history.invoice {
            let happened = event.event::<InvoiceEvent>().map_err(Fault::internal)?;
            if invoice_order(&happened) != id {
                continue;
            }
            entries.push(entry(event, invoice_text(&happened, bill)));
            bill = match happened {
                InvoiceEvent::InvoiceCreated(_)
                | InvoiceEvent::InvoiceAdjusted(_)
                | InvoiceEvent::InvoiceReminded(_) => Bill::Owed,
                InvoiceEvent::InvoicePaid(_) => Bill::Paid,
                InvoiceEvent::InvoiceCanceled(_) => Bill::CalledOff,
            };
        }
        // Stable: what has the same time stays as it was read, each stream in its own order.
        entries.sort_by_key(|entry| entry.at);
        let awaits = awaited(order, shopping, bill, funds);
        let reason = order.reason().map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
        let summary = format!("The order is {}{reason}: {}.", order.status(), awaits.text());
        Ok(Self { entries, awaits, summary })
    }
}

fn awaited(order: &Order, shopping: Shopping, bill: Bill, funds: Funds) -> Awaits {
    match order {
        Order::Pending(_) => match (shopping, funds) {
            // Cancelled or released by hand: an undo closes the order before it does either.
            (Shopping::CalledOff, _) | (_, Funds::GivenBack) => Awaits::Staff,
            (
                Shopping::Unknown | Shopping::Waiting | Shopping::Taken | Shopping::Done,
                Funds::Free | Funds::Held | Funds::Taken,
            ) => Awaits::Checks,
        },
        Order::Approved { .. } => match shopping {
            Shopping::Waiting => Awaits::Bot,
            Shopping::Taken => Awaits::Collection,
            Shopping::Done => Awaits::Handover,
            // Approved by hand, without shopping; or the shopping was called off and the order was not.
            Shopping::Unknown | Shopping::CalledOff => Awaits::Staff,
        },
        Order::Ready { .. } => match bill {
            Bill::None => Awaits::Handover,
            Bill::Owed => Awaits::Payment,
            Bill::Paid => Awaits::Completion,
            Bill::CalledOff => Awaits::Staff,
        },
        Order::Completed { .. } => match funds {
            // It is taken at the same moment as the order is completed; what stays held could not be taken.
            Funds::Held => Awaits::Staff,
            Funds::Free | Funds::Taken | Funds::GivenBack => Awaits::Nothing,
        },
        Order::Rejected { .. } | Order::Canceled { .. } => match funds {
            Funds::Held | Funds::Taken => Awaits::Refund,
            Funds::Free | Funds::GivenBack => Awaits::Nothing,
        },
    }
}

fn entry(event: &Envelope, text: String) -> Entry {
    Entry {
        at: event.at,
        what: event.event_type.clone(),
        text,
        context: event.context().to_owned(),
        by: event.actor.as_str().to_owned(),
    }
}

/// A payment is not this order's alone: it may have been put up by somebody else, and used for another order.
fn concerns(event: &PaymentEvent, id: OrderId, customer_id: CustomerId) -> bool {
    match event {
        PaymentEvent::PaymentAuthorized(authorized) => authorized.customer_id == customer_id,
        PaymentEvent::PaymentConfirmed(confirmed) => confirmed.order_id == id,
        PaymentEvent::PaymentReleased(released) => released.order_id == id,
        PaymentEvent::PaymentCaptured(captured) => captured.order_id == id,
        PaymentEvent::PaymentRefunded(refunded) => refunded.order_id == id,
    }
}

fn list_order(event: &ShoppingListEvent) -> OrderId {
    match event {
        ShoppingListEvent::ShoppingListCreated(created) => created.order_id,
        ShoppingListEvent::ShoppingListInitiated(initiated) => initiated.order_id,
        ShoppingListEvent::ShoppingListAssigned(assigned) => assigned.order_id,
        ShoppingListEvent::ShoppingListStarted(started) => started.order_id,
        ShoppingListEvent::ShoppingListCompleted(completed) => completed.order_id,
        ShoppingListEvent::ShoppingListCanceled(canceled) => canceled.order_id,
    }
}

fn invoice_order(event: &InvoiceEvent) -> OrderId {
    match event {
        InvoiceEvent::InvoiceCreated(created) => created.order_id,
        InvoiceEvent::InvoiceAdjusted(adjusted) => adjusted.order_id,
        InvoiceEvent::InvoiceReminded(reminded) => reminded.order_id,
        InvoiceEvent::InvoicePaid(paid) => paid.order_id,
        InvoiceEvent::InvoiceCanceled(canceled) => canceled.order_id,
    }
}

fn order_text(event: &OrderEvent) -> String {
    match event {
        OrderEvent::OrderCreated(created) => {
            let pieces: u64 = created.items.iter().map(|item| u64::from(item.quantity)).sum();
            format!("The order was placed: {} for {}.", counted(pieces, "piece"), created.total)
        }
        OrderEvent::OrderApproved(_) => "The order was approved: everything it needs is in place.".to_owned(),
        OrderEvent::OrderRejected(rejected) => format!("The order was rejected ({}).", rejected.reason),
        OrderEvent::OrderCanceled(canceled) => match &canceled.reason {
            Some(reason) => format!("The order was cancelled ({reason})."),
            None => "The order was cancelled.".to_owned(),
        },
        OrderEvent::OrderReadied(readied) => {
            format!("The order is ready: {} is to be paid.", readied.total)
        }
        OrderEvent::OrderCompleted(_) => "The order was completed.".to_owned(),
    }
}

fn list_text(event: &ShoppingListEvent, before: Shopping) -> String {
    match event {
        ShoppingListEvent::ShoppingListCreated(created) => {
            let stores = counted(created.stops.len() as u64, "store");
            format!("The shopping was planned: a bot will go to {stores}.")
        }
        ShoppingListEvent::ShoppingListInitiated(_) => "The shopping list waits for a bot.".to_owned(),
        ShoppingListEvent::ShoppingListAssigned(_) => "A bot took the shopping list.".to_owned(),
        ShoppingListEvent::ShoppingListStarted(_) => "The bot is on its way through the stores.".to_owned(),
        ShoppingListEvent::ShoppingListCompleted(_) => "The bot collected everything.".to_owned(),
        ShoppingListEvent::ShoppingListCanceled(canceled) => match before {
            Shopping::Unknown => format!("There will be no shopping ({}).", canceled.reason),
            Shopping::Waiting | Shopping::Taken | Shopping::Done | Shopping::CalledOff => {
                format!("The shopping was called off ({}).", canceled.reason)
            }
        },
    }
}

fn payment_text(event: &PaymentEvent) -> String {
    match event {
        PaymentEvent::PaymentAuthorized(authorized) => {
            format!("Up to {} was put up to pay with.", authorized.amount)
        }
        PaymentEvent::PaymentConfirmed(confirmed) => format!("{} is held for the order.", confirmed.amount),
        PaymentEvent::PaymentReleased(_) => "The payment was released: nothing is taken.".to_owned(),
        PaymentEvent::PaymentCaptured(captured) => format!("{} was taken.", captured.amount),
        PaymentEvent::PaymentRefunded(refunded) => {
            format!("{} was given back ({}).", refunded.amount, refunded.reason)
        }
    }
}

fn invoice_text(event: &InvoiceEvent, before: Bill) -> String {
    match event {
        InvoiceEvent::InvoiceCreated(created) => format!("The invoice says {}.", created.amount),
        InvoiceEvent::InvoiceAdjusted(adjusted) => {
            format!("The invoice says {}, not {} any more.", adjusted.amount, adjusted.old_amount)
        }
        InvoiceEvent::InvoiceReminded(reminded) => {
            let until = reminded.due_at.strftime("%Y-%m-%d %H:%M UTC");
            format!("The customer was reminded: {} is to be paid until {until}.", reminded.amount)
        }
        InvoiceEvent::InvoicePaid(paid) => format!("The invoice of {} was paid.", paid.amount),
        InvoiceEvent::InvoiceCanceled(canceled) => match before {
            Bill::None => format!("There will be no invoice ({}).", canceled.reason),
            Bill::Owed | Bill::Paid | Bill::CalledOff => {
                format!("The invoice was cancelled ({}).", canceled.reason)
            }
        },
    }
}

fn counted(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// What is shown of an order's story.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineView {
    /// The order.
    id: OrderId,
    /// `pending`, `approved`, `ready`, `completed`, `rejected` or `cancelled`.
    status: String,
    /// Where it stands, in a sentence for people.
    summary: String,
    /// What it waits for: `checks`, `bot`, `collection`, `handover`, `payment`, `completion`, `refund`, or `staff` when it
    /// will not go on by itself; null when nothing more is to happen.
    #[schema(required)]
    awaits: Option<String>,
    /// What happened, oldest first.
    entries: Vec<EntryView>,
}

/// One thing that happened to an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// Which kind of thing: the type of the event, which stays what it is.
    what: String,
    /// In a sentence for people; the wording may change.
    text: String,
    /// The context in which it happened.
    context: String,
    /// Who did it: `saga:…` and `policy:…` are the mall itself, `user:…` somebody who said who they are.
    by: String,
}

impl TimelineView {
    /// Shows a story.
    pub fn of(id: OrderId, order: &Order, timeline: Timeline) -> Self {
        let entries = timeline.entries.into_iter().map(|entry| EntryView {
            at: projection::sortable(entry.at),
            what: entry.what,
            text: entry.text,
            context: entry.context,
            by: entry.by,
        });
        Self {
            id,
            status: order.status().to_owned(),
            summary: timeline.summary,
            awaits: timeline.awaits.code().map(str::to_owned),
            entries: entries.collect(),
        }
    }
}

impl Ordering {
    /// `GET /api/orders/{id}/timeline`: the story of an order, from the streams as they are now.
    ///
    /// # Errors
    /// 404.
    pub async fn get_order_timeline(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let (order, history) = History::read(&self.store, id).await?;
        let timeline = TimelineView::of(id, &order, Timeline::of(id, &order, &history)?);
        Answer::view(&ShownTimeline { timeline }, None)
    }
}
