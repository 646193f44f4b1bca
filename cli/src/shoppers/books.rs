//! The books, when all orders have come to their ends: nothing was lost and nothing came of nothing, neither goods nor money.
//!
//! Read over the API, from the streams. Only what this run did is in them: its orders, and the products whose stock was
//! counted in this run. Somebody else who shops in the same mall at the same time makes the stock of those products wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    http::No,
    ledger::Times,
    operations::{GET_INVOICE, GET_ORDER, GET_PAYMENT, GET_STOCK, TIMELINE},
    world::{World, amount},
};
use crate::{errors::Result, stack::Stack, target::aws};

/// What follows an order's end by events is waited for so long: what a function held that was killed comes back after a
/// minute, and may be killed again.
const PATIENCE: Duration = Duration::from_secs(240);
/// Between two looks at what does not add up yet.
const INTERVAL: Duration = Duration::from_secs(2);

/// What was found. Money is in minor units.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Books {
    pub orders: u64,
    /// Totals of the orders that are completed.
    pub completed: i64,
    /// Amounts of the invoices that were paid and whose payment was not given back.
    pub paid: i64,
    /// What was taken from payments and not given back.
    pub captured: i64,
    /// Products whose stock was counted in this run.
    pub products: u64,
    pub stocked: u64,
    pub on_hand: u64,
    pub sold: u64,
    pub reserved: u64,
    /// Messages in dead-letter queues.
    pub dead_letters: u64,
    /// What does not add up.
    pub wrong: Vec<String>,
    /// From the answer to the checkout to the approval, by the order's own events.
    #[serde(skip)]
    pub approved: Times,
}

/// An order and what belongs to it.
#[derive(Debug, Clone, Default)]
struct Entry {
    status: String,
    total: i64,
    items: Vec<(Uuid, u64)>,
    payment: String,
    held: i64,
    captured: i64,
    refunded: i64,
    invoice: Option<(String, i64)>,
    approved: Option<Timestamp>,
}

impl Entry {
    /// What does not add up: empty, or a sentence.
    fn judged(&self) -> Option<String> {
        let Self { status, total, payment, held, captured, refunded, invoice, .. } = self;
        let kept = captured - refunded;
        let invoice = invoice.as_ref().map(|(status, amount)| (status.as_str(), *amount));
        let adds_up = match status.as_str() {
            "completed" => payment == "captured" && kept == *total && invoice == Some(("paid", *total)),
            "rejected" => {
                payment == "released" && kept == 0 && matches!(invoice, None | Some(("canceled", _)))
            }
            "cancelled" => match invoice {
                None | Some(("canceled", _)) => {
                    matches!(payment.as_str(), "released" | "refunded") && kept == 0
                }
                Some(("paid", _)) => payment == "refunded" && kept == 0,
                Some(_) => false,
            },
            // It rests where nobody collects or nobody pays.
            "approved" | "ready" => {
                let owed = invoice.is_none_or(|invoice| invoice == ("pending", *total));
                payment == "confirmed" && kept == 0 && held == total && owed
            }
            _ => false,
        };
        let is_over = !matches!(status.as_str(), "approved" | "ready");
        let adds_up = adds_up && (*held == 0 || !is_over);
        (!adds_up).then(|| {
            format!("is {status} over {total}, its payment {payment} ({kept} kept, {held} held), its invoice {invoice:?}")
        })
    }
}

