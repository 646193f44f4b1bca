//! What a use case is asked.

use std::collections::BTreeMap;

use event_store::{EventStore, Expect, Loaded, Past, Until};
use kernel::{
    Actor, Aggregate, CommandId, CommandMeta, Id, StreamId, Timestamp, TraceParent, Uuid, Version,
    ports::Ports,
};
use serde::Serialize;
use serde_json::Value;

use crate::{Answer, Fault};

/// What a caller without a name is called. Keys of anonymous callers share one space: use UUIDs.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// Before the subject of a token that the API's authorizer has checked.
pub(crate) const USER: &str = "user:";

/// One request to a use case, wherever it came from: HTTP, a saga, a policy, a test.
#[derive(Debug, Clone)]
pub struct Call {
    /// Id of the entity, where the request names one.
    pub target: Option<String>,
    /// The body: a JSON object, or null.
    pub body: Value,
    /// Query parameters.
    pub query: BTreeMap<String, String>,
    /// Id of the command.
    pub command: CommandId,
    /// Whether the caller chose the command id (by `Idempotency-Key`, or as a saga's step), so that a
    /// repeat comes with the same one.
    pub repeatable: bool,
    /// The version that the caller expects (`If-Match`).
    pub if_match: Option<Version>,
    /// Who asks.
    pub actor: Actor,
    /// Shared by all that follows from one outside request.
    pub correlation: Uuid,
    /// What this call answers.
    pub causation: Option<Uuid>,
    /// W3C trace context.
    pub trace: Option<TraceParent>,
    /// How often the command was tried before, as far as the caller counts.
    pub attempt: u32,
    /// When it is carried out.
    pub at: Timestamp,
}

impl Call {
    /// A call made by a policy on an event: the command id follows from the policy's name and the
    /// event's id, so the same event again is the same command again.
    pub fn by_policy(policy: &str, event: &contracts::Envelope, at: Timestamp) -> Self {
        Self {
            target: None,
            body: Value::Null,
            query: BTreeMap::new(),
            command: CommandId::derived(&["policy", policy, &event.id.to_string()]),
            repeatable: true,
            if_match: None,
            actor: Actor::new(format!("policy:{policy}")),
            correlation: event.correlation,
            causation: Some(event.id),
            trace: event.trace.clone(),
            attempt: 0,
            at,
        }
    }

    /// The id of the entity. A text that is no id names nothing that exists.
    ///
    /// # Errors
    /// 404.
    pub fn id<K>(&self, what: &str) -> Result<Id<K>, Fault> {
        let text = self.target.as_deref().unwrap_or_default();
        text.parse().map_err(|_| Fault::not_found(what, text.chars().take(64).collect::<String>()))
    }

    /// The id for a new entity: fresh, or, when the caller can repeat the call, derived from the command
    /// id, so that a repeated create meets its own first commit instead of making a second entity.
    pub fn new_id<K>(&self, ports: &Ports) -> Id<K> {
        if self.repeatable {
            Id::derived(&["created by", &self.command.to_string()])
        } else {
            Id::new(ports.ids.fresh())
        }
    }

    /// What the commit records about this call.
    pub fn meta(&self) -> CommandMeta {
        CommandMeta {
            id: self.command,
            at: self.at,
            actor: self.actor.clone(),
            correlation: self.correlation,
            causation: self.causation,
            trace: self.trace.clone(),
            attempt: self.attempt,
        }
    }

    /// What is known of the stream.
    pub fn expect(&self) -> Expect {
        self.if_match.map_or(Expect::Any, Expect::At)
    }

    /// Whether it came over HTTP, and not from a saga, a policy or an operator.
    pub fn is_from_outside(&self) -> bool {
        self.actor.as_str() == ANONYMOUS || self.actor.as_str().starts_with(USER)
    }

    /// A whole number from the query string.
    ///
    /// # Errors
    /// 400.
    pub fn query_number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(text) = self.query.get(name) else { return Ok(None) };
        let wrong =
            |_| Fault::invalid("QUERY_IS_INVALID", format!("{name} must be a whole number, not {text:?}"));
        text.parse().map(Some).map_err(wrong)
    }

    /// The moment that a read asks for, `?at=`: a version from 1, or a time as RFC 3339 writes it; `None` for now.
    ///
    /// # Errors
    /// 400.
    pub fn until(&self) -> Result<Option<Until>, Fault> {
        let Some(text) = self.query.get("at") else { return Ok(None) };
        let wrong = || {
            let shown: String = text.chars().take(64).collect();
            let message = format!(
                "at must be a version from 1, or a time such as 2026-01-31T12:00:00Z (a + has to be sent as %2B), not \
                 {shown:?}"
            );
            Fault::invalid("QUERY_IS_INVALID", message)
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let version = text.parse().ok().map(Version::new).filter(|version| *version != Version::NONE);
            return version.map(|version| Some(Until::Version(version))).ok_or_else(wrong);
        }
        text.parse().map(|time| Some(Until::Time(time))).map_err(|_| wrong())
    }

    /// An aggregate as a read asks for it: as it is now, or as it was [`Call::until`] then. Its state is `None` when
    /// the stream had not begun.
    ///
    /// # Errors
    /// 400 for an `at` that is neither, 404 for a version that the stream has not reached.
    pub async fn load<A: Aggregate>(&self, store: &EventStore, stream: &StreamId) -> Result<Past<A>, Fault> {
        let Some(until) = self.until()? else {
            let loaded: Loaded<A> = store.load(stream).await?;
            return Ok(loaded.into());
        };
        let past: Past<A> = store.load_at(stream, until).await?;
        match until {
            Until::Version(asked) if past.state.is_some() && past.version < asked => {
                let message = format!("{stream} has no version {asked}: it stands at {}", past.version);
                Err(Fault::new(404, "VERSION_NOT_FOUND", message))
            }
            Until::Version(_) | Until::Time(_) => Ok(past),
        }
    }

    /// Carries out a request of this call on the aggregate with this id: see [`EventStore::transact_with`].
    ///
    /// # Errors
    /// Those of `command`, and of the store.
    pub async fn transact_with<A: Aggregate, K, F>(
        &self,
        store: &EventStore,
        id: Id<K>,
        expect: Expect,
        request: &impl Serialize,
        command: impl Fn(Option<A>) -> F,
    ) -> Result<Answer, Fault>
    where
        F: Future<Output = Result<A::Command, Fault>>,
    {
        let stream = StreamId::of::<A, _>(id);
        let outcome = store.transact_with(&stream, expect, request, &self.meta(), command).await?;
        Ok(Answer::committed(id, outcome.version))
    }
}
