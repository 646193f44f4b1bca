//! What is found, and in which order.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod stage;

use std::{collections::BTreeMap, sync::Arc};

use catalogue::Participation;
use kernel::{Actor, CommandId, Uuid};
use lambda::{Call, Fault};
use product_search::{
    api::ProductSearch,
    index::{ProductIndex, Wanted},
};
use serde_json::Value;
use stage::{Stage, deliver, money, named, names, product, store, text};

#[tokio::test]
async fn words_are_found_as_they_are_by_their_beginnings_and_with_typos() {
    let index = Stage::fruit().await.indexed().await;
    for (asked, wanted) in [
        ("apple", "Apple"),
        ("APPLE", "Apple"),
        ("applew", "Applewood board"),
        ("appel", "Apple"),
        ("appple", "Apple"),
        ("opple", "Apple"),
        ("pineaple", "Pineapple"),
        ("pnieappel", "Pineapple"),
        ("creme brulee", "Crème brûlée"),
        ("brûl", "Crème brûlée"),
        // Accents that are letters of their own.
        ("cre\u{300}me bru\u{302}le\u{301}e", "Crème brûlée"),
        ("syrup ample", "Ample syrup"),
        ("canada", "Ample syrup"),
        ("FR-300", "Pineapple"),
        ("fr-30", "Pineapple"),
        ("hm", "Applewood board"),
    ] {
        let found = names(&index, &text(asked)).await;
        assert!(found.iter().any(|name| name == wanted), "{asked}: {found:?}");
    }
    for nothing in ["banana", "apple banana", "pxxr", "pe ar", "FR-999", "!?", "-"] {
        assert_eq!(names(&index, &text(nothing)).await, Vec::<String>::new(), "{nothing}");
    }
}

#[tokio::test]
async fn letters_are_the_same_letters_however_they_are_written_and_whatever_their_case() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for name in ["İstanbul figs", "Cafe\u{301} beans", "Straße map", "石榴汁"] {
        stage.sell("Fruit", name, "", "", 100).await;
    }
    let index = stage.indexed().await;
    for (asked, wanted) in [
        ("ist", "İstanbul figs"),
        ("istanbul", "İstanbul figs"),
        ("café", "Cafe\u{301} beans"),
        ("CAFE", "Cafe\u{301} beans"),
        ("strasse", "Straße map"),
        ("石榴", "石榴汁"),
    ] {
        assert_eq!(names(&index, &text(asked)).await, [wanted], "{asked}");
    }
}

#[tokio::test]
async fn a_page_of_text_is_searched_in_little_memory() {
    let index = Stage::fruit().await.indexed().await;
    // Nine words of twenty letters each, no two alike: with typos it would take hundreds of megabytes.
    let words =
        (0..9_u32).map(|word| (0..20).filter_map(|n| char::from_u32(0x4e00 + word * 100 + n)).collect());
    let page = words.collect::<Vec<String>>().join(" ");
    assert_eq!(names(&index, &text(&page)).await, Vec::<String>::new());
    // Typos still are, where people make them.
    assert_eq!(names(&index, &text("pnieappel")).await, ["Pineapple"]);
}

#[tokio::test]
async fn what_is_exact_comes_before_a_beginning_and_that_before_a_typo() {
    let index = Stage::fruit().await.indexed().await;
    // Called so; with the word in its name; with it in the description; beginning with it; one letter off.
    let expected = ["Apple", "Apple juice", "Pear", "Applewood board", "Ample syrup"];
    assert_eq!(names(&index, &text("apple")).await, expected);
    // The whole SKU comes before a product that has it somewhere.
    let stage = Stage::fruit().await;
    stage.sell("Fruit", "Spare part for FR 100", "", "X", 1).await;
    assert_eq!(names(&*stage.indexed().await, &text("fr-100")).await, ["Apple", "Spare part for FR 100"]);
}

#[tokio::test]
async fn what_counts_the_same_always_comes_in_the_same_order() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for n in 0..30 {
        stage.sell("Fruit", &format!("Plum {n}"), "", "", 100).await;
    }
    let mut expected: Vec<(Uuid, String)> =
        (0..30).map(|n| format!("Plum {n}")).map(|name| (product(&name).uuid(), name)).collect();
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|(_, name)| name).collect();
    let all = Wanted { limit: 100, ..text("plum") };
    assert_eq!(names(&*stage.indexed().await, &all).await, expected);
    let backwards = stage.index(product_search::objects::MemoryObjects::new());
    let mut history = stage.history().await;
    history.reverse();
    deliver(&stage.writer(&backwards), &history).await;
    assert_eq!(names(&backwards, &all).await, expected);
    assert_eq!(names(&backwards, &Wanted { limit: 100, ..text("") }).await, expected);
}

