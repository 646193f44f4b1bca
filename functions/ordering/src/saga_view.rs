//! What became of order sagas, for operators.
//!
//! There is no table. That a saga is stuck is no event of any stream, and nothing but Step Functions knows it: so lists and
//! histories are asked there, where they are right by definition, and what became of the order is read from its own
//! stream. A list costs one request there and one query for each saga on the page, [`LOOKUPS_AT_A_TIME`] at a time; one
//! that is stuck or was aborted costs a request more for each attempt to undo it by hand.
//!
//! Step Functions forgets an execution 90 days after its end. Then what is left of a saga is what it did: the
//! order's timeline ([`crate::timeline`]), which is shown with it in any case.

use std::sync::Arc;

use contracts::ids::OrderId;
use event_store::{EventStore, Loaded};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{StreamId, Timestamp};
use lambda::{Answer, Call, Fault};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    docs::{ListedSagas, ShownSaga},
    order::Order,
    sagas::{Ended, Execution, Failure, Happened, Happening, Run, SagaRecords},
    timeline::{History, Timeline, TimelineView},
};

/// Orders that are read at the same time.
const LOOKUPS_AT_A_TIME: usize = 8;
/// Sagas on a page, when nothing is said.
const USUAL_LIMIT: u32 = 20;
/// Most sagas on a page.
const MAX_LIMIT: u64 = 100;
/// Attempts to undo by hand that are looked at: more than anybody makes before finding out what is wrong.
const MAX_ATTEMPTS: u32 = 20;

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

/// What became of a saga, in a word.
fn status(execution: &Execution, order: Option<&Order>, undone: bool) -> &'static str {
    match execution.ended {
        Ended::Running => "running",
        Ended::Stuck | Ended::Aborted if undone => "compensated",
        Ended::Stuck => "stuck",
        Ended::Aborted => "aborted",
        Ended::Well => match order {
            Some(Order::Rejected { .. }) => "compensated",
            Some(Order::Canceled { .. }) => "cancelled",
            Some(
                Order::Pending(_) | Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. },
            )
            | None => "succeeded",
        },
    }
}

/// The queries of operators.
pub struct SagaViews {
    store: EventStore,
    records: Arc<dyn SagaRecords>,
}

impl SagaViews {
    /// Looks at sagas in `records`, and at their orders in `store`.
    pub fn new(store: EventStore, records: Arc<dyn SagaRecords>) -> Self {
        Self { store, records }
    }

    /// `GET /api/sagas?status=&limit=&cursor=`: order sagas, newest first. `status` is that of the execution: `running`,
    /// `ended`, `stuck` or `aborted`; what was undone by hand since is still listed there, as compensated.
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_sagas(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let how = match call.query.get("status").map(String::as_str) {
            None | Some("") => None,
            Some("running") => Some(Ended::Running),
            Some("ended") => Some(Ended::Well),
            Some("stuck") => Some(Ended::Stuck),
            Some("aborted") => Some(Ended::Aborted),
            Some(_) => {
                let message = "status must be running, ended, stuck or aborted";
                return Err(Fault::invalid("QUERY_IS_INVALID", message));
            }
        };
        let limit = match call.query_number("limit")? {
            None => USUAL_LIMIT,
            Some(limit @ 1..=MAX_LIMIT) => limit as u32,
            Some(_) => {
                let message = format!("limit must be from 1 to {MAX_LIMIT}");
                return Err(Fault::invalid("QUERY_IS_INVALID", message));
            }
        };
        let cursor = call.query.get("cursor").map(String::as_str).filter(|cursor| !cursor.is_empty());
        let (executions, next) = self.records.list(how, limit, cursor).await?;
        let shown = stream::iter(executions).map(|execution| self.summed_up(execution));
        let sagas = shown.buffered(LOOKUPS_AT_A_TIME).try_collect().await?;
        Answer::view(&ListedSagas { sagas, next }, None)
    }

    async fn summed_up(&self, execution: Execution) -> Result<SagaView, Fault> {
        let stream = StreamId::of::<Order, _>(execution.order_id);
        let loaded: Loaded<Order> = self.store.load(&stream).await?;
        let undone = match execution.ended {
            Ended::Running | Ended::Well => false,
            Ended::Stuck | Ended::Aborted => {
                let attempts = self.attempts(execution.order_id).await?;
                attempts.iter().any(|(_, attempt)| attempt.ended == Ended::Well)
            }
        };
        let status = status(&execution, loaded.state.as_ref(), undone);
        Ok(SagaView::of(&execution, status, loaded.state.as_ref()))
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
    /// # Errors
    /// 404 when there is no such order.
    pub async fn get_saga(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let (order, history) = History::read(&self.store, id).await?;
        let timeline = TimelineView::of(id, &order, Timeline::of(id, &order, &history)?);
        let saga = self.records.find(Run::Saga(id)).await?;
        let attempts = self.attempts(id).await?;
        let undone = attempts.iter().any(|(_, attempt)| attempt.ended == Ended::Well);
        let status = saga.as_ref().map_or("unknown", |saga| status(saga, Some(&order), undone));
        let mut runs = Vec::new();
        for (run, execution) in saga.into_iter().map(|saga| (Run::Saga(id), saga)).chain(attempts) {
            let steps = steps(&self.records.history(run).await?);
            runs.push(RunView::of(run, &execution, steps));
        }
        Answer::view(
            &ShownSaga { saga: SagaDetailView { id, status: status.to_owned(), runs, timeline } },
            None,
        )
    }
}

/// What is shown of a saga in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// The order.
    id: OrderId,
    /// `running`, `succeeded`, `compensated` (all was undone, by the saga or by hand), `cancelled` (it ended, and the order is
    /// cancelled), `stuck` (not all could be undone) or `aborted` (somebody stopped it).
    status: String,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: String,
    /// When it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// What the order is: `pending`, `approved`, `ready`, `completed`, `rejected` or `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    /// Why the order was rejected or cancelled: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl SagaView {
    fn of(execution: &Execution, status: &str, order: Option<&Order>) -> Self {
        Self {
            id: execution.order_id,
            status: status.to_owned(),
            started_at: shown(execution.started_at),
            ended_at: execution.ended_at.map(shown),
            order: order.map(|order| order.status().to_owned()),
            reason: order.and_then(Order::reason).map(|reason| reason.as_str().to_owned()),
        }
    }
}

/// All there is to know of one saga.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaDetailView {
    /// The order.
    id: OrderId,
    /// As in lists; `unknown` when it has not started yet, or ended more than 90 days ago.
    status: String,
    /// The saga, and after it every attempt to undo by hand what it could not.
    runs: Vec<RunView>,
    /// What it did: the events, and what the order waits for.
    timeline: TimelineView,
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
        let status = match execution.ended {
            Ended::Running => "running",
            Ended::Well => "ended",
            Ended::Stuck => "stuck",
            Ended::Aborted => "aborted",
        };
        Self {
            name,
            status: status.to_owned(),
            started_at: shown(execution.started_at),
            ended_at: execution.ended_at.map(shown),
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
            started_at: shown(step.started_at),
            ended_at: step.ended_at.map(shown),
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

fn shown(time: Timestamp) -> String {
    format!("{time:.9}")
}
