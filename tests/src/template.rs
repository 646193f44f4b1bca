//! Reads the SAM templates as CloudFormation would, and holds the rules of the infrastructure against them.
//!
//! A rule is a function from templates to problems, each a sentence that names the resource; an empty list is what
//! `tests/template.rs` wants for the real templates, and what it must not get for broken ones. What a rule does not
//! understand (an intrinsic where it wants a value, an unknown kind of event) is a problem too: it never passes
//! what it could not check. What it does not see is what AWS makes of the templates; cfn-lint and deploying do that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value, json};
use yaml_serde::value::TaggedValue;

/// One template.
pub struct Template {
    /// The file's name without ending; `template` is the root.
    pub context: String,
    /// Its text in the long form of intrinsics (`{"Ref": …}`, `{"Fn::GetAtt": […]}`), with the function globals merged
    /// into each function.
    pub document: Value,
}

/// A resource of a template.
#[derive(Clone, Copy)]
pub struct Resource<'a> {
    /// The template it stands in.
    pub template: &'a Template,
    /// Its logical id.
    pub id: &'a str,
    /// Its CloudFormation type.
    pub kind: &'a str,
    /// What it is given.
    pub properties: &'a Value,
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.id, self.template.context)
    }
}

/// One statement of a policy, and the resource it stands in.
struct Statement<'a> {
    holder: Resource<'a>,
    text: &'a Value,
}

/// The root template and every template under `infra/`, from the top of the repository.
pub fn templates_of(repository: &Path) -> Vec<Template> {
    let mut paths = vec![repository.join("template.yaml")];
    let infra = repository.join("infra");
    let listed = infra.read_dir().unwrap_or_else(|e| panic!("{}: {e}", infra.display()));
    paths.extend(
        listed
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "yaml")),
    );
    paths.sort();
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let context = path.file_stem().expect("a file name").to_string_lossy();
        Template::parse(&context, &text)
    };
    paths.iter().map(|path| read(path)).collect()
}

impl Template {
    /// Reads a template; panics on text that is not YAML, since only tests call it.
    pub fn parse(context: &str, text: &str) -> Template {
        let yaml = yaml_serde::from_str(text).unwrap_or_else(|e| panic!("{context}: {e}"));
        let mut document = long_form(yaml);
        let globals = document["Globals"]["Function"].clone();
        for resource in document["Resources"].as_object_mut().expect("Resources").values_mut() {
            if resource["Type"] == "AWS::Serverless::Function" {
                let own = resource["Properties"].take();
                resource["Properties"] = merged(globals.clone(), own);
            }
        }
        Template { context: context.to_owned(), document }
    }

    /// The resources of one type.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Resource<'a>> {
        self.resources().filter(move |resource| resource.kind == kind)
    }

    /// All resources.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        let all = self.document["Resources"].as_object().into_iter().flatten();
        all.map(move |(id, resource)| Resource {
            template: self,
            id,
            kind: resource["Type"].as_str().unwrap_or_default(),
            properties: &resource["Properties"],
        })
    }

    /// Its Lambda functions.
    pub fn functions(&self) -> impl Iterator<Item = Resource<'_>> {
        self.of_kind("AWS::Serverless::Function")
    }

    /// The resource an intrinsic points to, if it is one of this template.
    fn target(&self, reference: &Value) -> Option<Resource<'_>> {
        let id = referred(reference)?;
        self.resources().find(|resource| resource.id == id)
    }

    /// The ids of all that is made before this resource: what it depends on, by word or by reference, and what that does.
    fn made_before<'a>(&'a self, id: &'a str) -> BTreeSet<&'a str> {
        let mut before = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let resource = &self.document["Resources"][id];
            let mut named = vec![];
            references(&resource["Properties"], &mut named);
            named.extend(items(&resource["DependsOn"]).filter_map(Value::as_str));
            open.extend(named.into_iter().filter(|name| before.insert(*name)));
        }
        before
    }

    fn statements(&self) -> impl Iterator<Item = Statement<'_>> {
        self.resources().flat_map(|holder| {
            let documents: Vec<&Value> = match holder.kind {
                "AWS::IAM::Role" => {
                    items(&holder.properties["Policies"]).map(|p| &p["PolicyDocument"]).collect()
                }
                "AWS::IAM::ManagedPolicy" | "AWS::IAM::Policy" => vec![&holder.properties["PolicyDocument"]],
                _ => vec![],
            };
            let texts = documents.into_iter().flat_map(|document| items(&document["Statement"]));
            texts.map(move |text| Statement { holder, text }).collect::<Vec<_>>()
        })
    }
}

impl Statement<'_> {
    fn actions(&self) -> Vec<&str> {
        items(&self.text["Action"]).map(|action| action.as_str().unwrap_or("?")).collect()
    }

    fn resources(&self) -> impl Iterator<Item = &Value> {
        items(&self.text["Resource"])
    }
}

// ---- the rules

/// What AWS offers no resource for. Everything else names exactly what it is about.
const WITHOUT_RESOURCES: &[(&str, &str)] = &[
    ("dynamodb:ListStreams", "asked for by every stream mapping; the action knows no resources"),
    ("logs:CreateLogDelivery", "Step Functions sets up its own logging; none of these know resources"),
    ("logs:GetLogDelivery", "as above"),
    ("logs:UpdateLogDelivery", "as above"),
    ("logs:DeleteLogDelivery", "as above"),
    ("logs:ListLogDeliveries", "as above"),
    ("logs:PutResourcePolicy", "as above"),
    ("logs:DescribeResourcePolicies", "as above"),
    ("logs:DescribeLogGroups", "as above"),
];

