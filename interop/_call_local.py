"""Part of the Python scripts beside it: the nodes of a conformance run that starts its own, and what their ends and restarts do."""

import asyncio
import json
import random
import signal
import socket

from _call_protocol import CallFailed, Connection
from _call_tls import parse_node_key
from _call_trial import Skip, Trial, equal, holds, until
from _node import Node, says, wait_until

ROLES = '[roles.worker]\nscopes = ["workers:offer"]\n'


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
        self.node.start(listen=self.listen)

    def address(self):
        return "127.0.0.1", self.node.port, self.node_key

    def trial(self, profile, label, prefix="", worker=None):
        return Trial(label, *self.address(), self.api_key, profile(set(), prefix), self.node, worker)

    def join_node(self):
        """Starts a second node that is a worker of this one."""
        raise NotImplementedError


def faults(head, tried):
    """What can only be tried by somebody who may end the node."""
    return []
