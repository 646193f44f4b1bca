//! `mall dlq`: what went wrong for good, and what to do with it.
//!
//! Each consumer has a dead-letter queue, where events go that it failed to handle too often, and those that the bus could
//! not deliver to it. The relay has two: for records that it cannot relay, and for batches that Lambda gave up.
//! What is in them can always be sent again, since the events themselves stand in the event table.

mod letter;
mod look;
mod redrive;
mod why;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::{
    letter::{Content, Letter},
    redrive::Fate,
};
use crate::{
    consumers::{self, Consumer, queue_name},
    deploy,
    deployed::Deployed,
    errors::{Error, Result},
    paths::Home,
    progress,
    target::{Choice, aws},
    ui,
};

/// After this, a message that was received is held anew before something is done with it.
const HOLD_ANEW: Duration = Duration::from_secs(20);

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
        selection: Selection,
        /// Everything
        #[arg(long)]
        all: bool,
        /// How many of each queue, at most
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        limit: usize,
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
        selection: Selection,
        /// Everything
        #[arg(long)]
        all: bool,
        /// How many of each queue, at most
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        limit: usize,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        choice: Choice,
    },
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
        self.consumer.is_some() || self.stream.is_some() || self.event_type.is_some() || !self.id.is_empty()
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
        Command::Redrive { selection, all, limit, rate, yes, choice } => {
            chosen_on_purpose(&selection, all, "redrive")?;
            let mall = Deployed::reach(home, &choice).await?;
            send_back(&mall, &selection, limit, rate, yes).await
        }
        Command::Drop { selection, all, limit, yes, choice } => {
            chosen_on_purpose(&selection, all, "drop")?;
            let mall = Deployed::reach(home, &choice).await?;
            drop_them(&mall, &selection, limit, yes).await
        }
    }
}

