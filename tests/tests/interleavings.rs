//! An order and all that is held for it, whatever overtakes what: the real aggregates of all contexts, and a
//! model of the functions that ask them.
//!
//! A function reads first and writes then, and the two are apart: it may write long after it read, do so
//! twice, or never. After any interleaving, whoever makes up for what was lost (queues, `resume-sagas`, an
//! operator) does so until nothing is left to do. Then nothing may be held for an order that is over.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::{collections::BTreeSet, time::Duration};

use contracts::{
    depot::{ShoppingListEvent, Stop, StopItem},
    ids::{OrderId, ProductId, shopping_list_of},
    inventory::ReservationEnd,
    ordering::{
        OrderEvent, OrderItem, OrderReadied,
        UndoOrigin::{self, Cancellation, Expiry, Operator, Placement},
        UndoOutcome,
    },
    payments::{InvoiceEvent, InvoicePaid},
};
use depot::shopping_list::{ShoppingList, ShoppingListCommand};
use inventory::{
    reservation::{Reservation, ReservationCommand, Seen},
    stock::{Kept, StockCommand, StockItem},
};
use kernel::{Aggregate, Id, Money, Reason, Refusal, Timestamp, Version, aggregate::fold};
use ordering::{
    order::{Order, OrderCommand},
    saga::{Next, Patience, Saga, SagaCommand, Stage, next},
};
use payments::{
    invoice::{Funds, Invoice, InvoiceCommand},
    payment::{Payment, PaymentCommand},
};
use proptest::prelude::*;

/// Pieces that the order wants of each product.
const WANTED: [u32; 2] = [2, 3];
const START: Timestamp = Timestamp::constant(1_795_165_200, 0);

fn order_id() -> OrderId {
    Id::derived(&["order"])
}

/// A write to a stream, with all that its function has read.
#[derive(Debug, Clone, PartialEq)]
enum To {
    Order(OrderCommand),
    Stock(usize, StockCommand),
    Reservation(ReservationCommand),
    /// Ends the reservation as sold, and sells a product's pieces then.
    Sell(usize),
    List(ShoppingListCommand),
    Payment(PaymentCommand),
    Invoice(InvoiceCommand),
    Saga(SagaCommand),
    /// Records an undo, and starts it then.
    Begin(UndoOrigin),
    /// Starts a placement or an attempt to undo, and records it then.
    Start(Option<(u32, UndoOrigin)>, SagaCommand),
}

/// The result of a read: a write, or nothing to do, or a refusal.
type Read = Result<Option<To>, &'static str>;

/// An execution: of a placement, or of an attempt to undo.
#[derive(Debug, Clone, Default)]
struct Run {
    undo: Option<(u32, UndoOrigin)>,
    at: usize,
    /// True for a placement that failed, and for an undo that keeps the order.
    aside: bool,
    /// The read of the next step, if that has read.
    read: Option<Read>,
}

/// The fate of the next step of an execution: it is done; it reads, and is slow; it is done, and tried again
/// because its answer is lost; it is tried again, and its write is still on its way; it fails for good; the
/// whole execution is lost.
#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    Reads,
    Twice,
    Late,
    Fails,
    Dies,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Cancel,
    Undo,
    Collect,
    Pay,
    GiveUp,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    /// An execution does so many steps, and the one after them is this.
    Go(usize, usize, How),
    /// Somebody's function reads; it writes at once, or late.
    Ask(Wish, bool),
    Arrive(usize),
    /// A policy hears an event, and perhaps hears it again.
    Hear(usize, bool),
    /// A run of `resume-sagas` does so many of its two writes at once, and the others late.
    Resume(usize),
}

