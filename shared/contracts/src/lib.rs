//! The public events of every context: what it promises to all the others.
//!
//! A context stores exactly these events, so what other contexts read over the bus, and what they
//! read from the event table when they heal a gap, is one and the same thing. Contexts integrate
//! through this crate only.
//!
//! Changing an event: add optional fields freely; for anything else raise the schema version in
//! [`kernel::Event::SCHEMAS`] and add an upcaster. Fields that are not known are ignored on reading, so
//! readers that are older than the writer keep working within one schema version.

pub mod baskets;
pub mod customers;
pub mod depot;
pub mod envelope;
pub mod ids;
pub mod inventory;
pub mod ordering;
pub mod payments;
pub mod stores;

pub use envelope::Envelope;
