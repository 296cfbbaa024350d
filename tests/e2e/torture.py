"""Load on a paying group whose sidecar is killed again and again, and what must then stand in the wallet's file.

A round: clients ask through all gateways and money is put in; `kill -9` at a random moment; everybody's answer ends;
the file is compared, row by row, with what clients hold, what was acknowledged, and what the provider has written down.
"""

import json
import random
from collections import Counter

import keyed
import rules
from keyed import KeyedClient, Keys
from ledger import HOLDS_END_MS, SUSPENSE_ENDS_MS, Ledger, pass_time
from load import Client, Funder, Round
from processes import wait_until
from rules import by_request, outcomes, told
from wallet import Wallet, cost

ORG = "acme"
CONFIG = {
    "gateway": {"on_sidecar_loss": "unavailable"},
    # Little, so that streams outgrow what was set aside for them.
    "wallet": {"default_max_output_tokens": 16},
    "budgets": {"organization": {"daily_limit_usd": 1_000_000}, "users": {"default_daily_usd": 1_000_000}},
}
CLIENTS = 12
# From the first call of a round to the kill.
KILL_WITHIN_S = 1.0
# In so many rounds everybody has an answer before the kill, and nothing may be left open but what says so; before so
# many restarts time passes.
QUIET, LATER = 0.25, 0.2
# What 200 rounds have to meet. Rules that are not here are seldom needed.
TO_MEET = (
    rules.AS_TOLD, rules.TOLD_NOTHING, rules.CUT_SHORT, rules.REFUSED, rules.NOT_KNOWN, rules.KILLED_BEFORE_END,
    rules.KILLED_BEFORE_CALL,
    keyed.TOLD, keyed.REPLAYED, keyed.FOUND, keyed.CUT, keyed.LEFT, keyed.IN_FLIGHT, keyed.AWAY,
)


