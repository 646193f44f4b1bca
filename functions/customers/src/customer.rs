//! A customer.

use contracts::{
    customers::{
        CustomerAuthorized, CustomerDisabled, CustomerEnabled, CustomerEvent, CustomerRegistered,
        CustomerSmsChanged,
    },
    ids::OrderId,
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// Who a customer is, and how to be reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The customer's name.
    pub name: String,
    /// Where the customer is texted.
    pub sms_number: String,
}

/// A customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Customer {
    /// May order: as every customer begins.
    Enabled(Profile),
    /// May not order for the time being.
    Disabled(Profile),
}

/// What can be asked of a customer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum CustomerCommand {
    /// Become one.
    Register {
        /// The customer's name.
        name: String,
        /// Where the customer is texted.
        sms_number: String,
    },
    /// Be texted under another number. A disabled customer may: there can be an order on its way.
    ChangeSmsNumber {
        /// The new number.
        sms_number: String,
    },
    /// Be found fit to order.
    Authorize {
        /// The order it is for, where whoever asks says so.
        order_id: Option<OrderId>,
    },
    /// Be allowed to order again.
    Enable,
    /// Be kept from ordering.
    Disable,
}

/// Why a customer says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomerRefusal {
    /// There is no such customer.
    #[error("there is no such customer")]
    NotFound,
    /// Registered before.
    #[error("the customer is registered already")]
    AlreadyRegistered,
    /// No name.
    #[error("the customer's name cannot be blank")]
    NameCannotBeBlank,
    /// No number.
    #[error("the SMS number cannot be blank")]
    SmsNumberCannotBeBlank,
    /// Disabled: may not order.
    #[error("the customer is disabled and may not order")]
    NotAuthorized,
    /// May order already.
    #[error("the customer is enabled already")]
    AlreadyEnabled,
    /// May not order already.
    #[error("the customer is disabled already")]
    AlreadyDisabled,
}

impl Refusal for CustomerRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "CUSTOMER_NOT_FOUND",
            Self::AlreadyRegistered => "CUSTOMER_ALREADY_REGISTERED",
            Self::NameCannotBeBlank => "NAME_CANNOT_BE_BLANK",
            Self::SmsNumberCannotBeBlank => "SMS_NUMBER_CANNOT_BE_BLANK",
            Self::NotAuthorized => "CUSTOMER_NOT_AUTHORIZED",
            Self::AlreadyEnabled => "CUSTOMER_ALREADY_ENABLED",
            Self::AlreadyDisabled => "CUSTOMER_ALREADY_DISABLED",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::AlreadyRegistered => RefusalKind::Conflict,
            Self::NotAuthorized => RefusalKind::NotAuthorized,
            // 400 for what is already so is what the original API answers.
            Self::NameCannotBeBlank
            | Self::SmsNumberCannotBeBlank
            | Self::AlreadyEnabled
            | Self::AlreadyDisabled => RefusalKind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NameCannotBeBlank => Some("name"),
            Self::SmsNumberCannotBeBlank => Some("smsNumber"),
            Self::NotFound
            | Self::AlreadyRegistered
            | Self::NotAuthorized
            | Self::AlreadyEnabled
            | Self::AlreadyDisabled => None,
        }
    }
}

impl Customer {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Enabled(_) => "enabled",
            Self::Disabled(_) => "disabled",
        }
    }

    /// Whether the customer may order.
    pub fn is_enabled(&self) -> bool {
        match self {
            Self::Enabled(_) => true,
            Self::Disabled(_) => false,
        }
    }

    /// Who it is.
    pub fn profile(&self) -> &Profile {
        match self {
            Self::Enabled(profile) | Self::Disabled(profile) => profile,
        }
    }
}

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customers.Customer";
    const STATE_SCHEMA: u16 = 1;
    type Command = CustomerCommand;
    type Event = CustomerEvent;
    type Refusal = CustomerRefusal;

    fn decide(
        state: Option<&Self>,
        command: &CustomerCommand,
    ) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
        use CustomerCommand::{Authorize, ChangeSmsNumber, Disable, Enable, Register};
        match (state, command) {
            (None, Register { name, sms_number }) => register(name, sms_number),
            (Some(_), Register { .. }) => Err(CustomerRefusal::AlreadyRegistered),
            (None, ChangeSmsNumber { .. } | Authorize { .. } | Enable | Disable) => {
                Err(CustomerRefusal::NotFound)
            }

            (Some(customer), ChangeSmsNumber { sms_number }) => change_sms_number(customer, sms_number),

            (Some(Self::Enabled(_)), Authorize { order_id }) => {
                Ok(vec![CustomerEvent::CustomerAuthorized(CustomerAuthorized { order_id: *order_id })])
            }
            (Some(Self::Disabled(_)), Authorize { .. }) => Err(CustomerRefusal::NotAuthorized),

            (Some(Self::Disabled(_)), Enable) => Ok(vec![CustomerEvent::CustomerEnabled(CustomerEnabled {})]),
            (Some(Self::Enabled(_)), Enable) => Err(CustomerRefusal::AlreadyEnabled),

            (Some(Self::Enabled(_)), Disable) => {
                Ok(vec![CustomerEvent::CustomerDisabled(CustomerDisabled {})])
            }
            (Some(Self::Disabled(_)), Disable) => Err(CustomerRefusal::AlreadyDisabled),
        }
    }

    fn evolve(state: Option<Self>, event: &CustomerEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, CustomerEvent::CustomerRegistered(e)) => {
                Ok(Self::Enabled(Profile { name: e.name.clone(), sms_number: e.sms_number.clone() }))
            }
            (Some(Self::Enabled(profile)), CustomerEvent::CustomerSmsChanged(e)) => {
                Ok(Self::Enabled(Profile { sms_number: e.sms_number.clone(), ..profile }))
            }
            (Some(Self::Disabled(profile)), CustomerEvent::CustomerSmsChanged(e)) => {
                Ok(Self::Disabled(Profile { sms_number: e.sms_number.clone(), ..profile }))
            }
            (Some(Self::Enabled(profile)), CustomerEvent::CustomerAuthorized(_)) => {
                Ok(Self::Enabled(profile))
            }
            (Some(Self::Disabled(profile)), CustomerEvent::CustomerEnabled(_)) => Ok(Self::Enabled(profile)),
            (Some(Self::Enabled(profile)), CustomerEvent::CustomerDisabled(_)) => Ok(Self::Disabled(profile)),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", Customer::status),
            }),
        }
    }
}

fn register(name: &str, sms_number: &str) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    if is_blank(name) {
        return Err(CustomerRefusal::NameCannotBeBlank);
    }
    if is_blank(sms_number) {
        return Err(CustomerRefusal::SmsNumberCannotBeBlank);
    }
    let (name, sms_number) = (name.to_owned(), sms_number.to_owned());
    Ok(vec![CustomerEvent::CustomerRegistered(CustomerRegistered { name, sms_number })])
}

fn change_sms_number(customer: &Customer, sms_number: &str) -> Result<Vec<CustomerEvent>, CustomerRefusal> {
    if is_blank(sms_number) {
        return Err(CustomerRefusal::SmsNumberCannotBeBlank);
    }
    if customer.profile().sms_number == sms_number {
        return Ok(vec![]);
    }
    let sms_number = sms_number.to_owned();
    Ok(vec![CustomerEvent::CustomerSmsChanged(CustomerSmsChanged { sms_number })])
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
