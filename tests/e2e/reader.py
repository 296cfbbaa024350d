"""Somebody who reads a page and types its commands into one shell: `Desk`, where the tree is, and `Reader`.

The tree is a copy of what pages name in it, so that nothing of it is changed, and with ports of its own, so that it
meets nobody else's quickstart.
"""

import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

from group import environment
from processes import ROOT, Process, binary_dir, wait_until

# Ports of the pages are 41000 and something; ours as much above one of these, of which no other test takes any.
PORTS = [2, 3, 4, 5, 10, 11, 12, 13, 20, 32, 79, 100, 900]
BASES = range(2000, 9000, 1000)
# Whoever has this one has the others: they are free between two groups, and another run of the tests may look then.
CLAIM = 999
KEY = re.compile(r"kt_gk_\w{38}")


def can_be_taken(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def claimed(base):
    """This base and the claim to it, or nothing where somebody else has it or one of its ports."""
    claim = socket.socket()
    try:
        claim.bind(("127.0.0.1", base + CLAIM))
        claim.listen()
    except OSError:
        claim.close()
        return None
    if all(can_be_taken(base + port) for port in PORTS):
        return base, claim
    claim.close()
    return None


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Desk:
    """The tree as pages name it, and the group that `make run` has started in it."""

    def __init__(self):
        # Short, because a Unix socket's path has at most 107 bytes. Postgres is another user.
        self.folder = Path(tempfile.mkdtemp(prefix="kt-docs-"))
        self.base, self._claim = next(filter(None, map(claimed, random.sample(BASES, len(BASES)))))
        self.group, self.runs = None, None
        for name in ("charts", "deploy", "docs", "envoy", "scripts", "tests"):
            (self.folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "examples", self.folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        for file in (self.folder / "examples").rglob("*"):
            if file.is_file():
                file.write_text(self.ports(file.read_text()))
        (self.folder / "target/release").mkdir(parents=True)
        for name in ("kt", "sidecar-cache", "fake-provider"):
            (self.folder / "target/release" / name).symlink_to(binary_dir() / name)
        (self.folder / ".kt/run").mkdir(parents=True, mode=0o700)

    def ports(self, text):
        """A text with our ports in the place of the pages'."""
        text = re.sub(r"\b9100\b", "41100", text)
        return re.sub(r"\b41(0\d\d|100|900)\b", lambda found: str(self.base + int(found[1])), text)

    def port(self, of_the_pages):
        return int(self.ports(str(of_the_pages)))

    def change(self, file, old, new):
        """Makes a page's file say something else, as the page tells its reader to."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} does not say {old!r}"
        path.write_text(text.replace(old, new))

    def run(self, example="quickstart", group="quickstart"):
        """`make run` but for what it builds; what it prints until it has asked. One that runs already goes on."""
        wanted = {"EXAMPLE": example, "GROUP": group}
        if self.runs != wanted:
            self.stop()
            log = self.folder / "make-run.log"
            log.write_bytes(b"")
            self.group = Process("make run", [self.folder / f"examples/{group}/run"], log,
                                 env={**environment(), **wanted, "OPENAI_API_KEY": "made-up"}).start()
            self.runs = wanted
            wait_until(lambda: "Ctrl-C stops everything" in log.read_text() or not self.group.is_alive(),
                       f"the group of {wanted} has asked", 180)
            assert self.group.is_alive(), log.read_text()
        return (self.folder / "make-run.log").read_text()

    def stop(self):
        """Ends the group, if one runs. Its data is gone then: the next one is a first one."""
        if self.group is not None:
            # A Postgres has files elsewhere, which go when it ends by itself.
            if self.group.is_alive() and self.runs["GROUP"] == "fleet":
                self.group.family()
                self.group.signal(signal.SIGINT)
                wait_until(lambda: not self.group.is_alive(), "the group ends", 60)
            self.group.kill()
            self.group, self.runs = None, None
        shutil.rmtree(self.folder / ".kt/run")
        (self.folder / ".kt/run").mkdir(mode=0o700)

    def close(self):
        self.stop()
        self._claim.close()
        if not os.environ.get("KT_E2E_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


class Reader:
    """One shell at the desk, for the commands of one page."""

    def __init__(self, desk):
        self.desk, self.count, self.key, self.key_id = desk, 0, None, None
        fifo = desk.folder / "typed"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        self.shell = Process("shell", ["bash", "--norc", fifo], desk.folder / "shell.log", env={
            **environment(), "KT_BIN_DIR": str(binary_dir()), "HOME": str(desk.folder), "PATH": os.pathsep.join(
                [f"{desk.folder}/target/release", str(Path(sys.executable).parent), os.environ["PATH"]])})
        self.shell.log.write_bytes(b"")
        self.shell.start()
        self._typed = fifo.open("w", buffering=1)
        # As in a terminal, where an alias counts.
        self.type("shopt -s expand_aliases")

    def type(self, command, deadline_s=60):
        """Types a command; its exit status and what was printed meanwhile. One in the background only starts."""
        self.count += 1
        before, mark = len(self.output()), f"=== {self.count} of {id(self)}:"
        print(command, f"\nprintf '\\n{mark} %s\\n' $?", file=self._typed, sep="")

        def ended():
            assert self.shell.is_alive(), f"the shell has ended: {self.output()[before:]}"
            return re.search(rf"\n{mark} (\d+)\n", self.output()[before:])
        found = wait_until(ended, f"this command has ended: {command}", deadline_s)
        said = self.output()[before:][:found.start()]
        if key := KEY.search(said):
            self.key = key[0]
        return int(found[1]), said

    def output(self):
        return self.shell.log.read_text(errors="replace")

    def makes_a_key(self):
        """The key that `make run` prints for its reader, but one of this page's own."""
        sidecar = ".kt/run/fleet/gw-a.sock" if self.desk.runs["GROUP"] == "fleet" else ".kt/run/sidecar.sock"
        status, said = self.type(f"kt key create --sidecar {sidecar} --org demo --team platform --user you --json")
        assert status == 0, said
        self.key, self.key_id = KEY.search(said)[0], re.search(r'"(gk_\w+)"', said)[1]

    def leave(self, before):
        """Ends the program that was not there before, as Ctrl-C would in a terminal of its own."""
        *_, last = (member for member in self.shell.family() if member.pid not in before)
        last.signal(signal.SIGTERM)
        wait_until(lambda: not last.is_running(), "it has ended", 10)

    def close(self):
        """Ends the shell and all that it has started."""
        for member in self.shell.family():
            member.signal(signal.SIGTERM)
        self._typed.close()
        self.shell.kill()
