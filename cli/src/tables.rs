//! Tables that are shown in a terminal and kept in a document, between two marks.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use crate::{
    errors::{Error, Result},
    files, ui,
};

/// A table with its title. The first row is the header.
pub struct Shown {
    pub title: String,
    pub rows: Vec<Vec<String>>,
}

impl Shown {
    /// The lines to show in a terminal.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new(), format!("  {}", self.title)];
        lines.extend(ui::table(&self.rows));
        lines
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("\n### {}\n\n", self.title);
        for (number, row) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if number == 0 {
                let rule: Vec<&str> = row.iter().map(|_| "---").collect();
                let _ = writeln!(text, "| {} |", rule.join(" | "));
            }
        }
        text
    }
}

/// The lines between which a document has tables that a command makes.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    pub begin: &'static str,
    pub end: &'static str,
}

impl Marks {
    /// Fills the place between the marks; `None` if the document has none.
    pub fn fill(self, document: &str, text: &str) -> Option<String> {
        let (before, rest) = document.split_once(self.begin)?;
        let (_, after) = rest.split_once(self.end)?;
        Some(format!("{before}{}\n\n{text}\n{}{after}", self.begin, self.end))
    }

    /// Reads a document that has a place for tables.
    ///
    /// # Errors
    /// If it cannot be read, or has no such place.
    pub fn open(self, path: &Path) -> Result<Document> {
        let text = std::fs::read_to_string(path).map_err(Error::file("cannot read", path))?;
        match self.fill(&text, "") {
            Some(_) => Ok(Document { path: path.to_owned(), text, marks: self }),
            None => {
                let marks = format!("{} … {}", self.begin, self.end);
                Err(Error::NoPlace { path: path.to_owned(), marks })
            }
        }
    }
}

/// A document with a place for tables.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
    marks: Marks,
}

impl Document {
    /// Writes it with the tables made anew.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, tables: &str) -> Result<()> {
        // It has a place: `open` looked.
        let text = self.marks.fill(&self.text, tables).unwrap_or_default();
        files::write(&self.path, text.as_bytes())?;
        ui::line(format!("  Written into {}", self.path.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { begin: "<!-- from here -->", end: "<!-- to here -->" };

    #[test]
    fn what_was_written_by_hand_stays() {
        let document = "# Costs\n\n<!-- from here -->\nold\n<!-- to here -->\n\nby hand\n";
        let written = MARKS.fill(document, "new").unwrap();
        assert!(written.starts_with("# Costs\n") && written.ends_with("\n\nby hand\n"));
        assert!(!written.contains("old") && written.contains("new"));
        assert_eq!(MARKS.fill(&written, "new").as_deref(), Some(&*written), "twice is once");
        assert_eq!(MARKS.fill("# Something else", "new"), None);
    }
}
