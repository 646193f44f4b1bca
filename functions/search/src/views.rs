//! Orders as they are searched, and the names of customers: two projections.
//!
//! # Names
//!
//! An order keeps the names that it was placed with. Those of its stores and products are in its own first event, where
//! checkout put them; no later event changes them. A customer has the name that was registered: there is no event that gives
//! another, so the name in this context's own copy is the name at the time of every order. Should such an event ever come,
//! the match in [`CustomerNames::apply`] will not compile until somebody decides what past orders show.

use std::sync::Arc;

use contracts::{
    Envelope,
    customers::CustomerEvent,
    ids::{CustomerId, OrderId},
    ordering::{OrderEvent, OrderItem},
};
use kernel::{Money, Timestamp};
use lambda::{Fault, settled};
use projection::{ApplyError, Index, Projection, row_id, sortable};
use serde::{Deserialize, Serialize};

use crate::Search;

/// The view of all orders: one row for each.
///
/// An order that is completed has four events. Each writes the row: one write unit up to 1 KB, two up to 2
/// KB. The indexes hold keys, which never change, and take a unit each for the whole order.
pub struct SearchedOrders;

/// Orders of one customer, by the time they were placed.
pub const BY_CUSTOMER: Index = Index::new("by-customer", "customerId", "placedAt").keys_only();

/// Orders of one month, by the time they were placed.
pub const BY_MONTH: Index = Index::new("by-month", "month", "placedAt").keys_only().sharded();

/// How an order stands, in the words of the original API, which had none for those that are approved or rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Placed.
    New,
    /// Everything that it needs is in place.
    Approved,
    /// Something that it needs is not to be had.
    Rejected,
    /// Collected.
    #[serde(rename = "Ready For Pickup")]
    ReadyForPickup,
    /// Called off.
    Canceled,
    /// Paid for.
    Completed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::New, Self::Approved, Self::Rejected, Self::ReadyForPickup, Self::Canceled, Self::Completed];

    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Approved => "Approved",
            Self::Rejected => "Rejected",
            Self::ReadyForPickup => "Ready For Pickup",
            Self::Canceled => "Canceled",
            Self::Completed => "Completed",
        }
    }
}

/// An order, as it is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchedOrder {
    /// The order.
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// The lines, with the names that products and stores had.
    pub items: Vec<OrderItem>,
    /// Sum of the lines.
    pub total: Money,
    /// How it stands.
    pub status: Status,
    /// When it was placed: RFC 3339 with all nine places, so that text sorts as time does.
    pub placed_at: String,
    /// The place in [`BY_MONTH`].
    pub month: String,
}

/// The month of a time, which is a partition of [`BY_MONTH`]: `2026-11`.
pub fn month(at: Timestamp) -> String {
    sortable(at).chars().take("2026-11".len()).collect()
}

impl Projection for SearchedOrders {
    const NAME: &'static str = "searched-orders";
    /// 2: sharded as in [`projection::SHARDS`].
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "ordering.Order";
    type Row = SearchedOrder;

    fn apply(row: Option<SearchedOrder>, event: &Envelope) -> Result<SearchedOrder, ApplyError> {
        let now = |status: Status| {
            let row = row.ok_or_else(|| ApplyError::without_row(event))?;
            Ok(SearchedOrder { status, ..row })
        };
        match event.event::<OrderEvent>()? {
            OrderEvent::OrderCreated(created) => Ok(SearchedOrder {
                id: row_id(event)?,
                customer_id: created.customer_id,
                items: created.items,
                total: created.total,
                status: Status::New,
                placed_at: sortable(event.at),
                month: BY_MONTH.place(&month(event.at), row_id::<()>(event)?),
            }),
            OrderEvent::OrderApproved(_) => now(Status::Approved),
            OrderEvent::OrderRejected(_) => now(Status::Rejected),
            OrderEvent::OrderReadied(_) => now(Status::ReadyForPickup),
            OrderEvent::OrderCanceled(_) => now(Status::Canceled),
            OrderEvent::OrderCompleted(_) => now(Status::Completed),
        }
    }
}

/// The names of customers: one row for each.
pub struct CustomerNames;

/// A customer's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomerName {
    /// The customer.
    pub id: CustomerId,
    /// The name.
    pub name: String,
}

impl Projection for CustomerNames {
    const NAME: &'static str = "customer-names";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "customers.Customer";
    const IRRELEVANT: &'static [&'static str] =
        &["CustomerSmsChanged", "CustomerAuthorized", "CustomerEnabled", "CustomerDisabled"];
    type Row = CustomerName;

    fn apply(row: Option<CustomerName>, event: &Envelope) -> Result<CustomerName, ApplyError> {
        match event.event::<CustomerEvent>()? {
            CustomerEvent::CustomerRegistered(registered) => {
                Ok(CustomerName { id: row_id(event)?, name: registered.name })
            }
            CustomerEvent::CustomerSmsChanged(_)
            | CustomerEvent::CustomerAuthorized(_)
            | CustomerEvent::CustomerEnabled(_)
            | CustomerEvent::CustomerDisabled(_) => row.ok_or_else(|| ApplyError::without_row(event)),
        }
    }
}

impl Search {
    /// Brings the view of orders up to date with a batch of events.
    pub async fn project_searched_orders(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.orders.deliver_batch(&events).await)
    }

    /// Brings the names of customers up to date with a batch of events.
    pub async fn project_customer_names(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.customers.deliver_batch(&events).await)
    }
}
