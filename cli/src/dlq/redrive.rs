//! Sending back what was parked.
//!
//! What is sent is read again from the event table, by stream and version: so what was mended there counts, and nothing is
//! lost with the 24 hours that a stream remembers. A message is deleted after it was sent, never before: an interruption
//! in between leaves it in both queues, and consumers drop what they know.

use std::time::Duration;

use contracts::Envelope;
use event_store::{Commit, StoreError};
use jiff::{SignedDuration, Timestamp};
use kernel::{StreamId, Version};
use relay::{Bus, Entry, EventBridge, MAX_BYTES, MAX_ENTRIES, Verdict};
use tokio::{sync::mpsc::Receiver, time::Interval};

use super::letter::{Content, GivenUp, Letter};
use crate::{
    consumers::Consumer,
    deployed::{Deployed, Scanned, Wanted, unreadable},
    errors::{Error, Result},
    target::aws,
    ui,
};

/// One call of the bus.
const CALL: Duration = Duration::from_secs(10);

/// A commit says when its command began, and reaches the stream when it is done: a function may take half a minute, and
/// clocks differ. Too wide a window publishes some commits once more, which readers drop.
const BEFORE: SignedDuration = SignedDuration::from_mins(15);
const AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Commits of a batch of which is told why they were refused: a bus that takes nothing says the same thousands of times.
const TOLD: usize = 3;

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
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

/// The time in which the commits of a batch were made, with some to spare.
///
/// # Errors
/// When that is out of all range.
pub fn window(GivenUp { batch, .. }: &GivenUp) -> Result<(Timestamp, Timestamp)> {
    let out_of_range =
        |error: jiff::Error| Error::Aws { operation: "reading when a batch came", why: error.to_string() };
    Ok((
        batch.approximate_arrival_of_first_record.checked_sub(BEFORE).map_err(out_of_range)?,
        batch.approximate_arrival_of_last_record.checked_add(AFTER).map_err(out_of_range)?,
    ))
}

/// All commits of the time in which a batch came. Lambda says where in the stream that was, but the stream forgets.
async fn published_window(mall: &Deployed, given_up: &GivenUp, pace: &mut Interval) -> Result<Fate> {
    let (since, until) = window(given_up)?;
    let wanted = Wanted { since: Some(since), until: Some(until), ..Wanted::default() };
    let publish = async |commit: &Commit| {
        pace.tick().await;
        published(mall, commit).await
    };
    published_all(mall.scan(&wanted), given_up.batch.batch_size, publish).await
}

/// Publishes these commits, of which there should be `size` at least. One that is refused, or cannot be read, keeps no
/// other back.
async fn published_all(
    commits: Receiver<Result<Scanned>>,
    size: u64,
    publish: impl AsyncFnMut(&Commit) -> Result<Fate>,
) -> Result<Fate> {
    let mut tried = Tried::default();
    if let Err(error) = tried.all(commits, publish).await {
        // The batch stays, and is tried from its beginning: but what was found out may be why.
        if tried.refused > 0 {
            ui::note(format!("{} {}", ui::bad("✗"), tried.said()));
        }
        return Err(error);
    }
    if tried.refused > 0 {
        return left(format!("{}; the others are", tried.said()));
    }
    if tried.count < size {
        let count = tried.count;
        return left(format!(
            "only {count} of its {size} commits were found around that time; they are published"
        ));
    }
    Ok(Fate::Sent(tried.events))
}

/// What became of the commits of a batch so far.
#[derive(Debug, Default)]
struct Tried {
    /// Commits that were found, and how many of them were refused or cannot be read.
    count: u64,
    refused: usize,
    /// Why: of the first ones.
    told: Vec<String>,
    /// Events that were published.
    events: usize,
}

impl Tried {
    async fn all(
        &mut self,
        mut commits: Receiver<Result<Scanned>>,
        mut publish: impl AsyncFnMut(&Commit) -> Result<Fate>,
    ) -> Result<()> {
        while let Some(found) = commits.recv().await {
            let found = found?;
            self.count += 1;
            match found {
                Scanned::Unreadable(item) => self.refused(item.to_string()),
                Scanned::Commit(commit) => match publish(&commit).await? {
                    Fate::Sent(sent) => self.events += sent,
                    Fate::Left(why) => {
                        self.refused(format!("{} at version {}: {why}", commit.stream, commit.version));
                    }
                },
            }
        }
        Ok(())
    }

