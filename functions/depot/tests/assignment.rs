//! A bot never has two lists, whoever stops or is slow between the two commits.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]
#![allow(clippy::disallowed_methods, reason = "callers that come at the same time")]

use std::sync::Arc;

use contracts::ids::{BotId, OrderId, ShoppingListId, shopping_list_of};
use depot::{
    Depot,
    bot::{Bot, BotCommand},
    shopping_list::{Line, ShoppingList, ShoppingListCommand, stops},
};
use event_store::{EventStore, Expect, MemoryLog, Segment};
use kernel::{Actor, Aggregate, CommandId, Id, StreamId};
use lambda::{Answer, Call, Fault};
use serde_json::{Value, json};
use testing::{
    FaultyLog, Seeded, TestPorts,
    faulty::{Chances, OnAppend},
};

/// A depot over a log with faults, and the same log without.
struct Stage {
    world: TestPorts,
    log: FaultyLog,
    depot: Arc<Depot>,
    healthy: EventStore,
}

fn order(n: u32) -> OrderId {
    Id::derived(&["order", &n.to_string()])
}

fn list(n: u32) -> ShoppingListId {
    shopping_list_of(order(n))
}

fn bot(n: u32) -> BotId {
    Id::derived(&["bot", &n.to_string()])
}

impl Stage {
    /// `lists` lists that wait, and `bots` idle bots.
    async fn new(seed: u64, chances: Chances, lists: u32, bots: u32) -> Self {
        let world = TestPorts::new(seed);
        let memory = MemoryLog::new();
        let log = FaultyLog::seeded(Arc::new(memory.clone()), seed, chances);
        let depot = Depot::new(EventStore::new(Arc::new(log.clone()), world.ports()), world.ports());
        let healthy = EventStore::new(Arc::new(memory), world.ports());
        let stage = Self { world, log, depot: Arc::new(depot), healthy };
        for n in 0..lists {
            let line = Line {
                store_id: Id::derived(&["store"]),
                store_name: "Store".into(),
                store_location: "Hall 1".into(),
                product_id: Id::derived(&["product"]),
                product_name: "Apple".into(),
                quantity: 1,
            };
            let create = ShoppingListCommand::Create {
                order_id: order(n),
                stops: stops([line]).unwrap(),
                not_sold: None,
            };
            stage.send::<ShoppingList, _>(list(n), create).await;
            let initiate = ShoppingListCommand::Initiate { order_id: None };
            stage.send::<ShoppingList, _>(list(n), initiate).await;
        }
        for n in 0..bots {
            stage.send::<Bot, _>(bot(n), BotCommand::Register { name: format!("R{n}") }).await;
        }
        stage
    }

    async fn send<A, K>(&self, id: Id<K>, command: A::Command)
    where
        A: Aggregate<Command: Clone + serde::Serialize>,
    {
        let meta = self.world.command("depot");
        let stream = StreamId::of::<A, K>(id);
        self.healthy.transact::<A>(&stream, Expect::Any, &command, &meta).await.unwrap();
    }

    fn call(&self, list: ShoppingListId, body: Value) -> Call {
        let ports = self.world.ports();
        Call {
            target: Some(list.to_string()),
            body,
            query: Default::default(),
            command: CommandId::new(ports.ids.fresh()),
            repeatable: false,
            if_match: None,
            actor: Actor::new("test"),
            correlation: ports.ids.fresh(),
            causation: None,
            trace: None,
            attempt: 0,
            at: ports.clock.now(),
        }
    }

    async fn assign(&self, l: u32, b: u32) -> Result<Answer, Fault> {
        self.depot.clone().assign_shopping_list(self.call(list(l), json!({ "botId": bot(b) }))).await
    }

    async fn list(&self, n: u32) -> ShoppingList {
        self.healthy.load(&StreamId::of::<ShoppingList, _>(list(n))).await.unwrap().state.unwrap()
    }

    async fn bot(&self, n: u32) -> Bot {
        self.healthy.load(&StreamId::of::<Bot, _>(bot(n))).await.unwrap().state.unwrap()
    }

    /// The events of ended lists reach the policy.
    async fn settle(&self) {
        let page = self.healthy.scan(Segment::WHOLE, None, None).await.unwrap();
        for envelope in page.commits.iter().flat_map(|commit| commit.envelopes().collect::<Vec<_>>()) {
            if ["ShoppingListCompleted", "ShoppingListCanceled"].contains(&envelope.event_type.as_str()) {
                // What fails stays in its queue, and comes again with the next settling.
                drop(self.depot.clone().free_bot(envelope).await);
            }
        }
    }
}

fn code(result: &Result<Answer, Fault>) -> &str {
    result.as_ref().map_or_else(|fault| fault.code.as_ref(), |_| "done")
}

#[tokio::test]
async fn a_bot_that_is_busy_is_refused_and_one_that_there_is_not_too() {
    let stage = Stage::new(1, Chances::default(), 2, 1).await;
    assert_eq!(code(&stage.assign(0, 0).await), "done");
    assert_eq!(code(&stage.assign(0, 0).await), "done", "once more changes nothing");
    assert_eq!(code(&stage.assign(1, 0).await), "BOT_IS_BUSY");
    assert_eq!(code(&stage.assign(1, 9).await), "BOT_NOT_FOUND");
    assert_eq!(stage.list(1).await.status(), "available");
}

#[tokio::test]
async fn an_assignment_that_stopped_half_way_is_finished_by_its_repeat() {
    let stage = Stage::new(1, Chances::default(), 1, 1).await;
    stage.log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
    assert_eq!(code(&stage.assign(0, 0).await), "UNAVAILABLE");
    assert_eq!((stage.bot(0).await.status(), stage.list(0).await.status()), ("active", "available"));
    assert_eq!(code(&stage.assign(0, 0).await), "done");
    assert_eq!(stage.list(0).await.bot_id(), Some(bot(0)));
}

