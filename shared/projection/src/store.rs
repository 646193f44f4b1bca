//! The port behind a view: rows with the version they have applied, written conditionally.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event_store::Segment;
use kernel::Version;

use crate::{
    page::{Index, Position},
    projection::{LONG, Projection},
};

/// The store of the rows of one view. [`crate::DynamoViews`] and
/// [`crate::MemoryViews`] implement it; one set of tests holds both to the same behaviour.
#[async_trait]
pub trait ViewStore<P: Projection>: Send + Sync {
    /// What is stored under an id.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<P::Row>>, ViewError>;

    /// Writes a row (or that there is none) as of version `applied`, if what is stored is still
    /// `before`: nothing, or exactly this schema and version.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] the row may have been written.
    async fn put(
        &self,
        id: &str,
        row: Option<&P::Row>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError>;

    /// A page of one partition of an index, or of one shard of it if it is sharded, in the order of its sort
    /// attribute. Eventually consistent. [`crate::Projector::list_rows`] merges shards and reads rows that
    /// the index does not hold.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn list(&self, list: &List<'_>) -> Result<Listed<P::Row>, ViewError>;

    /// Rows by their ids, which are different and at most [`BATCH`]. Under load some may be left unread. A
    /// row that makes no sense is left out.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn rows(&self, ids: Vec<String>, consistency: Consistency) -> Result<Batch<P::Row>, ViewError> {
        let mut rows = BTreeMap::new();
        for id in ids {
            if let Some(stored) = self.get(&id, consistency).await? {
                rows.insert(id, stored);
            }
        }
        Ok(Batch { rows, unread: Vec::new() })
    }
}

/// A whole table of rows, whatever they hold, in which a sweep finds rows without events. The stores of this
/// crate implement it.
#[async_trait]
pub trait ViewTable: Send + Sync {
    /// One page of the keys in one segment of the table, read consistently. All pages of all segments hold every row that was
    /// there when the first was read.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn keys(
        &self,
        segment: Segment,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<KeyPage, ViewError>;

    /// Removes a row, if it is still as it was read.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] it may have been removed.
    async fn remove(&self, key: &RowKey) -> Result<Put, ViewError>;
}

/// A row's id, and what it is as of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// Its id.
    pub id: String,
    /// What it is as of. Its schema may be newer than this code's.
    pub stamp: Stamp,
}

/// What [`ViewTable::keys`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<RowKey>,
    /// Where to go on; `None` at the segment's end.
    pub after: Option<String>,
}

/// How a row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// At half the price, perhaps not the latest.
    Eventual,
    /// The latest.
    Strong,
}

/// What a row is as of: the optimistic lock on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// [`Projection::SCHEMA`] of its writer.
    pub schema: u16,
    /// Version of the last event in it.
    pub applied: Version,
}

/// A stored row.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<R> {
    /// What it is as of.
    pub stamp: Stamp,
    /// What it holds.
    pub content: Content<R>,
}

/// What a stored row holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content<R> {
    /// The view.
    Row(R),
    /// Nothing: no event so far was relevant.
    Empty,
    /// A row that older code wrote, in a shape or with a meaning that no longer counts; and the row to show
    /// instead, of a long stream whose projection [can say](Projection::upcast).
    Outdated(Option<R>),
    /// A row that newer code wrote, in a shape that this code does not know: it is not to be replaced, and what it would say here
    /// is what its events say.
    Newer,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is done.
    Written,
    /// Somebody else was there since the row was read; nothing was written.
    Conflict,
}

/// What [`ViewStore::list`] is asked for: a [`crate::ListRequest`] that was validated.
#[derive(Debug, Clone)]
pub struct List<'a> {
    /// The index.
    pub index: &'a Index,
    /// The partition.
    pub partition: &'a str,
    /// One shard of the partition, for callers that walk them one by one; `None` for all of them, merged.
    pub shard: Option<u32>,
    /// Which sort values count.
    pub range: Range,
    /// Whether the highest sort values come first.
    pub descending: bool,
    /// The last row of the page before; it has to lie within the range.
    pub after: Option<Position>,
    /// Most rows on the page.
    pub limit: usize,
}

/// Sort values from here to there, both included; open where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub from: Option<String>,
    /// The highest.
    pub to: Option<String>,
}

impl Range {
    /// Whether nothing can lie within.
    pub fn is_empty(&self) -> bool {
        matches!((&self.from, &self.to), (Some(from), Some(to)) if from > to)
    }

    /// Whether a sort value lies within.
    pub fn contains(&self, sort: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= sort) && self.to.as_deref().is_none_or(|to| sort <= to)
    }
}

impl List<'_> {
    /// Value of the index's partition attribute.
    pub(crate) fn key(&self) -> String {
        self.index.key(self.partition, self.shard)
    }
}

