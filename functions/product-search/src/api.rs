//! The query.

use std::sync::Arc;

use catalogue::Participation;
use contracts::ids::StoreId;
use kernel::{Money, Uuid, id::derive};
use lambda::{Answer, Call, Fault};
use projection::sealed;
use serde::{Deserialize, Serialize};

use crate::{
    docs::{ProductsFound, SearchedProduct},
    index::{Place, ProductIndex, Wanted},
};

/// Products on a page when nothing is said.
const DEFAULT_LIMIT: u64 = 20;
/// Most products on a page.
const MAX_LIMIT: u64 = 100;
/// Longest text that is searched for, in characters.
const MAX_TEXT: usize = 200;

/// The search, for shoppers.
pub struct ProductSearch {
    index: Arc<dyn ProductIndex>,
    participation: Participation,
}

/// A place with the search that it belongs to: a cursor of one search must not open another's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    search: Uuid,
    after: Place,
}

impl ProductSearch {
    /// The search in `index`.
    pub fn new(index: Arc<dyn ProductIndex>, participation: Participation) -> Self {
        Self { index, participation }
    }

    /// `GET /api/search/products?q=&storeId=&minPrice=&maxPrice=&available=&limit=&cursor=`: see [`Wanted`] for what fits
    /// and in which order. It lags behind the stores by the time events take to travel, and some seconds.
    ///
    /// # Errors
    /// 400 when a parameter is wrong; 503 when the index does not answer.
    pub async fn search_products(self: Arc<Self>, call: Call) -> Result<Answer, Fault> {
        let (mut wanted, search) = self.wanted(&call)?;
        if let Some(text) = parameter(&call, "cursor") {
            wanted.after = Some(opened(text, search)?);
        }
        let found = self.index.search(&wanted).await?;
        let next = found.next.map(|after| sealed(&Cursor { search, after }));
        let products = found.products.into_iter().map(SearchedProduct::of).collect();
        Answer::view(&ProductsFound { products, next }, None)
    }

    /// What is asked for, and a name for it: the same for all pages of one search.
    fn wanted(&self, call: &Call) -> Result<(Wanted, Uuid), Fault> {
        let text = parameter(call, "q").unwrap_or_default();
        if text.chars().count() > MAX_TEXT {
            return Err(invalid(format!("q may have at most {MAX_TEXT} characters")));
        }
        let store_id = parameter(call, "storeId").map(|id| id.parse::<StoreId>()).transpose();
        let store_id = store_id.map_err(|_| invalid("storeId must be a UUID".to_owned()))?;
        let (min_price, max_price) = (price(call, "minPrice")?, price(call, "maxPrice")?);
        if let (Some(min), Some(max)) = (min_price, max_price)
            && min.minor() > max.minor()
        {
            return Err(invalid(format!("minPrice {min} is more than maxPrice {max}")));
        }
        let available = match parameter(call, "available") {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => return Err(invalid(format!("available must be true or false, not {other:?}"))),
        };
        let limit = call.query_number("limit")?.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            return Err(invalid(format!("a page has 1 to {MAX_LIMIT} products, not {limit}")));
        }
        let only_participating = self.participation == Participation::Required;
        let or_none = |value: Option<String>| value.unwrap_or_default();
        let search = derive(&[
            text,
            &or_none(store_id.map(|id| id.to_string())),
            &or_none(min_price.map(|price| price.minor().to_string())),
            &or_none(max_price.map(|price| price.minor().to_string())),
            &or_none(available.map(|available| available.to_string())),
        ]);
        let wanted = Wanted {
            text: text.to_owned(),
            store_id,
            min_price,
            max_price,
            available,
            only_participating,
            after: None,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        Ok((wanted, search))
    }
}

/// A parameter of the query string; an empty one is not there, as forms send it.
fn parameter<'c>(call: &'c Call, name: &str) -> Option<&'c str> {
    call.query.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn price(call: &Call, name: &str) -> Result<Option<Money>, Fault> {
    let price = parameter(call, name).map(Money::parse).transpose();
    price.map_err(|error| invalid(format!("{name}: {error}")))
}

fn invalid(message: String) -> Fault {
    Fault::invalid("QUERY_IS_INVALID", message)
}

fn opened(text: &str, search: Uuid) -> Result<Place, Fault> {
    match projection::opened(text) {
        Ok(Cursor { search: of, after }) if of == search => Ok(after),
        Ok(_) | Err(_) => Err(invalid("the cursor is not one of this search's".to_owned())),
    }
}
