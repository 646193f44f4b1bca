//! The payments context: customers put up an amount; an order holds it; its invoice is paid, and the amount is taken; what
//! a failed or cancelled order no longer needs is given back.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`payment`], [`invoice`] | the aggregates: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`policies`] | when an order is ready, paid or cancelled: what follows for its invoice and its payment |
//! | [`views`] | what is shown of payments and invoices |
//! | [`docs`] | the routes, for the API's document |

pub mod api;
pub mod docs;
pub mod invoice;
pub mod payment;
pub mod policies;
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
