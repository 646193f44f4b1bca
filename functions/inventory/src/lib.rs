//! The inventory context: how much of a product is in the house, and for which orders it is kept.
//!
//! A product is always available until somebody starts to count it. From then on, nothing is sold that is not there: every
//! order's pieces are kept in the product's own stream, so two orders can never get the same piece.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`stock`] | the stock of a product: states, commands, rules |
//! | [`reservation`] | the reservation of an order: where its commits are found in the stock of its products |
//! | [`api`] | the use cases of stock keepers |
//! | [`reserve`] | what an order keeps, gives back and takes away: all of its products or none (docs/decisions/0008) |
//! | [`policies`] | when an order is completed, the pieces that it kept are sold |
//! | [`views`] | stock levels by store, and what runs low: a projection and queries |
//! | [`docs`] | the HTTP operations |

pub mod api;
pub mod docs;
pub mod policies;
pub mod reservation;
pub mod reserve;
pub mod stock;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world. Its view has its own.
pub struct Inventory {
    store: EventStore,
    ports: Ports,
}

impl Inventory {
    /// The context over an event store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}
