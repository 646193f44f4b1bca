//! Looking into a queue without keeping what is in it from others for longer than the look takes.
//!
//! SQS has no way to look: a message that is received is hidden for a while. So what was received is released again as
//! soon as it was looked at. Should the look be interrupted, it comes back by itself after [`HIDDEN`].

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName};
use jiff::Timestamp;

use super::{
    letter::{Content, Letter},
    portions::{HIDDEN, Queue},
};
use crate::{deployed::Deployed, errors::Result, target::aws};

/// A look ends before the first messages come back by themselves, and would be seen twice.
const LOOK: Duration = Duration::from_secs(45);

/// What a look found.
pub struct Look {
    /// Oldest first.
    pub letters: Vec<Letter>,
    /// Whether there was no time, or no room, for all.
    pub more: bool,
}

/// A queue of the stack.
pub struct DeadLetters<'a> {
    mall: &'a Deployed,
    url: &'a str,
}

impl<'a> DeadLetters<'a> {
    /// The queue with this URL.
    pub fn at(mall: &'a Deployed, url: &'a str) -> Self {
        Self { mall, url }
    }
}

/// How long a message is hidden, as SQS wants it.
fn hidden() -> i32 {
    i32::try_from(HIDDEN.as_secs()).unwrap_or(i32::MAX)
}

impl Queue for DeadLetters<'_> {
    async fn receive(&self, room: usize) -> Result<Vec<Letter>> {
        let asked = self
            .mall
            .sqs
            .receive_message()
            .queue_url(self.url)
            .max_number_of_messages(i32::try_from(room.clamp(1, 10)).unwrap_or(10))
            .visibility_timeout(hidden())
            // Without waiting, only some of SQS's servers are asked.
            .wait_time_seconds(1)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let answer = asked.send().await.map_err(aws("receiving dead letters"))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(letter).collect())
    }

    async fn hold(&self, letter: &Letter) -> Result<()> {
        let held =
            self.mall.sqs.change_message_visibility().queue_url(self.url).receipt_handle(&letter.receipt);
        held.visibility_timeout(hidden()).send().await.map_err(aws("holding a dead letter"))?;
        Ok(())
    }

    async fn release(&self, letters: &[&Letter]) -> Result<()> {
        for batch in letters.chunks(10) {
            let entries = batch.iter().enumerate().filter_map(|(index, letter)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&letter.receipt)
                    .visibility_timeout(0)
                    .build()
                    .ok()
            });
            // The answer says of each how it went: one that fails has come back by itself, or somebody else has it.
            self.mall
                .sqs
                .change_message_visibility_batch()
                .queue_url(self.url)
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(aws("releasing dead letters"))?;
        }
        Ok(())
    }

    async fn delete(&self, letter: &Letter) -> Result<()> {
        let delete = self.mall.sqs.delete_message().queue_url(self.url).receipt_handle(&letter.receipt);
        delete.send().await.map_err(aws("deleting a dead letter"))?;
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Looks into a queue, at `limit` messages at most, and leaves it as it was.
pub async fn at(mall: &Deployed, url: &str, limit: usize) -> Result<Look> {
    let queue = DeadLetters::at(mall, url);
    let started = Instant::now();
    let mut letters: HashMap<String, Letter> = HashMap::new();
    let more = loop {
        if letters.len() >= limit || started.elapsed() > LOOK {
            break true;
        }
        let found = queue.receive((limit - letters.len()).min(10)).await?;
        if found.is_empty() {
            break false;
        }
        // The newest receipt of a message is the one that counts.
        letters.extend(found.into_iter().map(|letter| (letter.id.clone(), letter)));
    };
    let mut letters: Vec<Letter> = letters.into_values().collect();
    letters.sort_by(|a, b| (a.sent, &a.id).cmp(&(b.sent, &b.id)));
    queue.release(&letters.iter().collect::<Vec<_>>()).await?;
    Ok(Look { letters, more })
}

fn letter(message: Message) -> Letter {
    let system = |name: MessageSystemAttributeName| message.attributes.as_ref()?.get(&name).cloned();
    let noted = |name: &str| message.message_attributes.as_ref()?.get(name)?.string_value.clone();
    let sent = system(MessageSystemAttributeName::SentTimestamp).and_then(|ms| ms.parse().ok());
    let received = system(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|n| n.parse().ok());
    // What EventBridge notes on what it could not deliver. Source: EventBridge User Guide, "Using dead-letter queues".
    let undelivered = noted("ERROR_CODE")
        .map(|code| format!("{code}: {}", noted("ERROR_MESSAGE").unwrap_or_else(|| "no message".into())));
    let body = message.body.unwrap_or_default();
    Letter {
        content: Content::of(&body, undelivered),
        id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        sent: sent.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        received: received.unwrap_or(0),
        reason: noted("reason"),
        body,
    }
}
