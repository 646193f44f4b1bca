//! The order saga waits for the payment: whatever happens while it does, it is woken once, reminds, and gives up in time.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod desk;

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use contracts::{
    ids::{OrderId, PaymentId},
    ordering::{OrderApproved, OrderEvent},
};
use desk::{Desk, Ending, UNKNOWN};
use kernel::Uuid;
use proptest::prelude::*;
use serde_json::{Value, json};
use testing::faulty::{OnAppend, OnRead};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An order whose placement succeeded, and its payment.
async fn placed() -> (Desk, OrderId, PaymentId) {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    desk.put(payment, "confirm", order).await;
    (desk, order, payment)
}

/// An order that is to be paid.
async fn invoiced() -> (Desk, OrderId, PaymentId) {
    let (desk, order, payment) = placed().await;
    let readied = desk.readied("ada", order, payment, 150).await;
    desk.deliver(readied).await.unwrap();
    (desk, order, payment)
}

impl Desk {
    async fn pays(&self, order: OrderId) {
        self.ok("PUT", &format!("/api/payments/invoices/{order}/pay"), json!({})).await;
    }

    async fn reminds(&self, order: OrderId) -> Result<u64, String> {
        let answer = self.step("RemindPayment", order, order).await?;
        Ok(answer["wait"].as_u64().unwrap())
    }

