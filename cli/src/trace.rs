//! `mall trace`: what came of a request or an order, as a tree of commands and events across all contexts.
//!
//! Each commit says which event it answers (its causation) and which request it goes back to (its correlation). Of an order
//! the streams are known that it reaches; of a correlation alone they are not, so that the whole event table is read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use contracts::{
    depot::{BotEvent, ShoppingListEvent},
    ids::{BotId, ShoppingListId, shopping_list_of},
    ordering::OrderEvent,
};
use event_store::Commit;
use jiff::SignedDuration;
use kernel::{StreamId, Uuid, Version};

use crate::{
    deploy,
    deployed::{Deployed, Scanned, Unreadable, Wanted, moment},
    errors::{Error, Result},
    paths::Home,
    progress,
    target::Choice,
    ui,
};

/// How long before an order its payment may have been authorized by another request of the same shopper, and clocks
/// may differ.
const BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// What to trace.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// An order, or a correlation id as answers carry it (X-Correlation-Id)
    id: Uuid,
    /// It is a correlation id, even if there is an order with that id
    #[arg(long)]
    correlation: bool,
    /// Do not ask before the whole event table is read, which a correlation id needs
    #[arg(long)]
    yes: bool,
    /// For programs: the commits, oldest first
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    choice: Choice,
}

/// Does it.
pub async fn run(home: &Home, options: &Options) -> Result<()> {
    let mall = Deployed::reach(home, &options.choice).await?;
    let of_order = if options.correlation { None } else { order(&mall, options.id).await? };
    let (commits, unreadable) = match of_order {
        Some(commits) => (commits, Vec::new()),
        None => correlated(&mall, options).await?,
    };
    if commits.is_empty() && unreadable.is_empty() {
        return Err(Error::Impossible {
            why: format!("{} is no order, and nothing that happened belongs to it", options.id),
            advice: "Answers carry the id of their request: X-Correlation-Id. A request that changed nothing leaves no \
                     trace but in the logs: cargo mall logs"
                .into(),
        });
    }
    if options.json {
        let commits: Vec<_> = commits.iter().map(as_json).collect();
        ui::line(serde_json::Value::Array(commits));
        return whole(&unreadable);
    }
    drawn(&commits).into_iter().for_each(ui::line);
    let contexts: HashSet<&str> = commits.iter().map(|commit| commit.stream.context()).collect();
    let events: usize = commits.iter().map(|commit| commit.events.len()).sum();
    ui::line("");
    ui::line(format!("{events} events of {} commands in {} contexts", commits.len(), contexts.len()));
    whole(&unreadable)
}

/// Says what is missing from what was shown.
fn whole(unreadable: &[Unreadable]) -> Result<()> {
    if unreadable.is_empty() {
        return Ok(());
    }
    for item in unreadable {
        ui::note(format!("{} {item}", ui::bad("✗")));
    }
    Err(Error::Impossible {
        why: format!("{} commits that belong to it are not shown: they cannot be read", unreadable.len()),
        advice: "Mend these items of the event table.".into(),
    })
}

/// Everything of an order, or `None` when there is no such order.
async fn order(mall: &Deployed, id: Uuid) -> Result<Option<Vec<Commit>>> {
    let stream = named(format!("ordering.Order/{id}"))?;
    let own = mall.history(&stream).await?;
    let Some(first) = own.first() else { return Ok(None) };
    let (since, created) = (first.at, first.envelopes().next());
    let since = since.checked_sub(BEFORE).unwrap_or(since);
    let list = shopping_list_of(kernel::Id::new(id));
    let mut streams = vec![
        named(format!("ordering.Saga/{id}"))?,
        named(format!("baskets.Basket/{id}"))?,
        named(format!("depot.ShoppingList/{list}"))?,
        named(format!("payments.Invoice/{id}"))?,
        named(format!("inventory.Reservation/{id}"))?,
    ];
    // Streams that others write to as well, and long ones.
    let mut shared = Vec::new();
    // An event that cannot be read is shown all the same; only where it leads is not known.
    if let Some(Ok(OrderEvent::OrderCreated(created))) = created.map(|event| event.event::<OrderEvent>()) {
        streams.push(named(format!("payments.Payment/{}", created.payment_id))?);
        shared.push(named(format!("customers.Customer/{}", created.customer_id))?);
        for item in &created.items {
            shared.push(named(format!("inventory.StockItem/{}", item.product_id))?);
        }
    }
    let mut commits = own;
    for stream in streams {
        commits.extend(mall.history(&stream).await?);
    }
    for bot in bots(&commits) {
        shared.push(named(format!("depot.Bot/{bot}"))?);
    }
    // Only those of this order, from its time on, are wanted.
    for stream in shared {
        let ours = Ours::of(list, &commits);
        commits.extend(mall.history_since(&stream, since, |commit| ours.has(commit)).await?);
    }
    Ok(Some(sorted(commits)))
}

