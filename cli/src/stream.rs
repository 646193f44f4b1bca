//! `mall stream`: what happened to one thing: when, by whom, why, and what it changed.
//!
//! What happened is read from the event table. What the thing was like then, its own context tells (`GET …?at=`): only there
//! is known what the events mean.

use event_store::{Commit, Until};
use kernel::{StreamId, Version};
use serde_json::{Value, json};

use crate::{
    deployed::{self, Deployed, moment},
    errors::{Error, Result},
    paths::Home,
    target::Choice,
    ui,
};

/// What can be asked about streams.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the commits of a stream, and what they made of it
    Show(Options),
}

/// Of `mall stream show`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The stream: <context>.<Aggregate>/<id>, for example ordering.Order/0198…
    #[arg(value_parser = deployed::stream_name)]
    stream: StreamId,
    /// As it was: after this version, or at this time (2026-01-31T12:00:00Z, or so long ago: 2h)
    #[arg(long, value_name = "VERSION|TIME", value_parser = until)]
    at: Option<At>,
    /// What each event changed
    #[arg(long)]
    diff: bool,
    /// Only the last commits, so many of them
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    choice: Choice,
}

/// A moment of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
struct At(Until);

fn until(text: &str) -> std::result::Result<At, String> {
    match text.parse().map(Version::new) {
        Ok(Version::NONE) => Err("versions begin with 1".into()),
        Ok(version) => Ok(At(Until::Version(version))),
        Err(_) => deployed::time(text).map(|time| At(Until::Time(time))),
    }
}

/// Does what is asked.
pub async fn run(home: &Home, command: Command) -> Result<()> {
    let Command::Show(options) = command;
    let mall = Deployed::reach(home, &options.choice).await?;
    let stream = &options.stream;
    let mut commits = mall.history(stream).await?;
    if commits.is_empty() {
        return Err(Error::Impossible {
            why: format!("{stream} does not exist: nothing has happened there"),
            advice: "Check the id, and where you look: cargo mall status".into(),
        });
    }
    let newest = commits.last().map_or(Version::NONE, Commit::last);
    if let Some(At(until)) = options.at {
        // Up to the last one that belongs to it: a clock that was ahead may have dated a commit before it
        // later.
        let count = commits.iter().rposition(|commit| is_until(commit, until)).map_or(0, |last| last + 1);
        commits.truncate(count);
    }
    let Some(end) = commits.last().map(|commit| end_of(commit, options.at)) else {
        return Err(Error::Impossible {
            why: format!("{stream} had not begun then"),
            advice: format!("Its first commit: cargo mall stream show {stream} --at 1"),
        });
    };
    if let Some(At(Until::Version(asked))) = options.at
        && asked > newest
    {
        return Err(Error::Impossible {
            why: format!("{stream} has no version {asked}: it stands at {newest}"),
            advice: format!("As it is now: cargo mall stream show {stream}"),
        });
    }
    let earlier = options.last.map_or(0, |last| commits.len().saturating_sub(last));
    let shown = &commits[earlier..];
    let place = place_of(stream);
    let mut states = States { mall: &mall, place: place.as_deref() };
    let before = shown.first().map_or(Version::NONE, |commit| commit.version.previous());
    let mut changes = Vec::new();
    if options.diff {
        let mut old = states.at(before).await?;
        let last = end.get();
        for version in before.next().get()..=last {
            let new = states.at(Version::new(version)).await?;
            changes.push(differences(&old, &new));
            old = new;
        }
    }
    let state = states.at(end).await?;
    if options.json {
        let commits: Vec<Value> = shown.iter().map(|commit| as_json(commit, end, before, &changes)).collect();
        ui::line(json!({ "stream": stream, "version": end, "commits": commits, "state": state }));
        return Ok(());
    }
    if earlier > 0 {
        ui::line(ui::dim(format!("… {earlier} commits before that: --last {}", commits.len())));
    }
    for commit in shown {
        tell(commit, end, before, options.diff.then_some(&changes[..]));
    }
    ui::heading(format!("{stream} at version {end}{}", if end == newest { ", as it is now" } else { "" }));
    match (&state, place) {
        (Value::Null, None) => ui::line(ui::dim("  No context shows streams of this category.")),
        (Value::Null, Some(_)) => ui::line(ui::dim("  It is not shown: to its context, it is not there.")),
        (state, _) => pretty(state).lines().for_each(|line| ui::line(format!("  {line}"))),
    }
    Ok(())
}

