//! Bus events from an SQS queue.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use contracts::Envelope;
use serde::Deserialize;

/// A message of the batch: its id, and the envelope in it if there is one.
pub(crate) struct Delivery {
    pub message: String,
    pub envelope: Result<Envelope, String>,
}

#[derive(Deserialize)]
struct BusEvent {
    detail: Envelope,
}

/// Takes a batch apart. A message that cannot be read is an error of its own, never of the batch.
pub(crate) fn deliveries(event: SqsEvent) -> Vec<Delivery> {
    event.records.into_iter().map(delivery).collect()
}

fn delivery(message: SqsMessage) -> Delivery {
    let body = message.body.unwrap_or_default();
    let envelope =
        serde_json::from_str::<BusEvent>(&body).map(|event| event.detail).map_err(|e| e.to_string());
    Delivery { message: message.message_id.unwrap_or_default(), envelope }
}

/// The answer that hands only the failed messages back to the queue.
pub(crate) fn failures(messages: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.set_failures(messages);
    response
}
