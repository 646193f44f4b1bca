#!/usr/bin/env python3
"""Starts the local cloud: MiniStack, pinned, with IAM enforced, and with the few repairs Mallard needs.

    python infra/local/cloud.py [--port 4566] [--host 127.0.0.1] [--faults PORT] [--meter FILE]

It stays in the foreground, logs to stdout and stops on SIGTERM or Ctrl-C. Nothing is kept: what was deployed is
gone when it stops. Every repair below names the gap it closes and is checked before it is applied, so a release of
the emulator that moved something stops here with a clear message instead of behaving oddly later. README.md beside
this file tells how to look at the running cloud from outside.
"""

import argparse
import contextvars
import functools
import importlib.metadata
import json
import os
import re
import socket
import socketserver
import sys
import threading

import faults

PINNED = "1.5.33"  # as in requirements-cloud.txt

# Seconds after which a thread that wants to run asks the one that runs to make room: see take_turns.
SWITCH_INTERVAL = 0.1

# Invocations at a time, for each core, and seconds that one waits for its turn: see take_turns.
AT_A_TIME = 4
PATIENCE = 20


def main():
    arguments = argparse.ArgumentParser(description="Mallard's local cloud: MiniStack with IAM enforced")
    arguments.add_argument("--port", type=int, default=int(os.environ.get("MALLARD_CLOUD_PORT", "4566")))
    arguments.add_argument("--host", default="127.0.0.1", help="interface to listen on")
    arguments.add_argument("--faults", type=int, metavar="PORT", help="let tests inject faults (faults.py), steered over this port")
    arguments.add_argument("--meter", metavar="FILE", help="count into this file what AWS would bill (meter.py)")
    options = arguments.parse_args()

    refuse_another_version()
    refuse_a_taken_port(options.host, options.port)
    prepare_environment(options.host, options.port)
    if options.faults:
        refuse_a_taken_port("127.0.0.1", options.faults)
        faults.hurry()

    # Only now: the emulator reads its settings while it is imported.
    from ministack import app

    if options.faults:
        faults.install(options.faults, existing)  # first: to the repairs they come from the functions
    apply_sam_transform_in_nested_stacks()
    keep_attributes_in_nested_stacks()
    answer_without_stalls()
    honour_partial_failures_of_streams()
    evaluate_leading_keys()
    wait_for_tokens_as_long_as_the_data_says()
    fail_tasks_whose_function_failed_before_it_kept_the_token()
    name_the_state_machine_of_a_task_token()
    if options.meter:
        import meter

        meter.plug_in(options.meter, existing)  # after the repairs: it counts what repaired services do
    take_turns()  # the last: waiting for a turn is no time that a function took

    sys.argv = sys.argv[:1]  # the emulator parses arguments of its own
    app.main()


def refuse_another_version():
    try:
        installed = importlib.metadata.version("ministack")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("cloud.py: MiniStack is not installed here: pip install --no-deps --require-hashes -r requirements-cloud.txt")
    if installed != PINNED:
        raise SystemExit(f"cloud.py: MiniStack {installed} is installed, but these repairs were made for {PINNED}")


def refuse_a_taken_port(host, port):
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise SystemExit(f"cloud.py: something listens on {host}:{port} already: stop it, or choose another --port")


def prepare_environment(host, port):
    # Functions inherit the emulator's environment: whoever starts it must not lend them a real account.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        BIND_HOST=host,
        GATEWAY_PORT=str(port),
        AUTH="true",  # every call of a function is checked against the policies of its role
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",  # without it functions would call AWS itself
        IOT_MTLS_ENABLED="0",  # this and the next: no listeners besides the port
        SFTP_ENABLED="0",
    )


def existing(owner, name):
    """The attribute a repair replaces; its absence means that the repair no longer fits."""
    if not hasattr(owner, name):
        raise SystemExit(f"cloud.py: {owner.__name__}.{name} is gone from MiniStack: this repair must be looked at again")
    return getattr(owner, name)


def apply_sam_transform_in_nested_stacks():
    """Gap: AWS::Serverless::* in a nested stack stays untranslated, because only the root stack's template passes
    through the transforms. A nested deployment imports its parser when it runs, so for that time we lend it one that
    transforms too. Parameters are left to the template's defaults: our transforms do not look at them."""
    from ministack.services.cloudformation import engine, provisioners

    deploy = existing(provisioners, "_cfn_nested_stack_deploy")
    parse = existing(engine, "_parse_template")
    transform = existing(engine, "_apply_transforms")

    def parse_and_transform(body):
        return transform(parse(body))

    @functools.wraps(deploy)
    def deploy_transformed(*args, **kwargs):
        engine._parse_template = parse_and_transform
        try:
            return deploy(*args, **kwargs)
        finally:
            engine._parse_template = parse

    provisioners._cfn_nested_stack_deploy = deploy_transformed


