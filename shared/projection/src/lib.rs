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
//! * *Lists* are read from an index, which lags behind the rows and takes no minimum version. Rows of an index that holds keys
//!   only come from the table: such a row may be newer than its place, and one that is a moment old may be left out.
//! * *Whole commits.* A row may stand inside a commit, after its first event and before its second.
//! * *Order between rows.* Two rows are never changed together.
//! * *A shrunken event table.* Rows that are newer than their stream (after a restore from a backup) stay: rebuild the view.
//!
//! # Generations
//!
//! A view has two tables of the same shape: odd generations are kept in one, even ones in the other, and the one whose turn it
//! is not is empty and costs nothing. The [`Registry`] says which is live; a view without an item there is live in its first.
//! A [`Rebuilder`] fills the next generation from the event table while the bus feeds both, switches, and empties the old one, with
//! no downtime. [`Generations`] is how a function learns which to read and which to feed: it asks at most every [`CACHE`], and every
//! change is followed by a pause of [`GRACE`], after which nobody acts on what was before.
//!
//! So a new projection is one file with an `impl Projection`, two tables in the template and a line in the context's `main.rs`. A
//! view of another make implements [`Rebuildable`] and asks [`Generations`] where to write.
//!
//! # Storage model
//!
//! One table holds one generation of one view, and a [`ViewStore`] is made for one table. So a rebuild
//! fills the next generation beside the live one, with the same projector over another store.
//!
//! | attribute | meaning |
//! | --- | --- |
//! | `id` (S, partition key) | the stream's id: what follows the slash |
//! | `applied` (N) | version of the last event in the row |
//! | `schema` (N) | [`Projection::SCHEMA`] of the code that wrote it |
//! | `empty` (BOOL) | only when all events so far were irrelevant: there is a version but no row |
//! | all others | the row's own fields, so that indexes can be built on them |

mod dynamo;
mod generations;
mod listing;
mod memory;
mod page;
mod projection;
mod projector;
mod rebuild;
mod registry;
mod store;
mod table;

pub use dynamo::{DynamoViews, create_table, encode};
pub use generations::{CACHE, GRACE, Generations, INVOCATION};
pub use memory::{MemoryViews, in_segment};
pub use page::{BadRequest, Index, ListRequest, MAX_LIMIT, Page, Position, SHARDS, opened, sealed};
pub use projection::{ApplyError, Projection, row_id, sortable};
pub use projector::{
    BatchOutcome, DeliverError, Delivered, Failed, ListError, Listing, Projector, ReadError, Versioned, age,
};
pub use rebuild::{
    Limits, Next, Order, RebuildError, Rebuildable, Rebuilder, Refused, SegmentDone, Stray, Strays,
    is_late_to_remove, remove_in_time,
};
pub use registry::{
    At, ChangeError, DynamoRegistry, Fed, Generation, Job, MemoryRegistry, Phase, Registry, SegmentState,
    Task, ViewState, change, create_registry,
};
pub use store::{
    BATCH, Batch, Consistency, Content, Entry, KeyPage, List, Listed, Put, Range, RowKey, Stamp, Stored,
    ViewError, ViewStore, ViewTable,
};
pub use table::ProjectedView;
