//! The local cloud: one emulator process with IAM enforced (infra/local/cloud.py), started in a process group of its
//! own, remembered in `cloud.json`, and stopped by id.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    errors::{ANOTHER_CLOUD, ANOTHER_PROGRAM, Error, Result},
    files,
    paths::{Home, Repo},
    ports, process, python, ui,
};

/// Two seconds are usual; a busy machine with a cold disk may need ten times that.
const START: Duration = Duration::from_secs(90);

/// How long the emulator may take to put its functions away.
const STOP: Duration = Duration::from_secs(8);

/// An emulator that is well answers at once, but not while it deploys on a busy machine.
const HEALTH: Duration = Duration::from_secs(5);

const WAIT_FOR_OTHERS: Duration = Duration::from_secs(120);

/// A running emulator, as `cloud.json` remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cloud {
    /// Process id, and id of its process group.
    pub pid: u32,
    /// Tells this process from a later one with the same id.
    pub identity: String,
    pub port: u16,
    /// When it was started.
    pub since: Timestamp,
}

/// What became of the cloud that was started last.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// None was started, or it was stopped properly.
    Nothing,
    /// It ended without being stopped.
    Dead(Cloud),
    /// Its process runs.
    Running(Cloud),
}

impl Cloud {
    pub fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    fn group(&self) -> i32 {
        i32::try_from(self.pid).unwrap_or(0)
    }

    /// Stops functions that outlived their emulator. Nothing is touched when the id belongs to someone else by now, or
    /// may have since the machine was started again.
    fn stop_orphans(&self) {
        if process::identity(self.pid).is_none() && process::same_boot(&self.identity) {
            process::stop_group(self.group(), STOP);
        }
    }

    /// Stops it with all that it started.
    fn stop(&self) -> Result<()> {
        if process::stop_group(self.group(), STOP) {
            Ok(())
        } else {
            Err(Error::Unkillable { group: self.group() })
        }
    }
}

/// The address of an emulator on this machine. Not `localhost`: that may resolve to ::1 first, where nobody listens.
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A proxy that the user needs for the world outside must not be asked for this machine.
pub fn no_proxy() -> String {
    let own = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).unwrap_or_default();
    [own.as_str(), "127.0.0.1", "localhost"]
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(",")
}

/// Looks for the cloud of `home`.
pub fn find(home: &Home) -> Result<Found> {
    let remembered = files::read_json(&home.cloud())?;
    Ok(judge(remembered, process::identity))
}

/// A process with the remembered id is ours only if it also started when ours did.
fn judge(remembered: Option<Cloud>, identity: impl Fn(u32) -> Option<String>) -> Found {
    match remembered {
        None => Found::Nothing,
        Some(cloud) if identity(cloud.pid).as_ref() == Some(&cloud.identity) => Found::Running(cloud),
        Some(cloud) => Found::Dead(cloud),
    }
}

/// The running cloud of `home`, or why there is none.
pub fn running(home: &Home) -> Result<Cloud> {
    match find(home)? {
        Found::Running(cloud) => Ok(cloud),
        Found::Dead(_) => Err(Error::CloudGone { log: home.log("cloud") }),
        Found::Nothing => Err(Error::NoCloud),
    }
}

/// Has the cloud of `home` up and healthy: finds it so, or starts it. `port`: on this one and no other; otherwise the
/// usual one.
pub async fn up(repo: &Repo, home: &Home, port: Option<u16>) -> Result<Cloud> {
    python::ensure(repo).await?;
    let _lock = files::lock(&home.dir().join("cloud.lock"), WAIT_FOR_OTHERS).await?;
    match find(home)? {
        Found::Running(cloud) => {
            if let Some(asked) = port.filter(|asked| *asked != cloud.port) {
                return Err(Error::RunsElsewhere { running: cloud.port, asked });
            }
            if healthy(&cloud.endpoint()).await.is_ok() {
                ui::line(format!(
                    "{} The local cloud runs on port {} (pid {})",
                    ui::good("✓"),
                    cloud.port,
                    cloud.pid
                ));
                return Ok(cloud);
            }
            ui::note(format!(
                "{} the local cloud (pid {}) does not answer: it is restarted",
                ui::warn("!"),
                cloud.pid
            ));
            cloud.stop()?;
        }
        Found::Dead(cloud) => {
            ui::note(format!(
                "{} the local cloud (pid {}) ended without `cargo mall down`: what was deployed to it is gone",
                ui::warn("!"),
                cloud.pid
            ));
            cloud.stop_orphans();
        }
        Found::Nothing => {}
    }
    forget(home)?;
    start(repo, home, port.unwrap_or(ports::USUAL), Extras::default()).await
}

