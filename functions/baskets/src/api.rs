//! The use cases of a basket.

use std::sync::Arc;

use contracts::ids::{BasketId, CustomerKind, PaymentKind};
use event_store::{Expect, Loaded};
use kernel::{Id, StreamId};
use lambda::{Answer, Call, Fault, Form};

use crate::{
    Baskets,
    basket::{Basket, BasketCommand},
    catalogue,
    views::BasketView,
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

    /// `PUT /api/baskets/{id}/addItem {productId, quantity, product}`.
    ///
    /// # Errors
    /// 400 by the basket's rules, 404, 412.
    pub async fn add_item(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let form = Form::of(&call.body);
        let (offer, quantity) = (catalogue::from_request(&form), form.integer("quantity"));
        let (Some(offer), Some(quantity)) = (offer, quantity) else { return Err(form.fault()) };
        self.transact(id, call.expect(), BasketCommand::AddItem { offer, quantity }, &call).await
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

    /// `PUT /api/baskets/{id}/checkout {paymentId}`.
    ///
    /// # Errors
    /// 400 by the basket's rules, 404, 412.
    pub async fn checkout_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let form = Form::of(&call.body);
        let payment_id: Option<Id<PaymentKind>> = form.id("paymentId", "PAYMENT_ID_CANNOT_BE_BLANK");
        let Some(payment_id) = payment_id else { return Err(form.fault()) };
        self.transact(id, call.expect(), BasketCommand::Checkout { payment_id }, &call).await
    }

    /// `DELETE /api/baskets/{id}`.
    ///
    /// # Errors
    /// 400 when it is not open, 404, 412.
    pub async fn cancel_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact(basket_id(&call)?, call.expect(), BasketCommand::Cancel, &call).await
    }

    /// `GET /api/baskets/{id}`: from the basket's own stream, as it is now.
    ///
    /// # Errors
    /// 404.
    pub async fn get_basket(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = basket_id(&call)?;
        let loaded: Loaded<Basket> = self.store.load(&StreamId::of::<Basket, _>(id)).await?;
        let basket = loaded.state.as_ref().ok_or_else(|| Fault::not_found("basket", id))?;
        let view = BasketView::of(id, basket, loaded.version())?;
        Answer::view(&serde_json::json!({ "basket": view }), Some(loaded.version()))
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

fn basket_id(call: &Call) -> Result<BasketId, Fault> {
    call.id("basket")
}
