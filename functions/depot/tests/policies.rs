//! What follows when orders are cancelled and lists end, in every order in which that can be heard of.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod hall;

use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
};
use depot::{Depot, Planner};
use hall::{Goods, Hall, SHOPPING, path};
use kernel::{Uuid, Version};
use lambda::consumer;
use serde_json::{Value, json};
use testing::faulty::OnAppend;

/// As the bus delivers an event once more: without its body, or as if it were another event (so that its command id is
/// of no help, as after many commits).
fn copies(event: &Envelope) -> [Envelope; 3] {
    let without_body = Envelope { data: None, ..event.clone() };
    let as_another = Envelope { id: Uuid::new_v5(&event.id, b"again"), ..event.clone() };
    [event.clone(), without_body, as_another]
}

/// A hall with something to sell, and a bot.
async fn hall() -> (Hall, Goods, String) {
    let hall = Hall::new();
    let (apple, bot) = (hall.sells("Fruit & Veg", "Apple").await, hall.bot("R2").await);
    (hall, apple, bot)
}

/// A list that bot was given, in this state.
async fn list_in(hall: &Hall, status: &str, goods: Goods, bot: &str) -> OrderId {
    let order = hall.ordered(&[(goods, 1)]).await;
    hall.step("CreateShoppingList", order).await.unwrap();
    if status != "pending" {
        hall.step("InitiateShopping", order).await.unwrap();
    }
    if ["assigned", "active"].contains(&status) {
        hall.assign(order, bot).await;
    }
    if status == "active" {
        hall.ok("PUT", &path(order, "start"), json!({})).await;
    }
    assert_eq!(hall.status(order).await, status);
    order
}

#[tokio::test]
async fn d12_a_cancelled_order_is_not_collected_however_far_its_list_is() {
    for status in ["pending", "available", "assigned", "active"] {
        let (hall, apple, bot) = hall().await;
        let order = list_in(&hall, status, apple, &bot).await;
        let event = hall.order_canceled(order, Some("TOO_LATE")).await;
        hall.deliver(event.clone()).await.unwrap();
        let list = hall.list(order).await;
        assert_eq!((&list["status"], &list["reason"]), (&json!("canceled"), &json!("TOO_LATE")), "{status}");
        let canceled = hall.of_list(order, "ShoppingListCanceled").await.unwrap();
        assert_eq!((canceled.causation, canceled.correlation), (Some(event.id), event.correlation));
        assert_eq!(canceled.actor.as_str(), "policy:cancel-shopping-on-cancellation");
        hall.deliver(canceled).await.unwrap();
        assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None), "{status}");
    }
}

#[tokio::test]
async fn a_cancellation_that_comes_again_cancels_once_and_without_a_reason_says_why_all_the_same() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    let event = hall.order_canceled(order, None).await;
    for copy in copies(&event) {
        hall.deliver(copy).await.unwrap();
        let list = hall.list(order).await;
        assert_eq!((&list["reason"], &list["version"]), (&json!("ORDER_CANCELLED"), &json!(4)));
    }
}

#[tokio::test]
async fn a_cancellation_that_comes_first_without_its_body_is_carried_out() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    let event = hall.order_canceled(order, Some("TOO_LATE")).await;
    hall.deliver(Envelope { data: None, ..event }).await.unwrap();
    assert_eq!(hall.list(order).await["reason"], "TOO_LATE");
    hall.deliver(Envelope { data: None, ..hall.of_list(order, "ShoppingListCanceled").await.unwrap() })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_list_whose_order_was_cancelled_before_it_was_made_never_is() {
    let (hall, apple, _) = hall().await;
    let order = hall.ordered(&[(apple, 1)]).await;
    let event = hall.order_canceled(order, None).await;
    for copy in copies(&event) {
        hall.deliver(copy).await.unwrap();
    }
    let refused = Err("SHOPPING_LIST_WAS_CANCELLED".into());
    assert_eq!(hall.step("CreateShoppingList", order).await, refused);
    assert!(
        hall.step("CancelShoppingList", order).await.is_ok(),
        "the saga's compensation has nothing to undo"
    );
    let of_list =
        hall.written("depot").await.into_iter().filter(|e| e.event_type.starts_with("ShoppingList"));
    let of_list: Vec<Envelope> = of_list.collect();
    assert_eq!(of_list.len(), 1, "{of_list:?}");
    hall.deliver(of_list[0].clone()).await.unwrap();
    hall.refused("GET", &path(order, ""), Value::Null, 404, "SHOPPING_LIST_NOT_FOUND").await;
}

