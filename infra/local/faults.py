"""Faults for the local cloud, injected from outside the product: `cloud.py --faults PORT` takes them in.

A rule is about one command, by the id that a saga's step gives it (`<order id>:<step>`), and about some of its calls. It
strikes where the state machine calls the function, so what runs is the product itself, and what it does to others is seen
by all. The placement, which a saga runs as a state machine of its own, is a call like any other: `<order id>:PlaceOrder`. Rules are steered over HTTP on 127.0.0.1:

    POST   /rules              {"command": "<order id>:ApproveOrder", "kind": "lose", "from": 1, "to": 2}   -> {"id": 1}
    GET    /rules/1            -> {"calls": 3, "struck": 2, "held": 0}
    POST   /rules/1/release    what is held goes on, and nothing is held any more
    POST   /rules/1/stop       it strikes no more, and what is held goes on

`from` and `to` count the command's calls from 1, both included; without `to` the rule strikes for ever. Kinds:

    fail      the function is not run; the task fails with `error` and `cause`
    throttle  the same, as Lambda says it when it has too much to do
    hang      the task times out (soon: its clock is cut short); the function runs when the rule is released
    lose      the function runs; its answer is lost
    kill      the function's process is killed when it has committed, before it hears of it; a placement has none
    twice     the function runs twice at the same time; the first answer counts
    before    the call is held before the function runs
    after     the function runs, and its answer is held

`held` counts calls that were struck by a rule which holds and are not over yet, also those whose task timed out; of `after`
those whose function has run. A rule that kills has struck when it has killed a process at a commit of its.
"""

import contextvars
import functools
import http.server
import json
import logging
import os
import signal
import threading
import time

KINDS = {"fail", "throttle", "hang", "lose", "kill", "twice", "before", "after"}

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
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: one of {', '.join(sorted(KINDS))}")
        self.first, self.last = int(asked.get("from", 1)), asked.get("to")
        self.error, self.cause = asked.get("error", "Lambda.ServiceException"), asked.get("cause", "injected")
        self.released = threading.Event()
        self.struck = self.held = 0
        self.stopped = False

    def strikes(self, call):
        return not self.stopped and self.first <= call and (self.last is None or call <= self.last)


class Rules:
    """What is known of all rules and calls. Everything that changes does so under the lock."""

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
        return next((r for r in self.rules.values() if r.command == command and r.strikes(call)), None)

    def coming(self, command):
        """The rule that the next call of the command will meet."""
        with self.lock:
            return self.matching(command, self.calls.get(command, 0) + 1)

    def call(self, command):
        """Counts a call; the rule that it meets, if there is one."""
        with self.lock:
            self.calls[command] = self.calls.get(command, 0) + 1
            rule = self.matching(command, self.calls[command])
            if rule and rule.kind != "kill":  # that strikes when it has killed
                rule.struck += 1
            return rule

    def spare(self, rule):
        """The call that a rule met was none that it is for: the one after it counts."""
        with self.lock:
            if rule.last is not None:
                rule.last += 1

    def hold(self, rule):
        if not rule.released.wait(HELD):
            logger.warning("%s of %s was held for %s s: nobody released it", rule.kind, rule.command, HELD)


class Victim:
    """A call whose process is to die once it has committed."""

    def __init__(self, rule, event):
        self.rule, self.dead = rule, False
        self.order, self.correlation = event["command"].split(":")[0], event.get("correlation")
        # The environment that runs it. Its process may be started only when it is called, and is asked for when it is time.
        self.worker = None

    def made(self, table, item):
        """Whether this item is the call's commit. One step of an order runs at a time, so the order and the saga tell."""
        text = lambda name: (item.get(name) or {}).get("S")
        if "PaymentWaits" in table:
            return text("id") == self.order
        return text("actor") == "saga:order" and text("correlation") == self.correlation

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
LIMITED = contextvars.ContextVar("whether the task has a limit of its own for the call", default=False)
DYING = contextvars.ContextVar("the call whose process is to die", default=None)


