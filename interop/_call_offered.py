"""Part of the Python scripts beside it: the worker of the conformance run, which offers operations that show how they are called."""

import asyncio

from _call_protocol import FRAME, CallFailed, Connection, encoded
from _call_worker import Callee, specification

KEPT = 100
INTEGER = {"type": "integer", "minimum": 0}


def takes(**properties):
    """The schema of an object with these members, all needed but those whose schema has a default."""
    needed = [name for name, schema in properties.items() if "default" not in schema]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


TEXT = {"type": "string"}
SPECIFICATIONS = [
    specification("conformance/echo", "query", takes(text=TEXT), takes(text=TEXT), idempotent=True),
    specification("conformance/sleep", "query", takes(milliseconds=INTEGER), timeout_ms=3_600_000),
    specification("conformance/fail", "query", takes(code=TEXT, message=TEXT, retryable={"type": "boolean", "default": False}),
                  errors=[{"code": "TEAPOT", "description": "It is one."}]),
    specification("conformance/big", "query", takes()),
    specification("conformance/ask-back", "query", takes()),
    specification("conformance/reveal", "mutation", takes()),
    specification("conformance/append", "mutation", takes(value={"type": "integer"})),
    specification("conformance/count", "subscription", takes(to=INTEGER, then={**TEXT, "default": ""}),
                  errors=[{"code": "TEAPOT", "description": "It is one."}], timeout_ms=3_600_000),
    specification("conformance/log", "subscription", takes(), resumable=True, timeout_ms=3_600_000,
                  errors=[{"code": "TRIMMED", "description": "What was asked for is gone."}]),
]


class Offered(Callee):
    """Its handlers, what was seen of them, and the stay at a head."""

    def __init__(self):
        names = ("echo", "sleep", "fail", "big", "ask_back", "reveal", "append", "count", "log")
        super().__init__({f"conformance/{name.replace('_', '-')}": getattr(self, name) for name in names}, ["conformance/log"],
                         ["conformance/append", "conformance/reveal"])
        self.entries, self.grown, self.given = [], asyncio.Event(), 0
        self.connection = self.offer = None

    async def join(self, host, port, node_key, token, specifications=SPECIFICATIONS):
        """Dials the head and offers; returns once the head has taken it."""
        self.connection = await Connection.connect(host, port, node_key, token, self)
        self.offer = self.connection.subscribe("workers/offer", {"operations": specifications})
        await self.offer.received(1)
        return self

    async def leave(self):
        self.connection.stream.cut()
        await self.connection.reading

    def working(self):
        """How many calls wait in `sleep`."""
        return sum(context.payload["operationId"] == "/conformance/sleep" for context in self.running.values())

    async def echo(self, _, input):
        return input

    async def sleep(self, _, input):
        await asyncio.sleep(input["milliseconds"] / 1000)
        return {}

    async def fail(self, _, input):
        raise CallFailed({**input, "details": {"told": True}})

    async def big(self, context, _):
        """Fills the frame to the head to the last byte: it cannot fit one with a longer id."""
        return "x" * (FRAME - len(encoded("call.responded", context.id, {"output": ""})))

    async def ask_back(self, context, _):
        """Calls the head on the stream of the head's call, under the same id."""
        return await self.connection.call("node/identify", id=context.id)

    async def reveal(self, context, _):
        return {"payload": context.payload}

    async def append(self, _, input):
        self.entries.append(input["value"])
        self.grown.set()
        return {"seq": len(self.entries)}

    async def count(self, _, input):
        for number in range(1, input["to"] + 1):
            self.given += 1
            yield number
        if input.get("then"):
            raise CallFailed({"code": input["then"], "message": "as it was asked to"})

    async def log(self, context, _):
        """Entries from the one after `afterSeq` on, numbered from 1; the last hundred are kept."""
        oldest = max(1, len(self.entries) - KEPT + 1)
        seq = context.payload.get("afterSeq", len(self.entries)) + 1
        if seq < oldest:
            raise CallFailed({"code": "TRIMMED", "details": {"oldest": oldest}})
        while True:
            while seq > len(self.entries):
                self.grown.clear()
                await self.grown.wait()
            yield seq, {"value": self.entries[seq - 1]}
            seq += 1