    async fn hears(&self, order: OrderId, event_type: &str) {
        let event = match event_type {
            "InvoicePaid" => self.of_invoice(order, event_type).await,
            _ => self.of_order(order, event_type).await,
        };
        self.wakes(event.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_payment_ends_the_wait_that_began_before() {
    let (desk, order, _) = invoiced().await;
    let token = desk.tasks.begin();
    assert_eq!(desk.awaits(order, &token).await, Ok(json!({ "id": order })));
    assert_eq!(desk.tasks.ending(&token), None, "nobody has paid");
    desk.pays(order).await;
    desk.hears(order, "InvoicePaid").await;
    assert_eq!(desk.tasks.ending(&token), Some(Ending::Succeeded));
    desk.hears(order, "InvoicePaid").await; // a duplicate finds nobody waiting
}

#[tokio::test]
async fn a_payment_before_the_wait_ends_it_at_once() {
    let (desk, order, _) = invoiced().await;
    desk.pays(order).await;
    desk.hears(order, "InvoicePaid").await; // nobody waits yet
    let token = desk.tasks.begin();
    desk.awaits(order, &token).await.unwrap();
    assert_eq!(desk.tasks.ending(&token), Some(Ending::Succeeded));
}

#[tokio::test]
async fn a_cancellation_before_the_wait_is_its_end() {
    let (desk, order, payment) = invoiced().await;
    desk.cancelled("ada", order, payment).await;
    desk.hears(order, "OrderCanceled").await; // nobody waits yet
    let token = desk.tasks.begin();
    assert_eq!(desk.awaits(order, &token).await.unwrap_err(), "ORDER_CANCELLED");
}

#[tokio::test]
async fn a_cancellation_ends_the_wait_that_began_before() {
    let (desk, order, payment) = placed().await;
    let token = desk.tasks.begin();
    desk.awaits(order, &token).await.unwrap();
    desk.cancelled("ada", order, payment).await;
    desk.hears(order, "OrderCanceled").await;
    assert_eq!(desk.tasks.ending(&token), Some(Ending::Failed("ORDER_CANCELLED".to_owned())));
}

#[tokio::test]
async fn a_payment_that_is_heard_of_after_the_time_out_ends_the_next_wait() {
    let (desk, order, _) = invoiced().await;
    let first = desk.tasks.begin();
    desk.awaits(order, &first).await.unwrap();
    desk.pays(order).await; // its event is in the queue
    desk.tasks.time_out();
    assert_eq!(desk.reminds(order).await, Ok(1), "it is paid: ask again at once");
    let second = desk.tasks.begin();
    desk.awaits(order, &second).await.unwrap();
    assert_eq!(desk.tasks.ending(&second), Some(Ending::Succeeded));
    desk.hears(order, "InvoicePaid").await; // late, and harmless
}

#[tokio::test]
async fn a_slow_function_whose_wait_is_over_does_not_take_the_next_waits_place() {
    let (desk, order, _) = invoiced().await;
    let (first, second) = (desk.tasks.begin(), desk.tasks.begin());
    // The first call hangs, Step Functions gives it up and makes another one.
    let mut slow = Box::pin(desk.awaits(order, &first));
    assert!(poll(slow.as_mut()).is_pending(), "it was called, and has not kept its token yet");
    desk.world.advance(Duration::from_millis(1));
    desk.awaits(order, &second).await.unwrap();
    slow.await.unwrap();
    desk.pays(order).await;
    desk.hears(order, "InvoicePaid").await;
    assert_eq!(desk.tasks.ending(&second), Some(Ending::Succeeded));
    assert_eq!(desk.tasks.ending(&first), None);
}

#[tokio::test]
async fn a_wait_is_not_begun_when_nobody_knows_whether_it_would_be_ended() {
    let (desk, order, _) = invoiced().await;
    for failing in [vec![OnRead::Fails], vec![OnRead::Healthy, OnRead::Fails]] {
        desk.log.on_read(failing);
        let token = desk.tasks.begin();
        assert_eq!(desk.awaits(order, &token).await.unwrap_err(), "Unavailable");
        desk.log.heal();
    }
}

#[tokio::test]
async fn a_saga_for_no_order_or_a_rejected_one_does_not_wait() {
    let (desk, order, payment) = placed().await;
    let unknown = UNKNOWN.parse().unwrap();
    assert_eq!(desk.awaits(unknown, "token").await.unwrap_err(), "ORDER_NOT_FOUND");
    assert_eq!(desk.reminds(unknown).await.unwrap_err(), "ORDER_NOT_FOUND");
    desk.rejected("ada", order, payment).await;
    assert_eq!(desk.reminds(order).await, Ok(1), "waiting again finds out");
    assert_eq!(desk.awaits(order, "token").await.unwrap_err(), "ORDER_REJECTED");
}

// ---- how the placement ended

async fn handed_over(placement: Value) -> (String, String) {
    let (desk, order, _) = placed().await;
    let body = json!({ "placement": placement, "token": desk.tasks.begin() });
    let error = desk.asked("AwaitPayment", order, order, body).await.unwrap_err();
    assert_eq!(desk.tasks.ending("token-001"), None);
    (error.error_type, error.error_message)
}

#[tokio::test]
async fn what_the_placement_was_refused_for_is_handed_on_word_for_word() {
    // As Lambda's answer is told by Step Functions.
    let cause = json!({ "errorType": "INSUFFICIENT_STOCK", "errorMessage": "2 of 3 are left", "trace": [] });
    let placement = json!({
        "ExecutionArn": "arn", "Name": "n", "Status": "FAILED", "Error": "INSUFFICIENT_STOCK",
        "Cause": cause.to_string(), "StartDate": 1.0, "BillingDetails": { "BilledMemoryUsedInMB": 64 },
    });
    let told = ("INSUFFICIENT_STOCK".to_owned(), "2 of 3 are left".to_owned());
    assert_eq!(handed_over(placement).await, told);
}

#[tokio::test]
async fn a_placements_technical_failure_is_not_taken_for_the_waits_own() {
    // The state that waits retries `Unavailable`, takes `States.Timeout` for its own time-out and `ORDER_CANCELLED` for an
    // order whose contexts undo it by themselves.
    for (status, error, expected) in [
        ("FAILED", Some("Unavailable"), "PLACEMENT_FAILED"),
        ("FAILED", Some("Conflict"), "PLACEMENT_FAILED"),
        ("FAILED", Some("CONTENDED"), "PLACEMENT_FAILED"),
        ("FAILED", Some("States.Timeout"), "PLACEMENT_FAILED"),
        ("FAILED", Some("Lambda.TooManyRequestsException"), "PLACEMENT_FAILED"),
        ("FAILED", Some("ORDER_CANCELLED"), "PLACEMENT_FAILED"),
        ("FAILED", Some(""), "PLACEMENT_FAILED"),
        ("FAILED", None, "PLACEMENT_FAILED"),
        ("TIMED_OUT", Some("States.Timeout"), "PLACEMENT_TIMED_OUT"),
        ("TIMED_OUT", None, "PLACEMENT_TIMED_OUT"),
        ("ABORTED", None, "PLACEMENT_FAILED"),
        ("RUNNING", None, "PLACEMENT_FAILED"),
    ] {
        let (found, message) =
            handed_over(json!({ "Status": status, "Error": error, "Cause": "it hung" })).await;
        assert_eq!(found, expected, "{status} {error:?}");
        let named = error.unwrap_or(status);
        assert!(message.contains(named) && message.contains("it hung"), "{message}");
    }
}

#[tokio::test]
async fn an_order_that_was_approved_was_placed_whatever_became_of_the_answer() {
    for error in ["States.Timeout", "RESERVATION_IS_CLOSED"] {
        let (desk, order, payment) = placed().await;
        let placement = json!({ "Status": "FAILED", "Error": error, "Cause": "the answer was lost" });
        let token = desk.tasks.begin();
        let body = json!({ "placement": placement, "token": token });
        assert!(
            desk.asked("AwaitPayment", order, order, body.clone()).await.is_err(),
            "{error}: not approved"
        );
        let (customer_id, payment_id) = (desk::customer("ada"), payment);
        let approved = OrderApproved { customer_id, payment_id, shopping_id: None };
        desk.happened(order, OrderEvent::OrderApproved(approved)).await;
        desk.asked("AwaitPayment", order, order, body).await.unwrap();
        let readied = desk.readied("ada", order, payment, 150).await;
        desk.deliver(readied).await.unwrap();
        desk.pays(order).await;
        desk.hears(order, "InvoicePaid").await;
        assert_eq!(
            desk.tasks.ending(&token),
            Some(Ending::Succeeded),
            "{error}: it is heard of all the same"
        );
    }
}

#[tokio::test]
async fn a_placements_error_is_bounded_whatever_it_says() {
    let long = "X".repeat(100_000);
    let (code, message) = handed_over(json!({ "Status": "FAILED", "Error": long, "Cause": long })).await;
    assert_eq!((code.as_str(), message.len()), ("PLACEMENT_FAILED", 1000));
}

#[tokio::test]
async fn a_call_that_says_nothing_of_the_placement_keeps_no_token() {
    let (desk, order, _) = placed().await;
    for body in [
        json!({}),
        json!({ "token": "t" }),
        json!({ "placement": {}, "token": "t" }),
        json!({ "placement": { "Status": "SUCCEEDED" } }),
        json!({ "placement": { "Status": "SUCCEEDED" }, "token": "" }),
        json!({ "placement": { "Status": "SUCCEEDED" }, "token": 1 }),
    ] {
        let error = desk.asked("AwaitPayment", order, order, body).await.unwrap_err();
        assert_eq!(error.error_type, "INVOCATION_IS_MALFORMED", "{}", error.error_message);
    }
    use payments::waits::PaymentWaits;
    assert_eq!(desk.waits.newest(order).await, Ok(None));
}

// ---- reminding and giving up

#[tokio::test]
async fn a_customer_is_reminded_every_day_until_the_week_is_over() {
    let (desk, order, _) = invoiced().await;
    assert_eq!(desk.reminds(order).await, Ok(24 * 3600), "the invoice is new");
    for day in 1..=6 {
        desk.world.advance(DAY);
        assert_eq!(desk.reminds(order).await, Ok(24 * 3600), "day {day}");
        assert_eq!(desk.reminds(order).await, Ok(24 * 3600), "a retry does not remind again");
        let invoice = desk.invoice(order).await;
        assert_eq!((&invoice["reminders"], &invoice["dueAt"]), (&json!(day), &json!("2026-11-27T09:00:00Z")));
    }
    desk.world.advance(DAY - Duration::from_secs(5));
    assert_eq!(desk.reminds(order).await, Ok(5), "not beyond the deadline");
    desk.world.advance(Duration::from_secs(5));
    assert_eq!(desk.reminds(order).await.unwrap_err(), "PAYMENT_OVERDUE");
    desk.step("CancelInvoice", order, order).await.unwrap();
    desk.step("CancelInvoice", order, order).await.unwrap();
    let invoice = desk.invoice(order).await;
    assert_eq!((&invoice["status"], &invoice["reason"]), (&json!("canceled"), &json!("PAYMENT_OVERDUE")));
    assert_eq!(invoice.get("dueAt"), None);
}

#[tokio::test]
async fn an_order_that_is_still_collected_is_not_overdue_however_long_that_takes() {
    let (desk, order, payment) = placed().await;
    desk.world.advance(30 * DAY);
    assert_eq!(desk.reminds(order).await, Ok(24 * 3600));
    let readied = desk.readied("ada", order, payment, 150).await;
    desk.deliver(readied).await.unwrap();
    desk.world.advance(DAY);
    assert_eq!(desk.reminds(order).await, Ok(24 * 3600));
    assert_eq!(desk.invoice(order).await["reminders"], 1, "the week counts from the invoice");
}

#[tokio::test]
async fn a_saga_that_slept_too_long_reminds_once_and_not_for_every_day_it_missed() {
    let (desk, order, _) = invoiced().await;
    desk.world.advance(3 * DAY);
    for _ in 0..3 {
        assert_eq!(desk.reminds(order).await, Ok(24 * 3600));
    }
    assert_eq!(desk.invoice(order).await["reminders"], 1);
}

#[tokio::test]
async fn the_deadline_is_the_same_when_a_snapshot_has_hidden_the_first_event() {
    let (desk, order, _) = invoiced().await;
    for amount in 0..25 {
        let path = format!("/api/payments/invoices/{order}/adjust");
        desk.ok("PUT", &path, json!({ "amount": f64::from(amount) / 100.0 })).await;
    }
    desk.world.advance(6 * DAY);
    assert_eq!(desk.reminds(order).await, Ok(24 * 3600));
    let reminded = desk.of_invoice(order, "InvoiceReminded").await.unwrap();
    assert_eq!(reminded.data.as_ref().unwrap()["dueAt"], "2026-11-27T09:00:00Z");
    assert_eq!(reminded.data.as_ref().unwrap()["amount"]["minor"], 24);
    desk.world.advance(DAY);
    assert_eq!(desk.reminds(order).await.unwrap_err(), "PAYMENT_OVERDUE");
}

#[tokio::test]
async fn an_answer_that_was_lost_does_not_remind_twice() {
    let (desk, order, _) = invoiced().await;
    desk.world.advance(DAY);
    desk.log.on_append([OnAppend::AnswerLost]);
    desk.log.on_read([OnRead::Healthy, OnRead::Healthy, OnRead::Healthy, OnRead::Fails]);
    assert_eq!(desk.reminds(order).await.unwrap_err(), "Unavailable");
    desk.log.heal();
    desk.world.advance(Duration::from_secs(30));
    assert_eq!(desk.reminds(order).await, Ok(24 * 3600 - 30));
    assert_eq!(desk.invoice(order).await["reminders"], 1);
}

#[tokio::test]
async fn two_that_remind_at_once_remind_once() {
    let (desk, order, _) = invoiced().await;
    desk.world.advance(DAY);
    let other = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        other.reminds(order).await.unwrap();
    })]);
    assert_eq!(desk.reminds(order).await, Ok(24 * 3600));
    assert_eq!(desk.invoice(order).await["reminders"], 1);
}

