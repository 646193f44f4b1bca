//! Sagas of orders, for operators: a projection of the sagas' streams, a list made of it and of the orders'
//! view, and one saga shown from its streams.
//!
//! | a saga is | by |
//! | --- | --- |
//! | `running` | the order: pending |
//! | `succeeded` | the order: approved, ready or completed |
//! | `undoing`, `undone`, `stuck` | the saga's stream, if it has one |
//!
//! A list asks Step Functions for nothing. One saga with an undo takes two requests.
//!
//! **Not guaranteed**: that a list is current. It lags by the time that events take to reach the two views.

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::OrderId,
    ordering::{SagaEvent, UndoOrigin, UndoOutcome},
};
use event_store::EventStore;
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Aggregate, StreamId, Timestamp, Version};
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, List, Position, Projection, Projector, Range, row_id, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    docs::{ListedSagas, ShownSaga},
    saga::Saga,
    step_functions::{Execution, Executions, Failure, Happened, Happening},
    timeline::{History, Timeline, TimelineView},
    views::{BY_STAGE, COMPLETED, OrderRow, Orders, PENDING, PLACED, shards},
};

/// The view of sagas that have a stream: one row for each.
pub struct SagaRows;

/// Sagas of one stage, by the time their stream began. One partition takes 1,000 write units a second and a saga takes three, so
/// some 300 undos a second.
pub const BY_STATUS: Index = Index { name: "by-status", partition: "status", sort: "startedAt" };
/// Sagas that are looked at again when their time is over. Only these rows have `due`.
pub const DUE: Index = Index { name: "due", partition: "due", sort: "dueAt" };

/// Rows that are read at a time.
const AT_A_TIME: usize = 8;
/// Sagas on a page, when nothing is said.
const USUAL_LIMIT: u64 = 20;
/// Most sagas on a page.
const MAX_LIMIT: u64 = 100;

/// A saga, for operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SagaRow {
    /// The order.
    pub id: OrderId,
    /// Its stage: `placing`, `undoing`, `undone`, `settled` or `stuck`.
    pub status: String,
    /// How often the placement was started again, and attempts to undo.
    pub attempts: u32,
    /// Who asked to undo it, if anybody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<UndoOrigin>,
    /// Why it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Code of the error that it is stuck at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Description of that error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When its stream began.
    pub started_at: String,
    /// When it last changed.
    pub changed_at: String,
    /// Where [`DUE`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    /// When it is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
}

impl Projection for SagaRows {
    const NAME: &'static str = "sagas";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = Saga::CATEGORY;
    type Row = SagaRow;

    fn apply(row: Option<SagaRow>, event: &Envelope) -> Result<SagaRow, ApplyError> {
        let at = sortable(event.at);
        let row = match row {
            Some(row) => row,
            None => SagaRow {
                id: row_id(event)?,
                status: String::new(),
                attempts: 0,
                origin: None,
                reason: None,
                error: None,
                cause: None,
                started_at: at.clone(),
                changed_at: at.clone(),
                due: None,
                due_at: None,
            },
        };
        let now = |status: &str| SagaRow {
            status: status.to_owned(),
            changed_at: at.clone(),
            error: None,
            cause: None,
            due: None,
            due_at: None,
            ..row.clone()
        };
        let due = |status: &str, until: Timestamp| SagaRow {
            attempts: row.attempts + 1,
            due: Some(DUE.partition.to_owned()),
            due_at: Some(sortable(until)),
            ..now(status)
        };
        Ok(match event.event::<SagaEvent>()? {
            SagaEvent::SagaPlacementResumed(resumed) => due("placing", resumed.due_at),
            SagaEvent::SagaUndoBegan(began) => SagaRow {
                origin: Some(began.origin),
                reason: Some(began.reason),
                ..due("undoing", began.due_at)
            },
            SagaEvent::SagaUndoEnded(ended) => now(match ended.outcome {
                UndoOutcome::Undone => "undone",
                UndoOutcome::Kept => "settled",
            }),
            SagaEvent::SagaStuck(stuck) => {
                SagaRow { error: Some(stuck.error), cause: Some(stuck.cause), ..now("stuck") }
            }
            SagaEvent::SagaSettled(_) => now("settled"),
        })
    }
}

