"""Part of ssh_hostile.py: SSH-2 as far as it takes to misbehave in every state. One key exchange (curve25519-sha256), one cipher
(aes128-gcm@openssh.com), Ed25519 keys. Nothing here defends itself: a node is the peer."""

import hashlib
import os
import socket
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = 1, 2, 3, 4, 5, 6, 7
KEXINIT, NEWKEYS, KEX_INIT, KEX_REPLY = 20, 21, 30, 31
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS, USERAUTH_BANNER, USERAUTH_PK_OK = 50, 51, 52, 53, 60
GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
CHANNEL_OPEN, CHANNEL_CONFIRMATION, CHANNEL_OPEN_FAILURE, CHANNEL_WINDOW_ADJUST = 90, 91, 92, 93
CHANNEL_DATA, CHANNEL_EXTENDED_DATA, CHANNEL_EOF, CHANNEL_CLOSE = 94, 95, 96, 97
CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_FAILURE = 98, 99, 100


class Ended(Exception):
    """The node ended the connection."""


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(value)) + value


def mpint(value):
    value = value.lstrip(b"\0")
    return text(b"\0" + value if value and value[0] & 0x80 else value)


def u32(number):
    return struct.pack(">I", number)


def read_text(data, at):
    length = struct.unpack_from(">I", data, at)[0]
    return data[at + 4:at + 4 + length], at + 4 + length


