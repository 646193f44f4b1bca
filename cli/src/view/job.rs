//! Starting a rebuild or a comparison, and looking on.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use projection::{Job, Phase, Task};
use serde_json::{Value, json};

use super::{Mall, View};
use crate::{
    errors::{Error, Result},
    status,
    target::aws,
    ui,
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// What "events a second" is taken over.
const WINDOW: Duration = Duration::from_secs(10);
/// Looks at a job that is over before its execution is: the last phase takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds views anew, one after the other.
pub async fn rebuild(
    mall: &Mall,
    views: &[View],
    segments: u32,
    rate: Option<u32>,
    verify: bool,
) -> Result<()> {
    if rate.is_some_and(|rate| rate < segments) {
        return Err(Error::ViewNotNow {
            why: format!("{segments} segments make at least {segments} events a second"),
            advice: "Take fewer segments, or a higher rate: --segments 1".to_owned(),
        });
    }
    let task = if verify { Task::RebuildAndVerify } else { Task::Rebuild };
    for view in views {
        let order = json!({ "task": task, "segments": segments, "rate": rate });
        let seen = look_on(mall, view, order, &format!("Rebuilding {}", view.name)).await?;
        let Some(job) = seen.job else { continue };
        ui::line(match job.phase {
            Phase::Done => {
                let filled = seen.filled.map_or_else(String::new, |time| {
                    let rate = job_rate(seen.filled_events, time);
                    format!(", filled in {} ({rate} events/s)", ui::duration(time))
                });
                let checked = if job.task == Task::RebuildAndVerify { ", every row verified" } else { "" };
                format!(
                    "  generation {} of {} is live: {} events{filled}{checked}",
                    job.generation, view.name, seen.filled_events
                )
            }
            _ => format!("  {} was {}; generation {} is live", view.name, job.phase, seen.live),
        });
    }
    Ok(())
}

/// Compares views with their events, all of them, also when one cannot be compared.
pub async fn verify(mall: &Mall, views: &[View], segments: u32, repair: bool) -> Result<()> {
    let task = if repair { Task::Repair } else { Task::Verify };
    let (mut differences, mut repaired, mut trouble) = (0, 0, None);
    for view in views {
        let job = match compared(mall, view, segments, task).await {
            Ok(job) => job,
            Err(error @ Error::ViewNotNow { .. }) => {
                ui::line(format!("  {}: {}", view.name, ui::bad(&error)));
                trouble.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let found = match job.differences {
            0 => ui::good("no differences".to_owned()),
            n => ui::bad(format!("{n} rows differ")),
        };
        ui::line(format!("  {}: {} events compared, {found}", view.name, job.events()));
        job.examples.iter().for_each(|example| ui::line(format!("    {example}")));
        if job.differences > job.examples.len() as u64 {
            ui::line(format!("    and {} more", job.differences - job.examples.len() as u64));
        }
        differences += job.differences;
        repaired += job.repaired;
    }
    if repaired > 0 {
        ui::line(format!("{} {repaired} rows were put right", ui::good("✓")));
    }
    match (trouble, differences - repaired) {
        (Some(trouble), _) => Err(trouble),
        (None, 0) => Ok(()),
        (None, left) => Err(Error::ViewsDiffer { rows: left }),
    }
}

/// A comparison that came to its end: anything else says nothing of the rows.
async fn compared(mall: &Mall, view: &View, segments: u32, task: Task) -> Result<Job> {
    let order = json!({ "task": task, "segments": segments, "rate": null });
    let seen = look_on(mall, view, order, &format!("Comparing {} with its events", view.name)).await?;
    let finished = |job: &Job| job.task == task && job.phase == Phase::Done;
    seen.job.filter(finished).ok_or_else(|| Error::ViewNotNow {
        why: format!("the comparison of {} was given up before its end", view.name),
        advice: format!(
            "Somebody cancelled it (cargo mall view list). Once more: cargo mall verify {}",
            view.name
        ),
    })
}

/// Gives a rebuild up.
pub async fn cancel(mall: &Mall, view: &View) -> Result<()> {
    let state = mall.state(view).await?;
    if state.under_way().is_none() {
        ui::line(format!("{} Nothing to do: {} is not being rebuilt.", ui::good("✓"), view.name));
        return Ok(());
    }
    let order = json!({ "cancel": true });
    let seen = look_on(mall, view, order, &format!("Giving up the rebuild of {}", view.name)).await?;
    ui::line(format!("  generation {} of {} is live, as before", seen.live, view.name));
    Ok(())
}

/// What was seen of a job.
#[derive(Default)]
struct Seen {
    live: String,
    /// As it ended.
    job: Option<Job>,
    /// How long filling took, as far as it was seen, and how many events that were.
    filled: Option<Duration>,
    filled_events: u64,
}

/// Starts the state machine, and shows how far it is until it ends.
async fn look_on(mall: &Mall, view: &View, order: Value, title: &str) -> Result<Seen> {
    let name = format!("{}-{}", view.name, Timestamp::now().as_millisecond());
    let input = json!({ "context": view.context, "view": view.name, "order": order }).to_string();
    let start = mall.sfn.start_execution().state_machine_arn(&mall.machine).name(&name).input(input);
    let started = start.send().await.map_err(aws("starting the rebuild"))?;
    let execution = started.execution_arn().to_owned();
    let total = status::commits(&mall.target, &mall.dynamo, mall.stack.output("EventTable")?).await?;

    let task = ui::task(title);
    let began = Timestamp::now();
    let mut seen = Seen::default();
    let mut window: VecDeque<(Instant, u64)> = VecDeque::new();
    let mut filling_since: Option<Instant> = None;
    let mut over_since = None;
    loop {
        let state = mall.state(view).await?;
        seen.live = state.live.to_string();
        // Not what was done before this.
        let job = state.job.filter(|job| job.updated_at >= began || !job.phase.is_over());
        if let Some(job) = &job {
            let now = Instant::now();
            if job.phase == Phase::Filling {
                seen.filled = Some(filling_since.get_or_insert(now).elapsed());
                seen.filled_events = job.events();
            } else if job.phase == Phase::Switched && seen.filled_events < job.events() {
                seen.filled_events = job.events();
            }
            window.push_back((now, job.events()));
            while window.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
                window.pop_front();
            }
            task.at(&shown(job, total, rate_of(&window)));
        }
        let described = mall.sfn.describe_execution().execution_arn(&execution).send().await;
        let described = described.map_err(aws("looking at the rebuild"))?;
        match described.status() {
            ExecutionStatus::Running => {}
            ExecutionStatus::Succeeded => {
                if let Some(why) = refusal(described.output().unwrap_or_default()) {
                    return Err(failed(view, REFUSED, &why));
                }
                // The registry was read before: once more, for the end of it.
                let state = mall.state(view).await?;
                (seen.live, seen.job) = (state.live.to_string(), state.job);
                if let Some(job) = &seen.job
                    && seen.filled_events == 0
                {
                    seen.filled_events = job.events();
                }
                task.done(title);
                return Ok(seen);
            }
            _ => {
                let cause = described.cause().unwrap_or_default();
                return Err(failed(view, described.error().unwrap_or_default(), cause));
            }
        }
        if job.is_some_and(|job| job.phase.is_over())
            && over_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
        {
            let why = "the execution does not end, though there is nothing left to do".to_owned();
            return Err(failed(view, "", &why));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The error of what is asked for at a wrong time.
const REFUSED: &str = "REBUILD_REFUSED";

/// Why nothing was begun: an execution that was refused ends well, because nothing is wrong with the view.
fn refusal(output: &str) -> Option<String> {
    let output: Value = serde_json::from_str(output).ok()?;
    Some(output["refused"]["Cause"].as_str()?.to_owned())
}

fn failed(view: &View, error: &str, cause: &str) -> Error {
    // A function's error comes as JSON.
    let told: Option<Value> = serde_json::from_str(cause).ok();
    let told = told.as_ref().and_then(|told| told["errorMessage"].as_str()).unwrap_or(cause).to_owned();
    let view = view.name.clone();
    match error {
        REFUSED => Error::ViewNotNow {
            why: told,
            advice: format!(
                "See how far it is: cargo mall view list. Give it up: cargo mall view cancel {view}"
            ),
        },
        "ViewRebuildStopped" => Error::ViewNotNow {
            why: format!("the rebuild of {view}, or its comparison, stopped: {told}"),
            advice: format!(
                "Queries read the rows that they read before. Mend what it names, deploy, and go on with the same command; \
                 or give it up: cargo mall view cancel {view}"
            ),
        },
        _ => Error::ViewNotNow {
            why: format!("{view}: the execution was interrupted: {error} {told}"),
            advice:
                "The same command goes on where it was. What the worker says: cargo mall logs rebuild-view"
                    .to_owned(),
        },
    }
}

fn rate_of(window: &VecDeque<(Instant, u64)>) -> Option<f64> {
    let ((from, before), (to, after)) = (window.front()?, window.back()?);
    let time = to.duration_since(*from).as_secs_f64();
    (time > 0.0).then(|| after.saturating_sub(*before) as f64 / time)
}

fn job_rate(events: u64, time: Duration) -> u64 {
    (events as f64 / time.as_secs_f64().max(0.001)).round() as u64
}

/// `filling  [########------------]  41 %  12345 events, 560/s, 32 s left`.
fn shown(job: &Job, total: u64, rate: Option<f64>) -> String {
    if !matches!(job.phase, Phase::Filling | Phase::Verifying) {
        return job.phase.to_string();
    }
    // The number of commits may be some hours old.
    let total = total.max(job.commits()).max(1);
    let part = job.commits() as f64 / total as f64;
    let full = (part * 20.0).floor() as usize;
    let bar: String = (0..20).map(|n| if n < full { '#' } else { '-' }).collect();
    let rate_text = rate.map_or_else(String::new, |rate| format!(", {rate:.0}/s"));
    let left =
        rate.filter(|rate| *rate >= 1.0 && part > 0.0 && part < 1.0).map_or_else(String::new, |rate| {
            let to_come = job.events() as f64 / part - job.events() as f64;
            format!(", {} left", ui::duration(Duration::from_secs_f64(to_come / rate)))
        });
    format!("{}  [{bar}] {:.0} %  {} events{rate_text}{left}", job.phase, part * 100.0, job.events())
}

#[cfg(test)]
mod tests {
    use projection::{Generation, SegmentState};

    use super::*;

    fn job(phase: Phase, commits: u64, events: u64) -> Job {
        Job {
            task: Task::Rebuild,
            generation: Generation::FIRST.next(),
            phase,
            since: Timestamp::UNIX_EPOCH,
            schema: 1,
            rate: None,
            segments: vec![SegmentState { commits, events, ..SegmentState::default() }],
            differences: 0,
            repaired: 0,
            examples: vec![],
            started_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            stopped: None,
        }
    }

    #[test]
    fn a_bar_tells_how_far_how_fast_and_how_long_still() {
        let half = shown(&job(Phase::Filling, 500, 1000), 1000, Some(100.0));
        assert_eq!(half, "filling  [##########----------] 50 %  1000 events, 100/s, 10.0 s left");
        // More was committed since the table was counted.
        assert!(shown(&job(Phase::Filling, 1500, 9), 1000, None).contains("100 %"));
        assert_eq!(shown(&job(Phase::Feeding, 0, 0), 1000, None), "feeding");
    }

    #[test]
    fn what_a_function_refused_is_told_without_its_wrapping() {
        let view = View { context: "ordering".into(), name: "orders".into() };
        let cause =
            r#"{"errorType":"REBUILD_REFUSED","errorMessage":"view orders is being rebuilt (filling)"}"#;
        assert_eq!(
            failed(&view, "REBUILD_REFUSED", cause).to_string(),
            "view orders is being rebuilt (filling)"
        );
        let output = json!({ "view": "orders", "refused": { "Error": REFUSED, "Cause": cause } }).to_string();
        assert_eq!(refusal(&output).as_deref(), Some(cause));
        assert_eq!(refusal(r#"{"step":{"next":"over"}}"#), None);
        let stopped = failed(&view, "ViewRebuildStopped", "ordering.Order/1 version 2: broken");
        assert!(stopped.to_string().ends_with("ordering.Order/1 version 2: broken"), "{stopped}");
    }
}
