#!/usr/bin/env python3
"""Webhooks and queues that a node tells of commits: order, signatures, kills, and web servers of every bad sort.

    fs_hooks.py ALKNET

The web server is Python's, with a certificate that the node is told to trust; signatures are verified with Python's hmac. Prints PASS and
FAIL lines and a total; exits 1 when one fails.
"""

import base64
import hashlib
import hmac
import json
import shutil
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from _call import local
from _node import Node, equal, run, says, wait_until

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
CANARY = "canary-in-the-url"
COMMITS = 12
HUGE = 10_000_000_000


def certificate(world, name):
    """A key and a certificate for localhost, by openssl."""
    cert, key = world.root / f"{name}.pem", world.root / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


class Heard:
    """A request as it arrived."""

    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body
        self.id, self.said, self.at = headers["webhook-id"], json.loads(body), time.monotonic()

    def is_signed(self, key=KEY):
        """Whether the signature is what HMAC-SHA256 gives, and the time is now."""
        stamp = self.headers["webhook-timestamp"]
        content = f"{self.id}.{stamp}.".encode() + self.body
        wanted = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(wanted, self.headers["webhook-signature"] or "") and abs(time.time() - int(stamp)) < 60


class Server:
    """A web server: what it answers depends on the path, and can be changed."""

    def __init__(self, cert, key):
        self.heard, self.lock, self.sent = [], threading.Lock(), 0
        self.status, self.act, self.held = {}, {}, threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                owner.note(Heard(self.path, self.headers, b"{}"))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                path = self.path.split("?")[0]
                heard = Heard(self.path, self.headers, body)
                owner.note(heard)
                owner.act.get(path, lambda _: None)(heard)
                if path == "/hangs":
                    owner.held.wait(120)
                    return
                status = owner.status.get(path, 204)
                self.send_response(status)
                if path == "/redirects":
                    self.send_header("Location", f"https://localhost:{owner.port}/elsewhere")
                length = HUGE if path == "/huge" else 0
                self.send_header("Content-Length", str(length))
                self.end_headers()
                try:
                    while length > 0:
                        self.wfile.write(bytes(65536))
                        owner.sent += 65536
                        length -= 65536
                except OSError:
                    pass
                self.close_connection = True

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        # A client that goes away is nothing to speak of.
        self.http.handle_error = lambda *_: None
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def note(self, heard):
        with self.lock:
            self.heard.append(heard)

    def to(self, path):
        with self.lock:
            return [heard for heard in self.heard if heard.path.split("?")[0] == path]

    def seqs(self, path):
        return [heard.said["seq"] for heard in self.to(path)]

    def url(self, path):
        return f"https://localhost:{self.port}{path}"


class Files:
    """A node's bucket, and its hooks."""

    def __init__(self, node):
        self.node = node

    def fs(self, *words, **options):
        return self.node.call("fs", *words, **options)

    def done(self, *words, **options):
        done = self.fs(*words, **options)
        says(done, 0)
        return done.stdout

    def put(self, address, content):
        """The number of the commit."""
        said = self.done("put", "-", address, "--json", stdin=content).splitlines()
        return json.loads(said[-1])["committed"]["seq"]

    def hooks(self, bucket):
        return {hook["name"]: hook for hook in json.loads(self.done("hook", "list", bucket, "--json"))}

    def hook(self, bucket, name):
        return self.hooks(bucket)[name]

    def until(self, bucket, name, what, holds, seconds=30):
        return wait_until(lambda: (lambda hook: hook if holds(hook) else None)(self.hook(bucket, name)), seconds, what)

    def is_current(self, bucket, name, seconds=30):
        return self.until(bucket, name, f"{name} was told of everything", lambda hook: hook["told"] == hook["head"], seconds)

    def jobs(self, queue):
        """Claims all jobs of a queue and ends them."""
        calls, found = local(f"{self.node.data}/alknet.sock"), []
        while True:
            kind, answer = calls.call("queues/claim", {"queue": queue, "worker": "w", "count": 100})
            jobs = answer["output"]["jobs"] if kind != "call.error" else []
            if not jobs:
                calls.close()
                return found
            for job in jobs:
                found.append(job)
                calls.output("queues/ack", {"queue": queue, "job": job["job"], "attempt": job["attempt"]})


