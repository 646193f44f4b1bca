//! The rows of order sagas in DynamoDB.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        KeysAndAttributes, Projection, ProjectionType, ReturnValuesOnConditionCheckFailure,
        ScalarAttributeType,
    },
};
use contracts::ids::OrderId;
use event_store::{EventStore, Failure as Failed, Segment};
use kernel::ports::Ports;
use lambda::aws::setting;
use projection::{Consistency, Generations, Limits, Put, Rebuilder, Registry, ViewError};

use crate::{
    saga_generations::SagaGenerations,
    saga_rebuild::SagasRebuild,
    saga_rows::{
        AllSagaRows, Fact, Heard, Ids, Parts, Place, Plan, Premise, SagaRow, SagaRows, Status, VIEW, Written,
    },
    sagas::Failure,
};

/// The index by status and time.
pub const INDEX: &str = "by-status";

const ID: &str = "id";
const STATUS: &str = "status";
const STARTED_AT: &str = "startedAt";
const SAGA: &str = "saga";
const UNDO: &str = "undo";
/// Batches of a read of rows: what the table did not get to is asked for again.
const MAX_BATCHES: u32 = 5;

type Item = HashMap<String, AttributeValue>;

/// Rows in a table with the index [`INDEX`], of which the keys are enough.
///
/// Needs `dynamodb:UpdateItem` to write, and `dynamodb:BatchGetItem` on the table and `dynamodb:Query` on the index to read; as
/// [`AllSagaRows`] also `dynamodb:Scan` and `dynamodb:DeleteItem`.
#[derive(Debug, Clone)]
pub struct SagaTable {
    client: Client,
    table: String,
}

impl SagaTable {
    /// The rows in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }
}

/// The rows of all generations: odd ones in the table that `SAGAS_TABLE` names, even ones in that of `SAGAS_TABLE_EVEN`.
///
/// # Errors
/// When a setting is missing.
pub fn generations(
    client: &Client,
    registry: Arc<dyn Registry>,
    ports: &Ports,
) -> Result<SagaGenerations, String> {
    let (odd, even) = tables(client)?;
    let generations = Generations::new(VIEW, registry, ports.clock.clone());
    Ok(SagaGenerations::new(generations, odd, even))
}

/// What builds them anew.
///
/// # Errors
/// When a setting is missing.
pub fn rebuilder(
    client: &Client,
    registry: Arc<dyn Registry>,
    store: &EventStore,
    ports: &Ports,
) -> Result<Rebuilder, String> {
    let (odd, even) = tables(client)?;
    let view = Arc::new(SagasRebuild::new(odd, even, store.clone(), ports.clone()));
    Ok(Rebuilder::new(view, registry, store.clone(), ports.clone(), Limits::FUNCTION))
}

fn tables(client: &Client) -> Result<(Arc<SagaTable>, Arc<SagaTable>), String> {
    let table = |name| Ok::<_, String>(Arc::new(SagaTable::new(client.clone(), setting(name)?)));
    Ok((table("SAGAS_TABLE")?, table("SAGAS_TABLE_EVEN")?))
}

/// An update in the making: names and values are numbered, so that every name is allowed.
#[derive(Default)]
struct Update {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    sets: Vec<String>,
    removals: Vec<String>,
    conditions: Vec<String>,
}

impl Update {
    fn name(&mut self, attribute: &str) -> String {
        let alias = format!("#{attribute}");
        self.names.insert(alias.clone(), attribute.to_owned());
        alias
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let alias = format!(":v{}", self.values.len());
        self.values.insert(alias.clone(), value);
        alias
    }

