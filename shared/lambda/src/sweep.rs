//! The worker of a sweep, which `infra/sweep-view.asl.json` calls part by part.

use std::sync::Arc;

use kernel::ports::Ports;
use projection::{Order, Slice, SweepError, Sweeping};
use serde::{Deserialize, Serialize};

use crate::{Fault, Function, serve::raw};

/// A request to begin a sweep, or to work on one part of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Request {
    Begin { view: String, begin: Order },
    Part { view: String, part: u32 },
}

/// The step that follows. Both fields are always there: a state machine that looks for a missing one fails.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    /// `more` (the same part again) or `over`.
    next: &'static str,
    /// Parts to work on.
    parts: Vec<u32>,
}

impl From<SweepError> for Fault {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Passing(_) | SweepError::Anew(_) => Fault::unavailable(error),
            // No state machine repeats an error of this name, so its execution fails.
            SweepError::Broken(_) => Fault::invalid("SWEEP_IS_BROKEN", error.to_string()),
            SweepError::Order => Fault::invalid("SWEEP_IS_INVALID", error.to_string()),
        }
    }
}

/// Sweeps these views.
pub fn sweep_view(sweepers: Vec<Box<dyn Sweeping>>, ports: &Ports) -> Function {
    let (sweepers, ports) = (Arc::new(sweepers), ports.clone());
    raw(move |request: Request, _| {
        let (sweepers, ports) = (sweepers.clone(), ports.clone());
        async move {
            let (Request::Begin { view, .. } | Request::Part { view, .. }) = &request;
            let Some(sweeper) = sweepers.iter().find(|known| known.view() == view) else {
                let known: Vec<&str> = sweepers.iter().map(|known| known.view()).collect();
                let message = format!("there is no view {view:?} here, but {}", known.join(", "));
                return Err(Fault::invalid("VIEW_IS_UNKNOWN", message));
            };
            match request {
                Request::Begin { begin, .. } => {
                    let sweep = sweeper.begin(&begin).await?;
                    Ok(Step { next: "more", parts: (0..sweep.parts).collect() })
                }
                Request::Part { part, .. } => {
                    let began = ports.clock.now();
                    let slice = sweeper.slice(part).await?;
                    let ms = ports.clock.now().duration_since(began).as_millis() as i64;
                    tracing::info!(view = sweeper.view(), part, ms, ?slice, "part of a sweep worked on");
                    let next = match slice {
                        Slice::More => "more",
                        Slice::Over => "over",
                    };
                    Ok(Step { next, parts: Vec::new() })
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use event_store::{EventStore, MemoryLog};
    use kernel::StreamId;
    use projection::{ApplyError, Limits, MemoryProgress, MemoryViews, ProjectedView, Projection, Sweeper};
    use serde_json::{Value, json};
    use testing::{TestPorts, tell};

    use super::*;

    struct Stores;

    impl Projection for Stores {
        const NAME: &'static str = "stores";
        const SCHEMA: u16 = 1;
        const CATEGORY: &'static str = "stores.Store";
        type Row = std::collections::BTreeMap<String, String>;

        fn apply(row: Option<Self::Row>, event: &contracts::Envelope) -> Result<Self::Row, ApplyError> {
            let mut row = row.unwrap_or_default();
            row.insert("last".to_owned(), event.event_type.clone());
            Ok(row)
        }
    }

    async fn worker() -> Function {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        let stream: StreamId = "stores.Store/a".parse().unwrap();
        let event = contracts::stores::StoreEvent::StoreRebranded(contracts::stores::StoreRebranded {
            name: "Fruit".to_owned(),
        });
        tell(&store, &stream, &event, &world.command("test")).await;
        let view = ProjectedView::<Stores>::new("stores", MemoryViews::new(), store.clone(), world.ports());
        let progress = Arc::new(MemoryProgress::default());
        let sweeper = Sweeper::new(view, progress, store, world.ports(), Limits::FUNCTION);
        sweep_view(vec![Box::new(sweeper)], &world.ports())
    }

    #[tokio::test]
    async fn a_state_machine_that_only_follows_the_answers_sweeps_a_view() {
        let worker = worker().await;
        let begun = worker.invoke(json!({"view": "stores", "begin": {"parts": 2}})).await.unwrap();
        assert_eq!(begun, json!({"next": "more", "parts": [0, 1]}));
        for part in [0, 1, 1] {
            let step = worker.invoke(json!({"view": "stores", "part": part})).await.unwrap();
            assert_eq!(step, json!({"next": "over", "parts": []}));
        }
    }

    #[tokio::test]
    async fn an_order_that_makes_no_sense_is_refused_by_a_name_that_is_not_retried() {
        let worker = worker().await;
        let refused = async |request: Value| worker.invoke(request).await.unwrap_err().error_type;
        assert_eq!(refused(json!({"view": "boats", "part": 0})).await, "VIEW_IS_UNKNOWN");
        assert_eq!(refused(json!({"view": "stores", "begin": {"parts": 99}})).await, "SWEEP_IS_INVALID");
        assert_eq!(
            refused(json!({"view": "stores", "begin": {"parts": 4, "rate": 2}})).await,
            "SWEEP_IS_INVALID"
        );
        assert_eq!(refused(json!({"view": "stores"})).await, "EVENT_IS_MALFORMED");
    }
}
