//! The stock of one product.
//!
//! `on_hand` counts all pieces in the house, those included that are kept for orders; what others can still have is
//! `available`: on hand less what is kept. It never falls below nothing.
//!
//! Reservations are idempotent by their order: a repeat changes nothing, and whoever comes after the order was
//! closed (released or sold) is refused. How far back that is remembered: see [`CLOSED_REMEMBERED`].

use std::collections::{BTreeMap, VecDeque};

use contracts::{
    ids::{OrderId, ProductId, StoreId, reservation_of},
    inventory::{
        AvailabilityChanged, InventoryReleased, InventoryReserved, LowStock, LowStockThresholdChanged,
        ReductionReason, StockAdded, StockEvent, StockReduced, StockTrackingStarted, StockTrackingStopped,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind, Timestamp};
use serde::{Deserialize, Serialize};

/// Most pieces of one product, and the largest quantity that anything here takes. More than a mall can hold, so a number with
/// three zeros too many is refused; and well inside the 32 bits that the original API's clients read.
pub const MAX_PIECES: u32 = 1_000_000;

/// Most orders for which pieces of one product can be kept at a time.
///
/// The snapshot in every tenth commit holds them all, 44 bytes each as JSON: 2,000 are some 90 KB. Measured with
/// `cargo bench -p inventory` on ids of one moment, which deflate well: a commit of a product that is kept for that
/// many orders costs 2.7 write units in the mean (1.3 at a hundred orders) and its load 5 read units. Even if nothing could be deflated, it would
/// stay far from the 400 KB an item may have. An order stands here from its saga until it is completed: two
/// thousand are more than wait in a mall for one product.
pub const MAX_RESERVATIONS: usize = 2_000;

/// How many closed orders are remembered, so that a reservation that arrives after its own release is refused.
///
/// Guaranteed: while an order is among a product's last 256 closings, it is refused; a count that stops
/// forgets them. An order is closed before its stock is released, so only an attempt that read the order
/// before that reserves later: within the function's ten seconds. One that read the stream *before* the
/// release loses the race for the version and decides again.
///
/// That 256 closings outlast those seconds is likely, not certain: each refused order closes the product as
/// well when it is released, so one that sold out and is still asked for can have 256 closings within a few
/// seconds. Beyond them the late reservation is taken: pieces are kept for an order that is gone, until
/// `release-inventory` is called for it again, by hand. They are not available to others meanwhile; nothing
/// is promised or sold twice.
///
/// 39 bytes each in the snapshot: 10 KB in all, for which a commit costs 1.2 write units in the mean instead of 1.
pub const CLOSED_REMEMBERED: usize = 256;

/// The stock of a product. A product without any is not tracked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StockItem {
    /// It is counted.
    Tracked(Stock),
    /// It is no longer counted: always available.
    Untracked {
        /// The product.
        product_id: ProductId,
        /// The store that sells it.
        store_id: StoreId,
    },
}

/// What is counted of a product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stock {
    product_id: ProductId,
    store_id: StoreId,
    on_hand: u32,
    /// Sum of the reservations.
    reserved: u32,
    threshold: u32,
    /// The availability that the last [`StockEvent::AvailabilityChanged`] told. A stream that was written before this
    /// event existed tells it in its next commit.
    #[serde(default = "available_until_told")]
    told_available: bool,
    reservations: BTreeMap<OrderId, u32>,
    /// The last [`CLOSED_REMEMBERED`] orders that were released or sold, oldest first.
    closed: VecDeque<OrderId>,
}

