//! What a use case answers when it does not succeed.

use std::{borrow::Cow, fmt};

use event_store::{StoreError, TransactError};
use kernel::{MoneyError, Refusal, RefusalKind};
use serde::Serialize;
use serde_json::{Value, json};

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Name of the field.
    pub field: String,
    /// Stable code.
    pub code: Cow<'static, str>,
    /// What to do about it.
    pub message: String,
}

/// Everything that is not success, whichever way it is told: a problem document over HTTP, a typed
/// error of the function in a saga.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// Stable code, `SCREAMING_SNAKE_CASE`.
    pub code: Cow<'static, str>,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// The fields that are wrong.
    pub details: Vec<Detail>,
    /// What only operators may see; it goes to the log.
    pub inside: Option<String>,
    /// True if no repeat of the same event helps, whoever repeats it: a consumer parks it.
    pub is_poison: bool,
}

/// Errors that a saga retries, by the name the function reports.
const UNAVAILABLE: &str = "Unavailable";
const CONFLICT: &str = "Conflict";
/// Codes that mean "others were faster, try again".
const CONTENDED: &str = "CONTENDED";

impl Fault {
    /// A fault with this status, code and message.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: Vec::new(),
            inside: None,
            is_poison: false,
        }
    }

    /// 400: the request cannot be meant as it stands.
    pub fn invalid(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// 404.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        let code = format!("{}_NOT_FOUND", what.to_uppercase().replace(' ', "_"));
        Self::new(404, code, format!("there is no {what} {id}"))
    }

    /// 500: a bug, or damaged data. The cause is logged, not told.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self {
            inside: Some(cause.to_string()),
            ..Self::new(500, "INTERNAL", "something is broken on our side; it has been logged")
        }
    }

    /// 500: an event, or the data that it is about, makes no sense to this code. No repeat helps, so a
    /// consumer parks the event at once.
    pub fn poison(cause: impl fmt::Display) -> Self {
        Self { is_poison: true, ..Self::internal(cause) }
    }

    /// 503: try again later.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self {
            inside: Some(cause.to_string()),
            ..Self::new(
                503,
                "UNAVAILABLE",
                "the service cannot answer right now; try again with the same Idempotency-Key",
            )
        }
    }

    /// Whether the same command may succeed later: nothing the business decided.
    pub fn is_technical(&self) -> bool {
        self.status >= 500 || self.code == CONTENDED
    }

    /// Returns true if a scheduled run may succeed with the same thing in the next run: a service did not
    /// answer, or others were faster. Data that makes no sense and missing permissions stay as they are.
    pub fn may_pass(&self) -> bool {
        self.is_technical() && self.status != 500
    }

    /// The error's name for Step Functions, where it decides between retry and compensation.
    pub fn error_type(&self) -> &str {
        match self.status {
            _ if self.code == CONTENDED => CONFLICT,
            500.. => UNAVAILABLE,
            _ => &self.code,
        }
    }

    /// The problem document (RFC 9457), with `code`, `message` and `details` beside the standard's fields.
    pub fn problem(&self, instance: Option<&str>) -> Value {
        let mut problem = json!({
            "type": format!("urn:mallard:problem:{}", self.code.to_lowercase().replace('_', "-")),
            "title": title(self.status),
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "message": self.message,
            "details": self.details,
        });
        if let (Some(instance), Some(fields)) = (instance, problem.as_object_mut()) {
            fields.insert("instance".into(), json!(instance));
        }
        problem
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)?;
        match &self.inside {
            Some(inside) => write!(f, " ({inside})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Fault::unavailable(error),
            StoreError::Refused { .. } => Fault::internal(error),
            StoreError::Corrupt { .. } => Fault::poison(error),
        }
    }
}

impl From<MoneyError> for Fault {
    fn from(error: MoneyError) -> Self {
        Fault::invalid("AMOUNT_IS_INVALID", error.to_string())
    }
}

impl<R: Refusal> From<TransactError<R>> for Fault {
    fn from(error: TransactError<R>) -> Self {
        match error {
            TransactError::Refused(refusal) => {
                let status = match refusal.kind() {
                    RefusalKind::Invalid => 400,
                    RefusalKind::NotAuthorized => 401,
                    RefusalKind::NotFound => 404,
                    RefusalKind::Conflict => 409,
                };
                let mut fault = Fault::new(status, refusal.code(), refusal.to_string());
                fault.details.extend(refusal.field().map(|field| Detail {
                    field: field.to_owned(),
                    code: refusal.code().into(),
                    message: refusal.to_string(),
                }));
                fault
            }
            TransactError::VersionMismatch { expected, actual } => Fault::new(
                412,
                "VERSION_MISMATCH",
                format!("If-Match names version {expected}, but it is at version {actual}: read it again"),
            ),
            TransactError::KeyReused => Fault::new(
                422,
                "IDEMPOTENCY_KEY_REUSED",
                "this Idempotency-Key was used before with another payload: take a fresh key",
            ),
            TransactError::Contended { .. } => Fault::new(409, CONTENDED, format!("{error}: try again")),
            TransactError::TooLarge { .. } => Fault::new(413, "COMMIT_TOO_LARGE", error.to_string()),
            TransactError::Unknown(inside) => Fault {
                inside: Some(inside.to_string()),
                ..Fault::new(
                    503,
                    "OUTCOME_UNKNOWN",
                    "the command may or may not have taken effect; repeat it with the same Idempotency-Key",
                )
            },
            TransactError::Store(error) => error.into(),
        }
    }
}
