//! An invoice: what a customer owes for an order. It has the order's id.
//!
//! An invoice has a deadline that counts from its first event, and its customer is reminded until it is paid.
//! An aggregate knows no time, so each decision about time is given a [`Moment`]: now, the times of the
//! invoice's events, and the terms. Those times are read with the events, and are in no snapshot. The terms
//! are today's, whenever the invoice was made.

use std::time::Duration;

use contracts::{
    ids::{CustomerId, OrderId, PaymentId},
    payments::{
        InvoiceAdjusted, InvoiceCanceled, InvoiceCreated, InvoiceEvent, InvoicePaid, InvoiceReminded,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Money, Reason, Refusal, RefusalKind, Timestamp};
use serde::{Deserialize, Serialize};

/// Who owes how much for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    /// The order.
    pub order_id: OrderId,
    /// Who owes.
    pub customer_id: CustomerId,
    /// The payment that is held for the order.
    pub payment_id: PaymentId,
    /// How much was owed at first: the order's total.
    pub total: Money,
    /// How much is owed, after all adjustments.
    pub amount: Money,
    /// How often the customer was reminded.
    pub reminders: u32,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Invoice {
    /// The customer is asked to pay.
    Pending(Bill),
    /// The customer paid.
    Paid(Bill),
    /// The customer owes nothing any more, without having paid.
    Canceled(Bill, Reason),
    /// The order was over before there was an invoice: there never will be one.
    NeverMade(Reason),
}

/// The terms of payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// The time to pay, from the invoice on.
    pub deadline: Duration,
    /// The period after the invoice, and after each reminder, in which the customer is left in peace. A
    /// period that is longer than the deadline reminds nobody.
    pub reminder: Duration,
}

impl Terms {
    /// Most reminders that fit into a deadline. Each is an event in the invoice's stream, and all of them are
    /// read again for the next one.
    const MOST_REMINDERS: u64 = 1000;

    /// Reads the terms from two numbers of seconds.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn new(deadline: &str, reminder: &str) -> Result<Self, String> {
        let seconds = |name: &str, text: &str| match text.parse::<u32>() {
            Ok(0) | Err(_) => Err(format!("the {name} must be a number of seconds above 0, not {text:?}")),
            Ok(seconds) => Ok(u64::from(seconds)),
        };
        let (deadline, reminder) =
            (seconds("payment deadline", deadline)?, seconds("reminder period", reminder)?);
        if deadline / reminder > Self::MOST_REMINDERS {
            let most = Self::MOST_REMINDERS;
            return Err(format!(
                "a reminder every {reminder} s of {deadline} s is more than {most} reminders"
            ));
        }
        Ok(Self { deadline: Duration::from_secs(deadline), reminder: Duration::from_secs(reminder) })
    }

    /// Computes the deadline of an invoice that was made at this time.
    pub fn due_at(&self, created_at: Timestamp) -> Timestamp {
        later(created_at, self.deadline)
    }
}

/// An invoice's place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// The time of the invoice's first event.
    pub created_at: Timestamp,
    /// The time of the last reminder.
    pub reminded_at: Option<Timestamp>,
    /// The terms of payment.
    pub terms: Terms,
}

impl Moment {
    /// The deadline of this invoice.
    fn due_at(&self) -> Timestamp {
        self.terms.due_at(self.created_at)
    }

    /// Returns true from the deadline on.
    pub fn is_overdue(&self) -> bool {
        self.now >= self.due_at()
    }

