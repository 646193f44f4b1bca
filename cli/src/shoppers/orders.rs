//! The orders of this run: followed from the checkout to the end, and paid for when they are ready.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    http::No,
    ledger::OrderNumbers,
    operations::{GET_INVOICE, GET_ORDER, PAY_INVOICE},
    world::{World, amount},
};

/// How an order is followed. Looking is work for the mall too: were all orders of a busy run looked at often, the looks would be
/// what is measured, and late ones at that. So a few at a time are watched closely, and times are taken of those only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Every [`INTERVAL`].
    Close,
    /// Now and then: enough to see it end, and to pay for it.
    Loose,
}

/// Time between two looks at an order that is watched closely: the least error of the times that are measured by it.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// And at any other.
const NOW_AND_THEN: Duration = Duration::from_secs(2);
/// Orders that are watched closely at the same time.
const CLOSELY: usize = 20;
/// Looks at the same time, for each sort of attention.
pub const LOOKERS: usize = 4;
/// From an order that is ready to its invoice: events travel in moments, but what a function held that was killed comes back
/// after a minute.
const INVOICE: Duration = Duration::from_secs(120);

/// Why the order of somebody who pays too little is rejected, and no other.
const TOO_LITTLE: &str = "PAYMENT_DOES_NOT_COVER_TOTAL";
/// Why any order may be rejected: others were faster.
const SOLD_OUT: &[&str] = &["INSUFFICIENT_STOCK"];

/// An order that was checked out.
#[derive(Debug, Clone)]
struct Placed {
    /// Its payment does not cover it.
    short: bool,
    attention: Attention,
    at: Instant,
    looked: Instant,
    status: String,
    /// It was seen to be approved, or further on.
    approved: bool,
}

/// What a look at an order means for the run.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing new, or nothing to do.
    GoOn,
    /// It can be paid for now.
    Ready,
    /// It is at its end.
    Ended,
}

impl Placed {
    fn new(short: bool, attention: Attention, at: Instant) -> Self {
        Self { short, attention, at, looked: at, status: "not created".into(), approved: false }
    }

    /// Takes what a look has shown; the error is what must not be.
    fn saw(
        &mut self,
        status: &str,
        reason: Option<&str>,
        now: Instant,
        numbers: &mut OrderNumbers,
    ) -> (Step, Option<String>) {
        let is_timed = self.attention == Attention::Close;
        if is_timed {
            numbers.looks.add(now.duration_since(self.looked));
        }
        self.looked = now;
        let first = self.status != status;
        status.clone_into(&mut self.status);
        let mut wrong = None;
        let went_through = matches!(status, "approved" | "ready" | "completed");
        if went_through && !self.approved {
            self.approved = true;
            if is_timed {
                numbers.approved.add(now.duration_since(self.at));
            }
            if self.short {
                wrong = Some(format!("is {status} although its payment does not cover it"));
            }
        }
        let step = match status {
            "pending" | "approved" => Step::GoOn,
            "ready" if first => Step::Ready,
            "ready" => Step::GoOn,
            "completed" => {
                if is_timed {
                    numbers.completed.add(now.duration_since(self.at));
                }
                Step::Ended
            }
            "cancelled" => Step::Ended,
            "rejected" => {
                let reason = reason.unwrap_or("no reason");
                if !(SOLD_OUT.contains(&reason) || self.short && reason == TOO_LITTLE) {
                    let pays = if self.short { "does not cover" } else { "covers" };
                    wrong = Some(format!("was rejected with {reason}, and its payment {pays} it"));
                }
                Step::Ended
            }
            unknown => {
                wrong = Some(format!("is {unknown:?}, which is no status of an order"));
                Step::Ended
            }
        };
        if step == Step::Ended {
            let end = reason.map_or_else(|| status.to_owned(), |reason| format!("{status}: {reason}"));
            *numbers.ended.entry(end).or_default() += 1;
        }
        (step, wrong)
    }
}

