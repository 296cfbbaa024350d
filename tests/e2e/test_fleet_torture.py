"""A fleet that pays while everything under it breaks: connections, the database, Redis, sidecars. What was
acknowledged stands, and each call of the provider has one hold, with one end that a rule allows."""

import os
import random
import time
from collections import Counter

from fleet import Fleet
from ledger import Ledger
from load import Client, Round
from processes import wait_until
from torture import CONFIG, ORG, Torture

# `make soak` wants half an hour.
SECONDS = float(os.environ.get("KT_FLEET_TORTURE_SECONDS", "15"))
SEED = int(os.environ.get("KT_CRASH_SEED", random.SystemRandom().getrandbits(32)))
CLIENTS = 8
# Longer than a hold lives without a sign of life.
HOLDS_END_S = 120


class FleetTorture(Torture):
    """Rounds upon a fleet. Nobody's file is read: the book is in the database."""

    def __init__(self, fleet, crowd, seed):
        super().__init__(fleet, crowd, seed)
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
        lost = self.lost()
        return all(hold.state != "open" or hold.id in lost
                   for hold in self.read().holds.values() if hold.number > self.last_hold)

    def round(self, number):
        """Load, while something breaks; everything is mended, and the book compared."""
        before = self.group.provider.total()
        round = Round(number, self.group, self.crowd, self.key)
        clients = [Client(round, self.random.getrandbits(64)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_until(lambda: self.group.provider.total() > before, "the first call of the round has come")
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
        if self.sidecar not in hurts:
            wait_until(self.all_have_ended, "every call of the round has ended in the book", 60)
        ledger = self.compare(f"after round {number}, {[hurt.__name__ for hurt in hurts]}")
        self.last_hold = max(ledger.holds, default=0)
        self.wait_served()

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


def test_whatever_breaks_under_a_fleet_that_pays_the_book_tells_what_happened(crowd):
    print(f"KT_CRASH_SEED={SEED} KT_FLEET_TORTURE_SECONDS={SECONDS:g}")
    with Fleet({**CONFIG, "wallet": {**CONFIG["wallet"], "backend": "postgres"}}) as fleet:
        torture = FleetTorture(fleet, crowd, SEED)
        number, until = 0, time.monotonic() + SECONDS
        while number == 0 or time.monotonic() < until:
            torture.round(number)
            number += 1
        ledger = torture.end()
        print(f"{number} rounds, {dict(torture.hurts)}, {torture.spooled} ends that lay in spools")
        print("\n".join(torture.report(ledger)))
