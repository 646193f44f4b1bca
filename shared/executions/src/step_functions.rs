//! Executions in Step Functions.

use async_trait::async_trait;
use aws_sdk_sfn::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::start_execution::StartExecutionError,
    primitives::DateTime,
    types::{ExecutionStatus, HistoryEvent, HistoryEventType},
};
use aws_types::SdkConfig;
use kernel::Timestamp;
use lambda::Fault;
use projection::sortable;
use serde_json::Value;

use crate::{Executions, Failure, Happening, Run, message_of};

/// Executions in Step Functions. Needs `states:StartExecution` on the machines; to look,
/// `states:DescribeExecution` and `states:GetExecutionHistory` on their executions.
pub struct StepFunctions {
    client: Client,
}

impl StepFunctions {
    /// Makes a client of this configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }
}

#[async_trait]
impl Executions for StepFunctions {
    async fn start(&self, machine: &str, name: &str, input: &Value) -> Result<(), Fault> {
        let start = self.client.start_execution().state_machine_arn(machine).name(name);
        match start.input(input.to_string()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // Somebody was faster, or an answer was lost.
                Some(StartExecutionError::ExecutionAlreadyExists(_)) => Ok(()),
                _ => Err(Fault::unavailable(DisplayErrorContext(&error))),
            },
        }
    }

    async fn look(&self, machine: &str, name: &str) -> Result<Option<Run>, Fault> {
        let arn = format!("{}:{name}", machine.replace(":stateMachine:", ":execution:"));
        let described = present(self.client.describe_execution().execution_arn(&arn).send().await)?;
        let Some(found) = described else { return Ok(None) };
        let asked = self.client.get_execution_history().execution_arn(&arn).max_results(1000);
        let told = present(asked.send().await)?;
        let mut run = Run {
            name: name.to_owned(),
            status: status(found.status()),
            started_at: time(found.start_date()),
            ended_at: found.stop_date().map(time),
            failure: found.error().map(|error| failure(Some(error), found.cause())),
            ..Run::default()
        };
        for event in told.as_ref().map_or(&[][..], |told| told.events()) {
            if let Some(happening) = happening(event) {
                run.add(time(event.timestamp()), happening);
            }
        }
        Ok(Some(run))
    }
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
fn time(time: &DateTime) -> String {
    sortable(Timestamp::from_nanosecond(time.as_nanos()).unwrap_or(Timestamp::MAX))
}

fn failure(error: Option<&str>, cause: Option<&str>) -> Failure {
    let cause = message_of(cause.unwrap_or_default());
    Failure { error: error.unwrap_or("unknown").to_owned(), cause }
}

fn happening(event: &HistoryEvent) -> Option<Happening> {
    let failed = |error, cause| Some(Happening::Failed(failure(error, cause)));
    if let Some(entered) = event.state_entered_event_details() {
        let is_task = *event.r#type() == HistoryEventType::TaskStateEntered;
        Some(Happening::Entered { state: entered.name().to_owned(), is_task })
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
            HistoryEventType::TaskScheduled => Some(Happening::Attempted),
            HistoryEventType::TaskSucceeded => Some(Happening::Done),
            HistoryEventType::ExecutionSucceeded
            | HistoryEventType::ExecutionFailed
            | HistoryEventType::ExecutionTimedOut
            | HistoryEventType::ExecutionAborted => Some(Happening::Ended),
            _ => None, // how a call got on its way, and what left a state: the above says as much
        }
    }
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
        let event = event.build().unwrap();
        assert_eq!(time(event.timestamp()), "2026-11-20T09:00:00.000000000Z");
        happening(&event)
    }

    #[test]
    fn a_task_is_told_from_an_end() {
        let entered = |kind| {
            let details = StateEnteredEventDetails::builder().name("X").build().unwrap();
            read(event(kind).state_entered_event_details(details))
        };
        let wanted = |is_task| Some(Happening::Entered { state: "X".to_owned(), is_task });
        assert_eq!(entered(HistoryEventType::TaskStateEntered), wanted(true));
        assert_eq!(entered(HistoryEventType::FailStateEntered), wanted(false));
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
