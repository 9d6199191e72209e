"""Part of the Python scripts beside it: conformance checks of a head, with workers that are hostile, odd, or gone."""

import asyncio
import json

from _call_heads import ECHO, HOSTILE, echoes, new_worker, waits
from _call_trial import check, equal, holds, until
from _call_worker import specification


def nested_schema(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def hostile_offers():
    """What must be refused: a name for the defect, and the operations."""
    def with_input(schema):
        return [{**ECHO, "input": schema}]
    yield "nothing at all", []
    yield "1,025 operations", [{**ECHO, "name": f"many/o{number}"} for number in range(1025)]
    for name in ("echo", "a/b/c", "/conformance/echo", "Conformance/echo", "conformance/", "c/" + "x" * 65, "", "conformance/e cho"):
        yield f"the name {name[:20]!r}", [{**ECHO, "name": name}]
    yield "one name twice", [ECHO, ECHO]
    yield "one bad among good", [ECHO, {**ECHO, "name": "bad"}]
    yield "no name", [{name: value for name, value in ECHO.items() if name != "name"}]
    yield "a kind of its own", [{**ECHO, "kind": "wish"}]
    yield "a schema from a network", with_input({"$ref": "https://example.org/schema.json"})
    yield "a schema from a file", with_input({"$ref": "file:///etc/passwd"})
    yield "a reference to nothing", with_input({"$ref": "#/$defs/nothing"})
    yield "a schema that is none", with_input({"type": 7})
    yield "a pattern that is none", with_input({"type": "object", "properties": {"text": {"type": "string", "pattern": "("}}})
    yield "a schema too deep", with_input(nested_schema(58))
    yield "a schema too long", with_input({"description": "x" * 257 * 1024})
    yield "too many references", with_input({"$defs": {"a": {}}, "anyOf": [{"$ref": "#/$defs/a"}] * 1025})
    yield "a specification too long", [{**ECHO, "description": "x" * 65 * 1024}]
    yield "a code of another form", [{**ECHO, "errors": [{"code": "teapot", "description": ""}]}]
    yield "an access rule of another form", [{**ECHO, "access": {"scopes": "all"}}]
    yield "an array for a specification", [["conformance/echo"]]
    yield "not even an array", {"0": ECHO}


@check("CALL-52", "hostile offers are refused whole, with a pointer", "head")
async def hostile(trial):
    async with new_worker(trial) as worker, await trial.connect() as caller:
        wrong = []
        for name, operations in hostile_offers():
            kind, payload = await offered(worker.connection, operations)
            code, pointer = payload.get("code"), (payload.get("details") or {}).get("pointer", "")
            if (kind, code) != ("call.error", "INVALID_INPUT") or not pointer.startswith("/operations"):
                wrong.append(f"{name}: {kind} {str(payload)[:150]}")
        holds(not wrong, "; ".join(wrong))
        equal((await caller.refused(worker.at_head("conformance/echo"), {"text": "x"})).code in ("NOT_FOUND", "UNAVAILABLE"), True)
        await trial.works(caller)


async def offered(connection, operations):
    """What became of an offer: its end, or its first item, after which it is called off."""
    call = connection.subscribe("workers/offer", {"operations": operations})
    await call.until(lambda it: it.items or it.ending)
    if call.items:
        call.abort()
        await call.ended()
        return "taken", {"output": call.items[0]}
    return call.ending


@check("CALL-56", "a worker that goes away: its calls end with UNAVAILABLE, and so do later ones", "head")
async def gone(trial):
    offer = [{**specification("hostile/wait", kind), "name": f"hostile/wait-{kind}-{idempotent:d}", "idempotent": idempotent}
             for kind in ("query", "mutation") for idempotent in (False, True)]
    names = [one["name"] for one in offer]
    for leave in (lambda worker: worker.connection.stream.cut(), lambda worker: worker.connection.stream.end(),
                  lambda worker: worker.connection.raw(bytes(4)), lambda worker: worker.connection.send("call.completed", "never-asked")):
        async with new_worker(trial, dict.fromkeys(names, waits), offer) as worker, await trial.connect() as caller:
            calls = [caller.ask(worker.at_head(name), {}) for name in names]
            await until(lambda: len(worker.running) == len(names), 5, "the calls arrive")
            leave(worker)
            failures = [await call.failure() for call in calls]
            equal([failure.code for failure in failures], ["UNAVAILABLE"] * 4)
            equal([failure.retryable for failure in failures], [one["idempotent"] for one in offer])
            later = await caller.refused(worker.at_head(names[0]), {})
            equal((later.code, later.retryable), ("UNAVAILABLE", True))
            await trial.works(caller)


@check("CALL-37", "a worker that answers twice is ignored; one that gives more than was asked for loses its stream (CALL-41)", "head")
async def odd_answers(trial):
    async def twice(context, input):
        worker.connection.send("call.responded", context.id, {"output": "first"})
        worker.connection.send("call.error", context.id, {"code": "INTERNAL"})
        return "second"
    items = specification("hostile/items", "subscription")

    async def too_many(context, input):
        for number in range(20):
            worker.connection.send("call.responded", context.id, {"seq": number + 1, "output": number})
        await asyncio.sleep(3600)
        yield
    offer = [specification(HOSTILE, "query"), items]
    async with new_worker(trial, {HOSTILE: twice, "hostile/items": too_many}, offer) as worker, await trial.connect() as caller:
        for _ in range(10):
            equal(await caller.call(worker.at_head(HOSTILE), {}), "first")
        call = caller.subscribe(worker.at_head("hostile/items"), {}, credit=2)
        await call.received(2)
        call.credit(20)
        equal((await call.failure()).code, "UNAVAILABLE")
        holds(len(call.items) < 20, "the head took them all")
        await asyncio.wait_for(worker.connection.over.wait(), 5)
        await trial.works(caller)


@check("CALL-37", "a worker whose query gives items, or whose subscription gives an output", "head")
async def wrong_kind_of_answer(trial):
    async def an_item(context, _):
        worker.connection.send("call.responded", context.id, {"seq": 1, "output": "item"})
        await asyncio.sleep(3600)

    async def an_output(context, _):
        worker.connection.send("call.responded", context.id, {"output": "output"})
        await asyncio.sleep(3600)
        yield
    offer = [specification(HOSTILE, "query"), specification("hostile/items", "subscription")]
    async with new_worker(trial, {HOSTILE: an_item, "hostile/items": an_output}, offer) as worker, await trial.connect() as caller:
        equal((await caller.refused(worker.at_head(HOSTILE), {})).code, "INVALID_OPERATION_TYPE")
        await until(lambda: not worker.running, 5, "what was not wanted is called off")
        equal((await caller.subscribe(worker.at_head("hostile/items"), {}).failure()).code, "INVALID_OPERATION_TYPE")
        await trial.works(caller)


@check("CALL-29", "a worker's pattern costs time linear in the text", "head")
async def patterns(trial):
    schema = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}
    offer = [{**ECHO, "name": HOSTILE, "input": schema}]
    async with new_worker(trial, {HOSTILE: echoes}, offer) as worker, await trial.connect() as caller:
        equal((await caller.refused(worker.at_head(HOSTILE), {"text": "a" * 50_000 + "!"}, seconds=3)).code, "INVALID_INPUT")
        await trial.works(caller)


