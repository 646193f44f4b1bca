//! The stores context: shopkeepers open stores, take part in the mall, and decide what they sell and for how much.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`store`], [`product`] | the aggregates: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`views`] | the mall (which stores there are) and the catalogue (what they sell): projections and queries |
//! | [`docs`] | what the HTTP API looks like |

pub mod api;
pub mod docs;
pub mod product;
pub mod store;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world. Views have their own.
pub struct Stores {
    store: EventStore,
    ports: Ports,
}

impl Stores {
    /// The context over an event store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}
