#!/usr/bin/env python3
"""What a user does with files, from an empty home: every verb of `alknet fs`, and the commands of docs/guide/files.md as they stand there.

    fs_acceptance.py ALKNET

Everything happens on a node of the binary on loopback. Prints PASS and FAIL lines and a total; exits 1 when one fails.
"""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

from _node import Node, equal, run, says, wait_until

GUIDE = Path(__file__).resolve().parent.parent / "docs/guide/files.md"


def guide_commands():
    """The commands of the guide, each with what it says."""
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    commands = []
    for line in "".join(blocks).splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


def pattern(lines):
    """`…` stands for anything; on a line of its own, for any number of lines."""
    parts = []
    for line in lines:
        parts.append("(?:.*\n)*?" if line == "…" else ".*".join(re.escape(part) for part in line.split("…")) + "\n")
    return "".join(parts)


class Files:
    """A node, and commands that are given in a folder beside it."""

    def __init__(self, world, node):
        self.world, self.node = world, node
        self.here = Path(world.folder("here"))
        self.environment = {**world.environment, "ALKNET_DATA": node.data,
                            "PATH": f"{world.folder('bin')}:{world.environment['PATH']}"}
        (Path(world.folder("bin")) / "alknet").symlink_to(world.binary)

    def shell(self, command, timeout=60):
        return subprocess.run(["bash", "-c", command], env=self.environment, cwd=self.here, text=True, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def fs(self, *words, stdin=None):
        return subprocess.run(["alknet", "fs", *words], env=self.environment, cwd=self.here, capture_output=True, timeout=60,
                              **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}))

    def out(self, *words, stdin=None):
        """What a command that succeeds prints."""
        done = self.fs(*words, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"{words}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def text(self, *words, stdin=None):
        return self.out(*words, stdin=stdin).decode()

    def rows(self, *words):
        """The objects of a command that prints one a line."""
        return [json.loads(line) for line in self.text("--json", *words).splitlines()]

    def refused(self, status, *words, text=""):
        done = self.fs(*words)
        said = done.stderr.decode(errors="replace")
        if done.returncode != status or text not in said or (done.returncode and not said.startswith("error: ")):
            raise AssertionError(f"{words}: status {done.returncode}, {said!r}")
        return True

    def put(self, address, content):
        self.out("put", "-", address, stdin=content)


def replay(report, files):
    for command, said in guide_commands():
        def as_written(command=command, said=said):
            done = files.shell(command)
            if not re.fullmatch(pattern(said), done.stdout):
                raise AssertionError(f"it said {done.stdout!r}")
            return True
        report.check(f"guide: {command}", as_written)


def tree(folder):
    """What a folder holds: kind, mode, time in ns, content or target."""
    found = {}
    for at, folders, names in os.walk(os.fsencode(folder)):
        for name in folders + names:
            path = os.path.join(at, name)
            info = os.lstat(path)
            what = os.readlink(path) if os.path.islink(path) else b"" if os.path.isdir(path) else Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(folder))] = (info.st_mode, info.st_mtime_ns, info.st_nlink if not os.path.isdir(path) else 0, what)
    return found


def make_tree(root):
    """A folder with what is rare in it."""
    root.mkdir()
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o4755)
    (root / "large").write_bytes(os.urandom(3_000_000))
    (root / "none").write_bytes(b"")
    with open(os.path.join(os.fsencode(root), b"not\xff text\n"), "wb") as file:
        file.write(b"bytes")
    (root / "link").symlink_to("../outside")
    os.link(root / "large", root / "sub" / "same")
    (root / "sub" / "empty").chmod(0o700)
    for number, path in enumerate(["large", "none", "run", "link", "sub/empty", "sub"]):
        os.utime(root / path, ns=(0, 1_000_000_000_123_456_789 + number), follow_symlinks=False)
    os.utime(root / "none", ns=(0, -1))
    return root


