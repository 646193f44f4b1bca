//! How `mall` speaks: results on stdout, progress on stderr, colours only where they are wanted.
//!
//! On a terminal, work in progress is a spinner that vanishes when it is done. Anywhere else (CI, a pipe) it
//! is a plain line now and then, so that a log stays readable and nobody thinks it hangs.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    io::Write,
    time::{Duration, Instant},
};

use console::{StyledObject, Term, measure_text_width, style};
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, a task that takes long says so this often.
const HEARTBEAT: Duration = Duration::from_secs(20);

thread_local! {
    /// The spinner on the screen, if any: lines have to go above it.
    static SPINNER: RefCell<Option<ProgressBar>> = const { RefCell::new(None) };
}

/// A line on stdout. A reader that has gone away (`mall logs | head`) ends the program quietly.
pub fn line(text: impl Display) {
    let write = || {
        if writeln!(std::io::stdout(), "{text}").is_err() {
            std::process::exit(0);
        }
    };
    above_spinner(write);
}

/// A line on stderr.
pub fn note(text: impl Display) {
    above_spinner(|| {
        // If even stderr is gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{text}");
    });
}

fn above_spinner(write: impl FnOnce()) {
    let bar = SPINNER.with_borrow(Clone::clone);
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A heading.
pub fn heading(text: impl Display) {
    line("");
    line(style(text).bold());
}

/// Good news.
pub fn good<D>(text: D) -> StyledObject<D> {
    style(text).green()
}

/// Bad news.
pub fn bad<D>(text: D) -> StyledObject<D> {
    style(text).red().bold()
}

/// Something to notice.
pub fn warn<D>(text: D) -> StyledObject<D> {
    style(text).yellow()
}

/// Something of lesser interest.
pub fn dim<D>(text: D) -> StyledObject<D> {
    style(text).dim()
}

/// Work in progress.
pub struct Task {
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
    last_beat: Cell<Instant>,
}

/// Begins a task: "Building the functions".
pub fn task(title: impl Into<String>) -> Task {
    let title = title.into();
    let started = Instant::now();
    let bar = Term::stderr().is_term().then(|| {
        let bar = ProgressBar::new_spinner();
        // The template is a constant that indicatif accepts; were it not, its default would do.
        if let Ok(look) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(look);
        }
        bar.set_message(title.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        SPINNER.set(Some(bar.clone()));
        bar
    });
    Task { title, started, bar, last_beat: Cell::new(started) }
}

impl Task {
    /// Shows what it is at.
    pub fn at(&self, detail: &str) {
        let detail = detail.trim();
        if detail.is_empty() {
            return;
        }
        match &self.bar {
            Some(bar) => {
                let room =
                    usize::from(Term::stderr().size().1).saturating_sub(measure_text_width(&self.title) + 14);
                let detail = console::truncate_str(detail, room, "…");
                bar.set_message(format!("{} {}", self.title, dim(detail)));
            }
            None if self.last_beat.get().elapsed() >= HEARTBEAT => {
                self.last_beat.set(Instant::now());
                note(format!("  … {} ({}): {detail}", self.title, duration(self.started.elapsed())));
            }
            None => {}
        }
    }

    /// It worked: `result` takes the place of the spinner.
    pub fn done(self, result: impl Display) {
        let took = duration(self.started.elapsed());
        drop(self);
        line(format!("{} {result} {}", good("✓"), dim(took)));
    }
}

/// Ends with the task, however it ends.
impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            SPINNER.set(None);
            bar.finish_and_clear();
        }
    }
}

/// `850 ms`, `3.2 s`, `4 min 05 s`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

/// Rows in columns, each as wide as its widest cell. The first row is the header.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let render = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| console::pad_str(cell, *width, console::Alignment::Left, None).into_owned());
        format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut lines: Vec<String> = rows.iter().map(render).collect();
    if let Some(header) = lines.first_mut() {
        *header = dim(header.clone()).to_string();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        assert_eq!(duration(Duration::from_millis(0)), "0 ms");
        assert_eq!(duration(Duration::from_millis(999)), "999 ms");
        assert_eq!(duration(Duration::from_millis(3_249)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(59)), "59.0 s");
        assert_eq!(duration(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn a_table_aligns_its_columns_and_bears_short_rows() {
        console::set_colors_enabled(false);
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let lines = table(&[row(&["step", "time"]), row(&["a long one", "1 s"]), row(&["b"])]);
        assert_eq!(lines, ["  step        time", "  a long one  1 s", "  b"]);
        assert!(table(&[]).is_empty());
    }
}
