//! What happened, in the order in which it happened.
//!
//! Streams are read one after the other, a little after the fact. Entries are therefore held back for a
//! moment and told in the order of their own times; one that comes later still is told late, but never lost.

use std::time::Duration;

use jiff::{Timestamp, ToSpan};

use crate::ui;

/// Time that an entry waits for earlier ones. Longer than it takes to read all streams once.
const PATIENCE_MS: i64 = 600;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at: Timestamp,
    /// The stream, shortened; empty for a request.
    pub source: String,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A request was made (and answered since).
    Request { line: String, status: u16, took: Duration },
    /// An event was committed.
    Event { version: u64, event_type: String, detail: String },
}

impl Entry {
    /// By time; what causes before what is caused when times are equal, and each source in its own order.
    fn order(&self) -> (Timestamp, u8, u64) {
        let (rank, number) = match &self.what {
            What::Request { .. } => (1, 0),
            What::Event { version, .. } => (2, *version),
        };
        (self.at, rank, number)
    }

    /// As a line on the screen.
    pub fn line(&self) -> String {
        let time = ui::dim(self.at.strftime("%H:%M:%S%.3f").to_string());
        let source = console::pad_str(&self.source, 28, console::Alignment::Left, None).into_owned();
        match &self.what {
            What::Request { line, status, took } => {
                let status = if *status == 200 { ui::dim(*status) } else { ui::bad(*status) };
                format!("  {time}  {line}  {status} {}", ui::dim(ui::duration(*took)))
            }
            What::Event { version, event_type, detail } => {
                let version = format!("v{version}");
                let event = console::style(event_type).cyan();
                format!("  {time}    {source} {version:<3} {event}  {}", ui::dim(detail))
                    .trim_end()
                    .to_owned()
            }
        }
    }
}

/// Entries that wait to be told.
#[derive(Debug, Default)]
pub struct Timeline {
    waiting: Vec<Entry>,
}

impl Timeline {
    pub fn add(&mut self, entry: Entry) {
        self.waiting.push(entry);
    }

    /// Those that need not wait any longer at `now`.
    pub fn ready(&mut self, now: Timestamp) -> Vec<Entry> {
        let until = now.checked_sub(PATIENCE_MS.milliseconds()).unwrap_or(Timestamp::MIN);
        let (mut ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|e| e.at <= until);
        self.waiting = waiting;
        sort(&mut ready);
        ready
    }

    /// All that are left.
    pub fn rest(&mut self) -> Vec<Entry> {
        let mut rest = std::mem::take(&mut self.waiting);
        sort(&mut rest);
        rest
    }
}

fn sort(entries: &mut [Entry]) {
    entries.sort_by_key(Entry::order);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + millisecond).unwrap()
    }

    fn event(millisecond: i64, version: u64) -> Entry {
        let what = What::Event { version, event_type: "E".into(), detail: String::new() };
        Entry { at: at(millisecond), source: "s".into(), what }
    }

    fn request(millisecond: i64) -> Entry {
        let what = What::Request { line: "l".into(), status: 200, took: Duration::ZERO };
        Entry { at: at(millisecond), source: String::new(), what }
    }

    #[test]
    fn sources_that_are_read_at_different_times_are_merged_by_time() {
        let mut timeline = Timeline::default();
        for entry in [event(30, 2), event(10, 1), request(20), request(5)] {
            timeline.add(entry);
        }
        assert_eq!(timeline.ready(at(10_000)), [request(5), event(10, 1), request(20), event(30, 2)]);
    }

    #[test]
    fn events_of_one_commit_keep_the_order_of_their_versions() {
        let mut timeline = Timeline::default();
        for version in [3, 1, 2] {
            timeline.add(event(0, version));
        }
        timeline.add(request(0));
        assert_eq!(timeline.rest(), [request(0), event(0, 1), event(0, 2), event(0, 3)]);
    }

    #[test]
    fn an_entry_waits_for_earlier_ones_but_not_for_ever() {
        let mut timeline = Timeline::default();
        timeline.add(event(1000, 1));
        assert_eq!(timeline.ready(at(1100)), []);
        timeline.add(request(900));
        assert_eq!(timeline.ready(at(1700)), [request(900), event(1000, 1)]);
        assert_eq!(timeline.rest(), []);
    }
}