#[tokio::test]
async fn a_customer_who_pays_while_a_reminder_is_written_is_not_reminded() {
    let (desk, order, _) = invoiced().await;
    desk.world.advance(DAY);
    let customer = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move { customer.pays(order).await })]);
    assert_eq!(desk.reminds(order).await, Ok(1));
    assert_eq!(desk.of_invoice(order, "InvoiceReminded").await, None);
}

#[tokio::test]
async fn a_customer_who_pays_in_the_last_moment_is_not_given_up() {
    let (desk, order, _) = invoiced().await;
    desk.world.advance(7 * DAY);
    assert_eq!(desk.reminds(order).await.unwrap_err(), "PAYMENT_OVERDUE");
    let customer = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move { customer.pays(order).await })]);
    assert_eq!(desk.step("CancelInvoice", order, order).await.unwrap_err(), "INVOICE_IS_PAID");
    let token = desk.tasks.begin();
    desk.awaits(order, &token).await.unwrap();
    assert_eq!(desk.tasks.ending(&token), Some(Ending::Succeeded));
}

#[tokio::test]
async fn an_order_whose_invoice_was_canceled_by_hand_is_given_up_when_the_week_is_over() {
    let (desk, order, _) = invoiced().await;
    desk.ok("PUT", &format!("/api/payments/invoices/{order}/cancel"), json!({})).await;
    desk.world.advance(DAY);
    // In one turn, and not in one a second, each of which takes the execution a dozen of its 25,000 events.
    assert_eq!(desk.reminds(order).await, Ok((6 * DAY).as_secs()));
    assert_eq!(desk.of_invoice(order, "InvoiceReminded").await, None, "nothing is owed");
    desk.world.advance(6 * DAY);
    assert_eq!(desk.reminds(order).await.unwrap_err(), "PAYMENT_OVERDUE");
    desk.step("CancelInvoice", order, order).await.unwrap();
}

