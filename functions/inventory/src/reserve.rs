//! What an order keeps, gives back and takes away: all of its products or none.
//!
//! An order's products are one stream each, and no commit spans two streams. So they are taken one after the other, in
//! the order of their ids, one commit each; when one is refused, those before it are given back before the
//! refusal is answered. docs/decisions/0008 says why this is no transaction.
//!
//! **Guaranteed**
//!
//! * *Never oversold*: each product's pieces are kept in its own stream, whose commits follow one another.
//! * *All or nothing, once it is settled*: success means that every tracked product is kept; a refusal means that
//!   nothing is, as far as attempts of one order's reservation do not overlap: the saga waits longer for the step than its
//!   function may run.
//! * *Repeats do no harm*: command ids follow from the call's and the product, and beyond their reach the order
//!   itself is what repeats are recognised by.
//! * *A release wins*: a reservation that arrives after its order was released is refused.
//!
//! **Not guaranteed**
//!
//! * Between the first commit and the last, others see a part: for some milliseconds another order may be refused
//!   pieces that come back.
//! * After a technical failure ([`Fault::is_technical`]) a part may be kept. The same call again finishes it, and
//!   a release gives it back.
//! * A product that is not tracked is not kept. When its count begins later, orders that were placed before have no claim on it.

use std::{collections::BTreeMap, sync::Arc};

use contracts::{
    ids::{OrderId, ProductId},
    ordering::OrderCreated,
};
use event_store::{Expect, Outcome};
use kernel::{CommandId, CommandMeta, StreamId};
use lambda::{Answer, Call, Fault, orders};

use crate::{
    Inventory,
    stock::{Stock, StockCommand, StockItem, StockRefusal},
};

impl Inventory {
    /// Keeps all of an order's products for it; a step of the order saga. The id is the order's.
    ///
    /// # Errors
    /// 404 when there is no such order; 409 `INSUFFICIENT_STOCK`, or another refusal of one of its products: nothing is
    /// kept then. After a technical failure (503, 409 `CONTENDED`) a part may be kept: repeat, or release.
    pub async fn reserve_inventory(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        let products = products_of(&orders::placed(&self.store, order_id).await?);
        let mut kept: Vec<ProductId> = Vec::new();
        for (&product_id, &quantity) in &products {
            match self.reserve(order_id, product_id, quantity, &call).await {
                Ok(()) => kept.push(product_id),
                Err(fault) if fault.is_technical() => return Err(fault),
                Err(refusal) => {
                    for product_id in kept.into_iter().rev() {
                        // In reverse: should this fail, what is left is a prefix, which the step's repeat finds
                        // kept before it is refused again, and gives back.
                        self.release(order_id, product_id, "give back", &call).await?;
                    }
                    return Err(refusal);
                }
            }
        }
        settled(order_id, products.len())
    }

    /// Gives back whatever is kept for an order; compensation in the order saga. The id is the order's. Harmless
    /// when nothing is kept; a reservation that arrives later is refused.
    ///
    /// # Errors
    /// 404 when there is no such order. After a technical failure a part may be kept still: repeat.
    pub async fn release_inventory(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        let products = self.release_order(order_id, &call).await?;
        settled(order_id, products)
    }

    /// Gives back whatever is kept for an order; says how many products it has.
    pub(crate) async fn release_order(&self, order_id: OrderId, call: &Call) -> Result<usize, Fault> {
        let products = products_of(&orders::placed(&self.store, order_id).await?);
        let mut failed = None;
        for &product_id in products.keys() {
            // One product that many ask for must not hold up the others.
            let released = self.release(order_id, product_id, "release", call).await;
            failed = failed.or(released.err());
        }
        failed.map_or(Ok(products.len()), Err)
    }

    /// What is kept for an order leaves with it.
    pub(crate) async fn sell_order(&self, order_id: OrderId, call: &Call) -> Result<(), Fault> {
        let products = products_of(&orders::placed(&self.store, order_id).await?);
        let mut failed = None;
        for &product_id in products.keys() {
            let sold = self.change(product_id, "sell", StockCommand::Sell { order_id }, call).await;
            failed = failed.or(sold.err());
        }
        failed.map_or(Ok(()), Err)
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        product_id: ProductId,
        quantity: u32,
        call: &Call,
    ) -> Result<(), Fault> {
        let command = StockCommand::Reserve { order_id, quantity, at: call.at };
        let outcome = self.change(product_id, "reserve", command, call).await?;
        let stock = outcome.state.as_ref().and_then(StockItem::tracked);
        let kept = stock.and_then(|stock: &Stock| stock.kept_for(order_id)).is_some();
        // A repeat is answered with its first result, but since then the pieces may have been given back.
        if outcome.repeated && !kept {
            let refusal = StockRefusal::ReservationClosed { order_id };
            return Err(event_store::TransactError::Refused(refusal).into());
        }
        Ok(())
    }

    async fn release(
        &self,
        order_id: OrderId,
        product_id: ProductId,
        why: &str,
        call: &Call,
    ) -> Result<(), Fault> {
        self.change(product_id, why, StockCommand::Release { order_id, at: call.at }, call).await?;
        Ok(())
    }

    /// One product's part of a call.
    async fn change(
        &self,
        product_id: ProductId,
        part: &str,
        command: StockCommand,
        call: &Call,
    ) -> Result<Outcome<StockItem>, Fault> {
        let stream = StreamId::of::<StockItem, _>(product_id);
        let id = CommandId::derived(&[&call.command.to_string(), part, &product_id.to_string()]);
        let meta = CommandMeta { id, ..call.meta() };
        Ok(self.store.transact::<StockItem>(&stream, Expect::Any, &command, &meta).await?)
    }
}

/// What an order wants of each product, in the order of their ids: two orders that want the same products ask for
/// them in the same order. Lines of one product are added up.
fn products_of(order: &OrderCreated) -> BTreeMap<ProductId, u32> {
    let mut products = BTreeMap::new();
    for item in &order.items {
        let quantity: &mut u32 = products.entry(item.product_id).or_default();
        // Beyond what a number holds, which is beyond what stock can be, it is refused all the same.
        *quantity = quantity.saturating_add(item.quantity);
    }
    products
}

fn settled(order_id: OrderId, products: usize) -> Result<Answer, Fault> {
    Answer::view(&serde_json::json!({ "id": order_id, "products": products }), None)
}
