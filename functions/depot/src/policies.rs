//! When an event, then a command.

use std::sync::Arc;

use contracts::{
    Envelope,
    depot::ShoppingListEvent,
    ids::{BotId, OrderId, shopping_list_of},
    ordering::OrderEvent,
};
use event_store::Expect;
use kernel::StreamId;
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::{
    Depot,
    bot::{Bot, BotCommand},
    shopping_list::ShoppingListCommand,
};

/// Why a list is cancelled when its order was, and nobody said why.
const ORDER_CANCELLED: &str = "ORDER_CANCELLED";

impl Depot {
    /// When an order is cancelled, cancel its list. One that was not made yet never will be; one that is completed stays
    /// so, and its goods go back on the shelf.
    ///
    /// # Errors
    /// When the list cannot be changed: the event goes back to its queue.
    pub async fn cancel_shopping_on_cancellation(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let canceled = match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderCanceled(canceled) => canceled,
            other => return Err(unexpected(&other)),
        };
        let order_id: OrderId = subject(&event)?;
        let reason = canceled.reason.unwrap_or_else(|| ORDER_CANCELLED.to_owned());
        let command = ShoppingListCommand::Withdraw { order_id, reason };
        let call = Call::by_policy("cancel-shopping-on-cancellation", &event, self.ports.clock.now());
        self.transact_list(shopping_list_of(order_id), Expect::Any, command, &call).await?;
        Ok(())
    }

    /// When a list is completed or cancelled, free the bot that had it, unless it has another list by now.
    ///
    /// # Errors
    /// When the bot cannot be changed: the event goes back to its queue.
    pub async fn free_bot(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let bot_id: Option<BotId> = match whole::<ShoppingListEvent>(&self.store, &event).await? {
            ShoppingListEvent::ShoppingListCompleted(completed) => Some(completed.bot_id),
            ShoppingListEvent::ShoppingListCanceled(canceled) => canceled.bot_id,
            other => return Err(unexpected(&other)),
        };
        let Some(bot_id) = bot_id else {
            tracing::debug!(list = event.stream.id(), "no bot had it");
            return Ok(());
        };
        let call = Call::by_policy("free-bot", &event, self.ports.clock.now());
        let command = BotCommand::Idle { shopping_list_id: subject(&event)? };
        let stream = StreamId::of::<Bot, _>(bot_id);
        self.store.transact::<Bot>(&stream, Expect::Any, &command, &call.meta()).await?;
        Ok(())
    }
}
