//! The deployed mall as an operator's commands see it: its API, event table, bus, queues and logs.

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use event_store::{Commit, CommitLog, DynamoLog, EventStore, StoreError, from_stream_record};
use jiff::Timestamp;
use kernel::{StreamId, Uuid, Version};
use tokio::sync::mpsc;

use crate::{
    api::Api,
    cost::prices::Unit,
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
    target::{Choice, aws},
};

/// Bytes that an eventually consistent read unit reads. Source: Amazon DynamoDB Developer Guide, "Read consumption".
const READ_UNIT_BYTES: f64 = 8192.0;

/// Parts of the event table that are read side by side.
const SEGMENTS: i32 = 4;

/// The deployed mall.
pub struct Deployed {
    pub stack: Stack,
    pub api: Api,
    pub sqs: aws_sdk_sqs::Client,
    pub bus: aws_sdk_eventbridge::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    pub store: EventStore,
    log: DynamoLog,
    dynamo: aws_sdk_dynamodb::Client,
    table: String,
}

impl Deployed {
    /// What is deployed at the target of this choice.
    pub async fn reach(home: &Home, choice: &Choice) -> Result<Self> {
        let target = choice.target(home)?;
        target.reach().await?;
        let stack = Stack::deployed(home, &target)?;
        let config = target.sdk().await;
        let dynamo = aws_sdk_dynamodb::Client::new(&config);
        let table = stack.output("EventTable")?.to_owned();
        let log = DynamoLog::new(dynamo.clone(), &table);
        Ok(Self {
            sqs: aws_sdk_sqs::Client::new(&config),
            bus: aws_sdk_eventbridge::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            store: EventStore::new(Arc::new(log.clone()), lambda::system_ports()),
            log,
            dynamo,
            table,
            api: Api::at(&stack.api)?,
            stack,
        })
    }

    /// The commits of a stream, oldest first.
    pub async fn history(&self, stream: &StreamId) -> Result<Vec<Commit>> {
        self.store.history(stream).await.map_err(unreadable)
    }

    /// Those commits of a stream that were made at this time or later and are wanted, oldest first.
    ///
    /// Streams are read from their end. The others are let go page by page, and nothing is read of what was long before:
    /// a stream that is long and busy takes time, and no room.
    pub async fn history_since(
        &self,
        stream: &StreamId,
        time: Timestamp,
        wanted: impl Fn(&Commit) -> bool,
    ) -> Result<Vec<Commit>> {
        since(&self.log, stream, time, wanted).await.map_err(unreadable)
    }

    /// The commit with this key, as it stands in the event table now.
    pub async fn commit(&self, stream: &StreamId, version: Version) -> Result<Option<Commit>, StoreError> {
        let page = self.log.newest(stream, version, Some(1)).await?;
        Ok(page.commits.into_iter().next().filter(|commit| commit.version == version))
    }

    /// How large the event table is, as far as AWS counts it (every six hours).
    pub async fn size(&self) -> Result<Size> {
        let asked = self.dynamo.describe_table().table_name(&self.table).send().await;
        let described = asked.map_err(aws("describing the event table"))?;
        let table = described.table();
        Ok(Size {
            commits: table.and_then(|table| table.item_count()).unwrap_or(0),
            bytes: table.and_then(|table| table.table_size_bytes()).unwrap_or(0),
        })
    }

    /// Reads the whole event table, in several parts side by side, and gives out the commits that pass. Those of one
    /// stream come in order. An item that cannot be read is given out as such, and the others after it; what stops the
    /// reading comes as an error.
    pub fn scan(&self, wanted: &Wanted) -> mpsc::Receiver<Result<Scanned>> {
        scan(&self.dynamo, &self.table, wanted)
    }
}

fn scan(client: &aws_sdk_dynamodb::Client, table: &str, wanted: &Wanted) -> mpsc::Receiver<Result<Scanned>> {
    // Bounded: whoever takes slowly slows down the reading.
    let (sender, receiver) = mpsc::channel(256);
    for segment in 0..SEGMENTS {
        let (client, table, wanted, sender) =
            (client.clone(), table.to_owned(), wanted.clone(), sender.clone());
        tokio::spawn(async move {
            if let Err(error) = read_segment(&client, &table, segment, &wanted, &sender).await {
                // Nobody listens any more: then nobody needs to know.
                let _ = sender.send(Err(error)).await;
            }
        });
    }
    receiver
}

async fn since(
    log: &dyn CommitLog,
    stream: &StreamId,
    time: Timestamp,
    wanted: impl Fn(&Commit) -> bool,
) -> Result<Vec<Commit>, StoreError> {
    const PAGE: u32 = 100;
    let (mut found, mut upto) = (Vec::new(), Version::new(u64::MAX));
    loop {
        let page = log.newest(stream, upto, Some(PAGE)).await?;
        let oldest = page.commits.last().map(|commit| (commit.version, commit.at));
        found.extend(page.commits.into_iter().filter(|commit| commit.at >= time && wanted(commit)));
        match oldest {
            Some((version, at)) if page.more && at >= time => upto = version.previous(),
            Some(_) | None => break,
        }
    }
    found.reverse();
    Ok(found)
}

