//! Builds what Lambda runs: one binary per context, put where the templates look for it.

use std::{
    collections::HashMap,
    io::Cursor,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::{
    errors::{Error, Result},
    files,
    paths::Repo,
    process::{Run, Stream},
    ui,
};

/// The binaries; each is deployed as several functions.
pub const BINARIES: &[&str] = &[
    "baskets",
    "customers",
    "depot",
    "inventory",
    "ordering",
    "payments",
    "portal",
    "product-search",
    "relay",
    "search",
    "stores",
];

/// A first build compiles the AWS SDK.
pub const LIMIT: Duration = Duration::from_secs(3600);

const WAIT_FOR_OTHERS: Duration = Duration::from_secs(600);

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Plain cargo, for this machine: tests and functions share one build.
    Here { release: bool },
    /// cargo-lambda, for AWS Lambda.
    Lambda(Arch),
}

/// The processors that Lambda offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Arch {
    Arm64,
    #[value(name = "x86_64")]
    X86_64,
}

impl Arch {
    /// That of this machine.
    pub fn here() -> Self {
        if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::X86_64 }
    }

    /// As the templates spell it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Arm64 => "arm64",
            Arch::X86_64 => "x86_64",
        }
    }
}

/// Cargo: the one that runs us, if one does. What that one told us about our own package is taken away again: build scripts
/// that look at such variables (ring's does) would run anew each time `cargo mall` and a plain `cargo` take turns, and
/// all of the AWS SDK after them.
pub fn cargo(what: &str, limit: Duration) -> Run {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Run::new(program, what, limit).without_env(names.filter(|name| is_about_a_package(name)))
}

/// Whether cargo sets this variable for the package that it runs.
fn is_about_a_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|start| name.starts_with(start))
        || ["CARGO_PRIMARY_PACKAGE", "CARGO", "OUT_DIR"].contains(&name)
}

/// Builds all binaries and puts them in place.
pub async fn functions(repo: &Repo, how: How) -> Result<()> {
    let task = ui::task("Building the functions");
    let _lock = files::lock(&repo.mall().join("build.lock"), WAIT_FOR_OTHERS).await?;
    match how {
        How::Here { release } => {
            let built = plain(repo, release, &task).await?;
            for name in BINARIES {
                let from = built.get(*name).ok_or_else(|| Error::NoExecutable((*name).into()))?;
                let bootstrap = repo.bootstrap(name);
                place(from, &bootstrap).await?;
                pack(&bootstrap, &repo.package(name))?;
            }
        }
        How::Lambda(arch) => lambda(repo, arch, &task).await?,
    }
    task.done(format!("Functions built: {}", BINARIES.join(", ")));
    Ok(())
}

/// Names the binaries, not their packages: with `-p` cargo would unify features over those packages only and compile
/// the AWS SDK a second time.
async fn plain(repo: &Repo, release: bool, task: &ui::Task) -> Result<HashMap<String, PathBuf>> {
    let mut progress = Progress::default();
    let mut run = cargo("cargo build", LIMIT)
        .args(["build", "--message-format=json-render-diagnostics"])
        .dir(repo.root());
    for name in BINARIES {
        run = run.args(["--bin", name]);
    }
    if release {
        run = run.arg("--release");
    }
    let done = run
        .envs(colours())
        .watched(|from, line| {
            if from == Stream::Err {
                task.at(progress.see(line));
            }
        })
        .await?;
    if !done.success() {
        return Err(Error::Build { tail: progress.complaints() });
    }
    Ok(done.stdout.lines().filter_map(executable).collect())
}

async fn lambda(repo: &Repo, arch: Arch, task: &ui::Task) -> Result<()> {
    let probe =
        cargo("cargo lambda", Duration::from_secs(20)).args(["lambda", "--version"]).quietly().await?;
    if !probe.success() {
        return Err(Error::NoCargoLambda);
    }
    let mut progress = Progress::default();
    let mut run = cargo("cargo lambda build", LIMIT).args(["lambda", "build", "--release"]).dir(repo.root());
    if arch == Arch::Arm64 {
        run = run.arg("--arm64");
    } else {
        run = run.arg("--x86-64");
    }
    for name in BINARIES {
        run = run.args(["--bin", name]);
    }
    let done = run
        .args(["--output-format", "zip"])
        .arg("--lambda-dir")
        .arg(repo.root().join("build/lambda"))
        .watched(|_, line| task.at(progress.see(line)))
        .await?;
    if done.success() { Ok(()) } else { Err(Error::Build { tail: progress.complaints() }) }
}

/// Copies an executable, without its debug information where there is a `strip`: the copies are zipped and uploaded,
/// and nobody debugs those. Not on macOS, where it would break the signature.
async fn place(from: &Path, to: &Path) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return files::copy(from, to);
    }
    let mut bare = to.as_os_str().to_owned();
    bare.push(".stripped");
    let bare = PathBuf::from(bare);
    if let Some(dir) = to.parent() {
        files::make_dir(dir)?;
    }
    let stripped = Run::new("strip", "strip", Duration::from_secs(60))
        .arg("-S")
        .arg("-o")
        .arg(&bare)
        .arg(from)
        .quietly()
        .await;
    let copied = match stripped {
        Ok(done) if done.success() => std::fs::rename(&bare, to).map_err(Error::file("cannot write", to)),
        _ => files::copy(from, to),
    };
    files::remove(&bare)?;
    copied
}

