//! Records in DynamoDB.

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, SdkError},
    types::{AttributeValue, BillingMode, KeyType},
};

use super::{Progress, Record, SWEEPS};
use crate::{
    dynamo::{attribute, failed, key_element},
    store::{Put, ViewError},
};

const KEY: &str = "view";
const REVISION: &str = "revision";

/// Records in a DynamoDB table, one item each, of some hundred bytes.
///
/// Needs `dynamodb:GetItem` and `dynamodb:PutItem` on the table.
#[derive(Debug, Clone)]
pub struct DynamoProgress {
    client: Client,
    table: String,
}

impl DynamoProgress {
    /// The records in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }
}

#[async_trait]
impl Progress for DynamoProgress {
    async fn get(&self, key: &str) -> Result<Option<Record>, ViewError> {
        let get = self.client.get_item().table_name(&self.table);
        let get = get.key(KEY, AttributeValue::S(key.to_owned())).consistent_read(true);
        let got = get.send().await.map_err(|e| failed(SWEEPS, "GetItem", e))?;
        let read = got.item.map(serde_dynamo::aws_sdk_dynamodb_1::from_item).transpose();
        read.map_err(|e| malformed(key, &e))
    }

    async fn put(&self, key: &str, record: &Record) -> Result<Put, ViewError> {
        let next = Record { revision: record.revision + 1, body: record.body.clone() };
        let mut item: std::collections::HashMap<String, AttributeValue> =
            serde_dynamo::aws_sdk_dynamodb_1::to_item(next).map_err(|e| malformed(key, &e))?;
        item.insert(KEY.to_owned(), AttributeValue::S(key.to_owned()));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match record.revision {
            0 => {
                put.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", KEY)
            }
            revision => put
                .condition_expression("#revision = :revision")
                .expression_attribute_names("#revision", REVISION)
                .expression_attribute_values(":revision", AttributeValue::N(revision.to_string())),
        };
        match put.send().await {
            Ok(_) => Ok(Put::Written),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                Ok(Put::Conflict)
            }
            Err(error) => Err(failed(SWEEPS, "PutItem", error)),
        }
    }
}

fn malformed(key: &str, error: &serde_dynamo::Error) -> ViewError {
    ViewError::Malformed { view: SWEEPS, id: key.to_owned(), why: error.to_string() }
}

/// Creates the table, for tests and benches. In deployments the template does it.
///
/// # Errors
/// [`ViewError`].
pub async fn create_progress(client: &Client, table: &str) -> Result<(), ViewError> {
    let refused =
        |e: BuildError| ViewError::Refused { view: SWEEPS, operation: "CreateTable", why: e.to_string() };
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute(KEY).map_err(refused)?)
        .key_schema(key_element(KEY, KeyType::Hash).map_err(refused)?)
        .send()
        .await
        .map_err(|e| failed(SWEEPS, "CreateTable", e))?;
    Ok(())
}
