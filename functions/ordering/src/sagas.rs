//! The ports to the order saga, and Step Functions behind them.

use std::cmp::Reverse;

use async_trait::async_trait;
use aws_sdk_sfn::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::start_execution::StartExecutionError,
    primitives::DateTime,
    types::{ExecutionStatus, HistoryEvent, HistoryEventType},
};
use contracts::ids::{CustomerId, OrderId, PaymentId, ShoppingListId};
use kernel::{Timestamp, TraceParent, Uuid};
use lambda::Fault;
use serde::{Deserialize, Serialize};

/// Starts order sagas.
#[async_trait]
pub trait OrderSagas: Send + Sync {
    /// Starts the saga of an order, unless it was started before: one order, one saga.
    ///
    /// # Errors
    /// When the saga could not be started; it may have been.
    async fn start(&self, input: &OrderSagaInput) -> Result<Started, Fault>;
}

/// What a saga is started with: ids, and how long to wait first. A state machine's payload is limited to 256 KB, and going
/// over it cannot be caught; ids cannot grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderSagaInput {
    /// The order; also the execution's name.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What it is paid with.
    pub payment_id: PaymentId,
    /// The list by which it will be collected: an order has one, and its id follows from the order's.
    pub shopping_id: ShoppingListId,
    /// How long it waits for the payment at first.
    pub payment: FirstWait,
    /// Shared by all that follows from the checkout.
    pub correlation: Uuid,
    /// The OrderCreated event.
    pub causation: Uuid,
    /// W3C trace context; null when there is none, since a path that is missing fails a state machine.
    pub trace: Option<TraceParent>,
}

/// How long a saga waits for the payment before it asks how long to wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FirstWait {
    /// Seconds, at least one: Step Functions takes it as a time-out.
    pub wait: u32,
}

impl FirstWait {
    /// The reminder period, or the time to pay where that is shorter; both in seconds.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn new(reminder: &str, deadline: &str) -> Result<Self, String> {
        let seconds = |name: &str, text: &str| match text.parse::<u32>() {
            Ok(seconds @ 1..) => Ok(seconds),
            Ok(0) | Err(_) => Err(format!("the {name} must be a number of seconds above 0, not {text:?}")),
        };
        let (reminder, deadline) =
            (seconds("reminder period", reminder)?, seconds("payment deadline", deadline)?);
        Ok(Self { wait: reminder.min(deadline) })
    }
}

/// Whether the call started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It did.
    Now,
    /// It was started before.
    Before,
}

/// Looks at order sagas, and at what was undone by hand where one could not.
///
/// **Not guaranteed**: that a list has what started or ended a moment ago, and that there is anything left of a saga that
/// ended more than 90 days ago.
#[async_trait]
pub trait SagaRecords: Send + Sync {
    /// The newest order sagas that stand so, newest first; `limit` at most.
    ///
    /// # Errors
    /// 503 when the service fails.
    async fn newest(&self, how: Ended, limit: u32) -> Result<Vec<Execution>, Fault>;

    /// The execution of one kind for an order; `None` when there is none, or none any more.
    ///
    /// # Errors
    /// 503 when the service fails.
    async fn find(&self, run: Run) -> Result<Option<Execution>, Fault>;

    /// What happened in an execution, oldest first; empty when there is none.
    ///
    /// # Errors
    /// 503 when the service fails.
    async fn history(&self, run: Run) -> Result<Vec<Happened>, Fault>;
}

/// One execution that was, or could have been, made for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Run {
    /// The order saga itself.
    Saga(OrderId),
    /// An attempt to undo by hand what the saga could not; the first is 1.
    Undo(OrderId, u32),
}

impl Run {
    /// Its name in Step Functions.
    pub fn name(self) -> String {
        match self {
            Self::Saga(order) => order.to_string(),
            Self::Undo(order, attempt) => format!("{order}-undo-{attempt}"),
        }
    }

