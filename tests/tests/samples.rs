//! The sample events work: each function's real binary, behind the runtime API that Lambda has, takes
//! its payload from `events/` and answers as the catalogue says. They make one story, so that a newcomer
//! can send them by hand in this order (`aws lambda invoke --function-name <deployed name> --payload file://events/<function>.json`).

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::path::{Path, PathBuf};

use catalogue::{Products, Stores};
use depot::views::{ALL_BOTS, ALL_LISTS, BOTS_BY_STATUS, Bots, LISTS_BY_STATUS, ShoppingLists};
use inventory::views::{BY_STORE as STOCK_BY_STORE, LOW, StockLevels};
use mall_tests::template::{Template, templates_of};
use ordering::{
    saga_views::{BY_STATUS, DUE, SagaRows},
    views::{BY_CUSTOMER, BY_STAGE, Orders},
};
use payments::invoices::{BY_CUSTOMER as INVOICES_BY_CUSTOMER, CHASED, Invoices, OPEN};
use search::views::{BY_CUSTOMER as SEARCHED_BY_CUSTOMER, BY_MONTH, CustomerNames, SearchedOrders};
use serde_json::{Value, json};
use stores::views::{ALL_STORES, BY_STORE, Catalogue, Mall, PARTICIPATING_STORES};
use testing::{EmbeddedDynamo, EmbeddedS3, FixedService, FunctionProcess};