/// Orders in the order in which they are due: every look puts an order at the end.
struct Round {
    every: Duration,
    due: RefCell<VecDeque<(Instant, Uuid)>>,
}

impl Round {
    fn add(&self, order: Uuid) {
        self.due.borrow_mut().push_back((Instant::now() + self.every, order));
    }
}

/// See the module.
pub struct Orders {
    /// Checkouts that may still be begun; none when there is no limit.
    left: Option<Cell<u32>>,
    limit: Option<u32>,
    /// Where an order comes to rest when nobody collects, or nobody pays.
    rests: &'static [&'static str],
    open: RefCell<BTreeMap<Uuid, Placed>>,
    /// All that were placed, and when the checkout was answered.
    all: RefCell<Vec<(Uuid, Timestamp)>>,
    close: Round,
    loose: Round,
    /// With the total that the invoice should have.
    ready: RefCell<VecDeque<(Uuid, Value)>>,
}

impl Orders {
    pub fn new(limit: Option<u32>, bots: u16, payers: u16) -> Self {
        let rests: &[&str] = match (bots, payers) {
            (0, _) => &["approved", "ready"],
            (_, 0) => &["ready"],
            _ => &[],
        };
        Self {
            left: limit.map(Cell::new),
            limit,
            rests,
            open: RefCell::default(),
            all: RefCell::default(),
            close: Round { every: INTERVAL, due: RefCell::default() },
            loose: Round { every: NOW_AND_THEN, due: RefCell::default() },
            ready: RefCell::default(),
        }
    }

    /// Takes the right to check out once; none is left when enough others have it.
    pub fn take(&self) -> bool {
        let Some(left) = &self.left else { return true };
        let taken = left.get().checked_sub(1);
        taken.inspect(|rest| left.set(*rest)).is_some()
    }

    /// Gives it back unused.
    pub fn give_back(&self) {
        if let Some(left) = &self.left {
            left.set(left.get() + 1);
        }
    }

    /// Whether as many orders were placed as were asked for.
    pub fn are_enough(&self, placed: u64) -> bool {
        self.limit.is_some_and(|limit| placed >= u64::from(limit))
    }

    /// An order was placed just now.
    pub fn placed(&self, order: Uuid, short: bool) {
        self.all.borrow_mut().push((order, Timestamp::now()));
        let mut open = self.open.borrow_mut();
        // One that will be rejected has no times to be taken.
        let is_room = open.values().filter(|placed| placed.attention == Attention::Close).count() < CLOSELY;
        let attention = if is_room && !short { Attention::Close } else { Attention::Loose };
        open.insert(order, Placed::new(short, attention, Instant::now()));
        self.round(attention).add(order);
    }

    fn round(&self, attention: Attention) -> &Round {
        match attention {
            Attention::Close => &self.close,
            Attention::Loose => &self.loose,
        }
    }

    /// Every order that was placed, with the time at which its checkout was answered.
    pub fn all(&self) -> Vec<(Uuid, Timestamp)> {
        self.all.borrow().clone()
    }

    /// Orders that still have somewhere to go, by status.
    pub fn moving(&self) -> BTreeMap<String, u64> {
        let mut moving = BTreeMap::new();
        for placed in self.open.borrow().values().filter(|p| !self.rests.contains(&p.status.as_str())) {
            *moving.entry(placed.status.clone()).or_default() += 1;
        }
        moving
    }

    /// Orders that are not at an end, by status: also those that rest because nobody collects or pays.
    pub fn unfinished(&self) -> BTreeMap<String, u64> {
        let mut unfinished = BTreeMap::new();
        for placed in self.open.borrow().values() {
            *unfinished.entry(placed.status.clone()).or_default() += 1;
        }
        unfinished
    }
}

/// Looks at orders as they are due, as long as it is let.
pub async fn follow(world: Rc<World>, attention: Attention) {
    let round = world.orders.round(attention);
    loop {
        let next = round.due.borrow_mut().pop_front();
        let Some((due, order)) = next else {
            tokio::time::sleep(INTERVAL / 5).await;
            continue;
        };
        tokio::time::sleep_until(due.into()).await;
        look(&world, order).await;
        if world.orders.open.borrow().contains_key(&order) {
            round.add(order);
        }
    }
}

