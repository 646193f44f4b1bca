//! Why a consumer could not handle a message: what it said last, in its log.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::letter::{Content, Letter};
use crate::{deployed::Deployed, errors::Result, target::aws};

/// Pages of the log that are read for one message. Lines about it begin when it was sent, so they stand in the first.
const PAGES: usize = 3;

/// Messages whose reason is looked up in one go: each costs a search in the log, or two.
pub const LOOKED_UP: usize = 20;

/// The reason with which the consumer parked this message, or the last error that it logged about it.
pub async fn logged(mall: &Deployed, consumer: &str, letter: &Letter) -> Result<Option<String>> {
    if letter.reason.is_some() {
        return Ok(letter.reason.clone());
    }
    for id in ids(letter) {
        let why = about(mall, consumer, &id, letter.sent).await?;
        if why.is_some() {
            return Ok(why);
        }
    }
    Ok(None)
}

/// Ids by which a consumer's log names a message: the event's, or else the message's own, which it keeps when
/// it is moved to the dead letters.
fn ids(letter: &Letter) -> Vec<String> {
    match &letter.content {
        Content::Event { event, .. } => vec![event.id.to_string(), letter.id.clone()],
        Content::Parked(_) | Content::GivenUp(_) | Content::Unknown(_) => Vec::new(),
    }
}

/// The last error in a consumer's log, since shortly before `sent`, in a line with this id.
async fn about(mall: &Deployed, consumer: &str, id: &str, sent: Option<Timestamp>) -> Result<Option<String>> {
    let group = format!("/aws/lambda/{}-{consumer}", mall.stack.prefix);
    let from = sent.and_then(|sent| sent.checked_sub(SignedDuration::from_mins(1)).ok());
    let mut pages = mall
        .logs
        .filter_log_events()
        .log_group_name(group)
        .filter_pattern(format!("\"{id}\""))
        .start_time(from.map_or(0, Timestamp::as_millisecond))
        .into_paginator()
        .send();
    let mut last = None;
    for _ in 0..PAGES {
        let Some(page) = pages.next().await else { break };
        let page = match page {
            Ok(page) => page,
            // A consumer that never ran has no log.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                break;
            }
            Err(error) => return Err(aws("searching a log")(error)),
        };
        for line in page.events() {
            last = line.message().and_then(error_of).or(last);
        }
    }
    Ok(last)
}

/// The error in a line of a function's log.
fn error_of(line: &str) -> Option<String> {
    let fields: Value = serde_json::from_str(line).ok()?;
    if fields["level"] != "ERROR" {
        return None;
    }
    fields["error"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_tells_of_an_error_says_why() {
        let line =
            r#"{"level":"ERROR","message":"not handled: left to the queue","error":"no such product"}"#;
        assert_eq!(error_of(line).as_deref(), Some("no such product"));
        for other in [
            "",
            "REPORT RequestId: 1",
            r#"{"level":"INFO","error":"x"}"#,
            r#"{"level":"ERROR","message":"x"}"#,
        ] {
            assert_eq!(error_of(other), None, "{other}");
        }
    }
}
