//! What a registry of views has to hold to.

use kernel::Version;
use projection::{
    At, DynamoRegistry, Generation, Job, MemoryRegistry, Phase, Put, Registry, SegmentState, Task, ViewState,
    change, create_registry,
};
use testing::{EmbeddedDynamo, TestPorts};

use crate::stage::stream;

/// Both registries; the endpoint has to live as long as its client.
async fn both() -> (EmbeddedDynamo, [Box<dyn Registry>; 2]) {
    let dynamo = EmbeddedDynamo::start().await;
    create_registry(&dynamo.client(), "views").await.unwrap();
    let stored = DynamoRegistry::new(dynamo.client(), "views");
    (dynamo, [Box::new(MemoryRegistry::new()), Box::new(stored)])
}

fn job() -> Job {
    let at = |at| SegmentState { at, steps: 3, commits: 20, events: 12 };
    Job {
        task: Task::RebuildAndVerify,
        generation: Generation::FIRST.next(),
        phase: Phase::Filling,
        since: TestPorts::START,
        schema: 7,
        rate: Some(500),
        segments: vec![
            SegmentState::default(),
            at(At::Commit { stream: stream("a"), version: Version::new(9) }),
            at(At::Rows),
            at(At::Row { id: "b".into() }),
            at(At::End),
        ],
        differences: 2,
        repaired: 1,
        examples: vec!["row a".into()],
        started_at: TestPorts::START,
        updated_at: TestPorts::START,
        stopped: Some("a reason".into()),
    }
}

#[tokio::test]
async fn a_view_that_was_never_rebuilt_is_live_in_its_first_generation() {
    let (_dynamo, registries) = both().await;
    for registry in registries {
        let state = registry.get("orders").await.unwrap();
        assert_eq!(state, ViewState::new("orders"));
        assert_eq!((state.fed().live, state.fed().also), (Generation::FIRST, None));
        assert!(registry.all().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_state_comes_back_as_it_was_written_and_states_are_listed_by_name() {
    let (_dynamo, registries) = both().await;
    for registry in registries {
        let state = ViewState { job: Some(job()), ..ViewState::new("orders") };
        assert_eq!(registry.put(&state).await.unwrap(), Put::Written);
        assert_eq!(registry.put(&ViewState::new("bots")).await.unwrap(), Put::Written);
        let stored = ViewState { revision: 1, ..state };
        assert_eq!(registry.get("orders").await.unwrap(), stored);
        let names: Vec<String> = registry.all().await.unwrap().into_iter().map(|state| state.view).collect();
        assert_eq!(names, ["bots", "orders"]);
    }
}

#[tokio::test]
async fn a_state_is_written_only_over_exactly_what_was_read() {
    let (_dynamo, registries) = both().await;
    for registry in registries {
        let first = ViewState::new("orders");
        assert_eq!(registry.put(&first).await.unwrap(), Put::Written);
        assert_eq!(registry.put(&first).await.unwrap(), Put::Conflict);
        assert_eq!(registry.put(&ViewState { revision: 2, ..first.clone() }).await.unwrap(), Put::Conflict);
        assert_eq!(registry.put(&ViewState { revision: 1, ..first }).await.unwrap(), Put::Written);
        assert_eq!(registry.get("orders").await.unwrap().revision, 2);
    }
}

#[tokio::test]
async fn changes_by_many_at_the_same_time_all_come_to_be() {
    let (_dynamo, registries) = both().await;
    let ports = TestPorts::new(3).ports();
    for registry in &registries {
        let writers = (0..8).map(|_| {
            change(&**registry, &ports, "orders", |state| {
                state.live = state.live.next();
                true
            })
        });
        for written in futures::future::join_all(writers).await {
            written.unwrap();
        }
        let state = registry.get("orders").await.unwrap();
        assert_eq!((state.revision, state.live.to_string().as_str()), (8, "9"));
    }
}
