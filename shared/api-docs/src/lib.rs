//! The documents of the API, made from the types that travel.
//!
//! Every context lists its HTTP operations in its `docs` room, as [`Operation`]s: the path and verb, and the types of
//! what it takes and answers.

mod operation;

pub use operation::{Answers, Operation, Parameter, Schemas, Verb};
