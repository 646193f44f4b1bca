//! The depot over HTTP and as the order saga calls it: the paths, verbs and names of the original API, without what was
//! wrong with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod hall;

use contracts::ids::{OrderId, shopping_list_of};
use depot::{Depot, Planner};
use hall::{BOTS, Hall, Reply, SHOPPING, UNKNOWN, path};
use kernel::Id;
use serde_json::{Value, json};
use testing::faulty::OnAppend;

fn order(name: &str) -> OrderId {
    Id::derived(&["order", name])
}

/// The fields that were wrong, and what is wrong with them.
fn codes(details: &Value) -> Vec<(&str, &str)> {
    let details = details.as_array().unwrap().iter();
    details.map(|it| (it["field"].as_str().unwrap(), it["code"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_list_that_is_made_by_hand_is_collected_and_its_bot_is_free_again() {
    let hall = Hall::new();
    let (apple, bread) = (hall.sells("Fruit & Veg", "Apple").await, hall.sells("Bakery", "Bread").await);
    let pear = hall.sells("Fruit & Veg", "Pear").await;
    let order = order("ada's");
    let id = shopping_list_of(order);
    let body = json!({ "orderId": order, "items": [apple.times(2), bread.times(1), pear.times(3)] });
    assert_eq!(
        hall.ok("POST", SHOPPING, body).await,
        json!({ "id": id, "version": 1 }),
        "the order's own list"
    );
    let read = hall.send("GET", &path(order, ""), Value::Null).await;
    assert_eq!(read.etag.as_deref(), Some("\"1\""));
    let item = |goods: hall::Goods, name: &str, quantity: u32| json!({ "productId": goods.product, "productName": name, "quantity": quantity });
    let stops = json!([
        { "storeId": apple.store, "storeName": "Fruit & Veg", "storeLocation": "Hall 1",
          "items": [item(apple, "Apple", 2), item(pear, "Pear", 3)] },
        { "storeId": bread.store, "storeName": "Bakery", "storeLocation": "Hall 1",
          "items": [item(bread, "Bread", 1)] },
    ]);
    assert_eq!(
        read.body,
        json!({ "shoppingList": { "id": id, "orderId": order, "status": "pending", "stops": stops, "version": 1 } })
    );
    // An operator's, without an order.
    hall.step_of("InitiateShopping", id, Value::Null, "").await.unwrap();
    hall.settle().await;
    let listed = hall.get(&format!("{SHOPPING}/available")).await;
    assert_eq!(
        listed,
        json!({ "shoppingLists": [{
            "id": id, "orderId": order, "status": "available", "stops": 2, "pieces": 6,
            "createdAt": "2026-11-20T09:00:01.000000000Z", "changedAt": "2026-11-20T09:00:03.000000000Z",
        }], "next": null })
    );
    let bot = hall.bot("R2").await;
    let read = hall.send("GET", &format!("{BOTS}/{bot}"), Value::Null).await;
    assert_eq!(read.etag.as_deref(), Some("\"1\""));
    assert_eq!(read.body, json!({ "bot": { "id": bot, "name": "R2", "status": "idle", "version": 1 } }));

    assert_eq!(hall.assign(order, &bot).await, json!({ "id": id, "version": 3 }));
    let read = hall.get(&format!("{BOTS}/{bot}")).await;
    let active = json!({ "id": bot, "name": "R2", "status": "active", "shoppingListId": id, "version": 2 });
    assert_eq!(read["bot"], active);
    hall.ok("PUT", &path(order, "start"), json!({ "botId": bot })).await;
    assert_eq!(hall.status(order).await, "active");
    hall.settle().await;
    assert_eq!(hall.get(&format!("{SHOPPING}/available")).await["shoppingLists"], json!([]));
    let of_active = hall.get(&format!("{SHOPPING}?status=active")).await;
    assert_eq!(of_active["shoppingLists"][0]["botId"], json!(bot));
    let of_active = hall.get(&format!("{BOTS}?status=active")).await;
    let expected = json!([{ "id": bot, "name": "R2", "status": "active", "shoppingListId": id }]);
    assert_eq!(of_active, json!({ "bots": expected, "next": null }));

    assert_eq!(hall.complete(order).await, json!({ "id": id, "version": 5 }));
    assert_eq!(
        hall.list(order).await,
        json!({ "id": id, "orderId": order, "status": "completed", "stops": stops, "botId": bot, "version": 5 })
    );
    hall.settle().await;
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
    let idle = json!([{ "id": bot, "name": "R2", "status": "idle" }]);
    assert_eq!(hall.get(&format!("{BOTS}?status=idle")).await["bots"], idle);
    assert_eq!(hall.get(BOTS).await["bots"], idle);
    assert_eq!(hall.get(&format!("{BOTS}?status=active")).await["bots"], json!([]));
    assert_eq!(hall.get(SHOPPING).await["shoppingLists"][0]["status"], "completed");
}

#[tokio::test]
async fn d2_the_sagas_initiation_is_carried_out_and_not_only_answered() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.ordered(&[(apple, 2)]).await;
    let id = shopping_list_of(order);
    let made = hall.step("CreateShoppingList", order).await;
    assert_eq!(made, Ok(json!({ "id": id, "version": 1 })));
    assert_eq!(hall.status(order).await, "pending");
    let initiated = hall.step("InitiateShopping", order).await;
    assert_eq!(initiated, Ok(json!({ "id": id, "version": 2 })));
    assert_eq!(hall.status(order).await, "available");
    assert!(hall.of_list(order, "ShoppingListInitiated").await.is_some());
}

#[tokio::test]
async fn d3_a_list_of_the_saga_can_be_assigned_and_completed() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.available(&[(apple, 2)]).await;
    let bot = hall.bot("R2").await;
    hall.assign(order, &bot).await;
    assert_eq!(hall.status(order).await, "assigned");
    hall.complete(order).await;
    let completed = hall.of_list(order, "ShoppingListCompleted").await.unwrap();
    assert_eq!(
        completed.data.unwrap(),
        json!({ "orderId": order, "botId": bot }),
        "what makes the order ready"
    );
}

#[tokio::test]
async fn the_saga_collects_what_was_ordered_and_sends_only_ids() {
    let hall = Hall::new();
    let (apple, bread) = (hall.sells("Fruit & Veg", "Apple").await, hall.sells("Bakery", "Bread").await);
    let order = hall.ordered(&[(apple, 2), (bread, 7)]).await;
    hall.step("CreateShoppingList", order).await.unwrap();
    let list = hall.list(order).await;
    let collected: Vec<(&Value, &Value, &Value)> = list["stops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stop| (&stop["storeName"], &stop["items"][0]["productName"], &stop["items"][0]["quantity"]))
        .collect();
    let expected =
        [(&json!("Fruit & Veg"), &json!("Apple"), &json!(2)), (&json!("Bakery"), &json!("Bread"), &json!(7))];
    assert_eq!(collected, expected, "with the names of now, by which the bot finds it");
}

#[tokio::test]
async fn a_step_of_the_saga_that_comes_again_changes_nothing_with_its_own_id_or_another() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.ordered(&[(apple, 2)]).await;
    let (id, body) = (shopping_list_of(order), json!({ "orderId": order, "reason": "WILTED" }));
    for (step, version) in [("CreateShoppingList", 1), ("InitiateShopping", 2), ("CancelShoppingList", 3)] {
        for attempt in ["", "", " anew"] {
            let answer = hall.step_of(step, id, body.clone(), attempt).await;
            assert_eq!(answer, Ok(json!({ "id": id, "version": version })), "{step}{attempt}");
        }
    }
    assert_eq!(hall.written("depot").await.len(), 3);
    let list = hall.list(order).await;
    assert_eq!((&list["status"], &list["reason"]), (&json!("canceled"), &json!("WILTED")));
}

#[tokio::test]
async fn a_step_that_comes_long_after_the_list_is_collected_changes_nothing() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.available(&[(apple, 2)]).await;
    hall.assign(order, &hall.bot("R2").await).await;
    hall.complete(order).await;
    let body = json!({ "orderId": order, "reason": "WILTED" });
    for step in ["CreateShoppingList", "InitiateShopping", "CancelShoppingList"] {
        let answer = hall.step_of(step, shopping_list_of(order), body.clone(), " late").await;
        assert_eq!(answer.unwrap()["version"], 4, "{step}");
    }
    assert_eq!(hall.status(order).await, "completed");
}

#[tokio::test]
async fn a_step_for_an_order_that_nobody_placed_or_for_anothers_list_is_refused() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let ghost = order("nobody's");
    assert_eq!(hall.step("CreateShoppingList", ghost).await, Err("ORDER_NOT_FOUND".into()));
    assert_eq!(hall.step("InitiateShopping", ghost).await, Err("ORDER_NOT_FOUND".into()));
    assert!(hall.written("depot").await.is_empty());
    let (order, other) = (hall.available(&[(apple, 2)]).await, hall.ordered(&[(apple, 1)]).await);
    let body = json!({ "orderId": other, "reason": "WILTED" });
    for step in ["CreateShoppingList", "InitiateShopping", "CancelShoppingList"] {
        let answer = hall.step_of(step, shopping_list_of(order), body.clone(), " of another").await;
        assert_eq!(answer, Err("SHOPPING_LIST_IS_OF_ANOTHER_ORDER".into()), "{step}");
    }
    assert_eq!(hall.status(order).await, "available");
    let cancel = hall.send("POST", &path(order, ""), body).await;
    assert_eq!((cancel.status, &cancel.body["code"]), (409, &json!("SHOPPING_LIST_IS_OF_ANOTHER_ORDER")));
}

