//! The work queue, all shopping lists and all bots: projections and queries. Single lists and bots are read from their
//! own streams (see [`crate::api`]); only lists of them come from here.

use std::sync::Arc;

use contracts::{
    Envelope,
    depot::{BotEvent, ShoppingListEvent, Stop},
    ids::{BotId, OrderId, ShoppingListId},
};
use kernel::Version;
use lambda::{Answer, Call, Fault, settled};
use projection::{ApplyError, Index, Projection, Projector, row_id, sortable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{bot::Bot, shopping_list::ShoppingList};

/// The view of all shopping lists: one row for each.
pub struct ShoppingLists;

/// The only partition of [`ALL_LISTS`] and [`ALL_BOTS`].
const DEPOT: &str = "depot";

/// The status of lists that wait for a bot.
const AVAILABLE: &str = "available";

/// All lists, in the order in which they were made, which never changes: pages neither skip nor repeat one.
pub const ALL_LISTS: Index = Index::new("all-lists", "listed", "createdAt").keys_only().sharded();

/// Lists of one status, in the order in which they were made. The available ones are the work queue. Each
/// event of a list changes its status, so that keys alone would be written as often as rows.
pub const LISTS_BY_STATUS: Index = Index::new("lists-by-status", "shown", "createdAt").sharded();

/// A shopping list, without what is on it: that is read from the list's own stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListRow {
    /// The list.
    pub id: ShoppingListId,
    /// The order it is for.
    pub order_id: OrderId,
    /// `pending`, `available`, `assigned`, `active`, `completed` or `canceled`.
    pub status: String,
    /// Stores to walk to.
    pub stops: usize,
    /// Pieces to collect in all.
    pub pieces: u64,
    /// The bot that has it, or had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot_id: Option<BotId>,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was made: RFC 3339 with all nine places, so that text sorts as time does.
    pub created_at: String,
    /// When it last changed.
    pub changed_at: String,
    /// The place in [`ALL_LISTS`]; none when it was never made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<String>,
    /// The place in [`LISTS_BY_STATUS`]; none when it was never made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<String>,
}

impl ShoppingListRow {
    fn turned(self, status: &str, at: String) -> Self {
        let shown = self.listed.as_ref().map(|_| LISTS_BY_STATUS.place(status, self.id));
        Self { status: status.to_owned(), shown, changed_at: at, ..self }
    }
}

impl Projection for ShoppingLists {
    const NAME: &'static str = "shopping-lists";
    /// 2: sharded as in [`projection::SHARDS`].
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "depot.ShoppingList";
    type Row = ShoppingListRow;

    fn apply(row: Option<ShoppingListRow>, event: &Envelope) -> Result<ShoppingListRow, ApplyError> {
        let at = sortable(event.at);
        let made = |row: Option<ShoppingListRow>| row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<ShoppingListEvent>()? {
            ShoppingListEvent::ShoppingListCreated(created) => Ok(ShoppingListRow {
                id: row_id(event)?,
                order_id: created.order_id,
                status: "pending".to_owned(),
                stops: created.stops.len(),
                pieces: pieces(&created.stops),
                bot_id: None,
                reason: None,
                created_at: at.clone(),
                changed_at: at,
                listed: Some(ALL_LISTS.place(DEPOT, row_id::<()>(event)?)),
                shown: Some(LISTS_BY_STATUS.place("pending", row_id::<()>(event)?)),
            }),
            ShoppingListEvent::ShoppingListInitiated(_) => Ok(made(row)?.turned(AVAILABLE, at)),
            ShoppingListEvent::ShoppingListAssigned(assigned) => {
                let row = made(row)?.turned("assigned", at);
                Ok(ShoppingListRow { bot_id: Some(assigned.bot_id), ..row })
            }
            ShoppingListEvent::ShoppingListStarted(_) => Ok(made(row)?.turned("active", at)),
            ShoppingListEvent::ShoppingListCompleted(_) => Ok(made(row)?.turned("completed", at)),
            ShoppingListEvent::ShoppingListCanceled(canceled) => {
                let reason = Some(canceled.reason);
                match row {
                    Some(row) => Ok(ShoppingListRow { reason, ..row.turned("canceled", at) }),
                    // It was never made: the row only keeps the version.
                    None => Ok(ShoppingListRow {
                        id: row_id(event)?,
                        order_id: canceled.order_id,
                        status: "canceled".to_owned(),
                        stops: 0,
                        pieces: 0,
                        bot_id: None,
                        reason,
                        created_at: at.clone(),
                        changed_at: at,
                        listed: None,
                        shown: None,
                    }),
                }
            }
        }
    }
}