#[tokio::test]
async fn an_assignment_that_stopped_half_way_is_finished_when_the_bot_is_asked_for_anew() {
    let stage = Stage::new(1, Chances::default(), 2, 1).await;
    stage.log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
    assert_eq!(code(&stage.assign(0, 0).await), "UNAVAILABLE");
    assert_eq!(code(&stage.assign(1, 0).await), "BOT_IS_BUSY");
    assert_eq!(stage.list(0).await.bot_id(), Some(bot(0)));
}

#[tokio::test]
async fn a_bot_whose_list_went_elsewhere_or_ended_counts_as_idle() {
    for ended in [false, true] {
        let stage = Stage::new(1, Chances::default(), 2, 2).await;
        stage.log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
        assert_eq!(code(&stage.assign(0, 0).await), "UNAVAILABLE");
        if ended {
            let reason = "X".to_owned();
            stage.send::<ShoppingList, _>(list(0), ShoppingListCommand::Cancel { reason }).await;
        } else {
            assert_eq!(code(&stage.assign(0, 1).await), "done");
        }
        assert_eq!(code(&stage.assign(1, 0).await), "done");
        assert_eq!(stage.list(1).await.bot_id(), Some(bot(0)));
    }
}

#[tokio::test]
async fn a_bot_is_free_again_when_the_list_says_no() {
    let stage = Stage::new(1, Chances::default(), 1, 1).await;
    let other = stage.healthy.clone();
    let meta = stage.world.command("depot");
    // The list is cancelled between the two halves.
    let cancel = OnAppend::after(move || async move {
        let command = ShoppingListCommand::Cancel { reason: "X".into() };
        let stream = StreamId::of::<ShoppingList, _>(list(0));
        other.transact::<ShoppingList>(&stream, Expect::Any, &command, &meta).await.unwrap();
    });
    stage.log.on_append([cancel]);
    assert_eq!(code(&stage.assign(0, 0).await), "SHOPPING_CANNOT_BE_ASSIGNED");
    assert_eq!(stage.bot(0).await.status(), "idle");
}

#[tokio::test]
async fn d18_a_completion_that_is_not_written_is_reported_and_not_swallowed() {
    let stage = Stage::new(1, Chances::default(), 1, 1).await;
    assert_eq!(code(&stage.assign(0, 0).await), "done");
    stage.log.on_append([OnAppend::Throttled]);
    let completed = stage.depot.clone().complete_shopping_list(stage.call(list(0), json!({}))).await;
    assert_eq!((code(&completed), completed.as_ref().unwrap_err().status), ("UNAVAILABLE", 503));
    assert_eq!(stage.list(0).await.status(), "assigned");
}

#[tokio::test]
async fn the_two_halves_of_an_assignment_do_not_share_event_ids() {
    let stage = Stage::new(1, Chances::default(), 1, 1).await;
    assert_eq!(code(&stage.assign(0, 0).await), "done");
    let page = stage.healthy.scan(Segment::WHOLE, None, None).await.unwrap();
    let mut ids: Vec<_> = page.commits.iter().flat_map(|c| c.events.iter().map(|e| e.id)).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

/// Many at once, over a log that loses answers and turns writes away: after every round, no bot has two lists.
#[tokio::test]
async fn a_bot_never_has_two_lists_however_assigning_completing_and_cancelling_interleave() {
    const LISTS: u32 = 5;
    const BOTS: u32 = 2;
    let chances = Chances { answer_lost: 0.1, request_lost: 0.1, throttled: 0.15, read_fails: 0.05 };
    let (mut finished, mut assigned_ever) = (0, 0);
    for seed in 0..150 {
        let stage = Arc::new(Stage::new(seed, chances, LISTS, BOTS).await);
        let mut random = Seeded::new(seed);
        for _ in 0..4 {
            let mut running = Vec::new();
            for _ in 0..6 {
                let (l, b) = (random.below(LISTS as usize) as u32, random.below(BOTS as usize) as u32);
                let (what, late, stage) = (random.below(10), random.below(12), stage.clone());
                running.push(tokio::spawn(async move {
                    for _ in 0..late {
                        tokio::task::yield_now().await;
                    }
                    match what {
                        0 => drop(
                            stage.depot.clone().complete_shopping_list(stage.call(list(l), json!({}))).await,
                        ),
                        1 => drop(
                            stage.depot.clone().cancel_shopping_list(stage.call(list(l), json!({}))).await,
                        ),
                        2 => stage.settle().await,
                        _ => drop(stage.assign(l, b).await),
                    }
                }));
            }
            for task in running {
                task.await.unwrap();
            }
            for b in 0..BOTS {
                let mut has = Vec::new();
                for l in 0..LISTS {
                    let list = stage.list(l).await;
                    let live = ["assigned", "active"].contains(&list.status());
                    if live && list.bot_id() == Some(bot(b)) {
                        has.push(l);
                    }
                    assigned_ever += u32::from(live);
                    finished += u32::from(list.status() == "completed");
                }
                assert!(has.len() <= 1, "seed {seed}: bot {b} has lists {has:?}");
                if let [l] = has[..] {
                    assert_eq!(stage.bot(b).await.shopping_list_id(), Some(list(l)), "seed {seed}");
                }
            }
        }
    }
    assert!(
        assigned_ever > 100 && finished > 20,
        "{assigned_ever} assigned, {finished} completed: nothing was tried"
    );
}
