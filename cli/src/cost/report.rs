//! A bill, to be read: in a terminal, in docs/COSTS.md, and by machines.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{
    bill::{Bill, EVENT_TABLE, INDEXES, Line},
    prices::{AS_OF, PRICES, REGION, Unit},
    standing::Standing,
    units::count,
};
use crate::{
    capacity::counts::{Counts, Function, Looks, Units},
    tables::{Marks, Shown},
};

/// Bill and price are for one; what is told is for so many.
const MILLION: f64 = 1e6;
/// Lines of the list of the largest.
const LARGEST: usize = 10;
/// What is less than this many dollars in a million orders is told as one.
const SMALL: f64 = 0.50;
/// Messages in a batch that are looked at.
const BATCHES: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

pub const MARKS: Marks = Marks {
    begin: "<!-- made by `cargo mall cost --write`: from here -->",
    end: "<!-- made by `cargo mall cost --write`: to here -->",
};

/// Orders that were counted, and what they used.
#[derive(Debug, Clone)]
pub struct Run {
    pub orders: u32,
    pub at_once: u16,
    pub bill: Bill,
}

impl Run {
    fn each(&self, units: f64) -> f64 {
        units / f64::from(self.orders)
    }

    fn million(&self, dollars: f64) -> f64 {
        self.each(dollars) * MILLION
    }
}

/// What one look costs.
#[derive(Debug, Clone)]
pub struct Looked {
    pub name: &'static str,
    /// For one order.
    pub times: u32,
    /// Of one look.
    pub bill: Bill,
}

/// All that was found out.
#[derive(Debug, Clone)]
pub struct Report {
    /// One order at a time: no batch has more than one thing in it.
    pub quiet: Run,
    /// Many at a time.
    pub busy: Option<Run>,
    pub looks: Vec<Looked>,
    pub standing: Standing,
    /// Of one run of a function that runs by the clock; none where no run was seen.
    pub scheduled: Option<Bill>,
    /// In a basket.
    pub products: u16,
}

