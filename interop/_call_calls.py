"""Part of the Python scripts beside it: conformance checks of calls, through a prefix: at a node, or at a worker behind it."""

import asyncio
import json
import random

from _call_endings import nobody_works
from _call_trial import check, equal, holds, until

OPEN = 10_000
MOST_CALLS = 256


@check("CALL-10", "texts that are no names of operations name nothing that exists", direct_only=True)
async def names(trial):
    async with await trial.connect() as connection:
        texts = ["", "/", "services/list", "/services", "/services/", "//list", "/services//list", "/Services/list", "/services/list/",
                 "/a/b/c/d", "/services/li st", "/-services/list", "/services/_list", "/services/" + "x" * 65, "/services/\u0131",
                 "/services/list\n", "/" + "x" * 4096]
        for text in texts:
            call, payload = connection.request("", {})
            connection.send("call.requested", call.id, {**payload, "operationId": text})
            failure = await call.failure()
            equal((text[:80], failure.code), (text[:80], "NOT_FOUND"))


@check("CALL-11", "a stranger is told UNAUTHENTICATED, whether it exists or not, in the same words")
async def strangers(trial):
    operation, _, _ = trial.profile.failing()
    async with await trial.connect(token=None) as connection:
        there = await connection.refused(operation, {})
        absent = await connection.refused(operation + "-not", {})
        equal((there.code, absent.code), ("UNAUTHENTICATED", "UNAUTHENTICATED"))
        equal(there.message.replace(operation, ""), absent.message.replace(operation + "-not", ""))


@check("CALL-11", "who lacks the scope is told what is told of operations that do not exist")
async def without_the_scope(trial):
    operation, _, _ = trial.profile.failing()
    async with trial.another_key("guest") as (key, _, _), await trial.connect(token=key) as connection:
        there = await connection.refused(operation, {})
        absent = await connection.refused(operation + "-not", {})
        equal((there.code, absent.code), ("NOT_FOUND", "NOT_FOUND"))
        equal(there.message.replace(operation, ""), absent.message.replace(operation + "-not", ""))
        equal((there.details, there.retryable), (absent.details, absent.retryable))


@check("CALL-12", "input that does not fit: the place, never the value", "wrong_input")
async def wrong_input(trial):
    operation, input, pointer, secret = trial.profile.wrong_input()
    async with await trial.connect() as connection:
        call = connection.ask(operation, input)
        kind, payload = await call.ended()
        equal((kind, payload.get("code"), payload.get("details", {}).get("pointer")), ("call.error", "INVALID_INPUT", pointer))
        holds(secret not in json.dumps(payload), f"the value came back: {payload}")
        failure = await connection.refused(operation, [1])
        equal((failure.code, failure.details["pointer"]), ("INVALID_INPUT", ""))


@check("CALL-18", f"of {OPEN} requests beyond all bounds {MOST_CALLS} run, and the others are told OVERLOADED at once")
async def ten_thousand(trial):
    async with await trial.known() as connection:
        calls = []
        for number in range(OPEN):
            calls.append(trial.hang(connection))
            if number % 100 == 0:
                await connection.stream.drain()
        await until(lambda: sum(bool(call.ending) for call in calls) >= OPEN - MOST_CALLS, 50, "all but 256 are answered")
        await asyncio.sleep(0.05)
        refused = [call for call in calls if call.ending]
        equal(len(refused), OPEN - MOST_CALLS)
        told = {(call.ending[1].get("code"), call.ending[1].get("retryable")) for call in refused}
        equal(told, {("OVERLOADED", True)})
        for call in calls:
            if not call.ending:
                call.abort()
        for call in calls:
            await call.ended()
        await trial.works(connection)


@check("CALL-19", "a reader of nothing loses nothing once it reads, and costs nobody else anything")
async def slow_reader(trial):
    text = "x" * 60_000
    operation, input, output = trial.profile.echo(text)
    async with await trial.known() as connection, await trial.known() as other:
        before = trial.node.resident_kib() if trial.node else 0
        connection.stop_reading()
        calls = [connection.ask(operation, input) for _ in range(64)]
        for _ in range(20):
            await trial.works(other)
        grown = trial.node.resident_kib() - before if trial.node else 0
        connection.read_again()
        for call in calls:
            equal(await call.output(20), output)
        holds(grown < 48 * 1024, f"the node grew by {grown} KiB")


@check("CALL-20", "codes that an operation declares pass; their message, retryable and details too", "failing")
async def declared_codes(trial):
    operation, input, code = trial.profile.failing()
    async with await trial.connect() as connection:
        failure = await connection.refused(operation, input)
        equal((failure.code, failure.retryable), (code, False))


