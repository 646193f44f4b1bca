//! Rules of the two state machines of an order, held against their definitions, and a player that runs a
//! definition.
//!
//! [`problems`] returns one sentence for each broken rule. A definition is read as Amazon States Language
//! with JSONPath. The checker is strict on purpose: a field or a kind of state that it does not know is a
//! problem, so it has to grow with the machines. It reads definitions only. That a compensation undoes its
//! step is held by the functions' tests and the end-to-end test.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

/// Errors that are worth another attempt. `Unavailable` and `Conflict` are ours, the others name trouble of
/// Lambda on AWS or on the local cloud. Every other error is a refusal, and asking again would only be
/// refused again.
const TECHNICAL: &[&str] = &[
    "Unavailable",
    "Conflict",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Runtime.Unknown",
    "Sandbox.Timedout",
    "States.Timeout",
];

/// Fields that a state may have. Others would bring in JSONata, a wait, or data that the player does not
/// follow.
const FIELDS: &[&str] = &[
    "Comment",
    "Type",
    "Resource",
    "Parameters",
    "ResultPath",
    "TimeoutSeconds",
    "Retry",
    "Catch",
    "Next",
    "End",
    "Error",
    "Cause",
    "CausePath",
];

/// The only resource of a task: a command to a function, whose answer comes back at once.
const COMMAND: &str = "arn:aws:states:::lambda:invoke";

/// Seconds after which AWS ends an Express execution.
const EXPRESS_LIMIT: u64 = 300;

/// Most states that an execution may enter; both machines enter fewer, so more is a circle.
const MOST_STATES: usize = 50;

/// Reads the definition at `path`. Panics if it is no JSON, because only tests call it.
pub fn definition_at(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A kind of state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Express machine that goes forward. It undoes nothing: any failure begins the undo.
    Placement,
    /// The Standard machine of compensations.
    Undo,
}

impl Kind {
    /// Returns the kind of the definition in this file; `None` if the machine is no saga.
    pub fn of(path: &Path) -> Option<Self> {
        match path.file_name()?.to_str()? {
            "order-placement.asl.json" => Some(Self::Placement),
            "order-undo.asl.json" => Some(Self::Undo),
            _ => None,
        }
    }

    /// Returns an input with every field that an execution is started with: ids, and for an undo its origin
    /// and reason.
    pub fn input(self) -> Value {
        match self {
            Self::Placement => json!({
                "orderId": "an order", "customerId": "a customer", "paymentId": "a payment",
                "shoppingId": "a list", "correlation": "a checkout", "causation": null, "trace": null,
            }),
            Self::Undo => json!({
                "orderId": "an order", "shoppingId": "a list", "attempt": 1, "origin": "placement",
                "reason": "TOO_LATE", "correlation": "a checkout", "causation": null, "trace": null,
            }),
        }
    }

    fn first_and_last(self) -> [&'static str; 2] {
        match self {
            Self::Placement => ["AuthorizeCustomer", "ApproveOrder"],
            Self::Undo => ["CloseOrder", "EndUndo"],
        }
    }

    fn type_of(self, state: &str) -> &'static str {
        match (self, state) {
            (Self::Placement, "OrderNotPlaced") => "Succeed",
            (Self::Placement, "UndoNotBegun") | (Self::Undo, "UndoFailed") => "Fail",
            (Self::Placement | Self::Undo, _) => "Task",
        }
    }

    /// Returns the catchers that a task must have. The error goes beside the ids and never over them or over
    /// an earlier failure.
    fn catchers_of(self, task: &str) -> Value {
        let all = |at, next| catcher("States.ALL", at, next);
        match (self, task) {
            (Self::Placement, "BeginUndo") => json!([all(None, "UndoNotBegun")]),
            (Self::Placement, _) => json!([all(Some("$.failure"), "BeginUndo")]),
            (Self::Undo, "CloseOrder") => json!([
                catcher("ORDER_IS_KEPT", Some("$.kept"), "EndUndo"),
                all(Some("$.failure"), "ReportFailure"),
            ]),
            (Self::Undo, "ReportFailure") => json!([all(Some("$.report"), "UndoFailed")]),
            (Self::Undo, _) => json!([all(Some("$.failure"), "ReportFailure")]),
        }
    }

    /// Returns the next state of a task that is only reached by a failure.
    fn next_after_failure(self, task: &str) -> Option<&'static str> {
        match (self, task) {
            (Self::Placement, "BeginUndo") => Some("OrderNotPlaced"),
            (Self::Undo, "ReportFailure") => Some("UndoFailed"),
            (Self::Placement | Self::Undo, _) => None,
        }
    }

    /// Returns the fields that the payload of a task must have, besides its `id` and `body`.
    ///
    /// A command belongs to one execution: another one decides anew, by what it finds.
    fn payload_of(self, task: &str) -> Value {
        let actor = match self {
            Self::Placement => "saga:order",
            Self::Undo => "saga:undo",
        };
        json!({
            "command.$": format!("States.Format('{{}}:{task}', $$.Execution.Name)"), "actor": actor,
            "correlation.$": "$.correlation", "causation.$": "$.causation", "trace.$": "$.trace",
            "attempt.$": "$$.State.RetryCount",
        })
    }
}

