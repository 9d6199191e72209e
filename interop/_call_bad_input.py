"""Part of the Python scripts beside it: conformance checks with bytes and frames that are errors, and with odd ones that are not."""

import asyncio
import json
from pathlib import Path

from _call_protocol import FRAME, FRAME_OF_STRANGERS, NESTING, encoded, framed
from _call_trial import Skip, check, equal, holds, shown

VECTORS = Path(__file__).parent.parent / "crates/alknet-call/tests/vectors/bad"


def request(**payload):
    return {"type": "call.requested", "id": "a", "payload": {"operationId": "/services/list", **payload}}


def raw(value):
    return framed(value if isinstance(value, bytes) else json.dumps(value).encode())


def nested(depth):
    """A request whose input brings the whole to this depth."""
    inner = depth - 2
    return b'{"type":"call.requested","id":"a","payload":{"operationId":"/services/list","input":' + b"[" * inner + b"]" * inner + b"}}"


async def each_refused(trial, cases, **options):
    """Each of these ends a connection of its own; some at once, for the sake of time."""
    at_once = asyncio.Semaphore(6)

    async def one(name, data):
        try:
            async with at_once:
                await trial.refuses(data, **options)
        except Exception as error:
            return f"{shown(name, data)}: {error}"
    names = [(name, data if isinstance(data, bytes) else raw(data)) for name, data in cases.items()]
    failures = [failure for failure in await asyncio.gather(*(one(*case) for case in names)) if failure]
    holds(not failures, "; ".join(failures))


# Frames

@check("CALL-01", "frames in pieces of one byte, and many in one piece", direct_only=True)
async def pieces(trial):
    async with await trial.connect() as connection:
        call, payload = connection.request("services/list", {"limit": 1})
        for byte in framed(encoded("call.requested", call.id, payload)):
            connection.raw(bytes([byte]))
            await connection.stream.drain()
            await asyncio.sleep(0)
        await call.output()
        calls = [connection.request("services/list", {"limit": 1}) for _ in range(50)]
        connection.raw(b"".join(framed(encoded("call.requested", call.id, payload)) for call, payload in calls))
        for call, _ in calls:
            await call.output()


@check("CALL-02", "a length of zero, or beyond 64 KiB before anybody is known, is refused by the length alone", direct_only=True)
async def lengths_of_strangers(trial):
    beyond = (FRAME_OF_STRANGERS + 1).to_bytes(4, "big")
    await each_refused(trial, {"zero": bytes(4), "64 KiB and 1": beyond, "all ones": b"\xff" * 4, "4 MiB": FRAME.to_bytes(4, "big")})
    async with await trial.connect(token=None) as connection:
        call, payload = connection.request("services/list", {"limit": 1})
        content = encoded("call.requested", call.id, payload)
        connection.raw(framed(content + b" " * (FRAME_OF_STRANGERS - len(content))))
        await call.ended()


@check("CALL-02", "a presented token that does not hold does not raise the bound", direct_only=True)
async def a_bad_token_stays_a_stranger(trial):
    connection = await trial.connect(token="alk_aaaaaaaa_" + "A" * 43)
    equal((await connection.refused("services/list")).code, "UNAUTHENTICATED")
    frames = connection.frames_read
    connection.raw((FRAME_OF_STRANGERS + 1).to_bytes(4, "big"))
    await trial.abandoned(connection, frames)


@check("CALL-02", "4 MiB is the bound for who is known", direct_only=True)
async def lengths_of_the_known(trial):
    async with await trial.known() as connection:
        call, payload = connection.request("services/list", {"limit": 1})
        content = encoded("call.requested", call.id, payload)
        connection.raw(framed(content + b" " * (FRAME - len(content))))
        await call.output()
    await each_refused(trial, {"4 MiB and 1": (FRAME + 1).to_bytes(4, "big"), "zero": bytes(4)}, known=True)


@check("CALL-03", "a stream that ends within a frame is an error", direct_only=True)
async def ends_within_a_frame(trial):
    whole = raw(request())
    await each_refused(trial, {"in the length": whole[:3], "after the length": whole[:4], "in the content": whole[:-1]}, end=True)


@check("CALL-03", "what was announced and never comes takes no memory", direct_only=True)
async def announced_only(trial):
    if trial.node is None:
        raise Skip("the memory of a remote node is not seen")
    connections = [await trial.known() for _ in range(40)]
    before = trial.node.resident_kib()
    for connection in connections:
        connection.raw(FRAME.to_bytes(4, "big") + b"{")
    async with await trial.known() as connection:
        await trial.works(connection)
    grown = trial.node.resident_kib() - before
    for connection in connections:
        connection.stream.cut()
    holds(grown < 40 * 1024, f"160 MiB were announced, and the node grew by {grown} KiB")


