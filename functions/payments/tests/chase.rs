//! Invoices are chased: whatever happens meanwhile, a customer is reminded once per period, and given up in
//! time or never.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod desk;

use std::{sync::Arc, time::Duration};

use contracts::{
    Envelope,
    ids::{OrderId, PaymentId},
    payments::{InvoiceCreated, InvoiceEvent, InvoicePaid},
};
use desk::{Desk, TERMS, cents, customer};
use kernel::Id;
use payments::{
    chase::{Chased, PER_RUN, READ_AHEAD, RUN_TIME},
    invoice::Terms,
    invoices::{BY_CUSTOMER, CHASED, Invoices, OPEN},
};
use projection::{DynamoViews, MemoryViews, ViewStore};
use proptest::prelude::*;
use serde_json::{Value, json};
use testing::{
    EmbeddedDynamo,
    faulty::{OnAppend, OnRead},
    tell,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

const NOTHING: Chased = Chased { reminded: 0, expired: 0, failed: 0, more: false };
const REMINDED: Chased = Chased { reminded: 1, ..NOTHING };
const EXPIRED: Chased = Chased { expired: 1, ..NOTHING };
const FAILED: Chased = Chased { failed: 1, ..NOTHING };

fn terms(deadline: u64, reminder: u64) -> Terms {
    Terms { deadline: Duration::from_secs(deadline), reminder: Duration::from_secs(reminder) }
}

impl Desk {
    /// Everything that happened is in the view, and the schedule runs.
    async fn runs(&self) -> Chased {
        self.project().await;
        self.chase().await.unwrap()
    }

    /// An open invoice of its own, which is in the view after the next [`Desk::project`].
    async fn owed(&self, name: &str) -> OrderId {
        let (order, payment_id): (OrderId, PaymentId) =
            (Id::derived(&["order", name]), Id::derived(&["payment"]));
        let (customer_id, amount) = (customer("ada"), cents(150));
        let created = InvoiceCreated { order_id: order, customer_id, payment_id, amount };
        self.told(order, InvoiceEvent::InvoiceCreated(created)).await;
        order
    }

    /// An event of the invoice's stream that no command decided.
    async fn told(&self, order: OrderId, event: InvoiceEvent) {
        let stream = format!("payments.Invoice/{order}").parse().unwrap();
        tell(&self.store, &stream, &event, &self.world.command("stage")).await;
    }
}

#[tokio::test]
async fn a_customer_is_reminded_every_day_until_the_week_is_over_and_then_given_up() {
    let (desk, order, _) = Desk::invoiced().await;
    assert_eq!(desk.runs().await, NOTHING, "the invoice is new");
    for day in 1..=6 {
        desk.world.advance(DAY);
        assert_eq!(desk.runs().await, REMINDED, "day {day}");
        assert_eq!(desk.runs().await, NOTHING, "the next minute");
        let invoice = desk.invoice(order).await;
        assert_eq!((&invoice["reminders"], &invoice["dueAt"]), (&json!(day), &json!("2026-11-27T09:00:00Z")));
    }
    desk.world.advance(DAY - Duration::from_secs(1));
    assert_eq!(desk.runs().await, NOTHING, "a second is left");
    desk.world.advance(Duration::from_secs(1));
    assert_eq!(desk.runs().await, EXPIRED);
    let invoice = desk.invoice(order).await;
    assert_eq!((&invoice["status"], &invoice["reason"]), (&json!("canceled"), &json!("PAYMENT_OVERDUE")));
    assert_eq!(invoice.get("dueAt"), None);
    desk.world.advance(DAY);
    assert_eq!(desk.runs().await, NOTHING, "given up once");
}

#[tokio::test]
async fn an_invoice_that_is_late_by_an_outage_of_an_hour_is_reminded_once_and_not_three_times() {
    let (mut desk, order, _) = Desk::invoiced().await;
    desk.terms = terms(7 * 24 * 3600, 20 * 60);
    desk.world.advance(60 * MINUTE);
    assert_eq!(desk.runs().await, REMINDED);
    for _ in 0..19 {
        desk.world.advance(MINUTE);
        assert_eq!(desk.runs().await, NOTHING, "the period begins anew");
    }
    desk.world.advance(MINUTE);
    assert_eq!(desk.runs().await, REMINDED);
    assert_eq!(desk.invoice(order).await["reminders"], 2);
}

#[tokio::test]
async fn an_invoice_that_fell_due_in_an_outage_is_given_up_and_not_reminded_first() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(30 * DAY);
    assert_eq!(desk.runs().await, EXPIRED);
    assert_eq!(desk.count(order, "InvoiceReminded").await, 0);
}

