"""Gateways that each have a sidecar of their own, over one Redis and one Postgres.

    with Fleet() as fleet:
        key = fleet.key(org="acme")
        fleet.a.ask(key, "hello"), fleet.d.ask(key, "hello")
"""

import json
import tempfile
import time
import uuid
from pathlib import Path

from database import Database
from group import CONFIG, DEADLINE_S, FOUR, MODELS, Gateway, Group, Provider, Sidecar, chat, merged
from processes import wait_until
from servers import FaultProxy, Redis
from wallet import Wallet

# Far above the budgets of every store, far below what a hang takes; and what a busy machine may add.
BOUND_S = 10.0 + 10.0
# How soon a store that is back is used again, and what a busy machine may add.
BACK_S = 5.0 + 10.0
SHARED = {
    "gateway": {"on_sidecar_loss": "unavailable"},
    "database": {"url": {"env": "KT_DATABASE_URL"}},
    "workflow_cache": {"backend": "redis", "redis": {"url": {"env": "KT_REDIS_URL"}}},
    "wallet": {"backend": "postgres"},
}


class Fleet(Group):
    """A group whose gateways have a sidecar each. `sidecar` is the first one's, where any will do."""

    def __init__(self, config=None, gateways=FOUR, redis=(), database=()):
        self.folder = Path(tempfile.mkdtemp(prefix="kt-e2e-"))
        self.config_path = self.folder / "policy-config.yaml"
        self.provider = Provider(self.folder)
        self.redis, self.database, self.database_proxy = Redis(self.folder, *redis), Database(settings=database), None
        self.config = merged(CONFIG, SHARED, {"providers": {"targets": self.targets()}}, config or {})
        self.write_config(self.config)
        self.sidecars, self.gateways = [], []
        for gateway_id, role in gateways:
            folder = self.folder / gateway_id
            folder.mkdir()
            self.sidecars.append(Sidecar(folder, self.config_path))
            self.gateways.append(Gateway(gateway_id, role, folder, self.config_path, self.sidecars[-1].socket))
        self.sidecar = self.sidecars[0]

    def processes(self):
        return [self.provider.process, self.redis.process,
                *(part.process for pair in zip(self.sidecars, self.gateways) for part in pair)]

    def start_sidecar(self):
        self.redis.start()
        self.database.__enter__()
        self.database_proxy = FaultProxy(self.database.port)
        self.prepare()
        for sidecar in self.sidecars:
            sidecar.process.start(self.environment(sidecar))
        for sidecar in self.sidecars:
            wait_until(sidecar.is_ready, "a sidecar is ready")

    def prepare(self):
        """What must be there before the first sidecar starts, beside stores that run."""

    def environment(self, sidecar):
        """Where a sidecar finds the stores: behind their proxies."""
        database = f"postgres://kt@127.0.0.1:{self.database_proxy.port}/postgres"
        return {"KT_DATABASE_URL": database, "KT_REDIS_URL": self.redis_url(sidecar)}

    def redis_url(self, _sidecar):
        """Where a sidecar finds Redis."""
        return self.redis.url

    def __exit__(self, *_):
        super().__exit__()
        self.redis.end()
        if self.database_proxy:
            self.database_proxy.kill()
            self.database.__exit__()

    def mend(self):
        """Everything is there again that a test may have broken, however it has ended."""
        self.database_proxy.heals()
        self.database.mend()
        self.redis.mend()
        for sidecar in self.sidecars:
            if sidecar.process.is_alive():
                sidecar.process.thaw()
            else:
                sidecar.restart(self.environment(sidecar))

    def key_of(self, key, question):
        """What the entry of a question is called."""
        body = question if isinstance(question, dict) else chat(question)
        return self.sidecar.explain(key, self.a.id, body)["key"]

    def followed(self):
        """How often a sidecar has followed another one's flight."""
        lines = [line for sidecar in self.sidecars for line in sidecar.metrics().splitlines()]
        return sum(float(line.rpartition(" ")[2]) for line in lines
                   if line.startswith('kt_shared_flights_total{result="followed"}'))

    def wait_following(self, count):
        """Waits until so many requests follow a flight of their own sidecar, in all."""
        wait_until(lambda: sum(sidecar.gauge("kt_flight_followers") for sidecar in self.sidecars) == count,
                   f"{count} requests follow a flight", DEADLINE_S)

    def purge(self, *selector):
        """Purges, and waits until every sidecar has heard of it: for so long those that have not serve what was made
        before, and what they fill is void for those that have."""
        purged = json.loads(self.kt("cache", "purge", *selector, "--json").stdout)["generation"]

        def has_heard(sidecar):
            with sidecar.admin() as admin:
                return admin.get("/v1/cache").raise_for_status().json()["generation"] >= purged
        for sidecar in self.sidecars:
            wait_until(lambda: has_heard(sidecar), "every sidecar has heard of the purge")


def whole_again(fleet):
    """Behind a test that may have broken anything."""
    fleet.provider.release()
    fleet.mend()
    wait_recovered(fleet)


def wait_recovered(fleet, deadline_s=30.0):
    """Until every gateway fills what another one reads."""
    def is_whole():
        return all(fills(fleet.recovery, one, other) for one, other in zip(fleet.gateways, fleet.gateways[1:]))
    wait_until(is_whole, "the fleet shares again", deadline_s)


def in_store(key, question, one, other):
    """An answer that is in the store: one gateway has asked for it, and another one, whose sidecar has not, reads it. A
    lease or a fill that is late for its budget, as it may be on a busy machine, costs another call."""
    def asked():
        first, again = one.ask(key, question), other.ask(key, question)
        return again.cache_status == "hit" and again.id == first.id and first
    return wait_until(asked, f"{other.id} reads what {one.id} was told")


def fills(key, one, other):
    """Whether what is asked at one gateway is there for another."""
    question = f"Are you there? {uuid.uuid4()}"
    return one.ask(key, question).cache_status == "miss" and other.ask(key, question).cache_status == "hit"


def funded(fleet):
    return Wallet(fleet, f"org-{uuid.uuid4().hex[:12]}").fund(10_000_000)


def bounded(ask):
    """The answer, which must come within the budgets."""
    begin = time.monotonic()
    answer = ask()
    assert time.monotonic() - begin < BOUND_S, answer
    return answer


def books_agree(fleet, wallet, prompts):
    """Each call that the provider has had is paid once, and nothing else is."""
    calls = sum(fleet.provider.calls_of(prompt)["total"] for prompt in prompts)
    wait_until(lambda: wallet.pending == 0, "no money is set aside any more")
    assert len(wallet.charges()) == calls, (wallet.rows(), calls)
    assert not wallet.audit()["breaches"]