#[tokio::test]
async fn d12_what_was_collected_stays_collected_and_keeps_no_cancellation_from_going_on() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "active", apple, &bot).await;
    hall.complete(order).await;
    let event = hall.order_canceled(order, None).await;
    for copy in copies(&event) {
        hall.deliver(copy).await.unwrap();
    }
    assert!(hall.step("CancelShoppingList", order).await.is_ok(), "the saga goes on to the stock");
    let list = hall.list(order).await;
    assert_eq!((&list["status"], &list["version"]), (&json!("completed"), &json!(5)));
    hall.settle().await;
    assert_eq!(hall.bot_status(&bot).await, ("idle".to_owned(), None), "its bot is free");
}

#[tokio::test]
async fn a_list_that_the_depot_cancelled_keeps_its_own_reason() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    hall.ok("POST", &path(order, ""), json!({ "reason": "SHELF_IS_EMPTY" })).await;
    let event = hall.order_canceled(order, Some("TOO_LATE")).await;
    hall.deliver(event).await.unwrap();
    let list = hall.list(order).await;
    assert_eq!((&list["reason"], &list["version"]), (&json!("SHELF_IS_EMPTY"), &json!(3)));
}

#[tokio::test]
async fn a_cancellation_leaves_the_lists_and_bots_of_other_orders_alone() {
    let (hall, apple, bot) = hall().await;
    let (order, other) =
        (list_in(&hall, "assigned", apple, &bot).await, list_in(&hall, "available", apple, &bot).await);
    let event = hall.order_canceled(other, None).await;
    hall.deliver(event).await.unwrap();
    hall.settle().await;
    assert_eq!((hall.status(order).await, hall.status(other).await), ("assigned".into(), "canceled".into()));
    assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(order).to_string()));
}

#[tokio::test]
async fn d11_an_order_cancelled_while_its_saga_runs_leaves_no_list_to_collect_whatever_overtakes_what() {
    const STEPS: [&str; 5] =
        ["CreateShoppingList", "InitiateShopping", "CancelShoppingList", "OrderCanceled", "OrderCanceled"];
    let mut ends = std::collections::BTreeMap::new();
    // Every order of the five, each as the digits of a number; numbers with a digit twice are none.
    for number in 0..5_usize.pow(5) {
        let digits: Vec<usize> = (0..5).map(|place| number / 5_usize.pow(place) % 5).collect();
        if (0..5).any(|digit| !digits.contains(&digit)) {
            continue;
        }
        let (hall, apple, bot) = hall().await;
        let order = hall.ordered(&[(apple, 1)]).await;
        let event = hall.order_canceled(order, None).await;
        for step in digits.iter().map(|&digit| STEPS[digit]) {
            match step {
                "OrderCanceled" => hall.deliver(event.clone()).await.unwrap(),
                "CancelShoppingList" => drop(hall.step(step, order).await.unwrap()),
                _ => {
                    let expected = [
                        "SHOPPING_LIST_WAS_CANCELLED",
                        "SHOPPING_LIST_NOT_FOUND",
                        "SHOPPING_CANNOT_BE_INITIATED",
                    ];
                    let answer = hall.step(step, order).await;
                    assert!(
                        answer.as_ref().err().is_none_or(|code| expected.contains(&code.as_str())),
                        "{answer:?}"
                    );
                }
            }
        }
        let read = hall.send("GET", &path(order, ""), Value::Null).await;
        let end = read.body["shoppingList"]["status"].as_str().unwrap_or("none").to_owned();
        *ends.entry(end).or_insert(0) += 1;
        let body = json!({ "botId": bot });
        let assigned = hall.send("PUT", &path(order, "assign"), body).await;
        assert!([400, 404].contains(&assigned.status), "{:?}", assigned.body);
    }
    // Made first of all in a quarter of them (of create and three cancellations), initiated or not.
    assert_eq!(ends, [("canceled".to_owned(), 30), ("none".to_owned(), 90)].into());
}

