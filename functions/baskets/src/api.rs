//! The use cases of a basket.

use std::sync::Arc;

use contracts::{
    baskets::{BasketEvent, PriceChange},
    ids::{BasketId, CustomerKind, PaymentKind},
};
use event_store::{Expect, Outcome, Past};
use kernel::{Id, StreamId};
use lambda::{Answer, Call, Detail, Fault, Form};

use crate::{
    Baskets, Shopping,
    basket::{Basket, BasketCommand, Prices},
    views::{BasketView, OneBasket},
};

impl Baskets {
    /// `POST /api/baskets {customerId}`.
    ///
    /// # Errors
    /// 400 when the customer is missing.
    pub async fn start_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let customer_id: Option<Id<CustomerKind>> = form.id("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK");
        let Some(customer_id) = customer_id else { return Err(form.fault()) };
        let id: BasketId = call.new_id(&self.ports);
        self.transact(id, Expect::New, BasketCommand::Start { customer_id }, &call).await
    }

    /// `PUT /api/baskets/{id}/removeItem {productId, quantity}`. A product that is not in the basket is
    /// out of it already: nothing happens.
    ///
    /// # Errors
    /// 400 by the basket's rules, 404, 412.
    pub async fn remove_item(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let form = Form::of(&call.body);
        let product_id = form.id("productId", "PRODUCT_ID_CANNOT_BE_BLANK");
        let (Some(product_id), Some(quantity)) = (product_id, form.integer("quantity")) else {
            return Err(form.fault());
        };
        self.transact(id, call.expect(), BasketCommand::RemoveItem { product_id, quantity }, &call).await
    }

    /// `DELETE /api/baskets/{id}`.
    ///
    /// # Errors
    /// 400 when it is not open, 404, 412.
    pub async fn cancel_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact(basket_id(&call)?, call.expect(), BasketCommand::Cancel, &call).await
    }

    /// `GET /api/baskets/{id}`: from the basket's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let loaded: Past<Basket> = call.load(&self.store, &StreamId::of::<Basket, _>(id)).await?;
        let basket = loaded.state.as_ref().ok_or_else(|| Fault::not_found("basket", id))?;
        let basket = BasketView::of(id, basket, loaded.version)?;
        Answer::view(&OneBasket { basket }, Some(loaded.version))
    }

    async fn transact(
        &self,
        id: BasketId,
        expect: Expect,
        command: BasketCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Basket, _>(id);
        let outcome = self.store.transact::<Basket>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

impl Shopping {
    /// `PUT /api/baskets/{id}/addItem {productId, quantity}`. What it is called and costs, the copy of the stores' goods
    /// says.
    ///
    /// # Errors
    /// 400 by the basket's rules, 404 when there is no such basket, or no store sells the product, 409 when only stores
    /// that take part in the mall may sell and this one does not, 412.
    pub async fn add_item(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let form = Form::of(&call.body);
        let product_id = form.id("productId", "PRODUCT_ID_CANNOT_BE_BLANK");
        let (Some(product_id), Some(quantity)) = (product_id, form.integer("quantity")) else {
            return Err(form.fault());
        };
        let goods = &self.goods;
        let add = |_: Option<Basket>| async move {
            let on_offer = goods.on_offer(product_id).await?;
            Ok(BasketCommand::AddItem { product_id, quantity, on_offer })
        };
        let asked = (product_id, quantity);
        call.transact_with(&self.baskets.store, id, call.expect(), &asked, add).await
    }

    /// `PUT /api/baskets/{id}/checkout {paymentId}`, at the prices of this moment. When any has risen, the basket takes the
    /// new prices over and stays open; a checkout with a fresh key confirms them.
    ///
    /// # Errors
    /// 400 by the basket's rules, 404, 409 when prices have risen, something is no longer sold, or the basket was changed
    /// at the same time over and over, 412.
    pub async fn checkout_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let form = Form::of(&call.body);
        let payment_id: Option<Id<PaymentKind>> = form.id("paymentId", "PAYMENT_ID_CANNOT_BE_BLANK");
        let Some(payment_id) = payment_id else { return Err(form.fault()) };
        let (goods, store) = (&self.goods, &self.baskets.store);
        let check_out = |basket: Option<Basket>| async move {
            // In a basket that is not open there is nothing to charge.
            let prices = match basket {
                Some(Basket::Open { items, .. }) => goods.prices(&items).await?,
                Some(Basket::CheckedOut { .. } | Basket::Canceled { .. }) | None => Prices::new(),
            };
            Ok::<_, Fault>(BasketCommand::Checkout { payment_id, prices })
        };
        let stream = StreamId::of::<Basket, _>(id);
        let outcome =
            store.transact_with(&stream, call.expect(), &payment_id, &call.meta(), check_out).await?;
        checked_out(id, &outcome)
    }
}

/// What a checkout led to, from its own events: so a repeat is answered as the first one was, whatever became of the
/// basket since.
fn checked_out(id: BasketId, outcome: &Outcome<Basket>) -> Result<Answer, Fault> {
    let mut risen = None;
    for event in &outcome.events {
        match event {
            BasketEvent::BasketCheckedOut(_) => return Ok(Answer::committed(id, outcome.version)),
            BasketEvent::BasketRepriced(repriced) => risen = Some(prices_have_risen(&repriced.prices)),
            BasketEvent::BasketStarted(_)
            | BasketEvent::BasketItemAdded(_)
            | BasketEvent::BasketItemRemoved(_)
            | BasketEvent::BasketCanceled(_) => {}
        }
    }
    Err(risen.unwrap_or_else(|| Fault::internal(format!("the checkout of basket {id} decided nothing"))))
}

/// 409, with every price that is another one now. The basket has the new ones already.
fn prices_have_risen(changes: &[PriceChange]) -> Fault {
    let detail = |change: &PriceChange| {
        let PriceChange { product_id, old_price, price } = change;
        let code = if change.is_rise() { "PRICE_HAS_RISEN" } else { "PRICE_HAS_FALLEN" };
        Detail {
            field: format!("items[{product_id}].productPrice"),
            code: code.into(),
            message: format!("product {product_id} costs {price} now, not {old_price}"),
        }
    };
    let message = "prices have risen since these products were put in; the basket has the new prices now: look at it, \
                   and check out again with a fresh Idempotency-Key to accept them";
    Fault { details: changes.iter().map(detail).collect(), ..Fault::new(409, "PRICES_HAVE_RISEN", message) }
}

fn basket_id(call: &Call) -> Result<BasketId, Fault> {
    call.id("basket")
}
