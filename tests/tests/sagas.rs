//! Every saga under `infra/` keeps the rules; the checker that says so is itself tested on broken sagas.

use std::path::{Path, PathBuf};

use contracts::ids::{OrderId, shopping_list_of};
use kernel::{Id, Uuid};
use mall_tests::saga::{
    Kind, Player, Run, compensations_of, definition_at, happy_path, longest, problems, problems_of, waits,
};
use mall_tests::saga_docs::{drawn, replaced};
use ordering::sagas::{FirstWait, OrderSagaInput};
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

// ---- placing an order

/// The steps that place an order.
const PLACEMENT: &[&str] = &[
    "AuthorizeCustomer",
    "ReserveInventory",
    "CreateShoppingList",
    "ConfirmPayment",
    "InitiateShopping",
    "ApproveOrder",
];

/// What undoes them, in reverse. Nothing of the order is left by the first one; shopping that began is undone with the
/// list, and an approval with the order.
const UNDONE: &[&str] = &["ReleasePayment", "CancelShoppingList", "ReleaseInventory", "RejectOrder"];

fn order_saga() -> Value {
    definition_at(&infra().join("order-saga.asl.json"))
}

fn placement() -> Value {
    definition_at(&infra().join("order-placement.asl.json"))
}

fn order_id() -> OrderId {
    Id::derived(&["an order"])
}

/// An execution, started as the policy starts it. `world` says what a step's function answers, or with which error it fails
/// after all its retries; where it has nothing to say, the step succeeds. `await-payment` fails with the error of a
/// placement that failed, if it is a code of ours, as the function does.
fn run_order_saga(mut world: impl FnMut(&str, &Value) -> Option<Result<Value, String>>) -> Run {
    let input = OrderSagaInput {
        order_id: order_id(),
        customer_id: Id::derived(&["a customer"]),
        payment_id: Id::derived(&["a payment"]),
        shopping_id: shopping_list_of(order_id()),
        payment: FirstWait { wait: 60 },
        correlation: Uuid::nil(),
        causation: Uuid::nil(),
        trace: None,
    };
    let input = serde_json::to_value(input).expect("ids only");
    let placement = placement();
    let player = Player { definition: &order_saga(), inside: &[("${OrderPlacementArn}", &placement)] };
    player.run(&order_id().to_string(), &input, &mut |state, payload| {
        let placed = &payload["body"]["placement"];
        if let Some(said) = world(state, payload) {
            return said;
        }
        match state {
            "AwaitPayment" if placed["Status"] != "SUCCEEDED" => {
                // Also of a call that nobody answered.
                let error = placed["Error"].as_str().expect("an error");
                Err(if is_ours(error) { error } else { "PLACEMENT_FAILED" }.to_owned())
            }
            "RemindPayment" => Ok(json!({ "wait": 60 })),
            _ => Ok(Value::Null),
        }
    })
}

