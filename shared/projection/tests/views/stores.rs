//! What a store of views has to hold to.

use event_store::Segment;
use kernel::Version;
use projection::{
    Consistency, Content, DynamoViews, MemoryViews, Put, RowKey, Stamp, Stored, ViewStore, ViewTable,
    create_table,
};
use testing::EmbeddedDynamo;

use crate::stage::{BY_OWNER, Ledger, Ledgers, Stage};

fn ledger(entries: u32) -> Ledger {
    Ledger {
        id: "a".into(),
        owner_id: "o".into(),
        opened_at: "1".into(),
        entries,
        digest: u64::MAX,
        closed: true,
        note: None,
    }
}

#[tokio::test]
async fn a_row_is_written_only_over_exactly_what_was_read() {
    for stage in Stage::both().await {
        let put = async |entries, before: Option<(u16, u64)>, applied| {
            let before = before.map(|(schema, applied)| Stamp { schema, applied: Version::new(applied) });
            stage.views.put("a", Some(&ledger(entries)), before, Version::new(applied)).await.unwrap()
        };
        assert_eq!(put(0, Some((2, 3)), 4).await, Put::Conflict, "{}: there is no row yet", stage.name);
        assert_eq!(put(0, None, 3).await, Put::Written);
        for before in [None, Some((2, 2)), Some((2, 4)), Some((1, 3)), Some((3, 3))] {
            assert_eq!(put(9, before, 5).await, Put::Conflict, "{}: {before:?}", stage.name);
        }
        let read = |n| Stored {
            stamp: Stamp { schema: 2, applied: Version::new(n) },
            content: Content::Row(ledger(n as u32 - 3)),
        };
        for consistency in [Consistency::Strong, Consistency::Eventual] {
            assert_eq!(stage.views.get("a", consistency).await.unwrap(), Some(read(3)));
        }
        assert_eq!(put(1, Some((2, 3)), 4).await, Put::Written);
        assert_eq!(stage.views.get("a", Consistency::Strong).await.unwrap(), Some(read(4)));
        assert_eq!(stage.views.get("b", Consistency::Strong).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_keys_of_all_segments_are_all_rows_once_and_a_row_is_removed_only_as_it_was_read() {
    let dynamo = EmbeddedDynamo::start().await;
    create_table::<Ledgers>(&dynamo.client(), "rows", &[BY_OWNER]).await.unwrap();
    hold(MemoryViews::<Ledgers>::new()).await;
    hold(DynamoViews::<Ledgers>::new(dynamo.client(), "rows")).await;
}

async fn hold<T: ViewStore<Ledgers> + ViewTable>(table: T) {
    for n in 0..25u32 {
        let id = format!("row-{n:02}");
        let row = Ledger { id: id.clone(), ..ledger(n) };
        table.put(&id, Some(&row), None, Version::new(u64::from(n) + 1)).await.unwrap();
    }
    let mut keys = Vec::new();
    for index in 0..3 {
        let mut after = None;
        loop {
            let segment = Segment { index, total: 3 };
            let page = table.keys(segment, after.as_deref(), Some(4)).await.unwrap();
            keys.extend(page.keys);
            after = page.after;
            if after.is_none() {
                break;
            }
        }
    }
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let expected: Vec<String> = (0..25).map(|n| format!("row-{n:02}")).collect();
    assert_eq!(keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(keys[4].stamp, Stamp { schema: 2, applied: Version::new(5) });

    let older = RowKey { stamp: Stamp { applied: Version::new(4), ..keys[4].stamp }, ..keys[4].clone() };
    assert_eq!(table.remove(&older).await.unwrap(), Put::Conflict);
    assert_eq!(table.remove(&keys[4]).await.unwrap(), Put::Written);
    assert_eq!(table.remove(&keys[4]).await.unwrap(), Put::Conflict);
    assert_eq!(table.get("row-04", Consistency::Strong).await.unwrap(), None);
    assert!(table.get("row-05", Consistency::Strong).await.unwrap().is_some());
}
