"""Part of ssh_clients.py: the checks that every SSH client is put through, and what a client must be able to do for them.

A client is an object with the methods of `Client`; one that it lacks raises `Cannot` with the reason.
"""

import hashlib
import http.server
import os
import socket
import subprocess
import threading
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

from _node import equal, wait_until

Done = namedtuple("Done", "status out err")

MIB = 1 << 20
BULK_MIB = 8


class Cannot(Exception):
    """The client has no such thing."""


class Far:
    """The node as a client sees it, and what belongs to the checks."""

    def __init__(self, world, node):
        self.world, self.node, self.port, self.user = world, node, node.port, "alknet"
        self.host_key = node.json("call", "node/identify", "{}")["ssh_host_key"]
        self.key, self.stranger = self.new_key("mine", "me"), self.new_key("stranger")
        self.other_host_key = Path(f"{self.stranger}.pub").read_text().strip()
        self.web = Web()
        # An ssh-agent with keys of the node's vault, to be forwarded.
        agent = node.json("agent")
        world.own(agent["pid"])
        self.agent = agent["socket"]
        listed = subprocess.run(["ssh-add", "-L"], env={**world.environment, "SSH_AUTH_SOCK": self.agent}, capture_output=True)
        self.agent_keys = listed.stdout

    def new_key(self, name, peer=None):
        """Makes a key file, and the key's owner an owner of the node."""
        path = str(self.world.root / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True, stdin=subprocess.DEVNULL)
        if peer:
            self.add_peer(peer, Path(f"{path}.pub").read_text().strip())
        return path

    def add_peer(self, name, line):
        done = self.node.call("peer", "add", name, "--key", line, "--role", "owner")
        equal((done.returncode, done.stderr), (0, ""))

    def fingerprint(self, line):
        path = self.world.root / "fingerprint.pub"
        path.write_text(line + "\n")
        return subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True).stdout.split()[1]


