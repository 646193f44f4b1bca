//! JSON logs on standard output, which Lambda ships to CloudWatch.

use std::str::FromStr;

use tracing_subscriber::filter::LevelFilter;

/// Starts logging. `LOG_LEVEL` is `error`, `warn`, `info` (default), `debug` or `trace`.
pub(crate) fn init() {
    let level = std::env::var("LOG_LEVEL").ok().and_then(|l| LevelFilter::from_str(&l).ok());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .finish();
    // Fails only when a subscriber is there already (a test's): then that one serves.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
