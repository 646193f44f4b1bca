//! What views tell, as queries and queues understand it.

use contracts::Envelope;
use projection::{ApplyError, BatchOutcome, DeliverError, ListError, ListRequest, ReadError, ViewError};

use crate::{Call, Fault, policy::undecodable};

impl From<ViewError> for Fault {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Unavailable { .. } | ViewError::AwaitsSweep { .. } => Fault::unavailable(error),
            ViewError::Refused { .. } | ViewError::FromTheFuture { .. } | ViewError::Malformed { .. } => {
                Fault::internal(error)
            }
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotReached { .. } => Fault::new(409, "VERSION_NOT_REACHED", error.to_string()),
            ReadError::Events(error) => error.into(),
            ReadError::View(_) => Fault::unavailable(error),
            ReadError::NotAnId(_) | ReadError::Poison { .. } => Fault::internal(error),
        }
    }
}

impl From<ListError> for Fault {
    fn from(error: ListError) -> Self {
        match error {
            ListError::BadRequest(_) => Fault::invalid("QUERY_IS_INVALID", error.to_string()),
            ListError::Read(error) => error.into(),
            ListError::View(_) => Fault::unavailable(error),
        }
    }
}

/// One result per event of a batch, in order: which of them have to come again. What became of the batch goes into the metrics.
pub fn settled(events: &[Envelope], outcome: BatchOutcome) -> Vec<Result<(), Fault>> {
    crate::metrics::batch(events, &outcome);
    let mut results: Vec<Result<(), Fault>> = events.iter().map(|_| Ok(())).collect();
    for failed in outcome.failed {
        results[failed.index] = Err(match &failed.error {
            told @ DeliverError::Poison { error: ApplyError::Decode(error), .. } => undecodable(error, told),
            error if error.may_pass() => Fault::unavailable(error),
            error => Fault::poison(error),
        });
    }
    results
}

impl Call {
    /// What a list is asked for: `?limit=` (1 to 100, 20 when nothing is said) and `?cursor=`, the answer's
    /// `next` of the page before.
    ///
    /// # Errors
    /// 400.
    pub fn list_request(&self, partition: impl Into<String>, descending: bool) -> Result<ListRequest, Fault> {
        let limit = self.query_number("limit")?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        let cursor = self.query.get("cursor").cloned();
        Ok(ListRequest { partition: partition.into(), descending, cursor, limit })
    }
}
