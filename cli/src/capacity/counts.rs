//! The use of AWS by one order, as `mall cost` counted it: docs/counts.json.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    errors::{Error, Result},
    files,
};

/// The file that `mall cost --write` leaves beside docs/COSTS.md.
pub const FILE: &str = "counts.json";

/// Counts of one order, from basket to completion.
///
/// They were taken one order at a time on the local cloud, so hardly a batch has more than one message in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Orders that were taken to count.
    pub orders: u32,
    pub products: u16,
    /// Requests to the API that change something.
    pub requests: f64,
    /// Entries of PutEvents.
    pub entries: f64,
    /// Transitions of Standard executions.
    pub transitions: f64,
    /// Calls that let a waiting execution go on (SendTaskSuccess, SendTaskFailure).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub callbacks: f64,
    pub looks: Looks,
    /// Executions that were started, by state machine.
    pub executions: BTreeMap<String, f64>,
    pub functions: BTreeMap<String, Function>,
    /// Tables without their indexes.
    pub tables: BTreeMap<String, Units>,
    /// The functions that write the tables of views, by table.
    pub writers: BTreeMap<String, String>,
    /// Write units of indexes, by `table/index`.
    pub indexes: BTreeMap<String, f64>,
}

/// The requests around an order that change nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Looks {
    /// Requests to the API; each is an invocation.
    pub requests: f64,
    /// Requests on the busiest route.
    pub busiest: f64,
    /// Requests to DynamoDB.
    pub dynamodb: f64,
    /// Read units, by table.
    pub reads: BTreeMap<String, f64>,
}

/// The invocations of a function, and its requests to other services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub invocations: f64,
    /// Messages of its queue, or records of its stream.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub messages: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dynamodb: f64,
    /// Requests to Step Functions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub states: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub s3: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Units {
    pub writes: f64,
    pub reads: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

impl Counts {
    /// Reads the counts of a checkout.
    ///
    /// # Errors
    /// If the file is missing or is not what `mall cost` writes.
    pub fn of(root: &Path) -> Result<Self> {
        let path = root.join("docs").join(FILE);
        files::read_json(&path)?.ok_or_else(|| Error::Impossible {
            why: format!("{} is missing", path.display()),
            advice: "Make it anew: cargo mall cost --write docs/COSTS.md".into(),
        })
    }

    /// Takes the events of a row apart. Where the counted orders were in a hurry, a batch had two events of
    /// one row, which were one write; on AWS minutes are between them. So each message is a write of its row,
    /// in the table and its indexes.
    pub fn apart(&mut self) {
        for (table, writer) in &self.writers {
            let (Some(units), Some(function)) = (self.tables.get_mut(table), self.functions.get_mut(writer))
            else {
                continue;
            };
            let factor = function.messages / units.writes;
            if factor > 1.0 {
                function.dynamodb *= factor;
                units.writes *= factor;
                units.reads *= factor;
                for (name, writes) in &mut self.indexes {
                    if name.split('/').next() == Some(table) {
                        *writes *= factor;
                    }
                }
            }
        }
    }

    /// Sums the messages that rules put into queues.
    pub fn deliveries(&self) -> f64 {
        let queues = self.functions.iter().filter(|(name, _)| *name != super::RELAY);
        queues.map(|(_, function)| function.messages).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_events_of_a_row_in_one_batch_are_not_taken_for_one_write_on_aws() {
        let function = Function { invocations: 2.0, messages: 5.0, dynamodb: 6.0, ..Function::default() };
        let units = Units { writes: 2.5, reads: 3.0 };
        let mut counts = Counts {
            functions: [("lists".to_owned(), function)].into(),
            tables: [("Lists".to_owned(), units), ("ListsOfOthers".to_owned(), units)].into(),
            writers: [("Lists".to_owned(), "lists".to_owned())].into(),
            indexes: [("Lists/all".to_owned(), 2.5), ("ListsOfOthers/all".to_owned(), 2.5)].into(),
            ..Counts::default()
        };
        counts.apart();
        assert_eq!(counts.tables["Lists"], Units { writes: 5.0, reads: 6.0 });
        assert_eq!(counts.functions["lists"].dynamodb, 12.0);
        assert_eq!([counts.indexes["Lists/all"], counts.indexes["ListsOfOthers/all"]], [5.0, 2.5]);
        assert_eq!(counts.tables["ListsOfOthers"], units);
        let before = counts.clone();
        counts.apart();
        assert_eq!(counts, before, "twice is once");
    }
}
