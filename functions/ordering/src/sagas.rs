//! The protocol of sagas: starting placements, undoing orders, and taking up what was lost.
//!
//! Nothing here waits. A placement is one express execution, an undo one standard execution, and either may
//! die at any moment: before it starts, in the middle, or at its last step. Each loss is found:
//!
//! | what is lost | who finds it |
//! | --- | --- |
//! | the start of a placement, or its execution, or the start of the undo in its Catch | the order stays pending, and [`Resumer::resume_sagas`] starts the placement again |
//! | the start of an undo, or its execution | [`Sagas::begin_undo`] has recorded the attempt before it started anything; `resume_sagas` starts the next one |
//! | everything, for an hour | nothing is recorded then, so no attempt is used up; afterwards as above |
//!
//! **Guaranteed**
//!
//! * A placement that is started again, however late, changes nothing of an order that was approved or is
//!   over, because each step reads the order first.
//! * An approved order is undone only if its customer, its payment's deadline or an operator asks for that.
//! * An undo that was recorded is tried until it ends or the saga is stuck, which an operator can see.
//!
//! **Not guaranteed**
//!
//! * That only one placement, or one undo, of an order runs at a time. Their steps are made for several.
//! * That a cancelled order is undone whose event is among the dead letters of `undo-order`. An operator has
//!   to send it back.

use std::{future::ready, sync::Arc};

use contracts::{
    Envelope,
    ids::{CustomerId, OrderId, PaymentId, ShoppingListId, shopping_list_of},
    ordering::{OrderEvent, SagaEvent, SagaStuck, UndoOrigin, UndoOutcome},
    payments::InvoiceEvent,
};
use event_store::{EventStore, Expect, Outcome};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{CommandId, CommandMeta, Reason, StreamId, Timestamp, TraceParent, Uuid, Version, ports::Ports};
use lambda::{
    Answer, Call, Fault, Form, metrics,
    policy::{subject, unexpected, whole},
};
use projection::{List, Projector, Range, sortable};
use serde::{Deserialize, Serialize};

use crate::{
    order::{Order, OrderCommand},
    saga::{Next, Patience, Saga, SagaCommand, Stage, next},
    saga_views::{DUE, SagaRows},
    step_functions::Executions,
    timeline::folded,
    views::{BY_STAGE, Orders, PENDING, PLACED, shards},
};

/// Reason of an order whose placement failed technically.
const PLACEMENT_FAILED: &str = "PLACEMENT_FAILED";
/// Reason of an order whose placement never ended.
const PLACEMENT_TIMED_OUT: &str = "PLACEMENT_TIMED_OUT";
/// Reason of what is undone for an order that its customer cancelled.
const ORDER_CANCELLED: &str = "ORDER_CANCELLED";
/// Reason of an invoice that nobody paid in time, and of its order.
const PAYMENT_OVERDUE: &str = "PAYMENT_OVERDUE";
/// Reason of an order that an operator undoes without giving one.
const UNDONE_BY_HAND: &str = "UNDONE_BY_HAND";
/// Error of a saga whose undo did not get through however often it was tried.
const UNDO_FAILED: &str = "UNDO_FAILED";
/// Error of a saga whose order is open for longer than it can be in the usual course.
const ORDER_IS_FORGOTTEN: &str = "ORDER_IS_FORGOTTEN";

/// Most orders that one run takes up: far below the 150 starts of executions that an account has a second in a small
/// region, and done in some three seconds of the function's ten. What is left is taken up by the next run.
pub const A_RUN: usize = 100;
/// Orders that are taken up at a time.
const AT_A_TIME: usize = 8;
/// Most characters of the cause of a failure that are kept.
const MAX_CAUSE: usize = 500;

/// The input of a placement: ids only, because they cannot grow, and a payload over 256 KB could not be caught.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementInput {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What it is paid with.
    pub payment_id: PaymentId,
    /// The list by which it will be collected.
    pub shopping_id: ShoppingListId,
    /// Shared by all that follows from the checkout.
    pub correlation: Uuid,
    /// The OrderCreated event.
    pub causation: Uuid,
    /// W3C trace context; null when there is none, since a path that is missing fails a state machine.
    pub trace: Option<TraceParent>,
}

