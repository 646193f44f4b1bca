//! AWS's rules for what is one unit: pure arithmetic. DynamoDB's is held against the embedded DynamoDB.
//!
//! Source of the rules: DynamoDB Developer Guide, "Item sizes and formats" and "Read and write operations" (sizes, 1 KB and
//! 4 KB steps, writes that are refused, secondary indexes); pricing pages of the other services, November 2026.

use serde::Deserialize;
use serde_json::{Map, Value};

/// An item as DynamoDB's JSON shows it: `{"id": {"S": "a"}}`.
pub type Item = Map<String, Value>;

const WRITE: u64 = 1024;
const READ: u64 = 4096;
/// EventBridge and SQS count payloads in pieces of 64 KB.
const CHUNK: u64 = 64 * 1024;
/// An HTTP API counts requests in pieces of 512 KB.
const METERED_REQUEST: u64 = 512 * 1024;
/// CloudWatch Logs keeps time and metadata with every line. Whether it bills them is not said plainly: it is counted.
const LINE: u64 = 26;
/// What DynamoDB stores of an item beside its bytes.
const STORED: u64 = 100;

/// The bytes of an item: names and values.
pub fn size(item: &Item) -> u64 {
    item.iter().map(|(name, value)| bytes(name) + value_size(value)).sum()
}

/// What an item takes on disk.
pub fn stored(item: &Item) -> u64 {
    size(item) + STORED
}

fn bytes(text: &str) -> u64 {
    text.len().try_into().unwrap_or(u64::MAX)
}

fn value_size(value: &Value) -> u64 {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    let text = |value: &Value| value.as_str().map_or(0, bytes);
    let each = |size: &dyn Fn(&Value) -> u64| value.as_array().map_or(0, |all| all.iter().map(size).sum());
    match kind.as_str() {
        "S" => text(value),
        "N" => number(value),
        "B" => binary(value),
        "BOOL" | "NULL" => 1,
        "SS" => each(&text),
        "NS" => each(&number),
        "BS" => each(&binary),
        // Three bytes for a list or map, and one for each element.
        "L" => 3 + each(&|value: &Value| 1 + value_size(value)),
        "M" => value.as_object().map_or(3, |map| 3 + map.values().map(|_| 1).sum::<u64>() + size(map)),
        // A type that DynamoDB does not have.
        _ => 0,
    }
}

/// Base64 stands for three bytes in four letters.
fn binary(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default().trim_end_matches('=');
    bytes(text) * 3 / 4
}

/// A byte for every two significant digits, before and after the point apart, one more, and one for the sign.
fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    let negative = text.starts_with('-');
    let (digits, exponent) = match text.trim_start_matches(['-', '+']).split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse().unwrap_or(0)),
        None => (text.trim_start_matches(['-', '+']), 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let significant = all.trim_matches('0').len();
    let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    // Digits before the point; none of them for a small fraction.
    let before = (length(whole.len()) + exponent - length(leading)).clamp(0, length(significant));
    let after = length(significant) - before;
    let pairs = u64::try_from((before + 1) / 2 + (after + 1) / 2).unwrap_or(0);
    pairs + 1 + u64::from(negative && significant > 0)
}

fn write_units(size: u64) -> u64 {
    size.div_ceil(WRITE).max(1)
}

/// Read units of what a request looked at: all of it together, before filters and projections. Nothing costs as much as one.
pub fn read_units<'a>(looked_at: impl IntoIterator<Item = &'a Item>, consistent: bool) -> f64 {
    let total: u64 = looked_at.into_iter().map(size).sum();
    let units = count(total.div_ceil(READ).max(1));
    if consistent { units } else { units / 2.0 }
}

/// A global secondary index.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Index {
    pub name: String,
    pub key: Vec<String>,
    pub projection: String,
    /// What it has beside the keys, if that is only a part.
    #[serde(default)]
    pub also: Vec<String>,
}

/// A table, as far as billing is concerned.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Table {
    pub key: Vec<String>,
    #[serde(default)]
    pub indexes: Vec<Index>,
}