def costly_schemas():
    """Schemas within every bound that a naive validator does not survive."""
    yield {"$ref": "#"}, {}
    yield {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, {}
    doubling = {f"d{depth}": {"allOf": [{"$ref": f"#/$defs/d{depth + 1}"}] * 2} for depth in range(30)}
    yield {"$defs": {**doubling, "d30": {}}, "$ref": "#/$defs/d0"}, {}
    yield {"type": "array", "uniqueItems": True}, [[number] for number in range(20_000)]
    yield {"items": {"$ref": "#"}}, json.loads("[" * 50 + "]" * 50)
    nest = {"anyOf": [{"properties": {"x": {"$ref": "#"}}, "required": ["x"]}, {"properties": {"x": {"$ref": "#"}}, "minProperties": 2}]}
    yield nest, json.loads('{"x":' * 40 + "1" + "}" * 40)
    yield {"properties": {"text": {"pattern": "(?:a{1,1000}){1,1000}"}}}, {"text": "a" * 1000}


@check("CALL-52", "a worker's schema that would cost the head too much is refused, or answered in time", "head")
async def costs(trial):
    async with await trial.known() as caller:
        for schema, input in costly_schemas():
            async with new_worker(trial, {HOSTILE: echoes}) as worker:
                specified = {"name": HOSTILE, "kind": "query", "input": schema}
                offer = worker.connection.subscribe("workers/offer", {"operations": [specified]})
                await offer.until(lambda it: it.items or it.ending, 5)
                if offer.items:
                    call = caller.ask(worker.at_head(HOSTILE), input)
                    for _ in range(10):
                        await trial.works(caller)
                    kind, payload = await call.ended(5)
                    holds(kind == "call.responded" or payload["code"] in ("INVALID_INPUT", "OVERLOADED"), f"{str(schema)[:60]}: {payload}")
                else:
                    equal((await offer.failure()).code, "INVALID_INPUT")
