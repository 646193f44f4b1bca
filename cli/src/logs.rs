//! `mall logs`: what the functions say, from CloudWatch Logs, all in one stream ordered by time.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use aws_sdk_cloudwatchlogs::Client;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::{
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
    target::{Choice, aws},
    ui,
};

/// Time between two looks with --follow.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far back each look of --follow reaches: lines arrive late, and not in order.
const OVERLAP_MS: i64 = 10_000;

/// Of `mall logs`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Part of a function's name, for example `relay` or `checkout` [default: all functions]
    function: Option<String>,
    /// Go on showing what comes
    #[arg(long, short)]
    follow: bool,
    /// How far to look back: 30s, 10m, 2h, 1d
    #[arg(long, default_value = "10m", value_parser = parse_ago)]
    since: SignedDuration,
    /// Show every line as it was logged, also those of Lambda itself
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    choice: Choice,
}

/// Shows them.
pub async fn run(home: &Home, options: &Options) -> Result<()> {
    let target = options.choice.target(home)?;
    target.reach().await?;
    let stack = Stack::deployed(home, &target)?;
    let client = Client::new(&target.sdk().await);
    let mut from =
        Timestamp::now().checked_sub(options.since).unwrap_or(Timestamp::UNIX_EPOCH).as_millisecond();
    let mut shown = Shown::default();
    loop {
        // Asked for again each time: a function has no log before its first call.
        let groups = chosen(groups(&client, &stack.prefix).await?, options.function.as_deref())?;
        if groups.is_empty() && !options.follow {
            ui::note("No function has logged anything yet.");
        }
        let mut lines = Vec::new();
        for (function, group) in &groups {
            lines.extend(read(&client, function, group, from).await?);
        }
        sort(&mut lines);
        if lines.is_empty() && !groups.is_empty() && !options.follow {
            ui::note("Nothing was logged in that time; look further back: --since 1d");
        }
        for line in lines.into_iter().filter(|line| options.raw || !line.is_routine()) {
            if shown.is_new(&line) {
                ui::line(if options.raw { line.text.clone() } else { line.render() });
            }
        }
        if !options.follow {
            return Ok(());
        }
        from = Timestamp::now().as_millisecond() - OVERLAP_MS;
        shown.forget_before(from);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// All that the functions of a stack have logged since `from`, for keeping.
pub async fn everything(client: &Client, prefix: &str, from: Timestamp) -> Result<String> {
    let mut lines = Vec::new();
    for (function, group) in groups(client, prefix).await? {
        lines.extend(read(client, &function, &group, from.as_millisecond()).await?);
    }
    sort(&mut lines);
    Ok(lines
        .iter()
        .map(|line| format!("{} {} {}\n", timestamp(line.at), line.function, line.text.trim_end()))
        .collect())
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// When it was written, in milliseconds: by its own account, else when it was received.
    at: i64,
    /// When it was received.
    received: i64,
    /// Tells repetitions from lines that read alike, as far as the service numbers its lines.
    id: String,
    function: String,
    text: String,
}

/// By time; lines of one moment stay in the order in which they were logged.
fn sort(lines: &mut [Line]) {
    lines.sort_by_key(|line| line.at);
}

/// Lines shown already, since looks overlap.
#[derive(Default)]
struct Shown(HashSet<(i64, String, String)>);

impl Shown {
    fn is_new(&mut self, line: &Line) -> bool {
        self.0.insert((line.received, line.function.clone(), line.id.clone()))
    }

    fn forget_before(&mut self, time: i64) {
        self.0.retain(|(received, ..)| *received >= time);
    }
}

/// Log groups of the functions, by function.
async fn groups(client: &Client, prefix: &str) -> Result<BTreeMap<String, String>> {
    let start = format!("/aws/lambda/{prefix}-");
    let mut pages = client.describe_log_groups().log_group_name_prefix(&start).into_paginator().send();
    let mut groups = BTreeMap::new();
    while let Some(page) = pages.next().await {
        for group in page.map_err(aws("listing log groups"))?.log_groups() {
            if let Some(name) = group.log_group_name() {
                let function = name.strip_prefix(&start).unwrap_or(name);
                groups.insert(function.to_owned(), name.to_owned());
            }
        }
    }
    Ok(groups)
}

/// Those whose name contains what was asked for.
fn chosen(groups: BTreeMap<String, String>, asked: Option<&str>) -> Result<BTreeMap<String, String>> {
    let Some(asked) = asked else { return Ok(groups) };
    let (chosen, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        groups.into_iter().partition(|(function, _)| function.contains(asked));
    if chosen.is_empty() && !others.is_empty() {
        return Err(Error::NoSuchFunction { asked: asked.to_owned(), known: others.into_keys().collect() });
    }
    Ok(chosen)
}

async fn read(client: &Client, function: &str, group: &str, from: i64) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut pages = client.filter_log_events().log_group_name(group).start_time(from).into_paginator().send();
    while let Some(page) = pages.next().await {
        for event in page.map_err(aws("reading logs"))?.events() {
            let text = event.message().unwrap_or_default().trim_end().to_owned();
            let received = event.timestamp().unwrap_or(0);
            let id = match event.event_id() {
                Some(id) if !id.is_empty() => id.to_owned(),
                _ => format!("{} {text}", event.log_stream_name().unwrap_or_default()),
            };
            let at = written(&text).unwrap_or(received);
            lines.push(Line { at, received, id, function: function.to_owned(), text });
        }
    }
    Ok(lines)
}

/// The time that a line gives itself.
fn written(text: &str) -> Option<i64> {
    let fields: Map<String, Value> = serde_json::from_str(text).ok()?;
    let time: Timestamp = fields.get("timestamp")?.as_str()?.parse().ok()?;
    Some(time.as_millisecond())
}

impl Line {
    /// What Lambda itself logs around every invocation.
    fn is_routine(&self) -> bool {
        ["START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START "]
            .iter()
            .any(|start| self.text.starts_with(start))
            // Metrics are for CloudWatch; `mall view list` shows them.
            || self.text.contains("\"_aws\":{")
    }

    /// For reading: time, function, level, message, then the other fields.
    fn render(&self) -> String {
        let function = console::pad_str(&self.function, 30, console::Alignment::Left, Some("…")).into_owned();
        let start = format!("{} {}", ui::dim(timestamp(self.at)), console::style(function).cyan());
        match serde_json::from_str::<Map<String, Value>>(&self.text) {
            Ok(fields) => format!("{start} {}", render_fields(fields)),
            // Whatever a crash leaves.
            Err(_) => format!("{start} {}", ui::dim(&self.text)),
        }
    }
}

fn render_fields(mut fields: Map<String, Value>) -> String {
    let mut take = |name: &str| fields.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    take("timestamp");
    let level = take("level").unwrap_or_default();
    let message = take("message").unwrap_or_default();
    if let Some(Value::Object(span)) = fields.remove("span") {
        fields.extend(span.into_iter().filter(|(name, _)| name != "name"));
    }
    let level = match level.as_str() {
        "ERROR" => ui::bad(level).to_string(),
        "WARN" => ui::warn(level).to_string(),
        _ => level,
    };
    let rest = fields.iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}{value}", ui::dim(format!("{name}=")))
    });
    let parts = [level, message].into_iter().chain(rest).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

