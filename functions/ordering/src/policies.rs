//! Policies: when an event comes, then a command. Policies that start executions are in [`crate::sagas`].
//!
//! Events arrive at least once and in any order. A policy's command id follows from its name and
//! the event's id, so a repeat changes nothing; what an event's body needs is in the event, or, when the
//! bus could not carry it, in the event table.
//!
//! What comes of an event that moves an order on:
//!
//! | the event comes | outcome |
//! | --- | --- |
//! | in time | the order moves on |
//! | again | nothing; it is acknowledged |
//! | too early: the order is not yet where it can move on from | it goes back to its queue, and comes again when that step has had the time to arrive |
//! | too late: the order was rejected or cancelled, or moved on by another list or invoice | it is acknowledged, with a warning in the log |
//! | for an order that there is not, or with a body that makes no sense | it goes to the dead-letter queue, where somebody sees it |

use std::sync::Arc;

use contracts::{
    Envelope, baskets::BasketEvent, depot::ShoppingListEvent, ids::OrderId, payments::InvoiceEvent,
};
use event_store::{Expect, TransactError};
use kernel::StreamId;
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::{
    Ordering,
    order::{Order, OrderCommand, OrderRefusal},
};

impl Ordering {
    /// Creates the order when a basket is checked out. It has the basket's id.
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

    /// Makes the order ready when its shopping list is completed. The placement lets the depot begin before
    /// it approves the order, so a quick bot may be done first. Then the event waits for the approval.
    ///
    /// # Errors
    /// When the order is not approved yet, or there is none: the event goes back to its queue.
    pub async fn ready_order(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let completed = match whole::<ShoppingListEvent>(&self.store, &event).await? {
            ShoppingListEvent::ShoppingListCompleted(completed) => completed,
            other => return Err(unexpected(&other)),
        };
        let call = Call::by_policy("ready-order", &event, self.ports.clock.now());
        // The event happened to the list; whose list it is stands in its body.
        let command = OrderCommand::Ready { shopping_id: subject(&event)? };
        self.move_on(completed.order_id, &command, &call).await
    }

    /// Completes the order when its invoice is paid.
    ///
    /// # Errors
    /// When the order is not ready yet, or there is none: the event goes back to its queue.
    pub async fn complete_order(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let paid = match whole::<InvoiceEvent>(&self.store, &event).await? {
            InvoiceEvent::InvoicePaid(paid) => paid,
            other => return Err(unexpected(&other)),
        };
        let call = Call::by_policy("complete-order", &event, self.ports.clock.now());
        let command = OrderCommand::Complete { invoice_id: subject(&event)? };
        self.move_on(paid.order_id, &command, &call).await
    }

    async fn move_on(&self, id: OrderId, command: &OrderCommand, call: &Call) -> Result<(), Fault> {
        let stream = StreamId::of::<Order, _>(id);
        let refusal = match self.store.transact::<Order>(&stream, Expect::Any, command, &call.meta()).await {
            Ok(_) => return Ok(()),
            Err(TransactError::Refused(refusal)) => refusal,
            Err(error) => return Err(error.into()),
        };
        match refusal {
            OrderRefusal::IsNotApprovedYet | OrderRefusal::IsNotReadyYet(_) => {
                Err(Fault::unavailable(format!("too early: {refusal}")))
            }
            OrderRefusal::CannotBeReadied(_)
            | OrderRefusal::CannotBeCompleted(_)
            | OrderRefusal::HasAnotherShoppingList(_) => {
                // The undo of a rejected or cancelled order gives back what was done for it.
                tracing::warn!(order = %id, why = %refusal, "too late: nothing changes");
                Ok(())
            }
            refusal => Err(TransactError::Refused(refusal).into()),
        }
    }
}
