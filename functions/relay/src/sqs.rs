//! The parked queue: SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::{
    Client,
    config::{Config, timeout::TimeoutConfig},
    error::DisplayErrorContext,
};

use crate::parking::{Parked, Parking, ParkingError};

/// An SQS queue for parked records. Needs `sqs:SendMessage`.
#[derive(Debug, Clone)]
pub struct ParkedQueue {
    client: Client,
    url: String,
}

impl ParkedQueue {
    /// The queue of this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }
}

#[async_trait]
impl Parking for ParkedQueue {
    async fn park(&self, parked: &Parked, within: Duration) -> Result<(), ParkingError> {
        let bounded =
            Config::builder().timeout_config(TimeoutConfig::builder().operation_timeout(within).build());
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(parked.to_message())
            .customize()
            .config_override(bounded)
            .send()
            .await
            .map_err(|error| ParkingError(DisplayErrorContext(&error).to_string()))?;
        Ok(())
    }
}
