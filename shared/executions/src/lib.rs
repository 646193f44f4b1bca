//! Executions of state machines: the port that starts and shows them, and [`StepFunctions`] behind it.
//!
//! This crate knows no context: a machine is an ARN, an execution has a machine and a name, an input is JSON.
//!
//! **Guaranteed**: an execution is started once under its name, however often that is asked for.
//! **Not guaranteed**: that a start which failed started nothing; that a run shows more than its first 1,000
//! events.

mod step_functions;

use async_trait::async_trait;
use lambda::Fault;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

pub use step_functions::StepFunctions;

/// Most characters of the cause of a failure that are kept.
const MAX_CAUSE: usize = 500;

/// Starts executions, and looks at those that keep a history. An express execution keeps none.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Starts an execution of `machine`, unless one of this name was started before.
    ///
    /// # Errors
    /// 503 when the service fails: nobody knows then if it was started.
    async fn start(&self, machine: &str, name: &str, input: &Value) -> Result<(), Fault>;

    /// Returns an execution of `machine`, by two requests at most; `None` if there was none, or it ended more
    /// than 90 days ago.
    ///
    /// # Errors
    /// 503 when the service fails.
    async fn look(&self, machine: &str, name: &str) -> Result<Option<Run>, Fault>;
}

// The descriptions of fields below are part of the API's document.

/// One execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RunView)]
pub struct Run {
    /// `undo-<attempt>`.
    pub name: String,
    /// `running`, `succeeded`, `failed` or `aborted`.
    pub status: &'static str,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: String,
    /// When it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<String>,
    /// The state it ended in, or is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The error it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// States entered, and one for the start: the unit that AWS charges.
    pub transitions: u32,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// One step of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StepView)]
pub struct Step {
    /// Its name, as in the definition.
    pub name: String,
    /// `running`, `done` or `failed`.
    pub outcome: &'static str,
    /// When it was entered.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: String,
    /// When its last call was answered, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<String>,
    /// Calls of its function.
    pub attempts: u32,
    /// Why calls came to nothing, oldest first.
    pub failures: Vec<Failure>,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FailureView)]
pub struct Failure {
    /// A code.
    pub error: String,
    /// What was said about it.
    pub cause: String,
}

/// An event of an execution's history. Events that tell an operator nothing are left out.
#[derive(Debug, Clone, PartialEq)]
enum Happening {
    /// A state was entered.
    Entered { state: String, is_task: bool },
    /// The step's function was called (again).
    Attempted,
    /// The call came to nothing.
    Failed(Failure),
    /// The call did its work.
    Done,
    /// The execution ended.
    Ended,
}

impl Run {
    /// Adds the next event of the history.
    fn add(&mut self, at: String, happening: Happening) {
        // The start, which is charged as well.
        self.transitions = self.transitions.max(1);
        // No other state than a step's has its name.
        let current = self.steps.last_mut().filter(|step| self.state.as_ref() == Some(&step.name));
        match (happening, current) {
            (Happening::Entered { state, is_task }, left) => {
                if let Some(left) = left {
                    left.leave();
                }
                self.transitions += 1;
                if is_task {
                    self.steps.push(Step::entered(state.clone(), at));
                }
                self.state = Some(state);
            }
            (Happening::Attempted, Some(step)) => {
                step.attempts += 1;
                (step.outcome, step.ended_at) = ("running", None);
            }
            (Happening::Failed(failure), Some(step)) => {
                step.failures.push(failure);
                step.ended_at = Some(at);
            }
            (Happening::Done, Some(step)) => (step.outcome, step.ended_at) = ("done", Some(at)),
            (Happening::Ended, Some(step)) => step.leave(),
            (Happening::Attempted | Happening::Failed(_) | Happening::Done | Happening::Ended, None) => {}
        }
    }
}

impl Step {
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

/// Returns the message in the cause of a failed task: a function's answer is JSON with an `errorMessage`.
pub fn message_of(cause: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(cause).ok();
    let message = parsed.as_ref().and_then(|answer| answer["errorMessage"].as_str());
    message.unwrap_or(cause).chars().take(MAX_CAUSE).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entered(state: &str, is_task: bool) -> Happening {
        Happening::Entered { state: state.to_owned(), is_task }
    }

    fn failed() -> Happening {
        Happening::Failed(Failure { error: "Unavailable".to_owned(), cause: "down".to_owned() })
    }

    /// A run in which this happened, a second apart.
    fn run(history: impl IntoIterator<Item = Happening>) -> Value {
        let mut run = Run { status: "running", ..Run::default() };
        for (second, happening) in history.into_iter().enumerate() {
            run.add(second.to_string(), happening);
        }
        serde_json::to_value(run).unwrap_or_default()
    }

    #[test]
    fn a_step_is_shown_with_all_its_calls_and_one_that_the_execution_left_undone_as_failed() {
        let run = run([
            entered("CloseOrder", true),
            Happening::Attempted,
            failed(),
            Happening::Attempted,
            Happening::Done,
            entered("ReleaseInventory", true),
            Happening::Attempted,
            failed(),
            entered("UndoFailed", false),
            Happening::Ended,
        ]);
        assert_eq!((&run["state"], &run["transitions"]), (&json!("UndoFailed"), &json!(4)));
        let failures = json!([{ "error": "Unavailable", "cause": "down" }]);
        assert_eq!(
            run["steps"],
            json!([
                { "name": "CloseOrder", "outcome": "done", "startedAt": "0", "endedAt": "4", "attempts": 2, "failures": failures },
                { "name": "ReleaseInventory", "outcome": "failed", "startedAt": "5", "endedAt": "7", "attempts": 1, "failures": failures },
            ])
        );
    }

    #[test]
    fn a_step_that_is_tried_again_is_running_and_one_in_which_the_execution_ends_is_not() {
        let history = [entered("CloseOrder", true), Happening::Attempted, failed(), Happening::Attempted];
        let under_way = run(history.clone());
        let step = &under_way["steps"][0];
        assert_eq!(
            (&step["outcome"], step.get("endedAt"), &step["attempts"]),
            (&json!("running"), None, &json!(2))
        );
        let ended = run(history.into_iter().chain([Happening::Ended]));
        assert_eq!(ended["steps"][0]["outcome"], "failed");
    }

    #[test]
    fn a_call_outside_of_a_step_is_nobodys() {
        let run = run([
            entered("CloseOrder", true),
            Happening::Done,
            entered("Wait", false),
            failed(),
            Happening::Attempted,
        ]);
        assert_eq!((&run["steps"][0]["outcome"], &run["steps"][0]["attempts"]), (&json!("done"), &json!(0)));
    }

    #[test]
    fn a_cause_that_is_no_answer_of_a_function_is_shown_as_it_is_and_cannot_grow() {
        assert_eq!(message_of(r#"{"errorMessage":"why"}"#), "why");
        assert_eq!(message_of(&"x".repeat(10_000)).len(), MAX_CAUSE);
    }
}