/// Codes of ours are written like this; the names of technical errors are not.
fn is_ours(error: &str) -> bool {
    error.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// An execution in which these states fail.
fn run_failing(errors: &[(&str, &str)]) -> Run {
    run_order_saga(|state, _| {
        let found = errors.iter().find(|(failing, _)| *failing == state);
        found.map(|(_, error)| Err((*error).to_owned()))
    })
}

#[test]
fn an_order_goes_through_every_step_once_and_is_paid() {
    let ran = run_failing(&[]);
    assert_eq!(ran.path, ["PlaceOrder", "AwaitPayment"]);
    assert_eq!(happy_path(&order_saga()), ran.path);
    assert_eq!(ran.inside, PLACEMENT);
    assert_eq!(happy_path(&placement()), PLACEMENT);
    assert_eq!(ran.failure, None);
}

#[test]
fn the_whole_life_of_an_order_costs_at_most_eight_transitions() {
    let paid = run_failing(&[]).transitions();
    println!("transitions of an order, from its start until it is paid: {paid}");
    assert_eq!(paid, 3);
    let mut waited = 0;
    let reminded = run_order_saga(|state, _| {
        waited += usize::from(state == "AwaitPayment");
        (state == "AwaitPayment" && waited < 3).then(|| Err("States.Timeout".to_owned()))
    });
    println!("with two reminders: {}", reminded.transitions());
    assert!(reminded.transitions() <= 8, "{:?}", reminded.path);
    assert_eq!(reminded.path.last().map(String::as_str), Some("AwaitPayment"));
}

#[test]
fn an_order_is_placed_within_what_express_grants_in_the_worst_case() {
    let (most, limit) = (longest(&placement()), placement()["TimeoutSeconds"].as_f64().expect("a limit"));
    println!("placing an order takes at most {most} s of {limit} s");
    assert!(most < limit && limit <= 240.0);
    // The call outlives what it calls: else a second placement would begin beside the first.
    let call = order_saga()["States"]["PlaceOrder"]["TimeoutSeconds"].as_f64();
    assert!(call > Some(limit + 15.0), "{call:?}");
}

#[test]
fn whatever_fails_is_undone_in_reverse_and_nothing_else_is_done() {
    let undone = [UNDONE, &["OrderRejected"]].concat();
    assert_eq!(compensations_of(&order_saga(), "AwaitPayment"), undone);
    for (index, step) in PLACEMENT.iter().enumerate() {
        let ran = run_failing(&[(step, "NOT_TO_BE_HAD")]);
        assert_eq!(ran.inside, PLACEMENT[..=index], "nothing is done after {step}");
        assert_eq!(ran.path, [&["PlaceOrder", "AwaitPayment"], &undone[..]].concat(), "after {step}");
        assert_eq!(ran.failure, None);
    }
    // The call itself: nobody knows how far the placement came, and AwaitPayment looks.
    for error in ["Sfn.SfnException", "States.Timeout"] {
        let ran = run_failing(&[("PlaceOrder", error)]);
        assert_eq!(ran.path, [&["PlaceOrder", "AwaitPayment"], &undone[..]].concat(), "after {error}");
        assert_eq!(ran.payload("RejectOrder")["body"], json!({ "reason": "PLACEMENT_FAILED" }));
    }
}

#[test]
fn an_order_that_was_approved_is_not_undone_because_nobody_answered() {
    // `await-payment` finds it approved.
    let ran = run_order_saga(|state, _| match state {
        "PlaceOrder" => Some(Err("Sfn.SfnException".to_owned())),
        "AwaitPayment" => Some(Ok(Value::Null)),
        _ => None,
    });
    assert_eq!(ran.path, ["PlaceOrder", "AwaitPayment"]);
    assert_eq!(ran.failure, None);
}

#[test]
fn the_order_is_told_the_first_failure_and_not_a_later_one() {
    for step in PLACEMENT {
        let ran = run_failing(&[(step, "FIRST")]);
        assert_eq!(ran.payload("RejectOrder")["body"], json!({ "reason": "FIRST" }), "after {step}");
        // A compensation that does not get through ends it, with both errors in sight.
        for stuck in UNDONE {
            let ran = run_failing(&[(step, "FIRST"), (stuck, "SECOND")]);
            assert_eq!(ran.path.last().map(String::as_str), Some("SagaStuck"), "{step}, {stuck}");
            let cause = format!("SECOND: {stuck} said SECOND (undoing FIRST)");
            assert_eq!(ran.failure, Some(("SagaStuck".to_owned(), cause)));
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
    let ran = run_failing(&[("ApproveOrder", "TOO_LATE")]);
    let calls: Vec<_> =
        ran.calls.iter().filter(|(name, _)| !["PlaceOrder", "AwaitPayment"].contains(&&**name)).collect();
    assert_eq!(calls.len(), wanted.len());
    for ((called, payload), (step, id, body)) in calls.into_iter().zip(wanted) {
        assert_eq!((called.as_str(), &payload["id"], &payload["body"]), (step, &json!(id), &body));
        assert_eq!(payload["command"], format!("{order}:{step}"));
    }
}

#[test]
fn a_repeated_step_is_the_same_command() {
    for (path, saga) in sagas() {
        for (name, state) in saga["States"].as_object().expect("states") {
            let command = &state["Parameters"]["Payload"]["command.$"];
            let wanted = match name.as_str() {
                // Runs commands, and is none.
                "PlaceOrder" => continue,
                // Each turn reminds anew; a retry of it is within the same turn.
                "RemindPayment" => {
                    "States.Format('{}:RemindPayment:{}', $.orderId, $$.State.EnteredTime)".to_owned()
                }
                _ => format!("States.Format('{{}}:{name}', $.orderId)"),
            };
            if state["Type"] == "Task" {
                assert_eq!(*command, wanted, "{}, {name}", path.display());
            }
        }
    }
}

// ---- waiting for the payment

/// What happens in the turns of waiting, one after the other; then the order is paid.
fn run_waiting(turns: &[(&str, Result<u64, &str>)]) -> Run {
    let mut turns = turns.iter();
    run_order_saga(|state, _| {
        if !["AwaitPayment", "RemindPayment", "CancelInvoice", "CancelOrder"].contains(&state) {
            return None;
        }
        let (expected, said) = turns.next()?;
        assert_eq!(state, *expected);
        Some(said.map(|wait| json!({ "wait": wait })).map_err(str::to_owned))
    })
}

const IN_VAIN: (&str, Result<u64, &str>) = ("AwaitPayment", Err("States.Timeout"));

#[test]
fn who_does_not_pay_is_reminded_until_the_deadline_and_then_everything_is_given_back() {
    let ran = run_waiting(&[
        IN_VAIN,
        ("RemindPayment", Ok(60)),
        IN_VAIN,
        ("RemindPayment", Err("PAYMENT_OVERDUE")),
        ("CancelInvoice", Ok(0)),
        ("CancelOrder", Ok(0)),
    ]);
    let turn = ["AwaitPayment", "RemindPayment"];
    let wanted = [&["PlaceOrder"][..], &turn, &turn, &["CancelInvoice", "CancelOrder", "OrderCancelled"]];
    assert_eq!(ran.path, wanted.concat());
    assert_eq!(ran.failure, None);
    assert_eq!(ran.payload("CancelOrder")["body"], json!({ "reason": "PAYMENT_OVERDUE" }));
    for step in ["CancelInvoice", "CancelOrder"] {
        assert_eq!(ran.payload(step)["id"], json!(order_id()), "{step}");
    }
    let commands: Vec<&Value> = ran
        .calls
        .iter()
        .filter(|(name, _)| name == "RemindPayment")
        .map(|(_, payload)| &payload["command"])
        .collect();
    assert_ne!(commands[0], commands[1], "the second reminder is not taken for a repeat of the first");
    let tokens: Vec<&Value> = ran
        .calls
        .iter()
        .filter(|(name, _)| name == "AwaitPayment")
        .map(|(_, payload)| &payload["body"]["token"])
        .collect();
    assert_ne!(tokens[0], tokens[1]);
}

#[test]
fn how_long_is_waited_next_is_what_the_reminder_answered() {
    let ran = run_waiting(&[IN_VAIN, ("RemindPayment", Ok(7))]);
    assert_eq!(ran.path, ["PlaceOrder", "AwaitPayment", "RemindPayment", "AwaitPayment"]);
    assert_eq!(ran.output["payment"], json!({ "wait": 7 }));
}

#[test]
fn who_pays_in_the_last_moment_keeps_the_order() {
    let ran = run_waiting(&[
        IN_VAIN,
        ("RemindPayment", Err("PAYMENT_OVERDUE")),
        ("CancelInvoice", Err("INVOICE_IS_PAID")),
    ]);
    let wanted = ["PlaceOrder", "AwaitPayment", "RemindPayment", "CancelInvoice", "AwaitPayment"];
    assert_eq!(ran.path, wanted, "it looks again, and finds the payment");
    assert_eq!(ran.failure, None);
}

#[test]
fn an_order_that_is_cancelled_while_it_waits_is_undone_by_those_who_hear_of_it() {
    let heard = run_waiting(&[("AwaitPayment", Err("ORDER_CANCELLED"))]);
    assert_eq!(heard.path, ["PlaceOrder", "AwaitPayment", "OrderCancelled"]);
    let found = run_waiting(&[IN_VAIN, ("RemindPayment", Err("ORDER_CANCELLED"))]);
    assert_eq!(found.path, ["PlaceOrder", "AwaitPayment", "RemindPayment", "OrderCancelled"]);
    assert_eq!((heard.failure, found.failure), (None, None));
}

#[test]
fn waiting_that_is_not_to_be_had_undoes_nothing_and_is_tried_again() {
    // The order may be ready by then, or paid in this moment.
    for error in ["Lambda.TooManyRequestsException", "Lambda.AccessDeniedException", "Runtime.OutOfMemory"] {
        let gone = ("AwaitPayment", Err(error));
        let ran = run_waiting(&[gone, ("RemindPayment", Ok(9))]);
        assert_eq!(ran.path, ["PlaceOrder", "AwaitPayment", "RemindPayment", "AwaitPayment"], "{error}");
        let late = run_waiting(&[
            gone,
            ("RemindPayment", Err("PAYMENT_OVERDUE")),
            ("CancelInvoice", Ok(0)),
            ("CancelOrder", Ok(0)),
        ]);
        let given_up = ["RemindPayment", "CancelInvoice", "CancelOrder", "OrderCancelled"];
        assert_eq!(late.path, [&["PlaceOrder", "AwaitPayment"][..], &given_up].concat(), "{error}");
        assert_eq!(late.payload("CancelOrder")["body"], json!({ "reason": "PAYMENT_OVERDUE" }));
    }
}

#[test]
fn an_order_that_was_paid_while_it_was_given_up_is_not_stuck() {
    for error in ["ORDER_IS_PAID", "ORDER_CANNOT_BE_CANCELLED"] {
        let ran = run_waiting(&[
            IN_VAIN,
            ("RemindPayment", Err("PAYMENT_OVERDUE")),
            ("CancelInvoice", Err("INVOICE_NOT_FOUND")),
            ("CancelOrder", Err(error)),
        ]);
        let wanted =
            ["PlaceOrder", "AwaitPayment", "RemindPayment", "CancelInvoice", "CancelOrder", "AwaitPayment"];
        assert_eq!(ran.path, wanted, "{error}");
        assert_eq!(ran.failure, None);
    }
}

#[test]
fn a_reminder_that_cannot_be_sent_does_not_cost_a_customer_the_order() {
    let technical =
        ["Unavailable", "States.Timeout", "Lambda.Unknown", "Lambda.AccessDeniedException", "NEW"];
    for error in technical {
        let ran = run_waiting(&[IN_VAIN, ("RemindPayment", Err(error))]);
        assert_eq!(ran.path, ["PlaceOrder", "AwaitPayment", "RemindPayment", "AwaitPayment"], "{error}");
        assert_eq!(ran.output["payment"], json!({ "wait": 60 }), "it waits as long as the time before");
    }
}

#[test]
fn an_order_that_cannot_be_given_up_is_seen() {
    for (step, before) in [("CancelInvoice", vec![]), ("CancelOrder", vec![("CancelInvoice", Ok(0))])] {
        let overdue = [IN_VAIN, ("RemindPayment", Err("PAYMENT_OVERDUE"))];
        let ran = run_waiting(&[&overdue[..], &before, &[(step, Err("Unavailable"))]].concat());
        let cause = format!("Unavailable: {step} said Unavailable (undoing PAYMENT_OVERDUE)");
        assert_eq!(ran.failure, Some(("SagaStuck".to_owned(), cause)));
    }
}

/// `await-payment` hands on only what looks like a code of ours when a placement failed. If one of these did, an order would
/// wait for half an hour before it is undone, or its customer be reminded of what was never placed.
#[test]
fn what_await_payment_says_of_a_failed_placement_is_never_taken_for_its_own_trouble() {
    let saga = order_saga();
    let wait = &saga["States"]["AwaitPayment"];
    let retried = wait["Retry"][0]["ErrorEquals"].as_array().expect("errors");
    let caught = wait["Catch"].as_array().expect("catchers").iter().flat_map(|c| c["ErrorEquals"].as_array());
    for error in retried.iter().chain(caught.flatten()).filter_map(Value::as_str) {
        assert!(!is_ours(error) || error == "ORDER_CANCELLED", "{error}");
    }
    for error in ["Unavailable", "States.Timeout", "Lambda.Unknown"] {
        let ran = run_failing(&[("ReserveInventory", error)]);
        assert_eq!(ran.payload("RejectOrder")["body"], json!({ "reason": "PLACEMENT_FAILED" }), "{error}");
        assert_eq!(ran.path[2..], [UNDONE, &["OrderRejected"]].concat());
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
fn run_compensation(from: &str, failing: Option<(&str, &str)>) -> Run {
    let input = json!({
        "orderId": order_id(), "customerId": Id::<()>::derived(&["a customer"]), "paymentId": Id::<()>::derived(&["a payment"]),
        "shoppingId": shopping_list_of(order_id()), "correlation": Uuid::nil(), "causation": Uuid::nil(), "trace": null,
        "failure": { "Error": "TOO_LATE", "Cause": "ApproveOrder said TOO_LATE" }, "from": from,
    });
    let player = Player { definition: &compensation(), inside: &[] };
    player.run(&format!("{}-undo-1", order_id()), &input, &mut |state, _| match failing {
        Some((step, error)) if step == state => Err(error.to_owned()),
        Some(_) | None => Ok(Value::Null),
    })
}

#[test]
fn what_is_undone_by_hand_is_what_the_saga_would_have_undone_with_the_same_commands() {
    let saga = run_failing(&[("ApproveOrder", "TOO_LATE")]);
    let undone =
        saga.calls.iter().skip_while(|(name, _)| name != "ReleasePayment").cloned().collect::<Vec<_>>();
    assert_eq!(undone.len(), 4);
    for (index, (from, _)) in undone.iter().enumerate() {
        let by_hand = run_compensation(from, None);
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
    assert_eq!(run_compensation("SomewhereElse", None).path, everything);
}

#[test]
fn what_cannot_be_undone_by_hand_either_is_seen() {
    let ran = run_compensation("ReleaseInventory", Some(("ReleaseInventory", "SECOND")));
    assert_eq!(ran.path, ["GoOn", "ReleaseInventory", "SagaStuck"]);
    let cause = "SECOND: ReleaseInventory said SECOND (undoing TOO_LATE)";
    assert_eq!(ran.failure, Some(("SagaStuck".to_owned(), cause.to_owned())));
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
    let player = Player { definition: &saga, inside: &[] };
    player.run("e", &json!({ "id": "1" }), &mut |state, _| match state {
        "Pay" => Err("NO".to_owned()),
        _ => Ok(Value::Null),
    });
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

// ---- the checker can fail: waiting, and express executions

/// A saga that waits for a token: reminded when nobody sends it back.
fn sound_waiting() -> Value {
    let mut saga = sound();
    let mut wait = saga["States"]["Pay"].clone();
    wait["Resource"] = json!("arn:aws:states:::lambda:invoke.waitForTaskToken");
    wait["TimeoutSecondsPath"] = json!("$.wait");
    wait["TimeoutSeconds"] = Value::Null;
    wait["Retry"][0]["ErrorEquals"] = json!(["Unavailable", "Conflict"]);
    wait["Catch"] = json!([
        {"ErrorEquals": ["States.Timeout"], "ResultPath": null, "Next": "Remind"},
        {"ErrorEquals": ["ORDER_CANCELLED"], "ResultPath": null, "Next": "Cancelled"},
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "GiveBack"},
    ]);
    let mut remind = saga["States"]["Pay"].clone();
    remind["Next"] = json!("Pay");
    saga["States"]["Pay"] = wait;
    saga["States"]["Remind"] = remind;
    saga["States"]["Cancelled"] = json!({"Type": "Succeed"});
    saga
}

#[test]
fn the_checker_finds_nothing_wrong_with_a_saga_that_waits() {
    assert_eq!(problems(&sound_waiting()), Vec::<String>::new());
}

#[track_caller]
fn refuses_waiting(pointer: &str, value: Value, about: &str) {
    let mut saga = sound_waiting();
    *saga.pointer_mut(pointer).expect("it is there") = value;
    let found = problems(&saga);
    assert!(
        found.iter().any(|problem| problem.contains(about)),
        "{pointer}: wanted {about:?}, found {found:?}"
    );
}

#[test]
fn waiting_for_ever_or_in_vain_is_found() {
    refuses_waiting("/States/Pay/TimeoutSecondsPath", Value::Null, "TimeoutSecondsPath");
    refuses_waiting("/States/Pay/Catch/0/ErrorEquals", json!(["TOO_LATE"]), "how to wait on");
    refuses_waiting(
        "/States/Pay/Retry/0/ErrorEquals",
        json!(["Unavailable", "Conflict", "States.Timeout"]),
        "retries States.Timeout",
    );
}

#[test]
fn an_end_without_compensation_is_found_unless_the_order_was_cancelled() {
    refuses_waiting("/States/Pay/Catch/1/ErrorEquals", json!(["TOO_LATE"]), "beside the ids");
    let stuck = json!({"Type": "Fail", "Error": "SagaStuck"});
    refuses_waiting("/States/Cancelled", stuck, "beside the ids");
}

#[test]
fn going_on_after_any_failure_as_if_it_had_not_happened_is_found() {
    refuses_waiting("/States/Remind/Catch/0/Next", json!("Pay"), "does not lead to a compensation");
    refuses_waiting("/States/Pay/Catch/0/ResultPath", json!("$.failure"), "does not lead to a compensation");
}

fn sound_express() -> Value {
    let mut step = sound()["States"]["Pay"].take();
    let fields = step.as_object_mut().expect("a state");
    fields.remove("Catch");
    fields.remove("Next");
    step["End"] = json!(true);
    json!({"StartAt": "Pay", "TimeoutSeconds": 240, "States": {"Pay": step}})
}

#[test]
fn an_express_execution_that_express_would_end_is_found() {
    assert_eq!(problems_of(Kind::Express, &sound_express()), Vec::<String>::new());
    let mut express = sound_express();
    express["TimeoutSeconds"] = Value::Null;
    assert!(problems_of(Kind::Express, &express)[0].contains("without a TimeoutSeconds"));
    for (whole, retries) in [(300, 1), (100, 5)] {
        let mut express = sound_express();
        express["TimeoutSeconds"] = json!(whole);
        express["States"]["Pay"]["Retry"][0]["MaxAttempts"] = json!(retries);
        assert!(problems_of(Kind::Express, &express)[0].contains("Express ends it"), "{whole}");
    }
}

#[test]
fn an_express_execution_that_keeps_a_failure_to_itself_is_found() {
    let mut express = sound_express();
    express["States"]["Pay"]["Catch"] = sound()["States"]["Pay"]["Catch"].take();
    express["States"]["GiveBack"] = json!({"Type": "Succeed"});
    assert!(
        problems_of(Kind::Express, &express)
            .contains(&"Pay: catches what the saga around it has to hear of".into())
    );
}

#[test]
fn the_call_of_an_express_execution_that_gives_up_at_once_is_found() {
    let mut saga = sound();
    let pay = &mut saga["States"]["Pay"];
    pay["Resource"] = json!("arn:aws:states:::aws-sdk:sfn:startSyncExecution");
    pay["ResultPath"] = json!("$.placement");
    assert!(problems(&saga)[0].contains("worth a retry"));
    saga["States"]["Pay"]["Retry"][0]["ErrorEquals"] = json!(["States.TaskFailed", "States.Timeout"]);
    assert_eq!(problems(&saga), Vec::<String>::new());
    saga["States"]["Pay"]["ResultPath"] = json!("$");
    assert_eq!(problems(&saga), ["Pay: its ResultPath lets results pile up"]);
}

#[test]
fn the_longest_time_is_that_of_all_attempts_and_all_waits() {
    let retrier = json!({"IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": 4, "MaxDelaySeconds": 4});
    assert_eq!(waits(&retrier), [1.0, 2.0, 4.0, 4.0]);
    let mut express = sound_express();
    express["States"]["Pay"]["Retry"][0] = retrier;
    assert_eq!(longest(&express), 5.0 * 20.0 + 11.0);
}
