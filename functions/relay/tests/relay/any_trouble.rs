//! Any script of failures whatsoever.

use std::collections::BTreeSet;

use kernel::Uuid;
use proptest::prelude::*;
use relay::{BusError, Entry, Verdict};
use serde_json::{Value, json};
use testing::Seeded;

use crate::stage::{Answer, Stage, commit, event_id, sequence};

/// Everything that a bus may do, by the throw of dice.
fn answer(random: &mut Seeded, entries: &[Entry], calm: f64) -> Answer {
    if random.chance(calm) {
        return Answer::Says(vec![Verdict::Accepted; entries.len()]);
    }
    let why = || "so".to_owned();
    match random.below(9) {
        0 => Answer::Lost,
        1 => Answer::Fails(BusError::Throttled(why())),
        2 => Answer::Fails(BusError::Unavailable(why())),
        3 => Answer::Fails(BusError::TooLarge(why())),
        4 => Answer::Fails(BusError::Invalid(why())),
        5 if random.chance(0.3) => Answer::Fails(BusError::Refused(why())),
        _ => {
            let said = if random.chance(0.2) { random.below(entries.len() + 1) } else { entries.len() };
            let mut verdict = |_| match random.below(6) {
                0 => Verdict::Refused(why()),
                1 | 2 => Verdict::Failed(why()),
                _ => Verdict::Accepted,
            };
            Answer::Says((0..said).map(&mut verdict).collect())
        }
    }
}

fn record(random: &mut Seeded, index: usize, size: usize) -> (Value, bool) {
    let bodies: Vec<Value> = (0..size)
        .map(|_| json!({ "text": "x".repeat(if random.chance(0.03) { random.below(300_000) } else { random.below(50) }) }))
        .collect();
    let mut record = commit(index, &bodies);
    let poison = random.chance(0.1);
    if poison {
        record["dynamodb"]["NewImage"]["hash"] = json!({ "N": "1" });
    }
    (record, poison)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bus_does_what_is_acknowledged_was_accepted_or_parked(
        sizes in proptest::collection::vec(1usize..14, 1..20),
        seed in any::<u64>(),
        calm in 0.0..1.0f64,
        parking_fails in 0usize..6,
        seconds in 0u64..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut random = Seeded::new(seed);
            let (records, poison): (Vec<Value>, Vec<bool>) =
                sizes.iter().enumerate().map(|(index, size)| record(&mut random, index, *size)).unzip();
            let mut stage = Stage::new(move |_, entries| answer(&mut random, entries, calm));
            *stage.parking_fails.lock().unwrap() = parking_fails;
            stage.deadline = stage.world.now() + std::time::Duration::from_secs(seconds);
            let failed = stage.run(records.clone()).await.unwrap();
            prop_assert!(failed.is_sorted(), "{failed:?}");
            let accepted: BTreeSet<Uuid> = stage.accepted().into_iter().collect();
            let parked = stage.parked();
            for (index, size) in sizes.iter().enumerate() {
                if failed.contains(&sequence(index)) {
                    continue;
                }
                let parked: Vec<&str> =
                    parked.iter().filter(|p| p.record == records[index]).map(|p| p.why.as_str()).collect();
                for n in 0..*size {
                    let id = event_id(index, n);
                    let kept = if poison[index] {
                        !parked.is_empty()
                    } else {
                        accepted.contains(&id) || parked.iter().any(|why| why.contains(&id.to_string()))
                    };
                    prop_assert!(kept, "event {n} of record {index} is lost");
                }
            }
            Ok(())
        })?;
    }
}