/// The status of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    Succeeded,
    Undoing,
    Undone,
    Stuck,
}

impl Status {
    const ALL: [Self; 5] = [Self::Running, Self::Succeeded, Self::Undoing, Self::Undone, Self::Stuck];

    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
        }
    }

    /// Derives the status from the order's state and the stage of its saga, if there is one.
    fn of(order: &str, stage: Option<&str>) -> Self {
        match (stage, order) {
            (Some("undoing"), _) => Self::Undoing,
            (Some("undone"), _) => Self::Undone,
            // An operator was called for an order that went on after all.
            (Some("stuck"), "completed") => Self::Succeeded,
            (Some("stuck"), _) => Self::Stuck,
            (_, "pending") => Self::Running,
            // The event that begins its undo is on its way.
            (_, "rejected" | "cancelled") => Self::Undoing,
            (_, _) => Self::Succeeded,
        }
    }

    /// Returns the partitions that list it.
    fn lists(self) -> Vec<Source> {
        let orders = |stage| shards(stage).map(Source::Orders);
        match self {
            Self::Running => orders(PENDING).collect(),
            Self::Succeeded => orders(PLACED).chain(orders(COMPLETED)).collect(),
            Self::Undoing | Self::Undone | Self::Stuck => vec![Source::Sagas(self.word())],
        }
    }
}

/// A partition of an index that has sagas.
enum Source {
    Orders(String),
    Sagas(&'static str),
}

/// A place in a list, newest first: time, then id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: String,
    id: OrderId,
}

impl Place {
    fn parse(cursor: &str) -> Option<Self> {
        let (at, id) = cursor.split_once('_')?;
        // A time may be followed by notes of any length, and no row has one that is spelled so.
        let place = Self { at: sortable(at.parse().ok()?), id: id.parse().ok()? };
        (place.at == at).then_some(place)
    }
}

/// A saga in a list: the row of the view that lists it, and then the row of the other view.
struct Found {
    place: Place,
    /// True if an index of the orders lists it.
    by_order: bool,
    order: Option<OrderRow>,
    saga: Option<SagaRow>,
}

/// The view with its list.
pub struct SagaViews {
    orders: Projector<Orders>,
    rows: Projector<SagaRows>,
}

impl SagaViews {
    /// The view that `rows` keeps, beside that of the orders.
    pub fn new(orders: Projector<Orders>, rows: Projector<SagaRows>) -> Self {
        Self { orders, rows }
    }

