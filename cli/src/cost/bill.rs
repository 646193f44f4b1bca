//! From what was counted to what it costs.

use std::collections::BTreeMap;

use super::{
    meter::{Meter, Request, What},
    prices::Unit,
    units::{
        Table, chunks, count, express_gb_seconds, http_requests, lambda_gb_seconds, logged, read_units,
        stored,
    },
};

/// What is taken for what the local cloud cannot show. Each is in docs/COSTS.md with its reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumed {
    /// How long AWS takes to answer a function, in seconds: DynamoDB, EventBridge (for each event), Step Functions, S3.
    pub dynamodb: f64,
    pub events: f64,
    pub states: f64,
    pub s3: f64,
    /// A function's own time for an invocation.
    pub own: f64,
    /// A step of an Express execution, with the function that it waits for. Pauses before retries are not in
    /// it: no step of an order that goes well is retried.
    pub step: f64,
}

/// Twice what is usual within a region, so that it is rather too much.
pub const ASSUMED: Assumed =
    Assumed { dynamodb: 0.010, events: 0.030, states: 0.040, s3: 0.060, own: 0.002, step: 0.050 };

/// Lambda's own lines about an invocation, at its usual log level: with an id, a time and a function's numbers, as long as these.
const PLATFORM_LINES: [&str; 2] = [
    r#"{"time":"2026-11-20T12:00:00.000Z","type":"platform.start","record":{"requestId":"8286a188-ba32-4475-8077-530cd35c09a9","version":"$LATEST"}}"#,
    r#"{"time":"2026-11-20T12:00:00.000Z","type":"platform.report","record":{"requestId":"8286a188-ba32-4475-8077-530cd35c09a9","metrics":{"durationMs":12.345,"billedDurationMs":13,"memorySizeMB":256,"maxMemoryUsedMB":28},"status":"success"}}"#,
];

const GB: f64 = 1e9;

/// The table of the events.
pub const EVENT_TABLE: &str = "EventTable";

/// After the name of a table: the resource of a line about all of its indexes.
pub const INDEXES: &str = ", its indexes";

/// Lambda looks into a stream's shard so often in a second (Developer Guide, "Using Lambda with DynamoDB"). The local cloud looks
/// at once.
pub const POLLS_PER_SECOND: f64 = 4.0;
/// And hands what it found to so many invocations at the same time: the template's RelayParallelism.
const PARALLEL: u64 = 2;

/// Whose units a line has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub unit: Unit,
    /// The queue, table, function, machine or type of event.
    pub resource: String,
    /// The function or machine on whose account it is; of a queue, the one that empties it.
    pub owner: String,
}

/// Batches of a function that is fed by a queue or a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batches {
    pub batches: u64,
    pub messages: u64,
}

/// What a number of orders used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bill {
    lines: BTreeMap<Line, f64>,
    /// By function.
    pub batches: BTreeMap<String, Batches>,
    /// Requests to other services, by function.
    pub asked: BTreeMap<String, Asked>,
    /// Write units of indexes, by `table/index`.
    pub indexes: BTreeMap<String, f64>,
    /// Executions that were started, by state machine.
    pub started: BTreeMap<String, f64>,
    /// Invocations, and their time on this machine: told, and never billed.
    pub invocations: u64,
    pub seconds_here: f64,
    /// Bytes that stay: in tables with their indexes, and those in the event table.
    pub stored: f64,
    pub backed_up: f64,
    /// Batches in which AWS would hand the relay the same commits at the same times.
    pub polled: u64,
    /// Batches that would be filled by those who wait for it.
    filled: BTreeMap<String, Filled>,
    /// Requests whose bill is not understood: of these there must be none.
    pub not_understood: Vec<String>,
}

/// Batches that are handed over when they are full, or when the first message in them has waited long enough.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Filled {
    batches: u64,
    since: f64,
    messages: u64,
}

impl Filled {
    fn add(&mut self, at: f64, window: f64, size: u64) {
        if self.batches == 0 || self.messages >= size || at - self.since > window {
            *self = Self { batches: self.batches + 1, since: at, messages: 0 };
        }
        self.messages += 1;
    }
}

/// Requests of a function to other services.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    pub dynamodb: f64,
    /// Entries of PutEvents.
    pub events: f64,
    pub states: f64,
    pub s3: f64,
}

