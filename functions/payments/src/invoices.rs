//! The view of invoices: the projection and its list. A single invoice is read from its own stream (see [`crate::api`]); only
//! lists come from here.
//!
//! # How a customer's invoices of one status are found
//!
//! The index knows the customer, and what was read of it is held against the status, in steps that are bounded: a page ends
//! when it is full, or when [`READS`] queries of [`CHUNK`] invoices were made for it. So it may be short, even empty, and
//! there is more as long as it has a `next`: nothing is left out and nothing comes twice. An index for it would be written at
//! every event, for customers who have few invoices; reading a hundred of them takes some 8 read units.

use std::sync::Arc;

use contracts::{
    Envelope,
    ids::{CustomerId, InvoiceId, OrderId, PaymentId},
    payments::InvoiceEvent,
};
use kernel::{Money, Timestamp, Uuid, id::derive, money::decimal, schema::Amount};
use lambda::{Answer, Call, Fault, settled};
use projection::{
    ApplyError, BadRequest, Index, List, ListError, Listing, MAX_LIMIT, Position, Projection, Projector,
    Range, opened, row_id, sealed, sortable,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::invoice::Terms;

/// Invoices on a page when nothing is said, as in every list.
const DEFAULT_LIMIT: u32 = 20;
/// Most queries that are made for one page.
pub const READS: usize = 5;
/// Invoices that one query reads, when not all of them may fit.
pub const CHUNK: usize = 100;

/// The status of an invoice that is still to be paid.
const PENDING: &str = "pending";
/// Every status.
const STATUSES: [&str; 3] = [PENDING, "paid", "canceled"];

/// The view of all invoices: one row for each.
pub struct Invoices;

/// Invoices of one customer, by the time they were made, which never changes: pages neither skip nor repeat one that is paid
/// meanwhile. An invoice that was never made has no `customerId` and is not in this index.
pub const BY_CUSTOMER: Index = Index::new("by-customer", "customerId", "createdAt");

/// What is still to be paid, longest first. Only these rows have `owed` and are in the index. An invoice
/// takes a write unit when it is made, one when it is paid or canceled, and one for each adjustment and
/// reminder between.
pub const OPEN: Index = Index::new("pending", "owed", "createdAt").sharded();

/// Pending invoices by the time since which their customer was left in peace: see [`crate::chase`]. Only
/// these rows have `chase` and `since`. An invoice takes as many write units as in [`OPEN`], and one more for
/// each reminder.
pub const CHASED: Index = Index::new("chased", "chase", "since").sharded();

/// The only partition of [`OPEN`] and [`CHASED`].
pub(crate) const MALL: &str = "mall";

/// An invoice, for its customer and for those who look after what is owed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceRow {
    /// The invoice.
    pub id: InvoiceId,
    /// The order.
    pub order_id: OrderId,
    /// Who owes, or owed; nobody when it was never made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// The payment that is held for the order; none when it was never made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// How much, after all adjustments; nothing is said when it was never made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// `pending`, `paid` or `canceled`.
    pub status: String,
    /// How often the customer was reminded.
    pub reminders: u32,
    /// Why it was canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was made: RFC 3339 with all nine places, so that text sorts as time does.
    pub created_at: String,
    /// When it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<String>,
    /// When it was canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<String>,
    /// The place in [`OPEN`]; none when there is nothing to pay any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owed: Option<String>,
    /// The place in [`CHASED`], as long as the invoice is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chase: Option<String>,
    /// The time of the last reminder, or of the invoice, as long as it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

impl InvoiceRow {
    /// An invoice that begins with this event. Of one that was never made no more than that is known, and it is in no list.
    fn begun(event: &Envelope, order_id: OrderId) -> Result<Self, ApplyError> {
        Ok(Self {
            id: row_id(event)?,
            order_id,
            customer_id: None,
            payment_id: None,
            amount: None,
            status: PENDING.to_owned(),
            reminders: 0,
            reason: None,
            created_at: sortable(event.at),
            paid_at: None,
            canceled_at: None,
            owed: None,
            chase: None,
            since: None,
        })
    }

    /// The row in every index of pending invoices.
    fn opened(self) -> Self {
        let (owed, chase) = (OPEN.place(MALL, self.id), CHASED.place(MALL, self.id));
        let since = Some(self.created_at.clone());
        Self { owed: Some(owed), chase: Some(chase), since, ..self }
    }

    /// The row in no index of pending invoices.
    fn closed(self) -> Self {
        Self { owed: None, chase: None, since: None, ..self }
    }
}

impl Projection for Invoices {
    const NAME: &'static str = "invoices";
    /// 3: sharded as in [`projection::SHARDS`].
    const SCHEMA: u16 = 3;
    const CATEGORY: &'static str = "payments.Invoice";
    type Row = InvoiceRow;

    fn apply(row: Option<InvoiceRow>, event: &Envelope) -> Result<InvoiceRow, ApplyError> {
        let made = |row: Option<InvoiceRow>| row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<InvoiceEvent>()? {
            InvoiceEvent::InvoiceCreated(created) => Ok(InvoiceRow {
                customer_id: Some(created.customer_id),
                payment_id: Some(created.payment_id),
                amount: Some(created.amount),
                ..InvoiceRow::begun(event, created.order_id)?.opened()
            }),
            InvoiceEvent::InvoiceAdjusted(adjusted) => {
                Ok(InvoiceRow { amount: Some(adjusted.amount), ..made(row)? })
            }
            InvoiceEvent::InvoiceReminded(reminded) => {
                Ok(InvoiceRow { reminders: reminded.reminder, since: Some(sortable(event.at)), ..made(row)? })
            }
            InvoiceEvent::InvoicePaid(paid) => Ok(InvoiceRow {
                amount: Some(paid.amount),
                status: "paid".to_owned(),
                paid_at: Some(sortable(event.at)),
                ..made(row)?.closed()
            }),
            InvoiceEvent::InvoiceCanceled(canceled) => {
                // Without a row it was never made.
                let row = match row {
                    Some(row) => row,
                    None => InvoiceRow::begun(event, canceled.order_id)?,
                };
                Ok(InvoiceRow {
                    status: "canceled".to_owned(),
                    reason: Some(canceled.reason),
                    canceled_at: Some(sortable(event.at)),
                    ..row.closed()
                })
            }
        }
    }
}

/// The view with its queries.
pub struct InvoiceViews {
    projector: Projector<Invoices>,
    terms: Terms,
}

impl InvoiceViews {
    /// The view that `projector` keeps, with these terms of payment.
    pub fn new(projector: Projector<Invoices>, terms: Terms) -> Self {
        Self { projector, terms }
    }

    /// Brings the view up to date with a batch of events.
    pub async fn project_invoices(self: Arc<Self>, events: Vec<Envelope>) -> Vec<Result<(), Fault>> {
        settled(&events, self.projector.deliver_batch(&events).await)
    }

    /// `GET /api/payments/invoices?customerId=&status=&limit=&cursor=`: a customer's invoices, newest first, all or those of one
    /// status; without a customer what the whole mall still has to pay, longest first. A list lags behind the invoices by the
    /// time events take to travel.
    ///
    /// # Errors
    /// 400 when a parameter is wrong, or a status is asked for that is listed by customer only.
    pub async fn list_invoices(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let question = Question::of(&call)?;
        let limit = limit(&call)?;
        let after = call.query.get("cursor").map(|cursor| question.open(cursor)).transpose();
        let (rows, next) = self.page(&question, after.map_err(ListError::from)?, limit).await?;
        let invoices = rows.into_iter().map(|row| ListedInvoice::of(row, self.terms));
        let invoices = invoices.collect::<Result<_, _>>()?;
        Answer::view(&InvoicePage { invoices, next: next.map(|at| question.cursor(at)) }, None)
    }

    /// A page of at most `limit` invoices, and where to go on when there is more.
    async fn page(
        &self,
        question: &Question,
        mut after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<InvoiceRow>, Option<Position>), ListError> {
        let mut found = Vec::new();
        for _ in 0..READS {
            let list = List {
                index: question.index,
                partition: &question.partition,
                shard: None,
                range: Range::default(),
                descending: question.descending,
                after: after.take(),
                limit: if question.status.is_some() { CHUNK } else { limit - found.len() },
            };
            let Listing { rows, next } = self.projector.list_rows(&list).await?;
            let last = rows.len();
            for (place, row) in (1..).zip(rows) {
                let here = Position { id: row.id.to_string(), sort: row.created_at.clone() };
                if question.fits(&row) {
                    found.push(row);
                }
                if found.len() == limit {
                    let left = place < last || next.is_some();
                    return Ok((found, left.then_some(here)));
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok((found, after))
    }
}

/// What a list is asked for.
struct Question {
    index: &'static Index,
    partition: String,
    descending: bool,
    /// Only these, where the index does not say so already.
    status: Option<&'static str>,
}

/// Where a page ended, and of which list it is: a cursor of one customer's list must not open another's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    list: Uuid,
    after: Position,
}

impl Question {
    fn of(call: &Call) -> Result<Self, Fault> {
        let status = status(call)?;
        let Some(customer) = call.query.get("customerId") else {
            return match status {
                None | Some(PENDING) => {
                    Ok(Self { index: &OPEN, partition: MALL.to_owned(), descending: false, status: None })
                }
                Some(other) => Err(Fault::invalid(
                    "QUERY_IS_INVALID",
                    format!(
                        "without a customer only pending invoices are listed; say whose {other} ones: \
                         ?customerId=<uuid>&status={other}"
                    ),
                )),
            };
        };
        // One whose id got lost on the way here must not be shown what all others owe.
        if customer.is_empty() {
            let message = "say whose invoices: ?customerId=<uuid>; or leave it out, for all that are pending";
            return Err(Fault::invalid("CUSTOMER_ID_CANNOT_BE_BLANK", message));
        }
        let customer: CustomerId =
            customer.parse().map_err(|_| Fault::invalid("ID_IS_MALFORMED", "customerId must be a UUID"))?;
        Ok(Self { index: &BY_CUSTOMER, partition: customer.to_string(), descending: true, status })
    }

    fn fits(&self, row: &InvoiceRow) -> bool {
        self.status.is_none_or(|status| row.status == status)
    }

    /// The same for the same question.
    fn name(&self) -> Uuid {
        derive(&["invoices", self.index.name, &self.partition, self.status.unwrap_or_default()])
    }

    fn open(&self, cursor: &str) -> Result<Position, BadRequest> {
        let Cursor { list, after } = opened(cursor)?;
        let ours = list == self.name() && after.is_of_a_time();
        if ours { Ok(after) } else { Err(BadRequest::Cursor) }
    }

    fn cursor(&self, after: Position) -> String {
        sealed(&Cursor { list: self.name(), after })
    }
}

fn status(call: &Call) -> Result<Option<&'static str>, Fault> {
    let Some(asked) = call.query.get("status") else { return Ok(None) };
    let known = STATUSES.into_iter().find(|status| status == asked);
    let message = || format!("status must be one of {}, not {asked:?}", STATUSES.join(", "));
    known.map(Some).ok_or_else(|| Fault::invalid("QUERY_IS_INVALID", message()))
}

fn limit(call: &Call) -> Result<usize, Fault> {
    let limit = call.query_number("limit")?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit as usize),
        limit => Err(ListError::from(BadRequest::Limit(limit)).into()),
    }
}

