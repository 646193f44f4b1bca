//! What came of it: the same numbers as tables and as JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    books::Books,
    ledger::{BotNumbers, Ledger, Times},
    orders::INTERVAL,
};
use crate::ui;

/// A run, in words and numbers. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(flatten)]
    pub run: Run,
    pub behaviours: Vec<Behaviour>,
    pub operations: Vec<Operation>,
    pub requests: u64,
    pub requests_per_second: f64,
    /// Repeats, by what the attempt before was answered.
    pub retries: BTreeMap<String, u64>,
    pub orders: Orders,
    pub bots_did: BotNumbers,
    pub invoices_paid: u64,
    /// Processes of functions that were killed meanwhile.
    pub killed: u64,
    /// None when the run was ended early.
    pub books: Option<Books>,
    /// What must not happen: how often, and the first ones.
    pub surprises: u64,
    pub first_surprises: Vec<String>,
}

/// What was asked for, and how long it took.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub seed: u64,
    pub clients: u16,
    pub bots: u16,
    pub payers: u16,
    pub refused_percent: u8,
    pub kill_percent: u8,
    /// While clients did new things.
    pub shopping_seconds: f64,
    /// While orders were taken to their ends.
    pub settling_seconds: f64,
    /// By Ctrl-C.
    pub ended_early: bool,
}

/// A behaviour.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Behaviour {
    pub name: &'static str,
    pub started: u64,
    pub completed: u64,
    /// By the reason: an empty shelf, or the code of a refusal that is no surprise.
    pub gave_up: BTreeMap<String, u64>,
    pub failed: u64,
}

/// An operation. Every attempt is a request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub name: String,
    pub requests: u64,
    pub per_second: f64,
    #[serde(flatten)]
    pub times: Spread,
    /// By status and code.
    pub errors: BTreeMap<String, u64>,
}

/// How times are spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// The orders of the run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Orders {
    pub placed: u64,
    /// Checkouts that were answered with higher prices first.
    pub repriced: u64,
    pub ended: BTreeMap<String, u64>,
    /// Not at an end, by status.
    pub left: BTreeMap<String, u64>,
    /// Whether those that are left still had somewhere to go.
    pub stuck: u64,
    pub checkout_to_approved: Spread,
    /// Of all orders that were approved, by the events of the orders; none where the books were not closed.
    pub checkout_to_approval: Option<Spread>,
    pub checkout_to_completed: Spread,
    /// Orders that are watched closely are looked at so often, and the last two are theirs: never better than this.
    pub look_every: f64,
    /// And so often they were.
    pub looked_every: Spread,
}

impl Spread {
    fn of(times: &Times) -> Self {
        let at = |percent| milliseconds(times.percentile(percent));
        let (p50, p90, p99) = (at(50.0), at(90.0), at(99.0));
        Self { count: times.count(), p50, p90, p99, max: milliseconds(times.max()) }
    }
}

impl Report {
    pub fn of(
        ledger: &Ledger,
        run: Run,
        left: BTreeMap<String, u64>,
        moving: &BTreeMap<String, u64>,
        books: Option<Books>,
    ) -> Self {
        let seconds = run.shopping_seconds + run.settling_seconds;
        let rate = |count: u64| if seconds > 0.0 { tenth(count as f64 / seconds) } else { 0.0 };
        let behaviours = ledger.behaviours.iter().map(|(behaviour, tally)| Behaviour {
            name: behaviour.name(),
            started: tally.started,
            completed: tally.completed,
            gave_up: tally.gave_up.clone(),
            failed: tally.failed,
        });
        let operations = ledger.operations.iter().map(|(name, requests)| Operation {
            name: name.clone(),
            requests: requests.times.count(),
            per_second: rate(requests.times.count()),
            times: Spread::of(&requests.times),
            errors: requests.errors.clone(),
        });
        Self {
            run,
            behaviours: behaviours.collect(),
            operations: operations.collect(),
            requests: ledger.requests(),
            requests_per_second: rate(ledger.requests()),
            retries: ledger.retries.clone(),
            orders: Orders {
                placed: ledger.orders.placed,
                repriced: ledger.orders.repriced,
                ended: ledger.orders.ended.clone(),
                left,
                stuck: moving.values().sum(),
                checkout_to_approved: Spread::of(&ledger.orders.approved),
                checkout_to_approval: books.as_ref().map(|books| Spread::of(&books.approved)),
                checkout_to_completed: Spread::of(&ledger.orders.completed),
                look_every: milliseconds(INTERVAL),
                looked_every: Spread::of(&ledger.orders.looks),
            },
            bots_did: ledger.bots,
            invoices_paid: ledger.invoices_paid,
            killed: ledger.killed,
            books,
            surprises: ledger.surprised,
            first_surprises: ledger.surprises.clone(),
        }
    }

