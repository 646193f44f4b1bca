//! Dependencies: licences, sources, duplicates and known vulnerabilities, by cargo-deny.

use std::{path::PathBuf, time::Duration};

use super::{Tester, empty, report::Outcome};
use crate::{
    build::{self, cargo},
    errors::{Error, Result},
    files,
    process::Run,
    ui,
};

/// Built when there is none on the machine.
const VERSION: &str = "0.20.2";

const CHECK: Duration = Duration::from_secs(300);
const PROBE: Duration = Duration::from_secs(20);

/// How cargo-deny says that it could not get the list of vulnerabilities.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

/// Two checks: what the lock file alone tells, and the advisories, which have to be fetched. A machine that cannot
/// reach them is told so and not failed for it.
pub async fn run(tester: &mut Tester<'_>) -> Result<()> {
    let started = tester.begin("Dependencies");
    let program = match find(tester).await {
        Ok(program) => program,
        Err(error) => {
            tester.broken("dependencies", &error, started.elapsed());
            return Ok(());
        }
    };
    let mut outcome = Outcome { name: "dependencies", ..empty() };
    for (name, checks) in
        [("deny", &["bans", "licenses", "sources"][..]), ("deny-advisories", &["advisories"][..])]
    {
        let run = Run::new(&program, "cargo deny", CHECK).arg("check").args(checks).dir(tester.repo.root());
        let log = tester.home.log(name);
        let task = ui::task(format!("cargo deny check {}", checks.join(" ")));
        let done = tester.run(run, &task, &log, |_| {}).await;
        drop(task);
        match done {
            Ok(done) if done.success() => outcome.passed += 1,
            Ok(done) if done.output.contains(OUT_OF_REACH) => {
                outcome.note = "advisories not checked: their database is out of reach".into();
            }
            Ok(done) => {
                outcome.failed += 1;
                tester.show_failure(&files::last_lines(&done.output, super::SHOWN), &log);
            }
            Err(error) => {
                outcome.failed += 1;
                crate::errors::report(&error);
            }
        }
    }
    outcome.took = started.elapsed();
    tester.end(outcome);
    Ok(())
}

/// The machine's own cargo-deny, or ours, which is built once. Without optimisation: that takes less than a minute, and
/// it runs for two seconds.
async fn find(tester: &Tester<'_>) -> Result<PathBuf> {
    let own = PathBuf::from("cargo-deny");
    let answers = Run::new(&own, "cargo-deny", PROBE).arg("--version").quietly().await;
    if answers.is_ok_and(|done| done.success()) {
        return Ok(own);
    }
    let root = tester.repo.tools().join(format!("cargo-deny-{VERSION}"));
    let ours = root.join("bin/cargo-deny");
    if ours.is_file() {
        return Ok(ours);
    }
    // Where a build cache outlives the checkout, this is part of it.
    let cache = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tester.repo.tools(), PathBuf::from);
    let task = ui::task(format!("Building cargo-deny {VERSION}, once"));
    let mut progress = build::Progress::default();
    let log = tester.home.log("cargo-deny-install");
    let done = cargo("cargo install cargo-deny", build::LIMIT)
        .args(["install", "--locked", "--debug", "cargo-deny", "--version", VERSION, "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(cache.join("tools-target"))
        .dir(tester.repo.root())
        .log(&log)
        .watched(|_, line| task.at(progress.see(line)))
        .await?;
    if !done.success() {
        return Err(Error::Build { tail: progress.complaints() });
    }
    task.done(format!("cargo-deny {VERSION} built"));
    Ok(ours)
}
