#!/usr/bin/env python3
"""Stock SSH clients beside OpenSSH: PuTTY's plink, dropbear's dbclient, paramiko, asyncssh and npm's ssh2, by the same checks.

    ssh_clients.py ALKNET [CLIENT…]

Prints a line for each check and a total; exits 1 when one fails. All clients together also compare what they did with the matrix in
docs/interop.md; UPDATE_GOLDEN=1 writes it anew.
"""

import os
import sys
from pathlib import Path

from _node import Node, Report, World
from _ssh_clients import Cannot, Far, checks

try:
    from _ssh_libraries import Asyncssh, Paramiko
except ImportError as error:
    print(f"SKIPPED: the package {error.name} is missing")
    sys.exit(77)

from _ssh_commands import Dbclient, Plink
from _ssh_ssh2 import Ssh2

CLIENTS = [Plink, Dbclient, Paramiko, Asyncssh, Ssh2]
DOCUMENT = Path(__file__).parent.parent / "docs/interop.md"
BEGIN, END = "<!-- matrix of clients: written by interop/ssh_clients.py -->\n", "<!-- end of the matrix -->\n"


def row(cells):
    return f"| {' | '.join(cells)} |\n"


def matrix(clients, results):
    """The table as Markdown. A reason why something cannot be is a note below it."""
    notes, lines = [], [row(["check", *(client.name for client in clients)]), row(["---"] * (len(clients) + 1))]
    for name, cells in results.items():
        shown = []
        for cell in cells:
            if cell in ("yes", "NO"):
                shown.append(cell)
                continue
            if cell not in notes:
                notes.append(cell)
            shown.append(f"– {notes.index(cell) + 1}")
        lines.append(row([name, *shown]))
    return "".join([*lines, "\n", *(f"{index}. {note}.\n" for index, note in enumerate(notes, 1))])


def outcome(report, client, name, check):
    """Runs a check; the cell of the matrix."""
    cell = []

    def attempt():
        try:
            return check(client)
        except Cannot as reason:
            cell.append(str(reason))
            return True

    passed = report.check(f"{client.name}: {name}", attempt)
    return "NO" if not passed else (cell or ["yes"])[0]


def is_documented(table):
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(before + BEGIN + table + END + after)
        return True
    if inside != table:
        raise AssertionError(f"UPDATE_GOLDEN=1 writes what was found:\n{table}")
    return True


def main(binary, names):
    report = Report()
    chosen = [client for client in CLIENTS if not names or client.name in names]
    with World(binary) as world:
        far = Far(world, Node(world, "node").start())
        clients = [client(far) for client in chosen]
        print("; ".join(f"{client.name} {client.version()}" for client in clients))
        results = {name: [outcome(report, client, name, check) for client in clients] for name, check in checks(far)}
    if len(chosen) == len(CLIENTS):
        report.check("docs/interop.md has this matrix", lambda: is_documented(matrix(clients, results)))
    return report.total()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
