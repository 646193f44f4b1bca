//! Refusals: the business says no.

use std::{convert::Infallible, error::Error};

/// A business rule that forbids a command. Never retried: the same command meets the same answer.
pub trait Refusal: Error + Clone + Send + Sync + 'static {
    /// A stable name for programs, `SCREAMING_SNAKE_CASE`. Once published it does not change.
    fn code(&self) -> &'static str;
    /// What sort of no it is; the HTTP status follows from it.
    fn kind(&self) -> RefusalKind;
    /// The field of the request that is at fault, where there is one.
    fn field(&self) -> Option<&'static str> {
        None
    }
}

/// The refusals of an aggregate that has none.
impl Refusal for Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }

    fn kind(&self) -> RefusalKind {
        match *self {}
    }
}

/// Sorts of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request cannot be meant as it stands (400).
    Invalid,
    /// The actor may not do this (401).
    NotAuthorized,
    /// There is no such thing (404).
    NotFound,
    /// The thing is not in a state in which this can be done (409).
    Conflict,
}