#[tokio::test]
async fn nobody_is_reminded_of_a_cancelled_order() {
    let (desk, order, payment) = invoiced().await;
    desk.cancelled("ada", order, payment).await;
    desk.world.advance(9 * DAY);
    assert_eq!(desk.reminds(order).await.unwrap_err(), "ORDER_CANCELLED");
    assert_eq!(desk.of_invoice(order, "InvoiceReminded").await, None);
}

#[tokio::test]
async fn why_the_saga_gives_up_is_the_invoices_reason() {
    let (desk, order, _) = invoiced().await;
    let body = json!({ "reason": "Lambda.Unknown" });
    desk.asked("CancelInvoice", order, order, body).await.unwrap();
    assert_eq!(desk.invoice(order).await["reason"], "Lambda.Unknown");
}

#[tokio::test]
async fn an_event_that_does_not_end_a_wait_is_a_mistake_in_the_template() {
    let (desk, order, payment) = invoiced().await;
    let created = desk.of_invoice(order, "InvoiceCreated").await.unwrap();
    let readied = desk.of_order(order, "OrderReadied").await.unwrap();
    for event in [created, readied] {
        let fault = desk.wakes(event).await.unwrap_err();
        assert!(fault.to_string().contains("check its rule"), "{fault}");
    }
    let mut canceled = desk.cancelled("ada", order, payment).await;
    canceled.data = None; // as the bus leaves out what is too large for it
    desk.wakes(canceled).await.unwrap();
}

