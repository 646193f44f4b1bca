//! Python for the local cloud: finds one that is new enough and keeps environments with pinned, hashed packages. The
//! emulator and the SAM CLI have one each, because they want different versions of the same packages; the tests of the
//! API have theirs, because nobody else needs it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    errors::{Error, Result},
    files,
    paths::Repo,
    process::Run,
    ui,
};

/// The oldest Python that the pinned packages support.
const MINIMUM: (u32, u32) = (3, 10);

/// Tried in this order; the plain name first, since that is the one its user chose.
const CANDIDATES: &[&str] = &[
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "/usr/bin/python3",
    "python",
];

/// Names a Python to use instead of the first that fits.
const CHOICE: &str = "MALL_PYTHON";

const PROBE: Duration = Duration::from_secs(20);
const VENV: Duration = Duration::from_secs(180);
const INSTALL: Duration = Duration::from_secs(900);
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1200);

/// The environment of the emulator.
pub const CLOUD: &str = "cloud";
/// The environment of the SAM CLI, with cfn-lint and boto3.
pub const SAM: &str = "sam";
/// The environment of the tests of the API against its document.
pub const SCHEMATHESIS: &str = "schemathesis";

/// A Python that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Python {
    program: String,
    version: (u32, u32),
    /// A module that `python -m venv` needs and that some distributions package apart.
    missing: Option<&'static str>,
}

/// Makes the environments of the local cloud, or finds them as they should be.
pub async fn ensure(repo: &Repo) -> Result<()> {
    ensure_these(repo, &[CLOUD, SAM]).await
}

/// Makes the environment of the tests of the API, or finds it as it should be.
pub async fn ensure_schemathesis(repo: &Repo) -> Result<()> {
    ensure_these(repo, &[SCHEMATHESIS]).await
}

