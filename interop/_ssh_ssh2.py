"""Part of ssh_clients.py: the npm package ssh2, driven by _ssh2_client.js."""

import json
import os
import subprocess
from pathlib import Path

from _ssh_clients import Cannot, Client, Done, background, free_port

MODULES = os.environ.get("NODE_MODULES") or os.path.expanduser("~/.cache/alknet/npm/node_modules")


class Ssh2(Client):
    name = "ssh2"
    reason = "ssh2 has no such thing"

    def version(self):
        return json.loads((Path(MODULES) / "ssh2/package.json").read_text())["version"]

    def words(self, action, key=None, host_key=None, **more):
        spec = {"port": self.far.port, "user": self.far.user, "key": key or self.far.key, "action": action,
                "hostKey": (host_key or self.far.host_key).split()[1], **more}
        return ["node", str(Path(__file__).with_name("_ssh2_client.js")), json.dumps(spec)]

    def environment(self):
        return {**self.far.world.environment, "NODE_PATH": MODULES}

    def act(self, action, stdin=b"", **more):
        done = subprocess.run(self.words(action, **more), input=stdin, capture_output=True, timeout=120, env=self.environment())
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, command, stdin=b"", key=None, host_key=None, pty=False, extra=None):
        return self.act("exec", stdin, key=key, host_key=host_key, command=command, pty=pty)

    def shell(self, lines):
        return self.act("shell", lines).out

    def many(self, count):
        done = self.act("many", count=count)
        return [text.encode() for text in json.loads(done.out or done.err)]

    def local(self, port):
        here = free_port()
        return background(self.words("local", target=port, listen=here), here, env=self.environment())

    def remote(self, port):
        there = free_port()
        return background(self.words("remote", target=port, listen=there), there, env=self.environment())

    def socks(self):
        raise Cannot("ssh2 leaves this to its users")

    def stdio(self, port, data):
        return self.act("stdio", data, target=port).out

    def jump(self, command):
        return self.act("jump", command=command).out

    def rekeyed(self, blob):
        done = self.act("exec", blob, command="cat", rekey=512 * 1024)
        if done.err.count(b"new keys") < 2:
            raise AssertionError(f"the keys were not changed: {done.err!r}")
        return done.out

    def with_agent(self, command):
        return self.act("exec", command=command, agent=self.far.agent).out

    def certified(self, key, command):
        raise Cannot("ssh2 knows no certificates")
