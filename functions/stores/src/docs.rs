//! What the HTTP API of stores looks like, for the documents that are made of it.

use api_docs::Operation;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::views::{OneProduct, OneStore, ProductList, StoreList};

const TAG: &str = "Stores";

/// A store to open.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewStore {
    /// What it is called; not blank.
    #[schema(min_length = 1, max_length = 500)]
    pub name: String,
    /// Where in the mall it is; not blank.
    #[schema(min_length = 1, max_length = 500)]
    pub location: String,
}

/// Another name for a store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreName {
    /// The new name; not blank.
    #[schema(min_length = 1, max_length = 500)]
    pub name: String,
}

/// A product to sell.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewProduct {
    /// What it is called; not blank.
    #[schema(min_length = 1, max_length = 500)]
    pub name: String,
    /// What it is. Empty when it is left out.
    #[schema(max_length = 500)]
    pub description: Option<String>,
    /// The store's own number for it; not checked to be unique. Empty when it is left out.
    #[schema(max_length = 500)]
    pub sku: Option<String>,
    /// Price of one piece; not negative.
    #[schema(value_type = kernel::schema::Amount)]
    pub price: f64,
}

/// Another name and description for a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductText {
    /// The new name; not blank.
    #[schema(min_length = 1, max_length = 500)]
    pub name: String,
    /// The new description. Empty when it is left out.
    #[schema(max_length = 500)]
    pub description: Option<String>,
}

/// Another price for a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewPrice {
    /// The new price of one piece (not a difference); not negative.
    #[schema(value_type = kernel::schema::Amount)]
    pub price: f64,
}

/// The operations of the HTTP API, as the template's routes have them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/api/stores",
            "createStore",
            TAG,
            "Opens a store. It does not take part in the mall yet.",
        )
        .takes::<NewStore>(),
        Operation::get("/api/stores", "getStores", TAG, "Lists all stores, oldest first.")
            .shows::<StoreList>()
            .pages(),
        Operation::get(
            "/api/stores/participating",
            "getParticipatingStores",
            TAG,
            "Lists the stores that take part in the mall, oldest first.",
        )
        .shows::<StoreList>()
        .pages(),
        Operation::get("/api/stores/{id}", "getStore", TAG, "Shows a store as it is now, or was.")
            .shows::<OneStore>()
            .past(),
        Operation::put(
            "/api/stores/{id}/participating",
            "enableParticipation",
            TAG,
            "Lets a store take part in the mall.",
        ),
        Operation::delete(
            "/api/stores/{id}/participating",
            "disableParticipation",
            TAG,
            "Takes a store out of the mall.",
        ),
        Operation::put("/api/stores/{id}/rebrand", "rebrandStore", TAG, "Gives a store another name.")
            .takes::<StoreName>(),
        Operation::post("/api/stores/{id}/products", "addProduct", TAG, "Lets a store sell something new.")
            .takes::<NewProduct>(),
        Operation::get(
            "/api/stores/{id}/products",
            "getStoreProducts",
            TAG,
            "Lists what a store sells, oldest first. A store that there is not sells nothing.",
        )
        .shows::<ProductList>()
        .pages(),
        Operation::get(
            "/api/stores/products/{id}",
            "getProduct",
            TAG,
            "Shows a product as it is now, or was.",
        )
        .shows::<OneProduct>()
        .past(),
        Operation::delete(
            "/api/stores/products/{id}",
            "removeProduct",
            TAG,
            "Takes a product off the shelf, for good. May be repeated.",
        ),
        Operation::put(
            "/api/stores/products/{id}/rebrand",
            "rebrandProduct",
            TAG,
            "Gives a product another name and description.",
        )
        .takes::<ProductText>(),
        Operation::put(
            "/api/stores/products/{id}/increasePrice",
            "increaseProductPrice",
            TAG,
            "Raises the price of a product: 400 when the new price is lower.",
        )
        .takes::<NewPrice>(),
        Operation::put(
            "/api/stores/products/{id}/decreasePrice",
            "decreaseProductPrice",
            TAG,
            "Lowers the price of a product: 400 when the new price is higher.",
        )
        .takes::<NewPrice>(),
    ]
}
