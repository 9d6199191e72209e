"""Part of the Python scripts beside it: a relay between a client and a node, for one carrier, that counts bytes and can hold them up."""

import select
import socket
import threading

MAX_DATAGRAM_BYTES = 65536
# To the node, and from it.
UP, DOWN = "up", "down"


class Relay:
    """Passes on what comes to a port of its own, over TCP (`tls`) or UDP (`quic`). The other carrier finds nobody there."""

    def __init__(self, carrier, port):
        self.carrier, self.to = carrier, ("127.0.0.1", port)
        # What went to the node and what came from it, in bytes, and at how many no more of it is passed on.
        self.passed, self.most = {UP: 0, DOWN: 0}, {UP: None, DOWN: None}
        self.held, self.cuts = threading.Event(), 0
        self.state = threading.Condition()
        kind = socket.SOCK_STREAM if carrier == "tls" else socket.SOCK_DGRAM
        self.door = socket.socket(socket.AF_INET, kind)
        self.door.bind(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        if carrier == "tls":
            self.door.listen()
        threading.Thread(target=self.connections if carrier == "tls" else self.datagrams, daemon=True).start()

    def hold_after(self, count, way=UP):
        """Lets so many more bytes through, and then none until `cut`."""
        with self.state:
            self.held.clear()
            self.most[way] = self.passed[way] + count

    def cut(self):
        """Ends what is held up, and lets everything through again."""
        with self.state:
            self.cuts += 1
            self.most = {UP: None, DOWN: None}
            self.held.clear()
            self.state.notify_all()

    def counted(self, way=UP):
        """The bytes that went this way since that was asked before."""
        with self.state:
            count, self.passed[way] = self.passed[way], 0
            return count

    def passes(self, way, count, waits):
        """Whether so many bytes may go this way; where `waits`, it comes back when that is known."""
        with self.state:
            cuts = self.cuts
            while self.most[way] is not None and self.passed[way] + count > self.most[way]:
                self.held.set()
                if not waits:
                    return False
                self.state.wait()
            if cuts != self.cuts:
                return False
            self.passed[way] += count
            return True

    # TCP

    def connections(self):
        while True:
            client, _ = self.door.accept()
            try:
                node = socket.create_connection(self.to, 10)
            except OSError:
                client.close()
                continue
            node.settimeout(None)
            threading.Thread(target=self.pump, args=(client, node, UP), daemon=True).start()
            threading.Thread(target=self.pump, args=(node, client, DOWN), daemon=True).start()

    def pump(self, source, sink, way):
        try:
            while (data := source.recv(65536)) and self.passes(way, len(data), True):
                sink.sendall(data)
            if way == UP and not data:
                return sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        # The node is gone, or it was cut: closed with bytes unread, whoever writes learns of it.
        source.close()
        sink.close()
        return None

    # UDP

    def datagrams(self):
        clients, nodes = {}, {}
        self.door.setblocking(False)
        while True:
            ready, _, _ = select.select([self.door, *nodes], [], [])
            for end in ready:
                try:
                    data, sender = end.recvfrom(MAX_DATAGRAM_BYTES)
                except OSError:
                    # Nobody is there any more: datagrams get lost.
                    continue
                if end is not self.door:
                    if self.passes(DOWN, len(data), False):
                        self.tell(self.door.sendto, data, nodes[end])
                    continue
                if sender not in clients:
                    node = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    node.connect(self.to)
                    # What `select` saw of it may be gone: an error is told to the next call, whichever that is.
                    node.setblocking(False)
                    clients[sender], nodes[node] = node, sender
                if self.passes(UP, len(data), False):
                    self.tell(clients[sender].send, data)

    @staticmethod
    def tell(send, *arguments):
        try:
            send(*arguments)
        except OSError:
            # Full, or nobody there: datagrams get lost.
            pass
