//! Orders in every state.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use contracts::{
    ids::{OrderId, shopping_list_of},
    ordering::OrderItem,
    payments::{InvoiceEvent, InvoicePaid},
};
use kernel::{Id, Money, Reason};
use ordering::order::OrderCommand;

/// Two apples at 0.75.
pub fn items() -> Vec<OrderItem> {
    vec![OrderItem {
        store_id: Id::derived(&["store"]),
        product_id: Id::derived(&["apple"]),
        store_name: "Fruit & Veg".into(),
        product_name: "Apple".into(),
        price: Money::from_minor(75).unwrap(),
        quantity: 2,
    }]
}

pub fn create() -> OrderCommand {
    let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
    OrderCommand::Create { customer_id, payment_id, items: items() }
}

pub fn approve(id: OrderId) -> OrderCommand {
    OrderCommand::Approve { shopping_id: Some(shopping_list_of(id)) }
}

pub fn ready(id: OrderId) -> OrderCommand {
    OrderCommand::Ready { shopping_id: shopping_list_of(id) }
}

pub fn complete(id: OrderId) -> OrderCommand {
    OrderCommand::Complete { invoice_id: id.as_kind() }
}

pub fn close(reason: &str) -> OrderCommand {
    OrderCommand::Close { reason: Reason::new(reason), even_approved: true }
}

/// Commands that lead to a state.
pub fn commands(status: &str, id: OrderId) -> Vec<OrderCommand> {
    match status {
        "pending" => vec![create()],
        "approved" => vec![create(), approve(id)],
        "ready" => vec![create(), approve(id), ready(id)],
        "completed" => vec![create(), approve(id), ready(id), complete(id)],
        "rejected" => vec![create(), close("OUT_OF_STOCK")],
        "cancelled" => vec![create(), OrderCommand::Cancel],
        "called off" => vec![create(), approve(id), close("NOT_PAID_IN_TIME")],
        _ => panic!("no state {status}"),
    }
}

pub fn paid(order_id: OrderId) -> InvoiceEvent {
    let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
    let amount = Money::from_minor(150).unwrap();
    InvoiceEvent::InvoicePaid(InvoicePaid { order_id, customer_id, payment_id, amount })
}
