//! Undone orders and ended lists: whatever overtakes what, no bot collects for nobody, and bots are free
//! again.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod hall;

use contracts::{
    Envelope,
    ids::{OrderId, shopping_list_of},
    ordering::OrderEvent,
};
use depot::{Depot, Planner};
use hall::{Goods, Hall, approved, cancelled, path, rejected};
use kernel::{Uuid, Version};
use std::sync::Arc;

use lambda::{MemoryQueue, Messages, consumer};
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
        hall.undo(order).await;
        let list = hall.list(order).await;
        assert_eq!((&list["status"], &list["reason"]), (&json!("canceled"), &json!("WILTED")), "{status}");
        let canceled = hall.of_list(order, "ShoppingListCanceled").await.unwrap();
        assert_eq!(canceled.actor.as_str(), "saga:undo");
        hall.deliver(canceled).await.unwrap();
        assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None), "{status}");
    }
}

#[tokio::test]
async fn d12_what_was_collected_stays_collected_and_keeps_no_cancellation_from_going_on() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "active", apple, &bot).await;
    hall.complete(order).await;
    hall.undo(order).await;
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
    hall.undo(order).await;
    let list = hall.list(order).await;
    assert_eq!((&list["reason"], &list["version"]), (&json!("SHELF_IS_EMPTY"), &json!(3)));
}

#[tokio::test]
async fn an_undo_leaves_the_lists_and_bots_of_other_orders_alone() {
    let (hall, apple, bot) = hall().await;
    let (order, other) =
        (list_in(&hall, "assigned", apple, &bot).await, list_in(&hall, "available", apple, &bot).await);
    hall.undo(other).await;
    hall.settle().await;
    assert_eq!((hall.status(order).await, hall.status(other).await), ("assigned".into(), "canceled".into()));
    assert_eq!(hall.bot_status(&bot).await.1, Some(shopping_list_of(order).to_string()));
}

/// An order in whose placement the list was `made` or not, and then this happened.
async fn and_then(hall: &Hall, made: bool, goods: Goods, event: OrderEvent) -> OrderId {
    let order = hall.ordered(&[(goods, 1)]).await;
    if made {
        hall.step("CreateShoppingList", order).await.unwrap();
    }
    hall.happened(order, event).await;
    order
}

#[tokio::test]
async fn a_placement_that_is_started_again_after_the_approval_writes_nothing() {
    let (hall, apple, _) = hall().await;
    for made in [true, false] {
        let order = and_then(&hall, made, apple, approved()).await;
        let before = hall.written("depot").await.len();
        for step in ["CreateShoppingList", "InitiateShopping"] {
            assert_eq!(hall.step(step, order).await, Ok(json!({ "id": shopping_list_of(order) })), "{step}");
        }
        assert_eq!(hall.written("depot").await.len(), before);
    }
}

#[tokio::test]
async fn a_step_for_an_order_that_is_over_writes_nothing() {
    let (hall, apple, _) = hall().await;
    for (made, end) in [(true, rejected()), (false, rejected()), (true, cancelled()), (false, cancelled())] {
        let order = and_then(&hall, made, apple, end).await;
        let before = hall.written("depot").await.len();
        for step in ["CreateShoppingList", "InitiateShopping"] {
            assert_eq!(hall.step(step, order).await, Err("ORDER_IS_OVER".into()), "{step}");
        }
        assert_eq!(hall.written("depot").await.len(), before);
    }
}

