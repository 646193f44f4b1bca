//! Ids that travel between contexts.

use kernel::Id;

macro_rules! ids {
    ($($(#[$doc:meta])* $kind:ident => $id:ident;)*) => {$(
        /// Label of the id of the same name.
        pub enum $kind {}
        $(#[$doc])*
        pub type $id = Id<$kind>;
    )*};
}

ids! {
    /// A customer.
    CustomerKind => CustomerId;
    /// A store.
    StoreKind => StoreId;
    /// A product of a store.
    ProductKind => ProductId;
    /// A shopping basket.
    BasketKind => BasketId;
    /// An order; it has the id of the basket it came from.
    OrderKind => OrderId;
    /// A payment that a customer authorised.
    PaymentKind => PaymentId;
    /// An invoice; it has the id of its order.
    InvoiceKind => InvoiceId;
    /// A shopping list: what a bot collects for one order.
    ShoppingListKind => ShoppingListId;
    /// A bot of the depot.
    BotKind => BotId;
    /// Stock of one product that is kept for one order.
    ReservationKind => ReservationId;
}

/// The list of an order: an order has one, and everyone who knows the order knows the list, so that a lost answer to its
/// creation loses nothing.
pub fn shopping_list_of(order: OrderId) -> ShoppingListId {
    Id::derived(&["shopping list of order", &order.to_string()])
}

/// The reservation of a product for an order: there is one.
pub fn reservation_of(order: OrderId, product: ProductId) -> ReservationId {
    Id::derived(&["reservation for order", &order.to_string(), "of product", &product.to_string()])
}
