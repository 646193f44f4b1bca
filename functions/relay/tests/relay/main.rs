//! The relay on a bus that does everything a bus can do to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail a test, too")]

mod adapters;
mod any_trouble;
mod deadlines;
mod odd_records;
mod sending;
mod side_by_side;
mod stage;
mod troubles;
