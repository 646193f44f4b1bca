//! What a store of views has to hold to.

use kernel::Version;
use projection::{Consistency, Content, Put, Stamp, Stored};

use crate::stage::{Ledger, Stage};

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
