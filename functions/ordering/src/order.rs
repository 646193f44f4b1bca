//! An order.

use contracts::{
    baskets::total,
    ids::{CustomerId, PaymentId},
    ordering::{OrderApproved, OrderCanceled, OrderCreated, OrderEvent, OrderItem, OrderRejected},
};
use kernel::{Aggregate, BrokenHistory, Event, Money, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// What was ordered, by whom. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the customer pays with.
    pub payment_id: PaymentId,
    /// The lines.
    pub items: Vec<OrderItem>,
    /// Sum of the lines.
    pub total: Money,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Placed; the order saga is at work.
    Pending(Placed),
    /// Everything it needs is in place.
    Approved(Placed),
    /// Something was not to be had; everything is undone.
    Rejected(Placed, Reason),
    /// The customer took it back.
    Canceled(Placed),
}

/// Why an order was rejected: the code of the refusal or failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// Codes are short; anything longer is cut, since it may come from anywhere.
    const MAX_CHARS: usize = 120;

    /// The reason with this code.
    pub fn new(code: &str) -> Self {
        Self(code.chars().take(Self::MAX_CHARS).collect())
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What can be asked of an order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum OrderCommand {
    /// Place it.
    Create {
        /// Who orders.
        customer_id: CustomerId,
        /// What the customer pays with.
        payment_id: PaymentId,
        /// The lines.
        items: Vec<OrderItem>,
    },
    /// Everything it needs is in place.
    Approve,
    /// Something it needs is not to be had.
    Reject {
        /// Why.
        reason: Reason,
    },
    /// The customer takes it back.
    Cancel,
}

/// Why an order says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// It was placed before.
    #[error("the order exists already")]
    AlreadyCreated,
    /// Nothing is ordered.
    #[error("the order has no items")]
    HasNoItems,
    /// A line without pieces.
    #[error("every line of an order needs at least one piece")]
    QuantityMustBePositive,
    /// A price below zero.
    #[error("a price cannot be negative")]
    PriceCannotBeNegative,
    /// The total cannot be expressed.
    #[error("the order's total is too large, or mixes currencies")]
    TotalIsInvalid,
    /// It is neither pending nor approved.
    #[error("the order is {status} and cannot be approved")]
    CannotBeApproved {
        /// The state it is in.
        status: &'static str,
    },
    /// It is no longer pending.
    #[error("the order is {status} and cannot be cancelled")]
    CannotBeCanceled {
        /// The state it is in.
        status: &'static str,
    },
}

impl Refusal for OrderRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "ORDER_NOT_FOUND",
            Self::AlreadyCreated => "ORDER_ALREADY_CREATED",
            Self::HasNoItems => "ORDER_HAS_NO_ITEMS",
            Self::QuantityMustBePositive => "QUANTITY_MUST_BE_POSITIVE",
            Self::PriceCannotBeNegative => "PRICE_CANNOT_BE_NEGATIVE",
            Self::TotalIsInvalid => "ORDER_TOTAL_IS_INVALID",
            Self::CannotBeApproved { .. } => "ORDER_CANNOT_BE_APPROVED",
            Self::CannotBeCanceled { .. } => "ORDER_CANNOT_BE_CANCELLED",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::AlreadyCreated | Self::CannotBeApproved { .. } => RefusalKind::Conflict,
            // 400 for a cancellation that comes too late is what the original API answers.
            Self::HasNoItems
            | Self::QuantityMustBePositive
            | Self::PriceCannotBeNegative
            | Self::TotalIsInvalid
            | Self::CannotBeCanceled { .. } => RefusalKind::Invalid,
        }
    }
}

