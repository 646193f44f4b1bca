//! The protocol of order sagas: starting placements, undoing orders, and taking up what was lost.
//!
//! Nothing here waits. A placement is one express execution, an undo one standard execution, and either may
//! die at any moment: before it starts, in the middle, or at its last step. Each loss is found:
//!
//! | what is lost | who finds it |
//! | --- | --- |
//! | the start of a placement, or its execution, or the start of the undo in its Catch | the order stays pending, and [`Resumer::resume_sagas`] starts the placement again |
//! | the start of an undo, or its execution | [`Sagas::begin_undo`] has recorded the attempt before it started anything; `resume_sagas` starts the next one |
//! | everything, for an hour | no attempt is used up but one to undo that was recorded and not started; afterwards as above |
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

use std::{future::ready, sync::Arc, time::Duration};

use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
    ordering::{OrderEvent, SagaEvent, SagaStuck, UndoOrigin, UndoOutcome},
    payments::{InvoiceEvent, PAYMENT_OVERDUE},
};
use event_store::{EventStore, Expect, Loaded, Outcome};
use executions::{Executions, message_of};
use futures::{StreamExt, stream};
use kernel::{CommandId, CommandMeta, Reason, StreamId, Timestamp, Version, ports::Ports};
use lambda::{
    Answer, Call, Fault, Form, metrics,
    policy::{subject, unexpected, whole},
};
use projection::{List, Position, Projector, Range, SHARDS, sortable};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    events_of,
    order::{Order, OrderCommand},
    saga::{Next, Patience, Saga, SagaCommand, Stage, Undo, next},
    saga_views::{DUE, SAGAS, SagaRows},
    timeline::read_order,
    views::{BY_STAGE, Orders, PENDING, PLACED},
};

// Reasons of orders that are undone, unless a step of the placement gave one.
const PLACEMENT_FAILED: &str = "PLACEMENT_FAILED";
const PLACEMENT_TIMED_OUT: &str = "PLACEMENT_TIMED_OUT";
const ORDER_CANCELLED: &str = "ORDER_CANCELLED";
const UNDONE_BY_HAND: &str = "UNDONE_BY_HAND";

/// Error of a saga whose undo did not get through however often it was tried.
const UNDO_FAILED: &str = "UNDO_FAILED";
/// Error of a saga whose order is open for longer than it can be in the usual course.
const ORDER_IS_FORGOTTEN: &str = "ORDER_IS_FORGOTTEN";

/// Orders that are taken up at a time: with some 60 ms each, 130 a second, below the 150 starts of executions
/// that an account has a second in a small region.
const AT_A_TIME: usize = 8;
/// Orders on a page of an index.
const PAGE: usize = 100;
/// Times since its beginning at which a run goes on to the next list, and ends: what is left is taken up by
/// the next run. The function has ten seconds, and an order takes up to three when a service is slow.
const SHARES: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(5), Duration::from_millis(6500)];
/// Time that each list has at least.
const LEAST: Duration = Duration::from_millis(500);

/// ARNs of the two state machines.
#[derive(Debug, Clone)]
pub struct Machines {
    /// Places orders.
    pub placement: String,
    /// Undoes orders.
    pub undo: String,
}

/// An order with its version and its first event.
struct Known {
    id: OrderId,
    order: Order,
    version: Version,
    first: Envelope,
}

/// The result of looking at a saga that a view lists.
enum Taken {
    /// There was something to do, and it is done.
    Up,
    /// There is nothing to do, by the streams at these versions: the view lists it because it is behind.
    Nothing { order: Version, saga: Version },
    /// Its saga is due in its own time, or waits for an operator.
    Elsewhere,
}

/// A list of orders that may need something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// Sagas whose time is over.
    Due,
    /// Orders that are pending for too long, and have no saga.
    Pending,
    /// Orders that are open for too long.
    Placed,
}

