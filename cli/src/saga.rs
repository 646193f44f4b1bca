//! `mall saga`: lists the sagas of orders, shows one, and asks the mall to try again or to undo an order.
//!
//! Everything goes through the API of ordering, which decides if there is something to do. The tool then
//! looks on for a while and says how it ended; the mall goes on without it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api::Api,
    deploy,
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
    target::Choice,
    ui,
};

/// Time to look on after a command.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Most sagas that one request answers.
const PAGE: u16 = 100;
/// Most requests for a list: a page may have fewer sagas than it could, or none at all.
const PAGES: usize = 50;

/// Questions and commands about sagas.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List order sagas, newest first
    List {
        /// Only sagas with this status
        #[arg(long)]
        status: Option<Status>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        choice: Choice,
    },
    /// Show the saga of an order: its steps, its errors, and what came of it
    Show(Which),
    /// Start the next attempt of a saga now, without waiting for its time
    ///
    /// The placement of a pending order is started again, or the undo of an order that is stuck or did not
    /// end. Steps that were done are not done again.
    Retry(Which),
    /// Undo an order
    ///
    /// Rejects a pending order, or cancels an approved or ready one; then settles its invoice and payment,
    /// cancels its shopping list and releases its stock. Steps that were done are not done again. A paid
    /// order is kept.
    Compensate {
        #[command(flatten)]
        which: Which,
        /// Reason that the order shows [default: the mall's own]
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Order that a command is about.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The order
    order: Uuid,
    #[command(flatten)]
    choice: Choice,
}

/// Status of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The order is being placed
    Running,
    /// The order is approved, or further
    Succeeded,
    /// The order is being undone
    Undoing,
    /// Everything is undone
    Undone,
    /// The saga cannot go on by itself
    Stuck,
}

impl Status {
    /// Name of the status, here as in the API.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Runs a command.
pub async fn run(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::List { status, limit, choice } => list(&reach(home, &choice).await?, status, limit).await,
        Command::Show(which) => {
            let (_, detail) = find(home, &which).await?;
            shown(&detail).into_iter().for_each(ui::line);
            Ok(())
        }
        Command::Retry(which) => {
            let (api, before) = find(home, &which).await?;
            carry_out(&api, &before, Wish::Retry, json!({})).await
        }
        Command::Compensate { which, reason, yes } => {
            let (api, before) = find(home, &which).await?;
            if !yes {
                ui::line(format!("Order {}: {}", which.order, before.timeline.summary));
                deploy::confirmed(&consequence(&before.saga.order)).await?;
            }
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            carry_out(&api, &before, Wish::Undo, body).await
        }
    }
}

async fn reach(home: &Home, choice: &Choice) -> Result<Api> {
    let target = choice.target(home)?;
    target.reach().await?;
    Api::at(&Stack::deployed(home, &target)?.api)
}

async fn find(home: &Home, Which { order, choice }: &Which) -> Result<(Api, Detail)> {
    let api = reach(home, choice).await?;
    let detail = look(&api, *order).await?;
    Ok((api, detail))
}

async fn look(api: &Api, order: Uuid) -> Result<Detail> {
    let path = format!("/api/sagas/{order}");
    let body = api.find(&path).await?.ok_or(Error::NoSuchOrder { order })?;
    understood(&path, "a saga", body["saga"].clone())
}

fn understood<T: serde::de::DeserializeOwned>(path: &str, expected: &'static str, body: Value) -> Result<T> {
    T::deserialize(&body).map_err(|_| Error::Unexpected {
        request: format!("GET {path}"),
        expected,
        body: body.to_string(),
    })
}

// ---- the answers of the API

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saga {
    id: Uuid,
    status: Status,
    started_at: Timestamp,
    changed_at: Option<Timestamp>,
    /// Status of the order.
    order: String,
    attempts: u32,
    origin: Option<String>,
    reason: Option<String>,
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Deserialize)]
struct Detail {
    #[serde(flatten)]
    saga: Saga,
    steps: Vec<Step>,
    /// Events of the saga's own stream.
    history: Vec<Entry>,
    /// Execution of the last undo.
    run: Option<Run>,
    timeline: Timeline,
}