const STREAM_READING: &[&str] =
    &["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"];

/// On the event table nothing but appending to the streams of the own context and reading those of a named one.
pub fn event_table_is_append_only(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    let contexts: Vec<&str> = templates.iter().map(|template| template.context.as_str()).collect();
    for statement in templates.iter().flat_map(Template::statements) {
        let Some(resource) = statement.resources().find(|resource| is_event_table(resource)) else {
            continue;
        };
        let Statement { holder, text } = &statement;
        if statement.resources().count() > 1
            || !matches!(referred(resource), Some("EventTable" | "EventTableArn"))
        {
            problems.push(format!(
                "{holder}: a statement on the event table must name the table's ARN and nothing else"
            ));
        }
        let mut actions = statement.actions();
        actions.sort_unstable();
        // A scan knows no leading keys: only sweeps read the whole table, and they write nothing there.
        if actions == ["dynamodb:Scan"] {
            if !is_of(holder, &[SWEEPER]) {
                problems.push(format!("{holder}: only the roles of {SWEEPER} may scan the event table"));
            }
            continue;
        }
        let appends = match actions[..] {
            ["dynamodb:Query"] => false,
            ["dynamodb:PutItem", "dynamodb:Query"] => true,
            _ => {
                problems.push(format!(
                    "{holder}: {actions:?} on the event table; only PutItem and Query may be allowed"
                ));
                continue;
            }
        };
        let fence = &text["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
        let fenced = items(fence).map(|key| key.as_str()?.strip_suffix(".*")).collect::<Option<Vec<_>>>();
        match fenced.as_deref() {
            Some([context]) if text["Condition"] == leading_keys(context) => {
                if appends && *context != holder.template.context {
                    problems.push(format!("{holder}: appends to the streams of {context}"));
                }
                if !contexts.contains(context) {
                    problems.push(format!("{holder}: reads the streams of {context}, which is no context"));
                }
            }
            _ => problems.push(format!(
                "{holder}: must be fenced by dynamodb:LeadingKeys to one context and nothing else"
            )),
        }
    }
    problems
}

fn leading_keys(context: &str) -> Value {
    json!({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [format!("{context}.*")]}})
}

/// The handler of the functions that sweep views.
const SWEEPER: &str = "sweep-view";

/// Whether this is a role of functions with these handlers, and of no other.
fn is_of(holder: &Resource<'_>, handlers: &[&str]) -> bool {
    let mut users = holder
        .template
        .functions()
        .filter(|function| {
            holder.template.target(&function.properties["Role"]).is_some_and(|r| r.id == holder.id)
        })
        .peekable();
    holder.kind == "AWS::IAM::Role"
        && users.peek().is_some()
        && users.all(|function| handlers.iter().any(|handler| function.properties["Handler"] == *handler))
}

/// The views that a context says it has: each with its worker, and fed by a queue whose name follows from its own.
pub fn views_are_listed(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates.iter().filter(|template| template.context != "template") {
        let listed = template.document["Outputs"]["Views"]["Value"].as_str().unwrap_or_default();
        let mut listed: Vec<&str> = listed.split(',').filter(|view| !view.is_empty()).collect();
        listed.sort_unstable();
        let worker = template.functions().find(|function| function.properties["Handler"] == SWEEPER);
        let variables = worker.map(|worker| &worker.properties["Environment"]["Variables"]);
        let mut swept: Vec<String> = variables
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, _)| name.strip_suffix("_TABLE").or(name.strip_suffix("_BUCKET")))
            .filter(|name| !["EVENT", "SWEEPS"].contains(name))
            .map(|name| format!("{}.{}", template.context, name.to_lowercase().replace('_', "-")))
            .collect();
        swept.sort_unstable();
        if listed != swept {
            problems.push(format!("{}: lists the views {listed:?}, sweeps {swept:?}", template.context));
        }
        for view in listed {
            let (context, name) = view.split_once('.').unwrap_or(("", view));
            let queue = json!(format!("${{Prefix}}-{context}-project-{name}"));
            let fed =
                template.of_kind("AWS::SQS::Queue").any(|q| q.properties["QueueName"]["Fn::Sub"] == queue);
            if !fed {
                problems.push(format!("{view}: no queue is called {queue}"));
            }
        }
    }
    problems
}

/// A role that lists by an index of keys may read the rows of its table in batches, and no other role may.
pub fn lists_of_keys_read_rows(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates {
        let keys_only = |table: &str, index: &str| {
            let of_keys = |found: &Value| {
                found["IndexName"] == index && found["Projection"]["ProjectionType"] == "KEYS_ONLY"
            };
            items(&template.document["Resources"][table]["Properties"]["GlobalSecondaryIndexes"]).any(of_keys)
        };
        let statements: Vec<Statement<'_>> = template.statements().collect();
        let mut roles: BTreeMap<&str, [BTreeSet<&str>; 2]> = BTreeMap::new();
        for statement in &statements {
            let [listed, read] = roles.entry(statement.holder.id).or_default();
            if statement.actions().contains(&"dynamodb:Query") {
                let indexes = statement.resources().filter_map(|resource| {
                    resource["Fn::Sub"].as_str()?.strip_prefix("${")?.split_once(".Arn}/index/")
                });
                let of_keys = indexes.filter(|(table, index)| keys_only(table, index));
                listed.extend(of_keys.map(|(table, _)| table));
            }
            // A sweep reads rows in batches, too, and lists nothing.
            if statement.actions().contains(&"dynamodb:BatchGetItem") && !is_of(&statement.holder, &[SWEEPER])
            {
                read.extend(statement.resources().map(|resource| referred(resource).unwrap_or("?")));
            }
        }
        for (role, [listed, read]) in roles {
            problems.extend(listed.difference(&read).map(|table| {
                format!("{role} in {}: lists keys of {table} and may not read the rows", template.context)
            }));
            problems.extend(read.difference(&listed).map(|table| {
                format!("{role} in {}: may read rows of {table} and lists no keys of it", template.context)
            }));
        }
    }
    problems
}

