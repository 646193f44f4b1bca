//! `mall saga`: what becomes of orders, and what to do when a saga cannot finish.
//!
//! What there is to see comes over the mall's API. What is done is asked of Step Functions: to go on with an execution that
//! somebody stopped, or to start the state machine that undoes an order by hand, with the data that its saga ended
//! with. Nothing here talks to a function: what the commands are, their ids and their retries stand in the definitions.

use std::time::Duration;

use aws_sdk_sfn::{
    error::ProvideErrorMetadata,
    types::{ExecutionStatus, HistoryEventType},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    api::Api,
    deploy,
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
    target::{Choice, aws},
    ui,
};

/// How long to look on while an order is being undone: it goes on without us.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// What can be asked about sagas.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List order sagas, newest first
    List {
        /// Only those that stand like this
        #[arg(long)]
        status: Option<Standing>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        choice: Choice,
    },
    /// Show the saga of an order: its steps, its errors, and what came of it
    Show {
        /// The order
        order: Uuid,
        #[command(flatten)]
        choice: Choice,
    },
    /// Go on with a saga that is stuck or was aborted
    ///
    /// One that is stuck goes on undoing where it got stuck, with the saga's own command ids. One that somebody aborted
    /// goes on where it was, if the cloud can do that. What was done already is not done again.
    Retry {
        /// The order
        order: Uuid,
        #[command(flatten)]
        choice: Choice,
    },
    /// Undo an order by hand whose saga could not
    ///
    /// Releases the payment, calls off the shopping, releases the stock and rejects the order, from where the saga got
    /// stuck, with the saga's own command ids. What was undone already is not undone again.
    Compensate {
        /// The order
        order: Uuid,
        /// Also when the saga was aborted, and could still go forward
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        choice: Choice,
    },
}

/// How a saga stands, as lists are asked for it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Standing {
    /// Being placed, or waiting for its payment
    Running,
    /// Paid
    Succeeded,
    /// All was undone, by the saga or by hand
    Compensated,
    /// Over, and the order is cancelled
    Cancelled,
    /// Not all could be undone, and nobody has by hand
    Stuck,
    /// Somebody stopped it
    Aborted,
}

/// Does what is asked.
pub async fn run(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::List { status, limit, choice } => {
            list(&Mall::reach(home, &choice).await?, status, limit).await
        }
        Command::Show { order, choice } => show(&Mall::reach(home, &choice).await?, order).await,
        Command::Retry { order, choice } => {
            let mall = Mall::reach(home, &choice).await?;
            carry_out(&mall, order, What::Retry, true).await
        }
        Command::Compensate { order, force, yes, choice } => {
            let mall = Mall::reach(home, &choice).await?;
            carry_out(&mall, order, What::Compensate { force }, yes).await
        }
    }
}

/// The deployed mall: its API, and its state machines.
struct Mall {
    api: Api,
    sfn: aws_sdk_sfn::Client,
    saga: String,
    compensation: String,
}

impl Mall {
    async fn reach(home: &Home, choice: &Choice) -> Result<Self> {
        let target = choice.target(home)?;
        target.reach().await?;
        let stack = Stack::deployed(home, &target)?;
        Ok(Self {
            api: Api::at(&stack.api)?,
            sfn: aws_sdk_sfn::Client::new(&target.sdk().await),
            saga: stack.output("OrderSagaArn")?.to_owned(),
            compensation: stack.output("OrderSagaCompensationArn")?.to_owned(),
        })
    }

    async fn saga(&self, order: Uuid) -> Result<Saga> {
        #[derive(Deserialize)]
        struct Shown {
            saga: Saga,
        }
        let path = format!("/api/sagas/{order}");
        let Shown { saga } = understood(&path, "a saga", self.api.get(&path).await?)?;
        Ok(saga)
    }
}

fn understood<T: serde::de::DeserializeOwned>(path: &str, expected: &'static str, body: Value) -> Result<T> {
    serde_json::from_value(body.clone()).map_err(|_| Error::Unexpected {
        request: format!("GET {path}"),
        expected,
        body: body.to_string(),
    })
}

// ---- what the API answers

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: Uuid,
    status: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    order: String,
    last: Option<Done>,
    failure: Option<Failure>,
}

