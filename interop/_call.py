"""Part of the Python scripts beside it: a small client of the call protocol (docs/spec/call.md), and how to misuse it."""

import json
import socket
import ssl
import struct


class Calls:
    """Frames over a byte stream: four bytes of length, then JSON."""

    def __init__(self, stream):
        self.stream, self.arrived, self.number = stream, b"", 0

    def send(self, message):
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.stream.sendall(struct.pack(">I", len(content)) + content)

    def receive(self):
        """The next message; None at the end."""
        while len(self.arrived) < 4 or len(self.arrived) < 4 + struct.unpack(">I", self.arrived[:4])[0]:
            try:
                more = self.stream.recv(65536)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return None
            self.arrived += more
        length = struct.unpack(">I", self.arrived[:4])[0]
        content, self.arrived = self.arrived[4:4 + length], self.arrived[4 + length:]
        return json.loads(content)

    def call(self, operation, value=None, token=None):
        """The answer: its type, and its payload."""
        self.number += 1
        payload = {"operationId": f"/{operation}", "input": {} if value is None else value}
        if token is not None:
            payload["authToken"] = token
        self.send({"type": "call.requested", "id": str(self.number), "payload": payload})
        while (answer := self.receive()) is not None:
            if answer["id"] == str(self.number):
                return answer["type"], answer["payload"]
        raise ConnectionError("the connection ended before the answer")

    def output(self, operation, value=None, token=None):
        kind, payload = self.call(operation, value, token)
        if kind != "call.responded":
            raise AssertionError(f"{operation}: {payload}")
        return payload["output"]

    def close(self):
        self.stream.close()


def local(path):
    """Calls over the owner's control socket."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(20)
    stream.connect(path)
    stream.sendall(b"\x0balknet/call")
    return Calls(stream)


def tls(port, alpn="alknet/call", timeout=20):
    """A TLS connection of a client that checks nothing and shows no key."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout), server_hostname="localhost")


def remote(port):
    """Calls of a stranger over TLS."""
    return Calls(tls(port))


class Pipe:
    """The standard streams of a process, as a stream for calls."""

    def __init__(self, process):
        self.process = process

    def sendall(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def recv(self, size):
        return self.process.stdout.read1(size)

    def close(self):
        self.process.stdin.close()
