//! `mall test`: every check there is, in order. A failed step does not keep later ones from being run, unless they need
//! what it was to make.

mod api;
mod deny;
mod e2e;
mod examples;
mod faults;
mod report;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use jiff::Timestamp;

use crate::{
    build::{self, cargo, colours},
    cloud, deploy,
    errors::{Error, Result},
    files,
    paths::{Home, Repo},
    process::{Finished, Run},
    python, ui,
};
use report::{Outcome, Report, Tests};

const FORMAT: Duration = Duration::from_secs(120);
const TESTS: Duration = Duration::from_secs(3600);
const TEMPLATES: Duration = Duration::from_secs(180);

/// How many lines of a failed step are shown; the log has them all.
const SHOWN: usize = 120;

/// How many failed runs are kept.
const KEPT: usize = 5;

/// Of `mall test`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run only this part (may be given more than once)
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Leave the cloud of the end-to-end and API tests, or that of the faults, up
    #[arg(long)]
    keep_up: bool,
    /// Run the end-to-end and API tests against this cloud instead of one of their own
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Show everything that the steps print
    #[arg(long, short)]
    verbose: bool,
    /// Write the fault matrix into docs/SAGAS.md
    #[arg(long)]
    write: bool,
}

/// Parts of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting, clippy, dependencies
    Lint,
    /// Templates
    Infra,
    /// Unit, property, conformance and integration tests
    Unit,
    /// End to end, on a cloud of its own
    E2e,
    /// The API against its OpenAPI document, on a cloud of its own
    Api,
    /// Every fault at every step of the sagas, on a cloud that lets faults in
    Faults,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// A run and what came of it so far.
struct Tester<'a> {
    repo: &'a Repo,
    home: Home,
    options: &'a Options,
    report: Report,
}

/// Runs all that is wanted. An exit code tells the result; an error only that it could not be run.
pub async fn run(repo: &Repo, options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    if options.write && !options.wants(Part::Faults) {
        ui::note(format!("{} --write is about the fault matrix, which is not run", ui::warn("!")));
    }
    cloud::sweep_tests(repo);
    let home = repo.test_home(std::process::id());
    files::make_dir(&home.logs())?;
    let mut tester = Tester { repo, home, options, report: Report::default() };

    if options.wants(Part::Lint) {
        tester.lint().await?;
    }
    if options.wants(Part::Infra) {
        tester.infra().await?;
    }
    let builds = !options.wants(Part::Unit) || tester.unit().await?;
    if options.wants(Part::E2e) || options.wants(Part::Api) {
        if builds {
            tester.deployed().await?;
        } else {
            tester.skip("end to end", "the build failed");
        }
    }
    if options.wants(Part::Faults) {
        if builds {
            tester.faults().await?;
        } else {
            tester.skip("faults", "the build failed");
        }
    }
    tester.finish(started.elapsed())
}

