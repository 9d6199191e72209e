"""Part of the Python scripts beside it: the nodes of a conformance run that starts its own, and what their ends and restarts do."""

import asyncio
import random
import signal
import socket

from _call_tls import parse_node_key
from _call_trial import Skip, Trial, equal, holds, until
from _node import Node, says

ROLES = """
[roles.limited]
scopes = ["remote:*"]
resources = { "thing:one" = ["use"] }
"""


def free_port():
    """A port that nothing listens on, for a node that must come back where it was."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Head:
    """A node that workers join: it keeps its port over restarts."""

    worker_name, joined_name = "python", "joined"

    def __init__(self, world):
        self.world = world
        self.listen = f"127.0.0.1:{free_port()}"
        self.node, self.joined = Node(world, "head"), None

    def prepare(self):
        says(self.world.alknet("init", "--data", self.node.data), 0)
        with open(f"{self.node.data}/alknet.toml", "w") as file:
            file.write(ROLES)
        self.start()
        self.node_key = parse_node_key(self.node.node_id)
        self.api_key = self.node.json("key", "create", "conformance", "--role", "owner")["key"]
        self.worker_key = self.node.json("key", "create", self.worker_name, "--role", "worker")["key"]

    def start(self):
        # Hundreds of bad frames from one address are what the abuse gate is for, and not what is tried here.
        self.node.start(listen=self.listen, environment={"ALKNET_GATE_EXEMPT": "127.0.0.0/8"})

    def address(self):
        return "127.0.0.1", self.node.port, self.node_key

    def trial(self, profile, label, prefix="", worker=None):
        return Trial(label, *self.address(), self.api_key, profile(set(), prefix), self.node, worker)

    def join_node(self):
        """Starts a second node that is a worker of this one, and gives this one every right there."""
        joined = Node(self.world, self.joined_name)
        says(self.world.alknet("init", "--data", joined.data), 0)
        joined.start()
        says(self.node.call("peer", "add", self.joined_name, "--key", joined.node_id, "--role", "worker"), 0)
        says(joined.call("peer", "add", "head", "--ticket", self.node.status["ticket"], "--role", "owner"), 0)
        says(joined.call("worker", "join", "@head"), 0)
        self.joined = joined


def faults(head, node, worker):
    """What can only be tried by somebody who may end the node: rule, name, and the work. The last leaves the node stopped."""
    def with_node(function):
        return lambda: function(head, node)
    yield "CALL-26", "an outcome is repeated after a kill -9", with_node(outcome_after_a_kill)
    yield "CALL-44", "a subscription goes on where it was after a kill -9", with_node(resumed_after_a_kill)
    # How a node comes back by itself is tried in workers.sh: QUIC takes half a minute to notice a head that was killed.
    yield "CALL-57", "a worker offers again to a head that was killed", lambda: worker_after_a_kill(head, node, worker)
    yield ("CALL-27", "a node that stops: new requests are UNAVAILABLE, what runs is finished, streams end cleanly",
           lambda: stopping(head, node, worker))


async def killed(head):
    """The node dies without a word and comes back."""
    await asyncio.to_thread(head.node.kill)
    await asyncio.to_thread(head.start)


async def outcome_after_a_kill(head, node):
    key = f"key-{random.getrandbits(64)}"
    connection = await node.known()
    operation, input, other = await node.profile.mutation(connection)
    first = await connection.call(operation, input, idempotencyKey=key)
    await killed(head)
    await asyncio.wait_for(connection.over.wait(), 10)
    connection = await node.known()
    equal(await connection.call(operation, input, idempotencyKey=key), first)
    equal((await connection.refused(operation, other, idempotencyKey=key)).code, "INVALID_INPUT")
    holds(await connection.call(operation, input, idempotencyKey=key + "2") != first, "another key gave the same outcome")


async def resumed_after_a_kill(head, node):
    connection = await node.known()
    operation, input, entry = await node.profile.log(connection)
    live = connection.subscribe(operation, input)
    await node.works(connection)
    for value in range(20):
        await connection.call(*entry(value))
    first = await live.received(20)
    await killed(head)
    equal((await live.failure()).code, "UNAVAILABLE")
    connection = await node.known()
    again = connection.subscribe(operation, input, afterSeq=live.seqs[9])
    equal((await again.received(10), again.seqs[:10]), (first[10:], live.seqs[10:20]))


async def worker_after_a_kill(head, node, worker):
    if worker.connection is None:
        raise Skip("there is no worker")
    await killed(head)
    await asyncio.wait_for(worker.connection.over.wait(), 10)
    await worker.join(*head.address(), head.worker_key)
    async with await node.connect() as caller:
        equal(await caller.call(f"{head.worker_name}/conformance/echo", {"text": "back"}), {"text": "back"})


async def stopping(head, node, worker):
    if worker.connection is None:
        raise Skip("nothing here takes a known time")
    connection = await node.known()
    waiting = connection.subscribe("events/subscribe", {"topic": "node.peers"})
    call = connection.ask(f"{head.worker_name}/conformance/sleep", {"milliseconds": 1500})
    await until(worker.working, 5, "the work begins")
    head.node.process.send_signal(signal.SIGTERM)

    async def refuses():
        kind, payload = await connection.ask("services/list", {"limit": 1}).ended()
        return (payload.get("code"), payload.get("retryable")) == ("UNAVAILABLE", True)
    await until(refuses, 1.3, "a new request is refused on a stream that is there")
    equal(connection.over.is_set(), False)
    failure = await waiting.failure()
    equal((failure.code, failure.retryable), ("UNAVAILABLE", True))
    equal(await call.output(), {})
    await asyncio.wait_for(connection.over.wait(), 10)
    holds(connection.clean_end, "the stream did not end cleanly")
    equal(await asyncio.to_thread(head.node.process.wait, 15), 0)
