//! The relay itself: what to send, what to send again, and what to say in the end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use contracts::Envelope;
use futures::{StreamExt, stream::FuturesUnordered};
use kernel::{
    Timestamp,
    ports::{Backoff, Ports},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    bus::{Bus, BusError, Verdict},
    entry::{Entry, MAX_BYTES, MAX_ENTRIES},
    parking::{Parked, Parking, Reason},
    record::{self, Reading},
};

/// Rounds of sending in one invocation. Some three seconds at most: a throttled or stumbling bus has mostly
/// recovered by then, and what lasts longer is left to Lambda, which waits without being paid for it.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(2), retries: 5 };

/// Longest wait for one call. `PutEvents` takes some 20 ms.
const CALL: Duration = Duration::from_secs(4);

/// Calls that one invocation has in flight at a time. Nearly all of a call is waiting, and nothing downstream
/// relies on order. A batch of 100 commits makes ten calls or more: in threes they take a third of the time.
/// More would be lost on a throttled bus: each round of sending spends as many calls to learn that it is
/// throttled still.
///
/// At some 25 ms a call, an invocation publishes 1,200 entries a second.
const CALLS_IN_FLIGHT: usize = 3;

/// No call is begun, and none may last, so late that less than this is left to answer Lambda.
const RESERVE: Duration = Duration::from_millis(1500);

/// Calls shorter than this are not worth beginning.
const SHORTEST_CALL: Duration = Duration::from_millis(250);

/// The time an invocation has when nobody says: shorter than any time-out that the template sets.
const UNKNOWN: Duration = Duration::from_secs(10);

/// What Lambda hands over of a table's stream. Records are read one by one, so that an odd one
/// does not spoil the others.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Batch {
    /// The records, in the stream's order.
    #[serde(rename = "Records", default)]
    pub records: Vec<Value>,
}

/// A record failed and has no sequence number, so it cannot be reported: the whole batch has to come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the batch has no sequence number and was not relayed")]
pub struct Unreportable {
    /// Its place in the batch.
    pub index: usize,
}

/// Relays batches of stream records.
#[derive(Clone)]
pub struct Relay {
    bus: Arc<dyn Bus>,
    parking: Arc<dyn Parking>,
    ports: Ports,
}

/// One thing to get rid of.
struct Job {
    /// The record it comes from, by its place in the batch.
    record: usize,
    work: Work,
}

enum Work {
    Send(Box<Event>),
    Park(Reason, String),
}

/// An event to send.
struct Event {
    envelope: Envelope,
    entry: Entry,
}

/// Events of one call to the bus, each with the place of its record in the batch.
type Call = Vec<(usize, Box<Event>)>;

/// The outcome of one call.
#[derive(Default)]
struct Outcome {
    /// Jobs for the next round.
    left: Vec<Job>,
    /// Smaller calls to make instead of this one.
    instead: Vec<Call>,
    /// The call, if the bus took nothing of it and no other is to be begun in this round, and whether another
    /// round may help.
    untaken: Option<(Call, bool)>,
}

/// What a round leaves behind.
struct Left {
    jobs: Vec<Job>,
    /// Whether another round may help.
    again: bool,
}

impl Relay {
    /// A relay to `bus`, which parks in `parking` what can never be relayed.
    pub fn new(bus: Arc<dyn Bus>, parking: Arc<dyn Parking>, ports: Ports) -> Self {
        Self { bus, parking, ports }
    }

    /// Relays a batch. The answer names every record of which some event was neither accepted by the bus nor
    /// parked; `deadline` is when Lambda would end the invocation, if that is known.
    ///
    /// # Errors
    /// [`Unreportable`]: the batch as a whole has failed.
    pub async fn relay(
        &self,
        batch: Batch,
        deadline: Option<Timestamp>,
    ) -> Result<DynamoDbEventResponse, Unreportable> {
        let deadline = deadline.unwrap_or_else(|| self.ports.clock.now() + UNKNOWN);
        let run = Run { relay: self, records: &batch.records, deadline };
        let left = run.rounds().await;
        report(&batch.records, &left)
    }
}

/// One invocation.
struct Run<'a> {
    relay: &'a Relay,
    records: &'a [Value],
    deadline: Timestamp,
}

