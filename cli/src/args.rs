//! What can be asked for, and who does it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    Result,
    build::{self, Arch, How},
    capacity, cloud, cost, demo, deploy, dlq, docs, logs,
    paths::Repo,
    replay, saga, shoppers, status, stream,
    target::{Choice, Place, Target},
    test, trace, ui, view,
};

/// The tool of Mallard's developers and operators.
#[derive(Debug, Parser)]
#[command(name = "mall", bin_name = "cargo mall", version, arg_required_else_help = true)]
pub struct Mall {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take two shoppers through the mall and watch what happens
    ///
    /// Starts the local cloud, builds and deploys if needed, then shops over HTTP: one order is approved, collected by a bot,
    /// paid for and completed; the other is rejected because its payment does not cover it. The cloud is left up.
    Demo(demo::Options),
    /// Let many shoppers, shopkeepers, bots and payers loose on the deployed mall, and measure it
    ///
    /// Clients browse, buy, register, open stores, add and rename products and change prices, at random but from a seed; bots
    /// collect what is ordered and payers pay for it. Ends with a report. Ctrl-C ends it early, with the report. The exit
    /// code is not 0 when an answer was unexpected, or an order did not come to its end.
    Shoppers(shoppers::Options),
    /// Run every check: format, lints, dependencies, templates, tests, end-to-end
    ///
    /// Starts a cloud of its own on a free port and stops it afterwards, so a cloud that is up is not disturbed.
    Test(test::Options),
    /// Start the local cloud
    Up {
        /// Port to listen on [default: 4566]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
    /// Build the functions into build/lambda
    Build {
        /// Optimised, for this machine
        #[arg(long, conflicts_with = "lambda")]
        release: bool,
        /// For AWS Lambda: optimised, with cargo-lambda
        #[arg(long)]
        lambda: bool,
        /// Processor to build for with --lambda
        #[arg(long, default_value = "arm64", requires = "lambda")]
        arch: Arch,
    },
    /// Build and deploy the stack with `sam deploy`
    Deploy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: deploy::Options,
        /// Processor on AWS
        #[arg(long, default_value = "arm64", requires = "aws")]
        arch: Arch,
        /// Do not ask before deploying to AWS
        #[arg(long, requires = "aws")]
        yes: bool,
    },
    /// Show the cloud, the stack, its queues, sagas and events
    Status(Choice),
    /// Show what the functions log
    Logs(logs::Options),
    /// Look at order sagas, start the next attempt of one, or undo an order
    #[command(subcommand)]
    Saga(saga::Command),
    /// Look at what went wrong for good, send it back, or give it up
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Send events once more to those who follow them
    ///
    /// They are read from the event table, and come as the bus would bring them. Consumers drop what they know: views stay as
    /// they are. Those that may send or start something are left out unless they are asked for.
    Replay(replay::Options),
    /// Show what happened in a stream: when, by whom, why, and what it changed
    #[command(subcommand)]
    Stream(stream::Command),
    /// Draw what came of a request or an order: commands and events, across all contexts
    Trace(trace::Options),
    /// See how the views are, and build one anew while the mall is open
    #[command(subcommand)]
    View(view::Command),
    /// Compare every view with the fold of its events, and put right what differs with --repair
    ///
    /// The exit code is not 0 when rows differ.
    Verify(view::Verify),
    /// Make the documents anew: schemas of the events, OpenAPI, AsyncAPI, and the pages made of them
    ///
    /// Refuses, and writes nothing, when an event changed so that readers of its schema version would break.
    Docs,
    /// Count what an order costs on AWS
    ///
    /// Takes whole orders on a cloud of its own that counts every billed unit, and multiplies by AWS's prices. docs/COSTS.md
    /// says how, and how far it can be trusted.
    Cost(cost::Options),
    /// Compute at how many orders a second each limit bites, the first one first
    ///
    /// Arithmetic alone: from docs/counts.json, the templates and AWS's default quotas. docs/CAPACITY.md says
    /// how far it can be trusted.
    Capacity(capacity::Options),
    /// Stop the local cloud
    ///
    /// What was deployed to it is gone with it.
    Down,
}

impl Mall {
    /// Whether it listens for interruptions itself, to end with what it has.
    pub fn ends_itself(&self) -> bool {
        matches!(self.command, Command::Shoppers(_))
    }

    /// Does it.
    pub async fn run(self) -> Result<ExitCode> {
        let repo = Repo::find()?;
        let home = repo.home();
        match self.command {
            Command::Demo(options) => demo::run(&repo, &options).await?,
            Command::Shoppers(options) => return shoppers::run(&home, &options).await,
            Command::Test(options) => return test::run(&repo, &options).await,
            Command::Up { port } => {
                let cloud = cloud::up(&repo, &home, port).await?;
                ui::line(format!(
                    "  {}   {}",
                    cloud.endpoint(),
                    ui::dim(cloud::log_hint(&repo, &home.log("cloud")))
                ));
                ui::line(format!("  next: {}", ui::good("cargo mall deploy")));
            }
            Command::Build { release, lambda, arch } => {
                let how = if lambda { How::Lambda(arch) } else { How::Here { release } };
                build::functions(&repo, how).await?;
            }
            Command::Deploy { place, options, arch, yes } => {
                let target = place.target(&home, options.stage.as_deref())?;
                let how = match target {
                    Target::Aws { .. } => How::Lambda(arch),
                    Target::Local(_) | Target::Endpoint(_) => How::Here { release: false },
                };
                if matches!(target, Target::Aws { .. }) {
                    deploy::confirm_aws(&repo, &target, &options, arch, yes).await?;
                }
                target.reach().await?;
                let stack = deploy::run(&repo, &home, &target, how, &options).await?;
                ui::line(format!("  API: {}", stack.api));
            }
            Command::Status(choice) => status::run(&repo, &home, &choice).await?,
            Command::Logs(options) => logs::run(&home, &options).await?,
            Command::Saga(command) => saga::run(&home, command).await?,
            Command::Dlq(command) => dlq::run(&home, command).await?,
            Command::Replay(options) => replay::run(&home, &options).await?,
            Command::Stream(command) => stream::run(&home, command).await?,
            Command::Trace(options) => trace::run(&home, &options).await?,
            Command::View(command) => view::run(&home, command).await?,
            Command::Verify(verify) => view::verify(&home, verify).await?,
            Command::Docs => docs::write(&repo).await?,
            Command::Cost(options) => cost::run(&repo, &options).await?,
            Command::Capacity(options) => capacity::run(&repo, &options)?,
            Command::Down => match cloud::down(&home)? {
                true => ui::line(format!("{} The local cloud is stopped", ui::good("✓"))),
                false => ui::line("The local cloud was not running."),
            },
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Mall::command().debug_assert();
    }
}