    /// Nothing happened that must not. Orders that are under way when the run is ended early are no fault.
    pub fn is_clean(&self) -> bool {
        self.surprises == 0
            && (self.orders.stuck == 0 || self.run.ended_early)
            && self.books.as_ref().is_none_or(|books| books.wrong.is_empty())
    }

    /// The report for the screen.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut section = |title: &str, rows: Vec<Vec<String>>| {
            lines.push(String::new());
            lines.push(console::style(title).bold().to_string());
            lines.extend(ui::table(&rows));
        };
        section("Behaviours", self.behaviour_rows());
        section("Requests", self.request_rows());
        section("Orders", self.order_rows());
        let orders = &self.orders;
        lines.push(format!(
            "  Times are of the orders that were watched closely, by a look each {} (p50 {}, p99 {} between two looks): too long by \
             up to that.",
            time(orders.look_every),
            time(orders.looked_every.p50),
            time(orders.looked_every.p99)
        ));
        let BotNumbers { collected, lost_races, taken_away, not_idle_yet } = self.bots_did;
        lines.push(String::new());
        lines.push(format!(
            "  Bots collected {collected} lists; {lost_races} were another's already, {taken_away} were cancelled on the way; \
             {not_idle_yet} times a bot came before it was known to be idle."
        ));
        lines.push(format!("  Payers paid {} invoices.", self.invoices_paid));
        if self.run.kill_percent > 0 {
            let (percent, killed) = (self.run.kill_percent, self.killed);
            lines.push(format!(
                "  Killed {killed} processes of functions, {percent} % of those there were, each second."
            ));
        }
        lines.push(match self.retries.is_empty() {
            true => "  No request was repeated.".into(),
            false => format!("  Requests repeated: {}.", counts(&self.retries)),
        });
        lines.push(String::new());
        lines.extend(self.verdict());
        lines
    }

    fn verdict(&self) -> Vec<String> {
        let run = &self.run;
        let early = if run.ended_early { ", ended early" } else { "" };
        let mut lines = vec![format!(
            "  {} requests in {:.1} s of shopping and {:.1} s of settling{early}: {} a second. Seed {}.",
            self.requests, run.shopping_seconds, run.settling_seconds, self.requests_per_second, run.seed
        )];
        if !self.orders.left.is_empty() {
            let text = format!("Orders that are not at an end: {}.", counts(&self.orders.left));
            lines.push(match self.orders.stuck {
                0 => format!("  {text}"),
                _ => format!("  {}", ui::warn(text)),
            });
        }
        if let Some(books) = &self.books {
            lines.extend(accounts(books));
        }
        if self.surprises == 0 {
            lines.push(format!("  {}", ui::good("No unexpected answer.")));
        } else {
            lines.push(format!("  {}", ui::bad(format!("{} things that must not happen:", self.surprises))));
            lines.extend(self.first_surprises.iter().map(|what| format!("    {what}")));
            let more = self.surprises - self.first_surprises.len() as u64;
            if more > 0 {
                lines.push(format!("    and {more} more"));
            }
        }
        lines
    }

    fn behaviour_rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![header(&["behaviour", "started", "completed", "gave up", "failed", ""])];
        rows.extend(self.behaviours.iter().map(|row| {
            vec![
                row.name.into(),
                row.started.to_string(),
                row.completed.to_string(),
                row.gave_up.values().sum::<u64>().to_string(),
                alarming(row.failed),
                ui::dim(counts(&row.gave_up)).to_string(),
            ]
        }));
        rows
    }

    fn request_rows(&self) -> Vec<Vec<String>> {
        let mut rows =
            vec![header(&["operation", "count", "/s", "p50", "p90", "p99", "max", "not answered with 200"])];
        rows.extend(self.operations.iter().map(|row| {
            let Spread { p50, p90, p99, max, .. } = row.times;
            let mut cells =
                vec![row.name.clone(), row.requests.to_string(), format!("{:.1}", row.per_second)];
            cells.extend([p50, p90, p99, max].map(time));
            cells.push(counts(&row.errors));
            cells
        }));
        rows
    }

    fn order_rows(&self) -> Vec<Vec<String>> {
        let orders = &self.orders;
        let mut rows = vec![header(&["", "orders", "p50", "p90", "p99", "max"])];
        let plain = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
        rows.push(plain("placed", orders.placed));
        rows.push(plain("checked out again: prices had risen", orders.repriced));
        rows.extend(orders.ended.iter().map(|(end, count)| plain(end, *count)));
        rows.extend(orders.left.iter().map(|(status, count)| plain(&format!("left {status}"), *count)));
        for (name, spread) in [
            ("checkout to approval, all orders, by their events", orders.checkout_to_approval),
            ("checkout to approved", Some(orders.checkout_to_approved)),
            ("checkout to completed", Some(orders.checkout_to_completed)),
        ] {
            let Some(spread) = spread else { continue };
            let mut cells = plain(name, spread.count);
            if spread.count > 0 {
                cells.extend([spread.p50, spread.p90, spread.p99, spread.max].map(time));
            }
            rows.push(cells);
        }
        rows
    }
}