fn catcher(error: &str, at: Option<&str>, next: &str) -> Value {
    json!({ "ErrorEquals": [error], "ResultPath": at, "Next": next })
}

/// Returns everything that is wrong with a definition.
pub fn problems(kind: Kind, definition: &Value) -> Vec<String> {
    let mut problems = vec![];
    let mut want = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    want(
        definition.get("QueryLanguage").is_none(),
        "has a QueryLanguage: only JSONPath, the default, is known",
    );
    let (longest, limit) = (longest(definition), definition["TimeoutSeconds"].as_u64());
    match kind {
        Kind::Placement => {
            let in_time = limit.is_some_and(|limit| longest < limit as f64 && limit < EXPRESS_LIMIT);
            want(
                in_time,
                &format!("takes {longest} s, ends after {limit:?} s, Express after {EXPRESS_LIMIT} s"),
            );
        }
        Kind::Undo => want(limit.is_none(), "has a TimeoutSeconds: it would end half undone, with no report"),
    }
    for (name, state) in definition["States"].as_object().into_iter().flatten() {
        problems
            .extend(problems_of(kind, name, state).into_iter().map(|problem| format!("{name}: {problem}")));
    }
    problems.extend(problems_of_paths(kind, definition));
    problems
}

fn problems_of(kind: Kind, name: &str, state: &Value) -> Vec<String> {
    let mut problems = vec![];
    let mut want = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    for field in state.as_object().into_iter().flat_map(|fields| fields.keys()) {
        want(
            FIELDS.contains(&field.as_str()),
            &format!("{field} is not known: JSONPath only, and nothing waits"),
        );
    }
    let wanted = kind.type_of(name);
    want(state["Type"] == wanted, &format!("is of type {} and not {wanted}", state["Type"]));
    if wanted != "Task" {
        return problems;
    }

    want(state["Resource"] == COMMAND, "does not call a function, or waits for more than its answer");
    want(state["TimeoutSeconds"].as_u64() > Some(0), "has no TimeoutSeconds: it could hang for a year");
    want(state.get("ResultPath") == Some(&Value::Null), "keeps its result: only ids may travel");
    let payload = &state["Parameters"]["Payload"];
    for (field, value) in kind.payload_of(name).as_object().into_iter().flatten() {
        want(payload[field] == *value, &format!("its {field} is {} and not {value}", payload[field]));
    }
    let wanted = kind.catchers_of(name);
    want(state["Catch"] == wanted, &format!("its failures lead elsewhere than {wanted}"));
    if let Some(wanted) = kind.next_after_failure(name) {
        want(state["Next"] == wanted, &format!("leads elsewhere than to {wanted}"));
    }

    let retriers = state["Retry"].as_array().map_or(&[][..], Vec::as_slice);
    want(retriers.len() == 1, "has not one Retry: a dropped packet would undo a good order");
    for retrier in retriers {
        let is = |field: &str, sound: fn(f64) -> bool| retrier[field].as_f64().is_some_and(sound);
        want(retrier["ErrorEquals"] == json!(TECHNICAL), "retries other errors than the technical ones");
        want(
            retrier["JitterStrategy"] == "FULL",
            "retries without jitter: all executions would come back at once",
        );
        want(is("MaxAttempts", |n| (1.0..=20.0).contains(&n)), "its MaxAttempts is not from 1 to 20");
        want(is("IntervalSeconds", |n| n > 0.0), "has no IntervalSeconds");
        want(is("BackoffRate", |n| n > 1.0), "retries without backing off");
        want(
            is("MaxDelaySeconds", |n| n > 0.0),
            "has no MaxDelaySeconds: its waits would double without end",
        );
    }
    problems
}

