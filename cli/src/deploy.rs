//! Deploys the stack with the real SAM CLI, and skips that when nothing changed.

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    build::{self, Arch, How},
    errors::{Error, Result},
    files,
    paths::{Home, Repo},
    process::Run,
    python,
    stack::{self, Stack},
    target::{self, Target},
    ui,
};

/// On an emulator nothing has to wait for anything.
const LIMIT: Duration = Duration::from_secs(1800);
/// On AWS some 900 resources are made, nested stacks with routes one after the other; as much again when it is rolled back.
const LIMIT_ON_AWS: Duration = Duration::from_secs(5400);
const QUESTION: Duration = Duration::from_secs(60);

/// What to deploy.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Name of the CloudFormation stack [default: mallard, on AWS mallard-<STAGE>]
    #[arg(long)]
    pub stack: Option<String>,
    /// Tells deployments in one account apart: every name starts with mallard-<STAGE> [default: local, on AWS dev]
    #[arg(long, value_parser = target::stage)]
    pub stage: Option<String>,
    /// A parameter of the template, such as PaymentDeadlineSeconds=3600; may be given several times. What is not given
    /// is as the template says, also where an earlier deployment said otherwise
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<Parameter>,
    /// Deploy even if nothing changed
    #[arg(long)]
    pub force: bool,
}

/// A parameter of the template with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As the template calls it.
    pub name: String,
    /// As CloudFormation takes it.
    pub value: String,
}

/// What other options decide.
const DECIDED: &[(&str, &str)] = &[
    ("Stage", "--stage decides it"),
    ("Architecture", "it follows from what is built"),
    ("EventTableDeletionPolicy", "it follows from the cloud"),
];

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("it has to be NAME=VALUE")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("{name:?} is no name of a parameter"));
        }
        if let Some((_, why)) = DECIDED.iter().find(|(decided, _)| *decided == name) {
            return Err(format!("{name} is not set like this: {why}"));
        }
        if value.contains(['"', '\\', '\n']) {
            return Err("a value has no quotes, backslashes or line breaks".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Parameters of the root template.
struct Parameters {
    stage: String,
    arch: Arch,
    event_table: &'static str,
    /// What was given on the command line. A name that is there twice has the last value.
    given: BTreeMap<String, String>,
}

impl Parameters {
    fn of(options: &Options, target: &Target, arch: Arch) -> Self {
        let (stage, event_table) = match target {
            // The events are the only truth there is; only on an emulator are they there to be thrown away.
            Target::Aws { stage } => (stage.clone(), "Retain"),
            Target::Local(_) | Target::Endpoint(_) => {
                (options.stage.clone().unwrap_or_else(|| "local".into()), "Delete")
            }
        };
        let given =
            options.parameters.iter().cloned().map(|Parameter { name, value }| (name, value)).collect();
        Self { stage, arch, event_table, given }
    }

    fn overrides(&self) -> Vec<String> {
        let own = [
            format!("Stage={}", self.stage),
            format!("Architecture={}", self.arch.name()),
            format!("EventTableDeletionPolicy={}", self.event_table),
        ];
        own.into_iter().chain(self.given.iter().map(|(name, value)| format!("{name}={value}"))).collect()
    }

    /// # Errors
    /// When the template does not know one: CloudFormation would leave it out without a word.
    fn check(&self, template: &str) -> Result<()> {
        let known = declared(template);
        match self.given.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(asked) => Err(Error::NoSuchParameter {
                asked: asked.clone(),
                known: known.into_iter().map(str::to_owned).collect(),
            }),
        }
    }

    fn prefix(&self) -> String {
        target::prefix(&self.stage)
    }

    /// The stack's name. In an account each stage has a stack of its own: deploying one must not change another.
    fn stack(&self, options: &Options, target: &Target) -> String {
        options.stack.clone().unwrap_or_else(|| match target {
            Target::Aws { .. } => self.prefix(),
            Target::Local(_) | Target::Endpoint(_) => "mallard".into(),
        })
    }
}

/// The parameters of a template, in its order.
fn declared(template: &str) -> Vec<&str> {
    let lines = template.lines().skip_while(|line| *line != "Parameters:").skip(1);
    let inside = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    inside
        .filter_map(|line| line.strip_prefix("  ")?.split_once(':'))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))
        .collect()
}

