//! Lists, page by page.

use projection::{BadRequest, List, ListError, ListRequest, Listing, MAX_LIMIT, Page, Range, sealed};
use serde_json::json;

use crate::stage::{BY_OWNER, Ledger, Stage, opened, raw};

fn of(owner: &str) -> ListRequest {
    ListRequest { partition: owner.into(), ..ListRequest::default() }
}

async fn fill(stage: &Stage, owner: &str, count: usize) {
    for n in 0..count {
        let events = stage.commit(&format!("{owner}-{n:03}"), vec![opened(owner, &format!("{n:03}"))]).await;
        stage.projector.deliver_batch(&events).await;
    }
}

async fn list(stage: &Stage, request: &ListRequest) -> Page<Ledger> {
    stage.projector.list(&BY_OWNER, request).await.unwrap()
}

async fn all(stage: &Stage, mut request: ListRequest) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = list(stage, &request).await;
        pages.push(page.rows.into_iter().map(|row| row.opened_at).collect());
        match page.next {
            Some(cursor) => request.cursor = Some(cursor),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn pages_hold_each_row_once_and_in_order_to_the_last() {
    for stage in Stage::both().await {
        fill(&stage, "mine", 25).await;
        fill(&stage, "yours", 3).await;
        let names = |range: std::ops::Range<usize>| range.map(|n| format!("{n:03}")).collect::<Vec<_>>();
        let ascending = all(&stage, of("mine")).await;
        assert_eq!(ascending, [names(0..20), names(20..25)], "{}", stage.name);
        let request = ListRequest { descending: true, limit: Some(10), ..of("mine") };
        let descending = all(&stage, request).await;
        assert_eq!(descending.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        let mut back: Vec<String> = descending.into_iter().flatten().collect();
        back.reverse();
        assert_eq!(back, names(0..25));
        // A last page that is full is the last page.
        let request = ListRequest { limit: Some(5), ..of("mine") };
        assert_eq!(all(&stage, request).await.len(), 5);
        assert_eq!(all(&stage, of("nobody")).await, [Vec::<String>::new()]);
    }
}

#[tokio::test]
async fn rows_of_one_moment_are_neither_lost_nor_repeated_between_pages() {
    for stage in Stage::both().await {
        for n in 0..7 {
            let events = stage.commit(&format!("x{n}"), vec![opened("o", "same")]).await;
            stage.projector.deliver_batch(&events).await;
        }
        let mut request = ListRequest { limit: Some(2), ..of("o") };
        let mut ids = Vec::new();
        loop {
            let page = list(&stage, &request).await;
            ids.extend(page.rows.into_iter().map(|row| row.id));
            match page.next {
                Some(cursor) => request.cursor = Some(cursor),
                None => break,
            }
        }
        ids.sort();
        assert_eq!(ids, ["x0", "x1", "x2", "x3", "x4", "x5", "x6"], "{}", stage.name);
    }
}

#[tokio::test]
async fn a_bad_cursor_or_limit_is_refused_and_no_cursor_opens_another_list() {
    for stage in Stage::both().await {
        fill(&stage, "mine", 3).await;
        fill(&stage, "yours", 3).await;
        let first = list(&stage, &ListRequest { limit: Some(1), ..of("mine") }).await;
        let cursor = first.next.unwrap();
        let refused =
            async |request: ListRequest| stage.projector.list(&BY_OWNER, &request).await.unwrap_err();
        let bad = ListError::BadRequest(BadRequest::Cursor);
        for text in ["", "nonsense", "e30", "eyJpZCI6MX0", "ü", &cursor[1..], &format!("{cursor}A")] {
            let request = ListRequest { cursor: Some(text.to_owned()), ..of("mine") };
            assert_eq!(refused(request).await, bad, "{}: {text:?}", stage.name);
        }
        let keyed = |id: &str, sort: &str| {
            let at = json!({ "id": id, "sort": sort });
            sealed(&json!({ "index": "by-owner", "partition": "mine", "descending": false, "at": at }))
        };
        let (long, longer) = ("x".repeat(1024), "x".repeat(2048));
        for (id, sort) in [("", "1"), ("a", ""), (&format!("{longer}x"), "1"), ("a", &format!("{long}x"))] {
            let request = ListRequest { cursor: Some(keyed(id, sort)), ..of("mine") };
            assert_eq!(refused(request).await, bad, "{}: {} and {}", stage.name, id.len(), sort.len());
        }
        // A row of the longest keys there may be can be the last of a page.
        list(&stage, &ListRequest { cursor: Some(keyed(&longer, &long)), ..of("mine") }).await;
        assert_eq!(refused(ListRequest { cursor: Some(cursor.clone()), ..of("yours") }).await, bad);
        let backwards = ListRequest { cursor: Some(cursor), descending: true, ..of("mine") };
        assert_eq!(refused(backwards).await, bad);
        for limit in [0, MAX_LIMIT + 1] {
            let error = refused(ListRequest { limit: Some(limit), ..of("mine") }).await;
            assert_eq!(error, ListError::BadRequest(BadRequest::Limit(limit)));
        }
    }
}

#[tokio::test]
async fn a_version_without_a_row_is_in_no_list() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![raw("Printed", json!({}))]).await;
        stage.projector.deliver(&events[0]).await.unwrap();
        fill(&stage, "o", 1).await;
        assert_eq!(list(&stage, &of("o")).await.rows.len(), 1, "{}", stage.name);
    }
}

#[tokio::test]
async fn a_range_holds_its_bounds_and_nothing_beyond_them_on_every_page() {
    for stage in Stage::both().await {
        fill(&stage, "mine", 12).await;
        fill(&stage, "yours", 3).await;
        let bound = |n: Option<usize>| n.map(|n| format!("{n:03}"));
        for (from, to, expected) in [
            (Some(3), Some(9), 3..10),
            (Some(8), None, 8..12),
            (None, Some(2), 0..3),
            (Some(5), Some(5), 5..6),
            (Some(7), Some(6), 0..0),
            (None, None, 0..12),
        ] {
            for descending in [false, true] {
                let range = Range { from: bound(from), to: bound(to) };
                let (mut read, mut after) = (Vec::new(), None);
                loop {
                    let (index, partition, range) = (&BY_OWNER, "mine", range.clone());
                    let shard = None;
                    let list = List { index, partition, shard, range, descending, after, limit: 2 };
                    let Listing { rows, next } = stage.projector.list_rows(&list).await.unwrap();
                    read.extend(rows.into_iter().map(|row| row.opened_at));
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                if descending {
                    read.reverse();
                }
                let expected: Vec<String> = expected.clone().map(|n| format!("{n:03}")).collect();
                assert_eq!(read, expected, "{}: {range:?}", stage.name);
            }
        }
    }
}