/// What [`ViewStore::list`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<R> {
    /// Places and rows.
    pub rows: Vec<Entry<R>>,
    /// Where to go on; `None` at the end.
    pub next: Option<Position>,
}

/// A row in an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<R> {
    /// Its place.
    pub at: Position,
    /// The row; `None` in an index of keys.
    pub stored: Option<Stored<R>>,
}

/// Most rows that [`ViewStore::rows`] reads. Source: "BatchGetItem" in the DynamoDB API reference.
pub const BATCH: usize = 100;

/// What [`ViewStore::rows`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<R> {
    /// The rows that there are, by id.
    pub rows: BTreeMap<String, Stored<R>>,
    /// Ids that are to be asked for again.
    pub unread: Vec<String>,
}

/// The view could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The table did not answer, or turned the request away; the same request may work later.
    #[error("the view {view} is unavailable for {operation}: {why}")]
    Unavailable {
        /// The view.
        view: &'static str,
        /// The operation.
        operation: &'static str,
        /// What was said.
        why: String,
    },
    /// The request will not work however often it is sent (permissions, a missing table, a row over
    /// 400 KB).
    #[error("the view {view} refuses {operation}: {why}")]
    Refused {
        /// The view.
        view: &'static str,
        /// The operation.
        operation: &'static str,
        /// What was said.
        why: String,
    },
    /// Written by newer code than this, which has to leave it alone: a deployment is under way, or was
    /// rolled back.
    #[error("row {id} of view {view} has schema {schema}, this code knows up to {known}")]
    FromTheFuture {
        /// The view.
        view: &'static str,
        /// The row.
        id: String,
        /// Its schema.
        schema: u16,
        /// The newest schema known here.
        known: u16,
    },
    /// The row is outdated, and its stream too long to be folded for one event: a sweep replaces it.
    #[error("row {id} of view {view} is of an older schema and waits for a sweep: its stream is long")]
    AwaitsSweep {
        /// The view.
        view: &'static str,
        /// The row.
        id: String,
    },
    /// The row is not one that a projector wrote, or cannot be written as one.
    #[error("row {id} of view {view} makes no sense: {why}")]
    Malformed {
        /// The view.
        view: &'static str,
        /// The row.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// Attributes that are the store's, not the row's.
pub(crate) const APPLIED: &str = "applied";
pub(crate) const SCHEMA: &str = "schema";
pub(crate) const EMPTY: &str = "empty";
pub(crate) const ID: &str = "id";

pub(crate) fn malformed<P: Projection>(id: &str, why: impl ToString) -> ViewError {
    ViewError::Malformed { view: P::NAME, id: id.to_owned(), why: why.to_string() }
}

/// Holds a row to what [`Projection::Row`] asks of its field names. `own_id` is the row's field `id`, if it has one.
pub(crate) fn check_fields<'a, P: Projection>(
    id: &str,
    mut names: impl Iterator<Item = &'a String>,
    own_id: Option<&str>,
) -> Result<(), ViewError> {
    if let Some(name) = names.find(|name| [APPLIED, SCHEMA, EMPTY].contains(&name.as_str())) {
        return Err(malformed::<P>(id, format!("a row may not have a field called {name}")));
    }
    match own_id {
        Some(own) if own != id => Err(malformed::<P>(id, format!("its field id is {own}"))),
        _ => Ok(()),
    }
}

/// Why a row of this schema, newer than today's, cannot be written.
pub(crate) fn from_the_future<P: Projection>(id: &str, schema: u16) -> ViewError {
    ViewError::FromTheFuture { view: P::NAME, id: id.to_owned(), schema, known: P::SCHEMA }
}

/// The content of a stored row, made of its fields: `row` reads them as a row of today's schema, `value` as
/// they are.
pub(crate) fn content<P: Projection, F>(
    id: &str,
    stamp: Stamp,
    empty: bool,
    fields: F,
    row: impl FnOnce(F) -> Result<P::Row, String>,
    value: impl FnOnce(F) -> Result<serde_json::Value, String>,
) -> Stored<P::Row> {
    let content = if stamp.schema > P::SCHEMA {
        Content::Newer
    } else if stamp.schema < P::SCHEMA {
        let is_long = !empty && stamp.applied.get() > LONG;
        let value = is_long.then(|| value(fields).ok()).flatten();
        Content::Outdated(value.and_then(|value| P::upcast(stamp.schema, value)))
    } else if empty {
        Content::Empty
    } else {
        match row(fields) {
            Ok(row) => Content::Row(row),
            Err(error) => {
                // Somebody changed the row's shape and forgot its schema version. The events are the truth.
                tracing::warn!(view = P::NAME, id, error, "unreadable row will be folded anew");
                Content::Outdated(None)
            }
        }
    };
    Stored { stamp, content }
}
