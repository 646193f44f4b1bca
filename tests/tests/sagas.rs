//! Every saga under `infra/` keeps the rules; the checker that says so is itself tested on broken sagas.

use std::path::{Path, PathBuf};

use contracts::ids::{OrderId, shopping_list_of};
use kernel::{Id, Uuid};
use mall_tests::saga::{Kind, Run, compensations_of, definition_at, happy_path, problems, problems_of, run};
use mall_tests::saga_docs::{drawn, replaced};
use ordering::sagas::OrderSagaInput;
use serde_json::{Value, json};

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra")
}

/// Every state machine but the one that rebuilds views, which does nothing that would have to be undone.
fn is_saga(path: &str) -> bool {
    path.ends_with(".asl.json") && !path.ends_with("/rebuild-view.asl.json")
}

fn sagas() -> Vec<(PathBuf, Value)> {
    let files = infra().read_dir().expect("infra/").flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = files.filter(|path| is_saga(&path.to_string_lossy())).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), definition_at(&path))).collect()
}

#[test]
fn d26_no_saga_hangs_gives_up_early_or_leaves_a_failure_half_done() {
    let sagas = sagas();
    assert!(!sagas.is_empty(), "no saga was found: this test would hold nothing");
    for (path, saga) in sagas {
        assert_eq!(problems_of(Kind::of(&path), &saga), Vec::<String>::new(), "{}", path.display());
    }
}

/// The steps of the order saga, each with what undoes it. Nothing of the order is left by the first one; shopping that
/// began is undone with the list, and an approval with the order.
const ORDER_SAGA: &[(&str, Option<&str>)] = &[
    ("AuthorizeCustomer", None),
    ("ReserveInventory", Some("ReleaseInventory")),
    ("CreateShoppingList", Some("CancelShoppingList")),
    ("ConfirmPayment", Some("ReleasePayment")),
    ("InitiateShopping", None),
    ("ApproveOrder", None),
];

fn order_saga() -> Value {
    definition_at(&infra().join("order-saga.asl.json"))
}

fn order_id() -> OrderId {
    Id::derived(&["an order"])
}

/// An execution, started as the policy starts it.
fn run_order_saga(error_of: impl Fn(&str) -> Option<&'static str>) -> Run {
    let input = OrderSagaInput {
        order_id: order_id(),
        customer_id: Id::derived(&["a customer"]),
        payment_id: Id::derived(&["a payment"]),
        shopping_id: shopping_list_of(order_id()),
        correlation: Uuid::nil(),
        causation: Uuid::nil(),
        trace: None,
    };
    let input = serde_json::to_value(input).expect("ids only");
    run(&order_saga(), &order_id().to_string(), &input, error_of)
}

/// What undoes the steps up to and with this one, in reverse.
fn undone_after(step: usize) -> Vec<&'static str> {
    let undoing = ORDER_SAGA[..=step].iter().rev().filter_map(|(_, undo)| *undo);
    undoing.chain(["RejectOrder"]).collect()
}

#[test]
fn an_order_goes_through_every_step_once() {
    let steps: Vec<&str> = ORDER_SAGA.iter().map(|(step, _)| *step).collect();
    let wanted = [&steps[..], &["OrderApproved"]].concat();
    assert_eq!(happy_path(&order_saga()), wanted);
    assert_eq!(run_order_saga(|_| None).path, wanted);
}

#[test]
fn whatever_fails_is_undone_in_reverse_and_nothing_is_that_cannot_have_been_done() {
    for (index, (step, _)) in ORDER_SAGA.iter().enumerate() {
        let undone = [&undone_after(index)[..], &["OrderRejected"]].concat();
        assert_eq!(compensations_of(&order_saga(), step), undone, "after {step}");
        let ran = run_order_saga(|state| (state == *step).then_some("NOT_TO_BE_HAD"));
        assert_eq!(
            ran.path[..=index],
            ORDER_SAGA[..=index].iter().map(|(step, _)| *step).collect::<Vec<_>>()
        );
        assert_eq!(ran.path[index + 1..], undone, "after {step}");
    }
}