/// No function may change or remove an item of any table by more than a conditional put. Only a worker that
/// sweeps views removes rows, and of views only.
pub fn no_updates_and_no_deletes(templates: &[Template]) -> Vec<String> {
    const READING_AND_PUTTING: &[&str] =
        &["dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"];
    let allowed = |action: &str| READING_AND_PUTTING.contains(&action) || STREAM_READING.contains(&action);
    let mut problems = vec![];
    for statement in templates.iter().flat_map(Template::statements) {
        let sweeps = is_of(&statement.holder, &[SWEEPER])
            && !statement
                .resources()
                .any(|resource| is_event_table(resource) || referred(resource) == Some("SweepsTableArn"));
        let scans = is_of(&statement.holder, &[SWEEPER]) && statement.actions() == ["dynamodb:Scan"];
        for action in statement.actions() {
            let excused = scans || sweeps && ["dynamodb:DeleteItem", "dynamodb:Scan"].contains(&action);
            if action.starts_with("dynamodb:") && !allowed(action) && !excused {
                problems.push(format!(
                    "{}: {action} is not among what a function may do to a table",
                    statement.holder
                ));
            }
        }
    }
    problems
}

/// Policies name what they are about: no wildcard resources or actions, no negations, no policies from elsewhere.
pub fn policies_are_exact(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for Statement { holder, text } in templates.iter().flat_map(Template::statements) {
        let statement = Statement { holder, text };
        if text["Effect"] != "Allow" || !text["NotAction"].is_null() || !text["NotResource"].is_null() {
            problems.push(format!("{holder}: statements allow actions on resources, and are not negations"));
        }
        if statement.actions().iter().any(|action| action.contains(['*', '?'])) {
            problems.push(format!("{holder}: {:?} holds a wildcard action", statement.actions()));
        }
        if statement.resources().count() == 0 {
            problems.push(format!("{holder}: a statement without resources"));
        }
        for resource in statement.resources().filter(|resource| resource.to_string().contains('*')) {
            let excused = |action: &&str| WITHOUT_RESOURCES.iter().any(|(excused, _)| excused == action);
            let excused = resource == "*" && statement.actions().iter().all(excused)
                || of_one_machine(resource) && statement.actions().iter().all(|a| ON_EXECUTIONS.contains(a))
                || of_itself(&holder, resource)
                    && statement.actions().iter().all(|a| ON_OWN_EXECUTIONS.contains(a))
                || in_one_bucket(statement.holder.template, resource)
                    && statement.actions().iter().all(|a| ON_OBJECTS.contains(a));
            if !excused {
                problems.push(format!("{holder}: {:?} on {resource}", statement.actions()));
            }
        }
    }
    for role in templates.iter().flat_map(|template| template.of_kind("AWS::IAM::Role")) {
        for policy in items(&role.properties["ManagedPolicyArns"]) {
            if role.template.target(policy).is_none_or(|policy| policy.kind != "AWS::IAM::ManagedPolicy") {
                problems.push(format!("{role}: attaches {policy}, which does not stand in this template"));
            }
        }
    }
    problems
}

/// What may be done with objects, whose names only their writers know.
const ON_OBJECTS: &[&str] = &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];

/// Whether this is all objects below one folder of a bucket of this template.
fn in_one_bucket(template: &Template, resource: &Value) -> bool {
    let text = resource["Fn::Sub"].as_str().unwrap_or_default();
    let Some((bucket, folder)) = text.strip_prefix("${").and_then(|rest| rest.split_once(".Arn}/")) else {
        return false;
    };
    let named = folder.strip_suffix("/*").is_some_and(|folder| !folder.is_empty() && !folder.contains('*'));
    named && template.of_kind("AWS::S3::Bucket").any(|resource| resource.id == bucket)
}

/// What may be asked about executions, whose names only their starts know.
const ON_EXECUTIONS: &[&str] = &["states:DescribeExecution", "states:GetExecutionHistory"];

/// What a state machine with a distributed map has to do with the executions of its own that this starts.
const ON_OWN_EXECUTIONS: &[&str] = &["states:DescribeExecution", "states:StopExecution"];

/// Whether this is all executions of the one state machine that has this role.
fn of_itself(holder: &Resource<'_>, resource: &Value) -> bool {
    let of_holder = |machine: &Resource<'_>| {
        holder.template.target(&machine.properties["Role"]).is_some_and(|role| role.id == holder.id)
    };
    let text = resource["Fn::Sub"].as_str().unwrap_or_default();
    let machines = holder.template.of_kind("AWS::Serverless::StateMachine");
    of_one_machine(resource)
        && machines.filter(of_holder).any(|machine| {
            let name = machine.properties["Name"]["Fn::Sub"].as_str().unwrap_or("?");
            text.ends_with(&format!(":execution:{name}:*"))
        })
}

