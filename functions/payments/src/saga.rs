//! The order saga's last step: waiting for the customer's payment.
//!
//! The saga hands over a token that ends the wait, and sleeps. It is woken by [`Cashier::end_payment_wait`] when the
//! invoice is paid or the order cancelled, and by its own time-out when it is time for a reminder.
//!
//! # Why no payment is missed
//!
//! [`Cashier::await_payment`] keeps the token *first* and reads the invoice and the order *then*; [`Cashier::end_payment_wait`]
//! reads the token after the event that it hears of was written. Both reads are consistent. So whatever is written before
//! the read is seen by it, and whatever is written after it finds the token:
//!
//! | the customer pays | who ends the wait |
//! | --- | --- |
//! | before the wait begins | the read; the policy finds no token, or one whose time is up |
//! | between token and read | both try: the task hears the first, and the second is told that it is too late |
//! | after the read | the policy |
//! | while the time-out fires | the next wait, by its read; or the policy, which finds the next token by then |
//!
//! A cancellation is the same with another end. Where both happen, either end is right: what becomes of the money is
//! decided by the invoice's own stream, see [`crate::policies`].

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::{InvoiceId, OrderId},
    ordering::OrderEvent,
    payments::InvoiceEvent,
};
use event_store::Expect;
use kernel::{Aggregate, CommandId, Reason, StreamId, Timestamp, Version};
use lambda::{
    Answer, Call, Fault, Form,
    policy::{subject, unexpected, whole},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Payments,
    callbacks::{Heard, TaskCallbacks},
    invoice::{Invoice, InvoiceCommand, Moment, PAYMENT_OVERDUE, Terms},
    waits::{KEPT, Kept, PaymentWaits, TaskToken, Wait},
};

/// With which error a wait ends when the order is cancelled. The saga has nothing to undo then: the contexts do so by
/// themselves when they hear of it.
const ORDER_CANCELLED: &str = "ORDER_CANCELLED";
/// Most characters of a code, as of any reason.
const MAX_CODE: usize = 120;
/// Most characters of what is said about a failure.
const MAX_CAUSE: usize = 1000;

/// Who waits for payments.
pub struct Cashier {
    payments: Arc<Payments>,
    waits: Arc<dyn PaymentWaits>,
    callbacks: Arc<dyn TaskCallbacks>,
}

/// What the saga says when it begins to wait.
#[derive(Deserialize)]
struct Handover {
    /// How the order's placement ended.
    placement: Placement,
    /// What ends the wait.
    token: TaskToken,
}

/// How the state machine that places an order ended: what Step Functions answers to `StartSyncExecution`, as far as it
/// matters here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Placement {
    /// Nothing when no call of it was answered; then there is an error.
    status: Option<String>,
    error: Option<String>,
    cause: Option<String>,
}

impl Placement {
    /// # Errors
    /// When the placement failed: with its own code, which becomes the order's reason.
    fn succeeded(&self) -> Result<(), Fault> {
        let status = self.status.as_deref().unwrap_or("UNKNOWN");
        let other = match status {
            "SUCCEEDED" => return Ok(()),
            "TIMED_OUT" => "PLACEMENT_TIMED_OUT",
            _ => "PLACEMENT_FAILED",
        };
        let cause = said(self.cause.as_deref().unwrap_or_default());
        let (code, message) = match self.error.as_deref() {
            Some(error) if is_refusal(error) => (error, cause),
            Some(error) => (other, format!("{error}: {cause}")),
            None => (other, format!("{status}: {cause}")),
        };
        Err(Fault::new(409, code.to_owned(), message.chars().take(MAX_CAUSE).collect::<String>()))
    }
}

