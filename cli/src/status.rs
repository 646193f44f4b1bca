//! `mall status`: what is up, and whether it is well.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::{
    api::Api,
    cloud,
    consumers::{self, queue_name},
    errors::Result,
    paths::{Home, Repo},
    saga,
    stack::Stack,
    target::{Choice, Target, aws},
    ui, view,
};

/// Pages read of anything that may be long; beyond that a number is a lower bound.
const PAGES: usize = 20;

/// Shows everything there is to know, as far as it can be reached.
pub async fn run(repo: &Repo, home: &Home, choice: &Choice) -> Result<()> {
    let target = choice.target(home)?;
    target.reach().await?;
    let row = |name: &str, value: String| {
        ui::line(format!("{} {value}", console::style(format!("{name:<12}")).bold()))
    };
    match &target {
        Target::Local(cloud) => {
            let up = ui::duration(since(cloud.since));
            row(
                "Cloud",
                format!("{}  {}, pid {}, up {up}", cloud.endpoint(), ui::good("healthy"), cloud.pid),
            );
            row("", ui::dim(cloud::log_hint(repo, &home.log("cloud"))).to_string());
        }
        Target::Endpoint(url) => row("Cloud", format!("{url}  {}", ui::good("healthy"))),
        Target::Aws { .. } => row("Cloud", target.name()),
    }
    let stack = Stack::deployed(home, &target)?;
    row("Stack", format!("{}, deployed {} ago", stack.name, ui::duration(since(stack.deployed_at))));
    row("API", stack.api.clone());

    let config = target.sdk().await;
    let events = match &target {
        Target::Aws { .. } => {
            let client = aws_sdk_dynamodb::Client::new(&config);
            let commits = approximate_items(&client, stack.output("EventTable")?).await?;
            format!("about {commits} commits (AWS counts every six hours)")
        }
        Target::Local(_) | Target::Endpoint(_) => {
            count_events(&aws_sdk_dynamodb::Client::new(&config), stack.output("EventTable")?)
                .await?
                .to_string()
        }
    };
    row("Events", events);
    // The API may be what is broken: the rest is shown all the same.
    let sagas = saga::counted(&Api::at(&stack.api)?).await;
    row("Order sagas", sagas.unwrap_or_else(|error| ui::bad(format!("not known: {error}")).to_string()));

    let mall = view::Mall::of(target, stack).await?;
    ui::line("");
    view::health::table(&mall).await?.into_iter().for_each(ui::line);
    let stack = mall.stack();

    ui::line("");
    let queues = queues(&aws_sdk_sqs::Client::new(&config), stack).await?;
    let parked: u64 =
        queues.iter().filter(|queue| queue.dead).map(|queue| queue.waiting + queue.in_flight).sum();
    let mut rows = vec![["queue", "waiting", "in flight", ""].map(str::to_owned).to_vec()];
    rows.extend(queues.iter().map(Queue::row));
    ui::table(&rows).into_iter().for_each(ui::line);
    ui::line(match parked {
        0 => format!("  {}", ui::good("All dead-letter queues are empty.")),
        _ => format!("  {}", ui::bad(format!("{parked} messages are parked in dead-letter queues."))),
    });
    Ok(())
}

fn since(then: Timestamp) -> std::time::Duration {
    Timestamp::now().duration_since(then).try_into().unwrap_or_default()
}

/// How much is in the event table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    events: u64,
    commits: u64,
    streams: usize,
    /// Whether there is more than was counted.
    more: bool,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least = if self.more { "at least " } else { "" };
        write!(f, "{least}{} in {} commits of {} streams", self.events, self.commits, self.streams)
    }
}

