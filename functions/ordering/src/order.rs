//! An order.
//!
//! ```text
//! pending -> approved -> ready -> completed
//! pending -> rejected
//! pending | approved | ready -> cancelled
//! ```
//!
//! The approval is the point of no return for a placement: an approved order is undone only if its customer,
//! its payment's deadline or an operator asks for that. A rejection after an approval is read, because
//! earlier releases wrote it, and never decided.
//!
//! Until it is paid it can be cancelled, also when everything was collected: the goods go back on the shelf.
//! The invoice's stream says if it is paid, and [`crate::api`] and [`crate::sagas`] read that before they
//! cancel.
//!
//! Approval, readiness and completion have one state each to come from. A repeat changes nothing. A command
//! that comes too early is refused with another error than one that comes too late, because only the first is
//! worth another attempt.

use contracts::{
    baskets::total,
    ids::{CustomerId, InvoiceId, PaymentId, ProductId, ShoppingListId},
    ordering::{
        OrderApproved, OrderCanceled, OrderCompleted, OrderCreated, OrderEvent, OrderItem, OrderReadied,
        OrderRejected,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Money, Reason, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// Most lines an order has: as many as a basket.
pub const MAX_LINES: usize = 100;
/// Most pieces of one product: as many as in a basket.
pub const MAX_QUANTITY: u32 = 10_000;

/// The content of an order. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// The customer who ordered.
    pub customer_id: CustomerId,
    /// The payment that covers it.
    pub payment_id: PaymentId,
    /// The lines.
    pub items: Vec<OrderItem>,
    /// Sum of the lines.
    pub total: Money,
}

/// An order. Its shopping list is known from the approval on, unless somebody approved by hand without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Placed; the order saga is at work.
    Pending(Placed),
    /// Everything it needs is in place.
    Approved {
        /// The content.
        placed: Placed,
        /// The list by which it is collected.
        shopping_id: Option<ShoppingListId>,
    },
    /// Everything was collected; the customer is asked to pay.
    Ready {
        /// The content.
        placed: Placed,
        /// The list by which it was collected.
        shopping_id: Option<ShoppingListId>,
    },
    /// The customer paid.
    Completed {
        /// The content.
        placed: Placed,
        /// The list by which it was collected.
        shopping_id: Option<ShoppingListId>,
        /// The invoice that was paid.
        invoice_id: InvoiceId,
    },
    /// Something was not to be had; everything is undone.
    Rejected {
        /// The content.
        placed: Placed,
        /// The list by which it would have been collected, if it was approved before.
        shopping_id: Option<ShoppingListId>,
        /// Why: the code of the refusal or of the failure.
        reason: Reason,
    },
    /// Taken back before it was paid: by its customer, its payment's deadline or an operator.
    Canceled {
        /// The content.
        placed: Placed,
        /// The list by which it was or would have been collected, if it was approved before.
        shopping_id: Option<ShoppingListId>,
        /// Code of the cause; none if the customer wished it.
        reason: Option<Reason>,
    },
}

/// A request to an order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum OrderCommand {
    /// Place it.
    Create {
        /// The customer who orders.
        customer_id: CustomerId,
        /// The payment that covers it.
        payment_id: PaymentId,
        /// The lines.
        items: Vec<OrderItem>,
    },
    /// Everything it needs is in place.
    Approve {
        /// The list by which it is collected; none when somebody approves by hand and does not say.
        shopping_id: Option<ShoppingListId>,
    },
    /// Everything was collected.
    Ready {
        /// The list by which it was collected.
        shopping_id: ShoppingListId,
    },
    /// The customer paid.
    Complete {
        /// The invoice that was paid.
        invoice_id: InvoiceId,
    },
    /// Close it for an undo. Harmless when it is over.
    Close {
        /// Code of the cause.
        reason: Reason,
        /// True to cancel an order that is approved or ready. Otherwise such an order is kept, because a
        /// placement that failed must not undo an order that a second placement got approved.
        even_approved: bool,
    },
    /// Take it back, by the customer's own wish.
    Cancel,
}

