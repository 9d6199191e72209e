#!/usr/bin/env python3
"""What strangers can send to a node's port, and what it costs: silence, floods, garbage, lying lengths, tokens that do not hold.

    hostile_peers.py ALKNET

Needs the packages bip-utils and cryptography. Prints a line for each check and a total; exits 1 when one fails.
"""

import base64
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import time

from _call import Calls, Pipe, remote, tls
from _node import Node, allow_many_files, equal, owner_gets_in, run, says, wait_until

SEED = 20261121
HALF_OPEN = 1000
# What the allocator may keep after a flood; each of the 1,000 would need to cost 64 KiB to reach it.
GROWTH_KIB = 64 * 1024


def connected(port, source="127.0.0.1", timeout=5):
    return socket.create_connection(("127.0.0.1", port), timeout, source_address=(source, 0))


def rest_of(stream, seconds):
    """Everything that still arrives until the other side ends; fails when it does not end."""
    stream.settimeout(seconds)
    arrived = b""
    try:
        while data := stream.recv(65536):
            arrived += data
    except ConnectionError:
        pass
    return arrived


# Silence and floods

def banner_after_silence(node):
    with connected(node.port) as stream:
        begin = time.monotonic()
        banner = stream.recv(64)
        took = time.monotonic() - begin
        return equal((banner.startswith(b"SSH-2.0-"), 1.5 < took < 4), (True, True))


def owner_among_half_open(node, ssh):
    """From one address and from many; silent ones, and ones that begin a handshake and stop."""
    hello = bytes.fromhex("1603010200010001fc0303") + bytes(20)
    streams = []
    try:
        for number in range(HALF_OPEN):
            source = "127.0.0.1" if number % 2 else f"127.1.{number // 250}.{number % 250 + 1}"
            stream = connected(node.port, source)
            if number % 3:
                stream.sendall(hello)
            streams.append(stream)
        owner_gets_in(ssh)
        return node.answers()
    finally:
        for stream in streams:
            stream.close()


# Revocation

def ends_within(process, seconds):
    process.wait(seconds)
    return True


