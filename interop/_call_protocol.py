"""Part of the Python scripts beside it: the call protocol, both sides of it, written from docs/spec/call.md alone.

Nothing of the project is in it, and nothing but the standard library: whoever implements the protocol again can begin here. Errors of the
other side are not forgiven: each ends the connection and is kept in `Connection.violation`.
"""

import asyncio
import itertools
import json
import re
import struct

from _call_tls import TlsStream

FRAME = 4 * 1024 * 1024
FRAME_OF_STRANGERS = 64 * 1024
NESTING = 64
CREDIT = 64
MESSAGE = 1024
ID = re.compile(r"[!-~]{1,64}")
CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class ProtocolError(Exception):
    """The other side broke a rule."""


class CallFailed(Exception):
    """A call ended with `call.error`."""

    def __init__(self, payload):
        self.wire_code = payload.get("code", "")
        self.code = self.wire_code if CODE.fullmatch(self.wire_code) else "INTERNAL"
        self.message, self.details = payload.get("message", ""), payload.get("details")
        self.retryable = payload.get("retryable", False)
        super().__init__(f"{self.code}: {self.message} {self.details or ''}".rstrip())


UNAVAILABLE = {"code": "UNAVAILABLE", "message": "the connection is gone"}


# Frames and envelopes (CALL-01 to CALL-06)

def framed(content):
    return struct.pack(">I", len(content)) + content


