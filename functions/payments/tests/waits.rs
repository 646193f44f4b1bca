//! Where the waits are kept: memory and DynamoDB do the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{future::Future, sync::Arc, time::Duration};

use contracts::ids::OrderId;
use kernel::{Id, Timestamp};
use payments::waits::{DynamoWaits, Kept, MemoryWaits, PaymentWaits, TaskToken, Wait, create_table};
use testing::EmbeddedDynamo;

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

fn token(text: &str) -> TaskToken {
    text.to_owned().try_into().unwrap()
}

/// A wait that began so many milliseconds after an hour.
fn wait(text: &str, millis: u64) -> Wait {
    let since = Timestamp::constant(1_795_165_200, 0) + Duration::from_millis(millis);
    Wait { token: token(text), since, until: Timestamp::constant(1_797_843_600, 0) }
}

/// Runs a test on every implementation.
async fn everywhere<F: Future<Output = ()>>(test: impl Fn(Arc<dyn PaymentWaits>) -> F) {
    test(Arc::new(MemoryWaits::default())).await;
    let dynamo = EmbeddedDynamo::start().await;
    create_table(&dynamo.client(), "waits").await.unwrap();
    test(Arc::new(DynamoWaits::new(dynamo.client(), "waits"))).await;
}

#[tokio::test]
async fn a_wait_is_found_as_it_was_kept_and_by_its_order_alone() {
    everywhere(|waits| async move {
        assert_eq!(waits.newest(order("1")).await, Ok(None));
        assert_eq!(waits.keep(order("1"), &wait("a", 1)).await, Ok(Kept::Now));
        assert_eq!(waits.newest(order("1")).await, Ok(Some(wait("a", 1))));
        assert_eq!(waits.newest(order("2")).await, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn the_next_wait_takes_the_place_of_the_one_before() {
    everywhere(|waits| async move {
        waits.keep(order("1"), &wait("a", 1)).await.unwrap();
        assert_eq!(waits.keep(order("1"), &wait("b", 2)).await, Ok(Kept::Now));
        assert_eq!(waits.newest(order("1")).await, Ok(Some(wait("b", 2))));
    })
    .await;
}

#[tokio::test]
async fn a_slow_function_does_not_bring_back_a_wait_that_is_over() {
    everywhere(|waits| async move {
        waits.keep(order("1"), &wait("b", 2)).await.unwrap();
        assert_eq!(waits.keep(order("1"), &wait("a", 1)).await, Ok(Kept::Newer));
        assert_eq!(waits.newest(order("1")).await, Ok(Some(wait("b", 2))));
    })
    .await;
}

#[tokio::test]
async fn a_wait_can_be_kept_twice_and_of_two_at_once_the_last_one_stays() {
    everywhere(|waits| async move {
        for text in ["a", "a", "b"] {
            assert_eq!(waits.keep(order("1"), &wait(text, 1)).await, Ok(Kept::Now));
            assert_eq!(waits.newest(order("1")).await, Ok(Some(wait(text, 1))));
        }
    })
    .await;
}

#[tokio::test]
async fn dynamodb_forgets_a_wait_by_an_attribute_that_it_understands() {
    // The template names this attribute; anything but a number of seconds would be ignored without a word.
    let dynamo = EmbeddedDynamo::start().await;
    create_table(&dynamo.client(), "waits").await.unwrap();
    DynamoWaits::new(dynamo.client(), "waits").keep(order("1"), &wait("a", 1)).await.unwrap();
    let items = dynamo.client().scan().table_name("waits").send().await.unwrap().items.unwrap();
    assert_eq!(items[0]["until"].as_n().unwrap(), "1797843600");
    let template = include_str!("../../../infra/payments.yaml");
    assert!(template.contains("TimeToLiveSpecification: {AttributeName: until, Enabled: true}"));
}

#[tokio::test]
async fn a_table_that_is_not_there_is_a_failure_and_no_missing_wait() {
    let dynamo = EmbeddedDynamo::start().await;
    let waits = DynamoWaits::new(dynamo.client(), "waits");
    assert!(waits.newest(order("1")).await.unwrap_err().is_technical());
    assert!(waits.keep(order("1"), &wait("a", 1)).await.unwrap_err().is_technical());
}

#[test]
fn a_token_does_not_show_itself() {
    let shown = format!("{:?}", wait("secret", 1));
    assert!(!shown.contains("secret") && shown.contains("TaskToken"), "{shown}");
    assert_eq!(token("secret").secret(), "secret");
}

#[test]
fn what_step_functions_cannot_have_made_is_no_token() {
    assert!(TaskToken::try_from("x".repeat(2048)).is_ok());
    for text in [String::new(), "x".repeat(2049)] {
        let why = TaskToken::try_from(text).unwrap_err();
        assert!(why.contains("1 to 2048"), "{why}");
    }
}
