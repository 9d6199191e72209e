"""Part of the Python scripts beside it: a tally, a temporary world, and nodes in it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class Report:
    """A line for each check."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, function):
        """Passes when the function returns something true; any surprise is a failed check, and the next one still runs."""
        begin = time.monotonic()
        try:
            ok, detail = function(), ""
        except Exception as error:
            ok, detail = False, f": {type(error).__name__}: {error}"
        took = time.monotonic() - begin
        self.passed += bool(ok)
        self.failed += not ok
        print(f"{'PASS' if ok else 'FAIL'} {name}{detail}{f' ({took:.1f} s)' if took > 1 else ''}", flush=True)
        return bool(ok)

    def skip(self, name, why):
        print(f"SKIP {name}: {why}", flush=True)

    def total(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def run(trial, doc, takes_more=False):
    """Makes the trial, with a report and a world for the binary that the command line names; returns the exit status."""
    if len(sys.argv) != 2 and not (takes_more and len(sys.argv) > 2):
        print(doc, file=sys.stderr)
        return 2
    report = Report()
    with World(sys.argv[1]) as world:
        trial(report, world)
    return report.total()


def allow_many_files():
    """As many open files as thousands of connections need, where that is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))


def mounts_work():
    """Whether file systems can be mounted here, in a namespace of their own."""
    return subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def equal(found, wanted):
    """Says what was found when it is not what was wanted."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")
    return True


def says(done, status, *texts):
    """The command ended with this status and said these texts."""
    said = (done.stdout or "") + (done.stderr or "")
    missing = [text for text in texts if text not in said]
    if done.returncode != status or missing:
        raise AssertionError(f"status {done.returncode}, wanted {status} and {missing}; it said: {said[-500:]}")
    return True


def owner_gets_in(ssh, within=2):
    """The owner logs in and runs a command, within so many seconds."""
    begin = time.monotonic()
    done = subprocess.run([*ssh, "echo in"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    took = time.monotonic() - begin
    says(done, 0, "in")
    if took > within:
        raise AssertionError(f"the owner needed {took:.1f} s")
    return True


def wait_until(condition, seconds, what):
    """Polls a condition until it holds; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class World:
    """A temporary folder with an empty home; ends what was started in it."""

    def __init__(self, binary):
        self.binary = Path(binary).resolve(strict=True)
        self.root = Path(tempfile.mkdtemp(prefix="alknet-interop."))
        self.owned = []
        home = self.folder("home")
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        self.environment = {**kept, "HOME": home, "LANG": "C.UTF-8", "TERM": "xterm", "USER": "me"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.owned:
            end(pid)
        shutil.rmtree(self.root, ignore_errors=True)

    def folder(self, name):
        path = self.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        return str(path)

    def own(self, pid):
        """Has the process ended at the end, if it is still this one then."""
        self.owned.append(Birth(pid))

    def alknet(self, *arguments, stdin=None, timeout=60, prefix=()):
        return subprocess.run([*prefix, str(self.binary), *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=timeout, **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}))


class Birth:
    """A process, known by its number and the time it began, so that nobody else's is ever ended."""

    def __init__(self, pid):
        self.pid, self.began = pid, began(pid)

    def lives(self):
        return self.began is not None and began(self.pid) == self.began


def began(pid):
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] == "Z" else after_name[19]


def end(process):
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not process.lives():
            return
        os.kill(process.pid, number)
        try:
            wait_until(lambda: not process.lives(), 5, "the process ends")
        except TimeoutError:
            continue


class Node:
    """A node on a data folder, on a port that the kernel chooses."""

    def __init__(self, world, name, data=None):
        self.world, self.name = world, name
        self.data = data or str(world.root / name)
        self.process = None

    def start(self, *arguments, prefix=(), environment=None, listen="127.0.0.1:0"):
        log = open(self.world.root / f"{self.name}.log", "a")
        self.process = subprocess.Popen(
            [*prefix, str(self.world.binary), "up", "--listen", listen, "--data", self.data, *arguments],
            env={**self.world.environment, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.world.own(self.process.pid)
        log.close()
        wait_until(lambda: self.process.poll() is not None or self.call("status").returncode == 0, 20, f"{self.name} serves")
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} did not start: {self.log()[-600:]}")
        self.status = self.json("status")
        self.node_id = self.status["node_id"]
        self.port = int(self.status["listen"][0]["addr"].rsplit(":", 1)[1])
        self.pid = self.status["pid"]
        return self

    def log(self):
        return (self.world.root / f"{self.name}.log").read_text(errors="replace")

    def call(self, *arguments, **options):
        return self.world.alknet("--data", self.data, *arguments, **options)

    def json(self, *arguments):
        done = self.call(*arguments, "--json")
        says(done, 0)
        return json.loads(done.stdout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        says(self.call("stop"), 0)
        return self.process.wait(15)

    def answers(self):
        return self.call("status").returncode == 0

    def resident_kib(self):
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    def give_ssh_key(self, peer="me", role="owner"):
        """Makes a key and adds it as a peer; returns the arguments for ssh."""
        key = self.world.root / f"{self.name}-{peer}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
        says(self.call("peer", "add", peer, "--key", f"{key}.pub", "--role", role), 0)
        return ["ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
                "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.world.root}/known_hosts",
                "-p", str(self.port), f"{peer}@127.0.0.1"]
