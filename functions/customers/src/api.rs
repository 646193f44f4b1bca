//! The use cases of a customer.

use std::sync::Arc;

use contracts::ids::{CustomerId, OrderKind};
use event_store::{Expect, Past};
use kernel::{Id, StreamId};
use lambda::{Answer, Call, Fault, Form, orders};

use crate::{
    Customers,
    customer::{Customer, CustomerCommand},
    views::{CustomerAnswer, CustomerView},
};

impl Customers {
    /// `POST /api/customers {name, smsNumber}`.
    ///
    /// # Errors
    /// 400 by the customer's rules.
    pub async fn register_customer(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let name = form.text("name", "NAME_CANNOT_BE_BLANK");
        let sms_number = form.text("smsNumber", "SMS_NUMBER_CANNOT_BE_BLANK");
        let (Some(name), Some(sms_number)) = (name, sms_number) else { return Err(form.fault()) };
        let command = CustomerCommand::Register { name: name.to_owned(), sms_number: sms_number.to_owned() };
        self.transact(call.new_id(&self.ports), Expect::New, command, &call).await
    }

    /// `PUT /api/customers/{id}/change-sms {smsNumber}`.
    ///
    /// # Errors
    /// 400 when the number is blank, 404, 412.
    pub async fn change_sms_number(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = customer_id(&call)?;
        let form = Form::of(&call.body);
        let sms_number = form.text("smsNumber", "SMS_NUMBER_CANNOT_BE_BLANK");
        let Some(sms_number) = sms_number else { return Err(form.fault()) };
        let command = CustomerCommand::ChangeSmsNumber { sms_number: sms_number.to_owned() };
        self.transact(id, call.expect(), command, &call).await
    }

    /// Finds the customer fit to order; a step of an order's placement, with no route. `{orderId}` may be
    /// left out; with it, nothing is written once the order is approved.
    ///
    /// # Errors
    /// 401 when the customer is disabled; 404; 409 `ORDER_IS_OVER`.
    pub async fn authorize_customer(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = customer_id(&call)?;
        let form = Form::of(&call.body);
        let order_id: Option<Id<OrderKind>> = match form.text_or_empty("orderId") {
            Some("") => None,
            _ => form.id("orderId", "ORDER_ID_CANNOT_BE_BLANK"),
        };
        if !form.is_clean() {
            return Err(form.fault());
        }
        if let Some(order_id) = order_id
            && orders::pending(&self.store, order_id).await?.is_none()
        {
            return Ok(Answer::unchanged(id));
        }
        self.transact(id, call.expect(), CustomerCommand::Authorize { order_id }, &call).await
    }

    /// `PUT /api/customers/{id}/enable`.
    ///
    /// # Errors
    /// 400 when the customer is enabled already, 404, 412.
    pub async fn enable_customer(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact(customer_id(&call)?, call.expect(), CustomerCommand::Enable, &call).await
    }

    /// `PUT /api/customers/{id}/disable`.
    ///
    /// # Errors
    /// 400 when the customer is disabled already, 404, 412.
    pub async fn disable_customer(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact(customer_id(&call)?, call.expect(), CustomerCommand::Disable, &call).await
    }

    /// `GET /api/customers/{id}`: from the customer's own stream, as it is now, or was `?at=`.
    ///
    /// # Errors
    /// 400 for an `at` that is neither version nor time, 404.
    pub async fn get_customer(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = customer_id(&call)?;
        let loaded: Past<Customer> = call.load(&self.store, &StreamId::of::<Customer, _>(id)).await?;
        let customer = loaded.state.as_ref().ok_or_else(|| Fault::not_found("customer", id))?;
        let customer = CustomerView::of(id, customer, loaded.version);
        Answer::view(&CustomerAnswer { customer }, Some(loaded.version))
    }

    async fn transact(
        &self,
        id: CustomerId,
        expect: Expect,
        command: CustomerCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Customer, _>(id);
        let outcome = self.store.transact::<Customer>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

fn customer_id(call: &Call) -> Result<CustomerId, Fault> {
    call.id("customer")
}