/// Whether an error of the placement can be handed on as it is: a code of ours. The names of technical errors
/// (`Unavailable`, `States.Timeout`) cannot: the placement has retried them, and the state that waits for the payment would
/// take them for its own. It would try again, or remind a customer of an order that was never placed.
fn is_refusal(error: &str) -> bool {
    const OF_THE_WAIT: &[&str] = &[ORDER_CANCELLED, "CONTENDED"];
    let letters = error.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    letters && !error.is_empty() && error.len() <= MAX_CODE && !OF_THE_WAIT.contains(&error)
}

/// The cause of a task that failed is the function's answer: JSON with an `errorMessage`.
fn said(cause: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(cause).ok();
    let message = parsed.as_ref().and_then(|answer| answer["errorMessage"].as_str());
    message.unwrap_or(cause).to_owned()
}

/// How an order stands, for who waits for its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is being placed, or its placement failed.
    Pending,
    /// It was approved, which is the last step of placing it.
    Placed,
    Canceled,
    Rejected,
}

/// An invoice with its times, as its stream tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The invoice.
    pub invoice: Invoice,
    /// Its version.
    pub version: Version,
    /// When it was made, or declared never to be.
    pub created_at: Timestamp,
    /// When the customer was last reminded, if ever.
    pub reminded_at: Option<Timestamp>,
}

impl Record {
    /// Reads a stream's events, oldest first; nothing when there are none.
    ///
    /// # Errors
    /// When they cannot be understood.
    pub fn of(events: &[Envelope]) -> Result<Option<Self>, Fault> {
        let mut record: Option<Self> = None;
        for envelope in events {
            let event = envelope.event::<InvoiceEvent>().map_err(Fault::internal)?;
            let (created_at, mut reminded_at) = match &record {
                Some(record) => (record.created_at, record.reminded_at),
                None => (envelope.at, None),
            };
            match event {
                InvoiceEvent::InvoiceReminded(_) => reminded_at = Some(envelope.at),
                InvoiceEvent::InvoiceCreated(_)
                | InvoiceEvent::InvoiceAdjusted(_)
                | InvoiceEvent::InvoicePaid(_)
                | InvoiceEvent::InvoiceCanceled(_) => {}
            }
            let before = record.map(|record| record.invoice);
            let invoice = Invoice::evolve(before, &event).map_err(Fault::internal)?;
            record = Some(Self { invoice, version: envelope.version, created_at, reminded_at });
        }
        Ok(record)
    }

    /// Where the invoice stands in time.
    pub fn moment(&self, now: Timestamp, terms: Terms) -> Moment {
        Moment { now, created_at: self.created_at, reminded_at: self.reminded_at, terms }
    }
}

/// What `remind-payment` answers.
#[derive(Serialize)]
struct Reminded {
    /// Seconds until the saga is to ask again.
    wait: u32,
}

impl Cashier {
    /// Waits over these ports.
    pub fn new(
        payments: Arc<Payments>,
        waits: Arc<dyn PaymentWaits>,
        callbacks: Arc<dyn TaskCallbacks>,
    ) -> Self {
        Self { payments, waits, callbacks }
    }

