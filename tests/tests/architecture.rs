//! The rules of dependencies (docs/ARCHITECTURE.md), read from the sources and manifests.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage should stop")]

use std::path::{Path, PathBuf};

const CONTEXTS: &[&str] = &["baskets", "customers", "depot", "inventory", "ordering", "payments", "stores"];

/// Contexts that have no streams of their own: views of others' events.
const READERS: &[&str] = &["product-search", "search"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All Rust sources below a folder, as paths from the root.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The code of a source: without comments, which may name what the code must not use.
fn code(source: &str) -> String {
    source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What of `forbidden` a source uses.
fn uses<'a>(source: &str, forbidden: &[&'a str]) -> Vec<&'a str> {
    let code = code(source);
    forbidden.iter().filter(|name| code.contains(**name)).copied().collect()
}

/// The AWS SDK, HTTP, runtimes, clocks and generators: everything that is not pure.
const IMPURE: &[&str] = &[
    "aws_",
    "lambda::",
    "lambda_runtime",
    "tokio",
    "reqwest",
    "hyper",
    "http::",
    "async fn",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "new_v4",
    "now_v7",
    "rand::",
    "getrandom",
    "std::env",
    "std::fs",
    "std::net",
    "println!",
];

#[test]
fn no_aggregate_knows_the_world() {
    for context in CONTEXTS {
        let aggregates: Vec<PathBuf> = sources(&format!("functions/{context}/src"))
            .into_iter()
            .filter(|path| read(path).contains("impl Aggregate for"))
            .collect();
        assert!(!aggregates.is_empty(), "{context} has no aggregate");
        for path in aggregates {
            let found = uses(&read(&path), IMPURE);
            assert!(found.is_empty(), "{} uses {found:?}: pass it in as an argument", path.display());
        }
    }
}

#[test]
fn the_kernel_and_the_contracts_stay_pure() {
    for crate_name in ["kernel", "contracts"] {
        let manifest = read(format!("shared/{crate_name}/Cargo.toml"));
        let impure = ["aws", "tokio", "http", "reqwest", "lambda", "rand", "getrandom", "chrono"];
        for line in manifest.lines().skip_while(|line| *line != "[dependencies]") {
            let name = line.split('=').next().unwrap().trim();
            assert!(!impure.iter().any(|bad| name.contains(bad)), "{crate_name} depends on {name}");
        }
        // The ports are async traits; that is all the kernel knows of waiting.
        let forbidden: Vec<&str> = IMPURE.iter().copied().filter(|name| *name != "async fn").collect();
        for path in sources(&format!("shared/{crate_name}/src")) {
            let found = uses(&read(&path), &forbidden);
            assert!(found.is_empty(), "{} uses {found:?}", path.display());
        }
    }
}

#[test]
fn the_sdk_is_called_in_adapters_only() {
    // Everything else talks to a port, so that it runs in a simulation unchanged.
    const ADAPTERS: &[&str] = &[
        "functions/product-search/src/s3.rs",
        "functions/relay/src/eventbridge.rs",
        "functions/relay/src/main.rs",
        "functions/relay/src/sqs.rs",
        "shared/event-store/src/codec.rs",
        "shared/event-store/src/dynamo.rs",
        "shared/event-store/src/failure.rs",
        "shared/executions/src/step_functions.rs",
        "shared/lambda/src/aws.rs",
        "shared/lambda/src/sqs.rs",
        "shared/projection/src/dynamo.rs",
        "shared/projection/src/progress/dynamo.rs",
    ];
    let mut callers: Vec<String> = sources("shared")
        .into_iter()
        .chain(sources("functions"))
        .filter(|path| {
            path.components().any(|c| c.as_os_str() == "src") && !path.starts_with("shared/testing")
        })
        .filter(|path| !uses(&read(path), &["aws_sdk_", "aws_config", "aws_smithy"]).is_empty())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    callers.sort();
    assert_eq!(callers, ADAPTERS, "left: sources that use the SDK; right: those that may");
}

#[test]
fn time_ids_randomness_and_waiting_come_through_ports() {
    // clippy.toml forbids the calls themselves; here is who may make an exception.
    let manifest = read("Cargo.toml");
    assert!(
        manifest.contains("disallowed_methods = \"warn\""),
        "the lint that holds the ports rule is switched on"
    );
    let lint = read("clippy.toml");
    for call in [
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
        "new_v4",
        "now_v7",
        "tokio::time::sleep",
        "getrandom::fill",
    ] {
        assert!(lint.contains(call), "clippy.toml no longer forbids {call}");
    }
    let excepted: Vec<PathBuf> = sources("shared")
        .into_iter()
        .chain(sources("functions"))
        .filter(|path| {
            path.components().any(|c| c.as_os_str() == "src") && !path.starts_with("shared/testing")
        })
        .filter(|path| code(&read(path)).contains("clippy::disallowed_methods"))
        .collect();
    assert_eq!(
        excepted,
        [Path::new("shared/lambda/src/system.rs")],
        "only the system's ports meet the world"
    );
    for package in std::fs::read_dir(root().join("shared"))
        .unwrap()
        .chain(std::fs::read_dir(root().join("functions")).unwrap())
    {
        let manifest = std::fs::read_to_string(package.unwrap().path().join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "a package without the workspace's lints:\n{manifest}"
        );
    }
}

#[test]
fn contexts_meet_in_contracts_only() {
    for context in CONTEXTS.iter().chain(READERS) {
        let manifest = read(format!("functions/{context}/Cargo.toml"));
        for other in CONTEXTS.iter().chain(READERS).filter(|other| *other != context) {
            let depends = manifest.lines().any(|line| line.split('=').next().unwrap().trim() == *other);
            assert!(!depends, "{context} depends on {other}: share events through shared/contracts");
        }
    }
}

#[test]
fn the_search_engine_weighs_on_nobody_else() {
    for context in CONTEXTS.iter().chain(["portal", "relay", "search"].iter()) {
        let manifest = read(format!("functions/{context}/Cargo.toml"));
        assert!(!manifest.contains("tantivy") && !manifest.contains("aws-sdk-s3"), "{context} links it");
    }
    // One edition of an index is all that knows the engine; another engine is another implementation of the port.
    for path in
        sources("functions").into_iter().filter(|path| path.starts_with("functions/product-search/src"))
    {
        let knows = !uses(&read(&path), &["tantivy::"]).is_empty();
        assert_eq!(knows, path.ends_with("engine.rs"), "{}", path.display());
    }
}

#[test]
fn every_context_has_the_same_rooms() {
    for context in CONTEXTS.iter().chain(READERS) {
        for room in ["lib.rs", "main.rs", "api.rs", "views.rs"] {
            let path = format!("functions/{context}/src/{room}");
            assert!(root().join(&path).exists(), "{path} is missing");
        }
        let lines = read(format!("functions/{context}/src/main.rs")).lines().count();
        assert!(lines < 80, "functions/{context}/src/main.rs has {lines} lines: it is a table, nothing else");
    }
}

#[test]
fn the_checks_above_can_fail() {
    assert_eq!(uses("use tokio::time::Instant;", IMPURE), ["tokio", "Instant"]);
    assert!(uses("// never call tokio here", IMPURE).is_empty());
    assert!(uses("let now = Timestamp::now();", IMPURE).contains(&"Timestamp::now"));
}