#[tokio::test]
async fn d17_what_there_is_not_is_404_not_500() {
    let hall = Hall::new();
    for (path, code) in [(SHOPPING, "SHOPPING_LIST_NOT_FOUND"), (BOTS, "BOT_NOT_FOUND")] {
        for id in [UNKNOWN, "no-id-at-all"] {
            hall.refused("GET", &format!("{path}/{id}"), Value::Null, 404, code).await;
        }
    }
}

#[tokio::test]
async fn d16_no_request_makes_a_ghost() {
    let hall = Hall::new();
    let bot = hall.bot("R2").await;
    let before = hall.written("depot").await.len();
    for id in [UNKNOWN, "no-id-at-all"] {
        let path = format!("{SHOPPING}/{id}");
        for (method, verb, body) in [
            ("PUT", "/assign", json!({ "botId": bot })),
            ("PUT", "/start", json!({ "botId": bot })),
            ("PUT", "/complete", json!({})),
            ("POST", "", json!({ "reason": "BROKEN" })),
            ("DELETE", "", Value::Null),
        ] {
            hall.refused(method, &format!("{path}{verb}"), body, 404, "SHOPPING_LIST_NOT_FOUND").await;
        }
    }
    let unknown = UNKNOWN.parse().unwrap();
    let initiated = hall.step_of("InitiateShopping", unknown, Value::Null, "").await;
    assert_eq!(initiated, Err("SHOPPING_LIST_NOT_FOUND".into()));
    assert_eq!(hall.written("depot").await.len(), before);
    assert_eq!(hall.bot_status(&bot).await.0, "idle", "not taken for a list that there is not");
}

