//! End to end: a cloud of its own on a free port, the stack deployed to it, and the tests that talk to it from outside:
//! the shoppers' and those of the API ([`super::api`]). The cloud goes however this ends.

use std::time::Duration;

use jiff::Timestamp;

use super::{Part, Tester, empty, report::Outcome};
use crate::{
    build::{How, cargo},
    cloud::{self, Temporary},
    deploy,
    errors::{Error, Result},
    files, logs,
    stack::Stack,
    target::{Target, aws},
    ui,
};

const TESTS: Duration = Duration::from_secs(1800);

/// Terms of payment. Nobody waits for seven days in a test. Only orders that are ready and not paid can
/// expire, and all tests but one pay them at once.
const SOON: [(&str, &str); 2] = [("PaymentDeadlineSeconds", "60"), ("PaymentReminderSeconds", "20")];

impl Tester<'_> {
    /// Each on a cloud of its own: what one leaves behind, orders that wait above all, is not to disturb the other.
    pub(super) async fn deployed(&mut self) -> Result<()> {
        for part in [Part::E2e, Part::Api] {
            if self.options.wants(part) {
                self.on_a_cloud(part).await?;
            }
        }
        Ok(())
    }

    async fn on_a_cloud(&mut self, part: Part) -> Result<()> {
        let began = Timestamp::now();
        let started = self.begin("Cloud and deployment");
        // Kept in a variable of its own: it stops the cloud when it is dropped.
        let (temporary, target, stack) = match self.set_up().await {
            Ok(ready) => ready,
            Err(error) => {
                self.broken("deployment", &error, started.elapsed());
                return Ok(());
            }
        };
        self.end(Outcome { name: "deployment", passed: 1, took: started.elapsed(), ..empty() });

        let passed = if part == Part::Api {
            self.api(&target, &stack).await?
        } else {
            self.e2e(&target, &stack).await?
        };
        let last = part == Part::Api || !self.options.wants(Part::Api);
        if !passed {
            // The reason of a failure is often in what the functions said, and that goes with the cloud.
            let task = ui::task("Keeping the functions' logs and the events");
            if let Err(error) = self.keep(&target, &stack, began).await {
                ui::note(format!("{} not everything could be kept: {error}", ui::warn("!")));
            }
            drop(task);
        }
        match temporary {
            Some(temporary) if self.options.keep_up && last => {
                self.tell_how_to_go_on(&target, &stack, &temporary);
                temporary.keep();
            }
            Some(temporary) => {
                let task = ui::task("Stopping the cloud");
                drop(temporary);
                task.done("The cloud of the tests is stopped");
            }
            None => {}
        }
        Ok(())
    }

    /// Says whether all of them passed.
    async fn e2e(&mut self, target: &Target, stack: &Stack) -> Result<bool> {
        // One at a time: one of them kills functions, and would fail the others by it.
        // The same packages as in the other steps: with `-p` cargo would choose other features and compile the AWS SDK anew.
        let (set, unset) = target.environment();
        let tests = cargo("the end-to-end tests", TESTS)
            .args([
                "test",
                "--workspace",
                "--test",
                "e2e",
                "--",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .without_env(unset)
            .envs(set)
            .envs(self.contract(target, stack));
        self.tests("end to end", "End to end: shoppers, crashes, recovery", tests, true).await
    }

    async fn set_up(&self) -> Result<(Option<Temporary>, Target, Stack)> {
        let (temporary, target) = match &self.options.endpoint {
            Some(url) => (None, Target::Endpoint(url.trim_end_matches('/').to_owned())),
            None => {
                let temporary = Temporary::start(self.repo, &self.home).await?;
                let target = Target::Local(temporary.cloud.clone());
                (Some(temporary), target)
            }
        };
        target.reach().await?;
        let how = How::Here { release: false };
        let stack = deploy::run(self.repo, &self.home, &target, how, &with_terms_of_payment()).await?;
        Ok((temporary, target, stack))
    }

    /// What the tests are told: where the mall is, and whose functions they may kill.
    pub(super) fn contract(&self, target: &Target, stack: &Stack) -> Vec<(&'static str, String)> {
        let mut contract = vec![
            ("MALL_API_URL", stack.api.clone()),
            ("MALL_STACK_FILE", target.stack_file(&self.home).display().to_string()),
        ];
        // The tests operate the mall as people do: with this very program.
        if let Ok(mall) = std::env::current_exe() {
            contract.push(("MALL_BIN", mall.display().to_string()));
        }
        if let Target::Local(cloud) = target {
            contract.push(("MALL_CLOUD_PID", cloud.pid.to_string()));
        }
        contract
    }

    fn tell_how_to_go_on(&self, target: &Target, stack: &Stack, temporary: &Temporary) {
        let (set, _) = target.environment();
        let vars = self.contract(target, stack).into_iter().chain(set);
        let vars: Vec<String> = vars.map(|(name, value)| format!("{name}='{value}'")).collect();
        ui::line("");
        ui::line(format!(
            "The cloud is left up at {}. The tests once more, by hand:",
            temporary.cloud.endpoint()
        ));
        ui::line(format!("  {} cargo test --workspace --test e2e -- --ignored --nocapture", vars.join(" ")));
        ui::line(format!(
            "It goes with the next `cargo mall test`, or now: kill -TERM -- -{}",
            temporary.cloud.pid
        ));
    }

    pub(super) async fn keep(&self, target: &Target, stack: &Stack, since: Timestamp) -> Result<()> {
        if let Target::Local(cloud) = target {
            cloud::healthy(&cloud.endpoint()).await?;
        }
        let config = target.sdk().await;
        let client = aws_sdk_cloudwatchlogs::Client::new(&config);
        let said = logs::everything(&client, &stack.prefix, since).await?;
        files::write(&self.home.log("functions"), said.as_bytes())?;
        let events = dump(&aws_sdk_dynamodb::Client::new(&config), stack.output("EventTable")?).await?;
        files::write(&self.home.logs().join("events.jsonl"), events.as_bytes())
    }
}

fn with_terms_of_payment() -> deploy::Options {
    let parameter =
        |(name, value): (&str, &str)| deploy::Parameter { name: name.into(), value: value.into() };
    deploy::Options { parameters: SOON.map(parameter).into(), ..deploy::Options::default() }
}

/// The event table, one commit a line, in the order of streams and versions.
async fn dump(client: &aws_sdk_dynamodb::Client, table: &str) -> Result<String> {
    let mut pages = client.scan().table_name(table).into_paginator().send();
    let mut lines = Vec::new();
    while let Some(page) = pages.next().await {
        for item in page.map_err(aws("reading the event table"))?.items.unwrap_or_default() {
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().or(value.as_n()).ok());
            let fields: serde_json::Map<String, serde_json::Value> = item
                .keys()
                .filter_map(|name| Some((name.clone(), serde_json::Value::from(text(name)?.as_str()))))
                .collect();
            let version: u64 = text("version").and_then(|version| version.parse().ok()).unwrap_or(0);
            let stream = text("stream").cloned().unwrap_or_default();
            let line = serde_json::to_string(&fields)
                .map_err(|e| Error::Aws { operation: "writing down the event table", why: e.to_string() })?;
            lines.push(((stream, version), line));
        }
    }
    lines.sort();
    Ok(lines.into_iter().map(|(_, line)| line + "\n").collect())
}
