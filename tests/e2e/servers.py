"""A Redis of a test's own, and a way to it, or to a database, that breaks on demand."""

import itertools
import re
import shutil
import subprocess

from processes import Process, binary_dir, free_port, wait_until


class FaultProxy:
    """A TCP proxy before a service. Does nothing to what passes until it is told to.

        proxy.does("answers=drop")
        proxy.heals()
    """

    def __init__(self, service_port):
        program = binary_dir() / "kt-fault-proxy"
        assert program.is_file(), f"no {program}: run 'cargo build --release -p kt-fault-proxy'"
        self._popen = subprocess.Popen([program, str(service_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True, bufsize=1, start_new_session=True)
        self.port = int(self._popen.stdout.readline())

    def does(self, faults):
        """What it does from now on, to open connections too; the words are those of `tests/fault-proxy/src/line.rs`."""
        self._popen.stdin.write(f"{faults}\n")
        self._popen.stdin.flush()
        assert self._popen.stdout.readline() == "ok\n", faults

    def heals(self):
        self.does("")

    def leads_to(self, service_port):
        """Where new connections lead from now on."""
        self.does(f"lead-to={service_port}")

    def kill(self):
        self._popen.kill()
        self._popen.wait(10)


class Redis:
    """A server that keeps nothing on disk unless its settings say so, behind a proxy."""

    def __init__(self, folder, *settings):
        self.port, self.folder = free_port(), folder
        self.process = Process("redis", [
            "redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
            "--appendonly", "no", *settings,
        ], folder / "redis.log")
        self.proxy = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.proxy.port}"

    def start(self):
        self.process.start()
        wait_until(lambda: self.run("PING") == "PONG", "Redis answers")
        if self.proxy is None:
            self.proxy = FaultProxy(self.port)

    def run(self, *words):
        """What the server answers to a command, past the proxy."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), *map(str, words)], capture_output=True, text=True,
                              timeout=10)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def mend(self):
        """It runs, and all that a test may have set is as it was at the start."""
        self.proxy.heals()
        if self.process.is_alive():
            self.process.thaw()
        else:
            self.start()
        assert self.run("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction") == "OK"
        assert self.run("ACL", "SETUSER", "default", "on", "nopass", "+@all", "~*", "&*") == "OK"

    def holds(self, key):
        """Whether an entry is in it, by its key as `kt explain` shows it."""
        return bool(self.run("KEYS", f"*}}e:{key}"))

    def name_of(self, key):
        """What the entry that is in it is called there."""
        return self.run("KEYS", f"*}}e:{key}")

    def evicts(self, until):
        """Evicts what was used least of late, making room for what nobody wants, until something holds."""
        used, = re.findall(r"^used_memory:(\d+)", self.run("INFO", "memory"), re.MULTILINE)
        self.run("CONFIG", "SET", "maxmemory", int(used) + (1 << 20), "maxmemory-policy", "allkeys-lru")
        filler = "for at = 1, 1000 do redis.call('SET', 'filler:' .. ARGV[1] .. ':' .. at, string.rep('x', 1000)) end"
        for batch in itertools.count():
            self.run("EVAL", filler, 0, batch)
            if until():
                break
            assert batch < 1_000, "it is never evicted"
        self.run("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
        self.run("EVAL", "for _, name in ipairs(redis.call('KEYS', 'filler:*')) do redis.call('UNLINK', name) end", 0)

    def leases(self):
        """The tokens of the leases that are in it, each as its epoch and its number, by the keys of what they are for."""
        names = self.run("KEYS", "*}l:*").split()
        return {name.rpartition(":")[2]: tuple(self.run("HMGET", name, "epoch", "token").split()) for name in names}

    def has_all_of(self, master):
        """Whether this replica has all that its master has by now."""
        offset, = re.findall(r"^master_repl_offset:(\d+)$", master.run("INFO", "replication"), re.MULTILINE)
        said = self.run("INFO", "replication").splitlines()
        return "master_link_status:up" in said and f"slave_repl_offset:{offset}" in said

    def promote(self):
        assert self.run("REPLICAOF", "NO", "ONE") == "OK"

    def hang_up(self):
        """Ends everybody's connections, those that wait for messages too."""
        for kind in ("normal", "pubsub"):
            self.run("CLIENT", "KILL", "TYPE", kind)

    def copy(self, to):
        """Copies what is on its disk at one moment."""
        self.process.freeze()
        shutil.copytree(self.folder / "appendonlydir", to)
        self.process.thaw()

    def loses_all_since(self, copy):
        """Kills it and starts it with what its disk had when it was copied."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(copy, self.folder / "appendonlydir")
        self.start()

    def kill(self):
        """Without a word; the proxy stays."""
        self.process.kill()

    def end(self):
        self.process.kill()
        if self.proxy:
            self.proxy.kill()
