//! What baskets know of the stores' goods: the reading of this context's own copy (the crate `catalogue`).
//!
//! What is put into a basket is offered at the price that the copy has. What is charged is looked up again where it
//! is decided, at the checkout, as new as the stores have it.

use catalogue::{Catalogue, Entry, Participation};
use contracts::{baskets::BasketItem, ids::ProductId};
use lambda::Fault;

use crate::basket::{Offer, OnOffer, Prices};

/// The goods that can be put into a basket.
pub struct Goods {
    copy: Catalogue,
    participation: Participation,
}

impl Goods {
    /// The goods in `copy`.
    pub fn new(copy: Catalogue, participation: Participation) -> Self {
        Self { copy, participation }
    }

    /// What a store offers under this id now, as far as the copy knows. Where it matters whether the store takes part, its
    /// latest event says so: an old copy neither turns a store away nor lets it in.
    ///
    /// # Errors
    /// When a table fails.
    pub async fn on_offer(&self, id: ProductId) -> Result<OnOffer, Fault> {
        let Some(Entry { product, store }) = self.copy.entry(id).await? else { return Ok(OnOffer::Nothing) };
        if !product.on_sale {
            return Ok(OnOffer::Nothing);
        }
        let store = match self.participation {
            Participation::NotRequired => store,
            Participation::Required => match self.copy.latest_store(store.id).await? {
                Some(latest) if latest.participating => latest,
                latest => {
                    return Ok(OnOffer::NotInTheMall { store_name: latest.unwrap_or(store).name });
                }
            },
        };
        Ok(OnOffer::Product(Offer {
            store_id: product.store_id,
            store_name: store.name,
            product_name: product.name,
            price: product.price,
        }))
    }

    /// Looks up the prices of the products in these lines, as new as the stores themselves have them.
    ///
    /// # Errors
    /// When a table fails.
    pub async fn prices(&self, items: &[BasketItem]) -> Result<Prices, Fault> {
        let ids: Vec<ProductId> = items.iter().map(|item| item.product_id).collect();
        let latest = self.copy.latest(ids.iter().copied()).await?;
        let sold = ids.iter().zip(latest).filter_map(|(id, product)| {
            product.filter(|product| product.on_sale).map(|product| (*id, product.price))
        });
        Ok(sold.collect())
    }
}
