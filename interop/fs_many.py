#!/usr/bin/env python3
"""Ten thousand small files: put, put again where almost all is there, put to another place, and got; what goes over the wire is counted.

    fs_many.py ALKNET [FILES]

The bytes are those that the command gives to its sockets, as strace sees them. Prints PASS and FAIL lines and a total.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

from _node import Node, equal, run

BYTES = 4096


def sent(world, data, *words):
    """Runs a command; gives how many bytes it wrote to sockets, and how long it took."""
    trace = world.root / "trace"
    begin = time.monotonic()
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=write,writev,sendto,sendmsg", "-e", "signal=none", "-y", "-o", str(trace), str(world.binary),
         "--data", data, "fs", *words],
        env=world.environment, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
    took = time.monotonic() - begin
    if done.returncode:
        raise AssertionError(done.stderr[-500:])
    total = 0
    for line in trace.read_text(errors="replace").splitlines():
        found = re.search(r"(?:write|writev|sendto|sendmsg)\(\d+<(?:socket|UNIX|TCP|UDP)[^>]*>.* = (\d+)", line)
        total += int(found[1]) if found else 0
    return total, took, done.stdout


def make(root, count):
    for number in range(count):
        folder = root / f"{number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06}").write_bytes(os.urandom(BYTES))


def trial(report, world):
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    node = Node(world, "node").start("--key-file")
    root = world.root / "many"
    make(root, count)
    whole = count * BYTES
    node.call("fs", "bucket", "create", "b", "--durability", "group")
    seen = {}

    def first():
        seen["first"], took, said = sent(world, node.data, "put", "-r", str(root), "b/many")
        print(f"     {count} files, {seen['first']} bytes sent in {took:.1f} s (under strace): {said.strip()}")
        return seen["first"] > whole

    def again(share, *words):
        bytes_sent, took, said = sent(world, node.data, *words)
        print(f"     {bytes_sent} bytes sent, {100 * bytes_sent / whole:.2f} % of the content, in {took:.1f} s (under strace): {said.strip()}")
        if bytes_sent > whole * share:
            raise AssertionError(f"{bytes_sent} bytes were sent")
        return True

    report.check("the first time everything is sent", first)
    report.check("again, less than 1 % of the bytes", lambda: again(0.01, "put", "-r", str(root), "b/many"))
    (root / "00" / "000000").write_bytes(os.urandom(BYTES))
    report.check("with one file changed, less than 1 %", lambda: again(0.01, "put", "-r", str(root), "b/many"))
    report.check("to another place no content is sent again", lambda: again(0.12, "put", "-r", str(root), "b/copy"))

    def back():
        node.call("fs", "get", "-r", "b/copy", str(world.root / "back"), timeout=600)
        difference = subprocess.run(["diff", "-r", str(root), str(world.root / "back")], capture_output=True, text=True)
        return equal(difference.stdout, "")

    report.check("what comes back is the same", back)

    def removed():
        """In steps, between which others write; their waits are printed."""
        waits, done = [], threading.Event()

        def others():
            while not done.is_set():
                begin = time.monotonic()
                node.call("fs", "mkdir", f"b/other{len(waits)}")
                waits.append(time.monotonic() - begin)

        writer = threading.Thread(target=others)
        writer.start()
        begin = time.monotonic()
        try:
            done_removing = node.call("fs", "rm", "-r", "b/copy", "--json", timeout=600)
        finally:
            took = time.monotonic() - begin
            done.set()
            writer.join()
        said = json.loads(done_removing.stdout)
        print(f"     removed in {took:.1f} s, {said['commits']} commits; {len(waits)} commands that wrote meanwhile took {max(waits):.2f} s at the most")
        steps = (count + 100) // 1000 + 1
        return equal(said["commits"], steps) and equal("copy" in node.call("fs", "ls", "b").stdout.split(), False)

    report.check("a folder of all of them is removed in steps while others write", removed)
    report.check("the node stays small", lambda: node.resident_kib() < 200 * 1024)


if __name__ == "__main__":
    if not shutil.which("strace"):
        print("SKIP everything: strace is not installed")
        sys.exit(77)
    sys.exit(run(trial, __doc__, takes_more=True))
