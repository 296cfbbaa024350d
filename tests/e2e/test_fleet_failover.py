"""A Redis that goes back in time, below four gateways with a sidecar each: a replica that was behind takes over, two
masters serve at once, the power fails. What was granted before is void, what was purged stays so, and money is
somewhere else."""

import re

import pytest

from answers import assert_coalesced, assert_hit, assert_miss
from fleet import Fleet, books_agree, fills, funded, in_store, wait_recovered, whole_again
from group import chat
from processes import wait_until
from servers import FaultProxy, Redis
from wallet import Wallet

# What it is told is in its file at once, and on the disk within a second; replicas get it at once.
LASTING = ("--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")


class TwoWays(Fleet):
    """A fleet half of whose sidecars have a way of their own to Redis."""

    def __init__(self):
        super().__init__(redis=LASTING)
        self.other_way = None

    def redis_url(self, sidecar):
        if self.other_way is None:
            self.other_way = FaultProxy(self.redis.port)
        way = self.other_way if sidecar in self.sidecars[2:] else self.redis.proxy
        return f"redis://127.0.0.1:{way.port}"

    def __exit__(self, *_):
        super().__exit__()
        if self.other_way:
            self.other_way.kill()

    def use(self, server):
        """From now on every sidecar finds this server."""
        for way in (self.redis.proxy, self.other_way):
            way.leads_to(server.port)


@pytest.fixture(scope="module")
def shared():
    with TwoWays() as fleet:
        fleet.recovery = Wallet(fleet, "recovery").fund(100_000_000).key()
        yield fleet


@pytest.fixture
def fleet(shared):
    """The fleet, whole again on its first Redis after the test."""
    yield shared
    shared.use(shared.redis)
    whole_again(shared)


class Replica(Redis):
    """It has what its master has, and hears of it through a proxy."""

    def __init__(self, folder, master):
        self.master, self.ear = master, FaultProxy(master.port)
        super().__init__(folder, "--replicaof", "127.0.0.1", self.ear.port)

    def wait_for_all(self):
        wait_until(lambda: self.has_all_of(self.master), "the replica has what its master has")

    def end(self):
        super().end()
        self.ear.kill()


@pytest.fixture
def replica(fleet):
    folder = fleet.folder / "replica"
    folder.mkdir(exist_ok=True)
    server = Replica(folder, fleet.redis)
    try:
        server.start()
        server.wait_for_all()
        yield server
    finally:
        server.end()


def leads(fleet, crowd, key, question, gateway, calls=1):
    """Asks at a gateway, until so many calls wait at the question's gate."""
    live = crowd.one(gateway, key, asked(question))
    fleet.provider.wait_at(gate(question), calls)
    return live


def gate(question):
    """What a question's gate at the provider is called."""
    return re.sub(r"\W+", "-", question)


def asked(question):
    return chat(f"{question} [[fake: gate={gate(question)}]]")


