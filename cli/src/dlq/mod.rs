//! `mall dlq`: what went wrong for good, and what to do with it.
//!
//! Each consumer has a dead-letter queue, where events go that it failed to handle too often, and those that the bus could
//! not deliver to it. The relay has two: for records that it cannot relay, and for batches that Lambda gave up.
//! What is in them can always be sent again, since the events themselves stand in the event table.

mod letter;
mod look;
mod portions;
mod redrive;
mod why;

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::{
    letter::{Content, Letter},
    look::DeadLetters,
    portions::{Bounds, Then, Worked, portion},
    redrive::Fate,
};
use crate::{
    consumers::{self, Consumer, queue_name},
    deploy,
    deployed::Deployed,
    errors::{Error, Result},
    paths::Home,
    progress,
    target::Choice,
    ui,
};

/// Messages per second that are deleted at least, where a call takes a usual time.
const DELETED: u32 = 20;

/// What can be asked about dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the dead-letter queues: whose they are, how much is in them, and since when
    List {
        /// Also those that are empty
        #[arg(long)]
        all: bool,
        /// For programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        choice: Choice,
    },
    /// Show what is in them: each event with its stream and version, and why it failed
    ///
    /// The messages stay where they are. While the look takes, a minute at most, others do not see them.
    Show {
        #[command(flatten)]
        selection: Selection,
        /// How many of each queue
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// For programs, with the messages as they are
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        choice: Choice,
    },
    /// Send messages back: to their own consumer, or, from the relay's queues, to the bus
    ///
    /// Events are read again from the event table. Only messages that are there now are sent, so one that fails again does not
    /// go round in circles. A consumer that knows an event already does nothing.
    Redrive {
        #[command(flatten)]
        extent: Extent,
        /// Messages (or commits of a batch) per second, at most
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rate: u32,
        /// Do not ask, not even when the whole event table has to be read
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        choice: Choice,
    },
    /// Delete messages, and say how their events can be replayed
    Drop {
        #[command(flatten)]
        extent: Extent,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        choice: Choice,
    },
}

/// Which messages, and how many, of those that something is done with.
#[derive(Debug, clap::Args)]
pub struct Extent {
    #[command(flatten)]
    selection: Selection,
    /// Everything
    #[arg(long)]
    all: bool,
    /// How many of each queue, at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,
}

/// Which messages.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Part of the consumer's name, for example `project-orders` or `relay` [default: all]
    consumer: Option<String>,
    /// The message with this id, or with an event of this id
    #[arg(long, value_name = "UUID")]
    id: Vec<String>,
    /// Events of this stream, for example ordering.Order/0198…
    #[arg(long)]
    stream: Option<String>,
    /// Events of this type, for example OrderCreated
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
}

impl Selection {
    /// Whether it leaves anything out.
    fn is_narrow(&self) -> bool {
        self.consumer.is_some() || self.leaves_out_of_a_queue()
    }

    /// Whether it leaves out any message of a queue that it means.
    fn leaves_out_of_a_queue(&self) -> bool {
        self.stream.is_some() || self.event_type.is_some() || !self.id.is_empty()
    }

    fn has(&self, letter: &Letter) -> bool {
        let event = match &letter.content {
            Content::Event { event, .. } => Some(event.id.to_string()),
            Content::Parked(_) | Content::GivenUp(_) | Content::Unknown(_) => None,
        };
        let named = |id: &String| *id == letter.id || Some(id) == event.as_ref();
        (self.id.is_empty() || self.id.iter().any(named))
            && self.stream.as_deref().is_none_or(|s| letter.content.stream().is_some_and(|t| t.as_str() == s))
            && self.event_type.as_deref().is_none_or(|t| letter.content.event_type() == Some(t))
    }
}

/// A dead-letter queue.
struct Queue {
    /// Whose: `ordering-project-orders`, `relay-parked`, `relay-given-up`.
    name: String,
    url: String,
    /// Where its messages go back to; the relay's go to the bus.
    consumer: Option<Consumer>,
}

