//! A bus that takes some, or nothing, or does not say.

use std::{collections::BTreeSet, time::Duration};

use kernel::Uuid;
use relay::{BusError, Reason, Verdict};

use crate::stage::{
    Answer, Stage, all_accepted, all_ids, body, commit, commits, envelope, event_id, sequence, throttled,
    unavailable,
};

fn failed() -> Verdict {
    Verdict::Failed("ThrottlingException".into())
}

fn set(ids: Vec<Uuid>) -> BTreeSet<Uuid> {
    ids.into_iter().collect()
}

#[tokio::test]
async fn only_the_entries_that_failed_are_sent_again() {
    let stage = Stage::new(|call, entries| match call {
        0 => Answer::Says(
            entries
                .iter()
                .enumerate()
                .map(|(n, _)| if n % 3 == 1 { failed() } else { Verdict::Accepted })
                .collect(),
        ),
        _ => all_accepted(entries),
    });
    assert_eq!(stage.run(commits(&[2, 2, 2])).await, Ok(vec![]));
    assert_eq!(stage.calls(), [6, 2]);
    assert_eq!(stage.accepted().len(), 6);
    assert_eq!(set(stage.accepted()), all_ids(&[2, 2, 2]));
    assert_eq!(stage.world.slept().len(), 1);
}

#[tokio::test]
async fn an_entry_that_keeps_failing_is_reported_and_blocks_no_other() {
    let stage = Stage::new(|_, entries| {
        let poor = |entry| envelope(entry).id == event_id(1, 1);
        Answer::Says(entries.iter().map(|e| if poor(e) { failed() } else { Verdict::Accepted }).collect())
    });
    let sizes = [3, 2, 20, 1];
    assert_eq!(stage.run(commits(&sizes)).await, Ok(vec![sequence(1)]));
    let mut expected = all_ids(&sizes);
    expected.remove(&event_id(1, 1));
    assert_eq!(set(stage.accepted()), expected);
    assert_eq!(stage.world.slept().len(), 5, "retries end");
    assert!(stage.parked().is_empty(), "it may be taken later");
}

#[tokio::test]
async fn a_commit_whose_second_call_fails_is_not_acknowledged() {
    let stage = Stage::new(|call, entries| if call == 0 { all_accepted(entries) } else { throttled() });
    assert_eq!(stage.run(commits(&[2, 12, 1])).await, Ok(vec![sequence(1), sequence(2)]));
    assert_eq!(stage.accepted().len(), 10);
}

#[tokio::test]
async fn a_throttled_bus_is_left_in_peace_for_growing_and_uneven_pauses() {
    let stage = Stage::new(|call, entries| if call < 12 { throttled() } else { all_accepted(entries) });
    assert_eq!(stage.run(commits(&[45])).await, Ok(vec![]));
    assert_eq!(stage.calls().len(), 4 * 3 + 5, "a bus that takes nothing is asked three times a round");
    let pauses = stage.world.slept();
    assert_eq!(pauses.len(), 4);
    for (retry, pause) in pauses.iter().enumerate() {
        assert!(*pause <= Duration::from_millis(100) * 2u32.pow(retry as u32), "{pauses:?}");
    }
}

#[tokio::test]
async fn d23_a_lost_answer_leads_to_duplicates_and_not_to_a_loss() {
    let stage = Stage::new(|call, entries| if call == 0 { Answer::Lost } else { all_accepted(entries) });
    assert_eq!(stage.run(commits(&[3])).await, Ok(vec![]));
    assert_eq!(set(stage.accepted()), all_ids(&[3]));
    assert_eq!(stage.accepted().len(), 6);
    // And when no answer ever comes, nothing is acknowledged.
    let stage = Stage::new(|_, _| Answer::Lost);
    assert_eq!(stage.run(commits(&[1, 1])).await, Ok(vec![sequence(0), sequence(1)]));
}

#[tokio::test]
async fn an_answer_with_too_few_verdicts_acknowledges_no_more_than_it_says() {
    let stage = Stage::new(|call, entries| match call {
        0 => Answer::Says(vec![Verdict::Accepted]),
        1 => Answer::Says(vec![]),
        _ => all_accepted(entries),
    });
    assert_eq!(stage.run(commits(&[1, 1, 1])).await, Ok(vec![]));
    assert_eq!(stage.calls(), [3, 2, 2]);
    assert_eq!(set(stage.accepted()), all_ids(&[1, 1, 1]));
}

