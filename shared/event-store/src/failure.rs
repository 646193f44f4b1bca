//! What it means that a call of DynamoDB failed. Views are kept there as well, so this is for them too.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// Codes after which the same request may work later.
const PASSING: &[&str] = &[
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "InternalServerError",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "LimitExceededException",
];

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether the same request may work later: throttled, timed out, or a trouble of the service's own.
    pub passing: bool,
    /// What went wrong, with all causes, in one line.
    pub why: String,
}

impl<E> From<SdkError<E>> for Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        match &error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("unknown");
                let why = format!("{code}: {}", service.err().message().unwrap_or("no message"));
                Self { passing: PASSING.contains(&code) || service.raw().status().as_u16() >= 500, why }
            }
            SdkError::ConstructionFailure(_) => Self { passing: false, why: describe(&error) },
            _ => Self { passing: true, why: describe(&error) },
        }
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