impl Queue {
    fn is_the_relays(&self) -> bool {
        self.name.starts_with("relay-")
    }
}

/// Does what is asked.
pub async fn run(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::List { all, json, choice } => list(&Deployed::reach(home, &choice).await?, all, json).await,
        Command::Show { selection, limit, json, choice } => {
            show(&Deployed::reach(home, &choice).await?, &selection, limit, json).await
        }
        Command::Redrive { extent, rate, yes, choice } => {
            chosen_on_purpose(&extent, "redrive")?;
            send_back(&Deployed::reach(home, &choice).await?, &extent, rate, yes).await
        }
        Command::Drop { extent, yes, choice } => {
            chosen_on_purpose(&extent, "drop")?;
            drop_them(&Deployed::reach(home, &choice).await?, &extent, yes).await
        }
    }
}

fn chosen_on_purpose(Extent { selection, all, .. }: &Extent, verb: &str) -> Result<()> {
    if *all || selection.is_narrow() {
        return Ok(());
    }
    Err(Error::Impossible {
        why: format!("nothing says which messages to {verb}"),
        advice: format!(
            "Name a consumer, or use --id, --stream or --type; or everything: cargo mall dlq {verb} --all"
        ),
    })
}

/// The dead-letter queues that were asked for.
async fn queues(mall: &Deployed, asked: Option<&str>) -> Result<Vec<Queue>> {
    let consumers = consumers::all(mall).await?;
    let prefix = format!("{}-", mall.stack.prefix);
    let mut queues: Vec<Queue> = mall
        .stack
        .dead_letter_queues()?
        .into_iter()
        .map(|url| {
            let name = queue_name(url);
            let name = name.strip_prefix(&prefix).unwrap_or(name);
            let name = name.strip_suffix("-dead").unwrap_or(name).to_owned();
            let consumer = consumers.iter().find(|consumer| consumer.name == name).cloned();
            Queue { name, url: url.to_owned(), consumer }
        })
        .collect();
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(asked) = asked else { return Ok(queues) };
    let known = queues.iter().map(|queue| queue.name.clone()).collect::<Vec<_>>().join(", ");
    // A whole name is that one, also where it is a part of another.
    match queues.iter().position(|queue| queue.name == asked) {
        Some(index) => queues = vec![queues.swap_remove(index)],
        None => queues.retain(|queue| queue.name.contains(asked)),
    }
    if queues.is_empty() {
        return Err(Error::Impossible {
            why: format!("no consumer with a dead-letter queue has {asked:?} in its name"),
            advice: format!("There are: {known}."),
        });
    }
    Ok(queues)
}

// ---- looking

async fn list(mall: &Deployed, all: bool, as_json: bool) -> Result<()> {
    /// Enough to find the oldest of a queue that somebody still has an eye on.
    const LOOK: usize = 200;
    let (mut rows, mut found, mut total) = (Vec::new(), Vec::new(), 0);
    for queue in queues(mall, None).await? {
        let (waiting, hidden) = consumers::depth(&mall.sqs, &queue.url).await?;
        let look = if waiting > 0 { Some(look::at(mall, &queue.url, LOOK).await?) } else { None };
        let oldest = look.as_ref().and_then(|look| look.letters.first()?.sent);
        total += waiting + hidden;
        let (name, url) = (&queue.name, &queue.url);
        found.push(
            json!({ "consumer": name, "queue": url, "waiting": waiting, "hidden": hidden, "oldest": oldest }),
        );
        if all || waiting + hidden > 0 {
            let least = if look.is_some_and(|look| look.more) { "at least " } else { "" };
            rows.push(vec![
                queue.name.clone(),
                if waiting > 0 { ui::bad(waiting).to_string() } else { waiting.to_string() },
                hidden.to_string(),
                oldest.map(|oldest| format!("{least}{}", age(oldest))).unwrap_or_default(),
                ui::dim(queue_name(&queue.url)).to_string(),
            ]);
        }
    }
    if as_json {
        ui::line(Value::Array(found));
        return Ok(());
    }
    if !rows.is_empty() {
        rows.insert(0, ["consumer", "waiting", "hidden", "oldest", "queue"].map(str::to_owned).to_vec());
        ui::table(&rows).into_iter().for_each(ui::line);
    }
    ui::line(match total {
        0 => format!("  {}", ui::good("All dead-letter queues are empty.")),
        _ => format!("  what it is: {}", ui::good("cargo mall dlq show")),
    });
    Ok(())
}