/// What the books say.
fn accounts(books: &Books) -> Vec<String> {
    let money = |minor: i64| format!("{}.{:02}", minor / 100, minor % 100);
    let Books { orders, completed, paid, captured, products, stocked, on_hand, sold, reserved, .. } = books;
    let mut lines = vec![
        format!(
            "  Money of {orders} orders: {} completed, {} paid on invoices, {} taken from payments.",
            money(*completed),
            money(*paid),
            money(*captured)
        ),
        format!(
            "  Stock of {products} products: {stocked} pieces came in, {sold} were sold, {on_hand} are on hand, {reserved} of them \
             kept for orders. {} messages in dead-letter queues.",
            books.dead_letters
        ),
    ];
    if books.wrong.is_empty() {
        lines.push(format!("  {}", ui::good("The books are right: goods and money add up.")));
    } else {
        lines.push(format!("  {}", ui::bad("The books are wrong:")));
        lines.extend(books.wrong.iter().map(|wrong| format!("    {wrong}")));
    }
    lines
}

fn header(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} × {count}")).collect();
    parts.join(", ")
}

fn alarming(count: u64) -> String {
    if count == 0 { "0".into() } else { ui::bad(count).to_string() }
}

/// Milliseconds, as on the rest of the screen; with a decimal below ten.
fn time(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        return format!("{milliseconds:.1} ms");
    }
    ui::duration(Duration::from_secs_f64(milliseconds / 1000.0))
}

