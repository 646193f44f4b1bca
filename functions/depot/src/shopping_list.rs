//! A shopping list: what a bot collects for one order, store by store.

use contracts::{
    depot::{
        ShoppingListAssigned, ShoppingListCanceled, ShoppingListCompleted, ShoppingListCreated,
        ShoppingListEvent, ShoppingListInitiated, ShoppingListStarted, Stop, StopItem,
    },
    ids::{BotId, OrderId, ProductId, StoreId},
};
use kernel::{Aggregate, BrokenHistory, Event, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// What is to be collected, and for which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The order.
    pub order_id: OrderId,
    /// One stop for each store.
    pub stops: Vec<Stop>,
}

/// A shopping list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShoppingList {
    /// It is planned; the order is not certain yet.
    Pending(Plan),
    /// It waits for a bot.
    Available(Plan),
    /// A bot took it.
    Assigned {
        /// What is to be collected.
        plan: Plan,
        /// The bot.
        bot_id: BotId,
    },
    /// The bot is on its way through the stores.
    Active {
        /// What is to be collected.
        plan: Plan,
        /// The bot.
        bot_id: BotId,
    },
    /// Everything was collected.
    Completed {
        /// What was collected.
        plan: Plan,
        /// The bot that did.
        bot_id: BotId,
    },
    /// The order needs it no longer.
    Canceled {
        /// What would have been collected.
        plan: Plan,
        /// The bot that had it, if one did.
        bot_id: Option<BotId>,
        /// Why: a code.
        reason: String,
    },
    /// The order needed it no longer before it was made: it never will be. For everybody else it does not exist.
    NeverMade {
        /// The order.
        order_id: OrderId,
        /// Why: a code.
        reason: String,
    },
}

/// What can be asked of a shopping list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum ShoppingListCommand {
    /// Plan it. Once more for the same order with the same lines, it is there already.
    Create {
        /// The order.
        order_id: OrderId,
        /// One stop for each store.
        stops: Vec<Stop>,
        /// A product on it that no store sells any more, where that matters: a new list with it is refused.
        not_sold: Option<ProductId>,
    },
    /// Let a bot have it.
    Initiate {
        /// The order whose saga asks; it may ask again. Who names none is told when the list is not pending.
        order_id: Option<OrderId>,
    },
    /// Give it to a bot. Once more to the same bot, it has it already.
    Assign {
        /// The bot.
        bot_id: BotId,
    },
    /// Go through the stores.
    Start {
        /// The bot that says so, if it says its name: then it has to be the one that has the list.
        bot_id: Option<BotId>,
    },
    /// All is collected.
    Complete,
    /// Collect it no longer.
    Cancel {
        /// Why: a code.
        reason: String,
    },
    /// The order needs it no longer. Harmless when it was cancelled before, and when all is collected: then it stays
    /// completed, and the goods go back on the shelf. A creation for that order which arrives later is refused.
    Withdraw {
        /// The order.
        order_id: OrderId,
        /// Why: a code.
        reason: String,
    },
}

/// Why a shopping list says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShoppingListRefusal {
    /// There is no such list.
    #[error("there is no such shopping list")]
    NotFound,
    /// There is another list for the order.
    #[error("the order has a shopping list with other lines already")]
    AlreadyCreated,
    /// The order was given up.
    #[error("the order needs no shopping list any more")]
    WasCancelled,
    /// Another order's.
    #[error("the shopping list belongs to another order")]
    IsOfAnotherOrder,
    /// No store sells it any more.
    #[error("there is no product {product_id}")]
    ProductNotFound {
        /// The product.
        product_id: ProductId,
    },
    /// Nothing to collect.
    #[error("a shopping list needs at least one item")]
    IsEmpty,
    /// Not even one piece.
    #[error("of every product at least one piece is collected")]
    QuantityMustBePositive,
    /// More pieces than can be counted.
    #[error("that is more of a product than can be counted")]
    QuantityIsTooLarge,
    /// It is not pending.
    #[error("a shopping list that is {status} cannot be initiated")]
    CannotBeInitiated {
        /// What it is.
        status: &'static str,
    },
    /// It does not wait for a bot.
    #[error("a shopping list that is {status} cannot be assigned")]
    CannotBeAssigned {
        /// What it is.
        status: &'static str,
    },
    /// It is not assigned, or to another bot.
    #[error("a shopping list that is {status} cannot be started, and only by the bot that has it")]
    CannotBeStarted {
        /// What it is.
        status: &'static str,
    },
    /// No bot has it.
    #[error("a shopping list that is {status} cannot be completed")]
    CannotBeCompleted {
        /// What it is.
        status: &'static str,
    },
    /// It is over.
    #[error("a shopping list that is {status} cannot be cancelled")]
    CannotBeCancelled {
        /// What it is.
        status: &'static str,
    },
}