def verbs(report, files):
    check, out, text = report.check, files.out, files.text
    here = files.here

    check("bucket create, list and set", lambda: (
        text("bucket", "create", "b", "--quota", "1G", "--durability", "group"), text("bucket", "set", "b", "--quota", "0"),
        equal([bucket["bucket"] for bucket in json.loads(text("--json", "bucket", "list"))][:1], ["b"]))[-1])
    check("a bucket twice", lambda: files.refused(1, "bucket", "create", "b"))
    check("a bucket that is none", lambda: files.refused(4, "ls", "nowhere", text="hint"))
    check("mkdir, and -p", lambda: (files.refused(4, "mkdir", "b/x/y"), out("mkdir", "-p", "b/x/y"), out("mkdir", "-p", "b/x/y"))[0])
    check("put and cat", lambda: (files.put("b/x/f", b"0123456789"), equal(out("cat", "b/x/f"), b"0123456789"))[1])
    check("cat --range", lambda: equal((out("cat", "--range", "2-4", "b/x/f"), out("cat", "--range", "8-", "b/x/f")), (b"234", b"89")))
    check("put into a folder, by a slash and without", lambda: (
        (here / "one").write_text("1"), text("put", "./one", "b/x/"), text("put", "./one", "b/x/y"),
        equal((out("cat", "b/x/one"), out("cat", "b/x/y/one")), (b"1", b"1")))[-1])
    check("put -n leaves what is there, and puts the rest", lambda: put_only_new(files))
    check("nothing put or imported leaves its folder through a link on the branch", lambda: stay_below(files))
    check("a pipe that is named is an error, with the way out", lambda: (
        os.mkfifo(here / "pipe"), files.refused(1, "put", "./pipe", "b/pipe", text="fs put -"))[-1])
    check("put - ends when the node refuses, not when its input does", lambda: refused_at_once(files))
    check("a folder needs -r", lambda: files.refused(2, "put", ".", "b/dot", text="-r"))
    check("a file that is not there", lambda: files.refused(4, "put", "./none", "b/"))
    check("ls -l, -a and -R", lambda: (
        files.put("b/x/.hidden", b""), "x/y/one" in text("ls", "-R", "b") and ".hidden" not in text("ls", "b/x")
        and ".hidden" in text("ls", "-a", "b/x") and "-rw-r--r--        10 B" in text("ls", "-l", "b/x"))[-1])
    check("tree", lambda: "── y\n" in text("tree", "b/x") and "── y\n" not in text("tree", "-L", "1", "b"))
    check("stat says the hash and the size", lambda: equal(
        json.loads(text("--json", "stat", "b/x/f"))["attributes"]["size"], 10) and "hash" in text("stat", "b/x/f"))
    check("ln and ln -s", lambda: (
        out("ln", "b/x/f", "b/x/second"), out("ln", "-s", "f", "b/x/soft"), equal(out("cat", "b/x/soft"), b"0123456789"),
        equal(json.loads(text("--json", "stat", "b/x/second"))["attributes"]["nlink"], 2))[-1])
    check("mv, into a folder, and -n", lambda: (
        out("mv", "b/x/second", "b/x/y/"), out("mv", "b/x/y/second", "b/x/third"), files.refused(1, "mv", "-n", "b/x/third", "b/x/f"))[-1])
    check("mv between branches is refused with the way out", lambda: (
        text("branch", "create", "b:other"), files.refused(2, "mv", "b/x/f", "b:other/f", text="alknet fs cp"))[-1])
    check("cp, -r, and from the past", lambda: (
        out("cp", "b/x/f", "b/copy"), files.refused(2, "cp", "b/x", "b/z", text="-r"), out("cp", "-r", "b/x", "b/z"),
        equal(out("cat", "b/z/f"), b"0123456789"))[-1])
    check("du and find", lambda: (
        "10 B" in text("du", "-s", "b/x/y") or "1 B" in text("du", "-s", "b/x/y"))
        and equal(text("find", "b/z", "--name", "o*", "--type", "f").split(), ["b/z/one", "b/z/y/one"])
        and equal(text("find", "b", "--larger", "1G"), ""))
    check("rm needs -r for what is not empty; -f", lambda: (
        files.refused(1, "rm", "b/z", text="-r"), out("rm", "-r", "b/z"), files.refused(4, "rm", "b/z"), out("rm", "-f", "b/z"))[0])
    check("the past cannot be changed", lambda: files.refused(2, "rm", "b@now-1h/x", text="past"))
    check("names: 256 bytes, .., NUL is no argument", lambda: (
        files.refused(2, "mkdir", "b/" + "n" * 256), files.refused(2, "mkdir", "b/.."), out("mkdir", "b/" + "n" * 255))[0])
    check("names of bytes", lambda: (
        files.put(b"b/\xff\n", b"x"), equal(out("cat", b"b/\xff\n"), b"x") and "\\xff\\n" in text("ls", "b"))[-1])
    check("complete gives buckets, branches and entries", lambda: (
        equal(text("complete", "b").split()[0], "b/") and equal(text("complete", "b:o").split(), ["b:other/"])
        and equal(text("complete", "b/x/th").split(), ["b/x/third"]) and equal(text("complete", "nowhere/"), "")))
    check("bash completes an address", lambda: equal(files.shell(
        "source <(alknet completions bash); COMP_LINE='alknet fs cat b:other/x/t' COMP_POINT=25 COMP_WORDS=(alknet fs cat b : other/x/t) COMP_CWORD=5; "
        "compopt() { :; }; _alknet_or_addresses; echo \"${COMPREPLY[@]}\"").stdout.split(), ["other/x/third"])
        if files.fs("cp", "-r", "b/x", "b:other/x").returncode == 0 else False)

    history(report, files)
    archives(report, files)
    check("nothing is said when nobody reads", lambda: nobody_reads(files))


