//! Records in memory, for tests and benches.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{Progress, Record};
use crate::store::{Put, ViewError};

/// Records in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryProgress {
    records: Arc<Mutex<BTreeMap<String, Record>>>,
}

#[async_trait]
impl Progress for MemoryProgress {
    async fn get(&self, key: &str) -> Result<Option<Record>, ViewError> {
        Ok(self.records.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn put(&self, key: &str, record: &Record) -> Result<Put, ViewError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.get(key).map_or(0, |stored| stored.revision) != record.revision {
            return Ok(Put::Conflict);
        }
        records.insert(key.to_owned(), Record { revision: record.revision + 1, body: record.body.clone() });
        Ok(Put::Written)
    }
}