impl Refusal for ShoppingListRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "SHOPPING_LIST_NOT_FOUND",
            Self::AlreadyCreated => "SHOPPING_LIST_ALREADY_CREATED",
            Self::WasCancelled => "SHOPPING_LIST_WAS_CANCELLED",
            Self::IsOfAnotherOrder => "SHOPPING_LIST_IS_OF_ANOTHER_ORDER",
            Self::ProductNotFound { .. } => "PRODUCT_NOT_FOUND",
            Self::IsEmpty => "ITEMS_CANNOT_BE_EMPTY",
            Self::QuantityMustBePositive => "QUANTITY_MUST_BE_POSITIVE",
            Self::QuantityIsTooLarge => "QUANTITY_IS_TOO_LARGE",
            Self::CannotBeInitiated { .. } => "SHOPPING_CANNOT_BE_INITIATED",
            Self::CannotBeAssigned { .. } => "SHOPPING_CANNOT_BE_ASSIGNED",
            Self::CannotBeStarted { .. } => "SHOPPING_CANNOT_BE_STARTED",
            Self::CannotBeCompleted { .. } => "SHOPPING_CANNOT_BE_COMPLETED",
            Self::CannotBeCancelled { .. } => "SHOPPING_CANNOT_BE_CANCELLED",
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound | Self::ProductNotFound { .. } => RefusalKind::NotFound,
            Self::AlreadyCreated | Self::WasCancelled | Self::IsOfAnotherOrder => RefusalKind::Conflict,
            // 400 for a list in another state is what the original API answers.
            Self::IsEmpty
            | Self::QuantityMustBePositive
            | Self::QuantityIsTooLarge
            | Self::CannotBeInitiated { .. }
            | Self::CannotBeAssigned { .. }
            | Self::CannotBeStarted { .. }
            | Self::CannotBeCompleted { .. }
            | Self::CannotBeCancelled { .. } => RefusalKind::Invalid,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::IsEmpty | Self::QuantityMustBePositive | Self::QuantityIsTooLarge => Some("items"),
            Self::NotFound
            | Self::AlreadyCreated
            | Self::WasCancelled
            | Self::IsOfAnotherOrder
            | Self::ProductNotFound { .. }
            | Self::CannotBeInitiated { .. }
            | Self::CannotBeAssigned { .. }
            | Self::CannotBeStarted { .. }
            | Self::CannotBeCompleted { .. }
            | Self::CannotBeCancelled { .. } => None,
        }
    }
}

/// Some pieces of a product, and where they are collected.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The store.
    pub store_id: StoreId,
    /// What it is called.
    pub store_name: String,
    /// Where in the mall it is.
    pub store_location: String,
    /// The product.
    pub product_id: ProductId,
    /// What it is called.
    pub product_name: String,
    /// Pieces.
    pub quantity: u32,
}

/// One stop for each store and one item for each product, in the order in which they are first named. Pieces of a
/// product that is named again are added.
///
/// # Errors
/// When there are more pieces of a product than can be counted.
pub fn stops(lines: impl IntoIterator<Item = Line>) -> Result<Vec<Stop>, ShoppingListRefusal> {
    let mut stops: Vec<Stop> = Vec::new();
    for line in lines {
        let Line { store_id, store_name, store_location, product_id, product_name, quantity } = line;
        let item = StopItem { product_id, product_name, quantity };
        match stops.iter_mut().find(|stop| stop.store_id == store_id) {
            Some(stop) => add(stop, item)?,
            None => stops.push(Stop { store_id, store_name, store_location, items: vec![item] }),
        }
    }
    Ok(stops)
}

