//! The payments context: customers put up an amount; an order holds it; a failed order gives it back.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`payment`] | the aggregate: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`views`] | what is shown of a payment |

pub mod api;
pub mod payment;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world.
pub struct Payments {
    store: EventStore,
    ports: Ports,
}

impl Payments {
    /// The context over a store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}
