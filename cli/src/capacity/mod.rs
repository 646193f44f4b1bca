//! `mall capacity`: the orders a second at which each limit bites, computed from counts, templates and
//! quotas.
//!
//! | module | the idea |
//! | --- | --- |
//! | `counts` | the use of AWS by one order, as `mall cost` counted it |
//! | `settings` | the settings in the templates that decide throughput |
//! | `quotas` | the default quotas of AWS by region, with their sources |
//! | `model` | the arithmetic |
//! | `plan` | parameters and quotas for a rate |
//! | `scale` | batch size and concurrency of every consumer |
//! | `report` | the tables |
//!
//! docs/CAPACITY.md says how far this can be trusted.

#[cfg(test)]
mod by_hand;
pub mod counts;
mod model;
mod plan;
mod quotas;
mod report;
mod scale;
mod settings;

use std::path::{Path, PathBuf};

use self::{
    counts::Counts,
    model::{ASSUMED, Load, System},
    quotas::Quotas,
    report::{MARKS, Report},
    settings::Settings,
};
use crate::{errors::Result, paths::Repo, ui};

/// The function that publishes the commits. A stream feeds it, and no queue.
const RELAY: &str = "relay";
/// The share of orders with the best-selling product, unless it is given.
const HOTTEST: f64 = 0.05;
/// One order in ten is undone, by a machine that needs less than a minute.
const UNDONE: f64 = 0.1;
const UNDO_SECONDS: f64 = 60.0;
const REGION: &str = "us-east-1";

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Mark the limits that bite below so many orders a second
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Region whose default quotas count
    #[arg(long, value_name = "REGION", default_value = REGION)]
    region: String,
    /// Share of orders that have the best-selling product in them
    #[arg(long, value_name = "SHARE", default_value_t = HOTTEST, value_parser = share)]
    hottest: f64,
    /// Write the tables into this document, between its marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Put batch sizes and concurrencies into the templates, as the scale table has them
    #[arg(long)]
    scale: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or("more than 0".into())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or("more than 0, at most 1".into())
}

/// Computes the limits, shows them, and writes them where it is told to.
///
/// # Errors
/// If counts or templates cannot be read, or a file cannot be written.
pub fn run(repo: &Repo, options: &Options) -> Result<()> {
    let document = options.write.as_deref().map(|path| MARKS.open(path)).transpose()?;
    let counts = counts(repo.root())?;
    if options.scale {
        let consumers = Settings::of(repo.root())?.consumers;
        let mappings = scale::mappings(&counts, &consumers, scale::ORDERS_PER_SECOND);
        let changes = scale::write(repo.root(), &mappings)?;
        ui::line(format!("  {} numbers changed in the templates", changes.len()));
        changes.into_iter().for_each(ui::line);
    }
    let settings = Settings::of(repo.root())?;
    let report = Report::of(&options.region, system(&counts, settings, &options.region, options.hottest));
    report.lines(options.rate).into_iter().for_each(ui::line);
    if let Some(document) = document {
        document.write(&report.markdown())?;
    }
    Ok(())
}

/// Reads the counts of a checkout, as they would be on AWS.
fn counts(root: &Path) -> Result<Counts> {
    let mut counts = Counts::of(root)?;
    counts.apart();
    scale::complete(&mut counts);
    Ok(counts)
}

fn system<'a>(counts: &'a Counts, settings: Settings, region: &str, hottest: f64) -> System<'a> {
    let load = Load { looks: true, hottest, undone: UNDONE, open_seconds: UNDO_SECONDS };
    System { counts, settings, quotas: Quotas::of(region), load, assumed: ASSUMED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_model_says() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let counts = counts(root).unwrap();
        let report = Report::of(REGION, system(&counts, Settings::of(root).unwrap(), REGION, HOTTEST));
        let document = std::fs::read_to_string(root.join("docs/CAPACITY.md")).unwrap();
        let made = MARKS.fill(&document, &report.markdown()).expect("a place for the tables");
        assert!(made == document, "stale: cargo mall capacity --write docs/CAPACITY.md");
    }
}
