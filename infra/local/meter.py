"""Counts what AWS would bill: one line of JSON for each billed thing the local cloud does.

    python infra/local/cloud.py --meter FILE

It stands outside the product: nothing is asked of a function that it would not do anyway, and the functions cannot
tell that they are counted. Written down is what happened (which function asked, which item was read or written, how
many bytes), not what it costs: the billing rules and prices are in `cli/src/cost/`, where tests hold them against the
embedded DynamoDB. Off unless `--meter` names a file.

| kind     | one line for                                       | with |
| -------- | -------------------------------------------------- | --- |
| table    | a DynamoDB table, when it is first used            | its key and indexes |
| dynamodb | a request                                          | who asked, what was read, the item before and after |
| http     | a request to an HTTP API                           | the route, the bytes of the request |
| lambda   | an invocation                                      | what caused it, records, memory, this machine's time, log lines |
| events   | a PutEvents entry                                  | who asked, type, bytes |
| mapping  | a queue's consumer that waits for batches to fill  | how long, and how large they get |
| sqs      | a request, those of rules and of Lambda's poller included | queue, messages, bytes |
| s3       | a request                                          | who asked, its method |
| states   | a state entered, an attempt, a start, an end       | machine, its type, execution |
| asked    | a request to Step Functions, which is free         | who asked |

What it does not see: empty polls (the emulator looks into its queues for nothing; AWS would bill each look),
access logs and the emulator's own work. `cargo mall cost` states what it takes for them.
"""

import functools
import json
import threading
import time
from contextvars import ContextVar

# The page that a Query or Scan evaluated: what it is billed for, before filters and projections.
_page = ContextVar("page", default=None)

READS = {"GetItem", "Query", "Scan"}
WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
# Billed too, but of a shape that nothing in Mallard has: a run with one of them must not look cheaper than it is.
UNKNOWN = {
    "BatchWriteItem", "TransactGetItems", "TransactWriteItems",
    "ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction",
}