    /// Returns true when the customer was left in peace for the reminder period, until the deadline.
    pub fn is_to_be_reminded(&self) -> bool {
        let since = self.reminded_at.unwrap_or(self.created_at);
        self.now >= later(since, self.terms.reminder) && !self.is_overdue()
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What an invoice can be paid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Funds {
    /// What the payment holds for the order.
    Held(Money),
    /// What was taken of it for the order already, by hand.
    Captured(Money),
}

/// What can be asked of an invoice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum InvoiceCommand {
    /// Ask the customer to pay. Harmless when the same was asked before.
    Create {
        /// The order.
        order_id: OrderId,
        /// Who owes.
        customer_id: CustomerId,
        /// The payment that is held for the order.
        payment_id: PaymentId,
        /// How much.
        amount: Money,
    },
    /// Ask for another amount, which the payment has to cover.
    Adjust {
        /// How much is owed from now on.
        amount: Money,
        /// The amount that the payment holds for the order, looked up.
        held: Option<Money>,
    },
    /// The customer pays.
    Pay {
        /// The money to pay it with, looked up.
        funds: Option<Funds>,
    },
    /// The customer need not pay.
    Cancel {
        /// Why.
        reason: Reason,
    },
    /// Remind the customer, who has not paid yet, when it is time to. Harmless before that and after the
    /// deadline, when another asker did so meanwhile, and when there is nothing to pay any more.
    Remind {
        /// How many reminders the asker knows of: a second asker who knows of no more does not remind again.
        reminders: u32,
        /// The place in time.
        moment: Moment,
    },
    /// Give the invoice up, because the deadline has passed. The asker has seen that; all that can have
    /// changed since is that the customer paid, and that is refused. Harmless when the invoice was canceled
    /// before.
    GiveUp {
        /// Why.
        reason: Reason,
    },
    /// Cancel the invoice of an order that is over. Harmless when the invoice was canceled before, and when
    /// it is paid: then it stays paid, and the payment is given back. If there is no invoice yet, there will
    /// be none.
    CancelWithOrder {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: Reason,
    },
}

/// Why an invoice says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceRefusal {
    /// There is no such invoice.
    #[error("there is no such invoice")]
    NotFound,
    /// There is one, about something else.
    #[error("the order has an invoice already, with another payment or amount")]
    AlreadyCreated,
    /// It was called off, perhaps before it was made.
    #[error("the order's invoice was canceled")]
    WasCanceled,
    /// Less than nothing.
    #[error("the amount cannot be negative")]
    AmountCannotBeNegative,
    /// More than the customer agreed to pay.
    #[error("the invoice would be over {amount}, but the payment holds {held} for the order")]
    ExceedsPayment {
        /// What would be owed.
        amount: Money,
        /// What is held.
        held: Money,
    },
    /// Nothing is held for the order.
    #[error("the payment holds nothing for the order: it is not confirmed, or no longer")]
    HasNoPayment,
    /// The payment was taken before, for more or less than is owed.
    #[error("the payment was captured for {captured}, the invoice is over {amount}")]
    WasCapturedForAnotherAmount {
        /// What was taken.
        captured: Money,
        /// What is owed.
        amount: Money,
    },
    /// It is not pending.
    #[error("the invoice is {status} and cannot be paid")]
    CannotBePaid {
        /// The state it is in.
        status: &'static str,
    },
    /// It is not pending.
    #[error("the invoice is {status} and cannot be canceled")]
    CannotBeCanceled {
        /// The state it is in.
        status: &'static str,
    },
    /// It is not pending.
    #[error("the invoice is {status} and cannot be adjusted")]
    CannotBeAdjusted {
        /// The state it is in.
        status: &'static str,
    },
    /// The customer paid after all.
    #[error("the invoice is paid")]
    IsPaid,
}

impl Refusal for InvoiceRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "INVOICE_NOT_FOUND",
            Self::AlreadyCreated => "INVOICE_ALREADY_CREATED",
            Self::WasCanceled => "INVOICE_WAS_CANCELLED",
            Self::AmountCannotBeNegative => "AMOUNT_CANNOT_BE_NEGATIVE",
            Self::ExceedsPayment { .. } => "INVOICE_EXCEEDS_PAYMENT",
            Self::HasNoPayment => "INVOICE_HAS_NO_PAYMENT",
            Self::WasCapturedForAnotherAmount { .. } => "PAYMENT_WAS_CAPTURED_FOR_ANOTHER_AMOUNT",
            Self::CannotBePaid { .. } => "INVOICE_CANNOT_BE_PAID",
            Self::CannotBeCanceled { .. } => "INVOICE_CANNOT_BE_CANCELLED",
            Self::CannotBeAdjusted { .. } => "INVOICE_CANNOT_BE_ADJUSTED",
            Self::IsPaid => "INVOICE_IS_PAID",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::AlreadyCreated
            | Self::WasCanceled
            | Self::ExceedsPayment { .. }
            | Self::HasNoPayment
            | Self::WasCapturedForAnotherAmount { .. }
            | Self::IsPaid => RefusalKind::Conflict,
            // 400 for an invoice that is no longer pending is what the original API answers.
            Self::AmountCannotBeNegative
            | Self::CannotBePaid { .. }
            | Self::CannotBeCanceled { .. }
            | Self::CannotBeAdjusted { .. } => RefusalKind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::AmountCannotBeNegative | Self::ExceedsPayment { .. } => Some("amount"),
            Self::NotFound
            | Self::AlreadyCreated
            | Self::WasCanceled
            | Self::HasNoPayment
            | Self::WasCapturedForAnotherAmount { .. }
            | Self::CannotBePaid { .. }
            | Self::CannotBeCanceled { .. }
            | Self::CannotBeAdjusted { .. }
            | Self::IsPaid => None,
        }
    }
}

