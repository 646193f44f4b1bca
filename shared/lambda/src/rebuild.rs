//! The worker of a rebuild: what `infra/rebuild-view.asl.json` calls, step by step.

use std::{sync::Arc, time::Duration};

use kernel::ports::Ports;
use projection::{Next, Order, RebuildError, Rebuilder, Refused, SegmentDone};
use serde::{Deserialize, Serialize};

use crate::{Fault, Function, serve::raw};

/// What the worker is asked: to begin a job, to do the work of a segment, or (with neither) to take the job on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    view: String,
    begin: Option<Begin>,
    segment: Option<u32>,
}

/// How a state machine begins.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Begin {
    /// With a job.
    Job(Order),
    /// With giving up the one that is under way, and with what it leaves to do.
    Cancel { cancel: Always },
}

/// `true`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "bool")]
struct Always;

impl TryFrom<bool> for Always {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("it is cancelled, or nothing is said of it") }
    }
}

/// What comes next. All fields are always there: a state machine that looks for one that is missing fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Step {
    /// `wait`, `segments`, `again` (the same segment), `over` or `stopped`.
    next: &'static str,
    /// Seconds.
    wait: u64,
    /// Segments that are not at their end.
    segments: Vec<u32>,
    /// Why it stopped.
    why: String,
}

impl From<Next> for Step {
    fn from(next: Next) -> Self {
        match next {
            // Rounded up: a little early would only be told to wait again.
            Next::Wait(pause) => {
                let wait = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
                Self { next: "wait", wait, ..Self::default() }
            }
            Next::Again => Self { next: "wait", ..Self::default() },
            Next::Segments(segments) => Self { next: "segments", segments, ..Self::default() },
            Next::Over(_) => Self { next: "over", ..Self::default() },
            Next::Stopped(why) => Self { next: "stopped", why, ..Self::default() },
        }
    }
}

impl From<RebuildError> for Fault {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Passing(_) => Fault::unavailable(error),
            RebuildError::BadEvent(_) | RebuildError::Broken(_) => Fault::internal(error),
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Change(error) => RebuildError::from(error).into(),
            Refused::Order
            | Refused::Rebuilding { .. }
            | Refused::Comparing { .. }
            | Refused::TooLate { .. }
            | Refused::NothingToCancel { .. } => Fault::new(409, "REBUILD_REFUSED", refused.to_string()),
        }
    }
}

/// Builds these views anew, step by step.
pub fn rebuild_view(rebuilders: Vec<Rebuilder>, ports: &Ports) -> Function {
    let (rebuilders, ports) = (Arc::new(rebuilders), ports.clone());
    raw(move |request: Request, _| {
        let (rebuilders, ports) = (rebuilders.clone(), ports.clone());
        async move {
            let Some(rebuilder) = rebuilders.iter().find(|known| known.view() == request.view) else {
                let known: Vec<&str> = rebuilders.iter().map(Rebuilder::view).collect();
                let message = format!("there is no view {:?} here, but {}", request.view, known.join(", "));
                return Err(Fault::invalid("VIEW_IS_UNKNOWN", message));
            };
            step(rebuilder, &request, &ports).await
        }
    })
}

