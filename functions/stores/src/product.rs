//! A product of a store.
//!
//! That its store exists is checked where the product is added, since no aggregate can see another; stores
//! never close, so what was checked stays true.

use contracts::{
    ids::StoreId,
    stores::{
        ProductAdded, ProductEvent, ProductPriceDecreased, ProductPriceIncreased, ProductRebranded,
        ProductRemoved,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Money, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// What a store offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goods {
    /// The store that sells it.
    pub store_id: StoreId,
    /// What it is called.
    pub name: String,
    /// What it is; may be empty.
    pub description: String,
    /// The store's own number for it; may be empty, and two products may have the same.
    pub sku: String,
    /// Price of one piece.
    pub price: Money,
}

/// A product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Product {
    /// The store sells it.
    OnSale(Goods),
    /// The store no longer sells it, and never will again.
    Removed(Goods),
}

/// What can be asked of a product.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum ProductCommand {
    /// Sell it from now on.
    Add(Goods),
    /// Call and describe it otherwise.
    Rebrand {
        /// The new name.
        name: String,
        /// The new description; may be empty.
        description: String,
    },
    /// Ask more for it.
    IncreasePrice {
        /// The new price, not the difference.
        price: Money,
    },
    /// Ask less for it.
    DecreasePrice {
        /// The new price, not the difference.
        price: Money,
    },
    /// Sell it no longer.
    Remove,
}

/// Why a product says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProductRefusal {
    /// There is no such product.
    #[error("there is no such product")]
    NotFound,
    /// It was added before.
    #[error("the product exists already")]
    AlreadyAdded,
    /// No name.
    #[error("the product's name cannot be blank")]
    NameIsBlank,
    /// Less than nothing.
    #[error("the product's price cannot be negative")]
    PriceIsNegative,
    /// It would cost less.
    #[error("{price} is no increase: the product costs {current}")]
    NotAPriceIncrease {
        /// What it costs.
        current: Money,
        /// What was asked for.
        price: Money,
    },
    /// It would cost more.
    #[error("{price} is no decrease: the product costs {current}")]
    NotAPriceDecrease {
        /// What it costs.
        current: Money,
        /// What was asked for.
        price: Money,
    },
    /// It is no longer sold.
    #[error("the product was removed")]
    WasRemoved,
}

impl Refusal for ProductRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "PRODUCT_NOT_FOUND",
            Self::AlreadyAdded => "PRODUCT_ALREADY_ADDED",
            Self::NameIsBlank => "PRODUCT_NAME_IS_BLANK",
            Self::PriceIsNegative => "PRODUCT_PRICE_IS_NEGATIVE",
            Self::NotAPriceIncrease { .. } => "NOT_A_PRICE_INCREASE",
            Self::NotAPriceDecrease { .. } => "NOT_A_PRICE_DECREASE",
            Self::WasRemoved => "PRODUCT_WAS_REMOVED",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::AlreadyAdded | Self::WasRemoved => RefusalKind::Conflict,
            // 400 for a price in the wrong direction is what the original API answers.
            Self::NameIsBlank
            | Self::PriceIsNegative
            | Self::NotAPriceIncrease { .. }
            | Self::NotAPriceDecrease { .. } => RefusalKind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NameIsBlank => Some("name"),
            Self::PriceIsNegative | Self::NotAPriceIncrease { .. } | Self::NotAPriceDecrease { .. } => {
                Some("price")
            }
            Self::NotFound | Self::AlreadyAdded | Self::WasRemoved => None,
        }
    }
}

impl Product {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::OnSale(_) => "on sale",
            Self::Removed(_) => "removed",
        }
    }

    /// What is on sale, if it still is.
    pub fn on_sale(&self) -> Option<&Goods> {
        match self {
            Self::OnSale(goods) => Some(goods),
            Self::Removed(_) => None,
        }
    }
}

impl Aggregate for Product {
    const CATEGORY: &'static str = "stores.Product";
    const STATE_SCHEMA: u16 = 1;
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Refusal = ProductRefusal;

