//! Holds the rules of sagas against a state machine definition (Amazon States Language, JSON with JSONPath).
//!
//! [`problems`] returns a sentence per problem, and none for a saga one can rely on. It is strict on purpose: a kind of
//! state it does not know is a problem, so that the checker grows with the sagas. It reads the definition only;
//! whether a compensation undoes what it should is for the functions' tests and the end-to-end test.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The only errors a step may retry besides those of Lambda itself: everything else is a business refusal, and asking
/// again would only ask again.
const OUR_TECHNICAL_ERRORS: &[&str] = &["Unavailable", "Conflict"];

/// Where the failure stands that the compensations undo: the reason for all of it, so nothing else is written there.
const FAILURE: &str = "$.failure";

/// Where a compensation that does not get through puts its own error.
const STUCK: &str = "$.stuck";

/// A compensation is worth retrying for long: giving up leaves someone's money or goods held.
const COMPENSATION_ATTEMPTS: u64 = 10;

/// Reads the definition at `path`; panics when it is not JSON, since only tests call it.
pub fn definition_at(path: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What a state machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes forward, and undoes what it did when it cannot go on.
    Saga,
    /// All it does is undo, for a saga that could not: each of its tasks keeps the rules of a compensation.
    Compensation,
}

impl Kind {
    /// By the name of the definition's file.
    pub fn of(path: &std::path::Path) -> Self {
        if path.to_string_lossy().ends_with("-compensation.asl.json") {
            Self::Compensation
        } else {
            Self::Saga
        }
    }
}

/// Everything that is wrong with a saga.
pub fn problems(definition: &Value) -> Vec<String> {
    problems_of(Kind::Saga, definition)
}

/// Everything that is wrong with a state machine of this kind.
pub fn problems_of(kind: Kind, definition: &Value) -> Vec<String> {
    let mut problems = vec![];
    let empty = Map::new();
    let states = definition["States"].as_object().unwrap_or(&empty);

    if !definition["TimeoutSeconds"].is_null() {
        problems.push("a TimeoutSeconds for the whole would end the saga without compensating".to_owned());
    }
    if definition["QueryLanguage"].as_str().is_some_and(|language| language != "JSONPath") {
        problems.push("the QueryLanguage must be JSONPath: interpreters disagree about the other".to_owned());
    }
    problems.extend(broken_paths(definition, states));
    if !problems.is_empty() {
        return problems; // the rest walks the states
    }

    let forward = match kind {
        Kind::Saga => reachable(states, &[definition["StartAt"].as_str().unwrap_or_default()], Along::Next),
        Kind::Compensation => BTreeSet::new(),
    };
    for (name, state) in states {
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{name}: {what}"));
            }
        };
        want(!speaks_jsonata(state), "speaks JSONata");
        match state["Type"].as_str() {
            Some("Task") => problems.extend(task_problems(name, state, states, &forward)),
            Some("Fail") => {
                want(!forward.contains(name.as_str()), "fails without compensating what was done");
                want(
                    state["Error"] == "SagaStuck",
                    "a saga that fails is stuck, and its Error must say SagaStuck",
                );
            }
            Some("Choice") => want(
                state["Default"].is_string(),
                "a choice without a Default ends the saga where nothing matches, without compensating",
            ),
            Some("Succeed" | "Pass" | "Wait") => {}
            other => want(false, &format!("states of type {other:?} are not known to this checker yet")),
        }
    }
    problems
}

/// The states of the happy path, from the first on, as long as there is no choice.
pub fn happy_path(definition: &Value) -> Vec<&str> {
    follow(definition, definition["StartAt"].as_str())
}

/// The states a failure of `state` leads through when every compensation gets through.
pub fn compensations_of<'a>(definition: &'a Value, state: &str) -> Vec<&'a str> {
    follow(definition, definition["States"][state]["Catch"][0]["Next"].as_str())
}

fn follow<'a>(definition: &'a Value, first: Option<&'a str>) -> Vec<&'a str> {
    let mut path = vec![];
    let mut next = first;
    while let Some(name) = next.filter(|name| !path.contains(name)) {
        path.push(name);
        next = definition["States"][name]["Next"].as_str();
    }
    path
}

/// What one execution did.
#[derive(Debug, Default)]
pub struct Run {
    /// The states it went through, the last one included.
    pub path: Vec<String>,
    /// What each task was called with, in order.
    pub calls: Vec<(String, Value)>,
    /// The cause, when it ended in a state that fails.
    pub cause: Option<String>,
}

impl Run {
    /// What the task was called with.
    pub fn payload(&self, task: &str) -> &Value {
        let call = self.calls.iter().find(|(name, _)| name == task);
        &call.unwrap_or_else(|| panic!("{task} was not called: {:?}", self.path)).1
    }
}

