//! The AWS configuration that every client of a process shares.

use std::{sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::{
    rt::sleep::{SharedAsyncSleep, TokioSleep},
    time::{SharedTimeSource, SystemTimeSource},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_types::{
    origin::Origin,
    service_config::{LoadServiceConfig, ServiceConfigKey},
};
use event_store::{DynamoLog, EventStore};
use kernel::ports::Ports;
use projection::{
    DynamoProgress, DynamoViews, Limits, ProjectedView, Projection, Projector, Sweeper, Sweeping, Swept,
};

use crate::{consumer::Messages, sqs::Sqs};

/// Time-outs and retries of every call to AWS: three attempts of at most 3 s, 8 s in all, which is
/// less than any function's own time-out. DynamoDB answers within 10 ms; what takes longer is a lost
/// packet or a dead connection (a frozen environment's pool), and a fresh attempt beats waiting.
const CONNECT: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(3);
const OPERATION: Duration = Duration::from_secs(8);
const ATTEMPTS: u32 = 3;

/// Region, credentials and endpoint from the environment, one HTTP client (rustls on ring: one
/// TLS stack, no start-up entropy collection), bounded time.
///
/// A function's environment has all of them, so the SDK's usual chain of other sources (profiles, STS, instance
/// metadata) is left out: it would be a tenth of the binary (docs/decisions/0003).
pub fn config() -> SdkConfig {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let credentials = SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(std::env::var("AWS_REGION").ok().map(Region::new))
        .credentials_provider(credentials)
        .service_config(Environment)
        .http_client(http)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SharedTimeSource::new(SystemTimeSource::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(ATTEMPT)
                .operation_timeout(OPERATION)
                .build(),
        );
    config.set_endpoint_url(std::env::var("AWS_ENDPOINT_URL").ok());
    config.insert_origin("endpoint_url", Origin::shared_environment_variable());
    config.build()
}

/// Settings of single services, such as `AWS_ENDPOINT_URL_SFN`, from the environment.
#[derive(Debug)]
struct Environment;

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace([' ', '-'], "_");
        std::env::var(format!("{}_{service}", key.env())).ok()
    }
}

/// A setting that the template must provide.
///
/// # Errors
/// A sentence that names the variable, when it is missing.
pub fn setting(name: &str) -> Result<String, String> {
    std::env::var(name)
        .map_err(|_| format!("environment variable {name} is not set: the template must set it"))
}

/// The queues from which a consumer gets its messages.
pub fn messages(config: &SdkConfig, ports: &Ports) -> Messages {
    Messages::new(Arc::new(Sqs::new(config)), ports.clone())
}

/// The event store in the table that `EVENT_TABLE` names.
///
/// # Errors
/// When the setting is missing.
pub fn event_store(config: &SdkConfig, ports: &Ports) -> Result<EventStore, String> {
    let log = DynamoLog::new(aws_sdk_dynamodb::Client::new(config), setting("EVENT_TABLE")?);
    Ok(EventStore::new(Arc::new(log), ports.clone()))
}

/// Keeper and reader of the view in the table that this setting names; it heals from `store`. The setting
/// gives the view its name, too: `SHOPPING_LISTS_TABLE` is that of `shopping-lists`.
///
/// # Errors
/// When the setting is missing.
pub fn projector<P: Projection>(
    config: &SdkConfig,
    table: &str,
    store: &EventStore,
    ports: &Ports,
) -> Result<Projector<P>, String> {
    let views = Arc::new(views(config, table)?);
    Ok(Projector::new(views, store.clone(), ports.clone()).named(&view_of(table)))
}

/// Sweeper of that view.
///
/// # Errors
/// When a setting is missing.
pub fn sweeper<P: Projection>(
    config: &SdkConfig,
    table: &str,
    store: &EventStore,
    ports: &Ports,
) -> Result<Box<dyn Sweeping>, String> {
    let view = ProjectedView::<P>::new(view_of(table), views(config, table)?, store.clone(), ports.clone());
    sweeper_of(config, view, store, ports)
}

/// Sweeper of a view of any make; its progress is in the table that `SWEEPS_TABLE` names.
///
/// # Errors
/// When the setting is missing.
pub fn sweeper_of<V: Swept + 'static>(
    config: &SdkConfig,
    view: V,
    store: &EventStore,
    ports: &Ports,
) -> Result<Box<dyn Sweeping>, String> {
    let client = aws_sdk_dynamodb::Client::new(config);
    let progress = Arc::new(DynamoProgress::new(client, setting("SWEEPS_TABLE")?));
    Ok(Box::new(Sweeper::new(view, progress, store.clone(), ports.clone(), Limits::FUNCTION)))
}

fn views<P: Projection>(config: &SdkConfig, table: &str) -> Result<DynamoViews<P>, String> {
    Ok(DynamoViews::new(aws_sdk_dynamodb::Client::new(config), setting(table)?))
}

/// `SHOPPING_LISTS_TABLE` to `shopping-lists`.
fn view_of(table: &str) -> String {
    table.trim_end_matches("_TABLE").to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_called_like_its_table() {
        assert_eq!(view_of("ORDERS_TABLE"), "orders");
        assert_eq!(view_of("SHOPPING_LISTS_TABLE"), "shopping-lists");
    }
}
