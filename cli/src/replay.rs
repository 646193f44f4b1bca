//! `mall replay`: events once more from the event table to the consumers' own queues, as the bus would deliver them.
//!
//! Consumers drop what they know, so a view is what it was. Consumers that may send or start something are left out unless
//! they are asked for; they too are idempotent, as far back as their command ids and the state of the business reach.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use event_store::Commit;
use jiff::Timestamp;
use kernel::StreamId;
use relay::Entry;
use tokio::{
    sync::mpsc::Receiver,
    time::{Interval, MissedTickBehavior},
};

use crate::{
    consumers::{self, Consumer},
    deploy,
    deployed::{self, Deployed, Scanned, Wanted},
    errors::{Error, Result},
    paths::Home,
    progress::{self, Progress},
    target::{Choice, aws},
    ui,
};

/// Messages of one call, and their bytes: SQS took 256 KiB until 2025, and emulators still do.
const BATCH: usize = 10;
const BATCH_BYTES: usize = 240 * 1024;

/// How often messages are sent that SQS did not take.
const ATTEMPTS: u32 = 5;

/// What to replay, and to whom.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Part of a consumer's name, for example `project-orders`; may be repeated
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    consumer: Vec<String>,
    /// All consumers
    #[arg(long, conflicts_with = "consumer")]
    all: bool,
    /// Events of this time or later: 2026-01-31T12:00:00Z, or so long ago: 2h
    #[arg(long, value_name = "TIME", value_parser = deployed::time)]
    since: Option<Timestamp>,
    /// Events before this time
    #[arg(long, value_name = "TIME", value_parser = deployed::time)]
    until: Option<Timestamp>,
    /// Events of this stream, for example ordering.Order/0198…
    #[arg(long, value_parser = deployed::stream_name, conflicts_with = "category")]
    stream: Option<StreamId>,
    /// Events of this category, for example ordering.Order
    #[arg(long)]
    category: Option<String>,
    /// Also to consumers that may send or start something
    #[arg(long)]
    with_side_effects: bool,
    /// Messages per second, at most
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Only count what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    choice: Choice,
}

/// Does it.
pub async fn run(home: &Home, options: &Options) -> Result<()> {
    let mall = Deployed::reach(home, &options.choice).await?;
    let (consumers, left_out) = chosen(consumers::all(&mall).await?, options)?;
    if consumers.is_empty() {
        return Err(Error::Impossible {
            why: format!("{} may send or start something when they hear of an event again", names(&left_out)),
            advice: "If that is what you want: --with-side-effects".into(),
        });
    }
    ui::line(format!("To {}.", names(&consumers)));
    if !left_out.is_empty() {
        ui::line(ui::dim(format!("Left out, since they may send or start something: {}.", names(&left_out))));
    }
    let total = match &options.stream {
        Some(_) => 0,
        None => {
            let size = mall.size().await?;
            ui::line(format!("The whole event table is read: {}.", size.cost()));
            // How many of them pass, only the reading tells.
            let all = options.category.is_none() && options.since.is_none() && options.until.is_none();
            if all { u64::try_from(size.commits).unwrap_or(0) } else { 0 }
        }
    };
    if !options.dry_run && !options.yes {
        deploy::confirmed("Events will be sent to these consumers again.").await?;
    }
    let mut replay = Replay::new(&mall, consumers, options, total);
    let ended = replay.all(options).await;
    replay.finish(ended)
}

/// Who is to hear, and who is left out for the sake of what they would do.
fn chosen(all: Vec<Consumer>, options: &Options) -> Result<(Vec<Consumer>, Vec<Consumer>)> {
    for asked in &options.consumer {
        if !all.iter().any(|consumer| consumer.name.contains(asked)) {
            return Err(Error::Impossible {
                why: format!("no consumer has {asked:?} in its name"),
                advice: format!("There are: {}.", names(&all)),
            });
        }
    }
    let asked_for = |consumer: &Consumer| {
        options.all || options.consumer.iter().any(|asked| consumer.name.contains(asked))
    };
    Ok(all.into_iter().filter(asked_for).partition(|consumer| consumer.harmless || options.with_side_effects))
}

