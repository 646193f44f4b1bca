//! Commits that are large, and commits that are too large.

use aws_sdk_dynamodb::types::AttributeValue;
use event_store::{AppendError, CommitLog, Expect, MemoryLog, TransactError, item_bytes};
use kernel::{StreamId, Version};

use crate::{
    ledger::{Command, Entry, Ledger, post},
    world::{World, items, noise, raw, stream},
};

const LIMIT: usize = 400 * 1024;

pub async fn a_commit_over_400_kb_is_refused_before_the_write_with_its_size(world: World) {
    let stream = stream("too-large");
    world.send(&stream, post([1])).await.unwrap();
    if let Some(meter) = world.meter() {
        meter.take();
    }
    let answer = world.send(&stream, Command::Note(noise(700_000, 1))).await;
    let Err(TransactError::TooLarge { bytes, limit }) = answer else { panic!("{answer:?}") };
    assert_eq!(limit, LIMIT);
    assert!((LIMIT + 1..700_000).contains(&bytes), "{bytes} bytes, after compression");
    if let Some(meter) = world.meter() {
        assert_eq!(meter.take().requests, 1, "the load only: no write was tried");
    }
    assert_eq!(world.history(&stream).await.len(), 1);
    world.send(&stream, post([1])).await.expect("the stream goes on");
}

pub async fn the_largest_commit_that_is_let_through_is_taken(world: World) {
    let name = stream("largest");
    let text = noise(600_000, 2);
    let meta = world.command();
    let commit = async |length: usize, stream: &StreamId| {
        world.next_commit(stream, [raw(&Entry::Noted { text: text[..length].to_owned() })], &meta).await
    };
    // The search goes on against the rule itself, not against the table.
    let (mut fits, mut too_large) = (300_000, text.len());
    while too_large - fits > 1 {
        let middle = fits.midpoint(too_large);
        match MemoryLog::new().append(&commit(middle, &name).await).await {
            Ok(()) => fits = middle,
            Err(AppendError::TooLarge { bytes, limit }) => {
                assert!(bytes > limit);
                too_large = middle;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let largest = commit(fits, &name).await;
    world.log.append(&largest).await.expect("DynamoDB takes what our own sum lets through");
    assert_eq!(world.history(&name).await, [largest.as_commit().clone()]);
    if let Some(client) = world.client() {
        let bytes = item_bytes(&items(&client, &name).await[0]);
        assert!((LIMIT - 8..=LIMIT).contains(&bytes), "{bytes}: nothing is refused needlessly");
    }
}

pub async fn a_snapshot_that_does_not_fit_is_left_out_and_the_events_are_kept(world: World) {
    let stream = stream("big-state");
    for n in 0..15 {
        world.send(&stream, Command::Hoard(noise(60_000, n))).await.unwrap();
    }
    let history = world.history(&stream).await;
    assert_eq!(history.len(), 15, "every command is carried out");
    assert!(history.iter().all(|commit| commit.snapshot.is_none()), "900 KB of state fit nowhere");
    let loaded = world.store().load::<Ledger>(&stream).await.unwrap();
    assert_eq!(loaded.state.unwrap().hoard.len(), 15);
}

pub async fn what_is_stored_deflated_reads_back_the_same(world: World) {
    let cases = [
        ("small", "short".to_owned(), false),
        ("repetitive", "the same again and again, ".repeat(400), true),
        // Two units plain and two units deflated: then it stays readable.
        ("no-gain", noise(1200, 3), false),
        ("noise", noise(40_000, 4), true),
        ("unicode", "Grüße, 挨拶, \u{1F986} \"quoted\" \\ \u{0}".repeat(200), true),
    ];
    for (name, text, deflated) in cases {
        let stream = stream(name);
        let meta = world.command();
        world.send_as(&stream, Expect::New, Command::Note(text.clone()), &meta).await.unwrap();
        let events = world.store().events_after(&stream, Version::NONE).await.unwrap();
        assert_eq!(events[0].event(), Ok(Entry::Noted { text: text.clone() }), "{name}");
        if let Some(client) = world.client() {
            let item = items(&client, &stream).await.remove(0);
            let stored = &item["events"];
            assert_eq!(matches!(stored, AttributeValue::B(_)), deflated, "{name}: {stored:?}");
            if deflated {
                assert!(item_bytes(&item).div_ceil(1024) < text.len().div_ceil(1024), "{name}");
            }
        }
    }
}

pub async fn a_body_that_could_not_be_inflated_again_is_refused(world: World) {
    // It would deflate to 70 KB, and no reader would inflate it: reading stops at 64 MB.
    let stream = stream("bomb");
    let bomb = raw(&Entry::Noted { text: "x".repeat(65 * 1024 * 1024) });
    let commit = world.next_commit(&stream, [bomb], &world.command()).await;
    let refused = world.log.append(&commit).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    assert!(world.history(&stream).await.is_empty());
}