#[tokio::test]
async fn d11_an_order_cancelled_while_its_saga_runs_leaves_no_list_to_collect_whatever_overtakes_what() {
    // A step between CancelShoppingList and OrderCanceled stands for one that read the order before both.
    const STEPS: [&str; 5] = [
        "CreateShoppingList",
        "InitiateShopping",
        "OrderCanceled",
        "CancelShoppingList",
        "CancelShoppingList",
    ];
    let mut ends = std::collections::BTreeMap::new();
    // Every order of the five, each as the digits of a number; numbers with a digit twice are none.
    for number in 0..5_usize.pow(5) {
        let digits: Vec<usize> = (0..5).map(|place| number / 5_usize.pow(place) % 5).collect();
        if (0..5).any(|digit| !digits.contains(&digit)) {
            continue;
        }
        let (hall, apple, bot) = hall().await;
        let order = hall.ordered(&[(apple, 1)]).await;
        for step in digits.iter().map(|&digit| STEPS[digit]) {
            match step {
                "OrderCanceled" => hall.happened(order, cancelled()).await,
                "CancelShoppingList" => drop(hall.step(step, order).await.unwrap()),
                _ => {
                    let expected = [
                        "ORDER_IS_OVER",
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
async fn a_list_that_is_made_at_the_very_moment_of_the_undo_is_not_collected_whoever_is_first() {
    let (hall, apple, _) = hall().await;
    let order = hall.ordered(&[(apple, 1)]).await;
    let undo = hall.undo(order);
    hall.log.on_append([OnAppend::after(move || undo)]);
    let made = hall.step("CreateShoppingList", order).await;
    assert_eq!(made, Err("SHOPPING_LIST_WAS_CANCELLED".into()));
    assert!(hall.of_list(order, "ShoppingListCreated").await.is_none());

    let order = hall.ordered(&[(apple, 1)]).await;
    let make = lambda::use_case(&hall.planner(), &hall.world.ports(), Planner::create_shopping_list);
    let call = json!({ "id": shopping_list_of(order), "body": { "orderId": order } });
    let made = OnAppend::after(move || async move { drop(make.invoke(call).await.unwrap()) });
    hall.log.on_append([made]);
    hall.step("CancelShoppingList", order).await.unwrap();
    let list = hall.list(order).await;
    assert_eq!((&list["status"], &list["version"]), (&json!("canceled"), &json!(2)));
}

#[tokio::test]
async fn a_list_that_is_initiated_at_the_very_moment_of_the_undo_does_not_wait_for_a_bot() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "pending", apple, &bot).await;
    let undo = hall.undo(order);
    hall.log.on_append([OnAppend::after(move || undo)]);
    let initiated = hall.step("InitiateShopping", order).await;
    assert_eq!(initiated, Err("SHOPPING_CANNOT_BE_INITIATED".into()));
    assert_eq!(hall.status(order).await, "canceled");
}

#[tokio::test]
async fn an_undo_at_the_very_moment_of_the_assignment_gives_the_bot_no_list() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    let undo = hall.undo(order);
    // Between the bot's half and the list's half.
    hall.log.on_append([OnAppend::Healthy, OnAppend::after(move || undo)]);
    let assign = path(order, "assign");
    hall.refused("PUT", &assign, json!({ "botId": bot }), 400, "SHOPPING_CANNOT_BE_ASSIGNED").await;
    assert_eq!(hall.status(order).await, "canceled");
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
}

#[tokio::test]
async fn an_assignment_at_the_very_moment_of_the_undo_is_cancelled_and_its_bot_is_free() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "available", apple, &bot).await;
    let assign = lambda::use_case(&hall.depot(), &hall.world.ports(), Depot::assign_shopping_list);
    let call = json!({ "id": shopping_list_of(order), "body": { "botId": bot } });
    let assigned = OnAppend::after(move || async move { drop(assign.invoke(call).await.unwrap()) });
    // The order is closed, then the list is cancelled.
    hall.log.on_append([OnAppend::Healthy, assigned]);
    hall.undo(order).await;
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
    hall.undo(order).await;
    let canceled = hall.of_list(order, "ShoppingListCanceled").await.unwrap();
    hall.log.on_append([OnAppend::Throttled]);
    let fault = hall.deliver(canceled.clone()).await.unwrap_err();
    assert!(fault.is_technical(), "{fault}");
    assert_eq!(hall.bot_status(&bot).await.0, "active");
    hall.deliver(canceled).await.unwrap();
    assert_eq!(hall.bot_status(&bot).await.0, "idle");
}

/// Events that the policy cannot answer: their bodies make no sense, no such event or thing exists.
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
    let other = list_in(&hall, "available", apple, &bot).await;
    hall.ok("DELETE", &path(other, ""), Value::Null).await;
    let list_canceled = hall.of_list(other, "ShoppingListCanceled").await.unwrap();
    let before = hall.written("depot").await.len();
    for mut event in poisoned(&list_canceled) {
        if event.stream.id() == "not-an-id" {
            event.data = Some(json!({ "orderId": other, "botId": bot, "reason": "X" }));
        }
        let fault = hall.depot().free_bot(event.clone()).await.unwrap_err();
        assert!(fault.is_poison || fault.code == "EVENT_IS_UNKNOWN", "{event:?}: {fault:?}");
    }
    assert_eq!(hall.written("depot").await.len(), before);
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
    let assigned = hall.of_list(order, "ShoppingListAssigned").await.unwrap();
    let fault = hall.depot().free_bot(assigned).await.unwrap_err();
    assert!(fault.to_string().contains("check its rule"), "{fault}");
}

#[tokio::test]
async fn what_can_never_be_answered_is_parked_alone() {
    let (hall, apple, bot) = hall().await;
    let order = list_in(&hall, "assigned", apple, &bot).await;
    hall.undo(order).await;
    let event = hall.of_list(order, "ShoppingListCanceled").await.unwrap();
    let poison = Envelope { data: Some(json!("noise")), ..event.clone() };
    let message = |id: &str, event: &Envelope| json!({ "messageId": id, "body": json!({ "detail": event }).to_string(), "eventSource": "aws:sqs" });
    let batch = json!({ "Records": [message("poison", &poison), message("good", &event)] });
    let queue = MemoryQueue::default();
    let messages = Messages::new(Arc::new(queue.clone()), hall.world.ports());
    let answer = consumer(&hall.depot(), &messages, Depot::free_bot).invoke(batch).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    assert_eq!(queue.asked().parked.into_keys().collect::<Vec<_>>(), ["poison"]);
    assert_eq!(hall.bot_status(&bot).await, ("idle".into(), None));
}