def told(report, world, node, server):
    files = Files(node)
    files.done("bucket", "create", "told")
    secret = world.root / "secret"
    secret.write_text(SECRET)
    says(node.call("credential", "add", "deploy", "--kind", "api-key", "--file", str(secret)), 0)
    files.done("mkdir", "told/in")
    files.done("hook", "add", "told/in", "jpgs", "--suffix", ".jpg", "--url", server.url(f"/jpgs?{CANARY}"), "--secret", "deploy")
    files.done("hook", "add", "told", "all", "--url", server.url("/all"), "--secret", "deploy")
    files.done("hook", "add", "told", "plain", "--url", server.url("/plain"))
    wanted = [files.put(f"told/in/{number}.jpg", f"{number}") for number in range(COMMITS)]
    others = [files.put(f"told/{name}", name) for name in ("in/a.txt", "b.jpg", "inn.jpg")]

    def order():
        files.is_current("told", "all")
        equal(server.seqs("/all"), wanted + others)
        return equal(server.seqs("/jpgs"), wanted)
    report.check("each commit that concerns a hook is posted, in order", order)
    report.check("each is signed, as Python's hmac sees it",
                 lambda: server.to("/all") and all(heard.is_signed() for heard in server.to("/all") + server.to("/jpgs")))
    report.check("another key, another body and another id are noticed", lambda: not any(
        [server.to("/all")[0].is_signed(KEY[::-1]), Heard("/", {**dict(server.to("/all")[0].headers.items()), "webhook-id": "x"}, b"{}").is_signed()]))
    report.check("without a secret nothing is signed", lambda: wait_until(lambda: server.to("/plain"), 10, "it is posted") and not any(
        "webhook-signature" in heard.headers for heard in server.to("/plain")))

    def said():
        heard = server.to("/jpgs")[0]
        equal({key: heard.said[key] for key in ("bucket", "branch", "hook", "seq", "changes", "more")},
              {"bucket": "told", "branch": "main", "hook": "jpgs", "seq": wanted[0], "more": False,
               "changes": [{"path": "/in/0.jpg", "changes": ["added"], "kind": "file"}]})
        ids = [each.id for each in server.to("/all") + server.to("/jpgs") + server.to("/plain")]
        return equal(len(set(ids)), len(ids)) and equal(heard.headers["content-type"], "application/json")
    report.check("what is said is what was changed, each under an id of its own", said)
    report.check("the log has no secret and no URL", lambda: CANARY not in node.log() and SECRET not in node.log())

    def rotated():
        other = bytes(reversed(range(32)))
        secret.write_text(f"whsec_{base64.b64encode(other).decode()}")
        says(node.call("credential", "rotate", "deploy", "--kind", "api-key", "--file", str(secret)), 0)
        seq = files.put("told/in/rotated.jpg", "x")
        heard = wait_until(lambda: [each for each in server.to("/jpgs") if each.said["seq"] == seq], 10, "it is posted")
        return heard[0].is_signed(other)
    report.check("a new secret signs from then on", rotated)

    def without():
        before = len(server.to("/jpgs"))
        says(node.call("credential", "remove", "deploy"), 0)
        files.put("told/in/without.jpg", "x")
        files.until("told", "jpgs", "it fails", lambda hook: hook["state"] == "failing" and "deploy" in hook["error"])
        return equal(len(server.to("/jpgs")), before)
    report.check("without its credential nothing is posted unsigned", without)


def kills(report, node, server, environment):
    """The node is killed again and again while files are written: nothing is left out, no job comes twice."""
    files = Files(node)
    files.done("bucket", "create", "killed")
    files.done("hook", "add", "killed", "web", "--url", server.url("/killed"))
    files.done("hook", "add", "killed", "jobs", "--queue", "killed")
    wanted = []
    for number in range(4):
        for each in range(5):
            wanted.append(files.put("killed/f", f"{number} {each}"))
        node.kill()
        node.start("--key-file", environment=environment)

    def jobs():
        files.is_current("killed", "jobs")
        found = files.jobs("killed")
        equal([job["producer"] for job in found], ["local-owner"] * len(wanted))
        return equal([job["payload"]["seq"] for job in found], wanted)
    report.check("each commit is a job exactly once, whatever kills the node", jobs)

    def web():
        files.is_current("killed", "web")
        seqs, ids = server.seqs("/killed"), {}
        for heard in server.to("/killed"):
            equal(ids.setdefault(heard.id, heard.body), heard.body)
        first = sorted(set(seqs), key=seqs.index)
        return equal(first, wanted) and equal(len(ids), len(wanted))
    report.check("each commit is posted at least once, in order, under its id", web)

    def between():
        """The web server kills the node when it has the request: the answer is lost, so it comes again, the same."""
        killed = []

        def kill(heard):
            if not killed:
                killed.append(heard)
                node.kill()
        server.act["/killed"] = kill
        before = len(server.to("/killed"))
        seq = files.put("killed/f", "between")
        wait_until(lambda: killed and node.process.poll() is not None, 20, "it is killed")
        node.start("--key-file", environment=environment)
        again = wait_until(lambda: server.to("/killed")[before + 1:], 20, "it is posted again")
        files.is_current("killed", "web")
        return equal((again[0].id, again[0].body, again[0].said["seq"]), (killed[0].id, killed[0].body, seq))
    report.check("killed between posting and the answer, the node posts the same again", between)


