"""Part of ssh_clients.py: clients that are Python libraries, paramiko and asyncssh."""

import asyncio
import base64
import logging
import os
import socket
import threading
from contextlib import contextmanager

import asyncssh
import paramiko

from _node import wait_until
from _ssh_clients import Client, Done


class Paramiko(Client):
    name = "paramiko"
    reason = "paramiko leaves this to its users"

    def version(self):
        return paramiko.__version__

    @contextmanager
    def transport(self, key=None, host_key=None, sock=None, certificate=None):
        sock = sock or socket.create_connection(("127.0.0.1", self.far.port), 20)
        transport = paramiko.Transport(sock)
        identity = paramiko.Ed25519Key.from_private_key_file(key or self.far.key)
        if certificate:
            identity.load_certificate(certificate)
        known = (host_key or self.far.host_key).split()[1]
        try:
            # Refuses another host key before it authenticates.
            transport.connect(paramiko.Ed25519Key(data=base64.b64decode(known)), self.far.user, pkey=identity)
            yield transport
        finally:
            transport.close()

    @staticmethod
    def session(transport, command, stdin, pty=False):
        channel = transport.open_session()
        channel.settimeout(60)
        if pty:
            channel.get_pty()
        channel.exec_command(command) if command else channel.invoke_shell()

        def feed():
            channel.sendall(stdin)
            channel.shutdown_write()

        errors = []
        threads = [threading.Thread(target=feed), threading.Thread(target=lambda: errors.extend(iter(lambda: channel.recv_stderr(65536), b"")))]
        [thread.start() for thread in threads]
        out = b"".join(iter(lambda: channel.recv(65536), b""))
        [thread.join(60) for thread in threads]
        return Done(channel.recv_exit_status(), out, b"".join(errors))

    def run(self, command, stdin=b"", key=None, host_key=None, pty=False, extra=None):
        with self.transport(key, host_key) as transport:
            return self.session(transport, command, stdin, pty)

    def shell(self, lines):
        with self.transport() as transport:
            return self.session(transport, None, lines).out

    @contextmanager
    def local(self, port):
        with self.transport() as transport, socket.create_server(("127.0.0.1", 0)) as server:
            def serve():
                near, origin = server.accept()
                join(near, transport.open_channel("direct-tcpip", ("127.0.0.1", port), origin))

            threading.Thread(target=serve, daemon=True).start()
            yield server.getsockname()[1]

    @contextmanager
    def remote(self, port):
        with self.transport() as transport:
            there = transport.request_port_forward("127.0.0.1", 0)

            def serve():
                join(socket.create_connection(("127.0.0.1", port)), transport.accept(20))

            threading.Thread(target=serve, daemon=True).start()
            yield there

    def stdio(self, port, data):
        with self.transport() as transport:
            channel = transport.open_channel("direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 1))
            channel.settimeout(20)
            channel.sendall(data)
            return b"".join(iter(lambda: channel.recv(65536), b""))

    def jump(self, command):
        with self.transport() as outer:
            hop = outer.open_channel("direct-tcpip", ("127.0.0.1", self.far.port), ("127.0.0.1", 1))
            with self.transport(sock=hop) as inner:
                return self.session(inner, command, b"").out

    def many(self, count):
        found = [None] * count
        with self.transport() as transport:
            def one(index):
                found[index] = self.session(transport, f"echo m{index}", b"").out

            threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
            [thread.start() for thread in threads]
            [thread.join(60) for thread in threads]
        return found

    def rekeyed(self, blob):
        with self.transport() as transport:
            before = transport.H
            # It asks for new keys itself once so much has passed.
            transport.packetizer.REKEY_BYTES = 512 * 1024
            channel = transport.open_session()
            channel.settimeout(60)
            channel.exec_command("cat")
            feed = threading.Thread(target=channel.sendall, args=(blob,))
            feed.start()
            out = b""
            while len(out) < len(blob):
                out += channel.recv(65536)
            feed.join()
            # It answers the end of a channel on the thread that changes the keys, and would wait for itself.
            transport.packetizer.REKEY_BYTES = 1 << 30
            wait_until(lambda: transport.clear_to_send.is_set() and not transport.packetizer.need_rekey(), 20, "no change of keys")
            channel.shutdown_write()
            if transport.H == before:
                raise AssertionError("the keys were not changed")
            return out + b"".join(iter(lambda: channel.recv(65536), b""))

    def with_agent(self, command):
        with self.transport() as transport:
            channel = transport.open_session()
            # It finds the agent by its own environment.
            before, os.environ["SSH_AUTH_SOCK"] = os.environ.get("SSH_AUTH_SOCK"), self.far.agent
            try:
                agent = paramiko.agent.AgentRequestHandler(channel)
                channel.exec_command(command)
                out = b"".join(iter(lambda: channel.recv(65536), b""))
                agent.close()
            finally:
                os.environ.pop("SSH_AUTH_SOCK") if before is None else os.environ.update(SSH_AUTH_SOCK=before)
            return out

    def certified(self, key, command):
        with self.transport(key, certificate=f"{key}-cert.pub") as transport:
            return self.session(transport, command, b"").out


def join(near, channel):
    """Carries bytes both ways between a socket and a channel."""
    def up():
        for piece in iter(lambda: near.recv(65536), b""):
            channel.sendall(piece)
        channel.shutdown_write()

    threading.Thread(target=up, daemon=True).start()
    for piece in iter(lambda: channel.recv(65536), b""):
        near.sendall(piece)
    near.close()


class Requests(logging.Handler):
    """Counts how often asyncssh asks for new keys, which it tells its log alone."""

    count = 0

    def emit(self, record):
        self.count += "Requesting key exchange" in record.getMessage()


class Asyncssh(Client):
    name = "asyncssh"

    def version(self):
        return asyncssh.__version__

    def connection(self, key=None, host_key=None, port=None, **more):
        known = asyncssh.import_known_hosts(f"* {host_key or self.far.host_key}\n")
        options = {"agent_path": None, **more}
        return asyncssh.connect("127.0.0.1", port or self.far.port, username=self.far.user, client_keys=[key or self.far.key],
                                known_hosts=known, config=None, **options)

    async def on(self, use, **options):
        async with asyncio.timeout(120):
            async with self.connection(**options) as connection:
                return await use(connection)

    @staticmethod
    async def session(connection, command, stdin=b"", pty=False):
        terminal = {"term_type": "xterm"} if pty else {}
        async with connection.create_process(command, encoding=None, **terminal) as process:
            # Given no input, the library would leave the command's open.
            if not stdin:
                process.stdin.write_eof()
            out, err = await process.communicate(stdin or None)
            return Done(process.returncode, out, err)

    def run(self, command, stdin=b"", key=None, host_key=None, pty=False, extra=None):
        return asyncio.run(self.on(lambda c: self.session(c, command, stdin, pty), key=key, host_key=host_key))

    def shell(self, lines):
        return asyncio.run(self.on(lambda c: self.session(c, None, lines))).out

    @contextmanager
    def forward(self, listen):
        """Runs a connection with a listener in a thread of its own."""
        loop, ready, port = asyncio.new_event_loop(), threading.Event(), []

        async def serve():
            async with self.connection() as connection:
                listener = await listen(connection)
                port.append(listener.get_port())
                self.done = asyncio.Event()
                ready.set()
                await self.done.wait()

        def work():
            try:
                loop.run_until_complete(serve())
            except Exception as error:
                port.append(error)
                ready.set()

        thread = threading.Thread(target=work)
        thread.start()
        ready.wait(30)
        if isinstance(port[0], Exception):
            raise port[0]
        try:
            yield port[0]
        finally:
            loop.call_soon_threadsafe(self.done.set)
            thread.join(10)

    def local(self, port):
        return self.forward(lambda c: c.forward_local_port("127.0.0.1", 0, "127.0.0.1", port))

    def remote(self, port):
        return self.forward(lambda c: c.forward_remote_port("127.0.0.1", 0, "127.0.0.1", port))

    def socks(self):
        return self.forward(lambda c: c.forward_socks("127.0.0.1", 0))

    def stdio(self, port, data):
        async def use(connection):
            reader, writer = await connection.open_connection("127.0.0.1", port, encoding=None)
            writer.write(data)
            return await reader.read()

        return asyncio.run(self.on(use))

    def jump(self, command):
        async def use(outer):
            return await self.on(lambda inner: self.session(inner, command), tunnel=outer)

        return asyncio.run(self.on(use)).out

    def many(self, count):
        async def use(connection):
            return await asyncio.gather(*(self.session(connection, f"echo m{index}") for index in range(count)))

        return [done.out for done in asyncio.run(self.on(use))]

    def rekeyed(self, blob):
        requests = Requests()
        logging.getLogger("asyncssh").addHandler(requests)
        asyncssh.set_log_level("DEBUG")
        try:
            out = asyncio.run(self.on(lambda c: self.session(c, "cat", blob), rekey_bytes=256 * 1024)).out
        finally:
            asyncssh.set_log_level("WARNING")
            logging.getLogger("asyncssh").removeHandler(requests)
        # The first is that of the login.
        if requests.count < 4:
            raise AssertionError(f"the keys were changed {requests.count} times")
        return out

    def with_agent(self, command):
        options = {"agent_path": self.far.agent, "agent_forwarding": True}
        return asyncio.run(self.on(lambda c: self.session(c, command), **options)).out

    def certified(self, key, command):
        return asyncio.run(self.on(lambda c: self.session(c, command), key=(key, f"{key}-cert.pub"))).out


