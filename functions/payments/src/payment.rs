//! A payment: an amount that a customer put up, used for at most one order.

use contracts::{
    ids::{CustomerId, OrderId},
    payments::{
        PaymentAuthorized, PaymentCaptured, PaymentConfirmed, PaymentEvent, PaymentRefunded, PaymentReleased,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Money, Reason, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// Who put up how much. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PutUp {
    /// Who pays.
    pub customer_id: CustomerId,
    /// Up to how much.
    pub amount: Money,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Payment {
    /// The amount is put up and free to be used.
    Authorized {
        /// What was put up.
        put_up: PutUp,
    },
    /// A part of it, or all, is held for one order.
    Confirmed {
        /// What was put up.
        put_up: PutUp,
        /// The order.
        order_id: OrderId,
        /// What is held: the order's total.
        held: Money,
    },
    /// It was taken: the order's invoice is paid. What was held or put up beyond it is free again.
    Captured {
        /// What was put up.
        put_up: PutUp,
        /// The order.
        order_id: OrderId,
        /// What was taken.
        captured: Money,
    },
    /// What was taken was given back; of no further use.
    Refunded {
        /// What was put up.
        put_up: PutUp,
        /// The order.
        order_id: OrderId,
        /// What was taken and given back.
        refunded: Money,
    },
    /// Given up before anything was taken; of no further use.
    Released {
        /// What was put up.
        put_up: PutUp,
        /// The order that no longer needed it.
        order_id: OrderId,
    },
}

/// What can be asked of a payment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum PaymentCommand {
    /// Put up an amount.
    Authorize {
        /// Who pays.
        customer_id: CustomerId,
        /// Up to how much.
        amount: Money,
    },
    /// Hold it for an order.
    Confirm {
        /// The order.
        order_id: OrderId,
        /// Whose order it is.
        customer_id: CustomerId,
        /// What the order costs.
        total: Money,
    },
    /// Take what the order's invoice says. Harmless when as much was taken for this order before; another
    /// amount is refused, since the books would not say what the invoice says.
    Capture {
        /// The order.
        order_id: OrderId,
        /// Whose order it is.
        customer_id: CustomerId,
        /// What the customer owes.
        amount: Money,
    },
    /// Give up the hold, because the order no longer needs it. Harmless when nothing is held for it; and a
    /// confirmation for that order which arrives later is refused. What was taken already is refunded, not
    /// released, and so is what is about to be taken.
    Release {
        /// The order.
        order_id: OrderId,
        /// Whose order it is.
        customer_id: CustomerId,
        /// True if the order's invoice is paid, looked up.
        invoice_is_paid: bool,
    },
    /// Give back all that was taken. Harmless when it was given back before.
    Refund {
        /// The order.
        order_id: OrderId,
        /// Whose order it is.
        customer_id: CustomerId,
        /// Why.
        reason: Reason,
    },
    /// Leave nothing of the customer's money with an order that is over, whatever has become of the payment
    /// so far. Harmless when there is nothing to give back. A payment that is still free ends too: a
    /// confirmation for the order that arrives later is refused.
    GiveBack {
        /// The order.
        order_id: OrderId,
        /// Whose order it is.
        customer_id: CustomerId,
        /// What the customer paid on the order's invoice, if it was paid: that is taken, or about to be.
        paid: Option<Money>,
        /// Why.
        reason: Reason,
    },
}

/// Why a payment says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    /// There is no such payment.
    #[error("there is no such payment")]
    NotFound,
    /// It was authorized before.
    #[error("the payment is authorized already")]
    AlreadyAuthorized,
    /// Less than nothing.
    #[error("the amount cannot be negative")]
    AmountCannotBeNegative,
    /// Somebody else's.
    #[error("the payment belongs to another customer")]
    BelongsToAnotherCustomer,
    /// Too little.
    #[error("the payment of {amount} does not cover the order's total of {total}")]
    DoesNotCoverTotal {
        /// What was put up.
        amount: Money,
        /// What the order costs.
        total: Money,
    },
    /// More is to be taken than was agreed to.
    #[error("the payment holds {held} for the order, {amount} cannot be taken")]
    HoldsLess {
        /// What is held.
        held: Money,
        /// What was to be taken.
        amount: Money,
    },
    /// Used once already.
    #[error("the payment is held for another order, or was")]
    IsUsed,
    /// Nothing is held for the order.
    #[error("the payment is not confirmed for the order")]
    NotConfirmed,
    /// Nothing was taken.
    #[error("nothing was taken from the payment, so there is nothing to refund: release it")]
    NotCaptured,
    /// About to be taken: the customer paid.
    #[error("the invoice is paid")]
    InvoiceIsPaid,
    /// Taken already: more is needed than to give up a hold.
    #[error("the payment was captured and cannot be released: refund it")]
    WasCaptured,
    /// Taken already, and the invoice says another amount.
    #[error("{captured} was captured for the order already, not {amount}")]
    WasCapturedForAnotherAmount {
        /// What was taken.
        captured: Money,
        /// What was to be taken.
        amount: Money,
    },
    /// Given back already.
    #[error("the payment was refunded")]
    WasRefunded,
    /// Given up already.
    #[error("the payment was released")]
    WasReleased,
}

