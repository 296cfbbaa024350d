"""A fleet that pays while everything under it breaks: connections, the database, Redis, sidecars. What was
acknowledged stands, and each call of the provider has one hold, with one end that a rule allows."""

import os
import random
import time
from collections import Counter

import pytest

from fleet import Fleet
from ledger import Ledger
from load import Client, Round
from processes import wait_until
from rules import by_request, unheld
from torture import CONFIG, ORG, Torture

# `make soak` wants half an hour.
SECONDS = float(os.environ.get("KT_FLEET_TORTURE_SECONDS", "15"))
SEED = int(os.environ.get("KT_CRASH_SEED", random.SystemRandom().getrandbits(32)))
CLIENTS = 8
# Longer than a hold lives without a sign of life.
HOLDS_END_S = 120
ALLOTTED = 'kt_wallet_operations_total{operation="reserve",result="allotted"}'
# How calls are paid for: each in the database, since all fall under budgets; or out of allotments, which no call under a
# budget is.
UNDER_BUDGETS = {**CONFIG, "wallet": {**CONFIG["wallet"], "backend": "postgres"}}
OUT_OF_ALLOTMENTS = {**UNDER_BUDGETS, "wallet": {**UNDER_BUDGETS["wallet"], "allotment": {}}, "budgets": {}}