#[test]
fn the_order_is_told_the_first_failure_and_not_a_later_one() {
    for (index, (step, _)) in ORDER_SAGA.iter().enumerate() {
        let ran = run_order_saga(|state| (state == *step).then_some("FIRST"));
        assert_eq!(ran.payload("RejectOrder")["body"], json!({ "reason": "FIRST" }), "after {step}");
        // A compensation that does not get through ends it, with both errors in sight.
        for stuck in undone_after(index) {
            let ran = run_order_saga(|state| match state {
                _ if state == *step => Some("FIRST"),
                _ if state == stuck => Some("SECOND"),
                _ => None,
            });
            assert_eq!(ran.path.last().map(String::as_str), Some("SagaStuck"), "{step}, {stuck}");
            assert_eq!(
                ran.cause.as_deref(),
                Some(format!("SECOND: {stuck} said SECOND (undoing FIRST)").as_str())
            );
        }
    }
}

#[test]
fn every_step_and_what_undoes_it_are_about_the_same_thing() {
    let id = |name: &str| Id::<()>::derived(&[name]).to_string();
    let order = order_id().to_string();
    let list = shopping_list_of(order_id()).to_string();
    let of_order = json!({ "orderId": order });
    let called_off = json!({ "orderId": order, "reason": "TOO_LATE" });
    let wanted = [
        ("AuthorizeCustomer", &id("a customer"), of_order.clone()),
        ("ReserveInventory", &order, json!({})),
        ("CreateShoppingList", &list, of_order.clone()),
        ("ConfirmPayment", &id("a payment"), of_order.clone()),
        ("InitiateShopping", &list, of_order.clone()),
        ("ApproveOrder", &order, json!({ "shoppingId": list })),
        ("ReleasePayment", &id("a payment"), of_order),
        ("CancelShoppingList", &list, called_off),
        ("ReleaseInventory", &order, json!({})),
        ("RejectOrder", &order, json!({ "reason": "TOO_LATE" })),
    ];
    let ran = run_order_saga(|state| (state == "ApproveOrder").then_some("TOO_LATE"));
    assert_eq!(ran.calls.len(), wanted.len());
    for ((called, payload), (step, id, body)) in ran.calls.iter().zip(wanted) {
        assert_eq!((called.as_str(), &payload["id"], &payload["body"]), (step, &json!(id), &body));
        assert_eq!(payload["command"], format!("{order}:{step}"));
    }
}

#[test]
fn an_order_does_not_cost_more_than_eight_transitions() {
    let transitions = happy_path(&order_saga()).len() + 1; // starting counts too
    assert!(transitions <= 8, "{transitions} transitions");
}

#[test]
fn a_repeated_step_is_the_same_command() {
    for (path, saga) in sagas() {
        // The order saga's executions are named after the order; those that go on for it, after the attempt too.
        let order = match Kind::of(&path) {
            Kind::Saga => "$$.Execution.Name",
            Kind::Compensation => "$.orderId",
        };
        for (name, state) in saga["States"].as_object().expect("states") {
            if state["Type"] == "Task" {
                let command = &state["Parameters"]["Payload"]["command.$"];
                let wanted = format!("States.Format('{{}}:{name}', {order})");
                assert_eq!(*command, wanted, "{}, {name}", path.display());
            }
        }
    }
}

#[test]
fn the_document_says_of_every_saga_what_its_definition_says() {
    let path = infra().join("../docs/SAGAS.md");
    let document = std::fs::read_to_string(&path).expect("docs/SAGAS.md");
    let wanted = sagas().iter().fold(document.clone(), |document, (path, saga)| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file's name");
        replaced(&document, name, &drawn(Kind::of(path), saga))
    });
    if std::env::var_os("MALL_WRITE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("docs/SAGAS.md can be written");
        return;
    }
    assert!(document == wanted, "docs/SAGAS.md is stale: run `cargo mall docs`");
}

// ---- undoing by hand

fn compensation() -> Value {
    definition_at(&infra().join("order-saga-compensation.asl.json"))
}

