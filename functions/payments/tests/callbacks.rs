//! What Step Functions is told, and what its answers mean.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::time::Duration;

use aws_sdk_sfn::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
};
use payments::{
    callbacks::{Heard, StepFunctions, TaskCallbacks},
    waits::TaskToken,
};
use serde_json::json;
use testing::FixedService;

fn token() -> TaskToken {
    "secret".to_owned().try_into().unwrap()
}

fn callbacks(endpoint: &str) -> StepFunctions {
    let config = aws_sdk_sfn::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "a test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(30)).build())
        .retry_config(RetryConfig::disabled())
        .build();
    StepFunctions::new(Client::from_conf(config))
}

#[tokio::test]
async fn a_task_is_told_how_it_ended() {
    let service = FixedService::start(json!({})).await;
    let callbacks = callbacks(&service.endpoint());
    assert_eq!(callbacks.succeed(&token()).await, Ok(Heard::Now));
    assert_eq!(callbacks.fail(&token(), "ORDER_CANCELLED", "it was").await, Ok(Heard::Now));
    let success = json!({ "taskToken": "secret", "output": "{}" });
    let failure = json!({ "taskToken": "secret", "error": "ORDER_CANCELLED", "cause": "it was" });
    let expected = [
        ("AWSStepFunctions.SendTaskSuccess".to_owned(), success),
        ("AWSStepFunctions.SendTaskFailure".to_owned(), failure),
    ];
    assert_eq!(service.asked(), expected);
}

#[tokio::test]
async fn a_task_that_is_over_is_an_answer_and_no_dead_letter() {
    for error in ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"] {
        let service = FixedService::refusing(400, error).await;
        let callbacks = callbacks(&service.endpoint());
        assert_eq!(callbacks.succeed(&token()).await, Ok(Heard::TooLate), "{error}");
        assert_eq!(callbacks.fail(&token(), "E", "").await, Ok(Heard::TooLate), "{error}");
    }
}

#[tokio::test]
async fn a_call_that_came_to_nothing_is_made_again() {
    // A role that is too narrow shows in the dead letters, and not in a saga that is never woken.
    for (status, error) in
        [(400, "ThrottlingException"), (400, "AccessDeniedException"), (500, "InternalServerError")]
    {
        let service = FixedService::refusing(status, error).await;
        let callbacks = callbacks(&service.endpoint());
        for fault in [
            callbacks.succeed(&token()).await.unwrap_err(),
            callbacks.fail(&token(), "E", "").await.unwrap_err(),
        ] {
            assert!(fault.is_technical() && fault.to_string().contains(error), "{fault}");
            assert!(!fault.to_string().contains("secret"), "{fault}");
        }
    }
}
