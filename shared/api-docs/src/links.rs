//! What an answer leads to: an operation that makes something names those that its id can be given to.

use serde_json::json;
use utoipa::openapi::link::{Link, LinkBuilder};

use crate::Operation;

/// Where an answer to a command says what was made.
const ID: &str = "$response.body#/id";

/// Something that has an id from the mall.
struct Made {
    /// The operations whose answer has the id: they make it, or make that something else has the same.
    by: &'static [&'static str],
    /// Where the id stands in a path.
    at: &'static [&'static str],
    /// What it is called in bodies and query strings.
    called: &'static str,
}

const MADE: &[Made] = &[
    Made { by: &["createStore"], at: &["/api/stores/{id}"], called: "storeId" },
    Made {
        by: &["addProduct"],
        at: &["/api/stores/products/{id}", "/api/inventory/{id}"],
        called: "productId",
    },
    Made { by: &["registerCustomer"], at: &["/api/customers/{id}"], called: "customerId" },
    Made { by: &["startBasket"], at: &["/api/baskets/{id}"], called: "basketId" },
    Made { by: &["authorizePayment"], at: &["/api/payments/{id}"], called: "paymentId" },
    // An order has the id of its basket.
    Made {
        by: &["createOrder", "checkoutBasket"],
        at: &["/api/ordering/{id}", "/api/orders/{id}", "/api/sagas/{id}", "/api/search/orders/{id}"],
        called: "orderId",
    },
    // An invoice has the id of its order; it comes by itself, later.
    Made { by: &["createInvoice", "createOrder"], at: &["/api/payments/invoices/{id}"], called: "invoiceId" },
    Made { by: &["createShoppingList"], at: &["/api/depot/shopping/{id}"], called: "shoppingListId" },
    Made { by: &["registerBot"], at: &["/api/depot/bots/{id}"], called: "botId" },
];

impl Made {
    /// The link to an operation, if that takes the id.
    fn link_to(&self, operation: &Operation) -> Option<Link> {
        let link = LinkBuilder::new().operation_id(operation.id);
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        if self.at.iter().any(|path| operation.path.strip_prefix(path).is_some_and(below)) {
            return Some(link.parameter("id", ID).build());
        }
        if operation.query.iter().any(|parameter| parameter.name == self.called) {
            return Some(link.parameter(self.called, ID).build());
        }
        let body = crate::schema::value(&operation.body.as_ref()?.schema);
        body["properties"].get(self.called)?;
        Some(link.request_body(Some(json!({ self.called: ID }))).build())
    }
}

/// The links of an operation's answer, by the ids of the operations that they lead to.
pub(crate) fn links_of(operation: &Operation, operations: &[Operation]) -> Vec<(String, Link)> {
    let made = MADE.iter().filter(|made| made.by.contains(&operation.id));
    let links = made.flat_map(|made| {
        let links = operations.iter().filter(|other| other.id != operation.id);
        links.filter_map(|other| Some((other.id.to_owned(), made.link_to(other)?)))
    });
    links.collect()
}

#[cfg(test)]
mod tests {
    use utoipa::ToSchema;

    use super::*;

    #[derive(ToSchema)]
    #[schema(rename_all = "camelCase")]
    #[allow(dead_code, reason = "it is only described")]
    struct ItemToAdd {
        product_id: String,
        quantity: u32,
    }

    #[test]
    fn an_id_goes_into_paths_bodies_and_queries_and_nowhere_else() {
        let add = Operation::post("/api/stores/{id}/products", "addProduct", "", "");
        let operations = [
            Operation::get("/api/stores/products/{id}", "getProduct", "", ""),
            Operation::get("/api/stores/{id}", "getStore", "", ""),
            Operation::get("/api/inventory/{id}/low", "getLow", "", ""),
            Operation::get("/api/inventory/{id}lower", "getLower", "", ""),
            Operation::put("/api/baskets/{id}/addItem", "addItem", "", "").takes::<ItemToAdd>(),
            Operation::get("/api/offers", "getOffers", "", "").query("productId", "", true),
            Operation::get("/api/baskets/{id}", "getBasket", "", ""),
        ];
        let links = links_of(&add, &operations);
        let links: Vec<_> =
            links.iter().map(|(name, link)| (name.as_str(), serde_json::to_value(link).unwrap())).collect();
        let parameter = |to: &str, name: &str| json!({ "operationId": to, "parameters": { name: ID } });
        let body = json!({ "operationId": "addItem", "requestBody": { "productId": ID } });
        assert_eq!(
            links,
            [
                ("getProduct", parameter("getProduct", "id")),
                ("getLow", parameter("getLow", "id")),
                ("addItem", body),
                ("getOffers", parameter("getOffers", "productId")),
            ]
        );
    }
}
