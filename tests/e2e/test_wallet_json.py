"""`--json` of every command about money: the sidecar's own answer, with the numbers that the table shows."""

import datetime
import json
import re
import uuid

import pytest

from answers import assert_hit, assert_miss
from group import chat
from processes import wait_until
from wallet import Paying

BUDGETS = {"organization": {"daily_limit_usd": 5, "monthly_limit_usd": 100}, "teams": {"web": {"daily_limit_usd": 3}}}


@pytest.fixture(scope="module")
def own():
    with Paying({"budgets": BUDGETS}) as group:
        yield group


@pytest.fixture
def busy(own, crowd, prompt):
    """An organization that has everything that can be shown: a purse, budgets, a bill, a hit, and two calls that run."""
    wallet = own.wallet(25_000_000)
    wallet.post("/allocate", team="web", amount_micro_usd=10_000_001, direction="credit").raise_for_status()
    paying, purse = wallet.key(user="ada"), wallet.key(team="web", user="bob")
    paid = assert_miss(own.a.ask(paying, prompt))
    assert_hit(own.b.ask(paying, prompt), of=paid)
    assert_miss(own.a.ask(purse, f"{prompt} And for the web?"))
    wait_until(lambda: wallet.hits() == 1, "the hit is noted")
    gate = prompt[8:16]
    for key, question in ((paying, "One more?"), (purse, "And one for the web?")):
        crowd.one(own.a, key, chat(f"{prompt} {question} [[fake: gate={gate}]]"))
    own.provider.wait_at(gate, 2)
    yield wallet
    own.provider.release(gate)


def micros(cell):
    """The micro-dollars of a cell, which are exact."""
    sign, dollars, rest = re.fullmatch(r"(-?)\$(\d+)\.(\d{2,6})", cell).groups()
    return int(f"{sign}{dollars}{rest:0<6}")


def tables(text):
    """The tables of an output, each its rows by their heads. What is cut off at the end of a row is empty."""
    for table in text.rstrip().split("\n\n"):
        head, *rows = (re.split(r" {2,}", line.rstrip()) for line in table.splitlines())
        yield [dict(zip(head, row + [""] * (len(head) - len(row)), strict=True)) for row in rows]


def utc(at_ms):
    return f"{datetime.datetime.fromtimestamp(at_ms // 1_000, datetime.UTC):%Y-%m-%d %H:%M:%SZ}"