/// What an emulator does besides being the cloud.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Tests may inject faults, steered over this port.
    pub faults: Option<u16>,
    /// It counts into this file what AWS would bill.
    pub meter: Option<&'a Path>,
}

/// Starts an emulator on `port`.
pub async fn start(repo: &Repo, home: &Home, port: u16, extras: Extras<'_>) -> Result<Cloud> {
    if !ports::is_free(port) {
        let emulator = healthy(&endpoint(port)).await.is_ok();
        let by = if emulator { ANOTHER_CLOUD } else { ANOTHER_PROGRAM };
        return Err(Error::PortTaken { port, by });
    }
    let task = ui::task("Starting the local cloud");
    let log = home.log("cloud");
    files::make_dir(&home.logs())?;
    files::remove_dir(&home.tmp())?;
    files::make_dir(&home.tmp())?;
    let output = File::create(&log).map_err(Error::file("cannot write", &log))?;
    let errors = output.try_clone().map_err(Error::file("cannot write", &log))?;
    let interpreter = repo.venv_bin(python::CLOUD, "python");
    let mut child = std::os::unix::process::CommandExt::process_group(
        Command::new(&interpreter)
            .arg(repo.local("cloud.py"))
            .args(["--port", &port.to_string()])
            .args(extras.faults.iter().flat_map(|port| ["--faults".to_owned(), port.to_string()]))
            .args(extras.meter.iter().flat_map(|file| [std::ffi::OsStr::new("--meter"), file.as_os_str()]))
            .current_dir(repo.root())
            .env("TMPDIR", home.tmp())
            // Listeners for services that Mallard does not use; their fixed ports would meet those of a second cloud.
            .envs([("IOT_MTLS_ENABLED", "0"), ("SFTP_ENABLED", "0")])
            .env("NO_PROXY", no_proxy())
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors),
        0,
    )
    .spawn()
    .map_err(|source| Error::CannotStart { program: interpreter.display().to_string(), source })?;

    // Until it is known to be well, it does not outlive us.
    let guard = process::Group::of(child.id());
    let cloud = Cloud {
        pid: child.id(),
        identity: process::identity(child.id()).unwrap_or_default(),
        port,
        since: Timestamp::now(),
    };
    let started = Instant::now();
    loop {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return Err(Error::CloudDied { tail: files::tail(&log, 6), log });
        }
        if healthy(&cloud.endpoint()).await.is_ok() {
            break;
        }
        if started.elapsed() > START {
            return Err(Error::CloudSilent { port, limit: START, log });
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    files::write_json(&home.cloud(), &cloud)?;
    guard.release();
    // Reaps it when it ends, should that be before we do.
    std::thread::spawn(move || child.wait());
    task.done(format!("The local cloud is up on port {port}, with IAM enforced"));
    Ok(cloud)
}

/// Stops the cloud of `home`. Returns whether there was one.
pub fn down(home: &Home) -> Result<bool> {
    let found = find(home)?;
    let was_there = match &found {
        Found::Running(cloud) => {
            cloud.stop()?;
            true
        }
        Found::Dead(cloud) => {
            cloud.stop_orphans();
            false
        }
        Found::Nothing => false,
    };
    forget(home)?;
    Ok(was_there)
}

/// With the emulator goes all that was deployed to it. A stack elsewhere stays known.
fn forget(home: &Home) -> Result<()> {
    files::remove(&home.cloud())?;
    files::remove_dir(&home.tmp())
}

/// Whether a LocalStack-compatible cloud answers at `endpoint`.
pub async fn healthy(endpoint: &str) -> Result<()> {
    let silent = |e: reqwest::Error| Error::EndpointSilent { url: endpoint.to_owned(), why: plain(&e) };
    let client = reqwest::Client::builder().timeout(HEALTH).no_proxy().build().map_err(silent)?;
    let url = format!("{}/_localstack/health", endpoint.trim_end_matches('/'));
    client.get(url).send().await.and_then(reqwest::Response::error_for_status).map(drop).map_err(silent)
}