// ---- while it begins to wait

/// What happens to an order while its saga begins to wait.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Paid,
    Cancelled,
}

/// Lets the saga begin to wait for so many turns, then lets something happen; after so many turns more it is heard of.
/// Whether the saga was still beginning by then, and how its task ended.
async fn begins(before: usize, between: usize, meanwhile: Meanwhile) -> (bool, Option<Ending>) {
    let (desk, order, payment) = invoiced().await;
    let token = desk.tasks.begin();
    let (mut running, mut answer) = (Some(Box::pin(desk.awaits(order, &token))), None);
    let mut turns = |times| {
        for _ in 0..times {
            let Some(begins) = &mut running else { return false };
            if let Poll::Ready(ready) = poll(begins.as_mut()) {
                (running, answer) = (None, Some(ready));
            }
        }
        running.is_some()
    };
    let beginning = turns(before);
    let heard = match meanwhile {
        Meanwhile::Paid => {
            desk.pays(order).await;
            "InvoicePaid"
        }
        Meanwhile::Cancelled => {
            desk.cancelled("ada", order, payment).await;
            "OrderCanceled"
        }
    };
    turns(between);
    desk.hears(order, heard).await;
    turns(100);
    let ending = match answer.expect("it begins within a hundred turns") {
        Ok(_) => desk.tasks.ending(&token),
        Err(code) => Some(Ending::Failed(code)),
    };
    (beginning, ending)
}