fn age(then: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

async fn show(mall: &Deployed, selection: &Selection, limit: usize, as_json: bool) -> Result<()> {
    let (mut found, mut looked_up, mut shown) = (Vec::new(), 0, 0);
    for queue in queues(mall, selection.consumer.as_deref()).await? {
        if selection.consumer.is_none() && consumers::depth(&mall.sqs, &queue.url).await?.0 == 0 {
            continue;
        }
        let look = look::at(mall, &queue.url, limit).await?;
        let letters: Vec<&Letter> = look.letters.iter().filter(|letter| selection.has(letter)).collect();
        shown += letters.len();
        if !as_json && !letters.is_empty() {
            ui::heading(format!("{}  {}", queue.name, ui::dim(queue_name(&queue.url))));
        }
        for letter in letters {
            let why = reason(mall, &queue, letter, &mut looked_up).await?;
            if as_json {
                let mut json = letter.json(why.as_deref());
                json["consumer"] = queue.name.clone().into();
                found.push(json);
            } else {
                tell(&queue, letter, why.as_deref());
            }
        }
        if look.more && !as_json {
            ui::line(ui::dim(format!("  … and more: --limit {}", limit.saturating_mul(2))));
        }
    }
    if as_json {
        ui::line(Value::Array(found));
    } else if shown == 0 {
        ui::line(format!("{}", ui::good("Nothing of that is in a dead-letter queue.")));
    } else {
        ui::line("");
        ui::line(format!("  when it is mended: {}", ui::good("cargo mall dlq redrive CONSUMER")));
    }
    Ok(())
}

/// Why a message is here: by its own account, else by its consumer's log.
async fn reason(
    mall: &Deployed,
    queue: &Queue,
    letter: &Letter,
    looked_up: &mut usize,
) -> Result<Option<String>> {
    if let Some(why) = letter.content.why() {
        return Ok(Some(why));
    }
    if *looked_up >= why::LOOKED_UP {
        return Ok(None);
    }
    *looked_up += 1;
    why::logged(mall, &queue.name, letter).await
}

fn tell(queue: &Queue, letter: &Letter, why: Option<&str>) {
    let since = letter.sent.map(|sent| format!("{} ago", age(sent))).unwrap_or_default();
    ui::line(format!(
        "  {}  {}",
        console::style(letter.content.summary()).bold(),
        ui::dim(format!("{since}, received {} times", letter.received))
    ));
    match why {
        Some(why) => ui::line(format!("    {}", ui::bad(why))),
        None => ui::line(format!(
            "    {}",
            ui::dim(format!(
                "its log does not say why any more, or see: cargo mall logs {} --since 1d",
                queue.name
            ))
        )),
    }
    let mut ids = format!("message {}", letter.id);
    if let Content::Event { event, .. } = &letter.content {
        ids = format!("{ids}, event {}, correlation {}", event.id, event.correlation);
    }
    ui::line(format!("    {}", ui::dim(ids)));
}

// ---- doing

/// What became of messages that were to be sent back.
#[derive(Debug, Default)]
struct SentBack {
    sent: usize,
    left: Vec<Left>,
}

/// A message that was not sent back.
#[derive(Debug)]
struct Left {
    queue: String,
    /// What it is.
    letter: String,
    /// Why it stays.
    why: String,
}

impl SentBack {
    /// What there is to say of it, line by line, and how the command ends. What stopped it comes after all that was
    /// found out before.
    fn said(&self, stopped: Result<()>) -> (Vec<String>, Result<()>) {
        let Self { sent, left } = self;
        let stays =
            |Left { queue, letter, why }: &Left| format!("{} {queue}: {letter} stays: {why}", ui::bad("✗"));
        let mut lines: Vec<String> = left.iter().map(stays).collect();
        let ended = match (stopped, sent, left.len()) {
            (Err(error), 0, _) => Err(error),
            (Err(error), sent, _) => {
                lines.push(format!("{sent} messages were sent back before it stopped."));
                Err(error)
            }
            (Ok(()), 0, 0) => {
                lines.push("There was nothing to send back.".into());
                Ok(())
            }
            (Ok(()), sent, 0) => {
                lines.push(format!("{} {sent} messages were sent back", ui::good("✓")));
                Ok(())
            }
            (Ok(()), sent, count) => Err(Error::Impossible {
                why: format!("{count} messages stay where they are; {sent} were sent back"),
                advice: "Mend what is said above and repeat, or give them up: cargo mall dlq drop".into(),
            }),
        };
        (lines, ended)
    }
}

async fn send_back(mall: &Deployed, extent: &Extent, rate: u32, yes: bool) -> Result<()> {
    let mut done = SentBack::default();
    let stopped = send_all_back(mall, extent, rate, yes, &mut done).await;
    let (lines, ended) = done.said(stopped);
    lines.into_iter().for_each(ui::line);
    ended
}

async fn send_all_back(
    mall: &Deployed,
    extent: &Extent,
    rate: u32,
    yes: bool,
    done: &mut SentBack,
) -> Result<()> {
    let &Extent { ref selection, limit, .. } = extent;
    let bounds = Bounds { begun: Timestamp::now(), limit, portion: portion(rate) };
    for queue in queues(mall, selection.consumer.as_deref()).await? {
        let waiting = consumers::depth(&mall.sqs, &queue.url).await?.0;
        if selection.consumer.is_none() && waiting == 0 {
            continue;
        }
        if queue.is_the_relays() && !yes {
            may_read_the_table(mall, &queue, selection, limit).await?;
        }
        // How many of them are meant, only the work tells.
        let total = if selection.leaves_out_of_a_queue() { 0 } else { waiting.min(limit as u64) };
        send_back_from(mall, &queue, selection, bounds, rate, total, done).await?;
    }
    Ok(())
}

/// Asks before batches are sent back for which the event table is read. Nothing is held while the operator thinks.
async fn may_read_the_table(
    mall: &Deployed,
    queue: &Queue,
    selection: &Selection,
    limit: usize,
) -> Result<()> {
    let look = look::at(mall, &queue.url, limit).await?;
    let is_batch = |letter: &&Letter| selection.has(letter) && matches!(letter.content, Content::GivenUp(_));
    let batches = look.letters.iter().filter(is_batch).count();
    if batches == 0 {
        return Ok(());
    }
    let cost = mall.size().await?.cost();
    deploy::confirmed(&format!(
        "{batches} batches of {} say when their commits came, and not which: for each the event table is read once ({cost}).",
        queue.name
    ))
    .await
}

async fn send_back_from(
    mall: &Deployed,
    queue: &Queue,
    selection: &Selection,
    bounds: Bounds,
    rate: u32,
    total: u64,
    done: &mut SentBack,
) -> Result<()> {
    let name = &queue.name;
    let bar = progress::begin(format!("Sending back to {name}"), total);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    // After a slow message, the others do not hurry.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let work = async |letter: &Letter| {
        pace.tick().await;
        let fate = match &queue.consumer {
            Some(consumer) => redrive::to_consumer(mall, consumer, letter).await?,
            None if queue.is_the_relays() => redrive::to_bus(mall, letter, &mut pace).await?,
            None => Fate::Left("no rule of the bus sends to its consumer".into()),
        };
        bar.more(1);
        Ok(match fate {
            Fate::Sent(_) => {
                done.sent += 1;
                Then::Gone
            }
            Fate::Left(why) => {
                done.left.push(Left { queue: name.clone(), letter: letter.content.summary(), why });
                Then::Stays
            }
        })
    };
    let dead = DeadLetters::at(mall, &queue.url);
    let worked = portions::each(&dead, bounds, |letter| selection.has(letter), work).await?;
    tell_of_more(queue, worked);
    Ok(())
}

