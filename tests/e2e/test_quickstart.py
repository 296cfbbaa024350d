"""`make run` as a user sees it: ready, the first curl twice, and nothing left after Ctrl-C."""

import os
import pty
import re
import signal
import socket
import subprocess

import pytest

from processes import ROOT, Process, binary_dir, wait_until

# Ports of its own, which an outgoing connection of any other test may be given; and has, for a minute behind its end.
pytestmark = pytest.mark.alone
FREE_S = 120
TAKEN = "cannot be had: Address already in use"
# So do Envoy's words end: anybody's connection may take a port between the look at it and its start.
BOUND = "Address already in use"
PORTS = [41002, 41003, 41010, 41900]


def can_be_taken(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True


def wait_for_ports():
    """Another quickstart may be ending, or a connection of somebody else happen to use one of them."""
    wait_until(lambda: all(map(can_be_taken, PORTS)), f"the quickstart's ports {PORTS} are free", FREE_S)


@pytest.fixture
def quickstart(tmp_path):
    process = Process("quickstart", [ROOT / "examples/quickstart/run"], tmp_path / "quickstart.log",
                      env={"KT_BIN_DIR": str(binary_dir())})

    def begins():
        """Where it does not because somebody was given one of its ports just now, once more."""
        wait_for_ports()
        process.start()
        wait_until(lambda: "fake-provider" in process.log.read_text() or not process.is_alive(), "it begins")
        return process.is_alive() or TAKEN not in "".join(process.log.read_text().splitlines()[-1:])
    wait_until(begins, "the quickstart has its ports", FREE_S)
    yield process
    # As Ctrl-C would, so that a failed test leaves as little behind as a good one.
    if process.is_alive():
        process.signal(signal.SIGINT)
        wait_until(lambda: not process.is_alive(), "the quickstart ends", 60)
    process.kill()


def test_the_quickstart_shows_a_miss_a_hit_and_one_call_and_leaves_nothing(quickstart):
    def has_asked_twice():
        return "called this often" in quickstart.log.read_text() or not quickstart.is_alive()
    wait_until(has_asked_twice, "the quickstart has asked twice", 120)
    said = quickstart.log.read_text()
    assert quickstart.is_alive(), said
    assert re.search(r"^ready$", said, re.MULTILINE)
    assert re.search(r"^gateway key: kt_gk_\w{38} \(its public name: gk_\w+\)$", said, re.MULTILINE)
    assert re.findall(r"^x-cache-status: (\w+)", said, re.MULTILINE | re.IGNORECASE) == ["miss", "hit"]
    assert re.search(r'"total": ?1\b', said), said
    family = quickstart.family()
    assert len(family) >= 7, "a script, a provider, a sidecar, and two gateways with their Envoys"
    quickstart.signal(signal.SIGINT)
    wait_until(lambda: not quickstart.is_alive(), "the quickstart ends", 60)
    wait_until(lambda: not any(member.is_running() for member in family), "nothing of it runs")


@pytest.mark.parametrize("said", ["fake-provider", "sidecar-cache", "gw-a", "gw-b", "gateway key", "called this often"])
def test_ctrl_c_at_any_moment_of_the_start_stops_everything(said):
    """Typed at a terminal, which sends the signal to everybody in the foreground."""
    for _ in range(5):
        if not (refused := until_stopped(said)):
            return
        # Somebody was given one of its ports just now.
    raise AssertionError(refused)


def until_stopped(said):
    """Starts it and stops it as soon as it has said that; what it says, if it could not have a port."""
    wait_for_ports()
    terminal, its_end = pty.openpty()
    # A session and a terminal of its own, as a shell gives a command.
    script = subprocess.Popen(
        ["setsid", "--ctty", ROOT / "examples/quickstart/run"], stdin=its_end, stdout=its_end, stderr=its_end,
        env={**os.environ, "KT_BIN_DIR": str(binary_dir())}, start_new_session=False)
    os.close(its_end)
    seen = b""

    def reads():
        nonlocal seen
        try:
            seen += (more := os.read(terminal, 4096))
            return more
        except OSError:  # What a terminal says whose other end is closed by everybody.
            return b""
    try:
        while said.encode() not in seen and reads():
            pass
        os.write(terminal, b"\x03")
        while reads():
            pass
        if BOUND in seen.decode():
            return seen.decode()
        assert script.wait(60) == 0, seen.decode()
        assert b"stopping" in seen and b"rror" not in seen, seen.decode()
        wait_until(lambda: all(map(can_be_taken, PORTS)), "nothing of it listens", FREE_S)
        return ""
    finally:
        script.kill()
        os.close(terminal)
