//! A shopping basket.
//!
//! Its lines have the prices that the shopper was shown: the first ones seen, until a checkout finds others. A checkout
//! charges what products cost now, but never more than what was last shown: see [`BasketCommand::Checkout`].

use std::collections::BTreeMap;

use contracts::{
    baskets::{
        BasketCanceled, BasketCheckedOut, BasketEvent, BasketItem, BasketItemAdded, BasketItemRemoved,
        BasketRepriced, BasketStarted, PriceChange, total,
    },
    ids::{CustomerId, PaymentId, ProductId, StoreId},
};
use kernel::{Aggregate, BrokenHistory, Currency, Event, Money, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// Most lines a basket holds: a checked-out basket with the longest names still fits one commit.
pub const MAX_LINES: usize = 100;
/// Most pieces of one product.
pub const MAX_QUANTITY: u32 = 10_000;

/// A basket. Once checked out or cancelled it never opens again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Basket {
    /// The shopper is still shopping.
    Open {
        /// Whose it is.
        customer_id: CustomerId,
        /// The lines, in the order in which they were first added; one per product.
        items: Vec<BasketItem>,
    },
    /// The shopper went to the checkout.
    CheckedOut {
        /// Whose it was.
        customer_id: CustomerId,
        /// What pays for it.
        payment_id: PaymentId,
        /// The lines.
        items: Vec<BasketItem>,
    },
    /// The shopper left it behind.
    Canceled {
        /// Whose it was.
        customer_id: CustomerId,
    },
}

/// A product as it is offered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offer {
    /// The store that sells it.
    pub store_id: StoreId,
    /// The store's name.
    pub store_name: String,
    /// The product's name.
    pub product_name: String,
    /// Price of one piece.
    pub price: Money,
}

impl Offer {
    /// A line of a basket, with this many pieces.
    pub fn item(&self, product_id: ProductId, quantity: u32) -> BasketItem {
        BasketItem {
            store_id: self.store_id,
            product_id,
            store_name: self.store_name.clone(),
            product_name: self.product_name.clone(),
            price: self.price,
            quantity,
        }
    }
}

/// What is on offer under a product's id.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum OnOffer {
    /// A product that can be put into a basket.
    Product(Offer),
    /// A product of a store that does not take part in the mall, where only those that do may sell.
    NotInTheMall {
        /// The store's name.
        store_name: String,
    },
    /// There never was such a product, or its store no longer sells it.
    Nothing,
}

/// Prices by product, of those that a store still sells.
pub type Prices = BTreeMap<ProductId, Money>;

/// What can be asked of a basket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum BasketCommand {
    /// Take a basket.
    Start {
        /// Whose it is.
        customer_id: CustomerId,
    },
    /// Put pieces of a product in.
    AddItem {
        /// The product.
        product_id: ProductId,
        /// Pieces.
        quantity: i64,
        /// The offer under its id, looked up.
        on_offer: OnOffer,
    },
    /// Take pieces of a product out. More than there are takes out all.
    RemoveItem {
        /// The product.
        product_id: ProductId,
        /// Pieces.
        quantity: i64,
    },
    /// Go to the checkout. When prices have risen, the basket only takes them over and stays open: who checks out again
    /// has seen them.
    Checkout {
        /// What pays for it.
        payment_id: PaymentId,
        /// Today's prices of the products in the basket, looked up.
        prices: Prices,
    },
    /// Leave the basket behind.
    Cancel,
}

