//! The mall and the catalogue, however the bus delivers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use contracts::{Envelope, ids::StoreId};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Aggregate, Id, Money, StreamId};
use projection::{
    Consistency, Content, DeliverError, ListRequest, MemoryViews, Page, Projection, Projector, ViewStore,
};
use stores::{
    product::{Goods, Product, ProductCommand},
    store::{Store, StoreCommand},
    views::{ALL_STORES, BY_STORE, Catalogue, Mall, PARTICIPATING_STORES},
};
use testing::{Hostility, TestPorts, hostile};

/// An event table, and the people who fill it.
struct Stage {
    world: TestPorts,
    store: EventStore,
}

impl Stage {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        Self { world, store }
    }

    async fn send<A, K>(&self, id: Id<K>, command: A::Command)
    where
        A: Aggregate<Command: Clone + serde::Serialize>,
    {
        self.world.advance(Duration::from_secs(1));
        let stream = StreamId::of::<A, K>(id);
        let meta = self.world.command("shopkeeper");
        self.store.transact::<A>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    /// Six stores, of which every second takes part and one stopped, each with four products, of which one is removed.
    async fn busy_mall() -> Self {
        let stage = Self::new();
        for n in 0..6 {
            let id = store_id(n);
            let (name, location) = (format!("Store {n}"), format!("Hall {n}"));
            stage.send::<Store, _>(id, StoreCommand::Create { name, location }).await;
            stage.send::<Store, _>(id, StoreCommand::Rebrand { name: format!("Renamed {n}") }).await;
            if n % 2 == 0 {
                stage.send::<Store, _>(id, StoreCommand::EnableParticipation).await;
            }
            if n == 4 {
                stage.send::<Store, _>(id, StoreCommand::DisableParticipation).await;
            }
            for p in 0..4 {
                stage.fill_shelf(id, &format!("{n}-{p}"), p == 3).await;
            }
        }
        stage
    }

    async fn fill_shelf(&self, store_id: StoreId, name: &str, remove: bool) {
        let id = Id::<contracts::ids::ProductKind>::derived(&["product", name]);
        let price = |minor| Money::from_minor(minor).unwrap();
        let (description, sku) = ("fresh".to_owned(), name.to_owned());
        let goods = Goods { store_id, name: name.to_owned(), description, sku, price: price(100) };
        self.send::<Product, _>(id, ProductCommand::Add(goods)).await;
        for price in [price(150), price(200)] {
            self.send::<Product, _>(id, ProductCommand::IncreasePrice { price }).await;
        }
        self.send::<Product, _>(id, ProductCommand::DecreasePrice { price: price(175) }).await;
        let (name, description) = (format!("Renamed {name}"), String::new());
        self.send::<Product, _>(id, ProductCommand::Rebrand { name, description }).await;
        if remove {
            self.send::<Product, _>(id, ProductCommand::Remove).await;
        }
    }

    async fn history<P: Projection>(&self) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        let commits = page.commits.iter().filter(|commit| commit.stream.category() == P::CATEGORY);
        commits.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }

    fn view<P: Projection>(&self) -> (MemoryViews<P>, Projector<P>) {
        let rows = MemoryViews::<P>::new();
        (rows.clone(), Projector::new(Arc::new(rows), self.store.clone(), self.world.ports()))
    }

    async fn in_order<P: Projection>(&self) -> (MemoryViews<P>, Projector<P>) {
        let (rows, projector) = self.view();
        let outcome = projector.deliver_batch(&self.history::<P>().await).await;
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        (rows, projector)
    }
}

fn store_id(n: u32) -> StoreId {
    Id::derived(&["store", &n.to_string()])
}

async fn list<P: Projection>(
    projector: &Projector<P>,
    index: &projection::Index,
    partition: impl ToString,
    limit: Option<u32>,
    cursor: Option<String>,
) -> Page<P::Row> {
    let request = ListRequest { partition: partition.to_string(), descending: false, cursor, limit };
    projector.list(index, &request).await.unwrap()
}

