//! What a product costs that everybody wants: `cargo bench --workspace --bench hot_product --profile dev`.
//!
//! One product's stock, in the embedded DynamoDB, which answers one request at a time in about a millisecond; orders reserve
//! one piece each. First every order asks once, then it asks as the order saga does, which repeats what is contended, after a pause
//! with full jitter (here from 250 ms instead of 1 s). Then what the state of a busy product costs in its snapshot.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench stops when its stage cannot be set"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use contracts::{
    ids::{OrderId, ProductId, StoreId, reservation_of},
    inventory::{InventoryReleased, InventoryReserved, StockAdded, StockEvent, StockTrackingStarted},
};
use event_store::{
    CommitLog, DynamoLog, EventStore, Expect, Head, Loaded, MemoryLog, Meter, Snapshot, TransactError,
};
use inventory::stock::{CLOSED_REMEMBERED, MAX_PIECES, MAX_RESERVATIONS, StockCommand, StockItem};
use kernel::{
    Actor, Aggregate, CommandId, CommandMeta, Event, Id, PayloadHash, StreamId, Timestamp,
    aggregate::fold,
    ports::{Backoff, Ports},
};
use lambda::system_ports;
use testing::{EmbeddedDynamo, FaultyLog};
use tokio::task::JoinSet;

const ORDERS: usize = 320;
/// The saga's policy, four times faster: 1 s doubling up to 20 s, six retries.
const SAGA: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(5), retries: 6 };

fn meta(ports: &Ports, id: CommandId) -> CommandMeta {
    let (at, correlation) = (ports.clock.now(), ports.ids.fresh());
    CommandMeta { id, at, actor: Actor::new("bench"), correlation, causation: None, trace: None, attempt: 0 }
}

struct Outcome {
    /// Of each call that succeeded.
    took: Vec<Duration>,
    contended: usize,
    given_up: usize,
}

