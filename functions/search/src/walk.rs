//! How orders that fit are found: newest first, in steps that are bounded.
//!
//! Customer and time choose what is read of an index: the customer's orders, or those of one month after the other. All other
//! filters are held against what was read. A page ends when it is full, or when [`EXAMINED`] orders were read or [`READS`]
//! queries made for it; what was read last is in its cursor. So a page may be short, even empty, and there is more as long as
//! it has a `next`: nothing is left out and nothing comes twice. An order that is placed meanwhile is newer than every page.
//!
//! The indexes hold keys, and orders are read from the table: half a read unit for each order of up to 4 KB,
//! and four or five for the shards of a month. So a page of twenty costs 14 read units, and one that examines
//! 500 orders 270. As copies in the index they would cost 3 and 55, and each order six write units more,
//! which are worth 30 read units.

use std::time::Duration;

use contracts::ids::{CustomerId, ProductId, StoreId};
use kernel::{Money, Timestamp, Uuid, id::derive};
use projection::{Index, List, ListError, Listing, Position, Projector, Range, sortable};
use serde::{Deserialize, Serialize};

use crate::views::{BY_CUSTOMER, BY_MONTH, SearchedOrder, SearchedOrders, Status, month};

/// Most orders that are read for one page.
pub const EXAMINED: usize = 500;

/// Most queries that are made for one page: there may be months without orders.
const READS: usize = 24;

/// Most orders that one query reads, when not all of them may fit.
const CHUNK: usize = 100;

/// No order is older than the mall.
const FIRST_MONTH: &str = "2026-01";

/// Which orders fit: those that pass every filter that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Only this customer's.
    pub customer_id: Option<CustomerId>,
    /// Only those placed later.
    pub after: Option<Timestamp>,
    /// Only those placed earlier.
    pub before: Option<Timestamp>,
    /// Only those with something of one of these stores; any, if empty.
    pub store_ids: Vec<StoreId>,
    /// Only those with one of these products; any, if empty.
    pub product_ids: Vec<ProductId>,
    /// Only those that cost more.
    pub min_total: Option<Money>,
    /// Only those that cost less.
    pub max_total: Option<Money>,
    /// Only those that stand so.
    pub status: Option<Status>,
}

/// A page of orders.
#[derive(Debug, PartialEq)]
pub struct Walked {
    /// The orders.
    pub orders: Vec<SearchedOrder>,
    /// Where to go on; none when nothing is left.
    pub next: Option<Step>,
}

/// Where a page ended, and of which search it is: a cursor of one search must not open another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    search: Uuid,
    /// The month, where it goes by months.
    month: Option<String>,
    /// The last order that was read of it.
    after: Option<Position>,
}

/// The cursor was not made by this search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("next is not one of this search's")]
pub struct ForeignStep;

impl Filters {
    /// Whether an order passes what the indexes do not look at.
    fn fits(&self, order: &SearchedOrder) -> bool {
        let sold_by = |store: &StoreId| order.items.iter().any(|item| item.store_id == *store);
        let holds = |product: &ProductId| order.items.iter().any(|item| item.product_id == *product);
        (self.store_ids.is_empty() || self.store_ids.iter().any(sold_by))
            && (self.product_ids.is_empty() || self.product_ids.iter().any(holds))
            && self.min_total.is_none_or(|least| order.total.minor() > least.minor())
            && self.max_total.is_none_or(|most| order.total.minor() < most.minor())
            && self.status.is_none_or(|status| order.status == status)
    }

    /// Whether every order that is read fits.
    fn reads_what_fits(&self) -> bool {
        let Self {
            customer_id: _,
            after: _,
            before: _,
            store_ids,
            product_ids,
            min_total,
            max_total,
            status,
        } = self;
        store_ids.is_empty()
            && product_ids.is_empty()
            && min_total.is_none()
            && max_total.is_none()
            && status.is_none()
    }

    /// The same for the same filters.
    fn name(&self) -> Uuid {
        derive(&["order search", &format!("{self:?}")])
    }

    /// The times that fit, to the nanosecond: the bounds themselves do not.
    fn range(&self) -> Range {
        let nanosecond = Duration::from_nanos(1);
        let next = |at: Timestamp| at.checked_add(nanosecond).unwrap_or(Timestamp::MAX);
        let previous = |at: Timestamp| at.checked_sub(nanosecond).unwrap_or(Timestamp::MIN);
        Range {
            from: self.after.map(|at| sortable(next(at))),
            to: self.before.map(|at| sortable(previous(at))),
        }
    }

