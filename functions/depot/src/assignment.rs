//! A list gets its bot: the one use case that changes two streams.
//!
//! First the bot takes the list (`BotActivated`), then the list goes to the bot (`ShoppingListAssigned`). There is no
//! transaction over both, so a process may die in between, or be overtaken at any point.
//!
//! # Guarantees
//!
//! * **A list has at most one bot**: its own stream decides.
//! * **A bot has at most one list that is not ended**, however many assign, complete and cancel at the same time, and
//!   wherever one of them stops:
//!   1. a list goes to a bot only after the bot has taken it, and a bot takes a list only after it was seen available;
//!   2. a bot lets go of a list only when that list can never be this bot's any more: it ended, or has another bot;
//!   3. a bot that took a list which still waits is not robbed: whoever finds it so finishes the assignment for whoever
//!      stopped half-way. (The first writer might only be slow. Were the bot given another list meanwhile, it would have two.)
//! * **No bot is stuck**: one that holds a list which ended, or which went to another bot, counts as idle; that is looked up
//!   in the list's stream when the bot is asked for anew.
//! * **Repeats change nothing**: both halves are idempotent per bot and list.
//!
//! # Not guaranteed
//!
//! * That the views show the bot and the list changing together.
//! * That a bot which counts as idle is also shown as idle before it is asked for anew: after a process died between a
//!   refused list and freeing the bot, it is shown as active.

use std::sync::Arc;

use contracts::ids::{BotId, ShoppingListId};
use event_store::{Expect, Loaded, TransactError};
use kernel::{Actor, CommandId, CommandMeta, StreamId};
use lambda::{Answer, Call, Fault, Form};

use crate::{
    Depot,
    api::list_id,
    bot::{Bot, BotCommand},
    shopping_list::{ShoppingList, ShoppingListCommand, ShoppingListRefusal},
};

impl Depot {
    /// `PUT /api/depot/shopping/{id}/assign {botId}`.
    ///
    /// # Errors
    /// 400 when the list does not wait for a bot; 404 when there is no such list or bot; 409 `BOT_IS_BUSY` when the bot has
    /// another list; 412.
    pub async fn assign_shopping_list(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = list_id(&call)?;
        let form = Form::of(&call.body);
        let Some(bot_id) = form.id("botId", "BOT_ID_CANNOT_BE_BLANK") else { return Err(form.fault()) };
        let list: Loaded<ShoppingList> = self.store.load(&StreamId::of::<ShoppingList, _>(id)).await?;
        match &list.state {
            Some(ShoppingList::Available(_)) => {}
            // Nothing to take a bot for: it is refused, or was done before, by the list's own stream.
            Some(_) | None => return self.answer_of_list(&list, id, bot_id, &call).await,
        }
        if let Some(expected) = call.if_match.filter(|expected| *expected != list.version()) {
            let actual = list.version();
            return Err(TransactError::<ShoppingListRefusal>::VersionMismatch { expected, actual }.into());
        }
        self.take(bot_id, id, &call).await?;
        // Without the expected version: the list was available at it, and whatever it is now decides. A helper may have
        // given it to this very bot.
        match self.give(id, bot_id, Expect::Any, &call.meta()).await {
            Ok(answer) => Ok(answer),
            Err(TransactError::Refused(refusal)) => {
                self.let_go(bot_id, id, &call).await;
                Err(TransactError::Refused(refusal).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the list says when it did not wait for a bot.
    async fn answer_of_list(
        &self,
        list: &Loaded<ShoppingList>,
        id: ShoppingListId,
        bot_id: BotId,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let seen = list.version();
        let expect = Expect::At(call.if_match.unwrap_or(seen));
        match self.give(id, bot_id, expect, &call.meta()).await {
            // It moved on since it was read, and may be available now: the bot has to take it first.
            Err(TransactError::VersionMismatch { .. }) if call.if_match.is_none() => {
                let stream = StreamId::of::<ShoppingList, _>(id);
                Err(TransactError::<ShoppingListRefusal>::Contended { stream, attempts: 1 }.into())
            }
            answer => Ok(answer?),
        }
    }

    /// The list's half.
    async fn give(
        &self,
        id: ShoppingListId,
        bot_id: BotId,
        expect: Expect,
        meta: &CommandMeta,
    ) -> Result<Answer, TransactError<ShoppingListRefusal>> {
        let stream = StreamId::of::<ShoppingList, _>(id);
        let command = ShoppingListCommand::Assign { bot_id };
        let outcome = self.store.transact::<ShoppingList>(&stream, expect, &command, meta).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    /// The bot's half.
    async fn take(&self, bot_id: BotId, id: ShoppingListId, call: &Call) -> Result<(), Fault> {
        let stream = StreamId::of::<Bot, _>(bot_id);
        let activate = |bot: Option<Bot>| async move {
            let lost = match bot.as_ref().and_then(Bot::shopping_list_id) {
                Some(held) if held != id && self.has_lost(bot_id, held, call).await? => Some(held),
                Some(_) | None => None,
            };
            Ok::<_, Fault>(BotCommand::Activate { shopping_list_id: id, lost })
        };
        self.store.transact_with(&stream, Expect::Any, &id, &half("take", call), activate).await?;
        Ok(())
    }

    /// Whether a list that a bot took can never be its own any more. An assignment that stopped half-way is finished
    /// first.
    async fn has_lost(&self, bot_id: BotId, held: ShoppingListId, call: &Call) -> Result<bool, Fault> {
        let list: Loaded<ShoppingList> = self.store.load(&StreamId::of::<ShoppingList, _>(held)).await?;
        match &list.state {
            Some(ShoppingList::Available(_)) => {
                let id = CommandId::derived(&["finish assignment", &bot_id.to_string(), &held.to_string()]);
                let meta = CommandMeta { id, actor: Actor::new("depot"), ..call.meta() };
                match self.give(held, bot_id, Expect::Any, &meta).await {
                    Ok(_) => {
                        tracing::info!(bot = %bot_id, list = %held, "finished an assignment that had stopped half-way");
                        Ok(false)
                    }
                    // Somebody else was faster: it ended, or has another bot.
                    Err(TransactError::Refused(_)) => Ok(true),
                    Err(error) => Err(error.into()),
                }
            }
            Some(
                ShoppingList::Assigned { bot_id: has_it, .. } | ShoppingList::Active { bot_id: has_it, .. },
            ) => Ok(*has_it != bot_id),
            Some(ShoppingList::Completed { .. } | ShoppingList::Canceled { .. }) => Ok(true),
            // No bot takes a list before it is available.
            Some(ShoppingList::Pending(_) | ShoppingList::NeverMade { .. }) | None => {
                Err(Fault::internal(format!("bot {bot_id} took list {held}, which was never available")))
            }
        }
    }

    /// Frees the bot again, since the list said no. Should that fail, the bot counts as idle all the same.
    async fn let_go(&self, bot_id: BotId, id: ShoppingListId, call: &Call) {
        let stream = StreamId::of::<Bot, _>(bot_id);
        let command = BotCommand::Idle { shopping_list_id: id };
        let meta = half("let go", call);
        if let Err(error) = self.store.transact::<Bot>(&stream, Expect::Any, &command, &meta).await {
            tracing::warn!(bot = %bot_id, list = %id, %error, "the bot is shown as active until it is asked for anew");
        }
    }
}

/// The same command in the bot's stream: with an id of its own, since the events' ids follow from it.
fn half(name: &str, call: &Call) -> CommandMeta {
    CommandMeta { id: CommandId::derived(&[name, &call.command.to_string()]), ..call.meta() }
}
