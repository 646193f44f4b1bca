//! When an event, then a command.
//!
//! Events arrive at least once and in any order: command ids are derived from the policy and the event, and
//! pieces that were sold or released once stay so. The policy writes streams that many orders want: contended
//! events go back to its queue.

use std::sync::Arc;

use contracts::{Envelope, ordering::OrderEvent};
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::Inventory;

impl Inventory {
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
