//! What a cold start costs: `cargo bench --workspace --bench cold_start --profile dev` (the profile of the bench itself, which only measures).
//!
//! From starting the process to its first poll for work, of the release `ordering` binary and of a function with
//! no SDK, in turns, behind the same runtime API. Also the sizes that are uploaded. Builds both in the release profile
//! first, which takes minutes (one fat-LTO link each).

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench stops when its stage cannot be set"
)]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use flate2::{Compression, write::DeflateEncoder};
use testing::FunctionProcess;

const ROUNDS: usize = 60;
const INIT_BUDGET: f64 = 10.0;
const BINARY_BUDGET: usize = 5_000_000;
const ZIP_BUDGET: usize = 2_500_000;

fn built(arguments: &[&str], artefact: &str) -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // From the root, as for a deployment: inside one package cargo would choose other features, and build all anew.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status =
        Command::new(cargo).current_dir(root).args(["build", "--release"]).args(arguments).status().unwrap();
    assert!(status.success(), "cargo build --release {arguments:?} failed");
    // target/<profile>/deps/cold_start-… -> target/release
    let me = std::env::current_exe().unwrap();
    me.ancestors().nth(3).unwrap().join("release").join(artefact)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn verdict(within: bool) -> &'static str {
    if within { "within budget" } else { "OVER BUDGET" }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ordering = built(&["--bin", "ordering"], "ordering");
    let bare = built(&["--example", "bare"], "examples/bare");
    let environment = [("EVENT_TABLE", "events".to_owned()), ("ORDERS_TABLE", "orders".to_owned())];
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 5 {
        let ours = FunctionProcess::start(&ordering, "approve-order", &environment).await.init().await;
        let theirs = FunctionProcess::start(&bare, "bare", &[]).await.init().await;
        if round >= 5 {
            with.push(ours);
            without.push(theirs);
        }
    }
    let (with, without) = (median(with), median(without));
    let binary = std::fs::read(&ordering).unwrap();
    let mut zip = DeflateEncoder::new(Vec::new(), Compression::best());
    zip.write_all(&binary).unwrap();
    let zip = zip.finish().unwrap().len();
    println!("| what | measured | budget | |");
    println!("| --- | --- | --- | --- |");
    println!("| init of ordering, median of {ROUNDS} | {with:.1} ms | | |");
    println!("| init of a function with no SDK | {without:.1} ms | | |");
    let difference = with - without;
    println!(
        "| difference | {difference:.1} ms | {INIT_BUDGET} ms | {} |",
        verdict(difference <= INIT_BUDGET)
    );
    println!(
        "| release binary | {} bytes | {BINARY_BUDGET} | {} |",
        binary.len(),
        verdict(binary.len() <= BINARY_BUDGET)
    );
    println!("| deflated, as in the zip | {zip} bytes | {ZIP_BUDGET} | {} |", verdict(zip <= ZIP_BUDGET));
}
