//! Events that come late, twice, early, or not at all.

use std::sync::{Arc, atomic::Ordering};

use kernel::Version;
use projection::{ApplyError, DeliverError, Delivered, MemoryViews};
use serde_json::json;

use crate::stage::{Ledgers, Stage, Watched, closed, noted, opened, raw, without_body};

#[tokio::test]
async fn d24_a_duplicate_changes_nothing_and_writes_nothing() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![opened("o", "1"), noted(5)]).await;
        assert_eq!(stage.projector.deliver(&events[0]).await, Ok(Delivered::Applied), "{}", stage.name);
        assert_eq!(stage.projector.deliver(&events[1]).await, Ok(Delivered::Applied));
        for event in [&events[0], &events[1], &events[0]] {
            assert_eq!(stage.projector.deliver(event).await, Ok(Delivered::Duplicate));
        }
        assert_eq!(stage.row("a").await, stage.folded("a").await);
    }
}

#[tokio::test]
async fn an_event_that_comes_too_early_brings_the_missing_ones_along() {
    for stage in Stage::both().await {
        let mut events = stage.commit("a", vec![opened("o", "1")]).await;
        for n in 0..30 {
            events.extend(stage.commit("a", vec![noted(n), noted(n + 100)]).await);
        }
        assert_eq!(stage.projector.deliver(&events[0]).await, Ok(Delivered::Applied));
        // Number 40 of 61: the row goes to the end, not only to 40.
        assert_eq!(stage.projector.deliver(&events[39]).await, Ok(Delivered::Healed { events: 60 }));
        assert_eq!(stage.row("a").await, stage.folded("a").await, "{}", stage.name);
        assert_eq!(stage.projector.deliver(&events[60]).await, Ok(Delivered::Duplicate));
    }
}

#[tokio::test]
async fn a_row_that_stands_inside_a_commit_is_healed_from_there() {
    for stage in Stage::both().await {
        let first = stage.commit("a", vec![opened("o", "1")]).await;
        let second = stage.commit("a", vec![noted(1), noted(2), noted(3)]).await;
        let third = stage.commit("a", vec![noted(4)]).await;
        stage.projector.deliver(&first[0]).await.unwrap();
        // 2 of [2..4]: the commit's key is 2, and 3 is what comes next.
        stage.projector.deliver(&second[0]).await.unwrap();
        assert_eq!(stage.row("a").await.unwrap().1, 2);
        assert_eq!(stage.projector.deliver(&third[0]).await, Ok(Delivered::Healed { events: 3 }));
        assert_eq!(stage.row("a").await, stage.folded("a").await, "{}", stage.name);
    }
}

#[tokio::test]
async fn a_body_that_was_left_out_is_fetched() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        let delivered = stage.projector.deliver(&without_body(&events[0])).await;
        assert_eq!(delivered, Ok(Delivered::Healed { events: 2 }), "{}", stage.name);
        let batch = stage.commit("b", vec![opened("o", "1"), noted(1)]).await;
        // The copy with the body is as good.
        let outcome = stage
            .projector
            .deliver_batch(&[without_body(&batch[1]), batch[0].clone(), batch[1].clone()])
            .await;
        assert_eq!((outcome.applied, outcome.healed, outcome.failed.len()), (2, 0, 0));
        for id in ["a", "b"] {
            assert_eq!(stage.row(id).await, stage.folded(id).await);
        }
    }
}

#[tokio::test]
async fn an_irrelevant_event_still_moves_the_version_on() {
    for stage in Stage::both().await {
        // Irrelevant before there is a row, between, and at the end; with and without its body.
        let mut events = stage.commit("a", vec![raw("Printed", json!(null))]).await;
        events.extend(stage.commit("a", vec![opened("o", "1"), raw("Printed", json!("x"))]).await);
        events.extend(stage.commit("a", vec![noted(1), raw("Printed", json!({"y": 1}))]).await);
        assert_eq!(stage.projector.deliver(&events[0]).await, Ok(Delivered::Applied));
        assert_eq!(stage.projector.read("a", None).await, Ok(None), "{}", stage.name);
        assert_eq!(stage.projector.read("a", Some(Version::FIRST)).await, Ok(None));
        for event in &events[1..4] {
            assert_eq!(stage.projector.deliver(event).await, Ok(Delivered::Applied));
        }
        assert_eq!(stage.projector.deliver(&without_body(&events[4])).await, Ok(Delivered::Applied));
        assert_eq!(stage.row("a").await, stage.folded("a").await);
        assert_eq!(stage.row("a").await.unwrap().1, 5);
    }
}

#[tokio::test]
async fn an_unknown_event_is_parked_and_what_came_before_it_stands() {
    for stage in Stage::both().await {
        let events =
            stage.commit("a", vec![opened("o", "1"), noted(1), raw("Burnt", json!({})), noted(2)]).await;
        // Both ways in: over the bus, and by healing.
        let outcome = stage.projector.deliver_batch(&events).await;
        let failed: Vec<usize> = outcome.failed.iter().map(|f| f.index).collect();
        assert_eq!((outcome.applied, failed), (2, vec![2, 3]), "{}", stage.name);
        assert_eq!(stage.row("a").await.unwrap().1, 2);
        let error = stage.projector.deliver(&events[3]).await.unwrap_err();
        assert!(
            matches!(&error, DeliverError::Poison { version, error: ApplyError::Decode(_), .. } if version.get() == 3),
            "{error}"
        );
        assert_eq!(stage.row("a").await.unwrap().1, 2);
    }
}