/// The reason for a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// The order was placed before.
    #[error("the order exists already")]
    AlreadyCreated,
    /// Nothing is ordered.
    #[error("the order has no items")]
    HasNoItems,
    /// More than [`MAX_LINES`] products.
    #[error("an order has at most {MAX_LINES} different products")]
    TooManyProducts,
    /// A product on two lines.
    #[error("every product of an order has one line")]
    ProductIsRepeated,
    /// A line without pieces.
    #[error("every line of an order needs at least one piece")]
    QuantityMustBePositive,
    /// More than [`MAX_QUANTITY`] pieces of one product.
    #[error("an order has at most {MAX_QUANTITY} pieces of one product")]
    QuantityIsTooLarge,
    /// A price below zero.
    #[error("a price cannot be negative")]
    PriceCannotBeNegative,
    /// The total cannot be expressed.
    #[error("the order's total is too large, or mixes currencies")]
    TotalIsInvalid,
    /// The order was rejected or cancelled before it was approved.
    #[error("the order is {0} and cannot be approved")]
    IsOver(&'static str),
    /// The order is collected by another list, this one.
    #[error("the order is collected by another shopping list, {0}")]
    HasAnotherShoppingList(ShoppingListId),
    /// The order was collected before anybody approved it: the approval is on its way.
    #[error("the order is not approved yet")]
    IsNotApprovedYet,
    /// The order was rejected or cancelled before it was collected.
    #[error("the order is {0} and cannot become ready")]
    CannotBeReadied(&'static str),
    /// The order was paid before it was collected: the news of that is on its way.
    #[error("the order is {0}, not ready yet")]
    IsNotReadyYet(&'static str),
    /// The order was rejected or cancelled, or another invoice was paid for it.
    #[error("the order is {0} and cannot be completed")]
    CannotBeCompleted(&'static str),
    /// The order was approved and nobody asked to undo it, or it was paid.
    #[error("the order is {0} and is not undone")]
    IsKept(&'static str),
    /// The order is over.
    #[error("the order is {0} and cannot be cancelled")]
    CannotBeCanceled(&'static str),
}

impl OrderRefusal {
    fn code_and_kind(&self) -> (&'static str, RefusalKind) {
        use RefusalKind::{Conflict, Invalid, NotFound};
        match self {
            Self::NotFound => ("ORDER_NOT_FOUND", NotFound),
            Self::AlreadyCreated => ("ORDER_ALREADY_CREATED", Conflict),
            Self::HasNoItems => ("ORDER_HAS_NO_ITEMS", Invalid),
            Self::TooManyProducts => ("ORDER_HAS_TOO_MANY_PRODUCTS", Invalid),
            Self::ProductIsRepeated => ("PRODUCT_IS_REPEATED", Invalid),
            Self::QuantityMustBePositive => ("QUANTITY_MUST_BE_POSITIVE", Invalid),
            Self::QuantityIsTooLarge => ("QUANTITY_IS_TOO_LARGE", Invalid),
            Self::PriceCannotBeNegative => ("PRICE_CANNOT_BE_NEGATIVE", Invalid),
            Self::TotalIsInvalid => ("ORDER_TOTAL_IS_INVALID", Invalid),
            Self::IsOver(_) => ("ORDER_IS_OVER", Conflict),
            Self::HasAnotherShoppingList(_) => ("ORDER_HAS_ANOTHER_SHOPPING_LIST", Conflict),
            Self::IsNotApprovedYet => ("ORDER_IS_NOT_APPROVED", Conflict),
            Self::CannotBeReadied(_) => ("ORDER_CANNOT_BE_READIED", Conflict),
            Self::IsNotReadyYet(_) => ("ORDER_IS_NOT_READY", Conflict),
            Self::CannotBeCompleted(_) => ("ORDER_CANNOT_BE_COMPLETED", Conflict),
            Self::IsKept(_) => ("ORDER_IS_KEPT", Conflict),
            Self::CannotBeCanceled(_) => ("ORDER_CANNOT_BE_CANCELLED", Conflict),
        }
    }
}

impl Refusal for OrderRefusal {
    fn code(&self) -> &'static str {
        self.code_and_kind().0
    }

    fn kind(&self) -> RefusalKind {
        self.code_and_kind().1
    }
}

impl Order {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Approved { .. } => "approved",
            Self::Ready { .. } => "ready",
            Self::Completed { .. } => "completed",
            Self::Rejected { .. } => "rejected",
            Self::Canceled { .. } => "cancelled",
        }
    }

    /// Content of the order.
    pub fn placed(&self) -> &Placed {
        match self {
            Self::Pending(placed)
            | Self::Approved { placed, .. }
            | Self::Ready { placed, .. }
            | Self::Completed { placed, .. }
            | Self::Rejected { placed, .. }
            | Self::Canceled { placed, .. } => placed,
        }
    }

    /// The list by which it is, was, or would have been collected, where that is known.
    pub fn shopping_id(&self) -> Option<ShoppingListId> {
        match self {
            Self::Pending(_) => None,
            Self::Approved { shopping_id, .. }
            | Self::Ready { shopping_id, .. }
            | Self::Completed { shopping_id, .. }
            | Self::Rejected { shopping_id, .. }
            | Self::Canceled { shopping_id, .. } => *shopping_id,
        }
    }

    /// The invoice that was paid, if one was.
    pub fn invoice_id(&self) -> Option<InvoiceId> {
        if let Self::Completed { invoice_id, .. } = self { Some(*invoice_id) } else { None }
    }

    /// Code of the cause for which it was rejected or cancelled, if there is one.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Rejected { reason, .. } => Some(reason),
            Self::Canceled { reason, .. } => reason.as_ref(),
            Self::Pending(_) | Self::Approved { .. } | Self::Ready { .. } | Self::Completed { .. } => None,
        }
    }
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "ordering.Order";
    const STATE_SCHEMA: u16 = 2;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Refusal = OrderRefusal;

    fn decide(state: Option<&Self>, command: &OrderCommand) -> Decision {
        match command {
            OrderCommand::Create { customer_id, payment_id, items } => match state {
                None => create(*customer_id, *payment_id, items),
                Some(_) => Err(OrderRefusal::AlreadyCreated),
            },
            OrderCommand::Approve { shopping_id } => approve(known(state)?, *shopping_id),
            OrderCommand::Ready { shopping_id } => ready(known(state)?, *shopping_id),
            OrderCommand::Complete { invoice_id } => complete(known(state)?, *invoice_id),
            OrderCommand::Close { reason, even_approved } => close(known(state)?, reason, *even_approved),
            OrderCommand::Cancel => cancel(known(state)?),
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
            (Some(Self::Pending(placed)), OrderEvent::OrderApproved(e)) => {
                Ok(Self::Approved { placed, shopping_id: e.shopping_id })
            }
            (Some(Self::Approved { placed, shopping_id }), OrderEvent::OrderReadied(_)) => {
                Ok(Self::Ready { placed, shopping_id })
            }
            (Some(Self::Ready { placed, shopping_id }), OrderEvent::OrderCompleted(e)) => {
                Ok(Self::Completed { placed, shopping_id, invoice_id: e.invoice_id })
            }
            (Some(order @ (Self::Pending(_) | Self::Approved { .. })), OrderEvent::OrderRejected(e)) => {
                let (placed, shopping_id) = (order.placed().clone(), order.shopping_id());
                Ok(Self::Rejected { placed, shopping_id, reason: Reason::new(&e.reason) })
            }
            (
                Some(order @ (Self::Pending(_) | Self::Approved { .. } | Self::Ready { .. })),
                OrderEvent::OrderCanceled(e),
            ) => {
                let (placed, shopping_id) = (order.placed().clone(), order.shopping_id());
                Ok(Self::Canceled { placed, shopping_id, reason: e.reason.as_deref().map(Reason::new) })
            }
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Order::status),
            }),
        }
    }
}