/// Turns what the event table says into ours.
pub fn unreadable(error: StoreError) -> Error {
    Error::Aws { operation: "reading the event table", why: error.to_string() }
}

/// How large the event table is.
pub struct Size {
    pub commits: i64,
    pub bytes: i64,
}

impl Size {
    /// What it costs to read all of it once.
    pub fn cost(&self) -> String {
        let units = (self.bytes as f64 / READ_UNIT_BYTES).ceil();
        format!(
            "about {} commits, {:.1} MB: {units:.0} read units, {:.4} dollars on demand",
            self.commits,
            self.bytes as f64 / 1e6,
            units * Unit::Read.price().dollars
        )
    }
}

/// What a reading of the whole event table comes upon.
#[derive(Debug)]
pub enum Scanned {
    /// A commit that is wanted.
    Commit(Box<Commit>),
    /// An item in the place of one. Whether it is wanted is known only as far as DynamoDB can tell.
    Unreadable(Unreadable),
}

/// An item of the event table that is no commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stream} at version {version} cannot be read: {why}")]
pub struct Unreadable {
    pub stream: String,
    pub version: String,
    pub why: String,
}

/// Which commits of the whole table are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this category, such as `ordering.Order`.
    pub category: Option<String>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
    /// Of this correlation.
    pub correlation: Option<Uuid>,
}

impl Wanted {
    /// Whether this commit is.
    pub fn passes(&self, commit: &Commit) -> bool {
        self.category.as_ref().is_none_or(|category| commit.stream.category() == category)
            && self.since.is_none_or(|since| commit.at >= since)
            && self.until.is_none_or(|until| commit.at < until)
            && self.correlation.is_none_or(|correlation| commit.correlation == correlation)
    }

    /// The same for DynamoDB, or a little more: times are texts there, with a fraction of any length, so they are
    /// compared by whole seconds. What has no time is not outside: a comparison with nothing is false.
    fn conditions(&self) -> Vec<Condition> {
        let second = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let mut conditions = Vec::new();
        let mut add = |text, attribute, operand, value| {
            conditions.push(Condition { text, attribute, operand, value });
        };
        if let Some(category) = &self.category {
            add("begins_with(#stream, :stream)", "stream", ":stream", format!("{category}/"));
        }
        if let Some(since) = self.since {
            add("NOT #at < :since", "at", ":since", second(since));
        }
        if let Some(until) = self.until {
            // `~` comes after all that may follow the second.
            add("NOT #at >= :until", "at", ":until", format!("{}~", second(until)));
        }
        if let Some(correlation) = self.correlation {
            add("#correlation = :correlation", "correlation", ":correlation", correlation.to_string());
        }
        conditions
    }
}

/// One part of a filter expression.
struct Condition {
    text: &'static str,
    attribute: &'static str,
    operand: &'static str,
    value: String,
}

