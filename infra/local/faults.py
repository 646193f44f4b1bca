"""Faults for the local cloud, injected from outside the product: `cloud.py --faults PORT` takes them in.

A rule is about one step of one order and about some of its calls. It strikes where a state machine calls a function, so
the product itself runs, and every other part of it sees the effects. A step is named by the order and its state,
`<order id>:<step>`, which holds for every placement and every attempt to undo the order: the ids of their commands begin
with the order's. Starting a state machine is a step as well, `<order id>:StartPlacement` or `<order id>:StartUndo`. Rules are
steered over HTTP on 127.0.0.1:

    POST   /rules              {"command": "<order id>:ApproveOrder", "kind": "lose", "from": 1, "to": 2}   -> {"id": 1}
    GET    /rules/1            -> {"calls": 3, "struck": 2, "held": 0}
    POST   /rules/1/release    held calls go on, and no call is held any more
    POST   /rules/1/stop       the rule strikes no more, and held calls go on

`from` and `to` count the step's calls from 1, both included; without `to` the rule strikes for ever, and with `"once": true`
only in the first execution that meets it. Kinds:

    fail      the function is not run; the task fails with `error` and `cause`
    throttle  the same, as Lambda says it when it has too much to do
    hang      the task times out (soon: its clock is cut short); the function runs when the rule is released
    lose      the function runs; its answer is lost
    kill      the function's process is killed when it has committed, before it hears of it
    twice     the function runs twice at the same time; the first answer counts
    before    the call is held before the function runs
    after     the function runs, and its answer is held
    gone      the execution ends here, as one that the cloud lost: the function is not run, nothing is retried or caught

A start can `fail`, happen `twice`, or be `gone`: it is answered, and nothing runs.

`held` counts calls that were struck by a rule which holds and are not over yet, also those whose task timed out; of `after`
those whose function has run. A rule that kills has struck when it has killed a process at its commit.
"""

import contextvars
import functools
import http.server
import json
import logging
import os
import signal
import threading

KINDS = {"fail", "throttle", "hang", "lose", "kill", "twice", "before", "after", "gone"}
STARTS = {"StartPlacement", "StartUndo"}
KINDS_OF_STARTS = {"fail", "twice", "gone"}

# Length of an order's id, with which commands and executions begin.
ID = 36

# A task that a rule lets hang times out after this, in seconds.
HANG = 0.3

# No other task times out before this: a machine that is busy with a hundred orders must not add faults of its own.
PATIENT = 90

# Nothing is held longer, in seconds: a test that died must not leave threads behind for ever.
HELD = 300

# Retries and waits of state machines take this share of their time.
PACE = "0.05"

logger = logging.getLogger("faults")


class Rule:
    def __init__(self, asked):
        self.command, self.kind = asked["command"], asked["kind"]
        kinds = KINDS_OF_STARTS if self.command[ID + 1:] in STARTS else KINDS
        if self.kind not in kinds:
            raise ValueError(f"no kind for {self.command}: {self.kind!r}, but one of {', '.join(sorted(kinds))}")
        self.first, self.last = int(asked.get("from", 1)), asked.get("to")
        self.once, self.execution = bool(asked.get("once")), None
        self.error, self.cause = asked.get("error", "Lambda.ServiceException"), asked.get("cause", "injected")
        self.released = threading.Event()
        self.struck = self.held = 0
        self.stopped = False

    def strikes(self, call, execution):
        if self.once and self.execution not in (None, execution):
            return False
        return not self.stopped and self.first <= call and (self.last is None or call <= self.last)


