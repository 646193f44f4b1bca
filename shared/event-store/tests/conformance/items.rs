//! What only DynamoDB can do: damaged items, stream records, and each answer that it may give.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use event_store::{AppendError, CommitLog, DynamoLog, Expect, Head, StoreError, from_stream_record};
use kernel::{PayloadHash, Version};
use testing::{TestPorts, dynamo::client_of};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    ledger::{Command, Ledger, post},
    world::{Item, TABLE, World, items, noise, posted, reopened, stream},
};

async fn put(world: &World, item: Item) {
    world.client().unwrap().put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
}

fn number(n: u64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

fn text(s: &str) -> AttributeValue {
    AttributeValue::S(s.into())
}

#[tokio::test]
async fn a_damaged_item_is_reported_with_its_key() {
    let world = World::dynamo().await;
    let good = stream("good");
    world.send(&good, post([1, 2])).await.unwrap();
    let good = items(&world.client().unwrap(), &good).await.remove(0);
    // None takes the attribute away.
    let damages: Vec<(&str, Option<AttributeValue>)> = vec![
        ("events", None),
        ("events", Some(text("[]"))),
        ("events", Some(text("{"))),
        ("events", Some(AttributeValue::B(b"not deflated".to_vec().into()))),
        ("events", Some(AttributeValue::L(vec![]))),
        ("next", None),
        ("next", Some(number(2))),
        ("next", Some(number(4))),
        ("next", Some(text("3"))),
        ("command", Some(text("no id"))),
        ("hash", None),
        ("at", Some(text("yesterday"))),
        ("correlation", None),
        ("causation", Some(text("no id"))),
        ("trace", Some(text("no trace"))),
        ("snapshot", Some(text("{}"))),
        ("snapshotSchema", Some(number(1))),
    ];
    for (n, (attribute, damage)) in damages.into_iter().enumerate() {
        let name = stream(&format!("damaged-{n}"));
        let mut item = good.clone();
        item.insert("stream".into(), text(name.as_str()));
        let what = format!("{attribute} = {damage:?}");
        match damage {
            Some(value) => item.insert(attribute.into(), value),
            None => item.remove(attribute),
        };
        put(&world, item).await;
        match world.store().load::<Ledger>(&name).await {
            Err(StoreError::Corrupt { stream, version, .. }) => {
                assert_eq!((stream.as_str(), version), (name.as_str(), Version::FIRST), "{what}");
            }
            other => panic!("{what} was read as {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_attribute_that_newer_code_adds_does_not_disturb_older_code() {
    let world = World::dynamo().await;
    let name = stream("extra");
    world.send(&name, post([1, 2])).await.unwrap();
    let mut item = items(&world.client().unwrap(), &name).await.remove(0);
    item.insert("region".into(), text("moon"));
    put(&world, item).await;
    assert_eq!(world.store().load::<Ledger>(&name).await.unwrap().state.unwrap().balance, 3);
}

#[tokio::test]
async fn a_first_attempt_costs_nothing_and_what_was_committed_before_attempts_were_counted_is_one() {
    let world = World::dynamo().await;
    for (attempt, written) in [(0, None), (2, Some(number(2)))] {
        let name = stream(&format!("attempt-{attempt}"));
        let meta = kernel::CommandMeta { attempt, ..world.command() };
        world.send_as(&name, Expect::Any, post([1]), &meta).await.unwrap();
        assert_eq!(items(&world.client().unwrap(), &name).await[0].get("attempt").cloned(), written);
        let envelopes: Vec<_> = world.history(&name).await[0].envelopes().collect();
        assert_eq!(envelopes[0].attempt, attempt);
        let told = serde_json::to_value(&envelopes[0]).unwrap();
        assert_eq!(told.get("attempt").is_some(), attempt > 0);
        assert_eq!(serde_json::from_value::<contracts::Envelope>(told).unwrap(), envelopes[0]);
    }
}

#[tokio::test]
async fn a_forged_commit_beyond_a_gap_or_over_another_one_is_reported() {
    let world = World::dynamo().await;
    // After [1..2]: a commit at 4 leaves a gap, one at 2 overlaps.
    for forged in [4, 2] {
        let name = stream(&format!("forged-{forged}"));
        world.send(&name, post([1, 2])).await.unwrap();
        let mut item = items(&world.client().unwrap(), &name).await.remove(0);
        item.insert("version".into(), number(forged));
        item.insert("next".into(), number(forged + 2));
        put(&world, item).await;
        for error in [
            world.store().load::<Ledger>(&name).await.map(|_| ()).unwrap_err(),
            world.store().events_after(&name, Version::NONE).await.map(|_| ()).unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_deleted_commit_is_reported() {
    let world = World::dynamo().await;
    let name = stream("deleted");
    for amount in 1..=3 {
        world.send(&name, post([amount])).await.unwrap();
    }
    let client = world.client().unwrap();
    client
        .delete_item()
        .table_name(TABLE)
        .key("stream", text(name.as_str()))
        .key("version", number(2))
        .send()
        .await
        .unwrap();
    let error = world.store().load::<Ledger>(&name).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_stream_record_holds_the_same_commit_as_the_table() {
    let world = World::dynamo().await;
    let name = stream("record");
    for n in 0..14 {
        // Readable and deflated ones, with and without a snapshot.
        let command = if n % 2 == 0 { post([n, n]) } else { Command::Note(noise(5000, n as u64)) };
        world.send(&name, command).await.unwrap();
    }
    let history = world.history(&name).await;
    assert!(history.iter().any(|commit| commit.snapshot.is_some()));
    for (item, commit) in items(&world.client().unwrap(), &name).await.into_iter().zip(history) {
        let image: serde_dynamo::Item = item
            .into_iter()
            .map(|(k, v)| (k, v.into()))
            .collect::<std::collections::HashMap<_, serde_dynamo::AttributeValue>>()
            .into();
        assert_eq!(from_stream_record(image), Ok(commit));
    }
    assert!(from_stream_record(serde_dynamo::Item::default()).is_err());
}

#[tokio::test]
async fn another_process_sees_the_same() {
    let world = World::dynamo().await;
    let name = stream("reopened");
    world.send(&name, post([1, 2])).await.unwrap();
    let here = world.history(&name).await;
    let page = reopened(world.client().unwrap()).newest(&name, Version::new(9), None).await.unwrap();
    assert_eq!(page.commits, here);
}

/// An answer of the network or the service.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// An error, in DynamoDB's form.
    Error(u16, &'static str),
    /// Some other page, for example a load balancer's.
    Page(u16),
    /// The connection ends instead.
    Closes,
    /// Nothing comes.
    Hangs,
}

/// A log in a table that always answers like this.
async fn answering(answer: Answer) -> DynamoLog {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            read_request(&mut socket).await;
            let (status, body) = match answer {
                Answer::Error(status, code) => (
                    status,
                    format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"no"}}"#),
                ),
                Answer::Page(status) => (status, "<html>no</html>".to_owned()),
                Answer::Closes => continue,
                Answer::Hangs => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    continue;
                }
            };
            let head = format!(
                "HTTP/1.1 {status} No\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            socket.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    DynamoLog::new(client_of(&endpoint, Duration::from_millis(300)), TABLE)
}

async fn read_request(socket: &mut TcpStream) {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = socket.read(&mut chunk).await.unwrap();
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap();
        if body.len() >= length.parse().unwrap() {
            return;
        }
    }
}

/// What a writer may conclude from an answer.
#[derive(Debug, PartialEq)]
enum Concluded {
    /// Perhaps written, perhaps not.
    Unknown,
    /// Not written; worth another try.
    NotWritten,
    /// Not written, nor will it ever be.
    Refused,
}

#[tokio::test]
async fn only_an_answer_that_says_so_means_that_nothing_was_written() {
    let head = Head::new_stream(stream("answers"));
    let meta = TestPorts::new(1).command("test");
    let commit = head.commit(posted(1), vec![], PayloadHash::of(&0), &meta, None);
    for (answer, expected) in [
        (Answer::Error(400, "ProvisionedThroughputExceededException"), Concluded::NotWritten),
        (Answer::Error(400, "ThrottlingException"), Concluded::NotWritten),
        (Answer::Error(400, "RequestLimitExceeded"), Concluded::NotWritten),
        (Answer::Error(400, "AccessDeniedException"), Concluded::Refused),
        (Answer::Error(400, "ResourceNotFoundException"), Concluded::Refused),
        (Answer::Error(400, "ValidationException"), Concluded::Refused),
        // Taken, but the answer leaves out by whom (some emulators do): a read has to tell.
        (Answer::Error(400, "ConditionalCheckFailedException"), Concluded::Unknown),
        (Answer::Error(500, "InternalServerError"), Concluded::Unknown),
        (Answer::Error(503, "ServiceUnavailable"), Concluded::Unknown),
        (Answer::Page(502), Concluded::Unknown),
        (Answer::Page(504), Concluded::Unknown),
        (Answer::Closes, Concluded::Unknown),
        (Answer::Hangs, Concluded::Unknown),
    ] {
        let log = answering(answer).await;
        let concluded = match log.append(&commit).await.unwrap_err() {
            AppendError::Unknown(_) => Concluded::Unknown,
            AppendError::Store(StoreError::Unavailable { .. }) => Concluded::NotWritten,
            AppendError::Store(StoreError::Refused { .. }) => Concluded::Refused,
            other => panic!("{answer:?}: {other}"),
        };
        assert_eq!(concluded, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_read_that_is_not_answered_is_never_an_empty_stream() {
    for (answer, passing) in [
        (Answer::Error(400, "ProvisionedThroughputExceededException"), true),
        (Answer::Error(400, "AccessDeniedException"), false),
        (Answer::Error(400, "ResourceNotFoundException"), false),
        (Answer::Error(500, "InternalServerError"), true),
        (Answer::Page(503), true),
        (Answer::Closes, true),
        (Answer::Hangs, true),
    ] {
        let log = answering(answer).await;
        let error = log.newest(&stream("answers"), Version::new(1), None).await.unwrap_err();
        assert_eq!(matches!(error, StoreError::Unavailable { .. }), passing, "{answer:?}: {error}");
        assert!(error.to_string().contains("Query"), "{error}");
    }
}