impl Run<'_> {
    /// Tries until nothing is left, or trying again is of no use, or time runs out.
    async fn rounds(&self) -> Vec<Job> {
        let ports = &self.relay.ports;
        let mut jobs: Vec<Job> =
            self.records.iter().enumerate().flat_map(|(index, r)| jobs(index, r)).collect();
        for retry in 0.. {
            let left = self.round(jobs).await;
            jobs = left.jobs;
            if jobs.is_empty() || !left.again || retry >= BACKOFF.retries {
                break;
            }
            let pause = BACKOFF.pause(retry, &*ports.random);
            if self.time_left() < pause + RESERVE + SHORTEST_CALL {
                break;
            }
            ports.timer.sleep(pause).await;
        }
        jobs
    }

    /// Tries each job once.
    async fn round(&self, jobs: Vec<Job>) -> Left {
        let mut left = Vec::new();
        let mut events = Vec::new();
        for Job { record, work } in jobs {
            match work {
                Work::Send(event) => events.push((record, event)),
                Work::Park(reason, why) => left.extend(self.park(record, reason, why).await),
            }
        }
        let mut calls = pack(events);
        let mut in_flight = FuturesUnordered::new();
        // Calls that the bus took nothing of.
        let mut untaken = Vec::new();
        let (mut stopped, mut again) = (false, true);
        loop {
            while !stopped && in_flight.len() < CALLS_IN_FLIGHT {
                let Some(call) = calls.pop_front() else { break };
                in_flight.push(self.call(call));
            }
            let Some(outcome) = in_flight.next().await else { break };
            left.extend(outcome.left);
            outcome.instead.into_iter().rev().for_each(|call| calls.push_front(call));
            if let Some((call, may_pass)) = outcome.untaken {
                untaken.extend(call);
                (stopped, again) = (true, again && may_pass);
            }
        }
        // The others first in the next round: whatever it is with those calls, they must not block them.
        left.extend(calls.into_iter().flatten().chain(untaken).map(Job::send));
        Left { jobs: left, again }
    }

    /// Makes one call and deals with its answer.
    async fn call(&self, mut call: Call) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(within) = self.time_for_a_call() else {
            return Outcome { untaken: Some((call, false)), ..outcome };
        };
        let entries: Vec<Entry> = call.iter().map(|(_, event)| event.entry.clone()).collect();
        match self.relay.bus.put(&entries, within).await {
            Ok(verdicts) => {
                // An entry without a verdict was not accepted.
                let silence = std::iter::repeat_with(|| Verdict::Failed("the bus did not say".into()));
                let mut accepted = Vec::new();
                for ((record, event), verdict) in call.into_iter().zip(verdicts.into_iter().chain(silence)) {
                    if matches!(verdict, Verdict::Accepted) {
                        accepted.push(event.envelope.id.to_string());
                    }
                    outcome.left.extend(self.judge(record, event, verdict).await);
                }
                // One line for a call, and of an event its id alone: who handles it tells the rest, and so
                // does the event table. Every event of the mall passes here, so what is said is paid for with
                // each.
                if !accepted.is_empty() {
                    tracing::info!(events = accepted.join(" "), "relayed");
                }
            }
            // Which entry is at fault is not said: half the call shows.
            Err(BusError::TooLarge(_) | BusError::Invalid(_)) if call.len() > 1 => {
                let rest = call.split_off(call.len() / 2);
                outcome.instead = vec![call, rest];
            }
            Err(BusError::TooLarge(why)) => {
                for (record, event) in call {
                    match event.lighter() {
                        Some(lighter) => outcome.instead.push(vec![(record, Box::new(lighter))]),
                        None => {
                            let refused = Verdict::Refused(why.clone());
                            outcome.left.extend(self.judge(record, event, refused).await);
                        }
                    }
                }
            }
            Err(BusError::Invalid(why)) => {
                for (record, event) in call {
                    outcome.left.extend(self.judge(record, event, Verdict::Refused(why.clone())).await);
                }
            }
            Err(error @ (BusError::Throttled(_) | BusError::Unavailable(_))) => {
                tracing::warn!(%error, entries = entries.len(), "the bus took nothing");
                outcome.untaken = Some((call, true));
            }
            Err(error @ BusError::Refused(_)) => {
                tracing::error!(%error, "the bus takes nothing from us: check its name and the relay's role");
                outcome.untaken = Some((call, false));
            }
        }
        outcome
    }

    /// What the bus's verdict on an event leaves to do.
    async fn judge(&self, record: usize, event: Box<Event>, verdict: Verdict) -> Option<Job> {
        let Envelope { id, event_type, stream, version, correlation, causation, trace, .. } = &event.envelope;
        match verdict {
            Verdict::Accepted => {
                tracing::debug!(event = %id, r#type = event_type, %stream, version = version.get(), %correlation,
                    causation = causation.map(|id| id.to_string()),
                    trace = trace.as_ref().map(|trace| trace.as_str()), "accepted by the bus");
                None
            }
            Verdict::Failed(why) => {
                tracing::warn!(event = %id, %stream, version = version.get(), why, "not accepted by the bus");
                Some(Job::send((record, event)))
            }
            Verdict::Refused(why) => {
                self.park(record, Reason::RefusedByBus, format!("event {id}: {why}")).await
            }
        }
    }

    /// Parks a record; gives the job back if that fails.
    async fn park(&self, record: usize, reason: Reason, why: String) -> Option<Job> {
        let value = self.records.get(record).cloned().unwrap_or_default();
        let parked = Parked { reason, why, at: self.relay.ports.clock.now(), record: value };
        let result = match self.time_for_a_call() {
            Some(within) => self.relay.parking.park(&parked, within).await.map_err(|error| error.to_string()),
            None => Err("no time is left".to_owned()),
        };
        let sequence_number = record::sequence_number(&parked.record);
        match result {
            Ok(()) => {
                tracing::error!(?reason, why = parked.why, sequence_number, "record parked");
                None
            }
            Err(error) => {
                tracing::error!(?reason, why = parked.why, sequence_number, error, "record not parked");
                Some(Job { record, work: Work::Park(reason, parked.why) })
            }
        }
    }

    fn time_left(&self) -> Duration {
        self.deadline.duration_since(self.relay.ports.clock.now()).try_into().unwrap_or(Duration::ZERO)
    }

    fn time_for_a_call(&self) -> Option<Duration> {
        let within = self.time_left().saturating_sub(RESERVE).min(CALL);
        (within >= SHORTEST_CALL).then_some(within)
    }
}

