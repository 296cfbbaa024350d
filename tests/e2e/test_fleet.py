"""Four gateways, each with a sidecar of its own, over one Redis and one Postgres: one group, whatever breaks."""

import json

import pytest

from answers import assert_coalesced, assert_hit, assert_miss, assert_refused
from fleet import BACK_S, BOUND_S, Fleet, books_agree, bounded, funded, in_store, wait_recovered, whole_again
from group import chat
from processes import wait_until

KEPT = 'kt_wallet_spool_total{result="kept"}'
SHAPES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


@pytest.fixture(scope="module")
def shared():
    with Fleet() as fleet:
        # Made while all is well: who asks whether it is again must not need it for asking.
        fleet.recovery = funded(fleet).key()
        yield fleet


@pytest.fixture
def fleet(shared):
    """The fleet, whole again after the test."""
    yield shared
    whole_again(shared)


@SHAPES
def test_a_thousand_identical_requests_at_four_sidecars_make_one_call(fleet, crowd, prompt, stream):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}]]", stream=stream)
    lives = crowd.ask(fleet.gateways, key, body, count=1000)
    # All but the first one at each sidecar.
    fleet.wait_following(996)
    fleet.provider.wait_at(gate)
    fleet.provider.release(gate)
    answers = [live.whole() for live in lives]
    paid, = [answer for answer in answers if answer.cache_status == "miss"]
    for answer in answers:
        if answer is not paid:
            assert_coalesced(answer)
    assert {answer.body for answer in answers} == {assert_miss(paid).body}
    assert fleet.provider.calls_of(prompt) == {"total": 1, "open": 0, "by_outcome": {"ok": 1}}
    for gateway in fleet.gateways:
        assert_hit(gateway.ask(key, body), of=paid)
    books_agree(fleet, wallet, [prompt])


def test_a_stream_is_read_at_another_sidecar_while_it_comes(fleet, crowd, prompt):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}@event:4]]", stream=True)
    lead = crowd.one(fleet.a, key, body)
    fleet.provider.wait_at(gate)
    followers = [crowd.one(gateway, key, body) for gateway in fleet.gateways[1:]]
    for live in [lead, *followers]:
        live.wait_events(4)
    assert not any(live.ended for live in followers)
    fleet.provider.release(gate)
    paid = assert_miss(lead.whole())
    for live in followers:
        assert assert_coalesced(live.whole(), of=paid).body == paid.body
    books_agree(fleet, wallet, [prompt])


def test_money_keys_and_answers_are_those_of_all_sidecars(fleet, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    paid = assert_miss(fleet.a.ask(key, prompt))
    assert paid.headers["x-kt-cost-usd"] != "0"
    assert_hit(fleet.d.ask(key, prompt), of=paid)
    wallet.drain()
    assert_hit(fleet.c.ask(key, prompt), of=paid)
    assert_refused(fleet.d.ask(key, f"{prompt} Again?"), 402, "insufficient_quota")
    fleet.sidecars[1].revoke(key)
    wait_until(lambda: fleet.c.ask(key, prompt).status == 401, "another sidecar's gateway knows of the revocation",
               BOUND_S)


def test_sidecars_that_die_cost_a_call_and_no_answer(fleet, crowd, prompt):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}]]", stream=True)
    crowd.one(fleet.a, key, body)
    fleet.provider.wait_at(gate)
    others = crowd.ask(fleet.gateways[1:], key, body, count=30)
    wait_until(lambda: sum(s.gauge("kt_flight_followers") for s in fleet.sidecars[1:]) == 27, "all of them wait")
    fleet.sidecars[0].process.kill()
    wait_until(lambda: fleet.provider.calls_of(prompt)["total"] == 2, "another sidecar has taken over")
    fleet.provider.wait_at(gate)
    fleet.provider.release(gate)
    answers = [live.whole() for live in others]
    assert {answer.status for answer in answers} == {200} and len({answer.id for answer in answers}) == 1, answers
    assert not any(answer.broke for answer in answers), answers
    assert fleet.provider.calls_of(prompt)["total"] == 2


