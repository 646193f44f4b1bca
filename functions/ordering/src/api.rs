//! The use cases of an order.

use std::sync::Arc;

use contracts::ids::OrderId;
use event_store::{Expect, Past};
use kernel::StreamId;
use lambda::{Answer, Call, Fault, Form};

use crate::{
    Ordering,
    catalogue::{Wanted, offered, summed},
    docs::ShownOrder,
    order::{Order, OrderCommand},
    sagas::is_paid,
    views::OrderView,
};

impl Ordering {
    /// `POST /api/ordering {customerId, paymentId, items[{productId, quantity, price?}]}`: places an order
    /// without a basket.
    ///
    /// Names and prices are read from the stores' own streams and never taken from the request (see
    /// [`crate::catalogue`] for the number of queries). A price in the request is the one that the customer
    /// was shown; if it is not the store's, the order is refused. A product that is named twice is ordered
    /// once, with the sum of the pieces.
    ///
    /// # Errors
    /// 400 by the order's rules; 404 for a product that there is not; 409 for one that was removed, or costs
    /// something else than the request says.
    pub async fn create_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let customer_id = form.id("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK");
        let payment_id = form.id("paymentId", "PAYMENT_ID_CANNOT_BE_BLANK");
        let wanted = form.list("items", Wanted::from_request);
        let (Some(customer_id), Some(payment_id), Some(wanted)) = (customer_id, payment_id, wanted) else {
            return Err(form.fault());
        };
        let id: OrderId = call.new_id(&self.ports);
        let (store, wanted) = (&self.store, &wanted);
        let create = |_: Option<Order>| async move {
            let items = offered(store, wanted).await?;
            Ok(OrderCommand::Create { customer_id, payment_id, items })
        };
        let asked = (customer_id, payment_id, summed(wanted));
        call.transact_with(store, id, Expect::New, &asked, create).await
    }

    /// Approves an order; the last step of its placement. `{shoppingId}` names the list by which it is
    /// collected. An approval by hand may leave it out.
    ///
    /// # Errors
    /// 404; 409 `ORDER_IS_OVER` when it was rejected or cancelled meanwhile, and when it is collected by
    /// another list.
    pub async fn approve_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let form = Form::of(&call.body);
        let given = form.has("shoppingId");
        let shopping_id = if given { form.id("shoppingId", "SHOPPING_ID_CANNOT_BE_BLANK") } else { None };
        if !form.is_clean() {
            return Err(form.fault());
        }
        self.transact(id, call.expect(), OrderCommand::Approve { shopping_id }, &call).await
    }

    /// `DELETE /api/ordering/{id}`: cancels the order for its customer. The event `OrderCanceled` begins the
    /// undo, which gives back all that is held; collected goods go back on the shelf.
    ///
    /// The invoice's stream says if the order is paid, because the order's own stream hears of it a moment
    /// later. An invoice may be paid in the milliseconds between that look and the commit. Then the order is
    /// cancelled, and the undo refunds the payment.
    ///
    /// # Errors
    /// 404; 409 `ORDER_IS_PAID`, and when it is over; 412.
    pub async fn cancel_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let store = &self.store;
        // An order that is over answers by its own rules.
        let cancel = |order: Option<Order>| async move {
            match order {
                Some(Order::Pending(_) | Order::Approved { .. } | Order::Ready { .. })
                    if is_paid(store, id).await? =>
                {
                    Err(Fault::new(409, "ORDER_IS_PAID", "the order is paid: it can no longer be cancelled"))
                }
                Some(_) | None => Ok(OrderCommand::Cancel),
            }
        };
        call.transact_with(store, id, call.expect(), &(), cancel).await
    }

    /// `GET /api/ordering/{id}`: from the order's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let loaded: Past<Order> = call.load(&self.store, &StreamId::of::<Order, _>(id)).await?;
        let order = loaded.state.as_ref().ok_or_else(|| Fault::not_found("order", id))?;
        let order = OrderView::of(id, order, loaded.version);
        Answer::view(&ShownOrder { order }, Some(loaded.version))
    }

    pub(crate) async fn transact(
        &self,
        id: OrderId,
        expect: Expect,
        command: OrderCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Order, _>(id);
        let outcome = self.store.transact::<Order>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}