fn names(consumers: &[Consumer]) -> String {
    consumers.iter().map(|consumer| consumer.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A replay under way.
struct Replay<'a> {
    mall: &'a Deployed,
    consumers: Vec<Consumer>,
    /// Messages that are not sent yet, by consumer.
    waiting: Vec<Vec<String>>,
    sent: BTreeMap<String, u64>,
    commits: u64,
    events: u64,
    /// What cannot be sent, and why.
    left_out: Vec<String>,
    dry_run: bool,
    pace: Interval,
    bar: Progress,
}

impl<'a> Replay<'a> {
    fn new(mall: &'a Deployed, consumers: Vec<Consumer>, options: &Options, total: u64) -> Self {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / options.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sent = consumers.iter().map(|consumer| (consumer.name.clone(), 0)).collect();
        let title = if options.dry_run { "Counting commits" } else { "Replaying commits" };
        Self {
            mall,
            waiting: vec![Vec::new(); consumers.len()],
            consumers,
            sent,
            commits: 0,
            events: 0,
            left_out: Vec::new(),
            dry_run: options.dry_run,
            pace,
            bar: progress::begin(title, total),
        }
    }

    /// Sends what is asked for.
    async fn all(&mut self, options: &Options) -> Result<()> {
        let Options { since, until, .. } = *options;
        match &options.stream {
            Some(stream) => {
                let wanted = Wanted { since, until, ..Wanted::default() };
                let history = self.mall.history(stream).await?;
                for commit in history.iter().filter(|commit| wanted.passes(commit)) {
                    self.commit(commit).await?;
                }
            }
            None => {
                let category = options.category.clone();
                let wanted = Wanted { category, since, until, ..Wanted::default() };
                self.scanned(self.mall.scan(&wanted)).await?;
            }
        }
        for index in 0..self.consumers.len() {
            self.send(index).await?;
        }
        Ok(())
    }

    async fn scanned(&mut self, mut found: Receiver<Result<Scanned>>) -> Result<()> {
        while let Some(found) = found.recv().await {
            match found? {
                Scanned::Commit(commit) => self.commit(&commit).await?,
                Scanned::Unreadable(item) => self.left_out.push(item.to_string()),
            }
        }
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        for envelope in commit.envelopes() {
            let entry = match Entry::of(&envelope) {
                Ok(entry) => entry,
                Err(error) => {
                    let (stream, version) = (&envelope.stream, envelope.version);
                    self.left_out.push(format!("{stream} at version {version} cannot be sent: {error}"));
                    continue;
                }
            };
            self.events += 1;
            for index in 0..self.consumers.len() {
                let consumer = &self.consumers[index];
                if !consumer.pattern.passes(&entry) {
                    continue;
                }
                let message = consumer.message(envelope.id, &entry);
                let bytes: usize = self.waiting[index].iter().map(String::len).sum();
                if self.waiting[index].len() == BATCH || bytes + message.len() > BATCH_BYTES {
                    self.send(index).await?;
                }
                self.waiting[index].push(message);
            }
        }
        self.commits += 1;
        self.bar.more(1);
        Ok(())
    }

    /// Sends what waits for a consumer.
    async fn send(&mut self, index: usize) -> Result<()> {
        let consumer = &self.consumers[index];
        let mut messages = std::mem::take(&mut self.waiting[index]);
        *self.sent.entry(consumer.name.clone()).or_default() += messages.len() as u64;
        if self.dry_run {
            return Ok(());
        }
        for attempt in 0..ATTEMPTS {
            for _ in &messages {
                self.pace.tick().await;
            }
            messages = untaken(self.mall, consumer, messages).await?;
            if messages.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(u64::from(fastrand::u16(..200)) << attempt)).await;
        }
        Err(Error::Impossible {
            why: format!("{} messages were not taken by the queue of {}", messages.len(), consumer.name),
            advice: "Repeat the command: what was sent already does nothing.".into(),
        })
    }

    fn finish(self, ended: Result<()>) -> Result<()> {
        let Self { sent, commits, events, left_out, dry_run, bar, .. } = self;
        let rate = bar.rate();
        drop(bar);
        left_out.iter().for_each(|what| ui::line(format!("{} {what}", ui::bad("✗"))));
        ended?;
        let mut rows =
            vec![["consumer", if dry_run { "would get" } else { "got" }].map(str::to_owned).to_vec()];
        rows.extend(sent.iter().map(|(name, count)| vec![name.clone(), count.to_string()]));
        ui::table(&rows).into_iter().for_each(ui::line);
        let total: u64 = sent.values().sum();
        let what = if dry_run { "would be sent" } else { "were sent" };
        let told =
            format!("{total} messages {what}: {events} events of {commits} commits read, {rate} commits");
        complete(&left_out, told)
    }
}

