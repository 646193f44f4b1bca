//! Names and prices of products, read from the stores' own streams.
//!
//! A basket keeps a copy of the catalogue, because shoppers put things into baskets all day. Here only orders
//! that are placed without a basket ask, which is rare: so there is no copy, no table and nothing to keep up
//! to date, and what is read is as new as the stores themselves. It is made by the projections that others
//! keep their copies with.
//!
//! It costs a query for each different product and for each different store, 8 at a time, and one more for a
//! product or store of more than ten commits. An order of five products from two stores is seven queries.

use std::collections::HashMap;

use ::catalogue::{ProductCopy, Products, Stores};
use contracts::{
    ids::{ProductId, StoreId},
    ordering::OrderItem,
};
use event_store::{EventStore, TransactError};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{Id, Money};
use lambda::{Detail, Fault, Form};
use projection::Projection;

use crate::{
    events_of,
    order::{MAX_LINES, MAX_QUANTITY, OrderRefusal},
};

/// Streams that are read at the same time: as many as a function of this size has use for.
const LOOKUPS_AT_A_TIME: usize = 8;

/// A line of a customer's request.
pub struct Wanted {
    pub product_id: ProductId,
    pub quantity: u32,
    /// The price that the customer was shown, where the request says it.
    pub price: Option<Money>,
}

impl Wanted {
    /// Reads `{productId, quantity, price?}`. Clients of the original API send more (names, the store), which
    /// is not read: the stores say that.
    pub fn from_request(item: &Form<'_>) -> Option<Self> {
        let product_id = item.id("productId", "PRODUCT_ID_CANNOT_BE_BLANK");
        let quantity = item.integer("quantity").and_then(|quantity| pieces(item, quantity));
        let price = if item.has("price") { item.money("price").map(Some) } else { Some(None) };
        Some(Self { product_id: product_id?, quantity: quantity?, price: price? })
    }
}

fn pieces(item: &Form<'_>, quantity: i64) -> Option<u32> {
    if quantity < 1 {
        item.reject("quantity", "QUANTITY_MUST_BE_POSITIVE", "quantity must be a positive number");
        return None;
    }
    let few = u32::try_from(quantity).ok().filter(|quantity| *quantity <= MAX_QUANTITY);
    if few.is_none() {
        let message = format!("an order has at most {MAX_QUANTITY} pieces of one product");
        item.reject("quantity", "QUANTITY_IS_TOO_LARGE", message);
    }
    few
}

/// Returns the lines of an order for this request, at the stores' own prices. A product that is wanted twice
/// has one line, with the sum of its pieces: as in a basket.
///
/// # Errors
/// Every item that cannot be had is in the details; the fault is that of the first one. 404
/// `PRODUCT_NOT_FOUND`; 409 `PRODUCT_WAS_REMOVED`, or `PRICE_HAS_CHANGED` when the customer was shown another
/// price. 400 when too many products are wanted. 503 when the event table fails.
pub async fn offered(store: &EventStore, wanted: &[Wanted]) -> Result<Vec<OrderItem>, Fault> {
    let lines = summed(wanted);
    if lines.len() > MAX_LINES {
        return Err(TransactError::Refused(OrderRefusal::TooManyProducts).into());
    }
    let products = read::<Products, _>(store, lines.iter().map(|(id, _)| *id).collect()).await?;
    if let Some(fault) = not_to_be_had(wanted, &products) {
        return Err(fault);
    }
    let mut sellers: Vec<StoreId> = products.values().map(|product| product.store_id).collect();
    sellers.sort_unstable();
    sellers.dedup();
    let stores = read::<Stores, _>(store, sellers).await?;
    let items = lines.into_iter().map(|(product_id, quantity)| {
        // Products are added to stores that exist, and neither loses its stream.
        let missing = || Fault::internal(format!("product {product_id} has no store"));
        let product = products.get(&product_id).ok_or_else(missing)?;
        let store_name = stores.get(&product.store_id).ok_or_else(missing)?.name.clone();
        let (store_id, product_name, price) = (product.store_id, product.name.clone(), product.price);
        Ok(OrderItem { store_id, product_id, store_name, product_name, price, quantity })
    });
    items.collect()
}

/// Returns every wanted product once, where it was first mentioned, with all its pieces.
pub fn summed(wanted: &[Wanted]) -> Vec<(ProductId, u32)> {
    let mut lines: Vec<(ProductId, u32)> = Vec::new();
    let mut places: HashMap<ProductId, usize> = HashMap::new();
    for Wanted { product_id, quantity, .. } in wanted {
        let place = *places.entry(*product_id).or_insert(lines.len());
        match lines.get_mut(place) {
            Some((_, pieces)) => *pieces = pieces.saturating_add(*quantity),
            None => lines.push((*product_id, *quantity)),
        }
    }
    lines
}

fn not_to_be_had(wanted: &[Wanted], products: &HashMap<ProductId, ProductCopy>) -> Option<Fault> {
    let problems = wanted.iter().enumerate().filter_map(|(index, wanted)| {
        let (status, field, code, message) = problem(wanted, products.get(&wanted.product_id))?;
        Some((status, Detail { field: format!("items[{index}].{field}"), code: code.into(), message }))
    });
    let (statuses, details): (Vec<u16>, Vec<Detail>) = problems.unzip();
    let (status, first) = (*statuses.first()?, details.first()?.clone());
    Some(Fault { details, ..Fault::new(status, first.code, first.message) })
}

type Problem = (u16, &'static str, &'static str, String);

fn problem(wanted: &Wanted, product: Option<&ProductCopy>) -> Option<Problem> {
    let id = wanted.product_id;
    match (product, wanted.price) {
        (None, _) => Some((404, "productId", "PRODUCT_NOT_FOUND", format!("there is no product {id}"))),
        (Some(product), _) if !product.on_sale => {
            let message = format!("{} ({id}) is not sold any more", product.name);
            Some((409, "productId", "PRODUCT_WAS_REMOVED", message))
        }
        (Some(product), Some(shown)) if shown != product.price => {
            let message = format!("{} ({id}) costs {}, not {shown}", product.name, product.price);
            Some((409, "price", "PRICE_HAS_CHANGED", message))
        }
        (Some(_), Some(_) | None) => None,
    }
}

/// Reads the rows of these ids, each folded from its own stream. An id without events has none.
async fn read<P: Projection, K>(
    store: &EventStore,
    ids: Vec<Id<K>>,
) -> Result<HashMap<Id<K>, P::Row>, Fault> {
    let rows = stream::iter(ids).map(|id| async move {
        let events = events_of(store, format!("{}/{id}", P::CATEGORY)).await?;
        let row = events.iter().try_fold(None, |row, event| P::apply(row, event).map(Some));
        Ok::<_, Fault>((id, row.map_err(Fault::internal)?))
    });
    let rows: Vec<_> = rows.buffer_unordered(LOOKUPS_AT_A_TIME).try_collect().await?;
    Ok(rows.into_iter().filter_map(|(id, row)| Some((id, row?))).collect())
}
