//! Both state machines of an order keep the rules, and are played through every failure. The checker of the
//! rules is tested on definitions that were broken on purpose.

use std::path::{Path, PathBuf};

use mall_tests::saga::{Kind, Run, definition_at, longest, play, problems, waits};
use mall_tests::saga_docs::{drawn, replaced};
use serde_json::{Value, json};

const PLACEMENT: &[&str] = &[
    "AuthorizeCustomer",
    "ReserveInventory",
    "CreateShoppingList",
    "ConfirmPayment",
    "InitiateShopping",
    "ApproveOrder",
];

const UNDO: &[&str] =
    &["CloseOrder", "SettleInvoiceAndPayment", "CancelShoppingList", "ReleaseInventory", "EndUndo"];

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra")
}

fn definition(kind: Kind) -> Value {
    let of_kind =
        |(path, definition): (PathBuf, Value)| (Kind::of(&path) == Some(kind)).then_some(definition);
    sagas().into_iter().find_map(of_kind).expect("a definition of this kind")
}

/// Every state machine under `infra/` but `sweep-view`, which has nothing to undo.
fn sagas() -> Vec<(PathBuf, Value)> {
    let files = infra().read_dir().expect("infra/").flatten().map(|entry| entry.path());
    let machines = files.filter(|path| path.to_string_lossy().ends_with(".asl.json"));
    let mut paths: Vec<PathBuf> = machines.filter(|path| !path.ends_with("sweep-view.asl.json")).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), definition_at(&path))).collect()
}

/// Plays an execution in which these tasks fail with these errors.
fn run(kind: Kind, failing: &[(&str, &str)]) -> Run {
    let name = match kind {
        Kind::Placement => "an order-a start",
        Kind::Undo => "an order-undo-1",
    };
    play(&definition(kind), name, &kind.input(), &mut |task, _| {
        let failed = failing.iter().find(|(failing, _)| *failing == task);
        failed.map_or(Ok(()), |(_, error)| Err((*error).to_owned()))
    })
}

#[test]
fn d26_no_saga_hangs_gives_up_early_or_leaves_a_failure_half_done() {
    let sagas = sagas();
    assert_eq!(sagas.len(), 2, "one machine goes forward, and one undoes");
    for (path, saga) in sagas {
        let kind = Kind::of(&path).unwrap_or_else(|| panic!("no rules are known for {}", path.display()));
        assert_eq!(problems(kind, &saga), Vec::<String>::new(), "{}", path.display());
    }
}

// ---- the placement

#[test]
fn an_order_is_placed_by_every_step_once_and_nothing_waits_for_its_payment() {
    let ran = run(Kind::Placement, &[]);
    assert_eq!(ran.path, PLACEMENT);
    assert_eq!(ran.failure, None);
}

#[test]
fn any_failure_of_a_step_begins_the_undo_and_nothing_else_is_done() {
    for (index, step) in PLACEMENT.iter().enumerate() {
        for error in
            ["INSUFFICIENT_STOCK", "ORDER_IS_OVER", "Unavailable", "States.Timeout", "Lambda.Unknown"]
        {
            let ran = run(Kind::Placement, &[(step, error)]);
            assert_eq!(ran.path, [&PLACEMENT[..=index], &["BeginUndo", "OrderNotPlaced"]].concat(), "{step}");
            assert_eq!(ran.failure, None, "{step}");
            let cause = format!("{step} said {error}");
            let body = json!({ "origin": "placement", "error": error, "cause": cause });
            assert_eq!(ran.payload("BeginUndo")["body"], body);
        }
    }
}

#[test]
fn an_undo_that_cannot_be_begun_ends_the_placement_as_failed() {
    for step in PLACEMENT {
        let ran = run(Kind::Placement, &[(step, "INSUFFICIENT_STOCK"), ("BeginUndo", "Unavailable")]);
        assert_eq!(ran.path[ran.path.len() - 2..], ["BeginUndo", "UndoNotBegun"], "{step}");
        let (error, cause) = ran.failure.expect("a failure");
        assert_eq!(error, "UndoNotBegun");
        assert!(cause.contains("resume-sagas"), "it says who finds the order: {cause}");
    }
}

