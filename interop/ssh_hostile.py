#!/usr/bin/env python3
"""A client that misbehaves in every state of SSH, before and after it has proven a key, on raw sockets.

    ssh_hostile.py ALKNET

Needs the package cryptography. After each attack the owner must get in, and memory must not have grown beyond its bound. Prints a
line for each check and a total; exits 1 when one fails.
"""

import os
import random
import struct
import sys
import time
from pathlib import Path

from _node import Node, equal, owner_gets_in, run, wait_until
from _ssh_wire import *

SEED = 20261122
# Of the node's resident memory, over each attack: what the allocator keeps counts too.
GROWTH_KIB = 8 * 1024
# Input that a process does not take is held for its connection up to this bound (docs/spec/ssh.md, SSH-32), and a little besides.
HELD_KIB = 72 * 1024
# What a node calls the first channel of a connection.
CHANNEL = 2
LIES = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
STRANGERS_MESSAGES = {
    "DISCONNECT": bytes([DISCONNECT]) + u32(11) + text("bye") + text(""),
    "IGNORE": bytes([IGNORE]) + text("x" * 40),
    "DEBUG": bytes([DEBUG]) + b"\1" + text("hello") + text("en"),
    "UNIMPLEMENTED": bytes([UNIMPLEMENTED]) + u32(7),
    "EXT_INFO": bytes([EXT_INFO]) + u32(1) + text("server-sig-algs") + text("ssh-ed25519"),
    "SERVICE_REQUEST": bytes([SERVICE_REQUEST]) + text("ssh-userauth"),
    "USERAUTH none": bytes([USERAUTH_REQUEST]) + text("me") + text("ssh-connection") + text("none"),
    "USERAUTH password": bytes([USERAUTH_REQUEST]) + text("me") + text("ssh-connection") + text("password") + b"\0" + text("x"),
    "KEXINIT": bytes([KEXINIT]) + bytes(16) + b"".join(map(text, ["curve25519-sha256", "ssh-ed25519"] + [""] * 8)) + bytes(5),
    "KEX_INIT": bytes([KEX_INIT]) + text(bytes(32)),
}
USERS_MESSAGES = {
    "GLOBAL_REQUEST": bytes([GLOBAL_REQUEST]) + text("tcpip-forward") + b"\1" + text("127.0.0.1") + u32(0),
    "CHANNEL_OPEN session": bytes([CHANNEL_OPEN]) + text("session") + u32(9) + u32(1 << 20) + u32(1 << 15),
    "CHANNEL_OPEN direct": bytes([CHANNEL_OPEN]) + text("direct-tcpip") + u32(9) + u32(1 << 20) + u32(1 << 15) + text("127.0.0.1") + u32(1)
    + text("127.0.0.1") + u32(1),
    "CHANNEL_DATA": bytes([CHANNEL_DATA]) + u32(CHANNEL) + text("data"),
    "CHANNEL_EXTENDED_DATA": bytes([CHANNEL_EXTENDED_DATA]) + u32(CHANNEL) + u32(1) + text("data"),
    "CHANNEL_WINDOW_ADJUST": bytes([CHANNEL_WINDOW_ADJUST]) + u32(CHANNEL) + u32(1),
    "pty-req": bytes([CHANNEL_REQUEST]) + u32(CHANNEL) + text("pty-req") + b"\1" + text("xterm") + u32(80) * 2 + u32(0) * 2 + text(b"\x01\0\0\0\3\0"),
    "exec": bytes([CHANNEL_REQUEST]) + u32(CHANNEL) + text("exec") + b"\1" + text("true"),
    "env": bytes([CHANNEL_REQUEST]) + u32(CHANNEL) + text("env") + b"\1" + text("LANG") + text("C"),
    "subsystem": bytes([CHANNEL_REQUEST]) + u32(CHANNEL) + text("subsystem") + b"\1" + text("sftp"),
}


# Requests that a node refuses whoever asks, before and after login: what is sent before them must not have changed that.
REFUSED_TO_STRANGERS = STRANGERS_MESSAGES["USERAUTH none"]
REFUSED_TO_USERS = bytes([GLOBAL_REQUEST]) + text("no-such-request@example.org") + b"\1"
REFUSALS = (UNIMPLEMENTED, USERAUTH_FAILURE, REQUEST_FAILURE, CHANNEL_OPEN_FAILURE, CHANNEL_FAILURE)
# What a node says without being asked for it.
ASIDES = (IGNORE, DEBUG, EXT_INFO, KEXINIT, USERAUTH_BANNER, GLOBAL_REQUEST, CHANNEL_WINDOW_ADJUST)


