//! Events of the inventory context.

use kernel::{Event, Timestamp, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{OrderId, ProductId, ReservationId, StoreId};

/// Where pieces went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReductionReason {
    /// Sold with an order, for which they were kept.
    Sold,
    /// Taken out by hand: broken, stolen, given away.
    Removed,
    /// A count found fewer than there should have been.
    Counted,
}

/// What happens to the stock of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum StockEvent {
    /// The product's stock is counted from now on. Before that, and after [`StockEvent::StockTrackingStopped`], it is always available.
    StockTrackingStarted(StockTrackingStarted),
    /// The product's stock is no longer counted: it is always available.
    StockTrackingStopped(StockTrackingStopped),
    /// Pieces came in.
    StockAdded(StockAdded),
    /// Pieces went out.
    StockReduced(StockReduced),
    /// Pieces are kept for an order.
    InventoryReserved(InventoryReserved),
    /// Pieces are no longer kept for an order, which is not to have them any more.
    InventoryReleased(InventoryReleased),
    /// So few are left that somebody should do something. Said once each time the threshold is reached from above.
    LowStock(LowStock),
    /// The threshold of [`StockEvent::LowStock`] is another.
    LowStockThresholdChanged(LowStockThresholdChanged),
    /// The product became available, or ceased to be. Last event of the commit that caused it.
    ///
    /// The event is absolute: the newest one of a stream tells the availability, without those before it. A
    /// product without such an event is available.
    AvailabilityChanged(AvailabilityChanged),
}

/// See [`StockEvent::StockTrackingStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockTrackingStarted {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// The store that sells it.
    pub store_id: StoreId,
}

/// See [`StockEvent::StockTrackingStopped`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockTrackingStopped {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
}

/// See [`StockEvent::StockAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockAdded {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// Pieces there are now, those included that are kept for orders.
    pub on_hand: u32,
}

/// See [`StockEvent::StockReduced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockReduced {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// Pieces there are now, those included that are kept for orders.
    pub on_hand: u32,
    /// Where they went.
    pub reason: ReductionReason,
    /// The order they were sold with, if they were sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
}

/// See [`StockEvent::InventoryReserved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryReserved {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// The reservation: one for each order and product.
    pub reservation_id: ReservationId,
    /// The order.
    pub order_id: OrderId,
    /// Pieces; at least 1.
    pub quantity: u32,
    /// Pieces that are left for others.
    pub available: u32,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub reserved_at: Timestamp,
}

/// See [`StockEvent::InventoryReleased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryReleased {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The order.
    pub order_id: OrderId,
    /// Pieces; none when the release came before the reservation, which is then refused.
    pub quantity: u32,
    /// Pieces that are there for others.
    pub available: u32,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub released_at: Timestamp,
}

/// See [`StockEvent::LowStock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LowStock {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// The store that sells it.
    pub store_id: StoreId,
    /// Pieces that are left and not kept for an order.
    pub available: u32,
    /// At how many this is said.
    pub threshold: u32,
}

/// See [`StockEvent::LowStockThresholdChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LowStockThresholdChanged {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// At how many pieces, or fewer, stock counts as low. None at 0.
    pub threshold: u32,
}

/// See [`StockEvent::AvailabilityChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityChanged {
    /// The product; also the id of the stream.
    pub product_id: ProductId,
    /// True if the stock is not tracked, or if at least one piece is not kept for an order.
    pub available: bool,
}

impl Event for StockEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[
        ("StockTrackingStarted", 1),
        ("StockTrackingStopped", 1),
        ("StockAdded", 1),
        ("StockReduced", 1),
        ("InventoryReserved", 1),
        ("InventoryReleased", 1),
        ("LowStock", 1),
        ("LowStockThresholdChanged", 1),
        ("AvailabilityChanged", 1),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            StockEvent::StockTrackingStarted(_) => "StockTrackingStarted",
            StockEvent::StockTrackingStopped(_) => "StockTrackingStopped",
            StockEvent::StockAdded(_) => "StockAdded",
            StockEvent::StockReduced(_) => "StockReduced",
            StockEvent::InventoryReserved(_) => "InventoryReserved",
            StockEvent::InventoryReleased(_) => "InventoryReleased",
            StockEvent::LowStock(_) => "LowStock",
            StockEvent::LowStockThresholdChanged(_) => "LowStockThresholdChanged",
            StockEvent::AvailabilityChanged(_) => "AvailabilityChanged",
        }
    }
}

/// What happens to the reservation of one order. Its stream has the id of the order.
///
/// The pieces themselves are kept, released and sold in the streams of the products. This stream tells from
/// which version of each of those on the commits of the order are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum ReservationEvent {
    /// Pieces of these products are asked for. Comes again for a product whose stock has moved on too far
    /// meanwhile.
    ReservationRequested(ReservationRequested),
    /// The reservation is over for good. Comes again for a product whose stock has moved on too far
    /// meanwhile.
    ReservationEnded(ReservationEnded),
}

/// A product of an order, and its stock at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockSeen {
    /// The product; also the id of the stream of its stock.
    pub product_id: ProductId,
    /// Version of that stream. Commits that follow from the event come after it.
    #[schema(value_type = u64)]
    pub version: Version,
}

/// See [`ReservationEvent::ReservationRequested`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationRequested {
    /// The products.
    pub stock: Vec<StockSeen>,
}

/// The end of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReservationEnd {
    /// The pieces leave with the order.
    Sold,
    /// The pieces are given back.
    Released,
}

/// See [`ReservationEvent::ReservationEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationEnded {
    /// How it ends.
    pub end: ReservationEnd,
    /// The products that were asked for.
    pub stock: Vec<StockSeen>,
}

impl Event for ReservationEvent {
    const SCHEMAS: &'static [(&'static str, u16)] = &[("ReservationRequested", 1), ("ReservationEnded", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::ReservationRequested(_) => "ReservationRequested",
            Self::ReservationEnded(_) => "ReservationEnded",
        }
    }
}
