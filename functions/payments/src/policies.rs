//! When an event, then a command.
//!
//! Events arrive at least once and in any order. A policy's command id follows from its name and the event's id, so a
//! repeat changes nothing; and the aggregates know by themselves what was done for an order before.
//!
//! # How a cancelled order ends, whatever overtakes what
//!
//! An order can be cancelled until it is paid: by its customer, or by the order saga when the time to pay is over
//! ([`Payments::cancel_overdue_invoice`]). So its invoice is anything then, and the events about both arrive in any order.
//! What decides is the invoice's own stream, in which "paid" and "canceled" exclude each other and both are final:
//!
//! | what came first there | the invoice | the payment |
//! | --- | --- | --- |
//! | the cancellation; there was no invoice yet | never made; a late `OrderReadied` makes none | released |
//! | the cancellation; the invoice was pending | canceled; it can no longer be paid | released |
//! | the saga gave up; it cancels the order next | canceled; it can no longer be paid | released, when the cancellation is heard of |
//! | the customer's payment, perhaps a millisecond before | stays paid; the saga that gives up is refused, and goes on | captured; and refunded, if the order was cancelled in that millisecond |
//!
//! Nobody has to know whether an order was approved, collected or ready when it was cancelled, or whether its invoice was
//! pending already: an invoice that is made for a cancelled order because `OrderReadied` overtook the cancellation is
//! canceled by it, or, if the customer was faster, paid and refunded.
//!
//! In the last row the payment is captured by [`Payments::capture_payment`] or, when the cancellation overtakes
//! `InvoicePaid`, by [`Payments::settle_cancelled_order`] in the same commit as the refund; the capture that comes later
//! finds it refunded and does nothing. Had the payment been released instead, the customer would have an invoice that
//! is paid with nothing, and the same two events in the other order would have ended otherwise.
//!
//! A confirmation by the order saga that arrives after all this is refused, since the payment is released or
//! refunded; the saga then compensates, and finds nothing to undo.

use std::sync::Arc;

use contracts::{Envelope, ids::OrderId, ordering::OrderEvent, payments::InvoiceEvent};
use event_store::{Expect, TransactError};
use kernel::{CommandId, Money, Reason, StreamId};
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::{
    Payments,
    invoice::{Invoice, InvoiceCommand, InvoiceRefusal},
    payment::PaymentCommand,
};

/// The reason of an order that its customer cancelled without giving one.
const ORDER_CANCELLED: &str = "ORDER_CANCELLED";

impl Payments {
    /// When an order is ready, ask the customer to pay its total. The invoice has the order's id.
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

    /// When an invoice is paid, take its amount from the payment.
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

    /// When an order is cancelled, cancel its invoice and leave nothing of the customer's money with it; see the
    /// module's documentation. The invoice comes first: whether it is paid decides whether the payment is
    /// released or refunded.
    ///
    /// # Errors
    /// When one of the two cannot be done: the event goes back to its queue, and what was done is not done again.
    pub async fn settle_cancelled_order(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let canceled = match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderCanceled(canceled) => canceled,
            other @ (OrderEvent::OrderCreated(_)
            | OrderEvent::OrderApproved(_)
            | OrderEvent::OrderRejected(_)
            | OrderEvent::OrderReadied(_)
            | OrderEvent::OrderCompleted(_)) => return Err(unexpected(&other)),
        };
        let order_id: OrderId = subject(&event)?;
        let reason = Reason::new(canceled.reason.as_deref().unwrap_or(ORDER_CANCELLED));
        let paid = self.cancel_invoice_of(order_id, reason.clone(), &event).await?;
        let call = self.settling("payment", &event);
        let command = PaymentCommand::GiveBack { order_id, customer_id: canceled.customer_id, paid, reason };
        self.transact(canceled.payment_id, Expect::Any, command, &call).await?;
        Ok(())
    }

    /// Cancels the invoice of a cancelled order; what the customer paid on it, if that came first.
    async fn cancel_invoice_of(
        &self,
        order_id: OrderId,
        reason: Reason,
        event: &Envelope,
    ) -> Result<Option<Money>, Fault> {
        let stream = StreamId::of::<Invoice, _>(order_id);
        let command = InvoiceCommand::CancelWithOrder { order_id, reason };
        let meta = self.settling("invoice", event).meta();
        let outcome = self.store.transact::<Invoice>(&stream, Expect::Any, &command, &meta).await?;
        Ok(outcome.state.and_then(|invoice| invoice.paid()))
    }

    /// One of the two commands of [`Payments::settle_cancelled_order`]. Each has an id of its own: event ids follow
    /// from the command's, and must differ between the two streams.
    fn settling(&self, step: &str, event: &Envelope) -> Call {
        const POLICY: &str = "settle-cancelled-order";
        let call = Call::by_policy(POLICY, event, self.ports.clock.now());
        Call { command: CommandId::derived(&["policy", POLICY, step, &event.id.to_string()]), ..call }
    }
}
