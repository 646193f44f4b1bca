//! The settings in the templates that decide throughput.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::{cost, errors::Result};

/// The settings that decide throughput.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Parameter `RequestsPerSecond`.
    pub requests_per_second: f64,
    /// Parameter `RequestBurst`.
    pub request_burst: f64,
    /// Parameter `RelayParallelism`: batches of a shard that are published at a time.
    pub relay_parallelism: f64,
    /// Parameters `EventTableWarmWrites` and `EventTableWarmReads`.
    pub warm_writes: f64,
    pub warm_reads: f64,
    /// Functions that a queue feeds.
    pub consumers: BTreeMap<String, Mapping>,
    /// Indexes with few partition keys, by `table/index`.
    pub indexes: BTreeMap<String, Spread>,
    /// State machines with their types.
    pub machines: BTreeMap<String, Machine>,
}

/// The mapping of a queue to its function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Mapping {
    pub batch: u32,
    /// Seconds that a batch waits to be filled.
    pub window: u32,
    pub concurrency: u32,
}

/// The spread of an index's writes over its partition keys.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Spread {
    /// The share of writes that go to the busiest value of the key, before it is sharded.
    pub busiest: f64,
    /// Partition keys for each value.
    pub shards: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Machine {
    Standard,
    Express,
}

/// The keys of an index.
enum Keys {
    /// As many as there are customers, or stores, or months of nothing but undone orders: none is busy.
    Many,
    /// Few: the busiest one's share of the writes, and the partitions it is sharded over.
    Few(f64, f64),
}
use Keys::{Few, Many};

/// Partition keys of an index that is sharded.
const SHARDS: f64 = projection::SHARDS as f64;

/// All indexes.
const INDEXES: &[(&str, Keys)] = &[
    ("BotsTable/all-bots", Few(1.0, 1.0)),
    // An order makes a bot active and idle again: two writes in each.
    ("BotsTable/bots-by-status", Few(0.5, SHARDS)),
    ("CatalogueTable/by-store", Many),
    ("InvoicesTable/by-customer", Many),
    ("InvoicesTable/chased", Few(1.0, SHARDS)),
    ("InvoicesTable/pending", Few(1.0, SHARDS)),
    ("MallTable/all-stores", Few(1.0, 1.0)),
    ("MallTable/participating-stores", Few(1.0, 1.0)),
    ("OrdersTable/by-customer", Many),
    // Of five writes a stage takes two: in and out.
    ("OrdersTable/by-stage", Few(0.4, SHARDS)),
    // Sagas in this view are undone ones.
    ("SagasTable/by-status", Few(1.0, SHARDS)),
    ("SagasTable/due", Few(1.0, SHARDS)),
    ("SearchedOrdersTable/by-customer", Many),
    ("SearchedOrdersTable/by-month", Few(1.0, SHARDS)),
    ("ShoppingListsTable/all-lists", Few(1.0, SHARDS)),
    // Five states in nine writes: each but the first and the last is entered and left. The count has some
    // less.
    ("ShoppingListsTable/lists-by-status", Few(0.24, SHARDS)),
    ("StockTable/by-store", Many),
    ("StockTable/low", Few(1.0, 1.0)),
];

/// A line of a template that sets something of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0.
    pub line: usize,
    /// The function without its prefix.
    pub function: String,
    pub setting: &'static str,
    pub value: u32,
}

/// The settings of a queue's mapping, as the templates write them: before the number.
pub const BATCH: &str = "BatchSize: ";
pub const WINDOW: &str = "MaximumBatchingWindowInSeconds: ";
pub const CONCURRENCY: &str = "ScalingConfig: {MaximumConcurrency: ";

/// Finds what a template sets of mappings.
pub fn places(template: &str) -> Vec<Place> {
    let (mut function, mut places) = ("", Vec::new());
    for (line, text) in template.lines().enumerate() {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("FunctionName: !Sub ${Prefix}-") {
            function = name;
        }
        for setting in [BATCH, WINDOW, CONCURRENCY] {
            if let Some(value) = text.strip_prefix(setting).and_then(number) {
                places.push(Place { line, function: function.to_owned(), setting, value });
            }
        }
    }
    places
}

