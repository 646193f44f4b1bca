//! The documents of the API, made from the types that travel.
//!
//! Every context lists its HTTP operations in its `docs` room, as [`Operation`]s: the path and verb, and the types of
//! what it takes and answers. The public events are in `contracts`, and all of them are listed here ([`aggregates`]).
//!
//! | module | what is in it |
//! | --- | --- |
//! | `operation`, `links`, `openapi` | the HTTP API |
//! | `events`, `asyncapi` | the events, and who reads them |
//! | `compatibility` | what may change within one version of an event's schema |
//! | `pages` | the same for people, as Markdown |
//!
//! Nothing of this runs in a function: a test makes the documents and compares them with those in the repository, and
//! `cargo mall docs` writes them.

mod asyncapi;
mod compatibility;
mod events;
mod links;
mod openapi;
mod operation;
mod pages;
mod schema;

pub use asyncapi::{Consumer, asyncapi};
pub use compatibility::breaking_changes;
pub use events::{AggregateDocument, EventDocument, aggregates, envelope};
pub use openapi::openapi;
pub use operation::{Answers, Operation, Parameter, Schemas, Verb};
pub use pages::{events_page, operations_table};
pub use schema::references;
