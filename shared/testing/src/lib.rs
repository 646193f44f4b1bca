//! The test kit: what tests of every context share.
//!
//! | module | the idea |
//! | --- | --- |
//! | [`spec`] | given/when/then for any aggregate |
//! | [`ports`] | time, ids, randomness and waiting that a test controls; one seed, one run |
//! | [`dynamo`] | DynamoDB inside the test's process, reached through the real AWS SDK |
//! | [`s3`] | objects in buckets, written under conditions, reached through the real AWS SDK |
//! | [`faulty`] | a commit log that loses answers, throttles, and lets others write first |
//! | [`delivery`] | the bus at its worst: shuffled, duplicated, with pieces missing |
//! | [`runtime_api`] | Lambda around a function's own process |
//! | [`shelves`] | the streams of stores and products, for those who read them |
//! | [`told`] | streams that say whatever they are told |
//! | [`recorder`] | a commit log that remembers a history, to put it into another log |
//! | [`random`] | the small seeded generator behind the others |
//!
//! Everything here panics with a message when it is misused: a test kit that returns errors only
//! makes tests longer.

#![allow(clippy::disallowed_methods, reason = "the test kit implements ports and runs an endpoint")]

pub mod delivery;
pub mod dynamo;
pub mod faulty;
pub mod ports;
pub mod random;
pub mod recorder;
pub mod runtime_api;
pub mod s3;
pub mod shelves;
pub mod spec;
pub mod told;

pub use delivery::{Hostility, hostile};
pub use dynamo::EmbeddedDynamo;
pub use faulty::FaultyLog;
pub use ports::TestPorts;
pub use random::Seeded;
pub use recorder::RecordingLog;
pub use runtime_api::{FixedService, FunctionProcess};
pub use s3::EmbeddedS3;
pub use shelves::Shelves;
pub use spec::given;
pub use told::tell;
