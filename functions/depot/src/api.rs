//! The use cases of shopping lists and bots. How a list gets its bot is told in [`crate::assignment`].

use std::sync::Arc;

use contracts::{
    ids::{
        BotId, OrderId, OrderKind, ProductId, ProductKind, ShoppingListId, StoreId, StoreKind,
        shopping_list_of,
    },
    ordering::OrderItem,
};
use event_store::{Expect, Past, TransactError};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Id, StreamId};
use lambda::{Answer, Call, Detail, Fault, Form, orders};
use serde::Serialize;

use crate::{
    Depot, Planner,
    bot::{Bot, BotCommand},
    shopping_list::{Line, ShoppingList, ShoppingListCommand, stops},
    views::{BotView, OneBot, OneShoppingList, ShoppingListView},
};

/// Most items of a list that is made by hand: as many as a basket has lines at most.
pub const MAX_ITEMS: usize = 100;

/// Products that are looked up at a time.
const LOOKUPS_AT_A_TIME: usize = 8;

/// Why a list is cancelled when nobody says why.
const CANCELLED: &str = "CANCELLED_BY_DEPOT";

impl Planner {
    /// `POST /api/depot/shopping {orderId, items[{productId, storeId, quantity}]}`; also a step of an order's
    /// placement, which names the list and no items: they are the order's own, and nothing is written once
    /// the order is approved. An order has one list; once more with the same items, it is there already.
    ///
    /// # Errors
    /// 400 when a field is missing or a store does not sell the product; 404 when there is no such product
    /// (or it is no longer sold, unless the order has it) or, for the step, no such order; 409 when the order
    /// has another list, or needs none any more.
    pub async fn create_shopping_list(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let order_id: Option<Id<OrderKind>> = form.id("orderId", "ORDER_ID_CANNOT_BE_BLANK");
        let by_hand = call.target.is_none();
        let named = if by_hand { items_from_request(&form) } else { Some(vec![]) };
        let (Some(order_id), Some(named), true) = (order_id, named, form.is_clean()) else {
            return Err(form.fault());
        };
        let (id, items) = if by_hand {
            (shopping_list_of(order_id), named)
        } else {
            let id = list_of(order_id, &call)?;
            let Some(order) = orders::pending(&self.depot.store, order_id).await? else {
                return Ok(Answer::unchanged(id));
            };
            let ordered =
                |OrderItem { product_id, store_id, quantity, .. }| Item { product_id, store_id, quantity };
            (id, order.items.into_iter().map(ordered).collect::<Vec<_>>())
        };
        let (planner, asked) = (&*self, &items);
        let plan = |_: Option<ShoppingList>| async move {
            let lines = asked.iter().copied().enumerate().map(|(place, item)| planner.line(place, item));
            let found: Vec<Found> = stream::iter(lines).buffered(LOOKUPS_AT_A_TIME).try_collect().await?;
            // What was ordered is collected, though the store may have stopped selling it since.
            let not_sold = found.iter().find(|found| by_hand && !found.on_sale);
            let not_sold = not_sold.map(|found| found.line.product_id);
            let stops = stops(found.into_iter().map(|found| found.line)).map_err(TransactError::Refused)?;
            Ok(ShoppingListCommand::Create { order_id, stops, not_sold })
        };
        call.transact_with(&self.depot.store, id, Expect::New, &(order_id, asked), plan).await
    }

    /// An item with the names and the place that the depot's copies know.
    async fn line(&self, place: usize, item: Item) -> Result<Found, Fault> {
        let Item { product_id, store_id, quantity } = item;
        let entry = self.catalogue.entry(product_id).await?;
        let entry = entry.ok_or_else(|| Fault::not_found("product", product_id))?;
        if entry.store.id != store_id {
            let (code, message) = (
                "STORE_DOES_NOT_SELL_PRODUCT",
                format!("product {product_id} is not sold by store {store_id}"),
            );
            let field = format!("items[{place}].storeId");
            let detail = Detail { field, code: code.into(), message: message.clone() };
            return Err(Fault { details: vec![detail], ..Fault::invalid(code, message) });
        }
        let line = Line {
            store_id,
            store_name: entry.store.name,
            store_location: entry.store.location,
            product_id,
            product_name: entry.product.name,
            quantity,
        };
        Ok(Found { line, on_sale: entry.product.on_sale })
    }
}

impl Depot {
    /// Lets a bot have the list; a step of an order's placement, which names the order: `{orderId}`. Then
    /// nothing is written once the order is approved. Without an order, as an operator asks, a list that is
    /// not pending is refused.
    ///
    /// # Errors
    /// 400 when the list was cancelled, or is not pending and no order asks; 404; 409 when it is another
    /// order's, and `ORDER_IS_OVER`.
    pub async fn initiate_shopping(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (id, order_id) = (list_id(&call)?, order_that_asks(&call)?);
        if let Some(order_id) = order_id
            && orders::pending(&self.store, order_id).await?.is_none()
        {
            return Ok(Answer::unchanged(id));
        }
        self.transact_list(id, call.expect(), ShoppingListCommand::Initiate { order_id }, &call).await
    }

    /// `PUT /api/depot/shopping/{id}/start {botId}`: the bot sets out. The bot may be left out.
    ///
    /// # Errors
    /// 400 when the list is not assigned, or to another bot; 404, 412.
    pub async fn start_shopping(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = list_id(&call)?;
        let bot_id: Option<BotId> = optional_id(&call, "botId", "BOT_ID_CANNOT_BE_BLANK")?;
        self.transact_list(id, call.expect(), ShoppingListCommand::Start { bot_id }, &call).await
    }

