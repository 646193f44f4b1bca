//! What an order keeps, gives back and takes away: all of its products or none.
//!
//! An order's products are one stream each, and no commit spans two streams. So they are taken one after the other, in
//! the order of their ids, one commit each. When one is refused, the step is refused, and what was kept before stays kept
//! until `release-inventory` gives it back, to which the saga goes after every failure of the step. The step gives
//! nothing back itself: attempts of it can overlap, and a second one may have kept the rest meanwhile and been
//! answered with success. docs/decisions/0008 says why this is no transaction.
//!
//! **Guaranteed**
//!
//! * *Never promised twice*: each product's pieces are kept in its own stream, whose commits follow one another, and only
//!   a release or a sale of the order ends what is kept for it. So an order whose step succeeded has all of its
//!   tracked products, whatever becomes of other attempts of that step.
//! * *All or nothing, once the saga has settled*: success means that every tracked product is kept; after a refusal
//!   and the release that follows it, nothing is.
//! * *Repeats do no harm*: command ids follow from the call's and the product, and beyond their reach the order
//!   itself is what repeats are recognised by.
//! * *A release wins*: a reservation that arrives after its order was released is refused, as far as a product's last
//!   [`CLOSED_REMEMBERED`](crate::stock::CLOSED_REMEMBERED) closings reach back and while its count is not stopped. Beyond that
//!   the order itself is asked, which is over by then: a step that is run again minutes later, as a whole placement may be,
//!   keeps nothing for an order that was cancelled or completed since.
//! * *Given back or sold, never both*: whichever ends what is kept for an order, the other finds nothing. Cancelled and
//!   completed exclude each other in the order's stream, and the saga's step gives nothing back of an order that is completed,
//!   though the policy that sells may not have heard of it yet.
//!
//! **Not guaranteed**
//!
//! * From the first commit until the last, or until the release after a refusal, others see a part: another order may be
//!   refused pieces that come back.
//! * After a refusal or a technical failure a part may be kept. After a technical failure the same call again finishes it;
//!   a release gives it back in either case.
//! * A product that is not tracked is not kept. When its count begins later, orders that were placed before have no claim on it.

use std::{collections::BTreeMap, sync::Arc};

use contracts::{
    ids::{OrderId, ProductId},
    ordering::OrderCreated,
};
use event_store::{Expect, Outcome};
use kernel::{CommandId, CommandMeta, StreamId};
use lambda::{
    Answer, Call, Fault,
    orders::{self, Standing},
};

use crate::{
    Inventory,
    stock::{Stock, StockCommand, StockItem, StockRefusal},
};

impl Inventory {
    /// Keeps all of an order's products for it; a step of the order saga. The id is the order's.
    ///
    /// # Errors
    /// 404 when there is no such order; 409 `RESERVATION_IS_CLOSED` when it is over; 409 `INSUFFICIENT_STOCK`, or another
    /// refusal of one of its products: those before it stay kept until [`Self::release_inventory`]. After a technical failure (503, 409 `CONTENDED`) a part may be kept as
    /// well: repeat, or release.
    pub async fn reserve_inventory(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        let (placed, standing) = orders::standing(&self.store, order_id).await?;
        match standing {
            Standing::Pending | Standing::Placed => {}
            Standing::Completed | Standing::Rejected | Standing::Canceled => return Err(closed(order_id)),
        }
        let products = products_of(&placed);
        for (&product_id, &quantity) in &products {
            // What is kept by now is not given back here, though the order cannot have it all: another attempt of this
            // step may have found it kept, and succeeded.
            self.reserve(order_id, product_id, quantity, &call).await?;
        }
        settled(order_id, products.len())
    }

    /// Gives back whatever is kept for an order, all of it or what an attempt that was refused left; compensation in the
    /// order saga. The id is the order's. Harmless when nothing is kept; a reservation that arrives later is refused, as
    /// far as [`CLOSED_REMEMBERED`](crate::stock::CLOSED_REMEMBERED) goes.
    ///
    /// # Errors
    /// 404 when there is no such order; 409 `STOCK_IS_SOLD` when it is completed. After a technical failure a part may be
    /// kept still: repeat.
    pub async fn release_inventory(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        match orders::standing(&self.store, order_id).await?.1 {
            Standing::Pending | Standing::Placed | Standing::Rejected | Standing::Canceled => {}
            Standing::Completed => {
                let message = format!("order {order_id} is completed: what was kept for it is sold");
                return Err(Fault::new(409, "STOCK_IS_SOLD", message));
            }
        }
        let products = self.release_order(order_id, &call).await?;
        settled(order_id, products)
    }

    /// Gives back whatever is kept for an order; says how many products it has.
    pub(crate) async fn release_order(&self, order_id: OrderId, call: &Call) -> Result<usize, Fault> {
        let products = products_of(&orders::placed(&self.store, order_id).await?);
        let mut failed = None;
        for &product_id in products.keys() {
            // One product that many ask for must not hold up the others.
            let released = self.release(order_id, product_id, call).await;
            failed = failed.or(released.err());
        }
        failed.map_or(Ok(products.len()), Err)
    }

    /// What is kept for an order leaves with it.
    pub(crate) async fn sell_order(&self, order_id: OrderId, call: &Call) -> Result<(), Fault> {
        let products = products_of(&orders::placed(&self.store, order_id).await?);
        let mut failed = None;
        for &product_id in products.keys() {
            let sold = self.sell(order_id, product_id, call).await;
            failed = failed.or(sold.err());
        }
        failed.map_or(Ok(()), Err)
    }

    async fn sell(&self, order_id: OrderId, product_id: ProductId, call: &Call) -> Result<(), Fault> {
        let outcome = self.change(product_id, "sell", StockCommand::Sell { order_id }, call).await?;
        // A repeat within reach of its command id is answered with the first sale; a later one finds nothing kept.
        let stock = outcome.state.as_ref().and_then(StockItem::tracked);
        if let Some(stock) = stock.filter(|_| outcome.events.is_empty()) {
            tracing::warn!(
                order = %order_id,
                product = %product_id,
                closed = stock.is_closed(order_id),
                "nothing is kept for a completed order, so nothing is sold: if closed, it was sold or released before, \
                 which cannot be told apart here; if not, nothing was ever kept, or it was closed too long ago"
            );
        }
        Ok(())
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
            return Err(closed(order_id));
        }
        Ok(())
    }

    async fn release(&self, order_id: OrderId, product_id: ProductId, call: &Call) -> Result<(), Fault> {
        self.change(product_id, "release", StockCommand::Release { order_id, at: call.at }, call).await?;
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

fn closed(order_id: OrderId) -> Fault {
    event_store::TransactError::Refused(StockRefusal::ReservationClosed { order_id }).into()
}

fn settled(order_id: OrderId, products: usize) -> Result<Answer, Fault> {
    Answer::view(&serde_json::json!({ "id": order_id, "products": products }), None)
}