class Rules:
    """All rules, and the number of calls of each step. Everything that changes does so under the lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rules, self.calls, self.number = {}, {}, 0

    def add(self, asked):
        rule = Rule(asked)
        with self.lock:
            self.number += 1
            self.rules[self.number] = rule
            return self.number

    def release(self, number, and_stop=False):
        with self.lock:
            rule = self.rules[number]
            rule.stopped = rule.stopped or and_stop
        rule.released.set()

    def show(self, number):
        with self.lock:
            rule = self.rules[number]
            return {"calls": self.calls.get(rule.command, 0), "struck": rule.struck, "held": rule.held}

    def matching(self, command, call):
        execution = EXECUTION.get()
        return next((r for r in self.rules.values() if r.command == command and r.strikes(call, execution)), None)

    def coming(self, command):
        """The rule that the next call of the step will meet."""
        with self.lock:
            return self.matching(command, self.calls.get(command, 0) + 1)

    def call(self, command):
        """Counts a call; gives the rule that it meets, if there is one."""
        with self.lock:
            self.calls[command] = self.calls.get(command, 0) + 1
            rule = self.matching(command, self.calls[command])
            if rule:
                rule.execution = rule.execution or EXECUTION.get()
                rule.struck += rule.kind != "kill"  # that strikes when it has killed
            return rule

    def hold(self, rule):
        if not rule.released.wait(HELD):
            logger.warning("%s of %s was held for %s s: nobody released it", rule.kind, rule.command, HELD)


class Victim:
    """A call whose process is to die once it has committed."""

    def __init__(self, rule, event):
        self.rule, self.dead = rule, False
        self.actor, self.correlation = event.get("actor"), event.get("correlation")
        # The environment that runs it. Its process may be started only when it is called, and is asked for when it is time.
        self.worker = None

    def made(self, item):
        """Whether this item is the call's commit. One step of an order runs at a time, so the saga tells."""
        text = lambda name: (item.get(name) or {}).get("S")
        return (text("actor"), text("correlation")) == (self.actor, self.correlation)

    def kill(self):
        process = self.worker._proc if self.worker else None
        if process is None or process.poll() is not None:
            if not self.dead:
                logger.warning("%s has no process that could be killed", self.rule.command)
            return
        os.kill(process.pid, signal.SIGKILL)
        if not self.dead:
            with RULES.lock:
                self.rule.struck += 1
        self.dead = True


RULES = Rules()
VICTIMS = set()
EXECUTION = contextvars.ContextVar("the ARN of the execution that a thread works for", default=None)
DYING = contextvars.ContextVar("the call whose process is to die", default=None)


def hurry():
    """Before the emulator is imported: it reads this once."""
    os.environ["SFN_WAIT_SCALE"] = PACE


