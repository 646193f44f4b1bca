//! The depot context: bots collect in the stores what was ordered.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`shopping_list`], [`bot`] | the aggregates: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`assignment`] | a list gets its bot: the one use case that changes two streams |
//! | [`policies`] | when a list ends, free its bot |
//! | [`views`] | the work queue, all lists and all bots: projections and queries |
//! | [`docs`] | the operations of the HTTP API |

pub mod api;
pub mod assignment;
pub mod bot;
pub mod docs;
pub mod policies;
pub mod shopping_list;
pub mod views;

use std::sync::Arc;

use catalogue::Catalogue;
use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world. Views have their own.
pub struct Depot {
    store: EventStore,
    ports: Ports,
}

impl Depot {
    /// The context over an event store.
    pub fn new(store: EventStore, ports: Ports) -> Self {
        Self { store, ports }
    }
}

/// Makes shopping lists: looks up what is collected where in the depot's copies of the stores and their products.
pub struct Planner {
    depot: Arc<Depot>,
    catalogue: Arc<Catalogue>,
}

impl Planner {
    /// The planner of a depot.
    pub fn new(depot: Arc<Depot>, catalogue: Arc<Catalogue>) -> Self {
        Self { depot, catalogue }
    }
}