@check("CALL-23", "a credential that does not hold fails its request, whatever is asked, and no other")
async def bad_credentials(trial):
    operation, input, output = trial.profile.echo("mine")
    almost = trial.api_key[:-1] + ("A" if trial.api_key[-1] != "A" else "B")
    wrong = [almost, "alk_aaaaaaaa_" + "A" * 43, "", "x", "\u0000", "A" * 2048, "A" * 5000]
    async with await trial.known() as connection:
        for token in wrong:
            equal((token[:12], (await connection.refused(operation, input, token=token)).code), (token[:12], "UNAUTHENTICATED"))
            equal((await connection.refused("services/list", token=token)).code, "UNAUTHENTICATED")
            equal(await connection.call(operation, input), output)
        equal((await connection.refused(trial.profile.failing()[0], {}, token=None)).code, "UNAUTHENTICATED")


@check("CALL-24", "a revoked credential fails from the next request on")
async def revoked(trial):
    operation, input, output = trial.profile.echo("still")
    async with trial.another_key("owner") as (key, id, _), await trial.connect() as owner, await trial.connect(token=key) as connection:
        equal(await connection.call(operation, input), output)
        await owner.call("keys/revoke", {"id": id})
        equal((await connection.refused(operation, input)).code, "UNAUTHENTICATED")


@check("CALL-25", "calls that run under a removed key end with UNAUTHENTICATED")
async def removed_while_running(trial):
    async with trial.another_key("owner") as (key, id, _), await trial.connect() as owner, await trial.connect(token=key) as connection:
        calls = [trial.hang(connection) for _ in range(3)]
        await trial.works(connection)
        await owner.call("keys/revoke", {"id": id})
        equal([(await call.failure()).code for call in calls], ["UNAUTHENTICATED"] * 3)
    await nobody_works(trial)


@check("CALL-26", "a mutation that is repeated with its key is done once")
async def idempotency(trial):
    key = f"key-{random.getrandbits(64)}"
    async with await trial.known() as connection:
        operation, input, other = await trial.profile.mutation(connection)
        first = await connection.call(operation, input, idempotencyKey=key)
        equal(await connection.call(operation, input, idempotencyKey=key), first)
        holds(await connection.call(operation, input, idempotencyKey=key + "2") != first, "another key gave the same outcome")
        failure = await connection.refused(operation, other, idempotencyKey=key)
        equal((failure.code, failure.details["pointer"]), ("INVALID_INPUT", "/idempotencyKey"))
    async with await trial.known() as connection:
        calls = [connection.ask(operation, input, idempotencyKey=key + "3") for _ in range(20)]
        outcomes = {json.dumps(await call.output()) for call in calls}
        equal(len(outcomes), 1)
        equal(await connection.call(operation, input, idempotencyKey=key), first)
        longest = f"{random.getrandbits(64):0128}"
        equal(*[await connection.call(operation, input, idempotencyKey=longest) for _ in range(2)])


@check("CALL-26", "keys of another form, and keys where they cannot mean anything")
async def bad_idempotency_keys(trial):
    async with await trial.known() as connection:
        operation, input, _ = await trial.profile.mutation(connection)
        for key in ("", "x" * 129, "a b", "é"):
            failure = await connection.refused(operation, input, idempotencyKey=key)
            equal((key[:9], failure.code, (failure.details or {}).get("pointer")), (key[:9], "INVALID_INPUT", "/idempotencyKey"))
        query, asked, output = trial.profile.echo("again")
        equal(await connection.call(query, asked, idempotencyKey="q"), output)
        query, asked, output = trial.profile.echo("another")
        equal(await connection.call(query, asked, idempotencyKey="q"), output)


@check("CALL-46", "an outcome that says that nothing was done keeps no key")
async def outcomes_not_kept(trial):
    key = f"key-{random.getrandbits(64)}"
    async with await trial.known() as connection:
        operation, input, _ = await trial.profile.mutation(connection)
        equal((await connection.refused(operation, 7, idempotencyKey=key)).code, "INVALID_INPUT")
        equal((await connection.refused(operation, input, idempotencyKey=key, token="x")).code, "UNAUTHENTICATED")
        first = await connection.call(operation, input, idempotencyKey=key)
        equal(await connection.call(operation, input, idempotencyKey=key), first)


@check("CALL-40", "a batch of 64 is 64 calls; its own id is in nobody's way")
async def batches(trial):
    async with await trial.known() as connection:
        requests = [trial.profile.echo(f"b{number}") for number in range(63)]
        operation, input, code = trial.profile.failing()
        calls = connection.batch([(name, asked) for name, asked, _ in requests] + [(operation, input)], id="1")
        for call, (_, _, output) in zip(calls, requests):
            equal(await call.output(), output)
        equal((await calls[-1].failure()).code, code)
        operation, input, output = trial.profile.echo("after")
        equal(await connection.call(operation, input, id="1"), output)


@check("CALL-55", "a request that passed this node, or four, is a loop")
async def loops(trial):
    operation, input, output = trial.profile.echo("round")
    async with await trial.known() as connection:
        identity = await connection.call("node/identify")
        for via in ([identity["node_id"]], ["a", "b", "c", "d"], ["a"] * 5):
            equal((via, (await connection.refused(operation, input, via=via)).code), (via, "NOT_FOUND"))
        equal(await connection.call(operation, input, via=["a"]), output)