#[test]
fn an_order_is_placed_within_what_express_grants_in_the_worst_case() {
    let placement = definition(Kind::Placement);
    println!("placing an order takes {} s of {} s at most", longest(&placement), placement["TimeoutSeconds"]);
    let limit = placement["TimeoutSeconds"].as_f64().expect("a limit");
    assert!(limit - longest(&placement) >= 30.0, "the service itself takes time between two states, too");
    println!("undoing an order takes {} s at most", longest(&definition(Kind::Undo)));
    // By default none is started again beside one that is at work.
    let template = std::fs::read_to_string(infra().join("../template.yaml")).expect("template.yaml");
    let patience =
        template.split("PlacementPatienceSeconds:").nth(1).and_then(|rest| rest.split("Default: ").nth(1));
    let patience: Option<f64> = patience.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let limit = definition(Kind::Placement)["TimeoutSeconds"].as_f64();
    assert!(patience > limit, "{patience:?} s, and a placement may take {limit:?} s");
}

// ---- the undo

#[test]
fn an_undo_closes_the_order_first_and_then_gives_back_everything() {
    let ran = run(Kind::Undo, &[]);
    assert_eq!(ran.path, UNDO);
    assert_eq!(ran.failure, None);
    assert_eq!(ran.payload("EndUndo")["body"], Kind::Undo.input());
}

#[test]
fn an_order_that_is_to_be_kept_is_not_undone() {
    let ran = run(Kind::Undo, &[("CloseOrder", "ORDER_IS_KEPT")]);
    assert_eq!(ran.path, ["CloseOrder", "EndUndo"]);
    assert_eq!(ran.failure, None);
    let kept = json!({ "Error": "ORDER_IS_KEPT", "Cause": "CloseOrder said ORDER_IS_KEPT" });
    assert_eq!(ran.payload("EndUndo")["body"]["kept"], kept);
    for step in &UNDO[1..] {
        let ran = run(Kind::Undo, &[(step, "ORDER_IS_KEPT")]);
        assert!(ran.failure.is_some(), "{step} cannot keep an order that is closed");
    }
}

#[test]
fn a_step_of_the_undo_that_fails_is_reported_and_seen() {
    for (index, step) in UNDO.iter().enumerate() {
        for error in ["ORDER_IS_NOT_OVER", "Unavailable", "States.Timeout"] {
            let cause = format!("{step} said {error}");
            let seen = Some(("UndoFailed".to_owned(), format!("{error}: {cause}")));
            let ran = run(Kind::Undo, &[(step, error)]);
            assert_eq!(ran.path, [&UNDO[..=index], &["ReportFailure", "UndoFailed"]].concat());
            let failure = json!({ "Error": error, "Cause": cause });
            assert_eq!(ran.payload("ReportFailure")["body"]["failure"], failure);
            assert_eq!(ran.failure, seen);
            // A report that is lost hides neither the failure nor its first cause.
            let unheard = run(Kind::Undo, &[(step, error), ("ReportFailure", "Unavailable")]);
            assert_eq!(unheard.failure, seen);
        }
    }
}

#[test]
fn a_kept_order_whose_end_cannot_be_recorded_is_reported_as_kept_too() {
    let ran = run(Kind::Undo, &[("CloseOrder", "ORDER_IS_KEPT"), ("EndUndo", "Unavailable")]);
    let body = &ran.payload("ReportFailure")["body"];
    assert_eq!(
        (&body["kept"]["Error"], &body["failure"]["Error"]),
        (&json!("ORDER_IS_KEPT"), &json!("Unavailable"))
    );
}

// ---- payloads and costs

#[test]
fn every_step_is_about_its_own_thing_and_gets_only_ids_a_reason_and_error_text() {
    let order = || json!({ "orderId": "an order" });
    let failed = run(Kind::Placement, &[("ApproveOrder", "TOO_LATE")]);
    let begin = json!({ "origin": "placement", "error": "TOO_LATE", "cause": "ApproveOrder said TOO_LATE" });
    let placement = [
        ("AuthorizeCustomer", "a customer", order()),
        ("ReserveInventory", "an order", json!({})),
        ("CreateShoppingList", "a list", order()),
        ("ConfirmPayment", "a payment", order()),
        ("InitiateShopping", "a list", order()),
        ("ApproveOrder", "an order", json!({ "shoppingId": "a list" })),
        ("BeginUndo", "an order", begin),
    ];
    let undone = run(Kind::Undo, &[]);
    let undo = [
        ("CloseOrder", "an order", json!({ "origin": "placement", "reason": "TOO_LATE" })),
        ("SettleInvoiceAndPayment", "an order", json!({ "reason": "TOO_LATE" })),
        ("CancelShoppingList", "a list", json!({ "orderId": "an order", "reason": "TOO_LATE" })),
        ("ReleaseInventory", "an order", json!({})),
        ("EndUndo", "an order", Kind::Undo.input()),
    ];
    let called = failed.calls.into_iter().map(|call| ("saga:order", call));
    let called: Vec<_> = called.chain(undone.calls.into_iter().map(|call| ("saga:undo", call))).collect();
    let wanted: Vec<_> = placement.into_iter().chain(undo).collect();
    assert_eq!(called.len(), wanted.len());
    for ((actor, (called, payload)), (step, id, body)) in called.into_iter().zip(wanted) {
        let owner = if actor == "saga:undo" { "an order-undo-1" } else { "an order-a start" };
        let all = json!({
            "command": format!("{owner}:{step}"), "id": id, "body": body, "actor": actor,
            "correlation": "a checkout", "causation": null, "trace": null, "attempt": 0,
        });
        assert_eq!((called.as_str(), payload), (step, all));
    }
}