/// The data of an execution of `order-undo` at its end.
#[derive(Deserialize)]
struct Ended {
    attempt: u32,
    origin: UndoOrigin,
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
    machines: Machines,
    patience: Patience,
}

impl Sagas {
    /// Sagas over a store. An execution without an end counts as lost after `patience`.
    pub fn new(
        store: EventStore,
        ports: Ports,
        executions: Arc<dyn Executions>,
        machines: Machines,
        patience: Patience,
    ) -> Self {
        Self { store, ports, executions, machines, patience }
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
        self.place(&known).await
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
                other => return Err(unexpected(&other)),
            },
            _ => match whole::<OrderEvent>(&self.store, &event).await? {
                OrderEvent::OrderCanceled(_) => (UndoOrigin::Cancellation, ORDER_CANCELLED),
                other => return Err(unexpected(&other)),
            },
        };
        let known = self.known(id).await?;
        self.undo(&known, Undo { origin, reason: Reason::new(reason) }, &call).await?;
        Ok(())
    }

    /// Records that the order is being undone, and starts an attempt. Its callers are a placement that
    /// failed, `{origin, error, cause}`, and operators, `POST /api/sagas/{id}/undo {reason?}`. An operator
    /// may undo an approved or ready order too.
    ///
    /// The attempt is recorded first. If the execution is never started, or dies before it has done anything,
    /// the record is found when its time is over.
    ///
    /// # Errors
    /// 404; for an operator 409 `ORDER_IS_PAID` and `ORDER_IS_COMPLETED`; 503 when it may not have been
    /// started.
    pub async fn begin_undo(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let known = self.known(id).await?;
        if !call.is_from_outside() && call.body["origin"] == "placement" {
            let text = |field: &str| call.body[field].as_str().unwrap_or_default();
            let reason = Reason::new(reason_of(text("error")));
            tracing::info!(order = %id, error = text("error"), cause = message_of(text("cause")), "placement failed");
            return self.undo(&known, Undo { origin: UndoOrigin::Placement, reason }, &call).await;
        }
        let reason = wished(&call)?;
        // A repeat is answered as before, whatever became of the order.
        if !(call.repeatable && self.did(id, call.command).await?) {
            if let Order::Completed { .. } = known.order {
                let message = format!("order {id} is completed: refund its payment");
                return Err(Fault::new(409, "ORDER_IS_COMPLETED", message));
            }
            self.refuse_paid(&known, "ORDER_IS_PAID").await?;
        }
        self.undo(&known, Undo { origin: UndoOrigin::Operator, reason }, &call).await
    }

    /// Closes the order, so that every later step of a placement is refused. The first step of an undo,
    /// `{origin, reason}`.
    ///
    /// # Errors
    /// 409 `ORDER_IS_KEPT` when it is approved and only a placement asked, or when it is paid; 404.
    pub async fn close_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let Undo { origin, reason } = understood(&call)?;
        let even_approved = origin != UndoOrigin::Placement;
        let known = self.known(id).await?;
        if even_approved {
            self.refuse_paid(&known, "ORDER_IS_KEPT").await?;
        }
        let command = OrderCommand::Close { reason: Reason::new(reason.as_str()), even_approved };
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
        let Ended { attempt, origin, kept, failure } = understood(&call)?;
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
            (None, Some(_)) => SagaCommand::End { attempt, origin, outcome: UndoOutcome::Kept },
            (None, None) => SagaCommand::End { attempt, origin, outcome: UndoOutcome::Undone },
        };
        let outcome = self.tell(id, &command, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }

    /// `POST /api/sagas/{id}/retry`: starts the placement of a pending order, or the next undo, now.
    ///
    /// # Errors
    /// 404; 409 `SAGA_NEEDS_NOTHING` when there is nothing to start; 503 when it may not have been started.
    pub async fn retry_saga(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let (known, saga) = self.both(id).await?;
        let saga = saga.state;
        if call.repeatable && self.did(id, call.command).await? {
            // It may have been recorded and not started: then it is started now, and otherwise its name is
            // taken.
            if let Some(Saga { undos, stage: Stage::Undoing { undo, .. }, .. }) = &saga {
                self.start_undo(&known, *undos, undo, &call).await?;
            }
            return Ok(Answer::unchanged(id));
        }
        let (placements, undos) = saga.as_ref().map_or((0, 0), |saga| (saga.placements, saga.undos));
        let stage = saga.as_ref().map(|saga| &saga.stage);
        let step = match stage {
            Some(Stage::Undoing { .. } | Stage::Stuck { undo: Some(_) }) => Some(Next::Undo(undos + 1)),
            Some(Stage::Undone) => None,
            None | Some(Stage::Placing { .. } | Stage::Settled | Stage::Stuck { undo: None }) => {
                match &known.order {
                    Order::Pending(_) => Some(Next::Place(placements + 1)),
                    // The event of its end did not begin the undo.
                    Order::Rejected { .. } | Order::Canceled { .. } => {
                        Some(Next::Begin(UndoOrigin::Operator))
                    }
                    Order::Completed { .. } if matches!(stage, Some(Stage::Stuck { .. })) => {
                        Some(Next::Settle)
                    }
                    Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } => None,
                }
            }
        };
        let step = step.ok_or_else(|| {
            let status = known.order.status();
            let message = format!("order {id} is {status}: its saga has nothing to try again");
            Fault::new(409, "SAGA_NEEDS_NOTHING", message)
        })?;
        self.advance(&known, saga.as_ref(), step, &call).await?;
        Ok(Answer::unchanged(id))
    }

    /// Takes up the saga of an order, if its time is over.
    async fn take_up(&self, id: OrderId) -> Result<Taken, Fault> {
        let (known, saga) = self.both(id).await?;
        let now = self.ports.clock.now();
        let step = next(&known.order, known.first.at, saga.state.as_ref(), now, self.patience);
        if step == Next::Wait {
            return Ok(Taken::Nothing { order: known.version, saga: saga.version() });
        }
        let call = self.scheduled(&known.first, now);
        self.advance(&known, saga.state.as_ref(), step, &call).await?;
        Ok(Taken::Up)
    }

    /// Calls an operator for an order that is open for longer than it can be in the usual course.
    async fn forget_not(&self, id: OrderId) -> Result<Taken, Fault> {
        let (known, saga) = self.both(id).await?;
        match (&known.order, saga.state.as_ref().map(|saga| &saga.stage)) {
            (
                Order::Approved { .. } | Order::Ready { .. },
                None | Some(Stage::Placing { .. } | Stage::Settled),
            ) => {}
            (_, _) => return Ok(Taken::Nothing { order: known.version, saga: saga.version() }),
        }
        let error = Reason::new(ORDER_IS_FORGOTTEN);
        let cause = format!("the order is {} and nobody went on with it", known.order.status());
        let meta = self.scheduled(&known.first, self.ports.clock.now()).meta();
        let command = SagaCommand::GetStuck { attempt: None, error, cause };
        self.tell(id, &command, &command, &meta).await?;
        Ok(Taken::Up)
    }

    /// Does the next thing. An execution is started first and recorded then. One that cannot be started is
    /// not counted as an attempt, so an outage uses up none.
    async fn advance(
        &self,
        known: &Known,
        saga: Option<&Saga>,
        step: Next,
        call: &Call,
    ) -> Result<(), Fault> {
        let id = known.id;
        match step {
            Next::Wait => {}
            Next::Place(attempt) => {
                tracing::info!(order = %id, attempt, "placement started again");
                self.place(known).await?;
                let due_at = self.patience.due_at(id, attempt, call.at);
                self.tell(id, &attempt, &SagaCommand::Resume { attempt, due_at }, &call.meta()).await?;
            }
            Next::Begin(origin) => {
                let reason = Reason::new(PLACEMENT_TIMED_OUT);
                self.undo(known, Undo { origin, reason }, call).await?;
            }
            Next::Undo(attempt) => {
                tracing::warn!(order = %id, attempt, "undo started again");
                let first = match saga.map(|saga| &saga.stage) {
                    Some(Stage::Undoing { first, .. }) => *first,
                    None | Some(_) => attempt,
                };
                let undo = saga.and_then(Saga::undo).ok_or_else(|| Fault::not_found("undo of order", id))?;
                self.start_undo(known, attempt, undo, call).await?;
                let due_at = self.patience.due_at(id, attempt + 1 - first, call.at);
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

    /// Starts a placement under a name of its own. The input has ids only, because they cannot grow, and a
    /// payload over 256 KB could not be caught. A trace that is unknown is null, since a path that is missing
    /// fails a state machine.
    async fn place(&self, Known { id, order, first, .. }: &Known) -> Result<(), Fault> {
        let placed = order.placed();
        let input = json!({
            "orderId": id,
            "customerId": placed.customer_id,
            "paymentId": placed.payment_id,
            "shoppingId": shopping_list_of(*id),
            "correlation": first.correlation,
            "causation": first.id,
            "trace": first.trace,
        });
        let name = format!("{id}-{}", self.ports.ids.fresh());
        self.executions.start(&self.machines.placement, &name, &input).await
    }

    /// Starts an attempt to undo, unless it was started before.
    async fn start_undo(&self, known: &Known, attempt: u32, undo: &Undo, call: &Call) -> Result<(), Fault> {
        let input = json!({
            "orderId": known.id,
            "shoppingId": known.order.shopping_id().unwrap_or_else(|| shopping_list_of(known.id)),
            "attempt": attempt,
            "origin": undo.origin,
            "reason": undo.reason,
            "correlation": known.first.correlation,
            "causation": call.causation.unwrap_or(known.first.id),
            "trace": call.trace,
        });
        self.executions.start(&self.machines.undo, &name_of(known.id, attempt), &input).await
    }

    /// Begins an undo, unless one is under way that serves as well, and starts its attempt.
    async fn undo(&self, known: &Known, undo: Undo, call: &Call) -> Result<Answer, Fault> {
        let (id, by_placement) = (known.id, undo.origin == UndoOrigin::Placement);
        // A repeat asks for the same, though the order may have been closed meanwhile, for this or another
        // reason.
        let asked = (undo.origin, undo.reason.clone());
        let Undo { origin, reason } = match &known.order {
            Order::Rejected { reason, .. } => Undo { reason: reason.clone(), ..undo },
            // Its own event begins an undo as well: the two are to be one attempt.
            Order::Canceled { reason, .. } => {
                let reason = reason.clone().unwrap_or_else(|| Reason::new(ORDER_CANCELLED));
                Undo { origin: if by_placement { UndoOrigin::Cancellation } else { undo.origin }, reason }
            }
            Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } if by_placement => {
                tracing::info!(order = %id, status = known.order.status(), "undo not begun: the order was placed all the same");
                return Ok(Answer::unchanged(id));
            }
            Order::Pending(_) | Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. } => {
                undo
            }
        };
        let due_at = self.patience.due_at(id, 1, call.at);
        let command = SagaCommand::Begin { origin, reason, due_at };
        let outcome = self.tell(id, &asked, &command, &call.meta()).await?;
        let Some(Saga { undos, stage: Stage::Undoing { undo, .. }, .. }) = &outcome.state else {
            tracing::info!(order = %id, "undo not begun: none is due");
            return Ok(Answer::committed(id, outcome.version));
        };
        self.start_undo(known, *undos, undo, call).await?;
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

    /// Returns true if a command was recorded before. By then another step is next, so the store does not
    /// know it for a repeat.
    async fn did(&self, id: OrderId, command: CommandId) -> Result<bool, Fault> {
        let events = self.store.events_after(&StreamId::of::<Saga, _>(id), Version::NONE).await?;
        Ok(events.iter().any(|event| event.command == command.uuid()))
    }

    async fn known(&self, id: OrderId) -> Result<Known, Fault> {
        let (order, events) = read_order(&self.store, id).await?;
        let version = events.last().map_or(Version::NONE, |event| event.version);
        let first = events.into_iter().next().ok_or_else(|| Fault::not_found("order", id))?;
        Ok(Known { id, order, version, first })
    }

    async fn both(&self, id: OrderId) -> Result<(Known, Loaded<Saga>), Fault> {
        let stream = StreamId::of::<Saga, _>(id);
        let saga = async { Ok(self.store.load::<Saga>(&stream).await?) };
        futures::try_join!(self.known(id), saga)
    }

    /// Refuses, with this code, an order that is paid and has not heard of it.
    async fn refuse_paid(&self, Known { id, order, .. }: &Known, code: &'static str) -> Result<(), Fault> {
        let may_be_paid = matches!(order, Order::Approved { .. } | Order::Ready { .. });
        if may_be_paid && is_paid(&self.store, *id).await? {
            return Err(Fault::new(409, code, format!("order {id} is paid, and will be completed")));
        }
        Ok(())
    }

    /// A call that nobody made: a run of the schedule.
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
    for event in &events_of(store, format!("payments.Invoice/{id}")).await? {
        if let InvoiceEvent::InvoicePaid(_) = event.event::<InvoiceEvent>().map_err(Fault::internal)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Name of the execution of an attempt to undo: an attempt is started once, because a name is used once.
pub(crate) fn name_of(order: OrderId, attempt: u32) -> String {
    format!("{order}-undo-{attempt}")
}

fn understood<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, Fault> {
    serde_json::from_value(call.body.clone())
        .map_err(|e| Fault::invalid("INVOCATION_IS_MALFORMED", format!("not what order-undo sends: {e}")))
}

/// The reason that an operator gives.
fn wished(call: &Call) -> Result<Reason, Fault> {
    let form = Form::of(&call.body);
    form.text_or("reason", UNDONE_BY_HAND).map(Reason::new).ok_or_else(|| form.fault())
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

/// The scheduled function that takes up sagas that were lost.
pub struct Resumer {
    sagas: Sagas,
    orders: Projector<Orders>,
    rows: Projector<SagaRows>,
    /// The age from which an operator is called for an open order.
    forgotten: Duration,
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
        forgotten: Duration,
    ) -> Self {
        Self { sagas, orders, rows, forgotten }
    }

    /// Takes up the sagas whose time is over, as long as its own time lasts: the due ones first, because they
    /// shorten the other lists. A saga that fails is logged and does not stop the others, nor does a list
    /// that cannot be read. The streams decide, so lists that lag and two runs at once do no harm.
    ///
    /// # Errors
    /// After all others were taken up, when one cannot be that no repeat helps: an alarm has to tell.
    pub async fn resume_sagas(self: Arc<Self>) -> Result<Resumed, Fault> {
        let now = self.sagas.ports.clock.now();
        let since = now.checked_sub(self.forgotten).unwrap_or(Timestamp::MIN);
        let lists =
            [(Listed::Due, now), (Listed::Pending, self.sagas.patience.before(now)), (Listed::Placed, since)];
        let (mut report, mut lasting) = (Resumed::default(), None);
        for ((listed, until), share) in lists.into_iter().zip(SHARES) {
            // A list that took longer than its share leaves the next one some time all the same.
            let least = self.sagas.ports.clock.now().checked_add(LEAST).unwrap_or(Timestamp::MAX);
            let ends = now.checked_add(share).unwrap_or(Timestamp::MAX).max(least);
            for result in self.walk(listed, sortable(until), ends).await {
                match (result, listed) {
                    (Ok(Taken::Nothing { .. } | Taken::Elsewhere), _) => {}
                    (Ok(Taken::Up), Listed::Due | Listed::Pending) => report.resumed += 1,
                    (Ok(Taken::Up), Listed::Placed) => report.forgotten += 1,
                    (Err(fault), _) => {
                        report.failed += 1;
                        lasting = lasting.or(Some(fault).filter(|fault| !fault.may_pass()));
                    }
                }
            }
        }
        match lasting {
            Some(fault) => Err(Fault::internal(format!("{report:?}; a repeat does not help: {fault}"))),
            None => Ok(report),
        }
    }

    /// Handles what a list has up to a sort value, until the clock says that this has to end.
    async fn walk(&self, listed: Listed, until: String, ends: Timestamp) -> Vec<Result<Taken, Fault>> {
        let has_time = || self.sagas.ports.clock.now() < ends;
        // Another shard comes first in each run, so that a long one does not keep the others from their turn.
        let first = self.sagas.ports.random.bits() as u32 % SHARDS;
        let mut results = Vec::new();
        for shard in (0..SHARDS).map(|number| (first + number) % SHARDS) {
            let mut after = None;
            while has_time() {
                let page = match self.page(listed, up_to(listed, shard, until.clone(), after)).await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::error!(?listed, shard, %error, "list of sagas not read: the next run tries again");
                        results.push(Err(Fault::internal(error)));
                        break;
                    }
                };
                let handled = stream::iter(page.0)
                    .take_while(|_| ready(has_time()))
                    .map(|id| self.handle(listed, id))
                    .buffer_unordered(AT_A_TIME);
                results.extend(handled.collect::<Vec<_>>().await);
                after = page.1;
                if after.is_none() {
                    break;
                }
            }
        }
        results
    }

    /// Orders of one page, and the position of the next one.
    async fn page(&self, listed: Listed, list: List<'_>) -> Result<(Vec<OrderId>, Option<Position>), Fault> {
        Ok(match listed {
            Listed::Due => {
                let page = self.rows.list_rows(&list).await?;
                (page.rows.iter().map(|row| row.id).collect(), page.next)
            }
            Listed::Pending | Listed::Placed => {
                let page = self.orders.list_rows(&list).await?;
                (page.rows.iter().map(|row| row.id).collect(), page.next)
            }
        })
    }

    /// Takes up one order. An open order is passed over if its saga is due in its own time or waits for an
    /// operator. Where there is nothing to do, the rows are brought up to the
    /// streams, so that the order is listed no longer.
    async fn handle(&self, listed: Listed, id: OrderId) -> Result<Taken, Fault> {
        let key = id.to_string();
        // A row that cannot be read keeps nobody from looking at the streams.
        let saga = if listed == Listed::Due { None } else { self.rows.read(&key, None).await.ok().flatten() };
        if saga.is_some_and(|saga| saga.row.goes_its_own_way()) {
            return Ok(Taken::Elsewhere);
        }
        let taken = match listed {
            Listed::Due | Listed::Pending => self.sagas.take_up(id).await,
            Listed::Placed => self.sagas.forget_not(id).await,
        };
        if let Ok(Taken::Nothing { order, saga }) = &taken {
            let order = self.orders.read(&key, Some(*order)).await;
            if *saga > Version::NONE {
                self.rows.read(&key, Some(*saga)).await?;
            }
            order?;
        }
        if let Err(error) = &taken {
            tracing::error!(order = %id, %error, "saga not taken up: the next run tries again");
        }
        taken
    }
}

/// A page of one shard of a list's index, oldest first, up to this sort value.
fn up_to(listed: Listed, shard: u32, until: String, after: Option<Position>) -> List<'static> {
    let (index, partition) = match listed {
        Listed::Due => (&DUE, SAGAS),
        Listed::Pending => (&BY_STAGE, PENDING),
        Listed::Placed => (&BY_STAGE, PLACED),
    };
    let range = Range { from: None, to: Some(until) };
    List { index, partition, shard: Some(shard), range, descending: false, after, limit: PAGE }
}
