//! A scripted bus, a scripted parking place, and records of a stream.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use contracts::Envelope;
use kernel::{Timestamp, Uuid};
use relay::{
    Batch, Bus, BusError, Entry, MAX_BYTES, MAX_ENTRIES, Parked, Parking, ParkingError, Relay, Unreportable,
    Verdict,
};
use serde_json::{Value, json};
use testing::TestPorts;

/// What the bus does with a call.
pub enum Answer {
    /// It says this.
    Says(Vec<Verdict>),
    /// It takes nothing.
    Fails(BusError),
    /// It takes everything, and nobody hears of it.
    Lost,
}

pub fn all_accepted(entries: &[Entry]) -> Answer {
    Answer::Says(vec![Verdict::Accepted; entries.len()])
}

pub fn throttled() -> Answer {
    Answer::Fails(BusError::Throttled("slow down".into()))
}

pub fn unavailable() -> Answer {
    Answer::Fails(BusError::Unavailable("no answer".into()))
}

type Script = Box<dyn FnMut(usize, &[Entry]) -> Answer + Send>;

#[derive(Clone)]
pub struct Stage {
    pub world: TestPorts,
    pub deadline: Timestamp,
    script: Arc<Mutex<Script>>,
    pub calls: Arc<Mutex<Vec<Vec<Entry>>>>,
    pub accepted: Arc<Mutex<Vec<Entry>>>,
    pub parked: Arc<Mutex<Vec<Parked>>>,
    /// How long the bus takes for each call.
    pub each_call: Duration,
    /// The next so many attempts to park fail.
    pub parking_fails: Arc<Mutex<usize>>,
}

impl Stage {
    /// A bus that answers the n-th call (from 0) as the script says, 30 seconds before the deadline.
    pub fn new(script: impl FnMut(usize, &[Entry]) -> Answer + Send + 'static) -> Self {
        let world = TestPorts::new(1);
        Self {
            deadline: world.now() + Duration::from_secs(30),
            world,
            script: Arc::new(Mutex::new(Box::new(script))),
            calls: Arc::default(),
            accepted: Arc::default(),
            parked: Arc::default(),
            each_call: Duration::ZERO,
            parking_fails: Arc::default(),
        }
    }

    pub fn willing() -> Self {
        Self::new(|_, entries| all_accepted(entries))
    }

    pub fn relay(&self) -> Relay {
        Relay::new(Arc::new(self.clone()), Arc::new(self.clone()), self.world.ports())
    }

    /// Relays, and answers with the sequence numbers that are reported as failed.
    pub async fn run(&self, records: Vec<Value>) -> Result<Vec<String>, Unreportable> {
        let response = self.relay().relay(Batch { records }, Some(self.deadline)).await?;
        Ok(response.batch_item_failures.into_iter().map(|failure| failure.item_identifier.unwrap()).collect())
    }

    /// Ids of the events that the bus accepted, once for each time.
    pub fn accepted(&self) -> Vec<Uuid> {
        self.accepted.lock().unwrap().iter().map(|entry| envelope(entry).id).collect()
    }

    /// Sizes of the calls that were made.
    pub fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().iter().map(Vec::len).collect()
    }

    pub fn parked(&self) -> Vec<Parked> {
        self.parked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Bus for Stage {
    async fn put(&self, entries: &[Entry], within: Duration) -> Result<Vec<Verdict>, BusError> {
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        assert!(!entries.is_empty() && entries.len() <= MAX_ENTRIES, "{} entries", entries.len());
        assert!(bytes <= MAX_BYTES, "{bytes} bytes in one call");
        assert!(self.world.now() + within < self.deadline, "a call that may last beyond the deadline");
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(entries.to_vec());
            calls.len() - 1
        };
        let take = |entry: &Entry| self.accepted.lock().unwrap().push(entry.clone());
        self.world.advance(self.each_call.min(within));
        if self.each_call > within {
            return Err(BusError::Unavailable("timed out".into()));
        }
        match (self.script.lock().unwrap())(number, entries) {
            Answer::Fails(error) => Err(error),
            Answer::Lost => {
                entries.iter().for_each(take);
                Err(BusError::Unavailable("the answer was lost".into()))
            }
            Answer::Says(verdicts) => {
                for (entry, verdict) in entries.iter().zip(&verdicts) {
                    if *verdict == Verdict::Accepted {
                        take(entry);
                    }
                }
                Ok(verdicts)
            }
        }
    }
}

#[async_trait]
impl Parking for Stage {
    async fn park(&self, parked: &Parked, _: Duration) -> Result<(), ParkingError> {
        let mut fails = self.parking_fails.lock().unwrap();
        if *fails > 0 {
            *fails -= 1;
            return Err(ParkingError("the queue is away".into()));
        }
        self.parked.lock().unwrap().push(parked.clone());
        Ok(())
    }
}

pub fn envelope(entry: &Entry) -> Envelope {
    serde_json::from_str(&entry.detail).unwrap()
}

/// Id of the `n`-th event of record `record`.
pub fn event_id(record: usize, n: usize) -> Uuid {
    Uuid::from_u128((record as u128) << 64 | n as u128)
}

/// Ids of all events of records with these numbers of events.
pub fn all_ids(sizes: &[usize]) -> BTreeSet<Uuid> {
    sizes.iter().enumerate().flat_map(|(record, size)| (0..*size).map(move |n| event_id(record, n))).collect()
}

pub fn sequence(record: usize) -> String {
    format!("{:021}", 1000 + record)
}

/// The record of a commit with these bodies.
pub fn commit(record: usize, bodies: &[Value]) -> Value {
    let events: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| json!({ "id": event_id(record, n), "type": "Noted", "schema": 1, "data": body }))
        .collect();
    json!({
        "eventID": format!("{record}"),
        "eventName": "INSERT",
        "dynamodb": {
            "Keys": { "stream": { "S": format!("test.Ledger/{record}") }, "version": { "N": "3" } },
            "SequenceNumber": sequence(record),
            "NewImage": {
                "stream": { "S": format!("test.Ledger/{record}") },
                "version": { "N": "3" },
                "next": { "N": (3 + bodies.len()).to_string() },
                "events": { "S": Value::from(events).to_string() },
                "command": { "S": Uuid::from_u128(1) },
                "hash": { "S": "00" },
                "at": { "S": "2026-11-20T12:00:00.5Z" },
                "actor": { "S": "anonymous" },
                "correlation": { "S": Uuid::from_u128(2) },
                "trace": { "S": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
            },
        },
    })
}

/// Records of small commits with these numbers of events.
pub fn commits(sizes: &[usize]) -> Vec<Value> {
    sizes.iter().enumerate().map(|(record, size)| commit(record, &vec![json!({ "n": 1 }); *size])).collect()
}

pub fn body(bytes: usize) -> Value {
    json!({ "text": "x".repeat(bytes) })
}
