//! The bus: EventBridge.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eventbridge::{
    Client,
    config::{Config, retry::RetryConfig, timeout::TimeoutConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::put_events::{PutEventsError, PutEventsOutput},
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use crate::{
    bus::{Bus, BusError, Verdict},
    entry::Entry,
};

/// An EventBridge bus ("classic"). Needs `events:PutEvents`.
#[derive(Debug, Clone)]
pub struct EventBridge {
    client: Client,
    bus: String,
}

impl EventBridge {
    /// The bus of this name or ARN.
    pub fn new(client: Client, bus: impl Into<String>) -> Self {
        Self { client, bus: bus.into() }
    }
}

#[async_trait]
impl Bus for EventBridge {
    async fn put(&self, entries: &[Entry], within: Duration) -> Result<Vec<Verdict>, BusError> {
        let request = entries.iter().map(|entry| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.bus)
                .source(&entry.source)
                .detail_type(&entry.detail_type)
                .detail(&entry.detail)
                .time(DateTime::from_millis(entry.time.as_millisecond()))
                .set_trace_header(entry.trace_header.clone())
                .build()
        });
        // The relay itself retries, and knows how much time there is; retries inside would use it up unseen.
        let once = Config::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(within).build());
        let sent =
            self.client.put_events().set_entries(Some(request.collect())).customize().config_override(once);
        verdicts(sent.send().await.map_err(bus_error)?, entries.len())
    }
}

fn verdicts(answer: PutEventsOutput, sent: usize) -> Result<Vec<Verdict>, BusError> {
    let verdicts: Vec<Verdict> = answer.entries().iter().map(verdict).collect();
    let failed = verdicts.iter().filter(|verdict| **verdict != Verdict::Accepted).count();
    let counted = usize::try_from(answer.failed_entry_count()).unwrap_or(usize::MAX);
    // An answer that does not add up does not say which entries were accepted.
    if verdicts.len() != sent || counted > failed {
        let entries = verdicts.len();
        return Err(BusError::Unavailable(format!(
            "an answer about {entries} entries to {sent}, with {counted} said to have failed and {failed} shown"
        )));
    }
    Ok(verdicts)
}

/// Codes by which the entry itself is at fault. All others may pass, or are ours to mend: never lose an event
/// over them. Source: `PutEventsResultEntry` in the Amazon EventBridge API Reference.
const AT_FAULT: &[&str] = &["InvalidArgument", "MalformedDetail"];

fn verdict(entry: &PutEventsResultEntry) -> Verdict {
    match (entry.error_code(), entry.event_id()) {
        (None, Some(_)) => Verdict::Accepted,
        (None, None) => Verdict::Failed("neither an event id nor an error".into()),
        (Some(code), _) => {
            let why = format!("{code}: {}", entry.error_message().unwrap_or("no message"));
            if AT_FAULT.contains(&code) { Verdict::Refused(why) } else { Verdict::Failed(why) }
        }
    }
}

fn bus_error(error: SdkError<PutEventsError>) -> BusError {
    let SdkError::ServiceError(service) = &error else {
        return match error {
            SdkError::ConstructionFailure(_) => BusError::Invalid(DisplayErrorContext(&error).to_string()),
            _ => BusError::Unavailable(DisplayErrorContext(&error).to_string()),
        };
    };
    let code = service.err().code().unwrap_or("unknown");
    let why = format!("{code}: {}", service.err().message().unwrap_or("no message"));
    // Source: "Common Errors" in the Amazon EventBridge API Reference.
    match (code, service.raw().status().as_u16()) {
        ("ThrottlingException" | "Throttling" | "RequestLimitExceeded" | "TooManyRequestsException", _)
        | (_, 429) => BusError::Throttled(why),
        (_, 500..) => BusError::Unavailable(why),
        ("PutEventsRequestEntrySizeExceeded" | "RequestEntityTooLargeException", _) | (_, 413) => {
            BusError::TooLarge(why)
        }
        // There is no code of its own for this, only "Total size of the entries in the request is over the limit".
        ("ValidationException", _) if why.contains("Total size of the entries") => BusError::TooLarge(why),
        // The name of the bus is ours, and the same in every entry.
        ("ValidationException", _) if !why.to_lowercase().contains("eventbusname") => BusError::Invalid(why),
        ("SerializationException", _) => BusError::Invalid(why),
        _ => BusError::Refused(why),
    }
}
