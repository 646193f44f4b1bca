//! What is shown of a customer.

use contracts::ids::CustomerId;
use kernel::Version;
use serde::Serialize;

use crate::customer::Customer;

/// A customer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerView {
    id: CustomerId,
    name: String,
    sms_number: String,
    enabled: bool,
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