    fn done(&mut self, fact: Fact, done: &str) {
        let (name, value) = (self.name(fact.event()), self.value(text(done)));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} < {value})"));
        self.sets.push(format!("{name} = {value}"));
    }

    fn heard(&mut self, attribute: &str, heard: &Heard) {
        let (name, rank) = (self.name(attribute), self.name(RANK));
        let (value, ranked) = (self.value(of_heard(heard)), self.value(text(&heard.rank())));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name}.{rank} < {ranked})"));
        self.sets.push(format!("{name} = {value}"));
    }

    fn premise(&mut self, premise: &Premise) {
        let condition = match premise {
            Premise::NotDone(fact) => format!("attribute_not_exists({})", self.name(fact.event())),
            Premise::Done(fact, done) => {
                let (name, value) = (self.name(fact.event()), self.value(text(&done.to_string())));
                format!("{name} = {value}")
            }
            Premise::Saga(rank) => self.ranked(SAGA, rank.as_deref()),
            Premise::Undo(rank) => self.ranked(UNDO, rank.as_deref()),
            Premise::Listed(listed) => {
                let name = self.name(STATUS);
                let values: Vec<String> =
                    listed.iter().map(|status| self.value(text(status.word()))).collect();
                format!("(attribute_not_exists({name}) OR {name} IN ({}))", values.join(", "))
            }
        };
        self.conditions.push(condition);
    }

    fn ranked(&mut self, attribute: &str, rank: Option<&str>) -> String {
        let name = self.name(attribute);
        match rank {
            None => format!("attribute_not_exists({name})"),
            Some(rank) => {
                let (field, value) = (self.name(RANK), self.value(text(rank)));
                format!("{name}.{field} = {value}")
            }
        }
    }

    fn set(&mut self, attribute: &str, value: AttributeValue) {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
    }

    /// Supposes that a row is exactly as it was seen.
    fn seen(row: &SagaRow) -> Self {
        let mut update = Self::default();
        for (attribute, value) in [(STATUS, row.listed.word()), (STARTED_AT, &row.started_at)] {
            let (name, value) = (update.name(attribute), update.value(text(value)));
            update.conditions.push(format!("{name} = {value}"));
        }
        for fact in Fact::ALL {
            update.premise(&match row.parts.done.get(&fact) {
                Some(done) => Premise::Done(fact, done.clone()),
                None => Premise::NotDone(fact),
            });
        }
        update.premise(&Premise::Saga(row.parts.saga.as_ref().map(Heard::rank)));
        update.premise(&Premise::Undo(row.parts.undo.as_ref().map(Heard::rank)));
        update
    }

    /// Makes the row this one, whatever it was.
    fn make(&mut self, row: &SagaRow) {
        self.set(STATUS, text(row.listed.word()));
        self.set(STARTED_AT, text(&row.started_at));
        let done =
            Fact::ALL.map(|fact| (fact.event(), row.parts.done.get(&fact).map(|d| text(&d.to_string()))));
        let told = [(SAGA, &row.parts.saga), (UNDO, &row.parts.undo)];
        let told = told.map(|(attribute, heard)| (attribute, heard.as_ref().map(of_heard)));
        for (attribute, value) in done.into_iter().chain(told) {
            match value {
                Some(value) => self.set(attribute, value),
                None => {
                    let name = self.name(attribute);
                    self.removals.push(name);
                }
            }
        }
    }

    fn of(plan: &Plan) -> Self {
        let mut update = Self::default();
        for (fact, done) in &plan.parts.done {
            update.done(*fact, &done.to_string());
        }
        for (attribute, heard) in [(SAGA, &plan.parts.saga), (UNDO, &plan.parts.undo)] {
            if let Some(heard) = heard {
                update.heard(attribute, heard);
            }
        }
        for premise in &plan.premises {
            update.premise(premise);
        }
        let name = update.name(STATUS);
        let value = update.value(text(plan.status.unwrap_or(Status::Running).word()));
        update.sets.push(match plan.status {
            Some(_) => format!("{name} = {value}"),
            None => format!("{name} = if_not_exists({name}, {value})"),
        });
        let (started_at, known) = plan.started_at();
        let (name, value) = (update.name(STARTED_AT), update.value(text(&started_at)));
        update.sets.push(match known {
            true => format!("{name} = {value}"),
            false => format!("{name} = if_not_exists({name}, {value})"),
        });
        update
    }
}

