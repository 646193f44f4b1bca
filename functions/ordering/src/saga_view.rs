//! What became of order sagas, for operators.
//!
//! Lists come from the rows that events make ([`crate::saga_rows`]); a saga is shown from its row, its order's streams and what Step
//! Functions says of its execution. The placement of an order is one step of the execution and has no history of its own that could be
//! read; when its steps were done, and after how many attempts, stands in the row.
//!
//! Step Functions tells the bus how an execution ended, once and perhaps never, and a saga that is stuck has to be seen. So whoever
//! lists compares, and what is found out is written into the rows:
//!
//! * A first page of what may be stuck asks Step Functions for the [`COMPARED`] newest executions that failed or timed out, and as many that were
//!   aborted, and reads their rows: three requests that cost nothing, and half a read unit for each row.
//! * Of the rows on a page, [`MAX_LOOKS`] at most are looked up there: those that have been quiet for longer than a saga is
//!   ([`PLACING`], [`WAITING`], [`ENDING`]), and those that are stuck, which somebody may have undone. A request each costs nothing, but there are
//!   only some 15 a second for an account.
//!
//! **Not guaranteed**: that a failure which was never told is found when more than [`COMPARED`] newer sagas failed. `OrderSagaAlarm` goes off for
//! each of them, and showing it finds it out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use contracts::{Envelope, ids::OrderId};
use event_store::EventStore;
use futures::{StreamExt, stream};
use kernel::{Timestamp, Version, ports::Ports};
use lambda::{Answer, Call, Fault, settled};
use projection::{BatchOutcome, Consistency, DeliverError, Failed, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    docs::{ListedSagas, ShownSaga},
    saga_generations::SagaGenerations,
    saga_rows::{
        Change, Done, Fact, Joined, Kind, MAX_ROWS, Parts, Place, Plan, SagaRow, SagaRows, Status, VIEW,
    },
    sagas::{Ended, Execution, Failure, Happened, Happening, Run, SagaRecords, StatusChange},
    timeline::{History, Timeline, TimelineView},
};

/// Executions that are looked at together.
const LOOKUPS_AT_A_TIME: usize = 8;
/// Sagas on a page, when nothing is said.
const USUAL_LIMIT: usize = 20;
/// Most sagas on a page: as many rows as are read at once.
const MAX_LIMIT: u64 = MAX_ROWS as u64;
/// Executions that failed, of which the rows are compared with a first page.
pub const COMPARED: u32 = 100;
/// Rows of one page, and failures that were not heard of, that Step Functions is asked about.
pub const MAX_LOOKS: usize = 10;
/// Attempts to undo by hand that are shown: more than anybody makes before finding out what is wrong.
const MAX_ATTEMPTS: u32 = 20;
/// How long nothing is heard of an order that is being placed: its body runs for four minutes at most.
pub const PLACING: Duration = Duration::from_secs(5 * 60);
/// How long nothing is heard while it is collected and waits for payment: a reminder comes every day, where nobody chose otherwise.
pub const WAITING: Duration = Duration::from_secs(25 * 60 * 60);
/// How long it takes to end once it is paid, rejected or cancelled.
pub const ENDING: Duration = Duration::from_secs(2 * 60);

/// One step of a saga.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// When it was entered.
    pub started_at: Timestamp,
    /// When its last call was answered, if it was.
    pub ended_at: Option<Timestamp>,
    /// Calls of its function.
    pub attempts: u32,
    /// Why calls came to nothing, oldest first.
    pub failures: Vec<Failure>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is being done, or waits to be tried again.
    Running,
    /// It was done.
    Done,
    /// It was refused, or given up.
    Failed,
}

/// What an execution did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    /// In order. A step that was entered again is there again.
    pub steps: Vec<Step>,
    /// States entered, and one for the start: what AWS charges.
    pub transitions: u32,
    /// The state it ended in, or is in.
    pub state: Option<String>,
}

