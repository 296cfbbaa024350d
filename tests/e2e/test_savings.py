"""What calls cost and what the cache saves: on every answer, and in `kt savings`, to the micro-dollar."""

import json
from decimal import Decimal

import pytest

from answers import assert_coalesced, assert_hit, assert_miss, until_remembered
from group import Group, chat
from processes import wait_until

MICRO = Decimal("0.000001")
# So low a threshold that whatever a call costs reaches it.
ALERTING = {"organization": {"daily_limit_usd": 0.5, "alert_threshold": 0.0001}}


@pytest.fixture(scope="module")
def paying():
    """A group that accounts for its calls."""
    config = {"gateway": {"on_sidecar_loss": "unavailable"}, "budgets": ALERTING}
    with Group(config) as group:
        yield group
        for gateway in group.gateways:
            assert gateway.vms_lost() == 0, gateway.id


def micros(answer, name):
    """A header in micro-dollars; `None` where there is none."""
    value = answer.headers.get(f"x-kt-{name}-usd")
    if value is None:
        return None
    assert Decimal(value) % MICRO == 0, value
    return int(Decimal(value) / MICRO)


def costs(answer):
    return micros(answer, "cost"), micros(answer, "saved")


def sums(group, name, by, *more):
    """The sums of one name, as `kt savings` tells them."""
    # This month's by default, of which there may be but a second yet.
    told = json.loads(group.kt("savings", "--by", by, "--since", "2d", "--json", *more).stdout)
    found = [row["sums"] for row in told["rows"] if row.get("name") == name]
    return found[0] if found else None


def wait_saved(group, name, by, answers):
    """The sums of one name, once so many answers are told that cost nothing."""
    def told():
        found = sums(group, name, by, "--org", "acme")
        return found if found and found["hits"] + found["coalesced"] == answers else None
    return wait_until(told, f"{answers} answers of {name} are told that cost nothing")


def test_a_hit_on_another_gateway_says_what_the_miss_has_cost(paying, prompt):
    key = paying.key(org="acme", team="hits", user="ada", codebases=["acme/web"])
    paid = assert_miss(paying.a.ask(key, prompt))
    cost, saved = costs(paid)
    assert cost > 0 and saved is None
    assert costs(assert_hit(paying.b.ask(key, prompt), of=paid)) == (0, cost)
    streamed = assert_hit(paying.b.ask(key, prompt, stream=True))
    assert costs(streamed) == (0, cost), "in another shape it is the same answer"
    for by, name in [("team", "hits"), ("user", "ada"), ("codebase", "acme/web")]:
        assert wait_saved(paying, name, by, 2) == {
            "calls": 1, "billed_micro_usd": cost, "estimated_micro_usd": 0, "charged_back_micro_usd": cost,
            "hits": 2, "coalesced": 0, "saved_micro_usd": 2 * cost,
        }, by


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_followers_pay_nothing_and_save_what_the_leaders_call_cost(paying, crowd, prompt, stream):
    team, gate = f"followers-{stream}", prompt[8:16]
    leader, follower = paying.key(org="acme", team="leaders"), paying.key(org="acme", team=team)
    body = chat(f"{prompt} [[fake: gate={gate}]]", stream=stream)
    lead = crowd.one(paying.a, leader, body)
    paying.provider.wait_at(gate)
    lives = crowd.ask(paying.gateways, follower, body, count=6)
    paying.sidecar.wait_followers(6)
    paying.provider.release(gate)
    paid = assert_miss(lead.whole())
    call, = wait_until(lambda: paying.sidecar.calls_for(leader), "the call has its line")
    cost = call["cost_micro_usd"]
    assert costs(paid) == (None if stream else cost, None), "a stream's is not known at its head"
    for live in lives:
        answer = assert_coalesced(live.whole(), of=paid)
        assert costs(answer) == (0, None if stream else cost)
    told = wait_saved(paying, team, "team", 6)
    assert (told["calls"], told["billed_micro_usd"]) == (0, 0), "who leads pays"
    assert (told["coalesced"], told["saved_micro_usd"]) == (6, 6 * cost)


def test_what_workers_serve_from_memory_is_told_within_seconds(paying, prompt):
    key = paying.key(org="acme", team="memory")
    with paying.a.client() as client:
        cost, _ = costs(assert_miss(paying.a.ask(key, prompt, client=client)))
        ask = lambda: paying.a.ask(key, prompt, client=client)
        hits = [hit for _ in range(10) for hit in until_remembered(ask, None)]
    assert {costs(hit) for hit in hits} == {(0, cost)}
    assert wait_saved(paying, "memory", "team", len(hits))["saved_micro_usd"] == len(hits) * cost


def test_the_table_has_three_numbers_and_its_days(paying, prompt):
    paying.a.ask(paying.key(org="tables"), prompt)
    table = paying.kt("savings", "--org", "tables", "--since", "7d")
    head, row = table.stdout.splitlines()
    assert head.split() == ["org", "calls", "billed", "charged", "back", "hits", "coalesced", "saved"]
    assert row.split()[:2] == ["tables", "1"] and row.split()[3:] == ["$0.00", "0", "0", "$0.00"]
    assert "(UTC)" in table.stdout + table.stderr
    refused = paying.kt("savings", "--since", "yesterday", check=False)
    assert refused.returncode == 1 and "'since' is no day" in refused.stderr


def test_without_a_ledger_costs_are_told_and_savings_say_what_to_configure(group, key, prompt):
    paid = assert_miss(group.a.ask(key, prompt))
    assert costs(assert_hit(group.b.ask(key, prompt), of=paid)) == (0, costs(paid)[0])
    refused = group.kt("savings", check=False)
    assert refused.returncode == 1 and "wallet" in refused.stderr


def test_a_budget_alerts_once_whatever_restarts(paying, prompt):
    def alerts(org):
        lines = (json.loads(line) for line in paying.sidecar.process.log.read_text().splitlines()
                 if '"budget_alert"' in line)
        return [line for line in lines if line["org"] == org]

    key = paying.key(org="alerting")
    cost, _ = costs(assert_miss(paying.a.ask(key, prompt)))
    wait_until(lambda: len(alerts("alerting")) == 1, "the budget has alerted")
    alert, = alerts("alerting")
    assert (alert["scope"], alert["period"], alert["spent_micro_usd"]) == ("org", "daily", cost)
    assert alert["limit_micro_usd"] == 500_000 and alert["level"] == "WARN"
    paying.sidecar.process.kill()
    paying.sidecar.restart()
    wait_until(lambda: paying.a.ask(key, f"{prompt} again").status == 200, "the group serves again")
    # In one look, or in a later one, at an organization behind the first in the order of names.
    paying.a.ask(paying.key(org="alerting-too"), prompt)
    wait_until(lambda: len(alerts("alerting-too")) == 1, "another budget has alerted")
    assert sums(paying, "alerting", "org")["calls"] == 2 and len(alerts("alerting")) == 1