/// For machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    region: &'static str,
    prices_as_of: &'static str,
    products: u16,
    orders: u32,
    dollars_per_million_orders: f64,
    busy: Option<JsonBusy>,
    reads_dollars_per_million_orders: f64,
    standing_dollars_per_month: f64,
    gigabytes_stored_per_million_orders: f64,
    lines: Vec<JsonLine>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonBusy {
    orders: u32,
    at_once: u16,
    dollars_per_million_orders: f64,
    messages_in_a_batch: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonLine {
    service: &'static str,
    unit: &'static str,
    resource: String,
    owner: String,
    units_per_order: f64,
    dollars_per_million_orders: f64,
}

impl Report {
    /// The lines to show in a terminal.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new(), self.headline()];
        lines.extend(self.tables().iter().flat_map(Shown::lines));
        lines
    }

    /// The same as Markdown.
    pub fn markdown(&self) -> String {
        let tables: String = self.tables().iter().map(Shown::markdown).collect();
        format!("{}\n{tables}", self.headline())
    }

    /// Counts an order's use of AWS, for `mall capacity`: of the orders that were taken one at a time.
    pub fn counts(&self) -> Counts {
        let run = &self.quiet;
        let of = |unit: Unit| run.each(run.bill.units(unit));
        let by = |unit: Unit, key: fn(&Line) -> &str| {
            let mut sums: BTreeMap<String, f64> = BTreeMap::new();
            for (line, units) in run.bill.lines().filter(|(line, _)| line.unit == unit) {
                *sums.entry(key(line).to_owned()).or_default() += run.each(units);
            }
            sums
        };
        let mut functions: BTreeMap<String, Function> = BTreeMap::new();
        for (name, invocations) in by(Unit::Invocation, |line| &line.owner) {
            let asked = run.bill.asked.get(&name).copied().unwrap_or_default();
            let messages = run.bill.batches.get(&name).map_or(0.0, |batches| count(batches.messages));
            let function = Function {
                invocations,
                messages: run.each(messages),
                dynamodb: run.each(asked.dynamodb),
                states: run.each(asked.states),
                s3: run.each(asked.s3),
            };
            functions.insert(name, function);
        }
        let mut tables: BTreeMap<String, Units> = BTreeMap::new();
        for (name, writes) in by(Unit::Write, |line| &line.resource) {
            if !name.ends_with(INDEXES) {
                tables.entry(name).or_default().writes = writes;
            }
        }
        for (name, reads) in by(Unit::Read, |line| &line.resource) {
            tables.entry(name).or_default().reads = reads;
        }
        let is_view = |line: &Line| line.unit == Unit::Write && tables.contains_key(&line.resource);
        let writers = run.bill.lines().filter(|(line, _)| is_view(line) && line.resource != EVENT_TABLE);
        let writers = writers.map(|(line, _)| (line.resource.clone(), line.owner.clone())).collect();
        let mut looks = Looks::default();
        for look in &self.looks {
            let times = f64::from(look.times);
            looks.requests += times;
            looks.busiest = looks.busiest.max(times);
            looks.dynamodb += times * look.bill.asked.values().map(|asked| asked.dynamodb).sum::<f64>();
            for (line, units) in look.bill.lines().filter(|(line, _)| line.unit == Unit::Read) {
                *looks.reads.entry(line.resource.clone()).or_default() += times * units;
            }
        }
        let indexes = run.bill.indexes.iter().map(|(name, units)| (name.clone(), run.each(*units)));
        Counts {
            orders: run.orders,
            products: self.products,
            requests: of(Unit::HttpRequest),
            entries: of(Unit::BusEvent),
            transitions: of(Unit::Transition),
            callbacks: 0.0,
            looks,
            executions: run
                .bill
                .started
                .iter()
                .map(|(name, starts)| (name.clone(), run.each(*starts)))
                .collect(),
            functions,
            tables,
            writers,
            indexes: indexes.collect(),
        }
    }

    /// For machines.
    pub fn json(&self) -> String {
        let run = &self.quiet;
        let lines = run.bill.lines().map(|(line, units)| JsonLine {
            service: line.unit.price().service,
            unit: line.unit.price().name,
            resource: line.resource.clone(),
            owner: line.owner.clone(),
            units_per_order: run.each(units),
            dollars_per_million_orders: run.million(units * line.unit.price().dollars),
        });
        let json = Json {
            region: REGION,
            prices_as_of: AS_OF,
            products: self.products,
            orders: run.orders,
            dollars_per_million_orders: run.million(run.bill.dollars()),
            busy: self.busy.as_ref().map(|busy| JsonBusy {
                orders: busy.orders,
                at_once: busy.at_once,
                dollars_per_million_orders: busy.million(busy.bill.dollars()),
                messages_in_a_batch: busy.bill.messages_in_a_batch(),
            }),
            reads_dollars_per_million_orders: self.reads(),
            standing_dollars_per_month: self.stands().iter().map(|line| line.2).sum(),
            gigabytes_stored_per_million_orders: run.million(run.bill.stored) / 1e9,
            lines: lines.collect(),
        };
        // Strings and numbers: they can always be written.
        serde_json::to_string_pretty(&json).unwrap_or_default() + "\n"
    }

    /// Dollars of what a shopper looks at around an order, a million times.
    fn reads(&self) -> f64 {
        self.looks.iter().map(|look| look.bill.dollars() * f64::from(look.times) * MILLION).sum()
    }

    /// Lists what costs by the month: its name, how much, and dollars.
    fn stands(&self) -> Vec<(String, f64, f64)> {
        let lines = self.standing.lines().into_iter();
        let mut lines: Vec<_> = lines.map(|(name, much, cost)| (name.to_owned(), much, cost)).collect();
        let runs = self.standing.runs();
        let each = self.scheduled.as_ref().map(Bill::dollars);
        let name = match each {
            Some(each) => format!(
                "runs of scheduled functions, one a minute each, {} a million",
                dollars(each * MILLION)
            ),
            None => "runs of scheduled functions, one a minute each, of which none was seen".to_owned(),
        };
        lines.push((name, runs, runs * each.unwrap_or(0.0)));
        lines
    }

    fn headline(&self) -> String {
        let quiet = &self.quiet;
        let mut text = format!(
            "A million orders of {} products cost **{}**, from basket to completion ({} orders, one at a time: hardly a batch \
             has more than one thing in it)",
            self.products,
            dollars(quiet.million(quiet.bill.dollars())),
            quiet.orders
        );
        if let Some(busy) = &self.busy {
            let _ = write!(
                text,
                "; **{}** when {} are taken at a time ({} orders)",
                dollars(busy.million(busy.bill.dollars())),
                busy.at_once,
                busy.orders
            );
        }
        let _ = write!(
            text,
            ". What shoppers look at around them is {} more. Prices of {REGION} on {AS_OF}, without free tiers.",
            dollars(self.reads())
        );
        text
    }

    fn tables(&self) -> Vec<Shown> {
        let mut tables = vec![self.services(), self.owners(), self.data(), self.largest(), self.batches()];
        if !self.looks.is_empty() {
            tables.push(self.looked());
        }
        tables.push(self.months());
        tables
    }

    fn services(&self) -> Shown {
        let quiet = &self.quiet;
        let mut rows =
            vec![row(&["service", "what is counted", "units an order", "price", "$ a million orders"])];
        if self.busy.is_some() {
            rows[0].push("$, many at a time".into());
        }
        for price in PRICES.iter().filter(|price| is_per_order(price.unit)) {
            let mut cells = vec![
                price.service.to_owned(),
                price.name.to_owned(),
                units(quiet.each(quiet.bill.units(price.unit))),
                price.listed.to_owned(),
                amount(quiet.million(quiet.bill.dollars_of(price.unit))),
            ];
            if let Some(busy) = &self.busy {
                cells.push(amount(busy.million(busy.bill.dollars_of(price.unit))));
            }
            rows.push(cells);
        }
        let mut sum = row(&["all", "", "", "", &amount(quiet.million(quiet.bill.dollars()))]);
        if let Some(busy) = &self.busy {
            sum.push(amount(busy.million(busy.bill.dollars())));
        }
        rows.push(sum);
        Shown { title: "By service".into(), rows }
    }

    /// By function, with its queue, its log and its requests; and by machine.
    fn owners(&self) -> Shown {
        let run = &self.quiet;
        let mut rows = vec![row(&[
            "function, machine",
            "invocations",
            "queue requests",
            "events",
            "write units",
            "read units",
            "log KB",
            "$ a million orders",
        ])];
        let (mut rest, mut small) = (0.0, 0);
        for (owner, dollars) in run.bill.dollars_by(|line| line.owner.clone()) {
            if run.million(dollars) < SMALL {
                (rest, small) = (rest + run.million(dollars), small + 1);
                continue;
            }
            let of = |unit: Unit| {
                let lines = run.bill.lines().filter(|(line, _)| line.owner == owner && line.unit == unit);
                run.each(lines.map(|(_, units)| units).sum())
            };
            let mut cells = vec![owner.clone()];
            let kinds = [Unit::Invocation, Unit::QueueRequest, Unit::BusEvent, Unit::Write, Unit::Read];
            cells.extend(kinds.map(|unit| units(of(unit))));
            cells.push(units(of(Unit::LoggedGb) * 1e6));
            cells.push(amount(run.million(dollars)));
            rows.push(cells);
        }
        if small > 0 {
            let mut cells = vec![format!("{small} more, each below {}", dollars(SMALL))];
            cells.extend((0..6).map(|_| String::new()));
            cells.push(amount(rest));
            rows.push(cells);
        }
        Shown { title: "By function and machine, with queue, log and requests".into(), rows }
    }

    fn data(&self) -> Shown {
        let run = &self.quiet;
        let mut rows = vec![row(&["table", "write units", "read units", "$ a million orders"])];
        let is_data = |line: &Line| matches!(line.unit, Unit::Write | Unit::Read);
        for (table, cost) in run.bill.dollars_by(|line| is_data(line).then(|| line.resource.clone())) {
            let Some(table) = table else { continue };
            let of = |unit: Unit| {
                let lines = run.bill.lines().filter(|(line, _)| line.resource == table && line.unit == unit);
                run.each(lines.map(|(_, units)| units).sum())
            };
            rows.push(vec![
                table.clone(),
                units(of(Unit::Write)),
                units(of(Unit::Read)),
                amount(run.million(cost)),
            ]);
        }
        Shown { title: "By table".into(), rows }
    }

    fn largest(&self) -> Shown {
        let run = &self.quiet;
        let mut rows = vec![row(&["", "what", "whose", "units an order", "$ a million orders"])];
        let mut lines: Vec<_> =
            run.bill.lines().map(|(line, units)| (line, units, units * line.unit.price().dollars)).collect();
        lines.sort_by(|one, other| other.2.total_cmp(&one.2));
        for (number, (line, used, cost)) in lines.into_iter().take(LARGEST).enumerate() {
            rows.push(vec![
                (number + 1).to_string(),
                format!("{} {}: {}", line.unit.price().service, line.unit.price().name, line.resource),
                line.owner.clone(),
                units(run.each(used)),
                amount(run.million(cost)),
            ]);
        }
        Shown { title: "The ten largest lines".into(), rows }
    }

    fn batches(&self) -> Shown {
        let run = &self.quiet;
        let whole = run.bill.dollars();
        let mut rows = vec![row(&[
            "messages in a batch of a queue",
            "commits in a batch of the relay",
            "$ a million orders",
            "ratio",
        ])];
        let mut told = |batch: String, commits: String, million: f64| {
            rows.push(vec![batch, commits, amount(million), format!("{:.2}", million / run.million(whole))]);
        };
        let commits = run.bill.commits_in_a_batch();
        told(
            format!("{:.2}, measured", run.bill.messages_in_a_batch()),
            format!("{commits:.2}"),
            run.million(whole),
        );
        if let Some(busy) = &self.busy {
            let batch = format!("{:.2}, measured", busy.bill.messages_in_a_batch());
            told(batch, format!("{:.2}", busy.bill.commits_in_a_batch()), busy.million(busy.bill.dollars()));
        }
        told(
            format!("{:.2}, measured", run.bill.messages_in_a_batch()),
            format!("{:.2}, computed: as AWS batches", run.bill.commits_in_a_poll()),
            run.million(run.bill.as_aws_batches()),
        );
        for size in BATCHES {
            let cost = run.million(run.bill.with_batches_of(size));
            told(format!("{size}, computed"), format!("{commits:.2}"), cost);
        }
        Shown { title: "How it moves with batches".into(), rows }
    }

    fn looked(&self) -> Shown {
        let mut rows = vec![row(&[
            "a look at",
            "read units",
            "log KB",
            "$ a million looks",
            "looks an order",
            "$ a million orders",
        ])];
        for look in &self.looks {
            let million = look.bill.dollars() * MILLION;
            rows.push(vec![
                look.name.to_owned(),
                units(look.bill.units(Unit::Read)),
                units(look.bill.units(Unit::LoggedGb) * 1e6),
                amount(million),
                look.times.to_string(),
                amount(million * f64::from(look.times)),
            ]);
        }
        rows.push(row(&["all", "", "", "", "", &amount(self.reads())]));
        Shown { title: "What shoppers look at, which is not in the sum above".into(), rows }
    }

    fn months(&self) -> Shown {
        let run = &self.quiet;
        let mut rows = vec![row(&["by the month", "how much", "$"])];
        rows.extend(
            self.stands().into_iter().map(|(name, much, cost)| vec![name, units(much), amount(cost)]),
        );
        let gigabytes = |bytes: f64| run.million(bytes) / 1e9;
        let logged = run.million(run.bill.units(Unit::LoggedGb));
        let kept = logged * f64::from(self.standing.retention) / 30.0;
        let mut of = |name: &str, much: f64, unit: Unit| {
            rows.push(vec![name.to_owned(), format!("{much:.1} GB"), amount(much * unit.price().dollars)]);
        };
        of("a million orders, kept in the tables", gigabytes(run.bill.stored), Unit::StoredGbMonth);
        of("the event table's part of it, recoverable", gigabytes(run.bill.backed_up), Unit::BackedUpGbMonth);
        of("their logs, at a million orders a month", kept, Unit::KeptLogGbMonth);
        Shown { title: "What stands, whatever is ordered".into(), rows }
    }
}

