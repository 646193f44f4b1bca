//! A view in memory: same semantics, no AWS. For tests, benches and simulation.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use event_store::Segment;
use kernel::Version;
use serde_json::{Map, Value};

use crate::{
    page::Position,
    projection::Projection,
    store::{
        Consistency, Entry, ID, KeyPage, List, Listed, Put, RowKey, Stamp, Stored, ViewError, ViewStore,
        ViewTable, check_fields, content, malformed,
    },
};

/// Rows are kept as JSON, as a table would: what does not survive serialising does not survive here.
#[derive(Debug, Clone)]
struct Record {
    stamp: Stamp,
    fields: Option<Map<String, Value>>,
}

/// Rows in memory. Clones share the same rows.
#[derive(Debug)]
pub struct MemoryViews<P> {
    rows: Arc<Mutex<BTreeMap<String, Record>>>,
    projection: PhantomData<fn() -> P>,
}

impl<P> Clone for MemoryViews<P> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), projection: PhantomData }
    }
}

impl<P: Projection> Default for MemoryViews<P> {
    fn default() -> Self {
        Self { rows: Arc::default(), projection: PhantomData }
    }
}

impl<P: Projection> MemoryViews<P> {
    /// An empty view.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same rows, as another version of the code sees them.
    #[must_use]
    pub fn seen_by<Q: Projection>(&self) -> MemoryViews<Q> {
        MemoryViews { rows: self.rows.clone(), projection: PhantomData }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        // A poisoned lock means that a test panicked elsewhere; the rows themselves are whole.
        self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn stored<P: Projection>(id: &str, record: Record) -> Stored<P::Row> {
    let Record { stamp, fields } = record;
    let (empty, fields) = (fields.is_none(), Value::Object(fields.unwrap_or_default()));
    content::<P, Value>(
        id,
        stamp,
        empty,
        fields,
        |fields| serde_json::from_value(fields).map_err(|e| e.to_string()),
        Ok,
    )
}

#[async_trait]
impl<P: Projection> ViewStore<P> for MemoryViews<P> {
    async fn get(&self, id: &str, _: Consistency) -> Result<Option<Stored<P::Row>>, ViewError> {
        let record = self.rows().get(id).cloned();
        Ok(record.map(|record| stored::<P>(id, record)))
    }

    async fn put(
        &self,
        id: &str,
        row: Option<&P::Row>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        let fields = match row.map(serde_json::to_value) {
            None => None,
            Some(Ok(Value::Object(fields))) => {
                check_fields::<P>(id, fields.keys(), fields.get(ID).and_then(Value::as_str))?;
                Some(fields)
            }
            Some(Ok(other)) => return Err(malformed::<P>(id, format!("it serialises as {other}"))),
            Some(Err(error)) => return Err(malformed::<P>(id, error)),
        };
        let mut rows = self.rows();
        if rows.get(id).map(|record| record.stamp) != before {
            return Ok(Put::Conflict);
        }
        rows.insert(id.to_owned(), Record { stamp: Stamp { schema: P::SCHEMA, applied }, fields });
        Ok(Put::Written)
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<P::Row>, ViewError> {
        let (rows, partition) = (self.rows(), list.key());
        let mut found: Vec<(Position, Record)> = rows
            .iter()
            .filter_map(|(id, record)| {
                let field = |name| record.fields.as_ref()?.get(name)?.as_str();
                (field(list.index.partition)? == partition).then_some(())?;
                let sort = field(list.index.sort)?.to_owned();
                list.range.contains(&sort).then_some(())?;
                Some((Position { id: id.clone(), sort }, record.clone()))
            })
            .collect();
        let key = |position: &Position| (position.sort.clone(), position.id.clone());
        found.sort_by_key(|(position, _)| key(position));
        if list.descending {
            found.reverse();
        }
        let mut page = found.into_iter().filter(|(position, _)| match &list.after {
            None => true,
            Some(after) if list.descending => key(position) < key(after),
            Some(after) => key(position) > key(after),
        });
        let taken: Vec<(Position, Record)> = page.by_ref().take(list.limit).collect();
        let more = page.next().is_some();
        let next = taken.last().filter(|_| more).map(|(position, _)| position.clone());
        let rows = taken
            .into_iter()
            .map(|(at, record)| {
                let stored = (!list.index.keys_only).then(|| stored::<P>(&at.id, record));
                Entry { at, stored }
            })
            .collect();
        Ok(Listed { rows, next })
    }
}

#[async_trait]
impl<P: Projection> ViewTable for MemoryViews<P> {
    async fn keys(
        &self,
        segment: Segment,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<KeyPage, ViewError> {
        let rows = self.rows();
        let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_owned()));
        let mut found = rows
            .range((from, Bound::Unbounded))
            .filter(|(id, _)| in_segment(id, segment))
            .map(|(id, record)| RowKey { id: id.clone(), stamp: record.stamp });
        let keys: Vec<RowKey> =
            found.by_ref().take(limit.map_or(usize::MAX, |limit| limit as usize)).collect();
        let more = found.next().is_some();
        let after = keys.last().filter(|_| more).map(|key| key.id.clone());
        Ok(KeyPage { keys, after })
    }

    async fn remove(&self, key: &RowKey) -> Result<Put, ViewError> {
        let mut rows = self.rows();
        if rows.get(&key.id).map(|record| record.stamp) != Some(key.stamp) {
            return Ok(Put::Conflict);
        }
        rows.remove(&key.id);
        Ok(Put::Written)
    }
}

/// Some split of the ids into disjoint segments, for tables that are held in memory.
pub fn in_segment(id: &str, segment: Segment) -> bool {
    let sum = id.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    sum % segment.total.max(1) == segment.index
}