/// Reads them, until they add up or patience ends. The dead-letter queues belong to them.
pub async fn close(world: &World, sqs: &aws_sdk_sqs::Client, stack: &Stack) -> Result<Books> {
    let began = Instant::now();
    let placed = world.orders.all();
    let mut entries: BTreeMap<Uuid, Entry> = BTreeMap::new();
    let mut open: BTreeSet<Uuid> = placed.iter().map(|(order, _)| *order).collect();
    loop {
        for order in open.clone() {
            let Ok(entry) = read(world, order).await else { continue };
            if entry.judged().is_none() {
                open.remove(&order);
            }
            entries.insert(order, entry);
        }
        let mut books = added_up(&placed, &entries, &open);
        count_stock(world, &entries, &mut books).await;
        books.dead_letters = dead_letters(sqs, stack).await?;
        if books.wrong.is_empty() || began.elapsed() > PATIENCE {
            if books.dead_letters > 0 {
                books.wrong.push(format!("{} messages are in dead-letter queues", books.dead_letters));
            }
            return Ok(books);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn read(world: &World, order: Uuid) -> std::result::Result<Entry, No> {
    let api = &world.api;
    let shown = api.read(&GET_ORDER, order).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let minor = |value: &Value| amount(value).map_or(0, |money| money.minor());
    let payment = match shown["paymentId"].as_str().and_then(|id| id.parse().ok()) {
        Some(payment) => api.read(&GET_PAYMENT, payment).await?,
        None => Value::Null,
    };
    let invoice = match api.read(&GET_INVOICE, order).await {
        Ok(invoice) => Some((text(&invoice["status"]), minor(&invoice["amount"]))),
        Err(No::Refused(_)) => None,
        Err(No::Failed) => return Err(No::Failed),
    };
    let timeline = api.read(&TIMELINE, order).await?;
    let approved = timeline["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["what"] == "OrderApproved")
        .and_then(|entry| entry["at"].as_str()?.parse().ok());
    let items = shown["items"].as_array().into_iter().flatten();
    let items = items
        .filter_map(|item| Some((item["productId"].as_str()?.parse().ok()?, item["quantity"].as_u64()?)));
    Ok(Entry {
        status: text(&shown["status"]),
        total: minor(&shown["total"]),
        items: items.collect(),
        payment: text(&payment["status"]),
        held: minor(&payment["held"]),
        captured: minor(&payment["captured"]),
        refunded: minor(&payment["refunded"]),
        invoice,
        approved,
    })
}

/// The orders' part.
fn added_up(placed: &[(Uuid, Timestamp)], entries: &BTreeMap<Uuid, Entry>, open: &BTreeSet<Uuid>) -> Books {
    let mut books = Books { orders: placed.len() as u64, ..Books::default() };
    for order in open {
        let why = entries.get(order).and_then(Entry::judged);
        books.wrong.push(format!("order {order} {}", why.unwrap_or_else(|| "cannot be read".into())));
    }
    for entry in entries.values() {
        books.captured += entry.captured - entry.refunded;
        if entry.status == "completed" {
            books.completed += entry.total;
        }
        if let Some((status, amount)) = &entry.invoice
            && status == "paid"
            && entry.refunded == 0
        {
            books.paid += amount;
        }
    }
    let Books { completed, paid, captured, .. } = books;
    if completed != paid || paid != captured {
        books.wrong.push(format!(
            "completed orders cost {completed}, invoices over {paid} are paid, and {captured} were taken"
        ));
    }
    for (order, at) in placed {
        if let Some(approved) = entries.get(order).and_then(|entry| entry.approved) {
            // Two clocks, and an approval may overtake the answer to the checkout.
            books.approved.add(Duration::try_from(approved.duration_since(*at)).unwrap_or_default());
        }
    }
    books
}

/// The part of the stock: what was counted in is on the shelf, or was sold; what is kept is kept for orders that wait for
/// a bot or for money.
async fn count_stock(world: &World, entries: &BTreeMap<Uuid, Entry>, books: &mut Books) {
    let stocked = world.stocked.borrow().clone();
    for (product, stocked) in stocked {
        let of = |statuses: &[&str]| -> u64 {
            let orders = entries.values().filter(|entry| statuses.contains(&entry.status.as_str()));
            let items = orders.flat_map(|entry| &entry.items);
            items.filter(|(id, _)| *id == product).map(|(_, quantity)| quantity).sum()
        };
        let (sold, kept) = (of(&["completed"]), of(&["approved", "ready"]));
        let Ok(stock) = world.api.read(&GET_STOCK, product).await else {
            books.wrong.push(format!("the stock of product {product} cannot be read"));
            continue;
        };
        let number = |field: &str| stock[field].as_u64().unwrap_or(u64::MAX);
        let (on_hand, reserved) = (number("onHand"), number("reserved"));
        books.products += 1;
        books.stocked += stocked;
        books.sold += sold;
        books.on_hand = books.on_hand.saturating_add(on_hand);
        books.reserved = books.reserved.saturating_add(reserved);
        if on_hand.checked_add(sold) != Some(stocked) || reserved != kept {
            books.wrong.push(format!(
                "of product {product} {stocked} came in, {sold} were sold, {on_hand} are on hand, {reserved} of them kept for \
                 orders that need {kept}"
            ));
        }
    }
}

async fn dead_letters(sqs: &aws_sdk_sqs::Client, stack: &Stack) -> Result<u64> {
    use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
    let mut parked = 0;
    for url in stack.dead_letter_queues()? {
        let asked = sqs.get_queue_attributes().queue_url(url).attribute_names(ApproximateNumberOfMessages);
        let answer = asked.send().await.map_err(aws("asking for the depth of a queue"))?;
        let depth = answer.attributes().and_then(|all| all.get(&ApproximateNumberOfMessages));
        parked += depth.and_then(|depth| depth.parse().ok()).unwrap_or(0);
    }
    Ok(parked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(status: &str, payment: &str, captured: i64, refunded: i64, invoice: Option<&str>) -> Entry {
        Entry {
            status: status.into(),
            total: 500,
            payment: payment.into(),
            captured,
            refunded,
            invoice: invoice.map(|status| (status.to_owned(), 500)),
            ..Entry::default()
        }
    }

    #[test]
    fn an_order_whose_money_went_another_way_does_not_add_up() {
        let good = [
            entry("completed", "captured", 500, 0, Some("paid")),
            entry("rejected", "released", 0, 0, None),
            entry("cancelled", "released", 0, 0, Some("canceled")),
            entry("cancelled", "refunded", 500, 500, Some("paid")),
            Entry { held: 500, ..entry("approved", "confirmed", 0, 0, None) },
            Entry { held: 500, ..entry("ready", "confirmed", 0, 0, Some("pending")) },
        ];
        for entry in good {
            assert_eq!(entry.judged(), None, "{entry:?}");
        }
        let bad = [
            Entry { held: 1, ..entry("rejected", "released", 0, 0, None) },
            entry("completed", "captured", 499, 0, Some("paid")),
            entry("completed", "confirmed", 0, 0, Some("paid")),
            entry("completed", "captured", 500, 0, Some("pending")),
            entry("rejected", "confirmed", 0, 0, None),
            entry("rejected", "authorized", 0, 0, None),
            entry("rejected", "captured", 500, 0, Some("paid")),
            entry("cancelled", "released", 0, 0, Some("paid")),
            entry("cancelled", "captured", 500, 0, Some("paid")),
            Entry { held: 499, ..entry("approved", "confirmed", 0, 0, None) },
            Entry { held: 500, ..entry("ready", "confirmed", 0, 0, Some("canceled")) },
            Entry { held: 500, ..entry("ready", "confirmed", 0, 0, Some("paid")) },
            Entry {
                held: 500,
                invoice: Some(("pending".to_owned(), 499)),
                ..entry("ready", "confirmed", 0, 0, None)
            },
            entry("pending", "authorized", 0, 0, None),
            entry("", "", 0, 0, None),
        ];
        for entry in bad {
            assert!(entry.judged().is_some(), "{entry:?}");
        }
    }

    #[test]
    fn the_sums_are_of_what_was_kept_and_an_order_that_cannot_be_read_is_missed() {
        let (sold, given_back, lost) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let at: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let approved = at + Duration::from_millis(1500);
        let entries = BTreeMap::from([
            (
                sold,
                Entry { approved: Some(approved), ..entry("completed", "captured", 500, 0, Some("paid")) },
            ),
            (given_back, entry("cancelled", "refunded", 500, 500, Some("paid"))),
        ]);
        let placed = [sold, given_back, lost].map(|order| (order, at));
        let books = added_up(&placed, &entries, &BTreeSet::from([lost]));
        assert_eq!((books.completed, books.paid, books.captured), (500, 500, 500));
        assert_eq!(books.wrong, [format!("order {lost} cannot be read")]);
        assert_eq!(books.approved.count(), 1);
        assert!(books.approved.max().abs_diff(Duration::from_millis(1500)) < Duration::from_millis(3));

        let mut entries = entries;
        entries.insert(lost, entry("rejected", "captured", 7, 0, None));
        let books = added_up(&placed, &entries, &BTreeSet::from([lost]));
        assert_eq!(books.wrong.len(), 2, "{:?}", books.wrong);
        assert!(books.wrong[1].contains("507 were taken"), "{:?}", books.wrong);
    }
}