class Meter:
    """The file, and who may write to it."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")
        self._lock = threading.Lock()
        self._tables = set()
        self._mappings = set()

    def note(self, kind, **facts):
        line = json.dumps({"at": time.time(), "kind": kind, **facts}, separators=(",", ":"), default=str)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def table(self, name, table):
        with self._lock:
            known = name in self._tables
            self._tables.add(name)
        if not known:
            self.note(
                "table",
                name=name,
                key=[table.get(key) for key in ("pk_name", "sk_name") if table.get(key)],
                indexes=[
                    {
                        "name": index["IndexName"],
                        "key": [part["AttributeName"] for part in index["KeySchema"]],
                        "projection": (index.get("Projection") or {}).get("ProjectionType", "ALL"),
                        "also": (index.get("Projection") or {}).get("NonKeyAttributes") or [],
                    }
                    for index in table.get("GlobalSecondaryIndexes") or []
                ],
            )


    def mapping(self, function, esm):
        with self._lock:
            known = function in self._mappings
            self._mappings.add(function)
        window = esm.get("MaximumBatchingWindowInSeconds") or 0
        if not known and window:
            self.note("mapping", function=function, window=window, size=esm.get("BatchSize") or 10)


def plug_in(path, existing):
    """Counts from now on. `existing` is the check of cloud.py: a name that is gone stops the start."""
    meter = Meter(path)
    count_dynamodb(meter, existing)
    count_http(meter, existing)
    count_lambda(meter, existing)
    count_events(meter, existing)
    count_sqs(meter, existing)
    count_s3(meter, existing)
    count_states(meter, existing)


def caller(headers):
    """The function that signed a request; none for whoever looks from outside."""
    from ministack.core.router import extract_access_key_id
    from ministack.services import sts

    session = sts._sessions.get(extract_access_key_id(headers)) or {}
    arn = session.get("Arn", "")
    return arn.rsplit("/", 1)[-1] if ":assumed-role/" in arn else None


def operation(headers):
    return headers.get("x-amz-target", "").rsplit(".", 1)[-1]


def parsed(body):
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return {}  # malformed: the service itself will say so
    return data if isinstance(data, dict) else {}


def count_dynamodb(meter, existing):
    from ministack.services import dynamodb

    handle = existing(dynamodb, "handle_request")
    paginate = existing(dynamodb, "_paginate_evaluated_items")
    tables = existing(dynamodb, "_tables")
    shown_by = existing(dynamodb, "_apply_index_projection")

    @functools.wraps(paginate)
    def paginate_and_remember(items, limit, table, index_name=None):
        page, more = paginate(items, limit, table, index_name)
        _page.set([shown_by(item, table, index_name) for item in page])
        return page, more

    def stored(table, attributes):
        """The item that a key, or an item with that key, names."""

        def part(name):
            value = attributes.get(name) if name else None
            return next(iter(value.values()), None) if isinstance(value, dict) else "__no_sort__"

        return table["items"].get(part(table["pk_name"]), {}).get(part(table["sk_name"]))

    def note_batch(request, who, status):
        """Every item of a batch is billed as if it had been read alone."""
        for label, wanted in request.items():
            label = str(label).rsplit("/", 1)[-1]
            table = tables.get(label)
            if table is None:
                continue
            meter.table(label, table)
            for key in wanted.get("Keys") or []:
                item = stored(table, key)
                meter.note(
                    "dynamodb",
                    op="GetItem",
                    table=label,
                    caller=who,
                    index=None,
                    consistent=bool(wanted.get("ConsistentRead")),
                    status=status,
                    refused=False,
                    known=True,
                    read=[item] if item else [],
                    wanted=None,
                    before=None,
                    after=None,
                )

    @functools.wraps(handle)
    async def handle_and_count(method, path, headers, body, query_params):
        name, data = operation(headers), parsed(body)
        if name == "BatchGetItem":
            answer = await handle(method, path, headers, body, query_params)
            note_batch(data.get("RequestItems") or {}, caller(headers), answer[0])
            return answer
        if name not in READS | WRITES | UNKNOWN:
            return await handle(method, path, headers, body, query_params)
        label = str(data.get("TableName", "")).rsplit("/", 1)[-1]
        table = tables.get(label)
        attributes = data.get("Item") or data.get("Key") or {}
        single = table is not None and attributes and name != "Query"
        before = stored(table, attributes) if single else None
        _page.set(None)
        # The handlers do not await, so nobody writes between these looks.
        answer = await handle(method, path, headers, body, query_params)
        after = stored(table, attributes) if single else None
        if table is not None:
            meter.table(label, table)
        status, refused = answer[0], False
        if status != 200:
            refused = "ConditionalCheckFailed" in json.dumps(parsed(answer[2]))
        meter.note(
            "dynamodb",
            op=name,
            table=label,
            caller=caller(headers),
            index=data.get("IndexName"),
            consistent=bool(data.get("ConsistentRead")),
            status=status,
            refused=refused,
            known=name not in UNKNOWN,
            read=([before] if before else []) if name == "GetItem" else _page.get() or [],
            # A refused PutItem is billed for what it would have written.
            wanted=data.get("Item") if name == "PutItem" else None,
            before=before if name in WRITES else None,
            after=after if name in WRITES else None,
        )
        return answer

    dynamodb._paginate_evaluated_items = paginate_and_remember
    dynamodb.handle_request = handle_and_count


def count_http(meter, existing):
    from ministack.services import apigateway

    execute = existing(apigateway, "_handle_execute_in_scope")
    match = existing(apigateway, "_match_route")

    @functools.wraps(execute)
    async def execute_and_count(api_id, stage, path, method, headers, body, *args, **kwargs):
        answer = await execute(api_id, stage, path, method, headers, body, *args, **kwargs)
        route = match(api_id, method, "/" + path.lstrip("/")) or {}
        meter.note(
            "http",
            route=route.get("routeKey", "none"),
            path=path,
            status=answer[0],
            bytes=len(body or b""),
            answered=len(answer[2] or b""),
        )
        return answer

    apigateway._handle_execute_in_scope = execute_and_count


def count_lambda(meter, existing):
    from ministack.services import lambda_svc

    dispatch = existing(lambda_svc, "_execute_function_dispatch")
    batch = existing(lambda_svc, "_run_sqs_batch")

    def source(event):
        if not isinstance(event, dict):
            return "direct", 1
        if not event or event.get("source") == "aws.events":
            return "schedule", 1  # a rule by the clock; ours send an empty event
        records = event.get("Records")
        if records:
            return records[0].get("eventSource", "records"), len(records)
        return ("http" if "requestContext" in event else "direct"), 1

    @functools.wraps(dispatch)
    def dispatch_and_count(func, config, event, request_id, started):
        result = dispatch(func, config, event, request_id, started)
        cause, records = source(event)
        log = result.get("log") or "" if isinstance(result, dict) else ""
        meter.note(
            "lambda",
            function=config.get("FunctionName"),
            source=cause,
            records=records,
            memory=config.get("MemorySize", 128),
            # At this level Lambda itself logs: from WARN on only what went wrong.
            system=(config.get("LoggingConfig") or {}).get("SystemLogLevel") or "INFO",
            seconds=time.time() - started,
            error=bool(result.get("error")) if isinstance(result, dict) else False,
            lines=[len(line.encode()) for line in log.splitlines() if line],
        )
        return result

    @functools.wraps(batch)
    def batch_and_count(esm, func_rec, *args, **kwargs):
        # The emulator does not wait for a batch to fill; AWS does.
        meter.mapping(esm["FunctionName"].rsplit(":", 1)[-1], esm)
        return batch(esm, func_rec, *args, **kwargs)

    lambda_svc._execute_function_dispatch = dispatch_and_count
    lambda_svc._run_sqs_batch = batch_and_count


def count_events(meter, existing):
    from ministack.services import eventbridge

    handle = existing(eventbridge, "handle_request")

    def note(entries, who):
        for entry in entries:
            parts = [entry.get(name) or "" for name in ("Source", "DetailType", "Detail")]
            size = sum(len(str(part).encode()) for part in parts + list(entry.get("Resources") or []))
            # As AWS counts an entry: 14 bytes for its time.
            size += 14 if entry.get("Time") is not None else 0
            meter.note("events", caller=who, type=entry.get("DetailType"), bytes=size)

    @functools.wraps(handle)
    async def handle_and_count(method, path, headers, body, query_params):
        answer = await handle(method, path, headers, body, query_params)
        if operation(headers) == "PutEvents":
            note(parsed(body).get("Entries") or [], caller(headers))
        return answer

    eventbridge.handle_request = handle_and_count


def count_sqs(meter, existing):
    from ministack.services import eventbridge, sqs

    handle = existing(sqs, "handle_request")
    deliver = existing(eventbridge, "_dispatch_to_sqs")
    receive = existing(sqs, "_receive_messages_for_esm")
    delete = existing(sqs, "_delete_messages_for_esm")

    def note(op, queue, messages, size, who):
        queue = str(queue).rsplit("/", 1)[-1].rsplit(":", 1)[-1]
        meter.note("sqs", op=op, queue=queue, messages=messages, bytes=size, caller=who)

    @functools.wraps(deliver)
    def deliver_and_count(spec, payload, sqs_parameters=None):
        deliver(spec, payload, sqs_parameters)
        note("SendMessage", spec.resource, 1, len(payload.encode()), "rule")

    @functools.wraps(receive)
    def receive_and_count(queue_url, max_number):
        messages = receive(queue_url, max_number)
        if messages:
            size = sum(len(message["body"].encode()) for message in messages)
            note("ReceiveMessage", queue_url, len(messages), size, "poller")
        return messages

    @functools.wraps(delete)
    def delete_and_count(queue_url, receipt_handles):
        delete(queue_url, receipt_handles)
        if receipt_handles:
            note("DeleteMessageBatch", queue_url, len(receipt_handles), 0, "poller")

    @functools.wraps(handle)
    async def handle_and_count(method, path, headers, body, query_params):
        answer = await handle(method, path, headers, body, query_params)
        who, data = caller(headers), parsed(body)
        if who:
            entries = data.get("Entries") or [data]
            size = sum(len(str(entry.get("MessageBody", "")).encode()) for entry in entries)
            note(operation(headers) or "request", data.get("QueueUrl") or path, len(entries), size, who)
        return answer

    eventbridge._dispatch_to_sqs = deliver_and_count
    sqs._receive_messages_for_esm = receive_and_count
    sqs._delete_messages_for_esm = delete_and_count
    sqs.handle_request = handle_and_count


def count_s3(meter, existing):
    from ministack.services import s3

    handle = existing(s3, "handle_request")

    @functools.wraps(handle)
    async def handle_and_count(method, path, headers, body, query_params, *more, **named):
        answer = await handle(method, path, headers, body, query_params, *more, **named)
        if who := caller(headers):
            # A listing is billed as a write is.
            listing = method == "GET" and path.strip("/").count("/") == 0
            meter.note("s3", op="LIST" if listing else method, caller=who)
        return answer

    s3.handle_request = handle_and_count


def count_states(meter, existing):
    from ministack.services import stepfunctions

    handle = existing(stepfunctions, "handle_request")
    run = existing(stepfunctions, "_run_execution")
    add = existing(stepfunctions, "_add_event")
    executions = existing(stepfunctions, "_executions")
    machines = existing(stepfunctions, "_state_machines")

    def about(execution):
        machine = machines.get(execution.get("stateMachineArn")) or {}
        return {
            "machine": machine.get("name", "unknown"),
            "type": machine.get("type", "STANDARD"),
            "execution": execution.get("name"),
        }

    @functools.wraps(add)
    def add_and_count(execution, event_type, details=None):
        event = add(execution, event_type, details)
        entered = (details or {}).get("stateEnteredEventDetails") or {}
        meter.note("states", event=event_type, state=entered.get("name"), **about(execution))
        return event

    @functools.wraps(run)
    def run_and_count(arn):
        started = time.time()
        execution = executions.get(arn)
        if execution:
            meter.note("states", event="ExecutionStarted", bytes=len(execution.get("input") or ""), **about(execution))
        run(arn)
        if execution:
            meter.note("states", event="ExecutionEnded", seconds=time.time() - started, **about(execution))

    @functools.wraps(handle)
    async def handle_and_count(method, path, headers, body, query_params):
        answer = await handle(method, path, headers, body, query_params)
        if who := caller(headers):
            # Not billed; but a function waits for it, and its time is.
            meter.note("asked", service="states", op=operation(headers), caller=who)
        return answer

    stepfunctions._add_event = add_and_count
    stepfunctions._run_execution = run_and_count
    stepfunctions.handle_request = handle_and_count