/// Why a basket says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BasketRefusal {
    /// There is no such basket.
    #[error("there is no such basket")]
    NotFound,
    /// It is closed, or was started before.
    #[error("the basket is not open: start a new one")]
    CannotBeModified,
    /// Only an open basket can be cancelled.
    #[error("only an open basket can be cancelled")]
    CannotBeCanceled,
    /// Fewer than no pieces.
    #[error("the quantity cannot be negative")]
    QuantityCannotBeNegative,
    /// No pieces at all.
    #[error("the quantity cannot be zero")]
    QuantityCannotBeZero,
    /// More than [`MAX_QUANTITY`] pieces of one product.
    #[error("a basket holds at most {MAX_QUANTITY} pieces of one product")]
    QuantityIsTooLarge,
    /// More than [`MAX_LINES`] products.
    #[error("a basket holds at most {MAX_LINES} different products")]
    TooManyProducts,
    /// Nothing to check out.
    #[error("the basket has no items")]
    HasNoItems,
    /// No store sells what was asked for.
    #[error("the product was not found: no store sells it")]
    ProductNotFound,
    /// The store that sells it is not in the mall.
    #[error("the store {store_name} does not take part in the mall, so its products cannot be bought here")]
    StoreDoesNotParticipate {
        /// The store's name.
        store_name: String,
    },
    /// Products in the basket that no store sells any longer.
    #[error("no longer sold: {products}; take them out of the basket to check out")]
    ProductIsNotSold {
        /// Their names and ids.
        products: String,
    },
    /// A product is priced in another currency than when it was put in.
    #[error("{product} is now sold in {}, not in {}; take it out of the basket to check out", .now.code(), .seen.code())]
    PriceIsInAnotherCurrency {
        /// Its name and id.
        product: String,
        /// The currency in which the shopper saw its price.
        seen: Currency,
        /// The currency of its price now.
        now: Currency,
    },
    /// The price is below zero.
    #[error("a price cannot be negative")]
    PriceCannotBeNegative,
    /// The total cannot be expressed.
    #[error("the basket's total is too large, or mixes currencies")]
    TotalIsInvalid,
}

impl Refusal for BasketRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "BASKET_NOT_FOUND",
            Self::CannotBeModified => "BASKET_CANNOT_BE_MODIFIED",
            Self::CannotBeCanceled => "BASKET_CANNOT_BE_CANCELLED",
            Self::QuantityCannotBeNegative => "QUANTITY_CANNOT_BE_NEGATIVE",
            Self::QuantityCannotBeZero => "QUANTITY_CANNOT_BE_ZERO",
            Self::QuantityIsTooLarge => "QUANTITY_IS_TOO_LARGE",
            Self::TooManyProducts => "BASKET_HAS_TOO_MANY_PRODUCTS",
            Self::HasNoItems => "BASKET_HAS_NO_ITEMS",
            Self::ProductNotFound => "PRODUCT_NOT_FOUND",
            Self::StoreDoesNotParticipate { .. } => "STORE_DOES_NOT_PARTICIPATE",
            Self::ProductIsNotSold { .. } => "PRODUCT_IS_NOT_SOLD",
            Self::PriceIsInAnotherCurrency { .. } => "PRICE_IS_IN_ANOTHER_CURRENCY",
            Self::PriceCannotBeNegative => "PRICE_CANNOT_BE_NEGATIVE",
            Self::TotalIsInvalid => "BASKET_TOTAL_IS_INVALID",
        }
    }

    // The original API answers every rule of a basket with 400, and its clients expect that. What it has no rule for is 409.
    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound | Self::ProductNotFound => RefusalKind::NotFound,
            Self::StoreDoesNotParticipate { .. }
            | Self::ProductIsNotSold { .. }
            | Self::PriceIsInAnotherCurrency { .. } => RefusalKind::Conflict,
            Self::CannotBeModified
            | Self::CannotBeCanceled
            | Self::QuantityCannotBeNegative
            | Self::QuantityCannotBeZero
            | Self::QuantityIsTooLarge
            | Self::TooManyProducts
            | Self::HasNoItems
            | Self::PriceCannotBeNegative
            | Self::TotalIsInvalid => RefusalKind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::QuantityCannotBeNegative | Self::QuantityCannotBeZero | Self::QuantityIsTooLarge => {
                Some("quantity")
            }
            Self::ProductNotFound | Self::StoreDoesNotParticipate { .. } => Some("productId"),
            Self::NotFound
            | Self::PriceCannotBeNegative
            | Self::ProductIsNotSold { .. }
            | Self::PriceIsInAnotherCurrency { .. }
            | Self::CannotBeModified
            | Self::CannotBeCanceled
            | Self::TooManyProducts
            | Self::HasNoItems
            | Self::TotalIsInvalid => None,
        }
    }
}

