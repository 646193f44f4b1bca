//! Time that runs out.

use std::time::Duration;

use relay::Batch;

use crate::stage::{Stage, commits, sequence, throttled};

#[tokio::test]
async fn without_time_nothing_is_begun_and_nothing_acknowledged() {
    let mut stage = Stage::willing();
    for millis in [0, 1000, 1700] {
        stage.deadline = stage.world.now() + Duration::from_millis(millis);
        let mut records = commits(&[1, 1]);
        records[1]["eventName"] = "REMOVE".into();
        assert_eq!(stage.run(records).await, Ok(vec![sequence(0), sequence(1)]));
    }
    stage.deadline = stage.world.now() - Duration::from_secs(1);
    assert_eq!(stage.run(commits(&[1])).await, Ok(vec![sequence(0)]));
    assert!(stage.calls().is_empty() && stage.parked().is_empty());
}

#[tokio::test]
async fn a_slow_bus_is_not_waited_for_beyond_the_deadline() {
    let mut stage = Stage::willing();
    stage.each_call = Duration::from_secs(3);
    // Ten calls of three seconds do not fit into thirty.
    let failed = stage.run(commits(&[10; 12])).await.unwrap();
    assert_eq!(failed, [sequence(9), sequence(10), sequence(11)]);
    let left = stage.deadline.duration_since(stage.world.now());
    assert!(left.as_millis() >= 1500, "{left:?} left to answer");
}

#[tokio::test]
async fn retries_stop_well_before_the_deadline() {
    let mut stage = Stage::new(|_, _| throttled());
    stage.deadline = stage.world.now() + Duration::from_millis(2000);
    assert_eq!(stage.run(commits(&[1])).await, Ok(vec![sequence(0)]));
    let left = stage.deadline.duration_since(stage.world.now());
    assert!(left.as_millis() >= 1500, "{left:?} left");
    assert!(stage.world.slept().len() < 5);
}

#[tokio::test]
async fn a_deadline_that_nobody_tells_is_no_reason_to_do_nothing() {
    let stage = Stage::willing();
    let response = stage.relay().relay(Batch { records: commits(&[2]) }, None).await.unwrap();
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(stage.accepted().len(), 2);
}