/// What can be asked of a product's stock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum StockCommand {
    /// Count it from now on. It begins with nothing on hand and without a threshold, also when it was counted before.
    StartTracking {
        /// The product.
        product_id: ProductId,
        /// The store that sells it.
        store_id: StoreId,
    },
    /// Count it no longer. Refused while pieces are kept for orders: they would be lost to their orders' completion, and a
    /// count that begins again could give them to others.
    StopTracking,
    /// Pieces came in. Starts the count when it was off.
    Add {
        /// The product.
        product_id: ProductId,
        /// The store that sells it.
        store_id: StoreId,
        /// How many.
        quantity: u32,
    },
    /// Somebody counted. Starts the count when it was off. Never less than is kept for orders: those
    /// pieces were promised, so whoever cannot find them has to cancel orders first.
    Set {
        /// The product.
        product_id: ProductId,
        /// The store that sells it.
        store_id: StoreId,
        /// How many there are, those included that are kept for orders.
        on_hand: u32,
    },
    /// Take pieces out by hand; only such that are not kept for orders.
    Reduce {
        /// How many.
        quantity: u32,
    },
    /// Say [`StockEvent::LowStock`] at this many; never at 0.
    SetThreshold {
        /// How many.
        threshold: u32,
    },
    /// Keep pieces for an order. Nothing when the product is not tracked, or when they are kept already: an order's
    /// lines never change, so neither does the quantity.
    Reserve {
        /// The order.
        order_id: OrderId,
        /// How many.
        quantity: u32,
        /// The time at which it is asked for.
        at: Timestamp,
    },
    /// Keep nothing for an order any more. Nothing when the product is not tracked, or the order is closed. When
    /// nothing is kept, that is recorded, so that a reservation that arrives later is refused (see [`CLOSED_REMEMBERED`]).
    Release {
        /// The order.
        order_id: OrderId,
        /// The time at which it is asked for.
        at: Timestamp,
    },
    /// The pieces that are kept for an order leave with it. Nothing when none are: the product was not tracked
    /// when the order came.
    Sell {
        /// The order.
        order_id: OrderId,
    },
}

/// Why stock says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    /// Not counted, so there is nothing to take from or to warn about.
    #[error("the product's stock is not tracked: start tracking it, or add stock")]
    NotTracked,
    /// None, or absurdly many.
    #[error("the quantity must be 1 to {MAX_PIECES}")]
    QuantityIsInvalid,
    /// Absurdly many.
    #[error("the number of pieces on hand must be 0 to {MAX_PIECES}")]
    OnHandIsInvalid,
    /// Absurdly many.
    #[error("the threshold must be 0 to {MAX_PIECES}")]
    ThresholdIsInvalid,
    /// They would not fit.
    #[error("{quantity} more than the {on_hand} there are would be more than {MAX_PIECES}")]
    TooManyPieces {
        /// What there is.
        on_hand: u32,
        /// What came in.
        quantity: u32,
    },
    /// Too few.
    #[error("{asked} asked for, but only {available} available")]
    InsufficientStock {
        /// What nobody else has.
        available: u32,
        /// What was asked for.
        asked: u32,
    },
    /// Orders were promised more than this.
    #[error("{reserved} pieces are kept for orders, so there cannot be only {on_hand}: cancel orders first")]
    OnHandBelowReserved {
        /// What orders were promised.
        reserved: u32,
        /// What was counted.
        on_hand: u32,
    },
    /// Orders wait for it.
    #[error("{reserved} pieces are kept for {orders} orders: they have to be completed or cancelled first")]
    StillReserved {
        /// Pieces.
        reserved: u32,
        /// Orders.
        orders: usize,
    },
    /// Too late.
    #[error("order {order_id} was released or sold: nothing is kept for it any more")]
    ReservationClosed {
        /// The order.
        order_id: OrderId,
    },
    /// Too many orders wait for it.
    #[error("it is kept for {MAX_RESERVATIONS} orders, which is as many as can be: try again later")]
    TooManyReservations,
}

