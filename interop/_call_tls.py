"""Part of the Python scripts beside it: TLS 1.3 to a node's face, with what asyncio's own TLS cannot do.

One direction can be ended while the other goes on, a connection can be cut without a farewell, and whoever does not read takes nothing.
Written from docs/spec/net.md and RFC 8446 with the standard library alone.
"""

import asyncio
import socket
import ssl

CHUNK = 64 * 1024
ED25519 = bytes.fromhex("2b6570")
Z_BASE_32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


class Cut(ConnectionError):
    """The stream ended without TLS' close_notify: something may be missing (NET-03)."""


def der(content):
    """The elements of DER content, as pairs of tag and value."""
    elements, at = [], 0
    while at < len(content):
        tag, length, at = content[at], content[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(content[at:at + count], "big"), at + count
        elements.append((tag, content[at:at + length]))
        at += length
    return elements


def certified_key(certificate):
    """The Ed25519 key of an X.509 certificate (RFC 5280, RFC 8410)."""
    (_, signed), *_ = der(der(certificate)[0][1])
    fields = [value for tag, value in der(signed) if tag != 0xA0]
    (_, algorithm), (_, key) = der(fields[5])
    if der(algorithm) != [(6, ED25519)] or len(key) != 33:
        raise ValueError("the certificate holds no Ed25519 key")
    return key[1:]


def parse_node_key(text):
    """The 32 bytes of a node key: 64 hex digits, or a node id (AUTH-02)."""
    if len(text) == 64:
        return bytes.fromhex(text)
    bits = "".join(f"{Z_BASE_32.index(letter):05b}" for letter in text)
    if len(text) != 52 or set(bits[256:]) - {"0"}:
        raise ValueError(f"{text!r} is no node id")
    return int(bits[:256], 2).to_bytes(32, "big")


class TlsStream:
    """A byte stream to a node, whose key is pinned where it is given."""

    def __init__(self, reader, writer, alpn):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([alpn])
        self.reader, self.writer, self.alpn = reader, writer, alpn
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.ahead = bytearray()

    @classmethod
    async def connect(cls, host, port, node_key=None, alpn="alknet/call", receive_buffer=None):
        (family, kind, protocol, _, address), *_ = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        carrier = socket.socket(family, kind, protocol)
        carrier.setblocking(False)
        if receive_buffer:
            carrier.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(carrier, address)
        reader, writer = await asyncio.open_connection(sock=carrier, limit=CHUNK)
        stream = cls(reader, writer, alpn)
        try:
            await asyncio.wait_for(stream._handshake(node_key), 10)
        except BaseException:
            stream.cut()
            raise
        return stream

    async def _handshake(self, node_key):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                await self._feed()
        self._flush()
        if self.tls.selected_alpn_protocol() != self.alpn:
            raise ConnectionError(f"{self.alpn} was not settled on")
        # TLS has proven the key of the certificate; whose key it is, the pin says (NET-26).
        found = certified_key(self.tls.getpeercert(binary_form=True))
        if node_key is not None and found != node_key:
            raise ConnectionError(f"the node's key is {found.hex()}")

    async def _feed(self):
        data = await self.reader.read(CHUNK)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def _flush(self):
        if self.outgoing.pending and not self.writer.is_closing():
            self.writer.write(self.outgoing.read())

    async def read(self):
        """Some bytes; none at a clean end."""
        if self.ahead:
            data = bytes(self.ahead)
            self.ahead.clear()
            return data
        while True:
            try:
                return self.tls.read(CHUNK)
            except ssl.SSLWantReadError:
                self._flush()
                await self._feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise Cut(str(error)) from error

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view):]
        self._flush()

    async def drain(self):
        await self.writer.drain()

    def end(self):
        """Ends this side's direction cleanly; the other goes on."""
        try:
            # OpenSSL must not find data of the other side while it says farewell.
            while data := self.tls.read(CHUNK):
                self.ahead += data
        except ssl.SSLError:
            pass
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self._flush()
        try:
            self.writer.write_eof()
        except OSError:
            pass

    def cut(self):
        """Ends both directions at once, with no farewell."""
        self.writer.transport.abort()