    /// What has this name, if anything of ours.
    pub fn named(name: &str) -> Option<Self> {
        match name.split_once("-undo-") {
            None => name.parse().ok().map(Self::Saga),
            Some((order, attempt)) => Some(Self::Undo(order.parse().ok()?, attempt.parse().ok()?)),
        }
    }
}

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has not ended.
    Running,
    /// It got to an end of its own: forward, or by undoing everything.
    Well,
    /// It could not undo everything.
    Stuck,
    /// Somebody stopped it.
    Aborted,
}

impl Ended {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Well => "ended",
            Self::Stuck => "stuck",
            Self::Aborted => "aborted",
        }
    }

    /// What has this name.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Running, Self::Well, Self::Stuck, Self::Aborted].into_iter().find(|ended| ended.word() == word)
    }
}

/// An execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// The order.
    pub order_id: OrderId,
    /// How it stands.
    pub ended: Ended,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// How often somebody made it go on after it had ended.
    pub redrives: u32,
    /// Of one that ended well, what it undid, and of another, with which error it ended; not in lists.
    pub error: Option<Failure>,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A code.
    pub error: String,
    /// What was said about it.
    pub cause: String,
}

/// One thing that happened in an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// See [`Happened`]. What is not listed tells an operator nothing and is left out where histories are read.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A state was entered: what is counted and charged. A step, when it is one that does something.
    Entered {
        /// Its name.
        state: String,
        /// Whether it is a task.
        step: bool,
    },
    /// The step's function was called (again).
    Attempted,
    /// The call came to nothing.
    Failed(Failure),
    /// The call did what it should.
    Done,
    /// The execution ended.
    Ended,
}

/// Order sagas in Step Functions. An execution's name stays taken for 90 days, so a second start is refused
/// by the service itself.
pub struct StepFunctions {
    client: Client,
    state_machine: String,
}

impl StepFunctions {
    /// Starts executions of `state_machine` (an ARN).
    pub fn new(client: Client, state_machine: String) -> Self {
        Self { client, state_machine }
    }
}

#[async_trait]
impl OrderSagas for StepFunctions {
    async fn start(&self, input: &OrderSagaInput) -> Result<Started, Fault> {
        let started = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine)
            .name(input.order_id.to_string())
            .input(serde_json::to_string(input).map_err(Fault::internal)?)
            .send()
            .await;
        match started {
            Ok(_) => Ok(Started::Now),
            Err(error) => match error.as_service_error() {
                Some(StartExecutionError::ExecutionAlreadyExists(_)) => Ok(Started::Before),
                _ => Err(Fault::unavailable(DisplayErrorContext(&error))),
            },
        }
    }
}

/// What Step Functions remembers of order sagas.
pub struct StepFunctionsRecords {
    client: Client,
    saga: String,
    compensation: String,
}

impl StepFunctionsRecords {
    /// Looks at the executions of two state machines (ARNs): the order saga, and what undoes an order by hand.
    pub fn new(client: Client, saga: String, compensation: String) -> Self {
        Self { client, saga, compensation }
    }

    async fn newest_with(&self, status: ExecutionStatus, limit: u32) -> Result<Vec<Execution>, Fault> {
        let asked = self.client.list_executions().state_machine_arn(&self.saga).status_filter(status);
        let answer = asked.max_results(i32::try_from(limit).unwrap_or(i32::MAX)).send().await;
        let page = answer.map_err(|error| Fault::unavailable(DisplayErrorContext(&error)))?;
        let executions = page.executions().iter().filter_map(|listed| {
            // Somebody started one by hand, for no order.
            let order_id = listed.name().parse().ok()?;
            let (started_at, ended_at) = (time(listed.start_date()), listed.stop_date().map(time));
            let (ended, redrives) = (ended(listed.status()), count(listed.redrive_count()));
            Some(Execution { order_id, ended, started_at, ended_at, redrives, error: None })
        });
        Ok(executions.collect())
    }

    fn execution_arn(&self, run: Run) -> String {
        let machine = match run {
            Run::Saga(_) => &self.saga,
            Run::Undo(..) => &self.compensation,
        };
        format!("{}:{}", machine.replace(":stateMachine:", ":execution:"), run.name())
    }
}