    fn index(&self) -> &'static Index {
        if self.customer_id.is_some() { &BY_CUSTOMER } else { &BY_MONTH }
    }

    /// The first step of a search at this time.
    fn first_step(&self, now: Timestamp) -> Step {
        // An order's time is that of the function which placed it, whose clock may be ahead.
        let latest = now.checked_add(Duration::from_secs(86_400)).unwrap_or(now);
        let from = self.before.map_or(latest, |before| before.min(latest));
        let month = self.customer_id.is_none().then(|| month(from));
        Step { search: self.name(), month, after: None }
    }

    /// Holds a step that came from outside to these filters.
    fn check(&self, step: &Step) -> Result<(), ForeignStep> {
        let ours = step.search == self.name()
            && step.month.is_some() == self.customer_id.is_none()
            && step.month.as_ref().is_none_or(|month| previous_month(month).is_some())
            && step.after.as_ref().is_none_or(|after| {
                after.is_of_a_time()
                    && self.range().contains(&after.sort)
                    && step.month.as_ref().is_none_or(|month| after.sort.starts_with(month.as_str()))
            });
        if ours { Ok(()) } else { Err(ForeignStep) }
    }

    /// The step into the partition after this one; none when there is none.
    fn next_partition(&self, step: &Step) -> Option<Step> {
        let previous = previous_month(step.month.as_deref()?)?;
        let oldest = self.after.map(month).filter(|oldest| oldest.as_str() > FIRST_MONTH);
        let oldest = oldest.as_deref().unwrap_or(FIRST_MONTH);
        (previous.as_str() >= oldest).then(|| Step { month: Some(previous), after: None, ..step.clone() })
    }
}

/// `2026-01` comes before `2026-02`; none when it is no month.
fn previous_month(text: &str) -> Option<String> {
    let (year, month) = text.split_once('-').filter(|(year, month)| year.len() == 4 && month.len() == 2)?;
    let (year, month): (u16, u16) = (year.parse().ok()?, month.parse().ok()?);
    match month {
        1 => Some(format!("{:04}-12", year.checked_sub(1)?)),
        2..=12 => Some(format!("{year:04}-{:02}", month - 1)),
        _ => None,
    }
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The request is wrong.
    #[error(transparent)]
    Foreign(#[from] ForeignStep),
    /// The view failed.
    #[error(transparent)]
    List(#[from] ListError),
}

/// A page of at most `limit` orders that fit, from `step` on.
///
/// # Errors
/// See [`WalkError`].
pub async fn walk(
    orders: &Projector<SearchedOrders>,
    filters: &Filters,
    step: Option<Step>,
    limit: usize,
    now: Timestamp,
) -> Result<Walked, WalkError> {
    if let Some(step) = &step {
        filters.check(step)?;
    }
    let mut step = step.unwrap_or_else(|| filters.first_step(now));
    let (mut found, mut examined) = (Vec::new(), 0);
    for _ in 0..READS {
        let room = limit - found.len();
        let chunk = if filters.reads_what_fits() { room } else { CHUNK.min(EXAMINED - examined) };
        let customer = filters.customer_id.map(|id| id.to_string());
        let partition = customer.as_deref().or(step.month.as_deref()).unwrap_or_default();
        let list = List {
            index: filters.index(),
            partition,
            shard: None,
            range: filters.range(),
            descending: true,
            after: step.after.clone(),
            limit: chunk,
        };
        let Listing { rows, next } = orders.list_rows(&list).await?;
        examined += rows.len();
        let count = rows.len();
        for (place, order) in rows.into_iter().enumerate() {
            let here = Position { id: order.id.to_string(), sort: order.placed_at.clone() };
            if filters.fits(&order) {
                found.push(order);
            }
            if found.len() == limit {
                let left = place + 1 < count || next.is_some();
                let next = if left {
                    Some(Step { after: Some(here), ..step })
                } else {
                    filters.next_partition(&step)
                };
                return Ok(Walked { orders: found, next });
            }
        }
        let further = match next {
            Some(after) => Some(Step { after: Some(after), ..step.clone() }),
            None => filters.next_partition(&step),
        };
        match further {
            None => return Ok(Walked { orders: found, next: None }),
            Some(further) => step = further,
        }
        if examined >= EXAMINED {
            break;
        }
    }
    Ok(Walked { orders: found, next: Some(step) })
}