async fn step(rebuilder: &Rebuilder, request: &Request, ports: &Ports) -> Result<Step, Fault> {
    if let Some(begin) = &request.begin {
        match begin {
            Begin::Job(order) => rebuilder.begin(order).await?,
            Begin::Cancel { cancel: Always } => rebuilder.cancel().await?,
        };
        return Ok(Next::Wait(Duration::ZERO).into());
    }
    if let Some(segment) = request.segment {
        let began = ports.clock.now();
        let done = rebuilder.segment(segment).await?;
        let ms = ports.clock.now().duration_since(began).as_millis() as i64;
        tracing::info!(view = rebuilder.view(), segment, ms, ?done, "segment worked on");
        return Ok(match done {
            SegmentDone::No => Step { next: "again", ..Step::default() },
            SegmentDone::Yes => Step { next: "over", ..Step::default() },
        });
    }
    // What needs no waiting needs no further step of the state machine.
    loop {
        match rebuilder.advance().await? {
            Next::Wait(pause) if pause.is_zero() => {}
            next => return Ok(next.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use event_store::{EventStore, MemoryLog};
    use kernel::{DecodeError, Event, RawEvent, StreamId};
    use projection::{ApplyError, Limits, MemoryRegistry, MemoryViews, ProjectedView, Projection};
    use serde_json::{Value, json};
    use testing::{TestPorts, tell};

    use super::*;

    struct Notes;

    impl Projection for Notes {
        const NAME: &'static str = "notes";
        const SCHEMA: u16 = 1;
        const CATEGORY: &'static str = "test.Note";
        type Row = std::collections::BTreeMap<String, String>;

        fn apply(row: Option<Self::Row>, event: &contracts::Envelope) -> Result<Self::Row, ApplyError> {
            let mut row = row.unwrap_or_default();
            if event.event_type == "Torn" {
                return Err(ApplyError::without_row(event));
            }
            row.insert("last".to_owned(), event.event_type.clone());
            Ok(row)
        }
    }

    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Noted(String);

    impl Event for Noted {
        const SCHEMAS: &'static [(&'static str, u16)] = &[];

        fn event_type(&self) -> &'static str {
            "Noted"
        }

        fn to_raw(&self) -> Result<RawEvent, DecodeError> {
            Ok(RawEvent { event_type: self.0.clone(), schema: 1, data: json!({}) })
        }

        fn from_raw(_: RawEvent) -> Result<Self, DecodeError> {
            Ok(Self(String::new()))
        }
    }

    struct Desk {
        world: TestPorts,
        store: EventStore,
        worker: Function,
    }

    impl Desk {
        fn new() -> Self {
            let world = TestPorts::new(1);
            let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
            let (odd, even) = (MemoryViews::<Notes>::new(), MemoryViews::new());
            let view = ProjectedView::new("notes", odd, even, store.clone(), world.ports());
            let registry = Arc::new(MemoryRegistry::new());
            let rebuilder =
                Rebuilder::new(Arc::new(view), registry, store.clone(), world.ports(), Limits::FUNCTION);
            let worker = rebuild_view(vec![rebuilder], &world.ports());
            Self { world, store, worker }
        }

        async fn note(&self, id: &str, what: &str) {
            let stream: StreamId = format!("test.Note/{id}").parse().unwrap();
            tell(&self.store, &stream, &Noted(what.to_owned()), &self.world.command("test")).await;
        }

        async fn ask(&self, request: Value) -> Value {
            self.worker.invoke(request).await.unwrap()
        }

        /// What the state machine does; the names of the steps that it was told.
        async fn drive(&self) -> Vec<String> {
            let mut told = Vec::new();
            loop {
                let step = self.ask(json!({"view": "notes"})).await;
                let next = step["next"].as_str().unwrap().to_owned();
                told.push(next.clone());
                match next.as_str() {
                    "wait" => self.world.advance(Duration::from_secs(step["wait"].as_u64().unwrap())),
                    "segments" => {
                        for segment in step["segments"].as_array().unwrap() {
                            let done = self.ask(json!({"view": "notes", "segment": segment})).await;
                            assert_eq!(done["next"], "over");
                        }
                    }
                    _ => return told,
                }
            }
        }
    }

    fn begin(task: &str) -> Value {
        json!({"view": "notes", "begin": {"task": task, "segments": 2, "rate": null}})
    }

    #[tokio::test]
    async fn a_state_machine_that_only_does_what_it_is_told_rebuilds_a_view() {
        let desk = Desk::new();
        desk.note("a", "Noted").await;
        desk.ask(begin("rebuildAndVerify")).await;
        assert_eq!(desk.drive().await, ["wait", "segments", "segments", "wait", "wait", "wait", "over"]);
        assert_eq!(desk.drive().await, ["over"]);
    }

    #[tokio::test]
    async fn every_answer_has_all_fields_that_the_state_machine_selects() {
        let desk = Desk::new();
        for request in [begin("rebuild"), json!({"view": "notes"}), json!({"view": "notes", "segment": 0})] {
            let step = desk.ask(request).await;
            let mut fields: Vec<&String> = step.as_object().unwrap().keys().collect();
            fields.sort();
            assert_eq!(fields, ["next", "segments", "wait", "why"]);
        }
    }

    #[tokio::test]
    async fn a_bad_event_ends_the_segments_and_the_job_and_names_itself() {
        let desk = Desk::new();
        desk.note("a", "Torn").await;
        desk.ask(begin("rebuild")).await;
        assert_eq!(desk.drive().await, ["wait", "segments", "stopped"]);
        let step = desk.ask(json!({"view": "notes"})).await;
        assert!(step["why"].as_str().unwrap().contains("test.Note/a version 1"), "{step}");
    }

    #[tokio::test]
    async fn a_state_machine_that_begins_with_giving_up_removes_what_was_built() {
        let desk = Desk::new();
        desk.note("a", "Noted").await;
        desk.ask(begin("rebuild")).await;
        assert_eq!(desk.ask(json!({"view": "notes"})).await["next"], "wait");
        desk.ask(json!({"view": "notes", "begin": {"cancel": true}})).await;
        assert_eq!(desk.drive().await, ["wait", "over"]);
        let again = desk.worker.invoke(json!({"view": "notes", "begin": {"cancel": true}})).await;
        assert_eq!(again.unwrap_err().error_type, "REBUILD_REFUSED");
    }

    #[tokio::test]
    async fn what_cannot_be_meant_is_refused_by_a_name_that_is_not_retried() {
        let desk = Desk::new();
        let refused = async |request| desk.worker.invoke(request).await.unwrap_err().error_type;
        assert_eq!(refused(json!({"view": "boats"})).await, "VIEW_IS_UNKNOWN");
        let request = json!({"view": "notes", "begin": {"task": "rebuild", "segments": 99}});
        assert_eq!(refused(request).await, "REBUILD_REFUSED");
        desk.ask(begin("rebuild")).await;
        assert_eq!(refused(begin("verify")).await, "REBUILD_REFUSED");
    }
}
