#!/usr/bin/env python3
"""Programs that go through stock ssh: rsync both ways, scp -O, git, Ansible, an audit of what is negotiated, and a long session.

    ssh_tools.py ALKNET

Prints a line for each check and a total; exits 1 when one fails.
"""

import filecmp
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from _node import Node, Report, World, equal, says, wait_until

MIB = 1 << 20
# The one warning of ssh-audit that stands: curve25519 is there for clients that know no post-quantum key exchange.
ACCEPTED_WARNING = "does not provide protection against post-quantum attacks"
LONG_SESSION_S = 75


class Tools:
    def __init__(self, world, node):
        self.world, self.node, self.root = world, node, world.root
        self.ssh = node.give_ssh_key("me")

    def run(self, *words, stdin=None, timeout=120, cwd=None, **environment):
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, input=stdin, cwd=cwd or self.root,
                              stdin=None if stdin is not None else subprocess.DEVNULL, env={**self.world.environment, **environment})
        says(done, 0)
        return done.stdout

    def remote(self):
        """`ssh` with its options, without the destination."""
        return shlex.join(self.ssh[:-1])

    def destination(self):
        return self.ssh[-1]


def tree(folder):
    """Files of many sizes, with modes, times, links and names that need quoting."""
    folder.mkdir()
    for index, size in enumerate([0, 1, 4095, 70_000, 3 * MIB]):
        (folder / f"file {index}").write_bytes(os.urandom(size))
    (folder / "sub").mkdir()
    (folder / "sub/'quoted' ü").write_text("text")
    (folder / "sub/run").write_text("#!/bin/sh\n")
    (folder / "sub/run").chmod(0o750)
    (folder / "link").symlink_to("file 1")
    return folder


def same(one, other):
    found = filecmp.dircmp(one, other)
    equal((found.left_only, found.right_only, found.diff_files, found.funny_files), ([], [], [], []))
    equal(os.readlink(one / "link"), os.readlink(other / "link"))
    equal((one / "sub/run").stat().st_mode, (other / "sub/run").stat().st_mode)
    return all(filecmp.cmp(one / name, other / name, shallow=False) for name in ("file 4", "sub/'quoted' ü"))


def rsync(tools):
    """Up, down, and once more after a change of some bytes in the middle, which sends little."""
    here, there, back = tree(tools.root / "here"), tools.root / "there", tools.root / "back"
    go = lambda *words: tools.run("rsync", "-a", "-e", tools.remote(), *words)
    go(f"{here}/", f"{tools.destination()}:{there}/")
    go(f"{tools.destination()}:{there}/", f"{back}/")
    same(here, there)
    same(here, back)
    with open(here / "file 4", "r+b") as file:
        file.seek(MIB)
        file.write(os.urandom(100))
    # rsync sees no change of a file within the second in which it copied it.
    changed = (here / "file 4").stat().st_mtime + 10
    os.utime(here / "file 4", (changed, changed))
    said = go("--stats", "--no-whole-file", "--delete", f"{here}/", f"{tools.destination()}:{there}/")
    sent = next(int(line.split(":")[1].split()[0].replace(",", "")) for line in said.splitlines() if line.startswith("Total bytes sent"))
    if sent > MIB:
        raise AssertionError(f"{sent} bytes were sent for a change of 100")
    return same(here, there)


def scp(tools):
    """The protocol of old, which is an exec of `scp` at the node."""
    options = [word if word != "-p" else "-P" for word in tools.ssh[1:-1]]
    here, there, back = tools.root / "scp-here", tools.root / "scp-there", tools.root / "scp-back"
    here.write_bytes(os.urandom(5 * MIB))
    tools.run("scp", "-O", *options, str(here), f"{tools.destination()}:{there}")
    tools.run("scp", "-O", *options, f"{tools.destination()}:{there}", str(back))
    return filecmp.cmp(here, there, shallow=False) and filecmp.cmp(here, back, shallow=False)


def git(tools):
    """A repository at the node is cloned and pushed to, by exec of git's own programs."""
    bare, work = tools.root / "bare.git", tools.root / "work"
    environment = {"GIT_SSH_COMMAND": tools.remote(), "GIT_CONFIG_COUNT": "0"}
    tools.run("git", "init", "-q", "--bare", str(bare))
    tools.run("git", "clone", "-q", f"{tools.destination()}:{bare}", str(work), **environment)
    (work / "file").write_text("text")
    tools.run("git", "add", "file", cwd=work)
    tools.run("git", "-c", "user.name=Me", "-c", "user.email=me@box", "commit", "-q", "-m", "one", cwd=work)
    tools.run("git", "push", "-q", "origin", "HEAD", cwd=work, **environment)
    return equal(tools.run("git", "rev-parse", "HEAD", cwd=work), tools.run("git", "-C", str(bare), "rev-parse", "HEAD"))


