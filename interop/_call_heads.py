"""Part of the Python scripts beside it: conformance checks of a head, and the workers that they make."""

import asyncio
import contextlib
import json

from _call_offered import SPECIFICATIONS
from _call_protocol import CallFailed
from _call_trial import Skip, check, equal, holds, until
from _call_worker import Callee, specification

ECHO = SPECIFICATIONS[0]
HOSTILE = "hostile/echo"


class Worker(Callee):
    """A worker with handlers of its own, under an API key that was made for it."""

    def __init__(self, trial, key, name, handlers):
        super().__init__(handlers)
        self.trial, self.key, self.name = trial, key, name

    async def dial(self):
        self.connection = await self.trial.connect(token=self.key, callee=self)
        return self.connection

    def at_head(self, operation):
        return f"{self.name}/{operation}"


@contextlib.asynccontextmanager
async def new_worker(trial, handlers=None, specifications=None):
    """A worker of its own at the head; it has offered when it is given specifications."""
    async with trial.another_key(trial.worker_role) as (key, _, name):
        worker = Worker(trial, key, name, handlers or {})
        connection = await worker.dial()
        try:
            if specifications is not None:
                worker.offer = connection.subscribe("workers/offer", {"operations": specifications})
                await worker.offer.received(1)
            yield worker
        except CallFailed as error:
            if error.code == "NOT_FOUND" and "workers/offer" in error.message:
                raise Skip(f"nobody may offer here: {error}") from error
            raise
        finally:
            worker.connection.stream.cut()
            await worker.connection.reading


@check("CALL-51", "an offer is there while it is open; a second one replaces it", "head")
async def offers(trial):
    handlers = {HOSTILE: echoes, "hostile/second": echoes}
    async with new_worker(trial, handlers, [{**ECHO, "name": HOSTILE}]) as worker, await trial.connect() as caller:
        equal(worker.offer.items, [{"offered": 1}])
        holds(worker.at_head(HOSTILE) in await listed(caller), "it is not listed")
        equal(await caller.call(worker.at_head(HOSTILE), {"text": "a"}), {"text": "a"})
        second = worker.connection.subscribe("workers/offer", {"operations": [{**ECHO, "name": "hostile/second"}]})
        await second.received(1)
        equal(await caller.call(worker.at_head("hostile/second"), {"text": "b"}), {"text": "b"})
        holds(worker.at_head(HOSTILE) not in await listed(caller), "the first offer is still listed")
        equal(await worker.offer.ended(), ("call.completed", {}))
        second.abort()
        equal((await second.failure()).code, "ABORTED")
        holds(worker.at_head("hostile/second") not in await listed(caller), "what is not offered any more is listed")
        failure = await caller.refused(worker.at_head("hostile/second"), {"text": "b"})
        holds(failure.code in ("UNAVAILABLE", "NOT_FOUND"), f"it ended with {failure}")


async def echoes(_, input):
    return input


async def listed(connection):
    """The names of everything that a caller may call."""
    names, cursor = [], None
    while True:
        page = await connection.call("services/list", {} if cursor is None else {"cursor": cursor})
        names += [operation["name"] for operation in page["operations"]]
        cursor = page.get("next")
        if cursor is None:
            return names


@check("CALL-51", "offering needs a known caller and its scope", "head")
async def who_may_offer(trial):
    async with await trial.connect(token=None) as stranger:
        equal((await stranger.subscribe("workers/offer", {"operations": [ECHO]}).failure()).code, "UNAUTHENTICATED")
    async with trial.another_key("guest") as (key, _, _), await trial.connect(token=key) as guest:
        equal((await guest.subscribe("workers/offer", {"operations": [ECHO]}).failure()).code, "NOT_FOUND")


@check("CALL-52", "what a worker calls public is for those with its scope only, what it calls internal is offered", "head")
async def narrowing(trial):
    offer = [{**ECHO, "name": HOSTILE, "access": {"public": True}}, {**ECHO, "name": "hostile/inner", "visibility": "internal"}]
    async with new_worker(trial, {HOSTILE: echoes, "hostile/inner": echoes}, offer) as worker:
        async with await trial.connect() as owner, await trial.connect(token=None) as stranger:
            equal(await owner.call(worker.at_head("hostile/inner"), {"text": "a"}), {"text": "a"})
            equal((await stranger.refused(worker.at_head(HOSTILE), {"text": "a"})).code, "UNAUTHENTICATED")
            async with trial.another_key("guest") as (key, _, _), await trial.connect(token=key) as guest:
                equal((await guest.refused(worker.at_head(HOSTILE), {"text": "a"})).code, "NOT_FOUND")
                holds(not [name for name in await listed(guest) if name.startswith(worker.name)], "a guest sees the worker's operations")
        equal([name for name, _ in worker.seen], ["hostile/inner"])