/// Folds the history of an execution.
pub fn steps(history: &[Happened]) -> Steps {
    let mut told = Steps { transitions: u32::from(!history.is_empty()), ..Steps::default() };
    let mut current: Option<Step> = None;
    for happened in history {
        match &happened.what {
            Happening::Entered { state, step } => {
                told.steps.extend(current.take().map(left));
                told.transitions += 1;
                told.state = Some(state.clone());
                current = step.then(|| Step {
                    name: state.clone(),
                    outcome: Outcome::Running,
                    started_at: happened.at,
                    ended_at: None,
                    attempts: 0,
                    failures: Vec::new(),
                });
            }
            Happening::Attempted => {
                if let Some(step) = &mut current {
                    step.attempts += 1;
                    step.outcome = Outcome::Running;
                    step.ended_at = None;
                }
            }
            Happening::Failed(failure) => {
                if let Some(step) = &mut current {
                    step.failures.push(failure.clone());
                    step.ended_at = Some(happened.at);
                }
            }
            Happening::Done => {
                if let Some(step) = &mut current {
                    step.outcome = Outcome::Done;
                    step.ended_at = Some(happened.at);
                }
            }
            Happening::Ended => told.steps.extend(current.take().map(left)),
        }
    }
    told.steps.extend(current);
    told
}

/// A step that the saga went on from: whatever is not done then has failed.
fn left(step: Step) -> Step {
    let outcome = if step.outcome == Outcome::Done { Outcome::Done } else { Outcome::Failed };
    Step { outcome, ..step }
}

/// What a queue brings about sagas: an event of the mall, or what Step Functions says of an execution.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum News {
    /// An event.
    Event(Box<Envelope>),
    /// How an execution stands.
    Execution(StatusChange),
}

/// Keeps the rows of order sagas up to date.
pub struct SagaProjection {
    store: EventStore,
    rows: Arc<SagaGenerations>,
    ports: Ports,
}

/// What a batch brings of one order.
#[derive(Default)]
struct Together {
    changes: Vec<Change>,
    /// Places of its events among the events of the batch.
    events: Vec<usize>,
    /// Places of the notices in the batch.
    notices: Vec<usize>,
}

impl SagaProjection {
    /// Keeps `rows`; reads bodies that the bus left out from `store`.
    pub fn new(store: EventStore, rows: Arc<SagaGenerations>, ports: Ports) -> Self {
        Self { store, rows, ports }
    }

    /// Joins a batch of news into the rows: what concerns one order is written together. What became of the events goes into
    /// the metrics, as that of every view does; where all that a batch tells of an order was in its row, its events count as duplicates.
    pub async fn project_sagas(self: Arc<Self>, news: Vec<News>) -> Vec<Result<(), Fault>> {
        let mut results: Vec<Result<(), Fault>> = news.iter().map(|_| Ok(())).collect();
        let (mut events, mut places): (Vec<Envelope>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut outcome = BatchOutcome { view: VIEW.to_owned(), ..BatchOutcome::default() };
        let mut orders: BTreeMap<OrderId, Together> = BTreeMap::new();
        for (place, news) in news.into_iter().enumerate() {
            match news {
                News::Event(event) => {
                    let index = events.len();
                    match self.change(&event).await {
                        Ok(None) => {}
                        Ok(Some(change)) => {
                            let together = orders.entry(change.order_id).or_default();
                            together.events.push(index);
                            together.changes.push(change);
                        }
                        Err(error) => outcome.failed.push(Failed { index, error }),
                    }
                    events.push(*event);
                    places.push(place);
                }
                News::Execution(told) => match told.told() {
                    Ok(Some((run, execution))) => {
                        let change = Change::heard(run, &execution);
                        let together = orders.entry(change.order_id).or_default();
                        together.notices.push(place);
                        together.changes.push(change);
                    }
                    Ok(None) => tracing::warn!(?told, "an execution that is no order's"),
                    Err(fault) => results[place] = Err(fault),
                },
            }
        }
        for Together { changes, events, notices } in orders.into_values() {
            for change in Change::together(changes) {
                match self.rows.feed(change).await {
                    Ok(Joined::News) => outcome.applied += events.len(),
                    Ok(Joined::Known) => outcome.duplicates += events.len(),
                    Err(error) => {
                        notices.iter().for_each(|place| results[*place] = Err(error.clone().into()));
                        let failed = events.iter().map(|index| (*index, DeliverError::View(error.clone())));
                        outcome.failed.extend(failed.map(|(index, error)| Failed { index, error }));
                    }
                }
            }
        }
        outcome.lag = outcome.lag_of(&events, self.ports.clock.now());
        for (place, result) in places.into_iter().zip(settled(&events, outcome)) {
            results[place] = result;
        }
        results
    }

    async fn change(&self, event: &Envelope) -> Result<Option<Change>, DeliverError> {
        let Envelope { stream, version, .. } = event;
        let told = match event.data.is_some() || event.event_type == Fact::OrderCreated.event() {
            true => Change::of(event),
            false => match self.store.event(stream, *version).await? {
                Some(whole) => Change::of(&whole),
                None => {
                    let known = self.store.events_after(stream, Version::NONE).await?;
                    let actual = known.last().map_or(Version::NONE, |last| last.version);
                    return Err(DeliverError::NotInTable {
                        stream: stream.clone(),
                        version: *version,
                        actual,
                    });
                }
            },
        };
        told.map_err(|error| DeliverError::Poison {
            view: VIEW,
            stream: stream.clone(),
            version: *version,
            error,
        })
    }
}

/// The queries of operators.
pub struct SagaViews {
    store: EventStore,
    rows: Arc<SagaGenerations>,
    records: Arc<dyn SagaRecords>,
}

impl SagaViews {
    /// Looks at `rows`, at executions in `records`, and at orders in `store`.
    pub fn new(store: EventStore, rows: Arc<SagaGenerations>, records: Arc<dyn SagaRecords>) -> Self {
        Self { store, rows, records }
    }