fn chosen_on_purpose(selection: &Selection, all: bool, verb: &str) -> Result<()> {
    if all || selection.is_narrow() {
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
        let (waiting, hidden) = consumers::depth(mall, &queue.url).await?;
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
        if selection.consumer.is_none() && consumers::depth(mall, &queue.url).await?.0 == 0 {
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
    let Content::Event { event, .. } = &letter.content else { return Ok(None) };
    if *looked_up >= why::LOOKED_UP {
        return Ok(None);
    }
    *looked_up += 1;
    why::logged(mall, &queue.name, event, letter.sent).await
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

/// What was chosen in one queue, and is hidden from others as long as we hold it.
struct Held {
    queue: Queue,
    letters: Vec<Letter>,
    since: Instant,
}

/// Takes what was chosen, and lets go of the rest at once.
async fn hold(mall: &Deployed, queue: Queue, selection: &Selection, limit: usize) -> Result<Held> {
    let since = Instant::now();
    let look = look::take(mall, &queue.url, limit).await?;
    let (letters, others): (Vec<_>, Vec<_>) =
        look.letters.into_iter().partition(|letter| selection.has(letter));
    look::release(mall, &queue.url, &others.iter().collect::<Vec<_>>()).await?;
    if look.more {
        ui::note(format!(
            "There may be more in {} than could be held at a time: repeat the command.",
            queue.name
        ));
    }
    Ok(Held { queue, letters, since })
}

impl Held {
    /// Makes sure that we still have a message; says no when somebody else does.
    async fn still_ours(&self, mall: &Deployed, letter: &Letter) -> bool {
        if self.since.elapsed() < HOLD_ANEW {
            return true;
        }
        let held =
            mall.sqs.change_message_visibility().queue_url(&self.queue.url).receipt_handle(&letter.receipt);
        held.visibility_timeout(look::HIDDEN).send().await.is_ok()
    }

    async fn delete(&self, mall: &Deployed, letter: &Letter) -> Result<()> {
        let delete = mall.sqs.delete_message().queue_url(&self.queue.url).receipt_handle(&letter.receipt);
        delete.send().await.map_err(aws("deleting a dead letter"))?;
        Ok(())
    }

    async fn release_all(&self, mall: &Deployed) -> Result<()> {
        look::release(mall, &self.queue.url, &self.letters.iter().collect::<Vec<_>>()).await
    }
}

async fn send_back(mall: &Deployed, selection: &Selection, limit: usize, rate: u32, yes: bool) -> Result<()> {
    let (mut sent, mut left) = (0, Vec::new());
    for queue in queues(mall, selection.consumer.as_deref()).await? {
        if selection.consumer.is_none() && consumers::depth(mall, &queue.url).await?.0 == 0 {
            continue;
        }
        let held = hold(mall, queue, selection, limit).await?;
        let batches =
            held.letters.iter().filter(|letter| matches!(letter.content, Content::GivenUp(_))).count();
        if batches > 0 && !yes {
            let cost = mall.size().await?.cost();
            let consequence = format!(
                "{batches} batches of {} say when their commits came, and not which: for each the event table is read \
                 once ({cost}).",
                held.queue.name
            );
            if let Err(error) = deploy::confirmed(&consequence).await {
                held.release_all(mall).await?;
                return Err(error);
            }
        }
        sent += send_back_from(mall, &held, rate, &mut left).await?;
    }
    for (queue, letter, why) in &left {
        ui::line(format!("{} {queue}: {} stays: {why}", ui::bad("✗"), letter));
    }
    match (sent, left.len()) {
        (0, 0) => ui::line("There was nothing to send back."),
        (_, 0) => ui::line(format!("{} {sent} messages were sent back", ui::good("✓"))),
        (_, count) => {
            return Err(Error::Impossible {
                why: format!("{count} messages stay where they are; {sent} were sent back"),
                advice: "Mend what is said above and repeat, or give them up: cargo mall dlq drop".into(),
            });
        }
    }
    Ok(())
}

async fn send_back_from(
    mall: &Deployed,
    held: &Held,
    rate: u32,
    left: &mut Vec<(String, String, String)>,
) -> Result<usize> {
    let name = &held.queue.name;
    let bar = progress::begin(format!("Sending back to {name}"), held.letters.len() as u64);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    // After a slow message, the others do not hurry.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut sent, mut kept) = (0, Vec::new());
    for letter in &held.letters {
        pace.tick().await;
        let fate = match &held.queue.consumer {
            _ if !held.still_ours(mall, letter).await => Fate::Left("somebody else has it".into()),
            Some(consumer) => redrive::to_consumer(mall, consumer, letter).await?,
            None if held.queue.is_the_relays() => redrive::to_bus(mall, letter, &mut pace).await?,
            None => Fate::Left("no rule of the bus sends to its consumer".into()),
        };
        match fate {
            Fate::Sent(_) => {
                held.delete(mall, letter).await?;
                sent += 1;
            }
            Fate::Left(why) => {
                kept.push(letter);
                left.push((name.clone(), letter.content.summary(), why));
            }
        }
        bar.more(1);
    }
    look::release(mall, &held.queue.url, &kept).await?;
    Ok(sent)
}

async fn drop_them(mall: &Deployed, selection: &Selection, limit: usize, yes: bool) -> Result<()> {
    let mut dropped = 0;
    for queue in queues(mall, selection.consumer.as_deref()).await? {
        if selection.consumer.is_none() && consumers::depth(mall, &queue.url).await?.0 == 0 {
            continue;
        }
        let held = hold(mall, queue, selection, limit).await?;
        if held.letters.is_empty() {
            continue;
        }
        ui::heading(&held.queue.name);
        for letter in &held.letters {
            ui::line(format!("  {}{}", letter.content.summary(), again(&held.queue, letter)));
        }
        if !yes {
            let (count, name) = (held.letters.len(), &held.queue.name);
            let consequence =
                format!("These {count} messages will be deleted, and {name} will not hear of them.");
            if let Err(error) = deploy::confirmed(&consequence).await {
                held.release_all(mall).await?;
                return Err(error);
            }
        }
        for letter in &held.letters {
            if held.still_ours(mall, letter).await {
                held.delete(mall, letter).await?;
                dropped += 1;
            } else {
                ui::line(format!(
                    "{} {} stays: somebody else has it",
                    ui::bad("✗"),
                    letter.content.summary()
                ));
            }
        }
    }
    ui::line(match dropped {
        0 => "There was nothing to drop.".to_owned(),
        _ => format!(
            "{} {dropped} messages were dropped; their events stand in the event table",
            ui::good("✓")
        ),
    });
    Ok(())
}

/// How to have the consumer hear of it after all.
fn again(queue: &Queue, letter: &Letter) -> String {
    match (&queue.consumer, letter.content.stream()) {
        (Some(consumer), Some(stream)) => {
            let effects = if consumer.harmless { "" } else { " --with-side-effects" };
            let command =
                format!("cargo mall replay --consumer {} --stream {stream}{effects}", consumer.name);
            format!("  {}", ui::dim(command))
        }
        (None, Some(stream)) => {
            format!("  {}", ui::dim(format!("cargo mall replay --all --stream {stream}")))
        }
        (_, None) => String::new(),
    }
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
        Letter { id: id.into(), receipt: String::new(), sent: None, received: 1, body, content }
    }

    #[test]
    fn nothing_is_chosen_by_accident() {
        let nothing = Selection::default();
        assert!(chosen_on_purpose(&nothing, false, "drop").is_err());
        assert!(chosen_on_purpose(&nothing, true, "drop").is_ok());
        let narrow = Selection { event_type: Some("OrderCreated".into()), ..Selection::default() };
        assert!(chosen_on_purpose(&narrow, false, "drop").is_ok());
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
}
