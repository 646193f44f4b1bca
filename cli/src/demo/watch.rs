//! Looks at the event table and at the sagas while the story goes on, and tells what is new.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use aws_sdk_sfn::types::{HistoryEvent, HistoryEventType};
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
    target::{Target, aws},
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
    sfn: aws_sdk_sfn::Client,
    saga: String,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    timeline: Timeline,
    streams: BTreeMap<String, Vec<Envelope>>,
    followed: BTreeSet<String>,
    sagas: BTreeMap<Uuid, Saga>,
}

/// One execution of the order saga.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saga {
    last: i64,
    /// States entered, and one for the start: what AWS counts and charges.
    pub transitions: u32,
    /// Where it is, or where it ended.
    pub state: String,
    /// How it ended.
    pub ended: Option<HistoryEventType>,
}

impl Watch {
    pub async fn new(target: &Target, stack: &Stack) -> Result<Self> {
        let config = target.sdk().await;
        Ok(Self {
            log: DynamoLog::new(aws_sdk_dynamodb::Client::new(&config), stack.output("EventTable")?),
            sfn: aws_sdk_sfn::Client::new(&config),
            saga: stack.output("OrderSagaArn")?.replace(":stateMachine:", ":execution:"),
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

    /// Follows the saga of an order from now on.
    pub fn saga(&self, order: Uuid) {
        self.seen.borrow_mut().sagas.entry(order).or_default();
    }

    /// What is known of the saga of an order.
    pub fn saga_of(&self, order: Uuid) -> Saga {
        self.seen.borrow().sagas.get(&order).cloned().unwrap_or_default()
    }

    /// The events seen of a stream.
    pub fn events_of(&self, category: &str, id: Uuid) -> Vec<Envelope> {
        self.seen.borrow().streams.get(&format!("{category}/{id}")).cloned().unwrap_or_default()
    }

    /// Adds what did not come from the table or from a saga.
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

    /// Looks once at everything.
    pub async fn look(&self) -> Result<()> {
        let streams: Vec<String> = self.seen.borrow().followed.iter().cloned().collect();
        for name in streams {
            self.look_at_stream(&name).await?;
        }
        let orders: Vec<Uuid> = {
            let seen = self.seen.borrow();
            seen.sagas.iter().filter(|(_, saga)| saga.ended.is_none()).map(|(order, _)| *order).collect()
        };
        for order in orders {
            self.look_at_saga(order).await?;
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

    async fn look_at_saga(&self, order: Uuid) -> Result<()> {
        let execution = format!("{}:{order}", self.saga);
        let mut pages = self.sfn.get_execution_history().execution_arn(execution).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = match page {
                // It has not started yet.
                Err(e) if e.as_service_error().is_some_and(|e| e.is_execution_does_not_exist()) => {
                    return Ok(());
                }
                page => page.map_err(aws("reading the history of the saga"))?,
            };
            let mut seen = self.seen.borrow_mut();
            let Seen { timeline, sagas, .. } = &mut *seen;
            let saga = sagas.entry(order).or_default();
            for happened in page.events().iter().filter(|event| event.id() > 0) {
                if happened.id() <= saga.last {
                    continue;
                }
                saga.last = happened.id();
                if let Some(what) = saga.follow(happened) {
                    let at = Timestamp::from_nanosecond(happened.timestamp().as_nanos())
                        .unwrap_or_else(|_| Timestamp::now());
                    timeline.add(Entry { at, source: short(&format!("order saga/{order}")), what });
                }
            }
        }
        Ok(())
    }
}

impl Saga {
    /// Takes an event of the history, and says what to tell of it.
    fn follow(&mut self, happened: &HistoryEvent) -> Option<What> {
        let tell = |line: String, bad| Some(What::Saga { number: happened.id(), line, bad });
        if let Some(entered) = happened.state_entered_event_details() {
            self.transitions += 1;
            self.state = entered.name().to_owned();
            return tell(format!("→ {}", entered.name()), false);
        }
        let failure = |error: Option<&str>, cause: Option<&str>| {
            format!("✗ {}  {}", error.unwrap_or("failed"), reason(cause.unwrap_or_default()))
                .trim_end()
                .to_owned()
        };
        if let Some(failed) = happened.task_failed_event_details() {
            return tell(failure(failed.error(), failed.cause()), true);
        }
        if let Some(failed) = happened.lambda_function_failed_event_details() {
            return tell(failure(failed.error(), failed.cause()), true);
        }
        if let Some(failed) = happened.task_timed_out_event_details() {
            return tell(failure(failed.error(), failed.cause()), true);
        }
        match happened.r#type() {
            HistoryEventType::ExecutionStarted => {
                self.transitions += 1;
                None
            }
            kind @ HistoryEventType::ExecutionSucceeded => {
                self.ended = Some(kind.clone());
                tell(format!("✓ {}", self.state), false)
            }
            kind @ (HistoryEventType::ExecutionFailed
            | HistoryEventType::ExecutionTimedOut
            | HistoryEventType::ExecutionAborted) => {
                self.ended = Some(kind.clone());
                tell(kind.as_str().to_owned(), true)
            }
            _ => None,
        }
    }
}

/// The cause of a failed task is the function's answer: JSON with an `errorMessage`.
fn reason(cause: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(cause).ok();
    let message = parsed.as_ref().and_then(|json| json["errorMessage"].as_str()).unwrap_or(cause);
    console::truncate_str(message, 90, "…").into_owned()
}

fn event(envelope: &Envelope) -> What {
    What::Event {
        version: envelope.version.get(),
        event_type: envelope.event_type.clone(),
        detail: envelope.data.as_ref().map(|data| detail(&envelope.event_type, data)).unwrap_or_default(),
    }
}

/// What is worth knowing of an event's body, in a few words.
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
    if let Some(reason) = data["reason"].as_str() {
        parts.push(reason.to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sfn::types::{StateEnteredEventDetails, TaskFailedEventDetails};
    use serde_json::json;

    fn happened(id: i64, kind: HistoryEventType) -> aws_sdk_sfn::types::builders::HistoryEventBuilder {
        let time = aws_sdk_sfn::primitives::DateTime::from_secs(1);
        HistoryEvent::builder().id(id).r#type(kind).timestamp(time)
    }

    #[test]
    fn a_saga_counts_the_states_it_entered_and_tells_refusals() {
        let mut saga = Saga::default();
        assert_eq!(saga.follow(&happened(1, HistoryEventType::ExecutionStarted).build().unwrap()), None);
        let state = StateEnteredEventDetails::builder().name("ConfirmPayment").build().unwrap();
        let entered = happened(2, HistoryEventType::TaskStateEntered).state_entered_event_details(state);
        saga.follow(&entered.build().unwrap());
        let refusal = TaskFailedEventDetails::builder()
            .resource_type("lambda")
            .resource("invoke")
            .error("PAYMENT_DOES_NOT_COVER_TOTAL")
            .cause(r#"{"errorMessage":"too little"}"#)
            .build()
            .unwrap();
        let failed = happened(5, HistoryEventType::TaskFailed).task_failed_event_details(refusal);
        let told = saga.follow(&failed.build().unwrap());
        assert_eq!(
            told,
            Some(What::Saga {
                number: 5,
                line: "✗ PAYMENT_DOES_NOT_COVER_TOTAL  too little".into(),
                bad: true
            })
        );
        saga.follow(&happened(9, HistoryEventType::ExecutionSucceeded).build().unwrap());
        assert_eq!((saga.transitions, saga.state.as_str()), (2, "ConfirmPayment"));
        assert_eq!(saga.ended, Some(HistoryEventType::ExecutionSucceeded));
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
    }
}
