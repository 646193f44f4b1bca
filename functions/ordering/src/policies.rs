//! When an event, then a command.
//!
//! Events arrive at least once and in any order. A policy's command id follows from its name and
//! the event's id, so a repeat changes nothing; what an event's body needs is in the event, or, when the
//! bus could not carry it, in the event table.

use std::sync::Arc;

use contracts::{Envelope, baskets::BasketEvent, ordering::OrderEvent};
use event_store::{EventStore, Expect};
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::{
    Ordering,
    order::OrderCommand,
    sagas::{OrderSagaInput, OrderSagas, Started},
};

impl Ordering {
    /// When a basket is checked out, create the order; it has the basket's id.
    ///
    /// # Errors
    /// When the order cannot be created: the event goes back to its queue.
    pub async fn create_order_on_checkout(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let checked_out = match whole::<BasketEvent>(&self.store, &event).await? {
            BasketEvent::BasketCheckedOut(checked_out) => checked_out,
            other => return Err(unexpected(&other)),
        };
        let call = Call::by_policy("create-order-on-checkout", &event, self.ports.clock.now());
        let command = OrderCommand::Create {
            customer_id: checked_out.customer_id,
            payment_id: checked_out.payment_id,
            items: checked_out.items,
        };
        self.transact(subject(&event)?, Expect::New, command, &call).await?;
        Ok(())
    }
}

/// When an order is created, start its saga.
pub struct SagaStarter {
    store: EventStore,
    sagas: Arc<dyn OrderSagas>,
}

impl SagaStarter {
    /// Starts sagas; reads bodies that the bus left out from the store.
    pub fn new(store: EventStore, sagas: Arc<dyn OrderSagas>) -> Self {
        Self { store, sagas }
    }

    /// When an order is created, start its saga, named after the order.
    ///
    /// # Errors
    /// When it could not be started: the event goes back to its queue.
    pub async fn start_order_saga(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let created = match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderCreated(created) => created,
            other => return Err(unexpected(&other)),
        };
        let input = OrderSagaInput {
            order_id: subject(&event)?,
            payment_id: created.payment_id,
            correlation: event.correlation,
            causation: event.id,
            trace: event.trace.clone(),
        };
        match self.sagas.start(&input).await? {
            Started::Now => tracing::info!(order = %input.order_id, "saga started"),
            Started::Before => tracing::info!(order = %input.order_id, "saga was started before"),
        }
        Ok(())
    }
}