/// Builds and deploys to a cloud that answers.
pub async fn run(repo: &Repo, home: &Home, target: &Target, how: How, options: &Options) -> Result<Stack> {
    let template = repo.template();
    let text = std::fs::read_to_string(&template).map_err(Error::file("cannot read", &template))?;
    Parameters::of(options, target, Arch::here()).check(&text)?;
    build::functions(repo, how).await?;
    let arch = match how {
        How::Here { .. } => Arch::here(),
        How::Lambda(arch) => arch,
    };
    let parameters = Parameters::of(options, target, arch);
    let name = parameters.stack(options, target);
    let fingerprint = fingerprint(repo, &parameters)?;
    let known = Stack::known(home, target)?.filter(|stack| stack.fingerprint == fingerprint);
    if let Some(stack) = known.filter(|stack| !options.force && stack.name == name)
        && is_present(target, &stack).await
    {
        ui::line(format!("{} {} is deployed, and nothing has changed since", ui::good("✓"), stack.name));
        return Ok(stack);
    }
    python::ensure(repo).await?;
    sam_deploy(repo, home, target, &name, &parameters).await?;
    let outputs = outputs(repo, target, &name).await?;
    let stack = Stack {
        api: stack::api_address(target, &outputs)
            .ok_or(Error::NoOutput { stack: name.clone(), output: "ApiId" })?,
        name,
        prefix: parameters.prefix(),
        endpoint: target.endpoint(),
        region: target.region(),
        cloud: match target {
            Target::Local(cloud) => Some(cloud.identity.clone()),
            Target::Endpoint(_) | Target::Aws { .. } => None,
        },
        fingerprint,
        deployed_at: Timestamp::now(),
        outputs,
    };
    files::write_json(&target.stack_file(home), &stack)?;
    Ok(stack)
}

/// Reports that the stack is really there: its event table and its placement machine are. Cheaper by far than
/// asking CloudFormation through SAM.
async fn is_present(target: &Target, stack: &Stack) -> bool {
    let (Ok(table), Ok(machine)) = (stack.output("EventTable"), stack.output("OrderPlacementArn")) else {
        return false;
    };
    let config = target.sdk().await;
    let table = aws_sdk_dynamodb::Client::new(&config).describe_table().table_name(table).send().await;
    let machine =
        aws_sdk_sfn::Client::new(&config).describe_state_machine().state_machine_arn(machine).send().await;
    table.is_ok() && machine.is_ok()
}

async fn sam_deploy(
    repo: &Repo,
    home: &Home,
    target: &Target,
    stack: &str,
    parameters: &Parameters,
) -> Result<()> {
    let task = ui::task(format!("Deploying {stack} to {}", target.name()));
    let log = home.log("deploy");
    let mut complete = 0;
    let done = sam(repo, target, "sam deploy", limit(target))
        .args(["deploy", "--stack-name", stack, "--resolve-s3", "--template-file"])
        .arg(repo.template())
        .args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"])
        .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"])
        .args(on_failure(target))
        .arg("--parameter-overrides")
        .args(parameters.overrides())
        .log(&log)
        .watched(|_, line| {
            if let Some(event) = StackEvent::parse(line) {
                complete += usize::from(event.is_complete());
                task.at(&format!("{complete} done, {}", event.resource));
            } else if let Some(phase) = phase(line) {
                task.at(phase);
            }
        })
        .await?;
    if !done.success() && never_made(&done.output) {
        return Err(Error::NeverMade { stack: stack.into(), log });
    }
    if !done.success() {
        return Err(Error::Deploy { stack: stack.into(), tail: reasons(&done.output), log });
    }
    let unchanged = done.output.contains("No changes to deploy");
    let what = if unchanged { "was up to date".to_owned() } else { "deployed".to_owned() };
    task.done(format!("{stack} {what} on {}", target.name()));
    Ok(())
}

/// How long it may take.
fn limit(target: &Target) -> Duration {
    match target {
        Target::Aws { .. } => LIMIT_ON_AWS,
        Target::Local(_) | Target::Endpoint(_) => LIMIT,
    }
}