/// Runs an execution: `error_of` says with which error a task fails after all its retries, if it does. Retries leave no
/// trace in a state machine's data, so they are not played.
///
/// Panics where a real execution would fail beyond any Catch: on a path that is missing, and on what this small
/// interpreter does not know.
pub fn run(
    definition: &Value,
    name: &str,
    input: &Value,
    error_of: impl Fn(&str) -> Option<&'static str>,
) -> Run {
    let mut run = Run::default();
    let mut data = input.clone();
    let mut next = definition["StartAt"].as_str();
    while let Some(state) = next {
        assert!(run.path.len() < 100, "it goes round in circles: {:?}", run.path);
        run.path.push(state.to_owned());
        let definition = &definition["States"][state];
        let on = Data { execution: name, data: &data };
        match definition["Type"].as_str() {
            Some("Task") => {
                run.calls.push((state.to_owned(), on.filled(&definition["Parameters"]["Payload"])));
                match error_of(state) {
                    None => next = definition["Next"].as_str(),
                    Some(error) => {
                        let catcher = &definition["Catch"][0];
                        let path = catcher["ResultPath"].as_str().and_then(|path| path.strip_prefix("$."));
                        let field = path.unwrap_or_else(|| panic!("{state}: its Catch keeps no error"));
                        let cause = format!("{state} said {error}");
                        data[field] = serde_json::json!({ "Error": error, "Cause": cause });
                        next = catcher["Next"].as_str();
                    }
                }
            }
            Some("Choice") => {
                let choices = definition["Choices"].as_array().map_or(&[][..], Vec::as_slice);
                let chosen = choices.iter().find(|choice| on.holds(choice));
                next = chosen.map_or(&definition["Default"], |choice| &choice["Next"]).as_str();
            }
            Some("Succeed") => next = None,
            Some("Fail") => {
                let cause = definition["CausePath"].as_str().map(|path| on.value(path));
                run.cause = cause.map(|cause| cause.as_str().unwrap_or_default().to_owned());
                next = None;
            }
            other => panic!("{state}: states of type {other:?} are not played yet"),
        }
    }
    run
}

/// What paths are read on.
struct Data<'a> {
    execution: &'a str,
    data: &'a Value,
}

impl Data<'_> {
    /// A payload template with its paths (`"name.$": "$.path"`) replaced by what they lead to.
    fn filled(&self, template: &Value) -> Value {
        let Some(fields) = template.as_object() else { return template.clone() };
        let filled = fields.iter().map(|(name, value)| match (name.strip_suffix(".$"), value.as_str()) {
            (Some(name), Some(path)) => (name.to_owned(), self.value(path)),
            (Some(name), None) => panic!("{name} names no path"),
            (None, _) => (name.clone(), self.filled(value)),
        });
        Value::Object(filled.collect())
    }

    fn holds(&self, choice: &Value) -> bool {
        let (Some(variable), Some(wanted)) = (choice["Variable"].as_str(), choice["StringEquals"].as_str())
        else {
            panic!("{choice}: only texts are compared yet");
        };
        self.value(variable) == wanted
    }

    fn value(&self, path: &str) -> Value {
        if path == "$$.Execution.Name" {
            return self.execution.into();
        }
        if let Some(arguments) = path.strip_prefix("States.Format('").and_then(|rest| rest.strip_suffix(')'))
        {
            let (format, arguments) = arguments.split_once("', ").expect("a format and its arguments");
            return arguments
                .split(", ")
                .fold(format.to_owned(), |text, argument| {
                    let value = self.value(argument);
                    text.replacen("{}", value.as_str().unwrap_or_else(|| panic!("{argument} is no text")), 1)
                })
                .into();
        }
        let pointer = path.strip_prefix('$').map(|fields| fields.replace('.', "/"));
        let pointer = pointer.unwrap_or_else(|| panic!("{path} is not a path"));
        let found = self.data.pointer(&pointer);
        found.unwrap_or_else(|| panic!("{path} is missing in {}", self.data)).clone()
    }
}

