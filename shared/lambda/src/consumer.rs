//! Consumers: functions that a queue feeds with events.
//!
//! | what becomes of an event | what becomes of its message |
//! | --- | --- |
//! | it is handled | it is deleted, by Lambda |
//! | trouble: a service did not answer, others were faster, something is not there yet | it waits for its next try, longer each time |
//! | poison: it can never be handled by this code | it is parked at once: a copy goes to the dead-letter queue with the reason |
//! | the business refuses what came of it | as trouble, until the eighth receive, two minutes later in the mean; then it is parked |
//!
//! # Guarantees
//!
//! * Nothing is lost: a message is deleted only when its event is handled or parked. Where parking fails, it
//!   comes again.
//! * Trouble is not poison. A queue parks by itself what it has delivered a hundred times
//!   (`maxReceiveCount`). The first eight waits take four minutes in the mean, each of the others two and a
//!   half, all of them 3.9 hours. An hour of trouble is outlasted: 92 waits between 0 and 300 seconds are
//!   less than that once in 10^30 messages.
//! * Handlers that hang are given up before the invocation ends, and their messages wait like others.
//! * Events of one stream are handled in the order of the batch; streams side by side. A stream that fails
//!   holds up no other.
//! * **A message that kills its worker takes no neighbours along for good.** Nothing is ever heard of such a
//!   message but its growing number of receives. From the fifth on it is a suspect: the others of its batch
//!   are handled first and deleted from the queue, because Lambda deletes only at the end of an invocation
//!   that lives. Then the suspects follow in random order, each alone, and each is deleted before the next
//!   one begins. So of several suspects every one that is sound gets its turn before the killer, sooner or
//!   later.
//!
//! # Not guaranteed
//!
//! * *Order between batches*, and of a stream's events when one of them failed: every consumer has to bear
//!   that anyway.
//! * *Once.* A parked message may be parked twice, a handled one delivered again.

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use contracts::Envelope;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, select},
    stream,
};
use kernel::{StreamId, Timestamp, ports::Ports};
use tracing::Instrument;

use crate::{
    Fault, Function,
    queue::{Message, Queue, REFUSED, SUSPICIOUS},
    serve::raw,
};

/// Streams whose events are handled at a time: a handler mostly waits for DynamoDB, and ten messages are a
/// batch.
const STREAMS_AT_A_TIME: usize = 8;

/// Time that has to be left of an invocation for one more suspect.
const FOR_A_SUSPECT: Duration = Duration::from_secs(3);

/// Time that is kept of an invocation to let messages wait whose handlers hang: a call to AWS may take longer
/// than the invocation has.
const FOR_SETTLING: Duration = Duration::from_millis(1500);

/// The messages of a consumer.
#[derive(Clone)]
pub struct Messages {
    queue: Arc<dyn Queue>,
    ports: Ports,
}

impl Messages {
    /// Messages of `queue`.
    pub fn new(queue: Arc<dyn Queue>, ports: Ports) -> Self {
        Self { queue, ports }
    }
}

/// Handles the events of a queue one by one.
pub fn consumer<S, F, Fut>(state: &Arc<S>, messages: &Messages, run: F) -> Function
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Envelope) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = Result<(), Fault>> + Send + 'static,
{
    batch_consumer(state, messages, move |state, envelopes| async move {
        let mut streams: BTreeMap<StreamId, Vec<(usize, Envelope)>> = BTreeMap::new();
        let number = envelopes.len();
        for (index, envelope) in envelopes.into_iter().enumerate() {
            streams.entry(envelope.stream.clone()).or_default().push((index, envelope));
        }
        let work = streams.into_values().map(|events| {
            let state = state.clone();
            async move {
                let mut results = Vec::with_capacity(events.len());
                for (index, envelope) in events {
                    let span = tracing::info_span!(
                        "event", id = %envelope.id, r#type = %envelope.event_type, stream = %envelope.stream,
                        version = envelope.version.get(), correlation = %envelope.correlation,
                        causation = ?envelope.causation, trace = envelope.trace.as_ref().map(|t| t.as_str()),
                    );
                    results.push((index, run(state.clone(), envelope).instrument(span).await));
                }
                results
            }
            .boxed()
        });
        let work: Vec<BoxFuture<'_, _>> = work.collect();
        let mut results: Vec<Result<(), Fault>> = (0..number).map(|_| Ok(())).collect();
        let mut worked = stream::iter(work).buffer_unordered(STREAMS_AT_A_TIME);
        while let Some(of_a_stream) = worked.next().await {
            for (index, result) in of_a_stream {
                results[index] = result;
            }
        }
        results
    })
}