#[tokio::test]
async fn d16_a_bot_that_there_is_not_gets_no_list() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.available(&[(apple, 1)]).await;
    let body = json!({ "botId": UNKNOWN });
    hall.refused("PUT", &path(order, "assign"), body, 404, "BOT_NOT_FOUND").await;
    assert_eq!(hall.status(order).await, "available");
}

#[tokio::test]
async fn a_product_is_collected_only_at_the_store_that_sells_it() {
    let hall = Hall::new();
    let (apple, bread) = (hall.sells("Fruit & Veg", "Apple").await, hall.sells("Bakery", "Bread").await);
    for store in [json!(bread.store), json!(UNKNOWN)] {
        let mut wrong = apple.times(1);
        wrong["storeId"] = store;
        let body = json!({ "orderId": order("ada's"), "items": [bread.times(1), wrong] });
        let details = hall.refused("POST", SHOPPING, body, 400, "STORE_DOES_NOT_SELL_PRODUCT").await;
        assert_eq!(codes(&details), [("items[1].storeId", "STORE_DOES_NOT_SELL_PRODUCT")]);
    }
    assert!(hall.written("depot").await.is_empty());
}

#[tokio::test]
async fn d16_a_product_that_there_is_not_is_404_and_nothing_is_made() {
    let hall = Hall::new();
    let mut ghost = hall.sells("Fruit & Veg", "Apple").await;
    ghost.product = UNKNOWN.parse().unwrap();
    let body = json!({ "orderId": order("ada's"), "items": [ghost.times(1)] });
    hall.refused("POST", SHOPPING, body, 404, "PRODUCT_NOT_FOUND").await;
    let order = hall.ordered(&[(ghost, 1)]).await;
    assert_eq!(hall.step("CreateShoppingList", order).await, Err("PRODUCT_NOT_FOUND".into()));
    assert!(hall.written("depot").await.is_empty());
}