    fn refused(&mut self, what: String) {
        self.refused += 1;
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }

    fn said(&self) -> String {
        let Self { count, refused, told, .. } = self;
        let more = if *refused > told.len() { "; …" } else { "" };
        format!("{refused} of {count} commits around that time are not published ({}{more})", told.join("; "))
    }
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
    use kernel::{Actor, CommandId, CommandStamp, PayloadHash};

    use super::*;
    use crate::deployed::Unreadable;

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

    fn commit(version: u64) -> Commit {
        Commit {
            stream: "stores.Store/7".parse().unwrap(),
            version: Version::new(version),
            next: Version::new(version + 1),
            events: Vec::new(),
            command: CommandStamp { id: CommandId::new(kernel::Uuid::nil()), hash: PayloadHash::of(&()) },
            at: Timestamp::UNIX_EPOCH,
            actor: Actor::new("tester"),
            correlation: kernel::Uuid::nil(),
            causation: None,
            trace: None,
            attempt: 0,
            snapshot: None,
        }
    }

    /// What becomes of a batch of `size` of which so many commits are found, and which of them are tried.
    async fn batch(found: u64, size: u64, refused: &[u64]) -> (Fate, Vec<u64>) {
        let found = (1..=found).map(|version| Ok(Scanned::Commit(Box::new(commit(version)))));
        batch_of(found.collect(), size, refused).await
    }

    async fn batch_of(found: Vec<Result<Scanned>>, size: u64, refused: &[u64]) -> (Fate, Vec<u64>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(100);
        for found in found {
            sender.send(found).await.unwrap();
        }
        drop(sender);
        let mut tried = Vec::new();
        let publish = async |commit: &Commit| {
            tried.push(commit.version.get());
            if refused.contains(&commit.version.get()) { left("too large") } else { Ok(Fate::Sent(2)) }
        };
        let fate = published_all(receiver, size, publish).await.unwrap();
        (fate, tried)
    }

    #[tokio::test]
    async fn one_refused_commit_keeps_no_other_of_its_batch_back() {
        assert_eq!(batch(3, 3, &[]).await, (Fate::Sent(6), vec![1, 2, 3]));
        let (Fate::Left(why), tried) = batch(4, 4, &[1, 3]).await else { panic!("it may not be deleted") };
        assert_eq!(tried, [1, 2, 3, 4]);
        assert!(why.starts_with("2 of 4 commits"), "{why}");
        assert!(
            why.contains("(stores.Store/7 at version 1: too large; stores.Store/7 at version 3: too large)"),
            "{why}"
        );
        let (Fate::Left(why), tried) = batch(9, 9, &[1, 2, 3, 4, 5]).await else {
            panic!("it may not be deleted")
        };
        assert!(why.starts_with("5 of 9") && why.contains("version 3: too large; …)"), "{why}");
        assert_eq!(tried.len(), 9);
        let (Fate::Left(why), _) = batch(2, 3, &[]).await else { panic!("one is missing") };
        assert!(why.contains("only 2 of its 3"), "{why}");
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_read_is_named_and_keeps_no_commit_of_its_batch_back() {
        let (sound, item) = (
            |version| Ok(Scanned::Commit(Box::new(commit(version)))),
            Unreadable {
                stream: "stores.Store/7".into(),
                version: "2".into(),
                why: "not a commit: at is missing".into(),
            },
        );
        let found = vec![sound(1), Ok(Scanned::Unreadable(item)), sound(3)];
        let (Fate::Left(why), tried) = batch_of(found, 3, &[]).await else { panic!("it may not be deleted") };
        assert_eq!(tried, [1, 3]);
        let expected = "1 of 3 commits around that time are not published (stores.Store/7 at version 2 cannot be read: not a commit: at is missing); the others are";
        assert_eq!(why, expected);
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
