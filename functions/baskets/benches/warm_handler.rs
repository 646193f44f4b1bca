//! What a warm handler costs beyond its two requests to DynamoDB: `cargo bench --workspace --bench warm_handler`.
//!
//! One command (taking a piece of a product out) goes through the whole function: HTTP event in, HTTP answer out. Beside
//! it, in the same process, with the same client and the same embedded DynamoDB, the two requests that it makes, bare: the
//! backward Query and a conditional PutItem of an item of the same size. Rounds alternate, so that
//! both see the same machine.
//!
//! Putting in makes two requests more, to the copy of the stores' goods. What those look-ups cost is a second table.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench stops when its stage cannot be set"
)]

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use baskets::{Baskets, Shopping, basket::MAX_QUANTITY, goods::Goods};
use catalogue::{Catalogue, Participation, Products, Stores};
use contracts::ids::ProductId;
use event_store::{DynamoLog, EventStore, SNAPSHOT_EVERY};
use kernel::{Money, ports::Ports};
use lambda::{Function, system_ports, use_case};
use projection::{DynamoViews, MemoryViews, Projector, ViewStore};
use serde_json::{Value, json};
use testing::{EmbeddedDynamo, Shelves, TestPorts};

const WARM_UP: usize = 100;
const ROUNDS: usize = 1000;
const BUDGET: f64 = 1.3;
const TABLE: &str = "events";

fn request(method: &str, path: &str, id: Option<&str>, body: Value) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "isBase64Encoded": false,
        "headers": { "content-type": "application/json", "host": "bench" }, "body": body.to_string(),
        "pathParameters": id.map(|id| json!({ "id": id })).unwrap_or(json!({})),
        "requestContext": {
            "accountId": "0", "apiId": "bench", "domainName": "bench", "domainPrefix": "bench", "requestId": "bench",
            "routeKey": "$default", "stage": "$default", "time": "", "timeEpoch": 0,
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench" },
        },
    })
}

async fn ok(function: &Function, payload: Value) -> Value {
    let reply = function.invoke(payload).await.expect("an answer");
    assert_eq!(reply["statusCode"], 200, "{reply}");
    serde_json::from_str(reply["body"].as_str().unwrap()).unwrap()
}

type Item = HashMap<String, AttributeValue>;

