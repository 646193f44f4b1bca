//! Draws state machines for docs/SAGAS.md: what is said there of a definition is read from the definition.

use serde_json::{Map, Value};

use crate::saga::{Kind, longest, waits};

/// The state machine as a Mermaid diagram, and its steps as a table: Markdown.
///
/// Panics on what the checker ([`crate::saga::problems_of`]) would refuse too.
pub fn drawn(kind: Kind, definition: &Value) -> String {
    let states = definition["States"].as_object().expect("states");
    let start = definition["StartAt"].as_str().expect("a first state");
    let order = in_order(start, states);
    format!("```mermaid\n{}```\n\n{}", diagram(start, &order), table(kind, &order, definition))
}

type State<'a> = (&'a str, &'a Value);

/// The states as one would tell them: the way forward, then what failures lead to, the longest way first.
fn in_order<'a>(start: &'a str, states: &'a Map<String, Value>) -> Vec<State<'a>> {
    let mut order: Vec<State<'a>> = vec![];
    let mut open = vec![start];
    while let Some(first) = open.pop() {
        let mut way = vec![first];
        while let Some(name) = way.pop() {
            if order.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let state = &states[name];
            order.push((name, state));
            let catches = state["Catch"].as_array().into_iter().flatten();
            open.extend(catches.filter_map(|catcher| catcher["Next"].as_str()));
            let choices = state["Choices"].as_array().into_iter().flatten().rev();
            way.extend(choices.filter_map(|choice| choice["Next"].as_str()));
            way.extend([&state["Default"], &state["Next"]].into_iter().filter_map(Value::as_str));
        }
    }
    order
}

/// Replaces what stands between the marks of `name` in a document; the marks stay.
///
/// Panics when they are not there.
pub fn replaced(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}{text}{end}{after}")
}

fn diagram(start: &str, states: &[State<'_>]) -> String {
    let mut lines = vec!["stateDiagram-v2".to_owned()];
    for (name, state) in states {
        if state["Type"] == "Choice" {
            lines.push(format!("    state {name} <<choice>>"));
        }
    }
    lines.push(format!("    [*] --> {start}"));
    for (name, state) in states {
        for choice in state["Choices"].as_array().into_iter().flatten() {
            let variable = text(&choice["Variable"]).trim_start_matches("$.");
            let (value, next) = (text(&choice["StringEquals"]), text(&choice["Next"]));
            lines.push(format!("    {name} --> {next}: {variable} is {value}"));
        }
        if let Some(default) = state["Default"].as_str() {
            lines.push(format!("    {name} --> {default}: otherwise"));
        }
        if let Some(next) = state["Next"].as_str() {
            lines.push(format!("    {name} --> {next}"));
        }
        for catcher in state["Catch"].as_array().into_iter().flatten() {
            lines.push(format!("    {name} --> {}: {}", text(&catcher["Next"]), why(catcher)));
        }
        if matches!(text(&state["Type"]), "Succeed" | "Fail") || state["End"] == true {
            lines.push(format!("    {name} --> [*]"));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn table(kind: Kind, order: &[State<'_>], definition: &Value) -> String {
    let states = definition["States"].as_object().expect("states");
    let mut lines = vec![
        "| step | function | command id | time-out | retries of technical errors | when it fails all the same |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (name, state) in order.iter().filter(|(_, state)| state["Type"] == "Task") {
        let parameters = &state["Parameters"];
        let (function, command) = match parameters["StateMachineArn"].as_str() {
            Some(machine) => {
                let machine = machine.trim_start_matches("${").trim_end_matches("Arn}");
                (kebab(machine), "none: its steps have theirs".to_owned())
            }
            None => {
                let function = text(&parameters["FunctionName"]).trim_start_matches("${");
                let command = command(text(&parameters["Payload"]["command.$"]));
                (kebab(function.trim_end_matches("FunctionArn}")), format!("`{command}`"))
            }
        };
        let timeout = match state["TimeoutSecondsPath"].as_str() {
            Some(path) => format!("`{}` s", path.trim_start_matches("$.")),
            None => format!("{} s", state["TimeoutSeconds"]),
        };
        let retries = state["Retry"].as_array().expect("retriers").iter().map(retries).collect::<Vec<_>>();
        let failed: Vec<String> = state["Catch"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|catcher| {
                let path = undone(states, text(&catcher["Next"]));
                match why(catcher).as_str() {
                    "fails" => path,
                    why => format!("{why}: {path}"),
                }
            })
            .collect();
        let failed = if failed.is_empty() { "ends with the error".to_owned() } else { failed.join("; ") };
        lines.push(format!(
            "| {name} | `{function}` | {command} | {timeout} | {} | {failed} |",
            retries.join("; "),
        ));
    }
    if kind == Kind::Express {
        let (most, whole) = (longest(definition), &definition["TimeoutSeconds"]);
        lines.push(format!("\nAll of it takes at most {most} s; what hangs is ended after {whole} s."));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What a command's id is made of, for people.
fn command(format: &str) -> String {
    let format = format.strip_prefix("States.Format('").and_then(|rest| rest.strip_suffix(')'));
    let (format, arguments) = format.and_then(|rest| rest.split_once("', ")).expect("a format and arguments");
    arguments.split(", ").fold(format.to_owned(), |command, argument| {
        let shown = match argument {
            "$.orderId" => "<order id>",
            "$$.State.EnteredTime" => "<time of the turn>",
            other => panic!("{other} is no part of a command's id"),
        };
        command.replacen("{}", shown, 1)
    })
}

/// When a catcher leads away.
fn why(catcher: &Value) -> String {
    let errors: Vec<&str> = catcher["ErrorEquals"].as_array().into_iter().flatten().map(text).collect();
    match errors[..] {
        ["States.ALL"] => "fails".to_owned(),
        ["States.Timeout"] => "not in time".to_owned(),
        [error] => error.to_owned(),
        _ => "not to be had".to_owned(),
    }
}

/// How often and how long a retrier tries. Full jitter makes the waits shorter: this is the most.
fn retries(retrier: &Value) -> String {
    let waits = waits(retrier);
    let (first, last) = (waits.first().expect("a retry"), waits.last().expect("a retry"));
    format!("{}, {first} s to {last} s apart, {} s in all at most", waits.len(), waits.iter().sum::<f64>())
}

/// The steps that a failure leads through.
fn undone(states: &Map<String, Value>, first: &str) -> String {
    let mut path = vec![];
    let mut next = Some(first);
    while let Some(name) = next.filter(|name| !path.contains(name)) {
        path.push(name);
        next = states[name]["Next"].as_str();
    }
    path.join(", ")
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