/// The root of an HTTP error: what is above it only repeats the address.
pub fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Puts away clouds of test runs that were killed before they could do it themselves.
pub fn sweep_tests(repo: &Repo) {
    for (pid, home) in repo.test_homes() {
        if process::identity(pid).is_none() && down(&home).is_ok() {
            // What cannot be deleted now is deleted next time.
            let _ = files::remove_dir(home.dir());
        }
    }
}

/// A cloud that goes when this goes: also on a panic, an error or Ctrl-C.
pub struct Temporary {
    pub cloud: Cloud,
    home: Home,
    keep: bool,
}

impl Temporary {
    /// Starts a cloud on a free port. Two runs may choose the same port at the same moment; the later one tries again.
    pub async fn start(repo: &Repo, home: &Home) -> Result<Self> {
        let (cloud, ()) = Self::on_a_free_port(repo, home, |_| Ok((Extras::default(), ()))).await?;
        Ok(cloud)
    }

    /// The same, with the port over which faults are asked for.
    pub async fn start_with_faults(repo: &Repo, home: &Home) -> Result<(Self, u16)> {
        let with_faults = |port| {
            let faults = ports::first_free(port + 1..=*ports::RANGE.end())?;
            Ok((Extras { faults: Some(faults), ..Extras::default() }, faults))
        };
        Self::on_a_free_port(repo, home, with_faults).await
    }

    /// Starts a cloud that counts into `meter`, on this port or on a free one.
    pub async fn metered(repo: &Repo, home: &Home, port: Option<u16>, meter: &Path) -> Result<Self> {
        let extras = Extras { meter: Some(meter), ..Extras::default() };
        let Some(port) = port else {
            let (cloud, ()) = Self::on_a_free_port(repo, home, |_| Ok((extras, ()))).await?;
            return Ok(cloud);
        };
        python::ensure(repo).await?;
        let cloud = start(repo, home, port, extras).await?;
        Ok(Self { cloud, home: home.clone(), keep: false })
    }

    /// Starts a cloud with what `extras` wants beside its port; gives what `extras` gave as well.
    async fn on_a_free_port<'a, T>(
        repo: &Repo,
        home: &Home,
        extras: impl Fn(u16) -> Result<(Extras<'a>, T)>,
    ) -> Result<(Self, T)> {
        python::ensure(repo).await?;
        let mut from = *ports::RANGE.start();
        for _ in 0..3 {
            let port = ports::first_free(from..=*ports::RANGE.end())?;
            let (extras, given) = extras(port)?;
            match start(repo, home, port, extras).await {
                Err(Error::PortTaken { .. } | Error::CloudDied { .. }) if !ports::is_free(port) => {
                    from = port + 1
                }
                Err(e) => return Err(e),
                Ok(cloud) => return Ok((Self { cloud, home: home.clone(), keep: false }, given)),
            }
        }
        Err(Error::NoFreePort { from: *ports::RANGE.start(), to: *ports::RANGE.end() })
    }

    /// Leaves it up.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep
            && let Err(e) = down(&self.home)
        {
            ui::note(format!("{} {e}", ui::bad("!")));
        }
    }
}

/// Says that a log can be looked at.
pub fn log_hint(repo: &Repo, log: &Path) -> String {
    format!("log: {}", repo.shown(log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(pid: u32, identity: &str) -> Cloud {
        Cloud { pid, identity: identity.into(), port: 4566, since: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_process_that_got_the_same_id_later_is_not_our_cloud() {
        let ours = cloud(42, "started-at-7");
        let alive = |_| Some("started-at-7".to_owned());
        let reused = |_| Some("started-at-9".to_owned());
        let gone = |_| None;
        assert_eq!(judge(Some(ours.clone()), alive), Found::Running(ours.clone()));
        assert_eq!(judge(Some(ours.clone()), reused), Found::Dead(ours.clone()));
        assert_eq!(judge(Some(ours.clone()), gone), Found::Dead(ours));
        assert_eq!(judge(None, alive), Found::Nothing);
    }

    #[test]
    fn a_cloud_without_a_known_start_is_never_taken_for_a_dead_process() {
        assert!(matches!(judge(Some(cloud(42, "")), |_| None), Found::Dead(_)));
    }

    #[tokio::test]
    async fn silence_says_where_nobody_answered() {
        let error = healthy("http://127.0.0.1:1").await.unwrap_err();
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
        assert!(error.advice().is_some());
    }
}
