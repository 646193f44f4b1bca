//! Sagas of orders, for operators: a projection of the sagas' streams, a list made of it and of the orders'
//! view, and one saga shown from its streams.
//!
//! | a saga is | by |
//! | --- | --- |
//! | `running` | the order: pending |
//! | `succeeded` | the order: approved, ready or completed |
//! | `undoing`, `undone`, `stuck` | the saga's stream, as far as it has one; `undoing` also if the order is over and its undo has not begun |
//!
//! Step Functions is asked for nothing when sagas are listed, and twice when one with an undo is shown.
//!
//! **Not guaranteed**: that a list has what happened a moment ago.

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::OrderId,
    ordering::{SagaEvent, UndoOrigin, UndoOutcome},
};
use event_store::EventStore;
use executions::{Executions, Failure, Run};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Aggregate, StreamId, Timestamp, Version};
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, List, Position, Projection, Projector, Range, row_id, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    docs::{ListedSagas, ShownSaga},
    saga::Saga,
    sagas::name_of,
    timeline::{History, TimelineView},
    views::{BY_STAGE, COMPLETED, OrderRow, Orders, PENDING, PLACED},
};

/// The view of sagas that have a stream: one row for each.
pub struct SagaRows;

/// Sagas of one status, by the time their stream began. An undo takes three write units.
pub const BY_STATUS: Index = Index::new("by-status", "shown", "startedAt").sharded();
/// Sagas that are looked at again when their time is over. Only these rows have `due`. An undo takes two
/// write units, and one more for each further attempt.
pub const DUE: Index = Index::new("due", "due", "dueAt").sharded();
/// The only partition of [`DUE`].
pub(crate) const SAGAS: &str = "sagas";

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
    pub(crate) id: OrderId,
    /// The stage: `placing`, `undoing`, `undone`, `settled` or `stuck`.
    pub(crate) status: String,
    /// Starts of the placement beyond the first, and of undos.
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<UndoOrigin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Code of the error that it is stuck at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    started_at: String,
    changed_at: String,
    /// The place in [`BY_STATUS`].
    shown: String,
    /// The place in [`DUE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
}

impl SagaRow {
    /// Returns true if the saga is due in its own time, or waits for an operator.
    pub(crate) fn goes_its_own_way(&self) -> bool {
        ["placing", "undoing", "stuck"].contains(&self.status.as_str())
    }
}

impl Projection for SagaRows {
    const NAME: &'static str = "sagas";
    /// 2: sharded as in [`projection::SHARDS`].
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = Saga::CATEGORY;
    type Row = SagaRow;

    fn apply(row: Option<SagaRow>, event: &Envelope) -> Result<SagaRow, ApplyError> {
        let at = sortable(event.at);
        let (attempts, origin, reason, started_at) = match row {
            Some(row) => (row.attempts, row.origin, row.reason, row.started_at),
            None => (0, None, None, at.clone()),
        };
        let mut row = SagaRow {
            id: row_id(event)?,
            status: String::new(),
            shown: String::new(),
            attempts,
            origin,
            reason,
            error: None,
            cause: None,
            started_at,
            changed_at: at,
            due: None,
            due_at: None,
        };
        let status = match event.event::<SagaEvent>()? {
            SagaEvent::SagaPlacementResumed(resumed) => {
                row.is_due(resumed.due_at);
                "placing"
            }
            SagaEvent::SagaUndoBegan(began) => {
                (row.origin, row.reason) = (Some(began.origin), Some(began.reason));
                row.is_due(began.due_at);
                "undoing"
            }
            SagaEvent::SagaUndoEnded(ended) => match ended.outcome {
                UndoOutcome::Undone => "undone",
                UndoOutcome::Kept => "settled",
            },
            SagaEvent::SagaStuck(stuck) => {
                (row.error, row.cause) = (Some(stuck.error), Some(stuck.cause));
                "stuck"
            }
            SagaEvent::SagaSettled(_) => "settled",
        };
        Ok(SagaRow { status: status.to_owned(), shown: BY_STATUS.place(status, row.id), ..row })
    }
}

