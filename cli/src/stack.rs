//! What is deployed where: the stack's outputs, remembered in `stack.json`.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    errors::{Error, Result},
    files,
    paths::Home,
    target::{Target, prefix},
};

/// A deployed stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stack {
    pub name: String,
    /// Prefix of all names: `mallard-<stage>`.
    pub prefix: String,
    /// Address of the cloud; none for AWS.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// The emulator process it was deployed to: with that it is gone, whatever runs on the port later.
    pub cloud: Option<String>,
    /// Stands for templates, binaries and parameters.
    pub fingerprint: String,
    pub deployed_at: Timestamp,
    /// Base of all requests: `<api>/api/baskets`.
    pub api: String,
    pub outputs: BTreeMap<String, String>,
}

impl Stack {
    /// What is known to be deployed at `target`.
    pub fn known(home: &Home, target: &Target) -> Result<Option<Self>> {
        // A deployment of somebody else, such as of `mall test`: as its end-to-end tests are told of it.
        if let Some(file) = std::env::var_os("MALL_STACK_FILE") {
            let stack: Option<Self> = files::read_json(Path::new(&file))?;
            return Ok(stack.filter(|stack| stack.endpoint == target.endpoint()));
        }
        let stack: Option<Self> = files::read_json(&target.stack_file(home))?;
        Ok(stack.filter(|stack| stack.is_at(target)))
    }

    /// The same, or an error that says to deploy.
    pub fn deployed(home: &Home, target: &Target) -> Result<Self> {
        Self::known(home, target)?.ok_or_else(|| Error::NotDeployed(target.name()))
    }

    fn is_at(&self, target: &Target) -> bool {
        let process = match target {
            Target::Local(cloud) => Some(&cloud.identity),
            Target::Endpoint(_) | Target::Aws { .. } => None,
        };
        let of_stage = match target {
            Target::Aws { stage } => self.prefix == prefix(stage),
            Target::Local(_) | Target::Endpoint(_) => true,
        };
        of_stage && self.cloud.as_ref() == process && self.endpoint == target.endpoint()
    }

    /// An output.
    pub fn output(&self, name: &'static str) -> Result<&str> {
        let missing = || Error::NoOutput { stack: self.name.clone(), output: name };
        self.outputs.get(name).map(String::as_str).ok_or_else(missing)
    }

    /// URLs of the queues that hold what went wrong.
    pub fn dead_letter_queues(&self) -> Result<Vec<&str>> {
        Ok(self.output("DeadLetterQueues")?.split(',').filter(|url| !url.is_empty()).collect())
    }
}

/// The base address of the HTTP API. On an emulator the path form: it needs neither names like `<id>.localhost`, which
/// not every system resolves, nor a Host header.
pub fn api_address(target: &Target, outputs: &BTreeMap<String, String>) -> Option<String> {
    match target.endpoint() {
        Some(endpoint) => Some(format!("{endpoint}/_aws/execute-api/{}/$default", outputs.get("ApiId")?)),
        None => outputs.get("ApiUrl").map(|url| url.trim_end_matches('/').to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Cloud;

    fn local(identity: &str) -> Target {
        Target::Local(Cloud { pid: 9, identity: identity.into(), port: 4566, since: Timestamp::UNIX_EPOCH })
    }

    fn aws(stage: &str) -> Target {
        Target::Aws { stage: stage.into() }
    }

    fn stack(cloud: Option<&str>, endpoint: Option<&str>) -> Stack {
        Stack {
            name: "mallard".into(),
            prefix: "mallard-local".into(),
            endpoint: endpoint.map(Into::into),
            region: None,
            cloud: cloud.map(Into::into),
            fingerprint: String::new(),
            deployed_at: Timestamp::UNIX_EPOCH,
            api: String::new(),
            outputs: BTreeMap::from([("DeadLetterQueues".into(), "http://a,http://b".into())]),
        }
    }

    #[test]
    fn a_stack_is_gone_with_the_emulator_it_was_deployed_to() {
        let stack = stack(Some("first"), Some("http://127.0.0.1:4566"));
        assert!(stack.is_at(&local("first")));
        assert!(!stack.is_at(&local("second")));
        assert!(!stack.is_at(&aws("local")));
    }

    #[test]
    fn what_is_meant_for_one_stage_never_reaches_another() {
        let stack = Stack { prefix: "mallard-prod".into(), ..stack(None, None) };
        assert!(stack.is_at(&aws("prod")));
        assert!(!stack.is_at(&aws("dev")) && !stack.is_at(&aws("pro")));
    }

    #[test]
    fn outputs_are_asked_for_by_name() {
        let stack = stack(None, None);
        assert_eq!(stack.dead_letter_queues().unwrap(), ["http://a", "http://b"]);
        assert!(matches!(stack.output("EventTable"), Err(Error::NoOutput { output: "EventTable", .. })));
    }

    #[test]
    fn the_address_of_the_api_needs_no_host_header() {
        let outputs = BTreeMap::from([
            ("ApiId".to_owned(), "abc".to_owned()),
            ("ApiUrl".to_owned(), "https://abc.execute-api.eu-west-1.amazonaws.com/".to_owned()),
        ]);
        assert_eq!(
            api_address(&local("x"), &outputs).unwrap(),
            "http://127.0.0.1:4566/_aws/execute-api/abc/$default"
        );
        assert_eq!(
            api_address(&aws("dev"), &outputs).unwrap(),
            "https://abc.execute-api.eu-west-1.amazonaws.com"
        );
    }
}