    /// A step of the order saga, `{placement, token}`: begins to wait for the order's payment, and ends the wait at once
    /// when the invoice is paid already.
    ///
    /// # Errors
    /// The placement's own, when it failed and the order was not approved; `ORDER_CANCELLED` and `ORDER_REJECTED`, when nobody will pay any more; 503 when
    /// nobody knows whether the saga would be woken.
    pub async fn await_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order: OrderId = call.id("order")?;
        let Handover { placement, token } = serde_json::from_value(call.body).map_err(|e| {
            Fault::invalid("INVOCATION_IS_MALFORMED", format!("not {{placement, token}}: {e}"))
        })?;
        if placement.status.is_none() && placement.error.is_none() {
            let message = "the placement has neither a Status nor an Error";
            return Err(Fault::invalid("INVOCATION_IS_MALFORMED", message));
        }
        if let Err(failed) = placement.succeeded() {
            // The answer to the approval may have been lost, or a second placement have failed where the first did not. An
            // order that is approved was placed: a bot may have collected it by now.
            match self.payments.standing(order).await? {
                Standing::Placed => {
                    tracing::warn!(%order, why = %failed.message, "it was placed all the same")
                }
                Standing::Pending | Standing::Canceled | Standing::Rejected => return Err(failed),
            }
        }
        let until = call.at.checked_add(self.payments.terms.reminder + KEPT).unwrap_or(Timestamp::MAX);
        let wait = Wait { token, since: call.at, until };
        if self.waits.keep(order, &wait).await? == Kept::Newer {
            // This call was slow, and the saga does not wait for it any more. Should clocks be at odds and it does, it
            // hears of a payment at its next time-out.
            tracing::warn!(%order, "a newer wait for the payment has begun");
        }
        let invoice = self.payments.record(order.as_kind(), None).await?;
        match self.payments.standing(order).await? {
            Standing::Pending | Standing::Placed => {}
            Standing::Canceled => return Err(cancelled(order)),
            Standing::Rejected => {
                let message = format!("order {order} was rejected: nobody will pay for it");
                return Err(Fault::new(409, "ORDER_REJECTED", message));
            }
        }
        if invoice.is_some_and(|record| record.invoice.paid().is_some()) {
            let heard = self.callbacks.succeed(&wait.token).await?;
            tracing::info!(%order, ?heard, "the invoice is paid already");
        }
        Answer::view(&serde_json::json!({ "id": order }), None)
    }

    /// When an invoice is paid or an order cancelled, let the saga that waits for it go on. A saga that does not wait, or
    /// not any more, finds out by itself when it waits the next time.
    ///
    /// # Errors
    /// When nobody knows whether the saga heard it: the event goes back to its queue.
    pub async fn end_payment_wait(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let order: OrderId = subject(&event)?;
        let reason = match event.context() {
            "payments" => match whole::<InvoiceEvent>(&self.payments.store, &event).await? {
                InvoiceEvent::InvoicePaid(_) => None,
                other @ (InvoiceEvent::InvoiceCreated(_)
                | InvoiceEvent::InvoiceAdjusted(_)
                | InvoiceEvent::InvoiceReminded(_)
                | InvoiceEvent::InvoiceCanceled(_)) => return Err(unexpected(&other)),
            },
            _ => match whole::<OrderEvent>(&self.payments.store, &event).await? {
                OrderEvent::OrderCanceled(_) => Some(cancelled(order).message),
                other @ (OrderEvent::OrderCreated(_)
                | OrderEvent::OrderApproved(_)
                | OrderEvent::OrderRejected(_)
                | OrderEvent::OrderReadied(_)
                | OrderEvent::OrderCompleted(_)) => return Err(unexpected(&other)),
            },
        };
        let Some(wait) = self.waits.newest(order).await? else {
            tracing::info!(%order, "nobody waits for its payment yet");
            return Ok(());
        };
        let heard = match reason {
            None => self.callbacks.succeed(&wait.token).await?,
            Some(reason) => self.callbacks.fail(&wait.token, ORDER_CANCELLED, &reason).await?,
        };
        match heard {
            Heard::Now => tracing::info!(%order, "the saga goes on"),
            Heard::TooLate => tracing::info!(%order, "the saga does not wait any more"),
        }
        Ok(())
    }
}

fn cancelled(order: OrderId) -> Fault {
    Fault::new(409, ORDER_CANCELLED, format!("order {order} was cancelled: nobody will pay for it"))
}