impl SagaRow {
    /// An attempt began that is looked at again when its time is over.
    fn is_due(&mut self, until: Timestamp) {
        self.attempts += 1;
        (self.due, self.due_at) = (Some(DUE.place(SAGAS, self.id)), Some(sortable(until)));
    }
}

/// The status of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Running,
    Succeeded,
    Undoing,
    Undone,
    Stuck,
}

impl Status {
    const ALL: [Self; 5] = [Self::Running, Self::Succeeded, Self::Undoing, Self::Undone, Self::Stuck];

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
        match self {
            Self::Running => vec![Source::Orders(PENDING)],
            Self::Succeeded => vec![Source::Orders(PLACED), Source::Orders(COMPLETED)],
            Self::Undoing => vec![Source::Sagas("undoing")],
            Self::Undone => vec![Source::Sagas("undone")],
            Self::Stuck => vec![Source::Sagas("stuck")],
        }
    }
}

/// A partition of an index that has sagas.
enum Source {
    Orders(&'static str),
    Sagas(&'static str),
}

/// A row that lists a saga: of one view or of the other.
enum Found {
    Order(OrderRow),
    Saga(SagaRow),
}

impl Found {
    /// Place in a list: time, then shard, as in the merged list of each index, then id.
    fn place(&self) -> (&str, u32, OrderId) {
        let (at, id) = match self {
            Self::Order(order) => (&order.placed_at, order.id),
            Self::Saga(saga) => (&saga.started_at, saga.id),
        };
        // The indexes of both views have as many shards.
        (at, BY_STAGE.shard_of(&id.to_string()), id)
    }
}

/// Reads a cursor: a place, as text.
fn position(cursor: &str) -> Option<Position> {
    let (sort, id) = cursor.split_once('_')?;
    // A time may be followed by notes of any length, and no row has one that is spelled so.
    let position = Position { id: id.to_owned(), sort: sort.to_owned() };
    position.is_of_a_time().then_some(position)
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

    /// `GET /api/sagas?status=&limit=&cursor=`: order sagas, newest first.
    ///
    /// # Errors
    /// 400 when a parameter is wrong; 503 when a table does not answer.
    pub async fn list_sagas(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let wrong = |message: &str| Fault::invalid("QUERY_IS_INVALID", message);
        let given = |name| call.query.get(name).filter(|text| !text.is_empty());
        let wanted = match given("status") {
            None => Status::ALL.to_vec(),
            Some(word) => vec![
                serde_json::from_value(word.as_str().into())
                    .map_err(|_| wrong("status must be running, succeeded, undoing, undone or stuck"))?,
            ],
        };
        let limit = match call.query_number("limit")?.unwrap_or(USUAL_LIMIT) {
            limit @ 1..=MAX_LIMIT => limit as usize,
            limit => return Err(wrong(&format!("limit must be from 1 to {MAX_LIMIT}, not {limit}"))),
        };
        let after = given("cursor")
            .map(|cursor| position(cursor).ok_or_else(|| wrong("cursor is not one that a list answered")));
        let after = after.transpose()?;
        let sources = wanted.iter().flat_map(|status| status.lists());
        let pages: Vec<_> = sources.map(|source| self.page(source, after.clone(), limit + 1)).collect();
        let pages: Vec<Vec<Found>> = stream::iter(pages).buffered(AT_A_TIME).try_collect().await?;
        let mut found: Vec<Found> = pages.into_iter().flatten().collect();
        found.sort_by(|a, b| b.place().cmp(&a.place()));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more).map(Found::place);
        let next = last.map(|(at, _, id)| format!("{at}_{id}"));
        let shown: Vec<_> = found.into_iter().map(|found| self.shown(found, &wanted)).collect();
        let shown: Vec<_> = stream::iter(shown).buffered(AT_A_TIME).try_collect().await?;
        Answer::view(&ListedSagas { sagas: shown.into_iter().flatten().collect(), next }, None)
    }

    /// Reads the sagas of one partition that come after `after`, newest first.
    async fn page(&self, source: Source, after: Option<Position>, limit: usize) -> Result<Vec<Found>, Fault> {
        let (index, partition) = match source {
            Source::Orders(stage) => (&BY_STAGE, stage),
            Source::Sagas(status) => (&BY_STATUS, status),
        };
        let list =
            List { index, partition, shard: None, range: Range::default(), descending: true, after, limit };
        match source {
            Source::Orders(_) => {
                let rows = self.orders.list_rows(&list).await?.rows;
                Ok(rows.into_iter().map(Found::Order).collect())
            }
            Source::Sagas(_) => {
                let rows = self.rows.list_rows(&list).await?.rows;
                Ok(rows.into_iter().map(Found::Saga).collect())
            }
        }
    }

    /// Shows a saga with the row that the other view has of it. A saga may be in an index of each view: it is
    /// shown from the one that its status goes by.
    async fn shown(&self, found: Found, wanted: &[Status]) -> Result<Option<SagaView>, Fault> {
        let id = found.place().2.to_string();
        let (order, saga, by_order) = match found {
            Found::Order(order) => (order, self.rows.read(&id, None).await?.map(|read| read.row), true),
            Found::Saga(saga) => match self.orders.read(&id, None).await? {
                Some(order) => (order.row, Some(saga), false),
                None => return Ok(None),
            },
        };
        let view = SagaView::of(order.id, order.placed_at, &order.status, saga.as_ref());
        let here = by_order == matches!(view.status, Status::Running | Status::Succeeded);
        Ok((here && wanted.contains(&view.status)).then_some(view))
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_sagas(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.rows.deliver_batch(&events).await)
    }
}

/// The query for one saga: its streams, and the execution of its last undo.
pub struct SagaShower {
    store: EventStore,
    executions: Arc<dyn Executions>,
    undo: String,
}

impl SagaShower {
    /// Looks at streams in `store`, and at executions of the machine `undo`.
    pub fn new(store: EventStore, executions: Arc<dyn Executions>, undo: String) -> Self {
        Self { store, executions, undo }
    }