/// The input of an attempt to undo an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoInput {
    /// The order.
    pub order_id: OrderId,
    /// The list by which it was to be collected.
    pub shopping_id: ShoppingListId,
    /// The number of the attempt.
    pub attempt: u32,
    /// Who asked.
    pub origin: UndoOrigin,
    /// Why: a code.
    pub reason: String,
    /// Shared by all that follows from the checkout.
    pub correlation: Uuid,
    /// The event that the undo answers; the order's first one if there is none.
    pub causation: Uuid,
    /// W3C trace context, or null.
    pub trace: Option<TraceParent>,
}

/// An order with what its first event says.
struct Known {
    order: Order,
    first: Envelope,
}

/// The data of an execution of `order-undo` at its end.
#[derive(Deserialize)]
struct Ended {
    attempt: u32,
    kept: Option<Failed>,
    failure: Option<Failed>,
}

/// An error as Step Functions catches it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    error: String,
    #[serde(default)]
    cause: String,
}

/// The sagas of orders.
pub struct Sagas {
    store: EventStore,
    ports: Ports,
    executions: Arc<dyn Executions>,
    patience: Patience,
}

impl Sagas {
    /// Sagas over a store. An execution without an end counts as lost after `patience`.
    pub fn new(store: EventStore, ports: Ports, executions: Arc<dyn Executions>, patience: Patience) -> Self {
        Self { store, ports, executions, patience }
    }

    /// Starts the placement when an order is created. An order that is no longer pending, as in a replay, is
    /// left alone.
    ///
    /// # Errors
    /// When nobody knows whether it was started: the event goes back to its queue.
    pub async fn start_placement(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        match whole::<OrderEvent>(&self.store, &event).await? {
            OrderEvent::OrderCreated(_) => {}
            other => return Err(unexpected(&other)),
        }
        let id = subject(&event)?;
        let known = self.known(id).await?;
        if !matches!(known.order, Order::Pending(_)) {
            tracing::info!(order = %id, status = known.order.status(), "placement not started: the order is not pending");
            return Ok(());
        }
        self.place(id, &known).await
    }

    /// Undoes an order when it is cancelled, or when its invoice is because nobody paid in time. An invoice
    /// that is cancelled for another reason does not end its order.
    ///
    /// # Errors
    /// When nobody knows whether it will be undone: the event goes back to its queue.
    pub async fn undo_order(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
        let call = Call::by_policy("undo-order", &event, self.ports.clock.now());
        let id = subject(&event)?;
        let (origin, reason) = match event.context() {
            "payments" => match whole::<InvoiceEvent>(&self.store, &event).await? {
                InvoiceEvent::InvoiceCanceled(canceled) if canceled.reason == PAYMENT_OVERDUE => {
                    (UndoOrigin::Expiry, PAYMENT_OVERDUE)
                }
                InvoiceEvent::InvoiceCanceled(canceled) => {
                    tracing::info!(order = %id, reason = canceled.reason, "order not undone: its invoice was not overdue");
                    return Ok(());
                }
                other @ (InvoiceEvent::InvoiceCreated(_)
                | InvoiceEvent::InvoiceAdjusted(_)
                | InvoiceEvent::InvoiceReminded(_)
                | InvoiceEvent::InvoicePaid(_)) => return Err(unexpected(&other)),
            },
            _ => match whole::<OrderEvent>(&self.store, &event).await? {
                OrderEvent::OrderCanceled(_) => (UndoOrigin::Cancellation, ORDER_CANCELLED),
                other @ (OrderEvent::OrderCreated(_)
                | OrderEvent::OrderApproved(_)
                | OrderEvent::OrderRejected(_)
                | OrderEvent::OrderReadied(_)
                | OrderEvent::OrderCompleted(_)) => return Err(unexpected(&other)),
            },
        };
        let known = self.known(id).await?;
        self.undo(id, &known, origin, Reason::new(reason), &call).await?;
        Ok(())
    }

