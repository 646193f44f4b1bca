//! A commit log in memory that keeps what was appended, in order, so that the same history can be put into
//! another log: a long stream in DynamoDB then costs its writes only, not one load for each.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::{AppendError, CommitLog, MemoryLog, NewCommit, Page, ScanPage, Segment, StoreError};
use kernel::{StreamId, Version};

/// The recording log. Clones share one recording.
#[derive(Debug, Clone, Default)]
pub struct RecordingLog {
    memory: MemoryLog,
    appended: Arc<Mutex<Vec<NewCommit>>>,
}

impl RecordingLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was appended so far, in order.
    pub fn appended(&self) -> Vec<NewCommit> {
        self.appended.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Puts the whole recording into another log, in order.
    ///
    /// # Panics
    /// When the other log does not take it.
    pub async fn play_into(&self, log: &dyn CommitLog) {
        for commit in self.appended() {
            log.append(&commit).await.expect("a recorded commit is appended");
        }
    }
}

#[async_trait]
impl CommitLog for RecordingLog {
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError> {
        self.memory.append(commit).await?;
        self.appended.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(commit.clone());
        Ok(())
    }

    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError> {
        self.memory.newest(stream, upto, limit).await
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        self.memory.scan(segment, after, limit).await
    }
}