#[tokio::test]
async fn filters_leave_out_what_does_not_pass_and_nothing_else() {
    let stage = Stage::fruit().await;
    stage.available("Apple", false).await;
    let index = stage.indexed().await;
    let apple = |change: fn(&mut Wanted)| {
        let mut wanted = text("apple");
        change(&mut wanted);
        wanted
    };
    for (wanted, expected) in [
        (apple(|w| w.store_id = Some(store("Late"))), &["Ample syrup"][..]),
        (apple(|w| w.store_id = Some(store("none"))), &[]),
        (apple(|w| w.min_price = Some(money(250))), &["Apple juice", "Applewood board", "Ample syrup"]),
        (apple(|w| w.max_price = Some(money(80))), &["Apple", "Pear"]),
        (
            apple(|w| (w.min_price, w.max_price) = (Some(money(80)), Some(money(250)))),
            &["Apple juice", "Pear"],
        ),
        (apple(|w| w.available = Some(false)), &["Apple"]),
        (apple(|w| w.available = Some(true)), &["Apple juice", "Pear", "Applewood board", "Ample syrup"]),
        (apple(|w| w.only_participating = true), &["Apple", "Apple juice", "Pear", "Applewood board"]),
        (
            apple(|w| {
                w.store_id = Some(store("Fruit"));
                w.available = Some(true);
                w.max_price = Some(money(100));
            }),
            &["Pear"],
        ),
    ] {
        assert_eq!(names(&index, &wanted).await, expected, "{wanted:?}");
    }
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_the_index_changes() {
    let stage = Stage::new();
    stage.open("Fruit").await;
    for n in 0..25 {
        stage.sell("Fruit", &format!("Plum {n}"), "", "", 100).await;
        stage.sell("Fruit", &format!("Plump cushion {n}"), "", "", 100).await;
    }
    let index = stage.indexed().await;
    let writer = stage.writer(&index);
    let before = names(&index, &Wanted { limit: 100, ..text("plum") }).await;
    assert_eq!(before.len(), 50);
    let (mut read, mut after, mut round) = (Vec::new(), None, 0);
    loop {
        let found = index.search(&Wanted { limit: 7, after, ..text("plum") }).await.unwrap();
        read.extend(named(&found));
        // Between any two pages other products come, with words that become frequent, and segments are merged.
        for n in 0..12 {
            stage.sell("Fruit", &format!("Cherry {round} {n}"), "no plum", "", 100).await;
        }
        round += 1;
        deliver(&writer, &stage.history().await).await;
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    read.retain(|name| !name.starts_with("Cherry"));
    assert_eq!(read, before);
    assert!(round >= 8, "the pages were read in {round} rounds");
}

#[tokio::test]
async fn what_is_no_longer_sold_is_gone_and_no_late_event_brings_it_back() {
    let stage = Stage::fruit().await;
    let index = stage.indexed().await;
    let writer = stage.writer(&index);
    let old = stage.history().await;
    stage.remove("Fruit", "Apple").await;
    deliver(&writer, &stage.history().await).await;
    assert!(!names(&index, &text("apple")).await.contains(&"Apple".to_owned()));
    deliver(&writer, &old).await;
    assert!(!names(&index, &text("apple")).await.contains(&"Apple".to_owned()));
    assert!(!names(&index, &text("")).await.contains(&"Apple".to_owned()));
}

#[tokio::test]
async fn new_names_and_prices_count_from_the_next_search_on() {
    let stage = Stage::fruit().await;
    let index = stage.indexed().await;
    let writer = stage.writer(&index);
    stage.rename("Fruit", "Pear", "Quince", "Hard").await;
    stage.price("Fruit", "Apple", 75, 500).await;
    stage.price("Fruit", "Apple juice", 250, 200).await;
    stage.rename_store("Fruit", "Fruit & Veg").await;
    deliver(&writer, &stage.history().await).await;
    assert_eq!(names(&index, &text("pear")).await, ["Pineapple"; 0]);
    let found = index.search(&text("quince")).await.unwrap();
    assert_eq!(found.products[0].store_name, "Fruit & Veg");
    assert_eq!(found.products[0].product.id, product("Pear"));
    let dear = Wanted { min_price: Some(money(500)), max_price: Some(money(500)), ..text("apple") };
    assert_eq!(names(&index, &dear).await, ["Apple"]);
    let found = index.search(&text("apple juice")).await.unwrap();
    assert_eq!(found.products[0].product.price, money(200));
}

#[tokio::test]
async fn a_store_that_leaves_the_mall_takes_its_products_along_where_that_is_asked_for() {
    let stage = Stage::fruit().await;
    let index = stage.indexed().await;
    let writer = stage.writer(&index);
    stage.participate("Fruit", false).await;
    stage.participate("Late", true).await;
    deliver(&writer, &stage.history().await).await;
    let participating = Wanted { only_participating: true, ..text("apple") };
    assert_eq!(names(&index, &participating).await, ["Ample syrup"]);
    assert_eq!(names(&index, &text("apple")).await.len(), 5);
}

#[tokio::test]
async fn stock_decides_what_can_be_had() {
    let stage = Stage::fruit().await;
    let index = stage.indexed().await;
    let writer = stage.writer(&index);
    let available = async || {
        deliver(&writer, &stage.history().await).await;
        index.search(&text("FR-200")).await.unwrap().products[0].available
    };
    assert!(available().await, "nobody told otherwise");
    stage.available("Pear", false).await;
    assert!(!available().await);
    stage.add_stock("Pear", 3, 3).await;
    stage.available("Pear", true).await;
    assert!(available().await);
    stage.add_stock("Pear", 3, 6).await;
    assert!(available().await);
}

#[tokio::test]
async fn a_product_whose_store_was_not_heard_of_yet_still_says_who_sells_it() {
    let stage = Stage::fruit().await;
    let index = stage.index(product_search::objects::MemoryObjects::new());
    let mut products = stage.history().await;
    products.retain(|event| event.stream.category() == "stores.Product");
    deliver(&stage.writer(&index), &products).await;
    let found = index.search(&text("pear")).await.unwrap();
    assert_eq!(found.products[0].store_name, "Fruit");
}

// ---- over HTTP

fn call(query: &[(&str, &str)]) -> Call {
    let query: BTreeMap<String, String> =
        query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Call {
        target: None,
        body: Value::Null,
        query,
        command: CommandId::derived(&["test"]),
        repeatable: false,
        if_match: None,
        actor: Actor::new("test"),
        correlation: Uuid::nil(),
        causation: None,
        trace: None,
        attempt: 0,
        at: "2026-11-20T12:00:00Z".parse().unwrap(),
    }
}

async fn search(search: &Arc<ProductSearch>, query: &[(&str, &str)]) -> Result<Value, Fault> {
    search.clone().search_products(call(query)).await.map(|answer| answer.body)
}

#[tokio::test]
async fn a_page_has_a_cursor_that_opens_the_next_page_of_this_search_only() {
    let stage = Stage::fruit().await;
    let shop = stage.search(&stage.indexed().await, Participation::NotRequired);
    let mut read = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = search(&shop, &[("q", "apple"), ("limit", "2"), ("cursor", &cursor)]).await.unwrap();
        read.extend(
            page["products"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(read, ["Apple", "Apple juice", "Pear", "Applewood board", "Ample syrup"]);
    for query in [
        [("q", "pear"), ("cursor", cursor.as_str())],
        [("minPrice", "1"), ("cursor", &cursor)],
        [("q", "apple"), ("cursor", "bm9uc2Vuc2U")],
        [("q", "apple"), ("cursor", "%")],
    ] {
        let fault = search(&shop, &query).await.unwrap_err();
        assert_eq!((fault.status, fault.code.as_ref()), (400, "QUERY_IS_INVALID"), "{query:?}");
    }
}

#[tokio::test]
async fn a_parameter_that_makes_no_sense_is_refused_and_an_empty_one_is_not_there() {
    let stage = Stage::fruit().await;
    let shop = stage.search(&stage.indexed().await, Participation::Required);
    let long = "x".repeat(201);
    for wrong in [
        ("storeId", "fruit"),
        ("minPrice", "cheap"),
        ("maxPrice", "1.999"),
        ("available", "yes"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("q", &long),
    ] {
        let fault = search(&shop, &[wrong]).await.unwrap_err();
        assert_eq!((fault.status, fault.code.as_ref()), (400, "QUERY_IS_INVALID"), "{wrong:?}");
    }
    let fault = search(&shop, &[("minPrice", "2"), ("maxPrice", "1")]).await.unwrap_err();
    assert_eq!(fault.status, 400);
    let empty = ["q", "storeId", "minPrice", "maxPrice", "available", "cursor"].map(|name| (name, ""));
    let page = search(&shop, &empty).await.unwrap();
    assert_eq!(page["products"].as_array().unwrap().len(), 4, "the shop that takes part sells four");
    assert_eq!(page["next"], Value::Null);
}
