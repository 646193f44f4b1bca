//! Stock levels, however the bus delivers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use std::sync::Arc;

use inventory::{
    stock::{Kept, StockCommand},
    views::{LOW, StockLevels},
};
use kernel::Version;
use projection::{
    Consistency, Content, DeliverError, ListRequest, MemoryViews, Projection, Projector, ViewStore,
};
use stage::{House, Shop, store_id};
use testing::{Hostility, hostile};

/// Products of which much is added, kept, given back, sold, taken out; one is tracked no longer.
async fn busy_house() -> House {
    let house = House::new();
    for n in 0..5_u32 {
        let product = house.stocked(&n.to_string(), 20).await;
        house.send(product, StockCommand::SetThreshold { threshold: 4 + n }).await;
        for o in 0..6_u32 {
            let order_id = house.order(&format!("{n}-{o}"), &[(product, 1 + o)]).await;
            // Some are released before they are reserved, and some want too much.
            if o == 3 {
                house.undo_behind_the_step(product, order_id).await;
            }
            let _settled_either_way = house.reserve(order_id).await;
            match o {
                1 => drop(house.undo(order_id).await.unwrap()),
                2 | 4 => {
                    let since = Version::FIRST;
                    let sell = StockCommand::Sell {
                        order_id,
                        kept: Kept::Since(since),
                        since,
                        at: house.world.now(),
                    };
                    house.send(product, sell).await;
                }
                _ => {}
            }
        }
        let added = StockCommand::Add { product_id: product, store_id: store_id(), quantity: n };
        if n > 0 {
            house.send(product, added).await;
        }
        if n % 2 == 0 {
            house.send(product, StockCommand::Reduce { quantity: 1 }).await;
        }
    }
    let forgotten = house.stocked("forgotten", 3).await;
    house.send(forgotten, StockCommand::StopTracking).await;
    house
}

fn view(house: &House) -> (MemoryViews<StockLevels>, Projector<StockLevels>) {
    let rows = MemoryViews::new();
    (rows.clone(), Projector::new(Arc::new(rows), house.store.clone(), house.world.ports()))
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_stock_levels_as_an_orderly_one_does() {
    let house = busy_house().await;
    let history = house.published(StockLevels::CATEGORY).await;
    let (orderly, projector) = view(&house);
    assert!(projector.deliver_batch(&history).await.failed.is_empty());
    for seed in 0..60 {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let (rows, projector) = view(&house);
        for batch in hostile(&history, seed, hostility).chunks(if seed % 2 == 0 { 1 } else { 10 }) {
            assert!(projector.deliver_batch(batch).await.failed.is_empty());
        }
        for envelope in &history {
            let id = envelope.stream.id();
            let found = rows.get(id, Consistency::Strong).await.unwrap();
            let wanted = orderly.get(id, Consistency::Strong).await.unwrap();
            assert!(found == wanted && wanted.is_some(), "seed {seed}: row {id} differs");
        }
    }
}

#[tokio::test]
async fn the_view_counts_as_the_aggregate_does() {
    let house = busy_house().await;
    let (rows, projector) = view(&house);
    assert!(projector.deliver_batch(&house.published(StockLevels::CATEGORY).await).await.failed.is_empty());
    let mut low = Vec::new();
    for n in 0..5 {
        let product = kernel::Id::derived(&["product", &n.to_string()]);
        let stored = rows.get(&product.to_string(), Consistency::Strong).await.unwrap().unwrap();
        let Content::Row(row) = stored.content else { panic!("no row for {product}") };
        let stock = house.stock(product).await;
        assert_eq!(
            (row.on_hand, row.reserved, row.threshold),
            (stock.on_hand(), stock.reserved(), stock.threshold())
        );
        assert_eq!((row.available(), row.low_since.is_some()), (stock.available(), stock.is_low()));
        if stock.is_low() {
            low.push(product);
        }
    }
    assert!(!low.is_empty() && low.len() < 5, "some are low and some are not");
    let request = ListRequest { partition: "mall".into(), ..ListRequest::default() };
    let listed = projector.list(&LOW, &request).await.unwrap();
    let mut listed: Vec<_> = listed.rows.iter().map(|row| row.id).collect();
    listed.sort();
    low.sort();
    assert_eq!(listed, low, "the index holds what is low and nothing else");
}

#[tokio::test]
async fn what_is_low_stays_in_its_place_until_it_is_low_no_more() {
    let shop = Shop::new();
    let (first, second) = (shop.house.stocked("a", 5).await, shop.house.stocked("b", 5).await);
    for product in [first, second] {
        shop.house.world.advance(std::time::Duration::from_secs(1));
        shop.house.send(product, StockCommand::SetThreshold { threshold: 5 }).await;
    }
    let ids = || async {
        shop.settle().await;
        let page = shop.ok("GET", "/api/inventory/low", serde_json::Value::Null).await;
        page["stock"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["productId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids().await, [first.to_string(), second.to_string()]);
    shop.house.send(first, StockCommand::Reduce { quantity: 1 }).await;
    assert_eq!(ids().await, [first.to_string(), second.to_string()], "longest first");
    let add = StockCommand::Add { product_id: first, store_id: store_id(), quantity: 2 };
    shop.house.send(first, add).await;
    assert_eq!(ids().await, [second.to_string()]);
    shop.house.send(first, StockCommand::Reduce { quantity: 1 }).await;
    assert_eq!(ids().await, [second.to_string(), first.to_string()]);
}

#[tokio::test]
async fn an_event_that_makes_no_sense_stops_its_own_row_only() {
    let house = busy_house().await;
    let mut broken = house.published(StockLevels::CATEGORY).await;
    let place = broken.iter().position(|event| event.event_type == "InventoryReserved").unwrap();
    let mut data = broken[place].data.clone().unwrap();
    data["available"] = 1_000_000.into();
    broken[place].data = Some(data);
    let (_, projector) = view(&house);
    let outcome = projector.deliver_batch(&broken).await;
    assert!(!outcome.failed.is_empty());
    for failed in &outcome.failed {
        assert_eq!(broken[failed.index].stream, broken[place].stream);
        assert!(matches!(failed.error, DeliverError::Poison { .. }), "{:?}", failed.error);
    }
}
