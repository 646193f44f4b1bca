//! What the HTTP API of the depot looks like, for the documents that are made of it.

use api_docs::Operation;
use contracts::ids::{BotId, OrderId, ProductId, StoreId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::views::{BotPage, OneBot, OneShoppingList, ShoppingListPage};

const TAG: &str = "Depot";

/// A shopping list to make. An order has one; the same again changes nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewShoppingList {
    /// The order it is for.
    pub order_id: OrderId,
    /// What is to be collected. Pieces of a product that is named again are added.
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<ItemToCollect>,
}

/// Some pieces of a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemToCollect {
    /// The product.
    pub product_id: ProductId,
    /// The store, which has to sell it.
    pub store_id: StoreId,
    /// Pieces.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    pub quantity: u32,
}

/// The bot that takes a list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The bot; it has to be idle.
    pub bot_id: BotId,
}

/// The bot that sets out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    /// The bot; when it is given, it has to be the one that has the list.
    pub bot_id: Option<BotId>,
}

/// Why a list is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    /// A code; `CANCELLED_BY_DEPOT` when it is left out.
    #[schema(max_length = 500)]
    pub reason: Option<String>,
    /// The order that needs the list no longer, when it is cancelled on its behalf: then a list that is over, or was never
    /// made, is no error, and one that was not made never will be.
    pub order_id: Option<OrderId>,
}

/// A bot to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewBot {
    /// What it is called; not blank.
    #[schema(min_length = 1, max_length = 500)]
    pub name: String,
}

/// The operations of the HTTP API, as the template's routes have them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/api/depot/shopping",
            "createShoppingList",
            TAG,
            "Makes the shopping list of an order: a stop at every store.",
        )
        .takes::<NewShoppingList>()
        .refuses(404),
        Operation::get(
            "/api/depot/shopping",
            "getShoppingLists",
            TAG,
            "Lists shopping lists of one status, or all, oldest first.",
        )
        .shows::<ShoppingListPage>()
        .pages()
        .query("status", "pending, available, assigned, active, completed or canceled.", false),
        Operation::get(
            "/api/depot/shopping/available",
            "getAvailableShoppingLists",
            TAG,
            "The work queue: lists that wait for a bot, oldest first. It lags behind a little.",
        )
        .shows::<ShoppingListPage>()
        .pages(),
        Operation::get(
            "/api/depot/shopping/{id}",
            "getShoppingList",
            TAG,
            "Shows a shopping list as it is now, or was, with all its stops.",
        )
        .shows::<OneShoppingList>()
        .past(),
        Operation::post(
            "/api/depot/shopping/{id}",
            "cancelShoppingList",
            TAG,
            "Cancels a shopping list (the original API's verb for it).",
        )
        .takes::<Cancellation>(),
        Operation::delete("/api/depot/shopping/{id}", "deleteShoppingList", TAG, "Cancels a shopping list."),
        Operation::put(
            "/api/depot/shopping/{id}/assign",
            "assignShoppingList",
            TAG,
            "Gives a list that waits to a bot that is idle.",
        )
        .takes::<Assignment>(),
        Operation::put(
            "/api/depot/shopping/{id}/start",
            "startShopping",
            TAG,
            "The bot sets out to the stores.",
        )
        .takes::<Departure>(),
        Operation::put(
            "/api/depot/shopping/{id}/complete",
            "completeShoppingList",
            TAG,
            "Everything was collected: the order can be made ready, and the bot is free.",
        ),
        Operation::post("/api/depot/bots", "registerBot", TAG, "A bot comes into service.").takes::<NewBot>(),
        Operation::get("/api/depot/bots", "getBots", TAG, "Lists bots of one status, or all.")
            .shows::<BotPage>()
            .pages()
            .query("status", "idle or active.", false),
        Operation::get("/api/depot/bots/{id}", "getBot", TAG, "Shows a bot as it is now, or was.")
            .shows::<OneBot>()
            .past(),
    ]
}