/// The story: function, binary, and what its answer must contain.
const STORY: &[(&str, &str, &[&str])] = &[
    ("openapi", "portal", &["\"statusCode\":200", "\"isBase64Encoded\":true", "application/json"]),
    ("swagger-ui", "portal", &["\"statusCode\":200", "\"isBase64Encoded\":true", "text/javascript"]),
    ("create-store", "stores", &["\"statusCode\":200", "\\\"version\\\":1"]),
    ("enable-participation", "stores", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("rebrand-store", "stores", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("get-store", "stores", &["\"statusCode\":200", "Fruit & Veg", "\\\"participating\\\":true"]),
    ("project-mall", "stores", &["\"batchItemFailures\":[]"]),
    ("list-stores", "stores", &["\"statusCode\":200", "Fruit & Veg"]),
    ("list-participating-stores", "stores", &["\"statusCode\":200", "Fruit & Veg"]),
    ("add-product", "stores", &["\"statusCode\":200", "\\\"version\\\":1"]),
    ("increase-product-price", "stores", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("decrease-product-price", "stores", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("rebrand-product", "stores", &["\"statusCode\":200", "\\\"version\\\":4"]),
    ("get-product", "stores", &["\"statusCode\":200", "Braeburn", "\\\"price\\\":0.75"]),
    ("project-catalogue", "stores", &["\"batchItemFailures\":[]"]),
    ("list-products", "stores", &["\"statusCode\":200", "Braeburn", "\\\"price\\\":0.75"]),
    ("start-tracking", "inventory", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("add-stock", "inventory", &["\"statusCode\":200", "\\\"version\\\":4"]),
    ("set-low-stock-threshold", "inventory", &["\"statusCode\":200", "\\\"version\\\":5"]),
    ("reduce-stock", "inventory", &["\"statusCode\":200", "\\\"version\\\":6"]),
    ("set-stock", "inventory", &["\"statusCode\":200", "\\\"version\\\":8"]),
    ("get-stock", "inventory", &["\"statusCode\":200", "\\\"available\\\":9", "\\\"low\\\":true"]),
    ("project-stock-levels", "inventory", &["\"batchItemFailures\":[]"]),
    ("list-stock", "inventory", &["\"statusCode\":200", "\\\"onHand\\\":9"]),
    ("list-low-stock", "inventory", &["\"statusCode\":200", "\\\"threshold\\\":9"]),
    ("project-product-index", "product-search", &["\"batchItemFailures\":[]"]),
    (
        "search-products",
        "product-search",
        &["\"statusCode\":200", "Braeburn", "Fruit & Veg", "\\\"available\\\":true"],
    ),
    ("project-depot-products", "depot", &["\"batchItemFailures\":[]"]),
    ("project-depot-stores", "depot", &["\"batchItemFailures\":[]"]),
    ("create-shopping-list", "depot", &["\"statusCode\":200", "\\\"version\\\":1"]),
    ("register-customer", "customers", &["\"statusCode\":200", "\\\"version\\\":1"]),
    ("change-sms-number", "customers", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("get-customer", "customers", &["\"statusCode\":200", "+1 555 0100", "\\\"enabled\\\":true"]),
    ("disable-customer", "customers", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("enable-customer", "customers", &["\"statusCode\":200", "\\\"version\\\":4"]),
    ("project-basket-stores", "baskets", &["\"batchItemFailures\":[]"]),
    ("project-basket-products", "baskets", &["\"batchItemFailures\":[]"]),
    ("start-basket", "baskets", &["\"statusCode\":200", "\\\"version\\\":1"]),
    ("add-item", "baskets", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("remove-item", "baskets", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("get-basket", "baskets", &["\"statusCode\":200", "\\\"total\\\":1.5", "\\\"quantity\\\":2"]),
    ("authorize-payment", "payments", &["\"statusCode\":200"]),
    ("get-payment", "payments", &["\"statusCode\":200", "\\\"status\\\":\\\"authorized\\\""]),
    ("checkout-basket", "baskets", &["\"statusCode\":200", "\\\"version\\\":4"]),
    ("cancel-basket", "baskets", &["\"statusCode\":400", "BASKET_CANNOT_BE_CANCELLED"]),
    ("create-order-on-checkout", "ordering", &["\"batchItemFailures\":[]"]),
    ("get-order", "ordering", &["\"statusCode\":200", "\\\"status\\\":\\\"pending\\\"", "\\\"total\\\":1.5"]),
    ("start-placement", "ordering", &["\"batchItemFailures\":[]"]),
    ("project-orders", "ordering", &["\"batchItemFailures\":[]"]),
    ("list-orders", "ordering", &["\"statusCode\":200", "\\\"status\\\":\\\"pending\\\""]),
    ("project-searched-orders", "search", &["\"batchItemFailures\":[]"]),
    ("project-customer-names", "search", &["\"batchItemFailures\":[]"]),
    (
        "search-orders",
        "search",
        &["\"statusCode\":200", "\\\"status\\\":\\\"New\\\"", "\\\"total\\\":1.5", "Fruit & Veg"],
    ),
    ("authorize-customer", "customers", &["\"version\":5"]),
    ("reserve-inventory", "inventory", &["\"products\":1"]),
    ("confirm-payment", "payments", &["\"version\":2"]),
    ("initiate-shopping", "depot", &["\"version\":2"]),
    ("project-shopping-lists", "depot", &["\"batchItemFailures\":[]"]),
    ("list-available-shopping-lists", "depot", &["\"statusCode\":200", "\\\"pieces\\\":3"]),
    ("register-bot", "depot", &["\"statusCode\":200", "\\\"version\\\":1"]),
    ("assign-shopping-list", "depot", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("get-bot", "depot", &["\"statusCode\":200", "\\\"status\\\":\\\"active\\\""]),
    ("start-shopping", "depot", &["\"statusCode\":200", "\\\"version\\\":4"]),
    ("list-shopping-lists", "depot", &["\"statusCode\":200", "\\\"shoppingLists\\\":[]"]),
    ("complete-shopping-list", "depot", &["\"statusCode\":200", "\\\"version\\\":5"]),
    (
        "get-shopping-list",
        "depot",
        &["\"statusCode\":200", "\\\"status\\\":\\\"completed\\\"", "\\\"quantity\\\":3"],
    ),
    ("free-bot", "depot", &["\"batchItemFailures\":[]"]),
    ("project-bots", "depot", &["\"batchItemFailures\":[]"]),
    ("list-bots", "depot", &["\"statusCode\":200", "R2"]),
    // What was collected stays collected: there is nothing to call off.
    ("cancel-shopping-list", "depot", &["\"version\":5"]),
    ("approve-order", "ordering", &["\"version\":2"]),
    ("ready-order", "ordering", &["\"batchItemFailures\":[]"]),
    ("invoice-order", "payments", &["\"batchItemFailures\":[]"]),
    (
        "get-invoice",
        "payments",
        &["\"statusCode\":200", "\\\"status\\\":\\\"pending\\\"", "\\\"amount\\\":1.5", "dueAt"],
    ),
    ("project-invoices", "payments", &["\"batchItemFailures\":[]"]),
    (
        "list-invoices",
        "payments",
        &["\"statusCode\":200", "\\\"status\\\":\\\"pending\\\"", "\\\"amount\\\":1.5", "dueAt"],
    ),
    // The row is old, but the invoice is new: its stream says that nobody is to be reminded yet.
    ("chase-payments", "payments", &["\"reminded\":0", "\"expired\":0", "\"failed\":0", "\"more\":false"]),
    ("adjust-invoice", "payments", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("pay-invoice", "payments", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("capture-payment", "payments", &["\"batchItemFailures\":[]"]),
    ("complete-order", "ordering", &["\"batchItemFailures\":[]"]),
    ("get-order-view", "ordering", &["\"statusCode\":200", "\\\"status\\\":\\\"completed\\\"", "invoiceId"]),
    ("get-searched-order", "search", &["\"statusCode\":200", "\\\"status\\\":\\\"Completed\\\""]),
    (
        "get-order-timeline",
        "ordering",
        &["\"statusCode\":200", "OrderCreated", "OrderCompleted", "PaymentConfirmed"],
    ),
    // Captured already: by hand, nothing is taken again.
    ("capture-held-payment", "payments", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("refund-payment", "payments", &["\"statusCode\":200", "\\\"version\\\":4"]),
    // A release with nothing left to give back is harmless.
    ("release-payment", "payments", &["\"statusCode\":200", "\\\"version\\\":4"]),
    // The stock of a completed order is not put back on sale.
    ("release-inventory", "inventory", &["ORDER_IS_NOT_OVER"]),
    ("sell-reserved-stock", "inventory", &["\"batchItemFailures\":[]"]),
    ("stop-tracking", "inventory", &["\"statusCode\":200"]),
    ("create-order", "ordering", &["\"statusCode\":200", "\\\"version\\\":1"]),
    // The order of the story has its invoice already: asking for it again changes nothing.
    ("create-invoice", "payments", &["\"statusCode\":200", "\\\"version\\\":3"]),
    ("cancel-order", "ordering", &["\"statusCode\":200", "\\\"version\\\":2"]),
    ("undo-order", "ordering", &["\"batchItemFailures\":[]"]),
    // The placement hears that the order is over. Its undo is under way.
    ("begin-undo", "ordering", &["\"version\":1"]),
    ("close-order", "ordering", &["\"version\":2"]),
    ("end-undo", "ordering", &["\"version\":2"]),
    ("project-sagas", "ordering", &["\"batchItemFailures\":[]"]),
    ("resume-sagas", "ordering", &["\"resumed\":0", "\"failed\":0"]),
    ("retry-saga", "ordering", &["\"statusCode\":409", "SAGA_NEEDS_NOTHING"]),
    (
        "list-sagas",
        "ordering",
        &["\"statusCode\":200", "\\\"status\\\":\\\"succeeded\\\"", "\\\"order\\\":\\\"completed\\\""],
    ),
    (
        "get-saga",
        "ordering",
        &["\"statusCode\":200", "\\\"status\\\":\\\"undone\\\"", "\\\"name\\\":\\\"CloseOrder\\\""],
    ),
    ("cancel-invoice", "payments", &["\"statusCode\":404", "INVOICE_NOT_FOUND"]),
    // The payment was used for another order, and stays as it is.
    ("settle-invoice-and-payment", "payments", &["\"version\":4"]),
    ("remove-product", "stores", &["\"statusCode\":200", "\\\"version\\\":5"]),
    ("disable-participation", "stores", &["\"statusCode\":200", "\\\"version\\\":4"]),
    // The first step of a sweep: it is recorded, and the state machine goes on with its parts.
    ("sweep-view", "ordering", &["\"next\":\"more\"", "\"parts\":[0"]),
    ("relay", "relay", &["\"batchItemFailures\":[]"]),
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The binary that `cargo test --workspace` or `cargo build` left beside this test.
fn binary(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --bins` first", path.display());
    path
}

fn sample(function: &str) -> Value {
    let path = repository().join("events").join(format!("{function}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn every_sample_event_is_understood_by_its_function() {
    let dynamo = EmbeddedDynamo::start().await;
    event_store::create_table(&dynamo.client(), "events").await.unwrap();
    projection::create_progress(&dynamo.client(), "sweeps").await.unwrap();
    projection::create_table::<Orders>(&dynamo.client(), "orders", &[BY_CUSTOMER, BY_STAGE]).await.unwrap();
    let of_stores = [ALL_STORES, PARTICIPATING_STORES];
    projection::create_table::<Mall>(&dynamo.client(), "mall", &of_stores).await.unwrap();
    projection::create_table::<Catalogue>(&dynamo.client(), "catalogue", &[BY_STORE]).await.unwrap();
    projection::create_table::<catalogue::Products>(&dynamo.client(), "basket-products", &[]).await.unwrap();
    projection::create_table::<catalogue::Stores>(&dynamo.client(), "basket-stores", &[]).await.unwrap();
    let of_stock = [STOCK_BY_STORE, LOW];
    projection::create_table::<StockLevels>(&dynamo.client(), "stock", &of_stock).await.unwrap();
    let of_lists = [ALL_LISTS, LISTS_BY_STATUS];
    projection::create_table::<ShoppingLists>(&dynamo.client(), "shopping-lists", &of_lists).await.unwrap();
    let of_bots = [ALL_BOTS, BOTS_BY_STATUS];
    projection::create_table::<Bots>(&dynamo.client(), "bots", &of_bots).await.unwrap();
    projection::create_table::<Products>(&dynamo.client(), "depot-products", &[]).await.unwrap();
    projection::create_table::<Stores>(&dynamo.client(), "depot-stores", &[]).await.unwrap();
    projection::create_table::<SagaRows>(&dynamo.client(), "sagas", &[BY_STATUS, DUE]).await.unwrap();
    let of_invoices = [INVOICES_BY_CUSTOMER, OPEN, CHASED];
    projection::create_table::<Invoices>(&dynamo.client(), "invoices", &of_invoices).await.unwrap();
    let searched = [SEARCHED_BY_CUSTOMER, BY_MONTH];
    projection::create_table::<SearchedOrders>(&dynamo.client(), "searched-orders", &searched).await.unwrap();
    projection::create_table::<CustomerNames>(&dynamo.client(), "customer-names", &[]).await.unwrap();
    let s3 = EmbeddedS3::start().await;
    let bus = FixedService::start(json!({ "FailedEntryCount": 0, "Entries": [{ "EventId": "1" }] })).await;
    // One answer for whatever is asked of Step Functions: each request reads of it what it knows.
    let execution = json!({
        "executionArn": "arn", "stateMachineArn": "arn", "name": sample("get-order")["pathParameters"]["id"],
        "status": "SUCCEEDED", "startDate": 1.0, "stopDate": 2.0,
    });
    let event = |id: u32, kind: &str| json!({ "id": id, "type": kind, "timestamp": 1.0 });
    let mut entered = event(2, "TaskStateEntered");
    entered["stateEnteredEventDetails"] = json!({ "name": "CloseOrder" });
    let mut answer = execution.clone();
    answer["executions"] = json!([execution]);
    answer["events"] =
        json!([event(1, "ExecutionStarted"), entered, event(3, "TaskScheduled"), event(4, "TaskSucceeded")]);
    let sagas = FixedService::start(answer).await;
    let environment = [
        ("AWS_ENDPOINT_URL", dynamo.endpoint()),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", bus.endpoint()),
        ("AWS_ENDPOINT_URL_SFN", sagas.endpoint()),
        ("AWS_ENDPOINT_URL_S3", s3.endpoint()),
        ("PRODUCT_INDEX_BUCKET", "index".to_owned()),
        ("EVENT_TABLE", "events".to_owned()),
        ("SWEEPS_TABLE", "sweeps".to_owned()),
        ("ORDERS_TABLE", "orders".to_owned()),
        ("SAGAS_TABLE", "sagas".to_owned()),
        ("MALL_TABLE", "mall".to_owned()),
        ("CATALOGUE_TABLE", "catalogue".to_owned()),
        ("BASKET_PRODUCTS_TABLE", "basket-products".to_owned()),
        ("BASKET_STORES_TABLE", "basket-stores".to_owned()),
        ("ONLY_PARTICIPATING_STORES", "true".to_owned()),
        ("STOCK_LEVELS_TABLE", "stock".to_owned()),
        ("SHOPPING_LISTS_TABLE", "shopping-lists".to_owned()),
        ("BOTS_TABLE", "bots".to_owned()),
        ("DEPOT_PRODUCTS_TABLE", "depot-products".to_owned()),
        ("DEPOT_STORES_TABLE", "depot-stores".to_owned()),
        ("SEARCHED_ORDERS_TABLE", "searched-orders".to_owned()),
        ("CUSTOMER_NAMES_TABLE", "customer-names".to_owned()),
        ("EVENT_BUS", "mallard".to_owned()),
        ("PARKED_QUEUE_URL", "http://localhost/queue".to_owned()),
        ("INVOICES_TABLE", "invoices".to_owned()),
        ("PAYMENT_DEADLINE_SECONDS", "600".to_owned()),
        ("PAYMENT_REMINDER_SECONDS", "60".to_owned()),
        ("PLACEMENT_PATIENCE_SECONDS", "300".to_owned()),
        ("FORGOTTEN_ORDER_SECONDS", "1209600".to_owned()),
        ("ORDER_PLACEMENT_ARN", "arn:aws:states:us-east-1:000000000000:stateMachine:place".to_owned()),
        ("ORDER_UNDO_ARN", "arn:aws:states:us-east-1:000000000000:stateMachine:undo".to_owned()),
    ];
    for (function, bin, expected) in STORY {
        let process = FunctionProcess::start(&binary(bin), function, &environment).await;
        let answer = process.invoke(sample(function)).await;
        // What a saga's step refuses is an error to its caller; it has to be the one that the story expects.
        let answer = answer.map_or_else(|error| error.to_string(), |answer| answer.to_string());
        assert!(!expected.is_empty(), "nothing is expected of {function}");
        for part in *expected {
            assert!(answer.contains(part), "{function} answered {answer}, without {part}");
        }
    }
    let asked = sagas.asked();
    let started: Vec<_> =
        asked.iter().filter(|(operation, _)| operation.ends_with("StartExecution")).collect();
    let input = |index: usize| -> Value {
        serde_json::from_str(started[index].1["input"].as_str().unwrap()).unwrap()
    };
    // A placement; and one undo, of which nobody knows whether it was started, so that whoever asks starts it
    // again.
    assert_eq!(started.len(), 3, "{started:?}");
    assert_eq!(started[0].0, "AWSStepFunctions.StartExecution");
    let list = &sample("approve-order")["body"]["shoppingId"];
    assert_eq!(&input(0)["shoppingId"], list, "the list of the order that is approved");
    let undo = format!("{}-undo-1", input(1)["orderId"].as_str().unwrap());
    assert_eq!((&started[1].1["name"], &started[2].1["name"]), (&json!(undo), &json!(undo)));
    let published = bus.asked();
    assert_eq!(published.len(), 1, "one call to the bus");
    assert_eq!(published[0].1["Entries"][0]["Source"], "mallard.baskets");
}

#[test]
fn no_function_is_without_a_sample_and_no_sample_without_a_function() {
    let mut samples: Vec<String> = std::fs::read_dir(repository().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    samples.sort();
    let mut story: Vec<String> = STORY.iter().map(|(function, ..)| (*function).to_owned()).collect();
    story.sort();
    assert_eq!(samples, story);
    let templates = templates_of(repository());
    let handlers =
        templates.iter().flat_map(Template::functions).map(|function| &function.properties["Handler"]);
    let mut deployed: Vec<String> =
        handlers.map(|handler| handler.as_str().expect("a handler").to_owned()).collect();
    deployed.sort();
    deployed.dedup();
    assert_eq!(deployed, story, "what the templates deploy is what the samples are for");
}
