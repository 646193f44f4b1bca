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
}
