//! Starting a sweep, and showing its progress until it ends.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use projection::{Order, Report, SweepState};
use serde_json::{Value, json};

use super::{Mall, View};
use crate::{
    errors::{Error, Result},
    status,
    target::aws,
    ui,
};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Time over which rows a second are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Sweeps views, one after the other; all of them, also when something in one is left.
pub async fn sweep(mall: &Mall, views: &[View], order: &Order) -> Result<()> {
    if order.rate.is_some_and(|rate| rate < order.parts) {
        return Err(Error::ViewNotNow {
            why: format!("{0} parts read at least {0} events a second", order.parts),
            advice: "Take fewer parts, or a higher rate: --parts 1".to_owned(),
        });
    }
    let (mut all, mut trouble) = (Report::default(), None);
    for view in views {
        match one(mall, view, order).await {
            Ok(state) => {
                let report = state.report();
                ui::line(format!("  {}: {}", view.name, found(&state)));
                report.examples.iter().for_each(|example| ui::line(format!("    {example}")));
                let more = report.left + report.differences - report.examples.len() as u64;
                if more > 0 {
                    ui::line(format!("    and {more} more"));
                }
                all.add(report);
            }
            Err(error @ Error::ViewNotNow { .. }) => {
                ui::line(format!("  {}: {}", view.name, ui::bad(&error)));
                trouble.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match trouble {
        Some(trouble) => Err(trouble),
        None if all.left > 0 => Err(Error::ViewsLeft { number: all.left }),
        None if order.only_compare && all.differences > 0 => {
            Err(Error::ViewsDiffer { rows: all.differences })
        }
        None => Ok(()),
    }
}

/// `1204 rows of 5120 events: 3 differed, 3 written, 1 left as it is`.
fn found(state: &SweepState) -> String {
    let Report { differences, written, left, .. } = state.report();
    let mut parts = Vec::new();
    if differences > 0 {
        parts.push(ui::bad(format!("{differences} differed")).to_string());
    }
    if written > 0 {
        parts.push(format!("{written} written"));
    }
    if left > 0 {
        parts.push(ui::bad(format!("{left} left as they are")).to_string());
    }
    if parts.is_empty() {
        parts.push(ui::good("no differences".to_owned()).to_string());
    }
    format!("{} rows of {} events: {}", state.rows(), state.events(), parts.join(", "))
}

/// Starts the state machine, and shows the progress until it ends.
async fn one(mall: &Mall, view: &View, order: &Order) -> Result<SweepState> {
    let title = match order.only_compare {
        true => format!("Comparing {} with its events", view.name),
        false => format!("Sweeping {}", view.name),
    };
    let name = format!("{}-{}", view.name, Timestamp::now().as_millisecond());
    let input = json!({ "context": view.context, "view": view.name, "order": order }).to_string();
    let began = Timestamp::now();
    let start = mall.sfn.start_execution().state_machine_arn(&mall.machine).name(&name).input(input);
    let started = start.send().await.map_err(aws("starting the sweep"))?;
    let execution = started.execution_arn().to_owned();
    let total = status::commits(&mall.target, &mall.dynamo, mall.stack.output("EventTable")?).await?;

    let task = ui::task(&title);
    let mut window: VecDeque<(Instant, u64)> = VecDeque::new();
    loop {
        // Before its progress: what was recorded when it ended is all there is.
        let described = mall.sfn.describe_execution().execution_arn(&execution).send().await;
        let described = described.map_err(aws("looking at the sweep"))?;
        let state = mall.state(view).await?;
        match (described.status(), state) {
            (ExecutionStatus::Running, state) => {
                if let Some(state) = state.filter(|state| state.updated_at() >= began) {
                    window.push_back((Instant::now(), state.rows()));
                    while window.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
                        window.pop_front();
                    }
                    task.at(&shown(&state, total, rate_of(&window)));
                }
            }
            (ExecutionStatus::Succeeded, Some(state))
                if state.is_over() && state.sweep.only_compare == order.only_compare =>
            {
                if state.sweep.started_at < began {
                    let since = state.sweep.started_at.strftime("%Y-%m-%d %H:%M");
                    ui::line(format!("  went on with what was begun at {since} UTC"));
                }
                task.done(&title);
                return Ok(state);
            }
            (ExecutionStatus::Succeeded, state) => {
                let stopped = state.and_then(|state| state.sweep.stopped);
                let why = stopped.unwrap_or_else(|| "another sweep of this view began".to_owned());
                return Err(interrupted(view, &why));
            }
            (_, state) => {
                let cause = described.cause().unwrap_or_default();
                let stopped = state.and_then(|state| state.sweep.stopped);
                return Err(interrupted(view, &stopped.unwrap_or_else(|| told(cause))));
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn interrupted(view: &View, why: &str) -> Error {
    Error::ViewNotNow {
        why: format!("the sweep of {} stopped before its end: {why}", view.name),
        advice: "The same command goes on where it was. Logs of the workers: cargo mall logs sweep-view"
            .to_owned(),
    }
}

/// The message of a function's error, which comes as JSON.
fn told(cause: &str) -> String {
    let told: Option<Value> = serde_json::from_str(cause).ok();
    told.as_ref().and_then(|told| told["errorMessage"].as_str()).unwrap_or(cause).to_owned()
}

fn rate_of(window: &VecDeque<(Instant, u64)>) -> Option<f64> {
    let ((from, before), (to, after)) = (window.front()?, window.back()?);
    let time = to.duration_since(*from).as_secs_f64();
    (time > 0.0).then(|| after.saturating_sub(*before) as f64 / time)
}

/// `[########------------]  41 %  12345 rows, 560/s, 32 s left`.
fn shown(state: &SweepState, total: u64, rate: Option<f64>) -> String {
    // The number of commits may be some hours old.
    let total = total.max(state.commits()).max(1);
    let part = state.commits() as f64 / total as f64;
    let full = (part * 20.0).floor() as usize;
    let bar: String = (0..20).map(|n| if n < full { '#' } else { '-' }).collect();
    let rate_text = rate.map_or_else(String::new, |rate| format!(", {rate:.0}/s"));
    let left =
        rate.filter(|rate| *rate >= 1.0 && part > 0.0 && part < 1.0).map_or_else(String::new, |rate| {
            let to_come = state.rows() as f64 / part - state.rows() as f64;
            format!(", {} left", ui::duration(Duration::from_secs_f64(to_come / rate)))
        });
    format!("[{bar}] {:.0} %  {} rows{rate_text}{left}", part * 100.0, state.rows())
}

#[cfg(test)]
mod tests {
    use projection::{At, Part, Sweep};

    use super::*;

    fn state(commits: u64, rows: u64) -> SweepState {
        let sweep = Sweep {
            id: kernel::Uuid::nil(),
            started_at: Timestamp::UNIX_EPOCH,
            only_compare: false,
            schema: 1,
            parts: 1,
            rate: None,
            stopped: None,
        };
        let part = Part {
            sweep: sweep.id,
            at: At::Start,
            commits,
            events: 2 * rows,
            rows,
            report: Report { written: 2, left: 1, ..Report::default() },
            updated_at: Timestamp::UNIX_EPOCH,
        };
        SweepState { sweep, parts: vec![part] }
    }

    #[test]
    fn a_bar_shows_the_part_done_the_rate_and_the_time_left() {
        let half = shown(&state(500, 1000), 1000, Some(100.0));
        assert_eq!(half, "[##########----------] 50 %  1000 rows, 100/s, 10.0 s left");
        // More was committed since the table was counted.
        assert!(shown(&state(1500, 9), 1000, None).contains("100 %"));
    }

    #[test]
    fn rows_that_were_left_are_never_hidden_behind_those_that_were_written() {
        console::set_colors_enabled(false);
        assert_eq!(found(&state(5, 3)), "3 rows of 6 events: 2 written, 1 left as they are");
    }

    #[test]
    fn a_worker_s_error_is_shown_without_its_wrapping() {
        assert_eq!(told(r#"{"errorType":"Internal","errorMessage":"AccessDenied"}"#), "AccessDenied");
        assert_eq!(told("Lambda is gone"), "Lambda is gone");
    }
}