    /// `GET /api/sagas?status=&limit=&cursor=`: sagas of orders, newest first.
    ///
    /// # Errors
    /// 400 when a parameter is wrong; 503 when a table does not answer.
    pub async fn list_sagas(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let wrong = |message: String| Fault::invalid("QUERY_IS_INVALID", message);
        let wanted = match call.query.get("status").map(String::as_str) {
            None | Some("") => Status::ALL.to_vec(),
            Some(word) => {
                let found = Status::ALL.into_iter().find(|status| status.word() == word);
                let message = || "status must be running, succeeded, undoing, undone or stuck".to_owned();
                vec![found.ok_or_else(|| wrong(message()))?]
            }
        };
        let limit = match call.query_number("limit")?.unwrap_or(USUAL_LIMIT) {
            limit @ 1..=MAX_LIMIT => limit as usize,
            limit => return Err(wrong(format!("limit must be from 1 to {MAX_LIMIT}, not {limit}"))),
        };
        let before = match call.query.get("cursor").filter(|cursor| !cursor.is_empty()) {
            None => None,
            Some(cursor) => Some(
                Place::parse(cursor).ok_or_else(|| wrong("cursor is not one that a list answered".into()))?,
            ),
        };
        let sources: Vec<Source> = wanted.iter().flat_map(|status| status.lists()).collect();
        let read = sources.iter().map(|source| self.page(source, before.as_ref(), limit + 1));
        let pages: Vec<Vec<Found>> =
            stream::iter(read.collect::<Vec<_>>()).buffered(AT_A_TIME).try_collect().await?;
        let mut found: Vec<Found> = pages.into_iter().flatten().collect();
        found.sort_by(|a, b| b.place.cmp(&a.place));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| format!("{}_{}", last.place.at, last.place.id));
        let whole = found.into_iter().map(|found| self.completed(found)).collect::<Vec<_>>();
        let whole: Vec<Found> = stream::iter(whole).buffered(AT_A_TIME).try_collect().await?;
        let shown = whole.iter().filter_map(|found| {
            let status = found.status();
            // A saga may be in an index of each view. The one that its status goes by lists it.
            let here = found.by_order == matches!(status, Status::Running | Status::Succeeded);
            (wanted.contains(&status) && here).then(|| SagaView::of_rows(found, status))
        });
        Answer::view(&ListedSagas { sagas: shown.flatten().collect(), next }, None)
    }

    /// Sagas of one partition that come after `before`.
    async fn page(&self, source: &Source, before: Option<&Place>, limit: usize) -> Result<Vec<Found>, Fault> {
        let after = before.map(|place| Position { id: place.id.to_string(), sort: place.at.clone() });
        let list = |index, partition| List {
            index,
            partition,
            range: Range::default(),
            descending: true,
            after,
            limit,
        };
        Ok(match source {
            Source::Orders(partition) => {
                let rows = self.orders.list_rows(&list(&BY_STAGE, partition)).await?.rows;
                let found = rows.into_iter().map(|row| Found {
                    place: Place { at: row.placed_at.clone(), id: row.id },
                    by_order: true,
                    order: Some(row),
                    saga: None,
                });
                found.collect()
            }
            Source::Sagas(status) => {
                let rows = self.rows.list_rows(&list(&BY_STATUS, status)).await?.rows;
                let found = rows.into_iter().map(|row| Found {
                    place: Place { at: row.started_at.clone(), id: row.id },
                    by_order: false,
                    order: None,
                    saga: Some(row),
                });
                found.collect()
            }
        })
    }

    /// Adds the row of the other view.
    async fn completed(&self, found: Found) -> Result<Found, Fault> {
        let id = found.place.id.to_string();
        Ok(match (&found.order, &found.saga) {
            (Some(_), None) => Found { saga: self.rows.read(&id, None).await?.map(|read| read.row), ..found },
            (None, Some(_)) => {
                Found { order: self.orders.read(&id, None).await?.map(|read| read.row), ..found }
            }
            (None, None) | (Some(_), Some(_)) => found,
        })
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_sagas(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.rows.deliver_batch(&events).await)
    }
}

impl Found {
    fn status(&self) -> Status {
        let order = self.order.as_ref().map_or("pending", |order| order.status.as_str());
        Status::of(order, self.saga.as_ref().map(|saga| saga.status.as_str()))
    }
}

/// The query for one saga: its streams, and the execution of its last undo.
pub struct SagaShower {
    store: EventStore,
    executions: Arc<dyn Executions>,
}

impl SagaShower {
    /// Looks at streams in `store` and at `executions`.
    pub fn new(store: EventStore, executions: Arc<dyn Executions>) -> Self {
        Self { store, executions }
    }

    /// `GET /api/sagas/{id}`: a saga with its steps, its history and its last undo, from the streams as they are now. If Step
    /// Functions does not answer, the execution of the undo is left out.
    ///
    /// # Errors
    /// 404 when there is no such order; 503 when the event table fails.
    pub async fn get_saga(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let stream = StreamId::of::<Saga, _>(id);
        let (read, events) =
            futures::join!(History::read(&self.store, id), self.store.events_after(&stream, Version::NONE));
        let ((order, history), events) = (read?, events?);
        let (mut row, mut told, mut attempt) = (None, Vec::new(), 0);
        for event in &events {
            let happened = event.event::<SagaEvent>().map_err(Fault::internal)?;
            if let SagaEvent::SagaUndoBegan(began) = &happened {
                attempt = began.attempt;
            }
            told.push(EntryOfSaga::of(event, &happened));
            row = Some(SagaRows::apply(row, event).map_err(Fault::internal)?);
        }
        let run = match attempt {
            0 => None,
            attempt => self.executions.look(id, attempt).await.unwrap_or_else(|error| {
                tracing::warn!(order = %id, attempt, %error, "execution of the undo not shown");
                None
            }),
        };
        let status = Status::of(order.status(), row.as_ref().map(|row: &SagaRow| row.status.as_str()));
        let placed_at = history.order.first().map(|event| sortable(event.at)).unwrap_or_default();
        let saga = SagaDetailView {
            saga: SagaView::of(id, status, placed_at, order.status(), row.as_ref()),
            steps: history.all().filter_map(DoneView::of).collect(),
            history: told,
            run: run.map(|run| RunView::of(&format!("undo-{attempt}"), run)),
            timeline: TimelineView::of(id, &order, Timeline::of(id, &order, &history)?),
        };
        Answer::view(&ShownSaga { saga }, None)
    }
}

