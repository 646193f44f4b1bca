//! Reservations of an order: pieces of all of its products are kept, given back or sold, or of none.
//!
//! Each product is a stream of its own, and no commit spans two streams. So an order's products are changed
//! one after the other, by the order of their ids, one commit each; docs/decisions/0008 says why this is no
//! transaction.
//!
//! | step | when | each product's stream |
//! | --- | --- | --- |
//! | `reserve-inventory` (placement) | the order is pending | keeps the pieces, or refuses: the step ends |
//! | `release-inventory` (undo) | the order is over | gives back the pieces, or marks that there were none |
//! | `sell-reserved-stock` (policy) | the order is completed | the pieces leave with the order |
//!
//! The placement gives nothing back itself, even after a refusal: attempts of it can overlap, and another may
//! have succeeded. The undo closes the order first, which stops every attempt that begins later, and releases
//! then. An attempt that read the order before it was closed meets the released reservation, or the mark (an
//! `InventoryReleased` of no pieces), and is refused.
//!
//! **Guaranteed**
//!
//! * *Never promised twice*: each product's pieces are kept in its own stream, and only a release or a sale
//!   ends that.
//! * *All or nothing*: an order that is approved keeps all of its tracked products; an order that was undone
//!   keeps none.
//! * *Repeats do no harm*: command ids are derived from the call's and the product. Beyond their reach, the
//!   order's id in the stream tells a repeat.
//! * *A release wins*: a late reservation is refused, as far as
//!   [`CLOSED_REMEMBERED`](crate::stock::CLOSED_REMEMBERED) reaches and while the count is not stopped.
//! * *Given back or sold, never both*: an order that is over is never completed, and the first to end a
//!   reservation leaves nothing to the other.
//!
//! **Not guaranteed**
//!
//! * A part is kept during the step, and from its failure until the undo: another order may be refused pieces
//!   that come back.
//! * A product that is not tracked is not kept. When its count begins later, orders that were placed before
//!   have no claim on it.

use std::{collections::BTreeMap, future::ready, sync::Arc};

use contracts::{
    ids::{OrderId, ProductId},
    ordering::OrderCreated,
};
use event_store::{Expect, Outcome, TransactError};
use kernel::{CommandId, CommandMeta, StreamId};
use lambda::{
    Answer, Call, Fault,
    orders::{self, Standing},
};
use serde::Serialize;

use crate::{
    Inventory,
    stock::{Stock, StockCommand, StockItem, StockRefusal},
};

impl Inventory {
    /// Keeps all of an order's products for it; a step of the order's placement. The id is the order's.
    /// Nothing is written once the order is approved.
    ///
    /// # Errors
    /// 404 when there is no such order; 409 `ORDER_IS_OVER`; 409 `INSUFFICIENT_STOCK`, or another refusal of
    /// one of its products: those before it stay kept until [`Self::release_inventory`]. After a technical
    /// failure (503, 409 `CONTENDED`) a part may be kept as well: repeat, or undo the order.
    pub async fn reserve_inventory(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        let Some(order) = orders::pending(&self.store, order_id).await? else {
            return Ok(Answer::unchanged(order_id));
        };
        let products = products_of(&order);
        for (&product_id, &quantity) in &products {
            self.reserve(order_id, product_id, quantity, &call).await?;
        }
        settled(order_id, products.len())
    }

    /// Gives back all that is kept for an order that is over; a step of its undo. The id is the order's.
    /// Where nothing is kept, a mark is left, by which a late reservation is refused, as far as
    /// [`CLOSED_REMEMBERED`](crate::stock::CLOSED_REMEMBERED) reaches.
    ///
    /// # Errors
    /// 404 when there is no such order; 409 `ORDER_IS_NOT_OVER` unless it was rejected or cancelled. After a
    /// technical failure a part may be kept still: repeat.
    pub async fn release_inventory(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let order_id: OrderId = call.id("order")?;
        let (order, standing) = orders::standing(&self.store, order_id).await?;
        match standing {
            Standing::Rejected | Standing::Canceled => {}
            Standing::Pending | Standing::Placed | Standing::Completed => {
                let message =
                    format!("order {order_id} is not over: reject or cancel it before its stock is released");
                return Err(Fault::new(409, "ORDER_IS_NOT_OVER", message));
            }
        }
        let products = products_of(&order);
        let mut failed = None;
        for &product_id in products.keys() {
            // One product that many ask for must not hold up the others.
            let command = StockCommand::Release { order_id, at: call.at };
            let released = self.change(product_id, "release", &order_id, command, &call).await;
            failed = failed.or(released.err());
        }
        failed.map_or_else(|| settled(order_id, products.len()), Err)
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
        let outcome =
            self.change(product_id, "sell", &order_id, StockCommand::Sell { order_id }, call).await?;
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
        let outcome = self.change(product_id, "reserve", &(order_id, quantity), command, call).await?;
        let stock = outcome.state.as_ref().and_then(StockItem::tracked);
        let kept = stock.and_then(|stock: &Stock| stock.kept_for(order_id)).is_some();
        // A repeat is answered with its first result, but since then the pieces may have been given back.
        if outcome.repeated && !kept {
            return Err(TransactError::Refused(StockRefusal::ReservationClosed { order_id }).into());
        }
        Ok(())
    }

    /// Carries out one product's part of a call: what is asked, and the command at the call's time, which is
    /// not a part of what is asked.
    async fn change(
        &self,
        product_id: ProductId,
        part: &str,
        asked: &impl Serialize,
        command: StockCommand,
        call: &Call,
    ) -> Result<Outcome<StockItem>, Fault> {
        let stream = StreamId::of::<StockItem, _>(product_id);
        let id = CommandId::derived(&[&call.command.to_string(), part, &product_id.to_string()]);
        let meta = CommandMeta { id, ..call.meta() };
        let command = |_: Option<StockItem>| ready(Ok::<_, Fault>(command.clone()));
        self.store.transact_with(&stream, Expect::Any, asked, &meta, command).await
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