#[tokio::test]
async fn a_list_that_is_made_and_cancelled_at_the_same_moment_is_not_collected_whoever_is_first() {
    let (hall, apple, _) = hall().await;
    let order = hall.ordered(&[(apple, 1)]).await;
    let (event, depot) = (hall.order_canceled(order, None).await, hall.depot());
    let cancelled =
        OnAppend::after(move || async move { depot.cancel_shopping_on_cancellation(event).await.unwrap() });
    hall.log.on_append([cancelled]);
    let made = hall.step("CreateShoppingList", order).await;
    assert_eq!(made, Err("SHOPPING_LIST_WAS_CANCELLED".into()));

    let order = hall.ordered(&[(apple, 1)]).await;
    let event = hall.order_canceled(order, None).await;
    let make = lambda::use_case(&hall.planner(), &hall.world.ports(), Planner::create_shopping_list);
    let call = json!({ "id": shopping_list_of(order), "body": { "orderId": order } });
    let made = OnAppend::after(move || async move { drop(make.invoke(call).await.unwrap()) });
    hall.log.on_append([made]);
    hall.deliver(event).await.unwrap();
    let list = hall.list(order).await;
    assert_eq!((&list["status"], &list["version"]), (&json!("canceled"), &json!(2)));
}

#[tokio::test]
async fn a_cancellation_at_the_very_moment_of_the_assignment_gives_the_bot_no_list() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    let event = hall.order_canceled(order, None).await;
    let depot = hall.depot();
    // Between the bot's half and the list's half.
    let cancelled = OnAppend::after(move || async move {
        depot.cancel_shopping_on_cancellation(event).await.unwrap();
    });
    hall.log.on_append([OnAppend::Healthy, cancelled]);
    let assign = path(order, "assign");
    hall.refused("PUT", &assign, json!({ "botId": bot }), 400, "SHOPPING_CANNOT_BE_ASSIGNED").await;
    assert_eq!(hall.status(order).await, "canceled");
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
}

#[tokio::test]
async fn an_assignment_at_the_very_moment_of_the_cancellation_is_cancelled_and_its_bot_is_free() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    let event = hall.order_canceled(order, None).await;
    let (depot, world) = (hall.depot(), hall.world.ports());
    let assign = lambda::use_case(&depot, &world, Depot::assign_shopping_list);
    let call = json!({ "id": shopping_list_of(order), "body": { "botId": bot } });
    let assigned = OnAppend::after(move || async move { drop(assign.invoke(call).await.unwrap()) });
    hall.log.on_append([assigned]);
    hall.deliver(event).await.unwrap();
    let list = hall.list(order).await;
    assert_eq!((&list["status"], &list["botId"]), (&json!("canceled"), &json!(bot)));
    hall.settle().await;
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
}

#[tokio::test]
async fn a_bot_is_freed_once_when_its_list_ends_however_often_that_is_heard() {
    for (ended, event_type) in [("completed", "ShoppingListCompleted"), ("canceled", "ShoppingListCanceled")]
    {
        let (hall, apple, bot) = hall().await;
        let order = list_in(&hall, "assigned", apple, &bot).await;
        match ended {
            "completed" => drop(hall.complete(order).await),
            _ => drop(hall.ok("DELETE", &path(order, ""), Value::Null).await),
        }
        assert_eq!(hall.bot_status(&bot).await.0, "active", "it has not heard yet");
        let event = hall.of_list(order, event_type).await.unwrap();
        for copy in copies(&event) {
            hall.deliver(copy).await.unwrap();
            assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
        }
        let idled = hall.written("depot").await.into_iter().filter(|event| event.event_type == "BotIdled");
        assert_eq!(idled.count(), 1, "{ended}");
    }
}

#[tokio::test]
async fn an_old_end_that_is_heard_late_does_not_take_the_next_list_from_a_bot() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    hall.complete(order).await;
    let event = hall.of_list(order, "ShoppingListCompleted").await.unwrap();
    hall.deliver(event.clone()).await.unwrap();
    let next = list_in(&hall, "assigned", apple, &bot).await;
    for copy in copies(&event) {
        hall.deliver(copy).await.unwrap();
        assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(next).to_string()));
    }
}

#[tokio::test]
async fn a_list_that_ends_without_a_bot_frees_none() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    let busy = list_in(&hall, "assigned", apple, &bot).await;
    hall.ok("DELETE", &path(order, ""), Value::Null).await;
    let before = hall.written("depot").await.len();
    hall.deliver(hall.of_list(order, "ShoppingListCanceled").await.unwrap()).await.unwrap();
    assert_eq!(hall.written("depot").await.len(), before);
    assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(busy).to_string()));
}