/// A saga, in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// The order.
    id: OrderId,
    /// `running` (the order is being placed), `succeeded` (it was approved), `undoing`, `undone` (nothing is held for it any
    /// more) or `stuck` (an operator has to look).
    status: String,
    /// When the order was placed.
    #[schema(value_type = String, format = DateTime)]
    started_at: String,
    /// When its saga last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    changed_at: Option<String>,
    /// The order's state: `pending`, `approved`, `ready`, `completed`, `rejected` or `cancelled`.
    order: String,
    /// How often a placement or an undo was started, beyond the first placement.
    attempts: u32,
    /// Who asked to undo the order: `placement`, `cancellation`, `expiry` or `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<UndoOrigin>,
    /// Why it is undone: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The error that it is stuck at.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
}

impl SagaView {
    fn of_rows(found: &Found, status: Status) -> Option<Self> {
        let order = found.order.as_ref()?;
        Some(Self::of(order.id, status, order.placed_at.clone(), &order.status, found.saga.as_ref()))
    }

    fn of(id: OrderId, status: Status, started_at: String, order: &str, saga: Option<&SagaRow>) -> Self {
        let failure = saga.and_then(|saga| Some((saga.error.clone()?, saga.cause.clone()?)));
        Self {
            id,
            status: status.word().to_owned(),
            started_at,
            changed_at: saga.map(|saga| saga.changed_at.clone()),
            order: order.to_owned(),
            attempts: saga.map_or(0, |saga| saga.attempts),
            origin: saga.and_then(|saga| saga.origin),
            reason: saga.and_then(|saga| saga.reason.clone()),
            failure: failure.map(|(error, cause)| FailureView { error, cause }),
        }
    }
}

/// All there is to know of one saga.
#[derive(Debug, Serialize, ToSchema)]
pub struct SagaDetailView {
    #[serde(flatten)]
    saga: SagaView,
    /// Steps that were done, of the placement and of the undo, as far as streams of the order alone tell them: not those of
    /// its customer and of the stock.
    steps: Vec<DoneView>,
    /// The saga's own stream.
    history: Vec<EntryOfSaga>,
    /// The execution of the last undo, unless it is more than 90 days old.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunView>,
    /// The order's story, and what it waits for.
    timeline: TimelineView,
}

/// A step that was done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoneView {
    /// Its name, as in the definitions.
    name: &'static str,
    /// The event that tells it.
    event: String,
    /// When it was done.
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// Calls that it took: those that came to nothing, and the one that did it.
    attempts: u32,
    /// Who did it: `saga:order`, `saga:undo`, or somebody by hand.
    by: String,
}

impl DoneView {
    /// The step that an event ends; `None` for an event that no step ends with.
    fn of(event: &Envelope) -> Option<Self> {
        let undone = event.actor.as_str() == "saga:undo";
        let name = match event.event_type.as_str() {
            "ShoppingListCreated" => "CreateShoppingList",
            "PaymentConfirmed" => "ConfirmPayment",
            "ShoppingListInitiated" => "InitiateShopping",
            "OrderApproved" => "ApproveOrder",
            "OrderRejected" => "CloseOrder",
            "OrderCanceled" if undone => "CloseOrder",
            "InvoiceCanceled" | "PaymentReleased" | "PaymentRefunded" if undone => "SettleInvoiceAndPayment",
            "ShoppingListCanceled" if undone => "CancelShoppingList",
            _ => return None,
        };
        let (at, by) = (sortable(event.at), event.actor.as_str().to_owned());
        Some(Self { name, event: event.event_type.clone(), at, attempts: event.attempt + 1, by })
    }
}