impl Refusal for StockRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotTracked => "STOCK_IS_NOT_TRACKED",
            Self::QuantityIsInvalid => "QUANTITY_IS_INVALID",
            Self::OnHandIsInvalid => "ON_HAND_IS_INVALID",
            Self::ThresholdIsInvalid => "THRESHOLD_IS_INVALID",
            Self::TooManyPieces { .. } => "TOO_MANY_PIECES",
            Self::InsufficientStock { .. } => "INSUFFICIENT_STOCK",
            Self::OnHandBelowReserved { .. } => "ON_HAND_BELOW_RESERVED",
            Self::StillReserved { .. } => "STOCK_IS_RESERVED",
            Self::ReservationClosed { .. } => "RESERVATION_IS_CLOSED",
            Self::TooManyReservations => "TOO_MANY_RESERVATIONS",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::QuantityIsInvalid | Self::OnHandIsInvalid | Self::ThresholdIsInvalid => {
                RefusalKind::Invalid
            }
            Self::NotTracked
            | Self::TooManyPieces { .. }
            | Self::InsufficientStock { .. }
            | Self::OnHandBelowReserved { .. }
            | Self::StillReserved { .. }
            | Self::ReservationClosed { .. }
            | Self::TooManyReservations => RefusalKind::Conflict,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::QuantityIsInvalid => Some("quantity"),
            Self::OnHandIsInvalid => Some("onHand"),
            Self::ThresholdIsInvalid => Some("threshold"),
            Self::NotTracked
            | Self::TooManyPieces { .. }
            | Self::InsufficientStock { .. }
            | Self::OnHandBelowReserved { .. }
            | Self::StillReserved { .. }
            | Self::ReservationClosed { .. }
            | Self::TooManyReservations => None,
        }
    }
}

impl StockItem {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Tracked(_) => "tracked",
            Self::Untracked { .. } => "untracked",
        }
    }

    /// Returns the event that tells the availability after these events, if the stream has told another one.
    fn availability_told(state: Option<&Self>, events: &[StockEvent]) -> Option<StockEvent> {
        let product_id = match (state, events.first()?) {
            (Some(Self::Tracked(stock)), _) => stock.product_id,
            (_, StockEvent::StockTrackingStarted(started)) => started.product_id,
            (None | Some(Self::Untracked { .. }), _) => return None,
        };
        let stock = state.and_then(Self::tracked);
        let left = events.iter().fold(stock.map(Stock::available), available_after);
        let available = left.is_none_or(|left| left > 0);
        let told = stock.map_or_else(available_until_told, |stock| stock.told_available);
        (available != told)
            .then_some(StockEvent::AvailabilityChanged(AvailabilityChanged { product_id, available }))
    }

    /// What is counted, if it is.
    pub fn tracked(&self) -> Option<&Stock> {
        match self {
            Self::Tracked(stock) => Some(stock),
            Self::Untracked { .. } => None,
        }
    }
}

impl Stock {
    fn new(product_id: ProductId, store_id: StoreId) -> Self {
        Self {
            product_id,
            store_id,
            on_hand: 0,
            reserved: 0,
            threshold: 0,
            told_available: available_until_told(),
            reservations: BTreeMap::new(),
            closed: VecDeque::new(),
        }
    }

    /// The store that sells the product.
    pub fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// Pieces in the house, those included that are kept for orders.
    pub fn on_hand(&self) -> u32 {
        self.on_hand
    }

    /// Pieces that are kept for orders.
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Pieces that others can have.
    pub fn available(&self) -> u32 {
        self.on_hand.saturating_sub(self.reserved)
    }

    /// At how many available pieces, or fewer, stock is low; never at 0.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Whether somebody should do something.
    pub fn is_low(&self) -> bool {
        is_low(self.available(), self.threshold)
    }

    /// Pieces that are kept for an order.
    pub fn kept_for(&self, order_id: OrderId) -> Option<u32> {
        self.reservations.get(&order_id).copied()
    }

    /// Orders for which pieces are kept.
    pub fn orders(&self) -> usize {
        self.reservations.len()
    }

    /// Whether an order was released or sold, as far as [`CLOSED_REMEMBERED`] goes.
    pub fn is_closed(&self, order_id: OrderId) -> bool {
        self.closed.contains(&order_id)
    }

    fn close(&mut self, order_id: OrderId) {
        if self.closed.len() == CLOSED_REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.push_back(order_id);
    }

    /// That stock became low, if it did: `available` and `threshold` are those after the change.
    fn low(&self, available: u32, threshold: u32) -> Option<StockEvent> {
        let &Self { product_id, store_id, .. } = self;
        let became_low = !self.is_low() && is_low(available, threshold);
        became_low.then_some(StockEvent::LowStock(LowStock { product_id, store_id, available, threshold }))
    }

