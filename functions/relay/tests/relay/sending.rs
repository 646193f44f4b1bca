//! What goes on the bus, and in how many calls.

use std::collections::BTreeSet;

use event_store::{CommitLog, Head};
use kernel::{PayloadHash, RawEvent};
use relay::MAX_BYTES;
use serde_json::{Value, json};
use testing::{EmbeddedDynamo, TestPorts};

use crate::stage::{Stage, all_ids, body, commit, commits, envelope};

#[tokio::test]
async fn each_event_becomes_one_bus_event_with_all_that_a_reader_needs() {
    let stage = Stage::willing();
    let bodies = [json!({ "n": 1 }), json!({ "text": "grün" })];
    assert_eq!(stage.run(vec![commit(7, &bodies)]).await, Ok(vec![]));
    let accepted = stage.accepted.lock().unwrap().clone();
    assert_eq!(accepted.len(), 2);
    for (n, entry) in accepted.iter().enumerate() {
        assert_eq!((entry.source.as_str(), entry.detail_type.as_str()), ("mallard.test", "Noted"));
        assert_eq!(entry.time.to_string(), "2026-11-20T12:00:00.5Z");
        let header = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1";
        assert_eq!(entry.trace_header.as_deref(), Some(header));
        let event = envelope(entry);
        assert_eq!(event.stream.as_str(), "test.Ledger/7");
        assert_eq!((event.version.get(), event.first.get(), event.next.get()), (3 + n as u64, 3, 5));
        assert_eq!(event.data.as_ref(), Some(&bodies[n]));
    }
}

#[tokio::test]
async fn a_call_has_at_most_ten_entries_and_is_filled_across_commits() {
    let stage = Stage::willing();
    let sizes = [1, 3, 12, 4, 1];
    assert_eq!(stage.run(commits(&sizes)).await, Ok(vec![]));
    assert_eq!(stage.calls(), [10, 10, 1]);
    assert_eq!(stage.accepted().into_iter().collect::<BTreeSet<_>>(), all_ids(&sizes));
    assert_eq!(stage.accepted().len(), 21, "nothing is sent twice");
}

#[tokio::test]
async fn a_call_has_at_most_the_bytes_that_the_bus_takes() {
    let stage = Stage::willing();
    // Two of a commit's three events fit into a call.
    let bodies = [body(MAX_BYTES / 2 - 1000), body(MAX_BYTES / 2 - 1000), body(MAX_BYTES / 2 - 1000)];
    assert_eq!(stage.run(vec![commit(0, &bodies), commit(1, &[body(10)])]).await, Ok(vec![]));
    assert_eq!(stage.calls(), [2, 2]);
    assert!(stage.accepted.lock().unwrap().iter().all(|entry| envelope(entry).data.is_some()));
}

#[tokio::test]
async fn a_body_too_large_for_the_bus_is_left_out_and_the_event_goes_all_the_same() {
    let stage = Stage::willing();
    let records = vec![commit(0, &[body(10), body(MAX_BYTES), body(10)])];
    assert_eq!(stage.run(records).await, Ok(vec![]));
    let bodies: Vec<bool> =
        stage.accepted.lock().unwrap().iter().map(|entry| envelope(entry).data.is_some()).collect();
    assert_eq!(bodies, [true, false, true]);
    assert!(stage.parked().is_empty());
}

#[tokio::test]
async fn an_empty_batch_is_no_trouble() {
    let stage = Stage::willing();
    assert_eq!(stage.run(vec![]).await, Ok(vec![]));
    assert!(stage.calls().is_empty());
}

/// An item as a stream record has it.
fn image(item: std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>) -> Value {
    serde_json::to_value(serde_dynamo::Item::from(item)).unwrap()
}

#[tokio::test]
async fn what_the_event_store_writes_is_what_the_relay_reads() {
    let (dynamo, world) = (EmbeddedDynamo::start().await, TestPorts::new(1));
    let log = dynamo.event_log("events").await;
    let mut expected = Vec::new();
    // A small commit, and one that is stored deflated.
    for (id, text) in [("a", "x".to_owned()), ("b", "abc".repeat(5000))] {
        let event = |n: u64| RawEvent {
            event_type: "Noted".into(),
            schema: 1,
            data: json!({ "n": n, "text": text }),
        };
        let head = Head::new_stream(format!("test.Ledger/{id}").parse().unwrap());
        let commit =
            head.commit(event(1), vec![event(2)], PayloadHash::of(&()), &world.command("test"), None);
        log.append(&commit).await.unwrap();
        expected.extend(commit.as_commit().envelopes());
    }
    let items = dynamo.client().scan().table_name("events").send().await.unwrap().items.unwrap();
    assert!(items.iter().any(|item| item["events"].is_b()), "no commit was deflated");
    let records = items
        .into_iter()
        .map(|item| json!({ "eventName": "INSERT", "dynamodb": { "SequenceNumber": "1", "NewImage": image(item) } }))
        .collect();
    let stage = Stage::willing();
    assert_eq!(stage.run(records).await, Ok(vec![]));
    let mut sent: Vec<_> = stage.accepted.lock().unwrap().iter().map(envelope).collect();
    sent.sort_by_key(|event| (event.stream.clone(), event.version));
    assert_eq!(sent, expected);
}