/// Whether an order uses it up, and it does not stand.
fn is_per_order(unit: Unit) -> bool {
    match unit {
        Unit::HttpRequest
        | Unit::Invocation
        | Unit::LambdaGbSecond
        | Unit::Write
        | Unit::Read
        | Unit::BusEvent
        | Unit::QueueRequest
        | Unit::ObjectRead
        | Unit::ObjectWrite
        | Unit::Transition
        | Unit::ExpressRequest
        | Unit::ExpressGbSecond
        | Unit::LoggedGb => true,
        Unit::StoredGbMonth
        | Unit::BackedUpGbMonth
        | Unit::KeptLogGbMonth
        | Unit::AlarmMonth
        | Unit::MetricMonth
        | Unit::DashboardMonth => false,
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn dollars(much: f64) -> String {
    format!("${much:.2}")
}

fn amount(much: f64) -> String {
    format!("{much:.2}")
}

/// As many digits as tell something.
fn units(much: f64) -> String {
    if much == 0.0 {
        return "0".into();
    }
    let text = match much {
        much if much >= 100.0 => format!("{much:.0}"),
        much if much >= 0.01 => format!("{much:.2}"),
        much => return format!("{much:.1e}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use serde_json::{Value, json};

    use super::*;
    use crate::cost::{
        bill::ASSUMED,
        meter::{Meter, Record},
        standing,
    };

    /// What CloudFormation calls them, and what people do.
    const SERVICES: &[(&str, &str)] = &[
        ("ApiGatewayV2", "API Gateway"),
        ("CloudFormation", "CloudFormation"),
        ("CloudFront", "CloudFront"),
        ("CloudWatch", "CloudWatch"),
        ("Cognito", "Cognito"),
        ("DynamoDB", "DynamoDB"),
        ("Events", "EventBridge"),
        ("IAM", "IAM"),
        ("KMS", "KMS"),
        ("Lambda", "Lambda"),
        ("Logs", "CloudWatch Logs"),
        ("Pipes", "EventBridge Pipes"),
        ("S3", "S3"),
        ("SNS", "SNS"),
        ("SQS", "SQS"),
        ("SSM", "Parameter Store"),
        ("Scheduler", "EventBridge Scheduler"),
        ("SecretsManager", "Secrets Manager"),
        ("Serverless", "SAM"),
        ("StepFunctions", "Step Functions"),
        ("WAFv2", "WAF"),
    ];

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn no_service_of_the_templates_is_missing_from_the_costs() {
        let document = std::fs::read_to_string(root().join("docs/COSTS.md")).unwrap();
        let used: BTreeSet<String> = standing::templates(root())
            .unwrap()
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.trim().strip_prefix("Type: AWS::")?.split("::").next().map(str::to_owned))
            .collect();
        assert!(used.len() > 6, "{used:?}");
        for service in used {
            let known = SERVICES.iter().find(|(name, _)| *name == service);
            let (_, name) = known.unwrap_or_else(|| panic!("AWS::{service} is new: what does it cost?"));
            assert!(document.contains(name), "docs/COSTS.md does not say what {name} costs");
        }
    }

    #[test]
    fn the_document_has_a_place_for_the_tables_and_every_price_is_in_it() {
        let document = std::fs::read_to_string(root().join("docs/COSTS.md")).unwrap();
        assert!(MARKS.fill(&document, "").is_some());
        for price in PRICES {
            assert!(document.contains(price.listed), "{} {}: {}", price.service, price.name, price.listed);
        }
        assert!(document.contains(AS_OF) && document.contains(REGION));
    }

    fn report() -> Report {
        let quiet = Run { orders: 2, at_once: 1, bill: Bill::default() };
        let scheduled = Some(Bill::default());
        Report { quiet, busy: None, looks: Vec::new(), standing: Standing::default(), scheduled, products: 3 }
    }

    #[test]
    fn functions_that_run_by_the_clock_cost_by_the_month() {
        let run = json!({ "at": 1.0, "kind": "lambda", "function": "resume", "source": "schedule", "records": 1,
                          "memory": 256, "seconds": 1.0, "lines": [] });
        let mut meter = Meter::default();
        meter.records.push(serde_json::from_value(run).unwrap());
        let bill = Bill::of(&meter, ASSUMED, 0);
        let standing = Standing { scheduled: 2, ..Standing::default() };
        let report = Report { standing, scheduled: Some(bill.clone()), ..report() };
        let (name, runs, cost) = report.stands().pop().unwrap();
        assert_eq!(runs, 86_400.0);
        assert!(
            bill.dollars() > 0.2e-6 && (cost - 86_400.0 * bill.dollars()).abs() < 1e-12,
            "{name}: {cost}"
        );
        let unseen = Report { scheduled: None, ..report }.stands().pop().unwrap();
        assert!(unseen.0.contains("none was seen"), "{unseen:?}");
    }

    /// `mall capacity` reads them, and knows nothing else of an order.
    #[test]
    fn the_counts_of_an_order_are_those_that_were_billed() {
        let request = |op: &str, table: &str, before: Value, after: Value| {
            json!({ "at": 1.0, "kind": "dynamodb", "op": op, "table": table, "caller": "mallard-local-depot-project-bots",
                    "consistent": true, "status": 200, "refused": false, "known": true, "wanted": null,
                    "read": [], "before": before, "after": after })
        };
        let bot = |status: &str| json!({ "id": { "S": "a" }, "status": { "S": status } });
        let index = json!({ "name": "bots-by-status", "key": ["status"], "projection": "ALL" });
        let bots = "mallard-Depot-BotsTable-1";
        let lines = [
            json!({ "at": 0.0, "kind": "table", "name": bots, "key": ["id"], "indexes": [index] }),
            json!({ "at": 0.0, "kind": "table", "name": "mallard-EventTable-1", "key": ["id"], "indexes": [] }),
            json!({ "at": 1.0, "kind": "lambda", "function": "mallard-local-depot-project-bots", "source": "aws:sqs",
                    "records": 6, "memory": 256, "seconds": 1.0, "lines": [] }),
            request("Query", "mallard-EventTable-1", Value::Null, Value::Null),
            request("PutItem", bots, bot("idle"), bot("active")),
            json!({ "at": 1.0, "kind": "http", "bytes": 10 }),
            json!({ "at": 1.0, "kind": "states", "event": "ExecutionStarted", "machine": "mallard-local-order-placement",
                    "type": "EXPRESS" }),
        ];
        let mut meter = Meter::default();
        for line in lines {
            let record: Record = serde_json::from_value(line).unwrap();
            meter.learn(&record.what);
            meter.records.push(record);
        }
        let bill = Bill::of(&meter, ASSUMED, 0);
        let look = Looked { name: "", times: 3, bill: bill.divided_by(2.0) };
        let counts =
            Report { quiet: Run { orders: 2, at_once: 1, bill }, looks: vec![look], ..report() }.counts();
        let function = Function { invocations: 0.5, messages: 3.0, dynamodb: 1.0, ..Function::default() };
        let expected = Counts {
            orders: 2,
            products: 3,
            requests: 0.5,
            looks: Looks {
                requests: 3.0,
                busiest: 3.0,
                dynamodb: 3.0,
                reads: [("EventTable".to_owned(), 1.5)].into(),
            },
            executions: [("order-placement".to_owned(), 0.5)].into(),
            functions: [("depot-project-bots".to_owned(), function)].into(),
            tables: [
                ("BotsTable".to_owned(), Units { writes: 0.5, reads: 0.0 }),
                ("EventTable".to_owned(), Units { writes: 0.0, reads: 0.5 }),
            ]
            .into(),
            writers: [("BotsTable".to_owned(), "depot-project-bots".to_owned())].into(),
            // One entry goes, another comes.
            indexes: [("BotsTable/bots-by-status".to_owned(), 1.0)].into(),
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn small_numbers_are_not_rounded_to_nothing() {
        assert_eq!(
            [units(0.0), units(0.000_012), units(0.5), units(12.0), units(1234.5)],
            ["0", "1.2e-5", "0.5", "12", "1234"]
        );
    }
}
