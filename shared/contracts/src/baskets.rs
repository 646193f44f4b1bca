//! Events of the baskets context.

use kernel::{Event, Money, MoneyError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{CustomerId, PaymentId, ProductId, StoreId};

/// One line of a basket: a product at the price the shopper saw when it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketItem {
    /// The store that sells it.
    pub store_id: StoreId,
    /// The product.
    pub product_id: ProductId,
    /// The store's name at the time of adding.
    pub store_name: String,
    /// The product's name at the time of adding.
    pub product_name: String,
    /// Price of one piece.
    pub price: Money,
    /// Pieces; at least 1.
    pub quantity: u32,
}

impl BasketItem {
    /// Price times quantity.
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`].
    pub fn total(&self) -> Result<Money, MoneyError> {
        self.price.times(self.quantity)
    }
}

/// Sum over lines.
///
/// # Errors
/// [`MoneyError`] when currencies mix or the sum is too large.
pub fn total(items: &[BasketItem]) -> Result<Money, MoneyError> {
    let mut lines = items.iter().map(BasketItem::total);
    let first = lines.next().unwrap_or(Ok(Money::ZERO))?;
    lines.try_fold(first, |sum, line| sum.plus(line?))
}

/// What happens to a basket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum BasketEvent {
    /// A shopper took a basket.
    BasketStarted(BasketStarted),
    /// Pieces of a product were put in.
    BasketItemAdded(BasketItemAdded),
    /// Pieces of a product were taken out.
    BasketItemRemoved(BasketItemRemoved),
    /// The shopper went to the checkout; the basket is closed.
    BasketCheckedOut(BasketCheckedOut),
    /// The shopper left the basket behind; it is closed.
    BasketCanceled(BasketCanceled),
    /// At the checkout, products cost something else than when they were put in.
    BasketRepriced(BasketRepriced),
}

/// See [`BasketEvent::BasketStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketStarted {
    /// Whose basket it is.
    pub customer_id: CustomerId,
}

/// See [`BasketEvent::BasketItemAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketItemAdded {
    /// What was put in. When the product is in the basket already, the quantity is added to that
    /// line, which keeps the price and the names it has.
    pub item: BasketItem,
}

/// See [`BasketEvent::BasketItemRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketItemRemoved {
    /// The product.
    pub product_id: ProductId,
    /// Pieces taken out: never more than there were.
    pub quantity: u32,
}

/// See [`BasketEvent::BasketCheckedOut`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketCheckedOut {
    /// Whose basket it is.
    pub customer_id: CustomerId,
    /// What the shopper pays with.
    pub payment_id: PaymentId,
    /// The lines, at least one.
    pub items: Vec<BasketItem>,
}

/// See [`BasketEvent::BasketCanceled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketCanceled {}

/// See [`BasketEvent::BasketRepriced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasketRepriced {
    /// The prices that changed, at least one; the lines have the new ones from now on.
    pub prices: Vec<PriceChange>,
}

/// Another price of a product in a basket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceChange {
    /// The product.
    pub product_id: ProductId,
    /// What the shopper saw.
    pub old_price: Money,
    /// What it costs now.
    pub price: Money,
}

impl PriceChange {
    /// Whether it costs more than before.
    pub fn is_rise(&self) -> bool {
        self.price.minor() > self.old_price.minor()
    }
}

impl Event for BasketEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("BasketStarted", 1),
        ("BasketItemAdded", 1),
        ("BasketItemRemoved", 1),
        ("BasketCheckedOut", 1),
        ("BasketCanceled", 1),
        ("BasketRepriced", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            BasketEvent::BasketStarted(_) => "BasketStarted",
            BasketEvent::BasketItemAdded(_) => "BasketItemAdded",
            BasketEvent::BasketItemRemoved(_) => "BasketItemRemoved",
            BasketEvent::BasketCheckedOut(_) => "BasketCheckedOut",
            BasketEvent::BasketCanceled(_) => "BasketCanceled",
            BasketEvent::BasketRepriced(_) => "BasketRepriced",
        }
    }
}
