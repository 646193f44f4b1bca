//! Where the mall runs: on the local cloud that `mall` manages, at another endpoint (LocalStack, any emulator), or on
//! AWS.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::{
    cloud::{self, Cloud, Found},
    errors::{Error, Result},
    paths::Home,
    stack::Stack,
};

/// Where emulators are, unless AWS_REGION says otherwise.
const REGION: &str = "us-east-1";

/// The stage on AWS when none is asked for.
const USUAL_STAGE: &str = "dev";

/// A single request, with the SDK's own retries.
const CALL: Duration = Duration::from_secs(20);

/// The user's own account settings, which have no business in a local cloud.
const OWN_SETTINGS: &[&str] =
    &["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ROLE_ARN"];

/// See the module.
#[derive(Debug, Clone)]
pub enum Target {
    /// The cloud of this checkout.
    Local(Cloud),
    /// Somebody else's cloud.
    Endpoint(String),
    /// AWS, as the user's own settings say. An account has room for several deployments; this is that of one stage.
    Aws { stage: String },
}

/// Where the user wants to be.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// A LocalStack-compatible cloud to use instead of the one that `mall up` runs
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", conflicts_with = "aws")]
    pub endpoint: Option<String>,
    /// AWS itself, with the credentials and the region of your environment or profile
    #[arg(long)]
    pub aws: bool,
}

/// Which deployment the user means.
#[derive(Debug, Clone, clap::Args)]
pub struct Choice {
    #[command(flatten)]
    place: Place,
    /// The deployment of this stage [default: dev on AWS, elsewhere the one that is there]
    #[arg(long, value_parser = stage)]
    stage: Option<String>,
}

impl Choice {
    /// The choice as a target; the local cloud has to be up.
    ///
    /// # Errors
    /// Also when what is deployed there is of another stage than was asked for.
    pub fn target(&self, home: &Home) -> Result<Target> {
        let target = self.place.target(home, self.stage.as_deref())?;
        let Some(stage) = &self.stage else { return Ok(target) };
        match Stack::known(home, &target)? {
            Some(stack) if stack.prefix != prefix(stage) => {
                Err(Error::OtherStage { asked: stage.clone(), there: stack.prefix, at: target.name() })
            }
            Some(_) | None => Ok(target),
        }
    }
}

/// What all names of a stage's deployment start with.
pub fn prefix(stage: &str) -> String {
    format!("mallard-{stage}")
}

/// A stage as the template takes it.
pub fn stage(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let sound = text.starts_with(|first: char| first.is_ascii_lowercase()) && text.chars().all(allowed);
    if !sound || text.len() > 16 {
        return Err("a stage has at most 16 of a-z, 0-9 and -, and begins with a letter".to_owned());
    }
    Ok(text.to_owned())
}

impl Place {
    /// The place as a target; the local cloud has to be up.
    pub fn target(&self, home: &Home, stage: Option<&str>) -> Result<Target> {
        if self.aws {
            return Ok(Target::Aws { stage: stage.unwrap_or(USUAL_STAGE).to_owned() });
        }
        match other(self.endpoint.as_deref(), home)? {
            Some(url) => Ok(Target::Endpoint(url)),
            None => cloud::running(home).map(Target::Local),
        }
    }
}

/// The endpoint, if it is given and is not just the address of our own cloud.
pub fn other(endpoint: Option<&str>, home: &Home) -> Result<Option<String>> {
    let Some(url) = endpoint.map(|url| url.trim_end_matches('/')).filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    let ours = match cloud::find(home)? {
        Found::Running(cloud) | Found::Dead(cloud) => is_address_of(url, cloud.port),
        Found::Nothing => false,
    };
    Ok((!ours).then(|| url.to_owned()))
}

fn is_address_of(url: &str, port: u16) -> bool {
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| url == format!("http://{host}:{port}"))
}

impl Target {
    pub fn endpoint(&self) -> Option<String> {
        match self {
            Target::Local(cloud) => Some(cloud.endpoint()),
            Target::Endpoint(url) => Some(url.clone()),
            Target::Aws { .. } => None,
        }
    }

    /// As it is named to the user.
    pub fn name(&self) -> String {
        match self {
            Target::Local(cloud) => format!("the local cloud (port {})", cloud.port),
            Target::Endpoint(url) => url.clone(),
            Target::Aws { stage } => format!("AWS (stage {stage})"),
        }
    }

    pub fn region(&self) -> Option<String> {
        let set = |name| std::env::var(name).ok().filter(|region: &String| !region.is_empty());
        let own = set("AWS_REGION");
        match self {
            Target::Aws { .. } => own.or_else(|| set("AWS_DEFAULT_REGION")),
            // What functions see is the emulator's region; another one would look for the stack where it is not.
            Target::Local(_) => Some(REGION.into()),
            Target::Endpoint(_) => own.or_else(|| Some(REGION.into())),
        }
    }

    /// The file that remembers what is deployed there.
    pub fn stack_file(&self, home: &Home) -> std::path::PathBuf {
        match self {
            Target::Local(_) => home.stack(),
            Target::Aws { stage } => home.stack().with_file_name(aws_file(stage, self.region())),
            Target::Endpoint(url) => {
                home.stack().with_file_name(format!("stack-{}.json", in_a_file_name(url)))
            }
        }
    }

