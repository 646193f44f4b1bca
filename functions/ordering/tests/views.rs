//! The orders view, however the bus delivers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod orders;

use std::{sync::Arc, time::Duration};

use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Id, StreamId};
use ordering::{
    order::Order,
    views::{BY_CUSTOMER, BY_STAGE, COMPLETED, OrderRow, Orders, PENDING, PLACED},
};
use orders::commands;
use projection::{Consistency, Content, DeliverError, ListRequest, MemoryViews, Projector, ViewStore};
use testing::{Hostility, TestPorts, hostile};

/// An event table with orders in every state.
struct Stage {
    world: TestPorts,
    store: EventStore,
}

const STATES: [&str; 7] =
    ["pending", "approved", "ready", "completed", "rejected", "cancelled", "called off"];

fn order_id(state: &str) -> OrderId {
    Id::derived(&["order", state])
}

impl Stage {
    async fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        for state in STATES {
            for command in commands(state, order_id(state)) {
                world.advance(Duration::from_secs(1));
                let (stream, meta) = (StreamId::of::<Order, _>(order_id(state)), world.command("stage"));
                store.transact::<Order>(&stream, Expect::Any, &command, &meta).await.unwrap();
            }
        }
        Self { world, store }
    }

    async fn history(&self) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        page.commits.iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }

    fn view(&self) -> (MemoryViews<Orders>, Projector<Orders>) {
        let rows = MemoryViews::<Orders>::new();
        (rows.clone(), Projector::new(Arc::new(rows), self.store.clone(), self.world.ports()))
    }
}

async fn row(rows: &MemoryViews<Orders>, state: &str) -> OrderRow {
    let stored = rows.get(&order_id(state).to_string(), Consistency::Strong).await.unwrap().unwrap();
    match stored.content {
        Content::Row(row) => row,
        other => panic!("{state}: {other:?}"),
    }
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_view_as_an_orderly_one_does() {
    let stage = Stage::new().await;
    let history = stage.history().await;
    let (orderly, projector) = stage.view();
    assert!(projector.deliver_batch(&history).await.failed.is_empty());
    for seed in 0..60 {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let delivered = hostile(&history, seed, hostility);
        let (rows, projector) = stage.view();
        if seed % 2 == 0 {
            for envelope in &delivered {
                projector.deliver(envelope).await.unwrap();
            }
        } else {
            for batch in delivered.chunks(10) {
                assert!(projector.deliver_batch(batch).await.failed.is_empty());
            }
        }
        for state in STATES {
            assert_eq!(row(&rows, state).await, row(&orderly, state).await, "seed {seed}: {state}");
        }
    }
}

#[tokio::test]
async fn every_state_shows_with_its_list_its_invoice_and_its_reason() {
    let stage = Stage::new().await;
    let (rows, projector) = stage.view();
    assert!(projector.deliver_batch(&stage.history().await).await.failed.is_empty());
    for (state, status, listed, invoiced, reason) in [
        ("pending", "pending", false, false, None),
        ("approved", "approved", true, false, None),
        ("ready", "ready", true, false, None),
        ("completed", "completed", true, true, None),
        ("rejected", "rejected", false, false, Some("OUT_OF_STOCK")),
        ("cancelled", "cancelled", false, false, None),
        ("called off", "cancelled", true, false, Some("NOT_PAID_IN_TIME")),
    ] {
        let row = row(&rows, state).await;
        let id = order_id(state);
        assert_eq!(row.status, status);
        assert_eq!(row.shopping_id, listed.then(|| shopping_list_of(id)), "{state}");
        assert_eq!(row.invoice_id, invoiced.then(|| id.as_kind()), "{state}");
        assert_eq!(row.reason.as_deref(), reason, "{state}");
        assert_eq!(row.total.minor(), 150);
    }
    let partition = Id::<()>::derived(&["ada"]).to_string();
    let request = ListRequest { partition, descending: true, cursor: None, limit: None };
    let page = projector.list(&BY_CUSTOMER, &request).await.unwrap();
    let ids: Vec<OrderId> = page.rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, STATES.iter().rev().map(|state| order_id(state)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_order_is_listed_in_its_stage_and_in_no_other_and_nowhere_when_it_is_over() {
    let stage = Stage::new().await;
    let (_, projector) = stage.view();
    assert!(projector.deliver_batch(&stage.history().await).await.failed.is_empty());
    for (listed, states) in
        [(PENDING, &["pending"][..]), (PLACED, &["approved", "ready"]), (COMPLETED, &["completed"])]
    {
        let request = ListRequest { partition: listed.to_owned(), ..ListRequest::default() };
        let page = projector.list(&BY_STAGE, &request).await.unwrap();
        let ids: Vec<OrderId> = page.rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, states.iter().map(|state| order_id(state)).collect::<Vec<_>>(), "{listed}");
    }
}

#[tokio::test]
async fn an_event_that_makes_no_sense_stops_its_own_order_only() {
    let stage = Stage::new().await;
    let mut history = stage.history().await;
    let place = history.iter().position(|event| event.event_type == "OrderCompleted").unwrap();
    history[place].data = Some(serde_json::json!({ "invoice": 7 }));
    let (_, projector) = stage.view();
    let failed = projector.deliver_batch(&history).await.failed;
    assert!(!failed.is_empty());
    for failed in failed {
        assert_eq!(history[failed.index].stream, history[place].stream);
        assert!(matches!(failed.error, DeliverError::Poison { .. }), "{:?}", failed.error);
    }
}
