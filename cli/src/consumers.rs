//! Who hears of which events, as it is deployed: each rule of the bus with its queue and its dead-letter queue.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName;
use relay::Entry;
use serde_json::Value;

use crate::{
    deployed::Deployed,
    errors::{Error, Result},
    target::aws,
};

/// The tag by which a queue's owner declares that its consumer may hear of old events again, and what it says then. A
/// consumer that says nothing is taken to send or start something. `tests/tests/template.rs` holds who may say so.
const REPLAY_TAG: &str = "mallard:replay";
const HARMLESS: &str = "harmless";

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its function's name without the stack's prefix: `ordering-project-orders`.
    pub name: String,
    /// URL of its queue.
    pub queue: String,
    /// ARN of its queue.
    pub arn: String,
    /// What its rule lets through.
    pub pattern: Pattern,
    /// Whether events that it hears of again do nothing but bring a view up to date.
    pub harmless: bool,
}

/// What a rule lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern {
    sources: Vec<String>,
    types: Vec<String>,
}

impl Pattern {
    /// Reads a rule's pattern. More than lists of sources and detail types would need EventBridge itself to judge.
    fn parse(text: &str) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_str(text).ok()? else { return None };
        let mut list = |name: &str| -> Option<Vec<String>> {
            let Value::Array(texts) = fields.remove(name)? else { return None };
            texts.into_iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let pattern = Self { sources: list("source")?, types: list("detail-type")? };
        fields.is_empty().then_some(pattern)
    }

    /// Whether the rule lets this event through.
    pub fn passes(&self, entry: &Entry) -> bool {
        self.sources.contains(&entry.source) && self.types.contains(&entry.detail_type)
    }
}