    /// `GET /api/sagas?status=&limit=&cursor=`: order sagas, newest first, from the table. `status` is `running`,
    /// `succeeded`, `compensated`, `cancelled`, `stuck` or `aborted`.
    ///
    /// What the bus never told is found out, as far as a bounded number of requests goes: see the module. A page may
    /// have fewer than `limit` sagas although there are more.
    ///
    /// # Errors
    /// 400 when a parameter is wrong; 503 when the table does not answer. That Step Functions does not answer is no error: then
    /// the list is as new as what was heard.
    pub async fn list_sagas(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let wrong = |message: String| Fault::invalid("QUERY_IS_INVALID", message);
        let wanted = match call.query.get("status").map(String::as_str) {
            None | Some("") => None,
            Some(word) => Some(Status::named(word).ok_or_else(|| {
                wrong("status must be running, succeeded, compensated, cancelled, stuck or aborted".into())
            })?),
        };
        let limit = match call.query_number("limit")? {
            None => USUAL_LIMIT,
            Some(limit @ 1..=MAX_LIMIT) => limit as usize,
            Some(_) => return Err(wrong(format!("limit must be from 1 to {MAX_LIMIT}"))),
        };
        let cursor = call.query.get("cursor").filter(|cursor| !cursor.is_empty());
        let after = cursor.map(|cursor| cursor.parse::<Place>()).transpose();
        let after = after.map_err(|()| wrong("cursor is not one that a list answered".into()))?;

        let live = self.rows.live().await?;
        let unheard = match after {
            None => self.unheard(live.as_ref(), wanted).await?,
            Some(_) => Some(BTreeMap::new()),
        };
        // Who did not answer now is not asked again: the list would take too long.
        let (answers, unheard) = (unheard.is_some(), unheard.unwrap_or_default());
        let statuses: Vec<Status> = wanted.map_or_else(|| Status::ALL.to_vec(), |status| vec![status]);
        let found = statuses.iter().map(|status| live.places(*status, after.as_ref(), limit + 1));
        let found = futures::future::try_join_all(found).await?;
        let mut places: BTreeSet<Place> = found.into_iter().flatten().collect();
        // The index hears of what was just written a moment later, and of what moved in it twice for a moment.
        places.extend(unheard.values().map(place));
        let mut seen = BTreeSet::new();
        places.retain(|place| seen.insert(place.order_id));
        let more = places.len() > limit;
        let page: Vec<Place> = places.into_iter().rev().take(limit).collect();
        let next = page.last().filter(|_| more).map(Place::to_string);

        let ids: Vec<OrderId> = page.iter().map(|place| place.order_id).collect();
        let read = if ids.is_empty() { Vec::new() } else { live.rows(&ids, Consistency::Eventual).await? };
        let mut rows: BTreeMap<OrderId, SagaRow> = read.into_iter().map(|row| (row.order_id, row)).collect();
        rows.extend(unheard);
        if answers {
            self.look_again(&mut rows, &ids, call.at).await;
        }
        let shown = ids.iter().filter_map(|id| rows.get(id));
        let wanted = |row: &&SagaRow| wanted.is_none_or(|wanted| row.parts.status() == wanted);
        let sagas = shown.filter(wanted).map(SagaView::of).collect();
        Answer::view(&ListedSagas { sagas, next }, None)
    }

