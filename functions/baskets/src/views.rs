//! What is shown of a basket.

use contracts::{
    baskets::total,
    ids::{BasketId, CustomerId, ProductId, StoreId},
};
use kernel::{Money, Version, money::decimal};
use lambda::Fault;
use serde::Serialize;

use crate::basket::Basket;

/// A basket, for its shopper.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasketView {
    id: BasketId,
    customer_id: CustomerId,
    status: &'static str,
    items: Vec<ItemView>,
    #[serde(with = "decimal")]
    total: Money,
    version: Version,
}

/// A line of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemView {
    store_id: StoreId,
    store_name: String,
    product_id: ProductId,
    product_name: String,
    #[serde(with = "decimal")]
    product_price: Money,
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
