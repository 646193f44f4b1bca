//! What follows when orders are ready, paid and over, in every order in which that can be heard of and done.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

mod desk;

use std::collections::{BTreeMap, HashSet};

use contracts::{
    Envelope,
    ids::{OrderId, PaymentId},
};
use desk::{Desk, TERMS, customer};
use kernel::Uuid;
use serde_json::{Value, json};
use testing::faulty::OnAppend;

/// Something that happens, or is heard of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// A step of the placement, which saw the order pending, confirms the payment.
    Confirm,
    /// An operator releases by hand.
    Release,
    /// `OrderReadied` is delivered.
    Readied,
    /// The customer pays the invoice, if there is one.
    Pay,
    /// `InvoicePaid` is delivered, if there is one.
    Paid,
    /// The undo settles.
    Settle,
    /// The time to pay is over, and the chase gives up.
    GiveUp,
    /// An operator captures by hand.
    Capture,
    /// An operator refunds by hand.
    Refund,
}

/// Every order in which steps can come, each as often as said.
fn interleavings(steps: &[(Step, usize)]) -> Vec<Vec<Step>> {
    fn go(left: &mut Vec<(Step, usize)>, so_far: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
        if left.iter().all(|(_, times)| *times == 0) {
            all.push(so_far.clone());
            return;
        }
        for index in 0..left.len() {
            if left[index].1 > 0 {
                left[index].1 -= 1;
                so_far.push(left[index].0);
                go(left, so_far, all);
                so_far.pop();
                left[index].1 += 1;
            }
        }
    }
    let mut all = Vec::new();
    go(&mut steps.to_vec(), &mut Vec::new(), &mut all);
    all
}

/// How the second delivery of an event differs from the first, and the second settlement.
#[derive(Debug, Clone, Copy)]
enum Copies {
    /// Not at all, but the bus left out the body.
    WithoutBody,
    /// It seems to be another event, or is another attempt: so its command id is of no help, as after many
    /// commits.
    AsAnother,
}

/// What a run ended in: statuses of invoice and payment, and the payment's amounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    invoice: String,
    payment: String,
    captured: String,
    refunded: String,
}

struct Run {
    desk: Desk,
    order: OrderId,
    payment: PaymentId,
    copies: Copies,
    delivered: HashSet<String>,
    missed: usize,
    attempt: u32,
}

const TOTAL: i64 = 150;

impl Run {
    async fn new(copies: Copies) -> Self {
        let desk = Desk::new();
        let payment = desk.authorized("ada", json!(20)).await;
        let order = desk.ordered("ada", payment, TOTAL).await;
        Self { desk, order, payment, copies, delivered: HashSet::new(), missed: 0, attempt: 1 }
    }

    /// Delivers an event; a policy must cope whatever came before.
    async fn deliver(&mut self, mut event: Envelope) {
        if !self.delivered.insert(event.event_type.clone()) {
            match self.copies {
                Copies::WithoutBody => event.data = None,
                Copies::AsAnother => event.id = Uuid::new_v5(&event.id, b"again"),
            }
        }
        let kind = event.event_type.clone();
        self.desk.deliver(event).await.unwrap_or_else(|fault| panic!("{kind} cannot be handled: {fault}"));
    }

    async fn event(&self, kind: &str) -> Envelope {
        let stream = format!("ordering.Order/{}", self.order).parse().unwrap();
        let history = self.desk.store.history(&stream).await.unwrap();
        history.iter().flat_map(|commit| commit.envelopes()).find(|event| event.event_type == kind).unwrap()
    }

