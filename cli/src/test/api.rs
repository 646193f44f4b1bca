//! The API against its own document: schemathesis reads the OpenAPI document that the stack serves, sends everything
//! that it allows and much that it does not, and holds every answer against it: no 5xx, and no status, header,
//! content type or body that is not described. What it sends begins with examples that succeed ([`super::examples`]):
//! tests that never get past a 404 prove little.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use serde::Deserialize;

use super::{Tester, empty, examples::Mall, report::Outcome};
use crate::{
    errors::{Error, Result},
    files,
    process::Run,
    python,
    stack::Stack,
    target::Target,
    ui,
};

/// A machine that is busy with other things needs a third of it; an idle one less.
const LIMIT: Duration = Duration::from_secs(600);

/// What of its checks the API promises to keep. Not among them: methods that no route has, which the gateway answers
/// in its own way; and that valid data is always accepted, which the rules of the business do not allow.
const CHECKS: &[&str] = &[
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
];

/// Bounds of the document, random requests, and chains of operations: what one has made is given to others.
const PHASES: &str = "examples,coverage,fuzzing,stateful";

/// Random requests for each operation, besides those that cover each bound of the document.
const EXAMPLES: &str = "20";

/// A failure can be had again: the same document and the same seed make the same requests, but for the ids of what there is.
const SEED: &str = "20261120";

/// So many operations at most may never have succeeded: each has an example that can, but others may have spoiled it.
const UNLUCKY: u64 = 3;

/// What schemathesis reports.
#[derive(Debug, Deserialize)]
struct Report {
    stop_reason: String,
    complete: bool,
    operations: Operations,
    test_cases: Cases,
    failures: Vec<Failure>,
    errors: Vec<serde_json::Value>,
    /// By operation and phase, what became of valid requests.
    #[serde(default)]
    valid_rates: BTreeMap<String, BTreeMap<String, Rate>>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    accepted: u64,
}

#[derive(Debug, Deserialize)]
struct Operations {
    selected: u64,
    tested: u64,
}

#[derive(Debug, Deserialize)]
struct Cases {
    generated: u64,
}

#[derive(Debug, Deserialize)]
struct Failure {
    operations: Vec<String>,
}

impl Report {
    /// Operations that passed, and those that did not: because of an answer, or because they could not be tested.
    fn counts(&self) -> (u64, u64) {
        let failed: BTreeSet<&str> =
            self.failures.iter().flat_map(|failure| &failure.operations).map(String::as_str).collect();
        let untested = self.operations.selected.saturating_sub(self.operations.tested);
        let mut failed = failed.len() as u64 + untested;
        let nothing = self.operations.tested == 0;
        if failed == 0 && (!self.complete || !self.errors.is_empty() || nothing || self.is_shallow()) {
            failed = 1;
        }
        (self.operations.selected.saturating_sub(failed), failed)
    }

    /// Operations that never took a valid request. What chains of operations reached is not told.
    fn refused(&self) -> Vec<&str> {
        let none = |phases: &BTreeMap<String, Rate>| phases.values().all(|rate| rate.accepted == 0);
        self.valid_rates
            .iter()
            .filter(|(_, phases)| none(phases))
            .map(|(operation, _)| operation.as_str())
            .collect()
    }

    /// Operations that took a valid request at least once.
    fn succeeded(&self) -> u64 {
        (self.valid_rates.len() - self.refused().len()) as u64
    }

    /// Whether too few succeeded for the rest to mean much.
    fn is_shallow(&self) -> bool {
        self.succeeded() + UNLUCKY < self.operations.selected
    }

    fn note(&self) -> String {
        let (succeeded, selected) = (self.succeeded(), self.operations.selected);
        let generated = self.test_cases.generated;
        let requests =
            format!("{generated} requests, {succeeded} of {selected} operations succeeded at least once");
        let requests = if self.is_shallow() { format!("{requests}: too few") } else { requests };
        if self.complete { requests } else { format!("{requests}, stopped: {}", self.stop_reason) }
    }
}

