//! The story of an order for its customer, told from the public events of every stream that belongs to it.
//!
//! The streams' ids all follow from the order, so they are read when somebody asks: there is no table,
//! nothing to keep up to date, and the answer is as new as the streams. It costs four queries: one for the
//! order, then its shopping list, its invoice and its payment at the same time. Each of them has a handful of
//! events; one of more than ten commits costs a query more.
//!
//! Left out, on purpose:
//!
//! * The customer's own stream and those of the stock. They grow with every order ever placed, an order of a
//!   hundred products would read a hundred of them, and where in them an order stands cannot be known. What
//!   they said shows all the same: an order whose shopping was planned had its stock reserved, and one that
//!   was rejected says why. The times of these steps stand in those streams only.
//! * What the payment was used for otherwise, and who put it up, when it was not this customer.
//!
//! Entries are in the order of their times. Functions have a clock each, so two entries of different streams
//! that are milliseconds apart may stand the wrong way round; within a stream they never do.

use std::sync::Arc;

use contracts::{
    Envelope,
    depot::ShoppingListEvent,
    ids::{CustomerId, OrderId, shopping_list_of},
    ordering::OrderEvent,
    payments::{InvoiceEvent, PaymentEvent},
};
use event_store::EventStore;
use kernel::{Aggregate, Event, StreamId, Version};
use lambda::{Answer, Call, Fault};
use projection::sortable;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Ordering, docs::ShownTimeline, events_of, order::Order};

/// The events of all streams of one order, each stream in its own order.
pub struct History {
    pub order: Vec<Envelope>,
    pub list: Vec<Envelope>,
    pub invoice: Vec<Envelope>,
    /// Events of the payment that the order names, whatever that was used for.
    pub payment: Vec<Envelope>,
}

impl History {
    /// Reads all there is.
    ///
    /// # Errors
    /// 404 when there is no such order; 503 when the event table fails.
    pub async fn read(store: &EventStore, id: OrderId) -> Result<(Order, Self), Fault> {
        let (order, events) = read_order(store, id).await?;
        let list_id = order.shopping_id().unwrap_or_else(|| shopping_list_of(id));
        let invoice_id = order.invoice_id().unwrap_or_else(|| id.as_kind());
        let (list, invoice, payment) = futures::try_join!(
            events_of(store, format!("depot.ShoppingList/{list_id}")),
            events_of(store, format!("payments.Invoice/{invoice_id}")),
            events_of(store, format!("payments.Payment/{}", order.placed().payment_id)),
        )?;
        Ok((order, Self { order: events, list, invoice, payment }))
    }

    /// All events, stream by stream.
    pub fn all(&self) -> impl Iterator<Item = &Envelope> {
        [&self.order, &self.list, &self.invoice, &self.payment].into_iter().flatten()
    }
}

/// Reads an order and the events that make it, of which there is one at least.
///
/// # Errors
/// 404 when there is no such order; 503 when the event table fails.
pub async fn read_order(store: &EventStore, id: OrderId) -> Result<(Order, Vec<Envelope>), Fault> {
    let events = store.events_after(&StreamId::of::<Order, _>(id), Version::NONE).await?;
    let mut order = None;
    for event in &events {
        let event = event.event::<OrderEvent>().map_err(Fault::internal)?;
        order = Some(Order::evolve(order, &event).map_err(Fault::internal)?);
    }
    Ok((order.ok_or_else(|| Fault::not_found("order", id))?, events))
}

/// The next thing that an order waits for: a stable code, none if nothing more is to happen, and a sentence.
struct Awaits(Option<&'static str>, &'static str);

impl Awaits {
    const CHECKS: Self = Self(Some("checks"), "it is being checked whether everything it needs is to be had");
    const BOT: Self = Self(Some("bot"), "it waits for a bot");
    const COLLECTION: Self = Self(Some("collection"), "a bot is collecting it");
    const HANDOVER: Self = Self(Some("handover"), "everything is collected, and the invoice is being made");
    const PAYMENT: Self = Self(Some("payment"), "it waits for payment");
    const COMPLETION: Self = Self(Some("completion"), "it is paid, and about to be completed");
    const REFUND: Self = Self(Some("refund"), "the payment is on its way back");
    const STAFF: Self = Self(Some("staff"), "it waits for somebody of the mall to look at it");
    const NOTHING: Self = Self(None, "nothing more is to happen");
}