#[tokio::test]
async fn whatever_happens_at_whichever_moment_of_the_beginning_ends_the_wait() {
    for (meanwhile, expected) in [
        (Meanwhile::Paid, Ending::Succeeded),
        (Meanwhile::Cancelled, Ending::Failed("ORDER_CANCELLED".to_owned())),
    ] {
        let mut moments = 0;
        loop {
            let (beginning, ending) = begins(moments, 0, meanwhile).await;
            assert_eq!(ending, Some(expected.clone()), "{meanwhile:?} after {moments} turns");
            for between in 1..12 {
                let (_, ending) = begins(moments, between, meanwhile).await;
                assert_eq!(ending, Some(expected.clone()), "{meanwhile:?}: {moments}, {between} turns");
            }
            if !beginning {
                break;
            }
            moments += 1;
        }
        assert!(moments > 4, "there is a moment before and after each of its calls: {moments}");
    }
}

// ---- everything at once

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What a function answers when the event table does not.
const UNAVAILABLE: &str = "Unavailable";

/// How the saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Paid,
    Cancelled,
}

/// What order-saga.asl.json does from `AwaitPayment` on.
async fn saga(desk: &Desk, order: OrderId, payment: PaymentId, ended: &Cell<Option<End>>) {
    loop {
        let token = desk.tasks.begin();
        match desk.awaits(order, &token).await {
            Ok(_) => {}
            Err(code) if code == UNAVAILABLE => continue, // tried again, with another token
            Err(code) => {
                assert_eq!(code, "ORDER_CANCELLED");
                return ended.set(Some(End::Cancelled));
            }
        }
        let ending = loop {
            match desk.tasks.ending(&token) {
                Some(ending) => break ending,
                None => tokio::task::yield_now().await,
            }
        };
        match ending {
            Ending::Succeeded => return ended.set(Some(End::Paid)),
            Ending::Failed(error) => {
                assert_eq!(error, "ORDER_CANCELLED");
                return ended.set(Some(End::Cancelled));
            }
            Ending::TimedOut => {}
        }
        match desk.reminds(order).await.as_ref().map_err(String::as_str) {
            Ok(_) | Err(UNAVAILABLE) => continue, // a reminder that cannot be sent is left out
            Err("ORDER_CANCELLED") => return ended.set(Some(End::Cancelled)),
            Err(code) => assert_eq!(code, "PAYMENT_OVERDUE"),
        }
        let given_up = loop {
            match desk.step("CancelInvoice", order, order).await {
                Err(code) if code == UNAVAILABLE => {}
                answer => break answer,
            }
        };
        if let Err(code) = given_up {
            assert_eq!(code, "INVOICE_IS_PAID");
            continue;
        }
        if desk.of_order(order, "OrderCanceled").await.is_none() {
            desk.cancelled("ada", order, payment).await;
        }
        return ended.set(Some(End::Cancelled));
    }
}

/// One delivery of an event to one of those who hear of it, some time after it happened; none when it does not happen.
async fn delivery(
    desk: &Desk,
    order: OrderId,
    event_type: &str,
    wakes: bool,
    again: bool,
    over: &Cell<bool>,
) {
    let mut event = loop {
        let happened = match event_type {
            "InvoicePaid" => desk.of_invoice(order, event_type).await,
            _ => desk.of_order(order, event_type).await,
        };
        match happened {
            Some(event) => break event,
            None if over.get() => return,
            None => tokio::task::yield_now().await,
        }
    };
    if again {
        event.id = Uuid::new_v5(&event.id, b"again"); // its command id is of no help, as after many commits
    }
    loop {
        let event = event.clone();
        let handled = if wakes { desk.wakes(event).await } else { desk.deliver(event).await };
        match handled {
            Ok(()) => return,
            // It goes back to its queue.
            Err(fault) if fault.is_technical() => tokio::task::yield_now().await,
            Err(fault) => panic!("{event_type} cannot be handled: {fault}"),
        }
    }
}

/// What the customer does, or what the order's fate is.
async fn customer(desk: &Desk, order: OrderId, payment: PaymentId, pays: bool, cancels: bool) {
    if pays {
        let path = format!("/api/payments/invoices/{order}/pay");
        let (status, body) = desk.send("PUT", &path, json!({})).await;
        // 409: an invoice that was not there yet when its payment was looked for.
        assert!([200, 400, 404, 409, 503].contains(&status), "{body}");
    }
    if cancels && desk.of_order(order, "OrderCanceled").await.is_none() {
        desk.cancelled("ada", order, payment).await;
    }
}