fn add(stop: &mut Stop, item: StopItem) -> Result<(), ShoppingListRefusal> {
    match stop.items.iter_mut().find(|there| there.product_id == item.product_id) {
        Some(there) => {
            let sum = there.quantity.checked_add(item.quantity);
            there.quantity = sum.ok_or(ShoppingListRefusal::QuantityIsTooLarge)?;
        }
        None => stop.items.push(item),
    }
    Ok(())
}

/// What is collected where, whatever it is called and in whatever order.
fn essence(stops: &[Stop]) -> Vec<(StoreId, ProductId, u32)> {
    let of = |stop: &Stop, item: &StopItem| (stop.store_id, item.product_id, item.quantity);
    let mut lines: Vec<_> =
        stops.iter().flat_map(|stop| stop.items.iter().map(move |item| of(stop, item))).collect();
    lines.sort_unstable();
    lines
}

impl ShoppingList {
    /// Name of the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Available(_) => "available",
            Self::Assigned { .. } => "assigned",
            Self::Active { .. } => "active",
            Self::Completed { .. } => "completed",
            Self::Canceled { .. } => "canceled",
            Self::NeverMade { .. } => "never made",
        }
    }

    /// What is, was or would have been collected; none when the list was never made.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Pending(plan)
            | Self::Available(plan)
            | Self::Assigned { plan, .. }
            | Self::Active { plan, .. }
            | Self::Completed { plan, .. }
            | Self::Canceled { plan, .. } => Some(plan),
            Self::NeverMade { .. } => None,
        }
    }

    /// The order it is for.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Pending(plan)
            | Self::Available(plan)
            | Self::Assigned { plan, .. }
            | Self::Active { plan, .. }
            | Self::Completed { plan, .. }
            | Self::Canceled { plan, .. } => plan.order_id,
            Self::NeverMade { order_id, .. } => *order_id,
        }
    }

    /// The bot that has it, or had it.
    pub fn bot_id(&self) -> Option<BotId> {
        match self {
            Self::Pending(_) | Self::Available(_) | Self::NeverMade { .. } => None,
            Self::Assigned { bot_id, .. } | Self::Active { bot_id, .. } | Self::Completed { bot_id, .. } => {
                Some(*bot_id)
            }
            Self::Canceled { bot_id, .. } => *bot_id,
        }
    }

    /// Why it was cancelled, if it was.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Canceled { reason, .. } | Self::NeverMade { reason, .. } => Some(reason),
            Self::Pending(_)
            | Self::Available(_)
            | Self::Assigned { .. }
            | Self::Active { .. }
            | Self::Completed { .. } => None,
        }
    }
}

impl Aggregate for ShoppingList {
    const CATEGORY: &'static str = "depot.ShoppingList";
    const STATE_SCHEMA: u16 = 1;
    type Command = ShoppingListCommand;
    type Event = ShoppingListEvent;
    type Refusal = ShoppingListRefusal;

    fn decide(
        state: Option<&Self>,
        command: &ShoppingListCommand,
    ) -> Result<Vec<ShoppingListEvent>, ShoppingListRefusal> {
        use ShoppingListCommand::{Assign, Cancel, Complete, Create, Initiate, Start, Withdraw};
        match (state, command) {
            (_, Create { order_id, stops, not_sold }) => create(state, *order_id, stops, *not_sold),
            (_, Withdraw { order_id, reason }) => Ok(withdraw(state, *order_id, reason)),
            (None, Initiate { .. } | Assign { .. } | Start { .. } | Complete | Cancel { .. }) => {
                Err(ShoppingListRefusal::NotFound)
            }
            (Some(list), Initiate { order_id }) => initiate(list, *order_id),
            (Some(Self::NeverMade { .. }), Assign { .. } | Start { .. } | Complete | Cancel { .. }) => {
                Err(ShoppingListRefusal::NotFound)
            }
            (Some(list), Assign { bot_id }) => assign(list, *bot_id),
            (Some(list), Start { bot_id }) => start(list, *bot_id),
            (Some(list), Complete) => complete(list),
            (Some(list), Cancel { reason }) => {
                let canceled = canceled(list, reason);
                canceled.ok_or(ShoppingListRefusal::CannotBeCancelled { status: list.status() })
            }
        }
    }