async fn look(world: &World, order: Uuid) {
    // Refused: it has not been created yet. Failed: it is in the ledger, and the next look may see it.
    let Ok(shown) = world.api.read(&GET_ORDER, order).await else { return };
    let status = shown["status"].as_str().unwrap_or_default();
    let (step, wrong) = {
        let mut open = world.orders.open.borrow_mut();
        let Some(placed) = open.get_mut(&order) else { return };
        let numbers = &mut world.api.ledger.borrow_mut().orders;
        placed.saw(status, shown["reason"].as_str(), Instant::now(), numbers)
    };
    if let Some(wrong) = wrong {
        world.api.surprise(format!("order {order} {wrong}"));
    }
    match step {
        Step::GoOn => {}
        Step::Ready => world.orders.ready.borrow_mut().push_back((order, shown["total"].clone())),
        Step::Ended => drop(world.orders.open.borrow_mut().remove(&order)),
    }
}

/// Pays for what is ready, as long as it is let.
pub async fn pay(world: Rc<World>) {
    loop {
        let next = world.orders.ready.borrow_mut().pop_front();
        match next {
            Some((order, total)) => settle(&world, order, &total).await,
            None => tokio::time::sleep(INTERVAL / 5).await,
        }
    }
}

async fn settle(world: &World, order: Uuid, total: &Value) {
    let began = Instant::now();
    // An invoice has the id of its order.
    let invoice = loop {
        match world.api.read(&GET_INVOICE, order).await {
            Ok(invoice) => break invoice,
            Err(No::Refused(_)) if began.elapsed() < INVOICE => tokio::time::sleep(INTERVAL).await,
            Err(No::Refused(_)) => {
                world.api.surprise(format!("order {order} is ready, and has no invoice after {INVOICE:?}"));
                return;
            }
            Err(No::Failed) => return,
        }
    };
    if amount(&invoice["amount"]) != amount(total) {
        let owed = &invoice["amount"];
        world.api.surprise(format!("the invoice of order {order} is over {owed}, the order over {total}"));
    }
    match world.api.command(&PAY_INVOICE, order, json!({})).await {
        Ok(_) => world.api.ledger.borrow_mut().invoices_paid += 1,
        // Cancelled with its order, or paid by somebody else; what became of the order is seen there.
        Err(No::Refused(_) | No::Failed) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see_with(
        attention: Attention,
        short: bool,
        looks: &[(&str, Option<&str>)],
    ) -> (Vec<Step>, Vec<String>, OrderNumbers) {
        let start = Instant::now();
        let (mut placed, mut numbers) = (Placed::new(short, attention, start), OrderNumbers::default());
        let (mut steps, mut wrongs) = (Vec::new(), Vec::new());
        for (n, (status, reason)) in (1..).zip(looks) {
            let (step, wrong) = placed.saw(status, *reason, start + INTERVAL * n, &mut numbers);
            steps.push(step);
            wrongs.extend(wrong);
        }
        (steps, wrongs, numbers)
    }

    fn see(short: bool, looks: &[(&str, Option<&str>)]) -> (Vec<Step>, Vec<String>, OrderNumbers) {
        see_with(Attention::Close, short, looks)
    }

    #[test]
    fn an_order_is_measured_once_however_often_it_is_seen() {
        let looks = ["pending", "approved", "approved", "ready", "ready", "completed"].map(|s| (s, None));
        let (steps, wrongs, numbers) = see(false, &looks);
        use Step::{Ended, GoOn, Ready};
        assert_eq!(steps, [GoOn, GoOn, GoOn, Ready, GoOn, Ended], "it is paid for once");
        assert!(wrongs.is_empty(), "{wrongs:?}");
        assert_eq!((numbers.approved.count(), numbers.completed.count(), numbers.looks.count()), (1, 1, 6));
        assert_eq!(numbers.ended, BTreeMap::from([("completed".to_owned(), 1)]));
        let half_a_second = INTERVAL * 2;
        assert!(numbers.approved.max().abs_diff(half_a_second) < Duration::from_millis(1));
    }

    #[test]
    fn an_approval_that_no_look_has_seen_is_counted_with_what_came_after_it() {
        let (_, _, numbers) = see(false, &[("completed", None)]);
        assert_eq!((numbers.approved.count(), numbers.completed.count()), (1, 1));
    }

    #[test]
    fn a_time_that_was_looked_at_now_and_then_is_not_a_time() {
        let looks = ["pending", "approved", "ready", "completed"].map(|s| (s, None));
        let (steps, _, numbers) = see_with(Attention::Loose, false, &looks);
        assert_eq!(steps, [Step::GoOn, Step::GoOn, Step::Ready, Step::Ended]);
        assert_eq!((numbers.approved.count(), numbers.completed.count(), numbers.looks.count()), (0, 0, 0));
        assert_eq!(numbers.ended["completed"], 1);
    }

    #[test]
    fn a_few_orders_at_a_time_are_watched_closely() {
        let orders = Orders::new(None, 1, 1);
        orders.placed(Uuid::from_u128(1000), true);
        (0..100).for_each(|n| orders.placed(Uuid::from_u128(n), false));
        let in_round = |attention| orders.round(attention).due.borrow().len();
        assert_eq!((in_round(Attention::Close), in_round(Attention::Loose)), (CLOSELY, 101 - CLOSELY));
        orders.open.borrow_mut().remove(&Uuid::from_u128(0));
        orders.placed(Uuid::from_u128(0), false);
        assert_eq!(in_round(Attention::Close), CLOSELY + 1, "one went, another comes");
    }

    #[test]
    fn an_order_that_is_not_covered_and_yet_approved_is_a_surprise() {
        assert_eq!(see(true, &[("approved", None), ("ready", None)]).1.len(), 1);
        assert_eq!(see(false, &[("rejected", Some(TOO_LITTLE))]).1.len(), 1);
        assert_eq!(see(false, &[("in-progress", None)]).1.len(), 1);
        let (_, wrongs, numbers) = see(true, &[("rejected", Some(TOO_LITTLE))]);
        assert!(wrongs.is_empty());
        assert_eq!(numbers.ended["rejected: PAYMENT_DOES_NOT_COVER_TOTAL"], 1);
        assert_eq!(see(true, &[("rejected", Some("States.Timeout"))]).1.len(), 1);
        // Sold out meanwhile: nobody's fault.
        assert!(see(false, &[("rejected", Some("INSUFFICIENT_STOCK"))]).1.is_empty());
        assert!(see(true, &[("rejected", Some("INSUFFICIENT_STOCK"))]).1.is_empty());
    }

    #[test]
    fn a_right_to_check_out_is_never_used_twice() {
        let orders = Orders::new(Some(2), 1, 1);
        assert!(orders.take() && orders.take() && !orders.take());
        orders.give_back();
        assert!(orders.take() && !orders.take());
        assert!(!orders.are_enough(1) && orders.are_enough(2));
        let endless = Orders::new(None, 1, 1);
        assert!((0..1000).all(|_| endless.take()) && !endless.are_enough(u64::MAX));
    }

    #[test]
    fn nobody_waits_for_orders_that_nobody_collects_or_pays_for() {
        let stands_at = |bots, payers, status: &str| {
            let orders = Orders::new(None, bots, payers);
            orders.placed(Uuid::nil(), false);
            status.clone_into(&mut orders.open.borrow_mut().get_mut(&Uuid::nil()).unwrap().status);
            assert_eq!(orders.unfinished().len(), 1);
            !orders.moving().is_empty()
        };
        assert!(stands_at(2, 2, "approved") && stands_at(2, 2, "ready") && stands_at(2, 0, "approved"));
        assert!(!stands_at(0, 2, "approved") && !stands_at(2, 0, "ready"));
        assert!(stands_at(0, 0, "pending"));
    }
}