impl Basket {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::CheckedOut { .. } => "checked_out",
            Self::Canceled { .. } => "canceled",
        }
    }

    /// Whose it is.
    pub fn customer_id(&self) -> CustomerId {
        match self {
            Self::Open { customer_id, .. }
            | Self::CheckedOut { customer_id, .. }
            | Self::Canceled { customer_id } => *customer_id,
        }
    }

    /// The lines; a cancelled basket is empty.
    pub fn items(&self) -> &[BasketItem] {
        match self {
            Self::Open { items, .. } | Self::CheckedOut { items, .. } => items,
            Self::Canceled { .. } => &[],
        }
    }
}

/// The owner and the lines of a basket that may still be changed.
fn open(state: Option<&Basket>) -> Result<(CustomerId, &[BasketItem]), BasketRefusal> {
    match state {
        Some(Basket::Open { customer_id, items }) => Ok((*customer_id, items)),
        Some(Basket::CheckedOut { .. } | Basket::Canceled { .. }) => Err(BasketRefusal::CannotBeModified),
        None => Err(BasketRefusal::NotFound),
    }
}

fn line(items: &[BasketItem], product_id: ProductId) -> Option<&BasketItem> {
    items.iter().find(|item| item.product_id == product_id)
}

impl Aggregate for Basket {
    const CATEGORY: &'static str = "baskets.Basket";
    const STATE_SCHEMA: u16 = 1;
    type Command = BasketCommand;
    type Event = BasketEvent;
    type Refusal = BasketRefusal;

    fn decide(state: Option<&Self>, command: &BasketCommand) -> Result<Vec<BasketEvent>, BasketRefusal> {
        match command {
            BasketCommand::Start { customer_id } => match state {
                None => Ok(vec![BasketEvent::BasketStarted(BasketStarted { customer_id: *customer_id })]),
                Some(_) => Err(BasketRefusal::CannotBeModified),
            },
            BasketCommand::AddItem { product_id, quantity, on_offer } => {
                let (_, items) = open(state)?;
                let quantity = pieces(*quantity)?;
                match on_offer {
                    OnOffer::Product(offer) => add_item(items, *product_id, offer, quantity),
                    OnOffer::NotInTheMall { store_name } => {
                        let store_name = store_name.clone();
                        Err(BasketRefusal::StoreDoesNotParticipate { store_name })
                    }
                    OnOffer::Nothing => Err(BasketRefusal::ProductNotFound),
                }
            }
            BasketCommand::RemoveItem { product_id, quantity } => {
                let (_, items) = open(state)?;
                if *quantity < 0 {
                    return Err(BasketRefusal::QuantityCannotBeNegative);
                }
                // What is not in the basket is out of it already.
                let there = line(items, *product_id).map_or(0, |line| line.quantity);
                let quantity = u32::try_from(*quantity).unwrap_or(u32::MAX).min(there);
                if quantity == 0 {
                    return Ok(vec![]);
                }
                let product_id = *product_id;
                Ok(vec![BasketEvent::BasketItemRemoved(BasketItemRemoved { product_id, quantity })])
            }
            BasketCommand::Checkout { payment_id, prices } => {
                let (customer_id, items) = open(state)?;
                if items.is_empty() {
                    return Err(BasketRefusal::HasNoItems);
                }
                let changes = price_changes(items, prices)?;
                let mut items = items.to_vec();
                reprice(&mut items, &changes);
                total(&items).map_err(|_| BasketRefusal::TotalIsInvalid)?;
                let has_risen = changes.iter().any(PriceChange::is_rise);
                let mut events = Vec::new();
                if !changes.is_empty() {
                    events.push(BasketEvent::BasketRepriced(BasketRepriced { prices: changes }));
                }
                // Nobody pays more than what was last shown: who checks out again has seen the new prices.
                if !has_risen {
                    let payment_id = *payment_id;
                    let done = BasketCheckedOut { customer_id, payment_id, items };
                    events.push(BasketEvent::BasketCheckedOut(done));
                }
                Ok(events)
            }
            BasketCommand::Cancel => match open(state) {
                Ok(_) => Ok(vec![BasketEvent::BasketCanceled(BasketCanceled {})]),
                Err(BasketRefusal::CannotBeModified) => Err(BasketRefusal::CannotBeCanceled),
                Err(other) => Err(other),
            },
        }
    }