class Siege:
    """A node, its owner's key, and what each attack has to leave behind."""

    def __init__(self, world, report):
        self.report = report
        self.node = Node(world, "node").start()
        self.ssh = self.node.give_ssh_key()
        self.key = load_key(world.root / "node-me")
        self.owner_gets_in()

    def owner_gets_in(self):
        return owner_gets_in(self.ssh, within=20)

    def wire(self):
        return Wire(self.node.port)

    def check(self, name, attack):
        bound = HELD_KIB if attack in (beyond_the_window, crumbs) else GROWTH_KIB

        def attacked():
            before = self.node.resident_kib()
            attack(self)
            self.owner_gets_in()
            grown = self.node.resident_kib() - before
            if grown > bound:
                raise AssertionError(f"{grown} KiB more than before")
            return True

        self.report.check(name, attacked)


def must_end(wire):
    if not wire.ends():
        raise AssertionError("the connection goes on")


def ended_by(wire, *packets):
    """The node ends the connection because of these packets, at the latest when the stream ends behind them."""
    try:
        for packet in packets:
            wire.send(packet)
    except Ended:
        return
    must_end(wire)


def refused(wire, payload, ask, or_answered=False):
    """The payload ends the connection, or is refused or passed over, and does nothing else: the request behind it is refused as ever."""
    try:
        wire.send(payload)
        wire.send(ask)
        while (answer := wire.receive()[0]) not in REFUSALS:
            if answer == DISCONNECT:
                return
            if answer not in ASIDES and not or_answered:
                raise AssertionError(f"{payload.hex()} was answered with message {answer}")
        wire.stream.shutdown(1)
    except (Ended, BrokenPipeError, ConnectionError):
        return
    must_end(wire)


def lying(message):
    """Each field of four bytes in the message that could be a length, as a lie, and whether it is the length of a text that ends behind
    the message. The others may be true of something else."""
    for at in range(1, len(message) - 3):
        length = struct.unpack_from(">I", message, at)[0]
        if length <= 64:
            content = message[at + 4:at + 4 + length]
            is_text = len(content) == length > 1 and all(32 < byte < 127 for byte in content)
            for lie in LIES:
                yield message[:at] + u32(lie) + message[at + 4:], is_text and lie > len(message)


def lies(siege, payloads, reach, ask):
    for payload in payloads:
        for lie, too_long in lying(payload):
            with siege.wire() as wire:
                reach(wire)
                refused(wire, lie, ask, or_answered=not too_long)


# Before the keys are there.

def injected_before_new_keys(siege):
    """Terrapin (CVE-2023-48795): nothing may stand between the parts of a strict key exchange."""
    for name in ("IGNORE", "DEBUG", "UNIMPLEMENTED", "EXT_INFO"):
        with siege.wire() as wire:
            wire.hello().offer()
            ended_by(wire, STRANGERS_MESSAGES[name], bytes([KEX_INIT]) + text(bytes(range(32))))
        with siege.wire() as wire:
            wire.hello().offer().exchange()
            ended_by(wire, STRANGERS_MESSAGES[name])
    with siege.wire() as wire:
        wire.hello()
        wire.send(STRANGERS_MESSAGES["IGNORE"])
        wire.i_c = wire.kexinit()
        ended_by(wire, wire.i_c)


def out_of_order(siege):
    """Whoever goes on after it as if nothing had been said finds the connection ended."""
    states = ((lambda wire: wire.hello(), lambda wire: wire.offer().exchange()),
              (lambda wire: wire.hello().offer(), lambda wire: wire.exchange()),
              (lambda wire: wire.hello().offer().exchange(), lambda wire: wire.new_keys().service()))
    openings = [bytes([NEWKEYS]), bytes([KEX_REPLY]) + text(b"x"), *STRANGERS_MESSAGES.values(), *USERS_MESSAGES.values()]
    for payload in openings:
        if payload[0] in (DISCONNECT, IGNORE, DEBUG, UNIMPLEMENTED, KEXINIT):
            continue
        for state, go_on in states:
            with siege.wire() as wire:
                state(wire)
                if payload[0] == NEWKEYS and hasattr(wire, "next_seal") or payload[0] == KEX_INIT and hasattr(wire, "i_s"):
                    continue
                try:
                    wire.send(payload)
                    go_on(wire)
                except Ended:
                    continue
                raise AssertionError(f"{payload.hex()} changed nothing")


