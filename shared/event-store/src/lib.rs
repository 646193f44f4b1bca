//! The event table: every change in Mallard is a commit in one DynamoDB table.
//!
//! # Storage model
//!
//! What one command decides is one **commit**, and one commit is **one item**, however many events it
//! holds:
//!
//! | attribute | meaning |
//! | --- | --- |
//! | `stream` (S, partition key) | `<context>.<Aggregate>/<id>` |
//! | `version` (N, sort key) | version of the *first* event of the commit; streams start at 1 |
//! | `next` (N) | version after the last event |
//! | `events` (S, or B when deflated) | JSON array: id, type, schema version, data |
//! | `command`, `hash` (S) | id of the command that caused it, fingerprint of its request |
//! | `at`, `actor`, `correlation`, `causation`, `trace` (S) | when, who, because of what |
//! | `attempt` (N) | only when a saga had to try more than once: how often before |
//! | `snapshot` (S or B), `snapshotSchema` (N) | optional: the aggregate's state at `next` |
//!
//! *Append* is one `PutItem` on the condition that the key is free, so exactly one of any number of
//! writers at one version wins. Because the key is the *first* version, two commits that overlap
//! always collide on it. Because a [`Head`] can only be made by a load that saw every commit (or
//! by asserting a new stream), nobody can leave a gap.
//!
//! *Load* is one consistent backward `Query`, at most [`SNAPSHOT_EVERY`] items, since a commit carries a
//! snapshot whenever [`SNAPSHOT_EVERY`] commits would otherwise have to be read.
//!
//! *Load of the past* by version is such a query that begins at the version. By time the version is searched
//! first, by bisection, because commits of a stream are made one after the other: at most 14 requests in a
//! stream of 20,000 commits (measured), one request when the last 20 commits reach back far enough.
//!
//! # Guarantees
//!
//! * A commit is there whole or not at all, and never changes.
//! * [`EventStore::transact`] takes effect once per command id, as far back as the stream's last
//!   [`SNAPSHOT_EVERY`] commits (those that a load reads anyway); a repeat gets the first result.
//!   [`EventStore::transact_with`] does so for a decision that needs a look-up.
//! * A command is refused only on a state that was read consistently.
//! * An outcome that is unknown (a time-out, a lost answer) is looked up before anything is said.
//!
//! # Not guaranteed
//!
//! * A command that changed nothing is not remembered: a repeat is decided anew.
//! * No order between streams, and none in [`EventStore::scan`] but within each stream.
//! * Times within a stream do not run backwards, with one exception: after a commit that is more than a day
//!   ahead of the next writer's clock, that writer's clock counts. [`Until::Time`] then answers one of
//!   several states that fit.
//! * No transaction over two streams: that is what sagas are for.
//! * A load is bounded as long as the state fits into an item beside its events: a snapshot that does not is
//!   left out, and then more commits are read.
//! * A repeat of a command that is older than the window above is a new command; the aggregate's rules
//!   have to hold then.

mod codec;
mod commit;
mod dynamo;
mod failure;
mod log;
mod memory;
mod meter;
mod store;

pub use codec::{CodecError, from_stream_record, item_bytes};
pub use commit::{Commit, CommittedEvent, NewCommit, Snapshot};
pub use dynamo::{DynamoLog, create_table};
pub use failure::Failure;
pub use log::{AppendError, CommitLog, Page, ScanPage, Segment, StoreError, Unreadable};
pub use memory::MemoryLog;
pub use meter::{Meter, Reading};
pub use store::{
    EventStore, Expect, Head, Loaded, MAX_REDECISIONS, Outcome, Past, SNAPSHOT_EVERY, TransactError, Until,
};
