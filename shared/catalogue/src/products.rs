//! The copy of the products.

use contracts::{
    Envelope,
    ids::{ProductId, StoreId},
    stores::ProductEvent,
};
use kernel::Money;
use projection::{ApplyError, Projection, row_id};
use serde::{Deserialize, Serialize};

/// The copy: one row for each product that ever was.
pub struct Products;

/// A product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductCopy {
    /// The product.
    pub id: ProductId,
    /// The store that sells it, or sold it.
    pub store_id: StoreId,
    /// What it is called.
    pub name: String,
    /// Price of one piece.
    pub price: Money,
    /// Whether the store still sells it. The row of a removed product stays: were it deleted, an old event that comes
    /// late would bring the product back.
    pub on_sale: bool,
}

impl Projection for Products {
    const NAME: &'static str = "product-copies";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "stores.Product";
    type Row = ProductCopy;

    fn apply(row: Option<ProductCopy>, event: &Envelope) -> Result<ProductCopy, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<ProductEvent>()? {
            ProductEvent::ProductAdded(added) => Ok(ProductCopy {
                id: row_id(event)?,
                store_id: added.store_id,
                name: added.name,
                price: added.price,
                on_sale: true,
            }),
            ProductEvent::ProductRebranded(rebranded) => Ok(ProductCopy { name: rebranded.name, ..row()? }),
            // Prices are set to what the event says: an event that was missed does no lasting harm.
            ProductEvent::ProductPriceIncreased(changed) => {
                Ok(ProductCopy { price: changed.price, ..row()? })
            }
            ProductEvent::ProductPriceDecreased(changed) => {
                Ok(ProductCopy { price: changed.price, ..row()? })
            }
            ProductEvent::ProductRemoved(_) => Ok(ProductCopy { on_sale: false, ..row()? }),
        }
    }
}
