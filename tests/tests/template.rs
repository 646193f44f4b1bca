//! The templates keep the rules of the infrastructure; each rule is itself tested on a broken template.

use std::path::Path;

use mall_tests::saga::definition_at;
use mall_tests::template::{self, Template, templates_of};
use serde_json::Value;

type Rule = fn(&[Template]) -> Vec<String>;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[track_caller]
fn holds(rule: Rule) {
    assert_eq!(rule(&templates_of(repository())), Vec::<String>::new());
}

#[test]
fn the_templates_are_found() {
    let templates = templates_of(repository());
    let contexts: Vec<&str> = templates.iter().map(|template| template.context.as_str()).collect();
    for context in [
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
        "template",
    ] {
        assert!(
            contexts.contains(&context),
            "{context} is not among {contexts:?}: the rules would not hold there"
        );
    }
}

#[test]
fn no_context_writes_another_ones_events_or_reads_what_is_not_named() {
    holds(template::event_table_is_append_only);
}

#[test]
fn no_consumer_is_without_a_way_to_park_or_to_let_a_message_wait() {
    holds(template::consumers_can_park);
}

#[test]
fn no_role_can_change_or_delete_what_happened() {
    holds(template::no_updates_and_no_deletes);
}

#[test]
fn no_view_is_without_a_worker_that_sweeps_it() {
    holds(template::views_are_listed);
}

/// Sweeps are recorded by the names of views alone, and the tool knows those that the root template lists.
#[test]
fn no_view_shares_its_name_with_another_or_is_unknown_to_the_tool() {
    let templates = templates_of(repository());
    let of_contexts = |template: &Template| {
        let views = template.document["Outputs"]["Views"]["Value"].as_str()?;
        Some((template.context.clone(), views.split(',').map(str::to_owned).collect::<Vec<_>>()))
    };
    let contexts: Vec<(String, Vec<String>)> = templates.iter().filter_map(of_contexts).collect();
    let mut names: Vec<&str> = contexts
        .iter()
        .flat_map(|(_, views)| views)
        .filter_map(|view| Some(view.split_once('.')?.1))
        .collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert!(all > 10 && names.len() == all, "two views share a name: {contexts:?}");
    let root = templates.iter().find(|template| template.context == "template").expect("the root template");
    let listed = root.document["Outputs"]["Views"]["Value"].to_string().to_lowercase();
    for (context, _) in &contexts {
        let stack = context.replace('-', "");
        let named = [format!("\"{stack}\""), format!("\"{stack}.outputs.views\"")];
        assert!(
            named.iter().any(|name| listed.contains(name)),
            "template.yaml, output Views: nothing of {context} in {listed}"
        );
    }
}

#[test]
fn no_role_reaches_further_than_it_must() {
    holds(template::policies_are_exact);
}

#[test]
fn no_role_is_about_a_state_machine_that_is_not_there() {
    holds(template::named_machines_exist);
}

#[test]
fn no_bucket_can_be_read_by_the_world() {
    holds(template::buckets_are_private);
}

#[test]
fn no_function_shares_a_role_or_runs_without_limits() {
    holds(template::functions_stand_alone);
}

#[test]
fn no_log_is_kept_for_ever() {
    holds(template::logs_forget);
}

#[test]
fn no_message_is_lost_by_a_queue() {
    holds(template::queues_lose_nothing);
}

#[test]
fn d5_no_two_consumers_share_a_queue() {
    holds(template::consumers_share_no_queue);
}

#[test]
fn no_replay_sends_or_starts_anything_unasked() {
    holds(template::replays_do_no_harm);
}

#[test]
fn no_poison_record_blocks_a_stream_or_queue_for_ever() {
    holds(template::mappings_are_bounded);
}

#[test]
fn no_slow_batch_is_delivered_beside_itself() {
    holds(template::visibility_outlasts_the_function);
}

#[test]
fn no_event_is_lost_between_bus_and_queue() {
    holds(template::rule_targets_lose_nothing);
}

#[test]
fn no_route_leads_nowhere() {
    holds(template::routes_lead_to_functions);
}

#[test]
fn no_deployment_fails_since_all_routes_are_made_at_once() {
    holds(template::routes_are_made_in_turn);
}

#[test]
fn no_nested_stack_misses_a_parameter() {
    holds(template::nested_stacks_get_their_parameters);
}

