"""Part of the Python scripts beside it: conformance checks of subscriptions, through a prefix."""

import asyncio
import json

from _call_protocol import UNAVAILABLE, Connection
from _call_trial import check, equal, holds, until

MOST_CREDIT = 2**32 - 1
KEPT_BY_KERNELS = 12 * 1024 * 1024


@check("CALL-41", "no more items than credit: none, some, and 64 when nothing was said", "endless")
async def credit(trial):
    operation, input = trial.profile.endless()
    async with await trial.known() as connection:
        given = trial.worker.given if trial.worker else 0
        call = connection.subscribe(operation, input, credit=0)
        await settled(trial, connection)
        equal(call.items, [])
        call.credit(3)
        equal(await call.received(3), [1, 2, 3])
        equal(call.seqs, [1, 2, 3])
        await settled(trial, connection)
        call.credit(0)
        call.credit(2)
        equal(await call.received(5), [1, 2, 3, 4, 5])
        await settled(trial, connection)
        equal(len(call.items), 5)
        if trial.worker:
            holds(trial.worker.given - given <= 6, f"the handler was asked for {trial.worker.given - given} items")
        call.abort()
        equal((await call.failure()).code, "ABORTED")
        unsaid = connection.subscribe(operation, input)
        await unsaid.received(64)
        await settled(trial, connection)
        equal(len(unsaid.items), 64)


async def settled(trial, connection):
    """What was on the way has arrived: some calls went there and back."""
    for _ in range(5):
        await trial.works(connection)


@check("CALL-41", "what is there already comes as credit comes, in order")
async def credit_of_a_log(trial):
    async with await trial.known() as connection:
        operation, input, entry = await trial.profile.log(connection)
        live = connection.subscribe(operation, input)
        await settled(trial, connection)
        for value in range(12):
            await connection.call(*entry(value))
        every = await live.received(12)
        late = connection.subscribe(operation, input, afterSeq=live.seqs[0], credit=0)
        await settled(trial, connection)
        equal(late.items, [])
        late.credit(3)
        await late.received(3)
        await settled(trial, connection)
        equal(late.items, every[1:4])
        late.credit(100)
        equal((await late.received(11), late.seqs[:11]), (every[1:], live.seqs[1:12]))


@check("CALL-41", "credit of what is not open or no subscription means nothing; a sum beyond 2^32-1 reads as that", "endless")
async def odd_credit(trial):
    operation, input = trial.profile.endless()
    async with await trial.known() as connection:
        connection.send("call.credit", "never-asked", {"items": 7})
        call = connection.subscribe(operation, input, credit=10)
        await call.received(10)
        call.abort()
        await call.failure()
        connection.send("call.credit", call.id, {"items": 7})
        await trial.works(connection)
        call = connection.subscribe(operation, input, credit=MOST_CREDIT)
        call.credit(MOST_CREDIT)
        call.credit(2**53 - 1)
        equal((await call.received(1000))[-1], 1000)
        call.abort()
        equal((await call.failure()).code, "ABORTED")
        name, asked, output = trial.profile.echo("credit for a query")
        query = connection.ask(name, asked)
        connection.send("call.credit", query.id, {"items": 1})
        equal(await query.output(), output)


@check("CALL-42", "completion and a last error use no credit up", "items")
async def endings(trial):
    async with await trial.known() as connection:
        for count, credit in ((5, 64), (5, 5), (0, 0), (0, 64)):
            operation, input = trial.profile.items(count)
            for then, wanted in (("", "call.completed"), ("TEAPOT", "call.error")):
                call = connection.subscribe(operation, {**input, "then": then}, credit=credit)
                equal(await call.received(count), list(range(1, count + 1)))
                if credit == count:
                    # Without credit the handler is not asked, so that it has nothing more may not be known yet.
                    call.credit(1)
                kind, payload = await call.ended(5)
                equal((count, credit, kind, payload.get("code", ""), len(call.items)), (count, credit, wanted, then, count))


@check("CALL-43", "a subscriber without credit holds up nothing on its stream", "endless")
async def idle_subscriber(trial):
    operation, input = trial.profile.endless()
    async with await trial.known() as connection:
        idle = [connection.subscribe(operation, input, credit=1) for _ in range(20)]
        for call in idle:
            await call.received(1)
        for _ in range(100):
            await trial.works(connection)
        equal([len(call.items) for call in idle], [1] * 20)


@check("CALL-43", "a subscriber that reads nothing: others go on, memory stays flat, and nothing is lost", "endless")
async def stalled_subscriber(trial):
    operation, input = trial.profile.endless()
    async with await trial.known() as connection, await trial.known() as other:
        before = trial.node.resident_kib() if trial.node else 0
        call = connection.subscribe(operation, input, credit=200_000)
        await call.received(100)
        connection.stop_reading()
        for _ in range(200):
            await trial.works(other)
        grown = trial.node.resident_kib() - before if trial.node else 0
        connection.read_again()
        seen = len(call.items)
        equal((await call.received(seen + 20_000, 20))[-3:], [seen + 19_998, seen + 19_999, seen + 20_000])
        equal(call.items[:seen + 20_000], list(range(1, seen + 20_001)))
        call.abort()
        await call.failure()
        holds(grown < 48 * 1024, f"the node grew by {grown} KiB")


