//! A view in DynamoDB.

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, GlobalSecondaryIndex,
        KeySchemaElement, KeyType, KeysAndAttributes, Projection as IndexProjection, ProjectionType,
        ReturnConsumedCapacity, ScalarAttributeType,
    },
};
use event_store::{Failure, Meter, Segment};
use kernel::Version;

use crate::{
    page::{Index, Position},
    projection::Projection,
    store::{
        APPLIED, Batch, Consistency, EMPTY, Entry, ID, KeyPage, List, Listed, Put, RowKey, SCHEMA, Stamp,
        Stored, ViewError, ViewStore, ViewTable, check_fields, content, malformed,
    },
};

type Item = HashMap<String, AttributeValue>;

/// Rows in a DynamoDB table: one table for each view.
///
/// Needs `dynamodb:GetItem` and `dynamodb:PutItem` on the table, and `dynamodb:Query` on an index that is
/// listed, with `dynamodb:BatchGetItem` on the table if the index holds keys only; for a sweep also
/// `dynamodb:BatchGetItem`, `dynamodb:Scan` and `dynamodb:DeleteItem`. Time-outs and the SDK's own retries
/// are those of the client that is passed in.
#[derive(Debug)]
pub struct DynamoViews<P> {
    client: Client,
    table: String,
    meter: Option<Arc<Meter>>,
    projection: PhantomData<fn() -> P>,
}

impl<P> Clone for DynamoViews<P> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            table: self.table.clone(),
            meter: self.meter.clone(),
            projection: PhantomData,
        }
    }
}

impl<P: Projection> DynamoViews<P> {
    /// The rows in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), meter: None, projection: PhantomData }
    }

    /// Has DynamoDB report the capacity that reading and writing rows consumes to `meter`.
    #[must_use]
    pub fn metered(self, meter: Arc<Meter>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    fn report(&self) -> Option<ReturnConsumedCapacity> {
        self.meter.as_ref().map(|_| ReturnConsumedCapacity::Total)
    }
}

#[async_trait]
impl<P: Projection> ViewStore<P> for DynamoViews<P> {
    async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<P::Row>>, ViewError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(ID, text(id))
            .consistent_read(consistency == Consistency::Strong)
            .set_return_consumed_capacity(self.report())
            .send()
            .await
            .map_err(|e| failed(P::NAME, "GetItem", e))?;
        if let Some(meter) = &self.meter {
            meter.read(units(got.consumed_capacity()));
        }
        got.item.map(|item| decode::<P>(item).map(|(_, stored)| stored)).transpose()
    }

    async fn put(
        &self,
        id: &str,
        row: Option<&P::Row>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        let item = encode::<P>(id, row, applied)?;
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_return_consumed_capacity(self.report());
        let put = match before {
            None => {
                put.condition_expression("attribute_not_exists(#id)").expression_attribute_names("#id", ID)
            }
            Some(stamp) => put
                .condition_expression("#applied = :applied AND #schema = :schema")
                .expression_attribute_names("#applied", APPLIED)
                .expression_attribute_names("#schema", SCHEMA)
                .expression_attribute_values(":applied", number(stamp.applied.get()))
                .expression_attribute_values(":schema", number(u64::from(stamp.schema))),
        };
        match put.send().await {
            Ok(written) => {
                if let Some(meter) = &self.meter {
                    meter.wrote(units(written.consumed_capacity()));
                }
                Ok(Put::Written)
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                Ok(Put::Conflict)
            }
            Err(error) => Err(failed(P::NAME, "PutItem", error)),
        }
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<P::Row>, ViewError> {
        if list.range.is_empty() {
            // DynamoDB turns such a condition away.
            return Ok(Listed { rows: Vec::new(), next: None });
        }
        let mut names = HashMap::from([("#partition".to_owned(), list.index.partition.to_owned())]);
        let mut values = Item::from([(":partition".to_owned(), text(&list.key()))]);
        let condition = match (&list.range.from, &list.range.to) {
            (None, None) => "#partition = :partition",
            (Some(_), None) => "#partition = :partition AND #sort >= :from",
            (None, Some(_)) => "#partition = :partition AND #sort <= :to",
            (Some(_), Some(_)) => "#partition = :partition AND #sort BETWEEN :from AND :to",
        };
        for (name, bound) in [(":from", &list.range.from), (":to", &list.range.to)] {
            if let Some(bound) = bound {
                names.insert("#sort".to_owned(), list.index.sort.to_owned());
                values.insert(name.to_owned(), text(bound));
            }
        }
        let mut start = list.after.as_ref().map(|position| key(list, position));
        let mut found: Vec<Entry<P::Row>> = Vec::new();
        loop {
            // One row more than asked for tells whether there is a next page.
            let wanted = list.limit + 1 - found.len();
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(list.index.name)
                .key_condition_expression(condition)
                .set_expression_attribute_values(Some(values.clone()))
                .set_expression_attribute_names(Some(names.clone()))
                .scan_index_forward(!list.descending)
                .set_exclusive_start_key(start)
                .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
                .set_return_consumed_capacity(self.report())
                .send()
                .await
                .map_err(|e| failed(P::NAME, "Query", e))?;
            if let Some(meter) = &self.meter {
                meter.read(units(page.consumed_capacity()));
            }
            for item in page.items.unwrap_or_default() {
                let (id, sort) = (string::<P>(&item, ID)?, string::<P>(&item, list.index.sort)?);
                let stored = if list.index.keys_only { None } else { Some(decode::<P>(item)?.1) };
                found.push(Entry { at: Position { id, sort }, stored });
            }
            // DynamoDB also ends a page at 1 MB.
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if found.len() > list.limit || start.is_none() {
                break;
            }
        }
        let more = found.len() > list.limit;
        found.truncate(list.limit);
        let next = found.last().filter(|_| more).map(|entry| entry.at.clone());
        Ok(Listed { rows: found, next })
    }

    async fn rows(&self, ids: Vec<String>, consistency: Consistency) -> Result<Batch<P::Row>, ViewError> {
        let keys = ids.iter().map(|id| Item::from([(ID.to_owned(), text(id))])).collect();
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys));
        let wanted = wanted.consistent_read(consistency == Consistency::Strong).build();
        let refused = |e: BuildError| ViewError::Refused {
            view: P::NAME,
            operation: "BatchGetItem",
            why: e.to_string(),
        };
        let read = self
            .client
            .batch_get_item()
            .request_items(&self.table, wanted.map_err(refused)?)
            .set_return_consumed_capacity(self.report())
            .send()
            .await
            .map_err(|e| failed(P::NAME, "BatchGetItem", e))?;
        if let Some(meter) = &self.meter {
            read.consumed_capacity().iter().for_each(|capacity| meter.read(units(Some(capacity))));
        }
        let items = read.responses.unwrap_or_default().into_values().flatten();
        let left = read.unprocessed_keys.unwrap_or_default();
        let left = left.values().flat_map(KeysAndAttributes::keys);
        Ok(Batch {
            rows: items.filter_map(readable::<P>).collect(),
            unread: left.map(|key| string::<P>(key, ID)).collect::<Result<_, _>>()?,
        })
    }
}

