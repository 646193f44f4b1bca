//! What is shown of a customer.

use contracts::ids::CustomerId;
use kernel::Version;
use serde::Serialize;
use utoipa::ToSchema;

use crate::customer::Customer;

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerView {
    /// The customer.
    id: CustomerId,
    /// The customer's name.
    name: String,
    /// Where the customer is texted.
    sms_number: String,
    /// Whether the customer may order.
    enabled: bool,
    /// The version it has reached.
    version: Version,
}

impl CustomerView {
    /// Shows a customer.
    pub fn of(id: CustomerId, customer: &Customer, version: Version) -> Self {
        let profile = customer.profile().clone();
        Self {
            id,
            name: profile.name,
            sms_number: profile.sms_number,
            enabled: customer.is_enabled(),
            version,
        }
    }
}

/// What `GET /api/customers/{id}` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerAnswer {
    /// The customer.
    pub customer: CustomerView,
}
