//! What the checks said: counted, summed up, and the part of a failed one that tells why.

use std::{collections::HashSet, time::Duration};

use crate::ui;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub name: &'static str,
    pub passed: u64,
    pub failed: u64,
    pub took: Duration,
    /// What else is to be said of it: tests ignored, why it was skipped.
    pub note: String,
    pub skipped: bool,
}

/// All steps of a run.
#[derive(Debug, Default)]
pub struct Report {
    steps: Vec<Outcome>,
}

impl Report {
    pub fn add(&mut self, step: Outcome) {
        self.steps.push(step);
    }

    pub fn passed(&self) -> u64 {
        self.steps.iter().map(|step| step.passed).sum()
    }

    pub fn failed(&self) -> u64 {
        self.steps.iter().map(|step| step.failed).sum()
    }

    /// The table at the end.
    pub fn table(&self) -> Vec<String> {
        let mut rows = vec![["step", "passed", "failed", "time", ""].map(str::to_owned).to_vec()];
        rows.extend(self.steps.iter().map(|step| {
            let failed = step.failed.to_string();
            let mark = match step {
                Outcome { skipped: true, .. } => ui::warn("–"),
                Outcome { failed: 0, .. } => ui::good("✓"),
                _ => ui::bad("✗"),
            };
            vec![
                format!("{mark} {}", step.name),
                step.passed.to_string(),
                if step.failed > 0 { ui::bad(failed).to_string() } else { failed },
                if step.skipped { "skipped".into() } else { ui::duration(step.took) },
                ui::dim(&step.note).to_string(),
            ]
        }));
        ui::table(&rows)
    }

    /// The last line.
    pub fn verdict(&self) -> String {
        format!("{} passed, {} failed", self.passed(), self.failed())
    }
}

/// Sums of the `test result:` lines of `cargo test`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tests {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Tests {
    /// Takes one line of output.
    pub fn see(&mut self, line: &str) {
        // test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
        let Some((_, counts)) =
            line.trim_start().strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// The part of `cargo test`'s output that tells why it failed: what failed tests printed, panics of tests that print at
/// once, and errors of the compiler. Each panic once, however many threads died of it; no backtraces.
pub fn failures(output: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut panics = HashSet::new();
    let (mut in_tests, mut in_error, mut in_panic) = (false, false, false);
    for line in output.lines() {
        let plain = console::strip_ansi_codes(line);
        if plain == "failures:" {
            in_tests = true;
            continue;
        }
        if plain.starts_with("test result:") {
            in_tests = false;
        }
        // An error of the compiler goes on until the next empty line.
        in_error = !plain.is_empty() && (in_error || plain.starts_with("error"));
        if let Some((_, place)) = plain.split_once(" panicked at ")
            && plain.starts_with("thread ")
        {
            in_panic = panics.insert(place.to_owned());
        }
        in_panic &= !["", "stack backtrace:"].contains(&plain.as_ref()) && !plain.starts_with("note: ");
        if in_tests || in_error || in_panic {
            kept.push(line);
        }
    }
    kept.dedup();
    kept.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 2 tests
test a_basket_is_empty_at_first ... ok
test a_basket_adds_up ... FAILED

failures:

---- a_basket_adds_up stdout ----
thread 'a_basket_adds_up' panicked at src/lib.rs:9:5:
assertion failed

failures:
    a_basket_adds_up

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests kernel

running 3 tests
test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.01s; merged doctests compilation took 0.10s

error: 1 target failed:
    `-p baskets --lib`
";

    #[test]
    fn results_of_all_test_programs_are_added_up() {
        let mut tests = Tests::default();
        OUTPUT.lines().for_each(|line| tests.see(line));
        assert_eq!(tests, Tests { passed: 4, failed: 1, ignored: 2 });
    }

    #[test]
    fn what_is_not_a_result_counts_nothing() {
        let mut tests = Tests::default();
        for line in ["test result", "test result: ok", "test result: ok. many passed; ", "3 passed; 1 failed"]
        {
            tests.see(line);
        }
        assert_eq!(tests, Tests::default());
    }

    #[test]
    fn a_failed_test_is_shown_with_what_it_printed_and_nothing_else() {
        let shown = failures(OUTPUT);
        assert!(shown.starts_with("---- a_basket_adds_up stdout"), "{shown}");
        assert!(shown.contains("assertion failed") && shown.contains("`-p baskets --lib`"), "{shown}");
        assert!(!shown.contains("is_empty_at_first") && !shown.contains("3 passed"), "{shown}");
    }

    #[test]
    fn a_panic_that_was_printed_at_once_is_shown_once_and_without_its_backtrace() {
        let panic = |thread| {
            format!(
                "\nthread '{thread}' (7) panicked at tests/e2e/shopper.rs:34:5:\nleft: 400\nstack backtrace:\n   0: rust_begin\nnote: more\n"
            )
        };
        let output = format!("running 1 test\n{}{}test a ... FAILED\n", panic("w1"), panic("w2"));
        assert_eq!(failures(&output), "thread 'w1' (7) panicked at tests/e2e/shopper.rs:34:5:\nleft: 400");
    }

    #[test]
    fn the_verdict_adds_tests_and_checks() {
        let step = |passed, failed| Outcome {
            name: "step",
            passed,
            failed,
            took: Duration::ZERO,
            note: String::new(),
            skipped: false,
        };
        let mut report = Report::default();
        report.add(step(1, 0));
        report.add(step(40, 2));
        assert_eq!(report.verdict(), "41 passed, 2 failed");
        assert_eq!(report.table().len(), 3);
    }
}