#[tokio::test]
async fn a_reminder_that_two_runs_send_is_sent_once() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(DAY);
    desk.project().await;
    let other = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        assert_eq!(other.chase().await.unwrap(), REMINDED);
    })]);
    assert_eq!(desk.chase().await.unwrap(), NOTHING, "the other run was faster, and that is no failure");
    assert_eq!(desk.count(order, "InvoiceReminded").await, 1);
}

#[tokio::test]
async fn an_invoice_that_two_runs_give_up_is_given_up_once() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(7 * DAY);
    desk.project().await;
    let other = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        assert_eq!(other.chase().await.unwrap(), EXPIRED);
    })]);
    assert_eq!(desk.chase().await.unwrap(), NOTHING);
    assert_eq!(desk.count(order, "InvoiceCanceled").await, 1);
}

#[tokio::test]
async fn a_customer_who_pays_while_the_chase_gives_up_keeps_the_order() {
    let (desk, order, payment) = Desk::invoiced().await;
    desk.world.advance(7 * DAY);
    desk.project().await;
    let customer = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move { customer.pays(order).await })]);
    assert_eq!(desk.chase().await.unwrap(), NOTHING, "that is no failure");
    assert_eq!(desk.invoice(order).await["status"], "paid");
    assert_eq!(desk.count(order, "InvoiceCanceled").await, 0, "so nobody undoes the order");
    let event = desk.of_invoice(order, "InvoicePaid").await.unwrap();
    desk.deliver(event).await.unwrap();
    assert_eq!(desk.payment(payment).await["status"], "captured");
}

#[tokio::test]
async fn a_customer_does_not_pay_an_invoice_that_is_given_up_at_that_very_moment() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(7 * DAY);
    desk.project().await;
    let schedule = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        assert_eq!(schedule.chase().await.unwrap(), EXPIRED);
    })]);
    let pay = format!("/api/payments/invoices/{order}/pay");
    desk.refused("PUT", &pay, json!({}), 400, "INVOICE_CANNOT_BE_PAID").await;
}

#[tokio::test]
async fn a_customer_who_pays_while_a_reminder_is_written_is_not_reminded() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(DAY);
    desk.project().await;
    let customer = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move { customer.pays(order).await })]);
    assert_eq!(desk.chase().await.unwrap(), NOTHING);
    assert_eq!(desk.count(order, "InvoiceReminded").await, 0);
}

#[tokio::test]
async fn a_reminder_says_what_is_owed_after_an_adjustment_at_the_same_moment() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(DAY);
    desk.project().await;
    let shop = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move {
        shop.ok("PUT", &format!("/api/payments/invoices/{order}/adjust"), json!({ "amount": 1.25 })).await;
    })]);
    assert_eq!(desk.chase().await.unwrap(), REMINDED);
    let reminded = desk.of_invoice(order, "InvoiceReminded").await.unwrap();
    assert_eq!(reminded.data.unwrap()["amount"]["minor"], 125);
}

#[tokio::test]
async fn a_customer_who_has_paid_is_left_alone_though_the_view_lags() {
    for verb in ["pay", "cancel"] {
        let (desk, order, _) = Desk::invoiced().await;
        desk.project().await;
        desk.ok("PUT", &format!("/api/payments/invoices/{order}/{verb}"), json!({})).await;
        let written = desk.written().await;
        for days in [1, 6] {
            desk.world.advance(days * DAY);
            assert_eq!(desk.chase().await.unwrap(), NOTHING, "{verb}");
        }
        assert_eq!(desk.written().await, written);
    }
}