    fn decide(state: Option<&Self>, command: &ProductCommand) -> Result<Vec<ProductEvent>, ProductRefusal> {
        use ProductCommand::{Add, DecreasePrice, IncreasePrice, Rebrand, Remove};
        match (state, command) {
            (None, Add(goods)) => add(goods),
            (Some(_), Add(_)) => Err(ProductRefusal::AlreadyAdded),
            (None, Rebrand { .. } | IncreasePrice { .. } | DecreasePrice { .. } | Remove) => {
                Err(ProductRefusal::NotFound)
            }

            // Removing may be repeated, as in the original API; it is removed once.
            (Some(Self::Removed(_)), Remove) => Ok(vec![]),
            (Some(Self::Removed(_)), Rebrand { .. } | IncreasePrice { .. } | DecreasePrice { .. }) => {
                Err(ProductRefusal::WasRemoved)
            }

            (Some(Self::OnSale(goods)), Rebrand { name, description }) => rebrand(goods, name, description),
            (Some(Self::OnSale(goods)), IncreasePrice { price }) => increase_price(goods, *price),
            (Some(Self::OnSale(goods)), DecreasePrice { price }) => decrease_price(goods, *price),
            (Some(Self::OnSale(goods)), Remove) => {
                Ok(vec![ProductEvent::ProductRemoved(ProductRemoved { store_id: goods.store_id })])
            }
        }
    }

    fn evolve(state: Option<Self>, event: &ProductEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, ProductEvent::ProductAdded(e)) => Ok(Self::OnSale(Goods {
                store_id: e.store_id,
                name: e.name.clone(),
                description: e.description.clone(),
                sku: e.sku.clone(),
                price: e.price,
            })),
            (Some(Self::OnSale(goods)), ProductEvent::ProductRebranded(e)) => {
                let (name, description) = (e.name.clone(), e.description.clone());
                Ok(Self::OnSale(Goods { name, description, ..goods }))
            }
            (Some(Self::OnSale(goods)), ProductEvent::ProductPriceIncreased(e)) => {
                Ok(Self::OnSale(Goods { price: e.price, ..goods }))
            }
            (Some(Self::OnSale(goods)), ProductEvent::ProductPriceDecreased(e)) => {
                Ok(Self::OnSale(Goods { price: e.price, ..goods }))
            }
            (Some(Self::OnSale(goods)), ProductEvent::ProductRemoved(_)) => Ok(Self::Removed(goods)),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Product::status),
            }),
        }
    }
}

fn add(goods: &Goods) -> Result<Vec<ProductEvent>, ProductRefusal> {
    if is_blank(&goods.name) {
        return Err(ProductRefusal::NameIsBlank);
    }
    if goods.price.is_negative() {
        return Err(ProductRefusal::PriceIsNegative);
    }
    let Goods { store_id, name, description, sku, price } = goods.clone();
    Ok(vec![ProductEvent::ProductAdded(ProductAdded { store_id, name, description, sku, price })])
}

fn rebrand(goods: &Goods, name: &str, description: &str) -> Result<Vec<ProductEvent>, ProductRefusal> {
    if is_blank(name) {
        return Err(ProductRefusal::NameIsBlank);
    }
    if goods.name == name && goods.description == description {
        return Ok(vec![]);
    }
    let (store_id, name, description) = (goods.store_id, name.to_owned(), description.to_owned());
    Ok(vec![ProductEvent::ProductRebranded(ProductRebranded { store_id, name, description })])
}

fn increase_price(goods: &Goods, price: Money) -> Result<Vec<ProductEvent>, ProductRefusal> {
    let &Goods { store_id, price: current, .. } = goods;
    if price.is_negative() {
        return Err(ProductRefusal::PriceIsNegative);
    }
    if !price.covers(current) {
        return Err(ProductRefusal::NotAPriceIncrease { current, price });
    }
    // The same price again is allowed, as in the original API, and changes nothing.
    if price == current {
        return Ok(vec![]);
    }
    let increased = ProductPriceIncreased { store_id, old_price: current, price };
    Ok(vec![ProductEvent::ProductPriceIncreased(increased)])
}

fn decrease_price(goods: &Goods, price: Money) -> Result<Vec<ProductEvent>, ProductRefusal> {
    let &Goods { store_id, price: current, .. } = goods;
    if price.is_negative() {
        return Err(ProductRefusal::PriceIsNegative);
    }
    if !current.covers(price) {
        return Err(ProductRefusal::NotAPriceDecrease { current, price });
    }
    if price == current {
        return Ok(vec![]);
    }
    let decreased = ProductPriceDecreased { store_id, old_price: current, price };
    Ok(vec![ProductEvent::ProductPriceDecreased(decreased)])
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
