//! The use cases of an order.

use std::sync::Arc;

use contracts::{
    ids::{CustomerKind, OrderId, PaymentKind},
    ordering::OrderItem,
};
use event_store::{Expect, Loaded};
use kernel::{Id, StreamId, Version, money::decimal};
use lambda::{Answer, Call, Fault, Form};
use serde::Serialize;

use crate::{
    Ordering,
    order::{Order, OrderCommand, Reason},
};

impl Ordering {
    /// `POST /api/ordering {customerId, paymentId, items[]}`.
    ///
    /// SEAM: names and prices are the request's until the stores context provides a catalogue.
    ///
    /// # Errors
    /// 400 by the order's rules.
    pub async fn create_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let form = Form::of(&call.body);
        let customer_id: Option<Id<CustomerKind>> = form.id("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK");
        let payment_id: Option<Id<PaymentKind>> = form.id("paymentId", "PAYMENT_ID_CANNOT_BE_BLANK");
        let items = form.list("items", item_from_request);
        let (Some(customer_id), Some(payment_id), Some(items)) = (customer_id, payment_id, items) else {
            return Err(form.fault());
        };
        let command = OrderCommand::Create { customer_id, payment_id, items };
        self.transact(call.new_id(&self.ports), Expect::New, command, &call).await
    }

    /// Approves an order; the last step of the order saga.
    ///
    /// # Errors
    /// 404; 409 when it was rejected or cancelled meanwhile.
    pub async fn approve_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact(order_id(&call)?, call.expect(), OrderCommand::Approve, &call).await
    }

    /// Rejects an order; the last compensation of the order saga. `{reason}` Harmless when the order is
    /// rejected or cancelled already.
    ///
    /// # Errors
    /// 404.
    pub async fn reject_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = order_id(&call)?;
        let form = Form::of(&call.body);
        let Some(reason) = form.text("reason", "REASON_CANNOT_BE_BLANK") else { return Err(form.fault()) };
        self.transact(id, call.expect(), OrderCommand::Reject { reason: Reason::new(reason) }, &call).await
    }

    /// `DELETE /api/ordering/{id}`.
    ///
    /// # Errors
    /// 404; 400 when it is no longer pending.
    pub async fn cancel_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.transact(order_id(&call)?, call.expect(), OrderCommand::Cancel, &call).await
    }

    /// `GET /api/ordering/{id}`: from the order's own stream, as it is now.
    ///
    /// # Errors
    /// 404.
    pub async fn get_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id = order_id(&call)?;
        let loaded: Loaded<Order> = self.store.load(&StreamId::of::<Order, _>(id)).await?;
        let order = loaded.state.as_ref().ok_or_else(|| Fault::not_found("order", id))?;
        let view = OrderAnswer::of(id, order, loaded.version());
        Answer::view(&serde_json::json!({ "order": view }), Some(loaded.version()))
    }

    pub(crate) async fn transact(
        &self,
        id: OrderId,
        expect: Expect,
        command: OrderCommand,
        call: &Call,
    ) -> Result<Answer, Fault> {
        let stream = StreamId::of::<Order, _>(id);
        let outcome = self.store.transact::<Order>(&stream, expect, &command, &call.meta()).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}

fn order_id(call: &Call) -> Result<OrderId, Fault> {
    call.id("order")
}

fn item_from_request(item: &Form<'_>) -> Option<OrderItem> {
    let product_id = item.id("productId", "PRODUCT_ID_CANNOT_BE_BLANK");
    let store_id = item.id("storeId", "STORE_ID_CANNOT_BE_BLANK");
    let store_name = item.text("storeName", "STORE_NAME_CANNOT_BE_BLANK");
    let product_name = item.text("productName", "PRODUCT_NAME_CANNOT_BE_BLANK");
    let price = item.money("price");
    let quantity = item.integer("quantity").and_then(|quantity| match u32::try_from(quantity) {
        Ok(quantity) => Some(quantity),
        Err(_) => {
            item.reject("quantity", "QUANTITY_MUST_BE_POSITIVE", "quantity must be a positive number");
            None
        }
    });
    Some(OrderItem {
        product_id: product_id?,
        store_id: store_id?,
        store_name: store_name?.to_owned(),
        product_name: product_name?.to_owned(),
        price: price?,
        quantity: quantity?,
    })
}

/// An order, as its own stream tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderAnswer {
    id: OrderId,
    customer_id: Id<CustomerKind>,
    payment_id: Id<PaymentKind>,
    items: Vec<crate::views::ItemView>,
    #[serde(with = "decimal")]
    total: kernel::Money,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    version: Version,
}

impl OrderAnswer {
    fn of(id: OrderId, order: &Order, version: Version) -> Self {
        let placed = order.placed();
        Self {
            id,
            customer_id: placed.customer_id,
            payment_id: placed.payment_id,
            items: placed.items.iter().map(crate::views::ItemView::of).collect(),
            total: placed.total,
            status: order.status(),
            reason: order.reason().map(|r| r.as_str().to_owned()),
            version,
        }
    }
}