def encoded(kind, id, payload=None):
    envelope = {"type": kind, "id": id} if payload is None else {"type": kind, "id": id, "payload": payload}
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def _members(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProtocolError("two members of one name")
    return members


def _no_constant(name):
    raise ProtocolError(f"{name} is no JSON")


def nesting(text):
    """How deep arrays and objects are nested in a JSON text."""
    deepest = depth = 0
    for bracket in re.findall(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        depth += (bracket in "[{") - (bracket in "]}")
        deepest = max(deepest, depth)
    return deepest


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def text(value):
    return isinstance(value, str)


def texts(value):
    return isinstance(value, list) and all(map(text, value))


def table(value):
    return isinstance(value, dict)


REQUEST = {"operationId": text, "wants": lambda value: value in ("output", "items"), "authToken": text, "deadlineMs": whole,
           "idempotencyKey": text, "credit": whole, "afterSeq": whole, "parentId": text, "traceparent": text, "via": texts, "origin": text}
MEMBERS = {
    "call.requested": REQUEST, "call.batch": {"requests": lambda value: isinstance(value, list)}, "call.responded": {"seq": whole},
    "call.completed": {}, "call.aborted": {}, "call.credit": {"items": whole},
    "call.error": {"code": text, "message": text, "retryable": lambda value: isinstance(value, bool), "retryAfterMs": whole},
    "call.hello": {"version": whole, "nodeId": text, "features": texts, "limits": table},
}
NEEDED = {"call.requested": "operationId", "call.batch": "requests", "call.credit": "items", "call.error": "code", "call.hello": "version"}


def fits(members, payload):
    for name, is_right in members.items():
        if name in payload and not is_right(payload[name]):
            raise ProtocolError(f"{name} is of a wrong type")


def decoded(content):
    """The type, id and payload of a frame's content."""
    try:
        said = content.decode("utf-8")
        if nesting(said) > NESTING:
            raise ProtocolError("nested too deep")
        envelope = json.loads(said, object_pairs_hook=_members, parse_constant=_no_constant)
    except ValueError as error:
        raise ProtocolError(f"no JSON: {error}") from error
    if not table(envelope):
        raise ProtocolError("no object")
    kind, id, payload = envelope.get("type"), envelope.get("id"), envelope.get("payload", {})
    if not text(id) or not ID.fullmatch(id):
        raise ProtocolError(f"{id!r} is no id")
    if not text(kind) or kind not in MEMBERS or not table(payload):
        raise ProtocolError(f"{kind!r} with such a payload is no envelope")
    fits(MEMBERS[kind], payload)
    if kind in NEEDED and NEEDED[kind] not in payload:
        raise ProtocolError(f"{kind} without {NEEDED[kind]}")
    return kind, id, payload


# Calls of this side

class Call:
    """A request of this side: its items so far, and its terminal frame."""

    def __init__(self, connection, id, subscription, credit):
        self.connection, self.id, self.subscription, self.credit_left = connection, id, subscription, credit
        self.items, self.seqs = [], []
        self.ending, self.changed = None, asyncio.Event()

    def take(self, kind, payload):
        if self.subscription and kind == "call.responded":
            if self.credit_left == 0:
                raise ProtocolError(f"{self.id}: more items than credit")
            if payload.get("seq", -1) <= (self.seqs[-1] if self.seqs else -1):
                raise ProtocolError(f"{self.id}: an item whose seq does not grow")
            self.credit_left -= 1
            self.items.append(payload.get("output"))
            self.seqs.append(payload["seq"])
        elif kind == "call.completed" and not self.subscription or "seq" in payload:
            raise ProtocolError(f"{kind} for such an operation")
        else:
            self.ending = kind, payload
        self.changed.set()

    async def until(self, condition, seconds=10):
        async def wait():
            while not condition(self):
                self.changed.clear()
                await self.changed.wait()
        await asyncio.wait_for(wait(), seconds)

    async def received(self, count, seconds=10):
        """Its first so many items; fails when it ends before."""
        await self.until(lambda it: len(it.items) >= count or it.ending, seconds)
        if len(self.items) < count:
            await self.output()
            raise AssertionError(f"it ended after {len(self.items)} of {count} items")
        return self.items[:count]

    async def ended(self, seconds=10):
        """Its terminal frame: type and payload."""
        await self.until(lambda it: it.ending, seconds)
        return self.ending

    async def output(self, seconds=10):
        """The output of a query or mutation; nothing for a subscription. Raises what it ended with."""
        kind, payload = await self.ended(seconds)
        if kind == "call.error":
            raise CallFailed(payload)
        return payload.get("output")

    async def failure(self, seconds=10):
        """The error that it ended with."""
        kind, payload = await self.ended(seconds)
        if kind != "call.error":
            raise AssertionError(f"it ended with {kind} {str(payload)[:200]}")
        return CallFailed(payload)

    def abort(self):
        self.connection.send("call.aborted", self.id)

    def credit(self, items):
        self.credit_left += items
        self.connection.send("call.credit", self.id, {"items": items})


class Connection:
    """Calls over one stream. `callee` answers those of the other side: see `_call_worker.Callee`."""

    def __init__(self, stream, token=None, callee=None):
        self.stream, self.token, self.callee = stream, token, callee
        self.numbers = itertools.count(1)
        self.open, self.asked, self.late = {}, set(), []
        self.hello, self.hello_sent, self.frames_read = None, None, 0
        self.violation, self.clean_end, self.over = None, False, asyncio.Event()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.arrived = bytearray()
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, host, port, node_key=None, token=None, callee=None):
        return cls(await TlsStream.connect(host, port, node_key), token, callee)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, *_):
        self.stream.cut()
        await self.reading
        if self.violation and kind is None:
            raise ProtocolError(self.violation)
        if self.late and kind is None:
            raise AssertionError(f"frames after the terminal one: {self.late[:3]}")

    # Sending

    def raw(self, data):
        self.stream.write(data)

    def send(self, kind, id, payload=None):
        self.raw(framed(encoded(kind, id, payload)))

    def say_hello(self, id="hello"):
        self.hello_sent = id
        self.send("call.hello", id, {"version": 1, "features": ["credit", "both-directions"], "limits": {"maxFrameBytes": FRAME}})

    def request(self, operation, input=None, *, token=True, subscription=False, id=None, **members):
        """A call that is entered but not sent, and its payload."""
        id = id or str(next(self.numbers))
        payload = {"operationId": f"/{operation}", **({} if input is None else {"input": input}), **members}
        if token is True:
            token = self.token
        if token is not None:
            payload["authToken"] = token
        call = Call(self, id, subscription, members.get("credit", CREDIT))
        self.asked.add(id)
        if self.over.is_set():
            call.take("call.error", UNAVAILABLE)
        else:
            self.open[id] = call
        return call, payload

    def ask(self, operation, input=None, **members):
        call, payload = self.request(operation, input, **members)
        self.send("call.requested", call.id, payload)
        return call

    def subscribe(self, operation, input=None, **members):
        return self.ask(operation, input, subscription=True, **members)

    async def call(self, operation, input=None, seconds=10, **members):
        """The output; raises `CallFailed`."""
        return await self.ask(operation, input, **members).output(seconds)

    async def refused(self, operation, input=None, seconds=10, **members):
        """The error of a call that must fail."""
        return await self.ask(operation, input, **members).failure(seconds)

    def batch(self, requests, id="batch"):
        """Asks several things with one frame; each is an operation and an input."""
        entered = [self.request(*request) for request in requests]
        self.send("call.batch", id, {"requests": [{"id": call.id, **payload} for call, payload in entered]})
        return [call for call, _ in entered]

    # Receiving

    def stop_reading(self):
        """Takes nothing more, not even into this side's kernel beyond its buffers."""
        self.may_read.clear()
        self.stream.writer.transport.pause_reading()

    def read_again(self):
        self.stream.writer.transport.resume_reading()
        self.may_read.set()

    async def _frame(self):
        """The content of the next frame; none at a clean end."""
        while True:
            if len(self.arrived) >= 4:
                length = int.from_bytes(self.arrived[:4], "big")
                if not 0 < length <= FRAME:
                    raise ProtocolError(f"a frame of {length} bytes")
                if len(self.arrived) >= 4 + length:
                    content = bytes(self.arrived[4:4 + length])
                    del self.arrived[:4 + length]
                    return content
            await self.may_read.wait()
            data = await self.stream.read()
            if not data:
                if self.arrived:
                    raise ProtocolError("it ended within a frame")
                return None
            self.arrived += data

    async def _read(self):
        try:
            while (content := await self._frame()) is not None:
                self._take(*decoded(content))
                self.frames_read += 1
            self.clean_end = True
        except ProtocolError as error:
            self.violation = str(error)
            self.stream.cut()
        except OSError:
            pass
        finally:
            if self.callee:
                self.callee.end(self)
            for call in list(self.open.values()):
                call.take("call.error", UNAVAILABLE)
            self.open.clear()
            self.over.set()

    def _take(self, kind, id, payload):
        if kind in ("call.responded", "call.completed", "call.error"):
            self._answered(kind, id, payload)
        elif kind == "call.hello":
            if self.hello or (self.frames_read and id != self.hello_sent):
                raise ProtocolError("a late hello")
            self.hello = id, payload
            if self.hello_sent is None:
                self.say_hello(id)
        elif self.callee:
            self.callee.take(self, kind, id, payload)
        elif kind == "call.requested":
            self.send("call.error", id, {"code": "NOT_FOUND", "message": "nothing is offered here"})
        elif kind == "call.batch":
            for request in payload["requests"]:
                self.send("call.error", request["id"], {"code": "NOT_FOUND", "message": "nothing is offered here"})

    def _answered(self, kind, id, payload):
        if kind == "call.error":
            if not CODE.fullmatch(payload["code"]):
                raise ProtocolError(f"{payload['code']!r} is no code")
            if len(payload.get("message", "").encode()) > MESSAGE:
                raise ProtocolError("a message beyond its bound")
        call = self.open.get(id)
        if call is None:
            if id not in self.asked:
                raise ProtocolError(f"{kind} for {id}, which was never asked")
            self.late.append((kind, id))
            return
        call.take(kind, payload)
        if call.ending:
            del self.open[id]
