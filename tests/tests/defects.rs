//! docs/DEFECTS.md tells the truth: every defect has its row, and every test that it names exists.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Defects of the originals, D1 to D29.
const DEFECTS: usize = 29;
/// What belongs to contexts that are not built yet.
const LATER: &[&str] = &["D15", "D19"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The names of all functions in the project's sources.
fn functions() -> BTreeSet<String> {
    let mut folders: Vec<PathBuf> = ["shared", "functions", "tests"].map(|name| root().join(name)).into();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let source = std::fs::read_to_string(&path).unwrap_or_default();
                for line in source.lines() {
                    let line = line.trim_start();
                    let code =
                        ["pub ", "async "].iter().fold(line, |l, word| l.strip_prefix(word).unwrap_or(l));
                    if let Some(name) = code.strip_prefix("fn ") {
                        found.insert(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                    }
                }
            }
        }
    }
    found
}

#[test]
fn no_defect_of_the_originals_is_without_a_test_that_would_find_it() {
    let text = std::fs::read_to_string(root().join("docs/DEFECTS.md")).expect("docs/DEFECTS.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| D"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let ids: Vec<String> = rows.iter().map(|row| row[1].to_owned()).collect();
    assert_eq!(ids, (1..=DEFECTS).map(|n| format!("D{n}")).collect::<Vec<_>>());
    let functions = functions();
    for row in rows {
        let (id, tests) = (row[1], row[4]);
        if LATER.contains(&id) {
            assert_eq!(tests, "none yet", "{id}");
            continue;
        }
        let names: Vec<&str> = tests.split(", ").map(|name| name.trim_matches('`')).collect();
        let prefix = format!("{}_", id.to_lowercase());
        let unnamed: Vec<&String> = functions
            .iter()
            .filter(|name| name.starts_with(&prefix) && !names.contains(&name.as_str()))
            .collect();
        assert!(unnamed.is_empty(), "{id}: docs/DEFECTS.md does not name {unnamed:?}");
        for name in &names {
            assert!(name.starts_with(&prefix), "{id}: {name} is not named after it");
            assert!(functions.contains(*name), "{id}: there is no test {name}");
        }
    }
}
