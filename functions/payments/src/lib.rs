//! The payments context: customers put up an amount; an order holds it; its invoice is paid, and the amount is taken; what
//! a failed or cancelled order no longer needs is given back.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`payment`], [`invoice`] | the aggregates: states, commands, rules |
//! | [`api`] | the use cases |
//! | [`settlement`] | the step of the undo: an order that is over keeps no money |
//! | [`chase`] | every minute: reminders, and giving up at the deadline |
//! | [`policies`] | when an order is ready or its invoice paid: what follows for its invoice and its payment |
//! | [`views`] | what is shown of one payment, or one invoice |
//! | [`invoices`] | the view of invoices: by customer, and what is still to be paid; a projection and its list |
//! | [`docs`] | the routes, for the API's document |

pub mod api;
pub mod chase;
pub mod docs;
pub mod invoice;
pub mod invoices;
pub mod payment;
pub mod policies;
mod record;
pub mod settlement;
pub mod views;

use event_store::EventStore;
use kernel::ports::Ports;

use invoice::Terms;

/// The context with what it needs of the world.
pub struct Payments {
    store: EventStore,
    ports: Ports,
    terms: Terms,
}

impl Payments {
    /// The context over a store, with these terms of payment.
    pub fn new(store: EventStore, ports: Ports, terms: Terms) -> Self {
        Self { store, ports, terms }
    }
}
