//! SEAM: what a product costs and is called.
//!
//! The catalogue belongs to the stores context. Until this one keeps a copy of it, a request to add an item says
//! itself what the product is ([`from_request`]). When it does, this module reads that copy,
//! kept from the stores' events, and the request names the product's id only.
//! Nothing else in this context knows where an [`Offer`] comes from.

use lambda::Form;

use crate::basket::Offer;

/// The offer that the request describes: `{productId, product: {storeId, storeName, name, price}}`.
pub fn from_request(form: &Form<'_>) -> Option<Offer> {
    let product_id = form.id("productId", "PRODUCT_ID_CANNOT_BE_BLANK");
    let product = form.nested("product", |product| {
        let store_id = product.id("storeId", "STORE_ID_CANNOT_BE_BLANK");
        let store_name = product.text("storeName", "STORE_NAME_CANNOT_BE_BLANK");
        let name = product.text("name", "PRODUCT_NAME_CANNOT_BE_BLANK");
        let price = product.money("price");
        Some((store_id?, store_name?.to_owned(), name?.to_owned(), price?))
    });
    let (product_id, (store_id, store_name, product_name, price)) = (product_id?, product?);
    Some(Offer { store_id, product_id, store_name, product_name, price })
}
