//! The ordering context: a checked-out basket becomes an order, and a saga places or undoes it.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`order`] | the aggregate: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`catalogue`] | names and prices of products, for orders without a basket |
//! | [`timeline`] | the story of an order for its customer, from the streams of all contexts |
//! | [`views`] | orders by customer and by id: projection and queries |
//! | [`policies`] | when a basket is checked out, create the order; when its list is completed, it is ready; when its invoice is paid, it is completed |
//! | [`saga`] | the second aggregate: attempts to place or undo an order, beyond the order's own stream |
//! | [`sagas`] | the protocol: starting placements, undoing orders, taking up what was lost |
//! | [`step_functions`] | the port to executions, and Step Functions behind it |
//! | [`saga_views`] | sagas for operators: projection and queries |
//! | [`docs`] | the routes, for the documents of the API |

pub mod api;
pub mod catalogue;
pub mod docs;
pub mod order;
pub mod policies;
pub mod saga;
pub mod saga_views;
pub mod sagas;
pub mod step_functions;
pub mod timeline;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

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