/// What a stuck execution of the order saga ended with, and where it is to go on.
fn run_compensation(from: &str, error_of: impl Fn(&str) -> Option<&'static str>) -> Run {
    let input = json!({
        "orderId": order_id(), "customerId": Id::<()>::derived(&["a customer"]), "paymentId": Id::<()>::derived(&["a payment"]),
        "shoppingId": shopping_list_of(order_id()), "correlation": Uuid::nil(), "causation": Uuid::nil(), "trace": null,
        "failure": { "Error": "TOO_LATE", "Cause": "ApproveOrder said TOO_LATE" }, "from": from,
    });
    run(&compensation(), &format!("{}-undo-1", order_id()), &input, error_of)
}

#[test]
fn what_is_undone_by_hand_is_what_the_saga_would_have_undone_with_the_same_commands() {
    let saga = run_order_saga(|state| (state == "ApproveOrder").then_some("TOO_LATE"));
    let undone =
        saga.calls.iter().skip_while(|(name, _)| name != "ReleasePayment").cloned().collect::<Vec<_>>();
    assert_eq!(undone.len(), 4);
    for (index, (from, _)) in undone.iter().enumerate() {
        let by_hand = run_compensation(from, |_| None);
        assert_eq!(by_hand.path[0], "GoOn");
        assert_eq!(by_hand.calls, undone[index..], "from {from}: what is left, and nothing twice");
        assert_eq!(by_hand.path.last().map(String::as_str), Some("OrderRejected"));
    }
    let (saga, by_hand) = (order_saga(), compensation());
    for (name, _) in &undone {
        for setting in ["Resource", "TimeoutSeconds", "Retry", "Catch", "Next", "ResultPath"] {
            assert_eq!(by_hand["States"][name][setting], saga["States"][name][setting], "{name}, {setting}");
        }
        let function = |machine: &Value| machine["States"][name]["Parameters"]["FunctionName"].clone();
        assert_eq!(function(&by_hand), function(&saga), "{name}");
    }
}

#[test]
fn an_order_that_ended_who_knows_where_is_undone_from_the_top() {
    let everything =
        ["GoOn", "ReleasePayment", "CancelShoppingList", "ReleaseInventory", "RejectOrder", "OrderRejected"];
    assert_eq!(run_compensation("SomewhereElse", |_| None).path, everything);
}

#[test]
fn what_cannot_be_undone_by_hand_either_is_seen() {
    let ran = run_compensation("ReleaseInventory", |state| (state == "ReleaseInventory").then_some("SECOND"));
    assert_eq!(ran.path, ["GoOn", "ReleaseInventory", "SagaStuck"]);
    let cause = "SECOND: ReleaseInventory said SECOND (undoing TOO_LATE)";
    assert_eq!(ran.cause.as_deref(), Some(cause));
}

// ---- the checker can fail

/// The smallest saga without a problem: one step, one compensation.
fn sound() -> Value {
    let task = |attempts: u64, error_at: &str, caught_by: &str, next: &str| {
        json!({
            "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "ResultPath": null, "TimeoutSeconds": 20,
            "Parameters": {"FunctionName": "f", "Payload": {"id.$": "$.id"}},
            "Retry": [{
                "ErrorEquals": ["Unavailable", "Conflict", "Lambda.ServiceException", "States.Timeout"],
                "IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": attempts, "MaxDelaySeconds": 60, "JitterStrategy": "FULL",
            }],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": error_at, "Next": caught_by}],
            "Next": next,
        })
    };
    json!({
        "StartAt": "Pay",
        "States": {
            "Pay": task(5, "$.failure", "GiveBack", "Paid"),
            "Paid": {"Type": "Succeed"},
            "GiveBack": task(12, "$.stuck", "SagaStuck", "NotPaid"),
            "NotPaid": {"Type": "Succeed"},
            "SagaStuck": {"Type": "Fail", "Error": "SagaStuck"},
        }
    })
}

