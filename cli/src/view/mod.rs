//! `mall view`: the state of the views, and sweeps, which put views right while the mall is open.
//!
//! A sweep is the work of the state machine `sweep-view` and of the workers that it calls, on AWS and on the
//! local cloud alike: this starts it and shows its progress, which is recorded. So showing it can stop, and
//! begin again, at any time.

pub mod health;
mod sweep;

use projection::{DynamoProgress, Order, SweepState, stop_sweep};

use crate::{
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
    target::{Choice, Target},
    ui,
};

/// What can be asked about views.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all views: lag, parked events, the last sweep
    List(Choice),
    /// Put a view right from the events, while it is read and fed
    ///
    /// Rows that are missing, outdated or different are written, rows without events removed. A row or an
    /// event that cannot be helped is named and left, and the exit code says so. A sweep that was stopped or
    /// interrupted goes on where it was. Ctrl-C only ends showing the progress.
    Sweep {
        /// The view, for example `orders`
        #[arg(required_unless_present = "all")]
        view: Option<String>,
        /// All views, one after the other
        #[arg(long, conflicts_with = "view")]
        all: bool,
        #[command(flatten)]
        pace: Pace,
        #[command(flatten)]
        choice: Choice,
    },
    /// Stop a sweep: its workers end within seconds
    Stop {
        /// The view
        view: String,
        #[command(flatten)]
        choice: Choice,
    },
}

/// The pace of a sweep.
#[derive(Debug, clap::Args)]
pub struct Pace {
    /// Into how many parts the event table is split
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    parts: u32,
    /// Events a second at the most, at least one for each part [default: as many as can be]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

impl Pace {
    fn order(&self, only_compare: bool) -> Order {
        Order { only_compare, parts: self.parts, rate: self.rate }
    }
}

/// Of `mall verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The view, for example `orders` [default: all views]
    view: Option<String>,
    /// Put right what differs: a sweep
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    choice: Choice,
}

/// Does what is asked.
pub async fn run(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::List(choice) => health::list(&Mall::reach(home, &choice).await?).await,
        Command::Sweep { view, pace, choice, .. } => {
            let mall = Mall::reach(home, &choice).await?;
            sweep::sweep(&mall, &mall.chosen(view.as_deref())?, &pace.order(false)).await
        }
        Command::Stop { view, choice } => {
            let mall = Mall::reach(home, &choice).await?;
            mall.chosen(Some(&view))?;
            let ports = lambda::system_ports();
            let stopped = stop_sweep(&mall.sweeps, &ports, &view, "an operator stopped it");
            let failed = |e: projection::SweepError| Error::Aws {
                operation: "stopping the sweep",
                why: e.to_string(),
            };
            ui::line(match stopped.await.map_err(failed)? {
                true => {
                    format!("{} The sweep of {view} stops. `mall view sweep` goes on with it.", ui::good("✓"))
                }
                false => format!("{} Nothing to do: no sweep of {view} is under way.", ui::good("✓")),
            });
            Ok(())
        }
    }
}

/// Compares views with their events.
pub async fn verify(home: &Home, verify: Verify) -> Result<()> {
    let Verify { view, repair, pace, choice } = verify;
    let mall = Mall::reach(home, &choice).await?;
    sweep::sweep(&mall, &mall.chosen(view.as_deref())?, &pace.order(!repair)).await
}

/// A view of the deployed mall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The context that owns it.
    pub context: String,
    /// Its name.
    pub name: String,
}

impl View {
    /// Name of the queue that feeds it, after the stack's prefix.
    pub fn queue(&self, prefix: &str) -> String {
        format!("{prefix}-{}-project-{}", self.context, self.name)
    }
}

/// The deployed mall: its views, the progress of their sweeps, and the machine that sweeps them.
pub struct Mall {
    target: Target,
    stack: Stack,
    views: Vec<View>,
    sweeps: DynamoProgress,
    dynamo: aws_sdk_dynamodb::Client,
    sfn: aws_sdk_sfn::Client,
    sqs: aws_sdk_sqs::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    machine: String,
}

impl Mall {
    async fn reach(home: &Home, choice: &Choice) -> Result<Self> {
        let target = choice.target(home)?;
        target.reach().await?;
        let stack = Stack::deployed(home, &target)?;
        Self::of(target, stack).await
    }

    /// The mall of this stack.
    pub async fn of(target: Target, stack: Stack) -> Result<Self> {
        let config = target.sdk().await;
        let dynamo = aws_sdk_dynamodb::Client::new(&config);
        Ok(Self {
            views: views(stack.output("Views")?),
            sweeps: DynamoProgress::new(dynamo.clone(), stack.output("SweepsTable")?),
            dynamo,
            sfn: aws_sdk_sfn::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            machine: stack.output("SweepViewArn")?.to_owned(),
            target,
            stack,
        })
    }

    /// What is deployed.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The view of this name, or all.
    fn chosen(&self, name: Option<&str>) -> Result<Vec<View>> {
        let Some(name) = name else { return Ok(self.views.clone()) };
        let found = self.views.iter().find(|view| view.name == name);
        let known = || self.views.iter().map(|view| view.name.clone()).collect();
        let missing = || Error::NoSuchView { asked: name.to_owned(), known: known() };
        found.cloned().map(|view| vec![view]).ok_or_else(missing)
    }

    /// The view's last sweep.
    async fn state(&self, view: &View) -> Result<Option<SweepState>> {
        let failed = |e: projection::ViewError| Error::Aws {
            operation: "reading the progress of sweeps",
            why: e.to_string(),
        };
        SweepState::of(&self.sweeps, &view.name).await.map_err(failed)
    }
}

/// `ordering.orders,stores.mall`.
fn views(output: &str) -> Vec<View> {
    let entries = output.split(',').filter_map(|entry| entry.trim().split_once('.'));
    entries.map(|(context, name)| View { context: context.to_owned(), name: name.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_views_and_their_queues_are_known_from_the_stack() {
        let views = views("ordering.orders,depot.shopping-lists");
        assert_eq!(views[1], View { context: "depot".into(), name: "shopping-lists".into() });
        assert_eq!(views[0].queue("mallard-local"), "mallard-local-ordering-project-orders");
        assert!(super::views("").is_empty());
    }
}