#[test]
fn a_second_execution_is_not_answered_with_what_was_so_when_the_first_one_asked() {
    let commands = |kind: Kind, name: &str| {
        let ran = play(&definition(kind), name, &kind.input(), &mut |_, _| Ok(()));
        ran.calls.into_iter().map(|(_, payload)| payload["command"].to_string()).collect::<Vec<_>>()
    };
    for kind in [Kind::Placement, Kind::Undo] {
        let (first, second) = (commands(kind, "first"), commands(kind, "second"));
        assert!(first.iter().all(|command| !second.contains(command)), "{first:?}, {second:?}");
    }
}

#[test]
fn a_paid_order_costs_no_standard_transition_and_an_undone_order_costs_six() {
    let undone = run(Kind::Undo, &[]).transitions();
    let kept = run(Kind::Undo, &[("CloseOrder", "ORDER_IS_KEPT")]).transitions();
    println!("Standard transitions: an order that is paid 0, one that is undone {undone}, a kept one {kept}");
    assert_eq!((undone, kept), (6, 3));
}

// ---- the document

#[test]
fn the_document_says_of_every_saga_what_its_definition_says() {
    let path = infra().join("../docs/SAGAS.md");
    let document = std::fs::read_to_string(&path).expect("docs/SAGAS.md");
    let wanted = sagas().iter().fold(document.clone(), |document, (path, saga)| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file's name");
        replaced(&document, name, &drawn(saga))
    });
    if std::env::var_os("MALL_WRITE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("docs/SAGAS.md can be written");
        return;
    }
    assert!(document == wanted, "docs/SAGAS.md is stale: run `cargo mall docs`");
}

// ---- the checker can fail

/// Sets the value at `pointer` in a sound definition, and wants a problem that says `about`.
#[track_caller]
fn refuses(kind: Kind, pointer: &str, value: Value, about: &str) {
    let mut broken = definition(kind);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    broken.pointer_mut(parent).expect("the parent is there")[field] = value;
    let found = problems(kind, &broken);
    assert!(
        found.iter().any(|problem| problem.contains(about)),
        "{pointer}: wanted {about:?}, found {found:?}"
    );
}

#[track_caller]
fn refuses_in_placement(pointer: &str, value: Value, about: &str) {
    refuses(Kind::Placement, pointer, value, about);
}

#[track_caller]
fn refuses_in_undo(pointer: &str, value: Value, about: &str) {
    refuses(Kind::Undo, pointer, value, about);
}

#[test]
fn jsonata_which_interpreters_read_differently_is_found() {
    refuses_in_undo("/QueryLanguage", json!("JSONata"), "QueryLanguage");
    refuses_in_undo("/States/CloseOrder/QueryLanguage", json!("JSONata"), "QueryLanguage is not known");
    refuses_in_placement("/States/ApproveOrder/Arguments", json!({}), "Arguments is not known");
}

#[test]
fn a_state_that_waits_is_found() {
    let token = json!("arn:aws:states:::lambda:invoke.waitForTaskToken");
    let sync = json!("arn:aws:states:::states:startExecution.sync:2");
    for resource in [token, sync] {
        refuses_in_undo("/States/CloseOrder/Resource", resource, "waits for more than its answer");
    }
    refuses_in_undo("/States/CloseOrder/HeartbeatSeconds", json!(60), "HeartbeatSeconds is not known");
    refuses_in_undo(
        "/States/CloseOrder/TimeoutSecondsPath",
        json!("$.wait"),
        "TimeoutSecondsPath is not known",
    );
    let wait = json!({ "Type": "Wait", "Seconds": 60, "Next": "CloseOrder" });
    refuses_in_undo("/States/Sleep", wait, "is of type \"Wait\"");
    for other in ["Choice", "Parallel", "Map"] {
        refuses_in_placement("/States/ApproveOrder/Type", json!(other), "and not Task");
    }
}