impl Invoice {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Paid(_) => "paid",
            Self::Canceled(..) | Self::NeverMade(_) => "canceled",
        }
    }

    /// Who owes, or owed, how much; nothing when it was never made.
    pub fn bill(&self) -> Option<&Bill> {
        match self {
            Self::Pending(bill) | Self::Paid(bill) | Self::Canceled(bill, _) => Some(bill),
            Self::NeverMade(_) => None,
        }
    }

    /// What the customer paid, if so.
    pub fn paid(&self) -> Option<Money> {
        match self {
            Self::Paid(bill) => Some(bill.amount),
            Self::Pending(_) | Self::Canceled(..) | Self::NeverMade(_) => None,
        }
    }

    /// Why it was canceled, if it was.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Canceled(_, reason) | Self::NeverMade(reason) => Some(reason),
            Self::Pending(_) | Self::Paid(_) => None,
        }
    }
}

impl Aggregate for Invoice {
    const CATEGORY: &'static str = "payments.Invoice";
    /// 2: reminders are counted.
    const STATE_SCHEMA: u16 = 2;
    type Command = InvoiceCommand;
    type Event = InvoiceEvent;
    type Refusal = InvoiceRefusal;

    fn decide(state: Option<&Self>, command: &InvoiceCommand) -> Result<Vec<InvoiceEvent>, InvoiceRefusal> {
        use InvoiceCommand::{Adjust, Cancel, CancelWithOrder, Create, GiveUp, Pay, Remind};
        match (state, command) {
            (None, Create { order_id, customer_id, payment_id, amount }) => {
                create(*order_id, *customer_id, *payment_id, *amount)
            }
            (
                Some(Self::Pending(bill) | Self::Paid(bill)),
                Create { order_id, customer_id, payment_id, amount },
            ) => {
                let same = (bill.order_id, bill.customer_id, bill.payment_id, bill.total)
                    == (*order_id, *customer_id, *payment_id, *amount);
                if same { Ok(vec![]) } else { Err(InvoiceRefusal::AlreadyCreated) }
            }
            (Some(Self::Canceled(..) | Self::NeverMade(_)), Create { .. }) => {
                Err(InvoiceRefusal::WasCanceled)
            }

            (None | Some(Self::NeverMade(_)), Adjust { .. } | Pay { .. } | Cancel { .. } | Remind { .. })
            | (None, GiveUp { .. }) => Err(InvoiceRefusal::NotFound),

            (Some(Self::Pending(bill)), Adjust { amount, held }) => adjust(bill, *amount, *held),
            (Some(invoice @ (Self::Paid(_) | Self::Canceled(..))), Adjust { .. }) => {
                Err(InvoiceRefusal::CannotBeAdjusted { status: invoice.status() })
            }

            (Some(Self::Pending(bill)), Pay { funds }) => pay(bill, *funds),
            (Some(invoice @ (Self::Paid(_) | Self::Canceled(..))), Pay { .. }) => {
                Err(InvoiceRefusal::CannotBePaid { status: invoice.status() })
            }

            (Some(Self::Pending(bill)), Cancel { reason }) => Ok(vec![canceled(bill.order_id, reason)]),
            (Some(invoice @ (Self::Paid(_) | Self::Canceled(..))), Cancel { .. }) => {
                Err(InvoiceRefusal::CannotBeCanceled { status: invoice.status() })
            }

            (Some(Self::Pending(bill)), Remind { reminders, moment }) => Ok(remind(bill, *reminders, moment)),
            (Some(Self::Paid(_) | Self::Canceled(..)), Remind { .. }) => Ok(vec![]),

            (Some(Self::Pending(bill)), GiveUp { reason }) => Ok(vec![canceled(bill.order_id, reason)]),
            (Some(Self::Paid(_)), GiveUp { .. }) => Err(InvoiceRefusal::IsPaid),
            (Some(Self::Canceled(..) | Self::NeverMade(_)), GiveUp { .. }) => Ok(vec![]),

            (None | Some(Self::Pending(_)), CancelWithOrder { order_id, reason }) => {
                Ok(vec![canceled(*order_id, reason)])
            }
            (Some(Self::Paid(_) | Self::Canceled(..) | Self::NeverMade(_)), CancelWithOrder { .. }) => {
                Ok(vec![])
            }
        }
    }