#[async_trait]
impl SagaRows for SagaTable {
    async fn write(&self, order_id: OrderId, plan: &Plan) -> Result<Written, ViewError> {
        let Update { names, values, sets, conditions, .. } = Update::of(plan);
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(ID, text(&order_id.to_string()))
            .update_expression(format!("SET {}", sets.join(", ")))
            .condition_expression(conditions.join(" AND "))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Written::Yes),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let error = error.into_err();
                let item = match error {
                    aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(failed) => {
                        failed.item
                    }
                    _ => None,
                };
                Ok(Written::No(item.map(decoded).transpose()?.map(Box::new)))
            }
            Err(error) => Err(view_error("UpdateItem", error)),
        }
    }

    async fn rows(&self, order_ids: &[OrderId], consistency: Consistency) -> Result<Vec<SagaRow>, ViewError> {
        let keys = order_ids.iter().map(|id| Item::from([(ID.to_owned(), text(&id.to_string()))]));
        let mut keys: Vec<Item> = keys.collect();
        let mut rows = Vec::with_capacity(keys.len());
        for _ in 0..MAX_BATCHES {
            if keys.is_empty() {
                return Ok(rows);
            }
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(std::mem::take(&mut keys)))
                .consistent_read(consistency == Consistency::Strong);
            let wanted = wanted.build().map_err(|e| malformed("?", e))?;
            let sent = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let got = sent.map_err(|e| view_error("BatchGetItem", e))?;
            for item in got.responses.unwrap_or_default().into_values().flatten() {
                rows.push(decoded(item)?);
            }
            keys =
                got.unprocessed_keys.unwrap_or_default().into_values().flat_map(|left| left.keys).collect();
        }
        if keys.is_empty() {
            return Ok(rows);
        }
        let why = format!("{} rows were not read in {MAX_BATCHES} batches", keys.len());
        Err(ViewError::Unavailable { view: VIEW, operation: "BatchGetItem", why })
    }

    async fn places(
        &self,
        status: Status,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, ViewError> {
        let start = after.map(|place| {
            Item::from([
                (ID.to_owned(), text(&place.order_id.to_string())),
                (STATUS.to_owned(), text(status.word())),
                (STARTED_AT.to_owned(), text(&place.started_at)),
            ])
        });
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression("#status = :status")
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_values(":status", text(status.word()))
            .scan_index_forward(false)
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|e| view_error("Query", e))?;
        let place = |item: Item| {
            let id = string(&item, "?", ID)?;
            let order_id = id.parse().map_err(|e| malformed(&id, e))?;
            Ok(Place { started_at: string(&item, &id, STARTED_AT)?, order_id })
        };
        // Keys only: far from the megabyte at which a page is cut.
        found.items.unwrap_or_default().into_iter().map(place).collect()
    }
}

#[async_trait]
impl AllSagaRows for SagaTable {
    async fn ids(&self, segment: Segment, after: Option<&str>, limit: u32) -> Result<Ids, ViewError> {
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(i32::try_from(segment.index).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(segment.total).unwrap_or(i32::MAX))
            .consistent_read(true)
            .projection_expression("#id")
            .expression_attribute_names("#id", ID)
            .set_exclusive_start_key(after.map(|id| Item::from([(ID.to_owned(), text(id))])))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|e| view_error("Scan", e))?;
        let after = match page.last_evaluated_key {
            Some(key) if !key.is_empty() => Some(string(&key, "?", ID)?),
            _ => None,
        };
        let ids = page.items.unwrap_or_default().into_iter().map(|item| string(&item, "?", ID));
        Ok(Ids { ids: ids.collect::<Result<_, ViewError>>()?, after })
    }

    async fn remove(&self, id: &str) -> Result<(), ViewError> {
        let sent = self.client.delete_item().table_name(&self.table).key(ID, text(id)).send().await;
        sent.map(|_| ()).map_err(|e| view_error("DeleteItem", e))
    }

    async fn mend(&self, seen: &SagaRow, mended: Option<&SagaRow>) -> Result<Put, ViewError> {
        let key = text(&seen.order_id.to_string());
        let mut update = Update::seen(seen);
        let Some(mended) = mended else {
            let Update { names, values, conditions, .. } = update;
            let sent = self
                .client
                .delete_item()
                .table_name(&self.table)
                .key(ID, key)
                .condition_expression(conditions.join(" AND "))
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(Some(values))
                .send()
                .await;
            return match sent {
                Ok(_) => Ok(Put::Written),
                Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => {
                    Ok(Put::Conflict)
                }
                Err(error) => Err(view_error("DeleteItem", error)),
            };
        };
        update.make(mended);
        let Update { names, values, sets, removals, conditions } = update;
        let removed =
            if removals.is_empty() { String::new() } else { format!(" REMOVE {}", removals.join(", ")) };
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(ID, key)
            .update_expression(format!("SET {}{removed}", sets.join(", ")))
            .condition_expression(conditions.join(" AND "))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Put::Written),
            Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => {
                Ok(Put::Conflict)
            }
            Err(error) => Err(view_error("UpdateItem", error)),
        }
    }
}

