//! The log in memory: same semantics, no AWS. For tests, benches and simulation.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use kernel::{StreamId, Version};

use crate::{
    codec,
    commit::{Commit, NewCommit},
    log::{AppendError, CommitLog, Page, ScanPage, Segment, StoreError},
};

type Table = BTreeMap<(StreamId, Version), Commit>;

/// Commits in memory. Clones share the same commits.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog(Arc<Mutex<Table>>);

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A poisoned lock means that a test panicked elsewhere; the table itself is whole, since
        // nothing in here can panic half way through a change.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl CommitLog for MemoryLog {
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError> {
        let commit = commit.as_commit();
        codec::checked(commit)?;
        let key = (commit.stream.clone(), commit.version);
        let mut table = self.table();
        if let Some(winner) = table.get(&key) {
            return Err(AppendError::Taken(Box::new(winner.clone())));
        }
        table.insert(key, commit.clone());
        Ok(())
    }

    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError> {
        let table = self.table();
        let range = (stream.clone(), Version::NONE)..=(stream.clone(), upto);
        let mut commits = table.range(range).rev().map(|(_, commit)| commit);
        let limit = limit.map_or(usize::MAX, |l| l as usize);
        let page: Vec<Commit> = commits.by_ref().take(limit).cloned().collect();
        Ok(Page { commits: page, more: commits.next().is_some() })
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        let table = self.table();
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let mut commits = table
            .range((from, Bound::Unbounded))
            .filter(|((stream, _), _)| segment_of(stream, segment.total) == segment.index);
        let page: Vec<Commit> =
            commits.by_ref().take(limit.map_or(usize::MAX, |l| l as usize)).map(|(_, c)| c.clone()).collect();
        let after = match commits.next() {
            Some(_) => page.last().map(|c| (c.stream.clone(), c.version)),
            None => None,
        };
        Ok(ScanPage { commits: page, unreadable: Vec::new(), after })
    }
}

/// FNV-1a: stable across releases, unlike the standard library's hasher.
fn segment_of(stream: &StreamId, total: u32) -> u32 {
    let hash = stream.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u32::try_from(hash % u64::from(total.max(1))).unwrap_or_default()
}