/// Whether this is all executions of one state machine of ours, which is named to the end.
fn of_one_machine(resource: &Value) -> bool {
    let text = resource["Fn::Sub"].as_str().unwrap_or_default();
    let machine = text.split_once(":execution:${Prefix}-").and_then(|(_, rest)| rest.strip_suffix(":*"));
    text.matches('*').count() == 1 && machine.is_some_and(|name| !name.is_empty() && !name.contains(':'))
}

/// A function knows the state machines that it starts by name only, because they refer to functions: there
/// has to be one of that name.
pub fn named_machines_exist(templates: &[Template]) -> Vec<String> {
    let machines = templates.iter().flat_map(|template| template.of_kind("AWS::Serverless::StateMachine"));
    let names: Vec<&str> = machines.filter_map(|m| m.properties["Name"]["Fn::Sub"].as_str()).collect();
    let mut problems = vec![];
    for function in templates.iter().flat_map(Template::functions) {
        let variables = function.properties["Environment"]["Variables"].as_object();
        for value in variables.into_iter().flatten().filter_map(|(_, value)| value["Fn::Sub"].as_str()) {
            if let Some((_, name)) = value.split_once(":stateMachine:")
                && !names.contains(&name)
            {
                problems.push(format!("{function}: there is no state machine {name}"));
            }
        }
    }
    problems
}

/// Buckets are encrypted, belong to this account alone, and are closed to everybody else.
pub fn buckets_are_private(templates: &[Template]) -> Vec<String> {
    const CLOSED: [&str; 4] =
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"];
    let mut problems = vec![];
    for bucket in templates.iter().flat_map(|template| template.of_kind("AWS::S3::Bucket")) {
        let given = bucket.properties;
        if CLOSED.iter().any(|name| given["PublicAccessBlockConfiguration"][name] != true) {
            problems.push(format!("{bucket}: {CLOSED:?} must all be true"));
        }
        if given["OwnershipControls"]["Rules"] != json!([{"ObjectOwnership": "BucketOwnerEnforced"}]) {
            problems.push(format!("{bucket}: its objects must belong to this account (BucketOwnerEnforced)"));
        }
        if given["BucketEncryption"].is_null() {
            problems.push(format!("{bucket}: it must say how it is encrypted"));
        }
    }
    problems
}

/// Every function has its own role and its own log that forgets and drops nothing, and says how long, how large and on
/// what it runs.
pub fn functions_stand_alone(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    let mut used: BTreeMap<(String, String), String> = BTreeMap::new();
    for function in templates.iter().flat_map(Template::functions) {
        let properties = function.properties;
        for wanted in ["Handler", "Runtime", "FunctionName"] {
            if properties[wanted].is_null() {
                problems.push(format!("{function}: no {wanted}"));
            }
        }
        if properties["Timeout"].as_u64().is_none_or(|seconds| seconds > 60) {
            problems.push(format!("{function}: no Timeout of at most a minute"));
        }
        if properties["MemorySize"].as_u64().is_none() {
            problems.push(format!("{function}: no MemorySize"));
        }
        if properties["Architectures"] != json!([{"Ref": "Architecture"}]) {
            problems.push(format!("{function}: its architecture is not the parameter's"));
        }
        if !properties["Policies"].is_null() {
            problems.push(format!("{function}: policies belong in its role, where these tests read them"));
        }
        let role = function.template.target(&properties["Role"]).filter(|role| role.kind == "AWS::IAM::Role");
        let log = function.template.target(&properties["LoggingConfig"]["LogGroup"]);
        let log = log.filter(|log| log.kind == "AWS::Logs::LogGroup");
        let logging = &properties["LoggingConfig"];
        let told = |debug: &str, usual: &str| json!({"Fn::If": ["LambdaTellsAll", debug, usual]});
        // A line without a level, such as a metric, counts as INFO: a higher level would lose it.
        if logging["LogFormat"] != "JSON" || logging["ApplicationLogLevel"] != told("TRACE", "INFO") {
            problems
                .push(format!("{function}: Lambda would drop lines that LOG_LEVEL lets through, or metrics"));
        }
        for (what, own) in [("role", role), ("log group", log)] {
            let Some(own) = own else {
                problems.push(format!("{function}: no {what} of its own in this template"));
                continue;
            };
            let key = (function.template.context.clone(), own.id.to_owned());
            if let Some(other) = used.insert(key, function.id.to_owned()) {
                problems.push(format!("{function}: shares the {what} {} with {other}", own.id));
            }
        }
        let (Some(role), Some(log)) = (role, log) else { continue };
        let arn_of_log = json!({"Fn::GetAtt": [log.id, "Arn"]});
        let mut statements =
            function.template.statements().filter(|statement| statement.holder.id == role.id);
        if !statements
            .any(|s| s.actions().contains(&"logs:PutLogEvents") && s.resources().all(|r| *r == arn_of_log))
        {
            problems.push(format!("{function}: its role cannot write its log {}", log.id));
        }
        let name = properties["FunctionName"]["Fn::Sub"].as_str().unwrap_or_default();
        if log.properties["LogGroupName"]["Fn::Sub"] != format!("/aws/lambda/{name}") {
            problems.push(format!(
                "{function}: its log is not called /aws/lambda/{name}, where people and tools look"
            ));
        }
    }
    problems
}

/// Logs are not kept for ever.
pub fn logs_forget(templates: &[Template]) -> Vec<String> {
    let logs = templates.iter().flat_map(|template| template.of_kind("AWS::Logs::LogGroup"));
    let keeping = logs.filter(|log| log.properties["RetentionInDays"] != json!({"Ref": "LogRetentionDays"}));
    keeping.map(|log| format!("{log}: its retention is not the parameter's")).collect()
}