fn pieces(stops: &[Stop]) -> u64 {
    stops.iter().flat_map(|stop| &stop.items).map(|item| u64::from(item.quantity)).sum()
}

/// The view of all bots: one row for each.
pub struct Bots;

/// All bots, in the order in which they were registered. A bot is written here once, and by no order.
pub const ALL_BOTS: Index = Index::new("all-bots", "listed", "registeredAt").keys_only();

/// Bots of one status, in the order in which they were registered.
pub const BOTS_BY_STATUS: Index = Index::new("bots-by-status", "shown", "registeredAt").sharded();

/// A bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BotRow {
    /// The bot.
    pub id: BotId,
    /// What it is called.
    pub name: String,
    /// `idle` or `active`.
    pub status: String,
    /// The list it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopping_list_id: Option<ShoppingListId>,
    /// When it was registered: RFC 3339 with all nine places, so that text sorts as time does.
    pub registered_at: String,
    /// The place in [`ALL_BOTS`].
    listed: String,
    /// The place in [`BOTS_BY_STATUS`].
    shown: String,
}

impl BotRow {
    fn turned(self, status: &str, shopping_list_id: Option<ShoppingListId>) -> Self {
        let shown = BOTS_BY_STATUS.place(status, self.id);
        Self { status: status.to_owned(), shown, shopping_list_id, ..self }
    }
}

impl Projection for Bots {
    const NAME: &'static str = "bots";
    /// 2: sharded as in [`projection::SHARDS`].
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "depot.Bot";
    type Row = BotRow;

    fn apply(row: Option<BotRow>, event: &Envelope) -> Result<BotRow, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<BotEvent>()? {
            BotEvent::BotRegistered(registered) => Ok(BotRow {
                id: row_id(event)?,
                name: registered.name,
                status: "idle".to_owned(),
                shopping_list_id: None,
                registered_at: sortable(event.at),
                listed: ALL_BOTS.place(DEPOT, row_id::<()>(event)?),
                shown: BOTS_BY_STATUS.place("idle", row_id::<()>(event)?),
            }),
            BotEvent::BotActivated(activated) => {
                Ok(row()?.turned("active", Some(activated.shopping_list_id)))
            }
            BotEvent::BotIdled(_) => Ok(row()?.turned("idle", None)),
        }
    }
}

/// The view of shopping lists with its queries.
pub struct ShoppingListViews {
    projector: Projector<ShoppingLists>,
}

impl ShoppingListViews {
    /// The view that `projector` keeps.
    pub fn new(projector: Projector<ShoppingLists>) -> Self {
        Self { projector }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_shopping_lists(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.projector.deliver_batch(&events).await)
    }

    /// `GET /api/depot/shopping/available?limit=&cursor=`: the work queue, the list that has waited longest since it was made
    /// first. It lags behind the lists by the time events take to travel: one that became available a moment ago may be
    /// missing, and one that was assigned a moment ago may still be there (assigning it is refused).
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_available_shopping_lists(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        self.list(&LISTS_BY_STATUS, AVAILABLE, &call).await
    }

    /// `GET /api/depot/shopping?status=&limit=&cursor=`: the lists of one status, or all, oldest first.
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_shopping_lists(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let statuses = ["pending", AVAILABLE, "assigned", "active", "completed", "canceled"];
        match status(&call, &statuses)? {
            Some(status) => self.list(&LISTS_BY_STATUS, status, &call).await,
            None => self.list(&ALL_LISTS, DEPOT, &call).await,
        }
    }

    async fn list(&self, index: &Index, partition: &str, call: &Call) -> Result<Answer, Fault> {
        let page = self.projector.list(index, &call.list_request(partition, false)?).await?;
        let shopping_lists = page.rows.into_iter().map(ListedShoppingList::of).collect();
        Answer::view(&ShoppingListPage { shopping_lists, next: page.next }, None)
    }
}

/// The view of bots with its query.
pub struct BotViews {
    projector: Projector<Bots>,
}