fn milliseconds(time: Duration) -> f64 {
    tenth(time.as_secs_f64() * 1000.0)
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shoppers::{ledger::Ended, mind, operations::CHECKOUT};

    fn run(ended_early: bool) -> Run {
        Run {
            seed: 7,
            clients: 5,
            bots: 2,
            payers: 2,
            refused_percent: 10,
            kill_percent: 0,
            shopping_seconds: 8.0,
            settling_seconds: 2.0,
            ended_early,
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for n in 1..=100 {
            let error = (n > 90).then(|| "409 PRICES_HAVE_RISEN".to_owned());
            ledger.request(&CHECKOUT, Duration::from_millis(n), error);
            ledger.began(mind::Behaviour::Buy);
            let ended = if n > 90 { Ended::GaveUp("empty shelf".into()) } else { Ended::Completed };
            ledger.ended(mind::Behaviour::Buy, ended);
        }
        ledger.orders.placed = 90;
        ledger.orders.ended.insert("completed".into(), 88);
        ledger.orders.completed.add(Duration::from_millis(1500));
        ledger.retried("429".into());
        ledger
    }

    fn stuck() -> BTreeMap<String, u64> {
        BTreeMap::from([("ready".to_owned(), 2)])
    }

    #[test]
    fn the_tables_tell_what_the_ledger_knows() {
        console::set_colors_enabled(false);
        let report = Report::of(&ledger(), run(false), stuck(), &stuck(), None);
        let text = report.lines().join("\n");
        let row =
            |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
        let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words(row("buy")), "buy 100 90 10 0 empty shelf × 10");
        assert_eq!(
            words(row("PUT /api/baskets/{id}/checkout")),
            "PUT /api/baskets/{id}/checkout 100 10.0 50 ms 90 ms 99 ms 100 ms 409 PRICES_HAVE_RISEN × 10"
        );
        assert_eq!(words(row("completed")), "completed 88");
        assert_eq!(words(row("checkout to completed")), "checkout to completed 1 1.5 s 1.5 s 1.5 s 1.5 s");
        assert_eq!(words(row("checkout to approved")), "checkout to approved 0");
        assert_eq!(words(row("left ready")), "left ready 2");
        assert!(text.contains("Requests repeated: 429 × 1."), "{text}");
        assert!(
            text.contains("100 requests in 8.0 s of shopping and 2.0 s of settling: 10 a second. Seed 7.")
        );
        assert!(text.contains("No unexpected answer."));
    }

    #[test]
    fn a_run_with_a_surprise_or_a_stuck_order_is_not_clean() {
        let none = BTreeMap::new();
        assert!(Report::of(&ledger(), run(false), none.clone(), &none, None).is_clean());
        assert!(
            Report::of(&ledger(), run(false), stuck(), &none, None).is_clean(),
            "nobody was there to pay"
        );
        assert!(!Report::of(&ledger(), run(false), stuck(), &stuck(), None).is_clean());
        assert!(
            Report::of(&ledger(), run(true), stuck(), &stuck(), None).is_clean(),
            "nobody waited for them"
        );
        let mut surprised = ledger();
        (0..25).for_each(|n| surprised.surprise(format!("PUT /x: 500 number {n}")));
        let report = Report::of(&surprised, run(true), none.clone(), &none, None);
        assert!(!report.is_clean());
        let text = report.lines().join("\n");
        assert!(text.contains("25 things that must not happen:") && text.contains("and 5 more"), "{text}");
    }

    #[test]
    fn the_file_has_the_numbers_of_the_tables() {
        let report = Report::of(&ledger(), run(false), stuck(), &stuck(), None);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["seed"], &json["requests"]), (&7.into(), &100.into()));
        let operation = &json["operations"][0];
        assert_eq!(operation["name"], "PUT /api/baskets/{id}/checkout");
        assert_eq!(
            (operation["requests"].as_u64(), operation["perSecond"].as_f64()),
            (Some(100), Some(10.0))
        );
        assert_eq!(operation["errors"]["409 PRICES_HAVE_RISEN"], 10);
        assert!((operation["p90"].as_f64().unwrap() - 90.0).abs() < 0.2);
        assert_eq!(json["orders"]["left"]["ready"], 2);
        assert_eq!(json["orders"]["lookEvery"], 250.0);
        assert_eq!(json["behaviours"][0]["gaveUp"]["empty shelf"], 10);
    }

    #[test]
    fn a_run_of_nothing_can_be_reported() {
        let none = BTreeMap::new();
        let run = Run { shopping_seconds: 0.0, settling_seconds: 0.0, ..run(true) };
        let report = Report::of(&Ledger::default(), run, none.clone(), &none, None);
        assert!(!report.lines().is_empty() && report.requests_per_second == 0.0);
        assert!(serde_json::to_string(&report).is_ok());
    }
}
