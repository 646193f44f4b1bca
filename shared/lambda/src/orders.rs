//! What contexts read of orders: their public events, where they are written.
//!
//! Only ids travel through the sagas. Whose order it is, what was ordered and what it costs are read from the
//! order's own first event, so nobody who starts a saga by hand can make a payment cover less.

use contracts::{
    ids::OrderId,
    ordering::{OrderCreated, OrderEvent},
};
use event_store::EventStore;
use kernel::{StreamId, Version};

use crate::Fault;

/// The order as it was placed.
///
/// # Errors
/// 404 when there is no such order.
pub async fn placed(store: &EventStore, id: OrderId) -> Result<OrderCreated, Fault> {
    let stream: StreamId = format!("ordering.Order/{id}").parse().map_err(Fault::internal)?;
    let first = store.event(&stream, Version::FIRST).await?.ok_or_else(|| Fault::not_found("order", id))?;
    match first.event::<OrderEvent>().map_err(Fault::internal)? {
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

/// Where an order stands, for those who keep something for it or wait for its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is being placed, or its placement failed.
    Pending,
    /// It was approved, which is the last step of placing it; it may be ready by now.
    Placed,
    /// It is paid: what was kept for it is the customer's.
    Completed,
    /// It was rejected: nothing is kept for it any more.
    Rejected,
    /// It was cancelled: nothing is kept for it any more.
    Canceled,
}

/// The order as it was placed, and where it stands.
///
/// # Errors
/// 404 when there is no such order.
pub async fn standing(store: &EventStore, id: OrderId) -> Result<(OrderCreated, Standing), Fault> {
    let stream: StreamId = format!("ordering.Order/{id}").parse().map_err(Fault::internal)?;
    let (mut placed, mut standing) = (None, Standing::Pending);
    for event in &store.events_after(&stream, Version::NONE).await? {
        match event.event::<OrderEvent>().map_err(Fault::internal)? {
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

/// The order, for a step of its placement: `None` when it was approved before, so that the step has nothing to do any more.
///
/// Every step reads this first, so a placement that is started a second time, late, or by a replay of old events changes
/// nothing. **Not guaranteed**: that the order is still pending when the step commits. Whoever undoes an order closes it first and
/// leaves a mark in each stream, by which such a commit is refused.
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
