"""Part of ssh_clients.py: clients that are commands, PuTTY's plink and dropbear's dbclient."""

import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from _ssh_clients import Cannot, Client, Done, background, free_port


class CommandClient(Client):
    """A command line with options like ssh's."""

    def words(self, *options, **trust):
        raise NotImplementedError

    def environment(self):
        return self.far.world.environment

    def finish(self, words, stdin=b"", timeout=120, **environment):
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout, env={**self.environment(), **environment})
        return Done(done.returncode, done.stdout, done.stderr)

    def target(self):
        return f"{self.far.user}@127.0.0.1"

    def run(self, command, stdin=b"", key=None, host_key=None, pty=False, extra=()):
        terminal = ["-t"] if pty else ["-T"]
        return self.finish([*self.words(*terminal, *extra, key=key, host_key=host_key), self.target(), command], stdin)

    def shell(self, lines):
        return self.finish([*self.words("-T"), self.target()], lines).out

    def forward(self, port, *options):
        return background([*self.words("-N", *options), self.target()], port, env=self.environment())

    def with_agent(self, command):
        return self.finish([*self.words("-A", "-T"), self.target(), command], SSH_AUTH_SOCK=self.far.agent).out

    def local(self, port):
        here = free_port()
        return self.forward(here, "-L", f"127.0.0.1:{here}:127.0.0.1:{port}")

    def remote(self, port):
        there = free_port()
        return self.forward(there, "-R", f"127.0.0.1:{there}:127.0.0.1:{port}")


class Plink(CommandClient):
    name = "plink"

    def version(self):
        return "PuTTY " + subprocess.run(["plink", "-V"], capture_output=True, text=True).stdout.split()[2]

    def __init__(self, far):
        super().__init__(far)
        self.folder = far.world.folder("putty")
        self.fingerprints = {line: far.fingerprint(line) for line in (far.host_key, far.other_host_key)}
        self.keys = {key: self.ppk(key) for key in (far.key, far.stranger)}
        # What has no option is set in a saved session.
        sessions = far.world.root / "putty/sessions"
        sessions.mkdir()
        (sessions / "rekeys").write_text("Present=1\nProtocol=ssh\nRekeyBytes=256K\n")
        (sessions / "shares").write_text("Present=1\nProtocol=ssh\nConnectionSharing=1\n")
        (sessions / "jumps").write_text("Present=1\nProtocol=ssh\nProxyLocalhost=1\n")

    def environment(self):
        return {**super().environment(), "PUTTYDIR": self.folder}

    def ppk(self, key):
        """PuTTY reads keys in its own format only."""
        path = f"{key}.ppk"
        subprocess.run(["puttygen", key, "-O", "private", "-o", path], check=True, stdin=subprocess.DEVNULL)
        return path

    def words(self, *options, key=None, host_key=None):
        return ["plink", "-ssh", "-batch", "-noagent", "-P", str(self.far.port), "-i", self.keys[key or self.far.key],
                "-hostkey", self.fingerprints[host_key or self.far.host_key], *options]

    def socks(self):
        here = free_port()
        return self.forward(here, "-D", f"127.0.0.1:{here}")

    def stdio(self, port, data):
        return self.finish([*self.words("-nc", f"127.0.0.1:{port}"), self.target()], data).out

    def jump(self, command):
        proxy = " ".join(f"'{word}'" for word in [*self.words("-nc", f"127.0.0.1:{self.far.port}"), self.target()])
        return self.run(command, extra=["-load", "jumps", "-proxycmd", proxy]).out

    def rekeyed(self, blob):
        done = self.finish([*self.words("-T", "-v", "-load", "rekeys"), self.target(), "cat"], blob)
        if done.err.count(b"Initiating key re-exchange") < 3:
            raise AssertionError(f"the keys were not changed: {done.err[-400:]!r}")
        return done.out

    def many(self, count):
        session = ["-load", "shares", "-share"]
        upstream = subprocess.Popen([*self.words("-N", *session), self.target()], stdin=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, env=self.environment())
        try:
            exists = [*self.words(*session, "-shareexists"), self.target()]
            for _ in range(200):
                if self.finish(exists).status == 0:
                    break
            with ThreadPoolExecutor(count) as pool:
                return list(pool.map(lambda index: self.run(f"echo m{index}", extra=session).out, range(count)))
        finally:
            upstream.terminate()
            upstream.wait(10)

    def certified(self, key, command):
        self.keys[key] = self.ppk(key)
        return self.run(command, key=key, extra=["-cert", f"{key}-cert.pub"]).out


class Dbclient(CommandClient):
    name = "dbclient"

    def version(self):
        return subprocess.run(["dbclient", "-V"], capture_output=True, text=True).stderr.strip()

    def __init__(self, far):
        super().__init__(far)
        for key in (far.key, far.stranger):
            subprocess.run(["dropbearconvert", "openssh", "dropbear", key, f"{key}.dropbear"], check=True, capture_output=True)
        # It knows hosts by their name alone, and looks for them in the home folder.
        self.homes = {line: far.world.root / f"dropbear{index}" for index, line in enumerate((far.host_key, far.other_host_key))}
        for line, home in self.homes.items():
            (home / ".ssh").mkdir(parents=True)
            (home / ".ssh/known_hosts").write_text(f"127.0.0.1 {line}\n")

    def words(self, *options, key=None, host_key=None):
        home = self.homes[host_key or self.far.host_key]
        return ["env", f"HOME={home}", shutil.which("dbclient"), "-p", str(self.far.port), "-i", f"{key or self.far.key}.dropbear", *options]

    def run(self, command, stdin=b"", key=None, host_key=None, pty=False, extra=()):
        if not pty:
            return super().run(command, stdin, key, host_key, pty, extra)
        # It asks for a terminal only on one.
        words = [*self.words("-t", key=key, host_key=host_key), self.target(), command]
        return self.finish(["script", "-qec", shlex.join(words), "/dev/null"], stdin)

    def killed(self):
        raise Cannot("dropbear does not look at the signal that ended a command")

    def stdio(self, port, data):
        return self.finish([*self.words("-B", f"127.0.0.1:{port}"), self.target()], data).out

    def jump(self, command):
        hop = f"{self.target()}^{self.far.port}"
        return self.finish([*self.words("-T"), f"{hop},{hop}", command]).out

    def rekeyed(self, blob):
        raise Cannot("dropbear changes keys after a gigabyte or eight hours")

    def many(self, count):
        raise Cannot("dbclient opens one session on a connection")

    def socks(self):
        raise Cannot("dbclient has no -D")

    def certified(self, key, command):
        raise Cannot("dropbear knows no certificates")