/// One thing that happened to a saga.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryOfSaga {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// The type of the event.
    what: String,
    /// In a sentence for people; the wording may change.
    text: String,
    /// Who did it.
    by: String,
}

impl EntryOfSaga {
    fn of(event: &Envelope, happened: &SagaEvent) -> Self {
        let text = match happened {
            SagaEvent::SagaPlacementResumed(resumed) => {
                format!("The placement was started again, attempt {}.", resumed.attempt)
            }
            SagaEvent::SagaUndoBegan(began) => {
                let origin = match began.origin {
                    UndoOrigin::Placement => "its placement failed",
                    UndoOrigin::Cancellation => "the order was cancelled",
                    UndoOrigin::Expiry => "nobody paid in time",
                    UndoOrigin::Operator => "an operator asked",
                };
                format!("Undo {} began, because {origin} ({}).", began.attempt, began.reason)
            }
            SagaEvent::SagaUndoEnded(ended) => match ended.outcome {
                UndoOutcome::Undone => {
                    format!("Undo {} ended: nothing is held for the order.", ended.attempt)
                }
                UndoOutcome::Kept => format!("Undo {} ended: the order is kept.", ended.attempt),
            },
            SagaEvent::SagaStuck(stuck) => format!("The saga is stuck: {}: {}.", stuck.error, stuck.cause),
            SagaEvent::SagaSettled(_) => "The order went on by itself.".to_owned(),
        };
        let (at, by) = (sortable(event.at), event.actor.as_str().to_owned());
        Self { at, what: event.event_type.clone(), text, by }
    }
}

/// One execution.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// `undo-<attempt>`.
    name: String,
    /// `running`, `succeeded`, `failed` or `aborted`.
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
    /// The error it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// States entered, and one for the start: the unit that AWS charges.
    transitions: u32,
    /// Its steps, in order.
    steps: Vec<StepView>,
}

impl RunView {
    fn of(name: &str, run: Execution) -> Self {
        let mut view = Self {
            name: name.to_owned(),
            status: run.status.to_owned(),
            started_at: sortable(run.started_at),
            ended_at: run.ended_at.map(sortable),
            state: None,
            failure: run.failure.map(FailureView::of),
            transitions: u32::from(!run.history.is_empty()),
            steps: Vec::new(),
        };
        let mut in_step = false;
        for Happened { at, what } in run.history {
            let at = sortable(at);
            let current = view.steps.last_mut().filter(|_| in_step);
            match (what, current) {
                (Happening::Entered { state, step }, left) => {
                    if let Some(left) = left {
                        left.leave();
                    }
                    view.transitions += 1;
                    in_step = step;
                    if step {
                        view.steps.push(StepView::entered(state.clone(), at));
                    }
                    view.state = Some(state);
                }
                (Happening::Attempted, Some(step)) => {
                    step.attempts += 1;
                    (step.outcome, step.ended_at) = ("running", None);
                }
                (Happening::Failed(failure), Some(step)) => {
                    step.failures.push(FailureView::of(failure));
                    step.ended_at = Some(at);
                }
                (Happening::Done, Some(step)) => (step.outcome, step.ended_at) = ("done", Some(at)),
                (Happening::Ended, Some(step)) => step.leave(),
                (Happening::Attempted | Happening::Failed(_) | Happening::Done | Happening::Ended, None) => {}
            }
        }
        view
    }
}

/// One step of an execution.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name, as in the definition.
    name: String,
    /// `running`, `done` or `failed`.
    #[schema(value_type = String)]
    outcome: &'static str,
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
    fn entered(name: String, at: String) -> Self {
        Self { name, outcome: "running", started_at: at, ended_at: None, attempts: 0, failures: Vec::new() }
    }

    /// A step that the execution goes on from and that is not done has failed.
    fn leave(&mut self) {
        if self.outcome != "done" {
            self.outcome = "failed";
        }
    }
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
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