/// Says what was not worked, and why.
fn tell_of_more(queue: &Queue, worked: Worked) {
    if worked.more {
        ui::note(format!("There may be more in {} than were worked: repeat the command.", queue.name));
    }
    if worked.late > 0 {
        ui::note(format!(
            "{} messages came to {} after this began, and were let alone: cargo mall dlq show {}",
            worked.late, queue.name, queue.name
        ));
    }
}

async fn drop_them(mall: &Deployed, extent: &Extent, yes: bool) -> Result<()> {
    let &Extent { ref selection, limit, .. } = extent;
    let mut dropped = Dropped::default();
    for queue in queues(mall, selection.consumer.as_deref()).await? {
        if selection.consumer.is_none() && consumers::depth(&mall.sqs, &queue.url).await?.0 == 0 {
            continue;
        }
        let look = look::at(mall, &queue.url, limit).await?;
        let letters: Vec<&Letter> = look.letters.iter().filter(|letter| selection.has(letter)).collect();
        if letters.is_empty() {
            continue;
        }
        ui::heading(&queue.name);
        for letter in &letters {
            let again = again(&queue, letter).map(|again| format!("  {}", ui::dim(again)));
            ui::line(format!("  {}{}", letter.content.summary(), again.unwrap_or_default()));
        }
        let (count, name) = (letters.len(), &queue.name);
        if !yes {
            // Nothing is held while the operator thinks; what comes meanwhile was not shown, and stays.
            deploy::confirmed(&format!(
                "These {count} messages will be deleted, and {name} will not hear of them."
            ))
            .await?;
        }
        let shown: HashSet<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
        let bounds = bounds_of(&letters);
        let dead = DeadLetters::at(mall, &queue.url);
        let mut gone = 0;
        let worked = portions::each(
            &dead,
            bounds,
            |letter| shown.contains(letter.id.as_str()),
            async |letter: &Letter| {
                dropped.count(&letter.content);
                gone += 1;
                Ok(Then::Gone)
            },
        );
        worked.await?;
        if gone < count {
            let missing = count - gone;
            ui::note(format!("{missing} of them are not there any more, or somebody else has them."));
        }
        if look.more {
            ui::note(format!("There may be more in {name} than were shown: repeat the command."));
        }
    }
    dropped.said().into_iter().for_each(ui::line);
    Ok(())
}