type Decision = Result<Vec<OrderEvent>, OrderRefusal>;

/// Returns the order, or the refusal that there is none.
fn known(state: Option<&Order>) -> Result<&Order, OrderRefusal> {
    state.ok_or(OrderRefusal::NotFound)
}

fn create(customer_id: CustomerId, payment_id: PaymentId, items: &[OrderItem]) -> Decision {
    let mut products: Vec<ProductId> = items.iter().map(|item| item.product_id).collect();
    products.sort_unstable();
    if items.is_empty() {
        return Err(OrderRefusal::HasNoItems);
    } else if items.len() > MAX_LINES {
        return Err(OrderRefusal::TooManyProducts);
    } else if products.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OrderRefusal::ProductIsRepeated);
    } else if items.iter().any(|item| item.quantity == 0) {
        return Err(OrderRefusal::QuantityMustBePositive);
    } else if items.iter().any(|item| item.quantity > MAX_QUANTITY) {
        return Err(OrderRefusal::QuantityIsTooLarge);
    } else if items.iter().any(|item| item.price.is_negative()) {
        return Err(OrderRefusal::PriceCannotBeNegative);
    }
    let total = total(items).map_err(|_| OrderRefusal::TotalIsInvalid)?;
    let items = items.to_vec();
    Ok(vec![OrderEvent::OrderCreated(OrderCreated { customer_id, payment_id, items, total })])
}