    /// `PUT /api/depot/shopping/{id}/complete {}`.
    ///
    /// # Errors
    /// 400 when no bot has the list; 404, 412.
    pub async fn complete_shopping_list(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact_list(list_id(&call)?, call.expect(), ShoppingListCommand::Complete, &call).await
    }

    /// `POST /api/depot/shopping/{id} {reason}` (the original's verb) and `DELETE /api/depot/shopping/{id}`;
    /// also a step of an order's undo, which names the order: `{orderId, reason}`. Then it is harmless when
    /// the list was cancelled or completed before, and a list that was not made yet never will be.
    ///
    /// # Errors
    /// 400 when the list is over, and 404: both only when no order asks; 412.
    pub async fn cancel_shopping_list(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = list_id(&call)?;
        let form = Form::of(&call.body);
        let Some(reason) = form.text_or("reason", CANCELLED) else { return Err(form.fault()) };
        let reason = reason.to_owned();
        let command = match order_that_asks(&call)? {
            Some(order_id) => ShoppingListCommand::Withdraw { order_id, reason },
            None => ShoppingListCommand::Cancel { reason },
        };
        self.transact_list(id, call.expect(), command, &call).await
    }

    /// `GET /api/depot/shopping/{id}`: from the list's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_shopping_list(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = list_id(&call)?;
        let loaded: Past<ShoppingList> = call.load(&self.store, &StreamId::of::<ShoppingList, _>(id)).await?;
        let view = loaded.state.as_ref().and_then(|list| ShoppingListView::of(id, list, loaded.version));
        let shopping_list = view.ok_or_else(|| Fault::not_found("shopping list", id))?;
        Answer::view(&OneShoppingList { shopping_list }, Some(loaded.version))
    }

    /// `POST /api/depot/bots {name}`.
    ///
    /// # Errors
    /// 400 when the name is blank.
    pub async fn register_bot(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let Some(name) = form.text("name", "BOT_NAME_IS_BLANK") else { return Err(form.fault()) };
        let (id, command): (BotId, _) =
            (call.new_id(&self.ports), BotCommand::Register { name: name.to_owned() });
        let stream = StreamId::of::<Bot, _>(id);
        let outcome = self.store.transact::<Bot>(&stream, Expect::New, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    /// `GET /api/depot/bots/{id}`: from the bot's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_bot(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: BotId = call.id("bot")?;
        let loaded: Past<Bot> = call.load(&self.store, &StreamId::of::<Bot, _>(id)).await?;
        let bot = loaded.state.as_ref().ok_or_else(|| Fault::not_found("bot", id))?;
        let bot = BotView::of(id, bot, loaded.version);
        Answer::view(&OneBot { bot }, Some(loaded.version))
    }

    async fn transact_list(
        &self,
        id: ShoppingListId,
        expect: Expect,
        command: ShoppingListCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<ShoppingList, _>(id);
        let outcome = self.store.transact::<ShoppingList>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

pub(crate) fn list_id(call: &Call) -> Result<ShoppingListId, Fault> {
    call.id("shopping list")
}

/// The list that the call names, which has to be the order's.
fn list_of(order_id: OrderId, call: &Call) -> Result<ShoppingListId, Fault> {
    let id = list_id(call)?;
    if id == shopping_list_of(order_id) {
        return Ok(id);
    }
    let message = format!("{id} is not the shopping list of order {order_id}");
    Err(Fault::new(409, "SHOPPING_LIST_IS_OF_ANOTHER_ORDER", message))
}

/// The order on whose behalf the call is made, if it says so; the list has to be that order's.
fn order_that_asks(call: &Call) -> Result<Option<OrderId>, Fault> {
    let order_id = optional_id(call, "orderId", "ORDER_ID_CANNOT_BE_BLANK")?;
    order_id.map(|order_id| list_of(order_id, call).map(|_| order_id)).transpose()
}

fn optional_id<K>(call: &Call, field: &str, blank: &'static str) -> Result<Option<Id<K>>, Fault> {
    if call.body.get(field).is_none_or(serde_json::Value::is_null) {
        return Ok(None);
    }
    let form = Form::of(&call.body);
    match form.id(field, blank) {
        Some(id) => Ok(Some(id)),
        None => Err(form.fault()),
    }
}

/// What is collected, and whether its store still sells it.
struct Found {
    line: Line,
    on_sale: bool,
}

/// An item of a request.
#[derive(Clone, Copy, Serialize)]
struct Item {
    product_id: ProductId,
    store_id: StoreId,
    quantity: u32,
}

fn item_from_request(item: &Form<'_>) -> Option<Item> {
    let product_id: Option<Id<ProductKind>> = item.id("productId", "PRODUCT_ID_CANNOT_BE_BLANK");
    let store_id: Option<Id<StoreKind>> = item.id("storeId", "STORE_ID_CANNOT_BE_BLANK");
    let quantity = item.integer("quantity").and_then(|quantity| match u32::try_from(quantity) {
        Ok(quantity) if quantity > 0 => Some(quantity),
        Ok(_) | Err(_) => {
            item.reject("quantity", "QUANTITY_MUST_BE_POSITIVE", "quantity must be 1 to 4294967295");
            None
        }
    });
    Some(Item { product_id: product_id?, store_id: store_id?, quantity: quantity? })
}

fn items_from_request(form: &Form<'_>) -> Option<Vec<Item>> {
    let items = form.list("items", item_from_request)?;
    if items.is_empty() {
        form.reject("items", "ITEMS_CANNOT_BE_EMPTY", "say what is to be collected");
    }
    if items.len() > MAX_ITEMS {
        form.reject("items", "TOO_MANY_ITEMS", format!("a list has at most {MAX_ITEMS} items"));
    }
    Some(items)
}
