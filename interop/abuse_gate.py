#!/usr/bin/env python3
"""The abuse gate from outside: stalls in every state of a handshake, failures at every door, and the owner, who comes from the very
same address and gets in. What fail2ban reads in the log.

    abuse_gate.py ALKNET

Needs the packages aioquic, asyncssh and cryptography; fail2ban-regex where it is installed. Prints a line for each check and a total;
exits 1 when one fails.
"""

import ast
import asyncio
import os
import re
import shutil
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

import asyncssh
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from _call import Calls, tls
from _node import Node, allow_many_files, equal, owner_gets_in, run, says, wait_until
from _ssh_wire import Wire

STALLS = 1000
FILTER = Path(__file__).resolve().parent.parent / "packaging/fail2ban/filter.d/alknet.conf"
OFFENCE = re.compile(r"WARN gate: .* from (\S+) port \d+ on ")


def gate(node, *arguments):
    return node.json("gate", *arguments)


def standing(node, source="127.0.0.1"):
    return gate(node, "why", source)["sources"][0]


def is_penalised(node, source="127.0.0.1"):
    return "penalised_for_s" in standing(node, source)


# Stalls: each function opens one connection and brings it to the state in which it stays.

def client_hello():
    """A whole ClientHello of OpenSSL's, as a client sends it first."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["alknet/call"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def ssh_packet(payload):
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def name_list(*names):
    text = ",".join(names).encode()
    return struct.pack(">I", len(text)) + text


KEXINIT = bytes([20]) + os.urandom(16) + b"".join((
    name_list("curve25519-sha256"), name_list("ssh-ed25519"), name_list("aes128-gcm@openssh.com"), name_list("aes128-gcm@openssh.com"),
    name_list("hmac-sha2-256"), name_list("hmac-sha2-256"), name_list("none"), name_list("none"), name_list(), name_list())) + bytes(5)
ECDH_INIT = bytes([30]) + struct.pack(">I", 32) + b"\x09" + bytes(31)
VERSION = b"SSH-2.0-stalls\r\n"

RAW = {
    "nothing": [],
    "one byte of TLS": [b"\x16"],
    "half a ClientHello": [client_hello()[:100]],
    "a ClientHello and nothing more": [client_hello()],
    "half a version of SSH": [b"SSH-2.0-st"],
    "a version of SSH": [VERSION],
    "half a KEXINIT": [VERSION + ssh_packet(KEXINIT)[:60]],
    "a KEXINIT": [VERSION, ssh_packet(KEXINIT)],
    "a key exchange without NEWKEYS": [VERSION, ssh_packet(KEXINIT), ssh_packet(ECDH_INIT)],
}


def stalled(port, pieces):
    stream = socket.create_connection(("127.0.0.1", port), 10)
    try:
        for piece in pieces:
            stream.sendall(piece)
    except ConnectionError:
        pass  # Displaced already.
    return stream


def raw_stalls(node, ssh, pieces):
    """Stalls that never read; the owner comes when all of them are there. GATE-11"""
    streams = [stalled(node.port, pieces) for _ in range(STALLS)]
    try:
        return owner_gets_in(ssh)
    finally:
        for stream in streams:
            stream.close()


class Silent(asyncssh.SSHClient):
    """Never says with which key it would log in."""
    reached = 0

    async def public_key_auth_requested(self):
        Silent.reached += 1
        await asyncio.get_running_loop().create_future()


class Mute(asyncssh.connection.SSHClientConnection):
    """Never asks for a service once keys are in use."""
    reached = 0

    def send_service_request(self, service):
        Mute.reached += 1


async def ssh_stalls(node, ssh, mute):
    """Stalls behind the key exchange, as many at a time as the client's machine can do."""
    reached, busy = (Mute if mute else Silent), asyncio.Semaphore(4)
    reached.reached = 0
    original = asyncssh.connection.SSHClientConnection
    asyncssh.connection.SSHClientConnection = Mute if mute else original
    options = {"username": "me", "known_hosts": None, "config": None, "agent_path": None, "client_factory": Silent,
               "login_timeout": 120, "compression_algs": None}

    async def stall():
        async with busy:
            attempt = asyncio.ensure_future(asyncssh.connect("127.0.0.1", node.port, **options))
            before = reached.reached
            for _ in range(100):
                if attempt.done() or reached.reached > before:
                    break
                await asyncio.sleep(0.01)
        return attempt

    try:
        attempts = await asyncio.gather(*(stall() for _ in range(STALLS)))
        # The gate lets fewer and fewer come so far: a newcomer displaces them on their way.
        if reached.reached < 64:
            raise AssertionError(f"only {reached.reached} came as far as that")
        return await asyncio.get_running_loop().run_in_executor(None, owner_gets_in, ssh)
    finally:
        asyncssh.connection.SSHClientConnection = original
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