def removed_peer_loses_its_shell(node):
    ssh = node.give_ssh_key("leaver")
    with subprocess.Popen([*ssh, "echo $$; exec sleep 600"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as session:
        node.world.own(session.pid)
        command = int(session.stdout.readline())
        says(node.call("peer", "remove", "leaver"), 0)
        ends_within(session, 5)
    wait_until(lambda: not os.path.exists(f"/proc/{command}"), 5, "its command ends too")
    return says(subprocess.run([*ssh, "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL), 255)


def removed_peer_loses_its_calls(node, carrier):
    world, other = node.world, world_of_another(node, f"caller-{carrier}")
    with on_carrier(node, other, carrier) as process:
        calls = Calls(Pipe(process))
        equal(calls.output("node/identify").get("you"), f"caller-{carrier}")
        says(world.alknet("--data", node.data, "peer", "remove", f"caller-{carrier}"), 0)
        begin = time.monotonic()
        equal(calls.receive(), None)
        return time.monotonic() - begin < 5 and ends_within(process, 5)


def on_carrier(node, data, carrier):
    """A pipe to the node's calls that shows the key of a data folder."""
    process = subprocess.Popen(
        [str(node.world.binary), "--data", data, "connect", "--carrier", carrier, node.status["ticket"], "alknet/call"],
        env=node.world.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    node.world.own(process.pid)
    return process


def world_of_another(node, name):
    """A data folder whose node key is a peer of the node."""
    other = str(node.world.root / name)
    says(node.world.alknet("--data", other, "init"), 0)
    shown = node.world.alknet("--data", other, "identity", "show", "--json")
    node_id = json.loads(shown.stdout)["node_id"]
    says(node.call("peer", "add", name, "--key", node_id, "--role", "observer"), 0)
    return other


# Garbage and lying lengths

def tls_garbage(node, chance):
    """None of it is answered with more than an alert, and each connection ends soon."""
    record = lambda kind, length, content: struct.pack(">BHH", kind, 0x0301, length) + content
    cases = [
        record(22, 0xFFFF, bytes(100)),
        record(22, 0, b"") * 500,
        record(22, 5, b"\x01\xff\xff\xff\x03"),
        record(22, 16384, b"\x01\x00\x3f\xfc\x03\x03" + chance.randbytes(16378)),
        *(record(22, size, chance.randbytes(size)) for size in (1, 40, 4000)),
        b"\x16" + chance.randbytes(3000),
        record(23, 20, bytes(20)), record(21, 2, b"\x02\x28"),
    ]
    for number, case in enumerate(cases):
        with connected(node.port) as stream:
            try:
                stream.sendall(case)
                stream.shutdown(socket.SHUT_WR)
            except ConnectionError:
                continue
            answer = rest_of(stream, 3)
            if len(answer) > 100:
                raise AssertionError(f"case {number} was answered with {len(answer)} bytes")
    return node.answers()


def first_bytes(node, chance):
    """What is neither TLS nor SSH nor HTTP is closed without a word."""
    for first in (0, 1, 0x15, 0x17, 0x80, 0xFF):
        with connected(node.port) as stream:
            stream.sendall(bytes([first]))
            equal(rest_of(stream, 3), b"")
    return node.answers()


def quic_garbage(node, chance):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", node.port))
        for number in range(4000):
            size = chance.choice((1, 5, 20, 21, 40, 1200, 1350))
            first = chance.choice((0xC0, 0xC3, 0xD0, 0xE0, 0xF0, 0x40, 0xFF))
            version = chance.choice((1, 1, 1, 0x6B3343CF, 0, 0xFF00001D, 0x0A0A0A0A))
            lengths = bytes([chance.choice((0, 8, 20, 21, 255))])
            packet = bytes([first]) + struct.pack(">I", version) + lengths + chance.randbytes(size)
            try:
                sender.send(packet[:max(size, 1)])
            except ConnectionRefusedError:
                raise AssertionError("nobody listens on UDP any more") from None
    return reached(node, "quic")


def reached(node, carrier):
    """A peer that behaves gets through."""
    with on_carrier(node, str(node.world.root / "passer-by"), carrier) as process:
        calls = Calls(Pipe(process))
        equal(calls.output("node/identify")["node_id"], node.node_id)
        calls.close()
        return ends_within(process, 5)


def ssh_garbage(node, chance):
    hello = b"SSH-2.0-stranger\r\n"
    cases = [hello + struct.pack(">IB", length, 4) + bytes(40) for length in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 300_000)]
    cases += [hello + chance.randbytes(5000), b"S" * 100_000, b"SSH-1.0-old\r\n", b"SSH-2.0-" + b"x" * 5000 + b"\r\n",
              hello + struct.pack(">IBB", 12, 4, 20) + b"\xff" * 10]
    for number, case in enumerate(cases):
        with connected(node.port) as stream:
            try:
                stream.sendall(case)
                stream.shutdown(socket.SHUT_WR)
            except ConnectionError:
                continue
            answer = rest_of(stream, 5)
            if len(answer) > 4000:
                raise AssertionError(f"case {number} was answered with {len(answer)} bytes")
    return node.answers()


def call_garbage(node):
    """Each is an error of the protocol: the connection ends within a second."""
    request = b'{"type":"call.requested","id":"1","payload":{"operationId":"/node/identify"%s}}'
    framed = lambda content: struct.pack(">I", len(content)) + content
    cases = {
        "no length": struct.pack(">I", 0),
        "a length of 4 GiB": struct.pack(">I", 0xFFFFFFFF) + b"{",
        "more than strangers may": struct.pack(">I", 64 * 1024 + 1) + b"{",
        "no JSON": framed(b"what is this?"),
        "not UTF-8": framed(b'{"type":"\xff\xfe"}'),
        "deeply nested": framed(request % (b',"input":' + b"[" * 5000 + b"]" * 5000)),
        "nested without an end": framed(b'{"a":' * 8000),
        "two members of one name": framed(request % b',"input":{"a":1,"a":2}'),
        "an unknown type": framed(b'{"type":"call.nonsense","id":"1","payload":{}}'),
        "no object": framed(b"[]"),
        "an empty id": framed((request % b"").replace(b'"id":"1"', b'"id":""')),
        "a long id": framed((request % b"").replace(b'"id":"1"', b'"id":"' + b"i" * 65 + b'"')),
    }
    for name, case in cases.items():
        with tls(node.port, timeout=5) as stream:
            begin = time.monotonic()
            stream.sendall(case)
            try:
                answer = stream.recv(1000)
            except (ConnectionError, ssl.SSLError):
                answer = b""
            took = time.monotonic() - begin
            if answer or took > 1:
                raise AssertionError(f"{name}: {took:.1f} s, {answer[:100]}")
    with tls(node.port) as stream:
        stream.sendall(framed(request % b"")[:-5])
    with remote(node.port).stream as stream:
        return bool(Calls(stream).output("node/identify"))


def unknown_alpn(node):
    for name in ("alknet/nothing", "h3", "acme-tls/1", "x" * 255):
        try:
            tls(node.port, name).close()
        except ssl.SSLError as error:
            if "NO_APPLICATION_PROTOCOL" not in str(error).upper().replace(" ", "_"):
                raise AssertionError(f"{name!r}: {error}") from error
        else:
            raise AssertionError(f"{name!r} was accepted")
    return True


def socket_garbage(node):
    path = f"{node.data}/alknet.sock"
    for case in (b"\x00", b"\xff" + b"x" * 100, b"\x02h2", b"\x0balknet/call" + b"\xff" * 8, b"\x0aalknet/ssh"):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(path)
            stream.sendall(case)
            stream.shutdown(socket.SHUT_WR)
            equal(len(rest_of(stream, 3)) < 100, True)
    return node.answers()


def many_connections(node):
    """2,000 connections of strangers that come, misbehave and go."""
    for number in range(2000):
        with connected(node.port) as stream:
            stream.sendall((b"\x16\x03\x01", b"SSH-2.0-x\r\n\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x00")[number % 4])
    return node.answers()


# Tokens

class Forger:
    """Signs tokens with the node's own key, which it derives from the mnemonic."""

    def __init__(self, node):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from vault_second_opinion import ed25519, private, seed_of
        mnemonic = node.call("identity", "backup").stdout.strip()
        self.key = Ed25519PrivateKey.from_private_bytes(private(ed25519(seed_of(mnemonic), "m/74'/0'/0'/0'")))
        self.public = self.key.public_key().public_bytes_raw()

    def token(self, audience=None, issued=0, lifetime=600, scopes=b"", domain=b"alknet-auth-token-v1\0", version=1, announced=None):
        body = bytes([version]) + self.public + (audience or self.public) + os.urandom(16)
        body += struct.pack(">QIH", int(time.time()) + issued, lifetime, len(scopes) if announced is None else announced) + scopes
        return base64.urlsafe_b64encode(body + self.key.sign(domain + body)).decode().rstrip("=")


def tokens(report, node):
    forger = Forger(node)
    good = forger.token()
    accepted = lambda token: Calls(tls(node.port)).output("node/identify", token=token).get("you")
    report.check("a token of the node's own key is its owner's", lambda: equal(accepted(good), "local-owner"))
    made = node.json("token", "create", "--lifetime", "15min")["token"]
    report.check("a token that the node made is accepted", lambda: equal(accepted(made), "local-owner"))
    bad = {
        "for another node": forger.token(audience=os.urandom(32)),
        "expired": forger.token(issued=-3600),
        "from the future": forger.token(issued=3600),
        "that lives too long": forger.token(lifetime=2 * 86400),
        "that ends after the end of time": forger.token(lifetime=0xFFFFFFFF),
        "signed for another purpose": forger.token(domain=b"alknet-identity-v1\0"),
        "of another version": forger.token(version=2),
        "whose scopes are longer than it": forger.token(announced=0xFFFF),
        "whose scopes are unsorted": forger.token(scopes=b"b:a a:b"),
        "whose scopes are not UTF-8": forger.token(scopes=b"\xff\xfe"),
        "truncated": good[:-4],
        "of one character": good[0],
        "that is empty": "",
        "with a changed signature": good[:-6] + ("AAAA" if good[-6:-2] != "AAAA" else "BBBB") + good[-2:],
        "of multi-byte characters": "ä" * 60 + "字" * 60,
        "with a multi-byte end": good[:-1] + "é",
        "of 100 KB": "A" * 60_000,
    }
    for name, token in bad.items():
        def refused(token=token):
            kind, payload = Calls(tls(node.port)).call("node/identify", token=token)
            return equal((kind, payload.get("code")), ("call.error", "UNAUTHENTICATED"))
        report.check(f"a token {name} is refused over a call", refused)

    def refused_over_http():
        for name, token in bad.items():
            header = f"Authorization: Bearer {token}".encode()
            with tls(node.port, "http/1.1") as stream:
                stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n\r\n")
                status = stream.recv(4096)[9:12]
                if status not in (b"401", b"431", b"400"):
                    raise AssertionError(f"{name}: {status}")
        return True
    report.check("none of them is accepted over HTTP", refused_over_http)


def trial(report, world):
    allow_many_files()
    chance = random.Random(SEED)
    node = Node(world, "node").start()
    ssh = node.give_ssh_key()
    says(world.alknet("--data", str(world.root / "passer-by"), "init"), 0)
    subprocess.run([*ssh, "true"], stdin=subprocess.DEVNULL, check=True)
    before = node.resident_kib()
    report.check("a client that says nothing gets the SSH banner", lambda: banner_after_silence(node))
    report.check("the owner gets in among 1,000 half-open connections", lambda: owner_among_half_open(node, ssh))
    report.check("a removed peer's shell ends, and its command", lambda: removed_peer_loses_its_shell(node))
    for carrier in ("tcp", "quic"):
        report.check(f"a removed peer's calls end over {carrier}", lambda: removed_peer_loses_its_calls(node, carrier))
    report.check("TLS records that lie", lambda: tls_garbage(node, chance))
    report.check("first bytes of nothing known", lambda: first_bytes(node, chance))
    report.check("QUIC packets that lie", lambda: quic_garbage(node, chance))
    report.check("SSH packets that lie", lambda: ssh_garbage(node, chance))
    report.check("call frames that lie", lambda: call_garbage(node))
    report.check("unknown ALPNs get the alert", lambda: unknown_alpn(node))
    report.check("garbage on the control socket", lambda: socket_garbage(node))
    report.check("2,000 connections that misbehave", lambda: many_connections(node))
    tokens(report, node)
    report.check("the owner gets in as before", lambda: owner_gets_in(ssh))
    report.check("no handler panicked", lambda: equal(node.json("status")["panics"], 0))
    report.check("nothing panicked in the log", lambda: "panicked" not in node.log())
    grown = node.resident_kib() - before
    report.check(f"all of it left {grown} KiB behind", lambda: grown < GROWTH_KIB)
    report.check("the node stops cleanly", lambda: equal(node.stop(), 0))


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