/// Step as the events of the order and its parts tell it.
#[derive(Debug, Clone, Deserialize)]
struct Step {
    name: String,
    event: String,
    at: Option<Timestamp>,
    attempts: Option<u32>,
    by: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    name: String,
    status: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    state: Option<String>,
    failure: Option<Failure>,
    transitions: u32,
    steps: Vec<Task>,
}

/// Step of an execution.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    name: String,
    outcome: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    attempts: u32,
    failures: Vec<Failure>,
}

#[derive(Debug, Clone, Deserialize)]
struct Failure {
    error: String,
    cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.cause)
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Timeline {
    summary: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    at: Timestamp,
    what: String,
    text: String,
    /// Empty in the history of a saga, which is of ordering alone.
    #[serde(default)]
    context: String,
    by: String,
}

// ---- looking

#[derive(Deserialize)]
struct Page {
    sagas: Vec<Saga>,
    next: Option<String>,
}

/// Reads one page of sagas, newest first.
async fn page(
    get: &impl AsyncFn(&str) -> Result<Value>,
    status: Option<Status>,
    limit: u16,
    cursor: Option<String>,
) -> Result<Page> {
    let status = status.map(|status| format!("&status={}", status.name())).unwrap_or_default();
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let path = format!("/api/sagas?limit={limit}{status}{cursor}");
    understood(&path, "a list of sagas", get(&path).await?)
}

