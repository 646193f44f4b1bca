//! The baskets context: shoppers fill a basket from several stores and check out.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`basket`] | the aggregate: states, commands, rules |
//! | [`catalogue`] | the seam to the stores context |
//! | [`api`] | the use cases |
//! | [`views`] | what is shown of a basket |

pub mod api;
pub mod basket;
pub mod catalogue;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world.
pub struct Baskets {
    store: EventStore,
    ports: Ports,
}

impl Baskets {
    /// The context over a store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}
