//! The view of order sagas, as a rebuild sees it: rows that many streams feed, and Step Functions.
//!
//! A row is joined of facts, each of which one event tells ([`crate::saga_rows`]). So streams are filled in whatever order the event
//! table has them, while the bus feeds the same rows, and the same rows come of it. What an execution said stands in no event. It is
//! **carried over**: when an order's own stream is filled, what the live row was told goes along.
//!
//! **Guaranteed**: what Step Functions told of an order, before a rebuild, while it is on or after it, is in the rows of the next
//! generation. What came before everybody fed both generations is in the live row when that is read, consistently, because filling
//! begins later; what came later went to both. A status, and since when there is the order, always follow from the parts of the
//! row, whatever came first.
//!
//! A live row that makes no sense is warned of and made anew without what it was told; a comparison stops at it and names it.
//!
//! # What is compared
//!
//! * Each stream with the rows of all orders that its events name: a row has every fact, or a later one of the same kind. An
//!   order's own streams (the order, its shopping list, its invoice) also the other way round: the row has no such fact that they do not tell.
//! * At the order's stream, whether the row is listed where its parts lead to.
//! * Each row: there are the own streams that its facts are from.
//!
//! So a row that lacks facts of several streams is several differences. What Step Functions told is not compared, and is never taken
//! away by a repair: lists of sagas compare it themselves ([`crate::saga_view`]).
//!
//! # Not guaranteed
//!
//! * That an authorization, a reservation or a payment that no event tells is found in a row: which streams those would be in does
//!   not follow from the order. A rebuild makes the row without it.
//! * That what was told of an execution that is about no order, which somebody started by hand, is carried over: where no event
//!   names the order, nothing fills its row. If it failed, lists find that out again.
//! * That the stream of a product or a customer of hundreds of thousands of orders is compared within a worker's minute: a stream is
//!   compared as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use contracts::{Envelope, ids::OrderId};
use event_store::{EventStore, Segment};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, TryStreamExt},
};
use kernel::{StreamId, Timestamp, Version, ports::Ports};
use projection::{
    Consistency, Generation, Put, RebuildError, Rebuildable, Stray, Strays, ViewError, remove_in_time,
};

use crate::saga_rows::{
    AllSagaRows, CATEGORIES, Change, Done, Fact, MAX_ROWS, MAX_WRITES, Parts, SagaRow, VIEW, contended, join,
};

/// Version of what rows hold. A rebuild that was begun by code of another one begins anew.
const SCHEMA: u16 = 1;
/// Rows that are written at a time, where nobody waits for an answer.
const ROWS_AT_A_TIME: usize = 32;
/// Rows that are removed before it is asked again whether to go on.
const CLEARED_AT_A_TIME: u32 = 200;
/// Removals under way at a time.
const REMOVALS: usize = 16;
/// Rows on a page of a search for strays.
const STRAYS_AT_A_TIME: u32 = 200;
/// Reads of rows, and of streams, under way at a time.
const LOOKS_AT_A_TIME: usize = 8;
/// Rows of one stream that are told in words.
const EXAMPLES: usize = 3;

/// The view in two tables, built from the events of all contexts that sagas cross.
pub struct SagasRebuild {
    odd: Arc<dyn AllSagaRows>,
    even: Arc<dyn AllSagaRows>,
    events: EventStore,
    ports: Ports,
}

/// What one stream tells of one order.
#[derive(Debug, Default)]
struct Told {
    /// Every time that it tells of each fact: customers are reminded more than once.
    done: BTreeMap<Fact, BTreeSet<Done>>,
    /// The latest of those that are not on their way any more.
    overdue: Parts,
}

impl Told {
    fn parts(&self) -> Parts {
        let latest = self.done.iter().filter_map(|(fact, done)| Some((*fact, done.last()?.clone())));
        Parts { done: latest.collect(), ..Parts::default() }
    }

    /// What a row lacks.
    fn lacking(&self, row: &SagaRow) -> Vec<&'static str> {
        let mut lacking = self.overdue.clone();
        lacking.keep_news(&row.parts);
        lacking.done.keys().map(|fact| fact.event()).collect()
    }

    /// Facts of a row that are told by this stream or by none, and are not told.
    fn untold(&self, stream: &StreamId, row: &SagaRow) -> Vec<Fact> {
        let told = |fact: &Fact, done: &Done| self.done.get(fact).is_some_and(|told| told.contains(done));
        let own =
            row.parts.done.iter().filter(|(fact, _)| fact.stream(row.order_id).as_ref() == Some(stream));
        own.filter(|(fact, done)| !told(fact, done)).map(|(fact, _)| *fact).collect()
    }

    /// The row with what this stream tells, and without what it does not.
    fn mended(&self, stream: &StreamId, row: &SagaRow) -> SagaRow {
        let mut parts = row.parts.clone();
        for fact in self.untold(stream, row) {
            parts.done.remove(&fact);
        }
        parts.join(self.parts());
        row.with(parts)
    }
}

