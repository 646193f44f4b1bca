//! The stock of one product.
//!
//! `on_hand` counts all pieces in the house, those included that are kept for orders; what others can still have is
//! `available`: on hand less what is kept. It never falls below nothing.
//!
//! The state holds counts, and the orders of its last [`REMEMBERED`] versions. A command for an order says
//! since which version of the stock the order can have committed anything here (`since`, see
//! [`crate::reservation`]). If the state remembers all versions after it, the command is decided exactly; if
//! not, it is refused as [`StockRefusal::Forgotten`], and whoever asks has to read the stream. So a late or
//! repeated command is recognised however many orders came in between.

use std::collections::VecDeque;

use contracts::{
    ids::{OrderId, ProductId, StoreId, reservation_of},
    inventory::{
        AvailabilityChanged, InventoryReleased, InventoryReserved, LowStock, LowStockThresholdChanged,
        ReductionReason, StockAdded, StockEvent, StockReduced, StockTrackingStarted, StockTrackingStopped,
    },
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind, Timestamp, Version};
use serde::{Deserialize, Serialize};

/// Most pieces of one product, and the largest quantity that anything here takes. More than a mall can hold, so a number with
/// three zeros too many is refused; and well inside the 32 bits that the original API's clients read.
pub const MAX_PIECES: u32 = 1_000_000;

/// Versions of the stock whose orders the state remembers.
///
/// A command comes some versions after its `since`: those that others commit meanwhile. Sixty-four are more
/// than a second of a product that is wanted fifty times a second. They are also the range that is read for
/// an order that was forgotten: 12 read units. Each takes 80 bytes of the snapshot as JSON, with which a
/// commit costs 1.09 write units in the mean and a load 2 read units. Source: `cargo bench --workspace
/// --bench hot_product --profile dev`.
pub const REMEMBERED: u32 = 64;

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
        /// Version of the stream.
        version: Version,
    },
}

/// What is counted of a product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stock {
    product_id: ProductId,
    store_id: StoreId,
    on_hand: u32,
    /// Pieces that are kept for orders.
    reserved: u32,
    /// Orders for which they are kept.
    orders: u32,
    threshold: u32,
    /// The availability that the last [`StockEvent::AvailabilityChanged`] told. A stream that was written
    /// before this event existed tells it in its next commit.
    told_available: bool,
    /// Version of the stream.
    version: Version,
    /// Version at which the count began.
    started: Version,
    /// The orders of the last [`REMEMBERED`] versions, oldest first.
    recent: VecDeque<Recent>,
}

/// A version by which something changed for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    version: Version,
    order_id: OrderId,
    /// Pieces that are kept for the order since then; `None` if it was released or sold.
    kept: Option<u32>,
}

