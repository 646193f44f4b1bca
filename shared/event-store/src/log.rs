//! The port behind the event store: a log of commits, with exactly the operations DynamoDB offers.

use std::fmt;

use async_trait::async_trait;
use kernel::{StreamId, Version};

use crate::commit::{Commit, NewCommit};

/// A log of commits. [`crate::DynamoLog`] and [`crate::MemoryLog`] implement it; one conformance
/// suite holds both to the same behaviour.
#[async_trait]
pub trait CommitLog: Send + Sync {
    /// Writes the commit if its key is free.
    ///
    /// # Errors
    /// See [`AppendError`].
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError>;

    /// Commits of a stream whose first version is at most `upto`, newest first, read consistently;
    /// at most `limit` of them, and fewer when the answer would be too large.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError>;

    /// One page of one segment of the whole table. The pages of all segments together hold every
    /// commit that was there when the scan began exactly once, and each stream lies in one segment
    /// in order. Commits written meanwhile may or may not be seen.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError>;
}

/// One page of a stream, newest commit first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The commits.
    pub commits: Vec<Commit>,
    /// Whether older commits may follow.
    pub more: bool,
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanPage {
    /// The commits.
    pub commits: Vec<Commit>,
    /// Items between them that cannot be read: one of them is not to keep the others from being read.
    pub unreadable: Vec<Unreadable>,
    /// Where to go on; `None` at the segment's end.
    pub after: Option<(StreamId, Version)>,
}

/// An item of the event table that is damaged, or was written by newer code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its stream, if that can be read.
    pub stream: Option<StreamId>,
    /// Its version, if that can be read.
    pub version: Option<Version>,
    /// Which it is and what is wrong, in a sentence.
    pub why: String,
}

/// One of `total` disjoint parts of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub total: u32,
}

impl Segment {
    /// The whole table as one segment.
    pub const WHOLE: Segment = Segment { index: 0, total: 1 };
}

/// Why a commit was not (or perhaps not) written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The key is taken, by this commit. It may be our own, written by an attempt whose answer was lost.
    #[error("version {} of {} is taken", .0.version, .0.stream)]
    Taken(Box<Commit>),
    /// Refused before the write: over the item limit of DynamoDB.
    #[error(
        "the commit is {bytes} bytes, an item may have at most {limit}: split the command or shorten its fields"
    )]
    TooLarge {
        /// Size of the item.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It may have been written or not.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(StoreError),
    /// It was not written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The log could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The table did not answer, or turned the request away; the same request may work later.
    #[error("the event table is unavailable for {operation}: {why}")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// What was said.
        why: String,
    },
    /// The request will not work however often it is sent (permissions, a missing table).
    #[error("the event table refuses {operation}: {why}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// What was said.
        why: String,
    },
    /// What was read makes no sense: damaged, or written by newer code.
    #[error("stream {stream} cannot be read at version {version}: {why}")]
    Corrupt {
        /// The stream.
        stream: String,
        /// The version.
        version: Version,
        /// What is wrong.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn corrupt(stream: impl fmt::Display, version: Version, why: impl fmt::Display) -> Self {
        Self::Corrupt { stream: stream.to_string(), version, why: why.to_string() }
    }
}
