//! Events of the depot context.

use kernel::Event;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{BotId, OrderId, ProductId, ShoppingListId, StoreId};

/// What a bot collects at one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The store.
    pub store_id: StoreId,
    /// What it was called when the list was made.
    pub store_name: String,
    /// Where in the mall it is.
    pub store_location: String,
    /// What to collect there, one line for each product; at least one.
    pub items: Vec<StopItem>,
}

/// Pieces of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StopItem {
    /// The product.
    pub product_id: ProductId,
    /// What it was called when the list was made.
    pub product_name: String,
    /// Pieces; at least 1.
    pub quantity: u32,
}

/// What happens to a shopping list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum ShoppingListEvent {
    /// What an order needs was planned: a stop at every store.
    ShoppingListCreated(ShoppingListCreated),
    /// The list may be collected: it waits for a bot.
    ShoppingListInitiated(ShoppingListInitiated),
    /// A bot took the list.
    ShoppingListAssigned(ShoppingListAssigned),
    /// The bot is on its way through the stores.
    ShoppingListStarted(ShoppingListStarted),
    /// Everything was collected.
    ShoppingListCompleted(ShoppingListCompleted),
    /// The order needs it no longer. When this is a list's first event, the list was never made, and will not be.
    ShoppingListCanceled(ShoppingListCanceled),
}

/// See [`ShoppingListEvent::ShoppingListCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListCreated {
    /// The order it is for.
    pub order_id: OrderId,
    /// One stop for each store, at least one.
    pub stops: Vec<Stop>,
}

/// See [`ShoppingListEvent::ShoppingListInitiated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListInitiated {
    /// The order it is for.
    pub order_id: OrderId,
}

/// See [`ShoppingListEvent::ShoppingListAssigned`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListAssigned {
    /// The order it is for.
    pub order_id: OrderId,
    /// The bot.
    pub bot_id: BotId,
}

/// See [`ShoppingListEvent::ShoppingListStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListStarted {
    /// The order it is for.
    pub order_id: OrderId,
    /// The bot.
    pub bot_id: BotId,
}

/// See [`ShoppingListEvent::ShoppingListCompleted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListCompleted {
    /// The order it was for.
    pub order_id: OrderId,
    /// The bot that collected it.
    pub bot_id: BotId,
}

/// See [`ShoppingListEvent::ShoppingListCanceled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListCanceled {
    /// The order it was for.
    pub order_id: OrderId,
    /// The bot that had it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot_id: Option<BotId>,
    /// Why: a code.
    pub reason: String,
}

impl Event for ShoppingListEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("ShoppingListCreated", 1),
        ("ShoppingListInitiated", 1),
        ("ShoppingListAssigned", 1),
        ("ShoppingListStarted", 1),
        ("ShoppingListCompleted", 1),
        ("ShoppingListCanceled", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            ShoppingListEvent::ShoppingListCreated(_) => "ShoppingListCreated",
            ShoppingListEvent::ShoppingListInitiated(_) => "ShoppingListInitiated",
            ShoppingListEvent::ShoppingListAssigned(_) => "ShoppingListAssigned",
            ShoppingListEvent::ShoppingListStarted(_) => "ShoppingListStarted",
            ShoppingListEvent::ShoppingListCompleted(_) => "ShoppingListCompleted",
            ShoppingListEvent::ShoppingListCanceled(_) => "ShoppingListCanceled",
        }
    }
}

/// What happens to a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum BotEvent {
    /// A bot came into service, idle.
    BotRegistered(BotRegistered),
    /// The bot took a list and is busy.
    BotActivated(BotActivated),
    /// The bot is done with its list, or the list was taken from it.
    BotIdled(BotIdled),
}

/// See [`BotEvent::BotRegistered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BotRegistered {
    /// What it is called.
    pub name: String,
}

/// See [`BotEvent::BotActivated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BotActivated {
    /// The list.
    pub shopping_list_id: ShoppingListId,
}

/// See [`BotEvent::BotIdled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BotIdled {
    /// The list.
    pub shopping_list_id: ShoppingListId,
}

impl Event for BotEvent {
    const SCHEMAS: &'static [(&'static str, u16)] =
        &[("BotRegistered", 1), ("BotActivated", 1), ("BotIdled", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            BotEvent::BotRegistered(_) => "BotRegistered",
            BotEvent::BotActivated(_) => "BotActivated",
            BotEvent::BotIdled(_) => "BotIdled",
        }
    }
}