def keep_attributes_in_nested_stacks():
    """Gap: updating a nested stack forgets the attributes of the resources in it that did not change, so the second
    deployment fails on the first Fn::GetAtt. They still stand in the stack's record; this hands them on."""
    from ministack.services import cloudformation
    from ministack.services.cloudformation import provisioners

    update = existing(provisioners, "_update_resource")
    stacks = existing(cloudformation, "_stacks")

    @functools.wraps(update)
    def update_with_attributes(kind, physical_id, old, new, stack_name, logical_id=None, old_attrs=None):
        if old_attrs is None:
            resources = (stacks.get(stack_name) or {}).get("_resources") or {}
            old_attrs = (resources.get(logical_id) or {}).get("Attributes")
        return update(kind, physical_id, old, new, stack_name, logical_id, old_attrs)

    provisioners._update_resource = update_with_attributes


def answer_without_stalls():
    """Gap: each invocation stalls twice. The runtime API writes headers and body as two packets with Nagle's algorithm
    on (40 ms), and after the answer the emulator waits 50 ms for a log line that may never come. A line that
    arrives later is not lost: it is reported with the function's next invocation."""
    from ministack.core import lambda_runtime

    existing(socketserver.StreamRequestHandler, "disable_nagle_algorithm")
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    socketserver.StreamRequestHandler.wbufsize = 65536

    drain = existing(lambda_runtime.Worker, "_drain_stderr_bounded")
    if drain.__defaults__ != (0.050, 0.005, 0.250):
        raise SystemExit("cloud.py: Worker._drain_stderr_bounded has other waits now: this repair must be looked at again")
    drain.__defaults__ = (0.004, 0.001, 0.250)


def honour_partial_failures_of_streams():
    """Gap: for DynamoDB streams the emulator ignores `batchItemFailures` and moves on, which would lose the very events
    the relay says it could not publish. Turned into a failed batch it delivers all of it again, as AWS would from
    the lowest failed record on: more repeats than there, never a loss."""
    from ministack.services import lambda_svc

    execute = existing(lambda_svc, "_execute_function")

    @functools.wraps(execute)
    def execute_and_check(func, event, *args, **kwargs):
        result = execute(func, event, *args, **kwargs)
        records = event.get("Records") if isinstance(event, dict) else None
        from_stream = records and records[0].get("eventSource") == "aws:dynamodb"
        body = result.get("body") if from_stream else None
        if isinstance(body, dict) and body.get("batchItemFailures"):
            error = {"errorType": "PartialBatchFailure", "errorMessage": json.dumps(body["batchItemFailures"])}
            return {**result, "error": True, "body": error}
        return result

    lambda_svc._execute_function = execute_and_check


def take_turns():
    """Gap: every function's environment and every task that waits has threads, a thousand and more when hundreds of orders wait.
    Each thread that wants to run wakes up two hundred times a second to ask for it, and past some hundred that do, asking is
    all that is done: nothing answers for half a minute. Asked ten times a second they get on.

    And as many functions run at a time as are asked for, hundreds if need be, each in a process of its own that a burst
    starts anew. A laptop has a few cores: past some functions for each they only take time from one another, until
    nothing answers within its time-out and every retry makes it worse. Here they take turns. Whoever waited for long goes in
    all the same: a function that waits for another function must not wait for ever."""
    from ministack.services import lambda_svc

    sys.setswitchinterval(SWITCH_INTERVAL)
    dispatch = existing(lambda_svc, "_execute_function_dispatch")
    turns = threading.BoundedSemaphore(AT_A_TIME * (os.cpu_count() or 1))

    @functools.wraps(dispatch)
    def dispatch_in_turn(*args, **kwargs):
        mine = turns.acquire(timeout=PATIENCE)
        try:
            return dispatch(*args, **kwargs)
        finally:
            if mine:
                turns.release()

    lambda_svc._execute_function_dispatch = dispatch_in_turn


def evaluate_leading_keys():
    """Gap: the condition key `dynamodb:LeadingKeys` is unknown, so the fence between the contexts would stand on AWS
    only. This tells the policy evaluator the partition keys that a PutItem, GetItem or Query names."""
    from ministack.core import iam_actions
    from ministack.services import dynamodb

    context_of = existing(iam_actions, "dynamodb_service_context")
    tables = existing(dynamodb, "_tables")

    def partition_key(request):
        table = tables.get(str(request.get("TableName", "")).rsplit("/", 1)[-1]) or {}
        index = request.get("IndexName")
        owner = next((i for i in table.get("GlobalSecondaryIndexes") or [] if i.get("IndexName") == index), table)
        return next((k["AttributeName"] for k in owner.get("KeySchema") or [] if k["KeyType"] == "HASH"), None)

    def leading_key(request):
        name = partition_key(request)
        for attributes in (request.get("Item"), request.get("Key")):
            if attributes:
                return attributes.get(name)
        names, values = request.get("ExpressionAttributeNames") or {}, request.get("ExpressionAttributeValues") or {}
        for operand, value in re.findall(r"([#\w.-]+)\s*=\s*(:\w+)", request.get("KeyConditionExpression") or ""):
            if names.get(operand, operand) == name:
                return values.get(value)
        return None

    @functools.wraps(context_of)
    def context_with_leading_keys(body):
        context = context_of(body)
        try:
            key = leading_key(json.loads(body or b"{}"))
        except (ValueError, AttributeError, TypeError):
            return context  # malformed: the service itself will say so
        if key:
            context["dynamodb:LeadingKeys"] = [str(value) for value in key.values()]
        return context

    iam_actions.dynamodb_service_context = context_with_leading_keys