    /// Records that the order is being undone, and starts an attempt. Its callers are a placement that
    /// failed, `{origin, error, cause}`, and operators, `POST /api/sagas/{id}/undo {reason?}`. An operator
    /// may undo an approved or ready order too.
    ///
    /// The attempt is recorded first. If the execution is never started, or dies before it has done anything, the record is
    /// found when its time is over.
    ///
    /// # Errors
    /// 404; for an operator 409 `ORDER_IS_PAID` and `ORDER_IS_COMPLETED`; 503 when nobody knows whether an execution was started.
    pub async fn begin_undo(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let known = self.known(id).await?;
        if !call.is_from_outside() && call.body["origin"] == "placement" {
            let text = |field: &str| call.body[field].as_str().unwrap_or_default();
            let reason = Reason::new(reason_of(text("error")));
            tracing::info!(order = %id, error = text("error"), cause = message_of(text("cause")), "placement failed");
            return self.undo(id, &known, UndoOrigin::Placement, reason, &call).await;
        }
        let reason = wished(&call)?;
        match &known.order {
            Order::Completed { .. } => {
                return Err(Fault::new(
                    409,
                    "ORDER_IS_COMPLETED",
                    format!("order {id} is completed: refund its payment"),
                ));
            }
            Order::Approved { .. } | Order::Ready { .. } if is_paid(&self.store, id).await? => {
                return Err(Fault::new(
                    409,
                    "ORDER_IS_PAID",
                    format!("order {id} is paid, and will be completed"),
                ));
            }
            Order::Pending(_)
            | Order::Approved { .. }
            | Order::Ready { .. }
            | Order::Rejected { .. }
            | Order::Canceled { .. } => {}
        }
        self.undo(id, &known, UndoOrigin::Operator, reason, &call).await
    }