fn approve(order: &Order, shopping_id: Option<ShoppingListId>) -> Decision {
    match order {
        Order::Pending(placed) => {
            let (customer_id, payment_id) = (placed.customer_id, placed.payment_id);
            Ok(vec![OrderEvent::OrderApproved(OrderApproved { customer_id, payment_id, shopping_id })])
        }
        // A repeat that comes late enough finds the order collected, or even paid.
        Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } => {
            collected_by(order, shopping_id).map(|()| vec![])
        }
        Order::Rejected { .. } | Order::Canceled { .. } => Err(OrderRefusal::IsOver(order.status())),
    }
}

fn ready(order: &Order, shopping_id: ShoppingListId) -> Decision {
    match order {
        Order::Pending(_) => Err(OrderRefusal::IsNotApprovedYet),
        Order::Approved { placed, .. } => {
            collected_by(order, Some(shopping_id))?;
            let (customer_id, payment_id, total) = (placed.customer_id, placed.payment_id, placed.total);
            Ok(vec![OrderEvent::OrderReadied(OrderReadied { customer_id, payment_id, total })])
        }
        Order::Ready { .. } | Order::Completed { .. } => {
            collected_by(order, Some(shopping_id)).map(|()| vec![])
        }
        Order::Rejected { .. } | Order::Canceled { .. } => Err(OrderRefusal::CannotBeReadied(order.status())),
    }
}

/// Refuses a shopping list other than the order's own: somebody may have made a second one by hand. If either
/// is not known there is nothing to compare.
fn collected_by(order: &Order, by: Option<ShoppingListId>) -> Result<(), OrderRefusal> {
    match (order.shopping_id(), by) {
        (Some(own), Some(by)) if own != by => Err(OrderRefusal::HasAnotherShoppingList(own)),
        (None | Some(_), None | Some(_)) => Ok(()),
    }
}

fn complete(order: &Order, invoice_id: InvoiceId) -> Decision {
    match order {
        Order::Pending(_) | Order::Approved { .. } => Err(OrderRefusal::IsNotReadyYet(order.status())),
        Order::Ready { placed, .. } => {
            let (customer_id, payment_id) = (placed.customer_id, placed.payment_id);
            Ok(vec![OrderEvent::OrderCompleted(OrderCompleted { customer_id, payment_id, invoice_id })])
        }
        Order::Completed { invoice_id: paid, .. } if *paid == invoice_id => Ok(vec![]),
        Order::Completed { .. } | Order::Rejected { .. } | Order::Canceled { .. } => {
            Err(OrderRefusal::CannotBeCompleted(order.status()))
        }
    }
}

fn close(order: &Order, reason: &Reason, even_approved: bool) -> Decision {
    match order {
        Order::Pending(placed) => {
            let (customer_id, payment_id) = (placed.customer_id, placed.payment_id);
            let reason = reason.as_str().to_owned();
            Ok(vec![OrderEvent::OrderRejected(OrderRejected { customer_id, payment_id, reason })])
        }
        Order::Rejected { .. } | Order::Canceled { .. } => Ok(vec![]),
        Order::Approved { .. } | Order::Ready { .. } if even_approved => {
            Ok(vec![canceled(order, Some(reason))])
        }
        Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } => {
            Err(OrderRefusal::IsKept(order.status()))
        }
    }
}

fn cancel(order: &Order) -> Decision {
    match order {
        Order::Pending(_) | Order::Approved { .. } | Order::Ready { .. } => Ok(vec![canceled(order, None)]),
        Order::Completed { .. } | Order::Rejected { .. } | Order::Canceled { .. } => {
            Err(OrderRefusal::CannotBeCanceled(order.status()))
        }
    }
}

fn canceled(order: &Order, reason: Option<&Reason>) -> OrderEvent {
    let (customer_id, payment_id) = (order.placed().customer_id, order.placed().payment_id);
    let reason = reason.map(|reason| reason.as_str().to_owned());
    OrderEvent::OrderCanceled(OrderCanceled { customer_id, payment_id, reason })
}
