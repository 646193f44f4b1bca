//! Events of the stores context.

use kernel::{Event, Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::StoreId;

/// What happens to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum StoreEvent {
    /// A store was opened. It does not take part in the mall yet.
    StoreCreated(StoreCreated),
    /// The store takes part in the mall from now on.
    StoreParticipationEnabled(StoreParticipationEnabled),
    /// The store no longer takes part.
    StoreParticipationDisabled(StoreParticipationDisabled),
    /// The store has another name.
    StoreRebranded(StoreRebranded),
}

/// See [`StoreEvent::StoreCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreCreated {
    /// What it is called.
    pub name: String,
    /// Where in the mall it is.
    pub location: String,
}

/// See [`StoreEvent::StoreParticipationEnabled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreParticipationEnabled {}

/// See [`StoreEvent::StoreParticipationDisabled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreParticipationDisabled {}

/// See [`StoreEvent::StoreRebranded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreRebranded {
    /// The new name.
    pub name: String,
}

impl Event for StoreEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("StoreCreated", 1),
        ("StoreParticipationEnabled", 1),
        ("StoreParticipationDisabled", 1),
        ("StoreRebranded", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            StoreEvent::StoreCreated(_) => "StoreCreated",
            StoreEvent::StoreParticipationEnabled(_) => "StoreParticipationEnabled",
            StoreEvent::StoreParticipationDisabled(_) => "StoreParticipationDisabled",
            StoreEvent::StoreRebranded(_) => "StoreRebranded",
        }
    }
}

/// What happens to a product. Every event names the store, so that a reader that follows one store, or
/// that counts by store, needs no copy of the catalogue to know whose product it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum ProductEvent {
    /// A store sells something new.
    ProductAdded(ProductAdded),
    /// The product is called and described otherwise.
    ProductRebranded(ProductRebranded),
    /// The product costs more.
    ProductPriceIncreased(ProductPriceIncreased),
    /// The product costs less.
    ProductPriceDecreased(ProductPriceDecreased),
    /// The store no longer sells it. It never comes back.
    ProductRemoved(ProductRemoved),
}

/// See [`ProductEvent::ProductAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductAdded {
    /// The store that sells it.
    pub store_id: StoreId,
    /// What it is called.
    pub name: String,
    /// What it is; may be empty.
    pub description: String,
    /// The store's own number for it; may be empty, and is not checked to be unique.
    pub sku: String,
    /// Price of one piece; not negative.
    pub price: Money,
}

/// See [`ProductEvent::ProductRebranded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductRebranded {
    /// The store that sells it.
    pub store_id: StoreId,
    /// The new name.
    pub name: String,
    /// The new description; may be empty.
    pub description: String,
}

/// See [`ProductEvent::ProductPriceIncreased`]. It carries the price and not a difference: a reader
/// sets what it is told, and whoever missed an event is right again with the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductPriceIncreased {
    /// The store that sells it.
    pub store_id: StoreId,
    /// What it cost before.
    pub old_price: Money,
    /// What it costs now.
    pub price: Money,
}

/// See [`ProductEvent::ProductPriceDecreased`] and, for its fields, [`ProductPriceIncreased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductPriceDecreased {
    /// The store that sells it.
    pub store_id: StoreId,
    /// What it cost before.
    pub old_price: Money,
    /// What it costs now; not negative.
    pub price: Money,
}

/// See [`ProductEvent::ProductRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductRemoved {
    /// The store that sold it.
    pub store_id: StoreId,
}

impl Event for ProductEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("ProductAdded", 1),
        ("ProductRebranded", 1),
        ("ProductPriceIncreased", 1),
        ("ProductPriceDecreased", 1),
        ("ProductRemoved", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            ProductEvent::ProductAdded(_) => "ProductAdded",
            ProductEvent::ProductRebranded(_) => "ProductRebranded",
            ProductEvent::ProductPriceIncreased(_) => "ProductPriceIncreased",
            ProductEvent::ProductPriceDecreased(_) => "ProductPriceDecreased",
            ProductEvent::ProductRemoved(_) => "ProductRemoved",
        }
    }
}