impl Tester<'_> {
    /// Says whether the API is as it is described.
    pub(super) async fn api(&mut self, target: &Target, stack: &Stack) -> Result<bool> {
        let started = self.begin("API: every answer as the OpenAPI document has it");
        let outcome = match self.against_document(target, stack).await {
            Ok((report, took)) => {
                let (passed, failed) = report.counts();
                if !report.refused().is_empty() {
                    ui::line(format!("  never succeeded: {}", report.refused().join(", ")));
                }
                Outcome { name: "api", passed, failed, took, note: report.note(), ..empty() }
            }
            Err(error) => {
                self.broken("api", &error, started.elapsed());
                return Ok(false);
            }
        };
        let passed = outcome.failed == 0;
        self.end(outcome);
        Ok(passed)
    }

    async fn against_document(&self, target: &Target, stack: &Stack) -> Result<(Report, Duration)> {
        python::ensure_schemathesis(self.repo).await?;
        let document = self.home.logs().join("openapi.json");
        self.document_with_examples(stack, &document).await?;
        let written = self.home.logs().join("api.json");
        let (set, unset) = target.environment();
        let run = Run::new(self.repo.venv_bin(python::SCHEMATHESIS, "schemathesis"), "schemathesis", LIMIT)
            .arg("--config-file")
            .arg(self.repo.local("schemathesis.toml"))
            .arg("run")
            .arg(&document)
            .args(["--url", &stack.api, "--checks", &CHECKS.join(","), "--phases", PHASES])
            .args([
                "--max-examples",
                EXAMPLES,
                "--workers",
                "2",
                "--seed",
                SEED,
                "--generation-database",
                "none",
            ])
            .args(["--request-timeout", "30", "--continue-on-failure", "--no-color", "--report", "json"])
            .arg("--report-json-path")
            .arg(&written)
            .without_env(unset)
            .without_env(["SCHEMATHESIS_HOOKS"])
            .envs(set)
            // Whatever it may want to leave behind stays with the logs.
            .dir(self.home.logs());
        let task = ui::task("schemathesis");
        let log = self.home.log("api");
        let started = std::time::Instant::now();
        let done = self.run(run, &task, &log, |_| {}).await?;
        drop(task);
        let report: Option<Report> = files::read_json(&written)?;
        if !done.success() {
            self.show_failure(&files::last_lines(&done.output, super::SHOWN), &log);
        }
        let report = report.ok_or_else(|| Error::NoReport { what: "schemathesis".into(), log })?;
        Ok((report, started.elapsed()))
    }

    /// Writes down the document as the mall serves it, with examples of things that there are.
    async fn document_with_examples(&self, stack: &Stack, path: &Path) -> Result<()> {
        let task = ui::task("Making what the examples name");
        let mall = Mall::new(stack)?;
        let mut document = mall.document().await?;
        let left = mall.examples().await?.put_into(&mut document);
        drop(task);
        if !left.is_empty() {
            let expected = "a place for every example";
            let (request, body) = ("GET /openapi.json".into(), left.join(", "));
            return Err(Error::Unexpected { request, expected, body });
        }
        files::write_json(path, &document)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(changes: Value) -> Report {
        let rate =
            |accepted: u64| json!({ "fuzzing": { "accepted": accepted }, "coverage": { "accepted": 0 } });
        let mut report = json!({
            "stop_reason": "completed", "complete": true, "failures": [], "errors": [],
            "operations": { "selected": 3, "tested": 3 }, "test_cases": { "generated": 63 },
            "valid_rates": { "GET /a": rate(1), "PUT /b": rate(2), "PUT /c": rate(3) },
        });
        report.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn an_operation_that_fails_in_two_ways_is_one() {
        let failure = |operations: &[&str]| json!({ "title": "Server error", "operations": operations });
        let failures = json!([failure(&["GET /a"]), failure(&["GET /a", "PUT /b"])]);
        assert_eq!(report(json!({ "failures": failures })).counts(), (1, 2));
        assert_eq!(report(json!({})).counts(), (3, 0));
    }

    #[test]
    fn what_was_not_tested_has_not_passed() {
        assert_eq!(report(json!({ "operations": { "selected": 3, "tested": 2 } })).counts(), (2, 1));
        assert_eq!(report(json!({ "operations": { "selected": 0, "tested": 0 } })).counts(), (0, 1));
        assert_eq!(report(json!({ "errors": ["it broke"] })).counts(), (2, 1));
        let stopped = report(json!({ "complete": false, "stop_reason": "max_time" }));
        assert_eq!(stopped.counts(), (2, 1));
        let note = "63 requests, 3 of 3 operations succeeded at least once, stopped: max_time";
        assert_eq!(stopped.note(), note);
    }

    #[test]
    fn answers_that_are_all_refusals_prove_little() {
        let rates = json!({
            "GET /a": { "fuzzing": { "accepted": 0 }, "coverage": { "accepted": 1 } },
            "PUT /b": { "fuzzing": { "accepted": 0 } },
        });
        let of = |selected: u64| {
            let operations = json!({ "selected": selected, "tested": selected });
            report(json!({ "operations": operations, "valid_rates": rates.clone() }))
        };
        let few = of(2 + UNLUCKY);
        assert_eq!((few.succeeded(), few.counts()), (1, (1 + UNLUCKY, 1)));
        assert_eq!(few.refused(), ["PUT /b"]);
        assert_eq!(few.note(), "63 requests, 1 of 5 operations succeeded at least once: too few");
        assert_eq!(of(1 + UNLUCKY).counts(), (1 + UNLUCKY, 0), "a few may have been spoiled by others");
    }
}
