//! Holds the rules of sagas against a state machine definition (Amazon States Language, JSON with JSONPath).
//!
//! [`problems`] returns a sentence per problem, and none for a saga one can rely on. It is strict on purpose: a kind of
//! state it does not know is a problem, so that the checker grows with the sagas. It reads the definition only;
//! whether a compensation undoes what it should is for the functions' tests and the end-to-end test.
//!
//! [`Player`] plays an execution, with the express execution inside it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The only errors a step may retry besides those of Lambda itself: everything else is a business refusal, and asking
/// again would only ask again.
const OUR_TECHNICAL_ERRORS: &[&str] = &["Unavailable", "Conflict"];

/// What a step is told when the order was cancelled meanwhile. Whoever hears of that gives back what the order holds, so
/// this alone may end a saga that has not undone anything.
const CANCELLED: &str = "ORDER_CANCELLED";

/// Where the failure stands that the compensations undo: the reason for all of it, so nothing else is written there.
const FAILURE: &str = "$.failure";

/// Where a compensation that does not get through puts its own error.
const STUCK: &str = "$.stuck";

/// A compensation is worth retrying for long: giving up leaves someone's money or goods held.
const COMPENSATION_ATTEMPTS: u64 = 10;

/// Step Functions ends an express execution after this many seconds.
const EXPRESS_LIMIT: u64 = 300;

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
    /// Steps forward inside a step of a saga, as an express execution. It undoes nothing: the saga does.
    Express,
    /// All it does is undo, for a saga that could not: each of its tasks keeps the rules of a compensation.
    Compensation,
}