fn timestamp(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default().strftime("%H:%M:%S%.3f").to_string()
}

/// A time back: `30s`, `10m`, `2h`, `1d`.
pub fn parse_ago(text: &str) -> std::result::Result<SignedDuration, String> {
    let bad = || format!("{text:?} is not a time such as 30s, 10m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    Ok(SignedDuration::from_secs(i64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: i64, id: &str) -> Line {
        Line { at, received: at, id: id.into(), function: "relay".into(), text: String::new() }
    }

    #[test]
    fn a_time_back_is_a_number_and_a_unit() {
        assert_eq!(parse_ago("90s"), Ok(SignedDuration::from_secs(90)));
        assert_eq!(parse_ago("2h"), Ok(SignedDuration::from_secs(7200)));
        for bad in ["", "10", "m", "-1m", "1w", "1µ", "99999999999d"] {
            assert!(parse_ago(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn overlapping_looks_show_a_line_once() {
        let mut shown = Shown::default();
        assert!(shown.is_new(&line(5, "a")));
        assert!(!shown.is_new(&line(5, "a")));
        assert!(shown.is_new(&line(5, "b")));
        shown.forget_before(6);
        assert!(shown.is_new(&line(5, "a")));
    }

    #[test]
    fn a_line_is_placed_by_its_own_time_and_the_frame_around_it_is_known() {
        assert_eq!(written(r#"{"timestamp":"1970-01-01T00:00:01.5Z"}"#), Some(1500));
        assert_eq!(written("START RequestId: 1 Version: $LATEST"), None);
        let framed = |text: &str| Line { text: text.into(), ..line(0, "a") }.is_routine();
        assert!(framed("REPORT RequestId: 1\tDuration: 2 ms") && !framed("thread 'main' panicked"));
    }

    #[test]
    fn a_part_of_the_name_chooses_functions_and_a_wrong_one_lists_them() {
        let groups = || {
            BTreeMap::from(
                [("relay", "g1"), ("baskets-add-item", "g2")].map(|(a, b)| (a.to_owned(), b.to_owned())),
            )
        };
        assert_eq!(chosen(groups(), Some("basket")).unwrap().len(), 1);
        assert_eq!(chosen(groups(), None).unwrap().len(), 2);
        let error = chosen(groups(), Some("depot")).unwrap_err();
        assert!(error.to_string().contains("baskets-add-item, relay"), "{error}");
    }

    #[test]
    fn a_json_line_reads_as_a_sentence_with_its_fields_behind() {
        console::set_colors_enabled(false);
        let text = r#"{"timestamp":"t","level":"INFO","message":"committed","version":3,"span":{"name":"call","route":"x"}}"#;
        assert_eq!(render_fields(serde_json::from_str(text).unwrap()), "INFO committed route=x version=3");
    }
}