impl Asked {
    fn seconds(self, assumed: Assumed) -> f64 {
        self.dynamodb * assumed.dynamodb
            + self.events * assumed.events
            + self.states * assumed.states
            + self.s3 * assumed.s3
    }

    fn divided_by(self, number: f64) -> Self {
        let Self { dynamodb, events, states, s3 } = self;
        Self {
            dynamodb: dynamodb / number,
            events: events / number,
            states: states / number,
            s3: s3 / number,
        }
    }
}

/// What a function waits for.
#[derive(Default)]
struct Waits {
    asked: Asked,
    invocations: u64,
    memory: u64,
}

impl Bill {
    /// What a run used. `access_line` is the length of a line in the API's access log.
    pub fn of(run: &Meter, assumed: Assumed, access_line: u64) -> Self {
        let mut bill = Self::default();
        let mut waits: BTreeMap<String, Waits> = BTreeMap::new();
        // By machine: whole executions, what they wait for.
        let mut express: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut polls: BTreeMap<u64, u64> = BTreeMap::new();
        for record in &run.records {
            match &record.what {
                What::Table { .. } | What::Mapping { .. } => {}
                What::Dynamodb(request) => {
                    let Some(caller) = &request.caller else { continue };
                    waits.entry(caller.clone()).or_default().asked.dynamodb += 1.0;
                    bill.request(request, caller, run.tables.get(&request.table));
                    if short_table(&request.table) == EVENT_TABLE
                        && request.op == "PutItem"
                        && request.status == 200
                    {
                        *polls.entry(poll(record.at)).or_default() += 1;
                    }
                }
                What::Http { bytes } => {
                    bill.add(Unit::HttpRequest, "API", "API", count(http_requests(*bytes)));
                    bill.add(Unit::LoggedGb, "access log", "API", count(logged(access_line)) / GB);
                }
                What::Lambda { function, source, records, memory, system, seconds, lines } => {
                    let name = short(function);
                    bill.add(Unit::Invocation, &name, &name, 1.0);
                    let own: u64 = lines.iter().map(|line| logged(*line)).sum();
                    bill.add(Unit::LoggedGb, "lines of functions", &name, count(own) / GB);
                    if system != "WARN" {
                        bill.add(Unit::LoggedGb, "lines of Lambda", &name, count(platform_bytes()) / GB);
                    }
                    let wait = waits.entry(function.clone()).or_default();
                    (wait.invocations, wait.memory) = (wait.invocations + 1, *memory);
                    if source.starts_with("aws:") {
                        let batches = bill.batches.entry(name).or_default();
                        batches.batches += 1;
                        batches.messages += records;
                    }
                    bill.invocations += 1;
                    bill.seconds_here += seconds;
                }
                What::Events { caller, event_type, bytes } => {
                    if let Some(caller) = caller {
                        waits.entry(caller.clone()).or_default().asked.events += 1.0;
                        let event_type = event_type.clone().unwrap_or_default();
                        bill.add(Unit::BusEvent, &event_type, &short(caller), count(chunks(*bytes)));
                    }
                }
                What::Sqs { op, queue, bytes } => {
                    if op == "SendMessage"
                        && let Some(&(window, size)) = run.windows.get(queue)
                    {
                        let filled = bill.filled.entry(short(queue)).or_default();
                        filled.add(record.at, window, size);
                    }
                    let name = short(queue);
                    let resource = format!("{op} {name}");
                    bill.add(Unit::QueueRequest, &resource, &name, count(chunks(*bytes)));
                }
                What::S3 { op, caller } => {
                    waits.entry(caller.clone()).or_default().asked.s3 += 1.0;
                    let unit = match op.as_str() {
                        "GET" | "HEAD" => Unit::ObjectRead,
                        // Free.
                        "DELETE" => continue,
                        _ => Unit::ObjectWrite,
                    };
                    bill.add(unit, op, &short(caller), 1.0);
                }
                What::States { event, machine, machine_type } => {
                    let machine = short(machine);
                    if event == "ExecutionStarted" {
                        *bill.started.entry(machine.clone()).or_default() += 1.0;
                    }
                    if machine_type == "EXPRESS" {
                        let (started, steps) = express.entry(machine.clone()).or_default();
                        if event == "ExecutionStarted" {
                            *started += 1;
                            bill.add(Unit::ExpressRequest, &machine, &machine, 1.0);
                        }
                        *steps += u64::from(event == "TaskScheduled");
                        continue;
                    }
                    // A state entered, and each attempt at it; the first attempt is the entering itself.
                    let transitions = match event.as_str() {
                        "ExecutionStarted" | "TaskScheduled" => 1.0,
                        "TaskStateEntered" => 0.0,
                        entered if entered.ends_with("StateEntered") => 1.0,
                        _ => continue,
                    };
                    bill.add(Unit::Transition, &machine, &machine, transitions);
                }
                What::Asked { caller } => {
                    waits.entry(caller.clone()).or_default().asked.states += 1.0;
                }
            }
        }
        bill.polled = polls.into_values().map(|commits| commits.min(PARALLEL)).sum();
        for (function, wait) in waits.into_iter().filter(|(_, wait)| wait.invocations > 0) {
            bill.asked.insert(short(&function), wait.asked);
            let each = assumed.own + wait.asked.seconds(assumed) / count(wait.invocations);
            let memory = count(wait.memory);
            let total = lambda_gb_seconds(each, memory) * count(wait.invocations);
            bill.add(Unit::LambdaGbSecond, &short(&function), &short(&function), total);
        }
        for (machine, (started, steps)) in express.into_iter().filter(|(_, (started, _))| *started > 0) {
            let each = count(steps) / count(started) * assumed.step;
            bill.add(Unit::ExpressGbSecond, &machine, &machine, express_gb_seconds(each) * count(started));
        }
        bill
    }