/// Up to the newest that was shown, by the queue's own clock: of several queues, one is looked into minutes after the
/// command began, while the operator thinks about those before it.
fn bounds_of(shown: &[&Letter]) -> Bounds {
    let newest = shown.iter().filter_map(|letter| letter.sent).max();
    Bounds { begun: newest.unwrap_or_else(Timestamp::now), limit: shown.len(), portion: portion(DELETED) }
}

/// How many messages were dropped, by what is left of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Dropped {
    /// Of events and commits: these stand in the event table.
    events: usize,
    /// That name nothing of that.
    others: usize,
}

impl Dropped {
    fn count(&mut self, content: &Content) {
        match content {
            Content::Event { .. } | Content::GivenUp(_) => self.events += 1,
            Content::Parked(parked) if parked.commit().is_some() => self.events += 1,
            Content::Parked(_) | Content::Unknown(_) => self.others += 1,
        }
    }

    fn said(self) -> Vec<String> {
        let mut said = Vec::new();
        let mut say = |count: usize, what: &str| {
            if count > 0 {
                said.push(format!("{} {count} {what}", ui::good("✓")));
            }
        };
        say(self.events, "messages were dropped; their events stand in the event table");
        say(self.others, "messages were dropped that name no event");
        if said.is_empty() {
            said.push("There was nothing to drop.".into());
        }
        said
    }
}

