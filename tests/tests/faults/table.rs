//! The tables of the suite, and docs/SAGAS.md, which has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use mall_tests::{saga::definition_at, saga_docs::replaced};

use super::{
    case::FAILED,
    cells::{FAULTS, ROWS, name},
    deaths::deaths,
};

/// The part of docs/SAGAS.md between these marks is the tables.
const MARK: &str = "faults";
const HINT: &str = "run `cargo mall test --only faults --write`";
/// The step that has no row: it is entered only after another one failed for good. Its own failure is a
/// death.
const REPORT: &str = "ReportFailure";

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SAGAS.md")
}

/// Draws the tables of these ends, by case: Markdown.
pub fn drawn(ended: &BTreeMap<String, &'static str>) -> String {
    let told = |case: &str| ended.get(case).copied().unwrap_or("not run").to_owned();
    let titles = FAULTS.map(|fault| fault.title());
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("| step | {} |\n| --- |{}\n", titles.join(" | "), " --- |".repeat(titles.len()));
    for line in ROWS {
        let cells = FAULTS.iter().map(|fault| told(&name(line, *fault)));
        text += &row(std::iter::once(line.step.to_owned()).chain(cells).collect());
    }
    text += "\n| death | the order ends |\n| --- | --- |\n";
    let deaths: BTreeSet<String> = deaths().into_iter().map(|case| case.name).collect();
    text + &deaths.into_iter().map(|death| row(vec![death.clone(), told(&death)])).collect::<String>()
}

/// Puts them into the document.
pub fn write(tables: &str) {
    let text = std::fs::read_to_string(document()).expect("docs/SAGAS.md");
    std::fs::write(document(), replaced(&text, MARK, tables)).expect("docs/SAGAS.md can be written");
}

/// Counts the attempts of every state that calls something, in both machines of an order.
fn steps() -> BTreeMap<String, u32> {
    let mut steps = BTreeMap::new();
    for file in ["order-placement", "order-undo"] {
        let path = format!("{}/../infra/{file}.asl.json", env!("CARGO_MANIFEST_DIR"));
        let definition = definition_at(Path::new(&path));
        for (name, state) in definition["States"].as_object().expect("states") {
            if state["Type"] == "Task" {
                let retries = state["Retry"].as_array().into_iter().flatten();
                let retries: u64 = retries.filter_map(|retry| retry["MaxAttempts"].as_u64()).sum();
                steps.insert(name.clone(), u32::try_from(retries).expect("few retries") + 1);
            }
        }
    }
    steps
}

/// Counts the attempts of a step before it is given up.
pub fn attempts(step: &str) -> u32 {
    *steps().get(step).unwrap_or_else(|| panic!("there is no step {step}"))
}

#[test]
fn no_step_of_a_saga_is_without_its_row() {
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.step.to_owned()).collect();
    assert_eq!(rows, steps().into_keys().filter(|step| step != REPORT).collect());
    assert_eq!(rows.len(), ROWS.len(), "a step has two rows");
}

#[test]
fn the_document_tells_of_every_fault_at_every_step_and_of_none_that_failed() {
    let text = std::fs::read_to_string(document()).expect("docs/SAGAS.md");
    let (_, rest) = text.split_once(&format!("<!-- begin {MARK} -->\n")).expect("the tables' mark");
    let (tables, _) = rest.split_once(&format!("<!-- end {MARK} -->")).expect("the tables' end");
    assert!(!tables.contains(FAILED) && !tables.contains("not run"), "{HINT}");
    let frame = |text: &str| -> Vec<(String, usize)> {
        let rows = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        rows.map(|cells| (cells.get(1).copied().unwrap_or_default().to_owned(), cells.len())).collect()
    };
    assert_eq!(frame(tables), frame(&drawn(&BTreeMap::new())), "{HINT}");
}
