//! Chasing what is owed: a run every minute that reminds customers, and gives up overdue invoices.
//!
//! The view of invoices says where to look, and the invoice's own stream says what is to be done:
//!
//! | index | rows that a run takes up, oldest first |
//! | --- | --- |
//! | [`OPEN`] | invoices that were made a deadline ago or earlier |
//! | [`CHASED`] | younger invoices whose customer was left in peace for a reminder period |
//!
//! A row leaves both when its invoice is paid or canceled. No row holds a deadline: the terms of the
//! deployment that runs are applied to every open invoice, whenever it was made.
//!
//! # Guarantees
//!
//! * An invoice is given up or paid, never both, and whichever comes first stays. [`InvoiceCanceled`] with
//!   the reason `PAYMENT_OVERDUE` is an event like any other: the undo of the order hears of it until it is
//!   handled.
//! * A reminder is sent once. The command's id comes from the invoice and the number of reminders before, and
//!   the stream holds the time of the last one. Two runs at once, a view that lags and an answer that is lost
//!   change nothing.
//! * After an outage a customer is reminded once, not once for every period that was missed.
//! * Nobody is reminded from the deadline on. An invoice that is both overdue and to be reminded is given up.
//! * An invoice that fails does not stop the others. It is logged with its id, and taken up again by the next
//!   run. A failure that no repeat cures also fails the run, after everything else is done, so that the alarm
//!   rings.
//!
//! # Not guaranteed
//!
//! * Punctuality. A reminder comes up to a minute late, and later by the lag of the view and the length of a
//!   backlog: a run acts on at most [`PER_RUN`] invoices of each index, reads at most [`READ_AHEAD`] times as
//!   many, and takes up no more after [`RUN_TIME`].
//! * Progress while thousands of invoices at the head of an index are settled but still in the view, or fail.
//!   A run passes over [`READ_AHEAD`] times [`PER_RUN`] such rows and no more.
//! * Silence after the order's end. An order that is cancelled may be reminded of until its undo has canceled
//!   the invoice.
//!
//! [`InvoiceCanceled`]: contracts::payments::InvoiceCanceled

use std::{future::ready, sync::Arc, time::Duration};

use contracts::{ids::InvoiceId, payments::PAYMENT_OVERDUE};
use event_store::{Expect, TransactError};
use futures::{
    StreamExt,
    future::{BoxFuture, FutureExt, try_join_all},
    stream,
};
use kernel::{Actor, CommandId, CommandMeta, Reason, StreamId, Timestamp};
use lambda::Fault;
use projection::{Index, List, Listing, Projector, Range, SHARDS, sortable};
use serde::Serialize;

use crate::{
    Payments,
    invoice::{Invoice, InvoiceCommand, InvoiceRefusal},
    invoices::{CHASED, Invoices, MALL, OPEN},
    record::Record,
};

/// Most invoices of each index on which a run acts. The rest is left to the next run.
///
/// It is 13 a second. With a week to pay and a reminder every day, an invoice that nobody pays takes six
/// reminders: so the chase keeps up with 20 orders a second if one in ten is never paid. In a larger mall it
/// falls behind, and its customers get fewer reminders. [`RUN_TIME`] bounds a run that takes long for each of
/// them.
pub const PER_RUN: usize = 800;
/// Rows that a run reads for each one on which it may act: some of them turn out to be settled already.
pub const READ_AHEAD: usize = 5;
/// The time after which a run begins no further page. The function ends after ten seconds, and a page takes
/// one or two.
pub const RUN_TIME: Duration = Duration::from_secs(5);
/// Rows on a page.
const PAGE: usize = 50;
/// Invoices of one index that are worked on at the same time. [`CHASED`] has as many shards, each walked one
/// by one.
const AT_ONCE: usize = 8;

/// The actor of all that the schedule does.
const ACTOR: &str = "schedule:chase-payments";

