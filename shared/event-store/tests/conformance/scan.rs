//! Reading the whole table.

use std::collections::{HashMap, HashSet};

use event_store::{Commit, Segment};
use kernel::{StreamId, Version};

use crate::{
    ledger::{Ledger, post},
    world::{World, stream},
};

/// 40 streams of 1 to 7 commits of 1 to 3 events.
async fn filled(world: &World) -> usize {
    let mut commits = 0;
    for n in 0..40 {
        for c in 0..=n % 7 {
            let amounts: Vec<i64> = (0..=c % 3).collect();
            world.send(&stream(&format!("scan-{n}")), post(amounts)).await.unwrap();
            commits += 1;
        }
    }
    commits
}

async fn scanned(world: &World, segment: Segment, limit: Option<u32>) -> Vec<Commit> {
    let store = world.store();
    let (mut commits, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(segment, after.as_ref(), limit).await.unwrap();
        assert!(limit.is_none_or(|limit| page.commits.len() <= limit as usize));
        commits.extend(page.commits);
        after = page.after;
        if after.is_none() {
            return commits;
        }
    }
}

pub async fn a_segmented_scan_sees_every_commit_once_and_each_stream_in_order(world: World) {
    let total_commits = filled(&world).await;
    for total in [1, 3, 8] {
        for limit in [None, Some(1), Some(7)] {
            let mut seen: HashSet<(StreamId, Version)> = HashSet::new();
            let mut segment_of: HashMap<StreamId, u32> = HashMap::new();
            for index in 0..total {
                let mut next: HashMap<StreamId, Version> = HashMap::new();
                for commit in scanned(&world, Segment { index, total }, limit).await {
                    let at = next.entry(commit.stream.clone()).or_insert(Version::FIRST);
                    assert_eq!(commit.version, *at, "{} is scanned in order", commit.stream);
                    *at = commit.next;
                    assert_eq!(*segment_of.entry(commit.stream.clone()).or_insert(index), index);
                    assert!(seen.insert((commit.stream, commit.version)), "scanned twice");
                }
            }
            assert_eq!(seen.len(), total_commits, "{total} segments, pages of {limit:?}");
        }
    }
    // Whole commits, as a load sees them.
    let commits = scanned(&world, Segment::WHOLE, None).await;
    let one = stream("scan-13");
    let of_one: Vec<Commit> = commits.into_iter().filter(|c| c.stream == one).collect();
    assert_eq!(of_one, world.history(&one).await);
    let events: Vec<_> = of_one.iter().flat_map(|c| c.envelopes()).collect();
    let loaded = world.store().load::<Ledger>(&one).await.unwrap();
    assert_eq!(crate::load::folded(&events), loaded.state);
}

pub async fn a_scan_goes_on_where_it_stopped(world: World) {
    filled(&world).await;
    let whole = scanned(&world, Segment::WHOLE, None).await;
    // A replay that is stopped keeps the key of its last page, and another process goes on from it.
    let (mut commits, mut after) = (Vec::new(), None);
    loop {
        let kept: Option<String> =
            after.as_ref().map(|key: &(StreamId, Version)| serde_json::to_string(key).unwrap());
        let restored: Option<(StreamId, Version)> = kept.map(|k| serde_json::from_str(&k).unwrap());
        let page = world.store().scan(Segment::WHOLE, restored.as_ref(), Some(10)).await.unwrap();
        commits.extend(page.commits);
        match page.after {
            Some(key) => after = Some(key),
            None => break,
        }
    }
    assert_eq!(commits, whole);
}

pub async fn an_empty_table_is_scanned_in_one_page(world: World) {
    for total in [1, 4] {
        for index in 0..total {
            let page = world.store().scan(Segment { index, total }, None, None).await.unwrap();
            assert!(page.commits.is_empty() && page.after.is_none());
        }
    }
}