#[tokio::test]
async fn a_poison_event_does_not_block_other_streams() {
    for stage in Stage::both().await {
        let mut batch = Vec::new();
        for id in ["a", "b", "c"] {
            let odd = if id == "b" { raw("Burnt", json!({})) } else { noted(9) };
            batch.extend(stage.commit(id, vec![opened("o", "1"), odd, closed()]).await);
        }
        batch.reverse();
        let outcome = stage.projector.deliver_batch(&batch).await;
        let failed: Vec<_> = outcome
            .failed
            .iter()
            .map(|f| (batch[f.index].stream.id(), batch[f.index].version.get()))
            .collect();
        assert_eq!(failed, [("b", 3), ("b", 2)], "{}", stage.name);
        for id in ["a", "c"] {
            assert_eq!(stage.row(id).await, stage.folded(id).await);
        }
    }
}

#[tokio::test]
async fn an_event_of_another_category_is_not_taken_in() {
    let stage = Stage::memory();
    let mut event = stage.commit("a", vec![opened("o", "1")]).await.remove(0);
    event.stream = "test.Other/a".parse().unwrap();
    let error = stage.projector.deliver(&event).await.unwrap_err();
    assert!(matches!(error, DeliverError::Misrouted { .. }), "{error}");
}

#[tokio::test]
async fn an_event_that_the_table_does_not_know_is_not_taken_for_applied() {
    for stage in Stage::both().await {
        let mut event = stage.commit("a", vec![opened("o", "1")]).await.remove(0);
        event.version = Version::new(5);
        let error = stage.projector.deliver(&event).await.unwrap_err();
        assert!(matches!(&error, DeliverError::NotInTable { actual: Version::FIRST, .. }), "{error}");
        // What the table does know was applied on the way.
        assert_eq!(stage.row("a").await, stage.folded("a").await);
    }
}

#[tokio::test]
async fn a_batch_writes_each_row_once_in_whatever_order_it_comes() {
    let stage = Stage::memory();
    let watched = Watched::new(Arc::new(MemoryViews::new()));
    let projector = stage.projector_of::<Ledgers>(watched.clone());
    let mut batch = Vec::new();
    for id in ["a", "b", "c"] {
        batch.extend(stage.commit(id, vec![opened("o", "1"), noted(1)]).await);
        batch.extend(stage.commit(id, vec![noted(2), closed()]).await);
    }
    batch.reverse();
    batch.push(batch[0].clone());
    let outcome = projector.deliver_batch(&batch).await;
    assert_eq!((outcome.applied, outcome.healed, outcome.failed.len()), (12, 0, 0));
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::SeqCst);
    assert_eq!((count(&watched.gets), count(&watched.puts)), (3, 3));
    // And a repeat of it all reads, but does not write.
    let again = projector.deliver_batch(&batch).await;
    assert_eq!((again.applied, again.failed.len(), count(&watched.puts)), (0, 0, 3));
}

#[tokio::test]
async fn a_lost_race_is_run_again_but_not_for_ever() {
    let stage = Stage::memory();
    let watched = Watched::new(Arc::new(MemoryViews::new()));
    let projector = stage.projector_of::<Ledgers>(watched.clone());
    let events = stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
    watched.conflicts.store(3, Ordering::SeqCst);
    assert_eq!(projector.deliver(&events[0]).await, Ok(Delivered::Applied));
    assert_eq!(stage.world.slept().len(), 3, "each pause is taken through the port");
    watched.conflicts.store(usize::MAX, Ordering::SeqCst);
    let error = projector.deliver(&events[1]).await.unwrap_err();
    assert!(matches!(error, DeliverError::Contended { attempts: 7, .. }), "{error}");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_takes_effect_once() {
    for stage in Stage::both().await {
        let watched = Watched::new(Arc::clone(&stage.views));
        let projector = stage.projector_of::<Ledgers>(watched.clone());
        let events = stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        watched.lost_answers.store(1, Ordering::SeqCst);
        let outcome = projector.deliver_batch(&events).await;
        assert_eq!(outcome.failed.len(), 2, "an unknown outcome is not reported as done");
        let outcome = projector.deliver_batch(&events).await;
        assert_eq!((outcome.applied, outcome.failed.len()), (0, 0));
        assert_eq!(stage.row("a").await, stage.folded("a").await, "{}", stage.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projectors_that_run_side_by_side_apply_each_event_once() {
    for stage in Stage::both().await {
        let mut events = stage.commit("a", vec![opened("o", "1")]).await;
        for n in 0..20 {
            events.extend(stage.commit("a", vec![noted(n), noted(n + 50)]).await);
        }
        let tasks = (0..8).map(|seed| {
            let (projector, mut events) = (stage.projector.clone(), events.clone());
            async move {
                testing::Seeded::new(seed).shuffle(&mut events);
                for event in &events {
                    // A queue delivers again what failed.
                    while let Err(error) = projector.deliver(event).await {
                        assert!(matches!(error, DeliverError::Contended { .. }), "{error}");
                    }
                }
            }
        });
        let mut running = tokio::task::JoinSet::new();
        for task in tasks {
            running.spawn(task);
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
        assert_eq!(stage.row("a").await, stage.folded("a").await, "{}", stage.name);
    }
}