def nobody_reads(files):
    """Into a pipe that nobody reads any more, every verb ends quietly and well, as `cat` would be ended."""
    files.put("b/x/large", os.urandom(3_000_000))
    verbs = ["ls b", "ls", "ls -lR b", "tree b", "cat b/x/large", "get b/x/large -", "stat b/x/f", "du b", "find b", "log b", "log b/x/f",
             "diff b b:other", "usage b", "branch list b", "snapshot list b", "bucket list", "hook list b", "conflicts b", "complete b/",
             "export b -", "export --as zip b -"]
    for words in [verb.split() for verb in verbs] + [["--json", *verb.split()] for verb in verbs]:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(["alknet", "fs", *words], env=files.environment, cwd=files.here, stdin=subprocess.DEVNULL, stdout=writer,
                              stderr=subprocess.PIPE, timeout=60, text=True)
        os.close(writer)
        if (done.returncode, done.stderr) != (0, ""):
            raise AssertionError(f"{words}: status {done.returncode}, {done.stderr!r}")
    files.out("rm", "b/x/large")
    return True


def put_only_new(files):
    here = files.here
    (here / "one").write_text("2"), (here / "dir").mkdir(), (here / "dir" / "one").write_text("2"), (here / "dir" / "new").write_text("n")
    files.text("put", "-n", "./one", "b/x/"), files.text("put", "-rn", "./dir", "b/x")
    files.text("put", "-n", "-", "b/x/one", stdin=b"2")
    return equal((files.out("cat", "b/x/one"), files.out("cat", "b/x/new")), (b"1", b"n"))