impl Table {
    /// Write units of a change from `before` to `after`: of the table itself, then of its indexes.
    pub fn write_units(&self, before: Option<&Item>, after: Option<&Item>) -> (u64, u64) {
        let larger = before.map_or(0, size).max(after.map_or(0, size));
        let entries = |index| self.index_units(index, before, after);
        (write_units(larger), self.indexes.iter().map(entries).sum())
    }

    /// A write that its condition refused is billed for the table as if it had been done; indexes never hear of it.
    pub fn refused_units(before: Option<&Item>, wanted: Option<&Item>) -> u64 {
        write_units(before.map_or(0, size).max(wanted.map_or(0, size)))
    }

    /// Write units of a change, of one index.
    pub fn index_units(&self, index: &Index, before: Option<&Item>, after: Option<&Item>) -> u64 {
        let old = before.and_then(|item| self.entry(index, item));
        let new = after.and_then(|item| self.entry(index, item));
        match (old, new) {
            (None, None) => 0,
            (Some(entry), None) | (None, Some(entry)) => write_units(size(&entry)),
            (Some(old), Some(new)) if old == new => 0,
            (Some(old), Some(new)) if index.key.iter().all(|name| old.get(name) == new.get(name)) => {
                write_units(size(&old).max(size(&new)))
            }
            // Under another key: one entry goes, another comes.
            (Some(old), Some(new)) => write_units(size(&old)) + write_units(size(&new)),
        }
    }

    /// What an index has of an item; none of one without the index's keys.
    pub fn entry(&self, index: &Index, item: &Item) -> Option<Item> {
        if !index.key.iter().all(|name| item.contains_key(name)) {
            return None;
        }
        let has = |name: &String| {
            let key = index.key.contains(name) || self.key.contains(name);
            match index.projection.as_str() {
                "ALL" => true,
                "INCLUDE" => key || index.also.contains(name),
                _ => key,
            }
        };
        Some(item.iter().filter(|(name, _)| has(name)).map(|(n, v)| (n.clone(), v.clone())).collect())
    }
}

/// Pieces of 64 KB, of which even nothing is one: what SQS calls a request and EventBridge an event.
pub fn chunks(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK).max(1)
}

/// What an HTTP API calls a request.
pub fn http_requests(bytes: u64) -> u64 {
    bytes.div_ceil(METERED_REQUEST).max(1)
}

/// Bytes that CloudWatch Logs takes in for a line.
pub fn logged(line: u64) -> u64 {
    line + LINE
}

/// GB-seconds of an Express execution: whole 64 MB, whole 100 ms. Its memory is its definition and data, which is kilobytes
/// here: one step.
pub fn express_gb_seconds(seconds: f64) -> f64 {
    begun(seconds, 10.0) / 10.0 * 64.0 / 1024.0
}

/// GB-seconds of an invocation: whole milliseconds.
pub fn lambda_gb_seconds(seconds: f64, memory_mb: f64) -> f64 {
    begun(seconds, 1000.0) / 1000.0 * memory_mb / 1024.0
}

/// Counts the steps of time that were begun, of so many in a second; at least one. A sum of floats that is a
/// hair above a whole step begins no other: six times 50 ms are three steps of 100 ms.
fn begun(seconds: f64, a_second: f64) -> f64 {
    (seconds * a_second - 1e-6).ceil().max(1.0)
}

