//! All that the contexts say of an order, and what must hold of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    mall::{ORDERED, Shopper, TOTAL},
    stack::Stack,
};

/// What each context says, read from its streams.
#[derive(Debug, Default, serde::Serialize)]
pub struct Seen {
    pub order: Value,
    payment: Value,
    /// None was made, or none can be seen.
    invoice: Option<Value>,
    list: Option<Value>,
    stock: Value,
    saga: Value,
    /// How often which event happened, over all streams of the order.
    events: BTreeMap<String, usize>,
}

impl Seen {
    /// Reads all of it. An answer that does not come is as if nothing were there: it cannot look well by that.
    pub async fn of(stack: &Stack, shopper: &Shopper) -> Self {
        let order = &shopper.order;
        let (list, product, payment) = (shopper.list(), &shopper.product, &shopper.payment);
        let streams = [
            format!("ordering.Order/{order}"),
            format!("payments.Payment/{payment}"),
            format!("payments.Invoice/{order}"),
            format!("depot.ShoppingList/{list}"),
            format!("inventory.StockItem/{product}"),
        ];
        let mut events = BTreeMap::new();
        for stream in streams {
            let commits = stack.events().history(&stream.parse().expect("a stream")).await;
            for event in commits.unwrap_or_default().iter().flat_map(|commit| commit.envelopes()) {
                *events.entry(event.event_type).or_default() += 1;
            }
        }
        Self {
            order: shopper.shown(&format!("/api/ordering/{order}")).await.unwrap_or_default(),
            payment: shopper.shown(&format!("/api/payments/{payment}")).await.unwrap_or_default(),
            invoice: shopper.shown(&format!("/api/payments/invoices/{order}")).await,
            list: shopper.shown(&format!("/api/depot/shopping/{list}")).await,
            stock: shopper.shown(&format!("/api/inventory/{product}")).await.unwrap_or_default(),
            saga: shopper.shown(&format!("/api/sagas/{order}")).await.unwrap_or_default()["status"].take(),
            events,
        }
    }

    /// Where the order stands.
    pub fn status(&self) -> &str {
        self.order["status"].as_str().unwrap_or("not there")
    }

    /// Why, if it is told.
    pub fn reason(&self) -> &str {
        self.order["reason"].as_str().unwrap_or_default()
    }

    /// Everything that does not fit together, whatever the order came to. Empty: it is consistent, and at an end.
    pub fn contradictions(&self, shopper: &Shopper) -> Vec<String> {
        let mut problems = Vec::new();
        let mut want = |holds: bool, what: String| {
            if !holds {
                problems.push(what);
            }
        };
        let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("not there").to_owned();
        let (payment, list) = (text(&self.payment, "status"), self.list.as_ref().map(|l| text(l, "status")));
        let invoice = self.invoice.as_ref().map(|invoice| text(invoice, "status"));
        let (list, invoice) = (list.as_deref(), invoice.as_deref());
        let stocked = shopper.brings.stocked;
        let (on_hand, reserved) = (self.stock["onHand"].as_u64(), self.stock["reserved"].as_u64());
        let status = self.status();
        let sold = if status == "completed" { ORDERED } else { 0 };
        want(on_hand == Some(stocked - sold), format!("{status}, and on hand are {on_hand:?} of {stocked}"));
        want(reserved == Some(0), format!("{status}, and {reserved:?} pieces are kept for it"));
        let captured = self.payment["captured"].as_f64();
        let refunded = self.payment["refunded"].as_f64();
        let held = self.payment["held"].as_f64();
        let rest = if status == "completed" { "succeeded" } else { "undone" };
        want(self.saga == rest, format!("{status}, and the saga is {}", self.saga));
        want(held == Some(0.0), format!("{status}, and {held:?} are held for it"));
        match status {
            "completed" => {
                want(payment == "captured", format!("completed, and the payment is {payment}"));
                want(captured == Some(TOTAL), format!("completed, and {captured:?} were taken"));
                want(invoice == Some("paid"), format!("completed, and the invoice is {invoice:?}"));
                want(list == Some("completed"), format!("completed, and the list is {list:?}"));
            }
            "rejected" => {
                let whole = format!("rejected, and the payment is {payment}");
                want(payment == "released", whole);
                let owed = matches!(invoice, None | Some("canceled"));
                want(owed, format!("rejected, and the invoice is {invoice:?}"));
                let planned = matches!(list, None | Some("canceled" | "completed"));
                want(planned, format!("rejected, and the list is {list:?}"));
            }
            "cancelled" => {
                let given_back = payment == "released" || payment == "refunded" && captured == refunded;
                want(given_back, format!("cancelled, and of the payment: {}", self.payment));
                let settled = match invoice {
                    None | Some("canceled") => true,
                    Some("paid") => payment == "refunded",
                    Some(_) => false,
                };
                want(settled, format!("cancelled, and the invoice is {invoice:?}, the payment {payment}"));
                let planned = matches!(list, None | Some("canceled" | "completed"));
                want(planned, format!("cancelled, and the list is {list:?}"));
            }
            other => want(false, format!("the order is {other}, which is no end")),
        }
        for (event, count) in &self.events {
            // What is told of again is told again.
            want(*count == 1 || event == "InvoiceReminded", format!("{event} happened {count} times"));
        }
        problems
    }
}
