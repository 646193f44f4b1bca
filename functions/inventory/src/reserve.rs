//! Reservations of an order: pieces of all of its products are kept, given back or sold, or of none.
//!
//! Each product is a stream of its own, and no commit spans two streams. So an order's products are changed
//! one after the other, by the order of their ids, one commit each; docs/decisions/0008 says why this is no
//! transaction. The order's own [`Reservation`] is written before: it tells from which version of each
//! product's stock on the order's commits are found (docs/decisions/0015).
//!
//! | step | when | the order's reservation | each product's stream |
//! | --- | --- | --- | --- |
//! | `reserve-inventory` (placement) | the order is pending | is requested | keeps the pieces, or refuses: the step ends |
//! | `release-inventory` (undo) | the order is over | ends | gives back the pieces, or marks that there were none |
//! | `sell-reserved-stock` (policy) | the order is completed | ends | the pieces leave with the order |
//!
//! The placement gives nothing back itself, even after a refusal: attempts of it can overlap, and another may
//! have succeeded. The undo closes the order first, then ends its reservation, and releases then. An attempt
//! that read the order before it was closed is refused by the reservation. One that read that before as well
//! meets the released pieces, or the mark (an `InventoryReleased` of no pieces), or a stock that has moved on
//! too far.
//!
//! **Guaranteed**
//!
//! * *Never promised twice*: each product's pieces are kept in its own stream, and only a release or a sale
//!   ends that.
//! * *All or nothing*: an order that is approved keeps all of its tracked products; an order that was undone
//!   keeps none.
//! * *Repeats do no harm*, however late they come: a stock that does not remember the order any more refuses
//!   the command, and its stream is read.
//! * *A release wins*: a late reservation is refused.
//! * *Given back or sold, never both*: a reservation ends once, and in one way.
//!
//! **Not guaranteed**
//!
//! * A part is kept during the step, and from its failure until the undo: another order may be refused pieces
//!   that come back.
//! * A product that is not tracked is not kept. When its count begins later, orders that were placed before
//!   have no claim on it.

use std::{collections::BTreeMap, future::ready, sync::Arc};

use contracts::{
    Envelope,
    ids::{OrderId, ProductId},
    inventory::{ReservationEnd, StockEvent},
    ordering::OrderCreated,
};
use event_store::{Expect, MAX_REDECISIONS, Outcome, TransactError};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{CommandId, CommandMeta, StreamId, Version};
use lambda::{
    Answer, Call, Fault,
    orders::{self, Standing},
};
use serde::Serialize;

use crate::{
    Inventory,
    reservation::{Reservation, ReservationCommand, Seen},
    stock::{Kept, REMEMBERED, StockCommand, StockItem, StockRefusal},
};

/// Streams of stock whose versions are read at a time.
const LOOKUPS: usize = 8;

/// One product's part of an order that ends.
#[derive(Debug, Clone, Copy)]
struct Part {
    product_id: ProductId,
    kept: Kept,
    since: Version,
}

