//! The ordering context: a checked-out basket becomes an order, and a saga places or undoes it.
//!
//! | room | contents |
//! | --- | --- |
//! | [`order`] | the aggregate: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`catalogue`] | names and prices of products, for orders without a basket |
//! | [`timeline`] | the story of an order for its customer, from the streams of all contexts |
//! | [`views`] | orders by customer and by id: projection and queries |
//! | [`policies`] | when a basket is checked out, create the order; when its list is completed, it is ready; when its invoice is paid, it is completed |
//! | [`saga`] | the second aggregate: attempts to place or undo an order, beyond the order's own stream |
//! | [`sagas`] | the protocol: starting placements, undoing orders, taking up what was lost |
//! | [`saga_views`] | sagas for operators: projection and queries |
//! | [`docs`] | the routes, for the documents of the API |

mod api;
mod catalogue;
pub mod docs;
pub mod order;
mod policies;
pub mod saga;
pub mod saga_views;
pub mod sagas;
mod timeline;
pub mod views;

use contracts::Envelope;
use event_store::EventStore;
use kernel::{StreamId, Version, ports::Ports};
use lambda::Fault;

/// The context with its store and its ports. Sagas and views are structs of their own.
pub struct Ordering {
    store: EventStore,
    ports: Ports,
}

impl Ordering {
    /// The context over a store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}

/// Reads the events of a stream of another context.
async fn events_of(store: &EventStore, stream: String) -> Result<Vec<Envelope>, Fault> {
    let stream: StreamId = stream.parse().map_err(Fault::internal)?;
    Ok(store.events_after(&stream, Version::NONE).await?)
}
