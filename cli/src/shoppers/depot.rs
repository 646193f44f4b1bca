//! The depot's bots: take lists from the work queue and collect them.

use std::{rc::Rc, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::{
    http::No,
    operations::{ASSIGN, BOT_IS_BUSY, COMPLETE, REGISTER_BOT, START, WORK_QUEUE},
    world::{Phase, World, id_of},
};

/// Lists that a bot looks at to choose one: not all take the first.
const CHOICE: u32 = 10;
/// A walk through a store, in milliseconds.
const WALK: std::ops::RangeInclusive<u64> = 20..=120;
/// Until the queue is looked at again that was empty, or was not as it seemed.
const REST: std::ops::RangeInclusive<u64> = 200..=400;

/// Works until the run is over.
pub async fn work(world: Rc<World>, number: u16) {
    let name = format!("Bot {number}");
    let Ok(bot) = world.api.create(&REGISTER_BOT, Uuid::nil(), json!({ "name": name })).await else { return };
    while !world.is_at(Phase::Over) {
        let lists = match world.api.list(&WORK_QUEUE, Uuid::nil(), CHOICE, None).await {
            Ok((lists, _)) => lists,
            // In the ledger.
            Err(No::Refused(_) | No::Failed) => Vec::new(),
        };
        let list = fastrand::choice(&lists).and_then(id_of);
        let worked = match list {
            Some(list) => collect(&world, bot, list).await,
            None => false,
        };
        if !worked {
            walk(REST).await;
        }
    }
}

/// Whether the list was this bot's.
async fn collect(world: &World, bot: Uuid, list: Uuid) -> bool {
    let api = &world.api;
    match api.command(&ASSIGN, list, json!({ "botId": bot })).await {
        Ok(_) => {}
        Err(No::Refused(code)) if code == BOT_IS_BUSY => {
            api.ledger.borrow_mut().bots.not_idle_yet += 1;
            return false;
        }
        Err(No::Refused(_)) => {
            api.ledger.borrow_mut().bots.lost_races += 1;
            return false;
        }
        Err(No::Failed) => return false,
    }
    for step in [&START, &COMPLETE] {
        walk(WALK).await;
        match api.command(step, list, json!({})).await {
            Ok(_) => {}
            Err(No::Refused(_)) => {
                api.ledger.borrow_mut().bots.taken_away += 1;
                return true;
            }
            Err(No::Failed) => return true,
        }
    }
    api.ledger.borrow_mut().bots.collected += 1;
    true
}

async fn walk(milliseconds: std::ops::RangeInclusive<u64>) {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(milliseconds))).await;
}
