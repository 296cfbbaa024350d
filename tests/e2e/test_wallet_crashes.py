"""A sidecar that is killed while it pays: what was acknowledged stands, and what was not is told by its absence."""

import os
import random

import pytest

from group import Group
from rules import by_request
from torture import CONFIG, Torture

# `make soak` wants 200.
ROUNDS = int(os.environ.get("KT_CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("KT_CRASH_SEED", random.SystemRandom().getrandbits(32)))
# So many must meet all that a kill is for. Fewer may miss some of it.
LONG = 200


@pytest.mark.fault(2, 3, 4)
def test_whatever_moment_the_sidecar_is_killed_at_the_book_tells_what_happened(crowd):
    print(f"KT_CRASH_SEED={SEED} KT_CRASH_ROUNDS={ROUNDS}")
    with Group(CONFIG, gateways=(("gw-a", "primary"), ("gw-b", "fallback"))) as group:
        torture = Torture(group, crowd, SEED)
        for number in range(ROUNDS):
            torture.round(number)
        ledger = torture.end()
        paid_again = torture.keys.paid_again(torture.calls, by_request(ledger))
        print(f"{ROUNDS} kills; {paid_again} whole calls paid for, and paid again under their keys")
        print("\n".join(torture.report(ledger)))
        assert ROUNDS < LONG or not torture.not_met()