    /// Sagas whose executions ended badly, which their rows have not heard: Step Functions lists them. What is found out is
    /// written into the rows, and answered; `None` when Step Functions does not answer.
    async fn unheard(
        &self,
        live: &dyn SagaRows,
        wanted: Option<Status>,
    ) -> Result<Option<BTreeMap<OrderId, SagaRow>>, Fault> {
        let asked: &[Ended] = match wanted {
            None | Some(Status::Running) => &[Ended::Stuck, Ended::Aborted],
            Some(Status::Stuck) => &[Ended::Stuck],
            Some(Status::Aborted) => &[Ended::Aborted],
            Some(Status::Succeeded | Status::Compensated | Status::Cancelled) => &[],
        };
        let mut found = BTreeMap::new();
        let lists = asked.iter().map(|ended| self.records.newest(*ended, COMPARED));
        let lists = match futures::future::try_join_all(lists).await {
            Ok(lists) => lists,
            Err(fault) => {
                tracing::warn!(error = %fault, "the list is as new as what was heard");
                return Ok(None);
            }
        };
        for executions in lists {
            let ids: Vec<OrderId> = executions.iter().map(|execution| execution.order_id).collect();
            let read =
                if ids.is_empty() { Vec::new() } else { live.rows(&ids, Consistency::Eventual).await? };
            let known: BTreeMap<OrderId, SagaRow> = read.into_iter().map(|row| (row.order_id, row)).collect();
            let news = executions.into_iter().filter(|execution| {
                let run = Run::Saga(execution.order_id);
                let mut parts = Change::heard(run, execution).parts;
                known.get(&execution.order_id).inspect(|row| parts.keep_news(&row.parts));
                !parts.is_empty()
            });
            for execution in news.take(MAX_LOOKS) {
                let id = execution.order_id;
                let mut row = known.get(&id).cloned();
                // The list does not say why.
                match self.records.find(Run::Saga(id)).await {
                    Ok(Some(execution)) => self.learn(&mut row, Run::Saga(id), &execution).await,
                    Ok(None) => {}
                    Err(fault) => tracing::warn!(order = %id, error = %fault, "not looked at"),
                }
                found.extend(row.map(|row| (id, row)));
            }
        }
        Ok(Some(found))
    }

    /// Asks Step Functions about rows that have been quiet for longer than they should be, [`MAX_LOOKS`] at most.
    async fn look_again(&self, rows: &mut BTreeMap<OrderId, SagaRow>, page: &[OrderId], now: Timestamp) {
        let due = page.iter().filter_map(|id| rows.get(id)).filter(|row| is_due(row, now)).take(MAX_LOOKS);
        let runs: Vec<Run> = due.flat_map(runs_of).collect();
        let looks = stream::iter(runs).map(|run| async move { (run, self.records.find(run).await) });
        let looks: Vec<_> = looks.buffered(LOOKUPS_AT_A_TIME).collect().await;
        for (run, found) in looks {
            let (Run::Saga(id) | Run::Undo(id, _)) = run;
            match found {
                Ok(Some(execution)) => {
                    let mut row = rows.remove(&id);
                    self.learn(&mut row, run, &execution).await;
                    rows.extend(row.map(|row| (id, row)));
                }
                Ok(None) => {}
                Err(fault) => tracing::warn!(order = %id, error = %fault, "not looked at"),
            }
        }
    }

    /// Joins what an execution says into a row, here and in the tables. What cannot be written is found out again by who looks next.
    async fn learn(&self, row: &mut Option<SagaRow>, run: Run, execution: &Execution) {
        let change = Change::heard(run, execution);
        let mut news = change.parts.clone();
        if let Some(row) = row {
            news.keep_news(&row.parts);
        }
        if news.is_empty() {
            return;
        }
        if let Err(error) = self.rows.keep(change.clone()).await {
            tracing::warn!(order = %change.order_id, %error, "what was found out is not kept");
        }
        let row = row.get_or_insert_with(|| SagaRow {
            order_id: change.order_id,
            listed: Status::Running,
            started_at: Plan::blind(news.clone()).started_at().0,
            parts: Parts::default(),
        });
        row.parts.join(news);
        row.listed = row.parts.status();
    }

    /// Attempts to undo it by hand, oldest first. They are numbered without gaps.
    async fn attempts(&self, order_id: OrderId) -> Result<Vec<(Run, Execution)>, Fault> {
        let mut attempts = Vec::new();
        for number in 1..=MAX_ATTEMPTS {
            let run = Run::Undo(order_id, number);
            match self.records.find(run).await? {
                Some(execution) => attempts.push((run, execution)),
                None => break,
            }
        }
        Ok(attempts)
    }

