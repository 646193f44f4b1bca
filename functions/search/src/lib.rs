//! Order search: what was ordered, found by customer, time, store, product, amount and status.
//!
//! It has no aggregate: it is a view of other contexts' events, of orders and of who placed them.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`api`] | the queries: what can be asked |
//! | [`views`] | the rows, and how events change them |
//! | [`walk`] | how orders that fit are found in bounded steps |
//! | [`docs`] | what the HTTP API looks like |

pub mod api;
pub mod docs;
pub mod views;
pub mod walk;

use projection::Projector;

use crate::views::{CustomerNames, SearchedOrders};

/// The search with its views.
pub struct Search {
    orders: Projector<SearchedOrders>,
    customers: Projector<CustomerNames>,
}

impl Search {
    /// The search in the views that these projectors keep.
    pub fn new(orders: Projector<SearchedOrders>, customers: Projector<CustomerNames>) -> Self {
        Self { orders, customers }
    }
}