    async fn go(&mut self, step: Step) {
        let path = format!("/api/payments/{}", self.payment);
        let body = json!({ "orderId": self.order, "reason": "WILTED" });
        match step {
            Step::Confirm | Step::Release => {
                // By the route, which does not look at the order: the placement's look at it may be as old.
                let verb = if step == Step::Confirm { "confirm" } else { "release" };
                let (status, answer) = self.desk.send("PUT", &format!("{path}/{verb}"), body).await;
                let late =
                    answer["code"] == "PAYMENT_WAS_RELEASED" || answer["code"] == "PAYMENT_WAS_REFUNDED";
                assert!(status == 200 || step == Step::Confirm && late, "{answer}");
            }
            Step::Readied => self.deliver(self.event("OrderReadied").await).await,
            Step::Settle => {
                self.desk.settles(self.order, self.attempt).await.unwrap();
                match self.copies {
                    Copies::WithoutBody => {}
                    Copies::AsAnother => self.attempt += 1,
                }
            }
            Step::Paid => match self.desk.of_invoice(self.order, "InvoicePaid").await {
                Some(event) => self.deliver(event).await,
                None => self.missed += 1,
            },
            Step::Pay => {
                let path = format!("/api/payments/invoices/{}/pay", self.order);
                let (status, body) = self.desk.send("PUT", &path, json!({})).await;
                assert!([200, 400, 404, 409].contains(&status), "{body}");
            }
            Step::GiveUp => {
                self.desk.world.advance(TERMS.deadline);
                self.desk.project().await;
                assert_eq!(self.desk.chase().await.unwrap().failed, 0);
            }
            Step::Capture | Step::Refund => {
                let verb = if step == Step::Capture { "capture" } else { "refund" };
                let (status, body) = self.desk.send("PUT", &format!("{path}/{verb}"), body).await;
                assert!([200, 409].contains(&status), "{body}");
            }
        }
    }

    /// What is delivered at least once is delivered in the end.
    async fn end(mut self) -> End {
        if let Some(event) = self.desk.of_invoice(self.order, "InvoicePaid").await {
            for _ in 0..self.missed {
                self.deliver(event.clone()).await;
            }
        }
        let events = self.desk.written().await;
        let ids: HashSet<Uuid> = events.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), events.len(), "two events have one id");
        let path = format!("/api/payments/invoices/{}", self.order);
        let (_, invoice) = self.desk.send("GET", &path, Value::Null).await;
        let payment = self.desk.payment(self.payment).await;
        assert_eq!(payment["amount"], json!(20.0));
        End {
            invoice: invoice["invoice"]["status"].as_str().unwrap_or("none").to_owned(),
            payment: payment["status"].as_str().unwrap().to_owned(),
            captured: payment["captured"].to_string(),
            refunded: payment["refunded"].to_string(),
        }
    }
}

fn end(invoice: &str, payment: &str, captured: &str, refunded: &str) -> End {
    let (invoice, payment) = (invoice.to_owned(), payment.to_owned());
    End { invoice, payment, captured: captured.to_owned(), refunded: refunded.to_owned() }
}

/// Runs every interleaving, and counts what it ends in. The payment is confirmed before, unless a step does
/// it.
async fn ends(steps: &[(Step, usize)], canceled: bool) -> BTreeMap<End, usize> {
    let mut ends = BTreeMap::new();
    for copies in [Copies::WithoutBody, Copies::AsAnother] {
        for steps in interleavings(steps) {
            let mut run = Run::new(copies).await;
            if !steps.contains(&Step::Confirm) {
                run.go(Step::Confirm).await;
            }
            let (order, payment) = (run.order, run.payment);
            run.desk.readied("ada", order, payment, TOTAL).await;
            if canceled {
                run.desk.cancelled("ada", order, payment).await;
            }
            for step in steps {
                run.go(step).await;
            }
            *ends.entry(run.end().await).or_insert(0) += 1;
        }
    }
    ends
}

#[test]
fn the_interleavings_are_all_there() {
    let all = interleavings(&[(Step::Readied, 2), (Step::Pay, 1), (Step::Paid, 2), (Step::Settle, 2)]);
    assert_eq!(all.len(), 630); // 7! / (2! 2! 2!)
}

#[tokio::test]
async fn d4_an_order_that_is_ready_is_invoiced_once_and_paid_once_in_any_order() {
    let ends = ends(&[(Step::Readied, 2), (Step::Pay, 1), (Step::Paid, 2)], false).await;
    let found: Vec<&End> = ends.keys().collect();
    let unpaid = end("pending", "confirmed", "0.0", "0.0"); // the customer came before the invoice
    assert_eq!(found, [&end("paid", "captured", "1.5", "0.0"), &unpaid]);
}

#[tokio::test]
async fn d12_a_cancelled_order_keeps_no_money_in_any_order_of_events() {
    let steps = [(Step::Readied, 2), (Step::Pay, 1), (Step::Paid, 2), (Step::Settle, 2)];
    let ends = ends(&steps, true).await;
    let found: Vec<&End> = ends.keys().collect();
    // How it ends depends on one thing only: whether the invoice was there, and how it was closed.
    let paid = end("paid", "refunded", "1.5", "1.5");
    let canceled = end("canceled", "released", "0.0", "0.0");
    let never_made = end("none", "released", "0.0", "0.0");
    assert_eq!(found, [&canceled, &never_made, &paid]);
    assert_eq!(ends.values().sum::<usize>(), 2 * 630);
}