/// The streams, and all that is under way.
#[derive(Default)]
struct Mall {
    order: Option<Order>,
    saga: Option<Saga>,
    stock: [Option<StockItem>; 2],
    /// Versions of the stock.
    versions: [Version; 2],
    reservation: Option<Reservation>,
    list: Option<ShoppingList>,
    payment: Option<Payment>,
    invoice: Option<Invoice>,
    runs: Vec<Run>,
    /// Attempts to undo whose names are taken.
    names: BTreeSet<u32>,
    late: Vec<To>,
    /// Writes of policies that have not handled their events yet.
    news: Vec<To>,
    now: Timestamp,
    /// True if a customer, an operator or the deadline asked to cancel the order.
    asked: bool,
    /// True if an undo was asked for that cancels an approved order.
    wished: bool,
}

/// Decides and folds, as the event store does.
fn tell<A: Aggregate>(state: &mut Option<A>, command: A::Command) -> Result<Vec<A::Event>, &'static str> {
    let events = A::decide(state.as_ref(), &command).map_err(|refusal| refusal.code())?;
    *state = fold(state.take(), &events).unwrap();
    Ok(events)
}

impl Mall {
    /// A pending order whose first placement was started, and stock if it is counted.
    fn new(pieces: [Option<u32>; 2], put_up: i64) -> Self {
        let (customer_id, payment_id) = (Id::derived(&["ada"]), Id::derived(&["card"]));
        let items = (0..2).map(|n| OrderItem {
            store_id: Id::derived(&["store"]),
            product_id: Id::derived(&["product", &n.to_string()]),
            store_name: String::new(),
            product_name: String::new(),
            price: Money::from_minor(100).unwrap(),
            quantity: WANTED[n],
        });
        let mut mall = Self { runs: vec![Run::default()], now: START, ..Self::default() };
        let (items, amount) = (items.collect(), Money::from_minor(put_up).unwrap());
        tell(&mut mall.order, OrderCommand::Create { customer_id, payment_id, items }).unwrap();
        tell(&mut mall.payment, PaymentCommand::Authorize { customer_id, amount }).unwrap();
        for (n, pieces) in pieces.into_iter().enumerate() {
            let &OrderItem { product_id, store_id, .. } = &mall.order().placed().items[n];
            if let Some(quantity) = pieces {
                mall.tell_stock(n, StockCommand::Add { product_id, store_id, quantity }).unwrap();
            }
        }
        mall
    }

    fn product(n: usize) -> ProductId {
        Id::derived(&["product", &n.to_string()])
    }

    fn seen(&self) -> Seen {
        (0..2).map(|n| (Self::product(n), self.versions[n])).collect()
    }

