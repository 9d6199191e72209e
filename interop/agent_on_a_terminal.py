#!/usr/bin/env python3
"""`alknet agent --confirm` asks on a terminal: yes, no, what was typed too early, and a terminal that another job has.

    agent_on_a_terminal.py ALKNET

Needs the package pexpect and OpenSSH's client. Prints a line for each check and a total; exits 1 when one fails.
"""

import sys

from _node import Report, World, says

try:
    import pexpect
except ImportError:
    print("SKIPPED: the package pexpect is missing")
    sys.exit(77)

# A debug build opens the keystore with a key file at once; the rest is ssh-add.
PATIENCE = 30
TEST = "ssh-add -L >keys && ssh-add -T keys && echo signed || echo refused"


class Terminal:
    """An agent with a command on a terminal of its own."""

    def __init__(self, world, command):
        self.child = pexpect.spawn(str(world.binary), ["agent", "--confirm", "--keys", "user", "sh", "-c", command],
                                   env=world.environment, encoding="utf-8", timeout=PATIENCE, cwd=world.folder("home"))
        world.own(self.child.pid)

    def __enter__(self):
        return self.child

    def __exit__(self, *_):
        self.child.close(force=True)


def answered(world, answer, outcome):
    with Terminal(world, TEST) as child:
        child.expect(r"Let ssh-add \(process \d+\) use the key alknet-user@\w+ \(SHA256:\S+\) to sign \d+ bytes .*\? \[y/N\] ")
        child.sendline(answer)
        child.expect_exact(outcome)
        child.expect(pexpect.EOF)
    return True


def typed_too_early(world):
    """A yes that was typed before the question is no answer to it."""
    with Terminal(world, f"echo go; sleep 1; {TEST}") as child:
        child.expect_exact("go")
        child.sendline("y")
        child.expect_exact("[y/N] ")
        child.sendline("n")
        child.expect_exact("refused")
    return True


def another_job(world):
    """An interactive shell gives the terminal to its jobs: the agent must neither read from it nor be stopped by it."""
    with Terminal(world, "bash --norc -i") as child:
        child.sendline(f"PS1=; {TEST}")
        child.expect_exact("refused\r\n")
        child.sendline("ssh-add -l && echo still there")
        child.expect_exact("still there\r\n")
    return True


def main(binary):
    report = Report()
    with World(binary) as world:
        says(world.alknet("init", "--key-file"), 0)
        report.check("yes", lambda: answered(world, "yes", "signed"))
        report.check("no", lambda: answered(world, "no", "refused"))
        report.check("nothing", lambda: answered(world, "", "refused"))
        report.check("typed before the question", lambda: typed_too_early(world))
        report.check("another job has the terminal", lambda: another_job(world))
    return report.total()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
