//! Events that were written by other versions of the code.

use event_store::StoreError;
use kernel::{Aggregate, BrokenHistory, DecodeError, Event, RawEvent, Upcaster};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ledger::No,
    world::{World, is_corrupt, posted, stream},
};

/// A shelf of books. Its event is in its third schema:
///
/// 1. `title`, and `price` as a text of units and cents;
/// 2. the price in cents;
/// 3. the price with its currency, which was always euro before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shelf {
    placed: Vec<Placed>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Placed {
    BookPlaced { title: String, price: Price },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Price {
    minor: i64,
    currency: String,
}

fn to_cents(mut data: Value) -> Result<Value, String> {
    let price = data["price"].as_str().ok_or("price is no text")?;
    let (units, cents) = price.split_once('.').ok_or("price has no cents")?;
    let number = |digits: &str| digits.parse::<i64>().map_err(|e| e.to_string());
    data["price"] = json!(number(units)? * 100 + number(cents)?);
    Ok(data)
}

fn with_currency(mut data: Value) -> Result<Value, String> {
    data["price"] = json!({ "minor": data["price"], "currency": "EUR" });
    Ok(data)
}

impl Event for Placed {
    const SCHEMAS: &'static [(&'static str, u16)] = &[("BookPlaced", 3)];
    const UPCASTERS: &'static [Upcaster] = &[
        Upcaster { event_type: "BookPlaced", from: 1, apply: to_cents },
        Upcaster { event_type: "BookPlaced", from: 2, apply: with_currency },
    ];

    fn event_type(&self) -> &'static str {
        "BookPlaced"
    }
}

impl Aggregate for Shelf {
    const CATEGORY: &'static str = "test.Shelf";
    const STATE_SCHEMA: u16 = 1;
    type Command = ();
    type Event = Placed;
    type Refusal = No;

    fn decide(_: Option<&Self>, (): &()) -> Result<Vec<Placed>, No> {
        Ok(vec![])
    }

    fn evolve(state: Option<Self>, event: &Placed) -> Result<Self, BrokenHistory> {
        let mut placed = state.map_or(vec![], |shelf| shelf.placed);
        placed.push(event.clone());
        Ok(Shelf { placed })
    }
}

/// Events exactly as each schema's code once wrote them. Never edit these files: such events are stored.
const GOLDEN: [(u16, &str); 3] = [
    (1, include_str!("../golden/book-placed.v1.json")),
    (2, include_str!("../golden/book-placed.v2.json")),
    (3, include_str!("../golden/book-placed.v3.json")),
];

fn golden(schema: u16, text: &str) -> RawEvent {
    RawEvent { event_type: "BookPlaced".into(), schema, data: serde_json::from_str(text).unwrap() }
}

fn dune(minor: i64, currency: &str) -> Placed {
    Placed::BookPlaced { title: "Dune".into(), price: Price { minor, currency: currency.into() } }
}

pub async fn old_events_load_as_new_ones(world: World) {
    let stream = stream("shelf");
    // One commit of the oldest, then one that mixes: a deployment in the middle of things.
    world.write(&stream, [golden(1, GOLDEN[0].1)]).await;
    world.write(&stream, GOLDEN.map(|(schema, text)| golden(schema, text))).await;
    let shelf = world.store().load::<Shelf>(&stream).await.unwrap().state.unwrap();
    assert_eq!(shelf.placed, [dune(1295, "EUR"), dune(1295, "EUR"), dune(1295, "EUR"), dune(1295, "GBP")]);

    // Readers elsewhere get them as they were written, and upcast them alike.
    let events = world.store().events_after(&stream, kernel::Version::NONE).await.unwrap();
    assert_eq!(events.iter().map(|e| e.schema).collect::<Vec<_>>(), [1, 1, 2, 3]);
    assert_eq!(events[0].data, Some(golden(1, GOLDEN[0].1).data));
    let typed: Vec<Placed> = events.iter().map(|e| e.event().unwrap()).collect();
    assert_eq!(typed, shelf.placed);
}

async fn load_error(world: &World, name: &str, event: RawEvent) -> StoreError {
    let stream = stream(name);
    world.write(&stream, [golden(3, GOLDEN[2].1), event]).await;
    let error = world.store().load::<Shelf>(&stream).await.unwrap_err();
    assert!(is_corrupt(&error), "{error}");
    error
}

pub async fn an_event_that_nobody_knows_is_an_error_and_never_skipped(world: World) {
    let error = load_error(&world, "unknown", posted(1)).await;
    assert!(error.to_string().contains("unknown event type Posted"), "{error}");
}

pub async fn an_event_from_the_future_is_an_error_and_never_skipped(world: World) {
    let error = load_error(&world, "future", golden(4, GOLDEN[2].1)).await;
    assert!(error.to_string().contains("schema 4, this code knows up to 3"), "{error}");
}

pub async fn an_event_that_no_upcaster_reads_is_an_error_and_never_skipped(world: World) {
    let error = load_error(&world, "schema-0", golden(0, GOLDEN[0].1)).await;
    assert!(error.to_string().contains("no upcaster"), "{error}");
    // Nor one whose body does not fit the schema that it claims to have.
    let error = load_error(&world, "malformed", golden(1, GOLDEN[1].1)).await;
    assert!(error.to_string().contains("price is no text"), "{error}");
    let error = load_error(&world, "malformed-today", golden(3, GOLDEN[1].1)).await;
    assert!(error.to_string().contains("malformed"), "{error}");
}

#[test]
fn what_is_written_today_is_the_newest_golden_file() {
    let today = dune(1295, "GBP").to_raw().unwrap();
    assert_eq!(today, golden(3, GOLDEN[2].1), "a changed event needs a new schema, upcaster and golden file");
    let RawEvent { event_type, schema, data } = posted(1);
    assert!(matches!(Placed::from_raw(&event_type, schema, &data), Err(DecodeError::UnknownType { .. })));
}