#[async_trait]
impl<P: Projection> ViewTable for DynamoViews<P> {
    async fn keys(
        &self,
        segment: Segment,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<KeyPage, ViewError> {
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(i32::try_from(segment.index).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(segment.total).unwrap_or(i32::MAX))
            .consistent_read(true)
            .projection_expression("#id, #applied, #schema")
            .expression_attribute_names("#id", ID)
            .expression_attribute_names("#applied", APPLIED)
            .expression_attribute_names("#schema", SCHEMA)
            .set_exclusive_start_key(after.map(|id| Item::from([(ID.to_owned(), text(id))])))
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .send()
            .await
            .map_err(|e| failed(P::NAME, "Scan", e))?;
        let after = match page.last_evaluated_key {
            Some(key) if !key.is_empty() => Some(string::<P>(&key, ID)?),
            _ => None,
        };
        let keys = page.items.unwrap_or_default().into_iter().map(|mut item| {
            let id = string::<P>(&item, ID)?;
            // A row without one is no projector's: it is named when it is read, and never removed, because no
            // row is of this stamp.
            let none = Stamp { schema: 0, applied: Version::NONE };
            let stamp = stamp::<P>(&id, &mut item).unwrap_or(none);
            Ok(RowKey { id, stamp })
        });
        Ok(KeyPage { keys: keys.collect::<Result<_, ViewError>>()?, after })
    }

    async fn remove(&self, key: &RowKey) -> Result<Put, ViewError> {
        let removed = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(ID, text(&key.id))
            .condition_expression("#applied = :applied AND #schema = :schema")
            .expression_attribute_names("#applied", APPLIED)
            .expression_attribute_names("#schema", SCHEMA)
            .expression_attribute_values(":applied", number(key.stamp.applied.get()))
            .expression_attribute_values(":schema", number(u64::from(key.stamp.schema)))
            .send()
            .await;
        match removed {
            Ok(_) => Ok(Put::Written),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                Ok(Put::Conflict)
            }
            Err(error) => Err(failed(P::NAME, "DeleteItem", error)),
        }
    }
}