/// An invoice, in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedInvoice {
    /// The invoice: it has the order's id.
    id: InvoiceId,
    /// The order.
    order_id: OrderId,
    /// Who owes, or owed.
    customer_id: CustomerId,
    /// The payment that is held for the order.
    payment_id: PaymentId,
    /// How much.
    #[serde(with = "decimal")]
    #[schema(value_type = Amount)]
    amount: Money,
    /// `pending`, `paid` or `canceled`.
    status: String,
    /// Until when it is to be paid, as long as it is pending. When nobody does, it is canceled, and so is the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    /// How often the customer was reminded.
    reminders: u32,
    /// Why it was canceled: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: String,
    /// When it was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    paid_at: Option<String>,
    /// When it was canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    canceled_at: Option<String>,
}

impl ListedInvoice {
    /// Shows a row of a list. Every invoice there was made, so that all of it is known.
    fn of(row: InvoiceRow, terms: Terms) -> Result<Self, Fault> {
        let InvoiceRow { id, order_id, status, reminders, reason, created_at, paid_at, canceled_at, .. } =
            row;
        let (Some(customer_id), Some(payment_id), Some(amount)) =
            (row.customer_id, row.payment_id, row.amount)
        else {
            return Err(Fault::internal(format!("invoice {id} is in a list and was never made")));
        };
        let due_at = match status.as_str() {
            PENDING => Some(terms.due_at(created_at.parse().map_err(Fault::internal)?)),
            _ => None,
        };
        Ok(Self {
            id,
            order_id,
            customer_id,
            payment_id,
            amount,
            status,
            due_at,
            reminders,
            reason,
            created_at,
            paid_at,
            canceled_at,
        })
    }
}

/// What `GET /api/payments/invoices` answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoicePage {
    /// The invoices on this page. Where a status is asked for there may be few, or none, and more on the next page.
    invoices: Vec<ListedInvoice>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
}