#[test]
fn a_saga_may_run_its_steps_and_nothing_else() {
    let templates = templates_of(repository());
    let machines = templates.iter().flat_map(|template| template.of_kind("AWS::Serverless::StateMachine"));
    let mut checked = 0;
    // What sweeps views invokes a worker of every context, by name: see below.
    for machine in machines.filter(|machine| machine.id != "SweepView") {
        let given = machine.properties["DefinitionSubstitutions"].as_object().expect("substitutions");
        let uri = machine.properties["DefinitionUri"].as_str().expect("a path");
        let definition = definition_at(&repository().join("infra").join(uri)).to_string();
        let wanted: Vec<&str> =
            definition.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
        for name in &wanted {
            assert!(given.contains_key(*name), "{uri} wants {name}, which {machine} does not give");
        }
        for name in given.keys() {
            assert!(wanted.contains(&name.as_str()), "{machine} gives {name}, which {uri} does not want");
        }
        let role = machine.properties["Role"]["Fn::GetAtt"][0].as_str().expect("a role");
        let role = machine.template.resources().find(|resource| resource.id == role).expect("the role");
        let statements = role.properties["Policies"][0]["PolicyDocument"]["Statement"].as_array();
        let allowed = |action: &str| {
            let of_action =
                statements.into_iter().flatten().filter(|statement| statement["Action"] == action);
            let resources = of_action.map(|statement| &statement["Resource"]);
            resources.flat_map(|one| one.as_array().map_or(vec![one], |all| all.iter().collect())).collect()
        };
        let functions: Vec<&Value> = allowed("lambda:InvokeFunction");
        assert_eq!(functions.len(), given.len(), "{role} allows more or less than its steps");
        for (name, target) in given {
            assert!(functions.contains(&target), "{role} misses {name}");
        }
        checked += 1;
    }
    assert!(checked > 0, "no state machine was found");
}

#[test]
fn a_sweep_may_invoke_the_workers_and_nothing_else() {
    let templates = templates_of(repository());
    let sweep = templates.iter().find(|template| template.context == "sweep").expect("infra/sweep.yaml");
    let role = sweep.of_kind("AWS::IAM::Role").next().expect("a role");
    let statement = &role.properties["Policies"][0]["PolicyDocument"]["Statement"][0];
    assert_eq!(statement["Action"], "lambda:InvokeFunction");
    let allowed: Vec<String> = statement["Resource"]
        .as_array()
        .expect("functions")
        .iter()
        .map(|arn| arn["Fn::Sub"].as_str().expect("an ARN").rsplit(':').next().expect("a name").to_owned())
        .collect();
    let mut workers: Vec<String> = templates
        .iter()
        .filter(|template| template::handlers(template).contains(&"sweep-view"))
        .map(|template| format!("${{Prefix}}-{}-sweep-view", template.context))
        .collect();
    workers.sort();
    assert_eq!(allowed, workers);
    let definition = definition_at(&repository().join("infra/sweep-view.asl.json")).to_string();
    let named = "States.Format('${Prefix}-{}-sweep-view', $.context)";
    assert_eq!(definition.matches("FunctionName").count(), definition.matches(named).count());
}

// ---- the rules can fail

/// A context that keeps all rules: one function behind a route and a queue, and one that reads the stream.
const SOUND: &str = r#"
Parameters: {Architecture: {Type: String}, LogRetentionDays: {Type: Number}, EventTableArn: {Type: String}}
Globals:
  Function:
    {Runtime: provided.al2023, Timeout: 10, MemorySize: 256, Architectures: [!Ref Architecture], LoggingConfig: {LogFormat: JSON, ApplicationLogLevel: !If [LambdaTellsAll, TRACE, INFO]}}