async fn ensure_these(repo: &Repo, names: &[&'static str]) -> Result<()> {
    // `demo` and `test` may be started side by side on a fresh checkout.
    let _lock = files::lock(&repo.mall().join("setup.lock"), WAIT_FOR_OTHERS).await?;
    let mut python = None;
    for &name in names {
        let venv = Venv::of(repo, name)?;
        if venv.is_ready() {
            continue;
        }
        let python = match &python {
            Some(found) => found,
            None => python.insert(find().await?),
        };
        venv.make(repo, python).await?;
    }
    Ok(())
}

/// One environment.
struct Venv {
    name: &'static str,
    dir: PathBuf,
    requirements: PathBuf,
    stamp: String,
}

impl Venv {
    fn of(repo: &Repo, name: &'static str) -> Result<Self> {
        let requirements = repo.local(&format!("requirements-{name}.txt"));
        let content = std::fs::read(&requirements).map_err(Error::file("cannot read", &requirements))?;
        let dir = repo.venv(name);
        Ok(Self { name, stamp: stamp(&content, &dir), dir, requirements })
    }

    fn stamp_file(&self) -> PathBuf {
        self.dir.join("mall-stamp")
    }

    fn python(&self) -> PathBuf {
        self.dir.join("bin/python")
    }

    /// The stamp is written last, so it vouches for a complete installation. `exists` follows the link, so an
    /// environment whose Python was uninstalled is not ready either.
    fn is_ready(&self) -> bool {
        std::fs::read_to_string(self.stamp_file()).is_ok_and(|stamp| stamp == self.stamp)
            && self.python().exists()
    }

    async fn make(&self, repo: &Repo, python: &Python) -> Result<()> {
        let title = format!("Installing the pinned Python packages: {}", self.name);
        let task = ui::task(title);
        let log = repo.home().log(&format!("pip-{}", self.name));
        files::remove_dir(&self.dir)?;
        if let Some(parent) = self.dir.parent() {
            files::make_dir(parent)?;
        }
        let failed = |tail: String| Error::Install { name: self.name.into(), tail, log: log.clone() };

        let made = Run::new(&python.program, "python -m venv", VENV)
            .args(["-m", "venv"])
            .arg(&self.dir)
            .log(&log)
            .quietly()
            .await?;
        if !made.success() {
            return Err(failed(files::last_lines(&made.output, 8)));
        }
        let mut packages = 0;
        let installed = Run::new(self.python(), "pip install", INSTALL)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"])
            .args(["--no-deps", "--require-hashes", "-r"])
            .arg(&self.requirements)
            .without_env(["PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PYTHONHOME", "PYTHONPATH"])
            .log(&log)
            .watched(|_, line| {
                if let Some(package) = line.trim().strip_prefix("Collecting ") {
                    packages += 1;
                    task.at(&format!(
                        "{packages}: {}",
                        package.split_whitespace().next().unwrap_or_default()
                    ));
                } else if line.starts_with("Installing") {
                    task.at("unpacking");
                }
            })
            .await?;
        if !installed.success() {
            return Err(failed(files::last_lines(&installed.output, 8)));
        }
        files::write(&self.stamp_file(), self.stamp.as_bytes())?;
        task.done(format!("Python packages: {} ({packages})", self.name));
        Ok(())
    }
}

/// Stands for what is to be installed, and where: the programs of an environment know its path by heart, so
/// one in a checkout that was moved is of no use.
fn stamp(requirements: &[u8], dir: &Path) -> String {
    let digest =
        Sha256::new().chain_update(requirements).chain_update(dir.as_os_str().as_encoded_bytes()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A Python that will do.
async fn find() -> Result<Python> {
    let chosen = std::env::var(CHOICE).ok().filter(|name| !name.is_empty());
    let names: Vec<String> = match chosen {
        Some(name) => vec![name],
        None => CANDIDATES.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut found = Vec::new();
    for name in names {
        if let Some(python) = probe(name).await {
            let perfect = python.version >= MINIMUM && python.missing.is_none();
            found.push(python);
            if perfect {
                break;
            }
        }
    }
    choose(found)
}

/// The best of what there is, or what is wrong with it.
fn choose(found: Vec<Python>) -> Result<Python> {
    let minimum = version_text(MINIMUM);
    if found.is_empty() {
        return Err(Error::NoPython { minimum });
    }
    let (new, old): (Vec<_>, Vec<_>) = found.into_iter().partition(|python| python.version >= MINIMUM);
    if let Some(good) = new.iter().find(|python| python.missing.is_none()) {
        return Ok(good.clone());
    }
    match new.into_iter().find_map(|python| python.missing.map(|module| (module, python))) {
        Some((module, python)) => {
            Err(Error::NoVenv { python: python.program, version: version_text(python.version), module })
        }
        None => {
            let found = old.iter().map(|p| format!("{} ({})", version_text(p.version), p.program)).collect();
            Err(Error::OldPython { minimum, found })
        }
    }
}

/// Asks a program for its version and for the modules that `venv` needs. A name may exist and still not run
/// (shims of version managers), so only an answer counts.
async fn probe(program: String) -> Option<Python> {
    const QUESTION: &str = "import importlib.util as u, sys\n\
                            print(sys.version_info[0], sys.version_info[1], *(int(u.find_spec(m) is not None) for m in ('venv', 'ensurepip')))";
    let answer = Run::new(&program, "python", PROBE).args(["-c", QUESTION]).quietly().await.ok()?;
    let (version, missing) = parse_probe(answer.stdout.trim()).filter(|_| answer.success())?;
    Some(Python { program, version, missing })
}

fn parse_probe(answer: &str) -> Option<((u32, u32), Option<&'static str>)> {
    let numbers: Vec<u32> = answer.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [major, minor, venv, ensurepip] = numbers[..] else { return None };
    let missing = match (venv, ensurepip) {
        (0, _) => Some("venv"),
        (_, 0) => Some("ensurepip"),
        _ => None,
    };
    Some(((major, minor), missing))
}

fn version_text((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(program: &str, version: (u32, u32), missing: Option<&'static str>) -> Python {
        Python { program: program.into(), version, missing }
    }

    #[test]
    fn no_python_too_old_and_without_venv_are_three_different_messages() {
        assert!(matches!(choose(vec![]), Err(Error::NoPython { .. })));
        let old = choose(vec![python("python3", (3, 9), None)]).unwrap_err();
        assert_eq!(
            old.to_string(),
            "Python 3.10 or newer is needed to run the local cloud; found only 3.9 (python3)"
        );
        let bare =
            choose(vec![python("python3", (3, 9), None), python("python3.12", (3, 12), Some("ensurepip"))]);
        let bare = bare.unwrap_err();
        assert!(bare.to_string().contains("`ensurepip` module is missing"), "{bare}");
        assert!(bare.advice().is_some_and(|advice| advice.contains("apt install python3.12-venv")));
    }

    #[test]
    fn a_complete_python_wins_over_an_earlier_one_that_lacks_venv() {
        let found =
            choose(vec![python("python3", (3, 13), Some("venv")), python("python3.11", (3, 11), None)]);
        assert_eq!(found.unwrap().program, "python3.11");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_probe("3 9 1 1"), Some(((3, 9), None)));
        assert!((3, 9) < MINIMUM && (3, 14) > MINIMUM && (4, 0) > MINIMUM);
        assert_eq!(parse_probe("3 12 1 0"), Some(((3, 12), Some("ensurepip"))));
        assert_eq!(parse_probe("command not found"), None);
    }

    #[test]
    fn another_requirement_or_another_place_is_another_stamp() {
        let (here, there) = (Path::new("/a"), Path::new("/b"));
        assert_ne!(stamp(b"ministack==1", here), stamp(b"ministack==2", here));
        assert_ne!(stamp(b"ministack==1", here), stamp(b"ministack==1", there));
        assert_eq!(stamp(b"", here).len(), 64);
    }

    #[tokio::test]
    async fn a_half_made_environment_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let venv = Venv {
            name: CLOUD,
            dir: dir.path().to_owned(),
            requirements: dir.path().join("r.txt"),
            stamp: "new".into(),
        };
        assert!(!venv.is_ready());
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(venv.python(), "").unwrap();
        assert!(!venv.is_ready());
        std::fs::write(venv.stamp_file(), "old").unwrap();
        assert!(!venv.is_ready());
        std::fs::write(venv.stamp_file(), "new").unwrap();
        assert!(venv.is_ready());
    }
}