#[tokio::test]
async fn a_product_that_is_no_longer_sold_is_404_by_hand_and_collected_when_it_was_ordered() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let ordered = hall.ordered(&[(apple, 2)]).await;
    hall.shelves.remove(apple.product).await;
    let body = json!({ "orderId": order("ada's"), "items": [apple.times(1)] });
    hall.refused("POST", SHOPPING, body, 404, "PRODUCT_NOT_FOUND").await;
    hall.step("CreateShoppingList", ordered).await.unwrap();
    assert_eq!(hall.list(ordered).await["stops"][0]["items"][0]["quantity"], 2);
}

#[tokio::test]
async fn a_product_that_is_not_in_the_copy_yet_is_found_and_copied() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let id = apple.product.to_string();
    assert!(hall.product_copies.read(&id, None).await.unwrap().is_none(), "no event has arrived");
    let make = async |name: &str| {
        let body = json!({ "orderId": order(name), "items": [apple.times(1)] });
        hall.ok("POST", SHOPPING, body).await;
        hall.list(order(name)).await["stops"][0].take()
    };
    assert_eq!(make("first").await["items"][0]["productName"], "Apple");
    assert!(hall.product_copies.read(&id, None).await.unwrap().is_some());
    hall.shelves.rename(apple.product, "Braeburn").await;
    hall.shelves.rename_store(apple.store, "Greens").await;
    hall.copies_arrive().await;
    let stop = make("second").await;
    let names = (&stop["storeName"], &stop["items"][0]["productName"]);
    assert_eq!(names, (&json!("Greens"), &json!("Braeburn")));
    let first = hall.list(order("first")).await;
    assert_eq!(first["stops"][0]["storeName"], "Fruit & Veg", "as it was when the list was made");
}

#[tokio::test]
async fn d10_a_product_that_is_named_again_adds_its_pieces() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let make = |order: OrderId, quantities: [u32; 2]| {
        let items: Vec<Value> = quantities.iter().map(|&quantity| apple.times(quantity)).collect();
        json!({ "orderId": order, "items": items })
    };
    let ada = order("ada's");
    hall.ok("POST", SHOPPING, make(ada, [2, 3])).await;
    let stops = hall.list(ada).await["stops"].take();
    assert_eq!((stops.as_array().unwrap().len(), stops[0]["items"].as_array().unwrap().len()), (1, 1));
    assert_eq!(stops[0]["items"][0]["quantity"], 5);
    let too_many = make(order("bob's"), [u32::MAX, 1]);
    let details = hall.refused("POST", SHOPPING, too_many, 400, "QUANTITY_IS_TOO_LARGE").await;
    assert_eq!(codes(&details), [("items", "QUANTITY_IS_TOO_LARGE")]);
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let blank = [("orderId", "ORDER_ID_CANNOT_BE_BLANK"), ("items", "ITEMS_CANNOT_BE_EMPTY")];
    for body in [json!({}), Value::Null, json!({ "orderId": " ", "items": [] })] {
        let details = hall.refused("POST", SHOPPING, body, 400, "VALIDATION_FAILED").await;
        assert_eq!(codes(&details), blank);
    }
    let items = json!([{}, 7, { "productId": "x", "storeId": 7, "quantity": "2" }]);
    let body = json!({ "orderId": "x", "items": items });
    let details = hall.refused("POST", SHOPPING, body, 400, "VALIDATION_FAILED").await;
    assert_eq!(
        codes(&details),
        [
            ("orderId", "ID_IS_MALFORMED"),
            ("items[0].productId", "PRODUCT_ID_CANNOT_BE_BLANK"),
            ("items[0].storeId", "STORE_ID_CANNOT_BE_BLANK"),
            ("items[0].quantity", "MISSING"),
            ("items[1]", "NOT_AN_OBJECT"),
            ("items[2].productId", "ID_IS_MALFORMED"),
            ("items[2].storeId", "NOT_A_TEXT"),
            ("items[2].quantity", "NOT_A_WHOLE_NUMBER"),
        ]
    );
    for (quantity, code) in [
        (json!(0), "QUANTITY_MUST_BE_POSITIVE"),
        (json!(-1), "QUANTITY_MUST_BE_POSITIVE"),
        (json!(4_294_967_296_u64), "QUANTITY_MUST_BE_POSITIVE"),
        (json!(1.5), "NOT_A_WHOLE_NUMBER"),
        (json!(u64::MAX), "NOT_A_WHOLE_NUMBER"),
    ] {
        let mut item = apple.times(1);
        item["quantity"] = quantity;
        let body = json!({ "orderId": order("ada's"), "items": [item] });
        let details = hall.refused("POST", SHOPPING, body, 400, code).await;
        assert_eq!(codes(&details), [("items[0].quantity", code)]);
    }
    let body = |items: Value| json!({ "orderId": order("ada's"), "items": items });
    hall.refused("POST", SHOPPING, body(json!("apples")), 400, "NOT_A_LIST").await;
    let items = |number: usize| json!(vec![apple.times(1); number]);
    hall.refused("POST", SHOPPING, body(items(101)), 400, "TOO_MANY_ITEMS").await;
    assert!(hall.written("depot").await.is_empty());
    hall.ok("POST", SHOPPING, body(items(100))).await;
}

