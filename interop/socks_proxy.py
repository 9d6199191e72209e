#!/usr/bin/env python3
"""`alknet socks` between curl, a SOCKS5 client of its own (RFC 1928) and a node, over each carrier.

    socks_proxy.py BINARY
"""

import http.server
import json
import socket
import struct
import subprocess
import sys
import threading
import time

from _node import Node, Report, World, equal, says

TIMEOUT = 10
# A datagram that is not answered for so long is sent again.
RESEND = 0.3


def exactly(io, count):
    data = b""
    while len(data) < count:
        more = io.recv(count - len(data))
        if not more:
            raise EOFError(f"{len(data)} of {count} bytes")
        data += more
    return data


def address(host, port):
    try:
        return b"\x01" + socket.inet_aton(host) + struct.pack(">H", port)
    except OSError:
        return b"\x03" + bytes([len(host)]) + host.encode() + struct.pack(">H", port)


def ask(proxy, command, host, port):
    io = socket.create_connection(proxy, timeout=TIMEOUT)
    io.sendall(b"\x05\x01\x00")
    assert exactly(io, 2) == b"\x05\x00"
    io.sendall(bytes([5, command, 0]) + address(host, port))
    head = exactly(io, 4)
    bound = exactly(io, {1: 4, 4: 16}[head[3]])
    (port,) = struct.unpack(">H", exactly(io, 2))
    return io, head[1], (socket.inet_ntop(socket.AF_INET if len(bound) == 4 else socket.AF_INET6, bound), port)


def echo_server():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def run():
        while True:
            data, peer = server.recvfrom(65535)
            server.sendto(data, peer)

    threading.Thread(target=run, daemon=True).start()
    return server.getsockname()[1]


class Relay:
    def __init__(self, proxy):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(TIMEOUT)
        self.heard = set()
        self.control, self.code, bound = ask(proxy, 3, "0.0.0.0", 0)
        if self.code == 0:
            self.socket.connect(bound)

    def send(self, host, port, data, fragment=0):
        self.socket.send(bytes([0, 0, fragment]) + address(host, port) + data)

    def receive(self, timeout=TIMEOUT):
        self.socket.settimeout(timeout)
        data = self.socket.recv(65535)
        assert data[:4] == b"\0\0\0\x01", data[:4]
        return (socket.inet_ntoa(data[4:8]), struct.unpack(">H", data[8:10])[0]), data[10:]

    def answered(self, questions, answers):
        """Whether each question has its answer. Datagrams may be lost: what is not answered is asked again; what else is heard is late."""
        missing, until = dict(zip(answers, questions, strict=True)), time.monotonic() + TIMEOUT
        while missing and time.monotonic() < until:
            for host, port, data in missing.values():
                self.send(host, port, data)
            try:
                while missing:
                    heard = self.receive(timeout=RESEND)
                    self.heard.add(heard[1])
                    missing.pop(heard, None)
            except TimeoutError:
                pass
        return equal(missing, {})


def page_server():
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(PAGE_BYTES))
            self.end_headers()
            self.wfile.write(bytes(PAGE_BYTES))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


PAGE_BYTES = 3_000_000


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "20", "--noproxy", "", "-o", "/dev/null", "-w",
                           "%{http_code} %{http_connect} %{size_download}", *arguments], capture_output=True, text=True)
    return done.stdout + done.stderr


def pages(report, label, proxy):
    at, port = f"{proxy[0]}:{proxy[1]}", page_server()
    whole = f"200 000 {PAGE_BYTES}"
    for option in ("--socks5", "--socks5-hostname"):
        report.check(f"{label}: curl {option}", lambda: equal(curl("-4", option, at, f"http://localhost:{port}/"), whole))
    tunnel = ["-p", "-x", f"http://{at}"]
    report.check(f"{label}: curl -p -x http://", lambda: equal(curl(*tunnel, f"http://localhost:{port}/"), whole.replace("000 ", "200 ", 1)))
    report.check(f"{label}: curl -x http:// is told what this is", lambda: curl("-x", f"http://{at}", "http://a/").startswith("405"))
    report.check(f"{label}: nobody listens", lambda: "(5)" in curl("--socks5-hostname", at, "http://localhost:1/"))
    report.check(f"{label}: nobody listens, by CONNECT", lambda: "000 502" in curl(*tunnel, "http://localhost:1/"))
    report.check(f"{label}: SOCKS4 is refused", lambda: "(91)" in curl("-4", "--socks4", at, f"http://localhost:{port}/"))


