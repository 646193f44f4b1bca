//! Rows that other versions of the code wrote.

use std::sync::Arc;

use contracts::Envelope;
use kernel::Version;
use projection::{
    ApplyError, Consistency, Content, DeliverError, Delivered, DynamoViews, ListRequest, Projection,
    Projector, Put, ReadError, Stamp, ViewError, ViewStore,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::stage::{BY_OWNER, Ledger, Ledgers, Stage, TABLE, apply_ledger, noted, opened, raw};

/// The view as it was before: other fields, schema 1.
struct Before;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Old {
    owner_id: String,
    opened_at: String,
    count: u32,
}

impl Projection for Before {
    const NAME: &'static str = "ledgers";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "test.Ledger";
    type Row = Old;

    fn apply(row: Option<Old>, event: &Envelope) -> Result<Old, ApplyError> {
        let count = row.map_or(0, |row| row.count) + 1;
        Ok(Old { owner_id: "o".into(), opened_at: event.version.to_string(), count })
    }
}

/// Somebody added a field and forgot to raise the schema.
struct Careless;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wider {
    #[serde(flatten)]
    ledger: Ledger,
    added: String,
}

impl Projection for Careless {
    const NAME: &'static str = "ledgers";
    const SCHEMA: u16 = 2;
    const CATEGORY: &'static str = "test.Ledger";
    type Row = Wider;

    fn apply(row: Option<Wider>, event: &Envelope) -> Result<Wider, ApplyError> {
        let ledger = apply_ledger(row.map(|row| row.ledger), event)?;
        Ok(Wider { ledger, added: "yes".into() })
    }
}

fn views_of<P: Projection>(stage: &Stage) -> Arc<dyn ViewStore<P>> {
    match (&stage.dynamo, &stage.memory) {
        (Some(dynamo), _) => Arc::new(DynamoViews::<P>::new(dynamo.client(), TABLE)),
        (None, Some(memory)) => Arc::new(memory.seen_by::<P>()),
        (None, None) => unreachable!("a stage has a store"),
    }
}

fn projector_of<P: Projection>(stage: &Stage) -> Projector<P> {
    stage.projector_of(views_of::<P>(stage))
}

#[tokio::test]
async fn a_row_of_an_older_schema_is_folded_anew_and_never_goes_back() {
    for stage in Stage::both().await {
        let old = projector_of::<Before>(&stage);
        let events = stage.commit("a", vec![opened("o", "1"), noted(1), noted(2)]).await;
        assert!(old.deliver_batch(&events).await.failed.is_empty());
        // A late duplicate of the first event: the row must not restart at version 1.
        let delivered = stage.projector.deliver(&events[0]).await;
        assert_eq!(delivered, Ok(Delivered::Healed { events: 3 }), "{}", stage.name);
        assert_eq!(stage.row("a").await, stage.folded("a").await);
    }
}

#[tokio::test]
async fn readers_and_lists_never_show_a_row_of_an_older_schema() {
    for stage in Stage::both().await {
        let old = projector_of::<Before>(&stage);
        for id in ["a", "b"] {
            let events = stage.commit(id, vec![opened("o", "1"), noted(1)]).await;
            old.deliver_batch(&events).await;
        }
        let request = ListRequest { partition: "o".into(), ..ListRequest::default() };
        let page = stage.projector.list(&BY_OWNER, &request).await.unwrap();
        assert_eq!(page.rows.iter().map(|row| row.entries).collect::<Vec<_>>(), [1, 1], "{}", stage.name);
        assert_eq!(stage.row("a").await, stage.folded("a").await);
        // Reading repaired it for good: the old code now has to leave it alone.
        let error = old.deliver(&stage.commit("a", vec![noted(2)]).await[0]).await.unwrap_err();
        assert!(
            matches!(error, DeliverError::View(ViewError::FromTheFuture { schema: 2, known: 1, .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn readers_of_older_code_go_on_while_newer_code_writes_and_after_it_was_taken_back() {
    for stage in Stage::both().await {
        let old = projector_of::<Before>(&stage);
        for id in ["a", "b"] {
            let events = stage.commit(id, vec![opened("o", "1"), noted(1)]).await;
            stage.projector.deliver_batch(&events).await;
        }
        let read = old.read("a", None).await.unwrap().unwrap();
        assert_eq!((read.row.count, read.applied), (2, Version::new(2)), "{}", stage.name);
        let request = ListRequest { partition: "o".into(), ..ListRequest::default() };
        let page = old.list(&BY_OWNER, &request).await.unwrap();
        assert_eq!(page.rows.iter().map(|row| row.count).collect::<Vec<_>>(), [2, 2], "{}", stage.name);
        assert_eq!(stage.row("a").await, stage.folded("a").await, "the newer rows are as they were");
    }
}

#[tokio::test]
async fn older_code_never_overwrites_a_newer_row() {
    for stage in Stage::both().await {
        let old = projector_of::<Before>(&stage);
        let events = stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        stage.projector.deliver(&events[0]).await.unwrap();
        let error = old.deliver(&events[1]).await.unwrap_err();
        assert!(matches!(error, DeliverError::View(ViewError::FromTheFuture { .. })), "{error}");
        // Nor if it read before the newer code wrote.
        let row = Old { owner_id: "o".into(), opened_at: "1".into(), count: 1 };
        let views = views_of::<Before>(&stage);
        for before in [None, Some(Stamp { schema: 1, applied: Version::FIRST })] {
            let put = views.put("a", Some(&row), before, Version::new(2)).await;
            assert_eq!(put, Ok(Put::Conflict), "{}", stage.name);
        }
    }
}

#[tokio::test]
async fn an_old_row_stays_when_its_stream_holds_an_event_that_cannot_be_applied() {
    for stage in Stage::both().await {
        let old = projector_of::<Before>(&stage);
        let events = stage.commit("a", vec![opened("o", "1"), raw("Burnt", json!({})), noted(2)]).await;
        assert!(old.deliver_batch(&events).await.failed.is_empty());
        for event in &events {
            // Even those before the odd one: they are in no row that counts.
            assert!(matches!(stage.projector.deliver(event).await, Err(DeliverError::Poison { .. })));
        }
        assert!(matches!(stage.projector.read("a", None).await, Err(ReadError::Poison { .. })));
        let row = old.read("a", None).await.unwrap().unwrap();
        assert_eq!((row.row.count, row.applied.get()), (3, 3), "{}", stage.name);
    }
}

#[tokio::test]
async fn a_shape_that_changed_without_its_schema_heals_itself() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        stage.projector.deliver_batch(&events).await;
        let careless = projector_of::<Careless>(&stage);
        let row = careless.read("a", None).await.unwrap().unwrap();
        assert_eq!((row.row.added.as_str(), row.applied.get()), ("yes", 2), "{}", stage.name);
        let stored = views_of::<Careless>(&stage).get("a", Consistency::Strong).await.unwrap().unwrap();
        assert!(matches!(stored.content, Content::Row(_)), "the row was written back");
    }
}

/// A row with a field that is the store's own.
struct Clash;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Clashing {
    applied: u64,
}

impl Projection for Clash {
    const NAME: &'static str = "clash";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "test.Ledger";
    type Row = Clashing;

    fn apply(_: Option<Clashing>, _: &Envelope) -> Result<Clashing, ApplyError> {
        Ok(Clashing { applied: 99 })
    }
}

#[tokio::test]
async fn a_row_cannot_forge_the_version_that_guards_it() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![opened("o", "1")]).await;
        let error = projector_of::<Clash>(&stage).deliver(&events[0]).await.unwrap_err();
        assert!(matches!(error, DeliverError::View(ViewError::Malformed { .. })), "{}: {error}", stage.name);
        let row = Ledger {
            id: "other".into(),
            owner_id: "o".into(),
            opened_at: "1".into(),
            entries: 0,
            digest: 0,
            closed: false,
            note: None,
        };
        let put = views_of::<Ledgers>(&stage).put("a", Some(&row), None, Version::FIRST).await;
        assert!(matches!(put, Err(ViewError::Malformed { .. })));
    }
}
