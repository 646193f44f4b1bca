//! Sending back what was parked.
//!
//! What is sent is read again from the event table, by stream and version: so what was mended there counts, and nothing is
//! lost with the 24 hours that a stream remembers. A message is deleted after it was sent, never before: an interruption
//! in between leaves it in both queues, and consumers drop what they know.

use std::time::Duration;

use contracts::Envelope;
use event_store::{Commit, StoreError};
use jiff::SignedDuration;
use kernel::{StreamId, Version};
use relay::{Bus, Entry, EventBridge, MAX_BYTES, MAX_ENTRIES, Verdict};
use tokio::time::Interval;

use super::letter::{Content, GivenUp, Letter};
use crate::{
    consumers::Consumer,
    deployed::{Deployed, Wanted, unreadable},
    errors::{Error, Result},
    target::aws,
};

/// One call of the bus.
const CALL: Duration = Duration::from_secs(10);

/// A commit says when its command began, and reaches the stream when it is done: a function may take half a minute, and
/// clocks differ. Too wide a window publishes some commits once more, which readers drop.
const BEFORE: SignedDuration = SignedDuration::from_mins(15);
const AFTER: SignedDuration = SignedDuration::from_mins(5);

/// What became of a message.
pub enum Fate {
    /// So many events were sent; it can go.
    Sent(usize),
    /// It stays, for this reason.
    Left(String),
}

fn left(why: impl Into<String>) -> Result<Fate> {
    Ok(Fate::Left(why.into()))
}

/// Sends an event to its own consumer once more: only there, so nobody else hears of it again.
pub async fn to_consumer(mall: &Deployed, consumer: &Consumer, letter: &Letter) -> Result<Fate> {
    let body = match &letter.content {
        Content::Event { event, .. } => match afresh(mall, event).await? {
            Ok(entry) => consumer.message(event.id, &entry),
            Err(why) => return left(why),
        },
        // A consumer that was mended may understand it as it is.
        Content::Parked(_) | Content::GivenUp(_) | Content::Unknown(_) => letter.body.clone(),
    };
    mall.sqs
        .send_message()
        .queue_url(&consumer.queue)
        .message_body(body)
        .send()
        .await
        .map_err(aws("sending a dead letter back"))?;
    Ok(Fate::Sent(1))
}

/// The event as it stands in the table now, or why there is none.
async fn afresh(mall: &Deployed, event: &Envelope) -> Result<Result<Entry, String>> {
    match mall.store.event(&event.stream, event.version).await {
        Ok(Some(found)) => Ok(Entry::of(&found).map_err(|error| error.to_string())),
        Ok(None) => Ok(Err(format!(
            "the event table has no version {} of {}: nothing to send, drop it",
            event.version, event.stream
        ))),
        Err(error @ StoreError::Corrupt { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(unreadable(error)),
    }
}

/// Publishes on the bus what the relay could not: every consumer hears of it. Of a batch, each commit waits for `pace`.
pub async fn to_bus(mall: &Deployed, letter: &Letter, pace: &mut Interval) -> Result<Fate> {
    match &letter.content {
        Content::Parked(parked) => match parked.commit() {
            Some((stream, version)) => published_commit(mall, &stream, version).await,
            None => left("the record names no commit: nothing to publish, drop it"),
        },
        Content::GivenUp(batch) => published_window(mall, batch, pace).await,
        Content::Event { event, .. } => published_commit(mall, &event.stream, event.first).await,
        Content::Unknown(why) => left(format!("{why}: nothing to publish, drop it")),
    }
}

async fn published_commit(mall: &Deployed, stream: &StreamId, version: Version) -> Result<Fate> {
    match mall.commit(stream, version).await {
        Ok(Some(commit)) => published(mall, &commit).await,
        Ok(None) => left(format!("the event table has no commit of {stream} at version {version}: drop it")),
        Err(error @ StoreError::Corrupt { .. }) => left(error.to_string()),
        Err(error) => Err(unreadable(error)),
    }
}

/// All commits of the time in which a batch came. Lambda says where in the stream that was, but the stream forgets.
async fn published_window(
    mall: &Deployed,
    GivenUp { batch, .. }: &GivenUp,
    pace: &mut Interval,
) -> Result<Fate> {
    let out_of_range =
        |error: jiff::Error| Error::Aws { operation: "reading when a batch came", why: error.to_string() };
    let wanted = Wanted {
        since: Some(batch.approximate_arrival_of_first_record.checked_sub(BEFORE).map_err(out_of_range)?),
        until: Some(batch.approximate_arrival_of_last_record.checked_add(AFTER).map_err(out_of_range)?),
        ..Wanted::default()
    };
    let mut commits = mall.scan(&wanted);
    let (mut events, mut count) = (0, 0);
    while let Some(commit) = commits.recv().await {
        pace.tick().await;
        match published(mall, &commit?).await? {
            Fate::Sent(sent) => events += sent,
            Fate::Left(why) => return left(why),
        }
        count += 1;
    }
    if count < batch.batch_size {
        let size = batch.batch_size;
        return left(format!(
            "only {count} of its {size} commits were found around that time; they are published"
        ));
    }
    Ok(Fate::Sent(events))
}

async fn published(mall: &Deployed, commit: &Commit) -> Result<Fate> {
    let bus = EventBridge::new(mall.bus.clone(), mall.stack.output("EventBus")?);
    let mut entries = Vec::new();
    for envelope in commit.envelopes() {
        match Entry::of(&envelope) {
            Ok(entry) => entries.push(entry),
            Err(error) => return left(error.to_string()),
        }
    }
    for call in calls(&entries) {
        let verdicts = bus
            .put(call, CALL)
            .await
            .map_err(|error| Error::Aws { operation: "publishing on the bus", why: error.to_string() })?;
        for verdict in verdicts {
            match verdict {
                Verdict::Accepted => {}
                Verdict::Failed(why) | Verdict::Refused(why) => {
                    return left(format!("the bus refuses it: {why}"));
                }
            }
        }
    }
    Ok(Fate::Sent(entries.len()))
}

/// As many entries in a call as it takes.
fn calls(entries: &[Entry]) -> Vec<&[Entry]> {
    let (mut calls, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, entry) in entries.iter().enumerate() {
        if index > start && (index - start == MAX_ENTRIES || bytes + entry.bytes() > MAX_BYTES) {
            calls.push(&entries[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += entry.bytes();
    }
    if start < entries.len() {
        calls.push(&entries[start..]);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        let empty = Entry {
            source: String::new(),
            detail_type: String::new(),
            detail: String::new(),
            time: kernel::Timestamp::UNIX_EPOCH,
            trace_header: None,
        };
        Entry { detail: "x".repeat(bytes - empty.bytes()), ..empty }
    }

    #[test]
    fn no_call_takes_more_than_the_bus_does_and_none_is_left_out() {
        let sizes = |entries: &[Entry]| calls(entries).iter().map(|call| call.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&vec![entry(100); 21]), [10, 10, 1]);
        assert_eq!(sizes(&vec![entry(MAX_BYTES / 2); 3]), [2, 1]);
        assert_eq!(sizes(&vec![entry(MAX_BYTES); 2]), [1, 1]);
    }
}
