//! Lists from indexes that are sharded, or that hold keys only.
//!
//! # Order
//!
//! The shards of a partition are merged by sort value. Rows with equal sort values come in the order of their
//! shards, and within a shard in the order of the store, which DynamoDB does not document. So the last row of
//! a page says all about where the next page begins, because its id tells its shard:
//!
//! | shard, in the list's direction | goes on |
//! | --- | --- |
//! | of the last row | after that row |
//! | before it | after all rows with that sort value |
//! | behind it | with the first row of that sort value |
//!
//! # Guarantees
//!
//! * A row whose keys do not change is on exactly one page, whatever else comes and goes meanwhile.
//! * A page of a sharded list takes a query of each shard, at once, and rarely another one.
//!
//! # Not guaranteed
//!
//! * A row that comes in behind the place where a page ended is not listed, as in every list.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, try_join_all},
};
use kernel::ports::{Backoff, Ports};

use crate::{
    page::Position,
    projection::Projection,
    store::{BATCH, Batch, Consistency, Entry, List, Listed, Stored, ViewError, ViewStore},
};

/// Pauses before rows are asked for again that DynamoDB left unread because the table was busy.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(20), cap: Duration::from_millis(400), retries: 4 };

/// Lists a page of a partition, over all of its shards unless one is asked for.
///
/// # Errors
/// [`ViewError`], when one of the shards cannot be read.
pub(crate) async fn merged<P: Projection>(
    views: &dyn ViewStore<P>,
    list: &List<'_>,
) -> Result<Listed<P::Row>, ViewError> {
    if list.index.shards == 1 || list.shard.is_some() {
        return views.list(list).await;
    }
    let mut shards: Vec<Shard<'_, P>> =
        (0..list.index.shards).map(|number| Shard::beginning(list, number)).collect();
    let mut rows: Vec<Entry<P::Row>> = Vec::new();
    // One row more than asked for tells whether there is a next page.
    while rows.len() <= list.limit {
        let wanted = share(list.limit + 1 - rows.len(), list.index.shards);
        let drained = shards.iter_mut().filter(|shard| shard.is_drained());
        let reads: Vec<BoxFuture<'_, _>> = drained.map(|shard| shard.read(views, wanted).boxed()).collect();
        try_join_all(reads).await?;
        let heads = shards.iter_mut().filter(|shard| !shard.found.is_empty());
        let first = if list.descending {
            heads.max_by(|a, b| a.head().cmp(&b.head()))
        } else {
            heads.min_by(|a, b| a.head().cmp(&b.head()))
        };
        match first.and_then(|shard| shard.found.pop_front()) {
            Some(entry) => rows.push(entry),
            None => break,
        }
    }
    let more = rows.len() > list.limit;
    rows.truncate(list.limit);
    let next = rows.last().filter(|_| more).map(|entry| entry.at.clone());
    Ok(Listed { rows, next })
}

/// Chooses how many rows to read of each shard, for `wanted` of all: a fair share and what chance adds to it.
/// A shard that is drained before the page is full is read again.
fn share(wanted: usize, shards: u32) -> usize {
    let fair = wanted.div_ceil(shards as usize);
    wanted.min(fair + 2 * fair.isqrt() + 1)
}

/// A shard that is being merged.
struct Shard<'l, P: Projection> {
    number: u32,
    /// The rows that were not read yet; `None` when there are none.
    rest: Option<List<'l>>,
    /// Rows with this sort value were on an earlier page.
    past: Option<String>,
    found: VecDeque<Entry<P::Row>>,
}

impl<'l, P: Projection> Shard<'l, P> {
    /// A shard from the place on where the page before ended.
    fn beginning(list: &List<'l>, number: u32) -> Self {
        let mut rest = List { shard: Some(number), after: None, ..list.clone() };
        let mut past = None;
        if let Some(Position { id, sort }) = &list.after {
            let last = list.index.shard_of(id);
            if number == last {
                rest.after.clone_from(&list.after);
            } else {
                let bound = if list.descending { &mut rest.range.to } else { &mut rest.range.from };
                *bound = Some(sort.clone());
                past = ((number < last) != list.descending).then(|| sort.clone());
            }
        }
        Self { number, rest: Some(rest), past, found: VecDeque::new() }
    }

    fn is_drained(&self) -> bool {
        self.found.is_empty() && self.rest.is_some()
    }

    /// Place of the next row in the merged list.
    fn head(&self) -> (Option<&str>, u32) {
        (self.found.front().map(|entry| entry.at.sort.as_str()), self.number)
    }

    /// Reads on until there is a row, or none is left.
    async fn read(&mut self, views: &dyn ViewStore<P>, limit: usize) -> Result<(), ViewError> {
        while self.found.is_empty()
            && let Some(rest) = self.rest.take()
        {
            let Listed { rows, next } = views.list(&List { limit, ..rest.clone() }).await?;
            let news = rows.into_iter().filter(|entry| self.past.as_ref() != Some(&entry.at.sort));
            self.found.extend(news);
            self.rest = next.map(|after| List { after: Some(after), ..rest });
        }
        Ok(())
    }
}

/// Reads the rows that the index does not hold. Rows that are gone are left out.
///
/// # Errors
/// [`ViewError`]; `Unavailable` when the table is too busy in every attempt.
pub(crate) async fn read<P: Projection>(
    views: &dyn ViewStore<P>,
    entries: Vec<Entry<P::Row>>,
    ports: &Ports,
) -> Result<Vec<(String, Stored<P::Row>)>, ViewError> {
    let held = |entry: &&Entry<P::Row>| entry.stored.is_none();
    let ids: BTreeSet<&String> = entries.iter().filter(held).map(|entry| &entry.at.id).collect();
    let ids: Vec<String> = ids.into_iter().cloned().collect();
    let mut rows = rows_of(views, &ids, Consistency::Eventual, ports).await?;
    let rows = entries.into_iter().filter_map(|Entry { at, stored }| {
        let stored = stored.or_else(|| rows.remove(&at.id))?;
        Some((at.id, stored))
    });
    Ok(rows.collect())
}

/// Reads the rows of these ids, which are different, in batches.
///
/// # Errors
/// [`ViewError`]; `Unavailable` when the table is too busy in every attempt.
pub(crate) async fn rows_of<P: Projection>(
    views: &dyn ViewStore<P>,
    ids: &[String],
    consistency: Consistency,
    ports: &Ports,
) -> Result<BTreeMap<String, Stored<P::Row>>, ViewError> {
    let mut rows = BTreeMap::new();
    for ids in ids.chunks(BATCH) {
        rows.append(&mut batch(views, ids.to_vec(), consistency, ports).await?);
    }
    Ok(rows)
}

async fn batch<P: Projection>(
    views: &dyn ViewStore<P>,
    mut ids: Vec<String>,
    consistency: Consistency,
    ports: &Ports,
) -> Result<BTreeMap<String, Stored<P::Row>>, ViewError> {
    let mut found = BTreeMap::new();
    for attempt in 0..=BACKOFF.retries {
        let Batch { mut rows, unread } = views.rows(ids, consistency).await?;
        found.append(&mut rows);
        if unread.is_empty() {
            return Ok(found);
        }
        ids = unread;
        if attempt < BACKOFF.retries {
            ports.timer.sleep(BACKOFF.pause(attempt, &*ports.random)).await;
        }
    }
    let why = format!("{} rows were left unread in {} attempts", ids.len(), BACKOFF.retries + 1);
    Err(ViewError::Unavailable { view: P::NAME, operation: "BatchGetItem", why })
}
