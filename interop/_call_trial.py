"""Part of the Python scripts beside it: what a conformance check gets to work with, and the list that it puts itself on."""

import asyncio
import contextlib
import copy
import itertools
import json
import ssl
import time

from _call_protocol import CallFailed, Connection, ProtocolError
from _call_tls import TlsStream

SECONDS = 60
CHECKS = []
UNIQUE = itertools.count(1)


class Skip(Exception):
    """A check cannot be made here, and why."""


def check(rule, what, *needs, direct_only=False):
    """Registers a check under its rule; `needs` are names of methods of a profile, `direct_only` says that a prefix cannot matter."""
    def register(function):
        CHECKS.append((rule, what, needs, direct_only, function))
        return function
    return register


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {str(found)[:300]}, wanted {str(wanted)[:300]}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


async def until(condition, seconds, what):
    """Polls a condition, which may be asynchronous, until it holds; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        value = await value if asyncio.iscoroutine(value) else value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.01)


class NodeProfile:
    """The operations that every node of this project has, used for what a check needs."""

    def __init__(self, names, prefix=""):
        self.names, self.prefix = names, prefix

    def _has(self, *names):
        for name in names:
            if self.prefix + name not in self.names:
                raise Skip(f"there is no {self.prefix}{name} here")
        return self.prefix + names[0]

    def echo(self, text):
        """A query that gives its input back: operation, input, output."""
        return self._has("services/schema"), {"names": [text]}, {"operations": [], "missing": [text]}

    def wrong_input(self):
        """Input that does not fit: operation, input, where, and a text in it that must not come back."""
        return self._has("services/schema"), {"names": 73159}, "/names", "73159"

    def hang(self):
        """A call that does not end by itself: operation, input, whether it is a subscription."""
        return self._has("events/subscribe"), {"topic": "node.peers"}, True

    def failing(self):
        """A call that fails by its handler's word: operation, input, code."""
        return self._has("peers/show"), {"name": "nobody-of-that-name"}, "NOT_FOUND"

    async def mutation(self, connection):
        """Something that is done anew at each call, with an output that tells: operation, input, another input."""
        _, _, entry = await self.log(connection)
        return *entry(1), entry(2)[1]

    async def log(self, connection):
        """A resumable subscription that keeps a hundred items, and the mutation that feeds it.

        Operation, input, and a function from a value to operation and input.
        """
        topic = f"conformance.{next(UNIQUE)}.{time.time_ns()}"
        publish = self._has("events/publish", "events/subscribe", "events/declare")
        await connection.call(self.prefix + "events/declare", {"topic": topic, "version": 1, "max_events": 100})
        return self.prefix + "events/subscribe", {"topic": topic}, lambda value: (publish, {"topic": topic, "events": [{"payload": value}]})

    def endless(self):
        raise Skip("no operation gives items for ever")

    def items(self, count):
        raise Skip("no operation gives a known number of items")

    def sleep(self, milliseconds):
        raise Skip("no query takes a known time")


class WorkerProfile(NodeProfile):
    """The operations of the worker in `_call_offered.py`."""

    def echo(self, text):
        return self._has("conformance/echo"), {"text": text}, {"text": text}

    def wrong_input(self):
        return self._has("conformance/echo"), {"text": 73159}, "/text", "73159"

    def hang(self):
        return self._has("conformance/sleep"), {"milliseconds": 3_600_000}, False

    def failing(self):
        return self._has("conformance/fail"), {"code": "TEAPOT", "message": "short and stout"}, "TEAPOT"

    async def log(self, connection):
        append = self._has("conformance/append", "conformance/log")
        return self.prefix + "conformance/log", {}, lambda value: (append, {"value": value})

    def endless(self):
        return self._has("conformance/count"), {"to": 2**52}

    def items(self, count):
        return self._has("conformance/count"), {"to": count}

    def sleep(self, milliseconds):
        return self._has("conformance/sleep"), {"milliseconds": milliseconds}


class Trial:
    """A callee to try: where it is, how to be let in, and where its operations are."""

    def __init__(self, label, host, port, node_key, api_key, profile, node=None, worker=None, worker_role="worker"):
        self.label, self.host, self.port, self.node_key, self.api_key = label, host, port, node_key, api_key
        self.profile, self.prefix, self.node, self.worker = profile, profile.prefix, node, worker
        self.worker_role, self.opened = worker_role, []

    def for_one_check(self):
        """The same, with connections of its own."""
        trial = copy.copy(self)
        trial.opened = []
        return trial

    async def close(self):
        """Cuts what a check left open."""
        for connection in self.opened:
            connection.stream.cut()
            await connection.reading

    async def stream(self, alpn="alknet/call", **options):
        try:
            return await TlsStream.connect(self.host, self.port, self.node_key, alpn, **options)
        except ssl.SSLError:
            # On a machine that is busy for two seconds the hello comes too late: it is taken for a silent SSH client (NET-16).
            return await TlsStream.connect(self.host, self.port, self.node_key, alpn, **options)

    async def connect(self, token=True, callee=None):
        """A connection whose requests carry the API key, another token, or none."""
        self.opened.append(Connection(await self.stream(), self.api_key if token is True else token, callee))
        return self.opened[-1]

    async def known(self):
        """The same, after the other side has learned who is there."""
        connection = await self.connect()
        await connection.call("services/list", {"limit": 1})
        return connection

    @contextlib.asynccontextmanager
    async def another_key(self, role):
        """An API key of its own, which is revoked at the end: its text, its id, and the name of its bearer."""
        name = f"conformance-{next(UNIQUE)}-{time.time_ns()}"
        async with await self.connect() as owner:
            try:
                made = await owner.call("keys/create", {"name": name, "role": role})
            except CallFailed as error:
                raise Skip(f"no further API key can be made: {error}") from error
            try:
                yield made["key"], made["id"], name
            finally:
                await owner.ask("keys/revoke", {"id": made["id"]}).ended()

    async def works(self, connection):
        """Calls go on there."""
        operation, input, output = self.profile.echo("still")
        equal(await connection.call(operation, input), output)

    def hang(self, connection, **members):
        operation, input, subscription = self.profile.hang()
        return connection.ask(operation, input, subscription=subscription, **members)

    async def refuses(self, data, *, known=False, end=False):
        """These bytes end the connection, and nothing is answered."""
        connection = await (self.known() if known else self.connect())
        frames = connection.frames_read
        connection.raw(data)
        if end:
            connection.stream.end()
        await self.abandoned(connection, frames)

    async def abandoned(self, connection, frames):
        """The other side ends the connection, and answers nothing more before."""
        try:
            await asyncio.wait_for(connection.over.wait(), 10)
        except TimeoutError:
            raise AssertionError("the connection goes on") from None
        finally:
            connection.stream.cut()
        await connection.reading
        if connection.violation:
            raise ProtocolError(connection.violation)
        equal(connection.frames_read, frames)


def shown(name, data):
    """What a failed check of bad input was about."""
    return f"{name}: {json.dumps(data[:80].decode('latin-1'))}"