/// What becomes of a stack that fails. One that could not be made goes, or no later deployment could have its name; SAM deletes
/// after a failed creation only, so one that was there before is rolled back as ever. Emulators keep it to be looked at.
fn on_failure(target: &Target) -> &'static [&'static str] {
    match target {
        Target::Aws { .. } => &["--on-failure", "DELETE"],
        Target::Local(_) | Target::Endpoint(_) => &[],
    }
}

/// Whether CloudFormation refused because an earlier deployment, the first, failed and nobody removed what it left.
fn never_made(output: &str) -> bool {
    // As in "Stack:arn… is in ROLLBACK_COMPLETE state and can not be updated"; what was in use is in an UPDATE_ state.
    let states = ["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"];
    states.iter().any(|state| output.contains(&format!("is in {state} state")))
}

/// What SAM is at before the stack changes.
fn phase(line: &str) -> Option<&'static str> {
    let line = line.trim();
    match line {
        _ if line.starts_with("Uploading") || line.starts_with("File with same data") => Some("uploading"),
        _ if line.starts_with("Waiting for changeset") => Some("comparing with what is deployed"),
        _ if line.contains("Waiting for stack") => Some("changing the stack"),
        _ => None,
    }
}

/// The SAM CLI of our environment, talking to `target`.
fn sam(repo: &Repo, target: &Target, what: &str, limit: Duration) -> Run {
    let (set, unset) = target.environment();
    Run::new(repo.venv_bin(python::SAM, "sam"), what, limit).dir(repo.root()).without_env(unset).envs(set)
}

/// The outputs of a stack.
async fn outputs(repo: &Repo, target: &Target, stack: &str) -> Result<BTreeMap<String, String>> {
    let asked = sam(repo, target, "sam list stack-outputs", QUESTION)
        .args(["list", "stack-outputs", "--output", "json", "--stack-name", stack])
        .quietly()
        .await?;
    let outputs = parse_outputs(&asked.stdout).filter(|_| asked.success());
    outputs.ok_or_else(|| Error::Aws {
        operation: "sam list stack-outputs",
        why: files::last_lines(&asked.output, 3),
    })
}

fn parse_outputs(json: &str) -> Option<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output {
        output_key: String,
        output_value: String,
    }
    let outputs: Vec<Output> = serde_json::from_str(json.trim()).ok()?;
    Some(outputs.into_iter().map(|output| (output.output_key, output.output_value)).collect())
}

/// A line of the table of stack events that SAM prints.
#[derive(Debug, PartialEq, Eq)]
struct StackEvent<'a> {
    status: &'a str,
    resource: &'a str,
}

impl<'a> StackEvent<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let status = words.next().filter(|word| {
            ["CREATE_", "UPDATE_", "DELETE_", "ROLLBACK_"].iter().any(|verb| word.starts_with(verb))
        })?;
        words.next().filter(|kind| kind.contains("::"))?;
        Some(Self { status, resource: words.next()? })
    }

    fn is_complete(&self) -> bool {
        self.status.ends_with("_COMPLETE")
    }
}

/// The lines of SAM's output that tell why a deployment failed; failing those, its last ones. SAM wraps the columns of
/// its table, so the reason goes on in the lines below, which begin with spaces.
fn reasons(output: &str) -> String {
    const ENOUGH: usize = 14;
    let mut kept: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in output.lines() {
        let failed = line.contains("_FAILED");
        inside = failed || (inside && line.starts_with(' ') && !line.trim().is_empty());
        let error = line.starts_with("Error") || line.contains("error:") || line.contains("Exception");
        if inside || error {
            kept.push(line.trim_end());
        }
    }
    kept.dedup();
    match kept.len() {
        0 => files::last_lines(output, 8),
        // The first failure is the cause; the last line is SAM's verdict.
        many if many > ENOUGH => {
            let mut shown = kept[..ENOUGH - 1].to_vec();
            shown.extend(["…", kept[many - 1]]);
            shown.join("\n")
        }
        _ => kept.join("\n"),
    }
}

