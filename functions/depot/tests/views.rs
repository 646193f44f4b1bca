//! The work queue, all lists and all bots, however the bus delivers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{sync::Arc, time::Duration};

use contracts::{
    Envelope,
    ids::{BotId, OrderId, ShoppingListId, shopping_list_of},
};
use depot::{
    bot::{Bot, BotCommand},
    shopping_list::{Line, ShoppingList, ShoppingListCommand, stops},
    views::{ALL_BOTS, ALL_LISTS, BOTS_BY_STATUS, Bots, LISTS_BY_STATUS, ShoppingLists},
};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Aggregate, Id, StreamId};
use projection::{
    Consistency, Content, DeliverError, Index, ListRequest, MemoryViews, Page, Projection, Projector,
    ViewStore,
};
use testing::{Hostility, TestPorts, hostile};

/// An event table, and the people who fill it.
struct Stage {
    world: TestPorts,
    store: EventStore,
}

fn order(n: u32) -> OrderId {
    Id::derived(&["order", &n.to_string()])
}

fn list_id(n: u32) -> ShoppingListId {
    shopping_list_of(order(n))
}

fn bot(n: u32) -> BotId {
    Id::derived(&["bot", &n.to_string()])
}

/// What each list of the busy depot ends as.
const ENDS: [&str; 8] =
    ["pending", "available", "assigned", "active", "completed", "canceled", "never made", "available"];

impl Stage {
    fn new() -> Self {
        let world = TestPorts::new(1);
        let store = EventStore::new(Arc::new(MemoryLog::new()), world.ports());
        Self { world, store }
    }

