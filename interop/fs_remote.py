#!/usr/bin/env python3
"""The files of another node, over QUIC and over TCP: what each role may, and what is left of transfers that were cut.

    fs_remote.py ALKNET

Two nodes know each other as peers; further peers with the roles reader, writer, maintainer and guest come through relays that let one
carrier through, count the bytes and hold them up in the middle of an upload: there the client dies, the node dies, or the rights end.
Prints a line for each check and a total; exits 1 when one fails.
"""

import filecmp
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from _node import Node, equal, run, says, wait_until
from _relay import DOWN, Relay

LARGE = 12_000_000
# Where an upload is cut.
HALF = LARGE // 2
# What a command may say to a node besides content, in bytes.
TALK = 400_000
# What a relay has let through has not all been stored when somebody dies: it lies in sockets and in what was not yet acknowledged.
UNDER_WAY = 4_500_000
ROLES = ("reader", "writer", "maintainer", "editor", "guest")
CONFIG = """
[roles.editor]
scopes = ["fs:read", "fs:write"]
resources = { "bucket:b" = ["fs:read"], "bucket:b/draft" = ["fs:read", "fs:write"] }
"""


class Peer:
    """A data folder of its own that knows the node `photos`, and its commands."""

    def __init__(self, world, name, data=None):
        self.world, self.name = world, name
        self.data = data or str(world.root / name)
        self.here = Path(world.folder(f"{name}-here"))
        if data is None:
            says(world.alknet("init", "--data", self.data), 0)
        self.node_id = json.loads(self.alknet("identity", "show", "--json").stdout)["node_id"]

    def alknet(self, *words, **options):
        return self.world.alknet("--data", self.data, *words, **options)

    def fs(self, *words, **options):
        return self.alknet("fs", *words, **options)

    def text(self, *words, **options):
        done = self.fs(*words, **options)
        says(done, 0)
        return done.stdout

    def refused(self, status, *words, text=""):
        return says(self.fs(*words), status, "error: ", text)

    def begin(self, *words):
        """A command that runs beside the script."""
        out = open(self.world.root / f"{self.name}.out", "w+")
        process = subprocess.Popen([str(self.world.binary), "--data", self.data, "fs", *words], env=self.world.environment,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True)
        self.world.own(process.pid)
        return Running(process, out)


class Running:
    def __init__(self, process, out):
        self.process, self.out = process, out

    def said(self):
        self.out.flush()
        return Path(self.out.name).read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ends(self, within=60):
        """Its status and what it said."""
        status = self.process.wait(within)
        return status, self.said()


def knows(peers, relay):
    """The peers pin the node behind a relay, as the first is told when it goes there."""
    refused = peers[0].fs("ls", f"127.0.0.1:{relay.port}//b")
    says(refused, 3, "peer add NAME --ticket")
    ticket = re.search(r"--ticket (\S+)", refused.stderr)[1]
    return all(says(peer.alknet("peer", "add", "photos", "--ticket", ticket), 0) for peer in peers)


def file_of(peer, name, size, seed):
    path = peer.here / name
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


# What each role may

def beyond(peer, *words):
    """Operations that a role can do nowhere do not exist for it; the command line says what that means."""
    return peer.refused(3, *words, text="--role writer")


def reader(peer, owner):
    beyond(peer, "put", f"{peer.here}/no", "photos//b/no")
    beyond(peer, "mkdir", "photos//b/no")
    beyond(peer, "rm", "photos//b/kept")
    beyond(peer, "branch", "create", "photos//b:mine")
    beyond(peer, "bucket", "create", "photos//mine")
    equal(owner.text("ls", "b").split(), ["kept"])
    equal((peer.text("ls", "photos//b").split(), peer.text("cat", "photos//b/kept")), (["kept"], "kept"))
    rows = [json.loads(row) for row in peer.text("--json", "log", "photos//b/kept").splitlines()]
    return equal([row["version"]["changes"] for row in rows], [["added"]])


