//! What the index knows: a row for each product, for each store and for each product's availability, made of
//! their streams by the projections here (stores by that of the crate `catalogue`).

use catalogue::Stores;
use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    inventory::StockEvent,
    stores::ProductEvent,
};
use kernel::Money;
use projection::{ApplyError, Projection, row_id};
use serde::{Deserialize, Serialize};

use crate::index::Kind;

/// A projection whose rows the index keeps.
pub trait Indexed: Projection {
    /// Which rows they are.
    const KIND: Kind;
}

/// The products: one row for each, also for those that were removed.
pub struct Products;

/// A product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductRow {
    /// The product.
    pub id: ProductId,
    /// The store that sells it, or sold it.
    pub store_id: StoreId,
    /// What it is called.
    pub name: String,
    /// What it is; may be empty.
    pub description: String,
    /// The store's own number for it; may be empty.
    pub sku: String,
    /// Price of one piece.
    pub price: Money,
    /// Whether it is still sold. The row of one that is not stays, and with it the version that it has applied: were it
    /// deleted, an old event that comes late would bring the product back.
    pub on_sale: bool,
}

impl Projection for Products {
    const NAME: &'static str = "searched-products";
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
                on_sale: true,
            }),
            ProductEvent::ProductRebranded(rebranded) => {
                Ok(ProductRow { name: rebranded.name, description: rebranded.description, ..row()? })
            }
            ProductEvent::ProductPriceIncreased(changed) => Ok(ProductRow { price: changed.price, ..row()? }),
            ProductEvent::ProductPriceDecreased(changed) => Ok(ProductRow { price: changed.price, ..row()? }),
            ProductEvent::ProductRemoved(_) => Ok(ProductRow { on_sale: false, ..row()? }),
        }
    }
}

impl Indexed for Products {
    const KIND: Kind = Kind::Product;
}

impl Indexed for Stores {
    const KIND: Kind = Kind::Store;
}

/// The availability of products: one row for each product whose stream has told any.
///
/// Its events are absolute, so the newest one that was heard is the row: [`Writer`](crate::writer) reads no
/// gap before it.
pub struct Stock;

/// The availability of one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRow {
    /// True if there is a piece to be had.
    pub available: bool,
}

impl Projection for Stock {
    const NAME: &'static str = "searched-stock";
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "inventory.StockItem";
    const IRRELEVANT: &'static [&'static str] = &[
        "StockTrackingStarted",
        "StockTrackingStopped",
        "StockAdded",
        "StockReduced",
        "InventoryReserved",
        "InventoryReleased",
        "LowStock",
        "LowStockThresholdChanged",
    ];
    type Row = StockRow;

    fn apply(row: Option<StockRow>, event: &Envelope) -> Result<StockRow, ApplyError> {
        match event.event::<StockEvent>()? {
            StockEvent::AvailabilityChanged(changed) => Ok(StockRow { available: changed.available }),
            StockEvent::StockTrackingStarted(_)
            | StockEvent::StockTrackingStopped(_)
            | StockEvent::StockAdded(_)
            | StockEvent::StockReduced(_)
            | StockEvent::InventoryReserved(_)
            | StockEvent::InventoryReleased(_)
            | StockEvent::LowStock(_)
            | StockEvent::LowStockThresholdChanged(_) => row.ok_or_else(|| ApplyError::without_row(event)),
        }
    }
}

impl Indexed for Stock {
    const KIND: Kind = Kind::Stock;
}