/// The bots that had the order's shopping list. An event that cannot be read names none.
fn bots(commits: &[Commit]) -> BTreeSet<BotId> {
    let lists = commits.iter().filter(|commit| commit.stream.category() == "depot.ShoppingList");
    let events = lists.flat_map(Commit::envelopes).filter_map(|event| event.event().ok());
    let bots = events.filter_map(|event| match event {
        ShoppingListEvent::ShoppingListCreated(_) | ShoppingListEvent::ShoppingListInitiated(_) => None,
        ShoppingListEvent::ShoppingListAssigned(assigned) => Some(assigned.bot_id),
        ShoppingListEvent::ShoppingListStarted(started) => Some(started.bot_id),
        ShoppingListEvent::ShoppingListCompleted(completed) => Some(completed.bot_id),
        ShoppingListEvent::ShoppingListCanceled(canceled) => canceled.bot_id,
    });
    bots.collect()
}

/// What tells an order's commits from those of others in the same stream: they go back to the same requests, answer the
/// same events, or name its shopping list.
struct Ours {
    requests: HashSet<Uuid>,
    events: HashSet<Uuid>,
    list: ShoppingListId,
}

impl Ours {
    /// By what is known of the order already.
    fn of(list: ShoppingListId, known: &[Commit]) -> Self {
        let orders = known.iter().filter(|commit| commit.stream.category() == "ordering.Order");
        Self {
            requests: orders.map(|commit| commit.correlation).collect(),
            events: known.iter().flat_map(|commit| commit.events.iter().map(|event| event.id)).collect(),
            list,
        }
    }

    fn has(&self, commit: &Commit) -> bool {
        self.requests.contains(&commit.correlation)
            || commit.causation.is_some_and(|event| self.events.contains(&event))
            || self.is_of_its_bot(commit)
    }

    fn is_of_its_bot(&self, commit: &Commit) -> bool {
        let names_it = |event: BotEvent| match event {
            BotEvent::BotActivated(activated) => activated.shopping_list_id == self.list,
            BotEvent::BotIdled(idled) => idled.shopping_list_id == self.list,
            BotEvent::BotRegistered(_) => false,
        };
        commit.stream.category() == "depot.Bot"
            && commit.envelopes().filter_map(|event| event.event().ok()).any(names_it)
    }
}

async fn correlated(mall: &Deployed, options: &Options) -> Result<(Vec<Commit>, Vec<Unreadable>)> {
    let size = mall.size().await?;
    let cost = size.cost();
    if !options.yes {
        let what = format!("To find what belongs to a correlation, the whole event table is read: {cost}.");
        deploy::confirmed(&what).await?;
    }
    let bar = progress::begin("Reading the event table: commits found", 0);
    let mut found = mall.scan(&Wanted { correlation: Some(options.id), ..Wanted::default() });
    let (mut commits, mut unreadable) = (Vec::new(), Vec::new());
    while let Some(found) = found.recv().await {
        match found? {
            Scanned::Commit(commit) => commits.push(*commit),
            Scanned::Unreadable(item) => unreadable.push(item),
        }
        bar.more(1);
    }
    Ok((sorted(commits), unreadable))
}

fn named(stream: String) -> Result<StreamId> {
    stream.parse().map_err(|error: kernel::StreamIdError| Error::Impossible {
        why: error.to_string(),
        advice: "Give a UUID.".into(),
    })
}

