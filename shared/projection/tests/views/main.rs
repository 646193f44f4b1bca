//! Views under every trouble that the way from commit to reader can make, in memory and in DynamoDB.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail a test, too")]

mod delivery;
mod lists;
mod orders_of_delivery;
mod reading;
mod schemas;
mod shards;
mod stage;
mod stores;
mod sweeping;
