"""`kt wallet` on real binaries: what the reference page shows is what it prints."""

import json
import re
import shlex
import sqlite3

import pytest

from group import Group
from processes import ROOT, wait_until

PAGE = ROOT / "docs/reference/wallet.md"
CONFIG = {
    "gateway": {"on_sidecar_loss": None},
    "wallet": {},
    "budgets": {"organization": {"monthly_limit_usd": 100}},
}
# What is another one each time, as the page writes it.
CHANGING = [
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "YYYY-MM-DD hh:mm:ssZ"),
    (r"\b\d{4}-\d\d\b(?!-)", "YYYY-MM"),
    (r"in \d+\.\d s", "in 0.0 s"),
]


def shown():
    """The commands of the page's first console block, each with what it shows behind it."""
    [block] = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield shlex.split(command)[1:], output


def steady(text):
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.fixture(scope="module")
def paying():
    """A group with a wallet; it needs no gateway for what people do with it."""
    with Group(CONFIG, gateways=()) as group:
        yield group


def test_the_commands_of_the_reference_page_print_what_it_says(paying):
    commands = list(shown())
    assert len(commands) > 8
    for command, expected in commands:
        done = paying.kt(*command)
        assert steady(done.stdout) == expected.rstrip(), command


def test_what_is_exported_is_all_that_happened_in_order(paying):
    for nth in range(3):
        paying.kt("wallet", "fund", "--org", "exporting", f"0.00000{nth + 1}")
    lines = paying.kt("wallet", "export", "--org", "exporting").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["amount_micro_usd"] for row in rows] == [1, 2, 3]
    assert [row["kind"] for row in rows] == ["fund"] * 3
    later = paying.kt("wallet", "export", "--org", "exporting", "--after", rows[1]["number"]).stdout
    assert [json.loads(line) for line in later.splitlines()] == rows[2:]


def test_a_movement_under_a_known_key_is_made_once(paying):
    def fund(amount, check=True):
        return paying.kt("wallet", "fund", "--org", "once", amount, "--idempotency-key", "k1", "--json", check=check)
    first, again = (json.loads(fund("25").stdout) for _ in range(2))
    assert (first.pop("created"), again.pop("created")) == (True, False)
    assert first == again
    other = fund("26", check=False)
    assert other.returncode == 1 and "a new key" in other.stderr, other.stderr
    balance = json.loads(paying.kt("wallet", "balance", "--org", "once", "--json").stdout)
    assert balance["available_micro_usd"] == 25_000_000


def test_what_is_no_sum_of_dollars_is_told_what_one_is(paying):
    for bad in ["-5", "1e3", "0.0000001", "NaN", "9007199255"]:
        refused = paying.kt("wallet", "fund", "--org", "acme", "--", bad, check=False)
        assert refused.returncode != 0 and "a sum of dollars is digits" in refused.stderr, refused.stderr


def test_a_sidecar_that_dies_meanwhile_leaves_the_command_to_ask_again_with(paying):
    # Stopped, it takes the connection and never answers.
    stopped = paying.sidecar.process
    stopped.freeze()
    try:
        lost = paying.kt("wallet", "fund", "--org", "lost", "7", check=False)
    finally:
        stopped.thaw()
    assert lost.returncode == 1 and "nobody knows whether the money was moved" in lost.stderr, lost.stderr
    [again] = [line.strip() for line in lost.stderr.splitlines() if "--idempotency-key=" in line]
    said = paying.kt(*shlex.split(again)[1:]).stdout
    assert said.endswith("lost has $7.00 available\n"), said
    twice = paying.kt(*shlex.split(again)[1:]).stdout
    assert "was done before" in twice and twice.endswith("lost has $7.00 available\n"), twice


def test_a_wallet_that_does_not_add_up_is_frozen_and_told_until_it_is_mended(paying):
    paying.kt("wallet", "fund", "--org", "broken", "1")
    ledger = next(paying.folder.glob("data/wallet.db"))

    def plant(micros):
        with sqlite3.connect(ledger) as file:
            file.execute("UPDATE accounts SET credits_posted = credits_posted + ? "
                         "WHERE org = 'broken' AND name = 'wallet'", [micros])
        file.close()
    plant(5)
    audit = paying.kt("wallet", "audit", check=False)
    assert audit.returncode == 1 and not audit.stdout
    assert "broken: I2 balances follow from transfers: wallet: expected" in audit.stderr, audit.stderr
    assert "frozen since" in paying.kt("wallet", "balance", "--org", "broken").stdout
    assert "open" in paying.kt("wallet", "balance", "--org", "acme").stdout
    status = paying.kt("gateway", "status")
    assert "sidecar=degraded" in status.stdout and "does not add up" in status.stderr
    refused = paying.kt("wallet", "unfreeze", "--org", "broken", check=False)
    assert refused.returncode == 1 and "stays frozen" in refused.stderr, refused.stderr
    # It is so after a restart too, before anybody is served.
    paying.sidecar.process.kill()
    paying.sidecar.restart()
    assert paying.sidecar.gauge("kt_wallet_frozen") == 1
    plant(-5)
    assert "is not frozen" in paying.kt("wallet", "unfreeze", "--org", "broken").stdout
    wait_until(lambda: paying.sidecar.status()["status"] == "ok", "the sidecar is well again")


def test_without_a_ledger_it_is_said_how_to_get_one(group):
    refused = group.kt("wallet", "balance", "--org", "acme", check=False)
    assert refused.returncode == 1 and "'wallet: {}'" in refused.stderr, refused.stderr
