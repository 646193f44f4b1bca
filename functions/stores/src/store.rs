//! A store.

use contracts::stores::{
    StoreCreated, StoreEvent, StoreParticipationDisabled, StoreParticipationEnabled, StoreRebranded,
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// What a store is, whether it takes part or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Premises {
    /// What it is called.
    pub name: String,
    /// Where in the mall it is.
    pub location: String,
}

/// A store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Store {
    /// It is there, but does not take part in the mall: as every store begins.
    NotParticipating(Premises),
    /// It takes part.
    Participating(Premises),
}

/// What can be asked of a store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum StoreCommand {
    /// Open it.
    Create {
        /// What it is called.
        name: String,
        /// Where in the mall it is.
        location: String,
    },
    /// Take part in the mall.
    EnableParticipation,
    /// Take part no longer.
    DisableParticipation,
    /// Give it another name.
    Rebrand {
        /// The new name.
        name: String,
    },
}

/// Why a store says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreRefusal {
    /// There is no such store.
    #[error("there is no such store")]
    NotFound,
    /// It was opened before.
    #[error("the store exists already")]
    AlreadyCreated,
    /// No name.
    #[error("the store's name cannot be blank")]
    NameIsBlank,
    /// No location.
    #[error("the store's location cannot be blank")]
    LocationIsBlank,
    /// It takes part already.
    #[error("the store takes part already")]
    IsAlreadyParticipating,
    /// It does not take part anyway.
    #[error("the store does not take part anyway")]
    IsAlreadyNotParticipating,
}

impl Refusal for StoreRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "STORE_NOT_FOUND",
            Self::AlreadyCreated => "STORE_ALREADY_CREATED",
            Self::NameIsBlank => "STORE_NAME_IS_BLANK",
            Self::LocationIsBlank => "STORE_LOCATION_IS_BLANK",
            Self::IsAlreadyParticipating => "STORE_IS_ALREADY_PARTICIPATING",
            Self::IsAlreadyNotParticipating => "STORE_IS_ALREADY_NOT_PARTICIPATING",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::AlreadyCreated => RefusalKind::Conflict,
            // 400 for a participation that is already so is what the original API answers.
            Self::NameIsBlank
            | Self::LocationIsBlank
            | Self::IsAlreadyParticipating
            | Self::IsAlreadyNotParticipating => RefusalKind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NameIsBlank => Some("name"),
            Self::LocationIsBlank => Some("location"),
            Self::NotFound
            | Self::AlreadyCreated
            | Self::IsAlreadyParticipating
            | Self::IsAlreadyNotParticipating => None,
        }
    }
}

impl Store {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::NotParticipating(_) => "not participating",
            Self::Participating(_) => "participating",
        }
    }

    /// Whether it takes part in the mall.
    pub fn is_participating(&self) -> bool {
        match self {
            Self::NotParticipating(_) => false,
            Self::Participating(_) => true,
        }
    }

    /// What it is called, and where it is.
    pub fn premises(&self) -> &Premises {
        match self {
            Self::NotParticipating(premises) | Self::Participating(premises) => premises,
        }
    }
}

impl Aggregate for Store {
    const CATEGORY: &'static str = "stores.Store";
    const STATE_SCHEMA: u16 = 1;
    type Command = StoreCommand;
    type Event = StoreEvent;
    type Refusal = StoreRefusal;

    fn decide(state: Option<&Self>, command: &StoreCommand) -> Result<Vec<StoreEvent>, StoreRefusal> {
        use StoreCommand::{Create, DisableParticipation, EnableParticipation, Rebrand};
        match (state, command) {
            (None, Create { name, location }) => create(name, location),
            (Some(_), Create { .. }) => Err(StoreRefusal::AlreadyCreated),
            (None, EnableParticipation | DisableParticipation | Rebrand { .. }) => {
                Err(StoreRefusal::NotFound)
            }

            (Some(Self::NotParticipating(_)), EnableParticipation) => {
                Ok(vec![StoreEvent::StoreParticipationEnabled(StoreParticipationEnabled {})])
            }
            (Some(Self::Participating(_)), EnableParticipation) => Err(StoreRefusal::IsAlreadyParticipating),

            (Some(Self::Participating(_)), DisableParticipation) => {
                Ok(vec![StoreEvent::StoreParticipationDisabled(StoreParticipationDisabled {})])
            }
            (Some(Self::NotParticipating(_)), DisableParticipation) => {
                Err(StoreRefusal::IsAlreadyNotParticipating)
            }

            (Some(_), Rebrand { name }) if is_blank(name) => Err(StoreRefusal::NameIsBlank),
            (Some(store), Rebrand { name }) if store.premises().name == *name => Ok(vec![]),
            (Some(_), Rebrand { name }) => {
                Ok(vec![StoreEvent::StoreRebranded(StoreRebranded { name: name.clone() })])
            }
        }
    }

    fn evolve(state: Option<Self>, event: &StoreEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, StoreEvent::StoreCreated(e)) => {
                Ok(Self::NotParticipating(Premises { name: e.name.clone(), location: e.location.clone() }))
            }
            (Some(Self::NotParticipating(premises)), StoreEvent::StoreParticipationEnabled(_)) => {
                Ok(Self::Participating(premises))
            }
            (Some(Self::Participating(premises)), StoreEvent::StoreParticipationDisabled(_)) => {
                Ok(Self::NotParticipating(premises))
            }
            (Some(Self::NotParticipating(premises)), StoreEvent::StoreRebranded(e)) => {
                Ok(Self::NotParticipating(Premises { name: e.name.clone(), ..premises }))
            }
            (Some(Self::Participating(premises)), StoreEvent::StoreRebranded(e)) => {
                Ok(Self::Participating(Premises { name: e.name.clone(), ..premises }))
            }
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Store::status),
            }),
        }
    }
}

fn create(name: &str, location: &str) -> Result<Vec<StoreEvent>, StoreRefusal> {
    if is_blank(name) {
        return Err(StoreRefusal::NameIsBlank);
    }
    if is_blank(location) {
        return Err(StoreRefusal::LocationIsBlank);
    }
    let (name, location) = (name.to_owned(), location.to_owned());
    Ok(vec![StoreEvent::StoreCreated(StoreCreated { name, location })])
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