/// Sets the value at `pointer` in the sound saga and wants a problem that says `about`.
#[track_caller]
fn refuses(pointer: &str, value: Value, about: &str) {
    let mut saga = sound();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    saga.pointer_mut(parent).expect("the parent is there")[field] = value;
    let found = problems(&saga);
    assert!(
        found.iter().any(|problem| problem.contains(about)),
        "{pointer}: wanted {about:?}, found {found:?}"
    );
}

#[track_caller]
fn refuses_without(pointer: &str, about: &str) {
    refuses(pointer, Value::Null, about);
}

#[test]
fn the_checker_finds_nothing_wrong_with_a_sound_saga() {
    assert_eq!(problems(&sound()), Vec::<String>::new());
}

#[test]
fn a_task_that_could_hang_is_found() {
    refuses_without("/States/Pay/TimeoutSeconds", "no TimeoutSeconds");
    refuses("/States/GiveBack/TimeoutSeconds", json!(0), "no TimeoutSeconds");
}

#[test]
fn a_task_that_gives_up_at_once_or_never_is_found() {
    refuses_without("/States/Pay/Retry", "no Retry");
    refuses("/States/Pay/Retry", json!([]), "no Retry");
    refuses_without("/States/Pay/Retry/0/MaxAttempts", "bounded");
    refuses("/States/Pay/Retry/0/MaxAttempts", json!(99_999), "bounded");
    refuses_without("/States/Pay/Retry/0/MaxDelaySeconds", "MaxDelaySeconds");
    refuses("/States/Pay/Retry/0/BackoffRate", json!(1), "backing off");
    refuses("/States/Pay/Retry/0/ErrorEquals", json!(["Unavailable"]), "our own technical errors");
}

#[test]
fn retries_in_step_with_each_other_are_found() {
    refuses_without("/States/Pay/Retry/0/JitterStrategy", "full jitter");
    refuses("/States/Pay/Retry/0/JitterStrategy", json!("NONE"), "full jitter");
}

#[test]
fn retrying_a_refusal_of_the_business_is_found() {
    for refusal in ["States.ALL", "States.TaskFailed", "PAYMENT_DOES_NOT_COVER_TOTAL"] {
        refuses("/States/Pay/Retry/0/ErrorEquals", json!(["Unavailable", "Conflict", refusal]), refusal);
    }
}

#[test]
fn a_failure_that_nobody_catches_is_found() {
    refuses_without("/States/Pay/Catch", "nothing leads to it");
    refuses("/States/Pay/Catch/0/ErrorEquals", json!(["States.TaskFailed"]), "States.ALL");
}

#[test]
fn a_catch_without_compensation_is_found() {
    let mut saga = sound();
    saga["States"]["Pay"]["Catch"] = json!([
        {"ErrorEquals": ["TOO_LATE"], "ResultPath": "$.failure", "Next": "NotPaid"},
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "GiveBack"},
    ]);
    assert_eq!(problems(&saga), ["Pay: its Catch does not lead to a compensation"]);
}

#[test]
fn a_failure_that_goes_on_as_if_nothing_had_happened_is_found() {
    let mut saga = sound();
    saga["States"]["GiveBack"]["Next"] = json!("Paid");
    assert!(problems(&saga).contains(&"NotPaid: nothing leads to it".to_owned()));
    saga["States"].as_object_mut().expect("states").remove("NotPaid");
    assert_eq!(problems(&saga), ["Pay: its Catch does not lead to a compensation"]);
}

#[test]
fn a_compensation_that_fails_out_of_sight_is_found() {
    refuses_without("/States/GiveBack/Catch", "nothing leads to it");
    refuses("/States/GiveBack/Catch/0/Next", json!("NotPaid"), "nothing leads to it");
    refuses("/States/GiveBack/Retry/0/MaxAttempts", json!(3), "retried for long");
    refuses("/States/SagaStuck/Error", json!("Oops"), "SagaStuck");
    let mut saga = sound();
    saga["States"]["GiveBack"]["Catch"][0]["Next"] = json!("NotPaid");
    saga["States"].as_object_mut().expect("states").remove("SagaStuck");
    assert_eq!(problems(&saga), ["GiveBack: a compensation that fails must end in a visible stuck state"]);
    saga["States"]["GiveBack"].as_object_mut().expect("a state").remove("Catch");
    assert_eq!(
        problems(&saga),
        ["GiveBack: no Catch of States.ALL: a failure would leave what was done half done"]
    );
}

