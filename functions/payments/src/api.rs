//! The use cases of payments and invoices.
//!
//! Whose order it is, what it costs and what it is paid with are read from the order's own first event; what
//! an invoice may be over is read from the payment's stream. Nothing of that is taken from a request.

use std::sync::Arc;

use contracts::{
    ids::{CustomerKind, InvoiceId, OrderId, OrderKind, PaymentId, PaymentKind},
    ordering::{OrderCreated, OrderEvent},
    payments::PAYMENT_OVERDUE,
};
use event_store::{Expect, Loaded, Past};
use kernel::{Id, Reason, StreamId, Version};
use lambda::{Answer, Call, Fault, Form, orders};

use crate::{
    Payments,
    invoice::{Funds, Invoice, InvoiceCommand},
    payment::{Payment, PaymentCommand},
    views::{InvoiceAnswer, InvoiceView, PaymentAnswer, PaymentView},
};

/// The reason of whoever cancels an invoice by hand and gives none.
const BY_HAND: &str = "CANCELLED_BY_HAND";

/// Payments.
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

    /// `PUT /api/payments/{id}/confirm {orderId}`: holds the order's total. Also a step of an order's
    /// placement, which does nothing when the order was approved before.
    ///
    /// # Errors
    /// 404, 412, and 409 when the payment is not the customer's, does not cover the total, or is used. For
    /// the placement also 409 `ORDER_IS_OVER`.
    pub async fn confirm_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, order_id) = payment_and_order(&call)?;
        let order = if call.is_from_outside() {
            orders::placed(&self.store, order_id).await?
        } else {
            let Some(order) = orders::pending(&self.store, order_id).await? else {
                return Ok(Answer::unchanged(id));
            };
            order
        };
        let order = paid_with(id, order_id, order)?;
        let (customer_id, total) = (order.customer_id, order.total);
        let command = PaymentCommand::Confirm { order_id, customer_id, total };
        self.transact(id, call.expect(), command, &call).await
    }

    /// `PUT /api/payments/{id}/capture {orderId}`: takes what the order's invoice says, or the order's total
    /// when there is no invoice. The same happens by itself when the invoice is paid.
    ///
    /// # Errors
    /// 404, 412, and 409 when the payment is not held for the order, was captured for another amount, or the
    /// order's invoice was canceled.
    pub async fn capture_held_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, order_id) = payment_and_order(&call)?;
        let payments = &*self;
        let capture = |_: Option<Payment>| async move {
            let order = payments.order_paid_with(id, order_id).await?;
            let amount = match payments.invoice(order_id.as_kind()).await?.state {
                None => order.total,
                Some(Invoice::Pending(bill) | Invoice::Paid(bill)) => bill.amount,
                Some(Invoice::Canceled(..) | Invoice::NeverMade(_)) => {
                    let message = format!("the invoice of order {order_id} was canceled: nothing is owed");
                    return Err(Fault::new(409, "INVOICE_WAS_CANCELLED", message));
                }
            };
            Ok(PaymentCommand::Capture { order_id, customer_id: order.customer_id, amount })
        };
        call.transact_with(&self.store, id, call.expect(), &order_id, capture).await
    }

    /// `PUT /api/payments/{id}/release {orderId}`: gives up the hold. Harmless when nothing is held for the
    /// order.
    ///
    /// What an invoice was paid with is not given up: it is about to be captured, and the order to be
    /// completed.
    ///
    /// # Errors
    /// 404 when there is no such order, 412, and 409 when the order is paid with another payment, what is
    /// held is about to be captured, or is captured.
    pub async fn release_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, order_id) = payment_and_order(&call)?;
        let payments = &*self;
        let release = |_: Option<Payment>| async move {
            let order = payments.order_paid_with(id, order_id).await?;
            let invoice = payments.invoice(order_id.as_kind()).await?.state;
            let invoice_is_paid = matches!(invoice, Some(Invoice::Paid(_)));
            Ok(PaymentCommand::Release { order_id, customer_id: order.customer_id, invoice_is_paid })
        };
        call.transact_with(&self.store, id, call.expect(), &order_id, release).await
    }

    /// `PUT /api/payments/{id}/refund {orderId, reason}`: gives back all that was taken for the order.
    ///
    /// # Errors
    /// 404, 412, and 409 when nothing was taken for the order.
    pub async fn refund_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let order_id: Option<OrderId> = form.id("orderId", "ORDER_ID_CANNOT_BE_BLANK");
        let reason = form.text("reason", "REASON_CANNOT_BE_BLANK").map(Reason::new);
        let (Some(order_id), Some(reason)) = (order_id, reason) else { return Err(form.fault()) };
        let id = call.id("payment")?;
        let customer_id = self.order_paid_with(id, order_id).await?.customer_id;
        let command = PaymentCommand::Refund { order_id, customer_id, reason };
        self.transact(id, call.expect(), command, &call).await
    }

    /// `GET /api/payments/{id}`, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_payment(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: PaymentId = call.id("payment")?;
        let loaded: Past<Payment> = call.load(&self.store, &StreamId::of::<Payment, _>(id)).await?;
        let payment = loaded.state.as_ref().ok_or_else(|| Fault::not_found("payment", id))?;
        let payment = PaymentView::of(id, payment, loaded.version);
        Answer::view(&PaymentAnswer { payment }, Some(loaded.version))
    }

    async fn payment(&self, id: PaymentId) -> Result<Loaded<Payment>, Fault> {
        Ok(self.store.load(&StreamId::of::<Payment, _>(id)).await?)
    }

    /// Reads the order, if it is paid with this payment.
    async fn order_paid_with(&self, id: PaymentId, order_id: OrderId) -> Result<OrderCreated, Fault> {
        paid_with(id, order_id, orders::placed(&self.store, order_id).await?)
    }

    pub(crate) async fn transact(
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

/// Invoices.
impl Payments {
    /// `POST /api/payments/invoices {orderId}`: asks for the order's total, as happens by itself when the
    /// order is ready. `paymentId` and `amount` may be given as in the original API; then they have to be the
    /// order's.
    ///
    /// # Errors
    /// 400 when they are not, 404 when there is no such order, 409 when the order is not ready, or its
    /// invoice was canceled.
    pub async fn create_invoice(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let order_id: Option<Id<OrderKind>> = form.id("orderId", "ORDER_ID_CANNOT_BE_BLANK");
        let payment_id: Option<Id<PaymentKind>> = match form.text_or_empty("paymentId") {
            Some("") => None,
            _ => form.id("paymentId", "PAYMENT_ID_CANNOT_BE_BLANK"),
        };
        let amount = match call.body.get("amount") {
            None | Some(serde_json::Value::Null) => None,
            Some(_) => form.money("amount"),
        };
        let Some(order_id) = order_id.filter(|_| form.is_clean()) else { return Err(form.fault()) };
        let order = orders::placed(&self.store, order_id).await?;
        if payment_id.is_some_and(|payment_id| payment_id != order.payment_id) {
            let message = format!("order {order_id} is paid with another payment");
            form.reject("paymentId", "PAYMENT_IS_NOT_OF_THIS_ORDER", message);
        }
        if amount.is_some_and(|amount| amount != order.total) {
            let message = format!("order {order_id} costs {}", order.total);
            form.reject("amount", "AMOUNT_IS_NOT_THE_TOTAL", message);
        }
        if !form.is_clean() {
            return Err(form.fault());
        }
        self.ready(order_id).await?;
        let (customer_id, payment_id, amount) = (order.customer_id, order.payment_id, order.total);
        let command = InvoiceCommand::Create { order_id, customer_id, payment_id, amount };
        self.transact_invoice(order_id.as_kind(), command, &call).await
    }

    /// `PUT /api/payments/invoices/{id}/adjust {amount}`.
    ///
    /// # Errors
    /// 400 when the amount is negative or the invoice is not pending, 404, 412, and 409 when the payment does
    /// not hold as much.
    pub async fn adjust_invoice(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = invoice_id(&call)?;
        let form = Form::of(&call.body);
        let Some(amount) = form.money("amount") else { return Err(form.fault()) };
        let payments = &*self;
        let adjust = |invoice: Option<Invoice>| async move {
            let held = payments.payment_of(invoice.as_ref()).await?.and_then(|payment| payment.held());
            Ok(InvoiceCommand::Adjust { amount, held })
        };
        call.transact_with(&self.store, id, call.expect(), &amount, adjust).await
    }

    /// `PUT /api/payments/invoices/{id}/pay`.
    ///
    /// # Errors
    /// 400 when the invoice is not pending, 404, 412, and 409 when the payment is not held for the order, or
    /// was captured for another amount.
    pub async fn pay_invoice(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = invoice_id(&call)?;
        let payments = &*self;
        let pay = |invoice: Option<Invoice>| async move {
            let funds = payments.payment_of(invoice.as_ref()).await?.and_then(|payment| available(&payment));
            Ok(InvoiceCommand::Pay { funds })
        };
        call.transact_with(&self.store, id, call.expect(), &(), pay).await
    }

    /// `PUT /api/payments/invoices/{id}/cancel {reason?}`.
    ///
    /// # Errors
    /// 400 when the invoice is not pending, 404, 412.
    pub async fn cancel_invoice(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = invoice_id(&call)?;
        let form = Form::of(&call.body);
        let reason = match form.text_or("reason", BY_HAND) {
            // By this reason the order is given up, which is not for whoever cancels its invoice by hand.
            Some(PAYMENT_OVERDUE) => {
                form.reject(
                    "reason",
                    "REASON_IS_RESERVED",
                    "this reason is the mall's own: give another one",
                );
                return Err(form.fault());
            }
            Some(reason) => Reason::new(reason),
            None => return Err(form.fault()),
        };
        self.transact_invoice(id, InvoiceCommand::Cancel { reason }, &call).await
    }

    /// `GET /api/payments/invoices/{id}`, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404; also when the order was cancelled before there
    /// was an invoice.
    pub async fn get_invoice(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = invoice_id(&call)?;
        let then = match call.until()? {
            None => None,
            Some(_) => {
                Some(call.load::<Invoice>(&self.store, &StreamId::of::<Invoice, _>(id)).await?.version)
            }
        };
        let record = self.record(id, then).await?;
        let view = record.as_ref().and_then(|record| InvoiceView::of(id, record, self.terms));
        let invoice = view.ok_or_else(|| Fault::not_found("invoice", id))?;
        Answer::view(&InvoiceAnswer { invoice }, record.map(|record| record.version))
    }

    /// Whether everything of the order was collected, so that it can be paid. An invoice that is paid before
    /// would be paid for nothing: what completes the order when it hears of that gives up long before the
    /// order is ready.
    async fn ready(&self, order_id: OrderId) -> Result<(), Fault> {
        let stream: StreamId = format!("ordering.Order/{order_id}").parse().map_err(Fault::internal)?;
        let mut ready = false;
        for event in self.store.events_after(&stream, Version::NONE).await? {
            ready = match event.event::<OrderEvent>().map_err(Fault::internal)? {
                OrderEvent::OrderReadied(_) => true,
                OrderEvent::OrderCompleted(_) => ready,
                OrderEvent::OrderCreated(_)
                | OrderEvent::OrderApproved(_)
                | OrderEvent::OrderRejected(_)
                | OrderEvent::OrderCanceled(_) => false,
            };
        }
        if ready {
            return Ok(());
        }
        let message = format!("order {order_id} is not ready: it can be paid when everything is collected");
        Err(Fault::new(409, "ORDER_IS_NOT_READY", message))
    }

    async fn invoice(&self, id: InvoiceId) -> Result<Loaded<Invoice>, Fault> {
        Ok(self.store.load(&StreamId::of::<Invoice, _>(id)).await?)
    }

    /// The payment of an invoice, where there are both and it is used for the invoice's order.
    ///
    /// It is another stream than the invoice's, so it can change between this and what is decided on it. Then
    /// a paid invoice cannot be captured, and its event ends in the dead-letter queue, where somebody sees
    /// it.
    async fn payment_of(&self, invoice: Option<&Invoice>) -> Result<Option<Payment>, Fault> {
        let Some(bill) = invoice.and_then(Invoice::bill) else { return Ok(None) };
        let payment = self.payment(bill.payment_id).await?.state;
        Ok(payment.filter(|payment| payment.order_id() == Some(bill.order_id)))
    }

    async fn transact_invoice(
        &self,
        id: InvoiceId,
        command: InvoiceCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Invoice, _>(id);
        let outcome = self.store.transact::<Invoice>(&stream, call.expect(), &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

/// Reads the payment that a call is about, and the order that it names.
fn payment_and_order(call: &Call) -> Result<(PaymentId, OrderId), Fault> {
    let id = call.id("payment")?;
    let form = Form::of(&call.body);
    let order_id = form.id("orderId", "ORDER_ID_CANNOT_BE_BLANK");
    Ok((id, order_id.ok_or_else(|| form.fault())?))
}

/// Returns the order, if it is paid with this payment.
fn paid_with(id: PaymentId, order_id: OrderId, order: OrderCreated) -> Result<OrderCreated, Fault> {
    if order.payment_id != id {
        let message = format!("order {order_id} is not paid with payment {id}");
        return Err(Fault::new(409, "PAYMENT_IS_NOT_OF_THIS_ORDER", message));
    }
    Ok(order)
}

/// What an invoice can be paid with: what is held, or was taken before the invoice said so.
fn available(payment: &Payment) -> Option<Funds> {
    match payment {
        Payment::Confirmed { held, .. } => Some(Funds::Held(*held)),
        Payment::Captured { captured, .. } => Some(Funds::Captured(*captured)),
        Payment::Authorized { .. } | Payment::Refunded { .. } | Payment::Released { .. } => None,
    }
}

fn invoice_id(call: &Call) -> Result<InvoiceId, Fault> {
    call.id("invoice")
}