    fn add(&self, quantity: u32) -> Result<Vec<StockEvent>, StockRefusal> {
        check_quantity(quantity)?;
        let on_hand = self.on_hand + quantity;
        if on_hand > MAX_PIECES {
            return Err(StockRefusal::TooManyPieces { on_hand: self.on_hand, quantity });
        }
        Ok(vec![StockEvent::StockAdded(StockAdded { product_id: self.product_id, quantity, on_hand })])
    }

    fn set(&self, on_hand: u32) -> Result<Vec<StockEvent>, StockRefusal> {
        if on_hand > MAX_PIECES {
            return Err(StockRefusal::OnHandIsInvalid);
        }
        if on_hand < self.reserved {
            return Err(StockRefusal::OnHandBelowReserved { reserved: self.reserved, on_hand });
        }
        if on_hand > self.on_hand {
            return self.add(on_hand - self.on_hand);
        }
        if on_hand == self.on_hand {
            return Ok(vec![]);
        }
        Ok(self.without(self.on_hand - on_hand, ReductionReason::Counted))
    }

    fn reduce(&self, quantity: u32) -> Result<Vec<StockEvent>, StockRefusal> {
        check_quantity(quantity)?;
        self.check_available(quantity)?;
        Ok(self.without(quantity, ReductionReason::Removed))
    }

    /// Available pieces leave; the caller has checked that there are so many.
    fn without(&self, quantity: u32, reason: ReductionReason) -> Vec<StockEvent> {
        let (product_id, on_hand) = (self.product_id, self.on_hand - quantity);
        let reduced =
            StockEvent::StockReduced(StockReduced { product_id, quantity, on_hand, reason, order_id: None });
        let low = self.low(on_hand - self.reserved, self.threshold);
        std::iter::once(reduced).chain(low).collect()
    }

    fn set_threshold(&self, threshold: u32) -> Result<Vec<StockEvent>, StockRefusal> {
        if threshold > MAX_PIECES {
            return Err(StockRefusal::ThresholdIsInvalid);
        }
        if threshold == self.threshold {
            return Ok(vec![]);
        }
        let product_id = self.product_id;
        let changed =
            StockEvent::LowStockThresholdChanged(LowStockThresholdChanged { product_id, threshold });
        // What was enough may be too little by the new measure.
        Ok(std::iter::once(changed).chain(self.low(self.available(), threshold)).collect())
    }

    fn reserve(
        &self,
        order_id: OrderId,
        quantity: u32,
        at: Timestamp,
    ) -> Result<Vec<StockEvent>, StockRefusal> {
        if self.reservations.contains_key(&order_id) {
            return Ok(vec![]);
        }
        if self.is_closed(order_id) {
            return Err(StockRefusal::ReservationClosed { order_id });
        }
        check_quantity(quantity)?;
        self.check_available(quantity)?;
        if self.reservations.len() >= MAX_RESERVATIONS {
            return Err(StockRefusal::TooManyReservations);
        }
        let (product_id, available) = (self.product_id, self.available() - quantity);
        let reserved = StockEvent::InventoryReserved(InventoryReserved {
            product_id,
            reservation_id: reservation_of(order_id, product_id),
            order_id,
            quantity,
            available,
            reserved_at: at,
        });
        Ok(std::iter::once(reserved).chain(self.low(available, self.threshold)).collect())
    }

    fn release(&self, order_id: OrderId, at: Timestamp) -> Vec<StockEvent> {
        if self.is_closed(order_id) {
            return vec![];
        }
        let product_id = self.product_id;
        let quantity = self.kept_for(order_id).unwrap_or(0);
        vec![StockEvent::InventoryReleased(InventoryReleased {
            product_id,
            reservation_id: reservation_of(order_id, product_id),
            order_id,
            quantity,
            available: self.available() + quantity,
            released_at: at,
        })]
    }

    fn sell(&self, order_id: OrderId) -> Vec<StockEvent> {
        let Some(quantity) = self.kept_for(order_id) else { return vec![] };
        // What is available stays the same, so stock cannot become low by this.
        vec![StockEvent::StockReduced(StockReduced {
            product_id: self.product_id,
            quantity,
            on_hand: self.on_hand - quantity,
            reason: ReductionReason::Sold,
            order_id: Some(order_id),
        })]
    }