/// Delivers a hostile history, one by one or in batches, and wants the rows of an orderly one.
async fn same_rows_as_in_order<P: Projection>() {
    let stage = Stage::busy_mall().await;
    let history = stage.history::<P>().await;
    let (orderly, _) = stage.in_order::<P>().await;
    for seed in 0..60 {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let delivered = hostile(&history, seed, hostility);
        let (rows, projector) = stage.view::<P>();
        if seed % 2 == 0 {
            for envelope in &delivered {
                projector.deliver(envelope).await.unwrap();
            }
        } else {
            for batch in delivered.chunks(10) {
                assert!(projector.deliver_batch(batch).await.failed.is_empty());
            }
        }
        for envelope in &history {
            let id = envelope.stream.id();
            let found = rows.get(id, Consistency::Strong).await.unwrap();
            let wanted = orderly.get(id, Consistency::Strong).await.unwrap();
            assert!(found == wanted && wanted.is_some(), "seed {seed}: row {id} of {} differs", P::NAME);
        }
    }
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_mall_as_an_orderly_one_does() {
    same_rows_as_in_order::<Mall>().await;
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_catalogue_as_an_orderly_one_does() {
    same_rows_as_in_order::<Catalogue>().await;
}

#[tokio::test]
async fn the_mall_lists_stores_in_the_order_in_which_they_were_opened() {
    let stage = Stage::busy_mall().await;
    let (_, mall) = stage.in_order::<Mall>().await;
    let all = list(&mall, &ALL_STORES, "mall", None, None).await;
    let names: Vec<&str> = all.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["Renamed 0", "Renamed 1", "Renamed 2", "Renamed 3", "Renamed 4", "Renamed 5"]);
    let taking_part = list(&mall, &PARTICIPATING_STORES, "mall", None, None).await;
    let names: Vec<&str> = taking_part.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["Renamed 0", "Renamed 2"], "who stopped is not among them");
    assert!(taking_part.rows.iter().all(|row| row.participating));
}

#[tokio::test]
async fn d28_a_list_comes_page_by_page_and_every_store_once_even_if_renamed_meanwhile() {
    let stage = Stage::busy_mall().await;
    let (_, mall) = stage.in_order::<Mall>().await;
    let first = list(&mall, &ALL_STORES, "mall", Some(4), None).await;
    stage.send::<Store, _>(store_id(0), StoreCommand::Rebrand { name: "Zebra".into() }).await;
    assert!(mall.deliver_batch(&stage.history::<Mall>().await).await.failed.is_empty());
    let second = list(&mall, &ALL_STORES, "mall", Some(4), first.next.clone()).await;
    assert!(first.next.is_some() && second.next.is_none());
    let ids: Vec<StoreId> = first.rows.iter().chain(&second.rows).map(|row| row.id).collect();
    assert_eq!(ids, (0..6).map(store_id).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_catalogue_shows_what_is_on_sale_at_the_last_price() {
    let stage = Stage::busy_mall().await;
    let (_, catalogue) = stage.in_order::<Catalogue>().await;
    let page = list(&catalogue, &BY_STORE, store_id(2), None, None).await;
    let found: Vec<(&str, i64)> =
        page.rows.iter().map(|row| (row.name.as_str(), row.price.minor())).collect();
    assert_eq!(found, [("Renamed 2-0", 175), ("Renamed 2-1", 175), ("Renamed 2-2", 175)]);
    assert!(page.rows.iter().all(|row| row.store_id == store_id(2)));
    let unknown = list(&catalogue, &BY_STORE, store_id(99), None, None).await;
    assert!(unknown.rows.is_empty(), "a store that there is not sells nothing");
}

#[tokio::test]
async fn an_old_event_that_comes_late_does_not_bring_a_removed_product_back() {
    let stage = Stage::new();
    stage.fill_shelf(store_id(1), "gone", true).await;
    let (rows, catalogue) = stage.in_order::<Catalogue>().await;
    let history = stage.history::<Catalogue>().await;
    catalogue.deliver(&history[0]).await.unwrap();
    assert!(list(&catalogue, &BY_STORE, store_id(1), None, None).await.rows.is_empty());
    let stored = rows.get(history[0].stream.id(), Consistency::Strong).await.unwrap().unwrap();
    assert!(matches!(stored.content, Content::Row(_)), "the row stays, off the shelf");
}

#[tokio::test]
async fn a_price_change_that_makes_no_sense_stops_its_own_row_only() {
    let stage = Stage::busy_mall().await;
    let history = stage.history::<Catalogue>().await;
    let (_, catalogue) = stage.view::<Catalogue>();
    let mut broken = history.clone();
    // The body of the first stream's first price change makes no sense.
    let place = broken.iter().position(|event| event.event_type == "ProductPriceIncreased").unwrap();
    broken[place].data = Some(serde_json::json!({ "delta": 0.5 }));
    let outcome = catalogue.deliver_batch(&broken).await;
    let stream = &broken[place].stream;
    assert!(!outcome.failed.is_empty());
    for failed in &outcome.failed {
        assert_eq!(&broken[failed.index].stream, stream);
        assert!(matches!(failed.error, DeliverError::Poison { .. }), "{:?}", failed.error);
    }
}
