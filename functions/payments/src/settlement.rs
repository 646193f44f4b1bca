//! Settling an order that is over: a step of the undo that leaves none of the customer's money with it.
//!
//! # How the money of an order ends, whatever overtakes what
//!
//! An order can end while its payment is being confirmed, while bots collect, while the invoice is being
//! made, and in the millisecond in which the customer pays. The invoice's own stream decides, because "paid"
//! and "canceled" exclude each other there and both are final. So the invoice comes first:
//!
//! | first in the stream of the invoice | the invoice | the payment |
//! | --- | --- | --- |
//! | the settlement, before there was an invoice | never made; a late `OrderReadied` makes none | released |
//! | the settlement, while the invoice was pending | canceled; it can no longer be paid | released |
//! | the chase, because the deadline passed | canceled; it can no longer be paid | released |
//! | the customer's payment | stays paid | captured and refunded |
//!
//! In the last row the capture is done by [`Payments::capture_payment`] or, if the settlement overtakes
//! `InvoicePaid`, in the same commit as the refund. The policy then finds the payment refunded and does
//! nothing. A payment that was released instead would leave the customer with an invoice that is paid with
//! nothing.
//!
//! # Guarantees
//!
//! * Only an order that is rejected or cancelled is settled. Both are final, so no order comes back to life
//!   afterwards.
//! * Both streams keep a mark, even if nothing was held or owed. A confirmation of the payment and an invoice
//!   that come late meet the mark and are refused, because the confirmation's look at the order may be older
//!   than its commit.
//! * A repeat changes nothing: neither in the same attempt of the undo, where the command ids are the same,
//!   nor in another one, where the aggregates find everything done.
//! * A payment that another order holds, or another customer put up, is left alone.
//!
//! # Not guaranteed
//!
//! * The two streams do not change together. A step that dies between them leaves a canceled invoice and a
//!   held payment until it is repeated, which the state machine and `resume-sagas` do.
//! * A payment that never was gets no mark. Nothing can be confirmed on it either.

use std::sync::Arc;

use contracts::ids::OrderId;
use event_store::Expect;
use kernel::{CommandId, Reason, StreamId};
use lambda::{
    Answer, Call, Fault, Form,
    orders::{self, Standing},
};

use crate::{
    Payments,
    invoice::{Invoice, InvoiceCommand},
    payment::PaymentCommand,
};

/// The reason for an undo that gives none: blank texts do not keep a customer's money.
const ORDER_IS_OVER: &str = "ORDER_IS_OVER";

impl Payments {
    /// Cancels the invoice of an order that is over, and releases or refunds its payment: a step of the undo,
    /// `{reason?}`. It answers with the payment.
    ///
    /// # Errors
    /// 404 when there is no such order, 409 `ORDER_IS_NOT_OVER` when it is pending, placed or completed, 503.
    pub async fn settle_invoice_and_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        let form = Form::of(&call.body);
        let Some(reason) = form.text_or("reason", ORDER_IS_OVER) else { return Err(form.fault()) };
        let reason = Reason::new(reason);
        let (order, standing) = orders::standing(&self.store, order_id).await?;
        match standing {
            Standing::Rejected | Standing::Canceled => {}
            Standing::Pending | Standing::Placed | Standing::Completed => {
                let message =
                    format!("order {order_id} is neither rejected nor cancelled: it keeps its money");
                return Err(Fault::new(409, "ORDER_IS_NOT_OVER", message));
            }
        }

        let stream = StreamId::of::<Invoice, _>(order_id);
        let command = InvoiceCommand::CancelWithOrder { order_id, reason: reason.clone() };
        let meta = part(&call, "invoice").meta();
        let outcome = self.store.transact::<Invoice>(&stream, Expect::Any, &command, &meta).await?;
        let paid = outcome.state.and_then(|invoice| invoice.paid());

        let command = PaymentCommand::GiveBack { order_id, customer_id: order.customer_id, paid, reason };
        self.transact(order.payment_id, Expect::Any, command, &part(&call, "payment")).await
    }
}

/// Derives the call of one of the two commands. Event ids follow from the command's id, and must differ
/// between two streams.
fn part(call: &Call, part: &str) -> Call {
    Call { command: CommandId::derived(&[&call.command.to_string(), part]), ..call.clone() }
}
