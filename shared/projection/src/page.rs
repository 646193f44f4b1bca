//! Lists from an index, page by page.

use std::fmt::Display;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kernel::{Timestamp, Uuid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    projection::sortable,
    store::{List, Range},
};

/// Rows on a page when nothing is said.
const DEFAULT_LIMIT: u32 = 20;
/// Most rows on a page. With rows of 2 KB that is 200 KB, well under the 1 MB at which DynamoDB cuts an
/// answer and the 6 MB that a function may answer.
pub const MAX_LIMIT: u32 = 100;

/// Shards of a partition of an index that is sharded.
///
/// A partition takes 1,000 write units a second and pushes back on its table beyond that ("Global secondary
/// index write throttling and back pressure" in the DynamoDB developer guide). An order takes two units of
/// the busiest partition: one when its row comes in, one when it moves on. So 1,000 orders a second need two
/// shards. Eight leave room for rows of up to 2 KB and for twice the load on one of them. More would make
/// lists dearer: a page costs a query of each shard.
///
/// Another number puts rows elsewhere: it needs views of another name.
pub const SHARDS: u32 = 8;

/// A global secondary index. Both of its key attributes are strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The attribute that chooses the partition: see [`Index::place`]. Rows without it are not in the index.
    pub partition: &'static str,
    /// The attribute that gives the order. Rows without it are not in the index.
    pub sort: &'static str,
    /// True if it holds keys and no copy of the row.
    pub keys_only: bool,
    /// Shards of each partition: 1 or [`SHARDS`].
    pub shards: u32,
}

impl Index {
    /// An index with a copy of each row, whose partitions are not sharded.
    pub const fn new(name: &'static str, partition: &'static str, sort: &'static str) -> Self {
        Self { name, partition, sort, keys_only: false, shards: 1 }
    }

    /// Leaves the rows out of the index. A change of a row that keeps its keys costs nothing here then, and a
    /// list reads the rows of its page from the table: half a read unit or more for each.
    #[must_use]
    pub const fn keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// Spreads each partition over [`SHARDS`] shards, by the rows' ids.
    #[must_use]
    pub const fn sharded(self) -> Self {
        Self { shards: SHARDS, ..self }
    }

    /// Returns the value that the partition attribute of a row has to have, for the row to be listed in
    /// `partition`.
    pub fn place(&self, partition: &str, id: impl Display) -> String {
        self.key(partition, Some(self.shard_of(&id.to_string())))
    }

    /// Returns the shard of a row.
    pub fn shard_of(&self, id: &str) -> u32 {
        shard(id, self.shards)
    }

    pub(crate) fn key(&self, partition: &str, shard: Option<u32>) -> String {
        match shard {
            Some(shard) if self.shards > 1 => format!("{partition}#{shard}"),
            Some(_) | None => partition.to_owned(),
        }
    }
}

/// Hashes an id by FNV-1a, which is the same in every version of every program.
fn shard(id: &str, shards: u32) -> u32 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = id.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    u32::try_from(hash % u64::from(shards.max(1))).unwrap_or_default()
}

/// What a caller wants to see, as it came in from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Value of the index's partition attribute.
    pub partition: String,
    /// Whether the highest sort values come first.
    pub descending: bool,
    /// [`Page::next`] of the page before; `None` for the first page.
    pub cursor: Option<String>,
    /// Rows on the page: 1 to [`MAX_LIMIT`]; `None` for 20.
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// The cursor of the next page; `None` on the last one. Opaque: only good for the same list.
    pub next: Option<String>,
}

/// A [`ListRequest`] that asks for what cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The cursor was not made here, or for another list.
    #[error("the cursor is not one of this list's")]
    Cursor,
    /// The limit is not between 1 and [`MAX_LIMIT`].
    #[error("a page has 1 to {MAX_LIMIT} rows, not {0}")]
    Limit(u32),
}

/// Longest partition key of a table in DynamoDB, in bytes. Source: "Service, account, and table quotas in
/// Amazon DynamoDB".
const LONGEST_ID: usize = 2048;
/// Longest sort key of an index in DynamoDB, in bytes. Source: as above.
const LONGEST_SORT: usize = 1024;

/// The last row of a page. One that is read from a cursor can be a key of an index: DynamoDB turns a query
/// away that begins at an empty or over-long key, and the caller would be told to try again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Told")]
pub struct Position {
    /// Its id.
    pub id: String,
    /// Its sort value.
    pub sort: String,
}

impl Position {
    /// Returns true if the id is a UUID and the sort value a time as [`sortable`] writes it.
    pub fn is_of_a_time(&self) -> bool {
        let time: Option<Timestamp> = self.sort.parse().ok();
        self.id.parse::<Uuid>().is_ok() && time.is_some_and(|time| sortable(time) == self.sort)
    }
}

/// A position as a cursor tells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    id: String,
    sort: String,
}

impl TryFrom<Told> for Position {
    type Error = BadRequest;

    fn try_from(Told { id, sort }: Told) -> Result<Self, BadRequest> {
        let fits = |key: &str, longest: usize| !key.is_empty() && key.len() <= longest;
        if fits(&id, LONGEST_ID) && fits(&sort, LONGEST_SORT) {
            Ok(Self { id, sort })
        } else {
            Err(BadRequest::Cursor)
        }
    }
}

/// Writes a cursor: opaque text that fits into a query string.
pub fn sealed(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::json!(place).to_string())
}

/// Reads a cursor that [`sealed`] wrote. Its list has to be checked by the caller.
///
/// # Errors
/// [`BadRequest::Cursor`]; also when a [`Position`] in it can be no key of an index.
pub fn opened<T: DeserializeOwned>(text: &str) -> Result<T, BadRequest> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadRequest::Cursor)?;
    serde_json::from_slice(&bytes).map_err(|_| BadRequest::Cursor)
}

/// A position with the list it belongs to: a cursor of one customer's list must not open another's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    index: String,
    partition: String,
    descending: bool,
    at: Position,
}

impl ListRequest {
    pub(crate) fn validated<'a>(&'a self, index: &'a Index) -> Result<List<'a>, BadRequest> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            return Err(BadRequest::Limit(limit));
        }
        let after = self.cursor.as_deref().map(|text| self.open(index, text)).transpose()?;
        Ok(List {
            index,
            partition: &self.partition,
            shard: None,
            range: Range::default(),
            descending: self.descending,
            after,
            limit: limit as usize,
        })
    }

    fn open(&self, index: &Index, text: &str) -> Result<Position, BadRequest> {
        let cursor: Cursor = opened(text)?;
        let ours = cursor.index == index.name
            && cursor.partition == self.partition
            && cursor.descending == self.descending;
        if ours { Ok(cursor.at) } else { Err(BadRequest::Cursor) }
    }

    pub(crate) fn cursor(&self, index: &Index, at: Position) -> String {
        sealed(&Cursor {
            index: index.name.to_owned(),
            partition: self.partition.clone(),
            descending: self.descending,
            at,
        })
    }
}
