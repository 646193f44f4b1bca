//! The progress of sweeps: one record for each sweep and one for each of its parts.
//!
//! A record is written only over exactly the revision that was read. So two workers on one part, or an
//! operator who stops a sweep while another begins it, never undo each other's work. Only the progress is
//! lost with these records, never a row.

mod dynamo;
mod memory;

use async_trait::async_trait;
use kernel::{
    StreamId, Timestamp, Uuid, Version,
    ports::{Backoff, Ports},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use dynamo::{DynamoProgress, create_progress};
pub use memory::MemoryProgress;

use crate::{
    store::{Put, ViewError},
    sweep::{Report, SweepError},
};

/// Name of the store of records in errors.
pub(crate) const SWEEPS: &str = "sweeps";

/// Pauses between attempts on a record that others write at the same time.
const BACKOFF: Backoff = Backoff {
    base: std::time::Duration::from_millis(20),
    cap: std::time::Duration::from_millis(500),
    retries: 8,
};

/// The store of the records. [`DynamoProgress`] and [`MemoryProgress`] implement it.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Reads a record consistently.
    ///
    /// # Errors
    /// [`ViewError`].
    async fn get(&self, key: &str) -> Result<Option<Record>, ViewError>;

    /// Writes a record as the next revision, if the stored one is still of its revision: 0 for none.
    ///
    /// # Errors
    /// [`ViewError`]. After [`ViewError::Unavailable`] it may have been written.
    async fn put(&self, key: &str, record: &Record) -> Result<Put, ViewError>;
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How often it was written: the optimistic lock on it.
    pub revision: u64,
    /// A [`Sweep`] or a [`Part`].
    pub body: Value,
}

/// A sweep of one view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// Name of the sweep, by which its parts are told from those of an earlier one.
    pub id: Uuid,
    /// Time of its beginning.
    pub started_at: Timestamp,
    /// Whether rows are only compared with their events, and nothing is written.
    pub only_compare: bool,
    /// Schema of the rows that the code which began it writes.
    pub schema: u16,
    /// Number of parts.
    pub parts: u32,
    /// Events a second over all parts; none for no limit.
    pub rate: Option<u32>,
    /// Reason for which it stopped; it goes on when it is begun again.
    pub stopped: Option<String>,
}

/// The progress in one part of the event table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// [`Sweep::id`] of its sweep.
    pub sweep: Uuid,
    /// Place at which to go on.
    pub at: At,
    /// Commits of any category that were read.
    pub commits: u64,
    /// Events of the view's streams among them.
    pub events: u64,
    /// Rows that were compared with their events.
    pub rows: u64,
    /// Findings so far.
    pub report: Report,
    /// Time of the last write.
    pub updated_at: Timestamp,
}

/// A place in a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum At {
    /// The first commit.
    #[default]
    Start,
    /// The commit after this one.
    Commit {
        /// Its stream.
        stream: StreamId,
        /// Its first version.
        version: Version,
    },
    /// The first row of the view: rows without events are looked for after the events.
    Rows,
    /// The row after this one.
    Row {
        /// Its id.
        id: String,
    },
    /// The end.
    End,
}

/// The progress of a view's last sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepState {
    /// The sweep.
    pub sweep: Sweep,
    /// Its parts, as far as they have begun.
    pub parts: Vec<Part>,
}

impl SweepState {
    /// Reads the progress of a view's last sweep; none if there never was one.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn of(progress: &dyn Progress, view: &str) -> Result<Option<Self>, ViewError> {
        Ok(read_state(progress, view).await?.1)
    }

    /// Whether every part came to its end.
    pub fn is_over(&self) -> bool {
        self.parts.len() == self.sweep.parts as usize && self.parts.iter().all(|part| part.at == At::End)
    }

    /// Commits of any category that were read.
    pub fn commits(&self) -> u64 {
        self.parts.iter().map(|part| part.commits).sum()
    }

    /// Events of the view's streams that were read.
    pub fn events(&self) -> u64 {
        self.parts.iter().map(|part| part.events).sum()
    }

    /// Rows that were compared with their events.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Findings of all parts.
    pub fn report(&self) -> Report {
        let mut all = Report::default();
        self.parts.iter().for_each(|part| all.add(part.report.clone()));
        all
    }

    /// Time of the last sign of life.
    pub fn updated_at(&self) -> Timestamp {
        self.parts.iter().map(|part| part.updated_at).max().unwrap_or(self.sweep.started_at)
    }
}

/// Stops a view's sweep, if one is under way: its workers end within seconds. Says whether there was one.
///
/// # Errors
/// [`SweepError`].
pub async fn stop_sweep(
    progress: &dyn Progress,
    ports: &Ports,
    view: &str,
    why: &str,
) -> Result<bool, SweepError> {
    let mut under_way = false;
    change(progress, ports, view, |state| {
        let running = state.filter(|state| !state.is_over() && state.sweep.stopped.is_none());
        under_way = running.is_some();
        running.map(|state| Sweep { stopped: Some(why.to_owned()), ..state.sweep })
    })
    .await?;
    Ok(under_way)
}

/// Changes the record of a view's sweep, again on every one that others put in between. `change` gives the
/// new one, or none to leave it.
pub(crate) async fn change(
    progress: &dyn Progress,
    ports: &Ports,
    view: &str,
    mut change: impl FnMut(Option<SweepState>) -> Option<Sweep> + Send,
) -> Result<(), SweepError> {
    for attempt in 0..=BACKOFF.retries {
        let (revision, state) = read_state(progress, view).await?;
        let Some(changed) = change(state) else { return Ok(()) };
        match write(progress, view, revision, &changed).await? {
            Put::Written => return Ok(()),
            Put::Conflict => ports.timer.sleep(BACKOFF.pause(attempt, &*ports.random)).await,
        }
    }
    Err(SweepError::Passing(format!("others changed the record of the sweep of {view} at the same time")))
}

async fn read_state(progress: &dyn Progress, view: &str) -> Result<(u64, Option<SweepState>), ViewError> {
    let (revision, sweep) = read::<Sweep>(progress, view).await?;
    let Some(sweep) = sweep else { return Ok((revision, None)) };
    let mut parts = Vec::new();
    for index in 0..sweep.parts {
        let (_, part) = read::<Part>(progress, &part_key(view, index)).await?;
        parts.extend(part.filter(|part| part.sweep == sweep.id));
    }
    Ok((revision, Some(SweepState { sweep, parts })))
}

/// Key of a part's record.
pub(crate) fn part_key(view: &str, index: u32) -> String {
    format!("{view}#{index}")
}

/// Reads what is recorded under a key, and its revision: 0 when there is nothing.
pub(crate) async fn read<T: DeserializeOwned>(
    progress: &dyn Progress,
    key: &str,
) -> Result<(u64, Option<T>), ViewError> {
    let Some(Record { revision, body }) = progress.get(key).await? else { return Ok((0, None)) };
    match serde_json::from_value(body) {
        Ok(body) => Ok((revision, Some(body))),
        Err(error) => {
            // Other code wrote it. Only progress is lost when it is overwritten.
            tracing::warn!(key, %error, "record of a sweep cannot be read");
            Ok((revision, None))
        }
    }
}

/// Writes a record over this revision.
pub(crate) async fn write<T: Serialize>(
    progress: &dyn Progress,
    key: &str,
    revision: u64,
    body: &T,
) -> Result<Put, ViewError> {
    let body = serde_json::to_value(body).map_err(|error| ViewError::Malformed {
        view: SWEEPS,
        id: key.to_owned(),
        why: error.to_string(),
    })?;
    progress.put(key, &Record { revision, body }).await
}