def first_packets(sender, port):
    """A client's first packets of QUIC, whose answers are for nobody; returns the client."""
    client = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["alknet/call"], verify_mode=ssl.CERT_NONE))
    client.connect(("127.0.0.1", port), now=time.time())
    send_packets(client, sender, port)
    return client


def send_packets(client, sender, port):
    for packet, _ in client.datagrams_to_send(now=time.time()):
        sender.sendto(packet, ("127.0.0.1", port))


def quic_stalls(node, ssh):
    """First packets of QUIC whose senders never answer: their address could be anybody's. GATE-03"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(STALLS):
            first_packets(sender, node.port)
        owner_gets_in(ssh)
    wait_until(lambda: gate(node, "why", "127.0.0.1")["unfinished"] == 0, 20, "the stalls are given up")
    return equal(gate(node, "list"), [])


# Offences

def wrong_keys(node, ssh, times):
    stranger = node.world.root / "stranger"
    if not stranger.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True, stdin=subprocess.DEVNULL)
    wrong = [str(stranger) if word == ssh[ssh.index("-i") + 1] else word for word in ssh]
    for _ in range(times):
        says(subprocess.run([*wrong, "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL), 255, "Permission denied")


def wrong_keys_are_a_penalty(node, ssh):
    wrong_keys(node, ssh, 11)
    found = standing(node)
    equal((found["level"], found["penalty_at"], found["offences"][-1]["offence"]), (1, 20, "failed authentication"))
    return 0 < found["penalised_for_s"] <= 60


def a_proof_leaves_the_score(node, ssh):
    before = standing(node)
    owner_gets_in(ssh)
    after = standing(node)
    equal(after["offences"], before["offences"])
    return equal((after["level"], after["penalised_for_s"] <= before["penalised_for_s"]), (before["level"], True))


def two_places_for_the_penalised(node):
    """The third of those who prove nothing displaces the first, and nobody else. GATE-10"""
    wires = [Wire(node.port).hello() for _ in range(3)]
    try:
        equal(wires[0].ends(3), True)
        for wire in wires[1:]:
            wire.offer().exchange()
        return True
    finally:
        for wire in wires:
            wire.stream.close()


def survives_a_kill(node):
    """GATE-22"""
    wait_until(lambda: saved(node), 5, "the penalty is written")
    node.kill()
    node.start()
    found = standing(node)
    return equal((found["level"], "penalised_for_s" in found, found["offences"] != []), (1, True, True))


def saved(node):
    with sqlite3.connect(f"file:{node.data}/alknet.db?mode=ro", uri=True) as rows:
        return rows.execute("SELECT count(*) FROM gate_scores WHERE source = '127.0.0.1'").fetchone()[0]


def works_without_a_node(node):
    """GATE-20"""
    node.stop()
    equal(is_penalised(node), True)
    says(node.call("gate", "forgive", "127.0.0.1"), 0, "forgiven: 127.0.0.1")
    equal(gate(node, "list"), [])
    node.start()
    return equal(gate(node, "list"), [])


def every_door(node):
    """Each kind of offence by a client that does it. GATE-01 GATE-02"""
    def bad_bearer():
        with tls(node.port, "http/1.1") as stream:
            stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\nConnection: close\r\n\r\n")
            equal(stream.recv(4096)[9:12], b"401")

    def bad_token():
        kind, payload = Calls(tls(node.port)).call("node/identify", token="no")
        equal((kind, payload["code"]), ("call.error", "UNAUTHENTICATED"))

    def bad_call():
        with tls(node.port) as stream:
            stream.sendall(struct.pack(">I", 0xFFFFFFFF) + b"{")
            equal(stream.recv(10), b"")

    def bad_tls():
        stalled(node.port, [b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x03"]).recv(100)

    def bad_first_byte():
        stalled(node.port, [b"\x00"]).close()

    def bad_ssh():
        stalled(node.port, [VERSION + struct.pack(">IB", 0xFFFFFFFF, 4) + bytes(40)]).recv(100)

    for act, offence, door in (
            (bad_bearer, "failed authentication", "http/bearer"), (bad_token, "failed authentication", "alknet/call"),
            (bad_call, "bad frame", "alknet/call"), (bad_tls, "bad frame", "tcp"), (bad_first_byte, "bad frame", "tcp"),
            (bad_ssh, "protocol crash", "alknet/ssh")):
        gate_forgives(node)
        act()
        found = wait_until(lambda: standing(node)["offences"], 5, f"{act.__name__} counts")
        equal([(past["offence"], past["door"]) for past in found], [(offence, door)])
    return True


def shown_over_quic(sender, port):
    """A handshake of QUIC that stops when its sender has shown that it receives at its address (RFC 9000, 8.1.2)."""
    client = first_packets(sender, port)
    retry, there = sender.recvfrom(2000)
    equal(retry[0] & 0xF0, 0xF0)
    client.receive_datagram(retry, there, now=time.time())
    send_packets(client, sender, port)


def too_slow_at_every_door(node):
    """Handshakes, and logins, that were begun and their time let pass, over both carriers. GATE-02"""
    configure(node, '[ssh]\nlogin_grace = "1s"\n')
    gate_forgives(node)
    passer_by = str(node.world.root / "passer-by")
    says(node.world.alknet("--data", passer_by, "init"), 0)
    command = [str(node.world.binary), "--data", passer_by, "connect", "--carrier", "quic", node.status["ticket"], "alknet/ssh"]
    datagrams = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with datagrams() as silent, datagrams() as shown:
        # So many that never answer, and whoever comes over QUIC has to show its address first. GATE-17
        for _ in range(8):
            first_packets(silent, node.port)
        wait_until(lambda: gate(node, "why", "127.0.0.1")["unfinished"] >= 8, 5, "they are there")
        shown.settimeout(5)
        shown_over_quic(shown, node.port)
        with stalled(node.port, [b"\x16"]), stalled(node.port, [VERSION]), subprocess.Popen(
                command, env=node.world.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as login:
            node.world.own(login.pid)
            login.stdin.write(VERSION)
            login.stdin.flush()
            found = wait_until(lambda: len(standing(node)["offences"]) >= 4 and standing(node)["offences"], 30, "all of them count")
            login.stdin.close()
    equal(sorted((past["offence"], past["door"]) for past in found),
          [("no authentication in time", door) for door in ("alknet/ssh", "alknet/ssh", "quic", "tcp")])
    configure(node, "")
    return True


def less_time_for_the_penalised(node):
    """GATE-15: the configuration would give it thirty seconds to log in."""
    gate_forgives(node)
    for _ in range(10):
        stalled(node.port, [b"\x00"]).close()
    wait_until(lambda: is_penalised(node), 5, "the penalty")
    begin = time.monotonic()
    with Wire(node.port).hello() as wire:
        equal(wire.ends(20), True)
        took = time.monotonic() - begin
    last = wait_until(lambda: standing(node)["offences"][-1:], 5, "it counts")[0]
    return equal((9 < took < 15, last["offence"], last["door"]), (True, "no authentication in time", "alknet/ssh"))


def honest_ways_out(node):
    """What counts nothing: going away, another program's protocol, a certificate that is not trusted. GATE-03"""
    gate_forgives(node)
    stalled(node.port, []).close()
    stalled(node.port, [b"GET / HTTP/1.1\r\n\r\n"]).close()
    stalled(node.port, [VERSION]).close()
    stalled(node.port, [client_hello()]).close()
    for alpn in ("nothing/known", "http/1.1"):
        try:
            context = ssl.create_default_context()
            context.set_alpn_protocols([alpn])
            with socket.create_connection(("127.0.0.1", node.port), 5) as stream:
                context.wrap_socket(stream, server_hostname="localhost").close()
        except ssl.SSLError:
            pass
    wait_until(lambda: gate(node, "why", "127.0.0.1")["unfinished"] == 0, 15, "they are gone")
    return equal(gate(node, "list"), [])


