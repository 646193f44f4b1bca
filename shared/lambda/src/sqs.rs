//! A consumer's queue in SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::{Client, error::DisplayErrorContext, types::MessageAttributeValue};

use crate::queue::{Message, Queue};

/// Longest reason, in bytes: attributes count as part of a message, and a reason is for a person to read.
const LONGEST_REASON: usize = 1_000;

/// The queues of SQS. The dead-letter queue of a queue is called like it, with `-dead` at the end: a test of
/// the templates holds that.
///
/// Needs `sqs:ChangeMessageVisibility` and `sqs:DeleteMessage` on the queue, and `sqs:SendMessage` on its
/// dead-letter queue.
pub(crate) struct Sqs {
    client: Client,
}

impl Sqs {
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }
}

/// URL of the queue with this ARN: `arn:<partition>:sqs:<region>:<account>:<name>`.
fn url(arn: &str, suffix: &str) -> Result<String, String> {
    let mut parts = arn.splitn(6, ':').skip(1);
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(partition), Some("sqs"), Some(region), Some(account), Some(name)) => {
            let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
            Ok(format!("https://sqs.{region}.{domain}/{account}/{name}{suffix}"))
        }
        _ => Err(format!("{arn:?} is not the ARN of a queue")),
    }
}

/// A reason as SQS takes it: without the characters that it refuses, and cut.
/// Source: SQS API Reference, "SendMessage", on the characters of a message.
fn sendable(reason: &str) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let mut text: String = reason.chars().filter(allowed).collect();
    let cut = (0..=LONGEST_REASON.min(text.len())).rev().find(|cut| text.is_char_boundary(*cut));
    text.truncate(cut.unwrap_or_default());
    // An empty attribute is refused.
    if text.is_empty() { "no reason".to_owned() } else { text }
}

#[async_trait]
impl Queue for Sqs {
    async fn hide(&self, message: &Message, wait: Duration) -> Result<(), String> {
        let change = self.client.change_message_visibility().queue_url(url(&message.queue, "")?);
        let seconds = i32::try_from(wait.as_secs()).unwrap_or(i32::MAX);
        let change = change.receipt_handle(&message.receipt).visibility_timeout(seconds);
        change.send().await.map(drop).map_err(|e| DisplayErrorContext(e).to_string())
    }

    async fn park(&self, message: &Message, reason: &str) -> Result<(), String> {
        let reason = MessageAttributeValue::builder().data_type("String").string_value(sendable(reason));
        let send = self.client.send_message().queue_url(url(&message.queue, "-dead")?);
        let send = send.message_body(&message.body);
        let send = send.message_attributes("reason", reason.build().map_err(|e| e.to_string())?);
        send.send().await.map(drop).map_err(|e| DisplayErrorContext(e).to_string())
    }

    async fn delete(&self, message: &Message) -> Result<(), String> {
        let delete = self.client.delete_message().queue_url(url(&message.queue, "")?);
        let delete = delete.receipt_handle(&message.receipt);
        delete.send().await.map(drop).map_err(|e| DisplayErrorContext(e).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_and_its_dead_letters_are_found_by_the_arn_that_lambda_gives() {
        let arn = "arn:aws:sqs:eu-west-1:123456789012:mallard-prod-stores-project-mall";
        let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/mallard-prod-stores-project-mall";
        assert_eq!(url(arn, "").unwrap(), queue);
        assert_eq!(url(arn, "-dead").unwrap(), format!("{queue}-dead"));
        assert!(url("arn:aws:sns:eu-west-1:1:topic", "").is_err());
        assert!(url("", "").is_err());
    }

    #[test]
    fn a_reason_that_sqs_would_refuse_is_made_sendable() {
        assert_eq!(sendable("bad\u{0}name\u{ffff} \u{1f600}"), "badname \u{1f600}");
        assert_eq!(sendable(&"ß".repeat(900)).len(), 1_000);
        assert_eq!(sendable("\u{0}"), "no reason");
    }
}