    fn tell_stock(&mut self, n: usize, command: StockCommand) -> Result<(), &'static str> {
        let told = tell(&mut self.stock[n], command)?.len();
        self.versions[n] = self.versions[n].plus(told as u64);
        Ok(())
    }

    /// Version of a product's stock after which pieces can have been kept for the order.
    fn requested(&self, n: usize) -> Option<Version> {
        self.reservation.as_ref().and_then(|r| r.requested().get(&Self::product(n)).copied())
    }

    /// Version of a product's stock after which they can have been released or sold.
    fn ended(&self, n: usize) -> Option<Version> {
        self.reservation.as_ref().and_then(|r| r.ended()?.get(&Self::product(n)).copied())
    }

    fn order(&self) -> &Order {
        self.order.as_ref().unwrap()
    }

    fn is_over(&self) -> bool {
        matches!(self.order(), Order::Rejected { .. } | Order::Canceled { .. })
    }

    fn is_placed(&self) -> bool {
        matches!(self.order(), Order::Approved { .. } | Order::Ready { .. } | Order::Completed { .. })
    }

    fn is_bought(&self) -> bool {
        self.is_placed() && matches!(self.invoice, Some(Invoice::Paid(_)))
    }

    /// Reads for the next step of an execution.
    fn look(&self, run: &Run) -> Read {
        let (order_id, at, reason) = (order_id(), START, Reason::new("X"));
        let placed = self.order().placed();
        let (customer_id, total, item) = (placed.customer_id, placed.total, &placed.items[0]);
        let paid = self.invoice.as_ref().and_then(Invoice::paid);
        Ok(Some(match (run.undo, run.at) {
            (None, _) if run.aside => return self.beginning(Placement),
            (None, _) if self.is_over() => return Err("ORDER_IS_OVER"),
            (None, _) if self.is_placed() => return Ok(None),
            (None, 0) => To::Reservation(ReservationCommand::Request { stock: self.seen() }),
            (None, n @ (1 | 2)) => {
                let since = self.requested(n - 1).unwrap();
                let quantity = WANTED[n - 1];
                To::Stock(n - 1, StockCommand::Reserve { order_id, quantity, since, at })
            }
            (None, 3) => {
                let (product_id, store_id, name) = (item.product_id, item.store_id, String::new());
                let items = vec![StopItem { product_id, product_name: name.clone(), quantity: WANTED[0] }];
                let stops = vec![Stop { store_id, store_name: name.clone(), store_location: name, items }];
                To::List(ShoppingListCommand::Create { order_id, stops, not_sold: None })
            }
            (None, 4) => To::Payment(PaymentCommand::Confirm { order_id, customer_id, total }),
            (None, 5) => To::List(ShoppingListCommand::Initiate { order_id: Some(order_id) }),
            (None, _) => To::Order(OrderCommand::Approve { shopping_id: Some(shopping_list_of(order_id)) }),
            (Some((attempt, origin)), n) if run.aside || n == 7 => {
                let outcome = if run.aside { UndoOutcome::Kept } else { UndoOutcome::Undone };
                To::Saga(SagaCommand::End { attempt, origin, outcome })
            }
            (Some((_, origin)), 0) if origin != Placement && self.is_bought() => return Err("ORDER_IS_KEPT"),
            (Some((_, origin)), 0) => {
                To::Order(OrderCommand::Close { reason, even_approved: origin != Placement })
            }
            (Some(_), _) if !self.is_over() => return Err("ORDER_IS_NOT_OVER"),
            (Some(_), 1) => To::Invoice(InvoiceCommand::CancelWithOrder { order_id, reason }),
            (Some(_), 2) => To::Payment(PaymentCommand::GiveBack { order_id, customer_id, paid, reason }),
            (Some(_), 3) => {
                let reason = reason.as_str().to_owned();
                To::List(ShoppingListCommand::Withdraw { order_id, reason })
            }
            (Some(_), 4) => {
                To::Reservation(ReservationCommand::End { end: ReservationEnd::Released, stock: self.seen() })
            }
            (Some(_), n) => {
                // Of a product that nobody asked for, nothing is given back.
                let Some((since, requested)) = self.ended(n - 5).zip(self.requested(n - 5)) else {
                    return Ok(None);
                };
                let kept = Kept::Since(requested);
                To::Stock(n - 5, StockCommand::Release { order_id, kept, since, at })
            }
        }))
    }

    /// Reads for the begin of an undo.
    fn beginning(&self, origin: UndoOrigin) -> Read {
        match (origin, self.order()) {
            (Placement, _) if self.is_placed() => Ok(None),
            (Placement, Order::Canceled { .. }) => Ok(Some(To::Begin(Cancellation))),
            (Operator, _) if self.is_bought() => Err("ORDER_IS_PAID"),
            (_, _) => Ok(Some(To::Begin(origin))),
        }
    }

    /// Reads for what somebody wants.
    fn wishing(&self, wish: Wish) -> Read {
        match wish {
            Wish::Cancel if self.is_bought() => Err("ORDER_IS_PAID"),
            Wish::Cancel => Ok(Some(To::Order(OrderCommand::Cancel))),
            Wish::Undo => self.beginning(Operator),
            Wish::Collect => {
                let waits = matches!(self.list, Some(ShoppingList::Available(_)));
                let assign = ShoppingListCommand::Assign { bot_id: Id::derived(&["bot"]) };
                Ok(Some(To::List(if waits { assign } else { ShoppingListCommand::Complete })))
            }
            Wish::Pay => {
                let held = self.payment.as_ref().and_then(Payment::held);
                Ok(Some(To::Invoice(InvoiceCommand::Pay { funds: held.map(Funds::Held) })))
            }
            Wish::GiveUp => Ok(Some(To::Invoice(InvoiceCommand::GiveUp { reason: Reason::new("X") }))),
        }
    }

    fn write(&mut self, write: To) -> Result<(), &'static str> {
        let order_id = order_id();
        match write {
            To::Order(command) => {
                let was_placed = self.is_placed();
                match tell(&mut self.order, command)?[..] {
                    [OrderEvent::OrderRejected(_)] => assert!(!was_placed, "a placed order was rejected"),
                    [OrderEvent::OrderCanceled(_)] => {
                        assert!(self.asked, "a placed order was cancelled, and nobody asked for that");
                        self.news.push(To::Begin(Cancellation));
                    }
                    [OrderEvent::OrderReadied(OrderReadied { customer_id, payment_id, total: amount })] => {
                        let create = InvoiceCommand::Create { order_id, customer_id, payment_id, amount };
                        self.news.push(To::Invoice(create));
                    }
                    [OrderEvent::OrderCompleted(_)] => {
                        self.news.extend([0, 1].map(To::Sell));
                    }
                    _ => {}
                }
            }
            To::Stock(n, command) => self.tell_stock(n, command)?,
            To::Reservation(command) => drop(tell(&mut self.reservation, command)?),
            To::Sell(n) => {
                let end = ReservationCommand::End { end: ReservationEnd::Sold, stock: self.seen() };
                tell(&mut self.reservation, end)?;
                if let Some((since, requested)) = self.ended(n).zip(self.requested(n)) {
                    let kept = Kept::Since(requested);
                    self.tell_stock(n, StockCommand::Sell { order_id, kept, since, at: START })?;
                }
            }
            To::List(command) => {
                if let [ShoppingListEvent::ShoppingListCompleted(_)] = tell(&mut self.list, command)?[..] {
                    let shopping_id = shopping_list_of(order_id);
                    self.news.push(To::Order(OrderCommand::Ready { shopping_id }));
                }
            }
            To::Payment(command) => drop(tell(&mut self.payment, command)?),
            To::Invoice(command) => {
                let is_overdue = matches!(command, InvoiceCommand::GiveUp { .. });
                match tell(&mut self.invoice, command)?[..] {
                    [InvoiceEvent::InvoicePaid(InvoicePaid { customer_id, amount, .. })] => {
                        let capture = PaymentCommand::Capture { order_id, customer_id, amount };
                        let complete = OrderCommand::Complete { invoice_id: order_id.as_kind() };
                        self.news.extend([To::Payment(capture), To::Order(complete)]);
                    }
                    [_] if is_overdue => self.news.push(To::Begin(Expiry)),
                    _ => {}
                }
            }
            To::Saga(command) => drop(tell(&mut self.saga, command)?),
            To::Begin(origin) => {
                self.wished |= origin != Placement;
                let due_at = Patience::new("300").unwrap().due_at(order_id, 1, self.now);
                tell(&mut self.saga, SagaCommand::Begin { origin, reason: Reason::new("X"), due_at })?;
                if let Some(Saga { undos, stage: Stage::Undoing { undo, .. }, .. }) = self.saga.clone() {
                    self.start(Some((undos, undo.origin)));
                }
            }
            To::Start(undo, record) => {
                self.start(undo);
                self.late.push(To::Saga(record));
            }
        }
        Ok(())
    }

    /// Starts a placement, or an attempt to undo unless its name is taken.
    fn start(&mut self, undo: Option<(u32, UndoOrigin)>) {
        if undo.is_none_or(|(attempt, _)| self.names.insert(attempt)) {
            self.runs.push(Run { undo, ..Run::default() });
        }
    }

    /// Handles an event; `false` if it is too early.
    fn hear(&mut self, news: To) -> bool {
        match self.write(news.clone()) {
            Ok(())
            | Err("INVOICE_WAS_CANCELLED" | "ORDER_CANNOT_BE_READIED" | "ORDER_CANNOT_BE_COMPLETED") => true,
            Err("ORDER_IS_NOT_APPROVED" | "ORDER_IS_NOT_READY") => false,
            Err(code) => panic!("{news:?} ends in a dead-letter queue: {code}"),
        }
    }

    /// Decides the fate of the next step of an execution.
    fn go(&mut self, place: usize, how: How) {
        let run = &self.runs[place];
        let read = run.read.clone().unwrap_or_else(|| self.look(run));
        let is_last = run.aside || run.at == if run.undo.is_some() { 7 } else { 6 };
        match how {
            How::Reads => self.runs[place].read = Some(read),
            How::Late | How::Twice => {
                self.runs[place].read = None;
                self.late.extend(read.ok().flatten());
                if let How::Twice = how {
                    self.arrive(usize::MAX);
                }
            }
            How::Fails if run.undo.is_none() && !run.aside => {
                self.runs[place] = Run { aside: true, ..Run::default() };
            }
            How::Fails | How::Dies => drop(self.runs.remove(place)),
            How::Done => {
                let done = read.and_then(|write| write.map_or(Ok(()), |write| self.write(write)));
                let run = &mut self.runs[place];
                run.read = None;
                match (run.undo, done) {
                    (None, Err(_)) if !run.aside => run.aside = true,
                    (Some(_), Err("ORDER_IS_KEPT")) => run.aside = true,
                    (Some(_), Err(code)) => panic!("an undo was refused: {code}"),
                    (_, Ok(()) | Err(_)) if is_last => drop(self.runs.remove(place)),
                    (_, Ok(()) | Err(_)) => run.at += 1,
                }
            }
        }
    }

    /// Makes a late write. Nobody waits for its answer any more.
    fn arrive(&mut self, place: usize) {
        if !self.late.is_empty() {
            let write = self.late.remove(place.min(self.late.len() - 1));
            let _nobody_hears_it = self.write(write);
        }
    }

    /// Takes up what is due, long after; `false` if nothing is.
    fn resume(&mut self, at_once: usize) -> bool {
        self.now += Duration::from_secs(1000 * 86_400);
        let patience = Patience::new("300").unwrap();
        let due = |attempt| patience.due_at(order_id(), attempt, self.now);
        let undo = self.saga.as_ref().and_then(Saga::undo).cloned();
        let undos = self.saga.as_ref().map_or(0, |saga| saga.undos);
        let step = match &self.saga {
            // An operator tries again.
            Some(Saga { stage: Stage::Stuck { .. }, .. }) => Next::Undo(undos + 1),
            saga => next(self.order(), START, saga.as_ref(), self.now, patience),
        };
        let write = match step {
            Next::Wait => return false,
            Next::Place(attempt) => To::Start(None, SagaCommand::Resume { attempt, due_at: due(attempt) }),
            Next::Begin(origin) => self.beginning(origin).unwrap().unwrap(),
            Next::Undo(attempt) => {
                let record = SagaCommand::Retry { attempt, due_at: due(attempt) };
                To::Start(undo.map(|undo| (attempt, undo.origin)), record)
            }
            Next::GetStuck => {
                let (attempt, error, cause) = (Some(undos), Reason::new("X"), String::new());
                To::Saga(SagaCommand::GetStuck { attempt, error, cause })
            }
            Next::Settle => To::Saga(SagaCommand::Settle),
        };
        self.late.push(write);
        (0..at_once).for_each(|_| self.arrive(usize::MAX));
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Go(place, steps, how) => {
                let runs = self.runs.len();
                for how in [How::Done; 7].into_iter().take(steps).chain([how]) {
                    // One that has ended has no next step.
                    if runs > 0 && self.runs.len() >= runs {
                        self.go(place % runs, how);
                    }
                }
            }
            Action::Ask(wish, is_late) => {
                if let Ok(Some(write)) = self.wishing(wish) {
                    self.asked |= matches!(wish, Wish::Cancel | Wish::Undo | Wish::GiveUp);
                    self.late.push(write);
                    (0..usize::from(!is_late)).for_each(|_| self.arrive(usize::MAX));
                }
            }
            Action::Arrive(place) => self.arrive(place),
            Action::Hear(place, again) if !self.news.is_empty() => {
                let news = self.news.remove(place % self.news.len());
                if !self.hear(news.clone()) || again {
                    self.news.push(news);
                }
            }
            Action::Resume(at_once) if self.runs.len() < 4 => drop(self.resume(at_once)),
            Action::Hear(..) | Action::Resume(_) => {}
        }
    }

    /// Lets everybody do what is left to do.
    fn rest(&mut self) {
        for _ in 0..1000 {
            if !self.runs.is_empty() {
                self.go(0, How::Done);
            } else if let Some(place) = (0..self.news.len()).find(|n| self.hear(self.news[*n].clone())) {
                self.news.remove(place);
            } else if !self.resume(2) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Checks that nothing is held for an order that is over, everything for one that is not, and nothing is
    /// taken twice.
    fn check(&self, pieces: [Option<u32>; 2]) {
        let (over, completed) = (self.is_over(), matches!(self.order(), Order::Completed { .. }));
        let stage = self.saga.as_ref().map(|saga| &saga.stage);
        let is_quiet =
            matches!((over, stage), (true, Some(Stage::Undone)) | (false, None | Some(Stage::Settled)));
        assert!(is_quiet, "{} {stage:?}", self.order().status());
        assert!(over || completed || !self.wished, "an undo that somebody asked for was not done");
        assert_eq!(self.news, [], "events wait for ever");
        for n in 0..2 {
            let wanted = if over { 0 } else { WANTED[n] };
            let kept = if over || completed { 0 } else { wanted };
            let stock = self.stock[n].as_ref().and_then(StockItem::tracked);
            let stock = stock.map(|stock| (stock.available(), stock.reserved()));
            assert_eq!(stock, pieces[n].map(|pieces| (pieces - wanted, kept)), "stock");
        }
        let list = self.list.as_ref().map_or("none", ShoppingList::status);
        let payment = self.payment.as_ref().map_or("none", Payment::status);
        let invoice = self.invoice.as_ref().map_or("none", Invoice::status);
        let statuses = (self.order().status(), list, payment, invoice);
        let is_sound = matches!(
            statuses,
            ("approved", "available" | "assigned", "confirmed", "none")
                | ("ready", "completed", "confirmed", "pending")
                | ("completed", "completed", "captured", "paid")
                | ("rejected" | "cancelled", "canceled" | "never made" | "completed", "released", "canceled")
                | ("cancelled", "completed", "refunded", "paid")
        );
        assert!(is_sound, "{statuses:?}");
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    use How::{Dies, Done, Fails, Late, Reads, Twice};
    use Wish::{Cancel, Collect, GiveUp, Pay, Undo};
    let how = prop::sample::select(&[Done, Done, Reads, Reads, Twice, Late, Late, Fails, Fails, Dies]);
    let wish = prop::sample::select(&[Cancel, GiveUp, Pay, Pay, Undo, Undo, Collect, Collect]);
    prop_oneof![
        5 => (0..4_usize, 0..8_usize, how).prop_map(|(place, steps, how)| Action::Go(place, steps, how)),
        4 => (wish, prop::bool::weighted(0.4)).prop_map(|(wish, late)| Action::Ask(wish, late)),
        4 => (0..4_usize, prop::bool::weighted(0.2)).prop_map(|(place, again)| Action::Hear(place, again)),
        1 => (0..8_usize).prop_map(Action::Arrive),
        3 => (0..=2_usize).prop_map(Action::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]

    #[test]
    fn whatever_overtakes_what_nothing_is_held_for_an_order_that_is_over(
        pears in prop::sample::select(&[None, Some(1), Some(10), Some(10), Some(10)]),
        put_up in prop::sample::select(&[400, 500, 500, 500]),
        actions in prop::collection::vec(any_action(), 0..40),
    ) {
        let pieces = [Some(10), pears];
        let mut mall = Mall::new(pieces, put_up);
        actions.into_iter().for_each(|action| mall.act(action));
        mall.rest();
        while !mall.late.is_empty() {
            mall.arrive(0);
            mall.rest();
        }
        mall.check(pieces);
    }
}
