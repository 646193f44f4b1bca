//! W3C trace context. DynamoDB Streams carry no trace headers, so each commit stores its own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A `traceparent` header: `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent(String);

/// A text that is not a trace context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct NotATraceParent;

impl TraceParent {
    /// A context for a new trace.
    pub fn new(trace_id: u128, span_id: u64, sampled: bool) -> Self {
        // All-zero ids mean "invalid" in the standard.
        let (trace_id, span_id) = (trace_id.max(1), span_id.max(1));
        Self(format!("00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(sampled)))
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            ["00", trace, span, flags]
                if hex(trace, 32)
                    && hex(span, 16)
                    && hex(flags, 2)
                    && trace.bytes().any(|b| b != b'0')
                    && span.bytes().any(|b| b != b'0') =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NotATraceParent),
        }
    }
}

impl TryFrom<String> for TraceParent {
    type Error = NotATraceParent;

    fn try_from(text: String) -> Result<Self, NotATraceParent> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(trace: TraceParent) -> Self {
        trace.0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_trace_header_is_refused() {
        let good = TraceParent::new(7, 9, true);
        assert_eq!(good.as_str().parse::<TraceParent>(), Ok(good.clone()));
        assert_eq!(good.trace_id().len(), 32);
        for bad in [
            "",
            "00-00000000000000000000000000000000-0000000000000009-01",
            "00-00000000000000000000000000000007-0000000000000000-01",
            "01-00000000000000000000000000000007-0000000000000009-01",
            "00-0000000000000000000000000000000Z-0000000000000009-01",
            "00-00000000000000000000000000000007-0000000000000009-01-extra",
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad:?} passed");
        }
    }
}
