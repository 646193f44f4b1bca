//! The scale table: batch size, window and concurrency of every consumer, from one rate and a formula.
//!
//! ```text
//! concurrency = max(2, ceil(MARGIN x ORDERS_PER_SECOND x messages of an order x seconds of a full batch /
//! batch size))
//! ```
//!
//! The numbers are literals in the templates, because a parameter there stops the emulator's polling. A test
//! compares them with this table, and `cargo mall capacity --scale` writes them.

use std::{collections::BTreeMap, path::Path};

use super::{
    counts::{Counts, Function},
    model::{ASSUMED, Assumed},
    quotas::LEAST_CONCURRENCY,
    settings::{self, BATCH, CONCURRENCY, Mapping, WINDOW},
};
use crate::{
    cost,
    errors::{Error, Result},
    files,
};

/// The rate that the consumers are made for.
pub const ORDERS_PER_SECOND: f64 = 300.0;
/// Room for slow requests (docs/COSTS.md bills twice [`ASSUMED`]), for the polls between two batches, and for
/// batches that are not full. A larger one costs nothing when it is quiet, and makes smaller and so dearer
/// batches under load.
pub const MARGIN: f64 = 2.0;

/// Batch size and window of most consumers: ten is the most without a window, and a view should not wait.
const USUAL: (u32, u32) = (10, 0);
/// Batch size and window of the other consumers.
const OTHERS: &[(&str, u32, u32)] = &[
    // Events that come together are one change of the index.
    ("product-search-project-product-index", 10, 1),
];

/// Messages for each order at consumers that the counted order does not reach: estimates.
const NOT_COUNTED: &[(&str, f64)] = &[
    // One in ten customers is new.
    ("search-project-customer-names", 0.1),
    // A product is added or changed for every tenth order, a store for every hundredth.
    ("stores-project-catalogue", 0.1),
    ("baskets-project-basket-products", 0.1),
    ("depot-project-depot-products", 0.1),
    ("stores-project-mall", 0.01),
    ("baskets-project-basket-stores", 0.01),
    ("depot-project-depot-stores", 0.01),
    // One in ten orders is cancelled: its undo begins and ends.
    ("ordering-undo-order", 0.1),
    ("ordering-project-sagas", 0.2),
    // A product sells out, or is there again, with every tenth order.
    (PRODUCT_INDEX, 0.1),
];
const PRODUCT_INDEX: &str = "product-search-project-product-index";
/// Requests to S3 of a message of the index: two reads and two writes, if it is alone in its batch.
const S3_REQUESTS: f64 = 4.0;

/// A message of those is a row that is read and written.
const REQUESTS_OF_A_MESSAGE: f64 = 2.0;

/// Adds the messages that the counted order does not cause.
pub fn complete(counts: &mut Counts) {
    for (name, messages) in NOT_COUNTED {
        counts.functions.entry((*name).to_owned()).or_insert(Function {
            invocations: *messages,
            messages: *messages,
            dynamodb: if *name == PRODUCT_INDEX { 0.0 } else { messages * REQUESTS_OF_A_MESSAGE },
            s3: if *name == PRODUCT_INDEX { messages * S3_REQUESTS } else { 0.0 },
            ..Function::default()
        });
    }
}

/// Computes the mapping of a consumer for a rate.
pub fn mapping(name: &str, function: &Function, orders: f64) -> Mapping {
    let other = OTHERS.iter().find(|(other, ..)| *other == name);
    let (batch, window) = other.map_or(USUAL, |(_, batch, window)| (*batch, *window));
    Mapping { batch, window, concurrency: concurrency(function, batch, orders, ASSUMED) }
}

fn concurrency(function: &Function, batch: u32, orders: f64, assumed: Assumed) -> u32 {
    // While one writes the object, another reads ahead. More would lose their races.
    if function.is_one_writer() {
        return LEAST_CONCURRENCY;
    }
    let batches = orders * function.messages / f64::from(batch);
    let workers = MARGIN * batches * assumed.batch(function, batch);
    // Workers are some tens.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let workers = workers.ceil() as u32;
    workers.max(LEAST_CONCURRENCY)
}