def writer(peer, owner):
    peer.text("mkdir", "-p", "photos//b/w/x")
    peer.text("put", "-", "photos//b/w/f", stdin="mine")
    peer.text("mv", "photos//b/w/f", "photos//b/w/x/")
    peer.text("cp", "photos//b/w/x/f", "photos//b/w/g")
    beyond(peer, "branch", "create", "photos//b:mine")
    beyond(peer, "snapshot", "create", "photos//b", "mine")
    beyond(peer, "bucket", "create", "photos//mine")
    equal((owner.text("cat", "b/w/x/f"), peer.text("cat", "photos//b/w/g")), ("mine", "mine"))
    return equal(peer.text("rm", "-r", "photos//b/w"), "")


def maintainer(peer, owner):
    peer.text("branch", "create", "photos//b:trial")
    peer.text("put", "-", "photos//b:trial/f", stdin="tried")
    peer.text("snapshot", "create", "photos//b:trial", "s1")
    peer.text("merge", "photos//b:trial", "photos//b")
    peer.text("bucket", "create", "photos//other")
    equal((owner.text("cat", "b/f"), owner.text("cat", "b:trial@s1/f")), ("tried", "tried"))
    peer.text("rm", "photos//b/f")
    peer.text("snapshot", "remove", "photos//b:trial", "s1")
    peer.text("branch", "remove", "photos//b:trial")
    peer.text("bucket", "remove", "photos//other")
    return peer.refused(4, "ls", "photos//other")


def editor(peer, owner):
    """A role of one's own: one branch of one bucket to change, the bucket to read, nothing else."""
    peer.text("put", "-", "photos//b:draft/f", stdin="edited")
    peer.refused(3, "put", "-", "photos//b/f", text="--role")
    peer.refused(3, "mv", "photos//b/kept", "photos//b/gone")
    peer.refused(3, "ls", "photos//hidden")
    buckets = json.loads(peer.alknet("call", "@photos", "fs/bucket.list", "--json").stdout)["buckets"]
    equal([bucket["bucket"] for bucket in buckets], ["b"])
    equal(peer.text("cat", "photos//b/kept"), "kept")
    return equal(owner.text("cat", "b:draft/f"), "edited")


def guest(peer, _owner):
    for words in (("ls", "photos//b"), ("cat", "photos//b/kept"), ("put", f"{peer.here}/no", "photos//b/no")):
        done = peer.fs(*words)
        equal((done.returncode in (3, 4), "kept" in done.stdout), (True, False))
    return equal(peer.text("complete", "photos//"), "")


# Trees and being told

def make_tree(peer):
    root = peer.here / "tree"
    for number in range(40):
        folder = root / f"{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(random.Random(f"{number} of {peer.name}").randbytes(number * 700))
    file_of(peer, "tree/large", 1_500_000, f"tree of {peer.name}")
    (root / "link").symlink_to("large")
    return root


def trees(peer, relay):
    root = make_tree(peer)
    relay.counted()
    peer.text("put", "-r", str(root), "photos//b/tree")
    whole = relay.counted()
    again = peer.text("put", "-r", str(root), "photos//b/tree")
    equal(("; 0 B moved" in again, relay.counted() < whole / 10), (True, True))
    peer.text("get", "-r", "photos//b/tree", str(peer.here / "back"))
    difference = subprocess.run(["diff", "-r", "--no-dereference", str(root), str(peer.here / "back")], capture_output=True, text=True)
    equal(difference.stdout + difference.stderr, "")
    equal("; 0 B moved" in peer.text("get", "-r", "photos//b/tree", str(peer.here / "back")), True)
    return peer.text("rm", "-r", "photos//b/tree") == ""


def watches(peer, owner):
    watching = peer.begin("watch", "photos//b/w")
    try:
        def seen():
            owner.text("put", "-", "b/w", stdin=str(time.monotonic()))
            return "/w" in watching.said()
        wait_until(seen, 30, "a change is told")
    finally:
        watching.kill()
    return owner.text("rm", "b/w") == ""


# Transfers that are cut

