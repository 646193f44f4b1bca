//! The documents for people, as Markdown.

use serde_json::Value;

use crate::{AggregateDocument, Answers, Consumer, Operation};

/// docs/EVENTS.md. `producers` tells which functions append an event.
pub fn events_page(
    aggregates: &[AggregateDocument],
    consumers: &[Consumer],
    producers: impl Fn(&AggregateDocument, &str) -> Vec<String>,
) -> String {
    let mut page = String::from(
        "# The public events\n\n\
        Made by `cargo mall docs` from the types in [shared/contracts](../shared/contracts/src) and the rules in [infra](../infra): do not edit. Who appends an event is listed by hand in tests/tests/documents.rs.\n\n\
        A context stores exactly these events, and publishes them on the bus in an [envelope](../events/schemas/Envelope.json):\n\
        `source` is `mallard.<context>`, `detail-type` the event's type. They come at least once and in any order. Within one schema version\n\
        only fields that need not be there are added; readers ignore fields that they do not know. Amounts are in minor units (cents)\n\
        with their currency. The same for machines: [asyncapi.json](asyncapi.json).\n",
    );
    for aggregate in aggregates {
        page.push_str(&format!("\n## {}\n\n{}\n\n", aggregate.category, aggregate.summary));
        page.push_str("| event | v | what it says | fields | appended by | heard by | |\n");
        page.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for event in &aggregate.events {
            let heard: Vec<String> = consumers
                .iter()
                .filter(|consumer| consumer.publisher == aggregate.context())
                .filter(|consumer| consumer.events.iter().any(|heard| heard == event.name))
                .map(|consumer| format!("{}/{}", consumer.context, consumer.function))
                .collect();
            let file = format!("{}/{}.v{}.json", aggregate.category, event.name, event.version);
            let cells = [
                format!("`{}`", event.name),
                event.version.to_string(),
                event.summary.clone(),
                fields(&event.schema),
                listed(&producers(aggregate, event.name)),
                listed(&heard),
                format!("[schema](../events/schemas/{file}), [sample](../events/golden/{file})"),
            ];
            page.push_str(&row(&cells));
        }
    }
    page
}

/// The table of operations in docs/API.md.
pub fn operations_table(operations: &[Operation]) -> String {
    let mut table = String::new();
    let mut tag = "";
    for operation in operations {
        if operation.tag != tag {
            tag = operation.tag;
            table.push_str(&format!("\n### {tag}\n\n"));
            table.push_str("| route | operation | what it does | body | answers | refuses with |\n");
            table.push_str("| --- | --- | --- | --- | --- | --- |\n");
        }
        let query: Vec<&str> = operation.query.iter().map(|parameter| parameter.name).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let body = operation.body.as_ref().map(|body| {
            let schema = crate::schema::value(&body.schema);
            format!("`{}`: {}", body.name, fields(&schema))
        });
        let answers = match &operation.answers {
            Answers::Committed => "`{id, version}`".to_owned(),
            Answers::View(view) => format!("`{}`", view.name),
        };
        let refuses: Vec<String> = operation.refusals().iter().map(u16::to_string).collect();
        let cells = [
            format!("`{} {}{query}`", operation.verb.name(), operation.path),
            format!("`{}`", operation.id),
            operation.summary.to_owned(),
            body.unwrap_or_default(),
            answers,
            refuses.join(" "),
        ];
        table.push_str(&row(&cells));
    }
    table
}

/// The fields of a schema: name, type, whether it must be there, and what it means.
fn fields(schema: &Value) -> String {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name));
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(name, field)| {
        let optional = if required(name) { "" } else { "?" };
        let meaning = meaning(field).map(|meaning| format!(": {meaning}")).unwrap_or_default();
        format!("`{name}{optional}` {}{meaning}", kind(field))
    });
    fields.collect::<Vec<_>>().join("<br>")
}

fn meaning(field: &Value) -> Option<&str> {
    let own = field["description"].as_str();
    own.or_else(|| field["oneOf"].as_array()?.iter().find_map(|variant| variant["description"].as_str()))
}

/// A type's name, as short as it can be.
fn kind(field: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or(reference).to_owned();
    }
    if let Some(variants) = field["oneOf"].as_array() {
        let kinds: Vec<String> = variants.iter().map(kind).filter(|kind| kind != "null").collect();
        return kinds.join(" or ");
    }
    match &field["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&field["items"])),
        Value::String(name) => {
            field["format"].as_str().filter(|format| *format == "date-time").unwrap_or(name).to_owned()
        }
        Value::Array(names) => {
            let names: Vec<&str> =
                names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect();
            names.join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    names.join(", ")
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_told_by_its_type_and_whether_it_must_be_there() {
        let schema = json!({
            "required": ["id", "items"],
            "properties": {
                "id": { "$ref": "#/$defs/Id", "description": "The order." },
                "items": { "type": "array", "items": { "$ref": "#/$defs/Item" } },
                "list": { "oneOf": [{ "type": "null" }, { "$ref": "#/$defs/Id", "description": "The list." }] },
                "reason": { "type": ["string", "null"], "description": "Why." },
            },
        });
        assert_eq!(
            fields(&schema),
            "`id` Id: The order.<br>`items` list of Item<br>`list?` Id: The list.<br>`reason?` string: Why."
        );
    }

    #[test]
    fn a_text_cannot_break_the_table() {
        assert_eq!(row(&["a|b".into(), "c\nd".into()]), "| a\\|b | c d |\n");
    }
}