impl Consumer {
    /// An event as the bus would put it into the consumer's queue.
    pub fn message(&self, id: kernel::Uuid, entry: &Entry) -> String {
        // arn:aws:sqs:<region>:<account>:<name>
        let mut parts = self.arn.split(':').skip(3);
        let (region, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let quoted = |text: &str| Value::from(text).to_string();
        // The detail is JSON already, and stays as it is.
        format!(
            r#"{{"version":"0","id":"{id}","detail-type":{},"source":{},"account":{},"time":{},"region":{},"resources":[],"detail":{}}}"#,
            quoted(&entry.detail_type),
            quoted(&entry.source),
            quoted(account),
            quoted(&entry.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            quoted(region),
            entry.detail
        )
    }
}

/// The end of a queue's URL or ARN.
pub fn queue_name(place: &str) -> &str {
    place.rsplit(['/', ':']).next().unwrap_or(place)
}

/// All consumers of the stack, by name.
pub async fn all(mall: &Deployed) -> Result<Vec<Consumer>> {
    let bus = mall.stack.output("EventBus")?;
    let prefix = format!("{}-", mall.stack.prefix);
    let urls = queue_urls(mall, &prefix).await?;
    let (mut consumers, mut next) = (Vec::new(), None);
    loop {
        let asked = mall.bus.list_rules().event_bus_name(bus).set_next_token(next).send().await;
        let page = asked.map_err(aws("listing the rules of the bus"))?;
        for rule in page.rules() {
            let (Some(name), Some(pattern)) = (rule.name(), rule.event_pattern()) else { continue };
            let asked = mall.bus.list_targets_by_rule().event_bus_name(bus).rule(name).send().await;
            let targets = asked.map_err(aws("listing the targets of a rule"))?;
            for arn in targets.targets().iter().map(|target| target.arn()) {
                let queue = queue_name(arn);
                let (Some(url), Some(consumer)) = (urls.get(queue), queue.strip_prefix(&prefix)) else {
                    continue;
                };
                let pattern = Pattern::parse(pattern).ok_or_else(|| Error::Impossible {
                    why: format!("rule {name} lets events through by more than source and type: {pattern}"),
                    advice: "Teach cli/src/consumers.rs what it means.".into(),
                })?;
                consumers.push(Consumer {
                    name: consumer.to_owned(),
                    harmless: is_harmless(mall, url).await?,
                    queue: url.clone(),
                    arn: arn.to_owned(),
                    pattern,
                });
            }
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    consumers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(consumers)
}

async fn is_harmless(mall: &Deployed, url: &str) -> Result<bool> {
    let asked = mall.sqs.list_queue_tags().queue_url(url).send().await;
    let tags = asked.map_err(aws("reading the tags of a queue"))?;
    Ok(tags.tags().and_then(|tags| tags.get(REPLAY_TAG)).is_some_and(|value| value == HARMLESS))
}

/// URLs of the stack's queues by name: an emulator may spell its own host differently from one answer to the next.
async fn queue_urls(mall: &Deployed, prefix: &str) -> Result<HashMap<String, String>> {
    let mut urls = HashMap::new();
    let mut pages =
        mall.sqs.list_queues().queue_name_prefix(prefix).max_results(1000).into_paginator().send();
    while let Some(page) = pages.next().await {
        for url in page.map_err(aws("listing queues"))?.queue_urls() {
            urls.insert(queue_name(url).to_owned(), url.clone());
        }
    }
    Ok(urls)
}

/// How much is in a queue: waiting, and hidden since somebody is at it.
pub async fn depth(sqs: &aws_sdk_sqs::Client, url: &str) -> Result<(u64, u64)> {
    let wanted = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let asked = sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(wanted.to_vec()));
    let answer = asked.send().await.map_err(aws("asking for the depth of a queue"))?;
    let number = |name| answer.attributes().and_then(|a| a.get(&name)?.parse().ok()).unwrap_or(0);
    let [waiting, hidden] = wanted.map(number);
    Ok((waiting, hidden))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn entry() -> Entry {
        Entry {
            source: "mallard.stores".into(),
            detail_type: "StoreCreated".into(),
            detail: r#"{"id":"1","data":{"name":"Wärme \"&\" Licht"}}"#.into(),
            time: Timestamp::UNIX_EPOCH,
            trace_header: None,
        }
    }

    #[test]
    fn a_rule_is_understood_whole_or_not_at_all() {
        let plain = r#"{"source":["mallard.stores"],"detail-type":["StoreCreated","StoreRebranded"]}"#;
        let pattern = Pattern::parse(plain).unwrap();
        assert!(pattern.passes(&entry()));
        assert!(!pattern.passes(&Entry { detail_type: "ProductAdded".into(), ..entry() }));
        assert!(!pattern.passes(&Entry { source: "mallard.depot".into(), ..entry() }));
        for more in [
            r#"{"source":["mallard.stores"]}"#,
            r#"{"source":[{"prefix":"mallard"}],"detail-type":["StoreCreated"]}"#,
            r#"{"source":["mallard.stores"],"detail-type":["StoreCreated"],"detail":{"schema":[1]}}"#,
            "[]",
        ] {
            assert_eq!(Pattern::parse(more), None, "{more}");
        }
    }

    #[test]
    fn a_message_is_what_the_bus_would_have_sent() {
        let consumer = Consumer {
            name: "stores-project-mall".into(),
            queue: String::new(),
            arn: "arn:aws:sqs:eu-west-1:123456789012:mallard-dev-stores-project-mall".into(),
            pattern: Pattern::default(),
            harmless: true,
        };
        let message: Value =
            serde_json::from_str(&consumer.message(kernel::Uuid::from_u128(7), &entry())).unwrap();
        let expected = serde_json::json!({
            "version": "0", "id": "00000000-0000-0000-0000-000000000007", "detail-type": "StoreCreated",
            "source": "mallard.stores", "account": "123456789012", "time": "1970-01-01T00:00:00Z",
            "region": "eu-west-1", "resources": [],
            "detail": { "id": "1", "data": { "name": "Wärme \"&\" Licht" } },
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn a_queue_is_known_by_the_end_of_its_url_or_arn() {
        assert_eq!(
            queue_name("http://127.0.0.1:4566/000000000000/mallard-local-relay-parked"),
            "mallard-local-relay-parked"
        );
        assert_eq!(
            queue_name("arn:aws:sqs:us-east-1:000000000000:mallard-local-relay"),
            "mallard-local-relay"
        );
    }
}
