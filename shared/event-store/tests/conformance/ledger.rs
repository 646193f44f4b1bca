//! The aggregate of these tests: a ledger whose state depends on the order of its entries.

use std::fmt;

use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// The state. `SCHEMA` is its schema version, so that a test can be both the old and the new code.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book<const SCHEMA: u16> {
    pub balance: i64,
    pub entries: u64,
    /// Depends on every entry and on their order.
    pub trail: u64,
    pub frozen: bool,
    /// Grows with [`Command::Hoard`]: makes big snapshots.
    pub hoard: Vec<String>,
}

pub type Ledger = Book<1>;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Command {
    /// One entry for each amount, all in one commit.
    Post(Vec<i64>),
    /// One entry with a text.
    Note(String),
    /// Keeps a text in the state.
    Hoard(String),
    /// Turns posting off and on.
    Freeze(bool),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Entry {
    Posted { amount: i64 },
    Noted { text: String },
    Hoarded { text: String },
    Frozen { frozen: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub enum No {
    Overdrawn { balance: i64 },
    Frozen,
}

impl Event for Entry {
    const SCHEMAS: &'static [(&'static str, u16)] =
        &[("Posted", 1), ("Noted", 1), ("Hoarded", 1), ("Frozen", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            Entry::Posted { .. } => "Posted",
            Entry::Noted { .. } => "Noted",
            Entry::Hoarded { .. } => "Hoarded",
            Entry::Frozen { .. } => "Frozen",
        }
    }
}

impl<const SCHEMA: u16> Aggregate for Book<SCHEMA> {
    const CATEGORY: &'static str = "test.Ledger";
    const STATE_SCHEMA: u16 = SCHEMA;
    type Command = Command;
    type Event = Entry;
    type Refusal = No;

    fn decide(state: Option<&Self>, command: &Command) -> Result<Vec<Entry>, No> {
        match command {
            Command::Post(amounts) => {
                if state.is_some_and(|s| s.frozen) && !amounts.is_empty() {
                    return Err(No::Frozen);
                }
                let mut balance = state.map_or(0, |s| s.balance);
                for amount in amounts {
                    if balance + amount < 0 {
                        return Err(No::Overdrawn { balance });
                    }
                    balance += amount;
                }
                Ok(amounts.iter().map(|&amount| Entry::Posted { amount }).collect())
            }
            Command::Note(text) => Ok(vec![Entry::Noted { text: text.clone() }]),
            Command::Hoard(text) => Ok(vec![Entry::Hoarded { text: text.clone() }]),
            Command::Freeze(frozen) => Ok(vec![Entry::Frozen { frozen: *frozen }]),
        }
    }

    fn evolve(state: Option<Self>, event: &Entry) -> Result<Self, BrokenHistory> {
        let mut book = state.unwrap_or_default();
        book.entries += 1;
        let mark = match event {
            Entry::Posted { amount } => {
                book.balance += amount;
                amount.unsigned_abs()
            }
            Entry::Noted { text } => text.len() as u64,
            Entry::Hoarded { text } => {
                book.hoard.push(text.clone());
                1
            }
            Entry::Frozen { frozen } => {
                book.frozen = *frozen;
                2
            }
        };
        book.trail = book.trail.wrapping_mul(31).wrapping_add(mark + 1);
        Ok(book)
    }
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for No {}
impl Refusal for No {
    fn code(&self) -> &'static str {
        match self {
            No::Overdrawn { .. } => "OVERDRAWN",
            No::Frozen => "FROZEN",
        }
    }
    fn kind(&self) -> RefusalKind {
        RefusalKind::Conflict
    }
}

pub fn post(amounts: impl Into<Vec<i64>>) -> Command {
    Command::Post(amounts.into())
}