impl Job {
    fn send((record, event): (usize, Box<Event>)) -> Self {
        Self { record, work: Work::Send(event) }
    }
}

impl Event {
    /// The same event without its body; `None` when it has none.
    fn lighter(&self) -> Option<Self> {
        self.envelope.data.as_ref()?;
        let envelope = Envelope { data: None, ..self.envelope.clone() };
        let entry = Entry::of(&envelope).ok()?;
        Some(Self { envelope, entry })
    }
}

/// What there is to do for a record.
fn jobs(record: usize, value: &Value) -> Vec<Job> {
    let park = |reason, why| vec![Job { record, work: Work::Park(reason, why) }];
    let commit = match record::read(value) {
        Reading::Commit(commit) => commit,
        Reading::Nothing => return Vec::new(),
        Reading::Odd(reason, why) => return park(reason, why),
    };
    let mut jobs = Vec::with_capacity(commit.events.len());
    for envelope in commit.into_envelopes() {
        match Entry::of(&envelope) {
            Ok(entry) => jobs.push(Job::send((record, Box::new(Event { envelope, entry })))),
            Err(error) => return park(Reason::Undecodable, error.to_string()),
        }
    }
    jobs
}

/// Events in calls, in order, each call as full as it may be.
fn pack(events: Call) -> VecDeque<Call> {
    let mut calls: VecDeque<Call> = VecDeque::new();
    let mut room = 0;
    for (record, event) in events {
        let bytes = event.entry.bytes();
        match calls.back_mut() {
            Some(call) if call.len() < MAX_ENTRIES && bytes <= room => {
                room -= bytes;
                call.push((record, event));
            }
            _ => {
                room = MAX_BYTES.saturating_sub(bytes);
                calls.push_back(vec![(record, event)]);
            }
        }
    }
    calls
}

/// The answer: every record with a job left, in the stream's order.
fn report(records: &[Value], left: &[Job]) -> Result<DynamoDbEventResponse, Unreportable> {
    let mut failed: Vec<usize> = left.iter().map(|job| job.record).collect();
    failed.sort_unstable();
    failed.dedup();
    let mut response = DynamoDbEventResponse::default();
    for index in failed {
        let number = records.get(index).and_then(record::sequence_number).ok_or(Unreportable { index })?;
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(number.to_owned());
        response.batch_item_failures.push(failure);
    }
    if !response.batch_item_failures.is_empty() {
        let (failed, of) = (response.batch_item_failures.len(), records.len());
        tracing::warn!(failed, of, "records are left to be delivered again");
    }
    Ok(response)
}
