//! Drawings of state machines for docs/SAGAS.md, made from the definitions.

use serde_json::{Map, Value};

use crate::saga::{longest, waits};

/// Returns the state machine as a Mermaid diagram, and its tasks as a table: Markdown.
///
/// Panics on a definition that the checker ([`crate::saga::problems`]) refuses.
pub fn drawn(definition: &Value) -> String {
    let states = definition["States"].as_object().expect("states");
    let start = text(&definition["StartAt"]);
    let order = in_order(start, states);
    format!("```mermaid\n{}```\n\n{}", diagram(start, &order), table(&order, definition))
}

/// Replaces the text between the marks of `name` in a document. Panics if the marks are not there.
pub fn replaced(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}{text}{end}{after}")
}

type State<'a> = (&'a str, &'a Value);

/// Returns the states in reading order: the way forward, then the states that failures lead to.
fn in_order<'a>(start: &'a str, states: &'a Map<String, Value>) -> Vec<State<'a>> {
    let mut order: Vec<State<'a>> = vec![];
    let mut open = vec![start];
    while let Some(first) = open.pop() {
        let mut next = Some(first);
        while let Some(name) = next.filter(|name| order.iter().all(|(known, _)| known != name)) {
            let state = &states[name];
            order.push((name, state));
            open.extend(catchers(state).rev().map(|catcher| text(&catcher["Next"])));
            next = state["Next"].as_str();
        }
    }
    order
}

fn diagram(start: &str, states: &[State<'_>]) -> String {
    let mut lines = vec!["stateDiagram-v2".to_owned(), format!("    [*] --> {start}")];
    for (name, state) in states {
        lines.push(format!("    {name} --> {}", state["Next"].as_str().unwrap_or("[*]")));
        let arrow = |catcher: &Value| format!("    {name} --> {}: {}", text(&catcher["Next"]), why(catcher));
        lines.extend(catchers(state).map(arrow));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn table(order: &[State<'_>], definition: &Value) -> String {
    let mut lines = vec![
        "| step | function | command id | time-out | retries of technical errors | next if it fails |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (name, state) in order.iter().filter(|(_, state)| state["Type"] == "Task") {
        let parameters = &state["Parameters"];
        let function =
            text(&parameters["FunctionName"]).trim_start_matches("${").trim_end_matches("FunctionArn}");
        let waits = waits(&state["Retry"][0]);
        let (first, last) = (waits.first().expect("a retry"), waits.last().expect("a retry"));
        let failed: Vec<String> = catchers(state)
            .map(|catcher| match why(catcher) {
                "fails" => text(&catcher["Next"]).to_owned(),
                error => format!("{error}: {}", text(&catcher["Next"])),
            })
            .collect();
        lines.push(format!(
            "| {name} | `{}` | `<execution name>:{name}` | {} s | {}, {first} s to {last} s apart, {} s in all | {} |",
            kebab(function),
            state["TimeoutSeconds"],
            waits.len(),
            waits.iter().sum::<f64>(),
            failed.join("; "),
        ));
    }
    lines.push(format!(
        "\nAll attempts of all steps, with all waits, take {} s at most.",
        longest(definition)
    ));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn catchers(state: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    state["Catch"].as_array().into_iter().flatten()
}

fn why(catcher: &Value) -> &str {
    match text(&catcher["ErrorEquals"][0]) {
        "States.ALL" => "fails",
        error => error,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}
