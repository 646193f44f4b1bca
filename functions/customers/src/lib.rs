//! The customers context: people register, are texted under a number, and may order unless they are disabled.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`customer`] | the aggregate: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`views`] | what is shown of a customer |
//! | [`docs`] | the routes, for the API's document |

pub mod api;
pub mod customer;
pub mod docs;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world.
pub struct Customers {
    store: EventStore,
    ports: Ports,
}

impl Customers {
    /// The context over a store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}
