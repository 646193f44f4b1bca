//! What the HTTP API of product search looks like, for the documents that are made of it.

use api_docs::Operation;
use contracts::ids::{ProductId, StoreId};
use kernel::{Money, money::decimal};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{index::FoundProduct, rows::ProductRow};

const TAG: &str = "Search";

/// The operations of the HTTP API, as the template's routes have them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/api/search/products",
            "searchProducts",
            TAG,
            "Finds products by words of their name, description or SKU, also by their beginnings and with typos; best first.",
        )
        .query("q", "The words, all of which have to be found; all products fit when there are none.", false)
        .query("storeId", "Only products of this store: a UUID.", false)
        .query("minPrice", "Only products that cost this or more: a number with at most two decimal places.", false)
        .query("maxPrice", "Only products that cost this or less: a number with at most two decimal places.", false)
        .query("available", "`true`: only what can be had now; `false`: only what cannot.", false)
        .pages()
        .shows::<ProductsFound>(),
    ]
}

/// A page of products.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProductsFound {
    /// The products, best first.
    pub products: Vec<SearchedProduct>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next: Option<String>,
}

/// A product that was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchedProduct {
    /// The product.
    id: ProductId,
    /// The store that sells it.
    store_id: StoreId,
    /// What the store is called.
    store_name: String,
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
    /// Whether it can be had now: its stock is not counted, or there is some that is kept for nobody.
    available: bool,
}

impl SearchedProduct {
    /// Shows a product.
    pub fn of(found: FoundProduct) -> Self {
        let FoundProduct { product, store_name, available } = found;
        let ProductRow { id, store_id, name, description, sku, price, on_sale: _ } = product;
        Self { id, store_id, store_name, name, description, sku, price, available }
    }
}