#[tokio::test]
async fn what_cannot_be_written_goes_back_to_its_queue_and_is_done_when_it_comes_again() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    let event = hall.order_canceled(order, None).await;
    hall.log.on_append([OnAppend::Throttled]);
    let fault = hall.deliver(event.clone()).await.unwrap_err();
    assert!(fault.is_technical(), "{fault}");
    assert_eq!(hall.status(order).await, "assigned");
    hall.deliver(event).await.unwrap();
    let canceled = hall.of_list(order, "ShoppingListCanceled").await.unwrap();
    hall.log.on_append([OnAppend::Throttled]);
    let fault = hall.deliver(canceled.clone()).await.unwrap_err();
    assert!(fault.is_technical(), "{fault}");
    assert_eq!(hall.bot_status(&bot).await.0, "active");
    hall.deliver(canceled).await.unwrap();
    assert_eq!(hall.bot_status(&bot).await.0, "idle");
}

/// Events that no policy can answer: their bodies make no sense, there is no such event, or no such thing.
fn poisoned(event: &Envelope) -> Vec<Envelope> {
    let of = |stream: &str| format!("{}/{stream}", event.stream.category()).parse().unwrap();
    vec![
        Envelope { data: Some(json!({ "reason": 7, "botId": "R2", "orderId": false })), ..event.clone() },
        Envelope { data: Some(json!("noise")), ..event.clone() },
        Envelope { event_type: "SomethingElse".into(), ..event.clone() },
        Envelope { schema: 99, ..event.clone() },
        Envelope { data: None, version: Version::new(99), ..event.clone() },
        Envelope { stream: of("not-an-id"), ..event.clone() },
    ]
}

#[tokio::test]
async fn an_event_that_cannot_be_answered_is_an_error_and_not_swallowed() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    let order_canceled = hall.order_canceled(order, None).await;
    let other = list_in(&hall, "available", apple, &bot).await;
    hall.ok("DELETE", &path(other, ""), Value::Null).await;
    let list_canceled = hall.of_list(other, "ShoppingListCanceled").await.unwrap();
    let before = hall.written("depot").await.len();
    for event in poisoned(&order_canceled) {
        let fault = hall.depot().cancel_shopping_on_cancellation(event.clone()).await;
        assert_eq!(fault.unwrap_err().status, 500, "{event:?}");
    }
    for mut event in poisoned(&list_canceled) {
        if event.stream.id() == "not-an-id" {
            event.data = Some(json!({ "orderId": other, "botId": bot, "reason": "X" }));
        }
        assert_eq!(hall.depot().free_bot(event.clone()).await.unwrap_err().status, 500, "{event:?}");
    }
    assert_eq!(hall.written("depot").await.len(), before);
    assert_eq!(hall.status(order).await, "assigned");
}

#[tokio::test]
async fn a_bot_that_there_is_not_is_an_error_and_no_ghost_is_freed() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    hall.complete(order).await;
    let mut event = hall.of_list(order, "ShoppingListCompleted").await.unwrap();
    event.data = Some(json!({ "orderId": order, "botId": hall::UNKNOWN }));
    let before = hall.written("depot").await.len();
    assert_eq!(hall.deliver(event).await.unwrap_err().code, "BOT_NOT_FOUND");
    assert_eq!(hall.written("depot").await.len(), before);
}

#[tokio::test]
async fn an_event_that_no_policy_answers_is_a_mistake_in_the_template() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    let stream = format!("ordering.Order/{order}").parse().unwrap();
    let created = hall.store.event(&stream, Version::FIRST).await.unwrap().unwrap();
    let assigned = hall.of_list(order, "ShoppingListAssigned").await.unwrap();
    for fault in [
        hall.depot().cancel_shopping_on_cancellation(created).await.unwrap_err(),
        hall.depot().free_bot(assigned).await.unwrap_err(),
    ] {
        assert!(fault.to_string().contains("check its rule"), "{fault}");
    }
}

#[tokio::test]
async fn what_cannot_be_answered_goes_back_to_the_queue_alone() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    let event = hall.order_canceled(order, None).await;
    let poison = Envelope { data: Some(json!("noise")), ..event.clone() };
    let message = |id: &str, event: &Envelope| json!({ "messageId": id, "body": json!({ "detail": event }).to_string(), "eventSource": "aws:sqs" });
    let batch = json!({ "Records": [message("poison", &poison), message("good", &event)] });
    let policy = consumer(&hall.depot(), Depot::cancel_shopping_on_cancellation);
    let answer = policy.invoke(batch).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([{ "itemIdentifier": "poison" }]));
    let listed = hall.send("GET", &format!("{SHOPPING}/{}", shopping_list_of(order)), Value::Null).await;
    assert_eq!(listed.body["shoppingList"]["status"], "canceled");
}
