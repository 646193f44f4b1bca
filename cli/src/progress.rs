//! Work of known size: a bar on a terminal, a line now and then anywhere else.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ui;

/// Without a terminal, it says this often how far it is.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Progress of something that is counted.
pub struct Progress {
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
    done: Cell<u64>,
    total: u64,
    last_beat: Cell<Instant>,
}

/// Begins. `total` may be an estimate; 0 when nobody knows.
pub fn begin(title: impl Into<String>, total: u64) -> Progress {
    let title = title.into();
    let started = Instant::now();
    let bar = Term::stderr().is_term().then(|| {
        let bar = ProgressBar::new(total);
        let look = if total == 0 {
            "{spinner:.cyan} {msg} {pos} ({per_sec}) {elapsed:.dim}"
        } else {
            "{msg} {bar:30.cyan} {pos} of {len} ({per_sec}, {eta} left)"
        };
        // The template is a constant that indicatif accepts; were it not, its default would do.
        if let Ok(look) = ProgressStyle::with_template(look) {
            bar.set_style(look);
        }
        bar.set_message(title.clone());
        bar
    });
    Progress { title, started, bar, done: Cell::new(0), total, last_beat: Cell::new(started) }
}

impl Progress {
    /// So many more are done.
    pub fn more(&self, count: u64) {
        self.done.set(self.done.get() + count);
        match &self.bar {
            Some(bar) => {
                // An estimate that was too small.
                if (1..self.done.get()).contains(&self.total) {
                    bar.set_length(self.done.get());
                }
                bar.set_position(self.done.get());
            }
            None if self.last_beat.get().elapsed() >= HEARTBEAT => {
                self.last_beat.set(Instant::now());
                ui::note(format!("  … {}: {}, {}", self.title, self.done.get(), self.rate()));
            }
            None => {}
        }
    }

    /// How fast it went so far.
    pub fn rate(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        format!("{:.0}/s", self.done.get() as f64 / seconds)
    }
}

/// Ends with the work, however it ends.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
