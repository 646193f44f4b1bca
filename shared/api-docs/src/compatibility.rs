//! What in a schema may change within one version of it.
//!
//! Events are kept for ever and read by code of any age. So within one schema version, old readers must understand new
//! events, and new readers old ones: **only a field that need not be there may be added.** Everything else, whichever
//! way it goes, hurts one side: a field that is gone is missed by old readers, one that must be there now is missing
//! in old events, a new value of an enum falls through old matches, a bound that is wider surprises the one side and a
//! narrower one the other. Such a change is another schema version with an upcaster.
//!
//! Titles, descriptions and examples may change, and so may the names under `$defs`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that say nothing about what is valid.
const SAYS_NOTHING: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "$ref",
    "title",
    "description",
    "examples",
    "example",
    "deprecated",
    "required",
    "properties",
];

/// What in `new` would break readers or events of `old`: a sentence for each, none if all is well.
pub fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, seen: BTreeSet::new(), problems: Vec::new() };
    comparison.schemas("", old, new);
    comparison.problems
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    /// Pairs of references that are compared already: types may contain themselves.
    seen: BTreeSet<(String, String)>,
    problems: Vec<String>,
}

impl Comparison<'_> {
    fn problem(&mut self, path: &str, what: impl AsRef<str>) {
        let path = if path.is_empty() { "the event" } else { path.trim_start_matches('.') };
        self.problems.push(format!("{path}: {}", what.as_ref()));
    }

    fn schemas(&mut self, path: &str, old: &Value, new: &Value) {
        if let (Some(old), Some(new)) = (reference(old), reference(new))
            && !self.seen.insert((old.to_owned(), new.to_owned()))
        {
            return;
        }
        let (Some(old), Some(new)) = (keywords(self.old, old), keywords(self.new, new)) else {
            if old != new {
                self.problem(path, format!("was {old}, is {new}"));
            }
            return;
        };
        self.fields(path, &old, &new);
        let told = |keyword: &&String| !SAYS_NOTHING.contains(&keyword.as_str());
        let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).filter(told).collect();
        for keyword in keywords {
            match (keyword.as_str(), old.get(keyword), new.get(keyword)) {
                ("items" | "additionalProperties" | "not", Some(old), Some(new)) => {
                    self.schemas(&format!("{path}[]"), old, new);
                }
                (
                    "oneOf" | "anyOf" | "allOf" | "prefixItems",
                    Some(Value::Array(old)),
                    Some(Value::Array(new)),
                ) if old.len() == new.len() => {
                    for (old, new) in old.iter().zip(new) {
                        self.schemas(path, old, new);
                    }
                }
                (_, Some(old), Some(new)) if same_set(old, new) => {}
                (_, old, new) => {
                    let shown = |value: Option<&Value>| value.map_or("not there".into(), Value::to_string);
                    self.problem(path, format!("{keyword} was {}, is {}", shown(old), shown(new)));
                }
            }
        }
    }

    fn fields(&mut self, path: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let none = Map::new();
        let fields = |schema: &Map<String, Value>| {
            schema.get("properties").and_then(Value::as_object).unwrap_or(&none).clone()
        };
        let (required_before, required_now) = (required(old), required(new));
        for field in required_before.difference(&required_now) {
            self.problem(&format!("{path}.{field}"), "need not be there any more, and old readers need it");
        }
        for field in required_now.difference(&required_before) {
            self.problem(&format!("{path}.{field}"), "must be there now, and old events do not have it");
        }
        let now = fields(new);
        for (name, before) in fields(old) {
            let path = format!("{path}.{name}");
            match now.get(&name) {
                Some(now) => self.schemas(&path, &before, now),
                None => self.problem(&path, "is gone"),
            }
        }
    }
}

fn required(schema: &Map<String, Value>) -> BTreeSet<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The order in `enum` and `type` means nothing.
fn same_set(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().all(|value| new.contains(value))
        }
        _ => old == new,
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref").and_then(Value::as_str)
}