/// A queue that is worked on has a dead-letter queue; one that is not keeps what went wrong for as long as SQS can, and
/// raises an alarm.
pub fn queues_lose_nothing(templates: &[Template]) -> Vec<String> {
    const FOURTEEN_DAYS: u64 = 1_209_600;
    let mut problems = vec![];
    for template in templates {
        let consumed: Vec<&str> =
            template.functions().flat_map(events).filter_map(|event| referred(event.source)).collect();
        let alarmed: Vec<&str> = template
            .of_kind("AWS::CloudWatch::Alarm")
            .filter(|alarm| alarm.properties["MetricName"] == "ApproximateNumberOfMessagesVisible")
            .filter_map(|alarm| referred(&alarm.properties["Dimensions"][0]["Value"]))
            .collect();
        for queue in template.of_kind("AWS::SQS::Queue") {
            if queue.properties["MessageRetentionPeriod"] != FOURTEEN_DAYS {
                problems.push(format!("{queue}: must keep messages for fourteen days"));
            }
            let redrive = &queue.properties["RedrivePolicy"];
            if consumed.contains(&queue.id) {
                let dead_letters = template.target(&redrive["deadLetterTargetArn"]);
                if dead_letters.is_none_or(|q| q.kind != "AWS::SQS::Queue" || consumed.contains(&q.id)) {
                    problems.push(format!("{queue}: no dead-letter queue"));
                }
                if redrive["maxReceiveCount"] != 100 {
                    problems.push(format!(
                        "{queue}: maxReceiveCount must be 100: patient with hours of trouble, but not for ever"
                    ));
                }
                let name =
                    |queue: &Value| queue["QueueName"]["Fn::Sub"].as_str().unwrap_or_default().to_owned();
                if dead_letters
                    .is_some_and(|q| name(q.properties) != format!("{}-dead", name(queue.properties)))
                {
                    problems
                        .push(format!("{queue}: its dead-letter queue must be called like it, with -dead"));
                }
            } else if !alarmed.contains(&queue.id) {
                problems
                    .push(format!("{queue}: nobody works on it and no alarm tells when something is in it"));
            }
        }
    }
    problems
}

/// Every consumer may let a message of its queue wait, delete it, and park it in the dead-letter queue of its
/// queue.
pub fn consumers_can_park(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates {
        for function in template.functions() {
            for queue in events(function).filter(|event| event.kind == "SQS").map(|event| event.source) {
                let Some(role) = template.target(&function.properties["Role"]) else { continue };
                let may = |action: &str, on: &Value| {
                    template.statements().any(|statement| {
                        statement.holder.id == role.id
                            && statement.actions().contains(&action)
                            && statement.resources().any(|resource| resource == on)
                    })
                };
                for action in ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage"] {
                    if !may(action, queue) {
                        problems.push(format!("{function}: {action} on its queue is missing"));
                    }
                }
                let dead = template.target(queue).map(|queue| &queue.properties["RedrivePolicy"]);
                if dead.is_none_or(|dead| !may("sqs:SendMessage", &dead["deadLetterTargetArn"])) {
                    problems.push(format!("{function}: sqs:SendMessage to its dead-letter queue is missing"));
                }
            }
        }
    }
    problems
}

/// Every consumer has a queue of its own: of two that shared one, each would hear of half the events only.
pub fn consumers_share_no_queue(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates {
        let mut taken: Vec<&str> = vec![];
        for function in template.functions() {
            for queue in events(function).filter_map(|event| referred(event.source)) {
                if taken.contains(&queue) {
                    problems.push(format!("{function}: shares {queue} with another function"));
                }
                taken.push(queue);
            }
        }
    }
    problems
}

/// The tag by which a queue declares that its consumer may hear of old events again, as `cargo mall replay` reads it.
const REPLAY_TAG: (&str, &str) = ("mallard:replay", "harmless");

/// What a consumer may do that hears of old events without anybody asking for it: take events from its queue, read the
/// event table, keep rows, and log.
const HARMLESS: &[&str] = &[
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:SendMessage",
    "sqs:GetQueueAttributes",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:Query",
    // the index of products is a view in a bucket
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:ListBucket",
];

/// A view says that a replay does no harm, and only what can do none says so: no consumer that can append an event, start
/// an execution or send anything.
pub fn replays_do_no_harm(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates {
        for function in template.functions() {
            let handler = function.properties["Handler"].as_str().unwrap_or_default();
            for queue in events(function).filter_map(|event| template.target(event.source)) {
                if queue.kind != "AWS::SQS::Queue" {
                    continue;
                }
                let tagged = items(&queue.properties["Tags"]).any(|tag| {
                    (tag["Key"].as_str(), tag["Value"].as_str()) == (Some(REPLAY_TAG.0), Some(REPLAY_TAG.1))
                });
                if !tagged && handler.starts_with("project-") {
                    problems.push(format!("{queue}: a view's queue must say that a replay is harmless"));
                }
                if tagged {
                    problems.extend(harms(template, function).into_iter().map(|harm| {
                        format!("{queue}: says that a replay is harmless, and {function} may {harm}")
                    }));
                }
            }
        }
    }
    problems
}

