//! `mall cost`: what an order costs on AWS, counted from orders that were really taken.
//!
//! | module | the idea |
//! | --- | --- |
//! | `run` | whole orders on a cloud of their own |
//! | `meter` | what that cloud did for them, as `infra/local/meter.py` wrote it down |
//! | `units` | AWS's rules for what is one unit |
//! | `prices` | what a unit costs |
//! | `standing` | what costs by the month |
//! | `bill` | from what was done to units and dollars |
//! | `report` | the tables |
//!
//! docs/COSTS.md says how far this can be trusted.

mod bill;
mod meter;
pub mod prices;
mod report;
mod run;
pub mod standing;
mod units;

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use tokio::task::LocalSet;

pub use self::bill::{EVENT_TABLE, POLLS_PER_SECOND};
use self::{
    bill::{ASSUMED, Bill, access_line},
    meter::{Meter, Moment},
    report::{Looked, Report, Run},
    run::{Mall, until_quiet},
    standing::Standing,
    units::count,
};
use crate::{
    build::How,
    capacity::counts,
    cloud::{self, Temporary},
    deploy,
    errors::{Error, Result},
    files,
    paths::Repo,
    target::Target,
    ui,
};

/// A look is made so often, to be divided by it: first looks of a function log more.
const LOOKS: u32 = 5;

/// Of `mall cost`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Orders to take one after the other
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,
    /// Take as many again, so many at a time, to see what batches save; 1 for not
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=i64::from(run::WORKERS)))]
    at_once: u16,
    /// Products in a basket, two pieces of each, and each of another store
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(run::STORES)))]
    products: u16,
    /// Port of the cloud [default: the first free one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Write the numbers there too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables into this document, between its marks, and the counts beside it
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Keep what the meter wrote
    #[arg(long, value_name = "FILE")]
    meter: Option<PathBuf>,
}

/// Takes the orders and says what they cost.
pub async fn run(repo: &Repo, options: &Options) -> Result<()> {
    // Before the minutes it takes, not after.
    let document = options.write.as_deref().map(|path| report::MARKS.open(path)).transpose()?;
    cloud::sweep_tests(repo);
    let home = repo.test_home(std::process::id());
    files::make_dir(&home.logs())?;
    let file = home.dir().join("meter.jsonl");
    // Stops the cloud when it is dropped.
    let temporary = Temporary::metered(repo, &home, options.port, &file).await?;
    let target = Target::Local(temporary.cloud.clone());
    target.reach().await?;
    let how = How::Here { release: false };
    let stack = deploy::run(repo, &home, &target, how, &deploy::Options::default()).await?;
    let taken = LocalSet::new().run_until(orders(&target, &stack, options, &file)).await;
    drop(temporary);
    let meter = Meter::read(&file)?;
    if let Some(path) = &options.meter {
        files::copy(&file, path)?;
    }
    files::remove_dir(home.dir())?;
    let report = taken?.report(repo, options, &meter)?;

    report.lines().into_iter().for_each(ui::line);
    if let Some(path) = &options.json {
        files::write(path, report.json().as_bytes())?;
        ui::line(format!("  The same as JSON: {}", path.display()));
    }
    if let (Some(document), Some(path)) = (document, &options.write) {
        document.write(&report.markdown())?;
        files::write_json(&path.with_file_name(counts::FILE), &report.counts())?;
    }
    Ok(())
}

/// When what was done.
struct Taken {
    /// Orders one by one, then many at a time, then looks: from each to the next.
    quiet: Moment,
    busy: Moment,
    looks: Vec<(&'static str, u32, Moment)>,
    end: Moment,
}

async fn orders(
    target: &Target,
    stack: &crate::stack::Stack,
    options: &Options,
    file: &Path,
) -> Result<Taken> {
    let task = ui::task("Opening stores");
    let mall = Rc::new(Mall::open(target, stack, options.at_once, options.products).await?);
    until_quiet(file).await?;
    // The first order of all is not counted: functions log more when they start.
    mall.take_orders(1, 1, "Taking a first order").await?;
    until_quiet(file).await?;
    task.done("Stores are open, and a first order was taken");

    let quiet = Moment::now();
    let ids = mall.take_orders(options.orders, 1, "Taking orders one by one").await?;
    until_quiet(file).await?;
    let busy = Moment::now();
    if options.at_once > 1 {
        let title = format!("Taking orders {} at a time", options.at_once);
        mall.take_orders(options.orders, options.at_once, &title).await?;
        until_quiet(file).await?;
    }
    let task = ui::task("Looking as shoppers do");
    let mut looks = Vec::new();
    for look in ids.first().map(|order| mall.looks(*order)).unwrap_or_default() {
        looks.push((look.name, look.times, Moment::now()));
        mall.look(&look, LOOKS).await?;
    }
    until_quiet(file).await?;
    drop(task);
    Ok(Taken { quiet, busy, looks, end: Moment::now() })
}

impl Taken {
    fn report(&self, repo: &Repo, options: &Options, meter: &Meter) -> Result<Report> {
        let template = repo.template();
        let template = std::fs::read_to_string(&template).map_err(Error::file("cannot read", &template))?;
        let bill = |from, until| Bill::of(&meter.between(from, until), ASSUMED, access_line(&template));
        let first_look = self.looks.first().map_or(self.end, |look| look.2);
        let run = |at_once, from, until| Run { orders: options.orders, at_once, bill: bill(from, until) };
        let ends = self.looks.iter().skip(1).map(|look| look.2).chain([self.end]);
        let looks = self.looks.iter().zip(ends).map(|(&(name, times, from), until)| Looked {
            name,
            times,
            bill: bill(from, until).divided_by(f64::from(LOOKS)),
        });
        let clock = Bill::of(&meter.by_the_clock(), ASSUMED, 0);
        let runs = clock.invocations;
        let report = Report {
            quiet: run(1, self.quiet, self.busy),
            busy: (options.at_once > 1).then(|| run(options.at_once, self.busy, first_look)),
            looks: looks.collect(),
            standing: Standing::of(repo.root())?,
            scheduled: (runs > 0).then(|| clock.divided_by(count(runs))),
            products: options.products,
        };
        match report.quiet.bill.not_understood.iter().chain(&clock.not_understood).next() {
            Some(request) => Err(Error::NotBilled { request: request.clone() }),
            None => Ok(report),
        }
    }
}