/// In the order of time; within a stream, of versions.
fn sorted(mut commits: Vec<Commit>) -> Vec<Commit> {
    commits.sort_by(|a, b| (a.at, &a.stream, a.version).cmp(&(b.at, &b.stream, b.version)));
    commits
}

/// The tree: below each event the commands that answer it.
fn drawn(commits: &[Commit]) -> Vec<String> {
    let home: HashMap<Uuid, usize> = commits
        .iter()
        .enumerate()
        .flat_map(|(index, commit)| commit.events.iter().map(move |event| (event.id, index)))
        .collect();
    let mut answers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (index, commit) in commits.iter().enumerate() {
        match commit.causation.filter(|event| home.get(event).is_some_and(|at| *at != index)) {
            Some(event) => answers.entry(event).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut tree = Tree { commits, answers, lines: Vec::new(), drawn: HashSet::new() };
    for root in roots {
        tree.draw(root, "", "");
    }
    // A circle of causes cannot come about by itself; should one stand in the table, it is drawn, and not lost.
    for index in 0..commits.len() {
        tree.draw(index, "", "");
    }
    tree.lines
}

struct Tree<'a> {
    commits: &'a [Commit],
    answers: BTreeMap<Uuid, Vec<usize>>,
    lines: Vec<String>,
    drawn: HashSet<usize>,
}

impl Tree<'_> {
    fn draw(&mut self, index: usize, first: &str, rest: &str) {
        if !self.drawn.insert(index) {
            return;
        }
        let commits = self.commits;
        let commit = &commits[index];
        let who = format!("{}  {}", commit.actor.as_str(), moment(commit.at));
        self.lines.push(format!("{first}{} {}", console::style(&commit.stream).bold(), ui::dim(who)));
        for (place, event) in commit.events.iter().enumerate() {
            let last = place + 1 == commit.events.len();
            let (tee, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let version = commit.version.plus(place as u64);
            self.lines.push(format!("{rest}{tee}{}", told(version, &event.event.event_type)));
            let answers = self.answers.get(&event.id).cloned().unwrap_or_default();
            for (place, answer) in answers.iter().enumerate() {
                let last = place + 1 == answers.len();
                let (tee, deeper) = if last { ("└▶ ", "   ") } else { ("├▶ ", "│  ") };
                self.draw(*answer, &format!("{rest}{below}{tee}"), &format!("{rest}{below}{deeper}"));
            }
        }
    }
}

fn told(version: Version, event_type: &str) -> String {
    format!("{version} {}", console::style(event_type).cyan())
}

fn as_json(commit: &Commit) -> serde_json::Value {
    let events: Vec<_> = commit
        .envelopes()
        .map(
            |event| serde_json::json!({ "id": event.id, "type": event.event_type, "version": event.version }),
        )
        .collect();
    serde_json::json!({
        "stream": commit.stream, "version": commit.version, "at": commit.at, "actor": commit.actor.as_str(),
        "command": commit.command.id.to_string(), "correlation": commit.correlation,
        "causation": commit.causation, "events": events,
    })
}

#[cfg(test)]
mod tests {
    use contracts::depot::{BotActivated, BotIdled, BotRegistered, ShoppingListAssigned};
    use event_store::CommittedEvent;
    use kernel::{Actor, CommandId, CommandStamp, PayloadHash, RawEvent, Timestamp};

    use super::*;

    /// The commit of the events with these numbers, which answers another.
    fn commit(stream: &str, second: i64, events: &[u128], causation: Option<u128>) -> Commit {
        let event = |id: &u128| CommittedEvent {
            id: Uuid::from_u128(*id),
            event: RawEvent { event_type: format!("E{id}"), schema: 1, data: serde_json::json!({}) },
        };
        Commit {
            stream: stream.parse().unwrap(),
            version: Version::FIRST,
            next: Version::new(1 + events.len() as u64),
            events: events.iter().map(event).collect(),
            command: CommandStamp { id: CommandId::new(Uuid::nil()), hash: PayloadHash::of(&()) },
            at: Timestamp::from_second(second).unwrap(),
            actor: Actor::new("tester"),
            correlation: Uuid::from_u128(99),
            causation: causation.map(Uuid::from_u128),
            trace: None,
            attempt: 0,
            snapshot: None,
        }
    }

    fn plain(commits: Vec<Commit>) -> Vec<String> {
        console::set_colors_enabled(false);
        drawn(&sorted(commits)).iter().map(|line| line.replace("  1970-01-01 00:00:0", " +")).collect()
    }

    #[test]
    fn what_answers_an_event_stands_below_it() {
        let lines = plain(vec![
            commit("c.C/1", 3, &[5], Some(3)),
            commit("a.A/1", 1, &[1, 2], None),
            commit("b.B/1", 2, &[3, 4], Some(1)),
            commit("d.D/1", 4, &[6], Some(1)),
        ]);
        assert_eq!(
            lines,
            [
                "a.A/1 tester +1.000",
                "├─ 1 E1",
                "│  ├▶ b.B/1 tester +2.000",
                "│  │  ├─ 1 E3",
                "│  │  │  └▶ c.C/1 tester +3.000",
                "│  │  │     └─ 1 E5",
                "│  │  └─ 2 E4",
                "│  └▶ d.D/1 tester +4.000",
                "│     └─ 1 E6",
                "└─ 2 E2",
            ]
        );
    }

    #[test]
    fn no_commit_is_lost_where_causes_are_missing_or_go_in_circles() {
        let lines = plain(vec![
            commit("a.A/1", 1, &[1], Some(77)),
            commit("b.B/1", 2, &[2], Some(3)),
            commit("c.C/1", 3, &[3], Some(2)),
            commit("d.D/1", 4, &[4], Some(4)),
        ]);
        for stream in ["a.A/1", "b.B/1", "c.C/1", "d.D/1"] {
            assert_eq!(
                lines.iter().filter(|line| line.contains(stream)).count(),
                1,
                "{stream} in {lines:#?}"
            );
        }
    }

    #[test]
    fn only_this_orders_commits_are_taken_from_what_it_shares_with_others() {
        let order = commit("ordering.Order/1", 1, &[1], None);
        let ours = commit("inventory.StockItem/1", 2, &[2], Some(1));
        let mut theirs = commit("inventory.StockItem/1", 3, &[3], Some(50));
        theirs.correlation = Uuid::from_u128(98);
        let known = Ours::of(kernel::Id::derived(&["list"]), &[order]);
        assert_eq!([ours, theirs].map(|commit| known.has(&commit)), [true, false]);
    }

    /// The commit of one event, by a request of its own.
    fn told<E: kernel::Event>(stream: &str, second: i64, event: &E) -> Commit {
        let mut commit = commit(stream, second, &[second as u128], None);
        commit.correlation = Uuid::from_u128(1000 + second as u128);
        commit.events[0].event = event.to_raw().unwrap();
        commit
    }

    #[test]
    fn the_bot_that_collected_an_order_is_not_left_out() {
        let (order_id, bot_id, other) =
            (kernel::Id::derived(&["order"]), kernel::Id::derived(&["bot"]), kernel::Id::derived(&["other"]));
        let list = shopping_list_of(order_id);
        let stream = format!("depot.ShoppingList/{list}");
        let assigned = ShoppingListAssigned { order_id, bot_id };
        let assigned = told(&stream, 1, &ShoppingListEvent::ShoppingListAssigned(assigned));
        let mut unreadable = commit(&stream, 2, &[2], None);
        unreadable.correlation = Uuid::from_u128(1002);
        let known = [assigned, unreadable];
        assert_eq!(bots(&known), BTreeSet::from([bot_id]));

        // Assigned by a request of its own, and freed by a policy long afterwards: by what happened to the list, or not.
        let bot = format!("depot.Bot/{bot_id}");
        let took = |list| BotEvent::BotActivated(BotActivated { shopping_list_id: list });
        let idled = BotEvent::BotIdled(BotIdled { shopping_list_id: list });
        let commits = [
            told(&bot, 3, &took(list)),
            told(&bot, 4, &idled),
            told(&bot, 5, &took(other)),
            told(&bot, 6, &BotEvent::BotRegistered(BotRegistered { name: "Tracy".into() })),
        ];
        let ours = Ours::of(list, &known);
        assert_eq!(commits.map(|commit| ours.has(&commit)), [true, true, false, false]);
    }
}