impl Order {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Approved(_) => "approved",
            Self::Rejected(..) => "rejected",
            Self::Canceled(_) => "cancelled",
        }
    }

    /// What was ordered.
    pub fn placed(&self) -> &Placed {
        match self {
            Self::Pending(placed)
            | Self::Approved(placed)
            | Self::Rejected(placed, _)
            | Self::Canceled(placed) => placed,
        }
    }

    /// Why it was rejected, if it was.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Rejected(_, reason) => Some(reason),
            Self::Pending(_) | Self::Approved(_) | Self::Canceled(_) => None,
        }
    }
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "ordering.Order";
    const STATE_SCHEMA: u16 = 1;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Refusal = OrderRefusal;

    fn decide(state: Option<&Self>, command: &OrderCommand) -> Result<Vec<OrderEvent>, OrderRefusal> {
        use OrderCommand::{Approve, Cancel, Create, Reject};
        match (state, command) {
            (None, Create { customer_id, payment_id, items }) => create(*customer_id, *payment_id, items),
            (Some(_), Create { .. }) => Err(OrderRefusal::AlreadyCreated),
            (None, Approve | Reject { .. } | Cancel) => Err(OrderRefusal::NotFound),

            (Some(Self::Pending(placed)), Approve) => {
                let (customer_id, payment_id) = (placed.customer_id, placed.payment_id);
                Ok(vec![OrderEvent::OrderApproved(OrderApproved {
                    customer_id,
                    payment_id,
                    shopping_id: None,
                })])
            }
            (Some(Self::Approved(_)), Approve) => Ok(vec![]),
            (Some(order @ (Self::Rejected(..) | Self::Canceled(_))), Approve) => {
                Err(OrderRefusal::CannotBeApproved { status: order.status() })
            }

            // Approved too: when the answer to the approval is lost for good, the saga undoes it.
            (Some(Self::Pending(placed) | Self::Approved(placed)), Reject { reason }) => {
                let (customer_id, payment_id) = (placed.customer_id, placed.payment_id);
                let reason = reason.as_str().to_owned();
                Ok(vec![OrderEvent::OrderRejected(OrderRejected { customer_id, payment_id, reason })])
            }
            // A compensation is harmless where there is nothing left to undo.
            (Some(Self::Rejected(..) | Self::Canceled(_)), Reject { .. }) => Ok(vec![]),

            (Some(Self::Pending(placed)), Cancel) => {
                let (customer_id, payment_id) = (placed.customer_id, placed.payment_id);
                Ok(vec![OrderEvent::OrderCanceled(OrderCanceled { customer_id, payment_id, reason: None })])
            }
            (Some(order @ (Self::Approved(_) | Self::Rejected(..) | Self::Canceled(_))), Cancel) => {
                Err(OrderRefusal::CannotBeCanceled { status: order.status() })
            }
        }
    }

    fn evolve(state: Option<Self>, event: &OrderEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, OrderEvent::OrderCreated(e)) => Ok(Self::Pending(Placed {
                customer_id: e.customer_id,
                payment_id: e.payment_id,
                items: e.items.clone(),
                total: e.total,
            })),
            (Some(Self::Pending(placed)), OrderEvent::OrderApproved(_)) => Ok(Self::Approved(placed)),
            (Some(Self::Pending(placed) | Self::Approved(placed)), OrderEvent::OrderRejected(e)) => {
                Ok(Self::Rejected(placed, Reason::new(&e.reason)))
            }
            (Some(Self::Pending(placed)), OrderEvent::OrderCanceled(_)) => Ok(Self::Canceled(placed)),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Order::status),
            }),
        }
    }
}

fn create(
    customer_id: CustomerId,
    payment_id: PaymentId,
    items: &[OrderItem],
) -> Result<Vec<OrderEvent>, OrderRefusal> {
    if items.is_empty() {
        return Err(OrderRefusal::HasNoItems);
    }
    if items.iter().any(|item| item.quantity == 0) {
        return Err(OrderRefusal::QuantityMustBePositive);
    }
    if items.iter().any(|item| item.price.is_negative()) {
        return Err(OrderRefusal::PriceCannotBeNegative);
    }
    let total = total(items).map_err(|_| OrderRefusal::TotalIsInvalid)?;
    let items = items.to_vec();
    Ok(vec![OrderEvent::OrderCreated(OrderCreated { customer_id, payment_id, items, total })])
}