#[tokio::test]
async fn a_view_that_lags_behind_a_reminder_reminds_nobody_twice() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.project().await;
    desk.world.advance(DAY);
    assert_eq!(desk.chase().await.unwrap(), REMINDED);
    for _ in 0..3 {
        desk.world.advance(MINUTE);
        assert_eq!(desk.chase().await.unwrap(), NOTHING);
    }
    assert_eq!(desk.count(order, "InvoiceReminded").await, 1);
}

#[tokio::test]
async fn an_answer_that_was_lost_does_not_remind_twice() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(DAY);
    desk.project().await;
    desk.log.on_append([OnAppend::AnswerLost]);
    desk.log.on_read([OnRead::Healthy, OnRead::Healthy, OnRead::Fails]);
    assert_eq!(desk.chase().await.unwrap(), FAILED);
    desk.log.heal();
    desk.world.advance(MINUTE);
    assert_eq!(desk.chase().await.unwrap(), NOTHING);
    assert_eq!(desk.count(order, "InvoiceReminded").await, 1);
}

// ---- terms

#[tokio::test]
async fn changed_terms_hold_for_open_invoices() {
    let (mut desk, order, _) = Desk::invoiced().await;
    desk.world.advance(2 * DAY);
    desk.terms = Terms { reminder: 3 * DAY, ..TERMS };
    assert_eq!(desk.runs().await, NOTHING, "a longer period");
    desk.terms = TERMS;
    assert_eq!(desk.runs().await, REMINDED, "a shorter one");
    desk.world.advance(DAY / 2);
    desk.terms = Terms { reminder: DAY / 2, ..TERMS };
    assert_eq!(desk.runs().await, REMINDED, "it counts from the last reminder");
    desk.world.advance(6 * DAY);
    desk.terms = Terms { deadline: 14 * DAY, reminder: 10 * DAY };
    assert_eq!(desk.runs().await, NOTHING, "more time to pay");
    assert_eq!(desk.invoice(order).await["dueAt"], "2026-12-04T09:00:00Z");
    desk.terms = Terms { deadline: 8 * DAY, reminder: 10 * DAY };
    assert_eq!(desk.runs().await, EXPIRED, "less time to pay");
}

#[tokio::test]
async fn a_deadline_that_is_no_multiple_of_the_reminder_is_kept_to_the_second() {
    let (mut desk, order, _) = Desk::invoiced().await;
    desk.terms = terms(150, 60);
    for (second, expected) in
        [(59, NOTHING), (60, REMINDED), (119, NOTHING), (120, REMINDED), (149, NOTHING), (150, EXPIRED)]
    {
        desk.world.set(testing::TestPorts::START + Duration::from_secs(second));
        assert_eq!(desk.runs().await, expected, "second {second}");
    }
    assert_eq!(desk.count(order, "InvoiceReminded").await, 2);
}

#[tokio::test]
async fn a_deadline_that_is_shorter_than_the_reminder_is_kept_and_reminds_nobody() {
    let (mut desk, order, _) = Desk::invoiced().await;
    desk.terms = terms(60, 3600);
    desk.world.advance(Duration::from_secs(59));
    assert_eq!(desk.runs().await, NOTHING);
    desk.world.advance(Duration::from_secs(1));
    assert_eq!(desk.runs().await, EXPIRED);
    assert_eq!(desk.count(order, "InvoiceReminded").await, 0);
}

#[tokio::test]
async fn an_order_that_is_still_collected_is_not_overdue_however_long_that_takes() {
    let (desk, order, payment) = Desk::placed().await;
    desk.world.advance(30 * DAY);
    assert_eq!(desk.runs().await, NOTHING);
    let readied = desk.readied("ada", order, payment, 150).await;
    desk.deliver(readied).await.unwrap();
    assert_eq!(desk.runs().await, NOTHING);
    desk.world.advance(DAY);
    assert_eq!(desk.runs().await, REMINDED, "the week counts from the invoice");
}