/// `clients` ask for one piece after the other, until all orders have been served.
async fn orders(
    store: &EventStore,
    ports: &Ports,
    product: ProductId,
    clients: usize,
    retries: u32,
) -> Outcome {
    let mut running = JoinSet::new();
    for client in 0..clients {
        let (store, ports) = (store.clone(), ports.clone());
        running.spawn(async move {
            let mut outcome = Outcome { took: Vec::new(), contended: 0, given_up: 0 };
            let stream = StreamId::of::<StockItem, _>(product);
            for _ in (client..ORDERS).step_by(clients) {
                let order_id: OrderId = Id::new(ports.ids.fresh());
                let command = StockCommand::Reserve { order_id, quantity: 1, at: ports.clock.now() };
                let id = CommandId::derived(&["reserve", &order_id.to_string()]);
                for attempt in 0..=retries {
                    let started = Instant::now();
                    match store.transact::<StockItem>(&stream, Expect::Any, &command, &meta(&ports, id)).await
                    {
                        Ok(_) => {
                            outcome.took.push(started.elapsed());
                            break;
                        }
                        Err(TransactError::Contended { .. }) => {
                            outcome.contended += 1;
                            if attempt == retries {
                                outcome.given_up += 1;
                            } else {
                                ports.timer.sleep(SAGA.pause(attempt, &*ports.random)).await;
                            }
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            outcome
        });
    }
    let mut all = Outcome { took: Vec::new(), contended: 0, given_up: 0 };
    for outcome in running.join_all().await {
        all.took.extend(outcome.took);
        all.contended += outcome.contended;
        all.given_up += outcome.given_up;
    }
    all.took.sort();
    all
}

async fn contention(asks: &str, clients: usize, retries: u32) {
    let dynamo = EmbeddedDynamo::start().await;
    let log = FaultyLog::new(Arc::new(dynamo.event_log("events").await));
    let ports = system_ports();
    let store = EventStore::new(Arc::new(log.clone()), ports.clone());
    let product_id: ProductId = Id::derived(&["product"]);
    let stream = StreamId::of::<StockItem, _>(product_id);
    let set = StockCommand::Set { product_id, store_id: Id::derived(&["store"]), on_hand: MAX_PIECES };
    let id = CommandId::new(ports.ids.fresh());
    store.transact::<StockItem>(&stream, Expect::Any, &set, &meta(&ports, id)).await.unwrap();
    log.take_calls();
    let started = Instant::now();
    let outcome = orders(&store, &ports, product_id, clients, retries).await;
    let seconds = started.elapsed().as_secs_f64();
    let calls = log.take_calls();
    let kept = outcome.took.len();
    let loaded: Loaded<StockItem> = store.load(&stream).await.unwrap();
    let stock = loaded.state.as_ref().and_then(StockItem::tracked).unwrap();
    assert_eq!((stock.orders(), stock.available()), (kept, MAX_PIECES - u32::try_from(kept).unwrap()));
    let percentile = |p: usize| outcome.took[(kept - 1) * p / 100].as_secs_f64() * 1000.0;
    println!(
        "| {asks:<7} | {clients:>7} | {kept:>4} | {:>9} | {:>8} | {:>6.0} | {:>9.2} | {:>8.2} | {:>7.1} | {:>7.1} |",
        outcome.contended,
        outcome.given_up,
        kept as f64 / seconds,
        (calls.appends - kept as u64) as f64 / kept as f64,
        calls.reads as f64 / kept as f64,
        percentile(50),
        percentile(99),
    );
}

/// A product with this many open reservations, and as many closed ones as are remembered.
fn busy(product_id: ProductId, ports: &Ports, open: usize, closed: usize) -> StockItem {
    let store_id: StoreId = Id::derived(&["store"]);
    let mut events = vec![
        StockEvent::StockTrackingStarted(StockTrackingStarted { product_id, store_id }),
        StockEvent::StockAdded(StockAdded { product_id, quantity: MAX_PIECES, on_hand: MAX_PIECES }),
    ];
    let at = Timestamp::UNIX_EPOCH;
    for _ in 0..closed {
        let order_id = Id::new(ports.ids.fresh());
        let (reservation_id, available) = (reservation_of(order_id, product_id), MAX_PIECES);
        let released = InventoryReleased {
            product_id,
            reservation_id,
            order_id,
            quantity: 0,
            available,
            released_at: at,
        };
        events.push(StockEvent::InventoryReleased(released));
    }
    for n in 0..u32::try_from(open).unwrap() {
        let order_id = Id::new(ports.ids.fresh());
        let (reservation_id, available) = (reservation_of(order_id, product_id), MAX_PIECES - n - 1);
        let reserved = InventoryReserved {
            product_id,
            reservation_id,
            order_id,
            quantity: 1,
            available,
            reserved_at: at,
        };
        events.push(StockEvent::InventoryReserved(reserved));
    }
    fold(None, &events).unwrap().unwrap()
}

async fn snapshot(open: usize, closed: usize) {
    let dynamo = EmbeddedDynamo::start().await;
    event_store::create_table(&dynamo.client(), "events").await.unwrap();
    let (meter, ports) = (Arc::new(Meter::default()), system_ports());
    let log = DynamoLog::new(dynamo.client(), "events").metered(meter.clone());
    let (product_id, store_id): (ProductId, StoreId) = (Id::derived(&["product"]), Id::derived(&["store"]));
    let stream = StreamId::of::<StockItem, _>(product_id);
    let state = busy(product_id, &ports, open, closed);
    // One commit of one small event, with the snapshot of all that came before it.
    let started = StockEvent::StockTrackingStarted(StockTrackingStarted { product_id, store_id });
    let json = serde_json::to_value(&state).unwrap();
    let bytes = json.to_string().len();
    let snapshot = Snapshot { schema: StockItem::STATE_SCHEMA, state: json };
    let meta = meta(&ports, CommandId::new(ports.ids.fresh()));
    let hash = PayloadHash::of(&"bench");
    let commit = Head::new_stream(stream.clone()).commit(
        started.to_raw().unwrap(),
        vec![],
        hash,
        &meta,
        Some(snapshot),
    );
    log.append(&commit).await.unwrap();
    let written = meter.take().write_units;
    let store = EventStore::new(Arc::new(log), ports);
    let _: Loaded<StockItem> = store.load(&stream).await.unwrap();
    let read = meter.take().read_units;
    println!(
        "| {open:>4} | {closed:>6} | {:>10.1} | {written:>11} | {:>12.2} | {read:>10} |",
        bytes as f64 / 1000.0,
        (written + 9.0) / 10.0,
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // What the store does in memory is no part of the table; this only warms the code.
        let warm = EventStore::new(Arc::new(MemoryLog::new()), system_ports());
        let product_id: ProductId = Id::derived(&["warm"]);
        let command = StockCommand::StartTracking { product_id, store_id: Id::derived(&["store"]) };
        let ports = system_ports();
        let meta = meta(&ports, CommandId::new(ports.ids.fresh()));
        let stream = StreamId::of::<StockItem, _>(product_id);
        warm.transact::<StockItem>(&stream, Expect::Any, &command, &meta).await.unwrap();

        println!("{ORDERS} orders for one product; conflicts and reads per reservation; milliseconds of a call that succeeded\n");
        println!("| asks    | clients | kept | contended | given up |    1/s | conflicts |    reads |     p50 |     p99 |");
        println!("| ------- | ------- | ---- | --------- | -------- | ------ | --------- | -------- | ------- | ------- |");
        for clients in [1, 8, 64] {
            contention("once", clients, 0).await;
        }
        for clients in [8, 64] {
            contention("as saga", clients, SAGA.retries).await;
        }
        println!("\nThe snapshot of a busy product, in every tenth commit\n");
        println!("| open | closed | JSON in KB | write units | per commit   | read units |");
        println!("| ---- | ------ | ---------- | ----------- | ------------ | ---------- |");
        for (open, closed) in [(0, 0), (0, CLOSED_REMEMBERED), (100, CLOSED_REMEMBERED), (500, CLOSED_REMEMBERED), (MAX_RESERVATIONS, CLOSED_REMEMBERED)] {
            snapshot(open, closed).await;
        }
    });
}
