//! The arithmetic: at how many orders a second each limit bites. Pure.
//!
//! Most limits are proportions: a quota, divided by its use per order. Two are not. The concurrency and the
//! invocations of all functions together grow more slowly than the orders do, because a consumer never has
//! more workers than its `MaximumConcurrency`: when all are busy, messages wait and its batches fill.
//!
//! Not in the model: bursts, retries, cold starts, and two limits that meet.

use super::{
    RELAY,
    counts::{Counts, Function},
    quotas::{
        FRESH_WRITES, INVOCATIONS_FOR_CONCURRENCY, PARTITION_WRITES, PUT_EVENTS_ENTRIES, Quota, Quotas,
    },
    settings::{Machine, Settings},
};
use crate::cost::{EVENT_TABLE, POLLS_PER_SECOND};

/// Assumptions about AWS's times, and about our code. None was measured on AWS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumed {
    /// Seconds of a request to DynamoDB, Step Functions and S3, and of a PutEvents call.
    pub dynamodb: f64,
    pub states: f64,
    pub s3: f64,
    pub put_events: f64,
    /// A function's own seconds for an invocation.
    pub own: f64,
    /// Streams of a batch that a consumer works on at a time.
    pub at_a_time: u32,
    /// PutEvents calls that a relay has in flight.
    pub calls_in_flight: f64,
    /// Entries of a call under load. The quota counts calls, and not all are full.
    pub entries_in_a_call: f64,
}

/// The usual times within a region. docs/COSTS.md bills twice as much, to be on the safe side.
pub const ASSUMED: Assumed = Assumed {
    dynamodb: 0.005,
    states: 0.030,
    s3: 0.030,
    put_events: 0.025,
    own: 0.002,
    at_a_time: 8,
    calls_in_flight: 3.0,
    entries_in_a_call: 5.0,
};

/// The customers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// True for shoppers who look around, as docs/COSTS.md has it; false for orders alone.
    pub looks: bool,
    /// The share of orders that have the best-selling product in them.
    pub hottest: f64,
    /// The share of orders that are undone.
    pub undone: f64,
    /// Mean seconds that a Standard execution is open.
    pub open_seconds: f64,
}

/// Transitions of an undo (docs/SAGAS.md).
const UNDO_TRANSITIONS: f64 = 6.0;
/// Commits of an order on a product's stream: reserved, sold.
const COMMITS_ON_A_PRODUCT: f64 = 2.0;
/// Requests of a commit: the stream is read, the commit is put. Its rival waits for both.
const REQUESTS_OF_A_COMMIT: f64 = 2.0;

/// All that the limits depend on.
#[derive(Debug, Clone)]
pub struct System<'a> {
    pub counts: &'a Counts,
    pub settings: Settings,
    pub quotas: Quotas,
    pub load: Load,
    pub assumed: Assumed,
}

/// A limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    pub name: String,
    /// Orders a second.
    pub bites: f64,
    pub raise: Raise,
}

