//! Where a batch is worked on: rows as they were read from the index, and as events make them.
//!
//! It is a [`ViewStore`] in memory, so the same [`projection::Projector`] that keeps every other view decides here what is a
//! duplicate, what follows and what has to be healed from the event table. What came of it is then saved at once.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use kernel::Version;
use projection::{Consistency, Content, List, Listed, Projection, Put, Stamp, Stored, ViewError, ViewStore};

use crate::{
    index::{Key, Record},
    rows::Indexed,
};

/// The rows of a batch. Clones share the same rows.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    slots: Arc<Mutex<BTreeMap<Key, Slot>>>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    saved: Option<Record>,
    now: Option<Record>,
}

impl Desk {
    /// Lays out what the index has.
    pub fn lay_out(&self, records: Vec<Record>) {
        let mut slots = self.slots();
        for record in records {
            let slot = Slot { saved: Some(record.clone()), now: Some(record.clone()) };
            slots.insert(record.key, slot);
        }
    }

    /// Whether anything is known under this key.
    pub fn knows(&self, key: Key) -> bool {
        self.slots().get(&key).is_some_and(|slot| slot.now.is_some())
    }

    /// The record under this key, as events made it.
    pub fn record(&self, key: Key) -> Option<Record> {
        self.slots().get(&key).and_then(|slot| slot.now.clone())
    }

    /// All records, as events made them.
    pub fn everything(&self) -> Vec<Record> {
        self.slots().values().filter_map(|slot| slot.now.clone()).collect()
    }

    /// Replaces the record under its key.
    pub fn replace(&self, record: Record) {
        let key = record.key;
        self.slots().entry(key).or_default().now = Some(record);
    }

    /// Returns the records that events changed.
    pub fn to_save(&self) -> Vec<Record> {
        let slots = self.slots();
        slots.values().filter(|slot| slot.now != slot.saved).filter_map(|slot| slot.now.clone()).collect()
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        // A poisoned lock means that a test panicked elsewhere; the rows themselves are whole.
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn malformed<P: Projection>(id: &str, why: impl ToString) -> ViewError {
    ViewError::Malformed { view: P::NAME, id: id.to_owned(), why: why.to_string() }
}

fn key<P: Indexed>(id: &str) -> Result<Key, ViewError> {
    Ok(Key { kind: P::KIND, id: id.parse().map_err(|e| malformed::<P>(id, e))? })
}

fn row<P: Indexed>(record: &Record) -> Result<Option<P::Row>, String> {
    record.row.clone().map(serde_json::from_value).transpose().map_err(|e| e.to_string())
}

/// The row in a record.
pub(crate) fn stored<P: Indexed>(record: &Record) -> Stored<P::Row> {
    let stamp = Stamp { schema: record.schema, applied: record.applied };
    let content = match record.schema.cmp(&P::SCHEMA) {
        Ordering::Greater => Content::Newer,
        Ordering::Less => Content::Outdated(None),
        // What cannot be read is folded anew.
        Ordering::Equal => match row::<P>(record) {
            Ok(row) => row.map_or(Content::Empty, Content::Row),
            Err(error) => {
                tracing::warn!(key = %record.key, error, "record cannot be read");
                Content::Outdated(None)
            }
        },
    };
    Stored { stamp, content }
}

/// The record of a row.
pub(crate) fn record<P: Indexed>(
    key: Key,
    row: Option<&P::Row>,
    applied: Version,
) -> Result<Record, ViewError> {
    let row = row.map(serde_json::to_value).transpose();
    let row = row.map_err(|e| malformed::<P>(&key.to_string(), e))?;
    Ok(Record { key, schema: P::SCHEMA, applied, row })
}

#[async_trait]
impl<P: Indexed> ViewStore<P> for Desk {
    async fn get(&self, id: &str, _: Consistency) -> Result<Option<Stored<P::Row>>, ViewError> {
        Ok(self.record(key::<P>(id)?).map(|record| stored::<P>(&record)))
    }

    async fn put(
        &self,
        id: &str,
        content: Option<&P::Row>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        let key = key::<P>(id)?;
        let record = record::<P>(key, content, applied)?;
        let mut slots = self.slots();
        let slot = slots.entry(key).or_default();
        let stamp = slot.now.as_ref().map(|now| Stamp { schema: now.schema, applied: now.applied });
        if stamp != before {
            return Ok(Put::Conflict);
        }
        slot.now = Some(record);
        Ok(Put::Written)
    }

    async fn list(&self, _: &List<'_>) -> Result<Listed<P::Row>, ViewError> {
        let why = "rows of a batch are not listed".to_owned();
        Err(ViewError::Refused { view: P::NAME, operation: "list", why })
    }
}
