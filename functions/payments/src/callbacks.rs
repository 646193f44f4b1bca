//! The port to tasks that wait for somebody to end them, and Step Functions behind it.

use async_trait::async_trait;
use aws_sdk_sfn::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use lambda::Fault;

use crate::waits::TaskToken;

/// Whether a task heard that it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It did, and the state machine goes on.
    Now,
    /// It was over before: somebody else ended it, or its time was up.
    TooLate,
}

/// Ends tasks that wait.
#[async_trait]
pub trait TaskCallbacks: Send + Sync {
    /// The task did what it should.
    ///
    /// # Errors
    /// When nobody knows whether the task heard it.
    async fn succeed(&self, token: &TaskToken) -> Result<Heard, Fault>;

    /// The task failed with this error.
    ///
    /// # Errors
    /// When nobody knows whether the task heard it.
    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<Heard, Fault>;
}

/// Tasks of state machines in Step Functions. Needs `states:SendTaskSuccess` and `states:SendTaskFailure`.
pub struct StepFunctions(Client);

impl StepFunctions {
    /// Ends tasks through this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl TaskCallbacks for StepFunctions {
    async fn succeed(&self, token: &TaskToken) -> Result<Heard, Fault> {
        heard(self.0.send_task_success().task_token(token.secret()).output("{}").send().await)
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<Heard, Fault> {
        let failed = self.0.send_task_failure().task_token(token.secret()).error(error).cause(cause);
        heard(failed.send().await)
    }
}

/// A token that the service does not know, no longer knows, or knows to be used is an answer: a task that was ended needs
/// no end.
fn heard<T, E, R>(answer: Result<T, SdkError<E, R>>) -> Result<Heard, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    match answer {
        Ok(_) => Ok(Heard::Now),
        Err(error) => match error.code() {
            Some("TaskTimedOut" | "TaskDoesNotExist" | "InvalidToken") => Ok(Heard::TooLate),
            _ => Err(Fault::unavailable(DisplayErrorContext(&error))),
        },
    }
}