    fn evolve(state: Option<Self>, event: &ShoppingListEvent) -> Result<Self, BrokenHistory> {
        match (state, event) {
            (None, ShoppingListEvent::ShoppingListCreated(e)) => {
                Ok(Self::Pending(Plan { order_id: e.order_id, stops: e.stops.clone() }))
            }
            (None, ShoppingListEvent::ShoppingListCanceled(e)) => {
                Ok(Self::NeverMade { order_id: e.order_id, reason: e.reason.clone() })
            }
            (Some(Self::Pending(plan)), ShoppingListEvent::ShoppingListInitiated(_)) => {
                Ok(Self::Available(plan))
            }
            (Some(Self::Available(plan)), ShoppingListEvent::ShoppingListAssigned(e)) => {
                Ok(Self::Assigned { plan, bot_id: e.bot_id })
            }
            (Some(Self::Assigned { plan, bot_id }), ShoppingListEvent::ShoppingListStarted(_)) => {
                Ok(Self::Active { plan, bot_id })
            }
            (
                Some(Self::Assigned { plan, bot_id } | Self::Active { plan, bot_id }),
                ShoppingListEvent::ShoppingListCompleted(_),
            ) => Ok(Self::Completed { plan, bot_id }),
            (
                Some(Self::Pending(plan) | Self::Available(plan)),
                ShoppingListEvent::ShoppingListCanceled(e),
            ) => Ok(Self::Canceled { plan, bot_id: None, reason: e.reason.clone() }),
            (
                Some(Self::Assigned { plan, bot_id } | Self::Active { plan, bot_id }),
                ShoppingListEvent::ShoppingListCanceled(e),
            ) => Ok(Self::Canceled { plan, bot_id: Some(bot_id), reason: e.reason.clone() }),
            (state, event) => Err(BrokenHistory {
                event: event.event_type(),
                state: state.as_ref().map_or("none", ShoppingList::status),
            }),
        }
    }
}

fn create(
    state: Option<&ShoppingList>,
    order_id: OrderId,
    stops: &[Stop],
    not_sold: Option<ProductId>,
) -> Result<Vec<ShoppingListEvent>, ShoppingListRefusal> {
    match state {
        Some(list) if list.order_id() != order_id => Err(ShoppingListRefusal::IsOfAnotherOrder),
        Some(ShoppingList::Canceled { .. } | ShoppingList::NeverMade { .. }) => {
            Err(ShoppingListRefusal::WasCancelled)
        }
        Some(
            ShoppingList::Pending(plan)
            | ShoppingList::Available(plan)
            | ShoppingList::Assigned { plan, .. }
            | ShoppingList::Active { plan, .. }
            | ShoppingList::Completed { plan, .. },
        ) => {
            if essence(&plan.stops) == essence(stops) {
                Ok(vec![])
            } else {
                Err(ShoppingListRefusal::AlreadyCreated)
            }
        }
        None if stops.is_empty() || stops.iter().any(|stop| stop.items.is_empty()) => {
            Err(ShoppingListRefusal::IsEmpty)
        }
        None if stops.iter().flat_map(|stop| &stop.items).any(|item| item.quantity == 0) => {
            Err(ShoppingListRefusal::QuantityMustBePositive)
        }
        None => {
            if let Some(product_id) = not_sold {
                return Err(ShoppingListRefusal::ProductNotFound { product_id });
            }
            let created = ShoppingListCreated { order_id, stops: stops.to_vec() };
            Ok(vec![ShoppingListEvent::ShoppingListCreated(created)])
        }
    }
}

fn initiate(
    list: &ShoppingList,
    asks: Option<OrderId>,
) -> Result<Vec<ShoppingListEvent>, ShoppingListRefusal> {
    if asks.is_some_and(|order_id| order_id != list.order_id()) {
        return Err(ShoppingListRefusal::IsOfAnotherOrder);
    }
    match list {
        ShoppingList::Pending(plan) => {
            let initiated = ShoppingListInitiated { order_id: plan.order_id };
            Ok(vec![ShoppingListEvent::ShoppingListInitiated(initiated)])
        }
        // The saga's step again, perhaps long after: what it wants has happened.
        ShoppingList::Available(_)
        | ShoppingList::Assigned { .. }
        | ShoppingList::Active { .. }
        | ShoppingList::Completed { .. }
            if asks.is_some() =>
        {
            Ok(vec![])
        }
        ShoppingList::NeverMade { .. } if asks.is_none() => Err(ShoppingListRefusal::NotFound),
        ShoppingList::Available(_)
        | ShoppingList::Assigned { .. }
        | ShoppingList::Active { .. }
        | ShoppingList::Completed { .. }
        | ShoppingList::Canceled { .. }
        | ShoppingList::NeverMade { .. } => {
            Err(ShoppingListRefusal::CannotBeInitiated { status: list.status() })
        }
    }
}