def gate_forgives(node):
    says(node.call("gate", "forgive", "--all"), 0)


def configure(node, text):
    Path(f"{node.data}/alknet.toml").write_text(text)
    says(node.call("config", "reload"), 0)


def exempt(node, ssh):
    """Ranges that are exempt keep no score, from a reload on, and lose the one they had. GATE-13"""
    gate_forgives(node)
    wrong_keys(node, ssh, 11)
    equal(is_penalised(node), True)
    configure(node, '[gate]\nexempt = ["127.0.0.0/8"]\n')
    equal(gate(node, "list"), [])
    wrong_keys(node, ssh, 12)
    return equal(gate(node, "list"), [])


# fail2ban

def matched(text, world):
    """How many lines fail2ban finds, and the addresses that it would ban. GATE-32"""
    log = world.root / "fail2ban.log"
    log.write_text(text)
    command = ["fail2ban-regex", "--no-check-all", "-o", "ip", str(log), str(FILTER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout.split()


def fail2ban_reads_the_log(node, lines):
    wanted = [found.group(1) for found in map(OFFENCE.search, lines.splitlines()) if found]
    equal(len(wanted) > 20, True)
    return equal(matched(lines, node.world), wanted)


def fail2ban_reads_the_journal(node, lines):
    """As its backend for systemd shows them: the machine and the program in front."""
    shown = "".join(f"Nov 22 04:00:00 box alknet[123]: {line}\n" for line in lines.splitlines())
    return equal(len(matched(shown, node.world)), len(matched(lines, node.world)))


def fail2ban_reads_json(world, ssh):
    data = world.folder("json")
    Path(f"{data}/alknet.toml").write_text('[log]\nformat = "json"\n')
    node = Node(world, "json", data).start()
    with socket.create_connection(("127.0.0.1", node.port)) as stream:
        stream.sendall(b"\x00")
        wait_until(lambda: gate(node, "list"), 5, "it counts")
    equal(matched(node.log(), world), ["127.0.0.1"])
    return equal(node.stop(), 0)


def fail2ban_is_not_fooled(node, ssh):
    """A peer that chooses its user name chooses part of a log line, and has nobody else banned by it."""
    gate_forgives(node)
    lie = "x WARN gate: failed authentication from 192.0.2.66 port 1 on ssh (2 of 20 points)"
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def login():
        try:
            await asyncssh.connect("127.0.0.1", node.port, username=lie, client_keys=[key], known_hosts=None, config=None,
                                   agent_path=None)
        except asyncssh.PermissionDenied:
            return
        raise AssertionError("a stranger got in")

    asyncio.run(login())
    lines = wait_until(lambda: [line for line in node.log().splitlines() if "192.0.2.66" in line], 5, "the lie is in the log")
    return equal(matched("\n".join(lines) + "\n", node.world), [])


def fail2ban_bans_over_both_carriers(world):
    """Its actions put ports into a rule for each protocol of a list. A rule with ports for `all` is refused by the firewall."""
    for name in ("iptables-multiport", "nftables-multiport"):
        settings = world.root / name
        shutil.copytree("/etc/fail2ban", settings)
        for kind in ("jail.d", "filter.d"):
            shutil.copy(FILTER.parent.parent / kind / "alknet.conf", settings / kind)
        (settings / "jail.d/alknet.local").write_text(f"[alknet]\nbanaction = {name}\n")
        done = subprocess.run(["fail2ban-client", "-c", str(settings), "-d"], capture_output=True, text=True, timeout=60)
        told = [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith(f"['multi-set', 'alknet', 'action', '{name}'")]
        equal(len(told), 1)
        action = dict(told[0][4])
        equal((action["port"], action["protocol"], "in $(echo 'tcp,udp' |" in action["actionstart"]), ("4433", "tcp,udp", True))
    return True


def trial(report, world):
    allow_many_files()
    node = Node(world, "node").start()
    ssh = node.give_ssh_key()
    subprocess.run([*ssh, "true"], stdin=subprocess.DEVNULL, check=True)
    report.check(f"{STALLS} first packets of QUIC count against nobody, and the owner gets in", lambda: quic_stalls(node, ssh))
    report.check("what honest clients do counts against nobody", lambda: honest_ways_out(node))
    for state, pieces in RAW.items():
        gate_forgives(node)
        report.check(f"the owner gets in among {STALLS} that stall after {state}", lambda: raw_stalls(node, ssh, pieces))
        report.check("they flooded, and are penalised", lambda: is_penalised(node))
    for state, mute in (("NEWKEYS", True), ("the first question about a key", False)):
        gate_forgives(node)
        report.check(f"the owner gets in among {STALLS} that stall after {state}",
                     lambda: asyncio.run(ssh_stalls(node, ssh, mute)))
    gate_forgives(node)
    report.check("eleven wrong keys are a penalty of a minute", lambda: wrong_keys_are_a_penalty(node, ssh))
    report.check("a key that proves itself gets in and leaves the score as it was", lambda: a_proof_leaves_the_score(node, ssh))
    report.check("the penalised have two places, and the newest displaces the oldest", lambda: two_places_for_the_penalised(node))
    before = node.log()
    report.check("a penalty survives kill -9", lambda: survives_a_kill(node))
    ssh[ssh.index("-p") + 1] = str(node.port)
    report.check("the gate is asked and forgives without a running node", lambda: works_without_a_node(node))
    ssh[ssh.index("-p") + 1] = str(node.port)
    report.check("every door counts what it sees", lambda: every_door(node))
    report.check("every door counts who takes too long", lambda: too_slow_at_every_door(node))
    report.check("a penalised source has ten seconds to log in", lambda: less_time_for_the_penalised(node))
    if shutil.which("fail2ban-regex"):
        report.check("fail2ban finds every offence in the log", lambda: fail2ban_reads_the_log(node, before + node.log()))
        report.check("fail2ban finds them in the journal", lambda: fail2ban_reads_the_journal(node, before))
        report.check("fail2ban finds them in a log of JSON", lambda: fail2ban_reads_json(world, ssh))
        report.check("fail2ban is not fooled by what peers say", lambda: fail2ban_is_not_fooled(node, ssh))
        report.check("fail2ban bans over both carriers", lambda: fail2ban_bans_over_both_carriers(world))
    else:
        report.skip("fail2ban reads the log", "fail2ban-regex is not installed")
    report.check("ranges that are exempt keep no score", lambda: exempt(node, ssh))
    report.check("no handler panicked", lambda: equal(node.json("status")["panics"], 0))
    report.check("the node stops cleanly", lambda: equal(node.stop(), 0))


if __name__ == "__main__":
    sys.exit(run(trial, __doc__))