class Web:
    """An HTTP server on loopback that forwards lead to."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = b"web" + self.path.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Client:
    """What the checks ask for. Each method makes connections of its own."""

    name = None
    reason = "the client has no such option"

    def __init__(self, far):
        self.far = far

    def version(self):
        raise NotImplementedError

    def run(self, command, stdin=b"", key=None, host_key=None, pty=False, extra=None):
        """Runs a command; a refused login is an exception or a status that is not 0."""
        raise NotImplementedError

    def killed(self):
        """A command that ends by a signal."""
        return self.run("kill -9 $$")

    def shell(self, lines):
        raise Cannot(self.reason)

    def local(self, port):
        """-L: a context that gives a port here."""
        raise Cannot(self.reason)

    def remote(self, port):
        """-R: a context that gives a port at the node."""
        raise Cannot(self.reason)

    def socks(self):
        """-D: a context that gives a port here."""
        raise Cannot(self.reason)

    def stdio(self, port, data):
        """-W: what comes back when this is sent to a port at the node."""
        raise Cannot(self.reason)

    def jump(self, command):
        """-J: a command at the node, reached through the node."""
        raise Cannot(self.reason)

    def many(self, count):
        """What `echo mN` prints in so many sessions at once on one connection."""
        raise Cannot(self.reason)

    def rekeyed(self, blob):
        """`cat` of this while the client changes keys several times."""
        raise Cannot(self.reason)

    def with_agent(self, command):
        """-A: what a command prints that may use the agent here."""
        raise Cannot(self.reason)

    def certified(self, key, command):
        """A command, with the certificate that lies beside the key."""
        raise Cannot(self.reason)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


@contextmanager
def background(words, port, **options):
    """A command that forwards, until the port listens and as long as it is used."""
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    try:
        wait_until(lambda: child.poll() is not None or listens(port), 20, f"port {port} listens")
        if child.poll() is not None:
            raise AssertionError(f"it ended: {child.stderr.read()[-400:]!r}")
        yield port
    finally:
        child.terminate()
        child.wait(10)


def fetched(port, path, *options):
    return subprocess.run(["curl", "-sS", "-m", "20", *options, f"http://127.0.0.1:{port}{path}"], capture_output=True).stdout


def sha(data):
    return hashlib.sha256(data).hexdigest()


def is_refused(action, marker):
    """The login fails: no output, and an exception or a status that is not 0."""
    try:
        done = action()
    except Exception:
        return True
    if done.status == 0 or marker in done.out:
        raise AssertionError(f"it got in: {done}")
    return True


def certificate(far, client, principal="certified", validity="+1h"):
    """A key whose certificate, by a CA that the node trusts for the peer `certified`, lies beside it."""
    ca, key = far.world.root / "ca", far.new_key(f"certified-{client.name}-{os.urandom(3).hex()}")
    if not ca.exists():
        far.new_key("ca")
        far.add_peer("certified", "cert-authority " + Path(f"{ca}.pub").read_text().strip())
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "check", "-n", principal, "-V", validity, f"{key}.pub"], check=True)
    return key


def checks(far):
    """The rows of the matrix: a name, and a function of the client."""
    blob, large = os.urandom(BULK_MIB * MIB), os.urandom(3 * MIB)
    web = far.web.port
    request = b"GET /stdio HTTP/1.0\r\n\r\n"

    def through(context, check):
        with context as port:
            return check(port)

    def echoes(found, count):
        return equal(found, [f"m{index}\n".encode() for index in range(count)])

    def at_once(client):
        found = [None] * 8

        def one(index):
            found[index] = client.run(f"echo m{index}").out

        threads = [threading.Thread(target=one, args=(index,)) for index in range(len(found))]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
        return echoes(found, len(found))

    def streams(client):
        return equal(client.run("echo out; echo err >&2")[1:], (b"out\n", b"err\n"))

    def remote(port):
        return equal(fetched(port, "/R"), b"web/R")

    return [
        ("exec", lambda c: equal(c.run("printf 'a\\nb'"), Done(0, b"a\nb", b""))),
        ("exit status", lambda c: equal(c.run("exit 7").status, 7)),
        ("stderr apart", streams),
        ("killed command fails", lambda c: c.killed().status != 0),
        ("end of input", lambda c: equal(c.run("cat; echo end").out, b"end\n")),
        (f"{BULK_MIB} MiB up", lambda c: equal(c.run("sha256sum", blob).out.split()[0].decode(), sha(blob))),
        (f"{BULK_MIB} MiB both ways at once", lambda c: equal(sha(c.run("cat", blob).out), sha(blob))),
        ("terminal", lambda c: b"/dev/pts/" in c.run("tty", pty=True).out),
        ("login shell", lambda c: b"shell-42" in c.shell(b"echo shell-$((6*7))\nexit\n")),
        ("wrong key refused", lambda c: is_refused(lambda: c.run("echo got-in", key=far.stranger), b"got-in")),
        ("wrong host key noticed", lambda c: is_refused(lambda: c.run("echo got-in", host_key=far.other_host_key), b"got-in")),
        ("change of keys under load", lambda c: equal(sha(c.rekeyed(large)), sha(large))),
        ("8 sessions on one connection", lambda c: echoes(c.many(8), 8)),
        ("8 connections at once", at_once),
        ("local forward (-L)", lambda c: through(c.local(web), lambda port: equal(fetched(port, "/L"), b"web/L"))),
        ("remote forward (-R)", lambda c: through(c.remote(web), remote)),
        ("SOCKS5 (-D)", lambda c: through(c.socks(), lambda port: equal(fetched(web, "/D", "--socks5", f"127.0.0.1:{port}"), b"web/D"))),
        ("standard streams to a port (-W)", lambda c: c.stdio(web, request).endswith(b"web/stdio")),
        ("jump through the node (-J)", lambda c: equal(c.jump("echo jumped"), b"jumped\n")),
        ("agent forwarding (-A)", lambda c: equal((c.with_agent("ssh-add -L"), len(far.agent_keys.splitlines())), (far.agent_keys, 3))),
        ("user certificate", lambda c: equal(c.certified(certificate(far, c), "echo certified"), b"certified\n")),
    ]
