//! The baskets context: shoppers fill a basket from several stores and check out.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`basket`] | the aggregate: states, commands, rules |
//! | [`goods`] | what stores sell and for how much, from this context's own copy |
//! | [`api`] | the use cases |
//! | [`views`] | what is shown of a basket |
//! | [`docs`] | how the HTTP API looks |

pub mod api;
pub mod basket;
pub mod docs;
pub mod goods;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

use crate::goods::Goods;

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

/// The use cases that have to know what stores sell: putting in, and paying.
pub struct Shopping {
    baskets: Baskets,
    goods: Goods,
}

impl Shopping {
    /// Baskets that are filled with these goods.
    pub fn new(baskets: Baskets, goods: Goods) -> Self {
        Self { baskets, goods }
    }
}
