//! When an event, then a command.

use std::sync::Arc;

use contracts::{Envelope, depot::ShoppingListEvent, ids::BotId};
use event_store::Expect;
use kernel::StreamId;
use lambda::{
    Call, Fault,
    policy::{subject, unexpected, whole},
};

use crate::{
    Depot,
    bot::{Bot, BotCommand},
};

impl Depot {
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
