//! What a use case answers.

use kernel::Version;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Fault;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The body.
    pub body: Value,
    /// Version of the entity, sent as `ETag`, where the answer is about one entity.
    pub version: Option<Version>,
}

impl Answer {
    /// A command's answer: which entity, and the version that it reached.
    pub fn committed(id: impl ToString, version: Version) -> Self {
        Self { body: json!({ "id": id.to_string(), "version": version }), version: Some(version) }
    }

    /// The answer of a step that had nothing to do.
    pub fn unchanged(id: impl ToString) -> Self {
        Self { body: json!({ "id": id.to_string() }), version: None }
    }

    /// A query's answer.
    ///
    /// # Errors
    /// When the body cannot be written as JSON.
    pub fn view<T: Serialize>(body: &T, version: Option<Version>) -> Result<Self, Fault> {
        Ok(Self { body: serde_json::to_value(body).map_err(Fault::internal)?, version })
    }
}