/// Says how it ended: nobody may take for complete what is not.
fn complete(left_out: &[String], told: String) -> Result<()> {
    if left_out.is_empty() {
        ui::line(format!("{} {told}", ui::good("✓")));
        return Ok(());
    }
    Err(Error::Impossible {
        why: format!("{} items of the event table were left out; {told}", left_out.len()),
        advice: "Mend what is said above, and replay its streams: cargo mall replay --stream".into(),
    })
}

/// Sends messages to a consumer's queue; gives back those that it did not take.
async fn untaken(mall: &Deployed, consumer: &Consumer, messages: Vec<String>) -> Result<Vec<String>> {
    if messages.is_empty() {
        return Ok(messages);
    }
    let entries = messages.iter().enumerate().filter_map(|(index, message)| {
        SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(message).build().ok()
    });
    let sent = mall.sqs.send_message_batch().queue_url(&consumer.queue).set_entries(Some(entries.collect()));
    let answer = sent.send().await.map_err(aws("sending events to a queue"))?;
    let mut failed: Vec<usize> = answer.failed().iter().filter_map(|entry| entry.id().parse().ok()).collect();
    failed.sort_unstable();
    Ok(failed.into_iter().filter_map(|index| messages.get(index).cloned()).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Options {
        Line::try_parse_from(std::iter::once("replay").chain(line.split(' ')))
            .map(|line| line.options)
            .unwrap()
    }

    fn consumer(name: &str, harmless: bool) -> Consumer {
        let (queue, arn) = (String::new(), String::new());
        let pattern = consumers::Pattern::default();
        Consumer { name: name.into(), queue, arn, pattern, harmless }
    }

    fn all() -> Vec<Consumer> {
        vec![consumer("ordering-project-orders", true), consumer("ordering-start-placement", false)]
    }

    #[test]
    fn nothing_is_started_again_by_a_replay_to_all() {
        let (hear, left_out) = chosen(all(), &options("--all")).unwrap();
        assert_eq!(
            (names(&hear).as_str(), names(&left_out).as_str()),
            ("ordering-project-orders", "ordering-start-placement")
        );
        let (hear, left_out) = chosen(all(), &options("--all --with-side-effects")).unwrap();
        assert_eq!((hear.len(), left_out.len()), (2, 0));
        // Also one that is named.
        let (hear, _) = chosen(all(), &options("--consumer start-placement")).unwrap();
        assert!(hear.is_empty());
    }

    #[test]
    fn a_replay_that_left_something_out_does_not_pass_for_a_whole_one() {
        assert!(complete(&[], "3 messages were sent".into()).is_ok());
        let error = complete(&["a".into(), "b".into()], "3 messages were sent".into()).unwrap_err();
        let expected = "2 items of the event table were left out; 3 messages were sent";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_name_that_nobody_has_is_not_passed_over() {
        let error =
            chosen(all(), &options("--consumer project-orders --consumer projet-stores")).unwrap_err();
        assert!(error.to_string().contains("projet-stores"), "{error}");
    }

    #[test]
    fn a_replay_to_nobody_in_particular_is_refused() {
        assert!(Line::try_parse_from(["replay", "--since", "2h"]).is_err());
        assert!(Line::try_parse_from(["replay", "--all", "--stream", "no stream"]).is_err());
    }
}
