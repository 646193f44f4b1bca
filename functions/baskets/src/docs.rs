//! What the HTTP API of baskets looks like, for the documents that are made of it.

use api_docs::Operation;
use contracts::ids::{CustomerId, PaymentId, ProductId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::views::OneBasket;

const TAG: &str = "Baskets";

/// A shopper who takes a basket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewBasket {
    /// Whose basket it is.
    pub customer_id: CustomerId,
}

/// Pieces of a product to put in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemToAdd {
    /// The product.
    pub product_id: ProductId,
    /// Pieces: at least one, and with those that are in the basket already at most 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    pub quantity: i64,
}

/// Pieces of a product to take out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemToRemove {
    /// The product.
    pub product_id: ProductId,
    /// Pieces. More than there are takes out all.
    #[schema(minimum = 0)]
    pub quantity: i64,
}

/// What pays for a basket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    /// The payment, as it was authorized before.
    pub payment_id: PaymentId,
}

/// The operations of the HTTP API, as the template's routes have them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/api/baskets", "startBasket", TAG, "Takes an empty basket.").takes::<NewBasket>(),
        Operation::get("/api/baskets/{id}", "getBasket", TAG, "Shows a basket as it is now, or was.")
            .shows::<OneBasket>()
            .past(),
        Operation::delete("/api/baskets/{id}", "cancelBasket", TAG, "Leaves a basket behind."),
        Operation::put(
            "/api/baskets/{id}/checkout",
            "checkoutBasket",
            TAG,
            "Checks out at the prices of this moment: 409 PRICES_HAVE_RISEN when any is higher than the basket shows; \
             then the basket has the new prices, and checking out again with a fresh key accepts them.",
        )
        .takes::<Checkout>(),
        Operation::put(
            "/api/baskets/{id}/addItem",
            "addItem",
            TAG,
            "Puts pieces of a product in: 404 PRODUCT_NOT_FOUND when no store sells it.",
        )
        .takes::<ItemToAdd>(),
        Operation::put("/api/baskets/{id}/removeItem", "removeItem", TAG, "Takes pieces of a product out.")
            .takes::<ItemToRemove>(),
    ]
}