@check("CALL-53", "any/… stands for the workers that offer it; nobody else sees it", "head")
async def any_worker(trial):
    offer = [{**ECHO, "name": "hostile/turns"}]
    async with new_worker(trial, {"hostile/turns": echoes}, offer) as one, new_worker(trial, {"hostile/turns": echoes}, offer) as two:
        async with await trial.connect() as caller:
            for number in range(20):
                equal(await caller.call("any/hostile/turns", {"text": str(number)}), {"text": str(number)})
            holds(one.seen and two.seen, f"the turns were {len(one.seen)} and {len(two.seen)}")
            equal((await caller.refused("any/hostile/nothing", {})).code, "NOT_FOUND")
            await two.connection.__aexit__(None)
            for number in range(10):
                equal(await caller.call("any/hostile/turns", {"text": str(number)}), {"text": str(number)})


@check("CALL-56", "any/… passes over a worker that has just said OVERLOADED", "head")
async def passed_over(trial):
    async def full(_, __):
        raise CallFailed({"code": "OVERLOADED", "retryable": True})
    offer = [{**ECHO, "name": "hostile/load"}]
    async with new_worker(trial, {"hostile/load": full}, offer) as busy, new_worker(trial, {"hostile/load": echoes}, offer):
        async with await trial.connect() as caller:
            refused = 0
            for _ in range(20):
                kind, payload = await caller.ask("any/hostile/load", {"text": "x"}).ended()
                holds(payload.get("code", "OVERLOADED") == "OVERLOADED", f"it ended with {payload}")
                refused += kind == "call.error"
        holds(refused <= 1 and len(busy.seen) == refused, f"{refused} of 20 were refused")


@check("CALL-12", "at a head: a resource that is not granted is FORBIDDEN, after the input was checked", "head")
async def resources(trial):
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    access = {"scopes": [], "resource": {"type": "thing", "id_pointer": "/id", "action": "use"}}
    offer = [specification("hostile/use", "query", schema, access=access)]
    async with new_worker(trial, {"hostile/use": echoes}, offer) as worker, trial.another_key("limited") as (key, _, _):
        async with await trial.connect(token=key) as caller:
            name = worker.at_head("hostile/use")
            equal(await caller.call(name, {"id": "one"}), {"id": "one"})
            equal(await caller.call(name, {"id": "one/half"}), {"id": "one/half"})
            for id in ("two", "on", "ones", ""):
                equal((id, (await caller.refused(name, {"id": id})).code), (id, "FORBIDDEN"))
            failure = await caller.refused(name, {"id": 7})
            equal((failure.code, failure.details["pointer"]), ("INVALID_INPUT", "/id"))


@check("CALL-17", "at a head: the operation's own timeout, retryable where it is idempotent", "head")
async def own_timeout(trial):
    offer = [specification(name, "mutation", timeout_ms=200, idempotent=idempotent)
             for name, idempotent in (("hostile/once", False), ("hostile/often", True))]
    handlers = {one["name"]: waits for one in offer}
    async with new_worker(trial, handlers, offer) as worker, await trial.connect() as caller:
        for one in offer:
            failure = await caller.refused(worker.at_head(one["name"]), {}, seconds=3)
            equal((failure.code, failure.retryable), ("TIMEOUT", one["idempotent"]))
        await until(lambda: not worker.running, 5, "the work is called off")


@check("CALL-12", "at a head: an input longer than the operation takes", "head")
async def long_input(trial):
    offer = [{**ECHO, "name": HOSTILE, "max_input_bytes": 100}]
    async with new_worker(trial, {HOSTILE: echoes}, offer) as worker, await trial.connect() as caller:
        fits = {"text": "x" * 89}
        equal(len(json.dumps(fits, separators=(",", ":"))), 100)
        equal(await caller.call(worker.at_head(HOSTILE), fits), fits)
        equal((await caller.refused(worker.at_head(HOSTILE), {"text": "x" * 90})).code, "INVALID_INPUT")