// ---- items

const RANK: &str = "rank";
const AT: &str = "at";
const ERROR: &str = "error";
const CAUSE: &str = "cause";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn of_heard(heard: &Heard) -> AttributeValue {
    let mut fields =
        Item::from([(RANK.to_owned(), text(&heard.rank())), (AT.to_owned(), text(&heard.at.to_string()))]);
    if let Some(Failure { error, cause }) = &heard.failure {
        fields.insert(ERROR.to_owned(), text(error));
        fields.insert(CAUSE.to_owned(), text(cause));
    }
    AttributeValue::M(fields)
}

fn heard(item: &Item, id: &str, attribute: &str) -> Result<Option<Heard>, ViewError> {
    let Some(value) = item.get(attribute) else { return Ok(None) };
    let fields = value.as_m().map_err(|_| malformed(id, format!("{attribute} is not a map")))?;
    let (attempt, redrives, ended) =
        Heard::ranked(&string(fields, id, RANK)?).map_err(|e| malformed(id, e))?;
    let failure = match fields.get(ERROR) {
        None => None,
        Some(_) => Some(Failure { error: string(fields, id, ERROR)?, cause: string(fields, id, CAUSE)? }),
    };
    let at = string(fields, id, AT)?.parse().map_err(|e| malformed(id, e))?;
    Ok(Some(Heard { attempt, redrives, ended, at, failure }))
}

fn decoded(item: Item) -> Result<SagaRow, ViewError> {
    let id = string(&item, "?", ID)?;
    let status = string(&item, &id, STATUS)?;
    let mut parts =
        Parts { saga: heard(&item, &id, SAGA)?, undo: heard(&item, &id, UNDO)?, ..Parts::default() };
    // What newer code remembers besides is left alone.
    for fact in Fact::ALL.into_iter().filter(|fact| item.contains_key(fact.event())) {
        let done = string(&item, &id, fact.event())?.parse().map_err(|e| malformed(&id, e))?;
        parts.done.insert(fact, done);
    }
    Ok(SagaRow {
        order_id: id.parse().map_err(|e| malformed(&id, e))?,
        listed: Status::named(&status).ok_or_else(|| malformed(&id, format!("status is {status}")))?,
        started_at: string(&item, &id, STARTED_AT)?,
        parts,
    })
}

fn string(item: &Item, id: &str, name: &str) -> Result<String, ViewError> {
    let found = item.get(name).and_then(|value| value.as_s().ok());
    found.cloned().ok_or_else(|| malformed(id, format!("{name} is not a string")))
}

fn malformed(id: &str, why: impl ToString) -> ViewError {
    ViewError::Malformed { view: VIEW, id: id.to_owned(), why: why.to_string() }
}

fn view_error<E>(operation: &'static str, error: SdkError<E>) -> ViewError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Failed { passing, why } = error.into();
    if passing {
        ViewError::Unavailable { view: VIEW, operation, why }
    } else {
        ViewError::Refused { view: VIEW, operation, why }
    }
}

/// Creates the table, for tests and benches. In deployments the template does it.
///
/// # Errors
/// [`ViewError`].
pub async fn create_table(client: &Client, table: &str) -> Result<(), ViewError> {
    let refused = |why: String| ViewError::Refused { view: VIEW, operation: "CreateTable", why };
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
    };
    let key =
        |name: &str, kind: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let index = GlobalSecondaryIndex::builder()
        .index_name(INDEX)
        .key_schema(key(STATUS, KeyType::Hash).map_err(|e| refused(e.to_string()))?)
        .key_schema(key(STARTED_AT, KeyType::Range).map_err(|e| refused(e.to_string()))?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .map_err(|e| refused(e.to_string()))?;
    let mut request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key(ID, KeyType::Hash).map_err(|e| refused(e.to_string()))?)
        .global_secondary_indexes(index);
    for name in [ID, STATUS, STARTED_AT] {
        request = request.attribute_definitions(attribute(name).map_err(|e| refused(e.to_string()))?);
    }
    request.send().await.map_err(|e| view_error("CreateTable", e))?;
    Ok(())
}