PLAYBOOK = """
- hosts: node
  gather_facts: true
  tasks:
    - name: a command
      ansible.builtin.command: printf '%s' "{{ ansible_facts['system'] }}"
      register: said
      changed_when: false
    - name: a file with a mode
      ansible.builtin.copy: {content: "from ansible {{ said.stdout }}\\n", dest: "{{ folder }}/made", mode: "0640"}
    - name: larger than a packet
      ansible.builtin.copy: {src: "{{ folder }}/large", dest: "{{ folder }}/copied"}
    - name: from there
      ansible.builtin.fetch: {src: "{{ folder }}/copied", dest: "{{ folder }}/fetched", flat: true}
    - name: a line
      ansible.builtin.lineinfile: {path: "{{ folder }}/made", line: "a second line"}
    - name: all of it
      ansible.builtin.assert: {that: ["said.stdout == 'Linux'"]}
"""


def ansible(tools, pipelining):
    folder = tools.root / f"ansible-{pipelining}"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(2 * MIB))
    (folder / "play.yml").write_text(PLAYBOOK)
    key, known_hosts = tools.ssh[4], next(word.split("=", 1)[1] for word in tools.ssh if word.startswith("UserKnownHostsFile"))
    variables = {"ansible_host": "127.0.0.1", "ansible_port": tools.node.port, "ansible_user": "me", "ansible_ssh_private_key_file": key,
                 "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=accept-new",
                 "ansible_python_interpreter": sys.executable, "ansible_ssh_transfer_method": "piped", "folder": str(folder)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"node": variables}}}))
    playbook = Path(sys.executable).with_name("ansible-playbook")
    recap = tools.run(str(playbook), "-i", "hosts.json", "play.yml", cwd=folder, timeout=300, ANSIBLE_SSH_PIPELINING=pipelining,
                      ANSIBLE_NOCOLOR="1", ANSIBLE_HOME=str(folder / "home"), ANSIBLE_REMOTE_TMP=str(folder / "tmp"), LC_ALL="C.UTF-8")
    if "failed=0" not in recap or "unreachable=0" not in recap:
        raise AssertionError(recap[-600:])
    equal((folder / "made").read_text(), "from ansible Linux\na second line\n")
    equal(oct((folder / "made").stat().st_mode & 0o777), "0o640")
    return filecmp.cmp(folder / "large", folder / "copied", shallow=False) and filecmp.cmp(folder / "large", folder / "fetched", shallow=False)


def audit(tools):
    """What a scanner says of the algorithms: no failure, and no warning but the one."""
    done = subprocess.run([sys.executable, "-m", "ssh_audit", "-jj", "-p", str(tools.node.port), "127.0.0.1"], capture_output=True,
                          text=True, timeout=120, env=tools.world.environment)
    found = json.loads(done.stdout)
    notes = [(kind, item["algorithm"], level, note) for kind in ("kex", "key", "enc", "mac") for item in found[kind]
             for level, texts in item.get("notes", {}).items() for note in texts]
    failures = [note for note in notes if note[2] == "fail"]
    warnings = [note for note in notes if note[2] == "warn" and ACCEPTED_WARNING not in note[3]]
    equal((failures, warnings), ([], []))
    equal(sorted({note[1] for note in notes if note[2] == "warn"}), ["curve25519-sha256", "curve25519-sha256@libssh.org"])
    return equal(found["cves"], []) if "cves" in found else True


def long_session(tools):
    """A shell on a terminal that rests, survives a change of keys and a stopped client, and then is where it was."""
    words = [*tools.ssh[:-1], "-tt", "-o", "RekeyLimit=default 20s", "-o", "ServerAliveInterval=5", tools.destination()]
    session = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=tools.world.environment)
    os.set_blocking(session.stdout.fileno(), False)
    seen = b""

    def said(text):
        def there():
            nonlocal seen
            seen += session.stdout.read() or b""
            return text in seen

        return wait_until(there, 20, text)

    def types(line):
        session.stdin.write(line + b"\n")
        session.stdin.flush()

    try:
        types(b"cd /; kept=a-value; echo is-$((40 + 2))")
        said(b"is-42")
        os.kill(session.pid, 19)
        time.sleep(LONG_SESSION_S / 3)
        os.kill(session.pid, 18)
        time.sleep(LONG_SESSION_S * 2 / 3)
        types(b"echo $kept in $PWD, $((50 + 1))")
        said(b"a-value in /, 51")
        types(b"exit 3")
        return equal(session.wait(20), 3)
    finally:
        session.kill()


def main(binary):
    report = Report()
    with World(binary) as world:
        tools = Tools(world, Node(world, "node").start())
        report.check("rsync both ways, and a change", lambda: rsync(tools))
        report.check("scp -O both ways", lambda: scp(tools))
        report.check("git clone and push", lambda: git(tools))
        for pipelining in ("False", "True"):
            name = f"Ansible, pipelining {pipelining}"
            if shutil.which("ansible-playbook", path=str(Path(sys.executable).parent)):
                report.check(name, lambda: ansible(tools, pipelining))
            else:
                report.skip(name, "the package ansible-core is missing")
        report.check("ssh-audit: no failure, one warning", lambda: audit(tools))
        report.check(f"a session of {LONG_SESSION_S} s", lambda: long_session(tools))
    return report.total()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