Resources:
  Append:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement:
          - Effect: Allow
            Action: [dynamodb:PutItem, dynamodb:Query]
            Resource: !Ref EventTableArn
            Condition: {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["toys.*"]}}
  BuyFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: buy
      FunctionName: !Sub ${Prefix}-toys-buy
      Role: !GetAtt BuyRole.Arn
      LoggingConfig: {LogGroup: !Ref BuyLog}
      Events:
        Messages:
          Type: SQS
          Properties:
            Queue: !GetAtt BuyQueue.Arn
            BatchSize: 10
            FunctionResponseTypes: [ReportBatchItemFailures]
            ScalingConfig: {MaximumConcurrency: 5}
        Commits:
          Type: DynamoDB
          Properties:
            Stream: !Ref EventTableStreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 100
            FunctionResponseTypes: [ReportBatchItemFailures]
            BisectBatchOnFunctionError: true
            MaximumRetryAttempts: 100
            MaximumRecordAgeInSeconds: 3600
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt BuyDeadLetters.Arn}}
  BuyRole:
    Type: AWS::IAM::Role
    Properties:
      ManagedPolicyArns: [!Ref Append]
      Policies:
        - PolicyDocument:
            Statement:
              - {Effect: Allow, Action: [logs:CreateLogStream, logs:PutLogEvents], Resource: !GetAtt BuyLog.Arn}
              - {Effect: Allow, Action: dynamodb:ListStreams, Resource: "*"}
              - {Effect: Allow, Action: [sqs:DeleteMessage, sqs:ChangeMessageVisibility], Resource: !GetAtt BuyQueue.Arn}
              - {Effect: Allow, Action: sqs:SendMessage, Resource: !GetAtt BuyDeadLetters.Arn}
  BuyLog:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub "/aws/lambda/${Prefix}-toys-buy", RetentionInDays: !Ref LogRetentionDays}
  BuyQueue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      QueueName: !Sub "${Prefix}-toys-buy"
      MessageRetentionPeriod: 1209600
      RedrivePolicy: {deadLetterTargetArn: !GetAtt BuyDeadLetters.Arn, maxReceiveCount: 100}
  BuyDeadLetters:
    Type: AWS::SQS::Queue
    Properties: {MessageRetentionPeriod: 1209600, QueueName: !Sub "${Prefix}-toys-buy-dead"}
  BuyAlarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      MetricName: ApproximateNumberOfMessagesVisible
      Dimensions: [{Name: QueueName, Value: !GetAtt BuyDeadLetters.QueueName}]
  BuyRule:
    Type: AWS::Events::Rule
    Properties:
      Targets:
        - Arn: !GetAtt BuyQueue.Arn
          RetryPolicy: {MaximumRetryAttempts: 185, MaximumEventAgeInSeconds: 86400}
          DeadLetterConfig: {Arn: !GetAtt BuyDeadLetters.Arn}
  BuyQueuePolicy:
    Type: AWS::SQS::QueuePolicy
    Properties:
      PolicyDocument:
        Statement:
          - Effect: Allow
            Principal: {Service: events.amazonaws.com}
            Action: sqs:SendMessage
            Resource: [!GetAtt BuyQueue.Arn, !GetAtt BuyDeadLetters.Arn]
            Condition: {ArnEquals: {"aws:SourceArn": !GetAtt BuyRule.Arn}}
  BuyIntegration:
    Type: AWS::ApiGatewayV2::Integration
    Properties: {IntegrationUri: !GetAtt BuyFunction.Arn}
  BuyRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties: {RouteKey: "POST /api/toys/{id}", Target: !Sub "integrations/${BuyIntegration}"}
  BuyPermission:
    Type: AWS::Lambda::Permission
    Properties:
      FunctionName: !Ref BuyFunction
      Principal: apigateway.amazonaws.com
      SourceArn: !Sub "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${ApiId}/*/POST/api/toys/{id}"
"#;

const ROOT: &str = r#"
Resources:
  Toys:
    Type: AWS::Serverless::Application
    Properties: {Location: infra/toys.yaml, Parameters: {Architecture: a, LogRetentionDays: b, EventTableArn: c}}
"#;

fn toys(text: &str) -> Vec<Template> {
    vec![Template::parse("template", ROOT), Template::parse("toys", text)]
}

/// Replaces `from` by `to` in the sound template and wants a problem that says `about`.
#[track_caller]
fn refuses(rule: Rule, from: &str, to: &str, about: &str) {
    assert!(SOUND.contains(from), "{from:?} is not in the sound template");
    let found = rule(&toys(&SOUND.replacen(from, to, 1)));
    assert!(
        found.iter().any(|problem| problem.contains(about)),
        "{from:?} -> {to:?}: wanted {about:?}, found {found:?}"
    );
}

#[test]
fn the_rules_find_nothing_wrong_with_a_sound_template() {
    let rules: [Rule; 18] = [
        template::views_are_listed,
        template::event_table_is_append_only,
        template::no_updates_and_no_deletes,
        template::policies_are_exact,
        template::buckets_are_private,
        template::named_machines_exist,
        template::functions_stand_alone,
        template::logs_forget,
        template::queues_lose_nothing,
        template::consumers_share_no_queue,
        template::consumers_can_park,
        template::replays_do_no_harm,
        template::mappings_are_bounded,
        template::visibility_outlasts_the_function,
        template::rule_targets_lose_nothing,
        template::routes_lead_to_functions,
        template::routes_are_made_in_turn,
        template::nested_stacks_get_their_parameters,
    ];
    for rule in rules {
        assert_eq!(rule(&toys(SOUND)), Vec::<String>::new());
    }
}

