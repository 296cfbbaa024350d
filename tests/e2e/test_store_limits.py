"""Entries in a Postgres, on a disk that has no room: two gateways, each with a sidecar of its own."""

import os
import shutil

import pytest

from answers import assert_hit, assert_miss
from disks import fill, make_room, small_disk
from fleet import BACK_S, Fleet, books_agree, bounded, funded, wait_recovered
from group import FOUR
from processes import wait_until

DISK_BYTES = 16 << 20
# Far more than fits beside anything on what the table has already.
LARGE_BYTES = 200_000


class Kept(Fleet):
    """A fleet whose entries, and nothing else of the database, are on a disk of their own."""

    def __init__(self, disk):
        super().__init__({"workflow_cache": {"backend": "postgres", "redis": None}}, gateways=FOUR[:2])
        self._disk = disk

    def prepare(self):
        self.kt("db", "migrate", "--policy-config", self.config_path, env=self.environment(self.sidecar))
        place = self._disk / "entries"
        place.mkdir()
        owner = os.stat(f"{self.database.folder}/data")
        for folder in (self._disk, place):
            shutil.chown(folder, owner.st_uid, owner.st_gid)
        self.database.run(f"CREATE TABLESPACE small LOCATION '{place}';")
        self.database.run("ALTER TABLE cache_entries SET TABLESPACE small;")
        assert self.database.run("SELECT spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace "
                                 "WHERE relname = 'cache_entries'") == "small"

    def entries(self):
        """What is stored, as a digest of each."""
        return set(self.database.run("SELECT encode(key, 'hex'), md5(bytes) FROM cache_entries").splitlines())

    def not_stored(self):
        """How many answers the store has not taken."""
        lines = [line for sidecar in self.sidecars for line in sidecar.metrics().splitlines()]
        return sum(float(line.rpartition(" ")[2]) for line in lines
                   if line.startswith('kt_not_stored_total{reason="store"}'))


@pytest.fixture
def disk():
    with small_disk(DISK_BYTES) as disk:
        yield disk


@pytest.fixture
def fleet(disk):
    with Kept(disk) as fleet:
        fleet.recovery = funded(fleet).key()
        yield fleet


@pytest.mark.fault(29)
def test_on_a_full_disk_answers_are_served_and_what_is_stored_is_the_old_or_nothing(fleet, disk, prompt):
    wallet = funded(fleet)
    key = wallet.key()

    def large(number):
        return f"{prompt} {number} [[fake: size={LARGE_BYTES}]]"
    paid = assert_miss(fleet.a.ask(key, large(0)))
    assert_hit(fleet.b.ask(key, large(0)), of=paid)
    stored, calls = fleet.entries(), 1
    fill(disk)
    for number in (1, 2):
        for gateway in (fleet.a, fleet.b, fleet.a):
            served = assert_miss(bounded(lambda: gateway.ask(key, large(number))))
            assert len(served.json()["choices"][0]["message"]["content"]) == LARGE_BYTES
            calls += 1
    # A successor that finds no room leaves the one before it.
    newer = bounded(lambda: fleet.a.ask(key, large(0), headers={"cache-control": "max-age=0"}))
    assert newer.status == 200 and newer.id != paid.id, newer
    calls += 1
    assert fleet.entries() == stored
    assert fleet.not_stored() == calls - 1
    # Nothing in a memory hides what is on the disk.
    fleet.sidecars[1].process.kill()
    fleet.sidecars[1].restart(fleet.environment(fleet.sidecars[1]))
    assert_hit(wait_until(lambda: (got := fleet.b.ask(key, large(0))).cache_status == "hit" and got,
                          "the restarted sidecar reads", BACK_S), of=paid)
    make_room(disk)
    wait_recovered(fleet, BACK_S)
    again = assert_miss(fleet.a.ask(key, large(1)))
    assert_hit(fleet.b.ask(key, large(1)), of=again)
    for sidecar in fleet.sidecars:
        assert sidecar.metric("kt_corrupt") == 0
    books_agree(fleet, wallet, [f"{prompt} {number}" for number in range(3)])