/// The keywords of a schema, with those of what it refers to. `None`: it is none, or refers to nothing.
fn keywords(document: &Value, schema: &Value) -> Option<Map<String, Value>> {
    let own = schema.as_object()?;
    let Some(reference) = reference(schema) else { return Some(own.clone()) };
    let target = document.pointer(reference.strip_prefix('#')?)?;
    // One that only leads on, and so in a circle, is no schema.
    let mut all = if target.get("$ref").is_some() { return None } else { target.as_object()?.clone() };
    all.extend(own.clone());
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> Value {
        json!({
            "title": "OrderCreated",
            "type": "object",
            "required": ["id", "items"],
            "properties": {
                "id": { "$ref": "#/$defs/Id", "description": "The order." },
                "items": { "type": "array", "items": { "$ref": "#/$defs/Item" } },
                "note": { "oneOf": [{ "$ref": "#/$defs/Note" }, { "type": "null" }] },
            },
            "$defs": {
                "Id": { "type": "string", "format": "uuid" },
                "Item": {
                    "type": "object",
                    "required": ["quantity", "kind"],
                    "properties": {
                        "quantity": { "type": "integer", "minimum": 1 },
                        "kind": { "type": "string", "enum": ["piece", "weight"] },
                        "parts": { "type": "array", "items": { "$ref": "#/$defs/Item" } },
                    },
                },
                "Note": { "type": "string" },
            },
        })
    }

    /// `order()` after a change.
    fn changed(change: impl FnOnce(&mut Value)) -> Value {
        let mut order = order();
        change(&mut order);
        order
    }

    #[test]
    fn what_breaks_a_reader_is_found_wherever_it_is() {
        type Change = fn(&mut Value);
        let breaking: &[(&str, Change)] = &[
            ("note: is gone", |order| {
                order["properties"].as_object_mut().unwrap().remove("note");
            }),
            ("items[].quantity: type was", |order| {
                order["$defs"]["Item"]["properties"]["quantity"]["type"] = json!("number");
            }),
            ("id: type was", |order| order["$defs"]["Id"]["type"] = json!(["string", "null"])),
            ("id: format was \"uuid\", is not there", |order| {
                order["$defs"]["Id"] = json!({ "type": "string" });
            }),
            ("note: must be there now", |order| order["required"] = json!(["id", "items", "note"])),
            ("items: need not be there any more", |order| order["required"] = json!(["id"])),
            ("total: must be there now", |order| {
                order["properties"]["total"] = json!({ "type": "integer" });
                order["required"] = json!(["id", "items", "total"]);
            }),
            ("items[].kind: enum was", |order| {
                order["$defs"]["Item"]["properties"]["kind"]["enum"] = json!(["piece", "weight", "length"]);
            }),
            ("items[].kind: enum was", |order| {
                order["$defs"]["Item"]["properties"]["kind"]["enum"] = json!(["piece"]);
            }),
            ("items[].quantity: minimum was 1, is 0", |order| {
                order["$defs"]["Item"]["properties"]["quantity"]["minimum"] = json!(0);
            }),
            ("items[].quantity: maximum was not there, is 9", |order| {
                order["$defs"]["Item"]["properties"]["quantity"]["maximum"] = json!(9);
            }),
            ("note: oneOf was", |order| order["properties"]["note"] = json!({ "$ref": "#/$defs/Note" })),
            ("note: type was", |order| order["$defs"]["Note"]["type"] = json!("integer")),
            ("the event: additionalProperties was not there", |order| {
                order["additionalProperties"] = json!(false);
            }),
            ("id: was", |order| order["properties"]["id"]["$ref"] = json!("#/$defs/Nowhere")),
        ];
        for (problem, change) in breaking {
            let found = breaking_changes(&order(), &changed(change));
            assert!(found.iter().any(|found| found.starts_with(problem)), "{problem}: {found:?}");
        }
    }

    #[test]
    fn what_harms_nobody_is_let_through() {
        let harmless: &[fn(&mut Value)] = &[
            |_| {},
            |order| order["properties"]["gift"] = json!({ "type": "boolean" }),
            |order| order["$defs"]["Item"]["properties"]["size"] = json!({ "type": "integer" }),
            |order| order["description"] = json!("said better"),
            |order| order["properties"]["id"]["description"] = json!("said better"),
            |order| order["required"] = json!(["items", "id"]),
            |order| order["$defs"]["Item"]["properties"]["kind"]["enum"] = json!(["weight", "piece"]),
            |order| {
                order["properties"]["id"] = json!({ "$ref": "#/$defs/OrderId" });
                order["$defs"]["OrderId"] = json!({ "type": "string", "format": "uuid" });
            },
            |order| order["properties"]["id"] = json!({ "type": "string", "format": "uuid" }),
        ];
        for (index, change) in harmless.iter().enumerate() {
            let found = breaking_changes(&order(), &changed(change));
            assert!(found.is_empty(), "change {index}: {found:?}");
        }
    }

    #[test]
    fn a_field_that_is_called_like_a_keyword_is_still_a_field() {
        let with = |schema| json!({ "properties": { "required": schema, "title": { "type": "string" } } });
        let found = breaking_changes(&with(json!({ "type": "string" })), &with(json!({ "type": "null" })));
        assert_eq!(found, ["required: type was \"string\", is \"null\""]);
    }
}
