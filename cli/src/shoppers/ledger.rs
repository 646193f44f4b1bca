//! Everything that is counted while the shoppers shop.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use super::{mind::Behaviour, operations::Operation};

/// Surprises that are kept word for word; beyond that they are only counted.
const KEPT: usize = 20;

/// Times, in microseconds, with three significant digits.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // From a microsecond to an hour, with three digits: bounds that the histogram accepts.
        #[expect(clippy::expect_used, reason = "constants, held by a test")]
        Self(Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds of a histogram"))
    }
}

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percent` of a hundred do not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.0.value_at_percentile(percent).min(self.0.max()))
    }

    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

/// How a behaviour ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Completed,
    /// The mall had not what it takes: an empty shelf, a price that was changed by another.
    GaveUp(String),
    /// A request of it had an unexpected answer.
    Failed,
}

/// A behaviour in numbers.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub started: u64,
    pub completed: u64,
    pub gave_up: BTreeMap<String, u64>,
    pub failed: u64,
}

/// An operation in numbers. Every attempt counts as a request.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    pub times: Times,
    /// Answers other than 200, by status and code; expected ones too.
    pub errors: BTreeMap<String, u64>,
}

/// The orders of this run.
#[derive(Debug, Clone, Default)]
pub struct OrderNumbers {
    pub placed: u64,
    /// Checkouts that were answered with higher prices first.
    pub repriced: u64,
    /// By end state and, for a rejection, its reason.
    pub ended: BTreeMap<String, u64>,
    /// From the answer to the checkout to the look that saw the order approved, or further on. Only of orders that are watched
    /// closely, like the next two.
    pub approved: Times,
    /// The same, to completed.
    pub completed: Times,
    /// Between two looks at the same order: the error of both.
    pub looks: Times,
}

/// What bots did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BotNumbers {
    pub collected: u64,
    /// Lists that another bot took first.
    pub lost_races: u64,
    /// Lists that were cancelled while a bot had them.
    pub taken_away: u64,
    /// Times that a bot came for the next list before it was told to be idle.
    pub not_idle_yet: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    pub behaviours: BTreeMap<Behaviour, Tally>,
    pub operations: BTreeMap<String, Requests>,
    pub retries: BTreeMap<String, u64>,
    pub orders: OrderNumbers,
    pub bots: BotNumbers,
    pub invoices_paid: u64,
    /// Processes of functions that were killed.
    pub killed: u64,
    /// What must not happen; the first ones word for word.
    pub surprises: Vec<String>,
    pub surprised: u64,
}

impl Ledger {
    pub fn began(&mut self, behaviour: Behaviour) {
        self.behaviours.entry(behaviour).or_default().started += 1;
    }

    pub fn ended(&mut self, behaviour: Behaviour, how: Ended) {
        let tally = self.behaviours.entry(behaviour).or_default();
        match how {
            Ended::Completed => tally.completed += 1,
            Ended::GaveUp(why) => *tally.gave_up.entry(why).or_default() += 1,
            Ended::Failed => tally.failed += 1,
        }
    }

    /// An attempt was answered, or not; `error` is the status and the code of what was not a success.
    pub fn request(&mut self, operation: &Operation, took: Duration, error: Option<String>) {
        let requests = self.operations.entry(operation.label()).or_default();
        requests.times.add(took);
        if let Some(error) = error {
            *requests.errors.entry(error).or_default() += 1;
        }
    }

    pub fn retried(&mut self, why: String) {
        *self.retries.entry(why).or_default() += 1;
    }

    pub fn surprise(&mut self, what: String) {
        self.surprised += 1;
        if self.surprises.len() < KEPT {
            self.surprises.push(what);
        }
    }

    pub fn requests(&self) -> u64 {
        self.operations.values().map(|requests| requests.times.count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shoppers::operations::GET_ORDER;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut times = Times::default();
        for millisecond in 1..=1000 {
            times.add(Duration::from_millis(millisecond));
        }
        let close = |found: Duration, wanted: u64| {
            found.abs_diff(Duration::from_millis(wanted)) <= Duration::from_millis(wanted) / 500
        };
        assert!(close(times.percentile(50.0), 500), "{:?}", times.percentile(50.0));
        assert!(close(times.percentile(90.0), 900), "{:?}", times.percentile(90.0));
        assert!(close(times.percentile(99.0), 990), "{:?}", times.percentile(99.0));
        assert!(close(times.max(), 1000), "{:?}", times.max());
        assert!(times.percentile(99.9) <= times.max());
        assert_eq!(times.count(), 1000);
    }

    #[test]
    fn no_time_is_too_short_or_too_long_to_be_counted() {
        let mut times = Times::default();
        assert_eq!(times.percentile(99.0), Duration::ZERO);
        times.add(Duration::ZERO);
        times.add(Duration::from_secs(1_000_000));
        assert_eq!(times.count(), 2);
        assert!(times.max() >= Duration::from_secs(3600));
    }

    #[test]
    fn an_attempt_that_failed_is_a_request_too() {
        let mut ledger = Ledger::default();
        ledger.request(&GET_ORDER, Duration::from_millis(1), None);
        ledger.request(&GET_ORDER, Duration::from_millis(1), Some("404 ORDER_NOT_FOUND".into()));
        let requests = &ledger.operations["GET /api/ordering/{id}"];
        assert_eq!((requests.times.count(), requests.errors["404 ORDER_NOT_FOUND"]), (2, 1));
        assert_eq!(ledger.requests(), 2);
    }

    #[test]
    fn a_flood_of_surprises_is_counted_but_not_kept() {
        let mut ledger = Ledger::default();
        (0..1000).for_each(|n| ledger.surprise(n.to_string()));
        assert_eq!((ledger.surprised, ledger.surprises.len()), (1000, KEPT));
    }
}
