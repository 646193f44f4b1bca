//! End to end, on a deployed stack: `cargo mall test --only e2e` deploys one and says where it is.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `MALL_API_URL` | base of the HTTP API |
//! | `AWS_ENDPOINT_URL` | the cloud; absent for AWS itself |
//! | `MALL_STACK_FILE` | the stack's outputs, as `mall deploy` wrote them |
//! | `MALL_BIN` | the `mall` to operate it with |
//! | `MALL_CLOUD_PID` | the emulator's process, when there is one: its functions can be killed |
//!
//! These tests are ignored without a stack, and fail, rather than pass by doing nothing, when they are
//! asked for without one.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test from outside, against the clock on the wall"
)]

mod chaos;
mod contract;
mod dead_letters;
mod depot;
mod lifecycle;
mod payment;
mod sagas;
mod search;
mod shopkeeper;
mod shopper;
mod stack;
mod stock;
mod story;
mod views;
