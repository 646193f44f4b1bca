//! The log in DynamoDB.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_item::PutItemError,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, KeySchemaElement, KeyType,
        ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
    },
};
use kernel::{StreamId, Version};

use crate::{
    codec::{self, Item},
    commit::{Commit, NewCommit},
    failure::Failure,
    log::{AppendError, CommitLog, Page, ScanPage, Segment, StoreError, Unreadable},
    meter::Meter,
};

/// Commits in a DynamoDB table.
///
/// Needs `dynamodb:PutItem` and `dynamodb:Query`; `dynamodb:Scan` for replay only. Time-outs and the
/// SDK's own retries are those of the client that is passed in.
#[derive(Debug, Clone)]
pub struct DynamoLog {
    client: Client,
    table: String,
    meter: Option<Arc<Meter>>,
}

impl DynamoLog {
    /// The log in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), meter: None }
    }

    /// Has DynamoDB report consumed capacity to `meter`.
    #[must_use]
    pub fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    fn report(&self) -> Option<ReturnConsumedCapacity> {
        self.meter.as_ref().map(|_| ReturnConsumedCapacity::Total)
    }

    fn wrote(&self, capacity: Option<&ConsumedCapacity>) {
        if let Some(meter) = &self.meter {
            meter.add(capacity.and_then(|c| c.capacity_units).unwrap_or_default(), 0.0);
        }
    }

    fn read(&self, capacity: Option<&ConsumedCapacity>) {
        if let Some(meter) = &self.meter {
            meter.add(0.0, capacity.and_then(|c| c.capacity_units).unwrap_or_default());
        }
    }
}

#[async_trait]
impl CommitLog for DynamoLog {
    async fn append(&self, commit: &NewCommit) -> Result<(), AppendError> {
        let item = codec::checked(commit.as_commit())?;
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#stream)")
            // `stream` is a reserved word in DynamoDB's expressions.
            .expression_attribute_names("#stream", "stream")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.report())
            .send()
            .await;
        match sent {
            Ok(done) => {
                self.wrote(done.consumed_capacity());
                Ok(())
            }
            Err(error) => {
                self.wrote(None);
                Err(append_error(error, commit.as_commit()))
            }
        }
    }

    async fn newest(&self, stream: &StreamId, upto: Version, limit: Option<u32>) -> Result<Page, StoreError> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#stream = :stream AND #version <= :upto")
            .expression_attribute_names("#stream", "stream")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":stream", AttributeValue::S(stream.as_str().to_owned()))
            .expression_attribute_values(":upto", number(upto))
            .scan_index_forward(false)
            .consistent_read(true)
            .set_limit(limit.map(|l| i32::try_from(l).unwrap_or(i32::MAX)))
            .set_return_consumed_capacity(self.report())
            .send()
            .await
            .map_err(|e| store_error("Query", e))?;
        self.read(page.consumed_capacity());
        Ok(Page {
            more: page.last_evaluated_key.is_some_and(|key| !key.is_empty()),
            commits: decode_all(page.items.unwrap_or_default())?,
        })
    }

    async fn scan(
        &self,
        segment: Segment,
        after: Option<&(StreamId, Version)>,
        limit: Option<u32>,
    ) -> Result<ScanPage, StoreError> {
        let start = after.map(|(stream, version)| {
            Item::from([
                ("stream".to_owned(), AttributeValue::S(stream.as_str().to_owned())),
                ("version".to_owned(), number(*version)),
            ])
        });
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(i32::try_from(segment.index).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(segment.total).unwrap_or(i32::MAX))
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .set_limit(limit.map(|l| i32::try_from(l).unwrap_or(i32::MAX)))
            .set_return_consumed_capacity(self.report())
            .send()
            .await
            .map_err(|e| store_error("Scan", e))?;
        self.read(page.consumed_capacity());
        let after = match page.last_evaluated_key {
            Some(key) if !key.is_empty() => Some(scan_key(&key)?),
            _ => None,
        };
        let (mut commits, mut unreadable) = (Vec::new(), Vec::new());
        for item in page.items.unwrap_or_default() {
            let (stream, version) = key_of(&item);
            match decode_named(item) {
                Ok(commit) => commits.push(commit),
                Err(error) => unreadable.push(Unreadable { stream, version, why: error.to_string() }),
            }
        }
        Ok(ScanPage { commits, unreadable, after })
    }
}

