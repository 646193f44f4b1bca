//! The pure vocabulary that every room of Mallard shares.
//!
//! Nothing here knows AWS, HTTP, a runtime, a clock or a source of randomness; what the world must
//! provide is named in [`ports`] and passed in.
//!
//! | module | the idea |
//! | --- | --- |
//! | [`aggregate`] | a consistency boundary: `decide` and `evolve`, both pure |
//! | [`event`] | a fact, with a type name, a schema version and upcasters |
//! | [`stream`] | where the facts of one aggregate live, and versions in it |
//! | [`command`] | who asked for what, when, and because of what |
//! | [`refusal`] | why the business says no |
//! | [`reason`] | why something was called off |
//! | [`money`] | exact amounts |
//! | [`id`] | typed ids |
//! | [`trace`] | W3C trace context |
//! | [`schema`] | how all of them look in JSON, for documents |
//! | [`ports`] | time, ids, randomness and waiting |

pub mod aggregate;
pub mod command;
pub mod event;
pub mod id;
pub mod money;
pub mod ports;
pub mod reason;
pub mod refusal;
pub mod schema;
pub mod stream;
pub mod trace;

pub use aggregate::{Aggregate, BrokenHistory};
pub use command::{Actor, CommandId, CommandMeta, CommandStamp, PayloadHash};
pub use event::{DecodeError, Event, RawEvent, Upcaster};
pub use id::Id;
pub use jiff::Timestamp;
pub use money::{Currency, Money, MoneyError};
pub use reason::Reason;
pub use refusal::{Refusal, RefusalKind};
pub use stream::{StreamId, StreamIdError, Version};
pub use trace::TraceParent;
pub use uuid::Uuid;
