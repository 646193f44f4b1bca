//! The port behind product search: an index that keeps what it is told, and finds it again.
//!
//! [`crate::archive::Archive`] implements it with Tantivy over objects in S3. Another engine (OpenSearch Serverless, see
//! docs/decisions/0012) would be another implementation, and nothing else would change: what is indexed, in which version,
//! and what is searched for is decided on this side of the port.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use contracts::ids::{ProductId, StoreId};
use event_store::Segment;
use kernel::{Money, Uuid, Version};
use projection::{Consistency, DeliverError, SweepError, ViewError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where products are searched. One set of tests describes how implementations behave.
#[async_trait]
pub trait ProductIndex: Send + Sync {
    /// The products that fit, best first; see [`Wanted`]. May be some seconds behind what was saved; the implementation
    /// says how many.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn search(&self, wanted: &Wanted) -> Result<Found, IndexError>;

    /// What is kept under these keys. Keys of which nothing is known are left out. Read strongly, it is as it is now; else it may
    /// be as far behind as a search.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn records(&self, keys: &[Key], consistency: Consistency) -> Result<Records, IndexError>;

    /// The first `limit` records of a segment after a key, in the order of their keys; as new as [`ProductIndex::records`] are.
    /// Segments are a partition of the ids.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn page(
        &self,
        segment: Segment,
        after: Option<Key>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Vec<Record>, IndexError>;

    /// Replaces these records, all of them or none, if nobody saved anything since `revision`. When it returns, they
    /// survive a crash.
    ///
    /// # Errors
    /// [`IndexError`]. After [`IndexError::Unavailable`] they may have been saved.
    async fn save(&self, revision: &Revision, records: &[Record]) -> Result<Saved, IndexError>;

    /// Begins an empty index in the place of one that is [damaged](IndexError::Damaged). A sweep fills it.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn reset(&self) -> Result<(), IndexError>;

    /// Removes the records under these keys, all of them or none, if nobody saved anything since `revision`.
    ///
    /// # Errors
    /// [`IndexError`]. After [`IndexError::Unavailable`] they may have been removed.
    async fn remove(&self, revision: &Revision, keys: &[Key]) -> Result<Saved, IndexError>;
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A product: the row of [`crate::rows::Products`].
    Product,
    /// A store: the row of [`catalogue::Stores`].
    Store,
    /// The stock of a product: the row of [`crate::rows::Stock`].
    Stock,
}

/// Names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// What it is about.
    pub kind: Kind,
    /// Of which product or store.
    pub id: Uuid,
}

/// As operators read it, for example `stock 0198c0de-0000-7000-8000-000000000001`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Product => "product",
            Kind::Store => "store",
            Kind::Stock => "stock",
        };
        write!(f, "{kind} {}", self.id)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let why = || format!("{text:?} does not name a record of the product index");
        let (kind, id) = text.split_once(' ').ok_or_else(why)?;
        let kind = match kind {
            "product" => Kind::Product,
            "store" => Kind::Store,
            "stock" => Kind::Stock,
            _ => return Err(why()),
        };
        Ok(Self { kind, id: id.parse().map_err(|_| why())? })
    }
}

/// A row with its version, as [`projection::ViewStore`] keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it is about.
    pub key: Key,
    /// [`projection::Projection::SCHEMA`] of its writer.
    pub schema: u16,
    /// Version of the last event in it.
    pub applied: Version,
    /// The row; none when no event so far was relevant.
    pub row: Option<Value>,
}

/// State of an index: another one after each change, and never one that was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(pub String);

/// Records, and what they are as of.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The state of the index that they were read from.
    pub revision: Revision,
    /// The records.
    pub records: Vec<Record>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// It is done.
    Saved,
    /// Somebody else changed the index since it was read; nothing was changed.
    Conflict,
}

/// What is searched for.
///
/// A product fits when each word of the text is found in its name, its description or its SKU: as it is, as the beginning
/// of a word, or with a typo (one letter wrong, missing, too much, or two swapped, in words of four letters or more; two of
/// them in words of eight or more). Case and accents do not count.
///
/// A word that is there as it is counts for more than one that begins with it, and that for more than one with a typo; in
/// the name or the SKU it counts for more than in the description; and a product that is called, or numbered, exactly so
/// comes first. How much a product counts depends on the product and the text alone, never on what else is in the index:
/// so pages stay in step while the index changes. What counts the same comes in the order of the ids, which is that in
/// which products were added. Without a text, all products fit alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The text; may be empty.
    pub text: String,
    /// Only products of this store.
    pub store_id: Option<StoreId>,
    /// Only products that cost this or more.
    pub min_price: Option<Money>,
    /// Only products that cost this or less.
    pub max_price: Option<Money>,
    /// Only products that can, or cannot, be had now.
    pub available: Option<bool>,
    /// Only products of stores that take part in the mall.
    pub only_participating: bool,
    /// Only what comes after this.
    pub after: Option<Place>,
    /// Most products on the page.
    pub limit: usize,
}

/// Where a product stands among those that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// How much it counts.
    pub score: u32,
    /// Its id.
    pub id: ProductId,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The products, best first.
    pub products: Vec<FoundProduct>,
    /// Where the next page starts; none when this is the last.
    pub next: Option<Place>,
}

/// A product that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundProduct {
    /// The product.
    pub product: crate::rows::ProductRow,
    /// What its store is called.
    pub store_name: String,
    /// Whether it can be had now.
    pub available: bool,
}

/// The index could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It did not answer, or turned the request away; the same request may work later.
    #[error("the product index is unavailable for {operation}: {why}")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// What was said.
        why: String,
    },
    /// The request will not work however often it is sent.
    #[error("the product index refuses {operation}: {why}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// What was said.
        why: String,
    },
    /// What was read makes no sense. A sweep begins it anew.
    #[error("the product index is damaged: {0}")]
    Damaged(String),
}

/// Name of the index as a view, in errors and for operators.
pub const VIEW: &str = "product-index";

impl From<IndexError> for ViewError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable { operation, why } => Self::Unavailable { view: VIEW, operation, why },
            IndexError::Refused { operation, why } => Self::Refused { view: VIEW, operation, why },
            IndexError::Damaged(why) => Self::Malformed { view: VIEW, id: "manifest".to_owned(), why },
        }
    }
}

impl From<IndexError> for DeliverError {
    fn from(error: IndexError) -> Self {
        ViewError::from(error).into()
    }
}

impl From<IndexError> for SweepError {
    fn from(error: IndexError) -> Self {
        ViewError::from(error).into()
    }
}