/// What a function may do that a view need not.
fn harms(template: &Template, function: Resource<'_>) -> Vec<String> {
    let Some(role) = template.target(&function.properties["Role"]) else { return vec!["do anything".into()] };
    let managed = items(&role.properties["ManagedPolicyArns"]).filter_map(|arn| template.target(arn));
    let documents = items(&role.properties["Policies"])
        .map(|policy| &policy["PolicyDocument"])
        .chain(managed.map(|policy| &policy.properties["PolicyDocument"]));
    let mut harms = vec![];
    for statement in documents.flat_map(|document| items(&document["Statement"])) {
        for action in items(&statement["Action"]).filter_map(Value::as_str) {
            let appends = action == "dynamodb:PutItem" && is_event_table(&statement["Resource"]);
            let parks = referred(&statement["Resource"]).is_some_and(|id| id.ends_with("DeadLetters"));
            if action == "sqs:SendMessage" && !parks {
                harms.push(action.to_owned());
            }
            if appends || !HARMLESS.contains(&action) {
                harms.push(if appends { "append events".to_owned() } else { action.to_owned() });
            }
        }
    }
    harms
}

/// Every event source mapping is bounded, reports the records that failed and says where those go that are given up.
pub fn mappings_are_bounded(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    let raw = |template| Template::of_kind(template, "AWS::Lambda::EventSourceMapping");
    for mapping in templates.iter().flat_map(raw) {
        problems.push(format!("{mapping}: make it an event of its function, where these tests look"));
    }
    for (function, event) in
        templates.iter().flat_map(Template::functions).flat_map(|f| events(f).map(move |e| (f, e)))
    {
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{function}, event {}: {what}", event.name));
            }
        };
        let given = event.properties;
        let within =
            |name: &str, low: u64, high: u64| given[name].as_u64().is_some_and(|n| (low..=high).contains(&n));
        want(
            given["FunctionResponseTypes"] == json!(["ReportBatchItemFailures"]),
            "one bad record would fail its whole batch",
        );
        match event.kind {
            "SQS" => {
                want(within("BatchSize", 1, 10), "BatchSize must be 1 to 10");
                // A number, not a parameter: the emulator reads a parameter as text and then polls no queue at all.
                let concurrency = given["ScalingConfig"]["MaximumConcurrency"].as_u64();
                want(concurrency.is_some_and(|n| n >= 2), "MaximumConcurrency must be a number");
            }
            "DynamoDB" => {
                want(
                    given["StartingPosition"] == "TRIM_HORIZON",
                    "LATEST can miss records while the mapping is made",
                );
                want(within("BatchSize", 1, 1000), "BatchSize must be 1 to 1000");
                want(
                    given["BisectBatchOnFunctionError"] == true,
                    "a batch that crashes the function must be split",
                );
                want(within("MaximumRetryAttempts", 1, 10_000), "retries must be bounded");
                want(
                    within("MaximumRecordAgeInSeconds", 60, 86_399),
                    "age must be bounded, below the 24 h a stream keeps",
                );
                let given_up = &given["DestinationConfig"]["OnFailure"];
                let queue = function.template.target(&given_up["Destination"]);
                want(
                    given_up["Type"] == "SQS" && queue.is_some_and(|q| q.kind == "AWS::SQS::Queue"),
                    "no on-failure queue",
                );
                want(
                    given["FilterCriteria"].is_null(),
                    "a filter hides commits that were changed or deleted",
                );
            }
            other => want(false, &format!("these tests do not know events of type {other} yet")),
        }
    }
    problems
}

/// A batch that runs for as long as it may is not delivered a second time beside itself.
pub fn visibility_outlasts_the_function(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for function in templates.iter().flat_map(Template::functions) {
        for event in events(function).filter(|event| event.kind == "SQS") {
            let visibility = function
                .template
                .target(event.source)
                .and_then(|q| q.properties["VisibilityTimeout"].as_u64());
            let timeout = function.properties["Timeout"].as_u64().unwrap_or(u64::MAX / 8);
            let window = event.properties["MaximumBatchingWindowInSeconds"].as_u64().unwrap_or(0);
            if visibility.is_none_or(|visibility| visibility < 6 * timeout + window) {
                problems.push(format!(
                    "{function}: the visibility of its queue must be six times its timeout and its batching window"
                ));
            }
        }
    }
    problems
}

/// What a rule cannot deliver is tried for a bounded time and then kept, and only that rule may write to its
/// queue. A schedule calls its function, which nobody else's rule may: what it misses, the next time brings.
pub fn rule_targets_lose_nothing(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates {
        for rule in template.of_kind("AWS::Events::Rule") {
            if items(&rule.properties["Targets"]).count() == 0 {
                problems.push(format!("{rule}: no targets"));
            }
            if !rule.properties["ScheduleExpression"].is_null() {
                let allowed = template.of_kind("AWS::Lambda::Permission").any(|permission| {
                    permission.properties["SourceArn"] == json!({"Fn::GetAtt": [rule.id, "Arn"]})
                        && items(&rule.properties["Targets"]).all(|target| {
                            referred(&target["Arn"]) == referred(&permission.properties["FunctionName"])
                        })
                });
                if !allowed {
                    problems.push(format!("{rule}: it may not call its function"));
                }
                continue;
            }
            for target in items(&rule.properties["Targets"]) {
                let retry = &target["RetryPolicy"];
                let attempts = retry["MaximumRetryAttempts"].as_u64().is_some_and(|n| (1..=185).contains(&n));
                let age =
                    retry["MaximumEventAgeInSeconds"].as_u64().is_some_and(|n| (60..=86_400).contains(&n));
                if !attempts || !age {
                    problems.push(format!("{rule}: its RetryPolicy must bound attempts and age"));
                }
                let dead_letters = &target["DeadLetterConfig"]["Arn"];
                for (what, queue) in [("target", &target["Arn"]), ("dead-letter queue", dead_letters)] {
                    if template.target(queue).is_none_or(|queue| queue.kind != "AWS::SQS::Queue") {
                        problems.push(format!("{rule}: its {what} must be a queue of this template"));
                    } else if !may_send(rule, queue) {
                        problems.push(format!(
                            "{rule}: its {what} must take messages from this rule, and from those alone that lead there"
                        ));
                    }
                }
            }
        }
    }
    problems
}