fn changed(event: &Envelope) -> Result<Option<Change>, RebuildError> {
    let Envelope { stream, version, .. } = event;
    Change::of(event).map_err(|error| RebuildError::BadEvent(format!("{stream} version {version}: {error}")))
}

impl SagasRebuild {
    /// The view in these tables.
    pub fn new(
        odd: Arc<dyn AllSagaRows>,
        even: Arc<dyn AllSagaRows>,
        events: EventStore,
        ports: Ports,
    ) -> Self {
        Self { odd, even, events, ports }
    }

    fn table(&self, generation: Generation) -> &dyn AllSagaRows {
        if generation.is_odd() { self.odd.as_ref() } else { self.even.as_ref() }
    }

    /// The rows of these orders as they are now, however many.
    async fn read(
        &self,
        rows: &dyn AllSagaRows,
        ids: &[OrderId],
    ) -> Result<BTreeMap<OrderId, SagaRow>, RebuildError> {
        let reads: Vec<BoxFuture<'_, _>> =
            ids.chunks(MAX_ROWS).map(|ids| rows.rows(ids, Consistency::Strong)).collect();
        let read: Vec<Vec<SagaRow>> = stream::iter(reads).buffered(LOOKS_AT_A_TIME).try_collect().await?;
        Ok(read.into_iter().flatten().map(|row| (row.order_id, row)).collect())
    }