#[async_trait]
impl SagaRecords for StepFunctionsRecords {
    async fn newest(&self, how: Ended, limit: u32) -> Result<Vec<Execution>, Fault> {
        let lists = statuses(how).iter().map(|status| self.newest_with(status.clone(), limit));
        Ok(newest_of(futures::future::try_join_all(lists).await?, limit))
    }

    async fn find(&self, run: Run) -> Result<Option<Execution>, Fault> {
        let asked = self.client.describe_execution().execution_arn(self.execution_arn(run));
        let Some(found) = present(asked.send().await)? else { return Ok(None) };
        let (Run::Saga(order_id) | Run::Undo(order_id, _)) = run;
        let failed = found.error().map(|error| failure(Some(error), found.cause()));
        Ok(Some(Execution {
            order_id,
            ended: ended(found.status()),
            started_at: time(found.start_date()),
            ended_at: found.stop_date().map(time),
            redrives: count(found.redrive_count()),
            error: failed.or_else(|| undone(found.output())),
        }))
    }

    async fn history(&self, run: Run) -> Result<Vec<Happened>, Fault> {
        let asked = self.client.get_execution_history().execution_arn(self.execution_arn(run));
        let mut pages = asked.max_results(1000).into_paginator().send();
        let mut history = Vec::new();
        while let Some(page) = pages.next().await {
            let Some(page) = present(page)? else { break };
            history.extend(page.events().iter().filter_map(happened));
        }
        Ok(history)
    }
}

/// An answer, or that there is no such execution.
fn present<T, E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug + 'static>(
    answer: Result<T, SdkError<E, R>>,
) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(None),
        Err(error) => Err(Fault::unavailable(DisplayErrorContext(&error))),
    }
}

/// What Step Functions calls those that stand so: it lists one status at a time.
fn statuses(how: Ended) -> &'static [ExecutionStatus] {
    match how {
        Ended::Running => &[ExecutionStatus::Running],
        Ended::Well => &[ExecutionStatus::Succeeded],
        Ended::Stuck => &[ExecutionStatus::Failed, ExecutionStatus::TimedOut],
        Ended::Aborted => &[ExecutionStatus::Aborted],
    }
}

/// The newest of several lists, each with as many as are wanted of all, or all that it has.
fn newest_of(lists: Vec<Vec<Execution>>, limit: u32) -> Vec<Execution> {
    let mut all: Vec<Execution> = lists.into_iter().flatten().collect();
    all.sort_by_key(|execution| Reverse((execution.started_at, execution.order_id)));
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    all
}

fn ended(status: &ExecutionStatus) -> Ended {
    match status {
        ExecutionStatus::Running | ExecutionStatus::PendingRedrive => Ended::Running,
        ExecutionStatus::Succeeded => Ended::Well,
        ExecutionStatus::Aborted => Ended::Aborted,
        // Also what a newer service says and this code does not know: somebody should look.
        _ => Ended::Stuck,
    }
}

/// An SDK time is one that jiff knows, up to the year 9999.
fn time(time: &DateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.as_nanos()).unwrap_or(Timestamp::MAX)
}

fn failure(error: Option<&str>, cause: Option<&str>) -> Failure {
    Failure {
        error: error.unwrap_or("unknown").to_owned(),
        cause: said(cause.unwrap_or_default()).chars().take(500).collect(),
    }
}

/// The cause of a failed task is the function's answer: JSON with an `errorMessage`. A function that passes on what was said to
/// it wraps it once more.
fn said(cause: &str) -> String {
    const WRAPPED: usize = 4;
    let mut said = cause.to_owned();
    for _ in 0..WRAPPED {
        let parsed: Option<serde_json::Value> = serde_json::from_str(&said).ok();
        match parsed.as_ref().and_then(|answer| answer["errorMessage"].as_str()) {
            Some(message) => said = message.to_owned(),
            None => break,
        }
    }
    said
}

/// What a saga that ended well undid: its data ends with the failure that made it.
fn undone(output: Option<&str>) -> Option<Failure> {
    let output: serde_json::Value = serde_json::from_str(output?).ok()?;
    let undone = output.get("failure")?;
    Some(failure(undone["Error"].as_str(), undone["Cause"].as_str()))
}