/// Whether a commit, or a part of it, belongs to what was until then.
fn is_until(commit: &Commit, until: Until) -> bool {
    match until {
        Until::Version(version) => commit.version <= version,
        Until::Time(time) => commit.at <= time,
    }
}

/// Version of the last event that counts; a version may lie within a commit.
fn end_of(commit: &Commit, at: Option<At>) -> Version {
    match at {
        Some(At(Until::Version(version))) => commit.last().min(version),
        Some(At(Until::Time(_))) | None => commit.last(),
    }
}

/// Where the API shows what a stream tells of.
pub fn place_of(stream: &StreamId) -> Option<String> {
    let path = match stream.category() {
        "baskets.Basket" => "/api/baskets",
        "customers.Customer" => "/api/customers",
        "depot.Bot" => "/api/depot/bots",
        "depot.ShoppingList" => "/api/depot/shopping",
        "inventory.StockItem" => "/api/inventory",
        "ordering.Order" => "/api/ordering",
        "payments.Invoice" => "/api/payments/invoices",
        "payments.Payment" => "/api/payments",
        "stores.Product" => "/api/stores/products",
        "stores.Store" => "/api/stores",
        _ => return None,
    };
    Some(format!("{path}/{}", stream.id()))
}

/// What a thing was like.
struct States<'a> {
    mall: &'a Deployed,
    place: Option<&'a str>,
}

impl States<'_> {
    /// After this version; null when it was not there, or nobody shows it.
    async fn at(&mut self, version: Version) -> Result<Value> {
        match self.place {
            Some(place) if version != Version::NONE => {
                let shown = self.mall.api.find(&format!("{place}?at={version}")).await?;
                // One field, named after the thing.
                Ok(match shown {
                    Some(Value::Object(fields)) if fields.len() == 1 => {
                        fields.into_iter().next().map(|(_, value)| value).unwrap_or_default()
                    }
                    shown => shown.unwrap_or_default(),
                })
            }
            Some(_) | None => Ok(Value::Null),
        }
    }
}

/// A field that is not what it was.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    path: String,
    from: Option<Value>,
    to: Option<Value>,
}

/// What is different, field by field. The version always is, and says nothing.
fn differences(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", Some(old), Some(new), &mut changes);
    changes.retain(|change| change.path != "version");
    changes
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    // What was not there had no fields.
    let (old, new) = (old.filter(|value| !value.is_null()), new.filter(|value| !value.is_null()));
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(_)) | None, Some(Value::Object(_)) | None) => {
            let fields =
                |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
            let (old, new) = (fields(old), fields(new));
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            names.into_iter().for_each(|name| compare(&below(name), old.get(name), new.get(name), changes));
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{index}]"), old.get(index), new.get(index), changes);
            }
        }
        (old, new) => changes.push(Change { path: path.to_owned(), from: old.cloned(), to: new.cloned() }),
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) => write!(f, "{path}: {from} → {to}"),
            (None, Some(to)) => write!(f, "{path}: {}", ui::good(to)),
            (Some(from), None) => write!(f, "{path}: {from} → {}", ui::bad("gone")),
            (None, None) => Ok(()),
        }
    }
}

