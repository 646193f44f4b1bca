//! The relay: from the event table's stream to the bus.
//!
//! Each commit that DynamoDB Streams hands over becomes one bus event for each of its domain events: source
//! `mallard.<context>`, detail type the event's type, detail the [`contracts::Envelope`].
//!
//! # Guarantees
//!
//! * **Nothing is acknowledged unless the bus accepted it or it is parked.** Whatever else happens (an entry fails, a
//!   call fails, an answer is lost, time runs out) the record is reported as failed, and Lambda delivers it again.
//! * **`FailedEntryCount` is checked**, entry by entry, and an answer that does not add up counts as no answer.
//! * **No record blocks the others.** A record that is not a commit, and an event that the bus will never take, are parked,
//!   whole and with the reason, and the relay goes on. Where only some entries of a call fail, all others are
//!   still sent; and a call that fails goes to the end of the line for the next round.
//! * **Retries end.** Only what failed is sent again, a bounded number of times with full jitter, and never
//!   so late that the function could not answer before its deadline.
//! * **A slow call holds up no other.** At most three are in flight; of a bus that takes nothing, no further
//!   one is asked for in that round.
//! * A body too large for the bus is left out of its envelope; readers fetch it from the event table.
//!
//! # Not guaranteed
//!
//! * *Order*: the stream promises it for one item only, and a retry overtakes.
//! * *Once*: a lost answer, a partial failure and a redelivered batch all lead to duplicates. Lambda takes the **lowest** failed
//!   sequence number as its checkpoint and delivers everything from there again, also what was accepted. The
//!   relay still sends what comes after a failed record: should Lambda give the batch up in the end (age, attempts), only
//!   what the bus never took is lost to it. Readers drop duplicates by version.
//! * *For ever*: a batch that Lambda gives up goes, as a position in the stream, to the on-failure queue. Its commits are in
//!   the event table, and readers heal when the next event of the stream comes.

mod bus;
mod entry;
mod eventbridge;
mod parking;
mod record;
mod relay;
mod sqs;

pub use bus::{Bus, BusError, Verdict};
pub use entry::{Entry, MAX_BYTES, MAX_ENTRIES};
pub use eventbridge::EventBridge;
pub use parking::{Parked, Parking, ParkingError, Reason};
pub use relay::{Batch, Relay, Unreportable};
pub use sqs::ParkedQueue;
