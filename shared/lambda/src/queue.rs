//! Messages of an SQS queue: events of the bus, and the ways in which a consumer gets rid of one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use serde::Deserialize;

/// Longest time that a message waits for its next try. Trouble that lasts longer is looked at every two and a
/// half minutes in the mean.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Wait after the first failure, before jitter; it doubles with each receive.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Receives from which on a message is worked on alone. A message that kills its worker looks like any other,
/// except that nothing is ever said of it; five receives are more than a busy deployment causes.
pub(crate) const SUSPICIOUS: u32 = 5;

/// Receives after which a message is parked that the business refuses: two minutes in the mean. An event may
/// come before one that it rests on.
pub(crate) const REFUSED: u32 = 8;

/// A queue that feeds a consumer, and its dead-letter queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Hides a message for this time.
    ///
    /// # Errors
    /// In words. The message then comes again after the queue's own visibility time-out.
    async fn hide(&self, message: &Message, wait: Duration) -> Result<(), String>;

    /// Sends a copy of a message to the dead-letter queue, with the reason.
    ///
    /// # Errors
    /// In words. The copy may have been sent.
    async fn park(&self, message: &Message, reason: &str) -> Result<(), String>;

    /// Deletes a message.
    ///
    /// # Errors
    /// In words. The message may then come again.
    async fn delete(&self, message: &Message) -> Result<(), String>;
}

/// A queue that only remembers what was asked of it, for tests. Clones share the memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryQueue {
    asked: Arc<Mutex<Asked>>,
}

/// What was asked of a [`MemoryQueue`], by message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Messages that were hidden, and for how long.
    pub hidden: BTreeMap<String, Duration>,
    /// Messages that were parked, with their reasons.
    pub parked: BTreeMap<String, String>,
    /// Messages that were deleted, in this order.
    pub deleted: Vec<String>,
    /// Whether parking fails.
    pub refuses: bool,
}

impl MemoryQueue {
    /// A copy of the memory.
    pub fn asked(&self) -> Asked {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets parking fail from now on.
    pub fn refuse(&self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).refuses = true;
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn hide(&self, message: &Message, wait: Duration) -> Result<(), String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.hidden.insert(message.id.clone(), wait);
        Ok(())
    }

    async fn park(&self, message: &Message, reason: &str) -> Result<(), String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.refuses {
            return Err("AccessDenied".to_owned());
        }
        asked.parked.insert(message.id.clone(), reason.to_owned());
        Ok(())
    }

    async fn delete(&self, message: &Message) -> Result<(), String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).deleted.push(message.id.clone());
        Ok(())
    }
}

/// A message as Lambda hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Id of the message.
    pub id: String,
    /// Handle by which it is hidden or deleted.
    pub receipt: String,
    /// ARN of its queue.
    pub queue: String,
    /// Receives so far, with this one.
    pub received: u32,
    /// Body.
    pub body: String,
}

impl Message {
    /// The messages of a batch.
    pub(crate) fn all(event: SqsEvent) -> Vec<Message> {
        event.records.into_iter().map(Self::of).collect()
    }

    fn of(message: SqsMessage) -> Self {
        let received = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Self {
            id: message.message_id.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
            queue: message.event_source_arn.unwrap_or_default(),
            received: received.unwrap_or(1),
            body: message.body.unwrap_or_default(),
        }
    }

    /// The detail of the bus event in it.
    pub(crate) fn detail<D: for<'de> Deserialize<'de>>(&self) -> Result<D, String> {
        #[derive(Deserialize)]
        struct BusEvent<D> {
            detail: D,
        }
        serde_json::from_str::<BusEvent<D>>(&self.body).map(|event| event.detail).map_err(|e| e.to_string())
    }

    /// Time to the next try: doubled with each receive, with full jitter, at most [`LONGEST_WAIT`]. `unit` is
    /// uniform in 0 to 1. At least a second, because none would spend a receive on nothing.
    pub(crate) fn wait(&self, unit: f64) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.received.saturating_sub(1).min(16));
        doubled.min(LONGEST_WAIT).mul_f64(unit).max(Duration::from_secs(1))
    }
}