impl Refusal for PaymentRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "PAYMENT_NOT_FOUND",
            Self::AlreadyAuthorized => "PAYMENT_ALREADY_AUTHORIZED",
            Self::AmountCannotBeNegative => "AMOUNT_CANNOT_BE_NEGATIVE",
            Self::BelongsToAnotherCustomer => "PAYMENT_BELONGS_TO_ANOTHER_CUSTOMER",
            Self::DoesNotCoverTotal { .. } => "PAYMENT_DOES_NOT_COVER_TOTAL",
            Self::HoldsLess { .. } => "PAYMENT_HOLDS_LESS",
            Self::IsUsed => "PAYMENT_IS_USED",
            Self::NotConfirmed => "PAYMENT_NOT_CONFIRMED",
            Self::NotCaptured => "PAYMENT_NOT_CAPTURED",
            Self::InvoiceIsPaid => "INVOICE_IS_PAID",
            Self::WasCaptured => "PAYMENT_WAS_CAPTURED",
            Self::WasCapturedForAnotherAmount { .. } => "PAYMENT_WAS_CAPTURED_FOR_ANOTHER_AMOUNT",
            Self::WasRefunded => "PAYMENT_WAS_REFUNDED",
            Self::WasReleased => "PAYMENT_WAS_RELEASED",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::AmountCannotBeNegative => RefusalKind::Invalid,
            Self::AlreadyAuthorized
            | Self::BelongsToAnotherCustomer
            | Self::DoesNotCoverTotal { .. }
            | Self::HoldsLess { .. }
            | Self::IsUsed
            | Self::NotConfirmed
            | Self::NotCaptured
            | Self::InvoiceIsPaid
            | Self::WasCaptured
            | Self::WasCapturedForAnotherAmount { .. }
            | Self::WasRefunded
            | Self::WasReleased => RefusalKind::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::AmountCannotBeNegative => Some("amount"),
            Self::NotFound
            | Self::AlreadyAuthorized
            | Self::BelongsToAnotherCustomer
            | Self::DoesNotCoverTotal { .. }
            | Self::HoldsLess { .. }
            | Self::IsUsed
            | Self::NotConfirmed
            | Self::NotCaptured
            | Self::InvoiceIsPaid
            | Self::WasCaptured
            | Self::WasCapturedForAnotherAmount { .. }
            | Self::WasRefunded
            | Self::WasReleased => None,
        }
    }
}

impl Payment {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Authorized { .. } => "authorized",
            Self::Confirmed { .. } => "confirmed",
            Self::Captured { .. } => "captured",
            Self::Refunded { .. } => "refunded",
            Self::Released { .. } => "released",
        }
    }

    /// Who put up how much.
    pub fn put_up(&self) -> PutUp {
        match self {
            Self::Authorized { put_up }
            | Self::Confirmed { put_up, .. }
            | Self::Captured { put_up, .. }
            | Self::Refunded { put_up, .. }
            | Self::Released { put_up, .. } => *put_up,
        }
    }

    /// The order it is, or was, used for.
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Authorized { .. } => None,
            Self::Confirmed { order_id, .. }
            | Self::Captured { order_id, .. }
            | Self::Refunded { order_id, .. }
            | Self::Released { order_id, .. } => Some(*order_id),
        }
    }

    /// What is held, if it is.
    pub fn held(&self) -> Option<Money> {
        match self {
            Self::Confirmed { held, .. } => Some(*held),
            Self::Authorized { .. }
            | Self::Captured { .. }
            | Self::Refunded { .. }
            | Self::Released { .. } => None,
        }
    }

    /// What was taken, if it was; it may have been given back since.
    pub fn captured(&self) -> Option<Money> {
        match self {
            Self::Captured { captured, .. } => Some(*captured),
            Self::Refunded { refunded, .. } => Some(*refunded),
            Self::Authorized { .. } | Self::Confirmed { .. } | Self::Released { .. } => None,
        }
    }

    /// What was taken and given back.
    pub fn refunded(&self) -> Option<Money> {
        match self {
            Self::Refunded { refunded, .. } => Some(*refunded),
            Self::Authorized { .. }
            | Self::Confirmed { .. }
            | Self::Captured { .. }
            | Self::Released { .. } => None,
        }
    }

    fn is_of_another_customer(&self, customer_id: CustomerId) -> bool {
        self.put_up().customer_id != customer_id
    }

    /// Whether it is held for another order, or was taken or given back for another.
    fn is_of_another_order(&self, order_id: OrderId) -> bool {
        self.order_id().is_some_and(|used_for| used_for != order_id)
    }
}

