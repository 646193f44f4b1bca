//! The table of the matrix, and docs/SAGAS.md, which has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use mall_tests::{saga::definition_at, saga_docs::replaced};

use super::cells::{FAILED, FAULTS, ROWS};

/// The part of docs/SAGAS.md between these marks is the table.
const MARK: &str = "faults";

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SAGAS.md")
}

/// The table, by step and fault: Markdown.
pub fn drawn(ended: &BTreeMap<(String, String), String>) -> String {
    let titles = FAULTS.map(|fault| fault.title());
    let mut lines = vec![
        format!("| step | {} |", titles.join(" | ")),
        format!("| --- |{}", " --- |".repeat(titles.len())),
    ];
    for row in ROWS {
        let cells = titles.map(|title| {
            let cell = ended.get(&(row.step.to_owned(), title.to_owned()));
            cell.cloned().unwrap_or_else(|| "not run".to_owned())
        });
        lines.push(format!("| {} | {} |", row.step, cells.join(" | ")));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Puts it into the document.
pub fn write(table: &str) {
    let text = std::fs::read_to_string(document()).expect("docs/SAGAS.md");
    std::fs::write(document(), replaced(&text, MARK, table)).expect("docs/SAGAS.md can be written");
}

/// Every state that calls something, of the machines that an order goes through by itself, and how often it tries.
fn steps() -> BTreeMap<String, u32> {
    let infra = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra");
    let mut steps = BTreeMap::new();
    for file in infra.read_dir().expect("infra/").flatten() {
        let path = file.path();
        let name = path.to_string_lossy();
        let not_an_orders =
            name.ends_with("-compensation.asl.json") || name.ends_with("rebuild-view.asl.json");
        if !name.ends_with(".asl.json") || not_an_orders {
            continue;
        }
        let definition = definition_at(&path);
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

/// How often a step is tried before it is given up.
pub fn attempts(step: &str) -> u32 {
    *steps().get(step).unwrap_or_else(|| panic!("there is no step {step}"))
}

fn names() -> BTreeSet<String> {
    steps().into_keys().collect()
}

#[test]
fn no_step_of_a_saga_is_without_its_row() {
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.step.to_owned()).collect();
    assert_eq!(rows, names());
    assert_eq!(rows.len(), ROWS.len(), "a step has two rows");
}

#[test]
fn the_document_tells_of_every_fault_at_every_step_and_of_none_that_failed() {
    let text = std::fs::read_to_string(document()).expect("docs/SAGAS.md");
    let (_, rest) = text.split_once(&format!("<!-- begin {MARK} -->\n")).expect("the table's mark");
    let (table, _) = rest.split_once(&format!("<!-- end {MARK} -->")).expect("the table's end");
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let titles: Vec<&str> = std::iter::once("step").chain(FAULTS.map(|fault| fault.title())).collect();
    assert_eq!(rows[0], titles, "run `cargo mall test --only faults --write`");
    let told: BTreeSet<String> = rows[2..].iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(told, names(), "run `cargo mall test --only faults --write`");
    for row in &rows[2..] {
        for (title, cell) in titles[1..].iter().zip(&row[1..]) {
            let held = !cell.is_empty() && !cell.contains(FAILED) && *cell != "not run";
            assert!(held, "{} / {title}: {cell:?}", row[0]);
        }
        assert_eq!(row.len(), titles.len(), "{}", row[0]);
    }
}
