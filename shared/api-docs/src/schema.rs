//! JSON Schemas as values, and what they refer to.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use crate::Schemas;

/// The dialect of every schema here.
pub(crate) const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Where `utoipa` says that schemas are.
const COMPONENTS: &str = "#/components/schemas/";

/// Schemas by name. Two types that share a name must look the same: a reader could not tell which one is meant.
#[derive(Debug, Default)]
pub(crate) struct Named(BTreeMap<String, Value>);

impl Named {
    /// Takes in what a type refers to. Panics, with the name, when another type of that name looks otherwise: these are
    /// mistakes of ours, and the documents are made by a test.
    pub fn refer(&mut self, schemas: &Schemas) {
        for (name, schema) in &schemas.refers_to {
            self.add(name, value(schema));
        }
    }

    /// The type itself too, by its name.
    pub fn take(&mut self, schemas: &Schemas) {
        self.refer(schemas);
        self.add(&schemas.name, value(&schemas.schema));
    }

    /// See [`Named::refer`].
    pub fn add(&mut self, name: &str, schema: Value) {
        if let Some(known) = self.0.get(name)
            && *known != schema
        {
            panic!(
                "two different schemas are called {name}: give one of the types another name\n{known}\n{schema}"
            );
        }
        self.0.insert(name.to_owned(), schema);
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them.
    pub fn into_object(self) -> Map<String, Value> {
        self.0.into_iter().collect()
    }

    /// Of `schema` everything that it refers to, near and far.
    fn needed_by(&self, schema: &Value) -> BTreeMap<String, Value> {
        let mut needed = BTreeMap::new();
        let mut open = references(schema);
        while let Some(reference) = open.pop() {
            let Some(name) = reference.strip_prefix(COMPONENTS) else { continue };
            if needed.contains_key(name) {
                continue;
            }
            let Some(found) = self.get(name) else {
                panic!("{name} is referred to, and is not among the schemas")
            };
            open.extend(references(found));
            needed.insert(name.to_owned(), found.clone());
        }
        needed
    }

    /// A schema that stands alone: what it refers to is in its `$defs`.
    pub fn standing_alone(&self, title: &str, description: &str, schema: &Value) -> Value {
        let mut alone = schema.clone();
        let defs = self.needed_by(schema);
        let fields = alone.as_object_mut().expect("a schema of ours is an object");
        fields.insert("$schema".into(), json!(DIALECT));
        fields.insert("title".into(), json!(title));
        fields.insert("description".into(), json!(description));
        if !defs.is_empty() {
            fields.insert("$defs".into(), json!(defs));
        }
        at_home(&mut alone);
        alone
    }
}

/// A schema as JSON, with its texts as people read them.
pub(crate) fn value<T: Serialize>(schema: &T) -> Value {
    let mut value = serde_json::to_value(schema).expect("a schema is JSON");
    plain_texts(&mut value);
    value
}

/// A reference to a component.
pub(crate) fn component(name: &str) -> RefOr<Schema> {
    RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
}

/// The values of all `$ref` in a document.
pub fn references(document: &Value) -> Vec<String> {
    match document {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Turns references to components into references to `$defs`.
fn at_home(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = reference.replace(COMPONENTS, "#/$defs/");
            }
            fields.values_mut().for_each(at_home);
        }
        Value::Array(items) => items.iter_mut().for_each(at_home),
        _ => {}
    }
}

/// Descriptions come from doc comments; outside of rustdoc their links lead nowhere.
fn plain_texts(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => *text = plain(text),
                    other => plain_texts(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_texts),
        _ => {}
    }
}

/// A doc comment without its links: ``[`StockEvent::LowStock`]`` is `` `LowStock` ``.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        shown.push_str(before);
        shown.push_str(&format!("`{}`", name.rsplit("::").next().unwrap_or(name)));
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_doc_comments_do_not_end_up_in_documents() {
        assert_eq!(plain("Of [`StockEvent::LowStock`], or [`Money`]."), "Of `LowStock`, or `Money`.");
        assert_eq!(plain("a [`b"), "a [`b");
    }

    #[test]
    #[should_panic(expected = "two different schemas are called Item")]
    fn two_types_of_one_name_that_look_different_are_found() {
        let mut named = Named::default();
        named.add("Item", json!({ "type": "string" }));
        named.add("Item", json!({ "type": "string" }));
        named.add("Item", json!({ "type": "integer" }));
    }

    #[test]
    fn a_schema_that_stands_alone_has_what_it_needs_and_nothing_else() {
        let mut named = Named::default();
        named.add("A", json!({ "$ref": "#/components/schemas/B" }));
        named.add("B", json!({ "type": "string" }));
        named.add("C", json!({ "type": "null" }));
        let alone = named.standing_alone(
            "T",
            "d",
            &json!({ "properties": { "a": { "$ref": "#/components/schemas/A" } } }),
        );
        assert_eq!(alone["$defs"], json!({ "A": { "$ref": "#/$defs/B" }, "B": { "type": "string" } }));
        assert_eq!(alone["properties"]["a"]["$ref"], "#/$defs/A");
    }
}