/// Handles the events of a queue batch by batch; the answer has one result per event, in order.
pub fn batch_consumer<S, F, Fut>(state: &Arc<S>, messages: &Messages, run: F) -> Function
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Vec<Envelope>) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = Vec<Result<(), Fault>>> + Send + 'static,
{
    let (state, messages) = (state.clone(), messages.clone());
    raw(move |event: SqsEvent, context| {
        let (state, messages) = (state.clone(), messages.clone());
        async move {
            // Lambda gives the end of the invocation in milliseconds; a test gives none.
            let ends = i64::try_from(context.deadline).ok().filter(|ms| *ms > 0);
            let ends = ends.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let delivery = Delivery { messages, ends };
            let failed =
                delivery.handle(Message::all(event), |envelopes| run(state.clone(), envelopes)).await;
            let mut response = SqsBatchResponse::default();
            response.set_failures(failed);
            Ok::<_, Fault>(response)
        }
    })
}

/// One invocation of a consumer.
struct Delivery {
    messages: Messages,
    ends: Option<Timestamp>,
}

impl Delivery {
    /// Handles a batch. Answers the ids of the messages that stay in the queue.
    async fn handle<Fut>(&self, batch: Vec<Message>, run: impl Fn(Vec<Envelope>) -> Fut) -> Vec<String>
    where
        Fut: Future<Output = Vec<Result<(), Fault>>>,
    {
        let (mut suspects, fresh): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|message| message.received >= SUSPICIOUS);
        let mut left = self.portion(&fresh, &run).await;
        if suspects.is_empty() {
            return left;
        }
        let handled: Vec<&Message> = fresh.iter().filter(|message| !left.contains(&message.id)).collect();
        self.delete(&handled).await;
        while !suspects.is_empty() {
            let unit = self.messages.ports.random.unit();
            let chosen = ((unit * suspects.len() as f64) as usize).min(suspects.len() - 1);
            let suspect = suspects.swap_remove(chosen);
            if self.time_left().is_some_and(|left| left < FOR_A_SUSPECT) {
                // It has not had its turn. It waits as if it had: a hundred short waits would be spent in
                // minutes.
                self.hide(&suspect, suspect.wait(self.messages.ports.random.unit())).await;
                left.push(suspect.id);
                continue;
            }
            let suspect = [suspect];
            let stays = self.portion(&suspect, &run).await;
            if stays.is_empty() {
                self.delete(&[&suspect[0]]).await;
            }
            left.extend(stays);
        }
        left
    }

    /// Time that is left of the invocation; none if nobody knows.
    fn time_left(&self) -> Option<Duration> {
        let left = self.ends?.duration_since(self.messages.ports.clock.now());
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Runs the handlers, until too little time is left: then none has answered.
    async fn answers(&self, run: impl Future<Output = Vec<Result<(), Fault>>>) -> Vec<Result<(), Fault>> {
        let Some(left) = self.time_left() else { return run.await };
        let enough = self.messages.ports.timer.sleep(left.saturating_sub(FOR_SETTLING));
        match select(pin!(run), enough).await {
            Either::Left((results, _)) => results,
            Either::Right(_) => Vec::new(),
        }
    }

    /// Handles messages together. Answers the ids of those that stay in the queue.
    async fn portion<Fut>(&self, portion: &[Message], run: impl Fn(Vec<Envelope>) -> Fut) -> Vec<String>
    where
        Fut: Future<Output = Vec<Result<(), Fault>>>,
    {
        let mut failed: Vec<(&Message, Fault)> = Vec::new();
        let (mut known, mut envelopes) = (Vec::new(), Vec::new());
        for message in portion {
            match message.detail::<Envelope>() {
                Ok(envelope) => {
                    known.push((message, envelope.clone()));
                    envelopes.push(envelope);
                }
                Err(error) => {
                    tracing::error!(message = %message.id, %error, "message is not an event");
                    failed.push((message, Fault::poison(format!("it is not an event: {error}"))));
                }
            }
        }
        let results = if envelopes.is_empty() { Vec::new() } else { self.answers(run(envelopes)).await };
        let mut results = results.into_iter();
        for (message, event) in known {
            let silent = || Err(Fault::unavailable("the handler did not answer in time"));
            let result = results.next().unwrap_or_else(silent);
            let (kind, stream, version) = (&event.event_type, &event.stream, event.version.get());
            let (correlation, trace) = (event.correlation, event.trace.as_ref().map(|t| t.as_str()));
            let causation = event.causation.map(|c| c.to_string());
            match result {
                Ok(()) => tracing::info!(
                    event = %event.id, r#type = %kind, %stream, version, %correlation, causation, trace, "event handled"
                ),
                Err(error) => {
                    tracing::error!(
                        event = %event.id, r#type = %kind, %stream, version, %correlation, causation, trace,
                        code = %error.code, received = message.received, %error, "event not handled"
                    );
                    failed.push((message, error));
                }
            }
        }
        let settled: Vec<BoxFuture<'_, _>> =
            failed.iter().map(|(message, fault)| self.settle(message, fault).boxed()).collect();
        let settled: Vec<bool> = stream::iter(settled).buffered(STREAMS_AT_A_TIME).collect().await;
        failed
            .iter()
            .zip(settled)
            .filter(|(_, stays)| *stays)
            .map(|((message, _), _)| message.id.clone())
            .collect()
    }

    /// Parks a message or lets it wait; says whether it stays in the queue.
    async fn settle(&self, message: &Message, fault: &Fault) -> bool {
        let is_refused_again = !fault.is_technical() && message.received >= REFUSED;
        if fault.is_poison || is_refused_again {
            match self.messages.queue.park(message, &fault.to_string()).await {
                Ok(()) => {
                    tracing::error!(message = %message.id, code = %fault.code, %fault, "message parked");
                    return false;
                }
                Err(error) => tracing::error!(message = %message.id, error, "message not parked"),
            }
        }
        self.hide(message, message.wait(self.messages.ports.random.unit())).await;
        true
    }

    async fn hide(&self, message: &Message, wait: Duration) {
        if let Err(error) = self.messages.queue.hide(message, wait).await {
            tracing::warn!(message = %message.id, error, "message waits for the queue's own visibility time-out");
        }
    }

    async fn delete(&self, messages: &[&Message]) {
        let deletions: Vec<BoxFuture<'_, _>> = messages
            .iter()
            .map(|message| async move { (message, self.messages.queue.delete(message).await) }.boxed())
            .collect();
        let mut deleted = stream::iter(deletions).buffer_unordered(STREAMS_AT_A_TIME);
        while let Some((message, result)) = deleted.next().await {
            if let Err(error) = result {
                tracing::warn!(message = %message.id, error, "handled message not deleted before the suspects");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use serde_json::{Value, json};
    use testing::TestPorts;

    use super::*;
    use crate::queue::MemoryQueue;

    /// A consumer that treats events as their types say.
    #[derive(Default)]
    struct Clerk {
        /// Streams and versions in the order in which they were begun.
        begun: Mutex<Vec<(String, u64)>>,
        under_way: AtomicUsize,
        most_under_way: AtomicUsize,
    }

    impl Clerk {
        async fn work(self: Arc<Self>, event: Envelope) -> Result<(), Fault> {
            self.begun.lock().unwrap().push((event.stream.id().to_owned(), event.version.get()));
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if event.event_type == "Killer" {
                std::future::pending::<()>().await;
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            match event.event_type.as_str() {
                "Sound" => Ok(()),
                "Trouble" => Err(Fault::unavailable("the table is down")),
                "Contended" => Err(Fault::new(409, "CONTENDED", "others were faster")),
                "Bug" => Err(Fault::internal("AccessDenied")),
                "Poison" => Err(Fault::poison("field name is missing")),
                "Refused" => Err(Fault::new(409, "ORDER_IS_OVER", "the order is over")),
                other => panic!("{other}"),
            }
        }
    }

    fn message(id: &str, body: String, received: u32) -> Value {
        json!({
            "messageId": id, "receiptHandle": id, "body": body, "eventSourceARN": "arn:aws:sqs:x:1:q",
            "attributes": { "ApproximateReceiveCount": received.to_string() },
        })
    }

    /// An event of a stream; its message is called `<stream>-<version>`.
    fn event(stream: &str, version: u64, kind: &str, received: u32) -> Value {
        let detail = json!({
            "id": format!("0198c0de-0000-7000-8000-{version:012}"), "type": kind, "schema": 1,
            "stream": format!("test.Thing/{stream}"), "version": version, "first": version, "next": version + 1,
            "command": "0198c0de-0000-7000-8000-000000000001", "at": "2026-12-01T00:00:00Z",
            "actor": "test", "correlation": "0198c0de-0000-7000-8000-000000000000", "data": {},
        });
        message(&format!("{stream}-{version}"), json!({ "detail": detail }).to_string(), received)
    }

    struct Desk {
        clerk: Arc<Clerk>,
        queue: MemoryQueue,
        function: Function,
    }

    impl Desk {
        fn new(seed: u64) -> Self {
            let (clerk, queue) = (Arc::new(Clerk::default()), MemoryQueue::default());
            let messages = Messages::new(Arc::new(queue.clone()), TestPorts::new(seed).ports());
            Self { function: consumer(&clerk, &messages, Clerk::work), clerk, queue }
        }

        /// Ids of the messages that stay in the queue.
        async fn deliver(&self, records: &[Value]) -> Vec<String> {
            let answer = self.function.invoke(json!({ "Records": records })).await.unwrap();
            let failures = answer["batchItemFailures"].as_array().unwrap().iter();
            failures.map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
        }
    }

    #[tokio::test]
    async fn trouble_waits_longer_each_time_and_never_longer_than_five_minutes() {
        for (kind, received) in [("Trouble", 1), ("Contended", 3), ("Bug", 99), ("Refused", 4)] {
            let mut longest = Duration::ZERO;
            for seed in 0..40 {
                let desk = Desk::new(seed);
                assert_eq!(desk.deliver(&[event("a", 1, kind, received)]).await, ["a-1"]);
                let asked = desk.queue.asked();
                assert_eq!((asked.parked.len(), asked.deleted.len()), (0, 0), "{kind}");
                longest = longest.max(asked.hidden["a-1"]);
            }
            let most = Duration::from_secs(match received {
                1 => 2,
                3 => 8,
                4 => 16,
                _ => 300,
            });
            assert!(longest <= most && longest > most / 2, "{kind}, {received} receives: {longest:?}");
        }
    }

    #[tokio::test]
    async fn poison_is_parked_at_once_with_its_reason_and_its_neighbours_are_done() {
        let desk = Desk::new(1);
        let batch = [
            event("a", 1, "Sound", 1),
            event("b", 1, "Poison", 1),
            message("junk", "{".into(), 1),
            event("c", 1, "Sound", 1),
        ];
        assert_eq!(desk.deliver(&batch).await, Vec::<String>::new());
        let asked = desk.queue.asked();
        assert_eq!(asked.parked.keys().collect::<Vec<_>>(), ["b-1", "junk"]);
        assert!(asked.parked["b-1"].contains("field name is missing"), "{asked:?}");
        assert!(asked.parked["junk"].contains("it is not an event"), "{asked:?}");
        assert!(asked.hidden.is_empty());
    }

    #[tokio::test]
    async fn a_refusal_of_the_business_is_parked_with_the_eighth_receive() {
        let desk = Desk::new(1);
        assert_eq!(desk.deliver(&[event("a", 1, "Refused", 7)]).await, ["a-1"]);
        assert_eq!(desk.deliver(&[event("a", 1, "Refused", 8)]).await, Vec::<String>::new());
        assert!(desk.queue.asked().parked["a-1"].contains("ORDER_IS_OVER"));
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_parked_comes_again() {
        let desk = Desk::new(1);
        desk.queue.refuse();
        assert_eq!(desk.deliver(&[event("a", 1, "Poison", 1)]).await, ["a-1"]);
        assert!(desk.queue.asked().hidden.contains_key("a-1"));
    }

    #[tokio::test]
    async fn one_failing_stream_holds_up_no_other_and_each_is_worked_on_in_order() {
        let desk = Desk::new(1);
        let mut batch = vec![event("a", 1, "Trouble", 1)];
        for version in 1..4 {
            batch.extend(["b", "c", "d"].map(|stream| event(stream, version, "Sound", 1)));
        }
        assert_eq!(desk.deliver(&batch).await, ["a-1"]);
        let begun = desk.clerk.begun.lock().unwrap().clone();
        for stream in ["b", "c", "d"] {
            let versions: Vec<u64> = begun.iter().filter(|(id, _)| id == stream).map(|(_, v)| *v).collect();
            assert_eq!(versions, [1, 2, 3], "{stream}");
        }
        assert!(desk.clerk.most_under_way.load(Ordering::SeqCst) > 1, "streams are worked on side by side");
    }

    #[tokio::test]
    async fn handlers_that_hang_and_suspects_without_a_turn_wait_as_long_as_others() {
        let mut longest = Duration::ZERO;
        for seed in 0..20 {
            let desk = Desk::new(seed);
            let world = TestPorts::new(seed);
            let messages = Messages::new(Arc::new(desk.queue.clone()), world.ports());
            // The world's timer is up at once, so nothing that hangs gets longer.
            let delivery = Delivery { messages, ends: Some(world.now() + Duration::from_secs(2)) };
            let batch =
                json!({ "Records": [event("hangs", 1, "Killer", 4), event("suspect", 1, "Sound", 9)] });
            let batch = Message::all(serde_json::from_value(batch).unwrap());
            let clerk = desk.clerk.clone();
            let stays = delivery.handle(batch, |events| {
                let clerk = clerk.clone();
                async move {
                    for event in events {
                        clerk.clone().work(event).await.unwrap();
                    }
                    Vec::new()
                }
            });
            assert_eq!(stays.await, ["hangs-1", "suspect-1"]);
            let hidden = desk.queue.asked().hidden;
            assert!(hidden["hangs-1"] <= Duration::from_secs(16));
            longest = longest.max(hidden["suspect-1"]);
        }
        assert!(longest > Duration::from_secs(100), "{longest:?}");
    }

    #[tokio::test]
    async fn a_message_that_kills_its_worker_takes_no_neighbours_along() {
        let mut rescued = 0;
        for seed in 0..20 {
            let desk = Desk::new(seed);
            let batch = [
                event("killer", 1, "Killer", 5),
                event("fresh", 1, "Sound", 1),
                event("troubled", 1, "Trouble", 2),
                event("suspect", 1, "Sound", 6),
            ];
            let deadly = desk.deliver(&batch);
            // The worker is ended in the middle of it.
            let end = async {
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
            };
            assert!(matches!(select(pin!(deadly), pin!(end)).await, Either::Right(_)));
            let asked = desk.queue.asked();
            assert!(asked.deleted.contains(&"fresh-1".to_owned()), "{asked:?}");
            assert!(asked.hidden.contains_key("troubled-1"), "{asked:?}");
            assert!(!asked.deleted.contains(&"killer-1".to_owned()), "{asked:?}");
            rescued += usize::from(asked.deleted.contains(&"suspect-1".to_owned()));
        }
        assert!(
            (4..=16).contains(&rescued),
            "the other suspect gets its turn first half of the time: {rescued}"
        );
    }
}