fn units(capacity: Option<&ConsumedCapacity>) -> f64 {
    capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or_default()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Where a page of an index begins: the index's key and the table's.
fn key(list: &List<'_>, position: &Position) -> Item {
    Item::from([
        (ID.to_owned(), text(&position.id)),
        (list.index.partition.to_owned(), text(&list.key())),
        (list.index.sort.to_owned(), text(&position.sort)),
    ])
}

/// The item that a row is written as.
///
/// # Errors
/// [`ViewError::Malformed`] when its fields are none that a row may have.
pub fn encode<P: Projection>(id: &str, row: Option<&P::Row>, applied: Version) -> Result<Item, ViewError> {
    let mut item = match row {
        None => Item::from([(EMPTY.to_owned(), AttributeValue::Bool(true))]),
        Some(row) => {
            let item: Item =
                serde_dynamo::aws_sdk_dynamodb_1::to_item(row).map_err(|e| malformed::<P>(id, e))?;
            let own_id = item.get(ID).and_then(|own| own.as_s().ok());
            check_fields::<P>(id, item.keys(), own_id.map(String::as_str))?;
            item
        }
    };
    item.insert(ID.to_owned(), text(id));
    item.insert(APPLIED.to_owned(), number(applied.get()));
    item.insert(SCHEMA.to_owned(), number(u64::from(P::SCHEMA)));
    Ok(item)
}

/// A row of a batch. One that makes no sense is left out, so that it does not keep the others from being
/// read.
fn readable<P: Projection>(item: Item) -> Option<(String, Stored<P::Row>)> {
    decode::<P>(item)
        .inspect_err(|error| tracing::error!(view = P::NAME, %error, "row left out of a batch"))
        .ok()
}

fn decode<P: Projection>(mut item: Item) -> Result<(String, Stored<P::Row>), ViewError> {
    // `id` stays in the item: the row may want it, too.
    let id = string::<P>(&item, ID)?;
    let stamp = stamp::<P>(&id, &mut item)?;
    let empty = item.remove(EMPTY).is_some();
    let row = |item| serde_dynamo::aws_sdk_dynamodb_1::from_item(item).map_err(|e| e.to_string());
    let value = |item| serde_dynamo::aws_sdk_dynamodb_1::from_item(item).map_err(|e| e.to_string());
    let stored = content::<P, Item>(&id, stamp, empty, item, row, value);
    Ok((id, stored))
}

/// Takes the stamp out of an item.
fn stamp<P: Projection>(id: &str, item: &mut Item) -> Result<Stamp, ViewError> {
    let mut take = |name| match item.remove(name) {
        Some(AttributeValue::N(n)) => {
            n.parse::<u64>().map_err(|e| malformed::<P>(id, format!("{name}: {e}")))
        }
        _ => Err(malformed::<P>(id, format!("{name} is not a number"))),
    };
    let (applied, schema) = (take(APPLIED)?, take(SCHEMA)?);
    let schema = u16::try_from(schema).map_err(|e| malformed::<P>(id, format!("schema: {e}")))?;
    Ok(Stamp { schema, applied: Version::new(applied) })
}

fn string<P: Projection>(item: &Item, name: &str) -> Result<String, ViewError> {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .cloned()
        .ok_or_else(|| malformed::<P>("?", format!("{name} is not a string")))
}

/// The error of a request about the view or store of this name.
pub(crate) fn failed<E>(view: &'static str, operation: &'static str, error: SdkError<E>) -> ViewError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Failure { passing, why } = error.into();
    if passing {
        ViewError::Unavailable { view, operation, why }
    } else {
        ViewError::Refused { view, operation, why }
    }
}

/// Creates the table of a view, for tests and benches. In deployments the template does it.
///
/// # Errors
/// [`ViewError`].
pub async fn create_table<P: Projection>(
    client: &Client,
    table: &str,
    indexes: &[Index],
) -> Result<(), ViewError> {
    let refused = |why: String| ViewError::Refused { view: P::NAME, operation: "CreateTable", why };
    let mut names = vec![ID];
    let mut built = Vec::new();
    for index in indexes {
        names.extend([index.partition, index.sort]);
        built.push(global_index(index).map_err(|e| refused(e.to_string()))?);
    }
    names.sort_unstable();
    names.dedup();
    let attributes = names.into_iter().map(attribute).collect::<Result<Vec<_>, _>>();
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key_element(ID, KeyType::Hash).map_err(|e| refused(e.to_string()))?)
        .set_attribute_definitions(Some(attributes.map_err(|e| refused(e.to_string()))?))
        .set_global_secondary_indexes(Some(built).filter(|built| !built.is_empty()))
        .send()
        .await
        .map_err(|e| failed(P::NAME, "CreateTable", e))?;
    Ok(())
}

pub(crate) fn attribute(name: &str) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
}

pub(crate) fn key_element(name: &str, key_type: KeyType) -> Result<KeySchemaElement, BuildError> {
    KeySchemaElement::builder().attribute_name(name).key_type(key_type).build()
}

fn global_index(index: &Index) -> Result<GlobalSecondaryIndex, BuildError> {
    let copied = if index.keys_only { ProjectionType::KeysOnly } else { ProjectionType::All };
    GlobalSecondaryIndex::builder()
        .index_name(index.name)
        .key_schema(key_element(index.partition, KeyType::Hash)?)
        .key_schema(key_element(index.sort, KeyType::Range)?)
        .projection(IndexProjection::builder().projection_type(copied).build())
        .build()
}
