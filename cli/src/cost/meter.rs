//! What `infra/local/meter.py` wrote down.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::SystemTime,
};

use serde::Deserialize;

use super::units::{Item, Table};
use crate::errors::{Error, Result};

/// A line of the meter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record {
    /// When, in seconds since 1970.
    pub at: f64,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// A table is used for the first time.
    Table {
        name: String,
        #[serde(flatten)]
        table: Table,
    },
    /// A request to DynamoDB; of no caller when somebody looked from outside.
    Dynamodb(Request),
    /// A consumer of a queue that waits for batches to fill.
    Mapping {
        function: String,
        /// Seconds.
        window: f64,
        /// Messages at most.
        size: u64,
    },
    /// A request to the API.
    Http { bytes: u64 },
    /// An invocation.
    Lambda {
        function: String,
        source: String,
        records: u64,
        memory: u64,
        /// The level from which Lambda itself logs.
        #[serde(default)]
        system: String,
        /// Of this machine: told, and never billed.
        seconds: f64,
        /// The length of each line it logged.
        lines: Vec<u64>,
    },
    /// An event on a bus.
    Events {
        caller: Option<String>,
        #[serde(rename = "type")]
        event_type: Option<String>,
        bytes: u64,
    },
    /// A request to a queue.
    Sqs { op: String, queue: String, bytes: u64 },
    /// A request to S3, by its method; `LIST` for a listing.
    S3 { op: String, caller: String },
    /// Something happened to an execution.
    States {
        event: String,
        machine: String,
        #[serde(rename = "type")]
        machine_type: String,
    },
    /// A request to Step Functions: not billed, but a function waits for it, and its time is.
    Asked { caller: String },
}

/// Source of an invocation by the clock, as the meter calls it.
const SCHEDULE: &str = "schedule";

impl What {
    /// Function on whose bill it is.
    fn function(&self) -> Option<&str> {
        match self {
            What::Lambda { function, .. } => Some(function),
            What::Dynamodb(Request { caller, .. }) | What::Events { caller, .. } => caller.as_deref(),
            What::S3 { caller, .. } | What::Asked { caller } => Some(caller),
            What::Table { .. }
            | What::Mapping { .. }
            | What::Http { .. }
            | What::Sqs { .. }
            | What::States { .. } => None,
        }
    }
}

/// A request to DynamoDB.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Request {
    pub op: String,
    pub table: String,
    pub caller: Option<String>,
    pub consistent: bool,
    pub status: u16,
    /// Whether its condition refused a write.
    pub refused: bool,
    /// Whether it is of a kind whose bill is understood here.
    pub known: bool,
    pub read: Vec<Item>,
    pub wanted: Option<Item>,
    pub before: Option<Item>,
    pub after: Option<Item>,
}

/// All that was counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Meter {
    pub records: Vec<Record>,
    pub tables: BTreeMap<String, Table>,
    /// Of functions that wait for batches to fill: seconds, and messages at most.
    pub windows: BTreeMap<String, (f64, u64)>,
    /// Functions that run by the clock.
    scheduled: BTreeSet<String>,
}

