"""Part of the Python scripts beside it: the callee's side of the call protocol, and a worker that offers operations to a head.

Written from docs/spec/call.md alone, like `_call_protocol.py`.
"""

import asyncio
import inspect

from _call_protocol import CREDIT, FRAME, ID, MEMBERS, CallFailed, ProtocolError, encoded, fits, framed, table

MOST_CALLS = 256
MOST_IN_BATCH = 64
MOST_CREDIT = 2**32 - 1


class Context:
    """What is known about a call: the payload of its request, without the input."""

    def __init__(self, id, payload):
        self.id = id
        self.payload = {name: value for name, value in payload.items() if name != "input"}
        self.credit, self.more, self.task = payload.get("credit", CREDIT), asyncio.Event(), None

    def add(self, items):
        self.credit = min(self.credit + items, MOST_CREDIT)
        self.more.set()


class Callee:
    """Answers requests from a table of handlers: `async (context, input)` for an output, an async generator for items.

    An item is an output, or a pair of `seq` and output for a resumable operation.
    """

    def __init__(self, handlers, resumable=()):
        self.handlers, self.resumable = handlers, set(resumable)
        self.running, self.seen, self.aborted, self.finished = {}, [], [], []

    def take(self, connection, kind, id, payload):
        if kind == "call.requested":
            self._begin(connection, id, payload)
        elif kind == "call.batch":
            self._batch(connection, payload["requests"])
        elif kind == "call.aborted" and id in self.running:
            self.aborted.append(id)
            self.running[id].task.cancel()
        elif kind == "call.credit" and id in self.running:
            self.running[id].add(payload["items"])

    def _batch(self, connection, requests):
        if not 1 <= len(requests) <= MOST_IN_BATCH:
            raise ProtocolError(f"a batch of {len(requests)}")
        for request in requests:
            id = request.get("id") if table(request) else None
            if not isinstance(id, str) or not ID.fullmatch(id) or "operationId" not in request:
                raise ProtocolError("a batch with a bad request")
            fits(MEMBERS["call.requested"], request)
        for request in requests:
            self._begin(connection, request["id"], request)

    def _begin(self, connection, id, payload):
        if id in self.running:
            raise ProtocolError(f"{id} is open already")
        context = Context(id, payload)
        name = payload["operationId"].removeprefix("/")
        self.seen.append((name, context.payload))
        failure = None
        if len(self.running) >= MOST_CALLS:
            failure = {"code": "OVERLOADED", "retryable": True}
        elif name not in self.handlers:
            failure = {"code": "NOT_FOUND", "message": f"there is no operation {name}"}
        elif "afterSeq" in payload and name not in self.resumable:
            failure = {"code": "INVALID_INPUT", "details": {"pointer": "/afterSeq"}}
        if failure:
            connection.send("call.error", id, failure)
            return
        self.running[id] = context
        work = self._run(connection, context, self.handlers[name](context, payload.get("input", {})), name)
        context.task = asyncio.create_task(work)

    async def _run(self, connection, context, work, name):
        milliseconds = context.payload.get("deadlineMs")
        try:
            async with asyncio.timeout(None if milliseconds is None else milliseconds / 1000):
                kind, payload = await self._outcome(connection, context, work, name)
        except asyncio.CancelledError:
            kind, payload = "call.error", {"code": "ABORTED", "message": "it was called off"}
        except TimeoutError:
            kind, payload = "call.error", {"code": "TIMEOUT", "message": "it took too long"}
        except CallFailed as error:
            payload = {"code": error.code, "message": error.message, "retryable": error.retryable}
            kind, payload = "call.error", payload if error.details is None else {**payload, "details": error.details}
        del self.running[context.id]
        self.finished.append((name, payload.get("code")))
        content = encoded(kind, context.id, payload)
        if len(content) > FRAME:
            content = encoded("call.error", context.id, {"code": "INTERNAL", "message": "the output is too long"})
        if not connection.over.is_set():
            connection.raw(framed(content))

    async def _outcome(self, connection, context, work, name):
        if not inspect.isasyncgen(work):
            return "call.responded", {"output": await work}
        try:
            while True:
                while context.credit == 0:
                    context.more.clear()
                    await context.more.wait()
                try:
                    item = await anext(work)
                except StopAsyncIteration:
                    return "call.completed", {}
                context.credit -= 1
                payload = {"seq": item[0], "output": item[1]} if name in self.resumable else {"output": item}
                connection.send("call.responded", context.id, payload)
                await asyncio.sleep(0)
        finally:
            await work.aclose()

    def end(self, _):
        """The stream ended: nobody wants what still runs (CALL-16)."""
        for context in self.running.values():
            context.task.cancel()


def specification(name, kind, input=None, output=None, **members):
    """An operation's specification, with what it takes to be complete."""
    any_object = {"type": "object"}
    return {"name": name, "title": name, "description": "", "version": 1, "kind": kind, "visibility": "external", "input": input or any_object,
            "output": {} if output is None else output, "errors": [], "access": {"scopes": ["conformance:use"]}, "idempotent": False,
            "deprecated": False, "tags": [], "examples": [], "timeout_ms": 60000, "max_input_bytes": None, "bytes": None, **members}
