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
    end_executions_that_are_over()
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
    """Gap: every function's environment and every execution has threads, a thousand and more when hundreds of orders are placed
    at a time. Each thread that wants to run wakes up two hundred times a second to ask for it, and past some hundred that do,
    asking is all that is done: nothing answers for half a minute. Asked ten times a second they get on.

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


def end_executions_that_are_over():
    """Gap: `TimeoutSeconds` of a state machine is unknown, so an execution that hangs never ends. And an execution that was
    stopped goes on trying the task at which it was, and counts as failed when that fails. Here an execution ends at
    its time-out, makes no attempt after its end, and keeps the status with which it ended. A function that is at work is
    not disturbed, as on AWS."""
    from ministack.services import stepfunctions

    run = existing(stepfunctions, "_run_execution")
    invoke = existing(stepfunctions, "_invoke_resource")
    fail = existing(stepfunctions, "_fail_execution")
    for name in ("_add_event", "_emit_execution_status_event", "now_iso"):
        existing(stepfunctions, name)
    executions, machines = existing(stepfunctions, "_executions"), existing(stepfunctions, "_state_machines")
    running = contextvars.ContextVar("the execution that a thread works for", default=None)

    class Over(BaseException):
        """Leaves the thread of an execution that is over. No handler of errors takes it for one."""

    def time_out(execution):
        if execution["status"] == "RUNNING":
            execution.update(status="TIMED_OUT", stopDate=stepfunctions.now_iso())
            stepfunctions._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
            stepfunctions._emit_execution_status_event(execution)

    @functools.wraps(run)
    def run_until_over(arn):
        execution = executions.get(arn) or {}
        machine = machines.get(execution.get("stateMachineArn")) or {"definition": "{}"}
        limit = json.loads(machine["definition"]).get("TimeoutSeconds")
        if limit:
            # With the context: the account and the region of the execution are in it.
            timer = threading.Timer(limit, contextvars.copy_context().run, (time_out, execution))
            timer.daemon = True
            timer.start()
        token = running.set(execution)
        try:
            run(arn)
        except Over:
            pass
        finally:
            running.reset(token)
            if limit:
                timer.cancel()

    @functools.wraps(invoke)
    def invoke_unless_over(resource, input_data):
        execution = running.get()
        if execution and execution["status"] != "RUNNING":
            raise Over()
        return invoke(resource, input_data)

    @functools.wraps(fail)
    def fail_unless_over(execution, error, cause):
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    stepfunctions._run_execution = run_until_over
    stepfunctions._invoke_resource = invoke_unless_over
    stepfunctions._fail_execution = fail_unless_over


if __name__ == "__main__":
    main()