#[test]
fn payloads_that_grow_from_step_to_step_are_found() {
    refuses("/States/Pay/ResultPath", json!("$"), "pile up");
    refuses("/States/Pay/ResultPath", json!("$.paid"), "pile up");
    refuses("/States/Pay/Catch/0/ResultPath", json!("$"), "beside the ids");
    refuses_without("/States/Pay/Catch/0/ResultPath", "beside the ids");
}

#[test]
fn a_compensation_that_hides_the_first_failure_is_found() {
    refuses("/States/GiveBack/Catch/0/ResultPath", json!("$.failure"), "beside the first failure");
    refuses_without("/States/GiveBack/Catch/0/ResultPath", "beside the first failure");
}

#[test]
#[should_panic(expected = "$.payment is missing")]
fn a_path_that_leads_nowhere_is_found() {
    let mut saga = sound();
    saga["States"]["GiveBack"]["Parameters"]["Payload"]["id.$"] = json!("$.payment");
    run(&saga, "e", &json!({ "id": "1" }), |state| (state == "Pay").then_some("NO"));
}

#[test]
fn a_time_out_that_ends_a_saga_without_compensating_is_found() {
    refuses("/TimeoutSeconds", json!(3600), "without compensating");
}

#[test]
fn a_step_that_leads_nowhere_or_is_never_reached_is_found() {
    refuses("/StartAt", json!("Gone"), "not there");
    refuses("/States/Pay/Next", json!("Gone"), "not there");
    refuses("/States/Pay/Catch/0/Next", json!("Gone"), "not there");
    refuses_without("/States/Pay/Next", "has no Next");
    refuses("/States/Lonely", json!({"Type": "Succeed"}), "nothing leads to it");
}

#[test]
fn a_saga_that_fails_without_compensating_is_found() {
    let mut saga = sound();
    saga["States"]["Paid"] = json!({"Type": "Fail", "Error": "SagaStuck"});
    assert_eq!(problems(&saga), ["Paid: fails without compensating what was done"]);
}

#[test]
fn jsonata_which_interpreters_read_differently_is_found() {
    refuses("/QueryLanguage", json!("JSONata"), "JSONPath");
    refuses("/States/Pay/QueryLanguage", json!("JSONata"), "JSONata");
    refuses("/States/Pay/Arguments", json!({}), "JSONata");
    refuses("/States/Pay/Parameters/Payload/id", json!("{% $states.input.id %}"), "JSONata");
}

#[test]
fn a_choice_that_may_choose_nothing_is_found() {
    let mut saga = sound();
    let choices = json!([{"Variable": "$.a", "StringEquals": "b", "Next": "Pay"}]);
    saga["StartAt"] = json!("Choose");
    saga["States"]["Choose"] = json!({"Type": "Choice", "Choices": choices, "Default": "Pay"});
    assert_eq!(problems(&saga), Vec::<String>::new());
    saga["States"]["Choose"]["Default"] = Value::Null;
    assert!(problems(&saga)[0].starts_with("Choose: a choice without a Default"));
}

#[test]
fn a_step_forward_in_what_should_only_undo_is_found() {
    let found = problems_of(Kind::Compensation, &sound());
    assert!(found.contains(&"Pay: a compensation must be retried for long".to_owned()), "{found:?}");
    assert!(found.contains(&"Pay: a compensation that fails must end in a visible stuck state".to_owned()));
}

#[test]
fn a_kind_of_state_the_checker_cannot_judge_is_found() {
    refuses("/States/Paid/Type", json!("Parallel"), "has no Next");
    let mut saga = sound();
    saga["States"]["Paid"] = json!({"Type": "Parallel", "Next": "NotPaid"});
    assert!(problems(&saga).iter().any(|problem| problem.contains("not known to this checker")));
}
