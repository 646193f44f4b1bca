//! The AsyncAPI document: which events are on the bus, who sends and who receives them.

use serde_json::{Map, Value, json};

use crate::{AggregateDocument, schema::Named, schema::component, schema::value};

/// A function that hears of events, as a rule of the bus has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Consumer {
    /// The context that the function belongs to.
    pub context: String,
    /// The function.
    pub function: String,
    /// The context whose events it hears of.
    pub publisher: String,
    /// Their types.
    pub events: Vec<String>,
}

/// The document, from all aggregates with their envelope's schemas, and all consumers.
pub fn asyncapi(aggregates: &[AggregateDocument], consumers: &[Consumer]) -> Value {
    let mut schemas = Named::default();
    schemas.take(&crate::Schemas::of::<contracts::Envelope>());
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for aggregate in aggregates {
        schemas.refer(&aggregate.schemas);
        let (category, context) = (aggregate.category, aggregate.context());
        let mut in_channel = Map::new();
        for event in &aggregate.events {
            let id = format!("{category}.{}", event.name);
            in_channel
                .insert(event.name.to_owned(), json!({ "$ref": format!("#/components/messages/{id}") }));
            messages.insert(
                id,
                json!({
                    "name": event.name,
                    "title": event.name,
                    "summary": event.summary,
                    "contentType": "application/json",
                    "payload": { "allOf": [
                        value(&component("Envelope")),
                        { "type": "object", "properties": {
                            "type": { "const": event.name },
                            "schema": { "const": event.version },
                            "data": value(&component(event.name)),
                        } },
                    ] },
                }),
            );
        }
        channels.insert(
            category.to_owned(),
            json!({
                "address": format!("mallard.{context}"),
                "title": category,
                "description": format!(
                    "{} On the bus: `source` is the address, `detail-type` the event's type, `detail` the payload.",
                    aggregate.summary
                ),
                "messages": in_channel,
            }),
        );
        let sent: Vec<&str> = aggregate.events.iter().map(|event| event.name).collect();
        let summary = format!("{context} publishes what it has committed; the relay puts it on the bus.");
        operations.insert(format!("{category}.publish"), operation("send", category, &sent, &summary));
        for consumer in consumers.iter().filter(|consumer| consumer.publisher == context) {
            let heard: Vec<&str> = sent
                .iter()
                .copied()
                .filter(|event| consumer.events.iter().any(|heard| heard == event))
                .collect();
            if heard.is_empty() {
                continue;
            }
            let Consumer { context, function, .. } = consumer;
            let summary = format!("{function}, a function of {context}, hears of it.");
            operations.insert(
                format!("{category}.{context}.{function}"),
                operation("receive", category, &heard, &summary),
            );
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mallard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The public events of the mall. Delivery is at least once and in any order: readers compare \
                the envelope's `version` with what they have applied, and read what they miss from the event table.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "bus": {
            "host": "events.{region}.amazonaws.com",
            "protocol": "eventbridge",
            "description": "The stack's bus on Amazon EventBridge: `mallard-<stage>`.",
            "variables": { "region": { "default": "us-east-1", "description": "Where the stack is deployed." } },
        } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas.into_object() },
    })
}

fn operation(action: &str, channel: &str, events: &[&str], summary: &str) -> Value {
    let channel = format!("#/channels/{channel}");
    let messages: Vec<Value> =
        events.iter().map(|event| json!({ "$ref": format!("{channel}/messages/{event}") })).collect();
    json!({ "action": action, "channel": { "$ref": channel }, "summary": summary, "messages": messages })
}