/// Counts become quotients; none here is near the precision of a float.
#[allow(clippy::cast_precision_loss)]
pub fn count(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::{
        Client,
        error::ProvideErrorMetadata,
        primitives::Blob,
        types::{
            AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, GlobalSecondaryIndex,
            KeySchemaElement, KeyType, Projection, ProjectionType, ReturnConsumedCapacity,
            ScalarAttributeType,
        },
    };
    use serde_json::json;
    use testing::EmbeddedDynamo;

    use super::*;

    const TABLE: &str = "rows";

    fn item(value: Value) -> Item {
        value.as_object().cloned().unwrap()
    }

    /// The same item for the SDK.
    fn sdk(item: &Item) -> HashMap<String, AttributeValue> {
        item.iter().map(|(name, value)| (name.clone(), sdk_value(value))).collect()
    }

    fn sdk_value(value: &Value) -> AttributeValue {
        let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = || value.as_array().unwrap().iter();
        match kind.as_str() {
            "S" => AttributeValue::S(text(value)),
            "N" => AttributeValue::N(text(value)),
            // All test data is made of zero bytes.
            "B" => AttributeValue::B(Blob::new(vec![0; usize::try_from(binary(value)).unwrap()])),
            "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
            "NULL" => AttributeValue::Null(true),
            "SS" => AttributeValue::Ss(all().map(text).collect()),
            "NS" => AttributeValue::Ns(all().map(text).collect()),
            "L" => AttributeValue::L(all().map(sdk_value).collect()),
            "M" => AttributeValue::M(sdk(value.as_object().unwrap())),
            other => panic!("{other}"),
        }
    }

    fn table() -> Table {
        let index = |name: &str, key: &[&str], projection: &str, also: &[&str]| Index {
            name: name.into(),
            key: key.iter().map(|&k| k.into()).collect(),
            projection: projection.into(),
            also: also.iter().map(|&k| k.into()).collect(),
        };
        Table {
            key: vec!["id".into(), "version".into()],
            indexes: vec![
                index("whole", &["owner", "version"], "ALL", &[]),
                index("part", &["shown", "version"], "INCLUDE", &["name"]),
                index("keys", &["owner"], "KEYS_ONLY", &[]),
            ],
        }
    }

    async fn create(client: &Client) {
        let attribute = |name: &str, kind| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
        };
        let key = |names: &[String]| {
            let kinds = [KeyType::Hash, KeyType::Range];
            let parts = names.iter().zip(kinds);
            parts
                .map(|(name, kind)| {
                    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
                })
                .collect::<Vec<_>>()
        };
        let table = table();
        let indexes = table.indexes.iter().map(|index| {
            let projection = Projection::builder()
                .projection_type(ProjectionType::from(index.projection.as_str()))
                .set_non_key_attributes((!index.also.is_empty()).then(|| index.also.clone()))
                .build();
            GlobalSecondaryIndex::builder()
                .index_name(&index.name)
                .set_key_schema(Some(key(&index.key)))
                .projection(projection)
                .build()
                .unwrap()
        });
        client
            .create_table()
            .table_name(TABLE)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("id", ScalarAttributeType::S))
            .attribute_definitions(attribute("version", ScalarAttributeType::N))
            .attribute_definitions(attribute("owner", ScalarAttributeType::S))
            .attribute_definitions(attribute("shown", ScalarAttributeType::S))
            .set_key_schema(Some(key(&table.key)))
            .set_global_secondary_indexes(Some(indexes.collect()))
            .send()
            .await
            .unwrap();
    }

    /// Units of the table, and of its indexes together.
    fn consumed(capacity: Option<&ConsumedCapacity>) -> (f64, f64) {
        let capacity = capacity.unwrap();
        let of_table = capacity.table().and_then(|table| table.capacity_units()).unwrap();
        (of_table, capacity.capacity_units().unwrap() - of_table)
    }

    async fn put(client: &Client, item: &Item) -> (f64, f64) {
        let put = client.put_item().table_name(TABLE).set_item(Some(sdk(item)));
        let done = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.unwrap();
        consumed(done.consumed_capacity())
    }

    fn expected(before: Option<&Item>, after: Option<&Item>) -> (f64, f64) {
        let (own, indexes) = table().write_units(before, after);
        (count(own), count(indexes))
    }

    /// All types, and numbers of all shapes.
    fn shapes() -> Vec<Item> {
        let numbers = [
            "0",
            "-0",
            "7",
            "-7",
            "100",
            "12345",
            "0.5",
            "-0.05",
            "10.01",
            "1e10",
            "12.50",
            "123456789012345678",
        ];
        let mut shapes: Vec<Item> = numbers.map(|n| item(json!({"n": {"N": n}}))).into();
        shapes.extend([
            item(json!({"text": {"S": "ascii"}, "ünï": {"S": "Zoë 🦆"}})),
            item(json!({"yes": {"BOOL": true}, "no": {"NULL": true}})),
            item(json!({"raw": {"B": "AAAAAA=="}, "more": {"B": "AAAA"}})),
            item(json!({"set": {"SS": ["a", "bcd"]}, "numbers": {"NS": ["1", "22", "333"]}})),
            item(json!({"list": {"L": [{"S": "a"}, {"N": "5"}, {"L": []}, {"M": {}}]}})),
            item(
                json!({"map": {"M": {"deep": {"M": {"er": {"L": [{"BOOL": false}]}}}, "name": {"S": "x"}}}}),
            ),
        ]);
        shapes
    }

    #[tokio::test]
    async fn an_item_is_as_large_as_dynamodb_says_to_the_byte() {
        let dynamo = EmbeddedDynamo::start().await;
        let client = dynamo.client();
        create(&client).await;
        for (number, shape) in shapes().into_iter().enumerate() {
            for units in 1..=3 {
                let mut item = shape.clone();
                item.insert("id".into(), json!({"S": format!("{number}-{units}")}));
                item.insert("version".into(), json!({"N": "1"}));
                item.insert("pad".into(), json!({"S": ""}));
                let rest = usize::try_from(units * WRITE - size(&item)).unwrap();
                item.insert("pad".into(), json!({"S": "x".repeat(rest)}));
                assert_eq!(size(&item), units * WRITE);
                assert_eq!(put(&client, &item).await, (count(units), 0.0), "full: {shape:?}");
                // One byte more is one unit more. Under another key, or the first would count.
                item.insert("id".into(), json!({"S": format!("{number}+{units}")}));
                item.insert("pad".into(), json!({"S": "x".repeat(rest + 1)}));
                assert_eq!(put(&client, &item).await, (count(units + 1), 0.0), "and one byte: {shape:?}");
            }
        }
    }

    #[tokio::test]
    async fn every_kind_of_change_costs_table_and_indexes_what_dynamodb_says() {
        let dynamo = EmbeddedDynamo::start().await;
        let client = dynamo.client();
        create(&client).await;
        let row = |rest: Value| {
            let mut row = item(json!({"id": {"S": "a"}, "version": {"N": "1"}}));
            row.extend(item(rest));
            row
        };
        let long = |length: usize| json!({"S": "x".repeat(length)});
        let changes = [
            row(json!({})),
            row(json!({"owner": {"S": "me"}, "note": long(1500)})),
            // The same again: the table is written, no index changes.
            row(json!({"owner": {"S": "me"}, "note": long(1500)})),
            // Seen by the index with everything only.
            row(json!({"owner": {"S": "me"}, "note": long(3000)})),
            row(json!({"owner": {"S": "me"}, "note": long(10)})),
            // Another key in two indexes.
            row(json!({"owner": {"S": "you"}, "note": long(10)})),
            row(json!({"owner": {"S": "you"}, "shown": {"S": "y"}, "name": long(2000), "note": long(10)})),
            row(json!({"owner": {"S": "you"}, "shown": {"S": "y"}, "name": long(2000), "note": long(11)})),
            row(json!({"owner": {"S": "you"}, "shown": {"S": "y"}, "name": long(100), "note": long(11)})),
            row(json!({"shown": {"S": "y"}})),
            row(json!({})),
        ];
        let mut before: Option<&Item> = None;
        for (number, after) in changes.iter().enumerate() {
            assert_eq!(put(&client, after).await, expected(before, Some(after)), "change {number}");
            before = Some(after);
        }
        let delete = client
            .delete_item()
            .table_name(TABLE)
            .key("id", AttributeValue::S("a".into()))
            .key("version", AttributeValue::N("1".into()))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let done = delete.send().await.unwrap();
        assert_eq!(consumed(done.consumed_capacity()), expected(before, None));
    }

    #[tokio::test]
    async fn reads_are_billed_for_what_was_looked_at_and_not_for_what_came_back() {
        let dynamo = EmbeddedDynamo::start().await;
        let client = dynamo.client();
        create(&client).await;
        let mut rows = Vec::new();
        for version in 1..=9 {
            let row = item(json!({
                "id": {"S": "a"}, "version": {"N": version.to_string()}, "owner": {"S": "me"},
                "shown": {"S": "y"}, "name": {"S": "n".repeat(700)}, "note": {"S": "x".repeat(1200)},
            }));
            put(&client, &row).await;
            rows.push(row);
        }
        for consistent in [true, false] {
            let get = |version: &str| {
                client
                    .get_item()
                    .table_name(TABLE)
                    .consistent_read(consistent)
                    .projection_expression("note")
                    .key("id", AttributeValue::S("a".into()))
                    .key("version", AttributeValue::N(version.into()))
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            };
            for (version, found) in [("1", &rows[..1]), ("99", &rows[..0])] {
                let units =
                    get(version).await.unwrap().consumed_capacity().unwrap().capacity_units().unwrap();
                assert_eq!(units, read_units(found, consistent), "get {version}, consistent: {consistent}");
            }
            for limit in [1, 3, 9] {
                let query = client
                    .query()
                    .table_name(TABLE)
                    .consistent_read(consistent)
                    .key_condition_expression("id = :id")
                    .filter_expression("attribute_exists(nothing)")
                    .projection_expression("id")
                    .expression_attribute_values(":id", AttributeValue::S("a".into()))
                    .limit(i32::try_from(limit).unwrap())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total);
                let units =
                    query.send().await.unwrap().consumed_capacity().unwrap().capacity_units().unwrap();
                assert_eq!(
                    units,
                    read_units(&rows[..limit], consistent),
                    "{limit}, consistent: {consistent}"
                );
            }
        }
        for index in &table().indexes {
            let query = client
                .query()
                .table_name(TABLE)
                .index_name(&index.name)
                .key_condition_expression("#key = :key")
                .expression_attribute_names("#key", &index.key[0])
                .expression_attribute_values(
                    ":key",
                    AttributeValue::S(if index.key[0] == "shown" { "y" } else { "me" }.into()),
                )
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let units = query.send().await.unwrap().consumed_capacity().unwrap().capacity_units().unwrap();
            let entries: Vec<Item> = rows.iter().filter_map(|row| table().entry(index, row)).collect();
            assert_eq!(units, read_units(&entries, false), "{}", index.name);
        }
    }

    /// The answer to a refused write tells no capacity, so this holds the rule by what DynamoDB says of the same write when it
    /// is not refused; that refusing changes nothing is AWS's word ("still consumes write capacity").
    #[tokio::test]
    async fn a_refused_write_is_billed_like_one_that_was_done() {
        let dynamo = EmbeddedDynamo::start().await;
        let client = dynamo.client();
        create(&client).await;
        let old = item(json!({"id": {"S": "a"}, "version": {"N": "1"}, "note": {"S": "x".repeat(2500)}}));
        let new = item(json!({"id": {"S": "a"}, "version": {"N": "1"}, "note": {"S": "x".repeat(900)}}));
        put(&client, &old).await;
        let put = client.put_item().table_name(TABLE).set_item(Some(sdk(&new)));
        let refused = put.clone().condition_expression("attribute_not_exists(id)").send().await.unwrap_err();
        assert_eq!(refused.into_service_error().code(), Some("ConditionalCheckFailedException"));
        let done = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.unwrap();
        let units = consumed(done.consumed_capacity()).0;
        assert_eq!(units, count(Table::refused_units(Some(&old), Some(&new))));
        assert_eq!(units, 3.0, "the larger of both");
    }

    #[test]
    fn payloads_are_counted_in_pieces_and_time_in_steps() {
        assert_eq!([chunks(0), chunks(65_536), chunks(65_537)], [1, 1, 2]);
        assert_eq!([http_requests(0), http_requests(524_289)], [1, 2]);
        assert_eq!(logged(100), 126);
        // 230 ms are three steps of 100 ms, of 64 MB.
        assert!((express_gb_seconds(0.230) - 0.3 * 0.0625).abs() < 1e-12);
        assert!((express_gb_seconds(0.05 * 6.0) - 0.3 * 0.0625).abs() < 1e-12, "and so are six of 50 ms");
        assert!((lambda_gb_seconds(0.0101, 256.0) - 0.011 * 0.25).abs() < 1e-12);
    }
}