def bad_servers(report, world, node, server):
    files = Files(node)
    files.done("bucket", "create", "bad")
    for path in ("hangs", "redirects", "huge", "fails", "gone", "well"):
        files.done("hook", "add", "bad", path, "--url", server.url(f"/{path}"))
    files.done("hook", "add", "bad", "queue", "--queue", "bad")
    server.status.update({"/redirects": 307, "/fails": 500, "/gone": 410})
    before = node.resident_kib()
    begin = time.monotonic()
    wanted = [files.put("bad/f", f"{number}") for number in range(3)]
    took = time.monotonic() - begin

    report.check("writers do not wait for hooks", lambda: took < 5)
    report.check("a server that hangs holds up no other", lambda: files.is_current("bad", "well") and equal(server.seqs("/well"), wanted)
                 and equal([job["payload"]["seq"] for job in files.jobs("bad")], wanted) and equal(server.seqs("/hangs"), wanted[:1]))

    def redirect():
        hook = files.until("bad", "redirects", "it fails", lambda hook: hook["attempts"] >= 2)
        equal(server.to("/elsewhere"), [])
        return equal((hook["state"], hook["told"]), ("failing", wanted[0] - 1)) and "HTTP 307" in hook["error"]
    report.check("a redirect is not followed", redirect)

    def huge():
        files.is_current("bad", "huge")
        equal(server.seqs("/huge"), wanted)
        if server.sent > 64 << 20 or node.resident_kib() - before > 65536:
            raise AssertionError(f"{server.sent} bytes were sent, {node.resident_kib() - before} KiB more are resident")
        return True
    report.check("an answer of 10 GB is not read", huge)

    def fails():
        hook = files.until("bad", "fails", "it fails and fails", lambda hook: hook["attempts"] >= 3)
        heard = server.to("/fails")
        equal({each.said["seq"] for each in heard}, {wanted[0]})
        rests = [later.at - earlier.at for earlier, later in zip(heard, heard[1:])]
        for rest, least in zip(rests, (1, 2, 4)):
            if rest < least:
                raise AssertionError(f"it rested {rests}")
        return equal(hook["state"], "failing") and "HTTP 500" in hook["error"]
    report.check("500 for ever: it rests longer and longer, and tells nothing else first", fails)

    def mended():
        server.status["/fails"] = 200
        files.done("hook", "resume", "bad", "fails")
        files.is_current("bad", "fails", 10)
        return equal(server.seqs("/fails")[-3:], wanted)
    report.check("mended and resumed, it is told of all", mended)

    def gone():
        hook = files.until("bad", "gone", "it is paused", lambda hook: hook["state"] == "paused")
        equal(server.seqs("/gone"), wanted[:1])
        return "HTTP 410" in hook["error"]
    report.check("410 pauses a hook", gone)

    def listed():
        done = files.fs("hook", "list", "bad")
        return says(done, 0, "paused", "failing", "ready", "HTTP 410", f"{wanted[-1]} of {wanted[-1]}")
    report.check("hook list says how each does", listed)

    def removed():
        for path in ("hangs", "redirects", "huge", "fails", "gone"):
            files.done("hook", "remove", "bad", path)
        says(files.fs("hook", "remove", "bad", "gone"), 4, "hook list")
        return equal(sorted(files.hooks("bad")), ["queue", "well"])
    report.check("hooks are removed", removed)
    server.held.set()