def held_upload(peer, relay, name):
    """An upload of which half has gone to the node."""
    path = file_of(peer, name, LARGE, f"{name} of {peer.name}")
    relay.counted()
    relay.hold_after(HALF)
    running = peer.begin("put", str(path), "photos//b/cut")
    if not relay.held.wait(60):
        running.kill()
        raise AssertionError(f"the upload does not come on: {running.said()}")
    return path, running


def only_the_rest(peer, relay, owner, path):
    """The same command again moves the rest alone, and the file is whole."""
    relay.counted()
    peer.text("put", str(path), "photos//b/cut")
    moved = relay.counted()
    if not LARGE - HALF - TALK < moved < LARGE - HALF + UNDER_WAY:
        raise AssertionError(f"{moved} of {LARGE} bytes were moved again")
    there = owner.here / "cut"
    owner.text("get", "b/cut", str(there))
    equal(filecmp.cmp(path, there, shallow=False), True)
    there.unlink()
    return owner.text("rm", "b/cut") == ""


def client_killed(peer, relay, owner):
    path, running = held_upload(peer, relay, "client")
    running.kill()
    relay.cut()
    equal("cut" in owner.text("ls", "b").split(), False)
    return only_the_rest(peer, relay, owner, path)


def node_killed(peer, relay, owner, node):
    path, running = held_upload(peer, relay, "node")
    node.kill()
    relay.cut()
    node.start(listen=f"127.0.0.1:{node.port}")
    status, said = running.ends()
    equal((status in (1, 5), "error: " in said), (True, True))
    equal("cut" in owner.text("ls", "b").split(), False)
    return only_the_rest(peer, relay, owner, path)


def rights_ended(peer, relay, owner, node):
    path, running = held_upload(peer, relay, "rights")
    says(node.call("peer", "remove", peer.name), 0)
    status, said = running.ends()
    relay.cut()
    equal((status != 0, "error: " in said), (True, True))
    equal(peer.fs("ls", "photos//b").returncode in (3, 4), True)
    peer_cannot = peer.fs("put", str(path), "photos//b/cut")
    equal((peer_cannot.returncode in (3, 4), "cut" in owner.text("ls", "b").split()), (True, False))
    says(node.call("peer", "add", peer.name, "--key", peer.node_id, "--role", "writer"), 0)
    return only_the_rest(peer, relay, owner, path)


def download_killed(peer, relay, owner):
    """What came of a download is not fetched again."""
    path = file_of(owner, "down", LARGE, "down")
    owner.text("put", str(path), "b/down")
    folder = Path(peer.world.folder(f"{peer.name}-down"))
    relay.hold_after(HALF, DOWN)
    running = peer.begin("get", "photos//b/down", f"{folder}/")
    equal(relay.held.wait(60), True)
    wait_until(lambda: sizes(folder) > HALF - UNDER_WAY, 30, "a part has come")
    running.kill()
    relay.cut()
    equal((folder / "down").exists(), False)
    had = sizes(folder)
    relay.counted(DOWN)
    peer.text("get", "photos//b/down", f"{folder}/")
    moved = relay.counted(DOWN)
    equal((filecmp.cmp(path, folder / "down", shallow=False), os.listdir(folder)), (True, ["down"]))
    if moved > LARGE - had + TALK:
        raise AssertionError(f"{moved} of {LARGE} bytes were moved, {had} were there")
    return owner.text("rm", "b/down") == ""


