//! What `mall shoppers` can be asked for.

use std::{ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use jiff::SignedDuration;

use crate::target::Choice;

/// How long shoppers shop when nothing is said.
const USUAL: Duration = Duration::from_secs(60);

/// Of `mall shoppers`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub choice: Choice,
    /// Shoppers and shopkeepers at the same time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub clients: u16,
    /// How long they go on, such as 30s or 2m [default: 60s; with --orders, until those are placed]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasts: Option<Duration>,
    /// Bots that collect what was ordered
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=50))]
    pub bots: u16,
    /// Customers who pay at once for what is ready
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=50))]
    pub payers: u16,
    /// End after this many checkouts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub orders: Option<u32>,
    /// Repeats the decisions of an earlier run [default: another one each time; the report tells it]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Of a hundred shoppers, so many pay too little
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub refused: u8,
    /// Every second, kill so many of a hundred processes of functions, at least one; only on the local cloud
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub kill: u8,
    /// Time between two things that a client does: from and to, or 0 for none
    #[arg(long, value_name = "MIN..MAX", default_value = "0.5s..2s")]
    pub pause: Pause,
    /// Write the report's numbers there too, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Options {
    /// When shopping ends, if not by the number of orders.
    pub fn lasts(&self) -> Option<Duration> {
        self.lasts.or_else(|| self.orders.is_none().then_some(USUAL))
    }
}

/// Between this and that many milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause(pub RangeInclusive<u64>);

impl FromStr for Pause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (from, to) = (milliseconds(from)?, milliseconds(to)?);
        if from > to {
            return Err("the shorter time comes first".into());
        }
        Ok(Self(from..=to))
    }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    u64::try_from(time(text)?.as_millis()).map_err(|_| format!("{text} is too long"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = time(text)?;
    if found.is_zero() { Err("it has to be longer than nothing".into()) } else { Ok(found) }
}

/// `30s`, `2m`, `1h 30m`; a bare number is in seconds.
fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let bare = text.ends_with(|c: char| c.is_ascii_digit());
    let text = if bare { format!("{text}s") } else { text.to_owned() };
    let parsed: SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    parsed.try_into().map_err(|_| "time does not run backwards".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = std::iter::once("shoppers").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options).map_err(|e| e.to_string())
    }

    #[test]
    fn without_arguments_it_is_a_minute_of_five_clients() {
        let options = parse("").unwrap();
        assert_eq!((options.clients, options.bots, options.payers, options.refused), (5, 2, 2, 10));
        assert_eq!(options.lasts(), Some(Duration::from_secs(60)));
        assert_eq!(options.pause, Pause(500..=2000));
        assert_eq!((options.orders, options.seed, options.json), (None, None, None));
    }

    #[test]
    fn a_number_of_orders_is_not_cut_short_by_the_usual_minute() {
        assert_eq!(parse("--orders 2000").unwrap().lasts(), None);
        assert_eq!(parse("--orders 2000 --for 2m").unwrap().lasts(), Some(Duration::from_secs(120)));
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, seconds) in [("30s", 30.0), ("2m", 120.0), ("1m30s", 90.0), ("500ms", 0.5), ("10", 10.0)] {
            let found = parse(&format!("--for {text}")).unwrap().lasts();
            assert_eq!(found, Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["0", "0s", "soon", "30x", ""] {
            assert!(parse(&format!("--for={text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pause_is_a_range_or_none() {
        let pause = |text: &str| text.parse::<Pause>();
        assert_eq!(pause("0").unwrap(), Pause(0..=0));
        assert_eq!(pause("100ms..1s").unwrap(), Pause(100..=1000));
        assert_eq!(pause("0.5..2").unwrap(), Pause(500..=2000));
        assert!(pause("2s..1s").is_err());
        assert!(pause("..").is_err());
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_before_anything_starts() {
        for line in ["--clients 0", "--clients 101", "--refused 101", "--orders 0", "--bots -1", "--seed x"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--clients 100 --refused 100 --bots 0 --payers 0").unwrap().clients, 100);
    }
}