    fn request(&mut self, request: &Request, caller: &str, table: Option<&Table>) {
        let (name, caller) = (short_table(&request.table), short(caller));
        let Some(table) = table.filter(|_| request.known) else {
            self.not_understood.push(format!("{} of {caller} on {name}", request.op));
            return;
        };
        let (before, after) = (request.before.as_ref(), request.after.as_ref());
        match request.op.as_str() {
            "GetItem" | "Query" | "Scan" => {
                self.add(Unit::Read, &name, &caller, read_units(&request.read, request.consistent));
            }
            _ if request.refused => {
                let units = Table::refused_units(before, request.wanted.as_ref());
                self.add(Unit::Write, &name, &caller, count(units));
            }
            _ if request.status != 200 => {
                self.not_understood.push(format!("{} with {}", request.op, request.status))
            }
            _ => {
                let (own, indexes) = table.write_units(before, after);
                self.add(Unit::Write, &name, &caller, count(own));
                if indexes > 0 {
                    self.add(Unit::Write, &format!("{name}{INDEXES}"), &caller, count(indexes));
                }
                for index in &table.indexes {
                    let units = count(table.index_units(index, before, after));
                    *self.indexes.entry(format!("{name}/{}", index.name)).or_default() += units;
                }
                let kept = |item| {
                    let entries = table.indexes.iter().filter_map(|index| table.entry(index, item));
                    count(stored(item) + entries.map(|entry| stored(&entry)).sum::<u64>())
                };
                let grown = after.map_or(0.0, kept) - before.map_or(0.0, kept);
                self.stored += grown;
                if name == EVENT_TABLE {
                    self.backed_up += grown;
                }
            }
        }
    }

    fn add(&mut self, unit: Unit, resource: &str, owner: &str, units: f64) {
        let line = Line { unit, resource: resource.to_owned(), owner: owner.to_owned() };
        *self.lines.entry(line).or_default() += units;
    }

    /// All lines, with their units.
    pub fn lines(&self) -> impl Iterator<Item = (&Line, f64)> {
        self.lines.iter().map(|(line, units)| (line, *units))
    }

    /// Units of one kind.
    pub fn units(&self, unit: Unit) -> f64 {
        // The sum of nothing is -0.0.
        self.lines().filter(|(line, _)| line.unit == unit).map(|(_, units)| units).sum::<f64>() + 0.0
    }

    /// Dollars of one kind of unit.
    pub fn dollars_of(&self, unit: Unit) -> f64 {
        self.units(unit) * unit.price().dollars
    }

    /// Dollars of it all.
    pub fn dollars(&self) -> f64 {
        self.lines().map(|(line, units)| units * line.unit.price().dollars).sum()
    }

