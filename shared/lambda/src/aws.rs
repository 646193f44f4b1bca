//! The AWS configuration that every client of a process shares.

use std::{sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use event_store::{DynamoLog, EventStore};
use kernel::ports::Ports;

/// Time-outs and retries of every call to AWS: three attempts of at most 3 s, 8 s in all, which is
/// less than any function's own time-out. DynamoDB answers within 10 ms; what takes longer is a lost
/// packet or a dead connection (a frozen environment's pool), and a fresh attempt beats waiting.
const CONNECT: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(3);
const OPERATION: Duration = Duration::from_secs(8);
const ATTEMPTS: u32 = 3;

/// Region, credentials and endpoint from the environment, one HTTP client (rustls on ring: one
/// TLS stack, no start-up entropy collection; docs/decisions/0003), bounded time.
pub async fn config() -> SdkConfig {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(ATTEMPT)
                .operation_timeout(OPERATION)
                .build(),
        )
        .load()
        .await
}

/// A setting that the template must provide.
///
/// # Errors
/// A sentence that names the variable, when it is missing.
pub fn setting(name: &str) -> Result<String, String> {
    std::env::var(name)
        .map_err(|_| format!("environment variable {name} is not set: the template must set it"))
}

/// The event store in the table that `EVENT_TABLE` names.
///
/// # Errors
/// When the setting is missing.
pub fn event_store(config: &SdkConfig, ports: &Ports) -> Result<EventStore, String> {
    let log = DynamoLog::new(aws_sdk_dynamodb::Client::new(config), setting("EVENT_TABLE")?);
    Ok(EventStore::new(Arc::new(log), ports.clone()))
}