def strangers(report, world, node, server, environment):
    """Servers that are not who they should be, or where nobody shall go."""
    files = Files(node)
    files.done("bucket", "create", "safe")
    forged = Server(*certificate(world, "forged"))

    def certified():
        files.done("hook", "add", "safe", "forged", "--url", forged.url("/x"))
        files.put("safe/f", "x")
        hook = files.until("safe", "forged", "it fails", lambda hook: hook["attempts"] >= 1)
        return "certificate" in hook["error"] and equal(forged.to("/x"), [])
    report.check("a server without a certificate that is trusted is told nothing", certified)
    for url in ("http://localhost/", f"http://127.0.0.1:{server.port}/x", "ftp://localhost/", "https://me@localhost/", "localhost"):
        report.check(f"{url} is refused", lambda url=url: says(files.fs("hook", "add", "safe", "h", "--url", url), 2, "https URL"))
    port = server.port
    for host in ("[::1]", "10.1.2.3", "169.254.169.254", "192.168.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "0.0.0.0"):
        report.check(f"{host} is refused: it is not public", lambda host=host: says(
            files.fs("hook", "add", "safe", "h", "--url", f"https://{host}:{port}/"), 2, "no public address", "private_hooks"))
    node.stop()
    narrow = dict(environment)
    del narrow["ALKNET_FS_PRIVATE_HOOKS"]
    node.start("--key-file", environment=narrow)
    for host in ("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001"):
        report.check(f"{host} is refused where the configuration does not name it", lambda host=host: says(
            files.fs("hook", "add", "safe", "h", "--url", f"https://{host}:{port}/"), 2, "no public address"))

    def later():
        """A hook from before the configuration was changed."""
        before = len(server.to("/later"))
        files.put("safe/f", "y")
        hook = files.until("safe", "later", "it fails", lambda hook: hook["attempts"] >= 1)
        return equal(len(server.to("/later")), before) and "no public address" in hook["error"]
    node.stop()
    node.start("--key-file", environment=environment)
    files.done("hook", "add", "safe", "later", "--url", server.url("/later"))
    node.stop()
    node.start("--key-file", environment=narrow)
    report.check("what is not allowed any more is not dialled any more", later)
    node.stop()
    node.start("--key-file", environment=environment)


def makers(report, world, node, server):
    """A hook that a peer made goes as far as the peer's rights, and as long."""
    files = Files(node)
    files.done("bucket", "create", "shared")
    bob = Node(world, "bob").start("--key-file")
    says(node.call("peer", "add", "bob", "--key", bob.node_id, "--role", "maintainer"), 0)
    says(bob.call("peer", "add", "head", "--ticket", node.status["ticket"]), 0)

    def add(name, *words):
        return bob.call("fs", "hook", "add", "head//shared", name, *words)
    report.check("a maintainer makes a hook from another node", lambda: says(add("web", "--url", server.url("/bob")), 0, "is told of shared:main"))
    report.check("a credential is not for whoever may set buckets", lambda: says(
        add("signed", "--url", server.url("/bob"), "--secret", "any"), 3))
    report.check("nor is a queue", lambda: says(add("jobs", "--queue", "any"), 3))

    def reads():
        seq = files.put("shared/f", "1")
        wait_until(lambda: server.seqs("/bob") == [seq], 10, "it is told")
        return equal(files.hook("shared", "web")["maker"], "bob")
    report.check("it is told on behalf of who made it", reads)

    def ended():
        says(node.call("peer", "remove", "bob"), 0)
        before = len(server.to("/bob"))
        files.put("shared/f", "2")
        hook = files.until("shared", "web", "it is paused", lambda hook: hook["state"] == "paused")
        return equal(len(server.to("/bob")), before) and "bob" in hook["error"]
    report.check("with the peer's rights its hooks end", ended)


def trial(report, world):
    cert, key = certificate(world, "trusted")
    server = Server(cert, key)
    environment = {"SSL_CERT_FILE": str(cert), "ALKNET_FS_PRIVATE_HOOKS": "127.0.0.0/8"}
    node = Node(world, "node").start("--key-file", environment=environment)
    told(report, world, node, server)
    kills(report, node, server, environment)
    bad_servers(report, world, node, server)
    strangers(report, world, node, server, environment)
    makers(report, world, node, server)


if __name__ == "__main__":
    if not shutil.which("openssl"):
        print("SKIP everything: openssl is not installed, which makes the web server's certificate")
        sys.exit(77)
    sys.exit(run(trial, __doc__))