    /// Environment for programs that speak to it: what to set, and what to take away.
    pub fn environment(&self) -> (Vec<(&'static str, String)>, &'static [&'static str]) {
        let mut set = vec![("SAM_CLI_TELEMETRY", "0".to_owned())];
        let Some(endpoint) = self.endpoint() else {
            // SAM reads one of them and we the other; a stack that is not where we look would be a second one.
            if let Some(region) = self.region() {
                set.extend([("AWS_REGION", region.clone()), ("AWS_DEFAULT_REGION", region)]);
            }
            return (set, &["AWS_ENDPOINT_URL"]);
        };
        let (key, secret) = self.credentials();
        let region = self.region().unwrap_or_default();
        set.extend([
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", region.clone()),
            ("AWS_DEFAULT_REGION", region),
            ("AWS_CONFIG_FILE", "/dev/null".into()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("NO_PROXY", cloud::no_proxy()),
        ]);
        (set, OWN_SETTINGS)
    }

    /// An emulator is told nothing about the user's account. Another endpoint may know keys of its own, but only if both
    /// halves were given.
    fn credentials(&self) -> (String, String) {
        let own = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        match (self, own("AWS_ACCESS_KEY_ID"), own("AWS_SECRET_ACCESS_KEY")) {
            (Target::Endpoint(_), Some(key), Some(secret)) => (key, secret),
            _ => ("test".into(), "test".into()),
        }
    }

    /// What the AWS SDK needs to speak to it.
    pub async fn sdk(&self) -> SdkConfig {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let limits =
            TimeoutConfig::builder().operation_timeout(CALL).connect_timeout(Duration::from_secs(3)).build();
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(limits);
        if let Some(region) = self.region() {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = self.endpoint() {
            let (key, secret) = self.credentials();
            loader = loader.endpoint_url(endpoint).credentials_provider(
                aws_sdk_dynamodb::config::Credentials::new(key, secret, None, None, "mall"),
            );
        }
        loader.load().await
    }

    /// Makes sure that somebody answers.
    pub async fn reach(&self) -> Result<()> {
        match self {
            Target::Aws { .. } => Ok(()),
            Target::Endpoint(url) => cloud::healthy(url).await,
            Target::Local(cloud) => cloud::healthy(&cloud.endpoint())
                .await
                .map_err(|_| Error::CloudHangs { pid: cloud.pid, port: cloud.port }),
        }
    }
}

/// What remembers a stage on AWS. Which account it is, only AWS can say. With credentials of another one nothing is found and
/// nothing done: addresses of queues and state machines hold their account, and no two accounts have an event table of the same name.
fn aws_file(stage: &str, region: Option<String>) -> String {
    let parts = ["stack-aws".to_owned(), stage.to_owned()].into_iter();
    let parts: Vec<String> = parts.chain(region.as_deref().map(in_a_file_name)).collect();
    // A dot is in neither, so that no two of them share a file.
    format!("{}.json", parts.join("."))
}

fn in_a_file_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Turns an SDK error into ours; its chain of causes is what tells something.
pub fn aws<E, R>(operation: &'static str) -> impl FnOnce(aws_sdk_dynamodb::error::SdkError<E, R>) -> Error
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    move |error| Error::Aws { operation, why: causes(&error) }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !parts.last().is_some_and(|last| last.contains(&text)) {
            parts.push(text);
        }
        cause = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_our_own_cloud_is_not_somebody_elses() {
        assert!(is_address_of("http://localhost:4566", 4566));
        assert!(is_address_of("http://127.0.0.1:4566", 4566));
        assert!(!is_address_of("http://127.0.0.1:4567", 4566));
        assert!(!is_address_of("http://localstack:4566", 4566));
    }

    #[test]
    fn each_target_remembers_its_stack_in_a_file_of_its_own() {
        let home = crate::paths::Repo::find().unwrap().home();
        let file =
            |target: Target| target.stack_file(&home).file_name().unwrap().to_str().unwrap().to_owned();
        let (dev, prod) =
            (file(Target::Aws { stage: "dev".into() }), file(Target::Aws { stage: "prod".into() }));
        assert!(dev.starts_with("stack-aws.dev") && prod.starts_with("stack-aws.prod"), "{dev} {prod}");
        let names = [
            aws_file("dev", None),
            aws_file("dev", Some("eu-west-1".into())),
            aws_file("dev-eu-west-1", None),
            aws_file("dev", Some("us-east-1".into())),
        ];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert_eq!(file(Target::Endpoint("http://10.0.0.1:4566".into())), "stack-http---10-0-0-1-4566.json");
    }

    #[test]
    fn a_stage_that_the_template_would_refuse_is_refused_before_anything_is_built() {
        for sound in ["dev", "p", "eu-west-2", "a234567890123456"] {
            assert_eq!(stage(sound).as_deref(), Ok(sound));
        }
        for wrong in ["", "Prod", "1st", "-a", "a_b", "a.b", "../a", "a2345678901234567"] {
            assert!(stage(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn programs_that_speak_to_an_emulator_never_see_the_users_account() {
        let (set, removed) = Target::Endpoint("http://x:1".into()).environment();
        let value = |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("AWS_CONFIG_FILE"), Some("/dev/null"));
        assert_eq!(value("AWS_ENDPOINT_URL"), Some("http://x:1"));
        assert!(removed.contains(&"AWS_PROFILE"));
    }
}
