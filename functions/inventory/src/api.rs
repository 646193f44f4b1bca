//! The use cases of whoever keeps the stock. Orders come in through [`crate::reserve`].
//!
//! An id is a product's. That the product exists, and which store sells it, is read from its own first event; a product
//! that its store removed may still be counted down. A quantity that is *added* relies on the idempotency key, which reaches
//! back some ten commits; on a product that sells fast, `PUT` the count, or send `If-Match`.

use std::sync::Arc;

use contracts::{
    ids::{ProductId, StoreId},
    stores::ProductEvent,
};
use event_store::Past;
use kernel::{StreamId, Version};
use lambda::{Answer, Call, Fault, Form};

use crate::{
    Inventory,
    stock::{StockCommand, StockItem},
    views::{StockShown, StockView},
};

impl Inventory {
    /// `GET /api/inventory/{id}`: from the product's own stream of stock, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404 when there is no such product, or nobody had counted it then.
    pub async fn get_stock(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: ProductId = call.id("product")?;
        let loaded: Past<StockItem> = call.load(&self.store, &StreamId::of::<StockItem, _>(id)).await?;
        let stock = match &loaded.state {
            Some(StockItem::Tracked(stock)) => StockView::of(id, stock, loaded.version),
            Some(StockItem::Untracked { store_id, .. }) => {
                StockView::untracked(id, *store_id, Some(loaded.version))
            }
            // Whether the product was there then, nothing here says: only that nobody counted it.
            None if call.until()?.is_some() => return Err(Fault::not_found("stock", id)),
            None => StockView::untracked(id, self.seller(id).await?, None),
        };
        let version = loaded.state.is_some().then_some(loaded.version);
        Answer::view(&StockShown { stock }, version)
    }

    /// `POST /api/inventory/{id}/add {quantity}`: pieces came in. Starts the count when it was off. A repeat that comes more
    /// than some ten commits of the product later counts again: see the head of this file.
    ///
    /// # Errors
    /// 400 when the quantity is not 1 to [`crate::stock::MAX_PIECES`], 404, 409 when there would be more than that, 412.
    pub async fn add_stock(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (product_id, quantity) = (call.id("product")?, pieces(&call, "quantity")?);
        let store_id = self.seller(product_id).await?;
        self.transact(product_id, StockCommand::Add { product_id, store_id, quantity }, &call).await
    }

    /// `PUT /api/inventory/{id} {onHand}`: somebody counted. Starts the count when it was off.
    ///
    /// # Errors
    /// 400 when the number is not 0 to [`crate::stock::MAX_PIECES`], 404, 409 when more than that is kept for orders, 412.
    pub async fn set_stock(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (product_id, on_hand) = (call.id("product")?, pieces(&call, "onHand")?);
        let store_id = self.seller(product_id).await?;
        self.transact(product_id, StockCommand::Set { product_id, store_id, on_hand }, &call).await
    }

    /// `PUT /api/inventory/{id}/reduce {quantity}`: pieces are taken out by hand; only such that are not
    /// kept for orders.
    ///
    /// # Errors
    /// 400 when the quantity is not 1 to [`crate::stock::MAX_PIECES`], 404, 409 when too few are available or the product is not
    /// tracked, 412.
    pub async fn reduce_stock(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (product_id, quantity) = (call.id("product")?, pieces(&call, "quantity")?);
        self.seller(product_id).await?;
        self.transact(product_id, StockCommand::Reduce { quantity }, &call).await
    }

    /// `PUT /api/inventory/{id}/threshold {threshold}`: at how many available pieces, or fewer, somebody should
    /// do something; 0 for never.
    ///
    /// # Errors
    /// 400 when the threshold is not 0 to [`crate::stock::MAX_PIECES`], 404, 409 when the product is not tracked, 412.
    pub async fn set_low_stock_threshold(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (product_id, threshold) = (call.id("product")?, pieces(&call, "threshold")?);
        self.seller(product_id).await?;
        self.transact(product_id, StockCommand::SetThreshold { threshold }, &call).await
    }

    /// `PUT /api/inventory/{id}/tracking`: from now on the product is counted, beginning with nothing. May be repeated.
    ///
    /// # Errors
    /// 404, 412.
    pub async fn start_tracking(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let product_id = call.id("product")?;
        let store_id = self.seller(product_id).await?;
        self.transact(product_id, StockCommand::StartTracking { product_id, store_id }, &call).await
    }

    /// `DELETE /api/inventory/{id}/tracking`: from now on the product is always available. May be repeated.
    ///
    /// # Errors
    /// 404, 409 while pieces are kept for orders, 412.
    pub async fn stop_tracking(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let product_id = call.id("product")?;
        self.seller(product_id).await?;
        self.transact(product_id, StockCommand::StopTracking, &call).await
    }

    async fn transact(&self, id: ProductId, command: StockCommand, call: &Call) -> Result<Answer, Fault> {
        let stream = StreamId::of::<StockItem, _>(id);
        let outcome =
            self.store.transact::<StockItem>(&stream, call.expect(), &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    /// The store that sells the product, or sold it.
    async fn seller(&self, id: ProductId) -> Result<StoreId, Fault> {
        let stream: StreamId = format!("stores.Product/{id}").parse().map_err(Fault::internal)?;
        let first = self.store.event(&stream, Version::FIRST).await?;
        let first = first.ok_or_else(|| Fault::not_found("product", id))?;
        match first.event::<ProductEvent>().map_err(Fault::internal)? {
            ProductEvent::ProductAdded(added) => Ok(added.store_id),
            ProductEvent::ProductRebranded(_)
            | ProductEvent::ProductPriceIncreased(_)
            | ProductEvent::ProductPriceDecreased(_)
            | ProductEvent::ProductRemoved(_) => {
                Err(Fault::internal(format!("{stream} does not begin with ProductAdded")))
            }
        }
    }
}

/// A number of pieces. One that is below nothing, or too large for its type, becomes the largest there is, which
/// the aggregate refuses as it refuses every other that is out of range.
fn pieces(call: &Call, field: &'static str) -> Result<u32, Fault> {
    let form = Form::of(&call.body);
    match form.integer(field) {
        Some(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        None => Err(form.fault()),
    }
}