def stay_below(files):
    """What a hostile tar has, and a link that somebody put on the branch in the place of a folder."""
    here = files.here
    with tarfile.open(here / "slip.tar", "w") as slip:
        def add(name, kind, link="", content=b""):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            slip.addfile(member, io.BytesIO(content))
        add("up", tarfile.SYMTYPE, "..")
        add("up/victim", tarfile.REGTYPE, content=b"evil")
        add("root", tarfile.SYMTYPE, "/")
        add("root/slip/victim", tarfile.REGTYPE, content=os.urandom(400_000))
        add("f", tarfile.SYMTYPE, "../victim")
        add("f", tarfile.REGTYPE, content=b"file")
        add("big", tarfile.SYMTYPE, "../victim")
        add("big", tarfile.REGTYPE, content=os.urandom(400_000))
        add("nothing", tarfile.LNKTYPE, "never")
        add("last", tarfile.REGTYPE, content=b"last")
    files.put("b/slip/victim", b"kept")
    said = files.fs("import", "./slip.tar", "b/slip/in")
    equal((said.returncode, b"left out: 5" in said.stderr), (0, True))
    equal((files.out("cat", "b/slip/in/f"), files.out("cat", "b/slip/in/last"), len(files.out("cat", "b/slip/in/big"))), (b"file", b"last", 400_000))
    (here / "site" / "img").mkdir(parents=True), (here / "site" / "img" / "victim").write_text("new")
    files.out("ln", "-s", "..", "b/slip/in/img")
    files.refused(1, "put", "-r", "./site", "b/slip/in", text="/slip/in/img")
    return equal(files.out("cat", "b/slip/victim"), b"kept")


def refused_at_once(files):
    """At a terminal nothing comes from the input; a pipe that stays open is the same."""
    reading, writing = os.pipe()
    try:
        done = subprocess.run(["alknet", "fs", "put", "-", "no-such-bucket/x"], env=files.environment, stdin=reading, timeout=20, capture_output=True)
        return equal(done.returncode, 4)
    finally:
        os.close(reading), os.close(writing)


def history(report, files):
    check, out, text = report.check, files.out, files.text
    check("log of a branch and of a file", lambda: (
        files.put("b/h", b"one"), files.put("b/h", b"two"),
        equal([row["version"]["changes"] for row in files.rows("log", "b/h")], [["content", "attributes"], ["added"]]) and len(files.rows("log", "-n", "3", "b")) == 3)[-1])
    check("a version by its number", lambda: equal(
        out("cat", f"b@{files.rows('log', 'b/h')[-1]['seq']}/h"), b"one"))
    check("snapshot create, list, remove", lambda: (
        text("snapshot", "create", "b", "s1"), files.put("b/h", b"three"), equal(out("cat", "b@s1/h"), b"two"),
        "s1" in text("snapshot", "list", "b"), text("snapshot", "remove", "b", "s1"), files.refused(4, "ls", "b@s1"))[-1])
    check("restore", lambda: (
        text("restore", f"b@{files.rows('log', 'b/h')[-1]['seq']}/h"), equal(out("cat", "b/h"), b"one"),
        files.refused(2, "restore", "b/h", text="@"))[-1])
    check("a branch that follows", lambda: (
        text("branch", "create", "b:follower", "--follow"), files.put("b/h", b"later"), equal(out("cat", "b:follower/h"), b"later"),
        "follows" in text("branch", "list", "b"))[-1])
    check("usage", lambda: "versions" in text("usage", "b"))
    check("diff --json", lambda: (
        text("branch", "create", "b:d"), files.put("b:d/new", b"n"),
        equal([(row["path"], row["changes"]) for row in files.rows("diff", "b", "b:d")], [("/new", ["added"])]))[-1])
    check("merge --theirs", lambda: (
        files.put("b:d/h", b"theirs"), files.put("b/h", b"ours"), text("merge", "--theirs", "b:d", "b"), equal(out("cat", "b/h"), b"theirs"))[-1])
    check("a conflict is listed, read on both sides and settled", lambda: settle(files))
    check("merge of a branch with itself, or of a path", lambda: (
        files.refused(2, "merge", "b:d", "b:d"), files.refused(2, "merge", "b:d/h", "b"), files.refused(4, "merge", "b:no-such", "b"))[0])
    check("switch to a branch that is none", lambda: files.refused(4, "switch", "b", "no-such", text="branch list"))
    check("watch --exec tells of a change", lambda: watch(files))
    check("gc and fsck --deep", lambda: (text("gc", "--dry-run"), text("gc"), " 0 findings" in text("fsck", "--deep"))[-1])
    check("bucket remove needs --force", lambda: (
        text("bucket", "create", "gone"), files.put("gone/x", b"x"), files.refused(1, "bucket", "remove", "gone"),
        text("bucket", "remove", "--force", "gone"), files.refused(4, "ls", "gone"))[-1])


