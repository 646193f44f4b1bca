//! The mall and the catalogue: projections and queries. Single stores and products are read from their own
//! streams (see [`crate::api`]); only lists come from here.

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    stores::{ProductEvent, StoreEvent},
};
use kernel::{Money, Version, money::decimal};
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, Projection, Projector, row_id, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{product::Goods, store::Store};

/// The view of all stores: one row for each.
pub struct Mall;

/// The only partition of [`ALL_STORES`] and [`PARTICIPATING_STORES`].
///
/// One partition takes 1,000 write units a second and gives 3,000 read units: a thousand stores opened, renamed
/// or switched a second, and some 4,000 pages of twenty stores read. A mall has thousands of stores and
/// hears of a few changes an hour, and no order changes a store: so these two are not sharded.
const MALL: &str = "mall";

/// All stores, in the order in which they were opened: it never changes, so that pages neither skip nor repeat
/// a store that is renamed meanwhile.
pub const ALL_STORES: Index = Index::new("all-stores", "listed", "openedAt");

/// The stores that take part: the others have no `shown` and are not in this index.
pub const PARTICIPATING_STORES: Index = Index::new("participating-stores", "shown", "openedAt");

/// A store of the mall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreRow {
    /// The store.
    pub id: StoreId,
    /// What it is called.
    pub name: String,
    /// Where in the mall it is.
    pub location: String,
    /// Whether it takes part.
    pub participating: bool,
    /// When it was opened: RFC 3339 with all nine places, so that text sorts as time does.
    pub opened_at: String,
    /// Where [`ALL_STORES`] has it.
    listed: String,
    /// Where [`PARTICIPATING_STORES`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<String>,
}

impl StoreRow {
    fn participating(self, participating: bool) -> Self {
        Self { participating, shown: participating.then(|| MALL.to_owned()), ..self }
    }
}

impl Projection for Mall {
    const NAME: &'static str = "mall";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "stores.Store";
    type Row = StoreRow;

    fn apply(row: Option<StoreRow>, event: &Envelope) -> Result<StoreRow, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<StoreEvent>()? {
            StoreEvent::StoreCreated(created) => Ok(StoreRow {
                id: row_id(event)?,
                name: created.name,
                location: created.location,
                participating: false,
                opened_at: sortable(event.at),
                listed: MALL.to_owned(),
                shown: None,
            }),
            StoreEvent::StoreParticipationEnabled(_) => Ok(row()?.participating(true)),
            StoreEvent::StoreParticipationDisabled(_) => Ok(row()?.participating(false)),
            StoreEvent::StoreRebranded(rebranded) => Ok(StoreRow { name: rebranded.name, ..row()? }),
        }
    }
}

/// The view of what stores sell: one row for each product.
pub struct Catalogue;

/// The products of one store, in the order in which they were added. A removed product has no `shelf` and is not
/// in the index.
///
/// A store is one partition: a thousand changes of its products a second, and some 1,500 pages of twenty
/// products of half a kilobyte.
pub const BY_STORE: Index = Index::new("by-store", "shelf", "addedAt");

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductRow {
    /// The product.
    pub id: ProductId,
    /// The store that sells it, or sold it.
    pub store_id: StoreId,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The store's own number for it.
    pub sku: String,
    /// Price of one piece.
    pub price: Money,
    /// When it was added: RFC 3339 with all nine places, so that text sorts as time does.
    pub added_at: String,
    /// The store in whose list [`BY_STORE`] has it; none when it was removed. The row stays, and with it the
    /// version it has applied: were it deleted, an old event that comes late would bring the product back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shelf: Option<StoreId>,
}

impl Projection for Catalogue {
    const NAME: &'static str = "catalogue";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "stores.Product";
    type Row = ProductRow;

    fn apply(row: Option<ProductRow>, event: &Envelope) -> Result<ProductRow, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<ProductEvent>()? {
            ProductEvent::ProductAdded(added) => Ok(ProductRow {
                id: row_id(event)?,
                store_id: added.store_id,
                name: added.name,
                description: added.description,
                sku: added.sku,
                price: added.price,
                added_at: sortable(event.at),
                shelf: Some(added.store_id),
            }),
            ProductEvent::ProductRebranded(rebranded) => {
                Ok(ProductRow { name: rebranded.name, description: rebranded.description, ..row()? })
            }
            ProductEvent::ProductPriceIncreased(changed) => Ok(ProductRow { price: changed.price, ..row()? }),
            ProductEvent::ProductPriceDecreased(changed) => Ok(ProductRow { price: changed.price, ..row()? }),
            ProductEvent::ProductRemoved(_) => Ok(ProductRow { shelf: None, ..row()? }),
        }
    }
}