class Told:
    """What a command prints, for people and as JSON; nothing moves in between."""

    def __init__(self, group, org):
        self.group, self.org = group, org

    def both(self, *command):
        text = self.group.kt(*command).stdout
        return text, json.loads(self.group.kt(*command, "--json").stdout)

    def balance(self):
        text, told = self.both("wallet", "balance", "--org", self.org)
        wallet, purses, budgets = tables(text)
        sums = {row["wallet"]: row[self.org] for row in wallet}
        assert told["org"] == self.org and sums.pop("state") == "open" and told.get("frozen") is None
        assert {name: micros(cell) for name, cell in sums.items()} == {
            "available": told["available_micro_usd"], "posted": told["posted_micro_usd"],
            "pending": told["pending_micro_usd"], "suspense": told["suspense_micro_usd"],
            "may fall short by": told["shortfall_max_micro_usd"],
        }
        assert told["posted_micro_usd"] == told["available_micro_usd"] + told["pending_micro_usd"]
        assert [(row["purse"], *(micros(row[name]) for name in ("available", "posted", "pending"))) for row in purses] == [
            (purse["team"], *(purse[f"{name}_micro_usd"] for name in ("available", "posted", "pending")))
            for purse in told["purses"]]
        assert [(row["budget"], row["window"], *(micros(row[name]) for name in ("spent", "pending", "limit")))
                for row in budgets] == [
            (f"{budget['scope']} {budget['period']}", budget["window"],
             *(budget[f"{name}_micro_usd"] for name in ("spent", "pending", "limit"))) for budget in told["budgets"]]
        [purse] = told["purses"]
        assert len(told["budgets"]) == 3 and told["pending_micro_usd"] > 0 < purse["pending_micro_usd"], told

    def fund(self):
        self._moved("fund", "--org", self.org, "1.000001", amount=1_000_001)

    def allocate(self):
        self._moved("allocate", "--org", self.org, "--team", "web", "0.25", amount=250_000)

    def _moved(self, *command, amount):
        # Under one key the same is asked twice and done once.
        text, told = self.both("wallet", *command, "--idempotency-key", uuid.uuid4().hex)
        said, available = re.fullmatch(rf"\w+ of (\S+): done; {self.org} has (\S+) available\n", text).groups()
        assert (told["kind"], told["amount_micro_usd"]) == (command[0], amount), told
        _, balance = self.both("wallet", "balance", "--org", self.org)
        assert (micros(said), micros(available)) == (amount, balance["available_micro_usd"])
        assert told["created"] is False, told

    def history(self):
        text, told = self.both("wallet", "history", "--org", self.org, "--count", 1_000)
        [rows] = tables(text)
        assert [(int(row["number"]), row["when"], row["kind"], micros(row["amount"])) for row in rows] == [
            (row["number"], utc(row["at"]), row["kind"], row["amount_micro_usd"]) for row in told["transfers"]]
        kinds = {row["kind"] for row in rows}
        assert kinds == {"fund", "allocate", "pending", "post"}, kinds

    def holds(self):
        text, told = self.both("wallet", "holds", "--org", self.org)
        [rows], holds = tables(text), {hold["id"]: hold for hold in told["holds"]}
        assert sorted(row["payer"] for row in rows) == ["team:web", "wallet"] and told["total"] == len(holds) == 2
        for row in rows:
            # Which of them ends first may change while they are renewed.
            hold = holds.pop(row["hold"])
            call = hold["terms"]["call"]
            assert row["for"] == f"{call['provider']}/{call['model']} by {call['key_id']}"
            assert (row["state"], row["payer"]) == (hold["state"], hold["terms"]["payer"])
            assert micros(row["held"]) == hold["held_micro_usd"] > 0
            assert micros(row["at most"]) == hold["terms"]["cost_max_micro_usd"] >= hold["held_micro_usd"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", row["until"]) and hold["until"] > 0

    def audit(self):
        text, told = self.both("wallet", "audit")
        assert int(re.match(r"(\d+) transfers add up \(", text)[1]) == told["transfers"] > 0, text
        assert (told["breaches_total"], told["breaches"], told["holds_open"]) == (0, [], 2), told

    def export(self):
        # It is JSON for people too: a row a line, the same as in the history the other way round.
        plain = self.group.kt("wallet", "export", "--org", self.org).stdout
        as_json = self.group.kt("wallet", "export", "--org", self.org, "--json").stdout
        assert plain == as_json
        rows = [json.loads(line) for line in as_json.splitlines()]
        _, history = self.both("wallet", "history", "--org", self.org, "--count", 1_000)
        assert rows == history["transfers"][::-1]

    def savings(self):
        # Of two months, if it is the first day of one: what the fixture has asked for belongs to it.
        since = f"{datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2):%Y-%m-%d}"
        for by in ("org", "team", "user", "model", "codebase"):
            text, told = self.both("savings", "--org", self.org, "--by", by, "--since", since)
            [rows] = tables(text)
            sums = [(row.get("name") or "(none)", row["sums"]) for row in told["rows"]]
            sums += [("total", told["total"])] if len(sums) != 1 else []
            assert [(row[by], int(row["calls"]), *(micros(row[name]) for name in ("billed", "charged back", "saved")),
                     int(row["hits"]), int(row["coalesced"])) for row in rows] == [
                (name, row["calls"], *(row[f"{word}_micro_usd"] for word in ("billed", "charged_back", "saved")),
                 row["hits"], row["coalesced"]) for name, row in sums], by
            assert (told["total"]["calls"], told["total"]["hits"]) == (2, 1), by


def test_json_of_every_command_has_the_numbers_of_its_table(own, busy):
    told = Told(own, busy.org)
    for command in ("balance", "holds", "history", "export", "audit", "savings", "fund", "allocate"):
        getattr(told, command)()
    # And once more with what has been moved meanwhile.
    told.balance()
    told.history()
