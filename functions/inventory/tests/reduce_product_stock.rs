//! "Reduce product stock", step by step, from the request to the view and the warning.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use contracts::{
    Envelope,
    inventory::{LowStock, ReductionReason, StockEvent, StockReduced},
};
use inventory::{
    stock::StockCommand,
    views::{StockLevels, StockViews},
};
use lambda::{MemoryQueue, Messages, batch_consumer};
use projection::Projection;
use serde_json::{Value, json};
use stage::{Shop, store_id};
use std::sync::Arc;

/// A batch as the queue hands it out: the envelopes inside bus events, as the relay publishes them.
fn batch(events: &[Envelope]) -> Value {
    let records = events.iter().map(|event| {
        let body = json!({
            "detail-type": event.event_type, "source": format!("mallard.{}", event.context()), "detail": event,
        });
        json!({ "messageId": event.id.to_string(), "body": body.to_string(), "attributes": {}, "messageAttributes": {} })
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

#[tokio::test]
async fn reduce_product_stock_from_the_request_to_the_view_with_a_consumer_that_fails_first() {
    let shop = Shop::new();
    let product = shop.house.stocked("apple", 10).await;
    shop.house.send(product, StockCommand::SetThreshold { threshold: 3 }).await;
    shop.settle().await;
    let before = shop.house.published(StockLevels::CATEGORY).await.len();
    let path = format!("/api/inventory/{product}/reduce");

    // Request, command, and the rule "sufficient stock available": more than there is changes nothing.
    let reply = shop.send("PUT", &path, json!({ "quantity": 11 })).await;
    Shop::refused(&reply, 409, "INSUFFICIENT_STOCK");
    assert_eq!(shop.house.published(StockLevels::CATEGORY).await.len(), before);

    // The aggregate reduces, and its events are stored.
    let answer = shop.ok("PUT", &path, json!({ "quantity": 7 })).await;
    let stored = shop.house.published(StockLevels::CATEGORY).await.split_off(before);
    let events: Vec<StockEvent> = stored.iter().map(|event| event.event().unwrap()).collect();
    let (product_id, store_id) = (product, store_id());
    assert_eq!(
        events,
        [
            StockEvent::StockReduced(StockReduced {
                product_id,
                quantity: 7,
                on_hand: 3,
                reason: ReductionReason::Removed,
                order_id: None
            }),
            // For whoever informs the shopkeeper.
            StockEvent::LowStock(LowStock { product_id, store_id, available: 3, threshold: 3 }),
        ]
    );
    assert_eq!((stored[0].first, stored[0].next), (stored[1].first, stored[1].next), "in one commit");
    assert_eq!(answer["version"], stored[1].version.get());

    // Published; but the view's function gets a damaged first delivery, which it parks, and all after it.
    let views = Arc::new(StockViews::new(shop.projector.clone()));
    let queue = MemoryQueue::default();
    let messages = Messages::new(Arc::new(queue.clone()), shop.house.world.ports());
    let function = batch_consumer(&views, &messages, StockViews::project_stock_levels);
    let mut damaged = stored.clone();
    damaged[0].data = Some(json!({ "quantity": "seven" }));
    let answer = function.invoke(batch(&damaged)).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    let parked = queue.asked().parked;
    assert_eq!(parked.len(), 2);
    assert!(stored.iter().all(|event| parked.contains_key(&event.id.to_string())), "{parked:?}");
    let list = format!("/api/inventory?storeId={store_id}");
    assert_eq!(
        shop.ok("GET", &list, Value::Null).await["stock"][0]["onHand"],
        10,
        "nothing is shown that was not understood"
    );

    // An operator sends the events again; that they come twice more does no harm.
    for _ in 0..3 {
        let done = function.invoke(batch(&stored)).await.unwrap();
        assert_eq!(done["batchItemFailures"], json!([]));
    }
    for list in [list.as_str(), "/api/inventory/low"] {
        let shown = &shop.ok("GET", list, Value::Null).await["stock"][0];
        assert_eq!(
            (&shown["onHand"], &shown["available"], &shown["low"]),
            (&json!(3), &json!(3), &json!(true))
        );
    }
}
