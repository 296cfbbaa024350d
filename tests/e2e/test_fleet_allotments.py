"""A sidecar that reserves the calls of a hot wallet out of an allotment, over a Postgres that is far away: what becomes of
the allotment and of what was paid out of it when something else is amiss, too."""

import signal

import pytest

from answers import assert_miss, assert_refused
from disks import fill, make_room, small_disk
from fleet import Fleet, funded
from group import FOUR, chat
from processes import wait_until

CONFIG = {"wallet": {"backend": "postgres", "allotment": {}}}
# The room that the spool keeps, twice, which it wants before it takes it again, and some for files.
DISK_BYTES = 32 << 20


def heated(fleet, key, prompt):
    """The first sidecar has set a part of the wallet aside for itself. Says what was asked for that."""
    prompts = []
    def is_allotted():
        prompts.append(f"{prompt} warm {len(prompts)}")
        assert fleet.a.ask(key, prompts[-1]).status == 200
        return fleet.sidecar.gauge("kt_wallet_allotted_usd") > 0
    wait_until(is_allotted, "a part of the wallet is allotted")
    return prompts


def paid_for_each(fleet, wallet, prompts):
    """Nothing is set aside or lies in suspense, and each call that the provider has had is paid once."""
    assert wallet.pending == 0 and wallet.balance()["suspense_micro_usd"] == 0, wallet.balance()
    calls = sum(fleet.provider.calls_of(prompt)["total"] for prompt in prompts)
    assert len(wallet.charges()) == calls, (wallet.rows(), calls)
    assert not wallet.audit()["breaches"]


@pytest.mark.fault(52)
def test_a_sidecar_that_is_asked_to_end_gives_back_what_it_has_allotted_itself(crowd, prompt):
    with Fleet(CONFIG, gateways=FOUR[:2]) as fleet:
        wallet, gate = funded(fleet), prompt[8:16]
        prompts = heated(fleet, key := wallet.key(), prompt)
        body = chat(f"{prompt} [[fake: gate={gate}]]")
        running = crowd.one(fleet.a, key, body)
        fleet.provider.wait_at(gate)
        assert wallet.pending > 0
        ends = fleet.sidecar.process
        ends.signal(signal.SIGTERM)
        wait_until(lambda: fleet.sidecar.status()["status"] == "draining", "the sidecar drains")
        fleet.provider.release(gate)
        assert_miss(running.whole())
        wait_until(lambda: not ends.is_alive(), "it has ended")
        fleet.sidecar = fleet.sidecars[1]
        paid_for_each(fleet, wallet, [prompt, *prompts])


class Cramped(Fleet):
    """A fleet whose first sidecar has its data on a disk of its own."""

    def __init__(self, disk):
        super().__init__(CONFIG, gateways=FOUR[:2])
        (self.sidecar.folder / "data").symlink_to(disk)


@pytest.mark.fault(28)
def test_on_a_full_disk_without_its_database_a_sidecar_pays_for_no_new_call(crowd, prompt):
    with small_disk(DISK_BYTES) as disk, Cramped(disk) as fleet:
        wallet, gate = funded(fleet), prompt[8:16]
        prompts = heated(fleet, key := wallet.key(), prompt)
        running = crowd.one(fleet.a, key, chat(f"{prompt} [[fake: gate={gate}]]"))
        fleet.provider.wait_at(gate)
        fill(disk)
        fleet.database_proxy.does("door=reset requests=reset-after:0")
        fleet.provider.release(gate)
        assert_miss(running.whole())
        calls = fleet.provider.total()
        refused = fleet.a.ask(key, f"{prompt} another")
        assert_refused(refused, 503, "wallet_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert fleet.provider.total() == calls
        assert any("disk of the data folder is full" in error for error in fleet.sidecar.status()["wallet_errors"])
        # What has ended outlives it, on the full disk too.
        fleet.sidecar.process.kill()
        fleet.database_proxy.heals()
        make_room(disk)
        fleet.sidecar.restart(fleet.environment(fleet.sidecar))
        wait_until(lambda: len(wallet.charges()) == 1 + len(prompts), "what has ended is charged")
        wait_until(lambda: fleet.a.ask(key, f"{prompt} at last").status == 200, "it pays again")
        assert not wallet.audit()["breaches"]