def sizes(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def two_writers(one, two, owner):
    """Both end well, and the file is one of the two."""
    paths = [file_of(peer, "both", 3_000_000, peer.name) for peer in (one, two)]
    running = [peer.begin("put", str(path), "photos//b/both") for peer, path in zip((one, two), paths)]
    equal([each.ends()[0] for each in running], [0, 0])
    there = owner.here / "both"
    owner.text("get", "b/both", str(there))
    equal(sum(filecmp.cmp(path, there, shallow=False) for path in paths), 1)
    return owner.text("rm", "b/both") == ""


def trial(report, world):
    node = Node(world, "photos")
    (Path(world.folder("photos")) / "alknet.toml").write_text(CONFIG)
    node.start("--key-file")
    owner = Peer(world, "owner", node.data)
    for words in (("bucket", "create", "b"), ("branch", "create", "b:draft"), ("bucket", "create", "hidden")):
        owner.text(*words)
    owner.text("put", "-", "b/kept", stdin="kept")
    both(report, world, node, owner)
    for carrier in ("quic", "tls"):
        one_carrier(report, world, node, owner, carrier)


def both(report, world, node, owner):
    """Two nodes, each with files of its own that the other reads."""
    other = Node(world, "hers").start("--key-file")
    hers = Peer(world, "hers", other.data)
    hers.text("bucket", "create", "c")
    hers.text("put", "-", "c/f", stdin="hers")
    says(node.call("peer", "add", "hers", "--ticket", other.status["ticket"], "--role", "reader"), 0)
    says(other.call("peer", "add", "photos", "--ticket", node.status["ticket"], "--role", "writer"), 0)
    report.check("two nodes read each other's files", lambda: equal(
        (hers.text("cat", "photos//b/kept"), owner.text("cat", "hers//c/f")), ("kept", "hers")))
    report.check("each as far as its role goes", lambda: (
        owner.text("put", "-", "hers//c/g", stdin="his"), beyond(hers, "put", "-", "photos//b/g"),
        equal(hers.text("cat", "c/g"), "his"))[-1])
    report.check("from the one to the other", lambda: (
        owner.text("get", "hers//c/g", str(owner.here / "g")), equal((owner.here / "g").read_text(), "his"))[-1])
    # A shell does not wait for ever: on a busy machine an answer may come too late.
    report.check("addresses there are completed", lambda: wait_until(
        lambda: hers.text("complete", "photos//b/k").split() == ["photos//b/kept"], 30, "an entry is completed"))
    report.check("a node that is silent holds no shell up", lambda: silent(hers))
    equal(other.stop(), 0)


def silent(peer):
    """Where nobody answers, an address is not completed, and soon."""
    with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        port = stream.getsockname()[1]
        datagrams.bind(("127.0.0.1", port))
        begin = time.monotonic()
        done = peer.fs("complete", f"127.0.0.1:{port}//b/k")
        took = time.monotonic() - begin
        equal((done.returncode, done.stdout, done.stderr), (0, "", ""))
        if not 0.5 <= took < 3:
            raise AssertionError(f"it took {took:.1f} s")
        return True


def one_carrier(report, world, node, owner, carrier):
    def check(name, function):
        report.check(f"{carrier}: {name}", function)
    relay = Relay(carrier, node.port)
    peers = {}
    for role in ROLES:
        name = f"{role}-{carrier}"
        peers[role] = Peer(world, name)
        (peers[role].here / "no").write_text("no")
        says(node.call("peer", "add", name, "--key", peers[role].node_id, "--role", role), 0)
    check("a node that nobody vouched for is not talked to", lambda: knows(list(peers.values()), relay))
    for role, trial in (("reader", reader), ("writer", writer), ("maintainer", maintainer), ("editor", editor), ("guest", guest)):
        check(f"what a peer may that is {role}", lambda role=role, trial=trial: trial(peers[role], owner))
    one, two = peers["writer"], peers["maintainer"]
    check("a tree there and back, and again without content", lambda: trees(one, relay))
    check("a reader is told of changes", lambda: watches(peers["reader"], owner))
    check("two writers at one path", lambda: two_writers(one, two, owner))
    check("a client that is killed goes on with the rest", lambda: client_killed(one, relay, owner))
    check("a node that is killed goes on with the rest", lambda: node_killed(one, relay, owner, node))
    check("rights that end in the middle of an upload", lambda: rights_ended(one, relay, owner, node))
    check("a download that is killed goes on with the rest", lambda: download_killed(peers["reader"], relay, owner))
    check("nothing is left over", lambda: equal(os.listdir(Path(node.data) / "spool"), []))


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