#[tokio::test]
async fn a_wrong_body_of_what_is_done_with_a_list_or_a_bot_changes_nothing() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.available(&[(apple, 1)]).await;
    let before = hall.written("depot").await.len();
    for (verb, body, field, code) in [
        ("assign", json!({}), "botId", "BOT_ID_CANNOT_BE_BLANK"),
        ("assign", Value::Null, "botId", "BOT_ID_CANNOT_BE_BLANK"),
        ("assign", json!({ "botId": "R2" }), "botId", "ID_IS_MALFORMED"),
        ("start", json!({ "botId": 7 }), "botId", "NOT_A_TEXT"),
        ("start", json!({ "botId": "" }), "botId", "BOT_ID_CANNOT_BE_BLANK"),
    ] {
        let details = hall.refused("PUT", &path(order, verb), body, 400, code).await;
        assert_eq!(codes(&details), [(field, code)]);
    }
    for (body, field, code) in [
        (json!({ "reason": 7 }), "reason", "NOT_A_TEXT"),
        (json!({ "reason": "x".repeat(501) }), "reason", "TEXT_IS_TOO_LONG"),
        (json!({ "orderId": "x" }), "orderId", "ID_IS_MALFORMED"),
        (json!({ "orderId": "" }), "orderId", "ORDER_ID_CANNOT_BE_BLANK"),
    ] {
        let details = hall.refused("POST", &path(order, ""), body, 400, code).await;
        assert_eq!(codes(&details), [(field, code)]);
    }
    for (body, code) in [
        (json!({}), "BOT_NAME_IS_BLANK"),
        (json!({ "name": " " }), "BOT_NAME_IS_BLANK"),
        (json!({ "name": 2 }), "NOT_A_TEXT"),
        (json!({ "name": "x".repeat(501) }), "TEXT_IS_TOO_LONG"),
    ] {
        let details = hall.refused("POST", BOTS, body, 400, code).await;
        assert_eq!(codes(&details), [("name", code)]);
    }
    assert_eq!(hall.written("depot").await.len(), before);
}

#[tokio::test]
async fn an_order_has_one_list_however_often_it_is_made_by_hand() {
    let hall = Hall::new();
    let (apple, bread) = (hall.sells("Fruit & Veg", "Apple").await, hall.sells("Bakery", "Bread").await);
    let order = order("ada's");
    let body = |items: Value| json!({ "orderId": order, "items": items });
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let both = body(json!([apple.times(2), bread.times(1)]));
    let first = hall.send_with(key.clone(), "POST", SHOPPING, both.clone()).await;
    assert_eq!((first.status, &first.body["version"]), (200, &json!(1)));
    let with_key = hall.send_with(key.clone(), "POST", SHOPPING, both.clone()).await;
    assert_eq!(with_key.body, first.body);
    assert_eq!(hall.ok("POST", SHOPPING, both.clone()).await, first.body, "without a key");
    let split = body(json!([bread.times(1), apple.times(1), apple.times(1)]));
    assert_eq!(hall.ok("POST", SHOPPING, split).await, first.body, "the same pieces, in another order");
    hall.refused("POST", SHOPPING, body(json!([apple.times(2)])), 409, "SHOPPING_LIST_ALREADY_CREATED").await;
    let reused = hall.send_with(key, "POST", SHOPPING, body(json!([apple.times(2)]))).await;
    assert_eq!((reused.status, &reused.body["code"]), (422, &json!("IDEMPOTENCY_KEY_REUSED")));
    assert_eq!(hall.written("depot").await.len(), 1);
    hall.ok("DELETE", &path(order, ""), Value::Null).await;
    hall.refused("POST", SHOPPING, both, 409, "SHOPPING_LIST_WAS_CANCELLED").await;
}

