//! What is shown of a basket.

use contracts::{
    baskets::total,
    ids::{BasketId, CustomerId, ProductId, StoreId},
};
use kernel::{Money, Version, money::decimal};
use lambda::Fault;
use serde::Serialize;
use utoipa::ToSchema;

use crate::basket::Basket;

/// The answer to a query for one basket.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneBasket {
    /// The basket.
    pub basket: BasketView,
}

/// A basket, for its shopper.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketView {
    /// The basket.
    id: BasketId,
    /// Whose it is.
    customer_id: CustomerId,
    /// `open`, `checked_out` or `canceled`.
    status: &'static str,
    /// The lines, in the order in which they were first added. A cancelled basket has none.
    items: Vec<ItemView>,
    /// Sum over the lines.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    total: Money,
    /// Version of the basket.
    version: Version,
}

/// A line of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ItemView {
    /// The store that sells it.
    store_id: StoreId,
    /// The store's name when it was added.
    store_name: String,
    /// The product.
    product_id: ProductId,
    /// The product's name when it was added.
    product_name: String,
    /// Price of one piece, as it was last shown to the shopper.
    #[serde(with = "decimal")]
    #[schema(value_type = kernel::schema::Amount)]
    product_price: Money,
    /// Pieces.
    #[schema(minimum = 1)]
    quantity: u32,
}

impl BasketView {
    /// Shows a basket.
    ///
    /// # Errors
    /// When its total cannot be expressed, which the aggregate rules out.
    pub fn of(id: BasketId, basket: &Basket, version: Version) -> Result<Self, Fault> {
        let items = basket.items();
        Ok(Self {
            id,
            customer_id: basket.customer_id(),
            status: basket.status(),
            total: total(items).map_err(Fault::internal)?,
            items: items
                .iter()
                .map(|item| ItemView {
                    store_id: item.store_id,
                    store_name: item.store_name.clone(),
                    product_id: item.product_id,
                    product_name: item.product_name.clone(),
                    product_price: item.price,
                    quantity: item.quantity,
                })
                .collect(),
            version,
        })
    }
}
