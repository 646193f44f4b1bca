//! The routes of customers, for the API's document.

use api_docs::Operation;
use utoipa::ToSchema;

use crate::views::CustomerAnswer;

/// How the document groups the routes.
const TAG: &str = "Customers";

/// The body of `POST /api/customers`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct RegisterCustomer {
    /// The customer's name.
    #[schema(min_length = 1, max_length = 500)]
    pub name: String,
    /// Where the customer is texted.
    #[schema(min_length = 1, max_length = 500)]
    pub sms_number: String,
}

/// The body of `PUT /api/customers/{id}/change-sms`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangeSmsNumber {
    /// The new number.
    #[schema(min_length = 1, max_length = 500)]
    pub sms_number: String,
}

/// The operations of customers.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/api/customers",
            "registerCustomer",
            TAG,
            "Registers a customer, who may order at once.",
        )
        .takes::<RegisterCustomer>(),
        Operation::get("/api/customers/{id}", "getCustomer", TAG, "Shows a customer.")
            .shows::<CustomerAnswer>()
            .past(),
        Operation::put(
            "/api/customers/{id}/change-sms",
            "changeSmsNumber",
            TAG,
            "Changes the number under which a customer is texted.",
        )
        .takes::<ChangeSmsNumber>(),
        Operation::put(
            "/api/customers/{id}/enable",
            "enableCustomer",
            TAG,
            "Allows a customer to order again.",
        ),
        Operation::put(
            "/api/customers/{id}/disable",
            "disableCustomer",
            TAG,
            "Keeps a customer from ordering.",
        ),
    ]
}