def weak_shares(siege):
    """Public keys that would make the shared secret a constant (RFC 7748, 6.1), and of a wrong length."""
    shares = [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"", bytes(31), bytes(33), bytes(100_000)]
    for share in shares:
        with siege.wire() as wire:
            wire.hello().offer()
            ended_by(wire, bytes([KEX_INIT]) + text(share))


def wrong_packets(siege):
    chance = random.Random(SEED)
    headers = [struct.pack(">IB", length, padding) for length in (0, 1, 4, 5, 12, 35_001, 262_145, 0x7FFFFFFF, 0xFFFFFFFF)
               for padding in (0, 3, 4, 11, 255)]
    for header in headers:
        with siege.wire() as wire:
            wire.hello()
            wire.send_raw(header + chance.randbytes(64))
            wire.stream.shutdown(1)
            must_end(wire)
    for length in (0, 15, 17, 262_160, 0xFFFFFFF0):
        with siege.wire() as wire:
            wire.secure()
            wire.send_raw(u32(length) + chance.randbytes(300))
            wire.stream.shutdown(1)
            must_end(wire)
    with siege.wire() as wire:
        wire.secure()
        packet = bytearray(wire.packet(STRANGERS_MESSAGES["SERVICE_REQUEST"]))
        packet[-1] ^= 1
        wire.send_raw(bytes(packet))
        must_end(wire)


# Between the keys and the login.

def lies_before_login(siege):
    base = [payload for name, payload in STRANGERS_MESSAGES.items() if name not in ("DISCONNECT",)]
    base.append(key_request("me", siege.key, False))
    lies(siege, base, lambda wire: wire.secure().service(), REFUSED_TO_STRANGERS)


def offered_but_not_proven(siege):
    """A key that is only offered opens nothing."""
    for then in USERS_MESSAGES.values():
        with siege.wire() as wire:
            wire.secure().service()
            wire.send(key_request("me", siege.key, False))
            wire.expect(USERAUTH_PK_OK)
            refused(wire, then, REFUSED_TO_STRANGERS)


def proven_by_others(siege):
    other = new_key()
    with siege.wire() as first, siege.wire() as wire:
        first.secure()
        wire.secure().service()
        request = key_request("me", siege.key, True)
        stolen = signed_request(first.session_id, "me", siege.key)
        attempts = [
            ("another key's signature", signed_request(wire.session_id, "me", siege.key, signer=other)),
            ("a signature of another session", stolen),
            ("a signature for another user", signed_request(wire.session_id, "me", siege.key, over=key_request("root", siege.key, True))),
            ("a key that nobody knows", signed_request(wire.session_id, "me", other)),
            ("no signature", request),
            ("an empty signature", request + text(b"")),
            ("a signature of another type", request + text(text("ssh-rsa") + text(bytes(64)))),
            ("a short signature", request + text(text("ssh-ed25519") + text(bytes(63)))),
        ]
        for name, attempt in attempts:
            with siege.wire() as one:
                one.secure().service()
                # Signed for this very connection where that is what is tried.
                if name in ("another key's signature", "a signature for another user", "a key that nobody knows"):
                    signer = other if name == "another key's signature" else None
                    over = key_request("root", siege.key, True) if name == "a signature for another user" else None
                    key = other if name == "a key that nobody knows" else siege.key
                    attempt = signed_request(one.session_id, "me", key, signer=signer, over=over)
                one.send(attempt)
                try:
                    answer = one.expect(USERAUTH_FAILURE, USERAUTH_SUCCESS, USERAUTH_PK_OK)
                except Ended:
                    continue
                if answer[0] != USERAUTH_FAILURE:
                    raise AssertionError(f"{name}: message {answer[0]}")


def endless_tries(siege):
    with siege.wire() as wire:
        wire.secure().service()
        try:
            for number in range(1000):
                wire.send(key_request(f"user{number}", new_key(), False))
                wire.expect(USERAUTH_FAILURE)
        except Ended:
            return
    raise AssertionError("a thousand tries on one connection")


