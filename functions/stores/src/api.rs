//! The use cases of stores and their products.

use std::sync::Arc;

use contracts::ids::{ProductId, StoreId};
use event_store::{Expect, Loaded, Past};
use kernel::{Money, StreamId};
use lambda::{Answer, Call, Fault, Form};

use crate::{
    Stores,
    product::{Goods, Product, ProductCommand},
    store::{Store, StoreCommand},
    views::{OneProduct, OneStore, ProductView, StoreView},
};

impl Stores {
    /// `POST /api/stores {name, location}`.
    ///
    /// # Errors
    /// 400 by the store's rules.
    pub async fn create_store(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let name = form.text("name", "STORE_NAME_IS_BLANK");
        let location = form.text("location", "STORE_LOCATION_IS_BLANK");
        let (Some(name), Some(location)) = (name, location) else { return Err(form.fault()) };
        let command = StoreCommand::Create { name: name.to_owned(), location: location.to_owned() };
        self.transact_store(call.new_id(&self.ports), Expect::New, command, &call).await
    }

    /// `PUT /api/stores/{id}/participating`.
    ///
    /// # Errors
    /// 400 when it takes part already, 404, 412.
    pub async fn enable_participation(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = store_id(&call)?;
        self.transact_store(id, call.expect(), StoreCommand::EnableParticipation, &call).await
    }

    /// `DELETE /api/stores/{id}/participating`.
    ///
    /// # Errors
    /// 400 when it does not take part anyway, 404, 412.
    pub async fn disable_participation(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = store_id(&call)?;
        self.transact_store(id, call.expect(), StoreCommand::DisableParticipation, &call).await
    }

    /// `PUT /api/stores/{id}/rebrand {name}`.
    ///
    /// # Errors
    /// 400 when the name is blank, 404, 412.
    pub async fn rebrand_store(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = store_id(&call)?;
        let form = Form::of(&call.body);
        let Some(name) = form.text("name", "STORE_NAME_IS_BLANK") else { return Err(form.fault()) };
        self.transact_store(id, call.expect(), StoreCommand::Rebrand { name: name.to_owned() }, &call).await
    }

    /// `GET /api/stores/{id}`: from the store's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_store(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = store_id(&call)?;
        let loaded: Past<Store> = call.load(&self.store, &StreamId::of::<Store, _>(id)).await?;
        let store = loaded.state.as_ref().ok_or_else(|| Fault::not_found("store", id))?;
        let view = StoreView::of(id, store, loaded.version);
        Answer::view(&OneStore { store: view }, Some(loaded.version))
    }

    /// `POST /api/stores/{id}/products {name, description, sku, price}`. The store is looked up in its own
    /// stream, so a store that was opened a moment ago can sell at once.
    ///
    /// # Errors
    /// 400 by the product's rules, 404 when there is no such store.
    pub async fn add_product(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let store_id = store_id(&call)?;
        let form = Form::of(&call.body);
        let (name, description) =
            (form.text("name", "PRODUCT_NAME_IS_BLANK"), form.text_or_empty("description"));
        let (sku, price) = (form.text_or_empty("sku"), form.money("price"));
        let (Some(name), Some(description), Some(sku), Some(price)) = (name, description, sku, price) else {
            return Err(form.fault());
        };
        let loaded: Loaded<Store> = self.store.load(&StreamId::of::<Store, _>(store_id)).await?;
        if loaded.state.is_none() {
            return Err(Fault::not_found("store", store_id));
        }
        let (name, description, sku) = (name.to_owned(), description.to_owned(), sku.to_owned());
        let command = ProductCommand::Add(Goods { store_id, name, description, sku, price });
        self.transact_product(call.new_id(&self.ports), Expect::New, command, &call).await
    }

    /// `PUT /api/stores/products/{id}/rebrand {name, description}`. Both are replaced: a description that is
    /// left out is empty from then on.
    ///
    /// # Errors
    /// 400 when the name is blank, 404, 409 when it was removed, 412.
    pub async fn rebrand_product(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = product_id(&call)?;
        let form = Form::of(&call.body);
        let (name, description) =
            (form.text("name", "PRODUCT_NAME_IS_BLANK"), form.text_or_empty("description"));
        let (Some(name), Some(description)) = (name, description) else { return Err(form.fault()) };
        let command = ProductCommand::Rebrand { name: name.to_owned(), description: description.to_owned() };
        self.transact_product(id, call.expect(), command, &call).await
    }

    /// `PUT /api/stores/products/{id}/increasePrice {price}`: the new price.
    ///
    /// # Errors
    /// 400 when it is lower than the current one, 404, 409 when it was removed, 412.
    pub async fn increase_product_price(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, price) = (product_id(&call)?, new_price(&call)?);
        self.transact_product(id, call.expect(), ProductCommand::IncreasePrice { price }, &call).await
    }

    /// `PUT /api/stores/products/{id}/decreasePrice {price}`: the new price.
    ///
    /// # Errors
    /// 400 when it is negative or higher than the current one, 404, 409 when it was removed, 412.
    pub async fn decrease_product_price(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, price) = (product_id(&call)?, new_price(&call)?);
        self.transact_product(id, call.expect(), ProductCommand::DecreasePrice { price }, &call).await
    }

    /// `DELETE /api/stores/products/{id}`. May be repeated.
    ///
    /// # Errors
    /// 404, 412.
    pub async fn remove_product(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact_product(product_id(&call)?, call.expect(), ProductCommand::Remove, &call).await
    }

    /// `GET /api/stores/products/{id}`: from the product's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404, also when it was removed.
    pub async fn get_product(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = product_id(&call)?;
        let loaded: Past<Product> = call.load(&self.store, &StreamId::of::<Product, _>(id)).await?;
        let goods = loaded.state.as_ref().and_then(Product::on_sale);
        let goods = goods.ok_or_else(|| Fault::not_found("product", id))?;
        let view = ProductView::of(id, goods, loaded.version);
        Answer::view(&OneProduct { product: view }, Some(loaded.version))
    }

    async fn transact_store(
        &self,
        id: StoreId,
        expect: Expect,
        command: StoreCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Store, _>(id);
        let outcome = self.store.transact::<Store>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    async fn transact_product(
        &self,
        id: ProductId,
        expect: Expect,
        command: ProductCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Product, _>(id);
        let outcome = self.store.transact::<Product>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

fn store_id(call: &Call) -> Result<StoreId, Fault> {
    call.id("store")
}

fn product_id(call: &Call) -> Result<ProductId, Fault> {
    call.id("product")
}

fn new_price(call: &Call) -> Result<Money, Fault> {
    let form = Form::of(&call.body);
    match form.money("price") {
        Some(price) => Ok(price),
        None => Err(form.fault()),
    }
}