#[tokio::test]
async fn the_deadline_is_the_same_when_a_snapshot_has_hidden_the_first_event() {
    let (desk, order, _) = Desk::invoiced().await;
    for amount in 0..25 {
        let path = format!("/api/payments/invoices/{order}/adjust");
        desk.ok("PUT", &path, json!({ "amount": f64::from(amount) / 100.0 })).await;
    }
    desk.world.advance(6 * DAY);
    assert_eq!(desk.runs().await, REMINDED);
    let reminded = desk.of_invoice(order, "InvoiceReminded").await.unwrap();
    assert_eq!(reminded.data.as_ref().unwrap()["dueAt"], "2026-11-27T09:00:00Z");
    assert_eq!(reminded.data.as_ref().unwrap()["amount"]["minor"], 24);
    desk.world.advance(DAY);
    assert_eq!(desk.runs().await, EXPIRED);
}

// ---- many invoices

#[tokio::test]
async fn one_invoice_that_fails_stops_no_other_and_is_taken_up_by_the_next_run() {
    let desk = Desk::new();
    for number in 0..20 {
        desk.owed(&number.to_string()).await;
    }
    for (after, reminded, expired) in [(DAY, 20, 0), (6 * DAY, 0, 20)] {
        desk.world.advance(after);
        desk.project().await;
        desk.log.on_append([OnAppend::Healthy, OnAppend::Throttled]);
        desk.log.on_read([OnRead::Healthy, OnRead::Healthy, OnRead::Fails]);
        let first = desk.chase().await.unwrap();
        assert_eq!((first.failed, first.reminded + first.expired, first.more), (2, 18, false));
        let second = desk.chase().await.unwrap();
        assert_eq!((second.failed, second.reminded + second.expired), (0, 2));
        assert_eq!((first.reminded + second.reminded, first.expired + second.expired), (reminded, expired));
    }
}

#[tokio::test]
async fn an_invoice_that_will_fail_for_ever_rings_the_alarm_after_all_others_were_chased() {
    let desk = Desk::new();
    let broken = desk.owed("broken").await;
    let orders = [desk.owed("1").await, desk.owed("2").await];
    desk.project().await;
    let (customer_id, payment_id, amount) = (customer("ada"), Id::derived(&["payment"]), cents(150));
    for _ in 0..2 {
        let paid = InvoicePaid { order_id: broken, customer_id, payment_id, amount };
        desk.told(broken, InvoiceEvent::InvoicePaid(paid)).await;
    }
    for (after, event_type) in [(DAY, "InvoiceReminded"), (6 * DAY, "InvoiceCanceled")] {
        desk.world.advance(after);
        let fault = desk.chase().await.unwrap_err();
        assert!(fault.is_technical() && fault.to_string().contains(&broken.to_string()), "{fault}");
        for order in orders {
            assert_eq!(desk.count(order, event_type).await, 1, "{event_type}");
        }
    }
}

#[tokio::test]
async fn a_backlog_is_worked_off_in_runs_that_end() {
    let desk = Desk::new();
    for number in 0..PER_RUN + 10 {
        desk.owed(&number.to_string()).await;
    }
    desk.world.advance(7 * DAY);
    desk.project().await;
    assert_eq!(desk.chase().await.unwrap(), Chased { expired: PER_RUN, more: true, ..NOTHING });
    assert_eq!(desk.runs().await, Chased { expired: 10, ..NOTHING });
    assert_eq!(desk.runs().await, NOTHING);
}

#[tokio::test]
async fn rows_that_are_settled_and_still_in_the_view_do_not_hide_an_invoice_that_is_overdue() {
    let desk = Desk::new();
    let (customer_id, payment_id, amount) = (customer("ada"), Id::derived(&["payment"]), cents(150));
    let mut settled = Vec::new();
    for number in 0..PER_RUN * (READ_AHEAD - 1) {
        settled.push(desk.owed(&number.to_string()).await);
    }
    desk.world.advance(MINUTE);
    let order = desk.owed("overdue").await;
    desk.project().await;
    for order_id in settled {
        let paid = InvoicePaid { order_id, customer_id, payment_id, amount };
        desk.told(order_id, InvoiceEvent::InvoicePaid(paid)).await;
    }
    desk.world.advance(7 * DAY);
    assert_eq!(desk.chase().await.unwrap(), EXPIRED);
    assert_eq!(desk.count(order, "InvoiceCanceled").await, 1);
}