/// Follows the cursors of a list until it has `limit` sagas. The flag says that there are more.
async fn gathered(
    get: impl AsyncFn(&str) -> Result<Value>,
    status: Option<Status>,
    limit: u16,
) -> Result<(Vec<Saga>, bool)> {
    let (mut sagas, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES {
        let left = usize::from(limit).saturating_sub(sagas.len());
        let left = u16::try_from(left).unwrap_or(PAGE).min(PAGE);
        if left == 0 {
            return Ok((sagas, true));
        }
        let page = page(&get, status, left, cursor).await?;
        sagas.extend(page.sagas);
        cursor = page.next;
        if cursor.is_none() {
            return Ok((sagas, false));
        }
    }
    Ok((sagas, true))
}

/// Counts the sagas that are under way, and those that need somebody: for `mall status`.
pub async fn counted(api: &Api) -> Result<String> {
    let get = async |path: &str| api.get(path).await;
    let mut shown = Vec::new();
    for status in [Status::Running, Status::Undoing, Status::Stuck] {
        let Page { sagas, next } = page(&get, Some(status), PAGE, None).await?;
        let least = if next.is_some() { "at least " } else { "" };
        let text = format!("{least}{} {}", sagas.len(), status.name());
        let alarming = status == Status::Stuck && (!sagas.is_empty() || next.is_some());
        shown.push(if alarming { ui::bad(text).to_string() } else { text });
    }
    Ok(shown.join(", "))
}

async fn list(api: &Api, status: Option<Status>, limit: u16) -> Result<()> {
    let (sagas, more) = gathered(async |path: &str| api.get(path).await, status, limit).await?;
    if sagas.is_empty() {
        ui::line("There are none.");
        return Ok(());
    }
    listed(&sagas, Timestamp::now()).into_iter().for_each(ui::line);
    if more {
        ui::line(ui::dim(format!("  and older ones: --limit {}", limit.saturating_mul(2).min(1000))));
    }
    Ok(())
}

fn listed(sagas: &[Saga], now: Timestamp) -> Vec<String> {
    let header = ["order", "saga", "order is", "started", "age", "attempts", "why"];
    table(header, sagas, |saga| {
        [
            saga.id.to_string(),
            coloured(&saga.status.name()),
            saga.order.clone(),
            moment(saga.started_at),
            age(between(saga.started_at, now)),
            saga.attempts.to_string(),
            why(saga),
        ]
    })
}

fn table<T, const N: usize>(header: [&str; N], of: &[T], cells: impl Fn(&T) -> [String; N]) -> Vec<String> {
    let rows = of.iter().map(|one| cells(one).to_vec());
    ui::table(&[header.map(str::to_owned).to_vec()].into_iter().chain(rows).collect::<Vec<_>>())
}

/// Failure of a saga, or else its reason, short enough for a column.
fn why(saga: &Saga) -> String {
    const WIDTH: usize = 60;
    let failure = saga.failure.as_ref().map(Failure::to_string);
    let text = failure.or_else(|| saga.reason.clone()).unwrap_or_default();
    console::truncate_str(&text, WIDTH, "…").into_owned()
}

fn shown(detail: &Detail) -> Vec<String> {
    let Detail { saga, steps, history, run, timeline } = detail;
    let mut lines = vec![format!("Saga of order {}: {}", saga.id, coloured(&saga.status.name()))];
    lines.push(timeline.summary.clone());
    let mut facts = vec![format!("started {}", moment(saga.started_at))];
    facts.extend(saga.changed_at.map(|at| format!("changed {}", moment(at))));
    facts.push(format!("attempts: {}", saga.attempts));
    facts.extend(saga.origin.as_ref().map(|origin| format!("undone for: {origin}")));
    facts.extend(saga.reason.as_ref().map(|reason| format!("reason: {reason}")));
    lines.push(facts.join(", "));
    lines.extend(saga.failure.as_ref().map(|failure| ui::bad(failure).to_string()));
    let mut part = |title: &str, rows: Vec<String>| {
        lines.extend([String::new(), console::style(title).bold().to_string()]);
        lines.extend(rows);
    };
    part("Steps", done(steps));
    if !history.is_empty() {
        part("History of the saga", told(history));
    }
    if let Some(run) = run {
        let state = run.state.as_deref().unwrap_or("nowhere yet");
        let mut rows = vec![format!(
            "  started {}, {}, {} transitions, in {state}",
            moment(run.started_at),
            took(run.started_at, run.ended_at),
            run.transitions
        )];
        rows.extend(run.failure.as_ref().map(|failure| format!("  {}", ui::bad(failure))));
        rows.extend(tasks(&run.steps));
        part(&format!("{}  {}", run.name, coloured(&run.status)), rows);
    }
    part("Timeline", told(&timeline.entries));
    lines
}

fn done(steps: &[Step]) -> Vec<String> {
    table(["step", "done", "attempts", "event", "by"], steps, |step| {
        let at = step.at.map_or_else(|| ui::dim("not done").to_string(), clock);
        let attempts = step.attempts.map(|attempts| attempts.to_string()).unwrap_or_default();
        let by = ui::dim(step.by.as_deref().unwrap_or_default()).to_string();
        [step.name.clone(), at, attempts, step.event.clone(), by]
    })
}

/// Lays out the steps of an execution, each error on its own line.
fn tasks(steps: &[Task]) -> Vec<String> {
    let lines: Vec<(&Task, usize)> =
        steps.iter().flat_map(|step| (0..step.failures.len().max(1)).map(move |line| (step, line))).collect();
    table(["step", "", "started", "took", "attempts", "errors"], &lines, |&(step, line)| {
        let first = |cell: String| if line == 0 { cell } else { String::new() };
        [
            first(step.name.clone()),
            first(coloured(&step.outcome)),
            first(clock(step.started_at)),
            first(took(step.started_at, step.ended_at)),
            first(step.attempts.to_string()),
            step.failures.get(line).map(Failure::to_string).unwrap_or_default(),
        ]
    })
}

fn told(entries: &[Entry]) -> Vec<String> {
    table(["time", "context", "event", "", "by"], entries, |entry| {
        let Entry { at, what, text, context, by } = entry;
        [clock(*at), context.clone(), what.clone(), text.clone(), ui::dim(by).to_string()]
    })
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S%.3f").to_string()
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn took(from: Timestamp, to: Option<Timestamp>) -> String {
    to.map_or_else(|| "…".to_owned(), |to| ui::duration(between(from, to)))
}

/// Formats an age in its largest unit: `45 s`, `12 min`, `5 h`, `3 d`.
fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn coloured(status: &str) -> String {
    match status {
        "succeeded" | "undone" | "done" => ui::good(status).to_string(),
        "stuck" | "failed" | "aborted" => ui::bad(status).to_string(),
        _ => ui::warn(status).to_string(),
    }
}

// ---- doing

/// Wish of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Retry,
    Undo,
}

/// Effects of an undo on an order with this status.
fn consequence(order: &str) -> String {
    let closing = match order {
        "pending" => "rejected",
        "approved" | "ready" => "cancelled",
        _ => "left as it is",
    };
    format!(
        "The order is {order}. It will be {closing}; then its invoice is cancelled, its payment released or \
         refunded, its shopping list cancelled and its stock released."
    )
}

/// Sends a command about a saga, and looks on until the saga is at rest.
async fn carry_out(api: &Api, before: &Detail, wish: Wish, body: Value) -> Result<()> {
    let order = before.saga.id;
    let path = match wish {
        Wish::Retry => format!("/api/sagas/{order}/retry"),
        Wish::Undo => format!("/api/sagas/{order}/undo"),
    };
    match api.post(&path, &body).await {
        Ok(_) => {}
        Err(Error::Conflict { code, said, .. }) => {
            let (why, advice) = (format!("order {order}: {said}"), advice(&code, &before.saga));
            return Err(Error::SagaNotNow { why, advice });
        }
        Err(error) => return Err(error),
    }
    let task = ui::task(format!("Order {order}"));
    let started = Instant::now();
    loop {
        let now = look(api, order).await?;
        if is_at_rest(before, &now) {
            task.done(outcome(wish, &now.saga)?);
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            drop(task);
            ui::line(format!("  It is still at work, and goes on without us: cargo mall saga show {order}"));
            return Ok(());
        }
        task.at(&now.timeline.summary);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Advises an operator whose command was refused.
fn advice(code: &str, Saga { id, order, status, .. }: &Saga) -> String {
    let show = format!("cargo mall saga show {id}");
    let undo = format!("to undo the order: cargo mall saga compensate {id}");
    match (code, status) {
        ("ORDER_IS_PAID", _) => {
            "A paid order is kept: let it complete, then refund its payment by hand.".into()
        }
        ("ORDER_IS_COMPLETED", _) => "Its goods have left the mall. Refund its payment by hand.".into(),
        ("SAGA_NEEDS_NOTHING", Status::Succeeded) => format!("The order is {order}; {undo}"),
        ("SAGA_NEEDS_NOTHING", Status::Undone) => format!("Everything is undone: the order is {order}."),
        ("SAGA_NEEDS_NOTHING", Status::Stuck) => format!("See why it is stuck: {show}; {undo}"),
        (_, _) => format!("See where it is: {show}"),
    }
}

/// Reports that a saga has come to rest. One that stands where it stood `before` has not: its next attempt
/// may not be visible yet. Everything undone is the end of every saga.
fn is_at_rest(before: &Detail, now: &Detail) -> bool {
    let seen = |it: &Detail| (it.saga.status, it.saga.order.clone(), it.saga.attempts, it.history.len());
    match now.saga.status {
        Status::Running | Status::Undoing => false,
        Status::Undone => true,
        Status::Succeeded | Status::Stuck => seen(before) != seen(now),
    }
}

/// Describes how a saga came to rest.
///
/// # Errors
/// [`Error::SagaNotFinished`] for a saga that is stuck, [`Error::OrderKept`] for an order that was to be
/// undone and is not.
fn outcome(wish: Wish, saga: &Saga) -> Result<String> {
    let (order, status) = (saga.id, &saga.order);
    match (saga.status, wish) {
        (Status::Undone, _) => Ok(format!("Everything is undone: order {order} is {status}")),
        (Status::Succeeded, Wish::Undo) => Err(Error::OrderKept { order, status: status.clone() }),
        (Status::Succeeded | Status::Running | Status::Undoing, _) => {
            Ok(format!("Order {order} is {status}"))
        }
        (Status::Stuck, _) => {
            let why = saga.failure.as_ref().map_or_else(|| "it does not say why".into(), Failure::to_string);
            Err(Error::SagaNotFinished { order, why })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const ORDER: Uuid = Uuid::from_u128(7);

    fn answered(changes: Value) -> Value {
        let mut saga = json!({
            "id": ORDER, "status": "stuck", "startedAt": "2026-11-20T12:00:00Z", "order": "rejected", "attempts": 4,
            "origin": "placement", "reason": "OUT_OF_STOCK", "failure": { "error": "UNDO_FAILED", "cause": "down" },
            "steps": [], "history": [], "timeline": { "status": "rejected", "summary": "It was rejected.", "entries": [] },
        });
        saga.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        saga
    }

    fn detail(changes: Value) -> Detail {
        serde_json::from_value(answered(changes)).unwrap()
    }

    fn lines(changes: Value) -> Vec<String> {
        console::set_colors_enabled(false);
        shown(&detail(changes))
    }

    #[tokio::test]
    async fn a_list_goes_on_behind_pages_that_are_short_or_empty() {
        let asked = RefCell::new(Vec::new());
        let get = async |path: &str| {
            asked.borrow_mut().push(path.to_owned());
            let (sagas, next) = match asked.borrow().len() {
                1 => (vec![answered(json!({}))], json!("a")),
                2 => (vec![], json!("b")),
                _ => (vec![answered(json!({})); 2], json!("c")),
            };
            Ok(json!({ "sagas": sagas, "next": next }))
        };
        let (sagas, more) = gathered(get, Some(Status::Stuck), 3).await.unwrap();
        assert_eq!((sagas.len(), more), (3, true));
        assert_eq!(
            asked.into_inner(),
            [
                "/api/sagas?limit=3&status=stuck",
                "/api/sagas?limit=2&status=stuck&cursor=a",
                "/api/sagas?limit=2&status=stuck&cursor=b"
            ]
        );
        let last = async |_: &str| Ok(json!({ "sagas": [answered(json!({}))], "next": null }));
        let (sagas, more) = gathered(last, None, 3).await.unwrap();
        assert_eq!((sagas.len(), more), (1, false));
    }

    #[test]
    fn a_list_says_why_and_since_when_a_saga_is_stuck() {
        console::set_colors_enabled(false);
        let sagas = [detail(json!({})).saga, detail(json!({ "status": "undoing", "failure": null })).saga];
        let now = "2026-11-22T13:00:00Z".parse().unwrap();
        let lines = listed(&sagas, now);
        let common = "2026-11-20 12:00:00  2 d  4 ";
        assert!(lines[1].contains(common) && lines[1].ends_with("UNDO_FAILED: down"), "{lines:?}");
        assert!(lines[2].contains("undoing") && lines[2].ends_with("OUT_OF_STOCK"), "{lines:?}");
        let long = json!({ "failure": { "error": "X", "cause": "ä".repeat(100) } });
        assert_eq!(why(&detail(long).saga).chars().count(), 60, "a column, and no page");
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400 * 14].map(Duration::from_secs);
        assert_eq!(ages.map(age), ["0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "14 d"]);
    }

    #[test]
    fn a_saga_is_shown_with_its_steps_its_history_and_what_undid_it() {
        let at = |second: u32| format!("2026-11-20T12:00:{second:02}Z");
        let lines = lines(json!({
            "steps": [
                { "name": "ReserveInventory", "event": "InventoryReserved", "at": at(1), "attempts": 3 },
                { "name": "ConfirmPayment", "event": "PaymentConfirmed", "at": at(2), "by": "direct" },
                { "name": "ApproveOrder", "event": "OrderApproved" },
            ],
            "history": [{ "at": at(3), "what": "SagaUndoBegan", "text": "undo 1 began", "by": "saga:order" }],
            "run": {
                "name": "7-undo-1", "status": "failed", "startedAt": at(3), "endedAt": at(9), "transitions": 6,
                "state": "UndoFailed", "failure": { "error": "UndoFailed", "cause": "Unavailable: down" },
                "steps": [{
                    "name": "CloseOrder", "outcome": "failed", "startedAt": at(3), "endedAt": at(6), "attempts": 2,
                    "failures": [
                        { "error": "Unavailable", "cause": "down" }, { "error": "States.Timeout", "cause": "late" }
                    ],
                }],
            },
            "timeline": {
                "status": "rejected", "summary": "It was rejected.",
                "entries": [{ "at": at(0), "what": "OrderCreated", "text": "", "context": "ordering", "by": "user:1" }],
            },
        }));
        let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
        has("Saga of order 00000000-0000-0000-0000-000000000007: stuck");
        has("attempts: 4, undone for: placement, reason: OUT_OF_STOCK");
        has("UNDO_FAILED: down");
        has("ReserveInventory  12:00:01.000  3         InventoryReserved");
        has("12:00:02.000            PaymentConfirmed   direct");
        has("ApproveOrder      not done");
        has("SagaUndoBegan  undo 1 began  saga:order");
        has("7-undo-1  failed");
        has("6.0 s, 6 transitions, in UndoFailed");
        has("12:00:03.000  3.0 s  2         Unavailable: down");
        assert!(
            lines.iter().any(|line| line.trim() == "States.Timeout: late"),
            "a line of its own: {lines:#?}"
        );
        has("OrderCreated");
    }

    #[test]
    fn a_stuck_saga_that_was_asked_to_go_on_is_not_taken_for_one_that_is_stuck_again() {
        let stuck = |events: usize, attempts: u32| {
            let event =
                json!({ "at": "2026-11-20T12:00:00Z", "what": "SagaStuck", "text": "", "by": "saga:undo" });
            detail(json!({ "history": vec![event; events], "attempts": attempts }))
        };
        assert!(!is_at_rest(&stuck(2, 1), &stuck(2, 1)), "the next attempt is not visible yet");
        assert!(!is_at_rest(&stuck(2, 1), &detail(json!({ "status": "undoing" }))));
        assert!(is_at_rest(&stuck(2, 1), &stuck(4, 2)), "stuck again");
        let undone = detail(json!({ "status": "undone" }));
        assert!(is_at_rest(&stuck(2, 1), &undone));
        assert!(is_at_rest(&undone, &undone), "undone once more: nothing moves any more");
        let approved = |events: usize| Detail {
            saga: Saga { status: Status::Succeeded, ..stuck(0, 0).saga },
            ..stuck(events, 0)
        };
        assert!(!is_at_rest(&approved(0), &approved(0)));
        assert!(is_at_rest(&approved(0), &approved(2)), "undone in vain: it is kept");
    }

    #[test]
    fn an_order_that_is_kept_or_stuck_is_no_success_of_an_undo() {
        let saga = |status: &str, order: &str| detail(json!({ "status": status, "order": order })).saga;
        let undone = outcome(Wish::Undo, &saga("undone", "cancelled")).unwrap();
        assert_eq!(undone, format!("Everything is undone: order {ORDER} is cancelled"));
        let kept = outcome(Wish::Undo, &saga("succeeded", "completed")).unwrap_err();
        assert!(matches!(kept, Error::OrderKept { .. }) && kept.advice().is_some(), "{kept}");
        assert!(outcome(Wish::Retry, &saga("succeeded", "approved")).unwrap().ends_with("is approved"));
        for wish in [Wish::Retry, Wish::Undo] {
            let stuck = outcome(wish, &saga("stuck", "rejected")).unwrap_err();
            assert!(stuck.to_string().contains("UNDO_FAILED: down"), "{stuck}");
            assert!(stuck.advice().unwrap().contains("cargo mall saga show"), "{stuck}");
        }
    }

    #[test]
    fn a_refused_command_says_what_to_do_next() {
        let advised = |code: &str, status: &str| advice(code, &detail(json!({ "status": status })).saga);
        assert!(advised("SAGA_NEEDS_NOTHING", "succeeded").contains("cargo mall saga compensate"));
        assert!(advised("SAGA_NEEDS_NOTHING", "undone").contains("Everything is undone"));
        assert!(advised("SAGA_NEEDS_NOTHING", "stuck").contains("cargo mall saga compensate"));
        for code in ["ORDER_IS_PAID", "ORDER_IS_COMPLETED"] {
            assert!(advised(code, "succeeded").contains("by hand"), "{code}");
        }
        for status in ["running", "undoing"] {
            assert!(advised("SAGA_NEEDS_NOTHING", status).contains("cargo mall saga show"), "{status}");
        }
        assert!(advised("SOMETHING_NEW", "stuck").contains("cargo mall saga show"));
    }

    #[test]
    fn an_operator_is_told_what_becomes_of_the_order_before_it_is_undone() {
        for (order, becomes) in [
            ("pending", "is pending. It will be rejected"),
            ("ready", "is ready. It will be cancelled"),
            ("rejected", "is rejected. It will be left as it is"),
        ] {
            let said = consequence(order);
            assert!(said.contains(becomes) && said.contains("stock released"), "{said}");
        }
    }
}
