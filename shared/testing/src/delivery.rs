//! The bus at its worst. DynamoDB Streams, EventBridge and SQS standard queues may each reorder and
//! repeat what they carry, and an envelope may come without its body; so readers are tested with
//! histories that went through [`hostile`].

use std::collections::HashMap;

use contracts::Envelope;
use kernel::{StreamId, Version};

use crate::random::Seeded;

/// How bad the delivery is. Each field is a probability, from 0.0 (never) to 1.0 (always).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hostility {
    /// That an envelope is delivered again; a copy may be copied in turn, up to four copies in all.
    pub duplicate: f64,
    /// That an envelope is never delivered.
    pub drop: f64,
    /// That one delivery of an envelope comes without its body (`data` is `None`).
    pub omit_body: f64,
}

impl Hostility {
    /// Only the order is lost.
    pub const SHUFFLED: Self = Self { duplicate: 0.0, drop: 0.0, omit_body: 0.0 };
    /// Everything goes wrong, often.
    pub const WORST: Self = Self { duplicate: 0.4, drop: 0.3, omit_body: 0.3 };
}

impl Default for Hostility {
    fn default() -> Self {
        Self::WORST
    }
}

/// The most often one envelope is delivered.
const MAX_COPIES: usize = 4;

/// `history` as a hostile bus delivers it: in an order in which each is equally likely, with
/// envelopes repeated, missing and without their bodies. The same seed gives the same delivery.
///
/// The last event of each stream is never dropped. The bus does deliver at least once in the end,
/// and without that event no reader could know that it is behind: what may be missing are the
/// events before it, which the reader then finds missing.
pub fn hostile(history: &[Envelope], seed: u64, hostility: Hostility) -> Vec<Envelope> {
    let mut random = Seeded::new(seed);
    let mut latest: HashMap<&StreamId, Version> = HashMap::new();
    for envelope in history {
        let version = latest.entry(&envelope.stream).or_default();
        *version = envelope.version.max(*version);
    }
    let mut delivered = Vec::with_capacity(history.len());
    for envelope in history {
        let is_latest = latest.get(&envelope.stream) == Some(&envelope.version);
        // Drawn even where it does not count, so that one envelope more does not change all others.
        if random.chance(hostility.drop) && !is_latest {
            continue;
        }
        for _ in 0..MAX_COPIES {
            let mut copy = envelope.clone();
            if random.chance(hostility.omit_body) {
                copy.data = None;
            }
            delivered.push(copy);
            if !random.chance(hostility.duplicate) {
                break;
            }
        }
    }
    random.shuffle(&mut delivered);
    delivered
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kernel::{Actor, Timestamp, Uuid};

    use super::*;

    fn history() -> Vec<Envelope> {
        (0..40)
            .flat_map(|stream| (1..=10).map(move |version| (stream, version)))
            .map(|(stream, version)| Envelope {
                id: Uuid::from_u128(stream << 64 | u128::from(version)),
                event_type: "Happened".into(),
                schema: 1,
                stream: format!("test.Thing/{stream}").parse().unwrap(),
                version: Version::new(version),
                first: Version::new(version),
                next: Version::new(version + 1),
                at: Timestamp::UNIX_EPOCH,
                actor: Actor::new("test"),
                correlation: Uuid::nil(),
                causation: None,
                command: Uuid::nil(),
                trace: None,
                attempt: 0,
                data: Some(serde_json::json!({ "n": version })),
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_delivery() {
        let history = history();
        assert_eq!(hostile(&history, 3, Hostility::WORST), hostile(&history, 3, Hostility::WORST));
        assert_ne!(hostile(&history, 3, Hostility::WORST), hostile(&history, 4, Hostility::WORST));
    }

    #[test]
    fn every_trouble_happens_and_no_stream_loses_its_last_event() {
        let history = history();
        let delivered = hostile(&history, 1, Hostility::WORST);
        let ids: HashSet<Uuid> = delivered.iter().map(|e| e.id).collect();
        assert!(ids.len() < history.len(), "nothing was dropped");
        assert!(delivered.len() > ids.len(), "nothing came twice");
        assert!(delivered.iter().any(|e| e.data.is_none()), "every body came along");
        assert!(delivered.windows(2).any(|w| w[0].stream == w[1].stream && w[0].version > w[1].version));
        for last in history.iter().filter(|e| e.version == Version::new(10)) {
            assert!(ids.contains(&last.id), "the last event of {} was dropped", last.stream);
        }
    }

    #[test]
    fn a_mere_shuffle_keeps_every_envelope_whole() {
        let history = history();
        let mut delivered = hostile(&history, 9, Hostility::SHUFFLED);
        assert_ne!(delivered, history);
        delivered.sort_by_key(|e| e.id);
        assert_eq!(delivered, history);
    }
}