impl Meter {
    /// Reads the meter's file.
    ///
    /// # Errors
    /// When it cannot be read, or has a line that is none of these: a meter half understood would be cheap.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::file("cannot read", path))?;
        Self::parse(&text).map_err(|why| Error::Damaged { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The last line may just be being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut meter = Self::default();
        for (number, line) in whole.lines().enumerate() {
            let record: Record =
                serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
            meter.learn(&record.what);
            meter.records.push(record);
        }
        Ok(meter)
    }

    /// What holds for the whole run, whenever it was written down.
    pub fn learn(&mut self, what: &What) {
        match what {
            What::Table { name, table } => drop(self.tables.insert(name.clone(), table.clone())),
            What::Mapping { function, window, size } => {
                self.windows.insert(function.clone(), (*window, *size));
            }
            What::Lambda { function, source, .. } if source == SCHEDULE => {
                self.scheduled.insert(function.clone());
            }
            What::Dynamodb(_)
            | What::Http { .. }
            | What::Lambda { .. }
            | What::Events { .. }
            | What::Sqs { .. }
            | What::S3 { .. }
            | What::States { .. }
            | What::Asked { .. } => {}
        }
    }

    /// Selects the records from one moment until another, without those of functions that run by the clock:
    /// these are billed by the month.
    pub fn between(&self, from: Moment, until: Moment) -> Self {
        self.only(|record| record.at >= from.0 && record.at < until.0 && !self.is_scheduled(record))
    }

    /// Selects the records of functions that run by the clock, of all the time.
    pub fn by_the_clock(&self) -> Self {
        self.only(|record| self.is_scheduled(record))
    }

    fn is_scheduled(&self, record: &Record) -> bool {
        record.what.function().is_some_and(|function| self.scheduled.contains(function))
    }

    fn only(&self, wanted: impl Fn(&Record) -> bool) -> Self {
        let records = self.records.iter().filter(|record| wanted(record)).cloned().collect();
        Self { records, ..self.clone() }
    }
}

/// On the meter's clock, which is this machine's.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Moment(pub f64);

impl Moment {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(since.map_or(0.0, |time| time.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"at":1.5,"kind":"table","name":"T-OrdersTable-1","key":["id"],"indexes":[{"name":"i","key":["c"],"projection":"ALL","also":[]}]}"#,
        "\n",
        r#"{"at":2.0,"kind":"dynamodb","op":"GetItem","table":"T-OrdersTable-1","caller":null,"index":null,"consistent":true,"status":200,"refused":false,"known":true,"read":[],"wanted":null,"before":null,"after":null}"#,
        "\n",
        r#"{"at":3.0,"kind":"states","event":"TaskStateEntered","state":"A","machine":"m","type":"STANDARD","execution":"e"}"#,
        "\n",
        r#"{"at":4.0,"kind":"asked","service":"states","op":"StartExecution","caller":"f"}"#,
        "\n",
        r#"{"at":5.0,"kind":"lam"#,
    );

    #[test]
    fn a_line_that_is_still_being_written_is_read_the_next_time() {
        let meter = Meter::parse(LINES).unwrap();
        assert_eq!(meter.records.len(), 4);
        assert_eq!(meter.tables["T-OrdersTable-1"].indexes[0].key, ["c"]);
    }

    #[test]
    fn what_is_not_understood_is_no_free_ride() {
        let error = Meter::parse("{\"at\":1,\"kind\":\"satellite\"}\n").unwrap_err();
        assert!(error.starts_with("line 1:"), "{error}");
    }

    #[test]
    fn a_run_has_what_began_in_it_and_nothing_of_the_next() {
        let meter = Meter::parse(LINES).unwrap();
        let run = meter.between(Moment(2.0), Moment(4.0));
        assert_eq!(run.records.iter().map(|record| record.at).collect::<Vec<_>>(), [2.0, 3.0]);
        assert_eq!(run.tables, meter.tables);
    }

    #[test]
    fn no_order_is_billed_for_functions_that_run_by_the_clock() {
        let invoked = |at: f64, function: &str, source: &str| {
            format!(
                "{{\"at\":{at},\"kind\":\"lambda\",\"function\":\"{function}\",\"source\":\"{source}\",\"records\":1,\
                 \"memory\":256,\"seconds\":1,\"lines\":[]}}\n"
            )
        };
        let asked = |at: f64, function: &str| {
            format!("{{\"at\":{at},\"kind\":\"asked\",\"caller\":\"{function}\"}}\n")
        };
        let lines = [
            asked(1.0, "resume"),
            asked(1.1, "place"),
            invoked(2.0, "place", "direct"),
            // Written when it is over: what it asked for stands before it.
            invoked(3.0, "resume", "schedule"),
        ];
        let meter = Meter::parse(&lines.concat()).unwrap();
        let times = |meter: Meter| meter.records.iter().map(|record| record.at).collect::<Vec<_>>();
        assert_eq!(times(meter.between(Moment(1.0), Moment(2.5))), [1.1, 2.0]);
        assert_eq!(times(meter.by_the_clock()), [1.0, 3.0]);
    }
}
