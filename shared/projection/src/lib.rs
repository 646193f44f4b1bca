//! Views that are exactly as new as they say.
//!
//! A [`Projection`] turns the events of one category of streams into rows, one row for each stream. A
//! [`Projector`] keeps the rows up to date: events come in over the bus in any order, any number of
//! times, or not at all, and the row holds, beside the view, the **version it has applied**:
//!
//! | the event's version is | then |
//! | --- | --- |
//! | at or below the applied version | it is a duplicate: dropped |
//! | the next one | it is applied |
//! | further on, or its body was left out | the missing events are read from the event table and applied through |
//!
//! View and version are written together in one `PutItem`, on the condition that the row is still
//! what was read. So an event takes effect exactly once, for one write and no inbox table (a row of
//! up to 1 KB is one write unit, and so is its copy in each index).
//!
//! # Guarantees
//!
//! * **A row is a fold**: its content is what [`Projection::apply`] makes of the stream's events 1 to
//!   `applied`, in order, each once, however they were delivered and however many projectors run.
//! * **A row never goes back** to an older version, and a row of an older [`Projection::SCHEMA`] is only ever
//!   replaced by one that was folded to the end of its stream.
//! * **Users read their own writes**: [`Projector::read`] with a minimum version answers with a row that is at
//!   least that new, or says that the stream itself has not come that far.
//! * **Nothing is skipped silently.** An event that cannot be applied is an error, which its queue
//!   retries and then parks. The row stays at the version before it, so later events of *that*
//!   stream fail as well until the code is mended; other streams go on.
//! * A write with an unknown outcome does no harm: the repeat finds the version applied.
//!
//! # Not guaranteed
//!
//! * *Freshness.* A read without a minimum version may be behind: by the time that events take to
//!   travel, and for as long as the last event of a stream is lost. The next event, or a read with a minimum, heals it.
//! * *Lists* are read from an index, which lags behind the rows and takes no minimum version. Rows of an
//!   index that holds keys only come from the table: such a row may be newer than its place, and one that is
//!   a moment old may be left out.
//! * *Whole commits.* A row may stand inside a commit, after its first event and before its second.
//! * *Order between rows.* Two rows are never changed together.
//! * *A shrunken event table.* Rows that are newer than their stream (after a restore from a backup) stay
//!   until the view is swept.
//!
//! # Sweeps
//!
//! A [`Sweeper`] puts any view right in place, from the event table, while it is read and fed: after
//! [`Projection::SCHEMA`] was raised, after rows were lost or damaged, or when a view is new. A view of
//! another make implements [`Swept`].
//!
//! So a new projection is one file with an `impl Projection`, a table in the template and a line in the
//! context's `main.rs`. Other keys or other indexes are a new view with a new name: deployed beside the old
//! one, swept, and read from the next deployment on. Keys of indexes, and the rows that a sparse index holds,
//! never change within a view.
//!
//! # Storage model
//!
//! One table holds one view.
//!
//! | attribute | meaning |
//! | --- | --- |
//! | `id` (S, partition key) | the stream's id: what follows the slash |
//! | `applied` (N) | version of the last event in the row |
//! | `schema` (N) | [`Projection::SCHEMA`] of the code that wrote it |
//! | `empty` (BOOL) | only when all events so far were irrelevant: there is a version but no row |
//! | all others | the row's own fields, so that indexes can be built on them |

mod dynamo;
mod fold;
mod listing;
mod memory;
mod page;
mod progress;
mod projection;
mod projector;
mod store;
mod sweep;
mod table;

pub use dynamo::{DynamoViews, create_table, encode};
pub use fold::{Folded, Verdict};
pub use memory::{MemoryViews, in_segment};
pub use page::{BadRequest, Index, ListRequest, MAX_LIMIT, Page, Position, SHARDS, opened, sealed};
pub use progress::{
    At, DynamoProgress, MemoryProgress, Part, Progress, Record, Sweep, SweepState, create_progress,
    stop_sweep,
};
pub use projection::{ApplyError, LONG, Projection, row_id, sortable};
pub use projector::{
    BatchOutcome, DeliverError, Delivered, Failed, ListError, Listing, Projector, ReadError, Versioned, age,
};
pub use store::{
    BATCH, Batch, Consistency, Content, Entry, KeyPage, List, Listed, Put, Range, RowKey, Stamp, Stored,
    ViewError, ViewStore, ViewTable,
};
pub use sweep::{Limits, Order, Report, Slice, Strays, SweepError, Sweeper, Sweeping, Swept, has_no_events};
pub use table::ProjectedView;
