//! The ordering context: a checked-out basket becomes an order, and the order saga sees it through.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`order`] | the aggregate: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`catalogue`] | what products cost and are called, for orders without a basket |
//! | [`timeline`] | what became of an order, told to its customer from the streams of all contexts |
//! | [`views`] | orders by customer and by id: projection and queries |
//! | [`policies`] | when a basket is checked out, create the order; when an order is created, start its saga; when its list is completed, it is ready; when its invoice is paid, it is completed |
//! | [`sagas`] | the ports to the order saga, and Step Functions behind them |
//! | [`saga_rows`] | what is remembered of order sagas: one row for each, whatever order events come in |
//! | [`saga_table`] | the rows in DynamoDB |
//! | [`saga_generations`] | which rows are read and written while the view is built anew |
//! | [`saga_rebuild`] | building the view anew, and comparing it with the events |
//! | [`saga_view`] | what became of order sagas, for operators: projection and queries |
//! | [`docs`] | the routes, for the documents of the API |

pub mod api;
pub mod catalogue;
pub mod docs;
pub mod order;
pub mod policies;
pub mod saga_generations;
pub mod saga_rebuild;
pub mod saga_rows;
pub mod saga_table;
pub mod saga_view;
pub mod sagas;
pub mod timeline;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

/// The context with what it needs of the world. Policies and views have their own.
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