    /// Closes the order, so that every later step of a placement is refused. The first step of an undo,
    /// `{origin, reason}`.
    ///
    /// # Errors
    /// 409 `ORDER_IS_KEPT` when it is approved and only a placement asked, or when it is paid; 404.
    pub async fn close_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        #[derive(Deserialize)]
        struct Wanted {
            origin: UndoOrigin,
            reason: String,
        }
        let id: OrderId = call.id("order")?;
        let Wanted { origin, reason } = understood(&call)?;
        let even_approved = origin != UndoOrigin::Placement;
        let known = self.known(id).await?;
        if even_approved
            && matches!(known.order, Order::Approved { .. } | Order::Ready { .. })
            && is_paid(&self.store, id).await?
        {
            return Err(Fault::new(
                409,
                "ORDER_IS_KEPT",
                format!("order {id} is paid, and will be completed"),
            ));
        }
        let command = OrderCommand::Close { reason: Reason::new(&reason), even_approved };
        let stream = StreamId::of::<Order, _>(id);
        let outcome = self.store.transact::<Order>(&stream, Expect::Any, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    /// Records the end of an undo, from all the data of the execution: its last step. A failure that is a
    /// refusal makes the saga stuck at once, because another attempt would be refused as well. After any
    /// other failure the next attempt follows.
    ///
    /// # Errors
    /// 404 when there is no such saga.
    pub async fn end_undo(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let Ended { attempt, kept, failure } = understood(&call)?;
        let command = match (failure, kept) {
            (Some(failure), _) if is_refusal(&failure.error) => SagaCommand::GetStuck {
                attempt: Some(attempt),
                error: Reason::new(&failure.error),
                cause: message_of(&failure.cause),
            },
            (Some(failure), _) => {
                let cause = message_of(&failure.cause);
                tracing::error!(order = %id, attempt, error = failure.error, cause, "undo failed: another attempt follows");
                return Ok(Answer::unchanged(id));
            }
            (None, Some(_)) => SagaCommand::End { attempt, outcome: UndoOutcome::Kept },
            (None, None) => SagaCommand::End { attempt, outcome: UndoOutcome::Undone },
        };
        let outcome = self.tell(id, &command, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    /// `POST /api/sagas/{id}/retry`: starts the placement of a pending order, or the next attempt of an undo, now.
    ///
    /// # Errors
    /// 404; 409 `SAGA_NEEDS_NOTHING` when there is nothing to start; 503 when nobody knows whether it was started.
    pub async fn retry_saga(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let (known, saga) = self.both(id).await?;
        if call.repeatable && self.did(id, call.command).await? {
            return Ok(Answer::unchanged(id));
        }
        let step = match (&known.order, saga.as_ref().map(|saga| &saga.stage)) {
            (_, Some(Stage::Undoing { .. } | Stage::Stuck { undo: Some(_) })) => {
                Next::Undo(saga.as_ref().map_or(0, |saga| saga.undos) + 1)
            }
            (
                Order::Pending(_),
                None | Some(Stage::Placing { .. } | Stage::Settled | Stage::Stuck { undo: None }),
            ) => Next::Place(saga.as_ref().map_or(0, |saga| saga.placements) + 1),
            // The event of its end did not begin the undo.
            (
                Order::Rejected { .. } | Order::Canceled { .. },
                None | Some(Stage::Placing { .. } | Stage::Settled | Stage::Stuck { undo: None }),
            ) => Next::Begin(UndoOrigin::Operator),
            (Order::Completed { .. }, Some(Stage::Stuck { undo: None })) => Next::Settle,
            (
                Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. },
                None | Some(Stage::Placing { .. } | Stage::Settled | Stage::Stuck { undo: None }),
            )
            | (_, Some(Stage::Undone)) => {
                let message =
                    format!("order {id} is {}: its saga has nothing to try again", known.order.status());
                return Err(Fault::new(409, "SAGA_NEEDS_NOTHING", message));
            }
        };
        self.advance(id, &known, saga.as_ref(), step, &call).await?;
        Ok(Answer::unchanged(id))
    }

    /// Takes up the saga of an order if its time is over. Returns true if there was something to do.
    async fn take_up(&self, id: OrderId) -> Result<bool, Fault> {
        let (known, saga) = self.both(id).await?;
        let now = self.ports.clock.now();
        let step = next(&known.order, known.first.at, saga.as_ref(), now, self.patience);
        let call = self.scheduled(&known.first, now);
        let idle = step == Next::Wait;
        self.advance(id, &known, saga.as_ref(), step, &call).await?;
        Ok(!idle)
    }

    /// Calls an operator for an order that is open for longer than is usual. Returns true if there was a
    /// reason to.
    async fn forget_not(&self, id: OrderId) -> Result<bool, Fault> {
        let (known, saga) = self.both(id).await?;
        match (&known.order, saga.map(|saga| saga.stage)) {
            (
                Order::Approved { .. } | Order::Ready { .. },
                None | Some(Stage::Placing { .. } | Stage::Settled),
            ) => {}
            (_, _) => return Ok(false),
        }
        let error = Reason::new(ORDER_IS_FORGOTTEN);
        let cause = format!("the order is {} and nobody went on with it", known.order.status());
        let meta = self.scheduled(&known.first, self.ports.clock.now()).meta();
        let command = SagaCommand::GetStuck { attempt: None, error, cause };
        self.tell(id, &command, &command, &meta).await?;
        Ok(true)
    }

    /// Does the next thing. An execution is started first and recorded then. One that cannot be started is
    /// not counted as an attempt, so an outage uses up none.
    async fn advance(
        &self,
        id: OrderId,
        known: &Known,
        saga: Option<&Saga>,
        step: Next,
        call: &Call,
    ) -> Result<(), Fault> {
        match step {
            Next::Wait => {}
            Next::Place(attempt) => {
                tracing::info!(order = %id, attempt, "placement started again");
                self.place(id, known).await?;
                let due_at = self.patience.due_at(id, attempt, call.at);
                self.tell(id, &attempt, &SagaCommand::Resume { attempt, due_at }, &call.meta()).await?;
            }
            Next::Begin(origin) => {
                self.undo(id, known, origin, Reason::new(PLACEMENT_TIMED_OUT), call).await?;
            }
            Next::Undo(attempt) => {
                tracing::warn!(order = %id, attempt, "undo started again");
                let undo = saga.and_then(Saga::undo).ok_or_else(|| Fault::not_found("undo of order", id))?;
                self.executions.undo(&input_of(id, known, attempt, undo.origin, &undo.reason, call)).await?;
                let due_at = self.patience.due_at(id, attempt, call.at);
                self.tell(id, &attempt, &SagaCommand::Retry { attempt, due_at }, &call.meta()).await?;
            }
            Next::GetStuck => {
                let attempt = saga.map_or(0, |saga| saga.undos);
                let cause =
                    format!("{attempt} attempts came to no end: see the execution {id}-undo-{attempt}");
                let error = Reason::new(UNDO_FAILED);
                let command = SagaCommand::GetStuck { attempt: Some(attempt), error, cause };
                self.tell(id, &command, &command, &call.meta()).await?;
            }
            Next::Settle => {
                self.tell(id, &(), &SagaCommand::Settle, &call.meta()).await?;
            }
        }
        Ok(())
    }

    /// Starts a placement under a name of its own.
    async fn place(&self, id: OrderId, known: &Known) -> Result<(), Fault> {
        let placed = known.order.placed();
        let input = PlacementInput {
            order_id: id,
            customer_id: placed.customer_id,
            payment_id: placed.payment_id,
            shopping_id: shopping_list_of(id),
            correlation: known.first.correlation,
            causation: known.first.id,
            trace: known.first.trace.clone(),
        };
        self.executions.place(&format!("{id}-{}", self.ports.ids.fresh()), &input).await
    }

    /// Begins an undo, unless one is under way that serves as well, and starts its attempt.
    async fn undo(
        &self,
        id: OrderId,
        known: &Known,
        origin: UndoOrigin,
        reason: Reason,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let (origin, reason) = match &known.order {
            Order::Rejected { reason, .. } => (origin, reason.clone()),
            // Its own event begins an undo as well: the two are to be one attempt.
            Order::Canceled { reason, .. } => {
                let reason = reason.clone().unwrap_or_else(|| Reason::new(ORDER_CANCELLED));
                (if origin == UndoOrigin::Placement { UndoOrigin::Cancellation } else { origin }, reason)
            }
            Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. }
                if origin == UndoOrigin::Placement =>
            {
                tracing::info!(order = %id, status = known.order.status(), "undo not begun: the order was placed all the same");
                return Ok(Answer::unchanged(id));
            }
            Order::Pending(_) | Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } => {
                (origin, reason)
            }
        };
        let due_at = self.patience.due_at(id, 1, call.at);
        // The reason may be another one when the call is repeated, because the order was closed meanwhile.
        let command_id = CommandId::derived(&["begin-undo", &call.command.to_string(), reason.as_str()]);
        let meta = CommandMeta { id: command_id, ..call.meta() };
        let asked = (origin, reason.clone());
        let outcome = self.tell(id, &asked, &SagaCommand::Begin { origin, reason, due_at }, &meta).await?;
        let Some(Saga { undos, stage: Stage::Undoing { undo, .. }, .. }) = &outcome.state else {
            tracing::info!(order = %id, "undo not begun: none is due");
            return Ok(Answer::committed(id, outcome.version));
        };
        self.executions.undo(&input_of(id, known, *undos, undo.origin, &undo.reason, call)).await?;
        tracing::info!(order = %id, attempt = undos, reason = undo.reason.as_str(), "undo started");
        Ok(Answer::committed(id, outcome.version))
    }

