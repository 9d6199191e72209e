#!/usr/bin/env python3
"""What goes wrong under the files of a node: disks that fail or are full at each step of a write, kills, damage, clocks, quotas.

    fs_faults.py ALKNET

strace makes the calls of a running node fail; as root a full disk is tried too, in a namespace of its own that ends with the node.
What cannot be tried here is named on a SKIP line. Prints a line for each check and a total; exits 1 when one fails.
"""

import base64
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

from _call import local
from _node import Node, equal, mounts_work, run, says, wait_until

ROUNDS_OF_KILLS = 4
WRITERS = 3
BRANCH = "b/main"
# More than is kept in the database: such content is a file of its own.
OLD = bytes(range(256)) * 400
NEW = bytes(reversed(range(256))) * 500


class Files:
    """The files of a node, through its control socket, and what lies in its data folder."""

    def __init__(self, node, folder=None):
        self.node, self.folder = node, Path(folder or node.data)
        self.calls = local(f"{node.data}/alknet.sock")

    def write(self, *files):
        """One commit of these paths and contents."""
        entries = [{"path": path, "entry": {"content": base64.b64encode(content).decode()}} for path, content in files]
        return self.calls.output("fs/write.many", {"bucket": BRANCH, "entries": entries, "parents": True})["seq"]

    def refused(self, *files):
        """The error that writing these ends with."""
        try:
            seq = self.write(*files)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"it was acknowledged as commit {seq}")

    def read(self, path):
        return base64.b64decode(self.calls.output("fs/read.inline", {"bucket": BRANCH, "path": path})["content"])

    def read_error(self, path):
        kind, payload = self.calls.call("fs/read.inline", {"bucket": BRANCH, "path": path})
        equal(kind, "call.error")
        return payload

    def names(self):
        names, after = [], None
        while True:
            page = self.calls.output("fs/list", {"bucket": BRANCH, "path": "/", **({"after": after} if after else {})})
            names += [entry["name"] for entry in page["entries"]]
            after = page.get("next")
            if after is None:
                return names

    def hash(self, path):
        return self.calls.output("fs/stat", {"bucket": BRANCH, "path": path})["attributes"]["hash"]

    def fsck(self, **how):
        """The findings, by kind, and what each says."""
        self.calls.number += 1
        number = str(self.calls.number)
        self.calls.send({"type": "call.requested", "id": number, "payload": {"operationId": "/fs/fsck", "input": how}})
        findings = []
        while (answer := self.calls.receive()) is not None and answer["type"] == "call.responded":
            if answer["id"] == number and "finding" in (item := answer["payload"]["output"]):
                findings.append((item["finding"]["kind"], item["finding"]["what"]))
        return findings

    def blob(self, content_hash):
        """The file of this content."""
        found = [path for path in (self.folder / "blobs" / content_hash[:2]).glob(f"{content_hash}.*") if path.suffix != ".obao"]
        equal(len(found), 1)
        return found[0]

    def spooled(self):
        return sorted(os.listdir(self.folder / "spool"))

    def stored(self):
        """The files of content, without their outboards."""
        return sorted(path.name for path in (self.folder / "blobs").glob("*/*") if path.suffix != ".obao")


def started(world, name, *arguments, **options):
    node = Node(world, name)
    says(world.alknet("init", "--data", node.data), 0)
    node.start(*arguments, **options)
    files = Files(node)
    files.calls.output("fs/bucket.create", {"bucket": "b"})
    return node, files


# Calls that fail

class Injected:
    """strace on a running node, which makes some of its calls fail."""

    def __init__(self, world, pid, fault, path=None):
        self.trace = world.root / "trace"
        self.command = ["strace", "-f", "-p", str(pid), "-o", str(self.trace), "-y", "-s", "0", "-e", "signal=none",
                        "-e", f"trace={fault.split(':')[0]}", "-e", f"inject={fault}",
                        *(("-P", str(path)) if path else ())]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while line := self.process.stderr.readline():
            if "attached" in line:
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return self
        raise AssertionError("strace does not attach")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)

    def count(self):
        return self.trace.read_text().count("(INJECTED)")


