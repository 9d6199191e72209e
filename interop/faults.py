#!/usr/bin/env python3
"""What goes wrong on a node's own machine: disks, clocks, ports, kills, and files that are not what they should be.

    faults.py ALKNET

As root it also mounts file systems, in a namespace of its own that ends with the command; the clock needs faketime. What cannot be
tried here is named on a SKIP line. Prints a line for each check and a total; exits 1 when one fails.
"""

import hashlib
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

from _call import local
from _node import Node, equal, mounts_work, run, says, wait_until

ROUNDS_OF_KILLS = 4
WRITERS = 4


def shell(script, *arguments, prefix=(), world=None):
    return subprocess.run([*prefix, "bash", "-euc", script, "fault", *arguments], env=world.environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def copied(world, node, name):
    """A copy of a stopped node's data folder."""
    target = world.root / name
    shutil.copytree(node.data, target, ignore=shutil.ignore_patterns("alknet.sock"))
    return target


def up(world, data, *arguments, **options):
    """Tries to start a node that is expected to refuse."""
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    return world.alknet("up", *listen, "--data", str(data), *arguments, timeout=20, **options)


# Keystores

def keystores(report, world):
    from vault_second_opinion import keystore_sum, unb64
    data = world.root / "sealed"
    words, wrong = world.root / "right", world.root / "wrong"
    words.write_text("open sesame\n")
    wrong.write_text("open barley\n")
    says(world.alknet("init", "--data", str(data), "--passphrase-file", str(words)), 0)
    good = json.loads((data / "keystore.json").read_text())

    report.check("a wrong passphrase exits 3 and says so", lambda: says(
        up(world, data, "--passphrase-file", str(wrong)), 3, "the passphrase is wrong"))

    def with_parameters(again=True, **parameters):
        """A keystore with other Argon2 parameters, whose sum is put right, is refused before any work is done."""
        changed = {**good, "kdf": {**good["kdf"], **parameters}}
        if again:
            changed["sum"] = unb64(keystore_sum(changed))
        folder = world.root / "changed"
        folder.mkdir(exist_ok=True)
        text = json.dumps(changed)
        (folder / "keystore.json").write_text(text)
        begin = time.monotonic()
        done = up(world, folder, "--passphrase-file", str(words))
        took = time.monotonic() - begin
        equal((folder / "keystore.json").read_text(), text)
        if took > 1:
            raise AssertionError(f"refused after {took:.1f} s")
        return done

    report.check("Argon2 with little memory is refused", lambda: says(with_parameters(memory_kib=8), 1, "too weak"))
    report.check("Argon2 with few passes is refused", lambda: says(with_parameters(passes=1), 1, "too weak"))
    report.check("Argon2 with absurd memory is refused", lambda: says(with_parameters(memory_kib=2**32 - 1), 1, "too costly"))
    report.check("changed parameters show in the sum", lambda: says(with_parameters(again=False, passes=9), 1, "damaged"))
    for name, text in {"empty": "", "half": json.dumps(good)[:150], "no object": "[" * 5000, "another's": '{"version": 3}'}.items():
        def refused(text=text):
            folder = world.root / "changed"
            (folder / "keystore.json").write_text(text)
            done = up(world, folder, "--passphrase-file", str(words))
            equal((folder / "keystore.json").read_text(), text)
            return says(done, 1, "keystore.json")
        report.check(f"a keystore that is {name} is refused and left alone", refused)


# Ports and locks

def port_taken(world, kind):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        return says(up(world, world.root / "port", "--listen", f"127.0.0.1:{port}"), 1, str(port))


def second_up(world, node):
    says(up(world, node.data), 1, f"in use by process {node.pid}")
    says(up(world, node.data, "--detach"), 1, f"in use by process {node.pid}")
    return node.answers()


# Databases

def databases(report, world, node):
    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def refused(name, change, *texts):
        data = copied(world, node, name)
        database = data / "alknet.db"
        change(database)
        before = digest(database), sorted(os.listdir(data))
        says(up(world, data), 1, "alknet.db", *texts)
        says(world.alknet("peer", "add", "late", "--key", node.node_id, "--role", "guest", "--data", str(data)), 1, *texts)
        beside = [entry for entry in os.listdir(data) if entry.startswith("alknet.db-")]
        return equal((digest(database), beside), (before[0], []))

    def sql(statement):
        def change(database):
            with sqlite3.connect(database) as connection:
                connection.execute(statement)
            connection.close()
        return change

    def overwrite(offset, content):
        def change(database):
            with open(database, "r+b") as file:
                file.seek(offset)
                file.write(content)
        return change

    report.check("a database of another program is refused and left alone",
                 lambda: refused("foreign", sql("pragma application_id = 1179009344"), "not Alknet's"))
    report.check("a database of a newer version is refused and left alone",
                 lambda: refused("newer", sql("pragma user_version = 999"), "newer"))
    report.check("a file that is no database is refused and left alone",
                 lambda: refused("text", lambda path: path.write_bytes(b"all work and no play\n" * 999), "no database"))
    report.check("a damaged database is refused and left alone",
                 lambda: refused("damaged", overwrite(4096, os.urandom(8192)), "damaged"))
    report.check("a truncated database is refused and left alone",
                 lambda: refused("truncated", lambda path: os.truncate(path, path.stat().st_size - 4096 - 100), "damaged"))
    report.check("another node's database is refused", lambda: another_nodes(world, node))


def another_nodes(world, node):
    data = world.root / "swapped"
    says(world.alknet("init", "--data", str(data)), 0)
    shutil.copy(Path(node.data) / "alknet.db", data)
    return says(up(world, data), 1, "node")


# Kills

def kill_while_writing(world, node):
    """Whatever was acknowledged before the kill is there after it, and the database is whole."""
    chance, acknowledged = random.Random(20261121), set()
    for round_number in range(ROUNDS_OF_KILLS):
        before, enough = len(acknowledged), chance.randint(15, 60)
        writers = [threading.Thread(target=add_peers, args=(node, f"r{round_number}w{number}", acknowledged))
                   for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        wait_until(lambda: len(acknowledged) >= before + enough, 20, "peers are acknowledged")
        node.kill()
        for writer in writers:
            writer.join(10)
        node.start()
        found = {peer["name"] for peer in node.json("peer", "list")}
        if lost := acknowledged - found:
            raise AssertionError(f"{len(lost)} of {len(acknowledged)} acknowledged peers are lost")
    equal(node.stop(), 0)
    with sqlite3.connect(Path(node.data) / "alknet.db") as database:
        equal(database.execute("pragma integrity_check").fetchone()[0], "ok")
    database.close()
    node.start()
    return len(acknowledged) >= ROUNDS_OF_KILLS * 15


def add_peers(node, prefix, acknowledged):
    number = 0
    try:
        calls = local(f"{node.data}/alknet.sock")
        while True:
            name = f"{prefix}n{number}"
            key = f"ed25519:{hashlib.sha256(name.encode()).hexdigest()}"
            calls.output("peers/add", {"name": name, "key": key, "role": "guest"})
            acknowledged.add(name)
            number += 1
    except (OSError, ConnectionError):
        pass  # the kill


# Disks

READ_ONLY = '''
mount --bind "$2" "$2"
mount -o remount,ro,bind "$2"
"$1" up --listen 127.0.0.1:0 --data "$2" && exit 10
"$1" peer add late --key "$3" --role guest --data "$2" && exit 11
"$1" up --listen 127.0.0.1:0 --data "$2/new" && exit 12
exit 0
'''

FULL = '''
mount -t tmpfs -o size=4m none "$2"
fill() { dd if=/dev/zero of="$2/filler" bs=4k 2>/dev/null || true; }
free() { rm "$2/filler"; }
fill "$@"
"$1" up --listen 127.0.0.1:0 --data "$2/node" </dev/null && exit 10
free "$@"
rm -rf "$2/node"
"$1" up --listen 127.0.0.1:0 --data "$2/node" --detach </dev/null
"$1" peer add early --key "$3" --role guest --data "$2/node"
fill "$@"
number=0
# There may be room left inside the log; each of these is either refused or kept.
while [ $number -lt 200 ] && "$1" peer add kept$number --key "ed25519:$(printf %064x $((number + 77)))" --role guest --data "$2/node"
do echo "ACKNOWLEDGED kept$number"; number=$((number + 1)); done
[ $number -lt 200 ] || exit 11
"$1" peer show early --data "$2/node" || exit 12
free "$@"
"$1" peer add late --key "$4" --role guest --data "$2/node" || exit 13
kill -KILL "$("$1" status --json --data "$2/node" | grep '"pid"' | tr -dc 0-9)"
rm -f "$2/node/alknet.sock"
cp -a "$2/node" "$5"
exit 0
'''


def read_only(world, node):
    data = copied(world, node, "read-only")
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    done = shell(READ_ONLY, str(world.binary), str(data), other_key(1), prefix=("unshare", "-m"), world=world)
    says(done, 0, "Read-only file system", str(data))
    return equal({path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before, True)


def full(world):
    mount, after = world.folder("full"), world.root / "after-full"
    done = shell(FULL, str(world.binary), mount, other_key(1), other_key(2), str(after), prefix=("unshare", "-m"), world=world)
    says(done, 0, "the disk is full", "No space left")
    kept = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("ACKNOWLEDGED")}
    found = {peer["name"] for peer in json.loads(world.alknet("peer", "list", "--json", "--data", str(after)).stdout)}
    return equal(found, {"early", "late"} | kept)


def other_key(number):
    return f"ed25519:{number:064x}"


# Clocks

def clock_at_1970(world):
    fake = ("faketime", "-f", "@1970-01-02 00:00:00")
    node = Node(world, "past").start(prefix=fake, environment={"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"})
    doctor = node.call("doctor", "--json", prefix=fake)
    findings = {finding["check"]: finding for finding in json.loads(doctor.stdout)}
    equal((doctor.returncode, findings["clock"]["verdict"]), (1, "broken"))
    equal("1970" in findings["clock"]["found"] and "timedatectl" in findings["clock"]["fix"], True)
    ssh = node.give_ssh_key()
    says(subprocess.run([*ssh, "echo in"], capture_output=True, text=True, stdin=subprocess.DEVNULL), 0, "in")
    equal(node.stop(), 0)
    later = node.start()
    equal({peer["name"] for peer in later.json("peer", "list")}, {"me"})
    return equal(later.stop(), 0)


def trial(report, world):
    keystores(report, world)
    report.check("a port that is taken on TCP is named", lambda: port_taken(world, socket.SOCK_STREAM))
    report.check("a port that is taken on UDP is named", lambda: port_taken(world, socket.SOCK_DGRAM))
    node = Node(world, "node").start()
    report.check("a second up is refused and names the process", lambda: second_up(world, node))
    report.check("kill -9 while peers are written", lambda: kill_while_writing(world, node))
    equal(node.stop(), 0)
    databases(report, world, node)
    if mounts_work():
        report.check("a read-only data folder is named and left alone", lambda: read_only(world, node))
        report.check("a full disk loses nothing, and work goes on when there is room", lambda: full(world))
    else:
        report.skip("read-only and full disks", "only root may mount file systems")
    if shutil.which("faketime"):
        report.check("a clock at 1970 is named, and the node serves", lambda: clock_at_1970(world))
    else:
        report.skip("a clock at 1970", "faketime is not installed")


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
