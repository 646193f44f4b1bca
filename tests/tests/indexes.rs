//! The indexes of views are made as the code reads them.

use std::path::Path;

use mall_tests::template::{Template, lists_of_keys_read_rows, templates_of};
use projection::Index;
use serde_json::{Value, json};

/// Every index: context, table, and how the code reads it.
fn indexes() -> Vec<(&'static str, &'static str, Vec<Index>)> {
    use depot::views as depot;
    use inventory::views as inventory;
    use ordering::{saga_views as sagas, views as orders};
    use payments::invoices;
    use search::views as search;
    use stores::views as stores;
    vec![
        ("depot", "BotsTable", vec![depot::ALL_BOTS, depot::BOTS_BY_STATUS]),
        ("depot", "ShoppingListsTable", vec![depot::ALL_LISTS, depot::LISTS_BY_STATUS]),
        ("inventory", "StockTable", vec![inventory::BY_STORE, inventory::LOW]),
        ("ordering", "OrdersTable", vec![orders::BY_CUSTOMER, orders::BY_STAGE]),
        ("ordering", "SagasTable", vec![sagas::BY_STATUS, sagas::DUE]),
        ("payments", "InvoicesTable", vec![invoices::BY_CUSTOMER, invoices::OPEN, invoices::CHASED]),
        ("search", "SearchedOrdersTable", vec![search::BY_CUSTOMER, search::BY_MONTH]),
        ("stores", "CatalogueTable", vec![stores::BY_STORE]),
        ("stores", "MallTable", vec![stores::ALL_STORES, stores::PARTICIPATING_STORES]),
    ]
}

fn templates() -> Vec<Template> {
    templates_of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))
}

/// An index as a template says it.
fn said(index: &Index) -> Value {
    json!({
        "IndexName": index.name,
        "KeySchema": [
            { "AttributeName": index.partition, "KeyType": "HASH" },
            { "AttributeName": index.sort, "KeyType": "RANGE" },
        ],
        "Projection": { "ProjectionType": if index.keys_only { "KEYS_ONLY" } else { "ALL" } },
    })
}

#[test]
fn no_index_is_made_otherwise_than_the_code_reads_it() {
    let mut listed = indexes();
    listed.sort_by_key(|(context, table, _)| (*context, *table));
    let expected: Vec<(String, String, Vec<Value>)> = listed
        .into_iter()
        .map(|(context, table, all)| (context.to_owned(), table.to_owned(), all.iter().map(said).collect()))
        .collect();
    let mut made = Vec::new();
    for template in &templates() {
        let tables = template.of_kind("AWS::DynamoDB::Table").filter(|table| !table.id.ends_with("Even"));
        for table in tables {
            if let Some(all) = table.properties["GlobalSecondaryIndexes"].as_array() {
                made.push((template.context.clone(), table.id.to_owned(), all.clone()));
            }
        }
    }
    made.sort_by_key(|(context, table, _)| (context.clone(), table.clone()));
    assert_eq!(made, expected);
}

#[test]
fn no_list_of_keys_fails_for_want_of_its_rows() {
    assert_eq!(lists_of_keys_read_rows(&templates()), Vec::<String>::new());
}

const SOUND: &str = r#"
Resources:
  ToysTable:
    Type: AWS::DynamoDB::Table
    Properties:
      GlobalSecondaryIndexes:
        - {IndexName: all, Projection: {ProjectionType: KEYS_ONLY}}
        - {IndexName: red, Projection: {ProjectionType: ALL}}
  ListRole:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyDocument:
            Statement:
              - {Effect: Allow, Action: dynamodb:Query, Resource: [!Sub "${ToysTable.Arn}/index/all"]}
              - {Effect: Allow, Action: dynamodb:BatchGetItem, Resource: [!GetAtt ToysTable.Arn]}
"#;

#[test]
fn a_role_that_may_read_too_little_or_too_much_of_a_list_of_keys_is_found() {
    let found = |from: &str, to: &str| {
        assert!(SOUND.contains(from), "{from:?} is not in the template");
        lists_of_keys_read_rows(&[Template::parse("toys", &SOUND.replace(from, to))]).join("; ")
    };
    assert_eq!(found("all", "all"), "");
    assert!(found("BatchGetItem", "GetItem").contains("may not read the rows"));
    assert!(found("index/all", "index/red").contains("lists no keys of it"));
    assert!(found("[!GetAtt ToysTable.Arn]", "\"*\"").contains("may not read the rows"));
}
