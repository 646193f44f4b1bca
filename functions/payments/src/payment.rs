//! A payment: an amount that a customer put up, used for at most one order.

use contracts::{
    ids::{CustomerId, OrderId},
    payments::{PaymentAuthorized, PaymentConfirmed, PaymentEvent, PaymentReleased},
};
use kernel::{Aggregate, BrokenHistory, Event, Money, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// A payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Payment {
    /// The amount is put up and free to be used.
    Authorized {
        /// Who pays.
        customer_id: CustomerId,
        /// Up to how much.
        amount: Money,
    },
    /// Held for one order.
    Confirmed {
        /// Who pays.
        customer_id: CustomerId,
        /// Up to how much.
        amount: Money,
        /// The order.
        order_id: OrderId,
    },
    /// Given back; of no further use.
    Released {
        /// Who would have paid.
        customer_id: CustomerId,
        /// Up to how much.
        amount: Money,
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
    /// Give it back, because the order no longer needs it. Harmless when there is nothing to give back;
    /// and a confirmation for that order which arrives later is refused.
    Release {
        /// The order.
        order_id: OrderId,
        /// Whose order it is.
        customer_id: CustomerId,
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
    /// Used once already.
    #[error("the payment is held for another order")]
    IsUsed,
    /// Given back already.
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
            Self::IsUsed => "PAYMENT_IS_USED",
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
            | Self::IsUsed
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
            | Self::IsUsed
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
            Self::Released { .. } => "released",
        }
    }

    /// Who pays.
    pub fn customer_id(&self) -> CustomerId {
        match self {
            Self::Authorized { customer_id, .. }
            | Self::Confirmed { customer_id, .. }
            | Self::Released { customer_id, .. } => *customer_id,
        }
    }

    /// Up to how much.
    pub fn amount(&self) -> Money {
        match self {
            Self::Authorized { amount, .. }
            | Self::Confirmed { amount, .. }
            | Self::Released { amount, .. } => *amount,
        }
    }

    /// The order it is, or was, held for.
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Authorized { .. } => None,
            Self::Confirmed { order_id, .. } | Self::Released { order_id, .. } => Some(*order_id),
        }
    }
}

impl Aggregate for Payment {
    const CATEGORY: &'static str = "payments.Payment";
    const STATE_SCHEMA: u16 = 1;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Refusal = PaymentRefusal;

    fn decide(state: Option<&Self>, command: &PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        match *command {
            PaymentCommand::Authorize { customer_id, amount } => match state {
                Some(_) => Err(PaymentRefusal::AlreadyAuthorized),
                None if amount.is_negative() => Err(PaymentRefusal::AmountCannotBeNegative),
                None => Ok(vec![PaymentEvent::PaymentAuthorized(PaymentAuthorized { customer_id, amount })]),
            },
            PaymentCommand::Confirm { order_id, customer_id, total } => match state {
                None => Err(PaymentRefusal::NotFound),
                Some(payment) if payment.customer_id() != customer_id => {
                    Err(PaymentRefusal::BelongsToAnotherCustomer)
                }
                Some(Self::Confirmed { order_id: held_for, .. }) if *held_for == order_id => Ok(vec![]),
                Some(Self::Confirmed { .. }) => Err(PaymentRefusal::IsUsed),
                Some(Self::Released { .. }) => Err(PaymentRefusal::WasReleased),
                Some(Self::Authorized { amount, .. }) if !amount.covers(total) => {
                    Err(PaymentRefusal::DoesNotCoverTotal { amount: *amount, total })
                }
                Some(Self::Authorized { .. }) => {
                    Ok(vec![PaymentEvent::PaymentConfirmed(PaymentConfirmed { order_id, amount: total })])
                }
            },
            PaymentCommand::Release { order_id, customer_id } => {
                let released = vec![PaymentEvent::PaymentReleased(PaymentReleased { order_id })];
                match state {
                    // Another's payment, or one that another order holds, is not this order's to release.
                    None => Ok(vec![]),
                    Some(payment) if payment.customer_id() != customer_id => Ok(vec![]),
                    Some(Self::Authorized { .. }) => Ok(released),
                    Some(Self::Confirmed { order_id: held_for, .. }) if *held_for == order_id => Ok(released),
                    Some(Self::Confirmed { .. } | Self::Released { .. }) => Ok(vec![]),
                }
            }
        }
    }

    fn evolve(state: Option<Self>, event: &PaymentEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, PaymentEvent::PaymentAuthorized(e)) => {
                Ok(Self::Authorized { customer_id: e.customer_id, amount: e.amount })
            }
            (Some(Self::Authorized { customer_id, amount }), PaymentEvent::PaymentConfirmed(e)) => {
                Ok(Self::Confirmed { customer_id, amount, order_id: e.order_id })
            }
            (
                Some(Self::Authorized { customer_id, amount } | Self::Confirmed { customer_id, amount, .. }),
                PaymentEvent::PaymentReleased(e),
            ) => Ok(Self::Released { customer_id, amount, order_id: e.order_id }),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Payment::status),
            }),
        }
    }
}