    /// The same, but for rows that make no sense: a rebuild is what makes them anew.
    async fn read_sound(
        &self,
        rows: &dyn AllSagaRows,
        ids: &[OrderId],
    ) -> Result<BTreeMap<OrderId, SagaRow>, RebuildError> {
        let mut sound = BTreeMap::new();
        for ids in ids.chunks(MAX_ROWS) {
            match rows.rows(ids, Consistency::Strong).await {
                Ok(read) => sound.extend(read.into_iter().map(|row| (row.order_id, row))),
                Err(ViewError::Malformed { .. }) => {
                    for id in ids {
                        match rows.rows(&[*id], Consistency::Strong).await {
                            Ok(read) => sound.extend(read.into_iter().map(|row| (row.order_id, row))),
                            Err(error @ ViewError::Malformed { .. }) => {
                                tracing::warn!(view = VIEW, order = %id, %error, "what it was told is lost");
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sound)
    }

    /// Adds to changes what the live rows were told by Step Functions. Gives since when those are listed of whose order nobody heard
    /// that it was placed: no event tells it.
    async fn carry_over(
        &self,
        live: Generation,
        changes: &mut [Change],
    ) -> Result<BTreeMap<OrderId, String>, RebuildError> {
        let ids: Vec<OrderId> = changes.iter().map(|change| change.order_id).collect();
        let rows = self.read_sound(self.table(live), &ids).await?;
        let mut since = BTreeMap::new();
        for Change { order_id, parts } in changes {
            let Some(SagaRow { parts: known, started_at, .. }) = rows.get(order_id) else { continue };
            // Once is enough: with the first event of the order's own stream, or, where nobody heard of that, with any.
            let begins = |parts: &Parts| parts.done.contains_key(&Fact::OrderCreated);
            if begins(parts) || !begins(known) {
                let (saga, undo) = (known.saga.clone(), known.undo.clone());
                parts.join(Parts { saga, undo, ..Parts::default() });
            }
            if !begins(parts) && !begins(known) {
                since.insert(*order_id, started_at.clone());
            }
        }
        Ok(since)
    }

    /// Lists a row since then, unless it knows better.
    async fn list_since(
        &self,
        rows: &dyn AllSagaRows,
        order_id: OrderId,
        since: &str,
    ) -> Result<(), RebuildError> {
        for _ in 0..MAX_WRITES {
            let Some(row) = self.read(rows, &[order_id]).await?.remove(&order_id) else { return Ok(()) };
            if row.parts.done.contains_key(&Fact::OrderCreated) || row.started_at == since {
                return Ok(());
            }
            let listed = SagaRow { started_at: since.to_owned(), ..row.clone() };
            if rows.mend(&row, Some(&listed)).await? == Put::Written {
                return Ok(());
            }
        }
        Err(contended(order_id).into())
    }

    /// What a stream tells, order by order.
    async fn told_by(
        &self,
        stream: &StreamId,
        settled: Timestamp,
    ) -> Result<BTreeMap<OrderId, Told>, RebuildError> {
        Ok(self.told_by_those_that_make_sense(stream, settled).await?.0)
    }

    /// The same, with the events that make no sense, in sentences.
    async fn told_by_those_that_make_sense(
        &self,
        stream: &StreamId,
        settled: Timestamp,
    ) -> Result<(BTreeMap<OrderId, Told>, Vec<String>), RebuildError> {
        let (mut orders, mut bad): (BTreeMap<OrderId, Told>, _) = (BTreeMap::new(), Vec::new());
        for event in self.events.events_after(stream, Version::NONE).await? {
            let change = match changed(&event) {
                Err(RebuildError::BadEvent(why)) => {
                    bad.push(why);
                    continue;
                }
                change => change?,
            };
            let Some(Change { order_id, parts }) = change else { continue };
            let told = orders.entry(order_id).or_default();
            for (fact, done) in parts.done.clone() {
                told.done.entry(fact).or_default().insert(done);
            }
            if event.at <= settled {
                told.overdue.join(parts);
            }
        }
        Ok((orders, bad))
    }

    /// What is wrong with the row of an order, as far as one stream knows.
    async fn difference(
        &self,
        stream: &StreamId,
        told: &Told,
        order_id: OrderId,
        row: Option<&SagaRow>,
    ) -> Result<Option<String>, RebuildError> {
        let Some(row) = row else {
            return Ok((!told.overdue.is_empty()).then(|| format!("row {order_id} is missing")));
        };
        let mut wrong = Vec::new();
        let lacking = told.lacking(row);
        if !lacking.is_empty() {
            wrong.push(format!("lacks {}", lacking.join(", ")));
        }
        if !told.untold(stream, row).is_empty() {
            // The row was read after the stream: it may know more.
            let again = self.told_by(stream, Timestamp::UNIX_EPOCH).await?.remove(&order_id);
            let untold = again.unwrap_or_default().untold(stream, row);
            let untold: Vec<&str> = untold.iter().map(|fact| fact.event()).collect();
            if !untold.is_empty() {
                wrong.push(format!("has {} otherwise than it happened", untold.join(", ")));
            }
        }
        if Fact::OrderCreated.stream(order_id).as_ref() == Some(stream) {
            wrong.extend(row.misplaced());
        }
        Ok((!wrong.is_empty()).then(|| format!("row {order_id} {}", wrong.join(" and "))))
    }

    /// Puts the row of an order right, as far as one stream knows.
    async fn put_right(
        &self,
        rows: &dyn AllSagaRows,
        stream: &StreamId,
        told: &Told,
        order_id: OrderId,
    ) -> Result<(), RebuildError> {
        for _ in 0..MAX_WRITES {
            let Some(row) = self.read(rows, &[order_id]).await?.remove(&order_id) else {
                join(rows, Change { order_id, parts: told.parts() }).await?;
                return Ok(());
            };
            // What is taken away must not be what happened since: so the stream is read after the row.
            let again = match told.untold(stream, &row).is_empty() {
                true => None,
                false => self.told_by(stream, Timestamp::UNIX_EPOCH).await?.remove(&order_id),
            };
            let mended = again.as_ref().unwrap_or(told).mended(stream, &row);
            if mended == row || rows.mend(&row, Some(&mended)).await? == Put::Written {
                return Ok(());
            }
        }
        Err(contended(order_id).into())
    }

    /// What is wrong with a row that its streams, which there may not be, cannot tell, and what is left of it without.
    async fn stray(&self, row: &SagaRow) -> Result<Option<(String, Option<SagaRow>)>, RebuildError> {
        let mut lost: BTreeMap<StreamId, Vec<Fact>> = BTreeMap::new();
        for fact in row.parts.done.keys() {
            if let Some(stream) = fact.stream(row.order_id) {
                lost.entry(stream).or_default().push(*fact);
            }
        }
        let of_order = Fact::OrderCreated.stream(row.order_id);
        let known_to_order = of_order.as_ref().is_some_and(|stream| lost.contains_key(stream));
        for stream in lost.keys().cloned().collect::<Vec<_>>() {
            if self.events.event(&stream, Version::FIRST).await?.is_some() {
                lost.remove(&stream);
            }
        }
        let mut parts = row.parts.clone();
        let mut wrong: Vec<String> = Vec::new();
        for (stream, facts) in &lost {
            let facts: Vec<&str> = facts.iter().map(|fact| fact.event()).collect();
            wrong.push(format!("has {}, and there is no {stream}", facts.join(", ")));
        }
        parts.done.retain(|fact, _| !lost.values().flatten().any(|lost| lost == fact));
        // Where there is no order, nothing happened to it. What other streams tell of it all the same is put back by the next repair.
        if of_order.is_some_and(|stream| lost.contains_key(&stream)) {
            parts.done.clear();
        }
        // The others are looked at where their order is.
        if !known_to_order {
            wrong.extend(row.misplaced());
        }
        let left = (!parts.is_empty()).then(|| row.with(parts));
        Ok((!wrong.is_empty()).then(|| (format!("row {} {}", row.order_id, wrong.join(" and ")), left)))
    }
}

#[async_trait]
impl Rebuildable for SagasRebuild {
    fn view(&self) -> &str {
        VIEW
    }

    fn schema(&self) -> u16 {
        SCHEMA
    }

    fn follows(&self, stream: &StreamId) -> bool {
        CATEGORIES.contains(&stream.category())
    }

    async fn fill(&self, generation: Generation, events: &[Envelope]) -> Result<(), RebuildError> {
        let mut changes = Vec::new();
        for event in events {
            changes.extend(changed(event)?);
        }
        let mut changes = Change::together(changes);
        let since = self.carry_over(generation.previous(), &mut changes).await?;
        let rows = self.table(generation);
        let joins: Vec<BoxFuture<'_, _>> =
            changes.into_iter().map(|change| async move { join(rows, change).await }.boxed()).collect();
        let mut joins = stream::iter(joins).buffer_unordered(ROWS_AT_A_TIME);
        while let Some(joined) = joins.next().await {
            joined?;
        }
        for (order_id, since) in since {
            self.list_since(rows, order_id, &since).await?;
        }
        Ok(())
    }

    async fn clear(&self, generation: Generation) -> Result<bool, RebuildError> {
        let rows = self.table(generation);
        let read = self.ports.clock.now();
        let page = rows.ids(Segment::WHOLE, None, CLEARED_AT_A_TIME).await?;
        let removals: Vec<BoxFuture<'_, _>> = page.ids.iter().map(|id| rows.remove(id)).collect();
        remove_in_time(&self.ports, read, removals, REMOVALS).await?;
        Ok(page.ids.is_empty() && page.after.is_none())
    }

    async fn compare(
        &self,
        generation: Generation,
        stream: &StreamId,
        settled: Timestamp,
        repair: bool,
    ) -> Result<Option<String>, RebuildError> {
        let rows = self.table(generation);
        let (orders, mut bad) = self.told_by_those_that_make_sense(stream, settled).await?;
        let ids: Vec<OrderId> = orders.keys().copied().collect();
        let found = self.read(rows, &ids).await?;
        let mut differences = Vec::new();
        for (order_id, told) in &orders {
            let Some(difference) = self.difference(stream, told, *order_id, found.get(order_id)).await?
            else {
                continue;
            };
            if repair {
                self.put_right(rows, stream, told, *order_id).await?;
            }
            differences.push(difference);
        }
        let more = differences.len().saturating_sub(EXAMPLES);
        differences.truncate(EXAMPLES);
        if more > 0 {
            differences.push(format!("and {more} more rows"));
        }
        // The other orders of the stream are compared, and mended, all the same.
        if !bad.is_empty() {
            bad.truncate(EXAMPLES);
            bad.extend(differences);
            return Err(RebuildError::BadEvent(bad.join("; ")));
        }
        Ok((!differences.is_empty()).then(|| format!("{stream}: {}", differences.join("; "))))
    }

    async fn strays(
        &self,
        generation: Generation,
        segment: Segment,
        after: Option<&str>,
        repair: bool,
    ) -> Result<Strays, RebuildError> {
        let rows = self.table(generation);
        let page = rows.ids(segment, after, STRAYS_AT_A_TIME).await?;
        let (mut ids, mut found): (Vec<OrderId>, _) = (Vec::new(), Vec::new());
        for id in &page.ids {
            match id.parse() {
                Ok(id) => ids.push(id),
                Err(_) => {
                    if repair {
                        rows.remove(id).await?;
                    }
                    found.push(Stray { what: format!("row {id} is of no order"), repaired: repair });
                }
            }
        }
        let read = self.read(rows, &ids).await?;
        let looks: Vec<BoxFuture<'_, _>> = read
            .values()
            .map(|row| async move { Ok::<_, RebuildError>((row, self.stray(row).await?)) }.boxed())
            .collect();
        let looks: Vec<_> = stream::iter(looks).buffered(LOOKS_AT_A_TIME).try_collect().await?;
        for (row, stray) in looks {
            let Some((what, left)) = stray else { continue };
            // One that was written meanwhile is another row, for the next comparison to judge.
            if !repair || rows.mend(row, left.as_ref()).await? == Put::Written {
                found.push(Stray { what, repaired: repair });
            }
        }
        Ok(Strays { found, after: page.after })
    }
}