/// How to have those hear of it after all who would have.
fn again(queue: &Queue, letter: &Letter) -> Option<String> {
    let said = match (&letter.content, &queue.consumer) {
        (Content::Event { event, .. }, Some(consumer)) => {
            let effects = if consumer.harmless { "" } else { " --with-side-effects" };
            format!("--consumer {} --stream {}{effects}", consumer.name, event.stream)
        }
        // What the relay could not publish was heard by nobody: by those who do something about it neither.
        (Content::GivenUp(batch), _) => {
            let (since, until) = redrive::window(batch).ok()?;
            format!("--all --since {since} --until {until} --with-side-effects")
        }
        (Content::Event { .. } | Content::Parked(_), None) if queue.is_the_relays() => {
            format!("--all --stream {} --with-side-effects", letter.content.stream()?)
        }
        (Content::Event { .. } | Content::Parked(_) | Content::Unknown(_), _) => {
            return None;
        }
    };
    Some(format!("cargo mall replay {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, event: u128, stream: &str, event_type: &str) -> Letter {
        let event = kernel::Uuid::from_u128(event);
        let detail = json!({
            "id": event, "type": event_type, "schema": 1, "stream": stream, "version": 2, "first": 2, "next": 3,
            "at": "2026-01-31T12:00:00Z", "actor": "a", "correlation": event, "command": event,
        });
        let body = json!({ "detail": detail }).to_string();
        let content = Content::of(&body, None);
        Letter { id: id.into(), receipt: String::new(), sent: None, received: 1, body, reason: None, content }
    }

    #[test]
    fn nothing_is_chosen_by_accident() {
        let extent = |selection, all| Extent { selection, all, limit: 1 };
        assert!(chosen_on_purpose(&extent(Selection::default(), false), "drop").is_err());
        assert!(chosen_on_purpose(&extent(Selection::default(), true), "drop").is_ok());
        let narrow = Selection { event_type: Some("OrderCreated".into()), ..Selection::default() };
        assert!(chosen_on_purpose(&extent(narrow, false), "drop").is_ok());
    }

    #[test]
    fn a_selection_takes_what_meets_all_of_it() {
        let store = letter("m1", 1, "stores.Store/7", "StoreRebranded");
        let order = letter("m2", 2, "ordering.Order/8", "OrderCreated");
        let chosen = |selection: Selection| [&store, &order].map(|letter| selection.has(letter));
        assert_eq!(chosen(Selection::default()), [true, true]);
        assert_eq!(chosen(Selection { id: vec!["m2".into()], ..Selection::default() }), [false, true]);
        let event = kernel::Uuid::from_u128(1).to_string();
        assert_eq!(chosen(Selection { id: vec![event], ..Selection::default() }), [true, false]);
        let stream = Some("ordering.Order/8".to_owned());
        assert_eq!(chosen(Selection { stream: stream.clone(), ..Selection::default() }), [false, true]);
        let neither = Selection { stream, event_type: Some("StoreRebranded".into()), ..Selection::default() };
        assert_eq!(chosen(neither), [false, false]);
    }

    #[test]
    fn what_stays_is_told_also_when_something_stops_the_rest() {
        let stays =
            |why: &str| Left { queue: "relay-given-up".into(), letter: "a batch".into(), why: why.into() };
        let stopped = || Err(Error::Aws { operation: "reading the event table", why: "down".into() });
        let done = SentBack { sent: 2, left: vec![stays("1 of 3 is unreadable")] };
        let (lines, ended) = done.said(stopped());
        assert!(lines[0].ends_with("relay-given-up: a batch stays: 1 of 3 is unreadable"), "{lines:?}");
        assert_eq!(lines[1..], ["2 messages were sent back before it stopped."]);
        assert!(matches!(ended, Err(Error::Aws { .. })), "what stopped it is the end of it");
        // Nothing stopped it: what stays is no success.
        assert!(matches!(done.said(Ok(())).1, Err(Error::Impossible { .. })));
        let (lines, ended) = SentBack::default().said(Ok(()));
        assert!(ended.is_ok() && lines == ["There was nothing to send back."]);
        assert_eq!(SentBack::default().said(stopped()).0, Vec::<String>::new());
    }

    fn queue(name: &str, consumer: Option<bool>) -> Queue {
        let consumer = consumer.map(|harmless| Consumer {
            name: name.into(),
            queue: String::new(),
            arn: String::new(),
            pattern: consumers::Pattern::default(),
            harmless,
        });
        Queue { name: name.into(), url: String::new(), consumer }
    }

    fn about(body: &Value) -> Letter {
        let body = body.to_string();
        let content = Content::of(&body, None);
        Letter {
            id: "m".into(),
            receipt: String::new(),
            sent: None,
            received: 1,
            body,
            reason: None,
            content,
        }
    }

    #[test]
    fn what_was_dropped_can_be_replayed_to_all_who_did_not_hear_of_it() {
        let order = letter("m", 2, "ordering.Order/8", "OrderCreated");
        let said = |queue: &Queue, letter: &Letter| again(queue, letter).unwrap_or_default();
        let view = queue("ordering-project-orders", Some(true));
        let expected = "cargo mall replay --consumer ordering-project-orders --stream ordering.Order/8";
        assert_eq!(said(&view, &order), expected);
        let policy = queue("ordering-start-placement", Some(false));
        assert!(said(&policy, &order).ends_with("--stream ordering.Order/8 --with-side-effects"));
        // Nobody heard of what the relay kept: those who do something about it neither.
        let keys = json!({ "stream": { "S": "ordering.Order/8" }, "version": { "N": "2" } });
        let parked = about(
            &json!({ "reason": "undecodable", "why": "bad", "at": "2026-01-31T12:00:00Z", "keys": keys }),
        );
        let expected = "cargo mall replay --all --stream ordering.Order/8 --with-side-effects";
        assert_eq!(said(&queue("relay-parked", None), &parked), expected);
        let given_up = about(&json!({
            "requestContext": { "condition": "RetryAttemptsExhausted" },
            "DDBStreamBatchInfo": {
                "approximateArrivalOfFirstRecord": "2026-01-31T12:00:00Z",
                "approximateArrivalOfLastRecord": "2026-01-31T12:10:00Z", "batchSize": 7,
            },
        }));
        let expected = "cargo mall replay --all --since 2026-01-31T11:45:00Z --until 2026-01-31T12:15:00Z --with-side-effects";
        assert_eq!(said(&queue("relay-given-up", None), &given_up), expected);
        // No event, no replay.
        assert_eq!(again(&queue("relay-parked", None), &about(&json!({ "other": 1 }))), None);
    }

    #[test]
    fn what_was_shown_is_dropped_however_long_after_the_beginning_it_came() {
        let sent =
            |id: &str, sent: Option<Timestamp>| Letter { sent, ..letter(id, 1, "stores.Store/7", "E") };
        let later = Timestamp::now() + jiff::SignedDuration::from_mins(10);
        let shown = [sent("m1", None), sent("m2", Some(later)), sent("m3", Some(Timestamp::UNIX_EPOCH))];
        let bounds = bounds_of(&shown.iter().collect::<Vec<_>>());
        assert_eq!((bounds.begun, bounds.limit), (later, 3));
    }

    #[test]
    fn only_what_stands_in_the_event_table_is_said_to() {
        let mut dropped = Dropped::default();
        for letter in [letter("m", 2, "ordering.Order/8", "OrderCreated"), about(&json!({}))] {
            dropped.count(&letter.content);
        }
        assert_eq!(dropped, Dropped { events: 1, others: 1 });
        let said = dropped.said().join("\n");
        assert!(said.contains("1 messages were dropped; their events stand"), "{said}");
        assert!(said.contains("1 messages were dropped that name no"), "{said}");
        assert_eq!(Dropped::default().said(), ["There was nothing to drop."]);
    }
}
