//! The port to the executions of placements and undos, and Step Functions behind it.

use async_trait::async_trait;
use aws_sdk_sfn::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::start_execution::StartExecutionError,
    primitives::DateTime,
    types::{ExecutionStatus, HistoryEvent, HistoryEventType},
};
use contracts::ids::OrderId;
use kernel::Timestamp;
use lambda::Fault;

use crate::sagas::{PlacementInput, UndoInput};

/// Starts executions, and looks at those of undos. An express execution keeps no history that could be looked at.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Starts a placement under this name.
    ///
    /// # Errors
    /// When it could not be started; it may have been.
    async fn place(&self, name: &str, input: &PlacementInput) -> Result<(), Fault>;

    /// Starts an attempt to undo, unless it was started before: its name has the order and the attempt.
    ///
    /// # Errors
    /// When it could not be started; it may have been.
    async fn undo(&self, input: &UndoInput) -> Result<(), Fault>;

    /// Shows an attempt to undo with its history, in two requests; `None` when there was none, or it ended
    /// more than 90 days ago.
    ///
    /// # Errors
    /// 503 when the service fails.
    async fn look(&self, order: OrderId, attempt: u32) -> Result<Option<Execution>, Fault>;
}

/// An execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// `running`, `succeeded`, `failed` or `aborted`.
    pub status: &'static str,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// The error it ended with.
    pub failure: Option<Failure>,
    /// Its history, oldest first.
    pub history: Vec<Happened>,
}

/// An error with what was said about it.
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

/// See [`Happened`]. Events that tell an operator nothing are left out where histories are read.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A state was entered: the unit that is charged.
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

/// Executions in Step Functions. Needs `states:StartExecution` on both machines; to look, `states:DescribeExecution` and
/// `states:GetExecutionHistory` on the undo's executions.
pub struct StepFunctions {
    client: Client,
    placement: String,
    undo: String,
}

impl StepFunctions {
    /// Executions of two state machines, by their ARNs.
    pub fn new(client: Client, placement: String, undo: String) -> Self {
        Self { client, placement, undo }
    }

    async fn start(&self, machine: &str, name: String, input: &impl serde::Serialize) -> Result<(), Fault> {
        let input = serde_json::to_string(input).map_err(Fault::internal)?;
        let start = self.client.start_execution().state_machine_arn(machine).name(name).input(input);
        match start.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // Somebody was faster, or an answer was lost.
                Some(StartExecutionError::ExecutionAlreadyExists(_)) => Ok(()),
                _ => Err(Fault::unavailable(DisplayErrorContext(&error))),
            },
        }
    }
}

#[async_trait]
impl Executions for StepFunctions {
    async fn place(&self, name: &str, input: &PlacementInput) -> Result<(), Fault> {
        self.start(&self.placement, name.to_owned(), input).await
    }

    async fn undo(&self, input: &UndoInput) -> Result<(), Fault> {
        self.start(&self.undo, name_of(input.order_id, input.attempt), input).await
    }

    async fn look(&self, order: OrderId, attempt: u32) -> Result<Option<Execution>, Fault> {
        let machine = self.undo.replace(":stateMachine:", ":execution:");
        let arn = format!("{machine}:{}", name_of(order, attempt));
        let described = present(self.client.describe_execution().execution_arn(&arn).send().await)?;
        let Some(found) = described else { return Ok(None) };
        let asked = self.client.get_execution_history().execution_arn(&arn).max_results(1000);
        let told = present(asked.send().await)?;
        let history =
            told.as_ref().map_or(&[][..], |told| told.events()).iter().filter_map(happened).collect();
        Ok(Some(Execution {
            status: status(found.status()),
            started_at: time(found.start_date()),
            ended_at: found.stop_date().map(time),
            failure: found.error().map(|error| failure(Some(error), found.cause())),
            history,
        }))
    }
}

fn name_of(order: OrderId, attempt: u32) -> String {
    format!("{order}-undo-{attempt}")
}

/// Returns an answer, or `None` if there is no such execution.
fn present<T, E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug + 'static>(
    answer: Result<T, SdkError<E, R>>,
) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(None),
        Err(error) => Err(Fault::unavailable(DisplayErrorContext(&error))),
    }
}

fn status(status: &ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Running | ExecutionStatus::PendingRedrive => "running",
        ExecutionStatus::Succeeded => "succeeded",
        ExecutionStatus::Aborted => "aborted",
        // Also a status that a newer service says and this code does not know.
        _ => "failed",
    }
}

/// Converts a time of the SDK. Jiff knows all of them, up to the year 9999.
fn time(time: &DateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.as_nanos()).unwrap_or(Timestamp::MAX)
}

fn failure(error: Option<&str>, cause: Option<&str>) -> Failure {
    let cause = crate::sagas::message_of(cause.unwrap_or_default());
    Failure { error: error.unwrap_or("unknown").to_owned(), cause }
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
    fn a_status_that_is_not_known_yet_is_shown_as_one_that_needs_somebody() {
        assert_eq!(status(&ExecutionStatus::from("NEW")), "failed");
        assert_eq!(status(&ExecutionStatus::TimedOut), "failed");
        assert_eq!(status(&ExecutionStatus::PendingRedrive), "running");
    }
}