# What fails, and what is said of it. Content and SQLite's log are synced with fdatasync, folders with fsync. strace counts by thread.
STEPS = {
    "no room for the spool file": ("openat:error=ENOSPC:when=1+", True, "f: the disk is full"),
    "no room for the bytes": ("pwrite64:error=ENOSPC:when=1+", True, "f: the disk is full"),
    "an error on the bytes": ("pwrite64:error=EIO:when=1+", True, ""),
    "an error on syncing the bytes": ("fdatasync:error=EIO:when=1", True, ""),
    "no room on syncing the bytes": ("fdatasync:error=ENOSPC:when=1", True, "f: the disk is full"),
    "an error on syncing the outboard": ("fdatasync:error=EIO:when=2", True, ""),
    "an error on moving the outboard": ("rename:error=EIO:when=1", True, ""),
    "an error on moving the bytes": ("rename:error=EIO:when=2", True, ""),
    "no room for the new name": ("rename:error=ENOSPC:when=2", True, "f: the disk is full"),
    "an error on syncing the folder": ("fsync:error=EIO:when=1", True, ""),
    "no room for the folder's names": ("fsync:error=ENOSPC:when=1", True, "f: the disk is full"),
    "no room for the log": ("pwrite64:error=ENOSPC:when=1+", False, "the disk is full"),
}


def failing_step(world, files, fault, is_large, said):
    """The write is refused, the old version stays whole, nothing is left over, and the next write works."""
    before = files.write(("f", OLD))
    old, stored = files.hash("f"), files.stored()
    new = NEW if is_large else b"short"
    with Injected(world, files.node.pid, fault) as injected:
        error = files.refused(("f", new), ("g", new))
    equal(injected.count() > 0, True)
    if said not in error.lower() or "internal error" in error:
        raise AssertionError(f"no clear error: {error}")
    wait_until(lambda: files.spooled() == [], 5, "the spool is empty again")
    equal((files.hash("f"), files.names(), files.stored(), files.blob(old).read_bytes()), (old, ["f"], stored, OLD))
    after = files.write(("f", new), ("g", new))
    # The commit that failed left no number behind.
    equal((after, files.names()), (before + 1, ["f", "g"]))
    files.calls.output("fs/remove", {"bucket": BRANCH, "path": "g"})
    return True


def unknown_commit(world, files):
    """A log that cannot be synced: nobody says that the write was undone for good, what it placed stays, and the node goes on."""
    files.write(("f", OLD))
    stored = files.stored()
    files.write(("small", b"1"))
    with Injected(world, files.node.pid, "fdatasync:error=EIO:when=1+", files.folder / "alknet.db-wal") as injected:
        error = files.refused(("h", NEW))
    equal(injected.count() > 0, True)
    equal("not known whether" in error, True)
    equal((files.names(), len(files.stored()) - len(stored)), (["f", "small"], 1))
    files.write(("after", b"2"))
    files.node.kill()
    files.node.start()
    again = Files(files.node, files.folder)
    # It may be there, whole, or not at all.
    names = again.names()
    equal([name for name in names if name != "h"], ["after", "f", "small"])
    return equal(again.spooled(), [])


def lazy_log(world):
    """What a failed sync may have lost of acknowledged changes is written again before anything else is acknowledged."""
    node, files = started(world, "lazy")
    files.calls.output("fs/bucket.set", {"bucket": "b", "durability": "lazy"})
    with Injected(world, node.pid, "fdatasync:error=EIO:when=1") as injected:
        injected_calls = local(f"{node.data}/alknet.sock")
        files.write(("a", b"1"), ("b", b"2"))
        wait_until(lambda: injected.count() == 1, 10, "the log is to be synced")
        injected_calls.output("fs/bucket.create", {"bucket": "strict"})
    calls = injected.trace.read_text().splitlines()
    failed = next(at for at, call in enumerate(calls) if "(INJECTED)" in call)
    equal("alknet.db-wal" in calls[failed], True)
    again = [call for call in calls[failed + 1:] if "alknet.db-wal" in call]
    equal(bool(again) and "= 0" in again[0], True)
    equal(files.names(), ["a", "b"])
    return equal(node.stop(), 0)