def install(port, existing):
    """Puts the faults between the state machines and the functions, and listens. `existing` checks what is replaced."""
    from ministack.core import lambda_runtime
    from ministack.services import dynamodb, stepfunctions

    start = existing(stepfunctions, "_start_execution")
    run = existing(stepfunctions, "_run_execution")
    stop = existing(stepfunctions, "_stop_execution")
    call = existing(stepfunctions, "_call_lambda")
    limited = existing(stepfunctions, "_invoke_resource_with_timeout")
    failure = existing(stepfunctions, "_ExecutionError")
    refusal = existing(stepfunctions, "error_response_json")
    invoke = existing(lambda_runtime.ProvidedWorker, "invoke")
    put = existing(dynamodb, "_put_item")

    def command_of(event):
        command = event.get("command") if isinstance(event, dict) else None
        return f"{command[:ID]}:{command.rsplit(':', 1)[-1]}" if isinstance(command, str) else None

    @functools.wraps(start)
    def start_with_faults(data):
        name = data.get("name") or ""
        step = "StartUndo" if name[ID:].startswith("-undo-") else "StartPlacement"
        rule = RULES.call(f"{name[:ID]}:{step}")
        if rule is None:
            return start(data)
        logger.info("%s: %s", rule.kind, name)
        match rule.kind:
            case "fail":
                return refusal("ExecutionLimitExceeded", rule.cause, 400)
            case "twice":
                start({**data, "name": f"{name}-2"})
                return start(data)
            case "gone":
                answer = start(data)
                stop({"executionArn": json.loads(answer[2])["executionArn"], "error": "gone"})
                return answer

    @functools.wraps(run)
    def run_and_tell(arn):
        EXECUTION.set(arn)  # its thread ends with it
        return run(arn)

    @functools.wraps(limited)
    def limited_otherwise(resource, input_data, timeout):
        payload = input_data.get("Payload") if isinstance(input_data, dict) else None
        rule = RULES.coming(command_of(payload))
        return limited(resource, input_data, HANG if rule and rule.kind == "hang" else max(timeout, PATIENT))

    @functools.wraps(call)
    def call_with_faults(function, event):
        command = command_of(event)
        rule = RULES.call(command) if command else None
        if rule is None:
            return call(function, event)
        logger.info("%s: %s", rule.kind, event["command"])
        match rule.kind:
            case "fail":
                raise failure(rule.error, rule.cause)
            case "throttle":
                raise failure("Lambda.TooManyRequestsException", "Rate Exceeded.")
            case "gone":
                stop({"executionArn": EXECUTION.get(), "error": "gone"})
                raise failure("States.Timeout", "the execution is gone")
            case "hang" | "before":
                with held(rule):
                    RULES.hold(rule)
                    return call(function, event)
            case "after":
                answer = call(function, event)
                with held(rule):
                    RULES.hold(rule)
                return answer
            case "lose":
                call(function, event)
                raise failure("Lambda.SdkClientException", "the connection was closed before the answer came")
            case "kill":
                return killed_at_its_commit(rule, function, event)
            case "twice":
                return twice(lambda: call(function, event))

    class held:
        def __init__(self, rule):
            self.rule = rule

        def __enter__(self):
            with RULES.lock:
                self.rule.held += 1

        def __exit__(self, *_):
            with RULES.lock:
                self.rule.held -= 1

    def killed_at_its_commit(rule, function, event):
        victim = Victim(rule, event)
        VICTIMS.add(victim)
        token = DYING.set(victim)
        try:
            answer = call(function, event)
        finally:
            DYING.reset(token)
            VICTIMS.discard(victim)
        if victim.dead:  # the answer was faster than the signal
            raise failure("Runtime.ExitError", "Runtime exited before returning a response")
        return answer

    def twice(run):
        results = [None, None]

        def one(n):
            try:
                results[n] = (run(), None)
            except failure as error:
                results[n] = (None, error)

        # Each with a copy of the context: account and region of the caller are in it.
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(one, n)) for n in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answer, error = results[0]
        if error:
            raise error
        return answer

    @functools.wraps(invoke)
    def invoke_watched(worker, *args, **kwargs):
        if victim := DYING.get():
            victim.worker = worker
        return invoke(worker, *args, **kwargs)

    @functools.wraps(put)
    def put_and_kill(data):
        answer = put(data)
        if VICTIMS and answer[0] == 200:
            for victim in list(VICTIMS):
                if victim.made(data.get("Item") or {}):
                    victim.kill()
        return answer

    stepfunctions._start_execution = start_with_faults
    stepfunctions._run_execution = run_and_tell
    stepfunctions._call_lambda = call_with_faults
    stepfunctions._invoke_resource_with_timeout = limited_otherwise
    lambda_runtime.ProvidedWorker.invoke = invoke_watched
    dynamodb._put_item = put_and_kill

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Control)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="faults").start()


class Control(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def serve(self):
        parts = self.path.strip("/").split("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            match (self.command, parts):
                case ("POST", ["rules"]):
                    self.answer(200, {"id": RULES.add(json.loads(body))})
                case ("GET", ["rules", number]):
                    self.answer(200, RULES.show(int(number)))
                case ("POST", ["rules", number, "release" | "stop" as verb]):
                    RULES.release(int(number), and_stop=verb == "stop")
                    self.answer(200, RULES.show(int(number)))
                case _:
                    self.answer(404, {"error": f"nothing at {self.command} {self.path}"})
        except KeyError as missing:
            self.answer(404, {"error": f"there is no {missing}"})
        except (ValueError, TypeError) as wrong:
            self.answer(400, {"error": str(wrong)})

    do_GET = do_POST = serve
