#!/usr/bin/env python3
"""Whether a node does what docs/spec/call.md says, tried with a client and a worker that were written from that document alone.

    call_conformance.py ALKNET
    call_conformance.py --connect HOST:PORT --api-key KEY [--node-key KEY] [--prefix WORKER/] [--worker-role ROLE]

The first form starts nodes of the binary in an empty home and tries one directly, a worker of this script behind it, and a node that is a
worker behind it. The second tries whatever listens there, with a key that may do everything: directly, or the worker that the prefix names.
Checks are named after their rules; what cannot be tried there is named on a SKIP line. Exits 1 when one fails.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time

import _call_bad_input  # noqa: F401 (their checks put themselves on the list)
import _call_builtin  # noqa: F401
import _call_calls  # noqa: F401
import _call_endings  # noqa: F401
import _call_heads  # noqa: F401
import _call_hostile  # noqa: F401
import _call_local
import _call_streams  # noqa: F401
from _call_offered import Offered
from _call_protocol import Connection
from _call_tls import parse_node_key
from _call_trial import CHECKS, SECONDS, NodeProfile, Skip, Trial, WorkerProfile, until
from _node import World

SLOW_SECONDS = 60
WHOLE_SECONDS = 600


class Tally:
    """A line for each check, and those that are waited for at the end."""

    def __init__(self, only):
        self.passed = self.failed = 0
        self.only, self.behind = only, []

    def wants(self, rule, what):
        return not self.only or any(word in f"{rule} {what}" for word in self.only)

    async def on(self, trial, rule, what, function, seconds=SECONDS):
        """A check on a trial, which cuts what it leaves open."""
        own = trial.for_one_check()
        await self.run(trial.label, rule, what, function(own), seconds)
        await own.close()

    async def run(self, label, rule, what, work, seconds=SECONDS):
        begin, verdict, detail = time.monotonic(), "PASS", ""
        try:
            await asyncio.wait_for(work, seconds)
        except Skip as reason:
            verdict, detail = "SKIP", f": {reason}"
        except Exception as error:
            verdict, detail = "FAIL", f": {type(error).__name__}: {str(error)[:1500]}"
        took = time.monotonic() - begin
        self.passed += verdict == "PASS"
        self.failed += verdict == "FAIL"
        print(f"{verdict} {rule} {label}: {what}{detail}{f' ({took:.1f} s)' if took > 1 else ''}", flush=True)

    def total(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


async def names_of(connection):
    names, cursor = [], None
    while True:
        page = await connection.call("services/list", {} if cursor is None else {"cursor": cursor})
        names += [operation["name"] for operation in page["operations"]]
        cursor = page.get("next")
        if cursor is None:
            return set(names)


def can(trial, need):
    """Whether the profile has what a check needs; raises `Skip` where it has not."""
    if need in ("endless", "hang", "wrong_input", "failing"):
        getattr(trial.profile, need)()
    if need in ("items", "sleep"):
        getattr(trial.profile, need)(1)


async def conform(tally, trial):
    """Every check that makes sense there, one after the other; slow ones beside them."""
    for rule, what, needs, direct_only, function in CHECKS:
        elsewhere = trial.prefix and (direct_only or "head" in needs) or "seen" in needs and trial.worker is None
        if elsewhere or not tally.wants(rule, what):
            continue
        try:
            for need in needs:
                can(trial, need)
        except Skip as reason:
            print(f"SKIP {rule} {trial.label}: {what}: {reason}", flush=True)
            continue
        if "slow" in needs:
            tally.behind.append(asyncio.create_task(tally.on(trial, rule, what, function, SLOW_SECONDS)))
        else:
            await tally.on(trial, rule, what, function)


async def remote(tally, options):
    host, _, port = options.connect.rpartition(":")
    address = host.strip("[]"), int(port), parse_node_key(options.node_key) if options.node_key else None
    async with await Connection.connect(*address, options.api_key) as connection:
        names = await names_of(connection)
    kind = WorkerProfile if options.prefix + "conformance/echo" in names else NodeProfile
    trial = Trial(options.connect, *address, options.api_key, kind(names, options.prefix), worker_role=options.worker_role)
    await conform(tally, trial)
    if not options.prefix:
        await tally.run(options.connect, "CALL-51", "the worker of this script joins", behind(tally, trial), WHOLE_SECONDS)
    await asyncio.gather(*tally.behind)


async def behind(tally, head):
    """The same checks, through the head, at the worker of this script."""
    async with head.another_key(head.worker_role) as (key, _, name):
        worker = await Offered().join(head.host, head.port, head.node_key, key)
        async with await head.connect() as connection:
            profile = WorkerProfile(await names_of(connection), f"{name}/")
        label = f"a worker behind {head.label}"
        await conform(tally, Trial(label, head.host, head.port, head.node_key, head.api_key, profile, worker=worker))
        await worker.leave()


async def local(tally, binary):
    with World(binary) as world:
        head = _call_local.Head(world)
        await asyncio.to_thread(head.prepare)
        tried = [head.trial(NodeProfile, "node")]
        worker = Offered()

        async def a_worker_joins():
            await worker.join(*head.address(), head.worker_key)
            tried.append(head.trial(WorkerProfile, "worker behind a head", f"{head.worker_name}/", worker))

        async def a_node_joins():
            await asyncio.to_thread(head.join_node)
            async with await tried[0].connect() as connection:
                async def is_listed():
                    return f"{head.joined_name}/events/publish" in await names_of(connection)
                await until(is_listed, 10, "the head lists what it offers")
            tried.append(head.trial(NodeProfile, "node behind a head", f"{head.joined_name}/"))
        await tally.run("head", "CALL-51", "the worker of this script joins", a_worker_joins())
        await tally.run("head", "CALL-51", "a second node joins as a worker", a_node_joins())
        async with await tried[0].connect() as connection:
            names = await names_of(connection)
        for trial in tried:
            trial.profile.names = names
            await conform(tally, trial)
        await asyncio.gather(*tally.behind)
        tally.behind.clear()
        for rule, what, work in _call_local.faults(head, tried[0].for_one_check(), worker):
            if tally.wants(rule, what):
                await tally.run("node", rule, what, work())
        if worker.connection:
            await worker.leave()


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?", default=os.environ.get("ALKNET_BIN"))
    parser.add_argument("--connect", metavar="HOST:PORT")
    parser.add_argument("--api-key", metavar="KEY")
    parser.add_argument("--node-key", metavar="KEY", help="64 hex digits or a node id; any key is taken without it")
    parser.add_argument("--prefix", default="", metavar="WORKER/")
    parser.add_argument("--worker-role", default="worker", metavar="ROLE", help="a role at the callee that may offer operations")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only checks with this in their rule or name")
    options = parser.parse_args()
    tally = Tally(options.only)
    if options.connect and options.api_key:
        await remote(tally, options)
    elif options.binary and not options.connect:
        await local(tally, options.binary)
    else:
        parser.error("it takes a binary, or --connect with --api-key")
    return tally.total()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
