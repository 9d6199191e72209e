#!/usr/bin/env python3
"""A client that speaks the post-quantum key exchange (mlkem768x25519-sha256), which stock OpenSSH here does not: asyncssh.

    ssh_mlkem.py ALKNET

Needs the packages asyncssh and cryptography. Prints a line for each check and a total; exits 1 when one fails.
"""

import asyncio
import sys

import asyncssh

from _node import Node, Report, World, equal


async def said_over(port, key, host_key, *algorithms):
    """What `echo hi` gives, with nothing but these key exchanges on offer."""
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{port} {host_key}\n")
    options = {"username": "me", "client_keys": [key], "known_hosts": known, "kex_algs": list(algorithms)}
    async with asyncssh.connect("127.0.0.1", port, config=None, agent_path=None, **options) as connection:
        done = await connection.run("echo hi", check=True)
        return done.stdout


def main(binary):
    report = Report()
    with World(binary) as world:
        node = Node(world, "node").start()
        key = asyncssh.generate_private_key("ssh-ed25519")
        node.call("peer", "add", "me", "--key", key.export_public_key().decode().strip(), "--role", "owner")
        identity = node.json("call", "node/identify", "{}")

        def login(*algorithms):
            return asyncio.run(said_over(node.port, key, identity["ssh_host_key"], *algorithms))

        report.check("mlkem768x25519-sha256 alone", lambda: equal(login("mlkem768x25519-sha256"), "hi\n"))
        report.check("curve25519-sha256 alone", lambda: equal(login("curve25519-sha256"), "hi\n"))

        def refused(algorithm):
            try:
                login(algorithm)
            except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost):
                return True
            return False

        for weak in ("diffie-hellman-group14-sha256", "ecdh-sha2-nistp256"):
            report.check(f"{weak} is refused", lambda weak=weak: refused(weak))
    return report.total()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
