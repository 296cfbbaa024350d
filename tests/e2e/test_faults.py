"""Faults of the machine under the sidecar: a wall clock that jumps, no file descriptor left."""

import os
import resource
import socket
from pathlib import Path

import pytest

from answers import assert_hit, assert_miss, assert_refused
from group import chat
from processes import wait_until
from wallet import Paying

HOUR_S = 3_600
FAKETIME = "libfaketime.so.1"


def faketime():
    """The library that lets one process see another wall clock."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{FAKETIME}"))
    if not found:
        pytest.fail(f"no {FAKETIME} below /usr/lib: apt-get install libfaketime")
    return found[0]


class WallClock:
    """The wall clock that a group's sidecar sees from its restart on."""

    def __init__(self, group):
        self._file = group.folder / "wall-clock"
        self.jumps(0)
        group.sidecar.process.terminate()
        group.sidecar.restart({
            "LD_PRELOAD": str(faketime()), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            # Durations are measured on the other clock, which no operator can set.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        })

    def jumps(self, seconds):
        """From now on it is so far from the true one."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.rename(self._file)


@pytest.fixture
def clocked():
    with Paying() as group:
        clock = WallClock(group)
        for gateway in group.gateways:
            key = group.key(org="recovery")
            wait_until(lambda: gateway.ask(key, f"Are you back, {gateway.id}?").status == 402, "the sidecar is back")
        yield group, clock


def wait_upkeep(group, wallet, key, prompt, paid):
    """Until the sidecar has looked for what is due, from beginning to end: what hits save is noted behind it."""
    for hits in (1, 2):
        assert_hit(group.b.ask(key, prompt), of=paid)
        wait_until(lambda: wallet.hits() == hits, f"{hits} hits are noted")


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S], ids=["ahead", "back"])
@pytest.mark.fault(37)
def test_a_wall_clock_that_jumps_an_hour_ends_nothing_early_and_pays_nothing_twice(clocked, crowd, prompt, jump_s):
    group, clock = clocked
    wallet, gate = group.wallet(1_000_000), prompt[8:16]
    key = wallet.key()
    paid = assert_miss(group.a.ask(key, prompt))
    running = crowd.one(group.a, key, chat(f"{prompt} And then? [[fake: gate={gate}]]"))
    group.provider.wait_at(gate)
    clock.jumps(jump_s)
    wait_upkeep(group, wallet, key, prompt, paid)
    assert wallet.rows() == {"pending": 2, "post": 1}, "the call that runs still holds its money"
    hit = assert_hit(group.b.ask(key, prompt), of=paid)
    assert int(hit.headers["age"]) < 60, "an entry is as old as it was"
    if jump_s < 0:
        # What a window has spent may not be spent again in the same hour.
        refused = group.b.ask(key, f"{prompt} Why?")
        assert_refused(refused, 503, "wallet_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    else:
        assert_miss(group.b.ask(key, f"{prompt} Why?"))
    group.provider.release(gate)
    assert_miss(running.whole())
    assert wallet.pending == 0 and "expire" not in wallet.rows()
    clock.jumps(max(jump_s, 0))
    wait_until(lambda: group.b.ask(key, f"{prompt} At last?").status == 200, "calls are paid again")
    assert wallet.audit()["breaches_total"] == 0


@pytest.mark.fault(34)
def test_a_sidecar_without_a_file_descriptor_left_serves_whom_it_knows_and_recovers(edited, prompt):
    group, key = edited, edited.key(org="acme")
    pid = group.sidecar.process.pid
    paid = assert_miss(group.a.ask(key, prompt))
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    room = len(os.listdir(f"/proc/{pid}/fd")) + 4
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (room, limits[1]))
    # Nobody needs a right to open a connection to the port of /metrics.
    idle = [socket.create_connection(("127.0.0.1", group.sidecar.port)) for _ in range(64)]
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) >= room, "no descriptor is left")
    assert_hit(group.a.ask(key, prompt), of=paid)
    for connection in idle:
        connection.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: group.sidecar.health().status_code == 200, "new connections are taken again")
    for gateway in group.gateways:
        wait_until(lambda: gateway.ask(key, f"{prompt} {gateway.id}").cache_status == "miss", "calls are made again")
    assert group.sidecar.process.pid == pid and group.sidecar.process.is_alive()