def datagrams(report, label, proxy):
    def check(name, function):
        report.check(f"{label}: {name}", function)

    port, relay = echo_server(), Relay(proxy)
    check("UDP ASSOCIATE is granted", lambda: equal(relay.code, 0))

    def answered(host, data, to=port):
        return relay.answered([(host, to, data)], [(("127.0.0.1", to), data)])

    for host in ("127.0.0.1", "localhost"):
        check(f"a datagram to {host} is answered", lambda: answered(host, b"question"))
    for size in (0, 1, 512, 1200, 1472, 8192, 65000):
        check(f"a datagram of {size} bytes comes back whole", lambda: answered("127.0.0.1", bytes(size)))
    check("200 questions have 200 answers", lambda: all(answered("127.0.0.1", struct.pack(">I", n)) for n in range(200)))

    def many():
        others = [(echo_server(), b"one of many") for _ in range(20)]
        return relay.answered([("127.0.0.1", *other) for other in others], [(("127.0.0.1", port), data) for port, data in others])

    check("20 destinations answer through one relay", many)

    def dropped(*rubbish):
        other = Relay(proxy)
        for one in rubbish:
            other.socket.send(one)
        return other.answered([("127.0.0.1", port, b"after that")], [(("127.0.0.1", port), b"after that")]) and equal(other.heard, {b"after that"})

    check("a fragment is dropped", lambda: dropped(b"\0\0\1" + address("127.0.0.1", port) + b"piece"))
    check("rubbish is dropped", lambda: dropped(b"", b"\0\0", b"\0\0\0\7rubbish", b"\0\0\0\3\xff", b"\1\0\0" + address("127.0.0.1", port)))

    def apart():
        second = Relay(proxy)
        heard = second.answered([("127.0.0.1", port, b"second")], [(("127.0.0.1", port), b"second")]) and answered("127.0.0.1", b"first")
        return heard and equal((b"second" in relay.heard, second.heard), (False, {b"second"}))

    check("two relays do not hear each other", apart)

    def ended():
        relay.control.close()
        try:
            for _ in range(100):
                relay.send("127.0.0.1", port, b"too late")
                relay.receive(timeout=0.2)
        except OSError:
            return True
        return False

    check("a relay ends with its connection", ended)
    check("BIND is refused", lambda: equal(ask(proxy, 2, "127.0.0.1", 1)[1], 7))


def through(world, node, carrier):
    client = Node(world, f"client-{carrier}")
    says(client.call("init"), 0)
    key = client.json("identity", "show")["node_id"]
    says(node.call("peer", "add", client.name, "--key", key, "--role", "owner"), 0)
    says(client.call("peer", "add", "box", "--ticket", node.status["ticket"]), 0)
    words = ["--data", client.data, "socks", "box", "--listen", "0", "--json", "--carrier", carrier]
    process = subprocess.Popen([str(world.binary), *words], env=world.environment, stdout=subprocess.PIPE, text=True)
    world.own(process.pid)
    host, _, port = json.loads(process.stdout.readline())["listen"].rpartition(":")
    return host, int(port)


def main():
    report = Report()
    with World(sys.argv[1]) as world:
        node = Node(world, "box").start()
        for carrier in ("quic", "tcp"):
            proxy = through(world, node, carrier)
            pages(report, carrier, proxy)
            datagrams(report, carrier, proxy)
    return report.total()


if __name__ == "__main__":
    sys.exit(main())
