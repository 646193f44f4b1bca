//! A bill, to be read: in a terminal, in docs/COSTS.md, and by machines.

use std::fmt::Write;

use serde::Serialize;

use super::{
    bill::{Bill, Line},
    prices::{AS_OF, PRICES, REGION, Unit},
    standing::Standing,
};
use crate::ui;

/// Bill and price are for one; what is told is for so many.
const MILLION: f64 = 1e6;
/// Lines of the list of the largest.
const LARGEST: usize = 10;
/// What is less than this many dollars in a million orders is told as one.
const SMALL: f64 = 0.50;
/// Messages in a batch that are looked at.
const BATCHES: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

const BEGIN: &str = "<!-- made by `cargo mall cost --write`: from here -->";
const END: &str = "<!-- made by `cargo mall cost --write`: to here -->";

/// Between them a document has the tables.
pub const MARKS: [&str; 2] = [BEGIN, END];

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

/// A table with its title.
struct Shown {
    title: String,
    rows: Vec<Vec<String>>,
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
        for table in self.tables() {
            lines.push(String::new());
            lines.push(format!("  {}", table.title));
            lines.extend(ui::table(&table.rows));
        }
        lines
    }

    /// The same as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for table in self.tables() {
            let _ = write!(text, "\n### {}\n\n", table.title);
            for (number, row) in table.rows.iter().enumerate() {
                let _ = writeln!(text, "| {} |", row.join(" | "));
                if number == 0 {
                    let rule: Vec<&str> = row.iter().map(|_| "---").collect();
                    let _ = writeln!(text, "| {} |", rule.join(" | "));
                }
            }
        }
        text
    }

    /// Whether a document has a place for the tables.
    pub fn has_place_in(document: &str) -> bool {
        document.split_once(BEGIN).is_some_and(|(_, rest)| rest.contains(END))
    }

    /// `document` with the made part made anew; none when it has no place for it.
    pub fn written_into(&self, document: &str) -> Option<String> {
        let (before, rest) = document.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.markdown()))
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

    use serde_json::json;

    use super::*;
    use crate::cost::{bill::ASSUMED, meter::Meter, standing};

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
        assert!(Report::has_place_in(&document));
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

    #[test]
    fn what_was_written_by_hand_stays() {
        let document = format!("# Costs\n\n{BEGIN}\nold\n{END}\n\nby hand\n");
        let written = report().written_into(&document).unwrap();
        assert!(written.starts_with("# Costs\n") && written.ends_with("\n\nby hand\n"));
        assert!(!written.contains("old") && written.contains("### By service"));
        assert_eq!(report().written_into(&written).unwrap(), written, "twice is once");
        assert_eq!(report().written_into("# Something else"), None);
    }

    #[test]
    fn small_numbers_are_not_rounded_to_nothing() {
        assert_eq!(
            [units(0.0), units(0.000_012), units(0.5), units(12.0), units(1234.5)],
            ["0", "1.2e-5", "0.5", "12", "1234"]
        );
    }
}