    /// Dollars by what `of` says of a line, the largest first.
    pub fn dollars_by<K: Ord>(&self, of: impl Fn(&Line) -> K) -> Vec<(K, f64)> {
        let mut sums: BTreeMap<K, f64> = BTreeMap::new();
        for (line, units) in self.lines() {
            *sums.entry(of(line)).or_default() += units * line.unit.price().dollars;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|one, other| other.1.total_cmp(&one.1));
        sums
    }

    /// What it would cost if every queue's batches had `size` messages: the same messages and the same work on them, with fewer
    /// polls, deletes, invocations and lines about those. Streams stay as they were.
    pub fn with_batches_of(&self, size: f64) -> f64 {
        let mut dollars = 0.0;
        for (line, units) in self.lines() {
            let batches = self.batches.get(&line.owner).filter(|_| line.owner != "relay");
            let by_batch = match line.unit {
                Unit::QueueRequest => !line.resource.starts_with("SendMessage"),
                Unit::Invocation => true,
                Unit::LoggedGb => line.resource == "lines of Lambda",
                _ => false,
            };
            let scale = match batches {
                Some(batches) if by_batch && batches.batches > 0 => {
                    count(batches.messages) / size / count(batches.batches)
                }
                _ => 1.0,
            };
            dollars += units * scale * line.unit.price().dollars;
        }
        dollars
    }

    /// Records in a batch of the relay, if they came as AWS polls a stream.
    pub fn commits_in_a_poll(&self) -> f64 {
        let messages = self.batches.get("relay").map_or(0, |relay| relay.messages);
        if self.polled == 0 { 0.0 } else { count(messages) / count(self.polled) }
    }

    /// What it would cost if commits and messages came in the batches in which AWS hands them over: the relay gets those of a quarter of a
    /// second together, and who waits for a batch to fill gets a full one, which the local cloud does not wait for. The time of functions, and how often
    /// queues are polled, are left as they are, which is too much.
    pub fn as_aws_batches(&self) -> f64 {
        let scale = |line: &Line| {
            let batches = self.batches.get(&line.owner).map_or(0, |of_one| of_one.batches);
            let on_aws = match self.filled.get(&line.owner) {
                _ if line.owner == "relay" => self.polled,
                Some(filled) => filled.batches,
                None => return 1.0,
            };
            let by_batch = line.unit == Unit::Invocation
                || line.resource == "lines of Lambda"
                || line.resource.starts_with("DeleteMessageBatch");
            if by_batch && batches > 0 { count(on_aws.min(batches)) / count(batches) } else { 1.0 }
        };
        self.lines().map(|(line, units)| units * line.unit.price().dollars * scale(line)).sum()
    }

    /// A part of it: of a number of equal things, one.
    pub fn divided_by(&self, number: f64) -> Self {
        let lines = self.lines().map(|(line, units)| (line.clone(), units / number)).collect();
        let asked = self.asked.iter().map(|(name, asked)| (name.clone(), asked.divided_by(number))).collect();
        Self {
            lines,
            asked,
            stored: self.stored / number,
            backed_up: self.backed_up / number,
            ..self.clone()
        }
    }

    /// Messages in a batch of the queues' consumers.
    pub fn messages_in_a_batch(&self) -> f64 {
        let (mut batches, mut messages) = (0, 0);
        for (_, of_one) in self.batches.iter().filter(|(name, _)| *name != "relay") {
            batches += of_one.batches;
            messages += of_one.messages;
        }
        if batches == 0 { 0.0 } else { count(messages) / count(batches) }
    }

    /// Records in a batch of the relay.
    pub fn commits_in_a_batch(&self) -> f64 {
        let relay = self.batches.get("relay").copied().unwrap_or_default();
        if relay.batches == 0 { 0.0 } else { count(relay.messages) / count(relay.batches) }
    }
}

/// The look in which a commit of this moment would be found.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn poll(at: f64) -> u64 {
    (at * POLLS_PER_SECOND).max(0.0) as u64
}

fn platform_bytes() -> u64 {
    PLATFORM_LINES.iter().map(|line| logged(count_bytes(line))).sum()
}

fn count_bytes(text: &str) -> u64 {
    text.len().try_into().unwrap_or(u64::MAX)
}

