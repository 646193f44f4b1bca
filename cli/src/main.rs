//! `mall`: the tool of Mallard's developers and operators, run as `cargo mall <command>`.
//!
//! | module | the idea |
//! | --- | --- |
//! | `args` | what can be asked for |
//! | `errors` | what can go wrong, why, and what to do |
//! | `ui` | how it speaks |
//! | `paths`, `files`, `process`, `ports` | the machine it runs on |
//! | `python`, `cloud` | the local cloud |
//! | `target` | local cloud, another endpoint, or AWS |
//! | `build`, `deploy`, `stack` | from source to a running stack |
//! | `status`, `logs` | looking at it |
//! | `deployed`, `consumers`, `progress` | what operators' commands share |
//! | `dlq` | what went wrong for good, and back with it |
//! | `replay` | events once more to their consumers |
//! | `stream`, `trace` | what happened, when, by whom and why |
//! | `view` | the views: how they are, building one anew, comparing it with its events |
//! | `saga` | sagas of orders: looking, retrying, undoing |
//! | `docs` | the documents that are made from the code |
//! | `cost` | what an order costs, counted |
//! | `capacity` | the orders a second at which each limit bites, computed |
//! | `tables` | tables in a terminal and in a document |
//! | `demo` | shoppers walk through it |
//! | `shoppers` | many of them at once, measured |
//! | `test` | every check there is, in order |

// The ports rule (time, ids and waiting come in from outside) makes product code repeatable. This is a tool: it lives
// in real time.
#![allow(clippy::disallowed_methods)]

mod api;
mod args;
mod build;
mod capacity;
mod cloud;
mod consumers;
mod cost;
mod demo;
mod deploy;
mod deployed;
mod dlq;
mod docs;
mod errors;
mod files;
mod logs;
mod paths;
mod ports;
mod process;
mod progress;
mod python;
mod replay;
mod saga;
mod shoppers;
mod stack;
mod status;
mod stream;
mod tables;
mod target;
mod test;
mod trace;
mod ui;
mod view;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::errors::{Error, Result};

fn main() -> ExitCode {
    let asked = args::Mall::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            errors::report(&Error::CannotStart { program: "the async runtime".into(), source });
            return ExitCode::FAILURE;
        }
    };
    // An interruption drops the command wherever it stands, and what it started goes with it.
    let outcome = runtime.block_on(async {
        if asked.ends_itself() {
            return asked.run().await;
        }
        tokio::select! {
            outcome = asked.run() => outcome,
            name = interrupted() => Err(Error::Interrupted(name)),
        }
    });
    // A thread that waits for an answer on stdin must not keep us.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| {
        errors::report(&error);
        ExitCode::from(error.exit_code())
    })
}

/// Waits for the user, or the system, to end the program: by which signal.
async fn interrupted() -> &'static str {
    let listen = |kind| signal(kind).ok();
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup()));
    async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) {
        match signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
    tokio::select! {
        () = heard(&mut interrupt) => "Ctrl-C",
        () = heard(&mut terminate) => "SIGTERM",
        () = heard(&mut hang_up) => "SIGHUP",
    }
}
