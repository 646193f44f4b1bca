//! Bus events from an SQS queue.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use serde::{Deserialize, de::DeserializeOwned};

/// A message of the batch: its id, and the bus event's detail if it is one of these.
pub(crate) struct Delivery<D> {
    pub message: String,
    pub detail: Result<D, String>,
}

#[derive(Deserialize)]
struct BusEvent<D> {
    detail: D,
}

/// Takes a batch apart. A message that cannot be read is an error of its own, never of the batch.
pub(crate) fn deliveries<D: DeserializeOwned>(event: SqsEvent) -> Vec<Delivery<D>> {
    event.records.into_iter().map(delivery).collect()
}

fn delivery<D: DeserializeOwned>(message: SqsMessage) -> Delivery<D> {
    let body = message.body.unwrap_or_default();
    let detail =
        serde_json::from_str::<BusEvent<D>>(&body).map(|event| event.detail).map_err(|e| e.to_string());
    Delivery { message: message.message_id.unwrap_or_default(), detail }
}

/// The answer that hands only the failed messages back to the queue.
pub(crate) fn failures(messages: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.set_failures(messages);
    response
}