/// The mall with its queries.
pub struct MallViews {
    projector: Projector<Mall>,
}

impl MallViews {
    /// The view that `projector` keeps.
    pub fn new(projector: Projector<Mall>) -> Self {
        Self { projector }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_mall(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.projector.deliver_batch(&events).await)
    }

    /// `GET /api/stores?limit=&cursor=`: all stores, oldest first. A list lags behind the stores by the time
    /// events take to travel.
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_stores(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.list(&ALL_STORES, &call).await
    }

    /// `GET /api/stores/participating?limit=&cursor=`: the stores that take part, oldest first.
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_participating_stores(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.list(&PARTICIPATING_STORES, &call).await
    }

    async fn list(&self, index: &Index, call: &Call) -> Result<Answer, Fault> {
        let page = self.projector.list(index, &call.list_request(MALL, false)?).await?;
        let stores = page.rows.into_iter().map(StoreView::of_row).collect();
        Answer::view(&StoreList { stores, next: page.next }, None)
    }
}

/// The catalogue with its query.
pub struct CatalogueViews {
    projector: Projector<Catalogue>,
}

impl CatalogueViews {
    /// The view that `projector` keeps.
    pub fn new(projector: Projector<Catalogue>) -> Self {
        Self { projector }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_catalogue(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.projector.deliver_batch(&events).await)
    }

    /// `GET /api/stores/{id}/products?limit=&cursor=`: what a store sells, oldest first. A store that there is
    /// not sells nothing: an empty list, as in the original API.
    ///
    /// # Errors
    /// 400 when a parameter is wrong; 404 when the id is no id.
    pub async fn list_products(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let store_id: StoreId = call.id("store")?;
        let request = call.list_request(store_id.to_string(), false)?;
        let page = self.projector.list(&BY_STORE, &request).await?;
        let products = page.rows.into_iter().map(ProductView::of_row).collect();
        Answer::view(&ProductList { products, next: page.next }, None)
    }
}

/// One store.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneStore {
    /// The store.
    pub store: StoreView,
}

/// A page of stores.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreList {
    /// The stores, in the order in which they were opened.
    pub stores: Vec<StoreView>,
    /// Where the next page starts; null when this is the last.
    pub next: Option<String>,
}

/// One product.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneProduct {
    /// The product.
    pub product: ProductView,
}

/// A page of products.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductList {
    /// The products, in the order in which they were added.
    pub products: Vec<ProductView>,
    /// Where the next page starts; null when this is the last.
    pub next: Option<String>,
}

/// What is shown of a store.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreView {
    /// The store.
    id: StoreId,
    /// What it is called.
    name: String,
    /// Where in the mall it is.
    location: String,
    /// Whether it takes part in the mall.
    participating: bool,
    /// Its version; lists, which lag behind, have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl StoreView {
    /// Shows a store.
    pub fn of(id: StoreId, store: &Store, version: Version) -> Self {
        let premises = store.premises().clone();
        Self {
            id,
            name: premises.name,
            location: premises.location,
            participating: store.is_participating(),
            version: Some(version),
        }
    }

    fn of_row(row: StoreRow) -> Self {
        let StoreRow { id, name, location, participating, .. } = row;
        Self { id, name, location, participating, version: None }
    }
}

/// What is shown of a product.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductView {
    /// The product.
    id: ProductId,
    /// The store that sells it.
    store_id: StoreId,
    /// What it is called.
    name: String,
    /// What it is; may be empty.
    description: String,
    /// The store's own number for it; may be empty.
    sku: String,
    /// Price of one piece.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    price: Money,
    /// Its version; lists, which lag behind, have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl ProductView {
    /// Shows a product.
    pub fn of(id: ProductId, goods: &Goods, version: Version) -> Self {
        let Goods { store_id, name, description, sku, price } = goods.clone();
        Self { id, store_id, name, description, sku, price, version: Some(version) }
    }

    fn of_row(row: ProductRow) -> Self {
        let ProductRow { id, store_id, name, description, sku, price, .. } = row;
        Self { id, store_id, name, description, sku, price, version: None }
    }
}