impl Tester<'_> {
    async fn lint(&mut self) -> Result<()> {
        let run = cargo("cargo fmt", FORMAT).args(["fmt", "--all", "--check"]);
        self.check("format", "Formatting", run).await?;
        let run = cargo("cargo clippy", build::LIMIT).args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
        self.check("clippy", "Lints", run).await?;
        deny::run(self).await
    }

    async fn infra(&mut self) -> Result<()> {
        if let Err(error) = python::ensure(self.repo).await {
            self.broken("templates", &error, Duration::ZERO);
            return Ok(());
        }
        let mut templates: Vec<PathBuf> = deploy::templates(self.repo)?;
        templates.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        templates.insert(0, self.repo.template());
        let lint =
            Run::new(self.repo.venv_bin(python::SAM, "cfn-lint"), "cfn-lint", TEMPLATES).args(&templates);
        self.check("cfn-lint", "Templates: cfn-lint", lint).await?;
        self.validate(&templates).await
    }

    /// `sam validate` looks at one template at a time, and not into nested ones.
    async fn validate(&mut self, templates: &[PathBuf]) -> Result<()> {
        let started = self.begin("Templates: sam validate");
        let mut outcome = Outcome { name: "sam validate", ..empty() };
        for template in templates {
            let name = self.repo.shown(template);
            // It asks nobody, but wants to know a region and some credentials.
            let run = Run::new(self.repo.venv_bin(python::SAM, "sam"), "sam validate", TEMPLATES)
                .args(["validate", "--lint", "--region", "us-east-1", "--template-file"])
                .arg(template)
                .envs([
                    ("SAM_CLI_TELEMETRY", "0"),
                    ("AWS_ACCESS_KEY_ID", "test"),
                    ("AWS_SECRET_ACCESS_KEY", "test"),
                ])
                .dir(self.repo.root());
            let task = ui::task(format!("sam validate {name}"));
            let log = self.home.log(&format!("sam-validate-{}", name.replace('/', "-")));
            let done = self.run(run, &task, &log, |_| {}).await;
            drop(task);
            match done {
                Ok(done) if done.success() => outcome.passed += 1,
                Ok(done) => {
                    outcome.failed += 1;
                    self.show_failure(&files::last_lines(&done.output, SHOWN), &log);
                }
                Err(error) => {
                    outcome.failed += 1;
                    crate::errors::report(&error);
                }
            }
        }
        outcome.took = started.elapsed();
        self.end(outcome);
        Ok(())
    }

    /// Says whether everything builds.
    async fn unit(&mut self) -> Result<bool> {
        let run = cargo("cargo test --no-run", build::LIMIT).args(["test", "--workspace", "--no-run"]);
        if !self.check("build", "Building the tests", run).await? {
            self.skip("tests", "the build failed");
            return Ok(false);
        }
        // Left over from making documents, it would make the tests write what they are to compare.
        let run = cargo("cargo test", TESTS)
            .args(["test", "--workspace", "--no-fail-fast"])
            .without_env(["MALL_WRITE_DOCS"]);
        self.tests("tests", "Unit, property, conformance and integration tests", run, false).await?;
        Ok(true)
    }

    /// Runs `cargo test` and counts its tests. `aloud`: what the tests print is shown even if they pass.
    async fn tests(&mut self, name: &'static str, heading: &str, run: Run, aloud: bool) -> Result<bool> {
        let started = self.begin(heading);
        let task = ui::task(heading);
        let log = self.home.log(&name.replace(' ', "-"));
        let mut tests = Tests::default();
        let done = self
            .run(run.dir(self.repo.root()).envs(colours()), &task, &log, |line| {
                tests.see(line);
            })
            .await;
        drop(task);
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                self.broken(name, &error, started.elapsed());
                return Ok(false);
            }
        };
        if !done.success() {
            // It can fail without a failed test: a program that crashed, or did not build.
            tests.failed = tests.failed.max(1);
            self.show_failure(&report::failures(&done.output), &log);
        }
        if aloud && done.success() && !self.options.verbose {
            done.stdout.lines().filter(|line| is_spoken(line)).for_each(|line| ui::line(format!("  {line}")));
        }
        let note = if tests.ignored > 0 { format!("{} ignored", tests.ignored) } else { String::new() };
        let Tests { passed, failed, .. } = tests;
        self.end(Outcome { name, passed, failed, took: started.elapsed(), note, skipped: false });
        Ok(failed == 0)
    }

    /// Runs a program whose exit code is the result: one check. Says whether it passed.
    async fn check(&mut self, name: &'static str, heading: &str, run: Run) -> Result<bool> {
        let started = self.begin(heading);
        let task = ui::task(heading);
        let log = self.home.log(name);
        let done = self.run(run.dir(self.repo.root()).envs(colours()), &task, &log, |_| {}).await;
        drop(task);
        match done {
            Ok(done) => {
                let passed = done.success();
                if !passed {
                    self.show_failure(&build::complaints_in(&done.output), &log);
                }
                self.end(Outcome {
                    name,
                    passed: u64::from(passed),
                    failed: u64::from(!passed),
                    took: started.elapsed(),
                    ..empty()
                });
                Ok(passed)
            }
            Err(error) => {
                self.broken(name, &error, started.elapsed());
                Ok(false)
            }
        }
    }

    async fn run(
        &self,
        run: Run,
        task: &ui::Task,
        log: &Path,
        mut see: impl FnMut(&str),
    ) -> Result<Finished> {
        let mut progress = build::Progress::default();
        run.log(log)
            .watched(|_, line| {
                see(line);
                if self.options.verbose {
                    ui::line(line);
                    return;
                }
                match line.strip_prefix("test ") {
                    Some(test) => task.at(test),
                    None => task.at(progress.see(line)),
                }
            })
            .await
    }

    fn begin(&self, heading: &str) -> Instant {
        ui::heading(heading);
        Instant::now()
    }

    fn end(&mut self, outcome: Outcome) {
        let mut text = match (outcome.passed, outcome.failed) {
            (1, 0) => format!("{} {}", ui::good("✓"), outcome.name),
            (passed, 0) => format!("{} {}: {passed} passed", ui::good("✓"), outcome.name),
            (0, 1) => format!("{} {}", ui::bad("✗"), outcome.name),
            (passed, failed) => {
                format!("{} {}: {passed} passed, {failed} failed", ui::bad("✗"), outcome.name)
            }
        };
        if !outcome.note.is_empty() {
            text.push_str(&format!(", {}", outcome.note));
        }
        ui::line(format!("{text} {}", ui::dim(ui::duration(outcome.took))));
        self.report.add(outcome);
    }

    /// A step that could not even be run has failed.
    fn broken(&mut self, name: &'static str, error: &Error, took: Duration) {
        crate::errors::report(error);
        self.end(Outcome { name, failed: 1, took, ..empty() });
    }

    fn skip(&mut self, name: &'static str, why: &str) {
        ui::heading(name);
        ui::line(format!("{} skipped: {why}", ui::warn("–")));
        self.report.add(Outcome { name, note: why.into(), skipped: true, ..empty() });
    }

    fn show_failure(&self, text: &str, log: &Path) {
        if !self.options.verbose {
            let text = if text.is_empty() { files::tail(log, 30) } else { files::last_lines(text, SHOWN) };
            ui::line(text);
        }
    }

    /// The table, the verdict, and what is kept.
    fn finish(self, took: Duration) -> Result<ExitCode> {
        let failed = self.report.failed() > 0;
        ui::heading("Summary");
        self.report.table().into_iter().for_each(ui::line);
        ui::line(format!("  total {}", ui::duration(took)));
        if failed {
            let kept = keep_failure(self.repo, &self.home)?;
            ui::line(format!("  logs and artefacts: {}", self.repo.shown(&kept)));
        } else if !self.options.keep_up {
            files::remove_dir(self.home.dir())?;
        }
        ui::line("");
        ui::line(self.report.verdict());
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn empty() -> Outcome {
    Outcome { name: "", passed: 0, failed: 0, took: Duration::ZERO, note: String::new(), skipped: false }
}

/// Whether a line comes from a test itself, not from the harness around it.
fn is_spoken(line: &str) -> bool {
    let line = line.trim();
    // With --nocapture a test's own lines come between its name and its result.
    !["", "ok", "FAILED"].contains(&line)
        && !["running ", "test "].iter().any(|start| line.starts_with(start))
}

/// Copies the logs of a failed run to where the next run does not delete them, and drops the oldest such copies.
fn keep_failure(repo: &Repo, home: &Home) -> Result<PathBuf> {
    let dir = repo.test_failures();
    let kept = dir.join(Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string());
    files::make_dir(&kept)?;
    copy_files(&home.logs(), &kept)?;
    if home.stack().is_file() {
        files::copy(&home.stack(), &kept.join("stack.json"))?;
    }
    let mut runs: Vec<PathBuf> = std::fs::read_dir(&dir)
        .map_err(Error::file("cannot read", &dir))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    runs.sort();
    for old in &runs[..runs.len().saturating_sub(KEPT)] {
        files::remove_dir(old)?;
    }
    Ok(kept)
}

/// Copies the files of a folder. Folders in it are what programs keep for their next run, and no logs.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let entries = std::fs::read_dir(from).map_err(Error::file("cannot read", from))?;
    for file in entries.flatten().filter(|entry| entry.path().is_file()) {
        files::copy(&file.path(), &to.join(file.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_among_the_logs_does_not_keep_them_from_being_kept() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join(".schemathesis")).unwrap();
        std::fs::write(from.path().join("api.log"), "why it failed").unwrap();
        copy_files(from.path(), to.path()).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("api.log")).unwrap(), "why it failed");
        assert!(!to.path().join(".schemathesis").exists());
    }

    #[test]
    fn without_only_everything_is_wanted() {
        let options = |only| Options { only, keep_up: false, endpoint: None, verbose: false, write: false };
        assert!(options(vec![]).wants(Part::Lint) && options(vec![]).wants(Part::E2e));
        assert!(options(vec![Part::E2e]).wants(Part::E2e) && !options(vec![Part::E2e]).wants(Part::Unit));
    }

    #[test]
    fn what_a_test_prints_is_told_from_its_harness() {
        assert!(is_spoken("  commands/s  212"));
        assert!(
            !is_spoken("running 3 tests")
                && !is_spoken("test a ... ok")
                && !is_spoken("ok")
                && !is_spoken("")
        );
    }
}