    /// `GET /api/sagas/{id}`: the saga of an order with its steps, what was undone by hand, and the order's timeline.
    ///
    /// The steps are those of the row, and of the order's own streams, which are read for the timeline: so they are there when the row is
    /// late or missing. How the saga stands is what Step Functions says now, or what the row heard when that has forgotten it.
    ///
    /// # Errors
    /// 404 when there is no such order; 503 when Step Functions or a table does not answer.
    pub async fn get_saga(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let (order, history) = History::read(&self.store, id).await?;
        let timeline = TimelineView::of(id, &order, Timeline::of(id, &order, &history)?);
        let mut row = self.rows.live().await?.rows(&[id], Consistency::Eventual).await?.pop();
        let saga = self.records.find(Run::Saga(id)).await?;
        let attempts = self.attempts(id).await?;
        let mut runs = Vec::new();
        for (run, execution) in saga.into_iter().map(|saga| (Run::Saga(id), saga)).chain(attempts) {
            let steps = steps(&self.records.history(run).await?);
            runs.push(RunView::of(run, &execution, steps));
            self.learn(&mut row, run, &execution).await;
        }
        let mut parts = row.map(|row| row.parts).unwrap_or_default();
        for event in history.all() {
            // A payment may have been used for another order as well.
            if let Some(change) =
                Change::of(event).map_err(Fault::internal)?.filter(|change| change.order_id == id)
            {
                parts.join(change.parts);
            }
        }
        Answer::view(&ShownSaga { saga: SagaDetailView::of(id, &parts, runs, timeline) }, None)
    }
}

fn place(row: &SagaRow) -> Place {
    Place { started_at: row.started_at.clone(), order_id: row.order_id }
}

/// Whether Step Functions should be asked about a row: nothing was heard for so long that something was missed, or the
/// saga needs somebody, who may have been there.
fn is_due(row: &SagaRow, now: Timestamp) -> bool {
    let has = |fact| row.parts.done.contains_key(&fact);
    let patience = match row.parts.status() {
        Status::Succeeded | Status::Compensated | Status::Cancelled => return false,
        Status::Stuck | Status::Aborted => return true,
        Status::Running
            if [Fact::OrderCanceled, Fact::OrderRejected, Fact::InvoicePaid].iter().any(|f| has(*f)) =>
        {
            ENDING
        }
        Status::Running if has(Fact::OrderApproved) => WAITING,
        Status::Running => PLACING,
    };
    let quiet = |heard| Duration::try_from(now.duration_since(heard)).is_ok_and(|quiet| quiet > patience);
    row.parts.heard_at().is_none_or(quiet)
}

/// The executions that are asked about a row.
fn runs_of(row: &SagaRow) -> Vec<Run> {
    let id = row.order_id;
    let undo = match &row.parts.undo {
        None => 1,
        Some(undo) if undo.ended == Ended::Running => undo.attempt,
        Some(undo) => undo.attempt.saturating_add(1),
    };
    match row.parts.status() {
        Status::Stuck | Status::Aborted => vec![Run::Saga(id), Run::Undo(id, undo)],
        Status::Running | Status::Succeeded | Status::Compensated | Status::Cancelled => vec![Run::Saga(id)],
    }
}

/// What is shown of a saga in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// The order.
    id: OrderId,
    /// `running`, `succeeded`, `compensated` (all was undone, by the saga or by hand), `cancelled` (it is over, and the order is
    /// cancelled), `stuck` (not all could be undone) or `aborted` (somebody stopped it).
    status: String,
    /// When the order was placed.
    #[schema(value_type = String, format = DateTime)]
    started_at: String,
    /// When it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// What the order is, as far as was heard: `pending`, `approved`, `ready`, `completed`, `rejected` or `cancelled`.
    order: String,
    /// The last thing that was done for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<DoneView>,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
}

impl SagaView {
    fn of(row: &SagaRow) -> Self {
        let parts = &row.parts;
        Self {
            id: row.order_id,
            status: parts.status().word().to_owned(),
            started_at: row.started_at.clone(),
            ended_at: parts.ended_at().map(sortable),
            order: parts.order().to_owned(),
            last: parts.last().map(|(fact, done)| DoneView::of(fact, Some(done))),
            failure: parts.failure().map(FailureView::of),
        }
    }
}