/// Plays every failure, and every second failure after it, and returns the errors that no catcher could
/// catch.
fn problems_of_paths(kind: Kind, definition: &Value) -> BTreeSet<String> {
    let empty = serde_json::Map::new();
    let states = definition["States"].as_object().unwrap_or(&empty);
    let tasks: Vec<&str> =
        states.keys().map(String::as_str).filter(|name| kind.type_of(name) == "Task").collect();
    let mut problems = BTreeSet::new();
    let mut reached = BTreeSet::new();
    let mut try_with = |failing: &[(&str, &str)]| {
        let run = play(definition, "an execution", &kind.input(), &mut |task, _| {
            failing
                .iter()
                .find(|(name, _)| *name == task)
                .map_or(Ok(()), |(_, error)| Err((*error).to_owned()))
        });
        problems.extend(run.failure.filter(|(error, _)| error == RUNTIME).map(|(_, cause)| cause));
        reached.extend(run.path.iter().cloned());
        run.path
    };
    let path = try_with(&[]);
    for first in &tasks {
        for error in ["ANYTHING", "ORDER_IS_KEPT"] {
            for second in &tasks {
                try_with(&[(first, error), (second, "ANYTHING")]);
            }
            try_with(&[(first, error)]);
        }
    }
    let [first, last] = kind.first_and_last();
    if path.first().map(String::as_str) != Some(first) || path.last().map(String::as_str) != Some(last) {
        problems.insert(format!("begins or ends elsewhere than with {first} and {last}"));
    }
    let unreached = states.keys().filter(|name| !reached.contains(*name));
    problems.extend(unreached.map(|name| format!("{name}: nothing leads to it")));
    problems
}

/// Returns the seconds that an execution takes at most: all attempts of all tasks, each as long as it may
/// take, and the longest waits between them.
pub fn longest(definition: &Value) -> f64 {
    let states = definition["States"].as_object().into_iter().flatten();
    let of_task = |(_, task): (&String, &Value)| {
        let waits: Vec<f64> = task["Retry"].as_array().into_iter().flatten().flat_map(waits).collect();
        task["TimeoutSeconds"].as_f64().unwrap_or(f64::INFINITY) * (1 + waits.len()) as f64
            + waits.iter().sum::<f64>()
    };
    states.filter(|(_, state)| state["Type"] == "Task").map(of_task).sum()
}

/// Returns the seconds between attempts, one for each retry. Jitter makes them shorter: these are the
/// longest.
pub fn waits(retrier: &Value) -> Vec<f64> {
    let number = |name: &str| retrier[name].as_f64().unwrap_or(f64::INFINITY);
    let (interval, rate, most) =
        (number("IntervalSeconds"), number("BackoffRate"), number("MaxDelaySeconds"));
    let attempts = retrier["MaxAttempts"].as_u64().unwrap_or(u64::from(u8::MAX));
    (0..attempts).map(|attempt| (interval * rate.powf(attempt as f64)).min(most)).collect()
}

/// Everything that one execution did.
#[derive(Debug, Default)]
pub struct Run {
    /// The states that it entered, in order.
    pub path: Vec<String>,
    /// The payload of each call, in order, with the name of its task.
    pub calls: Vec<(String, Value)>,
    /// Error and cause, if it failed.
    pub failure: Option<(String, String)>,
}

impl Run {
    /// Returns the payload that a task was called with. Panics if it was not called.
    pub fn payload(&self, task: &str) -> &Value {
        let call = self.calls.iter().find(|(name, _)| name == task);
        &call.unwrap_or_else(|| panic!("{task} was not called: {:?}", self.path)).1
    }

    /// Returns the transitions that AWS charges for at most: states entered, and one for the start.
    pub fn transitions(&self) -> usize {
        self.path.len() + 1
    }
}

/// A world of functions: a task succeeds with this payload, or fails with an error after all its retries.
pub type World<'a> = dyn FnMut(&str, &Value) -> Result<(), String> + 'a;

/// The error of an execution that the definition itself breaks. On AWS, as here, `States.ALL` does not catch
/// it.
const RUNTIME: &str = "States.Runtime";