/// The requests of a command, without the command.
async fn bare(client: &Client, stream: &str, item: Item) -> Item {
    let page = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("#stream = :stream AND #version <= :upto")
        .expression_attribute_names("#stream", "stream")
        .expression_attribute_names("#version", "version")
        .expression_attribute_values(":stream", AttributeValue::S(stream.to_owned()))
        .expression_attribute_values(":upto", AttributeValue::N(u64::MAX.to_string()))
        .scan_index_forward(false)
        .consistent_read(true)
        .limit(SNAPSHOT_EVERY as i32)
        .send()
        .await
        .unwrap();
    client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(#stream)")
        .expression_attribute_names("#stream", "stream")
        .send()
        .await
        .unwrap();
    page.items.unwrap().swap_remove(0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dynamo = EmbeddedDynamo::start().await;
    event_store::create_table(&dynamo.client(), TABLE).await.unwrap();
    let client = dynamo.client();
    let ports = system_ports();
    let store = EventStore::new(Arc::new(DynamoLog::new(client.clone(), TABLE)), ports.clone());
    projection::create_table::<Products>(&client, "products", &[]).await.unwrap();
    projection::create_table::<Stores>(&client, "stores", &[]).await.unwrap();
    let copy = Arc::new(DynamoViews::new(client.clone(), "products"));
    let copy = copy_of(copy, Arc::new(DynamoViews::new(client.clone(), "stores")), &store, &ports);
    let shopkeeper = TestPorts::new(1);
    let shelves = Shelves::new(store.clone(), move || shopkeeper.command("shopkeeper"));
    let fruit = shelves.open("Fruit & Veg").await;
    let product = shelves.sell(fruit, "Apple", Money::from_minor(75).unwrap()).await;
    let baskets = Arc::new(Baskets::new(store.clone(), ports.clone()));
    let goods = Goods::new(copy, Participation::NotRequired);
    let shopping = Arc::new(Shopping::new(Baskets::new(store.clone(), ports.clone()), goods));
    let start = use_case(&baskets, &ports, Baskets::start_basket);
    let add = use_case(&shopping, &ports, Shopping::add_item);
    let remove = use_case(&baskets, &ports, Baskets::remove_item);

    let customer = uuid::Uuid::now_v7();
    let started = ok(&start, request("POST", "/api/baskets", None, json!({ "customerId": customer }))).await;
    let id = started["id"].as_str().unwrap().to_owned();
    let item = json!({ "productId": product, "quantity": MAX_QUANTITY });
    let put_in = request("PUT", &format!("/api/baskets/{id}/addItem"), Some(&id), item);
    let take_out = json!({ "productId": product, "quantity": 1 });
    let take_out = request("PUT", &format!("/api/baskets/{id}/removeItem"), Some(&id), take_out);
    ok(&add, put_in).await;

    let stream = format!("baskets.Basket/{id}");
    let newest = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("#stream = :stream")
        .expression_attribute_names("#stream", "stream")
        .expression_attribute_values(":stream", AttributeValue::S(stream.clone()))
        .scan_index_forward(false)
        .limit(1)
        .send()
        .await
        .unwrap();
    let mut template = newest.items.unwrap().swap_remove(0);

    let (mut handler, mut requests) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let began = Instant::now();
        ok(&remove, take_out.clone()).await;
        let through_handler = began.elapsed();

        let mut item = template;
        item.insert("stream".into(), AttributeValue::S("bench.Bare/1".into()));
        item.insert("version".into(), AttributeValue::N((round + 1).to_string()));
        let began = Instant::now();
        // The item of the next round is this round's newest commit: the same size, snapshots included.
        template = bare(&client, &stream, item).await;
        if round >= WARM_UP {
            handler.push(through_handler);
            requests.push(began.elapsed());
        }
    }
    let (handler, requests) = (median(handler), median(requests));
    let ratio = handler.as_secs_f64() / requests.as_secs_f64();
    let verdict = if ratio <= BUDGET { "within budget" } else { "OVER BUDGET" };
    println!("| what, median of {ROUNDS} | measured | budget | |");
    println!("| --- | --- | --- | --- |");
    println!("| one command through the handler | {handler:.0?} | | |");
    println!("| the same two requests, bare | {requests:.0?} | | |");
    println!("| ratio | {ratio:.2} | {BUDGET} | {verdict} |");

    println!();
    println!("| a look-up in the copy, median of {ROUNDS} | in memory | in DynamoDB, embedded |");
    println!("| --- | --- | --- |");
    let products = Arc::new(DynamoViews::new(client.clone(), "products"));
    let in_table = copy_of(products, Arc::new(DynamoViews::new(client, "stores")), &store, &ports);
    let in_memory = copy_of(Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()), &store, &ports);
    let [memory, table] = [lookups(&in_memory, product).await, lookups(&in_table, product).await];
    println!("| a product and its store, as the copy has them | {:.1?} | {:.0?} |", memory.0, table.0);
    println!(
        "| a product as the store has it now (events in DynamoDB) | {:.0?} | {:.0?} |",
        memory.1, table.1
    );
}

fn copy_of(
    products: Arc<dyn ViewStore<Products>>,
    stores: Arc<dyn ViewStore<Stores>>,
    store: &EventStore,
    ports: &Ports,
) -> Catalogue {
    Catalogue::new(
        Projector::new(products, store.clone(), ports.clone()),
        Projector::new(stores, store.clone(), ports.clone()),
    )
}

/// Time of a hit, and of a look-up of the latest.
async fn lookups(copy: &Catalogue, product: ProductId) -> (Duration, Duration) {
    let (mut hits, mut latest) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let began = Instant::now();
        assert!(copy.entry(product).await.unwrap().is_some());
        let hit = began.elapsed();
        let began = Instant::now();
        assert!(copy.latest([product]).await.unwrap()[0].is_some());
        if round >= WARM_UP {
            hits.push(hit);
            latest.push(began.elapsed());
        }
    }
    (median(hits), median(latest))
}
