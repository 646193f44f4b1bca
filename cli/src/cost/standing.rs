//! What a month costs before anybody orders: from the templates.

use std::path::{Path, PathBuf};

use super::prices::Unit;
use crate::errors::{Error, Result};

/// Lambda holds five long polls open at a queue that is empty, of 20 seconds each. Each is a request.
const POLLS: f64 = 5.0;
const POLL_SECONDS: f64 = 20.0;
const MONTH_SECONDS: f64 = 30.0 * 24.0 * 3600.0;
/// The one period that the templates' schedules have.
const SCHEDULE: &str = "rate(1 minute)";
const SCHEDULE_SECONDS: f64 = 60.0;

/// What the templates have of what costs by the month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub alarms: u32,
    pub dashboards: u32,
    /// Each view measures its lag.
    pub metrics: u32,
    /// Queues that Lambda polls.
    pub polled: u32,
    pub tables: u32,
    /// Functions that a rule invokes by the clock. The rule itself is free.
    pub scheduled: u32,
    /// Days that logs are kept, unless a parameter says otherwise.
    pub retention: u32,
}

impl Standing {
    /// Of a checkout.
    ///
    /// # Errors
    /// When a template cannot be read.
    pub fn of(root: &Path) -> Result<Self> {
        Ok(Self::in_templates(&templates(root)?))
    }

    fn in_templates(texts: &[String]) -> Self {
        let all = |what: &str| {
            let lines = texts.iter().flat_map(|text| text.lines());
            u32::try_from(lines.filter(|line| line.trim() == what).count()).unwrap_or(u32::MAX)
        };
        let scheduled =
            texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains(SCHEDULE)).count();
        let retention = texts.iter().find_map(|text| {
            let (_, rest) = text.split_once("LogRetentionDays:\n    Type: Number\n    Default: ")?;
            rest.lines().next()?.trim().parse().ok()
        });
        Self {
            alarms: all("Type: AWS::CloudWatch::Alarm"),
            dashboards: all("Type: AWS::CloudWatch::Dashboard"),
            metrics: u32::try_from(views_fed(texts)).unwrap_or(u32::MAX),
            polled: all("Type: SQS"),
            tables: all("Type: AWS::DynamoDB::Table"),
            scheduled: u32::try_from(scheduled).unwrap_or(u32::MAX),
            retention: retention.unwrap_or(0),
        }
    }

    /// Counts the runs of scheduled functions in a month: 43,200 for each.
    pub fn runs(&self) -> f64 {
        f64::from(self.scheduled) * MONTH_SECONDS / SCHEDULE_SECONDS
    }

    /// What it is for, how many, and dollars a month.
    pub fn lines(&self) -> Vec<(&'static str, f64, f64)> {
        let polls = f64::from(self.polled) * POLLS * MONTH_SECONDS / POLL_SECONDS;
        vec![
            ("alarms", f64::from(self.alarms), f64::from(self.alarms) * Unit::AlarmMonth.price().dollars),
            (
                "metrics: the lag of each view",
                f64::from(self.metrics),
                f64::from(self.metrics) * Unit::MetricMonth.price().dollars,
            ),
            (
                "dashboards",
                f64::from(self.dashboards),
                f64::from(self.dashboards) * Unit::DashboardMonth.price().dollars,
            ),
            ("empty polls of the queues", polls, polls * Unit::QueueRequest.price().dollars),
            ("tables, on demand, without their bytes", f64::from(self.tables), 0.0),
        ]
    }
}

/// Queues that feed views.
fn views_fed(texts: &[String]) -> usize {
    let named =
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().strip_prefix("QueueName: "));
    named.filter(|name| name.contains("-project-") && !name.ends_with("-dead")).count()
}

/// The root template and those of the contexts.
///
/// # Errors
/// When one cannot be read.
pub fn templates(root: &Path) -> Result<Vec<String>> {
    let paths = template_paths(root)?;
    paths.iter().map(|path| std::fs::read_to_string(path).map_err(Error::file("cannot read", path))).collect()
}

/// The files of [`templates`].
///
/// # Errors
/// If the directory cannot be read.
pub fn template_paths(root: &Path) -> Result<Vec<PathBuf>> {
    let infra = root.join("infra");
    let entries = std::fs::read_dir(&infra).map_err(Error::file("cannot read", &infra))?;
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.push(root.join("template.yaml"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_without_orders_is_not_free() {
        let text = "  LogRetentionDays:\n    Type: Number\n    Default: 14\n\n    Type: AWS::CloudWatch::Alarm\n      Type: SQS\n\
                    \x20     ScheduleExpression: rate(1 minute)\n";
        let standing = Standing::in_templates(&[text.into()]);
        assert_eq!((standing.alarms, standing.polled, standing.retention), (1, 1, 14));
        assert_eq!(standing.runs(), 43_200.0, "one a minute, for 30 days");
        let empty = standing.lines().into_iter().find(|line| line.0.starts_with("empty")).unwrap();
        // 5 polls, three a minute, for 30 days.
        assert_eq!(empty.1, 648_000.0);
        assert!((empty.2 - 0.2592).abs() < 1e-9);
    }

    #[test]
    fn the_templates_have_what_is_billed_by_the_month() {
        let standing = Standing::of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap();
        assert!(
            standing.alarms > 20 && standing.polled > 15 && standing.tables > 5 && standing.metrics > 10,
            "{standing:?}"
        );
        assert!(standing.retention > 0);
    }

    #[test]
    fn no_schedule_has_another_period_than_the_one_that_is_billed() {
        for text in templates(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap() {
            let mut schedules = text.lines().filter(|line| line.contains("rate(") || line.contains("cron("));
            assert!(schedules.all(|line| line.contains(SCHEDULE)), "teach standing.rs the period");
        }
    }
}