@check("CALL-04", "what is not UTF-8 or not one JSON text", direct_only=True)
async def not_json(trial):
    good = json.dumps(request()).encode()
    await each_refused(trial, {
        "not UTF-8": raw(good.replace(b'"a"', b'"\xff"')), "overlong UTF-8": raw(b'{"type":"call.aborted","id":"a","\xc0\xaf":1}'),
        "a surrogate in UTF-8": raw(b'{"type":"call.aborted","id":"a","x":"\xed\xa0\x80"}'), "a mark of order": raw(b"\xef\xbb\xbf" + good),
        "two texts": raw(good + good), "text after it": raw(good + b"x"), "blanks": raw(b"   "), "cut": raw(good[:-1]),
        "NaN": raw(b'{"type":"call.aborted","id":"a","x":NaN}'), "a leading zero": raw(b'{"type":"call.aborted","id":"a","x":01}'),
        "a comma too many": raw(good[:-1] + b",}"), "a raw control character": raw(b'{"type":"call.aborted","id":"a","x":"\n"}'),
        "single quotes": raw(b"{'type':'call.aborted','id':'a'}")})


@check("CALL-04", "nesting of 64 is read, of 65 is refused, and so is a million", direct_only=True)
async def too_deep(trial):
    async with await trial.known() as connection:
        call, _ = connection.request("services/list", id="a")
        connection.raw(framed(nested(NESTING)))
        await call.ended()
        await trial.works(connection)
    objects = b'{"type":"call.aborted","id":"a","x":' + b'{"x":' * NESTING + b"1" + b"}" * NESTING + b"}"
    await each_refused(trial, {"arrays": framed(nested(NESTING + 1)), "objects": framed(objects)})
    await trial.refuses(framed(b"[" * 1_000_000), known=True)


@check("CALL-04", "two members of one name, at any depth, also when escapes make them so", direct_only=True)
async def duplicate_members(trial):
    start = b'{"type":"call.requested","id":"a","payload":{"operationId":"/services/list","input":'
    await each_refused(trial, {
        "envelope": raw(b'{"type":"call.aborted","id":"a","id":"a"}'), "escaped": raw(b'{"type":"call.aborted","id":"a","\\u0069d":"b"}'),
        "in the input": raw(start + b'{"a":1,"a":1}}}'), "deep in the input": raw(start + b'[{"b":{"":0,"":0}}]}}'),
        "in what is ignored": raw(b'{"type":"call.aborted","id":"a","x":{"y":1,"y":2}}')})


# Envelopes

@check("CALL-05", "ids of 1 to 64 visible ASCII characters", direct_only=True)
async def ids(trial):
    bad = ["", "x" * 65, "a b", "a\t", "é", "\x7f", " "]
    await each_refused(trial, {repr(id): {**request(), "id": id} for id in bad})
    async with await trial.connect() as connection:
        for id in ("!", "~" * 64, '"\\/'):
            await connection.call("services/list", {"limit": 1}, id=id)


@check("CALL-06", "frames that are no envelope", direct_only=True)
async def no_envelope(trial):
    good = request()
    await each_refused(trial, {
        "an array": [good], "the members as an array": ["call.aborted", "a", {}], "null": None, "a number": 1, "a text": "call.aborted",
        "no type": {"id": "a"}, "a numeric type": {**good, "type": 1}, "no id": {"type": "call.aborted"}, "a numeric id": {**good, "id": 1},
        "an unknown type": {**good, "type": "call.wished"}, "a type in another case": {**good, "type": "CALL.REQUESTED"},
        "a payload that is an array": {**good, "payload": ["/services/list"]}, "a payload that is a text": {**good, "payload": "x"},
        "no payload": {"type": "call.requested", "id": "a"}})


@check("CALL-06", "named members of another JSON type, and missing ones", direct_only=True)
async def wrong_types(trial):
    wrong = [("operationId", 1), ("operationId", None), ("authToken", 1), ("deadlineMs", -1), ("deadlineMs", 1.5), ("deadlineMs", "1"),
             ("deadlineMs", None), ("authToken", None), ("via", None),
             ("wants", 1), ("wants", "both"), ("idempotencyKey", 1), ("credit", -1), ("credit", "64"),
             ("credit", 0.5), ("afterSeq", -1), ("afterSeq", "7"), ("parentId", 1),
             ("traceparent", {}), ("via", "a"), ("via", [1]), ("origin", ["me"])]
    cases = {f"{name} {value!r}": request(**{name: value}) for name, value in wrong}
    cases["no operationId"] = {"type": "call.requested", "id": "a", "payload": {"input": {}}}
    cases["credit without a number"] = {"type": "call.credit", "id": "a", "payload": {"items": "1"}}
    cases["negative credit"] = {"type": "call.credit", "id": "a", "payload": {"items": -1}}
    cases["requests that are an object"] = {"type": "call.batch", "id": "a", "payload": {"requests": {}}}
    cases["a hello with a text for a version"] = {"type": "call.hello", "id": "a", "payload": {"version": "1"}}
    await each_refused(trial, cases)


