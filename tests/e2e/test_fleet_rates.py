"""`rate-limit` over a fleet: gateways with a sidecar each count together in their Redis; while it is away nobody counts, and
a metric says so."""

import concurrent.futures
import time

import pytest

from answers import assert_miss, assert_refused
from fleet import BACK_S, Fleet, bounded
from group import chat
from processes import wait_until

PER_MINUTE = 20


@pytest.fixture(scope="module")
def paced():
    """A fleet in which a team has so many requests a minute. Nobody pays: what stops a request is its limit."""
    scopes = {"per_team": {"requests_per_minute": PER_MINUTE}}
    policies = {"chain": ["rate-limit"], "policy": {"rate-limit": scopes}}
    with Fleet({"policies": policies, "wallet": None}) as fleet:
        yield fleet


@pytest.fixture
def fleet(paced):
    """The fleet, whole again after the test: every sidecar has its Redis."""
    yield paced
    paced.mend()
    wait_until(lambda: all(counts(sidecar) for sidecar in paced.sidecars), "every sidecar counts again", 30)


def counts(sidecar):
    return 'kt_store_available{store="redis"} 1' in sidecar.metrics()


def uncounted(fleet):
    return sum(sidecar.metric("kt_rate_limit_uncounted") for sidecar in fleet.sidecars)


def flood(fleet, key, prompt, count):
    """So many at once, by turns at the gateways: how many were answered, and how many could have been at most, as some
    come back meanwhile and a machine that is too busy for a budget does not count some."""
    before, begin = uncounted(fleet), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(fleet.gateways[nth % 4].ask, key, chat(prompt)) for nth in range(count)]
        answers = [one.result() for one in asked]
    refused = [answer for answer in answers if answer.status != 200]
    for answer in refused:
        assert_refused(answer, 429, "rate_limit_exceeded")
    back = int((time.monotonic() - begin) * PER_MINUTE / 60)
    return count - len(refused), PER_MINUTE + back + int(uncounted(fleet) - before)


def test_four_gateways_with_a_sidecar_each_share_one_limit(fleet, prompt):
    key, other = fleet.key(team="red"), fleet.key(team="blue")
    served, most = flood(fleet, key, prompt, 4 * PER_MINUTE)
    assert PER_MINUTE <= served <= most, (served, most)
    # Another key of the same team is as late, at whatever gateway, and another team is not.
    late = fleet.key(team="red")
    answers = [gateway.ask(late, prompt) for gateway in fleet.gateways for _ in range(3)]
    assert any(answer.status == 429 for answer in answers), answers
    for gateway in fleet.gateways:
        assert gateway.ask(other, prompt).status == 200


@pytest.mark.fault(8)
def test_a_redis_that_is_away_counts_nobody_refuses_nobody_and_counts_again_when_it_is_back(fleet, prompt):
    key = fleet.key(team="green")
    fleet.redis.kill()
    count = PER_MINUTE + 4
    for nth in range(count):
        assert_miss(bounded(lambda: fleet.gateways[nth % 4].ask(key, f"{prompt} {nth}")), "store-unavailable")
    # Each was told of where it passed, and nothing else refused it.
    assert uncounted(fleet) >= count
    assert 'kt_rate_limit_uncounted_total{reason="store-unavailable"}' in fleet.sidecar.metrics()
    fleet.redis.start()
    wait_until(lambda: all(counts(sidecar) for sidecar in fleet.sidecars), "every sidecar counts again", BACK_S)
    served, most = flood(fleet, key, prompt, 4 * PER_MINUTE)
    assert PER_MINUTE <= served <= most, (served, most)