#[tokio::test]
async fn an_order_that_is_given_up_keeps_no_money_in_any_order_of_events() {
    // The chase gives the invoice up, and the undo of the order settles. The order may be cancelled for
    // another reason before, the chase may run twice, and the customer may pay in the same moment.
    let steps = [(Step::Readied, 1), (Step::Pay, 1), (Step::Paid, 1), (Step::Settle, 1), (Step::GiveUp, 2)];
    let ends = ends(&steps, true).await;
    let found: Vec<&End> = ends.keys().collect();
    let paid = end("paid", "refunded", "1.5", "1.5");
    let canceled = end("canceled", "released", "0.0", "0.0");
    let never_made = end("none", "released", "0.0", "0.0");
    assert_eq!(found, [&canceled, &never_made, &paid]);
}

#[tokio::test]
async fn d12_a_cancelled_order_keeps_no_money_though_an_operator_interferes() {
    let steps = [
        (Step::Readied, 1),
        (Step::Pay, 1),
        (Step::Paid, 1),
        (Step::Settle, 1),
        (Step::Capture, 1),
        (Step::Refund, 1),
    ];
    for end in ends(&steps, true).await.into_keys() {
        assert!(["released", "refunded"].contains(&end.payment.as_str()), "{end:?}");
        assert_eq!(end.captured, end.refunded, "{end:?}");
        assert!(end.invoice != "pending", "{end:?}");
    }
}

#[tokio::test]
async fn d11_an_order_cancelled_while_its_saga_runs_keeps_no_money_whatever_overtakes_what() {
    let steps = [(Step::Confirm, 2), (Step::Settle, 2), (Step::Release, 2)];
    let ends = ends(&steps, true).await;
    let found: Vec<&End> = ends.keys().collect();
    assert_eq!(found, [&end("none", "released", "0.0", "0.0")]);
}

#[tokio::test]
async fn the_invoice_of_a_ready_order_says_who_owes_what_for_which_order() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    let event = desk.readied("ada", order, payment, 150).await;
    desk.deliver(event).await.unwrap();
    let expected = json!({
        "id": order, "orderId": order, "customerId": customer("ada"), "paymentId": payment, "amount": 1.5,
        "status": "pending", "dueAt": "2026-11-27T09:00:00Z", "reminders": 0, "version": 1,
    });
    assert_eq!(desk.invoice(order).await, expected);
}

#[tokio::test]
async fn a_paid_invoice_that_cannot_be_captured_goes_back_to_its_queue() {
    let (desk, order, payment) = Desk::invoiced().await;
    // The customer pays between the look at the invoice and the release.
    let customer = desk.clone();
    desk.log.on_append([OnAppend::after(move || async move { customer.pays(order).await })]);
    desk.put(payment, "release", order).await;
    let event = desk.of_invoice(order, "InvoicePaid").await.unwrap();
    assert_eq!(desk.deliver(event).await.unwrap_err().code, "PAYMENT_WAS_RELEASED");
}

#[tokio::test]
async fn what_an_invoice_was_paid_with_is_not_released_before_it_is_captured() {
    let (desk, order, payment) = Desk::invoiced().await;
    desk.pays(order).await;
    let path = format!("/api/payments/{payment}/release");
    desk.refused("PUT", &path, json!({ "orderId": order }), 409, "INVOICE_IS_PAID").await;
    let event = desk.of_invoice(order, "InvoicePaid").await.unwrap();
    desk.deliver(event).await.unwrap();
    desk.refused("PUT", &path, json!({ "orderId": order }), 409, "PAYMENT_WAS_CAPTURED").await;
}

#[tokio::test]
async fn an_event_that_no_policy_answers_is_a_mistake_in_the_template() {
    let desk = Desk::new();
    let payment = desk.authorized("ada", json!(20)).await;
    let order = desk.ordered("ada", payment, 150).await;
    let readied = desk.readied("ada", order, payment, 150).await;
    let canceled = desk.cancelled("ada", order, payment).await;
    desk.deliver(readied).await.unwrap();
    let created = desk.of_invoice(order, "InvoiceCreated").await.unwrap();
    for fault in [
        desk.payments().invoice_order(canceled).await.unwrap_err(),
        desk.payments().capture_payment(created).await.unwrap_err(),
    ] {
        assert!(fault.to_string().contains("check its rule"), "{fault}");
    }
}
