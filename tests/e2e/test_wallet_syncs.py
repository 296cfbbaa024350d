"""What is acknowledged was synced before: seen by the system calls of the sidecar itself, on any disk."""

import re
import shutil

import pytest

from processes import Process, wait_until
from wallet import Paying

FUNDED = 20
CALLS = "fsync,fdatasync,write,writev,sendto,sendmsg"
# A call that other threads' calls interrupt stands on two lines.
LINE = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)$")


@pytest.fixture
def traced():
    """A group whose sidecar runs under strace, and where its system calls stand."""
    if not shutil.which("strace"):
        pytest.fail("no strace, which tells what the sidecar asks of the system: apt-get install strace")
    with Paying() as group:
        group.sidecar.process.terminate()
        calls = group.folder / "calls"
        watched = ["strace", "-f", "-y", "-s", "2048", "-e", f"trace={CALLS}", "-o", calls]
        group.sidecar.process = Process("sidecar-cache", watched + group.sidecar.process.argv, group.sidecar.process.log)
        group.start_sidecar()
        yield group, calls


def what_happened(lines):
    """In order: `synced` where a sync of the wallet has come back, `told` where an acknowledgement goes out."""
    waiting = {}
    for line in lines:
        if not (call := LINE.match(line)):
            continue
        name, rest = call["resumed"] or call["name"], call["rest"]
        if name in ("fsync", "fdatasync"):
            on = waiting.pop(call["thread"], rest) if call["resumed"] else rest
            if rest.endswith("<unfinished ...>"):
                waiting[call["thread"]] = rest
            elif "/wallet.db" in on and rest.endswith("= 0"):
                yield "synced"
        elif call["name"] and "<socket:" in rest and r'\"created\":true' in rest:
            yield "told"


def test_each_acknowledgement_has_a_sync_before_it(traced):
    group, calls = traced
    wallet = group.wallet()
    for _ in range(FUNDED):
        wallet.fund(1)
    assert wallet.available == FUNDED

    def told():
        return list(what_happened(calls.read_text(errors="replace").splitlines()))
    wait_until(lambda: told().count("told") == FUNDED, "all of it is written down")
    # Between two of them, and before the first, at least one.
    before = "".join("s" if what == "synced" else "t" for what in told())
    assert re.fullmatch(r"(s+t)+s*", before), before