fn closed(order_id: OrderId) -> Fault {
    TransactError::Refused(StockRefusal::ReservationClosed { order_id }).into()
}

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
        let reservation = self.request(order_id, &products, &call).await?;
        // A repeat is answered with its first result, but the reservation may have ended since.
        if reservation.ended().is_some() {
            return Err(closed(order_id));
        }
        for (&product_id, &quantity) in &products {
            let since = reservation.requested().get(&product_id).copied().unwrap_or_default();
            self.reserve(order_id, product_id, quantity, since, &call).await?;
        }
        settled(order_id, products.len())
    }

    /// Gives back all that is kept for an order that is over; a step of its undo. The id is the order's.
    /// Where nothing is kept but a late attempt may come, a mark is left, by which it is refused.
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
        let parts = self.end(order_id, &products, ReservationEnd::Released, &call).await?;
        let mut failed = None;
        for part in parts {
            // One product that many ask for must not hold up the others.
            let released = self.finish(order_id, part, "release", &call, |Part { kept, since, .. }| {
                StockCommand::Release { order_id, kept, since, at: call.at }
            });
            failed = failed.or(released.await.err());
        }
        failed.map_or_else(|| settled(order_id, products.len()), Err)
    }

    /// What is kept for an order leaves with it.
    pub(crate) async fn sell_order(&self, order_id: OrderId, call: &Call) -> Result<(), Fault> {
        let products = products_of(&orders::placed(&self.store, order_id).await?);
        let parts = self.end(order_id, &products, ReservationEnd::Sold, call).await?;
        let unasked = products.keys().find(|product| parts.iter().all(|part| part.product_id != **product));
        if let Some(product) = unasked {
            tracing::warn!(order = %order_id, %product, "a completed order never asked for its pieces: nothing is sold");
        }
        let mut failed = None;
        for part in parts {
            let sold = self.finish(order_id, part, "sell", call, |Part { kept, since, .. }| {
                StockCommand::Sell { order_id, kept, since, at: call.at }
            });
            match sold.await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    order = %order_id,
                    product = %part.product_id,
                    "nothing is kept for a completed order, so nothing is sold: its product was not tracked when it came"
                ),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Writes down that the order asks for these products, unless that was done before.
    async fn request(
        &self,
        order_id: OrderId,
        products: &BTreeMap<ProductId, u32>,
        call: &Call,
    ) -> Result<Reservation, Fault> {
        self.record(order_id, "request", call, |state| async move {
            let stock = if state.is_some() { Seen::new() } else { self.seen(products).await? };
            Ok(ReservationCommand::Request { stock })
        })
        .await
    }

    /// Ends the order's reservation, unless that was done before, and returns what is to be done for each
    /// product that was asked for.
    async fn end(
        &self,
        order_id: OrderId,
        products: &BTreeMap<ProductId, u32>,
        end: ReservationEnd,
        call: &Call,
    ) -> Result<Vec<Part>, Fault> {
        let reservation = self.record(order_id, "end", call, |state: Option<Reservation>| async move {
            let has_ended = state.is_some_and(|state| state.ended().is_some());
            let stock = if has_ended { Seen::new() } else { self.seen(products).await? };
            Ok(ReservationCommand::End { end, stock })
        });
        let reservation = reservation.await?;
        let ended = reservation.ended().into_iter().flatten();
        Ok(ended
            .map(|(&product_id, &since)| {
                let requested = reservation.requested().get(&product_id).copied().unwrap_or_default();
                Part { product_id, kept: Kept::Since(requested), since }
            })
            .collect())
    }

    /// Reads the versions of the products' stock.
    async fn seen(&self, products: &BTreeMap<ProductId, u32>) -> Result<Seen, Fault> {
        let version = async |product_id: ProductId| {
            let version = self.store.version(&StreamId::of::<StockItem, _>(product_id)).await?;
            Ok::<_, Fault>((product_id, version))
        };
        stream::iter(products.keys().copied().map(version)).buffered(LOOKUPS).try_collect().await
    }

    /// Carries out a command on the order's reservation, and returns that.
    async fn record<F: Future<Output = Result<ReservationCommand, Fault>>>(
        &self,
        order_id: OrderId,
        part: &str,
        call: &Call,
        command: impl Fn(Option<Reservation>) -> F,
    ) -> Result<Reservation, Fault> {
        let stream = StreamId::of::<Reservation, _>(order_id);
        let id = CommandId::derived(&[&call.command.to_string(), part]);
        let meta = CommandMeta { id, ..call.meta() };
        let outcome: Outcome<Reservation> =
            self.store.transact_with(&stream, Expect::Any, &order_id, &meta, command).await?;
        Ok(outcome.state.unwrap_or_default())
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        product_id: ProductId,
        quantity: u32,
        mut since: Version,
        call: &Call,
    ) -> Result<(), Fault> {
        for _ in 0..=MAX_REDECISIONS {
            let command = StockCommand::Reserve { order_id, quantity, since, at: call.at };
            match self.change(product_id, "reserve", &(order_id, quantity), command, call).await {
                Ok(outcome) => {
                    // A repeat is answered with its first result, but since then the pieces may have been
                    // given back.
                    let stock = outcome.state.as_ref().and_then(StockItem::tracked);
                    return if stock.is_some_and(|stock| stock.is_closed(order_id)) {
                        Err(closed(order_id))
                    } else {
                        Ok(())
                    };
                }
                Err(TransactError::Refused(StockRefusal::Forgotten { .. })) => {}
                Err(error) => return Err(error.into()),
            }
            let found = self.found(order_id, product_id, since).await?;
            let to = self.store.version(&StreamId::of::<StockItem, _>(product_id)).await?;
            let (part, from) = (format!("request {product_id} after {since}"), since);
            let anew = ReservationCommand::RequestAnew { product_id, from, to };
            match found {
                Some(0) => return Err(closed(order_id)),
                // What was found may have been given back since; then the reservation has ended.
                Some(_) => {
                    let stock = Seen::new();
                    let check = || ready(Ok(ReservationCommand::Request { stock: stock.clone() }));
                    self.record(order_id, "check", call, |_| check()).await?;
                    return Ok(());
                }
                None => {
                    let known = self.record(order_id, &part, call, |_| ready(Ok(anew.clone()))).await?;
                    if known.ended().is_some() {
                        return Err(closed(order_id));
                    }
                    since = known.requested().get(&product_id).copied().unwrap_or_default();
                }
            }
        }
        Err(self.contended(product_id))
    }

    /// Ends one product's part of an order. If its stock does not remember the order any more, the stream is
    /// read. False if the stock is tracked and nothing was kept.
    async fn finish(
        &self,
        order_id: OrderId,
        mut part: Part,
        name: &str,
        call: &Call,
        command: impl Fn(Part) -> StockCommand,
    ) -> Result<bool, Fault> {
        let product_id = part.product_id;
        for _ in 0..=MAX_REDECISIONS {
            let floor = match self.change(product_id, name, &order_id, command(part), call).await {
                Ok(outcome) => {
                    let is_mark = |event: &StockEvent| matches!(event, StockEvent::InventoryReleased(released) if released.quantity == 0);
                    let stock = outcome.state.as_ref().and_then(StockItem::tracked);
                    let is_closed = stock.is_none_or(|stock| stock.is_closed(order_id));
                    return Ok(is_closed && !outcome.events.iter().any(is_mark));
                }
                Err(TransactError::Refused(StockRefusal::Forgotten { floor })) => floor,
                Err(error) => return Err(error.into()),
            };
            if let Kept::Since(requested) = part.kept
                && requested < floor
            {
                let found = self.found(order_id, product_id, requested).await?;
                part.kept = Kept::Known(found.unwrap_or(0));
                // The request is forgotten, so nothing can be kept any more either.
                if part.kept == Kept::Known(0) {
                    return Ok(found == Some(0));
                }
            }
            let from = part.since;
            if from < floor {
                if self.found(order_id, product_id, from).await? == Some(0) {
                    return Ok(true);
                }
                let to = self.store.version(&StreamId::of::<StockItem, _>(product_id)).await?;
                let anew = ReservationCommand::EndAnew { product_id, from, to };
                let name = format!("end {product_id} after {from}");
                let known = self.record(order_id, &name, call, |_| ready(Ok(anew.clone()))).await?;
                part.since =
                    known.ended().and_then(|ended| ended.get(&product_id)).copied().unwrap_or_default();
            }
        }
        Err(self.contended(product_id))
    }

    /// Reads the commits that commands with this `since` can have made, and returns the pieces that the
    /// order's last one left it: none if it was released or sold.
    async fn found(
        &self,
        order_id: OrderId,
        product_id: ProductId,
        since: Version,
    ) -> Result<Option<u32>, Fault> {
        let stream = StreamId::of::<StockItem, _>(product_id);
        let events = self.store.events_near(&stream, since, REMEMBERED + 1).await?;
        let mut found = None;
        for event in &events {
            found = left_by(order_id, event)?.or(found);
        }
        Ok(found)
    }

    fn contended(&self, product_id: ProductId) -> Fault {
        let (stream, attempts) = (StreamId::of::<StockItem, _>(product_id), MAX_REDECISIONS + 1);
        TransactError::<StockRefusal>::Contended { stream, attempts }.into()
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
    ) -> Result<Outcome<StockItem>, TransactError<StockRefusal>> {
        let stream = StreamId::of::<StockItem, _>(product_id);
        let id = CommandId::derived(&[&call.command.to_string(), part, &product_id.to_string()]);
        let meta = CommandMeta { id, ..call.meta() };
        let command = |_: Option<StockItem>| ready(Ok(command.clone()));
        self.store.transact_with(&stream, Expect::Any, asked, &meta, command).await
    }
}

/// Returns the pieces that an event leaves an order; `None` if it does not concern the order.
fn left_by(order_id: OrderId, event: &Envelope) -> Result<Option<u32>, Fault> {
    Ok(match event.event::<StockEvent>().map_err(Fault::internal)? {
        StockEvent::InventoryReserved(e) if e.order_id == order_id => Some(e.quantity),
        StockEvent::InventoryReleased(e) if e.order_id == order_id => Some(0),
        StockEvent::StockReduced(e) if e.order_id == Some(order_id) => Some(0),
        StockEvent::InventoryReserved(_)
        | StockEvent::InventoryReleased(_)
        | StockEvent::StockReduced(_)
        | StockEvent::StockTrackingStarted(_)
        | StockEvent::StockTrackingStopped(_)
        | StockEvent::StockAdded(_)
        | StockEvent::LowStock(_)
        | StockEvent::LowStockThresholdChanged(_)
        | StockEvent::AvailabilityChanged(_) => None,
    })
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