fn number(text: &str) -> Option<u32> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl Settings {
    /// Reads them from a checkout's templates, with parameters at their defaults.
    ///
    /// # Errors
    /// If a template cannot be read.
    pub fn of(root: &Path) -> Result<Self> {
        let texts = cost::standing::templates(root)?;
        Ok(Self::in_templates(texts.iter().map(String::as_str)))
    }

    fn in_templates<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut settings = Self::default();
        for text in texts {
            for place in places(text) {
                let mapping = settings.consumers.entry(place.function).or_default();
                match place.setting {
                    BATCH => mapping.batch = place.value,
                    WINDOW => mapping.window = place.value,
                    _ => mapping.concurrency = place.value,
                }
            }
            settings.read(text);
        }
        // The relay has a batch size as well, and no queue.
        settings.consumers.retain(|_, mapping| mapping.concurrency > 0);
        settings
    }

    fn read(&mut self, template: &str) {
        let (mut resource, mut name) = ("", "");
        for line in template.lines() {
            let text = line.trim();
            if line.starts_with("  ") && !line.starts_with("   ") {
                resource = text.split(':').next().unwrap_or_default();
            }
            if let Some(named) = text.strip_prefix("Name: !Sub ${Prefix}-") {
                name = named;
            }
            let machine = match text.split(" #").next() {
                Some("Type: EXPRESS") => Some(Machine::Express),
                Some("Type: STANDARD") => Some(Machine::Standard),
                _ => None,
            };
            if let Some(machine) = machine {
                self.machines.insert(name.to_owned(), machine);
            }
            if let Some(index) = text.strip_prefix("- IndexName: ") {
                let index = index.split(" #").next().unwrap_or_default();
                let known = INDEXES.iter().find(|(of, _)| *of == format!("{resource}/{index}"));
                if let Some((of, Few(busiest, shards))) = known {
                    self.indexes.insert((*of).to_owned(), Spread { busiest: *busiest, shards: *shards });
                }
            }
            if let Some(value) = text.strip_prefix("Default: ").and_then(|value| value.parse().ok()) {
                match resource {
                    "RequestsPerSecond" => self.requests_per_second = value,
                    "RequestBurst" => self.request_burst = value,
                    "RelayParallelism" => self.relay_parallelism = value,
                    "EventTableWarmWrites" => self.warm_writes = value,
                    "EventTableWarmReads" => self.warm_reads = value,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::quotas::{FRESH_READS, FRESH_WRITES};

    const TEMPLATE: &str = "Parameters:
  RequestsPerSecond:
    Type: Number
    Default: 200
Resources:
  OrdersTable:
    Type: AWS::DynamoDB::Table
      GlobalSecondaryIndexes:
        - IndexName: by-customer
        - IndexName: by-stage # not yet completed
  Orders:
      FunctionName: !Sub ${Prefix}-ordering-project-orders
            BatchSize: 10
            MaximumBatchingWindowInSeconds: 1 # together
            ScalingConfig: {MaximumConcurrency: 5}
  Relay:
      FunctionName: !Sub ${Prefix}-relay
            BatchSize: 100
  Undo:
      Name: !Sub ${Prefix}-order-undo
      Type: STANDARD # named like the order
";

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn settings_are_read_where_they_stand() {
        let settings = Settings::in_templates([TEMPLATE]);
        assert_eq!(settings.requests_per_second, 200.0);
        let mapping = Mapping { batch: 10, window: 1, concurrency: 5 };
        assert_eq!(settings.consumers, [("ordering-project-orders".to_owned(), mapping)].into());
        assert_eq!(settings.machines, [("order-undo".to_owned(), Machine::Standard)].into());
        let spread = Spread { busiest: 0.4, shards: 8.0 };
        assert_eq!(settings.indexes, [("OrdersTable/by-stage".to_owned(), spread)].into());
    }

    #[test]
    fn no_queue_of_the_templates_is_overlooked() {
        let texts = cost::standing::templates(root()).unwrap();
        let queues = texts.iter().flat_map(|text| text.lines()).filter(|line| line.trim() == "Type: SQS");
        let settings = Settings::of(root()).unwrap();
        assert_eq!(settings.consumers.len(), queues.count(), "{:?}", settings.consumers.keys());
        assert!(settings.consumers.values().all(|mapping| mapping.batch > 0));
        assert!(settings.requests_per_second > 0.0 && settings.relay_parallelism > 0.0);
        assert!(settings.warm_writes >= FRESH_WRITES && settings.warm_reads >= FRESH_READS);
        assert!(settings.machines.len() > 2, "{:?}", settings.machines);
    }

    /// An index of which nobody says how its writes spread would be taken for one without a limit.
    #[test]
    fn every_index_of_the_templates_says_how_its_writes_spread() {
        let mut found = Vec::new();
        for text in cost::standing::templates(root()).unwrap() {
            let mut resource = String::new();
            for line in text.lines() {
                if line.starts_with("  ") && !line.starts_with("   ") {
                    resource = line.trim().split(':').next().unwrap().to_owned();
                }
                if let Some(index) = line.trim().strip_prefix("- IndexName: ") {
                    found.push(format!("{resource}/{}", index.split(" #").next().unwrap()));
                }
            }
        }
        found.sort();
        let listed: Vec<_> = INDEXES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, listed, "INDEXES of cli/src/capacity/settings.rs");
    }
}