/// Progress of the shopping.
#[derive(Clone, Copy)]
enum Shopping {
    Unknown,
    Waiting,
    Taken,
    Done,
    CalledOff,
}

/// State of the bill.
#[derive(Clone, Copy)]
enum Bill {
    None,
    Owed,
    Paid,
    CalledOff,
}

/// State of the payment, as far as it is this order's.
#[derive(Clone, Copy)]
enum Funds {
    Free,
    Held,
    Taken,
    GivenBack,
}

fn awaited(order: &Order, shopping: Shopping, bill: Bill, funds: Funds) -> Awaits {
    match order {
        Order::Pending(_) => match (shopping, funds) {
            // Cancelled or released by hand: an undo closes the order before it does either.
            (Shopping::CalledOff, _) | (_, Funds::GivenBack) => Awaits::STAFF,
            (
                Shopping::Unknown | Shopping::Waiting | Shopping::Taken | Shopping::Done,
                Funds::Free | Funds::Held | Funds::Taken,
            ) => Awaits::CHECKS,
        },
        Order::Approved { .. } => match shopping {
            Shopping::Waiting => Awaits::BOT,
            Shopping::Taken => Awaits::COLLECTION,
            Shopping::Done => Awaits::HANDOVER,
            // Approved by hand, without shopping; or the shopping was called off and the order was not.
            Shopping::Unknown | Shopping::CalledOff => Awaits::STAFF,
        },
        Order::Ready { .. } => match bill {
            Bill::None => Awaits::HANDOVER,
            Bill::Owed => Awaits::PAYMENT,
            Bill::Paid => Awaits::COMPLETION,
            Bill::CalledOff => Awaits::STAFF,
        },
        Order::Completed { .. } => match funds {
            // It is taken at the same moment as the order is completed; what stays held could not be taken.
            Funds::Held => Awaits::STAFF,
            Funds::Free | Funds::Taken | Funds::GivenBack => Awaits::NOTHING,
        },
        Order::Rejected { .. } | Order::Canceled { .. } => match funds {
            Funds::Held | Funds::Taken => Awaits::REFUND,
            Funds::Free | Funds::GivenBack => Awaits::NOTHING,
        },
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

/// Returns the order that a list is for, the event in a sentence, and how far the shopping is then.
fn list_told(event: &ShoppingListEvent, before: Shopping) -> (OrderId, String, Shopping) {
    match event {
        ShoppingListEvent::ShoppingListCreated(e) => {
            let stores = counted(e.stops.len() as u64, "store");
            let text = format!("The shopping was planned: a bot will go to {stores}.");
            (e.order_id, text, Shopping::Waiting)
        }
        ShoppingListEvent::ShoppingListInitiated(e) => {
            (e.order_id, "The shopping list waits for a bot.".to_owned(), Shopping::Waiting)
        }
        ShoppingListEvent::ShoppingListAssigned(e) => {
            (e.order_id, "A bot took the shopping list.".to_owned(), Shopping::Taken)
        }
        ShoppingListEvent::ShoppingListStarted(e) => {
            (e.order_id, "The bot is on its way through the stores.".to_owned(), Shopping::Taken)
        }
        ShoppingListEvent::ShoppingListCompleted(e) => {
            (e.order_id, "The bot collected everything.".to_owned(), Shopping::Done)
        }
        ShoppingListEvent::ShoppingListCanceled(e) => {
            let text = match before {
                Shopping::Unknown => format!("There will be no shopping ({}).", e.reason),
                Shopping::Waiting | Shopping::Taken | Shopping::Done | Shopping::CalledOff => {
                    format!("The shopping was called off ({}).", e.reason)
                }
            };
            (e.order_id, text, Shopping::CalledOff)
        }
    }
}

/// Returns the event in a sentence, and the state of the payment then; `None` if the order is not concerned.
/// A payment is not one order's alone: somebody else may have put it up, and used it for another order.
fn payment_told(event: &PaymentEvent, id: OrderId, customer_id: CustomerId) -> Option<(String, Funds)> {
    let (concerns, text, after) = match event {
        PaymentEvent::PaymentAuthorized(e) => {
            let text = format!("Up to {} was put up to pay with.", e.amount);
            (e.customer_id == customer_id, text, Funds::Free)
        }
        PaymentEvent::PaymentConfirmed(e) => {
            (e.order_id == id, format!("{} is held for the order.", e.amount), Funds::Held)
        }
        PaymentEvent::PaymentReleased(e) => {
            let text = "The payment was released: nothing is taken.".to_owned();
            (e.order_id == id, text, Funds::GivenBack)
        }
        PaymentEvent::PaymentCaptured(e) => {
            (e.order_id == id, format!("{} was taken.", e.amount), Funds::Taken)
        }
        PaymentEvent::PaymentRefunded(e) => {
            (e.order_id == id, format!("{} was given back ({}).", e.amount, e.reason), Funds::GivenBack)
        }
    };
    concerns.then_some((text, after))
}

/// Returns the order that an invoice is for, the event in a sentence, and what is owed then.
fn invoice_told(event: &InvoiceEvent, before: Bill) -> (OrderId, String, Bill) {
    match event {
        InvoiceEvent::InvoiceCreated(e) => {
            (e.order_id, format!("The invoice says {}.", e.amount), Bill::Owed)
        }
        InvoiceEvent::InvoiceAdjusted(e) => {
            let text = format!("The invoice says {}, not {} any more.", e.amount, e.old_amount);
            (e.order_id, text, Bill::Owed)
        }
        InvoiceEvent::InvoiceReminded(e) => {
            let until = e.due_at.strftime("%Y-%m-%d %H:%M UTC");
            let text = format!("The customer was reminded: {} is to be paid until {until}.", e.amount);
            (e.order_id, text, Bill::Owed)
        }
        InvoiceEvent::InvoicePaid(e) => {
            (e.order_id, format!("The invoice of {} was paid.", e.amount), Bill::Paid)
        }
        InvoiceEvent::InvoiceCanceled(e) => {
            let text = match before {
                Bill::None => format!("There will be no invoice ({}).", e.reason),
                Bill::Owed | Bill::Paid | Bill::CalledOff => {
                    format!("The invoice was cancelled ({}).", e.reason)
                }
            };
            (e.order_id, text, Bill::CalledOff)
        }
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
    status: &'static str,
    /// Where it stands, in a sentence for people.
    summary: String,
    /// What it waits for: `checks`, `bot`, `collection`, `handover`, `payment`, `completion`, `refund`, or `staff` when it
    /// will not go on by itself; null when nothing more is to happen.
    #[schema(required)]
    awaits: Option<&'static str>,
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
    /// Tells what happened to `order`.
    ///
    /// # Errors
    /// When an event cannot be understood: this code is older than the events, or they are damaged.
    pub fn of(id: OrderId, order: &Order, history: &History) -> Result<Self, Fault> {
        let mut entries = Vec::new();
        for event in &history.order {
            entries.push(entry(event, order_text(&understood(event)?)));
        }
        let mut shopping = Shopping::Unknown;
        for event in &history.list {
            let (order_id, text, after) = list_told(&understood(event)?, shopping);
            // The order names its list; a list that is another order's tells nothing about this one.
            if order_id == id {
                entries.push(entry(event, text));
                shopping = after;
            }
        }
        let mut funds = Funds::Free;
        for event in &history.payment {
            if let Some((text, after)) = payment_told(&understood(event)?, id, order.placed().customer_id) {
                entries.push(entry(event, text));
                funds = after;
            }
        }
        let mut bill = Bill::None;
        for event in &history.invoice {
            let (order_id, text, after) = invoice_told(&understood(event)?, bill);
            if order_id == id {
                entries.push(entry(event, text));
                bill = after;
            }
        }
        // Stable: what has the same time stays as it was read, each stream in its own order.
        entries.sort_by(|a, b| a.at.cmp(&b.at));
        let Awaits(awaits, text) = awaited(order, shopping, bill, funds);
        let reason = order.reason().map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
        let status = order.status();
        let summary = format!("The order is {status}{reason}: {text}.");
        Ok(Self { id, status, summary, awaits, entries })
    }
}

fn understood<E: Event>(event: &Envelope) -> Result<E, Fault> {
    event.event().map_err(Fault::internal)
}

fn entry(event: &Envelope, text: String) -> EntryView {
    let (context, by) = (event.context().to_owned(), event.actor.as_str().to_owned());
    EntryView { at: sortable(event.at), what: event.event_type.clone(), text, context, by }
}

impl Ordering {
    /// `GET /api/orders/{id}/timeline`: what became of an order, from the streams as they are now.
    ///
    /// # Errors
    /// 404.
    pub async fn get_order_timeline(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let (order, history) = History::read(&self.store, id).await?;
        Answer::view(&ShownTimeline { timeline: TimelineView::of(id, &order, &history)? }, None)
    }
}
