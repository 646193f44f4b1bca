//! The registry in DynamoDB.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    },
};
use event_store::Failure;

use super::{REGISTRY, Registry, ViewState};
use crate::store::{Put, ViewError};

const VIEW: &str = "view";
const REVISION: &str = "revision";

/// States in a DynamoDB table: one item per view, with the fields of [`ViewState`] as attributes.
///
/// Needs `dynamodb:GetItem` on the table to read, `dynamodb:PutItem` to change, `dynamodb:Scan` to list. An item is a few hundred
/// bytes for each segment of its job: a read unit for most.
#[derive(Debug, Clone)]
pub struct DynamoRegistry {
    client: Client,
    table: String,
}

impl DynamoRegistry {
    /// The registry in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }
}

#[async_trait]
impl Registry for DynamoRegistry {
    async fn get(&self, view: &str) -> Result<ViewState, ViewError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(VIEW, AttributeValue::S(view.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| registry_error("GetItem", e))?;
        got.item.map_or_else(|| Ok(ViewState::new(view)), read)
    }

    async fn put(&self, state: &ViewState) -> Result<Put, ViewError> {
        let next = ViewState { revision: state.revision + 1, ..state.clone() };
        let item = serde_dynamo::aws_sdk_dynamodb_1::to_item(next)
            .map_err(|e| malformed(&state.view, &e.to_string()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match state.revision {
            0 => put
                .condition_expression("attribute_not_exists(#view)")
                .expression_attribute_names("#view", VIEW),
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
            Err(error) => Err(registry_error("PutItem", error)),
        }
    }

    async fn all(&self) -> Result<Vec<ViewState>, ViewError> {
        let mut pages =
            self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().send();
        let mut states = Vec::new();
        while let Some(page) = pages.next().await {
            let items = page.map_err(|e| registry_error("Scan", e))?.items.unwrap_or_default();
            states.extend(items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?);
        }
        states.sort_by(|a: &ViewState, b| a.view.cmp(&b.view));
        Ok(states)
    }
}

fn read(item: HashMap<String, AttributeValue>) -> Result<ViewState, ViewError> {
    let view = item.get(VIEW).and_then(|view| view.as_s().ok()).cloned().unwrap_or_else(|| "?".to_owned());
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item).map_err(|e| malformed(&view, &e.to_string()))
}

fn malformed(view: &str, why: &str) -> ViewError {
    ViewError::Malformed { view: REGISTRY, id: view.to_owned(), why: why.to_owned() }
}

fn registry_error<E>(operation: &'static str, error: SdkError<E>) -> ViewError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Failure { passing, why } = error.into();
    if passing {
        ViewError::Unavailable { view: REGISTRY, operation, why }
    } else {
        ViewError::Refused { view: REGISTRY, operation, why }
    }
}

/// Creates the table of the registry, for tests and benches. In deployments the template does it.
///
/// # Errors
/// [`ViewError`].
pub async fn create_registry(client: &Client, table: &str) -> Result<(), ViewError> {
    let refused = |e: aws_sdk_dynamodb::error::BuildError| ViewError::Refused {
        view: REGISTRY,
        operation: "CreateTable",
        why: e.to_string(),
    };
    let attribute =
        AttributeDefinition::builder().attribute_name(VIEW).attribute_type(ScalarAttributeType::S).build();
    let key = KeySchemaElement::builder().attribute_name(VIEW).key_type(KeyType::Hash).build();
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute.map_err(refused)?)
        .key_schema(key.map_err(refused)?)
        .send()
        .await
        .map_err(|e| registry_error("CreateTable", e))?;
    Ok(())
}
