//! The documents in the repository are what the code says: schemas and samples of the events, OpenAPI, AsyncAPI, and the
//! pages made of them. `cargo mall docs` writes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use api_docs::{AggregateDocument, Consumer, Operation, aggregates, breaking_changes, references};
use contracts::Envelope;
use kernel::RawEvent;
use mall_tests::template::{handlers, routes, subscriptions, templates_of};
use serde_json::{Value, json};

/// Set by `cargo mall docs`.
const WRITE: &str = "MALL_WRITE_DOCS";

/// A context, and the operations of its `docs` room.
type Context = (&'static str, fn() -> Vec<Operation>);

/// The contexts that serve the HTTP API, with their operations.
const CONTEXTS: &[Context] = &[
    ("stores", stores::docs::operations),
    ("customers", customers::docs::operations),
    ("baskets", baskets::docs::operations),
    ("ordering", ordering::docs::operations),
    ("inventory", inventory::docs::operations),
    ("depot", depot::docs::operations),
    ("payments", payments::docs::operations),
    ("product-search", product_search::docs::operations),
    ("search", search::docs::operations),
];

/// Which functions append an event: functions of the aggregate's own context.
const PRODUCERS: &[(&str, &[&str])] = &[
    ("StoreCreated", &["create-store"]),
    ("StoreParticipationEnabled", &["enable-participation"]),
    ("StoreParticipationDisabled", &["disable-participation"]),
    ("StoreRebranded", &["rebrand-store"]),
    ("ProductAdded", &["add-product"]),
    ("ProductRebranded", &["rebrand-product"]),
    ("ProductPriceIncreased", &["increase-product-price"]),
    ("ProductPriceDecreased", &["decrease-product-price"]),
    ("ProductRemoved", &["remove-product"]),
    ("CustomerRegistered", &["register-customer"]),
    ("CustomerSmsChanged", &["change-sms-number"]),
    ("CustomerAuthorized", &["authorize-customer"]),
    ("CustomerEnabled", &["enable-customer"]),
    ("CustomerDisabled", &["disable-customer"]),
    ("BasketStarted", &["start-basket"]),
    ("BasketItemAdded", &["add-item"]),
    ("BasketItemRemoved", &["remove-item"]),
    ("BasketCheckedOut", &["checkout-basket"]),
    ("BasketCanceled", &["cancel-basket"]),
    ("BasketRepriced", &["checkout-basket"]),
    ("OrderCreated", &["create-order", "create-order-on-checkout"]),
    ("OrderApproved", &["approve-order"]),
    ("OrderRejected", &["close-order"]),
    ("OrderCanceled", &["cancel-order", "close-order"]),
    ("OrderReadied", &["ready-order"]),
    ("OrderCompleted", &["complete-order"]),
    ("SagaPlacementResumed", &["resume-sagas", "retry-saga"]),
    ("SagaUndoBegan", &["begin-undo", "undo-order", "resume-sagas", "retry-saga"]),
    ("SagaUndoEnded", &["end-undo"]),
    ("SagaStuck", &["end-undo", "resume-sagas"]),
    ("SagaSettled", &["resume-sagas", "retry-saga"]),
    ("StockTrackingStarted", &["start-tracking", "add-stock", "set-stock"]),
    ("StockTrackingStopped", &["stop-tracking"]),
    ("StockAdded", &["add-stock", "set-stock"]),
    ("StockReduced", &["reduce-stock", "set-stock", "sell-reserved-stock"]),
    ("ReservationRequested", &["reserve-inventory"]),
    ("ReservationEnded", &["release-inventory", "sell-reserved-stock"]),
    ("InventoryReserved", &["reserve-inventory"]),
    ("InventoryReleased", &["release-inventory"]),
    ("LowStock", &["reserve-inventory", "reduce-stock", "set-stock", "set-low-stock-threshold"]),
    ("LowStockThresholdChanged", &["set-low-stock-threshold"]),
    (
        "AvailabilityChanged",
        &[
            "start-tracking",
            "stop-tracking",
            "add-stock",
            "set-stock",
            "reduce-stock",
            "reserve-inventory",
            "release-inventory",
        ],
    ),
    ("ShoppingListCreated", &["create-shopping-list"]),
    ("ShoppingListInitiated", &["initiate-shopping"]),
    ("ShoppingListAssigned", &["assign-shopping-list"]),
    ("ShoppingListStarted", &["start-shopping"]),
    ("ShoppingListCompleted", &["complete-shopping-list"]),
    ("ShoppingListCanceled", &["cancel-shopping-list"]),
    ("BotRegistered", &["register-bot"]),
    ("BotActivated", &["assign-shopping-list"]),
    ("BotIdled", &["free-bot", "assign-shopping-list"]),
    ("PaymentAuthorized", &["authorize-payment"]),
    ("PaymentConfirmed", &["confirm-payment"]),
    ("PaymentReleased", &["release-payment", "settle-invoice-and-payment"]),
    ("PaymentCaptured", &["capture-payment", "capture-held-payment", "settle-invoice-and-payment"]),
    ("PaymentRefunded", &["refund-payment", "settle-invoice-and-payment"]),
    ("InvoiceCreated", &["invoice-order", "create-invoice"]),
    ("InvoiceAdjusted", &["adjust-invoice"]),
    ("InvoiceReminded", &["chase-payments"]),
    ("InvoicePaid", &["pay-invoice"]),
    ("InvoiceCanceled", &["cancel-invoice", "chase-payments", "settle-invoice-and-payment"]),
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn operations() -> Vec<Operation> {
    CONTEXTS.iter().flat_map(|(_, operations)| operations()).collect()
}

/// Whether a context publishes events of this type.
fn publishes(aggregates: &[AggregateDocument], context: &str, event: &str) -> bool {
    let mut own = aggregates.iter().filter(|aggregate| aggregate.context() == context);
    own.any(|aggregate| aggregate.events.iter().any(|sent| sent.name == event))
}

fn consumers() -> Vec<Consumer> {
    let (subscriptions, aggregates) = (subscriptions(&templates_of(repository())), aggregates());
    let consumers = subscriptions.into_iter().flat_map(|subscription| {
        let publishers = subscription.sources.clone().into_iter().map(|source| {
            source.strip_prefix("mallard.").unwrap_or_else(|| panic!("{source} is no context")).to_owned()
        });
        publishers
            .map(|publisher| Consumer {
                context: subscription.context.clone(),
                function: subscription.function.clone(),
                // A rule names sources and types apart: of each source only its own types come.
                events: subscription
                    .events
                    .iter()
                    .filter(|event| publishes(&aggregates, &publisher, event))
                    .cloned()
                    .collect(),
                publisher,
            })
            .collect::<Vec<_>>()
    });
    consumers.collect()
}

fn producers(event: &str) -> &'static [&'static str] {
    PRODUCERS.iter().find(|(name, _)| *name == event).map_or(&[], |(_, functions)| functions)
}

fn lines(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap() + "\n"
}

fn json_at(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The schemas of today's events, by path.
fn schemas() -> BTreeMap<PathBuf, Value> {
    let folder = Path::new("events/schemas");
    let mut schemas = BTreeMap::from([(folder.join("Envelope.json"), api_docs::envelope())]);
    for aggregate in aggregates() {
        for event in aggregate.events {
            let name = format!("{}.v{}.json", event.name, event.version);
            schemas.insert(folder.join(aggregate.category).join(name), event.schema);
        }
    }
    schemas
}

/// A page with the part between the two marks made anew.
fn with_part(page: &str, part: &str) -> String {
    const BEGIN: &str = "<!-- made by `cargo mall docs` -->\n";
    const END: &str = "<!-- until here -->\n";
    let (before, rest) = page.split_once(BEGIN).expect("the mark where the part begins");
    let (_, after) = rest.split_once(END).expect("the mark where the part ends");
    format!("{before}{BEGIN}{part}\n{END}{after}")
}

/// Everything that is made, by path.
fn documents() -> BTreeMap<PathBuf, String> {
    let (aggregates, consumers, operations) = (aggregates(), consumers(), operations());
    let mut documents: BTreeMap<PathBuf, String> =
        schemas().iter().map(|(path, schema)| (path.clone(), lines(schema))).collect();
    let openapi = serde_json::to_value(api_docs::openapi(&operations)).unwrap();
    documents.insert("docs/openapi.json".into(), lines(&openapi));
    documents.insert("docs/asyncapi.json".into(), lines(&api_docs::asyncapi(&aggregates, &consumers)));
    let known =
        |_: &AggregateDocument, event: &str| producers(event).iter().map(|name| (*name).to_owned()).collect();
    documents.insert("docs/EVENTS.md".into(), api_docs::events_page(&aggregates, &consumers, known));
    let page = std::fs::read_to_string(repository().join("docs/API.md")).unwrap();
    documents.insert("docs/API.md".into(), with_part(&page, &api_docs::operations_table(&operations)));
    documents
}

fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").arg("-C").arg(repository()).args(arguments).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// A file as a commit has it.
fn at(commit: &str, path: &Path) -> Option<Value> {
    let text = git(&["show", &format!("{commit}:{}", path.display())])?;
    Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{} at {commit}: {e}", path.display())))
}

/// What a schema breaks of the same one as it was.
fn broken(path: &Path, before: &Value, now: &Value) -> Vec<String> {
    let problem = |problem| format!("{}: {problem}", path.display());
    breaking_changes(before, now).into_iter().map(problem).collect()
}

const RAISE_THE_VERSION: &str = "readers of any age meet in one version of a schema. Raise the version in SCHEMAS and \
    add an upcaster, or make the new field one that need not be there";

#[test]
fn the_documents_are_what_the_code_says() {
    let documents = documents();
    if std::env::var_os(WRITE).is_some() {
        let mut problems = Vec::new();
        for (path, schema) in schemas() {
            let on_disk = repository().join(&path).exists().then(|| json_at(&repository().join(&path)));
            // What is committed counts too: deleting a file first does not help.
            for before in [on_disk, at("HEAD", &path)].into_iter().flatten() {
                problems.extend(broken(&path, &before, &schema));
            }
        }
        problems.sort();
        problems.dedup();
        assert!(problems.is_empty(), "nothing was written: {RAISE_THE_VERSION}\n{}", problems.join("\n"));
        for (path, text) in documents {
            let path = repository().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        return;
    }
    let stale: Vec<String> = documents
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(repository().join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(stale.is_empty(), "run `cargo mall docs`: these are not what the code says: {stale:#?}");
}

/// Names that were given up before anything was deployed under them.
const NEVER_DEPLOYED: &[&str] = &["events/schemas/inventory.Stock", "events/golden/inventory.Stock"];

/// Every version of every schema and sample that was ever committed: the commit and the file, newest first. In a clone
/// without history that is the last commit alone.
fn published() -> Vec<(String, PathBuf)> {
    let log = git(&["log", "--format=%H", "--name-only", "--", "events/schemas", "events/golden"]);
    let Some(log) = log else {
        eprintln!("git does not answer: schemas and samples are not compared with published ones");
        return Vec::new();
    };
    if git(&["rev-parse", "--is-shallow-repository"]).as_deref() == Some("true") {
        eprintln!("a clone without history: schemas and samples are compared with its last commit only");
    }
    let mut commit = String::new();
    let mut versions = Vec::new();
    for line in log.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("events/") {
            versions.push((commit.clone(), PathBuf::from(line)));
        } else {
            line.clone_into(&mut commit);
        }
    }
    versions
}

#[test]
fn no_published_schema_or_sample_is_changed_so_that_a_reader_breaks() {
    // The writer refuses as well; this finds what was changed by hand, with whatever is committed beside it.
    let mut problems = Vec::new();
    for (commit, path) in published() {
        // A commit that took the file away has none; the commit before it is in the list as well.
        let Some(before) = at(&commit, &path) else { continue };
        let now = repository().join(&path);
        if NEVER_DEPLOYED.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        if !now.exists() {
            problems.push(format!("{}: is gone, and events of it are stored", path.display()));
        } else if path.starts_with("events/schemas") {
            problems.extend(broken(&path, &before, &json_at(&now)));
        } else if json_at(&now) != before {
            problems.push(format!("{}: is another one; stored events do not change", path.display()));
        }
    }
    problems.sort();
    problems.dedup();
    assert!(problems.is_empty(), "{RAISE_THE_VERSION}\n{}", problems.join("\n"));
}

/// Every version of every event: the aggregate, the type, the version, and whether it is written today.
fn versions() -> Vec<(AggregateDocument, &'static str, u16, bool)> {
    let mut versions = Vec::new();
    for (index, aggregate) in aggregates().iter().enumerate() {
        for event in &aggregate.events {
            for version in 1..=event.version {
                let aggregate = aggregates().swap_remove(index);
                versions.push((aggregate, event.name, version, version == event.version));
            }
        }
    }
    versions
}

fn files_below(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn every_event_has_a_schema_and_a_sample_and_none_is_left_over() {
    let versions = versions();
    for folder in ["events/schemas", "events/golden"] {
        let file = |(aggregate, event, version, _): &(AggregateDocument, &str, u16, bool)| {
            format!("{folder}/{}/{event}.v{version}.json", aggregate.category)
        };
        let mut expected: BTreeSet<String> = versions.iter().map(file).collect();
        if folder == "events/schemas" {
            expected.insert("events/schemas/Envelope.json".to_owned());
        }
        let found = files_below(folder);
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(
            missing.is_empty(),
            "missing: {missing:#?}\nschemas: `cargo mall docs`; samples are written by hand"
        );
        let left_over: Vec<_> = found.difference(&expected).collect();
        assert!(left_over.is_empty(), "no event has these: {left_over:#?}");
    }
}

#[test]
fn no_aggregate_is_forgotten() {
    let listed: Vec<&str> = aggregates().iter().map(|aggregate| aggregate.category).collect();
    let (mut categories, mut enums) = (BTreeSet::new(), 0);
    for source in
        files_below("functions").iter().filter(|path| path.contains("/src/") && path.ends_with(".rs"))
    {
        let text = std::fs::read_to_string(repository().join(source)).unwrap();
        for implementation in text.split("impl Aggregate for ").skip(1) {
            let (_, rest) = implementation.split_once("const CATEGORY: &'static str = \"").unwrap();
            categories.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    for category in &categories {
        assert!(listed.contains(&category.as_str()), "{category} is missing in api_docs::aggregates");
    }
    for source in files_below("shared/contracts/src") {
        enums +=
            std::fs::read_to_string(repository().join(source)).unwrap().matches("\nimpl Event for ").count();
    }
    assert_eq!(enums, listed.len(), "enums of events in contracts; aggregates in api_docs::aggregates");
}

/// Checks values against schemas, formats too.
fn problem_with(schema: &Value, value: &Value) -> Option<String> {
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("schema.json", schema.clone()).unwrap();
    let mut compiled = boon::Schemas::new();
    let index = compiler.compile("schema.json", &mut compiled).unwrap_or_else(|e| panic!("{schema}: {e}"));
    compiled.validate(value, index).err().map(|error| error.to_string())
}

#[test]
fn samples_of_all_versions_are_still_understood_and_todays_are_written_alike() {
    let envelope_schema = json_at(&repository().join("events/schemas/Envelope.json"));
    for (aggregate, event, version, current) in versions() {
        let file = format!("{}/{event}.v{version}.json", aggregate.category);
        let sample = json_at(&repository().join("events/golden").join(&file));
        let schema = json_at(&repository().join("events/schemas").join(&file));
        assert_eq!(problem_with(&envelope_schema, &sample), None, "{file}: the envelope");
        assert_eq!(problem_with(&schema, &sample["data"]), None, "{file}: the body");

        let envelope: Envelope =
            serde_json::from_value(sample.clone()).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(
            serde_json::to_value(&envelope).unwrap(),
            sample,
            "{file}: the envelope is written otherwise"
        );
        assert_eq!((envelope.event_type.as_str(), envelope.schema), (event, version), "{file}");
        assert_eq!(envelope.stream.category(), aggregate.category, "{file}");
        let stored = RawEvent {
            event_type: envelope.event_type,
            schema: envelope.schema,
            data: envelope.data.unwrap(),
        };
        let again = aggregate.read_and_write(stored.clone()).unwrap_or_else(|e| panic!("{file}: {e}"));
        if current {
            assert_eq!(again, stored, "{file}: today's code writes it otherwise");
        }
    }
}

#[test]
fn samples_show_every_field() {
    // A field that no sample has could be renamed unnoticed.
    for (aggregate, event, version, _) in versions() {
        let file = format!("{}/{event}.v{version}.json", aggregate.category);
        let sample = json_at(&repository().join("events/golden").join(&file));
        let schema = json_at(&repository().join("events/schemas").join(&file));
        for field in schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
            assert!(sample["data"].get(field).is_some(), "{file} shows no {field}");
        }
    }
}

#[test]
fn the_checks_of_samples_can_fail() {
    let sample = json_at(&repository().join("events/golden/baskets.Basket/BasketItemRemoved.v1.json"));
    let schema = json_at(&repository().join("events/schemas/baskets.Basket/BasketItemRemoved.v1.json"));
    for (field, wrong) in [("quantity", json!(-1)), ("quantity", json!("2")), ("productId", json!("apples"))]
    {
        let mut data = sample["data"].clone();
        data[field] = wrong.clone();
        assert!(problem_with(&schema, &data).is_some(), "{field} {wrong} passed");
    }
    assert!(problem_with(&schema, &json!({})).is_some());
    let before = schema.clone();
    let mut after = schema;
    after["properties"].as_object_mut().unwrap().remove("quantity");
    assert_eq!(broken(Path::new("x"), &before, &after), ["x: quantity: is gone"]);
}

#[test]
fn every_route_has_one_operation_and_every_operation_a_route() {
    let templates = templates_of(repository());
    let described: Vec<&str> = CONTEXTS.iter().map(|(context, _)| *context).collect();
    let mut deployed = Vec::new();
    for (context, route) in routes(&templates) {
        match context {
            "portal" => {} // the documents themselves
            context => {
                assert!(described.contains(&context), "{context} serves {route} and is not among CONTEXTS");
                deployed.push(route.to_owned());
            }
        }
    }
    let mut listed: Vec<String> = operations()
        .iter()
        .map(|operation| format!("{} {}", operation.verb.name(), operation.path))
        .collect();
    deployed.sort();
    listed.sort();
    assert_eq!(listed, deployed, "left: operations; right: routes");
}

#[test]
fn every_reference_of_the_documents_leads_somewhere() {
    let openapi = serde_json::to_value(api_docs::openapi(&operations())).unwrap();
    let asyncapi = api_docs::asyncapi(&aggregates(), &consumers());
    for document in [openapi, asyncapi].iter().chain(schemas().values()) {
        let references = references(document);
        for reference in &references {
            let found = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(found.is_some(), "{reference} leads nowhere");
        }
        assert!(document.get("$schema").is_some() || !references.is_empty());
    }
}

#[test]
fn a_command_that_had_nothing_to_change_is_described_too() {
    // `DELETE /api/inventory/{id}/tracking` of a product that was never counted: 200 with version 0.
    let openapi = serde_json::to_value(api_docs::openapi(&operations())).unwrap();
    let committed = &openapi["components"]["schemas"]["Committed"];
    let answer = json!({ "id": "0198c0de-0000-7000-8000-000000000001", "version": 0 });
    assert_eq!(problem_with(committed, &answer), None);
}

#[test]
fn every_link_leads_to_an_operation_that_takes_the_id_and_every_id_comes_from_somewhere() {
    let openapi = serde_json::to_value(api_docs::openapi(&operations())).unwrap();
    let paths = openapi["paths"].as_object().unwrap();
    let mut by_id = BTreeMap::new();
    for (path, verbs) in paths {
        for operation in verbs.as_object().unwrap().values() {
            by_id.insert(operation["operationId"].as_str().unwrap(), (path, operation));
        }
    }
    let mut led_to = BTreeSet::new();
    for (id, (_, operation)) in &by_id {
        let links = operation["responses"]["200"]["links"].as_object();
        for (name, link) in links.into_iter().flatten() {
            let target = link["operationId"].as_str().unwrap();
            let (path, operation) =
                by_id.get(target).unwrap_or_else(|| panic!("{id} leads to {target}, which there is not"));
            let parameters = operation["parameters"].as_array().unwrap();
            let given = link["parameters"].as_object();
            for parameter in given.into_iter().flatten().map(|(parameter, _)| parameter) {
                let taken = parameters.iter().any(|it| it["name"] == json!(parameter));
                assert!(taken, "{id} gives {target} a {parameter}, which {path} does not take");
            }
            if given.is_some_and(|given| given.contains_key("id")) {
                led_to.insert(target);
            }
            assert!(given.is_some() || link["requestBody"].is_object(), "{id} gives {target} nothing");
            assert_eq!(name, target);
        }
    }
    let asking = by_id.iter().filter(|(_, (path, _))| path.contains("{id}")).map(|(id, _)| *id);
    let out_of_reach: Vec<&str> = asking.filter(|id| !led_to.contains(id)).collect();
    assert!(out_of_reach.is_empty(), "no answer leads to these, see api_docs::links: {out_of_reach:?}");
}

#[test]
fn no_consumer_hears_of_events_that_nobody_sends() {
    let aggregates = aggregates();
    for subscription in subscriptions(&templates_of(repository())) {
        let who = format!("{}/{}", subscription.context, subscription.function);
        let contexts: Vec<&str> =
            subscription.sources.iter().filter_map(|source| source.strip_prefix("mallard.")).collect();
        for event in &subscription.events {
            let known = contexts.iter().any(|context| publishes(&aggregates, context, event));
            assert!(known, "{who}: none of {contexts:?} sends {event}");
        }
        for context in contexts {
            let needed = subscription.events.iter().any(|event| publishes(&aggregates, context, event));
            assert!(needed, "{who}: hears of {context}, which sends none of {:?}", subscription.events);
        }
    }
}

#[test]
fn who_appends_an_event_is_a_function_of_its_context() {
    let templates = templates_of(repository());
    let aggregates = aggregates();
    let mut events: Vec<&str> =
        aggregates.iter().flat_map(|a| a.events.iter().map(|event| event.name)).collect();
    let mut listed: Vec<&str> = PRODUCERS.iter().map(|(event, _)| *event).collect();
    events.sort_unstable();
    listed.sort_unstable();
    assert_eq!(events, listed, "left: the events; right: those of which it is known who appends them");
    for aggregate in &aggregates {
        let template = templates.iter().find(|template| template.context == aggregate.context()).unwrap();
        for event in &aggregate.events {
            assert!(!producers(event.name).is_empty(), "who appends {}?", event.name);
            for function in producers(event.name) {
                let there = handlers(template).contains(function);
                assert!(there, "{}: {} has no function {function}", event.name, aggregate.context());
            }
        }
    }
}

#[test]
fn no_alarm_goes_off_without_a_page_that_says_what_to_do() {
    let runbook = std::fs::read_to_string(repository().join("docs/OPERATIONS.md")).unwrap();
    let sections: Vec<(&str, &str)> = runbook
        .split("\n### ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .collect();
    let templates = templates_of(repository());
    let alarms: Vec<_> = templates.iter().flat_map(|t| t.of_kind("AWS::CloudWatch::Alarm")).collect();
    assert!(alarms.len() > 20, "only {} alarms were found", alarms.len());
    for alarm in &alarms {
        let heading = format!("`{}`", alarm.id);
        let Some((_, text)) = sections.iter().find(|(title, _)| *title == heading) else {
            panic!("{alarm}: docs/OPERATIONS.md has no section ### {heading}");
        };
        for part in ["Means: ", "Look: ", "Do: "] {
            assert!(text.replace('\n', " ").contains(part), "### {heading} does not say {part:?}");
        }
    }
    for (title, _) in sections.iter().filter(|(title, _)| title.ends_with("Alarm`")) {
        let known = alarms.iter().any(|alarm| *title == format!("`{}`", alarm.id));
        assert!(known, "### {title} is about an alarm that there is not");
    }
}

#[test]
fn no_view_is_missing_in_the_table_of_read_models() {
    let architecture = std::fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, rest) = architecture.split_once("\n## Read models\n").expect("a section about read models");
    let table = rest.split("\n## ").next().unwrap();
    let named: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|views| views.split('`').skip(1).step_by(2))
        .collect();
    let templates = templates_of(repository());
    let views: Vec<&str> = templates
        .iter()
        .filter_map(|template| template.document["Outputs"]["Views"]["Value"].as_str())
        .flat_map(|views| views.split(','))
        .collect();
    assert!(views.len() > 10, "only {} views were found", views.len());
    for view in views {
        assert!(named.contains(&view), "docs/ARCHITECTURE.md, Read models: {view} has no row");
    }
}

#[test]
fn the_runbook_names_the_reads_of_a_single_thing_that_do_not_show_the_past() {
    let runbook = std::fs::read_to_string(repository().join("docs/OPERATIONS.md")).unwrap();
    let (_, rest) = runbook.split_once("### Look into the past\n").expect("a section about the past");
    let section = rest.split("\n### ").next().unwrap();
    let has = |operation: &Operation, name: &str| operation.query.iter().any(|query| query.name == name);
    let operations = operations();
    let single = operations.iter().filter(|operation| {
        !operation.is_command() && operation.path.contains('{') && !has(operation, "cursor")
    });
    let (past, now): (Vec<_>, Vec<_>) = single.partition(|operation| has(operation, "at"));
    assert!(past.len() > 5 && !now.is_empty(), "{} and {}", past.len(), now.len());
    for operation in now {
        let path = operation.path;
        assert!(section.contains(&format!("`{path}`")), "it is not said that GET {path} ignores `at`");
    }
    for operation in past {
        let path = operation.path;
        assert!(!section.contains(&format!("`{path}`")), "GET {path} shows the past");
    }
}

#[test]
fn no_runbook_names_a_consumer_that_there_is_not() {
    let runbook =
        std::fs::read_to_string(repository().join("docs/OPERATIONS.md")).unwrap().replace('\n', " ");
    let templates = templates_of(repository());
    let queues: Vec<String> = templates
        .iter()
        .flat_map(|template| template.of_kind("AWS::SQS::Queue"))
        .filter_map(|queue| queue.properties["QueueName"]["Fn::Sub"].as_str().map(str::to_owned))
        .collect();
    let mut named = 0;
    for verb in ["dlq show ", "dlq redrive ", "--consumer "] {
        for rest in runbook.split(verb).skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if name.is_empty() || name.starts_with('-') {
                continue;
            }
            let known = queues.iter().any(|queue| queue.contains(&format!("-{name}")));
            assert!(known, "docs/OPERATIONS.md names {name}, which has no queue");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} consumers were found in the runbook");
}
