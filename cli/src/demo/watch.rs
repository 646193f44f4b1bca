//! Looks at the event table while the story goes on, and tells what is new.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use contracts::Envelope;
use event_store::{CommitLog, DynamoLog};
use jiff::Timestamp;
use kernel::{Money, StreamId, Version};
use serde_json::Value;
use uuid::Uuid;

use super::{
    api::short,
    timeline::{Entry, Timeline, What},
};
use crate::{
    errors::{Error, Result},
    stack::Stack,
    target::Target,
    ui,
};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(120);

/// A look that fails is repeated; when it has failed for this long, something is wrong for good.
const TOLERANCE: Duration = Duration::from_secs(15);

/// Commits to read of a stream. The story's streams have a handful.
const ENOUGH: u32 = 100;

/// See the module.
pub struct Watch {
    log: DynamoLog,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    timeline: Timeline,
    streams: BTreeMap<String, Vec<Envelope>>,
    followed: BTreeSet<String>,
}

impl Watch {
    pub async fn new(target: &Target, stack: &Stack) -> Result<Self> {
        let config = target.sdk().await;
        Ok(Self {
            log: DynamoLog::new(aws_sdk_dynamodb::Client::new(&config), stack.output("EventTable")?),
            seen: RefCell::default(),
        })
    }

    /// Follows a stream from now on.
    pub fn stream(&self, category: &str, id: Uuid) {
        self.seen.borrow_mut().followed.insert(format!("{category}/{id}"));
    }

    /// Follows no stream any longer. What was seen stays known.
    pub fn let_go(&self) {
        self.seen.borrow_mut().followed.clear();
    }

    /// The events seen of a stream.
    pub fn events_of(&self, category: &str, id: Uuid) -> Vec<Envelope> {
        self.seen.borrow().streams.get(&format!("{category}/{id}")).cloned().unwrap_or_default()
    }

    /// Adds an entry that did not come from the table.
    pub fn note(&self, entry: Entry) {
        self.seen.borrow_mut().timeline.add(entry);
    }

    /// Tells all that waits to be told.
    pub fn flush(&self) {
        let rest = self.seen.borrow_mut().timeline.rest();
        rest.iter().for_each(|entry| ui::line(entry.line()));
    }

