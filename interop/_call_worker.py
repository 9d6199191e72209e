"""Part of the Python scripts beside it: the callee's side of the call protocol, and a worker that offers operations to a head.

Written from docs/spec/call.md alone, like `_call_protocol.py`.
"""

import asyncio
import inspect
import itertools
import re

from _call_protocol import CREDIT, FRAME, ID, MEMBERS, CallFailed, ProtocolError, encoded, fits, framed, table

MOST_CALLS = 256
MOST_IN_BATCH = 64
MOST_CREDIT = 2**32 - 1
KEY = re.compile(r"[!-~]{1,128}")


class Context:
    """What is known about a call: the payload of its request, without the input."""

    def __init__(self, id, payload):
        self.id = id
        self.payload = {name: value for name, value in payload.items() if name != "input"}
        self.credit, self.more, self.task = payload.get("credit", CREDIT), asyncio.Event(), None

    def add(self, items):
        self.credit = min(self.credit + items, MOST_CREDIT)
        self.more.set()


class Once:
    """The work of a mutation under an idempotency key, and how many wait for it (CALL-26)."""

    def __init__(self, input, work):
        self.input, self.work, self.waiting = input, work, 0

    async def outcome(self):
        self.waiting += 1
        try:
            return await asyncio.shield(self.work)
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.work.cancel()


class Callee:
    """Answers requests from a table of handlers: `async (context, input)` for an output, an async generator for items.

    An item is an output, or a pair of `seq` and output for a resumable operation.
    """

    def __init__(self, handlers, resumable=(), mutations=()):
        self.handlers, self.resumable, self.mutations = handlers, set(resumable), set(mutations)
        self.running, self.seen, self.aborted, self.once = {}, [], [], {}

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
        ids = set()
        for request in requests:
            id = request.get("id") if table(request) else None
            if not isinstance(id, str) or not ID.fullmatch(id) or id in ids or id in self.running or "operationId" not in request:
                raise ProtocolError("a batch with a bad request")
            fits(MEMBERS["call.requested"], request)
            ids.add(id)
        for request in requests:
            self._begin(connection, request["id"], request)

    def _begin(self, connection, id, payload):
        if id in self.running:
            raise ProtocolError(f"{id} is open already")
        context, name = Context(id, payload), payload["operationId"].removeprefix("/")
        self.seen.append((name, context.payload))
        failure = self._refusal(name, payload)
        if failure:
            connection.send("call.error", id, failure)
            return
        self.running[id] = context
        context.task = asyncio.create_task(self._bounded(connection, context, name, payload.get("input", {})))
        context.task.add_done_callback(lambda task: self._end_of(connection, context, task))

    def _refusal(self, name, payload):
        """Why a request is not even begun."""
        if len(self.running) >= MOST_CALLS:
            return {"code": "OVERLOADED", "retryable": True}
        if name not in self.handlers:
            return {"code": "NOT_FOUND", "message": f"there is no operation {name}"}
        if payload.get("wants", self._gives(name)) != self._gives(name):
            return {"code": "INVALID_OPERATION_TYPE", "message": f"it gives {self._gives(name)}"}
        wrong = {"code": "INVALID_INPUT", "details": {"pointer": "/afterSeq"}}
        if "afterSeq" in payload and name not in self.resumable:
            return wrong
        key, wrong = payload.get("idempotencyKey"), {"code": "INVALID_INPUT", "details": {"pointer": "/idempotencyKey"}}
        if key is None or not (name in self.mutations or self._gives(name) == "items"):
            return None
        first = self.once.get((name, key))
        if name not in self.mutations or not KEY.fullmatch(key) or (first and first.input != payload.get("input", {})):
            return wrong
        return None

    def _gives(self, name):
        return "items" if inspect.isasyncgenfunction(self.handlers[name]) else "output"

    async def _bounded(self, connection, context, name, input):
        milliseconds = context.payload.get("deadlineMs")
        async with asyncio.timeout(None if milliseconds is None else milliseconds / 1000):
            if self._gives(name) == "items":
                return await self._items(connection, context, name, input)
            key = name, context.payload.get("idempotencyKey")
            if name not in self.mutations or key[1] is None:
                return "call.responded", {"output": await self.handlers[name](context, input)}
            if key not in self.once or self.once[key].work.cancelled():
                self.once[key] = Once(input, asyncio.ensure_future(self.handlers[name](context, input)))
            return "call.responded", {"output": await self.once[key].outcome()}

    async def _items(self, connection, context, name, input):
        work = self.handlers[name](context, input)
        try:
            for number in itertools.count(1):
                while context.credit == 0:
                    context.more.clear()
                    await context.more.wait()
                try:
                    item = await anext(work)
                except StopAsyncIteration:
                    return "call.completed", {}
                context.credit -= 1
                seq, output = item if name in self.resumable else (number, item)
                connection.send("call.responded", context.id, {"seq": seq, "output": output})
                await connection.stream.drain()
                await asyncio.sleep(0)
        finally:
            await work.aclose()

    def _end_of(self, connection, context, task):
        """Sends the one terminal frame."""
        del self.running[context.id]
        try:
            kind, payload = task.result()
        except asyncio.CancelledError:
            kind, payload = "call.error", {"code": "ABORTED", "message": "it was called off"}
        except TimeoutError:
            kind, payload = "call.error", {"code": "TIMEOUT", "message": "it took too long"}
        except CallFailed as error:
            payload = {"code": error.wire_code, "message": error.message, "retryable": error.retryable}
            kind, payload = "call.error", payload if error.details is None else {**payload, "details": error.details}
        except Exception:
            kind, payload = "call.error", {"code": "INTERNAL", "message": "it failed"}
        content = encoded(kind, context.id, payload)
        if len(content) > FRAME:
            content = encoded("call.error", context.id, {"code": "INTERNAL", "message": "the output is too long"})
        if not connection.over.is_set():
            connection.raw(framed(content))

    def end(self, _):
        """The stream ended: nobody wants what still runs (CALL-16)."""
        for context in self.running.values():
            context.task.cancel()


def specification(name, kind, input=None, output=None, **members):
    """An operation's specification, with what it takes to be complete."""
    any_object = {"type": "object"}
    return {"name": name, "title": name, "description": "", "version": 1, "kind": kind, "visibility": "external",
            "input": input or any_object, "output": {} if output is None else output, "errors": [],
            "access": {"scopes": ["conformance:use"]}, "idempotent": False, "deprecated": False, "tags": [], "examples": [],
            "timeout_ms": 60000, "max_input_bytes": None, "bytes": None, **members}
