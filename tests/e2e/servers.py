"""A Redis of a test's own, and a way to it, or to a database, that breaks on demand."""

import subprocess

from processes import Process, binary_dir, free_port, wait_until


class FaultProxy:
    """A TCP proxy before a service. Does nothing to what passes until it is told to.

        proxy.does("answers=drop")
        proxy.heals()
    """

    def __init__(self, service_port):
        program = binary_dir() / "kt-fault-proxy"
        assert program.is_file(), f"no {program}: run 'make test-e2e', which builds it"
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
    """A server that keeps nothing on disk, behind a proxy."""

    def __init__(self, folder, *settings):
        self.port = free_port()
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

    def kill(self):
        """Without a word; the proxy stays."""
        self.process.kill()

    def end(self):
        self.process.kill()
        if self.proxy:
            self.proxy.kill()
