//! Tests of the whole: architecture, templates, contracts, end to end.

pub mod saga;
pub mod saga_docs;
pub mod template;