/// Plays an execution. Retries and results leave no trace in the data of these machines, so they are not
/// played.
pub fn play(definition: &Value, execution: &str, input: &Value, world: &mut World<'_>) -> Run {
    let mut run = Run::default();
    let mut data = input.clone();
    let mut next = definition["StartAt"].as_str();
    while let Some(name) = next {
        run.path.push(name.to_owned());
        match entered(definition, name, execution, &mut data, &mut run, world) {
            Ok(following) => next = following,
            Err(failure) => {
                run.failure = Some(failure);
                break;
            }
        }
    }
    run
}

/// Enters a state and returns the one after it, or the error and cause that end the execution.
fn entered<'a>(
    definition: &'a Value,
    name: &str,
    execution: &str,
    data: &mut Value,
    run: &mut Run,
    world: &mut World<'_>,
) -> Result<Option<&'a str>, (String, String)> {
    let state = &definition["States"][name];
    let runtime = |cause: String| (RUNTIME.to_owned(), format!("{name}: {cause}"));
    let text = |field: &str| state[field].as_str().unwrap_or_default().to_owned();
    match state["Type"].as_str() {
        Some("Task") if run.path.len() > MOST_STATES => Err(runtime("goes round in circles".to_owned())),
        Some("Task") => {
            let payload = filled(&state["Parameters"]["Payload"], execution, data).map_err(runtime)?;
            run.calls.push((name.to_owned(), payload.clone()));
            let Err(error) = world(name, &payload) else {
                let next = state["Next"].as_str();
                let ends = state["End"] == true;
                return if next.is_some() == ends {
                    Err(runtime("has no Next".to_owned()))
                } else {
                    Ok(next)
                };
            };
            let cause = format!("{name} said {error}");
            let catches =
                |catcher: &&Value| [json!([error]), json!(["States.ALL"])].contains(&catcher["ErrorEquals"]);
            let Some(catcher) = state["Catch"].as_array().into_iter().flatten().find(catches) else {
                return Err((error, cause));
            };
            if let Some(field) = catcher["ResultPath"].as_str().and_then(|path| path.strip_prefix("$.")) {
                data[field] = json!({ "Error": error, "Cause": cause });
            }
            Ok(catcher["Next"].as_str())
        }
        Some("Succeed") => Ok(None),
        Some("Fail") => {
            let cause = state["CausePath"].as_str().map(|path| value_at(path, execution, data)).transpose();
            let cause = cause.map_err(runtime)?.as_ref().and_then(Value::as_str).map(str::to_owned);
            Err((text("Error"), cause.unwrap_or_else(|| text("Cause"))))
        }
        Some(_) | None => Err(runtime("is not there, or of an unknown type".to_owned())),
    }
}

/// Returns a template with each path (`"name.$": "$.path"`) replaced by its value.
fn filled(template: &Value, execution: &str, data: &Value) -> Result<Value, String> {
    let Some(fields) = template.as_object() else { return Ok(template.clone()) };
    let field = |(name, value): (&String, &Value)| match (name.strip_suffix(".$"), value.as_str()) {
        (Some(name), Some(path)) => Ok((name.to_owned(), value_at(path, execution, data)?)),
        (Some(name), None) => Err(format!("{name} names no path")),
        (None, _) => Ok((name.clone(), filled(value, execution, data)?)),
    };
    fields.iter().map(field).collect::<Result<_, _>>().map(Value::Object)
}

fn value_at(path: &str, execution: &str, data: &Value) -> Result<Value, String> {
    if let Some(format) = path.strip_prefix("States.Format('").and_then(|rest| rest.strip_suffix(')')) {
        let (format, arguments) =
            format.split_once("', ").ok_or_else(|| format!("{path} has no arguments"))?;
        let mut text = format.to_owned();
        for argument in arguments.split(", ") {
            let value = value_at(argument, execution, data)?;
            let value = value.as_str().ok_or_else(|| format!("{argument} is no text"))?;
            text = text.replacen("{}", value, 1);
        }
        return Ok(text.into());
    }
    match path {
        "$$.Execution.Name" => Ok(execution.into()),
        "$$.State.RetryCount" => Ok(0.into()),
        _ => {
            let pointer = path.strip_prefix('$').map(|fields| fields.replace('.', "/"));
            let found = pointer.as_ref().and_then(|pointer| data.pointer(pointer));
            found.cloned().ok_or_else(|| format!("{path} is missing"))
        }
    }
}