    /// Carries out a command. The time at which an attempt counts as lost is not a part of what is asked.
    async fn tell(
        &self,
        id: OrderId,
        asked: &impl Serialize,
        command: &SagaCommand,
        meta: &CommandMeta,
    ) -> Result<Outcome<Saga>, Fault> {
        let stream = StreamId::of::<Saga, _>(id);
        let command = |_: Option<Saga>| ready(Ok::<_, Fault>(command.clone()));
        let outcome = self.store.transact_with(&stream, Expect::Any, asked, meta, command).await?;
        for event in outcome.events.iter().filter(|_| !outcome.repeated) {
            if let SagaEvent::SagaStuck(SagaStuck { attempt, error, cause }) = event {
                tracing::error!(order = %id, attempt, error, cause, "saga stuck");
                metrics::count("Sagas", "Stuck", meta.at);
            }
        }
        Ok(outcome)
    }

    /// Looks whether a command was recorded before. By then another step is next, so the store does not know it for a repeat.
    async fn did(&self, id: OrderId, command: CommandId) -> Result<bool, Fault> {
        let events = self.store.events_after(&StreamId::of::<Saga, _>(id), Version::NONE).await?;
        Ok(events.iter().any(|event| event.command == command.uuid()))
    }

    async fn saga(&self, id: OrderId) -> Result<Option<Saga>, Fault> {
        Ok(self.store.load::<Saga>(&StreamId::of::<Saga, _>(id)).await?.state)
    }