impl Kind {
    /// By the name of the definition's file.
    pub fn of(path: &std::path::Path) -> Self {
        let name = path.to_string_lossy();
        if name.ends_with("-compensation.asl.json") {
            Self::Compensation
        } else if name.ends_with("-placement.asl.json") {
            Self::Express
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

    match (kind, definition["TimeoutSeconds"].as_u64()) {
        (Kind::Express, Some(whole)) => {
            let most = longest(definition);
            if most >= whole as f64 || whole >= EXPRESS_LIMIT {
                problems.push(format!(
                    "its steps may take {most} s, and its limit is {whole} s: Express ends it at {EXPRESS_LIMIT} s"
                ));
            }
        }
        (Kind::Express, None) => {
            problems.push("an express execution without a TimeoutSeconds ends when Express likes".to_owned());
        }
        (Kind::Saga | Kind::Compensation, Some(_)) => {
            problems
                .push("a TimeoutSeconds for the whole would end the saga without compensating".to_owned());
        }
        (Kind::Saga | Kind::Compensation, None) => {}
    }
    if definition["QueryLanguage"].as_str().is_some_and(|language| language != "JSONPath") {
        problems.push("the QueryLanguage must be JSONPath: interpreters disagree about the other".to_owned());
    }
    problems.extend(broken_paths(kind, definition, states));
    if !problems.is_empty() {
        return problems; // the rest walks the states
    }

    let ways = Ways::of(kind, definition, states);
    for (name, state) in states {
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{name}: {what}"));
            }
        };
        want(!speaks_jsonata(state), "speaks JSONata");
        match state["Type"].as_str() {
            Some("Task") => problems.extend(task_problems(kind, name, state, states, &ways)),
            Some("Fail") => {
                want(!ways.forward.contains(name.as_str()), "fails without compensating what was done");
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
    let catchers = definition["States"][state]["Catch"].as_array();
    follow(definition, catchers.and_then(|catchers| catchers.last()?["Next"].as_str()))
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

/// The seconds that an execution takes at most, when every attempt of every task takes as long as it may and every wait
/// between attempts is the longest.
pub fn longest(definition: &Value) -> f64 {
    let tasks = definition["States"].as_object().into_iter().flatten().map(|(_, state)| state);
    let of_task = |task: &Value| {
        let timeout = task["TimeoutSeconds"].as_f64().unwrap_or(f64::INFINITY);
        let waits: Vec<f64> = task["Retry"].as_array().into_iter().flatten().flat_map(waits).collect();
        timeout * (1 + waits.len()) as f64 + waits.iter().sum::<f64>()
    };
    tasks.filter(|state| state["Type"] == "Task").map(of_task).sum()
}

/// The seconds between attempts, one for each retry. Full jitter makes them shorter: this is the most.
pub fn waits(retrier: &Value) -> Vec<f64> {
    let number = |name: &str| retrier[name].as_f64().unwrap_or(f64::INFINITY);
    let (interval, rate, most) =
        (number("IntervalSeconds"), number("BackoffRate"), number("MaxDelaySeconds"));
    let attempts = retrier["MaxAttempts"].as_u64().unwrap_or(u64::from(u8::MAX));
    (0..attempts).map(|attempt| (interval * rate.powf(attempt as f64)).min(most)).collect()
}

/// What one execution did, with the express execution inside it.
#[derive(Debug, Default)]
pub struct Run {
    /// The states it went through, the last one included.
    pub path: Vec<String>,
    /// The states of the express executions inside it.
    pub inside: Vec<String>,
    /// What each task was called with, in order.
    pub calls: Vec<(String, Value)>,
    /// Error and cause, when it failed.
    pub failure: Option<(String, String)>,
    /// The data it ended with.
    pub output: Value,
}

impl Run {
    /// What the task was called with.
    pub fn payload(&self, task: &str) -> &Value {
        let call = self.calls.iter().find(|(name, _)| name == task);
        &call.unwrap_or_else(|| panic!("{task} was not called: {:?}", self.path)).1
    }

    /// What is charged: states entered, and one for the start. What is inside is not.
    pub fn transitions(&self) -> usize {
        self.path.len() + 1
    }
}

/// What a task's function does when it is called with a payload: it answers, or fails with an error after all its retries.
pub type World<'a> = dyn FnMut(&str, &Value) -> Result<Value, String> + 'a;

/// Plays executions. Retries leave no trace in a state machine's data, so they are not played.
#[derive(Debug)]
pub struct Player<'a> {
    /// The definition.
    pub definition: &'a Value,
    /// What it runs as express executions, by the variable that stands for the ARN.
    pub inside: &'a [(&'a str, &'a Value)],
}

impl Player<'_> {
    /// Runs an execution.
    ///
    /// Panics where a real execution would fail beyond any Catch: on a path that is missing, and on what this small
    /// interpreter does not know.
    pub fn run(&self, name: &str, input: &Value, world: &mut World<'_>) -> Run {
        let mut run = Run::default();
        let mut data = input.clone();
        let mut next = self.definition["StartAt"].as_str();
        while let Some(state) = next {
            assert!(run.path.len() < 100, "it goes round in circles: {:?}", run.path);
            run.path.push(state.to_owned());
            let definition = &self.definition["States"][state];
            let on = Data { execution: name, turn: run.path.len(), data: &data };
            match definition["Type"].as_str() {
                Some("Task") => match self.called(state, &on, &mut run, world) {
                    Ok(result) => {
                        data = on.with(definition, &result);
                        next = definition["Next"].as_str();
                        assert!(next.is_some() != (definition["End"] == true), "{state}: Next or End");
                    }
                    Err(error) => {
                        let cause = format!("{state} said {error}");
                        let catchers = definition["Catch"].as_array().into_iter().flatten();
                        let mut catchers = catchers.filter(|catcher| catches(catcher, &error));
                        let Some(catcher) = catchers.next() else {
                            run.failure = Some((error, cause));
                            break;
                        };
                        let caught = serde_json::json!({ "Error": error, "Cause": cause });
                        data = on.put(&catcher["ResultPath"], caught);
                        next = catcher["Next"].as_str();
                    }
                },
                Some("Choice") => {
                    let choices = definition["Choices"].as_array().map_or(&[][..], Vec::as_slice);
                    let chosen = choices.iter().find(|choice| on.holds(choice));
                    next = chosen.map_or(&definition["Default"], |choice| &choice["Next"]).as_str();
                }
                Some("Succeed") => next = None,
                Some("Fail") => {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let cause = definition["CausePath"].as_str().map(|path| text(&on.value(path)));
                    run.failure = Some((text(&definition["Error"]), cause.unwrap_or_default()));
                    next = None;
                }
                other => panic!("{state}: states of type {other:?} are not played yet"),
            }
        }
        run.output = data;
        run
    }

    /// What a task comes to.
    fn called(
        &self,
        state: &str,
        on: &Data<'_>,
        run: &mut Run,
        world: &mut World<'_>,
    ) -> Result<Value, String> {
        let task = &self.definition["States"][state];
        let parameters = on.filled(&task["Parameters"]);
        match task["Resource"].as_str() {
            Some(STEP) => {
                run.calls.push((state.to_owned(), parameters["Payload"].clone()));
                let payload = world(state, &parameters["Payload"])?;
                Ok(serde_json::json!({ "StatusCode": 200, "Payload": payload }))
            }
            Some(WAIT) => {
                let limit = on.value(task["TimeoutSecondsPath"].as_str().expect("a path"));
                assert!(limit.as_u64().is_some_and(|seconds| seconds > 0), "{state}: waits for {limit} s");
                run.calls.push((state.to_owned(), parameters["Payload"].clone()));
                world(state, &parameters["Payload"])
            }
            Some(EXPRESS) => {
                run.calls.push((state.to_owned(), parameters.clone()));
                world(state, &parameters)?; // the call itself may fail
                let machine = parameters["StateMachineArn"].as_str().unwrap_or_default();
                let found = self.inside.iter().find(|(arn, _)| *arn == machine);
                let (_, definition) = found.unwrap_or_else(|| panic!("there is no {machine} to run"));
                let input = parameters["Input"].as_str().expect("JSON, as a text");
                let input = serde_json::from_str(input).expect("JSON");
                let inside = Player { definition, inside: &[] }.run("whatever it is called", &input, world);
                run.inside.extend(inside.path);
                run.calls.extend(inside.calls);
                Ok(match inside.failure {
                    Some((error, cause)) => {
                        serde_json::json!({ "Status": "FAILED", "Error": error, "Cause": cause })
                    }
                    None => serde_json::json!({ "Status": "SUCCEEDED", "Output": inside.output.to_string() }),
                })
            }
            other => panic!("{state}: {other:?} is not played yet"),
        }
    }
}

/// A command to a function.
const STEP: &str = "arn:aws:states:::lambda:invoke";
/// The same, done when somebody sends the task's token back.
const WAIT: &str = "arn:aws:states:::lambda:invoke.waitForTaskToken";
/// An express execution, run to its end.
const EXPRESS: &str = "arn:aws:states:::aws-sdk:sfn:startSyncExecution";

fn catches(catcher: &Value, error: &str) -> bool {
    let named = names(&catcher["ErrorEquals"]);
    named.contains(&error)
        || named == ["States.ALL"]
        || named.contains(&"States.TaskFailed") && error != "States.Timeout"
}

/// What paths are read on.
struct Data<'a> {
    execution: &'a str,
    /// Tells this entry into a state from all others.
    turn: usize,
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

    /// The data after a task, with its result.
    fn with(&self, task: &Value, result: &Value) -> Value {
        let on_result = Data { data: result, ..*self };
        let selector = &task["ResultSelector"];
        let result = if selector.is_null() { result.clone() } else { on_result.filled(selector) };
        match task.get("OutputPath") {
            Some(Value::Null) => serde_json::json!({}),
            None => self.put(&task["ResultPath"], result),
            Some(other) => panic!("the OutputPath {other} is not played yet"),
        }
    }

    /// The data with a value at a path; without it, where the path is null.
    fn put(&self, path: &Value, value: Value) -> Value {
        let mut data = self.data.clone();
        if !path.is_null() {
            let field = path.as_str().and_then(|path| path.strip_prefix("$."));
            data[field.unwrap_or_else(|| panic!("nothing is put at {path} yet"))] = value;
        }
        data
    }

    fn holds(&self, choice: &Value) -> bool {
        let (Some(variable), Some(wanted)) = (choice["Variable"].as_str(), choice["StringEquals"].as_str())
        else {
            panic!("{choice}: only texts are compared yet");
        };
        self.value(variable) == wanted
    }

    fn value(&self, path: &str) -> Value {
        match path {
            "$$.Execution.Name" => return self.execution.into(),
            "$$.State.EnteredTime" => return format!("2026-11-20T09:00:{:02}Z", self.turn).into(),
            "$$.State.RetryCount" => return 0.into(),
            "$$.Task.Token" => return format!("the token of turn {}", self.turn).into(),
            "States.JsonToString($)" => return self.data.to_string().into(),
            _ => {}
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

/// Which way a state is on.
struct Ways<'a> {
    /// The happy path.
    forward: BTreeSet<&'a str>,
    /// Beside it: they lead back to it.
    turns: BTreeSet<&'a str>,
}

impl<'a> Ways<'a> {
    fn of(kind: Kind, definition: &'a Value, states: &'a Map<String, Value>) -> Self {
        let forward = match kind {
            Kind::Saga | Kind::Express => {
                reachable(states, &[definition["StartAt"].as_str().unwrap_or_default()], Along::Next)
            }
            Kind::Compensation => BTreeSet::new(),
        };
        let catchers = || states.values().flat_map(|state| state["Catch"].as_array().into_iter().flatten());
        let after_a_failure = |name: &str| {
            catchers().any(|catcher| catcher["Next"] == name && catcher["ResultPath"] == FAILURE)
        };
        let leads_back = |name: &&str| {
            !forward.contains(*name)
                && !after_a_failure(name)
                && !reachable(states, &[*name], Along::Next).is_disjoint(&forward)
        };
        let turns = states.keys().map(String::as_str).filter(leads_back).collect();
        Self { forward, turns }
    }

    fn goes_on(&self, state: &str) -> bool {
        self.forward.contains(state) || self.turns.contains(state)
    }
}

fn task_problems(
    kind: Kind,
    name: &str,
    task: &Value,
    states: &Map<String, Value>,
    ways: &Ways<'_>,
) -> Vec<String> {
    let mut problems = vec![];
    let mut want = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{name}: {what}"));
        }
    };
    let compensates = !ways.goes_on(name);
    let resource = task["Resource"].as_str().unwrap_or_default();
    let (waits, runs_express) = (resource == WAIT, resource == EXPRESS);
    want(waits || runs_express || resource == STEP, "calls something that this checker does not know yet");

    if waits {
        want(
            task["TimeoutSecondsPath"].is_string() && task["TimeoutSeconds"].is_null(),
            "waits for a token without a TimeoutSecondsPath: it could wait for a year",
        );
    } else {
        want(
            task["TimeoutSeconds"].as_u64().is_some_and(|seconds| seconds > 0),
            "no TimeoutSeconds: it could hang for a year",
        );
    }

    // Only ids travel: a result is dropped, or what is kept of it is picked by hand. How an express execution ended is
    // kept whole: it has fields that are there only when it failed, and is as small as what went into it.
    let path = task["ResultPath"].as_str().filter(|path| *path != "$");
    let picked = path.is_some() && (task["ResultSelector"].is_object() || runs_express);
    let dropped = task.get("ResultPath").is_some_and(Value::is_null);
    want(dropped || picked, "its ResultPath lets results pile up");

    let retriers = task["Retry"].as_array().map_or(&[][..], Vec::as_slice);
    want(!retriers.is_empty(), "no Retry: one dropped packet would compensate a good order");
    for retrier in retriers {
        let errors: Vec<&str> = names(&retrier["ErrorEquals"]);
        if runs_express {
            // That a placement fails is its answer: whatever fails the call is technical.
            want(
                errors == ["States.TaskFailed", "States.Timeout"],
                "the call of an express execution refuses nothing: whatever fails it is worth a retry",
            );
        } else {
            let technical = |error: &&str| is_technical(error) && !(waits && *error == "States.Timeout");
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
        }
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

    let catchers = task["Catch"].as_array().map_or(&[][..], Vec::as_slice);
    if kind == Kind::Express {
        want(catchers.is_empty(), "catches what the saga around it has to hear of");
        return problems;
    }
    // Every task may have had its effect when it fails, a time-out is an unknown: so no task is exempt.
    let all = catchers.last().is_some_and(|last| names(&last["ErrorEquals"]) == ["States.ALL"]);
    want(all, "no Catch of States.ALL: a failure would leave what was done half done");
    if waits {
        let in_vain = |catcher: &Value| names(&catcher["ErrorEquals"]) == ["States.Timeout"];
        want(catchers.iter().any(in_vain), "no Catch of States.Timeout: nobody asks how to wait on");
    }
    for catcher in catchers {
        let next = catcher["Next"].as_str().unwrap_or_default();
        let errors = names(&catcher["ErrorEquals"]);
        // Going on as if nothing had happened takes an error that says so, and leaves no failure behind.
        if ways.goes_on(next) && errors != ["States.ALL"] && catcher.get("ResultPath") == Some(&Value::Null) {
            continue;
        }
        // What waits for the payment looks at the order itself before anything is undone. So it may be asked after any
        // failure of the call that places the order, whose answer it is given, and of what only reminds.
        let kept = catcher.get("ResultPath");
        let answer = runs_express && kept == task.get("ResultPath");
        if !compensates && !waits && is_waiting(&states[next]) && (answer || kept == Some(&Value::Null)) {
            continue;
        }
        // That there is nothing to undo is as good as having undone it.
        let as_if_done = compensates && catcher["Next"] == task["Next"] && errors.len() == 1;
        if as_if_done && errors != ["States.ALL"] && catcher.get("ResultPath") == Some(&Value::Null) {
            continue;
        }
        if errors == [CANCELLED] && states.get(next).is_some_and(|state| state["Type"] == "Succeed") {
            continue;
        }
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
            want(undoes && path.is_disjoint(&ways.forward), "its Catch does not lead to a compensation");
        }
    }
    problems
}

/// Whether a state sleeps until somebody sends its token back.
fn is_waiting(state: &Value) -> bool {
    state["Resource"].as_str().is_some_and(|resource| resource.ends_with(".waitForTaskToken"))
}

/// Whether an error says that asking again may help.
fn is_technical(error: &str) -> bool {
    OUR_TECHNICAL_ERRORS.contains(&error)
        || ["Lambda.", "Runtime.", "Sandbox."].iter().any(|of_the_service| error.starts_with(of_the_service))
        || error == "States.Timeout"
}

fn broken_paths(kind: Kind, definition: &Value, states: &Map<String, Value>) -> Vec<String> {
    let mut problems = vec![];
    let start = definition["StartAt"].as_str().unwrap_or_default();
    if !states.contains_key(start) {
        return vec![format!("StartAt names {start:?}, which is not there")];
    }
    let on_the_way = reachable(states, &[start], Along::Next);
    for (name, state) in states {
        for next in successors(state, Along::NextAndCatch) {
            if !states.contains_key(next) {
                problems.push(format!("{name}: leads to {next:?}, which is not there"));
            }
        }
        let ends = matches!(state["Type"].as_str(), Some("Succeed" | "Fail"));
        // A task that ends the happy path spares a state that would only say so, and be charged.
        let ends =
            ends || kind != Kind::Compensation && state["End"] == true && on_the_way.contains(name.as_str());
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
