//! Counts requests and consumed capacity, for benches and cost reports.

use std::sync::Mutex;

/// Adds up what DynamoDB says it charged. Without a meter, capacity is not asked for.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Reading>);

/// What was consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// Requests sent (each page of a query is one).
    pub requests: u64,
    /// Write request units.
    pub write_units: f64,
    /// Read request units.
    pub read_units: f64,
}

impl Meter {
    /// Reads the meter and sets it back to zero.
    pub fn take(&self) -> Reading {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Counts a request that read.
    pub fn read(&self, units: f64) {
        self.add(0.0, units);
    }

    /// Counts a request that wrote.
    pub fn wrote(&self, units: f64) {
        self.add(units, 0.0);
    }

    pub(crate) fn add(&self, write_units: f64, read_units: f64) {
        let mut reading = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        reading.requests += 1;
        reading.write_units += write_units;
        reading.read_units += read_units;
    }
}