    async fn known(&self, id: OrderId) -> Result<Known, Fault> {
        let events = self.store.events_after(&StreamId::of::<Order, _>(id), Version::NONE).await?;
        let order = folded(&events)?.ok_or_else(|| Fault::not_found("order", id))?;
        let first = events.into_iter().next().ok_or_else(|| Fault::not_found("order", id))?;
        Ok(Known { order, first })
    }

    async fn both(&self, id: OrderId) -> Result<(Known, Option<Saga>), Fault> {
        futures::try_join!(self.known(id), self.saga(id))
    }

    /// Makes the call of a scheduled run for an order.
    fn scheduled(&self, first: &Envelope, now: Timestamp) -> Call {
        let command = CommandId::new(self.ports.ids.fresh());
        Call { command, repeatable: false, ..Call::by_policy("resume-sagas", first, now) }
    }
}

/// Returns true if the invoice of an order is paid.
///
/// # Errors
/// When the event table fails.
pub(crate) async fn is_paid(store: &EventStore, id: OrderId) -> Result<bool, Fault> {
    let invoice: StreamId = format!("payments.Invoice/{id}").parse().map_err(Fault::internal)?;
    for event in &store.events_after(&invoice, Version::NONE).await? {
        if let InvoiceEvent::InvoicePaid(_) = event.event::<InvoiceEvent>().map_err(Fault::internal)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn input_of(
    id: OrderId,
    known: &Known,
    attempt: u32,
    origin: UndoOrigin,
    reason: &Reason,
    call: &Call,
) -> UndoInput {
    UndoInput {
        order_id: id,
        shopping_id: known.order.shopping_id().unwrap_or_else(|| shopping_list_of(id)),
        attempt,
        origin,
        reason: reason.as_str().to_owned(),
        correlation: known.first.correlation,
        causation: call.causation.unwrap_or(known.first.id),
        trace: call.trace.clone(),
    }
}

fn understood<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, Fault> {
    serde_json::from_value(call.body.clone())
        .map_err(|e| Fault::invalid("INVOCATION_IS_MALFORMED", format!("not what order-undo sends: {e}")))
}

/// The reason that an operator gives.
fn wished(call: &Call) -> Result<Reason, Fault> {
    let form = Form::of(&call.body);
    match form.text_or_empty("reason") {
        Some("") => Ok(Reason::new(UNDONE_BY_HAND)),
        Some(reason) => Ok(Reason::new(reason)),
        None => Err(form.fault()),
    }
}

/// The reason of an order whose placement failed with this error.
fn reason_of(error: &str) -> &str {
    if is_refusal(error) { error } else { PLACEMENT_FAILED }
}

/// Returns true if an error has a code of ours, as refusals have, and is no technical error such as
/// `Unavailable` or `States.Timeout`.
fn is_refusal(error: &str) -> bool {
    let letters = error.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    letters && !error.is_empty()
}

/// Returns the message in the cause of a failed task. The cause is the function's answer: JSON with an
/// `errorMessage`.
pub(crate) fn message_of(cause: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(cause).ok();
    let message = parsed.as_ref().and_then(|answer| answer["errorMessage"].as_str());
    message.unwrap_or(cause).chars().take(MAX_CAUSE).collect()
}

/// The scheduled function that takes up sagas that were lost.
pub struct Resumer {
    sagas: Sagas,
    orders: Projector<Orders>,
    rows: Projector<SagaRows>,
    /// The age from which an operator is called for an open order.
    forgotten: std::time::Duration,
}

/// The report of a run.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// Sagas that were taken up.
    pub resumed: usize,
    /// Orders about which an operator was called.
    pub forgotten: usize,
    /// Sagas that could not be taken up; they are tried again in the next run.
    pub failed: usize,
}

impl Resumer {
    /// Takes up `sagas` that the views list, and calls an operator for orders that are open for longer than
    /// `forgotten`.
    pub fn new(
        sagas: Sagas,
        orders: Projector<Orders>,
        rows: Projector<SagaRows>,
        forgotten: std::time::Duration,
    ) -> Self {
        Self { sagas, orders, rows, forgotten }
    }

    /// Takes up the sagas whose time is over: at most [`A_RUN`] of each kind. A saga that fails is logged and
    /// does not stop the others. The streams decide, so lists that lag and two runs at once do no harm.
    ///
    /// # Errors
    /// When the lists cannot be read.
    pub async fn resume_sagas(self: Arc<Self>) -> Result<Resumed, Fault> {
        let now = self.sagas.ports.clock.now();
        let before = |age| sortable(now.checked_sub(age).unwrap_or(Timestamp::MIN));
        let due = List { index: &DUE, partition: DUE.partition, ..up_to(sortable(now)) };
        let mut lost: Vec<OrderId> = self.rows.list_rows(&due).await?.rows.iter().map(|row| row.id).collect();
        lost.extend(self.open(PENDING, sortable(self.sagas.patience.before(now))).await?);
        let forgotten = self.open(PLACED, before(self.forgotten)).await?;

        let sagas = &self.sagas;
        let taken = stream::iter(lost)
            .map(|id| async move { (id, sagas.take_up(id).await) })
            .buffer_unordered(AT_A_TIME)
            .collect::<Vec<_>>()
            .await;
        let told = stream::iter(forgotten)
            .map(|id| async move { (id, sagas.forget_not(id).await) })
            .buffer_unordered(AT_A_TIME)
            .collect::<Vec<_>>()
            .await;
        let mut report = Resumed::default();
        let (taken, told) = (count(taken, &mut report.failed), count(told, &mut report.failed));
        (report.resumed, report.forgotten) = (taken, told);
        Ok(report)
    }

    /// Orders that are listed as `stage` since `until` at least, and have no saga, or one that settled: any other is due in its
    /// own time, waits for an operator, or is over.
    async fn open(&self, stage: &str, until: String) -> Result<Vec<OrderId>, Fault> {
        let (mut found, rows) = (Vec::new(), &self.rows);
        for partition in shards(stage) {
            let mut after = None;
            // Some orders are passed over, so more than one page may have to be read.
            for _ in 0..PAGES {
                let list = List { index: &BY_STAGE, partition: &partition, after, ..up_to(until.clone()) };
                let page = self.orders.list_rows(&list).await?;
                let with_saga = page.rows.into_iter().map(|order| async move {
                    Ok::<_, Fault>((order.id, rows.read(&order.id.to_string(), None).await?))
                });
                let with_saga: Vec<_> = stream::iter(with_saga).buffered(AT_A_TIME).try_collect().await?;
                let wanted = with_saga
                    .into_iter()
                    .filter(|(_, saga)| saga.as_ref().is_none_or(|saga| saga.row.status == "settled"));
                found.extend(wanted.map(|(id, _)| id));
                after = page.next;
                if after.is_none() || found.len() >= A_RUN {
                    break;
                }
            }
        }
        found.truncate(A_RUN);
        Ok(found)
    }
}

/// Pages of a shard that one run reads at most.
const PAGES: usize = 10;

/// A page of an index, oldest first, up to this sort value.
fn up_to(until: String) -> List<'static> {
    List {
        index: &DUE,
        partition: "",
        range: Range { from: None, to: Some(until) },
        descending: false,
        after: None,
        limit: A_RUN,
    }
}

fn count(done: Vec<(OrderId, Result<bool, Fault>)>, failed: &mut usize) -> usize {
    let mut counted = 0;
    for (order, result) in done {
        match result {
            Ok(something) => counted += usize::from(something),
            Err(error) => {
                *failed += 1;
                tracing::error!(%order, %error, "saga not taken up: the next run tries again");
            }
        }
    }
    counted
}
