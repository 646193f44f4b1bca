//! All public events: their JSON Schemas, and who appends them.

use contracts::{
    Envelope,
    baskets::BasketEvent,
    customers::CustomerEvent,
    depot::BotEvent,
    depot::ShoppingListEvent,
    inventory::{ReservationEvent, StockEvent},
    ordering::{OrderEvent, SagaEvent},
    payments::InvoiceEvent,
    payments::PaymentEvent,
    stores::ProductEvent,
    stores::StoreEvent,
};
use kernel::{DecodeError, Event, RawEvent};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    Schemas,
    schema::{Named, plain, value},
};

/// An event type at the schema version that is written today.
#[derive(Debug, Clone)]
pub struct EventDocument {
    /// The type, for example `OrderCreated`.
    pub name: &'static str,
    /// Version of its schema.
    pub version: u16,
    /// What it says, in a sentence.
    pub summary: String,
    /// The JSON Schema of its body. It stands alone.
    pub schema: Value,
}

/// All events of one aggregate.
pub struct AggregateDocument {
    /// `<context>.<Aggregate>`, for example `ordering.Order`.
    pub category: &'static str,
    /// What they are about, in a sentence.
    pub summary: String,
    /// The events, in the order of the contract.
    pub events: Vec<EventDocument>,
    /// What the events refer to.
    pub(crate) schemas: Schemas,
    again: fn(RawEvent) -> Result<RawEvent, DecodeError>,
}

impl AggregateDocument {
    /// The events of `E`. Panics when a type in [`Event::SCHEMAS`] is no variant of the enum, or a variant is missing
    /// there: the documents are made by a test.
    fn of<E: Event + ToSchema>(category: &'static str) -> Self {
        let schemas = Schemas::of::<E>();
        let mut named = Named::default();
        named.refer(&schemas);
        let all = value(&schemas.schema);
        let variants = all["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        let name_of = |variant: &Value| variant["properties"]["type"]["enum"][0].clone();
        let variant = |name: &str| variants.iter().find(|variant| name_of(variant) == name);
        let events = E::SCHEMAS.iter().map(|&(name, version)| {
            let Some(variant) = variant(name) else { panic!("{name} is no event of {category}") };
            let body = named.get(name).unwrap_or_else(|| panic!("the body of {name} is not called so"));
            let summary = plain(variant["description"].as_str().unwrap_or_default());
            EventDocument { name, version, schema: named.standing_alone(name, &summary, body), summary }
        });
        let events: Vec<EventDocument> = events.collect();
        assert_eq!(events.len(), variants.len(), "events of {category} are missing in its SCHEMAS");
        let summary = all["description"].as_str().unwrap_or_default().to_owned();
        Self {
            category,
            summary,
            events,
            schemas,
            again: |raw| E::from_raw(&raw.event_type, raw.schema, &raw.data)?.to_raw(),
        }
    }

    /// The context: `ordering`.
    pub fn context(&self) -> &'static str {
        self.category.split('.').next().unwrap_or_default()
    }

    /// Reads an event as today's code does, upcasting it where it is old, and writes it again.
    ///
    /// # Errors
    /// When today's code does not understand it.
    pub fn read_and_write(&self, raw: RawEvent) -> Result<RawEvent, DecodeError> {
        (self.again)(raw)
    }
}

/// Every aggregate that publishes events.
pub fn aggregates() -> Vec<AggregateDocument> {
    vec![
        AggregateDocument::of::<StoreEvent>("stores.Store"),
        AggregateDocument::of::<ProductEvent>("stores.Product"),
        AggregateDocument::of::<CustomerEvent>("customers.Customer"),
        AggregateDocument::of::<BasketEvent>("baskets.Basket"),
        AggregateDocument::of::<OrderEvent>("ordering.Order"),
        AggregateDocument::of::<SagaEvent>("ordering.Saga"),
        AggregateDocument::of::<StockEvent>("inventory.StockItem"),
        AggregateDocument::of::<ReservationEvent>("inventory.Reservation"),
        AggregateDocument::of::<ShoppingListEvent>("depot.ShoppingList"),
        AggregateDocument::of::<BotEvent>("depot.Bot"),
        AggregateDocument::of::<PaymentEvent>("payments.Payment"),
        AggregateDocument::of::<InvoiceEvent>("payments.Invoice"),
    ]
}

/// The JSON Schema of what every event travels in. It stands alone.
pub fn envelope() -> Value {
    let schemas = Schemas::of::<Envelope>();
    let mut named = Named::default();
    named.refer(&schemas);
    let envelope = value(&schemas.schema);
    let summary = envelope["description"].as_str().unwrap_or_default().to_owned();
    named.standing_alone("Envelope", &summary, &envelope)
}