def flood_before_login(siege):
    with siege.wire() as wire:
        wire.secure().service()
        packet = STRANGERS_MESSAGES["IGNORE"][:1] + text(bytes(30_000))
        end = time.monotonic() + 2
        try:
            while time.monotonic() < end:
                wire.send(packet)
        except Ended:
            pass


# After the login.

def lies_after_login(siege):
    def reach(wire):
        equal(wire.log_in(siege.key).open_session(), CHANNEL)

    lies(siege, USERS_MESSAGES.values(), reach, REFUSED_TO_USERS)


def from_the_wrong_side(siege):
    """Messages that only a server sends, or that answer what was never asked."""
    payloads = [bytes([SERVICE_ACCEPT]) + text("ssh-userauth"), bytes([USERAUTH_SUCCESS]), bytes([USERAUTH_FAILURE]) + text("publickey") + b"\0",
                bytes([CHANNEL_CONFIRMATION]) + u32(77) + u32(0) + u32(1) + u32(1), bytes([CHANNEL_OPEN_FAILURE]) + u32(0) + u32(1) + text("") + text(""),
                bytes([CHANNEL_SUCCESS]) + u32(0), bytes([CHANNEL_FAILURE]) + u32(99), bytes([REQUEST_SUCCESS]), bytes([REQUEST_FAILURE]),
                bytes([KEX_REPLY]) + text("x"), bytes([NEWKEYS]), bytes([192]) + text("ping"), bytes([255]), bytes([0])]
    for payload in payloads:
        with siege.wire() as wire:
            wire.log_in(siege.key)
            refused(wire, payload, REFUSED_TO_USERS)


def unknown_channels(siege):
    with siege.wire() as wire:
        wire.log_in(siege.key)
        channel = wire.open_session()
        for stray in (channel + 1, 0xFFFFFFFF):
            for payload in (bytes([CHANNEL_DATA]) + u32(stray) + text("x"), bytes([CHANNEL_EOF]) + u32(stray), bytes([CHANNEL_CLOSE]) + u32(stray),
                            bytes([CHANNEL_WINDOW_ADJUST]) + u32(stray) + u32(1)):
                try:
                    wire.send(payload)
                except Ended:
                    return


def after_close(siege):
    """FWD-22: data, requests and another close on a channel that is closed; the connection goes on."""
    before = children(siege.node.pid)
    with siege.wire() as wire:
        wire.log_in(siege.key)
        channel = wire.open_session()
        wire.execute(channel, "true")
        wire.send(bytes([CHANNEL_CLOSE]) + u32(channel))
        for _ in range(1000):
            wire.send(bytes([CHANNEL_DATA]) + u32(channel) + text(bytes(1000)))
        wire.send(bytes([CHANNEL_REQUEST]) + u32(channel) + text("exec") + b"\1" + text("exec sleep 1000"))
        wire.send(bytes([CHANNEL_CLOSE]) + u32(channel))
        wait_until(lambda: not children(siege.node.pid) - before, 10, "nothing was started on a closed channel")
        again = wire.open_after(channel)
        equal(wire.execute(again, "true"), True)


def data_after_end(siege):
    with siege.wire() as wire:
        wire.log_in(siege.key)
        channel = wire.open_session()
        wire.execute(channel, "cat >/dev/null; sleep 0.2")
        wire.send(bytes([CHANNEL_EOF]) + u32(channel))
        for _ in range(100):
            wire.send(bytes([CHANNEL_DATA]) + u32(channel) + text(bytes(1000)))


def taken_by_nobody(siege, what, pieces, times):
    """Data for a process that reads nothing, over and over, until the node takes no more of it."""
    with siege.wire() as wire:
        wire.log_in(siege.key)
        channel = wire.open_session()
        wire.execute(channel, "exec sleep 60")
        wire.stream.settimeout(3)
        packets = [bytes([CHANNEL_DATA]) + u32(channel) + text(piece) for piece in pieces]
        try:
            for _ in range(times):
                wire.send_raw(b"".join(map(wire.packet, packets)))
        except (Ended, TimeoutError):
            return
    raise AssertionError(f"{what} were taken for a process that reads nothing")


def beyond_the_window(siege):
    """More than the node allowed to be under way."""
    taken_by_nobody(siege, "160 MB", [bytes(32_000)], 5000)


def crumbs(siege):
    """The same in packets of one byte and of none, each of which costs more than it says."""
    taken_by_nobody(siege, "three million packets", [b"x", b""] * 500, 3000)


