//! Whose goods the mall sells.

use std::str::FromStr;

/// Whose goods are found, and can be put into a basket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Participation {
    /// Every store's, as in the original system.
    NotRequired,
    /// Those of stores that take part in the mall.
    Required,
}

/// The setting is neither `true` nor `false`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ONLY_PARTICIPATING_STORES must be true or false, not {0:?}")]
pub struct NotASwitch(String);

impl FromStr for Participation {
    type Err = NotASwitch;

    fn from_str(text: &str) -> Result<Self, NotASwitch> {
        match text {
            "true" => Ok(Self::Required),
            "false" => Ok(Self::NotRequired),
            other => Err(NotASwitch(other.to_owned())),
        }
    }
}
