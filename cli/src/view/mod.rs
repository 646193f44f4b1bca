//! `mall view`: which views there are and how they are, and building one anew while the mall is open.
//!
//! What is done is done by the state machine `rebuild-view` and the workers that it calls, on AWS and on the local cloud alike: this starts
//! it and looks on. How far it is stands in the registry of views, so looking on can stop, and begin again, at any time.

pub mod health;
mod job;

use projection::{DynamoRegistry, Registry};

use crate::{
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
    target::{Choice, Target},
};

/// What can be asked about views.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all views: generation, what is being done to them, how far they lag, what is parked
    List(Choice),
    /// Build a view anew from the events, while it is read and fed
    ///
    /// A new generation is filled beside the live one, takes its place, and the old one is removed. One that stopped, or was
    /// interrupted, goes on where it was. Ctrl-C only ends looking on.
    Rebuild {
        /// The view, for example `orders`
        #[arg(required_unless_present = "all")]
        view: Option<String>,
        /// All views, one after the other
        #[arg(long, conflicts_with = "view")]
        all: bool,
        /// Into how many parts the event table is split
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
        segments: u32,
        /// Events a second at the most, at least one for each segment [default: as many as can be]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
        /// Compare every row with the fold of its events before it goes live
        #[arg(long)]
        verify: bool,
        #[command(flatten)]
        choice: Choice,
    },
    /// Give a rebuild up, and remove what it built
    Cancel {
        /// The view
        view: String,
        #[command(flatten)]
        choice: Choice,
    },
    /// Compare every row of a view, or of all, with the fold of its events
    Verify(Verify),
}

/// Of `mall verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The view, for example `orders` [default: all views]
    view: Option<String>,
    /// Put right what differs
    #[arg(long)]
    repair: bool,
    /// Into how many parts the event table is split
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    segments: u32,
    #[command(flatten)]
    choice: Choice,
}

/// Does what is asked.
pub async fn run(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::List(choice) => health::list(&Mall::reach(home, &choice).await?).await,
        Command::Rebuild { view, segments, rate, verify, choice, .. } => {
            let mall = Mall::reach(home, &choice).await?;
            job::rebuild(&mall, &mall.chosen(view.as_deref())?, segments, rate, verify).await
        }
        Command::Cancel { view, choice } => {
            let mall = Mall::reach(home, &choice).await?;
            let [view] = &mall.chosen(Some(&view))?[..] else { return Ok(()) };
            job::cancel(&mall, view).await
        }
        Command::Verify(verify) => self::verify(home, verify).await,
    }
}

/// Compares views with their events.
pub async fn verify(home: &Home, verify: Verify) -> Result<()> {
    let Verify { view, repair, segments, choice } = verify;
    let mall = Mall::reach(home, &choice).await?;
    job::verify(&mall, &mall.chosen(view.as_deref())?, segments, repair).await
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

/// The deployed mall: its views, their registry and what rebuilds them.
pub struct Mall {
    target: Target,
    stack: Stack,
    views: Vec<View>,
    registry: DynamoRegistry,
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
            registry: DynamoRegistry::new(dynamo.clone(), stack.output("ViewsTable")?),
            dynamo,
            sfn: aws_sdk_sfn::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            machine: stack.output("RebuildViewArn")?.to_owned(),
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

    async fn state(&self, view: &View) -> Result<projection::ViewState> {
        let failed =
            |e: projection::ViewError| Error::Aws { operation: "reading the registry", why: e.to_string() };
        self.registry.get(&view.name).await.map_err(failed)
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