def hurry():
    """Before the emulator is imported: it reads this once."""
    os.environ["SFN_WAIT_SCALE"] = PACE


def install(port, existing):
    """Puts the faults between the state machines and the functions, and listens. `existing` checks what is replaced."""
    from ministack.core import lambda_runtime
    from ministack.services import dynamodb, stepfunctions

    call = existing(stepfunctions, "_call_lambda")
    limited = existing(stepfunctions, "_invoke_resource_with_timeout")
    failure = existing(stepfunctions, "_ExecutionError")
    invoke = existing(lambda_runtime.ProvidedWorker, "invoke")
    integrate = existing(stepfunctions, "_invoke_aws_sdk_integration")
    put = existing(dynamodb, "_put_item")

    def command_of(event):
        command = event.get("command") if isinstance(event, dict) else None
        # A step that comes more than once in the life of an order has the turn behind its name.
        return ":".join(command.split(":")[:2]) if isinstance(command, str) else None

    def placement_of(resource, input_data):
        if not resource.endswith(":aws-sdk:sfn:startSyncExecution"):
            return None
        order = json.loads(input_data.get("Input") or "{}").get("orderId")
        return f"{order}:PlaceOrder" if order else None

    @functools.wraps(limited)
    def limited_otherwise(resource, input_data, timeout):
        payload = input_data.get("Payload") if isinstance(input_data, dict) else None
        rule = RULES.coming(placement_of(resource, input_data) or command_of(payload))
        token = LIMITED.set(True)
        try:
            return limited(resource, input_data, HANG if rule and rule.kind == "hang" else max(timeout, PATIENT))
        finally:
            LIMITED.reset(token)

    @functools.wraps(call)
    def call_with_faults(function, event):
        def killed(rule):
            return killed_at_its_commit(rule, function, event)

        return with_faults(command_of(event), "Lambda.TooManyRequestsException", "Lambda.SdkClientException",
                           lambda: call(function, event), killed)

    @functools.wraps(integrate)
    def integrate_with_faults(resource, input_data):
        def killed(rule):
            raise failure("States.Runtime", f"{rule.command} has no process: kill one of its steps")

        return with_faults(placement_of(resource, input_data), "Sfn.ThrottlingException", "Sfn.SdkClientException",
                           lambda: integrate(resource, input_data), killed)

    def with_faults(command, turned_away, lost, run, killed):
        rule = RULES.call(command) if command else None
        if rule is None:
            return run()
        logger.info("%s: %s", rule.kind, command)
        match rule.kind:
            case "fail":
                raise failure(rule.error, rule.cause)
            case "throttle":
                raise failure(turned_away, "Rate Exceeded.")
            case "hang" if not LIMITED.get():
                # A task that waits for a token has no limit for the call: there it is the function's own that ends it.
                threading.Thread(target=contextvars.copy_context().run, args=(late, rule, run)).start()
                time.sleep(HANG)
                raise failure("Sandbox.Timedout", "Task timed out")
            case "hang" | "before":
                return late(rule, run)
            case "after":
                answer = run()
                with held(rule):
                    RULES.hold(rule)
                return answer
            case "lose":
                run()
                raise failure(lost, "the connection was closed before the answer came")
            case "kill":
                return killed(rule)
            case "twice":
                return twice(run)

    def late(rule, run):
        with held(rule):
            RULES.hold(rule)
            return run()

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
        # It had nothing to commit, as a reminder that is not due yet: it answers, and a later call is the one that dies.
        RULES.spare(rule)
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
            table = str(data.get("TableName", "")).rsplit("/", 1)[-1]
            for victim in list(VICTIMS):
                if victim.made(table, data.get("Item") or {}):
                    victim.kill()
        return answer

    stepfunctions._call_lambda = call_with_faults
    stepfunctions._invoke_aws_sdk_integration = integrate_with_faults
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
