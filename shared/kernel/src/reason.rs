//! Why something was called off.

use serde::{Deserialize, Serialize};

/// Why something was rejected, cancelled or given back: the code of a refusal or failure, such as `OUT_OF_STOCK`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// Codes are short; anything longer is cut, since it may come from anywhere.
    const MAX_CHARS: usize = 120;

    /// The reason with this code.
    pub fn new(code: &str) -> Self {
        Self(code.chars().take(Self::MAX_CHARS).collect())
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