async fn read_segment(
    client: &aws_sdk_dynamodb::Client,
    table: &str,
    segment: i32,
    wanted: &Wanted,
    sender: &mpsc::Sender<Result<Scanned>>,
) -> Result<()> {
    let mut scan = client.scan().table_name(table).segment(segment).total_segments(SEGMENTS);
    let conditions = wanted.conditions();
    if !conditions.is_empty() {
        let all: Vec<&str> = conditions.iter().map(|condition| condition.text).collect();
        scan = scan.filter_expression(all.join(" AND "));
    }
    for Condition { attribute, operand, value, .. } in conditions {
        scan = scan
            .expression_attribute_names(format!("#{attribute}"), attribute)
            .expression_attribute_values(operand, AttributeValue::S(value));
    }
    let mut pages = scan.into_paginator().send();
    while let Some(page) = pages.next().await {
        for item in page.map_err(aws("reading the event table"))?.items.unwrap_or_default() {
            let Some(found) = scanned(item, wanted) else { continue };
            if sender.send(Ok(found)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What an item is, unless it is a commit that is not wanted.
fn scanned(item: HashMap<String, AttributeValue>, wanted: &Wanted) -> Option<Scanned> {
    let key = |name| item.get(name).and_then(|value| value.as_s().or(value.as_n()).ok()).cloned();
    let (stream, version) = (key("stream").unwrap_or_default(), key("version").unwrap_or_default());
    match from_stream_record(item.into()) {
        Ok(commit) => wanted.passes(&commit).then(|| Scanned::Commit(Box::new(commit))),
        Err(error) => Some(Scanned::Unreadable(Unreadable { stream, version, why: error.to_string() })),
    }
}

/// A stream's name from the command line.
pub fn stream_name(text: &str) -> std::result::Result<StreamId, String> {
    text.parse().map_err(|error: kernel::StreamIdError| error.to_string())
}

/// A time from the command line: as RFC 3339 writes it, or so long ago (`30m`, `2h`, `1d`).
pub fn time(text: &str) -> std::result::Result<Timestamp, String> {
    if let Ok(ago) = crate::logs::parse_ago(text) {
        return Timestamp::now().checked_sub(ago).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| {
        format!("{text:?} is neither a time such as 2026-01-31T12:00:00Z nor one ago, such as 2h")
    })
}

/// A time as it is shown.
pub fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_dynamodb_lets_through_is_never_less_than_what_is_wanted() {
        // Commits of one second, with and without a fraction: their texts do not sort as their times do.
        let times = [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.5Z",
            "2026-01-31T12:00:00.25Z",
            "2026-01-31T12:00:01Z",
        ];
        for bound in times.map(at) {
            let wanted = Wanted { since: Some(bound), ..Wanted::default() };
            let since = wanted.conditions().remove(0).value;
            let wanted = Wanted { until: Some(bound), ..Wanted::default() };
            let until = wanted.conditions().remove(0).value;
            for text in times {
                assert!(at(text) < bound || *text >= *since, "{text} is since {bound}");
                assert!(at(text) >= bound || *text < *until, "{text} is until {bound}");
            }
        }
    }

    fn item(stream: &str, version: u64, at: Option<&str>) -> HashMap<String, AttributeValue> {
        let text = |text: &str| AttributeValue::S(text.into());
        let number = |number: u64| AttributeValue::N(number.to_string());
        let id = Uuid::from_u128(version.into()).to_string();
        let event = serde_json::json!([{ "id": id, "type": "Counted", "schema": 1, "data": {} }]);
        let mut item: HashMap<String, AttributeValue> = HashMap::from(
            [
                ("stream", text(stream)),
                ("version", number(version)),
                ("next", number(version + 1)),
                ("command", text(&id)),
                ("hash", text("")),
                ("actor", text("tester")),
                ("correlation", text(&id)),
                ("events", text(&event.to_string())),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        item.extend(at.map(|at| ("at".to_owned(), text(at))));
        item
    }

    /// Versions of the commits that are wanted, and what cannot be read, in any order.
    async fn found(dynamo: &testing::EmbeddedDynamo, wanted: &Wanted) -> (Vec<u64>, Vec<String>) {
        let (mut versions, mut unreadable) = (Vec::new(), Vec::new());
        let mut all = scan(&dynamo.client(), "events", wanted);
        while let Some(found) = all.recv().await {
            match found.unwrap() {
                Scanned::Commit(commit) => versions.push(commit.version.get()),
                Scanned::Unreadable(item) => unreadable.push(format!("{} {}", item.stream, item.version)),
            }
        }
        versions.sort_unstable();
        unreadable.sort_unstable();
        (versions, unreadable)
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_read_hides_no_commit_and_is_not_left_out_in_silence() {
        let dynamo = testing::EmbeddedDynamo::start().await;
        dynamo.event_log("events").await;
        let mut items: Vec<_> =
            (1..=9).map(|n| item("stores.Store/7", n, Some(&format!("2026-01-31T12:00:0{n}Z")))).collect();
        items[3].remove("hash");
        items.push(item("stores.Store/8", 1, None));
        for item in items {
            dynamo.client().put_item().table_name("events").set_item(Some(item)).send().await.unwrap();
        }
        let broken = ["stores.Store/7 4", "stores.Store/8 1"].map(str::to_owned).to_vec();
        assert_eq!(found(&dynamo, &Wanted::default()).await, (vec![1, 2, 3, 5, 6, 7, 8, 9], broken.clone()));
        // What has no time may be of any.
        let (since, until) = (Some(at("2026-01-31T12:00:03Z")), Some(at("2026-01-31T12:00:06Z")));
        let window = Wanted { since, until, ..Wanted::default() };
        assert_eq!(found(&dynamo, &window).await, (vec![3, 5], broken));
    }

    #[tokio::test]
    async fn of_a_long_stream_only_what_is_wanted_is_kept() {
        let dynamo = testing::EmbeddedDynamo::start().await;
        let log = dynamo.event_log("events").await;
        for n in 1..=250u64 {
            let time = at("2026-01-31T12:00:00Z") + jiff::SignedDuration::from_secs(n as i64);
            let item = item("customers.Customer/7", n, Some(&time.to_string()));
            dynamo.client().put_item().table_name("events").set_item(Some(item)).send().await.unwrap();
        }
        let stream = "customers.Customer/7".parse().unwrap();
        let wanted = |commit: &Commit| commit.version.get().is_multiple_of(50);
        let found = since(&log, &stream, at("2026-01-31T12:01:00Z"), wanted).await.unwrap();
        let versions: Vec<u64> = found.iter().map(|commit| commit.version.get()).collect();
        assert_eq!(versions, [100, 150, 200, 250], "from all pages, oldest first, and nothing before");
    }

    #[test]
    fn a_time_is_given_as_a_time_or_as_so_long_ago() {
        assert_eq!(time("2026-01-31T12:00:00Z"), Ok(at("2026-01-31T12:00:00Z")));
        assert!(time("2h").unwrap() < Timestamp::now());
        for bad in ["", "yesterday", "2026-01-31", "7"] {
            assert!(time(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn the_cost_of_reading_the_table_is_told_in_units_and_dollars() {
        let size = Size { commits: 2_000_000, bytes: 8_192_000_000 };
        assert!(size.cost().contains("1000000 read units, 0.1250 dollars"), "{}", size.cost());
    }
}