    fn check_available(&self, asked: u32) -> Result<(), StockRefusal> {
        let available = self.available();
        if asked > available { Err(StockRefusal::InsufficientStock { available, asked }) } else { Ok(()) }
    }

    /// After one more event; `None` when it cannot have happened.
    fn after(mut self, event: &StockEvent) -> Option<StockItem> {
        match event {
            StockEvent::StockTrackingStarted(_) => return None,
            StockEvent::StockTrackingStopped(_) => {
                let Self { product_id, store_id, .. } = self;
                return self.reservations.is_empty().then_some(StockItem::Untracked { product_id, store_id });
            }
            StockEvent::StockAdded(e) => {
                self.on_hand =
                    self.on_hand.checked_add(e.quantity).filter(|on_hand| *on_hand == e.on_hand)?;
            }
            StockEvent::StockReduced(e) => {
                self.on_hand =
                    self.on_hand.checked_sub(e.quantity).filter(|on_hand| *on_hand == e.on_hand)?;
                match (e.reason, e.order_id) {
                    (ReductionReason::Sold, Some(order_id)) => self.take_out(order_id, e.quantity)?,
                    (ReductionReason::Removed | ReductionReason::Counted, None) => {}
                    (ReductionReason::Sold, None)
                    | (ReductionReason::Removed | ReductionReason::Counted, Some(_)) => return None,
                }
                if self.reserved > self.on_hand {
                    return None;
                }
            }
            StockEvent::InventoryReserved(e) => {
                if self.available().checked_sub(e.quantity) != Some(e.available)
                    || self.reservations.insert(e.order_id, e.quantity).is_some()
                {
                    return None;
                }
                self.reserved += e.quantity;
            }
            // It came before the reservation: only that is remembered.
            StockEvent::InventoryReleased(e) if e.quantity == 0 => {
                if self.reservations.contains_key(&e.order_id) {
                    return None;
                }
                self.close(e.order_id);
            }
            StockEvent::InventoryReleased(e) => self.take_out(e.order_id, e.quantity)?,
            StockEvent::LowStock(_) => {}
            StockEvent::LowStockThresholdChanged(e) => self.threshold = e.threshold,
            StockEvent::AvailabilityChanged(e) => {
                if e.available != (self.available() > 0) {
                    return None;
                }
                self.told_available = e.available;
            }
        }
        Some(StockItem::Tracked(self))
    }

    /// Ends a reservation of exactly this many pieces.
    fn take_out(&mut self, order_id: OrderId, quantity: u32) -> Option<()> {
        self.reservations.remove(&order_id).filter(|kept| *kept == quantity)?;
        self.reserved -= quantity;
        self.close(order_id);
        Some(())
    }
}

/// Returns the availability of a product whose stream has not told any.
fn available_until_told() -> bool {
    true
}

/// Returns the pieces that others can have after an event; `None` if the product is not tracked then.
fn available_after(before: Option<u32>, event: &StockEvent) -> Option<u32> {
    match event {
        StockEvent::StockTrackingStarted(_) => Some(0),
        StockEvent::StockTrackingStopped(_) => None,
        StockEvent::StockAdded(e) => before.map(|available| available.saturating_add(e.quantity)),
        StockEvent::StockReduced(e) => match e.reason {
            // These pieces were kept for their order.
            ReductionReason::Sold => before,
            ReductionReason::Removed | ReductionReason::Counted => {
                before.map(|available| available.saturating_sub(e.quantity))
            }
        },
        StockEvent::InventoryReserved(e) => Some(e.available),
        StockEvent::InventoryReleased(e) => Some(e.available),
        StockEvent::LowStock(_)
        | StockEvent::LowStockThresholdChanged(_)
        | StockEvent::AvailabilityChanged(_) => before,
    }
}

fn is_low(available: u32, threshold: u32) -> bool {
    threshold > 0 && available <= threshold
}