fn assign(list: &ShoppingList, bot_id: BotId) -> Result<Vec<ShoppingListEvent>, ShoppingListRefusal> {
    match list {
        ShoppingList::Available(plan) => {
            let assigned = ShoppingListAssigned { order_id: plan.order_id, bot_id };
            Ok(vec![ShoppingListEvent::ShoppingListAssigned(assigned)])
        }
        ShoppingList::Assigned { bot_id: has_it, .. } | ShoppingList::Active { bot_id: has_it, .. }
            if *has_it == bot_id =>
        {
            Ok(vec![])
        }
        ShoppingList::Pending(_)
        | ShoppingList::Assigned { .. }
        | ShoppingList::Active { .. }
        | ShoppingList::Completed { .. }
        | ShoppingList::Canceled { .. }
        | ShoppingList::NeverMade { .. } => {
            Err(ShoppingListRefusal::CannotBeAssigned { status: list.status() })
        }
    }
}

fn start(list: &ShoppingList, says: Option<BotId>) -> Result<Vec<ShoppingListEvent>, ShoppingListRefusal> {
    match list {
        ShoppingList::Assigned { plan, bot_id } if says.is_none_or(|says| says == *bot_id) => {
            let started = ShoppingListStarted { order_id: plan.order_id, bot_id: *bot_id };
            Ok(vec![ShoppingListEvent::ShoppingListStarted(started)])
        }
        ShoppingList::Pending(_)
        | ShoppingList::Available(_)
        | ShoppingList::Assigned { .. }
        | ShoppingList::Active { .. }
        | ShoppingList::Completed { .. }
        | ShoppingList::Canceled { .. }
        | ShoppingList::NeverMade { .. } => {
            Err(ShoppingListRefusal::CannotBeStarted { status: list.status() })
        }
    }
}

fn complete(list: &ShoppingList) -> Result<Vec<ShoppingListEvent>, ShoppingListRefusal> {
    match list {
        // From assigned as well: the original's clients never say that they start.
        ShoppingList::Assigned { plan, bot_id } | ShoppingList::Active { plan, bot_id } => {
            let completed = ShoppingListCompleted { order_id: plan.order_id, bot_id: *bot_id };
            Ok(vec![ShoppingListEvent::ShoppingListCompleted(completed)])
        }
        ShoppingList::Pending(_)
        | ShoppingList::Available(_)
        | ShoppingList::Completed { .. }
        | ShoppingList::Canceled { .. }
        | ShoppingList::NeverMade { .. } => {
            Err(ShoppingListRefusal::CannotBeCompleted { status: list.status() })
        }
    }
}

/// What cancelling a list means; nothing when it is over.
fn canceled(list: &ShoppingList, reason: &str) -> Option<Vec<ShoppingListEvent>> {
    match list {
        ShoppingList::Pending(_)
        | ShoppingList::Available(_)
        | ShoppingList::Assigned { .. }
        | ShoppingList::Active { .. } => {
            let (order_id, bot_id, reason) = (list.order_id(), list.bot_id(), reason.to_owned());
            let canceled = ShoppingListCanceled { order_id, bot_id, reason };
            Some(vec![ShoppingListEvent::ShoppingListCanceled(canceled)])
        }
        ShoppingList::Completed { .. } | ShoppingList::Canceled { .. } | ShoppingList::NeverMade { .. } => {
            None
        }
    }
}

fn withdraw(state: Option<&ShoppingList>, order_id: OrderId, reason: &str) -> Vec<ShoppingListEvent> {
    match state {
        None => {
            let never_made = ShoppingListCanceled { order_id, bot_id: None, reason: reason.to_owned() };
            vec![ShoppingListEvent::ShoppingListCanceled(never_made)]
        }
        // Another order's list is not this order's to cancel.
        Some(list) if list.order_id() != order_id => vec![],
        // What is over stays as it is. Of a completed list, the goods are in the depot, and inventory counts them as
        // available again.
        Some(list) => canceled(list, reason).unwrap_or_default(),
    }
}