class Wire:
    """One connection, at first in clear."""

    def __init__(self, port, timeout=10):
        self.stream = socket.create_connection(("127.0.0.1", port), timeout)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.seal_with = self.open_with = None
        self.session_id = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    # Bytes.

    def send_raw(self, data):
        try:
            self.stream.sendall(data)
        except OSError as error:
            raise Ended(str(error)) from error

    def take(self, count):
        while len(self.buffer) < count:
            try:
                more = self.stream.recv(65536)
            except ConnectionError as error:
                raise Ended(str(error)) from error
            if not more:
                raise Ended("end of stream")
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    # Packets.

    def send(self, payload):
        self.send_raw(self.packet(payload))

    def packet(self, payload):
        block = 16 if self.seal_with else 8
        inside = 5 + len(payload) if not self.seal_with else 1 + len(payload)
        padding = 4 + -(inside + 4) % block
        packet = struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)
        return self.seal_with(packet) if self.seal_with else packet

    def receive(self):
        length = self.take(4)
        count = struct.unpack(">I", length)[0]
        body = self.open_with(length, self.take(count + 16)) if self.open_with else self.take(count)
        return body[1:len(body) - body[0]]

    def expect(self, *kinds):
        """The next packet of one of these kinds; what may stand in between is skipped."""
        while True:
            payload = self.receive()
            if payload[0] in kinds:
                return payload
            if payload[0] == DISCONNECT:
                raise Ended("disconnect")
            if payload[0] not in (IGNORE, DEBUG, EXT_INFO, USERAUTH_BANNER, GLOBAL_REQUEST, CHANNEL_WINDOW_ADJUST, UNIMPLEMENTED):
                raise AssertionError(f"message {payload[0]} instead of {kinds}")

    def ends(self, seconds=10):
        """Whether the node ends the connection, whatever it says before."""
        self.stream.settimeout(seconds)
        try:
            while self.stream.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    # States.

    def hello(self):
        self.v_c = b"SSH-2.0-hostile"
        self.send_raw(self.v_c + b"\r\n")
        line = b""
        while not line.endswith(b"\n"):
            line += self.take(1)
        self.v_s = line.rstrip(b"\r\n")
        return self

    def kexinit(self, strict=True):
        kex = "curve25519-sha256" + (",kex-strict-c-v00@openssh.com" if strict else "") + ",ext-info-c"
        cipher = "aes128-gcm@openssh.com"
        lists = [kex, "ssh-ed25519", cipher, cipher, "hmac-sha2-256-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "none", "none", "", ""]
        return bytes([KEXINIT]) + os.urandom(16) + b"".join(map(text, lists)) + bytes(5)

    def offer(self, strict=True):
        """Up to the point where both sides have said what they can."""
        self.i_c = self.kexinit(strict)
        self.send(self.i_c)
        self.i_s = self.receive()
        while self.i_s[0] != KEXINIT:
            self.i_s = self.receive()
        return self

    def exchange(self):
        """Up to the reply; the keys are there and not in force."""
        secret = X25519PrivateKey.generate()
        mine = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.send(bytes([KEX_INIT]) + text(mine))
        reply = self.expect(KEX_REPLY)
        host_key, at = read_text(reply, 1)
        theirs, _ = read_text(reply, at)
        shared = mpint(secret.exchange(X25519PublicKey.from_public_bytes(theirs)))
        told = [self.v_c, self.v_s, self.i_c, self.i_s, host_key, mine, theirs]
        digest = hashlib.sha256(b"".join(map(text, told)) + shared).digest()
        self.session_id = self.session_id or digest

        def key(letter, length):
            return hashlib.sha256(shared + digest + letter + self.session_id).digest()[:length]

        self.next_seal = gcm(key(b"C", 16), key(b"A", 12))
        self.next_open = gcm(key(b"D", 16), key(b"B", 12))
        return self

    def new_keys(self):
        self.send(bytes([NEWKEYS]))
        self.seal_with = sealer(*self.next_seal)
        self.expect(NEWKEYS)
        self.open_with = opener(*self.next_open)
        return self

    def secure(self):
        return self.hello().offer().exchange().new_keys()

    def service(self, name="ssh-userauth"):
        self.send(bytes([SERVICE_REQUEST]) + text(name))
        self.expect(SERVICE_ACCEPT)
        return self

    def log_in(self, key, user="me"):
        self.secure().service()
        self.send(signed_request(self.session_id, user, key))
        self.expect(USERAUTH_SUCCESS)
        return self

    def open_session(self, number=0, window=1 << 20, packet=1 << 15):
        self.send(bytes([CHANNEL_OPEN]) + text("session") + u32(number) + u32(window) + u32(packet))
        answer = self.expect(CHANNEL_CONFIRMATION, CHANNEL_OPEN_FAILURE)
        if answer[0] == CHANNEL_OPEN_FAILURE:
            return None
        return struct.unpack_from(">I", answer, 5)[0]

    def open_after(self, closed):
        """Another session, once everything that still comes for the closed one has been read."""
        self.send(bytes([CHANNEL_OPEN]) + text("session") + u32(1) + u32(1 << 20) + u32(1 << 15))
        while True:
            answer = self.receive()
            if answer[0] == CHANNEL_CONFIRMATION:
                return struct.unpack_from(">I", answer, 5)[0]
            if answer[0] in (DISCONNECT, CHANNEL_OPEN_FAILURE):
                raise Ended(f"message {answer[0]} after channel {closed} was closed")

    def execute(self, channel, command):
        self.send(bytes([CHANNEL_REQUEST]) + u32(channel) + text("exec") + b"\1" + text(command))
        return self.expect(CHANNEL_SUCCESS, CHANNEL_FAILURE)[0] == CHANNEL_SUCCESS


def gcm(key, nonce):
    return AESGCM(key), nonce


def counting(nonce):
    fixed, counter = nonce[:4], int.from_bytes(nonce[4:], "big")
    while True:
        yield fixed + (counter & (1 << 64) - 1).to_bytes(8, "big")
        counter += 1


def sealer(cipher, nonce):
    nonces = counting(nonce)
    return lambda packet: packet[:4] + cipher.encrypt(next(nonces), packet[4:], packet[:4])


def opener(cipher, nonce):
    nonces = counting(nonce)
    return lambda length, body: cipher.decrypt(next(nonces), body, length)


def load_key(path):
    with open(path, "rb") as file:
        return load_ssh_private_key(file.read(), None)


def new_key():
    return Ed25519PrivateKey.generate()


def public_blob(key):
    return text("ssh-ed25519") + text(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def key_request(user, key, signed):
    head = bytes([USERAUTH_REQUEST]) + text(user) + text("ssh-connection") + text("publickey")
    return head + (b"\1" if signed else b"\0") + text("ssh-ed25519") + text(public_blob(key))


def signed_request(session_id, user, key, signer=None, over=None):
    """A login; by `signer` instead of the key's holder, or over something else than this session, where told."""
    request = key_request(user, key, True)
    signature = (signer or key).sign(text(session_id) + (over or request))
    return request + text(text("ssh-ed25519") + text(signature))