impl Aggregate for Payment {
    const CATEGORY: &'static str = "payments.Payment";
    /// 2: what is held is kept; captured and refunded are new.
    const STATE_SCHEMA: u16 = 2;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Refusal = PaymentRefusal;

    fn decide(state: Option<&Self>, command: &PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        use PaymentCommand::{Authorize, Capture, Confirm, GiveBack, Refund, Release};
        match (state, command) {
            (None, Authorize { customer_id, amount }) => authorize(*customer_id, *amount),
            (Some(_), Authorize { .. }) => Err(PaymentRefusal::AlreadyAuthorized),
            (None, Confirm { .. } | Capture { .. } | Refund { .. }) => Err(PaymentRefusal::NotFound),
            // An order may name a payment that never was: nothing was put up, so there is nothing to give back.
            (None, Release { .. } | GiveBack { .. }) => Ok(vec![]),

            (
                Some(payment),
                Confirm { customer_id, .. } | Capture { customer_id, .. } | Refund { customer_id, .. },
            ) if payment.is_of_another_customer(*customer_id) => {
                Err(PaymentRefusal::BelongsToAnotherCustomer)
            }
            // Another's payment is not this order's to give back.
            (Some(payment), Release { customer_id, .. } | GiveBack { customer_id, .. })
                if payment.is_of_another_customer(*customer_id) =>
            {
                Ok(vec![])
            }

            (Some(payment), Confirm { order_id, total, .. }) => confirm(payment, *order_id, *total),
            (Some(payment), Capture { order_id, amount, .. }) => capture(payment, *order_id, *amount),
            (Some(payment), Release { order_id, invoice_is_paid, .. }) => {
                release(payment, *order_id, *invoice_is_paid)
            }
            (Some(payment), Refund { order_id, reason, .. }) => refund(payment, *order_id, reason),
            (Some(payment), GiveBack { order_id, paid, reason, .. }) => {
                give_back(payment, *order_id, *paid, reason)
            }
        }
    }

    fn evolve(state: Option<Self>, event: &PaymentEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, PaymentEvent::PaymentAuthorized(e)) => {
                Ok(Self::Authorized { put_up: PutUp { customer_id: e.customer_id, amount: e.amount } })
            }
            (Some(Self::Authorized { put_up }), PaymentEvent::PaymentConfirmed(e)) => {
                Ok(Self::Confirmed { put_up, order_id: e.order_id, held: e.amount })
            }
            (Some(Self::Confirmed { put_up, order_id, .. }), PaymentEvent::PaymentCaptured(e)) => {
                Ok(Self::Captured { put_up, order_id, captured: e.amount })
            }
            (Some(Self::Captured { put_up, order_id, .. }), PaymentEvent::PaymentRefunded(e)) => {
                Ok(Self::Refunded { put_up, order_id, refunded: e.amount })
            }
            (
                Some(Self::Authorized { put_up } | Self::Confirmed { put_up, .. }),
                PaymentEvent::PaymentReleased(e),
            ) => Ok(Self::Released { put_up, order_id: e.order_id }),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Payment::status),
            }),
        }
    }
}

fn authorize(customer_id: CustomerId, amount: Money) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    if amount.is_negative() {
        return Err(PaymentRefusal::AmountCannotBeNegative);
    }
    Ok(vec![PaymentEvent::PaymentAuthorized(PaymentAuthorized { customer_id, amount })])
}

