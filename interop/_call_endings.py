"""Part of the Python scripts beside it: conformance checks of how calls end, through a prefix."""

import asyncio
import random

from _call_protocol import CallFailed
from _call_trial import Skip, check, equal, holds, until

RACES = 1000
SEED = 20261122


@check("CALL-14", "each request gets one terminal frame, whatever order they end in")
async def one_terminal_frame(trial):
    async with await trial.known() as connection:
        hanging = [trial.hang(connection) for _ in range(5)]
        calls = []
        for number in range(100):
            operation, input, output = trial.profile.echo(f"n{number}")
            calls.append((connection.ask(operation, input), output))
        for call, output in calls:
            equal(await call.output(), output)
        operation, input, code = trial.profile.failing()
        equal((await connection.refused(operation, input)).code, code)
        holds(not any(call.ending for call in hanging), "a call that waits has ended")
        for call in hanging:
            call.abort()
        equal({(await call.failure()).code for call in hanging}, {"ABORTED"})


@check("CALL-15", "an abort ends what runs; of what is not open it means nothing")
async def abort(trial):
    async with await trial.known() as connection:
        connection.send("call.aborted", "never-asked")
        call = trial.hang(connection)
        await trial.works(connection)
        call.abort()
        failure = await call.failure()
        equal(failure.code, "ABORTED")
        call.abort()
        call.abort()
        await trial.works(connection)


@check("CALL-15", "an abort reaches who does the work", "sleep")
async def abort_reaches_the_worker(trial):
    if trial.worker is None:
        raise Skip("whether the work ends is not seen here")
    async with await trial.known() as connection:
        before = len(trial.worker.aborted)
        call = trial.hang(connection)
        await until(lambda: trial.worker.working(), 5, "the work begins")
        call.abort()
        equal((await call.failure()).code, "ABORTED")
        await until(lambda: not trial.worker.working(), 2, "the worker is told")
        equal(len(trial.worker.aborted) - before, 1)


@check("CALL-14", f"an abort that races the answer, {RACES} times: one terminal frame each")
async def abort_races(trial):
    chance, endings = random.Random(SEED), {}
    async with await trial.known() as connection:
        for _ in range(RACES // 50):
            calls = []
            for number in range(50):
                operation, input, output = trial.profile.echo(f"r{number}")
                calls.append((connection.ask(operation, input), output))
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.random() / 500)
                calls[chance.randrange(len(calls))][0].abort()
            for call, _ in calls:
                call.abort()
            for call, output in calls:
                try:
                    equal(await call.output(), output)
                    endings["output"] = endings.get("output", 0) + 1
                except CallFailed as error:
                    endings[error.code] = endings.get(error.code, 0) + 1
        holds(set(endings) <= {"output", "ABORTED"} and endings.get("output"), f"they ended so: {endings}")
        await trial.works(connection)


@check("CALL-14", f"an abort that comes as the work ends, {RACES} times", "sleep")
async def abort_races_a_timer(trial):
    chance, endings = random.Random(SEED), set()
    operation, input = trial.profile.sleep(2)
    async with await trial.known() as connection:
        async def one(delay):
            call = connection.ask(operation, input)
            await asyncio.sleep(delay)
            call.abort()
            kind, payload = await call.ended()
            endings.add(payload.get("code", kind))
        for _ in range(RACES // 50):
            await asyncio.gather(*(one(chance.random() * 0.016) for _ in range(50)))
        holds(endings <= {"call.responded", "ABORTED"}, f"they ended so: {endings}")
        await trial.works(connection)


@check("CALL-16", "a clean end calls off what runs; the other side ends cleanly too")
async def clean_end(trial):
    async with await trial.known() as connection:
        for _ in range(3):
            trial.hang(connection)
        await trial.works(connection)
        if trial.worker:
            await until(lambda: trial.worker.working() == 3, 5, "the work begins")
        connection.stream.end()
        await asyncio.wait_for(connection.over.wait(), 10)
        holds(connection.clean_end, "the other side did not end cleanly")
    await nobody_works(trial)


@check("CALL-16", "a caller that vanishes wants nothing any more")
async def vanishing(trial):
    async with await trial.known() as connection:
        for _ in range(3):
            trial.hang(connection)
        await trial.works(connection)
        connection.stream.cut()
    await nobody_works(trial)


@check("CALL-08", "an error of the caller calls off what ran for it; other connections go on")
async def error_calls_off(trial):
    async with await trial.known() as other:
        connection = await trial.known()
        trial.hang(connection)
        await trial.works(connection)
        frames = connection.frames_read
        connection.raw(bytes(4))
        await trial.abandoned(connection, frames)
        await trial.works(other)
    await nobody_works(trial)


async def nobody_works(trial):
    if trial.worker:
        await until(lambda: trial.worker.working() == 0, 5, "the work is called off")


@check("CALL-17", "a deadline ends the work with TIMEOUT, and none left does so at once")
async def deadline(trial):
    clock = asyncio.get_running_loop().time
    async with await trial.known() as connection:
        begin = clock()
        failure = await trial.hang(connection, deadlineMs=200).failure(5)
        took = clock() - begin
        equal(failure.code, "TIMEOUT")
        holds(0.15 < took < 2, f"it took {took:.2f} s")
        equal((await trial.hang(connection, deadlineMs=0).failure(5)).code, "TIMEOUT")
        operation, input, output = trial.profile.echo("soon")
        equal(await connection.call(operation, input, deadlineMs=2**53), output)
    await nobody_works(trial)