#[test]
fn a_consumer_that_can_neither_wait_nor_park_is_found() {
    let rule = template::consumers_can_park;
    refuses(
        rule,
        "sqs:DeleteMessage, sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "ChangeMessageVisibility",
    );
    refuses(
        rule,
        "sqs:DeleteMessage, sqs:ChangeMessageVisibility",
        "sqs:ChangeMessageVisibility",
        "DeleteMessage",
    );
    refuses(
        rule,
        "sqs:SendMessage, Resource: !GetAtt BuyDeadLetters",
        "sqs:SendMessage, Resource: !GetAtt BuyQueue",
        "to its dead-letter",
    );
    refuses(template::queues_lose_nothing, "-toys-buy-dead", "-toys-lost", "with -dead");
}

#[test]
fn a_role_that_can_do_more_to_the_event_table_is_found() {
    let rule = template::event_table_is_append_only;
    refuses(rule, "dynamodb:Query]", "dynamodb:Query, dynamodb:UpdateItem]", "only PutItem and Query");
    refuses(rule, "dynamodb:Query]", "dynamodb:Query, dynamodb:BatchWriteItem]", "only PutItem and Query");
    refuses(rule, "[dynamodb:PutItem, dynamodb:Query]", "dynamodb:*", "only PutItem and Query");
    refuses(rule, "!Ref EventTableArn\n", "[!Ref EventTableArn, !GetAtt BuyQueue.Arn]\n", "nothing else");
    refuses(rule, "!Ref EventTableArn\n", "!Sub \"${EventTableArn}/index/all\"\n", "nothing else");
}

#[test]
fn only_the_roles_of_sweepers_may_scan_the_event_table() {
    let scan =
        "            Condition: {\"ForAllValues:StringLike\": {\"dynamodb:LeadingKeys\": [\"toys.*\"]}}
          - {Effect: Allow, Action: dynamodb:Scan, Resource: !Ref EventTableArn}
";
    let fence =
        "            Condition: {\"ForAllValues:StringLike\": {\"dynamodb:LeadingKeys\": [\"toys.*\"]}}\n";
    refuses(template::event_table_is_append_only, fence, scan, "may scan the event table");
    refuses(template::no_updates_and_no_deletes, fence, scan, "dynamodb:Scan");
    let sweeps = SOUND.replace("Handler: buy", "Handler: sweep-view").replacen(
        "Resource: !GetAtt BuyLog.Arn}\n",
        "Resource: !GetAtt BuyLog.Arn}
              - {Effect: Allow, Action: dynamodb:Scan, Resource: !Ref EventTableArn}
",
        1,
    );
    for rule in [template::event_table_is_append_only, template::no_updates_and_no_deletes] {
        assert_eq!(rule(&toys(&sweeps)), Vec::<String>::new());
    }
}

#[test]
fn a_bucket_that_the_world_could_read_is_found() {
    let bucket = "  BuyBucket:
    Type: AWS::S3::Bucket
    Properties:
      BucketEncryption: {ServerSideEncryptionConfiguration: [{ServerSideEncryptionByDefault: {SSEAlgorithm: AES256}}]}
      OwnershipControls: {Rules: [{ObjectOwnership: BucketOwnerEnforced}]}
      PublicAccessBlockConfiguration:
        {BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true}
  BuyLog:
";
    let rule = template::buckets_are_private;
    assert_eq!(rule(&toys(&SOUND.replacen("  BuyLog:\n", bucket, 1))), Vec::<String>::new());
    for (from, to) in [
        ("RestrictPublicBuckets: true", "RestrictPublicBuckets: false"),
        ("BlockPublicPolicy: true, ", ""),
        ("BucketOwnerEnforced", "ObjectWriter"),
        ("      BucketEncryption: {Server", "      X: {Server"),
    ] {
        assert!(bucket.contains(from));
        refuses(rule, "  BuyLog:\n", &bucket.replacen(from, to, 1), "BuyBucket");
    }
}

