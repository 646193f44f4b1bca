//! `mall demo`: from nothing to two orders, one completed and one rejected, with everything that happens on the way.

mod api;
mod story;
mod timeline;
mod watch;

pub use api::said;

use crate::{
    build::How,
    cloud, deploy,
    errors::Result,
    paths::Repo,
    stack::Stack,
    target::{self, Target},
    ui,
};

/// Of `mall demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Port of the local cloud, if it has to be started [default: 4566]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// A LocalStack-compatible cloud to use instead of the local one
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", conflicts_with = "port")]
    endpoint: Option<String>,
}

/// Runs the demonstration and leaves the cloud up.
pub async fn run(repo: &Repo, options: &Options) -> Result<()> {
    let home = repo.home();
    let target = match target::other(options.endpoint.as_deref(), &home)? {
        Some(url) => Target::Endpoint(url),
        None => Target::Local(cloud::up(repo, &home, options.port).await?),
    };
    target.reach().await?;
    let how = How::Here { release: false };
    let stack = deploy::run(repo, &home, &target, how, &deploy::Options::default()).await?;

    let watch = watch::Watch::new(&target, &stack).await?;
    let shop = api::Api::new(&stack, &watch)?;
    let told = tokio::select! {
        told = story::tell(&shop, &watch) => told,
        error = watch.forever() => Err(error),
    };
    // Also, and above all, when it went wrong.
    watch.flush();
    let told = told?;
    story::sum_up(&told);
    try_by_hand(&stack, &target, &told);
    Ok(())
}

/// What to do next. Every line works when it is pasted into a shell.
fn try_by_hand(stack: &Stack, target: &Target, told: &story::Told) {
    ui::heading("Try it by hand");
    let ada = &told.completed;
    // Another key for every run: with another body, an old one would be refused.
    let key = ada.order.simple();
    ui::line(format!("  API='{}'", stack.api));
    ui::line(format!("  curl -s \"$API/api/orders?customerId={}\"", ada.customer));
    ui::line(format!("  curl -s \"$API/api/orders/{}?minVersion={}\"", ada.order, ada.version));
    ui::line(format!("  curl -s \"$API/api/baskets/{}\"", ada.order));
    ui::line(format!(
        "  curl -s -X POST \"$API/api/baskets\" -H 'content-type: application/json' -H 'idempotency-key: try-{key}' -d \
         '{{\"customerId\":\"{}\"}}'",
        ada.customer
    ));
    ui::line("");
    ui::line(format!("  {}   what is up, what is in the queues", ui::good("cargo mall status")));
    ui::line(format!("  {}     what the functions log", ui::good("cargo mall logs")));
    match target {
        Target::Local(_) => {
            ui::line(format!("  {}     stop the local cloud, which is left up", ui::good("cargo mall down")))
        }
        Target::Endpoint(url) => {
            ui::line(format!("  {url} was not started by `mall`: stop it as you started it"))
        }
        Target::Aws { .. } => {}
    }
}
