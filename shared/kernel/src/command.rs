//! What a commit records about the command that caused it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{id::derive, trace::TraceParent};

/// Id of one intent. A command sent twice with one id takes effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(Uuid);

impl CommandId {
    /// The id with this value, for callers that made a fresh one.
    pub const fn new(value: Uuid) -> Self {
        Self(value)
    }

    /// An id derived from names, for example caller, route and idempotency key, or a saga's
    /// execution and step.
    pub fn derived(parts: &[&str]) -> Self {
        Self(derive(parts))
    }

    /// The value.
    pub const fn uuid(&self) -> Uuid {
        self.0
    }

    /// Id of the `index`-th event that this command causes: the same in every retry.
    pub fn event_id(&self, index: usize) -> Uuid {
        Uuid::new_v5(&self.0, &(index as u64).to_be_bytes())
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fingerprint of a request: tells a retry from another request under the same key.
///
/// It begins with its version. Fingerprints of the first version have no prefix; they were made of commands,
/// with what had been looked up left out field by field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadHash(String);

impl PayloadHash {
    /// Raise it whenever equal requests would no longer have equal fingerprints: repeats of what was
    /// committed under another version are then known by their command id alone.
    const VERSION: &'static str = "2";

    /// Hash of a typed request, by its serialised fields in declaration order. The first 16 bytes
    /// of SHA-256: this guards against mistakes, and 128 bits leave no room for chance.
    pub fn of(request: &impl Serialize) -> Self {
        // A request is a plain struct or enum; should it ever not serialise, its error text is
        // hashed, and the repeat (which fails alike) still matches.
        let bytes = serde_json::to_vec(request).unwrap_or_else(|e| e.to_string().into_bytes());
        let digest = Sha256::digest(bytes);
        let digits: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{}:{digits}", Self::VERSION))
    }

    /// A hash that was stored before, by whatever version.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The version, a colon and 32 hexadecimal digits; only the digits in the first version.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the two are of different requests. Fingerprints of two versions never contradict each
    /// other, because they cannot be compared.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.version() == other.version() && self != other
    }

    fn version(&self) -> Option<&str> {
        self.0.split_once(':').map(|(version, _)| version)
    }
}

/// Id and fingerprint of a command, recorded in its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandStamp {
    /// The id.
    pub id: CommandId,
    /// Fingerprint of the payload.
    pub hash: PayloadHash,
}

/// Who asked: `anonymous`, `customer:<id>`, `saga:order`, `policy:<name>`, `operator:<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// Longest name kept; longer ones are cut, since the commit has to stay small.
    pub const MAX_CHARS: usize = 100;

    /// The actor of this name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().chars().take(Self::MAX_CHARS).collect())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything about a command but its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandMeta {
    /// The command's id.
    pub id: CommandId,
    /// When it is carried out.
    pub at: Timestamp,
    /// Who asked.
    pub actor: Actor,
    /// One id for all that follows from one outside request.
    pub correlation: Uuid,
    /// Id of the event or command that this one answers.
    pub causation: Option<Uuid>,
    /// W3C trace context.
    pub trace: Option<TraceParent>,
    /// How often it was tried before, as far as who sends it counts: sagas do.
    pub attempt: u32,
}