@pytest.mark.fault(10)
def test_a_replica_that_is_promoted_unheard_voids_leases_and_brings_nothing_back(fleet, replica, crowd, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    purged = in_store(key, prompt, fleet.a, fleet.b)
    heard, unheard = questions = [f"{prompt} Heard?", f"{prompt} Unheard?"]
    leads(fleet, crowd, key, heard, fleet.a)
    replica.wait_for_all()
    # It hears nothing from here on.
    replica.ear.does("answers=drop")
    fleet.purge("--org", wallet.org, "--all")
    leads(fleet, crowd, key, unheard, fleet.a)
    granted = fleet.redis.leases()
    fleet.redis.kill()
    replica.promote()
    names = [fleet.key_of(key, asked(question)) for question in questions]
    assert [name in replica.leases() for name in names] == [True, False]
    assert replica.holds(fleet.key_of(key, prompt)), "what was purged has come back"
    fleet.use(replica)
    wait_recovered(fleet)
    # The leases that the old master gave are nobody's: who asks leads, too.
    lives = [leads(fleet, crowd, key, question, fleet.b, 2) for question in questions]
    given = replica.leases()
    assert not {granted[name] for name in names} & {given[name] for name in names}
    for question in questions:
        fleet.provider.release(gate(question))
    seconds = [assert_miss(live.whole()) for live in lives]
    fleet.provider.wait_idle()
    for gateway in fleet.gateways:
        for question, second in zip(questions, seconds):
            assert_hit(gateway.ask(key, asked(question)), of=second)
        assert gateway.ask(key, prompt).id != purged.id
    books_agree(fleet, wallet, [prompt, *questions])


@pytest.mark.fault(11)
def test_of_two_masters_the_old_one_gives_nothing_that_counts_with_the_new_one(fleet, replica, crowd, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    purged = in_store(key, prompt, fleet.a, fleet.b)
    replica.wait_for_all()
    # Half of the sidecars use the new master from here on, and half the old one, which writes on.
    replica.promote()
    fleet.other_way.leads_to(replica.port)
    fleet.redis.hang_up()
    wait_until(lambda: fills(fleet.recovery, fleet.a, fleet.b), "the old master is used")
    wait_until(lambda: fills(fleet.recovery, fleet.c, fleet.d), "the new master is used")
    # A purge finds but one of them, and counts at both.
    fleet.purge("--org", wallet.org, "--all")
    assert replica.holds(fleet.key_of(key, prompt)), "the new master has heard nothing of the purge"
    both, late, lost = f"{prompt} Both?", f"{prompt} Late?", f"{prompt} Lost?"
    follows = fleet.followed()
    lives = [leads(fleet, crowd, key, both, fleet.a), leads(fleet, crowd, key, both, fleet.c, 2),
             crowd.one(fleet.b, key, asked(both)), crowd.one(fleet.d, key, asked(both))]
    wait_until(lambda: fleet.followed() == follows + 2, "on each side one follows")
    name = fleet.key_of(key, asked(both))
    tokens = [server.leases()[name] for server in (fleet.redis, replica)]
    fleet.provider.release(gate(both))
    old, new, old_again, new_again = (live.whole() for live in lives)
    assert_coalesced(old_again, of=assert_miss(old))
    assert_coalesced(new_again, of=assert_miss(new))
    assert old.id != new.id
    unknown = assert_miss(fleet.a.ask(key, lost))
    assert_hit(fleet.b.ask(key, lost), of=unknown)
    leads(fleet, crowd, key, late, fleet.a)
    name = fleet.key_of(key, asked(late))
    tokens.append(fleet.redis.leases()[name])
    # Everybody uses the new one from here on.
    fleet.use(replica)
    fleet.redis.hang_up()
    wait_recovered(fleet)
    live = leads(fleet, crowd, key, late, fleet.d, 2)
    tokens.append(replica.leases()[name])
    fleet.provider.release(gate(late))
    latest = assert_miss(live.whole())
    fleet.provider.wait_idle()
    # None is given twice, and two masters are two epochs.
    assert len(set(tokens)) == 4 and len({epoch for epoch, _ in tokens}) == 2, tokens
    for gateway in fleet.gateways:
        assert_hit(gateway.ask(key, asked(late)), of=latest)
        assert gateway.ask(key, prompt).id != purged.id
    # Of what the old one has, there is but the copy of the sidecar that has paid for it.
    for gateway, paid in zip(fleet.gateways, [old, new, new, new]):
        assert_hit(gateway.ask(key, asked(both)), of=paid)
    again = assert_miss(fleet.c.ask(key, lost), "request")
    assert_hit(fleet.d.ask(key, lost), of=again)
    books_agree(fleet, wallet, [prompt, both, late, lost])


@pytest.mark.fault(9)
def test_a_redis_that_loses_its_power_forgets_entries_and_no_purge(fleet, crowd, prompt):
    """The loss is made by a copy of Redis's folder, which is put back when Redis was killed: it starts with what its disk
    had then, and all that it has acknowledged since is gone. So more is lost than the second that `everysec` may cost.
    """
    wallet = funded(fleet)
    key = wallet.key()
    known, forgotten, early, late = questions = [f"{prompt} {word}?" for word in ("Known", "Forgotten", "Early", "Late")]
    purged, kept = (in_store(key, question, fleet.a, fleet.b) for question in (prompt, known))
    leads(fleet, crowd, key, early, fleet.a)
    copy = fleet.folder / "copy"
    fleet.redis.copy(copy)
    # All of this is lost.
    fleet.purge("--org", wallet.org, "--key", fleet.key_of(key, prompt))
    lost = assert_miss(fleet.b.ask(key, forgotten))
    leads(fleet, crowd, key, late, fleet.a)
    granted, available = fleet.redis.leases(), wallet.available
    fleet.redis.loses_all_since(copy)
    names = {question: fleet.key_of(key, asked(question)) for question in (early, late)}
    assert [name in fleet.redis.leases() for name in names.values()] == [True, False]
    assert fleet.redis.holds(fleet.key_of(key, prompt)), "what was purged has come back"
    wait_recovered(fleet)
    assert wallet.available == available
    assert_hit(fleet.d.ask(key, known), of=kept)
    again = assert_miss(fleet.c.ask(key, forgotten), "request")
    assert again.id != lost.id
    assert_hit(fleet.d.ask(key, forgotten), of=again)
    # The leases of before are nobody's.
    lives = [leads(fleet, crowd, key, question, fleet.b, 2) for question in (early, late)]
    given = fleet.redis.leases()
    for question, name in names.items():
        assert given[name] != granted[name]
        fleet.provider.release(gate(question))
    seconds = [assert_miss(live.whole()) for live in lives]
    fleet.provider.wait_idle()
    for gateway in fleet.gateways:
        for question, second in zip((early, late), seconds):
            assert_hit(gateway.ask(key, asked(question)), of=second)
        assert gateway.ask(key, prompt).id != purged.id
    books_agree(fleet, wallet, [prompt, *questions])
