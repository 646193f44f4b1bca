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

use super::letter::{Content, Letter};
use crate::{deployed::Deployed, errors::Result, target::aws};

/// How long a received message stays hidden by itself, in seconds.
pub const HIDDEN: i32 = 60;

/// A look ends before the first messages come back by themselves, and would be seen twice.
const LOOK: Duration = Duration::from_secs(45);

/// What a look found.
pub struct Look {
    /// Oldest first.
    pub letters: Vec<Letter>,
    /// Whether there was no time, or no room, for all.
    pub more: bool,
}

/// Receives what is in a queue, at most `limit` messages, and hides it for [`HIDDEN`] seconds.
pub async fn take(mall: &Deployed, url: &str, limit: usize) -> Result<Look> {
    let started = Instant::now();
    let mut letters: HashMap<String, Letter> = HashMap::new();
    let more = loop {
        if letters.len() >= limit || started.elapsed() > LOOK {
            break true;
        }
        let room = i32::try_from((limit - letters.len()).min(10)).unwrap_or(10);
        let asked = mall
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(room)
            .visibility_timeout(HIDDEN)
            // Without waiting, only some of SQS's servers are asked.
            .wait_time_seconds(1)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let answer = asked.send().await.map_err(aws("receiving dead letters"))?;
        let messages = answer.messages.unwrap_or_default();
        if messages.is_empty() {
            break false;
        }
        // The newest receipt of a message is the one that counts.
        letters.extend(messages.into_iter().map(letter).map(|letter| (letter.id.clone(), letter)));
    };
    let mut letters: Vec<Letter> = letters.into_values().collect();
    letters.sort_by(|a, b| (a.sent, &a.id).cmp(&(b.sent, &b.id)));
    Ok(Look { letters, more })
}

/// Lets others see these again, at once.
pub async fn release(mall: &Deployed, url: &str, letters: &[&Letter]) -> Result<()> {
    for batch in letters.chunks(10) {
        let entries = batch.iter().enumerate().filter_map(|(index, letter)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&letter.receipt)
                .visibility_timeout(0)
                .build()
                .ok()
        });
        // One that fails has come back by itself, or somebody else has it.
        mall.sqs
            .change_message_visibility_batch()
            .queue_url(url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(aws("releasing dead letters"))?;
    }
    Ok(())
}

/// Looks into a queue, and leaves it as it was.
pub async fn at(mall: &Deployed, url: &str, limit: usize) -> Result<Look> {
    let look = take(mall, url, limit).await?;
    release(mall, url, &look.letters.iter().collect::<Vec<_>>()).await?;
    Ok(look)
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
        body,
    }
}