/// Packs an executable as Lambda takes it. SAM would do it as well, but once for every function that the executable is
/// deployed as, which takes most of a deployment's time; a package that is there is only uploaded, and that once. The
/// same executable gives the same package, byte for byte, by which SAM and the fingerprint know it.
fn pack(bootstrap: &Path, package: &Path) -> Result<()> {
    let packed = || -> std::io::Result<Vec<u8>> {
        let mut executable = std::fs::File::open(bootstrap)?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o755);
        let mut package = ZipWriter::new(Cursor::new(Vec::new()));
        package.start_file("bootstrap", options)?;
        std::io::copy(&mut executable, &mut package)?;
        Ok(package.finish()?.into_inner())
    };
    let bytes = packed().map_err(Error::file("cannot pack", bootstrap))?;
    files::write(package, &bytes)
}

/// Colours in what cargo says, if they will be seen.
pub fn colours() -> Option<(&'static str, &'static str)> {
    const NAME: &str = "CARGO_TERM_COLOR";
    let wanted = if console::colors_enabled() { "always" } else { "never" };
    std::env::var_os(NAME).is_none().then_some((NAME, wanted))
}

/// What cargo says while it works.
#[derive(Debug, Default)]
pub struct Progress {
    compiled: usize,
    current: String,
    other: Vec<String>,
}

impl Progress {
    /// Takes a line and says what to show.
    pub fn see(&mut self, line: &str) -> &str {
        let plain = console::strip_ansi_codes(line);
        let mut words = plain.split_whitespace();
        match words.next() {
            Some("Compiling" | "Checking") => {
                self.compiled += 1;
                self.current = format!("{}: {}", self.compiled, words.next().unwrap_or_default());
            }
            Some("Downloading" | "Downloaded" | "Updating" | "Locking") => {
                plain.trim().clone_into(&mut self.current)
            }
            Some("Blocking") => "waiting for another cargo".clone_into(&mut self.current),
            Some("Finished" | "Running" | "Fresh" | "Adding") => {}
            _ => self.other.push(line.to_owned()),
        }
        &self.current
    }

    /// Everything but progress.
    pub fn complaints(&self) -> String {
        const ENOUGH: usize = 60;
        let skipped = self.other.len().saturating_sub(ENOUGH);
        let mut text = self.other[skipped..].join("\n");
        if skipped > 0 {
            text = format!("({skipped} lines above these)\n{text}");
        }
        text.trim().to_owned()
    }
}

/// Everything but progress in what cargo said.
pub fn complaints_in(output: &str) -> String {
    let mut progress = Progress::default();
    for line in output.lines() {
        progress.see(line);
    }
    progress.complaints()
}

/// One message of `cargo --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<BuiltTarget>,
}

#[derive(Deserialize)]
struct BuiltTarget {
    name: String,
    kind: Vec<String>,
}

/// The executable that a message reports, if it does.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target.filter(|target| target.kind.iter().any(|kind| kind == "bin"))?;
    (message.reason == "compiler-artifact").then_some((target.name, message.executable?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_executable_gives_the_same_package_and_stays_executable() {
        let dir = tempfile::tempdir().expect("a folder");
        let (bootstrap, package) = (dir.path().join("bootstrap"), dir.path().join("bootstrap.zip"));
        std::fs::write(&bootstrap, b"an executable").expect("written");
        pack(&bootstrap, &package).expect("packed");
        let first = std::fs::read(&package).expect("a package");
        pack(&bootstrap, &package).expect("packed again");
        assert_eq!(std::fs::read(&package).expect("a package"), first);
        let mut opened = zip::ZipArchive::new(Cursor::new(first)).expect("a zip");
        let file = opened.by_name("bootstrap").expect("the executable");
        assert_eq!(file.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        assert_eq!(file.size(), 13);
    }

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let bin = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"relay"},"executable":"/t/debug/relay"}"#;
        let lib =
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"relay"},"executable":null}"#;
        assert_eq!(executable(bin), Some(("relay".into(), "/t/debug/relay".into())));
        assert_eq!(executable(lib), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("warning: not json"), None);
    }

    #[test]
    fn cargo_hears_of_its_own_settings_but_not_of_our_package() {
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_NAME", "CARGO"] {
            assert!(is_about_a_package(name), "{name}");
        }
        for name in ["CARGO_TARGET_DIR", "CARGO_HOME", "CARGO_TERM_COLOR", "CARGO_BUILD_JOBS", "PATH"] {
            assert!(!is_about_a_package(name), "{name}");
        }
    }

    #[test]
    fn a_failed_build_shows_its_errors_and_not_its_progress() {
        let mut progress = Progress::default();
        assert_eq!(progress.see("   Compiling serde v1.0.229"), "1: serde");
        assert_eq!(progress.see("\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m kernel v0.1.0"), "2: kernel");
        progress.see("error[E0432]: unresolved import `contracts`");
        progress.see("  --> shared/event-store/src/store.rs:5:5");
        assert_eq!(
            progress.complaints(),
            "error[E0432]: unresolved import `contracts`\n  --> shared/event-store/src/store.rs:5:5"
        );
    }
}