    /// Looks again and again. Ends only when it cannot go on.
    pub async fn forever(&self) -> Error {
        let mut well = Instant::now();
        loop {
            match self.look().await {
                Ok(()) => well = Instant::now(),
                Err(error) if well.elapsed() > TOLERANCE => return error,
                Err(_) => {}
            }
            let ready = self.seen.borrow_mut().timeline.ready(Timestamp::now());
            ready.iter().for_each(|entry| ui::line(entry.line()));
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Looks once at every stream that is followed.
    pub async fn look(&self) -> Result<()> {
        let streams: Vec<String> = self.seen.borrow().followed.iter().cloned().collect();
        for name in streams {
            self.look_at_stream(&name).await?;
        }
        Ok(())
    }

    async fn look_at_stream(&self, name: &str) -> Result<()> {
        let failed = |why: String| Error::Aws { operation: "reading the event table", why };
        let stream: StreamId =
            name.parse().map_err(|e: kernel::stream::StreamIdError| failed(e.to_string()))?;
        let newest = Version::new(u64::MAX);
        let page = self.log.newest(&stream, newest, Some(ENOUGH)).await.map_err(|e| failed(e.to_string()))?;
        let mut seen = self.seen.borrow_mut();
        let Seen { timeline, streams, .. } = &mut *seen;
        let known = streams.entry(name.to_owned()).or_default();
        let last = known.last().map_or(Version::NONE, |envelope| envelope.version);
        for envelope in page.commits.iter().rev().flat_map(|commit| commit.envelopes()) {
            if envelope.version > last {
                timeline.add(Entry { at: envelope.at, source: short(name), what: event(&envelope) });
                known.push(envelope);
            }
        }
        Ok(())
    }
}

fn event(envelope: &Envelope) -> What {
    let mut detail =
        envelope.data.as_ref().map(|data| detail(&envelope.event_type, data)).unwrap_or_default();
    let actor = envelope.actor.to_string();
    if actor.starts_with("saga:") {
        let attempts =
            if envelope.attempt > 0 { format!(", attempt {}", envelope.attempt + 1) } else { String::new() };
        detail = format!("{detail}  ← {actor}{attempts}").trim_start().to_owned();
    }
    What::Event { version: envelope.version.get(), event_type: envelope.event_type.clone(), detail }
}

/// Describes the body of an event in a few words.
fn detail(event_type: &str, data: &Value) -> String {
    let item = &data["item"];
    let mut parts = Vec::new();
    if let (Some(quantity), Some(name)) = (item["quantity"].as_u64(), item["productName"].as_str()) {
        parts.push(format!("{quantity} × {name}"));
    }
    if let Some(quantity) = data["quantity"].as_u64() {
        parts.push(match event_type {
            "BasketItemRemoved" | "StockReduced" => format!("{quantity} less"),
            "StockAdded" => format!("{quantity} more"),
            "InventoryReserved" => format!("{quantity} kept"),
            "InventoryReleased" => format!("{quantity} given back"),
            _ => quantity.to_string(),
        });
    }
    for (name, field) in [("on hand", "onHand"), ("available", "available")] {
        if let Some(count) = data[field].as_u64() {
            parts.push(format!("{count} {name}"));
        }
    }
    if let Some(stops) = data["stops"].as_array() {
        let stores = stops.iter().filter_map(|stop| stop["storeName"].as_str()).collect::<Vec<_>>();
        parts.push(format!("at {}", stores.join(" and ")));
    }
    for (name, field) in [("at", &item["price"]), ("total", &data["total"]), ("amount", &data["amount"])] {
        if let Ok(money) = serde_json::from_value::<Money>(field.clone()) {
            parts.push(format!("{name} {money}"));
        }
    }
    for field in ["reason", "outcome", "error", "cause"] {
        parts.extend(data[field].as_str().map(str::to_owned));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_saga_did_is_told_from_what_a_customer_did() {
        let id = Uuid::from_u128(7);
        let told = |actor: &str, attempt: u32| {
            let envelope = json!({
                "id": id, "type": "InventoryReserved", "schema": 1, "stream": "inventory.StockItem/7", "version": 2,
                "first": 2, "next": 3, "at": "2026-01-31T12:00:00Z", "actor": actor, "correlation": id, "command": id,
                "attempt": attempt, "data": { "quantity": 3 },
            });
            match event(&serde_json::from_value(envelope).unwrap()) {
                What::Event { detail, .. } => detail,
                What::Request { line, .. } => line,
            }
        };
        assert_eq!(told("user:1", 0), "3 kept");
        assert_eq!(told("saga:order", 0), "3 kept  ← saga:order");
        assert_eq!(told("saga:order", 2), "3 kept  ← saga:order, attempt 3");
    }

    #[test]
    fn an_event_is_told_in_a_few_words() {
        let price = json!({"minor": 320, "currency": "USD"});
        let added = json!({"item": {"quantity": 4, "productName": "Pears", "price": price}});
        assert_eq!(detail("BasketItemAdded", &added), "4 × Pears, at 3.20 USD");
        assert_eq!(detail("OrderRejected", &json!({"reason": "X", "customerId": "c"})), "X");
        assert_eq!(
            detail("StockReduced", &json!({"quantity": 3, "onHand": 9, "reason": "Sold"})),
            "3 less, 9 on hand, Sold"
        );
        assert_eq!(
            detail("InventoryReserved", &json!({"quantity": 3, "available": 9})),
            "3 kept, 9 available"
        );
        let stops = json!({"stops": [{"storeName": "Corner Books"}, {"storeName": "Green Grocer"}]});
        assert_eq!(detail("ShoppingListCreated", &stops), "at Corner Books and Green Grocer");
        assert_eq!(detail("ShoppingListInitiated", &json!({})), "");
        let stuck = json!({"attempt": 4, "error": "UNDO_FAILED", "cause": "down"});
        assert_eq!(detail("SagaStuck", &stuck), "UNDO_FAILED, down");
    }
}
