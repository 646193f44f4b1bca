//! Lists that are merged from shards, and lists of keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use event_store::Meter;
use kernel::Version;
use projection::{
    Batch, Consistency, DynamoViews, Index, List, ListError, Listed, MemoryViews, Position, Projector, Put,
    Range, SHARDS, Stamp, Stored, ViewError, ViewStore, create_table,
};
use proptest::prelude::*;
use testing::EmbeddedDynamo;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::stage::{Ledger, Ledgers, Stage, take_one};

const ROWS: Index = Index::new("rows", "ownerId", "openedAt").sharded();
const KEYS: Index = Index::new("keys", "ownerId", "openedAt").keys_only().sharded();
const WHOLE: Index = Index::new("whole", "ownerId", "openedAt").keys_only();
const COPIES: Index = Index::new("copies", "ownerId", "openedAt");

fn ledger(index: &Index, owner: &str, id: &str, at: &str) -> Ledger {
    let owner_id = index.place(owner, id);
    Ledger { id: id.to_owned(), owner_id, opened_at: at.to_owned(), ..Ledger::default() }
}

async fn put(views: &dyn ViewStore<Ledgers>, row: &Ledger, before: u64) {
    let schema = Stamp { schema: 2, applied: Version::new(before) };
    let before = (before > 0).then_some(schema);
    let applied = Version::new(before.map_or(0, |before| before.applied.get()) + 1);
    assert_eq!(views.put(&row.id, Some(row), before, applied).await.unwrap(), Put::Written);
}

async fn again(views: &dyn ViewStore<Ledgers>, row: &Ledger) {
    let stored = views.get(&row.id, Consistency::Strong).await.unwrap().unwrap();
    put(views, row, stored.stamp.applied.get()).await;
}

/// Every kind of table, each with the three indexes.
async fn tables(dynamo: &EmbeddedDynamo) -> [Arc<dyn ViewStore<Ledgers>>; 2] {
    create_table::<Ledgers>(&dynamo.client(), "shards", &[ROWS, KEYS, WHOLE]).await.unwrap();
    let dynamo = DynamoViews::<Ledgers>::new(dynamo.client(), "shards");
    [Arc::new(MemoryViews::<Ledgers>::new()), Arc::new(dynamo)]
}

fn id(number: u64) -> String {
    Uuid::from_u128((u128::from(number) << 64) | 0x7000_8000).to_string()
}

/// A change that comes between two pages: this row moves to another owner, or comes in new, at that time.
#[derive(Debug, Clone)]
enum Change {
    Leaves(usize),
    Comes(u8),
    Stays(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<usize>().prop_map(Change::Leaves),
        (0..40u8).prop_map(Change::Comes),
        any::<usize>().prop_map(Change::Stays),
    ]
}

/// Reads a list page by page, with changes between the pages: what it showed, what was there all the time,
/// and what was there at some time.
struct Walk {
    shown: Vec<(String, String)>,
    always: BTreeSet<(String, String)>,
    ever: BTreeSet<(String, String)>,
}