/// Counts by key only: bodies stay where they are.
async fn count_events(client: &aws_sdk_dynamodb::Client, table: &str) -> Result<Count> {
    let mut pages = client
        .scan()
        .table_name(table)
        .projection_expression("#stream, #version, #next")
        .expression_attribute_names("#stream", "stream")
        .expression_attribute_names("#version", "version")
        .expression_attribute_names("#next", "next")
        .into_paginator()
        .send();
    let mut count = Count::default();
    let mut streams = std::collections::HashSet::new();
    for _ in 0..PAGES {
        let Some(page) = pages.next().await else {
            count.streams = streams.len();
            return Ok(count);
        };
        for mut item in page.map_err(aws("counting events"))?.items.unwrap_or_default() {
            let number = |value: Option<&AttributeValue>| value?.as_n().ok()?.parse::<u64>().ok();
            let (first, next) = (number(item.get("version")), number(item.get("next")));
            count.commits += 1;
            count.events += next.unwrap_or(0).saturating_sub(first.unwrap_or(0));
            if let Some(AttributeValue::S(stream)) = item.remove("stream") {
                streams.insert(stream);
            }
        }
    }
    Ok(Count { streams: streams.len(), more: true, ..count })
}

/// How many items are in the event table, where that is cheap to know: AWS counts every six hours.
async fn approximate_items(client: &aws_sdk_dynamodb::Client, table: &str) -> Result<i64> {
    let described =
        client.describe_table().table_name(table).send().await.map_err(aws("describing the event table"))?;
    Ok(described.table().and_then(|table| table.item_count()).unwrap_or(0))
}

/// How many commits there are: counted, or on AWS as of some hours ago.
pub async fn commits(target: &Target, client: &aws_sdk_dynamodb::Client, table: &str) -> Result<u64> {
    if matches!(target, Target::Aws { .. }) {
        return Ok(approximate_items(client, table).await?.try_into().unwrap_or(0));
    }
    let count = client.scan().table_name(table).select(aws_sdk_dynamodb::types::Select::Count);
    let mut pages = count.into_paginator().send();
    let mut commits = 0;
    while let Some(page) = pages.next().await {
        commits += u64::try_from(page.map_err(aws("counting commits"))?.count()).unwrap_or(0);
    }
    Ok(commits)
}

/// A queue and what is in it.
struct Queue {
    name: String,
    /// Whether what is in it went wrong.
    dead: bool,
    waiting: u64,
    in_flight: u64,
}

impl Queue {
    fn row(&self) -> Vec<String> {
        let waiting = self.waiting.to_string();
        let alarming = self.dead && self.waiting > 0;
        vec![
            self.name.clone(),
            if alarming { ui::bad(waiting).to_string() } else { waiting },
            self.in_flight.to_string(),
            if self.dead { ui::dim("dead letters").to_string() } else { String::new() },
        ]
    }
}

/// All queues of the stack, the dead-letter queues last.
async fn queues(client: &aws_sdk_sqs::Client, stack: &Stack) -> Result<Vec<Queue>> {
    let dead = stack.dead_letter_queues()?;
    // By name: an emulator may spell its own host differently from one answer to the next.
    let mut urls: BTreeMap<(bool, String), String> =
        dead.iter().map(|url| ((true, queue_name(url).to_owned()), (*url).to_owned())).collect();
    let prefix = format!("{}-", stack.prefix);
    let mut pages = client.list_queues().queue_name_prefix(&prefix).into_paginator().send();
    while let Some(page) = pages.next().await {
        for url in page.map_err(aws("listing queues"))?.queue_urls() {
            let name = queue_name(url).to_owned();
            if !urls.contains_key(&(true, name.clone())) {
                urls.insert((false, name), url.clone());
            }
        }
    }
    let mut queues = Vec::new();
    for ((dead, name), url) in urls {
        let (waiting, in_flight) = consumers::depth(client, &url).await?;
        queues.push(Queue { name, dead, waiting, in_flight });
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_was_cut_off_says_so() {
        let count = Count { events: 12, commits: 7, streams: 3, more: false };
        assert_eq!(count.to_string(), "12 in 7 commits of 3 streams");
        assert_eq!(Count { more: true, ..count }.to_string(), "at least 12 in 7 commits of 3 streams");
    }
}
