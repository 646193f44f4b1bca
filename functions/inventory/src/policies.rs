//! When an event, then a command.
//!
//! Events arrive at least once and in any order: command ids follow from the policy and the event, and what was
//! released or sold once stays so.
//!
//! They write streams that many orders want, and no saga repeats what is contended: their queues do, ten times.

use std::sync::Arc;

use contracts::{Envelope, ordering::OrderEvent};
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::Inventory;

impl Inventory {
    /// When an order is cancelled, release what was kept for it.
    ///
    /// # Errors
    /// When something could not be released: the event goes back to its queue.
    pub async fn release_inventory_on_cancellation(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderCanceled(_) => {}
            other => return Err(unexpected(&other)),
        }
        let call = Call::by_policy("release-inventory-on-cancellation", &event, self.ports.clock.now());
        self.release_order(subject(&event)?, &call).await?;
        Ok(())
    }

    /// When an order is completed, what was kept for it is sold. Of a tracked product of which nothing was kept, nothing is
    /// sold, and the log warns of it.
    ///
    /// # Errors
    /// When something could not be recorded: the event goes back to its queue.
    pub async fn sell_reserved_stock(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderCompleted(_) => {}
            other => return Err(unexpected(&other)),
        }
        let call = Call::by_policy("sell-reserved-stock", &event, self.ports.clock.now());
        self.sell_order(subject(&event)?, &call).await
    }
}
