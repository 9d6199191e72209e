"""Part of the Python scripts beside it: conformance checks of the operations that every callee has, and of the way into `alknet/bytes`."""

import asyncio
import json

from _call_protocol import CallFailed
from _call_trial import Skip, check, equal, holds, until

SECRET = "this-must-not-be-seen"


async def pages(connection, operation, limit):
    """All operations that are listed, and the revisions of the pages."""
    names, revisions, cursor = [], set(), None
    while True:
        page = await connection.call(operation, {"limit": limit, **({} if cursor is None else {"cursor": cursor})})
        holds(len(page["operations"]) <= limit, f"a page of {len(page['operations'])}")
        names += [one["name"] for one in page["operations"]]
        revisions.add(page["revision"])
        cursor = page.get("next")
        if cursor is None:
            return names, revisions


@check("CALL-30", "services/list by pages of any size, by name, only what the caller may call", direct_only=True)
async def listing(trial):
    async with await trial.connect() as connection, await trial.connect(token=None) as stranger:
        every, _ = await pages(connection, "services/list", 200)
        equal((await pages(connection, "services/list", 1 if len(every) < 100 else 7))[0], every)
        equal(every, sorted(set(every)))
        holds({"services/list", "services/schema"} <= set(every), "it does not list itself")
        public, _ = await pages(stranger, "services/list", 200)
        holds(set(public) < set(every), "a stranger sees as much")
        for limit in (0, 201, -1, 1.5, "1"):
            failure = await connection.refused("services/list", {"limit": limit})
            equal((limit, failure.code, failure.details["pointer"]), (limit, "INVALID_INPUT", "/limit"))


@check("CALL-30", "what is listed can be asked for, and what is not listed cannot be called", direct_only=True)
async def listed_is_callable(trial):
    async with await trial.connect() as connection, await trial.connect(token=None) as stranger:
        every, _ = await pages(connection, "services/list", 200)
        public, _ = await pages(stranger, "services/list", 200)
        for name in sorted(set(every) - set(public)):
            equal((name, (await stranger.refused(name, [])).code), (name, "UNAUTHENTICATED"))
        for at in range(0, len(every), 64):
            asked = every[at:at + 64]
            found = await connection.call("services/schema", {"names": asked})
            equal(([one["name"] for one in found["operations"]], found["missing"]), (asked, []))


@check("CALL-31", "services/schema: 1 to 64 names, and no word on whether the others exist", direct_only=True)
async def schemas(trial):
    async with await trial.connect() as connection, await trial.connect(token=None) as stranger:
        found = await stranger.call("services/schema", {"names": ["keys/create", "services/list", "keys/nothing"]})
        equal(([one["name"] for one in found["operations"]], found["missing"]), (["services/list"], ["keys/create", "keys/nothing"]))
        for names in ([], ["a/b"] * 65, "services/list", [1]):
            equal((await connection.refused("services/schema", {"names": names})).code, "INVALID_INPUT")


@check("CALL-30", "the revision changes with what may be called", direct_only=True)
async def revisions(trial):
    async with await trial.connect() as connection, await trial.connect(token=None) as stranger:
        seen = [(await one.call("services/list", {"limit": 1}))["revision"] for one in (connection, stranger, connection)]
        equal(seen[0], seen[2])
        holds(seen[0] != seen[1], "a stranger's list has the owner's revision")


@check("CALL-23", "a failed credential is audited, never with its text", direct_only=True)
async def audited(trial):
    token = "alk_zzzzzzzz_" + SECRET.ljust(43, "A")
    async with await trial.connect() as connection:
        await connection.refused("services/list", {}, token=token)

        async def row():
            rows = (await connection.call("audit/query", {"denied": True, "limit": 500}))["rows"]
            holds(SECRET not in json.dumps(rows), "the audit holds the credential")
            return [row for row in rows if row["kind"] == "authentication"]
        try:
            await until(row, 5, "a failed authentication in the audit")
        except CallFailed as error:
            raise Skip(f"the audit is not to be had: {error}") from error
    if trial.node:
        holds(SECRET not in trial.node.log(), "the log holds the credential")


@check("CALL-32", "alknet/bytes is closed without a word for whoever proves no identity by the connection", direct_only=True)
async def bytes_of_strangers(trial):
    async with await trial.connect() as connection:
        try:
            ticket = bytes.fromhex((await connection.call("node/backup", {}))["stream"])
        except CallFailed as error:
            raise Skip(f"nothing gives a ticket: {error}") from error
        for first in (ticket, bytes(16), ticket[:7]):
            stream = await trial.stream("alknet/bytes")
            stream.write(first)
            stream.end()
            try:
                said = await asyncio.wait_for(stream.read(), 12)
            except ConnectionError:
                said = b""
            equal(said, b"")
            stream.cut()


def nodes_of(value):
    """Every object that tells of an operation in a value of unknown shape."""
    if isinstance(value, dict):
        if "operation" in value:
            yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from nodes_of(inner)


@check("CALL-58", "a running call is in the call graph, without its input, and calls/abort calls it off")
async def call_graph(trial):
    operation, input, subscription = trial.profile.hang()
    async with await trial.connect() as connection:
        call = connection.ask(operation, input, subscription=subscription)

        async def found():
            listed = await connection.call("calls/list", {})
            holds(trial.api_key not in json.dumps(listed), "the credential is in the call graph")
            return [one for one in nodes_of(listed) if one["operation"] == operation and one["status"] in ("pending", "running")]
        try:
            seen = await until(found, 5, f"{operation} among the running calls")
        except CallFailed as error:
            raise Skip(f"the call graph is not to be had: {error}") from error
        holds("input" not in seen[0] and "output" not in seen[0], f"it shows more than it should: {seen[0]}")
        identity = (await connection.call("node/identify"))["you"]
        holds(identity in json.dumps(seen[0]), f"it does not say who called: {seen[0]}")
        for one in seen:
            await connection.ask("calls/abort", {"number": one["number"]}).ended()
        equal((await call.failure()).code, "ABORTED")
        await trial.works(connection)