fn check_quantity(quantity: u32) -> Result<(), StockRefusal> {
    if (1..=MAX_PIECES).contains(&quantity) { Ok(()) } else { Err(StockRefusal::QuantityIsInvalid) }
}

/// Starts the count, and goes on with what comes then.
fn start(
    product_id: ProductId,
    store_id: StoreId,
    then: impl FnOnce(&Stock) -> Result<Vec<StockEvent>, StockRefusal>,
) -> Result<Vec<StockEvent>, StockRefusal> {
    let started = StockEvent::StockTrackingStarted(StockTrackingStarted { product_id, store_id });
    let then = then(&Stock::new(product_id, store_id))?;
    Ok(std::iter::once(started).chain(then).collect())
}

/// Returns the events by which a command changes the stock.
fn changes(stock: Option<&Stock>, command: &StockCommand) -> Result<Vec<StockEvent>, StockRefusal> {
    use StockCommand::{Add, Reduce, Release, Reserve, Sell, Set, SetThreshold, StartTracking, StopTracking};
    match (stock, command) {
        (None, StartTracking { product_id, store_id }) => start(*product_id, *store_id, |_| Ok(vec![])),
        (None, Add { product_id, store_id, quantity }) => {
            start(*product_id, *store_id, |stock| stock.add(*quantity))
        }
        (None, Set { product_id, store_id, on_hand }) => {
            start(*product_id, *store_id, |stock| stock.set(*on_hand))
        }
        (None, Reduce { .. } | SetThreshold { .. }) => Err(StockRefusal::NotTracked),
        // Always available, so nothing is kept, and what is not kept is neither given back nor sold.
        (None, StopTracking | Reserve { .. } | Release { .. } | Sell { .. }) => Ok(vec![]),

        (Some(_), StartTracking { .. }) => Ok(vec![]),
        (Some(stock), StopTracking) if stock.orders() > 0 => {
            Err(StockRefusal::StillReserved { reserved: stock.reserved, orders: stock.orders() })
        }
        (Some(stock), StopTracking) => {
            let product_id = stock.product_id;
            Ok(vec![StockEvent::StockTrackingStopped(StockTrackingStopped { product_id })])
        }
        (Some(stock), Add { quantity, .. }) => stock.add(*quantity),
        (Some(stock), Set { on_hand, .. }) => stock.set(*on_hand),
        (Some(stock), Reduce { quantity }) => stock.reduce(*quantity),
        (Some(stock), SetThreshold { threshold }) => stock.set_threshold(*threshold),
        (Some(stock), Reserve { order_id, quantity, at }) => stock.reserve(*order_id, *quantity, *at),
        (Some(stock), Release { order_id, at }) => Ok(stock.release(*order_id, *at)),
        (Some(stock), Sell { order_id }) => Ok(stock.sell(*order_id)),
    }
}

impl Aggregate for StockItem {
    const CATEGORY: &'static str = "inventory.StockItem";
    const STATE_SCHEMA: u16 = 1;
    type Command = StockCommand;
    type Event = StockEvent;
    type Refusal = StockRefusal;

    fn decide(state: Option<&Self>, command: &StockCommand) -> Result<Vec<StockEvent>, StockRefusal> {
        let stock = state.and_then(Self::tracked);
        let mut events = changes(stock, command)?;
        events.extend(Self::availability_told(state, &events));
        Ok(events)
    }

    fn evolve(state: Option<Self>, event: &StockEvent) -> Result<Self, BrokenHistory> {
        let status = state.as_ref().map_or("none", Self::status);
        let after = match (state, event) {
            // Told in the commit that stopped the count.
            (Some(untracked @ Self::Untracked { .. }), StockEvent::AvailabilityChanged(e)) => {
                e.available.then_some(untracked)
            }
            (None | Some(Self::Untracked { .. }), StockEvent::StockTrackingStarted(e)) => {
                Some(Self::Tracked(Stock::new(e.product_id, e.store_id)))
            }
            (Some(Self::Tracked(stock)), event) => stock.after(event),
            (None | Some(Self::Untracked { .. }), _) => None,
        };
        after.ok_or(BrokenHistory { event: event.event_type(), state: status })
    }
}