#[tokio::test]
async fn d22_a_call_that_always_fails_does_not_starve_the_others() {
    // Some entry of the first ten brings every call down that it is in.
    let stage = Stage::new(|_, entries| {
        let poor = |entry| envelope(entry).id == event_id(0, 4);
        if entries.iter().any(poor) { unavailable() } else { all_accepted(entries) }
    });
    let sizes = [10, 10, 10];
    assert_eq!(stage.run(commits(&sizes)).await, Ok(vec![sequence(0)]));
    let expected: BTreeSet<_> = all_ids(&sizes).difference(&all_ids(&[10])).copied().collect();
    assert!(set(stage.accepted()).is_superset(&expected));
}

#[tokio::test]
async fn an_event_that_the_bus_will_never_take_is_parked_and_the_rest_goes_on() {
    let stage = Stage::new(|_, entries| {
        let bad = |entry| envelope(entry).id == event_id(1, 0);
        let verdict =
            |entry| if bad(entry) { Verdict::Refused("MalformedDetail".into()) } else { Verdict::Accepted };
        Answer::Says(entries.iter().map(verdict).collect())
    });
    let records = commits(&[1, 2, 1]);
    assert_eq!(stage.run(records.clone()).await, Ok(vec![]));
    assert_eq!(stage.accepted().len(), 3);
    let parked = stage.parked();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].reason, &parked[0].record), (Reason::RefusedByBus, &records[1]));
    assert!(parked[0].why.contains(&event_id(1, 0).to_string()) && parked[0].why.contains("MalformedDetail"));
    assert!(stage.world.slept().is_empty());
}

#[tokio::test]
async fn an_entry_that_makes_the_whole_call_invalid_is_found_and_parked() {
    let stage = Stage::new(|_, entries| {
        let bad = |entry| envelope(entry).id == event_id(3, 0);
        if entries.iter().any(bad) {
            Answer::Fails(BusError::Invalid("1 validation error".into()))
        } else {
            all_accepted(entries)
        }
    });
    let sizes = [1, 1, 1, 1, 1, 1, 1];
    assert_eq!(stage.run(commits(&sizes)).await, Ok(vec![]));
    let mut expected = all_ids(&sizes);
    expected.remove(&event_id(3, 0));
    assert_eq!((set(stage.accepted()), stage.accepted().len()), (expected, 6));
    assert_eq!(stage.parked().len(), 1);
}

#[tokio::test]
async fn a_bus_that_counts_larger_than_we_do_gets_smaller_calls_and_then_no_body() {
    let stage = Stage::new(|_, entries| {
        let bytes: usize = entries.iter().map(|entry| entry.detail.len()).sum();
        if bytes > 20_000 {
            Answer::Fails(BusError::TooLarge("over the limit".into()))
        } else {
            all_accepted(entries)
        }
    });
    let records = vec![commit(0, &[body(9000), body(9000), body(9000)]), commit(1, &[body(50_000)])];
    assert_eq!(stage.run(records).await, Ok(vec![]));
    let bodies: Vec<bool> =
        stage.accepted.lock().unwrap().iter().map(|e| envelope(e).data.is_some()).collect();
    assert_eq!(bodies, [true, true, true, false]);
    // An event that is too large even without its body is parked.
    let stage = Stage::new(|_, _| Answer::Fails(BusError::TooLarge("over the limit".into())));
    assert_eq!(stage.run(commits(&[1])).await, Ok(vec![]));
    assert_eq!(stage.parked().len(), 1);
}

#[tokio::test]
async fn a_missing_permission_neither_parks_nor_loses_the_stream() {
    let stage = Stage::new(|_, _| Answer::Fails(BusError::Refused("AccessDeniedException".into())));
    let all: Vec<String> = (0..45).map(sequence).collect();
    assert_eq!(stage.run(commits(&[1; 45])).await, Ok(all));
    assert_eq!(stage.calls(), [10, 10, 10], "asking again does not help");
    assert!(stage.parked().is_empty());
}