    async fn send<A, K>(&self, id: Id<K>, command: A::Command)
    where
        A: Aggregate<Command: Clone + serde::Serialize>,
    {
        self.world.advance(Duration::from_secs(1));
        let stream = StreamId::of::<A, K>(id);
        let meta = self.world.command("depot");
        self.store.transact::<A>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    async fn list(&self, n: u32, command: ShoppingListCommand) {
        self.send::<ShoppingList, _>(list_id(n), command).await;
    }

    /// A list with `n + 3` pieces in two stores.
    async fn create(&self, n: u32) {
        let line = |store: &str, product: &str, quantity: u32| Line {
            store_id: Id::derived(&["store", store]),
            store_name: store.to_owned(),
            store_location: "Hall 1".into(),
            product_id: Id::derived(&["product", product]),
            product_name: product.to_owned(),
            quantity,
        };
        let lines =
            [line("Fruit & Veg", "Apple", n), line("Fruit & Veg", "Pear", 1), line("Bakery", "Bread", 2)];
        let lines = lines.into_iter().filter(|line| line.quantity > 0);
        let create =
            ShoppingListCommand::Create { order_id: order(n), stops: stops(lines).unwrap(), not_sold: None };
        self.list(n, create).await;
    }

    /// Lists of every end, created in their order but moved on in the opposite one; and a bot for each, of which those
    /// whose list has ended are idle.
    async fn busy() -> Self {
        let stage = Self::new();
        let all = || (0_u32..).zip(ENDS);
        for (n, end) in all() {
            stage.send::<Bot, _>(bot(n), BotCommand::Register { name: format!("R{n}") }).await;
            if end != "never made" {
                stage.create(n).await;
            }
        }
        for (n, end) in all().collect::<Vec<_>>().into_iter().rev() {
            stage.move_on(n, end).await;
        }
        stage
    }

    async fn move_on(&self, n: u32, end: &str) {
        if end == "never made" {
            let (order_id, reason) = (order(n), "TOO_LATE".to_owned());
            return self.list(n, ShoppingListCommand::Withdraw { order_id, reason }).await;
        }
        if end == "pending" {
            return;
        }
        self.list(n, ShoppingListCommand::Initiate { order_id: None }).await;
        if end == "available" {
            return;
        }
        let (bot_id, shopping_list_id) = (bot(n), list_id(n));
        self.send::<Bot, _>(bot_id, BotCommand::Activate { shopping_list_id, lost: None }).await;
        self.list(n, ShoppingListCommand::Assign { bot_id }).await;
        if end == "assigned" {
            return;
        }
        self.list(n, ShoppingListCommand::Start { bot_id: None }).await;
        match end {
            "active" => return,
            "completed" => self.list(n, ShoppingListCommand::Complete).await,
            "canceled" => self.list(n, ShoppingListCommand::Cancel { reason: "WILTED".into() }).await,
            other => panic!("no list ends as {other}"),
        }
        self.send::<Bot, _>(bot_id, BotCommand::Idle { shopping_list_id }).await;
    }

    async fn history<P: Projection>(&self) -> Vec<Envelope> {
        let page = self.store.scan(Segment::WHOLE, None, None).await.unwrap();
        let commits = page.commits.iter().filter(|commit| commit.stream.category() == P::CATEGORY);
        commits.flat_map(|commit| commit.envelopes().collect::<Vec<_>>()).collect()
    }

    fn view<P: Projection>(&self) -> (MemoryViews<P>, Projector<P>) {
        let rows = MemoryViews::<P>::new();
        (rows.clone(), Projector::new(Arc::new(rows), self.store.clone(), self.world.ports()))
    }

    async fn in_order<P: Projection>(&self) -> (MemoryViews<P>, Projector<P>) {
        let (rows, projector) = self.view();
        let outcome = projector.deliver_batch(&self.history::<P>().await).await;
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        (rows, projector)
    }
}

async fn page<P: Projection>(
    projector: &Projector<P>,
    index: &Index,
    partition: &str,
    limit: Option<u32>,
    cursor: Option<String>,
) -> Page<P::Row> {
    let request = ListRequest { partition: partition.to_owned(), descending: false, cursor, limit };
    projector.list(index, &request).await.unwrap()
}

/// The lists of one partition, as the numbers they have here.
async fn numbers(lists: &Projector<ShoppingLists>, index: &Index, partition: &str) -> Vec<u32> {
    let rows = page(lists, index, partition, None, None).await.rows;
    let number = |id: ShoppingListId| (0..100).find(|&n| list_id(n) == id).unwrap();
    rows.into_iter().map(|row| number(row.id)).collect()
}

/// Delivers a hostile history, one by one or in batches, and wants the rows of an orderly one.
async fn same_rows_as_in_order<P: Projection>() {
    let stage = Stage::busy().await;
    let history = stage.history::<P>().await;
    let (orderly, _) = stage.in_order::<P>().await;
    for seed in 0..60 {
        let hostility = if seed % 3 == 0 { Hostility::SHUFFLED } else { Hostility::WORST };
        let delivered = hostile(&history, seed, hostility);
        let (rows, projector) = stage.view::<P>();
        if seed % 2 == 0 {
            for envelope in &delivered {
                projector.deliver(envelope).await.unwrap();
            }
        } else {
            for batch in delivered.chunks(10) {
                assert!(projector.deliver_batch(batch).await.failed.is_empty());
            }
        }
        for envelope in &history {
            let id = envelope.stream.id();
            let found = rows.get(id, Consistency::Strong).await.unwrap();
            let wanted = orderly.get(id, Consistency::Strong).await.unwrap();
            assert!(found == wanted && wanted.is_some(), "seed {seed}: row {id} of {} differs", P::NAME);
        }
    }
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_lists_as_an_orderly_one_does() {
    same_rows_as_in_order::<ShoppingLists>().await;
}

#[tokio::test]
async fn a_hostile_bus_leaves_the_bots_as_an_orderly_one_does() {
    same_rows_as_in_order::<Bots>().await;
}

#[tokio::test]
async fn the_work_queue_holds_what_waits_for_a_bot_and_the_oldest_first() {
    let stage = Stage::busy().await;
    let (_, lists) = stage.in_order::<ShoppingLists>().await;
    // List 7 was available long before list 1, which was made first.
    assert_eq!(numbers(&lists, &LISTS_BY_STATUS, "available").await, [1, 7]);
    let rows = page(&lists, &LISTS_BY_STATUS, "available", None, None).await.rows;
    let found: Vec<_> =
        rows.iter().map(|row| (row.status.as_str(), row.stops, row.pieces, row.bot_id)).collect();
    assert_eq!(found, [("available", 2, 4, None), ("available", 2, 10, None)]);
    assert!(rows.iter().all(|row| row.changed_at > row.created_at), "{rows:?}");
}

#[tokio::test]
async fn a_list_is_in_the_work_queue_from_its_initiation_to_its_assignment() {
    let stage = Stage::new();
    let (_, lists) = stage.view::<ShoppingLists>();
    stage.create(1).await;
    let bot_id = bot(1);
    let mut queued = Vec::new();
    for command in [
        None,
        Some(ShoppingListCommand::Initiate { order_id: None }),
        Some(ShoppingListCommand::Assign { bot_id }),
        Some(ShoppingListCommand::Start { bot_id: None }),
        Some(ShoppingListCommand::Complete),
    ] {
        if let Some(command) = command {
            stage.list(1, command).await;
        }
        lists.deliver(stage.history::<ShoppingLists>().await.last().unwrap()).await.unwrap();
        queued.push(numbers(&lists, &LISTS_BY_STATUS, "available").await.len());
    }
    assert_eq!(queued, [0, 1, 0, 0, 0]);
    stage.create(2).await;
    stage.list(2, ShoppingListCommand::Initiate { order_id: None }).await;
    stage.list(2, ShoppingListCommand::Cancel { reason: "WILTED".into() }).await;
    let history = stage.history::<ShoppingLists>().await;
    assert!(lists.deliver_batch(&history).await.failed.is_empty());
    assert!(
        numbers(&lists, &LISTS_BY_STATUS, "available").await.is_empty(),
        "a cancelled list waits for no bot"
    );
}

#[tokio::test]
async fn every_list_is_found_by_its_status_and_one_that_was_never_made_is_not_shown() {
    let stage = Stage::busy().await;
    let (rows, lists) = stage.in_order::<ShoppingLists>().await;
    assert_eq!(numbers(&lists, &ALL_LISTS, "depot").await, [0, 1, 2, 3, 4, 5, 7]);
    for (status, wanted) in
        [("pending", 0), ("assigned", 2), ("active", 3), ("completed", 4), ("canceled", 5)]
    {
        assert_eq!(numbers(&lists, &LISTS_BY_STATUS, status).await, [wanted], "{status}");
        let row = page(&lists, &LISTS_BY_STATUS, status, None, None).await.rows.remove(0);
        assert_eq!(row.bot_id, (status != "pending").then(|| bot(wanted)), "{status}");
        assert_eq!(row.reason.as_deref(), (status == "canceled").then_some("WILTED"), "{status}");
    }
    let never_made = rows.get(&list_id(6).to_string(), Consistency::Strong).await.unwrap().unwrap();
    assert!(matches!(never_made.content, Content::Row(_)), "the row stays, and keeps the version");
}

#[tokio::test]
async fn an_old_event_that_comes_late_does_not_put_a_list_back_into_the_work_queue() {
    let stage = Stage::busy().await;
    let (_, lists) = stage.in_order::<ShoppingLists>().await;
    for event in stage.history::<ShoppingLists>().await {
        if event.event_type == "ShoppingListInitiated" {
            lists.deliver(&event).await.unwrap();
        }
    }
    assert_eq!(numbers(&lists, &LISTS_BY_STATUS, "available").await, [1, 7]);
}

#[tokio::test]
async fn d28_lists_come_page_by_page_and_every_one_once_though_they_move_on_meanwhile() {
    let stage = Stage::busy().await;
    let (_, lists) = stage.in_order::<ShoppingLists>().await;
    let first = page(&lists, &ALL_LISTS, "depot", Some(4), None).await;
    stage.list(0, ShoppingListCommand::Initiate { order_id: None }).await;
    stage.list(1, ShoppingListCommand::Cancel { reason: "WILTED".into() }).await;
    assert!(lists.deliver_batch(&stage.history::<ShoppingLists>().await).await.failed.is_empty());
    let second = page(&lists, &ALL_LISTS, "depot", Some(4), first.next.clone()).await;
    assert!(first.next.is_some() && second.next.is_none());
    let ids: Vec<ShoppingListId> = first.rows.iter().chain(&second.rows).map(|row| row.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 7].map(list_id));
}

#[tokio::test]
async fn d28_the_work_queue_comes_page_by_page_though_lists_are_taken_from_it_meanwhile() {
    let stage = Stage::new();
    for n in 0..9 {
        stage.create(n).await;
        stage.list(n, ShoppingListCommand::Initiate { order_id: None }).await;
    }
    let (_, lists) = stage.in_order::<ShoppingLists>().await;
    let first = page(&lists, &LISTS_BY_STATUS, "available", Some(4), None).await;
    // The cursor's own list is gone, and one of the next page.
    for n in [3, 5] {
        stage.list(n, ShoppingListCommand::Assign { bot_id: bot(n) }).await;
    }
    assert!(lists.deliver_batch(&stage.history::<ShoppingLists>().await).await.failed.is_empty());
    let second = page(&lists, &LISTS_BY_STATUS, "available", Some(4), first.next.clone()).await;
    let ids = |page: &Page<_>| -> Vec<ShoppingListId> {
        page.rows.iter().map(|row: &depot::views::ShoppingListRow| row.id).collect()
    };
    assert_eq!(
        (ids(&first), ids(&second)),
        ([0, 1, 2, 3].map(list_id).into(), [4, 6, 7, 8].map(list_id).into())
    );
}

#[tokio::test]
async fn bots_are_found_by_what_they_do_in_the_order_in_which_they_were_registered() {
    let stage = Stage::busy().await;
    let (_, bots) = stage.in_order::<Bots>().await;
    let found = async |index: &Index, partition: &str| -> Vec<(String, Option<ShoppingListId>)> {
        let rows = page(&bots, index, partition, None, None).await.rows;
        rows.into_iter().map(|row| (row.name, row.shopping_list_id)).collect()
    };
    let busy = |n: u32| (format!("R{n}"), Some(list_id(n)));
    let idle = |n: u32| (format!("R{n}"), None);
    assert_eq!(found(&BOTS_BY_STATUS, "active").await, [2, 3].map(busy));
    assert_eq!(found(&BOTS_BY_STATUS, "idle").await, [0, 1, 4, 5, 6, 7].map(idle));
    let all = [idle(0), idle(1), busy(2), busy(3), idle(4), idle(5), idle(6), idle(7)];
    assert_eq!(found(&ALL_BOTS, "depot").await, all);
    let first = page(&bots, &ALL_BOTS, "depot", Some(5), None).await;
    let command = BotCommand::Activate { shopping_list_id: list_id(7), lost: None };
    stage.send::<Bot, _>(bot(0), command).await;
    assert!(bots.deliver_batch(&stage.history::<Bots>().await).await.failed.is_empty());
    let second = page(&bots, &ALL_BOTS, "depot", Some(5), first.next.clone()).await;
    let ids: Vec<BotId> = first.rows.iter().chain(&second.rows).map(|row| row.id).collect();
    assert_eq!(
        ids,
        (0..8).map(bot).collect::<Vec<_>>(),
        "one that took a list meanwhile has its place still"
    );
}

#[tokio::test]
async fn a_bot_that_goes_from_one_list_to_the_next_in_one_commit_is_shown_with_the_next() {
    let stage = Stage::new();
    stage.send::<Bot, _>(bot(1), BotCommand::Register { name: "R1".into() }).await;
    let take = |n: u32, lost: Option<u32>| BotCommand::Activate {
        shopping_list_id: list_id(n),
        lost: lost.map(list_id),
    };
    stage.send::<Bot, _>(bot(1), take(1, None)).await;
    stage.send::<Bot, _>(bot(1), take(2, Some(1))).await;
    let history = stage.history::<Bots>().await;
    assert_eq!(history.len(), 4, "freed and taken at once");
    for seed in 0..20 {
        let (_, bots) = stage.view::<Bots>();
        for envelope in hostile(&history, seed, Hostility::WORST) {
            bots.deliver(&envelope).await.unwrap();
        }
        let row = page(&bots, &ALL_BOTS, "depot", None, None).await.rows.remove(0);
        assert_eq!((row.status.as_str(), row.shopping_list_id), ("active", Some(list_id(2))), "seed {seed}");
    }
}

/// Delivers a history with one event whose body makes no sense: only its own row stops.
async fn a_broken_event_stops_its_own_row_only<P: Projection>(event_type: &str) {
    let stage = Stage::busy().await;
    let mut broken = stage.history::<P>().await;
    let (_, projector) = stage.view::<P>();
    let place = broken.iter().position(|event| event.event_type == event_type).unwrap();
    broken[place].data = Some(serde_json::json!({ "botId": 0.5, "shoppingListId": 0.5 }));
    let outcome = projector.deliver_batch(&broken).await;
    let stream = &broken[place].stream;
    assert!(!outcome.failed.is_empty());
    for failed in &outcome.failed {
        assert_eq!(&broken[failed.index].stream, stream);
        assert!(matches!(failed.error, DeliverError::Poison { .. }), "{:?}", failed.error);
    }
}

#[tokio::test]
async fn an_assignment_that_makes_no_sense_stops_its_own_row_only() {
    a_broken_event_stops_its_own_row_only::<ShoppingLists>("ShoppingListAssigned").await;
    a_broken_event_stops_its_own_row_only::<Bots>("BotActivated").await;
}
