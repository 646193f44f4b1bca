//! DynamoDB inside the test's process, on SQLite in memory, reached through the real AWS SDK over a
//! loopback port that the operating system chooses.
//!
//! **Same as AWS**: requests, answers, errors and consumed capacity. **Not the same**: eventually
//! consistent reads are consistent here, a stream has one shard, and nothing is ever throttled; tests that need such
//! trouble bring it themselves ([`crate::faulty`], [`crate::delivery`]).

use std::{net::SocketAddr, thread, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
};
use event_store::DynamoLog;
use tokio::sync::oneshot;

/// A running endpoint with tables of its own. It stops when it is dropped.
///
/// The endpoint has its own thread and runtime, so it answers whatever the test's runtime does. The
/// client's connections belong to the runtime that first used them: start one for each test.
#[derive(Debug)]
pub struct EmbeddedDynamo {
    client: Client,
    address: SocketAddr,
    // Dropping the sender resolves the receiver, which is what stops the server.
    _stop: oneshot::Sender<()>,
}

impl EmbeddedDynamo {
    /// Starts an endpoint without tables, in a few milliseconds.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = oneshot::channel();
        thread::Builder::new()
            .name("embedded-dynamodb".into())
            .spawn(move || serve(ready, stopped))
            .expect("a thread for the embedded DynamoDB");
        let address = started.await.expect("the embedded DynamoDB starts");
        Self { client: client_of(&format!("http://{address}"), ATTEMPT), address, _stop: stop }
    }

    /// The SDK's client: real requests, test credentials, one connection pool, time-outs, and no
    /// retries, so that a test sees each failure.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where it listens, for example `http://127.0.0.1:40123`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates an event table and opens the log in it.
    ///
    /// # Panics
    /// When the table exists or its name is no name for a table.
    pub async fn event_log(&self, table: &str) -> DynamoLog {
        event_store::create_table(&self.client, table).await.expect("the event table is created");
        DynamoLog::new(self.client(), table)
    }
}

/// A loopback port whose connections send at once. Accepted sockets take the option over from the listening one
/// (on Linux); without it, every answer that needs two packets waits 40 ms for the client's delayed acknowledgement.
fn listener() -> std::io::Result<tokio::net::TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(1024)
}

fn serve(ready: oneshot::Sender<SocketAddr>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the embedded DynamoDB");
    runtime.block_on(async {
        let database = dynoxide::Database::memory().expect("a database in memory");
        let listener = listener().expect("a loopback port");
        let address = listener.local_addr().expect("a bound port has an address");
        if ready.send(address).is_err() {
            return; // The test went away while it waited.
        }
        let server = dynoxide::server::serve_with_shutdown(listener, database, async {
            let _ = stopped.await;
        });
        server.await.expect("the embedded DynamoDB serves until it is stopped");
    });
}

/// How long one request may take, unless a test says otherwise: far more than any takes.
const ATTEMPT: Duration = Duration::from_secs(30);

/// The SDK's client of a local endpoint, without retries. One connection pool and no TLS: reading the system's
/// certificates would take longer than most tests.
pub fn client_of(endpoint: &str, attempt_time_out: Duration) -> Client {
    let time_outs = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(attempt_time_out)
        .build();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "embedded DynamoDB"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .timeout_config(time_outs)
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_endpoints_know_nothing_of_each_other() {
        let (one, other) = (EmbeddedDynamo::start().await, EmbeddedDynamo::start().await);
        one.event_log("events").await;
        let tables = one.client().list_tables().send().await.unwrap();
        assert_eq!(tables.table_names(), ["events"]);
        assert!(other.client().list_tables().send().await.unwrap().table_names().is_empty());
    }

    #[tokio::test]
    async fn a_dropped_endpoint_stops_listening() {
        let dynamo = EmbeddedDynamo::start().await;
        let address = dynamo.address;
        dynamo.client().list_tables().send().await.unwrap();
        drop(dynamo);
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(address).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still listening on {address}");
    }
}