/// The run that chases, over the view of invoices.
pub struct Chase {
    payments: Arc<Payments>,
    invoices: Projector<Invoices>,
}

/// The summary of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Chased {
    /// Customers that this run reminded.
    pub reminded: usize,
    /// Invoices that this run gave up.
    pub expired: usize,
    /// Invoices that failed, and are left to the next run.
    pub failed: usize,
    /// True if there may be more to do, which is left to the next run.
    pub more: bool,
}

/// Outcome for one invoice.
enum Done {
    Reminded,
    Expired,
    /// The invoice is paid, canceled, not due, or was just dealt with by somebody else.
    Nothing,
}

/// The rows of an index that a walk takes up.
struct Walk {
    index: &'static Index,
    /// One shard of the index; `None` for all, merged.
    shard: Option<u32>,
    /// The end of the walk: rows with a later sort value are not due.
    to: Timestamp,
    /// Invoices that were made at this time or earlier are passed over: another walk takes them up.
    past: Option<Timestamp>,
    /// Most invoices on which it acts.
    most: usize,
    at_once: usize,
    /// The time after which it begins no further page.
    until: Timestamp,
}

/// The summary of one walk, and the failure that no repeat cures.
#[derive(Default)]
struct Walked {
    chased: Chased,
    lasting: Option<(InvoiceId, Fault)>,
}

impl Chase {
    /// Chases through these payments and this view.
    pub fn new(payments: Arc<Payments>, invoices: Projector<Invoices>) -> Self {
        Self { payments, invoices }
    }

    /// Gives up invoices whose deadline has passed, then reminds: `chase-payments`, which a schedule starts.
    ///
    /// # Errors
    /// 503 when the view cannot be read; 500 when an invoice failed and no repeat will help, after all others
    /// were done.
    pub async fn chase_payments(self: Arc<Self>) -> Result<Chased, Fault> {
        let (now, terms) = (self.payments.ports.clock.now(), self.payments.terms);
        let until = now.checked_add(RUN_TIME).unwrap_or(Timestamp::MAX);
        let before = |period: Duration| now.checked_sub(period).unwrap_or(Timestamp::MIN);
        let overdue = before(terms.deadline);
        let open = Walk {
            index: &OPEN,
            shard: None,
            to: overdue,
            past: None,
            most: PER_RUN,
            at_once: AT_ONCE,
            until,
        };
        let mut walked = vec![self.walk(open).await?];
        let shards = (0..SHARDS).map(|number| {
            self.walk(Walk {
                index: &CHASED,
                shard: Some(number),
                to: before(terms.reminder),
                past: Some(overdue),
                most: PER_RUN / SHARDS as usize,
                at_once: 1,
                until,
            })
        });
        walked.extend(try_join_all(shards).await?);

        let chased = walked.iter().map(|walked| walked.chased).fold(Chased::default(), Chased::and);
        let Chased { reminded, expired, failed, more } = chased;
        tracing::info!(reminded, expired, failed, more, "payments chased");
        match walked.into_iter().find_map(|walked| walked.lasting) {
            None => Ok(chased),
            Some((invoice, fault)) => Err(Fault::internal(format!(
                "{failed} invoices cannot be chased, one of them {invoice}: {fault}; {expired} others were \
                 given up and {reminded} reminded"
            ))),
        }
    }