def wait_for_tokens_as_long_as_the_data_says():
    """Gap: `TimeoutSecondsPath` is unknown, so a task with one waits for a day. This puts the number that it leads to where
    the emulator looks."""
    from ministack.services import stepfunctions

    execute = existing(stepfunctions, "_execute_task")
    resolve = existing(stepfunctions, "_resolve_path")

    @functools.wraps(execute)
    def execute_with_timeout(state_def, raw_input, execution, ctx):
        path = state_def.get("TimeoutSecondsPath")
        if path is not None:
            seconds = resolve(path, raw_input)
            if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
                raise stepfunctions._ExecutionError(
                    "States.Runtime", f"TimeoutSecondsPath {path} leads to {seconds!r}, which is no positive integer")
            state_def = {**state_def, "TimeoutSeconds": seconds}
        return execute(state_def, raw_input, execution, ctx)

    stepfunctions._execute_task = execute_with_timeout


def fail_tasks_whose_function_failed_before_it_kept_the_token():
    """Gap: when the function that is to keep a task's token fails, the emulator says nothing and waits for the token all the
    same. On AWS the task fails with the function's error, and Retry and Catch see it. This sends that error back with the
    token, unless the function had sent it back itself."""
    from ministack.services import stepfunctions

    invoke = existing(stepfunctions, "_invoke_with_callback")
    call = existing(stepfunctions, "_call_lambda")
    tokens = existing(stepfunctions, "_task_tokens")
    handed_over = contextvars.ContextVar("the token that is being handed over", default=None)

    @functools.wraps(invoke)
    def invoke_with_token(resource, input_data, token, state_def):
        before = handed_over.set(token)
        try:
            return invoke(resource, input_data, token, state_def)
        finally:
            handed_over.reset(before)

    @functools.wraps(call)
    def call_and_tell(func_ref, event):
        try:
            return call(func_ref, event)
        except stepfunctions._ExecutionError as failed:
            task = tokens.get(handed_over.get())
            if task and not task["event"].is_set():
                task["error"] = {"Error": failed.error, "Cause": failed.cause}
                task["event"].set()
            raise

    stepfunctions._invoke_with_callback = invoke_with_token
    stepfunctions._call_lambda = call_and_tell


def name_the_state_machine_of_a_task_token():
    """Gap: a call that ends a waiting task names nothing but the task's token, and its caller's policies are checked
    against no resource, so that a role that may end the tasks of one state machine may end none. AWS checks them
    against the machine that the token belongs to; this remembers which that is."""
    from ministack.core import iam_actions
    from ministack.services import stepfunctions

    resource_of = existing(iam_actions, "extract_resource_arn")
    execute_task = existing(stepfunctions, "_execute_task")
    invoke_with_callback = existing(stepfunctions, "_invoke_with_callback")
    running, machines = threading.local(), {}

    @functools.wraps(execute_task)
    def execute_task_of_machine(state, raw_input, execution, *args, **kwargs):
        running.machine = (execution or {}).get("stateMachineArn")
        return execute_task(state, raw_input, execution, *args, **kwargs)

    @functools.wraps(invoke_with_callback)
    def invoke_and_remember(resource, input_data, token, *args, **kwargs):
        machines[token] = running.machine  # for good: who comes too late is to be told so, not that it is denied
        return invoke_with_callback(resource, input_data, token, *args, **kwargs)

    @functools.wraps(resource_of)
    def resource_of_token(service, method, path, headers, body, *args, **kwargs):
        if service == "states" and b"taskToken" in (body or b""):
            try:
                token = json.loads(body).get("taskToken")
            except (ValueError, AttributeError):
                token = None  # malformed: the service itself will say so
            if machines.get(token):
                return machines[token]
        return resource_of(service, method, path, headers, body, *args, **kwargs)

    stepfunctions._execute_task = execute_task_of_machine
    stepfunctions._invoke_with_callback = invoke_and_remember
    iam_actions.extract_resource_arn = resource_of_token


if __name__ == "__main__":
    main()
