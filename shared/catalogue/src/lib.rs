//! A copy of the stores and their products.
//!
//! The stores context decides what there is, what it is called and what it costs. Contexts that need to know
//! (baskets for prices and names, the depot for names and places) keep a copy of their own, made of the stores'
//! public events by two projections like any other: [`products`] and [`stores`]. So a copy heals when events are lost or
//! come out of order, is never moved back by an old event, and can be thrown away and rebuilt.
//!
//! # Guarantees
//!
//! * **A miss heals at once**: what is not in the copy is looked for in the event table before it is said not to
//!   exist, so a product that was added a moment ago can be sold.
//! * **A hit is one read** of one row, as new as the events that have arrived.
//! * **[`Catalogue::latest`] and [`Catalogue::latest_store`] are as new as the stores themselves**, for one more query
//!   per product or store: prices are charged by it.
//!
//! # Not guaranteed
//!
//! * That a hit is as new as the store: a price that rose a moment ago may be missing. Whoever charges reads the latest.
//! * That product and store are of the same moment: they are two rows.

pub mod participation;
pub mod products;
pub mod stores;

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
};
use futures::{StreamExt, TryStreamExt, stream};
use lambda::{Fault, settled};
use projection::{Projection, Projector};

pub use participation::{NotASwitch, Participation};
pub use products::{ProductCopy, Products};
pub use stores::{StoreCopy, Stores};

/// Products that are looked up at a time: a basket has a hundred at most.
const LOOKUPS_AT_A_TIME: usize = 8;

/// The copies of one context.
pub struct Catalogue {
    products: Projector<Products>,
    stores: Projector<Stores>,
}

/// A product with the store that sells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The product.
    pub product: ProductCopy,
    /// Its store.
    pub store: StoreCopy,
}

impl Catalogue {
    /// The copies that these projectors keep.
    pub fn new(products: Projector<Products>, stores: Projector<Stores>) -> Self {
        Self { products, stores }
    }

    /// Brings the copy of the products up to date with a batch of events.
    pub async fn project_products(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.products.deliver_batch(&events).await)
    }

    /// Brings the copy of the stores up to date with a batch of events.
    pub async fn project_stores(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.stores.deliver_batch(&events).await)
    }

    /// A product and its store, as the copy has them; `None` when there never was such a product. One that was removed
    /// is still here, see [`ProductCopy::on_sale`].
    ///
    /// # Errors
    /// When a table fails.
    pub async fn entry(&self, id: ProductId) -> Result<Option<Entry>, Fault> {
        let Some(product) = copied(&self.products, &id.to_string()).await? else { return Ok(None) };
        let store = self.store(product.store_id).await?;
        Ok(Some(Entry { store: store.ok_or_else(|| without_store(id, &product))?, product }))
    }

    /// A store, as the copy has it; `None` when there is no such store.
    ///
    /// # Errors
    /// When a table fails.
    pub async fn store(&self, id: StoreId) -> Result<Option<StoreCopy>, Fault> {
        copied(&self.stores, &id.to_string()).await
    }

    /// A store as it is now; `None` when there is no such store. Whoever turns a store away or lets it in because it
    /// takes part or does not asks here.
    ///
    /// # Errors
    /// When a table fails.
    pub async fn latest_store(&self, id: StoreId) -> Result<Option<StoreCopy>, Fault> {
        Ok(self.stores.read_latest(&id.to_string()).await?.map(|found| found.row))
    }

    /// These products as the stores have them now, in the same order; `None` for what there never was.
    ///
    /// # Errors
    /// When a table fails.
    pub async fn latest(
        &self,
        ids: impl IntoIterator<Item = ProductId>,
    ) -> Result<Vec<Option<ProductCopy>>, Fault> {
        let lookups = ids.into_iter().map(|id| self.latest_of(id));
        stream::iter(lookups).buffered(LOOKUPS_AT_A_TIME).try_collect().await
    }

    async fn latest_of(&self, id: ProductId) -> Result<Option<ProductCopy>, Fault> {
        Ok(self.products.read_latest(&id.to_string()).await?.map(|found| found.row))
    }
}

/// A row of the copy; one that is missing is made from its stream first.
async fn copied<P: Projection>(copies: &Projector<P>, id: &str) -> Result<Option<P::Row>, Fault> {
    if let Some(found) = copies.read(id, None).await? {
        tracing::debug!(copy = P::NAME, id, "copy hit");
        return Ok(Some(found.row));
    }
    let healed = copies.read_latest(id).await?;
    tracing::info!(copy = P::NAME, id, exists = healed.is_some(), "copy missed");
    Ok(healed.map(|found| found.row))
}

/// The stores context adds products to stores that exist, and stores never close.
fn without_store(id: ProductId, product: &ProductCopy) -> Fault {
    Fault::internal(format!("product {id} names store {}, of which there is no event", product.store_id))
}
