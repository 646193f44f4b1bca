//! What views measure of themselves: a line of the log that CloudWatch turns into metrics (embedded metric format).
//!
//! One line per batch, beside the other lines: no call, no latency, no permission. The dimensions are the view and the function, whose
//! name tells deployments in one account apart. Only the lag is a metric: each one costs $0.30 a month and view. The other counts are fields of the
//! same line, for CloudWatch Logs Insights.

use std::io::Write;

use contracts::Envelope;
use kernel::Timestamp;
use projection::BatchOutcome;
use serde_json::{Value, json};

/// Tells of a batch.
pub(crate) fn batch(events: &[Envelope], outcome: &BatchOutcome) {
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME");
    // Not in a function: in a test, or a bench.
    let (Ok(function), Some(line)) = (function, line(events, outcome)) else { return };
    let mut line = line;
    line["Function"] = json!(function);
    // A log that cannot be written is not worth a batch.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Counts one of `metric`, in a deployment's namespace `Mallard/<area>`: for what an alarm has to hear and no
/// service counts.
pub fn count(area: &str, metric: &str, now: Timestamp) {
    // Not in a function: in a test.
    let Ok(stage) = std::env::var("STAGE") else { return };
    let counted = json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": format!("Mallard/{area}"),
                "Dimensions": [["Stage"]],
                "Metrics": [{ "Name": metric, "Unit": "Count" }],
            }],
        },
        "Stage": stage,
        metric: 1,
    });
    let _ = writeln!(std::io::stdout(), "{counted}");
}

fn line(events: &[Envelope], outcome: &BatchOutcome) -> Option<Value> {
    let oldest = events.iter().map(|event| event.at).min()?;
    let lag = outcome.lag?;
    let now = oldest.checked_add(lag).ok()?;
    Some(json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": "Mallard/Views",
                "Dimensions": [["View", "Function"]],
                "Metrics": [{ "Name": "Lag", "Unit": "Milliseconds" }],
            }],
        },
        "View": outcome.view,
        "Lag": u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
        "Applied": outcome.applied,
        "Duplicates": outcome.duplicates,
        "Healed": outcome.healed,
        "Failed": outcome.failed.len(),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernel::{Actor, Uuid, Version};

    use super::*;

    #[test]
    fn every_metric_that_is_declared_has_a_value_and_every_dimension_a_name() {
        let event = Envelope {
            id: Uuid::nil(),
            event_type: "Noted".into(),
            schema: 1,
            stream: "test.Note/a".parse().unwrap(),
            version: Version::FIRST,
            first: Version::FIRST,
            next: Version::new(2),
            at: Timestamp::UNIX_EPOCH,
            actor: Actor::new("test"),
            correlation: Uuid::nil(),
            causation: None,
            command: Uuid::nil(),
            trace: None,
            attempt: 0,
            data: None,
        };
        let lag = Some(Duration::from_millis(1500));
        let outcome = BatchOutcome { view: "notes".into(), lag, applied: 3, ..BatchOutcome::default() };
        let line = line(&[event], &outcome).unwrap();
        let declared = &line["_aws"]["CloudWatchMetrics"][0];
        for metric in declared["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{metric}");
        }
        assert_eq!(
            (&line["Lag"], &line["Applied"], &line["View"]),
            (&json!(1500), &json!(3), &json!("notes"))
        );
        assert_eq!(line["_aws"]["Timestamp"], 1500);
        assert_eq!(super::line(&[], &outcome), None, "an empty batch says nothing");
    }
}
