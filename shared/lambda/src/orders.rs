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