    /// Takes up the rows of an index or one of its shards, oldest first.
    async fn walk(&self, walk: Walk) -> Result<Walked, Fault> {
        let past = walk.past.map(sortable);
        let (mut walked, mut seen, mut after) = (Walked::default(), 0, None);
        loop {
            let chased = &mut walked.chased;
            let left = walk.most.saturating_sub(chased.reminded + chased.expired);
            if left == 0 || seen >= walk.most * READ_AHEAD || self.payments.ports.clock.now() >= walk.until {
                chased.more = true;
                return Ok(walked);
            }
            let list = List {
                index: walk.index,
                partition: MALL,
                shard: walk.shard,
                range: Range { from: None, to: Some(sortable(walk.to)) },
                descending: false,
                after: after.take(),
                limit: left.min(PAGE),
            };
            let Listing { rows, next } = self.invoices.list_rows(&list).await?;
            seen += rows.len();
            let rows = rows.iter().filter(|row| past.as_ref().is_none_or(|past| row.created_at > *past));
            let all: Vec<BoxFuture<'_, _>> =
                rows.map(|row| async { (row.id, self.chase(row.id).await) }.boxed()).collect();
            let mut all = stream::iter(all).buffer_unordered(walk.at_once);
            while let Some((id, done)) = all.next().await {
                walked.count(id, done);
            }
            after = next;
            if after.is_none() {
                return Ok(walked);
            }
        }
    }

    /// Does what today's terms ask for of one invoice, as its own stream tells.
    async fn chase(&self, id: InvoiceId) -> Result<Done, Fault> {
        let Some(record) = self.payments.record(id, None).await? else {
            return Err(Fault::internal(format!("invoice {id} is in the view and has no events")));
        };
        let Invoice::Pending(bill) = &record.invoice else { return Ok(Done::Nothing) };
        let moment = record.moment(self.payments.ports.clock.now(), self.payments.terms);
        let reminders = bill.reminders;
        let (command, meta, done) = if moment.is_overdue() {
            let command = InvoiceCommand::GiveUp { reason: Reason::new(PAYMENT_OVERDUE) };
            (command, meta(&record, moment.now, "give up", id, 0), Done::Expired)
        } else if moment.is_to_be_reminded() {
            let command = InvoiceCommand::Remind { reminders, moment };
            (command, meta(&record, moment.now, "remind", id, reminders), Done::Reminded)
        } else {
            return Ok(Done::Nothing);
        };
        let stream = StreamId::of::<Invoice, _>(id);
        // The command's id says all that is asked; the moment is another one whenever it is asked again.
        let command = |_: Option<Invoice>| ready(Ok(command.clone()));
        match self.payments.store.transact_with(&stream, Expect::Any, &(), &meta, command).await {
            Ok(outcome) if outcome.repeated || outcome.events.is_empty() => Ok(Done::Nothing),
            Ok(_) => Ok(done),
            Err(TransactError::Refused(InvoiceRefusal::IsPaid)) => {
                tracing::info!(invoice = %id, "invoice paid at the last moment");
                Ok(Done::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Derives the command from the invoice and the number of reminders, and lets it follow from the invoice's
/// first event.
fn meta(record: &Record, at: Timestamp, what: &str, id: InvoiceId, reminders: u32) -> CommandMeta {
    let first = &record.first;
    CommandMeta {
        id: CommandId::derived(&["chase-payments", what, &id.to_string(), &reminders.to_string()]),
        at,
        actor: Actor::new(ACTOR),
        correlation: first.correlation,
        causation: Some(first.id),
        trace: first.trace.clone(),
        attempt: 0,
    }
}

impl Chased {
    fn and(self, other: Self) -> Self {
        Self {
            reminded: self.reminded + other.reminded,
            expired: self.expired + other.expired,
            failed: self.failed + other.failed,
            more: self.more || other.more,
        }
    }
}

impl Walked {
    fn count(&mut self, id: InvoiceId, done: Result<Done, Fault>) {
        match done {
            Ok(Done::Reminded) => self.chased.reminded += 1,
            Ok(Done::Expired) => self.chased.expired += 1,
            Ok(Done::Nothing) => {}
            Err(fault) => {
                tracing::error!(invoice = %id, code = %fault.code, error = %fault, "invoice not chased: left to the next run");
                self.chased.failed += 1;
                if !fault.may_pass() {
                    self.lasting.get_or_insert((id, fault));
                }
            }
        }
    }
}