async fn walk(
    stage: &Stage,
    views: &Arc<dyn ViewStore<Ledgers>>,
    list: &List<'_>,
    times: &[u8],
    mut changes: impl Iterator<Item = Change>,
) -> Walk {
    let projector = stage.projector_of(views.clone());
    let time = |n: u8| format!("{n:03}");
    let mut rows = BTreeMap::new();
    // The ids tell the case apart, because all cases share a table.
    let first = u64::from_str_radix(list.partition, 16).unwrap();
    let new_id = |number: usize| id(first + number as u64);
    for (number, at) in times.iter().enumerate() {
        let row = ledger(list.index, list.partition, &new_id(number), &time(*at));
        put(&**views, &row, 0).await;
        rows.insert(number, row);
    }
    let key = |row: &Ledger| (row.opened_at.clone(), row.id.clone());
    let within = |row: &&Ledger| list.range.contains(&row.opened_at);
    let mut always: BTreeSet<_> = rows.values().filter(within).map(key).collect();
    let (mut ever, mut shown, mut count, mut after) = (always.clone(), Vec::new(), times.len(), None);
    loop {
        let page = projector.list_rows(&List { after, ..list.clone() }).await.unwrap();
        assert!(page.rows.len() <= list.limit);
        assert!(page.rows.len() == list.limit || page.next.is_none(), "a page is full, or the last");
        shown.extend(page.rows.iter().map(key));
        assert!(shown.len() < 1_000, "the pages go round in circles");
        after = page.next;
        if after.is_none() {
            return Walk { shown, always, ever };
        }
        match changes.next() {
            Some(Change::Leaves(which)) if !rows.is_empty() => {
                let number = *rows.keys().nth(which % rows.len()).unwrap();
                let row = rows.remove(&number).unwrap();
                always.remove(&key(&row));
                let owner_id = list.index.place("others", &row.id);
                again(&**views, &Ledger { owner_id, ..row }).await;
            }
            Some(Change::Comes(at)) => {
                let row = ledger(list.index, list.partition, &new_id(count), &time(at));
                put(&**views, &row, 0).await;
                ever.extend(Some(&row).filter(within).map(key));
                rows.insert(count, row);
                count += 1;
            }
            Some(Change::Stays(which)) if !rows.is_empty() => {
                let (_, row) = rows.iter().nth(which % rows.len()).unwrap();
                again(&**views, &Ledger { entries: row.entries + 1, ..row.clone() }).await;
            }
            Some(Change::Leaves(_) | Change::Stays(_)) | None => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Few times and many rows, so that most rows have others of the same moment in other shards.
    #[test]
    fn no_row_is_missed_or_shown_twice_on_the_pages_of_a_merged_list_while_others_come_and_go(
        times in prop::collection::vec(0..40u8, 0..90),
        changes in prop::collection::vec(change(), 0..30),
        limit in 1..12usize,
        from in prop::option::of(0..40u8),
        descending in any::<bool>(),
        kind in 0..3usize,
        crowded in any::<bool>(),
    ) {
        // Crowded: all rows are of three moments.
        let times: Vec<u8> = times.into_iter().map(|at| if crowded { at % 3 } else { at }).collect();
        Runtime::new().unwrap().block_on(async {
            let (stage, dynamo) = (Stage::memory(), EmbeddedDynamo::start().await);
            for views in tables(&dynamo).await {
                let range = Range { from: from.map(|n| format!("{n:03}")), to: None };
                let index = &[ROWS, KEYS, WHOLE][kind];
                let list =
                    List { index, partition: "a0", shard: None, range, descending, after: None, limit };
                // Rows that move would be missed by nobody, if the list that they leave is not looked at.
                let Walk { shown, always, ever } =
                    walk(&stage, &views, &list, &times, changes.iter().cloned()).await;
                let mut times: Vec<&String> = shown.iter().map(|(at, _)| at).collect();
                if descending {
                    times.reverse();
                }
                assert!(times.is_sorted(), "{times:?}");
                let seen: BTreeSet<_> = shown.iter().cloned().collect();
                assert_eq!(seen.len(), shown.len(), "shown twice");
                assert!(seen.is_superset(&always), "missed: {:?}", always.difference(&seen));
                assert!(seen.is_subset(&ever), "invented: {:?}", seen.difference(&ever));
            }
        });
    }
}

#[test]
fn no_shard_gets_much_more_than_its_share_whatever_kind_of_id_there_is() {
    let counting = |n: u128| Uuid::from_u128(n).to_string();
    let sevens =
        |n: u128| Uuid::from_u128(((0x0190_0000_0000 + n) << 80) | (7 << 76) | (n * 0x9e37_79b9)).to_string();
    for (kind, ids) in
        [("counting", (0..8_000).map(counting).collect::<Vec<_>>()), ("v7", (0..8_000).map(sevens).collect())]
    {
        let mut found = [0; SHARDS as usize];
        for id in &ids {
            found[ROWS.shard_of(id) as usize] += 1;
        }
        assert!(found.iter().all(|count| (850..1_150).contains(count)), "{kind}: {found:?}");
    }
}

#[test]
fn a_row_keeps_its_shard_from_release_to_release() {
    let ids = ["0190a0de-0000-7000-8000-000000000001", "a", "f81d4fae-7dec-51d0-a765-00a0c91e6bf6"];
    assert_eq!(ids.map(|id| ROWS.place("pending", id)), ["pending#1", "pending#4", "pending#5"]);
    assert_eq!(WHOLE.place("pending", "a"), "pending", "one shard has no number");
}

/// A table that is busy, or one of whose shards fails, and that counts its requests.
struct Busy {
    rows: MemoryViews<Ledgers>,
    lists: AtomicUsize,
    batches: AtomicUsize,
    /// So many batches leave all but one row unread.
    unread: AtomicUsize,
    broken: Option<u32>,
}

impl Busy {
    fn new(unread: usize, broken: Option<u32>) -> Arc<Self> {
        let zero = AtomicUsize::default;
        let unread = AtomicUsize::new(unread);
        Arc::new(Self { rows: MemoryViews::new(), lists: zero(), batches: zero(), unread, broken })
    }
}

#[async_trait]
impl ViewStore<Ledgers> for Busy {
    async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<Ledger>>, ViewError> {
        self.rows.get(id, consistency).await
    }

    async fn put(
        &self,
        id: &str,
        row: Option<&Ledger>,
        before: Option<Stamp>,
        applied: Version,
    ) -> Result<Put, ViewError> {
        self.rows.put(id, row, before, applied).await
    }

    async fn list(&self, list: &List<'_>) -> Result<Listed<Ledger>, ViewError> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        if self.broken.is_some() && list.shard == self.broken {
            return Err(ViewError::Unavailable { view: "ledgers", operation: "Query", why: "busy".into() });
        }
        self.rows.list(list).await
    }

    async fn rows(&self, mut ids: Vec<String>, consistency: Consistency) -> Result<Batch<Ledger>, ViewError> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        let unread = if take_one(&self.unread) { ids.split_off(1) } else { Vec::new() };
        Ok(Batch { unread, ..self.rows.rows(ids, consistency).await? })
    }
}

