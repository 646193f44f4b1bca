//! Child processes: each has a time-out and a process group of its own, and none is left behind, also when
//! `mall` is interrupted (dropping a run stops its group).

use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Split},
    process::Command,
};

use crate::{
    errors::{Error, Result},
    files,
};

/// How long a group may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long to read on when the program has ended but something it started still holds its output.
const AFTERGLOW: Duration = Duration::from_secs(1);

/// A program to be run to its end.
pub struct Run {
    command: Command,
    what: String,
    limit: Duration,
    log: Option<PathBuf>,
}

/// How a program ended.
pub struct Finished {
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stdout and stderr, in the order of arrival.
    pub output: String,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

impl Run {
    /// `what` names it in messages.
    pub fn new(program: impl AsRef<OsStr>, what: impl Into<String>, limit: Duration) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Self { command, what: what.into(), limit, log: None }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub fn envs(mut self, vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        self.command.envs(vars);
        self
    }

    pub fn without_env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        for name in names {
            self.command.env_remove(name);
        }
        self
    }

    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Keeps all output in a file.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Runs it without looking at what it says.
    pub async fn quietly(self) -> Result<Finished> {
        self.watched(|_, _| {}).await
    }

    /// Runs it and shows each line to `see`.
    pub async fn watched(mut self, mut see: impl FnMut(Stream, &str)) -> Result<Finished> {
        let mut log = match &self.log {
            None => None,
            Some(path) => {
                if let Some(dir) = path.parent() {
                    files::make_dir(dir)?;
                }
                Some(File::create(path).map_err(Error::file("cannot write", path))?)
            }
        };
        let mut child = self.command.spawn().map_err(|source| Error::CannotStart {
            program: Path::new(self.command.as_std().get_program()).display().to_string(),
            source,
        })?;
        let _group = child.id().map(Group::of);

        let mut out = child.stdout.take().map(lines);
        let mut err = child.stderr.take().map(lines);
        let mut finished = None;
        let (mut stdout, mut output) = (String::new(), String::new());
        let deadline = tokio::time::sleep(self.limit);
        tokio::pin!(deadline);
        let status = loop {
            if let (None, None, Some(status)) = (&out, &err, finished) {
                break status;
            }
            let (from, line) = tokio::select! {
                biased;
                line = next(&mut out), if out.is_some() => (Stream::Out, line),
                line = next(&mut err), if err.is_some() => (Stream::Err, line),
                status = child.wait(), if finished.is_none() => {
                    let status = status.map_err(Error::file("cannot wait for", &self.what))?;
                    finished = Some(status);
                    deadline.as_mut().reset(tokio::time::Instant::now() + AFTERGLOW);
                    continue;
                }
                () = &mut deadline => match finished {
                    Some(status) => break status,
                    None => return Err(Error::TimedOut { what: self.what, limit: self.limit, log: self.log }),
                },
            };
            let Some(line) = line else {
                match from {
                    Stream::Out => out = None,
                    Stream::Err => err = None,
                }
                continue;
            };
            if let Some(log) = &mut log {
                // A full disk must not hide what the program has to say.
                let _ = writeln!(log, "{line}");
            }
            see(from, &line);
            if from == Stream::Out {
                stdout.push_str(&line);
                stdout.push('\n');
            }
            output.push_str(&line);
            output.push('\n');
        };
        Ok(Finished { status, stdout, output })
    }
}

type Lines = Split<BufReader<Box<dyn AsyncRead + Unpin>>>;

fn lines(pipe: impl AsyncRead + Unpin + 'static) -> Lines {
    BufReader::new(Box::new(pipe) as Box<dyn AsyncRead + Unpin>).split(b'\n')
}

/// The next line; a pipe that breaks has ended.
async fn next(lines: &mut Option<Lines>) -> Option<String> {
    let segment = lines.as_mut()?.next_segment().await.ok()??;
    Some(String::from_utf8_lossy(&segment).trim_end_matches('\r').to_owned())
}

/// A process group that is stopped when this is dropped.
pub struct Group(i32);

impl Group {
    /// The group that the process with this id leads.
    pub fn of(pid: u32) -> Self {
        Self(i32::try_from(pid).unwrap_or(0))
    }

