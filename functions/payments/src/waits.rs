//! The port to the waits for payment: which task of the order saga waits for an order's payment now; and DynamoDB behind it.
//!
//! They are kept in a table of their own. A task's token is a capability, not a fact: whoever has it can end the task, so it
//! is in no event, on no bus and in no log. A saga waits again after every reminder, with another token each time, and only
//! the newest is of use.
//!
//! **Guaranteed**: once [`PaymentWaits::keep`] has answered, every [`PaymentWaits::newest`] finds that wait or a newer one.
//! A wait that is kept late, by a function that was slow and whose task is over, does not displace a newer one, as far as the
//! clocks of functions agree. **Not guaranteed**: that a wait is found for longer than [`KEPT`] after it ended, and that the
//! task still waits.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    },
};
use contracts::ids::OrderId;
use event_store::Failure;
use kernel::Timestamp;
use lambda::Fault;
use serde::Deserialize;

/// How long a wait is kept beyond the longest that it can take: until then somebody who looks into what went wrong finds
/// it, and a period that was shortened while the saga waited does no harm.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What ends a task of a state machine. It does not show itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TaskToken(String);

impl TaskToken {
    /// Longest token. Source: AWS Step Functions API Reference, "SendTaskSuccess".
    const MAX_BYTES: usize = 2048;

    /// The token, for Step Functions and the table; for nobody else.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TaskToken {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.len() {
            1..=Self::MAX_BYTES => Ok(Self(text)),
            length => Err(format!("a task token has 1 to {} bytes, not {length}", Self::MAX_BYTES)),
        }
    }
}

impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskToken(..)")
    }
}

/// A task that waits for an order's payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What ends it.
    pub token: TaskToken,
    /// When it began, to the millisecond.
    pub since: Timestamp,
    /// When nobody can need it any more.
    pub until: Timestamp,
}

/// Whether a wait is now the one that is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    Now,
    /// A newer one was kept before, and stays.
    Newer,
}

/// Where the waits are.
#[async_trait]
pub trait PaymentWaits: Send + Sync {
    /// Keeps the wait of an order in place of an older one.
    ///
    /// # Errors
    /// When it may not be kept.
    async fn keep(&self, order: OrderId, wait: &Wait) -> Result<Kept, Fault>;

    /// The newest wait of an order, as it is now.
    ///
    /// # Errors
    /// When the table fails.
    async fn newest(&self, order: OrderId) -> Result<Option<Wait>, Fault>;
}

/// Waits in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryWaits(Mutex<HashMap<OrderId, Wait>>);

impl MemoryWaits {
    fn waits(&self) -> MutexGuard<'_, HashMap<OrderId, Wait>> {
        // Poisoned means that another test thread failed; the map itself is whole.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl PaymentWaits for MemoryWaits {
    async fn keep(&self, order: OrderId, wait: &Wait) -> Result<Kept, Fault> {
        let mut waits = self.waits();
        if waits.get(&order).is_some_and(|kept| kept.since > wait.since) {
            return Ok(Kept::Newer);
        }
        waits.insert(order, wait.clone());
        Ok(Kept::Now)
    }

    async fn newest(&self, order: OrderId) -> Result<Option<Wait>, Fault> {
        Ok(self.waits().get(&order).cloned())
    }
}

const ID: &str = "id";
const TOKEN: &str = "token";
const SINCE: &str = "since";
/// The attribute by which DynamoDB forgets: seconds since 1970.
const UNTIL: &str = "until";

/// Waits in a DynamoDB table: one item for an order. Needs `dynamodb:PutItem` and `dynamodb:GetItem`.
pub struct DynamoWaits {
    client: Client,
    table: String,
}

impl DynamoWaits {
    /// The waits in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }
}

#[async_trait]
impl PaymentWaits for DynamoWaits {
    async fn keep(&self, order: OrderId, wait: &Wait) -> Result<Kept, Fault> {
        let since = AttributeValue::N(wait.since.as_millisecond().to_string());
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item(ID, AttributeValue::S(order.to_string()))
            .item(TOKEN, AttributeValue::S(wait.token.secret().to_owned()))
            .item(SINCE, since.clone())
            .item(UNTIL, AttributeValue::N(wait.until.as_second().to_string()))
            .condition_expression("attribute_not_exists(#id) OR #since <= :since")
            .expression_attribute_names("#id", ID)
            .expression_attribute_names("#since", SINCE)
            .expression_attribute_values(":since", since);
        match put.send().await {
            Ok(_) => Ok(Kept::Now),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                Ok(Kept::Newer)
            }
            Err(error) => Err(fault(error)),
        }
    }

    async fn newest(&self, order: OrderId) -> Result<Option<Wait>, Fault> {
        let got = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(ID, AttributeValue::S(order.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(fault)?;
        got.item.map(|item| decode(order, &item)).transpose()
    }
}

fn decode(order: OrderId, item: &HashMap<String, AttributeValue>) -> Result<Wait, Fault> {
    let malformed = |name: &str| Fault::internal(format!("the wait of order {order} has no proper {name}"));
    let number = |name: &str| -> Option<i64> { item.get(name)?.as_n().ok()?.parse().ok() };
    let token = item.get(TOKEN).and_then(|token| token.as_s().ok()?.clone().try_into().ok());
    let since = number(SINCE).and_then(|since| Timestamp::from_millisecond(since).ok());
    let until = number(UNTIL).and_then(|until| Timestamp::from_second(until).ok());
    Ok(Wait {
        token: token.ok_or_else(|| malformed(TOKEN))?,
        since: since.ok_or_else(|| malformed(SINCE))?,
        until: until.ok_or_else(|| malformed(UNTIL))?,
    })
}

fn fault<E>(error: SdkError<E>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Failure { passing, why } = error.into();
    if passing { Fault::unavailable(why) } else { Fault::internal(why) }
}

/// Creates the table, for tests. In deployments the template does it.
///
/// # Errors
/// [`Fault`].
pub async fn create_table(client: &Client, table: &str) -> Result<(), Fault> {
    let attribute = AttributeDefinition::builder().attribute_name(ID).attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name(ID).key_type(KeyType::Hash);
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute.build().map_err(Fault::internal)?)
        .key_schema(key.build().map_err(Fault::internal)?)
        .send()
        .await
        .map_err(fault)?;
    Ok(())
}
