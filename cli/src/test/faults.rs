//! The fault matrix, on a cloud of its own that lets faults in (infra/local/faults.py): they are put between the state
//! machines and the functions, which are the very ones that are deployed anywhere.

use std::time::Duration;

use jiff::Timestamp;

use super::{Tester, empty, report::Outcome};
use crate::{
    build::{How, cargo},
    cloud::{self, Found, Temporary},
    deploy,
    errors::{Error, Result},
    files,
    stack::Stack,
    target::Target,
    ui,
};

const TESTS: Duration = Duration::from_secs(3600);

/// Time to pay, time until a reminder, and time after which a saga without an end counts as lost, in seconds.
/// Nobody waits for days here, but a busy machine has to pay, and to place an order, in time.
const TIMES: [(&str, &str); 3] =
    [("PaymentDeadlineSeconds", "30"), ("PaymentReminderSeconds", "6"), ("PlacementPatienceSeconds", "8")];

impl Tester<'_> {
    pub(super) async fn faults(&mut self) -> Result<()> {
        const NAME: &str = "faults";
        if self.options.endpoint.is_some() {
            self.skip(NAME, "no other cloud than our own lets faults in");
            return Ok(());
        }
        if matches!(cloud::find(&self.home)?, Found::Running(_)) {
            self.skip(NAME, "the cloud of the end-to-end tests is left up");
            return Ok(());
        }
        let began = Timestamp::now();
        let started = self.begin("Faults: cloud and deployment");
        let (temporary, target, stack, port) = match self.set_up_with_faults().await {
            Ok(ready) => ready,
            Err(error) => {
                self.broken("deployment with faults", &error, started.elapsed());
                return Ok(());
            }
        };
        self.end(Outcome { name: "deployment with faults", passed: 1, took: started.elapsed(), ..empty() });

        let (set, unset) = target.environment();
        let steering = [("MALL_FAULTS_URL", cloud::endpoint(port)), ("MALL_CLI", own_program()?)];
        let vars: Vec<_> = self.contract(&target, &stack).into_iter().chain(set).chain(steering).collect();
        // What an operator does is done by `mall` itself, which looks for the stack where it is kept for an endpoint.
        let lent = self.lend(&stack)?;
        let mut tests = cargo("the fault matrix", TESTS)
            .args(["test", "--workspace", "--test", "faults", "--", "--ignored", "--nocapture"])
            .without_env(unset)
            .envs(vars.clone());
        if self.options.write {
            tests = tests.envs([("MALL_WRITE_FAULTS", "1")]);
        }
        let passed = self.tests(NAME, "Faults: every one at every step", tests, true).await?;
        if !passed && let Err(error) = self.keep(&target, &stack, began).await {
            ui::note(format!("{} not everything could be kept: {error}", ui::warn("!")));
        }
        if self.options.keep_up {
            let vars: Vec<String> = vars.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
            ui::line(format!("The cloud is left up at {}. Once more, by hand:", temporary.cloud.endpoint()));
            ui::line(format!(
                "  {} cargo test --workspace --test faults -- --ignored --nocapture",
                vars.join(" ")
            ));
            temporary.keep();
        } else {
            files::remove(&lent)?;
        }
        Ok(())
    }

    async fn set_up_with_faults(&self) -> Result<(Temporary, Target, Stack, u16)> {
        let (temporary, port) = Temporary::start_with_faults(self.repo, &self.home).await?;
        let target = Target::Local(temporary.cloud.clone());
        target.reach().await?;
        let how = How::Here { release: false };
        let options =
            deploy::Options { parameters: TIMES.map(parameter).into(), ..deploy::Options::default() };
        let stack = deploy::run(self.repo, &self.home, &target, how, &options).await?;
        Ok((temporary, target, stack, port))
    }

    /// Lets `mall` itself find the stack, as that of an endpoint. Gives the file to be put away.
    fn lend(&self, stack: &Stack) -> Result<std::path::PathBuf> {
        let endpoint = stack.endpoint.clone().unwrap_or_default();
        let file = Target::Endpoint(endpoint).stack_file(&self.repo.home());
        files::write_json(&file, &Stack { cloud: None, ..stack.clone() })?;
        Ok(file)
    }
}

fn parameter((name, value): (&str, &str)) -> deploy::Parameter {
    deploy::Parameter { name: name.into(), value: value.into() }
}

fn own_program() -> Result<String> {
    let program = std::env::current_exe().map_err(Error::file("cannot tell", "our own program"))?;
    Ok(program.display().to_string())
}