#[tokio::test]
async fn the_saga_takes_over_a_list_that_was_made_by_hand_with_the_same_lines_and_no_other() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let (same, other) = (hall.ordered(&[(apple, 2)]).await, hall.ordered(&[(apple, 2)]).await);
    for (order, quantity) in [(same, 2), (other, 1)] {
        hall.ok("POST", SHOPPING, json!({ "orderId": order, "items": [apple.times(quantity)] })).await;
    }
    assert_eq!(hall.step("CreateShoppingList", same).await.unwrap()["version"], 1);
    let refused = Err("SHOPPING_LIST_ALREADY_CREATED".into());
    assert_eq!(hall.step("CreateShoppingList", other).await, refused);
}

#[tokio::test]
async fn a_list_that_is_made_by_hand_at_the_very_moment_of_the_sagas_step_is_made_once() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.ordered(&[(apple, 2)]).await;
    let make = lambda::use_case(&hall.planner(), &hall.world.ports(), Planner::create_shopping_list);
    let call = json!({ "body": { "orderId": order, "items": [apple.times(2)] } });
    hall.log.on_append([OnAppend::after(move || async move { drop(make.invoke(call).await.unwrap()) })]);
    let made = hall.step("CreateShoppingList", order).await;
    assert_eq!(made, Ok(json!({ "id": shopping_list_of(order), "version": 1 })));
    assert_eq!(hall.written("depot").await.len(), 1);
}

#[tokio::test]
async fn two_lists_that_are_given_to_one_bot_at_the_same_moment_do_not_both_get_it() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let (first, second) = (hall.available(&[(apple, 1)]).await, hall.available(&[(apple, 2)]).await);
    let bot = hall.bot("R2").await;
    let assign = lambda::use_case(&hall.depot(), &hall.world.ports(), Depot::assign_shopping_list);
    let call = json!({ "id": shopping_list_of(second), "body": { "botId": bot } });
    hall.log.on_append([OnAppend::after(move || async move { drop(assign.invoke(call).await.unwrap()) })]);
    let body = json!({ "botId": bot });
    hall.refused("PUT", &path(first, "assign"), body, 409, "BOT_IS_BUSY").await;
    assert_eq!(
        (hall.status(first).await, hall.status(second).await),
        ("available".into(), "assigned".into())
    );
    assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(second).to_string()));
}

#[tokio::test]
async fn a_busy_bot_is_a_409_and_keeps_its_list_until_that_has_ended() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let (first, second) = (hall.available(&[(apple, 1)]).await, hall.available(&[(apple, 2)]).await);
    let bot = hall.bot("R2").await;
    let assigned = hall.assign(first, &bot).await;
    assert_eq!(hall.assign(first, &bot).await, assigned, "once more changes nothing");
    let body = json!({ "botId": bot });
    hall.refused("PUT", &path(second, "assign"), body.clone(), 409, "BOT_IS_BUSY").await;
    let c3 = hall.bot("C3").await;
    let other = json!({ "botId": c3 });
    hall.refused("PUT", &path(first, "assign"), other, 400, "SHOPPING_CANNOT_BE_ASSIGNED").await;
    assert_eq!(
        hall.bot_status(&c3).await,
        ("idle".into(), None),
        "it is not kept for a list that it did not get"
    );
    hall.complete(first).await;
    // Before the policy has heard of it.
    hall.assign(second, &bot).await;
    assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(second).to_string()));
    hall.settle().await;
    assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(second).to_string()));
}

#[tokio::test]
async fn a_list_does_only_what_its_state_allows() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let (bot, other) = (hall.bot("R2").await, hall.bot("C3").await);
    let order = hall.ordered(&[(apple, 1)]).await;
    hall.step("CreateShoppingList", order).await.unwrap();
    let put = async |verb: &str, code: &str| {
        hall.refused("PUT", &path(order, verb), json!({ "botId": bot }), 400, code).await;
    };
    put("assign", "SHOPPING_CANNOT_BE_ASSIGNED").await;
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
    put("start", "SHOPPING_CANNOT_BE_STARTED").await;
    put("complete", "SHOPPING_CANNOT_BE_COMPLETED").await;
    hall.step("InitiateShopping", order).await.unwrap();
    put("start", "SHOPPING_CANNOT_BE_STARTED").await;
    put("complete", "SHOPPING_CANNOT_BE_COMPLETED").await;
    hall.assign(order, &bot).await;
    let start = path(order, "start");
    hall.refused("PUT", &start, json!({ "botId": other }), 400, "SHOPPING_CANNOT_BE_STARTED").await;
    hall.ok("PUT", &start, json!({ "botId": null })).await;
    put("start", "SHOPPING_CANNOT_BE_STARTED").await;
    hall.complete(order).await;
    put("complete", "SHOPPING_CANNOT_BE_COMPLETED").await;
    hall.refused("DELETE", &path(order, ""), Value::Null, 400, "SHOPPING_CANNOT_BE_CANCELLED").await;
    let initiated = hall.step_of("InitiateShopping", shopping_list_of(order), Value::Null, " by hand").await;
    assert_eq!(initiated, Err("SHOPPING_CANNOT_BE_INITIATED".into()));
    assert_eq!(hall.list(order).await["version"], 5);
}