/// What is known of the pieces that may be kept for an order that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kept {
    /// They can have been kept after this version only.
    Since(Version),
    /// So many were kept. The stream was read, and no reservation of the order can come any more.
    Known(u32),
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
        /// No commit for the order is as old as this version, or older.
        since: Version,
        /// The time at which it is asked for.
        at: Timestamp,
    },
    /// Keep nothing for an order any more. Nothing if the product is not tracked, or if that was done. If
    /// nothing is kept but a late reservation may come, that is recorded, so that it is refused.
    Release {
        /// The order.
        order_id: OrderId,
        /// Its pieces.
        kept: Kept,
        /// No release or sale for the order is as old as this version, or older.
        since: Version,
        /// The time at which it is asked for.
        at: Timestamp,
    },
    /// The pieces that are kept for an order leave with it. If none are (the product was not tracked when the
    /// order came) but a late reservation may still come, a mark is left as by a release.
    Sell {
        /// The order.
        order_id: OrderId,
        /// Its pieces.
        kept: Kept,
        /// No release or sale for the order is as old as this version, or older.
        since: Version,
        /// The time at which it is asked for.
        at: Timestamp,
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
        orders: u32,
    },
    /// Too late.
    #[error("order {order_id} was released or sold: nothing is kept for it any more")]
    ReservationClosed {
        /// The order.
        order_id: OrderId,
    },
    /// The state does not remember all that happened since. Whoever asks reads the stream, and asks as of a
    /// newer version.
    #[error("the stock remembers its orders after version {floor} only")]
    Forgotten {
        /// The oldest version since which everything is remembered.
        floor: Version,
    },
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
            Self::Forgotten { .. } => "STOCK_MOVED_ON",
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
            | Self::Forgotten { .. } => RefusalKind::Conflict,
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
            | Self::Forgotten { .. } => None,
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
        let told = stock.is_none_or(|stock| stock.told_available);
        (available != told)
            .then_some(StockEvent::AvailabilityChanged(AvailabilityChanged { product_id, available }))
    }

    fn version(&self) -> Version {
        match self {
            Self::Tracked(stock) => stock.version,
            Self::Untracked { version, .. } => *version,
        }
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
    fn new(product_id: ProductId, store_id: StoreId, version: Version) -> Self {
        Self {
            product_id,
            store_id,
            on_hand: 0,
            reserved: 0,
            orders: 0,
            threshold: 0,
            told_available: true,
            version,
            started: version,
            recent: VecDeque::new(),
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

    /// Orders for which pieces are kept.
    pub fn orders(&self) -> u32 {
        self.orders
    }

    /// True if the stock remembers that the order was released or sold.
    pub fn is_closed(&self, order_id: OrderId) -> bool {
        self.remembered(order_id).is_some_and(|recent| recent.kept.is_none())
    }

    /// The order's last change that is remembered.
    fn remembered(&self, order_id: OrderId) -> Option<&Recent> {
        self.recent.iter().rev().find(|recent| recent.order_id == order_id)
    }

    /// The oldest version since which every change of an order is remembered.
    fn floor(&self) -> Version {
        self.started.max(Version::new(self.version.get().saturating_sub(u64::from(REMEMBERED))))
    }

    fn check_remembered(&self, since: Version) -> Result<(), StockRefusal> {
        let floor = self.floor();
        if since < floor { Err(StockRefusal::Forgotten { floor }) } else { Ok(()) }
    }

    fn remember(&mut self, order_id: OrderId, kept: Option<u32>) {
        self.recent.push_back(Recent { version: self.version, order_id, kept });
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
        since: Version,
        at: Timestamp,
    ) -> Result<Vec<StockEvent>, StockRefusal> {
        match self.remembered(order_id) {
            Some(Recent { kept: Some(_), .. }) => return Ok(vec![]),
            Some(Recent { kept: None, .. }) => return Err(StockRefusal::ReservationClosed { order_id }),
            None => self.check_remembered(since)?,
        }
        check_quantity(quantity)?;
        self.check_available(quantity)?;
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

    /// Returns the pieces that an order which ends has still to give up: none if it never had any, `None` if
    /// there is nothing to do.
    fn to_end(&self, order_id: OrderId, kept: Kept, since: Version) -> Result<Option<u32>, StockRefusal> {
        let remembered = self.remembered(order_id);
        if let Some(Recent { kept: None, .. }) = remembered {
            return Ok(None);
        }
        // Also if it is remembered that pieces are kept: the end has to be found where later attempts search
        // for it.
        self.check_remembered(since)?;
        match (remembered.and_then(|recent| recent.kept), kept) {
            (Some(quantity), _) => Ok(Some(quantity)),
            (None, Kept::Known(0)) => Ok(None),
            (None, Kept::Known(quantity)) => Ok(Some(quantity)),
            (None, Kept::Since(requested)) => self.check_remembered(requested).map(|()| Some(0)),
        }
    }

    fn release(
        &self,
        order_id: OrderId,
        kept: Kept,
        since: Version,
        at: Timestamp,
    ) -> Result<Vec<StockEvent>, StockRefusal> {
        let quantity = self.to_end(order_id, kept, since)?;
        Ok(quantity.map(|quantity| self.released(order_id, quantity, at)).into_iter().collect())
    }

    /// Pieces that are given back; none of them is a mark, by which a late reservation is refused.
    fn released(&self, order_id: OrderId, quantity: u32, at: Timestamp) -> StockEvent {
        let product_id = self.product_id;
        StockEvent::InventoryReleased(InventoryReleased {
            product_id,
            reservation_id: reservation_of(order_id, product_id),
            order_id,
            quantity,
            available: self.available() + quantity,
            released_at: at,
        })
    }

    fn sell(
        &self,
        order_id: OrderId,
        kept: Kept,
        since: Version,
        at: Timestamp,
    ) -> Result<Vec<StockEvent>, StockRefusal> {
        let quantity = match self.to_end(order_id, kept, since)? {
            None => return Ok(vec![]),
            Some(0) => return Ok(vec![self.released(order_id, 0, at)]),
            Some(quantity) => quantity,
        };
        // What is available stays the same, so stock cannot become low by this.
        Ok(vec![StockEvent::StockReduced(StockReduced {
            product_id: self.product_id,
            quantity,
            on_hand: self.on_hand - quantity,
            reason: ReductionReason::Sold,
            order_id: Some(order_id),
        })])
    }

    fn check_available(&self, asked: u32) -> Result<(), StockRefusal> {
        let available = self.available();
        if asked > available { Err(StockRefusal::InsufficientStock { available, asked }) } else { Ok(()) }
    }

    /// After one more event; `None` when it cannot have happened.
    fn after(mut self, event: &StockEvent) -> Option<StockItem> {
        self.version = self.version.next();
        let floor = self.floor();
        self.recent.retain(|recent| recent.version > floor);
        match event {
            StockEvent::StockTrackingStarted(_) => return None,
            StockEvent::StockTrackingStopped(_) => {
                let Self { product_id, store_id, version, orders, .. } = self;
                return (orders == 0).then_some(StockItem::Untracked { product_id, store_id, version });
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
                    || self.remembered(e.order_id).is_some()
                {
                    return None;
                }
                self.reserved += e.quantity;
                self.orders += 1;
                self.remember(e.order_id, Some(e.quantity));
            }
            // It came before the reservation: only that is remembered.
            StockEvent::InventoryReleased(e) if e.quantity == 0 => {
                if self.remembered(e.order_id).is_some() {
                    return None;
                }
                self.remember(e.order_id, None);
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

    /// Ends a reservation of so many pieces.
    fn take_out(&mut self, order_id: OrderId, quantity: u32) -> Option<()> {
        if self.remembered(order_id).is_some_and(|recent| recent.kept != Some(quantity)) {
            return None;
        }
        self.reserved = self.reserved.checked_sub(quantity)?;
        self.orders = self.orders.checked_sub(1)?;
        self.remember(order_id, None);
        Some(())
    }
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
    let then = then(&Stock::new(product_id, store_id, Version::FIRST))?;
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
        (Some(stock), Reserve { order_id, quantity, since, at }) => {
            stock.reserve(*order_id, *quantity, *since, *at)
        }
        (Some(stock), Release { order_id, kept, since, at }) => stock.release(*order_id, *kept, *since, *at),
        (Some(stock), Sell { order_id, kept, since, at }) => stock.sell(*order_id, *kept, *since, *at),
    }
}

impl Aggregate for StockItem {
    const CATEGORY: &'static str = "inventory.StockItem";
    const STATE_SCHEMA: u16 = 2;
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
        let version = state.as_ref().map_or(Version::NONE, Self::version).next();
        let after = match (state, event) {
            // Told in the commit that stopped the count.
            (Some(Self::Untracked { product_id, store_id, .. }), StockEvent::AvailabilityChanged(e)) => {
                e.available.then_some(Self::Untracked { product_id, store_id, version })
            }
            (None | Some(Self::Untracked { .. }), StockEvent::StockTrackingStarted(e)) => {
                Some(Self::Tracked(Stock::new(e.product_id, e.store_id, version)))
            }
            (Some(Self::Tracked(stock)), event) => stock.after(event),
            (None | Some(Self::Untracked { .. }), _) => None,
        };
        after.ok_or(BrokenHistory { event: event.event_type(), state: status })
    }
}
