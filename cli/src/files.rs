//! Small things with files: whole or not at all, one writer at a time, the end of a log.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::errors::{Error, Result};

/// Makes a directory and those above it.
pub fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::file("cannot make", path))
}

/// Deletes a directory with all in it; one that is not there is fine.
pub fn remove_dir(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("cannot delete", path)(e)),
        _ => Ok(()),
    }
}

/// Deletes a file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("cannot delete", path)(e)),
        _ => Ok(()),
    }
}

/// Writes a file whole: readers see the old content or the new, never a part.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    replace(path, |new| std::fs::write(new, content))
}

/// Puts a copy of `from` at `to`, whole. A process that still runs the old file keeps running it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    replace(to, |new| std::fs::copy(from, new).map(drop))
}

fn replace(path: &Path, fill: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    // Two runs of `mall` at once must not fill the same temporary file.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    fill(&new)
        .and_then(|()| std::fs::rename(&new, path))
        .inspect_err(|_| drop(std::fs::remove_file(&new)))
        .map_err(Error::file("cannot write", path))
}

/// Reads a JSON file; `None` when there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::Damaged { path: path.to_owned(), why: e.to_string() }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("cannot read", path)(e)),
    }
}

/// Writes a JSON file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::Damaged { path: path.to_owned(), why: e.to_string() })?;
    write(path, text.as_bytes())
}

/// A lock that is held as long as this lives. The operating system gives it back when the holder dies.
#[must_use]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

/// Waits for the lock at `path`.
pub async fn lock(path: &Path, limit: Duration) -> Result<Lock> {
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    let file = File::create(path).map_err(Error::file("cannot open", path))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) if started.elapsed() < limit => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { path: path.to_owned(), waited: limit });
            }
            Err(TryLockError::Error(e)) => return Err(Error::file("cannot lock", path)(e)),
        }
    }
}

/// The last `count` lines of a log that say something.
pub fn tail(path: &Path, count: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), count)
}

/// The last `count` lines of a text that say something.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_what_says_something() {
        assert_eq!(last_lines("a\n\nb\n  \nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
        assert_eq!(last_lines("", 5), "");
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state.json");
        write_json(&path, &1).unwrap();
        write_json(&path, &2).unwrap();
        assert_eq!(read_json::<u8>(&path).unwrap(), Some(2));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_state_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.json");
        assert_eq!(read_json::<u8>(&path).unwrap(), None);
        write(&path, b"{").unwrap();
        let error = read_json::<u8>(&path).unwrap_err();
        assert!(error.to_string().contains("cloud.json"), "{error}");
    }

    #[tokio::test]
    async fn a_second_holder_waits_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path, Duration::ZERO).await.unwrap();
        assert!(matches!(lock(&path, Duration::ZERO).await, Err(Error::Locked { .. })));
        drop(held);
        assert!(lock(&path, Duration::ZERO).await.is_ok());
    }
}
