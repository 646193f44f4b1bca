//! The use cases of a payment.

use std::sync::Arc;

use contracts::ids::{CustomerKind, OrderKind, PaymentId};
use event_store::{Expect, Loaded};
use kernel::{Id, StreamId};
use lambda::{Answer, Call, Fault, Form, orders};

use crate::{
    Payments,
    payment::{Payment, PaymentCommand},
    views::PaymentView,
};

impl Payments {
    /// `POST /api/payments {customerId, amount}`.
    ///
    /// # Errors
    /// 400 when a field is missing or the amount is negative.
    pub async fn authorize_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let customer_id: Option<Id<CustomerKind>> = form.id("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK");
        let (Some(customer_id), Some(amount)) = (customer_id, form.money("amount")) else {
            return Err(form.fault());
        };
        let id: PaymentId = call.new_id(&self.ports);
        self.transact(id, Expect::New, PaymentCommand::Authorize { customer_id, amount }, &call).await
    }

    /// Holds the payment for an order; a step of the order saga. `{orderId}`
    ///
    /// # Errors
    /// 404, and 409 when the payment is not the customer's, does not cover the total, or is used.
    pub async fn confirm_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, order_id) = payment_and_order(&call)?;
        let order = orders::placed(&self.store, order_id).await?;
        if order.payment_id != id {
            let message = format!("order {order_id} is not paid with payment {id}");
            return Err(Fault::new(409, "PAYMENT_IS_NOT_OF_THIS_ORDER", message));
        }
        let (customer_id, total) = (order.customer_id, order.total);
        let command = PaymentCommand::Confirm { order_id, customer_id, total };
        self.transact(id, call.expect(), command, &call).await
    }

    /// Gives the payment back; compensation in the order saga. `{orderId}` Harmless when there is
    /// nothing to give back.
    ///
    /// # Errors
    /// 404 when there is no such order.
    pub async fn release_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, order_id) = payment_and_order(&call)?;
        let order = orders::placed(&self.store, order_id).await?;
        let command = PaymentCommand::Release { order_id, customer_id: order.customer_id };
        self.transact(id, call.expect(), command, &call).await
    }

    /// `GET /api/payments/{id}`.
    ///
    /// # Errors
    /// 404.
    pub async fn get_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: PaymentId = call.id("payment")?;
        let loaded: Loaded<Payment> = self.store.load(&StreamId::of::<Payment, _>(id)).await?;
        let payment = loaded.state.as_ref().ok_or_else(|| Fault::not_found("payment", id))?;
        let view = PaymentView::of(id, payment, loaded.version());
        Answer::view(&serde_json::json!({ "payment": view }), Some(loaded.version()))
    }

    async fn transact(
        &self,
        id: PaymentId,
        expect: Expect,
        command: PaymentCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Payment, _>(id);
        let outcome = self.store.transact::<Payment>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

fn payment_and_order(call: &Call) -> Result<(PaymentId, Id<OrderKind>), Fault> {
    let id = call.id("payment")?;
    let form = Form::of(&call.body);
    match form.id("orderId", "ORDER_ID_CANNOT_BE_BLANK") {
        Some(order_id) => Ok((id, order_id)),
        None => Err(form.fault()),
    }
}
