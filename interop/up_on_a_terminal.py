#!/usr/bin/env python3
"""`alknet up` on a terminal: the passphrase is asked for, the mnemonic is shown once, and both open the node again.

    up_on_a_terminal.py ALKNET

Needs the package pexpect. Prints a line for each check and a total; exits 1 when one fails.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from _node import run

try:
    import pexpect
except ImportError:
    print("SKIPPED: the package pexpect is missing")
    sys.exit(77)

PASSPHRASE = "correct horse Battery, stäple"
# Argon2id alone takes half a second, in a debug build several.
PATIENCE = 30


class Terminal:
    """A command on a terminal of its own, and everything that it wrote there."""

    def __init__(self, world, *arguments):
        self.child = pexpect.spawn(str(world.binary), list(arguments), env=world.environment, encoding="utf-8",
                                   timeout=PATIENCE, dimensions=(40, 140), echo=True)
        world.own(self.child.pid)
        self.seen = ""

    def until(self, text):
        self.child.expect(text)
        self.seen += self.child.before + self.child.after
        return self.child.match

    def answer(self, question, words):
        self.until(question)
        # rpassword turns the echo off before it reads; what is typed earlier could be seen.
        self.child.waitnoecho(5)
        self.child.sendline(words)

    def end(self):
        self.child.expect(pexpect.EOF)
        self.seen += self.child.before
        self.child.close()
        return self.child.exitstatus

    def interrupt(self):
        self.child.sendintr()
        return self.end()


def mnemonic_in(text):
    """The words of the numbered table."""
    found = dict((int(number), word) for number, word in re.findall(r"\b(\d{1,2}) ([a-z]{3,8})\b", text))
    return " ".join(found[number] for number in range(1, 25))


def first_run(report, world, data):
    terminal = Terminal(world, "up", "--listen", "127.0.0.1:0", "--data", data)
    terminal.answer("Choose a passphrase for this node: ", "")
    terminal.until("protects nothing")
    terminal.answer("Choose a passphrase for this node: ", PASSPHRASE)
    terminal.answer("Once more: ", PASSPHRASE + "?")
    terminal.until("The two differ")
    terminal.answer("Choose a passphrase for this node: ", PASSPHRASE)
    terminal.answer("Once more: ", PASSPHRASE)
    terminal.until("shown this once")
    node = terminal.until(r"This node is (\w{52}), on port (\d+)").group(1)
    terminal.until("call @box services/list")
    status = json.loads(world.alknet("status", "--json", "--data", data).stdout)
    report.check("an empty passphrase is not taken, two different ones neither", lambda: True)
    report.check("up serves after the questions", lambda: status["node_id"] == node)
    report.check("up shows 24 words", lambda: len(mnemonic_in(terminal.seen).split()) == 24)
    report.check("no key file beside a passphrase", lambda: not (Path(data) / "keystore.key").exists())
    ended = terminal.interrupt()
    report.check("Ctrl-C on the terminal drains and exits 0", lambda: ended == 0)
    report.check("what was typed is not on the screen", lambda: PASSPHRASE not in terminal.seen)
    return node, mnemonic_in(terminal.seen)


def restarts(report, world, data, node, mnemonic):
    terminal = Terminal(world, "up", "--listen", "127.0.0.1:0", "--data", data)
    terminal.answer("Passphrase of this node: ", PASSPHRASE)
    again = terminal.until(r"This node is (\w{52}), on port").group(1)
    report.check("a restart asks once and is the same node", lambda: again == node)
    ended = terminal.interrupt()
    report.check("and ends cleanly again", lambda: ended == 0)
    report.check("the words are shown only once", lambda: "mnemonic" not in terminal.seen)

    terminal = Terminal(world, "up", "--listen", "127.0.0.1:0", "--data", data)
    terminal.answer("Passphrase of this node: ", "wrong")
    status = terminal.end()
    report.check("a wrong passphrase exits 3", lambda: status == 3)
    report.check("and says so", lambda: "the passphrase is wrong" in terminal.seen)

    terminal = Terminal(world, "identity", "backup", "--data", data)
    terminal.answer("Passphrase of this node: ", PASSPHRASE)
    status = terminal.end()
    report.check("identity backup shows the same words", lambda: status == 0 and mnemonic in terminal.seen)


def restored(report, world, node, mnemonic):
    elsewhere = world.folder("restored")
    terminal = Terminal(world, "identity", "restore", "--data", elsewhere)
    terminal.answer("Mnemonic", mnemonic)
    terminal.answer("Choose a passphrase for this node: ", "another")
    terminal.answer("Once more: ", "another")
    status = terminal.end()
    report.check("identity restore takes the words on a terminal", lambda: status == 0)
    report.check("they give the same node", lambda: node in terminal.seen)
    report.check("the words are not on the screen", lambda: mnemonic not in terminal.seen)
    return elsewhere


def unattended(report, world, data, elsewhere, node):
    right, wrong = Path(world.folder("words")) / "right", Path(world.folder("words")) / "wrong"
    right.write_text(PASSPHRASE + "\nnot this line\n")
    wrong.write_text("wrong\n")
    up = ["up", "--listen", "127.0.0.1:0", "--detach", "--data"]

    refused = world.alknet(*up, data)
    report.check("without anybody to ask up exits 3", lambda: refused.returncode == 3)
    report.check("and names the ways to give a passphrase", lambda: "--passphrase-file" in refused.stderr)
    refused = world.alknet(*up, data, "--passphrase-file", str(wrong))
    report.check("a wrong --passphrase-file exits 3", lambda: refused.returncode == 3)

    served = world.alknet(*up, data, "--passphrase-file", str(right))
    report.check("up --detach hands the passphrase on", lambda: served.returncode == 0)
    status = json.loads(world.alknet("status", "--json", "--data", data).stdout)
    world.own(status["pid"])
    report.check("the detached node is the same", lambda: status["node_id"] == node)
    told = [Path(f"/proc/{status['pid']}/{name}").read_bytes() for name in ("cmdline", "environ")]
    report.check("other processes do not see the passphrase", lambda: not any(PASSPHRASE.encode() in part for part in told))
    report.check("stop", lambda: world.alknet("stop", "--data", data).returncode == 0)

    reader, writer = os.pipe()
    os.write(writer, b"another\n")
    os.close(writer)
    told = subprocess.run([world.binary, *up, elsewhere, "--passphrase-fd", str(reader)], pass_fds=[reader],
                          env=world.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    os.close(reader)
    status = json.loads(world.alknet("status", "--json", "--data", elsewhere).stdout or "{}")
    report.check("--passphrase-fd opens the restored node", lambda: told.returncode == 0 and status["node_id"] == node)
    world.own(status["pid"])
    report.check("and it stops", lambda: world.alknet("stop", "--data", elsewhere).returncode == 0)

    terminal = Terminal(world, *up, data)
    terminal.answer("Passphrase of this node: ", PASSPHRASE)
    status = terminal.end()
    report.check("up --detach on a terminal asks and returns", lambda: status == 0 and "serves as process" in terminal.seen)
    report.check("it asks no more than twice", lambda: terminal.seen.count("assphrase of this node") <= 2)
    running = json.loads(world.alknet("status", "--json", "--data", data).stdout or "{}")
    world.own(running["pid"])
    report.check("and stays when the terminal is gone", lambda: world.alknet("stop", "--data", data).returncode == 0)


def trial(report, world):
    data = world.folder("data")
    node, mnemonic = first_run(report, world, data)
    restarts(report, world, data, node, mnemonic)
    elsewhere = restored(report, world, node, mnemonic)
    unattended(report, world, data, elsewhere, node)


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
