//! Streams and versions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{aggregate::Aggregate, id::Id};

/// Name of a stream: `<context>.<Aggregate>/<id>`, for example `ordering.Order/0198…`.
///
/// It is the event table's partition key. The context comes first so that IAM can fence each
/// context in with `dynamodb:LeadingKeys`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamId(String);

/// A text that is not a stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stream name: expected <context>.<Aggregate>/<id>")]
pub struct StreamIdError(String);

impl StreamId {
    /// The stream of one aggregate.
    pub fn of<A: Aggregate, K>(id: Id<K>) -> Self {
        Self(format!("{}/{}", A::CATEGORY, id))
    }

    /// The bounded context that owns the stream: `ordering`.
    pub fn context(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The category: `ordering.Order`.
    pub fn category(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The aggregate's id: what follows the slash.
    pub fn id(&self) -> &str {
        self.0.split_once('/').map(|(_, id)| id).unwrap_or_default()
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        let well_formed = text.split_once('/').is_some_and(|(category, id)| {
            !id.is_empty()
                && category.split_once('.').is_some_and(|(context, aggregate)| {
                    !context.is_empty() && !aggregate.is_empty() && !aggregate.contains('.')
                })
        });
        if well_formed { Ok(Self(text.to_owned())) } else { Err(StreamIdError(text.to_owned())) }
    }
}

impl TryFrom<String> for StreamId {
    type Error = StreamIdError;

    fn try_from(text: String) -> Result<Self, StreamIdError> {
        text.parse()
    }
}

impl From<StreamId> for String {
    fn from(stream: StreamId) -> Self {
        stream.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Position of an event in its stream. The first event has version 1; 0 stands for "none yet".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// Before the first event.
    pub const NONE: Version = Version(0);
    /// The first event of a stream.
    pub const FIRST: Version = Version(1);

    /// The version with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The version `count` further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The version before this one; the version before the first is [`Version::NONE`].
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_name_without_its_parts_is_refused() {
        for bad in
            ["", "ordering", "ordering.Order", "ordering.Order/", "Order/1", ".Order/1", "a.b.c/1", "a./1"]
        {
            assert!(bad.parse::<StreamId>().is_err(), "{bad:?} passed");
        }
        let stream: StreamId = "ordering.Order/0198".parse().unwrap();
        assert_eq!(
            (stream.context(), stream.category(), stream.id()),
            ("ordering", "ordering.Order", "0198")
        );
    }
}