@check("CALL-43", "an abort, a deadline and a lost connection end subscriptions")
async def ended_subscriptions(trial):
    operation, input, _ = subscription(trial)
    async with await trial.known() as connection:
        call = connection.subscribe(operation, input, credit=0)
        await trial.works(connection)
        call.abort()
        equal((await call.failure()).code, "ABORTED")
        call = connection.subscribe(operation, input, credit=0, deadlineMs=150)
        equal((await call.failure(5)).code, "TIMEOUT")
        connection.subscribe(operation, input)
    if trial.worker:
        await until(lambda: not trial.worker.running, 5, "the subscriptions are called off")


@check("CALL-37", "a request that wants what the operation does not give is refused before anything runs")
async def wanted(trial):
    async with await trial.known() as connection:
        query, asked, output = trial.profile.echo("wanted")
        equal(await connection.call(query, asked, wants="output"), output)
        seen = len(trial.worker.seen) if trial.worker else 0
        equal((await connection.refused(query, asked, wants="items")).code, "INVALID_OPERATION_TYPE")
        operation, input, _ = subscription(trial)
        equal((await connection.refused(operation, input, wants="output")).code, "INVALID_OPERATION_TYPE")
        mutation, input, _ = await trial.profile.mutation(connection)
        equal((await connection.refused(mutation, input, wants="items")).code, "INVALID_OPERATION_TYPE")
        equal(len(trial.worker.seen) - seen if trial.worker else 0, 0)


def subscription(trial):
    """Any subscription."""
    operation, input, is_one = trial.profile.hang()
    return (operation, input, True) if is_one else (*trial.profile.endless(), True)


@check("CALL-44", "a resumable subscription goes on after the seq that it is given")
async def resume(trial):
    async with await trial.known() as connection:
        operation, input, entry = await trial.profile.log(connection)
        live = connection.subscribe(operation, input)
        await settled(trial, connection)
        for value in range(5):
            await connection.call(*entry(value))
        first = await live.received(5)
        live.abort()
        await live.failure()
        for value in range(5, 8):
            await connection.call(*entry(value))
    async with await trial.known() as connection:
        again = connection.subscribe(operation, input, afterSeq=live.seqs[1])
        items = await again.received(6)
        equal(items[:3], first[2:])
        equal(again.seqs[:3], live.seqs[2:])
        await connection.call(*entry(8))
        await again.received(7)


@check("CALL-44", "what is lost is told: TRIMMED, with the oldest there is")
async def trimmed(trial):
    async with await trial.known() as connection:
        operation, input, entry = await trial.profile.log(connection)
        live = connection.subscribe(operation, input)
        await settled(trial, connection)
        calls = [connection.ask(*entry(value)) for value in range(110)]
        for call in calls:
            await call.output()
        await live.received(1)
        failure = await connection.subscribe(operation, input, afterSeq=live.seqs[0]).failure()
        equal(failure.code, "TRIMMED")
        call = connection.subscribe(operation, input, afterSeq=failure.details["oldest"] - 1)
        await call.received(1)
        equal(call.seqs[0], failure.details["oldest"])


@check("CALL-44", "afterSeq for what cannot resume, and an idempotency key for a subscription (CALL-46)")
async def misplaced_members(trial):
    operation, input, _ = trial.profile.echo("x")
    async with await trial.known() as connection:
        equal((await connection.refused(operation, input, afterSeq=1)).code, "INVALID_INPUT")
        operation, input, _ = subscription(trial)
        failure = await connection.subscribe(operation, input, idempotencyKey="k").failure()
        equal((failure.code, failure.details["pointer"]), ("INVALID_INPUT", "/idempotencyKey"))


@check("CALL-19", "after 30 s in which nothing is taken the stream is abandoned", "slow", direct_only=True)
async def abandoned_after_silence(trial):
    async with await trial.connect() as other:
        page = await other.call("services/list", {"limit": 64})
        names = [operation["name"] for operation in page["operations"]]
        answer = len(json.dumps(await other.call("services/schema", {"names": names})))
    connection = Connection(await trial.stream(receive_buffer=16 * 1024), trial.api_key)
    await trial.works(connection)
    connection.stop_reading()
    # Answers are many times longer than these requests; together they are more than kernels keep.
    calls = [connection.ask("services/schema", {"names": names}) for _ in range(KEPT_BY_KERNELS // answer + 1)]
    await asyncio.sleep(40)
    connection.read_again()
    try:
        await asyncio.wait_for(connection.over.wait(), 15)
    except TimeoutError:
        unanswered = sum(call.ending is None for call in calls)
        raise AssertionError(f"the connection goes on, {unanswered} calls unanswered") from None
    finally:
        connection.stream.cut()
    holds(any(call.ending[1] is UNAVAILABLE for call in calls), "all was answered")
