//! The queries: what can be asked, and what is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use contracts::ids::{CustomerId, OrderId};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Money, Version};
use lambda::{Answer, Call, Fault, Form};
use projection::ReadError;

use crate::{
    Search,
    docs::{FoundOrder, FoundOrders, OneOrder},
    views::Status,
    walk::{Filters, Step, WalkError, Walked, walk},
};

/// Orders on a page when nothing is said, as the original API meant it.
const DEFAULT_LIMIT: usize = 10;
/// Most orders on a page.
const MAX_LIMIT: usize = 100;
/// Most stores, and most products, that are asked for.
const MAX_IDS: usize = 100;
/// Names that are looked up at a time.
const LOOKUPS_AT_A_TIME: usize = 8;

impl From<WalkError> for Fault {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Foreign(error) => Fault::invalid("QUERY_IS_INVALID", error.to_string()),
            WalkError::List(error) => error.into(),
        }
    }
}

/// What a search is asked for.
struct Asked {
    filters: Filters,
    step: Option<Step>,
    limit: usize,
}

impl Search {
    /// `POST /api/search/orders {filters, next, limit}`: the orders that pass all filters that are set, newest first. It lags
    /// behind the orders by the time events take to travel.
    ///
    /// # Errors
    /// 400 with every field that is wrong; 503 when a table fails.
    pub async fn search_orders(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let Asked { filters, step, limit } = asked(&call)?;
        let Walked { orders, next } = walk(&self.orders, &filters, step, limit, call.at).await?;
        let names = self.names(orders.iter().map(|order| order.customer_id).collect()).await?;
        let named = orders.into_iter().map(|order| {
            let name = names.get(&order.customer_id).cloned();
            FoundOrder::of(order, name.unwrap_or_default())
        });
        let orders = named.collect();
        Answer::view(&FoundOrders { orders, next: next.as_ref().map(projection::sealed) }, None)
    }

    /// `GET /api/search/orders/{id}?minVersion=`: one order, as a search shows it; at least as new as `minVersion`, if that is
    /// given. What the view has not heard of yet is looked for where orders are written.
    ///
    /// # Errors
    /// 404; 409 when the order has not reached `minVersion`.
    pub async fn get_searched_order(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let id: OrderId = call.id("order")?;
        let minimum = call.query_number("minVersion")?.map(Version::new);
        let found = match self.orders.read(&id.to_string(), minimum).await? {
            Some(found) => Some(found),
            None => self.orders.read_latest(&id.to_string()).await?,
        };
        let found = found.ok_or_else(|| Fault::not_found("order", id))?;
        let customer = found.row.customer_id;
        let name = self.names(BTreeSet::from([customer])).await?.remove(&customer);
        let order = FoundOrder::of(found.row, name.unwrap_or_default());
        Answer::view(&OneOrder { order }, Some(found.applied))
    }

    /// What these customers are called. One that the copy does not know is looked for where customers are written; of one that
    /// there never was nothing is said, nor of one whose events make no sense: the others' orders are not to be missed for it.
    async fn names(&self, customers: BTreeSet<CustomerId>) -> Result<BTreeMap<CustomerId, String>, Fault> {
        let lookups = customers.into_iter().map(|id| async move {
            let found = match self.customers.read(&id.to_string(), None).await {
                Ok(None) => self.customers.read_latest(&id.to_string()).await,
                found => found,
            };
            match found {
                Ok(found) => Ok::<_, Fault>(found.map(|found| (id, found.row.name))),
                Err(error @ ReadError::Poison { .. }) => {
                    tracing::warn!(customer = %id, %error, "shown without a name");
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        });
        let names: Vec<Option<(CustomerId, String)>> =
            stream::iter(lookups.collect::<Vec<_>>()).buffered(LOOKUPS_AT_A_TIME).try_collect().await?;
        Ok(names.into_iter().flatten().collect())
    }
}

/// Reads the request. As clients of the original API may send what they do not set as an empty text or as 0, these count as
/// not set.
fn asked(call: &Call) -> Result<Asked, Fault> {
    let form = Form::of(&call.body);
    let filters =
        if form.has("filters") { form.nested("filters", filters) } else { Some(Filters::default()) };
    let limit = limit(&form);
    let step = match form.text_or_empty("next") {
        Some("") => Some(None),
        Some(text) => opened(&form, text).map(Some),
        None => None,
    };
    match (filters, limit, step) {
        (Some(filters), Some(limit), Some(step)) if form.is_clean() => Ok(Asked { filters, step, limit }),
        _ => Err(form.fault()),
    }
}

fn limit(form: &Form<'_>) -> Option<usize> {
    if !form.has("limit") {
        return Some(DEFAULT_LIMIT);
    }
    match form.integer("limit")? {
        0 => Some(DEFAULT_LIMIT),
        limit => match usize::try_from(limit) {
            Ok(limit) if limit <= MAX_LIMIT => Some(limit),
            Ok(_) | Err(_) => {
                form.reject("limit", "QUERY_IS_INVALID", format!("a page has 1 to {MAX_LIMIT} orders"));
                None
            }
        },
    }
}

fn opened(form: &Form<'_>, text: &str) -> Option<Step> {
    let step = projection::opened(text).ok();
    if step.is_none() {
        form.reject("next", "QUERY_IS_INVALID", "next is not one of this search's");
    }
    step
}

fn filters(form: &Form<'_>) -> Option<Filters> {
    let set = |field: &str| form.is_set(field);
    let customer_id = set("customerId").then(|| form.id("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK"));
    let after = set("after").then(|| form.time("after"));
    let before = set("before").then(|| form.time("before"));
    let store_ids = few(form, "storeIds", form.ids("storeIds"));
    let product_ids = few(form, "productIds", form.ids("productIds"));
    let min_total = set("minTotal").then(|| form.money("minTotal"));
    let max_total = set("maxTotal").then(|| form.money("maxTotal"));
    let status = set("status").then(|| status(form));
    Some(Filters {
        customer_id: or_wrong(customer_id)?,
        after: or_wrong(after)?,
        before: or_wrong(before)?,
        store_ids: store_ids?,
        product_ids: product_ids?,
        min_total: or_wrong(min_total)?.filter(|total| *total != Money::ZERO),
        max_total: or_wrong(max_total)?.filter(|total| *total != Money::ZERO),
        status: or_wrong(status)?,
    })
}

/// A filter that is not set is none; one that is wrong makes no filters.
fn or_wrong<T>(filter: Option<Option<T>>) -> Option<Option<T>> {
    match filter {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn few<T>(form: &Form<'_>, field: &str, ids: Option<Vec<T>>) -> Option<Vec<T>> {
    let ids = ids?;
    if ids.len() > MAX_IDS {
        form.reject(field, "TOO_MANY", format!("{field} may name at most {MAX_IDS}"));
        return None;
    }
    Some(ids)
}

fn status(form: &Form<'_>) -> Option<Status> {
    let text = form.text("status", "STATUS_IS_UNKNOWN")?;
    let found = Status::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text.trim()));
    if found.is_none() {
        let known = Status::ALL.map(Status::as_str).join(", ");
        form.reject("status", "STATUS_IS_UNKNOWN", format!("status must be one of: {known}"));
    }
    found
}