@check("CALL-07", "a hello is answered with a hello of its id; nobody needs to wait for it", direct_only=True)
async def hello(trial):
    async with await trial.connect() as connection:
        connection.say_hello("good-day")
        await connection.call("services/list", {"limit": 1})
        id, payload = connection.hello
        equal((id, payload["version"]), ("good-day", 1))
        equal(set(payload["features"]) >= {"batch", "credit", "both-directions", "idempotency", "resume"}, True)
        equal(set(payload["limits"]) >= {"maxFrameBytes", "maxCallsInFlight", "maxBatch"}, True)
    async with await trial.connect() as connection:
        connection.hello_sent = "odd"
        connection.send("call.hello", "odd", {"version": 1, "features": ["telepathy"], "limits": {"maxThoughts": 1}, "mood": "good"})
        await connection.call("services/list", {"limit": 1})


@check("CALL-07", "a hello that is not the first frame is an error", direct_only=True)
async def late_hello(trial):
    connection = await trial.known()
    frames = connection.frames_read
    connection.hello_sent = "late"
    connection.send("call.hello", "late", {"version": 1})
    await trial.abandoned(connection, frames)
    connection = await trial.connect()
    connection.say_hello("one")
    await connection.call("services/list", {"limit": 1})
    frames = connection.frames_read
    connection.say_hello("two")
    await trial.abandoned(connection, frames)


@check("CALL-09", "members that nobody named are ignored; an absent input reads as {}", direct_only=True)
async def unknown_members(trial):
    async with await trial.connect() as connection:
        call, payload = connection.request("services/list", mood="good", traceparent="", parentId="no id, this", input=None)
        payload["inputs"] = [1]
        connection.raw(raw({"type": "call.requested", "id": call.id, "payload": payload, "sent": 1.5, "payloads": []}))
        equal(set(await call.output()) - {"next"}, {"revision", "operations"})
        await connection.call("services/list", {"limit": 1}, parentId="p" * 65, traceparent="t" * 65)


@check("CALL-13", "a second use of an open id is an error; after its terminal frame it is free", direct_only=True)
async def duplicate_id(trial):
    async with await trial.known() as connection:
        for _ in range(3):
            await connection.call("services/list", {"limit": 1}, id="again")
    connection = await trial.known()
    trial.hang(connection, id="twice")
    await trial.works(connection)
    frames = connection.frames_read
    connection.send("call.requested", "twice", {"operationId": "/services/list", "authToken": trial.api_key})
    await trial.abandoned(connection, frames)


@check("CALL-37", "answers to what was never asked are errors", direct_only=True)
async def answers_to_nobody(trial):
    await each_refused(trial, {
        "responded": {"type": "call.responded", "id": "a", "payload": {"output": 1}}, "completed": {"type": "call.completed", "id": "a"},
        "error": {"type": "call.error", "id": "a", "payload": {"code": "INTERNAL"}},
        "error without a code": {"type": "call.error", "id": "a", "payload": {}}})


@check("CALL-40", "batches that are errors", direct_only=True)
async def bad_batches(trial):
    one = {"id": "1", "operationId": "/services/list", "authToken": trial.api_key}

    def batch(*requests):
        return {"type": "call.batch", "id": "b", "payload": {"requests": list(requests)}}
    await each_refused(trial, {
        "empty": batch(), "65": batch(*({**one, "id": str(number)} for number in range(65))), "no requests": {**batch(), "payload": {}},
        "an id twice": batch(one, one), "a bad id": batch(one, {**one, "id": "a b"}), "no id": batch({"operationId": "/services/list"}),
        "no operation": batch({"id": "2"}), "an array for a request": batch(["1", "/services/list"]), "a text": batch("1")})
    connection = await trial.known()
    trial.hang(connection, id="open")
    await trial.works(connection)
    frames = connection.frames_read
    connection.raw(raw(batch({**one, "id": "open"})))
    await trial.abandoned(connection, frames)


@check("CALL-08", "the bad frames of this repository, each named after its defect", direct_only=True)
async def vectors(trial):
    files = sorted(VECTORS.glob("*.hex"))
    if not files:
        raise Skip("the vectors are not here")
    await each_refused(trial, {file.stem: bytes.fromhex(file.read_text()) for file in files}, end=True)