fn number(version: Version) -> AttributeValue {
    AttributeValue::N(version.get().to_string())
}

/// Stream and version of an item, as far as they can be read.
fn key_of(item: &Item) -> (Option<StreamId>, Option<Version>) {
    let stream = item.get("stream").and_then(|v| v.as_s().ok()).and_then(|s| s.parse().ok());
    let version = item.get("version").and_then(|v| v.as_n().ok()).and_then(|n| n.parse().ok());
    (stream, version.map(Version::new))
}

fn scan_key(key: &Item) -> Result<(StreamId, Version), StoreError> {
    match key_of(key) {
        (Some(stream), Some(version)) => Ok((stream, version)),
        _ => Err(StoreError::corrupt("(scan)", Version::NONE, format!("unexpected page key {key:?}"))),
    }
}

fn decode_all(items: Vec<Item>) -> Result<Vec<Commit>, StoreError> {
    items.into_iter().map(decode_named).collect()
}

/// Decodes, and names the item by its key when that fails.
fn decode_named(item: Item) -> Result<Commit, StoreError> {
    let text = |name: &str| match item.get(name) {
        Some(AttributeValue::S(s)) => s.clone(),
        Some(AttributeValue::N(n)) => n.clone(),
        _ => "?".to_owned(),
    };
    let (stream, version) = (text("stream"), text("version"));
    codec::decode(item)
        .map_err(|e| StoreError::corrupt(stream, Version::new(version.parse().unwrap_or_default()), e))
}

fn append_error(error: SdkError<PutItemError>, ours: &Commit) -> AppendError {
    if let SdkError::ServiceError(service) = &error {
        match service.err() {
            PutItemError::ConditionalCheckFailedException(failed) => {
                return match failed.item().cloned() {
                    Some(item) => match decode_named(item) {
                        Ok(winner) => AppendError::Taken(Box::new(winner)),
                        Err(e) => AppendError::Store(e),
                    },
                    // Some emulators leave the item out: then only a read can tell who won.
                    None => AppendError::Unknown(StoreError::Unavailable {
                        operation: "PutItem",
                        why: format!("version {} is taken, by whom was not said", ours.version),
                    }),
                };
            }
            // "The outcome is unknown" is what an internal error means for a write, whoever answers so.
            _ if service.raw().status().as_u16() >= 500 => {
                return AppendError::Unknown(store_error("PutItem", error));
            }
            _ => {}
        }
    }
    match &error {
        // No answer, or one that could not be read: the write may have happened.
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            AppendError::Unknown(store_error("PutItem", error))
        }
        _ => AppendError::Store(store_error("PutItem", error)),
    }
}

fn store_error<E>(operation: &'static str, error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Failure { passing, why } = error.into();
    if passing { StoreError::Unavailable { operation, why } } else { StoreError::Refused { operation, why } }
}

/// Creates the event table, for tests and benches. In deployments the template does it.
///
/// # Errors
/// [`StoreError`].
pub async fn create_table(client: &Client, table: &str) -> Result<(), StoreError> {
    let key = |name: &str, key_type: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(key_type).build()
    };
    let attribute = |name: &str, kind: ScalarAttributeType| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
    };
    let built = (|| {
        Ok::<_, aws_sdk_dynamodb::error::BuildError>((
            [key("stream", KeyType::Hash)?, key("version", KeyType::Range)?],
            [attribute("stream", ScalarAttributeType::S)?, attribute("version", ScalarAttributeType::N)?],
        ))
    })();
    let (keys, attributes) =
        built.map_err(|e| StoreError::Refused { operation: "CreateTable", why: e.to_string() })?;
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(keys.into()))
        .set_attribute_definitions(Some(attributes.into()))
        .send()
        .await
        .map_err(|e| store_error("CreateTable", e))?;
    Ok(())
}