fn may_send(rule: Resource<'_>, queue: &Value) -> bool {
    let arn = |rule: &Resource<'_>| json!({"Fn::GetAtt": [rule.id, "Arn"]});
    // The rules that lead to the queue, as its target or as its dead-letter queue.
    let leads_there = |rule: &Resource<'_>| {
        let mut targets = items(&rule.properties["Targets"]);
        targets.any(|target| target["Arn"] == *queue || target["DeadLetterConfig"]["Arn"] == *queue)
    };
    let others = rule.template.of_kind("AWS::Events::Rule").filter(leads_there);
    let rules: Vec<Value> = others.map(|other| arn(&other)).collect();
    let from_these_rules = |statement: &Value| {
        let sources = &statement["Condition"]["ArnEquals"]["aws:SourceArn"];
        statement["Condition"] == json!({"ArnEquals": {"aws:SourceArn": sources}})
            && items(sources).any(|source| *source == arn(&rule))
            && items(sources).all(|source| rules.contains(source))
    };
    let policies = rule.template.of_kind("AWS::SQS::QueuePolicy");
    let mut statements = policies.flat_map(|policy| items(&policy.properties["PolicyDocument"]["Statement"]));
    let lets_in = |statement: &&Value| items(&statement["Resource"]).any(|resource| resource == queue);
    let (mut found, mut only) = (false, true);
    for statement in statements.by_ref().filter(lets_in) {
        found = true;
        only &= statement["Principal"] == json!({"Service": "events.amazonaws.com"})
            && statement["Action"] == "sqs:SendMessage"
            && from_these_rules(statement);
    }
    found && only
}

/// A route leads to a function that lets the API in for exactly that route.
pub fn routes_lead_to_functions(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for template in templates {
        for route in template.of_kind("AWS::ApiGatewayV2::Route") {
            let integration = template.target(&route.properties["Target"]);
            let function = integration.and_then(|i| template.target(&i.properties["IntegrationUri"]));
            let Some(function) = function.filter(|function| function.kind == "AWS::Serverless::Function")
            else {
                problems.push(format!("{route}: leads to no function of this template"));
                continue;
            };
            let key = route.properties["RouteKey"].as_str().unwrap_or_default().replacen(' ', "", 1);
            let lets_in = |permission: &Resource<'_>| {
                let source = permission.properties["SourceArn"]["Fn::Sub"].as_str().unwrap_or_default();
                referred(&permission.properties["FunctionName"]) == Some(function.id)
                    && permission.properties["Principal"] == "apigateway.amazonaws.com"
                    && source.ends_with(&format!(":${{ApiId}}/*/{key}"))
            };
            if !template.of_kind("AWS::Lambda::Permission").any(|permission| lets_in(&permission)) {
                problems.push(format!("{route}: {} does not let the API in for it", function.id));
            }
        }
    }
    problems
}

/// The root gives every nested stack the parameters it asks for, and no others.
pub fn nested_stacks_get_their_parameters(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    let nested = |template| Template::of_kind(template, "AWS::Serverless::Application");
    for stack in templates.iter().flat_map(nested) {
        let location = stack.properties["Location"].as_str().unwrap_or_default();
        let Some(template) = nested_in(&stack, templates) else {
            problems.push(format!("{stack}: {location} is not there"));
            continue;
        };
        let names =
            |value: &Value| value.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
        let (mut given, mut wanted) =
            (names(&stack.properties["Parameters"]), names(&template.document["Parameters"]));
        given.sort();
        wanted.sort();
        if given != wanted {
            problems.push(format!("{stack}: gives {given:?}, but {location} wants {wanted:?}"));
        }
    }
    problems
}

/// The template of a nested stack.
fn nested_in<'a>(stack: &Resource<'_>, templates: &'a [Template]) -> Option<&'a Template> {
    let location = stack.properties["Location"].as_str()?;
    let context = Path::new(location).file_stem()?.to_string_lossy();
    templates.iter().find(|template| template.context == context)
}

/// API Gateway takes ten changes a second of an account, and refuses changes of one API that meet: nested stacks with routes
/// are made one after the other. The stage deploys the API anew for each route that comes after it: it is made last.
pub fn routes_are_made_in_turn(templates: &[Template]) -> Vec<String> {
    let mut problems = vec![];
    for root in templates {
        let has_routes = |stack: &Resource<'_>| {
            nested_in(stack, templates)
                .is_some_and(|t| t.of_kind("AWS::ApiGatewayV2::Route").next().is_some())
        };
        let stacks: Vec<(Resource<'_>, BTreeSet<&str>)> = root
            .of_kind("AWS::Serverless::Application")
            .filter(has_routes)
            .map(|stack| (stack, root.made_before(stack.id)))
            .collect();
        for stage in root.of_kind("AWS::ApiGatewayV2::Stage") {
            let before = root.made_before(stage.id);
            let late = stacks.iter().filter(|(stack, _)| !before.contains(stack.id));
            problems
                .extend(late.map(|(stack, _)| format!("{stage}: the routes of {} come after it", stack.id)));
        }
        for (n, (one, before_one)) in stacks.iter().enumerate() {
            for (other, before_other) in &stacks[n + 1..] {
                if !before_one.contains(other.id) && !before_other.contains(one.id) {
                    problems.push(format!("{one}: its routes are made beside those of {}", other.id));
                }
            }
        }
    }
    problems
}