# Kills

def kills(world):
    """Whatever was acknowledged is there, commits are whole, and what was half written is gone."""
    node, files = started(world, "killed")
    chance, acknowledged = random.Random(20261122), {}
    for round_number in range(ROUNDS_OF_KILLS):
        enough = len(acknowledged) + chance.randint(5, 20)
        writers = [threading.Thread(target=put_files, args=(node, f"r{round_number}w{number}", acknowledged))
                   for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        wait_until(lambda: len(acknowledged) >= enough, 30, "writes are acknowledged")
        node.kill()
        for writer in writers:
            writer.join(10)
        node.start()
        files = Files(node)
        equal(files.spooled(), [])
        names = set(files.names())
        if lost := {name for name in acknowledged if name not in names}:
            raise AssertionError(f"{len(lost)} of {len(acknowledged)} acknowledged files are lost")
        halves = {name.rpartition(".")[0] for name in names}
        equal({f"{half}.{part}" for half in halves for part in ("large", "small")} == names, True)
    for name in [name for name in acknowledged if name.endswith(".large")]:
        equal(files.blob(files.hash(name)).read_bytes(), acknowledged[name])
    named = {files.hash(name) for name in files.names() if name.endswith(".large")}
    orphans = [name for name in files.stored() if name.partition(".")[0] not in named]
    equal(len(orphans) <= ROUNDS_OF_KILLS * WRITERS, True)
    return equal(node.stop(), 0)


def put_files(node, prefix, acknowledged):
    number = 0
    try:
        files = Files(node)
        while True:
            name = f"{prefix}n{number}"
            large, small = hashlib.sha256(name.encode()).digest() * 1000, name.encode()
            files.write((f"{name}.large", large), (f"{name}.small", small))
            acknowledged.update({f"{name}.large": large, f"{name}.small": small})
            number += 1
    except (OSError, ConnectionError):
        pass  # the kill


# Full disks and quotas

def full(world):
    """What was acknowledged stays, the refusal says why, and work goes on when there is room."""
    mount = world.folder("full")
    small_disk = ("unshare", "-m", "bash", "-euc", 'mount -t tmpfs -o size=6m none "$0"; exec "$@"', mount)
    node = Node(world, "on-a-small-disk")
    says(world.alknet("init", "--data", node.data), 0)
    node.start(prefix=small_disk, environment={"ALKNET_FS_FOLDER": mount})
    files = Files(node, f"/proc/{node.pid}/root{mount}")
    files.calls.output("fs/bucket.create", {"bucket": "b"})
    filler = files.folder / "filler"
    filler.write_bytes(bytes(1 << 20))
    contents = {f"f{number}": random.Random(number).randbytes(300_000) for number in range(40)}
    kept = []
    for name, content in contents.items():
        kind, answer = files.calls.call("fs/write.many", {"bucket": BRANCH, "entries": [
            {"path": name, "entry": {"content": base64.b64encode(content).decode()}}]})
        if kind != "call.responded":
            break
        kept.append(name)
    equal((answer["code"], "the disk is full" in answer["message"]), ("UNAVAILABLE", True))
    wait_until(lambda: files.spooled() == [], 5, "the spool is empty again")
    equal(sorted(files.names()), sorted(kept))
    for name in kept:
        equal(files.blob(files.hash(name)).read_bytes(), contents[name])
    filler.unlink()
    files.write(("after", contents["f39"]))
    equal(files.blob(files.hash("after")).read_bytes(), contents["f39"])
    return equal(node.stop(), 0)


def quota(world, files):
    """A commit that the quota does not admit leaves nothing, neither in the tree nor on the disk."""
    calls = files.calls
    calls.output("fs/bucket.create", {"bucket": "small", "quota_bytes": 150_000, "quota_files": 3})

    def put(name, content):
        entries = [{"path": name, "entry": {"content": base64.b64encode(content).decode()}}]
        return calls.call("fs/write.many", {"bucket": "small/main", "entries": entries})
    equal(put("a", OLD)[0], "call.responded")
    before = files.stored()
    kind, answer = put("b", NEW)
    equal((kind, answer["code"]), ("call.error", "QUOTA"))
    wait_until(lambda: (files.stored(), files.spooled()) == (before, []), 5, "the refused content is gone")
    equal([put(name, b"x")[0] for name in "bc"], ["call.responded"] * 2)
    equal(put("d", b"x")[1]["code"], "QUOTA")
    page = calls.output("fs/list", {"bucket": "small/main", "path": "/"})
    return equal([entry["name"] for entry in page["entries"]], ["a", "b", "c"])


# Damage

def damage(report, world, node):
    """Content that is cut, flipped or gone: it alone cannot be read, the error names it, and fsck does."""
    files = Files(node)
    contents = {name: random.Random(name).randbytes(200_000) for name in ("cut", "flipped", "missing", "well")}
    files.write(*contents.items())
    hashes = {name: files.hash(name) for name in contents}

    def flip(path):
        with open(path, "r+b") as file:
            file.seek(100_000)
            byte = file.read(1)[0]
            file.seek(100_000)
            file.write(bytes([byte ^ 1]))
    harms = {"cut": lambda path: os.truncate(path, 150_000), "flipped": flip, "missing": lambda path: path.unlink()}
    for name, harm in harms.items():
        harm(files.blob(hashes[name]))

    def read_fails(name):
        error = files.read_error(name)
        equal((error["code"], error["details"]["hash"]), ("DAMAGED", hashes[name]))
        return equal(name in error["details"]["path"] and hashes[name] in error["message"], True)
    for name in harms:
        report.check(f"content that is {name} is not read, and named", lambda name=name: read_fails(name))
    report.check("other content is read", lambda: equal(files.read("well"), contents["well"]))

    def named():
        said = [what for kind, what in files.fsck(deep=True) if kind == "damaged"]
        equal(len(said), 3)
        return equal(all(any(hashes[name] in what for what in said) for name in harms), True)
    report.check("fsck names all of it, and nothing else", named)
    report.check("what was damaged can be written anew", lambda: files.write(("cut", b"again")) > 0)


# Databases and clocks

def newer_database(world, node):
    """A program that does not know the schema leaves the content alone, the spool too."""
    data = Path(node.data)
    stray = data / "spool" / ("0" * 32)
    stray.write_bytes(b"left")
    with sqlite3.connect(data / "alknet.db") as database:
        version = database.execute("pragma user_version").fetchone()[0]
        database.execute("pragma user_version = 999")
    database.close()
    before = sorted(path.name for path in (data / "blobs").rglob("*"))
    says(world.alknet("up", "--listen", "127.0.0.1:0", "--data", node.data, timeout=20), 1, "newer")
    equal((stray.read_bytes(), sorted(path.name for path in (data / "blobs").rglob("*"))), (b"left", before))
    with sqlite3.connect(data / "alknet.db") as database:
        database.execute(f"pragma user_version = {version}")
    database.close()
    node.start()
    return equal(Files(node).spooled(), [])


def clock_backwards(world):
    """Commits are numbered on, and their times do not go back."""
    node, files = started(world, "clock")
    first = files.write(("now", b"1"))
    equal(node.stop(), 0)
    node.start(prefix=("faketime", "-f", "-40d"), environment={"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"})
    files = Files(node)
    equal(files.write(("then", OLD)), first + 1)
    equal((files.names(), files.spooled()), (["now", "then"], []))
    equal(node.stop(), 0)
    with sqlite3.connect(Path(node.data) / "alknet.db") as database:
        times = [row[0] for row in database.execute("select time_ns from fs_commit order by seq")]
    database.close()
    return equal(times, sorted(times))


# What ends in the middle

class Running:
    """A command whose standard input and output are pipes of this script."""

    def __init__(self, files, *words):
        world = files.node.world
        self.process = subprocess.Popen([str(world.binary), "--data", files.node.data, "fs", *words], env=world.environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        world.own(self.process.pid)

    def ends(self, given=None):
        """Its status, and the rest of what it gave and said."""
        gave, said = self.process.communicate(given, timeout=60)
        return self.process.returncode, gave, said.decode()


def branch_removed(files):
    """Whoever is reading a file of a branch that is removed is told, and has nothing that was not in it; its rows go."""
    content = random.Random("side").randbytes(8_000_000)
    files.calls.output("fs/branch.create", {"bucket": "b/side"})
    used = files.calls.output("fs/usage", {"bucket": "b"})["used_bytes"]
    equal(Running(files, "put", "-", "b:side/large").ends(content)[0], 0)
    reading = Running(files, "get", "b:side/large", "-")
    had = os.read(reading.process.stdout.fileno(), 1000)
    files.calls.output("fs/branch.remove", {"bucket": "b/side"})
    equal(Running(files, "get", "b:side/large", "-").ends()[0], 4)
    status, rest, said = reading.ends()
    equal((status, content.startswith(had + rest), "of 8000000 bytes" in said), (5, True, True))
    return wait_until(lambda: files.calls.output("fs/usage", {"bucket": "b"})["used_bytes"] == used, 20, "its rows go")


def quota_in_the_middle(files):
    """An upload is refused at the byte that is too much, not at its end; it leaves nothing, and what fits goes on."""
    files.calls.output("fs/bucket.create", {"bucket": "tight", "quota_bytes": 3_000_000})
    before, content = files.stored(), random.Random("tight").randbytes(1_000_000)
    sending = Running(files, "put", "-", "tight/f")
    sending.process.stdin.write(content)
    wait_until(lambda: files.spooled(), 20, "the upload has begun")
    equal(Running(files, "put", "-", "tight/beside").ends(content)[0], 0)
    try:
        # It ends without its input having ended.
        for _ in range(60):
            sending.process.stdin.write(content)
            sending.process.stdin.flush()
    except BrokenPipeError:
        pass
    else:
        raise AssertionError("sixty times what is allowed was taken")
    sending.process.stdin = None
    status, _, said = sending.ends()
    equal((status, "quota" in said and "fs usage" in said), (1, True))
    wait_until(lambda: files.spooled() == [], 5, "the spool is empty again")
    entries = files.calls.output("fs/list", {"bucket": "tight/main", "path": "/"})["entries"]
    equal([entry["name"] for entry in entries], ["beside"])
    equal(len(set(files.stored()) - set(before)), 1)
    return equal(Running(files, "put", "-", "tight/f").ends(content)[0], 0)


def trial(report, world):
    node, files = started(world, "node")
    if shutil.which("strace"):
        for name, (fault, is_large, said) in STEPS.items():
            report.check(f"{name}: the old version stays",
                         lambda: failing_step(world, files, fault, is_large, said))
    else:
        report.skip("disks that fail", "strace is not installed")
    report.check("a quota that is reached", lambda: quota(world, files))
    report.check("a quota that is reached in the middle of an upload", lambda: quota_in_the_middle(files))
    report.check("a branch that is removed while a file of it is read", lambda: branch_removed(files))
    damage(report, world, node)
    equal(node.stop(), 0)
    report.check("a database of a newer version", lambda: newer_database(world, node))
    if shutil.which("strace"):
        _, files = started(world, "unknown")
        report.check("a log that cannot be synced", lambda: unknown_commit(world, files))
        report.check("a log that cannot be synced, with changes that nobody waited for", lambda: lazy_log(world))
    report.check("kill -9 while files are written", lambda: kills(world))
    if mounts_work():
        report.check("a full disk", lambda: full(world))
    else:
        report.skip("a full disk", "only root may mount file systems")
    if shutil.which("faketime"):
        report.check("a clock that goes back", lambda: clock_backwards(world))
    else:
        report.skip("a clock that goes back", "faketime is not installed")


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