fn page(index: &Index, limit: usize) -> List<'_> {
    let range = Range::default();
    List { index, partition: "o", shard: None, range, descending: true, after: None, limit }
}

async fn filled(busy: &Arc<Busy>, index: &Index, count: u64) -> Projector<Ledgers> {
    for n in 0..count {
        put(&**busy, &ledger(index, "o", &id(n), &format!("{n:03}")), 0).await;
    }
    Stage::memory().projector_of(busy.clone())
}

#[tokio::test]
async fn rows_that_a_busy_table_leaves_unread_are_read_again_and_never_left_out() {
    let busy = Busy::new(2, None);
    let projector = filled(&busy, &KEYS, 9).await;
    let listed = projector.list_rows(&page(&KEYS, 5)).await.unwrap();
    let times: Vec<_> = listed.rows.into_iter().map(|row| row.opened_at).collect();
    assert_eq!(times, ["008", "007", "006", "005", "004"]);
    assert_eq!(busy.batches.load(Ordering::SeqCst), 3);

    let busy = Busy::new(100, None);
    let projector = filled(&busy, &KEYS, 9).await;
    let error = projector.list_rows(&page(&KEYS, 9)).await.unwrap_err();
    assert!(matches!(error, ListError::View(ViewError::Unavailable { .. })), "{error:?}");
    assert_eq!(busy.batches.load(Ordering::SeqCst), 5, "it does not ask for ever");
}

#[tokio::test]
async fn a_shard_that_cannot_be_read_fails_the_page_and_does_not_make_a_hole_in_it() {
    let busy = Busy::new(0, Some(3));
    let projector = filled(&busy, &ROWS, 40).await;
    let error = projector.list_rows(&page(&ROWS, 5)).await.unwrap_err();
    assert!(matches!(error, ListError::View(ViewError::Unavailable { .. })), "{error:?}");
    // Callers that walk shard by shard get the others.
    let mut found = 0;
    for shard in (0..SHARDS).filter(|shard| *shard != 3) {
        let list = List { shard: Some(shard), ..page(&ROWS, 40) };
        found += projector.list_rows(&list).await.unwrap().rows.len();
    }
    let missing = (0..40).filter(|n| ROWS.shard_of(&id(*n)) == 3).count();
    assert_eq!(found, 40 - missing);
}

