//! Everything that can go wrong, told to a human: what happened and why (the `Display` text), and what to
//! do about it ([`Error::advice`]).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::ui;

/// Who else may have a port: somebody's emulator, or anything.
pub const ANOTHER_CLOUD: &str = "another LocalStack-compatible cloud";
pub const ANOTHER_PROGRAM: &str = "another program";

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // ---- this machine
    #[error("this is not a checkout of Mallard: no template.yaml beside a Cargo.toml in {0} or above it")]
    NoRepository(PathBuf),
    #[error("{what} {path}: {source}", path = .path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} cannot be understood: {why}", path = .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("another `mall` holds {path} and did not let go for {} s", .waited.as_secs(), path = .path.display())]
    Locked { path: PathBuf, waited: Duration },
    #[error("{program} cannot be started: {source}")]
    CannotStart { program: String, source: std::io::Error },
    #[error("{what} did not finish within {} and was stopped", ui::duration(*.limit))]
    TimedOut { what: String, limit: Duration, log: Option<PathBuf> },
    #[error("stopped by {0}")]
    Interrupted(&'static str),

    // ---- Python
    #[error("Python {minimum} or newer is needed to run the local cloud, and none was found")]
    NoPython { minimum: String },
    #[error("Python {minimum} or newer is needed to run the local cloud; found only {}", .found.join(", "))]
    OldPython { minimum: String, found: Vec<String> },
    #[error("{python} (Python {version}) cannot make virtual environments: its `{module}` module is missing")]
    NoVenv { python: String, version: String, module: &'static str },
    #[error("the pinned Python packages of {name} could not be installed:\n{tail}")]
    Install { name: String, tail: String, log: PathBuf },

    // ---- the local cloud
    #[error("port {port} is taken by {by}")]
    PortTaken { port: u16, by: &'static str },
    #[error("no port from {from} to {to} is free")]
    NoFreePort { from: u16, to: u16 },
    #[error("the local cloud runs on port {running} already, not on {asked}")]
    RunsElsewhere { running: u16, asked: u16 },
    #[error("the local cloud stopped while it was starting:\n{tail}")]
    CloudDied { tail: String, log: PathBuf },
    #[error("the local cloud did not answer on port {port} within {}", ui::duration(*.limit))]
    CloudSilent { port: u16, limit: Duration, log: PathBuf },
    #[error("the local cloud is not running")]
    NoCloud,
    #[error("the local cloud that was deployed to is gone: its process ended without `cargo mall down`")]
    CloudGone { log: PathBuf },
    #[error("the local cloud (pid {pid}) runs, but does not answer on port {port}")]
    CloudHangs { pid: u32, port: u16 },
    #[error("process group {group} is still there after it was told to stop and then killed")]
    Unkillable { group: i32 },
    #[error("nothing answers at {url} ({why})")]
    EndpointSilent { url: String, why: String },

    #[error("the documents were not made:\n{said}")]
    Docs { said: String },
    #[error("{what} ended without a report")]
    NoReport { what: String, log: PathBuf },

    // ---- build and deployment
    #[error("the build failed:\n{tail}")]
    Build { tail: String },
    #[error("cargo built no executable named {0}")]
    NoExecutable(String),
    #[error("cargo-lambda is not installed: it is what builds for AWS Lambda")]
    NoCargoLambda,
    #[error("the deployment of {stack} failed:\n{tail}")]
    Deploy { stack: String, tail: String, log: PathBuf },
    #[error("the first deployment of {stack} failed, and CloudFormation updates nothing that never was")]
    NeverMade { stack: String, log: PathBuf },
    #[error("the template has no parameter {asked:?}; there are: {}", .known.join(", "))]
    NoSuchParameter { asked: String, known: Vec<String> },
    #[error("the stack {stack} has no output named {output}")]
    NoOutput { stack: String, output: &'static str },
    #[error("nothing is deployed at {0}")]
    NotDeployed(String),
    #[error("the stage {asked} is not deployed at {at}: {there} is")]
    OtherStage { asked: String, there: String, at: String },
    #[error("AWS does not say who you are: {0}")]
    NoIdentity(String),
    #[error("nothing was done: you did not confirm")]
    NotConfirmed,
    #[error("this has to be confirmed, and there is no terminal to ask on")]
    CannotAsk,

    // ---- counting what it costs
    #[error("{path} has no place for the tables", path = .path.display())]
    NoPlace { path: PathBuf, marks: String },
    #[error("a request was made whose bill is not understood: {request}")]
    NotBilled { request: String },

    // ---- talking to the mall
    #[error("{request}: {why}")]
    Http { request: String, why: String },
    #[error("{request} was answered with {status}: {said}")]
    Refused { request: String, status: u16, said: String },
    #[error("{request} was refused: {said}")]
    Conflict { request: String, code: String, said: String },
    #[error("{request} was answered with 200, but not with {expected}: {body}")]
    Unexpected { request: String, expected: &'static str, body: String },
    #[error("{operation}: {why}")]
    Aws { operation: &'static str, why: String },
    #[error("{what} did not happen within {}; last seen: {last}", ui::duration(*.limit))]
    Waiting { what: String, limit: Duration, last: String },
    #[error("{shopper}'s order was to be {expected} and is {found}")]
    WrongEnd { shopper: &'static str, expected: &'static str, found: String },
    #[error("{why}")]
    SagaNotNow { why: String, advice: String },
    #[error("the saga of order {order} is stuck: {why}")]
    SagaNotFinished { order: uuid::Uuid, why: String },
    #[error("order {order} was not undone: it is {status}")]
    OrderKept { order: uuid::Uuid, status: String },
    #[error("there is no order {order}")]
    NoSuchOrder { order: uuid::Uuid },
    #[error("functions cannot be killed there: {0}")]
    CannotKill(&'static str),
    #[error("{why}")]
    Impossible { why: String, advice: String },
    #[error("{why}")]
    ViewNotNow { why: String, advice: String },
    #[error("{rows} rows are other than their events make them")]
    ViewsDiffer { rows: u64 },
    #[error("{number} rows or events could not be put right, and are left as they are")]
    ViewsLeft { number: u64 },
    #[error("there is no view {asked:?}; there are: {}", .known.join(", "))]
    NoSuchView { asked: String, known: Vec<String> },
    #[error("no function's name contains {asked:?}; there are: {}", .known.join(", "))]
    NoSuchFunction { asked: String, known: Vec<String> },
}

impl Error {
    /// Wraps an I/O error with what was tried on which file.
    pub fn file(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::File { what, path, source }
    }

    /// What the reader can do now.
    pub fn advice(&self) -> Option<String> {
        let see = |log: &Path| format!("The whole log: {}", log.display());
        Some(match self {
            Error::NoRepository(_) => "Run `cargo mall` inside the checkout.".into(),
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "Check who owns the file; `mall` writes only to .mall/, build/ and the target directory."
                    .into()
            }
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "Free some disk space; .mall/ may be deleted after `cargo mall down`.".into()
            }
            Error::File { .. } => return None,
            Error::Damaged { path, .. } => {
                format!("Delete {} and repeat the command: it is made anew.", path.display())
            }
            Error::Locked { .. } => "Wait for the other command to end, or stop it.".into(),
            Error::CannotStart { program, source } if source.kind() == std::io::ErrorKind::NotFound => {
                format!("Install {program}, or see that it is on your PATH.")
            }
            Error::CannotStart { .. } => return None,
            Error::TimedOut { log: Some(log), .. } => see(log),
            Error::TimedOut { log: None, .. } => {
                "Repeat it; if it hangs again, the machine may be overloaded.".into()
            }
            Error::Interrupted(_) => return None,

            Error::NoPython { minimum } | Error::OldPython { minimum, .. } => format!(
                "Install Python {minimum} or newer (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew \
                 install python3), or name one: MALL_PYTHON=/path/to/python3 cargo mall …"
            ),
            Error::NoVenv { python, version, .. } => format!(
                "Install it (Debian, Ubuntu: apt install python{version}-venv), or name another Python than \
                 {python}: MALL_PYTHON=/path/to/python3 cargo mall …"
            ),
            Error::Install { log, .. } => {
                format!(
                    "Most often the package index was out of reach: check the network and repeat. {}",
                    see(log)
                )
            }

            Error::PortTaken { port, by } => {
                let next = port.checked_add(1).unwrap_or(crate::ports::USUAL);
                let other = format!(
                    ", or deploy to the cloud that answers there: --endpoint http://127.0.0.1:{port}"
                );
                format!(
                    "Choose another port: --port {next}{}",
                    if *by == ANOTHER_CLOUD { &other } else { "" }
                )
            }
            Error::NoFreePort { .. } => "Stop something that listens there.".into(),
            Error::RunsElsewhere { .. } => "Stop it first (cargo mall down), or go on without --port.".into(),
            Error::CloudDied { log, .. } | Error::CloudSilent { log, .. } => see(log),
            Error::NoCloud => "Start it: cargo mall up".into(),
            Error::CloudGone { log } => format!("Start it anew: cargo mall demo. {}", see(log)),
            Error::CloudHangs { .. } => {
                "If it does not come to itself in a moment, restart it: cargo mall down, then cargo mall demo"
                    .into()
            }
            Error::Unkillable { group } => format!("Look at it: ps -o pid,stat,args -g {group}"),
            Error::EndpointSilent { .. } => {
                "Start it, or unset AWS_ENDPOINT_URL to use the local cloud that `mall` runs itself.".into()
            }

            Error::Docs { .. } => {
                "The same by hand: MALL_WRITE_DOCS=1 cargo test --workspace --test documents".into()
            }
            Error::NoReport { log, .. } => see(log),

            Error::Build { .. } => "The same by hand: cargo build".into(),
            Error::NoExecutable(name) => {
                format!("See that functions/{name} has a binary of that name.")
            }
            Error::NoCargoLambda => {
                "Install it: pip install cargo-lambda ziglang (or see cargo-lambda.info)".into()
            }
            Error::Deploy { log, .. } => see(log),
            Error::NeverMade { stack, log } => format!(
                "Nothing was ever served by it. Remove it, then deploy again: aws cloudformation delete-stack --stack-name {stack}. {}",
                see(log)
            ),
            Error::NoOutput { .. } => "Deploy again: cargo mall deploy --force".into(),
            Error::NotDeployed(_) => "Deploy: cargo mall deploy (on AWS with --aws and --stage)".into(),
            Error::OtherStage { .. } => "Say another --stage, or none.".into(),
            Error::NoIdentity(_) => {
                "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_REGION.".into()
            }
            Error::NotConfirmed => return None,
            Error::CannotAsk => "Say so on the command line: --yes".into(),

            Error::NoPlace { marks, .. } => format!("Put these two lines where they belong: {marks}"),
            Error::NotBilled { .. } => "Teach infra/local/meter.py and cli/src/cost/ what it costs.".into(),

            Error::Http { .. } => "See whether the cloud is up: cargo mall status".into(),
            Error::Refused { .. } | Error::Conflict { .. } | Error::Unexpected { .. } => {
                "See what the functions say: cargo mall logs".into()
            }
            Error::Aws { .. } => {
                "See whether the cloud is up and the stack deployed: cargo mall status".into()
            }
            Error::Waiting { .. } | Error::WrongEnd { .. } => {
                "See where it got stuck: cargo mall status, cargo mall logs".into()
            }
            Error::SagaNotNow { advice, .. } | Error::Impossible { advice, .. } => advice.clone(),
            Error::SagaNotFinished { order, .. } => {
                format!("See what it says, mend that, and repeat the command: cargo mall saga show {order}")
            }
            Error::OrderKept { order, .. } => {
                format!(
                    "It was paid before it could be closed. See what happened: cargo mall saga show {order}"
                )
            }
            Error::NoSuchOrder { .. } => "See which there are: cargo mall saga list".into(),
            Error::CannotKill(_) => {
                "Use the local cloud (cargo mall up) on Linux, or leave --kill out.".into()
            }
            Error::NoSuchParameter { .. } => "template.yaml tells what each is for.".into(),
            Error::ViewNotNow { advice, .. } => advice.clone(),
            Error::ViewsDiffer { .. } => "Put them right: cargo mall verify --repair".into(),
            Error::ViewsLeft { .. } => {
                "Mend what the names above say, deploy, and sweep again: the others are right".into()
            }
            Error::NoSuchView { .. } => "See how they are: cargo mall view list".into(),
            Error::NoSuchFunction { .. } => "Without a name, the logs of all functions are shown.".into(),
        })
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted("SIGTERM") => 143,
            Error::Interrupted("SIGHUP") => 129,
            Error::Interrupted(_) => 130,
            _ => 1,
        }
    }
}

/// The one place where an error meets the reader.
pub fn report(error: &Error) {
    ui::note("");
    ui::note(format!("{} {error}", ui::bad("error:")));
    if let Some(advice) = error.advice() {
        ui::note(format!("{} {advice}", ui::good("what to do:")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_the_way_out() {
        let error = Error::PortTaken { port: 4566, by: ANOTHER_PROGRAM };
        assert_eq!(error.to_string(), "port 4566 is taken by another program");
        assert_eq!(error.advice().as_deref(), Some("Choose another port: --port 4567"));
        let advice = Error::PortTaken { port: 4566, by: ANOTHER_CLOUD }.advice().unwrap_or_default();
        assert!(advice.contains("--endpoint http://127.0.0.1:4566"), "{advice}");
    }

    #[test]
    fn the_last_port_has_no_port_after_it() {
        assert!(Error::PortTaken { port: u16::MAX, by: "x" }.advice().is_some());
    }
}