    fn evolve(state: Option<Self>, event: &BasketEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, BasketEvent::BasketStarted(started)) => {
                Ok(Self::Open { customer_id: started.customer_id, items: vec![] })
            }
            (Some(Self::Open { customer_id, mut items }), BasketEvent::BasketItemAdded(added)) => {
                match items.iter_mut().find(|line| line.product_id == added.item.product_id) {
                    Some(line) => line.quantity = line.quantity.saturating_add(added.item.quantity),
                    None => items.push(added.item.clone()),
                }
                Ok(Self::Open { customer_id, items })
            }
            (Some(Self::Open { customer_id, mut items }), BasketEvent::BasketItemRemoved(removed)) => {
                if let Some(line) = items.iter_mut().find(|line| line.product_id == removed.product_id) {
                    line.quantity = line.quantity.saturating_sub(removed.quantity);
                }
                items.retain(|line| line.quantity > 0);
                Ok(Self::Open { customer_id, items })
            }
            (Some(Self::Open { customer_id, mut items }), BasketEvent::BasketRepriced(repriced)) => {
                reprice(&mut items, &repriced.prices);
                Ok(Self::Open { customer_id, items })
            }
            (Some(Self::Open { customer_id, items }), BasketEvent::BasketCheckedOut(done)) => {
                Ok(Self::CheckedOut { customer_id, payment_id: done.payment_id, items })
            }
            (Some(Self::Open { customer_id, .. }), BasketEvent::BasketCanceled(_)) => {
                Ok(Self::Canceled { customer_id })
            }
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Basket::status),
            }),
        }
    }
}

/// How many pieces: at least one, at most [`MAX_QUANTITY`].
fn pieces(quantity: i64) -> Result<u32, BasketRefusal> {
    match quantity {
        ..0 => Err(BasketRefusal::QuantityCannotBeNegative),
        0 => Err(BasketRefusal::QuantityCannotBeZero),
        some => u32::try_from(some)
            .ok()
            .filter(|some| *some <= MAX_QUANTITY)
            .ok_or(BasketRefusal::QuantityIsTooLarge),
    }
}

/// Adds to the line of the product, which keeps the price and the names that the shopper saw first.
fn add_item(
    items: &[BasketItem],
    product_id: ProductId,
    offer: &Offer,
    quantity: u32,
) -> Result<Vec<BasketEvent>, BasketRefusal> {
    if offer.price.is_negative() {
        return Err(BasketRefusal::PriceCannotBeNegative);
    }
    let there = line(items, product_id);
    if there.map_or(0, |line| line.quantity).saturating_add(quantity) > MAX_QUANTITY {
        return Err(BasketRefusal::QuantityIsTooLarge);
    }
    if there.is_none() && items.len() >= MAX_LINES {
        return Err(BasketRefusal::TooManyProducts);
    }
    let item = match there {
        Some(line) => BasketItem { quantity, ..line.clone() },
        None => offer.item(product_id, quantity),
    };
    let mut after = items.to_vec();
    after.push(item.clone());
    total(&after).map_err(|_| BasketRefusal::TotalIsInvalid)?;
    Ok(vec![BasketEvent::BasketItemAdded(BasketItemAdded { item })])
}

/// What costs something else now than the shopper last saw, in the order of the lines.
fn price_changes(items: &[BasketItem], prices: &Prices) -> Result<Vec<PriceChange>, BasketRefusal> {
    let mut changes = Vec::new();
    let mut not_sold = Vec::new();
    for BasketItem { product_id, product_name, price: old_price, .. } in items {
        let product = || format!("{product_name} ({product_id})");
        let Some(price) = prices.get(product_id).copied() else {
            not_sold.push(product());
            continue;
        };
        if price.is_negative() {
            return Err(BasketRefusal::PriceCannotBeNegative);
        }
        let (seen, now) = (old_price.currency(), price.currency());
        if seen != now {
            return Err(BasketRefusal::PriceIsInAnotherCurrency { product: product(), seen, now });
        }
        if price != *old_price {
            changes.push(PriceChange { product_id: *product_id, old_price: *old_price, price });
        }
    }
    match not_sold.is_empty() {
        true => Ok(changes),
        false => Err(BasketRefusal::ProductIsNotSold { products: not_sold.join(", ") }),
    }
}

fn reprice(items: &mut [BasketItem], changes: &[PriceChange]) {
    for change in changes {
        if let Some(line) = items.iter_mut().find(|line| line.product_id == change.product_id) {
            line.price = change.price;
        }
    }
}
