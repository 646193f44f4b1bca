//! The state of the views: lag, parked events, the last sweep.

use std::time::Duration;

use jiff::Timestamp;
use projection::SweepState;
use serde::Deserialize;

use super::{Mall, View};
use crate::{consumers, errors::Result, target::aws, ui};

/// How far back the last batch is looked for: first where a busy view has it. A log is read from its older end, so a longer
/// look at a busy one would end before the newest.
const LOOKS_BACK: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];
/// Pages of a log that are read for one look.
const PAGES: usize = 5;

/// How a view is.
struct Health {
    view: View,
    sweep: Option<SweepState>,
    /// Messages in its queue: events that it is behind, and those that are being worked on.
    behind: u64,
    /// Messages in its dead-letter queue.
    parked: u64,
    /// When it last took in a batch, and how old the oldest event of that was.
    last: Option<(Timestamp, Duration)>,
}

/// What a projection says of a batch: a line of embedded metrics.
#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(rename = "_aws")]
    about: About,
    #[serde(rename = "Lag")]
    lag: u64,
}

#[derive(Debug, Deserialize)]
struct About {
    #[serde(rename = "Timestamp")]
    timestamp: i64,
}

/// Lists all views.
pub async fn list(mall: &Mall) -> Result<()> {
    let task = ui::task("Asking for the views");
    let table = table(mall).await?;
    drop(task);
    table.into_iter().for_each(ui::line);
    Ok(())
}

/// All views, as lines of a table.
pub async fn table(mall: &Mall) -> Result<Vec<String>> {
    let mut rows =
        vec![["view", "of", "behind", "last batch", "lag", "parked", "sweep"].map(str::to_owned).to_vec()];
    for view in &mall.views {
        let queue = view.queue(&mall.stack.prefix);
        let health = Health {
            behind: depth(mall, &queue).await?,
            parked: depth(mall, &format!("{queue}-dead")).await?,
            last: last_batch(mall, &queue).await?,
            sweep: mall.state(view).await?,
            view: view.clone(),
        };
        rows.push(health.row(Timestamp::now()));
    }
    Ok(ui::table(&rows))
}

impl Health {
    fn row(&self, now: Timestamp) -> Vec<String> {
        let ago = |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        let (last, lag) = match self.last {
            Some((at, lag)) => {
                // While something waits, the view stands where its last batch left it.
                let lag = if self.behind > 0 { lag + ago(at) } else { Duration::ZERO };
                (format!("{} ago", ui::duration(ago(at))), ui::duration(lag))
            }
            None if self.behind > 0 => ("none in an hour".to_owned(), "?".to_owned()),
            None => ("none in an hour".to_owned(), ui::duration(Duration::ZERO)),
        };
        let parked = self.parked.to_string();
        vec![
            self.view.name.clone(),
            self.view.context.clone(),
            self.behind.to_string(),
            last,
            lag,
            if self.parked > 0 { ui::bad(parked).to_string() } else { parked },
            self.sweep.as_ref().map(sweep).unwrap_or_default(),
        ]
    }
}

fn sweep(state: &SweepState) -> String {
    let what = if state.sweep.only_compare { "comparison" } else { "sweep" };
    if !state.is_over() {
        let progress = format!("{what}: {} rows", state.rows());
        return match &state.sweep.stopped {
            Some(why) => ui::bad(format!("{progress}, stopped: {why}")).to_string(),
            None => ui::warn(progress).to_string(),
        };
    }
    let (at, report) = (state.updated_at().strftime("%Y-%m-%d %H:%M"), state.report());
    let counted =
        |number: u64, what: &str| if number > 0 { format!(", {number} {what}") } else { String::new() };
    let (differed, left) = (counted(report.differences, "differed"), counted(report.left, "left"));
    ui::dim(format!("{what} {at}{differed}{left}")).to_string()
}

async fn depth(mall: &Mall, queue: &str) -> Result<u64> {
    let url = mall
        .sqs
        .get_queue_url()
        .queue_name(queue)
        .send()
        .await
        .map_err(aws("finding the queue of a view"))?;
    let (waiting, hidden) = consumers::depth(&mall.sqs, url.queue_url().unwrap_or_default()).await?;
    Ok(waiting + hidden)
}

/// The last line of metrics that the view's projection wrote.
async fn last_batch(mall: &Mall, queue: &str) -> Result<Option<(Timestamp, Duration)>> {
    for look_back in LOOKS_BACK {
        if let Some(last) = last_batch_within(mall, queue, look_back).await? {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

async fn last_batch_within(
    mall: &Mall,
    queue: &str,
    look_back: Duration,
) -> Result<Option<(Timestamp, Duration)>> {
    let since = Timestamp::now().checked_sub(look_back).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut pages = mall
        .logs
        .filter_log_events()
        .log_group_name(format!("/aws/lambda/{queue}"))
        .filter_pattern("\"_aws\"")
        .start_time(since.as_millisecond())
        .into_paginator()
        .send();
    let mut last = None;
    for _ in 0..PAGES {
        let page = match pages.next().await {
            None => break,
            Some(Ok(page)) => page,
            // A function has no log before its first call.
            Some(Err(error))
                if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) =>
            {
                break;
            }
            Some(Err(error)) => return Err(aws("reading what a projection measured")(error)),
        };
        let batches = page.events().iter().filter_map(|event| batch(event.message()?));
        last = batches.fold(last, |last, new| last.max(Some(new)));
    }
    Ok(last)
}

fn batch(line: &str) -> Option<(Timestamp, Duration)> {
    let Batch { about, lag } = serde_json::from_str(line).ok()?;
    Some((Timestamp::from_millisecond(about.timestamp).ok()?, Duration::from_millis(lag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_metrics_tells_when_and_how_late() {
        let line =
            r#"{"_aws":{"Timestamp":1500,"CloudWatchMetrics":[]},"View":"orders","Lag":250,"Applied":3}"#;
        let (at, lag) = batch(line).unwrap();
        assert_eq!((at.as_millisecond(), lag), (1500, Duration::from_millis(250)));
        assert_eq!(batch(r#"{"message":"handled"}"#), None);
    }

    #[test]
    fn a_view_with_an_empty_queue_is_not_behind_however_long_ago_its_last_batch_was() {
        console::set_colors_enabled(false);
        let health = |behind| Health {
            view: View { context: "ordering".into(), name: "orders".into() },
            sweep: None,
            behind,
            parked: 0,
            last: Some((Timestamp::UNIX_EPOCH, Duration::from_secs(2))),
        };
        let now = Timestamp::from_second(30).unwrap();
        assert_eq!(health(0).row(now)[3..5], ["30.0 s ago", "0 ms"]);
        assert_eq!(health(4).row(now)[2..5], ["4", "30.0 s ago", "32.0 s"]);
    }
}