def settle(files):
    files.put("b:d/h", b"there"), files.put("b/h", b"here")
    merging = files.fs("--json", "merge", "b:d", "b")
    merged = json.loads(merging.stdout)
    equal(merging.returncode, 1)
    [conflict] = json.loads(files.text("--json", "conflicts", "b"))
    equal((merged["conflict_count"], merged["conflicts"]), (1, [conflict]))
    for side, wanted in (("ours", b"here"), ("theirs", b"there")):
        told = conflict[side]
        equal(files.out("cat", f"b:{told['branch']}@{told['at']}{told['path']}"), wanted)
    files.refused(2, "conflicts", "b", "settle", str(conflict["number"]), text="--ours")
    files.text("conflicts", "b", "settle", str(conflict["number"]), "--theirs")
    files.refused(4, "conflicts", "b", "settle", str(conflict["number"]), "--theirs")
    return equal((files.out("cat", "b/h"), files.text("conflicts", "b")), (b"there", ""))


def watch(files):
    told = files.here / "told"
    watching = subprocess.Popen(["alknet", "fs", "watch", "b/w", "--exec", f'echo "$ALKNET_CHANGE $ALKNET_PATH" >>{told}'],
                                env=files.environment, stdout=subprocess.DEVNULL)
    try:
        def seen():
            files.put("b/w/file", str(time.monotonic()).encode())
            return told.exists() and "/w/file" in told.read_text()
        return wait_until(seen, 20, "a change is told")
    finally:
        watching.terminate()
        watching.wait()


def archives(report, files):
    check, text, here = report.check, files.text, files.here
    root = make_tree(here / "rare")
    wanted = tree(root)

    def round_trip(name, *options):
        """Import, export as an archive, import that, export as a folder: the same tree."""
        text("bucket", "create", f"r-{name}")
        text("import", str(root), f"r-{name}/in")
        archive = here / f"rare.{name}"
        text("export", *options, f"r-{name}/in", str(archive))
        text("import", *options, str(archive), f"r-{name}/back")
        text("export", f"r-{name}/back", str(here / f"back-{name}"))
        return equal(tree(here / f"back-{name}"), wanted)

    check("import and export a folder", lambda: round_trip("dir"))
    check("through a tar", lambda: round_trip("tar"))
    check("through a tar.gz", lambda: round_trip("tar.gz"))
    check("through a zip", lambda: round_trip("zip"))
    check("through a Git repository, with --metadata", lambda: round_trip("git", "--metadata"))
    check("tarfile and zipfile read them", lambda: "large" in "".join(tarfile.open(here / "rare.tar").getnames())
          and zipfile.ZipFile(here / "rare.zip").testzip() is None)
    check("git clones what was exported", lambda: says(files.shell(f"git clone -q {here}/rare.git {here}/clone && cmp clone/large rare/large"), 0))
    check("a tar on standard output and input", lambda: says(
        files.shell("alknet fs export r-dir/in - | alknet fs import - r-dir/piped && alknet fs export r-dir/piped ./back-piped"), 0)
        and equal(tree(here / "back-piped"), wanted))
    check("get -rp, and again nothing is moved", lambda: (
        text("get", "-rp", "r-dir/in", "./got"), equal(tree(here / "got"), wanted), "; 0 B moved" in text("get", "-rp", "r-dir/in", "./got"))[-1])
    check("put -rp again moves nothing", lambda: "; 0 B moved" in text("put", "-rp", "./rare", "r-dir/in"))


def trial(report, world):
    node = Node(world, "node").start("--key-file")
    files = Files(world, node)
    replay(report, files)
    verbs(report, files)


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
