//! Records that are not commits.

use relay::{Reason, Unreportable};
use serde_json::{Value, json};

use crate::stage::{Stage, all_ids, commits, sequence, throttled};

fn odd(record: usize, change: impl FnOnce(&mut Value)) -> Value {
    let mut value = commits(&[1; 20]).swap_remove(record);
    change(&mut value);
    value
}

#[tokio::test]
async fn a_poison_record_is_parked_whole_and_the_batch_goes_on() {
    let stage = Stage::willing();
    let poison = [
        odd(0, |r| r["dynamodb"]["NewImage"]["events"] = json!({ "S": "[" })),
        odd(1, |r| r["dynamodb"]["NewImage"]["stream"] = json!({ "S": "nonsense" })),
        odd(2, |r| r["dynamodb"]["NewImage"] = json!(null)),
        odd(3, |r| r["dynamodb"]["NewImage"]["events"] = json!({ "B": "not base64!" })),
        odd(4, |r| r["eventName"] = json!(7)),
        odd(5, |r| r["dynamodb"] = json!({ "SequenceNumber": "5" })),
        json!("not even a record"),
    ];
    let mut records = poison.to_vec();
    records.extend(commits(&[1; 20]).drain(10..));
    assert_eq!(stage.run(records).await, Ok(vec![]));
    assert_eq!(stage.accepted().len(), 10);
    let parked = stage.parked();
    assert_eq!(parked.iter().map(|p| &p.record).collect::<Vec<_>>(), poison.iter().collect::<Vec<_>>());
    for record in parked {
        assert_eq!(record.reason, Reason::Undecodable);
        assert!(!record.why.is_empty());
    }
}

#[tokio::test]
async fn a_change_to_the_append_only_table_is_parked_and_never_relayed() {
    let stage = Stage::willing();
    let records = vec![
        odd(0, |r| r["eventName"] = json!("MODIFY")),
        odd(1, |r| {
            r["eventName"] = json!("MODIFY");
            r["dynamodb"]["OldImage"] = r["dynamodb"]["NewImage"].clone();
            r["dynamodb"]["OldImage"]["actor"] = json!({ "S": "somebody else" });
        }),
        odd(2, |r| {
            r["eventName"] = json!("REMOVE");
            r["dynamodb"]["NewImage"] = json!(null);
        }),
    ];
    assert_eq!(stage.run(records).await, Ok(vec![]));
    assert!(stage.accepted().is_empty());
    assert_eq!(stage.parked().iter().map(|p| p.reason).collect::<Vec<_>>(), [Reason::NotAnAppend; 3]);
}

#[tokio::test]
async fn a_write_that_changed_nothing_is_ignored() {
    let stage = Stage::willing();
    let same = odd(0, |r| {
        r["eventName"] = json!("MODIFY");
        r["dynamodb"]["OldImage"] = r["dynamodb"]["NewImage"].clone();
    });
    assert_eq!(stage.run(vec![same]).await, Ok(vec![]));
    assert!(stage.accepted().is_empty() && stage.parked().is_empty());
}

#[tokio::test]
async fn a_record_that_cannot_even_be_parked_is_reported() {
    let stage = Stage::willing();
    *stage.parking_fails.lock().unwrap() = usize::MAX;
    let mut records = commits(&[1, 1, 1]);
    records[1]["dynamodb"]["NewImage"]["version"] = json!({ "N": "0" });
    assert_eq!(stage.run(records.clone()).await, Ok(vec![sequence(1)]));
    assert_eq!(stage.accepted().len(), 2, "the others are not held up");
    // A queue that is away for a moment only is tried again, and nothing is sent twice for it.
    let stage = Stage::willing();
    *stage.parking_fails.lock().unwrap() = 2;
    assert_eq!(stage.run(records).await, Ok(vec![]));
    assert_eq!((stage.accepted().len(), stage.parked().len()), (2, 1));
}

#[tokio::test]
async fn a_failed_record_without_a_number_fails_the_batch_rather_than_nothing() {
    let stage = Stage::new(|_, _| throttled());
    let record = odd(0, |r| r["dynamodb"]["SequenceNumber"] = json!(null));
    assert_eq!(stage.run(vec![record.clone()]).await, Err(Unreportable { index: 0 }));
    let stage = Stage::willing();
    assert_eq!(stage.run(vec![record]).await, Ok(vec![]));
    assert_eq!(stage.accepted().len(), all_ids(&[1]).len());
}