#[tokio::test]
async fn a_run_on_a_slow_table_ends_before_its_function_is_stopped() {
    let desk = Desk::new();
    for number in 0..400 {
        desk.owed(&number.to_string()).await;
    }
    desk.world.advance(7 * DAY);
    desk.project().await;
    let world = desk.world.clone();
    desk.log.on_append([OnAppend::after(move || async move { world.advance(RUN_TIME) })]);
    let run = desk.chase().await.unwrap();
    assert!(run.more && run.expired > 0 && run.expired < 100, "{run:?}");
    let mut expired = run.expired;
    while expired < 400 {
        expired += desk.runs().await.expired;
    }
    assert_eq!(desk.runs().await, NOTHING);
}

#[tokio::test]
async fn the_chase_looks_into_every_shard_on_every_kind_of_table() {
    let dynamo = EmbeddedDynamo::start().await;
    let client = dynamo.client();
    projection::create_table::<Invoices>(&client, "invoices", &[BY_CUSTOMER, OPEN, CHASED]).await.unwrap();
    let tables: [Arc<dyn ViewStore<Invoices>>; 2] = [
        Arc::new(MemoryViews::<Invoices>::new()),
        Arc::new(DynamoViews::<Invoices>::new(client, "invoices")),
    ];
    for rows in tables {
        let desk = Desk { rows, ..Desk::new() };
        for number in 0..60 {
            desk.owed(&number.to_string()).await;
        }
        desk.world.advance(DAY);
        assert_eq!(desk.runs().await, Chased { reminded: 60, ..NOTHING });
        assert_eq!(desk.runs().await, NOTHING);
        desk.world.advance(DAY);
        assert_eq!(desk.runs().await, Chased { reminded: 60, ..NOTHING });
        desk.world.advance(5 * DAY);
        assert_eq!(desk.runs().await, Chased { expired: 60, ..NOTHING });
        assert_eq!(desk.runs().await, NOTHING);
    }
}

// ---- what others see

#[tokio::test]
async fn a_reminder_and_an_expiry_are_a_part_of_their_orders_story() {
    let (desk, order, _) = Desk::invoiced().await;
    desk.world.advance(DAY);
    assert_eq!(desk.runs().await, REMINDED);
    desk.world.advance(6 * DAY);
    assert_eq!(desk.runs().await, EXPIRED);
    let created = desk.of_invoice(order, "InvoiceCreated").await.unwrap();
    for event_type in ["InvoiceReminded", "InvoiceCanceled"] {
        let event = desk.of_invoice(order, event_type).await.unwrap();
        assert_eq!((event.correlation, event.causation), (created.correlation, Some(created.id)));
        assert_eq!(event.actor.as_str(), "schedule:chase-payments");
    }
}

#[test]
fn a_summary_says_what_was_done_and_whether_there_is_more() {
    let summary = Chased { reminded: 1, expired: 2, failed: 3, more: true };
    assert_eq!(json!(summary), json!({ "reminded": 1, "expired": 2, "failed": 3, "more": true }));
}

// ---- everything at once

/// Something that happens to three invoices, or to those who look after them.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A quarter of a reminder period passes, or several.
    Passes(u8),
    /// A run of the schedule.
    Chase,
    /// A second run begins while the first one writes.
    ChaseTwice,
    /// What happened so far reaches the view.
    Project,
    Pay(usize),
    Adjust(usize, u8),
    Cancel(usize),
    AnswerLost,
    Throttled,
    ReadFails,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u8).prop_map(Step::Passes),
        4 => Just(Step::Chase),
        1 => Just(Step::ChaseTwice),
        3 => Just(Step::Project),
        1 => (0..3_usize).prop_map(Step::Pay),
        1 => (0..3_usize, 0..15_u8).prop_map(|(which, amount)| Step::Adjust(which, amount)),
        1 => (0..3_usize).prop_map(Step::Cancel),
        1 => Just(Step::AnswerLost),
        1 => Just(Step::Throttled),
        1 => Just(Step::ReadFails),
    ]
}