/// Runs everything at once: each choice says who goes on, and how many of its calls it makes.
fn run(choices: &[(u8, u8)], pays: bool, cancels: bool, twice: bool) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (desk, order, payment) = placed().await;
        desk.readied("ada", order, payment, 150).await;
        let (ended, over) = (Cell::new(None), Cell::new(false));
        let hears = |event, wakes, again| -> Running<'_> {
            Box::pin(delivery(&desk, order, event, wakes, again, &over))
        };
        let mut crowd: Vec<Option<Running<'_>>> = vec![
            Some(Box::pin(saga(&desk, order, payment, &ended))),
            Some(Box::pin(customer(&desk, order, payment, false, cancels))),
            Some(Box::pin(async {
                // It takes the customer some tries, until there is an invoice.
                for _ in 0..if pays { 12 } else { 0 } {
                    customer(&desk, order, payment, true, false).await;
                }
            })),
        ];
        for again in if twice { &[false, true][..] } else { &[false] } {
            let again = *again;
            crowd.push(Some(hears("OrderReadied", false, again)));
            crowd.push(Some(hears("InvoicePaid", false, again)));
            crowd.push(Some(hears("InvoicePaid", true, again)));
            crowd.push(Some(hears("OrderCanceled", false, again)));
            crowd.push(Some(hears("OrderCanceled", true, again)));
        }
        let turn = |one: &mut Option<Running<'_>>| {
            if one.as_mut().is_some_and(|running| poll(running.as_mut()).is_ready()) {
                *one = None;
            }
        };
        for (choice, turns) in choices {
            match usize::from(*choice) % (crowd.len() + 3) {
                index if index < crowd.len() => (0..*turns).for_each(|_| turn(&mut crowd[index])),
                index if index == crowd.len() => desk.tasks.time_out(),
                index if index == crowd.len() + 1 => desk.log.on_read([OnRead::Fails]),
                _ => desk.world.advance(DAY),
            }
        }
        desk.log.heal();
        // Nobody interferes any more, and no time passes. What can be done is done.
        for round in 0..400 {
            over.set(round > 200);
            crowd.iter_mut().for_each(turn);
        }
        prop_assert!(crowd[1..].iter().all(Option::is_none), "somebody hangs");

        let paid = desk.of_invoice(order, "InvoicePaid").await.is_some();
        let canceled = desk.of_order(order, "OrderCanceled").await.is_some();
        match (paid, canceled) {
            (false, false) => prop_assert_eq!(ended.get(), None, "the saga goes on waiting"),
            (true, false) => prop_assert_eq!(ended.get(), Some(End::Paid), "the saga slept on"),
            (false, true) => prop_assert_eq!(ended.get(), Some(End::Cancelled), "the saga slept on"),
            (true, true) => prop_assert!(ended.get().is_some(), "the saga slept on"),
        }
        let shown = desk.payment(payment).await;
        let (_, invoice) = desk.send("GET", &format!("/api/payments/invoices/{order}"), Value::Null).await;
        let (money, bill) = (shown["status"].as_str().unwrap(), invoice["invoice"]["status"].as_str());
        let expected = match (paid, canceled) {
            (false, false) => ("confirmed", Some("pending")),
            (true, false) => ("captured", Some("paid")),
            (true, true) => ("refunded", Some("paid")),
            (false, true) => ("released", bill.filter(|status| *status == "canceled")),
        };
        prop_assert_eq!((money, bill), expected);
        let events = desk.written().await;
        let ids: std::collections::HashSet<_> = events.iter().map(|event| event.id).collect();
        prop_assert_eq!(ids.len(), events.len(), "two events have one id");
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A saga that waits, a customer who pays, one who cancels, and every event, often twice, to everybody who hears of it,
    /// each step of each at any moment, on an event table that does not always answer: nobody sleeps through what happened, and the money is where it belongs.
    #[test]
    fn whatever_happens_while_the_saga_waits_it_is_woken_and_the_money_is_where_it_belongs(
        choices in prop::collection::vec((any::<u8>(), 1..24_u8), 0..120),
        pays in any::<bool>(),
        cancels in any::<bool>(),
        twice in any::<bool>(),
    ) {
        run(&choices, pays, cancels, twice)?;
    }
}