class FleetTorture(Torture):
    """Rounds upon a fleet. Nobody's file is read: the book is in the database."""

    def __init__(self, fleet, crowd, seed, has_allotments):
        super().__init__(fleet, crowd, seed)
        self.has_allotments = has_allotments
        # What has not ended in the book yet, and calls without a row of which the log says that they are not known.
        self.waits_for, self.unknown = (), set()
        self.hurts, self.told = Counter(), []
        # Ends that lay in spools when everything was there again.
        self.spooled = 0

    def read(self):
        # Money is paid in while the book is read, too: what was acknowledged before must be there.
        self.told = super().acknowledged()
        return Ledger.in_database(self.group.database, ORG)

    def acknowledged(self):
        return self.told

    def lost(self):
        lines = (line for sidecar in self.group.sidecars for line in sidecar.process.log.read_text().splitlines())
        return {line.partition('"hold":"')[2].partition('"')[0] for line in lines
                if "what became of a call is not known" in line}

    def all_have_ended(self):
        lost, ledger = self.lost(), self.read()
        without, unknown = self.without_row(ledger), set()
        if self.has_allotments:
            unknown = lost - self.unknown - {hold.id for hold in ledger.holds.values()}
        # A call that the log says is not known has no row where the database did not make one: its money is with the allotment.
        if without & self.whole.keys() or len(without) > len(unknown):
            self.waits_for = without
            return False
        # An allotment goes on.
        self.waits_for = [hold for hold in ledger.holds.values() if hold.number > self.last_hold
                          and hold.state == "open" and hold.id not in lost and hold.request_id]
        if not self.waits_for:
            self.with_allotment |= without
            self.unknown |= unknown
        return not self.waits_for

    def without_row(self, ledger):
        """Requests of which the provider has had a call that no row is for."""
        return unheld(by_request(ledger), self.calls) - self.with_allotment

    def round(self, number):
        """Load, while something breaks; everything is mended, and the book compared."""
        before, allotted = self.group.provider.total(), self.allotted()
        round = Round(number, self.group, self.crowd, self.key)
        clients = [Client(round, self.random.getrandbits(64)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_until(lambda: self.group.provider.total() > before, "the first call of the round has come")
        if self.has_allotments:
            wait_until(lambda: self.allotted() > allotted, "a call is paid out of an allotment")
        hurts = self.random.sample([
            self.connections, self.backend, self.server, self.lock, self.no_writes, self.silence, self.sidecar,
            self.redis, self.no_answers,
        ], 2)
        for hurt in hurts:
            self.hurts[hurt.__name__] += 1
            hurt(round)
        self.group.mend()
        self.spooled += self.in_spools()
        self.gather(round, clients)
        self.write_down_calls()
        # A sidecar that was killed is there again over the same spool: what was shown whole is in the book then. The
        # release of a reserve that the database does not know lies there for 65 s, and is told every 10 s.
        wait_until(lambda: not self.in_spools(), "the database has what it did not take at once", 130)
        if self.sidecar in hurts and self.has_allotments:
            self.leave_to_allotments()
        if self.sidecar not in hurts:
            try:
                wait_until(self.all_have_ended, "every call of the round has ended in the book", 60)
            except BaseException:
                print(f"seed {self.seed}, round {number}, {[hurt.__name__ for hurt in hurts]}: {self.waits_for}")
                raise
        ledger = self.compare(f"after round {number}, {[hurt.__name__ for hurt in hurts]}")
        self.last_hold = max(ledger.holds, default=0)
        self.wait_served()

    def leave_to_allotments(self):
        """A call that was reserved in the memory of a sidecar that was killed has no row: its money is where the allotment
        is. Whose answer is whole is charged all the same, from the spool."""
        wait_until(lambda: not self.without_row(self.read()) & self.whole.keys(), "what was shown whole is in the book", 60)
        self.with_allotment |= self.without_row(self.read())

    def allotted(self):
        """How many calls sidecars have reserved out of allotments since they began."""
        lines = [line for sidecar in self.group.sidecars for line in sidecar.metrics().splitlines()]
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(ALLOTTED))

    def in_spools(self):
        return int(sum(sidecar.gauge("kt_wallet_spooled") for sidecar in self.group.sidecars))

    def pause(self, round, most):
        # A random moment is what this is about.
        round.is_over.wait(self.random.uniform(0, most))

    def connections(self, round):
        for _ in range(5):
            self.group.database.kill_connections()
            self.pause(round, 0.2)

    def backend(self, round):
        self.group.database.kill_backend()
        self.pause(round, 1)

    def server(self, round):
        self.group.database.kill()
        self.pause(round, 1)
        self.group.database.start()

    def lock(self, round):
        with self.group.database.locked(ORG):
            self.pause(round, 1.5)

    def no_writes(self, round):
        self.group.database.takes_writes(False)
        self.pause(round, 1)
        self.group.database.takes_writes()

    def silence(self, round):
        self.group.database.freeze()
        self.pause(round, 3)
        self.group.database.thaw()

    def no_answers(self, round):
        self.group.database_proxy.does("answers=drop")
        self.pause(round, 2)
        self.group.database_proxy.heals()

    def sidecar(self, round):
        self.random.choice(self.group.sidecars).process.kill()
        self.pause(round, 1)

    def redis(self, round):
        self.group.redis.kill()
        self.pause(round, 1)

    def end(self):
        """Time ends what nobody else has: the database's own."""
        self.funder.is_over.set()
        self.funder.join()
        self.group.provider.wait_idle()
        self.write_down_calls()
        wait_until(lambda: self.wallet.pending == 0, "time has ended all holds", HOLDS_END_S)
        ledger = self.compare("when time had ended all holds")
        balance = self.wallet.balance()
        spent = sum(hold.actual for hold in ledger.holds.values())
        suspended = sum(hold.held for hold in ledger.holds.values() if hold.state == "expire")
        funded = sum(sum(amounts) for amounts in ledger.funds.values())
        assert balance["available_micro_usd"] == funded - spent - suspended
        assert not self.wallet.audit()["breaches"]
        return ledger


@pytest.mark.parametrize("config", [UNDER_BUDGETS, OUT_OF_ALLOTMENTS], ids=["budgets", "allotments"])
def test_whatever_breaks_under_a_fleet_that_pays_the_book_tells_what_happened(crowd, config):
    print(f"KT_CRASH_SEED={SEED} KT_FLEET_TORTURE_SECONDS={SECONDS:g}, half of them each way to pay")
    has_allotments = config is OUT_OF_ALLOTMENTS
    with Fleet(config) as fleet:
        torture = FleetTorture(fleet, crowd, SEED, has_allotments)
        number, until = 0, time.monotonic() + SECONDS / 2
        while number == 0 or time.monotonic() < until:
            torture.round(number)
            number += 1
        ledger = torture.end()
        print(f"{number} rounds, {dict(torture.hurts)}, {torture.spooled} ends that lay in spools, "
              f"{len(ledger.draws)} draws from allotments")
        print("\n".join(torture.report(ledger)))
        assert bool(ledger.draws) == has_allotments
