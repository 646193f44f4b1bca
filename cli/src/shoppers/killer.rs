//! Kills processes of functions while the mall is in use: only children of the emulator that `mall` itself runs, by their
//! process ids.

use std::{path::Path, rc::Rc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::world::{Phase, World};
use crate::{
    errors::{Error, Result},
    target::Target,
};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);

/// How many of a hundred, of which emulator's functions.
#[derive(Debug, Clone, Copy)]
pub struct Killer {
    emulator: u32,
    percent: u8,
}

impl Killer {
    /// None when nothing is to be killed.
    ///
    /// # Errors
    /// When it cannot be done there: functions elsewhere are no processes of ours.
    pub fn new(target: &Target, percent: u8) -> Result<Option<Self>> {
        match target {
            _ if percent == 0 => Ok(None),
            Target::Local(cloud) if cfg!(target_os = "linux") => {
                Ok(Some(Self { emulator: cloud.pid, percent }))
            }
            Target::Local(_) => Err(Error::CannotKill("on this system nobody tells whose a process is")),
            Target::Endpoint(_) | Target::Aws { .. } => Err(Error::CannotKill("its functions run elsewhere")),
        }
    }

    /// Kills until shopping and settling are over.
    pub async fn run(self, world: Rc<World>) {
        while !world.is_at(Phase::Over) {
            tokio::time::sleep(ROUND).await;
            let mut processes = functions_of(Path::new("/proc"), self.emulator);
            let count = (processes.len() * usize::from(self.percent)).div_ceil(100);
            fastrand::shuffle(&mut processes);
            for pid in processes.into_iter().take(count) {
                // One that has just ended by itself is not counted.
                if kill_process(pid, Signal::KILL).is_ok() {
                    world.api.ledger.borrow_mut().killed += 1;
                }
            }
        }
    }
}

/// The emulator's children that run functions.
fn functions_of(proc: &Path, emulator: u32) -> Vec<Pid> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
            let is_child = parent.trim() == emulator.to_string();
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            let is_function = variables.any(|variable| variable.starts_with(b"AWS_LAMBDA_FUNCTION_NAME="));
            (is_child && is_function).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Cloud;

    #[test]
    fn only_children_of_the_emulator_that_run_functions_are_killed() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, parent: u32, environment: &str| {
            let dir = proc.path().join(pid);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("status"), format!("Name:\tx\nPPid:\t{parent}\n")).unwrap();
            std::fs::write(dir.join("environ"), environment).unwrap();
        };
        process("10", 7, "HOME=/\0AWS_LAMBDA_FUNCTION_NAME=mallard-local-ordering-get-order\0");
        process("11", 7, "HOME=/\0");
        process("12", 8, "AWS_LAMBDA_FUNCTION_NAME=mallard-local-ordering-get-order\0");
        process("self", 7, "AWS_LAMBDA_FUNCTION_NAME=x\0");
        let found: Vec<i32> =
            functions_of(proc.path(), 7).into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        assert_eq!(found, [10]);
    }

    #[test]
    fn nothing_is_killed_where_functions_are_not_ours() {
        let local = Cloud { pid: 7, identity: "x".into(), port: 4566, since: jiff::Timestamp::UNIX_EPOCH };
        let aws = Target::Aws { stage: "dev".into() };
        assert!(Killer::new(&aws, 0).unwrap().is_none());
        assert!(matches!(Killer::new(&aws, 5), Err(Error::CannotKill(_))));
        let elsewhere = Target::Endpoint("http://10.0.0.1:4566".into());
        assert!(matches!(Killer::new(&elsewhere, 5), Err(Error::CannotKill(_))));
        if cfg!(target_os = "linux") {
            assert!(Killer::new(&Target::Local(local), 5).unwrap().is_some());
        }
    }
}