impl Payments {
    /// A step of the order saga: reminds the customer when it is time to, and answers after how many seconds the saga is
    /// to ask again.
    ///
    /// # Errors
    /// `PAYMENT_OVERDUE` when the time to pay is over, `ORDER_CANCELLED`; 503.
    pub async fn remind_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order: OrderId = call.id("order")?;
        // The invoice first: one that was never made belongs to an order that is seen to be cancelled then.
        let record = self.record(order.as_kind(), None).await?;
        match self.standing(order).await? {
            Standing::Pending | Standing::Placed => {}
            Standing::Canceled => return Err(cancelled(order)),
            // Waiting again finds out, and is where such an order is undone.
            Standing::Rejected => return Answer::view(&Reminded { wait: 1 }, None),
        }
        let wait = match record {
            Some(record) => self.remind(order.as_kind(), &record, &call).await?,
            // It is being collected.
            None => seconds(self.terms),
        };
        Answer::view(&Reminded { wait }, None)
    }

    async fn remind(&self, id: InvoiceId, record: &Record, call: &Call) -> Result<u32, Fault> {
        let reminders = record.invoice.bill().map_or(0, |bill| bill.reminders);
        let moment = record.moment(call.at, self.terms);
        let command = InvoiceCommand::Remind { reminders, moment };
        // The saga asks with one command id, however often. Each reminder is a command of its own.
        let id_of_reminder = CommandId::derived(&["remind-payment", &id.to_string(), &reminders.to_string()]);
        let call = Call { command: id_of_reminder, ..call.clone() };
        let stream = StreamId::of::<Invoice, _>(id);
        let outcome = self.store.transact::<Invoice>(&stream, Expect::Any, &command, &call.meta()).await?;
        match outcome.state {
            Some(Invoice::Paid(_)) => return Ok(1),
            // Canceled by hand, so nobody is reminded any more. Its order is given up when it would have been due.
            Some(Invoice::Canceled(..)) => return Ok(moment.wait_until_due()),
            Some(Invoice::Pending(_) | Invoice::NeverMade(_)) | None => {}
        }
        let reminded_at = if outcome.events.is_empty() { moment.reminded_at } else { Some(moment.now) };
        Ok(Moment { reminded_at, ..moment }.wait())
    }

    /// A step of the order saga, `{reason?}`: nobody paid in time, so nobody can any more. Harmless when the invoice was
    /// canceled before.
    ///
    /// # Errors
    /// `INVOICE_IS_PAID` when the customer paid after all; 404; 503.
    pub async fn cancel_overdue_invoice(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: InvoiceId = call.id("invoice")?;
        let form = Form::of(&call.body);
        let reason = match form.text_or_empty("reason") {
            Some("") => Reason::new(PAYMENT_OVERDUE),
            Some(reason) => Reason::new(reason),
            None => return Err(form.fault()),
        };
        self.transact_invoice(id, InvoiceCommand::GiveUp { reason }, &call).await
    }

    /// An invoice with its times, as it is now, or was at version `then`.
    pub(crate) async fn record(&self, id: InvoiceId, then: Option<Version>) -> Result<Option<Record>, Fault> {
        let mut events = self.store.events_after(&StreamId::of::<Invoice, _>(id), Version::NONE).await?;
        events.retain(|event| then.is_none_or(|then| event.version <= then));
        Record::of(&events)
    }

    async fn standing(&self, order: OrderId) -> Result<Standing, Fault> {
        let stream: StreamId = format!("ordering.Order/{order}").parse().map_err(Fault::internal)?;
        let mut standing = None;
        for event in self.store.events_after(&stream, Version::NONE).await? {
            standing = Some(match event.event::<OrderEvent>().map_err(Fault::internal)? {
                OrderEvent::OrderCanceled(_) => Standing::Canceled,
                OrderEvent::OrderRejected(_) => Standing::Rejected,
                OrderEvent::OrderCreated(_) => Standing::Pending,
                OrderEvent::OrderApproved(_)
                | OrderEvent::OrderReadied(_)
                | OrderEvent::OrderCompleted(_) => Standing::Placed,
            });
        }
        standing.ok_or_else(|| Fault::not_found("order", order))
    }
}

/// The reminder period as the saga counts: in seconds.
fn seconds(terms: Terms) -> u32 {
    u32::try_from(terms.reminder.as_secs()).unwrap_or(u32::MAX)
}