#[tokio::test]
async fn a_list_is_cancelled_by_the_originals_verb_and_by_the_proper_one_and_its_bot_is_free() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let bot = hall.bot("R2").await;
    for (method, body, reason) in [
        ("POST", json!({ "reason": "SHELF_IS_EMPTY" }), "SHELF_IS_EMPTY"),
        ("POST", json!({}), "CANCELLED_BY_DEPOT"),
        ("DELETE", Value::Null, "CANCELLED_BY_DEPOT"),
    ] {
        let order = hall.available(&[(apple, 1)]).await;
        hall.assign(order, &bot).await;
        hall.ok(method, &path(order, ""), body.clone()).await;
        let list = hall.list(order).await;
        assert_eq!((&list["status"], &list["reason"]), (&json!("canceled"), &json!(reason)));
        assert_eq!(list["botId"], json!(bot), "who had it");
        hall.refused(method, &path(order, ""), body, 400, "SHOPPING_CANNOT_BE_CANCELLED").await;
        let on_behalf = json!({ "orderId": order });
        hall.ok("POST", &path(order, ""), on_behalf).await;
        hall.settle().await;
        assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
        let listed = hall.get(&format!("{SHOPPING}?status=canceled")).await;
        let row = listed["shoppingLists"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&row["orderId"], &row["reason"]), (&json!(order), &json!(reason)));
    }
}

#[tokio::test]
async fn a_list_that_was_cancelled_before_it_was_made_never_is_and_nobody_sees_it() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.ordered(&[(apple, 1)]).await;
    let cancelled = hall.step("CancelShoppingList", order).await.unwrap();
    assert_eq!(hall.step("CancelShoppingList", order).await, Ok(cancelled), "once");
    let refused = |code: &str| Err(code.to_owned());
    assert_eq!(hall.step("CreateShoppingList", order).await, refused("SHOPPING_LIST_WAS_CANCELLED"));
    assert_eq!(hall.step("InitiateShopping", order).await, refused("SHOPPING_CANNOT_BE_INITIATED"));
    let body = json!({ "orderId": order, "items": [apple.times(1)] });
    hall.refused("POST", SHOPPING, body, 409, "SHOPPING_LIST_WAS_CANCELLED").await;
    let bot = hall.bot("R2").await;
    for (method, verb) in
        [("GET", ""), ("DELETE", ""), ("PUT", "assign"), ("PUT", "start"), ("PUT", "complete")]
    {
        let body = json!({ "botId": bot });
        hall.refused(method, &path(order, verb), body, 404, "SHOPPING_LIST_NOT_FOUND").await;
    }
    assert_eq!(hall.bot_status(&bot).await.0, "idle");
    hall.settle().await;
    for query in ["", "?status=canceled", "?status=pending"] {
        let listed = hall.get(&format!("{SHOPPING}{query}")).await;
        assert_eq!(listed["shoppingLists"], json!([]), "{query}");
    }
}

#[tokio::test]
async fn d18_a_completion_that_is_not_written_is_told_and_its_repeat_completes_once() {
    for (fault, status, code) in
        [(OnAppend::Throttled, 503, "UNAVAILABLE"), (OnAppend::Denied, 500, "INTERNAL")]
    {
        let hall = Hall::new();
        let apple = hall.sells("Fruit & Veg", "Apple").await;
        let order = hall.available(&[(apple, 1)]).await;
        hall.assign(order, &hall.bot("R2").await).await;
        let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
        let complete = async || -> Reply {
            hall.send_with(key.clone(), "PUT", &path(order, "complete"), json!({})).await
        };
        hall.log.on_append([fault]);
        let failed = complete().await;
        assert_eq!((failed.status, &failed.body["code"]), (status, &json!(code)));
        assert!(hall.of_list(order, "ShoppingListCompleted").await.is_none());
        let repeated = complete().await;
        assert_eq!((repeated.status, &repeated.body["version"]), (200, &json!(4)));
        assert_eq!(complete().await.body, repeated.body);
    }
}

