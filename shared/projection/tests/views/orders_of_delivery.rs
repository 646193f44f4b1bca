//! Whole histories through a hostile bus: the rows come out as if nothing had happened.

use std::collections::BTreeMap;

use contracts::Envelope;
use kernel::{RawEvent, Version};
use proptest::prelude::*;
use serde_json::json;
use testing::{Hostility, Seeded, hostile};

use crate::stage::{Ledger, Stage, closed, fold, noted, opened, raw};

/// Many streams with commits of one to four events.
async fn history(stage: &Stage, streams: usize, seed: u64) -> Vec<Envelope> {
    let mut random = Seeded::new(seed);
    let mut history = Vec::new();
    for stream in 0..streams {
        let id = format!("s{stream}");
        history.extend(stage.commit(&id, vec![opened("o", &format!("{stream:04}"))]).await);
        for _ in 0..random.below(9) {
            let events = (0..=random.below(4)).map(|_| event(&mut random)).collect();
            history.extend(stage.commit(&id, events).await);
        }
        if random.chance(0.5) {
            history.extend(stage.commit(&id, vec![closed()]).await);
        }
    }
    history
}

fn event(random: &mut Seeded) -> RawEvent {
    if random.chance(0.2) { raw("Printed", json!({})) } else { noted(random.below(1000) as u64) }
}

/// What the rows have to be.
fn in_order(history: &[Envelope]) -> BTreeMap<String, (Ledger, u64)> {
    let mut streams: BTreeMap<String, Vec<&Envelope>> = BTreeMap::new();
    for event in history {
        streams.entry(event.stream.id().to_owned()).or_default().push(event);
    }
    let row = |events: Vec<&Envelope>| {
        let last = events.last().map(|e| e.version.get()).unwrap_or_default();
        (fold(events).unwrap(), last)
    };
    streams.into_iter().map(|(id, events)| (id, row(events))).collect()
}

async fn rows(stage: &Stage, ids: impl Iterator<Item = &String>) -> BTreeMap<String, (Ledger, u64)> {
    let mut rows = BTreeMap::new();
    for id in ids {
        rows.extend(stage.row(id).await.map(|row| (id.clone(), row)));
    }
    rows
}

/// Delivers in batches of random sizes.
async fn deliver(stage: &Stage, delivered: &[Envelope], seed: u64) {
    let mut random = Seeded::new(seed);
    let mut rest = delivered;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(rest.len().min(1 + random.below(10)));
        let outcome = stage.projector.deliver_batch(batch).await;
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        rest = later;
    }
}

#[tokio::test]
async fn a_history_shuffled_duplicated_and_with_pieces_missing_gives_the_rows_of_order() {
    for stage in Stage::both().await {
        let history = history(&stage, 25, 11).await;
        let expected = in_order(&history);
        for seed in 0..3 {
            // The first round fills an empty view, the next ones find everything done.
            deliver(&stage, &hostile(&history, seed, Hostility::WORST), seed).await;
            assert_eq!(rows(&stage, expected.keys()).await, expected, "{}, seed {seed}", stage.name);
        }
    }
}

#[tokio::test]
async fn what_was_lost_for_good_is_healed_by_the_next_event_or_the_next_reader() {
    for stage in Stage::both().await {
        let mut history = history(&stage, 20, 12).await;
        // Each stream loses its last event, and others.
        let last = |event: &Envelope| {
            history.iter().filter(|e| e.stream == event.stream).map(|e| e.version).max()
                == Some(event.version)
        };
        let arrived: Vec<Envelope> = history.iter().filter(|e| !last(e)).cloned().collect();
        deliver(&stage, &hostile(&arrived, 5, Hostility::WORST), 5).await;
        let expected = in_order(&history);
        assert_ne!(rows(&stage, expected.keys()).await, expected);
        for (index, (id, (row, version))) in expected.iter().enumerate() {
            if index % 2 == 0 {
                let found = stage.projector.read(id, Some(Version::new(*version))).await.unwrap().unwrap();
                assert_eq!((&found.row, found.applied.get()), (row, *version), "{}", stage.name);
            } else {
                let later = stage.commit(id, vec![noted(77)]).await;
                deliver(&stage, &later, 0).await;
                history.extend(later);
            }
        }
        let expected = in_order(&history);
        assert_eq!(rows(&stage, expected.keys()).await, expected, "{}", stage.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_delivery_gives_the_same_rows(
        streams in 1usize..6,
        events in any::<u64>(),
        order in any::<u64>(),
        duplicate in 0.0..0.8f64,
        drop in 0.0..0.8f64,
        omit_body in 0.0..0.8f64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::memory();
            let history = history(&stage, streams, events).await;
            let delivered = hostile(&history, order, Hostility { duplicate, drop, omit_body });
            deliver(&stage, &delivered, order).await;
            let expected = in_order(&history);
            prop_assert_eq!(rows(&stage, expected.keys()).await, expected);
            Ok(())
        })?;
    }
}