/// A step as events tell it.
#[derive(Debug, Deserialize)]
struct Done {
    name: String,
    event: String,
    at: Option<Timestamp>,
    attempts: Option<u32>,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Saga {
    status: String,
    failure: Option<Failure>,
    steps: Vec<Done>,
    compensations: Vec<Done>,
    /// The saga, and then every attempt to undo it by hand.
    runs: Vec<Run>,
    timeline: Timeline,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    name: String,
    status: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    state: Option<String>,
    failure: Option<Failure>,
    transitions: u32,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    error: String,
    cause: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    name: String,
    outcome: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    attempts: u32,
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Timeline {
    /// Of the order.
    status: String,
    summary: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    at: Timestamp,
    what: String,
    text: String,
    context: String,
    by: String,
}

// ---- looking

async fn list(mall: &Mall, status: Option<Standing>, limit: u16) -> Result<()> {
    /// Most that one request answers.
    const PAGE: u16 = 100;
    /// Requests: a page may have fewer than it could, or none at all.
    const PAGES: usize = 50;
    #[derive(Deserialize)]
    struct Page {
        sagas: Vec<Listed>,
        next: Option<String>,
    }
    let status = match status {
        None => "",
        Some(Standing::Running) => "running",
        Some(Standing::Succeeded) => "succeeded",
        Some(Standing::Compensated) => "compensated",
        Some(Standing::Cancelled) => "cancelled",
        Some(Standing::Stuck) => "stuck",
        Some(Standing::Aborted) => "aborted",
    };
    let (mut sagas, mut next) = (Vec::new(), Some(String::new()));
    for _ in 0..PAGES {
        let left = usize::from(limit).saturating_sub(sagas.len()).min(usize::from(PAGE));
        let Some(cursor) = next.take_if(|_| left > 0) else { break };
        let path = format!("/api/sagas?limit={left}&status={status}&cursor={cursor}");
        let page: Page = understood(&path, "a list of sagas", mall.api.get(&path).await?)?;
        sagas.extend(page.sagas);
        next = page.next;
    }
    if sagas.is_empty() {
        ui::line("There are none.");
        return Ok(());
    }
    ui::table(&listed(&sagas)).into_iter().for_each(ui::line);
    if next.is_some() {
        ui::line(ui::dim(format!("  and older ones: --limit {}", limit.saturating_mul(2).min(1000))));
    }
    Ok(())
}

fn listed(sagas: &[Listed]) -> Vec<Vec<String>> {
    let mut rows =
        vec![["order", "placed", "took", "saga", "order is", "last", "why"].map(str::to_owned).to_vec()];
    rows.extend(sagas.iter().map(|saga| {
        vec![
            saga.id.to_string(),
            moment(saga.started_at),
            took(saga.started_at, saga.ended_at),
            coloured(&saga.status),
            saga.order.clone(),
            saga.last.as_ref().map(|last| last.name.clone()).unwrap_or_default(),
            saga.failure.as_ref().map(why).unwrap_or_default(),
        ]
    }));
    rows
}

/// A failure in a column: its words where the code says nothing.
fn why(failure: &Failure) -> String {
    const WIDTH: usize = 60;
    let text = if failure.error == "SagaStuck" { &failure.cause } else { &failure.error };
    match text.char_indices().nth(WIDTH) {
        None => text.clone(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

async fn show(mall: &Mall, order: Uuid) -> Result<()> {
    let saga = mall.saga(order).await?;
    ui::line(format!("Saga of order {order}: {}", coloured(&saga.status)));
    ui::line(saga.timeline.summary.clone());
    if let Some(Failure { error, cause }) = &saga.failure {
        ui::line(format!("{} {cause}", ui::bad(error)));
    }
    ui::heading("Steps");
    ui::table(&done(&saga.steps)).into_iter().for_each(ui::line);
    if !saga.compensations.is_empty() {
        ui::heading("Undone");
        ui::table(&done(&saga.compensations)).into_iter().for_each(ui::line);
    }
    if saga.runs.is_empty() {
        ui::line(ui::dim(
            "Its execution is not known: it has not started yet, or ended more than 90 days ago.",
        ));
    }
    for run in &saga.runs {
        let took = took(run.started_at, run.ended_at);
        let transitions = run.transitions;
        ui::heading(format!("{}  {}", run.name, coloured(&run.status)));
        let state = run.state.as_deref().unwrap_or("nowhere yet");
        ui::line(format!(
            "  started {}, {took}, {transitions} transitions, in {state}",
            moment(run.started_at)
        ));
        if let Some(Failure { error, cause }) = &run.failure {
            ui::line(format!("  {} {cause}", ui::bad(error)));
        }
        ui::table(&stepped(&run.steps)).into_iter().for_each(ui::line);
    }
    ui::heading("What came of it");
    ui::table(&told(&saga.timeline.entries)).into_iter().for_each(ui::line);
    Ok(())
}

fn done(steps: &[Done]) -> Vec<Vec<String>> {
    let mut rows = vec![["step", "done", "attempts", "event", "by", "why"].map(str::to_owned).to_vec()];
    rows.extend(steps.iter().map(|step| {
        vec![
            step.name.clone(),
            step.at.map_or_else(|| ui::dim("not done").to_string(), clock),
            step.attempts.map(|attempts| attempts.to_string()).unwrap_or_default(),
            step.event.clone(),
            ui::dim(step.by.as_deref().unwrap_or_default()).to_string(),
            step.reason.clone().unwrap_or_default(),
        ]
    }));
    rows
}

fn stepped(steps: &[Step]) -> Vec<Vec<String>> {
    let mut rows = vec![["step", "", "started", "took", "attempts", "errors"].map(str::to_owned).to_vec()];
    for step in steps {
        let mut errors = step.failures.iter().map(|failure| format!("{}: {}", failure.error, failure.cause));
        rows.push(vec![
            step.name.clone(),
            coloured(&step.outcome),
            clock(step.started_at),
            took(step.started_at, step.ended_at),
            step.attempts.to_string(),
            errors.next().unwrap_or_default(),
        ]);
        let blank = || vec![String::new(); 5];
        rows.extend(errors.map(|error| [blank(), vec![error]].concat()));
    }
    rows
}

fn told(entries: &[Entry]) -> Vec<Vec<String>> {
    let mut rows = vec![["time", "context", "event", "", "by"].map(str::to_owned).to_vec()];
    rows.extend(entries.iter().map(|entry| {
        vec![
            clock(entry.at),
            entry.context.clone(),
            entry.what.clone(),
            entry.text.clone(),
            ui::dim(&entry.by).to_string(),
        ]
    }));
    rows
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S%.3f").to_string()
}

fn took(from: Timestamp, to: Option<Timestamp>) -> String {
    let since = |to: Timestamp| Duration::try_from(to.duration_since(from)).unwrap_or_default();
    to.map_or_else(|| "…".to_owned(), |to| ui::duration(since(to)))
}

fn coloured(status: &str) -> String {
    match status {
        "succeeded" | "ended" | "done" => ui::good(status).to_string(),
        "stuck" | "aborted" | "failed" => ui::bad(status).to_string(),
        _ => ui::warn(status).to_string(),
    }
}

// ---- doing

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Retry,
    Compensate { force: bool },
}

/// What is to be done about a saga.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// Nothing, and why.
    Nothing(String),
    /// Nothing now: why, and what to do first.
    NotNow(String, String),
    /// The execution that somebody stopped goes on.
    GoOn,
    /// It is undone by hand, in this attempt.
    Undo(usize),
}

/// Judges what can be done, from what is known.
fn judged(what: What, order: Uuid, saga: &Saga) -> Verdict {
    let Some((first, attempts)) = saga.runs.split_first() else {
        let why = format!("no execution of the saga of order {order} is known");
        let advice = "It has not started yet, or ended more than 90 days ago; see docs/SAGAS.md.";
        return Verdict::NotNow(why, advice.to_owned());
    };
    let look = format!("cargo mall saga show {order}");
    if first.status == "running" {
        let why = format!("the saga of order {order} is running");
        let advice =
            "Let it: it undoes what it did by itself when it cannot go on, and waits until the order is paid";
        return Verdict::NotNow(why, format!("{advice}. Look on: {look}"));
    }
    if first.status == "ended" {
        return Verdict::Nothing(format!(
            "the saga ended by itself, and the order is {}",
            saga.timeline.status
        ));
    }
    if let Some(attempt) = attempts.iter().find(|attempt| attempt.status == "ended") {
        let how = format!("it was undone by hand before ({})", attempt.name);
        return Verdict::Nothing(format!("{how}, and the order is {}", saga.timeline.status));
    }
    if let Some(attempt) = attempts.iter().find(|attempt| attempt.status == "running") {
        let why = format!("order {order} is being undone by hand just now ({})", attempt.name);
        return Verdict::NotNow(why, format!("Look on: {look}"));
    }
    // Stuck by its own word. An execution that failed otherwise stands in the middle of something, as if it were aborted.
    let stuck = first.failure.as_ref().is_some_and(|failure| failure.error == "SagaStuck");
    if saga.timeline.status == "ready" {
        let why = format!("order {order} is ready: the customer can pay it");
        let then = if stuck { "compensate" } else { "retry" };
        let advice = format!("Cancel it, and all is given back: DELETE /api/ordering/{order}");
        return Verdict::NotNow(why, format!("{advice}. Then end the saga: cargo mall saga {then} {order}"));
    }
    if saga.timeline.status == "completed" {
        let why = format!("order {order} is completed: what was done for it is in use");
        let advice =
            "Goods left the mall, which no machine can undo; see docs/SAGAS.md, \"What is left to people\".";
        return Verdict::NotNow(why, advice.to_owned());
    }
    match what {
        What::Retry | What::Compensate { .. } if stuck => Verdict::Undo(attempts.len() + 1),
        What::Compensate { force: true } => Verdict::Undo(attempts.len() + 1),
        What::Retry if attempts.is_empty() => Verdict::GoOn,
        // It must not go forward any more once somebody began to undo it.
        What::Retry => Verdict::Undo(attempts.len() + 1),
        What::Compensate { force: false } => Verdict::NotNow(
            format!("the saga of order {order} was aborted, and may still go on"),
            format!("Let it go on: cargo mall saga retry {order}, or undo it: --force"),
        ),
    }
}

async fn carry_out(mall: &Mall, order: Uuid, what: What, yes: bool) -> Result<()> {
    let saga = mall.saga(order).await?;
    match judged(what, order, &saga) {
        Verdict::Nothing(why) => {
            ui::line(format!("{} Nothing to do: {why}.", ui::good("✓")));
            Ok(())
        }
        Verdict::NotNow(why, advice) => Err(Error::SagaNotNow { why, advice }),
        Verdict::GoOn => go_on(mall, order).await,
        Verdict::Undo(attempt) => {
            if !yes {
                ui::line(format!("Order {order}: {}", saga.timeline.summary));
                deploy::confirmed(
                    "Its payment, shopping and stock will be released, and it will be rejected.",
                )
                .await?;
            }
            undo(mall, order, attempt).await
        }
    }
}

fn execution(machine: &str, name: &str) -> String {
    format!("{}:{name}", machine.replace(":stateMachine:", ":execution:"))
}

async fn go_on(mall: &Mall, order: Uuid) -> Result<()> {
    let arn = execution(&mall.saga, &order.to_string());
    match mall.sfn.redrive_execution().execution_arn(&arn).send().await {
        Ok(_) => finished(mall, &arn, order, "The saga went on, and ended").await,
        Err(error) => match error.code() {
            Some("InvalidAction" | "UnknownOperationException" | "ExecutionNotRedrivable") => {
                let why = error.message().unwrap_or("there is no such operation").to_owned();
                Err(Error::SagaNotNow {
                    why: format!("this cloud cannot go on with the saga of order {order} ({why})"),
                    advice: format!("Undo it: cargo mall saga compensate --force {order}"),
                })
            }
            _ => Err(aws("going on with the saga")(error)),
        },
    }
}

async fn undo(mall: &Mall, order: Uuid, attempt: usize) -> Result<()> {
    let input = left_by(mall, order).await?;
    let name = format!("{order}-undo-{attempt}");
    let start = mall.sfn.start_execution().state_machine_arn(&mall.compensation).name(&name);
    match start.input(Value::Object(input).to_string()).send().await {
        Ok(_) => {}
        // Somebody else was quicker: then we look on.
        Err(error) if error.as_service_error().is_some_and(|e| e.is_execution_already_exists()) => {
            ui::line(format!("  {name} was started before; looking on"));
        }
        Err(error) => return Err(aws("starting what undoes the order")(error)),
    }
    finished(mall, &execution(&mall.compensation, &name), order, "Everything is undone").await
}

/// The data that the saga ended with, and where it is to be undone from.
async fn left_by(mall: &Mall, order: Uuid) -> Result<Map<String, Value>> {
    const OPERATION: &str = "reading the history of the saga";
    let arn = execution(&mall.saga, &order.to_string());
    let described = mall.sfn.describe_execution().execution_arn(&arn).send().await;
    let described = described.map_err(aws("describing the saga"))?;
    let machine = mall.sfn.describe_state_machine_for_execution().execution_arn(&arn).send().await;
    let machine = machine.map_err(aws("reading the saga's definition"))?;
    let (mut data, mut step) = (described.input().unwrap_or_default().to_owned(), None);
    let mut pages = mall.sfn.get_execution_history().execution_arn(&arn).into_paginator().send();
    while let Some(page) = pages.next().await {
        for happened in page.map_err(aws(OPERATION))?.events() {
            let Some(entered) = happened.state_entered_event_details() else { continue };
            if let Some(input) = entered.input() {
                data = input.to_owned();
            }
            if *happened.r#type() == HistoryEventType::TaskStateEntered {
                step = Some(entered.name().to_owned());
            }
        }
    }
    let broken =
        |what: &str| Error::Aws { operation: OPERATION, why: format!("{what} of {arn} is not to be read") };
    let data: Map<String, Value> = serde_json::from_str(&data).map_err(|_| broken("the data"))?;
    let definition: Value =
        serde_json::from_str(machine.definition()).map_err(|_| broken("the definition"))?;
    let cause = described.cause().unwrap_or("the saga did not finish").to_owned();
    Ok(prepared(data, &definition, step.as_deref(), &cause))
}

/// The states that undo an order, in the saga's definition.
fn compensations(definition: &Value) -> Vec<&str> {
    let next = |state: &&str| definition["States"][*state]["Next"].as_str();
    let undoes = |state: &&str| definition["States"][*state]["Type"] == "Task";
    std::iter::successors(Some("ReleasePayment"), next).take_while(undoes).collect()
}

/// The input of what undoes an order: the data of the state that the saga entered last, and where to go on, which
/// follows from the `step` it entered last.
fn prepared(
    mut data: Map<String, Value>,
    definition: &Value,
    step: Option<&str>,
    cause: &str,
) -> Map<String, Value> {
    let from = match step {
        // One of those that undo, step by step.
        Some(step) if compensations(definition).contains(&step) => Some(step),
        // Any other: it may have done anything.
        Some(_) => None,
        // It had not begun: nothing is held.
        None => Some("RejectOrder"),
    };
    // What is not known is undone from the top, where everything is.
    data.insert("from".to_owned(), json!(from.unwrap_or("ReleasePayment")));
    data.entry("failure").or_insert_with(|| json!({ "Error": "ORDER_SAGA_ABORTED", "Cause": cause }));
    data.remove("stuck");
    data
}

/// Looks on until it has ended.
async fn finished(mall: &Mall, arn: &str, order: Uuid, well: &str) -> Result<()> {
    let task = ui::task(format!("Order {order}"));
    let started = std::time::Instant::now();
    loop {
        let described = mall.sfn.describe_execution().execution_arn(arn).send().await;
        let execution = described.map_err(aws("looking on"))?;
        match execution.status() {
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive => {}
            ExecutionStatus::Succeeded => {
                task.done(format!("{well}: order {order} is {}", mall.saga(order).await?.timeline.status));
                return Ok(());
            }
            ended => {
                let why = execution.cause().unwrap_or("it does not say why").to_owned();
                return Err(Error::SagaNotFinished { order, ended: ended.as_str().to_lowercase(), why });
            }
        }
        if started.elapsed() > PATIENCE {
            drop(task);
            ui::line(format!("  It is still at work, and goes on without us: cargo mall saga show {order}"));
            return Ok(());
        }
        task.at("at work");
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Uuid {
        Uuid::from_u128(7)
    }

    fn ran(name: &str, status: &str, error: Option<&str>) -> Run {
        let failure = error.map(|error| Failure { error: error.into(), cause: "why".into() });
        Run {
            name: name.into(),
            status: status.into(),
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            state: None,
            failure,
            transitions: 1,
            steps: vec![],
        }
    }

    fn saga(order: &str, runs: Vec<Run>) -> Saga {
        let timeline = Timeline { status: order.into(), summary: String::new(), entries: vec![] };
        Saga { status: String::new(), failure: None, steps: vec![], compensations: vec![], runs, timeline }
    }

    fn stuck() -> Run {
        ran("saga", "stuck", Some("SagaStuck"))
    }

    const COMPENSATE: What = What::Compensate { force: false };
    const FORCE: What = What::Compensate { force: true };

    fn judge(what: What, saga: &Saga) -> Verdict {
        judged(what, order(), saga)
    }

    #[test]
    fn a_running_saga_is_left_alone_and_a_finished_one_is_nothing_to_do() {
        for what in [What::Retry, COMPENSATE, FORCE] {
            let running = saga("pending", vec![ran("saga", "running", None)]);
            assert!(matches!(judge(what, &running), Verdict::NotNow(..)), "{what:?}");
            for status in ["approved", "rejected", "cancelled", "completed"] {
                let ended = saga(status, vec![ran("saga", "ended", None)]);
                assert!(matches!(judge(what, &ended), Verdict::Nothing(..)), "{what:?}, {status}");
            }
        }
    }

    #[test]
    fn a_stuck_saga_is_undone_in_an_attempt_of_its_own() {
        for what in [What::Retry, COMPENSATE, FORCE] {
            assert_eq!(judge(what, &saga("pending", vec![stuck()])), Verdict::Undo(1));
            let again = saga("pending", vec![stuck(), ran("undo-1", "stuck", Some("SagaStuck"))]);
            assert_eq!(judge(what, &again), Verdict::Undo(2));
        }
    }

    #[test]
    fn what_was_undone_is_not_undone_again() {
        for what in [What::Retry, COMPENSATE, FORCE] {
            // Also when the order itself cannot tell: it is cancelled either way.
            let done =
                saga("cancelled", vec![stuck(), ran("undo-1", "stuck", None), ran("undo-2", "ended", None)]);
            assert!(matches!(judge(what, &done), Verdict::Nothing(..)));
            let busy = saga("cancelled", vec![stuck(), ran("undo-1", "running", None)]);
            assert!(matches!(judge(what, &busy), Verdict::NotNow(..)));
        }
    }

    #[test]
    fn goods_that_left_the_shelves_are_not_undone_even_by_force() {
        for status in ["ready", "completed"] {
            for what in [What::Retry, COMPENSATE, FORCE] {
                assert!(matches!(judge(what, &saga(status, vec![stuck()])), Verdict::NotNow(..)), "{what:?}");
            }
        }
    }

    #[test]
    fn a_saga_that_is_stuck_with_a_ready_order_does_not_stay_in_the_list_when_the_order_is_cancelled() {
        let Verdict::NotNow(_, advice) = judge(COMPENSATE, &saga("ready", vec![stuck()])) else {
            panic!("what the customer can pay is not undone");
        };
        let (delete, compensate) = (advice.find("DELETE /api/ordering/"), advice.find("saga compensate"));
        assert!(delete.is_some() && delete < compensate, "{advice}");
        assert_eq!(judge(COMPENSATE, &saga("cancelled", vec![stuck()])), Verdict::Undo(1));
        let aborted = saga("ready", vec![ran("saga", "aborted", None)]);
        let Verdict::NotNow(_, advice) = judge(COMPENSATE, &aborted) else { panic!("neither is this") };
        assert!(advice.contains("saga retry"), "it may go on, and finds the order cancelled: {advice}");
    }

    #[test]
    fn an_aborted_saga_goes_on_or_is_undone_but_never_one_after_the_other() {
        for first in [ran("saga", "aborted", None), ran("saga", "stuck", Some("States.Runtime"))] {
            let mut aborted = saga("pending", vec![first]);
            assert_eq!(judge(What::Retry, &aborted), Verdict::GoOn);
            assert!(matches!(judge(COMPENSATE, &aborted), Verdict::NotNow(..)), "it may still go on");
            assert_eq!(judge(FORCE, &aborted), Verdict::Undo(1));
            aborted.runs.push(ran("undo-1", "stuck", None));
            assert_eq!(
                judge(What::Retry, &aborted),
                Verdict::Undo(2),
                "never forward once it is being undone"
            );
        }
    }

    #[test]
    fn an_order_without_a_saga_is_not_touched() {
        assert!(matches!(judge(FORCE, &saga("pending", vec![])), Verdict::NotNow(..)));
    }

    fn definition() -> Value {
        let repo = crate::paths::Repo::find().unwrap();
        let text = std::fs::read_to_string(repo.root().join("infra/order-saga.asl.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn data(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_stuck_order_is_undone_from_where_it_got_stuck_for_the_reason_it_had() {
        let failure = json!({ "Error": "TOO_LITTLE", "Cause": "too little" });
        let ended_with =
            data(json!({ "orderId": "o", "failure": failure, "stuck": { "Error": "X", "Cause": "x" } }));
        let input = prepared(ended_with, &definition(), Some("CancelShoppingList"), "");
        assert_eq!(
            Value::Object(input),
            json!({ "orderId": "o", "failure": failure, "from": "CancelShoppingList" })
        );
    }

    #[test]
    fn an_order_that_was_aborted_is_undone_from_the_top_unless_it_was_being_undone() {
        let from = |step| prepared(data(json!({})), &definition(), step, "stopped")["from"].clone();
        for step in ["PlaceOrder", "AwaitPayment", "RemindPayment", "CancelInvoice", "CancelOrder"] {
            assert_eq!(from(Some(step)), "ReleasePayment", "{step}: from the top");
        }
        for step in ["ReleasePayment", "CancelShoppingList", "ReleaseInventory", "RejectOrder"] {
            assert_eq!(from(Some(step)), step);
        }
        assert_eq!(from(None), "RejectOrder", "it had not begun");
        assert_eq!(from(Some("SomethingNew")), "ReleasePayment", "from the top");
        let input = prepared(data(json!({})), &definition(), Some("PlaceOrder"), "stopped");
        assert_eq!(input["failure"], json!({ "Error": "ORDER_SAGA_ABORTED", "Cause": "stopped" }));
    }

    #[test]
    fn every_compensation_of_the_saga_is_a_place_to_go_on_from_by_hand() {
        let repo = crate::paths::Repo::find().unwrap();
        let text =
            std::fs::read_to_string(repo.root().join("infra/order-saga-compensation.asl.json")).unwrap();
        let by_hand: Value = serde_json::from_str(&text).unwrap();
        for step in definition()["States"].as_object().unwrap().keys() {
            let from = prepared(data(json!({})), &definition(), Some(step), "")["from"].clone();
            assert_eq!(by_hand["States"][from.as_str().unwrap()]["Type"], "Task", "{step} leads to {from}");
        }
    }

    #[test]
    fn what_was_done_is_told_from_what_was_not() {
        console::set_colors_enabled(false);
        let step = |at, attempts, by: Option<&str>| Done {
            name: "ConfirmPayment".into(),
            event: "PaymentConfirmed".into(),
            at,
            attempts,
            by: by.map(str::to_owned),
            reason: None,
        };
        let by_saga = step(Some(Timestamp::UNIX_EPOCH), Some(3), None);
        let by_hand = step(Some(Timestamp::UNIX_EPOCH), None, Some("direct"));
        let lines = ui::table(&done(&[by_saga, by_hand, step(None, None, None)]));
        assert!(lines[1].contains("00:00:00.000  3         PaymentConfirmed"), "{lines:?}");
        assert!(lines[2].contains("PaymentConfirmed  direct"), "{lines:?}");
        assert!(lines[3].contains("not done"), "{lines:?}");
    }

    #[test]
    fn a_list_says_what_keeps_a_saga_and_not_only_that_it_is_stuck() {
        let failure = |error: &str, cause: &str| Failure { error: error.into(), cause: cause.into() };
        assert_eq!(why(&failure("OUT_OF_STOCK", "only 3 left")), "OUT_OF_STOCK");
        assert_eq!(why(&failure("SagaStuck", "Unavailable: down")), "Unavailable: down");
        let long = why(&failure("SagaStuck", &"ä".repeat(100)));
        assert_eq!((long.chars().count(), long.ends_with('…')), (61, true));
    }

    #[test]
    fn steps_are_shown_with_every_error_on_a_line_of_its_own() {
        console::set_colors_enabled(false);
        let failure = |error: &str| Failure { error: error.into(), cause: "why".into() };
        let step = Step {
            name: "ConfirmPayment".into(),
            outcome: "done".into(),
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::from_second(3).ok(),
            attempts: 3,
            failures: vec![failure("Unavailable"), failure("States.Timeout")],
        };
        let lines = ui::table(&stepped(&[step]));
        assert!(lines[1].contains("00:00:00.000  3.0 s  3         Unavailable: why"), "{lines:?}");
        assert!(lines[2].trim() == "States.Timeout: why", "{lines:?}");
    }
}
