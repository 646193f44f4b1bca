//! Events of the customers context.

use kernel::Event;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::OrderId;

/// What happens to a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum CustomerEvent {
    /// Somebody became a customer, and may order.
    CustomerRegistered(CustomerRegistered),
    /// The customer is texted under another number.
    CustomerSmsChanged(CustomerSmsChanged),
    /// The customer was found fit to order.
    CustomerAuthorized(CustomerAuthorized),
    /// The customer may order again.
    CustomerEnabled(CustomerEnabled),
    /// The customer may not order for the time being.
    CustomerDisabled(CustomerDisabled),
}

/// See [`CustomerEvent::CustomerRegistered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerRegistered {
    /// The customer's name.
    pub name: String,
    /// Where the customer is texted.
    pub sms_number: String,
}

/// See [`CustomerEvent::CustomerSmsChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerSmsChanged {
    /// The new number.
    pub sms_number: String,
}

/// See [`CustomerEvent::CustomerAuthorized`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerAuthorized {
    /// The order it was for, where whoever asked said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
}

/// See [`CustomerEvent::CustomerEnabled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerEnabled {}

/// See [`CustomerEvent::CustomerDisabled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerDisabled {}

impl Event for CustomerEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("CustomerRegistered", 1),
        ("CustomerSmsChanged", 1),
        ("CustomerAuthorized", 1),
        ("CustomerEnabled", 1),
        ("CustomerDisabled", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            CustomerEvent::CustomerRegistered(_) => "CustomerRegistered",
            CustomerEvent::CustomerSmsChanged(_) => "CustomerSmsChanged",
            CustomerEvent::CustomerAuthorized(_) => "CustomerAuthorized",
            CustomerEvent::CustomerEnabled(_) => "CustomerEnabled",
            CustomerEvent::CustomerDisabled(_) => "CustomerDisabled",
        }
    }
}