#[tokio::test]
async fn a_stale_if_match_changes_nothing_and_takes_no_bot() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let order = hall.available(&[(apple, 1)]).await;
    let bot = hall.bot("R2").await;
    let stale = json!({ "if-match": "\"1\"" });
    for (method, verb) in [("PUT", "assign"), ("PUT", "start"), ("PUT", "complete"), ("DELETE", "")] {
        let reply = hall.send_with(stale.clone(), method, &path(order, verb), json!({ "botId": bot })).await;
        assert_eq!((reply.status, &reply.body["code"]), (412, &json!("VERSION_MISMATCH")), "{verb}");
    }
    assert_eq!(hall.list(order).await["version"], 2);
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
    let fresh = json!({ "if-match": "\"2\"" });
    let reply = hall.send_with(fresh, "PUT", &path(order, "assign"), json!({ "botId": bot })).await;
    assert_eq!((reply.status, &reply.body["version"]), (200, &json!(3)));
}

#[tokio::test]
async fn a_repeat_with_its_key_is_answered_as_the_first_time_whatever_happened_since() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let (order, bot) = (order("ada's"), hall.bot("R2").await);
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let matching = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001", "if-match": "\"2\"" });
    let body = json!({ "orderId": order, "items": [apple.times(2)] });
    let create = async || hall.send_with(key.clone(), "POST", SHOPPING, body.clone()).await;
    let created = create().await;
    hall.step_of("InitiateShopping", shopping_list_of(order), Value::Null, "").await.unwrap();
    let assign = async || {
        hall.send_with(matching.clone(), "PUT", &path(order, "assign"), json!({ "botId": bot })).await
    };
    let assigned = assign().await;
    assert_eq!((created.status, assigned.status), (200, 200), "{:?}", assigned.body);
    hall.complete(order).await;
    hall.settle().await;
    hall.shelves.remove(apple.product).await;
    hall.copies_arrive().await;
    let (again, once_more) = (create().await, assign().await);
    assert_eq!((again.status, &again.body), (200, &created.body));
    assert_eq!((once_more.status, &once_more.body), (200, &assigned.body));
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None), "not taken again");
}

#[tokio::test]
async fn a_repeat_with_the_same_key_registers_one_bot() {
    let hall = Hall::new();
    let key = json!({ "idempotency-key": "8d6d1f3e-0000-4000-8000-000000000001" });
    let first = hall.send_with(key.clone(), "POST", BOTS, json!({ "name": "R2" })).await;
    let again = hall.send_with(key.clone(), "POST", BOTS, json!({ "name": "R2" })).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = hall.send_with(key, "POST", BOTS, json!({ "name": "C3" })).await;
    assert_eq!((other.status, &other.body["code"]), (422, &json!("IDEMPOTENCY_KEY_REUSED")));
    assert_eq!(hall.written("depot").await.len(), 1);
}

#[tokio::test]
async fn d28_lists_come_in_pages_of_twenty_and_of_a_hundred_at_most() {
    let hall = Hall::new();
    let apple = hall.sells("Fruit & Veg", "Apple").await;
    let (mut orders, mut bots) = (Vec::new(), Vec::new());
    for n in 0..25 {
        orders.push(json!(shopping_list_of(hall.available(&[(apple, 1)]).await)));
        bots.push(json!(hall.bot(&format!("R{n}")).await));
    }
    hall.settle().await;
    for (path, what, wanted) in [
        (SHOPPING.to_owned(), "shoppingLists", &orders),
        (format!("{SHOPPING}/available"), "shoppingLists", &orders),
        (BOTS.to_owned(), "bots", &bots),
        (format!("{BOTS}?status=idle"), "bots", &bots),
    ] {
        let ask = |query: &str| format!("{path}{}{query}", if path.contains('?') { "&" } else { "?" });
        assert_eq!(hall.get(&path).await[what].as_array().unwrap().len(), 20);
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = hall.get(&ask(&format!("limit=7{next}"))).await;
            seen.extend(page[what].as_array().unwrap().iter().map(|row| row["id"].clone()));
            let Some(cursor) = page["next"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(&seen, wanted, "{path}");
        for wrong in ["limit=0", "limit=101", "limit=x", "cursor=noise"] {
            hall.refused("GET", &ask(wrong), Value::Null, 400, "QUERY_IS_INVALID").await;
        }
    }
    for path in [SHOPPING, BOTS] {
        for status in ["never made", "", "Idle"] {
            let target = format!("{path}?status={status}");
            hall.refused("GET", &target, Value::Null, 400, "QUERY_IS_INVALID").await;
        }
    }
}
