//! The port behind the archive: objects with names, written under a condition.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use kernel::Timestamp;

use crate::index::IndexError;

/// Where objects are kept. [`crate::s3::S3Objects`] and [`MemoryObjects`] implement it.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Reads an object, unless it still has the tag `known`. What was written before is seen.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError>;

    /// Writes an object, if the condition holds: checked and written as one.
    ///
    /// # Errors
    /// [`IndexError`]. After [`IndexError::Unavailable`] it may have been written.
    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError>;

    /// All objects whose names begin so.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError>;

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// [`IndexError`].
    async fn delete(&self, name: &str) -> Result<(), IndexError>;
}

/// What tells one content of an object from another (its `ETag`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub String);

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// This.
    Object {
        /// Its tag.
        tag: Tag,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// It still has the tag that is known.
    Unchanged,
    /// There is no such object.
    Missing,
}

/// When an object may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is none of this name.
    Missing,
    /// It still has this tag.
    Still(&'a Tag),
    /// Always.
    Any,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrote {
    /// It is written, and has this tag now.
    Written(Tag),
    /// The condition does not hold; nothing was written.
    Refused,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was written.
    pub at: Timestamp,
}

/// Objects in memory: for tests, benches and simulation. Clones share the same objects.
#[derive(Clone, Default)]
pub struct MemoryObjects {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, (Tag, Vec<u8>)>,
    writes: u64,
    bytes: u64,
    now: Timestamp,
}

impl MemoryObjects {
    /// No objects yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many objects were written so far, and how many bytes.
    pub fn written(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.writes, inner.bytes)
    }

    /// How many objects there are, and how many bytes.
    pub fn kept(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.objects.len(), inner.objects.values().map(|(_, bytes)| bytes.len()).sum())
    }

    /// What time objects are written at from now on; they have no clock.
    pub fn at(&self, now: Timestamp) {
        self.inner().now = now;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock means that a test panicked elsewhere; the objects themselves are whole.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError> {
        Ok(match self.inner().objects.get(name) {
            None => Got::Missing,
            Some((tag, _)) if Some(tag) == known => Got::Unchanged,
            Some((tag, bytes)) => Got::Object { tag: tag.clone(), bytes: bytes.clone() },
        })
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError> {
        let mut inner = self.inner();
        let holds = match (inner.objects.get(name), condition) {
            (_, Condition::Any) | (None, Condition::Missing) => true,
            (Some((tag, _)), Condition::Still(known)) => tag == known,
            (None, Condition::Still(_)) | (Some(_), Condition::Missing) => false,
        };
        if !holds {
            return Ok(Wrote::Refused);
        }
        inner.writes += 1;
        inner.bytes += bytes.len() as u64;
        let tag = Tag(format!("{}@{}", inner.writes, inner.now));
        inner.objects.insert(name.to_owned(), (tag.clone(), bytes));
        Ok(Wrote::Written(tag))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError> {
        let inner = self.inner();
        let found = inner.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let at = |tag: &Tag| tag.0.split_once('@').and_then(|(_, at)| at.parse().ok()).unwrap_or_default();
        Ok(found.map(|(name, (tag, _))| Listed { name: name.clone(), at: at(tag) }).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), IndexError> {
        self.inner().objects.remove(name);
        Ok(())
    }
}