impl BotViews {
    /// The view that `projector` keeps.
    pub fn new(projector: Projector<Bots>) -> Self {
        Self { projector }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_bots(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.projector.deliver_batch(&events).await)
    }

    /// `GET /api/depot/bots?status=&limit=&cursor=`: the bots of one status, or all, in the order in which they were
    /// registered. It lags behind the bots by the time events take to travel.
    ///
    /// # Errors
    /// 400 when a parameter is wrong.
    pub async fn list_bots(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (index, partition) = match status(&call, &["idle", "active"])? {
            Some(status) => (&BOTS_BY_STATUS, status),
            None => (&ALL_BOTS, DEPOT),
        };
        let page = self.projector.list(index, &call.list_request(partition, false)?).await?;
        let bots = page.rows.into_iter().map(BotView::of_row).collect();
        Answer::view(&BotPage { bots, next: page.next }, None)
    }
}

fn status<'a>(call: &'a Call, statuses: &[&str]) -> Result<Option<&'a str>, Fault> {
    let Some(status) = call.query.get("status") else { return Ok(None) };
    if statuses.contains(&status.as_str()) {
        return Ok(Some(status));
    }
    let message = format!("status must be one of {}, not {status:?}", statuses.join(", "));
    Err(Fault::invalid("QUERY_IS_INVALID", message))
}

/// A shopping list with what is on it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListView {
    id: ShoppingListId,
    /// The order it is for.
    order_id: OrderId,
    /// `pending`, `available`, `assigned`, `active`, `completed` or `canceled`.
    status: &'static str,
    /// One for each store.
    stops: Vec<Stop>,
    /// The bot that has it, or had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_id: Option<BotId>,
    /// Why it was cancelled: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    version: Version,
}

impl ShoppingListView {
    /// Shows a list; one that was never made is not to be seen.
    pub fn of(id: ShoppingListId, list: &ShoppingList, version: Version) -> Option<Self> {
        let plan = list.plan()?;
        Some(Self {
            id,
            order_id: plan.order_id,
            status: list.status(),
            stops: plan.stops.clone(),
            bot_id: list.bot_id(),
            reason: list.reason().map(str::to_owned),
            version,
        })
    }
}

/// A shopping list, without what is on it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedShoppingList {
    id: ShoppingListId,
    /// The order it is for.
    order_id: OrderId,
    /// `pending`, `available`, `assigned`, `active`, `completed` or `canceled`.
    status: String,
    /// Stores to walk to.
    stops: usize,
    /// Pieces to collect in all.
    pieces: u64,
    /// The bot that has it, or had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bot_id: Option<BotId>,
    /// Why it was cancelled: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: String,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    changed_at: String,
}

impl ListedShoppingList {
    fn of(row: ShoppingListRow) -> Self {
        let ShoppingListRow { id, order_id, status, stops, pieces, bot_id, reason, .. } = row;
        let (created_at, changed_at) = (row.created_at, row.changed_at);
        Self { id, order_id, status, stops, pieces, bot_id, reason, created_at, changed_at }
    }
}

/// A bot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BotView {
    id: BotId,
    /// What it is called.
    name: String,
    /// `idle` or `active`.
    status: String,
    /// The list it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    shopping_list_id: Option<ShoppingListId>,
    /// Only when one bot is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl BotView {
    /// Shows a bot.
    pub fn of(id: BotId, bot: &Bot, version: Version) -> Self {
        let (name, status) = (bot.name().to_owned(), bot.status().to_owned());
        Self { id, name, status, shopping_list_id: bot.shopping_list_id(), version: Some(version) }
    }

    fn of_row(row: BotRow) -> Self {
        let BotRow { id, name, status, shopping_list_id, .. } = row;
        Self { id, name, status, shopping_list_id, version: None }
    }
}

/// One shopping list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OneShoppingList {
    /// The list.
    pub shopping_list: ShoppingListView,
}

/// A page of shopping lists.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShoppingListPage {
    /// The lists.
    pub shopping_lists: Vec<ListedShoppingList>,
    /// The cursor of the next page; null on the last one.
    pub next: Option<String>,
}

/// One bot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OneBot {
    /// The bot.
    pub bot: BotView,
}

/// A page of bots.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BotPage {
    /// The bots.
    pub bots: Vec<BotView>,
    /// The cursor of the next page; null on the last one.
    pub next: Option<String>,
}