fn tell(commit: &Commit, end: Version, before: Version, changes: Option<&[Vec<Change>]>) {
    ui::line(format!(
        "{}  {}  {}{}",
        console::style(format!("{:>5}", commit.version)).bold(),
        moment(commit.at),
        commit.actor.as_str(),
        if commit.snapshot.is_some() { ui::dim("  with a snapshot").to_string() } else { String::new() }
    ));
    let because = commit.causation.map(|event| format!(", answers event {event}")).unwrap_or_default();
    let (command, correlation) = (commit.command.id, commit.correlation);
    ui::line(format!("       {}", ui::dim(format!("command {command}, correlation {correlation}{because}"))));
    for event in commit.envelopes().filter(|event| event.version <= end) {
        let data = event.data.unwrap_or_default();
        ui::line(format!("       {} {} {data}", event.version, console::style(&event.event_type).cyan()));
        let index = event.version.get().saturating_sub(before.next().get());
        let changes = changes.and_then(|all| all.get(usize::try_from(index).ok()?));
        for change in changes.into_iter().flatten() {
            ui::line(format!("           {change}"));
        }
    }
}

fn as_json(commit: &Commit, end: Version, before: Version, changes: &[Vec<Change>]) -> Value {
    let events: Vec<Value> = commit
        .envelopes()
        .filter(|event| event.version <= end)
        .map(|event| {
            let index = event.version.get().saturating_sub(before.next().get());
            let changed = usize::try_from(index).ok().and_then(|index| changes.get(index)).map(|changes| {
                let change = |c: &Change| json!({ "path": c.path, "from": c.from, "to": c.to });
                changes.iter().map(change).collect::<Vec<_>>()
            });
            json!({
                "id": event.id, "type": event.event_type, "schema": event.schema, "version": event.version,
                "data": event.data, "changed": changed,
            })
        })
        .collect();
    json!({
        "version": commit.version, "next": commit.next, "at": commit.at, "actor": commit.actor.as_str(),
        "command": commit.command.id.to_string(), "correlation": commit.correlation,
        "causation": commit.causation, "trace": commit.trace.as_ref().map(|trace| trace.as_str()),
        "snapshot": commit.snapshot.is_some(), "events": events,
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_moment_is_a_version_or_a_time() {
        assert_eq!(until("7"), Ok(At(Until::Version(Version::new(7)))));
        let time: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(until("2026-01-31T12:00:00Z"), Ok(At(Until::Time(time))));
        for bad in ["0", "-1", "", "soon"] {
            assert!(until(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_difference_names_each_field_and_nothing_that_stayed() {
        console::set_colors_enabled(false);
        let old =
            json!({ "status": "open", "version": 1, "items": [{ "id": 1, "quantity": 2 }], "note": "x" });
        let new = json!({
            "status": "open", "version": 2, "items": [{ "id": 1, "quantity": 3 }, { "id": 2, "quantity": 1 }]
        });
        let told: Vec<String> = differences(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["items[0].quantity: 2 → 3", "items[1].id: 2", "items[1].quantity: 1", "note: \"x\" → gone"]
        );
        assert_eq!(differences(&Value::Null, &json!({ "a": 1 }))[0].to_string(), "a: 1");
        assert!(differences(&old, &old).is_empty());
    }

    #[test]
    fn every_category_that_has_a_read_of_the_past_has_its_place() {
        // Generated from the code, so that a context's new read is not forgotten here.
        let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let past = paths.iter().filter(|(_, path)| {
            let parameters = path["get"]["parameters"].as_array();
            parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "at"))
        });
        let mut found: Vec<String> = past.map(|(path, _)| path.replace("{id}", "7")).collect();
        found.sort();
        let categories = [
            "baskets.Basket",
            "customers.Customer",
            "depot.Bot",
            "depot.ShoppingList",
            "inventory.StockItem",
            "ordering.Order",
            "payments.Invoice",
            "payments.Payment",
            "stores.Product",
            "stores.Store",
        ];
        let stream = |category: &&str| format!("{category}/7").parse().unwrap();
        let mut known: Vec<String> = categories.iter().filter_map(|c| place_of(&stream(c))).collect();
        known.sort();
        assert_eq!(known, found);
        assert_eq!(place_of(&"toys.Doll/7".parse().unwrap()), None);
    }
}