/// Computes the mappings of all consumers of `templates` for a rate. Consumers that nobody counted are left
/// out.
pub fn mappings(
    counts: &Counts,
    consumers: &BTreeMap<String, Mapping>,
    orders: f64,
) -> BTreeMap<String, Mapping> {
    let of = |name: &String| {
        let function = counts.functions.get(name).filter(|function| function.messages > 0.0)?;
        Some((name.clone(), mapping(name, function, orders)))
    };
    consumers.keys().filter_map(of).collect()
}

/// Puts the mappings into the templates of a checkout; returns the changed lines.
///
/// # Errors
/// If a template cannot be read or written.
pub fn write(root: &Path, mappings: &BTreeMap<String, Mapping>) -> Result<Vec<String>> {
    let mut changes = Vec::new();
    for path in cost::standing::template_paths(root)? {
        let text = std::fs::read_to_string(&path).map_err(Error::file("cannot read", &path))?;
        let (new, changed) = rewritten(&text, mappings);
        if !changed.is_empty() {
            files::write(&path, new.as_bytes())?;
            changes.extend(changed);
        }
    }
    Ok(changes)
}

fn rewritten(template: &str, mappings: &BTreeMap<String, Mapping>) -> (String, Vec<String>) {
    let mut lines: Vec<String> = template.split('\n').map(str::to_owned).collect();
    let mut changes = Vec::new();
    for place in settings::places(template) {
        let Some(mapping) = mappings.get(&place.function) else { continue };
        let (value, setting) = match place.setting {
            BATCH => (mapping.batch, BATCH),
            WINDOW => (mapping.window, WINDOW),
            _ => (mapping.concurrency, CONCURRENCY),
        };
        if value != place.value {
            let line = &mut lines[place.line];
            *line = line.replacen(&format!("{setting}{}", place.value), &format!("{setting}{value}"), 1);
            changes.push(format!("{}: {}", place.function, line.trim()));
        }
    }
    (lines.join("\n"), changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{self, settings::Settings};

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn no_literal_of_a_template_differs_from_the_scale_table() {
        let counts = capacity::counts(root()).unwrap();
        let settings = Settings::of(root()).unwrap();
        let right = mappings(&counts, &settings.consumers, ORDERS_PER_SECOND);
        for (name, written) in &settings.consumers {
            let right = right.get(name).unwrap_or_else(|| {
                panic!("{name}: counted nowhere; say how many messages it gets, in NOT_COUNTED of scale.rs")
            });
            assert_eq!(written, right, "{name}: cargo mall capacity --scale writes the right numbers");
        }
    }

    #[test]
    fn twice_the_rate_takes_twice_the_workers_and_nothing_takes_less_than_two() {
        let function = Function { invocations: 4.0, messages: 4.0, dynamodb: 8.0, ..Function::default() };
        // A batch of ten in two rounds of eight: 2 ms + 2 x 10 ms. 300 x 4 / 10 batches a second, twice.
        assert_eq!(concurrency(&function, 10, 300.0, ASSUMED), 6);
        assert_eq!(concurrency(&function, 10, 600.0, ASSUMED), 11);
        assert_eq!(concurrency(&function, 10, 1.0, ASSUMED), 2);
        let writer = Function { s3: 1.0, ..function };
        assert_eq!(concurrency(&writer, 10, 600.0, ASSUMED), 2, "more would lose their races");
    }

    #[test]
    fn nothing_but_the_number_changes_in_a_template() {
        let template = "  A:\n    FunctionName: !Sub ${Prefix}-a\n    BatchSize: 10\n    ScalingConfig: {MaximumConcurrency: 5} # why\n";
        let wanted = [("a".to_owned(), Mapping { batch: 10, window: 0, concurrency: 50 })].into();
        let (new, changed) = rewritten(template, &wanted);
        assert_eq!(new, template.replace("y: 5}", "y: 50}"));
        assert_eq!(changed, ["a: ScalingConfig: {MaximumConcurrency: 50} # why"]);
        assert!(rewritten(&new, &wanted).1.is_empty(), "twice is once");
    }
}
