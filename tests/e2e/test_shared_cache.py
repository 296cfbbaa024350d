"""Two sidecars, each with a gateway of its own, over one Redis: what the one has paid for the other serves, and a
Redis that goes away takes nothing along but what is only there."""

import re

import pytest

from answers import assert_hit, assert_miss
from database import Database
from group import Gateway, Group, Sidecar
from processes import Process, free_port, wait_until

# The promise of a Redis that was killed and comes back, and what a busy machine may add.
BACK_S = 5.0 + 10.0


class Shared(Group):
    """`gw-a` joins one sidecar, `gw-b` the other."""

    def __init__(self):
        self.redis_port = free_port()
        redis = {"url": self.redis_url(), "prefix": "e2e:"}
        # First: what is started later inherits where it is.
        self.database = Database()
        self.database.__enter__()
        cache = {"workflow_cache": {"backend": "redis", "redis": redis}, **self.database.config()}
        super().__init__(cache, gateways=[("gw-a", "primary")])
        self.redis = Process("redis", [
            "redis-server", *self.redis_listens(), "--bind", "127.0.0.1", "--save", "",
        ], self.folder / "redis.log")
        folder = self.folder / "2"
        folder.mkdir()
        self.other = Sidecar(folder, self.config_path)
        self.gateways.append(Gateway("gw-b", "primary", folder, self.config_path, self.other.socket))

    def redis_url(self):
        return f"redis://127.0.0.1:{self.redis_port}"

    def redis_listens(self):
        """The arguments of where Redis listens, and for whom."""
        return ["--port", self.redis_port]

    def processes(self):
        return [self.redis, *super().processes(), self.other.process]

    def start_sidecar(self):
        self.redis.start()
        super().start_sidecar()
        self.other.process.start()
        wait_until(self.other.is_ready, "the other sidecar is ready")
        for sidecar in (self.sidecar, self.other):
            wait_until(lambda: "stores_away" not in sidecar.health().json(), "Redis is there")

    def __exit__(self, *_):
        super().__exit__()
        self.database.__exit__()

    def keys(self, **fields):
        """A key made at each sidecar, of one organization."""
        return [sidecar.create_key(org="acme", **fields) for sidecar in (self.sidecar, self.other)]


@pytest.fixture(scope="module")
def shared():
    with Shared() as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


def one_pays_and_the_other_serves(group, prompt):
    """A miss at one sidecar, a hit at the other, as JSON and as a stream, and one call."""
    at_a, at_b = group.keys()
    paid = assert_miss(group.a.ask(at_a, prompt))
    assert_hit(group.b.ask(at_b, prompt), of=paid)
    streamed = group.b.ask(at_b, prompt, stream=True)
    assert streamed.cache_status == "hit", streamed
    assert group.provider.calls_of(prompt)["total"] == 1


def test_what_one_sidecar_has_paid_for_the_other_serves(shared, prompt):
    one_pays_and_the_other_serves(shared, prompt)
    assert 'kt_store_available{store="redis"} 1' in shared.sidecar.metrics()


@pytest.mark.fault(8)
def test_a_redis_that_is_killed_costs_calls_and_refuses_nobody(shared, prompt):
    at_a, at_b = shared.keys()
    paid = assert_miss(shared.a.ask(at_a, prompt))
    said = len(shared.other.process.log.read_text())
    shared.redis.kill()
    assert_hit(shared.a.ask(at_a, prompt), of=paid)
    for number in range(20):
        assert_miss(shared.b.ask(at_b, f"{prompt} {number}"), "store-unavailable")
    health = wait_until(lambda: (said := shared.other.health()).json().get("stores_away") and said, "it says so")
    assert health.status_code == 200 and health.json()["status"] == "degraded", health.text
    assert "is away since" in shared.kt("gateway", "status", "--sidecar", shared.other.socket).stderr

    shared.redis.start()
    for sidecar in (shared.sidecar, shared.other):
        wait_until(lambda: sidecar.health().json()["status"] == "ok", "it is back, without a restart", BACK_S)
    again = assert_miss(shared.b.ask(at_b, f"{prompt} again"), "request")
    assert_hit(shared.a.ask(at_a, f"{prompt} again"), of=again)
    # Once for each time that it is away, which on a busy machine may be more than this one, and not for each call.
    log = shared.other.process.log.read_text()[said:]
    words = re.findall("the shared store is (away|back)", log)
    assert words == ["away", "back"] * (len(words) // 2) and 2 <= len(words) < 20, log
