//! What a product costs that everybody wants: `cargo bench --workspace --bench hot_product --profile dev`.
//!
//! One product's stock, in the embedded DynamoDB, which answers one request at a time in about a millisecond; orders reserve
//! one piece each. First every order asks once, then it asks as the order saga does, which repeats what is contended, after a pause
//! with full jitter (here from 250 ms instead of 1 s). Then what a product costs that is kept for
//! many orders.

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
    inventory::{InventoryReserved, StockAdded, StockEvent, StockTrackingStarted},
};
use event_store::{
    CommitLog, DynamoLog, EventStore, Expect, Head, Loaded, MemoryLog, Meter, Snapshot, TransactError,
};
use inventory::stock::{MAX_PIECES, REMEMBERED, StockCommand, StockItem};
use kernel::{
    Actor, Aggregate, CommandId, CommandMeta, Event, Id, PayloadHash, StreamId, Timestamp, Version,
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
                let id = CommandId::derived(&["reserve", &order_id.to_string()]);
                for attempt in 0..=retries {
                    let started = Instant::now();
                    // As the order's reservation is asked for, and asked for anew after a contended attempt.
                    let since = store.version(&stream).await.unwrap();
                    let command =
                        StockCommand::Reserve { order_id, quantity: 1, since, at: ports.clock.now() };
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
    let sold = u32::try_from(kept).unwrap();
    assert_eq!((stock.orders(), stock.available()), (sold, MAX_PIECES - sold));
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

/// A product that is kept for this many orders: loads and commits of one more reservation each, and one
/// search for an order that was forgotten.
async fn busy(open: usize) {
    let dynamo = EmbeddedDynamo::start().await;
    event_store::create_table(&dynamo.client(), "events").await.unwrap();
    let (meter, ports) = (Arc::new(Meter::default()), system_ports());
    let log = DynamoLog::new(dynamo.client(), "events").metered(meter.clone());
    let (product_id, store_id): (ProductId, StoreId) = (Id::derived(&["product"]), Id::derived(&["store"]));
    let stream = StreamId::of::<StockItem, _>(product_id);
    let mut events = vec![
        StockEvent::StockTrackingStarted(StockTrackingStarted { product_id, store_id }),
        StockEvent::StockAdded(StockAdded { product_id, quantity: MAX_PIECES, on_hand: MAX_PIECES }),
    ];
    for available in (0..MAX_PIECES).rev().take(open) {
        let (order_id, quantity, reserved_at) = (Id::new(ports.ids.fresh()), 1, Timestamp::UNIX_EPOCH);
        let reservation_id = reservation_of(order_id, product_id);
        events.push(StockEvent::InventoryReserved(InventoryReserved {
            product_id,
            reservation_id,
            order_id,
            quantity,
            available,
            reserved_at,
        }));
    }
    // Before the last reservations, one commit with all that came before, and its snapshot.
    let state: StockItem = fold(None, &events).unwrap().unwrap();
    let json = serde_json::to_value(&state).unwrap();
    let bytes = json.to_string().len();
    let mut raw = events.iter().map(|event| event.to_raw().unwrap());
    let first = raw.next().unwrap();
    let hash = PayloadHash::of(&"bench");
    let meta_of = |id| meta(&ports, id);
    let mut head = Head::new_stream(stream.clone());
    // An item holds at most 400 KB.
    let rest: Vec<_> = raw.collect();
    let mut first = Some(first);
    for chunk in rest.chunks(500) {
        let is_last =
            head.version().get() as usize + chunk.len() + usize::from(first.is_some()) == events.len();
        let snapshot = is_last.then(|| Snapshot { schema: StockItem::STATE_SCHEMA, state: json.clone() });
        let (begin, rest) = match first.take() {
            Some(first) => (first, chunk.to_vec()),
            None => (chunk[0].clone(), chunk[1..].to_vec()),
        };
        let commit =
            head.commit(begin, rest, hash.clone(), &meta_of(CommandId::new(ports.ids.fresh())), snapshot);
        log.append(&commit).await.unwrap();
        let loaded: Loaded<StockItem> =
            EventStore::new(Arc::new(log.clone()), ports.clone()).load(&stream).await.unwrap();
        head = loaded.head().clone();
    }
    meter.take();
    let store = EventStore::new(Arc::new(log), ports.clone());
    let (mut written, mut read, mut most) = (0.0, 0.0, 0.0_f64);
    let commits = REMEMBERED;
    for n in 0..commits + 10 {
        let order_id: OrderId = Id::new(ports.ids.fresh());
        let since = store.version(&stream).await.unwrap();
        meter.take();
        let loaded: Loaded<StockItem> = store.load(&stream).await.unwrap();
        let load = meter.take().read_units;
        assert!(loaded.state.is_some());
        let command = StockCommand::Reserve { order_id, quantity: 1, since, at: ports.clock.now() };
        let id = CommandId::new(ports.ids.fresh());
        store.transact::<StockItem>(&stream, Expect::Any, &command, &meta(&ports, id)).await.unwrap();
        let commit = meter.take().write_units;
        // The first ten still read the commit that set the stage.
        if n >= 10 {
            (written, read, most) = (written + commit, read + load, most.max(load));
        }
    }
    let end = store.version(&stream).await.unwrap();
    meter.take();
    let from = Version::new(end.get() - u64::from(REMEMBERED) - 1);
    let near = store.events_near(&stream, from, REMEMBERED + 1).await.unwrap();
    assert_eq!(near.len() as u64, u64::from(REMEMBERED) + 1);
    let search = meter.take().read_units;
    println!(
        "| {open:>6} | {:>10.1} | {:>15.2} | {:>14.2} | {most:>14} | {search:>6.1} |",
        bytes as f64 / 1000.0,
        written / f64::from(commits),
        read / f64::from(commits),
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
        println!("\nA product that is kept for many orders; its stock remembers {REMEMBERED} versions\n");
        println!("| open   | JSON in KB | units per commit | units per load | at most a load | search |");
        println!("| ------ | ---------- | ---------------- | -------------- | -------------- | ------ |");
        for open in [100, 2_000, 20_000] {
            busy(open).await;
        }
    });
}
