//! When an event, then a command.
//!
//! Events arrive at least once and in any order. A policy's command id follows from its name and the event's id, so a
//! repeat changes nothing; and the aggregates know by themselves what was done for an order before.
//!
//! A cancelled order is not settled by a policy, but by a step of the undo: see [`crate::settlement`].

use std::sync::Arc;

use contracts::{Envelope, ids::OrderId, ordering::OrderEvent, payments::InvoiceEvent};
use event_store::{Expect, TransactError};
use kernel::StreamId;
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::{
    Payments,
    invoice::{Invoice, InvoiceCommand, InvoiceRefusal},
    payment::PaymentCommand,
};

impl Payments {
    /// Asks the customer to pay the total when the order is ready. The invoice has the order's id.
    ///
    /// # Errors
    /// When the invoice cannot be made: the event goes back to its queue.
    pub async fn invoice_order(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let readied = match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderReadied(readied) => readied,
            other @ (OrderEvent::OrderCreated(_)
            | OrderEvent::OrderApproved(_)
            | OrderEvent::OrderRejected(_)
            | OrderEvent::OrderCanceled(_)
            | OrderEvent::OrderCompleted(_)) => return Err(unexpected(&other)),
        };
        let order_id: OrderId = subject(&event)?;
        let call = Call::by_policy("invoice-order", &event, self.ports.clock.now());
        let command = InvoiceCommand::Create {
            order_id,
            customer_id: readied.customer_id,
            payment_id: readied.payment_id,
            amount: readied.total,
        };
        let stream = StreamId::of::<Invoice, _>(order_id);
        match self.store.transact::<Invoice>(&stream, Expect::Any, &command, &call.meta()).await {
            Ok(_) => Ok(()),
            Err(TransactError::Refused(InvoiceRefusal::WasCanceled)) => {
                tracing::info!(order = %order_id, "the invoice was canceled before the order's readiness was heard of");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the amount of an invoice from the payment when the invoice is paid.
    ///
    /// # Errors
    /// When it cannot be taken: the event goes back to its queue.
    pub async fn capture_payment(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let paid = match whole::<InvoiceEvent>(&self.store, &event).await? {
            InvoiceEvent::InvoicePaid(paid) => paid,
            other @ (InvoiceEvent::InvoiceCreated(_)
            | InvoiceEvent::InvoiceAdjusted(_)
            | InvoiceEvent::InvoiceReminded(_)
            | InvoiceEvent::InvoiceCanceled(_)) => return Err(unexpected(&other)),
        };
        let call = Call::by_policy("capture-payment", &event, self.ports.clock.now());
        let (order_id, customer_id, amount) = (paid.order_id, paid.customer_id, paid.amount);
        let command = PaymentCommand::Capture { order_id, customer_id, amount };
        self.transact(paid.payment_id, Expect::Any, command, &call).await?;
        Ok(())
    }
}