fn count(redrives: Option<i32>) -> u32 {
    redrives.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// "Step Functions Execution Status Change", as the bus tells it. Times are milliseconds since 1970.
/// Source: AWS Step Functions Developer Guide, "Automating Step Functions event delivery with EventBridge".
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusChange {
    name: String,
    status: String,
    start_date: i64,
    stop_date: Option<i64>,
    #[serde(default)]
    redrive_count: Option<i32>,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
}

impl StatusChange {
    /// Which execution it is about, and how that stands; `None` when it is no order's: somebody started it by hand.
    ///
    /// # Errors
    /// When its times are none.
    pub fn told(&self) -> Result<Option<(Run, Execution)>, Fault> {
        let Some(run) = Run::named(&self.name) else { return Ok(None) };
        let (Run::Saga(order_id) | Run::Undo(order_id, _)) = run;
        let time = |millis| Timestamp::from_millisecond(millis).map_err(Fault::internal);
        let failed = self.error.as_deref().map(|error| failure(Some(error), self.cause.as_deref()));
        Ok(Some((
            run,
            Execution {
                order_id,
                ended: ended(&ExecutionStatus::from(self.status.as_str())),
                started_at: time(self.start_date)?,
                ended_at: self.stop_date.map(time).transpose()?,
                redrives: count(self.redrive_count),
                error: failed.or_else(|| undone(self.output.as_deref())),
            },
        )))
    }
}

fn happened(event: &HistoryEvent) -> Option<Happened> {
    let failed = |error, cause| Happening::Failed(failure(error, cause));
    let what = if let Some(entered) = event.state_entered_event_details() {
        let step = *event.r#type() == HistoryEventType::TaskStateEntered;
        Happening::Entered { state: entered.name().to_owned(), step }
    } else if let Some(details) = event.task_failed_event_details() {
        failed(details.error(), details.cause())
    } else if let Some(details) = event.task_timed_out_event_details() {
        failed(details.error().or(Some("States.Timeout")), details.cause())
    } else if let Some(details) = event.task_start_failed_event_details() {
        failed(details.error(), details.cause())
    } else if let Some(details) = event.task_submit_failed_event_details() {
        failed(details.error(), details.cause())
    } else {
        match event.r#type() {
            HistoryEventType::TaskScheduled => Happening::Attempted,
            HistoryEventType::TaskSucceeded => Happening::Done,
            HistoryEventType::ExecutionSucceeded
            | HistoryEventType::ExecutionFailed
            | HistoryEventType::ExecutionTimedOut
            | HistoryEventType::ExecutionAborted => Happening::Ended,
            _ => return None, // how a call got on its way, and what left a state: the above says as much
        }
    };
    Some(Happened { at: time(event.timestamp()), what })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]
mod tests {
    use aws_sdk_sfn::types::{
        StateEnteredEventDetails, TaskFailedEventDetails, TaskTimedOutEventDetails,
        builders::HistoryEventBuilder,
    };

    use super::*;

    fn event(kind: HistoryEventType) -> HistoryEventBuilder {
        HistoryEvent::builder().id(1).r#type(kind).timestamp(DateTime::from_secs(1_795_165_200))
    }

    fn read(event: HistoryEventBuilder) -> Option<Happening> {
        let happened = happened(&event.build().unwrap())?;
        assert_eq!(happened.at.to_string(), "2026-11-20T09:00:00Z");
        Some(happened.what)
    }

    #[test]
    fn a_task_is_told_from_an_end() {
        let entered = |kind| {
            let details = StateEnteredEventDetails::builder().name("X").build().unwrap();
            read(event(kind).state_entered_event_details(details))
        };
        let state = "X".to_owned();
        assert_eq!(
            entered(HistoryEventType::TaskStateEntered),
            Some(Happening::Entered { state: state.clone(), step: true })
        );
        assert_eq!(
            entered(HistoryEventType::FailStateEntered),
            Some(Happening::Entered { state, step: false })
        );
    }