#[test]
fn a_task_that_could_hang_is_found() {
    refuses_in_placement("/States/ApproveOrder/TimeoutSeconds", Value::Null, "no TimeoutSeconds");
    refuses_in_undo("/States/ReportFailure/TimeoutSeconds", json!(0), "no TimeoutSeconds");
}

#[test]
fn a_task_that_gives_up_at_once_or_never_is_found() {
    let retry = "/States/ReleaseInventory/Retry";
    refuses_in_undo(retry, Value::Null, "has not one Retry");
    refuses_in_undo(retry, json!([]), "has not one Retry");
    for (field, value, about) in [
        ("MaxAttempts", Value::Null, "MaxAttempts"),
        ("MaxAttempts", json!(0), "MaxAttempts"),
        ("MaxAttempts", json!(99_999), "MaxAttempts"),
        ("IntervalSeconds", Value::Null, "IntervalSeconds"),
        ("MaxDelaySeconds", Value::Null, "MaxDelaySeconds"),
        ("BackoffRate", json!(1), "backing off"),
        ("JitterStrategy", Value::Null, "jitter"),
        ("JitterStrategy", json!("NONE"), "jitter"),
    ] {
        refuses_in_undo(&format!("{retry}/0/{field}"), value, about);
    }
}

#[test]
fn retrying_a_refusal_and_not_retrying_a_crash_are_found() {
    let retried = "/States/ConfirmPayment/Retry/0/ErrorEquals";
    let sound =
        definition(Kind::Placement).pointer(retried).and_then(Value::as_array).expect("errors").clone();
    for refusal in ["States.ALL", "States.TaskFailed", "PAYMENT_DOES_NOT_COVER_TOTAL"] {
        let more = [&sound[..], &[json!(refusal)]].concat();
        refuses_in_placement(retried, json!(more), "other errors than the technical ones");
    }
    for index in 0..sound.len() {
        let mut fewer = sound.clone();
        fewer.remove(index);
        refuses_in_placement(retried, json!(fewer), "other errors than the technical ones");
    }
}

#[test]
fn a_failure_of_a_placement_that_begins_no_undo_is_found() {
    for step in PLACEMENT {
        let caught = format!("/States/{step}/Catch");
        refuses_in_placement(&caught, Value::Null, "its failures lead elsewhere");
        refuses_in_placement(
            &format!("{caught}/0/ErrorEquals"),
            json!(["States.TaskFailed"]),
            "lead elsewhere",
        );
        refuses_in_placement(&format!("{caught}/0/Next"), json!("ApproveOrder"), "lead elsewhere");
        refuses_in_placement(&format!("{caught}/0/ResultPath"), json!("$"), "lead elsewhere");
    }
    refuses_in_placement("/States/BeginUndo/Catch", Value::Null, "its failures lead elsewhere");
    refuses_in_placement(
        "/States/BeginUndo/Catch/0/Next",
        json!("OrderNotPlaced"),
        "its failures lead elsewhere",
    );
    refuses_in_placement("/States/BeginUndo/Next", json!("UndoNotBegun"), "elsewhere than to OrderNotPlaced");
    refuses_in_placement("/States/UndoNotBegun/Type", json!("Succeed"), "and not Fail");
}

#[test]
fn a_failure_of_an_undo_that_nobody_hears_of_is_found() {
    for step in UNDO {
        let caught = format!("/States/{step}/Catch");
        refuses_in_undo(&caught, Value::Null, "its failures lead elsewhere");
        let swallowed = json!([{ "ErrorEquals": ["States.ALL"], "ResultPath": null, "Next": "EndUndo" }]);
        refuses_in_undo(&caught, swallowed, "its failures lead elsewhere");
    }
    refuses_in_undo("/States/ReportFailure/Next", json!("EndUndo"), "elsewhere than to UndoFailed");
    refuses_in_undo(
        "/States/ReportFailure/Catch/0/ResultPath",
        json!("$.failure"),
        "its failures lead elsewhere",
    );
    refuses_in_undo("/States/UndoFailed/Type", json!("Succeed"), "and not Fail");
}

#[test]
fn an_order_that_is_undone_although_it_is_kept_is_found() {
    refuses_in_undo(
        "/States/CloseOrder/Catch/0/Next",
        json!("ReleaseInventory"),
        "its failures lead elsewhere",
    );
    refuses_in_undo("/States/CloseOrder/Catch/0/ErrorEquals", json!(["ORDER_IS_OVER"]), "lead elsewhere");
    let kept = json!([{ "ErrorEquals": ["ORDER_IS_KEPT"], "ResultPath": "$.kept", "Next": "EndUndo" }]);
    refuses_in_undo("/States/ReleaseInventory/Catch", kept, "its failures lead elsewhere");
}