    /// Lets it run on.
    pub fn release(mut self) {
        self.0 = 0;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        stop_group(self.0, GRACE);
    }
}

/// Stops all processes of a group: asks, waits, kills. Says whether none is left.
pub fn stop_group(group: i32, grace: Duration) -> bool {
    // Never 0, 1 or below: those would mean our own group or everyone.
    let Some(pid) = Pid::from_raw(group).filter(|_| group > 1) else {
        return true;
    };
    for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(2))] {
        if !group_alive(group) {
            return true;
        }
        if kill_process_group(pid, signal).is_err() {
            return !group_alive(group);
        }
        let started = Instant::now();
        while started.elapsed() < patience {
            if !group_alive(group) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    !group_alive(group)
}

/// Whether any process of the group still runs. One that has ended and waits for its parent does not count.
fn group_alive(group: i32) -> bool {
    let exists = Pid::from_raw(group).is_some_and(|pid| test_kill_process_group(pid).is_ok());
    if !exists || !cfg!(target_os = "linux") {
        return exists;
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .any(|process| process.group == group && !process.ended)
}

/// What tells a process from a later one with the same id: when it started. `None`: there is none, or it has
/// ended.
pub fn identity(pid: u32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let process = stat(pid)?;
        return (!process.ended).then(|| format!("{}@{}", process.started, boot()));
    }
    let said = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let (state, started) = said.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// Whether the machine has run without a break since this identity was taken.
pub fn same_boot(identity: &str) -> bool {
    identity.split_once('@').is_some_and(|(_, taken)| taken == boot())
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// One process, from `/proc/<pid>/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    group: i32,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// See proc_pid_stat(5). The second field is the name in parentheses, and a name may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Run {
        Run::new("sh", "the script", Duration::from_secs(20)).args(["-c", script])
    }

    #[test]
    fn a_process_name_with_parentheses_is_read_past() {
        let text = "77 (we (ird) 1) S 1 77 77 0 -1 4194304 1 0 0 0 5 6 0 0 20 0 1 0 4242 1000 10";
        assert_eq!(parse_stat(text), Some(Stat { ended: false, group: 77, started: 4242 }));
        assert!(parse_stat(&text.replace(" S ", " Z ")).is_some_and(|process| process.ended));
        assert_eq!(parse_stat("rubbish"), None);
    }

    #[test]
    fn our_own_process_has_an_identity_and_an_impossible_one_has_none() {
        let me = identity(std::process::id());
        assert!(me.is_some());
        assert_eq!(me, identity(std::process::id()));
        assert_eq!(identity(u32::MAX - 1), None);
        assert!(me.is_some_and(|me| !cfg!(target_os = "linux") || same_boot(&me)));
        assert!(!same_boot("4242@before-the-restart"));
    }

    #[tokio::test]
    async fn both_streams_are_seen_and_only_stdout_is_kept_apart() {
        let mut seen = Vec::new();
        let run = sh("echo one; sleep 0.1; echo two >&2; exit 3");
        let done = run.watched(|from, line| seen.push((from, line.to_owned()))).await.unwrap();
        assert_eq!(seen, [(Stream::Out, "one".into()), (Stream::Err, "two".into())]);
        assert_eq!((done.stdout.as_str(), done.output.as_str()), ("one\n", "one\ntwo\n"));
        assert_eq!(done.status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_stopped_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let mut run = sh(&script);
        run.limit = Duration::from_millis(500);
        assert!(matches!(run.quietly().await, Err(Error::TimedOut { .. })));
        let grandchild: u32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        assert_eq!(identity(grandchild), None);
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_does_not_keep_us_waiting() {
        let started = Instant::now();
        assert!(sh("sleep 600 & echo done").quietly().await.unwrap().success());
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn a_program_that_closes_its_output_before_it_ends_is_not_waited_for_any_longer() {
        let started = Instant::now();
        assert!(sh("exec >&- 2>&-; sleep 0.2").quietly().await.unwrap().success());
        assert!(started.elapsed() < AFTERGLOW);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let run = Run::new("no-such-program-here", "it", Duration::from_secs(1));
        let error = run.quietly().await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }
}