/// Stands for all that decides what a deployment leads to.
fn fingerprint(repo: &Repo, parameters: &Parameters) -> Result<String> {
    let mut inputs = vec![repo.template()];
    inputs.extend(templates(repo)?);
    inputs.extend(build::BINARIES.iter().map(|name| repo.package(name)));
    let named: Vec<(String, PathBuf)> = inputs.into_iter().map(|path| (repo.shown(&path), path)).collect();
    hash(&named, &parameters.overrides().join(" "))
}

/// The files of infra/ itself: nested templates and state machines.
pub fn templates(repo: &Repo) -> Result<Vec<PathBuf>> {
    let dir = repo.root().join("infra");
    let entries = std::fs::read_dir(&dir).map_err(Error::file("cannot read", &dir))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

fn hash(inputs: &[(String, impl AsRef<Path>)], parameters: &str) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(parameters);
    for (name, path) in inputs {
        let content = std::fs::read(path).map_err(Error::file("cannot read", path))?;
        // Lengths keep "ab"+"c" and "a"+"bc" apart.
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(&content);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Asks whether the right account is about to be changed. `yes`: on the command line it was said already.
pub async fn confirm_aws(
    repo: &Repo,
    target: &Target,
    options: &Options,
    arch: Arch,
    yes: bool,
) -> Result<()> {
    const WHO: &str = "import boto3, json\n\
                       s = boto3.session.Session()\n\
                       i = s.client('sts').get_caller_identity()\n\
                       print(json.dumps({'account': i['Account'], 'arn': i['Arn'], 'region': s.region_name}))";
    #[derive(Deserialize)]
    struct Who {
        account: String,
        arn: String,
        region: Option<String>,
    }
    python::ensure(repo).await?;
    let (set, unset) = target.environment();
    let asked = Run::new(repo.venv_bin(python::SAM, "python"), "the question who you are", QUESTION)
        .args(["-c", WHO])
        .without_env(unset)
        .envs(set)
        .quietly()
        .await?;
    let who: Option<Who> = serde_json::from_str(asked.stdout.trim()).ok();
    let Some(Who { account, arn, region: Some(region) }) = who else {
        let why =
            if asked.success() { "no region is set".into() } else { files::last_lines(&asked.output, 1) };
        return Err(Error::NoIdentity(why));
    };
    let parameters = Parameters::of(options, target, arch);
    ui::line(format!(
        "Deploying stack {} (stage {}, {}) to account {} in {}, as {arn}.",
        ui::warn(&parameters.stack(options, target)),
        parameters.stage,
        arch.name(),
        ui::warn(&account),
        ui::warn(&region)
    ));
    if yes {
        return Ok(());
    }
    confirmed("It will cost money there.").await
}

/// Asks whether to go on with what has this consequence.
pub async fn confirmed(consequence: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::CannotAsk);
    }
    ui::line(format!("{consequence} Go on? [y/N]"));
    // On a thread of its own, so that Ctrl-C is heard meanwhile.
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    match answer.await {
        Ok(Ok(answer)) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Error::NotConfirmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(stage: &str) -> Target {
        Target::Aws { stage: stage.into() }
    }

    #[test]
    fn stack_events_are_told_from_other_lines() {
        let line =
            "CREATE_COMPLETE              AWS::DynamoDB::Table         EventTable                   -    ";
        let event = StackEvent::parse(line).unwrap();
        assert_eq!(event, StackEvent { status: "CREATE_COMPLETE", resource: "EventTable" });
        assert!(event.is_complete());
        assert_eq!(StackEvent::parse("+ Add    Relay   AWS::CloudFormation::Stack   N/A"), None);
        assert_eq!(StackEvent::parse("CREATE_COMPLETE"), None);
    }

    #[test]
    fn a_failed_deployment_shows_its_reason_with_the_lines_it_was_wrapped_to() {
        let output = "Waiting for changeset\n\
                      CREATE_COMPLETE     AWS::IAM::Role       Role          -\n\
                      CREATE_FAILED       AWS::Lambda::Functi  StartBasket   Invalid\n\
                      \u{20}                   on                                 runtime\n\
                      ROLLBACK_COMPLETE   AWS::CloudFormation  mallard       -\n\
                      \n\
                      Error: Failed to create/update the stack: mallard\n";
        let shown = reasons(output);
        assert!(shown.starts_with("CREATE_FAILED") && shown.contains("runtime"), "{shown}");
        assert!(shown.ends_with("stack: mallard") && !shown.contains("Waiting"), "{shown}");
        assert_eq!(reasons("a\nb"), "a\nb");
    }

    #[test]
    fn a_parameter_is_taken_as_it_is_and_the_last_one_counts() {
        let parameter = |text: &str| text.parse::<Parameter>();
        let given = ["A=1", "B=x=y", "A=2"].map(|text| parameter(text).unwrap());
        let options = Options { parameters: given.to_vec(), ..Options::default() };
        let parameters = Parameters::of(&options, &aws("dev"), Arch::here());
        assert_eq!(parameters.overrides()[3..], ["A=2", "B=x=y"]);
        assert_ne!(
            parameters.overrides(),
            Parameters::of(&Options::default(), &aws("dev"), Arch::here()).overrides()
        );
        for wrong in ["A", "=1", "A B=1", "Stage=x", "Architecture=arm64", "A=\"", ""] {
            assert!(parameter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn deploying_one_stage_does_not_change_the_stack_of_another() {
        let name = |options: &Options, target: &Target| {
            let parameters = Parameters::of(options, target, Arch::here());
            (parameters.stack(options, target), parameters.prefix())
        };
        let usual = Options::default();
        for stage in ["dev", "prod"] {
            let own = format!("mallard-{stage}");
            assert_eq!(name(&usual, &aws(stage)), (own.clone(), own));
        }
        let named = Options { stack: Some("shop".into()), ..Options::default() };
        assert_eq!(name(&named, &aws("prod")), ("shop".into(), "mallard-prod".into()));
        let elsewhere = Target::Endpoint("http://10.0.0.1:4566".into());
        assert_eq!(name(&usual, &elsewhere), ("mallard".into(), "mallard-local".into()));
    }

    #[test]
    fn a_stack_that_was_never_made_is_told_from_one_that_was_rolled_back() {
        let refused = |state: &str| format!("Stack:arn:aws:x is in {state} state and can not be updated.");
        assert!(never_made(&refused("ROLLBACK_COMPLETE")) && never_made(&refused("ROLLBACK_FAILED")));
        assert!(!never_made(&refused("UPDATE_ROLLBACK_FAILED")) && !never_made(&refused("DELETE_FAILED")));
        assert!(!never_made("ROLLBACK_COMPLETE   AWS::CloudFormation::Stack   mallard   -"));
    }

    #[test]
    fn a_parameter_that_the_template_does_not_have_is_not_left_out_in_silence() {
        let template = "Transform: x\n\nParameters:\n  # why\n  Stage:\n    Type: String\n  Paid: {Type: Number}\n\nResources:\n  Bus:\n";
        assert_eq!(declared(template), ["Stage", "Paid"]);
        let options = Options { parameters: vec!["Payd=1".parse().unwrap()], ..Options::default() };
        let parameters = Parameters::of(&options, &aws("dev"), Arch::here());
        let Err(Error::NoSuchParameter { asked, known }) = parameters.check(template) else {
            panic!("taken")
        };
        assert_eq!((asked.as_str(), known.len()), ("Payd", 2));
    }

    #[test]
    fn outputs_are_read_from_what_sam_lists() {
        let json = r#"[{"OutputKey":"ApiId","OutputValue":"abc","Description":"-"}]"#;
        assert_eq!(parse_outputs(json).unwrap()["ApiId"], "abc");
        assert!(parse_outputs("Error: no such stack").is_none());
    }

    #[test]
    fn any_change_of_a_file_its_name_or_a_parameter_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.yaml");
        let of = |name: &str, content: &str, parameters: &str| {
            std::fs::write(&path, content).unwrap();
            hash(&[(name.to_owned(), &path)], parameters).unwrap()
        };
        let first = of("t.yaml", "a", "Stage=local");
        assert_eq!(first, of("t.yaml", "a", "Stage=local"));
        assert_ne!(first, of("t.yaml", "b", "Stage=local"));
        assert_ne!(first, of("u.yaml", "a", "Stage=local"));
        assert_ne!(first, of("t.yaml", "a", "Stage=dev"));
    }
}