fn task_problems(
    name: &str,
    task: &Value,
    states: &Map<String, Value>,
    forward: &BTreeSet<&str>,
) -> Vec<String> {
    let mut problems = vec![];
    let mut want = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{name}: {what}"));
        }
    };
    let compensates = !forward.contains(name);

    want(
        task["TimeoutSeconds"].as_u64().is_some_and(|seconds| seconds > 0),
        "no TimeoutSeconds: it could hang for a year",
    );

    // Only ids travel: a result is dropped, or what is kept of it is picked by hand.
    let picked =
        task["ResultPath"].as_str().is_some_and(|path| path != "$") && task["ResultSelector"].is_object();
    let dropped = task.get("ResultPath").is_some_and(Value::is_null);
    want(dropped || picked, "its ResultPath lets results pile up");

    let retriers = task["Retry"].as_array().map_or(&[][..], Vec::as_slice);
    want(!retriers.is_empty(), "no Retry: one dropped packet would compensate a good order");
    for retrier in retriers {
        let errors: Vec<&str> = names(&retrier["ErrorEquals"]);
        let technical = |error: &&str| {
            OUR_TECHNICAL_ERRORS.contains(error)
                || ["Lambda.", "Runtime.", "Sandbox."]
                    .iter()
                    .any(|of_the_service| error.starts_with(of_the_service))
                || *error == "States.Timeout"
        };
        for error in errors.iter().filter(|error| !technical(error)) {
            want(
                false,
                &format!("retries {error}, so refusals of the business too: list technical errors only"),
            );
        }
        want(
            OUR_TECHNICAL_ERRORS.iter().all(|error| errors.contains(error)),
            "does not retry our own technical errors",
        );
        want(
            retrier["JitterStrategy"] == "FULL",
            "retries without full jitter: all sagas would come back at once",
        );
        let attempts = retrier["MaxAttempts"].as_u64();
        want(
            attempts.is_some_and(|n| (1..=20).contains(&n)),
            "its retries must be bounded: MaxAttempts from 1 to 20",
        );
        want(retrier["IntervalSeconds"].as_u64().is_some_and(|n| n > 0), "no IntervalSeconds");
        want(retrier["BackoffRate"].as_f64().is_some_and(|rate| rate > 1.0), "retries without backing off");
        want(
            retrier["MaxDelaySeconds"].as_u64().is_some(),
            "no MaxDelaySeconds: its waits would double without end",
        );
        if compensates {
            want(attempts >= Some(COMPENSATION_ATTEMPTS), "a compensation must be retried for long");
        }
    }

    // Every task may have had its effect when it fails, a time-out is an unknown: so no task is exempt.
    let catchers = task["Catch"].as_array().map_or(&[][..], Vec::as_slice);
    let all = catchers.last().is_some_and(|last| names(&last["ErrorEquals"]) == ["States.ALL"]);
    want(all, "no Catch of States.ALL: a failure would leave what was done half done");
    for catcher in catchers {
        let next = catcher["Next"].as_str().unwrap_or_default();
        if compensates {
            want(
                catcher["ResultPath"] == STUCK,
                "a compensation's Catch must put its error at $.stuck, beside the first failure and not over it",
            );
            let stuck = states.get(next).is_some_and(|state| state["Type"] == "Fail");
            want(stuck, "a compensation that fails must end in a visible stuck state");
        } else {
            want(
                catcher["ResultPath"] == FAILURE,
                "a Catch must put the error at $.failure, beside the ids and not over them",
            );
            let path = reachable(states, &[next], Along::Next);
            let undoes = path.iter().any(|state| states[*state]["Type"] == "Task");
            want(undoes && path.is_disjoint(forward), "its Catch does not lead to a compensation");
        }
    }
    problems
}

fn broken_paths(definition: &Value, states: &Map<String, Value>) -> Vec<String> {
    let mut problems = vec![];
    let start = definition["StartAt"].as_str().unwrap_or_default();
    if !states.contains_key(start) {
        return vec![format!("StartAt names {start:?}, which is not there")];
    }
    for (name, state) in states {
        for next in successors(state, Along::NextAndCatch) {
            if !states.contains_key(next) {
                problems.push(format!("{name}: leads to {next:?}, which is not there"));
            }
        }
        let ends = matches!(state["Type"].as_str(), Some("Succeed" | "Fail"));
        if !ends && successors(state, Along::Next).is_empty() {
            problems
                .push(format!("{name}: has no Next, so how the saga ended would not show in its last state"));
        }
    }
    if problems.is_empty() {
        let reached = reachable(states, &[start], Along::NextAndCatch);
        let unreached = states.keys().filter(|name| !reached.contains(name.as_str()));
        problems.extend(unreached.map(|name| format!("{name}: nothing leads to it")));
    }
    problems
}

#[derive(Clone, Copy, PartialEq)]
enum Along {
    Next,
    NextAndCatch,
}

fn successors(state: &Value, along: Along) -> Vec<&str> {
    let choices = state["Choices"].as_array().into_iter().flatten().map(|choice| &choice["Next"]);
    let catches = state["Catch"].as_array().into_iter().flatten().map(|catch| &catch["Next"]);
    let catches = catches.filter(|_| along == Along::NextAndCatch);
    [&state["Next"], &state["Default"]]
        .into_iter()
        .chain(choices)
        .chain(catches)
        .filter_map(Value::as_str)
        .collect()
}

fn reachable<'a>(states: &'a Map<String, Value>, from: &[&'a str], along: Along) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = from.to_vec();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(states.get(name).into_iter().flat_map(|state| successors(state, along)));
        }
    }
    reached
}

fn names(errors: &Value) -> Vec<&str> {
    errors.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn speaks_jsonata(state: &Value) -> bool {
    let other_language = state["QueryLanguage"].as_str().is_some_and(|language| language != "JSONPath");
    let fields = ["Arguments", "Output"].iter().any(|field| state.get(field).is_some());
    other_language || fields || state.to_string().contains("{%")
}
