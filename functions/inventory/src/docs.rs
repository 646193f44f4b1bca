//! The HTTP operations of the context, for the API's documents.

use api_docs::Operation;
use serde::Serialize;
use utoipa::ToSchema;

use crate::views::{StockListed, StockShown};

const TAG: &str = "Inventory";

/// Pieces that came in, or are taken out. A repeat with the same Idempotency-Key counts once as long as it comes within
/// ten commits of the product, and each order of it is one or more. Where many order it, a late repeat can count
/// twice: use `PUT /api/inventory/{id}` (a count) or `If-Match` there.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockQuantity {
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub quantity: u32,
}

/// What somebody counted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockCount {
    /// Pieces in the house, those included that are kept for orders.
    #[schema(maximum = 1_000_000)]
    pub on_hand: u32,
}

/// When stock is low.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockThreshold {
    /// At how many available pieces, or fewer; 0 for never.
    #[schema(maximum = 1_000_000)]
    pub threshold: u32,
}

/// What the context answers over HTTP.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/api/inventory/{id}", "getStock", TAG, "How much of a product there is.")
            .shows::<StockShown>()
            .past(),
        Operation::post(
            "/api/inventory/{id}/add",
            "addStock",
            TAG,
            "Pieces came in; starts the count. On a product that many order, a late repeat can add twice: PUT the count \
             or send If-Match there.",
        )
        .takes::<StockQuantity>(),
        Operation::put("/api/inventory/{id}", "setStock", TAG, "Somebody counted; starts the count.")
            .takes::<StockCount>(),
        Operation::put(
            "/api/inventory/{id}/reduce",
            "reduceStock",
            TAG,
            "Take available pieces out by hand. On a product that many order, a late repeat can take twice: PUT the \
             count or send If-Match there.",
        )
        .takes::<StockQuantity>(),
        Operation::put(
            "/api/inventory/{id}/threshold",
            "setLowStockThreshold",
            TAG,
            "Say at how many available pieces stock is low.",
        )
        .takes::<StockThreshold>(),
        Operation::put("/api/inventory/{id}/tracking", "startTracking", TAG, "Count a product from now on."),
        Operation::delete(
            "/api/inventory/{id}/tracking",
            "stopTracking",
            TAG,
            "Count a product no longer; it is always available then.",
        ),
        Operation::get("/api/inventory", "listStock", TAG, "The tracked products of a store.")
            .shows::<StockListed>()
            .query("storeId", "The store.", true)
            .pages(),
        Operation::get(
            "/api/inventory/low",
            "listLowStock",
            TAG,
            "What is low, in the whole mall, longest first.",
        )
        .shows::<StockListed>()
        .pages(),
    ]
}