async fn happens(desk: &Desk, orders: &[OrderId], step: Step) {
    let put = async |which: usize, verb: &str, body: Value| {
        let path = format!("/api/payments/invoices/{}/{verb}", orders[which]);
        let (status, body) = desk.send("PUT", &path, body).await;
        assert!([200, 400, 503].contains(&status), "{body}");
    };
    match step {
        Step::Passes(quarters) => desk.world.advance(u32::from(quarters) * DAY / 4),
        Step::Chase => {
            desk.chase().await.unwrap();
        }
        Step::ChaseTwice => {
            let other = desk.clone();
            desk.log.on_append([OnAppend::after(move || async move {
                other.chase().await.unwrap();
            })]);
            desk.chase().await.unwrap();
        }
        Step::Project => desk.project().await,
        Step::Pay(which) => put(which, "pay", json!({})).await,
        Step::Adjust(which, amount) => {
            put(which, "adjust", json!({ "amount": f64::from(amount) / 10.0 })).await
        }
        Step::Cancel(which) => put(which, "cancel", json!({})).await,
        Step::AnswerLost => desk.log.on_append([OnAppend::AnswerLost]),
        Step::Throttled => desk.log.on_append([OnAppend::Throttled]),
        Step::ReadFails => desk.log.on_read([OnRead::Fails]),
    }
}

/// Runs a story, and holds every invoice's events against the terms.
fn story(steps: &[Step], terms: Terms) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let desk = Desk { terms, ..Desk::new() };
        let mut orders = Vec::new();
        for _ in 0..3 {
            let payment = desk.authorized("ada", json!(20)).await;
            let order = desk.ordered("ada", payment, 150).await;
            desk.put(payment, "confirm", order).await;
            let readied = desk.readied("ada", order, payment, 150).await;
            desk.deliver(readied).await.unwrap();
            orders.push(order);
        }
        for step in steps {
            happens(&desk, &orders, *step).await;
        }
        desk.log.heal();
        desk.world.advance(terms.deadline);
        let last = desk.runs().await;
        prop_assert_eq!((last.failed, last.more, last.reminded), (0, false, 0));
        prop_assert_eq!(desk.runs().await, NOTHING);

        for order in orders {
            let events = desk.written().await;
            let stream = format!("payments.Invoice/{order}");
            let events: Vec<&Envelope> = events.iter().filter(|e| e.stream.to_string() == stream).collect();
            let (created, end) = (events[0].at, events[events.len() - 1]);
            let mut since = created;
            for event in &events {
                if event.event_type == "InvoiceReminded" {
                    prop_assert!(event.at >= since + terms.reminder, "reminded too early");
                    prop_assert!(event.at < created + terms.deadline, "reminded too late");
                    since = event.at;
                }
            }
            let ends = events.iter().filter(|e| ["InvoicePaid", "InvoiceCanceled"].contains(&&*e.event_type));
            prop_assert_eq!(ends.count(), 1, "paid and canceled exclude each other");
            let reason = end.data.as_ref().unwrap()["reason"].as_str();
            if reason == Some("PAYMENT_OVERDUE") {
                prop_assert!(end.at >= created + terms.deadline, "given up too early");
            }
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Customers who pay, shops that adjust and cancel, runs at any time and two at once, a view that lags
    /// and a table that does not always answer: nobody is reminded too early, too late or of a settled
    /// invoice, and no open invoice is forgotten.
    #[test]
    fn whatever_happens_while_invoices_are_chased_each_is_paid_or_given_up_in_time(
        steps in prop::collection::vec(any_step(), 0..60),
        deadline in 1..30_u32,
        reminder in 1..12_u32,
    ) {
        story(&steps, Terms { deadline: deadline * DAY / 4, reminder: reminder * DAY / 4 })?;
    }
}