#[test]
fn a_hole_in_the_fence_between_contexts_is_found() {
    let rule = template::event_table_is_append_only;
    let fence = r#"Condition: {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["toys.*"]}}"#;
    refuses(rule, fence, "", "must be fenced");
    refuses(rule, r#"["toys.*"]"#, r#"["*"]"#, "must be fenced");
    refuses(rule, r#"["toys.*"]"#, r#"["toys.*", "baskets.*"]"#, "must be fenced");
    refuses(rule, "ForAllValues:StringLike", "ForAllValues:StringLikeIfExists", "must be fenced");
    refuses(rule, r#"["toys.*"]"#, r#"["template.*"]"#, "appends to the streams of template");
    refuses(rule, r#"["toys.*"]"#, r#"["toy.*"]"#, "no context");
}

#[test]
fn a_consumer_that_calls_itself_harmless_and_is_not_is_found() {
    let rule = template::replays_do_no_harm;
    let tagged =
        "Properties:\n      Tags: [{Key: 'mallard:replay', Value: harmless}]\n      VisibilityTimeout: 60";
    refuses(rule, "Properties:\n      VisibilityTimeout: 60", tagged, "may append events");
    refuses(rule, "Handler: buy", "Handler: project-toys", "must say that a replay is harmless");
    let sound = SOUND.replacen("Properties:\n      VisibilityTimeout: 60", tagged, 1);
    let view = sound.replacen("      ManagedPolicyArns: [!Ref Append]\n", "", 1);
    let found = |text: &str| rule(&toys(text)).join("\n");
    // What is left to find is what the sound role may beside appending.
    assert!(!found(&view).contains("append"), "{}", found(&view));
    for action in ["states:StartExecution", "ses:SendEmail", "sqs:SendMessage", "lambda:InvokeFunction"] {
        assert!(
            found(&view.replacen("dynamodb:ListStreams", action, 1)).contains(action),
            "{action} was not found"
        );
    }
}

#[test]
fn a_role_that_can_change_or_delete_is_found() {
    for action in ["UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLUpdate", "Scan", "*"] {
        refuses(
            template::no_updates_and_no_deletes,
            "dynamodb:ListStreams",
            &format!("\"dynamodb:{action}\""),
            action,
        );
    }
    let update = "dynamodb:UpdateItem, Resource: !GetAtt Other.Arn} #";
    refuses(template::no_updates_and_no_deletes, "dynamodb:ListStreams", update, "UpdateItem");
}

/// What a context with a view adds to the sound template.
const WITH_A_VIEW: &str = r#"
  ToysTable: {Type: AWS::DynamoDB::Table, Properties: {KeySchema: [{AttributeName: id, KeyType: HASH}]}}
  ProjectToysQueue:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Sub ${Prefix}-toys-project-toys
      RedrivePolicy: {deadLetterTargetArn: !GetAtt BuyDeadLetters.Arn, maxReceiveCount: 100}
  ListFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: list
      Timeout: 10
      Role: !GetAtt ListRole.Arn
      Environment: {Variables: {TOYS_TABLE: !Ref ToysTable}}
  ListRole:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyDocument:
            Statement:
              - {Effect: Allow, Action: dynamodb:Query, Resource: !Sub "${ToysTable.Arn}/index/all"}
  WorkerFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: sweep-view
      Timeout: 60
      Role: !GetAtt WorkerRole.Arn
      Environment: {Variables: {TOYS_TABLE: !Ref ToysTable}}
  WorkerRole:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyDocument:
            Statement:
              - {Effect: Allow, Action: dynamodb:Scan, Resource: !Ref EventTableArn}
              - {Effect: Allow, Action: [dynamodb:DeleteItem, dynamodb:Scan], Resource: !GetAtt ToysTable.Arn}
              - {Effect: Allow, Action: [dynamodb:GetItem, dynamodb:PutItem], Resource: !Ref SweepsTableArn}
Outputs:
  Views: {Value: toys.toys}
"#;

#[track_caller]
fn refuses_with_a_view(rule: Rule, from: &str, to: &str, about: &str) {
    let sound = format!("{SOUND}{WITH_A_VIEW}");
    assert_eq!(rule(&toys(&sound)), Vec::<String>::new(), "the template is sound");
    assert!(WITH_A_VIEW.contains(from), "{from:?} is not in the template");
    let found = rule(&toys(&format!("{SOUND}{}", WITH_A_VIEW.replacen(from, to, 1))));
    let named = found.iter().any(|problem| problem.contains(about));
    assert!(named, "{from:?} -> {to:?}: wanted {about:?}, found {found:?}");
}

#[test]
fn a_view_in_a_bucket_is_held_to_the_same_rules() {
    let in_a_bucket = WITH_A_VIEW.replace("TOYS_TABLE: !Ref ToysTable", "TOYS_BUCKET: !Ref Toys");
    let sound = format!("{SOUND}{in_a_bucket}");
    let rule: Rule = template::views_are_listed;
    for (from, to, about) in [
        ("Value: toys.toys", "Value: toys.boats", "lists the views"),
        ("-toys-project-toys", "-toys-feed-toys", "no queue"),
    ] {
        assert_eq!(rule(&toys(&sound)), Vec::<String>::new());
        assert!(in_a_bucket.contains(from), "{from}");
        let found = rule(&toys(&format!("{SOUND}{}", in_a_bucket.replacen(from, to, 1))));
        assert!(found.iter().any(|problem| problem.contains(about)), "{from:?} -> {to:?}: {found:?}");
    }
}

#[test]
fn anybody_but_a_sweeper_who_may_remove_rows_or_scan_events_is_found() {
    let rule = template::no_updates_and_no_deletes;
    refuses_with_a_view(rule, "Handler: sweep-view", "Handler: cleanup", "dynamodb:DeleteItem");
    refuses_with_a_view(
        rule,
        "dynamodb:Scan], Resource: !GetAtt ToysTable.Arn",
        "dynamodb:Scan], Resource: !Ref EventTableArn",
        "dynamodb:DeleteItem",
    );
    refuses_with_a_view(rule, "dynamodb:DeleteItem", "dynamodb:UpdateItem", "dynamodb:UpdateItem");
    refuses_with_a_view(
        rule,
        "dynamodb:PutItem], Resource: !Ref SweepsTableArn",
        "dynamodb:DeleteItem], Resource: !Ref SweepsTableArn",
        "dynamodb:DeleteItem",
    );
    let rule = template::event_table_is_append_only;
    refuses_with_a_view(rule, "Handler: sweep-view", "Handler: cleanup", "may scan the event table");
    refuses_with_a_view(
        rule,
        "dynamodb:Scan, Resource: !Ref EventTableArn",
        "dynamodb:PutItem, Resource: !Ref EventTableArn",
        "only PutItem and Query",
    );
}

#[test]
fn a_view_that_nobody_sweeps_or_feeds_is_found() {
    let rule = template::views_are_listed;
    refuses_with_a_view(rule, "Value: toys.toys", "Value: toys.boats", "lists the views");
    refuses_with_a_view(rule, "Handler: sweep-view", "Handler: cleanup", "lists the views");
    refuses_with_a_view(rule, "-toys-project-toys", "-toys-feed-toys", "no queue");
}

#[test]
fn a_policy_that_reaches_too_far_is_found() {
    let rule = template::policies_are_exact;
    refuses(rule, "dynamodb:ListStreams", "sqs:SendMessage", "sqs:SendMessage");
    refuses(rule, "dynamodb:ListStreams", "[dynamodb:ListStreams, sqs:SendMessage]", "sqs:SendMessage");
    refuses(rule, "!GetAtt BuyLog.Arn}", "!Sub \"arn:aws:logs:${AWS::Region}:*:*\"}", "logs:");
    refuses(rule, "logs:PutLogEvents]", "\"logs:*\"]", "wildcard action");
    for (action, resource) in [
        ("states:DescribeExecution", "execution:*:*"),
        ("states:DescribeExecution", "execution:${Prefix}-*:*"),
        ("states:DescribeExecution", "execution:${Prefix}-order-undo*"),
        ("states:StopExecution", "execution:${Prefix}-order-undo:*"),
    ] {
        let to = format!("{action}, Resource: !Sub \"arn:aws:states:eu-west-1:1:{resource}\"}}");
        refuses(rule, "dynamodb:ListStreams, Resource: \"*\"}", &to, action);
    }
    for (action, resource) in [
        ("s3:GetObject", "${BuyBucket.Arn}/*"),
        ("s3:GetObject", "${BuyQueue.Arn}/toys/*"),
        ("s3:PutObject", "arn:aws:s3:::${Prefix}-toys/*"),
    ] {
        let to = format!("{action}, Resource: !Sub \"{resource}\"}}");
        refuses(rule, "dynamodb:ListStreams, Resource: \"*\"}", &to, action);
    }
    refuses(rule, "Resource: \"*\"", "NotResource: x", "negations");
    refuses(
        rule,
        "[!Ref Append]",
        "[\"arn:aws:iam::aws:policy/AdministratorAccess\"]",
        "AdministratorAccess",
    );
}

#[test]
fn a_schedule_that_may_not_call_its_function_is_found() {
    let scheduled = "ScheduleExpression: rate(1 minute)\n      Targets:\n        - Arn: !GetAtt BuyQueue.Arn";
    let targets = "Targets:\n        - Arn: !GetAtt BuyQueue.Arn";
    refuses(template::rule_targets_lose_nothing, targets, scheduled, "may not call");
}

#[test]
fn a_function_that_starts_a_state_machine_that_is_not_there_is_found() {
    let named = |machine: &str| {
        format!(
            "Environment: {{Variables: {{MACHINE: !Sub \"arn:aws:states:eu-west-1:1:stateMachine:{machine}\"}}}}\n      \
             LoggingConfig: {{LogGroup: !Ref BuyLog}}\n"
        )
    };
    let rule = template::named_machines_exist;
    let from = "LoggingConfig: {LogGroup: !Ref BuyLog}\n";
    refuses(rule, from, &named("${Prefix}-oder-placement"), "no state machine");
}

#[test]
fn a_function_without_limits_or_a_role_of_its_own_is_found() {
    let rule = template::functions_stand_alone;
    refuses(rule, "Timeout: 10, ", "", "Timeout");
    refuses(rule, "MemorySize: 256, ", "", "MemorySize");
    refuses(rule, "[!Ref Architecture]", "[arm64]", "architecture");
    refuses(rule, "Role: !GetAtt BuyRole.Arn", "Policies: []", "no role of its own");
    refuses(rule, "      LoggingConfig: {LogGroup: !Ref BuyLog}\n", "", "no log group of its own");
    refuses(
        rule,
        "[logs:CreateLogStream, logs:PutLogEvents]",
        "logs:CreateLogStream",
        "cannot write its log",
    );
    refuses(rule, ", ApplicationLogLevel: !If [LambdaTellsAll, TRACE, INFO]", "", "LOG_LEVEL lets through");
    refuses(rule, "[LambdaTellsAll, TRACE, INFO]", "[LambdaTellsAll, DEBUG, INFO]", "LOG_LEVEL lets through");
    refuses(rule, "[LambdaTellsAll, TRACE, INFO]", "[LambdaTellsAll, TRACE, WARN]", "or metrics");
    refuses(
        rule,
        "/aws/lambda/${Prefix}-toys-buy",
        "/aws/lambda/${Prefix}-toys-bye",
        "its log is not called",
    );
    let twice = "  BuyLog:\n";
    let sold = "  SellFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: sell
      FunctionName: !Sub ${Prefix}-toys-sell
      Role: !GetAtt BuyRole.Arn
      LoggingConfig: {LogGroup: !Ref BuyLog}
  BuyLog:
";
    refuses(rule, twice, sold, "shares the role BuyRole");
    refuses(rule, twice, sold, "shares the log group BuyLog");
}

#[test]
fn a_log_that_is_kept_for_ever_is_found() {
    refuses(template::logs_forget, ", RetentionInDays: !Ref LogRetentionDays", "", "retention");
}

#[test]
fn a_queue_that_loses_messages_is_found() {
    let rule = template::queues_lose_nothing;
    let redrive = "RedrivePolicy: {deadLetterTargetArn: !GetAtt BuyDeadLetters.Arn, maxReceiveCount: 100}";
    refuses(rule, redrive, "", "no dead-letter queue");
    refuses(
        rule,
        "deadLetterTargetArn: !GetAtt BuyDeadLetters.Arn",
        "deadLetterTargetArn: !GetAtt BuyQueue.Arn",
        "no dead-letter",
    );
    refuses(rule, "maxReceiveCount: 100", "maxReceiveCount: 5", "maxReceiveCount");
    refuses(rule, "{MessageRetentionPeriod: 1209600,", "{MessageRetentionPeriod: 60,", "fourteen days");
    refuses(rule, "BuyDeadLetters.QueueName", "BuyQueue.QueueName", "no alarm");
}

#[test]
fn d5_a_queue_that_two_consumers_share_is_found() {
    let twice = "        Again: {Type: SQS, Properties: {Queue: !GetAtt BuyQueue.Arn}}\n        Commits:\n";
    refuses(template::consumers_share_no_queue, "        Commits:\n", twice, "shares");
}

#[test]
fn a_mapping_without_bounds_is_found() {
    let rule = template::mappings_are_bounded;
    refuses(rule, "FunctionResponseTypes: [ReportBatchItemFailures]", "Enabled: true", "whole batch");
    refuses(rule, "BatchSize: 10\n", "BatchSize: 1000\n", "BatchSize");
    refuses(rule, "MaximumConcurrency: 5", "MaximumConcurrency: !Ref Concurrency", "MaximumConcurrency");
    refuses(rule, "TRIM_HORIZON", "LATEST", "LATEST");
    refuses(rule, "BisectBatchOnFunctionError: true", "BisectBatchOnFunctionError: false", "split");
    refuses(rule, "MaximumRetryAttempts: 100\n", "Enabled: true\n", "retries must be bounded");
    refuses(rule, "MaximumRetryAttempts: 100\n", "MaximumRetryAttempts: -1\n", "retries must be bounded");
    refuses(rule, "MaximumRecordAgeInSeconds: 3600", "MaximumRecordAgeInSeconds: -1", "age must be bounded");
    refuses(
        rule,
        "MaximumRecordAgeInSeconds: 3600",
        "MaximumRecordAgeInSeconds: 604800",
        "age must be bounded",
    );
    refuses(rule, "OnFailure:", "OnSuccess:", "no on-failure queue");
    refuses(
        rule,
        "StartingPosition: TRIM_HORIZON\n",
        "StartingPosition: TRIM_HORIZON
            FilterCriteria: {Filters: [{Pattern: '{\"eventName\":[\"INSERT\"]}'}]}\n",
        "changed or deleted",
    );
    refuses(rule, "Type: SQS\n", "Type: Kinesis\n", "do not know events of type Kinesis");
    refuses(rule, "AWS::ApiGatewayV2::Integration", "AWS::Lambda::EventSourceMapping", "make it an event");
}

#[test]
fn a_queue_that_delivers_a_batch_beside_itself_is_found() {
    let rule = template::visibility_outlasts_the_function;
    refuses(rule, "VisibilityTimeout: 60", "VisibilityTimeout: 59", "six times");
    refuses(rule, "VisibilityTimeout: 60\n", "DelaySeconds: 0\n", "six times");
    refuses(rule, "Timeout: 10", "Timeout: 30", "six times");
}

#[test]
fn a_rule_that_loses_events_is_found() {
    let rule = template::rule_targets_lose_nothing;
    refuses(
        rule,
        "DeadLetterConfig: {Arn: !GetAtt BuyDeadLetters.Arn}",
        "Id: queue",
        "dead-letter queue must be a queue",
    );
    refuses(
        rule,
        "RetryPolicy: {MaximumRetryAttempts: 185, MaximumEventAgeInSeconds: 86400}",
        "Id: queue",
        "RetryPolicy",
    );
    refuses(
        rule,
        "!GetAtt BuyQueue.Arn, !GetAtt BuyDeadLetters.Arn]",
        "!GetAtt BuyQueue.Arn]",
        "take messages from this rule",
    );
    refuses(rule, "            Condition: {ArnEquals", "            X: {ArnEquals", "those alone");
    refuses(rule, "Principal: {Service: events.amazonaws.com}", "Principal: \"*\"", "those alone");
    refuses(rule, "!GetAtt BuyRule.Arn}}", "[!GetAtt BuyRule.Arn, !GetAtt SellRule.Arn]}}", "those alone");
    refuses(rule, "!GetAtt BuyRule.Arn}}", "[!GetAtt SellRule.Arn]}}", "those alone");
}

#[test]
fn a_route_that_leads_nowhere_is_found() {
    let rule = template::routes_lead_to_functions;
    refuses(rule, "IntegrationUri: !GetAtt BuyFunction.Arn", "IntegrationUri: x", "no function");
    refuses(rule, "/*/POST/api/toys/{id}", "/*/PUT/api/toys/{id}", "does not let the API in");
    refuses(rule, "integrations/${BuyIntegration}", "integrations/${SellIntegration}", "no function");
}

#[test]
fn routes_that_are_made_beside_others_or_after_the_stage_are_found() {
    let rule = template::routes_are_made_in_turn;
    let sound = r#"
Resources:
  Toys: {Type: AWS::Serverless::Application, Properties: {Location: infra/toys.yaml}}
  Boats:
    Type: AWS::Serverless::Application
    Properties: {Location: infra/boats.yaml, Parameters: {ToyArn: !GetAtt Toys.Outputs.ToyArn}}
  Cars: {Type: AWS::Serverless::Application, DependsOn: Boats, Properties: {Location: infra/cars.yaml}}
  Bare: {Type: AWS::Serverless::Application, Properties: {Location: infra/bare.yaml}}
  Stage: {Type: AWS::ApiGatewayV2::Stage, DependsOn: [Cars]}
"#;
    let found = |root: &str| {
        let contexts = ["toys", "boats", "cars"].map(|context| Template::parse(context, SOUND));
        let bare = Template::parse("bare", "Resources: {}");
        let root = Template::parse("template", root);
        rule(&contexts.into_iter().chain([bare, root]).collect::<Vec<_>>())
    };
    assert_eq!(found(sound), Vec::<String>::new());
    for (from, to, about) in [
        ("DependsOn: Boats, ", "", "Cars in template: its routes are made beside those of Toys"),
        ("!GetAtt Toys.Outputs.ToyArn", "!GetAtt Bare.Outputs.ToyArn", "beside those of Toys"),
        ("DependsOn: [Cars]", "DependsOn: [Boats]", "the routes of Cars come after it"),
        (", DependsOn: [Cars]", "", "the routes of Toys come after it"),
    ] {
        assert!(sound.contains(from), "{from}");
        let problems = found(&sound.replacen(from, to, 1));
        assert!(problems.iter().any(|problem| problem.contains(about)), "{from:?} -> {to:?}: {problems:?}");
    }
}

#[test]
fn a_nested_stack_without_a_parameter_is_found() {
    let rule = template::nested_stacks_get_their_parameters;
    refuses(rule, "EventTableArn: {Type: String}}", "EventTable: {Type: String}}", "wants");
}