    fn evolve(state: Option<Self>, event: &InvoiceEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, InvoiceEvent::InvoiceCreated(e)) => Ok(Self::Pending(Bill {
                order_id: e.order_id,
                customer_id: e.customer_id,
                payment_id: e.payment_id,
                total: e.amount,
                amount: e.amount,
                reminders: 0,
            })),
            (Some(Self::Pending(bill)), InvoiceEvent::InvoiceAdjusted(e)) => {
                Ok(Self::Pending(Bill { amount: e.amount, ..bill }))
            }
            (Some(Self::Pending(bill)), InvoiceEvent::InvoiceReminded(e)) => {
                Ok(Self::Pending(Bill { reminders: e.reminder, ..bill }))
            }
            (Some(Self::Pending(bill)), InvoiceEvent::InvoicePaid(_)) => Ok(Self::Paid(bill)),
            (Some(Self::Pending(bill)), InvoiceEvent::InvoiceCanceled(e)) => {
                Ok(Self::Canceled(bill, Reason::new(&e.reason)))
            }
            (None, InvoiceEvent::InvoiceCanceled(e)) => Ok(Self::NeverMade(Reason::new(&e.reason))),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Invoice::status),
            }),
        }
    }
}

fn create(
    order_id: OrderId,
    customer_id: CustomerId,
    payment_id: PaymentId,
    amount: Money,
) -> Result<Vec<InvoiceEvent>, InvoiceRefusal> {
    if amount.is_negative() {
        return Err(InvoiceRefusal::AmountCannotBeNegative);
    }
    Ok(vec![InvoiceEvent::InvoiceCreated(InvoiceCreated { order_id, customer_id, payment_id, amount })])
}

fn adjust(bill: &Bill, amount: Money, held: Option<Money>) -> Result<Vec<InvoiceEvent>, InvoiceRefusal> {
    if amount.is_negative() {
        return Err(InvoiceRefusal::AmountCannotBeNegative);
    }
    if amount == bill.amount {
        return Ok(vec![]);
    }
    covered(amount, held)?;
    let (order_id, old_amount) = (bill.order_id, bill.amount);
    Ok(vec![InvoiceEvent::InvoiceAdjusted(InvoiceAdjusted { order_id, old_amount, amount })])
}

fn pay(bill: &Bill, funds: Option<Funds>) -> Result<Vec<InvoiceEvent>, InvoiceRefusal> {
    match funds {
        Some(Funds::Captured(captured)) if captured != bill.amount => {
            return Err(InvoiceRefusal::WasCapturedForAnotherAmount { captured, amount: bill.amount });
        }
        Some(Funds::Captured(_)) => {}
        Some(Funds::Held(held)) => covered(bill.amount, Some(held))?,
        None => covered(bill.amount, None)?,
    }
    let Bill { order_id, customer_id, payment_id, amount, .. } = *bill;
    Ok(vec![InvoiceEvent::InvoicePaid(InvoicePaid { order_id, customer_id, payment_id, amount })])
}

fn remind(bill: &Bill, known: u32, moment: &Moment) -> Vec<InvoiceEvent> {
    if bill.reminders != known || !moment.is_to_be_reminded() {
        return vec![];
    }
    let Bill { order_id, customer_id, payment_id, amount, reminders, .. } = *bill;
    let (reminder, due_at) = (reminders.saturating_add(1), moment.due_at());
    let reminded = InvoiceReminded { order_id, customer_id, payment_id, amount, reminder, due_at };
    vec![InvoiceEvent::InvoiceReminded(reminded)]
}

/// What cannot be taken from the payment is not owed.
fn covered(amount: Money, held: Option<Money>) -> Result<(), InvoiceRefusal> {
    match held {
        None => Err(InvoiceRefusal::HasNoPayment),
        Some(held) if !held.covers(amount) => Err(InvoiceRefusal::ExceedsPayment { amount, held }),
        Some(_) => Ok(()),
    }
}

fn canceled(order_id: OrderId, reason: &Reason) -> InvoiceEvent {
    InvoiceEvent::InvoiceCanceled(InvoiceCanceled { order_id, reason: reason.as_str().to_owned() })
}
