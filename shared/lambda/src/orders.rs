//! Orders as other contexts read them: from the public events in their own streams.
//!
//! Only ids travel through a saga. Its steps read the customer, the lines and the total from the order's
//! first event, so nobody who starts an execution by hand can make a payment cover less.

use contracts::{
    ids::OrderId,
    ordering::{OrderCreated, OrderEvent},
};
use event_store::EventStore;
use kernel::{StreamId, Version};

use crate::Fault;

/// Reads the order as it was placed.
///
/// # Errors
/// 404 when there is no such order.
pub async fn placed(store: &EventStore, id: OrderId) -> Result<OrderCreated, Fault> {
    let stream: StreamId = format!("ordering.Order/{id}").parse().map_err(Fault::internal)?;
    let first = store.event(&stream, Version::FIRST).await?.ok_or_else(|| Fault::not_found("order", id))?;
    match first.event::<OrderEvent>().map_err(Fault::poison)? {
        OrderEvent::OrderCreated(created) => Ok(created),
        OrderEvent::OrderApproved(_)
        | OrderEvent::OrderRejected(_)
        | OrderEvent::OrderCanceled(_)
        | OrderEvent::OrderReadied(_)
        | OrderEvent::OrderCompleted(_) => {
            Err(Fault::internal(format!("{stream} does not begin with OrderCreated")))
        }
    }
}

/// The standing of an order, for contexts that hold something for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is being placed, or its placement failed or was lost.
    Pending,
    /// It was approved, which is the last step of placing it; it may be ready by now.
    Placed,
    /// It is paid: the goods that were kept for it are the customer's.
    Completed,
    /// It was rejected: its undo gives back what is held for it.
    Rejected,
    /// It was cancelled: its undo gives back what is held for it.
    Canceled,
}

/// Reads the order as it was placed, and its standing.
///
/// # Errors
/// 404 when there is no such order.
pub async fn standing(store: &EventStore, id: OrderId) -> Result<(OrderCreated, Standing), Fault> {
    let stream: StreamId = format!("ordering.Order/{id}").parse().map_err(Fault::internal)?;
    let (mut placed, mut standing) = (None, Standing::Pending);
    for event in &store.events_after(&stream, Version::NONE).await? {
        match event.event::<OrderEvent>().map_err(Fault::poison)? {
            OrderEvent::OrderCreated(created) => placed = Some(created),
            OrderEvent::OrderApproved(_) | OrderEvent::OrderReadied(_) => standing = Standing::Placed,
            OrderEvent::OrderCompleted(_) => standing = Standing::Completed,
            OrderEvent::OrderRejected(_) => standing = Standing::Rejected,
            OrderEvent::OrderCanceled(_) => standing = Standing::Canceled,
        }
    }
    let placed = placed.ok_or_else(|| Fault::not_found("order", id))?;
    Ok((placed, standing))
}

/// Reads the order for a step of its placement; `None` when it was approved before, so the step has nothing
/// to do.
///
/// Every step reads this first, so a placement that is started a second time, late, or by a replay of old
/// events changes nothing. **Not guaranteed**: that the order is still pending when the step commits. The
/// undo closes the order first and sees to it that such a commit is refused: by a mark in the stream, or of
/// stock by decision 15.
///
/// # Errors
/// 404 when there is no such order; 409 `ORDER_IS_OVER` when it was rejected or cancelled.
pub async fn pending(store: &EventStore, id: OrderId) -> Result<Option<OrderCreated>, Fault> {
    match standing(store, id).await? {
        (placed, Standing::Pending) => Ok(Some(placed)),
        (_, Standing::Placed | Standing::Completed) => Ok(None),
        (_, Standing::Rejected | Standing::Canceled) => {
            Err(Fault::new(409, "ORDER_IS_OVER", format!("order {id} was rejected or cancelled")))
        }
    }
}
