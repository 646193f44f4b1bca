//! Lists from an index, page by page.

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

/// A global secondary index that projects all attributes. Both attributes are strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The attribute that chooses the partition. Rows without it are not in the index.
    pub partition: &'static str,
    /// The attribute that gives the order. Rows without it are not in the index.
    pub sort: &'static str,
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
