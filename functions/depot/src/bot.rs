//! A bot: it collects one list at a time.

use contracts::{
    depot::{BotActivated, BotEvent, BotIdled, BotRegistered},
    ids::ShoppingListId,
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// A bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Bot {
    /// It waits for a list.
    Idle {
        /// What it is called.
        name: String,
    },
    /// It took a list. The list may not know yet, or have ended: see [`crate::assignment`].
    Active {
        /// What it is called.
        name: String,
        /// The list.
        shopping_list_id: ShoppingListId,
    },
}

/// What can be asked of a bot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum BotCommand {
    /// Come into service.
    Register {
        /// What it is called.
        name: String,
    },
    /// Take a list. Once more the same list, it has it already.
    Activate {
        /// The list.
        shopping_list_id: ShoppingListId,
        /// A list of which the caller knows that it is not this bot's, or no longer: when the bot still holds it, it
        /// lets go.
        lost: Option<ShoppingListId>,
    },
    /// Be done with a list. Harmless when the bot does not have it.
    Idle {
        /// The list.
        shopping_list_id: ShoppingListId,
    },
}

/// Why a bot says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BotRefusal {
    /// There is no such bot.
    #[error("there is no such bot")]
    NotFound,
    /// It is in service.
    #[error("the bot is registered already")]
    AlreadyRegistered,
    /// No name.
    #[error("the bot's name cannot be blank")]
    NameIsBlank,
    /// It has another list.
    #[error("the bot is busy with shopping list {shopping_list_id}")]
    IsBusy {
        /// The list.
        shopping_list_id: ShoppingListId,
    },
}

impl Refusal for BotRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "BOT_NOT_FOUND",
            Self::AlreadyRegistered => "BOT_ALREADY_REGISTERED",
            Self::NameIsBlank => "BOT_NAME_IS_BLANK",
            Self::IsBusy { .. } => "BOT_IS_BUSY",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::NameIsBlank => RefusalKind::Invalid,
            Self::AlreadyRegistered | Self::IsBusy { .. } => RefusalKind::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NameIsBlank => Some("name"),
            Self::NotFound | Self::AlreadyRegistered | Self::IsBusy { .. } => None,
        }
    }
}

impl Bot {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Active { .. } => "active",
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Idle { name } | Self::Active { name, .. } => name,
        }
    }

    /// The list it took.
    pub fn shopping_list_id(&self) -> Option<ShoppingListId> {
        match self {
            Self::Idle { .. } => None,
            Self::Active { shopping_list_id, .. } => Some(*shopping_list_id),
        }
    }
}

impl Aggregate for Bot {
    const CATEGORY: &'static str = "depot.Bot";
    const STATE_SCHEMA: u16 = 1;
    type Command = BotCommand;
    type Event = BotEvent;
    type Refusal = BotRefusal;

    fn decide(state: Option<&Self>, command: &BotCommand) -> Result<Vec<BotEvent>, BotRefusal> {
        use BotCommand::{Activate, Idle, Register};
        match (state, command) {
            (Some(_), Register { .. }) => Err(BotRefusal::AlreadyRegistered),
            (None, Register { name }) if name.trim().is_empty() => Err(BotRefusal::NameIsBlank),
            (None, Register { name }) => {
                Ok(vec![BotEvent::BotRegistered(BotRegistered { name: name.clone() })])
            }
            (None, Activate { .. } | Idle { .. }) => Err(BotRefusal::NotFound),

            (Some(Self::Idle { .. }), Activate { shopping_list_id, .. }) => {
                Ok(vec![activated(*shopping_list_id)])
            }
            (Some(Self::Active { shopping_list_id: has, .. }), Activate { shopping_list_id, lost }) => {
                if has == shopping_list_id {
                    Ok(vec![])
                } else if *lost == Some(*has) {
                    Ok(vec![idled(*has), activated(*shopping_list_id)])
                } else {
                    Err(BotRefusal::IsBusy { shopping_list_id: *has })
                }
            }

            (Some(Self::Active { shopping_list_id: has, .. }), Idle { shopping_list_id })
                if has == shopping_list_id =>
            {
                Ok(vec![idled(*has)])
            }
            (Some(Self::Idle { .. } | Self::Active { .. }), Idle { .. }) => Ok(vec![]),
        }
    }

    fn evolve(state: Option<Self>, event: &BotEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, BotEvent::BotRegistered(e)) => Ok(Self::Idle { name: e.name.clone() }),
            (Some(Self::Idle { name }), BotEvent::BotActivated(e)) => {
                Ok(Self::Active { name, shopping_list_id: e.shopping_list_id })
            }
            (Some(Self::Active { name, shopping_list_id }), BotEvent::BotIdled(e))
                if shopping_list_id == e.shopping_list_id =>
            {
                Ok(Self::Idle { name })
            }
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Bot::status),
            }),
        }
    }
}

fn activated(shopping_list_id: ShoppingListId) -> BotEvent {
    BotEvent::BotActivated(BotActivated { shopping_list_id })
}

fn idled(shopping_list_id: ShoppingListId) -> BotEvent {
    BotEvent::BotIdled(BotIdled { shopping_list_id })
}