@pytest.mark.fault(6)
def test_a_sidecar_that_wakes_behind_its_lease_changes_nothing(fleet, crowd, prompt):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    crowd.one(fleet.a, key, body)
    fleet.provider.wait_at(gate)
    stopped, follows = fleet.sidecars[0], fleet.followed()
    other = crowd.one(fleet.b, key, body)
    wait_until(lambda: fleet.followed() > follows, "the other sidecar follows")
    stopped.process.freeze()
    wait_until(lambda: fleet.provider.calls_of(prompt)["total"] == 2, "the other sidecar has taken over")
    fleet.provider.wait_at(gate, 2)
    # The first call's answer comes while nobody is awake to take it.
    fleet.provider.release(gate)
    second = other.whole()
    assert second.status == 200 and second.broke is None, second
    stopped.process.thaw()
    wait_until(stopped.is_ready, "the sidecar is awake")
    fleet.provider.wait_idle()
    for gateway in fleet.gateways[1:]:
        assert_hit(gateway.ask(key, body), of=second)
    assert fleet.provider.calls_of(prompt)["total"] == 2


@pytest.mark.fault(8)
def test_a_redis_that_is_killed_costs_calls_and_is_used_again_when_it_is_back(fleet, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    kept = in_store(key, prompt, fleet.a, fleet.b)
    fleet.redis.kill()
    prompts = [f"{prompt} {number}" for number in range(8)]
    for number, question in enumerate(prompts):
        assert_miss(bounded(lambda: fleet.gateways[number % 4].ask(key, question)), "store-unavailable")
    # Its own sidecar has a copy, and the database says that it is still good.
    assert_hit(fleet.a.ask(key, prompt), of=kept)
    fleet.redis.start()
    wait_recovered(fleet, BACK_S)
    books_agree(fleet, wallet, [prompt, *prompts])


@pytest.mark.fault(14)
@pytest.mark.fault(15)
def test_a_redis_that_forgets_costs_a_call_and_nothing_else(fleet, crowd, prompt):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    lead = crowd.one(fleet.a, key, body)
    fleet.provider.wait_at(gate)
    # Leases, counters, entries, and the scripts.
    fleet.redis.run("FLUSHALL")
    fleet.redis.run("SCRIPT", "FLUSH")
    other = crowd.one(fleet.b, key, body)
    fleet.provider.wait_at(gate, 2)
    fleet.provider.release(gate)
    first, second = lead.whole(), other.whole()
    assert first.status == second.status == 200 and first.id != second.id
    assert_hit(fleet.d.ask(key, body), of=second)
    books_agree(fleet, wallet, [prompt])


@pytest.mark.fault(14)
def test_a_redis_that_evicts_a_lease_costs_a_call_and_gives_no_token_twice(fleet, crowd, prompt):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    name = fleet.key_of(key, body)
    lead = crowd.one(fleet.a, key, body)
    fleet.provider.wait_at(gate)
    before = fleet.redis.leases()[name]
    fleet.redis.evicts(until=lambda: name not in fleet.redis.leases())
    other = crowd.one(fleet.b, key, body)
    fleet.provider.wait_at(gate, 2)
    after = fleet.redis.leases()[name]
    assert after[0] == before[0] and int(after[1]) > int(before[1]), (before, after)
    fleet.provider.release(gate)
    first, second = lead.whole(), other.whole()
    assert first.status == second.status == 200 and first.id != second.id
    # What the first one brings has no lease any more.
    assert_hit(fleet.d.ask(key, body), of=second)
    assert fleet.provider.calls_of(prompt)["total"] == 2
    books_agree(fleet, wallet, [prompt])


@pytest.mark.fault(31)
@pytest.mark.fault(32)
@pytest.mark.parametrize("damage", ["a byte is another", "it is longer"])
def test_an_entry_that_was_damaged_in_redis_is_a_miss_and_goes(fleet, prompt, damage):
    wallet = funded(fleet)
    key = wallet.key()
    paid = in_store(key, prompt, fleet.a, fleet.b)
    name = fleet.redis.name_of(fleet.key_of(key, prompt))
    if damage == "it is longer":
        fleet.redis.run("APPEND", name, "x")
    else:
        fleet.redis.run("SETRANGE", name, int(fleet.redis.run("STRLEN", name)) // 2, "\a")
    is_refused_once(fleet, key, prompt, paid)
    books_agree(fleet, wallet, [prompt])


@pytest.mark.fault(33)
def test_an_entry_under_another_organizations_key_is_a_miss_and_goes(fleet, prompt):
    wallets = funded(fleet), funded(fleet)
    keys = [wallet.key() for wallet in wallets]
    theirs, own = (in_store(key, prompt, fleet.a, fleet.b) for key in keys)
    assert theirs.id != own.id
    names = [fleet.redis.name_of(fleet.key_of(key, prompt)) for key in keys]
    assert fleet.redis.run("COPY", *names, "REPLACE") == "1"
    is_refused_once(fleet, keys[1], prompt, theirs)
    assert_hit(fleet.c.ask(keys[0], prompt), of=theirs)


def is_refused_once(fleet, key, prompt, entry):
    """At a gateway whose sidecar has no copy: the entry is told to nobody and removed, and what takes its place is kept."""
    sidecar = fleet.sidecars[3]
    before, calls = sidecar.metric("kt_corrupt"), fleet.provider.calls_of(prompt)["total"]
    again = assert_miss(fleet.d.ask(key, prompt))
    assert again.id != entry.id and fleet.provider.calls_of(prompt)["total"] == calls + 1
    assert sidecar.metric("kt_corrupt") == before + 1
    for gateway in (fleet.c, fleet.d):
        assert_hit(gateway.ask(key, prompt), of=again)
    assert sidecar.metric("kt_corrupt") == before + 1


@pytest.mark.fault(12)
@pytest.mark.fault(22)
@pytest.mark.parametrize("breaks", ["sleeps", "swallows"])
def test_a_redis_that_does_not_answer_costs_a_budget_and_then_nothing(fleet, prompt, breaks):
    wallet = funded(fleet)
    key = wallet.key()
    if breaks == "sleeps":
        fleet.redis.process.freeze()
    else:
        fleet.redis.proxy.does("requests=drop answers=drop")
    prompts = [f"{prompt} {number}" for number in range(8)]
    for number, question in enumerate(prompts):
        assert_miss(bounded(lambda: fleet.gateways[number % 4].ask(key, question)), "store-unavailable")
    fleet.mend()
    wait_recovered(fleet, BACK_S)
    books_agree(fleet, wallet, prompts)


@pytest.mark.fault(13)
def test_a_redis_without_memory_drops_what_it_is_given_and_serves_what_it_has(fleet, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    kept = in_store(key, prompt, fleet.a, fleet.b)
    fleet.redis.run("CONFIG", "SET", "maxmemory", "1")
    # There is but one place where its sidecar can have this from. What it would pay for itself is kept nowhere.
    hit = wait_until(lambda: (got := bounded(lambda: fleet.d.ask(key, prompt))).cache_status == "hit" and got,
                     "what is there is served")
    assert_hit(hit, of=kept)
    for gateway in (fleet.a, fleet.d):
        assert_miss(bounded(lambda: gateway.ask(key, f"{prompt} 1")))
    fleet.mend()
    wait_recovered(fleet, BACK_S)
    books_agree(fleet, wallet, [prompt, f"{prompt} 1"])


@pytest.mark.fault(23)
@pytest.mark.fault(25)
@pytest.mark.parametrize("answers", ["reset-every:3", "drop"])
def test_answers_of_redis_that_are_lost_pay_for_nothing_twice(fleet, prompt, answers):
    wallet = funded(fleet)
    key = wallet.key()
    fleet.redis.proxy.does(f"answers={answers}")
    prompts = [f"{prompt} {number}" for number in range(12)]
    for number, question in enumerate(prompts):
        answer = bounded(lambda: fleet.gateways[number % 4].ask(key, question))
        assert answer.status == 200 and answer.broke is None, answer
    fleet.mend()
    wait_recovered(fleet, BACK_S)
    books_agree(fleet, wallet, prompts)


@pytest.mark.fault(16)
@pytest.mark.fault(17)
@pytest.mark.parametrize("kill", ["connections", "backend"])
def test_connections_to_postgres_that_are_killed_lose_no_money(fleet, prompt, kill):
    wallet = funded(fleet)
    key = wallet.key()
    prompts = [f"{prompt} {number}" for number in range(8)]
    for number, question in enumerate(prompts):
        fleet.database.kill_connections() if kill == "connections" else fleet.database.kill_backend()
        wait_until(lambda: bounded(lambda: fleet.gateways[number % 4].ask(key, question)).status == 200,
                   "the question is answered", BOUND_S)
    books_agree(fleet, wallet, prompts)


@pytest.mark.fault(18)
def test_a_lock_on_one_organization_is_a_503_there_and_nothing_elsewhere(fleet, prompt):
    locked, free = funded(fleet), funded(fleet)
    keys = locked.key(), free.key()
    with fleet.database.locked(locked.org):
        refused = bounded(lambda: fleet.a.ask(keys[0], prompt))
        assert refused.status == 503 and int(refused.headers["retry-after"]) > 0, refused
        assert_miss(bounded(lambda: fleet.b.ask(keys[1], prompt)))
    wait_until(lambda: fleet.a.ask(keys[0], prompt).status == 200, "the lock is gone", BACK_S)


@pytest.mark.fault(19)
def test_a_postgres_that_takes_no_writes_refuses_calls_and_serves_hits(fleet, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    paid = in_store(key, prompt, fleet.a, fleet.b)
    fleet.database.takes_writes(False)
    refused = bounded(lambda: fleet.b.ask(key, f"{prompt} Again?"))
    assert refused.status == 503 and "retry-after" in refused.headers, refused
    hit = wait_until(lambda: (got := fleet.d.ask(key, prompt)).cache_status == "hit" and got, "what is there is served")
    assert_hit(hit, of=paid)
    fleet.database.takes_writes()
    wait_until(lambda: fleet.b.ask(key, f"{prompt} Again?").status == 200, "it is written again", BACK_S)


@pytest.mark.fault(3)
@pytest.mark.fault(19)
@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_what_ends_while_postgres_takes_no_writes_is_charged_once_though_its_sidecar_ends(fleet, crowd, prompt, end):
    wallet, gate, own = funded(fleet), prompt[8:16], fleet.sidecars[0]
    key = wallet.key()
    body = chat(f"{prompt} [[fake: gate={gate}]]")
    asked = crowd.one(fleet.a, key, body)
    fleet.provider.wait_at(gate)
    # What tests before this one have left there is no charge: releases of reserves that nobody has answered.
    kept = own.gauge(KEPT)
    fleet.database.takes_writes(False)
    fleet.provider.release(gate)
    assert_miss(asked.whole())
    assert own.gauge(KEPT) == kept + 1 and not wallet.charges()
    if end == "kill":
        own.process.kill()
    else:
        # It does not wait for the database, and says what is left.
        assert own.process.terminate(deadline_s=20) == 0
        assert json.loads(own.process.log.read_text().splitlines()[-1])["in_spool"] >= 1
    fleet.database.takes_writes()
    own.restart(fleet.environment(own))
    assert len(wallet.charges()) == 1, "what lay there is told before it is ready"
    books_agree(fleet, wallet, [prompt])
    spent = sum(amount for amount, _ in wallet.charges())
    assert spent > 0 and wallet.available == 10_000_000 - spent


@pytest.mark.fault(25)
def test_answers_of_postgres_that_are_lost_spend_nothing_twice(fleet, prompt):
    wallet = funded(fleet)
    key = wallet.key()
    assert_miss(fleet.a.ask(key, prompt))
    fleet.database_proxy.does("answers=drop")
    lost = [bounded(lambda: gateway.ask(key, f"{prompt} Lost?")) for gateway in fleet.gateways]
    assert {answer.status for answer in lost} == {503}, lost
    fleet.database_proxy.heals()
    wait_until(lambda: fleet.b.ask(key, f"{prompt} Lost?").status == 200, "it is healed", BOUND_S)
    wait_recovered(fleet, BOUND_S)
    assert fleet.provider.calls_of(f"{prompt} Lost?")["total"] == 1
    charged = sum(amount for amount, _ in wallet.charges())
    assert len(wallet.charges()) == 2 and charged == 10_000_000 - wallet.available - wallet.pending


@pytest.mark.fault(4)
@pytest.mark.fault(23)
@pytest.mark.parametrize("nth", [3, 5])
def test_answers_of_postgres_that_are_reset_pay_for_nothing_twice_and_leave_nothing_set_aside(fleet, prompt, nth):
    wallet = funded(fleet)
    key = wallet.key()
    assert_miss(fleet.a.ask(key, prompt))
    fleet.database_proxy.does(f"answers=reset-every:{nth}")
    prompts = [f"{prompt} {number}" for number in range(12)]
    for number, question in enumerate(prompts):
        answer = bounded(lambda: fleet.gateways[number % 4].ask(key, question))
        assert answer.status in (200, 503), answer
    fleet.mend()
    wait_recovered(fleet, BACK_S)
    # Whatever was set aside for a call that was not made is released, long before time would end it.
    books_agree(fleet, wallet, [prompt, *prompts])
    reserves = [line for sidecar in fleet.sidecars for line in sidecar.metrics().splitlines()
                if line.startswith('kt_wallet_operations_total{operation="reserve",')]
    assert any('result="created"' in line for line in reserves), reserves
    assert not any('result="exists"' in line for line in reserves), reserves


def test_without_redis_and_postgres_what_may_is_answered_and_the_rest_refused_until_they_are_back(
        fleet, crowd, prompt):
    wallet, gate = funded(fleet), prompt[8:16]
    key = wallet.key()
    paid = in_store(key, prompt, fleet.a, fleet.b)
    # A lease or a fill that was late has cost another one.
    calls = fleet.provider.calls_of(prompt)["total"] + 1
    running = crowd.one(fleet.c, key, chat(f"{prompt} Ends? [[fake: gate={gate}]]"))
    fleet.provider.wait_at(gate)
    fleet.redis.kill()
    fleet.database.freeze()
    # Known to be good a moment ago, and not known any more soon after.
    assert_hit(fleet.a.ask(key, prompt), of=paid)
    answer = wait_until(lambda: (got := bounded(lambda: fleet.a.ask(key, prompt))).status != 200 and got,
                        "nobody knows any more what was purged")
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0, answer
    for gateway in fleet.gateways:
        refused = bounded(lambda: gateway.ask(key, f"{prompt} New?"))
        assert refused.status == 503 and "retry-after" in refused.headers, refused
    assert fleet.provider.calls_of(f"{prompt} New?")["total"] == 0
    fleet.provider.release(gate)
    assert running.whole().status == 200
    fleet.database.thaw()
    fleet.redis.start()
    wait_until(lambda: len(wallet.charges()) == calls, "what has ended meanwhile is charged", BACK_S)
    wait_until(lambda: fleet.a.ask(key, prompt).status == 200, "they are used again", BACK_S)
    wait_recovered(fleet, BACK_S)