/// A step as events tell it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoneView {
    /// Its name, as in the definitions; of what is no step, the event's.
    name: String,
    /// The event that tells that it was done.
    event: String,
    /// When it was done, if it was. Of a step that was done more than once, such as reminding, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<String>,
    /// Calls that it took, where it was done by a saga: those that came to nothing, and the one that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// Who did it, if it was not the saga: `policy:…` is the mall itself, `user:…` somebody who said who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Why: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl DoneView {
    fn of(fact: Fact, done: Option<&Done>) -> Self {
        Self {
            name: fact.step().1.to_owned(),
            event: fact.event().to_owned(),
            at: done.map(|done| sortable(done.at)),
            attempts: done.filter(|done| done.by.is_none()).map(|done| done.attempts),
            by: done.and_then(|done| done.by.clone()),
            reason: done.and_then(|done| done.why.clone()),
        }
    }
}

/// All there is to know of one saga.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaDetailView {
    /// The order.
    id: OrderId,
    /// As in lists; `unknown` when nothing was heard of it and Step Functions knows nothing: it has not started yet, or is long
    /// forgotten.
    status: String,
    /// When the order was placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<String>,
    /// When it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// The steps of placing the order, done or not, and those of paying for it that were.
    steps: Vec<DoneView>,
    /// What was undone, by the saga, by hand or by the mall when the order was cancelled.
    compensations: Vec<DoneView>,
    /// The execution, and after it every attempt to undo by hand what it could not. What it does at first is a step of its
    /// own there, `PlaceOrder`.
    runs: Vec<RunView>,
    /// What it did: the events, and what the order waits for.
    timeline: TimelineView,
}

impl SagaDetailView {
    fn of(id: OrderId, parts: &Parts, runs: Vec<RunView>, timeline: TimelineView) -> Self {
        let status = match parts.status() {
            Status::Running if runs.is_empty() => "unknown",
            status => status.word(),
        };
        let of_kinds = |kinds: &[Kind]| {
            let told = Fact::ALL.into_iter().map(|fact| (fact, parts.done.get(&fact)));
            let told = told.filter(|(fact, _)| kinds.contains(&fact.step().0));
            told.filter(|(fact, done)| done.is_some() || fact.step().0 == Kind::Placement)
                .map(|(fact, done)| DoneView::of(fact, done))
                .collect()
        };
        Self {
            id,
            status: status.to_owned(),
            started_at: parts.done.get(&Fact::OrderCreated).map(|created| sortable(created.at)),
            ended_at: parts.ended_at().map(sortable),
            failure: parts.failure().map(FailureView::of),
            steps: of_kinds(&[Kind::Placement, Kind::Payment]),
            compensations: of_kinds(&[Kind::Compensation]),
            runs,
            timeline,
        }
    }
}

/// One execution.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// `saga`, or `undo-<attempt>`.
    name: String,
    /// `running`, `ended`, `stuck` or `aborted`.
    status: String,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: String,
    /// When it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// The state it ended in, or is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// States entered, and one for the start: what AWS charges.
    transitions: u32,
    /// What it did, step by step, compensations included.
    steps: Vec<StepView>,
}

impl RunView {
    fn of(run: Run, execution: &Execution, told: Steps) -> Self {
        let name = match run {
            Run::Saga(_) => "saga".to_owned(),
            Run::Undo(_, attempt) => format!("undo-{attempt}"),
        };
        Self {
            name,
            status: execution.ended.word().to_owned(),
            started_at: sortable(execution.started_at),
            ended_at: execution.ended_at.map(sortable),
            state: told.state,
            failure: execution.error.clone().map(FailureView::of),
            transitions: told.transitions,
            steps: told.steps.into_iter().map(StepView::of).collect(),
        }
    }
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name, as in the definition.
    name: String,
    /// `running`, `done` or `failed`.
    outcome: String,
    /// When it was entered.
    #[schema(value_type = String, format = DateTime)]
    started_at: String,
    /// When its last call was answered, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// Calls of its function.
    attempts: u32,
    /// Why calls came to nothing, oldest first.
    failures: Vec<FailureView>,
}

impl StepView {
    fn of(step: Step) -> Self {
        let outcome = match step.outcome {
            Outcome::Running => "running",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        };
        Self {
            name: step.name,
            outcome: outcome.to_owned(),
            started_at: sortable(step.started_at),
            ended_at: step.ended_at.map(sortable),
            attempts: step.attempts,
            failures: step.failures.into_iter().map(FailureView::of).collect(),
        }
    }
}

/// Why something failed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureView {
    /// A code.
    error: String,
    /// What was said about it.
    cause: String,
}

impl FailureView {
    fn of(failure: Failure) -> Self {
        Self { error: failure.error, cause: failure.cause }
    }
}