// ---- reading

// ---- what the templates connect

/// A function that a rule of the bus sends events to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription {
    /// The context that the function belongs to.
    pub context: String,
    /// The function, as its Handler names it.
    pub function: String,
    /// What the rule lets through: `source`.
    pub sources: Vec<String>,
    /// What the rule lets through: `detail-type`.
    pub events: Vec<String>,
}

/// Who hears of which events, through a rule and a queue. Panics on a rule whose events nobody takes from the queue.
pub fn subscriptions(templates: &[Template]) -> Vec<Subscription> {
    let mut found = vec![];
    for template in templates {
        for rule in template.of_kind("AWS::Events::Rule") {
            let pattern = &rule.properties["EventPattern"];
            // What AWS itself tells on the default bus is no event of the mall.
            if rule.properties["EventBusName"].is_null() {
                continue;
            }
            let texts =
                |name: &str| items(&pattern[name]).filter_map(Value::as_str).map(str::to_owned).collect();
            for queue in items(&rule.properties["Targets"]).map(|target| &target["Arn"]) {
                let takes = |function: &Resource<'_>| events(*function).any(|event| event.source == queue);
                let function = template.functions().find(takes);
                let function = function.unwrap_or_else(|| panic!("{rule}: nobody takes its events"));
                found.push(Subscription {
                    context: template.context.clone(),
                    function: function.properties["Handler"].as_str().unwrap_or_default().to_owned(),
                    sources: texts("source"),
                    events: texts("detail-type"),
                });
            }
        }
    }
    found.sort();
    found
}

/// The routes of the HTTP API with the context that serves each: `GET /api/stores`.
pub fn routes(templates: &[Template]) -> Vec<(&str, &str)> {
    let routes = templates.iter().flat_map(|template| template.of_kind("AWS::ApiGatewayV2::Route"));
    routes
        .filter_map(|route| Some((route.template.context.as_str(), route.properties["RouteKey"].as_str()?)))
        .collect()
}

/// The functions of a context, as their Handlers name them.
pub fn handlers(template: &Template) -> Vec<&str> {
    template.functions().filter_map(|function| function.properties["Handler"].as_str()).collect()
}

/// An event of a function: what makes Lambda call it, besides the API.
struct Event<'a> {
    name: &'a str,
    kind: &'a str,
    source: &'a Value,
    properties: &'a Value,
}

fn events(function: Resource<'_>) -> impl Iterator<Item = Event<'_>> {
    let events = function.properties["Events"].as_object().into_iter().flatten();
    events.map(|(name, event)| {
        let properties = &event["Properties"];
        let source = if event["Type"] == "SQS" { &properties["Queue"] } else { &properties["Stream"] };
        Event { name, kind: event["Type"].as_str().unwrap_or_default(), source, properties }
    })
}

fn is_event_table(resource: &Value) -> bool {
    let text = resource.to_string();
    text.contains("EventTable") && !text.contains("StreamArn")
}

/// All that a value refers to with `Ref` and `Fn::GetAtt`.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    found.extend(value["Ref"].as_str().or_else(|| value["Fn::GetAtt"][0].as_str()));
    match value {
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The logical id that a `Ref`, a `Fn::GetAtt` or the single variable of a `Fn::Sub` names.
fn referred(reference: &Value) -> Option<&str> {
    if let Some(id) = reference["Ref"].as_str() {
        return Some(id);
    }
    if let Some(id) = reference["Fn::GetAtt"][0].as_str() {
        return Some(id);
    }
    let (_, rest) = reference["Fn::Sub"].as_str()?.split_once("integrations/${")?;
    rest.strip_suffix('}')
}

/// IAM and CloudFormation allow one value where a list may stand.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let list: Vec<&Value> = match value {
        Value::Null => vec![],
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    };
    list.into_iter()
}

fn merged(below: Value, above: Value) -> Value {
    match (below, above) {
        (Value::Object(mut below), Value::Object(above)) => {
            for (key, value) in above {
                let under = below.remove(&key).unwrap_or(Value::Null);
                below.insert(key, merged(under, value));
            }
            Value::Object(below)
        }
        (below, Value::Null) => below,
        (_, above) => above,
    }
}

fn long_form(yaml: yaml_serde::Value) -> Value {
    use yaml_serde::Value as Yaml;
    match yaml {
        Yaml::Tagged(tagged) => intrinsic(*tagged),
        Yaml::Sequence(values) => values.into_iter().map(long_form).collect(),
        Yaml::Mapping(entries) => {
            let key = |key: Yaml| key.as_str().unwrap_or_else(|| panic!("{key:?} is no name")).to_owned();
            Value::Object(entries.into_iter().map(|(name, value)| (key(name), long_form(value))).collect())
        }
        plain => serde_json::to_value(plain).expect("a plain value"),
    }
}

fn intrinsic(tagged: TaggedValue) -> Value {
    let name = tagged.tag.to_string();
    let name = name.trim_start_matches('!');
    let value = long_form(tagged.value);
    match (name, value) {
        ("Ref" | "Condition", value) => json!({ name: value }),
        ("GetAtt", Value::String(path)) => {
            let (id, attribute) = path.split_once('.').unwrap_or((&path, ""));
            json!({ "Fn::GetAtt": [id, attribute] })
        }
        (name, value) => json!({ format!("Fn::{name}"): value }),
    }
}