/// The way to raise a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raise {
    Quota(Quota),
    Parameter(&'static str),
    /// `MaximumConcurrency`, by the scale table.
    Scale,
    /// Nothing but another design.
    Design(&'static str),
}

impl System<'_> {
    /// Lists all limits, the first to bite first.
    pub fn limits(&self) -> Vec<Limit> {
        let mut limits = [self.api(), self.lambda(), self.events(), self.states(), self.tables()].concat();
        limits.extend(self.indexes());
        limits.extend(self.consumers());
        limits.push(self.hottest());
        limits.retain(|limit| limit.bites.is_finite());
        limits.sort_by(|one, other| one.bites.total_cmp(&other.bites));
        limits
    }

    /// Sums the API requests of an order.
    pub fn requests(&self) -> f64 {
        self.counts.requests + if self.load.looks { self.counts.looks.requests } else { 0.0 }
    }

    /// Sums the seconds of all functions for an order, if no batch has more than one message in it.
    pub fn seconds(&self) -> f64 {
        let waiting = |function: &Function| {
            let requests = function.dynamodb * self.assumed.dynamodb
                + function.states * self.assumed.states
                + function.s3 * self.assumed.s3;
            function.invocations * self.assumed.own + requests
        };
        self.counts.functions.values().map(waiting).sum::<f64>() + self.looking() + self.publishing()
    }

    /// Seconds of the functions behind what shoppers look at.
    fn looking(&self) -> f64 {
        let looks = &self.counts.looks;
        let seconds = looks.requests * self.assumed.own + looks.dynamodb * self.assumed.dynamodb;
        if self.load.looks { seconds } else { 0.0 }
    }

    /// Seconds of PutEvents calls, full ones.
    fn publishing(&self) -> f64 {
        self.counts.entries / PUT_EVENTS_ENTRIES * self.assumed.put_events / self.assumed.calls_in_flight
    }

    /// Shards of the event table's stream: one for each partition of the table.
    fn shards(&self) -> f64 {
        self.settings.warm_writes / PARTITION_WRITES
    }

    /// Counts the requests of an order on the busiest route: one function has one route, and steps have none.
    fn busiest_route(&self) -> f64 {
        let busiest = self.called().map(|function| function.invocations).fold(0.0, f64::max);
        if self.load.looks { busiest.max(self.counts.looks.busiest) } else { busiest }
    }

    fn api(&self) -> Vec<Limit> {
        let of = |name: &str, rate: f64, requests: f64, raise: Raise| {
            limit(format!("API: throttle of the {name}"), rate / requests, raise)
        };
        let (setting, parameter) = (self.settings.requests_per_second, Raise::Parameter("RequestsPerSecond"));
        let quota = Quota::ApiRequests;
        vec![
            of("stage", setting, self.requests(), parameter),
            of("busiest route", setting, self.busiest_route(), parameter),
            of("account", self.quotas.get(quota), self.requests(), Raise::Quota(quota)),
        ]
    }

    fn lambda(&self) -> Vec<Limit> {
        let quota = self.quotas.get(Quota::LambdaConcurrency);
        let raise = Raise::Quota(Quota::LambdaConcurrency);
        let rate = quota * INVOCATIONS_FOR_CONCURRENCY;
        vec![
            limit("Lambda: concurrency".into(), highest(|orders| self.concurrency(orders) <= quota), raise),
            limit(
                "Lambda: invocations, 10 for each unit of concurrency".into(),
                highest(|orders| self.invocations(orders) <= rate),
                raise,
            ),
        ]
    }

    /// Functions that nobody queues for: commands, steps, and others that are called one by one.
    fn called(&self) -> impl Iterator<Item = &Function> {
        let fed = |name: &String| self.settings.consumers.contains_key(name) || name == RELAY;
        self.counts.functions.iter().filter(move |(name, _)| !fed(name)).map(|(_, function)| function)
    }

    /// Consumers with their workers and the seconds that a worker needs for a batch of one message.
    fn fed(&self) -> impl Iterator<Item = (&Function, f64, f64)> {
        self.settings.consumers.iter().filter_map(|(name, mapping)| {
            let function = self.counts.functions.get(name)?;
            let one = self.assumed.batch(function, 1);
            Some((function, f64::from(mapping.concurrency), one))
        })
    }

    /// Computes the Lambda concurrency that an account needs for a rate.
    pub fn lambda_for(&self, orders: f64) -> f64 {
        self.concurrency(orders).max(self.invocations(orders) / INVOCATIONS_FOR_CONCURRENCY)
    }

    /// Counts the functions that are at work at so many orders a second.
    pub fn concurrency(&self, orders: f64) -> f64 {
        let seconds = |function: &Function| self.assumed.batch(function, 1) * function.invocations;
        let called: f64 = self.called().map(seconds).sum();
        let fed = self.fed().map(|(function, workers, one)| (orders * function.messages * one).min(workers));
        orders * (called + self.looking() + self.publishing()) + fed.sum::<f64>()
    }

    /// Counts the invocations a second at so many orders a second.
    pub fn invocations(&self, orders: f64) -> f64 {
        let called: f64 = self.called().map(|function| function.invocations).sum();
        let looks = if self.load.looks { self.counts.looks.requests } else { 0.0 };
        let fed = self.fed().map(|(function, workers, one)| (orders * function.messages).min(workers / one));
        let relays = self.shards() * self.settings.relay_parallelism * POLLS_PER_SECOND;
        let relayed = self.counts.functions.get(RELAY).map_or(0.0, |relay| relay.invocations);
        orders * (called + looks) + fed.sum::<f64>() + (orders * relayed).min(relays)
    }

    fn events(&self) -> Vec<Limit> {
        let calls = self.counts.entries / self.assumed.entries_in_a_call;
        let lanes = self.shards() * self.settings.relay_parallelism;
        vec![
            limit(
                "EventBridge: PutEvents".into(),
                self.quotas.get(Quota::PutEvents) / calls,
                Raise::Quota(Quota::PutEvents),
            ),
            limit(
                "EventBridge: deliveries".into(),
                self.quotas.get(Quota::Deliveries) / self.counts.deliveries(),
                Raise::Quota(Quota::Deliveries),
            ),
            limit(
                "relay: batches at a time".into(),
                lanes / self.publishing(),
                Raise::Parameter("RelayParallelism"),
            ),
        ]
    }

    fn states(&self) -> Vec<Limit> {
        let started = |of: Machine| {
            let machines = self.counts.executions.iter();
            let machines = machines.filter(|(name, _)| self.settings.machines.get(*name) == Some(&of));
            machines.map(|(_, starts)| starts).sum::<f64>()
        };
        let standard = started(Machine::Standard) + self.load.undone;
        let transitions = self.counts.transitions + self.load.undone * UNDO_TRANSITIONS;
        let of = |name: &str, quota: Quota, used: f64| {
            limit(format!("Step Functions: {name}"), self.quotas.get(quota) / used, Raise::Quota(quota))
        };
        vec![
            of("Standard starts", Quota::StandardStarts, standard),
            of("Express starts", Quota::ExpressStarts, started(Machine::Express)),
            of("Standard transitions", Quota::Transitions, transitions),
            of("callbacks", Quota::TaskCallbacks, self.counts.callbacks),
            of("open Standard executions", Quota::OpenExecutions, standard * self.load.open_seconds),
        ]
    }

    /// Units of an order on a table, looks included: writes, reads.
    pub fn units(&self, table: &str) -> (f64, f64) {
        let units = self.counts.tables.get(table).copied().unwrap_or_default();
        let looks = self.counts.looks.reads.get(table).copied().unwrap_or_default();
        (units.writes, units.reads + if self.load.looks { looks } else { 0.0 })
    }

    fn tables(&self) -> Vec<Limit> {
        let mut limits = Vec::new();
        for table in self.counts.tables.keys() {
            let (writes, reads) = self.units(table);
            let (quota_writes, quota_reads) = (Quota::TableWrites, Quota::TableReads);
            let quota = |name: &str, quota: Quota, used: f64| {
                limit(format!("{table}: {name} a table"), self.quotas.get(quota) / used, Raise::Quota(quota))
            };
            limits.extend([quota("writes of", quota_writes, writes), quota("reads of", quota_reads, reads)]);
            if table == EVENT_TABLE {
                limits.push(limit(
                    format!("{table}: writes at once"),
                    self.settings.warm_writes / writes,
                    Raise::Parameter("EventTableWarmWrites"),
                ));
                limits.push(limit(
                    format!("{table}: reads at once"),
                    self.settings.warm_reads / reads,
                    Raise::Parameter("EventTableWarmReads"),
                ));
            }
        }
        limits
    }

    fn indexes(&self) -> impl Iterator<Item = Limit> {
        self.settings.indexes.iter().map(|(name, spread)| {
            let writes = self.counts.indexes.get(name).copied().unwrap_or_default();
            let keys = match spread.shards {
                1.0 => "one key".to_owned(),
                shards => format!("{shards} keys"),
            };
            limit(
                format!("index {name}: {keys}"),
                PARTITION_WRITES * spread.shards / (writes * spread.busiest),
                Raise::Design("more shards of its key"),
            )
        })
    }

    fn consumers(&self) -> impl Iterator<Item = Limit> {
        self.settings.consumers.iter().filter_map(|(name, mapping)| {
            let function = self.counts.functions.get(name)?;
            let full = self.assumed.batch(function, mapping.batch);
            let messages = f64::from(mapping.concurrency * mapping.batch) / full;
            let raise = if function.is_one_writer() {
                Raise::Design("fewer events for it, larger batches, an index for each group of stores")
            } else {
                Raise::Scale
            };
            Some(limit(format!("consumer {name}"), messages / function.messages, raise))
        })
    }

    /// The limit of the best-selling product: one commit on its stream at a time.
    pub fn hottest(&self) -> Limit {
        let commits = 1.0 / (REQUESTS_OF_A_COMMIT * self.assumed.dynamodb);
        limit(
            format!("best-seller, in {} % of orders", self.load.hottest * 100.0),
            commits / (COMMITS_ON_A_PRODUCT * self.load.hottest),
            Raise::Design("the stock of a product in more than one stream"),
        )
    }

    /// Lists the tables and indexes of views that a jump from nothing to so many orders a second would
    /// throttle: for half an hour, until AWS has split them. Their queues keep the events meanwhile.
    pub fn ramps(&self, orders: f64) -> Vec<(String, f64)> {
        let tables = self.counts.tables.iter().filter(|(name, _)| *name != EVENT_TABLE);
        let tables = tables.map(|(name, units)| (name, units.writes));
        let all = tables.chain(self.counts.indexes.iter().map(|(name, writes)| (name, *writes)));
        let mut ramps: Vec<_> = all
            .filter(|(_, writes)| orders * writes > FRESH_WRITES)
            .map(|(name, writes)| (name.clone(), FRESH_WRITES / writes))
            .collect();
        ramps.sort_by(|one, other| one.1.total_cmp(&other.1));
        ramps
    }
}

impl Assumed {
    /// Computes the seconds of a full batch of a function: its requests for each message, so many streams at
    /// a time. Requests to S3 are made once for a batch, which is then worked on in order.
    pub fn batch(&self, function: &Function, size: u32) -> f64 {
        let each = if function.messages > 0.0 { function.messages } else { function.invocations };
        let message = (function.dynamodb * self.dynamodb + function.states * self.states) / each;
        let rounds = if function.is_one_writer() { size } else { size.div_ceil(self.at_a_time) };
        self.own + f64::from(rounds) * message + function.s3 / function.invocations * self.s3
    }
}

impl Function {
    /// Tells a function that changes an object in S3, which one worker can do at a time.
    pub fn is_one_writer(&self) -> bool {
        self.s3 > 0.0
    }
}

fn limit(name: String, bites: f64, raise: Raise) -> Limit {
    Limit { name, bites, raise }
}

/// Finds the highest rate at which `holds`, which fails for all rates above it.
fn highest(holds: impl Fn(f64) -> bool) -> f64 {
    const MOST: f64 = 1e9;
    let (mut low, mut high) = (0.0, MOST);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}