fn confirm(payment: &Payment, order_id: OrderId, total: Money) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    match payment {
        Payment::Authorized { .. } if total.is_negative() => Err(PaymentRefusal::AmountCannotBeNegative),
        Payment::Authorized { put_up } if !put_up.amount.covers(total) => {
            Err(PaymentRefusal::DoesNotCoverTotal { amount: put_up.amount, total })
        }
        Payment::Authorized { .. } => {
            Ok(vec![PaymentEvent::PaymentConfirmed(PaymentConfirmed { order_id, amount: total })])
        }
        Payment::Released { .. } => Err(PaymentRefusal::WasReleased),
        Payment::Confirmed { .. } | Payment::Captured { .. } | Payment::Refunded { .. }
            if payment.is_of_another_order(order_id) =>
        {
            Err(PaymentRefusal::IsUsed)
        }
        Payment::Confirmed { .. } | Payment::Captured { .. } => Ok(vec![]),
        Payment::Refunded { .. } => Err(PaymentRefusal::WasRefunded),
    }
}

fn capture(payment: &Payment, order_id: OrderId, amount: Money) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    match payment {
        Payment::Authorized { .. } => Err(PaymentRefusal::NotConfirmed),
        Payment::Released { .. } => Err(PaymentRefusal::WasReleased),
        Payment::Confirmed { .. } | Payment::Captured { .. } | Payment::Refunded { .. }
            if payment.is_of_another_order(order_id) =>
        {
            Err(PaymentRefusal::IsUsed)
        }
        Payment::Confirmed { .. } if amount.is_negative() => Err(PaymentRefusal::AmountCannotBeNegative),
        Payment::Confirmed { held, .. } if !held.covers(amount) => {
            Err(PaymentRefusal::HoldsLess { held: *held, amount })
        }
        Payment::Confirmed { .. } => {
            Ok(vec![PaymentEvent::PaymentCaptured(PaymentCaptured { order_id, amount })])
        }
        Payment::Captured { captured, .. } if *captured != amount => {
            Err(PaymentRefusal::WasCapturedForAnotherAmount { captured: *captured, amount })
        }
        // What was given back owes nothing, whatever the invoice says.
        Payment::Captured { .. } | Payment::Refunded { .. } => Ok(vec![]),
    }
}

fn release(
    payment: &Payment,
    order_id: OrderId,
    invoice_is_paid: bool,
) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    match payment {
        Payment::Authorized { .. } => Ok(vec![released(order_id)]),
        // What another order holds is not this order's to release.
        _ if payment.is_of_another_order(order_id) => Ok(vec![]),
        // It is about to be captured, and the order to be completed.
        Payment::Confirmed { .. } if invoice_is_paid => Err(PaymentRefusal::InvoiceIsPaid),
        Payment::Confirmed { .. } => Ok(vec![released(order_id)]),
        // Nothing would be as wrong as "nothing to undo" while the customer's money is kept.
        Payment::Captured { .. } => Err(PaymentRefusal::WasCaptured),
        Payment::Refunded { .. } | Payment::Released { .. } => Ok(vec![]),
    }
}

fn refund(
    payment: &Payment,
    order_id: OrderId,
    reason: &Reason,
) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    match payment {
        Payment::Authorized { .. } => Err(PaymentRefusal::NotCaptured),
        Payment::Released { .. } => Err(PaymentRefusal::WasReleased),
        Payment::Confirmed { .. } | Payment::Captured { .. } | Payment::Refunded { .. }
            if payment.is_of_another_order(order_id) =>
        {
            Err(PaymentRefusal::IsUsed)
        }
        Payment::Confirmed { .. } => Err(PaymentRefusal::NotCaptured),
        Payment::Captured { captured, .. } => Ok(vec![refunded(order_id, *captured, reason)]),
        Payment::Refunded { .. } => Ok(vec![]),
    }
}

fn give_back(
    payment: &Payment,
    order_id: OrderId,
    paid: Option<Money>,
    reason: &Reason,
) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    match payment {
        Payment::Authorized { .. } => Ok(vec![released(order_id)]),
        _ if payment.is_of_another_order(order_id) => Ok(vec![]),
        Payment::Confirmed { .. } => match paid {
            None => Ok(vec![released(order_id)]),
            // The customer has paid: the books say so, and say that it was given back, whether or not the
            // capture was there before.
            Some(amount) => {
                let mut events = capture(payment, order_id, amount)?;
                events.push(refunded(order_id, amount, reason));
                Ok(events)
            }
        },
        Payment::Captured { captured, .. } => Ok(vec![refunded(order_id, *captured, reason)]),
        Payment::Refunded { .. } | Payment::Released { .. } => Ok(vec![]),
    }
}

fn released(order_id: OrderId) -> PaymentEvent {
    PaymentEvent::PaymentReleased(PaymentReleased { order_id })
}

fn refunded(order_id: OrderId, amount: Money, reason: &Reason) -> PaymentEvent {
    let reason = reason.as_str().to_owned();
    PaymentEvent::PaymentRefunded(PaymentRefunded { order_id, amount, reason })
}
