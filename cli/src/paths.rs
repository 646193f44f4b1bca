//! Where things are. Nothing outside the checkout is written to, apart from cargo's target directory.

use std::path::{Path, PathBuf};

use crate::errors::{Error, Result};

/// The checkout.
#[derive(Debug, Clone)]
pub struct Repo {
    root: PathBuf,
}

impl Repo {
    /// The checkout around the working directory.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().map_err(Error::file("cannot tell the working directory", "."))?;
        here.ancestors()
            .find(|dir| dir.join("template.yaml").is_file() && dir.join("Cargo.toml").is_file())
            .map(|root| Self { root: root.to_owned() })
            .ok_or(Error::NoRepository(here))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything `mall` keeps; ignored by git.
    pub fn mall(&self) -> PathBuf {
        self.root.join(".mall")
    }

    /// One of the Python environments, shared by all clouds of this checkout.
    pub fn venv(&self, name: &str) -> PathBuf {
        self.mall().join("venv").join(name)
    }

    /// A program of a Python environment.
    pub fn venv_bin(&self, name: &str, program: &str) -> PathBuf {
        self.venv(name).join("bin").join(program)
    }

    /// Tools that `mall test` had to install.
    pub fn tools(&self) -> PathBuf {
        self.mall().join("tools")
    }

    /// `infra/local/<file>`.
    pub fn local(&self, file: &str) -> PathBuf {
        self.root.join("infra/local").join(file)
    }

    /// The root template.
    pub fn template(&self) -> PathBuf {
        self.root.join("template.yaml")
    }

    /// What Lambda is given for a binary.
    pub fn bootstrap(&self, binary: &str) -> PathBuf {
        self.root.join("build/lambda").join(binary).join("bootstrap")
    }

    /// The cloud of `up`, `deploy`, `demo` and so on.
    pub fn home(&self) -> Home {
        Home { dir: self.mall() }
    }

    /// The cloud of one run of `mall test`; it must not meet the other one.
    pub fn test_home(&self, pid: u32) -> Home {
        Home { dir: self.mall().join(format!("test-{pid}")) }
    }

    /// All that is left of test runs: their directories with the pid of the run.
    pub fn test_homes(&self) -> Vec<(u32, Home)> {
        let entries = std::fs::read_dir(self.mall()).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.strip_prefix("test-")?.parse().ok()?;
                Some((pid, Home { dir: entry.path() }))
            })
            .collect()
    }

    /// Where a failed test run leaves its logs.
    pub fn test_failures(&self) -> PathBuf {
        self.mall().join("test-failures")
    }

    /// The path as it is best shown: from the root of the checkout.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// What belongs to one cloud: its state and its logs.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The emulator's process.
    pub fn cloud(&self) -> PathBuf {
        self.dir.join("cloud.json")
    }

    /// What is deployed, with the stack's outputs.
    pub fn stack(&self) -> PathBuf {
        self.dir.join("stack.json")
    }

    /// Logs and nothing else.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// `logs/<name>.log`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Temporary files of the emulator and of the functions that it runs.
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }
}