/// `mallard-local-ordering-create-order` is `ordering-create-order`.
pub fn short(name: &str) -> String {
    let mut parts = name.splitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("mallard"), Some(_), Some(rest)) => rest.to_owned(),
        _ => name.to_owned(),
    }
}

/// `mallard-Ordering-eeebcc1e-OrdersTable-317AE` is `OrdersTable`.
fn short_table(name: &str) -> String {
    let mut parts = name.split('-');
    parts.find(|part| part.ends_with("Table")).unwrap_or(name).to_owned()
}

/// How long a line of the access log is, from its format in the root template: variables as long as they usually are.
pub fn access_line(template: &str) -> u64 {
    let format: String = template
        .split_once("Format: >-")
        .map(|(_, rest)| {
            rest.lines()
                .skip(1)
                .take_while(|line| line.trim_start().starts_with('{') || line.trim_start().starts_with('"'))
        })
        .map(|lines| lines.map(str::trim).collect::<Vec<_>>().join(" "))
        .unwrap_or_default();
    let usual = [
        ("$context.requestId", "JKJaXmPLvHcESHA="),
        ("$context.identity.sourceIp", "203.0.113.100"),
        ("$context.requestTime", "20/Nov/2026:12:00:00 +0000"),
        ("$context.routeKey", "PUT /api/depot/shopping/{id}/complete"),
        ("$context.path", "/api/depot/shopping/01a1feb7-e39f-722d-aad4-1ee4bfb26734/complete"),
        ("$context.status", "200"),
        ("$context.responseLatency", "25"),
        ("$context.integrationLatency", "20"),
        ("$context.integrationErrorMessage", "-"),
    ];
    count_bytes(&usual.iter().fold(format, |line, (name, value)| line.replace(name, value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cost::{meter::Record, units::Item};

    fn meter(lines: &[serde_json::Value]) -> Meter {
        let mut meter = Meter::default();
        for line in lines {
            let mut line = line.clone();
            line["at"] = json!(1.0);
            let record: Record = serde_json::from_value(line).unwrap();
            meter.learn(&record.what);
            meter.records.push(record);
        }
        meter
    }

    fn bill(lines: &[serde_json::Value]) -> Bill {
        Bill::of(&meter(lines), ASSUMED, 300)
    }

    fn states(event: &str, machine_type: &str) -> serde_json::Value {
        json!({"kind": "states", "event": event, "machine": "mallard-local-order-machine", "type": machine_type, "state": "A"})
    }

    fn request(op: &str, more: serde_json::Value) -> serde_json::Value {
        let mut request = json!({
            "kind": "dynamodb", "op": op, "table": "mallard-EventTable-1", "caller": "mallard-local-relay",
            "consistent": false, "status": 200, "refused": false, "known": true, "read": [],
            "wanted": null, "before": null, "after": null,
        });
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        request
    }

    fn table() -> serde_json::Value {
        json!({"kind": "table", "name": "mallard-EventTable-1", "key": ["id"], "indexes": []})
    }

    #[test]
    fn every_retry_of_a_step_is_a_transition_and_so_is_the_start() {
        let events = [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskFailed",
            "TaskScheduled",
            "TaskStateExited",
            "ChoiceStateEntered",
            "SucceedStateEntered",
            "ExecutionSucceeded",
            "ExecutionEnded",
        ];
        let happened = bill(&events.map(|event| states(event, "STANDARD")));
        assert_eq!(happened.units(Unit::Transition), 5.0, "start, step, its retry, choice, end");
    }

    #[test]
    fn a_placement_is_one_express_request_and_its_time_and_no_transition() {
        let step = ["TaskStateEntered", "TaskScheduled", "TaskSucceeded", "TaskStateExited"];
        let mut lines = vec![
            json!({"kind": "asked", "service": "states", "op": "StartExecution", "caller": "mallard-local-ordering-start-placement"}),
            states("ExecutionStarted", "EXPRESS"),
        ];
        lines.extend([step; 6].concat().into_iter().map(|event| states(event, "EXPRESS")));
        lines.extend(["ExecutionSucceeded", "ExecutionEnded"].map(|event| states(event, "EXPRESS")));
        let placed = bill(&lines);
        assert_eq!((placed.units(Unit::Transition), placed.units(Unit::ExpressRequest)), (0.0, 1.0));
        let time = 0.3 * 0.0625;
        assert!((placed.units(Unit::ExpressGbSecond) - time).abs() < 1e-12, "six steps: 300 ms, of 64 MB");
        let dollars = Unit::ExpressRequest.price().dollars + time * Unit::ExpressGbSecond.price().dollars;
        assert!((placed.dollars() - dollars).abs() < 1e-15, "to start it costs nothing else");
    }

    #[test]
    fn refused_writes_and_empty_reads_are_on_the_bill() {
        let big = json!({"id": {"S": "a"}, "x": {"S": "x".repeat(1100)}});
        let refused =
            bill(&[table(), request("PutItem", json!({"wanted": big, "refused": true, "status": 400}))]);
        assert_eq!(refused.units(Unit::Write), 2.0);
        assert_eq!(refused.stored, 0.0);
        assert_eq!(bill(&[table(), request("Query", json!({}))]).units(Unit::Read), 0.5);
        assert!(refused.not_understood.is_empty());
    }

    #[test]
    fn who_looks_from_outside_pays_for_himself() {
        let looked = bill(&[table(), request("Query", json!({"caller": null}))]);
        assert_eq!(looked.dollars(), 0.0);
    }

    #[test]
    fn a_request_that_is_not_understood_is_told_and_not_forgotten() {
        let unknown = bill(&[table(), request("TransactWriteItems", json!({"known": false}))]);
        assert_eq!(unknown.not_understood, ["TransactWriteItems of relay on EventTable"]);
        assert_eq!(bill(&[request("PutItem", json!({}))]).not_understood.len(), 1, "a table nobody knows");
    }

    #[test]
    fn what_stays_is_counted_with_its_index_entries() {
        let item = json!({"id": {"S": "a"}, "owner": {"S": "me"}});
        let put = request("PutItem", json!({"after": item, "wanted": item}));
        let mut with_index = table();
        with_index["indexes"] = json!([{"name": "i", "key": ["owner"], "projection": "ALL", "also": []}]);
        let size: Item = item.as_object().unwrap().clone();
        let once = bill(&[table(), put.clone()]);
        assert_eq!(once.stored, count(stored(&size)));
        assert_eq!(once.backed_up, once.stored);
        let twice = bill(&[with_index, put]);
        assert_eq!((twice.stored, twice.units(Unit::Write)), (once.stored * 2.0, 2.0));
    }

    #[test]
    fn an_event_is_billed_once_and_its_messages_are_too() {
        let sent = bill(&[
            json!({"kind": "events", "caller": "mallard-local-relay", "type": "OrderCreated", "bytes": 900}),
            json!({"kind": "sqs", "op": "SendMessage", "queue": "mallard-local-ordering-project-orders", "messages": 1, "bytes": 70_000, "caller": "rule"}),
        ]);
        assert_eq!((sent.units(Unit::BusEvent), sent.units(Unit::QueueRequest)), (1.0, 2.0));
    }

    fn invoked(function: &str, source: &str, records: u64) -> serde_json::Value {
        json!({"kind": "lambda", "function": function, "source": source, "records": records, "memory": 256,
               "seconds": 9.0, "lines": [100]})
    }

    #[test]
    fn the_time_of_an_invocation_is_what_it_waits_for_and_not_this_machines() {
        let query = request("Query", json!({"caller": "mallard-local-ordering-get-order"}));
        let one = bill(&[table(), query, invoked("mallard-local-ordering-get-order", "http", 1)]);
        let expected = lambda_gb_seconds(ASSUMED.own + ASSUMED.dynamodb, 256.0);
        assert!((one.units(Unit::LambdaGbSecond) - expected).abs() < 1e-12);
    }

    #[test]
    fn larger_batches_save_polls_and_invocations_but_no_messages() {
        let queue = "mallard-local-ordering-project-orders";
        let of_one = |op: &str, caller: &str| json!({"kind": "sqs", "op": op, "queue": queue, "messages": 1, "bytes": 1, "caller": caller});
        let mut lines = Vec::new();
        for _ in 0..10 {
            lines.extend([
                of_one("SendMessage", "rule"),
                of_one("ReceiveMessage", "poller"),
                of_one("DeleteMessageBatch", "poller"),
            ]);
            lines.push(invoked(queue, "aws:sqs", 1));
        }
        let bill = bill(&lines);
        assert!((bill.with_batches_of(1.0) - bill.dollars()).abs() < 1e-15);
        let saved = bill.dollars() - bill.with_batches_of(10.0);
        let nine = 9.0 * (2.0 * Unit::QueueRequest.price().dollars + Unit::Invocation.price().dollars);
        let lines = 9.0 * count(platform_bytes()) / GB * Unit::LoggedGb.price().dollars;
        assert!((saved - nine - lines).abs() < 1e-15, "{saved}");
        assert_eq!(bill.messages_in_a_batch(), 1.0);
    }

    #[test]
    fn commits_of_the_same_moment_reach_the_relay_together_and_those_of_another_do_not() {
        let put =
            request("PutItem", json!({"wanted": {}, "after": {}, "caller": "mallard-local-ordering-a"}));
        let mut run = meter(&[table()]);
        for at in [10.01, 10.02, 10.03, 10.30, 11.0] {
            let happened = meter(&[put.clone(), invoked("mallard-local-relay", "aws:dynamodb", 1)]);
            run.records.extend(happened.records.into_iter().map(|record| Record { at, ..record }));
        }
        let bill = Bill::of(&run, ASSUMED, 300);
        assert_eq!((bill.polled, bill.batches["relay"].batches), (4, 5), "three at once are two invocations");
        let one =
            Unit::Invocation.price().dollars + count(platform_bytes()) / GB * Unit::LoggedGb.price().dollars;
        assert!((bill.dollars() - bill.as_aws_batches() - one).abs() < 1e-15);
    }

    #[test]
    fn who_waits_for_a_batch_to_fill_is_not_billed_for_every_message_alone() {
        let queue = "mallard-local-product-search-project-product-index";
        let of_one = |op: &str, at: f64| Record {
            at,
            ..meter(&[
                json!({"kind": "sqs", "op": op, "queue": queue, "messages": 1, "bytes": 1, "caller": "rule"}),
            ])
            .records[0]
                .clone()
        };
        let mut run = meter(&[json!({"kind": "mapping", "function": queue, "window": 1.0, "size": 3})]);
        // Three are a full batch, the fourth begins another, and the last comes too late for it.
        for at in [5.0, 5.1, 5.2, 5.3, 7.0] {
            run.records
                .extend(["SendMessage", "ReceiveMessage", "DeleteMessageBatch"].map(|op| of_one(op, at)));
            run.records.extend(meter(&[invoked(queue, "aws:sqs", 1)]).records);
        }
        let bill = Bill::of(&run, ASSUMED, 300);
        let one = Unit::Invocation.price().dollars
            + Unit::QueueRequest.price().dollars
            + count(platform_bytes()) / GB * Unit::LoggedGb.price().dollars;
        assert!(
            (bill.dollars() - bill.as_aws_batches() - 2.0 * one).abs() < 1e-15,
            "three batches and not five"
        );
    }

    #[test]
    fn what_lambda_does_not_log_is_not_billed() {
        let mut quiet = invoked("mallard-local-ordering-get-order", "http", 1);
        let usual = bill(&[quiet.clone()]);
        quiet["system"] = json!("WARN");
        let saved = usual.units(Unit::LoggedGb) - bill(&[quiet]).units(Unit::LoggedGb);
        assert!((saved - count(platform_bytes()) / GB).abs() < 1e-15);
    }

    #[test]
    fn the_access_log_is_measured_by_the_format_that_is_deployed() {
        let template = include_str!("../../../template.yaml");
        let line = access_line(template);
        assert!((200..600).contains(&line), "{line}");
        assert!(!template.contains("$context.identity.userAgent"), "add its usual length to access_line");
    }

    #[test]
    fn names_lose_what_only_tells_deployments_apart() {
        assert_eq!(short("mallard-local-ordering-create-order"), "ordering-create-order");
        assert_eq!(short("mallard-dev-relay"), "relay");
        assert_eq!(short("other"), "other");
        assert_eq!(short_table("mallard-Ordering-eeebcc1e-f78-OrdersTable-317AE"), "OrdersTable");
        assert_eq!(short_table("mallard-Ordering-eeebcc1e-f78-OrdersTable-317AE"), "OrdersTable");
    }
}
