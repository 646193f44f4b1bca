//! The adapter between AWS Lambda and the use cases.
//!
//! A context's `main.rs` is a table from function name to use case. This crate does the rest: it
//! turns HTTP requests and direct invocations into one [`Call`], answers into HTTP or JSON, refusals
//! into problem documents (RFC 9457) or typed Lambda errors, queue batches into envelopes with
//! partial failures, and writes one JSON log line per invocation that carries correlation,
//! causation and trace ids.
//!
//! Use cases see [`Call`], [`Answer`] and [`Fault`] only: no Lambda, no AWS, no runtime.

mod answer;
pub mod aws;
mod call;
mod consumer;
mod edge;
mod fault;
mod form;
mod log;
pub mod metrics;
pub mod orders;
pub mod policy;
mod queue;
mod serve;
mod sqs;
mod sweep;
mod system;
mod view;

pub use answer::Answer;
pub use call::Call;
pub use consumer::{Messages, batch_consumer, consumer};
pub use fault::{Detail, Fault};
pub use form::Form;
pub use queue::{Asked, MemoryQueue, Message, Queue};
pub use serve::{Function, raw, serve, use_case};
pub use sweep::sweep_view;
pub use system::system_ports;
pub use view::settled;