class Torture:
    """Rounds upon one group, and all that is known to have happened in them."""

    def __init__(self, group, crowd, seed):
        self.group, self.crowd, self.seed, self.random = group, crowd, seed, random.Random(seed)
        self.wallet = Wallet(group, ORG).fund(1_000_000_000)
        self.key = self.wallet.key(user="ada")
        self.funder = Funder(self.wallet, seed)
        self.funder.start()
        # Request ids of answers that came whole, and of clients that left.
        self.whole, self.left = {}, set()
        # What the provider has written down, by request, and the last call of which that is known.
        self.calls, self.last_call = {}, 0
        # Requests of whose calls the money may be with an allotment.
        self.with_allotment = set()
        # The last hold of the rounds before.
        self.last_hold = 0
        # Payments that were in the file when nobody had been told, and how often each rule explains a call.
        self.unacknowledged, self.outcomes = 0, Counter()
        self.keys = Keys()

    @property
    def data_dir(self):
        return self.group.sidecar.folder / "data"

    def round(self, number):
        """Load, a kill, and the book compared; then the sidecar is back."""
        before = self.group.provider.total()
        round = Round(number, self.group, self.crowd, self.key)
        clients = [self.client(round, has_keys=at % 3 > 0) for at in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_until(lambda: self.group.provider.total() > before, "the first call of the round has come")
        # A random moment is what this is about.
        round.is_over.wait(self.random.uniform(0, KILL_WITHIN_S))
        if self.random.random() < QUIET:
            self.gather(round, clients)
            wait_until(self.all_have_ended, "every call of the round has ended in the book")
            self.group.sidecar.process.kill()
        else:
            self.kill(round)
            self.gather(round, clients)
        self.write_down_calls()
        ledger = self.compare(f"after the kill of round {number}")
        self.last_hold = max(ledger.holds, default=0)
        if self.random.random() < LATER:
            pass_time(self.data_dir, HOLDS_END_MS)
        self.group.sidecar.restart()
        self.wait_served()

    def client(self, round, has_keys):
        seed = self.random.getrandbits(64)
        return KeyedClient(round, seed, self.keys) if has_keys else Client(round, seed)

    def kill(self, round):
        """Kills the sidecar under those who ask."""
        round.is_hit.set()
        self.group.sidecar.process.kill()
        round.is_down.set()

    def gather(self, round, clients):
        """Lets no client ask any more, and takes what they have got."""
        round.is_over.set()
        for client in clients:
            client.join()
            if client.failure:
                raise client.failure
            self.take(client)
        self.group.provider.wait_idle()

    def take(self, client):
        """Takes what a client has got."""
        self.whole |= {answer.headers["x-request-id"]: answer for answer in client.whole}
        self.left |= client.left

    def ask_again(self):
        """Lets everybody who has a key be told, and the last that were be told again."""
        client = self.client(Round("last", self.group, self.crowd, self.key), has_keys=True)
        self.keys.finish(client)
        self.take(client)

    def all_have_ended(self):
        """Whether nothing of this round is open but what is said to wait for evidence."""
        ledger, lost = Ledger.in_use(self.data_dir, ORG), self.lost()
        return all(hold.state != "open" or hold.id in lost
                   for hold in ledger.holds.values() if hold.number > self.last_hold)

    def lost(self):
        """The holds of calls of which the sidecar has said that it does not know how they ended."""
        lines = self.group.sidecar.process.log.read_text().splitlines()
        return {json.loads(line)["hold"] for line in lines if "what became of a call is not known" in line}

    def wait_served(self):
        """A gateway that has lost its sidecar finds it again."""
        for gateway in self.group.gateways:
            def is_served():
                return gateway.ask(self.key, f"ready {self.random.getrandbits(64):x}").status == 200
            wait_until(is_served, f"{gateway.id} has its sidecar again")

    def write_down_calls(self):
        for call in self.group.provider.requests(after=self.last_call):
            self.last_call = call["call"]
            request_id = dict(call["headers"])["x-request-id"]
            self.calls.setdefault(request_id, []).append(call)

    def read(self):
        """What the sidecar has left behind."""
        return Ledger.left_behind(self.data_dir, ORG)

    def compare(self, when):
        """The book, as it is, with all that is known."""
        ledger = self.read()
        holds = by_request(ledger)
        self.outcomes, faults = outcomes(holds, self.calls, self.left, self.lost(), self.with_allotment)
        faults += ledger.faults()
        faults += self.faults_of_funds(ledger)
        faults += self.faults_of_answers(holds)
        faults += self.keys.faults_of(self.calls, holds)
        self.count_unacknowledged(ledger)
        assert not faults, "\n".join([f"seed {self.seed}, {when}: {len(faults)} faults", *faults[:20]])
        return ledger

    def acknowledged(self):
        """What had been paid in, for all that anybody was told, when the book was read."""
        return list(self.funder.acknowledged.items())

    def not_met(self):
        """What a long run is for, and this one has not seen."""
        met = {*self.outcomes, *self.keys.fates}
        missing = [rule for rule in TO_MEET if rule not in met]
        return missing if self.unacknowledged else [*missing, "a payment that was made and not told of"]

    def report(self, ledger):
        """What has happened, for people."""
        yield (f"{sum(map(len, self.calls.values()))} calls, {len(ledger.holds)} holds, "
               f"{len(self.whole)} whole answers, {len(self.left)} clients that left, "
               f"{len(self.funder.acknowledged)} payments, {self.unacknowledged} of them made and not told of")
        for counts in self.outcomes, self.keys.fates:
            yield from (f"{count:6} {rule}" for rule, count in counts.most_common())

    def faults_of_funds(self, ledger):
        for key, amount in self.acknowledged():
            if ledger.funds.get(key) != [amount]:
                yield f"acknowledged: {amount} by {key}; in the file: {ledger.funds.get(key)}"
        for key, amounts in ledger.funds.items():
            if len(amounts) > 1 and key:
                yield f"{key} is there {len(amounts)} times"

    def count_unacknowledged(self, ledger):
        asked = self.funder.asked
        if asked and asked[0] in ledger.funds and asked[0] not in self.funder.acknowledged:
            self.unacknowledged += 1

    def faults_of_answers(self, holds):
        """Whoever holds a whole answer to a miss holds what was settled at what its provider told."""
        for request_id, answer in self.whole.items():
            if answer.cache_status != "miss":
                continue
            number = int(answer.id.removeprefix("chatcmpl-"))
            call, = [call for call in self.calls[request_id] if call["call"] == number]
            settled = [hold for hold in holds.get(request_id, []) if hold.state == "post"]
            if len(settled) != 1:
                yield f"whole, and settled {len(settled)} times: {holds.get(request_id)}"
            elif usage := told(call):
                if (settled[0].actual, settled[0].is_estimated) != (cost(*usage), False):
                    yield f"whole, told {usage}, and settled as {settled[0]}"
            elif not settled[0].is_estimated:
                yield f"whole, told nothing, and not estimated: {settled[0]}"

    def end(self):
        """Time ends what nobody else has: holds first, then what lay in suspense for them."""
        self.ask_again()
        self.funder.is_over.set()
        self.funder.join()
        self.group.provider.wait_idle()
        self.write_down_calls()
        self.group.sidecar.process.kill()
        open_at_end = [hold.number for hold in self.read().holds.values() if hold.state == "open"]
        for ms, state, emptied in (
            (HOLDS_END_MS, "expire", "pending_micro_usd"), (SUSPENSE_ENDS_MS, "return", "suspense_micro_usd"),
        ):
            balance, ledger = self.after(ms, state, emptied)
            assert {ledger.holds[number].state for number in open_at_end} <= {state}
        spent = sum(hold.actual for hold in ledger.holds.values())
        funded = sum(sum(amounts) for amounts in ledger.funds.values())
        assert (balance["available_micro_usd"], balance["pending_micro_usd"]) == (funded - spent, 0)
        return ledger

    def after(self, ms, state, emptied):
        """The balance and the book, when a sidecar has seen that so much time has passed."""
        pass_time(self.data_dir, ms)
        self.group.sidecar.restart()
        wait_until(lambda: self.wallet.balance()[emptied] == 0, f"time has ended all holds: {state}")
        balance = self.wallet.balance()
        self.group.sidecar.process.kill()
        return balance, self.compare(f"when time had ended all holds: {state}")