#[test]
fn an_undo_that_leaves_the_door_open_or_no_end_is_found() {
    refuses_in_undo("/StartAt", json!("SettleInvoiceAndPayment"), "begins or ends elsewhere");
    refuses_in_undo("/States/ReleaseInventory/Next", json!("UndoFailed"), "begins or ends elsewhere");
    refuses_in_placement("/States/InitiateShopping/Next", json!("BeginUndo"), "begins or ends elsewhere");
}

#[test]
fn a_path_that_leads_nowhere_is_found() {
    refuses_in_placement("/StartAt", json!("Gone"), "Gone: is not there");
    refuses_in_placement("/States/ReserveInventory/Next", json!("Gone"), "Gone: is not there");
    refuses_in_placement("/States/ReserveInventory/Next", Value::Null, "ReserveInventory: has no Next");
    refuses_in_placement("/States/ReserveInventory/Next", json!("ReserveInventory"), "circles");
    refuses_in_placement("/States/ReserveInventory/Next", json!("ConfirmPayment"), "nothing leads to it");
}

/// A missing path ends an execution with `States.Runtime`, which no catcher of `States.ALL` catches.
#[test]
fn data_that_is_not_there_is_found_also_after_a_failure() {
    let payload = |step: &str, rest: &str| format!("/States/{step}/Parameters/Payload/{rest}");
    refuses_in_undo(&payload("ReleaseInventory", "id.$"), json!("$.paymentId"), "$.paymentId is missing");
    refuses_in_placement(&payload("BeginUndo", "body/kept.$"), json!("$.kept"), "$.kept is missing");
    refuses_in_undo(&payload("EndUndo", "body"), json!({ "failure.$": "$.failure" }), "$.failure is missing");
    let cause = json!("States.Format('{}', $.report.Cause)");
    refuses_in_undo("/States/UndoFailed/CausePath", cause, "$.report.Cause is missing");
}

#[test]
fn data_that_grows_from_step_to_step_is_found() {
    for path in [json!("$"), json!("$.order")] {
        refuses_in_placement("/States/ReserveInventory/ResultPath", path, "only ids may travel");
    }
    let mut broken = definition(Kind::Placement);
    broken["States"]["ReserveInventory"].as_object_mut().expect("a state").remove("ResultPath");
    assert_eq!(
        problems(Kind::Placement, &broken),
        ["ReserveInventory: keeps its result: only ids may travel"]
    );
    refuses_in_placement("/States/ReserveInventory/ResultSelector", json!({}), "ResultSelector is not known");
}

#[test]
fn a_command_that_a_repeat_would_not_be_known_by_is_found() {
    for (kind, step, owner) in [
        (Kind::Placement, "ReserveInventory", "$.orderId"),
        (Kind::Placement, "BeginUndo", "$.orderId"),
        (Kind::Undo, "ReleaseInventory", "$.orderId"),
    ] {
        let command = format!("/States/{step}/Parameters/Payload/command.$");
        refuses(kind, &command, json!(format!("States.Format('{{}}:{step}', {owner})")), "its command.$ is");
        refuses(kind, &command, json!("States.Format('{}:Step', $.orderId)"), "its command.$ is");
        refuses(kind, &format!("/States/{step}/Parameters/Payload/actor"), json!("policy:x"), "its actor is");
    }
}

#[test]
fn a_placement_that_express_would_end_is_found() {
    refuses_in_placement("/TimeoutSeconds", Value::Null, "Express after 300 s");
    refuses_in_placement("/TimeoutSeconds", json!(248), "takes 248 s");
    refuses_in_placement("/TimeoutSeconds", json!(300), "Express after 300 s");
    refuses_in_placement("/States/BeginUndo/Retry/0/MaxAttempts", json!(9), "takes 302 s");
}

#[test]
fn an_undo_that_ends_half_way_by_its_time_is_found() {
    refuses_in_undo("/TimeoutSeconds", json!(3600), "half undone");
}

#[test]
fn the_longest_time_is_that_of_all_attempts_and_all_waits() {
    let retrier = json!({ "IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": 4, "MaxDelaySeconds": 4 });
    assert_eq!(waits(&retrier), [1.0, 2.0, 4.0, 4.0]);
    let task = json!({ "Type": "Task", "TimeoutSeconds": 20, "Retry": [retrier] });
    assert_eq!(
        longest(&json!({ "States": { "Pay": task, "Paid": { "Type": "Succeed" } } })),
        5.0 * 20.0 + 11.0
    );
}
