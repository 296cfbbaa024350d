"""A disk without room while calls run: they still end in the book, nothing new begins, and nothing has to be mended."""

import pytest

from answers import assert_miss, assert_refused
from disks import fill, make_room, small_disk
from group import chat
from ledger import Ledger
from processes import wait_until
from wallet import Paying, cost

# The room that the ledger keeps, twice, which it wants before it takes it again, and some for its file.
DISK_BYTES = 80 << 20


@pytest.fixture
def disk():
    with small_disk(DISK_BYTES) as disk:
        yield disk


@pytest.mark.fault(28)
def test_on_a_full_disk_calls_that_run_are_settled_and_no_other_is_made(disk, crowd, prompt):
    with Paying({"wallet": {"path": str(disk / "wallet.db")}}) as group:
        wallet, gate = group.wallet(1_000_000), prompt[8:16]
        key = wallet.key()
        running = [
            crowd.one(gateway, key, chat(f"{prompt} {nth} [[fake: gate={gate}@event:3]]", stream=nth == 0))
            for nth, gateway in enumerate(group.gateways)
        ]
        group.provider.wait_at(gate, len(running))
        fill(disk)
        calls = group.provider.total()
        for gateway in group.gateways:
            refused = gateway.ask(key, f"{prompt} another")
            assert_refused(refused, 503, "wallet_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
        assert group.provider.total() == calls
        assert wallet.post("/fund", amount_micro_usd=5).status_code == 503
        group.provider.release(gate)
        for live in running:
            assert_miss(live.whole())
        charge = cost(len(prompt.split()) + 3, 12)
        assert wallet.charges() == [(charge, False)] * len(running)
        assert (wallet.pending, wallet.available) == (0, 1_000_000 - charge * len(running))
        make_room(disk)
        wait_until(lambda: group.a.ask(key, f"{prompt} at last").status == 200, "there is room again")
        wallet.fund(5)
        assert Ledger.in_use(disk, wallet.org).faults() == []
        # Nor is anything amiss for whoever opens it next.
        group.sidecar.process.kill()
        assert Ledger.left_behind(disk, wallet.org).faults() == []
        group.sidecar.restart()
        wait_until(lambda: group.b.ask(key, f"{prompt} after all").status == 200, "the restarted sidecar pays")
