//! Why something was called off: a code.

use serde::{Deserialize, Serialize};

/// Why an invoice was canceled, or a payment refunded: a code, such as `OUT_OF_STOCK`.
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

    /// The order was cancelled by its customer, who gave no reason.
    pub fn order_cancelled() -> Self {
        Self::new("ORDER_CANCELLED")
    }

    /// Somebody canceled it by hand and gave no reason.
    pub fn by_hand() -> Self {
        Self::new("CANCELLED_BY_HAND")
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