@check("CALL-51", "no more calls at a time than the worker accepts", "head")
async def accepted(trial):
    async with new_worker(trial, {HOSTILE: waits}) as worker, await trial.connect() as caller:
        offer = worker.connection.subscribe("workers/offer", {"operations": [specification(HOSTILE, "query")], "accepts": 2})
        await offer.received(1)
        calls = [caller.ask(worker.at_head(HOSTILE), {}) for _ in range(2)]
        await until(lambda: len(worker.running) == 2, 5, "both calls arrive")
        failure = await caller.refused(worker.at_head(HOSTILE), {})
        equal((failure.code, failure.retryable, len(worker.seen)), ("OVERLOADED", True, 2))
        for call in calls:
            call.abort()
            await call.ended()
        caller.ask(worker.at_head(HOSTILE), {})
        await until(lambda: len(worker.seen) == 3, 5, "a call arrives again")


@check("CALL-51", "a specification of a name and a kind is enough", "head")
async def least_specification(trial):
    async with new_worker(trial, {HOSTILE: echoes}, [{"name": HOSTILE, "kind": "query", "mood": "good"}]) as worker:
        async with await trial.connect() as caller:
            equal(await caller.call(worker.at_head(HOSTILE), [1, None]), [1, None])


@check("CALL-54", "what the worker is told, and what it is not", "seen")
async def forwarded(trial):
    async with await trial.connect() as caller:
        identity = await caller.call("node/identify")
        operation = trial.prefix + "conformance/reveal"
        call = caller.ask(operation, {}, deadlineMs=5000, idempotencyKey="key-of-mine", via=["a"], origin="somebody-else")
        told = (await call.output())["payload"]
        holds("authToken" not in told, "the token was forwarded")
        equal(told["operationId"], "/conformance/reveal")
        equal(told["origin"], identity["you"])
        equal(told["via"], ["a", identity["node_id"]])
        holds(0 < told["deadlineMs"] <= 5000, f"deadlineMs {told['deadlineMs']}")
        key = told["idempotencyKey"]
        holds(key != "key-of-mine" and len(key) <= 128, f"the key became {key}")
        async with trial.another_key("owner") as (key, _, _), await trial.connect(token=key) as other:
            theirs = (await other.call(operation, {}, idempotencyKey="key-of-mine"))["payload"]
            holds(theirs["idempotencyKey"] != told["idempotencyKey"], "two callers' keys meet")


@check("CALL-54", "the head checks the input, so that the worker never sees what does not fit", "seen")
async def checked_input(trial):
    seen = len(trial.worker.seen)
    async with await trial.connect() as caller:
        equal((await caller.refused(trial.prefix + "conformance/echo", {"text": 1})).code, "INVALID_INPUT")
    equal(len(trial.worker.seen), seen)


@check("CALL-39", "a worker calls back on the stream of the call that it serves, under the same id", "seen")
async def call_back(trial):
    operation = trial.profile._has("conformance/ask-back")
    async with await trial.connect() as caller:
        node = await caller.call("node/identify")
        answers = [caller.ask(operation, {}) for _ in range(20)]
        for answer in answers:
            equal((await answer.output())["node_id"], node["node_id"])


@check("CALL-38", "an output that does not fit a frame is INTERNAL for its call alone", "seen")
async def too_big(trial):
    operation = trial.profile._has("conformance/big")
    async with await trial.known() as caller:
        equal((await caller.refused(operation, {}, id="b" * 64)).code, "INTERNAL")
        await trial.works(caller)


@check("CALL-20", "a worker's codes: declared ones pass, others are INTERNAL; messages are cut at 1,024 bytes (CALL-21)", "seen")
async def codes(trial):
    operation = trial.profile._has("conformance/fail")
    async with await trial.connect() as caller:
        failure = await caller.refused(operation, {"code": "TEAPOT", "message": "é" * 2000, "retryable": True})
        equal((failure.code, failure.retryable, failure.details), ("TEAPOT", True, {"told": True}))
        for code in ("KETTLE", "teapot", "", "X" * 65, "TEA POT"):
            equal((code[:9], (await caller.refused(operation, {"code": code, "message": "m"})).code), (code[:9], "INTERNAL"))


async def waits(_, __):
    await asyncio.sleep(3600)


@check("CALL-31", "services/schema shows a worker's operations under three segments", "head")
async def remote_schemas(trial):
    async with new_worker(trial, {HOSTILE: echoes}, [{**ECHO, "name": HOSTILE}]) as worker, await trial.connect() as caller:
        asked = [worker.at_head(HOSTILE), worker.at_head("hostile/nothing")]
        found = await caller.call("services/schema", {"names": asked})
        equal(([one["name"] for one in found["operations"]], found["missing"]), (asked[:1], asked[1:]))
        equal(found["operations"][0]["input"], ECHO["input"])
        async with trial.another_key("guest") as (key, _, _), await trial.connect(token=key) as guest:
            equal((await guest.call("services/schema", {"names": asked}))["missing"], asked)