def overflowing_windows(siege):
    with siege.wire() as wire:
        wire.log_in(siege.key)
        channel = wire.open_session(window=0xFFFFFFFF, packet=0xFFFFFFFF)
        for _ in range(100):
            wire.send(bytes([CHANNEL_WINDOW_ADJUST]) + u32(channel) + u32(0xFFFFFFFF))
        wire.execute(channel, "head -c 100000 /dev/zero")


def no_window(siege):
    """Windows and packets of nothing: output waits, the node does not spin."""
    with siege.wire() as wire:
        wire.log_in(siege.key)
        for window, packet in ((0, 1 << 15), (1, 1), (1 << 20, 0)):
            try:
                channel = wire.open_session(window=window, packet=packet)
            except Ended:
                return
            if channel is not None:
                wire.send(bytes([CHANNEL_REQUEST]) + u32(channel) + text("exec") + b"\0" + text("exec yes"))
        before = cpu_seconds(siege.node.pid)
        time.sleep(1)
        used = cpu_seconds(siege.node.pid) - before
        if used > 0.7:
            raise AssertionError(f"{used:.2f} s of one second were spent on channels that cannot move")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def channel_flood(siege):
    """Far more channels than allowed, without ever reading an answer."""
    with siege.wire() as wire:
        wire.log_in(siege.key)
        wire.stream.settimeout(3)
        try:
            for number in range(50_000):
                wire.send(bytes([CHANNEL_OPEN]) + text("session") + u32(number) + u32(0) + u32(1))
        except (Ended, TimeoutError):
            pass


def request_flood(siege):
    with siege.wire() as wire:
        wire.log_in(siege.key)
        wire.stream.settimeout(3)
        try:
            for _ in range(100_000):
                wire.send(REFUSED_TO_USERS)
        except (Ended, TimeoutError):
            pass


def rekey_flood(siege):
    with siege.wire() as wire:
        wire.log_in(siege.key)
        try:
            for _ in range(1000):
                wire.send(wire.kexinit())
        except Ended:
            pass
        must_end(wire)


def vanish(siege):
    """Gone without a word, in the middle of everything."""
    before = children(siege.node.pid)
    for command in ("exec yes", "exec cat", "exec sleep 1000", "trap '' HUP; exec sleep 1000"):
        with siege.wire() as wire:
            wire.log_in(siege.key)
            others = children(siege.node.pid)
            equal(wire.execute(wire.open_session(), command), True)
            wait_until(lambda: children(siege.node.pid) - others, 5, "the process is there")
    wait_until(lambda: not children(siege.node.pid) - before, 10, "the processes of vanished clients end")


def children(pid):
    """The processes whose parent this one is, whichever of its threads began them."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(entry.name)
        except OSError:
            continue
    return found


ATTACKS = (
    ("messages injected before the keys are there", injected_before_new_keys),
    ("messages out of order", out_of_order),
    ("key shares that are weak or of a wrong length", weak_shares),
    ("packets whose lengths lie", wrong_packets),
    ("fields whose lengths lie, before login", lies_before_login),
    ("a key that is offered and not proven", offered_but_not_proven),
    ("signatures that prove nothing", proven_by_others),
    ("endless tries to log in", endless_tries),
    ("a flood before login", flood_before_login),
    ("fields whose lengths lie, after login", lies_after_login),
    ("messages from the wrong side", from_the_wrong_side),
    ("channels that are not there", unknown_channels),
    ("data after close", after_close),
    ("data after the end of input", data_after_end),
    ("more than the window allows", beyond_the_window),
    ("the same in crumbs", crumbs),
    ("windows that overflow", overflowing_windows),
    ("windows and packets of nothing", no_window),
    ("a flood of channels", channel_flood),
    ("a flood of requests", request_flood),
    ("a flood of key exchanges", rekey_flood),
    ("clients that vanish", vanish),
)


def trial(report, world):
    siege = Siege(world, report)
    for name, attack in ATTACKS:
        if len(sys.argv) == 2 or any(word in name for word in sys.argv[2:]):
            siege.check(name, attack)
    report.check("no handler panicked", lambda: equal(siege.node.json("status")["panics"], 0))
    report.check("nothing panicked in the log", lambda: "panicked" not in siege.node.log())
    report.check("the node stops cleanly", lambda: equal(siege.node.stop(), 0))


if __name__ == "__main__":
    sys.exit(run(trial, __doc__, takes_more=True))