#[tokio::test]
async fn a_page_of_many_rows_does_not_read_every_shard_to_the_end_of_the_page() {
    let busy = Busy::new(0, None);
    let projector = filled(&busy, &KEYS, 800).await;
    assert_eq!(projector.list_rows(&page(&KEYS, 100)).await.unwrap().rows.len(), 100);
    let (lists, batches) = (busy.lists.load(Ordering::SeqCst), busy.batches.load(Ordering::SeqCst));
    assert!(lists <= 10, "{lists} queries");
    assert_eq!(batches, 1, "only the rows of the page are read");
}

#[tokio::test]
async fn no_list_costs_more_read_units_than_the_documents_say() {
    let dynamo = EmbeddedDynamo::start().await;
    let wide = [ROWS, KEYS, WHOLE, COPIES];
    create_table::<Ledgers>(&dynamo.client(), "metered", &wide).await.unwrap();
    for (index, twenty, hundred) in
        [(ROWS, 8.0, 20.0), (KEYS, 14.0, 54.0), (WHOLE, 10.5, 51.0), (COPIES, 2.5, 11.0)]
    {
        let meter = Arc::new(Meter::default());
        let views = DynamoViews::<Ledgers>::new(dynamo.client(), "metered");
        for n in 0..800 {
            // A row of 900 bytes, as an order of three products is one.
            let row = Ledger {
                note: Some("x".repeat(750)),
                ..ledger(&index, index.name, &id(n), &format!("{n:03}"))
            };
            let stored = views.get(&row.id, Consistency::Strong).await.unwrap();
            put(&views, &row, stored.map_or(0, |stored| stored.stamp.applied.get())).await;
        }
        let projector = Stage::memory().projector_of::<Ledgers>(Arc::new(views.metered(meter.clone())));
        // More than one batch may read.
        for (limit, most) in [(20, twenty), (100, hundred), (150, 81.0)] {
            let list = List { partition: index.name, ..page(&index, limit) };
            meter.take();
            assert_eq!(projector.list_rows(&list).await.unwrap().rows.len(), limit);
            let cost = meter.take().read_units;
            assert!(cost <= most, "{}: {limit} rows cost {cost}", index.name);
        }
    }
}

#[tokio::test]
async fn a_row_that_moved_since_the_index_was_read_is_shown_as_it_is_and_one_that_is_gone_is_left_out() {
    /// A table whose index is a moment behind.
    struct Behind(MemoryViews<Ledgers>);

    #[async_trait]
    impl ViewStore<Ledgers> for Behind {
        async fn get(&self, id: &str, consistency: Consistency) -> Result<Option<Stored<Ledger>>, ViewError> {
            self.0.get(id, consistency).await
        }

        async fn put(
            &self,
            id: &str,
            row: Option<&Ledger>,
            before: Option<Stamp>,
            applied: Version,
        ) -> Result<Put, ViewError> {
            self.0.put(id, row, before, applied).await
        }

        async fn list(&self, _: &List<'_>) -> Result<Listed<Ledger>, ViewError> {
            let at = |n: u64| Position { id: id(n), sort: "1".into() };
            let rows = [1, 2].map(|n| projection::Entry { at: at(n), stored: None });
            Ok(Listed { rows: rows.into(), next: None })
        }
    }

    let rows = MemoryViews::<Ledgers>::new();
    put(&rows, &ledger(&WHOLE, "others", &id(2), "9"), 0).await;
    let projector = Stage::memory().projector_of(Arc::new(Behind(rows)));
    let listed = projector.list_rows(&page(&WHOLE, 5)).await.unwrap().rows;
    assert_eq!(listed.iter().map(|row| row.opened_at.as_str()).collect::<Vec<_>>(), ["9"]);
}