    #[test]
    fn a_refusal_is_told_in_the_functions_own_words() {
        let details = TaskFailedEventDetails::builder()
            .resource_type("lambda")
            .resource("invoke")
            .error("TOO_LITTLE")
            .cause(r#"{"errorType":"TOO_LITTLE","errorMessage":"it costs more"}"#);
        let read =
            read(event(HistoryEventType::TaskFailed).task_failed_event_details(details.build().unwrap()));
        let (error, cause) = ("TOO_LITTLE".to_owned(), "it costs more".to_owned());
        assert_eq!(read, Some(Happening::Failed(Failure { error, cause })));
    }

    #[test]
    fn a_step_that_timed_out_without_a_word_is_a_failure_all_the_same() {
        let details = TaskTimedOutEventDetails::builder().resource_type("lambda").resource("invoke");
        let details = details.build().unwrap();
        let read = read(event(HistoryEventType::TaskTimedOut).task_timed_out_event_details(details));
        let error = "States.Timeout".to_owned();
        assert_eq!(read, Some(Happening::Failed(Failure { error, cause: String::new() })));
    }

    #[test]
    fn what_tells_an_operator_nothing_is_left_out() {
        assert_eq!(read(event(HistoryEventType::TaskStarted)), None);
        assert_eq!(read(event(HistoryEventType::TaskStateExited)), None);
        assert_eq!(read(event(HistoryEventType::TaskScheduled)), Some(Happening::Attempted));
        assert_eq!(read(event(HistoryEventType::TaskSucceeded)), Some(Happening::Done));
        assert_eq!(read(event(HistoryEventType::ExecutionAborted)), Some(Happening::Ended));
    }

    #[test]
    fn a_wait_that_step_functions_would_fail_at_is_refused_before_any_saga_starts() {
        assert_eq!(FirstWait::new("86400", "604800"), Ok(FirstWait { wait: 86_400 }));
        assert_eq!(
            FirstWait::new("86400", "3600"),
            Ok(FirstWait { wait: 3600 }),
            "the deadline is not put off"
        );
        for text in ["0", "-1", "", "a day"] {
            assert!(FirstWait::new(text, "604800").is_err(), "{text:?}");
            assert!(FirstWait::new("86400", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_status_that_is_not_known_yet_needs_somebody() {
        assert_eq!(ended(&ExecutionStatus::from("NEW")), Ended::Stuck);
        assert_eq!(ended(&ExecutionStatus::TimedOut), Ended::Stuck);
        assert_eq!(ended(&ExecutionStatus::PendingRedrive), Ended::Running);
    }

    #[test]
    fn a_saga_that_timed_out_is_listed_among_the_stuck_and_none_is_listed_as_what_it_is_not() {
        let all = [Ended::Running, Ended::Well, Ended::Stuck, Ended::Aborted];
        for name in ExecutionStatus::values() {
            let status = ExecutionStatus::from(*name);
            let listed: Vec<Ended> = all.into_iter().filter(|how| statuses(*how).contains(&status)).collect();
            match status {
                // Only children of a distributed map are that, and there is none.
                ExecutionStatus::PendingRedrive => assert!(listed.is_empty()),
                status => assert_eq!(listed, [ended(&status)], "{name}"),
            }
        }
    }

    #[test]
    fn of_two_lists_the_newest_are_taken_and_no_more_than_asked_for() {
        let execution = |second: i64| Execution {
            order_id: OrderId::new(Uuid::from_u128(second as u128)),
            ended: Ended::Stuck,
            started_at: Timestamp::from_second(second).unwrap(),
            ended_at: None,
            redrives: 0,
            error: None,
        };
        let lists = || vec![vec![execution(9), execution(5), execution(4)], vec![execution(7)]];
        let seconds = |limit| {
            let found = newest_of(lists(), limit);
            found.iter().map(|found| found.started_at.as_second()).collect::<Vec<_>>()
        };
        assert_eq!(seconds(3), [9, 7, 5]);
        assert_eq!(seconds(100), [9, 7, 5, 4]);
    }
}