    /// `GET /api/sagas/{id}`: a saga with its steps, its history and its last undo, from the streams as they
    /// are now. If Step Functions does not answer, the execution of the undo is left out.
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
            attempt => {
                self.executions.look(&self.undo, &name_of(id, attempt)).await.unwrap_or_else(|error| {
                    tracing::warn!(order = %id, attempt, %error, "execution of the undo not shown");
                    None
                })
            }
        };
        let mut steps: Vec<DoneView> = history.all().filter_map(DoneView::of).collect();
        steps.sort_by(|a, b| a.at.cmp(&b.at));
        let placed_at = history.order.first().map(|event| sortable(event.at)).unwrap_or_default();
        let saga = SagaDetailView {
            saga: SagaView::of(id, placed_at, order.status(), row.as_ref()),
            steps,
            history: told,
            run: run.map(|run| Run { name: format!("undo-{attempt}"), ..run }),
            timeline: TimelineView::of(id, &order, &history)?,
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
    /// `running` (the order is being placed), `succeeded` (it was approved), `undoing`, `undone` (nothing is
    /// held for it any more) or `stuck` (an operator has to look).
    #[schema(value_type = String)]
    status: Status,
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
    failure: Option<Failure>,
}

impl SagaView {
    fn of(id: OrderId, started_at: String, order: &str, saga: Option<&SagaRow>) -> Self {
        let failure = saga.and_then(|saga| saga.error.clone().zip(saga.cause.clone()));
        Self {
            id,
            status: Status::of(order, saga.map(|saga| saga.status.as_str())),
            started_at,
            changed_at: saga.map(|saga| saga.changed_at.clone()),
            order: order.to_owned(),
            attempts: saga.map_or(0, |saga| saga.attempts),
            origin: saga.and_then(|saga| saga.origin),
            reason: saga.and_then(|saga| saga.reason.clone()),
            failure: failure.map(|(error, cause)| Failure { error, cause }),
        }
    }
}

/// All there is to know of one saga.
#[derive(Debug, Serialize, ToSchema)]
pub struct SagaDetailView {
    #[serde(flatten)]
    saga: SagaView,
    /// Steps that were done, of the placement and of the undo, as far as streams of the order alone tell
    /// them: not those of its customer and of the stock.
    steps: Vec<DoneView>,
    /// The saga's own stream.
    history: Vec<EntryOfSaga>,
    /// The execution of the last undo, unless it is more than 90 days old.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
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
