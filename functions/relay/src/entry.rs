//! Bus entries: what of a commit goes on the bus, and how large it is there.

use contracts::Envelope;
use kernel::{Timestamp, TraceParent};

/// Entries in one call. Source: `PutEvents` in the Amazon EventBridge API Reference.
pub const MAX_ENTRIES: usize = 10;

/// Bytes of all entries in one call, counted as [`Entry::bytes`] does.
///
/// EventBridge takes less than 256 KB. The event that it makes is larger than the entry (account, region, ids), and
/// must fit into a queue that may take no more than 256 KB itself: SQS did not until 2025, and emulators do not. So
/// some room is left. Source: EventBridge User Guide, "Calculating PutEvents event entry size".
pub const MAX_BYTES: usize = 240 * 1024;

/// One event for the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `mallard.<context>`.
    pub source: String,
    /// The event's type.
    pub detail_type: String,
    /// The envelope, as JSON.
    pub detail: String,
    /// When it was committed.
    pub time: Timestamp,
    /// The trace, as AWS X-Ray writes it.
    pub trace_header: Option<String>,
}

impl Entry {
    /// The entry of an event; without the event's body, if it would be too large with it.
    ///
    /// # Errors
    /// When the envelope cannot be written as JSON.
    pub fn of(envelope: &Envelope) -> Result<Self, serde_json::Error> {
        let entry = Self::whole(envelope)?;
        if entry.bytes() <= MAX_BYTES {
            return Ok(entry);
        }
        Self::whole(&Envelope { data: None, ..envelope.clone() })
    }

    fn whole(envelope: &Envelope) -> Result<Self, serde_json::Error> {
        Ok(Self {
            source: format!("mallard.{}", envelope.context()),
            detail_type: envelope.event_type.clone(),
            detail: serde_json::to_string(envelope)?,
            time: envelope.at,
            trace_header: envelope.trace.as_ref().map(xray),
        })
    }

    /// Its size as EventBridge counts it: 14 bytes for the time, and the texts. (Resources count too; we send none.)
    /// Source: EventBridge User Guide, "Calculating PutEvents event entry size".
    pub fn bytes(&self) -> usize {
        const TIME: usize = 14;
        TIME + self.source.len() + self.detail_type.len() + self.detail.len()
    }
}

/// A W3C trace context as an X-Ray header: the same ids, otherwise cut up.
/// Source: AWS X-Ray Developer Guide, "Sending trace IDs to X-Ray" and "Tracing header".
fn xray(trace: &TraceParent) -> String {
    let (time, rest) = trace.trace_id().split_at(8);
    // 00-<32 digits>-<16 digits>-<2 digits>, which `TraceParent` has checked.
    let (span, flags) = (&trace.as_str()[36..52], &trace.as_str()[53..55]);
    let sampled = u8::from_str_radix(flags, 16).unwrap_or_default() & 1;
    format!("Root=1-{time}-{rest};Parent={span};Sampled={sampled}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_keeps_its_ids_on_the_way_through_x_ray() {
        let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let header = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1";
        assert_eq!(xray(&trace), header);
        let quiet: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02".parse().unwrap();
        assert!(xray(&quiet).ends_with("Sampled=0"));
    }
}
